"""Reading what a user brings: JSONL, JSON, CSV, Parquet, a folder of texts, another run, a Hugging Face data set.

Every record is checked against the row type that the recipe reads, before any call, with the place of the fault.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gristmill.errors import BadInput
from gristmill.infer import Kind, kind_of
from gristmill.pictures import take
from gristmill.rows import Lineage, Row, columns, content, pictures, required, seed_ids

TEXTS = {".txt", ".md", ".rst"}
KINDS = "JSONL, JSON, CSV, TSV, Parquet, a folder of .txt or .md files, a run's folder, or hf:NAME[:SPLIT]"

Records = Iterator[tuple[str, dict[str, Any]]]
"""Each record with where it stands, for messages."""


def read(
    source: str | Path | Iterable[Any],
    row_type: type[Row],
    *,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    folder: Path | None = None,
) -> Iterator[Row]:
    """The rows of a source, typed and named, streamed.

    Args:
        source: a file, a folder, "hf:NAME", or records (dicts or rows).
        row_type: what the recipe reads; columns that it lacks are ignored.
        mapping: column of the source -> field of the row type.
        chunk: split texts of a folder into pieces of at most so many tokens (estimated), at sentence ends.
        folder: of the run; pictures that the rows name are copied into it. None: they stay where they are.

    Raises:
        BadInput: what cannot be read, with file, line and column.
    """
    return seed_ids(_typed(source, row_type, dict(mapping or {}), chunk, folder))


def kind_in(source: str | Path | Iterable[Any], mapping: Mapping[str, str] | None = None) -> Kind:
    """The columns of a source, for a recipe that reads rows of any type. Reads all of it."""
    return kind_of(records(source), dict(mapping or {}))


def _base(source: str | Path | Iterable[Any]) -> Path:
    """Where the relative paths of a source begin."""
    if not isinstance(source, (str, Path)) or str(source).startswith("hf:"):
        return Path()
    path = Path(source)
    if path.parent.name == "data" and (path.parent.parent / "run.db").exists():
        return path.parent.parent  # a table of a run, whose pictures lie in its folder
    return path if path.is_dir() else path.parent


def _typed(
    source: str | Path | Iterable[Any],
    row_type: type[Row],
    mapping: dict[str, str],
    chunk: int | None,
    folder: Path | None,
) -> Iterator[Row]:
    found_records = records(source, chunk)
    base, shows = _base(source), pictures(row_type)
    found = False
    for field in mapping.values():
        if field not in columns(row_type):
            raise BadInput(
                f"--map: {row_type.__name__} has no field {field!r}; its fields: {', '.join(columns(row_type))}"
            )
    for where, record in found_records:
        found = True
        if isinstance(record, row_type):
            shown = {name: getattr(record, name) for name in shows}
            yield msgspec.structs.replace(
                record, id="", lineage=_made(record.lineage), **_taken(shown, shows, base, folder, where)
            )
            continue
        lineage = record.lineage if isinstance(record, Row) else record.get("lineage")
        if isinstance(record, Row):  # of another type
            record = content(record)
        plain = {mapping.get(key, key): value for key, value in record.items() if key not in ("id", "lineage")}
        if "id" in mapping:
            plain[mapping["id"]] = record["id"]
        missing = [name for name in required(row_type) if name not in plain]
        if missing:
            raise BadInput(
                f"{where}: no column {' and no '.join(map(repr, missing))}, which the recipe reads. The columns here: "
                f"{', '.join(map(str, record)) or 'none'}. Name the right one with --map COLUMN={missing[0]}"
            )
        plain = _taken(plain, shows, base, folder, where)
        try:
            row = msgspec.convert(plain, row_type, strict=False)
            row.lineage = _made(lineage)
            yield row
        except msgspec.ValidationError as error:
            raise BadInput(f"{where}: {error}. The recipe reads {row_type.__name__}") from None
    if not found:
        raise BadInput(f"{source if isinstance(source, (str, Path)) else 'the seeds'}: there are no rows in it")


def _made(lineage: Any) -> Lineage | None:
    """Of the lineage of a row that another run made, its generation; the rest is that run's."""
    found = lineage.get("generation") if isinstance(lineage, dict) else getattr(lineage, "generation", 0)
    return Lineage(generation=found) if isinstance(found, int) and found > 0 else None


