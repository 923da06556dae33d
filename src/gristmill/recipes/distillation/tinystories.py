"""TinyStories (Eldan and Li 2023, sections 2 and 3): stories for small children, each around three random words."""

import json
import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated

from msgspec import Meta, Struct, field

from gristmill import BadInput, Chat, Document, Run, recipe, recipes
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import sentences, strip_framing, words

STORY = Prompt(
    """Write a short story of {paragraphs} paragraphs. Use only very simple words, which a child of {target_age} years already understands. Put the noun "{noun}", the adjective "{adjective}" and the verb "{verb}" into the story, each as that kind of word. Reply with the story only.{features}"""
)
FEATURE_LIST = Prompt("\nThe story must also have this:\n{features}")
FEATURES = {
    "dialogue": Prompt("- at least one dialogue: somebody says something and is answered"),
    "plot_twist": Prompt("- a plot twist: something happens that nobody expected"),
    "bad_ending": Prompt("- a bad ending: it ends sadly"),
    "moral_value": Prompt("- a moral: it shows what is good to do"),
    "foreshadowing": Prompt("- foreshadowing: an early hint of what happens later"),
    "conflict": Prompt("- a conflict: two characters want different things"),
}

SUMMARY = Prompt("Sum up this children's story in one or two short lines. Reply with them alone.\n\n{story}")
HEADER = {
    "words": Prompt("Words: {value}"),
    "sentence": Prompt("Sentence: {value}"),
    "features": Prompt("Features: {value}"),
    "summary": Prompt("Summary: {value}"),
}
"""The four kinds of instruction that may stand before a story."""
INSTRUCTED = Prompt("{header}\nStory:\n{story}")

IRREGULAR = """
    be am is are was were been being; beat beaten; become became; begin began begun; bend bent; bind bound;
    bite bit bitten; bleed bled; blow blew blown; break broke broken; bring brought; build built; burn burnt; buy bought;
    catch caught; choose chose chosen; cling clung; come came; creep crept; dig dug; do did done; draw drew drawn;
    dream dreamt; drink drank drunk; drive drove driven; eat ate eaten; fall fell fallen; feed fed; feel felt;
    fight fought; find found; fling flung; fly flew flown; forget forgot forgotten; forgive forgave forgiven;
    freeze froze frozen; get got gotten; give gave given; go went gone; grow grew grown; hang hung; have has had;
    hear heard; hide hid hidden; hold held; keep kept; kneel knelt; know knew known; lay laid; lead led; leap leapt;
    learn learnt; leave left; lend lent; lie lay lain; light lit; lose lost; make made; mean meant; meet met; pay paid;
    ride rode ridden; ring rang rung; rise rose risen; run ran; say said; see saw seen; seek sought; sell sold;
    send sent; sew sewn; shake shook shaken; shine shone; shoot shot; show shown; shrink shrank shrunk; sing sang sung;
    sink sank sunk; sit sat; sleep slept; slide slid; smell smelt; speak spoke spoken; spell spelt; spend spent;
    spill spilt; spin spun; spit spat; spring sprang sprung; stand stood; steal stole stolen; stick stuck; sting stung;
    strike struck; sweep swept; swim swam swum; swing swung; take took taken; teach taught; tear tore torn; tell told;
    think thought; throw threw thrown; understand understood; wake woke woken; wear wore worn; weave wove woven;
    weep wept; win won; wind wound; write wrote written; child children; foot feet; goose geese; man men; mouse mice;
    person people; tooth teeth; bad worse worst; far farther farthest; good better best; little less least
"""


class Words(Struct):
    """What a story was asked to be made of."""

    verb: str
    noun: str
    adjective: str


class TinyStory(Document):
    """A story (`text`), the words and the features that it was asked for."""

    words: Words
    features: list[str]


class TinyStoryInstruct(Document):
    """`text`: a header of instructions, "Story:", and the story that follows them. What the header lacks is empty."""

    story: str
    words: list[str] = field(default_factory=list)
    sentence: str = ""
    """One sentence of the story, exactly."""
    features: list[str] = field(default_factory=list)
    summary: str = ""


def same_story(row: TinyStory | TinyStoryInstruct) -> str:
    return row.text if isinstance(row, TinyStory) else f"Story:\n{row.story}"


