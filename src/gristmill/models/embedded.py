"""`embedded:NAME` or `embedded:FILE.gguf`: a model on this machine, by llama.cpp. No key, no network, no GPU needed.

One server process for the same weights and settings, however many roles they play. It is asked as any other
OpenAI-compatible server; see `llama.py` for why it is a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gristmill.errors import BadInput
from gristmill.models import llama, templates, weights
from gristmill.models.http import Http
from gristmill.models.openai import OpenAI
from gristmill.models.protocol import Price

if TYPE_CHECKING:
    from gristmill.models.spec import Spec


class Embedded(OpenAI):
    """A GGUF on this machine.

    Args:
        model: a name in `weights.KNOWN`, or the path of a .gguf file.
        context: tokens of prompt and reply, for each slot.
        slots: calls at once. They share the threads, so more slots cost memory, not speed.
        threads: default: half of the cores. One too many on a busy machine costs a factor of 20 (llama.cpp spins).
    """

    backend = "embedded"

    def __init__(
        self, model: str, *, context: int = 4096, slots: int = 4, threads: int = 0, timeout: float = 1800.0
    ) -> None:
        self._file = Path(model).expanduser() if model.endswith(".gguf") or os.sep in model else None
        self._weights = None if self._file else weights.known(model)
        super().__init__(
            self._file.name if self._file else model,
            url="http://127.0.0.1",
            context=context,
            price=Price(0, 0),
            timeout=timeout,
            concurrency=slots,  # further calls would only queue there
        )
        if self._file and not self._file.is_file():
            raise BadInput(f"embedded: there is no file {self._file}")
        self.can = frozenset({"Chat", "Complete", "Choose"})
        self._forces = True
        self.max_n = 1  # a slot is a sample; the engine spreads them
        self.endpoint = self.spec = f"embedded:{model}"
        self.template = templates.of(self.model)
        self._slots, self._threads = slots, threads or max(1, _cores() // 2)
        self._timeout = timeout
        self._server: _Server | None = None

    def identity(self) -> dict[str, Any]:
        # By content: neither a moved file nor a renamed one loses its answers.
        digest = self._weights.sha256 if self._weights else weights.sha256(self._file or Path())
        return {"backend": self.backend, "weights": digest}

    def _here(self) -> str:
        return self.endpoint  # the port differs from run to run, and errors are journaled

    async def start(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.to_thread(self._load)
        self.url = f"{self._server.url}/v1"
        self._http = Http(self.url, timeout=self._timeout)
        await self._http.open(self._server.key)

    def _load(self) -> _Server:
        path = weights.locate(self._weights) if self._weights else self._file or Path()
        return _Server.of(path.resolve(), slots=self._slots, threads=self._threads, context=self.context or 4096)

    async def close(self) -> None:
        await super().close()
        if self._server is not None:
            server, self._server = self._server, None
            await asyncio.to_thread(server.release)


class _Server:
    """A child process with loaded weights, and how many backends use it."""

    _lock = threading.Lock()
    _running: ClassVar[dict[str, _Server]] = {}

    @classmethod
    def of(cls, path: Path, **settings: int) -> _Server:
        """The running server for these settings, or a new one. Blocks while it loads."""
        name = json.dumps([str(path), settings])
        with cls._lock:
            server = cls._running.get(name)
            if server is None or server._process.poll() is not None:
                server = cls._running[name] = cls(name, path, settings)
            server._users += 1
            return server

    def __init__(self, name: str, path: Path, settings: dict[str, int]) -> None:
        self._name, self._users = name, 0
        self.key = secrets.token_urlsafe(24)
        with tempfile.TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", llama.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for us: we drain first
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps({"path": str(path), "key": self.key, **settings}) + "\n")
            self._process.stdin.flush()
            said = json.loads(self._process.stdout.readline() or "{}")
            if "url" not in said:
                self._end()
                errors.seek(0)
                lines = errors.read().splitlines()
                reasons = [line.partition(" E ")[2].strip() for line in lines if " E " in line] or lines[-1:]
                reason = reasons[0] if reasons else f"exit code {self._process.returncode}"
                raise BadInput(f"embedded: llama.cpp cannot load {path}: {reason}")
        self.url: str = said["url"]

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._running.pop(self._name, None)
                self._end()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_spec(spec: Spec, price: Price | None) -> Embedded:
    return Embedded(
        spec.model,
        context=spec.context or 4096,
        slots=spec.slots or 4,
        threads=spec.threads or 0,
        timeout=spec.timeout or 1800.0,
    )
