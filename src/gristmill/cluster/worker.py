"""A worker: the same engine on leased units, far from the journal.

It has no journal, no budget and no endpoint. Whatever it wants to know it asks the driver, and it goes on when the driver
has it on disk. Models that live in it answer the driver, which counts and keeps what they say like any other answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import itertools
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gristmill import __version__, recipes
from gristmill.assemble import chain_of
from gristmill.chain import Chain
from gristmill.cluster.messages import Hello, Message, Work, pack, result_of, unpack
from gristmill.contract import Recipe
from gristmill.engine.artefacts import Artefact
from gristmill.engine.budget import Budget, Halt
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.database import Statement
from gristmill.engine.stage import Bound, Stage, Unit
from gristmill.errors import BadInput
from gristmill.execute import Config
from gristmill.models.protocol import Backend, Question
from gristmill.models.spec import parse
from gristmill.ops import prompts as prompt_texts
from gristmill.rows import Document, Rows

HEARTBEAT = 5.0
"""Seconds after which a worker without news says so."""
MOST = 4096
"""Messages that are taken at once."""


class Setup(msgspec.Struct):
    """What a worker must know before its first unit."""

    config: bytes
    """The run's, as its folder keeps it."""
    recipes: list[str]
    """Of each step: the name that finds its recipe, or "module:attribute"."""
    folder: str
    """Of the run, on the driver's machine."""
    roles: list[dict[str, list[tuple[str, bytes]]]]
    """By step and role: model and identity of each that plays it."""
    inputs: list[dict[str, list[bytes] | None]]
    """Further inputs by step and parameter: rows in JSON; None where it was left out."""
    models: list[str]
    """Specs of the models that live in each worker."""


class Link:
    """Questions to the driver that are under way."""

    def __init__(self) -> None:
        self.outbox: deque[Message] = deque()
        self.news = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._count = 0

    def tell(self, message: Message) -> None:
        self.outbox.append(message)
        self.news.set()

    def ask(self, kind: str, *values: Any) -> asyncio.Future[Any]:
        self._count += 1
        future = self._asked[self._count] = asyncio.get_running_loop().create_future()
        self.tell(Message("ask", self._count, (kind, *values)))
        return future

    def said(self, message: Message) -> None:
        future = self._asked.pop(message.number)
        if future.done():
            return
        if message.error:
            future.set_exception(unpack(message.error))
        else:
            future.set_result(message.value)


class FarJournal:
    """In place of `engine.journal.Journal`: what is put is committed by the driver before it counts."""

    def __init__(self, link: Link, folder: Path) -> None:
        self.folder = folder
        self._link = link

    def find(self, key: str) -> None:
        """The driver looks, when it is asked."""

    def put(self, statements: list[Statement]) -> asyncio.Future[Any]:
        return self._link.ask("keep", statements)

    def expect_repeats(self) -> None:
        """It always does."""


class FarLedger(Ledger):
    def __init__(self, link: Link, folder: Path) -> None:
        super().__init__(FarJournal(link, folder), Budget(), Halt())  # type: ignore[arg-type]
        self.link = link

    async def recall(self, key: str) -> tuple[bytes | None, str | None] | None:
        found: tuple[bytes | None, str | None] | None = await self.link.ask("recall", key)
        return found

    async def release(self, key: str) -> None:
        await self.link.ask("release", key)

    async def store(self, step: int, found: Artefact, content: bytes) -> None:
        await self.link.ask("store", step, found, content)


class FarHandle(Handle):
    """A role whose calls the driver makes."""

    def __init__(self, step: int, role: str, index: int, model: str, identity: bytes, ledger: FarLedger) -> None:
        self.role, self.model, self.identity = role, model, identity
        self.checkpoint, self.measured = None, {}
        self._ledger = ledger
        self._where = (step, role, index)
        self._link = ledger.link
        self._told: set[str] = set()

    async def search(self, corpus: Rows[Document], query: str, *, k: int = 10) -> Any:
        name = await self._ledger.shelf.name(corpus)
        if name not in self._told:
            await self._link.ask("shelve", name, self._ledger.shelf.texts[name])
            self._told.add(name)
        return await super().search(corpus, query, k=k)

    async def _fetch(
        self, question: Question, body: bytes, name: str, place: str, wanted: list[tuple[int, str]]
    ) -> list[bytes]:
        found: list[bytes] = await self._link.ask("fetch", self._where, question, body, name, place, wanted)
        return found