def _taken(record: dict[str, Any], shows: Iterable[str], base: Path, folder: Path | None, where: str) -> dict[str, Any]:
    """The record with the pictures that it names in the run's folder. Before it is named: a seed is what it shows."""
    if folder is None:
        return record
    try:
        return {**record, **{name: take(record[name], base, folder) for name in shows if record.get(name)}}
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def records(source: str | Path | Iterable[Any], chunk: int | None = None) -> Records:
    """Every record of a source as it was read, with where it stands, streamed. Raises BadInput."""
    if not isinstance(source, (str, Path)):
        return _from_memory(source)
    if str(source).startswith("hf:"):
        return _from_hub(str(source)[3:])
    path = Path(source)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / "run.db").exists():
            return _from_run(path)
        return _from_folder(path, chunk)
    readers = {
        ".jsonl": _from_jsonl,
        ".ndjson": _from_jsonl,
        ".json": _from_json,
        ".csv": _from_csv,
        ".tsv": _from_csv,
        ".parquet": _from_parquet,
    }
    if path.suffix.lower() in TEXTS:
        return _from_folder(path, chunk)
    if path.suffix.lower() not in readers:
        raise BadInput(f"{path}: unknown kind of file {path.suffix or '(no suffix)'!r}; known: {KINDS}")
    return readers[path.suffix.lower()](path)


def _from_memory(source: Iterable[Any]) -> Records:
    for number, record in enumerate(source):
        if not isinstance(record, (dict, Row)):
            raise BadInput(f"seed {number}: expected a dict or a row, got {type(record).__name__}")
        if isinstance(
            record, dict
        ):  # numpy's numbers, of a data frame's rows, are subclasses of Python's or not even that
            record = {key: value.item() if isinstance(value, np.generic) else value for key, value in record.items()}
        yield f"seed {number}", record


def _from_jsonl(path: Path) -> Records:
    with _open(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path} line {number}", _object(line, f"{path} line {number}")
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadInput(f"{where}: not valid JSON: {error}; it begins {text[:60]!r}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _from_json(path: Path) -> Records:
    with _open(path) as file:
        try:
            value = json.load(file)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from None
        except json.JSONDecodeError as error:
            raise BadInput(f"{path} line {error.lineno}: not valid JSON: {error.msg}") from None
    if isinstance(value, dict):
        lists = [key for key, inner in value.items() if isinstance(inner, list)]
        if len(lists) != 1:
            raise BadInput(f"{path}: expected a list of objects, or an object that holds one list")
        value = value[lists[0]]
    if not isinstance(value, list):
        raise BadInput(f"{path}: expected a list of objects, got {type(value).__name__}")
    for number, record in enumerate(value):
        if not isinstance(record, dict):
            raise BadInput(f"{path} item {number}: expected an object, got {type(record).__name__}")
        yield f"{path} item {number}", record


def _from_csv(path: Path) -> Records:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a document in a cell may be long
    with _open(path, newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            for record in reader:
                where = f"{path} line {reader.line_num}"
                if None in record or None in record.values():
                    raise BadInput(f"{where}: the number of cells differs from the header's")
                yield where, record
        except csv.Error as error:
            raise BadInput(f"{path} line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from None


def _from_parquet(path: Path) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(4096):
                for record in batch.to_pylist():
                    yield f"{path} row {number}", record
                    number += 1
    except pa.ArrowException as error:
        raise BadInput(f"{path}: not a readable Parquet file: {error}") from None


def _from_run(path: Path) -> Records:
    tables = sorted((path / "data").glob("*.parquet"))
    if len(tables) != 1:
        names = ", ".join(str(t) for t in tables) or "none yet"
        raise BadInput(f"{path} is a run with {len(tables)} tables; name one of them: {names}")
    return _from_parquet(tables[0])


def _from_folder(path: Path, chunk: int | None) -> Records:
    from gristmill.ops.text import approx_tokens, chunks

    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in TEXTS)
    if not files:
        raise BadInput(f"{path}: no .txt or .md file in this folder; known: {KINDS}")
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error) from None
        for number, piece in enumerate(chunks(text, chunk, approx_tokens) if chunk else [text]):
            if piece.strip():
                yield f"{file} piece {number}", {"text": piece, "source": str(file), "chunk": number}


def _from_hub(name: str) -> Records:
    try:
        import datasets
    except ImportError:
        raise BadInput(f"hf:{name} needs the library `datasets`: pip install 'gristmill[datasets]'") from None
    identifier, _, split = name.partition(":")
    for number, record in enumerate(datasets.load_dataset(identifier, split=split or "train", streaming=True)):
        yield f"hf:{name} row {number}", dict(record)


def _open(path: Path, newline: str | None = None) -> Any:
    try:
        return open(path, encoding="utf-8-sig", newline=newline)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def _not_utf8(path: Path, error: UnicodeDecodeError) -> BadInput:
    return BadInput(f"{path}: not UTF-8 at byte {error.start} ({error.reason}); convert it, e.g. with iconv -t UTF-8")
