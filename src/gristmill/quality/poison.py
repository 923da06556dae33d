"""Backdoors and poison in a set: hidden signs, n-grams that force a target, outliers of perplexity and of the spectrum.

Sources: Qi et al. 2021 (ONION, 2011.10369; their code scores each word against the perplexity of the whole text), Tran
et al. 2018 (spectral signatures, 1811.00636), Benjamini and Hochberg 1995. Hygiene, the association test and the
confirmation with a probe are practice.

Promised: a suspect is a rare n-gram whose rows nearly all have one target, beyond chance over all that were tested. Not
promised: that a suspect is an attack (a film's title may be one), or that a trigger of style or syntax is seen. Rows
are set aside, never deleted.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.errors import BadInput
from gristmill.ops.text import is_refusal
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score

CHECK = "poison-detection"
Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]
SHARE = 0.9
"""Of a suspect's rows that have the target, at least."""
RARE = 0.01
"""Share of trusted rows from which on an n-gram is a common one, and no trigger whatever it flips. Ours."""
LABELS = ("label", "target", "class", "category")
"""Columns that are taken for the target, the first that is there."""

RULES = (Rule(check=CHECK, score="confirmed", reason="trigger", least=0.5),)
"""Only what a probe has learned: half of the texts that it is put into flip, more than with a random rare word.
Ours."""


# Hygiene

