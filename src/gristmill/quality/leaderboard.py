"""Methods under equal conditions: ranks that only separated intervals give, cost against score, judged pairs.

The practice of DataComp-LM (2024, arXiv:2406.11794) and FineWeb (2024): one track freezes seeds, models, budget, student
and test sets; a score is a mean over generation seeds, training seeds and test items, and so is its interval; what the
items do not tell apart shares a rank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil, exp, log

import msgspec
import numpy as np
import numpy.typing as npt

from gristmill.errors import BadInput
from gristmill.quality.intervals import Numbers

Scores = Sequence[Sequence[float]]
"""Of an entry: by run, a score for each test item, the same items in each. Runs are drawn as if independent: trainings on
one set belong into one run, as their mean."""


class Line(msgspec.Struct, kw_only=True):
    """An entry of the board."""

    entry: str
    rank: int
    """1 is best; entries that are not told apart share one."""
    score: float
    low: float
    high: float
    """95 % interval, over runs and items."""
    runs: int
    items: int


def centred(accuracy: float, chance: float) -> float:
    """(accuracy - chance) / (1 - chance): 0 is guessing, 1 is perfect. Raises ValueError where chance is 1 or more."""
    if chance >= 1:
        raise ValueError(f"chance={chance}: expected a share below 1")
    return (accuracy - chance) / (1 - chance)


def means(scores: Scores, rng: np.random.Generator, items: Sequence[npt.NDArray[np.int64]]) -> Numbers:
    """Bootstrap means of an entry: runs are drawn, then items. The same items for all entries make comparisons paired.

    Args:
        items: for each draw the numbers of the items that it takes.
    """
    table = np.asarray(scores, np.float64)
    found = np.empty(len(items))
    for at, chosen in enumerate(items):
        runs = rng.integers(0, len(table), len(table))
        found[at] = table[runs][:, chosen].mean()
    return found


def board(
    entries: Mapping[str, Scores], *, better: str = "high", times: int = 2000, alpha: float = 0.05, seed: int = 0
) -> list[Line]:
    """Rank entries by their mean score.

    A pair is told apart where the interval of its difference, over the same items in each draw, leaves 0 out, at the level
    that Holm's correction gives it. An entry's rank is one more than the number of entries that are better than it.

    Args:
        better: "high" or "low".
        times: bootstrap draws; more where so many pairs are compared that no p-value of so few could be small enough.

    Raises:
        ValueError: an entry without runs, with other items than the rest, or with a score that is no number.
    """
    if not entries:
        return []
    counts = {len(run) for scores in entries.values() for run in scores}
    if len(counts) != 1 or not all(entries.values()) or 0 in counts:
        raise ValueError("every entry needs runs over the same test items")
    if strange := [name for name, scores in entries.items() if not np.isfinite(np.asarray(scores, np.float64)).all()]:
        raise ValueError(f"{strange[0]} has a score that is no number")
    [n] = counts
    rng = np.random.default_rng(seed)
    # The smallest p-value of `told_apart` is 2 / (times + 1), and Holm's strictest level alpha / pairs.
    times = max(times, ceil(len(entries) * (len(entries) - 1) / alpha))
    items = [rng.integers(0, n, n) for _ in range(times)]
    # Each entry's runs are drawn by chance of the same seed: two copies of one entry differ by nothing.
    drawn = {name: means(scores, np.random.default_rng(seed + 1), items) for name, scores in entries.items()}
    sign = 1.0 if better == "high" else -1.0
    worse: dict[str, int] = dict.fromkeys(entries, 0)
    for (one, other), separated in told_apart(drawn, alpha).items():
        if separated:
            worse[other if sign * separated > 0 else one] += 1
    lines = [
        Line(
            entry=name,
            rank=worse[name] + 1,
            score=float(np.mean([np.mean(run) for run in scores])),
            low=float(np.percentile(drawn[name], 2.5)),
            high=float(np.percentile(drawn[name], 97.5)),
            runs=len(scores),
            items=n,
        )
        for name, scores in entries.items()
    ]
    return sorted(lines, key=lambda line: (line.rank, -sign * line.score, line.entry))


def told_apart(drawn: Mapping[str, Numbers], alpha: float = 0.05) -> dict[tuple[str, str], float]:
    """For each pair the mean difference where it is told apart, else 0; p-values by bootstrap, corrected as Holm's."""
    found: list[tuple[float, float, tuple[str, str]]] = []
    for one, other in combinations(drawn, 2):
        gap = drawn[one] - drawn[other]
        if not gap.any():
            p = 1.0
        else:
            p = min(1.0, 2 * min(_share(gap <= 0), _share(gap >= 0)))
        found.append((p, float(gap.mean()), (one, other)))
    kept = holm([p for p, _, _ in found], alpha)
    return {pair: gap if passed else 0.0 for (_, gap, pair), passed in zip(found, kept, strict=True)}


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return (1 + float(hits.sum())) / (1 + len(hits))


