"""A million rows, and 200,000 calls: memory, and whether the last rows come as fast as the first.

    python benchmarks/million.py [--rows 1000000] [--calls 200000]

The rows: a recipe that asks no model, then a filter, as a chain. The calls: one a row against the loopback server (a
process of its own), then the same run killed when nearly done, and resumed. Each run is a process of its own, which
notes its rows and its memory several times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from figures import figure, machine

import gristmill
from gristmill import Chain, Chat, Completion, Row, Run, recipe
from gristmill.execute import Live
from gristmill.testing.server import spawn

NOTE = 0.25
"""Seconds between two looks at a run."""
Note = tuple[float, int, float, float]
"""Seconds since the process began, units of the last step that were released, MB in memory, seconds of CPU."""
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Sum(Row):
    question: str
    answer: int


@recipe("sums")
async def sums(run: Run) -> AsyncIterator[Sum]:
    """Additions, from nothing."""
    chance = run.rng()
    a, b = chance.randrange(1_000_000), chance.randrange(1_000_000)
    yield Sum(question=f"What is {a} + {b}?", answer=a + b)


@recipe("odd")
async def odd(row: Sum, run: Run) -> AsyncIterator[Sum]:
    """Keeps odd sums, and a tenth of the even ones."""
    if row.answer % 2 == 0 and row.answer % 10:
        run.reject(row, "even")
    else:
        yield row


@recipe("asked")
async def asked(row: Sum, model: Chat) -> AsyncIterator[Completion]:
    """One call a row."""
    reply = await model.chat(row.question, max_tokens=64)
    yield Completion(row.question, reply.text)


def resident() -> float:
    """MB in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


@asynccontextmanager
async def noted(live: Live) -> AsyncIterator[None]:
    """Several times a second on standard output: units of the last step that were released, MB, seconds of CPU."""

    async def note() -> None:
        while True:
            units = live.flow.stages[-1].released
            print(json.dumps([units, resident(), time.process_time()]), flush=True)
            await asyncio.sleep(NOTE)

    task = asyncio.create_task(note())
    try:
        yield
    finally:
        task.cancel()


def child(options: argparse.Namespace) -> None:
    """The run itself; in a process of its own."""
    out = Path(options.out)
    if options.child == "rows":
        done = gristmill.run(Chain([sums, odd]), target=options.rows, out=out, watch=noted)
    elif options.child == "calls":
        seeds = ({"question": f"question {n}", "answer": n} for n in range(options.calls))
        model = f"openai:test@{options.url}"
        done = gristmill.run(asked, seeds=seeds, model=model, out=out, watch=noted)
    else:
        done = gristmill.resume(out, recipe=asked, watch=noted)
    print(json.dumps({"rows": sum(done.counts.values()), "calls": done.spent.calls, "end": resident()}))


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def follow(process: subprocess.Popen[str], until: int | None = None) -> tuple[list[Note], dict]:
    """The notes of a run, by the seconds since its process began, and its result; killed when it has got so far."""
    notes: list[Note] = []
    started = time.monotonic()
    assert process.stdout
    for line in process.stdout:
        found = json.loads(line)
        if isinstance(found, dict):
            assert process.wait() == 0
            return notes, found
        notes.append((time.monotonic() - started, *found))
        if until is not None and notes[-1][1] >= until:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return notes, {}
    raise RuntimeError(f"the run ended with {process.wait()} and no result")


def speeds(notes: list[Note], clock: int) -> tuple[float, float]:
    """Units a second in the first and in the last quarter of a run, but for its first 3 and its last 2 seconds.

    Args:
        clock: where the seconds stand in a note: 0 those of the wall, 3 those of the CPU.
    """
    working = [note for note in notes if note[1] > 0][int(3 / NOTE) : -int(2 / NOTE)]
    quarter = max(2, len(working) // 4)

    def speed(part: list[Note]) -> float:
        return (part[-1][1] - part[0][1]) / (part[-1][clock] - part[0][clock])

    return speed(working[:quarter]), speed(working[-quarter:])


def told(what: str, notes: list[Note]) -> None:
    (first, last), (first_cpu, last_cpu) = speeds(notes, 0), speeds(notes, 3)
    memory = [note[2] for note in notes if note[1] > 0]
    middle = statistics.median(memory[len(memory) // 4 : len(memory) // 2])
    late = statistics.median(memory[-len(memory) // 4 :])
    ratio, peak = last / first, max(memory)
    figure(
        f"{what}: throughput at the end / at the start",
        f"{ratio:.2f} ({last:,.0f} / {first:,.0f} a second, {notes[-1][0]:,.0f} s)",
        aim="at least 0.9",
        met=ratio >= 0.9,
    )
    # Where other work takes part of the machine, this is what is left of the claim.
    figure(f"{what}: the same for each second of CPU", f"{last_cpu / first_cpu:.2f}")
    figure(
        f"{what}: peak memory",
        f"{peak:.0f} MB ({late - middle:+.0f} MB in the second half)",
        aim="under 500 and flat",
        met=peak < 500 and late - middle < 16,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--child", default="")
    parser.add_argument("--out", default="")
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        folder = Path(name)
        notes, found = follow(start("--child", "rows", "--rows", options.rows, "--out", folder / "rows"))
        assert found["rows"] == options.rows
        told(f"{options.rows:,} rows, without a model, behind a filter", notes)
        with spawn("--latency", "0.02") as url:
            run = ("--child", "calls", "--calls", options.calls, "--url", url, "--out", folder / "calls")
            notes, _ = follow(start(*run), until=int(0.9 * options.calls))
            told(f"{options.calls:,} calls", notes)
            again, found = follow(start("--child", "resume", "--out", folder / "calls"))
            assert found["rows"] == options.calls
            begun = next(seconds for seconds, units, *_ in again if units > again[0][1])
            figure(
                f"{options.calls:,} calls, killed at {notes[-1][1]:,}: from the start of the program to the next row",
                f"{begun:.1f} s; {found['calls']:,} calls in the journal at the end",
                aim="under 5 s",
                met=begun < 5,
            )
    print(machine())


if __name__ == "__main__":
    main()
