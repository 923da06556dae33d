"""The panel: a run in as many lines as the terminal has, each of them whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from gristmill.progress.meter import View
from gristmill.progress.wording import between, finish, large, money, percent, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDEST = 100
"""Columns; wider, and the eye loses the line."""
LABEL = 9
"""Columns of the words on the left."""
REASONS = 6
"""Reasons of rejects that are named."""


@dataclass
class _Group:
    """Lines under one label, the most important first."""

    label: str
    lines: list[str] = field(default_factory=list)
    weight: int = 0
    """Groups of the least weight give way first where the terminal is low."""
    style: str = ""
    shrinks: bool = False
    """Its lines are entries of a list: some of them are worth showing without the others."""
    hidden: int = 0
    """Entries that are not among the lines."""

    @property
    def height(self) -> int:
        return len(self.lines)

    def shrink(self) -> None:
        self.lines.pop()
        self.hidden += 1

    def said(self) -> list[str]:
        """The lines; the last of them counts what did not fit."""
        if not self.hidden:
            return self.lines
        return [*self.lines[:-1], f"and {self.hidden + 1} more"]


def picture(view: View, console: Console, now: datetime | None = None) -> RenderableType:
    """A view as a panel that fits into the console."""
    from rich import box
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    # An encoding that lacks them makes rich itself draw boxes and bars from ASCII; words have to follow.
    ascii_only = console.options.ascii_only
    width = min(console.width - 2, WIDEST)  # the terminal writes ^C behind the last line, and must not wrap
    inner = width - 4
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", justify="right", width=LABEL, no_wrap=True)
    grid.add_column(width=inner - LABEL - 2, no_wrap=True)

    def fitted(text: str, room: int, *, end: bool = False) -> Text:
        return Text(_cut(plain(text, ascii_only=ascii_only), room, "..." if ascii_only else "…", end=end))

    # Besides: the border, the bar, the footer, and a line to spare.
    for group in _fit(_groups(view, now), console.height - 5):
        for number, said in enumerate(group.said()):
            text = fitted(said, inner - LABEL - 2)
            text.stylize(group.style)
            grid.add_row("" if number else group.label, text)
        if group.label == "rows" and view.target:
            grid.add_row("", ProgressBar(total=view.target, completed=min(view.rows, view.target)))
    minutes, seconds = divmod(int(view.seconds), 60)
    elapsed = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
    title = fitted(view.name, inner - len(elapsed) - 4)
    footer = fitted(_what_now(view), inner)
    footer.stylize("dim")
    grid_and_footer = Table.grid()
    grid_and_footer.add_row(grid)
    grid_and_footer.add_row(footer)
    return Panel(
        grid_and_footer,
        box=box.ROUNDED,
        title=Text.assemble(title, f"  {elapsed}"),
        subtitle=fitted(view.run, inner - 2, end=True),
        width=width,
    )


def _groups(view: View, now: datetime | None) -> list[_Group]:
    ahead = view.forecast
    rows = f"{view.rows:,}"
    if view.target:
        rows += f" of {view.target:,}  {100 * view.rows // view.target} %"
    if view.rows_per_second:
        rows += f"  {view.rows_per_second:.2g}/s" if view.rows_per_second < 10 else f"  {view.rows_per_second:,.0f}/s"
    groups = [_Group("rows", [rows], 9, "bold")]
    if ahead.seconds_left:
        groups.append(_Group("time", [finish(ahead.seconds_left, now)], 8))
    if ahead.yielded:
        low, likely, high = (percent(share) for share in ahead.yielded)
        groups.append(_Group("yield", [f"{likely} % ({low} to {high}) of {view.candidates:,} candidates"], 4))
    groups.append(_Group("cost", _cost(view), 7))
    if view.roles:
        groups.append(_Group("of it", _walls(view), 3, shrinks=True))
    if len(view.steps) > 1:
        names = [plain(name) for name in view.steps]
        wide = min(20, max(map(len, names)))
        groups.append(
            _Group(
                "steps",
                [
                    f"{_cut(name, wide, '~'):<{wide}}  {step.read:,} in, {sum(step.rows.values()):,} out"
                    + (f", {step.rejected:,} rejected" if step.rejected else "")
                    for name, step in zip(names, view.steps.values(), strict=True)
                ],
                5,
                shrinks=True,
            )
        )
    if view.rejects:
        reasons = _Group(
            "rejected", [f"{count:,}  {reason}" for reason, count in view.rejects.items()], 6, shrinks=True
        )
        while reasons.height > REASONS + 1:
            reasons.shrink()
        groups.append(reasons)
    if view.failures:
        groups.append(_Group("failed", [f"{view.failures:,}"], 7, "red"))
    if view.waiting:
        groups.append(_Group("waiting", [f"{view.waiting:,} for people"], 5))
    from_journal = f", {view.replayed:,} from the journal" if view.replayed else ""
    groups.append(_Group("calls", [f"{view.calls:,} asked{from_journal}"], 3))
    tokens = f"{large(view.tokens)}" + (f" of {large(view.max_tokens)}" if view.max_tokens is not None else "")
    if view.tokens_per_second:
        tokens += f"  {view.tokens_per_second:,.0f}/s"
    if ahead.tokens and ahead.tokens.high:
        tokens += f"  in all {large(ahead.tokens.low)} to {large(ahead.tokens.high)}"
    groups.append(_Group("tokens", [tokens], 3))
    if view.endpoints:
        groups.append(_Group("in flight", _servers(view), 4, shrinks=True))
    return groups


def _cost(view: View) -> list[str]:
    """What was spent, of what, and what it comes to."""
    wall, ahead = view.max_cost, view.forecast.cost
    lines = [money(view.cost) + (f" of {money(wall)}" if wall is not None else "")]
    if ahead and ahead.high:
        lines.append(f"in all {between(ahead)}")
        if wall is not None and ahead.high > wall:
            lines.append(f"the limit {'comes' if ahead.low > wall else 'may come'} first")
    return lines


def _walls(view: View) -> list[str]:
    """What single roles spent, of what they may."""
    lines = []
    for name, role in view.roles.items():
        parts = []
        if role.max_cost is not None:
            parts.append(f"{money(role.cost)} of {money(role.max_cost)}")
        if role.max_tokens is not None:
            parts.append(f"{large(role.tokens)} of {large(role.max_tokens)} tokens")
        lines.append(f"{name}: {', '.join(parts)}")
    return lines


def _servers(view: View) -> list[str]:
    lines = []
    for name, server in view.endpoints.items():
        again = f", {server.retries:,} {'retry' if server.retries == 1 else 'retries'}" if server.retries else ""
        note = f"; {server.note}" if server.note else ""
        lines.append(f"{server.in_flight} of {server.limit} at {name.rpartition('://')[2]}{again}{note}")
    return lines


def _fit(groups: list[_Group], room: int) -> list[_Group]:
    """Take away what matters least until all fit into so many lines: first from long lists, then whole groups."""
    while sum(group.height for group in groups) > room:
        long = [group for group in groups if group.shrinks and group.height > 2]
        if long:
            max(long, key=lambda group: (group.height, -group.weight)).shrink()
        elif len(groups) == 1:
            break
        else:
            groups.remove(min(groups, key=lambda group: group.weight))
    return groups


def _what_now(view: View) -> str:
    if view.stopping:
        return "stopping: waiting for calls in flight; Ctrl-C stops at once"
    return "Ctrl-C stops; nothing that was paid for is lost"


def _cut(text: str, room: int, mark: str, *, end: bool = False) -> str:
    """At most so many columns of a text, its beginning or its end."""
    from rich.cells import cell_len, chop_cells

    if cell_len(text) <= room:
        return text
    kept = max(1, room - cell_len(mark))
    if end:
        return mark + chop_cells(text[::-1], kept)[0][::-1]
    return chop_cells(text, kept)[0] + mark
