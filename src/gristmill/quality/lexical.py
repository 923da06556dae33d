"""Lexical diversity: how much a set repeats itself in its words.

distinct-n (Li et al. 2016), self-BLEU (Zhu et al. 2018, Texygen), MTLD (McCarthy and Jarvis 2010), the compression
ratio (Shaib et al. 2024), repetition within a row, and openings that many rows share.

Promised: the same texts in another order give the same numbers; distinct-n, self-BLEU and compression, which change
with the size of a set, are taken at one size for the set, the reference and the halves that the null comes from.
The share of common openings is that of all rows, and higher in halves of a small set.
Not promised: a meaning across tokenizers, or any absolute threshold. A set is diverse or not beside another of its
task.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import exp, log
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gristmill.ops.text import words
from gristmill.quality.intervals import interval, mean_interval, proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "lexical-diversity"
TOKENIZER = "gristmill words: lower case, runs of letters and digits, single signs in scripts without spaces"
Ids = npt.NDArray[np.int32]

OPENING = 3
"""Tokens that make an opening."""
OPENINGS = 10
"""Openings that count as common."""
SMOOTHING = 0.1
"""What stands for no match of an order in BLEU, in n-grams (Chen and Cherry 2014, method 1)."""

RULES: tuple[Rule, ...] = (
    Rule(check=CHECK, score="repetition", reason="repetitive", above=0.3),  # no paper's limit: prose stays below 0.1
    Rule(check=CHECK, score="tokens", reason="empty", below=1.0),
)


def distinct(texts: Iterable[Sequence[int] | Sequence[str]], n: int) -> float | None:
    """Different n-grams as a share of all n-grams, of all texts together; None where there is none.

    Falls with the size of the set by itself: compare at one size only.
    """
    counts = Counter(chain.from_iterable(_ngrams(text, n) for text in texts))
    return len(counts) / counts.total() if counts else None


def _ngrams(text: Sequence[int] | Sequence[str], n: int) -> Iterable[tuple[int | str, ...]]:
    return zip(*(text[at:] for at in range(n)), strict=False)


def self_bleu(texts: Sequence[Sequence[int] | Sequence[str]], order: int = 4) -> list[float]:
    """BLEU of each text against all others, 0 to 1: uniform weights, SMOOTHING, brevity against the closest length.

    A text of fewer tokens than `order` is scored up to its own length. Linear in the texts: of each n-gram, the two
    highest counts say what the highest among the others is. An empty text, or one alone, scores 0.
    """
    counts = [[Counter(_ngrams(text, n)) for n in range(1, order + 1)] for text in texts]
    highest: dict[tuple[int | str, ...], tuple[int, int, int]] = {}  # count, whose it is, the next highest count
    for row, orders in enumerate(counts):
        for gram, count in chain.from_iterable(found.items() for found in orders):
            best, whose, second = highest.get(gram, (0, -1, 0))
            highest[gram] = (count, row, best) if count > best else (best, whose, max(second, count))
    lengths = Counter(map(len, texts))
    return [_bleu(row, orders, highest, _brevity(len(texts[row]), lengths)) for row, orders in enumerate(counts)]


def _bleu(
    row: int,
    counts: Sequence[Counter[tuple[int | str, ...]]],
    highest: dict[tuple[int | str, ...], tuple[int, int, int]],
    brevity: float,
) -> float:
    total, orders = 0.0, 0
    for found in counts:
        if not found:
            break
        matched = 0
        for gram, count in found.items():
            best, whose, second = highest[gram]
            matched += min(count, second if whose == row else best)
        if not matched and not orders:
            return 0.0  # not a word in common: nothing to smooth
        total += log((matched or SMOOTHING) / found.total())
        orders += 1
    return brevity * exp(total / orders) if orders else 0.0


def _brevity(length: int, lengths: Counter[int]) -> float:
    """1, or less where the closest of the other texts is longer; of two as close, the shorter counts."""
    others = [size for size, count in lengths.items() if count > (size == length)]
    if not others or not length:
        return 1.0
    closest = min(others, key=lambda size: (abs(size - length), size))
    return min(1.0, exp(1 - closest / length))


def mtld(text: Sequence[int] | Sequence[str], threshold: float = 0.72) -> float | None:
    """The mean length of stretches that keep their share of different tokens above the threshold, both ways.

    None where no token comes twice: nothing ends a stretch, and the value would be without bound.
    """
    if not text or len(set(text)) == len(text):
        return None
    return (_mtld(text, threshold) + _mtld(text[::-1], threshold)) / 2


def _mtld(text: Sequence[int] | Sequence[str], threshold: float) -> float:
    factors, length, seen = 0.0, 0, set[int | str]()
    for token in text:
        length += 1
        seen.add(token)
        if len(seen) / length <= threshold:
            factors, length, seen = factors + 1, 0, set()
    if length:
        factors += (1 - len(seen) / length) / (1 - threshold)
    return len(text) / factors


def compression(texts: Iterable[str], budget: int | None = None) -> float | None:
    """Bytes of the texts, joined by line ends, for each byte after gzip at level 9; None where there are none.

    Args:
        budget: bytes that are looked at, from the beginning; all unless given.
    """
    joined = "\n".join(texts).encode("utf-8", "surrogatepass")[:budget]
    return len(joined) / len(gzip.compress(joined, 9, mtime=0)) if joined else None


def repetition(text: Sequence[int] | Sequence[str], n: int = 3) -> float | None:
    """Share of a text's n-grams that occurred before in it; None where it has none."""
    found = list(_ngrams(text, n))
    return (len(found) - len(set(found))) / len(found) if found else None


