"""Utility: train on synthetic data, test on real data (TSTR; Esteban et al. 2017, arXiv 1706.02633).

The same learner with the same budget is trained on real rows (TRTR), on synthetic ones (TSTR), on both (T(R+S)TR), and
on real rows to be tested on synthetic ones (TRTS: synthetic data that are too easy or too noisy show there). Every run
keeps what it said of every item, so that all tables are computed from stored answers and can be computed again.

Labelled texts: `utility`, with any `Learner`; `linear` is the one that needs no model. Texts without labels:
`text_utility`, the bits a character that an n-gram model with interpolated Kneser-Ney smoothing spends on real text.

Promised: nothing is trained before the synthetic rows, the real ones and the examples are found free of test items; each
run makes exactly as many steps as every other; the same seeds give the same numbers; a learner's features of a text come
from this text alone, so no run sees another's.
Not promised: that what a linear head gains is what a large model would gain, nor that paraphrased test items are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.errors import BadInput
from gristmill.quality import points
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Numbers, bootstrap, interval
from gristmill.quality.language_model import fitted as language_model
from gristmill.quality.shingles import Numbers as Hashed
from gristmill.quality.shingles import normalised, runs, tokens
from gristmill.quality.values import Measure

Rows = npt.NDArray[np.int64]
Metric = Literal["accuracy", "macro_f1"]

BUCKETS = 2**18
"""Columns that words and pairs of words are hashed to."""
PASSES, LEAST_STEPS = 10, 5000
"""A budget where none is given: passes over the real rows, or so many steps where that is less."""
BLOCK = 5000
"""Rows that are given to a learner at once."""
OVERLAP, HELD = 8, 0.7
"""Words of an n-gram, and the share of a test item's n-grams above which a row holds it (PaLM, Chowdhery et al. 2022)."""
SHORTEST = 3
"""Words: shorter test items coincide by chance and are not looked for."""
NAMED = 10
"""Leaks that a message names."""


@dataclass(frozen=True)
class Labelled:
    """Texts with a label each."""

    texts: Sequence[str]
    labels: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise BadInput(f"{len(self.texts)} texts have {len(self.labels)} labels; give one label for each text")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | Rows) -> Labelled:
        """These rows, by their numbers."""
        return Labelled([self.texts[row] for row in rows], [self.labels[row] for row in rows])


# Decontamination


class Leak(NamedTuple):
    """A row that holds a test item."""

    row: int
    item: int
    share: float
    """Of the item's n-grams that the row has; 1.0 where the texts are equal."""


def leaks(test: Sequence[str], texts: Sequence[str], *, n: int = OVERLAP, share: float = HELD) -> list[Leak]:
    """Which of the texts hold which test items, by rows and items.

    Case, punctuation and spacing aside, an item is held where a text is equal to it, or has at least this share of its
    n-grams. Items of fewer than n words are found as a whole text only, those of fewer than SHORTEST not at all.
    """
    numbers = Hashed()
    whole: dict[tuple[str, ...], list[int]] = {}
    holders: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for item, text in enumerate(test):
        split = tokens(normalised(text))
        if len(split) < SHORTEST:
            continue
        whole.setdefault(tuple(split), []).append(item)
        grams = set(runs(numbers.of(split), n).tolist())
        sizes[item] = len(grams)
        for gram in grams:
            holders.setdefault(gram, []).append(item)
    found: list[Leak] = []
    for row, text in enumerate(texts):
        split = tokens(normalised(text))
        held = dict.fromkeys(whole.get(tuple(split), ()), 1.0)
        shared: Counter[int] = Counter()
        for gram in set(runs(numbers.of(split), n).tolist()):
            shared.update(holders.get(gram, ()))
        held |= {item: count / sizes[item] for item, count in shared.items() if count / sizes[item] >= share}
        found += [Leak(row, item, held[item]) for item in sorted(held)]
    return found


