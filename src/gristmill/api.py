"""Running recipes from Python; the command line is a layer over this."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gristmill import forecast, recipes
from gristmill.assemble import Wall, chain_of, check_target, limits, open_chain, parts_of
from gristmill.bind import Models
from gristmill.chain import Chain, Step
from gristmill.contract import Recipe
from gristmill.engine.folder import claim, copy_input, copy_pictures, keep_input, kept_input
from gristmill.errors import BadInput, DiskTrouble, nearest
from gristmill.execute import Config, Part, Result, Team, Watcher, config_of, execute, input_file
from gristmill.infer import kind_of, row_type
from gristmill.rows import Row, columns, required
from gristmill.seeds import kind_in, read

DEFAULT_TARGET = 10
"""Rows, for recipes that would go on for ever."""


async def arun(
    recipe: str | Recipe | Chain,
    *,
    seeds: str | Path | Iterable[Any] | None = None,
    inputs: Mapping[str, str | Path | Iterable[Any]] | None = None,
    model: Models = None,
    out: str | Path | None = None,
    target: int | None = None,
    units: int | None = None,
    max_cost: Wall = None,
    max_tokens: Wall = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    seed: int | None = None,
    prompts: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    cluster: str | None = None,
    **settings: Any,
) -> Result:
    """Run a recipe or a chain; see `run`."""
    given = {name: value for name, value in locals().items() if name not in ("recipe", "watch", "settings", "cluster")}
    with _team(cluster) as team:
        parts, config, folder = prepare(recipe, settings, **given)
        return await execute(parts, config, folder, watch=watch, team=team)


@contextlib.contextmanager
def _team(cluster: str | None) -> Iterator[Team | None]:
    """The cluster of a run, connected before anything is made and left when it is over."""
    if cluster is None:
        yield None
        return
    from gristmill.cluster import Connected

    team = Connected(cluster)
    try:
        yield team
    finally:
        team.close()


def prepare(
    recipe: str | Recipe | Chain,
    settings: Mapping[str, Any],
    *,
    seeds: str | Path | Iterable[Any] | None,
    inputs: Mapping[str, str | Path | Iterable[Any]] | None,
    model: Models,
    out: str | Path | None,
    mapping: Mapping[str, str] | None,
    chunk: int | None,
    prompts: Mapping[str, str] | None,
    prices: Mapping[str, Any] | None,
    **options: Any,
) -> tuple[list[Part], Config, Path]:
    """Look at all that a user can get wrong, then make the run's folder with what it reads in it."""
    chain, said = open_chain(recipe)
    options = {name: said.get(name) if value is None else value for name, value in options.items()}
    seeds = said.get("seeds") if seeds is None else seeds
    first = chain.steps[0].method
    options["target"] = target_of(chain, options["target"], options["units"])
    check_target(chain, options["target"])
    options["seed"] = options["seed"] or 0
    config = Config(steps=[], **limits(chain, options))
    source = _seed_source(first, seeds)
    if source is not None:
        config.seeds = str(source) if isinstance(source, (str, Path)) else "given from Python"
    if chain.reads_any:
        source = _again(source)
        first = _read_any(chain, config, source, mapping)
        mapping = {**(mapping or {}), **config.reads.renamed} if config.reads else mapping
    model = said.get("model") if model is None else model
    parts = parts_of(chain, config, model=model, prices=prices, settings=settings, prompts=prompts)
    further = _input_sources(chain, inputs)
    # All that a user can get wrong is looked at before the folder is made.
    folder = Path(out) if out is not None else next_folder(chain.name)
    _check_free(folder)
    made = False
    try:
        claim(folder)
        made = True
        if first.seed and source is not None:
            keep_input(folder, "seeds", read(source, first.seed, mapping=mapping, chunk=chunk, folder=folder))
        for file, (given, kind) in further.items():
            _keep_further(folder, file, given, kind)
    except (BadInput, OSError) as error:
        if made:
            _unmake(folder)
        if isinstance(error, OSError):
            raise DiskTrouble(f"cannot write {folder}: {error.strerror or error}") from error
        raise
    return parts, config, folder