@dataclass(frozen=True)
class _Part:
    """Texts of one column, in the order of their characters: so the order of rows cannot matter."""

    texts: list[str]
    tokens: list[Ids]
    openings: list[str]
    mtld: list[float | None]
    """None for texts that are too short for it, too."""

    def take(self, rows: Iterable[int]) -> _Part:
        kept = list(rows)
        return _Part(
            [self.texts[row] for row in kept],
            [self.tokens[row] for row in kept],
            [self.openings[row] for row in kept],
            [self.mtld[row] for row in kept],
        )

    def halves(self, seed: int) -> tuple[_Part, _Part]:
        order = np.random.default_rng(seed).permutation(len(self.texts)).tolist()
        middle = len(order) // 2
        return self.take(sorted(order[:middle])), self.take(sorted(order[middle:]))

    @property
    def size(self) -> int:
        return sum(map(len, self.tokens))

    @property
    def bytes(self) -> int:
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in self.texts)


def _part(texts: Sequence[str], threshold: float, min_tokens: int) -> _Part:
    """Empty texts left out."""
    found = _Part([], [], [], [])
    numbers: dict[str, int] = {}
    for text in sorted(texts):
        tokens = words(text)
        if not tokens:
            continue
        found.texts.append(text)
        ids = [numbers.setdefault(token, len(numbers)) for token in tokens]
        found.tokens.append(np.array(ids, np.int32))  # token lists of a large set would take a gigabyte
        found.openings.append(" ".join(tokens[:OPENING]))
        found.mtld.append(mtld(ids, threshold) if len(ids) > min_tokens else None)
    return found


class _Sizes(NamedTuple):
    """At which a set, its reference and their halves are compared."""

    tokens: int
    bytes: int
    bleu: int


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    n: Sequence[int] = (1, 2, 3, 4),
    token_budget: int = 50_000,
    byte_budget: int = 250_000,
    resamples: int = 20,
    self_bleu_sample: int = 500,
    self_bleu_order: int = 4,
    mtld_threshold: float = 0.72,
    mtld_min_tokens: int = 50,
) -> Found:
    """Measures of the prompts and of the responses apart, where a set has both; scores of whole rows.

    Scores of rows: repetition (share of 3-grams that came before in the row), tokens.

    Args:
        n: orders of distinct-n.
        token_budget: tokens that distinct-n is taken on; half of the smaller set where that is less, so that draws
            differ and halves compare.
        byte_budget: the same for compression, in bytes of UTF-8.
        resamples: draws for distinct-n and compression.
        self_bleu_sample: rows, or half of the smaller set.
        mtld_min_tokens: MTLD is the mean over rows of more tokens.
    """
    found = Found(
        check=CHECK,
        settings={
            "tokenizer": TOKENIZER,
            "n": list(n),
            "token_budget": token_budget,
            "byte_budget": byte_budget,
            "resamples": resamples,
            "self_bleu_sample": self_bleu_sample,
            "self_bleu_order": self_bleu_order,
            "mtld_threshold": mtld_threshold,
            "mtld_min_tokens": mtld_min_tokens,
            "seed": seed,
        },
        notes=[
            "Numbers of different tokenizers, budgets or samples do not compare; no threshold means anything alone."
        ],
    )
    _rows(found, data)
    names = [name for name in ("prompts", "responses") if any(map(str.strip, getattr(data, name)))] or ["responses"]
    for name in names:
        mine = _part(getattr(data, name), mtld_threshold, mtld_min_tokens)
        theirs = _part(getattr(reference, name), mtld_threshold, mtld_min_tokens) if reference is not None else None
        if theirs is not None and not theirs.texts:
            found.notes.append(f"The reference has no {name} to compare with.")
            theirs = None
        prefix = f"{name[:-1]}_" if len(names) > 1 else ""
        sizes = _sizes(mine, theirs, token_budget, byte_budget, self_bleu_sample)
        found.settings[f"{prefix}sizes"] = sizes._asdict()
        values = _values(mine, sizes, n, resamples, self_bleu_order, seed)
        beside = None if theirs is None else _values(theirs, sizes, n, resamples, self_bleu_order, seed)
        halves = [_values(half, sizes, n, resamples, self_bleu_order, seed) for half in (theirs or mine).halves(seed)]
        whose = f"null: halves of the {'reference' if theirs else 'set itself'}"
        for at, value in enumerate(values):
            nulls = [number for half in halves if (number := half[at].value) is not None]
            if nulls:
                value.null, value.why = sum(nulls) / len(nulls), value.why or whose
            if beside is not None:
                value.reference = beside[at].value
            value.name = prefix + value.name
        found.measures += values
        found.tables[f"{prefix}openings"] = [
            {"opening": opening, "rows": count, "share": count / len(mine.texts)}
            for opening, count in _common(mine.openings)
            if count > 1
        ]
    if reference is not None:
        found.tables["ratio_to_reference"] = [
            {"measure": one.name, "ratio": one.value / one.reference}
            for one in found.measures
            if one.value is not None and one.reference
        ]
    return found


