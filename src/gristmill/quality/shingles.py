"""Runs of words as 64-bit numbers: what overlap is looked for with.

A word's number comes from the word alone, so that texts of different sets compare and the order of rows plays no part.
Two different runs share a number by chance about once in 2**64 pairs of runs.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from gristmill.ops.text import SPACELESS

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

FACTOR = np.uint64(0x9E3779B97F4A7C15)
KNOWN_MOST = 1_000_000
"""Words whose numbers are remembered; past that the memory starts anew."""
APOSTROPHES = re.compile(r"(?<=\w)['’ʼ](?=\w)")
MARK_BEFORE_DIGIT = re.compile(r"[-−*/%.,:^]\s*\d")
MARK_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*([-−*/%.,:^])\s*(?=\d)")
SIGN = re.compile(rf"([{SPACELESS}])")


def normalised(text: str) -> str:
    """NFKC, lower case, no punctuation, single spaces.

    An apostrophe within a word vanishes, other punctuation becomes a space. A mark between two digits stays: 1.5 is not
    15, and 3-4 is not 3/4.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    if "'" in text or "’" in text or "ʼ" in text:  # each look is a tenth of the pattern's time
        text = APOSTROPHES.sub("", text)
    if not MARK_BEFORE_DIGIT.search(text):
        return " ".join(text.translate(_punctuation()).split())
    parts = MARK_BETWEEN_DIGITS.split(text)  # text, mark, text, mark, ..., text
    parts[::2] = [part.translate(_punctuation()) for part in parts[::2]]
    return " ".join("".join(parts).split())


@cache
def _punctuation() -> dict[int, str]:
    return {code: " " for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}


def tokens(normal: str) -> list[str]:
    """The words of a normalised text; each sign of a script without spaces is one."""
    return normal.split() if normal.isascii() else SIGN.sub(r" \1 ", normal).split()


class Numbers(dict[str, int]):
    """The numbers of words, remembered."""

    def __missing__(self, word: str) -> int:
        self[word] = found = number(word)
        return found

    def of(self, words: Iterable[str]) -> Hashes:
        if len(self) > KNOWN_MOST:
            self.clear()
        return np.fromiter(map(self.__getitem__, words), np.uint64)


def number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def runs(hashes: Hashes, n: int) -> Hashes:
    """A number for each run of `n`, by its first place; none where there are fewer than `n`."""
    if len(hashes) < n or n < 1:
        return np.zeros(0, np.uint64)
    found, power = (
        hashes,
        int(FACTOR),
    )  # a polynomial; with each bit of n its length doubles, and grows by one if it is 1
    for bit in bin(n)[3:]:
        size = len(hashes) - len(found) + 1
        found = found[:-size] * np.uint64(power) + found[size:]
        power = power * power % 2**64
        if bit == "1":
            found = found[:-1] * FACTOR + hashes[2 * size :]
            power = power * int(FACTOR) % 2**64
    return mixed(found)


def shingled(flat: Hashes, starts: Integers, n: int) -> tuple[Hashes, Integers]:
    """The runs of each row, and where each row's begin; a row of fewer than `n` has one, all of it.

    Args:
        flat, starts: rows one after the other, as `joined` gives them.
    """
    sizes = np.diff(starts)
    row, every = np.repeat(np.arange(len(sizes)), sizes), runs(flat, n)
    inside = row[: len(every)] == row[n - 1 :]
    found, of = every[inside], row[: len(every)][inside]
    if len(small := np.flatnonzero((sizes > 0) & (sizes < n))):
        whole = [runs(flat[starts[at] : starts[at + 1]], int(sizes[at])) for at in small]
        of = np.concatenate([of, small])
        order = np.argsort(of, kind="stable")
        found, of = np.concatenate([found, *whole])[order], of[order]
    return found, np.searchsorted(of, np.arange(len(sizes) + 1))


def codes(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """Numbers of characters instead of words."""
    flat = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    return mixed(flat), np.cumsum([0, *map(len, texts)])


def mixed(hashes: Hashes) -> Hashes:
    """All bits of each number made to depend on all (splitmix64): low bits are used alone."""
    found = hashes ^ (hashes >> np.uint64(30))
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


def joined(parts: Iterable[Hashes]) -> tuple[Hashes, Integers]:
    """Rows one after the other, and where each begins; one more for the end."""
    rows = list(parts)
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return (np.concatenate(rows) if rows else np.zeros(0, np.uint64)), starts
