"""Long-tail coverage: does a set reach what is rare in its reference, and what is missing?

What is counted are units: values of the facets (label, language, domain) and pairs of them, clusters of the reference's
vectors, and terms by the number of the reference's rows that hold them. Units are ranked by their share of the
reference: the head is the smallest set with half of the mass, the torso the next 40 %, the tail the last 10 %. These
limits are conventions of this project; there is no standard.

Besides: coverage and density of Naeem et al. 2020 (arXiv 2002.09797) by band, the rarity of each row, and the
Good-Turing estimate of what the set would still bring if it went on.

Promised: the order of rows does not matter to the counts of facets and terms; the missing list is complete for facets
and clusters, and says how much it leaves out for terms. Not promised: that what is missing is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill.ops.text import words
from gristmill.ops.vectors import Vectors
from gristmill.quality import points
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Numbers, bootstrap, mean_interval, proportion
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "long-tail-coverage"
RULES: tuple[Rule, ...] = ()
BANDS = ("head", "torso", "tail")
OUTSIDE = len(BANDS)
"""The band of units that the reference does not have."""
QUANTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True)
class Draws:
    """Which units the rows of a set show: one of a facet or cluster, each once of terms."""

    rows: Rows
    """The row of each draw, ascending."""
    units: Rows
    """The unit of each draw."""
    n: int
    """Rows, with those that show none."""

    def counts(self, units: int) -> Rows:
        return np.bincount(self.units, minlength=units)

    def take(self, kept: Rows) -> Draws:
        """Of these rows, numbered anew; `kept` ascending."""
        new = np.full(self.n, -1)
        new[kept] = np.arange(len(kept))
        inside = new[self.rows] >= 0
        return Draws(new[self.rows[inside]], self.units[inside], len(kept))


@dataclass(frozen=True)
class Kind:
    """Units of one kind, and who shows them."""

    name: str
    cells: Sequence[dict[str, Any]]
    """Each unit as a request: {"label": "neg", "language": "fr"}."""
    ours: Draws
    theirs: Draws
    wanted: frozenset[int] = frozenset()
    """Units of a taxonomy or a word list: they count as tail where the reference has none."""


def bands(counts: Rows, shares: Sequence[float] = (0.5, 0.4, 0.1), wanted: Collection[int] = ()) -> Rows:
    """The band of each unit by its count in the reference: 0 head, 1 torso, 2 tail, 3 where it has none.

    A band takes units, most frequent first, until it and those before it hold their share; a unit that crosses a limit
    is in the band that it completes. Of equal counts the earlier unit comes first.

    Args:
        shares: of the mass, by band; together 1.
        wanted: units that are tail although the reference has none.

    Raises:
        ValueError: other than three shares, or not together 1.
    """
    if len(shares) != len(BANDS) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"the bands' shares are {list(shares)}; they must be three and together 1")
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    limits = np.cumsum(shares)[:-1] * counts.sum() - 1e-9
    found = np.empty(len(counts), np.int64)
    found[order] = np.searchsorted(limits, before, side="right")
    found[counts == 0] = OUTSIDE
    found[list(wanted)] = np.minimum(found[list(wanted)], BANDS.index("tail"))
    return found


def coverage(counts: Rows, banded: Rows, least: int = 1) -> list[float | None]:
    """By band, the share of its units that have at least `least` rows; None for a band without units."""
    inside = [counts[banded == band] for band in range(len(BANDS))]
    return [float((some >= least).mean()) if len(some) else None for some in inside]


def mass_ratio(counts: Rows, reference: Rows, banded: Rows) -> list[float | None]:
    """By band, its share of the set's draws over its share of the reference's: 1 is as in the reference, below 1 is
    too little. The tail's is the tail lift. None where either has no draws, or the band none in the reference."""
    found: list[float | None] = []
    for band in range(len(BANDS)):
        theirs = reference[banded == band].sum()
        share = counts[banded == band].sum() / max(1, counts.sum())
        found.append(float(share * reference.sum() / theirs) if theirs and counts.sum() else None)
    return found


