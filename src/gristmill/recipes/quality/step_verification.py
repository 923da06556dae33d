"""Reasoning steps checked one by one (after Lightman et al. 2023 and Wang et al. 2023, Math-Shepherd).

Hard checks need no model: calculations, equations that should follow from the one before, units, values that come from
nowhere. Code, proofs, rollouts and a reward model join in where a role is bound for them. Equations are read in
`ops/equations.py`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction
from math import prod
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gristmill import Chat, Execute, Instruction, Prove, Reward, Row, Run, assistant, recipe, user
from gristmill.ops.answers import final_answer
from gristmill.ops.code import FENCED, PYTHON
from gristmill.ops.equations import CONSTANTS, Check, Notebook, Outcome, Side, equations, numbers
from gristmill.ops.maths import require, same
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_numbering

CONTINUE = Prompt(
    """Here is a problem and the beginning of a solution. Take the beginning as it stands and finish the solution from there, step by step. End with a line "The answer is X.", X being the answer alone.

Problem: {question}

Solution so far:
{prefix}"""
)
NOTHING_YET = "(nothing yet)"

STEP = re.compile(r"(?=\bStep\s+\d+\s*[:.)])", re.IGNORECASE)
BOUNDARY = re.compile(r"(?<=[.;,])\s+")
SHOWN = ("output", "text", "")
"""What a fenced block is called that shows what the code before it printed."""
PROOFS = {"coq": "coq", "lean": "lean4", "lean4": "lean4"}
PROOF = {"coq": re.compile(r"(?=\bProof\s*\.)"), "lean4": re.compile(r"(?=:=\s*by\b)")}

Verdict = Literal["good", "bad", "unknown"]


class Step(msgspec.Struct):
    """A step of a solution and what was found out about it."""

    text: str
    ok: Outcome = "unknown"
    checked: list[Check] = []
    value: float | None = None
    """Share of the rollouts from here that reach the gold answer; None where none were made."""
    reward: float | None = None
    """What the reward model says of the solution up to here."""


class Solution(Instruction, kw_only=True):
    """A problem, a solution (`output`) and, for rollouts, the gold answer."""

    answer: str = ""


class VerifiedSolution(Solution, kw_only=True):
    """A solution with its steps."""

    steps: list[Step]
    first_bad_step: int | None = None
    """Counted from 1."""
    coverage: float = 0.0
    """Share of the steps that a hard check decided."""
    step_score: float | None = None
    """Of the steps' rewards, the least or their product."""
    verdict: Verdict = "unknown"


class StepLabels(Row):
    """A solution as process supervision is trained on: each step, and whether the solution is still right there."""

    prompt: str
    completions: list[str]
    labels: list[bool]


class Block(NamedTuple):
    """A step as it was cut out: prose, or a fenced block with its language."""

    text: str
    language: str = ""
    code: str = ""
    printed: str | None = None


