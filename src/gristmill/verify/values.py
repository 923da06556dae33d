"""What goes into the sandbox and what comes out: plain values that can be journaled as JSON."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol

import msgspec

from gristmill.errors import GristmillError

Outcome = Literal["ok", "wrong", "error", "exit", "timeout", "memory", "output", "unsupported"]


class SandboxTrouble(GristmillError):
    """The sandbox itself failed, so nothing can be said about the program."""


class Program(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Python script, run as `__main__` in an empty folder."""

    code: str
    stdin: str = ""
    files: dict[str, bytes] = {}
    """Files that lie in its folder at the start, by name; no folders."""
    keep: list[str] = []
    """Names of files to hand back afterwards, where they exist."""


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a program may use. Each process of it may have `memory_mb`, and all together about as much."""

    seconds: float = 5.0
    """By the clock on the wall, start of the interpreter included."""
    memory_mb: int = 512
    processes: int = 32
    """Processes and threads at once. WASI and Monty have only one."""
    output_kb: int = 256
    """For stdout and stderr each; more ends the program."""
    files_kb: int = 1024
    """For all files together; more is refused, as a full disk is."""


class Verdict(msgspec.Struct, omit_defaults=True):
    """What became of a program.

    "ok":          it ran to its end (for a check: and all tests passed)
    "wrong":       a check only: an assert of the tests failed
    "error":       it raised; `error`, `message` and `line` say what
    "exit":        it ended itself with a status, `code`, or was killed by a signal (128 + its number)
    "timeout", "memory", "output": it went over that limit
    "unsupported": the link that ran it lacks what it needs, and there was no other link
    """

    outcome: Outcome
    stdout: str = ""
    stderr: str = ""
    """Output is decoded as UTF-8 with replacement characters. It may hold terminal escapes: escape it before showing."""
    seconds: float = 0.0
    link: str = ""
    """Which link ran it: "monty", "bubblewrap", "wasi"."""
    files: dict[str, bytes] = {}
    error: str = ""
    """The exception's type."""
    message: str = ""
    line: int = 0
    """Counted from 1; 0: not known."""
    code: int = 0
    where: Literal["program", "tests"] = "program"
    """Whose code it was that failed."""

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


class Proof(msgspec.Struct, omit_defaults=True):
    """What a proof assistant said.

    "ok":       the statement is well-formed (`states`), or proved (`proves`)
    "error":    it does not type-check, or the proof fails; `message` says where
    "open":     the proof leaves something out: admit, sorry, an unfinished goal
    "axioms":   it rests on axioms that are not allowed; `axioms` names them
    "refused":  it holds what a statement or a proof must not: commands that read files, change the notation, or end the
                theorem and begin another
    "timeout", "memory", "output": it went over that limit
    """

    outcome: Literal["ok", "error", "open", "axioms", "refused", "timeout", "memory", "output"]
    message: str = ""
    axioms: list[str] = []
    """What the proof rests on, allowed or not."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


class Body(msgspec.Struct):
    """A watched body at the times of its `Motion`. Lengths in metres, speeds in metres a second."""

    position: list[tuple[float, float, float]]
    velocity: list[tuple[float, float, float]]
    touched: list[str] = []
    """Other bodies that it met, in the order of the first contact."""


class Motion(msgspec.Struct, omit_defaults=True):
    """What a simulation showed.

    "ok":       it ran to its end
    "scene":    the scene cannot be loaded, or holds what a scene must not (files, plugins); `message` says what
    "unstable": positions became no numbers
    "timeout", "memory": it went over that limit
    """

    outcome: Literal["ok", "scene", "unstable", "timeout", "memory"]
    message: str = ""
    times: list[float] = []
    """Seconds from the start, ascending."""
    bodies: dict[str, Body] = {}

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


class Job:
    """A run under way, and how to end it from another thread."""

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.Lock()
        self._ways: list[Callable[[], None]] = []

    def on_cancel(self, way: Callable[[], None]) -> None:
        with self._lock:
            self._ways.append(way)
            if self.cancelled:
                way()

    def forget(self) -> None:
        """What `on_cancel` was told of is over."""
        with self._lock:
            self._ways.clear()

    def cancel(self) -> None:
        self.cancelled = True
        with self._lock:
            for way in self._ways:
                with suppress(OSError):
                    way()


class Link(Protocol):
    """One way to run a program. Its methods block; the sandbox calls them in threads."""

    name: str
    final: bool
    """Whether its word stands also where a program failed. Else the next link is asked."""

    def start(self) -> None:
        """Raises SandboxTrouble, with what to do, where this link cannot work on this machine."""

    def run(self, program: Program, limits: Limits, job: Job) -> Verdict: ...

    def check(self, program: Program, tests: str, names: list[str] | None, limits: Limits, job: Job) -> Verdict: ...

    def close(self) -> None: ...
