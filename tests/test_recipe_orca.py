"""Orca: queries under system messages that ask for explanations, by one teacher and then, some of them, by a better one."""

import json
import random
from collections import Counter

import pytest

from gristmill import recipes
from gristmill.errors import BadInput, Refused
from gristmill.export.formats import export
from gristmill.models.protocol import Message, Reply
from gristmill.recipes.distillation.orca import ALLOWED, SYSTEM_MESSAGES, FlanQuery, by_task, orca
from gristmill.testing import Scripted, replay, run

MESSAGES = {name: prompt() for name, prompt in SYSTEM_MESSAGES.items()}


def queries(collection, tasks=3, each=4):
    return [
        {"query": f"{collection} {task}.{number}", "collection": collection, "task": f"{collection} task {task}"}
        for task in range(tasks)
        for number in range(each)
    ]


ALL = [query for collection in ALLOWED for query in queries(collection)]


def teachers(**scripts):
    """Two teachers that say their name and what they were asked; or what a script says."""
    usual = {
        "first_teacher": lambda q: f"first: {q.messages[-1].content}",
        "second_teacher": lambda q: f"second: {q.messages[-1].content}",
    }
    return {role: Scripted(scripts.get(role, say), model=role.partition("_")[0]) for role, say in usual.items()}


def stage(done, number):
    return [row for row in done.rows if row.stage == number]


# -- the system messages


@pytest.mark.proof("orca", 1)
async def test_each_row_has_a_system_message_of_its_collection_and_the_teacher_was_asked_under_it():
    models = teachers()
    done = await run(orca, ALL, **models)
    assert len(done.rows) == 2 * len(ALL)
    for row in done.rows:
        assert row.system in [MESSAGES[name] for name in ALLOWED[row.collection]]
        asked = models["first_teacher" if row.stage == 1 else "second_teacher"]
        [messages] = [q.messages for q in asked.questions if q.messages[-1].content == row.query]
        expected = [Message("system", row.system)] if row.system else []
        assert messages == [*expected, Message("user", row.query)]
        assert [(turn.role, turn.content) for turn in row.messages] == [
            *(("system", message.content) for message in expected),
            ("user", row.query),
            ("assistant", row.response),
        ]
        assert row.task.startswith(f"{row.collection} task")


async def test_every_message_that_a_collection_allows_is_drawn_and_the_draw_is_kept():
    assert len(SYSTEM_MESSAGES) == len(set(MESSAGES.values())) == 16
    assert {name for names in ALLOWED.values() for name in names} == set(SYSTEM_MESSAGES)
    for collection, allowed in ALLOWED.items():
        done = await run(orca, queries(collection, 1, 120), second_teacher_queries=0, **teachers())
        names = Counter(row.lineage.draws["system_message"] for row in done.rows)
        assert set(names) == set(allowed)
        assert min(names.values()) > 120 / len(allowed) / 4
        assert all(row.system == MESSAGES[row.lineage.draws["system_message"]] for row in done.rows)


async def test_the_empty_message_is_no_message():
    done = await run(orca, queries("t0", 1, 40), **teachers())
    bare = [row for row in done.rows if row.system == ""]
    assert bare
    assert {tuple(turn.role for turn in row.messages) for row in bare} == {("user", "assistant")}


async def test_other_messages_take_the_place_of_the_sixteen():
    own = [
        {"name": "short", "text": " Be short. ", "collections": ["cot"]},
        {"name": "long", "text": "Be long."},
        {"name": "bare", "text": ""},
    ]
    done = await run(orca, ALL, system_messages=own, **teachers())
    found = {name: {row.system for row in done.rows if row.collection == name} for name in ALLOWED}
    assert found == {
        "cot": {"Be short.", "Be long.", ""},
        **{name: {"Be long.", ""} for name in ("niv2", "flan2021", "t0")},
    }


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ([{"name": "a", "text": "A.", "collections": ["cot", "t0"]}], "none of the system_messages is for .*'niv2'"),
        ([{"name": "a", "text": "A."}, {"name": "a", "text": "B."}], "the same name"),
        ([{"name": "a", "text": "A.", "collections": ["flan"]}], "system_messages"),
        ([], "system_messages"),
    ],
)
async def test_messages_that_cannot_be_used_are_refused_before_the_first_call(own, said):
    models = teachers()
    with pytest.raises(BadInput, match=said):
        await run(orca, ALL, system_messages=own, **models)
    assert not models["first_teacher"].questions
    only = [query for query in ALL if query["collection"] in ("cot", "t0")]
    if own and len(own) == 1 and "t0" in own[0]["collections"]:
        assert (await run(orca, only, system_messages=own, **models)).rows  # no query of another collection is there


