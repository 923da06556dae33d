"""UltraChat's second sector, writing and creation (Ding et al. 2023, section 3): instructions to write something."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta

from gristmill import BadInput, Chat, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_framing
from gristmill.recipes.distillation.ultrachat import UltraChatOpening, asked_for, same_line

INSTRUCTIONS = Prompt(
    """Write {count} different requests to an AI assistant, each to write something of this kind: {writing_type}. Let them differ in subject, purpose and reader. A request is one or two sentences. Write a numbered list with nothing else."""
)
EXPAND = Prompt(
    """Here is a request to an AI assistant: {instruction}

Say it again with details: for whom it is, what it must hold, how long it is, in what tone, or whatever else would make it exact. Make the details up. Reply with the new request and nothing else."""
)

WRITING_TYPES = (
    "an essay", "a short story", "a poem", "an email", "a speech", "a news article", "a blog post", "a film script",
    "a song text", "a product description", "an advertisement", "a review", "a letter", "a report", "a business plan",
    "a lesson plan", "a program in some programming language", "a recipe for a dish", "a dialogue between two characters",
    "a post for social media",
)  # fmt: skip
"""Twenty, as in the paper; which ones is ours."""


@recipe("ultrachat-writing", unique=same_line)
async def ultrachat_writing(
    generator: Chat,
    run: Run,
    *,
    writing_types: list[str] | None = None,
    instructions_per_call: Annotated[int, Meta(ge=1)] = 10,
    expand_share: Annotated[float, Meta(ge=0, le=1)] = 0.8,
    temperature: float = 1.0,
    max_tokens_list: Annotated[int, Meta(ge=1)] = 1024,
    max_tokens_expanded: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[UltraChatOpening]:
    """Write opening lines that ask for a text, type of writing by type, and have most of them expanded with details.

    The types take turns; a call writes a list of instructions for one. The paper collects 200 of each of 20 types:
    that is `--target 4000`. (Ding et al. 2023, arXiv:2305.14233, section 3.)

    Args:
        writing_types: to take turns; twenty of ours unless given.
        instructions_per_call: of one list. Not confirmed.
        expand_share: of the instructions, how many are given back to be expanded; decided for each by chance.
        temperature: not confirmed.
        max_tokens_list: tokens of a list; of one that reaches it the last item is left out. Not confirmed.
        max_tokens_expanded: tokens of an expanded instruction. Not confirmed.

    Rejects: `no_list` (a reply without any item), expanded instructions `empty` and `truncated` (details: instruction),
        `duplicate`.
    """
    writing_type = run.turn("writing_type", writing_types or WRITING_TYPES)
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_list}
    question = INSTRUCTIONS(writing_type=writing_type, count=instructions_per_call)

    async def opening(instruction: str) -> UltraChatOpening | None:
        if not run.draw("expand", [True, False], weights=[expand_share, 1 - expand_share]):
            return UltraChatOpening(instruction=instruction, sector="writing", path=[writing_type])
        reply = await generator.chat(
            EXPAND(instruction=instruction), temperature=temperature, max_tokens=max_tokens_expanded
        )
        try:
            expanded = strip_framing(complete_reply(reply))
            if not expanded:
                raise Bad("empty")
        except Bad as bad:
            run.reject(reply, bad.reason, instruction=instruction)
            return None
        return UltraChatOpening(instruction=expanded, sector="writing", path=[writing_type, instruction])

    found = await asked_for(run, generator, question, instructions_per_call, sampling)
    for row in await run.map(opening, found, keep_going=True):
        if row:
            yield row


@ultrachat_writing.check
def there_is_something_to_write(writing_types: list[str] | None) -> None:
    if writing_types is not None and not all(name.strip() for name in writing_types or [""]):
        raise BadInput(
            "ultrachat-writing: writing_types is empty, or one of them is; leave it out for the twenty of ours"
        )
