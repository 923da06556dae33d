"""Semantic diversity: how many different things a set says, as an embedder sees it.

Vendi score (Friedman and Dieng 2022, arXiv 2210.02410): the exponential of the entropy of the eigenvalues of the cosine
kernel, an effective number of different items, 1 where all are the same and n where all are orthogonal. With it the
dispersion (one minus the mean cosine of two rows), the distance to the centroid and to the nearest neighbour, and the
entropy of clusters that are shared with the reference.

Promised: every number of a set and of its reference rests on the same number of rows, since the Vendi score grows with
it. Not promised: that more is better (noise is the most diverse text there is), nor anything that the embedder does
not see; numbers of two embedders do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf, log

import numpy as np
import numpy.typing as npt

from gristmill.ops.vectors import Vectors
from gristmill.quality import points
from gristmill.quality.embed import Embedder
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "semantic-diversity"
RULES: tuple[Rule, ...] = ()


def eigenvalues(vectors: Vectors, weights: Sequence[float] | None = None) -> npt.NDArray[np.float64]:
    """Of the kernel K_ij sqrt(p_i p_j), K the cosines: none below 0, together 1.

    Taken from the smaller of two matrices with the same non-zero values: of rows [n, n] or of dimensions [d, d].

    Args:
        vectors: [n, d], of any length but 0.
        weights: a share a row (p), in any unit; equal unless given.

    Raises:
        ValueError: no rows, a zero row, or weights that are no shares.
    """
    n, d = vectors.shape
    lengths = np.linalg.norm(vectors, axis=1)
    if not n or not np.all(lengths > 0):
        raise ValueError(
            f"{n} rows, {int((lengths == 0).sum())} of them zero: a zero row is like nothing, not even itself"
        )
    share = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if share.shape != (n,) or share.min() < 0 or not share.sum() > 0:
        raise ValueError(f"{len(share)} weights for {n} rows; they must be a number of 0 or more each, not all 0")
    scaled = vectors / lengths[:, None] * np.sqrt(share / share.sum())[:, None]
    found = np.linalg.eigvalsh(scaled.T @ scaled if n > d else scaled @ scaled.T).clip(min=0)
    values: npt.NDArray[np.float64] = found / found.sum()
    return values


def vendi(vectors: Vectors, weights: Sequence[float] | None = None, q: float = 1.0) -> float:
    """The Vendi score of order q: 1 (the same) to n (orthogonal). Larger orders count what is frequent for more.

    Args:
        q: 1 is the entropy's, inf one over the largest eigenvalue, 0 the number of dimensions that are used.

    Raises:
        ValueError: as `eigenvalues`, or a negative order.
    """
    return effective_number(eigenvalues(vectors, weights), q)


def effective_number(shares: npt.NDArray[np.float64], q: float = 1.0) -> float:
    """The Hill number of order q of shares that are 1 together."""
    if not q >= 0:
        raise ValueError(f"the order is {q}, it must be 0 or more")
    some = shares[shares > 1e-12]  # below is the eigenvalues' own rounding
    if q == inf:
        return float(1 / some.max())
    if q == 1:
        return float(np.exp(-(some * np.log(some)).sum()))
    return float((some**q).sum() ** (1 / (1 - q)))


def dispersion(vectors: Vectors) -> float:
    """One minus the mean cosine of two different rows: 0 (the same) to a little over 1. For rows of length 1, [n, d].

    Raises:
        ValueError: fewer than two rows.
    """
    n = len(vectors)
    if n < 2:
        raise ValueError(f"{n} rows: there is no pair")
    total = vectors.sum(axis=0)
    off_diagonal = float(total @ total) - float((vectors**2).sum())
    return 1 - off_diagonal / (n * (n - 1))


def centroid_distance(vectors: Vectors) -> float:
    """Mean Euclidean distance of the rows [n, d] to their mean, 0 to 1 for rows of length 1."""
    return float(np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).mean())


def cluster_entropy(labels: Rows, k: int) -> float:
    """Entropy of cluster labels as a share of the most possible, ln k: 0 (one cluster) to 1 (all alike); 0 for k = 1."""
    counts = np.bincount(labels)
    shares = counts[counts > 0] / max(1, len(labels))
    return float(-(shares * np.log(shares)).sum() / log(k)) + 0.0 if k > 1 and len(shares) > 1 else 0.0


class _Cloud:
    """A set's vectors, and the cluster of each."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.centres: Vectors = vectors[:0]

    @cached_property
    def labels(self) -> Rows:
        return points.assigned(self.vectors, self.centres)

    def part(self, rows: Rows) -> _Cloud:
        found = _Cloud(self.vectors[rows])
        found.centres = self.centres
        return found


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    seed: int = 0,
    n_sample: int = 2000,
    q: Sequence[float] = (1.0, inf),
    k_clusters: int = 50,
    resamples: int = 10,
) -> Found:
    """Diversity of a set beside its reference, and each row's nearest neighbour.

    Args:
        n_sample: rows that a number rests on; fewer where the set or the reference has fewer.
        q: orders of the Vendi score.
        k_clusters: clusters, fitted on equally many rows of both sets; as many as rows where there are fewer.
        resamples: samples a number is the mean of, where the set has more rows than `n_sample`.
    """
    vectors, kept = points.embedded(embed, data)
    n = min(n_sample, len(vectors))
    human = None
    if reference is not None and len(reference):
        human = _Cloud(points.embedded(embed, reference)[0])
        n = min(n, len(human.vectors))
    ours = _Cloud(vectors)
    k = _fit(ours, human, n, k_clusters, seed)
    statistics = _statistics(q, n, k)
    sides = {"value": _estimates(ours, statistics, n, seed, resamples)}
    if human is not None:
        sides["reference"] = _estimates(human, statistics, n, seed + 1, resamples)
    first, second, null_n = _halves(human or ours, n, seed)
    nulls = [_estimates(half, statistics, null_n, seed, 1) for half in (first, second)]
    found = Found(
        check=CHECK,
        measures=[_measure(name, sides, nulls, n) for name in statistics],
        settings={
            "embedder": embed.name,
            "n": n,
            "null_n": null_n,
            "null_of": "reference" if human is not None else "data",
            "q": [f"{order:g}" for order in q],
            "clusters": k,
            "resamples": resamples,
        },
    )
    if human is not None:
        found.measures.append(_ratio(sides, nulls, n))
    if len(kept) < len(data):
        found.notes.append(f"{len(data) - len(kept)} rows without a word are left out")
    if null_n < n:
        found.notes.append(f"the null rests on {null_n} rows, the values on {n}: the Vendi score grows with rows")
    _neighbours(found, vectors, kept, len(data))
    return found


