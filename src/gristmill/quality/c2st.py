"""Classifier two-sample test: can a classifier tell a set from its reference, by what, and which rows above all?

Lopez-Paz and Oquab 2017 (arXiv 1610.06545). A logistic regression learns to tell the two apart and is asked about rows
that it has not seen; an AUC of 0.5 says that it cannot, 1 that it always can. The AUC is of out-of-fold scores; p-values
are of one half of the rows, asked about by a model of the other half. Three runs: `raw` on the texts as they are; `clean`
after trivial tells are taken out (white space, Markdown, encoding) and lengths are matched; `embedding` on vectors of
the texts as they are, as the embedder was given them. The trivial tells are reported apart.

Promised: a row's score comes from a model that has seen neither the row nor another of its group; equal texts are of one
group. Not promised: that an AUC of 0.5 means equal distributions (a stronger classifier may see more), nor that near-copies
are kept together where no column names their group.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.text import SPACELESS
from gristmill.ops.vectors import Vectors
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Numbers, bootstrap
from gristmill.quality.points import Rows
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "c2st"
RULES = (Rule(check=CHECK, score="synthetic", reason="artificial", above=0.99),)

MARKDOWN = re.compile(
    r"^\s{0,3}(?:#{1,6}\s|[-*+]\s|\d{1,3}[.)]\s|>\s?|```.*$|(?:[-*_]\s*){3,}$)|[*_`]{1,3}", re.MULTILINE
)
PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "–": "-", "—": "-", "−": "-"}
)
PIECE = re.compile(rf"\s*(?:[{SPACELESS}]|[^\s{SPACELESS}]+)")
"""A word with the white space before it; of scripts without spaces, a sign."""
LETTERS = 0.3
"""How much shorter a row of letter sequences is than one of words: what a word explains is not put on its letters."""
TELLS: dict[str, Callable[[str], float]] = {
    "length": lambda text: float(len(PIECE.findall(text))),
    "ends_in_white_space": lambda text: float(text != text.rstrip()),
    "starts_with_white_space": lambda text: float(text != text.lstrip()),
    "markdown": lambda text: float(len(MARKDOWN.findall(text))),
    "line_breaks": lambda text: float(text.count("\n")),
    "carriage_returns": lambda text: float(text.count("\r")),
    "not_ascii": lambda text: float(sum(not sign.isascii() for sign in text)),
}
"""What tells sets apart without a word being read."""


def clean(text: str) -> str:
    """Without what tells sets apart by accident: Unicode in one form, straight quotes and dashes, no Markdown marks, single
    spaces. The words and their marks stay."""
    plain = MARKDOWN.sub(" ", unicodedata.normalize("NFKC", text).translate(PLAIN))
    return " ".join(plain.split())


def matched(ours: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both sides, equally many texts, cut so that they have the same lengths in words (in signs, of scripts without spaces).

    The longest of one side is paired with the longest of the other, and so on; both are cut at one word less than the
    shorter of a pair has, at least one. So neither side alone ends where its writer ended.
    """
    sides = [[PIECE.findall(text) for text in side] for side in (ours, theirs)]
    orders = [sorted(range(len(side)), key=lambda row, side=side: len(side[row])) for side in sides]  # type: ignore[misc]
    found: list[list[str]] = [[""] * len(ours), [""] * len(theirs)]
    for pair in zip(*orders, strict=True):
        kept = max(1, min(len(side[row]) for side, row in zip(sides, pair, strict=True)) - 1)
        for side, cut, row in zip(sides, found, pair, strict=True):
            cut[row] = "".join(side[row][:kept]).strip()
    return found[0], found[1]


def auc(scores: Numbers, synthetic: npt.NDArray[np.bool_]) -> float:
    """The chance that a synthetic row scores above a human one, ties for half; 0.5 where one kind is missing."""
    m, n = int(synthetic.sum()), int((~synthetic).sum())
    if not m or not n:
        return 0.5
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[which][synthetic].sum() - m * (m + 1) / 2) / (m * n))


def accuracy_p(accuracy: float, n: int) -> float:
    """The chance of so many right or more where nothing tells n rows apart: accuracy ~ Normal(0.5, 1 / (4 n))."""
    return erfc((accuracy - 0.5) * sqrt(4 * n) / sqrt(2)) / 2