def without_leaks(test: Sequence[str], data: Labelled) -> Labelled:
    """The rows that hold no test item."""
    leaking = {leak.row for leak in leaks(test, data.texts)}
    return data.take([row for row in range(len(data)) if row not in leaking])


def stop_at_leaks(test: Sequence[str], sets: Mapping[str, Sequence[str]]) -> None:
    """Raises BadInput that names the rows, where a set holds test items.

    Args:
        sets: texts by the set's name for the message.
    """
    for name, texts in sets.items():
        if found := leaks(test, texts):
            rows = len({leak.row for leak in found})
            named = "; ".join(
                f"row {leak.row} holds test row {leak.item} {test[leak.item][:60]!r}" for leak in found[:NAMED]
            )
            more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
            raise BadInput(
                f"{rows} of the {name} rows hold test rows, so that no score on them means anything: {named}{more}. "
                "Split before anything is generated, or take them out with `without_leaks`"
            )


def stop_at_foreign_examples(train: Sequence[str], examples: Sequence[str]) -> None:
    """Raises BadInput where a seed or a few-shot example is none of the training texts."""
    known = {normalised(text) for text in train}
    foreign = [number for number, text in enumerate(examples) if normalised(text) not in known]
    if foreign:
        named = "; ".join(f"example {number} {examples[number][:60]!r}" for number in foreign[:NAMED])
        raise BadInput(
            f"{len(foreign)} of {len(examples)} examples are not among the real training rows: {named}. "
            "Seeds and few-shot examples must come from these alone"
        )


# Learners


class Fitted(NamedTuple):
    """A trained model."""

    predict: Callable[[Any], Sequence[str]]
    """A label for each row of features."""
    steps: int
    """That its training took."""


@dataclass(frozen=True)
class Learner:
    """How a model is made of labelled texts."""

    name: str
    features: Callable[[Sequence[str]], Any]
    """Of each text, from it alone; a row each, that an array of row numbers selects. An array of the texts themselves
    where the model reads texts."""
    fit: Callable[[Any, Sequence[str], int, int], Fitted]
    """(features, labels, steps, seed) -> a model. The labels are of one kind or more."""


def linear(embed: Embedder | None = None, *, penalty: float = 1e-4) -> Learner:
    """A logistic regression on vectors, or on TF-IDF of words and pairs of words where there is no embedder.

    Stochastic gradient descent with averaged weights, a row a step, because it can be stopped after exactly so many
    steps on any number of rows; solvers that run until they converge spend more on what is harder.

    Args:
        penalty: of the squared weights, for features of length 1.
    """
    what = "training on synthetic and testing on real data"
    packages.require(what, "quality", "sklearn", "scipy")
    if embed is not None:
        return Learner(
            f"logistic regression on {embed.name}",
            embed,
            lambda features, labels, steps, seed: _regression(features, labels, steps, seed, penalty),
        )
    return Learner(
        "logistic regression on TF-IDF",
        _counts,
        lambda features, labels, steps, seed: _weighted_regression(features, labels, steps, seed, penalty),
    )


