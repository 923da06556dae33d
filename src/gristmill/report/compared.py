"""`gristmill compare` in a terminal and as a page: a table with intervals, the board, cost against utility."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from gristmill import printing
from gristmill.check import benchmark, open_set
from gristmill.compare import Compared, Comparison, Track, acompare, cost_of_row, entries_of, yields
from gristmill.errors import BadInput, DiskTrouble
from gristmill.quality.embed import light, remembering
from gristmill.quality.values import Measure, number, words_of
from gristmill.report.page import POLICY, STYLE

COLUMNS = ("distinct_2", "vendi", "novelty", "contaminated", "judged_wins", "utility")


def compare_command(
    names: list[str],
    *,
    data: list[str],
    models: list[str],
    vary: str | None,
    seeds: str | None,
    real: str | None,
    label: str | None,
    text: str | None,
    target: int | None,
    max_tokens: int | None,
    max_cost: float | None,
    runs: int,
    judge: str | None,
    pairs: int,
    against: list[str],
    out: Path,
    seed: int,
    json: bool,
) -> None:
    """Compare, and say what came of it."""
    if vary not in (None, "model"):
        raise BadInput(f"--vary {vary}: the models can be varied, --vary model")
    entries = entries_of(names, data, models, vary=vary == "model")
    held = open_set(real, text=text) if real else None
    labels = None
    if held is not None and label is not None:
        column = held.column(label)
        if column is None:
            raise BadInput(f"{real} has no column {label!r}, which --label names")
        labels = [str(value) for value in column]
    track = Track(
        out=out,
        seeds=seeds,
        real=held,
        labels=labels,
        label=label,
        text=text,
        target=target,
        max_tokens=max_tokens,
        max_cost=max_cost,
        runs=runs,
        judge=judge,
        pairs=pairs,
        benchmarks=dict(benchmark(name) for name in against),
        seed=seed,
    )
    console = printing.new_console(error=True)
    result = asyncio.run(
        acompare(
            entries,
            track,
            embed=remembering(light()),
            progress=lambda said: None if json else console.print(f"  {said} ...", style="dim", markup=False),
        )
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "compare.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
        (out / "compare.html").write_text(page(result), encoding="utf-8", errors="replace")
    except OSError as error:
        raise DiskTrouble(f"cannot write {out}: {error.strerror or error}") from error
    if json:
        printing.print_json(msgspec.to_builtins(result))
    else:
        show(result, out)


def shown(measure: Measure | None) -> str:
    if measure is None:
        return ""
    if measure.value is None:
        return "not measured"
    if measure.low is None or measure.high is None:
        return number(measure.value)
    return f"{number(measure.value)} ({number(measure.low)} to {number(measure.high)})"


def lines(result: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table as text: its head, and a line for each entry, the best first where there is a board."""
    ranks = {line.entry: line.rank for line in result.utility}
    have = [name for name in COLUMNS if any(one.name == name for entry in result.entries for one in entry.measures)]
    ran = any(entry.runs for entry in result.entries)
    head = [*(["rank"] if ranks else []), "entry", *(["yield", "tokens a row", "USD a row"] if ran else []), *have]
    found = []
    for entry in sorted(result.entries, key=lambda one: (bool(one.refused), ranks.get(one.entry, 0), one.entry)):
        by_name = {one.name: one for one in entry.measures}
        cells = [str(ranks.get(entry.entry, "")) if not entry.refused else "refused"] if ranks else []
        cells.append(entry.entry)
        if ran:
            cells += costs(entry)
        found.append([*cells, *(shown(by_name.get(name)) for name in have)])
    for line in result.utility:
        if line.entry not in {entry.entry for entry in result.entries}:
            blank = [""] * (len(head) - 3)
            score = f"{number(line.score)} ({number(line.low)} to {number(line.high)})"
            found.append([str(line.rank), f"({line.entry})", *blank, score])
    return head, found


def costs(entry: Compared) -> list[str]:
    share, row = yields(entry), cost_of_row(entry)
    return [
        f"{100 * share[0]:.0f} % ({100 * share[1]:.0f} to {100 * share[2]:.0f})" if share else "",
        f"{row[0]:,.0f}" if row else "",
        f"{row[1]:.5f}" if row else "",
    ]


def show(result: Comparison, out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    console = printing.new_console()
    head, rows = lines(result)
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for name in head:
        grid.add_column(words_of(name))
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    for note in notes(result):
        console.print(Text(note), soft_wrap=True)
    console.print(Text(f"report: {out / 'compare.html'}"), soft_wrap=True)


def notes(result: Comparison) -> list[str]:
    said = [f"{entry.entry}: {entry.refused}" for entry in result.entries if entry.refused]
    said += [f"{entry.entry}: {run.stopped}" for entry in result.entries for run in entry.runs if run.stopped]
    if result.front and len(result.front) < len(result.entries):
        said.append(f"no other entry is as cheap and better than: {', '.join(result.front)}")
    if result.utility:
        said.append(
            f"utility: {result.track['learner']}, {result.better}er is better, on {result.utility[0].items:,} real items; "
            "entries that share a rank are not told apart"
        )
    return [*said, *result.notes]


def page(result: Comparison) -> str:
    """The table as a page of its own, without a request to anywhere."""
    head, rows = lines(result)
    track = ", ".join(f"{words_of(key)}: {value}" for key, value in result.track.items() if value not in ("", None))
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>Comparison</title><style>{STYLE} body {{ max-width: 80rem; }}</style></head><body><h1>Comparison</h1>",
        f"<p class='quiet'>The same for all: {escape(track)}</p>",
        _table(head, rows),
        *(f"<p>{escape(note)}</p>" for note in notes(result)),
        _runs(result.entries),
    ]
    return "\n".join([*parts, "</body></html>\n"])


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(words_of(name))}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _runs(entries: Sequence[Compared]) -> str:
    rows = [
        [entry.entry, run.seed, run.rows, run.rejected, run.tokens, f"{run.cost:.4f}", run.folder, run.stopped]
        for entry in entries
        for run in entry.runs
    ]
    if not rows:
        return ""
    head = ["entry", "seed", "rows", "rejected", "tokens", "USD", "folder", "stopped"]
    return f"<h2>Runs</h2>{_table(head, rows)}"
