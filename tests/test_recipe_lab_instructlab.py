"""LAB: each leaf of a taxonomy by itself, a judge behind every step, and two phases of training with replay."""

import json
import re
from collections import Counter

import pytest

from gristmill import BadInput, Refused, recipes
from gristmill.export.formats import export
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.lab_instructlab import CLOSE, OPEN, lab_instructlab, pairs, points, verdict
from gristmill.recipes.distillation.lab_instructlab_phases import lab_instructlab_phases
from gristmill.testing import Scripted, replay, run


def skill(name, branch="compositional_skills", context=False):
    examples = [
        {
            "question": f"{name} question {n}?",
            "answer": f"{name} answer {n}.",
            "context": f"{name} context {n}." * context,
        }
        for n in range(3)
    ]
    return {"path": name, "branch": branch, "task_description": f"Do {name}.", "examples": examples}


def knowledge(name="locks", documents=("Water flows down.",), contexts=1):
    examples = [
        {"question": f"{name} q{c}{n}?", "answer": f"{name} a{c}{n}.", "context": f"{name} shown {c}."}
        for c in range(contexts)
        for n in range(3)
    ]
    return {
        "path": name, "branch": "knowledge", "task_description": f"Know {name}.", "examples": examples,
        "documents": list(documents), "domain": "canals", "outline": "how locks work",
    }  # fmt: skip


FREE, GROUNDED, KNOWN = skill("toasts"), skill("notices", context=True), knowledge()


def tags(*questions):
    return "\n".join(f"{OPEN}\n{question}\n{CLOSE}" for question in questions)


def teacher():
    """Writes something new with each call: two questions, a context, an answer, or two pairs."""
    count = iter(range(10_000))

    def say(question):
        prompt, n = question.messages[0].content, next(count)
        if "[UNANSWERABLE]" in prompt:
            return f"[QUESTION] Why {n}? [ANSWER] Because {n}. [END]\n[QUESTION] How {n}? [ANSWER] So {n}. [END]"
        if "Write a new text" in prompt:
            return f"New text {n}."
        if OPEN in prompt:
            return tags(f"First {n}?", f"Second {n}?")
        return f"Answer to {prompt.rpartition('Question: ')[2]}"

    return Scripted(say)


def kind_of(prompt):
    """Which judge is asked."""
    kinds = {
        "bears": "is each borne out", "relevancy": "Two tests", "contained": "Somebody reads this question alone",
        "question": "A question was written", "pair": "Rate the answer",
    }  # fmt: skip
    return next(name for name, words in kinds.items() if words in prompt)


SATISFIED = {
    "bears": "Fine. Verdict: YES", "relevancy": "Subject: YES\nFocus: YES", "contained": "Rating: 1",
    "question": "Good. Rating: 1", "pair": "Rating: 3",
}  # fmt: skip


def sifting(**other):
    """A judge that is satisfied, but for the kinds that say something else: a reply, or a function of the prompt."""

    def say(question):
        prompt = question.messages[0].content
        said = (SATISFIED | other)[kind_of(prompt)]
        return said(prompt) if callable(said) else said

    return Scripted(say, model="judge")


async def make(leaves, judge=None, generator=None, **options):
    generator, judge = generator or teacher(), judge or sifting()
    done = await run(lab_instructlab, leaves, generator=generator, judge=judge, **options)
    return done, generator, judge


# -- leaf by leaf


@pytest.mark.proof("lab-instructlab", 1)
async def test_a_leaf_is_shown_its_own_examples_alone_and_each_leaf_gets_rows():
    leaves = [FREE, skill("names"), GROUNDED, skill("mails", context=True), KNOWN, knowledge("bridges")]
    done, generator, _ = await make(leaves)
    names = [leaf["path"] for leaf in leaves]
    texts = {
        name: [text for one in leaf["examples"] for text in one.values() if text]
        for name, leaf in zip(names, leaves, strict=True)
    }
    for prompt in generator.prompts:
        held = {name for name in names for text in texts[name] if text in prompt}
        assert len(held) == 1
    counts = Counter(row.path for row in done.rows)
    assert set(counts) == set(names)
    assert counts["toasts"] == counts["names"] == 3 * 2  # three examples, one call each
    assert counts["notices"] == counts["mails"] == 3 * 10 * 2  # ten contexts of each example
    assert counts["locks"] == counts["bridges"] == 2  # a chunk
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)