@recipe("step-verification")
async def step_verification(
    row: Solution,
    run: Run,
    rollout: Chat | None = None,
    reward: Reward | None = None,
    sandbox: Execute | None = None,
    prover: Prove | None = None,
    *,
    rollouts_n: Annotated[int, Meta(ge=1)] = 8,
    coverage_floor: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    check_references: bool = True,
    every_step: bool = False,
    combine: Literal["min", "product"] = "min",
    temperature: float = 0.7,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 1024,
    step_labels: bool = False,
    keep_flagged: bool = False,
) -> AsyncIterator[VerifiedSolution | StepLabels]:
    """Check each step of a worked solution; a right final answer excuses no wrong step.

    A solution is cut at line breaks, before "Step n", and between equations. Every "expression = value" is calculated
    exactly, an equation must say what the one before it said or follow by substitution, quantities that are added must
    be of a kind, and a number in a calculation must come from the question or from an earlier result. A step whose
    checks can tell nothing is "unknown", and so is a solution of which too few steps could be checked: an answer-only
    check is not a step check, and there is none here. (Lightman et al. 2023, arXiv:2305.20050; Wang et al. 2023,
    Math-Shepherd, arXiv:2312.08935. The hard checks are ours.)

    With rollouts, a step is bad from which no continuation reaches the gold answer. The first such step is found by
    halving: five batches for sixteen steps. Where already the bare question leads nowhere, the model is too weak to
    tell, and the rollouts do not count.

    Args:
        rollout: continues the solution from a step. Rows without a gold answer are not continued.
        reward: a process reward model.
        sandbox: runs the solution's Python blocks; what a block prints must be what the solution shows behind it.
        prover: checks the solution's Coq or Lean blocks.
        rollouts_n: continuations a batch. Not confirmed: Math-Shepherd's number, from memory.
        coverage_floor: share of steps that hard checks must decide.
        check_references: look for numbers from nowhere. Small constants (of the calendar, of angles) are from nowhere
            and allowed. Not from the paper.
        every_step: roll out from every step, as Math-Shepherd does to label them, and not by halving.
        combine: the rewards of the steps into `step_score`.
        temperature: of the rollouts. Not from the paper.
        max_tokens_per_reply: of a rollout. Not from the paper.
        step_labels: also rows to train a process reward model on, of good and bad solutions.
        keep_flagged: yield all rows with their verdicts, and reject none.

    Rejects: `no_steps` (of a row without a solution); `failed_equality` (a calculation, an equation, a unit, code or a
        proof is wrong; details: step, text, kind), `undefined_value` (details: step, text), `bad_step` (by rollouts;
        details: step), `low_coverage` (the verdict is unknown; details: coverage).
    """
    if rollout:
        require()  # before the first call: their answers may be formulas
    blocks = split_steps(row.output)
    if not blocks:
        run.reject(row, "no_steps")
        return
    question = f"{row.instruction}\n{row.input}".strip()
    steps = [
        Step(block.text, checked=checked) for block, checked in zip(blocks, hard_checks(blocks, question), strict=True)
    ]
    for step, block in zip(steps, blocks, strict=True):
        if sandbox and block.language in PYTHON:
            step.checked.append(Check("code", block.code, await runs(sandbox, block)))
        elif prover and block.language in PROOFS:
            step.checked.append(Check("proof", block.code, await proved(prover, block)))
        step.ok = outcome_of(step.checked)
    coverage = sum(step.ok != "unknown" for step in steps) / len(steps)  # before references: they confirm nothing
    if check_references:
        for step, checks in zip(steps, reference_checks(blocks, question), strict=True):
            step.checked += checks
            step.ok = outcome_of(step.checked)

    async def share(count: int) -> float:
        """Of the rollouts behind so many steps that reach the gold answer."""
        prefix = "\n".join(step.text for step in steps[:count]) or NOTHING_YET
        replies = await rollout.chat(  # type: ignore[union-attr]
            CONTINUE(question=question, prefix=prefix),
            n=rollouts_n,
            temperature=temperature,
            max_tokens=max_tokens_per_reply,
        )
        answers = [final_answer(reply.text) for reply in replies if not reply.truncated]
        reached = [await same(run, answer, row.answer) == "equal" for answer in answers if answer is not None]
        return sum(reached) / rollouts_n

    soft = None
    if rollout and row.answer.strip():
        soft, values = await first_dead_end(run, share, len(steps), every_step=every_step)
        for number, value in values.items():
            if number:
                steps[number - 1].value = value
    if reward:
        rewards = await run.map(
            lambda count: reward.reward([user(question), assistant("\n".join(s.text for s in steps[:count]))]),
            range(1, len(steps) + 1),
            name="reward",
        )
        for step, value in zip(steps, rewards, strict=True):
            step.reward = value
    if soft is not None:
        steps[soft - 1].ok = "bad"
    hard = next((number for number, step in enumerate(steps, start=1) if failure(step)), None)
    bad = min((number for number in (hard, soft) if number is not None), default=None)
    verdict: Verdict = "bad" if bad else "unknown" if coverage < coverage_floor else "good"
    rewarded = [step.reward for step in steps if step.reward is not None]
    made = VerifiedSolution(
        instruction=row.instruction,
        input=row.input,
        output=row.output,
        answer=row.answer,
        steps=steps,
        first_bad_step=bad,
        coverage=coverage,
        step_score=(min(rewarded) if combine == "min" else prod(rewarded)) if rewarded else None,
        verdict=verdict,
    )
    if step_labels and verdict != "unknown":
        labels = [bad is None or number < bad for number in range(1, len(steps) + 1)]
        yield StepLabels(prompt=question, completions=[step.text for step in steps], labels=labels)
    if verdict == "good" or keep_flagged:
        yield made
    elif bad is None:
        run.reject(made, "low_coverage", coverage=coverage)
    elif not (wrong := failure(steps[bad - 1])):
        run.reject(made, "bad_step", step=bad)
    elif wrong.kind == "reference":
        run.reject(made, "undefined_value", step=bad, text=wrong.text)
    else:
        run.reject(made, "failed_equality", step=bad, text=wrong.text, kind=wrong.kind)


# -- steps


def split_steps(solution: str) -> list[Block]:
    """A solution cut at line breaks, before "Step n", and between equations; fenced blocks stay whole."""
    blocks: list[Block] = []
    at = 0
    for match in FENCED.finditer(solution):
        blocks += _prose(solution[at : match.start()])
        language, code = match["language"].lower(), match["code"].rstrip()
        if language in SHOWN and blocks and blocks[-1].language in PYTHON and blocks[-1].printed is None:
            before = blocks.pop()
            blocks.append(before._replace(text=f"{before.text}\n{match[0].strip()}", printed=code))
        else:
            blocks.append(Block(match[0].strip(), language, code))
        at = match.end()
    return blocks + _prose(solution[at:])


