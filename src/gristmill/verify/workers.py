"""Child processes of ours that answer questions, a line each, and can be killed: libraries that hang, crash or take all
memory on hostile input do it there.

A worker is a script that prints "ready" ("missing" where its library is not installed), then reads a JSON object a line
and answers each with a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gristmill.errors import BadInput, GristmillError

START_SECONDS = 120.0


class Worker:
    """A child process with the library in it.

    Args:
        require: raises BadInput with what to install.
    """

    def __init__(self, script: Path, library: str, require: Callable[[], None]) -> None:
        # -P: else the modules beside the worker would hide those of the standard library that bear their names.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
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
                raise BadInput(f"{library} is there, but cannot be imported: reinstall it")
            raise GristmillError(f"the process of {library} did not start (in {START_SECONDS:g} seconds)")

    def ask(self, question: Mapping[str, Any], seconds: float) -> str | None:
        """What it says, or None: then it is dead, or about to be."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
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
    """Workers that are started when they are needed, each serving one question at a time. Callable from any thread.

    Args:
        most: workers at once.
    """

    def __init__(self, script: Path, library: str, require: Callable[[], None], most: int) -> None:
        self._made_of = script, library, require
        self._slots = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._busy: list[Worker] = []

    def ask(self, question: Mapping[str, Any], seconds: float) -> str | None:
        """What a worker says; None where it had to be killed after `seconds`, or died."""
        with self._slots:
            worker = self._take()
            said = None
            try:
                said = worker.ask(question, seconds)
            finally:
                with self._lock:
                    self._busy.remove(worker)
                    if said is not None:
                        self._free.append(worker)
                if said is None:
                    worker.close()
        return said

    def _take(self) -> Worker:
        with self._lock:
            worker = self._free.pop() if self._free else None
        if worker is not None and worker.process.poll() is not None:  # it died in its sleep
            worker.close()
            worker = None
        worker = worker or Worker(*self._made_of)
        with self._lock:
            self._busy.append(worker)
        return worker

    def close(self) -> None:
        """End all workers. The next question starts another."""
        with self._lock:
            free, self._free = self._free, []
            for worker in self._busy:
                worker.process.kill()  # the thread that waits for it closes it
        for worker in free:
            worker.close()
