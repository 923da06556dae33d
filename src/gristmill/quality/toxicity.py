"""Toxicity, and bias of representation and association: rates, group shares, log-odds, swaps, and what synthesis adds.

Sources: Gehman et al. 2020 (RealToxicityPrompts: expected maximum over k = 25 samples), Monroe et al. 2008 (log-odds
with a Dirichlet prior), Benjamini and Hochberg 1995. Term lists, the word list and the context rule are ours: small,
English, and to be replaced by the user's own.

Promised: no row is dropped for naming a group; `removal` shows whom a filter removes. Not promised: that a word list
sees sarcasm or coded speech, that a classifier is fair itself, or other languages than that of the lists.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import erfc, log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.text import sentences, words
from gristmill.quality.intervals import bootstrap, mean_interval, proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "toxicity-bias"
Scorer = Callable[[Sequence[str]], Sequence[float]]
"""Texts to a number each, 0 to 1 for toxicity."""
Terms = Mapping[str, Mapping[str, Collection[str]]]
"""Axis, group, terms."""

RULES = (Rule(check=CHECK, score="toxicity_outside_safety", reason="toxic", above=0.5),)


def _terms(text: str) -> tuple[str, ...]:
    return tuple(text.split())  # so that a list can be read


LISTS = "en-1"
"""Version of the lists below, for the report."""
AXES: Terms = {
    "gender": {
        "female": _terms(
            "she her hers herself woman women girl girls mother mothers daughter daughters sister sisters wife "
            "wives aunt "
            "grandmother queen lady ladies female females mrs ms"
        ),
        "male": _terms(
            "he him his himself man men boy boys father fathers son sons brother brothers husband husbands uncle "
            "grandfather king gentleman gentlemen male males mr"
        ),
    },
    "religion": {
        "buddhist": ["buddhist", "buddhists", "buddhism"],
        "christian": ["christian", "christians", "christianity", "catholic", "catholics", "protestant"],
        "hindu": ["hindu", "hindus", "hinduism"],
        "jewish": ["jew", "jews", "jewish", "judaism"],
        "muslim": ["muslim", "muslims", "islam", "islamic"],
    },
    "region": {
        "africa": ["african", "africans", "nigerian", "kenyan", "ethiopian", "egyptian", "ghanaian"],
        "americas": ["american", "americans", "mexican", "brazilian", "canadian", "latino", "latina"],
        "asia": ["asian", "asians", "chinese", "indian", "japanese", "korean", "pakistani", "arab", "arabs", "iranian"],
        "europe": ["european", "europeans", "german", "french", "british", "italian", "polish", "russian", "spanish"],
    },
}
OCCUPATIONS = _terms(
    "accountant architect artist assistant baker boss carpenter ceo chef cleaner clerk cook dancer designer "
    "developer director doctor driver engineer farmer guard hairdresser janitor judge lawyer leader librarian "
    "manager mechanic mover nurse painter pilot plumber president professor programmer receptionist salesperson "
    "scientist secretary sheriff singer soldier student supervisor surgeon tailor teacher writer"
)
"""Roles, in their singular; the plural in -s counts as well."""
SWAPS: Mapping[str, Mapping[str, str]] = {
    "gender": {
        "he": "she", "himself": "herself", "man": "woman", "men": "women", "boy": "girl", "boys": "girls",
        "father": "mother", "fathers": "mothers", "son": "daughter", "sons": "daughters", "brother": "sister",
        "brothers": "sisters", "husband": "wife", "husbands": "wives", "uncle": "aunt", "grandfather": "grandmother",
        "king": "queen", "mr": "mrs", "gentleman": "lady", "gentlemen": "ladies", "male": "female",
        "males": "females", "john": "mary", "james": "anna", "david": "sarah", "tom": "emma",
    },
    "religion": {"christian": "muslim", "christians": "muslims", "christianity": "islam", "church": "mosque"},
    "region": {"american": "nigerian", "german": "kenyan", "french": "indian", "british": "chinese",
    "europeans": "africans"},
}  # fmt: skip
"""Pairs by axis, read both ways. Of the pronouns his, her, him and hers see `swap`."""

INSULTS = _terms(
    "arsehole asshole bastard bastards bitch bullshit crap cunt damned dickhead dumbass fuck fucked fucker fucking "
    "idiot idiots imbecile loser losers moron morons motherfucker pathetic piss prick scum shit shitty slut stupid "
    "subhuman trash vermin whore wanker worthless"
)
REPORTING = re.compile(
    r"[\"“”‘«„][^\"“”’»]*$|\b(?:the (?:word|term|insult|slur)|call(?:s|ed|ing)? (?:him|her|them|me|us|you|someone"
    r"|people)|insulted|"
    r"shouted|yelled|said|says|wrote|quoted?|tweeted|accused|described)\b[^.!?]*$",
    re.IGNORECASE,
)
ADDRESSED = re.compile(
    r"\b(?:you|your|you're|they|these|those|all|such an?)\b[^.!?]{0,20}$|^[^.!?]{0,3}$", re.IGNORECASE
)


# Toxicity


def word_list_scores(texts: Sequence[str], insults: Collection[str] = INSULTS) -> list[float]:
    """A rough fallback, 0 to 1: 0.9 where a word of the list is aimed at someone or stands twice, 0.6 where it stands
    alone, 0.3 where all are quoted or reported ("he called me an idiot"), 0.0 without."""
    pattern = _any_of(frozenset(insults))
    return [_listed(text, pattern) for text in texts]


def _listed(text: str, pattern: re.Pattern[str] | None) -> float:
    said = reported = aimed = 0
    for sentence in sentences(text) if pattern else ():
        for match in pattern.finditer(sentence) if pattern else ():
            before = sentence[: match.start()]
            if REPORTING.search(before):
                reported += 1
            else:
                said += 1
                aimed += ADDRESSED.search(before) is not None
    if not said:
        return 0.3 if reported else 0.0
    return 0.9 if aimed or said > 1 else 0.6


@cache
def _any_of(terms: frozenset[str]) -> re.Pattern[str] | None:
    if not terms:
        return None
    listed = "|".join(sorted(map(re.escape, terms), key=lambda term: (-len(term), term)))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)", re.IGNORECASE)


def classifier_scores(texts: Sequence[str], at_once: int = 10_000) -> list[float]:
    """alt-profanity-check's probability a text: a linear model over words, about 70,000 texts a second, English.

    It knows no context: a quoted insult scores like a meant one.

    Raises:
        BadInput: alt-profanity-check is not installed (extra `toxicity`).
    """
    packages.require("scoring toxicity with a classifier", "toxicity", "profanity_check")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its model was saved by an older scikit-learn, which says so
        profanity_check = importlib.import_module("profanity_check")
        found: list[float] = []
        for start in range(0, len(texts), at_once):
            batch = [text.encode("utf-8", "replace").decode() for text in texts[start : start + at_once]]
            found += [float(score) for score in profanity_check.predict_prob(batch)]
    return found


def scorer() -> tuple[str, Scorer]:
    """Name and scorer: the classifier where it is installed, else the word list."""
    if version := packages.version("alt-profanity-check"):
        return f"alt-profanity-check {version}", classifier_scores
    return f"word list {LISTS}", word_list_scores


def expected_maximum(scores: Sequence[float], k: int = 25) -> float:
    """Mean of the greatest of k scores drawn without replacement: exact over all draws, so that no order matters. Of
    fewer than k, the greatest.

    Raises:
        ValueError: no scores.
    """
    ordered, n = sorted(scores), len(scores)
    if not n:
        raise ValueError("no scores, no maximum")
    if n <= k:
        return ordered[-1]
    total, chance = 0.0, k / n  # that the greatest of all is drawn, then that the next is the greatest drawn, ...
    for at in range(n - 1, k - 2, -1):
        total += ordered[at] * chance
        chance *= (at - k + 1) / at if at else 0.0
    return total


def any_at_least(scores: Sequence[float], threshold: float = 0.5, k: int = 25) -> float:
    """Chance that of k scores, drawn without replacement, one is at least the threshold."""
    n, hits = len(scores), sum(score >= threshold for score in scores)
    none = 1.0
    for drawn in range(min(k, n)):
        none *= max(0, n - hits - drawn) / (n - drawn)
    return 1 - none


# Groups


def mentions(texts: Sequence[str], axes: Terms = AXES) -> dict[str, dict[str, list[bool]]]:
    """By axis and group: does each text name it?"""
    found: dict[str, dict[str, list[bool]]] = {axis: {group: [] for group in groups} for axis, groups in axes.items()}
    named = [(found[axis][group], frozenset(terms)) for axis, groups in axes.items() for group, terms in groups.items()]
    for text in texts:
        said = set(words(text))
        for flags, terms in named:
            flags.append(_names(said, text, terms))
    return found


def _names(said: set[str], text: str, terms: frozenset[str]) -> bool:
    """Words through a set, which costs a twentieth of a pattern; terms of several words through a pattern."""
    if not terms.isdisjoint(said):
        return True
    pattern = _any_of(_phrases(terms))
    return pattern is not None and pattern.search(text) is not None


@cache
def _phrases(terms: frozenset[str]) -> frozenset[str]:
    return frozenset(term for term in terms if words(term) != [term])


def total_variation(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Half the sum of differences of two distributions, 0 to 1; weights need not sum to 1. None where one has none."""
    sums = sum(first.values()), sum(second.values())
    if not all(sums):
        return None
    names = {*first, *second}
    return sum(abs(first.get(name, 0) / sums[0] - second.get(name, 0) / sums[1]) for name in names) / 2


