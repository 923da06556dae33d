"""Copies and near-copies: equal normalised texts, and MinHash (Broder 1997) with the parameters of FineWeb (2024).

Within the set, and against a reference: a synthetic row near its seed is a copy. Rows whose signatures share a band are
candidates; what is said about them comes from the true Jaccard similarity of their shingles, never from the signature.

Promised: a pair that is reported has the similarity that is reported; the order of rows changes nothing but, between
rows that are equal in priority, length, id and text, which of them is kept.
Not promised: all pairs. A pair of similarity s is seen with probability 1 - (1 - s**hashes)**bands, 0.565 at 0.7 with
the defaults; 20 bands of 6 hashes see 0.918. Of a band that more than WINDOW texts share, each is compared with the
next WINDOW only; groups still meet through the others. Paraphrases and translations are not found at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.quality.intervals import Numbers as Floats
from gristmill.quality.intervals import proportion
from gristmill.quality.sets import Set
from gristmill.quality.shingles import (
    FACTOR,
    Hashes,
    Integers,
    Numbers,
    codes,
    joined,
    mixed,
    normalised,
    shingled,
    tokens,
)
from gristmill.quality.values import Found, Measure, Rule, Score

CHECK = "near-duplicates"
SHORT = 10
"""Words; a pair with a text of fewer is compared by its characters: so few words make too few shingles."""
WINDOW = 50
AT_ONCE = 8192
"""Texts, or pairs, that are worked on at once: bounds the memory."""
SPLIT_AT_ONCE = 512
"""Texts whose words are there at once: more lists, and the garbage collector takes as long as the work."""
TABLE = 20
"""Groups that the report lists."""

RULES: tuple[Rule, ...] = (
    Rule(check=CHECK, score="exact_copy", reason="exact_copy", above=0.0),
    Rule(check=CHECK, score="near_duplicate", reason="near_duplicate", least=0.7),
    Rule(check=CHECK, score="reference_similarity", reason="copy_of_reference", least=0.7),
)


class Pairs(NamedTuple):
    """Pairs of numbers of texts, the smaller first, each pair once, with their Jaccard similarity."""

    one: Integers
    other: Integers
    similarity: Floats

    def of(self, chosen: npt.NDArray[np.bool_]) -> Pairs:
        return Pairs(self.one[chosen], self.other[chosen], self.similarity[chosen])


@dataclass
class Group:
    """Rows that are one text, more or less."""

    kept: int
    dropped: list[int] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    """Of each dropped row: the weakest similarity on the strongest chain of pairs from it to a better row."""


def candidate_probability(similarity: float, bands: int = 14, hashes_per_band: int = 8) -> float:
    """That two texts of this Jaccard similarity share a band."""
    return float(1 - (1 - similarity**hashes_per_band) ** bands)


def jaccard(one: str, other: str, shingle: int = 5) -> float:
    """Of the two texts' shingles: of words, or of characters where a text has fewer than SHORT words; 0 without any."""
    normal = [normalised(one), normalised(other)]
    split = [tokens(text) for text in normal]
    rows = codes(normal) if min(map(len, split)) < SHORT else joined(map(Numbers().of, split))
    shingles, starts = shingled(*rows, shingle)
    a, b = (set(shingles[starts[at] : starts[at + 1]].tolist()) for at in range(2))
    return len(a & b) / len(a | b) if a | b else 0.0


