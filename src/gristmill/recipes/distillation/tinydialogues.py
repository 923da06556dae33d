"""TinyDialogues (Feng, Goodman and Frank 2024, appendices A to C): talk with a child, in words of the child's age."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Annotated

from msgspec import Meta, Struct

from gristmill import BadInput, Chat, Document, Run, recipe, recipes
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt

DIALOGUE = Prompt(
    """Write a realistic dialogue of about {turns} turns that is directed at a child of {age} years. The child, called {child}, is the main participant. These take part: {participants}. All of them talk as people do with a child of that age, in the vocabulary that is typical for it.

It is a conversation of the {conversation_type} kind: {definition}.
Use these three words in it: the verb "{verb}", the noun "{noun}", the adjective "{adjective}".

Write each turn on a line of its own, with its speaker between double asterisks, as in "**{child}**: ...". Where several have the same name, add a number or a name of their own. Write nothing before the first turn.
After the last turn write a line "Vocabulary:" and below it some key words of the dialogue, each with how difficult it is."""
)

CHILD = {2: "Toddler", 5: "Child", 10: "Child", 15: "Teenager"}
OTHERS = {
    2: ["Mom", "Dad", "older sibling", "Grandma", "Grandpa", "babysitter"],
    5: ["Mom", "Dad", "older sibling", "younger sibling", "Grandma", "Grandpa", "babysitter", "teacher", "friend"],
    10: [
        "Mom",
        "Dad",
        "older sibling",
        "younger sibling",
        "Grandma",
        "Grandpa",
        "teacher",
        "friend",
        "classmate",
        "coach",
    ],
    15: [
        "Mom",
        "Dad",
        "older sibling",
        "younger sibling",
        "teacher",
        "friend",
        "classmate",
        "girlfriend",
        "boyfriend",
        "coach",
    ],
}
TYPES = {
    "explanatory": "somebody explains how something works or why something is as it is",
    "functional": "somebody wants something done and talk is how it gets done",
    "narrative": "somebody tells what happened, to themselves or to others",
    "argumentative": "they are of different opinions and try to convince each other",
}
TURN = re.compile(r"\*\*\s*([^*:\n]{1,60}?)\s*:?\s*\*\*\s*:?\s*(.*)")
VOCABULARY = re.compile(
    r"^[\W_]*(?:(?:some|key|important|useful|new)\s+)*(?:vocabulary|(?<=key )words?|keywords?|words? to (?:know|learn))\b[^:\n]{0,60}(?::[*_]*|$)",
    re.IGNORECASE | re.MULTILINE,
)
NO_SPEAKERS = {"title", "setting", "scene", "dialogue", "context", "note"}


class AgeWords(Struct):
    """Words that a child of an age knows."""

    verbs: list[str]
    nouns: list[str]
    adjectives: list[str]


class TinyDialogue(Document):
    """`text`: one line, turn after turn with its speaker's label, ends with the end-of-text token."""

    age: int
    """Years of the child that it is directed at."""
    participants: list[str]
    """As the prompt named them, the child first."""
    conversation_type: str
    words: list[str]
    """Verb, noun and adjective that it was to use."""
    turns: int
    """As many as it was asked to have; about."""
    vocabulary: str
    """What the model listed after the dialogue; "" where it did not."""


