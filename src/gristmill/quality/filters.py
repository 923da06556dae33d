"""A check as a step of a chain: what it flags is rejected with the reason, the rest passes as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gristmill.engine.run import Run
from gristmill.errors import BadInput
from gristmill.quality.sets import Set, of_records
from gristmill.quality.values import Found, Rule, decide
from gristmill.rows import Row, Rows, content, digest


def set_of(rows: Sequence[Row], name: str, text: str | None = None) -> Set:
    """The texts of rows of any type. Raises BadInput where they have none."""
    try:
        return of_records([content(row) for row in rows], name, text=text)
    except ValueError as error:
        raise BadInput(str(error)) from None


async def passed(
    run: Run,
    rows: Rows[Row],
    measure: Callable[..., Found],
    rules: Sequence[Rule],
    *,
    text: str | None = None,
    beside: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Row]:
    """Rows that no rule concerns; the others are rejected under the first rule's reason that does.

    What was measured is journaled: a replay measures nothing, and decides as the rules then say.

    Args:
        measure: of a module of `quality/`.
        text: the column to look at; the usual ones unless given.
        beside: further sets that it takes, by argument; named in the journal by their content.
        settings: parameters, plain values; the seed is the run's.
    """
    if not len(rows):
        return iter(())
    data, given = set_of(rows, "the rows", text), dict(beside or {})
    settings["seed"] = run.rng("measure").getrandbits(31)

    def work(*_: Any) -> Any:
        found = measure(
            data, given.get("reference"), **{k: v for k, v in given.items() if k != "reference"}, **settings
        )
        return msgspec.to_builtins(found, str_keys=True)

    named = {name: _named(value) for name, value in given.items()}
    kept = await run.once(measure.__module__.rpartition(".")[2], work, _named(data), named, settings)
    found = msgspec.convert(kept, Found, strict=False, str_keys=True)
    why: dict[int, tuple[str, float]] = {}
    for flag in decide([found], rules):
        why.setdefault(flag.row, (flag.reason, flag.score))
    for number in sorted(why):
        reason, score = why[number]
        run.reject(rows[number], reason, score=score, behind=found.details.get(number, [])[:3])
    return (row for number, row in enumerate(rows) if number not in why)


def _named(value: Any) -> Any:
    """Stands for a further set among the inputs of the journaled step."""
    if isinstance(value, Set):
        return _named(value.texts)
    if isinstance(value, Mapping):
        return {name: _named(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return digest(msgspec.json.encode(value).decode())
    return getattr(value, "name", None) or repr(value)
