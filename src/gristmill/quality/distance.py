"""Distances between a set's distribution and its reference's: of vectors, of n-grams, of lengths and facets.

MMD (Gretton et al. 2012) with a permutation test, KID (Binkowski et al. 2018), the Frechet distance (Heusel et al. 2017),
Kullback-Leibler and Jensen-Shannon divergences of n-grams with the n-grams behind them, Kolmogorov-Smirnov distances of
marginals, total variation of facets.

Promised: value and null rest on equally many rows, so that they compare: the reference is halved, the set is held
against one half, and the other half against the same is the null. Estimates of MMD and KID are unbiased and stay
negative where they are. Not promised: that values compare across embedders or sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from typing import Any

import numpy as np

from gristmill.ops.text import sentences, words
from gristmill.ops.vectors import Vectors
from gristmill.quality import points
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Z95, Numbers, bootstrap, mean_interval
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "distribution-distance"
RULES: tuple[Rule, ...] = ()

# Vectors


def bandwidth(vectors: Vectors) -> float:
    """The median distance of two rows [n, d]; of those that differ where most do not; 1.0 where none do."""
    apart = np.sqrt(_squared(vectors, vectors)[np.triu_indices(len(vectors), 1)])
    some = apart if len(apart) and np.median(apart) > 1e-6 else apart[apart > 1e-6]
    return float(np.median(some)) if len(some) else 1.0


def gaussian(vectors: Vectors, width: float, scales: Sequence[float] = (1.0,)) -> Numbers:
    """The kernel exp(-|x - y|^2 / (2 width^2)) of all rows [n, n], the mean over `scales` times the width."""
    squared = _squared(vectors, vectors)
    return np.mean([np.exp(-squared / (2 * (width * scale) ** 2)) for scale in scales], axis=0)  # type: ignore[no-any-return]


def mmd2(kernel: Numbers, first: Rows) -> float:
    """Unbiased squared maximum mean discrepancy of the rows `first` (m) and all others (n) of a kernel [m + n, m + n].

    About 0 where both are of one distribution, so below 0 about as often as above; it is not clipped.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    inside = np.zeros((len(kernel), 1))
    inside[first] = 1
    return float(_mmd2(kernel, inside)[0])


def _mmd2(kernel: Numbers, inside: Numbers) -> Numbers:
    """For each column of `inside` [rows, times], 1 for the first set and 0 for the second."""
    m, n = inside[:, 0].sum(), (1 - inside[:, 0]).sum()
    if m < 2 or n < 2:
        raise ValueError(f"{int(m)} and {int(n)} rows: the unbiased estimate takes two on each side")
    diagonal, total = np.diag(kernel), kernel.sum()
    towards = kernel @ inside
    xx = (inside * towards).sum(axis=0)
    xy = towards.sum(axis=0) - xx
    yy = total - xx - 2 * xy
    own = inside.T @ diagonal
    found: Numbers = (xx - own) / (m * (m - 1)) + (yy - (diagonal.sum() - own)) / (n * (n - 1)) - 2 * xy / (m * n)
    return found


def permutation_test(kernel: Numbers, m: int, *, permutations: int = 1000, seed: int = 0) -> tuple[float, float]:
    """MMD^2 of the first m rows and the others, and the chance of as much or more when the rows are dealt anew.

    The least chance that can come out is 1 / (permutations + 1).
    """
    rng = np.random.default_rng(seed)
    observed = mmd2(kernel, np.arange(m))
    as_much = 0
    for start in range(0, permutations, 100):  # at once they would take rows times permutations
        times = min(100, permutations - start)
        inside = np.zeros((len(kernel), times))
        inside[:m] = 1
        as_much += int((_mmd2(kernel, rng.permuted(inside, axis=0)) >= observed - 1e-12).sum())
    return observed, (1 + as_much) / (permutations + 1)


