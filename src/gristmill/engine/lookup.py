"""Answers by their keys, read ahead: a replay asks in about the order in which the answers once came."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gristmill.engine.database import connect

AHEAD = 256
"""Entries read at once, at most, while look-ups stay near each other."""
LOOKS = 1000
"""Look-ups in one read transaction. One each would cost ten times the look-up; one open for long would keep the log
from being folded into the database."""


class Found(NamedTuple):
    number: int
    """The entry's rowid."""
    key: str
    answer: bytes | None
    error: str | None


class Lookup:
    """The calls of one run, to read."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)
        self._ahead: dict[str, Found] = {}
        self._width = 1
        self._last = 0
        self._looks = 0

    def find(self, key: str) -> Found | None:
        if (known := self._ahead.pop(key, None)) is not None:
            return known
        connection = self._connection
        if not connection.in_transaction:
            connection.execute("BEGIN")
            self._looks = 0
        self._looks += 1
        entry = connection.execute("SELECT rowid, key, answer, error FROM calls WHERE key=?", (key,)).fetchone()
        found = Found(*entry) if entry else None
        if found:
            self._read_ahead(found.number)
        if found is None or self._looks == LOOKS:
            connection.execute("COMMIT")
        return found

    def _read_ahead(self, number: int) -> None:
        """Far jumps halve what is read ahead, near ones double it: random access must not pay for order."""
        near = abs(number - self._last) <= 4 * self._width + 64
        self._width = min(AHEAD, 2 * self._width) if near else max(1, self._width // 2)
        self._last = number
        if len(self._ahead) > 8 * AHEAD:
            self._ahead.clear()
        entries = self._connection.execute(
            "SELECT rowid, key, answer, error FROM calls WHERE rowid > ? ORDER BY rowid LIMIT ?", (number, self._width)
        )
        self._ahead |= {entry[1]: Found(*entry) for entry in entries}

    def renew(self) -> None:
        """See what was committed since the last look; within a transaction only that of its beginning is seen."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
