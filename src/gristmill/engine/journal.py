"""`run.db`: every answer, row, reject and failure of a run, in one SQLite file.

Promised: what a recipe has received survives `kill -9`, and power loss where the disk honours fsync; a key is never
stored twice; readers may look while a run writes.
Not promised: two processes writing one run (the second gets a BadInput); the order of entries.

All writes go through one thread that commits whatever has gathered since its last commit (group commit): one fsync
serves as many calls as arrived meanwhile, and the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from gristmill.engine.database import (
    COPY,
    FORMAT,
    META,
    PROGRESS,
    SCHEMA,
    Statement,
    connect,
    copy,
    insert,
)
from gristmill.engine.lookup import Lookup
from gristmill.engine.tally import Tally
from gristmill.errors import BadInput, DiskTrouble

GATHER = 0.005
"""Seconds that entries nobody waits for may gather before they are committed."""
CHECKPOINT_PAGES = 8000
"""Pages (of 4 KiB) of log before it is folded into the database: the pages of the indexes are rewritten every time."""


class Spent(NamedTuple):
    """What calls of this run used; nothing that another run paid for."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: float


class Progress(NamedTuple):
    released: int = 0
    """Places whose outcome stands: all below this one."""
    done: bool = False
    tally: bytes | None = None
    """What was made so far, as `Tally` writes it."""


