"""HelpSteer2 (Wang et al. 2024, section 3): raters who stand apart from all others are left out, and means made anew."""

from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import combinations
from statistics import mean, median
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.ops.agreement import krippendorff
from gristmill.ops.ask import Bad
from gristmill.recipes.preference.helpsteer2 import (
    ASPECTS,
    HelpSteerPair,
    HelpSteerResponse,
    more_helpful,
    response,
    shown,
)

LEAST = 0.2
"""Points that raters may always be apart, in the mean."""


class HelpSteerRater(Row, kw_only=True):
    """A person who rated, and how far from the others."""

    by: str
    ratings: int
    apart: float
    """Mean distance of their helpfulness ratings from the median of all on the same answer."""
    kept: bool


class HelpSteerAgreement(Row, kw_only=True):
    """How far all raters agree on an aspect, before anybody was left out."""

    aspect: str
    alpha: float | None
    """Krippendorff's, ordinal; none where all gave the same rating."""


@recipe("helpsteer2-clean", fixed=True, seeds="helpsteer_ratings.jsonl")
async def helpsteer2_clean(
    rows: Rows[HelpSteerResponse],
    run: Run,
    *,
    outlier: Annotated[float, Meta(gt=0)] = 2.5,
    min_ratings: Annotated[int, Meta(ge=1)] = 10,
    agreeing: Annotated[int, Meta(ge=1)] = 3,
    drop_spread: Annotated[int, Meta(ge=1, le=5)] = 2,
) -> AsyncIterator[HelpSteerResponse | HelpSteerPair | HelpSteerRater | HelpSteerAgreement]:
    """Leave out people whose ratings stand apart from the others', aggregate what is left, and pair it anew.

    (Wang et al. 2024, HelpSteer2, arXiv:2406.08673, section 3, says that outliers among annotators were removed; how they
    are told is not confirmed.) Here it is who is, in the mean, so many times as far from the
    median of an answer's ratings as most raters are. Any two answers to a prompt that then differ in helpfulness are a
    pair.

    Args:
        outlier: times the median distance of all raters, or of 0.2 points where that is more. Not from the paper.
        min_ratings: fewer say nothing about a person. Not from the paper.
        agreeing: as in `helpsteer2`.
        drop_spread: as in `helpsteer2`.

    Rejects: `too_few_ratings` (details: ratings, left out), `disagreement`.
    """
    apart: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for one in row.ratings:
            middle = median(other.ratings["helpfulness"] for other in row.ratings)
            apart[one.by].append(abs(one.ratings["helpfulness"] - middle))
    means = {by: mean(values) for by, values in apart.items()}
    border = outlier * max(LEAST, median(means.values())) if means else 0.0
    out = {by for by in means if len(apart[by]) >= min_ratings and means[by] > border}
    answers: dict[str, list[tuple[HelpSteerResponse, HelpSteerResponse]]] = defaultdict(list)
    for row in rows:
        left = [one for one in row.ratings if one.by not in out]
        try:
            made = response(row.prompt, row.response, row.generator, left, agreeing=agreeing, drop_spread=drop_spread)
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details, left_out=len(row.ratings) - len(left))
            continue
        run.link(made, row)
        answers[shown(made.prompt)].append((made, row))
        yield made
    for several in answers.values():
        for (answer, first), (other, second) in combinations(several, 2):
            if (pair := more_helpful(answer, other)) is not None:
                run.link(pair, first, second)
                yield pair
    for by in sorted(means):
        rater = HelpSteerRater(by=by, ratings=len(apart[by]), apart=round(means[by], 6), kept=by not in out)
        run.link(rater, *(row for row in rows if any(one.by == by for one in row.ratings)))
        yield rater
    for aspect in ASPECTS:
        alpha = krippendorff([[one.ratings[aspect] for one in row.ratings] for row in rows], "ordinal")
        found = HelpSteerAgreement(aspect=aspect, alpha=None if alpha != alpha else round(alpha, 6))
        run.link(found, *rows)
        yield found
