"""Numbers, polynomials, surds and matrices as LaTeX, the way a textbook prints them (no "1x", no "+ -3")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

Rational = int | Fraction


def number(x: Rational) -> str:
    """-3/4 becomes -\\frac{3}{4}."""
    if x.denominator == 1:
        return str(x.numerator)
    return f"{'-' if x < 0 else ''}\\frac{{{abs(x.numerator)}}}{{{x.denominator}}}"


def decimal(x: Rational) -> str | None:
    """The decimal of a fraction that ends after at most four places; None where it does not."""
    scaled = Fraction(x) * 10_000
    if scaled.denominator != 1:
        return None
    whole, part = divmod(abs(scaled.numerator), 10_000)
    digits = f"{part:04d}".rstrip("0")
    return f"{'-' if x < 0 else ''}{whole}{'.' + digits if digits else ''}"


def rounded(x: Rational, places: int) -> str:
    """Rounded half away from zero, with all its places: (5/2, 0) is "3"."""
    scaled = abs(Fraction(x)) * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    digits = f"{whole:0{places + 1}d}"
    sign = "-" if x < 0 and whole else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def forms(x: Rational, before: str = "") -> list[str]:
    """All the ways to write a rational answer: \\frac{3}{4}, 3/4, 0.75; with `before` ("x = ") in front."""
    x = Fraction(x)
    ways = [number(x)]
    if x.denominator != 1:
        ways.append(f"{x.numerator}/{x.denominator}")
        if short := decimal(x):
            ways.append(short)
    return [before + way for way in ways]


def bracketed(x: Rational) -> str:
    """A number that may stand after an operator: (-3)."""
    return f"({number(x)})" if x < 0 else number(x)


def power(base: str, exponent: int) -> str:
    if exponent == 0:
        return ""
    if exponent == 1:
        return base
    return f"{base}^{exponent}" if 0 < exponent < 10 else f"{base}^{{{exponent}}}"


def total(*terms: tuple[Rational, str]) -> str:
    """A sum of coefficient times unit; the unit of a constant is "". total((1, "x"), (-3, "")) is "x - 3"."""
    text = ""
    for coefficient, unit in terms:
        if coefficient == 0:
            continue
        size = coefficient if coefficient > 0 else -coefficient
        body = unit if unit and size == 1 else number(size) + unit
        if text:
            text += f" {'-' if coefficient < 0 else '+'} {body}"
        else:
            text = f"{'-' if coefficient < 0 else ''}{body}"
    return text or "0"


def poly(coefficients: Sequence[Rational], name: str = "x") -> str:
    """A polynomial, highest power first: [1, 0, -2] is "x^2 - 2"."""
    degree = len(coefficients) - 1
    return total(*((c, power(name, degree - i)) for i, c in enumerate(coefficients)))


def factor(root: Rational, name: str = "x") -> str:
    """The bracket that is 0 at a whole or broken root: 2 gives (x - 2), 1/2 gives (2x - 1), 0 gives x."""
    if root == 0:
        return name
    root = Fraction(root)
    return f"({poly([root.denominator, -root.numerator], name)})"


def square_part(n: int) -> tuple[int, int]:
    """(k, m) with n = k*k*m and m free of squares, n > 0."""
    outside, inside, p = 1, n, 2
    while p * p <= inside:
        while inside % (p * p) == 0:
            inside //= p * p
            outside *= p
        p += 1
    return outside, inside


def surd(outside: Rational, radicand: int) -> str:
    """outside times the square root of a positive whole number, simplified: (3/2, 8) is 3\\sqrt{2}."""
    k, m = square_part(radicand)
    x = Fraction(outside) * k
    if m == 1 or x == 0:
        return number(x)
    root = f"\\sqrt{{{m}}}"
    top = root if abs(x.numerator) == 1 else f"{abs(x.numerator)}{root}"
    sign = "-" if x < 0 else ""
    return f"{sign}{top}" if x.denominator == 1 else f"{sign}\\frac{{{top}}}{{{x.denominator}}}"


def point(*coordinates: Rational) -> str:
    return f"({', '.join(map(number, coordinates))})"


def matrix(rows: Iterable[Iterable[Rational]]) -> str:
    body = " \\\\ ".join(" & ".join(map(number, row)) for row in rows)
    return f"\\begin{{bmatrix}} {body} \\end{{bmatrix}}"


def column(entries: Iterable[Rational]) -> str:
    return matrix([x] for x in entries)


def listing(xs: Iterable[Rational]) -> str:
    return ", ".join(map(number, xs))