def unseen_mass(counts: Rows) -> float | None:
    """Good-Turing: the chance that the next draw shows a unit not seen yet, estimated by the draws of units seen once.
    Near 0 the source has run dry. None without draws."""
    return float((counts == 1).sum() / counts.sum()) if counts.sum() else None


def rarity(draws: Draws, frequency: Rows, n: int) -> Numbers:
    """By row, the mean over its terms of -ln(share of the reference's rows with the term), in nats; NaN for a row
    without terms. A term that the reference lacks counts as if half a row had it.

    Args:
        frequency: by term, the reference's rows with it.
        n: the reference's rows, at least 1.
    """
    surprise = -np.log(np.maximum(frequency, 0.5) / n)
    total = np.bincount(draws.rows, weights=surprise[draws.units], minlength=draws.n)
    terms = np.bincount(draws.rows, minlength=draws.n)
    return np.where(terms > 0, total / np.maximum(terms, 1), np.nan)


def balls(reference: Vectors, others: Vectors, k: int, groups: Rows) -> tuple[Rows, Numbers]:
    """Who lies in whose ball, where a reference point's ball reaches to its k-th neighbour in the reference
    (the border belongs to it, so that a copy of a repeated point is inside).

    Args:
        reference: [n, d], n at least 2.
        others: [m, d].
        k: neighbours; n - 1 where there are no more.
        groups: a number of 0 or more for each reference point.

    Returns:
        Others in each reference point's ball [n], and balls of each group that hold each other point [m, groups].
    """
    n, k = len(reference), min(k, len(reference) - 1)
    inside = np.zeros(n, np.int64)
    holding = np.zeros((len(others), int(groups.max()) + 1))
    member = np.eye(holding.shape[1])[groups]
    for part in points.parts(n, max(n, len(others))):
        within = np.partition(_squared(reference[part], reference), k, axis=1)[:, k]  # the 0th is the point itself
        held = _squared(reference[part], others) <= within[:, None] + 1e-9
        inside[part] = held.sum(axis=1)
        holding += held.T @ member[part]
    return inside, holding


def _squared(some: Vectors, others: Vectors) -> Numbers:
    found: Numbers = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return found


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    seed: int = 0,
    band_shares: Sequence[float] = (0.5, 0.4, 0.1),
    min_rows: Sequence[int] = (1, 5),
    k: int = 5,
    k_clusters: int = 50,
    n_sample: int = 10_000,
    taxonomy: Mapping[str, Sequence[str]] | None = None,
    word_list: Collection[str] | None = None,
    listed: int = 1000,
) -> Found:
    """Coverage of the reference's head, torso and tail, the missing cells, and each row's rarity.

    Args:
        band_shares: of the reference's mass, head, torso and tail.
        min_rows: a unit is covered with so many rows; the first says what is missing, the last what is thin.
        k: neighbours that a reference point's ball reaches to.
        k_clusters: clusters of the reference's vectors. Ours.
        n_sample: rows of each set for clusters' centres and balls, equally many of both for balls. Ours.
        taxonomy: values by facet that must be there, whether or not the reference has them.
        word_list: the terms that count for coverage; all terms unless given. Rarity is always of all.
        listed: missing terms that are listed, most frequent first; facets and clusters are listed in full.
    """
    found = Found(
        check=CHECK,
        rows={"rarity": [None] * len(data)},
        tables={"missing": [], "thin": [], "bands": [], "rarity": []},
        settings={
            "embedder": embed.name,
            "band_shares": list(band_shares),
            "min_rows": list(min_rows),
            "k": k,
            "k_clusters": k_clusters,
            "n_sample": n_sample,
            "words": "runs of letters and digits, lower case",
            "null_of": "reference",
        },
    )
    if reference is None or not len(reference):
        found.measures = [Measure(name="terms_coverage_tail", value=None, why="there is no reference to cover")]
        return found
    facets = _facets(data, reference, taxonomy or {}, found)
    terms = _terms(data, reference)
    kinds = [*facets, _only(terms, word_list)]
    halves = _halves(len(reference), seed)
    ours, theirs = _cloud(data, embed), _cloud(reference, embed)
    clusters = _clusters(ours, theirs, k_clusters, n_sample, seed)
    kinds.insert(len(facets), clusters)
    for kind in kinds:
        null = Kind(kind.name, kind.cells, kind.theirs.take(halves[1]), kind.theirs.take(halves[0]), kind.wanted)
        if kind is clusters:  # fitted on one half alone, as the set's rows had no part in the reference's
            null = _clusters(theirs.take(halves[1]), theirs.take(halves[0]), k_clusters, n_sample, seed)
        _covered(found, kind, null, band_shares, min_rows, seed)
        _listed(found, kind, band_shares, min_rows, listed if kind.name == "terms" else None)
    banded = bands(clusters.theirs.counts(len(clusters.cells)), band_shares)[clusters.theirs.units]
    _embedding(found, ours.vectors, theirs.vectors, banded, k, n_sample, seed)
    _rarities(found, terms, halves)
    found.notes.append(
        "coverage counts units at the sets' own sizes, so that a larger set covers more; its interval is as if the "
        "units were drawn by chance. The null is one half of the reference against the other"
    )
    return found


