"""TinyDialogues' curriculum (Feng, Goodman and Frank 2024): dialogues in the order of the child's age."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Rows, Run, recipe
from gristmill.ops.mixture import sizes
from gristmill.recipes.distillation.tinydialogues import TinyDialogue

Order = Literal["ascending", "descending", "random"]


class OrderedDialogue(TinyDialogue, kw_only=True):
    """A dialogue at its place in training: rows are in the order in which a model should read them."""

    split: Literal["train", "validation"]


@recipe("tinydialogues-curriculum", fixed=True, seeds="tinydialogues.jsonl")
async def tinydialogues_curriculum(
    rows: Rows[TinyDialogue],
    run: Run,
    *,
    order: Order = "ascending",
    repeats: Annotated[int, Meta(ge=1)] = 1,
    validation_share: Annotated[float, Meta(ge=0, lt=1)] = 0.15,
) -> AsyncIterator[OrderedDialogue]:
    """Split the dialogues of each age into train and validation, and put them one age after the other, 2 to 15.

    A child hears talk for two-year-olds before talk for teenagers; whether that order helps a model is what the paper
    asks, so others can be made. `gristmill export --by split` writes a file for each split, in this order. (Feng, Goodman
    and Frank 2024, arXiv:2408.03617.)

    Args:
        order: of the ages; random shuffles all dialogues.
        repeats: times that each age's training rows are read before the next age begins; of a random order, that all are.
        validation_share: of each age's dialogues, in either file within one row.
    """
    ages = sorted({row.age for row in rows}, reverse=order == "descending")
    parts: dict[str, list[TinyDialogue]] = {"train": [], "validation": []}
    for age in ages:
        bucket = [row for row in rows if row.age == age]
        shuffled = run.rng(f"split/{age}").sample(bucket, len(bucket))
        held = sizes({"train": 1 - validation_share, "validation": validation_share}, len(bucket))["validation"]
        parts["validation"] += shuffled[:held]
        parts["train"] += shuffled[held:] * (1 if order == "random" else repeats)
    if order == "random":
        rng = run.rng("order")
        parts["train"] = [row for _ in range(repeats) for row in rng.sample(parts["train"], len(parts["train"]))]
        rng.shuffle(parts["validation"])
    for split in ("train", "validation"):
        for row in parts[split]:
            made = OrderedDialogue(
                row.text,
                age=row.age,
                participants=row.participants,
                conversation_type=row.conversation_type,
                words=row.words,
                turns=row.turns,
                vocabulary=row.vocabulary,
                split=split,
            )
            run.link(made, row)
            yield made