# -- which queries


@pytest.mark.proof("orca", 2)
async def test_no_task_of_niv2_gives_more_than_300_rows_and_other_tasks_may():
    rows = [*queries("niv2", 1, 305), *queries("niv2", 2, 3), *queries("t0", 1, 305)]
    done = await run(orca, rows, second_teacher_queries=0, **teachers())
    assert Counter(row.task for row in done.rows) == {"niv2 task 0": 300, "niv2 task 1": 3, "t0 task 0": 305}


async def test_the_cap_of_niv2_is_a_parameter():
    done = await run(orca, ALL, niv2_max_per_task=2, second_teacher_queries=0, **teachers())
    assert Counter(row.collection for row in done.rows) == {"cot": 12, "niv2": 6, "flan2021": 12, "t0": 12}


async def test_each_collection_has_a_size_of_its_own():
    sizes = {"cot": 1, "niv2": 2, "flan2021": 3, "t0": 0}
    done = await run(orca, ALL, **sizes, **teachers())
    assert Counter(row.collection for row in stage(done, 1)) == Counter(sizes)
    defaults = {name: orca.parameters[name].default for name in (*sizes, "niv2_max_per_task", "second_teacher_queries")}
    assert defaults == {
        "cot": 150_000,
        "niv2": 440_000,
        "flan2021": 2_500_000,
        "t0": 2_000_000,
        "niv2_max_per_task": 300,
        "second_teacher_queries": 1_000_000,
    }


def test_tasks_are_drawn_alike_however_large_and_no_query_twice():
    large = [FlanQuery(query=f"l{n}", collection="t0", task="large") for n in range(900)]
    small = [FlanQuery(query=f"s{n}", collection="t0", task="small") for n in range(60)]
    found = by_task(random.Random(1), [*large, *small], 100)
    counts = Counter(query.task for query in found)
    assert 30 < counts["small"] < 60  # 50 of 100 with a deviation of 5; by query it would be 6
    every = by_task(random.Random(1), [*large, *small], 5000)
    assert len(every) == len({query.query for query in every}) == 960  # used up: the others go on alone
    assert by_task(random.Random(1), large, 3) != by_task(random.Random(2), large, 3) != large[:3]
    assert by_task(random.Random(1), [], 3) == []


async def test_queries_without_words_are_put_aside_and_their_task_is_passed_over():
    rows = [{"query": " \n", "collection": "cot", "task": "empty"}, *queries("cot", 1, 2)]
    done = await run(orca, rows, **teachers())
    assert len(stage(done, 1)) == 2
    assert [(r.reason, r.candidate["task"]) for r in done.rejects] == [("empty_query", "empty")]


async def test_what_is_no_query_of_a_known_collection_is_refused():
    for broken, said in [
        ({"query": "q", "collection": "dialog"}, "dialog"),
        ({"query": "q"}, "no column 'collection'"),
        ({"collection": "cot"}, "no column 'query'"),
    ]:
        with pytest.raises(BadInput, match=said):
            await run(orca, [broken], **teachers())
    with pytest.raises(BadInput, match="no rows"):
        await run(orca, [], **teachers())


# -- two teachers, two stages


@pytest.mark.proof("orca", 3)
async def test_the_second_stage_is_a_part_of_the_first_answered_by_the_second_teacher():
    models = teachers()
    done = await run(orca, ALL, second_teacher_queries=20, **models)
    first, second = stage(done, 1), stage(done, 2)
    assert (len(first), len(second)) == (len(ALL), 20)
    assert {(row.query, row.system) for row in second} < {(row.query, row.system) for row in first}
    assert len({row.query for row in second}) == 20
    assert {row.teacher for row in first} == {"first"}
    assert {row.teacher for row in second} == {"second"}
    assert all(row.response == f"{row.teacher}: {row.query}" for row in done.rows)
    assert (len(models["first_teacher"].questions), len(models["second_teacher"].questions)) == (len(ALL), 20)
    assert [row.query for row in second] != [row.query for row in first][:20]  # drawn, not the first ones


@pytest.mark.proof("orca", 4)
async def test_stages_come_in_order_and_export_as_a_file_each_the_first_teachers_first(tmp_path):
    done = await run(orca, ALL, second_teacher_queries=7, **teachers())
    assert [row.stage for row in done.rows] == [1] * len(ALL) + [2] * 7
    files = export(done.folder, "trl-sft", tmp_path / "orca.jsonl", by="stage")
    assert [(path.name, count) for path, count in files.items()] == [("orca-1.jsonl", len(ALL)), ("orca-2.jsonl", 7)]
    for path, teacher in zip(files, ("first", "second"), strict=True):
        for line in path.read_text().splitlines():
            messages = json.loads(line)["messages"]
            assert messages[-1]["content"].startswith(f"{teacher}: ")
            assert messages[-2]["role"] == "user"


