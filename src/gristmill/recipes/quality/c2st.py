"""The classifier two-sample test as a filter (Lopez-Paz and Oquab 2017): rows that give themselves away go."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, packages, recipe
from gristmill.quality import c2st as module
from gristmill.quality.embed import HASHED, Embedder, hashed
from gristmill.quality.filters import passed, set_of
from gristmill.quality.values import Rule


@recipe("c2st")
async def c2st(
    rows: Rows[Row],
    run: Run,
    *,
    reference: Rows[Row],
    above: Annotated[float, Meta(ge=0, le=1)] = 0.99,
    folds: Annotated[int, Meta(ge=2)] = 5,
    group: str | None = None,
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, without those that a classifier is sure that no person wrote.

    The classifier learns to tell the rows from the reference, in folds, and says of each row that it did not learn from how
    probable it is that it belongs to the rows. (Lopez-Paz and Oquab 2017, arXiv:1610.06545.)

    Args:
        reference: what people wrote.
        above: probability above which a row goes.
        folds: of the cross-validation.
        group: a column of rows or reference (a seed, a source document); rows of one value are never on both sides of a
            split, as near-copies must not be. Equal texts never are.
        column: the rows' column that is looked at; the usual ones for prompt and response unless given.

    Rejects: `artificial` (details: score).
    """
    # Rows are scored by their words; the test on embeddings is for the report alone, and the light ones do for it here.
    beside = {"reference": set_of(reference, "the reference", column), "embed": Embedder(f"hashed:{HASHED}", hashed)}
    rule = Rule(check=module.CHECK, score="synthetic", reason="artificial", above=above)
    for row in await passed(run, rows, module.measure, [rule], text=column, beside=beside, folds=folds, group=group):
        yield row


@c2st.check
def a_classifier_can_be_trained(folds: int) -> None:
    packages.require("c2st", "quality", "sklearn", "scipy")
