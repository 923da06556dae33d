"""One recipe of a run at work: makes outcomes of its units, and lets their rows leave in place order.

Units (seed rows, draws, rows of the step before) run side by side and finish in any order; their outcomes are released
in the order of places. Only there gates are applied and rows are counted, so neither timing nor concurrency can shape
the data. What was released is final: a resumed run goes on behind it, and replays the few units that had finished but
not left.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec

from gristmill.contract import Recipe
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.database import FAILURE, REJECT, ROW, Statement
from gristmill.engine.journal import Journal
from gristmill.engine.run import Run, describe, ends_the_run
from gristmill.engine.scope import Failure, Reject, Scope
from gristmill.engine.tally import Tally
from gristmill.errors import Waiting
from gristmill.rows import Lineage, Row, Rows, brought, content, digest, name_of, table
from gristmill.seen import Occurrences, Seen

PAGE = 1000
"""Rows of the step before that are read at once, of those that a stopped run had made."""

_encode = msgspec.json.Encoder().encode
_stable = msgspec.json.Encoder(order="deterministic").encode


@dataclass
class Unreadable:
    """A row of the step before that does not fit the type that this one reads."""

    id: str
    error: str
    data: dict[str, Any]


class Unit(NamedTuple):
    """A seed row or a draw, at its place in the step."""

    place: int
    name: str
    row: Row | Unreadable | None
    parent: str
    """The row's id; the row's own field may be another by the end, where a recipe yields what it read."""
    seed: str
    """Id of the seed that it comes from, through however many steps."""
    generation: int = 0
    """Of the row."""


Source = Iterator[tuple[str, Row | Unreadable | None, str]]
"""Name, row and seed of each unit; no name where there is none for now."""
NOTHING = ("", None, "")


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
class Bound:
    """A recipe with everything it needs to run."""

    recipe: Recipe
    name: str
    """Of the step, the first part of every place in it: the recipe's name, with a number if it comes again."""
    roles: dict[str, Handle | list[Handle] | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Rows[Any] | None] = field(default_factory=dict)
    mapping: dict[str, str] = field(default_factory=dict)
    """Column of the recipe to column of the step before, where they differ."""
    prepare: Callable[[], object] = lambda: None
    """Called in a unit's own context before its recipe."""


