"""LongForm's structured corpora (Köksal et al. 2023): rows whose question is there already, or follows from a title."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Document, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.benchmarks import BenchmarkItem
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.longform import (
    LongFormRow,
    Split,
    Unit,
    check_document,
    length_wish,
    split_of,
    there_is_a_split,
    there_is_a_unit,
)

ASKED = (Prompt("{asked}"),)
HOW_TO = (
    Prompt("How do I {task}?"),
    Prompt("Explain in detail how to {task}."),
    Prompt("What does somebody have to do who wants to {task}?"),
    Prompt("Write a guide in {steps} steps: how to {task}."),
    Prompt("I want to {task}. Which {steps} steps does it take?"),
)
GRAMMAR = (
    Prompt("Correct the grammar of this text: {question}"),
    Prompt("{question}\n\nWrite this once more without its mistakes."),
)
EMAIL = (
    Prompt('Write an email with the subject "{title}".'),
    Prompt('I need the text of an email. Its subject line is "{title}".'),
)
TEMPLATES_OF = {
    "StackExchange": ASKED,
    "WikiHow": HOW_TO,
    "NIv2": ASKED,
    "BigBench": ASKED,
    "BEA-GEC": GRAMMAR,
    "Enron": EMAIL,
}
STEP = re.compile(r"^[ \t]*(?:step[ \t]+)?\d+[.):](?=\s)", re.MULTILINE | re.IGNORECASE)


class StructuredText(Document):
    """A text of people that answers something: `text` is the answer, the article, the correction, the email."""

    source: Literal["StackExchange", "WikiHow", "NIv2", "BigBench", "BEA-GEC", "Enron"]
    title: str = ""
    """Of a question, an article or an email; the instruction of a task of NIv2 or BigBench."""
    question: str = ""
    """What was asked in full; the input of a task; the text to correct."""


@recipe("longform-structured", unique="output", seeds="longform_texts.jsonl")
async def longform_structured(
    row: StructuredText,
    run: Run,
    *,
    evaluation: Rows[BenchmarkItem] | None = None,
    min_words: Annotated[int, Meta(ge=1)] = 1,
    overlap_words: Annotated[int, Meta(ge=1)] = 13,
    length_share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    length_units: list[Unit] = ["sentences", "words", "paragraphs"],  # noqa: B006
    split: Split = Split(),  # noqa: B008
) -> AsyncIterator[LongFormRow]:
    """Turn texts that come with a question or a title into rows of `longform`, without a model.

    StackExchange: title and question, and the answer. WikiHow: a template around the title, some with the true number
    of steps, and the article. NIv2 and BigBench: instruction and input, and the output; which tasks have long ones is
    for you to choose. BEA-GEC: a text to correct; Enron: an email for a subject. Where there are several templates one
    is drawn. (Köksal et al. 2023, "LongForm", arXiv:2304.08460: 4,380 rows of StackExchange, 2,500 of WikiHow, 3,684 of
    NIv2, 600 of BigBench, 1,203 of BEA-GEC, 372 of Enron. The templates are not confirmed.)

    Args:
        evaluation: texts of evaluation sets. No row's text, title and question may share a run of words with one or
            be one.
        min_words: of a text.
        overlap_words: in a row, that make a text overlap with an evaluation set. Not confirmed.
        length_share: of the instructions, that ask for a length. Not confirmed.
        length_units: that are counted, each with equal odds.
        split: odds of train, validation and test.

    Rejects: `empty_document`, `too_short` (details: words), `in_evaluation` (details: benchmark), `no_question` (title and
        question lack what every template of the source needs), `duplicate`.
    """
    task = re.sub(r"^how to\b\s*", "", row.title.strip(), flags=re.IGNORECASE)
    if task[:1].isupper() and not any(sign.isupper() for sign in task.partition(" ")[0][1:]):  # "DIY" stays
        task = task[0].lower() + task[1:]
    steps = len(STEP.findall(row.text))
    values = {
        "asked": "\n\n".join(filter(None, (row.title.strip(), row.question.strip()))),
        "title": row.title.strip(),
        "question": row.question.strip(),
        "task": task,
        "steps": str(steps) if steps > 1 else "",
    }
    usable = [template for template in TEMPLATES_OF[row.source] if all(values[gap] for gap in template.gaps)]
    try:
        check_document(row.text, min_words, evaluation, overlap_words, asked=values["asked"])
        if not usable:
            raise Bad("no_question")
    except Bad as bad:
        run.reject(row, bad.reason, **bad.details)
        return
    instruction = usable[run.draw("template", range(len(usable)))](**values)
    wish, unit = length_wish(run, row.text, length_share, length_units)
    yield LongFormRow(
        instruction=f"{instruction} {wish}".strip(),
        output=row.text,
        source=row.source,
        style="structured",
        length_unit=unit,
        split=split_of(run, split),
    )


longform_structured.check(there_is_a_unit)
longform_structured.check(there_is_a_split)