def kid(x: Vectors, y: Vectors, *, block: int = 100, seed: int = 0) -> tuple[float, list[float]]:
    """Kernel inception distance: MMD^2 under (x.y / d + 1)^3, the mean over random blocks of `block` rows a side and
    the value of each. Rows [n, d] of both sides are dealt into blocks once; what is left over is left out.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    rng = np.random.default_rng(seed)
    size = min(block, len(x), len(y))
    orders = rng.permutation(len(x)), rng.permutation(len(y))
    found = []
    for start in range(0, max(1, min(len(x), len(y)) - size + 1), max(1, size)):
        pooled = np.concatenate([x[orders[0][start : start + size]], y[orders[1][start : start + size]]])
        found.append(mmd2((pooled @ pooled.T / x.shape[1] + 1) ** 3, np.arange(size)))
    return float(np.mean(found)), found


def frechet_of(mean: Numbers, covariance: Numbers, other_mean: Numbers, other_covariance: Numbers) -> float:
    """Frechet distance, squared, of two normal distributions: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))."""
    # S1 S2 has the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), whose root stays real.
    values, axes = np.linalg.eigh(covariance)
    root = (axes * np.sqrt(values.clip(min=0))) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other_covariance @ root).clip(min=0)).sum()
    apart = float(((mean - other_mean) ** 2).sum())
    return max(0.0, apart + float(np.trace(covariance) + np.trace(other_covariance) - 2 * shared))


def frechet(x: Vectors, y: Vectors, dimensions: int | None = None) -> float:
    """Frechet distance of normal distributions fitted to two sets [n, d].

    Biased upwards as n is small beside d: so both are first cut to the principal components of both, one for ten rows
    unless `dimensions` are given.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{len(x)} and {len(y)} rows: a covariance takes two")
    kept = frechet_dimensions(min(len(x), len(y)), x.shape[1]) if dimensions is None else dimensions
    sides = (x, y) if kept >= x.shape[1] else components(x, y, kept)
    (a, b), (s, t) = [side.mean(axis=0) for side in sides], [np.atleast_2d(np.cov(side.T)) for side in sides]
    return frechet_of(a, s, b, t)


def components(x: Vectors, y: Vectors, dimensions: int) -> tuple[Vectors, Vectors]:
    """Two sets [n, d] in the principal components of both, the largest `dimensions` of them."""
    pooled = np.concatenate([x, y])
    centred = pooled - pooled.mean(axis=0)
    projected = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dimensions]
    return projected[: len(x)], projected[len(x) :]


