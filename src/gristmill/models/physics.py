"""Physics engines as a backend: `physics:mujoco` and `physics:pymunk`, with [,timeout=SECONDS][,concurrency=N], play roles
that simulate."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from gristmill.errors import BadInput
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.packages import version
from gristmill.verify import physics


class Physics:
    """Runs scenes in an engine of `gristmill.verify.physics`."""

    def __init__(self, engine: physics.Engine = "mujoco", *, workers: int = 0, patience: float = 30.0) -> None:
        self.model = self._engine = engine
        self.can = frozenset({"Simulate"})
        self.endpoint = self.spec = f"physics:{engine}"
        self.concurrency = self.most = workers or os.cpu_count() or 2
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self._patience = patience

    def identity(self) -> dict[str, Any]:
        what = {"backend": "physics", "model": self._engine, "version": version(self._engine)}
        return what | {"seconds": self._patience}  # a scene that ran out of them may end with more

    async def start(self) -> None:
        physics.require(self._engine)

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "simulate":
            raise BadInput(f"a physics engine runs scenes; it was asked for {question.kind}")
        seconds, watch = question.sampling["seconds"], question.sampling["watch"]
        motion = await asyncio.to_thread(
            physics.simulate,
            question.prompt,
            seconds=seconds,
            watch=watch,
            engine=self._engine,
            patience=self._patience,
        )
        return Answer([motion], Usage())

    async def close(self) -> None:
        """Workers stay for the next run of this process, and end with it."""


def from_spec(spec: Spec, price: Price | None) -> Physics:
    engine: physics.Engine = "pymunk" if spec.model == "pymunk" else "mujoco"
    return Physics(engine, workers=spec.concurrency or 0, patience=spec.timeout or 30.0)
