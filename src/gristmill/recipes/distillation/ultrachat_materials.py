"""UltraChat's third sector, assistance on existing materials (Ding et al. 2023, section 3): a text and what to do with it."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Document, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.ultrachat import UltraChatOpening, asked_for, same_line

TASKS = Prompt(
    """Here is a text:

{material}

What could somebody who has this text before them want from an AI assistant? Write {count} different questions and requests about it: to rewrite, continue, shorten or translate it, to draw a conclusion, to explain a part, or whatever suits this text. Do not repeat the text and do not answer. Write a numbered list with nothing else."""
)
TEMPLATES = (
    Prompt("{material}\n\n{task}"),
    Prompt("{task}\n\n{material}"),
    Prompt("Here is a text:\n\n{material}\n\nMy question about it: {task}"),
    Prompt('Read this passage first: "{material}"\n\nThen do the following. {task}'),
    Prompt("{task}\n\nThis is the text that I mean:\n{material}"),
)
"""Written by hand, as the paper's."""


@recipe("ultrachat-materials", unique=same_line, seeds="documents.jsonl")
async def ultrachat_materials(
    document: Document,
    generator: Chat,
    run: Run,
    *,
    questions_per_material: Annotated[int, Meta(ge=1)] = 5,
    temperature: float = 1.0,
    max_tokens_list: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[UltraChatOpening]:
    """Write opening lines about a text: what one could ask of it, joined with the text itself by a template.

    One call a text; the template is drawn for each line. (Ding et al. 2023, arXiv:2305.14233, section 3. Paper: about
    100,000 pieces of C4; `--chunk` cuts long texts into pieces.)

    Args:
        questions_per_material: questions and instructions of a text, at most.
        temperature: not confirmed.
        max_tokens_list: tokens of a list; of one that reaches it the last item is left out. Not confirmed.

    Rejects: `empty_material`, `no_list` (a reply without any item), `duplicate`.
    """
    material = document.text.strip()
    if not material:
        run.reject(document, "empty_material")
        return
    question = TASKS(material=material, count=questions_per_material)
    sampling = {"temperature": temperature, "max_tokens": max_tokens_list}

    async def joined(task: str) -> UltraChatOpening:
        line = run.draw("template", TEMPLATES)(material=material, task=task)
        return UltraChatOpening(instruction=line, sector="materials", path=[task], material=material)

    for row in await run.map(joined, await asked_for(run, generator, question, questions_per_material, sampling)):
        yield row
