"""What a measure says, and how a decision is made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Literal

import msgspec


class Measure(msgspec.Struct, kw_only=True):
    """One number about a set. Raw values of most measures do not compare across sets: `null` and the interval do."""

    name: str
    """"distinct_2"; lower case, the same in every report."""
    value: float | None
    """None where it is not defined; `why` says why. Never NaN."""
    low: float | None = None
    high: float | None = None
    """95 % interval."""
    null: float | None = None
    """The same measure between, or of, two halves of the reference: what no difference at all looks like."""
    reference: float | None = None
    """The same measure of the reference, at the same size or token budget."""
    n: int = 0
    """Rows, or tokens where `unit` says so, that the value rests on."""
    unit: str = "rows"
    better: Literal["high", "low", ""] = ""
    """Which way is better; "" where that depends on the reference."""
    why: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "null", "reference"):
            number = getattr(self, name)
            if number is not None:
                number = float(number)
                setattr(self, name, number if isfinite(number) else None)
                if not isfinite(number) and not self.why:
                    raise ValueError(f"{self.name}: {name} is {number}; say in `why` what is not defined")
        if self.value is None and not self.why:
            raise ValueError(f"{self.name} has no value and does not say why")


Score = float | None


class Found(msgspec.Struct, kw_only=True):
    """What one check found out about a set, before anything is decided."""

    check: str
    """The entry of the catalogue: "near-duplicates"."""
    measures: list[Measure] = []
    rows: dict[str, list[Score]] = {}
    """Scores by name, one a row of the set in its order; None where a row has none."""
    details: dict[int, list[dict[str, Any]]] = {}
    """By row number: what is behind its scores (spans, the other row, the item of a benchmark). For people to look at."""
    tables: dict[str, list[dict[str, Any]]] = {}
    """What is about no single row: over-used phrases, missing cells, groups."""
    settings: dict[str, Any] = {}
    """Parameters, tokenizer, embedder, list versions: two reports compare only where these are equal."""
    notes: list[str] = []
    """What was not measured, and the limits of what was."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A decision over scores: rows whose score passes the limit are flagged with the reason."""

    check: str
    score: str
    reason: str
    """As a recipe's reject reason: "near_duplicate"."""
    above: float | None = None
    """Flagged where the score is greater."""
    least: float | None = None
    """Flagged where the score is as great or greater."""
    below: float | None = None
    """Flagged where the score is smaller."""

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.above, self.least, self.below)) != 1:
            raise ValueError(f"{self.reason}: a rule has one of above, least and below")

    def hits(self, score: Score) -> bool:
        if score is None:
            return False
        if self.above is not None:
            return score > self.above
        return score >= self.least if self.least is not None else score < self.below  # type: ignore[operator]


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A row that a rule concerns."""

    row: int
    check: str
    reason: str
    score: float


def decide(found: Sequence[Found], rules: Sequence[Rule]) -> list[Flag]:
    """All flags, in the order of rules and rows. Scores are read, never computed."""
    scores: Mapping[tuple[str, str], list[Score]] = {
        (one.check, name): values for one in found for name, values in one.rows.items()
    }
    return list(_flags(scores, rules))


def _flags(scores: Mapping[tuple[str, str], list[Score]], rules: Sequence[Rule]) -> Iterator[Flag]:
    for rule in rules:
        for row, score in enumerate(scores.get((rule.check, rule.score), ())):
            if rule.hits(score):
                assert score is not None
                yield Flag(row=row, check=rule.check, reason=rule.reason, score=score)


def words_of(name: str) -> str:
    return name.replace("_", " ")


def number(value: float) -> str:
    """As many digits as mean something."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
