"""LLM2LLM (Lee et al. 2024, section 3): what a student gets wrong, a teacher writes more of, round by round."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from msgspec import Meta

from gristmill import (
    Chat,
    Complete,
    Lesson,
    Reply,
    Row,
    Rows,
    Run,
    Trainable,
    Training,
    assistant,
    recipe,
    system,
    user,
)
from gristmill.ops.answers import number
from gristmill.ops.novelty import Novelty
from gristmill.ops.prompts import Prompt

TEACHER = Prompt(
    """You help students who practise mathematics. A student could not solve an exercise; you write new ones of the same kind.

Rules:
- Write in English, at most 100 words an exercise.
- The answer is a single number, without a unit and not a fraction.
- Write out the calculation and the reasoning, and see that both are right.
- Take other names, things and numbers than those of the exercise.
- Write each new exercise in this form, numbered:

1. Question: ...
Answer: ... the reasoning, step by step ...
#### the number"""
)
ASK = Prompt(
    """The student could not solve this:

Question: {question}
Answer: {answer}

Write {count} new exercises that are like it, each with calculation and reasoning."""
)
DIFFERENT = Prompt(
    """The student could not solve this:

Question: {question}
Answer: {answer}

These new exercises are there already:

{kept}

Write {count} new exercises that are like it, and unlike those, each with calculation and reasoning."""
)
EXAMPLE_QUESTION = "A box holds 12 pencils. Ines has 5 boxes and gives away 8 pencils. How many are left?"
EXAMPLE_ANSWER = "Ines has 12 * 5 = 60 pencils. After giving away 8 she has 60 - 8 = 52.\n#### 52"
EXAMPLE_REPLY = """1. Question: A tray has 9 eggs. Omar buys 4 trays and uses 11 eggs. How many eggs are left?
Answer: Omar buys 9 * 4 = 36 eggs. After using 11 there are 36 - 11 = 25.
#### 25"""
STUDENT = Prompt("Question: {question}\nAnswer:")

BLOCK = re.compile(r"^\s*(?:\d+[.)]\s*)?\W{0,2}Question:", re.MULTILINE)


class Student(Complete, Trainable, Protocol):
    """The model that is taught."""


class Exercise(Row):
    """A question, and its solution that ends in "#### number"."""

    question: str
    answer: str


class TaughtExercise(Exercise, kw_only=True):
    """A row to train on: a seed, or one that the teacher wrote after a seed that the student got wrong."""

    iteration: int
    """0 for seeds."""
    parent: str
    """Id of the seed."""
    similarity: float = 0.0
    """ROUGE-L F1 with the nearest question that was there before it."""


@dataclass
class Pending:
    """A seed that was answered wrongly, and what the teacher wrote for it so far."""

    seed: Exercise
    kept: list[TaughtExercise] = field(default_factory=list)


