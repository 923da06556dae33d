"""How a benchmark says what it found: on the screen, and as records for the table of `mill.py bench`."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version


def figure(what: str, value: str, *, aim: str = "", met: bool | None = None) -> None:
    """Print a figure; with $GRISTMILL_FIGURES also append it to that file, as a line of JSON.

    Args:
        value: a ratio or a count within this run, with its spread where it has one.
        aim: what it should be.
        met: whether it is; None where there is no aim.
    """
    judged = "" if met is None else f"  ({aim}: {'met' if met else 'MISSED'})"
    print(f"{what:<58} {value}{judged}", flush=True)
    if path := os.environ.get("GRISTMILL_FIGURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": value, "aim": aim, "met": met}) + "\n")


def machine() -> str:
    """Versions, and what it ran on."""
    names = ["gristmill", "aiohttp", "msgspec", "numpy", "pyarrow", "ray"]
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{', '.join(found)}, CPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
