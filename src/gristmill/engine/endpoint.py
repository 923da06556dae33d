"""One server that answers calls: how many at once, when to try again, when to give up.

A backend only says what went wrong; the policy stands here, once for all of them. What is worth a retry (429, 5xx,
cut connections) is retried with exponential backoff and the endpoint's own `Retry-After`; a 429 makes every call to
the endpoint wait, not only the one that met it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

from gristmill.engine.budget import Budget, Halt, worst_case
from gristmill.errors import CallFailed, EndpointDown, Transient
from gristmill.models.protocol import Answer, Backend, Question

TRIES = 8
"""Attempts for a call that fails for its own reasons (5xx, cut, malformed)."""
REFUSED_TRIES = 40
"""Attempts for a call that is told to wait (429 with or without Retry-After)."""
UNREACHABLE_TRIES = 5
"""Attempts where nothing answers at all, about 8 seconds."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the endpoint asks for more."""
DEAD_AFTER = 8
"""Calls in a row that were given up, with no success between: the endpoint is down, and rows are not spent on it."""


class Endpoint:
    """Shared by all models at one address. `limit`: calls at once."""

    def __init__(self, name: str, limit: int, halt: Halt) -> None:
        self.name = name
        self.halt = halt
        self.limit = limit
        self.in_flight = 0
        self.retries = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._quiet_until = 0.0
        self._given_up_in_a_row = 0

    async def call(self, backend: Backend, question: Question, n: int, size: int, budget: Budget) -> Answer:
        """An answer, or an error that asking again would not mend.

        Raises:
            CallFailed: this question got no usable answer.
            EndpointDown: no question can get one.
            Stopped: the budget has no room for it.
        """
        attempt = 0
        while True:
            await self._enter()
            try:
                self.halt.check()
                return await self._try(backend, question, n, size, budget)
            except Transient as error:
                attempt += 1
                wait = self._after(error, attempt)
            finally:
                self._leave()
            self.retries += 1
            await asyncio.sleep(wait)

    async def _try(self, backend: Backend, question: Question, n: int, size: int, budget: Budget) -> Answer:
        while (pause := self._quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        most = worst_case(question, n, size)
        await budget.reserve(most, backend.price)
        answer = None
        try:
            answer = await backend.answer(question, n)
        finally:
            budget.settle(most, answer.usage if answer else None, backend.price)
        self._given_up_in_a_row = 0
        return answer

    def _after(self, error: Transient, attempt: int) -> float:
        """Seconds to wait before the next attempt; raises when there should be none."""
        if error.unreachable and attempt >= UNREACHABLE_TRIES:
            raise EndpointDown(f"{self.name} does not answer: {error}") from error
        if attempt >= (TRIES if error.retry_after is None else REFUSED_TRIES):
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= DEAD_AFTER:
                raise EndpointDown(
                    f"{self.name} failed {DEAD_AFTER} calls in a row, each {attempt} times; the last: {error}"
                ) from error
            raise CallFailed(f"{self.name}: {error} (tried {attempt} times)") from error
        # Jitter, so that calls that failed together do not come back together.
        backoff: float = min(LONGEST_WAIT, 0.25 * 2.0**attempt) * random.uniform(0.5, 1.0)
        if error.retry_after is None:
            return backoff
        self._quiet_until = max(self._quiet_until, time.monotonic() + error.retry_after)
        return error.retry_after

    async def _enter(self) -> None:
        if self.in_flight < self.limit and not self._waiting:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was already ours: pass it on
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes from hand to hand: in_flight stays
                return
        self.in_flight -= 1
