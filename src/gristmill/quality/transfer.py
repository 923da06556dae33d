"""Transfer: what is learnt from one domain's synthetic rows, tested on the real rows of every domain.

The matrix of `tstr`, a cell for each pair of domains (registers, hospitals, languages, years, source systems), for
synthetic and for real training rows; what it keeps across domains; and whether distances between domains foretell it.

Promised: every cell of a matrix rests on training sets of one size and one budget; each run keeps what it said of every
item, and all tables are computed from that.
Not promised: a cause. A set that transfers badly may be narrow, or the domains may be far apart: compare with the same
numbers of real rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gristmill.errors import BadInput
from gristmill.quality import points
from gristmill.quality.c2st import classified
from gristmill.quality.distance import bandwidth, gaussian, mmd2
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import interval
from gristmill.quality.tstr import (
    LEAST_STEPS,
    PASSES,
    Labelled,
    Learner,
    Metric,
    codes,
    most_frequent,
    score,
    stop_at_leaks,
)
from gristmill.quality.values import Measure

Source = Literal["synthetic", "real"]
SOURCES: tuple[Source, ...] = ("synthetic", "real")
Matrix = npt.NDArray[np.float64]
"""[domains, domains]: of which the training rows are, by which the test is; NaN where there is no number."""


@dataclass(frozen=True)
class Domain:
    """What there is of one domain."""

    real_train: Labelled
    real_test: Labelled
    synthetic: Labelled


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said of one domain's test items."""

    source: Source
    trained_on: list[str]
    """Domains: one, or all but the tested one."""
    tested_on: str
    seed: int
    rows: int
    steps: int
    said: list[str]


class Transfer(msgspec.Struct, kw_only=True):
    """All that was said. The functions below make tables of it."""

    domains: list[str]
    cells: list[Cell]
    truth: dict[str, list[str]]
    """Labels of the test items by domain."""
    base: dict[str, str]
    """By domain, the most frequent label of its real training rows."""
    metric: Metric
    distances: list[dict[str, Any]]
    """Of each set of synthetic rows from each set of test items: trained_on, tested_on, auc, mmd2; None where there are
    too few rows. Empty without an embedder."""
    settings: dict[str, Any]


def transfer(
    domains: Mapping[str, Domain],
    learner: Learner,
    *,
    embed: Embedder | None = None,
    seeds: int = 3,
    seed: int = 0,
    size: int | None = None,
    steps: int | None = None,
    metric: Metric = "accuracy",
    n_sample: int = 1000,
) -> Transfer:
    """Train on each domain's synthetic and real rows, and on those of all domains but one, and test on every domain.

    Args:
        embed: for distances between domains; none are taken without.
        seeds: models of each kind. A seed chooses rows and the order of training.
        size: rows of every training set; the smallest set's unless given. Of all domains but one as many in all, about
            equally many of each.
        steps: of every run; PASSES over `size` rows unless given, at least LEAST_STEPS.
        n_sample: rows a side for distances, at most.

    Raises:
        BadInput: fewer than two domains, an empty set, too few rows for `size`, or a training row that holds a test item
            of any domain.
    """
    names = list(domains)
    if len(names) < 2:
        raise BadInput(f"transfer is between domains, and there are {len(names)}; give two or more")
    sets = {(kind, name): part for name, one in domains.items() for kind, part in _parts(one)}
    smallest = min(sets, key=lambda key: len(sets[key]))
    size = len(sets[smallest]) if size is None else size
    if not 0 < size <= len(sets[smallest]):
        raise BadInput(f"each training set must have {max(1, size)} rows; {smallest[0]} {smallest[1]} has "
                       f"{len(sets[smallest])}")  # fmt: skip
    for name, one in domains.items():
        if not len(one.real_test):
            raise BadInput(f"there are no test rows of {name}")
        stop_at_leaks(one.real_test.texts, {f"{kind} {other}": part.texts for (kind, other), part in sets.items()})
    budget = max(LEAST_STEPS, PASSES * size) if steps is None else steps
    texts, labels, where = _pooled(sets)
    features = learner.features([*texts, *(text for one in domains.values() for text in one.real_test.texts)])
    tests, start = {}, len(texts)
    for name, one in domains.items():
        tests[name] = np.arange(start, start + len(one.real_test))
        start += len(one.real_test)
    found = Transfer(
        domains=names,
        cells=[],
        truth={name: list(one.real_test.labels) for name, one in domains.items()},
        base={name: most_frequent(one.real_train.labels) for name, one in domains.items()},
        metric=metric,
        distances=_distances(domains, embed, n_sample, seed) if embed is not None else [],
        settings={
            "learner": learner.name,
            "embedder": embed.name if embed else None,
            "seeds": seeds,
            "seed": seed,
            "size": size,
            "steps": budget,
            "metric": metric,
        },
    )
    for number in range(seed, seed + seeds):
        rng = np.random.default_rng(number)
        shuffled = {key: rng.permutation(rows) for key, rows in where.items()}
        for kind in SOURCES:
            for trained_on, tested_on in _plan(names):
                chosen = _even([shuffled[kind, name] for name in trained_on], size)
                model = learner.fit(features[chosen], labels[chosen].tolist(), budget, number)
                for name in tested_on:
                    found.cells.append(
                        Cell(
                            source=kind,
                            trained_on=trained_on,
                            tested_on=name,
                            seed=number,
                            rows=len(chosen),
                            steps=model.steps,
                            said=list(model.predict(features[tests[name]])),
                        )
                    )
    return found