async def test_leaves_take_turns_so_that_a_target_leaves_none_out():
    done, _, _ = await make([FREE, skill("names"), skill("letters")], target=6)
    assert [row.path for row in done.rows] == ["toasts"] * 2 + ["names"] * 2 + ["letters"] * 2


async def test_the_first_round_has_one_example_so_that_a_small_target_costs_little():
    _, generator, judge = await make([FREE, GROUNDED, KNOWN], target=1)
    assert (len(generator.questions), len(judge.questions)) == (1 + 2, 2 * 2)


# -- skills


@pytest.mark.proof("lab-instructlab", 2)
async def test_a_pair_rated_1_is_dropped_and_2_is_kept_and_a_question_rated_0_is_never_answered():
    generator = Scripted(
        lambda q: tags("Bad?", "Poor?", "Short?", "Perfect?") if OPEN in q.messages[0].content else "An answer."
    )
    judge = sifting(
        question=lambda prompt: "Rating: 0" if "\nBad?" in prompt else "Rating: 1",
        pair=lambda prompt: f"Rating: {1 if 'Poor?' in prompt else 2 if 'Short?' in prompt else 3}",
    )
    done, _, _ = await make([FREE], judge, generator)
    assert [(row.question, row.rating) for row in done.rows] == [("Short?", 2), ("Perfect?", 3)]
    assert Counter(r.reason for r in done.rejects) == {"low_question": 1, "low_pair": 1, "duplicate_question": 8}
    assert [r.details for r in done.rejects if r.reason == "low_pair"] == [{"path": "toasts", "rating": 1}]
    assert not [prompt for prompt in generator.prompts if "Bad?" in prompt]
    done, _, _ = await make([FREE], judge, generator, pair_keep_min=3)
    assert [row.rating for row in done.rows] == [3]


async def test_a_freeform_question_is_asked_for_by_the_number_and_answered_in_the_style_of_its_example():
    done, generator, judge = await make([FREE], questions_per_seed=7)
    assert "Write 7 new questions" in generator.prompts[0]
    answers = [prompt for prompt in generator.prompts if OPEN not in prompt]
    assert len(answers) == len(done.rows) == 6
    assert "toasts question 0?" in answers[0]
    assert "Answer: toasts answer 0." in answers[0]
    row = done.rows[0]
    assert (row.instruction, row.output, row.context) == (row.question, f"Answer to {row.question}", "")
    assert {q.sampling["temperature"] for q in judge.questions} == {0.0}
    done, _, _ = await make([FREE], questions_per_seed=1)
    assert len(done.rows) == 3  # what a model writes beyond what was asked for is left


async def test_each_example_of_a_skill_is_what_a_call_shows():
    _, generator, _ = await make([FREE])
    shown = [re.findall(r"toasts question (\d)", prompt) for prompt in generator.prompts if OPEN in prompt]
    assert shown == [["0"], ["1"], ["2"]]
    _, generator, _ = await make([GROUNDED], contexts_per_seed=1)
    for kind in ("Write a new text", OPEN, "Answer the question about"):
        shown = [set(re.findall(r"notices \w+ (\d)", prompt)) for prompt in generator.prompts if kind in prompt]
        assert {tuple(one) for one in shown} == {("0",), ("1",), ("2",)}


