"""Baize's self-chat turn by turn (Xu et al. 2023; collect_v2 of its repository): answers see the dialogue alone."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta

from gristmill import Chat, Run, Turn, assistant, recipe, user
from gristmill.models.protocol import Message
from gristmill.ops.ask import Bad, complete_reply
from gristmill.recipes.distillation.baize_self_chat import AI, HUMAN, TRANSCRIPT, SelfChat, SelfChatSeed, self_chat


@recipe("baize-self-chat-turns", seeds="instructions.jsonl")
async def baize_self_chat_turns(
    seed: SelfChatSeed,
    generator: Chat,
    run: Run,
    *,
    max_rounds: Annotated[int, Meta(ge=1)] = 4,
    temperature: float = 1.0,
    max_tokens_turn: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[SelfChat]:
    """Let a model play the human by the record of the talk, and answer as in any chat, in turns.

    The human's line continues the record of `baize-self-chat`. The answer comes from an ordinary chat that holds the
    dialogue and nothing else, so that the record's rules do not shape it. A turn that comes to nothing ends the
    dialogue, which stands up to there. (arXiv:2304.01196; repository project-baize/baize-chatbot.)

    Args:
        max_rounds: questions, each with its answer, of a dialogue. The paper leaves it to the user.
        temperature: of all calls. The paper does not fix it.
        max_tokens_turn: tokens a turn. The paper does not fix it.

    Rejects: `empty` and `truncated` turns (details: turn, of: human or ai), `no_complete_pair` (nothing is left).
    """
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_turn}
    record = TRANSCRIPT(topic=seed.instruction)
    messages: list[Message] = []
    for turn in range(1, max_rounds + 1):
        reply = await generator.chat(f"{record}{HUMAN}", stop=[AI], **sampling)
        side = "human"
        try:
            line = said_by_human(complete_reply(reply))
            side = "ai"
            reply = await generator.chat([*messages, user(line)], **sampling)
            answer = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, turn=turn, of=side)
            break
        messages += [user(line), assistant(answer)]
        record += f"{HUMAN} {line}\n{AI} {answer}\n"
    if not messages:
        run.reject(seed, "no_complete_pair")
        return
    yield self_chat(seed.instruction, [Turn(message.role, str(message.content)) for message in messages])


def said_by_human(text: str) -> str:
    """The line of the human, without the mark that a chat model repeats, and without what it goes on to write."""
    line = text.removeprefix(HUMAN).partition(AI)[0].partition(HUMAN)[0].strip()
    if not line:
        raise Bad("empty")
    return line
