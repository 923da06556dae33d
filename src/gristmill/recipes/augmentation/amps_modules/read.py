"""Reading LaTeX answers back, and testing them numerically. The modules' checks are written with these.

`value` is a small recursive-descent reader of the LaTeX that modules write (and of sympy's): exact fractions as far as
they go, floats or complex numbers beyond. It looks at the printed text only, so it also catches a bug of the printing.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

Number = Any  # Fraction where exact, else float or complex; Python's own tower has no common type for these

TOKEN = re.compile(
    r"\s+|\\left\||\\right\||\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[,;:! ]"
    r"|(?P<token>\\[a-zA-Z]+|\d+(?:\.\d+)?|[a-zA-Z]|[-+*/^_(){}\[\]!])"
)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "\\sin": cmath.sin,
    "\\cos": cmath.cos,
    "\\tan": cmath.tan,
    "\\exp": cmath.exp,
    "\\ln": cmath.log,
    "\\log": cmath.log,
    "\\arctan": cmath.atan,
    "\\arcsin": cmath.asin,
}
CONSTANTS: dict[str, Number] = {"\\pi": math.pi, "e": math.e, "i": 1j}
OPENS = {"(": ")", "{": "}", "[": "]", "\\left|": "\\right|"}

# Places for comparing two functions: no whole numbers, since those are where the modules put poles and roots.
POINTS = tuple(
    Fraction(*pair) for pair in ((-37, 10), (-13, 7), (-3, 11), (5, 13), (13, 9), (29, 11), (41, 10), (61, 9))
)


def value(text: str, **variables: Number) -> Number:
    """The value of an expression; of an equation ("x = 3") that of its right side.

    Raises ValueError for a text that is no expression.
    """
    return real(_evaluate(text, variables))


def steep(text: str, name: str = "x", **at: Number) -> float:
    """The derivative of an expression in one of its variables at a place, to rounding, without a rule of calculus.

    A step into the complex plane: f(x + ih) = f(x) + ih f'(x) + ..., so its imaginary part over h is the slope. For
    analytic functions: an absolute value is none (use `slope`).
    """
    tiny = 1e-100
    return float(complex(_evaluate(text, {**at, name: complex(at[name], tiny)})).imag / tiny)


def values(text: str) -> list[Number]:
    """The values of a list: "2, 3", "x = 2 \\text{ or } x = 3", "(2, 3)", "1 \\pm \\sqrt{2}" (two values)."""
    text = re.sub(r"\\text\{\s*(?:or|and)\s*\}", ",", text).strip()
    if re.fullmatch(r"(?:\\left)?\((?:[^()]|\([^()]*\))*\)|\\\{.*\\\}", text):
        text = re.sub(r"^(?:\\left)?\(|^\\\{|(?:\\right)?\)$|\\\}$", "", text)
    found = []
    for part in _split(text, ","):
        for sign in ("+", "-") if "\\pm" in part else ("",):
            found.append(value(part.replace("\\pm", sign)))
    return found


def entries(text: str) -> list[list[Number]]:
    """The rows of a matrix."""
    body = re.fullmatch(r"\s*(?:[A-Za-z]\s*=\s*)?\\begin\{bmatrix\}(.*)\\end\{bmatrix\}\s*", text, re.DOTALL)
    if not body:
        raise ValueError(f"{text!r} is no matrix")
    return [[value(cell) for cell in row.split("&")] for row in body[1].split("\\\\")]


def vector(text: str) -> list[Number]:
    """The entries of a column vector."""
    rows = entries(text)
    if any(len(row) != 1 for row in rows):
        raise ValueError(f"{text!r} is no column")
    return [row[0] for row in rows]


def whole(text: str) -> int:
    """A whole number, written as one."""
    return int(re.fullmatch(r"(?:[a-zA-Z]\s*=\s*)?(-?\d+)", text.strip())[1])  # type: ignore[index]


def brackets(text: str) -> list[str]:
    """The brackets of a product, each as often as its power says: "3x(x - 1)^2" gives two. Else ValueError."""
    product = re.fullmatch(r"-?\d*(?:\\frac\{\d+\}\{\d+\})?[a-z]?(?:\^\d)?((?:\([^()]+\)(?:\^\d+)?)+)", text)
    if not product:
        raise ValueError(f"{text!r} is no product of brackets")
    found = re.findall(r"\(([^()]+)\)(?:\^(\d+))?", product[1])
    return [inside for inside, exponent in found for _ in range(int(exponent or 1))]


def real(x: Number) -> Number:
    """Without an imaginary part that is nothing but rounding."""
    if isinstance(x, complex) and abs(x.imag) <= 1e-12 * max(1.0, abs(x.real)):
        return x.real
    return x


def close(a: Number, b: Number, tolerance: float = 1e-9) -> bool:
    """Equal, exactly where both are exact, else within a relative tolerance."""
    if isinstance(a, (int, Fraction)) and isinstance(b, (int, Fraction)):
        return a == b
    return bool(abs(complex(a) - complex(b)) <= tolerance * max(1.0, abs(complex(a)), abs(complex(b))))


def same(text: str, function: Callable[[Number], Number], name: str = "x", tolerance: float = 1e-9) -> bool:
    """The expression equals the function at more points than the degree of any polynomial here."""
    return all(close(value(text, **{name: x}), function(x), tolerance) for x in POINTS)


def same_set(text: str, right: list[Number], tolerance: float = 1e-9) -> bool:
    """A list holds exactly the right values, each once, in any order."""
    found = values(text)
    return len(found) == len(right) and all(any(close(x, y, tolerance) for x in found) for y in right)


def roots(text: str, function: Callable[[Number], Number], count: int, tolerance: float = 1e-9) -> bool:
    """A list of `count` different values at which the function is 0."""
    found = values(text)
    different = all(not close(x, y, 1e-6) for i, x in enumerate(found) for y in found[:i])
    return len(found) == count and different and all(abs(complex(function(x))) < tolerance * 1e3 for x in found)


def slope(function: Callable[[Number], Number], x: Number, step: float = 1e-2) -> float:
    """The derivative at a point by central differences, extrapolated twice: good to about 9 digits."""
    at, estimates = float(x), []
    for h in (step, step / 2, step / 4):
        estimates.append(float((function(at + h) - function(at - h)).real) / (2 * h))
    first = [(4 * b - a) / 3 for a, b in pairwise(estimates)]
    return (16 * first[1] - first[0]) / 15


def area(function: Callable[[float], Number], low: Number, high: Number, pieces: int = 16) -> float:
    """The integral over [low, high] by Gauss's rule with five nodes a piece: exact to rounding for smooth functions."""
    nodes = ((0.0, 128 / 225), (0.5384693101056831, 0.47862867049936647), (0.906179845938664, 0.23692688505618908))
    a, width, result = float(low), (float(high) - float(low)) / pieces, 0.0
    for piece in range(pieces):
        middle = a + width * (piece + 0.5)
        for node, weight in nodes:
            for x in {middle - node * width / 2, middle + node * width / 2}:
                result += weight * float(real(function(x))) * width / 2
    return result


