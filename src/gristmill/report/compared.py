"""`gristmill compare` in a terminal: a table with intervals, in as many parts as its width asks for; and the command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gristmill import printing
from gristmill.check import benchmark, open_set
from gristmill.compare import Compared, Comparison, Track, acompare, cost_of_row, entries_of, yields
from gristmill.errors import BadInput, DiskTrouble, Stopped, nearest
from gristmill.models.training import Training
from gristmill.quality.embed import light, remembering
from gristmill.quality.leaderboard import Line
from gristmill.quality.values import Measure, number, words_of
from gristmill.students import TRAINING
from gristmill.utility import BASELINES, Transferred, Utility

COLUMNS = ("distinct_2", "vendi", "novelty", "contaminated", "judged_wins")
KEPT = "in brackets: what is kept of the gain over no data that the tested domain's own rows give"


def compare_command(
    names: list[str],
    *,
    data: list[str],
    models: Mapping[str, list[str]],
    vary: str | None,
    real: str | None,
    text: str | None,
    against: list[str],
    training: str | None,
    out: Path,
    json: bool,
    **options: Any,
) -> int:
    """Compare, and say what came of it; the exit code.

    Args:
        models: specs by role; "" for all other roles.
        options: further fields of `Track`, under their names.
    """
    from gristmill.report.compared_page import page

    if vary not in (None, "model"):
        raise BadInput(f"--vary {vary}: the models can be varied, --vary model")
    roles = {role: specs for role, specs in models.items() if role}
    entries = entries_of(names, data, models.get("", []), vary=vary == "model", roles=roles)
    track = Track(
        out=out,
        real=open_set(real, text=text) if real else None,
        text=text,
        benchmarks=dict(benchmark(name) for name in against),
        training=_training(training),
        **options,
    )
    console = printing.new_console(error=True)

    def progress(said: str) -> None:
        if not json:
            console.print(f"  {said} ...", style="dim", markup=False)

    try:
        result = asyncio.run(acompare(entries, track, embed=remembering(light()), progress=progress))
    except Stopped as stopped:
        console.print(f"{stopped}. The same command goes on", markup=False)
        return 130
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
    return 0


def _training(text: str | None) -> Training:
    """Settings of a training as JSON, over those of a comparison."""
    try:
        given = msgspec.json.decode(text or "{}", type=dict[str, Any])
        known = msgspec.structs.asdict(TRAINING)
        if strange := [name for name in given if name not in known]:
            raise BadInput(f"--training: there is no setting {strange[0]!r}: {nearest(strange[0], known)}")
        return msgspec.convert({**known, **given}, Training)
    except msgspec.MsgspecError as error:
        raise BadInput(f'--training {text}: {error}. Expected JSON such as {{"learning_rate": 1e-4}}') from None


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
    board = result.utility.board if result.utility else []
    ranks = {line.entry: line.rank for line in board}
    have = [name for name in COLUMNS if any(one.name == name for entry in result.entries for one in entry.measures)]
    ran = ["yield", "tokens a row"] if any(entry.runs for entry in result.entries) else []
    ran += ["USD a row"] if any(run.cost for entry in result.entries for run in entry.runs) else []
    head = [*(["rank"] if ranks else []), "entry", *(["utility"] if ranks else []), *ran, *have]
    places = {line.entry: place for place, line in enumerate(board)}
    found: dict[str, list[str]] = {}
    for entry in sorted(result.entries, key=lambda one: (bool(one.refused), one.entry)):
        by_name = {one.name: one for one in entry.measures}
        cells = [str(ranks.get(entry.entry, "")) if not entry.refused else "refused"] if ranks else []
        said = costs(entry)
        cells += [entry.entry, *([shown(by_name.get("utility"))] if ranks else []), *(said[name] for name in ran)]
        found[entry.entry] = [*cells, *(shown(by_name.get(name)) for name in have)]
    for line in board:
        if line.entry in BASELINES:
            found[line.entry] = [str(line.rank), f"({line.entry})", scored(line), *[""] * (len(head) - 3)]
    return head, [found[name] for name in sorted(found, key=lambda name: places.get(name, len(places)))]


def scored(line: Line) -> str:
    return f"{number(line.score)} ({number(line.low)} to {number(line.high)})"


def costs(entry: Compared) -> dict[str, str]:
    share, row = yields(entry), cost_of_row(entry)
    return {
        "yield": f"{100 * share[0]:.0f} % ({100 * share[1]:.0f} to {100 * share[2]:.0f})" if share else "",
        "tokens a row": f"{row[0]:,.0f}" if row else "",
        "USD a row": f"{row[1]:.5f}" if row else "",
    }


def board_lines(boards: Mapping[str, Sequence[Line]]) -> tuple[list[str], list[list[str]]]:
    """Boards of the same entries as one table: an entry's rank and score on each."""
    entries = list(dict.fromkeys(line.entry for board in boards.values() for line in board))
    cells = {(line.entry, name): line for name, board in boards.items() for line in board}
    head = ["entry", *(f"{name}: rank, score" for name in boards)]
    return head, [
        [entry, *(f"{cells[entry, name].rank}. {scored(cells[entry, name])}" for name in boards)] for entry in entries
    ]


def size_boards(found: Utility) -> dict[str, list[Line]]:
    """The boards at smaller sizes; none where there are none."""
    return {f"{size:,} {found.unit}": board for size, board in sorted(found.smaller.items())}


