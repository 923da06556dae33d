"""How fast a run goes, and what is still to come: time, cost and tokens, each as a range of about 90 %.

Promised: bounded memory, no clock of its own, and ranges that hold the truth about as often as they say, also where
rows come in clumps, and where they get rarer as a pool fills, once that shows (tests/test_progress.py simulates it).
Not promised: to foresee what the past does not show yet, such as an endpoint that will slow down, or a pool of which a
tenth is used. Measured: at a quarter of the way to a target that takes half of a pool, 4 to 9 of 10 ranges hold.

The method. Readings become at most `MOST` batches of equal length; when there are more, neighbours are joined. What is
spent for each row (or unit) is a ratio of sums over batches, late batches weighing more, and its error comes from how
far batches lie from that ratio: a binomial would take thirty rows of one unit for thirty pieces of evidence. A ratio
that moves with the rows made so far is followed as far as the batches prove it. Things may go on getting worse (pools
fill), so a rise is carried on to the end; an improvement (a start that warms up) is taken to have reached its end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

MOST = 32
"""Batches at most; half as many after neighbours were joined."""
FEWEST = 4
"""Batches, those in which something came among them, below which nothing is said."""
TREND = 16
"""Batches from which a trend is looked for: carried on from fewer, chance would multiply a forecast."""
RECENT = 15
"""Readings that rates are taken over: about as many seconds."""
HALF = 0.4
"""Share of the batches after which the weight of one has halved."""
PROOF = 1.0
"""Square of the t value below which a trend is hardly believed."""
DOUBT = 0.05
"""How far a trend is believed that the batches do not prove: so much of what it would bring goes into the range."""
STEEPEST = 4.0
"""How far a rise is carried on: to at most e to the power of it times what is spent for a row now."""
SHAPE = 0.5
"""Deviation of what a rise brings, for each power of e that it is carried on: whether it goes on straight, in
proportion, or steeper still (a pool that has an end) cannot be seen from how it began."""
Z = 1.645
"""Of a normal distribution: 90 % lie within so many deviations."""


class Range(NamedTuple):
    """About 90 % of the cases lie between `low` and `high`."""

    low: float
    likely: float
    high: float


class Reading(NamedTuple):
    """Counters of a run at one moment, those of earlier processes included."""

    seconds: float
    """Since any fixed moment."""
    rows: float = 0
    """Accepted, of the last step."""
    candidates: float = 0
    units: float = 0
    """Finished, of the first step."""
    cost: float = 0.0
    """USD."""
    input_tokens: float = 0
    output_tokens: float = 0

    def less(self, other: Reading) -> Reading:
        return Reading(*(a - b for a, b in zip(self, other, strict=True)))

    def plus(self, other: Reading) -> Reading:
        return Reading(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def tokens(self) -> float:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Forecast:
    """What is to come until the run has what was asked for."""

    seconds_left: Range
    cost: Range
    """USD, in all: what was spent already is in it."""
    tokens: Range
    """In all."""


class Pace:
    """Follows a run by its counters."""

    def __init__(self) -> None:
        self._batches: list[Reading] = []
        """Differences, oldest first. The last one is still growing until it is `_width` long."""
        self._width = 0.0
        """Seconds of a batch."""
        self._recent: deque[Reading] = deque(maxlen=RECENT + 1)
        self._first: Reading | None = None
        """What this pace is counted from."""
        self._now: Reading | None = None

    def note(self, reading: Reading) -> None:
        """Take the counters in; about once a second. The first reading is only what the others are counted from."""
        before = self._now
        if before is None or reading.rows < before.rows or reading.units < before.units:
            self._begin(reading)  # counters that fall: a step began anew
            self._first = reading
            self._recent.clear()
            self._recent.append(reading)
            return
        if reading.seconds <= before.seconds:
            return
        assert self._first
        self._now = reading
        self._recent.append(reading)
        # Until the first row (or unit) comes the pipeline fills, or a step before it works: no measure of its pace.
        # Begun at one that has come, the wait for those that follow is measured without bias.
        if reading.units > before.units == self._first.units or reading.rows > before.rows == self._first.rows:
            self._begin(reading)
            return
        step = reading.less(before)
        if self._batches and self._batches[-1].seconds < self._width:
            self._batches[-1] = self._batches[-1].plus(step)
        else:
            self._batches.append(step)
        if len(self._batches) > MOST:
            pairs = zip(self._batches[0:MOST:2], self._batches[1:MOST:2], strict=True)
            self._batches = [a.plus(b) for a, b in pairs] + self._batches[MOST:]
            # A little less, so that readings that come somewhat late do not make every batch one reading longer.
            self._width = 0.9 * self._batches[-2].seconds

    def _begin(self, reading: Reading) -> None:
        self._batches = []
        self._width = 0.0
        self._now = reading

    def restart(self) -> None:
        """Forget the pace: what comes next is of another kind than what came before."""
        self._now = None
        self._recent.clear()

    @property
    def rows_per_second(self) -> float:
        """Over the last seconds."""
        return self._rate("rows")

    @property
    def tokens_per_second(self) -> float:
        """Tokens in and out, over the last seconds."""
        return self._rate("tokens")

    def _rate(self, of: str) -> float:
        if len(self._recent) < 2:
            return 0.0
        first, last = self._recent[0], self._recent[-1]
        return float(getattr(last, of) - getattr(first, of)) / (last.seconds - first.seconds)

    @property
    def accepted(self) -> Range | None:
        """The yield as it is now: accepted rows for each candidate. None while too little is known."""
        if self._now is None or self._first is None:
            return None
        tried = self._now.candidates - self._first.candidates
        if self._now.rows == self._first.rows:  # none of so many: with a tenth of luck it is below this
            return Range(0.0, 0.0, min(1.0, -math.log(0.1) / tried)) if tried >= 10 else None
        fit = _fit([b.candidates for b in self._batches], [b.rows for b in self._batches])
        if fit is None:
            return None
        low, likely, high = fit.now()
        return Range(min(1.0, low), min(1.0, likely), min(1.0, high))

    def forecast(self, *, rows: float | None = None, units: float | None = None) -> Forecast | None:
        """What it takes until so many rows were accepted, or so many units finished; None while too little is known."""
        of, goal = ("rows", rows) if rows is not None else ("units", units)
        if self._now is None or goal is None:
            return None
        now = self._now
        left = goal - getattr(now, of)
        if left <= 0:
            return Forecast(
                Range(0.0, 0.0, 0.0), Range(now.cost, now.cost, now.cost), Range(now.tokens, now.tokens, now.tokens)
            )
        done = [getattr(batch, of) for batch in self._batches]
        ahead: dict[str, Range] = {}
        for what in ("seconds", "cost", "tokens"):
            spent = [getattr(batch, what) for batch in self._batches]
            found = _over_candidates(done, self._tried, spent, left) if of == "rows" and what != "seconds" else None
            if found is None:
                fit = _fit(done, spent)
                if fit is None:
                    return None
                found = fit.over(left)
            ahead[what] = found
        return Forecast(ahead["seconds"], _plus(ahead["cost"], now.cost), _plus(ahead["tokens"], now.tokens))

    @property
    def _tried(self) -> list[float]:
        return [batch.candidates for batch in self._batches]


def _over_candidates(
    done: Sequence[float], tried: Sequence[float], spent: Sequence[float], left: float
) -> Range | None:
    """What so many rows take, by the candidates that they need and what a candidate costs.

    Money is spent before its rows leave, so while more and more calls are under way, what is spent for a row seems to
    rise. Candidates and rows leave together; only their ratio may be carried on.
    """
    needed, each = _fit(done, tried), _fit(tried, spent)
    if needed is None or each is None or not any(spent):
        return None
    candidates, price = needed.over(left), each.constant()
    if candidates.likely <= 0 or price.likely <= 0:
        return None
    factor = math.exp(math.hypot(math.log(candidates.high / candidates.likely), math.log(price.high / price.likely)))
    likely = candidates.likely * price.likely
    return Range(likely / factor, likely, likely * factor)


@dataclass(frozen=True)
class _Line:
    """Spent for each piece of work, `level` now and `slope` more for each piece that follows; with their errors."""

    level: float
    slope: float
    variance: tuple[float, float, float]
    """Of level, of both together, of slope."""
    typical: float
    """Spent for each piece in the middle of what was seen."""

    def over(self, left: float) -> tuple[float, float]:
        """What so much work takes, and the variance of that.

        A rise is taken to go on in proportion; see SHAPE.
        """
        a, b, c = self.variance
        far = left * left / 2
        straight = self.level * left + self.slope * far
        variance = a * left * left + 2 * b * left * far + c * far * far
        growth = min(STEEPEST, self.slope * left / self.typical) if self.level > 0 else 0.0
        if growth <= 0:
            return straight, variance
        likely = self.level * left * math.expm1(growth) / growth
        return likely, variance * (likely / straight) ** 2 + (SHAPE * growth * likely) ** 2


@dataclass(frozen=True)
class _Fit:
    """What is spent on work, as a constant and as a line, and how far the line is believed (0 to 1)."""

    flat: _Line
    sloped: _Line
    belief: float
    noise: float
    """Variance of what is spent on one piece of work."""
    t: float
    """Deviations that hold 90 %, given how few batches there are."""

    def now(self) -> Range:
        """Spent for each piece of work at this moment."""
        flat, sloped = self.flat, self.sloped
        return self._mixed((flat.level, flat.variance[0]), (sloped.level, sloped.variance[0]), 0.0)

    def constant(self) -> Range:
        """Spent for each piece of work, if that does not change."""
        flat = (self.flat.level, self.flat.variance[0])
        return self._mixed(flat, flat, 0.0)

    def over(self, left: float) -> Range:
        """Spent on so much more work."""
        return self._mixed(self.flat.over(left), self.sloped.over(left), self.noise * left)

    def _mixed(self, flat: tuple[float, float], sloped: tuple[float, float], noise: float) -> Range:
        share = self.belief
        likely = (1 - share) * flat[0] + share * sloped[0]
        apart = share * (1 - share) * (flat[0] - sloped[0]) ** 2
        variance = (1 - share) * flat[1] + share * sloped[1] + apart + noise
        if likely <= 0:
            return Range(0.0, 0.0, self.t * math.sqrt(variance))
        # By factors and not by sums: nothing takes less than no time, and what is slow can get much slower.
        factor = math.exp(min(20.0, self.t * math.sqrt(math.log1p(variance / (likely * likely)))))
        return Range(likely / factor, likely, likely * factor)


def _fit(work: Sequence[float], spent: Sequence[float]) -> _Fit | None:
    """How much is spent for each piece of work; None where too little is known.

    Args:
        work: rows, units or candidates of each batch, oldest first.
        spent: seconds, USD, tokens or rows that each batch took.
    """
    count = len(work)
    filled = sum(done > 0 for done in work)
    if filled < FEWEST or count < FEWEST:
        return None
    weights = [0.5 ** ((count - 1 - i) / (HALF * count)) for i in range(count)]
    # Where a batch lies: work from its middle to this moment, below zero.
    position, behind = [0.0] * count, 0.0
    for i in reversed(range(count)):
        position[i] = -(behind + work[i] / 2)
        behind += work[i]
    done = _dot(weights, work)
    level = _dot(weights, spent) / done
    off = [w * (y - level * x) for w, x, y in zip(weights, work, spent, strict=True)]
    enough = count / (count - 1) * _clustering(off)
    flat = _Line(level, 0.0, (enough * _dot(off, off) / done**2, 0.0, 0.0), level)
    noise = enough * sum(e * e / w for e, w in zip(off, weights, strict=True)) / done
    t = _t90(min(filled, sum(weights) ** 2 / _dot(weights, weights)) - 1)
    sloped = _sloped(weights, work, spent, position)
    if sloped is None:
        return _Fit(flat, flat, 0.0, noise, t)
    proof = sloped.slope**2 / sloped.variance[2] if sloped.variance[2] > 0 else 0.0
    belief = max(DOUBT, 1 - PROOF / proof) if proof else DOUBT
    sloped = replace(sloped, level=_held(sloped, work, spent))
    if sloped.slope < 0:
        sloped = _Line(sloped.level, 0.0, (sloped.variance[0], 0.0, 0.0), level)
    return _Fit(flat, sloped, belief, noise, t)


def _sloped(
    weights: Sequence[float], work: Sequence[float], spent: Sequence[float], position: Sequence[float]
) -> _Line | None:
    """The line through the batches, by instruments: the work of a batch is as much a matter of chance as what it took,
    so plain least squares would find too flat a line. A batch's number is no matter of chance."""
    count = len(work)
    typical = _dot(weights, spent) / _dot(weights, work)
    if count < TREND:
        return None
    middle = _dot(weights, range(count)) / sum(weights)
    number = [w * (i - middle) for i, w in enumerate(weights)]
    bent = [p * x for p, x in zip(position, work, strict=True)]
    # [a b; c d] (level, slope) = (_dot(weights, spent), _dot(number, spent))
    a, b, c, d = _dot(weights, work), _dot(weights, bent), _dot(number, work), _dot(number, bent)
    size = a * d - b * c
    if abs(size) <= 1e-9 * (abs(a * d) + abs(b * c)):
        return None
    of_level = [(d * w - b * z) / size for w, z in zip(weights, number, strict=True)]
    of_slope = [(a * z - c * w) / size for w, z in zip(weights, number, strict=True)]
    level, slope = _dot(of_level, spent), _dot(of_slope, spent)
    off = [y - level * x - slope * m for x, y, m in zip(work, spent, bent, strict=True)]
    enough = count / (count - 2) * _clustering([w * e for w, e in zip(weights, off, strict=True)])
    u = [k * e for k, e in zip(of_level, off, strict=True)]
    v = [k * e for k, e in zip(of_slope, off, strict=True)]
    return _Line(level, slope, (enough * _dot(u, u), enough * _dot(u, v), enough * _dot(v, v)), typical)