async def test_responses_that_are_no_answer_are_dropped_and_the_second_teacher_is_not_asked_for_them():
    said = {
        "cot 0.0": ("", "empty"),
        "cot 0.1": (Reply("Because", finish="length"), "truncated"),
        "cot 0.2": (Reply("I", finish="content_filter"), "content_filter"),
        "cot 0.3": ("I'm sorry, but I cannot help with that.", "refusal"),
    }
    models = teachers(first_teacher=lambda q: said.get(q.messages[-1].content, ("So.", ""))[0])
    done = await run(orca, [*queries("cot", 1, 4), *queries("t0", 1, 2)], **models)
    assert sorted((r.reason, r.details["stage"], r.details["collection"]) for r in done.rejects) == sorted(
        (reason, 1, "cot") for _, reason in said.values()
    )
    assert len(stage(done, 1)) == len(stage(done, 2)) == len(models["second_teacher"].questions) == 2


async def test_a_response_of_the_second_teacher_that_is_none_costs_its_own_row_alone():
    models = teachers(second_teacher=lambda q: "" if q.messages[-1].content == "cot 0.1" else "Well.")
    done = await run(orca, queries("cot", 1, 3), **models)
    assert (len(stage(done, 1)), len(stage(done, 2))) == (3, 2)
    assert [(r.reason, r.details["stage"]) for r in done.rejects] == [("empty", 2)]


@pytest.mark.parametrize(("failing", "rows"), [("first_teacher", (2, 2)), ("second_teacher", (3, 2))])
async def test_a_call_that_fails_costs_its_own_query_alone(failing, rows):
    def say(question):
        if question.messages[-1].content == "cot 0.1":
            raise Refused("no")
        return "Well."

    done = await run(orca, queries("cot", 1, 3), allow_failures=True, **teachers(**{failing: say}))
    assert (len(stage(done, 1)), len(stage(done, 2))) == rows
    assert len(done.failures) == 1


async def test_both_teachers_are_sampled_as_asked_for():
    for options, expected in [({}, (0.7, 2048)), ({"temperature": 0.1, "max_tokens_response": 9}, (0.1, 9))]:
        models = teachers()
        await run(orca, queries("cot", 1, 1), **options, **models)
        for model in models.values():
            assert model.questions[0].sampling == {"temperature": expected[0], "max_tokens": expected[1]}


async def test_a_row_names_its_query_and_its_own_call():
    done = await run(orca, queries("cot", 1, 3), concurrency=1, **teachers())
    assert len({row.lineage.calls[0] for row in done.rows}) == 6
    for row in done.rows:
        assert len(row.lineage.calls) == len(row.lineage.parents) == 1
    parents = {row.query: row.lineage.parents for row in stage(done, 1)}
    assert {row.query: row.lineage.parents for row in stage(done, 2)} == parents


async def test_a_target_is_refused_since_the_sizes_say_how_many_rows_there_are():
    with pytest.raises(BadInput, match="second_teacher_queries"):
        await run(orca, ALL, target=3, **teachers())


async def test_more_queries_than_are_worked_on_at_once_lose_none(monkeypatch):
    monkeypatch.setattr("gristmill.recipes.distillation.orca.AT_ONCE", 5)
    done = await run(orca, queries("cot", 1, 12), **teachers())
    assert (len(stage(done, 1)), len(stage(done, 2))) == (12, 12)
    assert len({row.query for row in stage(done, 2)}) == 12


def test_the_shipped_queries_are_of_every_collection_and_no_two_are_the_same():
    rows = recipes.shipped("flan_queries.jsonl", FlanQuery)
    assert {row.collection for row in rows} == set(ALLOWED)
    assert len({row.query for row in rows}) == len(rows)
    assert all(row.task for row in rows)


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    first = await run(orca, ALL, second_teacher_queries=9, concurrency=1, **teachers())
    again = await replay(first)
    assert (again.rows, again.calls) == (first.rows, 0)
    other = await run(orca, ALL, second_teacher_queries=9, concurrency=16, **teachers())
    assert [(row.query, row.system, row.stage) for row in other.rows] == [
        (row.query, row.system, row.stage) for row in first.rows
    ]
