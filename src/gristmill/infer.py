"""The type of rows that a user brings to a recipe which reads any: from their columns, as one of ours where it fits.

A recipe typed `Row` (a filter, a check) yields what came in. For a step behind another its rows' type is known; for the
first one it is found here, and kept with the run, so that a resume reads the same.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gristmill.errors import BadInput
from gristmill.rows import (
    Completion,
    Conversation,
    Document,
    ImageText,
    Instruction,
    Labelled,
    Preference,
    Row,
    Turn,
    columns,
    required,
)

BASES: tuple[type[Row], ...] = (Preference, Instruction, Completion, Conversation, ImageText, Labelled, Document)
"""The first whose columns are all there is taken: those with more to say come first."""
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list[str]": list[str],
    "turns": list[Turn],
    "any": Any,
}
"""Of a column, by the name that it has in the run's settings; with "?" behind it, values may be missing."""


class Kind(msgspec.Struct):
    """A row type as plain values."""

    name: str = "Record"
    columns: dict[str, str] = {}


def kind_of(records: Iterable[tuple[str, Mapping[str, Any] | Row]], mapping: Mapping[str, str]) -> Kind:
    """What all records have in common.

    Args:
        records: each with where it stands.
        mapping: column -> the name that it gets.

    Raises:
        BadInput: a column's name is no identifier, or there are no records.
    """
    found: dict[str, set[str]] = {}
    seen: Counter[str] = Counter()
    names: set[str] = set()
    count = 0
    for where, record in records:
        count += 1
        if isinstance(record, Row):
            names.add(type(record).__name__)
            record = msgspec.to_builtins(record)
        for column, value in record.items():
            column = mapping.get(column, column)
            if column in ("id", "lineage"):
                continue
            if not isinstance(column, str) or not column.isidentifier() or column.startswith("_"):
                raise BadInput(f"{where}: a column is called {column!r}: rename it with --map, letters and digits only")
            found.setdefault(column, set()).add(_kind(value))
            seen[column] += 1
    if not count:
        raise BadInput("the seeds: there are no rows in it")
    for column, kinds in found.items():
        if seen[column] < count:
            kinds.add("none")
    return Kind(names.pop() if len(names) == 1 else "Record", {name: _joined(kinds) for name, kinds in found.items()})


def row_type(kind: Kind) -> type[Row]:
    """The type again. A subclass of the base type whose columns it has, so that it can be exported."""
    types = {name: TYPES[text.removesuffix("?")] for name, text in kind.columns.items()}
    base: type[Row] = next((base for base in BASES if _fits(base, kind.columns)), Row)
    inherited = set(columns(base))
    fields: list[Any] = []
    for name, hint in types.items():
        if name in inherited:
            continue
        optional = kind.columns[name].endswith("?") or hint is Any
        fields.append((name, hint | None if optional and hint is not Any else hint, None) if optional else (name, hint))
    made = msgspec.defstruct(kind.name, fields, bases=(base,), kw_only=True, module=__name__)
    return typing.cast("type[Row]", made)


def _fits(base: type[Row], found: Mapping[str, str]) -> bool:
    hints = typing.get_type_hints(base)
    wanted = {str: "str", list[Turn]: "turns"}
    shared = [name for name in columns(base) if name in found]
    return set(required(base)) <= found.keys() and all(wanted.get(hints[name], "str") == found[name] for name in shared)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool() | int() | float() | str():
            return type(value).__name__
        case list() if value and all(isinstance(item, str) for item in value):
            return "list[str]"
        case list() if value and all(_turn(item) for item in value):
            return "turns"
    return "any"


def _turn(item: Any) -> bool:
    return (
        isinstance(item, Mapping)
        and item.keys() == {"role", "content"}
        and all(isinstance(part, str) for part in item.values())
    )


def _joined(kinds: set[str]) -> str:
    plain = kinds - {"none"}
    if plain == {"int", "float"}:
        plain = {"float"}
    return (plain.pop() if len(plain) == 1 else "any") + ("?" if "none" in kinds else "")
