"""Works through the steps of a run: rows stream from step to step, and a recipe over a whole set is the only barrier.

A worker takes units from the last step that has some, so what is under way leaves before more is begun. Where a target
is set, no more units start than the yield so far calls for; seeds that end are used again, with new draws.

A target behind a barrier is reached in rounds. The steps before it make so many rows; the barrier and what follows work
on exactly those; if too few leave, the steps before make more, and the rest is done again over the journal: only what
is new is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

from gristmill.engine.calls import Ledger
from gristmill.engine.database import PROGRESS, Statement
from gristmill.engine.run import describe, ends_the_run
from gristmill.engine.scope import Failure
from gristmill.engine.stage import Outcome, Stage, Unit, Unreadable, passes
from gristmill.engine.tally import Tally, total
from gristmill.errors import DiskTrouble, Stopped, Waiting
from gristmill.rows import Lineage, Row, Rows, brought

AHEAD = 20_000
"""Places that units may run ahead of the slowest one; bounds what waits in memory to be released."""
BACKLOG = 20_000
"""Entries in the journal's queue beyond which no new unit starts."""
QUEUED = 256
"""Rows in front of a step beyond which a recipe over a whole set waits before it makes more."""
DROUGHT = 500
"""Candidates of a step, in a row of places, of which none was accepted: its yield is near zero, and more of the same
would not help. Of a step and not of the run: while a late step works, early ones may reject any number."""
CANDIDATES = 50
"""Candidates for each row of the target, at most, unless the user says otherwise; never fewer than 200."""


@dataclass
class Seeds:
    """What the first step reads."""

    read: Callable[[int], Iterator[Row]]
    """The seeds from a number on."""
    count: int


