"""The driver's side: units go to workers, calls and rows come back to the one journal.

Each worker has units in hand, no more than it is known to finish soon; what they ask for is asked here, through the same
limits and the same budget as in a single process, and committed before the worker hears of it. A worker that dies loses
nothing but time: its units go to others, which find in the journal what it had asked for already.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from gristmill.cluster.messages import Hello, Message, Result, Work, pack, unpack
from gristmill.engine.artefacts import Artefact
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.database import Statement
from gristmill.engine.scope import Failure
from gristmill.engine.stage import Made, Outcome, Stage, Unit, Unreadable
from gristmill.errors import EndpointDown, GristmillError, Transient
from gristmill.models.protocol import Answer, Backend, Question
from gristmill.rows import Row, content, table

HORIZON = 0.5
"""Seconds of work that a worker should have in hand: what it finishes meanwhile pays for the way to and fro."""
MOST = 512
"""Units that it has in hand at most."""
SUSPECT = 2
"""Workers that died with a unit in hand, after which it goes out alone, and once more."""
SILENCE = 600.0
"""Seconds without a sign after which a worker counts as dead. One that computes cannot give any."""
HICCUPS = 30.0
"""Seconds in which a worker that cannot be reached may come back."""
LOOK = 1.0
"""Seconds after which who waits for another worker's result looks whether that one lives."""
REPLACED = 3
"""Workers in a row that may die with nothing finished in between: then it is not their fault."""

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class Gone(Exception):
    """The worker is dead: nothing it is told arrives any more."""


class Unreachable(Exception):
    """The worker may be well, and the message may have arrived or not."""


class Remote(Protocol):
    """A worker somewhere else. Messages may be repeated. Every method raises Gone or Unreachable."""

    name: str

    async def give(self, number: int, messages: list[Message]) -> None: ...
    async def take(self, number: int) -> tuple[int, list[Message]]: ...
    async def stop(self) -> None: ...
    def kill(self) -> None: ...


class Job:
    """A unit on its way."""

    def __init__(self, stage: Stage, unit: Unit) -> None:
        self.stage, self.unit = stage, unit
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.deaths = 0


