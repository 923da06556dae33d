"""Persona Hub's second call (Ge et al. 2024, section 4): a strong model solves the problems and answers the requests."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Instruction, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.code import code_block, parsed
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.persona_hub import PersonaText

ANSWERS = {
    "math": Prompt(
        """{text}

Solve this problem step by step. End with a line "The answer is X.", where X is the final answer alone."""
    ),
    "reasoning": Prompt(
        """{text}

Solve this problem: deduce one thing after the other, and justify each step. End with a line "The answer is X.", where X is the final answer alone."""
    ),
    "instruction": Prompt("{text}"),
    "custom": Prompt("{text}"),
    "tool": Prompt(
        """Write the code of this tool: one Python function with the name, the inputs and the outputs that the interface says, and a docstring. What it needs from outside, such as a database, it imitates with a small example. Reply with one block of Python code.

{text}"""
    ),
}


class PersonaInstruction(Instruction, kw_only=True):
    """A problem or a request (`instruction`), and its answer (`output`); of a tool, its interface and its code."""

    persona: str
    task: str


@recipe("persona-hub-answer", seeds="persona_demonstrations.jsonl")
async def persona_hub_answer(
    row: PersonaText,
    solver: Chat,
    run: Run,
    *,
    temperature: float = 0.0,
    max_tokens_answer: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[PersonaInstruction]:
    """Answer what `persona-hub` wrote: solve a problem, answer a request, turn a tool's interface into code.

    What a template of your own made is asked as it stands. Articles and characters have no answer. Answers are not
    checked, as in the paper's training data; `persona-hub-agreement` checks them. (Ge et al. 2024, arXiv:2406.20094,
    section 4.)

    Args:
        solver: a strong model.
        temperature: of the answer. Not confirmed.
        max_tokens_answer: an answer that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `no_answer_wanted` (a text of knowledge or npc, or of a task that is not known; details: task), `empty`, `truncated`,
        `no_program` (the code of a tool is no Python).
    """
    if row.task not in ANSWERS or not row.text.strip():
        run.reject(row, "no_answer_wanted", task=row.task)
        return
    reply = await solver.chat(ANSWERS[row.task](text=row.text), temperature=temperature, max_tokens=max_tokens_answer)
    try:
        output = complete_reply(reply)
        if row.task == "tool":
            output = code_block(output) or output
            if parsed(output) is None:
                raise Bad("no_program")
    except Bad as bad:
        run.reject(reply, bad.reason)
        return
    yield PersonaInstruction(instruction=row.text, output=output, persona=row.persona, task=row.task)
