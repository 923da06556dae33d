"""What a whole will come to, judged by a sample of its units: a likely value and a range that holds it about 9 times in 10.

A unit's cost is skewed (a few replies are long, most rows are few), so ranges come from a studentised bootstrap and not
from a normal curve: with 20 units it still says 90 % where it means it (`benchmarks/forecast.py` counts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SURE = 0.9
"""Share of the cases in which the truth should lie inside a range."""
RESAMPLES = 4000


@dataclass(frozen=True)
class Range:
    """A forecast. `high` is infinite where the sample sets no limit."""

    low: float
    likely: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def exact(value: float) -> Range:
    return Range(value, value, value)


def total(sample: np.ndarray, units: int) -> Range:
    """The sum of a quantity over so many units, of which the sample is a random part.

    Args:
        sample: the quantity of each unit that was tried.
        units: how many there are, those of the sample among them.
    """
    known, left = float(sample.sum()), units - len(sample)
    if left <= 0:
        return exact(known)
    mean = float(sample.mean())
    low, high = _spread(sample)
    # Two things are not known: the mean, and by how much those that are left will stray from it.
    stray = 1.645 * float(sample.std(ddof=1)) * math.sqrt(left) if len(sample) > 1 else 0.0
    return Range(
        max(known, known + left * mean - math.hypot(left * low, stray)),
        known + left * mean,
        known + left * mean + math.hypot(left * high, stray),
    )


def made(rows: np.ndarray, units: int) -> Range:
    """The rows that so many units give. A sample in which all or none gave some does not claim that all or none will.

    Args:
        rows: how many rows each unit of the sample gave.
    """
    if units <= len(rows):
        return exact(float(rows.sum()))
    poorer, richer = (np.append(rows.astype(float), extra) for extra in (0.0, max(1.0, float(rows.max()))))
    likely = total(rows.astype(float), units)
    low = min(likely.low, total(poorer, units + 1).low)
    high = max(likely.high, total(richer, units + 1).high)
    return Range(max(float(rows.sum()), low), likely.likely, high)


def rate(rows: np.ndarray) -> Range:
    """Rows for each unit, as far as the sample tells.

    Args:
        rows: how many rows each unit of the sample gave.
    """
    if not len(rows):
        return Range(0.0, 0.0, math.inf)
    many = 1_000_000
    found = made(rows, many)
    return Range(found.low / many, float(rows.mean()), found.high / many)


def until(sample: np.ndarray, rows: np.ndarray, target: int) -> Range:
    """The sum of a quantity by the time that so many rows are there.

    Args:
        sample: the quantity of each unit that was tried.
        rows: how many rows each of them gave.
    """
    made = float(rows.sum())
    if made >= target:
        return exact(float(sample.sum()))
    if made == 0:
        return Range(float(sample.sum()), math.inf, math.inf)
    rate = float(sample.sum()) / made
    # The error of a ratio is that of its residuals. One unit more that gave nothing keeps a sample in which all passed
    # from claiming that all will.
    padded = np.append(rows.astype(float), 0.0)
    costs = np.append(sample.astype(float), float(sample.mean()))
    likely = target * rate
    residuals = (costs - costs.sum() / padded.sum() * padded) / padded.mean()
    low, high = _spread(residuals)
    stray = 1.645 * float(residuals.std(ddof=1)) * math.sqrt(target / padded.mean())
    units = target / float(rows.mean())
    scale = units * float(rows.mean())
    shift = target * float(costs.sum() / padded.sum())
    return Range(
        max(float(sample.sum()), likely - math.hypot(scale * low, stray)),
        likely,
        max(likely, shift + math.hypot(scale * high, stray)),
    )


def _spread(sample: np.ndarray) -> tuple[float, float]:
    """How far the true mean may lie below and above the sample's, both as positive numbers."""
    size = len(sample)
    if size < 2:
        return float(abs(sample.mean())), math.inf
    deviation = float(sample.std(ddof=1))
    if deviation == 0:
        return 0.0, 0.0
    chance = np.random.default_rng(size)
    drawn = sample[chance.integers(0, size, (RESAMPLES, size))]
    deviations = drawn.std(axis=1, ddof=1)
    usable = deviations > 1e-3 * deviation
    studentised = (drawn.mean(axis=1)[usable] - sample.mean()) / (deviations[usable] / math.sqrt(size))
    lowest, highest = np.quantile(studentised, [(1 - SURE) / 2, 1 - (1 - SURE) / 2])
    error = deviation / math.sqrt(size)
    return max(0.0, float(highest)) * error, max(0.0, float(-lowest)) * error
