"""Evol-Instruct: one of six operations a round, children replace parents, failed evolutions do not."""

import re

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Question, Reply
from gristmill.recipes.distillation.evol_instruct import METHODS, OPERATIONS, evol_instruct
from gristmill.testing import Scripted, replay, run, text_of

ANSWER = "Paris has been the capital of France for centuries."


def evolves(question: Question) -> bool:
    return "#The Given Prompt#" in text_of(question)


def judges(question: Question) -> bool:
    return "Equal or Not Equal" in text_of(question)


def given(question: Question) -> str:
    """The prompt that an evolve call is about: the last one in it."""
    return re.findall(r"#The Given Prompt#:\n(.*)\n\n#(?:Rewritten|Created) Prompt#:\n", text_of(question))[-1]


def model(verdict="Not Equal", answer=ANSWER, child=None):
    """Evolves "x" to "x+", says that nothing is equal, and answers; each may be a function of the question instead."""

    def say(question):
        what = (verdict, child or (lambda q: given(q) + "+"), answer)[
            0 if judges(question) else 1 if evolves(question) else 2
        ]
        return what(question) if callable(what) else what

    return Scripted(say)


def evolve_prompts(scripted):
    return [question for question in scripted.questions if evolves(question)]


def operation_of(question):
    """Every operation whose text stands in the prompt."""
    text = text_of(question)
    marks = {name: prompt.text.partition("{data_format}")[0] for name, prompt in METHODS.items()}
    marks["in_breadth"] = "Your role: a creator of prompts"
    return [name for name, mark in marks.items() if mark in text]


@pytest.mark.proof("evol-instruct", 4)
async def test_each_round_evolves_the_child_of_the_round_before_by_one_call():
    generator = model()
    done = await run(evol_instruct, [{"instruction": "q"}], generator=generator, rounds=3)
    assert [given(question) for question in evolve_prompts(generator)] == ["q", "q+", "q++"]
    assert [row.instruction for row in done.rows] == ["q+", "q++", "q+++"]
    assert [row.round for row in done.rows] == [1, 2, 3]
    seed_id = done.rows[0].lineage.seed
    assert [row.parent for row in done.rows] == [seed_id, done.rows[0].id, done.rows[1].id]
    assert seed_id
    assert [row.lineage.parents for row in done.rows] == [
        [seed_id],
        [seed_id, done.rows[0].id],
        [seed_id, done.rows[1].id],
    ]


@pytest.mark.proof("evol-instruct", 1)
async def test_a_prompt_carries_exactly_one_of_six_methods_and_over_many_rows_all_six_occur_about_equally_often():
    generator = model()
    done = await run(evol_instruct, [{"instruction": f"q{i}"} for i in range(75)], generator=generator)
    found = [operation_of(question) for question in evolve_prompts(generator)]
    assert {len(names) for names in found} == {1}
    counts = {name: sum(row.operation == name for row in done.rows) for name in OPERATIONS}
    # 300 draws: 50 each, with a deviation of 6.5; 25 or 75 would be a chance of 1 in 10,000.
    assert len(counts) == 6
    assert sum(counts.values()) == 300
    assert 25 < min(counts.values()) <= max(counts.values()) < 75
    assert counts == {name: found.count([name]) for name in OPERATIONS}


@pytest.mark.proof("evol-instruct", 4)
async def test_the_operation_of_a_row_is_the_one_in_the_prompt_and_is_kept_as_a_draw():
    generator = model()
    done = await run(evol_instruct, [{"instruction": "q"}], generator=generator, rounds=6)
    operations = [operation_of(question)[0] for question in evolve_prompts(generator)]
    assert operations == [row.operation for row in done.rows]
    assert len(set(operations)) > 1
    assert done.rows[0].lineage.draws["operation"] == operations[0]
    assert done.rows[1].lineage.draws["operation#1"] == operations[1]


