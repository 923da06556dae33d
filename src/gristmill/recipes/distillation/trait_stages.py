"""TRAIT's stages of training (Liang et al. 2024): first text of the field, then passages about its tasks."""

from collections.abc import AsyncIterator
from math import ceil
from random import Random
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import BadInput, Document, Rows, Run, recipe
from gristmill.ops.mixture import mixed
from gristmill.recipes.distillation.trait import TraitPassage
from gristmill.recipes.distillation.trait_select import SelectedText

Source = Literal["in-domain", "general", "passage"]
Piece = tuple[Source, Document]


class TraitStage(Document, kw_only=True):
    """A text to go on pre-training with, in its place."""

    stage: int
    """1: text of the field with replay of general text; 2: passages, mixed with text of stage 1."""
    source: Source


@recipe("trait-stages", fixed=True)
async def trait_stages(
    passages: Rows[TraitPassage],
    run: Run,
    *,
    selected: Rows[SelectedText],
    general: Rows[Document] | None = None,
    general_share: Annotated[float, Meta(ge=0, lt=1)] = 0.1,
    first_stage_share: Annotated[float, Meta(ge=0, lt=1)] = 0.2,
) -> AsyncIterator[TraitStage]:
    """Put the texts of `trait-select` and the passages of `trait` in the order of training: two stages, each a mixture.

    Stage 1 has all text of the field, with replay of general text so that the model keeps what it knew. Stage 2 has all
    passages, mixed with text of stage 1. Rows come in this order, and `gristmill export --by stage` writes a file for
    each. Asks no model; the training (the paper's: Mistral-7B, one stage after the other) is not done here. (Liang et al.
    2024, arXiv:2406.16694.)

    Args:
        passages: of `trait`.
        selected: of `trait-select`.
        general: text for replay; without it stage 1 has none.
        general_share: of stage 1, how much is general text. By rows; mixing rates are not confirmed.
        first_stage_share: of stage 2, how much is text of stage 1; likewise.

    Raises an error where there is too little text for a share, or none of a kind.
    """
    if not len(passages):  # as a step behind one that made none
        raise BadInput(
            "trait-stages: there are no passages, so stage 2 has nothing to teach: look at what `trait` rejected"
        )
    field: list[Piece] = [("in-domain", row) for row in selected]
    replay: list[Piece] = [("general", row) for row in general or []]
    share = general_share if general is not None else 0.0
    first = blended(run.rng("stage 1"), {"in-domain": field, "general": replay}, share)
    new: list[Piece] = [("passage", row) for row in passages]
    second = blended(run.rng("stage 2"), {"passage": new, "stage 1": first}, first_stage_share)
    for stage, pieces in ((1, first), (2, second)):
        for source, row in pieces:
            made = TraitStage(text=row.text, stage=stage, source=source)
            run.link(made, row)
            yield made


def blended(rng: Random, parts: dict[str, list[Piece]], share: float) -> list[Piece]:
    """All of the first part, mixed with so much of the second that it has its share of the whole; rounded up."""
    (name, main), (other, _) = parts.items()
    count = ceil(round(share / (1 - share) * len(main), 6))  # 0.1 / 0.9 * 9 is a little more than 1
    counts = {name: len(main), other: count}
    return [piece for _, piece in mixed(rng, parts, counts, len(main) + count)]
