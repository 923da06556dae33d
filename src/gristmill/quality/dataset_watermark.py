"""Was a model trained on this set? A choice that was made by chance before publishing, and a test of it afterwards.

Three ways, each with its marking and its test:
- private twins (STAMP, Rastogi et al. 2025): each row is rephrased several times, one version is published and the
  others are kept; a model that saw the published ones finds them likelier than their twins;
- random sequences and look-alike letters (Wei et al. 2024, arXiv:2402.10892): a string, or a pattern of letters, drawn
  from a key goes into every document; a model that saw it finds it likelier than fresh ones;
- the order of rows (Oren et al. 2023, arXiv:2310.17623): a model that saw rows in the published order finds that order
  likelier than others.

Promised: of a model that never saw the set, a test gives a p below x in a share x of cases, as long as the choice was
random, the commitment was published before the model was trained, and the losses were measured alike for all versions.
Everything here follows from the key: the same key marks the same way on every machine.
Not promised: that training on a few rows can be seen (the authors of the sequences saw theirs in a model of 176 billion
weights from about 90 occurrences on); that a mark survives whoever looks for it: strings are found by eye and filtered,
look-alikes fall to Unicode normalisation. The exact form of STAMP's test is not confirmed from the paper. Losses come
from whoever can compute them: a mean negative log-likelihood a token, in nats, of the model under suspicion.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.quality.embed import Embedder

ALPHABET = string.ascii_lowercase + string.digits
LOOK_ALIKES = dict(zip("aceijopsxyABCEHIJKMOPSTX", "асеіјорѕхуАВСЕНІЈКМОРЅТХ", strict=True))
"""Latin letters and the Cyrillic ones that look like them."""
ALPHA = 0.01
FRESH = 1000
"""Strings, patterns or orders that the real one is compared with; the smallest p is 1 / (FRESH + 1)."""


@dataclass(frozen=True)
class Evidence:
    """What a test of one mark found."""

    statistic: float | None
    """t, z, or a share, as the function says; None where it is not defined."""
    p_value: float
    """One-sided: small where the marked version is the likelier one. 1.0 where nothing can be said."""
    n: int
    """Rows of a t-test; comparisons of a test by rank."""
    why: str = ""
    """Why there is no statistic."""

    def trained_on(self, alpha: float = ALPHA) -> bool:
        return self.p_value < alpha


# -- keys and commitments


def new_key() -> str:
    """A secret to draw from: 256 bits in hex."""
    return secrets.token_hex(32)


def commitment(key: str, about: Mapping[str, Any]) -> str:
    """A name (sha256, hex) for the key and all that is sealed with it, to be published together with the set.

    Whoever shows key and twins later can be held against it: change either and the name is another. Says nothing about
    either as long as the key is secret.

    Args:
        about: what belongs to the claim, as plain JSON values, with the variant and its settings; see `sealed`.
    """
    sealed = json.dumps([key, about], sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(sealed.encode()).hexdigest()


def holds(published: str, key: str, about: Mapping[str, Any]) -> bool:
    """Is this what was committed to?"""
    return secrets.compare_digest(published.encode("utf-8", "replace"), commitment(key, about).encode())


def _bytes(key: str, what: str, count: int) -> bytes:
    """A stream for one purpose. Of the key alone: a random generator's stream may change with its library."""
    if not key:
        raise ValueError("the key is empty: anybody could have drawn this")
    return hashlib.shake_256(f"{len(key)}:{key}:{what}".encode("utf-8", "surrogatepass")).digest(count)


def _below(key: str, what: str, count: int, limits: int | Sequence[int]) -> list[int]:
    """So many numbers, each below its limit; 64 bits each, so that no number is visibly likelier than another."""
    each = [limits] * count if isinstance(limits, int) else limits
    stream = np.frombuffer(_bytes(key, what, 8 * count), "<u8").tolist()
    return [number % limit for number, limit in zip(stream, each, strict=True)]


