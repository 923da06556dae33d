"""Xwin-Math: one call creates, solves and repairs a question; another, which sees only the final one, answers it."""

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.xwin_math_qgen import xwin_math_qgen
from gristmill.testing import Scripted, replay, run, text_of

KNOWN = {"question": "Ida has 3 pens and buys 4. How many has she?"}
DRAFT = "Ida has 3 pens and loses 5. How many has she left?"
FINAL = "Ida has 9 pens and loses 5. How many has she left?"
CREATED = f"""CREATED QUESTION:
{DRAFT}

VERIFICATION AND MODIFICATION:
3 - 5 = -2, and nobody has -2 pens. She must begin with more.

FINAL CREATED QUESTION:
{FINAL}"""
SOLVED = "SOLUTION:\nShe has 9 - 5 = 4 pens.\n\nFINAL ANSWER:\n4"


def creates(question):
    return "Three jobs" in text_of(question)


def model(created=CREATED, solved=SOLVED):
    """What it says to the call that creates and to the one that answers; each may be a function of the question."""

    def say(question):
        what = created if creates(question) else solved
        return what(question) if callable(what) else what

    return Scripted(say)


def asked(generator, creating):
    return [question for question in generator.questions if creates(question) == creating]


def reasons(done):
    return [(reject.reason, reject.details.get("of")) for reject in done.rejects]


# -- two calls


@pytest.mark.proof("xwin-math-qgen", 1)
async def test_what_is_answered_is_the_final_question_and_not_the_first_draft():
    generator = model()
    done = await run(xwin_math_qgen, [KNOWN], generator=generator)
    [answering] = asked(generator, False)
    assert f"\n{FINAL}\n" in text_of(answering)
    assert DRAFT not in text_of(answering)
    [row] = done.rows
    assert (row.instruction, row.answer, row.style) == (FINAL, "4", "gsm8k")
    assert row.output == "She has 9 - 5 = 4 pens.\n\nThe answer is 4."
    assert row.input == ""


@pytest.mark.proof("xwin-math-qgen", 2)
async def test_question_and_answer_come_from_two_calls_and_the_second_does_not_know_the_reference():
    generator = model()
    done = await run(xwin_math_qgen, [KNOWN], generator=generator)
    [creating], [answering] = asked(generator, True), asked(generator, False)
    assert KNOWN["question"] in text_of(creating)
    assert KNOWN["question"] not in text_of(answering)
    assert "nobody has -2 pens" not in text_of(answering)
    assert [len(question.messages) for question in generator.questions] == [1, 1]
    assert len(done.rows[0].lineage.calls) == 2
    assert done.rows[0].reference == done.rows[0].lineage.seed != ""


async def test_the_first_call_sets_three_jobs_and_states_the_principles():
    generator = model()
    await run(xwin_math_qgen, [KNOWN], generator=generator)
    text = text_of(asked(generator, True)[0])
    jobs = [text.index(job) for job in ("1. Create:", "2. Verify:", "3. Repair:")]
    labels = [
        text.index(label)
        for label in ('"CREATED QUESTION:"', '"VERIFICATION AND MODIFICATION:"', '"FINAL CREATED QUESTION:"')
    ]
    assert jobs == sorted(jobs)
    assert labels == sorted(labels)
    for principle in ("single unknown", "everyday life", "stands alone", "holds no solution", "unchanged"):
        assert principle in text


async def test_each_call_has_its_own_sampling():
    generator = model()
    await run(xwin_math_qgen, [KNOWN], generator=generator)
    assert [q.sampling for q in generator.questions] == [{"temperature": 1.0, "max_tokens": 1024}] * 2
    generator = model()
    options = {"temperature_question": 0.3, "temperature_answer": 0.2, "max_tokens_question": 7, "max_tokens_answer": 9}
    await run(xwin_math_qgen, [KNOWN], generator=generator, **options)
    assert asked(generator, True)[0].sampling == {"temperature": 0.3, "max_tokens": 7}
    assert asked(generator, False)[0].sampling == {"temperature": 0.2, "max_tokens": 9}


