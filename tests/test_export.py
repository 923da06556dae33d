"""Files for trainers, one for each value of a column."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from typer.testing import CliRunner

from gristmill import BadInput, Completion, Row, recipe
from gristmill.cli import app
from gristmill.export import export
from gristmill.testing import run


class Lesson(Row):
    question: str
    stage: int
    split: str = "train"


class Staged(Completion):
    stage: int
    split: str
    weight: float = 0.5


@recipe("staged")
async def staged(row: Lesson) -> AsyncIterator[Staged]:
    """What was read."""
    yield Staged(row.question, "yes", row.stage, row.split)


async def made(*lessons):
    return (await run(staged, [dict(zip(("question", "stage", "split"), one, strict=False)) for one in lessons])).folder


def prompts(path):
    return [msgspec.json.decode(line)["prompt"] for line in path.read_text().splitlines()]


async def test_each_stage_is_a_file_in_the_order_of_stages_with_its_rows_in_theirs(tmp_path):
    folder = await made(("a", 10), ("b", 2), ("c", 10), ("d", 1))
    written = export(folder, "trl-sft", tmp_path / "out.jsonl", by="stage")
    assert list(written.items()) == [
        (tmp_path / "out-1.jsonl", 1), (tmp_path / "out-2.jsonl", 1), (tmp_path / "out-10.jsonl", 2)
    ]  # fmt: skip
    assert prompts(tmp_path / "out-10.jsonl") == ["a", "c"]
    assert not (tmp_path / "out.jsonl").exists()


async def test_texts_come_in_the_order_of_their_first_rows(tmp_path):
    folder = await made(("a", 1, "train"), ("b", 1, "dev"), ("c", 1, "train"))
    assert list(export(folder, "csv", tmp_path / "x.csv", by="split")) == [
        tmp_path / "x-train.csv",
        tmp_path / "x-dev.csv",
    ]


async def test_a_value_that_would_lead_elsewhere_or_a_column_that_is_none_is_refused(tmp_path):
    folder = await made(("a", 1, "../../etc"))
    for by, message in [
        ("split", "cannot stand in a file's name"),
        ("stages", "no column 'stages'"),
        ("weight", "0.5"),
    ]:
        with pytest.raises(BadInput, match=message):
            export(folder, "jsonl", tmp_path / "x.jsonl", by=by)
    assert list(tmp_path.iterdir()) == []


async def test_the_command_says_what_it_wrote(tmp_path):
    folder = await made(("a", 1), ("b", 2))
    said = CliRunner().invoke(
        app, ["export", str(folder), "--format", "openai", "--to", str(tmp_path / "o.jsonl"), "--by", "stage"]
    )
    assert said.exit_code == 0, said.output
    assert "o-1.jsonl" in said.output
    assert "o-2.jsonl" in said.output
