"""Repetition within rows (of the measures of lexical diversity, the one that tells of a row)."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.quality import lexical
from gristmill.quality.filters import passed
from gristmill.quality.values import Rule


@recipe("lexical-diversity")
async def lexical_diversity(
    rows: Rows[Row],
    run: Run,
    *,
    max_repetition: Annotated[float, Meta(ge=0, le=1)] = 0.3,
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, without empty ones and those that repeat themselves.

    Repetition is the share of a row's runs of three words that stood in it before. How diverse the set is as a whole,
    `gristmill check` reports. (Shaib et al. 2024, arXiv:2403.00553, for the measures.)

    Args:
        max_repetition: above which a row goes; prose stays below 0.1. Ours.
        column: the rows' column that is looked at; the usual ones for prompt and response unless given.

    Rejects: `repetitive`, `empty` (details of both: score).
    """
    rules = [
        Rule(check=lexical.CHECK, score="tokens", reason="empty", below=1.0),
        Rule(check=lexical.CHECK, score="repetition", reason="repetitive", above=max_repetition),
    ]
    for row in await passed(run, rows, lexical.measure, rules, text=column):
        yield row