def _held(line: _Line, work: Sequence[float], spent: Sequence[float]) -> float:
    """The line's level now, held to what the last two quarters say: after a sudden change a line overshoots."""
    part = len(work) // 4
    last, before = (sum(work[-part:]), sum(work[-2 * part : -part]))
    if not last or not before:
        return line.level
    here = sum(spent[-part:]) / last
    ahead = here + (here - sum(spent[-2 * part : -part]) / before) / 2
    error = math.sqrt(line.variance[0])
    return min(max(line.level, min(here, ahead) - error), max(here, ahead) + error)


def _clustering(off: Sequence[float]) -> float:
    """How many times the variance of sums is what it would be if neighbours had nothing to do with each other; 1 at
    least. Good and bad spells that outlast a batch make it larger."""
    alone = _dot(off, off)
    if not alone:
        return 1.0
    pairs = [a + b for a, b in zip(off[0::2], off[1::2], strict=False)]
    fours = [a + b for a, b in zip(pairs[0::2], pairs[1::2], strict=False)]
    return max(1.0, _dot(pairs, pairs) / alone, _dot(fours, fours) / alone)


def _t90(freedom: float) -> float:
    """Student's t for 90 %, by the first terms of its expansion around the normal distribution's."""
    freedom = max(1.0, freedom)
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _plus(ahead: Range, before: float) -> Range:
    return Range(ahead.low + before, ahead.likely + before, ahead.high + before)
