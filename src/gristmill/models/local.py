"""What backends share that load a library and weights of their own into this process.

Promised: nothing is imported before a backend starts; one call at a time computes, in a thread, so that the event loop
never stands still; nothing is fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from gristmill.errors import BadInput
from gristmill.models import weights

R = TypeVar("R")

_TEXTS = {".md", ".png", ".gitattributes"}


def content(path: Path) -> str:
    """A digest of a file, or of the files of a folder by their names: all that makes a model what it is."""
    if path.is_file():
        return weights.sha256(path)
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and file.suffix not in _TEXTS and not any(part.startswith(".") for part in name.split("/")):
            found.update(f"{name}\n{weights.sha256(file)}\n".encode())
    return found.hexdigest()


def folder(backend: str, model: str, holds: str) -> Path:
    """The folder of a model. Raises BadInput unless the file `holds` lies in it."""
    path = Path(model).expanduser()
    if not (path / holds).is_file():
        trouble = f"{path} holds no {holds}" if path.is_dir() else f"there is no folder {path}"
        raise BadInput(
            f"{backend}: {trouble}. It takes a folder with a saved model, and fetches none; to fetch one yourself: "
            f"hf download NAME --local-dir FOLDER"
        )
    return path


def threads() -> int:
    """Half of the cores. On a busy machine one thread too many waits for the others most of the time: 4 times slower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)


class Lane:
    """A thread in which one thing is computed after the other: these libraries are not made for several at once."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closing = Event()

    async def do(self, fn: Callable[..., R], *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, fn, *args)

    async def work(self, fn: Callable[..., R], *args: Any) -> R:
        """As `do`, for what takes long: `fn` gets, as its last argument, a function that says whether to give up."""
        given_up = Event()
        try:
            return await self.do(fn, *args, lambda: given_up.is_set() or self._closing.is_set())
        finally:
            given_up.set()

    async def close(self) -> None:
        self._closing.set()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
