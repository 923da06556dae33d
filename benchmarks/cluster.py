"""A cluster of two workers on this machine, held against what needs no cluster: two bare processes, and one with calls.

python benchmarks/cluster.py [--quick]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

from figures import figure, machine

import gristmill
from gristmill.testing import folder
from gristmill.testing.server import spawn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import recipes_for_cluster as recipes

QUICK = "--quick" in sys.argv
SECONDS = 4 if QUICK else 8
"""That two cores compute, each time."""


def seeds(count: int) -> list[dict[str, str]]:
    return [{"question": f"Question {number}"} for number in range(count)]


def bare(loops: int, count: int, results: multiprocessing.Queue[tuple[float, float]]) -> None:
    """The recipe's own work in a process without gristmill's engine."""
    began = time.time()
    for _ in range(count):
        recipes.worked(loops)
    results.put((began, time.time()))


def two_processes(loops: int, count: int) -> float:
    """Units a second of two processes that share nothing."""
    results: multiprocessing.Queue[tuple[float, float]] = multiprocessing.Queue()
    both = [multiprocessing.Process(target=bare, args=(loops, count // 2, results)) for _ in range(2)]
    for process in both:
        process.start()
    spans = [results.get() for _ in both]
    for process in both:
        process.join()
    return count / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def two_workers(loops: int, count: int) -> float:
    """Units a second of two workers, from the first unit's begin to the last one's end."""
    done = gristmill.run(recipes.busy, seeds=seeds(count), loops=loops, out=folder(), cluster="local:2")
    rows = done.rows
    assert len(rows) == count
    return count / (max(row.ended for row in rows) - min(row.began for row in rows))


def told(what: str, ratios: list[float]) -> None:
    middle = statistics.median(ratios)
    figure(what, f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})", aim="aim 0.9", met=middle >= 0.9)


def computing() -> None:
    once = time.perf_counter()
    recipes.worked(100_000)
    per_loop = (time.perf_counter() - once) / 100_000
    for milliseconds in (50, 10, 2):
        loops = max(1, int(milliseconds / 1000 / per_loop))
        count = int(2 * SECONDS * 1000 / milliseconds)
        ratios = [two_workers(loops, count) / two_processes(loops, count) for _ in range(1 if QUICK else 3)]
        told(f"computing, {milliseconds} ms a unit: two workers / two bare processes", ratios)


async def calls(url: str, count: int, cluster: str | None, concurrency: int) -> tuple[float, float]:
    """Calls a second, from the first answer to the last, and the driver's seconds of CPU a call."""
    out = folder()
    before = time.process_time()
    done = await gristmill.arun(
        recipes.one_call,
        seeds=seeds(count),
        model=f"openai:test@{url}",
        out=out,
        concurrency=concurrency,
        cluster=cluster,
    )
    rows = done.rows
    assert len(rows) == count
    spent = time.process_time() - before
    times = sorted(row.ended for row in rows)
    tenth = count // 10  # the beginning and the end do not count
    return (count - 2 * tenth) / (times[-tenth] - times[tenth]), spent / count


def asking() -> None:
    most = 2000 if QUICK else 6000
    for concurrency in (16, 64, 256):
        count = most // 2 if concurrency == 16 else most
        ratios, costs = [], []
        for _ in range(1 if QUICK else 3):
            with spawn("--latency", "0.05") as url:
                one, cost_of_one = asyncio.run(calls(url, count, None, concurrency))
                other, cost = asyncio.run(calls(url, count, "local:2", concurrency))
            ratios.append(other / one)
            costs.append((cost - cost_of_one) * 1e3)
        told(f"calls of 50 ms, {concurrency} at once: cluster / single process", ratios)
        figure("what a streamed call costs the driver besides, ms of CPU", f"{statistics.median(costs):.2f}")


def leases() -> None:
    count = 4000 if QUICK else 20_000
    before, began = time.process_time(), time.perf_counter()
    rate = two_workers(1, count)
    figure("a unit that does nothing: ms of the driver's CPU", f"{(time.process_time() - before) / count * 1e3:.2f}")
    figure("units a second that do nothing", f"{rate:,.0f}")
    figure("seconds for start and end of Ray and its workers", f"{time.perf_counter() - began - count / rate:.1f}")


def stored() -> None:
    """What the arithmetic of docs/scale.md begins with."""
    count, out = 5000, folder()
    with spawn("--latency", "0") as url:
        gristmill.run(recipes.one_call, seeds=seeds(count), model=f"openai:test@{url}", out=out)
    figure("the journal for a row of one call, kB", f"{(out / 'run.db').stat().st_size / count / 1000:.2f}")
    tables = sum(path.stat().st_size for path in out.rglob("*.parquet"))
    figure("seeds and tables for it, kB", f"{tables / count / 1000:.2f}")


if __name__ == "__main__":
    print(machine())
    stored()
    computing()
    asking()
    leases()
