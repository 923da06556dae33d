"""Groups of alike vectors, and which of a group to keep. scikit-learn does the clustering: the extra `learn`.

Results depend on the machine's arithmetic in their last digits, and so, at a border, a group can: compute them inside
`run.once`, which keeps what came out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from gristmill import packages
from gristmill.ops.vectors import Vectors

Clustering = Literal["kmeans", "agglomerative", "hdbscan"]
NOISE = -1
"""The group of what fits into none, of HDBSCAN."""


def require() -> None:
    """Raises BadInput where scikit-learn is not installed."""
    packages.require("clustering", "learn", "sklearn")


def reduced(vectors: Vectors, dimensions: int) -> Vectors:
    """The first principal components, as many as there can be up to `dimensions`, scaled as one so that a coordinate's
    root mean square is 1."""
    centred = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)  # the weakest first
    found: Vectors = centred @ axes[:, ::-1][:, :dimensions]
    spread = float(np.sqrt((found**2).mean()))
    return found / spread if spread > 1e-9 else np.zeros_like(found)


def clustered(vectors: Vectors, method: Clustering, *, clusters: int, min_cluster_size: int, seed: int) -> list[int]:
    """The number of each vector's group, from 0; NOISE where HDBSCAN puts it into none.

    Args:
        clusters: of kmeans and agglomerative; fewer where there are not so many different vectors.
        min_cluster_size: of hdbscan.
    """
    from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans

    different = len(np.unique(vectors, axis=0))
    if len(vectors) < 2 or different == 1:
        return [0] * len(vectors)
    model: Any
    match method:
        case "kmeans":
            model = KMeans(min(clusters, different), n_init=1, random_state=seed)
        case "agglomerative":
            model = AgglomerativeClustering(min(clusters, different))
        case "hdbscan":
            model = HDBSCAN(min_cluster_size=max(2, min(min_cluster_size, len(vectors))), copy=True)
    return cast(list[int], model.fit_predict(vectors).tolist())


def quotas(groups: Sequence[int], total: int) -> dict[int, int]:
    """How many of each group make `total` of all, in proportion to their sizes; what is left over by rounding down goes to
    the largest remainders, of equal ones to the larger group."""
    sizes = Counter(groups)
    shares = {group: divmod(total * size, len(groups)) for group, size in sorted(sizes.items())}
    found = {group: whole for group, (whole, _) in shares.items()}
    by_rest = sorted(shares, key=lambda group: (-shares[group][1], -sizes[group], group))
    for group in by_rest[: total - sum(found.values())]:
        found[group] += 1
    return found


def far_apart(vectors: Vectors, count: int) -> tuple[list[int], list[float | None]]:
    """`count` vectors, each the farthest from its nearest among those before it; the first is the nearest to the mean.

    Returns them in that order, and for every vector its distance to the nearest kept before it was kept itself (for the
    others: to the nearest kept at the end). The first has none.
    """
    if count == 0:
        return [], [None] * len(vectors)
    first = int(np.argmin(((vectors - vectors.mean(0)) ** 2).sum(1).round(9)))
    kept, distance = [first], np.linalg.norm(vectors - vectors[first], axis=1).round(6)
    scores: list[float | None] = [None] * len(vectors)
    open_still = np.ones(len(vectors), bool)
    open_still[first] = False
    while len(kept) < count:
        farthest = int(np.argmax(np.where(open_still, distance, -1.0)))
        kept.append(farthest)
        scores[farthest] = float(distance[farthest])
        open_still[farthest] = False
        distance = np.minimum(distance, np.linalg.norm(vectors - vectors[farthest], axis=1).round(6))
    for index in np.flatnonzero(open_still):
        scores[index] = float(distance[index])
    return kept, scores


def log_densities(vectors: Vectors) -> Vectors:
    """The logarithm of a Gaussian kernel density estimate at each vector; the bandwidth by Scott's rule."""
    from sklearn.neighbors import KernelDensity

    found: Vectors = KernelDensity(bandwidth="scott").fit(vectors).score_samples(vectors)
    return found