def transfer_lines(found: Transferred) -> tuple[list[str], list[list[str]]]:
    """A matrix of domains: the score, and what it keeps of the gain that the own domain's rows give."""
    rows = []
    for one, scores, kept in zip(found.domains, found.scores, found.retention, strict=True):
        shares = ["" if value is None else f" ({100 * value:.0f} %)" for value in kept]
        rows.append([one, *(f"{number(score)}{share}" for score, share in zip(scores, shares, strict=True))])
    return ["trained on", *(f"tested on {name}" for name in found.domains)], rows


def show(result: Comparison, out: Path) -> None:
    from rich.text import Text

    console = printing.new_console()
    head, rows = lines(result)
    _print(console, head, rows, 2 if head[0] == "rank" else 1)
    if result.utility and result.utility.by_domain:
        console.print(Text("\nby domain"))
        _print(console, *board_lines(result.utility.by_domain), 1)
    if result.utility and (boards := size_boards(result.utility)):
        console.print(Text("\nwith fewer rows of each"))
        _print(console, *board_lines(boards), 1)
    if result.utility and result.utility.transfers:
        console.print(Text(f"\nwhat is learnt of one domain, tested on others; {KEPT}"))
    for found in result.utility.transfers if result.utility else []:
        console.print(Text(f"\n{about(found, result)}"))
        _print(console, *transfer_lines(found), 1)
    console.print()
    for note in notes(result):
        console.print(Text(f"- {note}"), soft_wrap=True)
    console.print(Text(f"report: {out / 'compare.html'}"), soft_wrap=True)


def about(found: Transferred, result: Comparison) -> str:
    """What a matrix shows, in words."""
    assert result.utility
    gaps = ", ".join(f"{words_of(one.name)} {shown(one)}" for one in found.measures)
    return f"{found.entry}: trained on {found.size:,} {result.utility.unit} of each domain; {gaps}"


def _print(console: Any, head: Sequence[str], rows: Sequence[Sequence[str]], keys: int) -> None:
    """A table, in parts that fit into the width; each begins with the first `keys` columns."""
    from rich.table import Table
    from rich.text import Text

    for number_, part in enumerate(parts(head, rows, console.width, keys)):
        if number_:
            console.print()
        grid = Table(box=None, padding=(0, 2, 0, 0))
        for at in part:
            grid.add_column(Text(words_of(head[at])), overflow="fold", no_wrap=at >= keys)
        for row in rows:
            if any(row[at] for at in part[keys:]):
                grid.add_row(*(Text(row[at]) for at in part))
        console.print(grid)


def parts(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, keys: int) -> list[list[int]]:
    """The columns of each part of a table: the keys, and as many further ones as fit, at least one."""
    wide = [max(len(row[at]) for row in [head, *rows]) + 2 for at in range(len(head))]
    wide[keys - 1] = min(wide[keys - 1], max(12, width // 3))
    found: list[list[int]] = []
    for at in range(keys, len(head)):
        if not found or sum(wide[one] for one in found[-1]) + wide[at] > width:
            found.append(list(range(keys)))
        found[-1].append(at)
    return found or [list(range(keys))]


def notes(result: Comparison) -> list[str]:
    said = [f"{entry.entry}: {entry.refused}" for entry in result.entries if entry.refused]
    said += [f"{entry.entry}: {run.stopped}" for entry in result.entries for run in entry.runs if run.stopped]
    for entry in result.entries:
        empty = sum(not run.rows for run in entry.runs)
        if empty and not entry.refused:
            said.append(f"{entry.entry}: {empty} of {len(entry.runs)} runs made no rows; measures are of the others")
    if result.front and len(result.front) < len(result.entries):
        said.append(f"no other entry is as cheap and better than: {', '.join(result.front)}")
    if found := result.utility:
        said.append(
            f"utility: {found.measure}, {found.better}er is better, of {found.learner} on {found.board[0].items:,} real test "
            f"rows, after training on {found.size:,} {found.unit}; entries that share a rank are not told apart"
        )
        said.append("; ".join(f"{name}: {what}" for name, what in found.baselines.items()))
        said += found.notes
    return [*dict.fromkeys(said), *judge_notes(result), *result.notes]


def judge_notes(result: Comparison) -> list[str]:
    """How far the judge can be relied on."""
    said = []
    if result.judged:
        said.append(f"the judge on pairs of rows: {_positions(result.judged.positions)}")
        if unread := result.judged.unread:
            said.append(f"the judge on pairs of rows: {unread:,} pairs have no verdict that can be read")
    if result.people:
        known = {one.name: one for one in result.people.measures}
        figures = ("agreement", "kappa", "human_agreement", "human_kappa")
        named = [f"{words_of(name)} {_said(known[name])}" for name in figures if known[name].value is not None]
        positions = _positions(result.people.measures)
        said.append(f"the judge against people, {known['kappa'].n:,} pairs: {', '.join([*named, positions])}")
        said += result.people.notes
    elif result.judged:
        said.append("the judge was not held against people: --people FILE")
    return said


def _positions(measures: Sequence[Measure]) -> str:
    known = {one.name: one for one in measures}
    if known["consistency"].value is None:
        return "no verdict could be read"
    return (
        f"the same verdict in both orders {_said(known['consistency'])}, what stands first won both times "
        f"{_said(known['first_bias'])}, what stands second {_said(known['second_bias'])} of {known['consistency'].n:,} pairs"
    )


def _said(one: Measure) -> str:
    """A share in per cent, any other number as it is."""
    if one.value is None or "kappa" in one.name:
        return shown(one)
    values = [f"{100 * value:.0f}" for value in (one.value, one.low, one.high) if value is not None]
    return f"{values[0]} %" + (f" ({values[1]} to {values[2]})" if len(values) == 3 else "")