async def test_each_kind_of_call_has_its_own_temperature_and_length():
    options = {
        "context_temperature": 0.1, "temperature": 0.2, "answer_temperature": 0.3, "max_tokens_questions": 91,
        "max_tokens_answer": 92, "max_tokens_judgement": 93, "spellcheck": True,
    }  # fmt: skip
    kinds = {
        "[UNANSWERABLE]": (0.2, 91), "Correct the spelling": (0.0, 91), "Write a new text": (0.1, 91), OPEN: (0.2, 91),
        "Answer the": (0.3, 92),
    }  # fmt: skip
    _, generator, judge = await make([FREE, GROUNDED, KNOWN], contexts_per_seed=1, **options)
    found = set()
    for question in generator.questions:
        kind = next(kind for kind in kinds if kind in question.messages[0].content)
        assert (question.sampling["temperature"], question.sampling["max_tokens"]) == kinds[kind]
        found.add(kind)
    assert found == set(kinds)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in judge.questions} == {(0.0, 93)}


async def test_a_grounded_question_comes_from_new_contexts_is_judged_with_them_and_stands_behind_its_context():
    done, generator, judge = await make([GROUNDED], contexts_per_seed=2, questions_per_context=1)
    contexts = [q for q in generator.questions if "Write a new text" in q.messages[0].content]
    assert len(contexts) == 6
    assert {q.sampling["temperature"] for q in contexts} == {0.7}
    assert len(done.rows) == 6
    for row in done.rows:
        assert re.fullmatch(r"New text \d+\.", row.context)
        assert row.instruction == f"{row.context}\n\n{row.question}"
        judged = [prompt for prompt in judge.prompts if row.question in prompt]
        assert [kind_of(prompt) for prompt in judged] == ["question", "pair"]
        assert all(row.context in prompt for prompt in judged)
        assert "stands in the text above" in judged[0]
        assert "rests on the text" in judged[1]
    assert all("Write 1 questions" in prompt for prompt in generator.prompts if OPEN in prompt)


async def test_a_context_of_nothing_but_white_space_is_none():
    blank = FREE | {"examples": [one | {"context": " \n"} for one in FREE["examples"]]}
    done, generator, _ = await make([blank])
    assert not [prompt for prompt in generator.prompts if "Write a new text" in prompt]
    assert len(done.rows) == 6


async def test_contexts_and_questions_that_a_leaf_has_already_are_dropped():
    def say(question):
        prompt = question.messages[0].content
        if "Write a new text" in prompt:
            return "Here is a new text:\nThe  same text."
        return tags("Same?", "NOTICES question 2?", " same? ") if OPEN in prompt else "An answer."

    done, _, _ = await make([GROUNDED], generator=Scripted(say))
    assert [(row.context, row.question) for row in done.rows] == [("The  same text.", "Same?")]
    assert Counter(r.reason for r in done.rejects) == {"duplicate_context": 29, "duplicate_question": 2}
    two = [skill("one"), skill("two")]
    done, _, _ = await make(
        two, generator=Scripted(lambda q: tags("Same?") if OPEN in q.messages[0].content else "Yes.")
    )
    assert [row.path for row in done.rows] == ["one", "two"]  # another leaf may have it too


async def test_an_example_given_back_as_a_context_is_no_new_one():
    def say(question):
        prompt = question.messages[0].content
        return "notices context 1." if "Write a new text" in prompt else tags("New?")

    done, _, _ = await make([GROUNDED], generator=Scripted(say), contexts_per_seed=1)
    assert (done.rows, [r.reason for r in done.rejects]) == ([], ["duplicate_context"] * 3)


# -- knowledge


@pytest.mark.proof("lab-instructlab", 3)
async def test_an_answer_that_the_chunk_does_not_bear_out_is_dropped_and_the_judge_sees_the_chunk():
    judge = sifting(bears=lambda prompt: "Verdict: NO" if "Because" in prompt else "Verdict: YES")
    done, generator, _ = await make([KNOWN], judge)
    assert [row.output for row in done.rows] == ["So 0."]
    assert [r.reason for r in done.rejects] == ["not_faithful"]
    first = [prompt for prompt in judge.prompts if kind_of(prompt) == "bears"]
    assert len(first) == 2
    assert all("Water flows down." in prompt for prompt in first)
    assert not [p for p in judge.prompts if "Because" in p and kind_of(p) != "bears"]  # it is asked nothing more
    shown = generator.prompts[0]
    assert all(f"[QUESTION]\nlocks q0{n}?\n[ANSWER]\nlocks a0{n}.\n[END]" in shown for n in range(3))
    assert "locks shown 0." in shown
    row = done.rows[0]
    assert (row.instruction, row.context, row.rating) == ("How 0?", "Water flows down.", None)


