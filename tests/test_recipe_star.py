"""What makes STaR STaR: hints that no prompt shows, the original model trained anew, what is wrong tried again."""

import pytest

from gristmill import BadInput
from gristmill.errors import Refused, TrainingFailed
from gristmill.recipes.self_improvement.star import FORMS, StarQuestion, shipped, star
from gristmill.testing import Scripted, replay, run

BRIDGE = {"question": "Where is a river crossed?", "choices": ["bridge", "bed", "cup"], "answer": "a"}
NEST = {"question": "Where does a bird sleep?", "choices": ["cup", "nest", "bridge"], "answer": "b"}
CALM = {"style": "choice", "few_shot": 0}


def last(prompt: str) -> str:
    """The task at the end of a prompt, without the examples before it."""
    return "Q:" + prompt.rpartition("Q:")[2]


def says(**answers: str):
    """Answers by a word of the question; "hint:word" where the answer is shown."""

    def script(question):
        task = last(question.prompt)
        hint = "hint_" if "(CORRECT)" in task else ""
        for name, answer in answers.items():
            if name.startswith(hint) and name.removeprefix(hint) in task and ("hint_" in name) == bool(hint):
                return answer
        return "I do not know."

    return script


async def test_what_is_only_right_with_the_hint_is_kept_without_it():
    model = Scripted(says(hint_river="It is the bridge (a).", hint_bird="It is the nest (b)."))
    done = await run(star, [BRIDGE, NEST], student=model, iterations=1, **CALM)
    assert [(row.rationalized, row.completion) for row in done.rows] == [
        (True, " It is the bridge (a)."),
        (True, " It is the nest (b)."),
    ]
    assert not any("(CORRECT)" in row.prompt for row in done.rows)
    assert done.rows[0].prompt == ("Q: Where is a river crossed?\nAnswer Choices:\n(a) bridge\n(b) bed\n(c) cup\nA:")
    [(_, course)] = model.courses
    assert [(lesson.prompt, lesson.completion) for lesson in course.lessons] == [
        (row.prompt, row.completion) for row in done.rows
    ]


async def test_a_gold_solution_is_shown_as_the_hint_and_never_kept():
    model = Scripted(lambda question: "So it is #### 8" if "5 + 3" in question.prompt else "It is #### 7")
    seed = {"question": "Five and three?", "answer": "8", "solution": "5 + 3 is eight"}
    done = await run(star, [seed], student=model, iterations=1, style="words", few_shot=0)
    assert [q.prompt for q in model.questions] == ["Q: Five and three?\nA:", "Q: Five and three? (5 + 3 is eight)\nA:"]
    assert [(row.prompt, row.completion) for row in done.rows] == [("Q: Five and three?\nA:", " So it is #### 8")]


async def test_the_hint_is_given_for_exactly_the_questions_that_failed():
    model = Scripted(says(river="A bridge (a).", bird="A cup (a).", hint_bird="A nest (b)."))
    done = await run(star, [BRIDGE, NEST], student=model, iterations=1, **CALM)
    hinted = [last(prompt) for prompt in model.prompts if "(CORRECT)" in last(prompt)]
    assert len(model.questions) == 3
    assert [("bird" in task, "(b) nest (CORRECT)" in task) for task in hinted] == [(True, True)]
    assert [row.rationalized for row in done.rows] == [False, True]
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("wrong_answer", {"answer": "a", "gold": "b", "hinted": False})
    ]


async def test_every_iteration_trains_the_original_model_for_a_fifth_more_steps():
    model = Scripted(says(river="A bridge (a)."))
    await run(star, [BRIDGE], student=model, iterations=4, **CALM)
    assert [name for name, _ in model.courses] == ["scripted"] * 4
    assert [course.training.steps for _, course in model.courses] == [40, 48, 57, 69]
    assert {course.method for _, course in model.courses} == {"sft"}
    assert {(course.training.learning_rate, course.training.batch_size) for _, course in model.courses} == {(1e-6, 8)}


