"""`people:GROUP`: roles that people play. Nobody is asked here: the engine puts the task into the run's queue, the row waits,
and `gristmill annotate` puts the answer into the journal, where the resumed run finds it."""

from __future__ import annotations

from typing import Any

from gristmill.errors import BadInput
from gristmill.models.protocol import Answer, Price, Question
from gristmill.models.spec import Spec


class People:
    """A group of annotators."""

    queues = True
    """Answers come later, from outside."""

    def __init__(self, group: str) -> None:
        self.model = group
        self.can = frozenset({"Annotator"})
        self.endpoint = self.spec = f"people:{group}"
        self.concurrency = 1024
        self.most = None
        self.max_n = 64
        self.context = None
        self.price = Price(0, 0)

    def identity(self) -> dict[str, Any]:
        return {"backend": "people", "group": self.model}

    async def start(self) -> None:
        pass

    async def answer(self, question: Question, n: int) -> Answer:
        raise BadInput(f"{self.spec} answers through `gristmill annotate`, not at once")

    async def close(self) -> None:
        pass


def from_spec(spec: Spec, price: Price | None) -> People:
    return People(spec.model)
