"""The dataset card: README.md of a run's folder, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import gristmill
from gristmill.contract import Recipe
from gristmill.engine.journal import Spent


def write_card(
    folder: Path,
    method: Recipe,
    *,
    settings: Mapping[str, Any],
    models: Mapping[str, list[str]],
    prompts: Mapping[str, str],
    seed: int,
    seeds: str,
    rows: Mapping[str, int],
    rejects: Mapping[str, int],
    failed: int,
    spent: Spent,
    stopped: str = "",
) -> None:
    """Say what these rows are, by which method and models they were made, and what did not pass."""
    survey = method.survey
    front = ["---", "tags:", "- synthetic", "- gristmill", f"- {method.name}", "configs:"]
    for table in rows:
        front += [f"- config_name: {table}", "  data_files:", "  - split: train", f"    path: data/{table}.parquet"]
    paper = f"{survey['paper']}{', arXiv:' + survey['arxiv'] if survey.get('arxiv') else ''}" if survey else ""
    lines = [
        *front,
        "---",
        "",
        f"# {method.name}",
        "",
        method.summary,
        "",
        *([f"Method: {survey['title']} ({paper})."] if survey else []),
        f"Made by gristmill {gristmill.__version__}, recipe `{method.name}` version {method.version}, seed {seed}.",
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
        *(f"- Role `{role}`: {', '.join(f'`{_cell(spec)}`' for spec in specs)}" for role, specs in models.items()),
        *(f"- Parameter `{name}`: `{_cell(_text(value))}`" for name, value in settings.items()),
        *(f"- Prompt `{name}` was replaced" for name in prompts),
        "",
        "## Not passed",
        "",
        *([f"- {reason}: {count:,}" for reason, count in rejects.items()] or ["- no rejects"]),
        f"- failures: {failed:,}",
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cell(text: str) -> str:
    """One line, however long or strange the value is."""
    text = " ".join(text.replace("`", "'").split())
    return text if len(text) <= 200 else text[:199] + "…"
