"""Does a text carry a green-list watermark, and how a local model writes one (Kirchenbauer et al. 2023,
arXiv:2301.10226, and 2024, arXiv:2306.04634).

While the text is written, the token before (and a key) decides which share gamma of the vocabulary is green; green
tokens are made likelier by delta. Who has the key and the tokenizer, but no model, counts green tokens: without the
mark their share is gamma.

Promised: the green lists are those of `transformers` on a CPU (`WatermarkingConfig`, both schemes), computed here with
numpy alone, so what that library marked is found, and the other way round. The key is in no result; its id is.
Not promised: a mark of text that came over an API (it takes the logits); lists of `transformers` on a GPU (another
generator, other lists); a mark in text of low entropy (code, citations), where no second token could be chosen; secrecy
against who searches for the key: the generator has a seed of 32 bits, so there are 2**32 keys that differ. The z of a
short text follows a binomial, not the normal: of 25 unmarked tokens at gamma 0.25, z passes 4 in 2 of 10,000 texts, not
in 3 of 100,000. After a paraphrase a long text can be marked still and a short one is not.
What the mark costs in quality is not measured here: compare a judge's verdicts or the perplexity with and without it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from math import erfc, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gristmill import packages
from gristmill.quality.intervals import mean_interval, proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule

CHECK = "green-list-watermark"
RULES = (Rule(check=CHECK, score="z", reason="watermarked", above=4.0),)

PUBLIC_KEY = 15485863
"""The default of every library: whoever reads this finds the mark. Take a random one of your own."""
CANDIDATES = 40
"""Most likely tokens that `selfhash` tries at each step, as the authors' code does: each needs a list of its own."""
WRONG_KEYS, NULL_ROWS = 5, 1000
"""With how many other keys how many rows are scored too."""

Ids = npt.NDArray[np.int64]
Tokenize = Callable[[str], Sequence[int]]
"""A text as token ids, those of the model that wrote it and without tokens that it did not write (no <bos>)."""


@dataclass(frozen=True)
class Mark:
    """What who writes and who detects must have in common."""

    vocabulary: int
    """Number of ids that the model's logits have (`vocab_size` of its configuration; the tokenizer may know fewer)."""
    hash_key: int = field(default=PUBLIC_KEY, repr=False)
    gamma: float = 0.25
    """Share of the vocabulary that is green. The authors recommend 0.25; the class of their code starts from 0.5."""
    delta: float = 2.0
    """Added to green logits. Detection does not read it."""
    scheme: Literal["lefthash", "selfhash"] = "lefthash"
    """`lefthash`: the token before decides. `selfhash`: the last `width` tokens, the new one among them, which is
    slower and harder to learn the lists of."""
    width: int = 1
    """Tokens that decide; 1 with `lefthash`, 4 is usual with `selfhash`."""

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma is {self.gamma}; it must be between 0 and 1")
        if self.scheme not in ("lefthash", "selfhash"):
            raise ValueError(f"there is no scheme {self.scheme!r}: lefthash or selfhash")
        if self.width < 1 or (self.scheme == "lefthash" and self.width != 1):
            raise ValueError(f"{self.scheme} cannot have width {self.width}: lefthash has 1, selfhash 1 or more")
        if self.size < 1:
            raise ValueError(f"of {self.vocabulary} tokens none is green at gamma {self.gamma}")

    @property
    def size(self) -> int:
        """Tokens of a green list."""
        return int(self.vocabulary * self.gamma)

    @property
    def gram(self) -> int:
        """Tokens that are looked at together: those that decide, and the one that is scored."""
        return 2 if self.scheme == "lefthash" else self.width


@dataclass(frozen=True)
class Hits:
    """The tokens of a text that are scored: each different n-gram once, at its first place, since a repeated phrase
    would count one green token many times."""

    positions: list[int]
    """In the text, ascending."""
    green: list[bool]


@dataclass(frozen=True)
class Detection:
    """What the tokens of one text say."""

    z: float | None
    """Green tokens above what chance gives, in standard deviations; None where nothing could be scored."""
    p_value: float | None
    """One-sided, by the normal distribution."""
    green_fraction: float | None
    tokens_scored: int
    verdict: Literal["marked", "clean", "too short"]


@dataclass(frozen=True)
class Window:
    """A stretch of scored tokens."""

    start: int
    """Number of its first scored token."""
    end: int
    """Behind its last one."""
    z: float
    p_value: float
    """Times the number of windows that were looked at, at most 1: the greatest of many z is great by chance."""


# -- green lists


