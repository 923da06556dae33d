"""The sandbox as a backend: `sandbox:python[,workers=N][,timeout=SECONDS]` plays roles that run model-written code."""

from __future__ import annotations

import os
from typing import Any

from gristmill.errors import BadInput, CallFailed
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.verify import Limits, Sandbox, SandboxTrouble


class Python:
    """Runs programs in the chain of sandboxes of `gristmill.verify`."""

    def __init__(self, *, workers: int = 0, timeout: float = 5.0) -> None:
        self.model = "python"
        self.can = frozenset({"Execute"})
        self.endpoint = self.spec = "sandbox:python"
        self.concurrency = self.most = workers or os.cpu_count() or 2
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self.notes: list[str] = []
        """Links of the chain that do not work here."""
        self._sandbox = Sandbox(limits=Limits(seconds=timeout), workers=self.concurrency)
        self._timeout = timeout

    def identity(self) -> dict[str, Any]:
        return {"backend": "sandbox", "model": self.model, "seconds": self._timeout}

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
    return Python(workers=spec.concurrency or 0, timeout=spec.timeout or 5.0)