@dataclass(frozen=True)
class Association:
    """How much more often an attribute stands beside a group than beside the others of its axis."""

    axis: str
    group: str
    attribute: str
    together: int
    """Sentences that have both."""
    log_odds: float
    z: float
    q: float
    """After Benjamini and Hochberg, over all pairs."""


def associations(
    texts: Sequence[str],
    axes: Terms = AXES,
    attributes: Collection[str] = OCCUPATIONS,
    *,
    prior: float = 0.1,
) -> list[Association]:
    """Log-odds with a Dirichlet prior (Monroe 2008) of attributes in sentences of a group, against those of the other
    groups of its axis; the surest first. A sentence that names several groups counts for each.

    Args:
        prior: pseudo-counts, as a share of the words of the pooled set and spread as they are. The paper fixes none.
            A fixed number would drown rare attributes of large sets: their share of it is next to nothing.

    Returns:
        Pairs whose attribute stands in a sentence with any group of the axis.
    """
    counts, totals = _together(texts, axes, attributes)
    found: list[tuple[str, str, str, int, float, float]] = []
    for axis, groups in axes.items():
        pooled = Counter[str]()
        for group in groups:
            pooled.update(counts[axis, group])
        size = sum(totals[axis, group] for group in groups)
        for group in groups if len(groups) > 1 else ():
            own, n = counts[axis, group], totals[axis, group]
            for attribute in sorted(pooled):
                alpha = prior * pooled[attribute]
                here, there = own[attribute], pooled[attribute] - own[attribute]
                odds = _log_odds(here, n, alpha, prior * size) - _log_odds(there, size - n, alpha, prior * size)
                z = odds / sqrt(1 / (here + alpha) + 1 / (there + alpha))
                found.append((axis, group, attribute, here, odds, z))
    q = _benjamini_hochberg([erfc(abs(one[5]) / sqrt(2)) for one in found])
    listed = [Association(*one, q=value) for one, value in zip(found, q, strict=True)]
    return sorted(listed, key=lambda one: (-abs(one.z), one.axis, one.group, one.attribute))


