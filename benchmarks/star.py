"""STaR on a small transformer: accuracy by round, with kept and rationalized rows, with rationalisation and without.

The transformer (two layers, made here) is trained on 75 of the 100 sums of two digits, with and without the answer as a
hint; the 25 others are held out. Several seeds, since one says little.

python benchmarks/star.py [SEEDS]
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from statistics import mean

from figures import figure, machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import gristmill
import test_star_real as real
import tiny
from gristmill import Training
from gristmill.models import finetune
from gristmill.models.training import Course
from gristmill.recipes.self_improvement.star import StarRound
from gristmill.testing import folder

ITERATIONS = 3


async def one(seed: int, p_rationalization: float, base: Path, pairs: list[tuple[int, int]]) -> list[StarRound]:
    held_out, known = pairs[:25], pairs[25:]
    done = await gristmill.arun(
        "star",
        seeds=[real.question(a, b) for a, b in known],
        inputs={"dev": [real.question(a, b) for a, b in held_out]},
        model={"student": f"transformers:{base},device=cpu"},
        out=folder() / "run",
        seed=seed,
        iterations=ITERATIONS,
        patience=ITERATIONS,
        few_shot=0,
        start_steps=150,
        temperature=0.3,
        max_tokens_per_rationale=100,
        p_rationalization=p_rationalization,
        training={"learning_rate": 2e-3, "batch_size": 32, "warmup_steps": 5},
    )
    return list(done.iterate("star_round"))


async def main() -> None:
    seeds = range(1, 1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    last: dict[float, list[float]] = {1.0: [], 0.0: []}
    solved: dict[float, list[int]] = {1.0: [], 0.0: []}
    for seed in seeds:
        pairs = [(a, b) for a in range(10) for b in range(10)]
        random.Random(seed).shuffle(pairs)
        made = tiny.make(folder() / "made", width=64, layers=2, context=160, seed=seed)
        base = folder()
        shown = [real.lesson(a, b, hinted) for a, b in pairs[25:] for hinted in (False, True)]
        course = Course("sft", shown, Training(learning_rate=2e-3, steps=200, batch_size=32))
        await finetune.train(str(made), course, base, lambda *_: None, device="cpu")
        before = await real.accuracy(str(base), pairs[:25])
        for share in last:
            rounds = await one(seed, share, base, pairs)
            by_round = "; ".join(f"{r.accuracy:.2f} ({r.solved} kept, {r.rationalized} rationalized)" for r in rounds)
            figure(f"seed {seed}, rationalisation {share:.0f}: held out {before:.2f}, then", by_round)
            last[share].append(rounds[-1].accuracy)
            solved[share].append(rounds[-1].solved)
    with_, without = mean(last[1.0]), mean(last[0.0])
    figure(
        "star: held-out accuracy at the end, with against without",
        f"{with_:.3f} against {without:.3f}; solved {mean(solved[1.0]):.1f} against {mean(solved[0.0]):.1f} of 75",
        aim="with above without",
        met=with_ > without,
    )
    print(machine())


if __name__ == "__main__":
    asyncio.run(main())
