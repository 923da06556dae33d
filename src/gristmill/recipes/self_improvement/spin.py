"""SPIN (Chen et al. 2024, section 4, Algorithm 1): a model learns to tell people's answers from its own, until there is
nothing left to tell."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from gristmill import BadInput, Chat, Preference, Row, Rows, Run, Trainable, Training, recipe


class Player(Chat, Trainable, Protocol):
    """A model that chats and can be trained."""


class Demonstration(Row):
    """A prompt, and the answer that a person gave."""

    prompt: str
    response: str


class SelfPlayPair(Preference, kw_only=True):
    """The answer of the data set against the model's own."""

    iteration: int


@recipe("spin", fixed=True, seeds="demonstrations.jsonl")
async def spin(
    rows: Rows[Demonstration],
    player: Player,
    run: Run,
    *,
    iterations: Annotated[int, Meta(ge=1)] = 4,
    prompts_per_iteration: Annotated[int, Meta(ge=1)] = 50_000,
    temperature: float = 1.0,
    max_tokens_per_response: Annotated[int, Meta(ge=1)] = 1024,
    beta_last_iteration: Annotated[float, Meta(gt=0)] = 5.0,
    late_learning_rate: Annotated[float, Meta(gt=0)] = 1e-7,
    training: Training = Training(learning_rate=5e-7, epochs=2, batch_size=64, max_tokens=2048, beta=0.1),
) -> AsyncIterator[SelfPlayPair]:
    """Answer each prompt as the model is now; train it to prefer the person's answer; begin again as its own opponent.

    The answer of the data set is always the chosen one and the model's own always the rejected one; nobody judges. Each
    iteration goes on from the model of the one before, which is also the reference, and learns from its own pairs and
    those of the iteration before. (Chen et al. 2024, arXiv:2401.01335, section 4.)

    Args:
        iterations: the paper runs 4, numbered from 0.
        prompts_per_iteration: of an iteration; drawn anew each time where there are more.
        temperature: of the model's answers. Not from the paper.
        max_tokens_per_response: of these. Not from the paper.
        beta_last_iteration: instead of the training's `beta`, where there are several iterations. Not confirmed from the
            paper.
        late_learning_rate: from the third iteration on. Not confirmed from the paper.
        training: batches of 64, two epochs (the released code's default is three), beta 0.1.

    Rejects: `identical` (the model says what the person said: nothing to learn from), `empty`.
    """
    model: Player = player
    before: list[SelfPlayPair] = []
    for iteration in range(iterations):
        drawn: Sequence[Demonstration] = rows
        if len(rows) > prompts_per_iteration:
            drawn = run.draw(f"prompts/{iteration}", rows, k=prompts_per_iteration)

        async def play(row: Demonstration, opponent: Player = model, iteration: int = iteration) -> SelfPlayPair | None:
            reply = await opponent.chat(row.prompt, temperature=temperature, max_tokens=max_tokens_per_response)
            if not reply.text.strip():
                run.reject(reply, "empty")
                return None
            if reply.text.strip() == row.response.strip():
                run.reject(reply, "identical")
                return None
            pair = SelfPlayPair(prompt=row.prompt, chosen=row.response, rejected=reply.text, iteration=iteration)
            run.link(pair, row)
            return pair

        pairs = [pair for pair in await run.map(play, drawn, keep_going=True) if pair is not None]
        last = iterations > 1 and iteration == iterations - 1
        settings = msgspec.structs.replace(
            training,
            beta=beta_last_iteration if last else training.beta,
            learning_rate=late_learning_rate if iteration >= 2 else training.learning_rate,
        )
        model = await run.train(model, [*pairs, *before], "dpo", training=settings, reference=model)
        before = pairs
        for pair in pairs:
            run.link(pair, model.checkpoint)
            yield pair


@spin.check
def the_loss_is_logistic(training: Training) -> None:
    if training.loss != "sigmoid":
        raise BadInput("spin: its loss is the logistic one: leave training.loss out")
