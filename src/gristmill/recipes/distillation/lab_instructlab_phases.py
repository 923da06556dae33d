"""LAB's phases of training (Sudalairaj et al. 2024, section 3): first knowledge, then skills, with replay of what came before."""

from collections.abc import AsyncIterator
from math import ceil
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Instruction, Rows, Run, recipe
from gristmill.ops.mixture import mixed
from gristmill.recipes.distillation.lab_instructlab import Branch, LabInstruction

PHASES = {1: 1, 2: 1, 3: 2}
"""Phase by stage: knowledge tuning has two stages, skill tuning one."""


class LabStage(Instruction, kw_only=True):
    """A row of training, in its place."""

    phase: int
    """1: knowledge tuning, 2: skill tuning."""
    stage: int
    """1: knowledge with short answers; 2: with long ones, and foundational skills; 3: compositional skills."""
    replay: bool
    """Whether it was there in an earlier stage."""
    path: str
    branch: Branch


@recipe("lab-instructlab-phases", fixed=True)
async def lab_instructlab_phases(
    rows: Rows[LabInstruction],
    run: Run,
    *,
    short_answer_words: Annotated[int, Meta(ge=1)] = 30,
    replay_share: Annotated[float, Meta(gt=0, le=1)] = 0.25,
) -> AsyncIterator[LabStage]:
    """Put the rows of `lab-instructlab` in the order of training: knowledge tuning, then skill tuning, each with replay.

    Phase 1, knowledge tuning: knowledge with short answers (stage 1), then knowledge with long answers and foundational
    skills, mixed with replay of stage 1 (stage 2). Phase 2, skill tuning: compositional skills, mixed with replay of all
    of phase 1 (stage 3). What is seen again is not forgotten. Asks no model. `gristmill export --by stage` writes a
    file for each stage, `--by phase` for each phase. (Sudalairaj et al. 2024, arXiv:2403.01081, section 3; order and
    replay are not confirmed in detail.)

    The training is not done here. The paper chooses checkpoints by MMLU in phase 1, and by MT-Bench in phase 2.

    Args:
        short_answer_words: an answer of knowledge with at most so many is short. Not confirmed.
        replay_share: of the rows of all earlier stages, how many come again in a stage, rounded up; drawn by chance. Not
            confirmed.

    A stage without new rows is left out; both phases must have some.
    """
    stages: dict[int, list[LabInstruction]] = {1: [], 2: [], 3: []}
    for row in rows:
        stages[stage_of(row, short_answer_words)].append(row)
    phases = {phase: sum(len(stages[stage]) for stage in stages if PHASES[stage] == phase) for phase in (1, 2)}
    if lacking := next((phase for phase, count in phases.items() if not count), None):
        branches = {1: "knowledge or foundational_skills", 2: "compositional_skills"}
        raise BadInput(
            f"lab-instructlab-phases: phase {lacking} has no rows: none of the {len(rows)} rows is of the branch "
            f"{branches[lacking]}. Run `lab-instructlab` on leaves of it too"
        )
    earlier: list[LabInstruction] = []
    for stage, new in stages.items():
        if not new:
            continue
        again = ceil(replay_share * len(earlier))
        counts = {"new": len(new), "replay": again}
        for name, row in mixed(run.rng(f"stage {stage}"), {"new": new, "replay": earlier}, counts, len(new) + again):
            made = LabStage(
                instruction=row.instruction,
                input=row.input,
                output=row.output,
                phase=PHASES[stage],
                stage=stage,
                replay=name == "replay",
                path=row.path,
                branch=row.branch,
            )
            run.link(made, row)
            yield made
        earlier += new


def stage_of(row: LabInstruction, short_answer_words: int) -> int:
    if row.branch == "compositional_skills":
        return 3
    return 1 if row.branch == "knowledge" and len(row.output.split()) <= short_answer_words else 2
