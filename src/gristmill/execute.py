"""Carrying a run out: opening its folder, starting its models, working its steps, writing its tables."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gristmill.contract import Recipe
from gristmill.engine.artefacts import listed, sweep
from gristmill.engine.budget import Budget, Halt, Wall
from gristmill.engine.calls import Handle, Ledger, bind
from gristmill.engine.flow import Flow, Seeds
from gristmill.engine.folder import kept_count, kept_input, write_tables
from gristmill.engine.journal import Journal, Spent
from gristmill.engine.scope import Failure, Reject
from gristmill.engine.stage import Bound, Outcome, Stage, Unit
from gristmill.engine.tally import Tally
from gristmill.errors import BadInput, DiskTrouble, GristmillError, Stopped, nearest
from gristmill.export.card import write_card, written
from gristmill.infer import Kind
from gristmill.models.protocol import Backend
from gristmill.ops import prompts as prompt_texts
from gristmill.rows import Rows, table


class StepConfig(msgspec.Struct, kw_only=True):
    """One recipe of a run."""

    recipe: str
    name: str
    version: int = 1
    settings: dict[str, Any] = {}
    models: dict[str, list[str]] = {}
    prompts: dict[str, str] = {}
    mapping: dict[str, str] = {}


class Config(msgspec.Struct, kw_only=True):
    """What a run is: kept in its folder, so that resume and rerun need nothing else."""

    steps: list[StepConfig]
    seed: int = 0
    target: int | None = None
    units: int | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    role_max_cost: dict[str, float] = {}
    """Walls of single roles, by "role" or "step.role"."""
    role_max_tokens: dict[str, int] = {}
    max_candidates: int | None = None
    concurrency: int | None = None
    reads: Kind | None = None
    """The columns of the seeds, where the first recipe reads rows of any type."""
    seeds: str = ""
    """Where the seeds came from, for people; what was read is in `inputs/`."""


@dataclass
class Part:
    """A step that is ready to be carried out."""

    recipe: Recipe
    config: StepConfig
    backends: dict[str, list[Backend]]


@dataclass
class Result:
    """What a run made. Rows are read from its folder when asked for."""

    folder: Path
    steps: dict[str, tuple[Recipe, Tally]]
    """By the steps' names, in their order. The rows of the last one are those of the run."""
    spent: Spent
    calls: int = 0
    """Calls made by this very process; what the journal answered is not in it."""
    replayed: int = 0
    stopped: Stopped | None = None
    tables: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """How endpoints had to be asked, where that differs from what the recipe wanted."""
    rounds: dict[str, Any] | None = None
    """Diversity by round, of rows that were made in rounds: see `gristmill.export.facts`."""

    @property
    def name(self) -> str:
        return " > ".join(self.steps)

    @property
    def recipe(self) -> Recipe:
        """The last step's."""
        return list(self.steps.values())[-1][0]

    @property
    def counts(self) -> Counter[str]:
        """Rows by table."""
        return list(self.steps.values())[-1][1].rows

    @property
    def reject_counts(self) -> Counter[str]:
        """Of all steps, by reason; in a chain by step and reason."""
        found: Counter[str] = Counter()
        for name, (_, tally) in self.steps.items():
            prefix = f"{name}: " if len(self.steps) > 1 else ""
            found.update({prefix + reason: count for reason, count in tally.rejects.items()})
        return found

    @property
    def failed(self) -> int:
        return sum(tally.failures for _, tally in self.steps.values())

    @property
    def waiting(self) -> int:
        return sum(tally.waiting for _, tally in self.steps.values())

    @property
    def exit_code(self) -> int:
        if self.stopped:
            return 130 if self.stopped.reason == "interrupted" else 2
        return 4 if self.waiting else 3 if self.failed else 0

    @property
    def rows(self) -> list[Any]:
        """The rows of the recipe's first table."""
        return list(self.iterate())

    def iterate(self, name: str | None = None, *, step: str | None = None) -> Iterator[Any]:
        """The rows of a table (the first unless named) of a step (the last), in place order, streamed."""
        names = list(self.steps)
        if step is not None and step not in names:
            raise BadInput(f"this run has no step {step!r}: {nearest(step, names)}")
        number = names.index(step) if step else len(names) - 1
        recipe = self.steps[names[number]][0]
        types = {table(row): row for row in recipe.tables}
        name = name or table(recipe.tables[0])
        if name not in types:
            raise BadInput(f"{recipe.name} has no table {name!r}: {nearest(name, types)}")
        decode = msgspec.json.Decoder(types[name]).decode
        sql = "SELECT data FROM rows WHERE step=? AND name=? ORDER BY place, seq"
        with looking(self.folder) as journal:
            for (data,) in journal.select(sql, (number, name)):
                yield decode(data)

    @property
    def artefacts(self) -> dict[str, Path]:
        """Files that the run made besides rows, by the id that stands in the lineage of rows."""
        with looking(self.folder) as journal:
            return {found.id: self.folder / "artefacts" / found.file for found in listed(journal)}

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

    name: str
    folder: Path
    flow: Flow
    ledger: Ledger

    @property
    def tally(self) -> Tally:
        """Of all steps together; the rows are those of the last one."""
        return self.flow.tally

    @property
    def target(self) -> int | None:
        return self.flow.target


