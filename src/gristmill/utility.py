"""Utility: a small model is trained on what each entry of a comparison made, and tested on real rows (TSTR).

Beside the entries stand three baselines: all real training rows, as many of them by chance as an entry has, and no data.
The model is a linear head on embeddings (where rows have labels), an n-gram language model, or any model that the trainer
of `train/` can train. Where real rows have domains, every score is given by domain too, and what is learnt of one domain
is tested on the others. Entries are compared at a quarter and a half of the size too: so at about a quarter and a half of what
their rows cost.

Promised: the real rows are split before anything is generated, and no row that holds a test row is trained on; entries and
the random real rows have one size, in rows for labels and in characters for language models; every figure comes from a
score of each test row, and paired.
Not promised: that a large model would gain what a small one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gristmill.errors import BadInput
from gristmill.quality import transfer, tstr
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import interval
from gristmill.quality.leaderboard import Line, board
from gristmill.quality.sets import Set
from gristmill.quality.values import Measure
from gristmill.students import FEWEST, MOST_CHARACTERS, Real, Saying, Student, Unit, of_size, size_of, values

ALL_REAL, RANDOM_REAL, NO_DATA = "all real rows", "random real rows", "no data"
BASELINES = (ALL_REAL, RANDOM_REAL, NO_DATA)
TRANSFERS = 3
"""Trainings on each domain."""
SHARES = (0.25, 0.5)
"""Of the size: what entries are compared at besides all of it."""

Runs = list[list[float]]
"""A score for each test row, by run."""


# Training on each, testing on real rows


class Transferred(msgspec.Struct, kw_only=True):
    """The matrix of domains of one maker of rows."""

    entry: str
    """An entry, or the real rows."""
    domains: list[str]
    size: int
    """Of the set of each domain that is trained on."""
    scores: list[list[float]]
    """[trained on][tested on]."""
    retention: list[list[float | None]]
    """What of the gain over no data on the domain tested on its own rows give, others keep: 1 all, 0 nothing. None where
    its own rows teach nothing."""
    measures: list[Measure]
    """`gap`: the mean score on the own domain less that on the others, above 0 where rows are tied to their domain. Of
    entries also that of real rows, and the difference."""
    in_domain: dict[str, float | None] = {}
    """By domain, the gain of an entry's rows over that of as many real ones."""
    leave_one_out: dict[str, float] = {}
    """By domain, the score of training on all others."""
    foretold: float | None = None
    """Rank correlation of scores with the distance of an entry's rows from the test rows; near -1: distance foretells."""


class Utility(msgspec.Struct, kw_only=True):
    """What each entry's rows are worth."""

    learner: str
    measure: str
    """What a score is."""
    better: Literal["high", "low"]
    size: int
    """Of each entry's set, and of the random real rows."""
    unit: Unit
    baselines: dict[str, str]
    """What each is, in words."""
    board: list[Line]
    """Entries and baselines; which share a rank is told by paired intervals."""
    smaller: dict[int, list[Line]] = {}
    """Boards of the entries at smaller sizes, by size. A method may lead only as long as there are few rows; `notes` says
    where one does."""
    by_domain: dict[str, list[Line]] = {}
    """The same on the test rows of each domain."""
    transfers: list[Transferred] = []
    """What is learnt of one domain, tested on each."""
    notes: list[str] = []


def refusals(cut: Mapping[str, Sequence[Set]], real: Real, student: Student) -> dict[str, str]:
    """Why entries cannot be ranked: rows that hold test rows, or that have no label of the real ones."""
    found = {}
    for name, sets in cut.items():
        try:
            for number, part in enumerate(sets, start=1):
                which = f"{name} (run {number})" if len(sets) > 1 else name
                if not size_of(part, "characters"):
                    raise BadInput(f"{which}: its rows have no text")
                tstr.stop_at_leaks(real.test.texts, {which: part.texts})
                if student.unit == "rows":
                    _stop_at_other_labels(part, real)
        except BadInput as error:
            found[name] = str(error)
    return found


def _stop_at_other_labels(part: Set, real: Real) -> None:
    assert real.label is not None
    own, theirs = set(values(part, real.label)), set(values(real.train, real.label))
    if not own & theirs:
        raise BadInput(
            f"{part.name}: none of its labels ({', '.join(sorted(own)[:5])}) is one of the real rows "
            f"({', '.join(sorted(theirs)[:5])})"
        )


