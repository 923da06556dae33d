"""UltraChat (Ding et al. 2023, section 3): two chat models talk, one as the user and one as the assistant.

Here a dialogue is made from its opening line. Opening lines are made, in a chain before this recipe, by
`ultrachat-world` (behind `ultrachat-topics`), `ultrachat-writing` and `ultrachat-materials`: one for each sector.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from gristmill import BadInput, Chat, Conversation, Instruction, Reply, Row, Run, Turn, assistant, recipe, system, user
from gristmill.models.protocol import Message
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import items
from gristmill.ops.text import is_refusal, sentences

SIMULATE = Prompt(
    """You play the human in a talk between a human and an AI assistant. You are shown the talk so far, with who said what. Write what the human says next: a question or a request that comes out of the last answer and takes the talk a step further.

- You are the human, from beginning to end. The human wants to know things and have things done; never answer, explain, or offer help, as an assistant would.
- Come to the point at once. No thanks, no praise, no greeting, no goodbye.
- Write this one message and nothing else, without a name before it."""
)
DIALOGUE = Prompt("{turns}\n\nHuman:")
NAMES = {"user": "Human", "assistant": "Assistant"}

Sector = Literal["world", "writing", "materials"]
Range = tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]]

OWN_LABEL = re.compile(r"^[\s*_>\"“]*(?:human|user|me)\s*[*_]*:[*_]*\s*", re.IGNORECASE)
NEXT_LABEL = re.compile(r"\n[\s*_>]*(?:human|user|(?:ai )?assistant|ai)\s*[*_]*:", re.IGNORECASE)
ASSISTANT = re.compile(
    r"""[\s*_>"“]* (?: (?:ai\ )?assistant\s*[*_]*: | as\ an?\ (?:ai|language\ model) | (?:you['’]re|you\ are)\ (?:very\ |most\ )?welcome
      | (?:sure|certainly|absolutely|of\ course)(?:\ thing)?\s*[,.!]\s*(?:here|i\b|let\ me|i['’])
      | (?:i['’]m|i\ am|i['’]d\ be|i\ would\ be)\ (?:here|glad|happy|pleased)\b | here\ (?:is|are)\b
      | (?:how|what)\ (?:else\ )?(?:can|may)\ i\ (?:help|assist|do\ for\ you) | (?:please\ )?feel\ free\ to | let\ me\ know\ (?:if|how)
      | is\ there\ anything\ else | do\ you\ have\ any\ (?:other|more|further)\ questions )""",
    re.VERBOSE | re.IGNORECASE,
)
"""How an assistant begins, and a user does not."""
PRAISE = (
    "great|good|helpful|useful|interesting|fascinating|amazing|awesome|wonderful|excellent|perfect|brilliant|impressive|"
    "incredible|lovely|nice|fantastic|insightful|informative|clear"
)
POLITE = re.compile(
    rf"""\W* (?:(?:oh|wow|ah|okay|ok|yes|hi|hello|well|and)\b[\s,!.–—-]*)* (?:
        thank(?:s|\ you)\b(?!\ to\b) | (?:many\ thanks) | i?\ ?(?:really|truly|greatly|do)?\ ?appreciate\b
      | (?:that|this|it|which)(?:['’]s|\ is|\ was|\ sounds|\ has\ been)\ (?:\w+\ ){{0,3}}(?:{PRAISE})\b
      | (?:what\ an?\ )?(?:{PRAISE})(?:\ (?:answer|explanation|summary|point|idea|example|response|advice|work|job)s?)?\s*(?=[,.!;–—-]|$)
      | i(?:['’]m|\ am)\ (?:so\ |very\ |really\ )?(?:grateful|thankful|impressed|amazed)\b
      | you(?:['’]re|\ are|['’]ve\ been|\ have\ been)\ (?:\w+\ ){{0,2}}(?:{PRAISE}|the\ best)\b
      | (?:wow|have\ a\ (?:great|nice|good)\ day|goodbye|bye)\b )""",
    re.VERBOSE | re.IGNORECASE,
)
"""A sentence of thanks or praise, by its beginning. English only."""
CLAUSE = re.compile(r"[^,;:.!?–—]*[,;:–—]\s*(?:(?:but|and|so|now)\b,?\s*)*", re.IGNORECASE)
REQUEST = re.compile(
    r"(?:please|can|could|would|will|tell|explain|describe|give|show|write|list|continue|make|add|let['’]s|"
    r"i(?:['’]d| would) (?:like|love)|i (?:want|need|wonder)|i(?:['’]m| am) (?:curious|wondering|interested))\b",
    re.IGNORECASE,
)


class OpeningLine(Row):
    """What a dialogue begins with. Any instruction will do; an answer that it may have is not read."""

    instruction: str
    input: str = ""
    sector: Sector = "world"
    path: list[str] = field(default_factory=list)


class UltraChatOpening(Instruction, kw_only=True):
    """An opening line (`instruction`), without an answer."""

    sector: Sector
    path: list[str]
    """What it descends from, the most general first: meta topic, subtopic, question; entity, meta question; type of
    writing, instruction; or the instruction that was joined with the material."""
    material: str = ""


class UltraChat(Conversation, kw_only=True):
    """A dialogue between two models, and where its opening line comes from."""

    sector: Sector
    path: list[str]


@recipe("ultrachat", seeds="ultrachat_openings.jsonl")
async def ultrachat(
    opening: OpeningLine,
    simulator: Chat,
    assistant_model: Chat,
    run: Run,
    *,
    rounds_world: Range = (3, 7),
    rounds_writing: Range = (2, 4),
    rounds_materials: Range = (2, 4),
    temperature: float = 1.0,
    max_tokens_user: Annotated[int, Meta(ge=1)] = 256,
    max_tokens_answer: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[UltraChat]:
    """Let two chat models talk about an opening line, one in the role of the user and one as the assistant.

    The two have histories of their own. The assistant sees the dialogue and nothing else, as in any chat. The simulator
    is shown the dialogue with who said what, and told to write the human's next message. A number of rounds (a message
    of the user and its answer) is drawn from the range of the opening line's sector. (Ding et al. 2023,
    arXiv:2305.14233, section 3, and the repository thunlp/UltraChat; paper: two instances of gpt-3.5-turbo.)

    The paper cleans finished dialogues; here a message is cleaned before it is answered, so that every answer is to the
    message that the row holds: sentences of thanks and praise are taken out, and a message that speaks as the assistant
    would is dropped. The dialogue then ends before it, and stands if its rounds are still in the range. How the
    simulator is asked and how politeness is told are not confirmed. Opening lines that come twice are dropped where
    they are made.

    Args:
        simulator: plays the user.
        assistant_model: answers; may be the same model.
        rounds_world: fewest and most rounds of a dialogue about the world.
        rounds_writing: likewise, about a text that is to be written.
        rounds_materials: likewise, about a given text.
        temperature: of all calls. Not confirmed.
        max_tokens_user: tokens a message of the user. Not confirmed.
        max_tokens_answer: tokens an answer. Not confirmed.

    Rejects: messages and answers `empty` and `truncated`, messages `only_polite` (nothing is left without thanks and
        praise) and `acts_as_assistant` (all with details: round, of: user or assistant); dialogues `too_few_rounds`
        (details: rounds, least); `empty_opening`.
    """
    first = f"{opening.instruction}\n{opening.input}".strip()
    if not first:
        run.reject(opening, "empty_opening")
        return
    least, most = {"world": rounds_world, "writing": rounds_writing, "materials": rounds_materials}[opening.sector]
    rounds = run.draw("rounds", range(least, most + 1))
    messages: list[Message] = []
    for number in range(1, rounds + 1):
        side, line = "user", first
        try:
            if number > 1:
                reply = await simulator.chat(
                    [system(SIMULATE()), user(DIALOGUE(turns=transcript(messages)))],
                    temperature=temperature,
                    max_tokens=max_tokens_user,
                    stop=["\nHuman:", "\nAssistant:"],
                )
                line = said_by_user(complete_reply(reply))
            side = "assistant"
            reply = await assistant_model.chat(
                [*messages, user(line)], temperature=temperature, max_tokens=max_tokens_answer
            )
            answer = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, round=number, of=side)
            break
        messages += [user(line), assistant(answer)]
    turns = [Turn(message.role, str(message.content)) for message in messages]
    if len(turns) // 2 < least:
        run.reject(turns or [Turn("user", first)], "too_few_rounds", rounds=len(turns) // 2, least=least)
        return
    yield UltraChat(messages=turns, sector=opening.sector, path=opening.path)


@ultrachat.check
def ranges_go_up(rounds_world: Range, rounds_writing: Range, rounds_materials: Range) -> None:
    for name, (least, most) in (
        ("rounds_world", rounds_world),
        ("rounds_writing", rounds_writing),
        ("rounds_materials", rounds_materials),
    ):
        if least > most:
            raise BadInput(f"ultrachat: {name} is {least} to {most}: give the fewest rounds first")


def transcript(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"{NAMES[message.role]}: {message.content}" for message in messages)


def said_by_user(text: str) -> str:
    """One message of the user, without its label, what the simulator goes on to write, thanks and praise.

    Raises:
        Bad: `acts_as_assistant`, `only_polite`.
    """
    line = NEXT_LABEL.split(OWN_LABEL.sub("", text), maxsplit=1)[0].strip()
    if ASSISTANT.match(line) or is_refusal(line):
        raise Bad("acts_as_assistant")
    line = without_thanks(line).strip('"“” \n')
    if not line:
        raise Bad("only_polite")
    return line


def without_thanks(text: str) -> str:
    """The text without sentences of thanks or praise. A question or request that follows within the same sentence stays."""
    kept = []
    for sentence in sentences(text):
        if POLITE.match(sentence):
            rest = CLAUSE.sub("", sentence, count=1)
            if rest == sentence or not ("?" in rest or REQUEST.match(rest)):
                continue
            sentence = rest[:1].upper() + rest[1:]
        kept.append(sentence)
    return "".join(kept).strip()


async def asked_for(run: Run, generator: Chat, question: str, most: int, sampling: dict[str, Any]) -> list[str]:
    """The items of a list that a model is asked for; none, and a reject, where it writes no list."""

    def read(reply: Reply) -> list[str]:
        return items(reply, most)

    return await attempt(run, lambda: generator.chat(question, **sampling), read) or []


def same_line(row: UltraChatOpening) -> str:
    return " ".join(row.instruction.casefold().split())
