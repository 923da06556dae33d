"""One server that answers calls: how many at once, how fast, when to try again, when to give up.

A backend only says what went wrong; the policy stands here, once for all of them, and nothing below tries again by
itself (the wire resends only what an idle connection swallowed), so tries do not multiply. All waiting is in one queue
in order of arrival: for a place, for the pace, for the end of a wait that the endpoint asked for, for the breaker.
A stop ends it at once.

Limits:          `limit.py` adapts calls at once and calls a second to what the endpoint bears, unless the user fixed them.
Retry-After:     makes every call to the endpoint wait, not only the one that was told. So does a rate-limit header that
                 says that nothing is left.
Tries:           what is worth one (429, 5xx, cut connections) is tried again after an exponential backoff with jitter:
                 TRIES times for a call's own failures, REFUSED_TRIES with those that were told to wait.
Circuit breaker: `breaker.py`. Failures in a row, of several calls, are the endpoint's: nothing but one probe at a time is
                 sent. Calls that met the outage wait, and their tries are not counted. Where the endpoint answered before,
                 it has PATIENCE to come back; then the run stops, resumable.
Retry budget:    one for the endpoint: 0.2 retries for each answer, and 32 besides. Where it is spent, the breaker opens:
                 whoever fails so often is in trouble, and retries would be most of its load. A 429 is not counted.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gristmill.engine.breaker import Breaker
from gristmill.engine.budget import Budget, Halt, Purse, worst_case
from gristmill.engine.limit import MOST, Climber, Pacer
from gristmill.errors import CallFailed, EndpointDown, Transient
from gristmill.models.protocol import Answer, Backend, Limits, Question

TRIES = 8
"""Attempts of a call that fail for its own reasons (5xx, cut, malformed)."""
REFUSED_TRIES = 40
"""Attempts of a call, those included that were told to wait (429, or any Retry-After)."""
UNREACHABLE_TRIES = 5
"""Attempts at which nothing answered at all, this call or any other, ever: about 6 seconds. A wrong URL fails fast."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts, unless the endpoint asks for more."""
LONGEST_RETRY_AFTER = 3600.0
"""Seconds that an endpoint may ask us to wait; one that asks for more is down, and the run can be resumed later."""
SUSPECT = 3
"""Failures of a call, with answers to others in between, after which it is no witness against the endpoint any more."""
DEAD_AFTER = 8
"""Calls in a row that were given up, with no success between: the endpoint is down, and rows are not spent on it."""
PATIENCE = 600.0
"""Seconds of an outage after which an endpoint that answered before is given up."""
FIRST_PATIENCE = 60.0
"""The same for one that never did, but is there: a server that loads its model says 503."""


@dataclass(slots=True, eq=False)
class _Tries:
    """Attempts of one call."""

    all: int = 0
    failed: int = 0
    """For the call's own reasons."""
    unreachable: int = 0
    """In a row, with no answer to any other call between."""
    answers: int = 0
    """Of the endpoint, when this call failed last."""
    waits: int = 0
    """429s in a row, with no answer to any other call between."""
    heard: int = 0
    """Answers of the endpoint, when this call was last in trouble."""
    suspect: int = -1
    """Times that it was in trouble while others were not. The first says nothing."""
    sent: float = 0.0
    """When the last was sent."""
    probe: bool = False
    """The last one is."""