async def test_the_style_is_the_rows_own_or_the_parameters_and_changes_what_an_answer_is():
    seeds = [{"question": "one?"}, {"question": "two?", "style": "math"}, {"question": "three?", "style": "gsm8k"}]
    solved = "SOLUTION:\ns\nFINAL ANSWER:\n\\frac{1}{2}\\pi"
    generator = model(created=lambda q: f"FINAL CREATED QUESTION: new {text_of(q)[:150][-40:]}", solved=solved)
    done = await run(xwin_math_qgen, seeds, generator=generator, concurrency=1)
    assert [(row.style, row.answer) for row in done.rows] == [("math", "\\frac{1}{2}\\pi")]
    assert reasons(done) == [("not_a_number", "answer")] * 2
    done = await run(xwin_math_qgen, seeds[:1], generator=generator, style="math")
    assert [row.style for row in done.rows] == ["math"]
    for creating, number in ((True, "Its answer is one number."), (False, "just a number")):
        texts = {style: text_of(asked(await answered(style), creating)[0]) for style in ("gsm8k", "math")}
        assert (number in texts["gsm8k"], "LaTeX" in texts["gsm8k"]) == (True, False)
        assert (number in texts["math"], "LaTeX" in texts["math"]) == (False, True)


async def answered(style):
    generator = model()
    await run(xwin_math_qgen, [KNOWN], generator=generator, style=style)
    return generator


# -- what is dropped


@pytest.mark.proof("xwin-math-qgen", 3)
@pytest.mark.parametrize(
    ("created", "reason"),
    [
        (CREATED.partition("FINAL")[0], "missing_section"),
        (f"CREATED QUESTION:\n{DRAFT}", "missing_section"),
        (CREATED.replace(FINAL, " "), "empty_section"),
        (Reply(CREATED[:-9], finish="length"), "truncated"),
        ("", "empty"),
    ],
)
async def test_a_reply_without_its_final_section_gives_no_row_and_no_second_call(created, reason):
    generator = model(created=created)
    done = await run(xwin_math_qgen, [KNOWN], generator=generator)
    assert (done.rows, reasons(done)) == ([], [(reason, "question")])
    assert len(generator.questions) == 1


@pytest.mark.proof("xwin-math-qgen", 4)
@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("three apples", None),
        ("x + 2", None),
        ("5 or 6", None),
        ("4", "4"),
        ("**4.**", "4"),
        ("1,200.50", "1,200.50"),
        ("$18", "$18"),
        (".5", ".5"),
        ("-3/4", "-3/4"),
        ("4 pens", "4 pens"),
        ("4\n\nI hope this helps!", "4"),
    ],
)
async def test_a_final_answer_that_is_no_number_drops_the_row_in_the_style_of_gsm8k(answer, kept):
    done = await run(xwin_math_qgen, [KNOWN], generator=model(solved=f"SOLUTION:\ns\n\nFINAL ANSWER:\n{answer}"))
    assert [row.answer for row in done.rows] == ([kept] if kept else [])
    assert reasons(done) == ([] if kept else [("not_a_number", "answer")])
    if not kept:
        assert done.rejects[0].details["answer"] == answer


@pytest.mark.parametrize(
    ("solved", "reason"),
    [
        ("She has 4.", "missing_section"),
        ("SOLUTION:\nShe has 4.", "missing_section"),
        ("FINAL ANSWER:\n4", "missing_section"),
        ("FINAL ANSWER:\n4\nSOLUTION:\nshe has 4", "missing_section"),
        ("SOLUTION:\n\nFINAL ANSWER:\n4", "empty_section"),
        ("SOLUTION:\ns\nFINAL ANSWER:", "empty_section"),
        (Reply(SOLVED, finish="length"), "truncated"),
        (" ", "empty"),
    ],
)
async def test_a_solution_that_cannot_be_read_drops_the_row(solved, reason):
    done = await run(xwin_math_qgen, [KNOWN], generator=model(solved=solved))
    assert (done.rows, reasons(done)) == ([], [(reason, "answer")])


async def test_labels_are_read_whatever_they_wear_and_of_two_final_ones_the_last_counts():
    created = f"**Created Question:** a\n\n**Final created question:** b\n\nNo!\n\n### FINAL CREATED QUESTION\n{FINAL}"
    solved = "**Solution:**\nFirst this.\nFinal answer: 3\nNo.\n**Final Answer:** 4"
    done = await run(xwin_math_qgen, [KNOWN], generator=model(created, solved))
    assert [(row.instruction, row.answer) for row in done.rows] == [(FINAL, "4")]


async def test_a_question_that_was_there_before_or_is_the_reference_itself_is_dropped():
    seeds = [KNOWN, {"question": "Tom has 2 pens?"}, {"question": "Ada has 2 pens?"}]

    def created(question):
        text = text_of(question)
        if "Tom" in text:
            return f"FINAL CREATED QUESTION:\n{FINAL.upper()} "
        return "FINAL CREATED QUESTION:\nada  has 2 Pens?" if "Ada" in text else CREATED

    generator = model(created=created)
    done = await run(xwin_math_qgen, seeds, generator=generator, concurrency=1)
    assert [row.instruction for row in done.rows] == [FINAL]
    assert [reject.reason for reject in done.rejects] == ["duplicate", "same_as_reference"]
    assert len(asked(generator, False)) == 2  # the reference itself is not answered


