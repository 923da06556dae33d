"""GAIR-Abel: a restatement first, grounds that point backwards, a marked end and the gold answer."""

import re

import pytest

from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.gair_abel import gair_abel, numbers_of, read_items
from gristmill.testing import Scripted, replay, run

QUESTION = {"question": "Ann has 12 eggs and buys 30 more. How many has she?", "answer": "42"}
GOOD = """1. The problem states that Ann has 12 eggs and buys 30 more. We need to find out how many she has.
2. By problem, she begins with 12 eggs.
3. By problem and step 2, she then has 12 + 30 = 42 eggs.
4. [Final solution] By step 3, Ann has 42 eggs.
#### 42"""


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


async def tried(*replies, seed=QUESTION, **options):
    model = Scripted(list(replies))
    return model, await run(gair_abel, [seed], generator=model, **options)


@pytest.mark.proof("gair-abel", 1)
async def test_the_first_item_restates_the_question_with_its_numbers_before_anything_is_calculated():
    _, done = await tried(GOOD)
    [row] = done.rows
    first = read_items(row.completion)[0]
    assert numbers_of(first) == numbers_of(QUESTION["question"]) == {"12", "30"}
    assert "=" not in first
    for reply, reason in [
        (changed("Ann has 12 eggs and buys 30 more", "Ann has eggs"), "no_restatement"),
        (changed("We need to find out how many she has.", "So be it."), "no_goal"),
        (changed("We need", "As 12 + 30 = 42, we need"), "calculates_at_once"),
    ]:
        _, done = await tried(reply, retries=0)
        assert (done.rows, [r.reason for r in done.rejects]) == ([], [reason])


@pytest.mark.proof("gair-abel", 2)
@pytest.mark.parametrize(("reference", "step"), [("step 3", 3), ("steps 2 and 4", 4), ("Step 9", 9), ("items 1, 3", 3)])
async def test_a_step_that_leans_on_itself_or_on_a_later_one_is_rejected(reference, step):
    _, done = await tried(changed("By problem and step 2", f"By {reference}"), retries=0)
    assert [(r.reason, r.details) for r in done.rejects] == [("forward_reference", {"item": 3, "step": step})]


@pytest.mark.proof("gair-abel", 2)
async def test_every_reference_of_a_row_points_backwards():
    _, done = await tried(GOOD)
    for number, item in enumerate(read_items(done.rows[0].completion), 1):
        assert all(int(step) < number for step in re.findall(r"step (\d+)", item))


@pytest.mark.proof("gair-abel", 3)
async def test_a_right_form_with_a_wrong_number_is_dropped_after_its_retries():
    wrong = changed("#### 42", "#### 41")
    model, done = await tried(*[wrong] * 4)
    assert done.rows == []
    assert [(r.reason, r.details) for r in done.rejects] == [("wrong_answer", {"answer": "41", "gold": "42"})] * 4
    assert len(model.questions) == 4


@pytest.mark.proof("gair-abel", 4)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("12 + 30 = 42. So she has 42 eggs.\n#### 42", "no_items"),
        (changed("By problem, she", "She").replace("By problem and step 2, she", "She"), "no_ground"),
        (changed("[Final solution] ", ""), "no_final_mark"),
        (changed("#### 42", ""), "no_answer"),
        (changed("#### 42", "####"), "no_answer"),
        ("", "empty"),
    ],
)
async def test_a_right_solution_in_another_form_is_rejected_and_asked_for_again(reply, reason):
    model, done = await tried(reply, GOOD)
    assert [r.reason for r in done.rejects] == [reason]
    assert [row.completion for row in done.rows] == [GOOD]
    assert len(model.questions) == 2


async def test_the_row_is_the_question_with_its_cue_and_names_what_it_is():
    _, done = await tried(GOOD)
    [row] = done.rows
    assert row.prompt == f"Question:\n{QUESTION['question']}\nAnswer:\nLet's think step by step."
    assert (row.answer, row.style, row.items) == ("42", "structured", 4)


async def test_the_generator_is_helped_by_the_gold_answer_and_by_a_solution_where_there_is_one():
    model, _ = await tried(GOOD)
    assert "The right answer is 42." in model.prompts[0]
    assert "another form" not in model.prompts[0]
    model, _ = await tried(GOOD, seed={**QUESTION, "solution": "Add them: 42."})
    assert "Add them: 42." in model.prompts[0]


