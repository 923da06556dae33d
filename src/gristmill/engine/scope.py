"""Places: where in a run something happens, the same in every replay.

A unit is one seed row, one draw, or a whole set; a scope is a branch within it. The current scope travels in a
context variable, so that calls and draws know their place without being told.
"""

from __future__ import annotations

import random
from contextvars import ContextVar, Token
from typing import Any

import msgspec

from gristmill.rows import Lineage, birthplace, digest


class Reject(msgspec.Struct):
    """A candidate that did not pass, why, and by which numbers."""

    reason: str
    candidate: Any
    details: dict[str, Any] = {}
    calls: list[str] = []


class Failure(msgspec.Struct):
    """Work that raised an error, or that waits for a person."""

    place: str
    error: str
    kind: str = "failed"
    seed: dict[str, Any] | None = None


class Scope:
    """One branch of one unit. `open_ended`: the root of a whole set, whose calls are not every row's calls."""

    __slots__ = ("counts", "failures", "lineage", "open_ended", "place", "rejects", "unit")

    def __init__(self, place: str, unit: str, *, parent: Scope | None = None, open_ended: bool = False) -> None:
        self.place = place
        self.unit = unit
        self.open_ended = open_ended
        self.counts: dict[str, int] = {}
        self.rejects: list[Reject] = []
        self.failures: list[Failure] = []
        if parent is None or parent.open_ended:
            self.lineage = Lineage("", [], [], {})
        else:
            known = parent.lineage
            self.lineage = Lineage(known.seed, known.parents, list(known.calls), dict(known.draws), known.generation)

    def occurrence(self, what: str, width: int = 1) -> int:
        """How often this was asked here before; advances by `width`."""
        first = self.counts.get(what, 0)
        self.counts[what] = first + width
        return first

    def branch(self, name: str) -> Scope:
        return Scope(f"{self.place}/{name}", self.unit, parent=self)

    def absorb(self, branches: list[Scope]) -> None:
        """Take over what finished branches made, in their order, whatever order they finished in."""
        before = len(self.lineage.calls)
        for branch in branches:
            self.rejects.extend(branch.rejects)
            self.failures.extend(branch.failures)
            if not self.open_ended:
                self.lineage.calls.extend(branch.lineage.calls[before:])
                name = branch.place[len(self.place) + 1 :]
                for key, value in branch.lineage.draws.items():
                    if key not in self.lineage.draws:
                        self.lineage.draws[f"{name}/{key}"] = value

    def random(self, seed: int, name: str) -> random.Random:
        """A generator whose numbers depend on the run's seed and on this place, and on nothing else."""
        return random.Random(int(digest(seed, self.place, name, self.occurrence(f"random:{name}")), 16))

    def enter(self) -> tuple[Token[Scope], Token[Lineage | None]]:
        # At the root of a whole set a row belongs to no branch: it has the lineage that the recipe links to it.
        return here.set(self), birthplace.set(None if self.open_ended else self.lineage)


here: ContextVar[Scope] = ContextVar("here")


def current() -> Scope:
    try:
        return here.get()
    except LookupError:
        raise RuntimeError(
            "roles and `run` work only inside a run: call the recipe through gristmill.run(), or in tests through "
            "gristmill.testing.run()"
        ) from None