async def utility(
    cut: Mapping[str, Sequence[Set]], real: Real, student: Student, *, embed: Embedder, seed: int, say: Saying
) -> Utility:
    """Train on each entry's sets and on the baselines, and test on the real test rows.

    Args:
        cut: by entry, the set of each of its runs; none that `refusals` names.
    """
    unit = student.unit
    size = min(size_of(part, unit) for sets in cut.values() for part in sets)
    scores: dict[str, Runs] = {}
    for name, sets in cut.items():
        say(f"training on {name}, testing on real rows")
        scores[name] = await _runs([of_size(part, unit, size, seed) for part in sets], student, seed)
    say("training on real rows")
    draws = max(map(len, cut.values()))
    drawn = [of_size(real.train, unit, size, seed + number) for number in range(draws)]
    everything = of_size(real.train, unit, len(real.train) if unit == "rows" else MOST_CHARACTERS, seed)
    scores[ALL_REAL] = await _runs([everything], student, seed)
    scores[RANDOM_REAL] = await _runs(drawn, student, seed)
    scores[NO_DATA] = [await student.floor()]
    found = Utility(
        learner=student.name,
        measure=student.measure,
        better=student.better,
        size=size,
        unit=unit,
        baselines={
            ALL_REAL: f"{size_of(everything, unit):,} {unit}",
            RANDOM_REAL: f"{size_of(drawn[0], unit):,} {unit}, drawn {'once' if draws == 1 else f'{draws} times'}",
            NO_DATA: student.floor_of,
        },
        board=board(scores, better=student.better, seed=seed),
    )
    for less in dict.fromkeys(int(size * share) for share in SHARES):
        if less < FEWEST or len(cut) < 2:
            continue
        say(f"training on {less:,} {unit} of each")
        fewer = {
            name: await _runs([of_size(one, unit, less, seed) for one in sets], student, seed)
            for name, sets in cut.items()
        }
        found.smaller[less] = board(fewer, better=student.better, seed=seed)
    found.notes += overtaken(found)
    if size_of(drawn[0], unit) < size:
        found.notes.append(f"there are fewer real {unit} to train on than an entry's {size:,}")
    if real.leaked:
        found.notes.append(f"{real.leaked:,} real training rows hold a test row and were left out")
    if real.domain is not None:
        for domain, rows in by_domain(real).items():
            part = {entry: [[run[row] for row in rows] for run in runs] for entry, runs in scores.items()}
            found.by_domain[domain] = board(part, better=student.better, seed=seed)
        say("training on each domain")
        await crossed(found, cut, real, student, floor=scores[NO_DATA][0], embed=embed, seed=seed)
    return found


def overtaken(found: Utility) -> list[str]:
    """Where the order of two entries, told apart at both sizes, is another one with fewer rows."""
    ranks = {line.entry: line.rank for line in found.board}
    notes = []
    for size, lines in found.smaller.items():
        for one, other in combinations(lines, 2):
            first, second = (one, other) if one.rank <= other.rank else (other, one)
            if first.rank < second.rank and ranks[first.entry] > ranks[second.entry]:
                notes.append(
                    f"with {size:,} {found.unit} {first.entry} is ahead of {second.entry}, with {found.size:,} behind it: "
                    "the order depends on how much is made"
                )
    return notes


async def _runs(sets: Sequence[Set], student: Student, seed: int) -> Runs:
    """Scores by set. Trainings on one set are no further sets: they count as its mean, and apart only where it is alone."""
    found: Runs = []
    for part in sets:
        runs = [await student.teach(part, seed + number) for number in range(student.trainings)]
        if len(sets) == 1:
            return runs
        found.append(np.mean(runs, axis=0).tolist())
    return found


# Domains


def by_domain(real: Real) -> dict[str, list[int]]:
    """The test rows of each domain that has enough."""
    assert real.domain is not None
    column = values(real.test, real.domain)
    return {name: [row for row, value in enumerate(column) if value == name] for name in real.domains}


async def crossed(
    found: Utility,
    cut: Mapping[str, Sequence[Set]],
    real: Real,
    student: Student,
    *,
    floor: Sequence[float],
    embed: Embedder,
    seed: int,
) -> None:
    """Add the matrix of the real rows, and those of entries whose rows have domains; all of one size.

    Args:
        floor: the score of each test row without data.
    """
    assert real.domain is not None
    items = by_domain(real)
    if left := sorted({*values(real.test, real.domain), *values(real.train, real.domain)} - items.keys()):
        found.notes.append(f"too few real rows of: {', '.join(left)}; left out of the domains")
    sets = {ALL_REAL: {name: of_domain(real.train, real.domain, name) for name in items}}
    without = [entry for entry, parts in cut.items() if joined(parts).column(real.domain) is None]
    if without:
        found.notes.append(
            f"no column {real.domain!r} in the rows of {', '.join(without)}: their domains are not crossed"
        )
    for entry in [entry for entry in cut if entry not in without]:
        whole = joined(cut[entry])
        own = {name: of_domain(whole, real.domain, name) for name in items}
        if lacking := [name for name, some in own.items() if len(some) < FEWEST]:
            found.notes.append(f"{entry} has too few rows of {', '.join(lacking)}: its domains are not crossed")
        else:
            sets[entry] = own
    size = min(size_of(part, student.unit) for own in sets.values() for part in own.values())
    for entry, own in sets.items():
        if entry == ALL_REAL or real.label is None or student.unit != "rows":
            found.transfers.append(await matrix(entry, own, student, items, floor=floor, size=size, seed=seed))
        else:
            found.transfers.append(
                beside_real(entry, own, sets[ALL_REAL], real, items, embed=embed, size=size, seed=seed)
            )


