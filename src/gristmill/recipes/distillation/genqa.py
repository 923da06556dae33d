"""GenQA (Chen et al. 2024, sections 3 and 4): questions and answers from a handful of prompts, which lists and random numbers
keep apart."""

import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any, Literal

from msgspec import Meta

from gristmill import BadInput, Chat, Conversation, Run, Turn, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import listed, sections
from gristmill.ops.text import STOP_WORDS, sentences, strip_numbering, words

Kind = Literal["static", "static-conditional", "generator-conditional", "generator-nested", "generator-uniform"]
Split = Literal["academic", "mmlu", "multiple_choice", "writing", "task", "code", "math", "dialog", "general"]

STATE = Prompt('on a line of its own that begins with "Subtopic:"')
ABOUT = Prompt(
    "It must be something that only an expert in this subtopic can deal with, but it must not ask about the subtopic "
    "itself."
)
KINDS = {
    "static": Prompt("Write {task}. Choose a random subject for it. {form}\n\n{booster}"),
    "static-conditional": Prompt(
        'Write {task}. It belongs to the field of {topic}, but the name "{topic}" must not be in the question. {form}\n\n'
        "{booster}"
    ),
    "generator-conditional": Prompt(
        "First write a numbered list of {subtopics} subtopics of {topic}. Then write down number {subtopic_number} of your "
        "list {state}. Then write {task}. {about} Do not name the subtopic in the question. {form}\n\n{booster}"
    ),
    "generator-nested": Prompt(
        "First write a numbered list of {topics} topics that you know much about. Write down number {topic_number} of it. "
        "Then write a numbered list of {subtopics} subtopics of that topic, and write down number {subtopic_number} of "
        "that list {state}. Then write {task}. {about} Use no word of the subtopic's name in the question. {form}\n\n"
        "{booster}"
    ),
    "generator-uniform": Prompt(
        "First write a numbered list of {topics} topics that you know much about. Then choose one of them, each with the "
        "same odds, and write it down. Then write a numbered list of {subtopics} subtopics of that topic, choose one of "
        "them, each with the same odds, and write it down {state}. Then write {task}. {about} Use no word of the "
        "subtopic's name in the question. {form}\n\n{booster}"
    ),
}
"""Without an index in the prompt, of the last kind, a model cannot put something it likes into the drawn place."""

TASKS = {
    "academic": Prompt("a long and complex question, and a long answer to it that explains all that it takes"),
    "mmlu": Prompt(
        "an exam question of university level with four options, A to D, of which one is right, and an answer that gives "
        "the letter and the reason"
    ),
    "multiple_choice": Prompt(
        "a question with several options to choose from, and an answer that says which is right and why the others are not"
    ),
    "writing": Prompt("a detailed request to write a text of some kind, and, as its answer, the whole text"),
    "task": Prompt(
        "an instruction to do something with a text (to sort, shorten, correct, extract, rewrite it, ...) together with "
        "that text, and, as its answer, the result"
    ),
    "code": Prompt("a demanding question about programming, and a long answer to it that has code and explains it"),
    "math": Prompt("a mathematics problem of several steps, and an answer that solves it step by step"),
    "dialog": Prompt(
        "a conversation of {dialog_rounds} rounds between a user who asks complex questions and an assistant who answers "
        "at length, in which each question follows from what was said before"
    ),
}
FORM = Prompt('Begin the question with "Question:" and the answer with "Answer:".')
DIALOG_FORM = Prompt(
    'Begin each message of the user with "Question:" and each message of the assistant with "Answer:".'
)
GENERAL = Prompt(
    'An AI assistant gave the answer below. Write what it was asked: a question or a request to which this is a good and complete answer. Begin it with "Question:" and write nothing else.\n\n{answer}'
)
BOOSTERS = (
    Prompt("Be creative."),
    Prompt("Be different."),
    Prompt("Be smart."),
    Prompt("Be weird."),
    Prompt("Do not ask the first thing that you think of."),
    Prompt("Be creative, and do not ask the first thing that you think of."),
)
NUMBERED = ("generator-conditional", "generator-nested")
DEFAULT_SPLITS: tuple[Split, ...] = (
    "academic", "mmlu", "multiple_choice", "writing", "task", "code", "math", "dialog",
)  # fmt: skip
QUESTION = re.compile(r"^[*_#>` \t]*question[*_]{0,3}(?::|[ \t]*$)", re.IGNORECASE | re.MULTILINE)
"""Where a question begins: the same marks as `sections` finds."""
STATED = re.compile(r"^\W*(?:chosen |selected )?subtopic(?: (\d+))?\W*?[:–—-]\W*(.+)$", re.IGNORECASE | re.MULTILINE)

