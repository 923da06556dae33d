"""Whether models answer: one small call to each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from gristmill.errors import GristmillError
from gristmill.models import prices as price_table
from gristmill.models.protocol import Backend, Message, Question
from gristmill.models.spec import DEFAULT, parse


def look(
    bound: Mapping[str, list[str]] | None, named: Mapping[str, str], prices: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Each distinct model that is bound or named: for what, what it can do, and whether it answers."""
    uses: dict[str, list[str]] = {}
    for role, specs in (bound or {"": [DEFAULT]}).items():
        for spec in specs:
            uses.setdefault(spec, []).append(f"role {role}" if role else "every role without a model of its own")
    for name, spec in named.items():
        uses.setdefault(spec, []).append(f"named {name!r}")
    known = price_table.load(prices)
    return [{**asyncio.run(_look(parse(spec).open(known), spec)), "bound": use} for spec, use in uses.items()]


async def _look(backend: Backend, spec: str) -> dict[str, Any]:
    error = None
    started = time.monotonic()
    try:
        await backend.start()
        started = time.monotonic()
        await backend.answer(_small(backend), 1)
    except GristmillError as problem:
        error = str(problem)
    finally:
        seconds = time.monotonic() - started
        await backend.close()
    return {
        "model": spec,
        "can": sorted(backend.can),
        "context": backend.context,
        "price": [backend.price.input, backend.price.output] if backend.price else None,
        "concurrency": backend.concurrency,
        "seconds": seconds,
        "error": error,
    }


def _small(backend: Backend) -> Question:
    if "Chat" in backend.can:
        return Question("chat", messages=[Message("user", "Say hello.")], sampling={"max_tokens": 16})
    if "Complete" in backend.can:
        return Question("complete", prompt="Hello", sampling={"max_tokens": 4})
    return Question("embed", texts=["hello"])