# Units


def _numbered(ours: Iterable[Collection[str]], theirs: Iterable[Collection[str]]) -> tuple[list[str], Draws, Draws]:
    """Names to numbers in alphabetical order: bands must not depend on which row came first."""
    numbers: dict[str, int] = {}
    drawn = []
    for side in (theirs, ours):
        rows: list[npt.NDArray[np.int32]] = []
        for names in side:
            rows.append(np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32))
        drawn.append(rows)
    names = sorted(numbers)
    new = np.empty(len(names), np.int64)
    new[[numbers[name] for name in names]] = np.arange(len(names))
    draws = []
    for rows in drawn:
        flat = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        draws.append(Draws(np.repeat(np.arange(len(rows)), [len(row) for row in rows]), new[flat], len(rows)))
    return names, draws[1], draws[0]


def _terms(data: Set, reference: Set) -> Kind:
    names, ours, theirs = _numbered(
        *((list(dict.fromkeys(words(text))) for text in one.texts) for one in (data, reference))
    )
    return Kind("terms", [{"term": name} for name in names], ours, theirs)


def _only(terms: Kind, word_list: Collection[str] | None) -> Kind:
    """The terms of a list, with those that neither set has."""
    if word_list is None:
        return terms
    names = [cell["term"] for cell in terms.cells]
    wanted = {word.lower() for word in word_list}
    absent = sorted(wanted - set(names))
    inside = np.array([name in wanted for name in names], bool)

    def kept(draws: Draws) -> Draws:
        ours = inside[draws.units] if len(names) else np.zeros(0, bool)
        return Draws(draws.rows[ours], draws.units[ours], draws.n)

    numbers = frozenset([*np.flatnonzero(inside).tolist(), *range(len(names), len(names) + len(absent))])
    cells = [*terms.cells, *({"term": name} for name in absent)]
    return Kind("terms", cells, kept(terms.ours), kept(terms.theirs), numbers)


def values(data: Set, facet: str) -> list[str]:
    """A column as text, "" where a row has none of it."""
    return ["" if value is None else str(value) for value in data.column(facet) or [None] * len(data)]


def _facets(data: Set, reference: Set, taxonomy: Mapping[str, Sequence[str]], found: Found) -> list[Kind]:
    """The facets of the reference or the taxonomy, and pairs of them, that the set has as well."""
    names = []
    for name in dict.fromkeys([*reference.facets(), *taxonomy]):
        if data.column(name) is None and len(data):
            found.notes.append(f"the reference or the taxonomy has the facet {name}; the set has no such column")
        else:
            names.append(name)
    columns = {name: (values(data, name), values(reference, name)) for name in names}
    kinds = []
    for size in (1, 2):
        for chosen in combinations(names, size):
            sides = [list(zip(*(columns[name][side] for name in chosen), strict=True)) for side in (0, 1)]
            kinds.append(_cells(chosen, sides[0], sides[1], taxonomy))
    return kinds


