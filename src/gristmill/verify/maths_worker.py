"""The child process of `maths.py`: reads questions, a JSON object a line, and answers each with a word.

It is run as a script, so that it loads the library and nothing of gristmill. If its parent is gone in the middle of a
question, the alarm ends it; else the end of its input does.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

MEMORY = 2 << 30
"""Bytes of address space. A number with a billion digits ends here."""
RELATIVE = 1e-6
"""The library rounds to six places, so that 0.0000001 would be 0.0000002: numbers must agree to this share."""


def compare(library: Any, config: list[Any], given: str, gold: str) -> str:
    def parse(formula: str) -> list[Any]:
        found: list[Any] = library.parse(
            f"${formula}$", config, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True
        )
        return found

    one, other = parse(given), parse(gold)
    if not (one and other):
        return "undecided"
    if not library.verify(other, one, timeout_seconds=None, raise_on_error=True):
        return "different"
    percent = "%" in given + gold  # 50% is 0.5 and 50
    return "equal" if percent or near(one[0], other[0]) else "different"


def near(one: Any, other: Any) -> bool:
    """Of two numbers, whether they differ by little of what they are; True of anything else."""
    if one == other or not all(getattr(side, "is_number", False) for side in (one, other)):
        return True
    with suppress(TypeError, ValueError, OverflowError):  # a number that no float can hold
        a, b = complex(one.doit()), complex(other.doit())
        return abs(a - b) <= RELATIVE * max(abs(a), abs(b))
    return False


def main(output: TextIO) -> None:
    logging.disable(logging.CRITICAL)
    try:
        library = import_module("math_verify")
    except ImportError:
        print("missing", file=output, flush=True)
        return
    config = [library.LatexExtractionConfig(boxed_match_priority=-1)]
    with suppress(ImportError, OSError, ValueError):
        resource: Any = import_module("resource")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    compare(library, config, "x + 1", "1 + x")  # so that no comparison pays for what is loaded late
    print("ready", file=output, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, question["seconds"] + 1)
        try:
            verdict = compare(library, config, question["given"], question["gold"])
        except Exception:  # noqa: BLE001  # what the library raises on hostile input is no known set
            verdict = "undecided"
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(verdict, file=output, flush=True)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer
    main(answers)
