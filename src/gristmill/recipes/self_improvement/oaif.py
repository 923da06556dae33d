"""OAIF (Guo et al. 2024, sections 3 and 4): a model is aligned on pairs of its own newest answers, judged as they come."""

from collections.abc import AsyncIterator
from typing import Annotated, Protocol

from msgspec import Meta

from gristmill import Chat, Preference, Reply, Row, Rows, Run, Trainable, Training, recipe
from gristmill.ops.judge import odds_of_first
from gristmill.ops.prompts import Prompt

COMPARE = Prompt(
    """{instruction}

What was asked:
{prompt}

Response 1:
{first}

Response 2:
{second}

Which response is better, 1 or 2? Answer with the number alone."""
)


class Policy(Chat, Trainable, Protocol):
    """The model that is aligned."""


class Asked(Row):
    """A prompt."""

    prompt: str


class OnlinePair(Preference, kw_only=True):
    """Two answers of the model as it was before a step, and which one the annotator finds better."""

    step: int
    p_chosen: float
    """The annotator's probability for the chosen one, over both orders."""


@recipe("oaif", fixed=True, seeds="demonstrations.jsonl")
async def oaif(
    rows: Rows[Asked],
    policy: Policy,
    annotator: Chat,
    run: Run,
    *,
    instruction: str = "Compare two responses to what a person asked. The better one is more helpful: it does what was "
    "asked, is right, and says no more than it should.",
    steps: Annotated[int, Meta(ge=1)] = 100,
    temperature: float = 0.9,
    max_tokens_per_response: Annotated[int, Meta(ge=1)] = 512,
    top_logprobs: Annotated[int, Meta(ge=2)] = 5,
    training: Training = Training(learning_rate=5e-7, batch_size=128, beta=0.1),
) -> AsyncIterator[OnlinePair]:
    """In every training step the model as it is now answers each prompt twice; an annotator chooses; the model learns.

    The annotator's choice is read from the log-probabilities of "1" and "2", in both orders, and averaged, so that a
    liking for one position cancels out. A pair is used for one step and never again. The loss may be DPO, IPO
    (`training.loss` "ipo") or SLiC ("hinge"); the reference is the model that all begins with. (Guo et al. 2024,
    arXiv:2402.04792, sections 3 and 4.)

    A batch in which nothing can be told apart takes no step; the next prompts follow.

    Args:
        instruction: what the annotator is to look for; changing it changes what the model becomes.
        steps: batches of prompts. Prompts are shuffled, and used again once all were used. Not from the paper.
        temperature: of the two answers.
        max_tokens_per_response: of each. Not from the paper.
        top_logprobs: among so many first tokens of the annotator "1" and "2" are looked for. Not from the paper.
        training: `batch_size` is the number of prompts in a step; learning rate and batch size are not confirmed from
            the paper.

    Rejects: `identical` (both answers are the same), `tie` (the annotator's mean is one half: a pure liking for a
        position, or no opinion; how the paper treats ties is not known), `no_choice` (neither "1" nor "2" is among the
        annotator's first tokens), `empty`.
    """
    trainer = run.trainer(policy, "dpo", training=training)
    queue: list[Asked] = []
    for step in range(steps):
        while len(queue) < training.batch_size:
            queue += run.rng("order").sample(list(rows), len(rows))
        batch, queue = queue[: training.batch_size], queue[training.batch_size :]

        async def compare(row: Asked, model: Policy = trainer.model, step: int = step) -> OnlinePair | None:
            two = await model.chat(row.prompt, n=2, temperature=temperature, max_tokens=max_tokens_per_response)
            first, second = (reply.text.strip() for reply in two)
            if not first or not second:
                run.reject({"first": first, "second": second}, "empty")
                return None
            if first == second:
                run.reject(two[0], "identical")
                return None

            async def chance(one: str, other: str) -> float | None:
                question = COMPARE(instruction=instruction, prompt=row.prompt, first=one, second=other)
                said: Reply = await annotator.chat(
                    question, temperature=0.0, max_tokens=1, logprobs=True, top_logprobs=top_logprobs
                )
                return odds_of_first(said, "1", "2")

            forward, backward = await run.gather(chance(first, second), chance(second, first))
            if forward is None or backward is None:
                run.reject({"first": first, "second": second}, "no_choice")
                return None
            p_first = (forward + 1 - backward) / 2
            if abs(p_first - 0.5) < 1e-9:
                run.reject({"first": first, "second": second}, "tie", forward=forward, backward=backward)
                return None
            chosen, rejected = (first, second) if p_first > 0.5 else (second, first)
            pair = OnlinePair(
                prompt=row.prompt, chosen=chosen, rejected=rejected, step=step, p_chosen=max(p_first, 1 - p_first)
            )
            run.link(pair, row)
            return pair

        pairs = [pair for pair in await run.map(compare, batch, keep_going=True) if pair is not None]
        if pairs:
            await trainer.step(pairs)
        for pair in pairs:
            yield pair
