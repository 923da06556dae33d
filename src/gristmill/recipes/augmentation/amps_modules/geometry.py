"""Geometry: triangles, circles, polygons, solids, coordinates, trigonometry.

The checks put figures into coordinates, add up slices, or measure numerically.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import acos, atan2, cos, degrees, dist, gcd, hypot, pi, radians, sin, tan
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, nonzero, worked
from gristmill.recipes.augmentation.amps_modules.read import area, close, value, values, whole
from gristmill.recipes.augmentation.amps_modules.write import (
    bracketed,
    decimal,
    factor,
    forms,
    number,
    point,
    poly,
    square_part,
    surd,
    total,
)

UNITS = ("cm", "m", "inches", "feet")


def with_pi(x: Fraction | int) -> list[str]:
    """A rational multiple of pi, in its forms."""
    x = Fraction(x)
    top = total((x.numerator, "\\pi"))
    ways = [top if x.denominator == 1 else f"\\frac{{{top}}}{{{x.denominator}}}"]
    if x.denominator != 1:
        ways.append(f"\\frac{{{x.numerator}}}{{{x.denominator}}}\\pi")
        if short := decimal(x):
            ways.append(short + "\\pi")
    return ways


def slices(section: Callable[[float], float], low: float, high: float) -> float:
    """A volume or an area from the size of its cross-sections."""
    return area(section, low, high, 4)


# Triangles


@module("geometry", steps=True)
def right_triangle_side(rng: Random) -> Problem:
    """Pythagoras: the hypotenuse or a leg."""
    a, b, unit = rng.randint(1, 30), rng.randint(1, 30), rng.choice(UNITS)
    if rng.random() < 0.5:
        square = a * a + b * b
        given = f"The legs of a right triangle are ${a}$ {unit} and ${b}$ {unit} long."
        asked, law = "hypotenuse", f"{a}^2 + {b}^2 = {square}"
    else:
        a, b = max(a, b) + 1, min(a, b)
        square = a * a - b * b
        given = f"A right triangle has a hypotenuse of ${a}$ {unit} and a leg of ${b}$ {unit}."
        asked, law = "other leg", f"{a}^2 - {b}^2 = {square}"
    answer = surd(1, square)
    question = f"{given} " + rng.choice(
        [f"How long is the {asked}, in {unit}?", f"Find the exact length of the {asked} in {unit}."]
    )
    steps = worked(
        f"By the theorem of Pythagoras the square of the {asked} is ${law}$.",
        f"So its length is $\\sqrt{{{square}}}$.",
        f"Simplified this is ${answer}$.",
    )

    def right_angle(s: str) -> bool:
        if asked == "hypotenuse":
            return close(value(s), dist((a, 0), (0, b)))
        return close(b / a, sin(acos(float(value(s)) / a)))

    return Problem(question, [answer], right_angle, steps)


@module("geometry", steps=True)
def triangle_area_from_sides(rng: Random) -> Problem | None:
    """Heron's formula."""
    a, b, c = sorted(rng.randint(3, 25) for _ in range(3))
    if a + b <= c:
        return None
    square = (a + b + c) * (-a + b + c) * (a - b + c) * (a + b - c)
    answer, half = surd(Fraction(1, 4), square), Fraction(a + b + c, 2)
    question = rng.choice(
        [
            f"Find the exact area of a triangle with sides ${a}$, ${b}$ and ${c}$.",
            f"The sides of a triangle measure ${a}$, ${b}$ and ${c}$. What is its area?",
        ]
    )
    steps = worked(
        f"Half of the perimeter is $s = {number(half)}$.",
        f"By Heron's formula the area is $\\sqrt{{s(s - {a})(s - {b})(s - {c})}} = "
        f"\\sqrt{{{number(Fraction(square, 16))}}}$.",
        f"Simplified this is ${answer}$.",
    )

    def in_coordinates(s: str) -> bool:  # c on the x-axis; the apex from the distances to its ends
        x = (b * b + c * c - a * a) / (2 * c)
        return close(value(s), c * abs(complex(b * b - x * x) ** 0.5) / 2, 1e-8)

    return Problem(question, [answer], in_coordinates, steps)


@module("geometry")
def third_side(rng: Random) -> Problem:
    """The law of cosines with 60 or 120 degrees."""
    a, b, angle = rng.randint(2, 25), rng.randint(2, 25), rng.choice((60, 120))
    square = a * a + b * b + (-1 if angle == 60 else 1) * a * b
    question = rng.choice(
        [
            f"Two sides of a triangle are ${a}$ and ${b}$ long and enclose an angle of ${angle}^\\circ$. How long is "
            f"the third side?",
            f"In triangle $ABC$, $AB = {a}$, $AC = {b}$ and angle $A$ is ${angle}^\\circ$. Find $BC$.",
        ]
    )

    def in_coordinates(s: str) -> bool:
        end = (b * cos(radians(angle)), b * sin(radians(angle)))
        return close(value(s), dist((a, 0), end))

    return Problem(question, [surd(1, square)], in_coordinates)


@module("geometry")
def law_of_sines(rng: Random) -> Problem | None:
    """A side from a side and two angles with exact sines."""
    a, (first, second) = rng.randint(2, 30), distinct(rng, 2, 0, 3)
    angles, squares = (30, 45, 60, 90), (1, 2, 3, 4)  # the sine of angles[i] is sqrt(squares[i])/2
    if angles[first] + angles[second] >= 180:
        return None
    answer = surd(Fraction(a, squares[first]), squares[first] * squares[second])
    question = rng.choice(
        [
            f"In triangle $ABC$, angle $A$ is ${angles[first]}^\\circ$, angle $B$ is ${angles[second]}^\\circ$ and "
            f"$BC = {a}$. Find $AC$.",
            f"A triangle has a side of length ${a}$ opposite an angle of ${angles[first]}^\\circ$. How long is the "
            f"side opposite the "
            f"angle of ${angles[second]}^\\circ$?",
        ]
    )

    def same_height(s: str) -> bool:  # the height above the third side can be had from either side
        return close(a * sin(radians(angles[second])), value(s) * sin(radians(angles[first])))

    return Problem(question, [answer], same_height)


