"""Tasks for people, and who may answer them: nobody yet, a model, a function. All are held to the same rules."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from gristmill import Annotator, BadInput, Labelled, Row, Run, recipe
from gristmill.api import aresume
from gristmill.engine.journal import Journal
from gristmill.models.annotation import (
    Comparing,
    Editing,
    Labelling,
    Note,
    Ranking,
    Rating,
    Steps,
    Writing,
    complaint,
)
from gristmill.models.annotator import ModelAnnotator, Script, asked
from gristmill.models.people import People
from gristmill.models.protocol import Question
from gristmill.models.spec import parse
from gristmill.testing import Scripted, folder, replay, run

COLOURS = Labelling(text="The sky.", options=["blue", "green"], guidelines="Look up.")


class Thing(Row):
    text: str


@recipe("two-labels")
async def two_labels(row: Thing, rater: Annotator, run: Run) -> AsyncIterator[Labelled]:
    """Two people label each text; both labels are kept."""
    notes = await rater.annotate(Labelling(text=row.text, options=["blue", "green"]), n=2)
    for note in notes:
        yield Labelled(text=f"{row.text} {note.by}", label=note.labels[0])


@pytest.mark.parametrize(
    ("task", "good", "bad", "why"),
    [
        (COLOURS, {"labels": ["blue"]}, {"labels": ["red"]}, "none of the labels blue, green"),
        (COLOURS, {"labels": ["blue"]}, {"labels": ["blue", "green"]}, "exactly one"),
        (COLOURS, {"skipped": True}, {"labels": []}, "exactly one"),
        (COLOURS, {"skipped": True}, {"labels": ["blue"], "skipped": True}, "not both"),
        (msgspec.structs.replace(COLOURS, several=True), {"labels": []}, {"labels": ["blue"] * 2}, "once at most"),
        (Writing(most=4), {"text": "abcd"}, {"text": "abcde"}, "at most 4"),
        (Writing(), {"text": "a"}, {"text": " "}, "write something"),
        (Editing(text="a"), {"text": "b"}, {"text": ""}, "write something"),
        (Ranking(items=["a", "b"]), {"order": [1, 0]}, {"order": [0, 0]}, "exactly once"),
        (Ranking(items=["a", "b"]), {"order": [0, 1]}, {"order": [1, 2]}, "exactly once"),
        (Comparing(first="a", second="b", strength=3), {"preference": -3}, {"preference": 4}, "between -3 and 3"),
        (Comparing(first="a", second="b", ties=False), {"preference": 1}, {"preference": 0}, "not 0"),
        (Rating(text="a", aspects={"x": "?"}), {"ratings": {"x": 0}}, {"ratings": {}}, "rate each of x"),
        (Rating(text="a", aspects={"x": "?"}), {"ratings": {"x": 4}}, {"ratings": {"x": 5}}, "from 0 to 4"),
        (Steps(steps=["a", "b"], options=["ok", "no"]), {"labels": ["ok", "no"]}, {"labels": ["ok"]}, "each of the 2"),
        (
            Steps(steps=["a", "b"], options=["ok", "no"], until="no"),
            {"labels": ["no"]},
            {"labels": ["ok"]},
            "each of the 2",
        ),
        (Steps(steps=["a"], options=["ok"]), {"labels": ["ok"]}, {"labels": ["hm"]}, "none of the labels"),
    ],
)
def test_an_answer_that_does_not_fit_its_task_is_told_why(task, good, bad, why):
    assert complaint(task, Note(**good)) == ""
    assert why in complaint(task, Note(**bad))


async def test_a_row_that_people_are_to_label_waits_with_its_tasks_in_the_queue():
    done = await run(two_labels, [{"text": "sky"}, {"text": "grass"}], allow_failures=True)
    assert (done.exit_code, done.waiting, done.rows) == (4, 2, [])
    journal = Journal(done.folder, read_only=True)
    tasks = list(journal.select("SELECT sample, role, people FROM tasks ORDER BY place, sample"))
    journal.release()
    assert tasks == [(0, "rater", "anyone"), (1, "rater", "anyone")] * 2


async def test_answers_that_were_put_into_the_journal_let_the_rows_go_on_and_the_queue_is_empty():
    out = folder()
    await run(two_labels, [{"text": "sky"}], out=out, allow_failures=True)
    journal = Journal(out)
    for number, (key, question, sample, place, role, people) in enumerate(
        list(journal.select("SELECT key, question, sample, place, role, people FROM tasks ORDER BY sample"))
    ):
        note = msgspec.json.encode(Note(by=f"person {number}", labels=["green" if number else "blue"]))
        entry = (key, question, sample, place, role, people, note, None, 0, 0, 0.0, 1.0, 0)
        journal._reader.execute(f"INSERT OR IGNORE INTO calls VALUES ({','.join('?' * 13)})", entry)
    journal.release()
    done = await aresume(out, recipe=two_labels)
    assert [(row.text, row.label) for row in done.rows] == [("sky person 0", "blue"), ("sky person 1", "green")]
    assert all(len(row.lineage.calls) == 2 for row in done.rows)
    looked = Journal(out, read_only=True)
    assert looked.count("tasks") == 0
    looked.release()


async def test_a_script_stands_in_for_people_and_is_held_to_the_rules():
    gold = Script(lambda task, number: Note(by=f"s{number}", labels=["blue" if "sky" in task.text else "green"]))
    done = await run(two_labels, [{"text": "sky"}, {"text": "grass"}], rater=gold)
    assert [row.label for row in done.rows] == ["blue", "blue", "green", "green"]
    assert (await replay(done, model={"rater": gold})).rows == done.rows
    wrong = Script(lambda task, number: Note(labels=["red"]))
    failed = await run(two_labels, [{"text": "sky"}], rater=wrong, allow_failures=True)
    assert "none of the labels" in failed.failures[0].error


async def test_a_model_in_a_persons_place_sees_the_task_and_is_told_once_what_was_wrong():
    chat = Scripted(['{"labels": ["red"]}', '{"labels": ["blue"]}'], model="m")
    answer = await ModelAnnotator(chat).answer(Question("annotate", task=COLOURS), 1)
    assert answer.samples == [Note(by="m", labels=["blue"])]
    first, second = chat.questions
    assert [part in first.messages[0].content for part in ("Look up.", "The sky.", "blue, green")] == [True] * 3
    assert "'red' is none of the labels" in second.messages[-1].content
    assert answer.usage.output > 0


async def test_a_model_that_gives_no_answer_fails_the_call_and_none_is_made_up():
    chat = Scripted(["blue, I think", '{"labels": []}'])
    done = await run(two_labels, [{"text": "sky"}], rater=ModelAnnotator(chat), allow_failures=True)
    assert (done.rows, done.failed) == ([], 1)
    assert "also when told what was wrong: choose exactly one label" in done.failures[0].error


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (COLOURS, {"labels": ["blue"]}),
        (Writing(context="A poem?"), {"text": "Yes."}),
        (Editing(text="helo"), {"text": "hello"}),
        (Ranking(items=["a", "b"]), {"order": [1, 0]}),
        (Comparing(first="a", second="b"), {"preference": 0}),
        (Rating(text="a", aspects={"x": "?"}), {"ratings": {"x": 2}}),
        (Steps(steps=["a"], options=["ok"]), {"labels": ["ok"]}),
    ],
)
async def test_every_kind_of_task_can_be_asked_of_a_model(task, said):
    answer = await ModelAnnotator(Scripted([json.dumps(said)])).answer(Question("annotate", task=task), 1)
    assert complaint(task, answer.samples[0]) == ""
    assert next(iter(said)) in asked(task)[0]


def test_people_and_models_are_named_like_any_other():
    assert (parse("people:").model, parse("people:experts").model) == ("anyone", "experts")
    assert parse("annotator:openai:gpt-4o-mini,price=1/2").open().can == {"Annotator"}
    assert People("x").can == {"Annotator"}
    with pytest.raises(BadInput, match="name of a group"):
        parse("people:No Such/Thing")
    with pytest.raises(BadInput, match="followed by the name of a model"):
        parse("annotator:dense:wordllama:")