class Endpoint:
    """Shared by all models at one address.

    Args:
        name: for messages.
        start: calls at once to begin with.
        fixed: calls at once, as the user wants it: neither they nor the pace adapt.
        changed: called when `limit` is another one.
        most: the largest limit.
    """

    def __init__(
        self,
        name: str,
        start: int,
        halt: Halt,
        *,
        fixed: int | None = None,
        changed: Callable[[], None] | None = None,
        most: int | None = None,
    ) -> None:
        self.name = name
        self.halt = halt
        self.changed = changed
        self.limit = fixed or start
        """Calls at once."""
        self.in_flight = 0
        self.retries = 0
        self._climber = None if fixed else Climber(start, most or max(start, MOST))
        self._pacer = None if fixed else Pacer()
        self._breaker = Breaker[_Tries]()
        self._waiting: deque[asyncio.Future[bool | None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._calls = 0
        self._quiet_until = 0.0
        self._answers = 0
        self._served = 0.0
        self._given_up_in_a_row = 0

    def at_most(self, most: int) -> None:
        """Take no more calls at once than so many: what the user said of one of the models here."""
        if self._climber is not None:
            self._climber.at_most(most)
            self._take_over()

    @property
    def waiting(self) -> int:
        """Calls that queue for a place."""
        return len(self._waiting)

    @property
    def note(self) -> str:
        """What is going on, for people; "" when all is well."""
        now = time.monotonic()
        if self._breaker.open:
            pause = self._breaker.probe_at - now
            return f"breaker open: probing{f' in {math.ceil(pause)} s' if pause > 0 else ''}"
        if (pause := self._quiet_until - now) > 0:
            return f"waits {math.ceil(pause)} s: asked to"
        if self._pacer is not None and self._pacer.rate != math.inf:
            return f"paced: {self._pacer.rate:.3g} calls a second"
        return ""

    @property
    def service_seconds(self) -> float:
        """Mean time of an answer, from its request on; what it waited for its turn is not in it."""
        return self._served / max(1, self._answers)

    async def call(self, backend: Backend, question: Question, n: int, size: int, budget: Budget | Purse) -> Answer:
        """An answer, or an error that asking again would not mend.

        Raises:
            CallFailed: this question got no usable answer.
            EndpointDown: no question can get one.
            Stopped: the run was stopped, or the budget has no room for it.
        """
        tries = _Tries()
        self._calls += 1
        try:
            while True:
                tries.probe = await self._enter()
                well: bool | None = None
                try:
                    self.halt.check()
                    answer = await self._try(backend, question, n, size, budget, tries)
                    well = True
                    return answer
                except Transient as error:
                    well = not self._trouble(error)
                    wait = self._after(error, tries)
                except CallFailed:
                    well = True  # it answers, if only to refuse
                    raise
                finally:
                    if tries.probe:
                        self._probed(well)
                    self._leave()
                self.retries += 1
                await self.halt.rest(wait)
        finally:
            self._calls -= 1
            self._breaker.troubled.discard(tries)

    async def _try(
        self, backend: Backend, question: Question, n: int, size: int, budget: Budget | Purse, tries: _Tries
    ) -> Answer:
        most = worst_case(question, n, size)
        await budget.reserve(most, backend.price)
        answer = None
        try:
            self.halt.check()  # it may have come while this call waited for room
            tries.sent = time.monotonic()
            answer = await backend.answer(question, n)
        finally:
            budget.settle(most, answer.usage if answer else None, backend.price)
        now = time.monotonic()
        self._answers += 1
        self._served += now - tries.sent
        self._given_up_in_a_row = 0
        self._breaker.answered(self.limit)
        if answer.limits is not None:
            self._heed(answer.limits, now)
        if self._climber is not None:
            crowded = bool(self._waiting) and self.in_flight >= self.limit
            paced = self._pacer is not None and self._pacer.rate != math.inf
            self._climber.done(now, answer.usage.output, now - tries.sent, crowded, paced)
            self._take_over()
        return answer

    # What went wrong

    @staticmethod
    def _trouble(error: Transient) -> bool:
        """It says that the endpoint is not well, rather than busy."""
        return not error.busy and error.retry_after is None

    def _after(self, error: Transient, tries: _Tries) -> float:
        """Seconds to wait before the next attempt; raises when there should be none."""
        now = time.monotonic()
        outage = self._trouble(error) and self._in_outage(error, tries, now)
        if not (outage and error.down):
            # What may be the call's own fault counts even then, or a few such calls would keep the breaker open for ever.
            self._count(error, tries)
        if error.limits is not None:
            self._heed(error.limits, now)
        asked = error.retry_after
        waits = tries.all
        if error.busy and self._pacer is not None and self._pacer.refused(now, tries.sent, max(0.0, asked or 0.0)):
            # While others get through, the pace is what keeps calls apart, and long waits would leave it unused.
            tries.waits = waits = tries.waits + 1 if tries.answers == self._answers else 1
            tries.answers = self._answers
            if self._climber is not None and self.in_flight >= 0.9 * self.limit:
                self._climber.refused(now)
                self._take_over()
        # Jitter, so that calls that failed together do not come back together.
        backoff: float = min(LONGEST_WAIT, 0.25 * 2.0**waits) * random.uniform(0.5, 1.0)
        if outage:
            return 0.0  # it queues for the breaker
        if asked is None:
            return backoff
        if not asked <= LONGEST_RETRY_AFTER:
            raise EndpointDown(
                f"{self.name} asks to wait for {asked / 3600:.1f} hours: {error}. Resume then"
            ) from error
        self._quiet_until = max(self._quiet_until, now + asked)
        return max(asked, backoff)  # a Retry-After of 0 is common, and is no reason to spend all tries at once

    def _in_outage(self, error: Transient, tries: _Tries, now: float) -> bool:
        """Tell the breaker. True: the call is not to blame, and waits until the endpoint is well."""
        if error.unreachable and not self._answers:
            return False  # never seen alive: a wrong address, most likely
        breaker = self._breaker
        tries.suspect += tries.heard != self._answers
        tries.heard = self._answers
        if tries.suspect >= SUSPECT:
            return False
        if breaker.failed(now, tries, down=error.down, at_once=min(self.limit, self._calls)):
            for other in breaker.troubled:
                other.failed = other.all = 0
        patience = PATIENCE if self._answers else FIRST_PATIENCE
        if breaker.open and now - breaker.since >= patience:
            raise EndpointDown(
                f"{self.name} did not answer for {now - breaker.since:.0f} s, and was asked again and again; the last: {error}"
            ) from error
        return breaker.open

    def _count(self, error: Transient, tries: _Tries) -> None:
        tries.all += 1
        if error.unreachable:
            tries.unreachable = tries.unreachable + 1 if tries.answers == self._answers else 1
            tries.answers = self._answers
            if tries.unreachable >= UNREACHABLE_TRIES and not self._answers:
                raise EndpointDown(f"{self.name} does not answer: {error}") from error
        else:
            tries.unreachable = 0
            tries.failed += self._trouble(error)
        if tries.failed >= TRIES or tries.all >= REFUSED_TRIES:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= DEAD_AFTER:
                raise EndpointDown(
                    f"{self.name} failed {DEAD_AFTER} calls in a row, each many times; the last: {error}"
                ) from error
            raise CallFailed(f"{self.name}: {error} (tried {tries.all} times)") from error

    def _heed(self, limits: Limits, now: float) -> None:
        """What the endpoint's headers say is left."""
        if limits.remaining <= 0 and 0 < limits.reset <= LONGEST_RETRY_AFTER:
            self._quiet_until = max(self._quiet_until, now + limits.reset)
        if self._pacer is not None and limits.rate is not None and limits.remaining < limits.rate:
            self._pacer.cap(limits.rate)  # less than a second's worth is left: from here on, what is refilled

    # Places

    def _take_over(self) -> None:
        if self._climber is not None and self._climber.limit != self.limit:
            self.limit = self._climber.limit
            if self.changed is not None:
                self.changed()
            self._send()

    async def _enter(self) -> bool:
        """Wait for a place, and for all else that may stand between. True: this call is the breaker's probe."""
        if not self._waiting and self._delay(time.monotonic()) <= 0:
            return self._take()
        while True:
            turn: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._send()
            try:
                await self.halt.wait(turn)
            except BaseException:
                if turn.done() and not turn.cancelled() and (probe := turn.result()) is not None:
                    if probe:
                        self._probed(None)
                    self._leave()  # the place was already ours: pass it on
                elif turn in self._waiting:
                    self._waiting.remove(turn)
                raise
            if (given := turn.result()) is not None:
                return given
            if turn in self._waiting:  # woken by a stop
                self._waiting.remove(turn)
            self.halt.check()

    def _delay(self, now: float) -> float:
        """Seconds until a call may be sent; infinite where another one has to end first."""
        if self._breaker.open:
            # Calls from before may still hold all places: the probe takes one more.
            return math.inf if self._breaker.probing else max(self._breaker.probe_at, self._quiet_until) - now
        if self.in_flight >= self.limit:
            return math.inf
        if (quiet := self._quiet_until - now) > 0:
            return quiet
        return self._pacer.wait(now) if self._pacer is not None else 0.0

    def _take(self) -> bool:
        self.in_flight += 1
        if self._pacer is not None:
            self._pacer.take(time.monotonic())
        if self._breaker.open:
            self._breaker.probing = True
        return self._breaker.open

    def _send(self) -> None:
        """Give places to those who wait, as far as they may be sent now; else set an alarm for when they may."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._waiting:
            if self._waiting[0].done():  # cancelled, or woken by a stop
                self._waiting.popleft()
                continue
            delay = self._delay(time.monotonic())
            if delay > 0:
                if delay < math.inf:
                    self._alarm = asyncio.get_running_loop().call_later(delay, self._send)
                return
            self._waiting.popleft().set_result(self._take())

    def _leave(self) -> None:
        self.in_flight -= 1
        self._send()

    def _probed(self, well: bool | None) -> None:
        """The probe came back: the endpoint is well, is not, or (None) was not asked."""
        now = time.monotonic()
        self._breaker.probed(now, well=well)
        if well and self._climber is not None:
            self._climber.restart(now)
            self._take_over()