class Member:
    """One worker, as the driver sees it."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.alive = True
        self.jobs: dict[int, Job] = {}
        self.calls: dict[int, asyncio.Future[Answer]] = {}
        """Questions to the models that live in it."""
        self.outbox: list[Message] = []
        self.news = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.finished = 0
        self.began = 0.0

    @property
    def pace(self) -> float:
        """Units a second, over all its time."""
        return self.finished / max(time.monotonic() - self.began, 0.05) if self.finished else 0.0

    def room(self, share: int) -> int:
        """Units that it should have in hand: its share of those that wait for endpoints, more where it is quick."""
        return min(MOST, max(share, 2, int(self.pace * HORIZON)))

    def tell(self, message: Message) -> None:
        self.outbox.append(message)
        self.news.set()


class Crew:
    """All workers of a run.

    Args:
        replace: starts another worker for one that died; None where there is no room for one.
        silence: see SILENCE.
    """

    def __init__(
        self,
        remotes: list[Remote],
        stages: list[Stage],
        ledger: Ledger,
        *,
        replace: Callable[[], Coroutine[Any, Any, Remote | None]] | None = None,
        silence: float = SILENCE,
    ) -> None:
        self.ledger = ledger
        self.deaths = 0
        self._replace = replace
        self._silence = silence
        self._members: list[Member] = []
        self._waiting: deque[Job] = deque()
        self._count = 0
        self._asking: dict[str, asyncio.Future[None]] = {}
        """By key: samples that are being asked for."""
        self._computing: dict[str, tuple[Member, asyncio.Future[None]]] = {}
        """By key: durable steps that a worker is computing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stages = stages
        self._lost_in_a_row = 0
        self._gone: GristmillError | None = None
        for remote in remotes:
            self._join(remote)

    # -- units

    async def work(self, stage: Stage, unit: Unit) -> Outcome:
        """What comes of a unit: of any step but one that works on a whole set. Raises as `Stage.work`."""
        if isinstance(unit.row, Unreadable):
            return await stage.work(unit)
        job = Job(stage, unit)
        self._waiting.append(job)
        self._hand_out()
        try:
            return await job.done
        finally:
            stage.active -= 1

    def _hand_out(self) -> None:
        """Give units to the workers with the fewest in hand, for as long as one has room."""
        cause = self._gone or self.ledger.halt.stopped
        while self._waiting and cause:
            if not (job := self._waiting.popleft()).done.done():
                job.done.set_exception(unpack(pack(cause)))
        alive = [member for member in self._members if member.alive]
        share = math.ceil(self.ledger.asking / max(1, len(alive)))
        while self._waiting and (member := self._free(self._waiting[0], alive, share)):
            job = self._waiting.popleft()
            if not job.done.done():  # else nobody waits for it any more
                self._send(member, job)
        least = sum(member.room(0) for member in alive)
        if least > self.ledger.least:  # so many units at least are begun: what waits here keeps workers busy
            self.ledger.least = least + least // 2
            self.ledger.resize()

    def _free(self, job: Job, alive: list[Member], share: int) -> Member | None:
        """Who should take the next unit. A suspect one has its worker for itself."""
        able = [m for m in alive if not any(other.deaths >= SUSPECT for other in m.jobs.values())]
        if job.deaths >= SUSPECT:
            return next((member for member in able if not member.jobs), None)
        member = min(able, key=lambda member: len(member.jobs), default=None)
        return member if member and len(member.jobs) < member.room(share) else None

    def _send(self, member: Member, job: Job) -> None:
        self._count += 1
        if not member.jobs and not member.finished:
            member.began = time.monotonic()
        member.jobs[self._count] = job
        unit = job.unit
        row = _encode(unit.row) if isinstance(unit.row, Row) else None
        work = Work(job.stage.number, unit.place, unit.name, row, unit.parent, unit.seed, unit.generation)
        member.tell(Message("work", self._count, work))

    def _done(self, member: Member, message: Message) -> None:
        job = member.jobs.pop(message.number)
        member.finished += 1
        self._lost_in_a_row = 0
        if job.done.done():
            return
        if message.error:
            job.done.set_exception(unpack(message.error))
        else:
            job.done.set_result(self._outcome(job.stage, message.value))

    def _outcome(self, stage: Stage, result: Result) -> Outcome:
        types = {table(made): made for made in stage.recipe.tables}
        rows = []
        for kind, name, data in result.rows:
            row = msgspec.json.decode(data, type=types[kind]) if stage.gated else Row(id=name)
            rows.append(Made(row, kind, data))
        return Outcome(rows, result.rejects, result.failures)

    # -- what workers ask for

    def _ask(self, member: Member, message: Message) -> None:
        kind, *values = message.value
        task = asyncio.get_running_loop().create_task(self._reply(member, message.number, kind, values))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, member: Member, number: int, kind: str, values: list[Any]) -> None:
        try:
            said = await getattr(self, f"_{kind}")(member, *values)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where it was asked
            member.tell(Message("said", number, None, pack(error)))
        else:
            member.tell(Message("said", number, said))

    async def _fetch(
        self, member: Member, where: tuple[int, str, int], question: Question, body: bytes, name: str, place: str,
        wanted: list[tuple[int, str]],
    ) -> list[bytes]:  # fmt: skip
        """Samples of a question. One that a dead worker asked for may still be under way: it is not asked again."""
        step, role, index = where
        played = self._stages[step].bound.roles[role]
        handle: Handle = played[index] if isinstance(played, list) else played  # type: ignore[assignment]
        while busy := [self._asking[key] for _, key in wanted if key in self._asking]:
            await asyncio.wait(busy)
        if self.deaths:
            self.ledger.journal.expect_repeats()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for _, key in wanted:
            self._asking[key] = done
        try:
            return await handle.obtain(question, body, name, place, wanted)
        finally:
            for _, key in wanted:
                del self._asking[key]
            done.set_result(None)

    async def _recall(self, member: Member, key: str) -> tuple[bytes | None, str | None] | None:
        """What a durable step came to. Nothing: the worker that asks computes it, and others that ask wait for it."""
        while True:
            if (found := await self.ledger.recall(key)) is not None:
                return found
            owner, computed = self._computing.get(key, (None, None))
            if owner is None or computed is None or not owner.alive:
                self._computing[key] = member, asyncio.get_running_loop().create_future()
                return None
            await asyncio.wait([computed], timeout=LOOK)  # its owner may die
            self.ledger.journal.expect_repeats()

    async def _release(self, member: Member, key: str) -> None:
        owner, computed = self._computing.get(key, (None, None))
        if owner is member and computed is not None:
            del self._computing[key]
            computed.set_result(None)

    async def _keep(self, member: Member, statements: list[Statement]) -> None:
        await self.ledger.journal.put(statements)
        self.ledger.journal.expect_repeats()

    async def _store(self, member: Member, step: int, found: Artefact, content: bytes) -> None:
        await self.ledger.store(step, found, content)

    async def _shelve(self, member: Member, name: str, texts: list[str]) -> None:
        self.ledger.shelf.texts[name] = texts

    # -- models that live in workers

    async def answer(self, model: int, question: Question, n: int) -> Answer:
        """Of the model in the worker with the fewest questions in hand. Raises as `Backend.answer`."""
        alive = [member for member in self._members if member.alive]
        if not alive:
            raise self._gone or EndpointDown("no worker is left")
        member = min(alive, key=lambda member: len(member.calls))
        self._count += 1
        number = self._count
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        member.calls[number] = future
        member.tell(Message("model", number, (model, question, n)))
        try:
            return await future
        finally:
            member.calls.pop(number, None)

    # -- the way to and fro

    def _join(self, remote: Remote) -> None:
        member = Member(remote)
        self._members.append(member)
        loop = asyncio.get_running_loop()
        member.tasks = [loop.create_task(self._guard(member, work(member))) for work in (self._giving, self._taking)]

    async def _guard(self, member: Member, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Gone as gone:
            await self._lost(member, str(gone))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave units waiting for ever
            await self._lost(member, repr(error))

    async def _giving(self, member: Member) -> None:
        told = 0
        while member.alive:
            await member.news.wait()
            member.news.clear()
            if batch := member.outbox:
                member.outbox = []
                await insist(partial(member.remote.give, told, batch), self._silence)
                told += len(batch)

    async def _taking(self, member: Member) -> None:
        heard = 0
        while member.alive:
            first, messages = await insist(partial(member.remote.take, heard), self._silence)
            for message in messages[heard - first :]:
                heard += 1
                if message.kind == "done":
                    self._done(member, message)
                elif message.kind == "ask":
                    self._ask(member, message)
                elif (future := member.calls.get(message.number)) is not None and not future.done():
                    if message.error:
                        future.set_exception(unpack(message.error))
                    else:
                        future.set_result(message.value)
            self._hand_out()

    async def _lost(self, member: Member, why: str) -> None:
        """A worker is dead: others take over."""
        if not member.alive:
            return
        member.alive = False
        member.remote.kill()
        for task in member.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self.deaths += 1
        self._lost_in_a_row += 1
        self.ledger.notes.append(f"worker {member.remote.name} was lost: {why}")
        for future in member.calls.values():
            if not future.done():
                future.set_exception(Transient(f"the worker {member.remote.name} was lost: {why}"))
        for job in reversed(member.jobs.values()):
            job.deaths += 1
            if job.deaths > SUSPECT:
                self._fail(job, why)
            else:
                self._waiting.appendleft(job)
        member.jobs.clear()
        self._hand_out()  # to those that are left: they do not wait for another one
        try:
            if self._replace and self._lost_in_a_row <= REPLACED and (remote := await self._replace()) is not None:
                self._join(remote)
        except Exception as error:  # noqa: BLE001 - where none can be had, those that are left go on
            self.ledger.notes.append(f"no worker could be started in its place: {error}")
        if not any(member.alive for member in self._members):
            self._gone = EndpointDown(f"no worker of the cluster is left; the last was lost: {why}")
        self._hand_out()

    def _fail(self, job: Job, why: str) -> None:
        """A unit with which one worker after the other died."""
        if job.done.done():
            return
        said = f"{job.deaths} workers were lost while they worked on this: {why}"
        row = job.unit.row
        given = content(row) if isinstance(row, Row) else None
        job.done.set_result(Outcome([], [], [Failure(f"{job.stage.name}/{job.unit.name}", said, "failed", given)]))

    async def close(self) -> None:
        for member in self._members:
            for task in member.tasks:
                task.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(t for m in self._members for t in m.tasks), return_exceptions=True)
        for member in self._members:
            if member.alive:
                with contextlib.suppress(Gone, Unreachable, TimeoutError):
                    await asyncio.wait_for(member.remote.stop(), 10)
                member.remote.kill()