def _rows(found: Found, data: Set) -> None:
    found.rows = {"repetition": [], "tokens": []}
    for text in data.texts:
        tokens = words(text)
        found.rows["repetition"].append(repetition(tokens))
        found.rows["tokens"].append(float(len(tokens)))


def _sizes(mine: _Part, theirs: _Part | None, tokens: int, size: int, bleu: int) -> _Sizes:
    parts = [mine] if theirs is None else [mine, theirs]
    return _Sizes(
        min([tokens, *(part.size // 2 for part in parts)]),
        min([size, *(part.bytes // 2 for part in parts)]),
        max(2, min([bleu, *(len(part.texts) // 2 for part in parts)])),
    )


def _values(part: _Part, sizes: _Sizes, n: Sequence[int], resamples: int, order: int, seed: int) -> list[Measure]:
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(len(part.texts)).tolist() for _ in range(resamples if part.texts else 0)]
    # Of two halves one may be too small for the size that all are compared at; the other is not.
    some, others = (draws if part.size >= sizes.tokens else []), (draws if part.bytes >= sizes.bytes else [])
    found = [_drawn(f"distinct_{k}", "high", sizes.tokens, "tokens", _distinct(part, some, k, sizes.tokens)) for k in n]
    found.append(_self_bleu(part, sizes.bleu, order, rng))
    found.append(_mtld_measure(part))
    packed = [number for draw in others if (number := _compression(part, draw, sizes.bytes)) is not None]
    found.append(_drawn("compression_ratio", "low", sizes.bytes, "bytes", packed))
    found.append(_opening_bias(part))
    return found


def _drawn(name: str, better: Literal["high", "low"], n: int, unit: str, values: Sequence[float]) -> Measure:
    if not values:
        return Measure(name=name, value=None, n=0, unit=unit, why=f"too few {unit}")
    low, high = interval(values) or (None, None)
    mean = sum(values) / len(values)
    return Measure(name=name, value=mean, low=low, high=high, n=n, unit=unit, better=better)


def _distinct(part: _Part, draws: Sequence[Sequence[int]], n: int, budget: int) -> list[float]:
    found = []
    for draw in draws:
        rows, left = [], budget
        for row in draw:
            if left <= 0:
                break
            rows.append(part.tokens[row][:left])
            left -= len(rows[-1])
        if (share := _distinct_of(rows, n)) is not None:
            found.append(share)
    return found


def _distinct_of(rows: Sequence[Ids], n: int) -> float | None:
    """As `distinct`, by numbers: twenty draws of 50,000 tokens take a second."""
    if not any(len(row) >= n for row in rows):
        return None
    joined = np.concatenate(rows).astype(np.int64)
    left = np.concatenate([np.arange(len(row), 0, -1) for row in rows])  # tokens of the row from here on
    codes, many = joined, int(joined.max()) + 1
    for at in range(1, n):
        _, codes = np.unique(codes[:-1] * many + joined[at:], return_inverse=True)
    codes = codes[left[: len(codes)] >= n]
    return len(np.unique(codes)) / len(codes)


def _self_bleu(part: _Part, sample: int, order: int, rng: np.random.Generator) -> Measure:
    if len(part.texts) < 2:
        return Measure(name="self_bleu", value=None, why="one row has no other to be like", better="low")
    rows = rng.permutation(len(part.texts))[:sample].tolist()
    scores = self_bleu([part.tokens[row].tolist() for row in rows], order)
    low, high = mean_interval(scores) or (None, None)
    return Measure(name="self_bleu", value=sum(scores) / len(scores), low=low, high=high, n=len(scores), better="low")


def _mtld_measure(part: _Part) -> Measure:
    values = [value for value in part.mtld if value is not None]
    if not values:
        return Measure(name="mtld", value=None, why="no row is long enough and repeats a word", better="high")
    low, high = mean_interval(values) or (None, None)
    return Measure(name="mtld", value=sum(values) / len(values), low=low, high=high, n=len(values), better="high")


def _compression(part: _Part, draw: Sequence[int], budget: int) -> float | None:
    rows, size = 0, 0
    while rows < len(draw) and size < budget:
        size += len(part.texts[draw[rows]])  # characters are no more than bytes
        rows += 1
    return compression((part.texts[row] for row in draw[:rows]), budget)


def _common(found: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))[:OPENINGS]


def _opening_bias(part: _Part) -> Measure:
    rows = len(part.openings)
    if not rows:
        return Measure(name="opening_bias", value=None, why="no row has a token", better="low")
    hits = sum(count for _, count in _common(part.openings))
    low, high = proportion(hits, rows) or (None, None)
    return Measure(name="opening_bias", value=hits / rows, low=low, high=high, n=rows, better="low")