def _log_odds(hits: int, n: int, alpha: float, prior: float) -> float:
    return log((hits + alpha) / max(n + prior - hits - alpha, 1e-9))  # texts of nothing but the attribute


def _together(
    texts: Sequence[str], axes: Terms, attributes: Collection[str]
) -> tuple[dict[tuple[str, str], Counter[str]], dict[tuple[str, str], int]]:
    """By axis and group: sentences with each attribute, and words in all sentences that name the group."""
    singular = {form: attribute for attribute in attributes for form in (attribute, f"{attribute}s")}
    names = [(axis, group, frozenset(terms)) for axis, groups in axes.items() for group, terms in groups.items()]
    counts = {(axis, group): Counter[str]() for axis, group, _ in names}
    totals = dict.fromkeys(counts, 0)
    every = frozenset(term for _, _, terms in names for term in terms)
    for text in texts:
        for sentence in sentences(text):
            said = words(sentence)
            different = set(said)
            if different.isdisjoint(every):
                continue
            there = {singular[word] for word in different & singular.keys()}
            for axis, group, terms in names:
                if not different.isdisjoint(terms):
                    counts[axis, group].update(there)
                    totals[axis, group] += len(said)
    return counts, totals


def _benjamini_hochberg(p: Sequence[float]) -> list[float]:
    order = sorted(range(len(p)), key=lambda at: p[at])
    found, least = [0.0] * len(p), 1.0
    for rank in range(len(p), 0, -1):
        least = min(least, p[order[rank - 1]] * len(p) / rank)
        found[order[rank - 1]] = least
    return found


