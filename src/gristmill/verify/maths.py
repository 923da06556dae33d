"""Whether two formulas are equal, by computer algebra (the library math-verify, in the extra `maths`).

Promised: a comparison ends in time, whatever a model wrote (9^9^9^9, an endless simplification, a megabyte of LaTeX):
it runs in a child process that is killed and replaced when it hangs. "equal" is only said of what was read and found
equal. Callable from any thread.
Not promised: that what is equal is always found to be. And the clock is part of the answer: a slow machine may be
undecided where a fast one is not, so recipes ask through `ops.maths`, which journals.
"""

from __future__ import annotations

import atexit
import os
import re
from pathlib import Path
from typing import Literal

from gristmill import packages
from gristmill.verify.workers import Pool

Same = Literal["equal", "different", "undecided"]
"""Undecided: at least one could not be read, or the comparison did not end in time. Never to be taken for "equal"."""

LONGEST = 1000
"""Characters of a formula; what is longer is not looked at."""
WORKER = Path(__file__).with_name("maths_worker.py")
MOST_WORKERS = 4

PYTHON = [  # how Python and sympy print, in LaTeX
    (re.compile(r"\*\*\s*(-?\d+|\([^()]*\))"), r"^{\1}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\\a-zA-Z])log(?![a-zA-Z])"), r"\\ln "),  # \log is that of 10 to the library
    (re.compile(r"(?<![\\a-zA-Z])(pi|sin|cos|tan|ln|exp)(?![a-zA-Z])"), r"\\\1 "),
    (re.compile(r"(?<![\\a-zA-Z])oo(?![a-zA-Z])"), r"\\infty "),
    (re.compile(r"(?<=\d)[eE]([-+]?\d{1,3})(?![\d.])"), r" \\times 10^{\1}"),
]
ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\(((?:[^()]|\([^()]*\))*)\)")
ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-z]{1,12}\*?\}|\\[a-zA-Z]+|(?<![a-zA-Z])sqrt(?![a-zA-Z])")
NO_FORMULA = re.compile(r"[a-zA-Z]{3}|\d\s*:\s*\d|\^\s*(?:\{[^{}]*\}|\w+)\s*\^")
"""Words, which the library takes for products of letters ("yes" is "sye" to it), times ("7:15" is "14:30"), and powers
of powers, which it takes from the left and Python from the right."""


def require() -> None:
    """Raises BadInput where math-verify is not installed; for a recipe's check."""
    packages.require("comparing formulas", "maths", "math_verify")


def compare(given: str, gold: str, seconds: float = 5.0) -> Same:
    """Are two formulas, in LaTeX or as Python prints them, equal? Blocks for `seconds` at most once a worker runs.

    Args:
        given: what a model arrived at.
        gold: what it is held against. The two are not treated alike: of "x = 5" and "5" either may be gold.

    Raises:
        BadInput: the library is missing.
        GristmillError: the worker does not start.
    """
    formulas = [latex(given), latex(gold)]
    if not all(map(readable, formulas)):
        return "undecided"
    said = _pool.ask({"given": formulas[0], "gold": formulas[1], "seconds": seconds}, seconds)
    return "equal" if said == "equal" else "different" if said == "different" else "undecided"


def latex(answer: str) -> str:
    """An answer as one line of LaTeX without dollar signs around it."""
    text = " ".join(answer[: LONGEST + 1].replace("$", " ").split())
    for pattern, replacement in PYTHON:
        text = pattern.sub(replacement, text)
    while (rooted := ROOT.sub(r"\\sqrt{\1}", text)) != text:
        text = rooted
    return text


def readable(formula: str) -> bool:
    """Whether it is worth asking the library: short enough, not empty, no words."""
    return 0 < len(formula) <= LONGEST and not NO_FORMULA.search(ENVIRONMENT.sub(" ", formula))


def workers(most: int) -> Pool:
    return Pool(WORKER, "math-verify", require, most)


_pool = workers(min(MOST_WORKERS, os.cpu_count() or 1))
close = _pool.close
"""End all workers; they end with the interpreter by themselves."""
atexit.register(close)
