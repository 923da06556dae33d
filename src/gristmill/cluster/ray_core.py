"""Workers as actors of Ray Core (extra `ray`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from typing import Any

import msgspec

from gristmill import __version__, packages
from gristmill.cluster.crew import Gone, Unreachable, insist
from gristmill.cluster.messages import Hello, Message
from gristmill.cluster.worker import Setup, Worker
from gristmill.errors import BadInput

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
READY = 120.0
"""Seconds in which the workers must have begun: weights are loaded meanwhile."""


class Where(msgspec.Struct, frozen=True):
    """A cluster as a user names it: "local:3", or "ADDRESS[,workers=N][,silence=SECONDS]"."""

    address: str
    """"" for one on this machine, made for the run."""
    workers: int | None = None
    silence: float | None = None
    """Seconds without a sign after which a worker counts as dead."""


def where(text: str) -> Where:
    """Raises BadInput with what is expected."""
    head, *options = text.split(",")
    fields: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            fields[name] = {"workers": int, "silence": float}[name](value)
        except (KeyError, ValueError):
            raise BadInput(
                f"--cluster {text}: {option!r} is no option; there are workers=N and silence=SECONDS"
            ) from None
    if head.startswith("local"):
        count = head.removeprefix("local").removeprefix(":") or str(os.cpu_count() or 1)
        if not count.isdigit() or not 1 <= int(count) <= 1024 or "workers" in fields:
            raise BadInput(f"--cluster {text}: expected local:N with N workers from 1 to 1024")
        return Where("", int(count), fields.get("silence"))
    if not head or fields.get("workers", 1) < 1:
        raise BadInput(f"--cluster {text}: expected the address of a Ray cluster (HOST:PORT, auto) or local:N")
    return Where(head, **fields)


class Actor:
    """A worker in an actor."""

    def __init__(self, ray: Any, handle: Any, number: int) -> None:
        self._ray, self._handle = ray, handle
        self.name = f"worker {number}"

    async def start(self, setup: Any) -> Hello:
        """Raises BadInput for what is not there on its machine."""
        hello: Hello = await self._call("start", setup)
        self.name = f"{hello.node}/{hello.pid}"
        return hello

    async def give(self, number: int, messages: list[Message]) -> None:
        await self._call("give", number, messages)

    async def take(self, number: int) -> tuple[int, list[Message]]:
        found: tuple[int, list[Message]] = await self._call("take", number)
        return found

    async def stop(self) -> None:
        await self._call("stop")

    def kill(self) -> None:
        with contextlib.suppress(Exception):  # whatever is wrong with it, it is to be gone
            self._ray.kill(self._handle)

    async def _call(self, method: str, *values: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return await getattr(self._handle, method).remote(*values)
        except errors.ActorUnavailableError as error:
            raise Unreachable(_short(error)) from None
        except errors.RayActorError as error:
            raise Gone(_short(error)) from None
        except errors.RayTaskError as error:
            if isinstance(error.cause, BadInput):
                raise error.cause from None
            raise Gone(_short(error)) from error


def _short(error: Exception) -> str:
    """The line of an error that says what happened: the last one of what was raised far away, else the first."""
    lines = [line.strip() for line in COLOUR.sub("", str(error)).splitlines() if line.strip()]
    far = type(error).__name__.startswith("RayTaskError")
    return lines[-1 if far else 0][:300] if lines else type(error).__name__


class Cluster:
    """A connection to Ray, for as long as a run lasts."""

    def __init__(self, place: Where) -> None:
        packages.require("a cluster", "ray", "ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray warns at every start of what this will be by default.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray: Any = ray
        self.place = place
        self._owned = not ray.is_initialized()
        self._count = 0
        self._gpus = 0
        self._setup: Any = None
        if self._owned:
            self._connect()

    def _connect(self) -> None:
        # It says at every start that a token guards the local cluster.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
        self._knock()
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        try:
            if self.place.address:
                self._ray.init(address=self.place.address, **quiet)
            else:
                self._ray.init(num_cpus=self.place.workers, include_dashboard=False, **quiet)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
            raise BadInput(
                f"--cluster {self.place.address or 'local'}: no Ray cluster could be reached there: {_short(error)}. Start "
                "one with `ray start --head` and name its address, or use local:N"
            ) from None

    def _knock(self) -> None:
        """Is anything there at all? Ray itself would try for minutes."""
        host, colon, port = self.place.address.removeprefix("ray://").rpartition(":")
        if not colon or not port.isdigit():
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise BadInput(
                f"--cluster {self.place.address}: nothing answers there ({error}). Start a cluster with `ray start --head` and "
                "name its address, or use local:N"
            ) from None

    def workers(self, *, gpus: bool) -> int:
        """How many there can be: one a core, or one a GPU where models want it and there are some.

        Raises:
            BadInput: too few resources for those that were asked for.
        """
        there: dict[str, float] = self._ray.cluster_resources()
        cores, cards = int(there.get("CPU", 0)), int(there.get("GPU", 0))
        self._gpus = int(gpus and cards > 0)
        room = min(cores, cards) if self._gpus else cores
        wanted = self.place.workers or room
        if room < max(1, wanted):
            each = "a core and a GPU" if self._gpus else "a core"
            raise BadInput(
                f"--cluster {self.place.address or f'local:{wanted}'}: {max(1, wanted)} workers need {each} each, and the "
                f"cluster has {cores} cores and {cards} GPUs"
            )
        return wanted

    async def start(self, count: int, setup: Setup, digests: list[str]) -> list[Actor]:
        """Workers that are ready.

        Raises:
            BadInput: one is of another version, or lacks something; or they did not begin in time.
        """
        self._setup = self._ray.put(setup)
        self._digests = digests
        actors = [self._actor() for _ in range(count)]
        try:
            async with asyncio.timeout(READY):
                await asyncio.gather(*(self._welcome(actor) for actor in actors))
        except TimeoutError:
            self._kill(actors)
            raise BadInput(
                f"--cluster: {count} workers did not begin within {READY:.0f} s; the cluster has room for "
                f"{self._ray.available_resources()} now"
            ) from None
        except BaseException:
            self._kill(actors)
            raise
        return actors

    async def another(self) -> Actor | None:
        """One more worker, for one that was lost; None where there is no room for it in time."""
        actor = self._actor()
        try:
            async with asyncio.timeout(READY):
                await self._welcome(actor)
        except (TimeoutError, BadInput):
            actor.kill()
            return None
        except BaseException:  # the run ends meanwhile
            actor.kill()
            raise
        return actor

    def _actor(self) -> Actor:
        self._count += 1
        made = self._ray.remote(Worker).options(
            num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, max_concurrency=1000
        )
        return Actor(self._ray, made.remote(), self._count)

    async def _welcome(self, actor: Actor) -> None:
        try:
            hello = await insist(lambda: actor.start(self._setup), READY)
        except Gone as error:
            raise BadInput(f"--cluster: a worker could not begin: {error}") from None
        if hello.version != __version__ or hello.recipes != self._digests:
            what = (
                f"gristmill {hello.version}, and this is {__version__}"
                if hello.version != __version__
                else "another version of the recipe's source"
            )
            raise BadInput(
                f"--cluster: the worker on {hello.node} has {what}: workers and driver must be equal, or their rows would not "
                "be. Install the same version on all machines"
            )

    def _kill(self, actors: list[Actor]) -> None:
        for actor in actors:
            actor.kill()

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
