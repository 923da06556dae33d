"""Carrying a run out: opening its folder, starting its models, working its step, writing its tables."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gristmill.contract import Recipe
from gristmill.engine.budget import Budget, Halt
from gristmill.engine.calls import Handle, Ledger, bind
from gristmill.engine.folder import kept_input, write_tables
from gristmill.engine.journal import Journal, Spent
from gristmill.engine.schedule import Schedule, Step, Tally
from gristmill.engine.scope import Failure, Reject
from gristmill.errors import BadInput, DiskTrouble, GristmillError, Stopped, nearest
from gristmill.export.card import write_card
from gristmill.models.protocol import Backend
from gristmill.ops import prompts as prompt_texts
from gristmill.rows import Rows, table


class Config(msgspec.Struct, kw_only=True):
    """What a run is: kept in its folder, so that resume and rerun need nothing else."""

    recipe: str
    version: int = 1
    settings: dict[str, Any] = {}
    models: dict[str, list[str]] = {}
    prompts: dict[str, str] = {}
    seed: int = 0
    target: int | None = None
    units: int | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    max_candidates: int | None = None
    concurrency: int | None = None
    seeds: str = ""
    """Where the seeds came from, for people; what was read is in `inputs/`."""


@dataclass
class Result:
    """What a run made. Rows are read from its folder when asked for."""

    folder: Path
    recipe: Recipe
    counts: Counter[str]
    """Rows by table."""
    reject_counts: Counter[str]
    failed: int
    waiting: int
    spent: Spent
    calls: int = 0
    """Calls made by this very process; what the journal answered is not in it."""
    replayed: int = 0
    stopped: Stopped | None = None
    tables: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """How endpoints had to be asked, where that differs from what the recipe wanted."""

    @property
    def exit_code(self) -> int:
        if self.stopped:
            return 130 if self.stopped.reason == "interrupted" else 2
        return 4 if self.waiting else 3 if self.failed else 0

    @property
    def rows(self) -> list[Any]:
        """The rows of the recipe's first table."""
        return list(self.iterate())

    def iterate(self, name: str | None = None) -> Iterator[Any]:
        """The rows of a table (the first unless named), in place order, streamed."""
        types = {table(row): row for row in self.recipe.tables}
        name = name or table(self.recipe.tables[0])
        if name not in types:
            raise BadInput(f"{self.recipe.name} has no table {name!r}: {nearest(name, types)}")
        decode = msgspec.json.Decoder(types[name]).decode
        with looking(self.folder) as journal:
            for (data,) in journal.select("SELECT data FROM rows WHERE name=? ORDER BY step, place, seq", (name,)):
                yield decode(data)

    @property
    def rejects(self) -> list[Reject]:
        with looking(self.folder) as journal:
            return list(outcomes(journal, "rejects", Reject))

    @property
    def failures(self) -> list[Failure]:
        with looking(self.folder) as journal:
            return list(outcomes(journal, "failures", Failure))


@dataclass
class Live:
    """A run at work, for whoever shows progress."""

    recipe: Recipe
    folder: Path
    tally: Tally
    ledger: Ledger
    target: int | None


Watcher = Callable[[Live], contextlib.AbstractAsyncContextManager[Any]]


def outcomes(journal: Journal, kind: str, cls: type[Any]) -> Iterator[Any]:
    decode = msgspec.json.Decoder(cls).decode
    for (data,) in journal.select(f"SELECT data FROM {kind} ORDER BY step, place, seq"):
        yield decode(data)


@contextlib.contextmanager
def looking(folder: Path) -> Iterator[Journal]:
    """A run's journal, to read only; also while another process writes it."""
    journal = Journal(Path(folder), read_only=True)
    try:
        yield journal
    finally:
        journal.release()


def config_of(folder: Path) -> Config:
    with looking(folder) as journal:
        kept = journal.meta("config")
        if kept is None:
            raise BadInput(f"{folder}: the run was never started")
        return msgspec.convert(kept, Config)