Watcher = Callable[[Live], contextlib.AbstractAsyncContextManager[Any]]


class Crew(Protocol):
    """Workers that make the outcomes of units."""

    async def work(self, stage: Stage, unit: Unit) -> Outcome: ...


class Team(Protocol):
    """A cluster: see `gristmill.cluster`."""

    def hosted(self, parts: list[Part]) -> list[Part]:
        """The steps, with models that live in the workers."""

    def crew(
        self, config: Config, folder: Path, stages: list[Stage], ledger: Ledger
    ) -> contextlib.AbstractAsyncContextManager[Crew]: ...


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
    parts: list[Part],
    config: Config,
    folder: Path,
    *,
    base: Path | None = None,
    offline: bool = False,
    failed: bool = False,
    more: bool = False,
    watch: Watcher | None = None,
    team: Team | None = None,
) -> Result:
    """Carry a run out, from where its journal ends.

    Args:
        team: workers of a cluster.
        base: a run whose answers are used too.
        offline: ask nothing.
        failed: try rows that failed again.
        more: the target is higher than it was, or there was none.
    """
    written(folder)  # a mistake in card.toml is told before the first call is paid
    journal = Journal(folder)
    try:
        if base is not None:
            journal.over(Journal(base, read_only=True), errors=offline)
        if failed:
            journal.forget_errors()
        _rewind_to_first_open(journal, parts, failed)
        if more and config.target is not None:
            _reopen(journal, parts, config.target)
        async with at_work(parts, config, folder, journal, offline=offline, watch=watch, team=team) as flow:
            stopped = await _work(flow)
        result = Result(
            folder=folder,
            steps={stage.name: (stage.recipe, stage.tally) for stage in flow.stages},
            spent=journal.spent(),
            calls=flow.ledger.asked,
            replayed=flow.ledger.replayed,
            stopped=stopped,
            notes=[note for backend in _distinct(parts) for note in getattr(backend, "notes", ())] + flow.ledger.notes,
        )
        made = flow.last.accepted
        if config.target is not None and made < config.target and not stopped:
            result.notes.append(f"{config.target:,} rows were asked for; the seeds ended after {made:,}")
        try:
            if not stopped:
                sweep(folder, journal)
            result.tables = write_tables(folder, journal, parts[-1].recipe.tables, len(parts) - 1)
            result.rounds = write_card(folder, journal, [part.recipe for part in parts])["rounds"]
        except OSError as error:
            raise DiskTrouble(
                f"the rows are safe in {folder / 'run.db'}, but their tables could not be written: "
                f"{error.strerror or error}. Make room, then `gristmill resume {folder}`"
            ) from error
        return result
    finally:
        await journal.close()


@asynccontextmanager
async def at_work(
    parts: list[Part],
    config: Config,
    folder: Path,
    journal: Journal,
    *,
    offline: bool = False,
    watch: Watcher | None = None,
    seeds: Seeds | None = None,
    team: Team | None = None,
    **options: Any,
) -> AsyncIterator[Flow]:
    """The steps of a run, ready to be worked on: models that answer, prompts in their places, signals watched.

    Args:
        seeds: what the first step reads; what was kept in the folder unless given.
        **options: of `Flow`.
    """
    parts = team.hosted(parts) if team else parts
    prompts = [_replaced(part) for part in parts]
    halt = Halt()
    ledger = Ledger(journal, _budget(journal, config), halt, offline=offline)
    stages = [
        _stage(part, number, folder, ledger, config, prompts[number], alone=len(parts) == 1)
        for number, part in enumerate(parts)
    ]
    flow = Flow(
        stages,
        ledger,
        seeds=seeds or kept_seeds(parts[0].recipe, folder),
        **{"target": config.target, "max_candidates": config.max_candidates, "units": config.units, **options},
    )
    ledger.on_room = flow.pump
    live = Live(" > ".join(part.config.name for part in parts), folder, flow, ledger)
    journal.forget_tasks()
    journal.start()
    journal.set_meta(config=config, state="running", began=journal.meta("began") or _now())
    try:
        models = [] if offline else _distinct(parts)
        async with (
            team.crew(config, folder, stages, ledger) if team else contextlib.nullcontext() as crew,
            _serving(models, ledger.opened),
            _interrupts(halt),
            (watch or _unwatched)(live),
        ):
            if crew:
                flow.work_on = crew.work
            yield flow
    except GristmillError as error:
        journal.set_meta(state=f"stopped: {error}")
        raise
    stopped = halt.stopped
    journal.set_meta(state=f"stopped: {stopped}" if stopped else "finished", ended=_now())
    await journal.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


async def _work(flow: Flow) -> Stopped | None:
    try:
        await flow.work()
    except Stopped as stop:
        return stop
    return None


