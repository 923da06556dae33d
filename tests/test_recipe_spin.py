"""What makes SPIN SPIN: people's answers against one's own, an opponent that moves along, nobody who judges."""

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.recipes.self_improvement.spin import spin
from gristmill.testing import Scripted, replay, run

ROWS = [{"prompt": "Say one.", "response": " One, gladly.\n"}, {"prompt": "Say two.", "response": "Two."}]


def says(name: str):
    return lambda question: f"{name} to {question.messages[0].content}"


def player() -> Scripted:
    return Scripted(says("p0"), trained=[says("p1"), says("p2"), says("p3")])


async def test_the_answer_of_the_data_set_is_chosen_byte_for_byte_and_the_models_own_rejected():
    done = await run(spin, ROWS, player=player(), iterations=2)
    assert [(row.iteration, row.chosen, row.rejected) for row in done.rows] == [
        (0, " One, gladly.\n", "p0 to Say one."),
        (0, "Two.", "p0 to Say two."),
        (1, " One, gladly.\n", "p1 to Say one."),
        (1, "Two.", "p1 to Say two."),
    ]


async def test_each_iteration_goes_on_from_its_opponent_with_its_pairs_and_those_of_the_one_before():
    model = player()
    await run(spin, ROWS, player=model, iterations=3)
    assert [name for name, _ in model.courses] == ["scripted", "scripted+1", "scripted+2"]
    rejected = [[lesson.rejected[:2] for lesson in course.lessons] for _, course in model.courses]
    assert rejected == [["p0", "p0"], ["p1", "p1", "p0", "p0"], ["p2", "p2", "p1", "p1"]]
    assert {course.method for _, course in model.courses} == {"dpo"}


async def test_the_reference_is_the_opponent_and_not_the_first_model():
    model = player()
    done = await run(spin, ROWS, player=model, iterations=3)
    references = [course.reference for _, course in model.courses]
    assert references == [str(one.weights) for one in model.family[:3]]
    assert len(set(references)) == 3
    assert references[1].startswith(str(done.folder / "artefacts" / "checkpoint-"))


async def test_nobody_judges():
    model = player()
    done = await run(spin, ROWS, player=model, iterations=2)
    assert sum(len(one.questions) for one in model.family) == 4 == done.calls
    assert {q.messages[0].content for one in model.family for q in one.questions} == {"Say one.", "Say two."}


async def test_beta_and_learning_rate_follow_the_iterations():
    model = player()
    await run(spin, ROWS, player=model)
    assert [(c.training.beta, c.training.learning_rate) for _, c in model.courses] == [
        (0.1, 5e-7),
        (0.1, 5e-7),
        (0.1, 1e-7),
        (5.0, 1e-7),
    ]
    assert {(c.training.epochs, c.training.batch_size) for _, c in model.courses} == {(2, 64)}


async def test_an_answer_that_is_the_persons_own_teaches_nothing_and_is_left_out():
    model = Scripted(lambda q: "Two." if "two" in q.messages[0].content else "Uno.")
    done = await run(spin, ROWS, player=model, iterations=1)
    assert ([row.rejected for row in done.rows], dict(done.reject_counts)) == (["Uno."], {"identical": 1})
    empty = await run(
        spin, ROWS, player=Scripted(lambda q: " " if "two" in q.messages[0].content else "Uno."), iterations=1
    )
    assert dict(empty.reject_counts) == {"empty": 1}


async def test_a_prompt_whose_call_fails_costs_that_prompt_alone():
    model = Scripted(lambda q: Refused("too long") if "one" in q.messages[0].content else "Dos.")
    done = await run(spin, ROWS, player=model, iterations=2, allow_failures=True)
    assert [(row.iteration, row.rejected) for row in done.rows] == [(0, "Dos."), (1, "Dos.")]
    assert [len(course.lessons) for _, course in model.courses] == [1, 2]
    assert (done.failed, done.exit_code) == (2, 3)
    assert all("too long" in failure.error for failure in done.failures)


async def test_more_prompts_than_an_iteration_takes_are_drawn_anew():
    seeds = [{"prompt": f"Say {n}.", "response": "Well."} for n in range(50)]
    done = await run(spin, seeds, player=player(), iterations=2, prompts_per_iteration=10)
    first, second = ({row.prompt for row in done.rows if row.iteration == n} for n in (0, 1))
    assert (len(first), len(second), first != second) == (10, 10, True)


async def test_a_replay_asks_and_trains_nothing():
    done = await run(spin, ROWS, player=player(), iterations=2)
    nobody = Scripted()
    assert ((await replay(done, model=nobody)).rows, nobody.courses) == (done.rows, [])


def test_another_loss_is_another_method():
    with pytest.raises(BadInput, match=r"leave training\.loss out"):
        spin.settings({"training": {"loss": "ipo"}})
