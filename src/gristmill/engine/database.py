"""The SQLite file of a run: its tables, how it is opened, how entries are put in."""

from __future__ import annotations

import itertools
import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

from gristmill.errors import BadInput

FORMAT = 3
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS questions(digest TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls(
    key TEXT NOT NULL UNIQUE,      -- digest of question, place and sample number
    question TEXT NOT NULL,        -- questions.digest
    sample INTEGER NOT NULL,
    place TEXT NOT NULL,           -- step/unit/scope path
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    answer BLOB,                   -- JSON; NULL where the call failed for good
    error TEXT,                    -- JSON of the failure, raised again in a replay
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,            -- USD
    seconds REAL NOT NULL,
    reused INTEGER NOT NULL        -- 1: paid for by another run, copied by rerun
);
CREATE TABLE IF NOT EXISTS rows(
    step INTEGER, place INTEGER, seq INTEGER, name TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY(step, place, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejects(
    step INTEGER, place INTEGER, seq INTEGER, reason TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY(step, place, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures(
    step INTEGER, place INTEGER, seq INTEGER, kind TEXT NOT NULL, data BLOB NOT NULL,  -- kind: failed or waiting
    PRIMARY KEY(step, place, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artefacts(
    step INTEGER, name TEXT NOT NULL, digest TEXT NOT NULL, file TEXT NOT NULL,  -- file: in the folder `artefacts`
    PRIMARY KEY(step, name, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks(
    key TEXT PRIMARY KEY,          -- of the call whose answer is waited for
    question TEXT NOT NULL, sample INTEGER NOT NULL, place TEXT NOT NULL, role TEXT NOT NULL,
    people TEXT NOT NULL           -- which group of people is asked
    ) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress(
    step INTEGER PRIMARY KEY, released INTEGER NOT NULL, done INTEGER NOT NULL,
    tally BLOB NOT NULL);          -- JSON of what was made so far
"""

# Tables and how to write them; an entry that is there already is left alone, or replaced.
CALL = "OR IGNORE INTO calls"
QUESTION = "OR IGNORE INTO questions"
ROW = "OR REPLACE INTO rows"
REJECT = "OR REPLACE INTO rejects"
FAILURE = "OR REPLACE INTO failures"
TASK = "OR IGNORE INTO tasks"
ARTEFACT = "OR REPLACE INTO artefacts"
PROGRESS = "OR REPLACE INTO progress"
META = "OR REPLACE INTO meta"
CALL_COLUMNS = "key, question, sample, place, role, model, answer, error, input_tokens, output_tokens, cost, seconds"
COPY = "calls of the attached run"
"""Not a table: rowids of calls that another run paid for, to be taken over."""

Statement = tuple[str, tuple[Any, ...]]
"""Which table, and the values of an entry."""

AT_ONCE = (64, 8, 1)
"""Entries that one INSERT takes. The interpreter's lock is let go once a statement, not once an entry: with a statement
an entry, the two threads hand it to and fro so often that a run takes half as long again."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    # Who only looks opens the file for writing too where it may: the last to leave then folds the log into the database.
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    mode = ("rw" if writable else "ro") if read_only else "rwc"
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
            cached_statements=64,
        )
        connection.execute(f"PRAGMA query_only={int(read_only)}")
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error as error:
        raise BadInput(f"cannot open {path}: {error}") from None
    return connection


def insert(connection: sqlite3.Connection, into: str, entries: list[tuple[Any, ...]]) -> None:
    done = 0
    for size in AT_ONCE:
        while len(entries) - done >= size:
            some = entries[done : done + size]
            connection.execute(_sql(into, len(some[0]), size), list(itertools.chain.from_iterable(some)))
            done += size


@cache
def _sql(into: str, columns: int, entries: int) -> str:
    marks = f"({','.join('?' * columns)})"
    return f"INSERT {into} VALUES {','.join([marks] * entries)}"


def copy(connection: sqlite3.Connection, _: str, entries: list[tuple[Any, ...]]) -> None:
    """Take calls over from the run that is attached as `base`, in one statement each: no entry passes through Python."""
    for some in [entries[i : i + 500] for i in range(0, len(entries), 500)]:
        numbers = ",".join(str(number) for (number,) in some)
        connection.execute(
            "INSERT OR IGNORE INTO questions SELECT digest, body FROM base.questions "
            f"WHERE digest IN (SELECT question FROM base.calls WHERE rowid IN ({numbers}))"
        )
        connection.execute(
            f"INSERT OR IGNORE INTO calls SELECT {CALL_COLUMNS}, 1 FROM base.calls WHERE rowid IN ({numbers}) ORDER BY rowid"
        )