@pytest.mark.parametrize(
    ("said", "reason", "details"),
    [
        ({"relevancy": "Subject: YES\nFocus: NO"}, "not_relevant", {"passed": 1}),
        ({"relevancy": "Subject: NO\nFocus: YES"}, "not_relevant", {"passed": 1}),
        ({"relevancy": "Subject: YES"}, "unread_verdict", {"test": "Focus"}),
        ({"bears": "It is fine."}, "unread_verdict", {"test": "Verdict"}),
        ({"contained": "Rating: 0"}, "not_self_contained", {}),
        ({"contained": "Rating: 2"}, "rating_out_of_range", {"rating": 2, "low": 0, "high": 1}),
    ],
)
async def test_each_judge_of_knowledge_drops_what_it_does_not_pass(said, reason, details):
    done, _, _ = await make([KNOWN], sifting(**said))
    assert (done.rows, [r.reason for r in done.rejects]) == ([], [reason] * 2)
    assert done.rejects[0].details == {"path": "locks", **details}
    assert done.rejects[0].candidate["question"] == "Why 0?"


async def test_one_test_of_relevancy_is_enough_where_it_is_set_so():
    done, _, _ = await make([KNOWN], sifting(relevancy="Subject: YES\nFocus: NO"), relevancy_keep=1)
    assert len(done.rows) == 2


async def test_documents_are_cut_into_chunks_and_pairs_are_made_over_each_with_one_of_the_contexts():
    documents = [" ".join(f"Sentence number {n} is here." for n in range(40)), "Another one."]
    done, generator, _ = await make([knowledge(documents=documents, contexts=2)], chunk_tokens=40)
    chunks = list(dict.fromkeys(row.context for row in done.rows))
    assert len(chunks) > 5
    assert " ".join(chunks) == " ".join(documents)
    assert len(generator.questions) == len(chunks)
    shown = [re.findall(r"locks shown (\d)\.", prompt) for prompt in generator.prompts]
    assert {tuple(one) for one in shown} == {("0",), ("1",)}  # one of the two, and both come up


async def test_a_spell_checked_copy_of_a_chunk_is_worked_on_too_where_it_differs():
    def say(question):
        prompt = question.messages[0].content
        if "Correct the spelling" in prompt:
            return "Water flows down." if "flos" in prompt else prompt.rpartition("\n\n")[2]
        return f"[QUESTION] About {prompt.rpartition(chr(10))[2]}? [ANSWER] Yes. [END]"

    leaf = knowledge(documents=["Water flos down.", "All is well."])
    done, _, _ = await make([leaf], generator=Scripted(say), spellcheck=True)
    assert sorted(row.context for row in done.rows) == ["All is well.", "Water flos down.", "Water flows down."]
    assert [r.reason for r in done.rejects] == ["duplicate_context"]
    done, generator, _ = await make([leaf], generator=Scripted(say))
    assert len(generator.questions) == len(done.rows) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[QUESTION] a [ANSWER] b [END]", [("a", "b")]),
        ("[question]\na\n[Answer]\nb", [("a", "b")]),
        ("[QUESTION] a [ANSWER] b [QUESTION] c [ANSWER] d [END]", [("a", "b"), ("c", "d")]),
        ("[QUESTION] lost [QUESTION] c [ANSWER] d [END]", [("c", "d")]),
        ("[QUESTION] a [ANSWER] [UNANSWERABLE] [END] [QUESTION] c [ANSWER] d [END]", [("c", "d")]),
        ("[QUESTION] [ANSWER] b [END] [QUESTION] Größe? [ANSWER] 8 µm 🙂 [END]", [("Größe?", "8 µm 🙂")]),
    ],
)
def test_pairs_are_read_as_far_as_they_are_whole(text, found):
    assert pairs(Reply(text)) == found


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(" "), "empty"),
        (Reply("Nothing."), "no_pairs"),
        (Reply("[UNANSWERABLE]"), "unanswerable"),
        (Reply("[QUESTION] a [ANSWER] b and", finish="length"), "no_pairs"),
    ],
)
async def test_a_reply_without_pairs_is_rejected_with_its_reason(reply, reason):
    done, _, _ = await make([KNOWN], generator=Scripted([reply]))
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, {"path": "locks"})]