@module("geometry", steps=True)
def angles_of_a_triangle(rng: Random) -> Problem | None:
    """Angles given by expressions in x."""
    x = rng.randint(3, 25)
    a, b, c = (rng.randint(1, 5) for _ in range(3))
    p, q = rng.randint(-20, 40), rng.randint(-20, 40)
    r = 180 - (a + b + c) * x - p - q
    sizes = [a * x + p, b * x + q, c * x + r]
    if min(sizes) < 5 or abs(r) > 90:
        return None
    names = [poly([a, p]), poly([b, q]), poly([c, r])]
    shown = ", ".join(f"$({name})^\\circ$" for name in names[:2]) + f" and $({names[2]})^\\circ$"
    question = rng.choice(
        [
            f"The angles of a triangle are {shown}. Find $x$.",
            f"A triangle has the angles {shown}. What is the value of $x$?",
        ]
    )
    steps = worked(
        "The angles of a triangle add up to $180^\\circ$.",
        f"Their sum is ${poly([a + b + c, p + q + r])} = 180$.",
        f"So ${total((a + b + c, 'x'))} = {180 - p - q - r}$.",
        f"This gives $x = {x}$.",
    )

    def closes(s: str) -> bool:
        return bool(sum(value(name, x=value(s)) for name in names) == 180)

    return Problem(question, [f"x = {x}", str(x)], closes, steps)


@module("geometry")
def similar_triangles(rng: Random) -> Problem:
    """A shadow, a pole."""
    stick, shade, long = rng.randint(1, 12), rng.randint(1, 20), rng.randint(5, 90)
    what = rng.choice(("tree", "tower", "flagpole", "lamp post", "chimney"))
    question = rng.choice(
        [
            f"A stick of ${stick}$ m casts a shadow of ${shade}$ m. At the same time a {what} casts a shadow of "
            f"${long}$ m. How many "
            f"metres high is the {what}?",
            f"The shadow of a {what} is ${long}$ m long while a ${stick}$ m rod throws a shadow of ${shade}$ m. Find "
            f"the height of "
            f"the {what} in metres.",
        ]
    )

    def same_angle(s: str) -> bool:
        return close(atan2(float(value(s)), long), atan2(stick, shade), 1e-12)

    return Problem(question, forms(Fraction(stick * long, shade)), same_angle)


@module("geometry")
def trigonometric_ratio(rng: Random) -> Problem | None:
    """Sine, cosine or tangent of an angle of a right triangle."""
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    k, m = square_part(a * a + b * b)
    name = rng.choice(("\\sin", "\\cos", "\\tan"))
    hypotenuse = surd(1, a * a + b * b)
    side = {"\\sin": a, "\\cos": b, "\\tan": 0}[name]
    answer = surd(Fraction(side, k * m), m) if side else number(Fraction(a, b))
    question = rng.choice(
        [
            f"In a right triangle, the leg opposite the angle $\\alpha$ is ${a}$ and the other leg is ${b}$. Find "
            f"${name} \\alpha$.",
            f"Triangle $ABC$ has its right angle at $C$, with $BC = {a}$ and $AC = {b}$, so $AB = {hypotenuse}$. What "
            f"is ${name} A$?",
        ]
    )

    def from_the_angle(s: str) -> bool:
        angle = atan2(a, b)
        return close(value(s), {"\\sin": sin, "\\cos": cos, "\\tan": tan}[name](angle))

    return Problem(question, [answer], from_the_angle)


@module("geometry")
def incircle(rng: Random) -> Problem:
    """The radius of the incircle of a right triangle with whole sides."""
    m, n = sorted(distinct(rng, 2, 1, 16))
    k = rng.randint(1, 9)
    a, b, c = k * (n * n - m * m), k * 2 * m * n, k * (n * n + m * m)
    asked, result = rng.choice((("inscribed", Fraction(a + b - c, 2)), ("circumscribed", Fraction(c, 2))))
    question = rng.choice(
        [
            f"What is the radius of the {asked} circle of a triangle with sides ${a}$, ${b}$ and ${c}$?",
            f"A triangle has the sides ${a}$, ${b}$, ${c}$. Find the radius of its {asked} circle.",
        ]
    )

    def measured(s: str) -> bool:  # the right angle at the origin
        r = value(s)
        if asked == "circumscribed":
            return all(close(r, dist((a / 2, b / 2), corner)) for corner in ((0, 0), (a, 0), (0, b)))
        return close(r, (a * b - b * float(r) - a * float(r)) / hypot(a, b), 1e-9)

    return Problem(question, forms(result), measured)


# Circles


@module("geometry", steps=True)
def circle_from_equation(rng: Random) -> Problem:
    """Centre and radius by completing two squares."""
    h, k, square = rng.randint(-9, 9), rng.randint(-9, 9), rng.randint(1, 60)
    left = total((1, "x^2"), (1, "y^2"), (-2 * h, "x"), (-2 * k, "y"), (h * h + k * k - square, ""))
    answer = f"{point(h, k)}, {surd(1, square)}"
    question = rng.choice(
        [
            f"Find the centre and the radius of the circle ${left} = 0$. Answer in the form $(h, k), r$.",
            f"The equation ${left} = 0$ describes a circle. Give its centre and its radius, separated by a comma.",
        ]
    )
    steps = worked(
        f"Group: $({total((1, 'x^2'), (-2 * h, 'x'))}) + ({total((1, 'y^2'), (-2 * k, 'y'))}) = "
        f"{square - h * h - k * k}$.",
        f"Complete both squares by adding ${h * h}$ and ${k * k}$: "
        f"${factor(h) if h else 'x'}^2 + {factor(k, 'y') if k else 'y'}^2 = {square}$.",
        f"So centre and radius are ${answer}$.",
    )

    def on_the_circle(s: str) -> bool:
        centre, _, radius = s.rpartition(",")
        (x, y), r = values(centre), float(value(radius))
        return r > 0 and all(
            abs(complex(value(left, x=float(x) + r * cos(t), y=float(y) + r * sin(t)))) < 1e-8
            for t in (0.0, 1.0, 2.5, 4.0)
        )

    return Problem(question, [answer], on_the_circle, steps)


