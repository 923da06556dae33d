"""Mixtures: so much of each part, in the order of training."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from gristmill.errors import BadInput

T = TypeVar("T")


def sizes(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Rows of each part: they add up to `total`, and each is within one row of its share (largest remainders).

    Args:
        shares: relative weights, at least 0, not all 0.
    """
    whole = sum(shares.values())
    if whole <= 0 or min(shares.values()) < 0:
        raise BadInput(f"the shares of a mixture must be at least 0 and not all 0; they are {dict(shares)}")
    exact = {name: share / whole * total for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def largest(shares: Mapping[str, float], available: Mapping[str, int]) -> int:
    """Rows of a mixture that uses up a part, and none twice."""
    bounds = [available[name] * sum(shares.values()) / share for name, share in shares.items() if share > 0]
    return int(round(min(bounds), 6))  # 0.8 + 0.2 may be a little less than 1


def mixed(
    rng: random.Random, parts: Mapping[str, Sequence[T]], shares: Mapping[str, float], total: int | None = None
) -> list[tuple[str, T]]:
    """Rows of all parts by their shares, shuffled together, each with its part's name; no row twice.

    Args:
        shares: of each part; relative weights.
        total: rows in all; as many as the parts allow unless given.

    Raises:
        BadInput: a part has too few rows, with how many it should have.
    """
    available = {name: len(rows) for name, rows in parts.items()}
    counts = sizes(shares, largest(shares, available) if total is None else total)
    for name, count in counts.items():
        if count > available[name]:
            raise BadInput(
                f"a mixture of {total:,} rows takes {count:,} of {name!r}, and there are {available[name]:,}: "
                "ask for fewer rows, or for another share"
            )
    chosen = [(name, row) for name, count in counts.items() for row in rng.sample(list(parts[name]), count)]
    rng.shuffle(chosen)
    return chosen