@recipe("llm2llm", fixed=True, seeds="math_exercises.jsonl")
async def llm2llm(
    rows: Rows[Exercise],
    student: Student,
    teacher: Chat,
    run: Run,
    *,
    steps: Annotated[int, Meta(ge=1)] = 10,
    rows_per_wrong_seed: Annotated[int, Meta(ge=1)] = 1,
    rouge_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.95,
    attempts: Annotated[int, Meta(ge=1)] = 10,
    teacher_temperature: float = 1.0,
    teacher_top_p: float = 1.0,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 2149,
    student_temperature: float = 0.7,
    student_top_p: float = 0.9,
    max_tokens_per_answer: Annotated[int, Meta(ge=1)] = 512,
    training: Training = Training(learning_rate=2e-5, epochs=3, batch_size=1, accumulation=32, schedule="cosine"),
) -> AsyncIterator[TaughtExercise]:
    """Train a student, let it answer the seeds, and have a teacher write rows like those that it got wrong.

    The student begins anew from its base model in every step, on the seeds and all that was written so far. Only seeds
    are ever the parents of a row, so that errors do not build up; the last step only evaluates. A seed of which a call
    fails, of the student or of the teacher, is out for that step. (Lee et al. 2024,
    arXiv:2403.15042, section 3; parsing and similarity as in the released code for GSM8K.)

    The released template takes the student's wrong answer and does not print it; neither do we.

    Args:
        steps: trainings of the student, the last of which no rows follow.
        rows_per_wrong_seed: to be written for each seed that was answered wrongly.
        rouge_threshold: a question whose ROUGE-L F1 with a seed or a kept row is higher is rejected.
        attempts: requests for a seed at most; the n-th asks for n rows more than are wanted, and every second one shows
            those that are there.
        teacher_temperature: of the teacher.
        teacher_top_p: of the teacher.
        max_tokens_per_reply: of a teacher's reply.
        student_temperature: of the student's answers.
        student_top_p: of these.
        max_tokens_per_answer: of these. Not from the paper.
        training: three epochs, cosine schedule; its warm-up of 3 % is left to `warmup_steps`.

    Rejects: `unparsable` (no question, answer and "####", or not plain ASCII text), `cut` (the last block of a reply that
        was cut), `too_similar` (details: rouge_l, to).
    """
    pool = Novelty(rouge_threshold, [row.question for row in rows])
    data = [TaughtExercise(question=row.question, answer=row.answer, iteration=0, parent=row.id) for row in rows]
    for made, row in zip(data, rows, strict=True):
        run.link(made, row)
        yield made
    for step in range(1, steps + 1):
        order = run.rng("order").sample(data, len(data))
        model = await run.train(student, [lesson(row) for row in order], training=training)
        if step == steps:
            return

        async def examine(row: Exercise, model: Student = model) -> tuple[Exercise, bool]:
            reply = await model.complete(
                STUDENT(question=row.question),
                temperature=student_temperature,
                top_p=student_top_p,
                max_tokens=max_tokens_per_answer,
                stop=["\nQuestion:"],
            )
            return row, right(reply.text, row.answer)

        pending = [Pending(row) for row, ok in await run.map(examine, rows, keep_going=True) if not ok]
        every = list(pending)
        for attempt in range(attempts):
            if not pending:
                break

            async def ask(one: Pending, attempt: int = attempt) -> tuple[Pending, Reply]:
                count = rows_per_wrong_seed + attempt
                asked = {"question": one.seed.question, "answer": one.seed.answer, "count": count}
                if attempt % 2 and one.kept:
                    asked["kept"] = "\n".join(f"- {row.question}" for row in one.kept)
                    question = DIFFERENT(**asked)
                else:
                    question = ASK(**asked)
                messages = [
                    system(TEACHER()),
                    user(ASK(question=EXAMPLE_QUESTION, answer=EXAMPLE_ANSWER, count=1)),
                    assistant(EXAMPLE_REPLY),
                    user(question),
                ]
                reply = await teacher.chat(
                    messages, temperature=teacher_temperature, top_p=teacher_top_p, max_tokens=max_tokens_per_reply
                )
                return one, reply

            answered = await run.map(ask, pending, keep_going=True)
            # One after the other in the order of the seeds: what is too similar never depends on who answered first.
            for one, reply in answered:
                for question, answer in parsed(run, reply):
                    if len(one.kept) == rows_per_wrong_seed:
                        break
                    found = pool.compare(question, 1)
                    if found.highest > rouge_threshold:
                        near = found.nearest[0][0]
                        run.reject({"question": question}, "too_similar", source=reply, rouge_l=found.highest, to=near)
                        continue
                    pool.add(question)
                    row = TaughtExercise(
                        question=question, answer=answer, iteration=step, parent=one.seed.id, similarity=found.highest
                    )
                    run.link(row, one.seed, reply, model.checkpoint)
                    one.kept.append(row)
            pending = [one for one, _ in answered if len(one.kept) < rows_per_wrong_seed]
        for one in every:
            data += one.kept
            for row in one.kept:
                yield row


def lesson(row: Exercise) -> Lesson:
    return Lesson(STUDENT(question=row.question), f" {row.answer}")


def right(said: str, gold: str) -> bool:
    """The number after "####" is the gold one; else the texts are compared. Nothing after it is wrong."""
    given, wanted = after(said), after(gold)
    if given is None or wanted is None:
        return False
    value = number(given)
    return value == number(wanted) if value is not None else given.lower() == wanted.lower()


def after(text: str) -> str | None:
    found = re.search(r"####[ \t]*(\S[^\n]*)", text)
    return found[1].strip() if found else None


def parsed(run: Run, reply: Reply) -> list[tuple[str, str]]:
    """The exercises of a reply; what is none is rejected."""
    blocks = BLOCK.split(reply.text)[1:]  # what stands before the first is talk
    if not blocks:
        run.reject(reply, "unparsable")
    found = []
    for index, block in enumerate(blocks):
        if reply.truncated and index == len(blocks) - 1:
            run.reject({"block": block}, "cut", source=reply)
            continue
        question, marked, answer = (part.strip() for part in block.partition("Answer:"))
        if marked and question[:1].isalnum() and after(answer) and (question + answer).isascii():
            found.append((question, answer))
        else:
            run.reject({"block": block}, "unparsable", source=reply)
    return found