@module("geometry")
def circle_measures(rng: Random) -> Problem:
    """Area from circumference, circumference from area, and so on."""
    r = Fraction(rng.randint(1, 120), rng.choice((1, 2, 3)))
    sizes = {
        "radius": [number(r)],
        "diameter": [number(2 * r)],
        "circumference": with_pi(2 * r),
        "area": with_pi(r * r),
    }
    given, asked = rng.choice(
        [
            ("radius", "area"),
            ("diameter", "area"),
            ("circumference", "area"),
            ("area", "circumference"),
            ("radius", "circumference"),
        ]
    )
    question = rng.choice(
        [
            f"The {given} of a circle is ${sizes[given][0]}$. Find its {asked}.",
            f"What is the {asked} of a circle with {given} ${sizes[given][0]}$?",
        ]
    )

    def around(s: str) -> bool:  # a polygon with very many corners
        n, radius = 100_000, float(r)
        side = 2 * radius * sin(pi / n)
        expected = n * side if asked == "circumference" else n * side * radius * cos(pi / n) / 2
        return close(value(s), expected, 1e-8)

    return Problem(question, sizes[asked], around)


@module("geometry")
def sector(rng: Random) -> Problem:
    """The area or the arc of a piece of a circle."""
    r, angle = rng.randint(2, 30), 5 * rng.randint(2, 70)
    arc = rng.random() < 0.5
    result = Fraction(angle, 360) * (2 * r if arc else r * r)
    what = "length of the arc" if arc else "area"
    question = rng.choice(
        [
            f"A sector of a circle with radius ${r}$ has a central angle of ${angle}^\\circ$. Find the {what} of the "
            f"sector.",
            f"What is the {what} of a circular sector with radius ${r}$ and angle ${angle}^\\circ$?",
        ]
    )

    def integrated(s: str) -> bool:  # along the angle
        return close(value(s), area(lambda _: r if arc else r * r / 2, 0, radians(angle), 1))

    return Problem(question, with_pi(result), integrated)


@module("geometry")
def ring(rng: Random) -> Problem:
    """The area between two circles, from radii or from a chord that touches the inner one."""
    inner, outer = sorted(distinct(rng, 2, 1, 40))
    result = outer * outer - inner * inner
    chord = surd(2, result)
    question = rng.choice(
        [
            f"Two circles with the same centre have radii ${inner}$ and ${outer}$. What is the area of the ring "
            f"between them?",
            f"A round pond of radius ${inner}$ m is surrounded by a path; the outer edge of the path is a circle of "
            f"radius ${outer}$ m "
            f"about the same centre. How many square metres does the path cover?",
            f"A chord of length ${chord}$ of the larger of two circles with a common centre touches the smaller one. "
            f"Find the area "
            f"between the circles.",
        ]
    )
    return Problem(question, with_pi(result), lambda s: close(value(s), area(lambda r: 2 * pi * r, inner, outer, 1)))


@module("geometry")
def chord_length(rng: Random) -> Problem:
    """A chord at a given distance from the centre; a tangent from a point outside."""
    d, r = sorted(distinct(rng, 2, 1, 40))
    if rng.random() < 0.5:
        answer, k = surd(2, r * r - d * d), 2
        question = rng.choice(
            [
                f"A chord of a circle with radius ${r}$ is ${d}$ away from the centre. How long is the chord?",
                f"Find the length of a chord whose distance from the centre of its circle is ${d}$, the radius being "
                f"${r}$.",
            ]
        )
    else:
        answer, k = surd(1, r * r - d * d), 1
        question = rng.choice(
            [
                f"A point is ${r}$ away from the centre of a circle with radius ${d}$. How long are the tangents from "
                f"it to the circle?",
                f"From a point at distance ${r}$ from the centre a tangent is drawn to a circle of radius ${d}$. Find "
                f"its length up to "
                f"the point of contact.",
            ]
        )

    def angle_at_the_centre(s: str) -> bool:
        return close(value(s), k * r * sin(acos(d / r)))

    return Problem(question, [answer], angle_at_the_centre)


@module("geometry")
def inscribed_angle(rng: Random) -> Problem:
    """Angles over the same arc, in degrees."""
    centre = 2 * rng.randint(5, 85)
    other = rng.randint(10, 160)
    asked = rng.choice(("inscribed", "central", "opposite"))
    if asked == "opposite":
        question = rng.choice(
            [
                f"A quadrilateral $ABCD$ is inscribed in a circle and its angle at $A$ is ${other}^\\circ$. How many "
                f"degrees has the "
                f"angle at $C$?",
                f"In a cyclic quadrilateral one angle measures ${other}^\\circ$. Find the opposite angle in degrees.",
            ]
        )
        result, arc = 180 - other, 360.0 - 2 * other
    elif asked == "inscribed":
        question = rng.choice(
            [
                f"An arc of a circle has a central angle of ${centre}^\\circ$. How many degrees has an inscribed "
                f"angle over this arc?",
                f"$A$, $B$ and $P$ lie on a circle with centre $O$, angle $AOB$ is ${centre}^\\circ$ and $P$ lies on "
                f"the longer arc. "
                f"Find angle $APB$ in degrees.",
            ]
        )
        result, arc = centre // 2, float(centre)
    else:
        question = rng.choice(
            [
                f"An inscribed angle of a circle measures ${centre // 2}^\\circ$. How many degrees has the central "
                f"angle over its arc?",
                f"$P$ lies on a circle with centre $O$ and sees the chord $AB$ under ${centre // 2}^\\circ$. $P$ and "
                f"$O$ are on the same "
                f"side of $AB$. Find angle $AOB$ in degrees.",
            ]
        )
        result, arc = centre, float(centre)

    def measured(s: str) -> bool:  # a point far from the arc looks at its ends
        a, b = 0.0, radians(arc)
        looker = (a + b) / 2 + pi
        ends = [(cos(t) - cos(looker), sin(t) - sin(looker)) for t in (a, b)]
        (x1, y1), (x2, y2) = ends
        seen = degrees(abs(atan2(x1 * y2 - x2 * y1, x1 * x2 + y1 * y2)))
        return close(value(s), 2 * seen if asked == "central" else seen, 1e-9)

    return Problem(question, [str(result)], measured)


