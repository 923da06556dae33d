"""Several opinions become one: labels by majority, ratings by the mean of those that agree most, rankings by ranked pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations


def majority(labels: Sequence[str]) -> str:
    """The most frequent label; of equally frequent ones the first that was given.

    Raises:
        ValueError: there is no label.
    """
    if not labels:
        raise ValueError("no majority: there are no labels")
    return Counter(labels).most_common(1)[0][0]  # in the order of first appearance where counts are equal


def entropy(labels: Sequence[str], base: float = 2.0) -> float:
    """Shannon entropy of the distribution of labels, in bits unless another base is given; 0.0 where all are alike."""
    counts = Counter(labels)
    if len(counts) < 2:
        return 0.0
    return -sum(n / len(labels) * math.log(n / len(labels), base) for n in counts.values())


def closest(ratings: Sequence[float], count: int = 3) -> list[float]:
    """The `count` ratings that agree most: those within the narrowest range; of equally narrow ones those of least
    variance, then the lowest. All of them where there are no more."""
    ordered = sorted(ratings)
    if len(ordered) <= count:
        return ordered
    windows = [ordered[start : start + count] for start in range(len(ordered) - count + 1)]
    return min(windows, key=lambda window: (window[-1] - window[0], _spread(window)))


def ranked_pairs(rankings: Sequence[Sequence[int]], count: int) -> list[int]:
    """One order out of several (Tideman 1987): majorities of pairs are locked in from the strongest, except where one would
    close a circle.

    Args:
        rankings: each holds items 0 to count - 1, best first, each once; an item that is left out says nothing.
        count: how many items there are.

    Returns:
        All items, best first. The same rankings, in whatever order, give the same: of equal margins, the pair with the
        lower numbers is locked in first, and items that nothing separates stand in the order of their numbers.

    Raises:
        ValueError: an item twice, or one that does not exist.
    """
    margin = [[0] * count for _ in range(count)]
    for ranking in rankings:
        if len(set(ranking)) < len(ranking) or not all(0 <= item < count for item in ranking):
            raise ValueError(f"no ranking of {count} items: {list(ranking)}")
        for better, worse in combinations(ranking, 2):
            margin[better][worse] += 1
            margin[worse][better] -= 1
    pairs = [(a, b) for a in range(count) for b in range(count) if margin[a][b] > 0]
    beats: list[set[int]] = [set() for _ in range(count)]
    for winner, loser in sorted(pairs, key=lambda pair: (-margin[pair[0]][pair[1]], pair)):
        if not _reaches(beats, loser, winner):
            beats[winner].add(loser)
    order: list[int] = []
    while len(order) < count:
        left = [item for item in range(count) if item not in order]
        order.append(next(item for item in left if not any(item in beats[other] for other in left)))
    return order


def _reaches(beats: list[set[int]], start: int, end: int) -> bool:
    seen, left = set(), [start]
    while left:
        item = left.pop()
        if item == end:
            return True
        if item not in seen:
            seen.add(item)
            left += beats[item]
    return False


def _spread(values: Sequence[float]) -> float:
    """In the order of their variance, and exact for whole numbers."""
    return sum((a - b) ** 2 for a, b in combinations(values, 2))
