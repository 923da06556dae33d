"""Texts as vectors, for measures: the light embedder where it is installed, else hashed word and letter n-grams."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from gristmill import Embed, Run, packages
from gristmill.ops.vectors import Vectors, embedded

HASHED = 256


@dataclass(frozen=True)
class Embedder:
    """How texts become vectors of length 1, and its name for the report."""

    name: str
    embed: Callable[[Sequence[str]], Vectors]

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return normalised(self.embed(texts))


def normalised(vectors: Vectors) -> Vectors:
    """Rows of length 1; a zero row stays zero. The same array where they are so already."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if np.all((np.abs(lengths - 1) < 1e-12) | (lengths == 0)):
        return vectors
    found: Vectors = vectors / np.where(lengths == 0, 1.0, lengths)
    return found


def remembering(embed: Embedder) -> Embedder:
    """The same, which embeds a list of texts once, however many measures ask for it."""
    known: dict[int, tuple[Sequence[str], Vectors]] = {}

    def again(texts: Sequence[str]) -> Vectors:
        found = known.get(id(texts))
        if found is None or found[0] is not texts:
            found = known[id(texts)] = texts, embed(texts)
            found[1].setflags(write=False)  # all share it
        return found[1]

    return Embedder(embed.name, again)


def known(name: str, texts: Sequence[str], vectors: Vectors) -> Embedder:
    """An embedder of texts whose vectors are there already, as a role gave them; raises KeyError for others."""
    by_text = dict(zip(texts, vectors, strict=True))
    return Embedder(name, lambda asked: np.array([by_text[text] for text in asked]))


async def by_role(run: Run, embedder: Embed, texts: Sequence[str]) -> Embedder:
    """An embedder of these texts, as a role places them: equal ones are asked about once, and those of white space alone
    not at all, since endpoints refuse them. Their vector is zero."""
    asked = list(dict.fromkeys(text for text in texts if text.strip()))
    vectors = await embedded(run, embedder, asked)
    blank = sorted({text for text in texts if not text.strip()})
    zeros = np.zeros((len(blank), vectors.shape[-1] if asked else 1))
    return known(embedder.model, [*asked, *blank], np.concatenate([vectors, zeros]) if asked else zeros)


def light() -> Embedder:
    """`wordllama` (256 dimensions) where it is installed, else `hashed`."""
    if not packages.version("wordllama"):
        return Embedder(f"hashed:{HASHED}", hashed)
    from gristmill.models import wordllama

    model = wordllama.load()
    return Embedder(f"wordllama:{wordllama.CONFIG}", lambda texts: wordllama.vectors(model, texts))


def hashed(texts: Sequence[str]) -> Vectors:
    """Signed hashing of words and of three letters within words, damped counts. Knows nothing of meaning: it sees which
    texts share words. The same on every machine."""
    found = np.zeros((len(texts), HASHED))
    for row, text in enumerate(texts):
        counts: dict[str, int] = {}
        for word in re.findall(r"\w+", text.lower()):
            for part in (word, *(f"#{word[at : at + 3]}" for at in range(len(word) - 2))):
                counts[part] = counts.get(part, 0) + 1
        for part, count in counts.items():
            code = zlib.crc32(part.encode("utf-8", "surrogatepass"))
            found[row, code % HASHED] += (1 if code >> 31 else -1) * (1 + log(count))
    return found
