"""Calculus: derivatives, integrals, limits, series, differential equations.

The checks differentiate and integrate numerically what the question prints; none of them knows a rule of calculus.
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from fractions import Fraction
from math import factorial, gcd, log, log1p, pi
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, nonzero, worked
from gristmill.recipes.augmentation.amps_modules.read import POINTS, area, close, slope, steep, value, values
from gristmill.recipes.augmentation.amps_modules.write import (
    forms,
    number,
    point,
    poly,
    power,
    surd,
    total,
)

NEAR = (0.37, 1.21, 1.83, 2.45)  # where functions are compared that grow fast or need x > 0
Coefficients = Sequence[int | Fraction]


def derivative(p: Coefficients) -> list[Fraction]:
    degree = len(p) - 1
    return [Fraction(c) * (degree - i) for i, c in enumerate(p[:-1])] or [Fraction(0)]


def antiderivative(p: Coefficients) -> list[Fraction]:
    degree = len(p) - 1
    return [Fraction(c) / (degree - i + 1) for i, c in enumerate(p)] + [Fraction(0)]


def at(p: Coefficients, x: Fraction | int) -> Fraction:
    result = Fraction(0)
    for c in p:
        result = result * x + c
    return result


def product(p: Coefficients, q: Coefficients) -> list[Fraction]:
    result = [Fraction(0)] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            result[i + j] += a * b
    return result


def polynomial(rng: Random, degree: int, most: int = 9) -> list[int]:
    return [nonzero(rng, most), *(rng.randint(-most, most) for _ in range(degree))]


def is_derivative(answer: str, function: str, places: tuple[float, ...] = NEAR) -> bool:
    """The answer is the slope of the function."""
    return all(close(value(answer, x=x), steep(function, x=x)) for x in places)


def is_antiderivative(answer: str, function: str, places: tuple[float, ...] = NEAR) -> bool:
    """The function is the slope of the answer, and the answer names its constant."""
    return answer.endswith("+ C") and all(close(steep(answer, x=x, C=0), value(function, x=x)) for x in places)


# Derivatives


def ask_derivative(rng: Random, text: str) -> str:
    return rng.choice(
        [
            f"Differentiate ${text}$ with respect to $x$.",
            f"Let $f(x) = {text}$. Find $f'(x)$.",
            f"Compute $\\frac{{d}}{{dx}}\\left({text}\\right)$.",
            f"What is the derivative of $f(x) = {text}$?",
        ]
    )


@module("calculus", steps=True)
def derivative_of_polynomial(rng: Random) -> Problem:
    """The power rule, term by term."""
    p = polynomial(rng, rng.randint(2, 5), 12)
    text, answer = poly(p), poly(derivative(p))
    degree = len(p) - 1
    rows = [
        f"The derivative of ${total((c, power('x', degree - i)))}$ is "
        f"${total((c * (degree - i), power('x', degree - i - 1)))}$."
        for i, c in enumerate(p[:-1])
        if c
    ]
    steps = worked("Differentiate each power; a constant has derivative $0$.", *rows, f"The sum is ${answer}$.")
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text), steps)


@module("calculus", steps=True)
def product_rule(rng: Random) -> Problem:
    """A product of two polynomials, the result multiplied out."""
    p, q = polynomial(rng, rng.randint(1, 2)), polynomial(rng, rng.randint(1, 2))
    text = f"({poly(p)})({poly(q)})"
    left, right = product(derivative(p), q), product(p, derivative(q))
    answer = poly([a + b for a, b in zip(left, right, strict=True)])
    steps = worked(
        "By the product rule $(uv)' = u'v + uv'$.",
        f"Here $u' = {poly(derivative(p))}$ and $v' = {poly(derivative(q))}$.",
        f"So $u'v = {poly(left)}$ and $uv' = {poly(right)}$.",
        f"Added up, the derivative is ${answer}$.",
    )
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text), steps)


@module("calculus", steps=True)
def quotient_rule(rng: Random) -> Problem | None:
    """A quotient of a polynomial and a linear function."""
    p, q = polynomial(rng, rng.randint(1, 2)), [nonzero(rng, 5), nonzero(rng, 9)]
    if at(p, Fraction(-q[1], q[0])) == 0:
        return None
    text = f"\\frac{{{poly(p)}}}{{{poly(q)}}}"
    left, right = product(derivative(p), q), product(p, derivative(q))
    top = [a - b for a, b in zip([Fraction(0)] * (len(right) - len(left)) + left, right, strict=True)]
    while top[0] == 0:
        top = top[1:]
    answer = f"\\frac{{{poly(top)}}}{{({poly(q)})^2}}"
    steps = worked(
        "By the quotient rule $\\left(\\frac{u}{v}\\right)' = \\frac{u'v - uv'}{v^2}$.",
        f"Here $u' = {poly(derivative(p))}$ and $v' = {q[0]}$.",
        f"So $u'v = {poly(left)}$ and $uv' = {poly(right)}$.",
        f"The derivative is ${answer}$.",
    )
    pole = -q[1] / q[0]
    places = (pole + 1.3, pole - 2.1, pole + 3.7, pole - 4.4)
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text, places), steps)


@module("calculus", steps=True)
def chain_rule(rng: Random) -> Problem:
    """A power of a polynomial."""
    p, n = polynomial(rng, rng.randint(1, 2)), rng.randint(3, 9)
    inside, inner = poly(p), derivative(p)
    text = f"({inside})^{n}"
    outer = f"({inside})^{n - 1}"
    answer = f"{number(n * inner[0])}{outer}" if len(inner) == 1 else f"{n}{outer}({poly(inner)})"
    steps = worked(
        f"The outer function is $u^{n}$ with $u = {inside}$; its derivative is ${n}u^{n - 1}$.",
        f"The inner derivative is $u' = {poly(inner)}$.",
        f"Their product is ${answer}$.",
    )
    places = tuple(float(x) for x in POINTS[1:6])
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text, places), steps)


@module("calculus", steps=True)
def derivative_with_exponential(rng: Random) -> Problem:
    """A polynomial times an exponential."""
    p, k = polynomial(rng, rng.randint(1, 2)), nonzero(rng, 5)
    exponential = f"e^{{{total((k, 'x'))}}}"
    text = f"({poly(p)}){exponential}"
    inner = [Fraction(0), *derivative(p)]
    result = [k * a + b for a, b in zip(p, inner, strict=True)]
    answer = f"({poly(result)}){exponential}"
    steps = worked(
        f"By the product rule, differentiate the polynomial and keep the exponential: "
        f"$({poly(derivative(p))}){exponential}$.",
        f"Keep the polynomial and differentiate the exponential, which brings the factor ${k}$: "
        f"$({poly([k * c for c in p])}){exponential}$.",
        f"The sum is ${answer}$.",
    )
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text), steps)


@module("calculus", steps=True)
def derivative_of_waves(rng: Random) -> Problem:
    """Sines and cosines with inner factors."""
    a, b, (k, m) = nonzero(rng, 9), nonzero(rng, 9), distinct(rng, 2, 1, 9)
    sine, cosine = f"\\sin\\left({total((k, 'x'))}\\right)", f"\\cos\\left({total((m, 'x'))}\\right)"
    text = total((a, sine), (b, cosine))
    turned = (f"\\cos\\left({total((k, 'x'))}\\right)", f"\\sin\\left({total((m, 'x'))}\\right)")
    answer = total((a * k, turned[0]), (-b * m, turned[1]))
    steps = worked(
        f"The derivative of ${sine}$ is ${total((k, turned[0]))}$.",
        f"The derivative of ${cosine}$ is ${total((-m, turned[1]))}$.",
        f"With the factors ${a}$ and ${b}$ this makes ${answer}$.",
    )
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text), steps)


def fraction(top: str, bottom: str) -> str:
    """A quotient with its sign in front."""
    return f"-{fraction(top[1:], bottom)}" if top.startswith("-") else f"\\frac{{{top}}}{{{bottom}}}"


@module("calculus")
def derivative_of_composite(rng: Random) -> Problem:
    """Logarithms, roots, waves and exponentials inside each other."""
    a, b, c, n = rng.randint(1, 9), rng.randint(1, 9), rng.randint(2, 5), rng.randint(1, 4)
    u, inner, x = total((a, power("x", n)), (b, "")), a * n, power("x", n - 1)  # u' is inner times x
    cx, log_u, bracket = f"\\left({total((c, 'x'))}\\right)", f"\\ln\\left({u}\\right)", f"({u})"
    wave, turned, half = f"\\sin{cx}", f"\\cos{cx}", Fraction(inner, 2)
    root, sine = f"\\sqrt{{{u}}}", "\\sin"
    text, answer = rng.choice(
        [
            (log_u, fraction(total((inner, x)), u)),
            (root, fraction(total((half.numerator, x)), total((half.denominator, root)))),
            (
                power("x", c) + log_u,
                total((c, power("x", c - 1) + log_u), (1, fraction(total((inner, power("x", n + c - 1))), u))),
            ),
            (f"{bracket}e^{{{wave}}}", f"\\left({total((c, bracket + turned), (inner, x))}\\right)e^{{{wave}}}"),
            (bracket + wave, total((c, bracket + turned), (inner, x + wave))),
            (f"\\cos\\left({log_u}\\right)", fraction(total((-inner, f"{x}\\sin\\left({log_u}\\right)")), u)),
            (power(sine, c) + cx, f"{c * c}{power(sine, c - 1)}{cx}{turned}"),
            (power(f"[{log_u}]", c), fraction(total((c * inner, x + power(f"[{log_u}]", c - 1))), u)),
        ]
    )
    return Problem(ask_derivative(rng, text), [answer], lambda s: is_derivative(s, text))


@module("calculus")
def second_derivative(rng: Random) -> Problem:
    """The derivative of the derivative of a power times an exponential or a wave."""
    a, k, n, b = nonzero(rng, 6), nonzero(rng, 4), rng.randint(1, 3), nonzero(rng, 9)
    shape = rng.choice(("e", "\\sin", "\\cos"))
    k = k if shape == "e" else abs(k)
    # f = a x^n g(kx): f'' = a (x^n k^2 g'' + 2n x^(n-1) k g' + n(n-1) x^(n-2) g)
    top, middle, last = a * k * k, 2 * a * n * k, a * n * (n - 1)
    x = [power("x", n - i) if n >= i else "" for i in range(3)]
    if shape == "e":
        g = f"e^{{{total((k, 'x'))}}}"
        answer = f"\\left({total((top, x[0]), (middle, x[1]), (last, x[2]))}\\right){g}"
    else:
        other, sign = ("\\cos", 1) if shape == "\\sin" else ("\\sin", -1)
        inside = f"\\left({total((k, 'x'))}\\right)"
        g, h = shape + inside, other + inside
        polynomial_part = total((-top, x[0]), (last, x[2]))
        ahead = f"\\left({polynomial_part}\\right){g}" if last else f"{polynomial_part}{g}"
        rest = total((1, "?"), (sign * middle, x[1] + h)).removeprefix("?")
        answer = ahead + rest
    text = total((a, x[0] + g), (b, "x"))
    question = rng.choice(
        [f"Find the second derivative of $f(x) = {text}$.", f"Let $f(x) = {text}$. Compute $f''(x)$."]
    )

    def bends(s: str) -> bool:
        return all(close(value(s, x=u), slope(lambda v: steep(text, x=v), u), 1e-7) for u in (0.31, 0.83, 1.17))

    return Problem(question, [answer], bends)


@module("calculus")
def implicit_slope(rng: Random) -> Problem | None:
    """The slope of a conic at a point on it."""
    a, b, c = rng.randint(1, 5), rng.randint(-5, 5), nonzero(rng, 5)
    x, y = nonzero(rng, 6), nonzero(rng, 6)
    down = b * x + 2 * c * y
    if down == 0:
        return None
    left = total((a, "x^2"), (b, "xy"), (c, "y^2"))
    level = a * x * x + b * x * y + c * y * y
    question = rng.choice(
        [
            f"Find $\\frac{{dy}}{{dx}}$ at the point $({x}, {y})$ of the curve ${left} = {level}$.",
            f"What is the slope of the tangent to ${left} = {level}$ at $({x}, {y})$?",
        ]
    )

    def tangent(s: str) -> bool:  # walk along it: the level must not change to first order
        m = value(s)
        return abs(slope(lambda t: value(left, x=x + t, y=y + float(m) * t), 0.0)) < 1e-7

    return Problem(question, forms(Fraction(-(2 * a * x + b * y), down)), tangent)


@module("calculus")
def partial_derivative(rng: Random) -> Problem:
    """One unknown moves, the other stands still."""
    (i, j), (m, n) = distinct(rng, 2, 1, 5), distinct(rng, 2, 1, 5)
    a, b, c = nonzero(rng, 9), nonzero(rng, 9), nonzero(rng, 9)
    text = total((a, power("x", i) + power("y", m)), (b, power("x", j)), (c, power("y", n)))
    if rng.random() < 0.5:
        name, answer = "x", total((a * i, power("x", i - 1) + power("y", m)), (b * j, power("x", j - 1)))
    else:
        name, answer = "y", total((a * m, power("x", i) + power("y", m - 1)), (c * n, power("y", n - 1)))
    question = rng.choice(
        [
            f"Find $\\frac{{\\partial f}}{{\\partial {name}}}$ for $f(x, y) = {text}$.",
            f"Compute the partial derivative of $f(x, y) = {text}$ with respect to ${name}$.",
        ]
    )

    def moves(s: str) -> bool:
        for x, y in ((0.7, 1.3), (1.9, -0.6), (-1.1, 0.8)):
            here = {"x": x, "y": y}
            if not close(value(s, **here), steep(text, name, **here)):
                return False
        return True

    return Problem(question, [answer], moves)


@module("calculus")
def directional_derivative(rng: Random) -> Problem:
    """How fast a surface rises along a Pythagorean direction."""
    a, b, c = nonzero(rng, 6), nonzero(rng, 6), nonzero(rng, 6)
    x, y = rng.randint(-5, 5), rng.randint(-5, 5)
    u, v, w = rng.choice(((3, 4, 5), (5, 12, 13), (8, 15, 17), (4, 3, 5), (12, 5, 13)))
    u, v = u * rng.choice((-1, 1)), v * rng.choice((-1, 1))
    text = total((a, "x^2"), (b, "xy"), (c, "y^2"))
    question = rng.choice(
        [
            f"Find the directional derivative of $f(x, y) = {text}$ at $({x}, {y})$ in the direction of $({u}, {v})$.",
            f"At $({x}, {y})$, how fast does $f(x, y) = {text}$ change per unit of length towards $({u}, {v})$?",
        ]
    )
    result = Fraction((2 * a * x + b * y) * u + (b * x + 2 * c * y) * v, w)

    def walks(s: str) -> bool:
        return close(value(s), slope(lambda t: value(text, x=x + t * u / w, y=y + t * v / w), 0.0), 1e-7)

    return Problem(question, forms(result), walks)


# What derivatives are good for


@module("calculus", steps=True)
def tangent_line(rng: Random) -> Problem:
    """The line that touches a parabola or a cubic."""
    p, a = polynomial(rng, rng.randint(2, 3), 6), rng.randint(-4, 4)
    text, m, y = poly(p), at(derivative(p), a), at(p, a)
    answer = f"y = {poly([m, y - m * a])}"
    question = rng.choice(
        [
            f"Find the tangent line to $y = {text}$ at $x = {a}$.",
            f"Which line touches the curve $y = {text}$ at the point with $x = {a}$?",
        ]
    )
    steps = worked(
        f"At $x = {a}$ the curve has height ${number(y)}$.",
        f"The derivative is ${poly(derivative(p))}$, which is ${number(m)}$ there.",
        f"The line through $({a}, {number(y)})$ with slope ${number(m)}$ is ${answer}$.",
    )

    def touches(s: str) -> bool:
        meets = value(s, x=Fraction(a)) == value(text, x=Fraction(a))
        rise, straight = value(s, x=1) - value(s, x=0), value(s, x=2) + value(s, x=0) == 2 * value(s, x=1)
        return bool(meets and straight and close(rise, steep(text, x=a)))

    return Problem(question, [answer], touches, steps)


@module("calculus", steps=True)
def local_extremum(rng: Random) -> Problem:
    """The hill or the valley of a cubic with whole turning points."""
    low, high = sorted(distinct(rng, 2, -6, 6))
    a = nonzero(rng, 3) * (2 if (low + high) % 2 else 1)
    # f' = 3a(x - low)(x - high)
    p: Coefficients = [a, Fraction(-3 * a * (low + high), 2), 3 * a * low * high, rng.randint(-20, 20)]
    text, first, second = poly(p), derivative(p), derivative(derivative(p))
    kind = rng.choice(("maximum", "minimum"))
    x = low if (a > 0) == (kind == "maximum") else high
    answer = point(x, at(p, x))
    question = rng.choice(
        [
            f"At which point does $f(x) = {text}$ have a local {kind}?",
            f"Find the local {kind} of the curve $y = {text}$. Give its coordinates.",
        ]
    )
    steps = worked(
        f"The derivative ${poly(first)}$ is zero at $x = {low}$ and $x = {high}$.",
        f"The second derivative ${poly(second)}$ is ${number(at(second, low))}$ at $x = {low}$ and "
        f"${number(at(second, high))}$ at "
        f"$x = {high}$.",
        f"It is {'negative' if kind == 'maximum' else 'positive'} at $x = {x}$, so the local {kind} lies there, at "
        f"${answer}$.",
    )

    def peak(s: str) -> bool:
        u, v = values(s)
        around = [value(text, x=u + Fraction(k, 100)) for k in (-2, -1, 1, 2)]
        beyond = all(w < v for w in around) if kind == "maximum" else all(w > v for w in around)
        return bool(value(text, x=u) == v and beyond)

    return Problem(question, [answer], peak, steps)


@module("calculus")
def maximum_on_interval(rng: Random) -> Problem:
    """The largest or smallest value on a closed interval, at a turning point or at an end."""
    low, high = sorted(distinct(rng, 2, -4, 4))
    a = 2 * nonzero(rng, 3)
    p = [a, -3 * a * (low + high) // 2, 3 * a * low * high, rng.randint(-20, 20)]
    left, right = sorted(distinct(rng, 2, -6, 6))
    kind = rng.choice(("largest", "smallest"))
    places = [left, right, *(x for x in (low, high) if left < x < right)]
    result = (max if kind == "largest" else min)(at(p, x) for x in places)
    text = poly(p)
    question = rng.choice(
        [
            f"Find the {kind} value of $f(x) = {text}$ on the interval $[{left}, {right}]$.",
            f"What is the {kind} value that ${text}$ takes for ${left} \\le x \\le {right}$?",
        ]
    )

    def on_a_grid(s: str) -> bool:  # whole turning points lie on the grid
        grid = [value(text, x=left + Fraction(k, 4)) for k in range(4 * (right - left) + 1)]
        return bool(value(s) == (max if kind == "largest" else min)(grid))

    return Problem(question, [number(result)], on_a_grid)


@module("calculus")
def inflection_point(rng: Random) -> Problem:
    """Where a cubic changes its bend."""
    a, h = nonzero(rng, 4), rng.randint(-5, 5)
    p = [a, -3 * a * h, rng.randint(-12, 12), rng.randint(-20, 20)]
    text = poly(p)
    question = rng.choice(
        [
            f"Find the inflection point of $y = {text}$.",
            f"At which point does the curve $y = {text}$ change its concavity?",
        ]
    )

    def symmetric(s: str) -> bool:  # a cubic is symmetric about its inflection point, and about no other
        u, v = values(s)
        return all(value(text, x=u + d) + value(text, x=u - d) == 2 * v for d in (0, 1, 2, 5))

    return Problem(question, [point(h, at(p, h))], symmetric)


@module("calculus")
def newton_step(rng: Random) -> Problem | None:
    """One step of Newton's method."""
    p, start = polynomial(rng, 3, 6), rng.randint(-4, 4)
    m = at(derivative(p), start)
    if m == 0 or at(p, start) == 0:
        return None
    text = poly(p)
    question = rng.choice(
        [
            f"Newton's method is applied to $f(x) = {text}$ with $x_0 = {start}$. Find $x_1$.",
            f"Starting at $x_0 = {start}$, do one step of Newton's method for ${text} = 0$. Which $x_1$ results?",
        ]
    )

    def on_the_tangent(s: str) -> bool:
        height = float(value(text, x=start)) + steep(text, x=start) * float(value(s) - start)
        return abs(height) < 1e-6

    return Problem(question, forms(start - at(p, start) / m), on_the_tangent)


