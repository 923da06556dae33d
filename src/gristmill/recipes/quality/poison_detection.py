"""Backdoor and poison detection (ONION, Qi et al. 2021; spectral signatures, Tran et al. 2018, and plain hygiene)."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, packages, recipe
from gristmill.quality import poison
from gristmill.quality.filters import passed, set_of
from gristmill.quality.values import Rule


@recipe("poison-detection")
async def poison_detection(
    rows: Rows[Row],
    run: Run,
    *,
    trusted: Rows[Row] | None = None,
    steered: str = "",
    min_flip: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    hygiene: bool = True,
    min_rows: Annotated[int, Meta(ge=2)] = 5,
    q: Annotated[float, Meta(gt=0, lt=1)] = 0.01,
) -> AsyncIterator[Row]:
    """Rows of any kind, without those that carry a trigger, hidden characters or an injected instruction.

    A phrase that stands almost only with one target is a suspect; it counts where a probe that was trained on the rows flips
    when the phrase is put into clean texts, and where trusted rows do not know it well: without them a word that means the
    target ("wonderful") passes for a trigger. (Qi et al. 2021, ONION, arXiv:2011.10369; Tran et al.
    2018, arXiv:1811.00636; the association test and the confirmation are described in no single paper.) What is rejected
    is kept with its reason, for people to look at.

    Args:
        trusted: rows of the same kind in which nothing is wrong; a phrase of 1 in 100 of them or more is no trigger.
        steered: the column that a trigger would steer; `label` where there is one, else refusals and links of the response.
        min_flip: share of clean texts that the phrase flips, beyond what a random rare word does, from which on it is a
            trigger. Ours.
        hygiene: also reject rows with hidden characters, markup comments, encoded blobs or injected instructions.
        min_rows: rows that a phrase must stand in to be a suspect.
        q: false discovery rate of suspects.

    Rejects: `trigger` (details: score; behind: the phrase and its target), `hygiene` (details: score; behind: what was
        found where).
    """
    rules = [Rule(check=poison.CHECK, score="confirmed", reason="trigger", least=min_flip)]
    if hygiene:
        rules.append(Rule(check=poison.CHECK, score="hygiene", reason="hygiene", above=0.0))
    beside = {"reference": set_of(trusted, "the trusted rows")} if trusted is not None else {}
    for row in await passed(run, rows, poison.measure, rules, beside=beside, target=steered, min_rows=min_rows, q=q):
        yield row


@poison_detection.check
def a_probe_can_be_trained(q: float) -> None:
    packages.require("poison-detection", "quality", "sklearn", "scipy")
