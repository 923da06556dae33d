"""Training formats, each a function from a row's data to a record, or an error that says what would fit.

A format reads the fields of a base row type (see `gristmill.rows`), so every recipe that subclasses one is covered.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gristmill.engine.folder import Replacing, lines
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput, nearest
from gristmill.pictures import NAME
from gristmill.rows import ordered

Record = dict[str, Any]


def _prompt(row: Record) -> str:
    """The task with its input, as one text."""
    return "\n\n".join(filter(None, (row["instruction"], row.get("input", ""))))


def trl_sft(row: Record) -> Record:
    """TRL's SFTTrainer: `messages`, `prompt` and `completion`, or `text`; `images` beside messages that are about one."""
    if "messages" in row:
        return {"messages": row["messages"], **({"images": [row["image"]]} if row.get("image") else {})}
    if "instruction" in row and "output" in row:
        return {"messages": [_turn("user", _prompt(row)), _turn("assistant", row["output"])]}
    if "prompt" in row and "completion" in row:
        return {"prompt": row["prompt"], "completion": row["completion"]}
    if "text" in row:
        return {"text": row["text"]}
    raise _unfit("trl-sft", row, "messages, or instruction and output, or prompt and completion, or text")


def trl_dpo(row: Record) -> Record:
    """TRL's DPOTrainer: `prompt`, `chosen` and `rejected`."""
    if {"prompt", "chosen", "rejected"} <= row.keys():
        return {
            "prompt": [_turn("user", row["prompt"])],
            "chosen": [_turn("assistant", row["chosen"])],
            "rejected": [_turn("assistant", row["rejected"])],
        }
    raise _unfit("trl-dpo", row, "prompt, chosen and rejected")


def alpaca(row: Record) -> Record:
    """Stanford Alpaca: `instruction`, `input`, `output`."""
    if "instruction" in row and "output" in row:
        return {"instruction": row["instruction"], "input": row.get("input", ""), "output": row["output"]}
    if "prompt" in row and "completion" in row:
        return {"instruction": row["prompt"], "input": "", "output": row["completion"]}
    raise _unfit("alpaca", row, "instruction and output, or prompt and completion")


def openai(row: Record) -> Record:
    """OpenAI's fine-tuning files: `messages`."""
    record = trl_sft(row)
    if "prompt" in record:
        return {"messages": [_turn("user", record["prompt"]), _turn("assistant", record["completion"])]}
    if "messages" in record:
        return {"messages": record["messages"]}
    raise _unfit("openai", row, "messages, or instruction and output, or prompt and completion")


def sharegpt(row: Record) -> Record:
    """ShareGPT: `conversations` of `from` (human, gpt, system) and `value`; `image` beside them, as LLaVA's trainer reads."""
    names = {"user": "human", "assistant": "gpt"}
    turns = openai(row)["messages"]
    record = {"conversations": [{"from": names.get(t["role"], t["role"]), "value": t["content"]} for t in turns]}
    return record | ({"image": row["image"]} if row.get("image") else {})


def jsonl(row: Record) -> Record:
    """Every field of the row, and its id."""
    return row


RECORDS: dict[str, Callable[[Record], Record]] = {
    "jsonl": jsonl,
    "trl-sft": trl_sft,
    "trl-dpo": trl_dpo,
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "openai": openai,
}
FORMATS = (*RECORDS, "csv", "parquet")
PART = re.compile(r"\w[\w.-]{0,99}")
"""What a value must be like to stand in a file's name."""
MOST_PARTS = 1000


