"""What a run will cost, before the spend: a small sample is run for real, and the whole is judged by it.

The sample's answers stay in the run's journal, so the run itself, `gristmill resume`, does not pay for them again. Its
seeds are drawn by chance from all of them; its rows are not kept, for they leave in their places when the run is made.

Not known beforehand: what a recipe over a whole set will ask. Of a chain, the steps before the first of those are judged.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.engine.endpoint import Endpoint
from gristmill.engine.flow import Flow, Seeds
from gristmill.engine.journal import Journal
from gristmill.engine.stage import Outcome, Stage, Unit
from gristmill.errors import Stopped
from gristmill.estimate import Range, exact, made, rate, total, until
from gristmill.execute import Config, Part, Watcher, at_work, kept_seeds
from gristmill.rows import Row

SAMPLE = 20
"""Units that are tried, unless the user says otherwise."""


@dataclass
class Role:
    """What one role of one step will use."""

    step: str
    role: str
    models: list[str]
    calls: Range
    input_tokens: Range
    output_tokens: Range
    cost: Range
    """USD."""
    seconds: Range
    """Of its calls, so many at once as its endpoint takes; roles work side by side."""


@dataclass
class Plan:
    """A forecast. Each number is a range: low, likely, high."""

    folder: Path
    name: str
    target: int | None
    sample: int
    """Units that were tried."""
    sample_rows: int
    sample_cost: float
    units: Range
    """Seeds or draws that the run works on."""
    rows: Range
    yields: dict[str, Range]
    """Rows for each row that a step reads, by step."""
    calls: Range
    input_tokens: Range
    output_tokens: Range
    cost: Range
    seconds: Range
    """At as many calls at once as `concurrency` says."""
    concurrency: dict[str, int]
    """Calls at once, by endpoint."""
    roles: list[Role] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What cannot be known, and why."""


def covered(parts: list[Part]) -> list[Part]:
    """The steps that a sample can tell of: those before the first one that sees a whole set."""
    return list(itertools.takewhile(lambda part: part.recipe.shape != "set", parts))


def unknown(parts: list[Part]) -> list[str]:
    """What is not known beforehand, a sentence a step."""
    return [
        f"{part.config.name} works on a whole set, in a loop of its own: what it asks and how many rows it makes depend on "
        "all that it gets and on the answers, so a sample cannot tell. Try --preview, and let --max-cost or --max-tokens "
        "be the wall"
        for part in parts
        if part.recipe.shape == "set"
    ]


async def sample(
    parts: list[Part], config: Config, folder: Path, *, size: int = SAMPLE, watch: Watcher | None = None
) -> Plan:
    """Try some units of a run whose folder was made, and judge the whole by them.

    Raises:
        Stopped: by a wall, before any unit was done.
    """
    tried = covered(parts)
    trace = Trace(len(tried))
    journal = Journal(folder)
    try:
        seeds, count = _some_seeds(tried, config, folder, size)
        options: dict[str, Any] = {"target": None, "max_candidates": None, "keep": False, "trace": trace}
        async with at_work(
            tried, config, folder, journal, watch=watch, seeds=seeds, units=None if seeds else size, **options
        ) as flow:
            stopped = await _until_stopped(flow)
        journal.set_meta(config=config, state="planned")
        await journal.flush()
        if stopped and not trace.rows:
            raise stopped
        found = _judged(trace, journal, tried, config, flow, folder, count)
    finally:
        await journal.close()
    found.notes += unknown(parts)
    if stopped:
        found.notes.append(f"the sample was cut short: {stopped}")
    return found


async def _until_stopped(flow: Flow) -> Stopped | None:
    try:
        await flow.work()
    except Stopped as stop:
        return stop
    return None


def _some_seeds(parts: list[Part], config: Config, folder: Path, size: int) -> tuple[Seeds | None, int | None]:
    """Seeds drawn by chance, and how many there are in all; nothing for recipes that read none."""
    kept = kept_seeds(parts[0].recipe, folder)
    if kept is None:
        return None, None
    count = kept.count if config.units is None else min(config.units, kept.count)
    chosen = sorted(random.Random(config.seed).sample(range(count), min(size, count)))

    def read(start: int) -> Iterator[Row]:
        wanted = iter(chosen[start:])
        number = next(wanted, None)
        for index, row in enumerate(kept.read(0)):
            if number is None:
                return
            if index == number:
                yield row
                number = next(wanted, None)

    return Seeds(read, len(chosen)), count


