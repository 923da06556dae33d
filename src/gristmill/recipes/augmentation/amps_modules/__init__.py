"""The problem generators of the recipe `amps`: programs that draw, solve and verify mathematics problems. No model.

`MODULES` holds them by name; `generate` draws from one. All is exact arithmetic on whole numbers and fractions: with a
computer algebra system a seed would give other problems after every upgrade of it, fifty times more slowly.
"""

from __future__ import annotations

from random import Random

from gristmill.recipes.augmentation.amps_modules import (  # noqa: F401 - importing a topic registers its modules
    algebra,
    calculus,
    counting_statistics,
    geometry,
    linear_algebra,
    number_theory,
)
from gristmill.recipes.augmentation.amps_modules.base import MODULES, Module, Problem

__all__ = ["MODULES", "Module", "Problem", "generate"]


def generate(module: str | Module, rng: Random) -> Problem | None:
    """One draw of a module, by its name or itself. None where the draw is degenerate: draw again."""
    return (MODULES[module] if isinstance(module, str) else module).draw(rng)