def _counts(texts: Sequence[str]) -> Any:
    """Words and pairs of words, hashed: unlike a vocabulary, no training set has a part in them."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        n_features=BUCKETS, ngram_range=(1, 2), token_pattern=r"(?u)\w+", norm=None, alternate_sign=False
    )
    return hashing.transform(texts).tocsr()


def _weighted_regression(features: Any, labels: Sequence[str], steps: int, seed: int, penalty: float) -> Fitted:
    """Terms and their weights are those of the training rows alone."""
    from sklearn.feature_extraction.text import TfidfTransformer

    there = np.unique(features.indices) if features.nnz else np.zeros(1, np.int64)  # the others would only cost time
    weights = TfidfTransformer(sublinear_tf=True).fit(features[:, there])
    model = _regression(weights.transform(features[:, there]), labels, steps, seed, penalty)
    return Fitted(lambda rows: model.predict(weights.transform(rows[:, there])), model.steps)


def _regression(features: Any, labels: Sequence[str], steps: int, seed: int, penalty: float) -> Fitted:
    from sklearn.linear_model import SGDClassifier

    kinds = np.unique(np.asarray(labels))
    if len(kinds) == 1:
        return Fitted(lambda rows: [str(kinds[0])] * rows.shape[0], steps)
    model = SGDClassifier(loss="log_loss", alpha=penalty, average=True, shuffle=False, random_state=seed % 2**32)
    order, named = _order(len(labels), steps, seed), np.asarray(labels)
    for start in range(0, steps, BLOCK):
        rows = order[start : start + BLOCK]
        model.partial_fit(features[rows], named[rows], classes=kinds)
    return Fitted(lambda rows: model.predict(rows).tolist(), int(model.t_) - 1)


def _order(n: int, steps: int, seed: int) -> Rows:
    """Rows for so many steps: all in an order by chance, then all again in another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(n) for _ in range(-(-steps // n))])[:steps]


# Runs


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was trained, and what it said."""

    name: str
    """"TRTR", "TSTR", "TSTR_all", "T(R+S)TR", "TRTS", "TSTR_x2" of the curve, "R_10" and "R_10+S" of few real rows."""
    seed: int
    real: int
    synthetic: int
    """Rows that it was trained on."""
    steps: int
    said: list[str]
    """Of each test item, in order; of each synthetic row for TRTS."""


class Utility(msgspec.Struct, kw_only=True):
    """All that was trained and said. The functions below make tables of it."""

    runs: list[Run]
    truth: list[str]
    """Labels of the test items."""
    synthetic_truth: list[str]
    base: list[str]
    """What is said of the test items without training: the real rows' most frequent label, or what a base model said."""
    real: int
    synthetic: int
    metric: Metric
    distances: list[float | None]
    """Of each test item to the nearest synthetic row: one minus the cosine of their features. None for an item without
    features."""
    facets: dict[str, list[str]]
    """Of test items: a value an item."""
    settings: dict[str, Any]
    notes: list[str]


def utility(
    real_train: Labelled,
    real_test: Labelled,
    synthetic: Labelled,
    learner: Learner,
    *,
    seeds: int = 5,
    seed: int = 0,
    curve: Sequence[int] = (1, 2, 4, 8),
    low_resource: Sequence[int] = (10, 50, 100, 500),
    steps: int | None = None,
    metric: Metric = "accuracy",
    base: Sequence[str] | None = None,
    examples: Sequence[str] = (),
    facets: Mapping[str, Sequence[str]] | None = None,
) -> Utility:
    """Train on real, synthetic and both, at one budget, and keep what each model says of every item.

    TSTR is trained on as many synthetic rows as there are real ones (all where there are fewer), TSTR_all on all; where
    T(R+S)TR and few real rows take synthetic ones, they take all.

    Args:
        real_test: held out before anything was generated; whoever made the synthetic rows has not seen it.
        seeds: models of each kind. A seed chooses the rows of a sample and the order of training.
        seed: the first.
        curve: sizes of synthetic sets, in times the real one's; those that there are too few rows for are left out.
        low_resource: sizes of small real sets, tried with and without the synthetic one.
        steps: of every run; PASSES over the real rows unless given, at least LEAST_STEPS.
        base: what a model without this training says of the test items; the most frequent real label unless given.
        examples: seeds and few-shot examples of the generator, which must be real training texts.
        facets: of the test items, for slices: a value an item. A date, cut to its year or month, is one.

    Raises:
        BadInput: a set is empty, a list does not fit, a training row or example holds a test item, or an example is
            none of the real training rows.
    """
    for name, part in (("real training", real_train), ("real test", real_test), ("synthetic", synthetic)):
        if not len(part):
            raise BadInput(f"there are no {name} rows")
    for name, column in {"base": real_test.labels if base is None else base, **(facets or {})}.items():
        if len(column) != len(real_test):
            raise BadInput(f"{name} has {len(column)} values for {len(real_test)} test rows; give one for each")
    stop_at_leaks(real_test.texts, {"synthetic": synthetic.texts, "real training": real_train.texts})
    stop_at_leaks(real_test.texts, {"example": examples})
    stop_at_foreign_examples(real_train.texts, examples)
    budget = max(LEAST_STEPS, PASSES * len(real_train)) if steps is None else steps
    texts = [*real_train.texts, *synthetic.texts, *real_test.texts]
    labels = np.array([*real_train.labels, *synthetic.labels], dtype=object)
    features = learner.features(texts)
    n, m = len(real_train), len(synthetic)
    test, theirs = np.arange(n + m, len(texts)), np.arange(n, n + m)
    found = Utility(
        runs=[],
        truth=list(real_test.labels),
        synthetic_truth=list(synthetic.labels),
        base=list(base) if base is not None else [most_frequent(real_train.labels)] * len(real_test),
        real=n,
        synthetic=m,
        metric=metric,
        distances=nearest_distances(features[test], features[theirs]),
        facets={name: list(values) for name, values in (facets or {}).items()},
        settings={"learner": learner.name, "steps": budget, "seeds": seeds, "seed": seed, "metric": metric},
        notes=_left_out(n, m, curve, low_resource),
    )
    for number in range(seed, seed + seeds):
        rng = np.random.default_rng(number)
        order, others = rng.permutation(n), n + rng.permutation(m)
        trained: dict[bytes, Fitted] = {}
        for name, rows in _training_sets(order, others, curve, low_resource).items():
            chosen = np.sort(rows)  # sets that are equal are trained on once, however they came about
            model = trained.get(chosen.tobytes())
            if model is None:
                model = learner.fit(features[chosen], labels[chosen].tolist(), budget, number)
                trained[chosen.tobytes()] = model
            for tested, on in (("TRTS", theirs), (name, test)) if name == "TRTR" else ((name, test),):
                found.runs.append(
                    Run(
                        name=tested,
                        seed=number,
                        real=int((chosen < n).sum()),
                        synthetic=int((chosen >= n).sum()),
                        steps=model.steps,
                        said=list(model.predict(features[on])),
                    )
                )
    return found


def most_frequent(labels: Sequence[str]) -> str:
    """Of equally frequent ones the first in the order of characters: rows' order must not matter."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def _training_sets(order: Rows, others: Rows, curve: Sequence[int], low_resource: Sequence[int]) -> dict[str, Rows]:
    n, m = len(order), len(others)
    found = {
        "TRTR": order,
        "TSTR": others[:n],
        "TSTR_all": others,
        "T(R+S)TR": np.concatenate([order, others]),
    }
    found |= {f"TSTR_x{times}": others[: times * n] for times in curve if times * n <= m}
    for few in low_resource:
        if few < n:
            found |= {f"R_{few}": order[:few], f"R_{few}+S": np.concatenate([order[:few], others])}
    return found


def _left_out(n: int, m: int, curve: Sequence[int], low_resource: Sequence[int]) -> list[str]:
    notes = []
    if beyond := [times for times in curve if times * n > m]:
        notes.append(f"{m} synthetic rows are too few for {beyond} times the {n} real ones: not on the curve.")
    if beyond := [few for few in low_resource if few >= n]:
        notes.append(f"{n} real rows are no more than {beyond}: not among the small sets.")
    return notes


def nearest_distances(some: Any, others: Any) -> list[float | None]:
    """One minus the cosine of each row to the nearest of the others, dense or sparse; None for a zero row."""
    one, two = _unit(some), _unit(others)
    found: list[float | None] = []
    for part in points.parts(one.shape[0], two.shape[0]):
        product = one[part] @ two.T
        highest = (product if isinstance(product, np.ndarray) else product.toarray()).max(axis=1)
        lengths = abs(one[part]).sum(axis=1)
        there = np.asarray(lengths).ravel() > 0
        found += [max(0.0, 1 - float(cosine)) if known else None for cosine, known in zip(highest, there, strict=True)]
    return found


def _unit(rows: Any) -> Any:
    packages.require("distances of rows", "quality", "sklearn")
    if rows.ndim != 2:
        return np.zeros((rows.shape[0], 1))  # a learner that reads texts: it gives no distances
    from sklearn.preprocessing import normalize

    return normalize(rows)


# Tables


def codes(truth: Sequence[str], *said: Sequence[str]) -> list[Rows]:
    known = {
        label: code for code, label in enumerate(dict.fromkeys(label for side in (truth, *said) for label in side))
    }
    return [np.array([known[label] for label in side], np.int64) for side in (truth, *said)]


def score(metric: Metric, truth: Rows, said: Rows) -> float:
    """Of codes of labels: the share that is right, or the mean F1 of the labels that are in the truth.

    Raises:
        ValueError: no items.
    """
    if not len(truth):
        raise ValueError("there are no items to score")
    if metric == "accuracy":
        return float((truth == said).mean())
    most = int(max(truth.max(), said.max())) + 1
    right = np.bincount(truth[truth == said], minlength=most)
    both = np.bincount(truth, minlength=most) + np.bincount(said, minlength=most)
    there = np.unique(truth)
    return float((2 * right[there] / both[there]).mean())


@dataclass(frozen=True)
class _Answers:
    """Of one kind of run, by seed, beside the truth."""

    truth: Rows
    by_seed: list[Rows]
    metric: Metric

    def scores(self, items: Rows | slice = slice(None)) -> list[float]:
        return [score(self.metric, self.truth[items], said[items]) for said in self.by_seed]


def _answers(found: Utility, *names: str) -> list[_Answers]:
    """Raises BadInput for a name that no run has."""
    groups = []
    for name in names:
        said = [found.base] if name == "base" else [run.said for run in found.runs if run.name == name]
        if not said:
            have = ", ".join(dict.fromkeys(run.name for run in found.runs))
            raise BadInput(f"no run is named {name!r}; there are: {have}")
        groups.append(said)
    answers = []
    for name, said in zip(names, groups, strict=True):
        truth, *by_seed = codes(found.synthetic_truth if name == "TRTS" else found.truth, *said)
        answers.append(_Answers(truth, by_seed, found.metric))
    return answers


def scores(found: Utility, name: str) -> list[float]:
    """Of a kind of run, one a seed; "base" has one."""
    return _answers(found, name)[0].scores()


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of a mean over few seeds, by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    packages.require("intervals over seeds", "quality", "scipy")
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / sqrt(len(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def summary(found: Utility) -> list[dict[str, Any]]:
    """A line for each kind of run: rows, steps, the mean score over seeds with its interval."""
    lines: list[dict[str, Any]] = []
    for name in ("base", *dict.fromkeys(run.name for run in found.runs)):
        values = scores(found, name)
        of = [run for run in found.runs if run.name == name]
        low, high = seed_interval(values) or (None, None)
        lines.append(
            {
                "run": name,
                "real": of[0].real if of else 0,
                "synthetic": of[0].synthetic if of else 0,
                "steps": sorted({run.steps for run in of}),
                "seeds": len(of),
                "score": float(np.mean(values)),
                "low": low,
                "high": high,
            }
        )
    return lines


def difference(found: Utility, one: str = "TSTR", other: str = "TRTR", *, seed: int = 0) -> Measure:
    """The mean score of one kind of run less that of another on the same items, by paired bootstrap over items."""
    some, others = _answers(found, one, other)
    low, high = bootstrap(
        lambda items: float(np.mean(some.scores(items)) - np.mean(others.scores(items))), len(found.truth), seed=seed
    ) or (None, None)
    value = float(np.mean(some.scores()) - np.mean(others.scores()))
    return Measure(
        name=f"{one} - {other}", value=value, low=low, high=high, n=len(found.truth), unit="items", better="high"
    )


def ratio(found: Utility, name: str = "TSTR", *, seed: int = 0, times: int = 1000) -> Measure:
    """u = (TSTR - base) / (TRTR - base): 1 where synthetic rows teach as much as real ones, 0 where nothing.

    The interval is over items and seeds, drawn together for both. None where real rows do not teach more than the base
    knows, beyond chance: then there is nothing to compare with.
    """
    some, real, base = _answers(found, name, "TRTR", "base")
    rng = np.random.default_rng(seed)

    def drawn(items: Rows | slice, chosen: Rows) -> tuple[float, float]:
        bottom = base.scores(items)[0]
        above = [np.array(one.scores(items))[chosen].mean() - bottom for one in (some, real)]
        return float(above[0]), float(above[1])

    n, seeds = len(found.truth), len(real.by_seed)
    pairs = [drawn(rng.integers(0, n, n), rng.integers(0, seeds, seeds)) for _ in range(times if n > 1 else 0)]
    gain, whole = drawn(slice(None), np.arange(seeds))
    least = interval([below for _, below in pairs])
    if whole <= 0 or (least is not None and least[0] <= 0):
        why = "training on real rows scores no higher than the base, beyond chance"
        return Measure(name="u", value=None, n=n, unit="items", better="high", why=why)
    low, high = interval([above / below for above, below in pairs if below > 0]) or (None, None)
    return Measure(name="u", value=gain / whole, low=low, high=high, n=n, unit="items", better="high")


def learning_curve(found: Utility, *, seed: int = 0) -> list[dict[str, Any]]:
    """Synthetic sets of growing size: the score, and the gain over the size before with its interval. `flat` where that
    is not above 0: more rows of this kind are worth nothing from there on."""
    lines: list[dict[str, Any]] = []
    sizes = {run.name: run.synthetic for run in found.runs if run.name.startswith("TSTR_x")}
    names = sorted(sizes, key=sizes.__getitem__)
    gains = [None, *(difference(found, after, before, seed=seed) for before, after in pairwise(names))]
    for name, gain in zip(names, gains, strict=False):
        values = scores(found, name)
        low, high = seed_interval(values) or (None, None)
        line = {"run": name, "synthetic": sizes[name], "score": float(np.mean(values)), "low": low, "high": high}
        if gain is not None:
            line |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
            line["flat"] = gain.low is None or gain.low <= 0
        lines.append(line)
    return lines


def low_resource_curve(found: Utility) -> list[dict[str, Any]]:
    """Few real rows with and without the synthetic ones, and how many real rows would have scored as high as with them.

    `worth_rows`: so many more. `beyond`: "more" where even all real rows score less than with the synthetic ones, "less"
    where the synthetic rows take away from what the smallest real set scores.
    """
    sizes = {run.name: run.real for run in found.runs if run.name.startswith("R_") and not run.synthetic}
    known = [(few, float(np.mean(scores(found, name)))) for name, few in sizes.items()]
    known = sorted([*known, (found.real, float(np.mean(scores(found, "TRTR"))))])
    lines: list[dict[str, Any]] = []
    for name, few in sorted(sizes.items(), key=lambda item: item[1]):
        alone, added = (float(np.mean(scores(found, kind))) for kind in (name, f"{name}+S"))
        equal, beyond = rows_for(known, added)
        lines.append(
            {
                "real": few,
                "score": alone,
                "score_with_synthetic": added,
                "worth_rows": None if equal is None else equal - few,
                "beyond": beyond,
            }
        )
    return lines


def rows_for(known: Sequence[tuple[int, float]], target: float) -> tuple[float | None, Literal["", "more", "less"]]:
    """How many rows score `target`, between sizes in the logarithm of rows; None and on which side, outside of them.

    Args:
        known: (rows, score) by rows, at least one. A larger set that scores less counts as scoring what a smaller does.
    """
    sizes = np.array([rows for rows, _ in known], np.float64)
    best = np.maximum.accumulate([value for _, value in known])
    if target > best[-1] or target < best[0]:
        return None, "more" if target > best[-1] else "less"
    at = int(np.searchsorted(best, target))
    if best[at] == target:
        return float(sizes[at]), ""
    share = (target - best[at - 1]) / (best[at] - best[at - 1])
    return float(np.exp(np.log(sizes[at - 1]) + share * (np.log(sizes[at]) - np.log(sizes[at - 1])))), ""


def slices(found: Utility, values: Sequence[str], names: Sequence[str] = ("TSTR", "TRTR")) -> list[dict[str, Any]]:
    """Scores of the items with each value, by value: `slices(found, found.facets["language"])`.

    Raises:
        BadInput: not a value for each item.
    """
    if len(values) != len(found.truth):
        raise BadInput(f"there are {len(values)} values for {len(found.truth)} test items; give one for each")
    answers = _answers(found, *names)
    column = np.asarray(values, dtype=object)
    lines: list[dict[str, Any]] = []
    for value in sorted(set(values)):
        items = np.flatnonzero(column == value)
        means = {name: float(np.mean(one.scores(items))) for name, one in zip(names, answers, strict=True)}
        lines.append({"slice": value, "items": len(items), **means})
    return lines


def by_distance(found: Utility, parts: int = 4, *, seed: int = 0) -> tuple[list[dict[str, Any]], Measure]:
    """Items in equal parts by their distance to the nearest synthetic row, nearest first; and the gap between the first
    and the last for TSTR, less the same for TRTR, which says how much harder far items are in any case.

    A gap above 0 says that the synthetic rows teach what is near them: patterns more than the task.
    """
    known = [item for item, distance in enumerate(found.distances) if distance is not None]
    name = "near_far_gap"
    if len(known) < 2 * parts:
        why = f"{len(known)} items with a distance are too few for {parts} parts"
        return [], Measure(name=name, value=None, n=len(known), unit="items", better="low", why=why)
    ordered = sorted(known, key=lambda item: (found.distances[item], item))
    cut = [np.array(part) for part in np.array_split(np.array(ordered), parts)]
    synthetic, real = _answers(found, "TSTR", "TRTR")
    lines = [
        {
            "part": number,
            "items": len(items),
            "distance": float(np.mean([found.distances[item] for item in items])),
            "TSTR": float(np.mean(synthetic.scores(items))),
            "TRTR": float(np.mean(real.scores(items))),
        }
        for number, items in enumerate(cut)
    ]

    def lost(items: Rows) -> float:
        return float(np.mean(synthetic.scores(items)) - np.mean(real.scores(items)))

    rng = np.random.default_rng(seed)
    drawn = [lost(rng.choice(cut[0], len(cut[0]))) - lost(rng.choice(cut[-1], len(cut[-1]))) for _ in range(1000)]
    low, high = interval(drawn) or (None, None)
    gap = lost(cut[0]) - lost(cut[-1])
    n = len(cut[0]) + len(cut[-1])
    return lines, Measure(name=name, value=gap, low=low, high=high, n=n, unit="items", better="low")


# Texts without labels


class TextUtility(msgspec.Struct, kw_only=True):
    """What language models spend on texts that they have not seen."""

    bits: dict[str, list[float]]
    """By "base", "TRTR", "TSTR", "T(R+S)TR" and "TRTS": of each real test text, for TRTS of each synthetic one."""
    characters: list[int]
    """Of each real test text, its end counted as one."""
    synthetic_characters: list[int]
    trained: dict[str, int]
    """Characters that each model was trained on."""
    settings: dict[str, Any]


def text_utility(
    real_train: Sequence[str],
    real_test: Sequence[str],
    synthetic: Sequence[str],
    *,
    unit: Literal["character", "word"] = "character",
    order: int = 5,
    seed: int = 0,
    budget: int = 2_000_000,
) -> TextUtility:
    """Train n-gram models on real, synthetic and both, and keep the bits that each spends on every text.

    Real and synthetic rows are drawn by chance until both have as many characters as the smaller has, at most `budget`;
    T(R+S)TR takes both draws. The base is the frequencies of single units in the real rows.

    Args:
        unit: what is counted. Words that a model has not seen are spelt by a model of characters.
        order: units of an n-gram.

    Raises:
        BadInput: a set has no text, or a training text holds a test item.
    """
    named = {"real training": real_train, "real test": real_test, "synthetic": synthetic}
    for name, texts in named.items():
        if not any(texts):
            raise BadInput(f"there is no text in the {name} rows")
    stop_at_leaks(real_test, {"synthetic": synthetic, "real training": real_train})
    size = min(budget, sum(map(len, real_train)), sum(map(len, synthetic)))
    real, made = (_drawn(texts, size, seed) for texts in (real_train, synthetic))
    sets = {"TRTR": real, "TSTR": made, "T(R+S)TR": [*real, *made]}
    models = {name: language_model(texts, unit=unit, order=order) for name, texts in sets.items()}
    bits = {name: model.bits(real_test) for name, model in models.items()}
    bits["base"] = language_model(real, unit=unit, order=1).bits(real_test)
    bits["TRTS"] = models["TRTR"].bits(synthetic)
    return TextUtility(
        bits=bits,
        characters=[len(text) + 1 for text in real_test],
        synthetic_characters=[len(text) + 1 for text in synthetic],
        trained={name: sum(map(len, texts)) for name, texts in sets.items()},
        settings={"unit": unit, "order": order, "seed": seed, "budget": budget, "smoothing": "interpolated Kneser-Ney"},
    )


def _drawn(texts: Sequence[str], size: int, seed: int) -> list[str]:
    """Texts in an order by chance until so many characters; the last is cut."""
    found, left = [], size
    for row in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if left <= 0:
            break
        found.append(texts[row][:left])
        left -= len(found[-1])
    return found


def bits_per_character(found: TextUtility, name: str, *, seed: int = 0) -> Measure:
    """Of a kind of run, over all texts; the interval by bootstrap over texts."""
    bits, sizes = _spent(found, name)
    low, high = bootstrap(lambda rows: float(bits[rows].sum() / sizes[rows].sum()), len(bits), seed=seed) or (
        None,
        None,
    )
    value = float(bits.sum() / sizes.sum())
    return Measure(
        name=f"bits_{name}", value=value, low=low, high=high, n=int(sizes.sum()), unit="characters", better="low"
    )


def text_ratio(found: TextUtility, name: str = "TSTR", *, seed: int = 0) -> Measure:
    """u = (base - TSTR) / (base - TRTR) in bits a character, as `ratio`."""
    (some, sizes), (real, _), (base, _) = (_spent(found, kind) for kind in (name, "TRTR", "base"))
    saved = base - real
    least = bootstrap(lambda rows: float(saved[rows].sum()), len(sizes), seed=seed)
    n = int(sizes.sum())
    if saved.sum() <= 0 or (least is not None and least[0] <= 0):
        why = "a model of the real rows spends no fewer bits than the base, beyond chance"
        return Measure(name="u", value=None, n=n, unit="characters", better="high", why=why)

    def of(rows: Rows | slice) -> float:
        return float((base - some)[rows].sum() / max(1e-9, saved[rows].sum()))

    low, high = bootstrap(of, len(sizes), seed=seed) or (None, None)
    return Measure(name="u", value=of(slice(None)), low=low, high=high, n=n, unit="characters", better="high")


def _spent(found: TextUtility, name: str) -> tuple[Numbers, Numbers]:
    if name not in found.bits:
        raise BadInput(f"no model is named {name!r}; there are: {', '.join(found.bits)}")
    sizes = found.synthetic_characters if name == "TRTS" else found.characters
    return np.array(found.bits[name]), np.array(sizes, np.float64)
