"""Running recipes from Python; the command line is a layer over this."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gristmill import recipes
from gristmill.contract import Recipe
from gristmill.engine.budget import Budget, Halt
from gristmill.engine.calls import Handle, Ledger, bind
from gristmill.engine.folder import claim, keep_input, kept_input, write_tables
from gristmill.engine.journal import Journal, Spent
from gristmill.engine.schedule import Schedule, Step, Tally
from gristmill.engine.scope import Failure, Reject
from gristmill.errors import BadInput, GristmillError, Stopped, nearest
from gristmill.models import prices as price_table
from gristmill.models.protocol import Backend
from gristmill.models.spec import DEFAULT, check_can, parse
from gristmill.ops import prompts as prompt_texts
from gristmill.rows import Row, Rows, columns, required, table
from gristmill.seeds import read

Models = str | Backend | Mapping[str, "str | Backend | list[str | Backend]"] | None
"""A model for every role, or one (or a list) by role: a spec such as "openai:gpt-4o-mini", or a backend object."""

DEFAULT_TARGET = 10
"""Rows, for recipes that would go on for ever."""


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


@dataclass
class Live:
    """A run at work, for whoever shows progress."""

    recipe: Recipe
    folder: Path
    tally: Tally
    ledger: Ledger
    target: int | None


Watcher = Callable[[Live], contextlib.AbstractAsyncContextManager[Any]]


# -- the three ways to start


async def arun(
    recipe: str | Recipe,
    *,
    seeds: str | Path | Iterable[Any] | None = None,
    inputs: Mapping[str, str | Path | Iterable[Any]] | None = None,
    model: Models = None,
    out: str | Path | None = None,
    target: int | None = None,
    units: int | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    seed: int = 0,
    prompts: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    **settings: Any,
) -> Result:
    """Run a recipe; see `run`."""
    method = recipes.load(recipe) if isinstance(recipe, str) else recipe
    if target is None and not method.bounded and units is None:
        target = DEFAULT_TARGET
    if max_candidates is None and not method.bounded:
        max_candidates = max(200, 50 * (target or 1))
    _positive(target=target, max_tokens=max_tokens, max_candidates=max_candidates, concurrency=concurrency)
    if max_cost is not None and max_cost < 0:
        raise BadInput(f"max_cost={max_cost}: a sum of money in USD, 0 or more")
    source = _seed_source(method, seeds)
    config = Config(
        recipe=recipe if isinstance(recipe, str) else method.name,
        version=method.version,
        settings=method.settings(settings),
        prompts=dict(prompts or {}),
        seed=seed,
        target=target,
        units=units,
        max_cost=max_cost,
        max_tokens=max_tokens,
        max_candidates=max_candidates,
        concurrency=concurrency,
        seeds=str(source) if isinstance(source, (str, Path)) else "given from Python" if source is not None else "",
    )
    backends = _backends(method, model, prices or {}, max_cost)
    config.models = {role: [_spec_text(b) for b in bound] for role, bound in backends.items()}
    given = _input_sources(method, inputs)
    # All that a user can get wrong is looked at before the folder is made.
    folder = Path(out) if out is not None else next_folder(method.name)
    _check_free(folder)
    made = False
    try:
        claim(folder)
        made = True
        if method.seed and source is not None:
            keep_input(folder, "seeds", read(source, method.seed, mapping=mapping, chunk=chunk))
        for name, further in given.items():
            keep_input(folder, name, read(further, method.inputs[name]))
    except BadInput:
        if made:
            _unmake(folder)
        raise
    return await _execute(method, config, folder, backends, watch=watch)


async def aresume(
    folder: str | Path,
    *,
    failed: bool = False,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    recipe: Recipe | None = None,
    model: Models = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
) -> Result:
    """Continue a run; see `resume`."""
    folder = Path(folder)
    config = config_of(folder)
    method = recipe or recipes.load(config.recipe)
    config.settings = method.settings(config.settings)
    if method.version != config.version:
        raise BadInput(
            f"{folder} was made by version {config.version} of {method.name}, this is version {method.version}: "
            "use `gristmill rerun` to make the rows anew over its journal"
        )
    for name, value in {
        "max_cost": max_cost,
        "max_tokens": max_tokens,
        "max_candidates": max_candidates,
        "concurrency": concurrency,
    }.items():
        if value is not None:
            setattr(config, name, value)
    backends = _backends(method, model or _bound(config), prices or {}, config.max_cost)
    return await _execute(method, config, folder, backends, failed=failed, watch=watch)


async def arerun(
    base: str | Path,
    *,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    target: int | None = None,
    seeds: str | Path | Iterable[Any] | None = None,
    model: Models = None,
    prompts: Mapping[str, str] | None = None,
    seed: int | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    concurrency: int | None = None,
    offline: bool = False,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    recipe: Recipe | None = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
) -> Result:
    """Re-execute a run over its journal into a new folder; see `rerun`."""
    base = Path(base)
    config = config_of(base)
    method = recipe or recipes.load(config.recipe)
    config.version = method.version
    config.settings = method.settings({**config.settings, **(settings or {})})
    config.prompts = {**config.prompts, **(prompts or {})}
    config.seed = config.seed if seed is None else seed
    config.target = config.target if target is None else target
    config.max_cost, config.max_tokens = max_cost, max_tokens
    config.concurrency = concurrency or config.concurrency
    if config.max_candidates is not None and config.target:
        config.max_candidates = max(config.max_candidates, 50 * config.target)
    backends = _backends(method, model or _bound(config), prices or {}, max_cost)
    config.models = {role: [_spec_text(b) for b in bound] for role, bound in backends.items()}
    folder = Path(out) if out is not None else next_folder(method.name)
    claim(folder)
    try:
        for kept in (base / "inputs").glob("*.parquet"):
            row_type = method.seed if kept.stem == "seeds" else method.inputs.get(kept.stem)
            if row_type is not None and not (kept.stem == "seeds" and seeds is not None):
                keep_input(folder, kept.stem, kept_input(base, kept.stem, row_type))
        if seeds is not None and method.seed:
            keep_input(folder, "seeds", read(seeds, method.seed, mapping=mapping, chunk=chunk))
            config.seeds = str(seeds) if isinstance(seeds, (str, Path)) else "given from Python"
    except BadInput:
        _unmake(folder)
        raise
    return await _execute(method, config, folder, backends, base=base, offline=offline, watch=watch)


def run(recipe: str | Recipe, **options: Any) -> Result:
    """Run a recipe and wait for its rows.

    Args:
        recipe: a name, "FILE.py:NAME", or a decorated function.
        seeds: a file, a folder, "hf:NAME", or records; the recipe's shipped examples where it has some.
        inputs: further inputs of the recipe, by name.
        model: for all roles or by role: {"generator": "openai:gpt-4o-mini", "judge": ...}. Default: the embedded one.
        out: the run's folder; `runs/RECIPE-N` unless given. Never one that holds anything.
        target: accepted rows to stop at.
        max_cost, max_tokens: walls, in USD and in tokens. At a wall the run stops, resumable.
        max_candidates: rows and rejects together after which a run that makes too little stops.
        concurrency: calls at once per endpoint.
        seed: of all that is left to chance.
        prompts: other texts for the recipe's prompts, by name.
        **settings: the recipe's own parameters.

    Raises:
        BadInput: a mistake in what was given; nothing was asked or written.
        EndpointDown: a model cannot be reached at all. What was made is kept, and `resume` goes on.
    """
    return _wait(lambda: arun(recipe, **options))


def resume(folder: str | Path, **options: Any) -> Result:
    """Continue a run that was stopped or killed. With `failed=True` rows that failed are tried again."""
    return _wait(lambda: aresume(folder, **options))


def rerun(base: str | Path, **options: Any) -> Result:
    """Make the rows of a run anew in another folder, with other settings; only what changed is asked again.

    With `offline=True` nothing is asked at all: a row that needs a new answer is a failure.
    """
    return _wait(lambda: arerun(base, **options))


def _wait(work: Callable[[], Any]) -> Result:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            return asyncio.run(work())  # type: ignore[no-any-return]
        except asyncio.CancelledError:  # by the second Ctrl-C
            raise KeyboardInterrupt from None
    # In a notebook a loop is running already: work on one of our own, beside it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()  # type: ignore[no-any-return]


# -- what they share


async def _execute(
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
    if config.prompts:
        prompt_texts.replace(sys.modules[method.fn.__module__], config.prompts)
    journal = Journal(folder)
    try:
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
            async with _serving(backends, offline), _interrupts(halt), (watch or _unwatched)(live):
                stopped = await _work(method, config, folder, backends, ledger, tally)
        except GristmillError as error:
            journal.set_meta(state=f"stopped: {error}")
            raise
        journal.set_meta(state=f"stopped: {stopped}" if stopped else "finished")
        await journal.flush()
        tables = write_tables(folder, journal, method.tables)
        return Result(
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
            tables=tables,
        )
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


@asynccontextmanager
async def _serving(backends: dict[str, list[Backend]], offline: bool) -> AsyncIterator[None]:
    """Backends that are ready to answer; closed when the run ends, however it ends."""
    distinct = list({id(b): b for bound in backends.values() for b in bound}.values())
    started: list[Backend] = []
    try:
        for backend in [] if offline else distinct:
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


def config_of(folder: Path) -> Config:
    with looking(folder) as journal:
        kept = journal.meta("config")
        if kept is None:
            raise BadInput(f"{folder}: the run was never started")
        return msgspec.convert(kept, Config)


def _bound(config: Config) -> dict[str, str | Backend | list[str | Backend]]:
    return {role: list(texts) for role, texts in config.models.items()}


def _backends(
    method: Recipe, model: Models, prices: Mapping[str, Any], max_cost: float | None
) -> dict[str, list[Backend]]:
    """A backend for every role, one object a spec; checked to be able to do what the role needs."""
    given = dict(model) if isinstance(model, Mapping) else {"": model} if model is not None else {}
    for name in given:
        if name and name not in method.roles:
            raise BadInput(f"{method.name} has no role {name!r}: {nearest(name, method.roles)}")
    if not method.roles and "" in given:
        raise BadInput(f"{method.name} asks no model: leave --model out")
    opened: dict[str, Backend] = {}
    known = price_table.load(prices)
    bound: dict[str, list[Backend]] = {}
    for name, role in method.roles.items():
        if role.optional and name not in given:
            continue
        wanted = given.get(name, given.get("", DEFAULT))
        items = wanted if isinstance(wanted, list) else [wanted]
        if len(items) > 1 and not role.many:
            raise BadInput(f"{method.name}: the role {name!r} is played by one model, {len(items)} were given")
        bound[name] = []
        for item in items:
            if isinstance(item, str):
                if item not in opened:
                    opened[item] = parse(item).open(known)
                backend = opened[item]
            else:
                backend = item
            check_can(backend, name, role.needs)
            if max_cost is not None and backend.price is None:
                raise BadInput(
                    f"--max-cost needs the price of {backend.model} (role {name}), which is not known: give it as "
                    f"--model {name}={_spec_text(backend)},price=IN/OUT in USD for a million tokens, or under [prices] "
                    "in gristmill.toml"
                )
            bound[name].append(backend)
    return bound


def _spec_text(backend: Backend) -> str:
    return str(getattr(backend, "spec", "") or f"{type(backend).__name__.lower()}:{backend.model}")


def _seed_source(method: Recipe, seeds: str | Path | Iterable[Any] | None) -> str | Path | Iterable[Any] | None:
    if method.seed is None:
        if seeds is not None:
            raise BadInput(f"{method.name} makes rows from nothing and reads no seeds: leave --seeds out")
        return None
    if seeds is not None:
        return seeds
    if method.seeds is None:
        raise BadInput(
            f"{method.name} needs --seeds: rows with {', '.join(content_columns(method.seed))}. "
            "JSONL, JSON, CSV, Parquet, a folder of texts or hf:NAME"
        )
    return recipes.DATA / method.seeds


def content_columns(row_type: type[Row]) -> list[str]:
    needed = required(row_type)
    return [name if name in needed else f"{name} (optional)" for name in columns(row_type)]


def _input_sources(
    method: Recipe, inputs: Mapping[str, str | Path | Iterable[Any]] | None
) -> dict[str, str | Path | Iterable[Any]]:
    given = dict(inputs or {})
    for name in given:
        if name not in method.inputs:
            raise BadInput(f"{method.name} has no input {name!r}: {nearest(name, method.inputs)}")
    for name in method.inputs:
        if name not in given:
            raise BadInput(f"{method.name} needs the further input --{name}: rows of {method.inputs[name].__name__}")
    return given


def next_folder(name: str, parent: Path | None = None) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is free."""
    number = 1
    while (folder := (parent or Path("runs")) / f"{name}-{number}").exists():
        number += 1
    return folder


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        claim(folder)  # says what is wrong


def _unmake(folder: Path) -> None:
    """Take a folder back that was just made and into which only inputs were written."""
    for file in (folder / "inputs").glob("*"):
        file.unlink()
    with contextlib.suppress(OSError):
        (folder / "inputs").rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise BadInput(f"{name}={value}: expected a number of 1 or more")