async def test_in_depth_prompts_name_the_budget_and_the_forbidden_words_and_in_breadth_prompts_do_not_rewrite():
    seeds = [{"instruction": f"q{i}"} for i in range(20)]
    default, generator = model(), model()
    await run(evol_instruct, seeds, generator=default)
    await run(evol_instruct, seeds, generator=generator, added_words="5 to 7")
    words = {re.search(r"has (.*) words more", text)[1] for text in default.prompts if "words more" in text}
    assert words == {"10 to 20"}
    for question in evolve_prompts(generator):
        text = text_of(question)
        if operation_of(question) == ["in_breadth"]:
            assert text.endswith("#Created Prompt#:\n")
            assert "long tail" in text
            assert "rewriter" not in text
        else:
            assert text.endswith("#Rewritten Prompt#:\n")
            assert "has 5 to 7 words more than #The Given Prompt#" in text
            assert "without the marks '#The Given Prompt#' and '#Rewritten Prompt#'" in text
            assert "without the words 'given prompt' and 'rewritten prompt'" in text
            assert "Keep any table, any code" in text
            assert "Your role: a rewriter of prompts" in text
        shown = text.count("#The Given Prompt#:\n")
        assert shown == (3 if operation_of(question) == ["complicate_input"] else 1)  # two demonstrations


async def test_complicated_input_is_asked_for_in_six_formats():
    generator = model()
    await run(evol_instruct, [{"instruction": f"q{i}"} for i in range(100)], generator=generator)
    formats = {
        re.search(r"must contain (.*) as its input", text)[1] for text in generator.prompts if "must contain" in text
    }
    assert formats == {"XML data", "an SQL database", "Python code", "an HTML page", "a shell command", "JSON data"}


async def test_the_input_of_a_seed_is_evolved_with_its_instruction():
    generator = model(child="q2")
    done = await run(evol_instruct, [{"instruction": "Sort:", "input": "3 1 2"}], generator=generator, rounds=1)
    assert "Sort:\n3 1 2\n\n#" in text_of(generator.questions[0])
    assert (done.rows[0].instruction, done.rows[0].input) == ("q2", "")


async def test_an_answer_that_a_seed_has_already_changes_neither_the_seed_nor_a_call():
    one = await run(evol_instruct, [{"instruction": "q"}], generator=model())
    other = await run(evol_instruct, [{"instruction": "q", "output": "a", "source": "s"}], generator=model())
    assert one.rows == other.rows


async def test_the_answer_is_asked_for_without_the_context_of_the_evolution():
    generator = model(answer=f"\n{ANSWER} \n")
    done = await run(evol_instruct, [{"instruction": "q"}], generator=generator, rounds=1)
    answered = [q for q in generator.questions if not evolves(q) and not judges(q)]
    assert [text_of(q) for q in answered] == ["q+"]
    assert done.rows[0].output == ANSWER
    assert answered[0].sampling == {"temperature": 1.0, "top_p": 0.9, "max_tokens": 2048, "frequency_penalty": 0.0}
    assert evolve_prompts(generator)[0].sampling == answered[0].sampling


@pytest.mark.proof("evol-instruct", 2)
async def test_a_child_that_the_judge_calls_equal_is_dropped_and_its_parent_evolves_again():
    calls = []

    def child(question):
        calls.append(given(question))
        return f"child {len(calls)} of {calls[-1]}"

    generator = model(verdict=lambda q: "Equal" if "child 1 of q" in text_of(q) else "Not Equal", child=child)
    done = await run(evol_instruct, [{"instruction": "q"}], generator=generator, rounds=3)
    assert calls == ["q", "q", "child 2 of q"]
    assert [(row.instruction, row.round) for row in done.rows] == [("child 2 of q", 2), ("child 3 of child 2 of q", 3)]
    assert [(r.reason, r.candidate, r.details["round"]) for r in done.rejects] == [("equal", "child 1 of q", 1)]
    assert "child 1 of q" not in [text_of(q) for q in generator.questions]  # a dropped child costs no answer