async def test_a_question_that_failed_twice_is_left_out_and_tried_again_by_the_next_model():
    learnt = says(river="A bridge (a).", bird="A nest (b).")
    model = Scripted(says(river="A bridge (a).", bird="A cup (a).", hint_bird="A cup (a)."), trained=[learnt])
    done = await run(star, [BRIDGE, NEST], student=model, iterations=2, **CALM)
    assert [(row.iteration, "bird" in row.prompt) for row in done.rows] == [(1, False), (2, False), (2, True)]
    assert [len(course.lessons) for _, course in model.courses] == [1, 2]
    assert {question.prompt for question in model.family[1].questions} == {
        FORMS["choice"].context(StarQuestion(**seed), False) for seed in (BRIDGE, NEST)
    }
    assert [r.details["hinted"] for r in done.rejects] == [False, True]


async def test_only_the_rows_of_this_iteration_are_trained_on_unless_earlier_ones_are_asked_for():
    learnt = says(bird="A nest (b).")
    first = says(river="A bridge (a).")
    alone, both = Scripted(first, trained=[learnt]), Scripted(first, trained=[learnt])
    await run(star, [BRIDGE, NEST], student=alone, iterations=2, p_rationalization=0, **CALM)
    await run(star, [BRIDGE, NEST], student=both, iterations=2, p_rationalization=0, copy_n=1, **CALM)
    assert [len(course.lessons) for _, course in alone.courses] == [1, 1]
    assert [len(course.lessons) for _, course in both.courses] == [1, 2]


async def test_without_rationalization_nobody_is_shown_an_answer():
    model = Scripted(says(river="A bridge (a).", hint_bird="A nest (b)."))
    done = await run(star, [BRIDGE, NEST], student=model, iterations=1, p_rationalization=0, **CALM)
    assert (len(model.questions), [row.rationalized for row in done.rows]) == (2, [False])


async def test_the_examples_stand_before_the_task_with_the_hint_in_them_where_the_task_has_one():
    model = Scripted(says(hint_river="A bridge (a)."))
    done = await run(star, [BRIDGE], student=model, iterations=1, style="choice")
    plain, hinted = model.prompts
    assert (plain.count("Q:"), hinted.count("Q:")) == (11, 11)
    assert (plain.count("(CORRECT)"), hinted.count("(CORRECT)")) == (0, 11)
    assert plain == hinted.replace(" (CORRECT)", "")
    assert done.rows[0].prompt.count("Q:") == 1  # not part of what is learnt
    shown = await run(star, [BRIDGE], student=model, iterations=1, style="choice", few_shot_train=True)
    assert shown.rows[0].prompt == plain


async def test_the_loop_ends_when_accuracy_on_other_questions_no_longer_rises():
    knows = says(river="A bridge (a).", bird="A nest (b).")
    model = Scripted(says(river="A bridge (a)."), trained=[says(river="A bridge (a)."), knows, knows])
    done = await run(star, [BRIDGE], student=model, dev=[NEST], iterations=9, **CALM)
    rounds = list(done.iterate("star_round"))
    assert [(r.iteration, r.accuracy) for r in rounds] == [(1, 0.0), (2, 1.0), (3, 1.0)]
    assert [(r.solved, r.rationalized, r.steps, r.questions) for r in rounds[:2]] == [(1, 0, 40, 1), (1, 0, 48, 1)]
    assert not any(lesson.prompt.count("bird") for _, course in model.courses for lesson in course.lessons)


async def test_a_replay_asks_and_trains_nothing():
    done = await run(star, [BRIDGE, NEST], student=Scripted(says(river="A bridge (a).")), iterations=2, **CALM)
    nobody = Scripted()
    again = await replay(done, model=nobody)
    assert (again.rows, again.rejects, nobody.courses) == (done.rows, done.rejects, [])


