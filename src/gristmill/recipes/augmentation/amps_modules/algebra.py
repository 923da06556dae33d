"""Algebra: equations, polynomials, radicals, sequences, word problems.

Most checks read the question's own LaTeX back and put the answer in.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import comb, gcd, isqrt
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, nonzero, worked
from gristmill.recipes.augmentation.amps_modules.read import (
    POINTS,
    brackets,
    close,
    roots,
    same,
    same_set,
    value,
    values,
    whole,
)
from gristmill.recipes.augmentation.amps_modules.write import (
    bracketed,
    factor,
    forms,
    listing,
    number,
    point,
    poly,
    power,
    rounded,
    square_part,
    surd,
    total,
)

NAMES = ("Amara", "Bela", "Chidi", "Dana", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jun", "Kofi", "Lena")


def times(p: list[int], q: list[int]) -> list[int]:
    """The product of two polynomials, highest power first."""
    product = [0] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            product[i + j] += a * b
    return product


def at(p: list[int], x: int) -> int:
    """A polynomial's value."""
    result = 0
    for c in p:
        result = result * x + c
    return result


def either(low: Fraction | int, high: Fraction | int) -> list[str]:
    """Two solutions of an equation in x, as an answer in two forms."""
    return [f"x = {number(low)} \\text{{ or }} x = {number(high)}", listing([low, high])]


# Linear equations and inequalities


@module("algebra", steps=True)
def linear_equation(rng: Random) -> Problem | None:
    """The unknown on both sides."""
    a, b, c, d = (nonzero(rng, 12) for _ in range(4))
    if a == c:
        return None
    left, right, x = poly([a, b]), poly([c, d]), Fraction(d - b, a - c)
    question = rng.choice(
        [
            f"Solve for $x$: ${left} = {right}$.",
            f"For which $x$ is ${left}$ equal to ${right}$?",
            f"Find $x$ if ${left} = {right}$.",
        ]
    )
    steps = worked(
        f"Collect the terms with $x$ on the left and the constants on the right: ${poly([a - c, 0])} = {d - b}$.",
        f"Divide both sides by ${a - c}$: $x = {number(x)}$.",
    )
    answers = forms(x, "x = ") + forms(x)[:1]
    return Problem(question, answers, lambda s: bool(value(left, x=value(s)) == value(right, x=value(s))), steps)


@module("algebra")
def linear_inequality(rng: Random) -> Problem:
    """One unknown, one sign; a negative coefficient turns it round."""
    a, b, c = nonzero(rng, 9), nonzero(rng, 20), nonzero(rng, 40)
    sign = rng.choice(("<", ">", "\\le", "\\ge"))
    turned = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}[sign] if a < 0 else sign
    left = poly([a, b])
    question = rng.choice(
        [
            f"Solve the inequality ${left} {sign} {c}$.",
            f"For which $x$ does ${left} {sign} {c}$ hold?",
            f"Describe all $x$ with ${left} {sign} {c}$.",
        ]
    )

    def true(u: Fraction, relation: str, v: Fraction | int) -> bool:
        return (u == v and relation in ("\\le", "\\ge")) or (u < v if relation in ("<", "\\le") else u > v)

    def holds(answer: str) -> bool:
        _, found, text = answer.split(maxsplit=2)
        edge = value(text)
        near = [edge + Fraction(k, 99) for k in (-99, -1, 0, 1, 99)]
        same_side = all(true(x, found, edge) == true(value(left, x=x), sign, c) for x in near)
        return bool(value(left, x=edge) == c and same_side)

    return Problem(question, forms(Fraction(c - b, a), f"x {turned} "), holds)


@module("algebra")
def absolute_value_equation(rng: Random) -> Problem:
    """|ax + b| = c with two solutions."""
    a, b, c = nonzero(rng, 9), nonzero(rng, 15), rng.randint(1, 25)
    left = f"\\left|{poly([a, b])}\\right|"
    low, high = sorted((Fraction(-c - b, a), Fraction(c - b, a)))
    question = rng.choice(
        [f"Solve ${left} = {c}$.", f"Find all $x$ with ${left} = {c}$.", f"Which numbers satisfy ${left} = {c}$?"]
    )
    return Problem(question, either(low, high), lambda s: roots(s, lambda x: value(left, x=x) - c, 2))


@module("algebra", steps=True)
def tickets(rng: Random) -> Problem:
    """Two prices, a count and a sum: how many of the first kind?"""
    adult, child = distinct(rng, 2, 3, 25)
    m, n = rng.randint(5, 90), rng.randint(5, 90)
    count, money = m + n, m * adult + n * child
    place = rng.choice(("museum", "zoo", "theatre", "swimming pool", "castle"))
    question = rng.choice(
        [
            f"A {place} sells adult tickets at ${adult}$ coins and child tickets at ${child}$ coins. On one day "
            f"${count}$ "
            f"tickets brought in ${money}$ coins. How many adult tickets were sold?",
            f"Tickets for the {place} cost ${adult}$ coins for adults and ${child}$ coins for children. A group of "
            f"${count}$ people paid ${money}$ coins. How many adults were in the group?",
        ]
    )
    steps = worked(
        f"Let $a$ be the number of adults. Then there are ${count} - a$ children.",
        f"The money is ${adult}a + {child}({count} - a) = {money}$.",
        f"So ${total((adult - child, 'a'))} = {money - child * count}$.",
        f"Dividing gives $a = {m}$.",
    )

    def pays(answer: str) -> bool:
        return [a for a in range(count + 1) if a * adult + (count - a) * child == money] == [whole(answer)]

    return Problem(question, [f"a = {m}", str(m)], pays, steps)


@module("algebra")
def proportion(rng: Random) -> Problem:
    """a : b = c : x."""
    a, b, c = rng.randint(2, 40), rng.randint(2, 40), rng.randint(2, 40)
    question = rng.choice(
        [
            f"Find $x$ if $\\frac{{{a}}}{{{b}}} = \\frac{{{c}}}{{x}}$.",
            f"The ratios ${a} : {b}$ and ${c} : x$ are equal. What is $x$?",
            f"A recipe uses ${a}$ cups of flour for ${b}$ cups of milk. How many cups of milk go with ${c}$ cups of "
            f"flour?",
        ]
    )
    return Problem(question, forms(Fraction(b * c, a)), lambda s: bool(Fraction(a, b) == c / value(s)))


@module("algebra")
def variation(rng: Random) -> Problem:
    """z grows with x and falls with y."""
    x1, y1, z1, x2, y2 = (rng.randint(2, 15) for _ in range(5))
    if (x1, y1) == (x2, y2):
        y2 += 1
    question = rng.choice(
        [
            f"$z$ varies directly with $x$ and inversely with $y$. If $z = {z1}$ when $x = {x1}$ and $y = {y1}$, find "
            f"$z$ "
            f"when $x = {x2}$ and $y = {y2}$.",
            f"Suppose $z = \\frac{{kx}}{{y}}$ for a constant $k$, and $z = {z1}$ at $x = {x1}$, $y = {y1}$. What is "
            f"$z$ at "
            f"$x = {x2}$, $y = {y2}$?",
        ]
    )
    answers = forms(Fraction(z1 * y1 * x2, x1 * y2))
    return Problem(question, answers, lambda s: bool(value(s) * y2 / x2 == Fraction(z1 * y1, x1)))


# Quadratics