def joined(sets: Sequence[Set]) -> Set:
    """The rows of all."""
    return Set(
        sets[0].name,
        [prompt for part in sets for prompt in part.prompts],
        [response for part in sets for response in part.responses],
        [record for part in sets for record in part.records],
    )


def of_domain(part: Set, column: str, domain: str) -> Set:
    """A set's rows of one domain; none where it has no such column."""
    told = part.column(column) or []
    return part.take([row for row, value in enumerate(told) if value is not None and str(value) == domain])


async def matrix(
    entry: str,
    sets: Mapping[str, Set],
    student: Student,
    items: Mapping[str, Sequence[int]],
    *,
    floor: Sequence[float],
    size: int,
    seed: int,
) -> Transferred:
    """Train on the rows of each domain, and test on the real ones of every domain.

    Args:
        sets: rows by domain.
        items: test rows by domain, in the same order.
        floor: the score of each test row without data.
    """
    names = list(items)
    taught = []
    for name in names:
        seeds = range(seed, seed + TRANSFERS)
        runs = [await student.teach(of_size(sets[name], student.unit, size, one), one) for one in seeds]
        taught.append(np.mean(runs, axis=0))
    sign = 1.0 if student.better == "high" else -1.0
    gains = sign * np.array(taught)  # [domains, test rows]; higher is better
    where = [np.array(items[name]) for name in names]
    scores = _by_items(gains, where)
    base = np.array([sign * np.asarray(floor)[rows].mean() for rows in where])
    return Transferred(
        entry=entry,
        domains=names,
        size=size,
        scores=(sign * scores).tolist(),
        retention=transfer.retention(scores, base),
        measures=[_gap(gains, where, seed)],
    )


def _by_items(by_row: transfer.Matrix, items: Sequence[npt.NDArray[np.int64]]) -> transfer.Matrix:
    """Means over the test rows of each domain: [domains, test rows] -> [trained on, tested on]."""
    return np.array([[row[rows].mean() for rows in items] for row in by_row])


def _gap(by_row: transfer.Matrix, items: Sequence[npt.NDArray[np.int64]], seed: int) -> Measure:
    """The gap of a matrix, with its interval over the test rows of each domain."""
    rng = np.random.default_rng(seed)
    drawn = [transfer.gap(_by_items(by_row, [rng.choice(rows, len(rows)) for rows in items])) for _ in range(500)]
    low, high = interval(drawn) or (None, None)
    value, n = transfer.gap(_by_items(by_row, items)), sum(map(len, items))
    return Measure(name="gap", value=value, low=low, high=high, n=n, unit="items", better="low")


def beside_real(
    entry: str,
    sets: Mapping[str, Set],
    real_sets: Mapping[str, Set],
    real: Real,
    items: Mapping[str, Sequence[int]],
    *,
    embed: Embedder,
    size: int,
    seed: int,
) -> Transferred:
    """The matrix of an entry's labelled rows, with what `quality.transfer` tells of it beside as many real rows."""
    label = real.label
    assert label is not None

    def labelled(part: Set) -> tstr.Labelled:
        return tstr.Labelled(part.texts, values(part, label))

    domains = {
        name: transfer.Domain(labelled(real_sets[name]), labelled(real.test.take(rows)), labelled(sets[name]))
        for name, rows in items.items()
    }
    done = transfer.transfer(domains, tstr.linear(embed), embed=embed, seeds=TRANSFERS, seed=seed, size=size)
    scores = transfer.matrix(done, "synthetic")
    return Transferred(
        entry=entry,
        domains=done.domains,
        size=size,
        scores=scores.tolist(),
        retention=transfer.retention(scores, transfer.bases(done)),
        measures=transfer.gaps(done, seed=seed),
        in_domain=transfer.in_domain(done),
        leave_one_out=transfer.leave_one_out(done),
        foretold=transfer.foretold(done),
    )
