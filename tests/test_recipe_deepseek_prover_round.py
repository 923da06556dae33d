"""DeepSeek-Prover: statements that type-check, are graded well and do not contradict themselves, and the race of their
proof with their negation's. The proof assistant is the real Coq."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from exclusive import exclusive
from gristmill import BadInput
from gristmill.models.protocol import Reply
from gristmill.models.prover import Prover
from gristmill.recipes.self_improvement import deepseek_prover_round as module
from gristmill.recipes.self_improvement.deepseek_prover_round import code_in, deepseek_prover_round, grade_in, proof_in
from gristmill.testing import Scripted, replay, run
from gristmill.verify.provers import Coq
from gristmill.verify.statements import negation, split
from gristmill.verify.values import Proof


@pytest.fixture(autouse=True)
def alone():
    """One test looks for processes of coqc, and must not find those of another worker."""
    with exclusive("coq"):
        yield


PROBLEM = [{"problem": "The sum of two numbers does not depend on their order."}]
TRUE = "Theorem t (n m : nat) (h : n <= m) : n + m = m + n."
FALSE = "Theorem t (n : nat) (h : n > 3) : n + 1 = n."
CONTRADICTORY = "Theorem t (x : nat) (h1 : x > 3) (h2 : x < 2) : x = 5."
DENIED = "Theorem t (n : nat) (h : n > 3) : ~ (n + 1 = n)."
ENDLESS = "let rec f x := f x in f I."


class Checker(Prover):
    """The real Coq, started once, that remembers what it was asked."""

    def __init__(self):
        super().__init__(Coq())
        self.questions = []
        self.started = False

    async def start(self):
        if not self.started:
            await super().start()
        self.started = True

    async def answer(self, question, n):
        self.questions.append(question)
        return await super().answer(question, n)

    @property
    def tried(self):
        """Statements whose proofs it was to check."""
        return [question.prompt for question in self.questions if not question.sampling]


@pytest.fixture(scope="module")
def coq():
    return Checker()


@pytest.fixture
def checker(coq):
    coq.questions.clear()
    return coq


class Side(Scripted):
    """Writes proofs: by what is to be proved ("False", "not", else "it"); None is never answered."""

    def __init__(self, it="idtac.", denied="idtac.", absurd="idtac.", language="coq"):
        super().__init__([], model="generator")
        self.language = language
        self.said = {"it": it, "not": denied, "False": absurd}
        self.asked = []
        self.cancelled = []

    async def answer(self, question, n):
        claim = split(re.split(r"```\w+\n|\nProof\.\n$", question.prompt)[1], self.language)
        side = "False" if claim.goal.endswith("False") else "not" if claim.goal.startswith(("~", "¬")) else "it"
        self.asked.append(side)
        said = self.said[side]
        if isinstance(said, list):
            said = said[self.asked.count(side) - 1]
        if said is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(side)
                raise
        self._script = lambda question: said
        return await super().answer(question, n)


def says(*accepted):
    """A proof assistant that finds every statement well-formed, and accepts these texts as proofs of anything."""
    return Scripted(lambda q: Proof("ok" if q.sampling or q.continuation.strip() in accepted else "error"), model="coq")


def formalizer(statement):
    return Scripted(lambda question: statement, model="formalizer")


def grader(grade="good"):
    return Scripted(lambda question: f"Clear enough, with some thought.\nGrade: {grade}", model="grader")


async def made(statement, prover, generator, grade="good", **options):
    judge = grade if isinstance(grade, Scripted) else grader(grade)
    roles = {"formalizer": formalizer(statement), "grader": judge, "generator": generator, "prover": prover}
    return await run(deepseek_prover_round, PROBLEM, **roles, **options)


def outcomes(done):
    return [(reject.reason, reject.details.get("outcome")) for reject in done.rejects]


# -- what is proved, and which side


async def test_a_proof_that_the_checker_accepts_becomes_a_row_and_its_statement_another(checker):
    generator = Side(it=["reflexivity.", "intros.\n  lia."], denied="lia.")
    done = await made(f"{TRUE}\n```", checker, generator, hypothesis_tries=1)
    [row] = done.rows
    assert (row.proved, row.formal_statement, row.proof, row.grade) == ("statement", TRUE, "intros.\n  lia.", "good")
    assert row.prompt.endswith(f"```coq\n{TRUE}\nProof.\n")
    assert row.completion == "intros.\n  lia.\nQed."
    [pair] = done.iterate("formalized_problem")
    assert (pair.problem, pair.completion) == (PROBLEM[0]["problem"], TRUE)
    assert PROBLEM[0]["problem"] in pair.prompt
    assert ("not_accepted", "error") in outcomes(done)


async def test_a_false_statement_gives_its_negation_with_a_proof_and_the_other_stream_is_cancelled(checker):
    generator = Side(it=None, denied="lia.")
    done = await made(FALSE, checker, generator)
    [row] = done.rows
    assert (row.proved, row.formal_statement, row.proof) == ("negation", DENIED, "lia.")
    assert generator.cancelled == ["it"]
    assert generator.asked.count("not") == 1
    assert list(done.iterate("formalized_problem")) == []  # a problem is not taught to mean what is false
    assert checker.tried[-1] == DENIED


async def test_a_stream_that_lost_is_ended_in_the_checker_too(checker):
    before = proving()
    done = await made(FALSE, checker, Side(it=ENDLESS, denied="lia."), hypothesis_tries=0)
    assert [row.proved for row in done.rows] == ["negation"]
    assert proving() <= before


def proving():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"Attempt.v" in path.read_bytes():
                found.add(path.parent.name)
        except OSError:
            continue
    return found


async def test_every_stored_proof_is_accepted_when_it_is_checked_again_and_leaves_nothing_open(checker):
    generator = Side(denied="Proof.\n intro. (* so *) lia.\nQed.\n```\nmore", it=None)
    [row] = (await made(FALSE, checker, generator, hypothesis_tries=0)).rows
    again = Coq()
    await again.box.start()
    assert (await again.proves(row.formal_statement, row.proof)).ok
    assert not re.search("admit|Admitted|sorry", row.proof + row.completion)


async def test_a_proof_that_leaves_something_open_or_proves_something_else_is_none(checker):
    proofs = ["Admitted.", "assert (n + m = m + n) by admit. assumption.", "exact I. Theorem u : True.", "Axiom a : False. destruct a."]  # fmt: skip
    done = await made(TRUE, checker, Side(it=proofs), hypothesis_tries=0, proof_tries=4)
    assert done.rows == []
    found = [(r.details["outcome"], r.details["of"]) for r in done.rejects if r.reason == "not_accepted"]
    assert sorted(outcome for outcome, of in found if of == "statement") == ["open", "open", "refused", "refused"]
    assert {outcome for outcome, of in found if of == "negation"} == {"open"}
    assert done.rejects[-1].reason == "unproved"


async def test_both_sides_get_the_same_number_of_tries_and_no_more():
    generator = Side()
    done = await made(TRUE, says(), generator, hypothesis_tries=1, proof_tries=3)
    assert done.rows == []
    assert sorted(generator.asked) == ["False", "it", "it", "it", "not", "not", "not"]
    last = done.rejects[-1]
    assert (last.reason, last.details, last.candidate) == ("unproved", {"tries": 3}, TRUE)


async def test_one_counterexample_refutes_the_whole_where_the_negation_is_of_the_whole(checker):
    some = "Theorem t (n : nat) : n < 5."
    proof = "intro h. specialize (h 7). lia."
    [row] = (await made(some, checker, Side(denied=proof), hypothesis_tries=0, negate="whole")).rows
    assert (row.proved, row.formal_statement) == ("negation", "Theorem t : ~ (forall (n : nat), n < 5).")
    assert str(negation(split(some, "coq"))) == "Theorem t (n : nat) : ~ (n < 5)."  # which no proof proves


# -- what is dropped before


async def test_hypotheses_that_contradict_each_other_drop_the_statement_before_it_is_proved(checker):
    generator = Side(absurd=["idtac.", "lia."], it="lia.", denied="lia.")
    done = await made(CONTRADICTORY, checker, generator)
    assert done.rows == []
    assert (done.rejects[-1].reason, done.rejects[-1].candidate) == ("contradictory", CONTRADICTORY)
    assert done.rejects[-1].details["proof"] == "lia."
    assert generator.asked == ["False", "False"]
    assert set(checker.tried) == {"Theorem t (x : nat) (h1 : x > 3) (h2 : x < 2) : False."}


async def test_a_statement_without_hypotheses_is_not_asked_to_contradict_itself():
    generator = Side(it="reflexivity.", denied=None)
    assert len((await made("Theorem t : 2 + 2 = 4.", says("reflexivity."), generator)).rows) == 1
    assert "False" not in generator.asked


async def test_hypotheses_within_the_goal_count_too():
    generator = Side(absurd="lia.")
    done = await made("Theorem t : forall x, x > 3 -> x < 2 -> x = 5.", says("lia."), generator)
    assert [reject.reason for reject in done.rejects] == ["contradictory"]


@pytest.mark.parametrize("grade", ["fair", "poor"])
async def test_what_is_graded_fair_or_poor_is_never_sent_to_the_prover(grade):
    assistant, generator = says("idtac."), Side()
    done = await made(TRUE, assistant, generator, grade)
    assert [(r.reason, r.details, r.candidate) for r in done.rejects] == [("low_grade", {"grade": grade}, TRUE)]
    assert generator.asked == []
    assert [(question.prompt, question.sampling) for question in assistant.questions] == [(TRUE, {"state": True})]


@pytest.mark.parametrize("grade", ["excellent", "good", "above average", "**Above Average**."])
async def test_the_three_better_grades_go_on(grade):
    done = await made(TRUE, says("idtac."), Side(denied=None), grade, hypothesis_tries=0)
    assert [row.grade for row in done.rows] == [grade.strip("*.").lower()]


async def test_which_grades_are_kept_is_the_users_choice():
    done = await made(TRUE, says("idtac."), Side(denied=None), "fair", hypothesis_tries=0, grades_kept=("fair",))
    assert [row.grade for row in done.rows] == ["fair"]


async def test_what_does_not_type_check_is_dropped_before_it_is_graded(checker):
    judge = grader()
    done = await made("Theorem t (n : nat) : n = true.", checker, Side(), judge)
    assert outcomes(done) == [("ill_typed", "error")]
    assert 'has type "bool"' in done.rejects[0].details["message"]
    assert (judge.questions, checker.tried) == ([], [])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "no_statement"),
        ("I cannot translate that.", "no_statement"),
        ("Theorem t : 1 = 1. Proof. reflexivity. Qed.", "no_statement"),
        ("Axiom a : False. Theorem t : 1 = 2.", "no_statement"),
        ("Definition even (n : nat) := True. Theorem t : even 1.", "no_statement"),
        (Reply("Theorem t : 1 = ", finish="length"), "truncated"),
    ],
)
async def test_a_reply_without_one_statement_is_rejected_and_nothing_is_checked(said, reason):
    assistant = says("idtac.")
    done = await made(said, assistant, Side())
    assert [reject.reason for reject in done.rejects] == [reason]
    assert assistant.questions == []


@pytest.mark.parametrize(
    "said", ["", "It is clear.", "Grade: superb", "Grade: good\nor rather\nGrade: fair", "A good one."]
)
async def test_a_grade_that_cannot_be_read_is_none(said):
    done = await made(TRUE, says(), Side(), Scripted([said], model="grader"))
    assert [reject.reason for reject in done.rejects] == ["unread_grade"]
    assert grade_in(said) is None


# -- what is read of a reply


@pytest.mark.parametrize(
    "said",
    [
        f"{TRUE}",
        f"{TRUE}\n```\n\nProblem:\nAnother.\n```coq\nTheorem u : True.\n```",
        f"Here it is:\n```coq\n{TRUE}\n```\nIt says ...",
        f"{TRUE}\nProof. Admitted.\n```",
    ],
)
def test_the_statement_is_what_stands_in_the_block(said):
    assert str(split(code_in(Reply(said)), "coq")) == TRUE


@pytest.mark.parametrize(
    ("language", "claim", "said", "proof"),
    [
        ("coq", TRUE, "  lia.\n", "  lia."),
        ("coq", TRUE, "lia.\nQed.\n\nTheorem u : False.\nProof.\nlia.\nQed.", "lia."),
        ("coq", TRUE, f"Sure.\n```coq\n{TRUE}\nProof.\n  lia.\nQed.\n```", "  lia."),
        ("lean4", "theorem t : 1 = 1", "  have h : 2 = 2 := by rfl\n  rfl\n```\nDone.", "  have h : 2 = 2 := by rfl\n  rfl"),
        ("lean4", "theorem t : 1 = 1", "```lean4\ntheorem t : 1 = 1 := by\n  rfl\n```", "  rfl"),
    ],
)  # fmt: skip
def test_the_proof_is_what_follows_the_statement_whether_or_not_it_is_repeated(language, claim, said, proof):
    assert proof_in(Reply(said), split(claim, language)) == proof


async def test_a_proof_of_another_theorem_is_rejected_unseen():
    assistant = says("exact I.")
    other = "Theorem t (n m : nat) : True.\nProof.\nexact I.\nQed."
    done = await made(TRUE, assistant, Side(it=other, denied=other), hypothesis_tries=0, proof_tries=1)
    assert [(r.reason, r.details.get("of")) for r in done.rejects] == [("other_statement", "statement"), ("other_statement", "negation"), ("unproved", None)]  # fmt: skip
    assert len(assistant.questions) == 1


# -- replay, language, prompts


@pytest.mark.parametrize("winner", ["statement", "negation"])
async def test_a_replay_has_the_same_winner_and_asks_nobody(winner):
    # Both sides would be accepted here, so only the journal knows which one it was.
    generator = Side(it="lia." if winner == "statement" else None, denied="lia." if winner == "negation" else None)
    done = await made(TRUE, says("lia."), generator, hypothesis_tries=1)
    assert [row.proved for row in done.rows] == [winner]
    silent, asked = Side("lia.", "lia."), says("lia.")
    roles = {"formalizer": formalizer(""), "grader": grader(), "generator": silent, "prover": asked}
    for offline in (True, False):
        again = await replay(done, model=roles, offline=offline)
        assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
        assert again.rows[0].lineage == done.rows[0].lineage
    assert (silent.asked, asked.questions) == ([], [])
    assert len(done.rows[0].lineage.calls) == 3 + 2 + 2  # statement, type check, grade; attempt at False; the winner's


async def test_what_is_asked_of_the_models():
    statement, judge, generator = formalizer(TRUE), grader(), Side(it="lia.")
    roles = {"formalizer": statement, "grader": judge, "generator": generator, "prover": says("lia.")}
    await run(deepseek_prover_round, PROBLEM, **roles, hypothesis_tries=0, proof_tries=1)
    [asked] = statement.questions
    assert (asked.sampling["temperature"], asked.sampling["stop"]) == (0.7, ["\n```\n"])
    assert asked.prompt.endswith("```coq\n")
    [asked] = judge.questions
    assert asked.sampling["temperature"] == 0
    assert f"### Statement\n{TRUE}\n### Consideration\n" in asked.prompt
    for word in ("clear", "mean", "thought", "excellent, good, above average, fair, poor"):
        assert word in asked.prompt
    assert {question.sampling["stop"][0] for question in generator.questions} == {"Qed."}


async def test_a_prover_for_lean_is_spoken_to_in_lean():
    statement = "theorem t (n : ℕ) (h : n > 3) : n + 1 = n := by sorry"
    says = Scripted(lambda q: Proof("ok" if q.sampling or "¬" in q.prompt else "error"), model="lean4")
    models = {
        "formalizer": formalizer(statement),
        "grader": grader(),
        "generator": Side(denied="  omega", language="lean4"),
    }
    done = await run(deepseek_prover_round, PROBLEM, **models, prover=says)
    [row] = done.rows
    assert (row.proved, row.language) == ("negation", "lean4")
    assert row.formal_statement == "theorem t (n : ℕ) (h : n > 3) : ¬ (n + 1 = n)"
    assert row.prompt.endswith(f"```lean4\n{row.formal_statement} := by\n")
    assert row.completion == "  omega"
    assert all("Coq" not in prompt for model in models.values() for prompt in model.prompts)
    assert all("Lean 4" in prompt for prompt in models["formalizer"].prompts + models["generator"].prompts)


async def test_a_language_without_prompts_is_refused():
    with pytest.raises(BadInput, match=r"Coq and Lean 4.*isabelle"):
        await made(TRUE, Scripted(model="isabelle"), Side())


async def test_the_graded_examples_are_well_formed_and_show_both_what_is_kept_and_what_is_not(checker):
    for language in ("coq", "lean4"):
        prompt = module.GRADE[language].text
        examples = re.findall(r"### Statement\n(.*)\n### Consideration\n.*\nGrade: (.*)\n", prompt)
        assert [grade for _, grade in examples] == ["excellent", "fair", "poor", "above average"]
        for statement, _ in examples:
            split(statement, language)
    examples = re.findall(r"### Statement\n(.*)\n### Consideration", module.GRADE["coq"].text)
    await checker.start()
    said = await asyncio.gather(*(checker._assistant.states(statement) for statement in examples[:-1]))
    assert [proof.outcome for proof in said] == ["ok"] * 4


async def test_the_problems_that_ship_are_read():
    from gristmill import recipes

    problems = (recipes.DATA / "competition_problems.jsonl").read_bytes().splitlines()
    assert len({msgspec.json.decode(line)["problem"] for line in problems}) == 16
