"""MAmmoTH's hybrid decoding (Yue et al. 2023, section 2.4): a program first, and a rationale where it does not run."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Execute, Instruction, Program, Run, recipe
from gristmill.ops.answers import final_answer
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.code import printed, program
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.mathinstruct import POT_INSTRUCTION, MathProblem
from gristmill.verify.values import Limits

COT_INSTRUCTION = Prompt("{question}")
"""How the student reads a problem that it solves without a program, as in `mathinstruct`."""

Kind = Literal["cot", "pot"]
ORDER: tuple[tuple[Kind, Prompt], ...] = (("pot", POT_INSTRUCTION), ("cot", COT_INSTRUCTION))


class HybridSolution(Instruction, kw_only=True):
    kind: Kind
    """Which of the two gave the answer."""
    answer: str
    """What the program printed, or what the rationale ends in."""


@recipe("mathinstruct-hybrid", seeds="math_problems.jsonl")
async def mathinstruct_hybrid(
    row: MathProblem,
    student: Chat,
    sandbox: Execute,
    run: Run,
    *,
    sandbox_timeout_s: Annotated[float, Meta(gt=0)] = 5.0,
    temperature: float = 0.0,
    max_tokens_reply: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[HybridSolution]:
    """Ask a student for a program; only where that does not run to an answer, for a rationale.

    The companion of `mathinstruct` for a student that was trained on it, which reads both instructions as they stand
    there. No gold answer is read. (Yue et al. 2023, "MAmmoTH", arXiv:2309.05653.)

    Args:
        sandbox_timeout_s: of a program, in seconds. Not from the paper.
        temperature: of both calls. Not confirmed.
        max_tokens_reply: of each call. Not from the paper.

    Rejects: of programs `no_program`, `printed_nothing`, `printed_more` and what the sandbox says (`error`, `exit`,
        `timeout`, `memory`, `output`, `unsupported`; details: error, message): then a rationale is asked for; of
        rationales `no_answer`; of both `empty`, `truncated`; `no_question` (of a seed).
    """
    if not row.question.strip():
        run.reject(row, "no_question")
        return
    for kind, instruction in ORDER:
        text = instruction(question=row.question)
        reply = await student.chat(text, temperature=temperature, max_tokens=max_tokens_reply)
        try:
            if kind == "pot":
                output = program(reply)
                answer = printed(await sandbox.run(Program(output), limits=Limits(seconds=sandbox_timeout_s)))
            else:
                output = complete_reply(reply)
                answer = concluded(output)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            continue
        yield HybridSolution(instruction=text, output=output, kind=kind, answer=answer)
        return


def concluded(rationale: str) -> str:
    """The answer that a rationale ends in; raises Bad."""
    answer = final_answer(rationale, last_number=True)
    if answer is None:
        raise Bad("no_answer")
    return answer
