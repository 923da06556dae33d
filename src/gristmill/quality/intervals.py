"""How sure a number is: percentile bootstrap over rows or groups, and binomial intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Z95 = 1.959963984540054


def mean_interval(values: Sequence[float], seed: int = 0, times: int = 2000) -> tuple[float, float] | None:
    """95 % interval of a mean by the percentile bootstrap; None for fewer than two values."""
    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(times)
    for at in range(times):  # one at a time: all indices at once would take times x n
        means[at] = numbers[rng.integers(0, len(numbers), len(numbers))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The middle 95 % of resampled values; None for fewer than two."""
    if len(values) < 2:
        return None
    low, high = np.percentile(np.asarray(values, np.float64), [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    n: int,
    *,
    seed: int = 0,
    times: int = 1000,
    groups: Sequence[int] | None = None,
) -> tuple[float, float] | None:
    """95 % interval of a statistic of row numbers, drawn with replacement; of whole groups where rows of one belong
    together. None for fewer than two rows or groups."""
    rng = np.random.default_rng(seed)
    if groups is None:
        if n < 2:
            return None
        return interval([statistic(rng.integers(0, n, n)) for _ in range(times)])
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(which == number) for number in range(len(names))]
    if len(members) < 2:
        return None
    drawn = (rng.integers(0, len(members), len(members)) for _ in range(times))
    return interval([statistic(np.concatenate([members[number] for number in numbers])) for numbers in drawn])


def proportion(hits: int, n: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a share; None where n is 0."""
    if n == 0:
        return None
    share, z2 = hits / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
