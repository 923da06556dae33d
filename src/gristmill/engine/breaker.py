"""The circuit breaker of an endpoint, and its retry budget. Pure logic: no clock, no I/O.

Closed: calls are sent. Open: nothing is sent. Half-open: one call is, the probe; its answer closes the breaker, another
failure opens it for twice as long. Trouble is what says that the endpoint is not well (5xx, cut, unreachable). A 429 is
none: it is well and has too much to do.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

IN_A_ROW = 5
"""Failures with no answer between that open the breaker, and one more for every 4 calls at once: where many are under
way, a few failures in a row are chance."""
CALLS = 3
"""How many calls, at least, they must be of: one that fails again and again may do so for its own reasons."""
RETRY_SHARE = 0.2
"""Retries for each answer."""
RETRY_FLOOR = 32
"""Retries before any answer came, and how many can be saved up; or one for each call at once, if that is more."""
PAUSE = (1.0, 10.0)
"""Seconds from the opening to the first probe, and at most between two; doubles in between."""


T = TypeVar("T", bound=Hashable)


class Breaker(Generic[T]):
    """Counts what went well and what did not."""

    def __init__(self) -> None:
        self.open = False
        self.probing = False
        """One call is under way; with `open`: half-open."""
        self.probe_at = 0.0
        """When the next probe may be sent."""
        self.since = 0.0
        """When the trouble at hand began."""
        self.openings = 0
        self.credit = float(RETRY_FLOOR)
        """Retries left in the budget."""
        self.troubled: set[T] = set()
        """Calls that failed since the last answer, and still go on."""
        self._pause = 0.0
        self._row = self._down = 0

    def answered(self, at_once: int) -> None:
        self.credit = min(max(RETRY_FLOOR, at_once), self.credit + RETRY_SHARE)
        if self._row:
            self._row = self._down = 0
            self.troubled.clear()

    def failed(self, now: float, call: T, *, down: bool, at_once: int) -> bool:
        """A call had trouble. `down`: of a kind that no call causes itself. `at_once`: how many calls can be under way.
        True: the breaker opens by this."""
        if not self._row:
            self.since = now
        self._row += 1
        self._down += down
        self.troubled.add(call)
        self.credit = max(0.0, self.credit - 1)
        if self.open:
            return False
        several = len(self.troubled) >= max(2, min(CALLS, at_once)) or self._down == self._row
        in_a_row = self._row >= IN_A_ROW + at_once // 4
        if several and (in_a_row or not self.credit):
            self.open = True
            self.openings += 1
            self._pause = PAUSE[0]
            self._wait(now)
            return True
        return False

    def probed(self, now: float, *, well: bool | None) -> None:
        """The probe came back: the endpoint is well, is not, or (None) was not asked."""
        self.probing = False
        if well:
            self.open = False
            self._row = self._down = 0
            self.troubled.clear()
            self.credit = max(self.credit, RETRY_FLOOR / 2)
        elif well is not None:
            self._pause = min(PAUSE[1], 2 * self._pause)
            self._wait(now)

    def _wait(self, now: float) -> None:
        # Jitter: many of these processes may have met the same outage.
        self.probe_at = now + self._pause * random.uniform(0.75, 1.25)
