"""Recipes that read rows of any type: what type the rows are, and that it stays so over chains, resumes and reruns."""

import itertools
import json
from collections.abc import AsyncIterator

import msgspec
import pyarrow.parquet as pq
import pytest

import gristmill
from gristmill import BadInput, Chat, Document, Instruction, Preference, Row, Rows, Run, Step, recipe
from gristmill.infer import kind_of, row_type
from gristmill.rows import columns
from gristmill.testing import Scripted, folder, replay, run


@recipe("short")
async def short(row: Row, run: Run, *, column: str = "text", most: int = 5) -> AsyncIterator[Row]:
    """Short rows of any kind.

    Args:
        column: that is measured.
        most: characters.
    """
    if len(getattr(row, column)) <= most:
        yield row
    else:
        run.reject(row, "long")


@recipe("asked")
async def asked(row: Row, run: Run, judge: Chat) -> AsyncIterator[Row]:
    """Rows of which a model says yes."""
    if (await judge.chat(f"Keep? {msgspec.json.encode(row).decode()}")).text == "yes":
        yield row


@recipe("odd")
async def odd(rows: Rows[Row], run: Run) -> AsyncIterator[Row]:
    """Every other row of a set."""
    for row in rows[::2]:
        yield row


@recipe("shout")
async def shout(row: Document) -> AsyncIterator[Instruction]:
    """Texts as instructions."""
    yield Instruction(instruction=row.text.upper(), output="ok")


RECORDS = [{"text": "abc", "stars": 3, "tags": ["x"]}, {"text": "abcdefgh", "stars": None, "tags": []}]


async def test_a_filter_yields_what_came_in_with_all_its_columns():
    done = await run(short, RECORDS)
    [row] = done.rows
    assert (row.text, row.stars, row.tags) == ("abc", 3, ["x"])
    assert isinstance(row, Document)
    assert pq.read_table(done.tables["record"]).column_names == ["id", "text", "stars", "tags", "lineage"]
    assert dict(done.reject_counts) == {"long": 1}


async def test_in_a_chain_it_takes_the_type_of_the_step_before():
    chain = gristmill.Chain([shout, Step(short, column="instruction"), odd])
    done = await gristmill.arun(
        chain, seeds=[{"text": t} for t in ("a", "b", "too long a text", "c")], out=folder() / "run"
    )
    assert [type(row) for row in done.rows] == [Instruction, Instruction]
    assert [row.instruction for row in done.rows] == ["A", "C"]
    assert list(done.tables) == ["instruction"]


async def test_it_may_come_first_and_what_follows_must_fit():
    done = await gristmill.arun(gristmill.Chain([short, shout]), seeds=RECORDS, out=folder() / "run")
    assert [row.instruction for row in done.rows] == ["ABC"]
    with pytest.raises(BadInput, match="reads 'text'"):
        await gristmill.arun(gristmill.Chain([odd, shout]), seeds=[{"body": "x"}], out=folder() / "run")


