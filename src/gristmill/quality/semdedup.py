"""SemDeDup (Abbas et al. 2023): rows that mean the same, by their embeddings.

Rows are clustered by direction (spherical k-means); within a cluster, a row whose cosine with an earlier one is above
1 - epsilon goes. What counts is what the embedder knows: its name stands in the report.

Promised: of identical rows one stays; the kept share falls as epsilon grows; a threshold is chosen without anything
being computed again. Not promised: pairs across the border of two clusters; that what is removed means
the same: look at the sampled pairs. Run exact deduplication first: at epsilon 0 nothing goes, not even copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.vectors import Vectors
from gristmill.quality.embed import Embedder, normalised
from gristmill.quality.intervals import proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score

CHECK = "semdedup"
Keep = Literal["hard", "easy", "random"]
Integers = npt.NDArray[np.int64]

CLUSTERS_MOST = 50_000
"""The paper's for LAION."""
ROWS_PER_CLUSTER = 200
BLOCK = 1024
"""Rows that are compared with all at once: bounds the memory."""
DECIMALS = 6
"""Of a cosine: what is past them differs between machines, and puts copies a little above or below 1."""
SAMPLED = 20
"""Pairs for people to look at."""

RULES: tuple[Rule, ...] = (
    Rule(check=CHECK, score="earlier_similarity", reason="semantic_duplicate", above=0.95),  # epsilon 0.05
)


@dataclass(frozen=True)
class Nearest:
    """Of each row: its cluster, and the most similar of those that come before it there."""

    cluster: Integers
    """-1 for a vector of zeros."""
    similarity: Vectors
    """Highest cosine with an earlier row of the cluster, at most 1; -1 for the first of a cluster, and for zeros."""
    row: Integers
    """Which earlier row that is; -1 where there is none."""

    def removed(self, epsilon: float) -> npt.NDArray[np.bool_]:
        """By row: is an earlier one more similar than 1 - epsilon? Also where that one is removed itself."""
        found: npt.NDArray[np.bool_] = self.similarity > round(1 - epsilon, DECIMALS)
        return found


def nearest_earlier(
    vectors: Vectors, *, clusters: int | None = None, iterations: int = 100, seed: int = 1234, keep: Keep = "hard"
) -> Nearest:
    """What SemDeDup decides by.

    Args:
        vectors: rows of any length; only their directions count.
        clusters: of k-means; a row in ROWS_PER_CLUSTER unless given, CLUSTERS_MOST at most.
        keep: which of similar rows comes first and stays: hard, the farthest from its cluster's centre; easy, the
            nearest; random.
    """
    vectors = normalised(np.asarray(vectors, np.float64))
    cluster, similarity = np.full(len(vectors), -1), np.full(len(vectors), -1.0)
    row = np.full(len(vectors), -1)
    there = np.flatnonzero(vectors.any(axis=1)) if len(vectors) else np.zeros(0, np.int64)
    if len(there):
        wanted = clusters or min(CLUSTERS_MOST, max(1, len(there) // ROWS_PER_CLUSTER))
        some = vectors if len(there) == len(vectors) else vectors[there]
        cluster[there], centres = spherical_kmeans(some, wanted, iterations=iterations, seed=seed)
        central = np.concatenate(
            [
                (vectors[at : at + BLOCK] * centres[cluster[at : at + BLOCK]]).sum(1)
                for at in range(0, len(vectors), BLOCK)
            ]
        ).round(DECIMALS)
        chance = np.random.default_rng(seed).permutation(len(vectors))
        first = {"hard": central, "easy": -central, "random": chance}[keep]
        order = there[np.lexsort((there, first[there], cluster[there]))]
        for members in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
            similarity[members], row[members] = _earlier(vectors, members)
    return Nearest(cluster, similarity, row)


def _earlier(vectors: Vectors, members: Integers) -> tuple[Vectors, Integers]:
    """Of each member: its highest cosine with those before it, and whose that is."""
    highest, which = np.full(len(members), -1.0), np.full(len(members), -1)
    for start in range(0, len(members), BLOCK):
        block = members[start : start + BLOCK]
        cosines = vectors[block] @ vectors[members[: start + len(block)]].T
        cosines[np.arange(cosines.shape[1]) >= np.arange(start, start + len(block))[:, None]] = -2.0
        at = cosines.argmax(1)
        best = cosines[np.arange(len(block)), at]
        highest[start : start + BLOCK] = np.clip(best, -1.0, 1.0).round(DECIMALS)
        which[start : start + BLOCK] = np.where(best > -2.0, members[at], -1)
    return highest, which


def spherical_kmeans(
    vectors: Vectors, clusters: int, *, iterations: int = 100, seed: int = 1234
) -> tuple[Integers, Vectors]:
    """Each row's cluster and the clusters' centres, of length 1, by Lloyd's steps on cosine, in single precision.

    Stops early where fewer than a row in a thousand moves. A cluster that loses its last row keeps its centre. Equal
    rows are in one cluster.

    Args:
        vectors: of length 1.
        clusters: at least 1; fewer where there are not so many different rows.
    """
    packages.require("SemDeDup", "quality", "scipy")
    from scipy.sparse import csr_array

    rows: npt.NDArray[np.float32] = vectors.astype(np.float32)
    first, twin = _different(rows)
    chosen = np.random.default_rng(seed).choice(len(first), min(clusters, len(first)), replace=False)
    centres = rows[first[np.sort(chosen)]]
    cluster = _closest(rows, centres)
    for _ in range(iterations):
        shape = (len(centres), len(rows))
        sums = csr_array((np.ones(len(rows), np.float32), (cluster, np.arange(len(rows)))), shape=shape) @ rows
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), centres)
        before, cluster = cluster, _closest(rows, centres)
        if (before != cluster).sum() * 1000 < len(rows):
            break
    # Equal rows in different blocks of a product may differ in the last digit, and fall on two sides of a tie.
    return cluster[first][twin], centres.astype(np.float64)