def _cells(
    chosen: tuple[str, ...], ours: list[tuple[str, ...]], theirs: list[tuple[str, ...]], taxonomy: Mapping[str, Any]
) -> Kind:
    wanted = [(value,) for value in taxonomy.get(chosen[0], ())] if len(chosen) == 1 else []
    extra = [row for row in map(tuple, wanted) if row not in set(theirs)]
    cells = sorted({row for row in (*ours, *theirs, *extra) if all(row)})
    numbers = {cell: number for number, cell in enumerate(cells)}

    def draws(side: list[tuple[str, ...]]) -> Draws:
        shown = [(row, numbers[cell]) for row, cell in enumerate(side) if cell in numbers]
        flat = np.array(shown, np.int64).reshape(-1, 2)
        return Draws(flat[:, 0], flat[:, 1], len(side))

    return Kind(
        f"facet_{'_and_'.join(chosen)}",
        [dict(zip(chosen, cell, strict=True)) for cell in cells],
        draws(ours),
        draws(theirs),
        frozenset(numbers[cell] for cell in extra),
    )


@dataclass(frozen=True)
class _Cloud:
    """The rows of a set that have a vector."""

    vectors: Vectors
    rows: Rows
    texts: Sequence[str]

    def take(self, kept: Rows) -> _Cloud:
        """Of these rows of the set, numbered anew."""
        inside = np.isin(self.rows, kept)
        texts = [self.texts[row] for row in kept.tolist()]
        return _Cloud(self.vectors[inside], np.searchsorted(kept, self.rows[inside]), texts)


def _cloud(data: Set, embed: Embedder) -> _Cloud:
    vectors, rows = points.embedded(embed, data)
    return _Cloud(vectors, rows, data.texts)