async def test_a_resume_and_a_replay_read_the_same_columns(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    done = await run(
        asked, tmp_path / "rows.jsonl", judge=Scripted(lambda q: "yes" if "abc" in q.messages[0].content else "no")
    )
    assert [(row.text, row.stars) for row in done.rows] == [("abc", 3), ("abcdefgh", None)]
    again = await replay(done, model=Scripted())
    assert [msgspec.to_builtins(row) for row in again.rows] == [msgspec.to_builtins(row) for row in done.rows]
    resumed = await gristmill.aresume(done.folder, recipe=asked, model=Scripted())
    assert (len(resumed.rows), resumed.calls) == (2, 0)


async def test_a_rerun_may_read_rows_of_another_kind():
    done = await run(short, RECORDS)
    again = await gristmill.arerun(
        done.folder, recipe=short, seeds=[{"body": "ab"}], settings={"column": "body"}, out=folder() / "again"
    )
    assert [(type(row).__name__, row.body) for row in again.rows] == [("Record", "ab")]


async def test_rows_of_memory_keep_the_name_of_their_type_and_generators_are_read_once():
    done = await run(short, (Document(text=text) for text in ("a", "b")))
    assert list(done.tables) == ["document"]
    assert [row.text for row in done.rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("records", "base", "found"),
    [
        ([{"instruction": "a", "output": "b", "score": 1.5}], Instruction, {"instruction": "str", "output": "str", "score": "float"}),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], Preference, {"prompt": "str", "chosen": "str", "rejected": "str"}),
        ([{"x": 1}, {"x": 2.5}], Row, {"x": "float"}),
        ([{"x": 1}, {}], Row, {"x": "int?"}),
        ([{}, {"x": 1}], Row, {"x": "int?"}),
        ([{"x": 1}, {"x": "1"}], Row, {"x": "any"}),
        ([{"x": None}], Row, {"x": "any?"}),
        ([{"x": True}, {"x": 1}], Row, {"x": "any"}),
        ([{"x": {"a": 1}}], Row, {"x": "any"}),
        ([{"text": 5}], Row, {"text": "int"}),
        ([{"messages": [{"role": "user", "content": "hi"}]}], gristmill.Conversation, {"messages": "turns"}),
    ],
)  # fmt: skip
def test_columns_have_the_type_that_all_their_values_have(records, base, found):
    kind = kind_of(((f"row {n}", record) for n, record in enumerate(records)), {})
    assert kind.columns == found
    made = row_type(kind)
    assert made.__mro__[1] is base
    assert set(columns(made)) >= set(found)
    for record in records:
        assert msgspec.convert(record, made)


def test_mapped_columns_have_their_new_names_and_others_become_names():
    assert kind_of([("row 1", {"body text": "a"})], {"body text": "text"}).columns == {"text": "str"}
    found = kind_of([("row 1", {"meta.body text": "a", "__index_level_0__": 1, "2nd": "b", "id": "k", "class": 1})], {})
    assert list(found.columns) == ["meta_body_text", "index_level_0__", "column_2nd", "source_id", "class"]
    with pytest.raises(BadInput, match="would be called 'a_b'"):
        kind_of([("row 1", {"a.b": 1, "a b": 2})], {})
    with pytest.raises(BadInput, match="no rows"):
        kind_of([], {})


@recipe("grow")
async def grow(row: Document, run: Run) -> AsyncIterator[Document]:
    """A row of a row."""
    yield Document(text=row.text + "!")


@recipe("drawn")
async def drawn(row: Document, run: Run) -> AsyncIterator[Document]:
    """Another row each time."""
    yield Document(text=row.text + str(run.rng("x").random()))


@recipe("join")
async def join(rows: Rows[Document], run: Run) -> AsyncIterator[Document]:
    """One row of each and the next."""
    for one, other in itertools.pairwise(rows):
        made = Document(text=one.text + other.text)
        run.link(made, one, other)
        yield made


def generations(rows) -> list[int]:
    return [row.lineage.generation for row in rows]


async def test_a_row_is_a_generation_behind_the_rows_that_it_was_made_from_and_a_filter_makes_none():
    done = await gristmill.arun(
        gristmill.Chain([grow, Step(short, most=3), odd, grow]),
        seeds=[{"text": t} for t in "abc"],
        out=folder() / "run",
    )
    assert [row.text for row in done.rows] == ["a!!", "c!!"]
    assert generations(done.rows) == [2, 2]
    assert all(len(row.lineage.parents) == 1 for row in done.rows)


async def test_steps_that_ask_count_and_seeds_that_are_used_again_do_not():
    yes = Scripted(lambda q: "yes")
    done = await gristmill.arun(
        gristmill.Chain([grow, asked, grow]), seeds=[{"text": "a"}], model=yes, out=folder() / "run"
    )
    assert generations(done.rows) == [2]
    again = await gristmill.arun(
        gristmill.Chain([drawn, grow]), seeds=[{"text": "a"}], target=5, out=folder() / "again"
    )
    assert generations(again.rows) == [2] * 5