def export(
    folder: Path, format: str, to: Path, *, table: str | None = None, step: int | None = None, by: str | None = None
) -> dict[Path, int]:
    """Write a table of a run to a file, or to one for each value of a column; returns the rows in each, in their order.

    Pictures that the rows name go into a folder beside it, FILE-pictures, and are named from there.

    Args:
        format: one of FORMATS.
        to: the file. With `by` each file's name has the value before its ending: "out.jsonl" becomes "out-1.jsonl".
        table: the run's only table unless named.
        step: number of a chain's step; the last one's rows unless given.
        by: a column of texts or whole numbers, such as a stage of training or a split. Files come in the order of
            numbers, else in that of the first rows.

    Raises:
        BadInput: no such format, table or column, rows that the format cannot hold, or a file that cannot be written.
    """
    if format not in FORMATS:
        raise BadInput(f"there is no format {format!r}: {nearest(format, FORMATS)}")
    journal = Journal(Path(folder), read_only=True)
    try:
        if step is None:
            [(step,)] = journal.select("SELECT COALESCE(MAX(step), 0) FROM progress")
        name = _table(journal, folder, table, step)
        parts = {to: None} if by is None else _parts(_rows(journal, name, step), by, to)
        written = {}
        for path, value in parts.items():
            rows = (row for row in _rows(journal, name, step) if by is None or row[by] == value)
            try:
                with Replacing(path) as unfinished:
                    written[path] = _write(_carried(rows, Path(folder), path), format, unfinished)
            except OSError as error:
                raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
        return written
    finally:
        journal.release()


def _parts(rows: Iterator[Record], by: str, to: Path) -> dict[Path, Any]:
    """A file for each value of a column."""
    found: dict[Any, Path] = {}
    for row in rows:
        if by not in row:
            raise BadInput(f"the rows have no column {by!r}: {nearest(by, row)}")
        value = row[by]
        if isinstance(value, bool) or not isinstance(value, str | int) or not PART.fullmatch(str(value)):
            raise BadInput(
                f"{by}={str(value)[:80]!r} cannot stand in a file's name: --by wants a column of whole numbers, or of "
                "short texts with letters, digits, '.', '_' and '-'"
            )
        if len(found) >= MOST_PARTS and value not in found:
            raise BadInput(f"{by} has more than {MOST_PARTS:,} values, and each would be a file")
        found.setdefault(value, to.with_name(f"{to.stem}-{value}{to.suffix}"))
    numbers = all(isinstance(value, int) for value in found)
    return {found[value]: value for value in (sorted(found) if numbers else found)}


def _write(rows: Iterator[Record], format: str, path: Path) -> int:
    if format == "csv":
        return _write_csv(rows, path)
    if format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        records = [{key: _cell(value) for key, value in row.items()} for row in rows]
        pq.write_table(pa.Table.from_pylist(records), path)
        return len(records)
    return lines(path, map(RECORDS[format], rows))


def _write_csv(rows: Iterator[Record], path: Path) -> int:
    count = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, row.keys(), extrasaction="ignore")
                writer.writeheader()
            writer.writerow({key: _cell(value) for key, value in row.items()})
            count += 1
    return count


def _rows(journal: Journal, name: str, step: int) -> Iterator[Record]:
    sql = "SELECT data FROM rows WHERE step=? AND name=? ORDER BY place, seq"
    for (data,) in journal.select(sql, (step, name)):
        row = msgspec.json.decode(data)
        row.pop("lineage", None)
        yield ordered(row)


def _carried(rows: Iterator[Record], folder: Path, to: Path) -> Iterator[Record]:
    """The rows with their pictures beside the file that they are written to."""
    beside = to.with_name(f"{to.stem}-pictures")
    for row in rows:
        for key, value in row.items():
            if isinstance(value, str) and NAME.fullmatch(value):
                beside.mkdir(exist_ok=True)
                kept = beside / Path(value).name
                if not kept.exists():
                    shutil.copyfile(folder / value, kept)
                row[key] = f"{beside.name}/{kept.name}"
        yield row


def _table(journal: Journal, folder: Path, wanted: str | None, step: int) -> str:
    names = [name for (name,) in journal.select("SELECT DISTINCT name FROM rows WHERE step=? ORDER BY name", (step,))]
    if wanted is not None and wanted not in names:
        raise BadInput(f"{folder} has no table {wanted!r}: {nearest(wanted, names)}")
    if not names:
        raise BadInput(f"{folder} has no rows yet")
    if wanted is None and len(names) > 1:
        raise BadInput(f"{folder} has several tables: choose with --table one of {', '.join(names)}")
    return wanted or names[0]


def _turn(role: str, content: str) -> Record:
    return {"role": role, "content": content}


def _cell(value: Any) -> Any:
    """A value in a table: lists and tables as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, (list, dict)) else value


def _unfit(format: str, row: Record, wanted: str) -> BadInput:
    have = ", ".join(key for key in row if key != "id")
    return BadInput(f"{format} needs {wanted}; these rows have {have}. jsonl, csv and parquet take any row")
