"""`sentence-transformers:FOLDER[,device=cuda][,context=N]`: an embedding model that is saved on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import BadInput
from gristmill.models import local
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.models.wordllama import DECIMALS
from gristmill.packages import require

BATCH = 32
"""Texts at once."""


class SentenceTransformers:
    """Texts to vectors as the model makes them; most models make them of length 1.

    Args:
        model: a folder with `modules.json`, as `SentenceTransformer.save` makes one.
        device: the library's choice unless given.
        context: tokens of a text that are read; the model's own unless given. What is beyond is not seen, and nobody says
            so: that is how these models are made.
    """

    def __init__(self, model: str, *, device: str = "", context: int | None = None) -> None:
        self.weights = local.folder("sentence-transformers", model, "modules.json")
        self.model = self.weights.name
        self.can = frozenset({"Embed"})
        self.endpoint = self.spec = f"sentence-transformers:{model}"
        self.concurrency = self.most = 1
        self.max_n = 1
        self.context = context
        self.price = Price(0, 0)
        self._device = device
        self._cut = context
        self._lane = local.Lane("sentence-transformers")
        self._encoder: Any = None

    def identity(self) -> dict[str, Any]:
        cut = {} if self._cut is None else {"context": self._cut}
        return {"backend": "sentence-transformers", "weights": local.content(self.weights), **cut}

    async def start(self) -> None:
        require("sentence-transformers:", "sentence-transformers", "torch", "sentence_transformers")
        if self._encoder is None:
            self._encoder = await self._lane.do(self._load)
            self.context = self._encoder.max_seq_length

    def _load(self) -> Any:
        import torch
        from sentence_transformers import SentenceTransformer

        try:
            encoder = SentenceTransformer(str(self.weights), device=self._device or None, local_files_only=True)
        except Exception as error:  # whatever the libraries make of it, the folder is what is wrong
            raise BadInput(f"sentence-transformers: {self.weights} cannot be loaded: {error}") from error
        if self._cut is not None:
            encoder.max_seq_length = self._cut
        if encoder.device.type == "cpu":
            torch.set_num_threads(local.threads())
        return encoder.eval()

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "embed":
            raise BadInput(f"sentence-transformers: embeds texts; it was asked for {question.kind}")
        vectors, tokens = await self._lane.do(self._embed, question.texts)
        return Answer(vectors, Usage(tokens))

    def _embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        found = self._encoder.encode(clean, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        read = self._encoder.tokenizer(clean, truncation=True, max_length=self._encoder.max_seq_length)["input_ids"]
        return np.round(found.astype(np.float64), DECIMALS).tolist(), sum(map(len, read))

    async def close(self) -> None:
        await self._lane.close()


def from_spec(spec: Spec, price: Price | None) -> SentenceTransformers:
    return SentenceTransformers(spec.model, device=spec.device, context=spec.context)