async def test_the_generation_is_that_of_the_farthest_parent_also_over_runs():
    first = await run(grow, [{"text": "a"}])
    again = await run(grow, first.rows)
    third = await gristmill.arun(grow, seeds=again.tables["document"], out=folder() / "third")
    assert (generations(first.rows), generations(again.rows), generations(third.rows)) == ([1], [2], [3])
    mixed = await run(join, [Document(text="new"), *again.rows, Document(text="old")])
    assert generations(mixed.rows) == [3, 3]
    assert generations((await replay(mixed)).rows) == [3, 3]


async def test_a_seed_is_named_by_what_it_says_whatever_generation_it_is():
    fresh = await run(short, [{"text": "a!"}])
    made = await run(short, (await run(grow, [{"text": "a"}])).rows)
    assert fresh.rows[0].lineage.seed == made.rows[0].lineage.seed
    assert (generations(fresh.rows), generations(made.rows)) == ([0], [1])


async def test_what_a_filter_of_a_set_passes_has_the_row_that_came_in_as_its_parent():
    done = await gristmill.arun(gristmill.Chain([grow, odd]), seeds=[{"text": t} for t in "abc"], out=folder() / "run")
    came = list(done.iterate(step="grow"))
    assert [row.lineage.parents for row in done.rows] == [[came[0].id], [came[2].id]]
    assert [row.lineage.seed for row in done.rows] == [came[0].lineage.seed, came[2].lineage.seed]
    assert {row.id for row in done.rows}.isdisjoint(row.id for row in came)


async def test_what_a_users_columns_are_called_reaches_the_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "k1", "meta.text": "ab", "text": "abc"}\n')
    [row] = (await run(short, tmp_path / "rows.jsonl")).rows
    assert (row.source_id, row.meta_text, row.text) == ("k1", "ab", "abc")


async def test_a_chain_reads_other_rows_the_next_time():
    chain = gristmill.Chain([Step(odd)])
    first = await gristmill.arun(chain, seeds=[{"text": "a"}], out=folder() / "run")
    second = await gristmill.arun(chain, seeds=[{"text": "b", "stars": 3}], out=folder() / "run")
    assert (first.rows[0].text, second.rows[0].stars) == ("a", 3)
    assert [row.stars for row in (await gristmill.aresume(second.folder, recipe=chain)).rows] == [3]
    step = Step(odd)
    gristmill.Chain([shout, step])
    assert gristmill.Chain([step]).reads_any


async def test_a_filter_put_before_a_typed_recipe_in_a_rerun_reads_the_rows_of_then():
    done = await run(shout, [{"text": "a"}, {"text": "b"}])
    chain = gristmill.Chain([odd, shout])
    again = await gristmill.arerun(done.folder, recipe=chain, out=folder() / "again")
    assert [row.instruction for row in again.rows] == ["A"]
    typed = await gristmill.arerun(
        again.folder, recipe=gristmill.Chain([shout]), seeds=[{"text": "c"}], out=folder() / "c"
    )
    third = await gristmill.arerun(typed.folder, recipe=gristmill.Chain([odd, shout]), out=folder() / "d")
    assert [row.instruction for row in third.rows] == ["C"]


@pytest.mark.parametrize(
    ("value", "message"),
    [(2**70, "too large for a table"), (object(), "holds a object"), ({1, 2}, "holds a set"), (b"x", "holds a bytes")],
)
async def test_a_value_that_no_table_can_hold_is_refused_before_there_is_a_folder(value, message):
    out = folder() / "run"
    with pytest.raises(BadInput, match=f"'x'.*{message}"):
        await run(odd, [{"x": value}], out=out)
    assert not out.exists()


async def test_numbers_that_are_none_are_read_as_missing_and_numpys_as_numbers():
    import numpy as np

    done = await run(odd, [{"x": np.float64(1.5), "n": np.int64(3)}, {"x": 0.0}, {"x": float("nan")}])
    assert [row.x for row in done.rows] == [1.5, None]


