"""Running recipes from Python; the command line is a layer over this."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gristmill import recipes
from gristmill.bind import Models, backends_for, spec_text
from gristmill.contract import Recipe
from gristmill.engine.folder import claim, copy_input, keep_input
from gristmill.errors import BadInput, DiskTrouble, nearest
from gristmill.execute import Config, Result, Watcher, config_of, execute
from gristmill.ops import prompts as prompt_texts
from gristmill.rows import Row, columns, required
from gristmill.seeds import read

DEFAULT_TARGET = 10
"""Rows, for recipes that would go on for ever."""


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
    backends = backends_for(method, model, prices or {}, max_cost)
    config.models = {role: [spec_text(b) for b in bound] for role, bound in backends.items()}
    prompt_texts.check(sys.modules[method.fn.__module__], config.prompts)
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
    except (BadInput, OSError) as error:
        if made:
            _unmake(folder)
        if isinstance(error, OSError):
            raise DiskTrouble(f"cannot write {folder}: {error.strerror or error}") from error
        raise
    return await execute(method, config, folder, backends, watch=watch)


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
    backends = backends_for(method, model or _bound(config), prices or {}, config.max_cost)
    return await execute(method, config, folder, backends, failed=failed, watch=watch)


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
    backends = backends_for(method, model or _bound(config), prices or {}, max_cost)
    config.models = {role: [spec_text(b) for b in bound] for role, bound in backends.items()}
    prompt_texts.check(sys.modules[method.fn.__module__], config.prompts)
    folder = Path(out) if out is not None else next_folder(method.name)
    claim(folder)
    try:
        for kept in (base / "inputs").glob("*.parquet"):
            if not (kept.stem == "seeds" and seeds is not None):
                copy_input(base, folder, kept.stem)
        if seeds is not None and method.seed:
            keep_input(folder, "seeds", read(seeds, method.seed, mapping=mapping, chunk=chunk))
            config.seeds = str(seeds) if isinstance(seeds, (str, Path)) else "given from Python"
    except BadInput:
        _unmake(folder)
        raise
    return await execute(method, config, folder, backends, base=base, offline=offline, watch=watch)


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
        max_candidates: rows, rejects and failures together after which a run that makes too little stops.
        concurrency: calls at once per endpoint. Default: as many as it turns out to bear.
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


def _bound(config: Config) -> Models:
    return {role: list(texts) for role, texts in config.models.items()}


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
        if folder.parent == Path("runs"):
            folder.parent.rmdir()  # only if that was empty too


def _positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise BadInput(f"{name}={value}: expected a number of 1 or more")