async def test_a_question_of_a_benchmark_is_dropped_before_it_is_answered():
    tests = [{"text": "Who are you?"}, {"text": f" {FINAL.upper()}", "benchmark": "gsm8k"}, {"text": ""}]
    generator = model()
    done = await run(xwin_math_qgen, [KNOWN], generator=generator, benchmarks=tests)
    assert [(r.reason, r.details) for r in done.rejects] == [("in_benchmark", {"of": "question", "benchmark": "gsm8k"})]
    assert len(generator.questions) == 1
    longer = model(created=f"FINAL CREATED QUESTION:\nListen. {FINAL} Tell me.")
    done = await run(xwin_math_qgen, [KNOWN], generator=longer, benchmarks=[{"text": FINAL}])
    assert [(r.reason, r.details["benchmark"]) for r in done.rejects] == [("in_benchmark", "")]
    done = await run(xwin_math_qgen, [KNOWN], generator=model(), benchmarks=tests[:1])
    assert len(done.rows) == 1


async def test_a_blank_question_costs_no_call():
    generator = model()
    done = await run(xwin_math_qgen, [{"question": " \n"}], generator=generator)
    assert ([r.reason for r in done.rejects], generator.questions) == (["no_question"], [])


# -- many


def numbered():
    """A new question each time it is asked."""
    made = iter(range(1000))
    return model(created=lambda q: f"FINAL CREATED QUESTION:\nWhat is {next(made)} and 1?")


async def test_a_reference_gives_as_many_questions_as_wanted_each_answered_for_itself():
    generator = numbered()
    done = await run(xwin_math_qgen, [KNOWN], generator=generator, questions_per_reference=5)
    assert len({row.instruction for row in done.rows}) == 5
    assert (len(asked(generator, True)), len(asked(generator, False))) == (5, 5)
    assert len({call for row in done.rows for call in row.lineage.calls}) == 10


async def test_with_a_target_the_references_are_gone_through_until_it_is_met():
    seeds = [KNOWN, {"question": "And 2 pens?"}]
    done = await run(xwin_math_qgen, seeds, generator=numbered(), target=7)
    assert len(done.rows) == 7
    assert len({row.reference for row in done.rows}) == 2


async def test_a_call_that_fails_costs_its_question_alone():
    count = iter(range(9))
    generator = numbered()
    generator._script = lambda q, say=generator._script: Refused("no") if creates(q) and next(count) == 1 else say(q)
    options = {"questions_per_reference": 3, "allow_failures": True}
    done = await run(xwin_math_qgen, [KNOWN], generator=generator, **options)
    assert (len(done.rows), done.failed) == (2, 1)


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{"question": f"Ida has {number} pens. How many?"} for number in range(6)]

    def created(question):
        number = text_of(question).partition("Ida has ")[2].partition(" ")[0]
        return f"FINAL CREATED QUESTION:\nIda had {int(number) % 4} pens. How many?"

    one = await run(xwin_math_qgen, seeds, generator=model(created), concurrency=1)
    many = await run(xwin_math_qgen, seeds, generator=model(created), concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert (len(one.rows), again.calls, again.rejects == many.rejects) == (4, 0, True)


async def test_an_answer_of_the_reference_is_not_read_and_any_script_passes_through():
    one = await run(xwin_math_qgen, [KNOWN], generator=model())
    other = await run(xwin_math_qgen, [{**KNOWN, "answer": "7"}], generator=model())
    assert one.rows == other.rows
    generator = model(created="FINAL CREATED QUESTION:\n小明有9支笔。还剩多少？")
    done = await run(xwin_math_qgen, [{"question": "小明有3支笔？"}], generator=generator)
    assert done.rows[0].instruction == "小明有9支笔。还剩多少？"
    assert "小明有3支笔？" in text_of(generator.questions[0])


async def test_a_style_that_is_none_and_a_missing_column_are_refused():
    with pytest.raises(BadInput, match="style"):
        await run(xwin_math_qgen, [KNOWN], generator=model(), style="aime")
    with pytest.raises(BadInput, match="question"):
        await run(xwin_math_qgen, [{"problem": "?"}], generator=model())
