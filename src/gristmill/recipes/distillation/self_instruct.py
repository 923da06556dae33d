"""Self-Instruct (Wang et al. 2023, section 2): a language model extends a list of tasks, and answers them itself."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, Struct

from gristmill import BadInput, Complete, Instruction, Reply, Row, Rows, Run, recipe
from gristmill.ops.instructions import admit, on_one_line
from gristmill.ops.novelty import Comparison, Novelty
from gristmill.ops.prompts import Prompt

INSTRUCTIONS = Prompt(
    """Write down a series of different tasks:
{numbered}
{next_number}."""
)

CLASSIFICATION = Prompt(
    """Does the task ask for one of a few fixed labels (classification)? Answer Yes or No.

{demonstrations}
Task: {instruction}
Classification:"""
)

CLASSIFICATION_DEMONSTRATION = Prompt(
    """Task: {instruction}
Classification: {answer}
"""
)

INPUT_FIRST = Prompt(
    """Show worked examples for each task below. If a task works on an input, write several examples, each with its input and its output. If it needs no input, write the output right away.

Task: Put the sentence into the past tense.
Example 1
Sentence: She walks to school.
Output: She walked to school.
Example 2
Sentence: We sing every evening.
Output: We sang every evening.

Task: Name three fruits that are rich in vitamin C.
Output: Oranges, kiwis and strawberries.

Task: Add up the numbers.
Example 1
Numbers: 14, 9
Output: 23
Example 2
Numbers: 2, 3, 5
Output: 10
Example 3
Numbers: 100, 1
Output: 101

Task: Write one sentence in praise of the given city.
Example 1
City: Lisbon
Output: In Lisbon even the trams seem to enjoy the view.

Task: Explain why salt melts ice.
Output: Salt dissolves in the thin film of water on the ice and lowers its freezing point, so the ice melts at temperatures at which it would otherwise stay frozen.

Task: {instruction}
"""
)

OUTPUT_FIRST = Prompt(
    """For each classification task below, take its class labels one after the other, and under each label write an input that belongs to it. If a task needs no input, write only the labels.

Task: Tell whether the review is positive or negative.
Class label: positive
Review: The soup was hot, fresh and full of flavour.
Class label: negative
Review: We waited an hour and the food was cold.

Task: Is the number odd or even?
Class label: odd
Number: 17
Class label: even
Number: 240

Task: Which department should answer the message: billing, delivery or technical support?
Class label: delivery
Message: My parcel was due on Monday and is still not here.
Class label: technical support
Message: The app closes as soon as I open it.
Class label: billing
Message: I was charged twice this month.