class Stage:
    """One step of a run, at work."""

    def __init__(self, bound: Bound, number: int, ledger: Ledger, *, seed: int, target: int | None) -> None:
        self.bound = bound
        self.recipe = bound.recipe
        self.name = bound.name
        self.number = number
        self.main = table(self.recipe.tables[0])
        self.accepted = self.lost = self.beside = (
            0  # of the tally, where looking is quick: these are asked for all the time
        )
        """Rows of the main table that left; what came to nothing; rows of the other tables."""
        self._count(Tally())
        self.released = 0
        """Places whose outcome stands: all below this one."""
        self.started = 0
        self.active = 0
        self.dry = 0
        """Candidates in a row, in the order of places, that came to nothing."""
        self.held = 0
        """Rows of the main table that are finished and wait for their turn to leave."""
        self.done = False
        self.changed = False
        """Something was released since `statements` was last called."""
        self.first_pass: int | None = None
        """Units from this place on come of seeds that were used before: see `repeat_from`."""
        self.first_pass_rows: int | None = None
        """Rows that left before it, once it was reached."""
        self._contents: Seen | None = None
        self.limit: int | None = None
        """Rows of the main table after which nothing leaves any more."""
        self._pending: dict[int, Outcome] = {}
        self._statements: list[Statement] = []
        self._decoders = {row: msgspec.json.Decoder(row) for row in self.recipe.tables}
        self._unique = Seen() if self.recipe.unique else None
        self._source: Source = iter(())
        self._inbox: deque[bytes] = deque()
        self._names = Occurrences()
        self._by_content = self.recipe.shape == "row" and bool(self.recipe.roles)
        self._adopt = msgspec.json.Decoder(self.recipe.seed).decode if self.recipe.seed else None
        given: dict[str, Any] = {**bound.roles, **bound.inputs, **bound.settings}
        if self.recipe.wants_run:
            given["run"] = Run(ledger, step=number, seed=seed, target=target, on_reject=self._on_reject)
        self._fn = partial(self.recipe.fn, **given)
        self.watch: Callable[[], None] = lambda: None
        """Called when a recipe over a whole set has put something aside."""

    def _count(self, tally: Tally) -> None:
        self.tally = tally
        self.accepted = tally.rows[self.main]
        self.beside = sum(tally.rows.values()) - self.accepted
        self.lost = tally.lost

    @property
    def finished(self) -> int:
        """Units that ended, whether or not they were released."""
        return self.released + len(self._pending)

    @property
    def gated(self) -> bool:
        """Rows are looked at as they leave."""
        return self._unique is not None or self._contents is not None

    @property
    def decode(self) -> Callable[[bytes], Row] | None:
        """Reads a row of the step before, or a seed, as the recipe wants it."""
        return self._adopt

    # -- what it works on

    def read(self, source: Source) -> None:
        """Take units from seeds or draws; the iterator begins at the first one that was not released."""
        self._source = source

    def follow(self, upstream: Iterator[bytes]) -> None:
        """Take units from the rows of the step before: those it has made already, from the first one; then `feed`."""
        self._inbox.clear()
        self._names = Occurrences()
        self._source = self._adopted(upstream)

    def feed(self, data: bytes) -> None:
        """A row of the step before."""
        self._inbox.append(data)

    def _adopted(self, upstream: Iterator[bytes]) -> Source:
        skip = self.released  # worked on already; they are named all the same, so that their copies are told apart
        for data in itertools.chain(upstream, self._arrivals()):
            if data is None:
                yield NOTHING
                continue
            adopted = self.adopt(data)
            if skip:
                skip -= 1
            else:
                yield adopted

    def _arrivals(self) -> Iterator[bytes | None]:
        while True:
            yield self._inbox.popleft() if self._inbox else None

    def adopt(self, data: bytes) -> tuple[str, Row | Unreadable, str]:
        """A row of the step before as this recipe reads it, the name of its unit, and its seed.

        Where the recipe asks something, it is named by its content, so that a step put in between leaves the calls as
        they are. Else by the row's id, which needs no memory of what came before.
        """
        assert self._adopt
        assert self.recipe.seed
        try:
            row: Row = self._adopt(_renamed(data, self.bound.mapping) if self.bound.mapping else data)
        except (msgspec.ValidationError, KeyError) as error:
            plain = msgspec.json.decode(data)
            left = {column: value for column, value in plain.items() if column not in ("id", "lineage")}
            said = f"row {plain['id']} of the step before does not fit {self.recipe.seed.__name__}: {error}"
            return f"unreadable {plain['id']}", Unreadable(plain["id"], said, left), plain["lineage"].get("seed", "")
        known, lineage = row.id, row.lineage
        name = known
        if self._by_content:
            name = name_of(row, self._names)
            row.id, row.lineage = known, lineage
        return name, row, lineage.seed if lineage else ""

    def take(self) -> Unit | None:
        """The next unit; None if there is none, for now or at all."""
        name, row, seed = next(self._source, NOTHING)
        if not name:
            return None
        generation = 0
        if isinstance(row, Row):
            generation = brought(row).generation
            row.lineage = None  # it was made in whatever context this worker comes from
        unit = Unit(self.started, name, row, row.id if row is not None else "", seed, generation)
        self.started += 1
        self.active += 1
        return unit

    # -- units

    async def work(self, unit: Unit) -> Outcome:
        """Run the recipe on a unit that was taken; what goes wrong in it is part of the outcome.

        Raises:
            Stopped: the run was stopped.
            BadInput, EndpointDown, DiskTrouble: the run cannot go on.
        """
        scope = Scope(f"{self.name}/{unit.name}", unit.name)
        row = unit.row
        if isinstance(row, Unreadable):
            self.active -= 1
            return Outcome([], [], [Failure(scope.place, row.error, "failed", row.data)])
        if row is not None:
            scope.lineage.seed = unit.seed
            scope.lineage.parents = [unit.parent]
            scope.lineage.generation = unit.generation
        scope.enter()
        self.bound.prepare()
        rows: list[Made] = []
        failures: list[Failure] = []
        try:
            async for made in self._fn() if row is None else self._fn(row):
                rows.append(self.stamp(made, unit.name, scope, passed=made is row))
        except Exception as error:
            if ends_the_run(error):
                raise
            kind = "waiting" if isinstance(error, Waiting) else "failed"
            failures.append(Failure(scope.place, describe(error), kind, content(row) if row is not None else None))
        finally:
            self.active -= 1
        return Outcome(rows, scope.rejects, [*scope.failures, *failures])

    def whole(self, rows: Rows[Any] | None) -> tuple[Scope, AsyncIterator[Row]]:
        """Start the recipe on a whole set."""
        scope = Scope(f"{self.name}/*", "*", open_ended=True)
        scope.enter()
        self.bound.prepare()
        return scope, self._fn() if rows is None else self._fn(rows)

    def _on_reject(self, scope: Scope) -> None:
        """A loop over a whole set keeps its rejects at once, and must end even if it only rejects."""
        if scope.open_ended and (scope.rejects or scope.failures):
            self.put_whole(scope, [])
            self.watch()

    def put_whole(self, scope: Scope, rows: list[Made]) -> None:
        """Release what a whole set gave since the last time."""
        self.put(self.released, Outcome(rows, scope.rejects, scope.failures))
        scope.rejects, scope.failures = [], []

    def stamp(self, row: Row, unit: str, scope: Scope, *, passed: bool = False) -> Made:
        """Give a row its name and its lineage as it leaves the recipe, and see that it is what its type says.

        Args:
            passed: it is the very row that came in.
        """
        decoder = self._decoders.get(type(row))
        if decoder is None:
            known = " or ".join(row.__name__ for row in self.recipe.tables)
            raise TypeError(f"{self.recipe.name} yielded {type(row).__name__}; its signature promises {known}")
        row.id = digest("row", self.name, unit, scope.occurrence("row"))
        lineage = brought_along(row.lineage, scope.lineage)
        filtered = passed or (self.recipe.passes and type(row) is self.recipe.seed)
        generation = lineage.generation + (not filtered)
        row.lineage = Lineage(lineage.seed, list(lineage.parents), list(lineage.calls), dict(lineage.draws), generation)
        data = _encode(row)
        decoder.decode(data)
        return Made(row, table(type(row)), data)

    # -- leaving

    def put(self, place: int, outcome: Outcome) -> None:
        """Keep a finished unit until all before it have left."""
        self._pending[place] = outcome
        self.held += sum(made.table == self.main for made in outcome.rows)

    def release(self) -> list[bytes]:
        """Let leave what can, in place order; returns the rows of the main table."""
        left: list[bytes] = []
        while not self._full and (outcome := self._pending.pop(self.released, None)) is not None:
            self.held -= sum(made.table == self.main for made in outcome.rows)
            self._leave(self.released, outcome, left)
            self.released += 1
            self.changed = True
            if self.released == self.first_pass:
                self.first_pass_rows = self.accepted
        return left

    @property
    def _full(self) -> bool:
        return self.limit is not None and self.accepted >= self.limit

    def _leave(self, place: int, outcome: Outcome, left: list[bytes]) -> None:
        number, tally = self.number, self.tally
        rejects = outcome.rejects
        lost, before = self.lost, len(left)
        seq = 0
        for made in outcome.rows:
            if self._full:
                break  # the rest of a unit that made more than was asked for
            if self._is_copy(place, made, rejects):
                continue
            self._statements.append((ROW, (number, place, seq, made.table, made.row.id, made.data)))
            seq += 1
            tally.rows[made.table] += 1
            if made.table == self.main:
                self.accepted += 1
                left.append(made.data)
            else:
                self.beside += 1
        for index, reject in enumerate(rejects):
            self._statements.append((REJECT, (number, place, index, reject.reason, _encode(reject))))
            tally.rejects[reject.reason] += 1
        for index, failure in enumerate(outcome.failures):
            self._statements.append((FAILURE, (number, place, index, failure.kind, _encode(failure))))
            if failure.kind == "waiting":
                tally.waiting += 1
            else:
                tally.failures += 1
        if not seq and not rejects and not outcome.failures and self.recipe.shape != "set":
            tally.barren += 1
            self.lost += 1
        self.lost += len(rejects) + sum(failure.kind != "waiting" for failure in outcome.failures)
        self.dry = 0 if len(left) > before else self.dry + self.lost - lost

    def _is_copy(self, place: int, made: Made, rejects: list[Reject]) -> bool:
        """Whether a gate holds a row back: its key left before, or it is the copy of a row from an earlier pass."""
        if self._unique is not None:
            key = self._key(made.row)
            if not self._unique.add(key.encode("utf-8", "surrogatepass")):
                rejects.append(_duplicate(made, key))
                return True
        if self._contents is not None and made.table == self.main:
            new = self._contents.add(_stable(content(made.row)))
            if not new and self.first_pass is not None and place >= self.first_pass:
                rejects.append(_duplicate(made, "the whole row"))
                return True
        return False

    def _key(self, row: Row) -> str:
        unique = self.recipe.unique
        return str(getattr(row, unique)) if isinstance(unique, str) else unique(row) if unique else ""

    def statements(self) -> list[Statement]:
        """What was released since the last time, to be written in one transaction with the step's progress."""
        found, self._statements, self.changed = self._statements, [], False
        return found

    # -- the journal

    def recall(self, journal: Journal) -> None:
        """Continue where the journal ends: counts, and what the gates must know of rows that left already."""
        progress = journal.progress(self.number)
        self.released = self.started = progress.released
        self.done = progress.done
        self._count(Tally.decode(progress.tally) if progress.tally else Tally())
        if self._unique is None and self._contents is None:
            return
        decoders = {table(row): decoder for row, decoder in self._decoders.items()}
        for name, data in journal.select("SELECT name, data FROM rows WHERE step=?", (self.number,)):
            row = decoders[name].decode(data)
            if self._unique is not None:
                self._unique.add(self._key(row).encode("utf-8", "surrogatepass"))
            if self._contents is not None and name == self.main:
                self._contents.add(_stable(content(row)))

    def repeat_from(self, place: int | None, journal: Journal) -> None:
        """Say from which place on the seeds are used again; None: not known yet."""
        if place is None or self.first_pass is not None:
            return
        self.first_pass = place
        if self.released >= place:
            where = "step=? AND place<? AND name=?"
            exact = self.released == place
            self.first_pass_rows = (
                self.accepted if exact else journal.count("rows", where, (self.number, place, self.main))
            )

    def remember_contents(self) -> None:
        """Reject what seeds give when they are used again, where it is there already. Before `recall`."""
        self._contents = Seen()

    def restart(self) -> None:
        """Begin the step anew, as if nothing had left it."""
        self.released = self.started = self.held = self.dry = 0
        self.done = False
        self._count(Tally())
        self._pending.clear()
        self._inbox.clear()
        self._names = Occurrences()
        self._unique = Seen() if self.recipe.unique else None

    def rows(self, journal: Journal, most: int) -> Iterator[bytes]:
        """The first rows of the main table that the journal holds, in place order."""
        # In pages: one cursor over all would hold a snapshot open, and the log could not be folded in.
        place, seq, left = -1, -1, most
        while left > 0:
            page = list(
                journal.select(
                    "SELECT place, seq, data FROM rows WHERE step=? AND (place, seq) > (?, ?) AND name=? "
                    "ORDER BY place, seq LIMIT ?",
                    (self.number, place, seq, self.main, min(left, PAGE)),
                )
            )
            if not page:
                return
            place, seq, _ = page[-1]
            left -= len(page)
            yield from (data for _, _, data in page)