def permutation_p(
    scores: Numbers, synthetic: npt.NDArray[np.bool_], groups: Rows, *, permutations: int = 1000, seed: int = 0
) -> float:
    """The chance of so great an AUC when the labels are dealt anew, rows of one group and label together."""
    rng = np.random.default_rng(seed)
    units, which = np.unique(groups * 2 + synthetic, return_inverse=True)
    observed, labels = auc(scores, synthetic), units % 2 == 1
    as_much = sum(auc(scores, rng.permutation(labels)[which]) >= observed - 1e-12 for _ in range(permutations))
    return (1 + as_much) / (permutations + 1)


def density_ratio(synthetic: float, clip: float = 10.0) -> float:
    """How much more likely a row is in the reference than in the set, (1 - p) / p, at most `clip`: as weights, these
    make of a set one that is distributed as the reference."""
    return clip if synthetic * (1 + clip) <= 1 else (1 - synthetic) / synthetic


def dealt(groups: Rows, synthetic: npt.NDArray[np.bool_], folds: int, seed: int) -> Rows:
    """The fold of each row, 0 to folds - 1: groups stay whole, and each fold gets about as much of either kind.

    The largest groups are dealt first, each to the fold that has least of the group's kind.
    """
    names, which = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), 2), np.int64)
    np.add.at(counts, (which, synthetic.astype(np.int64)), 1)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros((folds, 2), np.int64)
    fold_of = np.empty(len(names), np.int64)
    for group in order.tolist():
        kind = int(counts[group, 1] > counts[group, 0])
        fold = min(range(folds), key=lambda at: (filled[at, kind], filled[at].sum(), at))
        fold_of[group] = fold
        filled[fold] += counts[group]
    found: Rows = fold_of[which]
    return found