def _different(rows: npt.NDArray[np.float32]) -> tuple[Integers, Integers]:
    """Where each different row comes first, in the order of their bytes, and which of these each row is."""
    rounded = rows.round(DECIMALS)
    rounded += np.float32(0)  # no negative zeros
    _, first, twin = np.unique(
        rounded.view(np.dtype((np.void, rounded[0].nbytes))).ravel(), return_index=True, return_inverse=True
    )
    return first, twin


def _closest(rows: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> Integers:
    step = max(1, 8_000_000 // len(centres))
    return np.concatenate([(rows[at : at + step] @ centres.T).argmax(1) for at in range(0, len(rows), step)])


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 1234,
    embed: Embedder,
    epsilon: Sequence[float] = (0.05, 0.1, 0.15),
    clusters: int | None = None,
    niter: int = 100,
    keep: Keep = "hard",
) -> Found:
    """The kept share at each epsilon, and by row the similarity that a threshold is set on.

    Scores of rows:
        earlier_similarity: highest cosine with a row of its cluster that comes before it; 0 where that is none or
            opposite, None where the text has no vector.
        cluster: its number.

    Args:
        epsilon: several, to choose one for a wanted share. The default rule uses the first default.
        clusters: a row in 200 unless given.
        niter: steps of k-means at most.
        keep: hard, easy or random.
    """

    def nearest(vectors: Vectors) -> Nearest:
        return nearest_earlier(vectors, clusters=clusters, iterations=niter, seed=seed, keep=keep)

    vectors = _embedded(data, embed)
    found = nearest(vectors)
    return Found(
        check=CHECK,
        measures=_measures(found, vectors, reference, embed, nearest, epsilon, seed),
        rows={
            "earlier_similarity": _scores(found),
            "cluster": [None if number < 0 else float(number) for number in found.cluster.tolist()],
        },
        details={
            row: [
                {
                    "similar_to": int(found.row[row]),
                    "similarity": float(found.similarity[row]),
                    "cluster": int(found.cluster[row]),
                }
            ]
            for row in np.flatnonzero(found.removed(max(epsilon))).tolist()
        },
        tables={"pairs": _sampled(data, found, max(epsilon), seed)},
        settings={
            "embedder": embed.name,
            "epsilon": list(epsilon),
            "clusters": int(found.cluster.max(initial=-1)) + 1,
            "niter": niter,
            "keep": keep,
            "seed": seed,
        },
        notes=[
            "Similar rows in different clusters are not compared.",
            *([f"{n} rows have no vector and no scores."] if (n := int((found.cluster < 0).sum())) else []),
        ],
    )


def _embedded(data: Set, embed: Embedder) -> Vectors:
    return embed(data.texts) if len(data) else np.zeros((0, 1))


def _scores(found: Nearest) -> list[Score]:
    return [
        None if cluster < 0 else max(0.0, similarity)
        for cluster, similarity in zip(found.cluster.tolist(), found.similarity.tolist(), strict=True)
    ]


def _measures(
    found: Nearest,
    vectors: Vectors,
    reference: Set | None,
    embed: Embedder,
    nearest: Any,
    epsilon: Sequence[float],
    seed: int,
) -> list[Measure]:
    rng = np.random.default_rng(seed)
    theirs = vectors if reference is None else _embedded(reference, embed)
    order = rng.permutation(len(theirs))
    middle = len(order) // 2
    halves = [nearest(theirs[np.sort(half)]) for half in (order[:middle], order[middle:]) if middle]
    same = nearest(theirs[np.sort(order[: len(vectors)])]) if reference is not None and len(theirs) else None
    there, whose = int((found.cluster >= 0).sum()), "set itself" if reference is None else "reference"
    measures = []
    for one in epsilon:
        name = f"kept_share_{one:g}"
        if not there:
            measures.append(Measure(name=name, value=None, why="no row has a vector", better="high"))
            continue
        kept = there - int(found.removed(one).sum())
        low, high = proportion(kept, there) or (None, None)
        nulls = [share for half in halves if (share := _kept_share(half, one)) is not None]
        measures.append(
            Measure(
                name=name,
                value=kept / there,
                low=low,
                high=high,
                null=sum(nulls) / len(nulls) if nulls else None,
                reference=None if same is None else _kept_share(same, one),
                n=there,
                better="high",
                why=f"null: halves of the {whose}" if nulls else "",
            )
        )
    return measures


def _kept_share(found: Nearest, epsilon: float) -> float | None:
    there = int((found.cluster >= 0).sum())
    return (there - int(found.removed(epsilon).sum())) / there if there else None


def _sampled(data: Set, found: Nearest, epsilon: float, seed: int) -> list[dict[str, Any]]:
    """Removed rows with what they resemble, by chance, the least similar first: those are the doubtful ones."""
    removed = np.flatnonzero(found.removed(epsilon))
    some = np.random.default_rng(seed).permutation(removed)[:SAMPLED]
    return [
        {
            "row": row,
            "similar_to": int(found.row[row]),
            "similarity": float(found.similarity[row]),
            "text": data.texts[row][:200],
            "other": data.texts[int(found.row[row])][:200],
        }
        for row in some[np.lexsort((some, found.similarity[some]))].tolist()
    ]