# Polygons


@module("geometry", steps=True)
def polygon_area(rng: Random) -> Problem | None:
    """The area of a polygon from its corners, by the shoelace formula."""
    n = rng.randint(3, 5)
    corners = list({(rng.randint(-9, 9), rng.randint(-9, 9)) for _ in range(n)})
    if len(corners) < n:
        return None
    middle = (sum(x for x, _ in corners) / n, sum(y for _, y in corners) / n)
    corners.sort(key=lambda c: (atan2(c[1] - middle[1], c[0] - middle[0]), c))
    following = corners[1:] + corners[:1]
    products = [x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True)]
    twice = sum(products)
    turns = [
        (x2 - x1) * (y3 - y2) - (x3 - x2) * (y2 - y1)
        for (x1, y1), (x2, y2), (x3, y3) in zip(corners, following, following[1:] + following[:1], strict=True)
    ]
    if min(turns) <= 0:
        return None  # not convex
    shown = ", ".join(point(x, y) for x, y in corners)
    question = rng.choice(
        [
            f"Find the area of the polygon with the vertices ${shown}$, in this order.",
            f"What is the area of the figure whose corners, in order, are ${shown}$?",
        ]
    )
    steps = worked(
        "Use the shoelace formula: add $x_iy_{i+1} - x_{i+1}y_i$ around the polygon and take half.",
        f"The terms are ${', '.join(map(str, products))}$, with the sum ${twice}$.",
        f"Half of this is ${number(Fraction(twice, 2))}$.",
    )

    def pick(s: str) -> bool:  # Pick's theorem: count the lattice points inside and on the edge
        pairs = list(zip(corners, following, strict=True))
        edge = sum(gcd(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in pairs)
        inside = sum(
            all((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1) > 0 for (x1, y1), (x2, y2) in pairs)
            for x in range(-9, 10)
            for y in range(-9, 10)
        )
        return bool(value(s) == inside + Fraction(edge, 2) - 1)

    return Problem(question, forms(Fraction(twice, 2)), pick, steps)


@module("geometry")
def regular_polygon_angles(rng: Random) -> Problem:
    """Angles and diagonals of regular polygons. About 250 questions."""
    n = rng.randint(5, 60)
    asked, result = rng.choice(
        [
            ("the sum of its interior angles, in degrees", Fraction(180 * (n - 2))),
            ("one of its interior angles, in degrees", Fraction(180 * (n - 2), n)),
            ("one of its exterior angles, in degrees", Fraction(360, n)),
            ("the number of its diagonals", Fraction(n * (n - 3), 2)),
        ]
    )
    question = rng.choice(
        [
            f"A regular polygon has ${n}$ sides. Find {asked}.",
            f"For a regular polygon with ${n}$ corners, give {asked}.",
        ]
    )

    def walked(s: str) -> bool:
        if "diagonals" in asked:
            return whole(s) == sum(1 for i in range(n) for j in range(i) if (i - j) % n not in (1, n - 1))
        corners = [(cos(2 * pi * i / n), sin(2 * pi * i / n)) for i in range(3)]
        (x0, y0), (x1, y1), (x2, y2) = corners
        inner = degrees(
            acos(((x0 - x1) * (x2 - x1) + (y0 - y1) * (y2 - y1)) / (dist(*corners[:2]) * dist(*corners[1:])))
        )
        expected = n * inner if "sum" in asked else 180 - inner if "exterior" in asked else inner
        return close(value(s), expected, 1e-8)

    return Problem(question, forms(result), walked)


@module("geometry")
def regular_polygon_area(rng: Random) -> Problem:
    """Equilateral triangles, hexagons and squares, from a side, a height or a diagonal."""
    a = rng.randint(1, 60)
    name, given, answer, corners, side = rng.choice(
        [
            ("equilateral triangle", f"side ${a}$", surd(Fraction(a * a, 4), 3), 3, float(a)),
            ("equilateral triangle", f"height ${a}$", surd(Fraction(a * a, 3), 3), 3, 2 * a / 3**0.5),
            ("regular hexagon", f"side ${a}$", surd(Fraction(3 * a * a, 2), 3), 6, float(a)),
            ("square", f"diagonal ${a}$", number(Fraction(a * a, 2)), 4, a / 2**0.5),
            ("regular hexagon", f"distance ${a}$ between opposite sides", surd(Fraction(a * a, 2), 3), 6, a / 3**0.5),
        ]
    )
    question = rng.choice(
        [f"Find the exact area of a {name} with {given}.", f"A {name} has {given}. What is its area?"]
    )
    question = question.replace(" a equi", " an equi").replace("A equi", "An equi")

    def shoelace(s: str) -> bool:
        radius = side / (2 * sin(pi / corners))
        ring_ = [(radius * cos(2 * pi * i / corners), radius * sin(2 * pi * i / corners)) for i in range(corners + 1)]
        twice = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring_))
        return close(value(s), twice / 2)

    return Problem(question, [answer], shoelace)