async def insist(call: Callable[[], Coroutine[Any, Any, T]], silence: float) -> T:
    """Repeat what did not get through, for a while. Raises Gone where it never does, or gets no answer in time."""
    since, pause = time.monotonic(), 0.1
    while True:
        try:
            return await asyncio.wait_for(call(), silence)
        except TimeoutError:
            raise Gone(f"no sign of it for {silence:.0f} s") from None
        except Unreachable as error:
            if time.monotonic() - since > HICCUPS:
                raise Gone(f"could not be reached for {HICCUPS:.0f} s: {error}") from None
        await asyncio.sleep(pause)
        pause = min(2 * pause, 2.0)


class Hosted:
    """A model that lives in every worker, as the driver's engine sees it: one backend with room for all of them."""

    def __init__(self, backend: Backend, number: int, workers: int, each: int) -> None:
        self.backend = backend
        self.model, self.can, self.endpoint = backend.model, backend.can, backend.endpoint
        self.max_n, self.context, self.price = backend.max_n, backend.context, backend.price
        self.concurrency = self.most = each * workers
        self.spec: str = backend.spec  # type: ignore[attr-defined]
        self.crew: Crew | None = None
        self._number = number

    def identity(self) -> dict[str, Any]:
        return self.backend.identity()

    async def start(self) -> None:
        """It was, in the workers."""

    async def answer(self, question: Question, n: int) -> Answer:
        assert self.crew
        return await self.crew.answer(self._number, question, n)

    async def close(self) -> None:
        """The workers do."""


__all__ = ["Crew", "Gone", "Hello", "Hosted", "Remote", "Unreachable"]