def grouped(texts: Sequence[str], names: Sequence[str] | None = None) -> Rows:
    """A number for each row's group: its name where it has one. Rows of equal cleaned text are of one group, whatever
    their names."""
    parent = list(range(len(texts)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, text in enumerate(texts):
        keys = [("text", clean(text))] + ([("name", names[row])] if names is not None and names[row] else [])
        for key in keys:
            parent[root(row)] = root(first.setdefault(key, row))
    return np.array([root(row) for row in range(len(texts))], np.int64)


@dataclass(frozen=True)
class Told:
    """What came of one run."""

    scores: Numbers
    """P(synthetic) of each row, from a model that has not seen its group."""
    synthetic: npt.NDArray[np.bool_]
    groups: Rows
    fold_of: Rows
    models: list[Any]
    """By fold, fitted on all other folds."""

    @property
    def auc(self) -> float:
        return auc(self.scores, self.synthetic)

    @property
    def accuracy(self) -> float:
        return float(((self.scores > 0.5) == self.synthetic).mean())


def classified(
    features: Any, synthetic: npt.NDArray[np.bool_], groups: Rows, *, folds: int = 5, seed: int = 0
) -> Told | None:
    """Out-of-fold chances of being synthetic, by logistic regression.

    Args:
        features: [n, d], dense or sparse.
        groups: rows of one group are never on both sides of a split.

    Returns:
        None where a kind has fewer than two groups, or one large group leaves a fold nothing to learn one kind from: no
        model can then be asked about rows that it has not seen.
    """
    least = min(len(np.unique(groups[synthetic == kind])) for kind in (True, False))
    if least < 2:
        return None
    fold_of = dealt(groups, synthetic, min(folds, least), seed)
    scores, models = np.full(len(synthetic), 0.5), []
    for fold in range(int(fold_of.max()) + 1):
        train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        if len(np.unique(synthetic[train])) < 2:
            return None
        models.append(model(features[train], synthetic[train]))
        scores[test] = models[-1].predict_proba(features[test])[:, 1]
    return Told(scores, synthetic, groups, fold_of, models)


def held_out(features: Any, synthetic: npt.NDArray[np.bool_], groups: Rows, *, seed: int = 0) -> Told | None:
    """One half of the groups asked about by a model of the other: the paper's test. Its scores are independent of each
    other, as out-of-fold scores are not, so that p-values hold."""
    told = classified(features, synthetic, groups, folds=2, seed=seed)
    if told is None:
        return None
    asked = told.fold_of == 1
    return Told(told.scores[asked], synthetic[asked], groups[asked], told.fold_of[asked], told.models)


def model(features: Any, synthetic: npt.NDArray[np.bool_]) -> Any:
    """A logistic regression, fitted: of few features of many (L1) for terms, of all (L2) for dense vectors.

    L1, because one token in every synthetic row is then found among 50,000 others; under L2 their chance differences
    together outweigh it.
    """
    packages.require("the classifier two-sample test", "quality", "sklearn", "scipy")
    from scipy.sparse import issparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

    terms = {"l1_ratio": 1, "C": 10.0, "solver": "liblinear", "random_state": 0} if issparse(features) else {}
    with threadpool_limits(1), warnings.catch_warnings():  # more threads add up in an order of their own, and slower
        warnings.simplefilter("ignore", ConvergenceWarning)  # the ranking of rows is settled long before
        return LogisticRegression(max_iter=200, class_weight="balanced", **terms).fit(features, synthetic)


class Terms:
    """TF-IDF of words and pairs of words, and of three letters in a row, each kind of length 1 a text. Fitted on all
    texts of a run: it sees no label."""

    def __init__(self, texts: Sequence[str], features: int = 50_000) -> None:
        packages.require("the classifier two-sample test", "quality", "sklearn", "scipy")
        from sklearn.feature_extraction.text import TfidfVectorizer

        shared = {"max_features": features, "sublinear_tf": True, "lowercase": False, "dtype": np.float32}
        self.vectorizers: list[tuple[str, Any]] = []
        self.names: list[str] = []
        self.kinds: list[str] = []
        for kind, one in (
            ("words", TfidfVectorizer(token_pattern=r"\w+|[^\w\s]+|[^\S ]+", ngram_range=(1, 2), **shared)),
            ("letters", TfidfVectorizer(analyzer=_letters, **shared)),
        ):
            try:
                one.fit(texts)
            except ValueError:  # an empty vocabulary
                continue
            self.vectorizers.append((kind, one))
            self.names += one.get_feature_names_out().tolist()
            self.kinds += [kind] * (len(self.names) - len(self.kinds))

    def __call__(self, texts: Sequence[str]) -> Any:
        """A sparse row for each text."""
        from scipy.sparse import csr_matrix, hstack

        if not self.vectorizers:
            return csr_matrix((len(texts), 1), dtype=np.float32)
        blocks = [one.transform(texts) * LETTERS ** (kind != "words") for kind, one in self.vectorizers]
        return hstack(blocks, format="csr")


def _letters(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(len(text) - 2)]


# The report


@dataclass(frozen=True)
class _Sides:
    """Equally many texts of either kind, the synthetic first."""

    texts: list[str]
    groups: Rows
    vectors: Vectors
    """Of the texts as they are."""

    @property
    def synthetic(self) -> npt.NDArray[np.bool_]:
        return np.arange(len(self.texts)) < len(self.texts) // 2

    def cleaned(self) -> _Sides:
        half = len(self.texts) // 2
        texts = [clean(text) for text in self.texts]
        ours, theirs = matched(texts[:half], texts[half:])
        return _Sides(ours + theirs, self.groups, self.vectors)


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    seed: int = 0,
    folds: int = 5,
    clip: float = 10.0,
    group: str | None = None,
    n_sample: int = 5000,
    permutations: int = 1000,
    features: int = 50_000,
    listed: int = 30,
) -> Found:
    """How well a set is told from its reference, by what, and how artificial each row looks.

    Scores `synthetic`: each row's P(synthetic) from a model that has not seen its group, on the cleaned text, at equal
    numbers of both kinds; `weight`: the density ratio that goes with it.

    Args:
        folds: parts that are asked about in turn.
        clip: of a density ratio, at most.
        group: a column whose rows of one value stay together (a seed, a source document).
        n_sample: rows a side that models learn from, at most. All rows are scored.
        permutations: of the labels, for the p-value of the AUC.
        features: words and pairs of words, and as many letter sequences, that are counted.
        listed: features by which the sets are told apart, for either side.

    Raises:
        ValueError: no row has the column `group`.
    """
    found = Found(
        check=CHECK,
        rows={"synthetic": [None] * len(data), "weight": [None] * len(data)},
        tables={"features": [], "tells": []},
        settings={
            "embedder": embed.name,
            "folds": folds,
            "clip": clip,
            "group": group,
            "permutations": permutations,
            "features": features,
            "null_of": "reference",
        },
    )
    ours = _worded(data)
    theirs = _worded(reference) if reference is not None else []
    n = min(n_sample, len(ours), len(theirs))
    found.settings["n"] = n
    if reference is None or n < 2:
        why = (
            "there is no reference" if reference is None else "it takes two rows with text in the set and the reference"
        )
        found.measures = [Measure(name=name, value=None, n=n, why=why) for name in ("auc", "auc_raw", "auc_embedding")]
        return found
    rng = np.random.default_rng(seed)
    drawn, other = rng.permutation(ours)[:n], rng.permutation(theirs)
    named = [*_names(data, group), *_names(reference, group)]
    if group is not None and not any(named):
        raise ValueError(f"neither {data.name} nor {reference.name} has the column {group!r}, which is to name groups")
    texts = [*data.texts, *reference.texts]
    groups = grouped(texts, named if group is not None else None)

    synthetic, human = embed(data.texts), embed(reference.texts)

    def sides(rows: Rows) -> _Sides:
        vectors = [synthetic[row] if row < len(data) else human[row - len(data)] for row in rows.tolist()]
        return _Sides([texts[row] for row in rows.tolist()], groups[rows], np.array(vectors))

    real = sides(np.concatenate([drawn, len(data) + other[:n]]))
    half = min(n, len(theirs) // 2)
    null = sides(len(data) + other[: 2 * half]) if half > 1 else None
    _tells(found, real)
    for run in ("clean", "raw", "embedding"):
        told, held, numbers, terms = _run(run, real, features, folds, seed)
        same = _run(run, null, features, folds, seed)[:2] if null is not None else (None, None)
        _report(found, run, told, held, same, n, permutations, seed)
        if told is None:
            continue
        if terms is not None:
            _features(found, run, model(numbers, told.synthetic), numbers, terms, told.synthetic, listed)
        if run == "clean" and terms is not None:
            _rows(found, data.texts, ours, told, terms, groups, clip)
    found.notes.append("the clean run cuts texts so that both sides have the same lengths; rows are scored uncut")
    if group is None:
        found.notes.append(
            "only equal texts are kept together: near-copies across folds raise the AUC, name their group"
        )
    return found


def _worded(data: Set) -> list[int]:
    return [row for row, text in enumerate(data.texts) if text.strip()]


def _names(data: Set, group: str | None) -> list[str]:
    column = data.column(group) if group is not None else None
    return ["" if one is None else str(one) for one in column or [None] * len(data)]


def _run(
    run: str, sides: _Sides, features: int, folds: int, seed: int
) -> tuple[Told | None, Told | None, Any, Terms | None]:
    texts = sides.cleaned().texts if run == "clean" else sides.texts
    terms = None
    if run == "embedding":
        # Unit vectors leave a regression little to hold on to; at this length a dimension varies by about 1.
        numbers: Any = sides.vectors * sqrt(sides.vectors.shape[1])
    else:
        terms = Terms(texts, features)
        numbers = terms(texts)
    told = classified(numbers, sides.synthetic, sides.groups, folds=folds, seed=seed)
    return told, held_out(numbers, sides.synthetic, sides.groups, seed=seed), numbers, terms


def widened(value: float, bounds: tuple[float, float], factor: float) -> tuple[float, float]:
    """An interval, so many times as wide about its value, within 0 and 1."""
    low, high = (value + factor * (bound - value) for bound in bounds)
    return max(0.0, min(low, value)), min(1.0, max(high, value))


def _report(
    found: Found,
    run: str,
    told: Told | None,
    held: Told | None,
    null: tuple[Told | None, Told | None],
    n: int,
    permutations: int,
    seed: int,
) -> None:
    suffix = "" if run == "clean" else f"_{run}"
    if told is None or held is None:
        why = "the set or the reference has too few groups to ask a model about rows that it has not seen"
        found.measures.append(Measure(name=f"auc{suffix}", value=None, n=2 * n, why=why))
        return
    same, same_held = null
    bounds = bootstrap(
        lambda rows: auc(told.scores[rows], told.synthetic[rows]),
        len(told.scores),
        seed=seed,
        times=500,
        groups=told.groups.tolist(),
    )
    # Rows of different folds teach each other's models, so that each pair counts twice: twice the variance of
    # independent scores. Measured on random splits of 1,000 news articles: standard deviation 0.030, not 0.018.
    low, high = widened(told.auc, bounds, sqrt(2)) if bounds else (None, None)

    def add(name: str, value: float, null: float | None, n: int = 2 * n, **more: Any) -> None:
        found.measures.append(Measure(name=f"{name}{suffix}", value=value, null=null, n=n, **more))

    def tests(told: Told) -> tuple[float, float]:
        p = permutation_p(told.scores, told.synthetic, told.groups, permutations=permutations, seed=seed)
        return accuracy_p(told.accuracy, len(told.scores)), p

    add("auc", told.auc, same.auc if same else None, low=low, high=high, better="low")
    add("distance", 2 * told.auc - 1, 2 * same.auc - 1 if same else None, better="low")
    add("accuracy", told.accuracy, same.accuracy if same else None, better="low")
    values, nulls = tests(held), tests(same_held) if same_held else (None, None)
    add("accuracy_p", values[0], nulls[0], len(held.scores), better="high")
    add("p_value", values[1], nulls[1], len(held.scores), better="high")


def _tells(found: Found, sides: _Sides) -> None:
    """Each trivial tell alone, the strongest first."""
    half = len(sides.texts) // 2
    for name, tell in TELLS.items():
        values = np.array([tell(text) for text in sides.texts])
        found.tables["tells"].append(
            {
                "tell": name,
                "auc": auc(values, sides.synthetic),
                "mean": float(values[:half].mean()),
                "reference_mean": float(values[half:].mean()),
            }
        )
    found.tables["tells"].sort(key=lambda row: -abs(row["auc"] - 0.5))


def _features(
    found: Found, run: str, fitted: Any, numbers: Any, terms: Terms, synthetic: npt.NDArray[np.bool_], listed: int
) -> None:
    """What speaks for either side, by weight; with the share of either side's rows that have it."""
    weights = fitted.coef_[0][: len(terms.names)]
    there = numbers.astype(bool).astype(np.float64)
    shares = [np.asarray(there[np.flatnonzero(synthetic == kind)].mean(axis=0)).ravel() for kind in (True, False)]
    order = np.argsort(-weights, kind="stable")
    for speaks_for, chosen in (("set", order[:listed]), ("reference", order[::-1][:listed])):
        for feature in chosen.tolist():
            if (weights[feature] > 0) == (speaks_for == "set") and weights[feature] != 0:
                found.tables["features"].append(
                    {
                        "run": run,
                        "speaks_for": speaks_for,
                        "feature": terms.names[feature],
                        "kind": terms.kinds[feature],
                        "weight": float(weights[feature]),
                        "share": float(shares[0][feature]),
                        "reference_share": float(shares[1][feature]),
                    }
                )


def _rows(
    found: Found, texts: Sequence[str], rows: Sequence[int], told: Told, terms: Terms, groups: Rows, clip: float
) -> None:
    """Every row of the set by the model that has not seen its group."""
    known = dict(zip(told.groups.tolist(), told.fold_of.tolist(), strict=True))
    by_fold: list[list[int]] = [[] for _ in told.models]
    for row in rows:
        by_fold[known.get(int(groups[row]), row % len(told.models))].append(row)
    for fitted, chosen in zip(told.models, by_fold, strict=True):
        for start in range(0, len(chosen), 2000):
            part = chosen[start : start + 2000]
            scores = fitted.predict_proba(terms([clean(texts[row]) for row in part]))[:, 1]
            for row, score in zip(part, scores.tolist(), strict=True):
                found.rows["synthetic"][row] = score
                found.rows["weight"][row] = density_ratio(score, clip)
