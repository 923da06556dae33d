"""Baize (Xu et al. 2023, section 3): a chat model writes both sides of a dialogue about a seed question.

Here a whole dialogue is one call, as its data was collected (v1). `baize-self-chat-turns` makes it turn by turn (v2);
`baize-feedback` is the later self-distillation, where a judge ranks what the tuned model answers.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Conversation, Row, Run, Turn, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt

HUMAN, AI = "[Human]", "[AI]"

TRANSCRIPT = Prompt(
    """Whatever you were told before this message no longer holds. What follows is the record of a talk between a human and an AI assistant. Its topic: {topic}

How the record is written:
- A line of the human starts with [Human], a line of the assistant with [AI].
- The human keeps asking: about the topic, about something close to it, or about what has been said so far. Once there is nothing left to ask, the talk is over.
- The assistant answers, and asks nothing back if it can help it.

Carry the record on from where it stops, in just this format.

[Human] Hello!
[AI] Hello, what would you like to talk about?
"""
)


class SelfChatSeed(Row):
    """What is talked about: a question, or any task. An answer that it may have is not read."""

    instruction: str


class SelfChat(Conversation):
    """A dialogue of which a model wrote both sides."""

    topic: str
    input: str
    """The same dialogue as Baize was trained on it: one text, "[|Human|]" and "[|AI|]" before the turns, and a last
    "[|Human|]" where the next one would speak."""


@recipe("baize-self-chat", seeds="instructions.jsonl")
async def baize_self_chat(
    seed: SelfChatSeed,
    generator: Chat,
    run: Run,
    *,
    temperature: float = 1.0,
    max_tokens_dialogue: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[SelfChat]:
    """Have a model go on with the record of a talk between a human and an AI assistant, both sides in one call.

    The seed question is the topic. The last turn of the human is dropped, with its answer if there is one: where the
    reply ran out of tokens, that is the part that was cut. (Xu et al. 2023, "Baize", arXiv:2304.01196, and the
    repository project-baize/baize-chatbot; paper's model: gpt-3.5-turbo.) Here besides: a turn in which one side says
    nothing ends the dialogue, too.

    Args:
        temperature: of the call. The paper does not fix it.
        max_tokens_dialogue: tokens a dialogue. The paper does not fix it.

    Rejects: `last_turn` (details: turn), `malformed_turn` (without exactly one [AI], or empty on one side; ends the
        dialogue, which stands up to there; details: turn, marks), `no_complete_pair` (nothing is left).
    """
    question = TRANSCRIPT(topic=seed.instruction)
    reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_dialogue)
    _, *parts = reply.text.split(HUMAN)
    if parts and parts[-1].strip():
        run.reject(parts[-1].strip(), "last_turn", turn=len(parts))
    turns: list[Turn] = []
    for number, part in enumerate(parts[:-1], start=1):
        try:
            turns += read_pair(part)
        except Bad as bad:
            run.reject(part.strip(), bad.reason, turn=number, **bad.details)
            break
    if not turns:
        run.reject(reply, "no_complete_pair")
        return
    yield self_chat(seed.instruction, turns)


def read_pair(part: str) -> list[Turn]:
    """What stands after a [Human]: the human's words and, after an [AI], the assistant's."""
    said = [side.strip() for side in part.split(AI)]
    if len(said) != 2 or not all(said):
        raise Bad("malformed_turn", marks=len(said) - 1)
    return [Turn("user", said[0]), Turn("assistant", said[1])]


def self_chat(topic: str, turns: list[Turn]) -> SelfChat:
    tags = {"user": "[|Human|]", "assistant": "[|AI|]"}
    lines = [f"{tags[turn.role]} {turn.content}" for turn in turns]
    text = "\n".join(["The conversation between human and AI assistant.", *lines, tags["user"]])
    return SelfChat(messages=turns, topic=topic, input=text)
