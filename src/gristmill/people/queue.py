"""The queue of a run's tasks for people: who is asked what, and answers that are kept once.

Promised: an answer that `store` returned from is on disk, and survives `kill -9`; sent again it stays one answer; nobody
answers the same question twice (n people for a question are n samples), nor one that excludes him (`without`).
Not promised: leases after a crash (the task is handed out again, and who comes second fills another sample or is refused);
that a name is the person's: whoever may answer may give any.

The run has ended and waits: while the queue is open it holds the folder's lock. A run empties the table `tasks` when it
starts. So a task whose answer stands in `calls` was answered since, and only such an answer can be taken back.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from gristmill.engine.database import CALL, connect, insert
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput, DiskTrouble, nearest
from gristmill.models.annotation import (
    Comparing,
    Editing,
    Labelling,
    Note,
    Ranking,
    Rating,
    Steps,
    Task,
    Writing,
    complaint,
)
from gristmill.models.protocol import Question

LEASE = 600.0
"""Seconds for which a task that was handed out is kept for that person."""

LONGEST_NAME = 40

ANSWERED_BY = {
    Labelling: "labels",
    Writing: "text",
    Editing: "text",
    Ranking: "order",
    Comparing: "preference",
    Rating: "ratings",
    Steps: "labels",
}
"""The field of a note that answers a task; whatever else is sent is not kept."""

_note = msgspec.json.Decoder(Note)
_question = msgspec.json.Decoder(Question)
_encode = msgspec.json.Encoder().encode


class Taken(BadInput):
    """An answer, or its withdrawal, that what was answered before forbids."""


class Gone(BadInput):
    """No such task is waited for any more."""


class Entry(NamedTuple):
    """A line of the table `tasks`: one person's answer is waited for."""

    key: str
    question: str
    sample: int
    place: str
    role: str
    group: str

    @property
    def asked(self) -> tuple[str, str]:
        """What its samples share: a question at a place."""
        return self.question, self.place


class Handed(msgspec.Struct, omit_defaults=True):
    """A task for one person."""

    key: str
    group: str
    role: str
    task: Task
    note: Note | None = None
    """What he said before he took it back."""


class Kept(msgspec.Struct):
    """An answer that is on disk."""

    key: str
    """Of the sample that it filled; maybe another one of the same question."""
    again: bool
    """It was there before: sent again after its reply was lost."""


class Standing(msgspec.Struct):
    """How far the queue is."""

    open: int
    answered: int
    """Since the run's last start."""
    mine: int
    last: str
    """Key of the person's last answer, which can be taken back; "" where there is none."""


