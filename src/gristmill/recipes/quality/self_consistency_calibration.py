"""Where to cut the scores of `self-consistency-reliability`: a threshold of the wanted precision, from rows of known truth."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.recipes.quality.self_consistency_reliability import ReliableInstruction


class ReliabilityCut(Row, kw_only=True):
    """A score over a set: how it is spread, and what it is worth where the truth is known."""

    score: str
    """"agreement" or "unsupported"."""
    rows: int
    quantiles: list[float]
    """Minimum, quartiles, maximum."""
    known: int
    """Rows whose truth is known."""
    auroc: float | None
    """Chance that a right answer scores better than a wrong one; None where not both are there."""
    threshold: float | None
    """The most lenient cut of the wanted precision, `min_agreement` or `max_unsupported`; None where there is none."""
    precision: float | None
    """Share of right answers among those that pass it."""
    passing: float | None
    """Share of all rows that pass it."""


@recipe("self-consistency-calibration", fixed=True)
async def self_consistency_calibration(
    rows: Rows[ReliableInstruction], run: Run, *, wanted_precision: Annotated[float, Meta(gt=0, le=1)] = 0.95
) -> AsyncIterator[ReliabilityCut]:
    """Find the threshold at which so many of the passing answers are right, and say how well a score tells them apart.

    It takes the rows of `self-consistency-reliability` with flagged ones among them (`keep_flagged`), some of them with
    `correct` said. Where none is, it only says how the scores are spread.

    Args:
        wanted_precision: share of right answers among those that pass. Not from the paper.
    """
    for name, high_is_good in (("agreement", True), ("unsupported", False)):
        scored = [row for row in rows if getattr(row, name) is not None]
        if not scored:
            continue
        values = [float(getattr(row, name)) for row in scored]
        sign = 1.0 if high_is_good else -1.0
        known = [
            (sign * value, row.correct) for value, row in zip(values, scored, strict=True) if row.correct is not None
        ]
        scores, truth = [score for score, _ in known], [right for _, right in known]
        found = lenient_cut(scores, truth, wanted_precision)
        threshold = None if found is None else sign * found[0]
        made = ReliabilityCut(
            score=name,
            rows=len(scored),
            quantiles=np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist(),
            known=len(known),
            auroc=auroc(scores, truth),
            threshold=threshold,
            precision=None if found is None else found[1],
            passing=None if found is None else sum(sign * value >= found[0] for value in values) / len(values),
        )
        run.link(made, *scored)
        yield made


def auroc(scores: Sequence[float], truth: Sequence[bool]) -> float | None:
    """Chance that one that is true scores higher than one that is not, equal scores counting half."""
    right = np.array([score for score, true in zip(scores, truth, strict=True) if true])
    wrong = np.sort([score for score, true in zip(scores, truth, strict=True) if not true])
    if not len(right) or not len(wrong):
        return None
    below = np.searchsorted(wrong, right, "left")
    upto = np.searchsorted(wrong, right, "right")
    return float((below + upto).sum() / 2 / len(right) / len(wrong))


def lenient_cut(scores: Sequence[float], truth: Sequence[bool], precision: float) -> tuple[float, float] | None:
    """The lowest score such that of those as high or higher so large a share is true, and that share."""
    best: tuple[float, float] | None = None
    passing = right = 0
    falling = sorted(zip(scores, truth, strict=True), reverse=True)
    for at, (score, true) in enumerate(falling):
        passing, right = passing + 1, right + true
        # A quotient: 0.56 * 25 is more than 14, but 14 / 25 is 0.56.
        last = at + 1 == len(falling) or falling[at + 1][0] < score  # equal scores pass together
        if last and right / passing >= precision:
            best = score, right / passing
    return best
