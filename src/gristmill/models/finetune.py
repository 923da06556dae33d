"""Training of weights on this machine, as backends that can be trained offer it: `train/worker.py` in a child process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from gristmill.errors import BadInput, TrainingFailed
from gristmill.models import local
from gristmill.models.training import Course, Progress

NEEDS = {
    "sft": ("torch", "transformers", "trl"),
    "dpo": ("torch", "transformers", "trl"),
    "reward": ("torch", "transformers", "trl"),
    "contrastive": ("torch", "sentence_transformers"),
}
PATIENCE = 10.0
"""Seconds that a worker gets to end when it is told to."""


def require(methods: tuple[str, ...] = ("sft", "dpo", "reward")) -> None:
    """Raises BadInput where what these methods need is not installed."""
    missing = sorted({name for method in methods for name in NEEDS[method] if find_spec(name) is None})
    if missing:
        raise BadInput(
            f"training needs {' and '.join(missing)}, which is not installed: pip install 'gristmill[train]'"
        )


async def train(
    weights: str, course: Course, folder: Path, progress: Progress, *, device: str = ""
) -> dict[str, float]:
    """Train in a process of its own; see `Trainee.train`. If we are cancelled, it is ended, and its saves stay.

    Raises:
        TrainingFailed: with what the worker said last.
    """
    require((course.method,))
    job = folder / "job.json"
    job.write_bytes(msgspec.json.encode({"base": weights, "folder": str(folder), "course": course, "device": device}))
    worker = await asyncio.create_subprocess_exec(
        *[sys.executable, "-P", "-m", "gristmill.train.worker", str(job)],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: we drain first
        limit=1 << 20,
        env={
            "OMP_NUM_THREADS": str(local.threads()),
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    assert worker.stdout
    assert worker.stderr
    errors = asyncio.create_task(_last_of(worker.stderr))
    said: dict[str, Any] = {}
    try:
        async for line in worker.stdout:
            said = json.loads(line)  # a loss may be NaN, which is no JSON to stricter readers
            if "step" in said:
                progress(said["step"], said["of"], {"loss": said["loss"]})
        code = await worker.wait()
    finally:
        if worker.returncode is None:
            await _end(worker)
        trace = await errors
    if "measured" in said:
        job.unlink()
        return {name: float(value) for name, value in said["measured"].items()}
    why = said.get("error") or f"the training process ended with {code}"
    raise TrainingFailed(f"{course.method}: {why}. Its last words: {trace[-1500:]}")


async def _end(worker: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(worker.wait(), PATIENCE)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()


async def _last_of(stream: asyncio.StreamReader) -> str:
    """The end of what a stream says; all of it is read, so that the writer never waits."""
    last = b""
    while chunk := await stream.read(1 << 16):
        last = (last + chunk)[-4000:]
    return last.decode("utf-8", "replace").strip()