def near_pairs(
    texts: Sequence[str],
    *,
    shingle: int = 5,
    bands: int = 14,
    hashes_per_band: int = 8,
    threshold: float = 0.7,
    seed: int = 0,
) -> Pairs:
    """Pairs of these texts whose Jaccard similarity is at least `threshold`, as far as the bands show them.

    Args:
        texts: normalised. Different texts; copies cost time, for nothing.
        shingle: words of a shingle, characters where a text of the pair has fewer than SHORT words.
    """
    packages.require("MinHash", "quality", "rensa", "scipy")
    numbers, sizes, parts = Numbers(), np.zeros(len(texts), np.int64), []
    for first in range(0, len(texts), SPLIT_AT_ONCE):
        split = [tokens(text) for text in texts[first : first + SPLIT_AT_ONCE]]
        sizes[first : first + SPLIT_AT_ONCE] = [len(words) for words in split]
        split = [words if len(words) >= SHORT else [] for words in split]
        starts = np.cumsum([0, *map(len, split)])
        parts.append(shingled(numbers.of(chain.from_iterable(split)), starts, shingle))
    long = _pairs(*_end_to_end(parts), bands, hashes_per_band, seed, threshold)
    # A text of many more words cannot be near one of fewer than SHORT; those a little longer can.
    short = np.flatnonzero(sizes < 2 * SHORT)
    parts = [
        shingled(*codes([texts[at] for at in short[first : first + AT_ONCE].tolist()]), shingle)
        for first in range(0, len(short), AT_ONCE)
    ]
    found = _pairs(*_end_to_end(parts), bands, hashes_per_band, seed, threshold)
    found = Pairs(short[found.one], short[found.other], found.similarity)
    found = found.of(np.minimum(sizes[found.one], sizes[found.other]) < SHORT)
    return Pairs(*(np.concatenate(both) for both in zip(long, found, strict=True)))


def _end_to_end(parts: Sequence[tuple[Hashes, Integers]]) -> tuple[Hashes, Integers]:
    """Rows of several parts as those of one."""
    counts = [np.diff(starts) for _, starts in parts]
    hashes = [part for part, _ in parts]
    return np.concatenate([np.zeros(0, np.uint64), *hashes]), np.cumsum(np.concatenate([[0], *counts]))


def _pairs(shingles: Hashes, starts: Integers, bands: int, hashes_per_band: int, seed: int, threshold: float) -> Pairs:
    """Among rows of shingles; those without any are in no pair."""
    there = np.flatnonzero(np.diff(starts))
    starts = starts[[*there, len(starts) - 1]]
    found = _verified(shingles, starts, _candidates(shingles, starts, bands, hashes_per_band, seed), threshold)
    return Pairs(there[found.one], there[found.other], found.similarity)


def _candidates(shingles: Hashes, starts: Integers, bands: int, hashes_per_band: int, seed: int) -> Integers:
    """Pairs of rows that share a band, as one * rows + other, ascending."""
    there, keys = _bands(shingles, starts, bands, hashes_per_band, seed)
    count, found = len(starts) - 1, np.zeros(0, np.int64)
    for band in keys:
        order = np.argsort(band, kind="stable")
        band, order, at = band[order], there[order], np.arange(len(order))
        pairs = [found]
        for step in range(1, WINDOW + 1):
            at = at[at < len(order) - step]
            at = at[band[at] == band[at + step]]
            if not len(at):
                break
            pairs.append(order[at] * count + order[at + step])
        found = np.unique(np.concatenate(pairs))
    return found


def _bands(shingles: Hashes, starts: Integers, bands: int, hashes_per_band: int, seed: int) -> tuple[Integers, Hashes]:
    """Rows that share a band with another, and a number for each band of each of them: bands x rows."""
    from rensa import RMinHash, RMinHashLSH

    count = bands * hashes_per_band
    signatures = RMinHash.digest_matrix_from_flat_token_hashes(shingles, starts.astype(np.uint64), count, seed)
    shared = RMinHashLSH(0.5, count, bands).query_duplicate_flags_matrix_one_shot(signatures)
    there = np.flatnonzero(shared)  # mostly few: to read a signature takes longer than to make it
    found = np.empty((bands, len(there)), np.uint64)
    for first in range(0, len(there), AT_ONCE):
        some, begin = joined(shingles[starts[at] : starts[at + 1]] for at in there[first : first + AT_ONCE])
        signatures = RMinHash.digest_matrix_from_flat_token_hashes(some, begin.astype(np.uint64), count, seed)
        rows = np.array(signatures.to_rows(), np.uint64).reshape(-1, bands, hashes_per_band)
        band = rows[:, :, 0].copy()
        for at in range(1, hashes_per_band):
            band *= FACTOR
            band += rows[:, :, at]
        found[:, first : first + AT_ONCE] = mixed(band).T
    return there, found


