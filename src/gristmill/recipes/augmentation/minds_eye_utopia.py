"""UTOPIA, the questions of Mind's Eye (Liu et al. 2022, section 2): physics asked in words, answered by a physics engine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Completion, Row, Run, Simulate, recipe
from gristmill.ops.prompts import Prompt
from gristmill.ops.scenes import Measure, Quantity, read
from gristmill.recipes.augmentation.utopia_scenes import (
    ASK,
    EQUAL,
    LANES,
    OBJECTS,
    RANGES,
    STRUCK,
    draw,
    question,
    scene,
)

QUESTION = Prompt("{question}\nChoices: {choices}\nAnswer:")
TO_SCENE = Prompt(
    "Write the scene of this question for the physics engine MuJoCo, with what is to be measured.\n\n{question}"
)
SAME = "both the same"
HINTS = {
    "time": ("{more} takes longer than {less}", "both take the same time"),
    "distance": ("{more} gets farther than {less}", "both get equally far"),
    "speed": ("{more} is faster than {less}", "both are equally fast"),
}


class SubTask(Row):
    """What is observed in a kind of scene, and what differs between its two bodies."""

    family: str
    """motion, friction, free-fall, projection, collision, slope."""
    quantity: str
    """What is asked: time, distance, speed; of a collision struck or striker."""
    varied: list[str]
    """Attributes of which one body has more."""
    differs: bool
    """Whether that should make a difference."""


class UtopiaQuestion(Completion, kw_only=True):
    """A question without a number, and the answer that the simulation gave."""

    question: str
    choices: list[str]
    answer: str
    hint: str
    """The outcome in words."""
    scene: str
    """In MJCF; says itself what is to be measured."""
    sub_task: str
    measured: list[float]
    """The quantity for the first and for the second body, in seconds, metres or metres a second."""


class TextToScene(Completion, kw_only=True):
    """A question and its scene, to teach a model to write scenes. No question of the benchmark is among them."""

    sub_task: str


@dataclass
class Drawn:
    """What chance made of a sub-task."""

    objects: tuple[str, str]
    question: str
    scene: str
    measure: Measure


@recipe("minds-eye-utopia", seeds="utopia_sub_tasks.jsonl")
async def minds_eye_utopia(
    row: SubTask,
    engine: Simulate,
    run: Run,
    *,
    samples: Annotated[int, Meta(ge=1)] = 100,
    pairs: Annotated[int, Meta(ge=0)] = 100,
    tolerance: Annotated[float, Meta(gt=0, lt=0.3)] = 0.005,
    margin: Annotated[float, Meta(ge=1)] = 3.0,
    tries: Annotated[int, Meta(ge=1)] = 20,
) -> AsyncIterator[UtopiaQuestion | TextToScene]:
    """Make questions of comparison about two bodies, of which a physics engine knows the answer.

    Each sub-task fixes what is observed and what differs. Two named bodies are described by more, less and the same alone;
    numbers that fit are drawn for the scene, the engine runs it, and the observed quantity of both is compared with a
    tolerance. No two questions of a seed are the same. (Liu et al. 2022, Mind's Eye, arXiv:2210.05359, section 2: 39
    sub-tasks, 100 questions each, MuJoCo. Their names, the wording and the tolerance are our own.) Pairs of text and
    scene, to train a converter for `minds-eye`, are drawn by themselves, and none has a question of the benchmark; a text
    may come again with other numbers. They are not run.

    Args:
        samples: questions for each sub-task.
        pairs: of text and scene, for each sub-task. The paper has 200,000 (not confirmed), about 5,100 for each.
        tolerance: two quantities that differ by no more, as a share of the larger, are the same.
        margin: a difference of more than the tolerance must be so many times it; in between a draw is ambiguous.
        tries: draws for a question, or for a pair, at most.

    Rejects: `ambiguous` (details: measured), `does_not_load`, `unstable`, `timeout`, `never` (what is waited for does not
        come), `no_question` (all tries of a question failed), `repeated` (there is this question already; it is drawn
        again).
    """
    key = f"{row.family}/{row.quantity}"
    if row.family not in LANES or key not in ASK or not row.varied or not set(row.varied) <= set(RANGES):
        raise BadInput(
            f"minds-eye-utopia: no scene for {key} with {', '.join(row.varied) or 'nothing'} varied; there are "
            f"{', '.join(ASK)}, and {', '.join(RANGES)} can vary"
        )
    sub_task = f"{key}/{'+'.join(row.varied)}"

    equal = [name for name in EQUAL[row.family] if name not in row.varied]

    def drawn() -> Drawn:
        a, b = run.draw("objects", OBJECTS, k=2)
        setting, greater = draw(run.rng("numbers"), row.varied)
        same = run.draw("equal", equal) if equal else ""
        text, measure = scene(row.family, row.quantity, (a, b), setting)
        return Drawn((a, b), question(row.family, row.quantity, a, b, greater, same), text, measure)

    async def make(number: int) -> tuple[int, UtopiaQuestion | None]:
        for _ in range(tries):
            one = drawn()
            text, measure = one.scene, one.measure
            motion = await engine.simulate(text, seconds=measure.seconds, watch=measure.bodies)
            if not motion.ok:
                reason = "does_not_load" if motion.outcome == "scene" else motion.outcome
                run.reject({"scene": text}, reason, message=motion.message)
                continue
            measured = [read(motion, body, measure) for body in measure.bodies]
            if measured[0] is None or measured[1] is None:
                run.reject({"scene": text}, "never", measured=measured)
                continue
            first, second = measured[0], measured[1]
            more = compared(first, second, tolerance)
            if ambiguous(first, second, tolerance, margin) or (more is None and row.differs):
                run.reject({"scene": text}, "ambiguous", measured=measured)
                continue
            choices = [*(f"the {name}" for name in one.objects), SAME]
            answer = SAME if more is None else choices[more]
            return number, UtopiaQuestion(
                prompt=QUESTION(question=one.question, choices="; ".join(choices)),
                completion=f" {answer}",
                question=one.question,
                choices=choices,
                answer=answer,
                hint=hint(measure, more),
                scene=text,
                sub_task=sub_task,
                measured=[round(first, 6), round(second, 6)],
            )
        run.reject({"number": number}, "no_question", tries=tries)
        return number, None

    # Side by side none can know of the others, so what came twice is drawn again in a further round.
    asked: dict[str, UtopiaQuestion] = {}
    left = list(range(samples))
    for _ in range(tries):
        again = []
        for number, made in await run.map(make, left, keep_going=True):
            if made is not None and asked.setdefault(made.question, made) is not made:
                run.reject({"question": made.question}, "repeated")
                again.append(number)
        left = again
    for made in asked.values():
        yield made

    async def pair(number: int) -> TextToScene | None:
        for _ in range(tries):
            one = drawn()
            if one.question not in asked:
                return TextToScene(prompt=TO_SCENE(question=one.question), completion=one.scene, sub_task=sub_task)
            run.reject({"question": one.question}, "repeated")
        return None

    for lesson in await run.map(pair, range(pairs)):
        if lesson is not None:
            yield lesson


def compared(first: float, second: float, tolerance: float) -> int | None:
    """Which of two quantities is greater (0 or 1), or None where they are the same within the tolerance."""
    if abs(first - second) <= tolerance * max(abs(first), abs(second)):
        return None
    return 0 if first > second else 1


def ambiguous(first: float, second: float, tolerance: float, margin: float) -> bool:
    largest = max(abs(first), abs(second))
    return largest > 0 and tolerance < abs(first - second) / largest < margin * tolerance


def hint(measure: Measure, more: int | None) -> str:
    """An outcome in words."""
    quantity: Quantity = measure.quantity
    differ, same = HINTS[quantity]
    if more is None:
        return same
    struck = "'s ball"
    names = [f"the {body.removesuffix(STRUCK)}{struck * body.endswith(STRUCK)}" for body in measure.bodies]
    return differ.format(more=names[more], less=names[1 - more])
