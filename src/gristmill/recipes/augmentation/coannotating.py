"""CoAnnotating (Li et al. 2023): a model labels what it is sure of, people label the rest."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Annotator, BadInput, CallFailed, Chat, Embed, Labelled, Row, Rows, Run, recipe
from gristmill.models.annotation import Labelling
from gristmill.ops.heads import classifier, labels_of, require
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_numbering
from gristmill.ops.vectors import embedded
from gristmill.ops.votes import entropy, majority

ERROR, UNREADABLE = "error", "unreadable"
"""Votes of their own, besides the labels: of a call that failed, of an answer that names no label."""

INSTRUCTION = Prompt("Decide on {task}. The possible labels are {labels}. Answer with the label alone.\n\nText: {text}")
SWAPPED = Prompt("Text: {text}\n\nDecide on {task} in the text above: {labels}. Answer with the label alone.")
PARAPHRASED = Prompt(
    "Read this and say which one of these labels fits it best as to {task}: {labels}. Give one label and nothing else."
    "\n\n{text}"
)
QUESTION = Prompt("{text}\n\nWhat is {task}? Is it {choices}?")
OPTIONS = Prompt("Text: {text}\n\nWhich is {task}?\n{options}\nAnswer with the letter of the right option.")
TRUE = Prompt("Text: {text}\n\nStatement: {task} is {label}.\nIs the statement true or false?")
NOT_TRUE = Prompt("Text: {text}\n\nStatement: {task} is not {label}.\nIs the statement true or false?")
BIASED = Prompt("Text: {text}\n\nI think that {task} is {label}. Do you agree? Answer yes or no.")
NOT_BIASED = Prompt("Text: {text}\n\nI think that {task} is not {label}. Do you agree? Answer yes or no.")
CONFIDENCE = Prompt(
    "Decide on {task}. The possible labels are {labels}. Answer in two lines: the label; and how sure you are, from 0 to "
    "100.\n\nText: {text}"
)

Uncertainty = Literal["variants", "repeated", "confidence", "random"]


class Unlabelled(Row):
    """What is to be labelled."""

    text: str
    text2: str = ""
    """The second, where pairs are labelled."""
    gold: str = ""
    """Its label where it is known: in experiments it stands for what a person says, and is held against the model."""


class CoAnnotated(Labelled, kw_only=True):
    """A text, or a pair, with the label of the model, or of a person."""

    text2: str = ""
    annotator: Literal["llm", "human"]
    by: str
    """The model's name, or the person's."""
    uncertainty: float
    votes: list[str]
    """What the model said, prompt by prompt."""


class CoAnnotatingShare(Row, kw_only=True):
    """What a share for the model costs and is worth. Made where the gold labels are known."""

    share: float
    by_model: int
    cost: float
    """USD for all rows."""
    quality: float
    """Share of the labels that are right."""
    random_quality: float
    """The same where rows are given to the model by chance: its expectation."""
    classifier_quality: float | None = None
    """Of a classifier trained on these labels, on the input `test`; none where no label could be read."""
    efficient: bool = False
    """No other share is as cheap and better, or as good and cheaper."""


class CoAnnotatingBin(Row, kw_only=True):
    """Rows of like uncertainty. Made where the gold labels are known."""

    lowest: float
    highest: float
    rows: int
    alignment: float
    """Share of them on which the model agrees with the gold label."""


@recipe("coannotating", fixed=True, seeds="movie_opinions.jsonl")
async def coannotating(
    rows: Rows[Unlabelled],
    annotator: Chat,
    people: Annotator,
    run: Run,
    *,
    test: Rows[Unlabelled] | None = None,
    embedder: Embed | None = None,
    labels: Annotated[tuple[str, ...], Meta(min_length=2, max_length=26)] = ("positive", "negative"),
    task: str = "the sentiment",
    guidelines: str = "",
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    uncertainty: Uncertainty = "variants",
    repeats: Annotated[int, Meta(ge=1)] = 9,
    human: Literal["people", "gold"] = "people",
    grid: tuple[float, ...] = (0, 0.2, 0.4, 0.6, 0.8, 1.0),
    bins: Annotated[int, Meta(ge=1)] = 5,
    human_price: float = 0.1,
    model_price: float = 0.001,
    temperature: float = 0.0,
    max_tokens_per_vote: Annotated[int, Meta(ge=1)] = 32,
) -> AsyncIterator[CoAnnotated | CoAnnotatingShare | CoAnnotatingBin]:
    """Rows on which a model's answers to nine prompts agree keep its label; people label the others.

    Nine prompts of seven kinds: instruction, text first, paraphrase, true or false, question, multiple choice, and "I
    think it is ..., do you agree?"; true or false and the last also negated, and then read the other way round. The
    entropy of the votes is the uncertainty, their majority the model's label. Rows are sorted by it; the first int(share
    * rows) are the model's. (Li et al. 2023, arXiv:2310.15638, sections 3 and 4; the wording of the prompts is our own.)
    With more than two labels a statement is put for each label, and a prompt's vote is the label that alone was
    affirmed.

    What cannot be read is a vote of its own, as is a call that failed: both raise the entropy, neither is a label. A row
    with no readable vote counts as the most uncertain of all.

    Where all rows have a `gold` label, two tables tell what any share would cost and be worth, and how the model's
    agreement falls with its uncertainty.

    Args:
        test: rows with gold labels, on which a classifier trained on the mixed labels is tried for each share of the
            grid: logistic regression on embeddings, in the place of the paper's RoBERTa.
        embedder: for that classifier.
        labels: the classes.
        task: what is decided, as it stands in a sentence.
        guidelines: shown to people.
        share: of the rows that the model labels.
        uncertainty: variants: entropy over the nine prompts. repeated: entropy over the same prompt, asked again at
            temperature 1. confidence: 1 minus what the model says of its sureness, averaged. random: none, the baseline.
        repeats: of repeated and confidence. Not from the paper.
        human: gold: the `gold` column stands for people, and nobody is asked.
        grid: shares in the table.
        bins: groups of rows of about the same size, by uncertainty. Not from the paper.
        human_price: USD for a label of a person. Not from the paper.
        model_price: USD for a row that the model labels. Not from the paper.
        temperature: of the nine prompts. Not from the paper.
        max_tokens_per_vote: of an answer. Not from the paper.

    Rejects: `no_label` (the model's by its share, but no vote can be read), `skipped` (people could not say).
    """
    check_gold(rows, test, human, labels)
    if test is not None and embedder is None:
        raise BadInput("coannotating: the input `test` needs a model for its classifier: --model embedder=wordllama:")

    async def say(prompt: str, warmth: float = temperature) -> str | None:
        """The model's answer; None where the call failed for good."""
        try:
            return (await annotator.chat(prompt, temperature=warmth, max_tokens=max_tokens_per_vote)).text
        except CallFailed:
            return None

    async def vote(row: Unlabelled) -> Voted:
        asked = Asked(say, shown(row), task, labels)
        if uncertainty == "confidence":
            said = await asked.again(CONFIDENCE, repeats)
            votes = [asked.label(text) for text in said]
            doubt = 1 - sum(map(sureness, said)) / repeats
        elif uncertainty == "repeated":
            votes = [asked.label(text) for text in await asked.again(INSTRUCTION, repeats)]
            doubt = entropy(votes)
        else:
            votes = await run.map(lambda variant: variant(asked), VARIANTS, name="variants")
            doubt = entropy(votes) if uncertainty == "variants" else run.rng("uncertainty").random()
        named = [vote for vote in votes if vote in labels]
        return Voted(row, votes, doubt, majority(named) if named else "")

    found = await run.map(vote, rows, keep_going=True)
    most = max((one.doubt for one in found), default=0.0)
    for one in found:
        if not one.label:
            one.doubt = most
    order = sorted(found, key=lambda one: (one.doubt, not one.label))
    mine = int(share * len(order))

    def labelled(one: Voted, label: str, annotator: Literal["llm", "human"], by: str) -> CoAnnotated:
        row = one.made(label, annotator, by)
        run.link(row, one.row)
        return row

    async def by_person(one: Voted) -> CoAnnotated | None:
        label, by = one.row.gold, "gold"
        if human == "people":
            note = await people.annotate(
                Labelling(text=shown(one.row), options=list(labels), context=task.capitalize(), guidelines=guidelines)
            )
            if note.skipped:
                run.reject(one.row, "skipped")
                return None
            label, by = note.labels[0], note.by
        return labelled(one, label, "human", by)

    async def by_model(one: Voted) -> CoAnnotated | None:
        if not one.label:
            run.reject(one.row, "no_label", votes=one.votes)
            return None
        return labelled(one, one.label, "llm", annotator.model)

    for row in await run.map(by_model, order[:mine]) + await run.map(by_person, order[mine:], keep_going=True):
        if row is not None:
            yield row
    if not order or not all(row.gold for row in rows):
        return
    shares = [priced(one, order, human_price, model_price) for one in sorted(set(grid))]
    if test is not None and embedder is not None:
        vectors = await embedded(run, embedder, [shown(one.row) for one in order], name="rows")
        tried = await embedded(run, embedder, [shown(row) for row in test], name="test")
        for point in shares:
            mixed = [one.label if n < point.by_model else one.row.gold for n, one in enumerate(order)]
            usable = [n for n, label in enumerate(mixed) if label]
            if not usable:  # the model's labels alone, and it gave none
                continue
            head, artefact = await classifier(run, vectors[usable], [mixed[n] for n in usable])
            said = labels_of(head, tried)
            point.classifier_quality = sum(a == row.gold for a, row in zip(said, test, strict=True)) / len(test)
            run.link(point, artefact)
    for point in shares:
        point.efficient = not any(beats(other, point) for other in shares)
        run.link(point, *rows)
        yield point
    edges = [round(number * len(order) / bins) for number in range(bins + 1)]
    for some in (order[start:end] for start, end in pairwise(edges) if start < end):
        right = sum(one.label == one.row.gold for one in some)
        group = CoAnnotatingBin(
            lowest=some[0].doubt, highest=some[-1].doubt, rows=len(some), alignment=right / len(some)
        )
        run.link(group, *(one.row for one in some))
        yield group


@coannotating.check
def labels_can_be_told_apart(labels: tuple[str, ...], grid: tuple[float, ...]) -> None:
    if len({label.casefold() for label in labels}) < len(labels) or not all(label.strip() for label in labels):
        raise BadInput(f"coannotating: the labels must be different words, none empty: {labels}")
    if taken := {ERROR, UNREADABLE} & {label.casefold() for label in labels}:
        raise BadInput(
            f"coannotating: {taken.pop()!r} is what a vote is called that is no label: name the label otherwise"
        )
    if not all(0 <= share <= 1 for share in grid):
        raise BadInput(f"coannotating: shares of the grid lie between 0 and 1: {grid}")


def check_gold(
    rows: Sequence[Unlabelled], test: Sequence[Unlabelled] | None, human: str, labels: Sequence[str]
) -> None:
    if human == "gold" and (without := sum(not row.gold for row in rows)):
        raise BadInput(f"coannotating: human=gold, and {without} rows have no `gold` label")
    for row in [*rows, *(test or [])]:
        if row.gold and row.gold not in labels:
            raise BadInput(f"coannotating: the gold label {row.gold!r} is none of {', '.join(labels)}")
    if test is not None:
        require()
        if not test or not all(row.gold for row in test):
            raise BadInput("coannotating: every row of the input `test` needs a `gold` label")


def shown(row: Unlabelled) -> str:
    return f"{row.text}\n\nSecond text: {row.text2}" if row.text2 else row.text


@dataclass
class Voted:
    """A row and what the model said of it."""

    row: Unlabelled
    votes: list[str]
    doubt: float
    label: str
    """The model's; "" where no vote was one."""

    def made(self, label: str, annotator: Literal["llm", "human"], by: str) -> CoAnnotated:
        return CoAnnotated(
            text=self.row.text,
            text2=self.row.text2,
            label=label,
            annotator=annotator,
            by=by,
            uncertainty=self.doubt,
            votes=self.votes,
        )


@dataclass
class Asked:
    """A text under the prompts."""

    say: Callable[..., Awaitable[str | None]]
    text: str
    task: str
    labels: tuple[str, ...]

    async def ask(self, prompt: Prompt, **values: object) -> str | None:
        return await self.say(prompt(text=self.text, task=self.task, **values))

    async def again(self, prompt: Prompt, times: int) -> list[str | None]:
        asked = prompt(text=self.text, task=self.task, labels=", ".join(self.labels))
        return [await self.say(asked, 1.0) for _ in range(times)]

    def label(self, text: str | None) -> str:
        """The one label that an answer names."""
        if text is None:
            return ERROR
        words = [label for label in self.labels if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE)]
        # "very good" also names "good": what stands inside a longer one that is named was not meant.
        folded = [one.casefold() for one in words]
        meant = [
            word
            for word, one in zip(words, folded, strict=True)
            if not any(one != other and one in other for other in folded)
        ]
        return meant[0] if len(meant) == 1 else UNREADABLE