def green_list(mark: Mark, context: Sequence[int]) -> list[int]:
    """The ids that are green after these tokens, in the order in which the permutation names them.

    Args:
        context: the tokens that decide, oldest first; only the last `width` are read. With `selfhash` the last one is
            the candidate itself, and it is green if it is in its own list.
    """
    permutation = list(range(mark.vocabulary))
    for at, other in enumerate(_swaps(mark, _seed(mark, context)).tolist()):
        permutation[at], permutation[other] = permutation[other], permutation[at]
    return permutation[: mark.size]


def _seed(mark: Mark, context: Sequence[int]) -> int:
    if mark.scheme == "lefthash":
        seed = mark.hash_key * context[-1]
    else:
        table = _table(mark.hash_key)
        mixed = table[np.asarray(context[-mark.width :], np.int64) % len(table)] + 1
        seed = int((_wrapped(mark.hash_key) * mixed * mixed[-1]).min())  # wraps at 64 bits, there as here
    return seed % (2**64 - 1) % 2**32  # the generator reads 32 bits of what it is given


def _wrapped(number: int) -> npt.NDArray[np.int64]:
    return np.array([(number + 2**63) % 2**64 - 2**63], np.int64)


@lru_cache(maxsize=4)
def _table(hash_key: int) -> Ids:
    size = 1_000_003
    table = list(range(size))
    for at, other in enumerate(_shuffle(hash_key % 2**32, size, size - 1).tolist()):
        table[at], table[other] = table[other], table[at]
    return np.array(table, np.int64)


def _swaps(mark: Mark, seed: int) -> Ids:
    return _shuffle(seed, mark.vocabulary, mark.size)


def _shuffle(seed: int, n: int, steps: int) -> Ids:
    """With which place each of the first places is exchanged: Fisher and Yates, on the Mersenne Twister, as
    `torch.randperm` does it for fewer than 2**32 / 20 items."""
    raw = np.frombuffer(np.random.RandomState(seed).bytes(4 * steps), "<u4").astype(np.int64)
    at = np.arange(steps)
    found: Ids = at + raw % (n - at)
    return found


def _among_first(swaps: Ids, targets: Ids, n: int) -> npt.NDArray[np.bool_]:
    """Which of the targets the exchanges bring to the first places; no permutation is made: ten times faster."""
    steps = len(swaps)
    fetched = np.zeros(n, bool)
    fetched[swaps] = True  # by a step that comes before its own place is dealt with, if it has one
    found: npt.NDArray[np.bool_] = fetched[targets]
    for at in np.flatnonzero(~found & (targets < steps)).tolist():
        place = int(targets[at])
        while place < steps:  # what stood here was put elsewhere; does a later step fetch it from there?
            after, place = place + 1, int(swaps[place])
            later = np.flatnonzero(swaps[after:] == place)
            if len(later):
                found[at] = True
                break
    return found


# -- detection


def hits(texts: Sequence[Sequence[int]], mark: Mark) -> list[Hits]:
    """Which tokens of each text are scored, and which of them are green. Many texts at once: `lefthash` needs each list
    only once for all.

    Raises:
        ValueError: an id that the vocabulary does not have; then this is not the tokenizer that the key belongs to.
    """
    rows = [np.asarray(ids, np.int64).reshape(-1) for ids in texts]
    for number, ids in enumerate(rows):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < mark.vocabulary:
            strange = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ValueError(f"text {number} has token {strange}, the vocabulary has {mark.vocabulary}")
    return _left(rows, mark) if mark.scheme == "lefthash" else [_self(ids.tolist(), mark) for ids in rows]


def _left(rows: Sequence[Ids], mark: Mark) -> list[Hits]:
    once = [np.unique(ids[:-1] * mark.vocabulary + ids[1:], return_index=True) for ids in rows]
    pairs = np.unique(np.concatenate([codes for codes, _ in once])) if once else np.zeros(0, np.int64)
    green = np.zeros(len(pairs), bool)
    before, targets = pairs // mark.vocabulary, pairs % mark.vocabulary
    for start, end in pairwise([*np.flatnonzero(np.diff(before, prepend=-1)).tolist(), len(pairs)]):
        swaps = _swaps(mark, _seed(mark, [int(before[start])]))
        green[start:end] = _among_first(swaps, targets[start:end], mark.vocabulary)
    found = []
    for codes, first in once:
        order = np.argsort(first)
        found.append(Hits((first[order] + 1).tolist(), green[np.searchsorted(pairs, codes[order])].tolist()))
    return found