async def test_a_question_whose_call_fails_costs_that_question_alone():
    model = Scripted(says(river="A bridge (a).", bird=Refused("too long")))
    done = await run(star, [NEST, BRIDGE], student=model, iterations=2, allow_failures=True, **CALM)
    assert [(row.iteration, "river" in row.prompt) for row in done.rows] == [(1, True), (2, True)]
    assert [len(course.lessons) for _, course in model.courses] == [1, 1]
    assert [(r.iteration, r.questions, r.solved) for r in done.iterate("star_round")] == [(1, 2, 1), (2, 2, 1)]
    assert (done.failed, done.exit_code) == (2, 3)
    assert all("too long" in failure.error for failure in done.failures)


async def test_a_call_that_fails_on_a_dev_question_says_nothing_of_the_accuracy():
    model = Scripted(says(river="A bridge (a).", bird=Refused("too long")))
    done = await run(star, [BRIDGE], student=model, dev=[NEST, BRIDGE], iterations=1, allow_failures=True, **CALM)
    assert [r.accuracy for r in done.iterate("star_round")] == [1.0]
    none = await run(star, [BRIDGE], student=model, dev=[NEST], iterations=2, allow_failures=True, **CALM)
    assert [r.accuracy for r in none.iterate("star_round")] == [None, None]
    assert (done.failed, none.failed) == (1, 2)


async def test_an_iteration_in_which_nothing_is_right_stops_and_says_so():
    with pytest.raises(TrainingFailed, match="no row to learn from"):
        await run(star, [BRIDGE], student=Scripted(says()), iterations=1, **CALM)


async def test_more_questions_than_an_iteration_takes_are_drawn_anew_each_time():
    seeds = [{**BRIDGE, "question": f"{n}: Where is a river crossed?"} for n in range(40)]
    model = Scripted(says(river="A bridge (a)."))
    done = await run(star, seeds, student=model, iterations=2, questions_per_iteration=10, **CALM)
    first, second = ({row.prompt for row in done.rows if row.iteration == n} for n in (1, 2))
    assert (len(first), len(second)) == (10, 10)
    assert first != second


@pytest.mark.parametrize(
    ("style", "text", "answer"),
    [
        ("choice", "Not (a), but the stand (B).", "B"),
        ("choice", "It is (a), I think", None),
        ("words", "7 * 3 = 21 #### 1,021", "1021"),
        ("words", "the answer is 21", None),
        ("arithmetic", "<scratch>\n6 + 3 , C: 0\n</scratch>\n1 1", "1 1"),
        ("arithmetic", "<scratch>\n6 + 3 , C: 0\n1 1", None),
    ],
)
def test_the_answer_is_read_as_the_data_set_writes_it(style, text, answer):
    assert FORMS[style].read(text) == answer


@pytest.mark.parametrize("style", ["choice", "words", "arithmetic"])
def test_ten_examples_ship_for_each_style_and_end_in_their_answers(style):
    examples = shipped(style)
    assert len(examples) == 10
    assert all(FORMS[style].read(one.rationale) == one.answer for one in examples)
    assert all(FORMS[style].context(one, True) != FORMS[style].context(one, False) for one in examples)


async def test_an_answer_after_the_hint_of_an_arithmetic_task_stands_behind_target():
    model = Scripted(
        lambda q: "<scratch>\n</scratch>\n1 1" if "Target: 1 1\n" in q.prompt else "<scratch>\n</scratch>\n9"
    )
    done = await run(star, [{"question": "8 + 3", "answer": "1 1"}], student=model, iterations=1, few_shot=0)
    assert [row.prompt for row in done.rows] == ["Input:\n8 + 3\nTarget:\n"]


def test_steps_are_not_set_twice():
    with pytest.raises(BadInput, match=r"leave training\.steps out"):
        star.settings({"training": {"steps": 10}})
