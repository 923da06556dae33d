"""A clock that jumps instead of waiting, for whatever is about time."""

import asyncio
import time

import pytest


class Clock:
    """The loop's time. Where the loop would wait for a timer, the time is moved there; where it would wait for ever,
    it raises: a wakeup was lost."""

    def __init__(self, loop: asyncio.SelectorEventLoop) -> None:
        self.now = self.start = loop.time()
        self._select = loop._selector.select

    @property
    def passed(self) -> float:
        return self.now - self.start

    def select(self, timeout: float | None):
        if timeout is None:
            raise AssertionError("nothing is left that could wake this loop")
        events = self._select(0)
        if not events:
            self.now += timeout
        return events


@pytest.fixture
async def clock(monkeypatch):
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    monkeypatch.setattr(loop, "time", lambda: clock.now)
    monkeypatch.setattr(loop._selector, "select", clock.select)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    yield clock
    monkeypatch.undo()
