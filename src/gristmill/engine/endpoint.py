"""One server that answers calls: how many at once, when to try again, when to give up.

A backend only says what went wrong; the policy stands here, once for all of them. What is worth a retry (429, 5xx,
cut connections) is retried with exponential backoff, and not before the endpoint's own `Retry-After`; that makes every
call to the endpoint wait, not only the one that met it. A stop ends all waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass

from gristmill.engine.budget import Budget, Halt, Purse, worst_case
from gristmill.errors import CallFailed, EndpointDown, Transient
from gristmill.models.protocol import Answer, Backend, Question

TRIES = 8
"""Attempts of a call that fail for its own reasons (5xx, cut, malformed)."""
REFUSED_TRIES = 40
"""Attempts of a call, those included that were told to wait (429, or any Retry-After)."""
UNREACHABLE_TRIES = 5
"""Attempts at which nothing answered at all, this call or any other: about 6 seconds."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the endpoint asks for more."""
LONGEST_RETRY_AFTER = 3600.0
"""Seconds that an endpoint may ask us to wait; one that asks for more is down, and the run can be resumed later."""
DEAD_AFTER = 8
"""Calls in a row that were given up, with no success between: the endpoint is down, and rows are not spent on it."""


@dataclass(slots=True)
class _Tries:
    """Attempts of one call."""

    all: int = 0
    failed: int = 0
    """For the call's own reasons."""
    unreachable: int = 0
    """In a row, with no answer to any other call between."""
    answers: int = 0


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
        self._answers = 0
        self._served = 0.0
        self._given_up_in_a_row = 0

    @property
    def service_seconds(self) -> float:
        """Mean time of an answer, from its request on; what it waited for its turn is not in it."""
        return self._served / max(1, self._answers)

    async def call(self, backend: Backend, question: Question, n: int, size: int, budget: Budget | Purse) -> Answer:
        """An answer, or an error that asking again would not mend.

        Raises:
            CallFailed: this question got no usable answer.
            EndpointDown: no question can get one.
            Stopped: the budget has no room for it.
        """
        tries = _Tries()
        while True:
            await self._enter()
            try:
                self.halt.check()
                return await self._try(backend, question, n, size, budget)
            except Transient as error:
                wait = self._after(error, tries)
            finally:
                self._leave()
            self.retries += 1
            await self.halt.rest(wait)

    async def _try(self, backend: Backend, question: Question, n: int, size: int, budget: Budget | Purse) -> Answer:
        while (pause := self._quiet_until - time.monotonic()) > 0:
            await self.halt.rest(pause)
        most = worst_case(question, n, size)
        await budget.reserve(most, backend.price)
        answer = None
        started = time.monotonic()
        try:
            self.halt.check()  # it may have come while this call waited for room
            answer = await backend.answer(question, n)
        finally:
            budget.settle(most, answer.usage if answer else None, backend.price)
        self._answers += 1
        self._served += time.monotonic() - started
        self._given_up_in_a_row = 0
        return answer

    def _after(self, error: Transient, tries: _Tries) -> float:
        """Seconds to wait before the next attempt; raises when there should be none."""
        tries.all += 1
        asked = error.retry_after
        if error.unreachable:
            tries.unreachable = tries.unreachable + 1 if tries.answers == self._answers else 1
            tries.answers = self._answers
            if tries.unreachable >= UNREACHABLE_TRIES:
                raise EndpointDown(f"{self.name} does not answer: {error}") from error
        else:
            tries.unreachable = 0
            tries.failed += not error.busy and asked is None
        if tries.failed >= TRIES or tries.all >= REFUSED_TRIES:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= DEAD_AFTER:
                raise EndpointDown(
                    f"{self.name} failed {DEAD_AFTER} calls in a row, each many times; the last: {error}"
                ) from error
            raise CallFailed(f"{self.name}: {error} (tried {tries.all} times)") from error
        # Jitter, so that calls that failed together do not come back together.
        backoff: float = min(LONGEST_WAIT, 0.25 * 2.0**tries.all) * random.uniform(0.5, 1.0)
        if asked is None:
            return backoff
        if not asked <= LONGEST_RETRY_AFTER:
            raise EndpointDown(
                f"{self.name} asks to wait for {asked / 3600:.1f} hours: {error}. Resume then"
            ) from error
        self._quiet_until = max(self._quiet_until, time.monotonic() + asked)
        return max(asked, backoff)  # a Retry-After of 0 is common, and is no reason to spend all tries at once

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
