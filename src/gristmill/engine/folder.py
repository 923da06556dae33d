"""A run's folder. It is whole in itself: what a run read is kept in it, so it can be resumed and replayed without the files
that the user named.

    run.db                          calls, rows, rejects, failures: the run itself
    inputs/                         what was read: seeds.parquet and further inputs, pictures/
    data/                           a Parquet file a table
    artefacts/                      files that the run made besides rows
    README.md, card.json            the card, for people and for programs
    croissant.json                  the tables in Croissant
    card.toml                       what people write of the run
    report.json, report.html        what `gristmill check` found, for programs and for people
    manifest.json                   what was signed: hashes of all above but run.db, of data/ by row
    manifest.sig, manifest.rows     its signature; the hash of each row
"""

from __future__ import annotations

import itertools
import os
import shutil
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gristmill import infer
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput
from gristmill.infer import Kind
from gristmill.rows import Row, columns, table

T = TypeVar("T")
KIND = b"kind"
"""Where a file of inputs says of which type its rows are."""
BATCH = 4096
"""Rows in memory at once when tables are written."""


def claim(folder: Path) -> None:
    """Make a new run's folder. Never touches one that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a run already" if (folder / "run.db").exists() else "is not empty"
        raise BadInput(
            f"{folder} {what}; nothing in it was touched. Choose another --out, or `gristmill resume {folder}`, "
            f"or `gristmill rerun {folder} --out NEW` with other settings"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror or error}") from None


def keep_input(folder: Path, name: str, rows: Iterable[Row], kind: Kind | None = None) -> int:
    """Keep rows that a run reads; returns how many.

    Args:
        kind: their type, where the recipe reads any; it is kept with them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "inputs" / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    schema = pa.schema([("data", pa.binary())], metadata={KIND: msgspec.json.encode(kind)} if kind else None)
    encode = msgspec.json.Encoder().encode
    count = 0
    with Replacing(path) as unfinished, pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.record_batch([pa.array([encode(row) for row in batch], pa.binary())], schema=schema))
            count += len(batch)
    return count


def copy_input(base: Path, folder: Path, name: str, to: str = "") -> None:
    """Take over what another run read; under another name, if `to` says one."""
    (folder / "inputs").mkdir(exist_ok=True)
    with Replacing(folder / "inputs" / f"{to or name}.parquet") as unfinished:
        shutil.copyfile(base / "inputs" / f"{name}.parquet", unfinished)


def copy_pictures(base: Path, folder: Path) -> None:
    """Take over the pictures that another run read."""
    if (base / "inputs" / "pictures").is_dir():
        shutil.copytree(base / "inputs" / "pictures", folder / "inputs" / "pictures")


def kept_input(folder: Path, name: str, row_type: type[T], start: int = 0) -> Iterator[T]:
    """The rows of `keep_input` from a number on, streamed, as a type that they fit."""
    import pyarrow.parquet as pq

    path = folder / "inputs" / f"{name}.parquet"
    with pq.ParquetFile(path) as file:
        kept_as: Any = row_type
        if row_type is Row and (kind := (file.schema_arrow.metadata or {}).get(KIND)):
            kept_as = infer.row_type(msgspec.json.decode(kind, type=Kind))
        decode = msgspec.json.Decoder(kept_as).decode
        for batch in file.iter_batches(BATCH):
            for data in batch.column(0)[start:].to_pylist() if start < len(batch) else ():
                try:
                    row = decode(data)
                except msgspec.ValidationError as error:
                    raise BadInput(f"{path} cannot be read as {row_type.__name__}: {error}") from None
                yield row
            start = max(0, start - len(batch))


def kept_count(folder: Path, name: str) -> int:
    """How many rows `keep_input` kept."""
    import pyarrow.parquet as pq

    return pq.read_metadata(folder / "inputs" / f"{name}.parquet").num_rows  # type: ignore[no-any-return]


def write_tables(folder: Path, journal: Journal, tables: Iterable[type[Row]], step: int) -> dict[str, Path]:
    """Write `data/TABLE.parquet` of a step from the journal, rows in place order. A table without rows is left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(exist_ok=True)
    written = {}
    for row_type in tables:
        name, schema = table(row_type), arrow_schema(row_type)
        path = folder / "data" / f"{name}.parquet"
        found = journal.select("SELECT data FROM rows WHERE step=? AND name=? ORDER BY place, seq", (step, name))
        first = next(found, None)
        if first is None:
            path.unlink(missing_ok=True)
            continue
        with Replacing(path) as unfinished, pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for batch in _batches(itertools.chain([first], found)):
                records = [_flat(msgspec.json.decode(data), schema) for (data,) in batch]
                writer.write_table(pa.Table.from_pylist(records, schema=schema))
        written[name] = path
    return written


def _flat(record: dict[str, Any], schema: Any) -> dict[str, Any]:
    lineage = record.get("lineage") or {}
    lineage["draws"] = msgspec.json.encode(lineage.get("draws", {})).decode()
    lineage.setdefault("generation", 0)
    record["lineage"] = lineage
    for column in schema:
        if (column.metadata or {}).get(b"json") and column.name in record:
            record[column.name] = msgspec.json.encode(record[column.name]).decode()
    return record


def arrow_schema(row_type: type[Row]) -> Any:
    """The columns of a row type, from its annotations, so that they never depend on which rows there are."""
    import pyarrow as pa

    lineage = pa.struct(
        [
            ("seed", pa.string()),
            ("parents", pa.list_(pa.string())),
            ("calls", pa.list_(pa.string())),
            ("draws", pa.string()),
            ("generation", pa.int64()),
        ]
    )
    hints = typing.get_type_hints(row_type)
    fields = [pa.field("id", pa.string())]
    for name in columns(row_type):
        kind = _arrow_type(hints[name])
        fields.append(pa.field(name, kind or pa.string(), metadata=None if kind else {"json": "1"}))
    return pa.schema([*fields, pa.field("lineage", lineage)])


def _arrow_type(hint: Any) -> Any:
    """The Arrow type of an annotation; None where only JSON text can hold it (mixed unions, free tables)."""
    import pyarrow as pa

    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.string()}
    if hint in plain:
        return plain[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _arrow_type(args[0])
    if origin is typing.Literal:
        kinds = {type(a) for a in args}
        return plain.get(kinds.pop()) if len(kinds) == 1 else None
    if origin in (types.UnionType, typing.Union):
        rest = [a for a in args if a is not type(None)]
        return _arrow_type(rest[0]) if len(rest) == 1 else None
    if origin in (list, tuple, set) and args:
        inner = _arrow_type(args[0])
        return pa.list_(inner) if inner else None
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        inner = [(name, _arrow_type(hints[name])) for name in hint.__struct_fields__]
        return pa.struct(inner) if all(kind for _, kind in inner) else None
    return None


class Replacing:
    """A file that appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.unfinished = path, path.with_name(path.name + ".unfinished")

    def __enter__(self) -> Path:
        return self.unfinished

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            os.replace(self.unfinished, self.path)
        else:
            self.unfinished.unlink(missing_ok=True)


def lines(path: Path, records: Iterable[Any]) -> int:
    """Write JSONL; returns how many lines."""
    encode = msgspec.json.Encoder().encode
    count = 0
    with open(path, "wb") as file:
        for record in records:
            file.write(encode(record) + b"\n")
            count += 1
    return count


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
