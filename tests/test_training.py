"""Training between rounds: what is trained once, what is replayed, what is restored. The weights are pretended here."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from gristmill import (
    BadInput,
    Complete,
    Completion,
    Lesson,
    Preference,
    Row,
    Rows,
    Run,
    Trainable,
    Training,
    recipe,
)
from gristmill.api import arerun, aresume
from gristmill.errors import EndpointDown, TrainingFailed
from gristmill.testing import Scripted, folder, replay, run


class Student(Complete, Trainable, Protocol):
    """A model that is asked and trained."""


class Task(Row):
    task: str


@recipe("rounds-of-two")
async def rounds(
    rows: Rows[Task],
    student: Student,
    run: Run,
    *,
    times: int = 2,
    worst: str = "",
    training: Training = Training(steps=3),
) -> AsyncIterator[Completion]:
    """Ask, learn, ask again."""
    model = student
    for _ in range(times):

        async def solve(row: Task, model: Student = model) -> Completion:
            return Completion(prompt=row.task, completion=(await model.complete(row.task)).text)

        made = await run.map(solve, rows)
        model = await run.train(student, [row for row in made if row.completion != worst], training=training)
        for row in made:
            run.link(row, model.checkpoint)
            yield row


@recipe("online")
async def online(rows: Rows[Task], student: Student, run: Run, *, steps: int = 3) -> AsyncIterator[Preference]:
    """Two answers, a step, two answers of the new model."""
    trainer = run.trainer(student, "dpo", training=Training(beta=0.5))
    for number in range(steps):
        row = rows[number % len(rows)]
        two = await trainer.model.complete(f"{number} {row.task}", n=2)
        pair = Preference(prompt=row.task, chosen=two[0].text, rejected=two[1].text)
        run.link(pair, *two)
        await trainer.step([pair])
        yield pair


SEEDS = [{"task": "a"}, {"task": "b"}]


def echo(name: str):
    return lambda question: f"{name} {question.prompt}"


def student(**options) -> Scripted:
    return Scripted(echo("base"), trained=[echo("first"), echo("second")], **options)


async def test_each_round_asks_the_model_that_the_last_one_trained():
    model = student()
    done = await run(rounds, SEEDS, student=model)
    assert [row.completion for row in done.rows] == ["base a", "base b", "first a", "first b"]
    assert [name for name, _ in model.courses] == ["scripted", "scripted"]  # both begin with the base
    assert [course.lessons for _, course in model.courses] == [
        [Lesson("a", "base a"), Lesson("b", "base b")],
        [Lesson("a", "first a"), Lesson("b", "first b")],
    ]
    assert {course.training for _, course in model.courses} == {Training(steps=3)}


async def test_a_replay_trains_nothing_and_a_changed_lesson_trains_anew():
    done = await run(rounds, SEEDS, student=student())
    model = student()
    again = await replay(done, model=model)
    assert (again.rows, model.courses, again.calls) == (done.rows, [], 0)
    other = await replay(done, model=model, offline=False, settings={"training": {"steps": 4}})
    assert [course.training.steps for _, course in model.courses] == [4, 4]
    assert [row.completion for row in other.rows[:2]] == ["base a", "base b"]


async def test_a_run_that_was_stopped_keeps_the_rounds_that_were_trained():
    broken = Scripted(echo("base"), trained=[lambda question: EndpointDown("gone")])
    out = folder()
    with pytest.raises(EndpointDown, match="gone"):
        await run(rounds, SEEDS, student=broken, out=out)
    model = student()
    done = await aresume(out, recipe=rounds, model={"student": model})
    assert [course.lessons[0] for _, course in model.courses] == [Lesson("a", "first a")]
    assert [row.completion for row in done.rows] == ["base a", "base b", "first a", "first b"]


async def test_a_checkpoint_that_was_whole_before_the_journal_knew_of_it_is_not_trained_again():
    whole = await run(rounds, SEEDS, student=student(), times=1)
    [checkpoint] = whole.artefacts.values()
    out = folder()
    dying = student()
    train = dying.train

    async def train_and_die(course, place: Path, progress):
        await train(course, place, progress)
        (place / "measured.json").write_text('{"loss":2.0}')
        os.replace(place, place.with_name(place.name.removesuffix(".unfinished")))
        raise EndpointDown("killed")

    dying.train = train_and_die
    with pytest.raises(EndpointDown):
        await run(rounds, SEEDS, student=dying, out=out, times=1)
    model = student()
    done = await aresume(out, recipe=rounds, model={"student": model})
    assert (model.courses, [path.name for path in done.artefacts.values()]) == ([], [checkpoint.name])


async def test_rows_name_the_checkpoint_that_was_made_of_them_and_a_rerun_brings_it():
    done = await run(rounds, SEEDS, student=student(), times=1)
    [(name, path)] = done.artefacts.items()
    assert all(name in row.lineage.parents for row in done.rows)
    assert (path / "weights").read_text() == "scripted"
    again = await arerun(done.folder, recipe=rounds, out=folder(), offline=True, model={"student": Scripted()})
    [copy] = again.artefacts.values()
    assert ((copy / "weights").read_text(), copy.parent.parent) == ("scripted", again.folder)


async def test_a_checkpoint_that_no_round_names_any_more_is_removed():
    done = await run(rounds, SEEDS, student=student())
    stale = done.folder / "artefacts" / "checkpoint-0123"
    stale.mkdir()
    await aresume(done.folder, recipe=rounds, model={"student": student()}, target=5)
    assert not stale.exists()
    assert len(list((done.folder / "artefacts").iterdir())) == 2


async def test_a_round_without_rows_stops_with_the_reason_and_keeps_what_there_is():
    out = folder()
    with pytest.raises(TrainingFailed, match="no row to learn from"):
        await run(rounds, SEEDS[:1], student=student(), worst="first a", out=out)
    nobody = Scripted()
    done = await arerun(out, recipe=rounds, out=folder(), model={"student": nobody}, settings={"times": 1})
    assert ([row.completion for row in done.rows], nobody.courses, done.calls) == (["base a"], [], 0)


async def test_a_loss_that_is_no_number_stops_the_round():
    model = student()

    async def explode(course, place, progress):
        return {"loss": float("nan"), "steps": 7}

    model.train = explode
    with pytest.raises(TrainingFailed, match=r"the loss became nan after 7 steps\. A smaller learning rate"):
        await run(rounds, SEEDS, student=model)


async def test_an_online_model_is_asked_after_each_step_and_a_replay_takes_none():
    model = Scripted(echo("base"), trained=[echo("first"), echo("second"), echo("third")])
    done = await run(online, SEEDS, student=model)
    assert [row.chosen for row in done.rows] == ["base 0 a", "first 1 b", "second 2 a"]
    assert [course.lessons[0].completion for _, course in model.courses] == ["base 0 a", "first 1 b", "second 2 a"]
    nobody = Scripted()
    again = await replay(done, model=nobody)
    assert (again.rows, nobody.courses) == (done.rows, [])


async def test_an_online_training_goes_on_where_it_stopped_by_taking_its_steps_again():
    fails = Scripted(echo("base"), trained=[echo("first"), lambda question: EndpointDown("gone")])
    out = folder()
    with pytest.raises(EndpointDown):
        await run(online, SEEDS, student=fails, out=out)
    model = Scripted(echo("base"), trained=[echo("first"), echo("second"), echo("third")])
    done = await aresume(out, recipe=online, model={"student": model})
    assert [row.chosen for row in done.rows] == ["base 0 a", "first 1 b", "second 2 a"]
    assert len(model.courses) == 3  # two again, one anew
    assert not any(question.prompt.startswith(("0", "1")) for one in model.family for question in one.questions)


async def test_an_online_training_is_restored_from_its_last_save(monkeypatch):
    monkeypatch.setattr("gristmill.engine.training.SAVE_EVERY", 2)
    scripts = [echo(str(number)) for number in range(1, 4)]
    fails = Scripted(echo("base"), trained=[*scripts, lambda question: EndpointDown("gone")])
    out = folder()
    with pytest.raises(EndpointDown):
        await run(online, SEEDS, student=fails, out=out, steps=6)
    model = Scripted(echo("base"), trained=[echo("after")])
    done = await aresume(out, recipe=online, model={"student": model})
    assert len(model.courses) == 2  # four of the six lie in the last save, two are taken now
    assert len(done.rows) == 6


async def test_a_role_that_is_trained_is_refused_to_a_model_that_cannot_be():
    with pytest.raises(BadInput, match=r"needs Trainable.*transformers:FOLDER"):
        await run(rounds, SEEDS, student=Scripted(can=["Complete"]))


async def test_training_is_one_value_of_which_a_user_changes_what_he_wants():
    assert rounds.settings({"training": {"learning_rate": 1e-3}})["training"] == Training(steps=3, learning_rate=1e-3)
    assert rounds.from_text({"training": '{"batch_size": 4}'})["training"] == Training(steps=3, batch_size=4)
    with pytest.raises(BadInput, match="batch_size"):
        rounds.settings({"training": {"batch_size": 0}})
