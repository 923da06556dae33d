"""What a module of AMPS is: a program that draws a problem, solves it, and can tell a right answer from a wrong one.

A module is a function `(rng) -> Problem | None`, registered under its own name by `@module(topic)`. None is a
degenerate draw (nothing to solve, an unreadable answer): the caller draws again. The same `rng` gives the same problem.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Problem:
    """A question with its answer, and the means to verify it."""

    question: str
    """Plain text, with LaTeX between dollar signs."""
    answers: list[str]
    """Equivalent forms, the preferred one first: LaTeX without dollar signs, or a word such as "Yes"."""
    check: Callable[[str], bool]
    """Is this text a right answer? It reads the text back and tests it on the problem (substitution, brute force,
    numeric evaluation), on another path than the solver took. May raise on a text that it cannot read."""
    steps: str | None = None
    """A worked solution, one step a line. The last one ends with `answers[0]`."""

    def accepts(self, answer: str) -> bool:
        """`check`, where a text that cannot be read is a wrong answer."""
        try:
            return self.check(answer)
        except (ArithmeticError, ValueError, TypeError, LookupError):  # what a malformed text does to `check`
            return False

    def fault(self) -> str:
        """The reason code for which this problem must not leave, or ""."""
        if not all(self.accepts(answer) for answer in self.answers):
            return "answer_check"
        if self.steps is not None and not ends_with(self.steps, self.answers[0]):
            return "steps_miss_answer"
        return ""


Draw = Callable[[Random], Problem | None]


@dataclass(frozen=True)
class Module:
    """A registered module. `name` is the function's, with dashes."""

    name: str
    topic: str
    has_steps: bool
    draw: Draw

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.draw) or ""


MODULES: dict[str, Module] = {}


def module(topic: str, *, steps: bool = False) -> Callable[[Draw], Draw]:
    """Register a module. `steps`: every problem of it comes with a worked solution."""

    def register(draw: Draw) -> Draw:
        name = draw.__name__.replace("_", "-")
        if name in MODULES:
            raise TypeError(f"two modules are named {name}")
        MODULES[name] = Module(name, topic, steps, draw)
        return draw

    return register


def worked(*steps: str) -> str:
    return "\n".join(steps)


def ends_with(steps: str, answer: str) -> bool:
    """The last line ends with the answer, whole: after a space, a dollar sign or an equals sign ("15" is no "5")."""
    last = steps.splitlines()[-1].rstrip(". ").removesuffix("$").rstrip()
    return last.endswith(answer) and last[: len(last) - len(answer)][-1:] in {" ", "$", "="}


def nonzero(rng: Random, most: int) -> int:
    """A whole number from -most to most, never 0."""
    return rng.randint(1, most) * rng.choice((-1, 1))


def distinct(rng: Random, count: int, low: int, high: int) -> list[int]:
    """Different whole numbers of a range, in random order."""
    return rng.sample(range(low, high + 1), count)