def plain(prompt: Prompt) -> Callable[[Asked], Awaitable[str]]:
    async def vote(asked: Asked) -> str:
        return asked.label(await asked.ask(prompt, labels=", ".join(asked.labels)))

    return vote


async def question(asked: Asked) -> str:
    *most, last = asked.labels
    return asked.label(await asked.ask(QUESTION, choices=f"{', '.join(most)} or {last}"))


async def multiple_choice(asked: Asked) -> str:
    letters = LETTERS[: len(asked.labels)]
    options = "\n".join(f"{letter}) {label}" for letter, label in zip(letters, asked.labels, strict=True))
    said = await asked.ask(OPTIONS, options=options)
    if said is None:
        return ERROR
    # "A negative one" begins with an article: a letter stands before ) . : or the end of its line.
    named = re.match(
        rf"\W*(?:(?:the )?(?:(?:right|correct|best) )?(?:answer|option|choice|letter)(?: is)?\W*){{0,2}}([{letters}])"
        r"[^\w\s).:]*(?:[).:]|\s*$)",
        said,
        re.IGNORECASE | re.MULTILINE,
    )
    return asked.labels[letters.index(named[1].lower())] if named else UNREADABLE


def statement(prompt: Prompt, affirmed: str) -> Callable[[Asked], Awaitable[str]]:
    """A prompt that puts a label forward. `affirmed`: the word that speaks for the label, "true" or, where it is denied,
    "false"."""
    denied = {"true": "false", "false": "true", "yes": "no", "no": "yes"}[affirmed]

    async def supports(asked: Asked, label: str) -> bool | str:
        said = await asked.ask(prompt, label=label)
        if said is None:
            return ERROR
        found = re.findall(rf"{NEGATED}\b({affirmed}|{denied})\b", said.lower())
        meant = {(word == affirmed) != bool(negation) for negation, word in found}
        return meant.pop() if len(meant) == 1 else UNREADABLE

    async def vote(asked: Asked) -> str:
        if len(asked.labels) == 2:
            first, second = asked.labels
            said = await supports(asked, first)
            return said if isinstance(said, str) else first if said else second
        said_of = {label: await supports(asked, label) for label in asked.labels}
        if ERROR in said_of.values():
            return ERROR
        for_it = [label for label, said in said_of.items() if said is True]
        return for_it[0] if len(for_it) == 1 and UNREADABLE not in said_of.values() else UNREADABLE

    return vote