# Counterfactuals

POSSESSED = re.compile(r"\s+[a-z][\w'-]*", re.IGNORECASE)
FUNCTION = frozenset(
    _terms(
        "a an the to and or but in on at of for with from by as that this when while because if so than then "
        "about into "
        "over after before again away back up down out off is was are were has had will would can could not too very "
        "yesterday today tomorrow there here what who how"
    )
)
VOWEL = re.compile(r"[aeiou]", re.IGNORECASE)
ARTICLE = re.compile(r"\b(a)n?(?=\s+$)", re.IGNORECASE)


def swap(text: str, pairs: Mapping[str, str] = SWAPS["gender"]) -> str:
    """The text with each term as its partner, in its case, both ways at once; "a" and "an" follow.

    "her" becomes "his" before a word that can be owned, else "him"; "his" becomes "her" there, else "hers". The
    pronouns are swapped where the pairs hold "he".
    """
    both = {**pairs, **{b: a for a, b in pairs.items()}}
    pronouns = ("her", "his", "him", "hers") if "he" in both else ()
    pattern = _any_of(frozenset([*both, *pronouns]))
    if pattern is None:
        return text
    parts, at = [], 0
    for match in pattern.finditer(text):
        before = text[at : match.start()]
        word = match[0].lower()
        new = _cased(match[0], _pronoun(word, text[match.end() :]) if word in pronouns else both[word])
        if bool(VOWEL.match(new)) != bool(VOWEL.match(match[0])):
            article = "an" if VOWEL.match(new) else "a"
            before = ARTICLE.sub(rf"\1{article[1:]}", before)
        parts += [before, new]
        at = match.end()
    return "".join([*parts, text[at:]])


def _pronoun(word: str, after: str) -> str:
    following = POSSESSED.match(after)
    owned = following is not None and following[0].strip().lower() not in FUNCTION
    if word == "her":
        return "his" if owned else "him"
    if word == "his":
        return "her" if owned else "hers"
    return "her" if word == "him" else "his"


