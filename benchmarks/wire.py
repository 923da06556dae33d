"""How near the engine comes to a bare aiohttp loop, and what a replay costs. Ratios within one run.

    python benchmarks/wire.py [--rows 4000] [--concurrency 256] [--latency 0.05] [--repeats 5]

One chat call a row against the loopback server (a process of its own), every reply durable before the recipe sees it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from figures import figure, machine

import gristmill
from gristmill import Chat, Completion, Row, recipe
from gristmill.testing.server import counts, spawn


class Question(Row):
    question: str


@recipe("wire")
async def wire(row: Question, model: Chat) -> AsyncIterator[Completion]:
    """One call a row."""
    reply = await model.chat(row.question, temperature=0.7, max_tokens=64)
    yield Completion(row.question, reply.text)


def questions(count: int) -> list[dict[str, str]]:
    return [{"question": f"Question {n}: what would you ask if you could ask one thing only?"} for n in range(count)]


async def bare(url: str, rows: list[dict[str, str]], concurrency: int) -> tuple[float, float]:
    """The same calls in a plain loop: (seconds, CPU seconds)."""
    left = iter(rows)

    async def worker(session: aiohttp.ClientSession) -> None:
        for row in left:
            body = {
                "model": "test",
                "messages": [{"role": "user", "content": row["question"]}],
                "temperature": 0.7,
                "max_tokens": 64,
            }
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                assert json.loads(await answer.read())["choices"][0]["message"]["content"]

    started, cpu = time.perf_counter(), time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
    return time.perf_counter() - started, time.process_time() - cpu


async def engine(url: str, rows: list[dict[str, str]], concurrency: int, out: Path) -> tuple[float, float, float]:
    """(seconds, CPU seconds, seconds of a replay), folders and Parquet included."""
    started, cpu = time.perf_counter(), time.process_time()
    done = await gristmill.arun(wire, seeds=rows, model=f"openai:test@{url}", concurrency=concurrency, out=out)
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    assert len(done.rows) == len(rows)
    assert not done.failed
    started = time.perf_counter()
    again = await gristmill.arerun(out, out=out.with_name(out.name + "-replay"), recipe=wire, offline=True)
    replay = time.perf_counter() - started
    assert again.rows == done.rows
    assert again.calls == 0
    return seconds, used, replay


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = questions(options.rows)
    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
    ratios, costs, replays = [], [], []
    try:
        with spawn("--latency", str(options.latency)) as url:
            asyncio.run(bare(url, rows[:500], options.concurrency))  # warm up
            for repeat in range(options.repeats):
                plain, plain_cpu = asyncio.run(bare(url, rows, options.concurrency))
                counts(url, reset=True)
                ours, ours_cpu, replay = asyncio.run(engine(url, rows, options.concurrency, folder / str(repeat)))
                assert counts(url)["repeated"] == 0
                ratios.append(plain / ours)
                costs.append(ours_cpu / len(rows) * 1e3)
                replays.append(len(rows) / replay)
                print(
                    f"bare {len(rows) / plain:,.0f} rows/s ({plain_cpu / len(rows) * 1e3:.3f} ms CPU a call), "
                    f"engine {len(rows) / ours:,.0f} rows/s ({costs[-1]:.3f} ms), ratio {ratios[-1]:.2f}, "
                    f"replay {replays[-1]:,.0f} rows/s"
                )
    finally:
        shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = f"{options.rows:,} rows, {options.concurrency} at once, {options.latency * 1e3:.0f} ms"
    ratio, cost, replayed = map(statistics.median, (ratios, costs, replays))
    figure(
        f"rows/s, engine / bare aiohttp loop ({each})",
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        aim="at least 0.8",
        met=ratio >= 0.8,
    )
    figure("CPU a call, all threads", f"{cost:.3f} ms", aim="under 0.5", met=cost < 0.5)
    figure("peak memory of it", f"{peak:.0f} MB", aim="under 200", met=peak < 200)
    figure(
        "replay from the journal",
        f"{replayed:,.0f} rows/s ({min(replays):,.0f} to {max(replays):,.0f})",
        aim="at least 10,000",
        met=replayed >= 10_000,
    )
    print(machine())


if __name__ == "__main__":
    main()
