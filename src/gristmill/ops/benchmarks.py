"""Benchmarks that a row must not hold: whether a text equals an item, contains one, or shares a run of words with one.

For one row at a time, as it is made. To measure a whole set, with intervals and what it looks like by chance, there is
`quality/contamination.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cached_property, lru_cache

from gristmill.ops.text import words
from gristmill.rows import Document, Rows


class BenchmarkItem(Document):
    """A question, a docstring or a solution of a benchmark, of its test set or its training set."""

    benchmark: str = ""
    """Its name, for the rejects."""


def normal(text: str) -> str:
    """Without what does not tell texts apart: capitals, white space, the Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Benchmarks:
    """Items to look for. Each question gives the benchmark's name ("" where it has none), or None where nothing is found."""

    def __init__(self, items: Iterable[BenchmarkItem]) -> None:
        self._items = {text: item.benchmark for item in items if (text := normal(item.text))}
        self._runs: dict[int, dict[tuple[str, ...], str]] = {}

    def equal(self, text: str) -> str | None:
        """Is the whole text an item?"""
        return self._items.get(normal(text))

    def inside(self, text: str, *, shortest: int = 1) -> str | None:
        """Does it contain an item of at least `shortest` characters?"""
        whole = normal(text)
        return next((name for item, name in self._items.items() if len(item) >= shortest and item in whole), None)

    def sharing(self, text: str, n: int) -> str | None:
        """Does it share `n` words in a row with an item? Items with fewer words are found by none."""
        known = self._runs.get(n)
        if known is None:
            known = self._runs[n] = {run: name for item, name in self._items.items() for run in _runs(item, n)}
        return next((known[run] for run in _runs(text, n) if run in known), None)

    @cached_property
    def texts(self) -> list[str]:
        """All items, as they are compared."""
        return list(self._items)


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    split = words(text)
    return [tuple(split[at : at + n]) for at in range(len(split) - n + 1)]


@lru_cache(maxsize=1)
def benchmarks_of(items: Rows[BenchmarkItem]) -> Benchmarks:
    """Built once for all rows of a run. Of one run at a time: they are the same for all its rows."""
    return Benchmarks(items)