def _clusters(ours: _Cloud, theirs: _Cloud, k: int, most: int, seed: int) -> Kind:
    """Clusters of the reference alone. At most one for ten of its rows: a cluster of one row is that row."""
    sample = theirs.vectors[np.random.default_rng(seed).permutation(len(theirs.rows))[:most]]
    _, centres = points.clusters(sample, min(k, max(2, len(sample) // 10)), seed=seed)
    if not len(centres):
        nobody = np.zeros(0, np.int64)
        return Kind("clusters", [], Draws(nobody, nobody, len(ours.texts)), Draws(nobody, nobody, len(theirs.texts)))
    drawn = [
        Draws(one.rows, points.assigned(one.vectors, centres) if len(one.rows) else one.rows, len(one.texts))
        for one in (ours, theirs)
    ]
    # What a cluster is about shows best in the text that is nearest to its centre.
    middles = theirs.rows[points.assigned(centres, theirs.vectors)]
    cells = [{"cluster": number, "example": theirs.texts[row][:200]} for number, row in enumerate(middles.tolist())]
    return Kind("clusters", cells, drawn[0], drawn[1])


# What the report says


def _halves(n: int, seed: int) -> tuple[Rows, Rows]:
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 : 2 * (n // 2)])


def _scores(kind: Kind, shares: Sequence[float], min_rows: Sequence[int]) -> dict[str, float | None]:
    counts, reference = kind.ours.counts(len(kind.cells)), kind.theirs.counts(len(kind.cells))
    banded = bands(reference, shares, kind.wanted)
    found: dict[str, float | None] = {}
    for least in min_rows:
        suffix = "" if least == min_rows[0] else f"_{least}"
        for band, value in zip(BANDS, coverage(counts, banded, least), strict=True):
            found[f"{kind.name}_coverage_{band}{suffix}"] = value
    for band, value in zip(BANDS, mass_ratio(counts, reference, banded), strict=True):
        found[f"{kind.name}_mass_ratio_{band}"] = value
    found[f"{kind.name}_unseen_mass"] = unseen_mass(counts)
    return found


def _covered(found: Found, kind: Kind, null: Kind, shares: Sequence[float], min_rows: Sequence[int], seed: int) -> None:
    numbers, nulls = _scores(kind, shares, min_rows), _scores(null, shares, min_rows)
    theirs = kind.theirs.counts(len(kind.cells))
    banded = bands(theirs, shares, kind.wanted)
    for name, value in numbers.items():
        low, high = _bounds(name, value, kind, banded, seed) or (None, None)
        found.measures.append(
            Measure(
                name=name,
                value=value,
                low=low,
                high=high,
                null=nulls[name],
                reference=unseen_mass(theirs) if name.endswith("unseen_mass") else None,
                n=kind.ours.n,
                better="high" if "_coverage_" in name else "",
                why="" if value is not None else "no units in this band, or no rows that show a unit",
            )
        )
    for band, title in enumerate((*BANDS, "outside")):
        units = banded == band
        found.tables["bands"].append(
            {
                "units": kind.name,
                "band": title,
                "count": int(units.sum()),
                "reference_share": float(theirs[units].sum() / max(1, theirs.sum())),
                "share": float(kind.ours.counts(len(kind.cells))[units].sum() / max(1, len(kind.ours.units))),
            }
        )


def _bounds(name: str, value: float | None, kind: Kind, banded: Rows, seed: int) -> tuple[float, float] | None:
    if value is None:
        return None
    band = next((number for number, title in enumerate(BANDS) if f"_{title}" in name.removeprefix(kind.name)), None)
    if band is None:
        return None
    if "_coverage_" in name:
        units = int((banded == band).sum())
        return proportion(round(value * units), units)
    ours = kind.ours
    every = np.bincount(ours.rows, minlength=ours.n)
    inside = np.bincount(ours.rows[banded[ours.units] == band], minlength=ours.n)
    scale = value / share if (share := inside.sum() / every.sum()) else 0.0
    return bootstrap(
        lambda rows: float(scale * inside[rows].sum() / max(1, every[rows].sum())), ours.n, seed=seed, times=200
    )


def _listed(found: Found, kind: Kind, shares: Sequence[float], min_rows: Sequence[int], most: int | None) -> None:
    """The next request: what has too few rows, the smallest coverage first, of those the reference's most frequent."""
    counts, reference = kind.ours.counts(len(kind.cells)), kind.theirs.counts(len(kind.cells))
    banded = bands(reference, shares, kind.wanted)
    order = np.lexsort((np.arange(len(counts)), -reference, counts))
    for table, few in (("missing", counts < min_rows[0]), ("thin", (counts >= min_rows[0]) & (counts < min_rows[-1]))):
        units = [unit for unit in order.tolist() if few[unit] and banded[unit] < OUTSIDE]
        if most is not None and len(units) > most:
            found.notes.append(f"{len(units)} {kind.name} are {table}; the {most} first are listed")
        found.tables[table] += [
            {
                "units": kind.name,
                "cell": kind.cells[unit],
                "band": BANDS[banded[unit]],
                "reference_rows": int(reference[unit]),
                "rows": int(counts[unit]),
                "wanted": int(min_rows[-1] - counts[unit]),
            }
            for unit in units[:most]
        ]


def _embedding(found: Found, ours: Vectors, theirs: Vectors, banded: Rows, k: int, most: int, seed: int) -> None:
    n = min(most, len(theirs), len(ours))
    if n < 2:
        why = "fewer than two rows with words in the set or the reference"
        found.measures += [
            Measure(name=f"embedding_{what}", value=None, n=n, why=why) for what in ("coverage", "density")
        ]
        return
    rng = np.random.default_rng(seed)
    first, second = (np.sort(rng.permutation(len(one))[:n]) for one in (theirs, ours))
    values = _ball_scores(theirs[first], ours[second], banded[first], k, seed)
    order = rng.permutation(len(theirs))
    half = min(n, len(theirs) // 2)
    nulls: dict[str, _Scored] = {}
    if half >= 2:
        one, other = np.sort(order[:half]), np.sort(order[half : 2 * half])
        nulls = _ball_scores(theirs[one], theirs[other], banded[one], k, seed)
    for name, (value, bounds) in values.items():
        low, high = bounds or (None, None)
        found.measures.append(
            Measure(
                name=name,
                value=value,
                low=low,
                high=high,
                null=nulls[name][0] if name in nulls else None,
                n=n,
                better="high",
                why="" if value is not None else "no reference point in this band",
            )
        )


_Scored = tuple[float | None, tuple[float, float] | None]


def _ball_scores(reference: Vectors, ours: Vectors, banded: Rows, k: int, seed: int) -> dict[str, _Scored]:
    """Coverage and density of all points, and of each band. A band's density is in proportion to its share of the
    points, so that 1 is as dense as the reference in every band."""
    inside, holding = balls(reference, ours, k, banded)
    k = min(k, len(reference) - 1)
    found: dict[str, _Scored] = {}
    for band, suffix in enumerate(("", *(f"_{title}" for title in BANDS)), start=-1):
        chosen = banded == band if band >= 0 else np.ones(len(banded), bool)
        size = int(chosen.sum())
        hits = int((inside[chosen] > 0).sum())
        held = holding.sum(axis=1) if band < 0 else holding[:, band] if band < holding.shape[1] else np.zeros(len(ours))
        each = held / k * (len(reference) / max(1, size))
        found[f"embedding_coverage{suffix}"] = (hits / size if size else None, proportion(hits, size))
        found[f"embedding_density{suffix}"] = (
            float(each.mean()) if size else None,
            mean_interval(each.tolist(), seed, 200) if size else None,
        )
    return found


def _rarities(found: Found, terms: Kind, halves: tuple[Rows, Rows]) -> None:
    units = len(terms.cells)
    ours = rarity(terms.ours, terms.theirs.counts(units), terms.theirs.n)
    theirs = rarity(terms.theirs, terms.theirs.counts(units), terms.theirs.n)
    found.rows["rarity"] = [None if np.isnan(score) else float(score) for score in ours]
    for name, scores in (("set", ours), ("reference", theirs)):
        some = scores[~np.isnan(scores)]
        quantiles = np.percentile(some, QUANTILES).tolist() if len(some) else []
        found.tables["rarity"] += [
            {"of": name, "percentile": q, "rarity": value} for q, value in zip(QUANTILES, quantiles, strict=False)
        ]
    value, n = _above(ours, theirs)
    null = None
    if len(halves[0]):
        half, other = terms.theirs.take(halves[0]), terms.theirs.take(halves[1])
        frequency = half.counts(units)
        null = _above(rarity(other, frequency, half.n), rarity(half, frequency, half.n))[0]
    low, high = proportion(round((value or 0) * n), n) or (None, None)
    why = "" if value is not None else "no rows with words in the set or the reference"
    found.measures.append(Measure(name="rare_rows", value=value, low=low, high=high, null=null, n=n, why=why))


def _above(ours: Numbers, theirs: Numbers) -> tuple[float | None, int]:
    """The share of rows that are rarer than nine in ten of the reference's, and of how many."""
    mine, human = ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]
    if not len(mine) or not len(human):
        return None, len(mine)
    # A little room: the same terms in another order must not add up to more.
    return float((mine > np.percentile(human, 90) + 1e-9).mean()), len(mine)


def requests(found: Found) -> Iterator[dict[str, Any]]:
    """What to generate next: the missing cells in their order, each as often as it is wanted."""
    for row in found.tables["missing"]:
        for _ in range(row["wanted"]):
            yield dict(row["cell"])
