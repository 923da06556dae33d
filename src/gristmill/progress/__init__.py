"""What a person or a program sees while a run works. Always on stderr.

A live panel in a terminal, plain lines in a log, JSON events for programs (docs/progress.md). Promised: showing a run
never breaks it, and takes at most a fiftieth of its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol

import msgspec

from gristmill.errors import BadInput, nearest
from gristmill.execute import Live, Watcher
from gristmill.progress import wording
from gristmill.progress.meter import Meter, View

LINE_EVERY = 10.0
"""Seconds between two lines in a log."""
SHARE = 50
"""Times as long as a picture took to paint, it stays: so painting takes a fiftieth of the time at most."""


class Painter(Protocol):
    """A way to show a run: told of its start, of how it goes every so often, and of its end."""

    every: float
    """Seconds between two views."""

    def show(self, view: View) -> None: ...


def watcher(kind: str = "auto") -> Watcher:
    """A way to show a run, for `watch=` of `gristmill.run`.

    Args:
        kind: "panel", "lines", "json" or "none"; "auto" is a panel in a terminal, and lines elsewhere.
    """
    if kind not in KINDS:
        raise BadInput(f"progress={kind!r}: {nearest(kind, KINDS)}")
    return partial(_watched, KINDS[kind])


def shown(live: Live) -> AbstractAsyncContextManager[None]:
    """Show a run for as long as it works, as suits where it runs."""
    return _watched(_auto, live)


@asynccontextmanager
async def _watched(painter: Callable[[], Painter | None], live: Live) -> AsyncIterator[None]:
    canvas = _Canvas(painter, live)
    following = asyncio.create_task(canvas.follow())
    stopped = None
    try:
        yield
    except BaseException as error:
        stopped = str(error) or "interrupted"
        raise
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        halted = live.ledger.halt.stopped
        canvas.end(stopped or (str(halted) if halted and halted.reason != "enough" else None))


class _Canvas:
    """Where a painter works; what goes wrong there stays there, and is told at the end."""

    def __init__(self, painter: Callable[[], Painter | None], live: Live) -> None:
        self._meter = Meter(live)
        self._painter: Painter | None = None
        self._trouble: Exception | None = None
        self._begun = False
        with self._guarded():
            self._painter = painter()

    async def follow(self) -> None:
        # Begun here and not before: by now the run has taken up what its journal holds.
        self._begin()
        while self._painter:
            await asyncio.sleep(self._painter.every)
            began = time.perf_counter()
            self._show()
            await asyncio.sleep(max(0.0, (time.perf_counter() - began) * SHARE - self._painter.every))

    def _begin(self) -> None:
        self._begun = True
        with self._guarded():
            if self._painter:
                self._painter.show(self._meter.look("start"))

    def _show(self) -> None:
        with self._guarded():
            if self._painter:
                self._painter.show(self._meter.look())

    def end(self, stopped: str | None) -> None:
        if not self._begun:
            self._begin()
        with self._guarded():
            if self._painter:
                self._painter.show(self._meter.look("end", stopped=stopped))
        if self._trouble:
            trouble = f"{type(self._trouble).__name__}: {wording.plain(str(self._trouble))}"
            with contextlib.suppress(OSError, ValueError):
                print(f"gristmill: progress could not be shown ({trouble}); the run went on", file=sys.stderr)

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # a run that was paid for must not end because of its picture
            self._trouble = self._trouble or error


class Panel:
    """A picture that is painted over and over, and gone at the end."""

    every = 0.25

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        # Told to show a panel, we do: what looks like no terminal may lead to one.
        self._console = Console(stderr=True, force_terminal=True)
        self._screen = Screen(
            console=self._console,
            auto_refresh=False,  # a thread of its own could raise where nobody catches it
            transient=True,
            vertical_overflow="crop",
            redirect_stdout=sys.stdout.isatty(),  # what a recipe prints into a file belongs there
        )

    def show(self, view: View) -> None:
        from gristmill.progress.panel import picture

        if view.event == "start":
            self._screen.start()
        if view.event == "end":
            self._screen.stop()
        else:
            self._screen.update(picture(view, self._console), refresh=True)


class Lines:
    """For a log: one line at the start, one every so often, one at the end."""

    every = 1.0

    def __init__(self) -> None:
        self._said = 0.0

    def show(self, view: View) -> None:
        if view.event == "start":
            self._say(wording.opening(view))
        elif view.event == "end":
            self._say(wording.closing(view))
        elif view.seconds - self._said >= LINE_EVERY:
            self._said = view.seconds
            self._say(wording.line(view))

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Events:
    """For programs: a JSON object a line."""

    every = 1.0

    def show(self, view: View) -> None:
        # ASCII, so that no encoding of stderr can make it something else.
        print(json.dumps(msgspec.to_builtins(view)), file=sys.stderr, flush=True)


def _auto() -> Painter:
    return Panel() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


KINDS: dict[str, Callable[[], Painter | None]] = {
    "auto": _auto,
    "panel": Panel,
    "lines": Lines,
    "json": Events,
    "none": lambda: None,
}