def _fit(ours: _Cloud, human: _Cloud | None, n: int, k: int, seed: int) -> int:
    """Clusters of both sets together, n rows of each; how many a row could fall into."""
    sides = [one for one in (ours, human) if one is not None and len(one.vectors)]
    if not sides:
        return 0
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([one.vectors[rng.permutation(len(one.vectors))[:n]] for one in sides])
    centres = points.clusters(pooled, k, seed=seed)[1]
    for one in sides:
        one.centres = centres
    return min(k, len(pooled))


def _statistics(q: Sequence[float], n: int, k: int) -> dict[str, Callable[[_Cloud], float]]:
    def order(q: float) -> Callable[[_Cloud], float]:
        return lambda cloud: vendi(cloud.vectors, q=q)

    found = {"vendi" if one == 1 else f"vendi_q_{one:g}": order(one) for one in q}
    if 1 in q:
        found["vendi_share"] = lambda cloud: vendi(cloud.vectors) / len(cloud.vectors)
    found["dispersion"] = lambda cloud: dispersion(cloud.vectors)
    found["centroid_distance"] = lambda cloud: centroid_distance(cloud.vectors)
    found["neighbour_distance"] = lambda cloud: float(1 - points.nearest(cloud.vectors)[1].mean())
    found["cluster_entropy"] = lambda cloud: cluster_entropy(cloud.labels, k)
    found["empty_clusters"] = lambda cloud: 1 - len(np.unique(cloud.labels)) / k
    return found


Estimate = tuple[float, tuple[float, float] | None]


def _estimates(
    cloud: _Cloud, statistics: dict[str, Callable[[_Cloud], float]], n: int, seed: int, resamples: int
) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for name, statistic in statistics.items():
        if n < (1 if name.startswith("vendi") else 2):
            continue
        found[name] = points.over_samples(
            lambda rows, statistic=statistic: statistic(cloud.part(rows)),  # type: ignore[misc]
            len(cloud.vectors),
            n,
            seed=seed,
            times=resamples,
            relative=name.startswith("vendi"),
        )
    return found


def _halves(cloud: _Cloud, n: int, seed: int) -> tuple[_Cloud, _Cloud, int]:
    order = np.random.default_rng(seed).permutation(len(cloud.vectors))
    size = min(n, len(order) // 2)
    return cloud.part(np.sort(order[:size])), cloud.part(np.sort(order[size : 2 * size])), size


def _measure(name: str, sides: dict[str, dict[str, Estimate]], nulls: list[dict[str, Estimate]], n: int) -> Measure:
    if name not in sides["value"]:
        return Measure(
            name=name, value=None, n=n, why=f"{n} rows with words; it takes at least two (a Vendi score one)"
        )
    value, bounds = sides["value"][name]
    low, high = bounds or (None, None)
    halves = [half[name][0] for half in nulls if name in half]
    return Measure(
        name=name,
        value=value,
        low=None if low is None else max(0.0, low),  # as all of them
        high=high,
        null=float(np.mean(halves)) if halves else None,
        reference=sides["reference"][name][0] if "reference" in sides else None,
        n=n,
    )


def _ratio(sides: dict[str, dict[str, Estimate]], nulls: list[dict[str, Estimate]], n: int) -> Measure:
    """The set's Vendi score as a share of the reference's, at the same size; of two halves it is about 1."""
    if "vendi" not in sides["value"]:
        return Measure(name="vendi_ratio", value=None, n=n, why="no Vendi score of order 1: no rows, or not asked for")
    (value, bounds), human = sides["value"]["vendi"], sides["reference"]["vendi"][0]
    low, high = (bounds[0] / human, bounds[1] / human) if bounds else (None, None)
    null = nulls[0]["vendi"][0] / nulls[1]["vendi"][0] if "vendi" in nulls[0] else None
    return Measure(name="vendi_ratio", value=value / human, low=low, high=high, null=null, reference=1.0, n=n)


def _neighbours(found: Found, vectors: Vectors, kept: Rows, n: int) -> None:
    scores: list[float | None] = [None] * n
    if len(kept) > 1:
        which, cosines = points.nearest(vectors)
        for row, other, cosine in zip(kept.tolist(), kept[which].tolist(), cosines.tolist(), strict=True):
            scores[row] = cosine
            found.details[row] = [{"nearest_row": other, "similarity": cosine}]
    found.rows["nearest_similarity"] = scores
