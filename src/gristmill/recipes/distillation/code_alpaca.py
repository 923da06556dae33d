"""Code Alpaca (Chaudhary 2023): Alpaca's method with seeds and rules of programming."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Complete, Rows, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.alpaca import AlpacaSeed, AlpacaTask, grow

TASKS = Prompt(
    """Write {tasks_per_call} exercises for a program that helps people to write code, and that reads and writes nothing but text. Each has an instruction, an input and an output. No two should feel alike:
- Begin each instruction with a verb that none of the others uses.
- Phrase some as questions and some as orders.
- Mix all kinds of work: code to be written from nothing, code to be told apart or classified, code to be edited, mended or made faster, and whatever else comes to mind.

What makes a good exercise:
- It is about code or programming. No other subject will do.
- It is solved in text alone. It asks for no picture and no sound, and for nothing to be done in the real world.
- All of it but the code is in English.
- The instruction is one sentence at least, or two.
- The input is the very thing to work on, as it might turn up in real life: some code, data, an error message, and no placeholder like [text]. Make it rich enough that the work is not trivial.
- Where the instruction says all that is needed, the input is "<noinput>".
- The output is what a good answer would be.

The {tasks_per_call} exercises:
{demonstrations}###
{next_number}. Instruction:"""
)


@recipe("code-alpaca", endless=True, seeds="code_tasks.jsonl")
async def code_alpaca(
    seeds: Rows[AlpacaSeed],
    generator: Complete,
    run: Run,
    *,
    num_prompt_instructions: Annotated[int, Meta(ge=1)] = 3,
    tasks_per_call: Annotated[int, Meta(ge=2)] = 20,
    request_batch_size: Annotated[int, Meta(ge=1)] = 5,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 3072,
    rouge_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.7,
    min_words: Annotated[int, Meta(ge=1)] = 4,
    max_words: Annotated[int, Meta(ge=1)] = 150,
) -> AsyncIterator[AlpacaTask]:
    """Alpaca for programming: one call writes twenty tasks about code after the example of three.

    What differs from `alpaca` is what is asked for: tasks about code only, instructions of a sentence or two, outputs of
    any length, and seeds of programming. Pool, parsing and filters are the same code, words that a text model cannot
    deal with ("graph", "file") and "Write a program" among them. So is what ends a reply, "20." or a line that begins with
    20: code that holds either is cut there, and no sign tells it from code that is whole. (Chaudhary 2023, github.com/sahil280114/codealpaca; 20,000
    rows of 21 seeds, by text-davinci-003. A chat model can play the generator with "as=complete".)

    Args:
        num_prompt_instructions: seeds that a prompt shows.
        tasks_per_call: tasks that a prompt asks for. A reply ends where it would number that many.
        request_batch_size: prompts that are asked side by side, from the pool as it was when their round began.
        temperature: of each call.
        top_p: of each call.
        max_tokens_per_call: of the reply.
        rouge_threshold: an instruction whose ROUGE-L F1 with any other reaches this is rejected.
        min_words: of an instruction.
        max_words: of an instruction.

    Rejects: those of `alpaca`.
    """
    async for row in grow(
        TASKS,
        seeds,
        generator,
        run,
        num_prompt_instructions=num_prompt_instructions,
        tasks_per_call=tasks_per_call,
        request_batch_size=request_batch_size,
        sampling={"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens_per_call},
        rouge_threshold=rouge_threshold,
        min_words=min_words,
        max_words=max_words,
    ):
        yield row
