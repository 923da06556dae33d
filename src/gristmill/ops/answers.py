"""Final answers of mathematics problems: finding them in a solution, and telling whether two are the same.

Promised: numbers are compared exactly, whatever they wear (3/4, 0.75, \\frac{3}{4}, $0.75). Not promised: algebra.
"x + 1" and "1 + x" are different texts here; to see that they are equal takes a computer algebra system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
NUMBER = re.compile(rf"[-+]?(?:{DIGITS})(?:\s?/\s?(?:{DIGITS}))?")
VALUE = re.compile(
    rf"""
    (?P<sign>[-+]?) \s*
    (?: (?P<whole>[0-9]+) \s+ )? (?P<top>{DIGITS}) (?: \s* / \s* (?P<bottom>-?(?:{DIGITS})) )?
    (?P<unit> \s* [^\W\d_] [^\d^]* (?: \^ \{{? [23] \}}? )? )?
    """,
    re.VERBOSE,
)
BRACE = re.compile(r"\\f?box(?:ed)?\s{0,9}\{|(?<!\\)[{}]")
LONGEST = 1000  # characters of an answer; what is longer is no number, and compared as it stands

LETTER_UNITS = frozenset("mgslh")
"""Letters that may be a unit, after a space: "5 m". Others are unknowns, as is any letter right after a digit."""
ATTACHED_UNITS = frozenset(
    {
        "km",
        "cm",
        "mm",
        "kg",
        "mg",
        "ml",
        "ft",
        "in",
        "lb",
        "lbs",
        "oz",
        "mph",
        "kmh",
        "hr",
        "hrs",
        "min",
        "sec",
        "am",
        "pm",
    }
    | {"st", "nd", "rd", "th", "usd", "eur"}
)
"""Units that may stand right after a digit: "5km". Other letters there are a product of unknowns."""
NO_UNITS = frozenset(
    {"pi", "sqrt", "root", "log", "ln", "sin", "cos", "tan", "mod", "over", "or", "and", "to", "by", "times", "plus"}
    | {"minus", "factorial", "remainder", "hundred", "thousand", "million", "billion", "trillion", "half", "dozen"}
)
"""Words that change the number before them."""

DASHES = str.maketrans({"−": "-", "–": "-", "‐": "-", "‑": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " "})
CLOTHES = [  # LaTeX and marks that say nothing about the answer, in the order in which they come off
    (r"\\(?:text|mathrm|mathbf|textbf|textit|mbox|operatorname|rm)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\(?:left|right|displaystyle|q?quad)(?![a-zA-Z])|\\[()\[\];: ]|~", " "),
    (r"\\[,!](?=[0-9])|(?<=[0-9])\{,\}(?=[0-9])", ""),
    (r"\\[,!]", " "),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac\s*([0-9])\s*([0-9])", r"\\frac{\1}{\2}"),
    (r"(?<=[0-9])\s*\\frac\s*\{([0-9]+)\}\s*\{([0-9]+)\}", r" \1/\2"),
    (r"\\frac\s*\{(-?[\w.,]+)\}\s*\{([\w.,]+)\}", r"\1/\2"),
    (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![a-zA-Z])|°", ""),
    (r"\\?%|\\?[$€£¥₹]", ""),
    (r"(?<![\d.])([0-9]{1,3})((?: [0-9]{3})+)(?![\d ]*/)(?!\d)", lambda m: m[1] + m[2].replace(" ", "")),
    (r"^\s*[a-zA-Z]{1,12}\s*=\s*(?=[^=]+$)", ""),
    (r"^\(([^(),]*)\)$", r"\1"),
    (r" ?([^\w\s]) ?", r"\1"),
]


def final_answer(text: str, cues: Sequence[str] = ("The answer is",), *, last_number: bool = False) -> str | None:
    """The answer that a solution ends with, as it is written; None where there is none.

    What follows the last of the cues, up to the end of its sentence or line; without a cue the last \\boxed{...};
    without that, if wanted, the last number.

    Args:
        text: a worked solution.
        cues: in capitals or not; a colon may follow.
        last_number: fall back to the last number of the text.
    """
    ends = [match.end() for cue in cues for match in re.finditer(re.escape(cue), text, re.IGNORECASE)]
    if ends and (answer := _first_sentence(text[max(ends) :])):
        return answer
    if (boxed := last_boxed(text)) is not None and boxed.strip():
        return boxed.strip()
    if last_number:
        plain = text.translate(DASHES)
        for match in reversed(list(NUMBER.finditer(plain))):
            after_an_operand = match.start() > 0 and (
                plain[match.start() - 1].isalnum() or plain[match.start() - 1] in ")]}"
            )
            return match[0].lstrip("+-") if after_an_operand else match[0]
    return None


def last_boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} that closes, with the braces inside it."""
    opened: list[tuple[int, bool]] = []
    start, found = -1, None
    for brace in BRACE.finditer(text):
        if brace[0] != "}":
            opened.append((brace.end(), brace[0] != "{"))
        elif opened:
            inside, is_box = opened.pop()
            if is_box and inside > start:
                start, found = inside, text[inside : brace.start()]
    return found