def _self(ids: list[int], mark: Mark) -> Hits:
    first: dict[tuple[int, ...], int] = {}
    for start, gram in enumerate(zip(*(ids[at:] for at in range(mark.gram)), strict=False)):
        first.setdefault(gram, start + mark.gram - 1)
    return Hits(list(first.values()), [_own(gram, mark) for gram in first])


def _own(gram: Sequence[int], mark: Mark) -> bool:
    swaps = _swaps(mark, _seed(mark, gram))
    return bool(_among_first(swaps, np.array([gram[-1]]), mark.vocabulary)[0])


def z_score(green: int, scored: int, gamma: float) -> float | None:
    """(g - gamma T) / sqrt(T gamma (1 - gamma)); None where T is 0."""
    return (green - gamma * scored) / sqrt(scored * gamma * (1 - gamma)) if scored else None


def p_value(z: float) -> float:
    """The chance of so great a z, one-sided, by the normal distribution."""
    return 0.5 * erfc(z / sqrt(2))


def detect(ids: Sequence[int], mark: Mark, *, z_threshold: float = 4.0, least: int = 25) -> Detection:
    """Is this text marked?

    Args:
        ids: its tokens, without the prompt: the first `gram - 1` of them are not scored.
        least: with fewer scored tokens the verdict is "too short", whatever their z.
    """
    return judged(hits([ids], mark)[0].green, mark.gamma, z_threshold=z_threshold, least=least)


def judged(green: Sequence[bool], gamma: float, *, z_threshold: float = 4.0, least: int = 25) -> Detection:
    """The verdict over scored tokens."""
    count = len(green)
    z = z_score(sum(green), count, gamma)
    if z is None:
        return Detection(None, None, None, 0, "too short")
    verdict: Literal["marked", "clean"] = "marked" if z > z_threshold else "clean"
    return Detection(z, p_value(z), sum(green) / count, count, "too short" if count < least else verdict)


def detect_text(text: str, tokenize: Tokenize, mark: Mark, *, z_threshold: float = 4.0, least: int = 25) -> Detection:
    """As `detect`, of a text whose look-alikes and invisible characters are undone first."""
    return detect(tokenize(normalised(text)), mark, z_threshold=z_threshold, least=least)


def strongest_window(green: Sequence[bool], gamma: float, *, least: int = 25) -> Window | None:
    """The stretch of scored tokens with the greatest z, for marked passages within other text; None where there are
    fewer than `least`. Looks at lengths from `least` on, each a quarter longer than the last, and at the whole."""
    count = len(green)
    if count < least:
        return None
    sums = np.concatenate([[0], np.cumsum(np.asarray(green, np.int64))])
    sizes = [least]
    while sizes[-1] < count:
        sizes.append(min(count, sizes[-1] + max(1, sizes[-1] // 4)))
    best, looked = (-float("inf"), 0, 0), 0
    for size in sizes:
        counts = sums[size:] - sums[:-size]
        start = int(np.argmax(counts))
        z = z_score(int(counts[start]), size, gamma)
        looked += len(counts)
        if z is not None and z > best[0]:
            best = (z, start, start + size)
    return Window(best[1], best[2], best[0], min(1.0, looked * p_value(best[0])))


def by_length(
    texts: Sequence[Sequence[int]],
    mark: Mark,
    lengths: Sequence[int] = (25, 50, 100, 200, 400),
    z_threshold: float = 4.0,
) -> list[dict[str, float]]:
    """How many texts are found after so many tokens: of marked texts, with a greater or smaller delta, as written or
    after a paraphrase. Per length: `tokens`, `texts` that are as long, `mean_z`, `found` (a share). Lengths that no
    text has are left out."""
    table = []
    for length in lengths:
        cut = [ids[:length] for ids in texts if len(ids) >= length]
        scores = [
            z for one in hits(cut, mark) if (z := z_score(sum(one.green), len(one.green), mark.gamma)) is not None
        ]
        if scores:
            found = sum(z > z_threshold for z in scores) / len(scores)
            table.append({"tokens": length, "texts": len(scores), "mean_z": sum(scores) / len(scores), "found": found})
    return table


# -- text

# Letters of other scripts that look like Latin ones in most typefaces.
ALIKE = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХаеѕіјорсухԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧοѵ",
        "ABESIJKMHOPCTYXaesijopcyxqwhABEZHIKMNOPTYXov",
        strict=True,
    )
)
FOREIGN = re.compile("[\u0370-\u03ff\u0400-\u052f]")
LATIN = re.compile("[A-Za-z]")
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]")
# Joiners mean something in Persian, in Indic scripts and in emoji; beside a Latin letter they mean nothing.
JOINERS = re.compile("(?<=[!-\u024f])[\u200c\u200d\ufe00-\ufe0f]+|[\u200c\u200d\ufe00-\ufe0f]+(?=[!-\u024f])")
SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")