@module("geometry")
def trapezoid(rng: Random) -> Problem:
    """The area, or the missing height."""
    a, b, h = rng.randint(1, 40), rng.randint(1, 40), rng.randint(1, 30)
    size = Fraction((a + b) * h, 2)
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"A trapezoid has parallel sides ${a}$ and ${b}$ and height ${h}$. Find its area.",
                f"The parallel sides of a trapezoid measure ${a}$ and ${b}$; they are ${h}$ apart. What is the area?",
            ]
        )
        return Problem(question, forms(size), lambda s: close(value(s), slices(lambda y: a + (b - a) * y / h, 0, h)))
    question = rng.choice(
        [
            f"A trapezoid with parallel sides ${a}$ and ${b}$ has the area ${number(size)}$. How high is it?",
            f"The area of a trapezoid is ${number(size)}$ and its parallel sides are ${a}$ and ${b}$. Find its height.",
        ]
    )
    return Problem(
        question,
        forms(h),
        lambda s: close(size, slices(lambda y: a + (b - a) * y / float(value(s)), 0, float(value(s)))),
    )


@module("geometry")
def scale_factor(rng: Random) -> Problem:
    """Similar figures and bodies: lengths, areas, volumes."""
    p, q = distinct(rng, 2, 1, 9)
    r = Fraction(p, q)
    size = rng.randint(2, 200)
    what, exponent, body = rng.choice((("area", 2, "figures"), ("volume", 3, "solids"), ("perimeter", 1, "figures")))
    question = rng.choice(
        [
            f"Two similar {body} have corresponding lengths in the ratio ${p} : {q}$. The {what} of the second is "
            f"${size}$. Find the "
            f"{what} of the first.",
            f"A plane or solid figure with {what} ${size}$ is scaled so that every length is multiplied by "
            f"${number(r)}$. What is the "
            f"{what} of the image?",
        ]
    )

    def on_a_cube(s: str) -> bool:  # a square or a cube of that size, its side scaled
        side = size ** (1 / exponent)
        return close(value(s), (side * p / q) ** exponent)

    return Problem(question, forms(size * r**exponent), on_a_cube)


# Solids


@module("geometry")
def round_solid_volume(rng: Random) -> Problem:
    """Cylinders, cones, spheres, hemispheres and cones with the top cut off."""
    r, h, top = rng.randint(1, 20), rng.randint(1, 30), rng.randint(1, 15)
    if top >= r:
        top, r = r, top + 1
    shapes: list[tuple[str, Fraction, Callable[[float], float], int]] = [
        (f"a cylinder with radius ${r}$ and height ${h}$", Fraction(r * r * h), lambda z: r, h),
        (f"a cone with base radius ${r}$ and height ${h}$", Fraction(r * r * h, 3), lambda z: r * z / h, h),
        (f"a sphere with radius ${r}$", Fraction(4 * r**3, 3), lambda z: abs(r * r - (z - r) ** 2) ** 0.5, 2 * r),
        (f"a hemisphere with radius ${r}$", Fraction(2 * r**3, 3), lambda z: abs(r * r - z * z) ** 0.5, r),
        (
            f"a truncated cone with height ${h}$ and the radii ${r}$ and ${top}$",
            Fraction(h * (r * r + r * top + top * top), 3),
            lambda z: r + (top - r) * z / h,
            h,
        ),
    ]
    body, result, radius_at, height = rng.choice(shapes)
    question = rng.choice(
        [f"Find the volume of {body}.", f"What is the exact volume of {body}?", f"Compute the volume of {body}."]
    )

    def discs(s: str) -> bool:
        return close(value(s), slices(lambda z: pi * radius_at(z) ** 2, 0, height))

    return Problem(question, with_pi(result), discs)


@module("geometry")
def flat_solid_volume(rng: Random) -> Problem:
    """Pyramids, prisms and boxes."""
    a, b, h = rng.randint(1, 25), rng.randint(1, 25), rng.randint(1, 30)
    shapes: list[tuple[str, Fraction, Callable[[float], float]]] = [
        (
            f"a pyramid with a rectangular base of ${a}$ by ${b}$ and height ${h}$",
            Fraction(a * b * h, 3),
            lambda z: a * b * (z / h) ** 2,
        ),
        (
            f"a prism of length ${h}$ whose ends are right triangles with legs ${a}$ and ${b}$",
            Fraction(a * b * h, 2),
            lambda z: a * b / 2,
        ),
        (
            f"a wedge-shaped ramp that is ${b}$ wide and rises evenly from $0$ to ${a}$ over a length of ${h}$",
            Fraction(a * b * h, 2),
            lambda z: b * a * z / h,
        ),
    ]
    body, result, section = rng.choice(shapes)
    question = rng.choice([f"Find the volume of {body}.", f"What is the volume of {body}?"])
    return Problem(question, forms(result), lambda s: close(value(s), slices(section, 0, h)))


@module("geometry")
def surface_area(rng: Random) -> Problem:
    """Boxes, cylinders, spheres, cones."""
    a, b, c = rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, 20)
    m, n = sorted(distinct(rng, 2, 1, 5))
    r, h, slant = n * n - m * m, 2 * m * n, n * n + m * m
    kind = rng.choice(("box", "cylinder", "sphere", "cone"))
    if kind == "box":
        body, answers = f"a box with edges ${a}$, ${b}$ and ${c}$", [str(2 * (a * b + b * c + c * a))]
    elif kind == "cylinder":
        body, answers = f"a closed cylinder with radius ${a}$ and height ${b}$", with_pi(2 * a * (a + b))
    elif kind == "sphere":
        r = rng.randint(1, 60)
        body, answers = f"a sphere with diameter ${2 * r}$", with_pi(4 * r * r)
    else:
        k = rng.randint(1, 6)
        r, h, slant = r * k, h * k, slant * k
        body, answers = f"a cone (with its base) with base radius ${r}$ and height ${h}$", with_pi(r * (r + slant))
    question = rng.choice([f"Find the surface area of {body}.", f"What is the total surface area of {body}?"])

    def unrolled(s: str) -> bool:  # face by face, and belt by belt
        if kind == "box":
            faces = [(a, b), (a, c), (b, c)] * 2
            return whole(s) == sum(x * y for x, y in faces)
        if kind == "cylinder":
            expected = area(lambda z: 2 * pi * a, 0, b, 1) + 2 * area(lambda x: 2 * pi * x, 0, a, 1)
        elif kind == "sphere":
            expected = area(lambda t: 2 * pi * r * sin(t) * r, 0, pi)
        else:
            expected = area(lambda z: 2 * pi * (r * z / h) * hypot(1, r / h), 0, h, 1) + area(
                lambda x: 2 * pi * x, 0, r, 1
            )
        return close(value(s), expected)

    return Problem(question, answers, unrolled)