@recipe("tinydialogues", unique="text")
async def tinydialogues(
    generator: Chat,
    run: Run,
    *,
    ages: list[int] = [2, 5, 10, 15],  # noqa: B006 - read only
    words: dict[int, AgeWords] | None = None,
    turns: list[int] = [5, 10],  # noqa: B006 - read only
    most_participants: Annotated[int, Meta(ge=2, le=7)] = 4,
    separator: str = " \\n\\n ",
    end_of_text: str = "<|endoftext|>",
    temperature: float = 1.0,
    max_tokens_per_dialogue: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[TinyDialogue]:
    """Have dialogues written with a child of 2, 5, 10 or 15 years, each with its people, its kind and three words.

    Everything that makes dialogues differ is drawn anew for each: the child's age, who else takes part, one of four kinds
    of conversation, a verb, a noun and an adjective that a child of that age knows, and the length. The list of
    vocabulary that the model is asked to add makes it think of the age; it is cut off and never becomes text to train on.
    `tinydialogues-curriculum` then puts the rows into the order of age. (Feng, Goodman and Frank 2024, arXiv:2408.03617;
    their generator is GPT-4. Wording of the prompt, kinds of conversation, lists of people and lengths are not
    confirmed. The kinds and the lists of people are fixed; of other ages those of the nearest serve.)

    Args:
        ages: to draw from, each with equal odds.
        words: by age, to draw from; a small shipped vocabulary unless given. The paper takes norms of the words that
            children know.
        turns: lengths to draw from.
        most_participants: with the child; each number from 2 on has equal odds. Not confirmed.
        separator: between two turns of a row's single line. By default the signs backslash and n, twice.
        end_of_text: the token that ends each row.
        temperature: not confirmed.
        max_tokens_per_dialogue: a dialogue that reaches it is cut, and dropped. Not confirmed.

    Rejects: `meta_text` (it begins with no turn; details: line), `unlabelled_line` (details: line; also a label such
        as "Scene"), `no_child` and
        `one_speaker` (details: speakers), `empty`, `truncated`, `duplicate`.
    """
    age = run.draw("age", ages)
    known = (words or shipped())[age]
    count = run.draw("participants", range(2, most_participants + 1))
    others = run.draw("others", OTHERS[nearest(age)], k=count - 1)
    kind = run.draw("conversation_type", list(TYPES))
    drawn = [run.draw("verb", known.verbs), run.draw("noun", known.nouns), run.draw("adjective", known.adjectives)]
    length = run.draw("turns", turns)
    child = CHILD[nearest(age)]
    question = DIALOGUE(
        turns=length,
        age=age,
        child=child,
        participants=", ".join([child, *others]),
        conversation_type=kind,
        definition=TYPES[kind],
        verb=drawn[0],
        noun=drawn[1],
        adjective=drawn[2],
    )
    reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_per_dialogue)
    try:
        dialogue, vocabulary = cut_vocabulary(complete_reply(reply))
        lines = read_turns(dialogue)
        speakers = list(dict.fromkeys(speaker for speaker, _ in lines))
        if not any(names(speaker, child) for speaker in speakers):
            raise Bad("no_child", speakers=speakers)
        if len(speakers) < 2:
            raise Bad("one_speaker", speakers=speakers)
    except Bad as bad:
        run.reject(reply, bad.reason, **bad.details)
        return
    text = separator.join(f"**{speaker}**: {said}" for speaker, said in lines)
    yield TinyDialogue(
        f"{text} {end_of_text}".strip(),
        age=age,
        participants=[child, *others],
        conversation_type=kind,
        words=drawn,
        turns=length,
        vocabulary=vocabulary,
    )


@tinydialogues.check
def every_age_has_its_words(ages: list[int], words: dict[int, AgeWords] | None, turns: list[int]) -> None:
    if not ages or not turns:
        raise BadInput("tinydialogues: `ages` and `turns` must not be empty: they are drawn from")
    known: Mapping[int, AgeWords] = words or shipped()
    for age in ages:
        if age not in known:
            raise BadInput(f"tinydialogues: there are no words for the age {age}: give them with `words`; there are those of "
                           f"{', '.join(map(str, sorted(known)))}")  # fmt: skip
        if not (known[age].verbs and known[age].nouns and known[age].adjectives):
            raise BadInput(f"tinydialogues: the words of the age {age} lack verbs, nouns or adjectives")


@cache
def shipped() -> dict[int, AgeWords]:
    plain = json.loads((recipes.DATA / "tinydialogues_words.json").read_text(encoding="utf-8"))
    return {int(age): AgeWords(**kinds) for age, kinds in plain.items()}


def nearest(age: int) -> int:
    """Of the paper's four ages, for another one's people."""
    return min(CHILD, key=lambda known: abs(known - age))


def names(speaker: str, child: str) -> bool:
    """Is it the child's label: "Child", "Child 2", "Mia (child)", but not "Child's Mom" or "Grandchild"?"""
    return bool(re.search(rf"(?<![\w'’]){child}(?![^\W\d_]|['’])", speaker, re.IGNORECASE))


def cut_vocabulary(text: str) -> tuple[str, str]:
    """The dialogue, and the list that follows it."""
    found = VOCABULARY.search(text)
    return (text[: found.start()].strip(), text[found.end() :].strip()) if found else (text, "")


def read_turns(text: str) -> list[tuple[str, str]]:
    """Speaker and words of each turn; raises Bad for a line that is none."""
    turns: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = TURN.fullmatch(line)
        if not found or not found[2].strip() or found[1].lower() in NO_SPEAKERS:
            raise Bad("unlabelled_line" if turns else "meta_text", line=line[:200])
        turns.append((found[1], " ".join(found[2].split())))
    if not turns:
        raise Bad("empty")
    return turns