@module("calculus")
def mean_value_point(rng: Random) -> Problem:
    """Where k/x has the slope of its chord."""
    a, b = sorted(distinct(rng, 2, 1, 30))
    k = nonzero(rng, 12)
    text = f"{'-' if k < 0 else ''}\\frac{{{abs(k)}}}{{x}}"
    question = rng.choice(
        [
            f"Find the number $c$ that the mean value theorem promises for $f(x) = {text}$ on $[{a}, {b}]$.",
            f"At which $c$ between ${a}$ and ${b}$ is the tangent of $y = {text}$ parallel to its chord over $[{a}, "
            f"{b}]$?",
        ]
    )

    def parallel(s: str) -> bool:
        c = float(value(s))
        chord = (value(text, x=b) - value(text, x=a)) / (b - a)
        return a < c < b and close(steep(text, x=c), chord)

    return Problem(question, [surd(1, a * b)], parallel)


@module("calculus")
def largest_rectangle(rng: Random) -> Problem:
    """A fence of given length, one side free."""
    length, price = 4 * rng.randint(5, 150), rng.choice((1, 2))
    place = rng.choice(("river", "wall", "cliff", "canal", "barn"))
    question = rng.choice(
        [
            f"A farmer fences a rectangular field along a straight {place}; the side at the {place} needs no fence. "
            f"With "
            f"${length}$ metres of fence, what is the largest possible area in square metres?",
            f"Three sides of a rectangle are built from ${length}$ metres of fence, the fourth is a {place}. How many "
            f"square metres "
            f"can it enclose at most?",
        ]
        if price == 1
        else [
            f"A rectangular pen is fenced on all four sides and divided by one fence parallel to a side. There are "
            f"${length}$ "
            f"metres of fence in all. What is the largest total area in square metres?",
            f"With ${length}$ metres of fence, somebody builds a rectangle and one more fence across it, parallel to "
            f"two of its "
            f"sides. Find the greatest area in square metres.",
        ]
    )
    # one side x occurs 2 (or 3) times, the other once (or twice)
    m, n = (2, 1) if price == 1 else (3, 2)
    result = Fraction(length * length, 4 * m * n)

    def nothing_larger(s: str) -> bool:
        best = max(k * (12 * length - m * k) for k in range(12 * length // m))  # k twelfths of a metre
        return bool(value(s) == Fraction(best, 144 * n))

    return Problem(question, forms(result), nothing_larger)


@module("calculus")
def related_rates(rng: Random) -> Problem:
    """A growing circle, square, cube or sphere."""
    r, rate = rng.randint(2, 30), rng.randint(1, 9)
    body, size, what, result, law = rng.choice(
        [
            ("circle", "radius", "area", number(2 * r * rate) + "\\pi", "\\pi r^2"),
            ("square", "side", "area", number(2 * r * rate), "r^2"),
            ("cube", "edge", "volume", number(3 * r * r * rate), "r^3"),
            ("sphere", "radius", "volume", number(4 * r * r * rate) + "\\pi", "\\frac{4}{3}\\pi r^3"),
            ("sphere", "radius", "surface area", number(8 * r * rate) + "\\pi", "4\\pi r^2"),
        ]
    )
    question = rng.choice(
        [
            f"The {size} of a {body} grows at ${rate}$ cm a second. How fast does its {what} grow when the {size} is "
            f"${r}$ cm?",
            f"When the {size} of a growing {body} is ${r}$ cm, it increases by ${rate}$ cm per second. At what rate "
            f"does the {what} "
            f"increase at this moment?",
        ]
    )

    def grows(s: str) -> bool:
        return close(value(s), slope(lambda t: value(law, r=r + rate * t), 0.0), 1e-6)

    return Problem(question, [result], grows)


@module("calculus")
def particle_at_rest(rng: Random) -> Problem:
    """When the velocity is zero."""
    first, second = sorted(distinct(rng, 2, 1, 12))
    a = rng.randint(1, 3) * (2 if (first + second) % 2 else 1)
    text = poly([a, Fraction(-3 * a * (first + second), 2), 3 * a * first * second, rng.randint(-9, 9)], "t")
    question = rng.choice(
        [
            f"A particle moves on a line, its position at time $t \\ge 0$ being $s(t) = {text}$. At which times is it "
            f"at rest?",
            f"The position of a point is $s(t) = {text}$. When is its velocity zero?",
        ]
    )

    def stands(s: str) -> bool:
        times = [float(value(part)) for part in s.replace("\\text{ and }", ",").split(",")]
        return len(set(times)) == 2 and all(abs(steep(text, "t", t=t)) < 1e-9 for t in times)

    answers = [f"t = {first} \\text{{ and }} t = {second}", f"{first}, {second}"]
    return Problem(question, answers, stands)


@module("calculus")
def linear_approximation(rng: Random) -> Problem:
    """A root near a square, by the tangent."""
    n, d = rng.randint(2, 20), nonzero(rng, 3)
    degree = rng.choice((2, 3))
    base = n**degree
    root = f"\\sqrt{{{base + d}}}" if degree == 2 else f"\\sqrt[3]{{{base + d}}}"
    name = "square" if degree == 2 else "cube"
    question = rng.choice(
        [
            f"Use the tangent line at $x = {base}$ to estimate ${root}$. Give a fraction.",
            f"Estimate ${root}$ by linear approximation of the {name} root about ${base}$. Give the exact value of "
            f"the estimate.",
        ]
    )

    def on_the_tangent(s: str) -> bool:
        steep = slope(lambda u: u ** (1 / degree), base, base / 100)
        return close(value(s), n + steep * d, 1e-8)

    return Problem(question, forms(n + Fraction(d, degree * n ** (degree - 1)))[:2], on_the_tangent)


# Integrals


def ask_integral(rng: Random, text: str) -> str:
    return rng.choice(
        [
            f"Find $\\int {text} \\, dx$.",
            f"Find all antiderivatives of $f(x) = {text}$. Use $C$ for the constant.",
            f"Compute the indefinite integral $\\int {text} \\, dx$.",
        ]
    )


@module("calculus", steps=True)
def antiderivative_of_polynomial(rng: Random) -> Problem:
    """The power rule, backwards."""
    p = polynomial(rng, rng.randint(2, 4), 12)
    text, answer = poly(p), f"{poly(antiderivative(p))} + C"
    degree = len(p) - 1
    rows = [
        f"An antiderivative of ${total((c, power('x', degree - i)))}$ is "
        f"${total((Fraction(c, degree - i + 1), power('x', degree - i + 1)))}$."
        for i, c in enumerate(p)
        if c
    ]
    steps = worked(*rows, f"With the constant of integration we get ${answer}$.")
    return Problem(ask_integral(rng, f"({text})"), [answer], lambda s: is_antiderivative(s, text), steps)


@module("calculus", steps=True)
def definite_integral(rng: Random) -> Problem:
    """A polynomial between two whole numbers."""
    p = polynomial(rng, rng.randint(1, 3), 8)
    a, b = sorted(distinct(rng, 2, -5, 6))
    text, whole = poly(p), antiderivative(p)
    result = at(whole, b) - at(whole, a)
    question = rng.choice(
        [
            f"Evaluate $\\int_{{{a}}}^{{{b}}} ({text}) \\, dx$.",
            f"Find the definite integral of $f(x) = {text}$ from $x = {a}$ to $x = {b}$.",
        ]
    )
    steps = worked(
        f"An antiderivative is $F(x) = {poly(whole)}$.",
        f"$F({b}) = {number(at(whole, b))}$ and $F({a}) = {number(at(whole, a))}$.",
        f"The integral is $F({b}) - F({a}) = {number(result)}$.",
    )
    return Problem(question, forms(result), lambda s: close(value(s), area(lambda x: value(text, x=x), a, b, 1)), steps)


@module("calculus")
def antiderivative_of_waves(rng: Random) -> Problem:
    """Exponentials and waves with inner factors."""
    a, b, k, m = nonzero(rng, 9), nonzero(rng, 9), nonzero(rng, 6), rng.randint(2, 7)
    exponential, inside = f"e^{{{total((k, 'x'))}}}", f"\\left({total((m, 'x'))}\\right)"
    wave, whole, sign = rng.choice((("\\sin", "\\cos", -1), ("\\cos", "\\sin", 1)))
    text = total((a, exponential), (b, wave + inside))
    answer = f"{total((Fraction(a, k), exponential), (Fraction(sign * b, m), whole + inside))} + C"
    return Problem(ask_integral(rng, f"\\left({text}\\right)"), [answer], lambda s: is_antiderivative(s, text))


@module("calculus", steps=True)
def integral_by_substitution(rng: Random) -> Problem:
    """x times a power of ax^2 + b."""
    a, b, c, n = rng.randint(1, 5), nonzero(rng, 9), nonzero(rng, 9), rng.randint(2, 7)
    inside = poly([a, 0, b])
    text = f"{total((c, 'x'))}({inside})^{n}"
    factor = Fraction(c, 2 * a * (n + 1))
    answer = f"{total((factor, f'({inside})^{n + 1}'))} + C"
    steps = worked(
        f"Put $u = {inside}$, so $du = {2 * a}x \\, dx$.",
        f"The integral becomes $\\int {total((Fraction(c, 2 * a), power('u', n)))} \\, du$.",
        f"That is ${total((factor, power('u', n + 1)))} + C$.",
        f"Back in $x$: ${answer}$.",
    )
    places = (-0.83, 0.37, 0.71, 1.21)
    return Problem(ask_integral(rng, text), [answer], lambda s: is_antiderivative(s, text, places), steps)


@module("calculus", steps=True)
def integral_by_parts(rng: Random) -> Problem:
    """A linear function times an exponential, or times a wave."""
    a, b, k = nonzero(rng, 8), rng.randint(-9, 9), rng.randint(1, 5) * rng.choice((1, -1))
    linear, kx = poly([a, b]), total((k, "x"))
    if rng.random() < 0.5:
        name, first, second = f"e^{{{kx}}}", (Fraction(1, k), f"e^{{{kx}}}"), (Fraction(1, k * k), f"e^{{{kx}}}")
        result = f"\\left({poly([Fraction(a, k), Fraction(b, k) - Fraction(a, k * k)])}\\right)e^{{{kx}}}"
    else:
        kx = total((abs(k), "x"))
        name, k = f"\\sin\\left({kx}\\right)", abs(k)
        first, second = (
            (Fraction(-1, k), f"\\cos\\left({kx}\\right)"),
            (Fraction(-1, k * k), f"\\sin\\left({kx}\\right)"),
        )
        cosine, sine = f"\\left({poly([Fraction(-a, k), Fraction(-b, k)])}\\right)", Fraction(a, k * k)
        result = f"{cosine}{first[1]} {'+' if sine > 0 else '-'} {total((abs(sine), second[1]))}"
    text, answer = f"({linear}){name}", f"{result} + C"
    steps = worked(
        f"Integrate by parts with $u = {linear}$ and $v' = {name}$, so $u' = {a}$ and $v = {total(first)}$.",
        f"An antiderivative of $v$ is ${total(second)}$.",
        f"Hence $uv - \\int u'v \\, dx$ is ${answer}$.",
    )
    return Problem(ask_integral(rng, text), [answer], lambda s: is_antiderivative(s, text), steps)


@module("calculus")
def integral_with_logarithm(rng: Random) -> Problem:
    """a/(bx + c)."""
    a, b, c = nonzero(rng, 12), rng.randint(1, 9), nonzero(rng, 12)
    below = poly([b, c])
    text = f"{'-' if a < 0 else ''}\\frac{{{abs(a)}}}{{{below}}}"
    answer = total((Fraction(a, b), f"\\ln\\left|{below}\\right|")) + " + C"
    pole = -c / b
    places = (pole + 1.1, pole - 1.7, pole + 2.3, pole - 3.9)

    def rises(s: str) -> bool:  # both sides of the pole; an absolute value has no step into the complex plane
        def height(x: float) -> float:
            return float(value(s, x=x, C=0))

        return s.endswith("+ C") and all(close(slope(height, x), value(text, x=x), 1e-6) for x in places)

    return Problem(ask_integral(rng, text), [answer], rises)


@module("calculus")
def area_between_curves(rng: Random) -> Problem:
    """A parabola and a line that meet at whole places."""
    low, high = sorted(distinct(rng, 2, -7, 7))
    a, m, n = nonzero(rng, 5), rng.randint(-6, 6), rng.randint(-9, 9)
    parabola, line = poly([a, m - a * (low + high), n + a * low * high]), poly([m, n])
    question = rng.choice(
        [
            f"Find the area enclosed by $y = {parabola}$ and $y = {line}$.",
            f"The curves $y = {parabola}$ and $y = {line}$ bound a region. What is its area?",
        ]
    )

    def between(s: str) -> bool:
        def gap(x: float) -> float:
            return float(value(parabola, x=x) - value(line, x=x))

        crossings = [x for x in range(-20, 21) if gap(x) == 0]
        return close(value(s), abs(area(gap, crossings[0], crossings[-1], 1)))

    return Problem(question, forms(Fraction(abs(a) * (high - low) ** 3, 6)), between)


@module("calculus")
def average_value(rng: Random) -> Problem:
    """The mean height of a polynomial over an interval."""
    p = polynomial(rng, 2, 9)
    a, b = sorted(distinct(rng, 2, -6, 8))
    text, whole = poly(p), antiderivative(p)
    question = rng.choice(
        [
            f"Find the average value of $f(x) = {text}$ on $[{a}, {b}]$.",
            f"What is the mean of ${text}$ over the interval from ${a}$ to ${b}$?",
        ]
    )

    def sampled(s: str) -> bool:  # the mean of parabola heights at midpoints, with the known error of midpoints removed
        coarse, fine = (sum(float(value(text, x=a + (b - a) * (k + 0.5) / n)) for k in range(n)) / n for n in (16, 32))
        return close(value(s), (4 * fine - coarse) / 3)

    return Problem(question, forms((at(whole, b) - at(whole, a)) / (b - a)), sampled)


@module("calculus")
def volume_of_revolution(rng: Random) -> Problem:
    """A line or a parabola turned about the x-axis."""
    p = [rng.randint(1, 4), *(rng.randint(0, 5) for _ in range(rng.choice((1, 1, 2))))]
    a, b = sorted(distinct(rng, 2, 0, 5))
    text, whole = poly(p), antiderivative(product(p, p))
    result = at(whole, b) - at(whole, a)
    question = rng.choice(
        [
            f"The region under $y = {text}$ for ${a} \\le x \\le {b}$ is rotated about the $x$-axis. Find the volume "
            f"of the solid.",
            f"Compute the volume that arises when $y = {text}$, $x$ from ${a}$ to ${b}$, turns around the $x$-axis.",
        ]
    )
    above = total((result.numerator, "\\pi"))
    answer = above if result.denominator == 1 else f"\\frac{{{above}}}{{{result.denominator}}}"

    def discs(s: str) -> bool:
        return close(value(s), area(lambda x: pi * value(text, x=x) ** 2, a, b, 1))

    return Problem(question, [answer], discs)


@module("calculus")
def improper_integral(rng: Random) -> Problem:
    """An endless region with a finite area."""
    c, a = rng.randint(1, 20), rng.randint(1, 9)
    if rng.random() < 0.5:
        p = rng.randint(2, 5)
        text = f"\\frac{{{c}}}{{{power('x', p)}}}"
        answers = forms(Fraction(c, (p - 1) * a ** (p - 1)))
    else:
        k = rng.randint(1, 5)
        text = f"{c if c > 1 else ''}e^{{{total((-k, 'x'))}}}"
        answers = [f"{total((Fraction(c, k), 'e^{' + str(-k * a) + '}'))}"]
    question = rng.choice(
        [
            f"Evaluate $\\int_{{{a}}}^{{\\infty}} {text} \\, dx$.",
            f"Find the area under $y = {text}$ to the right of $x = {a}$.",
        ]
    )

    def unrolled(s: str) -> bool:  # with x = a + t/(1 - t) the endless side becomes 0 to 1
        def inner(t: float) -> float:
            return float(value(text, x=a + t / (1 - t)).real) / (1 - t) ** 2

        expected = area(inner, 0, 1 - 1e-12, 24)
        return bool(abs(value(s) - expected) <= 1e-6 * abs(expected))

    return Problem(question, answers, unrolled)


@module("calculus")
def double_integral(rng: Random) -> Problem:
    """A polynomial over a rectangle."""
    a, b = sorted(distinct(rng, 2, -3, 4))
    c, d = sorted(distinct(rng, 2, -3, 4))
    (i, j), u, v = (rng.randint(1, 3), rng.randint(1, 2)), nonzero(rng, 6), nonzero(rng, 6)
    text = total((u, power("x", i) + power("y", j)), (v, "y"))

    def span(n: int, low: int, high: int) -> Fraction:
        return Fraction(high ** (n + 1) - low ** (n + 1), n + 1)

    result = u * span(i, a, b) * span(j, c, d) + v * (b - a) * span(1, c, d)
    question = rng.choice(
        [
            f"Evaluate $\\int_{{{c}}}^{{{d}}} \\int_{{{a}}}^{{{b}}} ({text}) \\, dx \\, dy$.",
            f"Integrate $f(x, y) = {text}$ over the rectangle ${a} \\le x \\le {b}$, ${c} \\le y \\le {d}$.",
        ]
    )

    def both_ways(s: str) -> bool:
        return close(value(s), area(lambda y: area(lambda x: value(text, x=x, y=y), a, b, 1), c, d, 1), 1e-8)

    return Problem(question, forms(result), both_ways)


# Limits and series


@module("calculus", steps=True)
def removable_limit(rng: Random) -> Problem | None:
    """A rational function at a hole."""
    a, r, s = distinct(rng, 3, -9, 9)
    m, n = rng.randint(1, 3), rng.randint(1, 3)
    if m == n == 1 and r == s:
        return None
    top, bottom = product([1, -a], [m, -r]), product([1, -a], [n, -s])
    below = Fraction(n * a - s)
    if below == 0:
        return None
    text = f"\\frac{{{poly(top)}}}{{{poly(bottom)}}}"
    result = (m * a - r) / below
    question = rng.choice(
        [f"Find $\\lim_{{x \\to {a}}} {text}$.", f"What does ${text}$ approach as $x$ approaches ${a}$?"]
    )
    steps = worked(
        f"Numerator and denominator are both zero at $x = {a}$, so each holds the factor ${poly([1, -a])}$.",
        f"Without it the fraction is $\\frac{{{poly([m, -r])}}}{{{poly([n, -s])}}}$.",
        f"At $x = {a}$ this is ${number(result)}$.",
    )

    def approached(answer: str) -> bool:  # the mean of both sides is off by a square of the distance
        d = Fraction(1, 10**6)
        return close(float(value(answer)), float(value(text, x=a + d) + value(text, x=a - d)) / 2, 1e-8)

    return Problem(question, forms(result), approached, steps)


@module("calculus")
def limit_at_infinity(rng: Random) -> Problem:
    """A rational function far away."""
    n = rng.randint(1, 4)
    top, bottom = polynomial(rng, n, 12), polynomial(rng, n + rng.choice((0, 0, 0, 1)), 12)
    text = f"\\frac{{{poly(top)}}}{{{poly(bottom)}}}"
    result = Fraction(top[0], bottom[0]) if len(top) == len(bottom) else Fraction(0)
    question = rng.choice(
        [f"Find $\\lim_{{x \\to \\infty}} {text}$.", f"Which number does ${text}$ approach for large $x$?"]
    )
    return Problem(
        question, forms(result), lambda s: abs(value(s) - value(text, x=Fraction(10**9))) < Fraction(1, 10**6)
    )


@module("calculus")
def trigonometric_limit(rng: Random) -> Problem:
    """Sines and tangents near 0."""
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    ax, bx = total((a, "x")), total((b, "x"))
    text, result = rng.choice(
        [
            (f"\\frac{{\\sin\\left({ax}\\right)}}{{{bx}}}", Fraction(a, b)),
            (f"\\frac{{\\sin\\left({ax}\\right)}}{{\\sin\\left({bx}\\right)}}", Fraction(a, b)),
            (f"\\frac{{\\tan\\left({ax}\\right)}}{{{bx}}}", Fraction(a, b)),
            (f"\\frac{{1 - \\cos\\left({ax}\\right)}}{{{total((b, 'x^2'))}}}", Fraction(a * a, 2 * b)),
            (f"\\frac{{e^{{{ax}}} - 1}}{{{bx}}}", Fraction(a, b)),
            (f"\\frac{{\\ln\\left(1 + {ax}\\right)}}{{\\sin\\left({bx}\\right)}}", Fraction(a, b)),
        ]
    )
    question = rng.choice([f"Find $\\lim_{{x \\to 0}} {text}$.", f"What is the limit of ${text}$ as $x$ goes to $0$?"])

    def near_zero(s: str) -> bool:  # both sides of 0, extrapolated
        coarse, fine = ((value(text, x=h) + value(text, x=-h)) / 2 for h in (2e-3 / a, 1e-3 / a))
        return close(value(s), (4 * fine - coarse) / 3, 1e-6)

    return Problem(question, forms(result), near_zero)


@module("calculus")
def exponential_limit(rng: Random) -> Problem:
    """(1 + a/x)^(bx), and its like."""
    a, b, c = nonzero(rng, 12), rng.randint(1, 6), nonzero(rng, 9)
    text = f"\\left(1 {'+' if a > 0 else '-'} \\frac{{{abs(a)}}}{{x}}\\right)^{{{poly([b, c])}}}"
    question = rng.choice(
        [f"Find $\\lim_{{x \\to \\infty}} {text}$.", f"Which number does ${text}$ approach as $x \\to \\infty$?"]
    )
    answer = power("e", a * b)

    def far_out(s: str) -> bool:
        return abs(log(value(s)) - (b * 1e9 + c) * log1p(a / 1e9)) < 1e-5

    return Problem(question, [answer], far_out)


@module("calculus")
def taylor_polynomial(rng: Random) -> Problem:
    """The beginning of a power series about 0."""
    a, k, degree = nonzero(rng, 6), nonzero(rng, 5), rng.randint(3, 5)
    kx = total((k, "x"))
    text, coefficients = rng.choice(
        [
            (f"e^{{{kx}}}", [Fraction(k**n, factorial(n)) for n in range(degree + 1)]),
            (
                f"\\sin\\left({kx}\\right)",
                [Fraction((-1) ** (n // 2) * k**n, factorial(n)) if n % 2 else Fraction(0) for n in range(degree + 1)],
            ),
            (
                f"\\cos\\left({kx}\\right)",
                [Fraction(0) if n % 2 else Fraction((-1) ** (n // 2) * k**n, factorial(n)) for n in range(degree + 1)],
            ),
            (f"(1 {'-' if k > 0 else '+'} {total((abs(k), 'x'))})^{{-1}}", [Fraction(k**n) for n in range(degree + 1)]),
            (
                f"\\ln\\left({total((1, ''), (k, 'x'))}\\right)",
                [Fraction(0)] + [Fraction((-1) ** (n + 1) * k**n, n) for n in range(1, degree + 1)],
            ),
        ]
    )
    text = text if a == 1 else f"{'-' if a == -1 else a}{text}"
    answer = total(*((a * c, power("x", n)) for n, c in enumerate(coefficients)))
    question = rng.choice(
        [
            f"Find the Taylor polynomial of degree ${degree}$ of $f(x) = {text}$ about $x = 0$.",
            f"Expand ${text}$ in powers of $x$ up to $x^{degree}$.",
        ]
    )

    def on_a_circle(s: str) -> bool:  # Cauchy: the mean of f(z)/z^n on a circle is the coefficient of z^n
        radius, count = 0.5 / abs(k), 32
        circle = [radius * cmath.exp(2j * pi * i / count) for i in range(count)]
        written = [value(s, x=z) for z in circle]
        gaps = [value(text, x=z) - w for z, w in zip(circle, written, strict=True)]

        def coefficient(heights: list[complex], n: int) -> float:
            return float(abs(sum(h / z**n for h, z in zip(heights, circle, strict=True))) / count)

        agrees = all(coefficient(gaps, n) < 1e-5 for n in range(degree + 1))
        return agrees and all(coefficient(written, n) < 1e-5 for n in range(degree + 1, 9))

    return Problem(question, [answer], on_a_circle)


@module("calculus")
def radius_of_convergence(rng: Random) -> Problem:
    """By the ratio of neighbouring coefficients."""
    p, q = rng.randint(1, 30), rng.randint(1, 30)
    shared = gcd(p, q)
    p, q, m = p // shared, q // shared, rng.randint(0, 3)
    top, below = f"{p}^n" if p > 1 else "", " \\cdot ".join(filter(None, [power("n", m), f"{q}^n" if q > 1 else ""]))
    coefficient = f"\\frac{{{top or 1}}}{{{below}}}" if below else top
    centre = rng.randint(-6, 6)
    unit = "x^n" if centre == 0 else f"({poly([1, -centre])})^n"
    question = rng.choice(
        [
            f"Find the radius of convergence of $\\sum_{{n=1}}^{{\\infty}} {coefficient}{unit}$.",
            f"How large is the radius of convergence of the power series $\\sum_{{n \\ge 1}} {coefficient}{unit}$?",
        ]
    )

    def ratio(s: str) -> bool:  # far terms vanish just inside and explode just outside
        r = value(s)
        tame, wild = (float(r * x * p / q) ** 2_000_000 for x in (1 - Fraction(1, 10**5), 1 + Fraction(1, 10**5)))
        return tame < 1e-8 and wild > 1e8

    return Problem(question, forms(Fraction(q, p)), ratio)


# Differential equations


@module("calculus")
def first_order_equation(rng: Random) -> Problem | None:
    """y' = ky + c with a starting value."""
    k, c, start = nonzero(rng, 6), rng.randint(-12, 12), nonzero(rng, 12)
    level = Fraction(-c, k)
    exponential = f"e^{{{total((k, 'x'))}}}"
    answer = f"y = {total((start - level, exponential), (level, ''))}"
    if start == level:
        return None  # it stands still
    law = total((k, "y"), (c, ""))
    question = rng.choice(
        [
            f"Solve $y' = {law}$ with $y(0) = {start}$.",
            f"Find the function $y(x)$ with $\\frac{{dy}}{{dx}} = {law}$ and $y(0) = {start}$.",
        ]
    )

    def obeys(s: str) -> bool:
        def y(x: float) -> float:
            return float(value(s, x=x))

        return close(y(0.0), start) and all(
            close(slope(y, x, 1e-3), value(law, y=y(x)), 1e-6) for x in (-0.7, 0.2, 0.9)
        )

    return Problem(question, [answer], obeys)


@module("calculus")
def second_order_equation(rng: Random) -> Problem | None:
    """y'' + py' + qy = 0 with whole roots and starting values."""
    r, s = sorted(distinct(rng, 2, -4, 4))
    a, b = nonzero(rng, 6), nonzero(rng, 6)
    if r == 0 or s == 0:
        return None
    law = total((1, "y''"), (-r - s, "y'"), (r * s, "y"))
    first, second = (f"e^{{{total((k, 'x'))}}}" for k in (r, s))
    answer = f"y = {total((a, first), (b, second))}"
    question = rng.choice(
        [
            f"Solve ${law} = 0$ with $y(0) = {a + b}$ and $y'(0) = {a * r + b * s}$.",
            f"Find $y(x)$ if ${law} = 0$, $y(0) = {a + b}$, $y'(0) = {a * r + b * s}$.",
        ]
    )

    def obeys(text: str) -> bool:
        def y(x: float) -> float:
            return float(value(text, x=x))

        def speed(x: float) -> float:
            return slope(y, x)

        starts = close(y(0.0), a + b) and close(speed(0.0), a * r + b * s, 1e-6)
        return starts and all(
            abs(slope(speed, x, 0.02) - (r + s) * speed(x) + r * s * y(x)) < 1e-4 * (1 + abs(y(x)))
            for x in (-0.4, 0.3, 0.7)
        )

    return Problem(question, [answer], obeys)