def test_a_verdict_is_the_last_word_on_its_test_and_a_form_that_is_repeated_is_none():
    assert verdict(Reply("Subject: NO, at first. **Subject:** YES"), "Subject")
    assert not verdict(Reply("Verdict: YES\nNo: verdict: no"), "Verdict")
    for text in ("Verdict: YES or NO", "Verdict: YES/NO", 'Verdict: "YES" / "NO"', "YES", "Verdict: maybe"):
        with pytest.raises(Exception, match="unread_verdict"):
            verdict(Reply(text), "Verdict")
    assert points(Reply("Rating: 2"), 1, 3) == 2
    with pytest.raises(Exception, match="unread_rating"):
        points(Reply("Rating: 1.5"), 1, 3)


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (["", "", ""], "empty"),
        (["1. What?"] * 3, "no_questions"),
        ([Reply(f"{OPEN} a", finish="length")] * 3, "no_questions"),
    ],
)
async def test_a_reply_without_questions_is_rejected_with_its_reason(replies, reason):
    done, _, _ = await make([FREE], generator=Scripted(replies))
    assert ([r.reason for r in done.rejects], done.rows) == ([reason] * 3, [])


async def test_an_answer_or_a_rating_that_cannot_be_read_costs_its_question_alone():
    def say(question):
        prompt = question.messages[0].content
        if OPEN in prompt:
            return tags("Cut?", "Refused?", "Good?")
        if "Refused?" in prompt:
            raise Refused("no")
        return Reply("An answer", finish="length") if "Cut?" in prompt else "An answer."

    done, _, _ = await make([FREE], generator=Scripted(say), allow_failures=True)
    assert [row.question for row in done.rows] == ["Good?"]
    assert Counter(r.reason for r in done.rejects) == {"truncated": 1, "duplicate_question": 6}
    assert len(done.failures) == 1
    done, _, _ = await make([FREE], sifting(pair="Good."), Scripted(say), allow_failures=True)
    assert Counter(r.reason for r in done.rejects)["unread_rating"] == 1


# -- leaves that cannot teach


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (FREE | {"examples": FREE["examples"][:2]}, "toasts has 2 examples, it needs 3"),
        (FREE | {"task_description": " "}, "needs a task_description"),
        (FREE | {"examples": [*FREE["examples"], {"question": "a", "answer": ""}]}, "examples with both texts"),
        (GROUNDED | {"examples": [*GROUNDED["examples"], {"question": "a", "answer": "b"}]}, "'a' has no context"),
        (KNOWN | {"documents": [" "]}, "needs `documents`"),
        (
            KNOWN | {"examples": KNOWN["examples"] + [{"question": "a", "answer": "b", "context": "c"}]},
            "'c' has 1 examples",
        ),
        (KNOWN | {"examples": FREE["examples"]}, "has no context"),
        (FREE | {"branch": "skills"}, "branch"),
    ],
)
async def test_a_leaf_that_cannot_teach_is_named_before_the_first_call(leaf, said):
    generator = teacher()
    with pytest.raises(BadInput, match=said):
        await make([skill("names"), leaf], generator=generator)
    assert not generator.questions


