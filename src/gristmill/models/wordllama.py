"""`wordllama:` embeds on any machine: 16 MB of word vectors that the package carries, no torch, no network, no GPU."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill.errors import BadInput
from gristmill.models import local, weights
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.packages import require

CONFIG, DIMENSIONS = "l2_supercat", 256
# By sha256, and not by the package's version: a replay names its calls where the package is not installed.
FILES = {
    "weights/l2_supercat_256.safetensors": "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    "tokenizers/l2_supercat_tokenizer_config.json": "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
}
AT_ONCE = 4096
"""Texts whose vectors the library makes before they are put with the others: of 100,000 it would take 0.5 GB for a while."""
REQUIREMENT = "wordllama==0.4.0.post1"

DECIMALS = 6
"""Of a number in a vector: what is past them is float32's own noise, and the journal keeps them as text."""


class WordLlama:
    """Texts to 256 dimensions, of length 1; a text without a word has the zero vector."""

    def __init__(self) -> None:
        self.model = CONFIG
        self.can = frozenset({"Embed"})
        self.endpoint = self.spec = f"wordllama:{CONFIG}"
        self.concurrency = self.most = 1
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self._lane = local.Lane("wordllama")
        self._vectors: Any = None

    def identity(self) -> dict[str, Any]:
        return {"backend": "wordllama", "weights": list(FILES.values())}

    async def start(self) -> None:
        require("wordllama:", "embed", "wordllama")
        if self._vectors is None:
            self._vectors = await self._lane.do(load)

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "embed":
            raise BadInput(f"wordllama: embeds texts; it was asked for {question.kind}")
        vectors, tokens = await self._lane.do(self._embed, question.texts)
        return Answer(vectors, Usage(tokens))

    def _embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        clean = list(map(_encodable, texts))
        tokens = sum(sum(encoding.attention_mask) for encoding in self._vectors.tokenize(clean))
        return vectors(self._vectors, texts).tolist(), tokens

    async def close(self) -> None:
        await self._lane.close()


def vectors(model: Any, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """A row of length 1 for each text, rounded; of zeros for one without a word."""
    unit = np.zeros((len(texts), DIMENSIONS))
    for start in range(0, len(texts), AT_ONCE):
        found = model.embed([_encodable(text) for text in texts[start : start + AT_ONCE]])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit[start : start + AT_ONCE] = np.round(
            (found / np.where(lengths > 0, lengths, 1)).astype(np.float64), DECIMALS
        )
    return unit


def _encodable(text: str) -> str:
    """A lone surrogate is text to Python, and none to the tokenizer."""
    return text.encode("utf-8", "replace").decode()


def load() -> Any:
    """The library's model. Raises BadInput where its files are others than those that answers are journaled for."""
    found = importlib.util.find_spec("wordllama")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    for name, digest in FILES.items():
        if not (folder / name).is_file() or weights.sha256(folder / name) != digest:
            raise BadInput(
                f"wordllama: {folder / name} is not the file that answers are journaled for: pip install {REQUIREMENT}"
            )
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        library = importlib.import_module("wordllama")  # configures the log of the whole program on import
    finally:
        root.handlers[:], root.level = before
    # By default it would look for its tokenizer elsewhere, and then fetch it.
    return library.WordLlama.load(config=CONFIG, cache_dir=folder, disable_download=True)


def from_spec(spec: Spec, price: Price | None) -> WordLlama:
    return WordLlama()
