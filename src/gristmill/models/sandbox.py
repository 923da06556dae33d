"""The sandbox as a backend: `sandbox:python[,concurrency=N][,timeout=SECONDS]` plays roles that run model-written code,
`sandbox:matplotlib` those that draw with it, `sandbox:reasoning-gym` those that check answers to its tasks."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from gristmill.errors import BadInput, CallFailed
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.packages import version
from gristmill.verify import Limits, Sandbox, SandboxTrouble, plotting, tasks

WITH = {"matplotlib": ("Plot", plotting.LIMITS), "reasoning-gym": ("Gym", tasks.LIMITS)}
"""Models that are bubblewrap with a package: what they can besides, and the limits of a program that names none."""


class Python:
    """Runs programs in the chain of sandboxes of `gristmill.verify`, or, with a package, in one of its own."""

    def __init__(self, model: str = "python", *, workers: int = 0, timeout: float = 0.0) -> None:
        self.model = model
        what, limits = WITH.get(model, ("", Limits()))
        self.can = frozenset({"Execute", what} if what else {"Execute"})
        self.endpoint = self.spec = f"sandbox:{model}"
        self.concurrency = self.most = workers or os.cpu_count() or 2
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self.notes: list[str] = []
        """Links of the chain that do not work here."""
        if timeout:
            limits = msgspec.structs.replace(limits, seconds=timeout)
        self._sandbox = Sandbox([model] if what else None, limits=limits, workers=self.concurrency)
        self._timeout = limits.seconds

    def identity(self) -> dict[str, Any]:
        what = {"backend": "sandbox", "model": self.model, "seconds": self._timeout}
        return what | {"version": version(self.model)} if self.model in WITH else what

    async def start(self) -> None:
        await self._sandbox.start()
        self.notes = [f"sandbox {name} is left out: {why}" for name, why in self._sandbox.left_out.items()]

    async def answer(self, question: Question, n: int) -> Answer:
        job = question.job
        if job is None:
            raise BadInput(f"a sandbox runs programs; it was asked for {question.kind}")
        try:
            if job.tests is None:
                verdict = await self._sandbox.run(job.program, job.limits)
            else:
                verdict = await self._sandbox.check(job.program, job.tests, names=job.names, limits=job.limits)
        except SandboxTrouble as trouble:
            raise CallFailed(f"the sandbox failed: {trouble}") from trouble
        return Answer([verdict], Usage())

    async def close(self) -> None:
        await self._sandbox.close()


def from_spec(spec: Spec, price: Price | None) -> Python:
    return Python(spec.model, workers=spec.concurrency or 0, timeout=spec.timeout or 0.0)
