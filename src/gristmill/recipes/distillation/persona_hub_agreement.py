"""Persona Hub's test set (Ge et al. 2024, section 4): problems on whose answer two of three solvers agree."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta

from gristmill import Chat, Execute, Instruction, Run, recipe
from gristmill.ops.answers import final_answer
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.code import printed, program
from gristmill.ops.maths import require, same
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.persona_hub import PersonaText
from gristmill.recipes.distillation.persona_hub_answer import ANSWERS
from gristmill.verify.values import Limits

PROGRAM = Prompt(
    """{text}

Write a Python program that works out the answer and prints it: the final answer alone, on one line, without words. It reads no input. Reply with one block of Python code."""
)
SOLVERS = ("first_cot", "second_cot", "pot")


class AgreedProblem(Instruction, kw_only=True):
    """A problem, and the solution (`output`) of the first solver among those that agree."""

    answer: str
    """As that solver wrote it."""
    agreeing: list[str]
    """Which of first_cot, second_cot, pot say so."""
    persona: str


@recipe("persona-hub-agreement", seeds="persona_demonstrations.jsonl")
async def persona_hub_agreement(
    row: PersonaText,
    first_solver: Chat,
    second_solver: Chat,
    programmer: Chat,
    sandbox: Execute,
    run: Run,
    *,
    min_agreeing: Annotated[int, Meta(ge=2, le=3)] = 2,
    tolerance: Annotated[float, Meta(ge=0)] = 1e-6,
    sandbox_timeout_s: Annotated[float, Meta(gt=0)] = 5.0,
    temperature: float = 0.0,
    max_tokens_solution: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[AgreedProblem]:
    """Have three solvers work on a problem of mathematics, and keep it where two come to the same answer.

    Two models reason in words (chain of thought); a third writes a program, which is run (program of thought). Numbers
    are compared by value, formulas by algebra. (Ge et al. 2024, arXiv:2406.20094, section 4.)

    Args:
        first_solver: reasons in words.
        second_solver: likewise; another model.
        programmer: writes a program.
        min_agreeing: solvers of the three that must say the same.
        tolerance: share by which two numbers may differ, unless both are whole. Not confirmed.
        sandbox_timeout_s: of a program, in seconds. Not confirmed.
        temperature: of all calls. Not confirmed.
        max_tokens_solution: of each call. Not confirmed.

    Rejects: `no_problem` (a text of another task than math; details: task); of replies (details: of) `empty`, `truncated`,
        `no_answer`, `no_program`, `printed_nothing`, `printed_more` and what the sandbox says of a program (`error`,
        `exit`, `timeout`, `memory`, `output`, `unsupported`): that solver then agrees with nobody; of the problem
        `no_agreement` (details: answers).
    """
    if row.task != "math" or not row.text.strip():
        run.reject(row, "no_problem", task=row.task)
        return
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_solution}

    async def in_words(solver: Chat, name: str) -> tuple[str, str] | None:
        reply = await solver.chat(ANSWERS["math"](text=row.text), **sampling)
        try:
            solution = complete_reply(reply)
            if (answer := final_answer(solution)) is None:
                raise Bad("no_answer")
        except Bad as bad:
            run.reject(reply, bad.reason, of=name, **bad.details)
            return None
        return solution, answer

    async def in_code() -> tuple[str, str] | None:
        reply = await programmer.chat(PROGRAM(text=row.text), **sampling)
        try:
            code = program(reply)
            return code, printed(await sandbox.run(code, limits=Limits(seconds=sandbox_timeout_s)))
        except Bad as bad:
            run.reject(reply, bad.reason, of="pot", **bad.details)
            return None

    found = await run.gather(in_words(first_solver, SOLVERS[0]), in_words(second_solver, SOLVERS[1]), in_code())
    solved = {name: one for name, one in zip(SOLVERS, found, strict=True) if one is not None}

    async def like(name: str) -> list[str]:
        answer = solved[name][1]
        others = [other for other in solved if other != name]
        alike = [await same(run, solved[other][1], answer, tolerance=tolerance) == "equal" for other in others]
        return [each for each in SOLVERS if each == name or (each in others and alike[others.index(each)])]

    groups = await run.map(like, solved)
    agreeing = max(groups, key=len, default=[])
    if len(agreeing) < min_agreeing:
        run.reject(row, "no_agreement", answers={name: answer for name, (_, answer) in solved.items()})
        return
    output, answer = solved[agreeing[0]]
    yield AgreedProblem(instruction=row.text, output=output, answer=answer, agreeing=agreeing, persona=row.persona)


@persona_hub_agreement.check
def answers_can_be_compared() -> None:
    require()
