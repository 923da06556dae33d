"""Reasoning tasks that come with a checker: the hundred generators of reasoning-gym (extra `tasks`).

Making tasks is done here. Checking an answer is not: several of the library's checkers evaluate the answer as Python, so
they run in the sandbox, `sandbox:reasoning-gym`, through `ops.tasks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from typing import Any

import msgspec

from gristmill import packages
from gristmill.errors import BadInput, nearest
from gristmill.verify.bubblewrap import Bubblewrap
from gristmill.verify.values import Limits

LIMITS = Limits(seconds=60.0, memory_mb=2048)
"""Those of a check: the library alone takes two seconds to load."""


class Task(msgspec.Struct, frozen=True):
    """A question, and what its checker needs to know."""

    generator: str
    """Its name in reasoning-gym."""
    question: str
    answer: str
    """One that is right; others may be."""
    entry: dict[str, Any]
    """The library's own record."""
    settings: dict[str, Any] = {}
    """Of the generator, where they are not its defaults: its checker may depend on them."""


def require() -> None:
    """Raises BadInput where reasoning-gym is not installed."""
    packages.require("tasks with checkers", "tasks", "reasoning_gym")


def names() -> list[str]:
    """The generators there are."""
    require()
    return sorted(_library().factory.DATASETS)


def make(generator: str, *, count: int, seed: int = 0, **settings: Any) -> list[Task]:
    """Tasks of a generator; the same for the same seed and version of the library.

    Args:
        settings: of the generator, as the library documents them.

    Raises:
        BadInput: an unknown generator or setting.
    """
    require()
    library = _library()
    if generator not in library.factory.DATASETS:
        raise BadInput(f"reasoning-gym has no generator {generator!r}: {nearest(generator, library.factory.DATASETS)}")
    if count < 1:
        return []
    try:
        made = library.create_dataset(generator, size=count, seed=seed, **settings)
        entries = [made[number] for number in range(count)]
    except (AssertionError, TypeError, ValueError) as error:
        raise BadInput(f"{generator}: {error}") from None
    plain = [json.loads(json.dumps(entry, default=str)) for entry in entries]
    return [Task(generator, entry["question"], str(entry["answer"]), entry, settings) for entry in plain]


def _library() -> Any:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        import reasoning_gym

    return reasoning_gym


def link() -> Bubblewrap:
    """bubblewrap with reasoning-gym inside."""
    return Bubblewrap(
        ["reasoning-gym"],
        name="reasoning-gym",
        variables={"OPENBLAS_NUM_THREADS": "1"},
        install="pip install 'gristmill[tasks]'",
    )