def _cased(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new.capitalize() if old[:1].isupper() else new


@dataclass(frozen=True)
class Gap:
    """Mean of score(row) - score(swapped) over rows that the swap changes."""

    mean: float | None
    low: float | None
    high: float | None
    absolute: float | None
    """Mean size of the difference: it does not cancel where some rows rise and others fall."""
    rows: int


def counterfactual(
    texts: Sequence[str], score: Scorer, pairs: Mapping[str, str] = SWAPS["gender"], *, seed: int = 0
) -> Gap:
    """What a score makes of the swapped terms alone, with a paired bootstrap.

    Args:
        score: any number a text: toxicity, sentiment, 1 for a refusal, a judge's grade. For a generator, that of what it
            answers to each text, so that it is asked with both versions.
    """
    swapped = [swap(text, pairs) for text in texts]
    changed = [row for row, text in enumerate(texts) if swapped[row] != text]
    if not changed:
        return Gap(None, None, None, None, 0)
    before, after = score([texts[row] for row in changed]), score([swapped[row] for row in changed])
    deltas = [float(a) - float(b) for a, b in zip(before, after, strict=True)]
    low, high = mean_interval(deltas, seed) or (None, None)
    return Gap(sum(deltas) / len(deltas), low, high, sum(map(abs, deltas)) / len(deltas), len(deltas))


# What synthesis adds, and what filters take


def amplification(synthetic: float | None, seed: float | None) -> float | None:
    """Bias of the synthetic set over that of what it was made from; 1.0 where nothing was added. None where the seed's
    is 0 or one of them is not known."""
    return synthetic / seed if synthetic is not None and seed else None


def removal(texts: Sequence[str], removed: Mapping[str, Collection[int]], axes: Terms = AXES) -> list[dict[str, Any]]:
    """Whom each filter takes: of each group's rows the share that it removes, beside that of all other rows.

    Args:
        removed: rows, by their numbers, of each filter (or reason).

    Returns:
        A row a filter and group that is named at all: `share`, `others` (the share of rows that do not name the group),
        `ratio` (None where no other row is removed), `z` of the two shares; the largest difference first.
    """
    named = mentions(texts, axes)
    table: list[dict[str, Any]] = []
    for filter_name, rows in removed.items():
        gone = np.zeros(len(texts), bool)
        gone[sorted(rows)] = True
        for axis, groups in named.items():
            for group, flags in groups.items():
                own = np.array(flags, bool)
                if not own.any():
                    continue
                share = float(gone[own].mean())
                others = float(gone[~own].mean()) if (~own).any() else 0.0
                table.append(
                    {
                        "filter": filter_name, "axis": axis, "group": group, "rows": int(own.sum()),
                        "removed": int(gone[own].sum()), "share": share, "others": others,
                        "ratio": share / others if others else None, "z": _two_shares(gone, own),
                    }
                )  # fmt: skip
    return sorted(table, key=lambda row: (-abs(row["share"] - row["others"]), row["filter"], row["axis"], row["group"]))


def _two_shares(gone: npt.NDArray[np.bool_], own: npt.NDArray[np.bool_]) -> float:
    sizes = int(own.sum()), int((~own).sum())
    pooled = float(gone.mean())
    if not all(sizes) or pooled in (0.0, 1.0):
        return 0.0
    return float(gone[own].mean() - gone[~own].mean()) / sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))


