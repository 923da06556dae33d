"""MathInstruct: rationales as they are, and programs that print the gold answer when they run."""

import json
import re

import pytest

from gristmill import recipes
from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.ops.answers import final_answer, same_answer
from gristmill.recipes.distillation import mathinstruct as module
from gristmill.recipes.distillation.mathinstruct import MathProblem, golds, mathinstruct
from gristmill.recipes.distillation.mathinstruct_college import mathinstruct_college
from gristmill.recipes.distillation.mathinstruct_hybrid import mathinstruct_hybrid
from gristmill.testing import Scripted, replay, run
from gristmill.verify import Sandbox, maths
from gristmill.verify.values import Program, Verdict

SEED = {
    "question": "What is 6 times 43?",
    "answer": "258",
    "rationale": "6 * 43 = 258. The answer is 258.",
    "source": "own",
}
CHOICE = {"question": "What is 6 * 43? Options: (A) 250 (B) 258 (C) 301", "answer": "B"}


@pytest.fixture(autouse=True, scope="module")
def no_worker_is_left():
    yield
    maths.close()


def block(code):
    return f"Here it is.\n```python\n{code}\n```\nIt prints the answer."


def model(program="print(6 * 43)", rationale="Six times 43 is 258. The answer is 258."):
    """Writes the program, or the rationale. A list of programs: one a sample."""
    programs = iter(program)

    def say(question):
        text = question.messages[-1].content
        if text.endswith("\nProgram:"):
            said = next(programs) if not isinstance(program, str) else program
            return said if isinstance(said, Reply) or "```" in said or not said else block(said)
        return rationale

    return Scripted(say)


def programs_asked(scripted):
    return [q for q in scripted.questions if q.messages[-1].content.endswith("\nProgram:")]


async def made(seed=SEED, program="print(6 * 43)", **options):
    options.setdefault("generator", model(program))
    return await run(mathinstruct, [seed], concurrency=1, **options)


def kinds(done):
    return [row.kind for row in done.rows]


# -- programs


@pytest.mark.proof("mathinstruct", 1)
async def test_a_program_that_does_not_print_the_gold_answer_gives_no_row_and_the_rationale_stays():
    programs = {
        "print(259)": "wrong_answer",
        "print(1 / 0)": "error",
        "while True: pass": "timeout",
        "x = 6 * 43": "printed_nothing",
        "print(258)\nprint(258)": "printed_more",
        "print('the answer is large')": "undecided",
        "raise SystemExit(3)": "exit",
        "print(6 *": "no_program",
        "": "empty",
    }
    cut = Reply(block("print(6 * 43)"), finish="length")
    done = await made(program=[*programs, cut], programs_per_question=len(programs) + 1, sandbox_timeout_s=1.0)
    assert [(row.kind, row.output) for row in done.rows] == [("cot", SEED["rationale"])]
    assert [reject.reason for reject in done.rejects] == [*programs.values(), "truncated"]
    assert done.rejects[0].details == {"printed": "259", "gold": "258"}
    assert done.rejects[1].details["error"] == "ZeroDivisionError"


@pytest.mark.proof("mathinstruct", 2)
async def test_each_program_that_is_returned_prints_the_gold_answer_when_it_is_run():
    programs = ["print(43 * 6)", "print(259)", "print(sum([43] * 6))", "print(43 + 6)"]
    done = await made(program=programs, programs_per_question=4)
    pots = [row for row in done.rows if row.kind == "pot"]
    assert [row.output for row in pots] == [programs[0], programs[2]]
    async with sandbox() as runs:
        for row in pots:
            assert (await runs.run(Program(row.output))).stdout.strip() == row.answer == "258"


def sandbox():
    class Open:
        async def __aenter__(self):
            self.sandbox = Sandbox()
            await self.sandbox.start()
            return self.sandbox

        async def __aexit__(self, *_):
            await self.sandbox.close()

    return Open()


def printing(texts):
    """A model whose program for a question prints what belongs to it."""
    return Scripted(lambda q: block(f"print({texts[re.findall('Problem: (.*)', q.messages[-1].content)[-1]]!r})"))


