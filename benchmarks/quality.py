"""The quality lab's speed: MinHash deduplication beside datasketch, ROUGE-L novelty beside the table of its definition.

python benchmarks/quality.py [documents]
"""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from figures import figure, machine

from gristmill.ops.novelty import Novelty
from gristmill.ops.text import words
from gristmill.quality.duplicates import groups
from gristmill.quality.shingles import normalised

DOCUMENTS = 200_000
POOL = 10_000
WORDS = 40
"""In a document."""
INSTRUCTION = 16
"""Words in an instruction: Self-Instruct's mean is 15.9."""


def documents(count: int, length: int, seed: int = 0) -> list[str]:
    """Texts with a long tail of words; one in ten is a near-copy of the one before, with its last words changed."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(30_000)]
    odds = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = rng.choice(len(vocabulary), (count, length), p=odds / odds.sum())
    found = [" ".join(vocabulary[word] for word in row) + "." for row in drawn]
    for at in range(1, count, 10):
        found[at] = " ".join([*found[at - 1].split()[:-3], f"new{at}"])
    return found


def ours(texts: list[str]) -> int:
    """Exact and near copies, candidates verified: all of `groups`."""
    return sum(len(group.dropped) for group in groups(texts, bands=14, hashes_per_band=8, threshold=0.7))


def datasketch(texts: list[str]) -> int:
    """The same shingles, hashes and bands, without verification: what shares a band with a text that was kept goes."""
    from datasketch import MinHash, MinHashLSH

    index, dropped = MinHashLSH(num_perm=112, params=(14, 8)), 0
    split = (normalised(text).split() for text in texts)
    shingles = ([" ".join(text[at : at + 5]).encode() for at in range(len(text) - 4)] for text in split)
    for at, sketch in enumerate(MinHash.generator(shingles, num_perm=112)):
        if index.query(sketch):
            dropped += 1
        else:
            index.insert(at, sketch)
    return dropped


def by_the_table(one: list[str], other: list[str]) -> float:
    """ROUGE-L F1 by the table of longest common subsequences, as rouge-score fills it."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, word in enumerate(one, start=1):
        for j, its in enumerate(other, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if word == its else max(table[i - 1][j], table[i][j - 1])
    return 2 * table[-1][-1] / (len(one) + len(other))


def rouge() -> tuple[str, Callable[[str, list[str]], Iterator[float]]]:
    """The rouge-score package where it is installed, else its loop."""
    if importlib.util.find_spec("rouge_score"):
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=False)
        return "rouge-score", lambda text, pool: (scorer.score(text, one)["rougeL"].fmeasure for one in pool)
    return "a plain table in Python", lambda text, pool: (by_the_table(words(text), words(one)) for one in pool)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def deduplication(count: int) -> None:
    texts = documents(count, WORDS)
    found: dict[str, int] = {}
    times = {}
    for name, work in (("gristmill", ours), ("datasketch", datasketch)):
        work(texts[:100])  # imports
        times[name] = seconds(lambda name=name, work=work: found.update({name: work(texts)}))  # type: ignore[misc]
    ratio = times["datasketch"] / times["gristmill"]
    figure(f"MinHash dedup of {count:,} documents, times datasketch", f"{ratio:.1f}", aim="at least 5", met=ratio >= 5)
    for name in times:
        figure(f"documents a second, {name}", f"{count / times[name]:,.0f}, {found[name]:,} dropped")
    figure("near-copies planted", f"{len(range(1, count, 10)):,}")


def novelty() -> None:
    pool = documents(POOL, INSTRUCTION, seed=1)
    asked = documents(20, INSTRUCTION, seed=2) + random.Random(0).sample(pool, 20)
    ready = Novelty(0.7, pool)
    name, score = rouge()
    some = [asked[0], asked[-1]]
    assert np.allclose([max(score(text, pool)) for text in some], [ready.compare(text, 1).highest for text in some])
    fast = min(seconds(lambda: [ready.compare(text, 1) for text in asked]) for _ in range(5)) / len(asked)
    slow = min(seconds(lambda: [max(score(text, pool)) for text in some]) for _ in range(5)) / len(some)
    ratio = slow / fast
    what = f"ROUGE-L against a pool of {POOL:,}, times {name}"
    figure(what, f"{ratio:,.0f} ({fast * 1000:.2f} ms a text)", aim="at least 300", met=ratio >= 300)


def main() -> None:
    deduplication(int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS)
    novelty()
    print(machine())


if __name__ == "__main__":
    main()
