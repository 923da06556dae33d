"""Whether two formulas are equal, by computer algebra (the library math-verify, in the extra `maths`).

Promised: a comparison ends in time, whatever a model wrote (9^9^9^9, an endless simplification, a megabyte of LaTeX):
it runs in a child process that is killed and replaced when it hangs. "equal" is only said of what was read and found
equal. Callable from any thread.
Not promised: that what is equal is always found to be. And the clock is part of the answer: a slow machine may be
undecided where a fast one is not, so recipes ask through `ops.maths`, which journals.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gristmill.errors import BadInput, GristmillError

Same = Literal["equal", "different", "undecided"]
"""Undecided: at least one could not be read, or the comparison did not end in time. Never to be taken for "equal"."""

LONGEST = 1000
"""Characters of a formula; what is longer is not looked at."""
INSTALL = "pip install 'gristmill[maths]'"
WORKER = Path(__file__).with_name("maths_worker.py")
START_SECONDS = 120.0
MOST_WORKERS = 4

PYTHON = [  # how Python and sympy print, in LaTeX
    (re.compile(r"\*\*\s*(-?\d+|\([^()]*\))"), r"^{\1}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\\a-zA-Z])log(?![a-zA-Z])"), r"\\ln "),  # \log is that of 10 to the library
    (re.compile(r"(?<![\\a-zA-Z])(pi|sin|cos|tan|ln|exp)(?![a-zA-Z])"), r"\\\1 "),
    (re.compile(r"(?<![\\a-zA-Z])oo(?![a-zA-Z])"), r"\\infty "),
    (re.compile(r"(?<=\d)[eE]([-+]?\d{1,3})(?![\d.])"), r" \\times 10^{\1}"),
]
ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\(((?:[^()]|\([^()]*\))*)\)")
ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-z]{1,12}\*?\}|\\[a-zA-Z]+|(?<![a-zA-Z])sqrt(?![a-zA-Z])")
NO_FORMULA = re.compile(r"[a-zA-Z]{3}|\d\s*:\s*\d|\^\s*(?:\{[^{}]*\}|\w+)\s*\^")
"""Words, which the library takes for products of letters ("yes" is "sye" to it), times ("7:15" is "14:30"), and powers
of powers, which it takes from the left and Python from the right."""


def require() -> None:
    """Raises BadInput with what to install where the library is missing; for a recipe's check."""
    if find_spec("math_verify") is None:
        raise BadInput(f"comparing formulas needs the library math-verify, which is not installed: {INSTALL}")


def compare(given: str, gold: str, seconds: float = 5.0) -> Same:
    """Are two formulas, in LaTeX or as Python prints them, equal? Blocks for `seconds` at most once a worker runs.

    Args:
        given: what a model arrived at.
        gold: what it is held against. The two are not treated alike: of "x = 5" and "5" either may be gold.

    Raises:
        BadInput: the library is missing.
        GristmillError: the worker does not start.
    """
    formulas = [latex(given), latex(gold)]
    if not all(map(readable, formulas)):
        return "undecided"
    return _pool.compare(formulas, seconds)


def latex(answer: str) -> str:
    """An answer as one line of LaTeX without dollar signs around it."""
    text = " ".join(answer[: LONGEST + 1].replace("$", " ").split())
    for pattern, replacement in PYTHON:
        text = pattern.sub(replacement, text)
    while (rooted := ROOT.sub(r"\\sqrt{\1}", text)) != text:
        text = rooted
    return text


def readable(formula: str) -> bool:
    """Whether it is worth asking the library: short enough, not empty, no words."""
    return 0 < len(formula) <= LONGEST and not NO_FORMULA.search(ENVIRONMENT.sub(" ", formula))


class Worker:
    """A child process with the library in it."""

    def __init__(self) -> None:
        # -P: else the modules beside the worker would hide those of the standard library that bear their names.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )
        said = self._line(START_SECONDS)
        if said != "ready":
            self.close()
            if said == "missing":
                require()
                raise BadInput(f"math-verify is there, but cannot be imported: {INSTALL}")
            raise GristmillError(f"the process that compares formulas did not start (in {START_SECONDS:g} seconds)")

    def ask(self, formulas: list[str], seconds: float) -> str | None:
        """What it says, or None: then it is dead, or about to be."""
        assert self.process.stdin is not None
        question = json.dumps({"given": formulas[0], "gold": formulas[1], "seconds": seconds})
        try:
            self.process.stdin.write(question.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        return self._line(seconds)

    def _line(self, seconds: float) -> str | None:
        assert self.process.stdout is not None
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        return line.decode(errors="replace").strip() or None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):  # unsent bytes for the dead
                    pipe.close()


class Pool:
    """Workers that are started when they are needed, each serving one comparison at a time."""

    def __init__(self, most: int) -> None:
        self._slots = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._busy: list[Worker] = []

    def compare(self, formulas: list[str], seconds: float) -> Same:
        with self._slots:
            worker = self._take()
            said = None
            try:
                said = worker.ask(formulas, seconds)
            finally:
                with self._lock:
                    self._busy.remove(worker)
                    if said is not None:
                        self._free.append(worker)
                if said is None:
                    worker.close()
        return said if said in ("equal", "different") else "undecided"  # type: ignore[return-value]

    def _take(self) -> Worker:
        with self._lock:
            worker = self._free.pop() if self._free else None
        if worker is not None and worker.process.poll() is not None:  # it died in its sleep
            worker.close()
            worker = None
        worker = worker or Worker()
        with self._lock:
            self._busy.append(worker)
        return worker

    def close(self) -> None:
        """End all workers. The next comparison starts another."""
        with self._lock:
            free, self._free = self._free, []
            for worker in self._busy:
                worker.process.kill()  # the thread that waits for it closes it
        for worker in free:
            worker.close()


_pool = Pool(min(MOST_WORKERS, os.cpu_count() or 1))
close = _pool.close
"""End all workers; they end with the interpreter by themselves."""
atexit.register(close)
