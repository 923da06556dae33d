"""The type of rows that a user brings to a recipe which reads any: from their columns, as one of ours where it fits.

A recipe typed `Row` (a filter, a check) yields what came in. For a step behind another its rows' type is known; for the
first one it is found here, and kept with the run, so that a resume reads the same.
"""

from __future__ import annotations

import re
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite
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
    Picture,
    Preference,
    Row,
    Turn,
    columns,
    pictures,
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
    "picture": Picture,
    "turns": list[Turn],
    "any": Any,
}
"""Of a column, by the name that it has in the run's settings; with "?" behind it, values may be missing."""


OF_A_RUN = re.compile(r"(?:artefacts|inputs/pictures)/[^/\\]+")
"""How a table of a run names a picture."""
PICTURE = re.compile(r"[^\n]{1,500}\.(?:png|jpe?g|webp|gif|bmp)", re.IGNORECASE)
"""How a user's column `image` does."""
LARGEST = 2**63


class Kind(msgspec.Struct):
    """A row type as plain values."""

    name: str = "Record"
    columns: dict[str, str] = {}
    renamed: dict[str, str] = {}
    """Columns of the source whose names are none that a field could have, and what they are called."""


def kind_of(records: Iterable[tuple[str, Mapping[str, Any] | Row]], mapping: Mapping[str, str]) -> Kind:
    """What all records have in common.

    Args:
        records: each with where it stands.
        mapping: column -> the name that it gets.

    Raises:
        BadInput: there are no records, or two columns would have one name.
    """
    found: dict[str, set[str]] = {}
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    names: set[str] = set()
    count = 0
    for where, record in records:
        count += 1
        if isinstance(record, Row):
            names.add(type(record).__name__)
            shown = pictures(type(record))
            record = msgspec.to_builtins(record)
        else:
            shown = ()
        for own, value in record.items():
            column = mapping.get(own) or renamed.get(own) or field_name(own)
            if own == "id" and own not in mapping and "lineage" not in record:
                column = "source_id"  # a user's own: a row's `id` is ours
            if column in ("id", "lineage"):
                continue
            if column != mapping.get(own, own):
                if column in record or column in (name for key, name in renamed.items() if key != own):
                    raise BadInput(f"{where}: the column {own!r} would be called {column!r}, as another is: use --map")
                renamed[own] = column
            found.setdefault(column, set()).add("picture" if column in shown else _kind(value, column, where))
            seen[column] += 1
    if not count:
        raise BadInput("the seeds: there are no rows in it")
    for column, kinds in found.items():
        if seen[column] < count:
            kinds.add("none")
    kinds_of = {name: _joined(kinds) for name, kinds in found.items()}
    return Kind(names.pop() if len(names) == 1 else "Record", kinds_of, renamed)


def field_name(column: Any) -> str:
    """A column's name as a field can have it: "meta.source id" becomes "meta_source_id"."""
    name = re.sub(r"\W", "_", str(column)).lstrip("_")
    return name if name[:1].isidentifier() else f"column_{name}"


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
    hints = typing.get_type_hints(base, include_extras=True)
    wanted = {str: "str", list[Turn]: "turns", Picture: "picture"}
    shared = [name for name in columns(base) if name in found]
    return set(required(base)) <= found.keys() and all(wanted.get(hints[name], "str") == found[name] for name in shared)


def _kind(value: Any, column: str, where: str) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "bool"
        case int():
            if not -LARGEST <= value < LARGEST:
                raise BadInput(f"{where}: {column!r} holds {value}, which is too large for a table: bring it as text")
            return "int"
        case float():
            return "float" if isfinite(value) else "none"  # JSON has no other word for it
        case str():
            picture = OF_A_RUN.fullmatch(value) or (column == "image" and PICTURE.fullmatch(value))
            return "picture" if picture else "str"
        case list() if value and all(isinstance(item, str) for item in value):
            return "list[str]"
        case list() if value and all(_turn(item) for item in value):
            return "turns"
        case dict() | list() | tuple():
            return "any"
    raise BadInput(f"{where}: {column!r} holds a {type(value).__name__}; rows hold texts, numbers, lists and tables")


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
    if plain == {"picture", "str"}:
        plain = {"str"}
    return (plain.pop() if len(plain) == 1 else "any") + ("?" if "none" in kinds else "")
