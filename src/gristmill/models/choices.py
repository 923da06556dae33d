"""What `choose` means, whoever answers it: each option's tokens after the prompt, their probabilities multiplied, and the
products made to sum to 1.

Options are compared from the first token in which any two differ. So it does not matter whether the tokenizer takes an
option's first letters together with the prompt's last ones. No token for an end is counted: an option that begins
another one is at least as probable.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any


def common_start(rows: Sequence[Sequence[Any]]) -> int:
    """How many items all rows begin with alike."""
    shortest = min(map(len, rows))
    return next((i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows)), shortest)


def shares(logs: Sequence[float]) -> list[float]:
    """Probabilities in the ratios of their logarithms."""
    most = max(logs)
    worth = [exp(log - most) for log in logs]
    return [value / sum(worth) for value in worth]
