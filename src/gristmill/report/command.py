"""`gristmill check` in a terminal: a summary, the page, and an exit code for CI."""

from __future__ import annotations

from pathlib import Path

from gristmill import printing
from gristmill.check import LEFT_OUT, Checked, bar, benchmark, by_gravity, check, facts, fails, open_set, seeds_of
from gristmill.errors import DiskTrouble
from gristmill.export.card import write_quality
from gristmill.quality.embed import light, remembering
from gristmill.report.page import write_report

COLOURS = {"fine": "green", "look": "yellow", "bad": "red", "not measured": "bright_black"}


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
) -> int:
    """Carry the checks out and say what came of them. Returns the exit code: 5 where a bar of `fail_on` is missed."""
    bars = [bar(given) for given in fail_on]  # all that can be wrong is looked at before the work begins
    data = open_set(source, text=text, table=table)
    of_run = (Path(source) / "run.db").exists()
    other = open_set(reference, text=text) if reference else seeds_of(Path(source)) if of_run else None
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
        embed=embed,
        seed=seed,
        progress=lambda title: None if json else console.print(f"  {title} ...", style="dim", markup=False),
    )
    missed = fails(done, bars)
    path = report or _beside(source)
    try:
        write_report(done, path, embed=embed)
        if of_run and text is None and table is None:
            write_quality(Path(source), facts(done))  # so that the card says what was found
    except OSError as error:
        raise DiskTrouble(f"cannot write {path}: {error.strerror or error}") from error
    if json:
        printing.print_json({**facts(done), "report": str(path), "missed": missed})
    else:
        _show(done, path, missed)
    return 5 if missed else 0


def _beside(source: str) -> Path:
    """The page of a run lies in its folder; of another set, here."""
    return Path(source) / "report.html" if (Path(source) / "run.db").exists() else Path("report.html")


def _show(done: Checked, path: Path, missed: list[str]) -> None:
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
    for line in missed:
        console.print(Text(f"missed: {line}", style="red"), soft_wrap=True)
    console.print(Text(f"report: {path}"), soft_wrap=True)
