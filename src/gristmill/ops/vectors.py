"""Texts as rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gristmill import CallFailed, Embed, Run

T = TypeVar("T")
Vectors = npt.NDArray[np.float64]
AT_ONCE = 64
"""Texts that one embedding call takes."""


async def embedded(run: Run, embedder: Embed, texts: Sequence[str], name: str = "embed") -> Vectors:
    """A row of numbers for each text; no rows for no texts."""
    batches = [list(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
    return np.array(list(chain(*await run.map(embedder.embed, batches, name=name))), np.float64)


async def placed(
    run: Run, embedder: Embed, items: Sequence[T], text: Callable[[T], str], name: str = "place"
) -> tuple[list[T], Vectors]:
    """The items that can be embedded, each with a row of numbers. One whose text is refused costs only itself, and is a
    failure of the run: a batch that is refused is halved until it stands alone."""

    async def place(batch: Sequence[T]) -> list[tuple[T, list[float]]]:
        try:
            vectors = await embedder.embed([text(item) for item in batch])
        except CallFailed:
            if len(batch) == 1:
                raise
            halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
            return [one for half in await run.map(place, halves, keep_going=True, name=name) for one in half]
        return list(zip(batch, vectors, strict=True))

    batches = [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
    found = [one for some in await run.map(place, batches, keep_going=True, name=name) for one in some]
    return [item for item, _ in found], np.array([vector for _, vector in found], np.float64)


def digest_of(vectors: Vectors) -> str:
    """Stands for vectors among the inputs of `Run.once`: they are many."""
    return blake2b(vectors.tobytes(), digest_size=16).hexdigest()
