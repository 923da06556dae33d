"""`dense:` and the name of an embedding model: search by the angle between vectors, in numpy.

The vectors of a corpus come from the engine, which asks the embedding model for them once and journals them; that of a
query is asked for here, and is part of the search. To numpy a hundred thousand texts are a few milliseconds; an
approximate index would answer sooner, and another time otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.errors import BadInput
from gristmill.models.bm25 import best
from gristmill.models.protocol import Answer, Backend, Hit, Question

Vectors = NDArray[np.float32]


class Dense:
    """Scores are cosines, -1 to 1. A text (or query) whose vector is zero, such as an empty one, is like nothing.

    Args:
        embedder: embeds the corpora and the queries.
    """

    def __init__(self, embedder: Backend) -> None:
        if "Embed" not in embedder.can:
            raise BadInput(
                f"dense: needs a model that embeds, and {embedder.model} does not: dense:wordllama:, "
                f"dense:sentence-transformers:FOLDER, dense:openai:text-embedding-3-small"
            )
        self.embedder = embedder
        self.model = f"dense:{embedder.model}"
        self.spec = f"dense:{getattr(embedder, 'spec', embedder.model)}"
        self.can = frozenset({"Retrieve"})
        self.endpoint = embedder.endpoint
        self.concurrency = embedder.concurrency
        self.most: int | None = getattr(embedder, "most", None)
        self.max_n = 1
        self.context = embedder.context
        self.price = embedder.price
        self.indexed: dict[str, Vectors] = {}

    def identity(self) -> dict[str, Any]:
        return {"backend": "dense", "embedder": self.embedder.identity()}

    async def start(self) -> None:
        await self.embedder.start()

    async def index(self, corpus: str, texts: list[str], vectors: list[list[float]]) -> None:
        self.indexed[corpus] = await asyncio.to_thread(_unit, vectors)

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "retrieve":
            raise BadInput(f"dense: searches; it was asked for {question.kind}")
        asked = await self.embedder.answer(Question("embed", texts=[question.prompt]), 1)
        found = await asyncio.to_thread(
            _nearest, self.indexed[question.corpus], asked.samples[0], question.sampling["k"]
        )
        return Answer([found], asked.usage, asked.limits)

    async def close(self) -> None:
        self.indexed.clear()
        await self.embedder.close()


def _unit(vectors: list[list[float]]) -> Vectors:
    found = np.array(vectors, np.float32)
    if not vectors:
        return found
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Vectors = np.divide(found, lengths, out=np.full_like(found, np.nan), where=lengths > 0)
    return unit


def _nearest(corpus: Vectors, vector: list[float], k: int) -> list[Hit]:
    if not len(corpus):
        return []
    return best(corpus @ _unit([vector])[0], k)  # no number is above the bound where a vector has no direction
