"""GLAN's last step (Li et al. 2024): no row whose question stands in a benchmark."""

from collections.abc import AsyncIterator

from gristmill import Rows, Run, recipe
from gristmill.ops.benchmarks import BenchmarkItem, benchmarks_of
from gristmill.recipes.distillation.glan import GlanInstruction


@recipe("glan-decontaminate")
async def glan_decontaminate(
    row: GlanInstruction, run: Run, *, benchmarks: Rows[BenchmarkItem]
) -> AsyncIterator[GlanInstruction]:
    """Drop rows whose question or input equals an item of the benchmarks that a student will be evaluated on.

    Equal but for capitals, white space and the Unicode form. (Li et al. 2024, arXiv:2402.13064.) As a step behind
    `glan` it works on each row as it comes, and a run's target counts what it leaves.

    Rejects: `in_benchmark` (details: of, benchmark).
    """
    known = benchmarks_of(benchmarks)
    for of in ("instruction", "input"):
        if (found := known.equal(getattr(row, of))) is not None:
            run.reject(row, "in_benchmark", of=of, benchmark=found)
            return
    yield row