async def aplan(
    recipe: str | Recipe | Chain,
    *,
    sample: int = forecast.SAMPLE,
    seeds: str | Path | Iterable[Any] | None = None,
    inputs: Mapping[str, str | Path | Iterable[Any]] | None = None,
    model: Models = None,
    out: str | Path | None = None,
    target: int | None = None,
    units: int | None = None,
    max_cost: Wall = None,
    max_tokens: Wall = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    seed: int | None = None,
    prompts: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    **settings: Any,
) -> forecast.Plan:
    """Forecast a run; see `plan`."""
    given = {name: value for name, value in locals().items() if name not in ("recipe", "sample", "watch", "settings")}
    if sample < 2:
        raise BadInput(f"sample={sample}: expected 2 units or more, for the range of a forecast")
    steps = open_chain(recipe)[0].steps
    if steps[0].method.shape == "set":
        raise BadInput(
            f"{steps[0].name} works on a whole set, in a loop of its own: what it asks and how many rows it makes depend "
            "on the answers, so a sample cannot tell what it will cost. Try --preview, and let --max-cost or "
            "--max-tokens be the wall"
        )
    parts, config, folder = prepare(recipe, settings, **given)
    return await forecast.sample(parts, config, folder, size=sample, watch=watch)


def target_of(chain: Chain, target: int | None, units: int | None) -> int | None:
    """The rows to stop at: as asked for, else a few where a recipe would go on for ever."""
    endless = any(step.method.endless or (step.method.shape == "draw" and units is None) for step in chain.steps)
    return DEFAULT_TARGET if target is None and endless else target


async def aresume(
    folder: str | Path,
    *,
    failed: bool = False,
    target: int | None = None,
    max_cost: Wall = None,
    max_tokens: Wall = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    recipe: Recipe | Chain | None = None,
    model: Models = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    cluster: str | None = None,
) -> Result:
    """Continue a run; see `resume`."""
    folder = Path(folder)
    config = config_of(folder)
    chain = chain_of(config, recipe)
    for step, kept in zip(chain.steps, config.steps, strict=True):
        if step.method.version != kept.version:
            raise BadInput(
                f"{folder} was made by version {kept.version} of {kept.recipe}, this is version {step.method.version}: "
                "use `gristmill rerun` to make the rows anew over its journal"
            )
    before = config.target
    if target is not None and before is not None and target < before:
        raise BadInput(f"target={target}: {folder} was asked for {before} rows; it can only be asked for more")
    check_target(chain, target)
    given = {"max_cost": max_cost, "max_tokens": max_tokens, "target": target, "max_candidates": max_candidates}
    for name, value in limits(chain, {**given, "concurrency": concurrency}).items():
        if isinstance(value, dict):  # walls of other roles stay
            setattr(config, name, {**getattr(config, name), **value})
        elif value is not None:
            setattr(config, name, value)
    parts = parts_of(chain, config, model=model, prices=prices)
    with _team(cluster) as team:
        return await execute(parts, config, folder, failed=failed, more=config.target != before, watch=watch, team=team)


