"""MAUVE: how far a set's distribution and its reference's overlap, between 0 (apart) and 1 (the same).

Pillutla et al. 2021 (arXiv 2102.01454) and 2023 (JMLR): both sets' vectors are cut into shared clusters; the two
histograms are compared along all their mixtures, which gives a curve whose two ends are the two ways to fail, text that
nobody would write and text that never gets written. MAUVE is the area under it. The frontier integral sums the same up
without the scaling constant, and the star variant smooths the histograms first.

Promised: value and ceiling rest on equally many rows and clusters, so that they compare: the reference is halved, the
set is held against one half, and the other half against the same gives the ceiling (`null`). Not promised: that values
compare across embedders, sizes, numbers of clusters, or lengths of text; nor that an embedder sees what differs. One
that adds up word vectors does not see the order of words, and the report says so. Where the embedder is a language model,
cutting texts (at 1,024 tokens in the paper) is its own affair.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.vectors import Vectors
from gristmill.quality import points
from gristmill.quality.embed import Embedder, normalised
from gristmill.quality.intervals import Numbers, interval
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "mauve"
RULES: tuple[Rule, ...] = ()
ENOUGH = 1000
"""Texts a side below which the paper's authors would not read the number."""


def histograms(
    p: Vectors,
    q: Vectors,
    buckets: int,
    *,
    explained_variance: float = 0.9,
    restarts: int = 5,
    iterations: int = 500,
    seed: int = 25,
) -> tuple[Rows, Rows]:
    """Counts of both sets over clusters of both: two rows of as many numbers, together the rows of `p` and of `q`.

    Vectors [n, d] are made length 1, reduced to the principal components that hold `explained_variance` of the
    variance (without whitening), and clustered together.
    """
    labels, centres = points.clusters(
        reduced(normalised(np.concatenate([p, q])), explained_variance),
        buckets,
        seed=seed,
        restarts=restarts,
        iterations=iterations,
    )
    k = len(centres)
    return np.bincount(labels[: len(p)], minlength=k), np.bincount(labels[len(p) :], minlength=k)


def reduced(vectors: Vectors, explained_variance: float) -> Vectors:
    """The fewest principal components that hold this share of the variance, at least one."""
    packages.require("MAUVE", "quality", "sklearn")
    from sklearn.decomposition import PCA

    centred = vectors - vectors.mean(axis=0)
    if not np.any(np.abs(centred) > 1e-9):  # nothing varies
        none: Vectors = centred[:, :1]
        return none
    found = PCA(svd_solver="covariance_eigh").fit(centred)
    held = np.cumsum(found.explained_variance_ratio_)
    kept = min(int(np.searchsorted(held, explained_variance - 1e-12)) + 1, len(held))
    projected: Vectors = centred @ found.components_[:kept].T
    return projected


def shares(counts: Sequence[float] | npt.NDArray[np.generic], smoothing: float = 0.0) -> Numbers:
    """Counts as a distribution; `smoothing` is added to each before (0.5: Krichevsky and Trofimov).

    Raises:
        ValueError: nothing was counted.
    """
    raised = np.asarray(counts, np.float64) + smoothing
    if not raised.sum() > 0:
        raise ValueError("an empty histogram is no distribution")
    found: Numbers = raised / raised.sum()
    return found


def divergence_curve(p: Numbers, q: Numbers, *, scaling: float = 5.0, curve_points: int = 25) -> Numbers:
    """Points [curve_points + 2, 2] of the curve of two distributions, both coordinates 0 to 1, with its ends (1, 0) and
    (0, 1). For a mixture R: (exp(-scaling KL(q, R)), exp(-scaling KL(p, R)))."""
    found = [(1.0, 0.0)]
    for weight in np.linspace(1 - 1e-6, 1e-6, curve_points):
        mixture = weight * p + (1 - weight) * q
        found.append((np.exp(-scaling * _kl(q, mixture)), np.exp(-scaling * _kl(p, mixture))))
    return np.array([*found, (0.0, 1.0)])


def _kl(p: Numbers, q: Numbers) -> float:
    """In nats; `q` is above 0 wherever `p` is."""
    some = p > 0
    return max(0.0, float((p[some] * np.log(p[some] / q[some])).sum()))


def area(curve: Numbers) -> float:
    """The area under a curve of points [n, 2] by trapezoids, the mean of integrating along either axis."""
    return (_under(curve[:, 0], curve[:, 1]) + _under(curve[:, 1], curve[:, 0])) / 2


def _under(x: Numbers, y: Numbers) -> float:
    # Of equal x the higher point first: where both sets are the same, all inner points are (1, 1) and tie with the end
    # (1, 0). With the end before them, a triangle of the square is lost.
    order = np.lexsort((-y, x))
    return float(np.trapezoid(y[order], x[order]))


def mauve(p: Numbers, q: Numbers, *, scaling: float = 5.0, curve_points: int = 25) -> float:
    """MAUVE of two distributions over the same clusters, 0 to 1; the same whichever comes first."""
    return area(divergence_curve(p, q, scaling=scaling, curve_points=curve_points))


def frontier_integral(p: Numbers, q: Numbers) -> float:
    """The mean divergence of two distributions to their mixtures, 0 (the same) to 1 (apart)."""
    inner = np.zeros(len(p))  # of the clusters that both have: p q (ln p - ln q) / (p - q), and its limit p at p = q
    both = (p > 0) & (q > 0)
    ratio = p[both] / q[both] - 1
    # (ln p - ln q) / (p - q) = log1p(ratio) / (q ratio), which keeps its digits where p is nearly q.
    quotient = np.where(ratio == 0, 1.0, np.log1p(ratio) / np.where(ratio == 0, 1.0, ratio))
    inner[both] = p[both] * quotient
    return float(2 * ((p + q) / 4 - inner / 2).sum())


