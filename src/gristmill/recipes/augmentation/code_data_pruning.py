"""Code Less, Align More (Tsai et al. 2024): a code data set pruned by clusters, so that little of it trains as well as all.

No language model is asked; an embedding model places the rows. The arithmetic of clusters stands in `ops/clusters.py`.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from gristmill import BadInput, Embed, Instruction, Rows, Run, recipe
from gristmill.ops.clusters import Clustering, clustered, far_apart, log_densities, quotas, reduced, require
from gristmill.ops.vectors import Vectors, digest_of, embedded

Metric = Literal["diversity", "density", "random", "random-overall"]


class PrunedInstruction(Instruction, kw_only=True):
    """A row that was kept, as it came."""

    cluster_id: int
    """-1 is HDBSCAN's noise, a group like the others."""
    score: float | None = None
    """diversity: distance to the nearest row that was kept before it (the first of a cluster has none); density: the
    logarithm of the density there; random: none."""


@recipe("code-data-pruning", fixed=True, seeds="code_exercises.jsonl")
async def code_data_pruning(
    rows: Rows[Instruction],
    embedder: Embed,
    run: Run,
    *,
    keep_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.1,
    clustering: Clustering = "hdbscan",
    metric: Metric = "diversity",
    dimensions: Annotated[int, Meta(ge=1)] = 10,
    clusters: Annotated[int, Meta(ge=1)] = 100,
    min_cluster_size: Annotated[int, Meta(ge=2)] = 5,
) -> AsyncIterator[PrunedInstruction]:
    """Keep a share of a data set: cluster the rows by their embeddings, and thin each cluster by diversity or density.

    Each cluster keeps its share of round(keep_ratio * rows), by largest remainders. Diversity keeps rows that are far
    from those kept already; density keeps by chance, a row the likelier the fewer are around it; random and
    random-overall are the baselines. Rows leave in their order, unchanged. (Tsai et al. 2024, "Code Less, Align More",
    arXiv:2407.05040: OSS-Instruct and Evol-Instruct, DeepSeek-Coder-Base 6.7B, ratios from 1 % to 90 %; HDBSCAN with
    diversity did best. The exact metrics and quotas are not confirmed: diversity is read as farthest-first traversal
    from the row nearest to a cluster's mean, density as a Gaussian kernel with Scott's bandwidth within a cluster.)

    Agglomerative clustering takes memory with the square of the rows: up to some ten thousand.

    Args:
        embedder: places a row by its instruction, input and output together. Which one the paper used is not confirmed.
        keep_ratio: of all rows. The paper goes through 0.01 to 0.9; 0.1 keeps most of what all rows teach.
        clustering: how rows are grouped.
        metric: what a cluster is thinned by; random: within each cluster, random-overall: without regard to them.
        dimensions: that PCA leaves. Not from the paper.
        clusters: of kmeans and agglomerative. Not from the paper.
        min_cluster_size: of hdbscan; smaller groups are noise. Not from the paper.

    Rejects: `pruned` (details: cluster_id, score).
    """
    keep = round(keep_ratio * len(rows))
    if keep == 0:
        raise BadInput(
            f"code-data-pruning: keep_ratio={keep_ratio} of {len(rows)} rows is none. Raise it, or give more rows"
        )
    vectors = await embedded(run, embedder, [text_of(row) for row in rows], name="place")
    how = {
        "clustering": clustering,
        "metric": metric,
        "dimensions": dimensions,
        "clusters": clusters,
        "min_cluster_size": min_cluster_size,
        "keep": keep,
        "seed": run.rng("prune").randrange(2**32),
    }
    found = await run.once("prune", lambda _, how: pruned(vectors, how), digest_of(vectors), how)
    kept = set(found["kept"])
    for index, (row, cluster, score) in enumerate(zip(rows, found["clusters"], found["scores"], strict=True)):
        if index in kept:
            made = PrunedInstruction(
                instruction=row.instruction, input=row.input, output=row.output, cluster_id=cluster, score=score
            )
            run.link(made, row)
            yield made
        else:
            run.reject(row, "pruned", cluster_id=cluster, score=score)


@code_data_pruning.check
def clustering_is_installed() -> None:
    require()


def text_of(row: Instruction) -> str:
    return "\n\n".join(filter(None, (row.instruction, row.input, row.output)))


def pruned(vectors: Vectors, how: dict[str, Any]) -> dict[str, list[Any]]:
    """Each row's cluster and score, and the numbers of those to keep."""
    chance = np.random.default_rng(how["seed"])
    points = reduced(vectors, how["dimensions"])
    labels = clustered(
        points,
        how["clustering"],
        clusters=how["clusters"],
        min_cluster_size=how["min_cluster_size"],
        seed=how["seed"],
    )
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        groups[label].append(index)
    scores: list[float | None] = [None] * len(vectors)
    kept: list[int] = []
    if how["metric"] == "random-overall":
        kept = chance.permutation(len(vectors))[: how["keep"]].tolist()
        return {"clusters": labels, "scores": scores, "kept": kept}
    for label, quota in quotas(labels, how["keep"]).items():
        members = groups[label]
        match how["metric"]:
            case "diversity":
                picked, found = far_apart(points[members], quota)
            case "density":
                density = log_densities(points[members])
                found = density.round(6).tolist()
                # The largest of log-odds and Gumbel noise: drawing one after the other, each by odds of 1 / density.
                picked = np.argsort(density - chance.gumbel(size=len(members)), kind="stable")[:quota].tolist()
            case _:
                picked, found = chance.permutation(len(members))[:quota].tolist(), [None] * len(members)
        kept += [members[index] for index in picked]
        for index, score in zip(members, found, strict=True):
            scores[index] = score
    return {"clusters": labels, "scores": scores, "kept": kept}