def _verified(shingles: Hashes, starts: Integers, candidates: Integers, threshold: float) -> Pairs:
    """The candidates whose true Jaccard similarity is at least the threshold."""
    from scipy.sparse import csr_array

    count = len(starts) - 1
    if not len(candidates):
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    one, other = np.divmod(candidates, count)
    needed, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    hashes, some = joined(shingles[starts[row] : starts[row + 1]] for row in needed)
    different, columns = np.unique(hashes, return_inverse=True)
    table = csr_array((np.ones(len(hashes), np.int32), columns, some), shape=(len(needed), len(different)))
    table.sum_duplicates()
    table.data[:] = 1
    sizes = np.diff(table.indptr)
    similarity = np.empty(len(one))
    left, right = np.split(place, 2)
    for first in range(0, len(one), AT_ONCE):
        a, b = left[first : first + AT_ONCE], right[first : first + AT_ONCE]
        common = table[a].multiply(table[b]).sum(axis=1)
        similarity[first : first + AT_ONCE] = common / (sizes[a] + sizes[b] - common)
    found = Pairs(np.minimum(one, other), np.maximum(one, other), similarity)
    return found.of(similarity >= threshold)


class Merge(NamedTuple):
    """At this similarity the group of `lost` met one with a better text."""

    lost: int
    won: int
    similarity: float


def merges(pairs: Pairs, rank: Mapping[int, Any]) -> list[Merge]:
    """How groups grow as the threshold falls: at any threshold t, a text is dropped iff it lost at t or more.

    Pairs are joined from the most similar down (Kruskal), so that a threshold can be chosen afterwards.

    Args:
        rank: of each text of a pair; the lowest of a group is kept.
    """
    parent: dict[int, int] = {}

    def root(of: int) -> int:
        while (above := parent.get(of, of)) != of:
            parent[of] = parent.get(above, above)
            of = above
        return of

    found = []
    for at in np.lexsort((pairs.other, pairs.one, -pairs.similarity)).tolist():
        one, other = root(int(pairs.one[at])), root(int(pairs.other[at]))
        if one != other:
            won, lost = sorted((one, other), key=rank.__getitem__)
            parent[lost] = won
            found.append(Merge(lost, won, float(pairs.similarity[at])))
    return found


@dataclass
class _Texts:
    """Rows as different normalised texts."""

    different: list[str]
    """In order of their characters, whatever the order of rows."""
    node: list[int]
    """By row: which of them; -1 where the row is empty."""


def _different(texts: Iterable[str]) -> _Texts:
    normal = [normalised(text) or " ".join(text.split()) for text in texts]  # "?!" is all punctuation and still a text
    different = sorted(set(normal) - {""})
    numbers = {text: number for number, text in enumerate(different)}
    return _Texts(different, [numbers.get(text, -1) for text in normal])


def groups(
    texts: Sequence[str],
    *,
    priority: Sequence[float] | None = None,
    ids: Sequence[Any] | None = None,
    threshold: float = 0.7,
    shingle: int = 5,
    bands: int = 14,
    hashes_per_band: int = 8,
    seed: int = 0,
) -> list[Group]:
    """Groups of copies and near-copies, each with the row that is kept; rows that are in none have no twin.

    Kept is the row of the highest priority, then the longest, then of the smallest id, then the first by characters.

    Args:
        priority: a number a row, higher is better; all equal unless given.
        ids: numbers or texts; none unless given.
        threshold: the least Jaccard similarity of a pair.
    """
    nodes = _different(texts)
    pairs = near_pairs(
        nodes.different,
        shingle=shingle,
        bands=bands,
        hashes_per_band=hashes_per_band,
        threshold=threshold,
        seed=seed,
    )
    found = _grouped(nodes.node, pairs, _rank(texts, priority, ids))
    return _groups(found, threshold)