async def test_the_printed_result_is_compared_as_a_value_not_as_a_text():
    cases = [
        ("1,258", "1258", True),
        ("1/3", "0.3333333333333333", True),
        ("33.33", "33.333333333333336", True),
        ("33.33", "33.4", False),
        ("1000", "1001", False),
        (r"\frac{\sqrt{2}}{2}", "sqrt(2)/2", True),
        ("(x+1)^2", "x**2 + 2*x + 1", True),
        ("(x+1)^2", "x**2 + 2*x", False),
    ]
    seeds = [{"question": f"Q{n}", "answer": gold} for n, (gold, _, _) in enumerate(cases)]
    scripted = printing({f"Q{n}": printed for n, (_, printed, _) in enumerate(cases)})
    done = await run(mathinstruct, seeds, generator=scripted, write_rationales=False)
    kept = [seeds[n]["question"] for n, case in enumerate(cases) if case[2]]
    assert [row.instruction.split()[0] for row in done.rows] == kept


async def test_what_nobody_can_decide_is_no_program(monkeypatch):
    monkeypatch.setattr("gristmill.ops.maths.compare", lambda *_: "undecided")
    done = await made({**SEED, "answer": "x + 1"}, ["print('1 + x')"])
    assert kinds(done) == ["cot"]
    [reject] = done.rejects
    assert (reject.reason, reject.details) == ("undecided", {"printed": "1 + x", "gold": "x + 1"})


async def test_of_a_problem_with_options_the_letter_or_its_value_is_right():
    programs = [f"print({text!r})" for text in ("B", "(b)", "258", "258.0", "C", "250")]
    done = await made(CHOICE, programs, programs_per_question=6, write_rationales=False)
    assert [row.output for row in done.rows] == programs[:4]
    assert [r.reason for r in done.rejects] == ["wrong_answer"] * 2


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [
        (CHOICE["question"], "B", ["B", "258"]),
        ("Which?\nA. 5 cm\nB. 6 cm", "(a)", ["(a)", "5 cm"]),
        ("Plan A. It costs. Which?\nA) one B) two; C) three", "C", ["C", "three"]),
        ("No options here.", "B", ["B"]),
        ("(A) 1 (C) 2", "A", ["A"]),
        ("(A) 1 (B) 2", "D", ["D"]),
    ],
)
def test_options_are_read_from_the_question(question, answer, wanted):
    assert golds(MathProblem(question=question, answer=answer)) == wanted


async def test_the_gold_answer_is_shown_to_nobody():
    scripted = model()
    seed = {"question": "What is 6 times 43?", "answer": "258"}
    done = await made(seed, generator=scripted)
    assert kinds(done) == ["cot", "pot"]
    assert len(scripted.prompts) == 2
    assert not any("258" in prompt for prompt in scripted.prompts)


async def test_several_programs_of_one_question_are_several_rows_and_the_same_program_leaves_once():
    programs = ["print(6 * 43)", "print(43 * 6)", "print(6 * 43)"]
    done = await made(program=programs, programs_per_question=3)
    assert kinds(done) == ["cot", "pot", "pot"]
    assert [r.reason for r in done.rejects] == ["duplicate"]
    assert (kinds(await made(programs_per_question=0)), kinds(await made())) == (["cot"], ["cot", "pot"])


async def test_the_time_limit_and_the_modules_reach_sandbox_and_prompt():
    runner, scripted = Scripted([Verdict("ok", stdout="258\n")]), model()
    await made(generator=scripted, sandbox=runner, sandbox_timeout_s=2.5, modules=("sympy", "numpy"))
    [question] = runner.questions
    assert question.job.limits.seconds == 2.5
    assert question.job.program.code == "print(6 * 43)"
    assert "import from the standard library, sympy and numpy, and" in scripted.prompts[0]
    assert scripted.questions[0].sampling == {"temperature": 0.7, "max_tokens": 1024, "stop": ["\nProblem:"]}
    hybrid = Scripted([Verdict("ok", stdout="258\n")])
    await run(mathinstruct_hybrid, [SEED], student=Scripted(["print(258)"]), sandbox=hybrid, sandbox_timeout_s=2.5)
    assert hybrid.questions[0].job.limits.seconds == 2.5
    await made(generator=scripted, sandbox=Scripted([Verdict("ok", stdout="258\n")]))
    assert "import from the standard library, and" in scripted.prompts[1]


