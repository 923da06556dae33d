"""`retrieve:bm25`: search by words, in numpy. The role of a search is played by it unless another is named.

Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with the inverse document frequency
of Lucene, which is never negative: score = sum over the query's words of
ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + K1 * (1 - B + B * length / mean length)).

Written here and not taken from `bm25s` (MIT, alive, light), since it plays a role on a bare machine, and three things
must hold that are not that library's: texts that score alike come in the order of the corpus, words of one letter
count, and so do scripts that put no spaces between words.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.errors import BadInput
from gristmill.models.protocol import Answer, Hit, Price, Question, Usage
from gristmill.models.spec import Spec

K1, B = 1.2, 0.75
"""Lucene's: how soon more of a word counts no more, and how much a long text is held against its words."""

Numbers = NDArray[np.float64]


class BM25:
    """Corpora, each indexed in memory: 16 bytes a different word of a text, and the words themselves once."""

    def __init__(self) -> None:
        self.model = "bm25"
        self.can = frozenset({"Retrieve"})
        self.endpoint = self.spec = "retrieve:bm25"
        self.concurrency = self.most = 4
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self.embedder = None
        self.indexed: dict[str, Index] = {}

    def identity(self) -> dict[str, Any]:
        return {"backend": "retrieve", "model": "bm25", "k1": K1, "b": B}

    async def start(self) -> None:
        """Nothing to do before there is a corpus."""

    async def index(self, corpus: str, texts: list[str], vectors: list[list[float]]) -> None:
        self.indexed[corpus] = await asyncio.to_thread(Index, texts)

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "retrieve":
            raise BadInput(f"retrieve:bm25 searches; it was asked for {question.kind}")
        index = self.indexed[question.corpus]
        return Answer([await asyncio.to_thread(index.search, question.prompt, question.sampling["k"])], Usage())

    async def close(self) -> None:
        self.indexed.clear()


class Index:
    """An inverted index: of each word the texts that hold it, and what it adds to their scores."""

    def __init__(self, texts: list[str]) -> None:
        self.size = len(texts)
        self._number: dict[str, int] = {}
        word_ids: list[int] = []
        counts: list[int] = []
        found: list[int] = []  # different words of each text
        lengths: list[int] = []
        for text in texts:
            held = Counter(words(text))
            word_ids += [self._number.setdefault(word, len(self._number)) for word in held]
            counts += held.values()
            found.append(len(held))
            lengths.append(held.total())
        word, tf = np.array(word_ids, np.int64), np.array(counts, np.float64)
        text_of = np.repeat(np.arange(self.size, dtype=np.int32), found)
        length = np.array(lengths, np.float64)
        df = np.bincount(word, minlength=len(self._number)).astype(np.float64)
        idf = np.log1p((self.size - df + 0.5) / (df + 0.5))
        mean = length.mean() if length.any() else 1.0
        worth = idf[word] * tf / (tf + K1 * (1 - B + B * length[text_of] / mean))
        order = np.argsort(word, kind="stable")
        self._texts, self._worth = text_of[order], worth[order]
        self._ends = np.cumsum(df).astype(np.int64)

    def search(self, query: str, k: int) -> list[Hit]:
        """At most k texts that hold a word of the query."""
        scores = np.zeros(self.size)
        for word, times in Counter(words(query)).items():
            if (number := self._number.get(word)) is not None:
                held = slice(self._ends[number - 1] if number else 0, self._ends[number])
                scores[self._texts[held]] += times * self._worth[held]
        return best(scores, k, above=0.0)


def best(scores: Numbers | NDArray[np.float32], k: int, *, above: float = -np.inf) -> list[Hit]:
    """The k highest scores above a bound, best first; those equal to six decimals in the order of the corpus."""
    rounded = np.round(scores.astype(np.float64), 6)
    found = np.flatnonzero(rounded > above)
    if len(found) > k:  # no text that rounded less than the k-th is in it; those that score the same still are
        found = found[rounded[found] >= np.partition(rounded[found], -k)[-k]]
    found = found[np.argsort(-rounded[found], kind="stable")][:k]
    return [Hit(int(index), float(rounded[index])) for index in found]


def words(text: str) -> list[str]:
    """Its words without regard to case or form of writing. No stemming, no stop words: they belong to a language.

    Of Chinese, Japanese, Thai, Lao, Khmer and Burmese, which put no spaces between words, each character is one.
    """
    return _pattern().findall(unicodedata.normalize("NFKC", text).casefold())


@cache
def _pattern() -> re.Pattern[str]:
    # Marks are part of a word (Hindi's vowels are some), and \w does not know them.
    marks = "".join(chr(c) for c in range(0x300, 0x1F000) if unicodedata.category(chr(c))[0] == "M")
    alone = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    return re.compile(rf"[{alone}]|(?:(?![{alone}])[\w{marks}])+")


def from_spec(spec: Spec, price: Price | None) -> BM25:
    return BM25()
