"""The wall: money and tokens of a run, with what is in flight reserved.

Promised: what was spent and what is in flight never exceed a limit together, as long as no reply costs more than was
reserved for it. A reservation assumes a token for every two bytes of prompt and the whole of `max_tokens`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from gristmill.errors import Stopped
from gristmill.models.protocol import Price, Question, Usage

DEFAULT_MAX_TOKENS = 1024


def worst_case(question: Question, n: int, size: int) -> Usage:
    """The most that a question of `size` bytes can use, in tokens."""
    return Usage(size // 2 + 16, n * int(question.sampling.get("max_tokens", 0)))


class Halt:
    """Once something stopped the run, no further call starts; what is in flight is still kept."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self._resting: set[asyncio.Future[Any]] = set()

    def stop(self, cause: Stopped) -> None:
        self.stopped = self.stopped or cause
        for sleeper in self._resting:
            if not sleeper.done():
                sleeper.set_result(None)

    def check(self) -> None:
        if self.stopped:
            raise Stopped(self.stopped.reason, str(self.stopped))

    async def wait(self, turn: asyncio.Future[Any]) -> None:
        """Wait for a future; a stop ends it, with None as its result. Raises Stopped."""
        self.check()
        self._resting.add(turn)
        try:
            await turn
        finally:
            self._resting.discard(turn)

    async def rest(self, seconds: float) -> None:
        """Sleep; a stop ends it. Raises Stopped."""
        self.check()
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.add(sleeper)
        try:
            await asyncio.wait([sleeper], timeout=seconds)
        finally:
            self._resting.discard(sleeper)
        self.check()


@dataclass
class Budget:
    max_cost: float | None = None
    """USD; None: no limit."""
    max_tokens: int | None = None
    """Prompt and reply tokens together; None: no limit."""
    cost: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    reserved_cost: float = 0.0
    reserved_tokens: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, most: Usage, price: Price | None) -> None:
        """Set the most that a call can use aside; waits for calls in flight where that may make room.

        Raises:
            Stopped: it does not fit, with nothing in flight.
        """
        tokens, cost = most.input + most.output, price.cost(most) if price else 0.0
        while wall := self._wall(tokens, cost):
            if not self.reserved_tokens:
                raise Stopped("budget", wall)
            self._settled.clear()
            await self._settled.wait()
        self.reserved_tokens += tokens
        self.reserved_cost += cost

    def settle(self, most: Usage, used: Usage | None, price: Price | None) -> None:
        """Turn a reservation into what was really used; None for a call that brought nothing."""
        self.reserved_tokens -= most.input + most.output
        self.reserved_cost -= price.cost(most) if price else 0.0
        if used:
            self.input_tokens += used.input
            self.output_tokens += used.output
            self.cost += price.cost(used) if price else 0.0
        self._settled.set()

    def _wall(self, tokens: int, cost: float) -> str:
        spent = self.input_tokens + self.output_tokens
        if self.max_tokens is not None and spent + self.reserved_tokens + tokens > self.max_tokens:
            return f"--max-tokens {self.max_tokens}: {spent} tokens used, and the next call may need {tokens}"
        if self.max_cost is not None and self.cost + self.reserved_cost + cost > self.max_cost:
            return f"--max-cost {self.max_cost:g}: ${self.cost:.4f} spent, and the next call may cost ${cost:.4f}"
        return ""
