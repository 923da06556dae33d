"""Toxicity: rows whose text a classifier, or a word list, takes for toxic."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.quality import toxicity
from gristmill.quality.filters import passed
from gristmill.quality.values import Rule


@recipe("toxicity-bias")
async def toxicity_bias(
    rows: Rows[Row],
    run: Run,
    *,
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    safety: str = "safety",
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, without toxic ones that are not meant as safety data.

    No row goes because it names a group: that would erase it. Whom a set names, with which occupations, and how, is what
    `gristmill check` reports. (After RealToxicityPrompts, Gehman et al. 2020, arXiv:2009.11462, for the threshold.)

    Args:
        threshold: probability above which a row goes.
        safety: a column that is true for rows meant as safety data; these stay.
        column: the rows' column that is looked at; the usual ones for prompt and response unless given.

    Rejects: `toxic` (details: score; behind).
    """
    rule = Rule(check=toxicity.CHECK, score="toxicity_outside_safety", reason="toxic", above=threshold)
    for row in await passed(run, rows, toxicity.measure, [rule], text=column, threshold=threshold, safety=safety):
        yield row
