"""`gristmill check` in a terminal: a summary, the page, and an exit code for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gristmill import printing
from gristmill.check import (
    LEFT_OUT,
    Checked,
    bar,
    benchmark,
    by_gravity,
    check,
    facts,
    fails,
    known,
    open_set,
    seeds_of,
    sources_of,
)
from gristmill.errors import BadInput, DiskTrouble
from gristmill.export.card import PAGE, ready, write_quality
from gristmill.quality.embed import Embedder, light, remembering
from gristmill.quality.pii import Analyzer, presidio, presidio_is_there
from gristmill.report.page import write_report

COLOURS = {"fine": "green", "look": "yellow", "bad": "red", "not measured": "bright_black"}
Names = Literal["auto", "presidio", "light"]
"""What finds names of people: Presidio, or nothing; "auto" is Presidio where it is installed and the set is small."""
SMALL = 5_000
"""Rows of a small set: Presidio reads some 30 rows of 300 characters a second, all other checks together thousands."""


def check_command(
    source: str,
    *,
    against: list[str],
    reference: str | None,
    private: str | None,
    holdout: str | None,
    text: str | None,
    table: str | None,
    only: list[str],
    skip: list[str],
    fail_on: list[str],
    report: Path | None,
    seed: int,
    json: bool,
    names: Names = "auto",
) -> int:
    """Carry the checks out and say what came of them. Returns the exit code: 5 where a bar of `fail_on` is missed.

    All that can be wrong is looked at before the work begins; what was found is written and shown before bars are held
    against it.
    """
    bars = known([bar(given) for given in fail_on])
    folder = Path(source) if (Path(source) / "run.db").exists() else None
    path = report or (folder / PAGE if folder else Path(PAGE))
    if path.is_dir() or not path.parent.is_dir():
        raise BadInput(f"--report {path}: {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}")
    whole = folder is not None and text is None and table is None
    if folder and whole:
        ready(folder)
    data = open_set(source, text=text, table=table)
    other = open_set(reference, text=text) if reference else seeds_of(folder) if folder else None
    benchmarks = dict(benchmark(name) for name in against)
    embed = remembering(light())
    console = printing.new_console(error=True)
    done = check(
        data,
        reference=other,
        benchmarks=benchmarks,
        private=open_set(private) if private else None,
        holdout=open_set(holdout) if holdout else None,
        only=only,
        skip=skip,
        sources=sources_of(folder) if folder else (),
        analyzer=_analyzer(names, len(data)) if "personal-data" in (only or ["personal-data"]) else None,
        embed=embed,
        seed=seed,
        progress=lambda title: None if json else console.print(f"  {title} ...", style="dim", markup=False),
    )
    if names == "auto" and len(data) > SMALL and presidio_is_there() and not json:
        console.print(f"  names are not looked for in more than {SMALL:,} rows: --pii presidio does", style="dim")
    trouble = _written(done, path, embed, folder if whole else None)
    if not json:
        _show(done, None if trouble else path)
        if folder:
            printing.show_old_signature(folder)
    missed = fails(done, bars)
    if json:
        printing.print_json({**facts(done), "report": None if trouble else str(path), "missed": missed})
    for line in () if json else missed:
        printing.new_console().print(printing.plain_text(f"missed: {line}"), style="red", soft_wrap=True)
    if trouble:
        raise DiskTrouble(f"cannot write {trouble.filename or path}: {trouble.strerror or trouble}") from trouble
    return 5 if missed else 0


def _analyzer(names: Names, rows: int) -> Analyzer | None:
    if names == "presidio":
        return presidio()
    return presidio() if names == "auto" and rows <= SMALL and presidio_is_there() else None


def _written(done: Checked, path: Path, embed: Embedder, folder: Path | None) -> OSError | None:
    """Write the page and, of a run, the card. Returns what went wrong: it must not cost the figures."""
    try:
        write_report(done, path, embed=embed)
        if folder:
            write_quality(folder, facts(done))  # so that the card says what was found
    except OSError as error:
        return error
    return None


def _show(done: Checked, path: Path | None) -> None:
    from rich.table import Table
    from rich.text import Text

    console = printing.new_console()
    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for verdict in by_gravity(verdict for verdict in done.verdicts if verdict.said != LEFT_OUT):
        state = Text(verdict.state, style=COLOURS[verdict.state])
        grid.add_row(state, Text(verdict.title), Text(verdict.said))
    console.print(f"{done.data.name}: {len(done.data):,} rows", markup=False)
    console.print(grid)
    if path:
        console.print(Text(f"report: {path}"), soft_wrap=True)