# -- private twins


@dataclass(frozen=True)
class Twins:
    """A published set and what is kept of it. Rows without private versions are published unmarked."""

    public: list[str]
    private: list[list[str]]
    """As many a row as its versions leave; to be sealed."""

    @property
    def marked(self) -> list[int]:
        """Numbers of the rows that the test may use."""
        return [row for row, twins in enumerate(self.private) if twins]


def version_keys(key: str, versions: int) -> list[int]:
    """Keys for the green-list watermark that each version of a row is written with (`watermark.Mark.hash_key`)."""
    return [1 + number for number in _below(key, "version keys", versions, 2**32 - 1)]


def publish(
    sources: Sequence[str],
    versions: Sequence[Sequence[str]],
    key: str,
    *,
    same_meaning: Callable[[str, str], bool] | None = None,
) -> Twins:
    """Choose by the key which version of each row is published.

    Args:
        versions: rephrasings of each row, m + 1 of them (m of 2 to 4 is usual), made
            alike: the test is about which was chosen, so nothing else may tell them apart.
        same_meaning: of the source and a version. Versions that fail it are dropped; a row with fewer than two left is
            published as it was, unmarked. So is a row whose versions are all alike.
    """
    if len(sources) != len(versions):
        raise ValueError(f"{len(sources)} rows and versions of {len(versions)}")
    kept = [
        [text for text in texts if same_meaning is None or same_meaning(source, text)]
        for source, texts in zip(sources, versions, strict=True)
    ]
    kept = [texts if len(set(texts)) > 1 else [] for texts in kept]
    chosen = _below(key, "twins", len(kept), [max(1, len(texts)) for texts in kept])
    return Twins(
        [texts[at] if texts else source for source, texts, at in zip(sources, kept, chosen, strict=True)],
        [texts[:at] + texts[at + 1 :] for texts, at in zip(kept, chosen, strict=True)],
    )


def twins_test(public: Sequence[float], private: Sequence[Sequence[float]]) -> Evidence:
    """Paired one-sided t-test of d = mean loss of the private versions - loss of the public one, over the marked rows.

    Args:
        public: loss of each row's published version.
        private: losses of its private versions, in whatever order.

    Returns:
        t and its p; where all d are equal t is not defined and the p is that of a sign test.
    """
    if len(public) != len(private) or not all(private):
        raise ValueError("each public loss needs the losses of its private twins: leave unmarked rows out")
    _finite([*public, *(loss for losses in private for loss in losses)])
    differences = np.array([np.mean(losses) - loss for loss, losses in zip(public, private, strict=True)])
    n = len(differences)
    if n < 2:
        return Evidence(None, 1.0, n, "fewer than two rows")
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        if abs(mean) <= 1e-12:
            return Evidence(None, 1.0, n, "no version is likelier than another")
        return Evidence(None, 2.0**-n if mean > 0 else 1.0, n, "all differences are equal; p of a sign test")
    packages.require("the test of private twins", "quality", "scipy")
    from scipy.special import stdtr

    t = mean / (spread / sqrt(n))
    return Evidence(t, float(stdtr(n - 1, -t)), n)


# -- random sequences, look-alike letters


def random_string(key: str, *, length: int = 32, alphabet: str = ALPHABET) -> str:
    """The string of a collection: characters drawn one by one, 10 to 50 of them."""
    return "".join(alphabet[at] for at in _below(key, "string", length, len(alphabet)))


def fresh_strings(key: str, *, count: int = FRESH, length: int = 32, alphabet: str = ALPHABET) -> list[str]:
    """Strings that could have been the collection's and are not, to compare it with."""
    if len(set(alphabet)) ** length < 2:
        raise ValueError("there is only one such string")
    real, number = random_string(key, length=length, alphabet=alphabet), 0
    found: list[str] = []
    while len(found) < count:
        made = "".join(alphabet[at] for at in _below(key, f"fresh string {number}", length, len(alphabet)))
        found += [made] if made != real else []
        number += 1
    return found


