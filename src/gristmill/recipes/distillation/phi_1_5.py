"""phi-1.5 (Li et al. 2023, section 2): textbook-like text on topics of common sense, with web text as inspiration.

`phi-1-5-mix` mixes it with other texts for training.
"""

from collections.abc import AsyncIterator, Sequence
from functools import cache, lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import BadInput, Chat, Document, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks, benchmarks_of, normal
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import is_refusal, strip_framing

Form = Literal["textbook", "lesson", "exercise", "dialogue"]

FORMS: dict[Form, Prompt] = {
    "textbook": Prompt(
        "a section of a textbook: it introduces its subject, explains the why as well as the what, and makes every idea clear by an example"
    ),
    "lesson": Prompt(
        "a lesson as a good teacher holds it: from a question out of everyday life, step by step, to an understanding that one can put into words"
    ),
    "exercise": Prompt(
        "an exercise for students with its solution: a situation, what is asked about it, and then the full line of thought that leads to the answer"
    ),
    "dialogue": Prompt(
        "a dialogue of people in their daily life, in which one comes to understand something; it shows what each of them knows, wants and believes"
    ),
}
"""What is written."""

PASSAGE = Prompt(
    """Write {form}.

The topic: {topic}

It is meant for readers who are to learn how the world works and how people think. Be clear, correct and complete in yourself; reason in words that anybody follows.

So that no two such texts are alike, here is a piece of text from the web. Let it inspire you, by a place, a person, an object or a mood in it. Do not write about it, do not mention it, and take over none of its sentences.
---
{web_sample}
---

Write the text alone."""
)


class SyntheticText(Document, kw_only=True):
    """A text to pre-train on."""

    topic: str
    form: Form
    web_sample_id: str
    """The text that inspired it."""


def wording(row: SyntheticText) -> str:
    return normal(row.text)


@recipe("phi-1-5", unique=wording)
async def phi_1_5(
    generator: Chat,
    run: Run,
    *,
    web: Rows[Document] | None = None,
    benchmarks: Rows[BenchmarkItem] | None = None,
    topics: Annotated[list[Annotated[str, Meta(pattern=r"\S")]], Meta(min_length=1)] | None = None,
    forms: Annotated[tuple[Form, ...], Meta(min_length=1)] = ("textbook", "lesson", "exercise", "dialogue"),
    web_sample_words: Annotated[int, Meta(ge=1)] = 300,
    copied_words: Annotated[int, Meta(ge=2)] = 13,
    benchmark_words: Annotated[int, Meta(ge=2)] = 13,
    temperature: float = 1.0,
    max_tokens_text: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[SyntheticText]:
    """Have textbook-like text written on common sense and knowledge of the world, topic by topic.

    Two things make the texts differ: the topic, of which each has its turn before any comes again, and a sample of
    web text, drawn by chance, that only inspires; a text that copies from it is dropped. (Li et al. 2023, "Textbooks Are
    All You Need II: phi-1.5", arXiv:2309.05463, section 2.2. Paper: 20 thousand topics, 20 billion tokens.) `phi-1-5-mix` puts the
    texts together with others; near-duplicates are dropped by the step `near-duplicates` behind this one.

    The report publishes neither topics nor prompts and does not name the generator.

    Args:
        web: texts that inspire; empty ones are passed over. 12 short ones ship, enough to see it work.
        benchmarks: items of tests that no text may share words with.
        topics: to write about, each once before any twice. 60 ship.
        forms: of text, drawn with equal odds. Others than "textbook" are not confirmed.
        web_sample_words: of a web text that a prompt shows, from a place drawn by chance. Not confirmed.
        copied_words: in a row, that a text may not share with its web sample. Not confirmed.
        benchmark_words: in a row, that a text may not share with an item of a benchmark, as in `phi-1`.
        temperature: of the texts. Not confirmed.
        max_tokens_text: a text that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `empty`, `truncated`, `refusal`, `copies_sample`, `in_benchmark` (details: benchmark), `duplicate`.
    """
    topic = run.turn("topic", list(dict.fromkeys(topics or shipped_topics())))
    form = run.draw("form", forms)
    samples = with_text(web) if web is not None else shipped_samples()
    if not samples:
        raise BadInput("phi-1-5: no row of web holds any text; leave it out for the documents that ship")
    source = run.draw("web_sample", samples)
    words = source.text.split()
    start = run.draw("web_sample_start", range(max(1, len(words) - web_sample_words + 1)))
    sample = " ".join(words[start : start + web_sample_words])
    question = PASSAGE(form=FORMS[form](), topic=topic, web_sample=sample)
    reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_text)
    try:
        text = strip_framing(complete_reply(reply))
        if not text:
            raise Bad("empty")
        if is_refusal(text):
            raise Bad("refusal")
        if Benchmarks([BenchmarkItem(text=sample)]).sharing(text, copied_words) is not None:
            raise Bad("copies_sample")
        if benchmarks and (found := benchmarks_of(benchmarks).sharing(text, benchmark_words)) is not None:
            raise Bad("in_benchmark", benchmark=found)
    except Bad as bad:
        run.reject(reply, bad.reason, **bad.details)
        return
    row = SyntheticText(text=text, topic=topic, form=form, web_sample_id=source.id)
    run.link(row, source)
    yield row


@cache
def shipped_topics() -> list[str]:
    return (home.DATA / "common_sense_topics.txt").read_text(encoding="utf-8").splitlines()


@lru_cache(maxsize=1)
def with_text(web: Rows[Document]) -> Sequence[Document]:
    return [document for document in web if document.text.strip()]


@cache
def shipped_samples() -> Sequence[Document]:
    """The shipped documents, in the place of web text."""
    found = home.shipped("documents.jsonl", Document)
    for number, document in enumerate(found):
        document.id = f"documents-{number}"
    return found
