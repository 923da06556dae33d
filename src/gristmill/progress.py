"""What a person sees while a run works: a live panel in a terminal, plain lines in a log. Always on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gristmill.execute import Live

if TYPE_CHECKING:
    from rich.panel import Panel

REFRESH = 0.25
"""Seconds between two pictures in a terminal."""
LINE_EVERY = 10.0
"""Seconds between two lines in a log."""


@asynccontextmanager
async def shown(live: Live) -> AsyncIterator[None]:
    """Show a run for as long as it works."""
    painter = _panel if sys.stderr.isatty() else _lines
    task = asyncio.create_task(painter(live, time.monotonic()))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _panel(live: Live, started: float) -> None:
    from rich.console import Console
    from rich.live import Live as Screen

    with Screen(console=Console(stderr=True), refresh_per_second=1 / REFRESH, transient=True) as screen:
        while True:
            screen.update(_picture(live, time.monotonic() - started))
            await asyncio.sleep(REFRESH)


async def _lines(live: Live, started: float) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        print(summary(live, time.monotonic() - started), file=sys.stderr, flush=True)


def _picture(live: Live, seconds: float) -> Panel:
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column()
    rows = sum(live.tally.rows.values())
    grid.add_row("rows", f"{rows:,}" + (f" of {live.target:,}" if live.target else ""))
    if live.target:
        grid.add_row("", ProgressBar(total=live.target, completed=min(rows, live.target), width=40))
    for reason, count in live.tally.rejects.most_common(6):
        grid.add_row("rejected", f"{count:,}  {reason}")
    if live.tally.failures:
        grid.add_row("failed", f"{live.tally.failures:,}")
    for endpoint in live.ledger.endpoints.values():
        again = f", {endpoint.retries:,} retries" if endpoint.retries else ""
        grid.add_row("in flight", f"{endpoint.in_flight} of {endpoint.limit} at {endpoint.name}{again}")
    budget = live.ledger.budget
    tokens = budget.input_tokens + budget.output_tokens
    grid.add_row("calls", f"{live.ledger.asked:,} asked, {live.ledger.replayed:,} from the journal")
    grid.add_row("tokens", f"{tokens:,}  ({budget.output_tokens / max(seconds, 0.1):,.0f}/s written)")
    grid.add_row("cost", f"${budget.cost:,.4f}" + (f" of ${budget.max_cost:,.2f}" if budget.max_cost else ""))
    footer = Text(_what_now(live), style="dim")
    title = f"{live.name}  {int(seconds) // 60}:{int(seconds) % 60:02d}"
    return Panel(Group(grid, footer), title=title, subtitle=str(live.folder), expand=False)


def _what_now(live: Live) -> str:
    stopped = live.ledger.halt.stopped
    if stopped and stopped.reason != "enough":
        return "stopping: waiting for the calls in flight; Ctrl-C again stops at once"
    return "Ctrl-C stops; nothing that was paid for is lost"


def summary(live: Live, seconds: float) -> str:
    """One line for a log."""
    budget = live.ledger.budget
    rows = sum(live.tally.rows.values())
    return (
        f"{live.name} {seconds:.0f} s: {rows} rows"
        + (f" of {live.target}" if live.target else "")
        + f", {sum(live.tally.rejects.values())} rejects, {live.tally.failures} failures, {live.ledger.asked} calls, "
        f"{budget.input_tokens + budget.output_tokens} tokens, ${budget.cost:.4f}"
        + (f"; {_what_now(live)}" if live.ledger.halt.stopped else "")
    )