@recipe("tinystories", unique=same_story)
async def tinystories(
    generator: Chat,
    run: Run,
    *,
    verbs: list[str] | None = None,
    nouns: list[str] | None = None,
    adjectives: list[str] | None = None,
    max_features: Annotated[int, Meta(ge=0, le=len(FEATURES))] = 3,
    paragraphs: str = "3 to 5",
    target_age: str = "3 to 4",
    temperature: float = 0.7,
    max_tokens_story: Annotated[int, Meta(ge=1)] = 512,
    instruct: bool = False,
    max_tokens_summary: Annotated[int, Meta(ge=1)] = 100,
) -> AsyncIterator[TinyStory | TinyStoryInstruct]:
    """Have stories told in a small child's words, each around a verb, a noun, an adjective and features drawn by chance.

    The words drawn, and not the temperature, make the stories differ. The paper trusts its generators (GPT-3.5 and
    GPT-4) to use them; we look, with inflected forms counted, and drop a story that lacks one: the next draw takes
    other words. Of a very small model's stories that is most. (Eldan and Li 2023, arXiv:2305.07759, sections 2, 3.)

    Not here: GPT-Eval, the grading of a trained student's continuations. It makes no training data.

    Args:
        verbs: to draw from; those of a shipped vocabulary unless given. The paper's has about 1,500 words in all.
        nouns: likewise.
        adjectives: likewise.
        max_features: of a story; 0 to so many, each number with equal odds. The paper says a random subset and no more.
        paragraphs: of a story, as the prompt says it.
        target_age: years of the child that should understand each word, as the prompt says it.
        temperature: of the stories. Not confirmed. Summaries are asked for at 0.
        max_tokens_story: a story that reaches it is cut, and dropped. Not confirmed.
        instruct: make the rows of TinyStories-Instruct, too: each story after a header of 1 to 4 kinds of instruction.
            How the paper draws the kinds is not confirmed; nor who wrote the summaries, here the generator does.
        max_tokens_summary: of a summary. Not confirmed.

    Rejects: `empty` and `truncated` stories and summaries (details: of), `missing_words` (details: missing),
        `duplicate`. A story stays when its summary fails.
    """
    drawn = Words(
        verb=run.draw("verb", verbs or shipped()["verbs"]),
        noun=run.draw("noun", nouns or shipped()["nouns"]),
        adjective=run.draw("adjective", adjectives or shipped()["adjectives"]),
    )
    count = run.draw("feature_count", range(max_features + 1))
    features = run.draw("features", list(FEATURES), k=count)
    listed = FEATURE_LIST(features="\n".join(FEATURES[name]() for name in features)) if features else ""
    question = STORY(
        paragraphs=paragraphs,
        target_age=target_age,
        verb=drawn.verb,
        noun=drawn.noun,
        adjective=drawn.adjective,
        features=listed,
    )
    reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_story)
    try:
        story = strip_framing(complete_reply(reply))
        if not story:
            raise Bad("empty")
        kinds = {"verb": drawn.verb, "noun": drawn.noun, "adjective": drawn.adjective}
        if missing := [word for kind, word in kinds.items() if not holds(story, word, kind)]:
            raise Bad("missing_words", missing=missing)
    except Bad as bad:
        run.reject(reply, bad.reason, of="story", **bad.details)
        return
    row = TinyStory(story, drawn, features)
    if instruct and (other := await instructed(row, generator, run, max_tokens_summary)):
        yield other  # before the story, with which a run may reach its target
    yield row


@tinystories.check
def there_are_words(verbs: list[str] | None, nouns: list[str] | None, adjectives: list[str] | None) -> None:
    for kind, given in {"verbs": verbs, "nouns": nouns, "adjectives": adjectives}.items():
        if given is not None and not all(words(word) for word in given or [""]):
            raise BadInput(f"tinystories: `{kind}` must hold words; it is {given!r}")


@cache
def shipped() -> dict[str, list[str]]:
    """Words that small children know: verbs, nouns, adjectives."""
    text = (recipes.DATA / "tinystories_vocabulary.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


async def instructed(row: TinyStory, generator: Chat, run: Run, max_tokens: int) -> TinyStoryInstruct | None:
    """The story after a header of a random subset of the four kinds of instruction, in random order."""
    known = [kind for kind in HEADER if kind != "features" or row.features]
    kinds = run.draw("header", known, k=run.draw("header_size", range(1, len(known) + 1)))
    other = TinyStoryInstruct("", row.text)
    if "words" in kinds:
        other.words = [row.words.verb, row.words.noun, row.words.adjective]
    if "sentence" in kinds:
        other.sentence = run.draw(
            "sentence", [line.strip() for part in sentences(row.text) for line in part.splitlines() if words(line)]
        )
    if "features" in kinds:
        other.features = row.features
    if "summary" in kinds:
        reply = await generator.chat(SUMMARY(story=row.text), temperature=0.0, max_tokens=max_tokens)
        try:
            other.summary = " ".join(strip_framing(complete_reply(reply)).split())
            if not other.summary:
                raise Bad("empty")
        except Bad as bad:
            run.reject(reply, bad.reason, of="summary")
            return None
    value = {
        "words": ", ".join(other.words),
        "sentence": other.sentence,
        "features": ", ".join(name.replace("_", " ") for name in other.features),
        "summary": other.summary,
    }
    header = "\n".join(HEADER[kind](value=value[kind]) for kind in kinds)
    other.text = INSTRUCTED(header=header, story=row.text)
    return other


def holds(story: str, word: str, kind: str) -> bool:
    """Does the word stand in the story, in one of its forms?"""
    text = f" {' '.join(words(story))} "
    return any(f" {' '.join(words(form))} " in text for form in forms(word.lower(), kind))


def forms(word: str, kind: str) -> set[str]:
    """A word with its inflected forms; rather one too many ("cuted") than one too few."""
    soft = re.sub("y$", "i", word)
    known = {word} | irregular().get(word, set())
    if kind != "adjective":
        known |= {f"{word}s", re.sub("(s|x|z|ch|sh|o|i)$", r"\1es", soft)}
        known |= {re.sub("fe?$", "ves", word), re.sub("man$", "men", word)}
    starts = {word + word[-1]}
    if not re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", word):  # "hopping", but never "hoping", is of "hop"
        starts |= {word, word.removesuffix("e"), soft, re.sub("ie$", "y", word)}
    endings = {"noun": (), "verb": ("ed", "ing"), "adjective": ("er", "est")}[kind]
    return known | {start + ending for start in starts for ending in endings}


@cache
def irregular() -> dict[str, set[str]]:
    return {line.split()[0]: set(line.split()) for line in IRREGULAR.split(";")}
