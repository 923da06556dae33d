"""LongForm (Köksal et al. 2023): a text of people is the answer, and a model says what could have been asked.

`longform-select` chooses the documents before, `longform-structured` makes rows of corpora that hold the question.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from gristmill import BadInput, Complete, Document, Instruction, Rows, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, benchmarks_of
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import sentences, words

STYLES = {
    "instruction": Prompt(
        """Instruction: X
Output: {document}

Somebody gave an instruction, and the output above is what came of it. How may the instruction have read?
X:"""
    ),
    "chatbot": Prompt(
        """You are a chatbot, and somebody sent you a casual message. Here is what you replied.
Message: X
Reply: {document}

How may that person's message, in everyday words, have read?
X:"""
    ),
    "search": Prompt(
        """You are a search engine, and somebody typed a detailed query. The document below is the best that you found for it.
Query: X
Document: {document}

How may the detailed query have read?
X:"""
    ),
}
"""Ways to ask for what led to a document: as an instruction, as a chat message, as a query."""

STOP = {"instruction": "\nOutput:", "chatbot": "\nReply:", "search": "\nDocument:"}
LENGTH = Prompt("Respond in {amount}.")
CUE = re.compile(r"^\s*X:", re.MULTILINE)

Unit = Literal["sentences", "words", "paragraphs"]


class LongDocument(Document):
    """A text that people wrote, such as a paragraph of C4 or a passage of Wikipedia."""

    source: str = ""


class Split(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the rows, in relation to one another."""

    train: Annotated[float, Meta(ge=0)] = 23_652
    validation: Annotated[float, Meta(ge=0)] = 2_042
    test: Annotated[float, Meta(ge=0)] = 2_045


class LongFormRow(Instruction, kw_only=True):
    """What could have been asked, and a text of people as the answer (`output`)."""

    source: str
    style: str
    """How it was asked for what led to the text; "structured" where no model was asked."""
    length_unit: str = ""
    """What the instruction counts where it asks for a length."""
    split: str


@recipe("longform", unique="output", seeds="documents.jsonl")
async def longform(
    row: LongDocument,
    generator: Complete,
    run: Run,
    *,
    evaluation: Rows[BenchmarkItem] | None = None,
    min_words: Annotated[int, Meta(ge=1)] = 20,
    overlap_words: Annotated[int, Meta(ge=1)] = 13,
    copied_words: Annotated[int, Meta(ge=1)] = 8,
    length_share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    length_units: list[Unit] = ["sentences", "words", "paragraphs"],  # noqa: B006
    split: Split = Split(),  # noqa: B008
    temperature: float = 1.0,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 256,
) -> AsyncIterator[LongFormRow]:
    """Ask a model which instruction a text of people could be the answer to: instruction and text make a row.

    The answer is the document, unchanged to the last byte; what a model writes is only what is asked. Each document is
    shown in one of three ways, drawn by chance: as the output of an instruction, as a chatbot's reply to a casual
    message, as the best hit for a detailed query. Some instructions end with a wish for the length, counted from the
    document. (Köksal et al. 2023, "LongForm", arXiv:2304.08460; model: text-davinci-003, zero-shot; 15,000 of 27,739
    rows are made so.)

    Documents go in as they are; `longform-select` chooses various ones. The splits are drawn with the paper's sizes as
    odds. What begins like its document is taken for a copy. A chat model can play the generator with "as=complete".

    Args:
        evaluation: texts of evaluation sets. No document may share a run of words with one or be one.
        min_words: of a document. Not confirmed.
        overlap_words: in a row, that make a document overlap with an evaluation set. Not confirmed.
        copied_words: an instruction that begins with as many words of the document's start, or is all of its start, is
            a copy. Not confirmed.
        length_share: of the instructions, that ask for a length. Not confirmed, nor is how they say it.
        length_units: that are counted, each with equal odds.
        split: odds of train, validation and test.
        temperature: of the calls. Not confirmed.
        max_tokens_per_call: of an instruction. Not confirmed.

    Rejects: documents `empty_document`, `too_short` (details: words), `in_evaluation` (details: benchmark), `duplicate`;
        instructions `empty`, `truncated`, `copies_document` (details: style).
    """
    try:
        check_document(row.text, min_words, evaluation, overlap_words)
    except Bad as bad:
        run.reject(row, bad.reason, **bad.details)
        return
    style = run.draw("style", list(STYLES))
    reply = await generator.complete(
        STYLES[style](document=row.text),
        temperature=temperature,
        max_tokens=max_tokens_per_call,
        stop=[STOP[style]],
    )
    try:
        instruction = CUE.split(complete_reply(reply))[-1].strip()  # a chat model says the cue once more
        if not instruction:
            raise Bad("empty")
        if begins_alike(instruction, row.text, copied_words):
            raise Bad("copies_document")
    except Bad as bad:
        run.reject(reply, bad.reason, style=style)
        return
    wish, unit = length_wish(run, row.text, length_share, length_units)
    yield LongFormRow(
        instruction=f"{instruction} {wish}".strip(),
        output=row.text,
        source=row.source,
        style=style,
        length_unit=unit,
        split=split_of(run, split),
    )


@longform.check
def there_is_a_unit(length_share: float, length_units: list[Unit]) -> None:
    if length_share and not length_units:
        raise BadInput("longform: length_units is empty; name units, or set length_share to 0")


@longform.check
def there_is_a_split(split: Split) -> None:
    if not any(asdict(split).values()):
        raise BadInput("longform: a split needs odds above 0")


def check_document(
    text: str, min_words: int, evaluation: Rows[BenchmarkItem] | None, overlap_words: int, asked: str = ""
) -> None:
    """Raise Bad for a document that is no answer to anything, or that stands in an evaluation set, as what was asked may."""
    if not text.strip():
        raise Bad("empty_document")
    if (count := len(words(text))) < min_words:
        raise Bad("too_short", words=count)
    if evaluation is not None:
        tests = benchmarks_of(evaluation)
        for part in (text, asked):  # an item of fewer words is found where it is the whole
            for found in (tests.sharing(part, overlap_words), tests.equal(part)):
                if found is not None:
                    raise Bad("in_evaluation", benchmark=found)


def begins_alike(instruction: str, document: str, count: int) -> bool:
    first = words(instruction)[:count]
    return bool(first) and words(document)[: len(first)] == first


def length_wish(run: Run, text: str, share: float, units: list[Unit]) -> tuple[str, str]:
    """A wish for the length that the text has, and its unit; "" and "" where none is drawn."""
    if not run.draw("length", [True, False], weights=[share, 1 - share]):
        return "", ""
    unit = run.draw("length_unit", units)
    count = count_of(text, unit)
    return LENGTH(amount=f"{count} {unit.removesuffix('s') if count == 1 else unit}"), unit


def count_of(text: str, unit: Unit) -> int:
    match unit:
        case "sentences":
            return sum(bool(words(sentence)) for sentence in sentences(text))
        case "words":
            return len(words(text))
        case "paragraphs":
            return sum(bool(paragraph.strip()) for paragraph in re.split(r"\n\s*\n", text))


def split_of(run: Run, split: Split) -> str:
    return run.draw("split", list(asdict(split)), weights=list(asdict(split).values()))