def _prose(text: str) -> list[Block]:
    lines: list[list[str]] = []
    for line in map(str.strip, text.splitlines()):
        if line.removeprefix("&").lstrip().startswith(("=", "≈")) and lines:
            lines[-1].append(line)  # the calculation goes on
        elif re.search(r"\w", line):
            lines.append([line])
    pieces = [piece.strip() for line in lines for piece in STEP.split(" ".join(line)) if piece.strip()]
    return [Block(step) for piece in pieces for step in _between_equations(piece)]


def _between_equations(text: str) -> list[str]:
    found: list[list[str]] = []
    equated = False
    for piece in BOUNDARY.split(text):
        if found and not (equated and "=" in piece):
            found[-1].append(piece)
            equated = equated or "=" in piece
        else:
            found.append([piece])
            equated = "=" in piece
    return [" ".join(pieces) for pieces in found]


# -- hard checks


def hard_checks(blocks: list[Block], question: str) -> list[list[Check]]:
    """What each step's equations come to, given all that the steps before it established."""
    notebook = Notebook(question)
    found = []
    for block in blocks:
        said = [] if block.language else equations(strip_numbering(block.text))
        found.append([check for equation in said for check in notebook.check(equation)])
    return found


def reference_checks(blocks: list[Block], question: str) -> list[list[Check]]:
    """The numbers that a step calculates with and that neither the question nor an earlier equation holds."""
    known = numbers(question) | CONSTANTS
    found = []
    for block in blocks:
        checks = []
        for equation in [] if block.language else equations(strip_numbering(block.text)):
            for side in equation.sides:
                terms = 1 + sum(token.text == "+" for token in side.tokens)  # what a mean is divided by
                if not side.bare and side.certain:
                    strange = [number for number in operands(side) if number not in known and number != terms]
                    checks += [Check("reference", f"{number} in {equation.text}", "bad") for number in strange]
                known |= set(side.numbers)
        found.append(checks)
    return found


def operands(side: Side) -> list[Fraction]:
    """The numbers of an expression, without its exponents: what is squared or cubed needs no source for that."""
    before = [None, *side.tokens]
    pairs = zip(before, side.tokens, strict=False)
    return [
        token.value for prior, token in pairs if token.value is not None and not (prior and prior.text in ("^", "**"))
    ]


def outcome_of(checks: list[Check]) -> Outcome:
    outcomes = {check.outcome for check in checks}
    return "bad" if "bad" in outcomes else "ok" if "ok" in outcomes else "unknown"


def failure(step: Step) -> Check | None:
    """The check that failed first; a wrong calculation before a number from nowhere."""
    failed = [check for check in step.checked if check.outcome == "bad"]
    return min(failed, key=lambda check: check.kind == "reference", default=None)


async def runs(sandbox: Execute, block: Block) -> Outcome:
    verdict = await sandbox.run(block.code)
    if verdict.ok:
        return "ok" if block.printed is None or verdict.stdout.split() == block.printed.split() else "bad"
    return "bad" if verdict.outcome in ("error", "wrong", "exit") else "unknown"


async def proved(prover: Prove, block: Block) -> Outcome:
    language = PROOFS[block.language]
    parts = PROOF[language].split(block.code, maxsplit=1)
    if len(parts) < 2 or prover.model.partition(":")[0] != language:
        return "unknown"
    proof = await prover.proves(parts[0].strip(), parts[1].strip())
    if proof.ok:
        return "ok"
    return "bad" if proof.outcome in ("error", "open", "axioms") else "unknown"


# -- rollouts


async def first_dead_end(
    run: Run, share: Callable[[int], Awaitable[float]], steps: int, *, every_step: bool
) -> tuple[int | None, dict[int, float]]:
    """The first step from which nothing reaches the answer, None where there is none or the model is too weak to tell;
    and the shares that were found on the way, by the number of steps."""
    values: dict[int, float] = {}
    if every_step:
        counts = range(1, steps + 1)
        values = dict(zip(counts, await run.map(share, counts, name="rollouts"), strict=True))
        bad = next((count for count in counts if values[count] == 0), None)
    else:
        alive, dead = 0, steps + 1
        while dead - alive > 1:
            middle = (alive + dead) // 2
            values[middle] = await share(middle)
            alive, dead = (middle, dead) if values[middle] > 0 else (alive, middle)
        bad = dead if dead <= steps else None
    if bad == 1:
        values[0] = await share(0)
        if values[0] == 0:
            return None, values
    return bad, values