def buckets_for(n: int) -> int:
    """A cluster for ten rows of the smaller set, at least two."""
    return max(2, round(n / 10))


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    seed: int = 25,
    num_buckets: int | None = None,
    explained_variance: float = 0.9,
    kmeans_restarts: int = 5,
    kmeans_iterations: int = 500,
    scaling_c: float = 5.0,
    curve_points: int = 25,
    seeds: int = 5,
    n_sample: int = 5000,
) -> Found:
    """MAUVE of a set against one half of its reference, beside that of the reference's two halves.

    Args:
        num_buckets: clusters; one for ten rows of a side unless given.
        explained_variance: share of the variance that the principal components hold.
        kmeans_restarts: starts of the clustering; the best counts.
        kmeans_iterations: of one start, at most.
        scaling_c: of the divergences: what is 1 at the same and falls as they grow.
        curve_points: mixtures between the two distributions.
        seeds: draws of rows and clusters that the values are means of.
        n_sample: texts a side, at most; half of the reference where it has no more.
    """
    found = Found(
        check=CHECK,
        settings={
            "embedder": embed.name,
            "explained_variance": explained_variance,
            "kmeans_restarts": kmeans_restarts,
            "kmeans_iterations": kmeans_iterations,
            "scaling_c": scaling_c,
            "curve_points": curve_points,
            "seeds": [seed + at for at in range(seeds)],
            "null_of": "reference",
        },
    )
    ours, rows = points.embedded(embed, data)
    human, others = points.embedded(embed, reference) if reference is not None else (ours[:0], rows[:0])
    n = min(n_sample, len(ours), len(human) // 2)
    found.settings |= {"n": n, "num_buckets": num_buckets or buckets_for(n)}
    if n < 1:
        why = "there is no reference" if reference is None else "it takes a row with words, and two of the reference"
        found.measures = [
            Measure(name=name, value=None, why=why) for name in ("mauve", "mauve_star", "frontier_integral")
        ]
        return found
    settings = {
        "buckets": num_buckets or buckets_for(n),
        "explained_variance": explained_variance,
        "restarts": kmeans_restarts,
        "iterations": kmeans_iterations,
    }
    for at in range(seeds):
        rng = np.random.default_rng(seed + at)
        order, drawn = rng.permutation(len(human)), rng.permutation(len(ours))[:n]
        row: dict[str, float] = {"seed": seed + at}
        for prefix, other in (("", ours[drawn]), ("null_", human[order[n : 2 * n]])):
            p, q = histograms(human[order[:n]], other, seed=seed + at, **settings)  # type: ignore[arg-type]
            curve = divergence_curve(shares(p), shares(q), scaling=scaling_c, curve_points=curve_points)
            row[f"{prefix}mauve"] = area(curve)
            row[f"{prefix}mauve_star"] = mauve(
                shares(p, 0.5), shares(q, 0.5), scaling=scaling_c, curve_points=curve_points
            )
            row[f"{prefix}frontier_integral"] = frontier_integral(shares(p), shares(q))
            if not prefix and not at:
                found.tables["curve"] = [{"set": float(x), "reference": float(y)} for x, y in curve]
        found.tables.setdefault("seeds", []).append(row)
    found.measures = [_measure(name, found.tables["seeds"], n) for name in ("mauve", "mauve_star", "frontier_integral")]
    spread = float(np.std([row["mauve"] for row in found.tables["seeds"]], ddof=1)) if seeds > 1 else None
    found.measures.append(
        Measure(name="mauve_sd", value=spread, n=n, better="low", why="" if seeds > 1 else "there is one seed")
    )
    assert reference is not None
    texts = [data.texts[row] for row in rows], [reference.texts[row] for row in others]
    found.notes = _limits(*texts, n, embed)
    return found


def _measure(name: str, rows: Sequence[dict[str, float]], n: int) -> Measure:
    values = [row[name] for row in rows]
    low, high = interval(values) or (None, None)
    return Measure(
        name=name,
        value=float(np.mean(values)),
        low=low,
        high=high,
        null=float(np.mean([row[f"null_{name}"] for row in rows])),
        n=n,
        better="low" if name == "frontier_integral" else "high",
    )


def _limits(ours: Sequence[str], human: Sequence[str], n: int, embed: Embedder) -> list[str]:
    notes = ["the interval is over seeds: samples of rows and clusters"]
    if n < ENOUGH:
        notes.append(f"{n} texts a side: MAUVE takes {ENOUGH} or more, better 5,000; read no single value")
    lengths = [sum(map(len, side)) / len(side) for side in (ours, human)]
    if max(lengths) > 1.2 * min(lengths):
        notes.append(
            f"the set's texts have {lengths[0]:.0f} characters, the reference's {lengths[1]:.0f}: part of the distance "
            "may be length"
        )
    try:
        ordered = sees_order(embed, human[:50])
    except KeyError:  # vectors that were made elsewhere, of these texts alone
        ordered = True
        notes.append(f"whether {embed.name} sees the order of words was not asked: it embeds no other texts")
    if not ordered:
        notes.append(
            f"{embed.name} hardly sees the order of words: text with the words in disorder would score as high"
        )
    return notes


def sees_order(embed: Embedder, texts: Sequence[str]) -> bool:
    """Does a text's vector turn (mean cosine of at most 0.99) when its words are put in disorder?"""
    rng = random.Random(0)
    pieces = [text.split() for text in texts]
    plain, disordered = (
        embed([" ".join(one) for one in side]) for side in (pieces, [rng.sample(p, len(p)) for p in pieces])
    )
    return float((plain * disordered).sum(axis=1).mean()) <= 0.99