class _Decided(NamedTuple):
    """By row: the row that it is an exact copy of, and what it lost to among the different texts."""

    copy_of: dict[int, int]
    lost: dict[int, Merge]


def _grouped(node: Sequence[int], pairs: Pairs, rank: Callable[[int], Any]) -> _Decided:
    best: dict[int, int] = {}
    copied = set()
    for row, of in enumerate(node):
        if of >= 0 and (other := best.setdefault(of, row)) != row:
            copied.add(of)
            best[of] = min(other, row, key=rank)
    copy_of = {row: best[of] for row, of in enumerate(node) if of in copied and best[of] != row}
    ranks = {of: rank(best[of]) for of in {*pairs.one.tolist(), *pairs.other.tolist()}}
    lost = {
        best[merge.lost]: Merge(best[merge.lost], best[merge.won], merge.similarity) for merge in merges(pairs, ranks)
    }
    return _Decided(copy_of, lost)


def _groups(decided: _Decided, threshold: float) -> list[Group]:
    found: dict[int, Group] = {}

    def kept(row: int) -> int:
        row = decided.copy_of.get(row, row)
        while (merge := decided.lost.get(row)) and merge.similarity >= threshold:
            row = merge.won
        return row

    for row in sorted({*decided.copy_of, *decided.lost}):
        if (best := kept(row)) != row:
            group = found.setdefault(best, Group(best))
            group.dropped.append(row)
            group.similarity.append(1.0 if row in decided.copy_of else decided.lost[row].similarity)
    return [found[best] for best in sorted(found)]


def _rank(
    texts: Sequence[str], priority: Sequence[float] | None, ids: Sequence[Any] | None
) -> Callable[[int], tuple[Any, ...]]:
    """Of a row; the lowest is kept."""

    def of(row: int) -> tuple[Any, ...]:
        first = 0.0 if priority is None else -priority[row]
        return first, -len(texts[row]), *_comparable(None if ids is None else ids[row]), texts[row], row

    return of


def _comparable(name: Any) -> tuple[int, float, str]:
    """Numbers before texts before none, so that ids of several kinds have one order."""
    if name is None:
        return 2, 0.0, ""
    return (0, name, "") if isinstance(name, (int, float)) else (1, 0.0, str(name))


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    shingle: int = 5,
    bands: int = 14,
    hashes_per_band: int = 8,
    threshold: float = 0.7,
    floor: float = 0.5,
    which: Literal["prompt", "response", "both"] = "both",
    priority: str | None = None,
) -> Found:
    """Exact copies, near-copies, and copies of the reference's rows.

    Scores of rows:
        exact_copy: 1 where a better row has the same normalised text, else 0.
        near_duplicate: the highest threshold at which the row would give way to a better one; 0 below `floor`. None for
            an exact copy, which is gone before.
        reference_similarity: with the most similar row of the reference; 0 below `floor`.

    Args:
        threshold: for the measures and the groups listed; decisions are the rules'.
        floor: the lowest threshold that the scores serve.
        which: what of a row is compared.
        priority: a column of numbers; of a group, the row with the highest is kept.

    Raises:
        ValueError: no row has the column `priority`, or it holds no numbers.
    """
    texts, others = _column(data, which), _column(reference, which) if reference is not None else []
    size = len(texts)
    both = _different([*texts, *others])
    floor = min(floor, threshold)
    pairs = near_pairs(
        both.different, shingle=shingle, bands=bands, hashes_per_band=hashes_per_band, threshold=floor, seed=seed
    )
    decided = _grouped(
        both.node[:size],
        _among(pairs, both.node[:size], both.node[:size]),
        _rank(texts, _priorities(data, priority), data.column("id")),
    )
    found = Found(
        check=CHECK,
        settings={
            "shingle": shingle,
            "bands": bands,
            "hashes_per_band": hashes_per_band,
            "threshold": threshold,
            "floor": floor,
            "which": which,
            "priority": priority,
            "seed": seed,
            "normalisation": "NFKC, lower case, no punctuation but between digits, single spaces",
            "rensa": packages.version("rensa"),
        },
        notes=[
            f"Of pairs as similar as {threshold}, about {candidate_probability(threshold, bands, hashes_per_band):.0%} "
            "are seen. Paraphrases and translations are not."
        ],
    )
    empty = both.node[:size].count(-1)
    if empty:
        found.notes.append(f"{empty} rows are empty and have no scores.")
    _score(found, both.node[:size], decided)
    if reference is not None:
        _score_reference(found, both.node, size, pairs)
    found.measures = _measures(both.node, size, pairs, threshold, seed, has_reference=reference is not None)
    found.measures.append(
        Measure(
            name="candidate_probability",
            value=candidate_probability(threshold, bands, hashes_per_band),
            n=size,
            better="high",
            why=f"of a pair as similar as {threshold}",
        )
    )
    found.tables["groups"] = _table(data, texts, _groups(decided, threshold))
    return found


