"""Model collapse: what becomes of data when generators learn from what generators wrote.

Shumailov et al. 2023 (arXiv 2305.17493) replace the data in each generation; Gerstgrasser et al. 2024 (arXiv 2404.01413)
let them accumulate. `iterate` carries a generator, any function, through a regime; `compare` does so for several regimes
and seeds and measures every generation; `slope` and `signs` say what falls. Three toys with known theory are generators,
too: counts, a normal distribution, and linear regression. `measure` looks at a set that was made in rounds.

Promised: rows of generation g were made by a generator that was given the pool of generation g - 1 and nothing else; the
same seed gives the same rows, if the generator does.
Not promised: a cause. A slope over rounds is not collapse where the rounds' prompts changed as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Generic, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.errors import BadInput
from gristmill.ops.text import words
from gristmill.ops.vectors import Vectors
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Numbers, interval
from gristmill.quality.language_model import fitted as language_model
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score

CHECK = "model-collapse"
RULES: tuple[Rule, ...] = ()
"""`cap` makes the one there is: how many generations are too many is for whoever trains to say."""

ROUNDS = ("iteration", "round", "generation")
"""Columns that say in which round a row was made; the first that numbers two or more, else the lineage's generation."""
LINEAGE = "lineage.generation"
LEAST = 100
"""Tokens: a round of fewer is left out, as it would bring all others down to its size."""

T = TypeVar("T")
Generator = Callable[[Sequence[T], int, int], Sequence[T]]
"""(rows to learn from, how many to make, seed) -> rows."""
Regime = Literal["replace", "accumulate", "accumulate-subsample", "mixed"]


# Lineage


def max_generation(parents: Iterable[int]) -> int:
    """Of a row, by those of its parents: 1 + the highest, 0 for a row without any."""
    return 1 + max(parents, default=-1)