async def arerun(
    base: str | Path,
    *,
    recipe: str | Recipe | Chain | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    target: int | None = None,
    seeds: str | Path | Iterable[Any] | None = None,
    model: Models = None,
    prompts: Mapping[str, str] | None = None,
    seed: int | None = None,
    max_cost: Wall = None,
    max_tokens: Wall = None,
    max_candidates: int | None = None,
    concurrency: int | None = None,
    offline: bool = False,
    mapping: Mapping[str, str] | None = None,
    chunk: int | None = None,
    prices: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
) -> Result:
    """Re-execute a run over its journal into a new folder; see `rerun`."""
    base = Path(base)
    config = config_of(base)
    if isinstance(recipe, (str, Chain)):  # steps were put in, taken out or changed
        chain, said = open_chain(recipe)
    else:
        chain, said = chain_of(config, recipe, same_seeds=seeds is None), {}
    config.seed = next(value for value in (seed, said.get("seed"), config.seed) if value is not None)
    target = next((t for t in (target, said.get("target"), config.target) if t is not None), None)
    given: dict[str, Any] = {
        "target": target_of(chain, target, config.units),
        "max_cost": said.get("max_cost") if max_cost is None else max_cost,
        "max_tokens": said.get("max_tokens") if max_tokens is None else max_tokens,
        "max_candidates": next(
            (c for c in (max_candidates, said.get("max_candidates"), config.max_candidates) if c is not None), None
        ),
        "concurrency": concurrency or said.get("concurrency") or config.concurrency,
    }
    for name, value in limits(chain, given).items():
        setattr(config, name, value)
    check_target(chain, config.target)
    if not chain.reads_any:
        config.reads = None
    else:
        if seeds is None and (base / "inputs" / "seeds.parquet").exists():
            held = ((f"seed {n}", row) for n, row in enumerate(kept_input(base, "seeds", dict)))
            config.reads = config.reads or kind_of(held, {})
            chain.read(row_type(config.reads))
        else:
            seeds = _again(_seed_source(chain.steps[0].method, said.get("seeds") if seeds is None else seeds))
            _read_any(chain, config, seeds, mapping)
            mapping = {**(mapping or {}), **config.reads.renamed} if config.reads else mapping
    model = said.get("model") if model is None else model
    parts = parts_of(chain, config, model=model, prices=prices, settings=settings, prompts=prompts)
    folder = Path(out) if out is not None else next_folder(chain.name)
    claim(folder)
    first = chain.steps[0].method
    try:
        copy_pictures(base, folder)
        if first.seed and seeds is None and (base / "inputs" / "seeds.parquet").exists():
            copy_input(base, folder, "seeds")
        elif first.seed:
            source = _seed_source(first, said.get("seeds") if seeds is None else seeds)
            assert source is not None
            keep_input(folder, "seeds", read(source, first.seed, mapping=mapping, chunk=chunk, folder=folder))
            config.seeds = str(source) if isinstance(source, (str, Path)) else "given from Python"
        for step in chain.steps:
            for name, kind in step.method.inputs.items():
                file = input_file(step.name, name, alone=len(chain.steps) == 1)
                if name in step.inputs:
                    _keep_further(folder, file, step.inputs[name], kind)
                elif kept := _kept_as(base, step, name):
                    copy_input(base, folder, kept, file)
    except BadInput:
        _unmake(folder)
        raise
    return await execute(parts, config, folder, base=base, offline=offline, watch=watch)


def run(recipe: str | Recipe | Chain, **options: Any) -> Result:
    """Run a recipe, or a chain of them, and wait for its rows.

    Args:
        recipe: a name, "FILE.py:NAME", a decorated function, a `Chain`, or a chain's file ("chain.toml").
        seeds: a file, a folder, "hf:NAME", or records; the recipe's shipped examples where it has some.
        inputs: further inputs of the recipe, by name.
        model: for all roles or by role: {"generator": "openai:gpt-4o-mini", "judge": ...}. Default: the embedded one.
        out: the run's folder; `runs/RECIPE-N` unless given. Never one that holds anything.
        target: accepted rows to stop at. Seeds that end before are used again, with new draws.
        max_cost, max_tokens: walls, in USD and in tokens; for the run, or by role: {"": 20, "judge": 5}. At a wall the
            run stops, resumable.
        max_candidates: rows, rejects and failures together after which a run that makes too little stops.
        concurrency: calls at once per endpoint. Default: as many as it turns out to bear.
        seed: of all that is left to chance.
        cluster: "local:N" for N processes on this machine, or the address of a Ray cluster (extra `ray`); the rows are
            those of a single process. Recipes over whole sets work here all the same.
        prompts: other texts for the recipe's prompts, by name.
        **settings: the recipe's own parameters; in a chain by "step.name", where several steps have the name.

    Raises:
        BadInput: a mistake in what was given; nothing was asked or written.
        EndpointDown: a model cannot be reached at all. What was made is kept, and `resume` goes on.
    """
    return _wait(lambda: arun(recipe, **options))  # type: ignore[no-any-return]


