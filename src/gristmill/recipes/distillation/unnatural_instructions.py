"""Unnatural Instructions (Honovich et al. 2022, section 2): examples drawn from five prompts, solved greedily, said anew."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from gristmill import BadInput, Complete, Completion, Instruction, Reply, Row, Rows, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections

EXAMPLES = Prompt(
    """Below are tasks for a language model. Each has an instruction, an input to work on, and the constraints that a good output has to meet.

{demonstrations}Example {next_number}"""
)

DEMONSTRATION = Prompt(
    """Example {number}
Instruction: {instruction}
Input: {input}
Constraints: {constraints}

"""
)

OUTPUT = Prompt(
    """Instruction: {instruction}
Input: {input}
{constraints}Output:"""
)

CONSTRAINTS = Prompt("Constraints: {constraints}\n")

ALTERNATIVE = Prompt(
    """A task can be put in many ways. Each of these is put anew, as somebody might ask for it who knows of no form with fields. {INPUT} stands for the text to work on and has to occur in the new wording.

Original: You are given a city. Name the country that it belongs to.
Input: {INPUT}
Constraints: The output should be the name of a country.
Alternative: Which country is {INPUT} in?

Original: In this task, you are given a product review. Decide whether the customer was content.
Input: {INPUT}
Constraints: The output should be "Yes" or "No".
Alternative: "{INPUT}" Was the customer who wrote this content? Answer Yes or No.

Original: Turn the given sentence into a question that the sentence answers.
Input: {INPUT}
Alternative: {INPUT}
What question could somebody have asked to get this as an answer?