def test_the_defaults_are_those_of_the_paper_and_the_shipped_leaves_can_teach():
    settings = recipes.load("lab-instructlab").settings({})
    assert {name: settings[name] for name in list(settings)[:5]} == {
        "questions_per_seed": 30, "contexts_per_seed": 10, "questions_per_context": 3, "pair_keep_min": 2,
        "relevancy_keep": 2,
    }  # fmt: skip
    assert settings["context_temperature"] == 0.7


# -- phases


def row(branch, output="Short.", number=0):
    return {
        "instruction": f"{branch} {number}?", "input": "", "output": output, "question": "?", "path": branch,
        "branch": branch, "context": "", "rating": None,
    }  # fmt: skip


LONG = "word " * 31
ROWS = [
    *(row("compositional_skills", "C", n) for n in range(8)),
    *(row("knowledge", "word " * 30, n) for n in range(10)),
    *(row("knowledge", LONG, n + 10) for n in range(6)),
    *(row("foundational_skills", "F", n) for n in range(4)),
]


@pytest.mark.proof("lab-instructlab", 4)
async def test_the_file_of_phase_2_holds_replay_of_phase_1_and_all_new_rows(tmp_path):
    done = await run(lab_instructlab_phases, ROWS)
    written = export(done.folder, "jsonl", tmp_path / "out.jsonl", by="phase")
    assert [path.name for path in written] == ["out-1.jsonl", "out-2.jsonl"]
    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in written)
    assert Counter((r["branch"], r["replay"]) for r in second if not r["replay"]) == {
        ("compositional_skills", False): 8
    }
    again = [r for r in second if r["replay"]]
    assert len(again) == 5  # a quarter of 20
    assert {r["branch"] for r in again} <= {"knowledge", "foundational_skills"}
    assert {r["instruction"] for r in again} <= {r["instruction"] for r in first}
    assert [r["replay"] for r in second] != sorted(r["replay"] for r in second)  # mixed, not behind one another
    staged = export(done.folder, "jsonl", tmp_path / "stage.jsonl", by="stage")
    assert list(staged.values()) == [10, 10 + 3, 8 + 5]


async def test_knowledge_with_short_answers_comes_first_and_long_ones_and_foundations_with_replay_behind_it():
    done = await run(lab_instructlab_phases, ROWS)
    assert [r.stage for r in done.rows] == sorted(r.stage for r in done.rows)
    stages = {n: [r for r in done.rows if r.stage == n] for n in (1, 2, 3)}
    assert all(r.branch == "knowledge" and len(r.output.split()) == 30 and not r.replay for r in stages[1])
    new = [r for r in stages[2] if not r.replay]
    assert Counter(r.branch for r in new) == {"knowledge": 6, "foundational_skills": 4}
    assert all(len(r.output.split()) == 31 for r in new if r.branch == "knowledge")
    assert {r.instruction for r in stages[2] if r.replay} < {r.instruction for r in stages[1]}
    assert {(r.stage, r.phase) for r in done.rows} == {(1, 1), (2, 1), (3, 2)}
    assert all(r.lineage.parents for r in done.rows)
    assert (await replay(done)).rows == done.rows


async def test_how_much_comes_again_and_what_is_short_can_be_set():
    done = await run(lab_instructlab_phases, ROWS, replay_share=1.0, short_answer_words=29)
    assert Counter(r.stage for r in done.rows) == {2: 20, 3: 8 + 20}
    done = await run(lab_instructlab_phases, ROWS, replay_share=0.01)
    assert Counter(r.stage for r in done.rows if r.replay) == {2: 1, 3: 1}  # rounded up


@pytest.mark.parametrize(
    ("part", "lacking"), [(ROWS[:8], "phase 1 .* foundational"), (ROWS[8:], "phase 2 .* compositional")]
)
async def test_a_phase_without_rows_is_said(part, lacking):
    with pytest.raises(BadInput, match=lacking):
        await run(lab_instructlab_phases, part)


async def test_rows_of_the_one_recipe_are_what_the_other_reads():
    made, _, _ = await make([FREE, KNOWN])
    done = await run(lab_instructlab_phases, made.folder)
    assert Counter(r.stage for r in done.rows) == {1: 2, 3: 6 + 1}