def frechet_dimensions(n: int, d: int) -> int:
    """Principal components for n rows a side: one for ten, at least one."""
    return max(1, min(d, n // 10))


def _squared(some: Vectors, others: Vectors) -> Numbers:
    found: Numbers = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return found.clip(min=0)


# n-grams


def ngrams(text: str, n: int) -> list[str]:
    """Of words in lower case, joined by spaces."""
    found = words(text)
    return [" ".join(found[at : at + n]) for at in range(len(found) - n + 1)]


def kl(p: Numbers, q: Numbers, alpha: float = 0.01) -> float:
    """Kullback-Leibler divergence of two counts over one vocabulary, in nats, with `alpha` added to each count.

    KL(reference, set) is high where terms of the reference are missing, KL(set, reference) where terms are made up or
    over-used. Not defined without smoothing where `q` lacks what `p` has.

    Raises:
        ValueError: a side without counts, or a count of 0 in `q` with `alpha` 0.
    """
    return float(contributions(p, q, alpha).sum())


def contributions(p: Numbers, q: Numbers, alpha: float = 0.01) -> Numbers:
    """What each term adds to `kl`: P ln(P / Q)."""
    some, other = _shares(p, alpha), _shares(q, alpha)
    if np.any((some > 0) & (other == 0)):
        raise ValueError("a term that only one side has makes the divergence infinite; give alpha above 0")
    there = some > 0
    found = np.zeros(len(some))
    found[there] = some[there] * np.log(some[there] / other[there])
    return found


def js(p: Numbers, q: Numbers) -> float:
    """Jensen-Shannon divergence of two counts over one vocabulary, in bits: 0 (the same) to 1 (no term in common).
    Not smoothed: it needs none.

    Raises:
        ValueError: a side without counts.
    """
    some, other = _shares(p, 0), _shares(q, 0)
    middle = (some + other) / 2
    return min(1.0, max(0.0, (kl(some, middle, 0) + kl(other, middle, 0)) / (2 * log(2))))


def log_odds(p: Numbers, q: Numbers, prior: float = 1000.0) -> Numbers:
    """Weighted log-odds of each term, as standard scores (Monroe et al. 2008): positive where `p` has more of it than
    chance allows. Rare terms stay near 0, which a ratio of shares does not do.

    Args:
        prior: counts, spread over terms as both sides together use them, that each side is thought to have besides.
    """
    spread = prior * _shares(p + q, 0)
    a, b = p + spread, q + spread
    odds = np.log(a / (a.sum() - a).clip(min=1e-12)) - np.log(b / (b.sum() - b).clip(min=1e-12))
    found: Numbers = odds / np.sqrt(1 / a + 1 / b)
    return found


def _shares(counts: Numbers, alpha: float) -> Numbers:
    raised = np.asarray(counts, np.float64) + alpha
    if not raised.sum() > 0:
        raise ValueError("no counts: there is no distribution")
    found: Numbers = raised / raised.sum()
    return found


# Marginals


def ks(x: Sequence[float] | Numbers, y: Sequence[float] | Numbers) -> float:
    """Kolmogorov-Smirnov distance of two samples: the widest gap between their cumulative shares, 0 to 1.

    Raises:
        ValueError: an empty sample.
    """
    some, other = np.sort(np.asarray(x, np.float64)), np.sort(np.asarray(y, np.float64))
    if not len(some) or not len(other):
        raise ValueError("an empty sample has no distribution")
    every = np.concatenate([some, other])
    shares = [np.searchsorted(side, every, side="right") / len(side) for side in (some, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def total_variation(x: Iterable[str], y: Iterable[str]) -> float:
    """Half the summed difference of two samples' shares of labels: 0 (the same) to 1 (no label in common).

    Raises:
        ValueError: an empty sample.
    """
    some, other = Counter(x), Counter(y)
    if not some or not other:
        raise ValueError("an empty sample has no distribution")
    m, n = some.total(), other.total()
    return sum(abs(some[label] / m - other[label] / n) for label in some.keys() | other.keys()) / 2


def readability(text: str) -> float | None:
    """Automated Readability Index (Senter and Smith 1967): about the school year that can read it. None without words."""
    said = words(text)
    if not said:
        return None
    return 4.71 * sum(map(len, said)) / len(said) + 0.5 * len(said) / max(1, len(sentences(text))) - 21.43


MARGINALS: Mapping[str, Callable[[str], float | None]] = {
    "length": lambda text: float(len(words(text))),
    "sentences": lambda text: float(len(sentences(text))),
    "readability": readability,
}


# The report


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    seed: int = 0,
    permutations: int = 1000,
    alpha: float = 0.01,
    n: Sequence[int] = (1, 2),
    kid_block: int = 100,
    scales: Sequence[float] = (1.0,),
    n_sample: int = 2000,
    n_texts: int = 10_000,
    listed: int = 50,
    perplexity: Callable[[Sequence[str]], Sequence[float | None]] | None = None,
) -> Found:
    """Distances of a set to one half of its reference, beside those of the reference's two halves.

    Args:
        permutations: of the test of MMD.
        alpha: added to each n-gram's count for the divergences.
        n: words of an n-gram.
        kid_block: rows of a block of KID.
        scales: of the kernel's width, the median distance; the mean over them counts.
        n_sample: rows a side for distances of vectors. Ours.
        n_texts: rows a side for n-grams and marginals. Ours.
        listed: n-grams of each list.
        perplexity: of each text under one language model, where there is one to ask.
    """
    found = Found(
        check=CHECK,
        tables={"over_used": [], "missing": []},
        settings={
            "embedder": embed.name,
            "permutations": permutations,
            "alpha": alpha,
            "n": list(n),
            "kid_block": kid_block,
            "scales": list(scales),
            "words": "runs of letters and digits, lower case",
            "null_of": "reference",
        },
    )
    size = min(n_texts, len(data), len(reference) // 2 if reference is not None else 0)
    found.settings["n_texts"] = size
    if reference is None or size < 1:
        why = "there is no reference" if reference is None else "it takes one row, and two of the reference"
        found.measures = [Measure(name=name, value=None, why=why) for name in ("mmd2", "kid", "frechet", "js_ngram_1")]
        return found
    order, drawn = _order(len(reference), seed), np.sort(_order(len(data), seed)[:size])
    parts = np.sort(order[:size]), np.sort(order[size : 2 * size])
    ours = data.take(drawn.tolist())
    half, null = (reference.take(part.tolist()) for part in parts)
    clouds = [
        _drawn(points.embedded(embed, one), part)
        for one, part in ((reference, parts[0]), (data, drawn), (reference, parts[1]))
    ]
    _vectors(found, clouds, n_sample, permutations, kid_block, scales, seed)
    for words_each in n:
        _ngrams(found, ours, half, null, words_each, alpha, listed, seed)
    for table in found.tables.values():
        table.sort(key=lambda row: -row["contribution"])
    marginals = {name: [list(map(one, side.texts)) for side in (ours, half, null)] for name, one in MARGINALS.items()}
    if perplexity is not None:
        marginals["perplexity"] = [list(perplexity(side.texts)) for side in (ours, half, null)]
    else:
        found.notes.append("perplexity is not compared: no language model was given")
    for name, sides in marginals.items():
        _marginal(found, name, sides, seed)
    for name in dict.fromkeys([*reference.facets(), *data.facets()]):
        if all(side.column(name) is not None for side in (ours, half, null)):
            _facet(found, name, ours, half, null, seed)
    return found


def _order(n: int, seed: int) -> Rows:
    return np.random.default_rng(seed).permutation(n)


def _drawn(embedded: tuple[Vectors, Rows], drawn: Rows) -> Vectors:
    vectors, rows = embedded
    return vectors[np.isin(rows, drawn)]


def _add(
    found: Found,
    name: str,
    value: float | None,
    null: float | None,
    n: int,
    bounds: tuple[float, float] | None = None,
    *,
    why: str = "",
    better: Any = "low",
) -> None:
    low, high = bounds or (None, None)
    found.measures.append(Measure(name=name, value=value, low=low, high=high, null=null, n=n, why=why, better=better))


def _vectors(
    found: Found,
    sides: list[Vectors],
    most: int,
    permutations: int,
    block: int,
    scales: Sequence[float],
    seed: int,
) -> None:
    """Of one half of the reference, the set, and the other half."""
    n = min(most, *map(len, sides))
    found.settings |= {
        "n_vectors": n,
        "bandwidth": None,
        "frechet_dimensions": frechet_dimensions(n, sides[0].shape[1]),
    }
    if n < 2:
        for name in ("mmd2", "p_value", "kid", "frechet"):
            _add(found, name, None, None, n, why="it takes two rows with words on each side")
        return
    x, y, z = (side[np.sort(_order(len(side), seed)[:n])] for side in sides)
    pooled = np.concatenate([x, y])
    width = bandwidth(pooled)
    found.settings["bandwidth"] = width
    kernel = gaussian(pooled, width, scales)
    value, p = permutation_test(kernel, n, permutations=permutations, seed=seed)
    same, same_p = permutation_test(
        gaussian(np.concatenate([x, z]), width, scales), n, permutations=permutations, seed=seed
    )

    def of_pair(statistic: Callable[[Rows], float], whole: float) -> tuple[float, float] | None:
        return points.from_halves(statistic, whole, n, seed=seed)

    def halved(rows: Rows) -> float:  # other rows of the set than of the reference
        both = np.concatenate([rows, n + (rows + n // 2) % n])
        return mmd2(kernel[np.ix_(both, both)], np.arange(len(rows)))

    _add(found, "mmd2", value, same, n, of_pair(halved, value))
    _add(found, "p_value", p, same_p, n, better="high")
    value, blocks = kid(x, y, block=block, seed=seed)
    _add(found, "kid", value, kid(x, z, block=block, seed=seed)[0], n, mean_interval(blocks, seed))
    dimensions = frechet_dimensions(n, x.shape[1])
    value = frechet(x, y, dimensions)
    some, other = components(x, y, dimensions)  # once: the halves are compared in the same
    bounds = of_pair(lambda rows: frechet(some[rows], other[(rows + n // 2) % n], dimensions), value)
    bounds = bounds and (max(0.0, bounds[0]), bounds[1])
    _add(found, "frechet", value, frechet(x, z, dimensions), n, bounds)


class _Counted:
    """n-grams of texts as numbers, so that any rows can be counted again quickly."""

    def __init__(self, texts: Sequence[str], n: int, numbers: dict[str, int]) -> None:
        rows = [[numbers.setdefault(gram, len(numbers)) for gram in ngrams(text, n)] for text in texts]
        self.rows = np.repeat(np.arange(len(rows)), list(map(len, rows)))
        self.grams = np.array([gram for row in rows for gram in row], np.int64)
        self.n = len(rows)

    def counts(self, vocabulary: int, rows: Rows | None = None) -> Numbers:
        """Over the vocabulary, of these rows; of all unless given."""
        if rows is None:
            return np.bincount(self.grams, minlength=vocabulary).astype(np.float64)
        chosen = np.zeros(self.n, bool)
        chosen[rows] = True
        return np.bincount(self.grams[chosen[self.rows]], minlength=vocabulary).astype(np.float64)


def _ngrams(found: Found, ours: Set, half: Set, null: Set, n: int, alpha: float, listed: int, seed: int) -> None:
    numbers: dict[str, int] = {}
    sides = [_Counted(one.texts, n, numbers) for one in (ours, half, null)]
    size = len(numbers)
    tokens = min(len(side.grams) for side in sides)
    names = (f"js_ngram_{n}", f"kl_ngram_{n}_reference_set", f"kl_ngram_{n}_set_reference")
    if not tokens:
        for name in names:
            _add(found, name, None, None, 0, why=f"a side has no text of {n} words")
        return

    def distances(some: Numbers, other: Numbers) -> tuple[float, float, float]:
        there = (some + other) > 0  # the joint vocabulary: of these two sides alone
        some, other = some[there], other[there]
        if not some.sum() or not other.sum():
            return 0.0, 0.0, 0.0
        return js(some, other), kl(other, some, alpha), kl(some, other, alpha)

    a, b, c = (side.counts(size) for side in sides)
    values, nulls = distances(a, b), distances(c, b)
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(10):
        rows = rng.permutation(sides[0].n)[: max(1, sides[0].n // 2)]
        other = rng.permutation(sides[1].n)[: max(1, sides[1].n // 2)]
        halves.append(distances(sides[0].counts(size, rows), sides[1].counts(size, other)))
    for at, name in enumerate(names):
        spread = Z95 * float(np.std([one[at] for one in halves], ddof=1))
        bounds = (max(0.0, values[at] - spread), values[at] + spread) if sides[0].n > 3 else None
        _add(found, name, values[at], nulls[at], sides[0].n, bounds)
    _list(found, sorted(numbers, key=numbers.__getitem__), a, b, n, alpha, listed)


def _list(found: Found, names: list[str], ours: Numbers, theirs: Numbers, n: int, alpha: float, listed: int) -> None:
    """The n-grams that add most to either divergence, with how sure the difference is (a standard score, positive where
    it is as the table's name says)."""
    there = np.flatnonzero(ours + theirs)
    a, b = ours[there], theirs[there]
    scores = log_odds(a, b)
    for table, some, other, sign in (("over_used", a, b, 1), ("missing", b, a, -1)):
        added = contributions(some, other, alpha)
        texts = [names[number] for number in there.tolist()]
        order = sorted(range(len(there)), key=lambda at: (-added[at], texts[at]))[:listed]
        found.tables[table] += [
            {
                "ngram": texts[at],
                "n": n,
                "contribution": float(added[at]),
                "log_odds": float(scores[at]) * sign,
                "count": int(a[at]),
                "reference_count": int(b[at]),
            }
            for at in order
            if added[at] > 0
        ]


def _marginal(found: Found, name: str, sides: list[list[float | None]], seed: int) -> None:
    given = ([np.nan if one is None else one for one in side] for side in sides)
    ours, half, null = (np.array(side)[~np.isnan(side)] for side in given)
    if not len(ours) or not len(half):
        _add(found, f"{name}_ks", None, None, 0, why="a side has no row with a value")
        return
    drawn = np.random.default_rng(seed)
    bounds = bootstrap(
        lambda rows: ks(ours[rows], half[drawn.integers(0, len(half), len(half))]), len(ours), seed=seed, times=200
    )
    _add(found, f"{name}_ks", ks(ours, half), ks(null, half) if len(null) else None, len(ours), bounds)


def _facet(found: Found, name: str, ours: Set, half: Set, null: Set, seed: int) -> None:
    sides = [["" if one is None else str(one) for one in side.column(name) or []] for side in (ours, half, null)]
    a, b, c = sides
    drawn = np.random.default_rng(seed)
    bounds = bootstrap(
        lambda rows: total_variation((a[row] for row in rows), (b[row] for row in drawn.integers(0, len(b), len(b)))),
        len(a),
        seed=seed,
        times=200,
    )
    _add(found, f"facet_tv_{name}", total_variation(a, b), total_variation(c, b), len(a), bounds)