async def test_a_bare_program_is_one_too():
    done = await made(program=[Reply("print(6 * 43)")])
    assert [row.output for row in done.rows if row.kind == "pot"] == ["print(6 * 43)"]


# -- rationales and format


@pytest.mark.proof("mathinstruct", 3)
async def test_pot_and_cot_rows_of_a_question_carry_different_instructions():
    done = await made()
    cot, pot = done.rows
    assert (cot.kind, pot.kind) == ("cot", "pot")
    assert cot.instruction == SEED["question"]
    assert pot.instruction.startswith(SEED["question"])
    assert re.search("write a python program", pot.instruction, re.IGNORECASE)
    assert {row.source for row in done.rows} == {"own"}


async def test_a_rationale_that_is_there_is_taken_as_it_is_and_no_call_is_made_for_it():
    wrong = {**SEED, "rationale": "  I guess. The answer is 7. "}
    scripted = model(rationale="never")
    done = await made(wrong, generator=scripted)
    assert done.rows[0].output == "I guess. The answer is 7."
    assert len(scripted.questions) == len(programs_asked(scripted)) == 1


async def test_a_missing_rationale_is_written_unless_that_is_not_wanted():
    seed = {"question": SEED["question"], "answer": "258"}
    done = await made(seed, generator=model(rationale="Thus 258. The answer is 258."))
    assert (done.rows[0].kind, done.rows[0].output) == ("cot", "Thus 258. The answer is 258.")
    assert kinds(await made(seed, write_rationales=False, programs_per_question=0)) == []
    for said, reason in (("", "empty"), (Reply("So", finish="length"), "truncated")):
        done = await made(seed, generator=model(rationale=said), programs_per_question=0)
        assert (kinds(done), [r.reason for r in done.rejects]) == ([], [reason])


async def test_without_a_gold_answer_there_is_only_a_rationale():
    scripted = model()
    done = await made({"question": "Why?", "rationale": "So."}, generator=scripted)
    assert (kinds(done), [r.reason for r in done.rejects], scripted.questions) == (["cot"], ["no_gold"], [])
    done = await made({"question": " ", "answer": "5"}, generator=scripted)
    assert ([r.reason for r in done.rejects], scripted.questions) == (["no_question"], [])


async def test_without_the_library_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    scripted = model()
    with pytest.raises(BadInput, match="pip install"):
        await made(generator=scripted)
    assert scripted.questions == []


async def test_the_programs_that_a_prompt_shows_are_right():
    shown = re.findall(r"```python\n(.*?)```", module.PROGRAM.text, re.DOTALL)
    async with sandbox() as runs:
        said = [(await runs.run(Program(code))).stdout.strip() for code in shown]
    assert said == ["34.0", "7/36", "1358", "C"]
    assert sum(n for n in range(100) if (n * n + n + 1) % 7 == 0) == 1358


def test_the_shipped_rationales_end_in_their_gold_answers():
    for name in ("math_problems.jsonl", "college_problems.jsonl"):
        for row in (json.loads(line) for line in (recipes.DATA / name).read_text().splitlines()):
            if "rationale" in row:
                assert same_answer(final_answer(row["rationale"]), row["answer"]), row
            if row["answer"] in "ABCDE":
                assert len(golds(MathProblem(question=row["question"], answer=row["answer"]))) == 2


async def test_a_replay_runs_and_compares_nothing(monkeypatch):
    done = await made({**SEED, "answer": "x + 1"}, ["print('1 + x')", "print('2 + x')"], programs_per_question=2)
    monkeypatch.setattr("gristmill.ops.maths.compare", lambda *_: pytest.fail("compared again"))
    again = await replay(done, model={"generator": Scripted(), "sandbox": "sandbox:python"})
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
    assert kinds(done) == ["cot", "pot"]


# -- hybrid decoding


def student(program):
    return Scripted(
        lambda q: (
            block(program)
            if "Write a Python program" in q.messages[-1].content
            else "By thought alone. The answer is 77."
        )
    )