@module("algebra", steps=True)
def quadratic_factoring(rng: Random) -> Problem | None:
    """ax^2 + bx + c into two brackets."""
    a, b, c, d = rng.randint(1, 4), nonzero(rng, 12), rng.randint(1, 2), nonzero(rng, 12)
    if gcd(a, b) > 1 or gcd(c, d) > 1 or a * d + b * c == 0:
        return None
    p = times([a, b], [c, d])
    text, first, second = poly(p), f"({poly([a, b])})", f"({poly([c, d])})"
    answer = first + second if first != second else f"{first}^2"
    question = rng.choice(
        [
            f"Factor ${text}$.",
            f"Write ${text}$ as a product of linear factors.",
            f"Factorise ${text}$ over the integers.",
        ]
    )
    steps = worked(
        f"We look for two numbers with product ${p[0]} \\cdot {bracketed(p[2])} = {p[0] * p[2]}$ and sum ${p[1]}$: "
        f"they are ${a * d}$ and ${b * c}$.",
        f"Split the middle term: ${total((p[0], 'x^2'), (a * d, 'x'), (b * c, 'x'), (p[2], ''))}$.",
        f"Group: ${total((a, 'x' + second), (b, second))}$.",
        f"Take out the common bracket: ${answer}$.",
    )
    answers = [answer, second + first if first != second else first + first]

    def factors(s: str) -> bool:
        return len(brackets(s)) == 2 and "^2" not in s.split(")")[0] and same(s, lambda x: value(text, x=x))

    return Problem(question, answers, factors, steps)


@module("algebra", steps=True)
def quadratic_roots(rng: Random) -> Problem | None:
    """The quadratic formula, with rational or irrational roots."""
    a, b, c = rng.randint(1, 5), rng.randint(-12, 12), nonzero(rng, 15)
    d = b * b - 4 * a * c
    if d <= 0:
        return None
    text, (k, m) = poly([a, b, c]), square_part(d)
    formula = f"x = \\frac{{{-b} \\pm \\sqrt{{{d}}}}}{{{2 * a}}}"
    if m == 1:
        answers = either(Fraction(-b - k, 2 * a), Fraction(-b + k, 2 * a))
    else:
        middle, half = Fraction(-b, 2 * a), surd(Fraction(k, 2 * a), m)
        answers = [f"x = {number(middle)} \\pm {half}" if b else f"x = \\pm {half}", formula]
    question = rng.choice(
        [f"Solve ${text} = 0$.", f"Find the exact roots of ${text}$.", f"For which real $x$ is ${text} = 0$?"]
    )
    steps = worked(
        f"The discriminant is ${bracketed(b)}^2 - 4 \\cdot {a} \\cdot {bracketed(c)} = {d}$.",
        f"The quadratic formula gives ${formula}$.",
        f"Simplified, ${answers[0]}$.",
    )
    return Problem(question, answers, lambda s: roots(s, lambda x: value(text, x=x), 2), steps)


def square_of(h: Fraction) -> str:
    """(x - h)^2."""
    inside = poly([1, -h])
    return f"\\left({inside}\\right)^2" if h.denominator > 1 else f"({inside})^2" if h else "x^2"


@module("algebra", steps=True)
def completing_the_square(rng: Random) -> Problem:
    """ax^2 + bx + c = a(x - h)^2 + k."""
    a, b, c = rng.choice((1, 1, 1, 2, 3, -1, -2)), nonzero(rng, 14), rng.randint(-20, 20)
    text, h = poly([a, b, c]), Fraction(-b, 2 * a)
    answer = total((a, square_of(h)), (c - a * h * h, ""))
    question = rng.choice(
        [
            f"Complete the square: ${text}$.",
            f"Write ${text}$ in the form $a(x - h)^2 + k$.",
            f"Rewrite ${text}$ so that $x$ occurs only once.",
        ]
    )
    inside = f"\\left[{poly([1, Fraction(b, a), 0])}\\right]"
    completed = f"\\left[{square_of(h)} - {number(h * h)}\\right]"
    steps = worked(
        f"Look at the terms with $x$: ${text} = {total((a, inside), (c, ''))}$.",
        f"Half of the coefficient of $x$ in the bracket is ${number(-h)}$, and its square is ${number(h * h)}$.",
        f"Add and subtract that square: ${total((a, completed), (c, ''))}$.",
        f"Collect the constants: ${answer}$.",
    )
    return Problem(question, [answer], lambda s: s.count("x") == 1 and same(s, lambda x: value(text, x=x)), steps)


@module("algebra", steps=True)
def parabola_vertex(rng: Random) -> Problem:
    """The turning point of y = ax^2 + bx + c."""
    a, b, c = nonzero(rng, 4), nonzero(rng, 12), rng.randint(-15, 15)
    text, h = poly([a, b, c]), Fraction(-b, 2 * a)
    k = a * h * h + b * h + c
    question = rng.choice(
        [
            f"Find the vertex of the parabola $y = {text}$.",
            f"At which point does the curve $y = {text}$ turn?",
            f"Give the coordinates of the vertex of $y = {text}$.",
        ]
    )
    steps = worked(
        f"The vertex lies at $x = -\\frac{{b}}{{2a}}$ with $a = {a}$ and $b = {b}$, so $x = {number(h)}$.",
        f"There $y = {number(k)}$.",
        f"The vertex is ${point(h, k)}$.",
    )

    def turns(s: str) -> bool:
        x, y = values(s)
        return bool(value(text, x=x) == y and value(text, x=x + 1) == value(text, x=x - 1))

    return Problem(question, [point(h, k)], turns, steps)


