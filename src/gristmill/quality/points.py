"""Texts as clouds of vectors: embedding many of them, clusters, neighbours, and how sure a statistic of a cloud is.

Promised: the same input and seed give the same output, whatever the number of threads; memory grows with rows times
dimensions, never with rows squared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import sqrt

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.vectors import Vectors
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Z95
from gristmill.quality.sets import Set

Rows = npt.NDArray[np.int64]
CELLS = 8_000_000
"""Similarities that are held at once."""


def embedded(embed: Embedder, data: Set) -> tuple[Vectors, Rows]:
    """Vectors of length 1 [n, d] of the rows that have one, and which rows these are [n]. A text without a word has the
    zero vector, which lies in no direction.

    The set's own list of texts is embedded, whole: several measures of one set share what an embedder remembers of it.
    """
    found = embed(data.texts) if len(data) else np.zeros((0, 1))
    rows = np.flatnonzero(np.any(found != 0, axis=1) & np.array([text.strip() != "" for text in data.texts], bool))
    return (found if len(rows) == len(found) else found[rows]), rows


def clusters(
    vectors: Vectors, k: int, *, seed: int = 0, restarts: int = 1, iterations: int = 300
) -> tuple[Rows, Vectors]:
    """k-means (Lloyd, k-means++ starts): a label a row, 0 to k - 1, and the centres.

    There are fewer than `k` clusters where there are fewer different rows, and none for no rows.
    """
    if not len(vectors):
        return np.zeros(0, np.int64), np.zeros((0, vectors.shape[1]))
    packages.require("clusters of vectors", "quality", "sklearn")
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    different = len(np.unique(np.round(vectors, 6), axis=0))
    model = KMeans(min(k, different), n_init=restarts, max_iter=iterations, random_state=seed % 2**32)
    with threadpool_limits(1), warnings.catch_warnings():  # more threads add up in an order of their own, and slower
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than asked for are expected
        model.fit(vectors)
    return model.labels_.astype(np.int64), np.asarray(model.cluster_centers_, np.float64)


def assigned(vectors: Vectors, centres: Vectors) -> Rows:
    """The nearest centre of each row, in Euclidean distance; of equally near ones the first."""
    lengths = (centres**2).sum(axis=1) / 2
    found = [np.argmax(vectors[part] @ centres.T - lengths, axis=1) for part in parts(len(vectors), len(centres))]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def nearest(vectors: Vectors) -> tuple[Rows, npt.NDArray[np.float64]]:
    """The nearest other row of each row and its cosine, for rows of length 1; of equally near ones the first.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(vectors) < 2:
        raise ValueError(f"{len(vectors)} rows: no row has another")
    light = vectors.astype(np.float32)
    which = np.empty(len(vectors), np.int64)
    for part in parts(len(vectors), len(vectors)):
        similarities = light[part] @ light.T
        similarities[np.arange(part.stop - part.start), np.arange(part.start, part.stop)] = -np.inf
        which[part] = similarities.argmax(axis=1)
    cosines = np.einsum("ij,ij->i", vectors, vectors[which])
    return which, np.clip(cosines, -1.0, 1.0)


def parts(n: int, width: int) -> list[slice]:
    """Rows in slices, so that a slice times `width` is no more than `CELLS`."""
    step = max(1, CELLS // max(1, width))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def from_halves(
    statistic: Callable[[Rows], float], value: float, n: int, *, seed: int = 0, times: int = 20, relative: bool = False
) -> tuple[float, float] | None:
    """95 % interval of a statistic of n rows by random halves without replacement (delete-half jackknife: the spread
    over halves is that of the whole). For statistics that a bootstrap's repeated rows would bend: kernels, effective
    numbers. None for fewer than four rows.

    Args:
        value: of all rows.
        relative: the statistic grows with the number of rows; the spread is taken in proportion.
    """
    if n < 4:
        return None
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.permutation(n)[: n // 2]) for _ in range(times)])
    spread = float(values.std(ddof=1))
    if relative:
        spread *= value / max(float(values.mean()), 1e-12)
    return value - Z95 * spread, value + Z95 * spread


def over_samples(
    statistic: Callable[[Rows], float], total: int, n: int, *, seed: int = 0, times: int = 10, relative: bool = False
) -> tuple[float, tuple[float, float] | None]:
    """A statistic of samples of n out of `total` rows: the mean and the 95 % interval over `times` samples; where there
    are only n rows, of these, with the interval by halves."""
    if total <= n:
        value = statistic(np.arange(total))
        return value, from_halves(statistic, value, total, seed=seed, times=max(2, times), relative=relative)
    rng = np.random.default_rng(seed)
    values = [statistic(np.sort(rng.choice(total, n, replace=False))) for _ in range(max(1, times))]
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    # Samples out of few more rows than n have most rows in common, and differ by less than sets of n rows do.
    spread = Z95 * float(np.std(values, ddof=1)) / sqrt(1 - n / total)
    return mean, (mean - spread, mean + spread)