Original: {instruction}
Input: {INPUT}
{constraints}Alternative:"""
)

SLOT = "{INPUT}"
FIELDS = ("Instruction:", "Input:", "Constraints:")


class UnnaturalSeed(Row):
    """A task written by people, without its output."""

    instruction: str
    input: str
    constraints: str = "None"
    """What an output may be; "None" where there is nothing to say."""


class Reformulation(Struct):
    """The same task in a freer form."""

    instruction: str
    """With the slot {INPUT}."""
    input: str
    output: str


class UnnaturalInstruction(Instruction, kw_only=True):
    """A task and its output, and what else it may be called."""

    constraints: str
    reformulations: list[Reformulation]


class Formulation(Completion, kw_only=True):
    """A task as a student reads it, the input filled in, and its output."""

    alternative: bool
    """Said anew, rather than in fields."""


@dataclass
class Core:
    """A task that waits for its output."""

    task: UnnaturalSeed
    reply: Reply
    shown: Sequence[UnnaturalSeed]


@recipe("unnatural-instructions", endless=True, seeds="unnatural_tasks.jsonl")
async def unnatural_instructions(
    seeds: Rows[UnnaturalSeed],
    generator: Complete,
    run: Run,
    *,
    examples_per_group: Annotated[int, Meta(ge=1)] = 3,
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.99,
    temperature: float = 1.0,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 512,
    max_tokens_output: Annotated[int, Meta(ge=1)] = 512,
    reformulations_per_example: Annotated[int, Meta(ge=0)] = 2,
    max_tokens_reformulation: Annotated[int, Meta(ge=1)] = 256,
    requests_at_once: Annotated[int, Meta(ge=1)] = 64,
) -> AsyncIterator[UnnaturalInstruction | Formulation]:
    """Have a model go on with three tasks of people, again and again; then it solves its tasks, and words them anew.

    The seeds are few, 15, in groups of three that follow each other in the file; each group makes one prompt, and the
    prompts take turns, the same ones from the first row to the last. What makes tasks differ is nucleus sampling. A
    task is an instruction, an input and constraints: no prompt shows an output, which is a second, greedy call. At last
    the model is asked for freer wordings of the instruction, with a slot for the input; input and output are copied.
    The second table has one row for each wording, as a student is trained on it. (Honovich et al. 2022, "Unnatural
    Instructions", arXiv:2212.09689, section 2; model: text-davinci-002, 68,478 tasks.)

    Here besides: a wording that equals another one of its task, or asks for nothing, is dropped. Only the first paragraph of the constraints
    is read. How constraints stand in the prompt for the output is not confirmed, nor are the pairs of wordings that are
    shown (here three). A chat model can play the generator with "as=complete".

    Args:
        examples_per_group: tasks that a prompt shows; the seeds make as many groups as they fill.
        top_p: of the calls that write tasks, and of those that word them anew, where it is not confirmed.
        temperature: of the same. Not confirmed.
        max_tokens_per_call: of a task. Not confirmed.
        max_tokens_output: of an output. Not confirmed.
        reformulations_per_example: wordings that are asked for. One that is rejected is not made up for.
        max_tokens_reformulation: of a wording. Not confirmed.
        requests_at_once: tasks that are worked on side by side. The first round has one, each next one twice as many up
            to here.

    Rejects: tasks `missing_section`, `empty_section` (details: section), `copies_demonstration`, `duplicate` (the
        instruction and the input of another); `empty` and `truncated` tasks, outputs and wordings (details: of);
        wordings `no_slot`, `slot_alone`, `same_wording` (as the instruction, or as another wording).
    """
    if not len(seeds) or len(seeds) % examples_per_group:
        raise BadInput(
            f"unnatural-instructions: {len(seeds)} seeds make no whole groups of {examples_per_group}, one a prompt: give "
            "as many as fill them, or set examples_per_group"
        )
    if bare := next((number for number, task in enumerate(seeds, 1) if not all(key(task))), None):
        raise BadInput(
            f"unnatural-instructions: seed {bare} of {len(seeds)} has no instruction or no input: give it both"
        )
    groups = [seeds[start : start + examples_per_group] for start in range(0, len(seeds), examples_per_group)]
    prompts = [
        EXAMPLES(
            demonstrations="".join(
                DEMONSTRATION(
                    number=number,
                    instruction=task.instruction,
                    input=task.input,
                    constraints=task.constraints.strip() or "None",
                )
                for number, task in enumerate(group, 1)
            ),
            next_number=examples_per_group + 1,
        )
        for group in groups
    ]
    known: set[tuple[str, str]] = set()

    async def write(number: int) -> tuple[Reply, Sequence[UnnaturalSeed]]:
        reply = await generator.complete(
            prompts[number % len(groups)],
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens_per_call,
            stop=[f"\nExample {examples_per_group + 2}", "\nOutput:"],
        )
        return reply, groups[number % len(groups)]

    def admit(reply: Reply, shown: Sequence[UnnaturalSeed]) -> Core | None:
        """A task that is whole and new; it is known from here on."""
        try:
            task = read_task(reply)
            if key(task) in map(key, shown):
                raise Bad("copies_demonstration")
            if key(task) in known:
                raise Bad("duplicate")
        except Bad as bad:
            run.reject(reply, bad.reason, of="task", **bad.details)
            return None
        known.add(key(task))
        return Core(task, reply, shown)

    async def finish(core: Core) -> tuple[UnnaturalInstruction, list[Formulation]] | None:
        task = core.task
        constraints = "" if is_none(task.constraints) else CONSTRAINTS(constraints=task.constraints)
        question = OUTPUT(instruction=task.instruction, input=task.input, constraints=constraints)
        reply = await generator.complete(
            question, temperature=0.0, max_tokens=max_tokens_output, stop=["\nInstruction:", "\nExample "]
        )
        try:
            output = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, of="output")
            return None
        wordings = []
        if reformulations_per_example:
            replies = await generator.complete(
                ALTERNATIVE(instruction=task.instruction, constraints=constraints),
                n=reformulations_per_example,
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens_reformulation,
                stop=["\nOriginal:"],
            )
            wordings = read_wordings(run, task.instruction, replies)
        row = UnnaturalInstruction(
            instruction=task.instruction,
            input=task.input,
            output=output,
            constraints=task.constraints,
            reformulations=[Reformulation(wording, task.input, output) for wording in wordings],
        )
        filled = [(question.removesuffix("\nOutput:"), False)]
        filled += [(wording.replace(SLOT, task.input), True) for wording in wordings]
        forms = [Formulation(prompt, output, alternative=alternative) for prompt, alternative in filled]
        for made in (row, *forms):
            run.link(made, core.reply, *core.shown)
        return row, forms

    started, count = 0, 1
    while True:
        written = await run.map(write, range(started, started + count), keep_going=True)
        started += count
        cores = [core for reply, shown in written if (core := admit(reply, shown))]
        for done in filter(None, await run.map(finish, cores, keep_going=True)):
            row, forms = done
            for form in forms:  # before the task, with which a run may reach its target
                yield form
            yield row
        count = min(2 * count, requests_at_once)


def read_task(reply: Reply) -> UnnaturalSeed:
    """The three fields of a task; raises Bad. The constraints end with their paragraph."""
    instruction, given, constraints = sections(complete_reply(reply), *FIELDS)
    return UnnaturalSeed(instruction, given, constraints.partition("\n\n")[0].rstrip())


def read_wordings(run: Run, instruction: str, replies: Sequence[Reply]) -> list[str]:
    """Wordings that have the slot, and differ from the instruction and from one another; the others are put aside."""
    found: dict[str, str] = {}
    for reply in replies:
        try:
            wording = complete_reply(reply)
            if SLOT not in wording:
                raise Bad("no_slot")
            bare = (
                same(wording.replace(SLOT, "")).removesuffix("input:").strip()
            )  # the fields once more are nothing new
            if not bare:
                raise Bad("slot_alone")
            if bare in found or bare == same(instruction):
                raise Bad("same_wording")
        except Bad as bad:
            run.reject(reply, bad.reason, of="wording")
            continue
        found[bare] = wording
    return list(found.values())


def is_none(constraints: str) -> bool:
    return same(constraints).strip(" .") in ("", "none")


def key(task: UnnaturalSeed) -> tuple[str, str]:
    return " ".join(task.instruction.split()), " ".join(task.input.split())


def same(text: str) -> str:
    return " ".join(text.casefold().split())