NEGATED = r"(?:(\bnot|\bnever|n['’]t)(?:\s+\w+)?\s+)?"
"""In front of a word: "not", and one word between at most, as in "isn't quite true"."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VARIANTS = (
    plain(INSTRUCTION),
    plain(SWAPPED),
    plain(PARAPHRASED),
    statement(TRUE, "true"),
    statement(NOT_TRUE, "false"),
    question,
    multiple_choice,
    statement(BIASED, "yes"),
    statement(NOT_BIASED, "no"),
)


def sureness(text: str | None) -> float:
    """How sure an answer says it is, 0 to 1; 0 where it does not say."""
    label, _, rest = (text or "").strip().partition("\n")
    found = re.search(r"(\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*([1-9]\d*)|\s*(%))?", strip_numbering(rest or label))
    if not found:
        return 0.0
    value, of, percent = float(found[1]), found[2], found[3]
    fraction = "." in found[1] and value <= 1 and not percent
    value /= int(of) if of else 1 if fraction else 100
    return value if value <= 1 else 0.0


def priced(share: float, order: Sequence[Voted], human_price: float, model_price: float) -> CoAnnotatingShare:
    """What it costs and is worth to leave the first rows to the model. All rows were asked of it."""
    mine, total = int(share * len(order)), len(order)
    right = [one.label == one.row.gold for one in order]
    return CoAnnotatingShare(
        share=share,
        by_model=mine,
        cost=total * model_price + (total - mine) * human_price,
        quality=(sum(right[:mine]) + total - mine) / total,
        random_quality=(mine * sum(right) / total + total - mine) / total,
    )


def beats(one: CoAnnotatingShare, other: CoAnnotatingShare) -> bool:
    ours, theirs = (
        point.quality if point.classifier_quality is None else point.classifier_quality for point in (one, other)
    )
    return one.cost <= other.cost and ours >= theirs and (one.cost, ours) != (other.cost, theirs)