Task: {instruction}
"""
)

OUTPUT = re.compile(r"Output\s*\d*\s*:")


class Instance(Struct, frozen=True):
    """What a task is done on ("" where it needs nothing), and what doing it gives."""

    input: str = ""
    output: str = ""


class SeedTask(Row):
    """A task written by a person. Its instances, where it has some, are not read: only instructions are shown."""

    instruction: str
    is_classification: bool = False


class Similar(Struct):
    """An instruction of the pool, and its ROUGE-L F1 with the new one."""

    instruction: str
    rouge_l: float


class NewTask(Instruction, kw_only=True):
    """A task that a model came up with."""

    most_similar: list[Similar]
    """The ten most similar instructions of the pool as it was then, the most similar first."""
    mean_rouge_l: float
    """With the whole pool."""


class MachineTask(NewTask, kw_only=True):
    is_classification: bool


@dataclass
class Accepted:
    """An instruction that joined the pool."""

    instruction: str
    reply: Reply
    shown: "list[SeedTask | Accepted]"
    compared: Comparison
    rows: list[MachineTask] = field(default_factory=list)


@recipe("self-instruct", endless=True, seeds="self_instruct_tasks.jsonl")
async def self_instruct(
    seeds: Rows[SeedTask],
    generator: Complete,
    run: Run,
    *,
    human_in_prompt: Annotated[int, Meta(ge=1)] = 6,
    machine_in_prompt: Annotated[int, Meta(ge=0)] = 2,
    request_batch_size: Annotated[int, Meta(ge=1)] = 5,
    temperature: float = 0.7,
    top_p: float = 0.5,
    presence_penalty: float = 2.0,
    frequency_penalty: float = 0.0,
    instruction_max_tokens: Annotated[int, Meta(ge=1)] = 1024,
    stop: tuple[str, ...] = ("\n\n", "\n16", "16.", "16 ."),
    rouge_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.7,
    min_words: Annotated[int, Meta(ge=1)] = 4,
    max_words: Annotated[int, Meta(ge=1)] = 150,
    clf_demos: Annotated[int, Meta(ge=0)] = 12,
    non_clf_demos: Annotated[int, Meta(ge=0)] = 19,
    clf_max_tokens: Annotated[int, Meta(ge=1)] = 3,
    instance_temperature: float = 0.0,
    instance_presence_penalty: float = 1.5,
    clf_instance_max_tokens: Annotated[int, Meta(ge=1)] = 300,
    instance_max_tokens: Annotated[int, Meta(ge=1)] = 350,
    instance_stop: tuple[str, ...] = ("Example 6", "Task:"),
    max_instances_per_instruction: Annotated[int, Meta(ge=1)] = 5,
) -> AsyncIterator[MachineTask]:
    """Extend a list of tasks with a model's own, and let it answer them; every task that is new joins the list.

    A prompt shows tasks of people and of the model and lets the model go on with the list. What it adds is filtered,
    also against what it added before. Each new task is asked for its kind; then instances follow, for classification
    with the label before the input, so that the labels are not biased to one class. (Wang et al. 2023, "Self-Instruct",
    arXiv:2212.10560, section 2.) A run's target counts instances, not instructions. Left to the export: adding the
    seeds, and the random prompt formats (7 with input, 6 without).

    Args:
        human_in_prompt: tasks of people in a prompt. They also stand in for machine tasks while there are too few.
        machine_in_prompt: of the model's own accepted tasks in a prompt.
        request_batch_size: prompts that are asked side by side, from the pool as it was when their round began.
        temperature: of the calls that write instructions.
        top_p: of these calls.
        presence_penalty: of these calls.
        frequency_penalty: of these calls.
        instruction_max_tokens: of these calls.
        stop: what ends a list. With 8 tasks shown, a reply adds at most 7.
        rouge_threshold: an instruction whose ROUGE-L F1 with any other reaches this is rejected. (At exactly this value
            the paper rejects and its released code keeps.)
        min_words: of an instruction.
        max_words: of an instruction.
        clf_demos: seed tasks that are shown as classification, where there are so many.
        non_clf_demos: seed tasks that are shown as no classification.
        clf_max_tokens: of the answer Yes or No. The paper does not say, nor that it ends with its line or at "Task".
        instance_temperature: of the calls that write instances.
        instance_presence_penalty: of these calls.
        instance_max_tokens: of these calls.
        clf_instance_max_tokens: the same for classification tasks.
        instance_stop: what ends the instances of a task.
        max_instances_per_instruction: chosen by chance where there are more.

    Rejects: instructions `too_short`, `too_long` (details: words), `unsuited` (word), `writes_program`,
        `starts_with_punctuation`, `starts_non_ascii`, `too_similar` (rouge_l, to), `unread_kind` (neither Yes nor No);
        replies `truncated`, `no_instances`; instances `truncated`, `input_is_output`, `empty_output`,
        `ends_with_colon`, `conflicting_outputs` (all of the instruction), `duplicate`, `surplus`.
    """
    in_prompt = human_in_prompt + machine_in_prompt
    if len(seeds) < in_prompt:
        raise BadInput(f"self-instruct: {len(seeds)} seed tasks are too few, a prompt shows {in_prompt}. Give more seeds "
                       "or lower human_in_prompt and machine_in_prompt")  # fmt: skip
    pool = Novelty(rouge_threshold, (seed.instruction for seed in seeds))
    machine: list[Accepted] = []
    kinds = show_kinds(run, seeds, clf_demos, non_clf_demos)

    async def write(_: int) -> tuple[Reply, list[SeedTask | Accepted]]:
        chance = run.rng("shown")
        own = chance.sample(machine, min(machine_in_prompt, len(machine)))
        shown: list[SeedTask | Accepted] = [*chance.sample(list(seeds), in_prompt - len(own)), *own]
        chance.shuffle(shown)
        numbered = "\n".join(f"{number}. {on_one_line(task.instruction)}" for number, task in enumerate(shown, 1))
        reply = await generator.complete(
            INSTRUCTIONS(numbered=numbered, next_number=in_prompt + 1),
            temperature=temperature,
            top_p=top_p,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            max_tokens=instruction_max_tokens,
            stop=list(stop),
        )
        return reply, shown

    async def answer(task: Accepted) -> list[MachineTask]:
        said = await generator.complete(
            CLASSIFICATION(demonstrations=kinds, instruction=task.instruction),
            temperature=0.0,
            max_tokens=clf_max_tokens,
            stop=["\n", "Task"],
        )
        if (kind := said.text.strip().rstrip(".").lower()) not in ("yes", "no"):
            run.reject(task.instruction, "unread_kind", said=said.text)
            return []
        is_classification = kind == "yes"
        reply = await generator.complete(
            (OUTPUT_FIRST if is_classification else INPUT_FIRST)(instruction=task.instruction),
            temperature=instance_temperature,
            presence_penalty=instance_presence_penalty,
            max_tokens=clf_instance_max_tokens if is_classification else instance_max_tokens,
            stop=list(instance_stop),
        )
        instances = read_labels(reply.text) if is_classification else read_examples(reply.text)
        if not instances:
            run.reject(reply, "no_instances", instruction=task.instruction)
        if reply.truncated and instances:
            run.reject(instances.pop(), "truncated", instruction=task.instruction)
        for instance in keep(run, task.instruction, instances, max_instances_per_instruction):
            row = MachineTask(
                instruction=task.instruction,
                input=instance.input,
                output=instance.output,
                is_classification=is_classification,
                most_similar=most_similar(task.compared),
                mean_rouge_l=task.compared.mean,
            )
            for shown in task.shown:
                sources: Sequence[Row | Reply] = (
                    [shown] if isinstance(shown, SeedTask) else shown.rows[:1] or [shown.reply]
                )
                run.link(row, task.reply, *sources)
            task.rows.append(row)
        return task.rows

    while True:
        fresh = []
        for reply, shown in await run.map(write, range(request_batch_size), keep_going=True):
            if reply.truncated:
                run.reject(reply, "truncated")
                continue
            for candidate in read_list(reply.text, in_prompt + 1):
                if compared := admit(run, pool, candidate, reply, min_words, max_words):
                    fresh.append(Accepted(candidate, reply, shown, compared))
        for rows in await run.map(answer, fresh, keep_going=True):
            for row in rows:
                yield row
        machine += fresh


def show_kinds(run: Run, seeds: Rows[SeedTask], clf_demos: int, non_clf_demos: int) -> str:
    """Seed tasks with their kind, mixed: the same text before every question, so that a server reads it once."""
    shown = [seed for seed in seeds if seed.is_classification][:clf_demos]
    shown += [seed for seed in seeds if not seed.is_classification][:non_clf_demos]
    run.rng("kinds").shuffle(shown)
    return "".join(
        CLASSIFICATION_DEMONSTRATION(
            instruction=on_one_line(seed.instruction), answer="Yes" if seed.is_classification else "No"
        )
        for seed in shown
    )


def read_list(text: str, number: int) -> list[str]:
    """The instructions of a reply that goes on with a numbered list, after the `number` that stands open.

    A model that answers a chat says something first and repeats the number: all that is no part of the instruction.
    The first letter becomes a capital. (The released code also makes all other letters small, "SQL" to "sql".)
    """
    text = re.split(rf"(?:^|\n)\s*{number} ?\. ", text, maxsplit=1)[-1]
    pieces = (" ".join(piece.split()) for piece in re.split(r"\n\d+ ?\. ", text))
    return [piece[:1].upper() + piece[1:] for piece in pieces]


def most_similar(compared: Comparison) -> list[Similar]:
    return [Similar(text, round(score, 4)) for text, score in compared.nearest]


def read_examples(text: str) -> list[Instance]:
    """Instances of a reply to INPUT_FIRST: "Example k", an input, "Output:"; or one output alone.

    An example without "Output:" has an empty one. (The released code takes its text, and any before the first example,
    for an output.)
    """
    parts = re.split(r"^\s*Example\s*\d+\s*[.:]?", text, flags=re.MULTILINE)
    if len(parts) == 1 and not OUTPUT.search(text):
        return []
    return [read_pair(part) for part in parts if part.strip()]


def read_pair(text: str) -> Instance:
    before, *after = OUTPUT.split(text)
    output = re.split(r"Input\s*\d*\s*:", after[0])[0] if after else ""  # a next input without a number of its own
    return Instance(re.sub(r"^\s*Input\s*\d*\s*:", "", before).strip(), output.strip())


def read_labels(text: str) -> list[Instance]:
    """Instances of a reply to OUTPUT_FIRST: "Class label:" and the label, then the input below it."""
    instances = []
    for part in text.split("Class label:")[1:]:
        label, _, given = part.strip().partition("\n")
        instances.append(Instance(given.strip(), label.strip()))
    return instances


def keep(run: Run, instruction: str, instances: list[Instance], most: int) -> list[Instance]:
    """Filter the instances of an instruction; at most `most`, chosen by chance. Only valid ones can be in conflict."""
    valid: list[Instance] = []
    for instance in instances:
        if reason := "duplicate" if instance in valid else fault(instance):
            run.reject(instance, reason, instruction=instruction)
        else:
            valid.append(instance)
    inputs = [instance.input for instance in valid if instance.input]
    if len(inputs) > len(set(inputs)):  # equal pairs are gone, so their outputs differ
        kept, reason = [], "conflicting_outputs"
    else:
        chosen = run.rng("instances").sample(range(len(valid)), min(most, len(valid)))
        kept, reason = [valid[number] for number in sorted(chosen)], "surplus"
    for instance in valid:
        if instance not in kept:
            run.reject(instance, reason, instruction=instruction)
    return kept


def fault(instance: Instance) -> str:
    if instance.input == instance.output:
        return "input_is_output"
    if not instance.output:
        return "empty_output"
    return "ends_with_colon" if instance.input.endswith(":") or instance.output.endswith(":") else ""