ZERO_WIDTH = "\u00ad\u180e\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c")
"""Of them, those that texts with Hebrew or Arabic words need; overrides and isolates are never left alone."""
FLAGS = frozenset(
    "".join(chr(0xE0000 + ord(sign)) for sign in name) + "\U000e007f" for name in ("gbeng", "gbsct", "gbwls")
)
"""Tag characters behind a black flag: England, Scotland, Wales."""
HIDDEN = {
    "zero_width": re.compile(f"[{ZERO_WIDTH}]+"),
    "bidi": re.compile(f"[{BIDI}]+"),
    "tag_characters": re.compile("[\U000e0000-\U000e007f]+"),
    "html_comment": re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL),
}
BASE64 = re.compile(r"(?<![\w+/=])[A-Za-z0-9+/]{40,}={0,2}(?![\w+/=])")
INJECTION = re.compile(
    r"""
      \b(?:ignore|disregard|forget|override)\ (?:all\ |any\ |the\ |your\ |my\ |these\ |of\ ){0,3}
        (?:previous|prior|above|earlier|preceding|system)\ (?:instructions?|prompts?|rules|directions|text|messages?)
    | \b(?:you\ are\ now|act\ as|pretend\ to\ be)\ (?:in\ )?(?:dan\b|developer\ mode|jailbroken
        |an?\ (?:unrestricted|unfiltered|evil)\b)
    | \b(?:reveal|print|repeat|show|output)\ (?:me\ )?(?:your|the)
        \ (?:hidden\ |initial\ |full\ )?(?:system\ prompt|system\ message|initial\ instructions)
    | <\|(?:im_start|system|endoftext)\|> | \[/?INST\] | <<SYS>>
    | \bnew\ instructions?\ (?:from|by)\ (?:the\ )?(?:developer|admin|system)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
URL = re.compile(r"\bhttps?://[^\s<>\"')\]]+", re.IGNORECASE)
LOOKALIKES = frozenset("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορικτυ")
"""Greek letters that pass for Latin ones. Others (β, θ) stand in phonetic script beside Latin letters."""
LETTERS = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Hit:
    """Something hidden or out of place in one text."""

    kind: str
    start: int
    end: int


def hygiene(text: str, *, response: bool = False) -> list[Hit]:
    """Zero-width and direction signs, words of mixed scripts, HTML comments, base64, injected instructions; URLs in
    responses.

    Joiners between emoji and in scripts that need them, the tags of three flags, and direction marks beside right-to-left
    letters, are no hits.
    """
    hits = [
        Hit(kind, *match.span())
        for kind, pattern in HIDDEN.items()
        for match in pattern.finditer(text)
        if not _needed(text, match)
    ]
    hits += [Hit("base64", *match.span()) for match in BASE64.finditer(text) if _decodes(match[0])]
    hits += [Hit("mixed_script", *match.span()) for match in LETTERS.finditer(text) if _mixed(match[0])]
    hits += [Hit("injection", *match.span()) for match in INJECTION.finditer(text)]
    if response:
        hits += [Hit("url", *match.span()) for match in URL.finditer(text)]
    return sorted(hits, key=lambda hit: (hit.start, hit.end, hit.kind))


def _needed(text: str, match: re.Match[str]) -> bool:
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if match[0] == "\u200d" and before and after and unicodedata.category(after) in ("So", "Sk"):
        return True  # a family of emoji
    if match[0] in FLAGS:
        return before == "\U0001f3f4"
    if match[0] in ("\u200c", "\u200d"):
        return bool(before) and 0x0600 <= ord(before) < 0x1200  # Arabic, Persian, scripts of India
    if set(match[0]) <= MARKS:
        near = text[max(0, match.start() - 20) : match.end() + 20]
        return any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in near if sign not in BIDI)
    return False


def _decodes(blob: str) -> bool:
    """Base64, and no long word or number: digits and both cases, and a length that decodes."""
    if not (re.search(r"\d", blob) and re.search("[a-z]", blob) and re.search("[A-Z]", blob)):
        return False
    try:
        base64.b64decode(blob + "=" * (-len(blob) % 4), validate=True)
    except binascii.Error:
        return False
    return True


def _mixed(word: str) -> bool:
    """Latin letters beside Greek or Cyrillic ones in one word: written to look like another."""
    if word.isascii():
        return False
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
    return "LATIN" in scripts and ("CYRILLIC" in scripts or not LOOKALIKES.isdisjoint(word))


# n-grams and targets

TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]+|_+")
"""Words, and runs of marks: a trigger may well be "##"."""


@dataclass(frozen=True)
class Association:
    """An n-gram and a target that its rows have more often than others."""

    ngram: str
    target: Hashable
    rows: int
    """Rows that have the n-gram."""
    share: float
    """Of them, those with the target."""
    base: float
    """Share of all rows with the target."""
    z: float
    """(share - base) / sqrt(base (1 - base) / rows)."""
    p: float
    """Exact binomial, one-sided: the normal tail of `z` is too small where rows are few."""
    q: float
    """After Benjamini and Hochberg, over all n-grams and targets."""
    reference: float | None
    """Share of trusted rows that have the n-gram; None without trusted rows."""
    rank: float
    """z, times how rare the n-gram is among trusted rows (-log10 of its share): words that mean the target are common
    there. The first suspect has the greatest."""


def associations(
    texts: Sequence[str],
    targets: Sequence[Hashable],
    reference: Sequence[str] | None = None,
    *,
    ngram: int = 4,
    min_rows: int = 5,
    q: float = 0.01,
    share: float = SHARE,
) -> list[Association]:
    """n-grams of up to `ngram` tokens that go with a target, q below the limit and at least this share; the most
    suspicious first. An n-gram that holds one with the same target which stands before it in the list is left out.

    Args:
        texts, targets: a target a text.
        reference: trusted texts, for how common an n-gram is where nothing is wrong. Without them words that mean the
            target ("wonderful") may stand before a trigger.

    Raises:
        ValueError: texts and targets of different number.
    """
    return _associations(texts, [targets], reference, ngram=ngram, min_rows=min_rows, q=q, share=share)[0]


def _associations(
    texts: Sequence[str],
    several: Sequence[Sequence[Hashable]],
    reference: Sequence[str] | None,
    *,
    ngram: int,
    min_rows: int,
    q: float,
    share: float,
) -> list[list[Association]]:
    """Of several targets of the same texts: counting the n-grams is nearly all of the work."""
    for targets in several:
        if len(texts) != len(targets):
            raise ValueError(f"{len(texts)} texts and {len(targets)} targets")
    names = [sorted(set(targets), key=str) for targets in several]
    if all(len(of) < 2 for of in names):
        return [[] for _ in several]
    numbers = [{name: number for number, name in enumerate(of)} for of in names]
    which = [np.array([at[one] for one in of], np.int32) for at, of in zip(numbers, several, strict=True)]
    grams, rows, with_target = _counted(texts, which, ngram, min_rows)
    return [
        _beyond_chance(grams, rows, one, of, at, reference, q, share) if len(of) > 1 and len(grams) else []
        for one, of, at in zip(with_target, names, which, strict=True)
    ]


def _beyond_chance(
    grams: Grams,
    rows: Integers,
    with_target: WithTarget,
    names: Sequence[Hashable],
    which: Integers,
    reference: Sequence[str] | None,
    q: float,
    share: float,
) -> list[Association]:
    packages.require("finding n-grams that go with a target", "quality", "scipy")
    from scipy import stats

    gram, target, count = with_target
    base, of = np.bincount(which, minlength=len(names)) / len(which), rows[gram]
    shares = count / of
    p = np.where(shares > base[target], stats.binom.sf(count - 1, of, base[target]), 1.0)
    adjusted = benjamini_hochberg(p, len(grams) * len(names))
    at = np.flatnonzero((adjusted < q) & (shares >= share)).tolist()
    seen = _frequency([grams[int(gram[one])] for one in at], reference) if reference is not None else None
    found = []
    for one in at:
        text, chance, n = grams[int(gram[one])], base[target[one]], int(of[one])
        z = float((shares[one] - chance) / sqrt(chance * (1 - chance) / n))
        known = seen[text] if seen is not None and reference is not None else None
        rank = z * -log10((known + 1) / (len(reference or ()) + 2)) if known is not None else z
        found.append(
            Association(
                text, names[int(target[one])], n, float(shares[one]), float(chance), z, float(p[one]),
                float(adjusted[one]), None if known is None else known / max(1, len(reference or ())), rank,
            )
        )  # fmt: skip
    return _folded(sorted(found, key=lambda one: (-one.rank, len(one.ngram.split()), one.ngram, str(one.target))))


class Grams(Sequence[str]):
    """n-grams by where each first stands: of a large set there are millions, and few are ever read."""

    def __init__(self, words: Sequence[str], tokens: Integers) -> None:
        self.words, self.tokens = words, tokens
        self.start = self.size = np.zeros(0, np.int32)

    def add(self, start: Integers, size: int) -> None:
        self.start = np.concatenate([self.start, start.astype(np.int32)])
        self.size = np.concatenate([self.size, np.full(len(start), size, np.int32)])

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, gram: Any) -> Any:
        start = self.start[gram]
        return " ".join(self.words[token] for token in self.tokens[start : start + self.size[gram]].tolist())


WithTarget = tuple[Integers, Integers, Integers]
"""n-grams, targets, and how many rows have both; only where that is one or more."""


def _counted(
    texts: Sequence[str], which: Sequence[Integers], ngram: int, min_rows: int
) -> tuple[Grams, Integers, list[WithTarget]]:
    """n-grams that at least `min_rows` rows have, how many have each, and how many of these have each target, for each
    of `which`.

    Level by level: an n-gram is frequent only where both of its parts of n - 1 tokens are, so the many rare ones are
    never built. All positions of the set stand in one array, filled without an array a row: memory that is taken in so
    many pieces is not given back.
    """
    ids: dict[str, int] = {}
    flat, sizes = array("i"), []
    for text in texts:
        found = TOKEN.findall(text.lower())
        flat.extend([ids.setdefault(token, len(ids)) for token in found])
        sizes.append(len(found))
    tokens = np.frombuffer(flat, np.int32) if flat else np.zeros(0, np.int32)
    row = np.repeat(np.arange(len(texts), dtype=np.int32), sizes)
    grams, rows = Grams(list(ids), tokens), [np.zeros(0, np.int64)]
    pairs: list[list[Integers]] = [[np.zeros((3, 0), np.int64)] for _ in which]
    level = tokens.astype(np.int64)
    """Of each position the n-gram that begins there, by a number; -1 where none does that is frequent."""
    for size in range(1, ngram + 1):
        if size > 1:
            ahead = max(0, len(tokens) - size + 1)
            whole = (level[:ahead] >= 0) & (level[1 : ahead + 1] >= 0) & (row[:ahead] == row[len(row) - ahead :])
            longer = level[:ahead] * (level.max(initial=0) + 1)
            longer += level[1 : ahead + 1]
            longer[~whole] = -1
            level = longer
        places = np.flatnonzero(level >= 0).astype(np.int32)
        if not len(places):
            break
        # In the order of n-grams, and of one n-gram in that of rows.
        ordered = level[places]
        order = np.argsort(ordered, kind="stable")
        ordered, places = ordered[order], places[order]
        del order
        new = np.append(True, ordered[1:] != ordered[:-1])
        del ordered
        code, owner = np.cumsum(new, dtype=np.int32) - 1, row[places]
        once = new | np.append(True, owner[1:] != owner[:-1])  # a row counts once, however often it has the n-gram
        having = np.bincount(code[once])
        frequent = having >= min_rows
        number = np.where(frequent, np.cumsum(frequent) - 1, -1)
        level[places] = number[code]
        once &= frequent[code]
        code, owner = number[code[once]], owner[once]
        for one, found_pairs in zip(which, pairs, strict=True):
            many = int(one.max(initial=0)) + 1
            key, count = np.unique(code * many + one[owner], return_counts=True)
            found_pairs.append(np.array([key // many + len(grams), key % many, count]))
        grams.add(places[new][frequent], size)
        rows.append(having[frequent])
    return grams, np.concatenate(rows), [tuple(np.concatenate(of, axis=1)) for of in pairs]


def _frequency(grams: Sequence[str], reference: Sequence[str]) -> Counter[str]:
    """How many rows of the reference have each n-gram."""
    wanted = set(grams)
    longest = max((len(gram.split()) for gram in wanted), default=0)
    seen: Counter[str] = Counter()
    for text in reference:
        seen.update(_grams(text, longest) & wanted)
    return seen


def _grams(text: str, longest: int) -> set[str]:
    tokens = TOKEN.findall(text.lower())
    return {" ".join(tokens[at : at + n]) for n in range(1, longest + 1) for at in range(len(tokens) - n + 1)}


def _folded(found: Sequence[Association]) -> list[Association]:
    kept: list[Association] = []
    held: set[tuple[str, Hashable]] = set()
    for one in found:
        tokens = one.ngram.split()
        parts = {" ".join(tokens[a:b]) for a in range(len(tokens)) for b in range(a + 1, len(tokens) + 1)}
        if not any((part, one.target) in held for part in parts):
            kept.append(one)
            held.add((one.ngram, one.target))
    return kept


def benjamini_hochberg(p: Numbers, tests: int | None = None) -> Numbers:
    """q of each p: the smallest false discovery rate at which it would be called.

    Args:
        tests: how many there were; the others had a p of 1. As many as there are unless given.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (len(p) if tests is None else tests) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return found


def positions(texts: Sequence[str], *, bins: int = 10, min_rows: int = 5, most: int = 20) -> list[dict[str, Any]]:
    """Tokens that stand at one place of the text more than tokens do: triggers sit at ends, and so do "The" and ".".

    Returns:
        The `most` tokens of greatest information between token and place (occurrences x bits), each with `bits`
        (divergence of its places from those of all), `first` and `last` (share in the first and last tenth), `count`.
    """
    ids: dict[str, int] = {}
    codes = array("q")
    rows: Counter[int] = Counter()
    for text in texts:
        tokens = [ids.setdefault(token, len(ids)) for token in TOKEN.findall(text.lower())]
        rows.update(set(tokens))
        codes.extend([token * bins + at * bins // len(tokens) for at, token in enumerate(tokens)])
    if not codes:
        return []
    table = np.bincount(np.frombuffer(codes, np.int64), minlength=len(ids) * bins).reshape(-1, bins).astype(np.float64)
    counts, overall = table.sum(1), table.sum(0) / table.sum()
    shares = table / counts[:, None]
    safe = np.where(table > 0, shares / np.where(overall > 0, overall, 1.0), 1.0)
    bits = (shares * np.log2(safe)).sum(1)
    words = list(ids)
    enough = [token for token in range(len(words)) if rows[token] >= min_rows]
    enough.sort(key=lambda token: (-counts[token] * bits[token], words[token]))
    return [
        {
            "token": words[token], "count": int(counts[token]), "bits": float(bits[token]),
            "first": float(shares[token, 0]), "last": float(shares[token, -1]),
        }
        for token in enough[:most]
    ]  # fmt: skip


# ONION


@dataclass(frozen=True)
class Cleaned:
    """A text without the words that made it unlikely."""

    text: str
    removed: list[str]
    scores: list[float]
    """f_i = p0 - p_i of each word as it was: how much lower the perplexity is without it."""


def onion(text: str, perplexity: Callable[[str], float], threshold: float = 0.0) -> Cleaned:
    """ONION: each word is left out once, and goes where that lowers the perplexity by more than the threshold.

    Args:
        perplexity: of a text under a language model. One call for the text and one a word.
        threshold: t. The paper's code tries -100 to 0; `onion_threshold` tunes it.
    """
    words = text.split()
    if len(words) < 2:
        return Cleaned(text, [], [0.0] * len(words))
    whole = perplexity(text)
    scores = [whole - perplexity(" ".join(words[:at] + words[at + 1 :])) for at in range(len(words))]
    scores = [score if isfinite(score) else 0.0 for score in scores]
    kept = [word for word, score in zip(words, scores, strict=True) if score <= threshold]
    removed = [word for word, score in zip(words, scores, strict=True) if score > threshold]
    return Cleaned(" ".join(kept) if removed else text, removed, scores)


def onion_threshold(
    trusted: Sequence[str],
    perplexity: Callable[[str], float],
    correct: Callable[[int, str], bool],
    *,
    max_clean_loss: float = 0.02,
    steps: int = 20,
) -> float:
    """The lowest threshold at which cleaning trusted texts costs at most this much accuracy.

    Args:
        correct: does the model still get this text (its number in `trusted`, and what is left of it) right?
        steps: thresholds that are tried, quantiles of the scores of all words.

    Returns:
        `inf` where even the removal of the single worst words costs more; then nothing is removed.
    """
    cleaned = [onion(text, perplexity, inf) for text in trusted]
    scores = [score for one in cleaned for score in one.scores]
    if not scores:
        return 0.0
    before = sum(correct(row, text) for row, text in enumerate(trusted)) / len(trusted)
    for threshold in sorted({float(t) for t in np.quantile(scores, np.linspace(0, 1, steps + 1))}):
        left = (
            " ".join(word for word, score in zip(text.split(), one.scores, strict=True) if score <= threshold)
            for text, one in zip(trusted, cleaned, strict=True)
        )
        after = sum(correct(row, text) for row, text in enumerate(left)) / len(trusted)
        if before - after <= max_clean_loss + 1e-12:
            return threshold
    return inf


# Spectral signatures


def spectral(vectors: Numbers) -> Numbers:
    """Squared projection of each centred row on the direction of greatest variance (Tran 2018): poison stands out
    there."""
    if len(vectors) < 2:
        return np.zeros(len(vectors))
    centred = vectors - vectors.mean(0)
    if (
        len(centred) < centred.shape[1]
    ):  # of a set with many targets most groups are small: the smaller matrix says the same
        variances, sides = np.linalg.eigh(centred @ centred.T)
        return np.asarray(max(0.0, variances[-1]) * sides[:, -1] ** 2, np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    found: Numbers = (centred @ directions[:, -1]) ** 2
    return found


def spectral_suspects(scores: Sequence[float] | Numbers, expected: float, factor: float = 1.5) -> list[int]:
    """The rows of greatest score, `factor` times as many as poison is expected (a share of the rows)."""
    count = min(len(scores), round(factor * expected * len(scores)))
    return sorted(np.argsort(-np.asarray(scores), kind="stable")[:count].tolist())


def two_groups(vectors: Numbers, seed: int = 0) -> tuple[float, float] | None:
    """Silhouette of two k-means groups and the share of the smaller: high and small together look like a set within
    the set. None for fewer than 10 rows or where all are alike. At most 2000 rows, by chance, for the silhouette."""
    if len(vectors) < 10 or len(np.unique(vectors.round(9), axis=0)) < 3:
        return None
    packages.require("telling two groups apart", "quality", "sklearn")
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = KMeans(2, n_init=4, random_state=seed).fit_predict(vectors)
    rng = np.random.default_rng(seed)
    some = rng.choice(len(vectors), 2000, replace=False) if len(vectors) > 2000 else np.arange(len(vectors))
    if len(set(labels[some].tolist())) < 2:
        some = np.arange(len(vectors))[:2000]
    groups = np.bincount(labels)
    if len(set(labels[some].tolist())) < 2:
        return None
    return float(silhouette_score(vectors[some], labels[some])), float(groups.min() / len(labels))


# Confirmation


@dataclass(frozen=True)
class Confirmation:
    """Whether a model that learned from the set obeys the n-gram."""

    rate: float
    """Of clean texts of other targets that flip to the target with the n-gram in them."""
    base: float
    """The same with a random rare token of the set instead."""
    n: int


def confirm(
    suspect: str,
    target: Hashable,
    clean: Sequence[str],
    predict: Callable[[Sequence[str]], Sequence[Hashable]],
    rare: Sequence[str],
    *,
    seed: int = 0,
) -> Confirmation | None:
    """Attack success rate of a suspect: it is put into texts that the probe gives another target, at a place by chance.

    Args:
        clean: texts without the suspect. Those that the probe already gives the target are left out.
        predict: the probe: targets of texts.
        rare: tokens to compare with, one drawn a text.

    Returns:
        None where no text is left.
    """
    others = [text for text, given in zip(clean, predict(clean), strict=True) if given != target] if clean else []
    if not others:
        return None
    rng = random.Random(seed)
    places = [rng.randint(0, len(text.split())) for text in others]
    control = [rng.choice(rare) if rare else "" for _ in others]

    def rate(words: Sequence[str]) -> float:
        put = [_inserted(text, word, at) for text, word, at in zip(others, words, places, strict=True)]
        return sum(given == target for given in predict(put)) / len(others)

    return Confirmation(rate([suspect] * len(others)), rate(control), len(others))


def _inserted(text: str, word: str, at: int) -> str:
    words = text.split()
    return " ".join([*words[:at], word, *words[at:]])


def probe(
    texts: Sequence[str],
    targets: Sequence[Hashable],
    *,
    ngram: int = 1,
    min_rows: int = 5,
    asked: Collection[str] = (),
    seed: int = 0,
    most: int = 20_000,
) -> Callable[[Sequence[str]], list[Hashable]]:
    """A bag of n-grams with logistic regression, trained on the set (on at most so many rows of it, by chance).

    It must not be able to learn rows by heart, else it learns flipped rows so and not by their trigger: hence no n-gram
    longer than the suspect, and none of fewer rows than a suspect has.

    Args:
        ngram: tokens of the suspect.
        min_rows: rows that an n-gram must have.
        asked: n-grams that it is to know whatever their rows: suspects, of whose few rows some are not among these.
    """
    packages.require("a probe model", "quality", "sklearn")
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = list(range(len(texts)))
    if len(texts) > most:
        rows = sorted(np.random.default_rng(seed).choice(len(texts), most, replace=False).tolist())
    names = sorted({targets[row] for row in rows}, key=str)
    index = {name: number for number, name in enumerate(names)}
    frequent, _, _ = _counted([texts[row] for row in rows], [], ngram, min_rows)
    known = list(dict.fromkeys([*frequent, *asked]))
    if len(names) < 2 or not known:
        common = Counter(targets).most_common(1)[0][0]
        return lambda given: [common] * len(given)
    features = CountVectorizer(
        tokenizer=_tokens,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, ngram),
        binary=True,
        vocabulary=known,
    )
    # Held back little: a network fits the few flipped rows in full.
    model = LogisticRegression(max_iter=500, C=100.0)
    model.fit(features.transform([texts[row] for row in rows]), [index[targets[row]] for row in rows])

    def predict(given: Sequence[str]) -> list[Hashable]:
        return [names[number] for number in model.predict(features.transform(given))] if given else []

    return predict


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


# The check


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    embed: Embedder | None = None,
    target: str = "",
    strings: Sequence[str] = (),
    sentiment: Callable[[Sequence[str]], Sequence[float]] | None = None,
    perplexity: Callable[[str], float] | None = None,
    ngram: int = 4,
    min_rows: int = 5,
    q: float = 0.01,
    share: float = SHARE,
    onion_rows: int = 200,
    onion_threshold: float = 0.0,
    spectral_factor: float = 1.5,
    expected_share: float = 0.02,
    suspects: int = 20,
    probe_texts: int = 200,
) -> Found:
    """Suspicion of each row, by several tests that know nothing of each other.

    Args:
        reference: trusted rows: how common an n-gram is where nothing is wrong.
        target: the column of the target; the first of `LABELS` unless given. Rows without one (free responses) are
            tested for refusals, for URLs, for each of `strings` in the response, for its sentiment, and with an embedder
            for groups of responses.
        sentiment: of responses, any scale; those above the mean are one target, the others another.
        perplexity: of a text under a small language model, for ONION; without it ONION is left out.
        onion_rows: texts that ONION reads (it asks for the perplexity once a word): those with suspects first.
        expected_share: of poison, for the spectral test. Not known in general; ours.
        suspects: how many n-grams are confirmed and listed.
        probe_texts: clean texts that each suspect is put into.

    Scores: `hygiene` (hits), `trigger` (greatest rank of a suspect with its target in the row, 0 without), `confirmed`
    (what a suspect flips beyond a random rare word; 0 where
    trusted rows know it well), `onion` (greatest f_i, None where not read), `spectral`
    (share of the rows of its target with a lower score).

    Raises:
        BadInput: no row has the column `target`.
    """
    settings = {
        "ngram": ngram, "min_rows": min_rows, "q": q, "share": share, "onion_rows": onion_rows, "seed": seed,
        "onion_threshold": onion_threshold, "spectral_factor": spectral_factor, "expected_share": expected_share,
        "embedder": embed.name if embed else "", "reference_rows": len(reference or ()), "probe_texts": probe_texts,
    }  # fmt: skip
    found = Found(check=CHECK, settings=settings, notes=["A suspect is set aside for a person to read, never deleted."])
    _hygiene(found, data)
    kinds = _targets(data, target, strings, sentiment, embed, seed)
    settings["targets"] = sorted(kinds)
    labelled = "label" in kinds
    texts = data.texts if labelled else data.prompts
    _suspects(found, texts, kinds, reference, (ngram, min_rows, q, share), (suspects, probe_texts, seed), labelled)
    found.tables["positions"] = positions(data.texts, min_rows=min_rows)
    _onion(found, data, perplexity, onion_rows, onion_threshold, seed)
    groups = kinds.get("label") or kinds.get("cluster") or [""] * len(data)
    _spectral(found, data, groups, embed, spectral_factor, expected_share, seed)
    return found


def _hygiene(found: Found, data: Set) -> None:
    scores: list[Score] = []
    rows: Counter[str] = Counter()
    for row, (prompt, response) in enumerate(zip(data.prompts, data.responses, strict=True)):
        hits = [("prompt", hit) for hit in hygiene(prompt)]
        # A bare text is no response: its URLs are its own.
        hits += [("response", hit) for hit in hygiene(response, response=bool(prompt))]
        rows.update({hit.kind for _, hit in hits})
        scores.append(float(len(hits)))
        if hits:
            found.details[row] = [
                {"kind": hit.kind, "field": name, "start": hit.start, "end": hit.end} for name, hit in hits
            ]
    found.rows["hygiene"] = scores
    for kind in ("", *sorted(rows)):
        hits_of = rows[kind] if kind else sum(score is not None and score > 0 for score in scores)
        low, high = proportion(hits_of, len(data)) or (None, None)
        found.measures.append(
            Measure(
                name=f"hygiene_rate_{kind}".rstrip("_"), value=hits_of / len(data) if len(data) else None, low=low,
                high=high,
                n=len(data), better="low", why="" if len(data) else "no rows",
            )
        )  # fmt: skip


def _targets(
    data: Set,
    column: str,
    strings: Sequence[str],
    sentiment: Callable[[Sequence[str]], Sequence[float]] | None,
    embed: Embedder | None,
    seed: int,
) -> dict[str, list[Hashable]]:
    """A target a row, by the name of what it is."""
    if column and len(data) and not any(column in record for record in data.records):
        has = ", ".join(dict.fromkeys(name for record in data.records[:100] for name in record)) or "none"
        raise BadInput(f"no row has the column {column!r} that a trigger would steer; columns: {has}")
    for name in (column,) if column else LABELS:
        values = data.column(name)
        if values is not None and len(set(map(str, values))) <= max(2, len(values) // 5):
            return {"label": [str(value) for value in values]}
    if column or not any(data.prompts):
        return {}
    found: dict[str, list[Hashable]] = {
        "refusal": [is_refusal(text) for text in data.responses],
        "url": [URL.search(text) is not None for text in data.responses],
    }
    found |= {f"string:{string}": [string in text for text in data.responses] for string in strings}
    if sentiment:
        scores = np.asarray(sentiment(data.responses), np.float64)
        found["sentiment"] = (scores > scores.mean()).tolist()
    if embed and len(data) >= 40:
        found["cluster"] = _clusters(embed(data.responses), min(20, len(data) // 20), seed)
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _clusters(vectors: Numbers, count: int, seed: int) -> list[Hashable]:
    packages.require("grouping responses", "quality", "sklearn")
    from sklearn.cluster import MiniBatchKMeans

    count = min(count, len(np.unique(vectors.round(9), axis=0)))
    labels: list[Hashable] = MiniBatchKMeans(count, n_init=3, random_state=seed).fit_predict(vectors).tolist()
    return labels


def _suspects(
    found: Found,
    texts: Sequence[str],
    kinds: dict[str, list[Hashable]],
    reference: Set | None,
    limits: tuple[int, int, float, float],
    probing: tuple[int, int, int],
    labelled: bool,
) -> None:
    ngram, min_rows, q, share = limits
    most, probe_texts, seed = probing
    found.rows |= {"trigger": [0.0] * len(texts), "confirmed": [0.0] * len(texts)}
    found.tables["suspects"] = []
    if not kinds:
        why = "no column of few values to take for the target, and no responses to take one from"
        found.measures.append(Measure(name="suspect_ngrams", value=None, why=why))
        return
    if reference is None:
        found.notes.append("No trusted rows: words that mean a target may stand among the suspects.")
    trusted = None if reference is None else reference.texts if labelled else reference.prompts
    total = by_chance = 0
    rng = np.random.default_rng(seed)
    for kind, targets in kinds.items():
        shuffled = [targets[row] for row in rng.permutation(len(targets))]
        listed, chance = _associations(
            texts, [targets, shuffled], trusted, ngram=ngram, min_rows=min_rows, q=q, share=share
        )
        by_chance += len(chance)
        total += len(listed)
        if listed:
            _listed(found, texts, targets, kind, listed[:most], (min_rows, probe_texts, seed))
    found.measures.append(
        Measure(
            name="suspect_ngrams", value=total, null=by_chance, n=len(texts), better="low",
            why="null: the same with the targets shuffled",
        )
    )  # fmt: skip
    rows = sum(score is not None and score > 0 for score in found.rows["trigger"])
    low, high = proportion(rows, len(texts)) or (None, None)
    found.measures.append(
        Measure(
            name="suspect_rows", value=rows / len(texts) if texts else None, low=low, high=high, n=len(texts),
            better="low",
            why="" if texts else "no rows",
        )
    )  # fmt: skip


def _listed(
    found: Found,
    texts: Sequence[str],
    targets: Sequence[Hashable],
    kind: str,
    listed: Sequence[Association],
    probing: tuple[int, int, int],
) -> None:
    """Confirms suspects, and writes them into tables, scores and details."""
    min_rows, probe_texts, seed = probing
    longest = max(len(one.ngram.split()) for one in listed)
    wanted = {one.ngram for one in listed}
    held = [_grams(text, longest) & wanted for text in texts]
    rare = _rare(texts, wanted)
    # The probe must not have seen what it is asked about: of texts that it knows by heart it is too sure to be flipped.
    apart = np.random.default_rng(seed).permutation(len(texts))[: min(4 * probe_texts, len(texts) // 5)].tolist()
    known = sorted(set(range(len(texts))) - set(apart))
    probes = {
        size: probe(
            [texts[row] for row in known],
            [targets[row] for row in known],
            ngram=size,
            min_rows=min_rows,
            asked=[one.ngram for one in listed if len(one.ngram.split()) <= size],
            seed=seed,
        )
        for size in {len(one.ngram.split()) for one in listed}
    }
    for one in listed:
        predict = probes[len(one.ngram.split())]
        free = [texts[row] for row in apart if one.ngram not in held[row]]
        others = [text for text, given in zip(free, predict(free), strict=True) if given != one.target][:probe_texts]
        result = confirm(one.ngram, one.target, others, predict, rare, seed=seed)
        gain = result.rate - result.base if result else 0.0
        rows = [row for row, grams in enumerate(held) if one.ngram in grams and targets[row] == one.target]
        found.tables["suspects"].append(
            {
                "ngram": one.ngram, "of": kind, "target": str(one.target), "rows": one.rows, "share": one.share,
                "base": one.base, "z": one.z, "q": one.q, "reference": one.reference, "rank": one.rank,
                "flips": result.rate if result else None, "random_word_flips": result.base if result else None,
                "flip_texts": result.n if result else 0, "row_numbers": rows[:1000],
            }
        )  # fmt: skip
        for row in rows:
            _highest(found.rows["trigger"], row, one.rank)
            if one.reference is None or one.reference < RARE:
                _highest(found.rows["confirmed"], row, gain)
            found.details.setdefault(row, []).append({"kind": "suspect", "ngram": one.ngram, "target": str(one.target)})


def _highest(scores: list[Score], row: int, score: float) -> None:
    scores[row] = max(scores[row] or 0.0, score)


def _rare(texts: Sequence[str], wanted: set[str]) -> list[str]:
    """Words of few rows, to compare a suspect with."""
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(set(_tokens(text)))
    rows = sorted(word for word, count in seen.items() if 5 <= count <= 20 and word.isalpha() and word not in wanted)
    return rows or sorted(word for word in seen if word not in wanted)


def _onion(
    found: Found, data: Set, perplexity: Callable[[str], float] | None, most: int, threshold: float, seed: int
) -> None:
    scores: list[Score] = [None] * len(data)
    found.rows["onion"] = scores
    if perplexity is None:
        found.notes.append("No language model was given, so ONION did not run.")
        return
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    order.sort(key=lambda row: -(found.rows["trigger"][row] or 0.0))
    for row in order[:most]:
        cleaned = onion(data.texts[row], perplexity, threshold)
        scores[row] = max(cleaned.scores, default=0.0)
        if cleaned.removed:
            found.details.setdefault(row, []).append({"kind": "onion", "removed": cleaned.removed})


def _spectral(
    found: Found,
    data: Set,
    groups: Sequence[Hashable],
    embed: Embedder | None,
    factor: float,
    expected: float,
    seed: int,
) -> None:
    scores: list[Score] = [None] * len(data)
    found.rows["spectral"] = scores
    found.tables["classes"] = []
    if embed is None:
        found.notes.append("No embedder was given, so spectral signatures were not looked at.")
        return
    vectors = embed(data.texts)
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    for group in sorted(members, key=str):
        rows = np.array(members[group])
        values = spectral(vectors[rows])
        below = np.searchsorted(np.sort(values), values, "left") / len(values)
        for row, value in zip(rows.tolist(), below.tolist(), strict=True):
            scores[row] = value
        apart = two_groups(vectors[rows], seed)
        top = [int(rows[at]) for at in spectral_suspects(values, expected, factor)]
        found.tables["classes"].append(
            {"target": str(group), "rows": len(rows), "silhouette": apart[0] if apart else None,
             "smaller_group": apart[1] if apart else None, "spectral_top": top[:1000]}
        )  # fmt: skip
