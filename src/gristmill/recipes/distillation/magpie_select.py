"""Magpie's selection (Xu et al. 2024, section 2): of what a model asked and answered, the fit, the new, the longest."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from gristmill import CallFailed, Embed, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.recipes.distillation.magpie import MagpieInstruction, check_fit

BATCH = 64
"""Instructions that one embedding call takes."""


@recipe("magpie-select")
async def magpie_select(
    rows: Rows[MagpieInstruction],
    run: Run,
    embedder: Embed | None = None,
    *,
    neighbor_distance_threshold: Annotated[float, Meta(ge=0)] = 0.05,
    reward_min: float = -10.0,
    select_top: Annotated[int, Meta(ge=1)] = 300_000,
) -> AsyncIterator[MagpieInstruction]:
    """Select from the rows of `magpie` those that are fit and near no earlier one; the longest answers come first.

    The tests of `magpie` are made again, so that rows from elsewhere can be selected too; a column that is empty is
    not tested. (Xu et al. 2024, arXiv:2406.08464, section 2. The paper looks for neighbours in the whole set and at the
    500 nearest; we look at all, among those that passed the tests, so that no row gives way to one that is not kept.)

    Args:
        embedder: places the instructions (paper: all-mpnet-base-v2). Without one no near-duplicate is looked for; a row
            that it cannot place is left out.
        neighbor_distance_threshold: squared Euclidean distance of unit vectors, as the paper's FAISS index gives it.
            Of instructions that are nearer to each other the first one stays.
        reward_min: the reward must be higher.
        select_top: rows to keep, those with the longest answers.

    Rejects: `empty`, `ends_with_colon`, `low_quality`, `low_reward` as in `magpie`; `near_duplicate` (details: of,
        min_neighbor_distance), `not_among_longest` (details: characters).
    """
    fit = []
    for row in rows:
        try:
            check_fit(row, reward_min)
            fit.append(row)
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details)

    async def place(batch: list[MagpieInstruction]) -> tuple[list[MagpieInstruction], list[list[float]]]:
        """A batch that is refused is halved until the row at fault is alone."""
        try:
            vectors = await embedder.embed([row.instruction for row in batch]) if embedder else []
        except CallFailed:
            if len(batch) == 1:
                raise
            halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
            parts = await run.map(place, halves, keep_going=True)
            return [copy for copies, _ in parts for copy in copies], [one for _, vectors in parts for one in vectors]
        copies = [replace(row, id="", lineage=None) for row in batch]  # born here: their lineage names that call
        for copy, row in zip(copies, batch, strict=True):
            run.link(copy, row)
        return copies, vectors

    batches = await run.map(place, [fit[start : start + BATCH] for start in range(0, len(fit), BATCH)], keep_going=True)
    kept = [copy for copies, _ in batches for copy in copies]
    if vectors := [vector for _, vectors in batches for vector in vectors]:
        representatives = neighbours(kept, vectors, neighbor_distance_threshold)
        for row, representative in zip(kept, representatives, strict=True):
            if representative is not row:
                distance = row.min_neighbor_distance
                run.reject(row, "near_duplicate", of=representative.instruction, min_neighbor_distance=distance)
        kept = [row for row, representative in zip(kept, representatives, strict=True) if representative is row]

    kept.sort(key=lambda row: len(row.output), reverse=True)
    for row in kept[select_top:]:
        run.reject(row, "not_among_longest", characters=len(row.output))
    for row in kept[:select_top]:
        yield row


def neighbours(rows: list[MagpieInstruction], vectors: list[list[float]], threshold: float) -> list[MagpieInstruction]:
    """For each row the first one among itself and its neighbours; sets its distance to the nearest of them."""
    import numpy as np

    unit = np.array(vectors)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)  # of nothing an embedder may say nothing
    firsts = []
    for start in range(0, len(rows), 1024):  # in blocks: the whole matrix would not fit into memory
        distances = 2 - 2 * unit[start : start + 1024] @ unit.T
        for number, near in enumerate(distances, start):
            near[number] = np.inf
            if len(rows) > 1:  # rounded, since the last digits differ between machines
                rows[number].min_neighbor_distance = round(max(0.0, float(near.min())), 6)
            near[number] = -np.inf  # itself is always among them
            firsts.append(rows[int(np.argmax(near < threshold))])
    return firsts