def passes(seeds: Callable[[int], Iterator[Row]], count: int, start: int, *, again: bool) -> Source:
    """The seeds from a place on; with `again` they begin anew when they end, each pass with draws and calls of its own.

    Args:
        seeds: the seeds from a number on.
        count: how many there are.
    """
    first = start // count if count else 0
    for number in (itertools.count(first) if again else range(first, 1)) if count else ():
        for row in seeds(start % count if number == first else 0):
            yield (f"{row.id}~{number}" if number else row.id), row, row.id


def brought_along(own: Lineage | None, scope: Lineage) -> Lineage:
    """A row's own lineage. One that says no more than a generation is of a row that was read beside the units: what it
    was made from, its scope tells."""
    if own is None:
        return scope
    if own.seed or own.parents or own.calls or own.draws:
        return own
    return msgspec.structs.replace(scope, generation=max(own.generation, scope.generation))


def _renamed(data: bytes, mapping: dict[str, str]) -> bytes:
    plain = msgspec.json.decode(data)
    return _encode(plain | {column: plain[field] for column, field in mapping.items()})


def _duplicate(made: Made, key: str) -> Reject:
    plain = {"type": type(made.row).__name__, **content(made.row)}
    return Reject("duplicate", plain, {"key": key}, made.row.lineage.calls if made.row.lineage else [])
