"""Memorisation (Carlini et al. 2019, 2022): rows that repeat private ones, or come closer to them than chance does."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Embed, Row, Rows, Run, recipe
from gristmill.quality import memorisation
from gristmill.quality.embed import by_role
from gristmill.quality.filters import passed, set_of


@recipe("memorisation-privacy")
async def memorisation_privacy(
    rows: Rows[Row],
    embedder: Embed,
    run: Run,
    *,
    private: Rows[Row],
    holdout: Rows[Row] | None = None,
    verbatim_tokens: Annotated[int, Meta(ge=2)] = 50,
    short_field_tokens: Annotated[int, Meta(ge=2)] = 8,
    column: str | None = None,
) -> AsyncIterator[Row]:
    """Rows of any kind, without those that repeat private rows word for word, or lie closer to them than holdout rows do.

    A distance that looks large is no proof of privacy. (Carlini et al. 2019, arXiv:1802.08232, and 2022,
    arXiv:2202.07646.)

    Args:
        embedder: places the texts.
        private: rows that the generator saw and that must not come out again.
        holdout: as many rows of the same kind that it never saw, 100 or more; without them nothing can be said of
            closeness, and only what is repeated word for word goes.
        verbatim_tokens: length of a run of words that is a copy, in long texts.
        short_field_tokens: the same, in short fields.
        column: the rows' column that is looked at; the usual ones for prompt and response unless given.

    Rejects: `verbatim_private`, `closer_than_holdout` (details of both: score; behind: the private row).
    """
    sets = {"reference": set_of(private, "the private rows", column)}
    if holdout is not None:
        sets["holdout"] = set_of(holdout, "the holdout", column)
    texts = [text for part in sets.values() for text in part.texts]
    texts += set_of(rows, "the rows", column).texts if len(rows) else []
    for row in await passed(
        run,
        rows,
        memorisation.measure,
        memorisation.RULES,
        text=column,
        beside={**sets, "embed": await by_role(run, embedder, texts)},
        verbatim_tokens=verbatim_tokens,
        short_field_tokens=short_field_tokens,
    ):
        yield row
