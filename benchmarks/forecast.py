"""How often the truth falls inside the ranges of `plan`: a forecast from 20 units, then the run itself.

    python benchmarks/forecast.py [--repeats 24]

Replies of skewed length, rows by chance, a chain with a judge. The model is scripted: what is tested is the statistics,
and that the run is the one that was forecast. For the time it is the loopback server, at a fixed concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from figures import figure, machine

import gristmill
from gristmill import Chain, Chat, Completion, Recipe, Row, Run, recipe
from gristmill.models.protocol import Price, Question
from gristmill.testing import Scripted, text_of
from gristmill.testing.server import spawn


class Ask(Row):
    question: str


@recipe("answer")
async def answer(row: Ask, model: Chat, run: Run, *, pass_rate: float = 0.6) -> AsyncIterator[Completion]:
    """One call, and a row by chance."""
    reply = await model.chat(f"{row.question} {run.draw('word', [str(n) for n in range(10_000)])}", max_tokens=1000)
    if run.rng().random() < pass_rate:
        yield Completion(row.question, reply.text)
    else:
        run.reject(reply, "by chance")


@recipe("several")
async def several(row: Ask, model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Calls until chance ends them, a row each."""
    while run.rng().random() < 0.7:
        reply = await model.chat(row.question, max_tokens=1000)
        yield Completion(row.question, reply.text)


@recipe("judged")
async def judged(row: Completion, judge: Chat, run: Run) -> AsyncIterator[Completion]:
    """A call for each row, which a third pass."""
    await judge.chat(row.completion, max_tokens=10)
    if run.rng().random() < 1 / 3:
        yield row
    else:
        run.reject(row, "by chance")


def skewed(spread: float, seed: int) -> Scripted:
    """Says a log-normal number of words, the same to the same prompt."""

    def said(question: Question) -> str:
        chance = random.Random(zlib.crc32(f"{seed} {text_of(question)}".encode()))
        return "word " * (1 + int(math.exp(chance.gauss(3.5, spread))))

    return Scripted(said, price=Price(1.0, 4.0))


CASES: list[tuple[str, list[Recipe], float, int | None]] = [
    ("6 in 10 pass", [answer], 0.5, None),
    ("heavy-tailed lengths, to a target", [answer], 1.0, 250),
    ("0 to 20 rows a unit", [several], 0.7, None),
    ("judged chain, to a target", [answer, judged], 0.7, 100),
]


async def hits(
    steps: list[Recipe], spread: float, target: int | None, folder: Path, repeats: int
) -> tuple[Counter, float]:
    """How often each quantity's truth lay in its range, and how wide the range of the cost was against the truth."""
    found: Counter[str] = Counter()
    width = 0.0
    for repeat in range(repeats):
        model, out = skewed(spread, repeat), folder / f"{repeat}"
        chance = random.Random(repeat)
        seeds = [{"question": f"{chance.random()} question {number}"} for number in range(400)]
        chain = Chain(steps)
        plan = await gristmill.aplan(
            chain, seeds=seeds, model=model, target=target, seed=repeat, out=out, concurrency=8
        )
        done = await gristmill.aresume(out, recipe=chain, model=model)
        assert len(model.questions) == done.spent.calls, "a call was paid twice"
        found["cost"] += done.spent.cost in plan.cost
        found["tokens"] += done.spent.output_tokens in plan.output_tokens
        found["calls"] += done.spent.calls in plan.calls
        found["rows"] += sum(done.counts.values()) in plan.rows
        width += (min(plan.cost.high, 10 * done.spent.cost) - plan.cost.low) / done.spent.cost / repeats
        shutil.rmtree(out)
    return found, width


async def times(folder: Path, repeats: int) -> int:
    inside = 0
    with spawn("--latency", "0.05", "--jitter", "0.1") as url:
        for repeat in range(repeats):
            out = folder / f"time-{repeat}"
            model = f"openai:test@{url},price=1/4"
            seeds = [{"question": f"{repeat} question {number}"} for number in range(300)]
            plan = await gristmill.aplan(several, seeds=seeds, model=model, concurrency=16, seed=repeat, out=out)
            started = time.monotonic()
            await gristmill.aresume(out, recipe=several)
            inside += time.monotonic() - started in plan.seconds
    return inside


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        for what, steps, spread, target in CASES:
            found, width = asyncio.run(hits(steps, spread, target, Path(name), options.repeats))
            for quantity in ("cost", "tokens", "calls", "rows"):
                share = found[quantity] / options.repeats
                wide = f", range {width:.2f} of the truth wide" if quantity == "cost" else ""
                figure(
                    f"plan: {what}: {quantity} in range",
                    f"{share:.0%} of {options.repeats}{wide}",
                    aim="80 % or more",
                    met=share >= 0.8,
                )
        inside = asyncio.run(times(Path(name), options.repeats // 4))
        figure("plan: time in range, 16 calls at once", f"{inside} of {options.repeats // 4}")
    print(machine())


if __name__ == "__main__":
    main()