async def test_pictures_stay_pictures_and_names_that_only_look_like_some_do_not(tmp_path):
    from test_pictures import png

    (tmp_path / "cat.png").write_bytes(png(3))
    (tmp_path / "rows.jsonl").write_text('{"image": "cat.png", "text": "a cat"}\n')
    done = await run(odd, tmp_path / "rows.jsonl")
    [row] = done.rows
    assert (done.folder / row.image).exists()
    again = await gristmill.arun(odd, seeds=done.tables["record"], out=folder() / "again")
    assert (again.folder / again.rows[0].image).exists()
    named = await run(odd, [{"image": "cat-1234", "text": "a cat"}])
    assert named.rows[0].image == "cat-1234"


async def test_a_further_input_that_is_empty_is_not_one_that_was_left_out():
    with pytest.raises(BadInput, match="no rows"):
        await run(beside, [{"text": "a"}], others=[])


@recipe("beside")
async def beside(row: Document, run: Run, *, others: Rows[Document] | None = None) -> AsyncIterator[Document]:
    """A row of a further input."""
    if others is None:
        yield Document(text="none was given")
    else:
        yield msgspec.structs.replace(others[0], text=others[0].text + row.text)


async def test_a_row_made_from_a_further_input_keeps_the_lineage_of_its_unit():
    grown = await run(grow, (await run(grow, [{"text": "x"}])).rows)
    [row] = (await run(beside, [{"text": "a"}], others=grown.rows)).rows
    assert row.lineage.parents == [row.lineage.seed]
    assert row.lineage.generation == 3


@recipe("marks")
async def marks(row: Document, run: Run, judge: Chat) -> AsyncIterator[Document]:
    """Passes what came, and says what it was held against."""
    run.link(row, await judge.chat(row.text))
    yield row


async def test_a_link_on_the_row_that_came_in_takes_nothing_from_its_lineage():
    rows = (await run(grow, [{"text": "x"}])).rows
    [row] = (await run(marks, rows, judge=Scripted(["ok"]))).rows
    assert (row.lineage.generation, len(row.lineage.parents), len(row.lineage.calls)) == (1, 1, 1)
    assert row.lineage.seed == row.lineage.parents[0]


class Tally(Row):
    count: int


@recipe("counted")
async def counted(rows: Rows[Row], run: Run) -> AsyncIterator[Row | Tally]:
    """A filter with a report."""
    yield rows[0]
    found = Tally(count=len(rows))
    run.link(found, *rows)
    yield found
    late = Tally(count=0)
    run.link(late, rows[0])
    yield late


async def test_a_report_of_a_filter_is_made_and_what_was_passed_stays_what_it_was():
    grown = await run(grow, [{"text": "x"}, {"text": "y"}])
    done = await run(counted, grown.rows)
    assert generations(done.rows) == [1]
    whole, late = done.iterate("tally")
    assert generations([whole, late]) == [2, 2]
    # The set keeps a row under the name that it came with, also when it has left under another.
    assert late.lineage.parents == [whole.lineage.parents[0]] == done.rows[0].lineage.parents


@recipe("branched")
async def branched(row: Document, run: Run) -> AsyncIterator[Document]:
    """A row built in a branch."""

    async def make(text: str) -> Document:
        return Document(text=text)

    for made in await run.map(make, [row.text]):
        yield made


async def test_a_row_built_in_a_branch_is_a_generation_behind_its_unit_and_a_typed_filter_makes_none():
    rows = (await run(grow, [{"text": "x"}])).rows
    assert generations((await run(branched, rows)).rows) == [2]
    assert generations((await run(still, rows)).rows) == [1]


@recipe("still")
async def still(row: Document, run: Run) -> AsyncIterator[Document]:
    """A filter of one type."""
    yield row


@recipe("louder")
async def louder(row: Row, run: Run) -> AsyncIterator[Row]:
    """A filter that changes what it passes."""
    yield msgspec.structs.replace(row, text=row.text.upper(), id="", lineage=None)


async def test_a_filter_that_changes_a_row_makes_none():
    rows = (await run(grow, [{"text": "x"}])).rows
    done = await run(louder, rows)
    assert [row.text for row in done.rows] == ["X!"]
    assert generations(done.rows) == [1]
