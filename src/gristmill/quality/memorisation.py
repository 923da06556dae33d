"""Memorisation and re-identification risk: canaries, verbatim runs, distance to the closest record, membership.

Sources: Carlini et al. 2019 (1802.08232) for canaries and exposure; Carlini et al. 2022 (2202.07646) for verbatim runs
and k-eidetic memory; distance to the closest record and the share against a holdout are practice with tabular data.

Promised: a share of 0.5 where the synthetic rows know no more of the private rows than of rows that nobody used. Not
promised: privacy. A large distance proves nothing, since a sentence may say of a person what another sentence said.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.ops.text import WORD
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import Z95, mean_interval, proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score
from gristmill.quality.verbatim import Windows

CHECK = "memorisation-privacy"
Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
NO_HOLDOUT = (
    "no holdout: rows of the private source that nobody used are needed. Without them a small distance may come "
    "from the "
    "subject alone, so that no share is given"
)
NO_PROOF = "A distance that looks large is no proof of privacy: it sees copies and near copies, not facts told anew."
FEWEST = 100
"""Rows of the holdout below which its first percentile is not known."""
SAME = 1e-9
"""Distances that differ by less are ties: what is left is rounding."""

RULES = (
    Rule(check=CHECK, score="verbatim", reason="verbatim_private", least=1.0),
    Rule(check=CHECK, score="dcr_percentile", reason="closer_than_holdout", below=0.01),
)


# Canaries


@dataclass(frozen=True)
class Canary:
    """A random secret in a fixed format, put into the private rows some times."""

    text: str
    secret: str
    copies: int


def canaries(
    each: int = 1,
    copies: Sequence[int] = (1, 2, 4, 8),
    *,
    template: str = "The access number of the account is {secret}.",
    digits: int = 9,
    seed: int = 0,
) -> list[Canary]:
    """`each` canaries for each number of copies, all secrets different.

    Args:
        digits: of a secret; the space that exposure ranks in has 10 ** digits members.

    Raises:
        ValueError: the format has fewer secrets than are asked for, or the template no place for one.
    """
    if "{secret}" not in template:
        raise ValueError(f"the template has no {{secret}}: {template!r}")
    if each * len(copies) > 10**digits:
        raise ValueError(f"{digits} digits have only {10**digits} secrets, and {each * len(copies)} are wanted")
    drawn = random.Random(seed).sample(range(10**digits), each * len(copies))
    secrets = [f"{number:0{digits}}" for number in drawn]
    times = [count for count in copies for _ in range(each)]
    return [Canary(template.format(secret=secret), secret, count) for secret, count in zip(secrets, times, strict=True)]


def alternatives(canary: Canary, m: int = 10_000, seed: int = 0) -> list[str]:
    """The canary's text with other secrets of its format, by chance, all different: what its likelihood is held against.

    Args:
        m: fewer where the format has no more.
    """
    digits = len(canary.secret)
    drawn = random.Random(seed).sample(range(10**digits), min(m + 1, 10**digits))
    others = [secret for number in drawn if (secret := f"{number:0{digits}}") != canary.secret]
    return [canary.text.replace(canary.secret, secret) for secret in others[:m]]


def plant(texts: Sequence[str], planted: Sequence[Canary], seed: int = 0) -> list[str]:
    """The private texts with each canary as a row of its own, as often as it says, at places by chance."""
    found = list(texts)
    rng = random.Random(seed)
    for canary in planted:
        for _ in range(canary.copies):
            found.insert(rng.randint(0, len(found)), canary.text)
    return found


def counts(planted: Sequence[Canary], texts: Sequence[str]) -> list[int]:
    """In how many texts the secret of each canary stands: what can be seen of a generator that gives no likelihoods."""
    return [sum(canary.secret in text for text in texts) for canary in planted]


def exposure(rank: int, space: int) -> float:
    """log2|R| - log2(rank), in bits: log2|R| where the canary is likelier than every alternative, 1.44 on average by
    chance.

    Args:
        rank: 1 is the likeliest.
        space: |R|, how many secrets the format allows.

    Raises:
        ValueError: the rank is not in 1 to `space`.
    """
    if not 1 <= rank <= space:
        raise ValueError(f"rank {rank} is not in 1 to {space}")
    return log2(space) - log2(rank)


def sampled_exposure(canary: float, alternatives: Sequence[float]) -> float:
    """-log2 of the share of likelihoods that are as great as the canary's, the canary's own among them, in bits.

    So it is at most log2(m + 1) for m alternatives, however sure the model is; `fitted_exposure` reaches further.
    """
    as_likely = sum(value >= canary for value in alternatives)
    return -log2((as_likely + 1) / (len(alternatives) + 1))


def fitted_exposure(canary: float, alternatives: Sequence[float]) -> float:
    """Exposure from a skew-normal fitted to the log-likelihoods of the alternatives (Carlini 2019, 4.3), in bits.

    Raises:
        ValueError: fewer than 10 alternatives, or all alike: nothing can be fitted.
    """
    packages.require("exposure from a fitted distribution", "quality", "scipy")
    from scipy import stats

    if len(alternatives) < 10 or len(set(alternatives)) < 2:
        raise ValueError(f"{len(alternatives)} alternatives, {len(set(alternatives))} different: no fit")
    shape, location, scale = stats.skewnorm.fit(np.asarray(alternatives, np.float64))
    upper = float(stats.skewnorm.logsf(canary, shape, location, scale))
    if not np.isfinite(upper):  # so far out that the tail is no float: what a sample of this size can show
        return sampled_exposure(canary, alternatives)
    return max(0.0, -upper / log(2))


# Distance to the closest record


def closest(vectors: Numbers, others: Numbers, *, at_once: int = 2048) -> tuple[Numbers, Numbers, Places]:
    """Cosine distance (1 - cosine, 0 to 2) to the nearest and the second nearest of the others, and who is nearest.

    Args:
        vectors, others: rows of length 1, or zero, and of one width; `others` has at least one row. With a single one
            the second distance is 2.0, the largest there is.

    Raises:
        ValueError: no others.
    """
    if not len(others):
        raise ValueError("no rows to be close to")
    dense = others.astype(np.float32)
    half = (dense**2).sum(1) / 2  # the same for all, but for an empty text: its vector is zero
    first, second = np.empty(len(vectors)), np.full(len(vectors), 2.0)
    near = np.empty(len(vectors), np.int64)
    step = min(at_once, max(1, 2**25 // len(others)))  # 128 MiB of likenesses at once
    for start in range(0, len(vectors), step):
        rows = vectors[start : start + step]
        likeness = rows.astype(np.float32) @ dense.T
        likeness -= half
        best = likeness.argmax(1)
        # Anew in double precision, and from the difference: two equal rows are then exactly 0 apart, and tie.
        first[start : start + step] = own = ((rows - others[best]) ** 2).sum(1) / 2
        near[start : start + step] = best
        if len(others) > 1:
            likeness[np.arange(len(rows)), best] = -np.inf
            next_best = likeness.argmax(1)
            other = ((rows - others[next_best]) ** 2).sum(1) / 2
            first[start : start + step], second[start : start + step] = np.minimum(own, other), np.maximum(own, other)
            near[start : start + step] = np.where(other < own, next_best, best)
    return first, second, near


def wins(train: Numbers, holdout: Numbers) -> Numbers:
    """A row: 1.0 where the private rows are closer than the holdout, 0.5 where both are as close, 0.0 else."""
    tied = np.abs(train - holdout) < SAME
    found: Numbers = np.where(tied, 0.5, (train < holdout).astype(np.float64))
    return found


def upper_tail(hits: float, n: int) -> float:
    """P(at least so many of n fair coins show heads); a half hit counts as none. 1.0 where n is 0."""
    first = int(hits)
    terms = (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2) for k in range(first, n + 1))
    return min(1.0, sum(map(exp, terms)))


def nndr(first: Numbers, second: Numbers) -> Numbers:
    """Nearest over second nearest distance, 0 to 1: near 0, one private row is singled out. 1.0 where both are 0."""
    found: Numbers = np.where(second > 0, first / np.where(second > 0, second, 1.0), 1.0)
    return found


@dataclass(frozen=True)
class Attack:
    """How well a score tells rows that were used from rows that were not."""

    auc: float
    low: float
    high: float
    tpr: float
    """True positives at the false positive rate that was asked for."""


def attack(members: Numbers, others: Numbers, fpr: float = 0.01) -> Attack | None:
    """AUC with DeLong's 95 % interval, and the true positive rate at a low false positive rate; None without both.

    Args:
        members: scores of rows that were used, greater where an attacker believes it: -loss, or -distance.
        others: scores of rows that were not.

    Raises:
        ValueError: a score is no number.
    """
    if not len(members) or not len(others):
        return None
    if np.isnan(members).any() or np.isnan(others).any():
        raise ValueError("a score of the membership attack is NaN: leave rows without a loss out of both lists")
    ordered, mine = np.sort(others), np.sort(members)
    above = (np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")) / 2 / len(others)
    below = 1 - (np.searchsorted(mine, others, "left") + np.searchsorted(mine, others, "right")) / 2 / len(members)
    auc = float(above.mean())
    spread = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1) ** 0.5
    limit = ordered[::-1][int(fpr * len(others))] if int(fpr * len(others)) < len(others) else -np.inf
    tpr = float((members > limit).mean())
    return Attack(auc, max(0.0, auc - Z95 * spread), min(1.0, auc + Z95 * spread), tpr)


# The check


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    embed: Embedder,
    holdout: Set | None = None,
    planted: Sequence[Canary] = (),
    exposures: Sequence[tuple[float, int]] = (),
    losses: tuple[Sequence[float], Sequence[float]] | None = None,
    verbatim_tokens: int = 50,
    short_field_tokens: int = 8,
    margin: float = 0.05,
    epsilon: float | None = None,
    delta: float | None = None,
    seed: int = 0,
) -> Found:
    """What the synthetic rows give away of the private rows.

    Args:
        reference: the private rows that the generator saw.
        holdout: rows of the same source that nobody used. The larger of the two is cut to the size of the smaller, by
            chance, for whatever compares them.
        planted: canaries that stood in the private rows; they are counted in the synthetic ones.
        exposures: of canaries, where the model's likelihoods are known: exposure and the size of the space that it was
            ranked in. That is the whole format's for `exposure` and `fitted_exposure`, m + 1 for `sampled_exposure`.
        losses: of the private rows and of the holdout under the trained model, for the membership attack.
        verbatim_tokens: a run of so many tokens is a copy.
        short_field_tokens: the same for rows that have fewer than `verbatim_tokens` tokens themselves.
        margin: how far above 0.5 the share may be. Ours.
        epsilon, delta: of differential privacy, where the generator had it; recorded, not checked.

    Scores: `longest_run` (tokens shared with one private row), `verbatim` (the same over the limit that holds for the
    row), `dcr` (cosine distance to the closest private row), `nndr`, `dcr_percentile` (share of the holdout that is as
    close to the private rows or closer; None below 100 rows of holdout).
    """
    settings = {
        "embedder": embed.name, "verbatim_tokens": verbatim_tokens, "short_field_tokens": short_field_tokens,
        "margin": margin, "epsilon": epsilon, "delta": delta, "seed": seed, "holdout_rows": len(holdout or ()),
    }  # fmt: skip
    found = Found(check=CHECK, settings=settings, notes=[NO_PROOF])
    if epsilon is None:
        found.notes.append("No formal guarantee was recorded (differential privacy with its epsilon and delta).")
    _canaries(found, data, planted, exposures)
    if reference is None or not len(reference) or not len(data):
        why = "no rows" if not len(data) else "no private rows were given to compare with"
        for name in ("verbatim_rate", "dcr_share", "dcr_edit_share", "nndr", "attack_auc", "attack_tpr"):
            found.measures.append(Measure(name=name, value=None, why=why))
    else:
        _verbatim(found, data, reference, verbatim_tokens, short_field_tokens)
        _distances(found, data, reference, holdout, embed, losses, seed)
    found.tables["warnings"] = warnings(found, margin, exposures)
    return found


def warnings(found: Found, margin: float, exposures: Sequence[tuple[float, int]] = ()) -> list[dict[str, Any]]:
    """Why the set should not be called private: a row a reason, none where nothing was seen."""
    values = {one.name: one for one in found.measures}
    said: list[dict[str, Any]] = []
    share, verbatim, leaked = values.get("dcr_share"), values.get("verbatim_rate"), values.get("canaries_leaked")
    if share and share.low is not None and share.low > 0.5 + margin:
        said.append({"warning": "closer_to_train", "value": share.low, "limit": 0.5 + margin})
    if verbatim and verbatim.value:
        said.append({"warning": "verbatim", "value": verbatim.value, "limit": 0.0})
    if leaked and leaked.value:
        said.append({"warning": "canary_in_rows", "value": leaked.value, "limit": 0.0})
    for bits, space in exposures:
        if bits > log2(space) - 1:
            said.append({"warning": "exposure", "value": bits, "limit": log2(space) - 1})
    return said


def _canaries(found: Found, data: Set, planted: Sequence[Canary], exposures: Sequence[tuple[float, int]]) -> None:
    if planted:
        seen = counts(planted, data.texts)
        found.tables["canaries"] = [
            {"copies": canary.copies, "rows": count} for canary, count in zip(planted, seen, strict=True)
        ]
        hits = sum(count > 0 for count in seen)
        low, high = proportion(hits, len(planted)) or (None, None)
        found.measures.append(
            Measure(
                name="canaries_leaked", value=hits / len(planted), low=low, high=high, n=len(planted), unit="canaries",
                better="low",
            )
        )  # fmt: skip
    if exposures:
        bits = [one for one, _ in exposures]
        low, high = mean_interval(bits) or (None, None)
        found.measures.append(
            Measure(
                name="exposure", value=float(np.mean(bits)), low=low, high=high, null=log2(np.e), n=len(bits),
                unit="canaries", better="low", why="in bits; null is the mean of a rank by chance",
            )
        )  # fmt: skip
    if not planted and not exposures:
        found.notes.append("No canaries were planted, so exposure is not known.")


def _verbatim(found: Found, data: Set, train: Set, long: int, short: int) -> None:
    windows = Windows(train.texts, min(long, short))
    longest: list[Score] = []
    ratios: list[Score] = []
    singled = 0
    for row, text in enumerate(data.texts):
        runs = windows.runs(text)
        best = max(runs, key=lambda run: run.tokens, default=None)
        limit = long if _tokens(text) >= long else short
        longest.append(float(best.tokens if best else 0))
        ratios.append((best.tokens if best else 0) / limit)
        if best and best.tokens >= limit:
            singled += best.rows == 1
            found.details.setdefault(row, []).append(
                {"kind": "verbatim", "start": best.start, "end": best.end, "tokens": best.tokens,
                 "train_row": best.source, "train_rows": best.rows}
            )  # fmt: skip
    found.rows |= {"longest_run": longest, "verbatim": ratios}
    hits = sum(ratio >= 1 for ratio in ratios if ratio is not None)
    for name, count in (("verbatim_rate", hits), ("verbatim_single_rate", singled)):
        low, high = proportion(count, len(data)) or (None, None)
        why = "" if name == "verbatim_rate" else "copies of a run that only one private row has (1-eidetic)"
        found.measures.append(
            Measure(name=name, value=count / len(data), low=low, high=high, n=len(data), better="low", why=why)
        )


def _tokens(text: str) -> int:
    return sum(1 for _ in WORD.finditer(text))


def _distances(
    found: Found,
    data: Set,
    train: Set,
    holdout: Set | None,
    embed: Embedder,
    losses: tuple[Sequence[float], Sequence[float]] | None,
    seed: int,
) -> None:
    vectors, known = embed(data.texts), embed(train.texts)
    first, second, near = closest(vectors, known)
    ratios = nndr(first, second)
    found.rows |= {"dcr": first.tolist(), "nndr": ratios.tolist(), "dcr_percentile": [None] * len(data)}
    low, high = mean_interval(ratios.tolist(), seed) or (None, None)
    found.measures.append(
        Measure(name="nndr", value=float(ratios.mean()), low=low, high=high, n=len(data), better="high")
    )
    if len(train) == 1:
        found.notes.append("One private row: the nearest is always the same one, nndr says nothing.")
    for row in np.argsort(first, kind="stable")[:100].tolist():
        found.details.setdefault(row, []).append(
            {"kind": "closest", "train_row": int(near[row]), "dcr": float(first[row])}
        )
    if holdout is None or not len(holdout):
        names = (
            ("dcr_share", "dcr_edit_share") if losses else ("dcr_share", "dcr_edit_share", "attack_auc", "attack_tpr")
        )
        found.measures += [Measure(name=name, value=None, why=NO_HOLDOUT) for name in names]
        if losses:
            _membership(found, vectors, known, known[:0], losses)
        return
    unused = embed(holdout.texts)
    own, apart = _equal(len(train), len(holdout), seed)
    found.settings["compared_rows"] = len(own)
    _shares(found, (vectors, known[own], unused[apart]), (data, train.take(own), holdout.take(apart)), seed)
    near_unused, _, _ = closest(unused, known)
    if len(holdout) >= FEWEST:
        ordered = np.sort(near_unused)
        found.rows["dcr_percentile"] = (np.searchsorted(ordered, first + SAME) / len(ordered)).tolist()
        found.measures.append(
            Measure(
                name="dcr_first_percentile", value=float(np.percentile(ordered, 1)), n=len(ordered),
                why="of the holdout's distances to the closest private row",
            )
        )  # fmt: skip
    else:
        found.notes.append(f"{len(holdout)} rows of holdout: its first percentile needs {FEWEST}.")
    _membership(found, vectors, known[own], unused[apart], losses)


def _equal(train: int, holdout: int, seed: int) -> tuple[list[int], list[int]]:
    """Rows of both, as many of one as of the other: more rows are closer by their number alone."""
    rng, size = np.random.default_rng(seed), min(train, holdout)
    return tuple(  # type: ignore[return-value]
        sorted(rng.choice(count, size, replace=False).tolist()) if count > size else list(range(size))
        for count in (train, holdout)
    )


def _shares(found: Found, vectors: tuple[Numbers, Numbers, Numbers], sets: tuple[Set, Set, Set], seed: int) -> None:
    rows, known, unused = vectors
    to_train, _, near_train = closest(rows, known)
    to_holdout, _, near_holdout = closest(rows, unused)
    won = wins(to_train, to_holdout)
    hits = float(won.sum())
    found.measures.append(
        _share("dcr_share", won, _null(known, unused, seed), seed, f"p = {upper_tail(hits, len(won)):.3g}")
    )
    found.tables["dcr_share"] = [{"p": upper_tail(hits, len(won)), "wins": hits, "rows": len(won), "test": "binomial"}]
    data, train, holdout = sets
    edits = wins(_edits(data, train, near_train), _edits(data, holdout, near_holdout))
    found.measures.append(
        _share("dcr_edit_share", edits, None, seed, "edit distance to the row that is closest by embedding")
    )


def _share(name: str, won: Numbers, null: float | None, seed: int, why: str) -> Measure:
    low, high = mean_interval(won.tolist(), seed) or (None, None)
    return Measure(name=name, value=float(won.mean()), low=low, high=high, null=null, n=len(won), better="low", why=why)


def _null(known: Numbers, unused: Numbers, seed: int) -> float | None:
    """Half of the holdout in the place of the synthetic rows, against the other half and as many private rows."""
    order = np.random.default_rng(seed).permutation(len(unused))
    middle = len(order) // 2
    if middle < 2:
        return None
    fresh, rest = unused[order[:middle]], unused[order[middle : 2 * middle]]
    some = known[np.random.default_rng(seed + 1).permutation(len(known))[:middle]]
    return float(wins(closest(fresh, some)[0], closest(fresh, rest)[0]).mean())


def _edits(data: Set, others: Set, near: Places) -> Numbers:
    from rapidfuzz.distance import Levenshtein

    pairs = zip(data.texts, near.tolist(), strict=True)
    return np.array([Levenshtein.normalized_distance(text[:2000], others.texts[row][:2000]) for text, row in pairs])


def _membership(
    found: Found,
    vectors: Numbers,
    known: Numbers,
    unused: Numbers,
    losses: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """By -distance to the closest synthetic row, or by -loss where the model's losses are known."""
    if losses:
        result = attack(-np.asarray(losses[0], np.float64), -np.asarray(losses[1], np.float64))
    else:
        result = attack(-closest(known, vectors)[0], -closest(unused, vectors)[0])
    found.settings["attack_score"] = "-loss" if losses else "-dcr"
    if result is None:
        found.measures += [Measure(name=n, value=None, why="no losses of both") for n in ("attack_auc", "attack_tpr")]
        return
    n = len(losses[0]) + len(losses[1]) if losses else len(known) + len(unused)
    found.measures += [
        Measure(name="attack_auc", value=result.auc, low=result.low, high=result.high, null=0.5, n=n, better="low"),
        Measure(name="attack_tpr", value=result.tpr, null=0.01, n=n, better="low", why="at 1 % false positives"),
    ]
