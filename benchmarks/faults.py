"""Nothing lost, nothing paid twice: a run killed 20 times, a faulty endpoint, and three ways to get stale rows.

    python benchmarks/faults.py [--kills 20]

The loopback server counts what it answered; the program runs in processes of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from figures import figure, machine

import gristmill
from gristmill import Chat, Completion, Row, recipe
from gristmill.testing.server import counts, spawn

HERE = Path(__file__)
CONCURRENCY = 16


class Ask(Row):
    question: str


@recipe("two-step")
async def two_step(
    row: Ask, model: Chat, *, system: str = "Answer.", temperature: float = 0.5
) -> AsyncIterator[Completion]:
    """Two calls a row, the second on the first's answer."""
    first = await model.chat(f"{system} {row.question}", temperature=temperature, max_tokens=64)
    second = await model.chat(f"Improve: {first.text}", max_tokens=64)
    yield Completion(row.question, second.text)


def seeds(folder: Path, count: int, *, cursed: int = 0) -> Path:
    path = folder / f"seeds-{count}-{cursed}.jsonl"
    lines = [{"question": f"{'cursed ' if cursed and n % cursed == 0 else ''}question {n}"} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gristmill.cli", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    return json.loads(out)


def data(folder: Path) -> bytes:
    [table] = (folder / "data").glob("*.parquet")
    return table.read_bytes()


def killed(folder: Path, kills: int) -> str:
    chance = random.Random(20)
    run = ["run", f"{HERE}:two_step", "--seeds", seeds(folder, 1500), "--concurrency", CONCURRENCY]
    with spawn("--latency", "0.02", "--jitter", "0.04") as url:
        run += ["--model", f"openai:test@{url}"]
        finish(start(*run, "--out", folder / "calm"), 0)
        calm = counts(url, reset=True)
        process = start(*run, "--out", folder / "killed")
        done = 0
        while done < kills:
            before = counts(url)["requests"]
            while process.poll() is None and counts(url)["requests"] <= before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.15))
            assert process.poll() is None, "the run ended before it was killed often enough"
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += 1
            process = start("resume", folder / "killed")
        finish(process, 0)
        stormy = counts(url)
    again = stormy["successes"] - calm["successes"]
    assert data(folder / "killed") == data(folder / "calm"), "other rows"
    assert again <= done * CONCURRENCY, "calls were repeated that were not in flight"
    return (
        f"same rows byte for byte; {calm['successes']:,} calls, {again} asked again, all in flight when killed "
        f"(at most {done * CONCURRENCY})"
    )


def faulty(folder: Path) -> str:
    run = ["run", f"{HERE}:two_step", "--seeds", seeds(folder, 1000)]
    with spawn("--rate-limited", "0.1", "--server-error", "0.05") as url:
        facts = finish(start(*run, "--model", f"openai:test@{url}", "--out", folder / "faulty"), 0)
        seen = counts(url)
    assert facts["rows"] == {"completion": 1000}
    assert seen["repeated"] == 0
    return f"1000 of 1000 rows; {seen['requests'] - seen['successes']} faults, 0 paid twice"


def refused(folder: Path) -> str:
    run = ["run", f"{HERE}:two_step", "--seeds", seeds(folder, 1000, cursed=50)]
    with spawn("--refuse", "cursed") as url:
        facts = finish(start(*run, "--model", f"openai:test@{url}", "--out", folder / "refused"), 3)
    assert (facts["rows"], facts["failures"]) == ({"completion": 980}, 20)
    return "980 of 1000 rows, and exactly those 20 are failures"


async def stale(folder: Path) -> list[tuple[str, str]]:
    rows = [{"question": f"question {n}"} for n in range(100)]
    changed = [{"question": "another question"}, *rows[1:]]
    told = []
    with spawn() as url:
        model = f"openai:test@{url}"
        await gristmill.arun(two_step, seeds=rows, model=model, out=folder / "base")
        for name, options, paid in [
            ("changed system prompt", {"settings": {"system": "Answer briefly."}}, 200),
            ("changed input data (1 row of 100)", {"seeds": changed}, 2),
            ("changed parameter of the first call", {"settings": {"temperature": 0.1}}, 200),
            ("nothing changed", {}, 0),
        ]:
            counts(url, reset=True)
            out = folder / f"stale-{len(told)}"
            again = await gristmill.arerun(folder / "base", out=out, recipe=two_step, **options)
            fresh = await gristmill.arun(
                two_step,
                seeds=options.get("seeds", rows),
                model=model,
                out=folder / f"fresh-{len(told)}",
                **options.get("settings", {}),
            )
            assert [(r.prompt, r.completion) for r in again.rows] == [(r.prompt, r.completion) for r in fresh.rows]
            assert again.calls <= paid
            told.append((name, f"0 stale rows, {again.calls} of 200 calls paid"))
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        folder = Path(name)
        # Each of these asserts what it says: a figure that is printed is one that was met.
        figure(f"killed with -9 {options.kills} times", killed(folder, options.kills), aim="nothing lost", met=True)
        figure("1 call in 10 answered 429, 1 in 20 500", faulty(folder), aim="all rows", met=True)
        figure("1 row in 50 always refused with 400", refused(folder), aim="one bad row costs one row", met=True)
        for name, said in asyncio.run(stale(folder)):
            figure(f"rerun, {name}", said, aim="nothing stale", met=True)
    print(machine())


if __name__ == "__main__":
    main()