def generations_of(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Of each row the longest way back, by the ids of its parents. A parent that is no row itself was brought: 0.

    Raises:
        ValueError: a row descends from itself.
    """
    found: dict[str, int] = {}
    for start in parents:
        way = [start]
        open_rows = {start}
        while way:
            row = way[-1]
            waiting = [one for one in parents.get(row, ()) if one not in found]
            if not waiting:
                found[row] = max_generation(found[one] for one in parents.get(row, ()))
                open_rows.discard(way.pop())
            elif waiting[0] in open_rows:
                raise ValueError(f"{waiting[0]} descends from itself")
            else:
                way.append(waiting[0])
                open_rows.add(waiting[0])
    return {row: found[row] for row in parents}


def cap(most: int) -> Rule:
    """Flags the rows that are more than so many generations from what people wrote."""
    return Rule(check=CHECK, score="generation", reason="too_many_generations", above=float(most))


# Regimes


@dataclass(frozen=True)
class Generation(Generic[T]):
    """What one generation made, and what the next learns from."""

    number: int
    """0 for the real rows."""
    rows: list[T]
    pool: list[T]
    origin: list[int]
    """Of each row of the pool the generation that made it; 0 is real."""


def iterate(
    generate: Generator[T],
    real: Sequence[T],
    *,
    regime: Regime,
    generations: int = 5,
    n: int | None = None,
    share: float = 0.5,
    fresh: Callable[[int, int], Sequence[T]] | None = None,
    seed: int = 0,
) -> list[Generation[T]]:
    """Generations 0 to `generations` of a regime.

    "replace": a generation learns from the one before alone. "accumulate": from the real rows and all before.
    "accumulate-subsample": from `n` of these by chance. "mixed": from `n`, of which a share is real and fresh.

    Args:
        n: rows that each makes; as many as there are real ones unless given.
        share: of real rows, for "mixed".
        fresh: (how many, seed) -> real rows that were not seen before; a sample of `real` unless given.

    Raises:
        BadInput: no real rows, a share outside 0 to 1, an unknown regime, a generator that makes more or fewer rows than it
            is asked for, or more fresh rows asked for than there are.
    """
    size = len(real) if n is None else n
    if not len(real) or size < 1:
        raise BadInput(f"there are {len(real)} real rows and {size} to be made; both must be at least 1")
    if not 0 <= share <= 1:
        raise BadInput(f"the share of real rows is {share}; it must be between 0 and 1")
    found = [Generation(0, list(real), list(real), [0] * len(real))]
    for number in range(1, generations + 1):
        rng = np.random.default_rng([seed, number])
        rows = list(generate(found[-1].pool, size, int(rng.integers(2**31))))
        if len(rows) != size:
            raise BadInput(f"the generator was asked for {size} rows and made {len(rows)} in generation {number}")
        if regime == "replace":
            pool = [(row, number) for row in rows]
        elif regime == "mixed":
            kept = round(share * size)
            real_rows = _fresh(real, kept, fresh, rng)
            chosen = rng.choice(len(rows), size - kept, replace=False).tolist()
            pool = [(row, 0) for row in real_rows] + [(rows[at], number) for at in chosen]
        elif regime in ("accumulate", "accumulate-subsample"):
            before = [(row, one.number) for one in found for row in one.rows]
            pool = before + [(row, number) for row in rows]
            if regime == "accumulate-subsample":
                pool = [pool[at] for at in rng.choice(len(pool), size, replace=False).tolist()]
        else:
            raise BadInput(f"there is no regime {regime!r}; there are replace, accumulate, accumulate-subsample, mixed")
        found.append(Generation(number, rows, [row for row, _ in pool], [origin for _, origin in pool]))
    return found


def _fresh(
    real: Sequence[T], count: int, fresh: Callable[[int, int], Sequence[T]] | None, rng: np.random.Generator
) -> Sequence[T]:
    if fresh is not None:
        return fresh(count, int(rng.integers(2**31)))
    if count > len(real):
        raise BadInput(f"{count} fresh real rows a generation, and there are {len(real)}; give `fresh`")
    return [real[at] for at in rng.choice(len(real), count, replace=False).tolist()]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The measures of one generation."""

    regime: str
    seed: int
    generation: int
    values: dict[str, float | None]


def compare(
    generate: Generator[T],
    real: Sequence[T],
    measures: Mapping[str, Callable[[Generation[T]], float | None]],
    *,
    regimes: Sequence[Regime] = ("replace", "accumulate", "accumulate-subsample"),
    generations: int = 5,
    seeds: int = 3,
    seed: int = 0,
    n: int | None = None,
    share: float = 0.5,
    fresh: Callable[[int, int], Sequence[T]] | None = None,
) -> list[Line]:
    """Every measure of every generation, by regime and seed. The arguments are those of `iterate`."""
    lines = []
    for regime in regimes:
        for number in range(seed, seed + seeds):
            run = iterate(
                generate, real, regime=regime, generations=generations, n=n, share=share, fresh=fresh, seed=number
            )
            for one in run:
                values = {name: measured(one) for name, measured in measures.items()}
                lines.append(Line(regime=regime, seed=number, generation=one.number, values=values))
    return lines


def slope(lines: Sequence[Line], regime: str, name: str) -> Measure:
    """The change of a measure with each generation: the mean over seeds of the least-squares slope.

    The interval is Student's over seeds; with one seed, of the residuals, which is too narrow for what drifts.
    """
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        value = line.values.get(name)
        if line.regime == regime and value is not None:
            by_seed[line.seed].append((line.generation, value))
    series = [np.array(points, np.float64).T for points in by_seed.values() if len(points) > 1]
    n = sum(one.shape[1] for one in series)
    if not series:
        why = f"no seed has {name} of two generations"
        return Measure(name=f"{name}_slope", value=None, unit="generations", why=why)
    slopes = [fitted_slope(*one) for one in series]
    value = float(np.mean(slopes))
    if len(slopes) > 1:
        half = _t(len(slopes) - 1) * float(np.std(slopes, ddof=1)) / sqrt(len(slopes))
    elif n > 2:
        x, y = series[0]
        left = y - y.mean() - value * (x - x.mean())
        half = _t(n - 2) * sqrt(float((left**2).sum()) / (n - 2) / float(((x - x.mean()) ** 2).sum()))
    else:
        return Measure(name=f"{name}_slope", value=value, n=n, unit="generations")
    return Measure(name=f"{name}_slope", value=value, low=value - half, high=value + half, n=n, unit="generations")


def fitted_slope(x: Numbers, y: Numbers) -> float:
    """Least squares; 0.0 where all x are the same."""
    centred = x - x.mean()
    square = float((centred**2).sum())
    return float((centred * (y - y.mean())).sum() / square) if square else 0.0


def _t(freedom: int) -> float:
    packages.require("intervals of slopes", "quality", "scipy")
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def signs(
    slopes: Mapping[str, Measure],
    *,
    tail: str = "tail_coverage",
    means: Sequence[str] = ("mean_words",),
    variance: str = "dispersion",
) -> list[Literal["early", "late"]]:
    """Early collapse: the tail is lost while the means hold. Late collapse: the variance falls. By slopes whose
    intervals leave out 0, or do not.

    Args:
        slopes: by the measure's name, from `slope`.
        means: measures that must not change for "early"; the names of those that are there count.
    """
    found: list[Literal["early", "late"]] = []
    held = [slopes[name] for name in means if name in slopes]
    if _falls(slopes.get(tail)) and held and not any(_falls(one) or _rises(one) for one in held):
        found.append("early")
    if _falls(slopes.get(variance)):
        found.append("late")
    return found


def _falls(one: Measure | None) -> bool:
    return one is not None and one.high is not None and one.high < 0


def _rises(one: Measure | None) -> bool:
    return one is not None and one.low is not None and one.low > 0


# Measures of generations of texts


def text_measures(
    real: Sequence[str],
    *,
    held_out: Sequence[str] = (),
    embed: Embedder | None = None,
    token_budget: int | None = None,
    n_sample: int = 1000,
    seed: int = 0,
) -> dict[str, Callable[[Generation[str]], float | None]]:
    """What `compare` measures of texts: each of the rows that a generation made.

    At an equal token budget: `distinct_1`, `distinct_2`, `types`, `tail_coverage` (of the types that make the last tenth
    of the real rows' mass). `mean_words`. With held-out real texts: `bits`, that a character of them costs a
    count model of the rows: trained on what is synthetic, tested on what is real. With an embedder: `vendi`, `dispersion`, and against the real rows `mmd2`, `auc`, `mauve`;
    all on equally many rows.

    Args:
        token_budget: half of the real tokens unless given. A generation that has fewer has no value.
        n_sample: rows for vectors, at most half of the real ones.
    """
    from gristmill.quality.lexical import distinct

    split = [words(text) for text in real]
    budget = max(1, sum(map(len, split)) // 2) if token_budget is None else token_budget
    frequent = Counter(token for row in split for token in row)
    tail = _tail(frequent)

    def drawn(one: Generation[str]) -> list[list[str]] | None:
        order = np.random.default_rng([seed, one.number]).permutation(len(one.rows)).tolist()
        return _cut([words(one.rows[at]) for at in order], budget)

    def on_tokens(
        statistic: Callable[[list[list[str]]], float | None],
    ) -> Callable[[Generation[str]], float | None]:
        def of(one: Generation[str]) -> float | None:
            rows = drawn(one)
            return None if rows is None else statistic(rows)

        return of

    def covered(rows: list[list[str]]) -> float | None:
        seen = {token for row in rows for token in row}
        return len(tail & seen) / len(tail) if tail else None

    found: dict[str, Callable[[Generation[str]], float | None]] = {
        "distinct_1": on_tokens(lambda rows: distinct(rows, 1)),
        "distinct_2": on_tokens(lambda rows: distinct(rows, 2)),
        "types": on_tokens(lambda rows: float(len({token for row in rows for token in row}))),
        "tail_coverage": on_tokens(covered),
        "mean_words": lambda one: float(np.mean([len(words(text)) for text in one.rows])) if one.rows else None,
    }
    if any(held_out):
        size = sum(len(text) + 1 for text in held_out)
        found["bits"] = lambda one: sum(language_model(one.rows).bits(held_out)) / size
    if embed is not None:
        found |= _vector_measures(real, embed, n_sample, seed)
    return found


def _tail(counts: Counter[str]) -> set[str]:
    """The types of the last tenth of the mass, in the order of `long_tail`."""
    from gristmill.quality.long_tail import bands

    names = sorted(counts)
    banded = bands(np.array([counts[name] for name in names], np.int64)) if names else np.zeros(0)
    return {name for name, band in zip(names, banded.tolist(), strict=True) if band == 2}


def _cut(rows: Iterable[list[str]], budget: int) -> list[list[str]] | None:
    """The first so many tokens; None where there are fewer."""
    found, left = [], budget
    for row in rows:
        if left <= 0:
            break
        found.append(row[:left])
        left -= len(found[-1])
    return found if left <= 0 else None


def _vector_measures(
    real: Sequence[str], embed: Embedder, n_sample: int, seed: int
) -> dict[str, Callable[[Generation[str]], float | None]]:
    from gristmill.quality.c2st import classified
    from gristmill.quality.distance import bandwidth, gaussian, mmd2
    from gristmill.quality.mauve import histograms, mauve, shares
    from gristmill.quality.semantic import dispersion, vendi

    size = min(n_sample, len(real) // 2)

    def cloud(texts: Sequence[str], part: int) -> Vectors:
        """So many rows; of the real ones another half than generation 0 is measured by."""
        order = np.random.default_rng(seed).permutation(len(texts))[part * size : (part + 1) * size]
        vectors = embed([texts[at] for at in order.tolist()])
        kept: Vectors = vectors[np.any(vectors != 0, axis=1)]
        return kept

    known: dict[int, tuple[Generation[str], Vectors]] = {}
    theirs = cloud(real, 1)

    def ours(one: Generation[str]) -> Vectors:
        if id(one) not in known:
            known.clear()
            known[id(one)] = one, cloud(one.rows, 0)
        return known[id(one)][1]

    def enough(one: Generation[str]) -> bool:
        return len(one.rows) >= size

    def alone(statistic: Callable[[Vectors], float]) -> Callable[[Generation[str]], float | None]:
        return lambda one: statistic(ours(one)) if enough(one) and len(ours(one)) > 1 else None

    def against(statistic: Callable[[Vectors, Vectors], float | None]) -> Callable[[Generation[str]], float | None]:
        return lambda one: (
            statistic(ours(one), theirs) if enough(one) and min(len(ours(one)), len(theirs)) > 1 else None
        )

    def discrepancy(some: Vectors, others: Vectors) -> float:
        pooled = np.concatenate([some, others])
        return mmd2(gaussian(pooled, bandwidth(pooled)), np.arange(len(some)))

    def told(some: Vectors, others: Vectors) -> float | None:
        pooled = np.concatenate([some, others])
        _, groups = np.unique(np.round(pooled, 6), axis=0, return_inverse=True)  # copies stay on one side of a split
        found = classified(
            pooled * sqrt(pooled.shape[1]), np.arange(len(pooled)) < len(some), groups.ravel(), seed=seed
        )
        return None if found is None else found.auc

    def overlap(some: Vectors, others: Vectors) -> float:
        p, q = histograms(some, others, max(2, len(some) // 10))
        return mauve(shares(p), shares(q))

    return {
        "vendi": alone(vendi),
        "dispersion": alone(dispersion),
        "mmd2": against(discrepancy),
        "auc": against(told),
        "mauve": against(overlap),
    }


# Toys with known theory


def categorical(rows: Sequence[T], n: int, seed: int) -> list[T]:
    """Counts as a distribution. Under "replace" a value that is lost once never comes back."""
    return [rows[at] for at in np.random.default_rng(seed).integers(0, len(rows), n).tolist()]


def word_ngrams(order: int = 2, most: int = 200) -> Generator[str]:
    """Texts by counts of n-grams of words, without smoothing.

    Args:
        order: words of an n-gram, 1 or more.
        most: words of a text.
    """

    def generate(rows: Sequence[str], n: int, seed: int) -> list[str]:
        following: dict[tuple[str, ...], list[str]] = defaultdict(list)
        start = ("",) * (order - 1)
        for text in rows:
            padded = (*start, *text.split(), "")
            for at in range(order - 1, len(padded)):
                following[padded[at - order + 1 : at]].append(padded[at])
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(n):
            said = list(start)
            while len(said) < most + order - 1:
                choices = following[tuple(said[len(said) - order + 1 :])]
                word = choices[int(rng.integers(len(choices)))]
                if not word:
                    break
                said.append(word)
            found.append(" ".join(said[order - 1 :]))
        return found

    return generate


def gaussian_model(rows: Sequence[float], n: int, seed: int) -> list[float]:
    """The normal distribution of most likelihood. Under "replace" with n rows its variance shrinks by 1 - 1/n a
    generation, in expectation."""
    numbers = np.asarray(rows, np.float64)
    drawn: list[float] = np.random.default_rng(seed).normal(numbers.mean(), numbers.std(), n).tolist()
    return drawn


def regression_errors(
    regime: Literal["replace", "accumulate"],
    *,
    dimensions: int,
    rows: int,
    sigma: float = 1.0,
    generations: int = 5,
    repeats: int = 100,
    seed: int = 0,
) -> Numbers:
    """Test error beyond the noise, by generation from 1, of linear regressions that label data for the next: the mean
    of |w - w*|^2 over repeats, for inputs of unit variance.

    Theory: a generation's own error e is `regression_error`; under "replace" the g-th has g e, under "accumulate" it
    stays below e pi^2 / 6.
    """
    if regime not in ("replace", "accumulate"):
        raise BadInput(f"the regime is {regime!r}; it must be replace or accumulate")
    rng = np.random.default_rng(seed)
    errors = np.zeros((repeats, generations))
    for repeat in range(repeats):
        weights: Numbers = np.zeros(dimensions)  # the truth; any other only shifts
        square, product = np.zeros((dimensions, dimensions)), np.zeros(dimensions)
        for generation in range(generations):
            x = rng.normal(size=(rows, dimensions))
            y = x @ weights + sigma * rng.normal(size=rows)
            if regime == "replace":
                square, product = x.T @ x, x.T @ y
            else:
                square, product = square + x.T @ x, product + x.T @ y
            weights = np.asarray(np.linalg.solve(square, product), np.float64)
            errors[repeat, generation] = float(weights @ weights)
    found: Numbers = errors.mean(axis=0)
    return found


def regression_error(*, dimensions: int, rows: int, sigma: float = 1.0) -> float:
    """sigma^2 d / (T - d - 1): what one regression on T rows of d dimensions adds; it takes T above d + 1."""
    if rows <= dimensions + 1:
        raise ValueError(f"{rows} rows of {dimensions} dimensions: the error has no expectation")
    return sigma**2 * dimensions / (rows - dimensions - 1)


# Sets that were made in rounds


@dataclass(frozen=True)
class _Tokens:
    """The tokens of all rows, one after the other."""

    flat: npt.NDArray[np.int32]
    starts: Rows

    def size(self, rows: Rows) -> int:
        return int((self.starts[rows + 1] - self.starts[rows]).sum())

    def draw(self, rows: Rows, budget: int, rng: np.random.Generator) -> tuple[float, float]:
        """distinct-2 and the types of so many tokens, of rows by chance."""
        order = rng.permutation(rows)
        sizes = self.starts[order + 1] - self.starts[order]
        ends = np.cumsum(sizes)
        kept = int(np.searchsorted(ends, budget)) + 1
        parts = [self.flat[self.starts[row] : self.starts[row + 1]] for row in order[:kept].tolist()]
        flat = np.concatenate(parts)[:budget].astype(np.int64)
        inside = np.ones(len(flat), bool)  # whether a token and the next are of one row
        inside[ends[:kept][ends[:kept] <= len(flat)] - 1] = False
        inside[-1] = False
        # A row without tokens ends where the one before it does.
        pairs = flat[:-1][inside[:-1]] * (int(self.flat.max()) + 1) + flat[1:][inside[:-1]]
        return len(np.unique(pairs)) / max(1, len(pairs)), float(len(np.unique(flat)))


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    token_budget: int = 50_000,
    resamples: int = 20,
) -> Found:
    """Diversity by round: `distinct_2_slope` and `types_slope`, the change with each round at one token budget.

    The interval is over draws of rows; the null is the slope where each round is drawn from the rows of all.
    Table `rounds`: rows, tokens, distinct_2 and types of each. Scores of rows: `round`; `generation` where a column or
    the lineage says it, and `max_generation` of all.

    Args:
        reference: its distinct_2 and types at the same budget stand in the table as well.
        token_budget: tokens of a draw; half of the smallest round where that is less, so that draws differ.
        resamples: draws.
    """
    column, rounds = _rounds(data)
    found = Found(
        check=CHECK,
        settings={
            "column": column,
            "least_tokens": LEAST,
            "resamples": resamples,
            "seed": seed,
            "tokenizer": "gristmill words: lower case, runs of letters and digits, single signs in scripts without spaces",
            "null_of": "draws of all the set's rows, whatever their round",
        },
        notes=["A slope over rounds is not collapse where the rounds' prompts or sources changed as well."],
    )
    generations = _generations(data)
    if any(one is not None for one in generations):
        found.rows["generation"] = generations
        counts = Counter(one for one in generations if one is not None)
        found.tables["generations"] = [{"generation": int(one), "rows": counts[one]} for one in sorted(counts)]
        most = Measure(name="max_generation", value=max(counts), n=sum(counts.values()))
    else:
        most = None
    if column is None:
        return _nothing(found, f"no column says in which round a row was made ({', '.join(ROUNDS)})", most)
    found.rows["round"] = rounds
    order = sorted(
        (row for row, number in enumerate(rounds) if number is not None),
        key=lambda row: (data.texts[row], rounds[row]),  # so that the order of rows plays no part
    )
    tokens = _tokens([data.texts[row] for row in order])
    number_of = np.array([rounds[row] for row in order], np.float64)
    everything = {float(number): np.flatnonzero(number_of == number) for number in np.unique(number_of)}
    kept = {number: rows for number, rows in everything.items() if tokens.size(rows) >= LEAST}
    if len(kept) < len(everything):
        found.notes.append(f"{len(everything) - len(kept)} rounds of fewer than {LEAST} tokens were left out.")
    if len(kept) < 2:
        return _nothing(found, f"a slope takes two rounds of {LEAST} tokens or more; {column} has {len(kept)}", most)
    theirs = _tokens(reference.texts) if reference is not None else None
    budget = min(token_budget, *(tokens.size(rows) // 2 for rows in kept.values()))
    if theirs is not None and len(theirs.flat) >= LEAST:
        budget = min(budget, len(theirs.flat) // 2)
    found.settings["token_budget"] = budget
    rng = np.random.default_rng(seed)
    values = _by_round(tokens, list(kept.values()), budget, resamples, rng)
    # Rows dealt to rounds as large as theirs would not do: where rounds differ in the length of their rows, some would have
    # fewer tokens than the budget, and look more diverse for that.
    chance = _by_round(tokens, [np.concatenate(list(kept.values()))] * len(kept), budget, resamples, rng)
    x = np.array(list(kept), np.float64)
    for at, name in enumerate(NAMES):
        slopes = [fitted_slope(x, draw) for draw in values[:, :, at]]
        low, high = interval(slopes) or (None, None)
        found.measures.append(
            Measure(
                name=f"{name}_slope",
                value=float(np.mean(slopes)),
                low=low,
                high=high,
                null=float(np.mean([fitted_slope(x, draw) for draw in chance[:, :, at]])),
                n=budget,
                unit="tokens a round",
                better="high",
            )
        )
    found.measures += [most] if most else []
    found.tables["rounds"] = [
        {
            "round": number,
            "rows": len(rows),
            "tokens": tokens.size(rows),
            **{name: float(values[:, at, which].mean()) for which, name in enumerate(NAMES)},
        }
        for at, (number, rows) in enumerate(kept.items())
    ]
    if theirs is not None and len(theirs.flat) >= LEAST:
        beside = _by_round(theirs, [np.arange(len(theirs.starts) - 1)], budget, resamples, rng)
        found.tables["reference"] = [{name: float(beside[:, 0, which].mean()) for which, name in enumerate(NAMES)}]
    return found


NAMES = ("distinct_2", "types")


def _nothing(found: Found, why: str, most: Measure | None) -> Found:
    found.measures = [Measure(name="distinct_2_slope", value=None, unit="tokens a round", better="high", why=why)]
    found.measures += [most] if most else []
    return found


def falls(found: Found) -> bool:
    """Whether the diversity of words clearly falls: the interval of its slope lies below what the same rows give where each
    round is drawn from all of them."""
    slope = next((one for one in found.measures if one.name == "distinct_2_slope"), None)
    if slope is None or slope.high is None or slope.null is None:
        return False
    return slope.high < slope.null


def _by_round(tokens: _Tokens, rounds: Sequence[Rows], budget: int, times: int, rng: np.random.Generator) -> Numbers:
    """[draws, rounds, names]."""
    return np.array([[tokens.draw(rows, budget, rng) for rows in rounds] for _ in range(times)])


def _tokens(texts: Sequence[str]) -> _Tokens:
    numbers: dict[str, int] = {}
    rows = [np.fromiter((numbers.setdefault(token, len(numbers)) for token in words(text)), np.int32) for text in texts]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return _Tokens(np.concatenate(rows) if rows else np.zeros(0, np.int32), starts)


def _rounds(data: Set) -> tuple[str | None, list[Score]]:
    """The first column that numbers two rounds or more, and each row's; else the generations of the lineage."""
    for name in ROUNDS:
        values = [_number(record.get(name)) for record in data.records]
        if _several(values):
            return name, values
    values = [round_of(record, LINEAGE) for record in data.records]
    return (LINEAGE, values) if _several(values) else (None, [])


def _several(values: Iterable[Score]) -> bool:
    return len({value for value in values if value is not None}) > 1


def round_of(record: Mapping[str, Any], column: str) -> Score:
    """The round of a row, by a column or by `LINEAGE`; None where it has none."""
    if column != LINEAGE:
        return _number(record.get(column))
    lineage = record.get("lineage")
    return _number(lineage.get("generation")) if isinstance(lineage, Mapping) else None


def _generations(data: Set) -> list[Score]:
    found = [round_of(record, LINEAGE) for record in data.records]
    return [
        _number(record.get("generation")) if one is None else one
        for one, record in zip(found, data.records, strict=True)
    ]


def _number(value: Any) -> Score:
    """A whole number, as such or as text."""
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
        return float(int(value))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value) or value != int(value):
        return None
    return float(value)