class Trace:
    """Which unit of the first step each later unit and row comes of."""

    def __init__(self, steps: int) -> None:
        self.rows: dict[str, int] = {}
        """Rows that left the last step, by the first step's units that ended."""
        self.root: dict[tuple[str, str], str] = {}
        """By step and unit."""
        self.made: list[list[int]] = [[] for _ in range(steps)]
        """By step: rows of each unit that it worked on."""
        self._of_row: dict[str, str] = {}

    def __call__(self, stage: Stage, unit: Unit, outcome: Outcome) -> None:
        root = unit.name if stage.number == 0 else self._of_row[unit.parent]
        self.root[stage.name, unit.name] = root
        self.rows.setdefault(root, 0)
        rows = [row for row in outcome.rows if row.table == stage.main]
        self.made[stage.number].append(len(rows))
        for row in rows:
            self._of_row[row.row.id] = root
            self.rows[root] += stage.number == len(self.made) - 1


def _judged(
    trace: Trace, journal: Journal, parts: list[Part], config: Config, flow: Flow, folder: Path, count: int | None
) -> Plan:
    roots = {root: number for number, root in enumerate(trace.rows)}
    rows = np.array(list(trace.rows.values()))
    used: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((4, len(roots))))
    for place, role, input_tokens, output_tokens, cost in journal.select(
        "SELECT place, role, input_tokens, output_tokens, cost FROM calls WHERE model != ''"
    ):
        step, unit, *_ = place.split("/")
        if (root := trace.root.get((step, unit))) is not None:
            used[step, role][:, roots[root]] += (1, input_tokens, output_tokens, cost)
    whole = sum(used.values(), np.zeros((4, len(roots))))
    aim = config.target if len(parts) == len(config.steps) else None
    units = until(np.ones(len(rows)), rows, aim) if aim else exact(float(count or config.units or len(rows)))

    def forecast(quantity: np.ndarray) -> Range:
        return until(quantity, rows, aim) if aim else total(quantity, int(units.likely))

    found = Plan(
        folder=folder,
        name=" > ".join(step.name for step in config.steps),
        target=config.target,
        sample=len(rows),
        sample_rows=int(rows.sum()),
        sample_cost=float(whole[3].sum()),
        units=units,
        rows=exact(float(aim)) if aim else made(rows, int(units.likely)),
        yields={part.config.name: rate(np.array(each)) for part, each in zip(parts, trace.made, strict=True)},
        calls=forecast(whole[0]),
        input_tokens=forecast(whole[1]),
        output_tokens=forecast(whole[2]),
        cost=forecast(whole[3]),
        seconds=_seconds(flow, used, forecast),
        concurrency={endpoint.name: endpoint.limit for endpoint in flow.ledger.endpoints.values()},
    )
    for stage, part in zip(flow.stages, parts, strict=True):
        for role, models in part.config.models.items():
            calls, input_tokens, output_tokens, cost = (forecast(quantity) for quantity in used[stage.name, role])
            each = sum(endpoint.service_seconds / endpoint.limit for endpoint in _endpoints(stage, role)) / len(models)
            seconds = _times(calls, each)
            found.roles.append(Role(stage.name, role, models, calls, input_tokens, output_tokens, cost, seconds))
    if aim and not rows.any():
        found.notes.append("no row came through, so there is no telling what it takes: look with --preview")
    elif count is not None and aim and units.likely > count:
        found.notes.append(
            f"{count:,} seeds are not enough for {aim:,} rows: they would be used about {units.likely / count:,.1f} times, "
            "with new draws"
        )
    return found


def _seconds(flow: Flow, used: dict[tuple[str, str], np.ndarray], forecast: Callable[[np.ndarray], Range]) -> Range:
    """The busiest endpoint's calls, so many at once."""
    longest = exact(0.0)
    for endpoint in flow.ledger.endpoints.values():
        roles = [
            (stage.name, role)
            for stage in flow.stages
            for role in stage.recipe.roles
            if endpoint in _endpoints(stage, role)
        ]
        calls = sum((used[key][0] for key in roles if key in used), np.zeros(1))
        here = _times(forecast(calls), endpoint.service_seconds / endpoint.limit)
        # The last unit's calls come one after the other, with nothing beside them.
        tail = float(calls.max()) * endpoint.service_seconds
        if here.likely >= longest.likely:
            longest = Range(here.low, here.likely + tail / 2, here.high + tail)
    return longest


def _endpoints(stage: Stage, role: str) -> list[Endpoint]:
    bound = stage.bound.roles[role]
    return [handle.endpoint for handle in (bound if isinstance(bound, list) else [bound]) if handle is not None]


def _times(found: Range, factor: float) -> Range:
    return Range(found.low * factor, found.likely * factor, found.high * factor)
