"""Magpie's preference data (Xu et al. 2024, section 2): the best and the worst of a model's own answers."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Instruction, Preference, Reward, Run, assistant, recipe, user
from gristmill.ops.ask import Bad, complete_reply


class MagpiePreference(Preference, kw_only=True):
    chosen_reward: float
    rejected_reward: float


@recipe("magpie-preference")
async def magpie_preference(
    row: Instruction,
    generator: Chat,
    reward: Reward,
    run: Run,
    *,
    preference_samples: Annotated[int, Meta(ge=2)] = 5,
    preference_temperature: float = 0.8,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 4096,
) -> AsyncIterator[MagpiePreference]:
    """Answer an instruction several times and keep the best and the worst by a reward model, as chosen and rejected.

    The last step of Magpie, over the rows of `magpie-select`; any instructions will do. (arXiv:2406.08464.) Here
    besides: answers that are empty or were cut do not take part.

    Args:
        reward: scores each pair (paper: ArmoRM).
        preference_samples: answers to an instruction.
        preference_temperature: of these answers.
        max_tokens_response: tokens an answer.

    Rejects: answers `empty` and `truncated`; `no_contrast` where no two answers differ in reward (details: rewards).
    """
    prompt = f"{row.instruction}\n{row.input}".strip()
    answers = []
    for reply in await generator.chat(
        prompt, n=preference_samples, temperature=preference_temperature, max_tokens=max_tokens_response
    ):
        try:
            answers.append(complete_reply(reply))
        except Bad as bad:
            run.reject(reply, bad.reason)

    async def scored(answer: str) -> float:
        return await reward.reward([user(prompt), assistant(answer)])

    rewards = await run.map(scored, answers)
    if len(set(rewards)) < 2:
        run.reject(row, "no_contrast", rewards=rewards)
        return
    best, worst = rewards.index(max(rewards)), rewards.index(min(rewards))
    yield MagpiePreference(
        prompt=prompt,
        chosen=answers[best],
        rejected=answers[worst],
        chosen_reward=rewards[best],
        rejected_reward=rewards[worst],
    )