async def test_the_ablation_asks_for_no_form_and_checks_none_but_the_answer():
    plain = "12 + 30 = 42.\n#### 42.0"
    model, done = await tried(plain, style="standard")
    assert "By problem" not in model.prompts[0]
    assert [(row.completion, row.style, row.items) for row in done.rows] == [(plain, "standard", 0)]


async def test_answers_are_compared_as_mathematics():
    seed = {"question": "What is half of 1 of 1?", "answer": r"\frac{1}{2}"}
    text = GOOD.replace("12 eggs and buys 30 more", "1 and 1").replace("#### 42", "#### 0.5")
    _, done = await tried(text, seed=seed)
    assert len(done.rows) == 1


async def test_a_share_of_the_numbers_is_enough_as_far_as_asked():
    half = changed("Ann has 12 eggs and buys 30 more. We", "Ann has 12 eggs. We")
    assert len((await tried(half))[1].rows) == 1
    _, done = await tried(half, restated_share=1.0, retries=0)
    assert [r.reason for r in done.rejects] == ["no_restatement"]


async def test_a_replay_asks_nothing():
    _, done = await tried(changed("#### 42", "#### 7"), GOOD)
    assert (await replay(done)).rows == done.rows


@pytest.mark.parametrize(
    ("around", "kept"),
    [
        ("Sure! As 12 + 30 = 42, here it is:\n\n{}", GOOD),
        ("{}\n\nI hope that this helps!", GOOD),
        ("{}\n\n##### Notes", GOOD),
    ],
)
async def test_what_is_said_around_a_solution_is_no_part_of_the_row(around, kept):
    _, done = await tried(around.format(GOOD))
    assert [(row.completion, row.answer) for row in done.rows] == [(kept, "42")]
    _, done = await tried("Sure.\n1. 12 + 30 = 42\n#### 42\nBye!", style="standard")
    assert [row.completion for row in done.rows] == ["Sure.\n1. 12 + 30 = 42\n#### 42"]


@pytest.mark.parametrize(
    ("question", "first", "reasons"),
    [
        ("If x + 2 = 5, what is x?", "The problem states x + 2 = 5. We need to find x.", []),
        ("If x + 2 = 5, what is x?", "The problem states x = 5 - 2 = 3. We need to find x.", ["calculates_at_once"]),
        ("What is 12 * 30?", "The problem asks for 12 * 30 = $360. We need it.", ["calculates_at_once"]),
        (r"What is \frac{1}{2} of 4?", "The problem asks for 1/2 of 4. We need to find it.", []),
        ("Is it so?", "The problem asks whether it is so. We need to tell.", []),
    ],
)
async def test_what_the_question_tells_is_no_calculation_and_what_it_does_not_is_one(question, first, reasons):
    text = f"1. {first}\n2. By problem, it is so.\n3. [Final solution] By step 2, it is.\n#### 3"
    _, done = await tried(text, seed={"question": question, "answer": "3"}, retries=0)
    assert [r.reason for r in done.rejects] == reasons


async def test_step_by_step_is_no_ground():
    text = changed("By problem, she", "Step by step, she").replace("By problem and step 2, she", "By and by, she")
    _, done = await tried(text, retries=0)
    assert [r.reason for r in done.rejects] == ["no_ground"]


async def test_a_range_of_steps_points_to_its_last_one():
    _, done = await tried(changed("By problem and step 2", "By steps 1–4"), retries=0)
    assert [r.details for r in done.rejects] == [{"item": 3, "step": 4}]


async def test_a_question_without_an_answer_costs_no_call():
    model, done = await tried(GOOD, seed={**QUESTION, "answer": " "})
    assert (model.questions, [r.reason for r in done.rejects]) == ([], ["no_gold"])


async def test_a_cut_solution_and_an_answer_that_cannot_be_compared_are_rejected():
    _, done = await tried(Reply(GOOD, finish="length"), changed("#### 42", "#### " + "9" * 2000), retries=1)
    assert [r.reason for r in done.rejects] == ["truncated", "undecided"]


async def test_what_a_user_sets_reaches_the_call_and_the_row():
    options = {"temperature": 0.2, "max_tokens_per_solution": 77, "prompt_cue": "Think."}
    model, done = await tried(GOOD, **options)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.2, 77)}
    assert done.rows[0].prompt.endswith("Answer:\nThink.")
