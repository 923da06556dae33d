"""A judge's verdicts on pairs of rows, and how far they can be relied on: both orders of each pair, people's verdicts.

Every batch of pairs is an ordinary run of `row-judge`, in a folder named by its pairs: what was judged is not asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gristmill.api import aresume, arun
from gristmill.errors import BadInput
from gristmill.execute import Result
from gristmill.ops.judge import Side
from gristmill.quality import judge as reliability
from gristmill.quality.intervals import mean_interval
from gristmill.quality.leaderboard import bradley_terry, strength_intervals, tallied
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure
from gristmill.recipes.quality.row_judge import JudgedPair, RowPair
from gristmill.rows import digest
from gristmill.seeds import records

SIDES: dict[str, Side] = {"first": "a", "second": "b", "tie": "tie"}
"""What people may say, and which side that is."""


class Opinions(msgspec.Struct, kw_only=True):
    """Two texts, and what people said of them."""

    a: str
    b: str
    humans: dict[str, Side] = {}
    """By rater."""


class Judged(msgspec.Struct, kw_only=True):
    """Pairs of rows of different entries, judged."""

    judge: str
    wins: list[Measure]
    """`judged_wins` of each entry, in the order of `entries`: the share of its pairs that it won."""
    entries: list[str]
    strengths: dict[str, float]
    """Bradley-Terry log-odds, a pair whose orders disagree counting as drawn."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of the strengths."""
    positions: list[Measure]
    """Of these pairs: the same verdict in both orders, and what stands first or second winning both times."""
    unread: int
    """Pairs without a verdict that can be read."""


def opinions(source: str | Path) -> list[Opinions]:
    """People's verdicts from a file with the columns first, second, winner, and rater where several people looked.

    The same pair, whichever text stands first, is one pair with several verdicts. Which text is `a` is decided by the texts
    and not by the file: where a file puts every winner first, chance alone would agree with that, and kappa would be 0.

    Raises:
        BadInput: a column is missing, a winner is none of first, second and tie, two texts are equal, or a rater judged a
            pair twice; with its place.
    """
    found: dict[tuple[str, str], Opinions] = {}
    for where, record in records(source):
        if lacking := [name for name in ("first", "second", "winner") if not str(record.get(name) or "").strip()]:
            raise BadInput(
                f"{where}: nothing in {', '.join(map(repr, lacking))}. People's verdicts have the columns first, second and "
                f"winner (first, second or tie), and rater where several people looked; here are: {', '.join(record)}"
            )
        first, second, said = str(record["first"]), str(record["second"]), str(record["winner"]).strip().lower()
        if said not in SIDES:
            raise BadInput(f"{where}: the winner is {record['winner']!r}; it is first, second or tie")
        if first == second:
            raise BadInput(f"{where}: first and second are the same text")
        a, b = sorted((first, second), key=digest)
        pair = found.setdefault((a, b), Opinions(a=a, b=b))
        rater = str(record.get("rater") or "")
        if rater in pair.humans:
            who = f"{rater} judged this pair" if rater else "this pair was judged"
            raise BadInput(f"{where}: {who} twice; name who judged in a column `rater`, once for each pair")
        pair.humans[rater] = SIDES[said] if first == a else reliability.SWAP[SIDES[said]]
    if not found:
        raise BadInput(f"{source}: there are no verdicts in it")
    return list(found.values())


async def against_people(
    pairs: Sequence[Opinions], judge: Any, folder: Path, *, seed: int, prices: Any = None
) -> Found:
    """Judge what people judged, in both orders, and hold the verdicts against theirs.

    Measures, as `quality.judge.reliability`: agreement and kappa with people, those of people among themselves, positions,
    biases. A verdict that cannot be read is no tie: the pair is left out, and `notes` counts it.
    """
    asked = [RowPair(pair.a, pair.b) for pair in pairs]
    said = {(row.first, row.second): row for row in await _judged(asked, judge, folder, seed, prices)}
    both = [
        reliability.Pair(
            forward=row.forward,
            backward=row.backward,
            a=pair.a,
            b=pair.b,
            humans=[*dict(sorted(pair.humans.items())).values()],
        )
        for pair in pairs
        if (row := said.get((pair.a, pair.b))) is not None
    ]
    found = reliability.reliability(both, judge_model=name_of(judge), seed=seed)
    if unread := len(pairs) - len(both):
        told = found.notes if both else []  # of no pair there is nothing else to tell
        found.notes = [f"{unread:,} of {len(pairs):,} pairs have no verdict of the judge that can be read.", *told]
    return found


async def between(
    cut: Mapping[str, Sequence[Set]], judge: Any, folder: Path, *, pairs: int, seed: int, prices: Any = None
) -> Judged:
    """Judge pairs of rows of each two entries.

    Args:
        cut: by entry, the set of each of its runs.
        pairs: of each two entries; rows are drawn by chance.
    """
    rng = np.random.default_rng(seed)
    asked: list[RowPair] = []
    for one, other in combinations(cut, 2):
        own = [text for part in cut[one] for text in part.texts]
        theirs = [text for part in cut[other] for text in part.texts]
        for _ in range(min(pairs, len(own) * len(theirs))):
            asked.append(RowPair(own[rng.integers(len(own))], theirs[rng.integers(len(theirs))], one, other))
    rows = await _judged(asked, judge, folder, seed, prices)
    won: dict[str, list[float]] = {name: [] for name in cut}
    games = [
        (row.first_of, row.second_of, reliability.WORTH[reliability.verdict(row.forward, row.backward)]) for row in rows
    ]
    for one, other, share in games:
        won[one].append(share)
        won[other].append(1 - share)
    return Judged(
        judge=name_of(judge),
        entries=list(won),
        wins=[_share(some, seed) for some in won.values()],
        strengths=bradley_terry(tallied(games)),
        intervals=strength_intervals(games, seed=seed),
        positions=reliability.positions([reliability.Pair(forward=row.forward, backward=row.backward) for row in rows]),
        unread=len(asked) - len(rows),
    )


def _share(won: Sequence[float], seed: int) -> Measure:
    if not won:
        return Measure(name="judged_wins", value=None, unit="pairs", better="high", why="no verdict could be read")
    low, high = mean_interval(won, seed) or (None, None)
    return Measure(
        name="judged_wins", value=float(np.mean(won)), low=low, high=high, n=len(won), unit="pairs", better="high",
        why="a tie counts half",
    )  # fmt: skip


async def _judged(pairs: Sequence[RowPair], judge: Any, folder: Path, seed: int, prices: Any) -> list[JudgedPair]:
    """The pairs whose verdicts can be read."""
    named = [name_of(judge), seed, *((pair.first, pair.second, pair.first_of, pair.second_of) for pair in pairs)]
    folder = folder / f"judge-{digest('judge', msgspec.json.encode(named).decode())[:12]}"
    if (folder / "run.db").exists():
        done = await aresume(folder, model={"judge": judge}, prices=prices)
    else:
        done = await arun("row-judge", seeds=pairs, model={"judge": judge}, out=folder, seed=seed, prices=prices)
    return list(unless_interrupted(done).iterate())


def unless_interrupted(done: Result) -> Result:
    """A run's result.

    Raises:
        Stopped: it was interrupted, and so the whole comparison is.
    """
    if done.stopped and done.stopped.reason == "interrupted":
        raise done.stopped
    return done


def name_of(judge: Any) -> str:
    """A model's spec, for people."""
    return judge if isinstance(judge, str) else str(getattr(judge, "spec", "") or judge.model)
