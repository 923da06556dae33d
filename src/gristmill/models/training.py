"""Training between rounds: its settings, and what a model that can be trained has to offer the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from gristmill.models.protocol import Backend

Method = Literal["sft", "dpo", "reward", "contrastive"]
"""What is learnt from: completions; pairs of answers; pairs, into a reward; pairs of texts, into an encoder."""

Count = Annotated[int, Meta(ge=1)]
Progress = Callable[[int, int, dict[str, float]], None]
"""Called with the steps that are done, all of them, and what was measured last (loss, learning_rate, ...)."""


class Training(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model is trained between rounds: one value, so that a recipe has one parameter for it.

    Named in a checkpoint's digest; what stands at its default does not count, so a new field makes no checkpoint stale.
    """

    learning_rate: Annotated[float, Meta(gt=0)] = 2e-5
    epochs: Annotated[float, Meta(gt=0)] = 1.0
    steps: Count | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: Count = 8
    """Rows at once."""
    accumulation: Count = 1
    """Batches an optimizer step."""
    warmup_steps: Annotated[int, Meta(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    weight_decay: float = 0.0
    max_tokens: Count = 1024
    """Of a row; the rest is cut off."""
    beta: Annotated[float, Meta(gt=0)] = 0.1
    """DPO: how far the model may go from its reference."""
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """DPO: sigmoid is DPO's own, hinge SLiC's."""
    lora_rank: Annotated[int, Meta(ge=0)] = 0
    """0: all weights are trained."""
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0


class Lesson(msgspec.Struct, omit_defaults=True):
    """What a model learns from one row. sft: prompt and completion; dpo, reward: prompt, completion (the better answer)
    and rejected; contrastive: prompt (the query), completion (what should be near), rejected (what should not)."""

    prompt: str
    completion: str
    rejected: str = ""
    chat: bool = False
    """The prompt is a user's message: the model's own chat template is put around it."""


class Course(msgspec.Struct, omit_defaults=True):
    """All that decides which weights come out."""

    method: Method
    lessons: list[Lesson]
    training: Training
    reference: str = ""
    """DPO: folder of the weights that the model is held against; "": those that it begins from."""


class Session(Protocol):
    """A model that is trained step by step, and asked in between. It begins as the model that it was made from."""

    async def step(self, lessons: list[Lesson]) -> dict[str, float]:
        """One optimizer step on these lessons; what was measured, "loss" among it."""

    async def save(self, folder: Path) -> None:
        """Weights and optimizer, whole or not at all."""

    async def restore(self, folder: Path) -> None: ...

    @property
    def backend(self) -> Backend:
        """The model as it is now."""

    async def close(self) -> None: ...


class Trainee(Backend, Protocol):
    """A backend that can be trained: `can` holds "Trainable"."""

    async def train(self, course: Course, folder: Path, progress: Progress) -> dict[str, float]:
        """Train from these weights into a checkpoint in `folder`, from where an earlier try in it ended.

        Returns what was measured: "loss" and "steps" among it. Raises TrainingFailed where the loss is no number.
        """

    def session(self, method: Method, training: Training, reference: str) -> Session: ...

    def at(self, checkpoint: Path, name: str) -> Backend:
        """The same kind of model with a checkpoint's weights, not loaded yet. `name` tells what made them: it is in the
        identity, so that no answer of other weights is taken for one of these."""
