"""STaR on a small transformer: accuracy by round, with kept and rationalized rows, with rationalisation and without.

The transformer (two layers, made here) is shown 400 sums of numbers of two digits, worked out digit by digit, with the
answer as a hint, and 60 of them without: it can work out most sums towards an answer that it sees, and few on its own, as
the large model of the paper. It then teaches itself on 150 others; 100 more are held out. Several seeds, since one says
little.

python benchmarks/star.py [SEEDS]
"""

from __future__ import annotations

import asyncio
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
SHOWN, ALONE, ASKED, HELD_OUT = 400, 60, 150, 100


async def one(seed: int, p_rationalization: float, base: Path, pairs: list[tuple[int, int]]) -> list[StarRound]:
    asked, held_out = pairs[SHOWN : SHOWN + ASKED], pairs[-HELD_OUT:]
    done = await gristmill.arun(
        "star",
        seeds=[real.question(a, b) for a, b in asked],
        inputs={"dev": [real.question(a, b) for a, b in held_out]},
        model={"student": f"transformers:{base},device=cpu"},
        out=folder() / "run",
        seed=seed,
        iterations=ITERATIONS,
        patience=ITERATIONS,
        few_shot=0,
        start_steps=200,
        temperature=0.3,
        max_tokens_per_rationale=80,
        p_rationalization=p_rationalization,
        training={"learning_rate": 2e-3, "batch_size": 32, "warmup_steps": 5},
    )
    return list(done.iterate("star_round"))


async def main() -> None:
    seeds = range(1, 1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    last: dict[float, list[float]] = {1.0: [], 0.0: []}
    solved: dict[float, list[int]] = {1.0: [], 0.0: []}
    for seed in seeds:
        pairs = real.sums(seed, SHOWN + ASKED + HELD_OUT)
        made = tiny.make(folder() / "made", width=64, layers=2, context=160, seed=seed)
        base = folder()
        shown = [real.lesson(*pair, True) for pair in pairs[:SHOWN]] + [real.lesson(*p, False) for p in pairs[:ALONE]]
        course = Course("sft", shown, Training(learning_rate=2e-3, steps=600, batch_size=32))
        await finetune.train(str(made), course, base, lambda *_: None, device="cpu")
        before = await real.accuracy(str(base), pairs[-HELD_OUT:])
        for share in last:
            rounds = await one(seed, share, base, pairs)
            by_round = "; ".join(f"{r.accuracy:.2f} ({r.solved} kept, {r.rationalized} rationalized)" for r in rounds)
            figure(f"seed {seed}, rationalisation {share:.0f}: held out {before:.2f}, then", by_round)
            last[share].append(rounds[-1].accuracy or 0.0)
            solved[share].append(rounds[-1].solved)
    with_, without = mean(last[1.0]), mean(last[0.0])
    figure(
        "star: held-out accuracy at the end, with against without",
        f"{with_:.3f} against {without:.3f}; solved {mean(solved[1.0]):.1f} against {mean(solved[0.0]):.1f} of {ASKED}",
        aim="with above without",
        met=with_ > without,
    )
    print(machine())


if __name__ == "__main__":
    asyncio.run(main())