def plan(recipe: str | Recipe | Chain, **options: Any) -> forecast.Plan:
    """Run a small sample for real and say what the whole will cost. `resume` then makes the run itself, and does not pay
    for the sample again.

    Args:
        sample: seeds or draws to try, 20 unless given.
        **options: as `run`.

    Raises:
        BadInput: also for recipes over whole sets, of which a sample cannot tell.
    """
    return _wait(lambda: aplan(recipe, **options))  # type: ignore[no-any-return]


def resume(folder: str | Path, **options: Any) -> Result:
    """Continue a run that was stopped or killed. With `failed=True` rows that failed are tried again; with a higher
    `target` a run that met its own makes more."""
    return _wait(lambda: aresume(folder, **options))  # type: ignore[no-any-return]


def rerun(base: str | Path, **options: Any) -> Result:
    """Make the rows of a run anew in another folder, with other settings; only what changed is asked again.

    With `recipe` a changed chain (or its file) takes the place of the old one: its unchanged steps ask nothing. With `offline=True` nothing is asked at all: a row that needs a new answer is a failure.
    """
    return _wait(lambda: arerun(base, **options))  # type: ignore[no-any-return]


def _wait(work: Callable[[], Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            return asyncio.run(work())
        except asyncio.CancelledError:  # by the second Ctrl-C
            raise KeyboardInterrupt from None
    # In a notebook a loop is running already: work on one of our own, beside it.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


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


def _keep_further(folder: Path, file: str, source: Any, kind: type[Row]) -> None:
    """Keep a further input; of rows of any type, with their type."""
    if kind is not Row:
        keep_input(folder, file, read(source, kind, folder=folder))
        return
    source = _again(source)
    found = kind_in(source)
    keep_input(folder, file, read(source, row_type(found), mapping=found.renamed, folder=folder), found)


def _again(source: Any) -> Any:
    """A source that can be read twice: for its columns, and for its rows."""
    return source if source is None or isinstance(source, (str, Path)) else list(source)


def _read_any(chain: Chain, config: Config, source: Any, mapping: Mapping[str, str] | None) -> Recipe:
    """Let a chain that reads any rows read those of a source. Returns its first recipe, for these."""
    config.reads = kind_in(source, mapping)
    chain.read(row_type(config.reads))
    return chain.steps[0].method


def content_columns(row_type: type[Row]) -> list[str]:
    needed = required(row_type)
    return [name if name in needed else f"{name} (optional)" for name in columns(row_type)]


def _input_sources(chain: Chain, given: Mapping[str, Any] | None) -> dict[str, tuple[Any, type[Row]]]:
    """What is read besides the seeds, and its type, by the name that it is kept under."""
    left = dict(given or {})
    found: dict[str, tuple[Any, type[Row]]] = {}
    alone = len(chain.steps) == 1
    for step in chain.steps:
        for name, kind in step.method.inputs.items():
            file = input_file(step.name, name, alone=alone)
            source = left.pop(file, None)
            if source is None:  # an empty list is one that was given
                source = step.inputs.get(name)
            if source is None and name in step.method.optional_inputs:
                continue
            if source is None:
                raise BadInput(f"{step.name} needs the further input --{file}: rows of {kind.__name__}")
            found[file] = source, kind
    for name in left:
        known = [input_file(step.name, key, alone=alone) for step in chain.steps for key in step.method.inputs]
        raise BadInput(f"{chain.name} has no input {name!r}: {nearest(name, known)}")
    return found


def _kept_as(base: Path, step: Step, name: str) -> str:
    """Under which name a run keeps a further input of a recipe that may have stood alone in it; "" if it did without."""
    for file in (f"{step.name}.{name}", name):
        if (base / "inputs" / f"{file}.parquet").exists():
            return file
    if name in step.method.optional_inputs:
        return ""
    raise BadInput(f"{base} has no input {name!r} for {step.name}: name its file in the step's `inputs`")


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
    shutil.rmtree(folder / "inputs", ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
        if folder.parent == Path("runs"):
            folder.parent.rmdir()  # only if that was empty too