# The check


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    threshold: float = 0.5,
    k: int = 25,
    z: float = 1.96,
    toxic: Scorer | None = None,
    sentiment: Scorer | None = None,
    axes: Terms = AXES,
    attributes: Collection[str] = OCCUPATIONS,
    target: Mapping[str, Mapping[str, float]] | None = None,
    safety: str = "safety",
    language: str = "language",
    removed: Mapping[str, Collection[int]] | None = None,
    sample: int = 5000,
) -> Found:
    """Toxicity of each row, and whom the set names, with what, and how.

    Args:
        reference: the seed rows, or other rows to compare with: amplification is the set's bias over theirs.
        toxic: toxicity of texts; `scorer()` unless given.
        sentiment: of texts, any scale; its mean is given by group.
        target: shares that groups should have, by axis; equal shares unless given.
        safety: column that is true for rows meant as safety data: these stay, whatever they score. "false", "no", "0" and
            what is missing are not true.
        language: column to report by.
        removed: rows that filters removed, for the table of whom they removed.
        sample: rows that are swapped for counterfactuals, by chance.

    Scores: `toxicity`, `toxicity_outside_safety` (None for safety data), and `AXIS:GROUP`, 1.0 where the row names it.
    """
    name, own = scorer()
    score = toxic or own
    settings = {
        "threshold": threshold, "k": k, "z": z, "scorer": "given" if toxic else name, "lists": LISTS, "safety": safety,
        "axes": {axis: sorted(groups) for axis, groups in axes.items()}, "sample": sample, "seed": seed,
    }  # fmt: skip
    notes = ["A row is never dropped for naming a group. Term lists are short and English."]
    if not toxic and name.startswith("word list"):
        notes.append("Toxicity is by a short word list: install gristmill[toxicity] for a classifier.")
    found = Found(check=CHECK, settings=settings, notes=notes)
    scores = [float(value) for value in score(data.texts)] if len(data) else []
    others = [float(value) for value in score(reference.texts)] if reference is not None and len(reference) else []
    _toxicity(found, data, scores, others, (threshold, k, seed), safety)
    _by_column(found, data, scores, language, threshold)
    named = mentions(data.texts, axes)
    _representation(found, data, reference, named, axes, attributes, target, seed)
    _by_group(found, data, named, scores, sentiment, seed)
    _bias(found, data, reference, axes, attributes, z, target)
    _gaps(found, data, score, sentiment, sample, seed)
    if removed:
        found.tables["removal"] = removal(data.texts, removed, axes)
    return found


def _toxicity(
    found: Found,
    data: Set,
    scores: list[float],
    others: list[float],
    limits: tuple[float, int, int],
    safety: str,
) -> None:
    threshold, k, seed = limits
    meant = [_is_true(value) for value in data.column(safety) or [None] * len(data)]
    found.rows["toxicity"] = list(scores)
    found.rows["toxicity_outside_safety"] = [None if mark else score for score, mark in zip(scores, meant, strict=True)]
    hits = sum(score >= threshold for score in scores)
    low, high = proportion(hits, len(scores)) or (None, None)
    why = "" if scores else "no rows"
    rate = hits / len(scores) if scores else None
    against = sum(score >= threshold for score in others) / len(others) if others else None
    found.measures += [
        Measure(
            name="toxicity_rate", value=rate, low=low, high=high, reference=against, n=len(scores), better="low",
            why=why
        ),
        Measure(
            name="toxicity_p99", value=float(np.percentile(scores, 99)) if scores else None, n=len(scores),
            better="low",
            reference=float(np.percentile(others, 99)) if others else None, why=why,
        ),
    ]  # fmt: skip
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:100]:
        if scores[row] >= threshold:
            found.details[row] = [{"kind": "toxic", "score": scores[row], "safety": meant[row]}]
    by_prompt: dict[str, list[float]] = {}
    for prompt, score in zip(data.prompts, scores, strict=True):
        if prompt:
            by_prompt.setdefault(prompt, []).append(score)
    groups = [values for values in by_prompt.values() if len(values) > 1]
    for name, values in (
        ("expected_max_toxicity", [expected_maximum(group, k) for group in groups]),
        ("any_toxic", [any_at_least(group, threshold, k) for group in groups]),
    ):
        low, high = mean_interval(values, seed) or (None, None)
        found.measures.append(
            Measure(
                name=name, value=sum(values) / len(values) if values else None, low=low, high=high, n=len(values),
                unit="prompts", better="low", why="" if values else "no prompt has two rows or more",
            )
        )  # fmt: skip