async def test_the_judge_sees_parent_and_child_and_is_asked_at_temperature_zero():
    generator, judge = model(), Scripted(lambda question: "Not Equal")
    await run(evol_instruct, [{"instruction": "what is a b-tree"}], generator=generator, judge=judge, rounds=1)
    [question] = judge.questions
    assert "The first instruction: what is a b-tree\n" in text_of(question)
    assert "The second instruction: what is a b-tree+\n" in text_of(question)
    assert question.sampling["temperature"] == 0.0
    assert not any(judges(q) for q in generator.questions)  # else the generator would have judged itself


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("Equal", "equal"), ("**Equal.**", "equal"), ("They are not equal.", None), ("Not Equal", None), ("Unequal", None),
     ("These aren't equal", None), ("I cannot say", "unread_verdict")],
)  # fmt: skip
async def test_a_verdict_is_read_and_one_that_cannot_be_read_drops_the_child(verdict, reason):
    done = await run(evol_instruct, [{"instruction": "q"}], generator=model(verdict=verdict), rounds=1)
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert len(done.rows) == (reason is None)


@pytest.mark.proof("evol-instruct", 3)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I am sorry, but " + "word " * 16, "sorry"),
        ("Sorry " + "word " * 78, "sorry"),  # 79 words
        ("Sorry " + "word " * 79, None),  # 80 words
        ("I am sorry, but " + "word " * 96, None),
        ("The answer has " + "word " * 17, None),
        ("It is what it is, and that's... that?", None),  # "that's" is no stop word
        ("It is what it is!", "no_content"),
        ("...?!", "no_content"),
        ("", "no_content"),
        ("42", None),
    ],
)
async def test_short_apologies_and_answers_without_content_are_dropped(answer, reason):
    done = await run(evol_instruct, [{"instruction": "q"}], generator=model(answer=answer), rounds=1)
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert len(done.rows) == (reason is None)


@pytest.mark.parametrize(
    "child",
    ["#Rewritten Prompt#: Do it.", "Improve the given prompt.", "A Rewritten Prompt", "#Created Prompt#:\nDo it."],
)
async def test_an_evolution_that_copies_words_of_the_prompt_is_dropped(child):
    done = await run(evol_instruct, [{"instruction": "q"}], generator=model(child=child), rounds=1)
    assert not done.rows
    assert [r.reason for r in done.rejects] == ["copies_prompt"]
    assert done.calls == 1  # neither judged nor answered


@pytest.mark.parametrize(("child", "reason"), [("  ", "empty"), (Reply("half of a", finish="length"), "truncated")])
async def test_an_evolution_that_is_empty_or_cut_is_dropped(child, reason):
    done = await run(evol_instruct, [{"instruction": "q"}], generator=model(child=child), rounds=2)
    assert not done.rows
    assert [r.reason for r in done.rejects] == [reason] * 2


async def test_an_answer_that_was_cut_is_dropped_and_its_parent_evolves_again():
    generator = model(answer=Reply("Paris has been the", finish="length"))
    done = await run(evol_instruct, [{"instruction": "q"}], generator=generator, rounds=2)
    assert not done.rows
    assert [(r.reason, r.details["answer"]) for r in done.rejects] == [("truncated", "Paris has been the")] * 2
    assert [given(question) for question in evolve_prompts(generator)] == ["q", "q"]


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{"instruction": f"q{i}"} for i in range(5)]
    script = {"verdict": lambda q: "Equal" if "q3+" in text_of(q) else "Not Equal"}
    one = await run(evol_instruct, seeds, generator=model(**script), concurrency=1)
    many = await run(evol_instruct, seeds, generator=model(**script), concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 16
    assert again.calls == 0
    assert again.rejects == many.rejects
    assert all(row.lineage.calls for row in one.rows)


async def test_rounds_below_one_are_refused():
    with pytest.raises(BadInput, match="rounds"):
        await run(evol_instruct, [{"instruction": "q"}], generator=model(), rounds=0)
