"""What a step has made so far: kept with its progress, so that a resumed run need not count its rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Tally:
    """Outcomes of one step, of those that were released."""

    rows: Counter[str] = field(default_factory=Counter)
    """By table."""
    rejects: Counter[str] = field(default_factory=Counter)
    """By reason."""
    failures: int = 0
    waiting: int = 0
    barren: int = 0
    """Units of which nothing came at all."""

    @property
    def lost(self) -> int:
        """What came to nothing. Empty units count: a run that makes rows from nothing must end where only those come."""
        return sum(self.rejects.values()) + self.failures + self.barren

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Tally:
        plain: dict[str, Any] = msgspec.json.decode(data)
        return cls(**{**plain, "rows": Counter(plain["rows"]), "rejects": Counter(plain["rejects"])})


def total(tallies: list[Tally]) -> Tally:
    """Of all steps together; rows are those of the last one, which leave the run."""
    whole = Tally(rows=Counter(tallies[-1].rows))
    for tally in tallies:
        whole.rejects.update(tally.rejects)
        whole.failures += tally.failures
        whole.waiting += tally.waiting
        whole.barren += tally.barren
    return whole