def _column(data: Set, which: str) -> list[str]:
    return {"prompt": data.prompts, "response": data.responses, "both": data.texts}[which]


def _priorities(data: Set, name: str | None) -> list[float] | None:
    if name is None or not len(data):
        return None
    values = data.column(name)
    if values is None or not all(value is None or isinstance(value, (int, float)) for value in values):
        raise ValueError(f"{data.name}: the priority {name!r} is no column of numbers")
    return [float("-inf") if value is None else float(value) for value in values]


def _among(pairs: Pairs, some: Sequence[int], others: Sequence[int]) -> Pairs:
    """The pairs between texts of some rows and of others, either way round."""
    size = int(max(pairs.other, default=0)) + 1
    a, b = _marks(some, size), _marks(others, size)
    return pairs.of((a[pairs.one] & b[pairs.other]) | (b[pairs.one] & a[pairs.other]))


def _marks(nodes: Sequence[int], size: int) -> npt.NDArray[np.bool_]:
    found = np.zeros(size, bool)
    found[[node for node in nodes if 0 <= node < size]] = True
    return found


def _score(found: Found, node: Sequence[int], decided: _Decided) -> None:
    exact: list[Score] = [None if of < 0 else float(row in decided.copy_of) for row, of in enumerate(node)]
    near: list[Score] = [None if of < 0 or row in decided.copy_of else 0.0 for row, of in enumerate(node)]
    for row, merge in decided.lost.items():
        near[row] = round(merge.similarity, 6)
        found.details.setdefault(row, []).append({"similar_to": merge.won, "similarity": near[row]})
    for row, other in decided.copy_of.items():
        found.details.setdefault(row, []).append({"copy_of": other, "similarity": 1.0})
    found.rows |= {"exact_copy": exact, "near_duplicate": near}


def _score_reference(found: Found, node: Sequence[int], size: int, pairs: Pairs) -> None:
    """Of each row: the most similar row of the reference."""
    first: dict[int, int] = {}
    for row, of in enumerate(node[size:]):
        first.setdefault(of, row)
    nearest = {of: (1.0, first[of]) for of in node[:size] if of >= 0 and of in first}
    between = _among(pairs, node[:size], node[size:])
    ours = set(node[:size])
    for one, other, similarity in zip(*(part.tolist() for part in between), strict=True):
        for mine, theirs in ((one, other), (other, one)):
            if mine in ours and theirs in first and similarity > nearest.get(mine, (0.0, 0))[0]:
                nearest[mine] = (similarity, first[theirs])
    found.rows["reference_similarity"] = [
        None if of < 0 else round(nearest.get(of, (0.0, 0))[0], 6) for of in node[:size]
    ]
    for row, of in enumerate(node[:size]):
        if of in nearest:
            similarity, theirs = nearest[of]
            found.details.setdefault(row, []).append({"reference": theirs, "similarity": round(similarity, 6)})


