"""How far annotators agree beyond chance, written from the formulas: Cohen's kappa for two who judged the same things,
Krippendorff's alpha for any number of them with gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from typing import Any, Literal, TypeVar

K = TypeVar("K", bound=Hashable)

Level = Literal["nominal", "ordinal", "interval"]


def cohen(first: Sequence[K], second: Sequence[K]) -> float:
    """Cohen's kappa (1960): 1.0 in full agreement, 0.0 as by chance, below 0.0 where they avoid each other.

    NaN where chance alone would agree fully: both gave one and the same label to everything.

    Raises:
        ValueError: sequences of different length, or empty.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"kappa compares labels of the same things: there are {len(first)} and {len(second)}")
    total = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / total
    counts, others = Counter(first), Counter(second)
    expected = sum(counts[label] * others[label] for label in counts) / total**2
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def krippendorff(units: Sequence[Sequence[Any]], level: Level = "nominal") -> float:
    """Krippendorff's alpha: 1 - observed disagreement / disagreement by chance.

    Args:
        units: what was said of each thing, by however many annotators; things with fewer than two values say nothing.
        level: how far apart two values are. "nominal": the same or not. "ordinal": by how many values lie between them in
            the order. "interval": by the square of their difference.

    Returns:
        1.0 in full agreement, 0.0 as by chance. NaN where fewer than two different values were given at all.
    """
    paired = [list(values) for values in units if len(values) > 1]
    counts = Counter(value for values in paired for value in values)
    if len(counts) < 2:
        return float("nan")
    total = counts.total()
    apart = _apart(level, counts)
    observed = 0.0
    for values in paired:
        own = Counter(values)
        observed += sum(own[a] * own[b] * apart(a, b) for a in own for b in own) / (len(values) - 1)
    expected = sum(counts[a] * counts[b] * apart(a, b) for a in counts for b in counts) / (total - 1)
    return float(1 - observed / expected)


def _apart(level: Level, counts: Counter[Any]) -> Callable[[Any, Any], float]:
    if level == "nominal":
        return lambda a, b: float(a != b)
    if level == "interval":
        return lambda a, b: float(a - b) ** 2
    order = sorted(counts)
    before = dict(zip(order, accumulate((counts[value] for value in order), initial=0), strict=False))

    def ranks(a: Any, b: Any) -> float:
        low, high = min(a, b), max(a, b)
        between = before[high] + counts[high] - before[low]  # all values from one to the other
        return float(between - (counts[low] + counts[high]) / 2) ** 2 if low != high else 0.0

    return ranks
