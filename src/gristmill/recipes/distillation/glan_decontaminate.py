"""GLAN's last step (Li et al. 2024): no row whose question stands in a benchmark."""

import unicodedata
from collections.abc import AsyncIterator
from functools import lru_cache

from gristmill import Document, Rows, Run, recipe
from gristmill.recipes.distillation.glan import GlanInstruction


class BenchmarkItem(Document):
    """A question or an input of a benchmark, of its test set or its training set."""

    benchmark: str = ""
    """Its name, for the rejects."""


@recipe("glan-decontaminate")
async def glan_decontaminate(
    row: GlanInstruction, run: Run, *, benchmarks: Rows[BenchmarkItem]
) -> AsyncIterator[GlanInstruction]:
    """Drop rows whose question or input equals an item of the benchmarks that a student will be evaluated on.

    Equal but for capitals, white space and the Unicode form. (Li et al. 2024, arXiv:2402.13064.) As a step behind
    `glan` it works on each row as it comes, and a run's target counts what it leaves.

    Rejects: `in_benchmark` (details: of, benchmark).
    """
    items = normalised(benchmarks)
    for of in ("instruction", "input"):
        text = normal(getattr(row, of))
        if text and text in items:
            run.reject(row, "in_benchmark", of=of, benchmark=items[text])
            return
    yield row


@lru_cache(maxsize=1)
def normalised(benchmarks: Rows[BenchmarkItem]) -> dict[str, str]:
    """The items' texts, each with its benchmark. Of one run at a time: they are the same for all its rows."""
    return {normal(item.text): item.benchmark for item in benchmarks}


def normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
