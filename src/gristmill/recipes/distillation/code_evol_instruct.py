"""WizardCoder (Luo et al. 2023, section 3): Evol-Instruct for programming questions, until a student no longer gains."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Protocol

from msgspec import Meta

from gristmill import (
    BadInput,
    Chat,
    Complete,
    Execute,
    Instruction,
    Lesson,
    Reply,
    Row,
    Rows,
    Run,
    Trainable,
    Training,
    recipe,
)
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, benchmarks_of
from gristmill.ops.code import code_block
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.evol_instruct import COPIED, EQUAL, Seed, check_answer, says_equal

EVOLVE = Prompt(
    """Make the programming question below somewhat harder to solve. You may do so in any way, but above all in this one:

{method}

Write the new question and nothing else: no answer, and no word about the old question.

#The Given Prompt#:
{question}

#Rewritten Prompt#:
"""
)
METHODS = {
    "add_constraints": Prompt("Add a further constraint or requirement, in about {added_words} words."),
    "rarer_requirement": Prompt(
        "Take one of its usual requirements out, and put a rarer and more specific one in its place."
    ),
    "reasoning_steps": Prompt(
        "If it is solved in a few simple steps of thought, change it so that it takes more of them."
    ),
    "faulty_code": Prompt(
        "Give a piece of code with an error in it as a reference that misleads: whoever solves the question must see through it."
    ),
    "complexity": Prompt(
        "Demand a stricter time or space complexity than the obvious solution has. Do this only where it makes sense."
    ),
}
"""The five methods for code; one is drawn for each evolution."""
STUDENT = Prompt("### Instruction:\n{question}\n\n### Response:\n")


class Student(Complete, Trainable, Protocol):
    """The model that is taught."""


class CodeQuestion(Seed):
    """A programming question; where it has no answer the generator writes one."""

    output: str = ""


class DevTask(Row):
    """A task on which the student is measured: an answer is right where its code passes the tests."""

    prompt: str
    tests: str
    """Python that raises where the code before it is wrong: assertions, as those of MBPP."""


class EvolvedCode(Instruction, kw_only=True):
    """A question and its answer with code."""

    parent: str = ""
    """Id of what it was evolved from; "" for a seed."""
    operation: str
    """One of METHODS; "seed"."""
    round: int
    """0 for seeds."""


class CodeEvolRound(Row):
    """What the student of a round came to."""

    round: int
    rows: int
    """It learnt from: all rounds so far and the seeds."""
    kept: bool
    """False for the round after which the student was worse: its rows are left out."""
    dev_score: float
    """Share of the development tasks that it solved at its first try."""


@recipe("code-evol-instruct", fixed=True, seeds="code_exercises.jsonl")
async def code_evol_instruct(
    rows: Rows[CodeQuestion],
    generator: Chat,
    run: Run,
    judge: Chat | None = None,
    student: Student | None = None,
    sandbox: Execute | None = None,
    *,
    dev: Rows[DevTask] | None = None,
    benchmarks: Rows[BenchmarkItem] | None = None,
    rounds: Annotated[int, Meta(ge=1)] = 3,
    added_words: int = 10,
    eliminate: bool = True,
    temperature: float = 1.0,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 2048,
    sorry_max_words: Annotated[int, Meta(ge=0)] = 80,
    max_tokens_per_solution: Annotated[int, Meta(ge=1)] = 512,
    training: Training = Training(learning_rate=2e-5, warmup_steps=30, schedule="cosine", max_tokens=2048),
) -> AsyncIterator[EvolvedCode | CodeEvolRound]:
    """Evolve programming questions round by round, and stop before a round that makes a student worse.

    One prompt for all: make the question harder by one of five methods, which is drawn. No new questions are invented, as
    `evol-instruct` does, and no input is made up. After each round all rows so far, seeds included, train a student anew;
    where it solves fewer of the development tasks than the student of the round before, the loop ends and the rows of
    that round are left out (the evol stop). That takes `--model student=...`, `--model sandbox=sandbox:python` and
    `--dev`; without them all rounds are kept. (Luo et al. 2023, arXiv:2306.08568, section 3; their development set is
    MBPP-400, at pass@1.)

    Args:
        judge: tells whether child and parent are equal, where that is asked; the generator unless bound.
        student: what is trained on each round's union, from its own weights each time.
        sandbox: runs its solutions of the development tasks.
        dev: the development tasks.
        benchmarks: items that no row may hold, seeds included; not from the paper.
        rounds: at most.
        added_words: about how much longer a further constraint makes a question.
        eliminate: apply the tests of `evol-instruct`: no gain, refusals, copied words. Whether the authors did for code is
            not confirmed.
        temperature: of evolutions and answers. Not confirmed. The judge is asked at 0.
        max_tokens_per_call: of both. Not confirmed.
        sorry_max_words: as of `evol-instruct`.
        max_tokens_per_solution: of the student's; greedy.
        training: of the paper: learning rate 2e-5, 30 steps of warm-up, cosine.

    Rejects: `empty` and `truncated` evolutions and answers, `in_benchmark` (details: benchmark), and where tests are
        applied `equal`, `unread_verdict`, `copies_prompt`, `sorry`, `no_content`; `evol_stop`, the rows of the round
        after which the student was worse. All with operation and round; a parent whose evolution failed evolves again in
        the next round. Answers to seeds are not tested, and a seed that holds a benchmark's item does not evolve.
    """
    if (student is None, dev is None, sandbox is None) not in ((True, True, True), (False, False, False)):
        raise BadInput(
            "code-evol-instruct: the evol stop takes a student, a sandbox and development tasks together: --model "
            "student=transformers:FOLDER, --model sandbox=sandbox:python and --dev FILE; leave all three out for a fixed "
            "number of rounds"
        )
    judge = judge or generator
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_per_call}
    forbidden = benchmarks_of(benchmarks) if benchmarks is not None else None

    def check_benchmarks(question: str, output: str) -> None:
        if forbidden and (found := forbidden.inside(f"{question}\n{output}")) is not None:
            raise Bad("in_benchmark", benchmark=found)

    async def begin(row: CodeQuestion) -> EvolvedCode | None:
        """The seed with its answer."""
        question, output = text_of(row), row.output.strip()
        candidate: Reply | CodeQuestion = row
        try:
            if not output:
                candidate = reply = await generator.chat(question, **sampling)
                output = complete_reply(reply)
            check_benchmarks(question, output)
        except Bad as bad:
            run.reject(candidate, bad.reason, operation="seed", round=0, **bad.details)
            return None
        made = EvolvedCode(instruction=question, output=output, operation="seed", round=0)
        run.link(made, row)
        return made

    async def evolve(parent: EvolvedCode, number: int) -> EvolvedCode | None:
        operation = run.draw("operation", list(METHODS))
        method = METHODS[operation](added_words=added_words)
        evolved = await generator.chat(EVOLVE(method=method, question=parent.instruction), **sampling)
        try:
            question = complete_reply(evolved)
            if eliminate:
                if copied := COPIED.search(question):
                    raise Bad("copies_prompt", words=copied[0])
                verdict = await judge.chat(EQUAL(first=parent.instruction, second=question), temperature=0.0)
                if says_equal(verdict.text):
                    raise Bad("equal")
            answer = await generator.chat(question, **sampling)
            output = complete_reply(answer)
            if eliminate:
                check_answer(answer, sorry_max_words)
            check_benchmarks(question, output)
        except Bad as bad:
            run.reject(evolved, bad.reason, operation=operation, round=number, **bad.details)
            return None
        made = EvolvedCode(instruction=question, output=output, parent=parent.id, operation=operation, round=number)
        run.link(made, parent)
        return made

    started = await run.map(begin, rows, keep_going=True)
    union = [row for row in started if row is not None]
    if not union:
        return
    for row in union:
        yield row
    pool, before = list(union), -1.0
    for number in range(1, rounds + 1):

        async def grown(
            index: int, pool: Sequence[EvolvedCode] = pool, number: int = number
        ) -> tuple[int, EvolvedCode | None]:
            return index, await evolve(pool[index], number)

        children = dict(await run.map(grown, range(len(pool)), keep_going=True, name="evolve"))
        made = [child for child in children.values() if child is not None]
        pool = [children.get(index) or parent for index, parent in enumerate(pool)]
        if student is not None and sandbox is not None and dev is not None:
            rows_so_far = [*union, *made]
            model = await taught(run, student, rows_so_far, training)
            score = await measured(run, model, sandbox, dev, max_tokens_per_solution)
            report = CodeEvolRound(number, len(rows_so_far), score >= before, score)
            run.link(report, model.checkpoint)
            yield report
            if not report.kept:
                for row in made:
                    run.reject(row, "evol_stop", operation=row.operation, round=number)
                return
            before = score
        union += made
        for row in made:
            yield row


async def taught(run: Run, student: Student, rows: Sequence[EvolvedCode], training: Training) -> Student:
    lessons = [Lesson(STUDENT(question=row.instruction), row.output) for row in rows]
    model: Student = await run.train(student, lessons, training=training)
    return model


async def measured(run: Run, model: Student, sandbox: Execute, dev: Sequence[DevTask], max_tokens: int) -> float:
    """Share of the development tasks that a student solves at its first try."""

    async def solves(task: DevTask) -> bool:
        reply = await model.complete(
            STUDENT(question=task.prompt), temperature=0.0, max_tokens=max_tokens, stop=["### Instruction:"]
        )
        found = code_block(reply.text)
        verdict = await sandbox.check(reply.text if found is None else found, task.tests)
        return bool(verdict.ok)

    return sum(await run.map(solves, dev, name="dev")) / len(dev)


def text_of(row: CodeQuestion) -> str:
    return f"{row.instruction}\n{row.input}".strip()