def append(texts: Sequence[str], mark: str, *, between: str = "\n") -> list[str]:
    """The documents with the mark behind each, the same for all: a model learns it from how often it comes."""
    return [f"{text}{between}{mark}" for text in texts]


def pattern(key: str, number: int | None = None) -> str:
    """Which letters are replaced by look-alikes, in the whole collection: about half of those that have one.

    Args:
        number: of a fresh pattern, to compare with; None for the collection's own.
    """
    bits = _below(key, "pattern" if number is None else f"fresh pattern {number}", len(LOOK_ALIKES), 2)
    return "".join(letter for letter, bit in zip(LOOK_ALIKES, bits, strict=True) if bit)


def replaced(text: str, letters: str) -> str:
    """The text with these letters as their look-alikes."""
    return text.translate({ord(letter): LOOK_ALIKES[letter] for letter in letters})


def rank_test(real: float, fresh: Sequence[float]) -> Evidence:
    """How the loss of the real string (or of texts with the real pattern) stands among those of fresh ones.

    Returns:
        z = (real - mean) / standard deviation of the fresh ones, negative where the real one is likelier; p by rank:
        (1 + fresh ones that are as likely or likelier) / (1 + fresh ones). The real one counts, since it is one of the
        possible draws: so p is never 0.
    """
    _finite([real, *fresh])
    if not fresh:
        return Evidence(None, 1.0, 0, "nothing to compare with")
    losses = np.asarray(fresh, np.float64)
    p = (1 + int((losses <= real).sum())) / (1 + len(losses))
    spread = float(losses.std(ddof=1)) if len(losses) > 1 else 0.0
    if spread <= 1e-12 * max(1.0, abs(float(losses.mean()))):
        return Evidence(None, p, len(losses), "the fresh ones are all alike")
    return Evidence((real - float(losses.mean())) / spread, p, len(losses))


# -- order


def order(n: int, key: str, number: int | None = None) -> list[int]:
    """Row numbers in the order in which they are published: row `order[0]` comes first.

    Args:
        number: of another order, to compare with; None for the published one.
    """
    what = "order" if number is None else f"other order {number}"
    places: npt.NDArray[np.uint64] = np.frombuffer(_bytes(key, what, 8 * n), "<u8")
    found: list[int] = np.argsort(places, kind="stable").tolist()
    return found


def order_test(published: float, others: Sequence[float]) -> Evidence:
    """How the log-likelihood of all rows in the published order stands among those in other orders.

    Needs rows that could stand in any order (no dates, no numbering), which is up to who publishes.

    Returns:
        The share of other orders that are as likely or likelier, and p, which counts the published order too.
    """
    _finite([published, *others])
    beaten = sum(other >= published for other in others)
    if not others:
        return Evidence(None, 1.0, 0, "nothing to compare with")
    return Evidence(beaten / len(others), (1 + beaten) / (1 + len(others)), len(others))


def _finite(losses: Sequence[float]) -> None:
    for number, loss in enumerate(losses):
        if not isfinite(loss):
            raise ValueError(f"loss {number} is {loss}: leave out what the model could not read")


# -- use


def similarity(sources: Sequence[str], published: Sequence[str], embed: Embedder) -> list[float]:
    """Cosine of each row and what is published for it, -1 to 1: what the mark costs in meaning, and a check for
    `publish`."""
    if len(sources) != len(published):
        raise ValueError(f"{len(sources)} rows and {len(published)} published ones")
    if not sources:
        return []
    found: list[float] = np.clip((embed(sources) * embed(published)).sum(axis=1), -1, 1).tolist()
    return found


def sealed(twins: Twins) -> dict[str, Any]:
    """What is kept of a published set, for `commitment` and for a safe place."""
    return {"variant": "private twins", **asdict(twins)}
