"""Exact and MinHash-LSH near-duplicate removal (Broder 1997; parameters of FineWeb 2024)."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Row, Rows, Run, packages, recipe
from gristmill.quality import duplicates
from gristmill.quality.filters import passed, set_of
from gristmill.quality.values import Rule


@recipe("near-duplicates")
async def near_duplicates(
    rows: Rows[Row],
    run: Run,
    *,
    reference: Rows[Row] | None = None,
    threshold: Annotated[float, Meta(gt=0, le=1)] = 0.7,
    shingle: Annotated[int, Meta(ge=1)] = 5,
    bands: Annotated[int, Meta(ge=1)] = 14,
    hashes_per_band: Annotated[int, Meta(ge=1)] = 8,
    which: Literal["prompt", "response", "both"] = "both",
    priority: str | None = None,
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, one of each group of copies and near-copies.

    MinHash finds candidates, and the true Jaccard similarity of their shingles decides. Pairs are joined into groups; of
    each the row with the highest priority stays, then the longest, then the first by its text. (Broder 1997, "On the
    resemblance and containment of documents"; Penedo et al. 2024, FineWeb, arXiv:2406.17557, for 14 bands of 8 hashes.)

    Args:
        reference: rows, such as the seeds, of which none may be a near-copy either.
        threshold: Jaccard similarity from which on two rows are the same.
        shingle: words of a shingle; characters for short texts and languages without spaces.
        bands: of hashes; a pair that shares one is a candidate.
        hashes_per_band: 14 bands of 8 find a pair of similarity 0.7 with probability 0.57, 0.8 with 0.92; 20 of 6 find
            more.
        which: the part of a row that is compared.
        priority: a column of numbers; of a group the row with the highest stays.
        column: the rows' column that is compared; the usual ones for prompt and response unless given.

    Rejects: `exact_copy`, `near_duplicate`, `copy_of_reference` (details of all: score, the similarity; behind).
    """
    rules = [
        Rule(check=duplicates.CHECK, score="exact_copy", reason="exact_copy", above=0.0),
        Rule(check=duplicates.CHECK, score="near_duplicate", reason="near_duplicate", least=threshold),
        Rule(check=duplicates.CHECK, score="reference_similarity", reason="copy_of_reference", least=threshold),
    ]
    for row in await passed(
        run,
        rows,
        duplicates.measure,
        rules,
        text=column,
        beside={"reference": set_of(reference, "the reference", column)} if reference is not None else {},
        shingle=shingle,
        bands=bands,
        hashes_per_band=hashes_per_band,
        threshold=threshold,
        which=which,
        priority=priority,
    ):
        yield row


@near_duplicates.check
def hashes_can_be_made(threshold: float) -> None:
    packages.require("near-duplicates", "quality", "rensa", "scipy")
