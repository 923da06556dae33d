"""Runs of tokens that a text shares with one row of another set, exactly: for leaks, memorisation and copied sources.

Windows of a fixed number of tokens are hashed (64 bits), so a run is found wherever it stands and never across two
rows. Tokens are `gristmill.ops.text.WORD`, lower case: marks and white space do not break a run. Two different windows
with one hash are possible, and for 10 million windows on both sides as likely as 1 in 100,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from gristmill.ops.text import WORD

Hashes = npt.NDArray[np.uint64]
BASE = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so it has an inverse modulo 2^64."""
INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
MOST = 64
"""Places of the sources that one window is followed to. Boilerplate stands in thousands; following all would take
hours."""


@dataclass(frozen=True)
class Run:
    """A maximal run of tokens that stands, unbroken, in one row of the sources."""

    start: int
    end: int
    """Characters of the text."""
    first: int
    """Token of the text at which it starts."""
    tokens: int
    source: int
    """Row of the sources: the lowest of those that have a run as long from the same token."""
    rows: int
    """Rows of the sources that hold all of it: 1 is singled out. At most `MOST`."""


class Windows:
    """All windows of `size` tokens of the sources."""

    def __init__(self, sources: Sequence[str], size: int) -> None:
        if size < 1:
            raise ValueError(f"a window has {size} tokens, it must have at least 1")
        self.size, self._known = size, dict[str, int]()
        kept, owners, places = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        offset = 0
        for row, text in enumerate(sources):
            hashes = self._windows(np.array([self._value(word) for word in _words(text)], np.uint64))
            kept.append(hashes)
            owners.append(np.full(len(hashes), row, np.int64))
            places.append(np.arange(offset, offset + len(hashes), dtype=np.int64))
            offset += len(hashes) + 1  # a gap, so that no diagonal goes on in the next row
        hashes, owner, place = np.concatenate(kept), np.concatenate(owners), np.concatenate(places)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owner, self._place = hashes[order], owner[order], place[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def runs(self, text: str) -> list[Run]:
        """The maximal runs of at least `size` tokens, those that lie within a longer one left out; in their order."""
        spans = [match.span() for match in WORD.finditer(text)]
        windows, low, high = self._found(text, spans)
        if not len(windows):
            return []
        pairs = [
            (at, place) for at, a, b in zip(windows, low, high, strict=True) for place in range(a, min(b, a + MOST))
        ]
        position = np.array([at for at, _ in pairs], np.int64)
        entry = np.array([place for _, place in pairs], np.int64)
        diagonal = self._place[entry] - position
        order = np.lexsort((position, diagonal))
        position, entry, diagonal = position[order], entry[order], diagonal[order]
        new = np.r_[True, (np.diff(diagonal) != 0) | (np.diff(position) != 1)]
        starts = np.flatnonzero(new)
        lengths = np.diff(np.r_[starts, len(position)]) + self.size - 1
        owners: dict[tuple[int, int], set[int]] = {}
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            owners.setdefault((int(position[start]), length), set()).add(int(self._owner[entry[start]]))
        found: list[Run] = []
        end = 0
        for (first, length), rows in sorted(owners.items(), key=lambda item: (item[0][0], -item[0][1])):
            if first + length > end:  # not within one before it
                end = first + length
                found.append(Run(spans[first][0], spans[end - 1][1], first, length, min(rows), len(rows)))
        return found

    def coverage(self, text: str) -> float:
        """Share of the tokens of the text that stand in a window of the sources; 0.0 for a text without tokens."""
        spans = [match.span() for match in WORD.finditer(text)]
        covered = np.zeros(len(spans) + 1, np.int64)
        windows, _, _ = self._found(text, spans)
        np.add.at(covered, windows, 1)
        np.add.at(covered, windows + self.size, -1)
        return float((np.cumsum(covered)[:-1] > 0).mean()) if spans else 0.0

    def _found(
        self, text: str, spans: Sequence[tuple[int, int]]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Windows of the text that the sources have, and where each begins and ends among the sorted hashes."""
        known = self._known
        values = [known[word] if (word := text[a:b].lower()) in known else _hash(word) for a, b in spans]
        hashes = self._windows(np.array(values, np.uint64))
        low, high = np.searchsorted(self._hashes, hashes, "left"), np.searchsorted(self._hashes, hashes, "right")
        windows = np.flatnonzero(high > low)
        return windows, low[windows], high[windows]

    def _value(self, word: str) -> int:
        if word not in self._known:
            self._known[word] = _hash(word)
        return self._known[word]

    def _windows(self, values: Hashes) -> Hashes:
        """Of each window the polynomial of its tokens, whatever place it stands at, modulo 2^64."""
        count = len(values) - self.size + 1
        if count < 1:
            return np.empty(0, np.uint64)
        power = np.cumprod(np.r_[np.uint64(1), np.full(len(values) - 1, BASE)], dtype=np.uint64)
        sums = np.r_[np.uint64(0), np.cumsum(values * power, dtype=np.uint64)]
        back = np.cumprod(np.r_[np.uint64(1), np.full(count - 1, INVERSE)], dtype=np.uint64)
        found: Hashes = (sums[self.size :] - sums[: -self.size]) * back
        return found


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]  # lowered after: lower() may change how long a text is


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