def _measures(
    node: Sequence[int], size: int, pairs: Pairs, threshold: float, seed: int, *, has_reference: bool
) -> list[Measure]:
    pairs = pairs.of(pairs.similarity >= threshold)
    ours = [of for of in node[:size] if of >= 0]
    theirs = [of for of in node[size:] if of >= 0]
    rng = np.random.default_rng(seed)
    base = sorted(theirs if has_reference else ours)  # whatever the order of rows
    halves = _halves(base, rng)
    same = sorted(theirs)
    if len(same) > len(ours):
        same = [same[at] for at in rng.choice(len(same), len(ours), replace=False)]
    whose = f"null: halves of the {'reference' if has_reference else 'set itself'}"
    found = []
    for stage, name in enumerate(("exact_copies", "near_duplicates")):
        nulls = [_dropped(half, pairs)[stage] / len(half) for half in halves if half]
        found.append(
            _share(
                name,
                _dropped(ours, pairs)[stage],
                len(ours),
                null=sum(nulls) / len(nulls) if nulls else None,
                reference=_dropped(same, pairs)[stage] / len(same) if same else None,
                why=whose,
            )
        )
    if has_reference:
        null = _copied(halves[0], halves[1], pairs) / len(halves[0]) if halves[0] else None
        copies = _copied(ours, theirs, pairs)
        found.append(_share("copies_of_reference", copies, len(ours), null=null, why="null: between its halves"))
    return found


def _halves(nodes: Sequence[int], rng: np.random.Generator) -> tuple[list[int], list[int]]:
    order, middle = rng.permutation(len(nodes)).tolist(), len(nodes) // 2
    return [nodes[at] for at in order[:middle]], [nodes[at] for at in order[middle : 2 * middle]]


def _dropped(node: Sequence[int], pairs: Pairs) -> tuple[int, int]:
    """Rows that are dropped as exact copies, and then as near ones."""
    different = set(node)
    joins = merges(_among(pairs, node, node), {of: of for of in different})
    return len(node) - len(different), len(joins)


def _copied(some: Sequence[int], others: Sequence[int], pairs: Pairs) -> int:
    """Rows of some that are or resemble one of others."""
    theirs = set(others)
    between = _among(pairs, some, others)
    near = {one for one, other in zip(*map(np.ndarray.tolist, between[:2]), strict=True) if other in theirs}
    near |= {other for one, other in zip(*map(np.ndarray.tolist, between[:2]), strict=True) if one in theirs}
    return sum(of in theirs or of in near for of in some)


def _share(name: str, hits: int, n: int, *, null: float | None, why: str, reference: float | None = None) -> Measure:
    if not n:
        return Measure(name=name, value=None, why="no row has text")
    low, high = proportion(hits, n) or (None, None)
    return Measure(
        name=name,
        value=hits / n,
        low=low,
        high=high,
        null=null,
        reference=reference,
        n=n,
        better="low",
        why=why if null is not None else "",
    )


def _table(data: Set, texts: Sequence[str], found: Sequence[Group]) -> list[dict[str, Any]]:
    """The largest groups, with samples for people to look at."""
    ids = data.column("id")
    largest = sorted(found, key=lambda group: (-len(group.dropped), texts[group.kept], group.kept))[:TABLE]
    return [
        {
            "kept": group.kept,
            "dropped": group.dropped,
            "kept_id": ids[group.kept] if ids else None,
            "dropped_ids": [ids[row] for row in group.dropped] if ids else None,
            "similarity": round(min(group.similarity), 6),
            "samples": [texts[row][:200] for row in (group.kept, *group.dropped[:2])],
        }
        for group in largest
    ]
