"""What driver and workers tell each other. Plain tuples; rows travel as the JSON in which they are kept."""

from __future__ import annotations

from typing import Any, NamedTuple

from gristmill import errors
from gristmill.engine.run import describe
from gristmill.engine.scope import Failure, Reject
from gristmill.engine.stage import Outcome


class Message(NamedTuple):
    """
    To a worker:   "work"   a unit, "said" what it asked for, "model" a question to a model that lives in it.
    From a worker: "done"   a unit, "ask" something of the driver, "answered" a question to its model.
    """

    kind: str
    number: int
    """Of the unit, of what is asked, or of the question: whoever began it counts."""
    value: Any
    error: tuple[str, str, dict[str, Any]] | None = None
    """`pack` of what went wrong instead."""


class Work(NamedTuple):
    """A unit of a step, with its row in JSON."""

    step: int
    place: int
    name: str
    row: bytes | None
    parent: str
    seed: str
    generation: int


class Result(NamedTuple):
    """What came of a unit."""

    rows: list[tuple[str, str, bytes]]
    """Table, id and JSON of each."""
    rejects: list[Reject]
    failures: list[Failure]


class Hello(NamedTuple):
    """Who a worker is."""

    node: str
    pid: int
    version: str
    recipes: list[str]
    """Of each step: the digest of the recipe's source."""


def result_of(outcome: Outcome) -> Result:
    rows = [(made.table, made.row.id, made.data) for made in outcome.rows]
    return Result(rows, outcome.rejects, outcome.failures)


def pack(error: BaseException) -> tuple[str, str, dict[str, Any]]:
    """An error of ours as plain values; of another one what a failure would say."""
    name = type(error).__name__
    if isinstance(error, errors.GristmillError | errors.Stopped):
        return name, str(error), dict(vars(error))
    return "", describe(error), {}


def unpack(packed: tuple[str, str, dict[str, Any]]) -> BaseException:
    name, text, details = packed
    if not name:
        return RuntimeError(text)
    kind: type[BaseException] = getattr(errors, name)
    error = kind.__new__(kind)
    error.args = (text,)
    vars(error).update(details)
    return error