def _parts(domain: Domain) -> tuple[tuple[Source, Labelled], tuple[Source, Labelled]]:
    return ("synthetic", domain.synthetic), ("real", domain.real_train)


def _pooled(
    sets: Mapping[tuple[Source, str], Labelled],
) -> tuple[list[str], npt.NDArray[np.object_], dict[tuple[Source, str], points.Rows]]:
    """All training texts with their labels, and the rows of each set among them."""
    texts: list[str] = []
    labels: list[str] = []
    where = {}
    for key, part in sets.items():
        where[key] = np.arange(len(texts), len(texts) + len(part))
        texts += part.texts
        labels += part.labels
    return texts, np.array(labels, dtype=object), where


def _plan(names: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Domains to train on and those to test on. With two domains, all but one is the other, which is there already."""
    alone = [([name], list(names)) for name in names]
    others = [([other for other in names if other != name], [name]) for name in names]
    return [*alone, *others] if len(names) > 2 else alone


def _even(sets: Sequence[points.Rows], size: int) -> points.Rows:
    """About equally many rows of each, together `size`, in order."""
    shares = np.diff(np.linspace(0, size, len(sets) + 1).astype(np.int64))
    return np.sort(np.concatenate([rows[:share] for rows, share in zip(sets, shares, strict=True)]))


def _distances(domains: Mapping[str, Domain], embed: Embedder, n_sample: int, seed: int) -> list[dict[str, Any]]:
    def cloud(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        vectors = embed(texts)
        vectors = vectors[np.any(vectors != 0, axis=1)]  # a text without a word lies in no direction
        kept = np.random.default_rng(seed).permutation(len(vectors))[:n_sample]
        return vectors[np.sort(kept)]

    ours = {name: cloud(one.synthetic.texts) for name, one in domains.items()}
    theirs = {name: cloud(one.real_test.texts) for name, one in domains.items()}
    return [
        {"trained_on": one, "tested_on": other, **_apart(ours[one], theirs[other], seed)}
        for one in domains
        for other in domains
    ]


def _apart(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], seed: int) -> dict[str, float | None]:
    """How well a classifier tells the two apart, and their discrepancy."""
    if min(len(ours), len(theirs)) < 2:
        return {"auc": None, "mmd2": None}
    pooled = np.concatenate([ours, theirs])
    told = classified(
        pooled * pooled.shape[1] ** 0.5, np.arange(len(pooled)) < len(ours), np.arange(len(pooled)), seed=seed
    )
    return {
        "auc": None if told is None else told.auc,
        "mmd2": mmd2(gaussian(pooled, bandwidth(pooled)), np.arange(len(ours))),
    }


# Tables


def _said(found: Transfer, source: Source, trained_on: Sequence[str], tested_on: str) -> list[points.Rows]:
    """Codes of the truth, then of what was said by each seed."""
    said = [
        cell.said
        for cell in found.cells
        if (cell.source, cell.tested_on, cell.trained_on) == (source, tested_on, list(trained_on))
    ]
    return codes(found.truth[tested_on], *said)


def _mean(found: Transfer, said: Sequence[points.Rows], items: points.Rows | None = None) -> float:
    """The score of these items, all unless given, over seeds."""
    rows: points.Rows | slice = slice(None) if items is None else items
    truth, *by_seed = said
    return float(np.mean([score(found.metric, truth[rows], one[rows]) for one in by_seed]))


def matrix(found: Transfer, source: Source) -> Matrix:
    """Mean scores over seeds, [trained on, tested on], in the order of `found.domains`."""
    return np.array(
        [[_mean(found, _said(found, source, [one], other)) for other in found.domains] for one in found.domains]
    )


def bases(found: Transfer) -> npt.NDArray[np.float64]:
    """By domain, the score of always saying its most frequent label."""
    scores = []
    for name in found.domains:
        truth, said = codes(found.truth[name], [found.base[name]] * len(found.truth[name]))
        scores.append(score(found.metric, truth, said))
    return np.array(scores)


def retention(scores: Matrix, base: npt.NDArray[np.float64]) -> list[list[float | None]]:
    """(M[i, j] - base_j) / (M[j, j] - base_j): 1 where training on i does for j what training on j does, 0 where it does
    nothing. None in columns whose own domain is not learnt."""
    own = np.diag(scores) - base
    return [
        [(float(value) if own[j] > 1e-9 else None) for j, value in enumerate(row)]
        for row in (scores - base) / np.where(own > 1e-9, own, 1.0)
    ]


def in_domain(found: Transfer) -> dict[str, float | None]:
    """By domain, the diagonal of synthetic rows over that of real ones, the base taken off both. None where real rows do
    not teach."""
    base = bases(found)
    ours, theirs = (np.diag(matrix(found, source)) - base for source in SOURCES)
    return {name: float(a / b) if b > 1e-9 else None for name, a, b in zip(found.domains, ours, theirs, strict=True)}


def gap(scores: Matrix) -> float:
    """Mean of the diagonal less mean of the rest."""
    off = ~np.eye(len(scores), dtype=bool)
    return float(np.diag(scores).mean() - scores[off].mean())


def gaps(found: Transfer, *, seed: int = 0, times: int = 500) -> list[Measure]:
    """The gap for synthetic and for real rows, and the first less the second: above 0, synthesis ties the data to the
    domain that they were made from. Intervals by bootstrap over each domain's items."""
    right = {}
    for source in SOURCES:
        for one in found.domains:
            for other in found.domains:
                right[source, one, other] = _said(found, source, [one], other)

    def value(rows: Mapping[str, points.Rows] | None, source: Source) -> float:
        cells = [
            [_mean(found, right[source, one, other], None if rows is None else rows[other]) for other in found.domains]
            for one in found.domains
        ]
        return gap(np.array(cells))

    rng = np.random.default_rng(seed)
    sizes = {name: len(labels) for name, labels in found.truth.items()}
    drawn = [{name: rng.integers(0, n, n) for name, n in sizes.items()} for _ in range(times)]
    n = sum(sizes.values())
    by_source = {source: [value(rows, source) for rows in drawn] for source in SOURCES}
    excess = [a - b for a, b in zip(by_source["synthetic"], by_source["real"], strict=True)]
    whole = value(None, "synthetic"), value(None, "real")
    measures = []
    for name, middle, spread in (
        ("gap_synthetic", whole[0], by_source["synthetic"]),
        ("gap_real", whole[1], by_source["real"]),
        ("gap_excess", whole[0] - whole[1], excess),
    ):
        low, high = interval(spread) or (None, None)
        measures.append(Measure(name=name, value=middle, low=low, high=high, n=n, unit="items", better="low"))
    return measures


def asymmetry(found: Transfer, source: Source = "synthetic") -> list[dict[str, Any]]:
    """For each pair of domains the two retentions and their difference, the largest first."""
    kept = retention(matrix(found, source), bases(found))
    lines = []
    for i, one in enumerate(found.domains):
        for j in range(i + 1, len(found.domains)):
            there, back = kept[i][j], kept[j][i]
            if there is not None and back is not None:
                lines.append(
                    {"from": one, "to": found.domains[j], "there": there, "back": back, "difference": there - back}
                )
    return sorted(lines, key=lambda line: -abs(line["difference"]))


def worst(found: Transfer, source: Source = "synthetic") -> dict[str, Any] | None:
    """The cell that keeps least; None where no domain is learnt."""
    kept = retention(matrix(found, source), bases(found))
    cells: list[dict[str, Any]] = [
        {"trained_on": one, "tested_on": other, "retention": value}
        for one, row in zip(found.domains, kept, strict=True)
        for other, value in zip(found.domains, row, strict=True)
        if value is not None and one != other
    ]
    return min(cells, key=lambda cell: cell["retention"]) if cells else None


def leave_one_out(found: Transfer, source: Source = "synthetic") -> dict[str, float]:
    """By domain, the mean score of training on all others; with two domains the cell of the other."""
    return {
        name: _mean(found, _said(found, source, [other for other in found.domains if other != name], name))
        for name in found.domains
    }


def foretold(found: Transfer, distance: Literal["auc", "mmd2"] = "auc") -> float | None:
    """Rank correlation (Spearman) of the cells' scores over the base with the distances of their rows: near -1 where
    distance foretells transfer, near 0 where it does not. None for fewer than three cells, or where either is constant."""
    scores, base = matrix(found, "synthetic"), bases(found)
    pairs = [
        (line[distance], scores[i, j] - base[j])
        for line in found.distances
        if line[distance] is not None
        for i, j in [(found.domains.index(line["trained_on"]), found.domains.index(line["tested_on"]))]
    ]
    return spearman([a for a, _ in pairs], [b for _, b in pairs])


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of ranks, equal values at their mean rank; None for fewer than three pairs or a constant side."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    _, which, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    middles: npt.NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middles[which]
