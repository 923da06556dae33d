"""A clock that jumps instead of waiting, for whatever is about time; what entries of a comparison name."""

import asyncio
import json
import time

import pytest

from gristmill import recipes


def pytest_collection_modifyitems(items):
    """What has a longer time limit than usual begins first: else all others wait for it at the end."""
    limits = {item: marker.args[0] for item in items if (marker := item.get_closest_marker("timeout"))}
    items.sort(key=lambda item: -limits.get(item, 300))


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


@pytest.fixture
def methods(monkeypatch):
    """The recipes of `comparing`, by names as if they shipped."""
    from comparing import METHODS  # by most tests it is never loaded

    load = recipes.load
    monkeypatch.setattr(recipes, "load", lambda name: METHODS.get(name) or load(name))


@pytest.fixture
def topics(tmp_path):
    """A file of seeds that both of these can read."""
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(json.dumps({"topic": f"t{n}"}) + "\n" for n in range(60)))
    return str(path)
