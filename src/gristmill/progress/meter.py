"""What can be said of a run at work: its counters, and what follows from how they move."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from gristmill.engine.flow import Flow
from gristmill.engine.pace import Forecast, Pace, Range, Reading
from gristmill.execute import Live

NOTE_EVERY = 0.9
"""Seconds between two readings of the counters, at least."""

Kind = Literal["start", "progress", "end"]


class Step(msgspec.Struct):
    """One recipe of the run."""

    read: int
    """Units it has worked on: seeds, draws, or rows of the step before."""
    rows: dict[str, int]
    """By table."""
    rejects: dict[str, int]
    """By reason."""
    failures: int
    waiting: int

    @property
    def rejected(self) -> int:
        return sum(self.rejects.values())


class Wall(msgspec.Struct):
    """What one role may spend, where it has a limit of its own."""

    cost: float
    max_cost: float | None
    tokens: int
    max_tokens: int | None


class Server(msgspec.Struct):
    """One endpoint."""

    in_flight: int
    limit: int
    """Calls at once."""
    retries: int
    note: str


class Ahead(msgspec.Struct, rename={"yielded": "yield"}):
    """What is to come: (low, likely, high), about 90 % of the cases between the outer two; None: not known yet."""

    seconds_left: Range | None = None
    cost: Range | None = None
    """USD, of the whole run, what was spent already included."""
    tokens: Range | None = None
    """Of the whole run."""
    yielded: Range | None = None
    """Accepted rows for each candidate, as of now."""


class View(msgspec.Struct):
    """A run at one moment; as JSON, an event. docs/progress.md explains the fields."""

    event: Kind
    seconds: float
    """Since this process began to work."""
    run: str
    name: str
    steps: dict[str, Step]
    rows: int
    """Accepted, of what the target counts: the first table of the last step."""
    target: int | None
    candidates: int
    calls: int
    replayed: int
    input_tokens: int
    output_tokens: int
    tokens_per_second: float
    rows_per_second: float
    cost: float
    max_cost: float | None
    max_tokens: int | None
    roles: dict[str, Wall]
    endpoints: dict[str, Server]
    forecast: Ahead
    stopping: bool
    """Asked to stop, and waiting for calls in flight."""
    stopped: str | None
    """Why the run ended before its time; only in the last event."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def rejects(self) -> dict[str, int]:
        """Of all steps, most common first; in a chain by step and reason."""
        alone = len(self.steps) == 1
        found = {
            reason if alone else f"{name}: {reason}": count
            for name, step in self.steps.items()
            for reason, count in step.rejects.items()
        }
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    @property
    def failures(self) -> int:
        return sum(step.failures for step in self.steps.values())

    @property
    def waiting(self) -> int:
        return sum(step.waiting for step in self.steps.values())


class Meter:
    """Looks at a run, again and again."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._pace = Pace()
        self._ahead = Ahead()
        self._began = time.monotonic()
        self._noted = float("-inf")
        self._counters = (0, 0, 0.0)
        self._replaying = False

    def look(self, event: Kind = "progress", *, stopped: str | None = None) -> View:
        now = time.monotonic()
        if now - self._noted >= NOTE_EVERY or event == "end":
            self._note(now)
        live, flow, ledger = self.live, self.live.flow, self.live.ledger
        budget, halted = ledger.budget, ledger.halt.stopped
        return View(
            event=event,
            seconds=round(now - self._began, 3),
            run=str(live.folder),
            name=live.name,
            steps=_steps(flow),
            rows=flow.last.accepted,
            target=flow.target,
            candidates=flow.candidates,
            calls=ledger.asked,
            replayed=ledger.replayed,
            input_tokens=budget.input_tokens,
            output_tokens=budget.output_tokens,
            tokens_per_second=round(self._pace.tokens_per_second, 2),
            rows_per_second=round(self._pace.rows_per_second, 4),
            cost=budget.cost,
            max_cost=budget.max_cost,
            max_tokens=budget.max_tokens,
            roles={
                name: Wall(wall.cost, wall.max_cost, wall.tokens, wall.max_tokens)
                for name, wall in budget.roles.items()
            },
            endpoints={
                name: Server(server.in_flight, server.limit, server.retries, server.note)
                for name, server in ledger.endpoints.items()
            },
            forecast=self._ahead,
            stopping=bool(halted and halted.reason != "enough"),
            stopped=stopped,
        )

    def _note(self, now: float) -> None:
        self._noted = now
        flow, ledger = self.live.flow, self.live.ledger
        reading = Reading(
            now,
            flow.last.accepted,
            flow.candidates,
            flow.stages[0].finished,
            ledger.budget.cost,
            ledger.budget.input_tokens,
            ledger.budget.output_tokens,
        )
        # What comes out of the journal says nothing of the pace of what has to be asked.
        asked, replayed, made = self._counters
        self._counters = (ledger.asked, ledger.replayed, reading.units + reading.candidates)
        replaying = (
            not ledger.offline and ledger.asked == asked and ledger.replayed > replayed and self._counters[2] > made
        )
        if replaying or self._replaying:  # also the reading in which the one goes over into the other
            self._pace.restart()
        self._replaying = replaying
        self._pace.note(reading)
        found = forecast(flow, self._pace)
        accepted = self._pace.accepted
        self._ahead = (
            Ahead(found.seconds_left, found.cost, found.tokens, accepted) if found else Ahead(yielded=accepted)
        )


def forecast(flow: Flow, pace: Pace) -> Forecast | None:
    """By the target, by the seeds that are left, or by whichever of them ends the run first."""
    found = [pace.forecast(rows=flow.target)]
    first = flow.stages[0].recipe.shape
    # Behind a barrier more is to come than the units of the first step tell.
    if len(flow.segments) == 1 and first != "set" and not flow.again:
        counts = [flow.units, flow.seeds.count if flow.seeds and first == "row" else None]
        known = [count for count in counts if count is not None]
        found.append(pace.forecast(units=min(known)) if known else None)
    return min((ahead for ahead in found if ahead), key=lambda ahead: ahead.seconds_left.likely, default=None)


def _steps(flow: Flow) -> dict[str, Step]:
    steps = {}
    for number, stage in enumerate(flow.stages):
        whole = flow.stages[number - 1].accepted if number else flow.seeds.count if flow.seeds else 0
        tally = stage.tally
        steps[stage.name] = Step(
            whole if stage.recipe.shape == "set" else stage.finished,
            dict(tally.rows),
            dict(tally.rejects),
            tally.failures,
            tally.waiting,
        )
    return steps