class Journal:
    """The open database of one run. `read_only` for looking at a run that another process may be writing."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._queue: deque[tuple[list[Statement], asyncio.Future[None] | None]] = deque()
        self._wake = threading.Event()
        self._promised = self._kept = 0  # commits that are waited for; each counted by one thread only
        self._pushed = self._written = 0  # entries, likewise
        self._closing = False
        self._trouble: DiskTrouble | None = None
        self._thread: threading.Thread | None = None
        self._base: Journal | None = None
        self._base_errors = False
        self._lookup: Lookup | None = None
        path = folder / "run.db"
        if read_only:
            if not path.exists():
                raise BadInput(f"{folder} holds no run: there is no run.db in it")
            self._reader = connect(path, read_only=True)
        else:
            self._lock = _exclusive(folder)
            try:
                self._reader = connect(path)
                self._reader.executescript(f"PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            except sqlite3.Error as error:
                raise DiskTrouble(f"{path}: {error}") from error
        self._check_format(read_only)
        # An empty journal needs no look-ups: but for rounds, no key is asked twice within one process.
        self._holds_calls = self.count("(SELECT 1 FROM calls LIMIT 1)") > 0

    def _check_format(self, read_only: bool) -> None:
        try:
            found = self.meta("format")
        except sqlite3.Error as error:
            raise BadInput(f"{self.folder}/run.db is not a run of gristmill: {error}") from None
        if found is None and not read_only:
            insert(self._reader, META, [("format", str(FORMAT))])
        elif found != FORMAT:
            raise BadInput(f"{self.folder} was written in format {found}; this version of gristmill reads {FORMAT}")

    # -- writing

    def start(self) -> None:
        """Start the writing thread. Call it on the event loop that will wait for commits."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_loop, name="journal", daemon=True)
        self._thread.start()

    def put(self, statements: list[Statement]) -> asyncio.Future[None]:
        """Write in one transaction; the future is done when it is committed."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._push(statements, future)
        return future

    def put_later(self, statements: list[Statement]) -> None:
        """Write in order with all else, without waiting. An error surfaces at the next `put` or `close`."""
        self._push(statements, None)

    def _push(self, statements: list[Statement], future: asyncio.Future[None] | None) -> None:
        if self._trouble:
            raise self._trouble
        self._queue.append((statements, future))
        self._promised += future is not None
        self._pushed += len(statements)
        if not self._wake.is_set():
            self._wake.set()

    @property
    def backlog(self) -> int:
        """Entries not yet committed."""
        return self._pushed - self._written

    async def flush(self) -> None:
        await self.put([])

    def _write_loop(self) -> None:
        connection = connect(self.folder / "run.db")
        if self._base:
            connection.execute("ATTACH ? AS base", (f"{(self._base.folder / 'run.db').resolve().as_uri()}?mode=ro",))
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._promised == self._kept and not self._closing:
                time.sleep(GATHER)
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), 4096))]
                trouble = self._trouble or self._commit(connection, batch)
                self._written += sum(len(statements) for statements, _ in batch)
                if waiting := [future for _, future in batch if future]:
                    self._kept += len(waiting)
                    self._loop.call_soon_threadsafe(_resolve, waiting, trouble)
            if self._closing:
                connection.close()
                return

    def _commit(
        self, connection: sqlite3.Connection, batch: list[tuple[list[Statement], asyncio.Future[None] | None]]
    ) -> DiskTrouble | None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for into, entries in _by_table(batch).items():
                (copy if into == COPY else insert)(connection, into, entries)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # From here on nothing more is written: an answer must not look kept after one that was not.
            self._trouble = DiskTrouble(
                f"could not write {self.folder / 'run.db'}: {error}. What was committed before is intact: "
                f"make room, then `gristmill resume {self.folder}`"
            )
            if connection.in_transaction:
                connection.rollback()
            return self._trouble
        return None

    async def close(self) -> None:
        """Commit what is left and let go of the folder. Raises DiskTrouble if something could not be written."""
        if self._thread:
            self._closing = True
            self._wake.set()
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self.release()
        if self._trouble:
            raise self._trouble

    def release(self) -> None:
        self._reader.close()
        if self._lookup:
            self._lookup.close()
        if self._base:
            self._base.release()
        if self._lock:
            self._lock.close()
            self._lock = None

    # -- reading

    def over(self, base: Journal, *, errors: bool) -> None:
        """Look answers up in `base` too, for `rerun`; what is found there is copied here.

        With `errors` its failures hold as well; without, they are worth a new try.
        """
        self._base = base
        self._base_errors = errors

    @property
    def base_folder(self) -> Path | None:
        """Of the run whose answers are used too."""
        return self._base.folder if self._base else None

    def expect_repeats(self) -> None:
        """From here on, what this process asked and committed may be asked again."""
        self._holds_calls = True
        if self._lookup:
            self._lookup.renew()

    def find(self, key: str) -> tuple[bytes | None, str | None] | None:
        """The answer, or the error, kept under a key."""
        if self._holds_calls and (found := self._calls.find(key)):
            return found.answer, found.error
        if self._base is None or (found := self._base._calls.find(key)) is None:
            return None
        if found.error is not None and not self._base_errors:
            return None
        self.put_later([(COPY, (found.number,))])
        return found.answer, found.error

    @property
    def _calls(self) -> Lookup:
        self._lookup = self._lookup or Lookup(self.folder / "run.db")
        return self._lookup

    def meta(self, key: str) -> Any:
        found = self._reader.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return msgspec.json.decode(found[0]) if found else None

    def set_meta(self, **values: Any) -> None:
        self.put_later([(META, (key, msgspec.json.encode(value).decode())) for key, value in values.items()])

    def progress(self, step: int = 0) -> Progress:
        found = self._reader.execute("SELECT released, done, tally FROM progress WHERE step=?", (step,)).fetchone()
        return Progress(found[0], bool(found[1]), found[2]) if found else Progress()

    def count(self, table: str, where: str = "1", values: Iterable[Any] = ()) -> int:
        found = self._reader.execute(f"SELECT COUNT(*) FROM {table} WHERE {where}", tuple(values)).fetchone()
        return found[0]  # type: ignore[no-any-return]

    def spent(self, *, role: str = "", step: str = "") -> Spent:
        """What calls used: of all, or of a role, or of a role in one step."""
        where, values = "reused=0", []
        if role:
            where, values = f"{where} AND role=?", [role]
        if step:
            where, values = (
                f"{where} AND place >= ? AND place < ?",
                [*values, f"{step}/", f"{step}0"],
            )  # "0" follows "/"
        found = self._reader.execute(
            f"SELECT COUNT(*), TOTAL(input_tokens), TOTAL(output_tokens), TOTAL(cost) FROM calls WHERE {where}", values
        ).fetchone()
        return Spent(found[0], int(found[1]), int(found[2]), found[3])

    def select(self, sql: str, values: Iterable[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Read with a cursor of its own; for looking, in any order, at any size."""
        for row in self._reader.execute(sql, tuple(values)):  # noqa: UP028 - `yield from` would touch a closed database
            yield row

    def rewind(self, step: int, place: int) -> None:
        """Forget the outcomes of a step from a place on. Calls stay: they are never asked again.

        Before `start`, or with nothing left to write.
        """
        self._reader.execute("BEGIN IMMEDIATE")
        for table in ("rows", "rejects", "failures"):
            self._reader.execute(f"DELETE FROM {table} WHERE step=? AND place>=?", (step, place))
        if place == 0:
            self._reader.execute("DELETE FROM artefacts WHERE step=?", (step,))
        insert(self._reader, PROGRESS, [(step, place, 0, self._counted(step, place).encode())])
        self._reader.execute("COMMIT")

    def _counted(self, step: int, places: int) -> Tally:
        tally = Tally()
        for kind, label, counter in (("rows", "name", tally.rows), ("rejects", "reason", tally.rejects)):
            counter.update(dict(self.select(f"SELECT {label}, COUNT(*) FROM {kind} WHERE step=? GROUP BY 1", (step,))))
        tally.failures = self.count("failures", "step=? AND kind='failed'", (step,))
        tally.waiting = self.count("failures", "step=? AND kind='waiting'", (step,))
        kept = " UNION ".join(f"SELECT place FROM {kind} WHERE step=?" for kind in ("rows", "rejects", "failures"))
        tally.barren = places - self.count(f"({kept})", values=(step, step, step))
        return tally

    def forget(self, key: str) -> None:
        """Drop an entry of `meta`. Before `start`."""
        self._reader.execute("DELETE FROM meta WHERE key=?", (key,))

    def forget_tasks(self) -> None:
        """Empty the queue for people: a run puts into it what it still waits for. Before `start`."""
        self._reader.execute("DELETE FROM tasks")

    def forget_errors(self) -> None:
        """Drop journaled failures, so that their calls are asked again. Before `start`."""
        self._reader.execute("DELETE FROM calls WHERE error IS NOT NULL")


def _by_table(
    batch: list[tuple[list[Statement], asyncio.Future[None] | None]],
) -> dict[str, list[tuple[Any, ...]]]:
    """The entries of many transactions by table, each in the order in which it came."""
    entries: dict[str, list[tuple[Any, ...]]] = {}
    for statements, _ in batch:
        for into, values in statements:
            entries.setdefault(into, []).append(values)
    if PROGRESS in entries:  # only the last of a step counts
        entries[PROGRESS] = list({values[0]: values for values in entries[PROGRESS]}.values())
    return entries


def _resolve(futures: list[asyncio.Future[None]], trouble: DiskTrouble | None) -> None:
    for future in futures:
        if future.done():  # its waiter was cancelled
            continue
        if trouble:
            future.set_exception(trouble)
        else:
            future.set_result(None)


def _exclusive(folder: Path) -> IO[bytes]:
    """A lock that dies with the process, so that a killed run can be resumed at once."""
    handle = open(folder / ".lock", "ab")  # noqa: SIM115 - held for the life of the journal
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise BadInput(f"another process is working on {folder}; wait for it, or stop it, then try again") from None
    return handle