def normalised(text: str) -> str:
    """The text without what is put into it to hide a mark: invisible characters, odd spaces, letters and digits of
    other scripts that look like Latin ones.

    Text in a script of its own stays as it is: Greek and Cyrillic letters are replaced within words that have Latin
    letters too, and elsewhere only where the text has no letter of those scripts that could be told from a Latin one.
    """
    text = JOINERS.sub("", INVISIBLE.sub("", unicodedata.normalize("NFC", text)))
    text = "".join(map(_plain, SPACES.sub(" ", text))) if not text.isascii() else text
    foreign = set(FOREIGN.findall(text))
    if not foreign:
        return text
    anywhere = foreign <= ALIKE.keys() and LATIN.search(text) is not None
    return re.sub(r"\w+", lambda word: _latin(word[0], anywhere), text)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    plain = unicodedata.normalize("NFKC", character)
    return plain if plain.isascii() and plain.isalnum() else character


def _latin(word: str, anywhere: bool) -> str:
    if not anywhere and not LATIN.search(word):
        return word
    return "".join(ALIKE.get(character, character) for character in word)


def load_tokenizer(folder: Path) -> tuple[Tokenize, int]:
    """The tokenizer in a model's folder (`tokenizer.json`), and the size of the model's vocabulary (`config.json`,
    where it is there; else the tokenizer's own)."""
    packages.require("reading a tokenizer", "transformers", "tokenizers")
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = folder / "config.json"
    about = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    vocabulary = about.get("vocab_size") or about.get("text_config", {}).get("vocab_size")
    return lambda text: found.encode(text, add_special_tokens=False).ids, int(vocabulary or found.get_vocab_size())


# -- generation


def processor(mark: Mark, *, hard: bool = False) -> Callable[[Any, Any], Any]:
    """Marks what a local model writes: for `generate(logits_processor=LogitsProcessorList([processor(mark)]))` of
    `transformers`, or wherever else token ids (batch, length) and logits (batch, vocabulary) are at hand as tensors.

    Args:
        hard: forbid red tokens instead of making green ones likelier; costs much quality.
    """
    lists = lru_cache(maxsize=256)(lambda token: green_list(mark, [token]))

    def process(input_ids: Any, scores: Any) -> Any:
        if scores.shape[-1] != mark.vocabulary:
            raise ValueError(
                f"the model has {scores.shape[-1]} logits, the mark says {mark.vocabulary}: set vocabulary"
            )
        marked = scores.clone()
        for row, ids in enumerate(input_ids.tolist()):
            if len(ids) < mark.gram - 1:
                continue
            green = lists(ids[-1]) if mark.scheme == "lefthash" else _candidates(ids, scores[row], mark)
            if hard:
                marked[row] = float("-inf")
                marked[row, green] = scores[row, green]
            else:
                marked[row, green] += mark.delta
        return marked

    return process


def _candidates(ids: list[int], scores: Any, mark: Mark) -> list[int]:
    likely = scores.topk(min(CANDIDATES, mark.vocabulary)).indices.tolist()
    before = ids[len(ids) - (mark.gram - 1) :]
    return [token for token in likely if _own([*before, token], mark)]


# -- a set