class Flow:
    """The steps of one run, being worked on."""

    def __init__(
        self,
        stages: list[Stage],
        ledger: Ledger,
        *,
        seeds: Seeds | None = None,
        target: int | None = None,
        max_candidates: int | None = None,
        units: int | None = None,
        keep: bool = True,
        trace: Callable[[Stage, Unit, Outcome], None] | None = None,
    ) -> None:
        """
        Args:
            target: rows of the last step to stop at.
            max_candidates: rows and what came to nothing, together, to stop at. Default: CANDIDATES and DROUGHT.
            units: places of the first step to stop at.
            keep: journal the outcomes; without, only calls are kept.
            trace: called with each finished unit.
        """
        self.stages = stages
        self.ledger = ledger
        self.seeds = seeds
        self.target = target
        self.max_candidates = max_candidates
        self.units = units
        self.keep = keep
        self.trace = trace
        self.work_on: Callable[[Stage, Unit], Awaitable[Outcome]] = Stage.work
        """Makes the outcome of a unit that was taken: elsewhere, where there is a cluster."""
        cuts = [i for i, stage in enumerate(stages) if i and stage.recipe.shape == "set"]
        self.segments = [stages[a:b] for a, b in itertools.pairwise([0, *cuts, len(stages)])]
        """The steps between barriers; each segment but the first begins with a recipe over a whole set."""
        # Only where that can give other rows: what lies behind a barrier, chance there included, gets no copy to see.
        chance = any(stage.recipe.roles or stage.recipe.wants_run for stage in self.segments[0])
        # A recipe that goes on for ever makes the rows that the target asks for itself, of whatever comes before it.
        self._fed = any(stage.recipe.endless for segment in self.segments[1:] for stage in segment)
        self.again = (
            chance and not self._fed and target is not None and units is None and stages[0].recipe.shape == "row"
        )
        """Seeds that end are used again."""
        self.round_size: int | None = None
        """Rows that the first segment makes in this round, where a target lies behind a barrier."""
        self._segment = self.segments[0]
        self._workers: set[asyncio.Task[None]] = set()
        self._turns = 0
        self._error: BaseException | None = None
        self._still: asyncio.Future[None] | None = None
        self._moved: asyncio.Future[None] | None = None
        self._writing = False

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    @property
    def tally(self) -> Tally:
        return total([stage.tally for stage in self.stages])

    @property
    def candidates(self) -> int:
        found = self.last.accepted + self.last.beside
        for stage in self.segments[-1]:
            found += stage.lost
        for segment in reversed(self.segments[:-1]):  # what a whole set passes over in silence came to nothing too
            found = max(found, segment[-1].accepted)
            for stage in segment:
                found += stage.lost
        return found

    @property
    def enough(self) -> bool:
        return self.target is not None and self.last.accepted >= self.target

    async def work(self) -> None:
        """Run to the end.

        Raises:
            Stopped: the run was stopped; what was released is kept.
            BadInput, EndpointDown, DiskTrouble: the run cannot go on; likewise.
        """
        self._recall()
        try:
            while True:
                for segment in self.segments:
                    await self._work_segment(segment)
                if not self._worth_a_round():
                    break
                await self._next_round()
        finally:
            for task in self._workers:  # none is left, unless this very task was cancelled
                task.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
            self._write()
        for stage in self.stages:
            self._mark_done(stage)
        self._write()

    def _recall(self) -> None:
        journal, head = self.ledger.journal, self.segments[0]
        if self.again:
            head[-1].remember_contents()
        for stage in self.stages if self.keep else ():
            stage.recall(journal)
        for stage in self.stages if self.keep else ():
            if stage.recipe.shape == "set" and not stage.done and not self.enough:
                journal.rewind(stage.number, 0)  # replayed as a whole
                stage.restart()
        if self.again and self.seeds:
            head[0].repeat_from(self.seeds.count, journal)
        if self.target is not None and len(self.segments) > 1:
            self.round_size = (journal.meta("round_size") if self.keep else None) or self.target
        self.last.limit = self.target

    # -- segments

    async def _work_segment(self, segment: list[Stage]) -> None:
        if self.enough or all(stage.done for stage in segment):
            return
        self._segment = segment
        self._connect(segment)
        self._still = asyncio.get_running_loop().create_future()
        if segment[0].recipe.shape == "set" and not segment[0].done:
            await self._flush()  # it reads what was made before it
            self._start(self._whole_set(segment[0]))
        self.pump()
        if self._workers:
            await self._still
        if self._error:
            raise self._error
        self._stop()
        for stage in segment if self.round_size is None or segment is not self.segments[0] else ():
            self._mark_done(stage)

    def _connect(self, segment: list[Stage]) -> None:
        """Give each step of a segment what it works on."""
        first = segment[0]
        if first.recipe.shape == "row":
            assert self.seeds
            found = passes(self.seeds.read, self.seeds.count, first.released, again=self.again)
            first.read(itertools.islice(found, self._units_left))
        elif first.recipe.shape == "draw":
            numbers = ((str(number), None, "") for number in itertools.count(first.released))
            first.read(itertools.islice(numbers, self._units_left))
        for upstream, stage in itertools.pairwise(segment):
            replayed = upstream.recipe.shape == "set" and not upstream.done  # it will say all its rows again
            before = 0 if replayed or not self.keep else upstream.accepted
            stage.follow(upstream.rows(self.ledger.journal, before))
            stage.repeat_from(upstream.first_pass_rows, self.ledger.journal)

    @property
    def _units_left(self) -> int | None:
        return None if self.units is None else max(0, self.units - self.stages[0].released)

    def _mark_done(self, stage: Stage) -> None:
        if not stage.done:
            stage.done = stage.changed = True
            self._write_soon()

    # -- rounds

    def _goal(self, segment: list[Stage]) -> int | None:
        """Rows that are wanted of the last step of a segment; None: all that it makes."""
        if segment is self.segments[-1]:
            return self.target
        if segment is self.segments[0] and self._fed and segment[0].recipe.bounded:
            return None
        sized = segment is self.segments[0] or any(stage.recipe.endless for stage in segment)
        return self.round_size if sized else None

    @property
    def _reached(self) -> bool:
        goal = self._goal(self._segment)
        return goal is not None and self._segment[-1].accepted >= goal

    def _worth_a_round(self) -> bool:
        """Too few rows left, and the steps before a barrier can make more than they did."""
        if self.round_size is None or self.enough:
            return False
        if any(segment[0].tally.failures for segment in self.segments[1:]):
            return False  # a recipe over a whole set broke off, and would again
        goals = [(segment[-1].accepted, self._goal(segment)) for segment in self.segments[:-1]]
        return any(goal is not None and made >= goal for made, goal in goals)

    async def _next_round(self) -> None:
        """Ask the first segment for more rows, by the share that left the last time."""
        assert self.round_size is not None
        assert self.target is not None
        if not self.last.accepted and self.max_candidates is None and self.candidates >= DROUGHT:
            self._give_up(f"{DROUGHT} candidates")
        if self._check_candidates() or self.ledger.halt.stopped:
            self._stop()
        share = max(self.last.accepted, 0.5) / self.round_size
        self.round_size = max(self.round_size + 1, min(4 * self.round_size, math.ceil(1.1 * self.target / share)))
        await self._flush()
        self.ledger.journal.expect_repeats()
        head = self.segments[0]
        whole = head[:1] if head[0].recipe.shape == "set" else []  # it begins anew; the steps behind it go on
        self._begin_anew(whole)
        for stage in head:
            stage.done = False
        await self._work_segment(head)
        await self._flush()
        self._begin_anew(itertools.chain(*self.segments[1:]))  # not before: a stop leaves what the last round gave
        if self.keep:
            self.ledger.journal.set_meta(round_size=self.round_size)

    def _begin_anew(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            if self.keep:
                self.ledger.journal.rewind(stage.number, 0)
            stage.restart()

    # -- units

    def pump(self) -> None:
        """Start as many workers as there are units and calls' worth of room for them."""
        if self._still is None or self._still.done():
            return
        room = self.ledger.width - len(self._workers)
        try:
            while room > 0 and (job := self._next()):
                self._start(self._worker(*job))
                room -= 1
        except Exception as error:  # noqa: BLE001 - of what is read; raised where the segment is waited for
            self._error = self._error or error
            self.ledger.halt.stop(Stopped("error", str(error)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._workers.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        self._wake()  # also where the worker failed: nothing else may be left to do it
        self.pump()
        if not self._workers and self._still and not self._still.done():
            self._still.set_result(None)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What stops one worker halts the others, but what they have in flight is paid for: it is let arrive."""
        try:
            await work
        except Stopped as stop:
            self.ledger.halt.stop(stop)
        except BaseException as error:
            self._error = self._error or error
            self.ledger.halt.stop(Stopped("error", str(error)))
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _worker(self, stage: Stage, unit: Unit) -> None:
        while True:
            outcome = await self.work_on(stage, unit)
            if self.trace:
                self.trace(stage, unit, outcome)
            stage.put(unit.place, outcome)
            self._settle(stage)
            await self._breathe()
            # Fewer, where an endpoint takes less than it did.
            job = self._next() if len(self._workers) <= self.ledger.width else None
            if job is None:
                return
            stage, unit = job

    async def _breathe(self) -> None:
        """What asks nothing would never let the loop breathe, nor the journal keep up."""
        self._turns += 1
        if self._turns % 64 == 0:
            await asyncio.sleep(0)
            if self.ledger.journal.backlog > BACKLOG:
                await self.ledger.journal.flush()

    def _next(self) -> tuple[Stage, Unit] | None:
        """The next unit that should be worked on: of the last step that has one."""
        if self.ledger.halt.stopped or self._reached or self._check_candidates():
            return None
        for number in range(len(self._segment) - 1, -1, -1):
            stage = self._segment[number]
            behind = self._segment[number + 1] if number + 1 < len(self._segment) else None
            crowded = behind is not None and stage.accepted - behind.started > AHEAD
            ahead = stage.started - stage.released >= AHEAD
            if stage.recipe.shape == "set" or ahead or crowded or not self._needed(number):
                continue
            if (unit := stage.take()) is not None:
                return stage, unit
        return None

    def _needed(self, number: int) -> bool:
        """Near the target, start no more units of a step than the yield so far calls for."""
        segment = self._segment
        goal = self._goal(segment)
        if goal is None:
            return True
        if segment[-1].accepted >= goal or not any(stage.active for stage in segment):
            return segment[-1].accepted < goal
        coming = 0.0
        for index, stage in enumerate(segment[number:]):
            queued = segment[number + index - 1].accepted - stage.started if index else 0
            rate = (stage.accepted + stage.held + 1) / (stage.finished + 1)
            coming = stage.held + rate * (stage.active + queued + coming)
        return segment[-1].accepted + coming < goal

    def _settle(self, stage: Stage) -> None:
        """Let leave what a step has finished, and hand it to the step behind."""
        left = stage.release()
        if stage.changed:
            self._write_soon()
        if left:
            after = stage.number + 1
            if after < len(self.stages) and self.stages[after].recipe.shape == "row":
                self.stages[after].repeat_from(stage.first_pass_rows, self.ledger.journal)
                for data in left:
                    self.stages[after].feed(data)
                self.pump()
        if self.enough and self.last.recipe.shape != "set":
            # What is still in flight lies beyond the last row: it may finish its call, but start no other.
            self.ledger.halt.stop(Stopped("enough", "the target is met"))
        self._wake()

    def _wake(self) -> None:
        """Let a recipe over a whole set that waits look again at what is in front of the steps behind it."""
        if self._moved and not self._moved.done():
            self._moved.set_result(None)

    def _check_candidates(self) -> bool:
        """Stop where too little comes of too much. True if so."""
        if self.max_candidates is not None:
            if self.candidates < self.max_candidates:
                return False
            self._give_up(f"--max-candidates {self.max_candidates}")
        elif self.target is None or not self._endless:
            return False
        elif dry := next((stage for stage in self._segment if stage.dry >= DROUGHT), None):
            of = f" of {dry.name}" if len(self.stages) > 1 else ""
            self._give_up(f"none of the last {DROUGHT} candidates{of} was accepted")
        elif self.candidates < max(200, CANDIDATES * self.target):
            return False
        else:
            self._give_up(f"{CANDIDATES} candidates for each row of the target")
        return True

    @property
    def _endless(self) -> bool:
        return self.again or not all(stage.recipe.bounded for stage in self.stages)

    def _give_up(self, why: str) -> None:
        self.ledger.halt.stop(Stopped("candidates", why))

    def _stop(self) -> None:
        """Raise what stopped the run, now that nothing is in flight any more; that the target is met is no such thing."""
        stopped = self.ledger.halt.stopped
        if stopped is None or stopped.reason == "enough":
            self.ledger.halt.stopped = None
            return
        if stopped.reason == "candidates":
            tally = self.tally
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.rejects.most_common(5)) or "none"
            failed = f"; failed: {tally.failures:,}" if tally.failures else ""
            stopped = self.ledger.halt.stopped = Stopped(
                stopped.reason,
                f"{stopped}: {self.candidates:,} candidates gave {self.last.accepted:,} accepted rows; "
                f"rejected: {reasons}{failed}. A higher --max-candidates goes on",
            )
        raise Stopped(stopped.reason, str(stopped))

    # -- whole sets

    async def _whole_set(self, stage: Stage) -> None:
        found = list(self._set_of(stage))
        came = {id(row) for row in found}
        for row in found:
            if isinstance(row, Row):  # what the step before did with it is that step's to tell
                known = brought(row)
                row.lineage = Lineage(known.seed or row.id, [row.id], [], {}, known.generation)
        scope, made = stage.whole(Rows(row for row in found if isinstance(row, Row)))
        scope.failures += [Failure(scope.place, r.error, "failed", r.data) for r in found if isinstance(r, Unreadable)]
        stage.watch = lambda: self._after_reject(stage)
        try:
            async for row in made:
                passed = id(row) in came  # the set keeps it under the name that it came with
                stage.put_whole(scope, [stage.stamp(copy(row) if passed else row, "*", scope, passed=passed)])
                self._settle(stage)
                await self._ease(stage)
                await self._breathe()
                if self._reached:
                    break
                self.ledger.halt.check()  # it may ask nothing, and so would never hear of it
        except Exception as error:
            if ends_the_run(error):
                raise
            kind = "waiting" if isinstance(error, Waiting) else "failed"
            scope.failures.append(Failure(scope.place, describe(error), kind))
        finally:
            await made.aclose()  # type: ignore[attr-defined]
        stage.put_whole(scope, [])
        self._settle(stage)

    def _set_of(self, stage: Stage) -> Iterator[Row | Unreadable]:
        """All that a recipe over a whole set gets to see."""
        if stage.number == 0:
            return self.seeds.read(0) if self.seeds else iter(())
        upstream = self.stages[stage.number - 1]
        most = self._goal(next(segment for segment in self.segments if segment[-1] is upstream))
        rows = upstream.rows(self.ledger.journal, upstream.accepted if most is None else most)
        return (stage.adopt(data)[1] for data in rows)

    def _after_reject(self, stage: Stage) -> None:
        self._settle(stage)
        if self._check_candidates():
            self.ledger.halt.check()

    async def _ease(self, stage: Stage) -> None:
        """Let the steps behind catch up before more is made for them."""
        if stage is self._segment[-1]:
            return
        while self._crowded(stage) and not self._reached and not self.ledger.halt.stopped:
            self._moved = asyncio.get_running_loop().create_future()
            await self._moved

    def _crowded(self, stage: Stage) -> bool:
        queued = stage.accepted - self.stages[stage.number + 1].started
        return queued > 0 and (queued > QUEUED or not self._needed(0))

    # -- the journal

    def _write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        """What was released since the last time, of all steps, in one transaction."""
        self._writing = False
        statements: list[Statement] = []
        for stage in self.stages:
            if stage.changed:
                statements += stage.statements()
                statements.append((PROGRESS, (stage.number, stage.released, int(stage.done), stage.tally.encode())))
        if not statements or not self.keep:
            return
        try:
            self.ledger.journal.put_later(statements)
        except DiskTrouble as error:
            self._error = self._error or error
            self.ledger.halt.stop(Stopped("error", str(error)))

    async def _flush(self) -> None:
        self._write()
        await self.ledger.journal.flush()
