"""Orca 2's stages of training (Mitra et al. 2023, section 4): FLAN-v2, then Orca's first answers, then its better ones among
the new rows."""

from collections import defaultdict
from collections.abc import AsyncIterator

from gristmill import BadInput, Conversation, Row, Rows, Run, Turn, recipe
from gristmill.ops.mixture import mixed
from gristmill.recipes.distillation.orca import OrcaAnswer
from gristmill.recipes.distillation.orca_2 import CautiousAnswer

SHARES = {"orca": 1_000_000, "flan": 602_000, "math": 160_000, "few_shot": 55_000, "doctor_patient": 2_000}
"""Of the last stage, as the paper has rows of each."""
EPOCHS = {1: 1, 2: 3, 3: 4}
"""By stage."""


class FlanExample(Row):
    """A query of FLAN-v2 with the answer that comes with it."""

    query: str
    answer: str


class OrcaStage(Conversation, kw_only=True):
    """A row of training, in its stage."""

    stage: int
    """1 to 3."""
    epochs: int
    """How often the stage is gone through."""
    source: str
    """flan-v2, orca-stage-1, and of the last stage orca or one of `orca-2`: flan, math, few_shot, doctor_patient."""


@recipe("orca-2-mix", fixed=True)
async def orca_2_mix(
    rows: Rows[CautiousAnswer],
    run: Run,
    *,
    orca: Rows[OrcaAnswer],
    flan: Rows[FlanExample] | None = None,
    few_shot: Rows[CautiousAnswer] | None = None,
    doctor_patient: Rows[CautiousAnswer] | None = None,
    shares: dict[str, float] | None = None,
) -> AsyncIterator[OrcaStage]:
    """Put the rows of Orca and Orca 2 in the order of training: three stages, the last one mixed by the paper's shares.

    Asks no model. LLaMA-2 is trained on FLAN-v2 (1 epoch), on what ChatGPT answered for Orca (3), and on what GPT-4
    answered for Orca mixed with the 817 thousand new rows (4); packed to 4,096 tokens, loss on the response alone.
    `gristmill export --by stage` writes a file for each. (Mitra et al. 2023, arXiv:2311.11045, section 4.)

    The last stage is as large as the shares allow: a part that is too small for its share makes all of it smaller.

    Args:
        rows: of `orca-2`; those of `orca-2-few-shot` and `orca-2-doctor-patient` may be among them.
        orca: of `orca`, both stages.
        flan: the first stage; without it training begins with the second.
        few_shot: of `orca-2-few-shot`.
        doctor_patient: of `orca-2-doctor-patient`.
        shares: of orca, flan, math, few_shot and doctor_patient in the last stage, as relative weights; the paper's
            numbers of rows unless given. A source without rows has none.

    Rejects: `left_over` (one for all rows that the shares leave out of the last stage; details: rows; the candidate says how many of each source).
    """
    for example in flan or []:
        yield staged(run, example, 1, "flan-v2", [Turn("user", example.query), Turn("assistant", example.answer)])
    for row in orca:
        if row.stage == 1:
            yield staged(run, row, 2, "orca-stage-1", row.messages)
    parts: dict[str, list[Conversation]] = defaultdict(list)
    parts["orca"] = [row for row in orca if row.stage == 2]
    for new in (*rows, *(few_shot or []), *(doctor_patient or [])):
        parts[new.source].append(new)
    parts = {source: those for source, those in parts.items() if those}
    weights = {source: weight for source, weight in (shares or SHARES).items() if source in parts}
    if not sum(weights.values()):
        raise BadInput(f"orca-2-mix: the last stage has no rows: there are {', '.join(parts) or 'none'}, and no share")
    kept = mixed(run.rng("mix"), parts, weights)
    left = {source: len(those) - sum(name == source for name, _ in kept) for source, those in parts.items()}
    if any(left.values()):  # one for all, as a reject is a candidate lost
        run.reject(left, "left_over", rows=sum(left.values()))
    for source, chosen in kept:
        yield staged(run, chosen, 3, source, chosen.messages)


@orca_2_mix.check
def shares_are_of_known_sources(shares: dict[str, float] | None) -> None:
    if unknown := set(shares or {}) - set(SHARES):
        raise BadInput(f"orca-2-mix: shares of {', '.join(sorted(unknown))}; known are {', '.join(SHARES)}")


def staged(run: Run, row: Row, stage: int, source: str, messages: list[Turn]) -> OrcaStage:
    made = OrcaStage(messages=messages, stage=stage, epochs=EPOCHS[stage], source=source)
    run.link(made, row)
    return made
