"""The dataset card: README.md of a run's folder, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import gristmill
from gristmill.contract import Recipe
from gristmill.engine.journal import Spent


@dataclass
class Made:
    """A step of the run, as the card tells of it."""

    recipe: Recipe
    name: str
    settings: Mapping[str, Any]
    models: Mapping[str, list[str]]
    prompts: Mapping[str, str]
    rejects: Mapping[str, int]
    failed: int


def write_card(
    folder: Path,
    steps: list[Made],
    *,
    seed: int,
    seeds: str,
    rows: Mapping[str, int],
    spent: Spent,
    stopped: str = "",
) -> None:
    """Say what these rows are, by which methods and models they were made, and what did not pass."""
    front = ["---", "tags:", "- synthetic", "- gristmill", *(f"- {step.recipe.name}" for step in steps), "configs:"]
    for table in rows:
        front += [f"- config_name: {table}", "  data_files:", "  - split: train", f"    path: data/{table}.parquet"]
    lines = [
        *front,
        "---",
        "",
        f"# {' > '.join(step.name for step in steps)}",
        "",
        *(["Steps, one behind the other:", ""] if len(steps) > 1 else []),
        *[line for step in steps for line in _method(step, alone=len(steps) == 1)],
        f"Made by gristmill {gristmill.__version__}, seed {seed}.",
        *([f"State: {stopped}. Not complete."] if stopped else []),
        "",
        "| made | rows |",
        "| --- | --- |",
        *(f"| `data/{table}.parquet` | {count:,} |" for table, count in rows.items()),
        "",
        "Each row has an `id` and a `lineage` (its seed, parents, calls and draws); every call stands in `run.db`.",
        "",
        "## From",
        "",
        f"- Seeds: {_cell(seeds) or 'none; the method makes rows from nothing'}",
        *[line for step in steps for line in _source(step, alone=len(steps) == 1)],
        "",
        "## Not passed",
        "",
        *[line for step in steps for line in _not_passed(step, alone=len(steps) == 1)],
        "",
        "## Cost",
        "",
        f"${spent.cost:,.4f}: {spent.calls:,} answers, {spent.input_tokens:,} tokens in, {spent.output_tokens:,} out.",
        "",
        "## Licence",
        "",
        "Not stated. It depends on the seeds and on the terms of the models that wrote the rows: see to both before use.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _method(step: Made, *, alone: bool) -> list[str]:
    method, survey = step.recipe, step.recipe.survey
    paper = f"{survey['paper']}{', arXiv:' + survey['arxiv'] if survey.get('arxiv') else ''}" if survey else ""
    about = [
        method.summary,
        *([f"Method: {survey['title']} ({paper})."] if survey else []),
        f"Recipe `{method.name}` version {method.version}.",
    ]
    return [*about, ""] if alone else [f"- `{step.name}`: {' '.join(filter(None, about))}", ""]


def _source(step: Made, *, alone: bool) -> list[str]:
    of = "" if alone else f"`{step.name}`: "
    return [
        *(f"- {of}Role `{role}`: {', '.join(f'`{_cell(s)}`' for s in specs)}" for role, specs in step.models.items()),
        *(f"- {of}Parameter `{name}`: `{_cell(_text(value))}`" for name, value in step.settings.items()),
        *(f"- {of}Prompt `{name}` was replaced" for name in step.prompts),
    ]


def _not_passed(step: Made, *, alone: bool) -> list[str]:
    of = "" if alone else f"`{step.name}`: "
    return [
        *([f"- {of}{reason}: {count:,}" for reason, count in step.rejects.items()] or [f"- {of}no rejects"]),
        f"- {of}failures: {step.failed:,}",
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cell(text: str) -> str:
    """One line, however long or strange the value is."""
    text = " ".join(text.replace("`", "'").split())
    return text if len(text) <= 200 else text[:199] + "…"