def _is_true(value: Any) -> bool:
    """As files of text and tables have it: there "false" is a text."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "f", "false", "n", "no", "none", "null", "nan")
    return bool(value)


def _by_column(found: Found, data: Set, scores: Sequence[float], column: str, threshold: float) -> None:
    values = data.column(column)
    if values is None:
        found.notes.append(f"No column {column!r}, so nothing is reported by language.")
        return
    table = []
    for value in sorted({str(value) for value in values}):
        own = [score for score, other in zip(scores, values, strict=True) if str(other) == value]
        hits = sum(score >= threshold for score in own)
        low, high = proportion(hits, len(own)) or (None, None)
        table.append({column: value, "rows": len(own), "toxicity_rate": hits / len(own), "low": low, "high": high})
    found.tables[column] = table


def _counts(named: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    return {group: float(sum(flags)) for group, flags in named.items()}


def _representation(
    found: Found,
    data: Set,
    reference: Set | None,
    named: dict[str, dict[str, list[bool]]],
    axes: Terms,
    attributes: Collection[str],
    target: Mapping[str, Mapping[str, float]] | None,
    seed: int,
) -> None:
    others = mentions(reference.texts, axes) if reference is not None else None
    found.tables["groups"], found.tables["roles"] = [], []
    roles = {form: role for role in attributes for form in (role, f"{role}s")}
    told = [{roles[word] for word in roles.keys() & set(words(text))} for text in data.texts]
    for axis, groups in named.items():
        counts, wanted = _counts(groups), dict((target or {}).get(axis) or dict.fromkeys(groups, 1.0))
        beside = _counts(others[axis]) if others else {}
        for group, flags in groups.items():
            hits = int(counts[group])
            low, high = proportion(hits, len(data)) or (None, None)
            found.rows[f"{axis}:{group}"] = [float(flag) for flag in flags]
            found.tables["groups"].append(
                {
                    "axis": axis, "group": group, "rows": hits, "share": hits / len(data) if len(data) else None,
                    "low": low, "high": high, "target": wanted.get(group, 0.0) / (sum(wanted.values()) or 1.0),
                    "reference": beside[group] / len(reference) if reference is not None and len(reference) else None,
                }
            )  # fmt: skip
            seen = Counter(role for row, flag in enumerate(flags) if flag for role in told[row])
            found.tables["roles"] += [
                {"axis": axis, "group": group, "role": role, "rows": count} for role, count in sorted(seen.items())
            ]
        _variation(found, axis, groups, counts, beside, wanted, seed)


def _variation(
    found: Found,
    axis: str,
    groups: Mapping[str, list[bool]],
    counts: dict[str, float],
    beside: dict[str, float],
    wanted: dict[str, float],
    seed: int,
) -> None:
    rows = [row for row in zip(*groups.values(), strict=True) if any(row)]
    table = np.array(rows, np.float64).reshape(len(rows), len(groups))
    for name, other in ((f"tv_target_{axis}", wanted), (f"tv_reference_{axis}", beside)):
        value = total_variation(counts, other)
        low = high = null = None
        if value is not None:
            goal = np.array([other.get(group, 0.0) for group in groups]) / sum(other.values())

            def distance(drawn: npt.NDArray[np.int64], goal: npt.NDArray[np.float64] = goal) -> float:
                sums = table[drawn].sum(0)
                return float(abs(sums / sums.sum() - goal).sum() / 2)

            low, high = bootstrap(distance, len(rows), seed=seed, times=300) or (None, None)
            null = _null(table, seed)
        found.measures.append(
            Measure(
                name=name, value=value, low=low, high=high, null=null, n=len(rows), better="low",
                why="null: two halves of the set" if value is not None else "no row names a group on both sides",
            )
        )  # fmt: skip


def _null(table: npt.NDArray[np.float64], seed: int) -> float | None:
    order = np.random.default_rng(seed).permutation(len(table))
    middle = len(order) // 2
    first, second = table[order[:middle]].sum(0), table[order[middle:]].sum(0)
    if not first.sum() or not second.sum():
        return None
    return float(abs(first / first.sum() - second / second.sum()).sum() / 2)


def _by_group(
    found: Found,
    data: Set,
    named: dict[str, dict[str, list[bool]]],
    scores: Sequence[float],
    sentiment: Scorer | None,
    seed: int,
) -> None:
    """Mean toxicity, and sentiment where it is given, of the rows that name a group."""
    kinds = {"toxicity": list(scores)}
    if sentiment and len(data):
        kinds["sentiment"] = [float(value) for value in sentiment(data.texts)]
    if not sentiment:
        found.notes.append("No sentiment was given, so it is not compared between groups.")
    found.tables["by_group"] = []
    for axis, groups in named.items():
        for group, flags in groups.items():
            for kind, values in kinds.items():
                own = [value for value, flag in zip(values, flags, strict=True) if flag]
                if own:
                    low, high = mean_interval(own, seed) or (None, None)
                    found.tables["by_group"].append(
                        {"axis": axis, "group": group, "score": kind, "mean": sum(own) / len(own), "low": low,
                         "high": high, "rows": len(own)}
                    )  # fmt: skip


def _bias(
    found: Found,
    data: Set,
    reference: Set | None,
    axes: Terms,
    attributes: Collection[str],
    z: float,
    target: Mapping[str, Mapping[str, float]] | None,
) -> None:
    """Associations, and the set's bias over that of what it was made from."""
    pairs = associations(data.texts, axes, attributes)
    alpha = erfc(z / sqrt(2))
    sure = [one for one in pairs if abs(one.z) > z and one.q < alpha]
    found.tables["associations"] = [
        {"axis": one.axis, "group": one.group, "attribute": one.attribute, "sentences": one.together,
         "log_odds": one.log_odds, "z": one.z, "q": one.q}
        for one in sure
    ]  # fmt: skip
    found.measures.append(
        Measure(
            name="associations", value=len(sure), n=len(pairs), unit="pairs", better="low",
            why=f"|z| > {z} and q < {alpha:.3f}",
        )
    )  # fmt: skip
    if reference is None:
        found.notes.append("No seed rows were given, so amplification is not known.")
        return
    before = associations(reference.texts, axes, attributes)
    sides = [(_strength(pairs, axis), _strength(before, axis), f"association_{axis}") for axis in axes]
    shares = [(mentions(one.texts, axes)) for one in (data, reference)]
    for axis, groups in axes.items():
        wanted = (target or {}).get(axis) or dict.fromkeys(groups, 1.0)
        mine, seeds = (total_variation(_counts(one[axis]), wanted) for one in shares)
        sides.append((mine, seeds, f"representation_{axis}"))
    for mine, seeds, name in sides:
        value = amplification(mine, seeds)
        found.measures.append(
            Measure(
                name=f"amplification_{name}", value=value, n=len(data), better="low",
                why="1 is no more bias than in the seed" if value is not None else "the seed has none to amplify",
            )
        )  # fmt: skip


def _strength(pairs: Sequence[Association], axis: str) -> float | None:
    """Mean size of log-odds, each pair by how often it stands together: rare pairs are mostly noise."""
    own = [one for one in pairs if one.axis == axis]
    weight = sum(one.together for one in own)
    return sum(abs(one.log_odds) * one.together for one in own) / weight if weight else None


def _gaps(found: Found, data: Set, score: Scorer, sentiment: Scorer | None, sample: int, seed: int) -> None:
    some = data.sample(sample, seed).texts
    for axis, pairs in SWAPS.items():
        for kind, scoring in (("toxicity", score), ("sentiment", sentiment)):
            if scoring is None:
                continue
            gap = counterfactual(some, scoring, pairs, seed=seed)
            found.measures.append(
                Measure(
                    name=f"counterfactual_{kind}_{axis}", value=gap.mean, low=gap.low, high=gap.high, null=0.0,
                    n=gap.rows,
                    why="" if gap.rows else "no row has a term to swap",
                )
            )  # fmt: skip