@module("geometry", steps=True)
def diagonal_of_a_box(rng: Random) -> Problem:
    """Pythagoras in space."""
    a, b, c, unit = rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, 20), rng.choice(UNITS)
    square = a * a + b * b + c * c
    answer = surd(1, square)
    question = rng.choice(
        [
            f"A box measures ${a}$ by ${b}$ by ${c}$ {unit}. How long is its space diagonal, in {unit}?",
            f"What is the longest straight stick, in {unit}, that fits into a box of ${a}$, ${b}$ and ${c}$ {unit}?",
        ]
    )
    steps = worked(
        f"The diagonal of the base has the square ${a}^2 + {b}^2 = {a * a + b * b}$.",
        f"With the height, the square of the space diagonal is ${a * a + b * b} + {c}^2 = {square}$.",
        f"Its length is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: close(value(s), dist((0, 0, 0), (a, b, c))), steps)


# Coordinates


@module("geometry", steps=True)
def distance_of_points(rng: Random) -> Problem | None:
    """The distance between two points of the plane."""
    x1, y1, x2, y2 = (rng.randint(-15, 15) for _ in range(4))
    dx, dy = x2 - x1, y2 - y1
    if dx == 0 or dy == 0:
        return None
    answer, first, second = surd(1, dx * dx + dy * dy), point(x1, y1), point(x2, y2)
    question = rng.choice(
        [
            f"Find the distance between ${first}$ and ${second}$.",
            f"How far apart are the points ${first}$ and ${second}$?",
            f"What is the length of the segment from ${first}$ to ${second}$?",
        ]
    )
    steps = worked(
        f"The coordinates differ by ${dx}$ and ${dy}$.",
        f"The square of the distance is ${bracketed(dx)}^2 + {bracketed(dy)}^2 = {dx * dx + dy * dy}$.",
        f"The distance is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: close(value(s), abs(complex(x1, y1) - complex(x2, y2))), steps)


@module("geometry")
def division_of_a_segment(rng: Random) -> Problem | None:
    """Midpoints, and points that divide a segment in a ratio."""
    x1, y1, x2, y2 = (rng.randint(-15, 15) for _ in range(4))
    m, n = rng.choice(((1, 1), (1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (1, 4)))
    if (x1, y1) == (x2, y2):
        return None
    x, y = Fraction(n * x1 + m * x2, m + n), Fraction(n * y1 + m * y2, m + n)
    first, second = point(x1, y1), point(x2, y2)
    question = (
        rng.choice(
            [
                f"Find the midpoint of ${first}$ and ${second}$.",
                f"Which point lies halfway between ${first}$ and ${second}$?",
            ]
        )
        if m == n
        else rng.choice(
            [
                f"Find the point that divides the segment from ${first}$ to ${second}$ in the ratio ${m} : {n}$.",
                f"$P$ lies between $A = {first}$ and $B = {second}$ with $AP : PB = {m} : {n}$. Find $P$.",
            ]
        )
    )

    def divides(s: str) -> bool:
        u, v = values(s)
        return bool(n * (u - x1) == m * (x2 - u) and n * (v - y1) == m * (y2 - v))

    return Problem(question, [point(x, y)], divides)


@module("geometry", steps=True)
def line_through_points(rng: Random) -> Problem | None:
    """Slope and intercept from two points."""
    x1, y1, x2, y2 = (rng.randint(-12, 12) for _ in range(4))
    if x1 == x2:
        return None
    m = Fraction(y2 - y1, x2 - x1)
    answer, first, second = f"y = {poly([m, y1 - m * x1])}", point(x1, y1), point(x2, y2)
    question = rng.choice(
        [
            f"Find the equation of the line through ${first}$ and ${second}$ in the form $y = mx + b$.",
            f"A line passes through ${first}$ and ${second}$. Write $y$ in terms of $x$.",
        ]
    )
    steps = worked(
        f"The slope is $\\frac{{{y2} - {bracketed(y1)}}}{{{x2} - {bracketed(x1)}}} = {number(m)}$.",
        f"From $y = mx + b$ at ${first}$ we get $b = {y1} - {bracketed(m)} \\cdot {bracketed(x1)} = "
        f"{number(y1 - m * x1)}$.",
        f"The line is ${answer}$.",
    )

    def through_both(s: str) -> bool:
        straight = value(s, x=0) + value(s, x=2) == 2 * value(s, x=1)
        return bool(straight and value(s, x=Fraction(x1)) == y1 and value(s, x=Fraction(x2)) == y2)

    return Problem(question, [answer], through_both, steps)


@module("geometry")
def perpendicular_or_parallel(rng: Random) -> Problem:
    """The line through a point that is parallel or perpendicular to another."""
    m, b = Fraction(nonzero(rng, 7), rng.randint(1, 5)), rng.randint(-9, 9)
    x, y = rng.randint(-9, 9), rng.randint(-9, 9)
    relation = rng.choice(("perpendicular", "parallel"))
    slope = -1 / m if relation == "perpendicular" else m
    given = poly([m, b])
    question = rng.choice(
        [
            f"Find the line through ${point(x, y)}$ that is {relation} to $y = {given}$.",
            f"Which line passes through ${point(x, y)}$ and is {relation} to the line $y = {given}$?",
        ]
    )

    def directed(s: str) -> bool:
        old, new = (value(line, x=1) - value(line, x=0) for line in (given, s))
        product = 1 * 1 + old * new  # of the direction vectors (1, slope)
        right_way = product == 0 if relation == "perpendicular" else old == new
        return bool(value(s, x=Fraction(x)) == y and right_way)

    return Problem(question, [f"y = {poly([slope, y - slope * x])}"], directed)


@module("geometry")
def distance_to_a_line(rng: Random) -> Problem | None:
    """From a point to ax + by + c = 0."""
    a, b, c = nonzero(rng, 9), nonzero(rng, 9), rng.randint(-20, 20)
    x, y = rng.randint(-9, 9), rng.randint(-9, 9)
    miss = abs(a * x + b * y + c)
    if miss == 0:
        return None
    norm = a * a + b * b
    line = f"{total((a, 'x'), (b, 'y'), (c, ''))} = 0"
    question = rng.choice(
        [
            f"Find the distance from ${point(x, y)}$ to the line ${line}$.",
            f"How far is the point ${point(x, y)}$ from ${line}$?",
        ]
    )

    def nearest(s: str) -> bool:  # try the line's points: the distance falls to its least and rises again
        start, (dx, dy) = (0.0, -c / b), (b / norm**0.5, -a / norm**0.5)
        low, high = -100.0, 100.0
        for _ in range(200):
            one, two = low + (high - low) / 3, high - (high - low) / 3
            d1, d2 = (dist((x, y), (start[0] + t * dx, start[1] + t * dy)) for t in (one, two))
            low, high = (one, high) if d1 > d2 else (low, two)
        return close(value(s), dist((x, y), (start[0] + low * dx, start[1] + low * dy)), 1e-8)

    return Problem(question, [surd(Fraction(miss, norm), norm)], nearest)


@module("geometry")
def reflection(rng: Random) -> Problem | None:
    """A point mirrored in an axis, a parallel to one, or a diagonal."""
    x, y, k = rng.randint(-15, 15), rng.randint(-15, 15), rng.randint(-9, 9)
    mirror, (u, v), (a, b, c) = rng.choice(
        [
            (f"the line $x = {k}$", (2 * k - x, y), (1, 0, k)),
            (f"the line $y = {k}$", (x, 2 * k - y), (0, 1, k)),
            ("the line $y = x$", (y, x), (1, -1, 0)),
            ("the line $y = -x$", (-y, -x), (1, 1, 0)),
            (f"the line ${total((1, 'x'), (1, 'y'))} = {k}$", (k - y, k - x), (1, 1, k)),
        ]
    )
    if (u, v) == (x, y):
        return None
    question = rng.choice(
        [
            f"The point ${point(x, y)}$ is reflected in {mirror}. Find its image.",
            f"What is the mirror image of ${point(x, y)}$ in {mirror}?",
        ]
    )

    def mirrored(s: str) -> bool:  # the middle lies on the line ax + by = c, and the way goes along (a, b)
        p, q = values(s)
        return bool(a * (x + p) + b * (y + q) == 2 * c and a * (q - y) == b * (p - x))

    return Problem(question, [point(u, v)], mirrored)


@module("geometry")
def rotation(rng: Random) -> Problem | None:
    """A point turned by right angles about another."""
    x, y, a, b = rng.randint(-12, 12), rng.randint(-12, 12), rng.randint(-6, 6), rng.randint(-6, 6)
    angle, way = rng.choice(
        ((90, "counterclockwise"), (90, "clockwise"), (180, "counterclockwise"), (270, "counterclockwise"))
    )
    if (x, y) == (a, b):
        return None
    dx, dy = x - a, y - b
    turned = {(90, "counterclockwise"): (-dy, dx), (90, "clockwise"): (dy, -dx), (180, "counterclockwise"): (-dx, -dy)}
    u, v = turned.get((angle, way), (dy, -dx))
    question = rng.choice(
        [
            f"Rotate ${point(x, y)}$ by ${angle}^\\circ$ {way} about ${point(a, b)}$. Where does it land?",
            f"Find the image of ${point(x, y)}$ under the rotation about ${point(a, b)}$ by ${angle}^\\circ$ {way}.",
        ]
    )

    def turned_round(s: str) -> bool:
        p, q = values(s)
        start, end = complex(x - a, y - b), complex(float(p - a), float(q - b))
        spin = complex(cos(radians(angle)), sin(radians(angle)) * (1 if way == "counterclockwise" else -1))
        return abs(start * spin - end) < 1e-9

    return Problem(question, [point(a + u, b + v)], turned_round)


@module("geometry")
def fourth_vertex(rng: Random) -> Problem | None:
    """A parallelogram, or a centroid, from three points."""
    (x1, y1), (x2, y2), (x3, y3) = ((rng.randint(-12, 12), rng.randint(-12, 12)) for _ in range(3))
    if (x2 - x1) * (y3 - y1) == (x3 - x1) * (y2 - y1):
        return None
    a, b, c = point(x1, y1), point(x2, y2), point(x3, y3)
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"$ABCD$ is a parallelogram with $A = {a}$, $B = {b}$ and $C = {c}$. Find $D$.",
                f"Three corners of a parallelogram are, in order, ${a}$, ${b}$ and ${c}$. What is the fourth?",
            ]
        )

        def same_middle(s: str) -> bool:
            p, q = values(s)
            return bool(p + x2 == x1 + x3 and q + y2 == y1 + y3)

        return Problem(question, [point(x1 - x2 + x3, y1 - y2 + y3)], same_middle)
    question = rng.choice(
        [
            f"Find the centroid of the triangle with the corners ${a}$, ${b}$ and ${c}$.",
            f"Where do the medians of the triangle ${a}$, ${b}$, ${c}$ meet?",
        ]
    )

    def equal_parts(s: str) -> bool:  # it splits the triangle into three of equal area
        p, q = values(s)
        corners = [(x1, y1), (x2, y2), (x3, y3)]
        parts = [
            (u1 - p) * (v2 - q) - (u2 - p) * (v1 - q)
            for (u1, v1), (u2, v2) in zip(corners, corners[1:] + corners[:1], strict=True)
        ]
        return bool(parts[0] == parts[1] == parts[2])

    return Problem(question, [point(Fraction(x1 + x2 + x3, 3), Fraction(y1 + y2 + y3, 3))], equal_parts)


# Trigonometry


SINES = {
    0: (Fraction(0), 1),
    30: (Fraction(1, 2), 1),
    45: (Fraction(1, 2), 2),
    60: (Fraction(1, 2), 3),
    90: (Fraction(1), 1),
}


def _sine(angle: int) -> tuple[Fraction, int]:
    """The sine of a multiple of 30 or 45 degrees, as x times the root of n."""
    angle %= 360
    sign = -1 if angle > 180 else 1
    outside, inside = SINES[min(angle % 180, 180 - angle % 180)]
    return sign * outside, inside


@module("geometry")
def exact_trigonometric_value(rng: Random) -> Problem | None:
    """Sine, cosine or tangent at a multiple of 30 or 45 degrees, in degrees or radians. About 500 questions."""
    angle, name = rng.choice((30, 45)) * rng.randint(-16, 28), rng.choice(("\\sin", "\\cos", "\\tan"))
    (s, n), (c, m) = _sine(angle), _sine(angle + 90)
    if name == "\\tan":
        if c == 0:
            return None
        answer = surd(s / (c * m), n * m)
    else:
        answer = surd(*((s, n) if name == "\\sin" else (c, m)))
    in_degrees, in_radians = f"{angle}^\\circ", f"\\left({with_pi(Fraction(angle, 180))[0]}\\right)"
    shown = rng.choice((in_degrees, in_radians))
    question = rng.choice([f"Find the exact value of ${name} {shown}$.", f"What is ${name} {shown}$, exactly?"])

    def numeric(s: str) -> bool:
        return close(value(s), {"\\sin": sin, "\\cos": cos, "\\tan": tan}[name](radians(angle)))

    return Problem(question, [answer], numeric)


@module("geometry")
def trigonometric_equation(rng: Random) -> Problem | None:
    """All solutions in one turn, in degrees."""
    name, k, shift = rng.choice(("\\sin", "\\cos", "\\tan")), rng.choice((1, 1, 2)), 10 * rng.randint(0, 8)
    angle = rng.choice((0, 30, 45, 60, 90, 120, 135, 150, 180, 210, 225, 240, 270, 300, 315, 330))
    (s, n), (c, m) = _sine(angle), _sine(angle + 90)
    if name == "\\tan" and c == 0:
        return None
    right = surd(s / (c * m), n * m) if name == "\\tan" else surd(*((s, n) if name == "\\sin" else (c, m)))
    inside = total((k, "x"), (shift, ""))
    left = f"{name}({inside})"
    base = {"\\sin": [angle, 180 - angle], "\\cos": [angle, -angle], "\\tan": [angle, angle + 180]}[name]
    solutions = sorted(
        {
            Fraction(b + 360 * turn - shift, k)
            for b in base
            for turn in range(-4, 5)
            if 0 <= Fraction(b + 360 * turn - shift, k) < 360
        }
    )
    if any(x.denominator > 1 for x in solutions):
        return None
    question = rng.choice(
        [
            f"Solve ${left} = {right}$ for $0 \\le x < 360$, where $x$ is in degrees.",
            f"Find all $x$ from $0$ up to but not including $360$ (in degrees) with ${left} = {right}$.",
        ]
    )

    def scanned(s: str) -> bool:  # whole degrees, one after the other
        function, wanted = {"\\sin": sin, "\\cos": cos, "\\tan": tan}[name], float(value(right))
        hits = [x for x in range(360) if abs(function(radians(k * x + shift)) - wanted) < 1e-9]
        return values(s) == hits

    return Problem(question, [", ".join(map(str, solutions))], scanned)


@module("geometry")
def degrees_and_radians(rng: Random) -> Problem:
    """From one measure of angles to the other."""
    angle = 3 * rng.randint(1, 240)
    if rng.random() < 0.5:
        question = rng.choice([f"Convert ${angle}^\\circ$ to radians.", f"How many radians are ${angle}^\\circ$?"])
        return Problem(question, with_pi(Fraction(angle, 180)), lambda s: close(value(s), radians(angle)))
    shown = with_pi(Fraction(angle, 180))[0]
    question = rng.choice([f"Convert ${shown}$ radians to degrees.", f"How many degrees are ${shown}$ radians?"])
    return Problem(question, [str(angle)], lambda s: close(radians(whole(s)), value(shown)))


@module("geometry", steps=True)
def other_trigonometric_function(rng: Random) -> Problem:
    """One function of an angle from another, with its quadrant."""
    m, n = sorted(distinct(rng, 2, 1, 14))
    if (n - m) % 2 == 0 or gcd(m, n) > 1:
        n = m + 1
    a, b, c = n * n - m * m, 2 * m * n, n * n + m * m
    quadrant = rng.randint(1, 4)
    s, t = (1 if quadrant in (1, 2) else -1), (1 if quadrant in (1, 4) else -1)
    sine, cosine = Fraction(s * a, c), Fraction(t * b, c)
    asked, result = rng.choice((("\\cos", cosine), ("\\tan", sine / cosine)))
    question = rng.choice(
        [
            f"The angle $\\theta$ lies in quadrant ${quadrant}$ and $\\sin \\theta = {number(sine)}$. Find ${asked} "
            f"\\theta$.",
            f"If $\\sin \\theta = {number(sine)}$ and $\\theta$ is in quadrant ${quadrant}$, what is ${asked} "
            f"\\theta$?",
        ]
    )
    sign = "positive" if t > 0 else "negative"
    steps = worked(
        f"From $\\sin^2 \\theta + \\cos^2 \\theta = 1$ we get $\\cos^2 \\theta = {number(cosine * cosine)}$.",
        f"In quadrant ${quadrant}$ the cosine is {sign}: $\\cos \\theta = {number(cosine)}$.",
        f"This is the value asked for: ${number(result)}$."
        if asked == "\\cos"
        else f"The tangent is the quotient of sine and cosine: ${number(result)}$.",
    )

    def with_an_angle(answer: str) -> bool:
        angle = atan2(s * a, t * b)
        return close(value(answer), cos(angle) if asked == "\\cos" else tan(angle))

    return Problem(question, forms(result)[:2], with_an_angle, steps)