@pytest.mark.proof("mathinstruct", 4)
async def test_hybrid_decoding_gives_the_answer_of_the_rationale_exactly_where_the_program_does_not_run():
    programs = {
        "print(6 * 43)": ("pot", "258"),
        "print(12)": ("pot", "12"),  # wrong, but it ran: nobody looks at the gold answer
        "print(undefined)": ("cot", "77"),
        "raise ValueError": ("cot", "77"),
        "while True: pass": ("cot", "77"),
        "x = 5": ("cot", "77"),
        "print(": ("cot", "77"),
    }

    def say(question):
        text = question.messages[-1].content
        program = text.partition("\n")[0]
        return block(program) if "Write a Python program" in text else "By thought alone. The answer is 77."

    scripted = Scripted(say)
    seeds = [{"question": program, "answer": "258"} for program in programs]
    done = await run(mathinstruct_hybrid, seeds, student=scripted, sandbox_timeout_s=1.0)
    assert [(row.kind, row.answer) for row in done.rows] == list(programs.values())
    assert len(scripted.questions) == len(programs) + 5
    assert [r.reason for r in done.rejects] == ["error", "error", "timeout", "printed_nothing", "no_program"]
    for row, program in zip(done.rows, programs, strict=True):
        assert row.output == (program if row.kind == "pot" else "By thought alone. The answer is 77.")
        assert ("Write a Python program" in row.instruction) == (row.kind == "pot")


async def test_hybrid_decoding_without_any_answer_gives_no_row():
    done = await run(mathinstruct_hybrid, [SEED], student=Scripted(["print(", "No idea."]))
    assert (done.rows, [r.reason for r in done.rejects]) == ([], ["no_program", "no_answer"])


# -- college mathematics


SEEDS = [{"question": f"Seed {n}?", "rationale": f"Work {n}. The answer is {n}."} for n in range(4)]
PAIRS = "Sure.\n\nProblem: One?\nSolution: So 1. The answer is 1.\n\n**Problem 2:** Two?\n**Solution 2:** So 2.\nThe answer is 2."


async def test_new_problems_with_solutions_are_written_after_the_example_of_a_few():
    scripted = Scripted([PAIRS])
    done = await run(mathinstruct_college, SEEDS, generator=scripted, request_batch_size=1, target=2)
    assert [(row.instruction, row.output) for row in done.rows] == [
        ("One?", "So 1. The answer is 1."),
        ("Two?", "So 2.\nThe answer is 2."),
    ]
    assert {row.kind for row in done.rows} == {"cot"}
    [prompt] = scripted.prompts
    shown = [seed for seed in SEEDS if f"Problem: {seed['question']}\nSolution: {seed['rationale']}" in prompt]
    assert len(shown) == 3
    assert all(len(row.lineage.parents) == 3 for row in done.rows)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Problem: Seed  2?\nSolution: Work.", "copied"),
        ("Problem: New?", "unparsed"),
        ("Problem: New?\nSolution:", "unparsed"),
        ("I cannot.", "unparsed"),
        (Reply("Problem: New?\nSolution: So", finish="length"), "truncated"),
        ("Problem: ONE?\nSolution: Again.", "duplicate"),
    ],
)
async def test_what_is_no_new_pair_is_rejected(reply, reason):
    scripted = Scripted(["Problem: One?\nSolution: So.", reply, "Problem: Two?\nSolution: So."])
    done = await run(mathinstruct_college, SEEDS, generator=scripted, request_batch_size=1, target=2)
    assert [row.instruction for row in done.rows] == ["One?", "Two?"]
    assert [r.reason for r in done.rejects] == [reason]


async def test_of_a_reply_that_was_cut_only_the_last_pair_is_lost():
    scripted = Scripted([Reply(PAIRS + "\n\nProblem: Three?\nSolution: It", finish="length")])
    done = await run(mathinstruct_college, SEEDS, generator=scripted, request_batch_size=1, target=2)
    assert [row.instruction for row in done.rows] == ["One?", "Two?"]


async def test_seeds_that_cannot_be_shown_are_refused():
    for seeds, message in ((SEEDS[:2], "too few"), ([*SEEDS, {"question": "Bare?"}], "no rationale")):
        with pytest.raises(BadInput, match=message):
            await run(mathinstruct_college, seeds, generator=Scripted(), target=1)