def key_id(hash_key: int) -> str:
    """What a card says of a key. Slow to compute on purpose: keys are few enough to be tried."""
    return hashlib.pbkdf2_hmac("sha256", str(hash_key).encode(), b"green-list watermark key", 200_000).hex()[:16]


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    tokenize: Tokenize | None = None,
    vocabulary: int = 0,
    hash_key: int | None = None,
    gamma: float = 0.25,
    scheme: Literal["lefthash", "selfhash"] = "lefthash",
    width: int = 1,
    z_threshold: float = 4.0,
    least: int = 25,
) -> Found:
    """How many rows carry the mark of this key. Scores: `z` (None where a row is too short) and `tokens_scored`.

    Read are responses, and prompts of rows without one. `null` is the same with wrong keys, of which the table
    `wrong_keys` shows each: the bigrams that a set repeats are green or red in all its rows alike, so the mean z of an
    unmarked set is 0 only on average over keys. Under `details`: the strongest window of rows that are marked, or of
    which a window is.

    Args:
        tokenize: of the model that may have written the rows; see `load_tokenizer`.
        least: scored tokens below which a row is too short to be called marked or clean.
    """
    found = Found(
        check=CHECK,
        settings={
            "gamma": gamma, "scheme": scheme, "width": width, "vocabulary": vocabulary, "z_threshold": z_threshold,
            "least": least, "seed": seed, "key_id": key_id(hash_key) if hash_key is not None else "",
        },
        notes=["Only text of a local model can carry this mark, and only the mark of the given key is looked for."],
    )  # fmt: skip
    if hash_key is None or tokenize is None or vocabulary < 1:
        why = "needs the key, the tokenizer and the size of the vocabulary of the model that wrote the rows"
        found.measures = [Measure(name="watermarked_share", value=None, why=why)]
        return found
    mark = Mark(vocabulary, hash_key, gamma, scheme=scheme, width=width)

    def score(texts: Sequence[str], mark: Mark) -> tuple[list[Hits], list[Detection]]:
        scored = hits([tokenize(normalised(text)) for text in texts], mark)
        return scored, [judged(one.green, gamma, z_threshold=z_threshold, least=least) for one in scored]

    scored, verdicts = score(_written(data), mark)
    found.rows = {
        "z": [None if one.verdict == "too short" else one.z for one in verdicts],
        "tokens_scored": [float(one.tokens_scored) for one in verdicts],
    }
    found.details = _passages(scored, verdicts, z_threshold, mark.gamma, least)
    others = score(_written(reference), mark)[1] if reference is not None else []
    sample = _written(data.sample(NULL_ROWS, seed))
    wrong = [score(sample, other)[1] for other in _others(mark, seed)]
    found.tables["wrong_keys"] = [{"watermarked_share": _marked(one), "mean_z": _mean_z(one)} for one in wrong]
    found.measures = _measures(verdicts, others, wrong, seed)
    return found


def _written(data: Set) -> list[str]:
    return [response or prompt for prompt, response in zip(data.prompts, data.responses, strict=True)]


def _others(mark: Mark, seed: int) -> list[Mark]:
    rng = random.Random(seed)
    keys = [rng.getrandbits(32) for _ in range(WRONG_KEYS)]
    return [replace(mark, hash_key=key if (key - mark.hash_key) % 2**32 else key + 1) for key in keys]


def _long(verdicts: Sequence[Detection]) -> list[Detection]:
    return [one for one in verdicts if one.verdict != "too short"]


def _marked(verdicts: Sequence[Detection]) -> float | None:
    return _mean([float(one.verdict == "marked") for one in _long(verdicts)])


def _mean_z(verdicts: Sequence[Detection]) -> float | None:
    return _mean([one.z for one in _long(verdicts)])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _measures(
    verdicts: Sequence[Detection], others: Sequence[Detection], wrong: Sequence[Sequence[Detection]], seed: int
) -> list[Measure]:
    long = _long(verdicts)
    why = "null: a sample of the rows with wrong keys" if long else "no row has enough tokens"
    low, high = proportion(sum(one.verdict == "marked" for one in long), len(long)) or (None, None)
    z_low, z_high = mean_interval([one.z for one in long if one.z is not None], seed) or (None, None)
    short = len(verdicts) - len(long)
    s_low, s_high = proportion(short, len(verdicts)) or (None, None)
    return [
        Measure(
            name="watermarked_share", value=_marked(verdicts), low=low, high=high, n=len(long), why=why,
            null=_mean([_marked(one) for one in wrong]), reference=_marked(others),
        ),
        Measure(
            name="watermark_mean_z", value=_mean_z(verdicts), low=z_low, high=z_high, n=len(long), why=why,
            null=_mean([_mean_z(one) for one in wrong]), reference=_mean_z(others),
        ),
        Measure(
            name="watermark_too_short_share", value=short / len(verdicts) if verdicts else None, low=s_low, high=s_high,
            n=len(verdicts), better="low", why="" if verdicts else "there are no rows",
        ),
    ]  # fmt: skip


def _passages(
    scored: Sequence[Hits], verdicts: Sequence[Detection], z_threshold: float, gamma: float, least: int
) -> dict[int, list[dict[str, Any]]]:
    found = {}
    for row, (one, verdict) in enumerate(zip(scored, verdicts, strict=True)):
        window = strongest_window(one.green, gamma, least=least)
        if window and (verdict.verdict == "marked" or window.p_value < p_value(z_threshold)):
            first, last = one.positions[window.start], one.positions[window.end - 1]
            about = {"first_token": first, "last_token": last, "window_z": window.z, "window_p": window.p_value}
            found[row] = [{"green_fraction": verdict.green_fraction, **about}]
    return found
