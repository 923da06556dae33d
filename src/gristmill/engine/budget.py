"""The walls: money and tokens of a run and of its roles, with what is in flight reserved.

Promised: what was spent and what is in flight never exceed a limit together, as long as no reply costs more than was
reserved for it. A reservation assumes a token for every two bytes of prompt and the whole of `max_tokens`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
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
class Wall:
    """A limit in money, in tokens or in both, and what counts against it."""

    max_cost: float | None = None
    """USD; None: no limit."""
    max_tokens: int | None = None
    """Prompt and reply tokens together; None: no limit."""
    cost: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    reserved_cost: float = 0.0
    reserved_tokens: int = 0
    name: str = ""
    """The role that it holds for, as the user named it; "" for the whole run."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def over(self, tokens: int, cost: float) -> str:
        """What is in the way of a call that may use so much; "" if nothing is."""
        option = f" {self.name}=" if self.name else " "
        if self.max_tokens is not None and self.tokens + self.reserved_tokens + tokens > self.max_tokens:
            return (
                f"--max-tokens{option}{self.max_tokens}: {self.tokens} tokens used, and the next call may need {tokens}"
            )
        if self.max_cost is not None and self.cost + self.reserved_cost + cost > self.max_cost:
            return (
                f"--max-cost{option}{self.max_cost:g}: ${self.cost:.4f} spent, and the next call may cost ${cost:.4f}"
            )
        return ""


@dataclass
class Budget(Wall):
    """The wall of a whole run, and those of single roles."""

    roles: dict[str, Wall] = field(default_factory=dict)
    """By role, or by "step.role" where only that of one step is meant."""
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def of(self, step: str, role: str) -> Purse:
        """What a role of a step pays from."""
        return Purse(self, [self, *(self.roles[name] for name in (role, f"{step}.{role}") if name in self.roles)])

    async def reserve(self, most: Usage, price: Price | None, walls: Sequence[Wall] = ()) -> None:
        """Set the most that a call can use aside; waits for calls in flight where that may make room.

        Raises:
            Stopped: it does not fit, with nothing in flight.
        """
        walls = walls or (self,)
        tokens, cost = most.input + most.output, price.cost(most) if price else 0.0
        while held := next(((wall, said) for wall in walls if (said := wall.over(tokens, cost))), None):
            wall, said = held
            if not wall.reserved_tokens:
                self._wake()
                raise Stopped("budget", said)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        for wall in walls:
            wall.reserved_tokens += tokens
            wall.reserved_cost += cost

    def settle(self, most: Usage, used: Usage | None, price: Price | None, walls: Sequence[Wall] = ()) -> None:
        """Turn a reservation into what was really used; None for a call that brought nothing."""
        for wall in walls or (self,):
            wall.reserved_tokens -= most.input + most.output
            wall.reserved_cost -= price.cost(most) if price else 0.0
            if used:
                wall.input_tokens += used.input
                wall.output_tokens += used.output
                wall.cost += price.cost(used) if price else 0.0
        self._wake()

    def _wake(self) -> None:
        """Let all that wait look again, in their order. Calls that bring less than was set aside make room for several."""
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


@dataclass
class Purse:
    """A role's side of the budget."""

    budget: Budget
    walls: Sequence[Wall]

    async def reserve(self, most: Usage, price: Price | None) -> None:
        await self.budget.reserve(most, price, self.walls)

    def settle(self, most: Usage, used: Usage | None, price: Price | None) -> None:
        self.budget.settle(most, used, price, self.walls)
