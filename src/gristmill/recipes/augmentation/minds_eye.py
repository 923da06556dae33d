"""Mind's Eye (Liu et al. 2022, sections 2 and 3): a question becomes a scene, an engine runs it, and the outcome stands as a
hint before the question."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Completion, Reply, Row, Rows, Run, Simulate, recipe
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.code import FENCED
from gristmill.ops.prompts import Prompt
from gristmill.ops.scenes import measure_of, read
from gristmill.recipes.augmentation.minds_eye_utopia import SAME, TO_SCENE, UtopiaQuestion, compared, hint

AGAIN = Prompt("{asked}\n\nThis was not accepted:\n\n{scene}\n\n{why}\n\nWrite the whole scene anew.")
EXAMPLE = Prompt("{hint}Question: {question}\nChoices: {choices}\nAnswer: {answer}\n\n")
ASK = Prompt("{examples}{hint}Question: {question}\nChoices: {choices}\nAnswer:")
HINTS = Prompt("Hints: {hint}.\n")


class PhysicsQuestion(Row):
    """A question with choices; the answer, where it is known, is held against the model's."""

    question: str
    choices: list[str]
    answer: str = ""


class GroundedAnswer(Completion, kw_only=True):
    """What the model was asked, with the hint, and what it said."""

    question: str
    hint: str
    """"" where hints are switched off."""
    scene: str
    answer: str
    gold: str
    correct: bool | None
    """None where no answer is known."""


@recipe("minds-eye", seeds="physics_questions.jsonl")
async def minds_eye(
    row: PhysicsQuestion,
    converter: Chat,
    engine: Simulate,
    answerer: Chat,
    run: Run,
    *,
    examples: Rows[UtopiaQuestion] | None = None,
    few_shot: Annotated[int, Meta(ge=0)] = 0,
    hints: bool = True,
    retries: Annotated[int, Meta(ge=0)] = 1,
    tolerance: Annotated[float, Meta(gt=0, lt=0.3)] = 0.005,
    max_tokens_per_scene: Annotated[int, Meta(ge=1)] = 2048,
    max_tokens_per_answer: Annotated[int, Meta(ge=1)] = 64,
) -> AsyncIterator[GroundedAnswer]:
    """Simulate what a question is about, and let any model answer with the outcome before its eyes.

    A converter writes the scene of the question; the engine runs it; the quantity that the scene names is read for both
    bodies and put into words. The answering model is not changed. (Liu et al. 2022, Mind's Eye, arXiv:2210.05359, sections
    2 and 3; the converter of the paper is a small model trained on the pairs that `minds-eye-utopia` makes. The wording of
    the hint is our own.) With `hints` off it is the plain model, to compare with; chain of thought, self-consistency and
    retrieval, the paper's other baselines, are left out, and so is the training of the converter.

    Args:
        examples: solved questions, as `minds-eye-utopia` makes them, of which some are shown.
        few_shot: examples in a prompt; they hold hints too. So many must be given, besides the question itself.
        hints: whether the outcome stands in the prompt.
        retries: scenes to ask for again where one does not load or shows nothing; the engine's message is shown.
        tolerance: as in `minds-eye-utopia`.
        max_tokens_per_scene: of the converter. Not from the paper.
        max_tokens_per_answer: of the answering model. Not from the paper.

    Rejects: `no_scene` (the reply holds no scene that may be loaded, or one that does not say what is measured; details:
        why), `does_not_load`, `unstable`, `timeout`, `never` (what is waited for does not come), `no_choice` (the answer is
        none of the choices, or several), `empty`, `truncated`.
    """
    others = [one for one in examples or [] if one.question != row.question]
    if len(others) < few_shot:
        raise BadInput(
            f"minds-eye: few_shot={few_shot}, but of `examples` there are {len(others)} besides the question; give more of "
            "them, as `minds-eye-utopia` makes them, or ask for fewer"
        )
    text, outcome = "", ""
    asked = TO_SCENE(question=row.question)
    prompt = asked
    for _ in range(retries + 1 if hints else 0):
        reply = await converter.chat(prompt, temperature=0.0, max_tokens=max_tokens_per_scene)
        try:
            scene = scene_of(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            prompt = AGAIN(asked=asked, scene=reply.text, why=bad.details.get("why", bad.reason))
            continue
        measure = measure_of(scene)
        assert not isinstance(measure, str)
        motion = await engine.simulate(scene, seconds=measure.seconds, watch=measure.bodies)
        if not motion.ok:
            reason = "does_not_load" if motion.outcome == "scene" else motion.outcome
            run.reject({"scene": scene}, reason, message=motion.message)
            prompt = AGAIN(asked=asked, scene=scene, why=motion.message or reason)
            continue
        first, second = (read(motion, body, measure) for body in measure.bodies)
        if first is None or second is None:
            run.reject({"scene": scene}, "never", measured=[first, second])
            prompt = AGAIN(asked=asked, scene=scene, why=f"What is to be measured never comes: {measure.text}")
            continue
        text, outcome = scene, hint(measure, compared(first, second, tolerance))
        break
    if hints and not outcome:
        return
    shown = ""
    for one in run.draw("examples", others, k=few_shot) if few_shot else []:
        clue = HINTS(hint=one.hint) if hints else ""
        shown += EXAMPLE(hint=clue, question=one.question, choices="; ".join(one.choices), answer=one.answer)
    clue = HINTS(hint=outcome) if hints else ""
    prompt = ASK(examples=shown, hint=clue, question=row.question, choices="; ".join(row.choices))
    answer = await attempt(
        run,
        lambda: answerer.chat(prompt, temperature=0.0, max_tokens=max_tokens_per_answer),
        lambda reply: choice_of(reply, row.choices),
    )
    if answer is not None:
        yield GroundedAnswer(
            prompt=prompt,
            completion=f" {answer}",
            question=row.question,
            hint=outcome,
            scene=text,
            answer=answer,
            gold=row.answer,
            correct=answer == row.answer if row.answer else None,
        )


def scene_of(reply: Reply) -> str:
    """The scene of a reply, in a fenced block or bare; raises Bad."""
    text = complete_reply(reply)
    block = FENCED.search(text)
    found = re.search(r"<mujoco\b.*</mujoco>", block["code"] if block else text, re.DOTALL)
    why = measure_of(found[0]) if found else "there is no <mujoco> in it"
    if not found or isinstance(why, str):
        raise Bad("no_scene", why=why)
    return found[0]


def choice_of(reply: Reply, choices: list[str]) -> str:
    """The one choice that an answer names, in full, or where it names none so, without its article; raises Bad."""
    text = complete_reply(reply).lower()
    short = {choice: [choice.removeprefix("the ")] for choice in choices} | {SAME: ["both", "the same"]}
    for forms in ({choice: [choice] for choice in choices}, {choice: short[choice] for choice in choices}):
        named = [
            one for one in choices if any(re.search(rf"(?<!\w){re.escape(f.lower())}(?!\w)", text) for f in forms[one])
        ]
        if named:
            break
    if len(named) != 1:
        raise Bad("no_choice", named=named)
    return named[0]
