"""Texts as rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

import numpy as np
import numpy.typing as npt

from gristmill import Embed, Run

Vectors = npt.NDArray[np.float64]
AT_ONCE = 64
"""Texts that one embedding call takes."""


async def embedded(run: Run, embedder: Embed, texts: Sequence[str], name: str = "embed") -> Vectors:
    """A row of numbers for each text; no rows for no texts."""
    batches = [list(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
    return np.array(list(chain(*await run.map(embedder.embed, batches, name=name))), np.float64)


def digest_of(vectors: Vectors) -> str:
    """Stands for vectors among the inputs of `Run.once`: they are many."""
    return blake2b(vectors.tobytes(), digest_size=16).hexdigest()