async def execute(
    method: Recipe,
    config: Config,
    folder: Path,
    backends: dict[str, list[Backend]],
    *,
    base: Path | None = None,
    offline: bool = False,
    failed: bool = False,
    watch: Watcher | None = None,
) -> Result:
    journal = Journal(folder)
    try:
        prompts = prompt_texts.replacing(sys.modules[method.fn.__module__], config.prompts)
        if base is not None:
            journal.over(Journal(base, read_only=True), errors=offline)
        if failed:
            journal.forget_errors()
        _rewind_to_first_open(journal, failed)
        before = journal.spent()
        budget = Budget(
            config.max_cost,
            config.max_tokens,
            cost=before.cost,
            input_tokens=before.input_tokens,
            output_tokens=before.output_tokens,
        )
        halt, tally = Halt(), Tally()
        ledger = Ledger(journal, budget, halt, offline=offline)
        live = Live(method, folder, tally, ledger, config.target)
        journal.start()
        journal.set_meta(config=config, state="running")
        stopped: Stopped | None = None
        try:
            with prompts:
                async with _serving(backends, offline), _interrupts(halt), (watch or _unwatched)(live):
                    stopped = await _work(method, config, folder, backends, ledger, tally)
        except GristmillError as error:
            journal.set_meta(state=f"stopped: {error}")
            raise
        journal.set_meta(state=f"stopped: {stopped}" if stopped else "finished")
        await journal.flush()
        result = Result(
            folder=folder,
            recipe=method,
            counts=tally.rows,
            reject_counts=tally.rejects,
            failed=tally.failures,
            waiting=tally.waiting,
            spent=journal.spent(),
            calls=ledger.asked,
            replayed=ledger.replayed,
            stopped=stopped,
            notes=[note for backend in _distinct(backends) for note in getattr(backend, "notes", ())],
        )
        made = tally.rows[table(method.tables[0])]
        if config.target is not None and made < config.target and not stopped:
            result.notes.append(f"{config.target:,} rows were asked for; the seeds ended after {made:,}")
        try:
            result.tables = write_tables(folder, journal, method.tables)
            _write_card(result, config)
        except OSError as error:
            raise DiskTrouble(
                f"the rows are safe in {folder / 'run.db'}, but their tables could not be written: "
                f"{error.strerror or error}. Make room, then `gristmill resume {folder}`"
            ) from error
        return result
    finally:
        await journal.close()


async def _work(
    method: Recipe,
    config: Config,
    folder: Path,
    backends: dict[str, list[Backend]],
    ledger: Ledger,
    tally: Tally,
) -> Stopped | None:
    roles: dict[str, Handle | list[Handle] | None] = {}
    for name, role in method.roles.items():
        handles = [bind(name, backend, ledger, config.concurrency) for backend in backends.get(name, [])]
        roles[name] = handles if role.many else handles[0] if handles else None
    seed_type = method.seed
    kept = (folder / "inputs" / "seeds.parquet").exists()
    step = Step(
        method,
        roles,
        config.settings,
        (lambda: kept_input(folder, "seeds", seed_type)) if seed_type and kept else None,
        {name: Rows(kept_input(folder, name, kind)) for name, kind in method.inputs.items()},
    )
    # More units than calls: while some wait for a commit or parse a reply, others keep the wire busy.
    limit = sum(endpoint.limit for endpoint in ledger.endpoints.values()) or 8
    schedule = Schedule(
        step,
        ledger,
        tally,
        seed=config.seed,
        target=config.target,
        max_candidates=config.max_candidates,
        units=config.units,
        concurrency=min(2048, limit + limit // 4 + 2),
    )
    try:
        await schedule.work()
    except Stopped as stop:
        return stop
    return None


def _rewind_to_first_open(journal: Journal, failed: bool) -> None:
    """Take outcomes back from the first row that waits (or failed, if those are retried): later rows may depend on it
    through gates and the target. What is taken back is replayed from the journal."""
    kinds = ("failed", "waiting") if failed else ("waiting",)
    marks = ",".join("?" * len(kinds))
    for step, place in list(
        journal.select(f"SELECT step, MIN(place) FROM failures WHERE kind IN ({marks}) GROUP BY step", kinds)
    ):
        journal.rewind(step, place)


def _distinct(backends: dict[str, list[Backend]]) -> list[Backend]:
    return list({id(backend): backend for bound in backends.values() for backend in bound}.values())


def _write_card(result: Result, config: Config) -> None:
    write_card(
        result.folder,
        result.recipe,
        settings=config.settings,
        models=config.models,
        prompts=config.prompts,
        seed=config.seed,
        seeds=config.seeds,
        rows={name: result.counts[name] for name in result.tables},
        rejects=result.reject_counts,
        failed=result.failed,
        spent=result.spent,
        stopped=str(result.stopped or ""),
    )


@asynccontextmanager
async def _serving(backends: dict[str, list[Backend]], offline: bool) -> AsyncIterator[None]:
    """Backends that are ready to answer; closed when the run ends, however it ends."""
    started: list[Backend] = []
    try:
        for backend in [] if offline else _distinct(backends):
            started.append(backend)
            await backend.start()
        yield
    finally:
        for backend in started:
            await backend.close()


@asynccontextmanager
async def _interrupts(halt: Halt) -> AsyncIterator[None]:
    """Ctrl-C drains; a second one stops at once. Only where signals can be had: the main thread of a Unix process."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupt() -> None:
        if halt.stopped and halt.stopped.reason == "interrupted" and task:
            task.cancel()
        halt.stopped = None if halt.stopped and halt.stopped.reason == "enough" else halt.stopped
        halt.stop(Stopped("interrupted", "interrupted; calls in flight were let arrive"))

    installed = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, interrupt)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _unwatched(live: Live) -> AsyncIterator[None]:
    yield
