"""DIALOGIC's auxiliary model (Li et al. 2022): what it is trained on, from dialogues that people annotated."""

from collections.abc import AsyncIterator

from gristmill import Completion, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.recipes.distillation.dialogic import Entity, SeedDialogue, lessons


class AuxiliaryRow(Completion, kw_only=True):
    """What an auxiliary model is asked of a turn, and what it should say."""

    of: str
    """"state", "act" or "response"."""
    turn: int


@recipe("dialogic-auxiliary", seeds="dialogic_dialogues.jsonl")
async def dialogic_auxiliary(
    seed: SeedDialogue, run: Run, *, database: Rows[Entity] | None = None
) -> AsyncIterator[AuxiliaryRow]:
    """Turn annotated dialogues into rows to train the auxiliary model of `dialogic` on, three for each turn.

    From the dialogue so far it learns to tell all that the user requires, and, with what the database finds, what the
    system does and says. Asks no model. (Li et al. 2022, arXiv:2210.04185: PPTOD, a T5-small. `dialogic` with a
    `learner` makes these rows itself.)

    Args:
        database: what the system can find; what ships with the seeds unless given. Give the one that `dialogic` is to use.
    """
    entities = database if database is not None else home.shipped("dialogic_database.jsonl", Entity)
    for number, (of, lesson) in enumerate(lessons(seed, entities)):
        yield AuxiliaryRow(lesson.prompt, lesson.completion, of=of, turn=number // 3)