@module("algebra")
def quadratic_from_roots(rng: Random) -> Problem | None:
    """The quadratic with whole coefficients that has two given roots."""
    roots_ = sorted({Fraction(nonzero(rng, 9), rng.randint(1, 4)) for _ in range(2)})
    if len(roots_) < 2:
        return None
    low, high = roots_
    a = low.denominator * high.denominator
    p = [a, -int(a * (low + high)), int(a * low * high)]
    shared = gcd(*p)
    answer = poly([c // shared for c in p])
    question = rng.choice(
        [
            f"Find a quadratic polynomial with whole coefficients without a common factor, positive first "
            f"coefficient, and "
            f"roots ${number(low)}$ and ${number(high)}$.",
            f"Which polynomial of degree $2$ with coprime integer coefficients and positive leading coefficient is "
            f"zero at "
            f"$x = {number(low)}$ and $x = {number(high)}$, with no other zero?",
        ]
    )

    def vanishes(s: str) -> bool:
        c = value(s, x=0)
        b = (value(s, x=1) - value(s, x=-1)) / 2
        lead = value(s, x=1) - b - c
        return bool(
            -b / lead == low + high and c / lead == low * high and lead > 0 and gcd(int(lead), int(b), int(c)) == 1
        )

    return Problem(question, [answer], vanishes)


@module("algebra")
def vieta(rng: Random) -> Problem | None:
    """A symmetric expression of the roots, without the roots."""
    a, b, c = rng.randint(1, 3), rng.randint(-11, 11), nonzero(rng, 12)
    if b * b == 4 * a * c:
        return None
    s, p = Fraction(-b, a), Fraction(c, a)
    shape, result = rng.choice(
        [
            ("r^2 + s^2", s * s - 2 * p),
            ("\\frac{1}{r} + \\frac{1}{s}", s / p),
            ("r^2s + rs^2", s * p),
            ("r^3 + s^3", s**3 - 3 * s * p),
            ("(r - s)^2", s * s - 4 * p),
        ]
    )
    text = poly([a, b, c])
    question = rng.choice(
        [
            f"Let $r$ and $s$ be the roots of ${text}$. Find ${shape}$.",
            f"The equation ${text} = 0$ has the solutions $r$ and $s$. What is the value of ${shape}$?",
        ]
    )

    def from_roots(answer: str) -> bool:
        spread = complex(b * b - 4 * a * c) ** 0.5
        r, t = (-b + spread) / (2 * a), (-b - spread) / (2 * a)
        return close(value(answer), value(shape, r=r, s=t), 1e-9)

    return Problem(question, forms(result), from_roots)


@module("algebra")
def quadratic_inequality(rng: Random) -> Problem:
    """Where a quadratic with whole roots is negative."""
    low, high = sorted(distinct(rng, 2, -15, 15))
    a = rng.choice((1, 1, 2, 3))
    text = poly([a, -a * (low + high), a * low * high])
    question = rng.choice(
        [
            f"For which $x$ is ${text} < 0$? Give an interval.",
            f"Solve ${text} < 0$ and write the solution as an interval.",
        ]
    )

    def negative_inside(s: str) -> bool:
        left, right = values(s)
        small = Fraction(1, 99)
        inside = [left + small, (left + right) / 2, right - small]
        return (
            left < right
            and all(value(text, x=x) < 0 for x in inside)
            and all(value(text, x=x) >= 0 for x in (left, right, left - small, right + small))
        )

    return Problem(question, [f"({low}, {high})"], negative_inside)


# Polynomials


@module("algebra", steps=True)
def polynomial_product(rng: Random) -> Problem:
    """Multiply out two brackets."""
    p = [nonzero(rng, 6), *(rng.randint(-9, 9) for _ in range(rng.randint(1, 2)))]
    q = [nonzero(rng, 6), *(rng.randint(-9, 9) for _ in range(rng.randint(1, 2)))]
    text, answer = f"({poly(p)})({poly(q)})", poly(times(p, q))
    question = rng.choice(
        [f"Expand ${text}$.", f"Multiply out and collect like terms: ${text}$.", f"Write ${text}$ without brackets."]
    )
    rows = [
        f"Multiply the second bracket by ${total((c, power('x', len(p) - 1 - i)))}$: "
        f"${poly([c * d for d in q] + [0] * (len(p) - 1 - i))}$."
        for i, c in enumerate(p)
        if c
    ]
    steps = worked(*rows, f"Add these up: ${answer}$.")
    return Problem(question, [answer], lambda s: "(" not in s and same(s, lambda x: value(text, x=x)), steps)


@module("algebra", steps=True)
def polynomial_sum(rng: Random) -> Problem:
    """Add or subtract two polynomials."""
    p = [nonzero(rng, 9), *(rng.randint(-12, 12) for _ in range(3))]
    q = [nonzero(rng, 9), *(rng.randint(-12, 12) for _ in range(rng.randint(2, 3)))]
    sign = rng.choice((1, -1))
    text = f"({poly(p)}) {'+' if sign > 0 else '-'} ({poly(q)})"
    second = [sign * c for c in q]
    padded = [0] * (len(p) - len(q)) + second
    answer = poly([a + b for a, b in zip(p, padded, strict=True)])
    opened = f"{poly(p)} - {poly(second)[1:]}" if second[0] < 0 else f"{poly(p)} + {poly(second)}"
    question = rng.choice(
        [f"Simplify ${text}$.", f"Collect like terms in ${text}$.", f"Write ${text}$ as one polynomial."]
    )
    columns = ", ".join(
        f"${total((a, unit), (b, unit))} = {total((a + b, unit))}$"
        for a, b, unit in zip(p, padded, ("x^3", "x^2", "x", ""), strict=True)
        if a and b
    )
    steps = worked(
        f"Without the brackets this is ${opened}$.",
        f"Add the coefficients of equal powers: {columns or 'no power occurs twice'}.",
        f"Together: ${answer}$.",
    )
    return Problem(question, [answer], lambda s: "(" not in s and same(s, lambda x: value(text, x=x)), steps)


def divide(p: list[int], q: list[int]) -> tuple[list[int], list[int], list[str]]:
    """Long division by a polynomial that starts with 1: quotient, remainder, and a line a step."""
    rest, quotient, rows = list(p), [], []
    while len(rest) >= len(q):
        lead = rest[0]
        shift = len(rest) - len(q)
        quotient.append(lead)
        rest = [r - lead * c for r, c in zip(rest, q + [0] * shift, strict=True)][1:]
        if lead:
            rows.append(
                f"Subtract ${total((lead, power('x', shift)))}$ times the divisor; what is left is ${poly(rest)}$."
            )
    return quotient, rest, rows


@module("algebra", steps=True)
def polynomial_division(rng: Random) -> Problem:
    """Quotient and remainder by long division."""
    q = [1, *(rng.randint(-6, 6) for _ in range(rng.randint(1, 2)))]
    p = [nonzero(rng, 5), *(rng.randint(-9, 9) for _ in range(rng.randint(2, 3)))]
    if len(p) < len(q) or not any(q[1:]):
        q[-1] = 1
    quotient, rest, rows = divide(p, q)
    top, bottom = poly(p), poly(q)
    question = rng.choice(
        [
            f"Divide ${top}$ by ${bottom}$. Give quotient and remainder, separated by a comma.",
            f"Find polynomials $q$ and $r$ with ${top} = ({bottom})q + r$, the degree of $r$ below that of the "
            f"divisor. "
            f"Answer with $q, r$.",
        ]
    )
    answer = f"{poly(quotient)}, {poly(rest)}"
    steps = worked(*rows, f"No further term can be taken out, so quotient and remainder are ${answer}$.")

    def divides(s: str) -> bool:
        whole_part, left = s.split(",")
        low = "x" not in left if len(q) == 2 else "^" not in left
        return low and same(top, lambda x: value(bottom, x=x) * value(whole_part, x=x) + value(left, x=x))

    return Problem(question, [answer], divides, steps)


@module("algebra")
def remainder_theorem(rng: Random) -> Problem:
    """The remainder of a division by x - a is the value at a."""
    p = [nonzero(rng, 5), *(rng.randint(-9, 9) for _ in range(rng.randint(3, 4)))]
    a = nonzero(rng, 4)
    text = poly(p)
    question = rng.choice(
        [
            f"What is the remainder when ${text}$ is divided by ${poly([1, -a])}$?",
            f"${text}$ is divided by ${poly([1, -a])}$. Find the remainder.",
        ]
    )

    def divisible_after(s: str) -> bool:  # what is left must be a multiple of n - a for every whole n
        r = whole(s)
        return all((value(text, x=n) - r) % (n - a) == 0 for n in (a + 1, a + 2, a - 7, a + 10_007, a - 1_000_003))

    return Problem(question, [str(at(p, a))], divisible_after)


@module("algebra", steps=True)
def cubic_factoring(rng: Random) -> Problem:
    """A monic cubic with whole roots, by a root and division."""
    r = sorted(nonzero(rng, 7) for _ in range(3))
    p = times(times([1, -r[0]], [1, -r[1]]), [1, -r[2]])
    text = poly(p)
    question = rng.choice([f"Factor ${text}$ completely.", f"Write ${text}$ as a product of linear factors."])
    found = min(r, key=abs)
    others = list(r)
    others.remove(found)
    quadratic = poly(times([1, -others[0]], [1, -others[1]]))
    answer = "".join(power(factor(root), r.count(root)) for root in dict.fromkeys(r))
    steps = worked(
        f"A whole root must divide ${p[3]}$. Trying these, $x = {found}$ gives $0$.",
        f"Divide by ${poly([1, -found])}$: ${text} = {factor(found)}({quadratic})$.",
        f"The quadratic has the roots ${others[0]}$ and ${others[1]}$.",
        f"So the factorisation is ${answer}$.",
    )
    return Problem(
        question,
        [answer],
        lambda s: len(brackets(s)) == 3 and "x^" not in s and same(s, lambda x: value(text, x=x)),
        steps,
    )


@module("algebra", steps=True)
def difference_of_powers(rng: Random) -> Problem | None:
    """Differences of squares, sums and differences of cubes."""
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    if gcd(a, b) > 1:
        return None
    kind = rng.choice(("squares", "cubes", "sum of cubes"))
    ax, sign = total((a, "x")), -1 if kind != "sum of cubes" else 1
    if kind == "squares":
        text = poly([a * a, 0, -b * b])
        answer = f"({poly([a, b])})({poly([a, -b])})"
        rule = "u^2 - v^2 = (u + v)(u - v)"
    else:
        text = poly([a**3, 0, 0, sign * b**3])
        answer = f"({poly([a, sign * b])})({poly([a * a, -sign * a * b, b * b])})"
        rule = "u^3 + v^3 = (u + v)(u^2 - uv + v^2)" if sign > 0 else "u^3 - v^3 = (u - v)(u^2 + uv + v^2)"
    question = rng.choice(
        [f"Factor ${text}$.", f"Factorise ${text}$ over the integers.", f"Write ${text}$ as a product."]
    )
    name = "a difference of squares" if kind == "squares" else f"a {'sum' if sign > 0 else 'difference'} of cubes"
    steps = worked(f"With $u = {ax}$ and $v = {b}$ this is {name}.", f"Use ${rule}$.", f"This gives ${answer}$.")
    return Problem(question, [answer], lambda s: len(brackets(s)) == 2 and same(s, lambda x: value(text, x=x)), steps)


@module("algebra", steps=True)
def factor_by_grouping(rng: Random) -> Problem | None:
    """A cubic whose terms pair up."""
    a, b, c = rng.randint(1, 5), nonzero(rng, 9), nonzero(rng, 9)
    if gcd(a, b) > 1 or (-c > 0 and isqrt(-c) ** 2 == -c):
        return None
    text = poly([a, b, a * c, b * c])
    linear, square = f"({poly([a, b])})", f"({poly([1, 0, c])})"
    question = rng.choice(
        [f"Factor ${text}$ by grouping.", f"Write ${text}$ as a product of a linear and a quadratic factor."]
    )
    steps = worked(
        f"Group the first two and the last two terms: $({poly([a, b, 0, 0])}) + ({poly([a * c, b * c])})$.",
        f"Take out what each pair shares: ${total((1, 'x^2' + linear), (c, linear))}$.",
        f"Both hold the same bracket: ${linear}{square}$.",
    )
    answers = [linear + square, square + linear]
    return Problem(question, answers, lambda s: len(brackets(s)) == 2 and same(s, lambda x: value(text, x=x)), steps)


@module("algebra", steps=True)
def binomial_expansion(rng: Random) -> Problem:
    """(ax + b)^n multiplied out."""
    a, b, n = nonzero(rng, 4), nonzero(rng, 6), rng.randint(3, 5)
    text = f"({poly([a, b])})^{n}"
    answer = poly([comb(n, k) * a ** (n - k) * b**k for k in range(n + 1)])
    question = rng.choice(
        [f"Expand ${text}$.", f"Use the binomial theorem to expand ${text}$.", f"Multiply out ${text}$."]
    )
    sizes = ", ".join(str(comb(n, k)) for k in range(n + 1))
    terms = [f"${comb(n, k)} \\cdot {bracketed(a)}^{n - k} \\cdot {bracketed(b)}^{k}$" for k in range(n + 1)]
    steps = worked(
        f"The binomial coefficients for $n = {n}$ are ${sizes}$.",
        f"The coefficients, from $x^{n}$ down, are {', '.join(terms)}.",
        f"The expansion is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: "(" not in s and same(s, lambda x: value(text, x=x)), steps)


@module("algebra")
def binomial_coefficient_of(rng: Random) -> Problem:
    """One coefficient of a long expansion."""
    a, b, n = nonzero(rng, 3), nonzero(rng, 3), rng.randint(5, 9)
    k = rng.randint(1, n - 1)
    text = f"({poly([a, b])})^{n}"
    question = rng.choice(
        [
            f"Find the coefficient of ${power('x', k)}$ in the expansion of ${text}$.",
            f"When ${text}$ is multiplied out, which number stands before ${power('x', k)}$?",
        ]
    )

    def multiplied_out(s: str) -> bool:
        p = [1]
        for _ in range(n):
            p = times(p, [a, b])
        return p[n - k] == whole(s)

    return Problem(question, [str(comb(n, k) * a**k * b ** (n - k))], multiplied_out)


@module("algebra")
def evaluate_expression(rng: Random) -> Problem:
    """Numbers put into an expression of two unknowns."""
    a, b, c, d = (nonzero(rng, 9) for _ in range(4))
    x, y = nonzero(rng, 6), nonzero(rng, 6)
    text = total((a, "x^2"), (b, "xy"), (c, "y^2"), (d, ""))
    question = rng.choice(
        [f"Evaluate ${text}$ at $x = {x}$, $y = {y}$.", f"What is ${text}$ when $x = {x}$ and $y = {y}$?"]
    )
    result = a * x * x + b * x * y + c * y * y + d
    return Problem(question, [str(result)], lambda s: bool(value(s) == value(text, x=Fraction(x), y=Fraction(y))))


# Functions


@module("algebra")
def function_composition(rng: Random) -> Problem:
    """f(g(x)) multiplied out."""
    a, b, c, d, e = nonzero(rng, 4), rng.randint(-6, 6), rng.randint(-9, 9), nonzero(rng, 4), nonzero(rng, 6)
    f, g = poly([a, b, c]), poly([d, e])
    question = rng.choice(
        [
            f"Let $f(x) = {f}$ and $g(x) = {g}$. Find $f(g(x))$ as a polynomial.",
            f"If $f(x) = {f}$ and $g(x) = {g}$, expand $(f \\circ g)(x)$.",
        ]
    )
    answer = poly([a * d * d, 2 * a * d * e + b * d, a * e * e + b * e + c])
    return Problem(question, [answer], lambda s: "(" not in s and same(s, lambda x: value(f, x=value(g, x=x))))


@module("algebra")
def inverse_function(rng: Random) -> Problem | None:
    """The inverse of (ax + b)/(cx + d)."""
    a, b, c, d = nonzero(rng, 9), rng.randint(-9, 9), rng.randint(1, 9), nonzero(rng, 9)
    if a * d == b * c:
        return None
    f = f"\\frac{{{poly([a, b])}}}{{{poly([c, d])}}}"
    question = rng.choice([f"Find the inverse of $f(x) = {f}$.", f"If $f(x) = {f}$, what is $f^{{-1}}(x)$?"])
    answers = [
        f"\\frac{{{poly([d, -b])}}}{{{poly([-c, a])}}}",
        f"\\frac{{{total((b, ''), (-d, 'x'))}}}{{{poly([c, -a])}}}",
    ]
    return Problem(question, answers, lambda s: all(close(value(f, x=value(s, x=x)), x) for x in POINTS[:5]))


@module("algebra")
def piecewise_value(rng: Random) -> Problem:
    """Which branch holds?"""
    edge, x = rng.randint(-4, 4), rng.randint(-9, 9)
    below, above = (
        poly([nonzero(rng, 5), rng.randint(-9, 9)]),
        poly([nonzero(rng, 3), rng.randint(-5, 5), rng.randint(-9, 9)]),
    )
    question = rng.choice(
        [
            f"Let $f(x) = {below}$ for $x < {edge}$ and $f(x) = {above}$ for $x \\ge {edge}$. Find $f({x})$.",
            f"A function is ${below}$ to the left of $x = {edge}$ and ${above}$ from there on. What is its value at "
            f"$x = {x}$?",
        ]
    )
    result = value(below if x < edge else above, x=x)

    def put_in(s: str) -> bool:
        branch = above if edge <= x else below
        return bool(whole(s) == value(branch.replace("x", f"({x})")))

    return Problem(question, [number(result)], put_in)


# Rational expressions and equations


@module("algebra", steps=True)
def cancel_common_factor(rng: Random) -> Problem:
    """A fraction of two quadratics that share a bracket."""
    r, s, t = distinct(rng, 3, -9, 9)
    top, bottom = poly([1, -r - s, r * s]), poly([1, -r - t, r * t])
    text = f"\\frac{{{top}}}{{{bottom}}}"
    answer = f"\\frac{{{poly([1, -s])}}}{{{poly([1, -t])}}}"
    question = rng.choice(
        [f"Simplify ${text}$.", f"Cancel the common factor of ${text}$.", f"Reduce ${text}$ to lowest terms."]
    )
    steps = worked(
        f"The numerator is ${factor(r)}{factor(s)}$.",
        f"The denominator is ${factor(r)}{factor(t)}$.",
        f"Both hold the factor ${poly([1, -r])}$; without it we have ${answer}$.",
    )
    return Problem(question, [answer], lambda a: "^" not in a and same(a, lambda x: value(text, x=x)), steps)


@module("algebra", steps=True)
def rational_equation(rng: Random) -> Problem | None:
    """a/(x + b) = c/(x + d)."""
    a, b, c, d = nonzero(rng, 9), rng.randint(-9, 9), nonzero(rng, 9), rng.randint(-9, 9)
    if a == c or b == d:
        return None
    x = Fraction(b * c - a * d, a - c)
    left, right = f"\\frac{{{a}}}{{{poly([1, b])}}}", f"\\frac{{{c}}}{{{poly([1, d])}}}"
    question = rng.choice(
        [f"Solve ${left} = {right}$.", f"Find $x$ if ${left} = {right}$.", f"For which $x$ is ${left} = {right}$?"]
    )
    steps = worked(
        f"Multiply both sides by both denominators: ${a}({poly([1, d])}) = {c}({poly([1, b])})$.",
        f"Multiply out: ${poly([a, a * d])} = {poly([c, b * c])}$.",
        f"Collect: ${poly([a - c, 0])} = {b * c - a * d}$.",
        f"Neither denominator is zero there, so $x = {number(x)}$.",
    )
    return Problem(
        question,
        forms(x, "x = "),
        lambda s: bool(value(left, x=value(s)) == value(right, x=value(s))),
        steps,
    )


@module("algebra")
def partial_fractions(rng: Random) -> Problem | None:
    """(px + q)/((x - r)(x - s)) split in two."""
    r, s = distinct(rng, 2, -9, 9)
    a, b = nonzero(rng, 9), nonzero(rng, 9)
    if a + b == 0 and a * s + b * r == 0:
        return None
    text = f"\\frac{{{poly([a + b, -a * s - b * r])}}}{{{factor(r)}{factor(s)}}}"
    pieces = [(a, f"\\frac{{{abs(a)}}}{{{poly([1, -r])}}}"), (b, f"\\frac{{{abs(b)}}}{{{poly([1, -s])}}}")]
    answers = [
        f"{'-' if one[0] < 0 else ''}{one[1]} {'-' if two[0] < 0 else '+'} {two[1]}"
        for one, two in (pieces, pieces[::-1])
    ]
    question = rng.choice(
        [f"Find the partial fraction decomposition of ${text}$.", f"Write ${text}$ as a sum of two simple fractions."]
    )

    def splits(answer: str) -> bool:
        return answer.count("\\frac") == 2 and "(" not in answer and same(answer, lambda x: value(text, x=x))

    return Problem(question, answers, splits)


@module("algebra", steps=True)
def telescoping_sum(rng: Random) -> Problem:
    """A sum of 1/(k(k + d)) collapses."""
    first, count, d = rng.randint(1, 9), rng.randint(5, 60), rng.choice((1, 1, 2))
    last = first + count - 1
    term = f"\\frac{{1}}{{k(k + {d})}}"
    text = f"\\sum_{{k={first}}}^{{{last}}} {term}"
    heads = [Fraction(1, first + i) for i in range(d)]
    tails = [Fraction(1, last + 1 + i) for i in range(d)]
    result = (sum(heads, Fraction(0)) - sum(tails, Fraction(0))) / d
    question = rng.choice([f"Compute ${text}$.", f"Find the exact value of ${text}$."])
    split = f"\\frac{{1}}{{k}} - \\frac{{1}}{{k + {d}}}"
    kept = " + ".join(map(number, heads)) + " - " + " - ".join(map(number, tails))
    steps = worked(
        f"Split each term: ${term} = {split}$."
        if d == 1
        else f"Split each term: ${term} = \\frac{{1}}{{{d}}}\\left({split}\\right)$.",
        f"In the sum all but the first and last fractions cancel; of the differences remains ${kept}$.",
        f"The sum is ${number(result)}$.",
    )

    def added_up(s: str) -> bool:
        return bool(value(s) == sum((Fraction(1, k * (k + d)) for k in range(first, last + 1)), Fraction(0)))

    return Problem(question, forms(result)[:2], added_up, steps)


# Radicals, powers and logarithms


@module("algebra", steps=True)
def radical_simplify(rng: Random) -> Problem | None:
    """The largest square comes out of a root. Its space: outside factor, square and rest."""
    k, m, c = rng.randint(2, 12), rng.choice((2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 17, 19)), rng.randint(1, 9)
    n = k * k * m
    text = f"{c if c > 1 else ''}\\sqrt{{{n}}}"
    answer = surd(c, n)
    question = rng.choice([f"Simplify ${text}$.", f"Write ${text}$ with the smallest possible number under the root."])
    steps = worked(
        f"The largest square that divides ${n}$ is ${k * k}$: ${n} = {k * k} \\cdot {m}$.",
        f"So $\\sqrt{{{n}}} = {k}\\sqrt{{{m}}}$.",
        f"The result is ${answer}$.",
    )

    def simplest(s: str) -> bool:
        inside = int(s.partition("\\sqrt{")[2].rstrip("}"))
        squarefree = all(inside % (p * p) for p in range(2, isqrt(inside) + 1))
        return squarefree and close(value(s), c * n**0.5)

    return Problem(question, [answer], simplest, steps)


@module("algebra", steps=True)
def radical_sum(rng: Random) -> Problem | None:
    """Roots of the same kind, added."""
    m = rng.choice((2, 3, 5, 6, 7, 10))
    ks, cs = distinct(rng, 3, 1, 7), [nonzero(rng, 6) for _ in range(3)]
    whole_part = sum(c * k for c, k in zip(cs, ks, strict=True))
    if whole_part == 0:
        return None
    text = total(*((c, f"\\sqrt{{{k * k * m}}}") for c, k in zip(cs, ks, strict=True)))
    answer, root = surd(whole_part, m), f"\\sqrt{{{m}}}"
    question = rng.choice([f"Simplify ${text}$.", f"Write ${text}$ as a single term.", f"Combine the roots: ${text}$."])
    each = ", ".join(f"$\\sqrt{{{k * k * m}}} = {surd(k, m)}$" for k in ks)
    steps = worked(
        f"Take the squares out: {each}.",
        f"Then the sum is ${total(*((c * k, root) for c, k in zip(cs, ks, strict=True)))}$.",
        f"Together this is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: s.count("\\sqrt") == 1 and close(value(s), value(text)), steps)


@module("algebra", steps=True)
def rationalise_denominator(rng: Random) -> Problem | None:
    """a/(b + sqrt c) without a root below."""
    a, b, c = rng.randint(1, 12), nonzero(rng, 6), rng.choice((2, 3, 5, 6, 7, 10, 11, 13))
    norm = b * b - c
    text = f"\\frac{{{a}}}{{{b} + \\sqrt{{{c}}}}}"
    x, y = Fraction(a * b, norm), Fraction(-a, norm)
    numerator = total((a * b, ""), (-a, f"\\sqrt{{{c}}}"))
    answer = f"{number(x)} {'+' if y > 0 else '-'} {surd(abs(y), c)}"
    question = rng.choice(
        [f"Rationalise the denominator of ${text}$.", f"Write ${text}$ without a root in the denominator."]
    )
    steps = worked(
        f"Multiply numerator and denominator by ${b} - \\sqrt{{{c}}}$.",
        f"The denominator becomes ${bracketed(b)}^2 - {c} = {norm}$.",
        f"The numerator becomes ${numerator}$.",
        f"Dividing gives ${answer}$.",
    )

    def rational_below(s: str) -> bool:
        return "\\sqrt" not in "".join(part.partition("}")[0] for part in s.split("}{")[1:]) and close(
            value(s), value(text)
        )

    return Problem(question, [answer], rational_below, steps)


@module("algebra", steps=True)
def radical_equation(rng: Random) -> Problem | None:
    """sqrt(ax + b) = x + c; squaring may bring in a false solution."""
    x, c, a = rng.randint(-10, 15), rng.randint(-10, 10), nonzero(rng, 9)
    if x + c < 0:
        return None
    b = (x + c) ** 2 - a * x
    other = a - 2 * c - x  # the two roots of x^2 + (2c - a)x + c^2 - b add up to a - 2c
    if other == x:
        return None
    true = sorted(r for r in (x, other) if r + c >= 0)
    left, right = f"\\sqrt{{{poly([a, b])}}}", poly([1, c])
    answer = f"x = {true[0]}" if len(true) == 1 else either(true[0], true[1])[0]
    question = rng.choice([f"Solve ${left} = {right}$ over the reals.", f"Find all real $x$ with ${left} = {right}$."])
    steps = worked(
        f"Square both sides: ${poly([a, b])} = {poly([1, 2 * c, c * c])}$.",
        f"Collect: ${poly([1, 2 * c - a, c * c - b])} = 0$, so $x = {min(x, other)}$ or $x = {max(x, other)}$.",
        "Both make the right side non-negative, so both count."
        if len(true) == 2
        else f"At $x = {({x, other} - set(true)).pop()}$ the right side is negative, so that one is false.",
        f"Therefore ${answer}$.",
    )

    def solved(s: str) -> bool:  # whole solutions only: their sum is whole, so if one is, both are
        solutions = [n for n in range(-80, 81) if n + c >= 0 and a * n + b == (n + c) ** 2]
        return same_set(s, list(solutions))

    return Problem(question, [answer, listing(true)], solved, steps)


@module("algebra")
def exponent_rules(rng: Random) -> Problem | None:
    """Powers of powers, over powers."""
    a, b, c, d, e = (rng.randint(1, 6) for _ in range(5))
    k = rng.randint(2, 4)
    p, q = a * c - d, b * c - e
    if p <= 0 or q <= 0:
        return None
    text = f"\\frac{{({total((k, power('x', a) + power('y', b)))})^{c}}}{{{power('x', d)}{power('y', e)}}}"
    if c == 1:
        return None
    answer = f"{k**c}{power('x', p)}{power('y', q)}"
    question = rng.choice([f"Simplify ${text}$.", f"Write ${text}$ as a number times powers of $x$ and $y$."])

    def equal(s: str) -> bool:
        return "frac" not in s and all(value(s, x=x, y=y) == value(text, x=x, y=y) for x, y in pairwise(POINTS))

    return Problem(question, [answer], equal)


@module("algebra")
def exponential_equation(rng: Random) -> Problem | None:
    """b^(kx + m) = a power of b."""
    b, k, m, n = rng.choice((2, 3, 5, 7, 10)), nonzero(rng, 7), rng.randint(-9, 9), rng.randint(2, 5)
    exponent = poly([k, m])
    if exponent == "x":
        return None
    question = rng.choice(
        [f"Solve ${b}^{{{exponent}}} = {b**n}$.", f"For which $x$ is ${b}^{{{exponent}}}$ equal to ${b**n}$?"]
    )
    answers = forms(Fraction(n - m, k), "x = ")
    return Problem(question, answers, lambda s: close(value(f"{b}^{{{exponent}}}", x=value(s)), b**n))


@module("algebra")
def logarithm_value(rng: Random) -> Problem | None:
    """log of a power to a related base. About 300 questions."""
    root, p, q = rng.choice((2, 3, 5, 6, 7, 10)), rng.randint(1, 5), rng.randint(-5, 6)
    base, argument = root**p, Fraction(root) ** q
    if base > 3000 or max(argument.numerator, argument.denominator) > 70_000 or q == 0 or p == 1 == q:
        return None
    text = f"\\log_{{{base}}}\\left({number(argument)}\\right)"
    question = rng.choice(
        [
            f"Evaluate ${text}$.",
            f"What is the exact value of ${text}$?",
            f"To which power must ${base}$ be raised to give ${number(argument)}$?",
        ]
    )
    return Problem(question, forms(Fraction(q, p)), lambda s: close(float(base) ** float(value(s)), argument))


@module("algebra")
def logarithm_equation(rng: Random) -> Problem:
    """log_b(ax + c) = n."""
    b, n, a, c = rng.randint(2, 6), rng.randint(1, 4), nonzero(rng, 9), nonzero(rng, 30)
    left = f"\\log_{{{b}}}\\left({poly([a, c])}\\right)"
    question = rng.choice([f"Solve ${left} = {n}$.", f"Find $x$ such that ${left} = {n}$."])
    answers = forms(Fraction(b**n - c, a), "x = ")
    return Problem(question, answers, lambda s: close(value(left, x=value(s)), n))


@module("algebra")
def condense_logarithms(rng: Random) -> Problem:
    """A sum of logarithms as one."""
    a, b, c = distinct(rng, 3, 2, 15)
    x, y, z = names = rng.choice((("x", "y", "z"), ("a", "b", "c"), ("p", "q", "r"), ("u", "v", "w")))
    text = f"{a}\\ln {x} + {b}\\ln {y} - {c}\\ln {z}"
    answer = f"\\ln\\left(\\frac{{{power(x, a)}{power(y, b)}}}{{{power(z, c)}}}\\right)"
    question = rng.choice([f"Write ${text}$ as a single logarithm.", f"Condense ${text}$."])

    def equal(s: str) -> bool:
        places = [(1.3, 2.1, 0.7), (0.4, 3.2, 1.9), (2.7, 0.8, 1.2)]
        return s.count("\\ln") == 1 and all(
            close(value(s, **dict(zip(names, at_, strict=True))), value(text, **dict(zip(names, at_, strict=True))))
            for at_ in places
        )

    return Problem(question, [answer], equal)


# Complex numbers


@module("algebra", steps=True)
def complex_product(rng: Random) -> Problem:
    """(a + bi)(c + di)."""
    a, b, c, d = (nonzero(rng, 12) for _ in range(4))
    text = f"({total((a, ''), (b, 'i'))})({total((c, ''), (d, 'i'))})"
    answer = total((a * c - b * d, ""), (a * d + b * c, "i"))
    question = rng.choice([f"Compute ${text}$.", f"Write ${text}$ in the form $a + bi$.", f"Multiply: ${text}$."])
    steps = worked(
        f"Multiply out: ${total((a * c, ''), (a * d, 'i'), (b * c, 'i'), (b * d, 'i^2'))}$.",
        f"Since $i^2 = -1$, the result is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: "(" not in s and close(value(s), value(text)), steps)


@module("algebra", steps=True)
def complex_quotient(rng: Random) -> Problem:
    """(a + bi)/(c + di)."""
    a, b, c, d = (nonzero(rng, 12) for _ in range(4))
    top, bottom = total((a, ""), (b, "i")), total((c, ""), (d, "i"))
    norm = c * c + d * d
    answer = total((Fraction(a * c + b * d, norm), ""), (Fraction(b * c - a * d, norm), "i"))
    question = rng.choice(
        [f"Compute $\\frac{{{top}}}{{{bottom}}}$.", f"Write $\\frac{{{top}}}{{{bottom}}}$ in the form $a + bi$."]
    )
    steps = worked(
        f"Multiply numerator and denominator by ${total((c, ''), (-d, 'i'))}$, the conjugate of the denominator.",
        f"The denominator becomes ${bracketed(c)}^2 + {bracketed(d)}^2 = {norm}$.",
        f"The numerator becomes ${total((a * c + b * d, ''), (b * c - a * d, 'i'))}$.",
        f"Dividing, we get ${answer}$.",
    )
    return Problem(question, [answer], lambda s: close(value(s) * value(bottom), value(top)), steps)


@module("algebra")
def complex_modulus(rng: Random) -> Problem:
    """The distance of a complex number from 0."""
    a, b = nonzero(rng, 20), nonzero(rng, 20)
    z = total((a, ""), (b, "i"))
    question = rng.choice(
        [f"Find $|{z}|$.", f"What is the modulus of ${z}$?", f"How far is ${z}$ from $0$ in the complex plane?"]
    )
    return Problem(question, [surd(1, a * a + b * b)], lambda s: "i" not in s and close(value(s), abs(value(z))))


# Sequences and series


@module("algebra", steps=True)
def arithmetic_series(rng: Random) -> Problem:
    """The sum of the first terms of an arithmetic sequence."""
    a, d, n = rng.randint(-20, 30), nonzero(rng, 9), rng.randint(8, 60)
    last = a + (n - 1) * d
    result = n * (a + last) // 2
    shown = f"{a}, {a + d}, {a + 2 * d}, \\ldots"
    question = rng.choice(
        [
            f"Find the sum of the first ${n}$ terms of the arithmetic sequence ${shown}$.",
            f"An arithmetic sequence starts ${shown}$. What do its first ${n}$ terms add up to?",
        ]
    )
    steps = worked(
        f"The common difference is ${d}$, so term number ${n}$ is ${a} + {n - 1} \\cdot {bracketed(d)} = {last}$.",
        f"The sum is the number of terms times the mean of the first and last: "
        f"${n} \\cdot \\frac{{{a} + {bracketed(last)}}}{{2}} = {result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == sum(range(a, last + (1 if d > 0 else -1), d)), steps)


@module("algebra")
def arithmetic_term(rng: Random) -> Problem:
    """A far term, from two near ones."""
    a, d = rng.randint(-30, 30), nonzero(rng, 12)
    i, j = sorted(distinct(rng, 2, 2, 12))
    n = rng.randint(20, 90)
    question = rng.choice(
        [
            f"Term number ${i}$ of an arithmetic sequence is ${a + (i - 1) * d}$ and term number ${j}$ is "
            f"${a + (j - 1) * d}$. Find term number ${n}$.",
            f"In an arithmetic sequence $a_{{{i}}} = {a + (i - 1) * d}$ and $a_{{{j}}} = {a + (j - 1) * d}$. What is "
            f"$a_{{{n}}}$?",
        ]
    )

    def on_the_line(s: str) -> bool:  # three points of a sequence with constant steps lie on a line
        low, high = a + (i - 1) * d, a + (j - 1) * d
        return (whole(s) - high) * (j - i) == (high - low) * (n - j)

    return Problem(question, [str(a + (n - 1) * d)], on_the_line)


@module("algebra")
def geometric_series(rng: Random) -> Problem | None:
    """The sum of the first terms of a geometric sequence."""
    a, n = nonzero(rng, 12), rng.randint(4, 8)
    r = Fraction(nonzero(rng, 4), rng.choice((1, 1, 2, 3)))
    if abs(r) == 1:
        return None
    shown = f"{listing([a, a * r, a * r * r])}, \\ldots"
    question = rng.choice(
        [
            f"Find the sum of the first ${n}$ terms of the geometric sequence ${shown}$.",
            f"The terms ${shown}$ have a constant ratio. What do the first ${n}$ of them add up to?",
        ]
    )

    def added_up(s: str) -> bool:
        term, sum_ = Fraction(a), Fraction(0)
        for _ in range(n):
            sum_, term = sum_ + term, term * r
        return bool(value(s) == sum_)

    return Problem(question, forms(a * (1 - r**n) / (1 - r)), added_up)


@module("algebra")
def infinite_geometric_series(rng: Random) -> Problem | None:
    """A geometric series without end."""
    a, q = nonzero(rng, 20), rng.randint(2, 9)
    r = Fraction(nonzero(rng, q - 1), q)
    question = rng.choice(
        [
            f"Find the sum of the infinite geometric series with first term ${a}$ and ratio ${number(r)}$.",
            f"Compute ${total((1, number(Fraction(a))), (a * r, ''), (a * r * r, ''))} + \\ldots$, where each term is "
            f"${number(r)}$ times the one before.",
        ]
    )

    def approached(s: str) -> bool:
        return close(value(s), float(sum(a * float(r) ** k for k in range(400))))

    return Problem(question, forms(a / (1 - r)), approached)


@module("algebra")
def sum_of_powers(rng: Random) -> Problem:
    """Sums of the first squares or cubes, scaled and shifted."""
    n, a, b, k = rng.randint(5, 40), nonzero(rng, 6), rng.randint(-9, 9), rng.choice((2, 3))
    term = total((a, power("k", k)), (b, ""))
    powers = n * (n + 1) * (2 * n + 1) // 6 if k == 2 else (n * (n + 1) // 2) ** 2
    text = f"\\sum_{{k=1}}^{{{n}}} ({term})"
    question = rng.choice([f"Compute ${text}$.", f"Find the value of ${text}$.", f"Evaluate the sum ${text}$."])
    return Problem(
        question, [str(a * powers + b * n)], lambda s: whole(s) == sum(a * j**k + b for j in range(1, n + 1))
    )


@module("algebra")
def recursive_sequence(rng: Random) -> Problem | None:
    """A linear recurrence, step by step."""
    a, r, d, n = rng.randint(-6, 9), rng.choice((-3, -2, 2, 3, 4)), nonzero(rng, 9), rng.randint(4, 7)
    if a * (1 - r) == d:
        return None  # it stands still
    question = rng.choice(
        [
            f"A sequence has $a_1 = {a}$ and $a_{{n+1}} = {total((r, 'a_n'), (d, ''))}$. Find $a_{n}$.",
            f"Start with ${a}$ and again and again multiply by ${r}$ and then add ${d}$. Which number comes at place "
            f"${n}$, "
            f"if the start is at place $1$?",
        ]
    )
    x = a
    for _ in range(n - 1):
        x = r * x + d

    def closed_form(s: str) -> bool:
        fixed = Fraction(d, 1 - r)
        return bool(whole(s) == fixed + (a - fixed) * Fraction(r) ** (n - 1))

    return Problem(question, [str(x)], closed_form)


# Word problems


@module("algebra", steps=True)
def work_together(rng: Random) -> Problem:
    """Two who work at different speeds."""
    a, b = distinct(rng, 2, 2, 24)
    first, second = rng.sample(NAMES, 2)
    job = rng.choice(("paint a fence", "fill a pool", "mow a meadow", "sort the post", "weed a garden"))
    result = Fraction(a * b, a + b)
    question = rng.choice(
        [
            f"{first} can {job} in ${a}$ hours and {second} in ${b}$ hours. How many hours do they need together?",
            f"Alone, {first} takes ${a}$ hours to {job}; {second} takes ${b}$. How long does it take them side by "
            f"side, in hours?",
        ]
    )
    rate = Fraction(1, a) + Fraction(1, b)
    steps = worked(
        f"In one hour {first} does $\\frac{{1}}{{{a}}}$ of the job and {second} $\\frac{{1}}{{{b}}}$.",
        f"Together that is ${number(rate)}$ of it an hour.",
        f"The whole job takes the reciprocal, in hours: ${number(result)}$.",
    )
    return Problem(question, forms(result), lambda s: bool(value(s) / a + value(s) / b == 1), steps)


@module("algebra", steps=True)
def mixture(rng: Random) -> Problem | None:
    """How much of the strong solution to add."""
    low, high = sorted(distinct(rng, 2, 5, 80))
    wanted, litres = rng.randint(low, high), rng.randint(2, 40)
    if wanted in (low, high):
        return None
    x = Fraction(litres * (wanted - low), high - wanted)
    what = rng.choice(("salt", "acid", "sugar", "alcohol"))
    question = rng.choice(
        [
            f"How many litres of a ${high}\\%$ {what} solution must be added to ${litres}$ litres of a ${low}\\%$ "
            f"solution to "
            f"get a ${wanted}\\%$ solution?",
            f"A tank holds ${litres}$ litres of a ${low}\\%$ {what} solution. How many litres of a ${high}\\%$ "
            f"solution raise it "
            f"to ${wanted}\\%$?",
        ]
    )
    steps = worked(
        f"With $x$ litres added, the {what} is ${low} \\cdot {litres} + {high}x$ hundredths of a litre.",
        f"It must equal ${wanted}({litres} + x)$.",
        f"So ${poly([high - wanted, 0])} = {litres * (wanted - low)}$.",
        f"Hence $x = {number(x)}$.",
    )

    def mixed(s: str) -> bool:
        added = value(s)
        return bool((litres * low + added * high) / (litres + added) == wanted)

    return Problem(question, forms(x, "x = ") + forms(x)[:1], mixed, steps)


@module("algebra")
def percent_change(rng: Random) -> Problem | None:
    """Up by one percentage, then down by another: how much in all?"""
    up, down = 5 * rng.randint(1, 16), 5 * rng.randint(1, 15)
    start = 20 * rng.randint(2, 60)
    thing = rng.choice(("jacket", "bicycle", "lamp", "phone", "chair"))
    question = rng.choice(
        [
            f"The price of a {thing} is ${start}$ coins. It rises by ${up}\\%$ and then falls by ${down}\\%$. What "
            f"does the "
            f"{thing} cost now, in coins?",
            f"A {thing} at ${start}$ coins becomes ${up}\\%$ dearer, and after that ${down}\\%$ cheaper. Find the "
            f"final price in coins.",
        ]
    )
    result = start * Fraction(100 + up, 100) * Fraction(100 - down, 100)

    def step_by_step(s: str) -> bool:
        raised = start + Fraction(start * up, 100)
        return bool(value(s) == raised - raised * down / 100)

    return Problem(question, forms(result), step_by_step)


@module("algebra")
def compound_interest(rng: Random) -> Problem:
    """Money in a bank, rounded to cents at the end."""
    start, rate, years = 50 * rng.randint(2, 100), rng.randint(1, 9), rng.randint(2, 8)
    question = rng.choice(
        [
            f"An amount of ${start}$ coins earns ${rate}\\%$ interest a year, compounded yearly. What is it worth "
            f"after ${years}$ "
            f"years, rounded to two decimals?",
            f"{rng.choice(NAMES)} puts ${start}$ coins into a bank that pays ${rate}\\%$ each year on everything in "
            f"the account. "
            f"How many coins are there after ${years}$ years? Round to two decimals.",
        ]
    )

    def year_by_year(s: str) -> bool:
        amount = Fraction(start)
        for _ in range(years):
            amount += amount * rate / 100
        return abs(value(s) - amount) <= Fraction(1, 200) and len(s.partition(".")[2]) == 2

    return Problem(question, [rounded(start * Fraction(100 + rate, 100) ** years, 2)], year_by_year)


@module("algebra")
def two_trains(rng: Random) -> Problem:
    """Two travellers towards each other: when do they meet?"""
    u, v = distinct(rng, 2, 30, 130)
    distance = 10 * rng.randint(8, 90)
    what = rng.choice(("trains", "cars", "buses", "motorbikes"))
    question = rng.choice(
        [
            f"Two {what} start at the same time from towns ${distance}$ km apart and drive towards each other at "
            f"${u}$ km/h and "
            f"${v}$ km/h. After how many hours do they meet?",
            f"The distance between two {what} is ${distance}$ km. They approach each other with speeds of ${u}$ and "
            f"${v}$ "
            f"kilometres an hour. In how many hours will they be at the same place?",
        ]
    )
    return Problem(question, forms(Fraction(distance, u + v)), lambda s: bool(u * value(s) == distance - v * value(s)))


@module("algebra")
def ages(rng: Random) -> Problem | None:
    """In some years one is k times as old as the other."""
    younger, k, years = rng.randint(2, 20), rng.randint(2, 5), rng.randint(1, 15)
    older = k * (younger + years) - years
    if older > 95:
        return None
    first, second = rng.sample(NAMES, 2)
    question = rng.choice(
        [
            f"{first} is ${older - younger}$ years older than {second}. In ${years}$ years {first} will be ${k}$ "
            f"times as old as "
            f"{second} then. How old is {second} now?",
            f"The ages of {first} and {second} differ by ${older - younger}$ years, {first} being older. ${years}$ "
            f"years from now "
            f"{first}'s age will be ${k}$ times {second}'s. Find {second}'s present age.",
        ]
    )

    def only_one(s: str) -> bool:
        return [n for n in range(120) if n + older - younger + years == k * (n + years)] == [whole(s)]

    return Problem(question, [str(younger)], only_one)