class Worker:
    """What runs in an actor. Every method may be repeated: a message that comes twice counts once."""

    def __init__(self) -> None:
        self._given = 0
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._models: list[Backend] = []
        self._stages: list[Stage] = []
        self._started: asyncio.Future[Hello] | None = None

    async def start(self, setup: Setup) -> Hello:
        """Raises BadInput where something that the run needs is not here."""
        if self._started is None:
            self._started = asyncio.ensure_future(self._start(setup))
        return await asyncio.shield(self._started)

    async def _start(self, setup: Setup) -> Hello:
        self._link = Link()
        config = msgspec.json.decode(setup.config, type=Config)
        chain = chain_of(config, chain_from(setup.recipes))
        ledger = FarLedger(self._link, Path(setup.folder))
        for number, step in enumerate(chain.steps):
            self._stages.append(self._stage(number, step.method, setup, config, ledger))
        self._models = [for_worker(spec) for spec in setup.models]
        for model in self._models:
            await model.start()
        digests = [digest_of(step.method) for step in chain.steps]
        return Hello(socket.gethostname(), os.getpid(), __version__, digests)

    def _stage(self, number: int, method: Recipe, setup: Setup, config: Config, ledger: FarLedger) -> Stage:
        step = config.steps[number]
        roles: dict[str, Any] = {}
        for name, role in method.roles.items():
            handles = [
                FarHandle(number, name, index, model, identity, ledger)
                for index, (model, identity) in enumerate(setup.roles[number].get(name, []))
            ]
            roles[name] = handles if role.many else handles[0] if handles else None
        inputs: dict[str, Rows[Any] | None] = {}
        for name, kind in method.inputs.items():
            decode = msgspec.json.Decoder(kind).decode
            given = setup.inputs[number][name]
            inputs[name] = None if given is None else Rows(map(decode, given))
        texts = prompt_texts.check(sys.modules[method.fn.__module__], step.prompts)
        settings = method.settings(step.settings)
        bound = Bound(method, step.name, roles, settings, inputs, step.mapping, partial(prompt_texts.replace, texts))
        alone = len(config.steps) == 1
        return Stage(bound, number, ledger, seed=config.seed, target=config.target if alone else None)

    async def give(self, number: int, messages: Sequence[Message]) -> None:
        """Messages, the first of which is the `number`-th that the worker gets."""
        for message in messages[max(0, self._given - number) :]:
            self._given += 1
            if message.kind == "said":
                self._link.said(message)
            else:
                work = self._work(message) if message.kind == "work" else self._answer(message)
                task = asyncio.get_running_loop().create_task(work)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def take(self, number: int) -> tuple[int, list[Message]]:
        """News, from the `number`-th message on; those before it have arrived. None for a while: no messages."""
        link = self._link
        while self._taken < number:
            link.outbox.popleft()
            self._taken += 1
        if not link.outbox:
            link.news.clear()
            try:
                await asyncio.wait_for(link.news.wait(), HEARTBEAT)
            except TimeoutError:
                return number, []
        await asyncio.sleep(0)  # what is ready goes along
        return number, list(itertools.islice(link.outbox, MOST))

    async def _work(self, message: Message) -> None:
        work: Work = message.value
        stage = self._stages[work.step]
        decode = stage.decode
        row = decode(work.row) if work.row is not None and decode else None
        unit = Unit(work.place, work.name, row, work.parent, work.seed, work.generation)
        try:
            stage.active += 1
            result = result_of(await stage.work(unit))
        except BaseException as error:  # noqa: BLE001 - the driver decides what it means
            self._link.tell(Message("done", message.number, None, pack(error)))
        else:
            self._link.tell(Message("done", message.number, result))

    async def _answer(self, message: Message) -> None:
        model, question, n = message.value
        try:
            answer = await self._models[model].answer(question, n)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._link.tell(Message("answered", message.number, None, pack(error)))
        else:
            self._link.tell(Message("answered", message.number, answer))

    async def stop(self) -> None:
        for model in self._models:
            await model.close()


def for_worker(spec: str) -> Backend:
    """A model as a worker opens it: a sandbox takes what one core can do."""
    found = parse(spec)
    if found.backend == "sandbox" and found.concurrency is None:
        found = msgspec.structs.replace(found, concurrency=PROGRAMS)
    return found.open()


PROGRAMS = 2
"""Programs that a worker's sandbox runs at once."""


def chain_from(names: Sequence[str]) -> Chain:
    """The recipes of a run by the names that `reference` gave them. Raises BadInput where one is not on this machine."""
    found: list[Any] = []
    for name in names:
        module, colon, attribute = name.partition(":")
        if colon and not module.endswith(".py"):
            try:
                found.append(getattr(importlib.import_module(module), attribute))
            except (ImportError, AttributeError) as error:
                raise BadInput(_missing(name, error)) from None
        else:
            try:
                found.append(recipes.load(name))
            except (BadInput, ImportError) as error:
                raise BadInput(_missing(name, error)) from None
    return Chain(found)


def _missing(name: str, error: Exception) -> str:
    return f"the recipe {name} cannot be loaded on the worker's machine {socket.gethostname()}: {error}"


def reference(method: Recipe, name: str) -> str:
    """A name by which a worker finds a recipe.

    Raises:
        BadInput: it stands in the program itself, where no other process can find it.
    """
    if name in recipes.survey() or name in recipes.plugins():
        return name
    if ".py" in name:
        file, _, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
        return f"{Path(file).resolve()}{attribute and ':' + attribute}"
    module = sys.modules.get(method.fn.__module__)
    for attribute, value in vars(module).items() if module and module.__name__ != "__main__" else ():
        if isinstance(value, Recipe) and value.fn is method.fn:
            packaged = "." in method.fn.__module__  # a file alone may lie where only this process looks
            return f"{method.fn.__module__ if packaged else inspect.getfile(method.fn)}:{attribute}"
    raise BadInput(
        f"{method.name}: workers of a cluster cannot find this recipe, because it stands in the program that runs it; put "
        "it into a module or a file of its own"
    )


def digest_of(method: Recipe) -> str:
    """Of the recipe's source and of what it is made with: equal on machines with the same code."""
    source = Path(inspect.getfile(method.fn)).read_bytes()
    return hashlib.blake2b(source, digest_size=8).hexdigest()
