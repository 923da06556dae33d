"""Works through the units of a step, and lets their rows leave in place order.

Units (seed rows, draws) run side by side and finish in any order; their outcomes are released in the order of places.
Only there gates are applied and the target is counted, so neither timing nor concurrency can shape the data. What was
released is final: a resumed run goes on behind it, and replays the few units that had finished but not left.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gristmill.contract import Recipe
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.database import FAILURE, PROGRESS, REJECT, ROW, Statement
from gristmill.engine.run import Run, describe, ends_the_run
from gristmill.engine.scope import Failure, Reject, Scope
from gristmill.errors import Stopped, Waiting
from gristmill.rows import Lineage, Row, Rows, content, digest, table

AHEAD = 20_000
"""Places that units may run ahead of the slowest one; bounds what waits in memory to be released."""
BACKLOG = 2_000
"""Transactions in the journal's queue beyond which no new unit starts."""

_encode = msgspec.json.Encoder().encode


@dataclass
class Tally:
    """What a run has made so far; read by whoever shows progress."""

    rows: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    waiting: int = 0
    barren: int = 0
    """Units of which nothing came at all."""

    @property
    def candidates(self) -> int:
        """Failures and empty units count: a run that makes rows from nothing must end where only those come."""
        return sum(self.rows.values()) + sum(self.rejects.values()) + self.failures + self.barren


@dataclass(slots=True)
class Made:
    """A row as it left the recipe: what the recipe does to the object later is not the row's any more."""

    row: Row
    table: str
    data: bytes


@dataclass(slots=True)
class Outcome:
    """All that came of a unit."""

    rows: list[Made]
    rejects: list[Reject]
    failures: list[Failure]


@dataclass
class Step:
    """A recipe with everything it needs to run: what a chain will hold several of."""

    recipe: Recipe
    roles: dict[str, Handle | list[Handle] | None]
    settings: dict[str, Any]
    seeds: Callable[[], Iterator[Row]] | None
    inputs: dict[str, Rows[Any]]
    number: int = 0


