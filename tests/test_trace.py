"""`gristmill trace`: where a row came from."""

import json

import pytest

import gristmill
from gristmill import BadInput
from gristmill.cli import main
from gristmill.testing import Scripted, folder
from gristmill.trace import answered, said, trace
from test_chains import answer, best, grade, numbered, seeds


async def made(steps=(answer, best, grade)):
    return await gristmill.arun(
        gristmill.Chain(list(steps)), seeds=seeds(9), model=Scripted(numbered), out=folder() / "run"
    )


async def test_a_row_is_followed_through_the_steps_to_its_seed():
    done = await made()
    found = trace(done.folder, done.rows[0].id)
    assert (found.kind, found.step, found.generation, found.data["grade"]) == ("graded", "grade", 3, done.rows[0].grade)
    [asked] = found.calls
    assert (asked.role, asked.model) == ("judge", "scripted")
    assert said(asked.question) == f"grade {found.data['completion']}"
    assert answered(asked.answer) == f"answer to grade {found.data['completion']}"
    [chosen] = found.parents
    assert (chosen.step, chosen.generation, chosen.calls) == ("best", 2, [])
    [first] = chosen.parents
    assert (first.kind, first.step, list(first.draws), len(first.calls)) == ("answered", "answer", ["word"], 1)
    [seed] = first.parents
    assert (seed.kind, seed.data, seed.generation, seed.parents) == ("seed", {"question": found.data["prompt"]}, 0, [])


async def test_a_row_is_found_by_its_number_or_by_the_first_letters_of_its_id():
    done = await made()
    second = done.rows[1]
    assert trace(done.folder, "2") == trace(done.folder, second.id) == trace(done.folder, second.id[:12])
    for wrong, message in [
        ("0", "has no row number 0"),
        ("999", "has no row number 999; its last step made"),
        ("zz", "is no row"),
        ("0123456789abcdef", "has no row '0123"),
    ]:
        with pytest.raises(BadInput, match=message):
            trace(done.folder, wrong)


async def test_a_row_that_stands_in_the_trace_already_is_not_told_twice():
    from test_infer import join

    done = await gristmill.arun(gristmill.Chain([join, join]), seeds=[{"text": t} for t in "abc"], out=folder() / "run")
    found = trace(done.folder, "1")
    first, second = found.parents
    assert [parent.data for parent in first.parents] == [{"text": "a"}, {"text": "b"}]
    shared, other = second.parents
    assert (shared.known, shared.data, other.data) == (True, {}, {"text": "c"})


async def test_the_command_prints_it_as_a_tree_or_as_json(capsys):
    done = await made()
    with pytest.raises(SystemExit, match="0"):
        main(["trace", str(done.folder), "1"])
    shown = capsys.readouterr().out
    assert "graded of grade" in shown
    assert "asked: grade answer to" in shown
    assert "seed " in shown
    with pytest.raises(SystemExit, match="0"):
        main(["trace", str(done.folder), "1", "--json"])
    assert json.loads(capsys.readouterr().out)["generation"] == 3
    with pytest.raises(SystemExit, match="1"):
        main(["trace", str(done.folder / "nowhere"), "1"])


async def test_a_long_line_of_rows_is_told_to_its_end():
    from collections.abc import AsyncIterator

    from gristmill import Document, Rows, Run, recipe

    @recipe("line")
    async def line(rows: Rows[Document], run: Run) -> AsyncIterator[Document]:
        """Each row from the one before."""
        before = rows[0]
        for _ in range(1500):
            made = Document(text=before.text)
            run.link(made, before)
            yield made
            before = made

    done = await gristmill.arun(line, seeds=[{"text": "a"}], out=folder() / "run")
    one, depth = trace(done.folder, "1500"), 0
    while one.parents:
        [one] = one.parents
        depth += 1
    assert (depth, one.kind) == (1500, "seed")
