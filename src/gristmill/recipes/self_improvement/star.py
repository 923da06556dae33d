"""STaR (Zelikman et al. 2022, sections 3 and 4): a model learns from those of its own rationales that led to the right
answer, and, where it was wrong, from those that it finds when it is shown the answer."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from gristmill import BadInput, Complete, Completion, Reply, Row, Rows, Run, Trainable, Training, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply

Style = Literal["choice", "words", "arithmetic"]
CORRECT = " (CORRECT)"


class Student(Complete, Trainable, Protocol):
    """A model that continues texts and can be trained."""


class StarQuestion(Row, kw_only=True):
    """A task and its gold answer; a rationale is not needed."""

    question: str
    answer: str
    """"choice": the letter of the right one; "words": the number; "arithmetic": the result as it is written."""
    choices: list[str] = msgspec.field(default_factory=list)
    """"choice" only; called (a), (b), ... in this order."""
    solution: str = ""
    """"words" only: what the hint shows; the answer unless given."""


class Worked(StarQuestion, kw_only=True):
    """An example with its rationale, as the model should write it, answer included."""

    rationale: str


class Rationale(Completion, kw_only=True):
    """A question without any hint, and a rationale that ends in the right answer."""

    rationalized: bool
    """It was found with the answer in sight; the prompt does not show it."""
    iteration: int


class StarRound(Row):
    """What an iteration came to."""

    iteration: int
    questions: int
    solved: int
    rationalized: int
    steps: int
    loss: float
    accuracy: float | None = None
    """Of the new model on those questions of `dev` whose call did not fail; None without any."""


@recipe("star", fixed=True, seeds="star_sums.jsonl")
async def star(
    rows: Rows[StarQuestion],
    student: Student,
    run: Run,
    *,
    dev: Rows[StarQuestion] | None = None,
    examples: Rows[Worked] | None = None,
    style: Style = "arithmetic",
    iterations: Annotated[int, Meta(ge=1)] = 64,
    questions_per_iteration: Annotated[int, Meta(ge=1)] = 10_000,
    p_rationalization: Annotated[float, Meta(ge=0, le=1)] = 1.0,
    p_show_hint_save: Annotated[float, Meta(ge=0, le=1)] = 0.0,
    copy_n: Annotated[int, Meta(ge=0)] = 0,
    few_shot: Annotated[int, Meta(ge=0)] = 10,
    few_shot_train: bool = False,
    start_steps: Annotated[int, Meta(ge=1)] = 40,
    step_growth: Annotated[float, Meta(ge=1)] = 1.2,
    temperature: float = 0.1,
    max_tokens_per_rationale: Annotated[int, Meta(ge=1)] = 96,
    patience: Annotated[int, Meta(ge=1)] = 1,
    training: Training = Training(learning_rate=1e-6, warmup_steps=100, batch_size=8),
) -> AsyncIterator[Rationale | StarRound]:
    """Solve, keep what is right, rationalize what is wrong, train the original model on it, and begin again.

    Every question gets one rationale in an iteration. Where it ends in the wrong answer, the model is asked once more
    with the answer as a hint; what then ends right is kept as if there had been no hint. The model that all iterations
    train is the original one, on the rows of the last iteration, for more steps each time. (Zelikman et al. 2022,
    arXiv:2203.14465, sections 3 and 4.)

    The paper says to stop when the accuracy no longer rises and its code has only the cap: with `dev` we do both. The
    survey's "retries until right" is in neither: a question is asked again in the next iteration.

    Args:
        dev: questions that are not trained on; the loop ends when the accuracy on them has not risen.
        examples: worked examples, shown before each question and, with the hint in them, before a rationalization.
            Those that ship unless given.
        style: how a task is written and its answer read. choice: "(b)." at the end, as for CommonsenseQA; words: after
            "####", as for GSM8K; arithmetic: the line after "</scratch>".
        iterations: at most.
        questions_per_iteration: drawn anew in each iteration where there are more.
        p_rationalization: share of the unsolved questions that are asked again with the hint; 0 is STaR without it.
        p_show_hint_save: share of the rationalized rows that keep the hint in their prompt.
        copy_n: earlier iterations whose rows are trained on too.
        few_shot: worked examples that a prompt shows.
        few_shot_train: whether they stand in the prompts that are trained on.
        start_steps: optimizer steps of the first iteration.
        step_growth: factor of the steps from one iteration to the next.
        temperature: of the rationales. Low in the paper; the figure is from its code.
        max_tokens_per_rationale: tokens of a rationale with its answer.
        patience: iterations without a rise on `dev` after which it ends. Not from the paper.
        training: its steps are set by the two above. Of the paper: Adam, learning rate 1e-6, batches of 8, 100 steps of
            warm-up (the last from its code).

    Rejects: `wrong_answer` (details: answer, gold, hinted), `no_answer` (details: hinted), `empty`, `truncated`.
    """
    form = FORMS[style]
    shown = list(examples or shipped(style))[:few_shot]
    before = {hinted: "".join(form.example(one, hinted) for one in shown) for hinted in (False, True)}
    model, best, risen = student, -1.0, 0
    kept: list[list[Rationale]] = []

    async def attempt(row: StarQuestion, model: Student, hinted: bool) -> Reply | None:
        """A rationale that ends in the gold answer."""
        reply = await model.complete(
            before[hinted] + form.context(row, hinted),
            temperature=temperature,
            max_tokens=max_tokens_per_rationale,
            stop=list(form.ends),
        )
        try:
            text = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, hinted=hinted)
            return None
        answer = form.read(text)
        if answer is None:
            run.reject(reply, "no_answer", hinted=hinted)
        elif not same(answer, row.answer):
            run.reject(reply, "wrong_answer", answer=answer, gold=row.answer, hinted=hinted)
        else:
            return reply
        return None

    for iteration in range(1, iterations + 1):

        async def work(row: StarQuestion, model: Student = model, iteration: int = iteration) -> Rationale | None:
            reply, hinted = await attempt(row, model, False), False
            if reply is None and run.rng("rationalize").random() < p_rationalization:
                reply, hinted = await attempt(row, model, True), True
            if reply is None:
                return None
            show = hinted and run.rng("show").random() < p_show_hint_save
            context = form.context(row, show)
            made = Rationale(
                prompt=(before[show] if few_shot_train else "") + context,
                completion=form.completion(complete_reply(reply)),
                rationalized=hinted,
                iteration=iteration,
            )
            run.link(made, row)
            return made

        tried: Sequence[StarQuestion] = rows
        if len(rows) > questions_per_iteration:
            tried = run.draw(f"questions/{iteration}", rows, k=questions_per_iteration)
        made = [row for row in await run.map(work, tried, keep_going=True) if row is not None]
        kept = [*kept, made][-(copy_n + 1) :]
        steps = int(start_steps * step_growth ** (iteration - 1))
        settings = msgspec.structs.replace(training, steps=steps)
        model = await run.train(student, [row for part in kept for row in part], training=settings)
        for row in made:
            run.link(row, model.checkpoint)
            yield row
        right = sum(not row.rationalized for row in made)
        done = StarRound(
            iteration=iteration,
            questions=len(tried),
            solved=right,
            rationalized=len(made) - right,
            steps=steps,
            loss=model.measured["loss"],
        )
        if dev is not None:

            async def check(row: StarQuestion, model: Student = model) -> bool:
                reply = await model.complete(
                    before[False] + form.context(row, False),
                    temperature=0.0,
                    max_tokens=max_tokens_per_rationale,
                    stop=list(form.ends),
                )
                answer = form.read(reply.text)
                return answer is not None and same(answer, row.answer)

            checked = await run.map(check, dev, keep_going=True)
            done.accuracy = sum(checked) / len(checked) if checked else None
        run.link(done, model.checkpoint)
        yield done
        if done.accuracy is not None:
            best, risen = (done.accuracy, iteration) if done.accuracy > best else (best, risen)
            if iteration - risen >= patience:
                return


@star.check
def the_steps_are_the_recipes_own(training: Training) -> None:
    if training.steps is not None:
        raise BadInput(
            "star: the optimizer steps follow from `start_steps` and `step_growth`: leave training.steps out"
        )


def same(answer: str, gold: str) -> bool:
    return " ".join(answer.lower().split()) == " ".join(gold.lower().split())


def shipped(style: Style) -> list[Worked]:
    found = home.shipped("star_examples.jsonl", dict)
    return [
        msgspec.convert({k: v for k, v in one.items() if k != "style"}, Worked)
        for one in found
        if one["style"] == style
    ]


@dataclass(frozen=True)
class Form:
    """How a kind of task is written. `context` ends where the model begins; with a hint it shows the answer."""

    context: Callable[[StarQuestion, bool], str]
    read: Callable[[str], str | None]
    """The answer at the end of a rationale."""
    lead: str
    """What stands between the context and what is written."""
    ends: tuple[str, ...]
    """Where the next task would begin."""

    def completion(self, written: str) -> str:
        return self.lead + written

    def example(self, one: Worked, hinted: bool) -> str:
        return f"{self.context(one, hinted)}{self.lead}{one.rationale}\n\n"


def choice(row: StarQuestion, hinted: bool) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [
        f"({letter}) {text}{CORRECT if hinted and same(letter, row.answer) else ''}"
        for letter, text in zip(letters, row.choices, strict=False)
    ]
    return f"Q: {row.question}\nAnswer Choices:\n" + "\n".join(lines) + "\nA:"


def words(row: StarQuestion, hinted: bool) -> str:
    return f"Q: {row.question}{f' ({row.solution or row.answer})' if hinted else ''}\nA:"


def arithmetic(row: StarQuestion, hinted: bool) -> str:
    return f"Input:\n{row.question}\nTarget:{f' {row.answer}' if hinted else ''}\n"


def letter_at_the_end(text: str) -> str | None:
    found = re.search(r"\(([a-zA-Z])\)\W*$", text)
    return found[1] if found else None


def after_marks(text: str) -> str | None:
    found = re.search(r"####[ \t]*(\S.*)", text)
    return found[1].strip().replace(",", "") if found else None


def after_scratch(text: str) -> str | None:
    found = re.search(r"</scratch>\s*\n[ \t]*(\S.*)", text)
    return found[1].strip() if found else None


FORMS: dict[Style, Form] = {
    "choice": Form(choice, letter_at_the_end, " ", ("\nQ:", "\n\n")),
    "words": Form(words, after_marks, " ", ("\nQ:", "\n\n")),
    "arithmetic": Form(arithmetic, after_scratch, "", ("\nInput:", "\n\n")),
}
