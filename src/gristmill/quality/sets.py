"""A set of rows as it is measured: whose text is whose, whatever the columns are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np

PROMPTS = ("instruction", "prompt", "question", "problem", "query", "title")
RESPONSES = ("output", "completion", "response", "answer", "chosen", "solution", "text")
"""Columns that are taken for a row's prompt and its response, the first that is there; `text` is a response without one."""
MATERIAL = ("input", "context", "premise")
"""Columns that a prompt works on, joined to it."""
MESSAGES = ("messages", "conversations", "conversation")


@dataclass(frozen=True)
class Set:
    """Texts of rows, in their order. Prompt and response are measured apart where a measure asks for it."""

    name: str
    prompts: list[str]
    """"" where a row has none."""
    responses: list[str]
    records: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """The rows as they were read, for columns and for showing them."""

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.responses):
            raise ValueError(f"{self.name}: {len(self.prompts)} prompts and {len(self.responses)} responses")

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def texts(self) -> list[str]:
        """Prompt and response of each row as one text."""
        return [
            f"{prompt}\n{response}" if prompt and response else prompt or response
            for prompt, response in zip(self.prompts, self.responses, strict=True)
        ]

    def column(self, name: str) -> list[Any] | None:
        """A column as it was read, None where a row has nothing there; None where no row has it."""
        values = [None if _nothing(value := record.get(name)) else value for record in self.records]
        return None if all(value is None for value in values) else values

    def facets(self, *, most: int = 50) -> dict[str, list[str]]:
        """Columns of few different short values (label, language, domain): a value a row, "" where it has none."""
        found: dict[str, list[str]] = {}
        names = dict.fromkeys(name for record in self.records for name in record)
        for name in names:
            values = [record.get(name) for record in self.records]
            if name in ("id", *PROMPTS, *RESPONSES, *MATERIAL) or not all(
                _nothing(v) or isinstance(v, (str, bool, int)) for v in values
            ):
                continue
            texts = ["" if _nothing(value) else str(value) for value in values]
            different = Counter(texts)
            if 1 < len(different) <= min(most, max(2, len(texts) // 2)) and max(map(len, different)) <= 80:
                found[name] = texts
        return found

    def take(self, rows: Iterable[int], name: str = "") -> Set:
        """These rows, by their numbers."""
        kept = list(rows)
        return Set(
            name or self.name,
            [self.prompts[row] for row in kept],
            [self.responses[row] for row in kept],
            [self.records[row] for row in kept] if self.records else (),
        )

    def sample(self, most: int, seed: int) -> Set:
        """At most so many rows, by chance, in their order."""
        if len(self) <= most:
            return self
        return self.take(sorted(np.random.default_rng(seed).choice(len(self), most, replace=False).tolist()))

    def halves(self, seed: int) -> tuple[Set, Set]:
        """Two halves by chance, of equal size."""
        order = np.random.default_rng(seed).permutation(len(self)).tolist()
        middle = len(order) // 2
        return self.take(sorted(order[:middle])), self.take(sorted(order[middle : 2 * middle]))


def of_texts(texts: Sequence[str], name: str = "texts") -> Set:
    """A set of bare texts."""
    return Set(name, [""] * len(texts), list(texts))


def of_records(records: Sequence[Mapping[str, Any]], name: str, *, text: str | None = None) -> Set:
    """A set from rows of any shape.

    Args:
        text: the column to measure, alone; the usual names unless given.

    Raises:
        ValueError: no column of text, or not the one that was named; the message lists what there is.
    """
    if text is not None:
        if records and not any(text in record for record in records):
            raise ValueError(f"{name} has no column {text!r}; its columns: {_listed(records)}")
        return Set(name, [""] * len(records), [_text(record.get(text)) for record in records], records)
    pairs = [_pair(record) for record in records]
    if records and not any(prompt or response for prompt, response in pairs):
        raise ValueError(f"{name}: no row has a column of text; name it with --text. Its columns: {_listed(records)}")
    return Set(name, [prompt for prompt, _ in pairs], [response for _, response in pairs], records)


def _pair(record: Mapping[str, Any]) -> tuple[str, str]:
    for name in MESSAGES:
        if isinstance(turns := record.get(name), list) and turns:
            said = [_turn(turn) for turn in turns]
            if said[-1][0] in ("assistant", "gpt", "model"):
                return "\n".join(text for _, text in said[:-1]), said[-1][1]
            return "\n".join(text for _, text in said), ""
    prompt = _first(record, PROMPTS)
    given = [text for name in MATERIAL if record.get(name) and (text := _text(record[name]))]
    response = _first(record, RESPONSES)
    prompt = "\n".join([prompt, *given]) if prompt else "\n".join(given)
    if not prompt and not response:  # names of the user's own: all that reads as text
        texts = [v for k, v in record.items() if isinstance(v, str) and k not in ("id", "lineage")]
        return "", "\n".join(texts)
    return prompt, response


def _first(record: Mapping[str, Any], names: Iterable[str]) -> str:
    """Of the columns that have something to say, the first."""
    return next((text for name in names if record.get(name) and (text := _text(record[name]))), "")


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        return "", _text(turn)
    return str(turn.get("role") or turn.get("from") or ""), _text(turn.get("content") or turn.get("value"))


def _nothing(value: Any) -> bool:
    """None, or NaN, by which pandas says it."""
    return value is None or (isinstance(value, float) and isnan(value))


def _text(value: Any) -> str:
    if _nothing(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if isinstance(value, Mapping):
        return "\n".join(map(_text, value.values()))
    return str(value)


def _listed(records: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(name for record in records[:100] for name in record)) or "none"