def number(answer: str) -> Fraction | None:
    """The exact value of an answer that is one number, whatever it wears: currency, unit, percent sign, LaTeX.

    The percent sign goes like a unit: "25%" is 25. "2x", "3 pi", "5 million" and "5 or 6" are no numbers here.
    """
    return _value(_undressed(answer))


def normalise(answer: str) -> str:
    """One spelling for the ways to write an answer: an exact fraction ("7/4") for numbers, else the text undressed."""
    text = _undressed(answer)
    value = _value(text)
    if value is not None:
        return str(value)
    return text if "\\" in text else text.casefold()


def same_answer(a: str | None, b: str | None) -> bool:
    """Are two answers the same? Numbers by their value, other texts by their spelling. Nothing equals a missing one."""
    if a is None or b is None:
        return False
    return normalise(a) != "" and normalise(a) == normalise(b)


def _first_sentence(text: str) -> str:
    """The answer right after a cue."""
    text = text.lstrip(" \t\n:*=")
    line = text.removeprefix("$$").removeprefix("\\[").lstrip().partition("\n")[0]
    if "\\boxed" in line and (boxed := last_boxed(line)) is not None:
        return boxed.strip()
    sentence = re.split(r"[.!?](?=\s|$|[*\"'”)\]]+(?:\s|$))", line, maxsplit=1)[0].strip(" \t*`\"'”“")
    for opening, closing in (("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if sentence.endswith(closing) and (opening != closing or sentence.count("$") != 1):
            sentence = sentence.removesuffix(closing).removeprefix(opening)
    return sentence.rstrip(".,;: ").strip()


def _undressed(answer: str) -> str:
    text = " ".join(answer.translate(DASHES).split())
    if (boxed := last_boxed(text)) is not None:
        text = boxed
    while len(text) <= LONGEST:  # what comes off can uncover more; no pass makes the text longer
        before = text
        for pattern, replacement in CLOTHES:
            text = re.sub(pattern, replacement, text)  # type: ignore[call-overload]
        text = " ".join(text.split()).lstrip(" *_`'\"“”,;:").rstrip(" *_`'\"“”.,;:")
        if text == before:
            break
    return text


def _value(text: str) -> Fraction | None:
    match = VALUE.fullmatch(text) if len(text) <= LONGEST else None
    if not match or not _is_unit(match["unit"] or ""):
        return None
    top, bottom, whole = (Fraction((match[part] or default).replace(",", "")) for part, default in _PARTS)
    if bottom == 0 or (match["whole"] and not match["bottom"]):
        return None
    return (-1 if match["sign"] == "-" else 1) * (whole + top / bottom)


_PARTS = (("top", "0"), ("bottom", "1"), ("whole", "0"))


def _is_unit(unit: str) -> bool:
    """May this follow a number without changing it?"""
    names = re.findall(r"[^\W\d_]+", unit.lower())
    if not names:
        return True
    if unit[0] != " ":
        return names[0] in ATTACHED_UNITS
    known = len(names[0]) > 1 or names[0] in LETTER_UNITS
    return (
        known
        and not NO_UNITS.intersection(names)
        and not re.search(r"[=+*\\(){}<>|!]", re.sub(r"\^\{?\d\}?$", "", unit))
    )
