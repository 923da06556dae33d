"""A count model of text: n-grams of characters or words with interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen
and Goodman 1999), to say how many bits a text costs who has read others.

Promised: the probabilities of all units after any context add up to 1, over all Unicode characters or all strings, so
that models of different texts compare on one text. Deterministic, in numpy alone.
Not promised: the loss of a neural model. Of two sets, the one closer in its wording wins; the order's window is all that
is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CHARACTERS = 0x110000
"""Of Unicode; each, and the end, is as likely to who has read nothing."""
SPELLING = 4
"""Order of the model of characters that spells words."""
PIECE = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
"""Words with the white space before them, and single signs: joined, they are the text again."""
BEGIN, END = 0, 1
"""Numbers of the marks around a text; what a model has not seen is -1."""
DISCOUNT = 0.5
"""Where too few n-grams come once or twice to estimate one."""


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length. Each is kept as (number of its first n - 1 units as an n-gram) * width + last unit."""

    keys: Integers
    """Ascending; a place in it is the n-gram's number."""
    counts: Floats
    """In how many places, at the highest order; below, after how many different units."""
    totals: Floats
    """By context, the n-grams one shorter: the sum of the counts of what follows it."""
    kinds: Floats
    """By context: how many different units follow it."""
    discount: float


@dataclass(frozen=True)
class NGrams:
    """A model of sequences of units."""

    unit: Literal["character", "word"]
    order: int
    units: dict[str, int]
    levels: list[_Level] = field(repr=False)
    spelling: NGrams | None = field(default=None, repr=False)
    """Of the units' characters, where units are words."""

    def bits(self, texts: Sequence[str]) -> list[float]:
        """That each text costs, its end included."""
        split = [_split(text, self.unit) for text in texts]
        base = self._base({one for row in split for one in row})
        return [float(-np.log2(self._probabilities(row, base)).sum()) for row in split]

    def probabilities(self, text: str) -> Floats:
        """Of each unit after those before it, and last of the end."""
        split = _split(text, self.unit)
        return self._probabilities(split, self._base(set(split)))

    def _probabilities(self, split: Sequence[str], base: Mapping[str, float]) -> Floats:
        sequence = np.array([BEGIN] * (self.order - 1) + [self.units.get(one, -1) for one in split] + [END], np.int64)
        found = np.array([*map(base.__getitem__, split), base[""]])
        width, first = _width(self.units), self.order - 1
        context = np.zeros(len(sequence), np.int64)  # of the n-gram one shorter that ends before a place; -1: unseen
        for level in self.levels:
            if not len(level.keys):
                break  # a model of no text
            here = _numbers(level.keys, context, sequence, width)
            before, gram = context[first:], here[first:]
            known = np.flatnonzero((before >= 0) & (level.totals[before] > 0))
            total, kinds = level.totals[before[known]], level.kinds[before[known]]
            count = np.where(gram[known] >= 0, level.counts[gram[known]], 0.0)
            left = np.maximum(count - level.discount, 0) + level.discount * kinds * found[known]
            found[known] = left / total
            context = np.concatenate([[-1], here[:-1]])
        return found

    def _base(self, units: Iterable[str]) -> dict[str, float]:
        """The chance of each unit to who knows no n-gram; "" is the end."""
        if self.spelling is None:
            return dict.fromkeys([*units, ""], 1 / (CHARACTERS + 1))
        known = sorted({*units, ""})
        # No float holds the chance of a very long word; it is then cheaper than it should be.
        return {one: max(2.0**-bits, 1e-300) for one, bits in zip(known, self.spelling.bits(known), strict=True)}


def fitted(texts: Sequence[str], *, unit: Literal["character", "word"] = "character", order: int = 5) -> NGrams:
    """A model of these texts. With none it knows nothing: every character costs 20.1 bits.

    Args:
        order: units of the longest n-gram, at least 1.
    """
    if order < 1:
        raise ValueError(f"the order is {order}, it must be at least 1")
    split = [_split(text, unit) for text in texts]
    units: dict[str, int] = {}
    for row in split:
        for one in row:
            units.setdefault(one, len(units) + 2)
    spelling = None
    if unit == "word":
        spelling = fitted(["", *units], unit="character", order=SPELLING)
    begin = [BEGIN] * (order - 1)
    flat = np.fromiter((code for row in split for code in (*begin, *map(units.__getitem__, row), END)), np.int64)
    return NGrams(unit, order, units, _levels(flat, order, _width(units)), spelling)


def _split(text: str, unit: Literal["character", "word"]) -> Sequence[str]:
    return text if unit == "character" else PIECE.findall(text)


def _width(units: dict[str, int]) -> int:
    return len(units) + 2


def _numbers(keys: Integers, context: Integers, sequence: Integers, width: int) -> Integers:
    """The number of the n-gram that ends at each place, -1 where the model has none."""
    wanted = np.where((context >= 0) & (sequence >= 0), context * width + sequence, -1)
    if not len(keys):
        return np.full(len(sequence), -1)
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _levels(sequence: Integers, order: int, width: int) -> list[_Level]:
    levels: list[_Level] = []
    context, contexts = np.zeros(len(sequence), np.int64), 1
    ends: list[Integers] = []  # by length, the number of the n-gram that ends at each place
    firsts: list[Integers] = []
    keys: list[Integers] = []
    for _ in range(order):
        # The first places have no n-gram this long before them; context 0 stands in, and no real place asks for it.
        wanted = context * width + sequence
        known, first, here = np.unique(wanted, return_index=True, return_inverse=True)
        keys.append(known)
        firsts.append(first)
        ends.append(here)
        context = np.concatenate([[0], here[:-1]])
    for n in range(order):
        last = keys[n] % width
        if n == order - 1:
            counts = np.bincount(ends[n], minlength=len(keys[n])).astype(np.float64)
        else:  # each longer n-gram counts once for the n-gram it ends in
            counts = np.bincount(ends[n][firsts[n + 1]], minlength=len(keys[n])).astype(np.float64)
        counts[last == BEGIN] = 0.0  # never asked for: it stands before a text
        before = keys[n] // width
        totals = np.bincount(before, weights=counts, minlength=contexts)
        kinds = np.bincount(before, weights=(counts > 0).astype(np.float64), minlength=contexts)
        levels.append(
            _Level(keys[n], counts, np.asarray(totals, np.float64), np.asarray(kinds, np.float64), _discount(counts))
        )
        contexts = len(keys[n])
    return levels


def _discount(counts: Floats) -> float:
    """n1 / (n1 + 2 n2) of the n-grams that are counted once and twice."""
    once, twice = float((counts == 1).sum()), float((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else DISCOUNT
