"""DeepSeek-Prover (Xin et al. 2024, section 3): a model formalizes problems and proves the statements, learns from what the
proof assistant accepted, and begins again as the better model."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from gristmill import Complete, Prove, Row, Rows, Run, Trainable, Training, recipe
from gristmill.recipes.self_improvement.deepseek_prover_round import (
    CompetitionProblem,
    FormalizedProblem,
    Grade,
    ProvedStatement,
    deepseek_prover_round,
)

Made = ProvedStatement | FormalizedProblem


class Student(Complete, Trainable, Protocol):
    """A model that continues texts and can be trained."""


class ProverRound(Row, kw_only=True):
    """What a round came to."""

    round: int
    problems: int
    proved: int
    """Problems whose statement was proved."""
    refuted: int
    """Problems whose statement's negation was."""
    new: int
    """Rows that no earlier round had made."""
    loss: float
    """Of the training on all rows so far."""


@recipe("deepseek-prover", fixed=True, seeds="competition_problems.jsonl")
async def deepseek_prover(
    rows: Rows[CompetitionProblem],
    student: Student,
    prover: Prove,
    run: Run,
    *,
    rounds: Annotated[int, Meta(ge=1)] = 4,
    min_gain: Annotated[float, Meta(ge=0, le=1)] = 0.01,
    begin_from: Literal["last", "first"] = "last",
    grades_kept: tuple[Grade, ...] = ("excellent", "good", "above average"),
    hypothesis_tries: Annotated[int, Meta(ge=0)] = 4,
    proof_tries: Annotated[int, Meta(ge=1)] = 16,
    negate: Literal["goal", "whole"] = "goal",
    temperature: float = 0.7,
    max_statement_tokens: Annotated[int, Meta(ge=1)] = 512,
    max_grade_tokens: Annotated[int, Meta(ge=1)] = 512,
    max_proof_tokens: Annotated[int, Meta(ge=1)] = 1024,
    training: Training = Training(),
) -> AsyncIterator[ProvedStatement | FormalizedProblem | ProverRound]:
    """Formalize, grade, sift and prove all problems; train the model on what was proved; repeat until little is gained.

    A round is `deepseek-prover-round` with the student in all three parts, over all problems. What it trains on are the
    proofs that the proof assistant accepted, of statements and of negations, and the translations of problems into
    statements that were proved, of this round and all before. The next round is the new model's. (Xin et al. 2024,
    arXiv:2405.14333, section 3. There the first model is DeepSeekMath-Base 7B trained on MMA, and the language Lean 4.)

    Args:
        student: formalizes, grades and proves.
        prover: checks; Coq or Lean 4.
        rounds: at most. The paper's number is not confirmed.
        min_gain: the loop ends where the share of problems whose statement or negation is proved rose by less since the
            round before. The paper says "marginal".
        begin_from: what a training begins from: the last model or the first one. Not confirmed from the paper.
        grades_kept: of the five.
        hypothesis_tries: attempts to prove False from the hypotheses; 0: none. Not from the paper.
        proof_tries: attempts at a statement and at its negation, each (k in the paper, which we do not know).
        negate: what "not" is put around: the goal, as in the paper, or the whole statement.
        temperature: of statements and proofs. Not from the paper.
        max_statement_tokens: tokens of a statement. Not from the paper.
        max_grade_tokens: tokens of a grade with its consideration. Not from the paper.
        max_proof_tokens: tokens of a proof. Not from the paper.
        training: supervised, on prompt and completion. Its settings are not from the paper.

    Rejects: those of `deepseek-prover-round`, and `known` (details: round): a row as another problem, or an earlier
        round, gave it.
    """
    model: Student = student
    kept: dict[tuple[str, str], Made] = {}
    before = 0.0
    for number in range(1, rounds + 1):

        async def attempt(row: CompetitionProblem, model: Student = model) -> list[Made]:
            settled = deepseek_prover_round(
                row,
                model,
                model,
                model,
                prover,
                run,
                grades_kept=grades_kept,
                hypothesis_tries=hypothesis_tries,
                proof_tries=proof_tries,
                negate=negate,
                temperature=temperature,
                max_statement_tokens=max_statement_tokens,
                max_grade_tokens=max_grade_tokens,
                max_proof_tokens=max_proof_tokens,
            )
            found = [made async for made in settled if isinstance(made, Made)]
            for made in found:
                run.link(made, row)
            return found

        found = await run.map(attempt, rows, keep_going=True)
        fresh: list[Made] = []
        for made in (made for some in found for made in some):
            name = made.prompt, made.completion
            if name in kept:
                run.reject(made, "known", round=number)
            else:
                kept[name] = made
                fresh.append(made)
        sides = [made.proved for some in found for made in some if isinstance(made, ProvedStatement)]
        model = await run.train(model if begin_from == "last" else student, list(kept.values()), training=training)
        for made in fresh:
            run.link(made, model.checkpoint)
            yield made
        done = ProverRound(
            round=number,
            problems=len(rows),
            proved=sides.count("statement"),
            refuted=sides.count("negation"),
            new=len(fresh),
            loss=model.measured["loss"],
        )
        run.link(done, model.checkpoint)
        yield done
        share = len(sides) / len(rows)
        if number > 1 and share - before < min_gain - 1e-9:
            return
        before = share
