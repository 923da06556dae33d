"""SemDeDup (Abbas et al. 2023): of rows that mean the same, one."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Embed, Row, Rows, Run, packages, recipe
from gristmill.quality import semdedup as module
from gristmill.quality.embed import by_role
from gristmill.quality.filters import passed, set_of
from gristmill.quality.values import Rule


@recipe("semdedup")
async def semdedup(
    rows: Rows[Row],
    embedder: Embed,
    run: Run,
    *,
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.05,
    keep: Literal["hard", "easy", "random"] = "hard",
    clusters: Annotated[int, Meta(ge=1)] | None = None,
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, without those that mean the same as another one.

    Rows are clustered by their embeddings; in each cluster a row goes whose cosine with an earlier one is above
    1 - epsilon. Run `near-duplicates` before it. (Abbas et al. 2023, arXiv:2303.09540.)

    Args:
        embedder: places the rows; what it does not tell apart is the same here.
        epsilon: 0.05 to 0.15 in the paper; the larger, the more goes.
        keep: which of two stays: the one farther from its cluster's centre (hard), the nearer (easy), or by chance.
        clusters: a row in 200 unless given.
        column: the rows' column that is compared; the usual ones for prompt and response unless given.

    Rejects: `semantic_duplicate` (details: score, the cosine; behind: the row that it is like).
    """
    texts = set_of(rows, "the rows", column).texts if len(rows) else []
    rule = Rule(check=module.CHECK, score="earlier_similarity", reason="semantic_duplicate", above=1 - epsilon)
    for row in await passed(
        run,
        rows,
        module.measure,
        [rule],
        text=column,
        beside={"embed": await by_role(run, embedder, texts)},
        epsilon=[epsilon],
        keep=keep,
        clusters=clusters,
    ):
        yield row


@semdedup.check
def clusters_can_be_made(epsilon: float) -> None:
    packages.require("semdedup", "quality", "scipy")