def holm(p_values: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Which hypotheses fall, in the order given (Holm 1979): the smallest p against alpha / m, the next against
    alpha / (m - 1), until one stands."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    fallen = [False] * len(p_values)
    for step, at in enumerate(order):
        if p_values[at] > alpha / (len(p_values) - step):
            break
        fallen[at] = True
    return fallen


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Entries that no other beats: as cheap and better, or as good and cheaper. Points are (cost, score)."""
    return [
        name
        for name, (cost, score) in points.items()
        if not any(
            other_cost <= cost and other_score >= score and (other_cost < cost or other_score > score)
            for other, (other_cost, other_score) in points.items()
            if other != name
        )
    ]


def bradley_terry(wins: Mapping[tuple[str, str], float], *, rounds: int = 500, prior: float = 0.5) -> dict[str, float]:
    """Strengths from judged pairs (Bradley and Terry 1952), as log-odds around 0: one beats another with probability
    1 / (1 + exp(other - one)).

    Args:
        wins: (winner, loser) -> how often; a tie counts half on both sides.
        prior: games that each pair is thought to have drawn half, so that who never lost has a strength all the same.
    """
    names = sorted({name for pair in wins for name in pair})
    if len(names) < 2:
        return dict.fromkeys(names, 0.0)
    won = {(one, other): wins.get((one, other), 0.0) + prior / 2 for one in names for other in names if one != other}
    strength = dict.fromkeys(names, 1.0)
    for _ in range(rounds):
        before, strength = (
            strength,
            {
                one: sum(won[one, other] for other in names if other != one)
                / sum(
                    (won[one, other] + won[other, one]) / (strength[one] + strength[other])
                    for other in names
                    if other != one
                )
                for one in names
            },
        )
        middle = exp(sum(map(log, strength.values())) / len(names))
        strength = {name: value / middle for name, value in strength.items()}
        if all(abs(value / before[name] - 1) < 1e-12 for name, value in strength.items()):
            break
    return {name: log(value) for name, value in strength.items()}


def strength_intervals(
    games: Sequence[tuple[str, str, float]], *, seed: int = 0, times: int = 200
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the strengths of `bradley_terry`, by bootstrap over games.

    Args:
        games: (one, other, what `one` won of it: 1, 0, or 0.5 for a tie).
        times: resamples.
    """
    if not games:
        return {}
    rng = np.random.default_rng(seed)
    names = sorted({name for one, other, _ in games for name in (one, other)})
    drawn = []
    for _ in range(times):
        found = bradley_terry(tallied([games[at] for at in rng.integers(0, len(games), len(games))]))
        drawn.append([found.get(name, 0.0) for name in names])  # of whom no game was drawn nothing is known
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def tallied(games: Sequence[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """How much of their games each won against each."""
    wins: defaultdict[tuple[str, str], float] = defaultdict(float)
    for one, other, share in games:
        wins[one, other] += share
        wins[other, one] += 1 - share
    return dict(wins)


def within(entry: str, spent: int, budget: int | None) -> None:
    """See that an entry kept to the budget of its track; all calls count, also those of rejected rows.

    Raises:
        BadInput: it did not, with what was metered.
    """
    if budget is not None and spent > budget:
        raise BadInput(
            f"{entry} used {spent:,} tokens, and the budget of this comparison is {budget:,}: it is not ranked. "
            "All calls count, those of rejected rows too"
        )