Odds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class GenQA(Conversation, kw_only=True):
    """A question and its answer; more turns in the split `dialog`. What the model listed on its way is not kept."""

    prompt: str
    """As it was asked, its gaps filled."""
    template: str
    """The kind of meta-prompt; "general" in that split."""
    category: str
    """The split."""
    subtopic: str = ""
    """What the question comes from and does not name; of static-conditional the topic."""


def beginning(row: GenQA) -> str:
    """The first two sentences of the question: of rows that are equal here, one is kept."""
    return "".join(sentences(row.messages[0].content)[:2]).strip()


@recipe("genqa", unique=beginning)
async def genqa(
    generator: Chat,
    run: Run,
    unprompted: Chat | None = None,
    *,
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1)] = ("generator-conditional", "generator-nested"),
    splits: dict[Split, Odds] | None = None,
    topics: list[str] | None = None,
    topics_per_list: Count = 60,
    subtopics_nested: Count = 60,
    subtopics_conditional: Count = 40,
    dialog_rounds: str = "3 to 5",
    temperature: float = 1.0,
    max_tokens_reply: Count = 3072,
) -> AsyncIterator[GenQA]:
    """Have a model write questions with answers from a few prompts that chance makes different each time.

    A model that is told to ask something random asks the same few things. So most kinds of prompt have it list topics
    first and take one by a number drawn anew for every call; a "booster" such as "Be weird." ends the prompt.

    - static: a question about anything.
    - static-conditional: about a topic drawn from a list, without naming it.
    - generator-conditional: list the subtopics of such a topic, take number N, ask what only its experts know.
    - generator-nested: list topics, take number N1, list its subtopics, take number N2, ask.
    - generator-uniform: the same, but the model chooses by itself after each list and sees no number.

    Only question and answer are kept, read from the end of the reply. Of questions with equal first two sentences one
    stays. (Chen et al. 2024, arXiv:2406.10323, sections 3 and 4; paper's model: Gemini 1.0 Pro.) The split says what is
    asked for; `general` works the other way round: a second model is sent an empty prompt, and the generator writes the
    question to what it answered (of 2 million calls in the paper 304,000 questions were unique). A very small model does
    not keep to the lists: `--kinds static-conditional` asks least of it.

    Args:
        unprompted: answers the empty prompt, for the split `general` (paper: GPT-3.5). Some endpoints refuse it.
        kinds: drawn for each call with equal odds.
        splits: relative odds of each split, as {"math": 2, "code": 1}; to raise those of small splits balances the set
            anew. All but `general` alike unless given. The meta-prompts of all splits but academic are not confirmed.
        topics: for the conditional kinds; thirty of ours unless given.
        topics_per_list: that the model lists first.
        subtopics_nested: that it lists of the topic, of the kinds nested and uniform.
        subtopics_conditional: the same of generator-conditional.
        dialog_rounds: questions with an answer of a `dialog`, as the prompt says it. Not confirmed.
        temperature: not confirmed.
        max_tokens_reply: tokens of a reply, lists included. Not confirmed.

    Rejects: `empty`, `truncated`, `missing_section` (without "Question:" or "Answer:"; details: section),
        `empty_section`, `one_round` (of a dialog), `no_subtopic` (the model neither states one nor lists it),
        `names_subtopic` (of a dialog its first question; details: subtopic, words: of a nested or uniform kind any word
        but such as "the", else the whole name), `duplicate`.
    """
    odds = splits or dict.fromkeys(DEFAULT_SPLITS, 1.0)
    if odds.get("general") and unprompted is None:
        raise BadInput('genqa: the split "general" needs a model to be sent an empty prompt: --model unprompted=...')
    split = run.draw("split", list(odds), weights=list(odds.values()))
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_reply}
    if split == "general" and unprompted is not None:
        reply = await unprompted.chat("", **sampling)
        try:
            answer = complete_reply(reply)
            prompt = GENERAL(answer=answer)
            reply = await generator.chat(prompt, **sampling)
            [question] = sections(complete_reply(reply), "Question:", last=True)
        except Bad as bad:
            run.reject(reply, bad.reason, template=split, category=split, **bad.details)
            return
        turns = [Turn("user", question), Turn("assistant", answer)]
        yield GenQA(messages=turns, prompt=prompt, template=split, category=split)
        return

    kind = run.draw("kind", kinds)
    conditional = kind.endswith("conditional")
    topic = run.draw("topic", topics or shipped_topics()) if conditional else ""
    subtopics = subtopics_conditional if conditional else subtopics_nested
    topic_number = run.draw("topic_number", range(1, topics_per_list + 1)) if kind == "generator-nested" else 0
    number = run.draw("subtopic_number", range(1, subtopics + 1)) if kind in NUMBERED else 0
    prompt = KINDS[kind](
        task=TASKS[split](dialog_rounds=dialog_rounds),
        form=DIALOG_FORM() if split == "dialog" else FORM(),
        booster=run.draw("booster", BOOSTERS)(),
        state=STATE(),
        about=ABOUT(),
        topic=topic,
        topics=topics_per_list,
        topic_number=topic_number,
        subtopics=subtopics,
        subtopic_number=number,
    )
    reply = await generator.chat(prompt, **sampling)
    try:
        said = read_rounds(complete_reply(reply), dialog=split == "dialog")
        subtopic = topic if conditional else ""
        if kind.startswith("generator"):
            subtopic = chosen_subtopic(reply.text, subtopics, number, dialog=split == "dialog")
        if named := names(said[0], subtopic, whole=conditional):
            raise Bad("names_subtopic", subtopic=subtopic, words=named)
    except Bad as bad:
        run.reject(reply, bad.reason, template=kind, category=split, **bad.details)
        return
    turns = [Turn(("user", "assistant")[place % 2], text) for place, text in enumerate(said)]
    yield GenQA(messages=turns, prompt=prompt, template=kind, category=split, subtopic=subtopic)


