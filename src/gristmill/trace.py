"""Where a row came from: its draws, the questions and answers that shaped it, and all rows before it, back to the seed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gristmill.engine.folder import kept_input
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput
from gristmill.execute import config_of, looking
from gristmill.rows import Lineage


class Asked(msgspec.Struct, kw_only=True):
    """A call, as the journal keeps it."""

    key: str
    role: str
    model: str
    question: dict[str, Any]
    answer: Any
    input_tokens: int
    output_tokens: int
    cost: float
    """USD; of an answer that another run paid for, what it cost there."""
    seconds: float
    reused: bool


class Origin(msgspec.Struct, kw_only=True):
    """A row, a seed or an artefact, with what it was made from."""

    id: str
    kind: str
    """A table's name, "seed", "artefact", or "unknown": the run does not hold it."""
    step: str = ""
    data: dict[str, Any] = {}
    generation: int = 0
    draws: dict[str, Any] = {}
    calls: list[Asked] = []
    parents: list[Origin] = []
    known: bool = False
    """It stands in this trace already, with its parents."""


def trace(folder: str | Path, row: str) -> Origin:
    """Everything about a row of a run.

    Args:
        row: its id, the beginning of it, or its number among the rows of the last step, from 1.

    Raises:
        BadInput: there is no such row, or several.
    """
    folder = Path(folder)
    steps = [step.name for step in config_of(folder).steps]
    with looking(folder) as journal:
        tracer = Tracer(folder, journal, steps)
        return tracer.origin(tracer.find(row))


@dataclass
class Tracer:
    folder: Path
    journal: Journal
    steps: list[str]

    def find(self, row: str) -> str:
        """The id of a row."""
        if row.isdigit() and len(row) < 12:
            last = len(self.steps) - 1
            sql = "SELECT id FROM rows WHERE step=? ORDER BY place, seq LIMIT 1 OFFSET ?"
            found = [name for (name,) in self.journal.select(sql, (last, int(row) - 1))] if int(row) else []
            if not found:
                total = self.journal.count("rows", "step=?", (last,))
                raise BadInput(f"{self.folder} has no row number {row}; its last step made {total:,}")
            return str(found[0])
        if not re.fullmatch(r"[0-9a-f]{4,32}", row):
            raise BadInput(f"{row!r} is no row: give its number, its id, or at least 4 of the id's first letters")
        found = [name for (name,) in self.journal.select("SELECT id FROM rows WHERE id LIKE ? LIMIT 5", (f"{row}%",))]
        if len(found) != 1:
            raise BadInput(
                f"{self.folder} has no row {row!r}"
                if not found
                else f"several rows begin with {row}: {', '.join(found)}"
            )
        return str(found[0])

    def origin(self, name: str) -> Origin:
        """The row, and all before it. Not by recursion: a loop over a whole set may link a thousand rows in a row."""
        first = Origin(id=name, kind="unknown")
        open_still, elsewhere, seen = deque([first]), [], {name}
        while open_still:
            one = open_still.popleft()
            parents = self._fill(one)
            if one.kind == "unknown":
                elsewhere.append(one)
            for parent in parents:
                known = parent in seen
                seen.add(parent)
                one.parents.append(Origin(id=parent, kind="unknown", known=known))
                if not known:
                    open_still.append(one.parents[-1])
        self._fill_from_inputs({one.id: one for one in elsewhere})
        return first

    def _fill(self, one: Origin) -> list[str]:
        """What the run itself made, and the ids of its parents."""
        found = next(self.journal.select("SELECT step, name, data FROM rows WHERE id=? LIMIT 1", (one.id,)), None)
        if found is None:
            sql = "SELECT file FROM artefacts WHERE name || ':' || digest = ? LIMIT 1"
            if (artefact := next(self.journal.select(sql, (one.id,)), None)) is not None:
                one.kind, one.data = "artefact", {"file": f"artefacts/{artefact[0]}"}
            return []
        step, table, data = found
        plain = msgspec.json.decode(data)
        lineage = msgspec.convert(plain.pop("lineage", None) or {}, Lineage)
        one.kind, one.step = table, self.steps[step]
        one.data = {key: value for key, value in plain.items() if key != "id"}
        one.generation, one.draws = lineage.generation, lineage.draws
        one.calls = [asked for key in lineage.calls if (asked := self._call(key)) is not None]
        return lineage.parents

    def _fill_from_inputs(self, wanted: dict[str, Origin]) -> None:
        """Seeds and rows of further inputs, all in one pass."""
        for seed in self._inputs() if wanted else ():
            one = wanted.get(seed.get("id", ""))
            if one is not None and one.kind == "unknown":
                one.kind = "seed"
                one.data = {key: value for key, value in seed.items() if key not in ("id", "lineage")}
                one.generation = (seed.get("lineage") or {}).get("generation", 0)

    def _inputs(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / "inputs").glob("*.parquet")):
            yield from kept_input(self.folder, path.stem, dict)

    def _call(self, key: str) -> Asked | None:
        sql = (
            "SELECT role, model, body, answer, error, input_tokens, output_tokens, cost, seconds, reused FROM calls "
            "LEFT JOIN questions ON questions.digest = calls.question WHERE key=?"
        )
        found = next(self.journal.select(sql, (key,)), None)
        if found is None:
            return None
        role, model, body, answer, error, tokens_in, tokens_out, cost, seconds, reused = found
        return Asked(
            key=key,
            role=role,
            model=model,
            question=msgspec.json.decode(body) if body else {},
            answer=msgspec.json.decode(answer) if answer else {"error": msgspec.json.decode(error) if error else None},
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            cost=cost,
            seconds=seconds,
            reused=bool(reused),
        )


def said(question: dict[str, Any]) -> str:
    """A question as text, whatever its kind."""
    for message in question.get("messages", []):
        content = message.get("content", "")
        if not isinstance(content, str):
            content = " ".join(part.get("text", "[picture]") for part in content if isinstance(part, dict))
        question = {**question, "prompt": "\n\n".join(filter(None, [question.get("prompt", ""), content]))}
    text = question.get("prompt", "") + question.get("continuation", "")
    return text or msgspec.json.encode({k: v for k, v in question.items() if k != "sampling"}).decode()


def answered(answer: Any) -> str:
    text = answer.get("text") if isinstance(answer, dict) else answer
    return text if isinstance(text, str) else msgspec.json.encode(answer).decode()
