"""Whether an answer is the gold one: numbers and spellings at once and exactly, all else by computer algebra.

What is decided here needs no library and depends on the two texts alone. What `verify.maths` decides depends on a
clock, too, so it goes into the journal: a replay compares nothing, and says the same on every machine.
"""

from __future__ import annotations

import re
from fractions import Fraction

from gristmill.engine.run import Run
from gristmill.ops.answers import last_boxed, normalise, number
from gristmill.verify.maths import LONGEST, Same, compare, require

SCIENTIFIC = re.compile(r"\s*[-+]?\d+(?:\.\d*)?[eE][-+]?\d{1,3}\s*")
OPTION = re.compile(r"\(?([A-Ja-j])(?:[).:](?:\s.*)?)?", re.DOTALL)


async def same(run: Run, given: str, gold: str, *, tolerance: float = 0.0, seconds: float = 5.0) -> Same:
    """Is the answer that was given the gold one? "undecided" is a reject of its own, and never "equal".

    Args:
        tolerance: share of the gold number by which a number may be off; two whole numbers must be the same.
        seconds: for the comparison, where it takes algebra.

    Raises:
        BadInput: it takes algebra and the library is missing; `require` says so before the first call.
    """
    if (told := at_once(given, gold, tolerance)) is not None:
        return told
    formulas = [(last_boxed(text) or text).strip() for text in (given, gold)]
    verdict: Same = await run.once("maths", compare, *formulas, seconds)
    return verdict


def at_once(given: str, gold: str, tolerance: float = 0.0) -> Same | None:
    """What needs no algebra: the same spelling, two numbers, two letters of options. None: it does."""
    if max(len(given), len(gold)) > LONGEST:
        return "equal" if given == gold else "undecided"
    spellings = normalise(given), normalise(gold)
    if not all(spellings):
        return "undecided"
    if spellings[0] == spellings[1]:
        return "equal"
    a, b = _number(given), _number(gold)
    if a is not None and b is not None:
        if ("%" in given) != ("%" in gold) and _near(*((a / 100, b) if "%" in given else (a, b / 100)), tolerance):
            return "equal"  # 0.25 is 25%; that 25 is, too, is in the spelling
        return "equal" if _near(a, b, tolerance) else "different"
    options = OPTION.fullmatch(given.strip()), OPTION.fullmatch(gold.strip())
    if options[0] and options[1]:
        return "equal" if options[0][1].lower() == options[1][1].lower() else "different"
    return None


def _number(answer: str) -> Fraction | None:
    return Fraction(answer.strip()) if SCIENTIFIC.fullmatch(answer) else number(answer)


def _near(given: Fraction, gold: Fraction, tolerance: float) -> bool:
    if given.denominator == gold.denominator == 1:
        return given == gold
    return abs(given - gold) <= Fraction(tolerance) * abs(gold)


__all__ = ["Same", "at_once", "require", "same"]