@genqa.check
def there_is_something_to_draw(splits: dict[Split, float] | None, topics: list[str] | None) -> None:
    if splits is not None and not sum(splits.values()) > 0:
        raise BadInput("genqa: the odds of all splits are 0; leave splits out for all but `general` alike")
    if topics is not None and not all(topic.strip() for topic in topics or [""]):
        raise BadInput("genqa: topics is empty, or one of them is; leave it out for the thirty of ours")


def read_rounds(text: str, *, dialog: bool) -> list[str]:
    """Question and answer, from the last question on; of a dialog all of them in turn. Raises Bad where a mark is missing."""
    if not dialog:
        return sections(text, "Question:", "Answer:", last=True)
    rounds = len(QUESTION.findall(text))
    found = sections(text, *["Question:", "Answer:"] * max(1, rounds))
    if rounds == 1:
        raise Bad("one_round")
    return found


def chosen_subtopic(text: str, count: int, number: int, *, dialog: bool = False) -> str:
    """What the model took: as it states it before the question; else, of a list of `count`, the one with the number.

    Args:
        number: as the prompt said it; 0 where the model was to choose.
        dialog: it stands before the first question, as answers have lists of their own; else before the last, as
            drafts may have stood before.

    Raises:
        Bad: `no_subtopic`.
    """
    before = text[: [match.start() for match in QUESTION.finditer(text)][0 if dialog else -1]]
    stated = STATED.findall(before)
    if len(stated) > 1:  # "Subtopic 1: ..." with another number than was asked for is an item of a list written so
        stated = [(at, name) for at, name in stated if not at or int(at) == number]
    if stated:
        found = strip_numbering(stated[-1][1]).strip('*_`"“”. \t')
    else:
        items = listed(before)[-count:]
        found = items[number - 1] if number and len(items) == count else ""
    if not found:
        raise Bad("no_subtopic")
    return found


def names(question: str, subtopic: str, *, whole: bool) -> list[str]:
    """The words of the subtopic that the question has: any that says something, or (`whole`) all of them in a row."""
    asked, named = words(question), words(subtopic)
    if whole:
        runs = (asked[at : at + len(named)] for at in range(len(asked) - len(named) + 1))
        return named if named and named in runs else []
    return [word for word in dict.fromkeys(named) if word not in STOP_WORDS and word in asked]


@cache
def shipped_topics() -> list[str]:
    return [topic["name"] for topic in home.shipped("ultrachat_topics.jsonl", dict)]
