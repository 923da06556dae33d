"""How near the adaptive limits come to the best fixed concurrency, which they are not told, and how they stand an outage.

    python benchmarks/limits.py [--seconds 40] [--kinds rate,queue,degrade,...] [--start 64]

For each kind of server: fixed concurrencies from 1 to 512, then none given. Servers are processes of their own, a fresh
one for each run; several runs are under way at a time, with capacities so low that two cores do not limit them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections.abc import Sequence

from figures import figure, machine

from gristmill.engine.budget import Budget, Halt
from gristmill.engine.endpoint import Endpoint
from gristmill.models.openai import OpenAI
from gristmill.models.protocol import Question
from gristmill.testing.server import spawn, start_outage

FIXED = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
HEAVY = ["--reply", f"{__file__}:heavy"]
KINDS = {
    # A token bucket: 429 beyond, with a Retry-After.
    "rate": ["--rate", "150", "--burst", "15", "--latency", "0.1", "--retry-after", "0.05"],
    # Slots and a queue without end: slower and slower, never a 429.
    "queue": ["--slots", "16", "--latency", "0.1"],
    # Throughput is best at 16 calls at once, and falls beyond.
    "degrade": ["--knee", "16", "--latency", "0.05"],
    # Variants, by --kinds.
    "rate-bare": ["--rate", "100", "--burst", "5", "--latency", "0.01", "--retry-after", "none"],
    "rate-1s": ["--rate", "60", "--burst", "20", "--latency", "0.5", "--retry-after", "1"],
    "rate-headers": ["--rate", "150", "--burst", "15", "--latency", "0.1", "--retry-after", "1", "--limit-headers"],
    "rate-heavy": ["--rate", "100", "--burst", "10", "--latency", "0.02", "--per-token", "0.002", *HEAVY],
    "queue-fast": ["--slots", "4", "--latency", "0.01"],
    "queue-wide": ["--slots", "200", "--latency", "1.0"],
    "queue-heavy": ["--slots", "32", "--per-token", "0.002", *HEAVY],
    "degrade-wide": ["--knee", "100", "--latency", "0.3"],
    "degrade-heavy": ["--knee", "32", "--per-token", "0.001", *HEAVY],
}
OUTAGE = 6.0
"""Seconds."""


def heavy(body: dict, sample: int) -> str:
    """Replies of 10 to 1,000 words, 100 in the mean, by a heavy-tailed law."""
    chance = random.Random(str(body))
    return " ".join(["word"] * min(1000, max(10, int(chance.lognormvariate(math.log(100) - 0.72, 1.2)))))


class Load:
    """As many calls as the endpoint lets run, and a quarter more that wait, as the engine has it."""

    def __init__(self, url: str, fixed: int | None, start: int) -> None:
        self.backend = OpenAI("test", url=url)
        self.halt = Halt()
        self.endpoint = Endpoint(url, start, self.halt, fixed=fixed, changed=self._more)
        self.times: list[float] = []
        """When each call was answered, in seconds since the start."""
        self.limits: list[tuple[float, int]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._asked = 0

    async def run(self, seconds: float) -> Load:
        await self.backend.start()
        self._started = time.monotonic()
        self._more()
        await asyncio.sleep(seconds)
        for worker in self._workers:
            worker.cancel()
        for end in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
        await self.backend.close()
        return self

    def rate(self, start: float, end: float) -> float:
        """Answers a second."""
        return sum(start <= moment < end for moment in self.times) / (end - start)

    @property
    def now(self) -> float:
        return time.monotonic() - self._started

    def _more(self) -> None:
        limit = self.endpoint.limit
        self.limits.append((self.now, limit))
        while len(self._workers) < limit + limit // 4 + 2:
            self._workers.append(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        budget = Budget()
        while True:
            self._asked += 1
            question = Question("complete", prompt=f"question {self._asked}", sampling={"max_tokens": 2000})
            await self.endpoint.call(self.backend, question, 1, 100, budget)
            self.times.append(self.now)


async def once(options: Sequence[str], seconds: float, *, fixed: int | None = None, start: int = 64) -> Load:
    with spawn(*options) as url:
        return await Load(url, fixed, start).run(seconds)


async def sweep(options: Sequence[str], seconds: float) -> dict[int, float]:
    """Answers a second at each fixed concurrency; the first third is warming up."""
    found: dict[int, float] = {}
    for group in (FIXED[::2], FIXED[1::2]):
        runs = await asyncio.gather(*(once(options, seconds, fixed=fixed) for fixed in group))
        found |= {fixed: run.rate(seconds / 3, seconds) for fixed, run in zip(group, runs, strict=True)}
    return dict(sorted(found.items()))


async def outage(options: Sequence[str], *, cut: bool) -> tuple[Load, float]:
    """15 seconds of work, an outage, 20 more: (the load, when it began)."""
    with spawn(*options) as url:
        load = Load(url, None, 64)
        running = asyncio.create_task(load.run(15 + OUTAGE + 20))
        await asyncio.sleep(15)
        began = load.now
        await asyncio.to_thread(start_outage, url, OUTAGE, cut=cut)
        return await running, began


async def measure(kinds: Sequence[str], seconds: float, start: int) -> None:
    fixed = {kind: await sweep(KINDS[kind], 4.5) for kind in kinds}
    for batch in (kinds[i : i + 3] for i in range(0, len(kinds), 3)):
        runs = await asyncio.gather(*(once(KINDS[kind], seconds, start=start) for kind in batch))
        for kind, run in zip(batch, runs, strict=True):
            best = max(fixed[kind], key=fixed[kind].__getitem__)
            steady, whole = run.rate(seconds / 2, seconds), run.rate(0, seconds)
            ratio = steady / fixed[kind][best]
            figure(
                f"limits, server `{kind}`: steady throughput / that of the best fixed concurrency",
                f"{ratio:.2f} ({steady:.0f} / {fixed[kind][best]:.0f} a second, best at {best}, ends at "
                f"{run.endpoint.limit}{', ' + run.endpoint.note if run.endpoint.note else ''}; of the whole "
                f"{seconds:.0f} s {whole / fixed[kind][best]:.2f})",
                aim="at least 0.9",
                met=ratio >= 0.9,
            )
    print("\nfixed concurrency, answers/s")
    for kind, found in fixed.items():
        print(f"{kind:14}", "  ".join(f"{at}: {rate:.0f}" for at, rate in found.items()))
    outages = await asyncio.gather(*(outage(KINDS["queue"], cut=cut) for cut in (False, True)))
    for name, (load, began) in zip(("503", "cut"), outages, strict=True):
        before, end = load.rate(began - 5, began), began + OUTAGE
        after = load.rate(end + 10, end + 20)
        steps = (step / 4 for step in range(80))
        again = next((step for step in steps if load.rate(end + step, end + step + 1) >= 0.9 * before), math.inf)
        figure(
            f"limits, outage of {OUTAGE:g} s ({name}): throughput 10 to 20 s after it / before",
            f"{after / before:.2f} ({after:.0f} / {before:.0f} a second; 90 % again after {again:.1f} s)",
            aim="at least 0.9",
            met=after / before >= 0.9,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--start", type=int, default=64, help="the backend's hint")
    parser.add_argument("--kinds", default="rate,queue,degrade", help=f"of {', '.join(KINDS)}")
    options = parser.parse_args()
    started = time.monotonic()
    asyncio.run(measure(options.kinds.split(","), options.seconds, options.start))
    print(f"{machine()}; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
