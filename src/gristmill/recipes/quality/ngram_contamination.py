"""Benchmark contamination by n-grams and substrings (GPT-3, PaLM, Llama 2, GPT-4): rows without items of benchmarks."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.ops.benchmarks import BenchmarkItem
from gristmill.quality import contamination
from gristmill.quality.filters import passed

Way = Literal["ngram", "overlap", "span", "substring"]
REASONS: dict[Way, tuple[str, ...]] = {
    "ngram": ("benchmark_13gram", "benchmark_10gram"),
    "overlap": ("benchmark_overlap",),
    "span": ("benchmark_span",),
    "substring": ("benchmark_substring",),
}


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
        benchmarks: what a student will be evaluated on; of an item question, choices and answer in one text.
        ways: those by which a row goes.
        boilerplate_rows: a run of words that stands in more rows than this is ignored, unless most of an item is there.

    Rejects: `benchmark_13gram`, `benchmark_10gram`, `benchmark_overlap`, `benchmark_span`, `benchmark_substring` (details
        of all: score; behind: benchmark, item, overlap, span).
    """
    named: dict[str, list[str]] = defaultdict(list)
    for item in benchmarks:
        named[item.benchmark].append(item.text)
    reasons = {reason for way in ways for reason in REASONS[way]}
    wanted = [rule for rule in contamination.RULES if rule.reason in reasons]
    for row in await passed(
        run,
        rows,
        contamination.measure,
        wanted,
        beside={"benchmarks": dict(named)},
        boilerplate_rows=boilerplate_rows,
    ):
        yield row
