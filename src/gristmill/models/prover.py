"""Proof assistants as a backend: `prover:coq` and `prover:lean4`, with [,timeout=SECONDS][,concurrency=N], play roles
that prove."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from gristmill.errors import BadInput, CallFailed
from gristmill.models.protocol import Answer, Price, Question, Usage
from gristmill.models.spec import Spec
from gristmill.verify.provers import LEAN_LIMITS, LIMITS, Assistant, Coq, Lean
from gristmill.verify.values import SandboxTrouble


class Prover:
    """Asks a proof assistant of `gristmill.verify.provers`.

    Args:
        assistant: from Python also one with axioms of your own choice: `Prover(Coq(axioms=CLASSICAL))`.
        workers: questions at once, the machine's cores unless given: a question is a process of up to 2 GB.
    """

    def __init__(self, assistant: Assistant, *, workers: int = 0) -> None:
        self.model = assistant.language
        self.can = frozenset({"Prove"})
        self.endpoint = self.spec = f"prover:{self.model}"
        self.concurrency = self.most = workers or os.cpu_count() or 2
        self.max_n = 1
        self.context = None
        self.price = Price(0, 0)
        self._assistant = assistant

    def identity(self) -> dict[str, Any]:
        return {"backend": "prover", "model": self.model, **self._assistant.identity()}

    async def start(self) -> None:
        await self._assistant.start()

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind != "prove":
            raise BadInput(f"a proof assistant checks proofs; it was asked for {question.kind}")
        try:
            if question.sampling.get("state"):
                proof = await self._assistant.states(question.prompt)
            else:
                proof = await self._assistant.proves(question.prompt, question.continuation)
        except SandboxTrouble as trouble:
            raise CallFailed(f"the sandbox of {self.model} failed: {trouble}") from trouble
        return Answer([proof], Usage())

    async def close(self) -> None:
        """Nothing outlives its question."""


def from_spec(spec: Spec, price: Price | None) -> Prover:
    kind, limits = (Coq, LIMITS) if spec.model == "coq" else (Lean, LEAN_LIMITS)
    if spec.timeout:
        limits = msgspec.structs.replace(limits, seconds=spec.timeout)
    return Prover(kind(limits), workers=spec.concurrency or 0)