class Schedule:
    """One step being run."""

    def __init__(
        self,
        step: Step,
        ledger: Ledger,
        tally: Tally,
        *,
        seed: int,
        target: int | None,
        max_candidates: int | None,
        units: int | None,
        concurrency: int,
    ) -> None:
        self.step = step
        self.recipe = step.recipe
        self.ledger = ledger
        self.tally = tally
        self.seed = seed
        self.target = target
        self.max_candidates = max_candidates
        self.units = units
        self.concurrency = concurrency
        self.name = f"{step.number}-{self.recipe.name}"
        self.main = table(self.recipe.tables[0])
        self.decoders = {row: msgspec.json.Decoder(row) for row in self.recipe.tables}
        self.released = 0
        self.accepted = 0
        self._pending: dict[int, Outcome] = {}
        self._active = 0
        self._started = 0
        self._moved = asyncio.Event()
        self._keys: set[str] = set()

    async def work(self) -> None:
        """Run the step to its end.

        Raises:
            Stopped: the run was stopped; what was released is kept.
            BadInput, EndpointDown, DiskTrouble: the run cannot go on; likewise.
        """
        done = self.ledger.journal.progress(self.step.number).done
        if self.recipe.shape == "set" and not done:
            self.ledger.journal.rewind(self.step.number, 0)  # replayed as a whole
        self._recall()
        if done:
            return
        if self.recipe.shape == "set":
            await self._work_whole()
        else:
            await self._work_units()
        self._finish()

    def _recall(self) -> None:
        """Continue where the journal ends: counts, and the keys of rows that already left."""
        journal, number = self.ledger.journal, self.step.number
        self.released = journal.progress(number).released
        for name, count in journal.select("SELECT name, COUNT(*) FROM rows WHERE step=? GROUP BY name", (number,)):
            self.tally.rows[name] += count
        for reason, count in journal.select(
            "SELECT reason, COUNT(*) FROM rejects WHERE step=? GROUP BY reason", (number,)
        ):
            self.tally.rejects[reason] += count
        self.tally.failures += journal.count("failures", "step=? AND kind='failed'", (number,))
        self.tally.waiting += journal.count("failures", "step=? AND kind='waiting'", (number,))
        self.accepted = self.tally.rows[self.main]
        if self.recipe.unique:
            decoders = {table(row): decoder for row, decoder in self.decoders.items()}
            for name, data in journal.select("SELECT name, data FROM rows WHERE step=?", (number,)):
                self._keys.add(self._key(decoders[name].decode(data)))

    # -- units: seed rows or draws

    async def _work_units(self) -> None:
        source = itertools.islice(self._source(), self.released, self.units)
        numbered = enumerate(source, start=self.released)
        self._started = self.released
        workers = [asyncio.create_task(self._worker(numbered)) for _ in range(self.concurrency)]
        try:
            # A worker that fails halts the others, but what they have in flight is paid for: it is let arrive.
            results = await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for worker in workers:
                worker.cancel()
        for error in results:
            if isinstance(error, BaseException):
                raise error
        if self._enough():
            self.ledger.halt.stopped = None
        self.ledger.halt.check()

    def _source(self) -> Iterator[tuple[str, Row | None]]:
        if self.step.seeds is None:
            return ((str(number), None) for number in itertools.count())
        return ((row.id, row) for row in self.step.seeds())

    async def _worker(self, numbered: Iterator[tuple[int, tuple[str, Row | None]]]) -> None:
        try:
            while await self._room():
                unit = next(numbered, None)
                if unit is None:
                    return
                place, (name, row) = unit
                self._started = place + 1
                self._active += 1
                try:
                    outcome = await self._unit(name, row)
                finally:
                    self._active -= 1
                self._pending[place] = outcome
                self._release()
                if place % 64 == 0:
                    await asyncio.sleep(0)  # a recipe without calls would never let the loop breathe
        except Stopped as stop:
            self.ledger.halt.stop(stop)
        except BaseException as error:
            self.ledger.halt.stop(Stopped("error", str(error)))
            raise
        finally:
            self._moved.set()

    async def _room(self) -> bool:
        """Wait until another unit may start; False when none is needed."""
        while True:
            if self.ledger.halt.stopped or self._enough():
                return False
            if self.max_candidates is not None and self.tally.candidates >= self.max_candidates:
                self.ledger.halt.stop(_too_many(self.accepted, self.tally))
                return False
            if self._started - self.released >= AHEAD or not self._likely_needed():
                self._moved.clear()
                await self._moved.wait()
            elif self.ledger.journal.backlog > BACKLOG:
                await self.ledger.journal.flush()
            else:
                return True

    def _enough(self) -> bool:
        return self.target is not None and self.accepted >= self.target

    def _likely_needed(self) -> bool:
        """Near the target, start no more units than the yield so far calls for."""
        if self.target is None or not self._active:
            return True
        finished = self.released + len(self._pending)
        waiting = sum(made.table == self.main for outcome in self._pending.values() for made in outcome.rows)
        made = self.accepted + waiting
        rate = (made + 1) / (finished + 1)
        return made + self._active * rate < self.target

    async def _unit(self, name: str, row: Row | None) -> Outcome:
        scope = Scope(f"{self.name}/{name}", name)
        if row is not None:
            scope.lineage.seed = row.id
            scope.lineage.parents = [row.id]
        scope.enter()
        rows: list[Made] = []
        failures: list[Failure] = []
        try:
            async for made in self._call(row):
                rows.append(self._stamp(made, name, scope))
        except Exception as error:
            if ends_the_run(error):
                raise
            kind = "waiting" if isinstance(error, Waiting) else "failed"
            failures.append(Failure(scope.place, describe(error), kind, content(row) if row is not None else None))
        return Outcome(rows, scope.rejects, [*scope.failures, *failures])

    # -- whole sets

    async def _work_whole(self) -> None:
        scope = Scope(f"{self.name}/*", "*", open_ended=True)
        scope.enter()
        rows = self._call(Rows(self.step.seeds() if self.step.seeds else ()))
        try:
            async for made in rows:
                self._flush(scope, [self._stamp(made, "*", scope)])
                if self._enough():
                    break
        except Stopped as stop:
            self.ledger.halt.stop(stop)
            raise
        except Exception as error:
            if ends_the_run(error):
                raise
            scope.failures.append(Failure(scope.place, describe(error)))
        finally:
            await rows.aclose()  # type: ignore[attr-defined]
        self._flush(scope, [])

    def _flush(self, scope: Scope, rows: list[Made]) -> None:
        self._pending[self.released] = Outcome(rows, scope.rejects, scope.failures)
        scope.rejects, scope.failures = [], []
        self._release()

    # -- both

    def run(self) -> Run:
        return Run(self.ledger, seed=self.seed, target=self.target, on_reject=self._watch)

    def _call(self, first: Row | Rows[Any] | None) -> AsyncIterator[Row]:
        step = self.step
        given: dict[str, Any] = {**step.roles, **step.inputs, **step.settings}
        if self.recipe.wants_run:
            given["run"] = self.run()
        return self.recipe.fn(*(() if first is None else (first,)), **given)

    def _watch(self, scope: Scope) -> None:
        """A loop over a whole set keeps its rejects at once, and must end even if it only rejects."""
        if scope.open_ended and (scope.rejects or scope.failures):
            self._flush(scope, [])
            if self.max_candidates is not None and self.tally.candidates >= self.max_candidates:
                raise _too_many(self.accepted, self.tally)

    def _stamp(self, row: Row, unit: str, scope: Scope) -> Made:
        """Give a row its name and its lineage as it leaves the recipe, and see that it is what its type says."""
        decoder = self.decoders.get(type(row))
        if decoder is None:
            known = " or ".join(row.__name__ for row in self.recipe.tables)
            raise TypeError(f"{self.recipe.name} yielded {type(row).__name__}; its signature promises {known}")
        row.id = digest("row", self.name, unit, scope.occurrence("row"))
        known_lineage = row.lineage or scope.lineage
        row.lineage = Lineage(
            known_lineage.seed, list(known_lineage.parents), list(known_lineage.calls), dict(known_lineage.draws)
        )
        data = _encode(row)
        decoder.decode(data)
        return Made(row, table(type(row)), data)

    def _release(self) -> None:
        while not self._enough() and (outcome := self._pending.pop(self.released, None)) is not None:
            self._leave(self.released, outcome)
            self.released += 1
        if self._enough() and self.recipe.shape != "set":
            # What is still in flight lies beyond the last row: it may finish its call, but start no other.
            self.ledger.halt.stop(Stopped("enough", "the target is met"))
        self._moved.set()

    def _leave(self, place: int, outcome: Outcome) -> None:
        number = self.step.number
        statements: list[Statement] = []
        rejects = outcome.rejects
        seq = 0
        for made in outcome.rows:
            if self._enough():
                break  # the rest of a unit that made more than was asked for
            if self.recipe.unique and not self._first_of_its_kind(made, rejects):
                continue
            statements.append((ROW, (number, place, seq, made.table, made.row.id, made.data)))
            seq += 1
            self.tally.rows[made.table] += 1
            self.accepted += made.table == self.main
        for seq, reject in enumerate(rejects):
            statements.append((REJECT, (number, place, seq, reject.reason, _encode(reject))))
            self.tally.rejects[reject.reason] += 1
        for seq, failure in enumerate(outcome.failures):
            statements.append((FAILURE, (number, place, seq, failure.kind, _encode(failure))))
            if failure.kind == "waiting":
                self.tally.waiting += 1
            else:
                self.tally.failures += 1
        self.tally.barren += not statements and self.recipe.shape != "set"
        statements.append((PROGRESS, (number, place + 1, 0)))
        self.ledger.journal.put_later(statements)

    def _first_of_its_kind(self, made: Made, rejects: list[Reject]) -> bool:
        key = self._key(made.row)
        if key in self._keys:
            plain = {"type": type(made.row).__name__, **content(made.row)}
            rejects.append(Reject("duplicate", plain, {"key": key}, made.row.lineage.calls if made.row.lineage else []))
            return False
        self._keys.add(key)
        return True

    def _key(self, row: Row) -> str:
        unique = self.recipe.unique
        return str(getattr(row, unique)) if isinstance(unique, str) else unique(row) if unique else ""

    def _finish(self) -> None:
        self.ledger.journal.put_later([(PROGRESS, (self.step.number, self.released, 1))])


def _too_many(accepted: int, tally: Tally) -> Stopped:
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.rejects.most_common(5)) or "none"
    failed = f"; failed: {tally.failures}" if tally.failures else ""
    return Stopped(
        "candidates",
        f"--max-candidates: {tally.candidates} candidates gave {accepted} accepted rows; rejected: {reasons}{failed}",
    )