class Queue:
    """The open queue of one run; of one group of people, or of all. Safe to use from several threads.

    Args:
        now: a clock in seconds, for leases.
    """

    def __init__(self, folder: Path, group: str = "", *, now: Callable[[], float] = time.monotonic) -> None:
        if not (folder / "run.db").exists():
            raise BadInput(f"{folder} holds no run: there is no run.db in it. Name the folder of a run that waits")
        self.folder = folder
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[str, Entry] = {}
        self._answered: dict[str, Entry] = {}
        self._said: dict[tuple[str, str], dict[str, str]] = {}
        """By question and place: who answered, and the key of his answer."""
        self._mine: dict[str, list[str]] = {}
        """By person: keys of his answers since the run's last start, in their order."""
        self._leases: dict[str, tuple[str, float]] = {}
        """By key of a task: whom it is kept for, and until when."""
        self._withdrawn: dict[str, tuple[str, Note]] = {}
        self._without: dict[str, frozenset[str]] = {}
        self._journal = Journal(folder)
        try:
            self._connection = connect(folder / "run.db")
            self._load(group)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder, so that the run can be resumed."""
        if hasattr(self, "_connection"):
            self._connection.close()
        self._journal.release()

    def _load(self, group: str) -> None:
        found = self._connection.execute(
            "SELECT key, question, sample, place, role, people FROM tasks ORDER BY place, role, question, sample"
        )
        entries = [Entry(*values) for values in found]
        groups = Counter(entry.group for entry in entries)
        if group and group not in groups:
            raise BadInput(f"{self.folder} has no tasks for the group {group!r}: {nearest(group, groups)}")
        self._open = {entry.key: entry for entry in entries if group in ("", entry.group)}
        answers = self._connection.execute(
            "SELECT key, question, place, answer FROM calls "
            "WHERE answer IS NOT NULL AND question IN (SELECT question FROM tasks) ORDER BY rowid"
        )
        for key, question, place, answer in answers:
            by = _note.decode(answer).by
            self._said.setdefault((question, place), {})[by] = key
            if key in self._open:
                self._answered[key] = self._open.pop(key)
                self._mine.setdefault(by, []).append(key)

    # -- looking

    def open_tasks(self) -> list[tuple[Entry, Task]]:
        """All that is waited for, in the order in which it is handed out."""
        with self._lock:
            return [(entry, self._task(entry)) for entry in self._open.values()]

    def task(self, key: str) -> Task:
        """What is asked under a key, be it answered or not."""
        with self._lock:
            return self._task(self._entry(key))

    def groups(self) -> dict[str, int]:
        """How many tasks each group has open."""
        with self._lock:
            return dict(Counter(entry.group for entry in self._open.values()))

    def standing(self, by: str) -> Standing:
        name = annotator(by)
        with self._lock:
            mine = self._mine.get(name, [])
            return Standing(len(self._open), len(self._answered), len(mine), mine[-1] if mine else "")

    # -- handing out

    def next(self, by: str) -> Handed | None:
        """The task that this person is on, else the next one that he may answer and nobody is on; None if there is none."""
        name = annotator(by)
        with self._lock:
            last = sorted(self._leases, key=lambda key: -self._leases[key][1])
            held = [self._open[key] for key in last if key in self._open and self._holder(key) == name]
            for entry in (*held, *self._open.values()):
                if self._may(name, entry) and self._holder(entry.key) in ("", name):
                    return self._hand(name, entry)
            return None

    def hold(self, by: str, key: str) -> None:
        """Keep a task for the person who is on it, for longer."""
        name = annotator(by)
        with self._lock:
            if key in self._open and self._holder(key) == name:
                self._leases[key] = (name, self._now() + LEASE)

    def _hand(self, name: str, entry: Entry) -> Handed:
        self._leases[entry.key] = (name, self._now() + LEASE)
        whose, note = self._withdrawn.get(entry.key, ("", None))
        return Handed(entry.key, entry.group, entry.role, self._task(entry), note if whose == name else None)

    def _holder(self, key: str) -> str:
        whose, until = self._leases.get(key, ("", 0.0))
        return whose if self._now() < until else ""

    def _may(self, name: str, entry: Entry) -> bool:
        return name not in self._said.get(entry.asked, {}) and name not in self._excluded(entry.question)

    # -- answers

    def store(self, by: str, key: str, note: Note) -> Kept:
        """Keep an answer. On disk when it returns.

        If another person has filled this sample meanwhile, it fills another open one of the same question.

        Raises:
            BadInput: it does not answer the task.
            Taken: the person answered the question already, or must not, or no sample of it is open any more.
            Gone: no such task.
        """
        name = annotator(by)
        with self._lock:
            entry = self._entry(key)
            task = self._task(entry)
            note = _own(task, note, name)
            if trouble := complaint(task, note):
                raise BadInput(trouble)
            if before := self._said.get(entry.asked, {}).get(name):
                if _same(self._kept(before), note):
                    return Kept(before, again=True)
                raise Taken("you have answered this already, otherwise; take that answer back first")
            if name in self._excluded(entry.question):
                raise Taken(f"{name} must not answer this one: it is about what {name} said before")
            if key not in self._open:
                entry = self._other(name, entry)
            self._write(entry, note)
            del self._open[entry.key]
            self._answered[entry.key] = entry
            self._said.setdefault(entry.asked, {})[name] = entry.key
            self._mine.setdefault(name, []).append(entry.key)
            self._withdrawn.pop(entry.key, None)
            self._leases.pop(key, None)
            self._leases.pop(entry.key, None)
            return Kept(entry.key, again=False)

    def undo(self, by: str, key: str) -> Handed:
        """Take a person's last answer back; the task is his again. Asked for twice, it is done once."""
        name = annotator(by)
        with self._lock:
            if key in self._open and self._withdrawn.get(key, ("", None))[0] == name:
                return self._hand(name, self._open[key])
            mine = self._mine.get(name, [])
            if not mine or mine[-1] != key:
                raise Taken(
                    "only your own last answer can be taken back" if mine else "there is no answer to be taken back"
                )
            entry, note = self._answered[key], self._kept(key)
            self._transact(lambda: self._connection.execute("DELETE FROM calls WHERE key=?", (key,)))
            mine.pop()
            del self._answered[key], self._said[entry.asked][name]
            self._open[key] = entry
            self._withdrawn[key] = (name, note)
            return self._hand(name, entry)

    def _other(self, name: str, entry: Entry) -> Entry:
        """Another open sample of the same question; one that nobody is on, if there is one."""
        others = [other for other in self._open.values() if other.asked == entry.asked]
        if not others:
            raise Taken("others have answered this meanwhile, so your answer was not kept")
        return next((other for other in others if self._holder(other.key) in ("", name)), others[0])

    def _write(self, entry: Entry, note: Note) -> None:
        values = (entry.key, entry.question, entry.sample, entry.place, entry.role, entry.group)

        def put() -> None:
            before = self._connection.total_changes
            insert(self._connection, CALL, [(*values, _encode(note), None, 0, 0, 0.0, note.seconds, 0)])
            if self._connection.total_changes == before:
                raise DiskTrouble(f"{self.folder}/run.db was changed by another program while the queue was open")

        self._transact(put)

    def _transact(self, change: Callable[[], object]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            change()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise DiskTrouble(f"could not write {self.folder / 'run.db'}: {error}; the answer is not kept") from error
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    # -- reading

    def _entry(self, key: str) -> Entry:
        entry = self._open.get(key) or self._answered.get(key)
        if entry is None:
            raise Gone(
                f"no task {key[:40]!r} is waited for here; the run may have been resumed since it was handed out"
            )
        return entry

    def _kept(self, key: str) -> Note:
        [answer] = self._connection.execute("SELECT answer FROM calls WHERE key=?", (key,)).fetchone()
        return _note.decode(answer)

    def _asked(self, question: str) -> Question:
        [body] = self._connection.execute("SELECT body FROM questions WHERE digest=?", (question,)).fetchone()
        return _question.decode(body)

    def _task(self, entry: Entry) -> Task:
        task = self._asked(entry.question).task
        assert task is not None
        return task

    def _excluded(self, question: str) -> frozenset[str]:
        if question not in self._without:
            names = self._asked(question).sampling.get("without", ())
            self._without[question] = frozenset(_folded(name) for name in names)
        return self._without[question]


def annotator(name: str) -> str:
    """A person's name as it is kept: letters of any script, digits, dashes; small letters. "Ann" and "ann" are one."""
    name = _folded(name)
    if len(name) > LONGEST_NAME or not re.fullmatch(r"[^\W_](?:[^\W_]|-)*", name):
        raise BadInput(
            f"{name[:60]!r} is no name for an annotator: use letters, digits and dashes, at most {LONGEST_NAME}"
        )
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().lower())


def _own(task: Task, note: Note, by: str) -> Note:
    """What is kept of a note: what answers this kind of task, and what stands in every note."""
    field = ANSWERED_BY[type(task)]
    kept = Note(
        by=by, skipped=note.skipped, comment=note.comment.strip(), seconds=round(min(max(note.seconds, 0.0), 1e6), 1)
    )
    setattr(kept, field, getattr(note, field))
    return kept


def _same(one: Note, other: Note) -> bool:
    return msgspec.structs.replace(one, seconds=0.0) == msgspec.structs.replace(other, seconds=0.0)
