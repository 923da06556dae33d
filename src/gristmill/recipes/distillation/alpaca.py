"""Stanford Alpaca (Taori et al. 2023): Self-Instruct with instruction, input and output of many tasks in one call."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta, field

from gristmill import BadInput, Complete, Instruction, Reply, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.instructions import BANNED, admit, on_one_line
from gristmill.ops.novelty import Novelty
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.self_instruct import Instance, NewTask, most_similar

TASKS = Prompt(
    """Write {tasks_per_call} exercises for a program that reads and writes nothing but text. Each has an instruction, an input and an output. No two should feel alike:
- Begin each instruction with a verb that none of the others uses.
- Phrase some as questions and some as orders.
- Mix all kinds of work: free writing, classification, editing, explaining, sums and whatever else comes to mind.

What makes a good exercise:
- It is solved in text alone. It asks for no picture and no sound, and for nothing to be done in the real world, such as making a call or buying a ticket.
- All of it is in English.
- The instruction is one sentence, two at most.
- The input is the very thing to work on, as it might turn up in real life: names, numbers, whole sentences, up to about 100 words, and no placeholder like [text]. Make it rich enough that the work is not trivial.
- Where the instruction says all that is needed, as general questions do, the input is "<noinput>".
- The output is what a good answer would be, in under 100 words.

The {tasks_per_call} exercises:
{demonstrations}###
{next_number}. Instruction:"""
)

DEMONSTRATION = Prompt(
    """###
{number}. Instruction: {instruction}
{number}. Input:
{input}
{number}. Output:
{output}
"""
)

BANNED_TOO = ("video", "audio", "music", "flowchart", "diagram")
FIELDS = ("Instruction", "Input", "Output")
SEPARATOR = re.compile(r"^[^\S\n]*#{3,}[^\S\n]*$|#{3,}(?=\s*\d+\.\s+Instruction:|\s*\Z)", re.MULTILINE)


class AlpacaSeed(Instruction):
    """A task written by a person. Where it has `instances`, as the tasks of Self-Instruct, the first one is its own."""

    instances: list[Instance] = field(default_factory=list)

    @property
    def instance(self) -> Instance:
        return self.instances[0] if self.instances else Instance(self.input, self.output)


class AlpacaTask(NewTask):
    """Instruction, input and output, all from one call."""


@recipe("alpaca", endless=True, seeds="self_instruct_tasks.jsonl")
async def alpaca(
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
    """Self-Instruct made cheaper: one call writes whole tasks, a list of twenty, after the example of three seeds.

    No call for the kind of a task and none for its instances; only tasks of people are shown. Filters and pool are
    those of `self-instruct`. (Taori et al. 2023, github.com/tatsu-lab/stanford_alpaca; paper's model:
    text-davinci-003. A chat model can play the generator with "as=complete".)

    Args:
        num_prompt_instructions: seeds that a prompt shows.
        tasks_per_call: tasks that a prompt asks for. A reply ends where it would number that many.
        request_batch_size: prompts that are asked side by side, from the pool as it was when their round began.
        temperature: of each call.
        top_p: of each call.
        max_tokens_per_call: of the reply.
        rouge_threshold: an instruction whose ROUGE-L F1 with any other reaches this is rejected. (At exactly this value
            the paper of Self-Instruct rejects and the released code of both keeps.)
        min_words: of an instruction.
        max_words: of an instruction.

    Rejects: those of `self-instruct` for instructions (`unsuited` has more words here), `unparsed` blocks (also without
        an output; details: number) and the last block of a reply that was `truncated`.
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


async def grow(
    prompt: Prompt,
    seeds: Rows[AlpacaSeed],
    generator: Complete,
    run: Run,
    *,
    num_prompt_instructions: int,
    tasks_per_call: int,
    request_batch_size: int,
    sampling: dict[str, Any],
    rouge_threshold: float,
    min_words: int,
    max_words: int,
) -> AsyncIterator[AlpacaTask]:
    """Tasks without end, of a prompt that shows some seeds and asks for more like them; parameters as of `alpaca`."""
    if len(seeds) < num_prompt_instructions:
        raise BadInput(f"{len(seeds)} seed tasks are too few, a prompt shows {num_prompt_instructions}")
    if bare := next((seed for seed in seeds if not seed.instance.output), None):
        raise BadInput(
            f"the seed task {bare.instruction!r} has no output to show; give each an `output`, or `instances`"
        )
    pool = Novelty(rouge_threshold, (seed.instruction for seed in seeds))
    first = num_prompt_instructions + 1

    async def write(_: int) -> tuple[Reply, list[AlpacaSeed]]:
        shown = run.draw("seeds", seeds, k=num_prompt_instructions)
        demonstrations = "".join(
            DEMONSTRATION(
                number=number,
                instruction=on_one_line(seed.instruction),
                input=seed.instance.input or "<noinput>",
                output=seed.instance.output,
            )
            for number, seed in enumerate(shown, 1)
        )
        reply = await generator.complete(
            prompt(tasks_per_call=tasks_per_call, demonstrations=demonstrations, next_number=first),
            **sampling,
            stop=[f"\n{tasks_per_call}", f"{tasks_per_call}."],
        )
        return reply, shown

    while True:
        for reply, shown in await run.map(write, range(request_batch_size), keep_going=True):
            blocks = split_blocks(reply.text, first)
            if reply.truncated:
                run.reject(blocks.pop(), "truncated", source=reply)
            elif not blocks[-1].strip():
                blocks.pop()  # the reply ended with a separator
            for number, block in enumerate(blocks, first):
                try:
                    instruction, instance = read_block(block, number)
                except Bad as bad:
                    run.reject(block, bad.reason, source=reply, **bad.details)
                    continue
                if compared := admit(run, pool, instruction, reply, min_words, max_words, (*BANNED, *BANNED_TOO)):
                    row = AlpacaTask(
                        instruction=instruction,
                        input=instance.input,
                        output=instance.output,
                        most_similar=most_similar(compared),
                        mean_rouge_l=compared.mean,
                    )
                    run.link(row, reply, *shown)
                    yield row


def split_blocks(text: str, first: int) -> list[str]:
    """The blocks of a reply that goes on after "k. Instruction:", or that begins by saying that once more.

    They are split at "###" alone on its line, before a next instruction or at the end. (The released code splits at
    any, and so cuts an output at its first heading.)
    """
    text = re.sub(rf"^\s*(?:###)?\s*{first}\.\s+Instruction:", "", text)
    return SEPARATOR.split(f"{first}. Instruction:{text}")


def read_block(block: str, number: int) -> tuple[str, Instance]:
    """Instruction and instance of "k. Instruction: ... k. Input: ... k. Output: ..."; raises Bad for anything else.

    Also for fields of another number: a task that was not set apart would end up in the output before it.
    """
    parts = re.split(rf"\b(\d+\.\s+(?:{'|'.join(FIELDS)})):", block)
    if [" ".join(part.split()) for part in parts[1::2]] != [f"{number}. {part}" for part in FIELDS]:
        raise Bad("unparsed", number=number)
    instruction, given, output = (part.strip() for part in parts[2::2])
    if not output:
        raise Bad("unparsed", number=number)
    return instruction, Instance("" if given.lower() == "<noinput>" else given, output)
