"""Is this text new? ROUGE-L against everything that was kept so far.

ROUGE-L F1 of two texts is 2 * (longest common subsequence of words) / (words of both): rouge-score without stemming.
Words become code points and texts strings, so that one bit-parallel pass compares a text with thousands (about 1 ms
for 10,000 instructions on one core). Memory: the pool's words, once, and a few bytes a text for each question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from gristmill.ops.text import words

CHUNK = 16_384
"""Texts compared at once."""
SURROGATES = range(0xD800, 0xE000)  # no characters, and the comparison refuses them
UNKNOWN = "\0"  # a word that no text of the pool has


@dataclass(frozen=True)
class Comparison:
    """A text against the pool as it was then."""

    nearest: list[tuple[str, float]]
    """The most similar texts with their ROUGE-L F1, the most similar first, of equals the older first."""
    mean: float
    """Over the whole pool; 0 for an empty one."""

    @property
    def highest(self) -> float:
        return self.nearest[0][1] if self.nearest else 0.0


class Novelty:
    """A growing pool of texts. A text is new while its ROUGE-L F1 with each of them stays below `threshold`."""

    def __init__(self, threshold: float = 0.7, texts: Iterable[str] = ()) -> None:
        self.threshold = threshold
        self.texts: list[str] = []
        self._numbers: dict[str, str] = {}
        self._coded: list[str] = []
        self._lengths = np.zeros(1024, dtype=np.int64)  # words of each text; grows by doubling
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str) -> None:
        """Take a text into the pool.

        Raises:
            OverflowError: at 1.1 million different words, one for each code point.
        """
        coded = "".join(self._numbers.get(word) or self._number(word) for word in words(text))
        if len(self.texts) == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._lengths[len(self.texts)] = len(coded)
        self.texts.append(text)
        self._coded.append(coded)

    def compare(self, text: str, k: int = 10) -> Comparison:
        """The `k` most similar texts of the pool, and the mean over all of it."""
        scores = self._scores(text)
        if not len(scores):
            return Comparison([], 0.0)
        # Sort only what reaches the k-th best score; that costs a tenth of sorting all.
        least = np.partition(scores, -k)[-k] if 0 < k < len(scores) else -1.0
        best = np.flatnonzero(scores >= least)
        order = best[np.argsort(-scores[best], kind="stable")][:k]
        return Comparison([(self.texts[i], float(scores[i])) for i in order], float(scores.mean()))

    def nearest(self, text: str, k: int = 10) -> list[tuple[str, float]]:
        """The `k` most similar texts of the pool with their scores, the most similar first."""
        return self.compare(text, k).nearest

    def is_new(self, text: str) -> bool:
        return self.compare(text, 1).highest < self.threshold

    def _scores(self, text: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """ROUGE-L F1 with every text of the pool, in its order."""
        asked = "".join(self._numbers.get(word, UNKNOWN) for word in words(text))
        common = np.zeros(len(self.texts), dtype=np.int64)
        if asked:
            for start in range(0, len(self.texts), CHUNK):
                part = self._coded[start : start + CHUNK]
                found = process.cdist([asked], part, scorer=LCSseq.similarity, dtype=np.int32)
                common[start : start + CHUNK] = found[0]
        total = self._lengths[: len(self.texts)] + len(asked)
        return np.divide(2 * common, total, out=np.zeros(len(common)), where=total > 0)

    def _number(self, word: str) -> str:
        point = len(self._numbers) + 1
        if point >= SURROGATES.start:
            point += len(SURROGATES)
        if point > 0x10FFFF:
            raise OverflowError(f"the pool has {len(self._numbers):,} different words, more than code points")
        self._numbers[word] = character = chr(point)
        return character
