"""Rows: the typed records that recipes read and make.

A row is a msgspec struct. A recipe subclasses the nearest type below and only adds fields, so every exporter that
knows the base type can write it. The engine gives each row that leaves a recipe its `id` (from its place in the run,
so the same in every replay) and its `lineage`.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, get_type_hints, overload

import msgspec

from gristmill.seen import Occurrences

T = TypeVar("T", bound="Row")

_stable = msgspec.json.Encoder(order="deterministic")


class Lineage(msgspec.Struct, omit_defaults=True):
    """Where a row came from. What holds for a whole run (recipe, version, models, licence) stands in the run."""

    seed: str = ""
    """Id of the seed row; "" for rows made from nothing or from a whole set."""
    parents: list[str] = []
    """Ids of the rows it was made from: the seed, unless the recipe said otherwise with `run.link`."""
    calls: list[str] = []
    """Journal keys of the answers that shaped it, in the order they were read."""
    draws: dict[str, Any] = {}
    """What chance decided, by the name of the draw."""
    generation: int = 0
    """How often rows were made from rows on the longest way here: 0 as it was brought, 1 made from that. What is only
    filtered stays what it was; of seeds that another run made it is known from their lineage."""


# Set by the engine while recipe code runs: a row remembers the scope it was built in, which is what tells the rows
# of a whole-set recipe apart. None outside of a run.
birthplace: ContextVar[Lineage | None] = ContextVar("birthplace", default=None)


def brought(row: Row) -> Lineage:
    """The lineage that a row was read with; an empty one where it has only that of the context in which it was read."""
    found = row.lineage
    return Lineage() if found is None or found is birthplace.get() else found


Picture = Annotated[str, msgspec.Meta(extra={"picture": True})]
"""A picture file. In a run: its name in the run's folder ("artefacts/...", "inputs/pictures/...", by its content), or a
URL. In what a user brings: a path, absolute or beside the file that names it; it is copied into the run."""


class Row(msgspec.Struct, kw_only=True):
    """One record of data. Subclass it (or a type below) and add fields with types and, where useful, defaults."""

    id: str = ""
    lineage: Lineage | None = None

    def __post_init__(self) -> None:
        if self.lineage is None:
            self.lineage = birthplace.get()


class Document(Row):
    """A text to learn from, or to work on."""

    text: str


class Completion(Row):
    """A prompt in plain text and what should follow it."""

    prompt: str
    completion: str


class Instruction(Row, kw_only=True):  # so that a subclass may add fields without a default
    """A task and its answer. `input` is the material the task works on, "" where the instruction says it all."""

    instruction: str
    input: str = ""
    output: str = ""


class Turn(msgspec.Struct):
    """One message of a conversation row."""

    role: str
    """"system", "user" or "assistant"."""
    content: str


class Conversation(Row):
    """A dialogue, oldest turn first."""

    messages: list[Turn]


class Preference(Row):
    """Two answers to one prompt, and which is better."""

    prompt: str
    chosen: str
    rejected: str


class Labelled(Row):
    """A text and its label."""

    text: str
    label: str


class ImageText(Row):
    """A picture and a text about it."""

    image: Picture
    text: str


class Rows(Sequence[T], Generic[T]):
    """All the rows of a set, for recipes that must see it whole."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = list(rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<Rows: {len(self._rows)}>"


def digest(*parts: str | int) -> str:
    """A 128-bit name for the parts, in hex. Stable across processes, machines and versions.

    All parts but one must be free of line breaks, else ("a", "b\nc") and ("a\nb", "c") would share a name.
    """
    text = "\n".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@cache
def columns(row_type: type[Row]) -> tuple[str, ...]:
    """The fields that are data, all but `id` and `lineage`: those of the base type first, then what a recipe added."""
    names = [name for cls in reversed(row_type.__mro__) for name in inspect.get_annotations(cls)]
    return tuple(dict.fromkeys(n for n in names if n in row_type.__struct_fields__ and n not in ("id", "lineage")))


@cache
def required(row_type: type[Row]) -> tuple[str, ...]:
    """The columns without a default."""
    return tuple(f.name for f in msgspec.structs.fields(row_type) if f.required)


@cache
def pictures(row_type: type[Row]) -> tuple[str, ...]:
    """The columns that name a picture."""
    hints = get_type_hints(row_type, include_extras=True)
    return tuple(name for name in columns(row_type) if hints[name] in (Picture, Picture | None))


@cache
def table(row_type: type[Row]) -> str:
    """The name of the table that holds rows of this type: `EvolvedInstruction` becomes "evolved_instruction"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", row_type.__name__).lower()


def content(row: Row) -> dict[str, Any]:
    """The data of a row as plain values, without `id` and `lineage`."""
    plain = msgspec.to_builtins(row)
    return {name: plain[name] for name in columns(type(row)) if name in plain}


LEADING = ("id", "instruction", "input", "output", "prompt", "completion", "chosen", "rejected", "messages", "text")


def ordered(record: dict[str, Any]) -> dict[str, Any]:
    """A row as it was stored, what it is before what is known about it."""
    return {key: record[key] for key in LEADING if key in record} | record


def seed_ids(rows: Iterable[T]) -> Iterator[T]:
    """Name each seed by a digest of what the recipe reads of it, and by its occurrence number among equals.

    So neither an unread column nor the order of the file makes a paid answer stale.
    """
    seen = Occurrences()
    for row in rows:
        generation = row.lineage.generation if row.lineage else 0
        row.id = name_of(row, seen)
        row.lineage = Lineage(generation=generation) if generation else None
        yield row


def name_of(row: Row, seen: Occurrences) -> str:
    """The digest of a row's content, and of its occurrence number where it came before."""
    row.id = row.lineage = None  # type: ignore[assignment]  # not what makes a seed the seed that it is
    name = hashlib.blake2b(_stable.encode(row), digest_size=16).hexdigest()
    occurrence = seen.next(name.encode())
    return digest(name, occurrence) if occurrence else name
