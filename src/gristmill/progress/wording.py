"""How numbers, spans and names are said: on one line, whatever the data holds."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from gristmill.engine.pace import Range
from gristmill.progress.meter import View


def plain(text: str, *, ascii_only: bool = False) -> str:
    """Text for a terminal or a log: no control or format characters, nothing that the terminal cannot show."""
    clean = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    return clean.encode("ascii", "replace").decode() if ascii_only else clean


def money(usd: float) -> str:
    return f"${usd:,.4f}" if abs(usd) < 1 else f"${usd:,.2f}" if abs(usd) < 1000 else f"${usd:,.0f}"


def percent(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}" if value >= 10 or not value else f"{value:.2g}"


def large(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= size:
            return f"{number / (1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{number:,.0f}"


LONGEST = 60
"""Characters of a reason that a log line repeats."""
UNITS = ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h"), (math.inf, 86_400, "days"))
"""Up to how many seconds a unit is used, its seconds, its name."""


def span(low: float, high: float) -> str:
    """Seconds, as a range in the unit that suits its upper end; the lower end in one of its own where that is finer."""
    _, size, unit = _unit(high)
    if low < size and unit != "s":
        return f"{span(low, low).removeprefix('about ')} to {span(high, high).removeprefix('about ')}"
    fine = unit in ("h", "days") and high / size < 10
    said = [f"{value / size:.1f}" if fine else f"{value / size:.0f}" for value in (low, high)]
    return f"about {said[1]} {unit}" if said[0] == said[1] else f"{said[0]} to {said[1]} {unit}"


def _unit(seconds: float) -> tuple[float, int, str]:
    return next(entry for entry in UNITS if seconds < entry[0] or entry is UNITS[-1])


def clock(low: float, high: float, now: datetime | None = None) -> str:
    """When that is, as a range; "" where that is too far away to be worth saying."""
    now = now or datetime.now()
    if high > 6 * 86_400:
        return ""
    form = "%H:%M" if high < 43_200 else "%a %H:%M"
    ends = [(now + timedelta(seconds=seconds)).strftime(form) for seconds in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def finish(left: Range, now: datetime | None = None) -> str:
    if not left.high:
        return "about to end"
    when = clock(left.low, left.high, now)
    return f"done in {span(left.low, left.high)}" + (f" ({when})" if when else "")


def between(usd: Range) -> str:
    """A likely sum of money and its range."""
    low, likely, high = map(money, usd)
    return likely if low == high else f"{likely} ({low} to {high})"


def line(view: View) -> str:
    """A run at one moment, for a log: what a person greps for, always under the same word."""
    rejects = ", ".join(f"{plain(reason)[:LONGEST]} {count}" for reason, count in list(view.rejects.items())[:6])
    said = [f"rows {view.rows}"]
    if view.target:
        said = [f"rows {view.rows} of target {view.target} ({100 * view.rows // view.target} %)"]
    if view.forecast.yielded:
        low, likely, high = (percent(share) for share in view.forecast.yielded)
        said.append(f"yield {likely} % ({low} to {high})")
    said += [
        f"rejects {sum(view.rejects.values())}" + (f" ({rejects})" if rejects else ""),
        f"failures {view.failures}",
    ]
    if view.waiting:
        said.append(f"waiting {view.waiting}")
    said += [
        f"calls {view.calls} ({view.replayed} from the journal)",
        f"tokens {view.tokens} ({view.tokens_per_second:.0f}/s)",
        f"cost {money(view.cost)}" + (f" of {money(view.max_cost)}" if view.max_cost is not None else ""),
    ]
    said += [
        f"{plain(name)} {money(wall.cost)} of {money(wall.max_cost)}"
        for name, wall in view.roles.items()
        if wall.max_cost is not None
    ]
    said += [
        f"in flight {server.in_flight} of {server.limit} at {plain(name)}"
        + (f" ({server.retries} retries)" if server.retries else "")
        + (f" ({plain(server.note)})" if server.note else "")
        for name, server in view.endpoints.items()
    ]
    if view.event != "end":
        if view.forecast.cost and view.forecast.cost.high:
            said.append(f"forecast cost {between(view.forecast.cost)}")
        if view.forecast.seconds_left:
            said.append(finish(view.forecast.seconds_left))
        if view.stopping:
            said.append("stopping: waiting for the calls in flight")
    return f"{plain(view.name)} {view.seconds:.0f} s: {', '.join(said)}"


def opening(view: View) -> str:
    """What runs, and where."""
    servers = ", ".join(f"{plain(name)} ({server.limit} at once)" for name, server in view.endpoints.items())
    before = f", {view.rows} there already" if view.rows else ""
    target = f", target {view.target}" if view.target else ""
    wall = f", at most {money(view.max_cost)}" if view.max_cost is not None else ""
    return f"{plain(view.name)} starts in {plain(view.run)}{target}{before}{wall}" + (
        f", asking {servers}" if servers else ""
    )


def closing(view: View) -> str:
    how = f"stopped: {plain(view.stopped)}" if view.stopped else "finished"
    return f"{line(view)}; {how}"
