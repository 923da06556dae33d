"""Benchmark contamination by n-grams and substrings (GPT-3, PaLM, Llama 2, GPT-4): rows without items of benchmarks."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Document, Row, Rows, Run, recipe
from gristmill.quality import contamination
from gristmill.quality.filters import passed

Way = Literal["ngram", "overlap", "span", "substring"]


class BenchmarkItem(Document):
    """An item: question, choices and answer in one text."""

    benchmark: str = ""
    """Its name, for the rejects."""


@recipe("ngram-contamination")
async def ngram_contamination(
    rows: Rows[Row],
    run: Run,
    *,
    benchmarks: Rows[BenchmarkItem],
    ways: tuple[Way, ...] = ("ngram", "overlap", "span", "substring"),
    boilerplate_rows: Annotated[int, Meta(ge=1)] = 10,
) -> AsyncIterator[Row]:
    """Rows of any kind, without those that hold an item of a benchmark word for word.

    Four ways to look, as published: a run of 13 or 10 words (GPT-3, DeepSeekMath), 70 % of an item's 8-grams (PaLM), runs
    of more than 10 words with up to 4 others among them (Llama 2), 50 characters drawn from the item (GPT-4). Capitals,
    punctuation and spaces do not count. A paraphrase, a translation or other numbers pass all of these: run
    `llm-decontaminator` too. All text of a row is looked at, hidden reasoning too.

    Args:
        benchmarks: what a student will be evaluated on.
        ways: those by which a row goes.
        boilerplate_rows: a run of words that stands in more rows than this is ignored, unless most of an item is there.

    Rejects: `benchmark_13gram`, `benchmark_10gram`, `benchmark_overlap`, `benchmark_span`, `benchmark_substring` (details
        of all: score; behind: benchmark, item, overlap, span).
    """
    named: dict[str, list[str]] = defaultdict(list)
    for item in benchmarks:
        named[item.benchmark].append(item.text)
    wanted = [rule for rule in contamination.RULES if any(way in rule.reason for way in spelled(ways))]
    for row in await passed(
        run,
        rows,
        contamination.measure,
        wanted,
        beside={"benchmarks": dict(named)},
        boilerplate_rows=boilerplate_rows,
    ):
        yield row


def spelled(ways: tuple[Way, ...]) -> list[str]:
    return ["gram" if way == "ngram" else way for way in ways]