def _stage(
    part: Part,
    number: int,
    folder: Path,
    ledger: Ledger,
    config: Config,
    prompts: Callable[[], object],
    *,
    alone: bool,
) -> Stage:
    step, method = part.config, part.recipe
    roles: dict[str, Handle | list[Handle] | None] = {}
    for name, role in method.roles.items():
        bound = part.backends.get(name, [])
        handles = [bind(step.name, name, backend, ledger, config.concurrency) for backend in bound]
        roles[name] = handles if role.many else handles[0] if handles else None
    files = {name: input_file(step.name, name, alone=alone) for name in method.inputs}
    inputs = {
        name: Rows(kept_input(folder, files[name], kind))
        if name not in method.optional_inputs or (folder / "inputs" / f"{files[name]}.parquet").exists()
        else None
        for name, kind in method.inputs.items()
    }
    ready = Bound(method, step.name, roles, step.settings, inputs, step.mapping, prompts)
    # Rows asked for are what leaves the run: only of a single recipe they are the recipe's own.
    return Stage(ready, number, ledger, seed=config.seed, target=config.target if alone else None)


def input_file(step: str, name: str, *, alone: bool) -> str:
    """Under which name a further input is kept."""
    return name if alone else f"{step}.{name}"


def _replaced(part: Part) -> Callable[[], object]:
    # Also of a step that replaces none: a worker may come from a step that does.
    texts = prompt_texts.check(sys.modules[part.recipe.fn.__module__], part.config.prompts)
    return partial(prompt_texts.replace, texts)


def kept_seeds(first: Recipe, folder: Path) -> Seeds | None:
    """The seeds of a run's folder; None for recipes that read none."""
    if first.seed is None or not (folder / "inputs" / "seeds.parquet").exists():
        return None
    return Seeds(partial(kept_input, folder, "seeds", first.seed), kept_count(folder, "seeds"))


def _budget(journal: Journal, config: Config) -> Budget:
    """The walls, with what was spent before: a resumed run pays from the same purse."""
    before = journal.spent()
    budget = Budget(
        config.max_cost,
        config.max_tokens,
        cost=before.cost,
        input_tokens=before.input_tokens,
        output_tokens=before.output_tokens,
    )
    for name in {**config.role_max_cost, **config.role_max_tokens}:
        step, _, role = name.rpartition(".")
        used = journal.spent(role=role, step=step)
        budget.roles[name] = Wall(
            config.role_max_cost.get(name),
            config.role_max_tokens.get(name),
            used.cost,
            used.input_tokens,
            used.output_tokens,
            name=name,
        )
    return budget


def _rewind_to_first_open(journal: Journal, parts: list[Part], failed: bool) -> None:
    """Take outcomes back from the first row that waits (or failed, if those are retried): later rows may depend on it
    through gates and the target. What is taken back is replayed from the journal."""
    kinds = ("failed", "waiting") if failed else ("waiting",)
    marks = ",".join("?" * len(kinds))
    for step, place in list(
        journal.select(f"SELECT step, MIN(place) FROM failures WHERE kind IN ({marks}) GROUP BY step", kinds)
    ):
        _take_back(journal, parts, step, place)


def _reopen(journal: Journal, parts: list[Part], target: int) -> None:
    """Let a run that met its target make more: the last unit may have made rows that were not wanted then."""
    last = len(parts) - 1
    if journal.count("rows", "step=? AND name=?", (last, table(parts[last].recipe.tables[0]))) >= target:
        return  # it made more before there was a target
    _take_back(journal, parts, last, max(0, journal.progress(last).released - 1), anew=True)
    for step in range(len(parts)):
        journal.rewind(step, journal.progress(step).released)


def _take_back(journal: Journal, parts: list[Part], step: int, place: int, *, anew: bool = False) -> None:
    """Forget what a step released from a place on, and all that later steps made of it; with `anew` all that lies
    behind the first barrier."""
    for number in range(step, len(parts)):
        if parts[number].recipe.shape == "set":
            place = 0  # it saw the whole
        place = min(place, journal.progress(number).released)
        journal.rewind(number, place)
        place = journal.count("rows", "step=? AND name=?", (number, table(parts[number].recipe.tables[0])))
    barrier = next((n for n in range(1, len(parts)) if parts[n].recipe.shape == "set"), len(parts))
    if journal.meta("round_size") is not None or (anew and barrier < len(parts)):
        # The size of a round followed from the rows that left then: the rounds begin again, over the journal.
        journal.forget("round_size")
        for number in range(barrier, len(parts)):
            journal.rewind(number, 0)


def _distinct(parts: list[Part]) -> list[Backend]:
    return list({id(b): b for part in parts for bound in part.backends.values() for b in bound}.values())


@asynccontextmanager
async def _serving(backends: list[Backend], opened: list[Any]) -> AsyncIterator[None]:
    """Backends that are ready to answer; closed when the run ends, however it ends, with what was opened meanwhile."""
    started: list[Backend] = []
    try:
        for backend in backends:
            started.append(backend)
            await backend.start()
        yield
    finally:
        for backend in [*opened, *started]:
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