def _evaluate(text: str, variables: dict[str, Number]) -> Number:
    reader = _Reader(_tokens(text.rpartition("=")[2]), variables)
    result = reader.sum()
    if reader.at < len(reader.tokens):
        raise ValueError(f"{text!r}: not understood from {reader.tokens[reader.at]!r} on")
    return result


@lru_cache(maxsize=512)  # a check evaluates the same text at many places
def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise ValueError(f"{text!r}: {text[at]!r} is no LaTeX that is read here")
        if match[0].endswith("|"):
            tokens.append(match[0])
        elif token := match["token"]:
            tokens.append(token)
        at = match.end()
    return tokens


def _split(text: str, separator: str) -> list[str]:
    """Split outside of all brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


class _Reader:
    """Evaluates while it reads. Each method takes one level of the grammar from `tokens[at]` on."""

    def __init__(self, tokens: list[str], variables: dict[str, Number]) -> None:
        self.tokens = tokens
        self.at = 0
        self.names = {**CONSTANTS, **variables}

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise ValueError("the expression breaks off")
        self.at += 1
        return token

    def sum(self) -> Number:
        result = self.product()
        while self.peek() in {"+", "-"}:
            sign = 1 if self.take() == "+" else -1
            result = result + sign * self.product()
        return result

    def product(self) -> Number:
        if self.peek() in {"+", "-"}:
            return (-1 if self.take() == "-" else 1) * self.product()
        result = self.powers()
        while token := self.peek():
            if token in {"\\cdot", "\\times", "*"}:
                self.take()
                result = result * self.signed()
            elif token in {"/", "\\div"}:
                self.take()
                result = _divide(result, self.signed())
            elif (
                token[0].isalnum()
                or token in {"(", "{", "[", "\\left|", "\\frac", "\\sqrt", *FUNCTIONS}
                or token in self.names
            ):
                result = result * self.powers()  # written side by side
            else:
                break
        return result

    def signed(self) -> Number:
        if self.peek() in {"+", "-"}:
            return (-1 if self.take() == "-" else 1) * self.signed()
        return self.powers()

    def powers(self) -> Number:
        result = self.atom()
        while self.peek() in {"^", "!"}:
            result = math.factorial(int(result)) if self.take() == "!" else _power(result, self.script())
        return result

    def script(self) -> Number:
        """What stands after ^ or _: a group, a name or a single number."""
        return self.group() if self.peek() == "{" else self.atom()

    def group(self) -> Number:
        closing = OPENS[self.take()]
        result = self.sum()
        if self.take() != closing:
            raise ValueError(f"{closing!r} is missing")
        return result

    def atom(self) -> Number:
        token = self.peek()
        if token == "\\left|":
            return abs(self.group())
        if token in OPENS:
            return self.group()
        self.take()
        if token[0].isdigit():
            return Fraction(token)
        if token == "\\frac":
            top = self.group()
            return _divide(top, self.group())
        if token == "\\sqrt":
            degree = self.group() if self.peek() == "[" else Fraction(2)
            return _root(self.group(), degree)
        if token in FUNCTIONS:
            return self.apply(token)
        if token in self.names:
            return self.names[token]
        raise ValueError(f"{token!r} is not known here")

    def apply(self, name: str) -> Number:
        base = None
        exponent: Number = Fraction(1)
        while self.peek() in {"^", "_"}:
            if self.take() == "^":
                exponent = self.script()
            else:
                base = self.script()
        argument = self.atom()
        result = FUNCTIONS[name](argument)
        if not isinstance(argument, complex):
            result = real(result)
        if base is not None:
            result = result / math.log(base)
        return _power(result, exponent)


def _divide(a: Number, b: Number) -> Number:
    return Fraction(a) / b if isinstance(a, int) else a / b


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        exponent = int(exponent)
        if abs(exponent) > 10_000:
            raise ValueError("too large a power")
    return base**exponent


def _root(x: Number, degree: Number) -> Number:
    if isinstance(x, Fraction) and degree == 2 and x >= 0:
        top, bottom = math.isqrt(x.numerator), math.isqrt(x.denominator)
        if top * top == x.numerator and bottom * bottom == x.denominator:
            return Fraction(top, bottom)
    if isinstance(x, complex) or x < 0:
        return -((-x) ** (1 / degree)) if degree == 3 and not isinstance(x, complex) else complex(x) ** (1 / degree)
    return float(x) ** (1 / float(degree))
