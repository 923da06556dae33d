"""Counting, probability and statistics.

The solvers use formulas; the checks list the cases, or step through an urn, a walk or a generating function.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import cache, lru_cache
from itertools import combinations, permutations, product
from math import comb, factorial, perm, prod
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, nonzero, worked
from gristmill.recipes.augmentation.amps_modules.read import close, value, values, whole
from gristmill.recipes.augmentation.amps_modules.write import (
    bracketed,
    forms,
    listing,
    number,
    point,
    rounded,
    surd,
    total,
)

THINGS = ("books", "shells", "stamps", "marbles", "postcards", "coins", "toy cars", "seeds")
PEOPLE = ("students", "players", "singers", "neighbours", "scouts", "volunteers", "painters")


def data(rng: Random, low: int = 0, high: int = 60, sizes: tuple[int, int] = (5, 9)) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.randint(*sizes))]


# Describing data


@module("counting and statistics", steps=True)
def mean(rng: Random) -> Problem:
    """The arithmetic mean of a list."""
    xs = data(rng, -20, 80)
    sum_, n = sum(xs), len(xs)
    result = Fraction(sum_, n)
    question = rng.choice(
        [
            f"Find the mean of ${listing(xs)}$.",
            f"What is the arithmetic mean of the numbers ${listing(xs)}$?",
            f"Compute the average of ${listing(xs)}$.",
        ]
    )
    steps = worked(
        f"The sum of the numbers is ${sum_}$.",
        f"There are ${n}$ of them.",
        f"The mean is $\\frac{{{sum_}}}{{{n}}} = {number(result)}$."
        if result.denominator == 1 or (result.numerator, result.denominator) != (sum_, n)
        else f"The mean is ${number(result)}$.",
    )
    return Problem(question, forms(result), lambda s: bool(sum(x - value(s) for x in xs) == 0), steps)


@module("counting and statistics", steps=True)
def median(rng: Random) -> Problem:
    """The middle of a list, or the mean of its two middles."""
    xs = data(rng, -30, 90)
    ordered, n = sorted(xs), len(xs)
    result = Fraction(ordered[(n - 1) // 2] + ordered[n // 2], 2)
    question = rng.choice(
        [
            f"Find the median of ${listing(xs)}$.",
            f"What is the median of the data ${listing(xs)}$?",
            f"Which number is the median of ${listing(xs)}$?",
        ]
    )
    if n % 2:
        rule = f"There are ${n}$, an odd count, so the median is number ${n // 2 + 1}$ of these."
    else:
        middles = f"${ordered[n // 2 - 1]}$ and ${ordered[n // 2]}$"
        rule = f"There are ${n}$, an even count, so the median is the mean of {middles}."
    steps = worked(
        f"In order the numbers are ${listing(ordered)}$.",
        rule,
        f"The median is ${number(result)}$.",
    )

    def in_the_middle(s: str) -> bool:
        m = value(s)
        below, above = [x for x in xs if x <= m], [x for x in xs if x >= m]
        balanced = 2 * len(below) >= n and 2 * len(above) >= n
        return balanced and bool(2 * m == max(sorted(xs)[: (n + 1) // 2]) + min(sorted(xs)[n // 2 :]))

    return Problem(question, forms(result), in_the_middle, steps)


@module("counting and statistics", steps=True)
def mode(rng: Random) -> Problem | None:
    """The most frequent number."""
    xs = data(rng, 1, 12, (8, 12))
    counts = Counter(xs)
    (top, times), *rest = counts.most_common()
    if times < 2 or (rest and rest[0][1] == times):
        return None
    question = rng.choice(
        [
            f"Find the mode of ${listing(xs)}$.",
            f"Which number is the mode of the data ${listing(xs)}$?",
            f"What value occurs most often in ${listing(xs)}$?",
        ]
    )
    tally = ", ".join(f"${x}$ ({n} {'time' if n == 1 else 'times'})" for x, n in sorted(counts.items()))
    steps = worked(f"Count how often each number occurs: {tally}.", f"The most frequent one is ${top}$.")

    def most_frequent(s: str) -> bool:
        return all(xs.count(whole(s)) > xs.count(x) for x in xs if x != whole(s)) and whole(s) in xs

    return Problem(question, [str(top)], most_frequent, steps)


@module("counting and statistics", steps=True)
def variance(rng: Random) -> Problem:
    """The mean squared distance from the mean."""
    xs = data(rng, -9, 20, (4, 6))
    n = len(xs)
    middle = Fraction(sum(xs), n)
    squares = [(x - middle) ** 2 for x in xs]
    result = sum(squares, Fraction(0)) / n
    question = rng.choice(
        [
            f"Find the population variance of ${listing(xs)}$.",
            f"The numbers ${listing(xs)}$ are a whole population. What is their variance?",
            f"Compute the variance (dividing by the number of values) of ${listing(xs)}$.",
        ]
    )
    steps = worked(
        f"The mean is ${number(middle)}$.",
        f"The squared distances from it are ${listing(squares)}$.",
        f"Their mean is the variance, ${number(result)}$.",
    )

    def from_pairs(s: str) -> bool:  # half the mean squared distance of all pairs; no mean is used
        return bool(value(s) * 2 * n * n == sum((x - y) ** 2 for x, y in product(xs, xs)))

    return Problem(question, forms(result), from_pairs, steps)


@module("counting and statistics", steps=True)
def sample_standard_deviation(rng: Random) -> Problem | None:
    """The root of the sample variance, as a surd."""
    xs = data(rng, 0, 15, (4, 6))
    n = len(xs)
    middle = Fraction(sum(xs), n)
    v = sum(((x - middle) ** 2 for x in xs), Fraction(0)) / (n - 1)
    if v == 0 or v.numerator > 4000:
        return None
    answer = surd(Fraction(1, v.denominator), v.numerator * v.denominator)
    question = rng.choice(
        [
            f"Find the exact sample standard deviation of ${listing(xs)}$.",
            f"A sample consists of ${listing(xs)}$. Give its standard deviation as an exact value (divide by $n - 1$).",
        ]
    )
    steps = worked(
        f"The mean is ${number(middle)}$.",
        f"The squared distances from the mean add up to ${number(v * (n - 1))}$.",
        f"Divided by ${n} - 1 = {n - 1}$ that is the sample variance ${number(v)}$.",
        f"The standard deviation is its square root, ${answer}$.",
    )

    def from_pairs(s: str) -> bool:
        spread = Fraction(sum((x - y) ** 2 for x, y in combinations(xs, 2)), n * (n - 1))
        return bool(value(s) > 0) and close(value(s) ** 2, spread)

    return Problem(question, [answer], from_pairs, steps)


@module("counting and statistics")
def weighted_mean(rng: Random) -> Problem:
    """Marks with their weights."""
    n = rng.randint(3, 4)
    marks, weights = [rng.randint(40, 100) for _ in range(n)], distinct(rng, n, 1, 9)
    parts = ", ".join(f"${m}$ (weight ${w}$)" for m, w in zip(marks, weights, strict=True))
    question = rng.choice(
        [
            f"Find the weighted mean of {parts}.",
            f"A course grade is the weighted average of these marks: {parts}. What is the grade?",
        ]
    )
    result = Fraction(sum(m * w for m, w in zip(marks, weights, strict=True)), sum(weights))

    def repeated(s: str) -> bool:
        xs = [m for m, w in zip(marks, weights, strict=True) for _ in range(w)]
        return bool(sum(x - value(s) for x in xs) == 0)

    return Problem(question, forms(result), repeated)


@module("counting and statistics", steps=True)
def missing_value(rng: Random) -> Problem:
    """The number that brings the mean to a given value."""
    xs = data(rng, 1, 60, (4, 7))
    n, wanted = len(xs), rng.randint(10, 60)
    x = wanted * (n + 1) - sum(xs)
    question = rng.choice(
        [
            f"The mean of ${listing(xs)}$ and one more number is ${wanted}$. What is that number?",
            f"Which number must join ${listing(xs)}$ so that the mean becomes ${wanted}$?",
        ]
    )
    steps = worked(
        f"With the new number there are ${n + 1}$ numbers, so their sum must be ${n + 1} \\cdot {wanted} = "
        f"{wanted * (n + 1)}$.",
        f"The given ones add up to ${sum(xs)}$.",
        f"The missing number is ${wanted * (n + 1)} - {sum(xs)} = {x}$.",
    )
    return Problem(question, [str(x)], lambda s: Fraction(sum([*xs, whole(s)]), n + 1) == wanted, steps)


@module("counting and statistics")
def interquartile_range(rng: Random) -> Problem:
    """The distance of the quartiles of a list with 4k + 3 values, where all conventions agree."""
    xs = [rng.randint(-20, 90) for _ in range(rng.choice((7, 11)))]
    ordered, k = sorted(xs), (len(xs) + 1) // 4
    question = rng.choice(
        [
            f"Find the interquartile range of ${listing(xs)}$. (The quartiles are the medians of the lower and the "
            f"upper half, "
            f"without the median.)",
            f"What is the distance between the lower and the upper quartile of ${listing(xs)}$, where the quartiles "
            f"are the medians "
            f"of the halves below and above the median?",
        ]
    )

    def by_ranks(s: str) -> bool:  # the quartiles are the values with k - 1 others beyond them
        rest = list(xs)
        for _ in range(k - 1):
            rest.remove(min(rest))
            rest.remove(max(rest))
        return whole(s) == max(rest) - min(rest)

    return Problem(question, [str(ordered[-k] - ordered[k - 1])], by_ranks)


@module("counting and statistics")
def z_score(rng: Random) -> Problem:
    """How many standard deviations above the mean."""
    mean_, spread, x = rng.randint(20, 150), rng.randint(2, 25), rng.randint(5, 200)
    question = rng.choice(
        [
            f"A value of ${x}$ comes from data with mean ${mean_}$ and standard deviation ${spread}$. What is its "
            f"$z$-score?",
            f"Data have mean ${mean_}$ and standard deviation ${spread}$. By how many standard deviations does ${x}$ "
            f"lie above "
            f"the mean (negative if below)?",
        ]
    )
    return Problem(question, forms(Fraction(x - mean_, spread)), lambda s: bool(mean_ + value(s) * spread == x))


@module("counting and statistics", steps=True)
def regression_line(rng: Random) -> Problem:
    """The line of least squares."""
    xs = sorted(distinct(rng, rng.randint(3, 5), -5, 8))
    ys = [rng.randint(-9, 15) for _ in xs]
    n = len(xs)
    sx, sy, sxx, sxy = sum(xs), sum(ys), sum(x * x for x in xs), sum(x * y for x, y in zip(xs, ys, strict=True))
    m = Fraction(n * sxy - sx * sy, n * sxx - sx * sx)
    b = Fraction(sy) / n - m * sx / n
    answer = f"y = {total((m, 'x'), (b, ''))}"
    points = ", ".join(point(x, y) for x, y in zip(xs, ys, strict=True))
    question = rng.choice(
        [
            f"Find the least squares regression line for the points ${points}$.",
            f"Which line $y = mx + b$ fits ${points}$ best in the sense of least squares?",
        ]
    )
    steps = worked(
        f"There are ${n}$ points, with $\\sum x = {sx}$, $\\sum y = {sy}$, $\\sum x^2 = {sxx}$ and $\\sum xy = {sxy}$.",
        f"The slope is $\\frac{{{n} \\cdot {bracketed(sxy)} - {bracketed(sx)} \\cdot {bracketed(sy)}}}"
        f"{{{n} \\cdot {sxx} - {bracketed(sx)}^2}} = {number(m)}$.",
        f"The line passes through the mean point ${point(Fraction(sx, n), Fraction(sy, n))}$, so its intercept is "
        f"${number(b)}$.",
        f"The line is ${answer}$.",
    )

    def residuals(s: str) -> bool:  # what is left must be orthogonal to the constants and to x
        left = [y - value(s, x=Fraction(x)) for x, y in zip(xs, ys, strict=True)]
        return bool(sum(left) == 0 and sum(r * x for r, x in zip(left, xs, strict=True)) == 0)

    return Problem(question, [answer], residuals, steps)


@module("counting and statistics")
def average_speed(rng: Random) -> Problem:
    """There and back at different speeds: a harmonic mean."""
    u, v = distinct(rng, 2, 4, 120)
    vehicle = rng.choice(("cyclist", "bus", "boat", "runner", "van"))
    question = rng.choice(
        [
            f"A {vehicle} covers a distance at ${u}$ km/h and returns the same way at ${v}$ km/h. What is the average "
            f"speed of the "
            f"whole trip, in km/h?",
            f"Going at ${u}$ km/h and coming back over the same road at ${v}$ km/h, which average speed does a "
            f"{vehicle} reach, in "
            f"km/h?",
        ]
    )

    def on_a_road(s: str) -> bool:
        road = 240 * u * v
        return bool(value(s) * (Fraction(road, u) + Fraction(road, v)) == 2 * road)

    return Problem(question, forms(Fraction(2 * u * v, u + v)), on_a_road)


# Counting


WORDS = [
    "BANANA",
    "LETTER",
    "BALLOON",
    "COFFEE",
    "PEPPER",
    "SUCCESS",
    "MAMMAL",
    "COCOON",
    "TOMATO",
    "PAPAYA",
    "ARRAY",
    "BUBBLE",
    "CHEESE",
    "DADDY",
    "EERIE",
    "FLUFF",
    "GIGGLE",
    "HOLLOW",
    "INDIGO",
    "JUJUBE",
    "KAYAK",
    "LLAMA",
    "MINIMUM",
    "NOON",
    "ONION",
    "PUPPY",
    "QUEUE",
    "RADAR",
    "SASSY",
    "TATTOO",
    "URUBU",
    "VALLEY",
    "WILLOW",
    "ZIGZAG",
    "ALFALFA",
    "BAOBAB",
    "CANCAN",
    "DEEDED",
    "ENGINE",
    "FEEDER",
    "GARAGE",
    "HIPPO",
    "IGLOO",
    "JELLY",
    "KOALA",
    "LEVEL",
    "MOTOR",
    "NINTH",
    "OTTO",
    "PIZZA",
    "RIVER",
    "SALSA",
    "TEETH",
    "VOODOO",
    "APPLE",
    "BERRY",
    "CARROT",
    "DOLLAR",
    "ERASER",
    "FOSSIL",
    "GOGGLES",
    "HAMMER",
    "INNING",
    "KITTEN",
    "LESSON",
    "MIRROR",
    "NARRATE",
    "OFFICE",
    "PARROT",
    "RABBIT",
    "SUMMER",
    "TUNNEL",
    "UNUSUAL",
    "VACUUM",
    "WEDDING",
    "YELLOW",
    "ZIPPER",
    "ATTIC",
    "BOBBIN",
    "CIRCUS",
    "DIVIDE",
    "ELEVEN",
    "FREEZE",
    "GRAMMAR",
    "HORROR",
]


@module("counting and statistics", steps=True)
def word_arrangements(rng: Random) -> Problem:
    """Orders of the letters of a word, some of them alike."""
    word = rng.choice(WORDS)
    first = rng.choice(sorted(set(word))) if rng.random() < 0.6 else ""
    left = Counter(word) - Counter(first)
    n, repeats = sum(left.values()), [k for k in left.values() if k > 1]
    result = factorial(n) // prod(map(factorial, repeats))
    below = " \\cdot ".join(f"{k}!" for k in repeats)
    fraction = f"\\frac{{{n}!}}{{{below}}}" if below else f"{n}!"
    if first:
        question = rng.choice(
            [
                f"How many distinct arrangements of the letters of {word} begin with the letter {first}?",
                f"The letters of {word} are put in a row. How many different rows start with {first}?",
            ]
        )
        start = f"With one {first} in front, ${n}$ letters remain."
    else:
        question = rng.choice(
            [
                f"In how many distinct ways can the letters of the word {word} be arranged?",
                f"How many different strings can be made from all letters of {word}?",
                f"How many distinguishable orders do the letters of {word} have?",
            ]
        )
        start = f"The word has ${n}$ letters."
    steps = worked(
        start,
        "Equal letters may change places without a new arrangement, so divide by the orders of each group of them.",
        f"The number of arrangements is ${fraction} = {result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == _orders(tuple(sorted(left.values()))), steps)


@lru_cache(maxsize=4096)
def _orders(counts: tuple[int, ...]) -> int:
    """Distinct rows, by choosing the first letter and going on."""
    if not any(counts):
        return 1
    found = 0
    for i, n in enumerate(counts):
        if n:
            found += _orders(tuple(sorted((*counts[:i], n - 1, *counts[i + 1 :]))))
    return found


@lru_cache(maxsize=4096)
def _pascal(n: int, k: int) -> int:
    """n choose k, from Pascal's triangle."""
    if k < 0 or k > n:
        return 0
    return 1 if k in (0, n) else _pascal(n - 1, k - 1) + _pascal(n - 1, k)


@module("counting and statistics", steps=True)
def committees(rng: Random) -> Problem:
    """A choice without order."""
    n, people = rng.randint(6, 30), rng.choice(PEOPLE)
    k = rng.randint(2, min(6, n - 2))
    result = comb(n, k)
    question = rng.choice(
        [
            f"In how many ways can a committee of ${k}$ be chosen from ${n}$ {people}?",
            f"How many groups of ${k}$ can be formed from ${n}$ {people}?",
            f"${n}$ {people} are available for ${k}$ equal jobs. How many choices are there?",
        ]
    )
    top = " \\cdot ".join(str(n - i) for i in range(k))
    steps = worked(
        f"The order does not matter, so the number is $\\binom{{{n}}}{{{k}}} = \\frac{{{top}}}{{{k}!}}$.",
        f"This equals ${result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == _pascal(n, k), steps)


@module("counting and statistics", steps=True)
def mixed_committee(rng: Random) -> Problem:
    """So many of each kind."""
    (a, b), (first, second) = (rng.randint(4, 9), rng.randint(4, 9)), rng.sample(PEOPLE, 2)
    i, j = rng.randint(1, 3), rng.randint(1, 3)
    result = comb(a, i) * comb(b, j)
    question = rng.choice(
        [
            f"There are ${a}$ {first} and ${b}$ {second}. In how many ways can a team with exactly ${i}$ of the "
            f"{first} and ${j}$ of "
            f"the {second} be formed?",
            f"From ${a}$ {first} and ${b}$ {second}, ${i}$ and ${j}$ are chosen. How many such teams are possible?",
        ]
    )
    steps = worked(
        f"The {first} can be chosen in $\\binom{{{a}}}{{{i}}} = {comb(a, i)}$ ways.",
        f"The {second} can be chosen in $\\binom{{{b}}}{{{j}}} = {comb(b, j)}$ ways.",
        f"Each choice goes with each other: ${comb(a, i)} \\cdot {comb(b, j)} = {result}$.",
    )

    def listed(s: str) -> bool:
        return whole(s) == len(list(combinations(range(a), i))) * len(list(combinations(range(b), j)))

    return Problem(question, [str(result)], listed, steps)


@module("counting and statistics")
def at_least_committee(rng: Random) -> Problem | None:
    """At least so many of one kind."""
    a, b, size = rng.randint(3, 7), rng.randint(3, 7), rng.randint(3, 5)
    least = rng.randint(1, size - 1)
    first, second = rng.sample(PEOPLE, 2)
    result = sum(comb(a, i) * comb(b, size - i) for i in range(least, size + 1))
    if result in (0, comb(a + b, size)):
        return None
    question = rng.choice(
        [
            f"A group of ${size}$ is chosen from ${a}$ {first} and ${b}$ {second}. In how many ways can it hold at "
            f"least ${least}$ of "
            f"the {first}?",
            f"How many groups of ${size}$ out of ${a}$ {first} and ${b}$ {second} contain ${least}$ or more of the "
            f"{first}?",
        ]
    )

    def listed(s: str) -> bool:
        groups = combinations(range(a + b), size)
        return whole(s) == sum(1 for group in groups if sum(1 for x in group if x < a) >= least)

    return Problem(question, [str(result)], listed)


@module("counting and statistics")
def podium(rng: Random) -> Problem:
    """A choice with order."""
    n, people = rng.randint(5, 40), rng.choice(PEOPLE)
    k = rng.randint(2, 4)
    question = rng.choice(
        [
            f"${n}$ {people} run a race without ties. How many results are possible for the first ${k}$ places?",
            f"In how many ways can ${k}$ different prizes go to ${n}$ {people}, nobody getting more than one?",
            f"${k}$ different offices are filled from ${n}$ {people}, each person holding at most one. How many ways "
            f"are there?",
        ]
    )
    return Problem(question, [str(perm(n, k))], lambda s: whole(s) == _pascal(n, k) * len(list(permutations(range(k)))))


@module("counting and statistics")
def stars_and_bars(rng: Random) -> Problem:
    """Like things into different boxes."""
    n, k, least = rng.randint(5, 25), rng.randint(3, 6), rng.choice((0, 0, 1))
    things = rng.choice(THINGS)
    if least and n < k:
        n += k
    rule = "each child getting at least one" if least else "where a child may get none"
    question = rng.choice(
        [
            f"In how many ways can ${n}$ identical {things} be given to ${k}$ children, {rule}?",
            f"How many solutions has $x_1 + \\ldots + x_{k} = {n}$ in {'positive' if least else 'non-negative'} whole "
            f"numbers?",
        ]
    )

    def step_by_step(s: str) -> bool:
        ways = [1] + [0] * n  # ways[m]: to give away m things to the children so far
        for _ in range(k):
            ways = [sum(ways[m - x] for x in range(least, m + 1)) for m in range(n + 1)]
        return whole(s) == ways[n]

    return Problem(question, [str(comb(n - least * k + k - 1, k - 1))], step_by_step)


@module("counting and statistics")
def lattice_paths(rng: Random) -> Problem | None:
    """Shortest ways on a grid, through or around a crossing."""
    a, b = rng.randint(3, 8), rng.randint(3, 8)
    x, y = rng.randint(1, a - 1), rng.randint(1, b - 1)
    through = comb(x + y, x) * comb(a - x + b - y, a - x)
    avoid = rng.random() < 0.5
    result = comb(a + b, a) - through if avoid else through
    rule = "do not pass" if avoid else "pass"
    question = rng.choice(
        [
            f"How many shortest paths on the grid from $(0, 0)$ to $({a}, {b})$, with steps right or up, {rule} "
            f"through $({x}, {y})$?",
            f"A taxi drives from crossing $(0, 0)$ to $({a}, {b})$ going only east or north. How many of its routes "
            f"{rule} through "
            f"$({x}, {y})$?",
        ]
    )

    def walked(s: str) -> bool:
        ways = {(0, 0): (1, 0)}  # without and with the crossing behind us
        for i, j in product(range(a + 1), range(b + 1)):
            if (i, j) != (0, 0):
                left, down = ways.get((i - 1, j), (0, 0)), ways.get((i, j - 1), (0, 0))
                without, with_ = left[0] + down[0], left[1] + down[1]
                ways[i, j] = (0, without + with_) if (i, j) == (x, y) else (without, with_)
        return whole(s) == ways[a, b][0 if avoid else 1]

    return Problem(question, [str(result)], walked)


@module("counting and statistics")
def round_table(rng: Random) -> Problem:
    """Seats in a circle, some people together or apart."""
    n, people = rng.randint(4, 12), rng.choice(PEOPLE)
    case = rng.choice(("all", "together", "apart"))
    result = {
        "all": factorial(n - 1),
        "together": 2 * factorial(n - 2),
        "apart": factorial(n - 1) - 2 * factorial(n - 2),
    }[case]
    one, other = rng.sample(("Amara", "Bela", "Chidi", "Dana", "Elif", "Farid", "Greta", "Hugo"), 2)
    rule = {
        "all": "",
        "together": f" if {one} and {other}, who are among them, sit next to each other",
        "apart": f" if {one} and {other}, who are among them, do not sit next to each other",
    }[case]
    question = rng.choice(
        [
            f"In how many ways can ${n}$ {people} sit around a round table{rule}? Rotations count as the same.",
            f"${n}$ {people} take their seats at a circular table. How many seatings are there{rule}, when rotated "
            f"seatings are equal?",
        ]
    )

    def gaps(
        s: str,
    ) -> bool:  # the first person anywhere; the second in one of n - 1 seats, of which two are neighbours
        others = len(list(permutations(range(min(n - 2, 6))))) * prod(range(7, n - 1))
        return whole(s) == others * {"all": n - 1, "together": 2, "apart": n - 3}[case]

    return Problem(question, [str(result)], gaps)


@module("counting and statistics")
def fixed_places(rng: Random) -> Problem:
    """Letters in wrong envelopes, with so many right. About 150 questions a thing."""
    n = rng.randint(4, 9)
    k = rng.randint(0, n - 2)
    thing, place = rng.choice(
        (
            ("letters", "envelopes"),
            ("hats", "hooks"),
            ("keys", "locks"),
            ("books", "slots"),
            ("lids", "pots"),
            ("dogs", "kennels"),
        )
    )
    wrong = [1, 0]
    for m in range(2, n + 1):
        wrong.append((m - 1) * (wrong[m - 1] + wrong[m - 2]))
    result = comb(n, k) * wrong[n - k]
    count = "none" if k == 0 else f"exactly ${k}$"
    question = rng.choice(
        [
            f"In how many ways can ${n}$ {thing} be put into their ${n}$ {place}, one each, so that {count} of the "
            f"{thing} "
            f"{'is' if k < 2 else 'are'} in the right place?",
            f"Of the orders in which ${n}$ {thing} can be assigned to their ${n}$ own {place}, in how many "
            f"{'does' if k < 2 else 'do'} {count} of the {thing} get the right place?",
        ]
    )

    def inclusion_exclusion(s: str) -> bool:
        m = n - k
        alternating = [(1, -1)[i % 2] * _pascal(m, i) * factorial(m - i) for i in range(m + 1)]
        return whole(s) == _pascal(n, k) * sum(alternating)

    return Problem(question, [str(result)], inclusion_exclusion)


@module("counting and statistics")
def codes(rng: Random) -> Problem:
    """Digits with a rule about their repetition."""
    length, base = rng.randint(3, 6), rng.randint(5, 10)
    rule, result = rng.choice(
        [
            ("no digit occurs twice", perm(base, length) if length <= base else 0),
            ("no two neighbouring digits are equal", base * (base - 1) ** (length - 1)),
            ("at least one digit occurs more than once", base**length - (perm(base, length) if length <= base else 0)),
            ("the digit $0$ occurs at least once", base**length - (base - 1) ** length),
            ("the digit $1$ occurs exactly once", length * (base - 1) ** (length - 1)),
            ("the first and the last digit are equal", base ** (length - 1)),
        ]
    )
    question = rng.choice(
        [
            f"A code has ${length}$ digits, each from $0$ to ${base - 1}$. How many codes are there in which {rule}?",
            f"How many strings of ${length}$ digits from $0$ to ${base - 1}$ have the property that {rule}?",
            f"A lock opens with ${length}$ digits between $0$ and ${base - 1}$. In how many settings is it true that "
            f"{rule}?",
        ]
    )

    def one_digit_after_another(s: str) -> bool:
        return whole(s) == _count_codes(length, base, rule)

    return Problem(question, [str(result)], one_digit_after_another)


@lru_cache(maxsize=512)
def _count_codes(length: int, base: int, rule: str) -> int:
    """Grow all codes, merging those that the rule cannot tell apart."""
    states: Counter[tuple[object, ...]] = Counter({(): 1})
    for _ in range(length):
        grown: Counter[tuple[object, ...]] = Counter()
        for state, count in states.items():
            for digit in range(base):
                if "neighbouring" in rule:
                    following: tuple[object, ...] | None = (digit,) if state != (digit,) else None
                elif "twice" in rule:
                    following = None if digit in state else tuple(sorted((*state, digit)))  # type: ignore[type-var]
                elif "more than once" in rule:
                    done = "again" in state or digit in state
                    following = ("again",) if done else tuple(sorted((*state, digit)))  # type: ignore[type-var]
                elif "first and the last" in rule:
                    following = (state[0] if state else digit, digit)
                else:
                    wanted = 0 if "$0$" in rule else 1
                    following = (sum(x == "hit" for x in state) * ("hit",)) + (("hit",) if digit == wanted else ())
                if following is not None:
                    grown[following] += count
        states = grown
    if "more than once" in rule:
        return states[("again",)]
    if "first and the last" in rule:
        return sum(count for state, count in states.items() if state[0] == state[1])
    if "at least once" in rule:
        return sum(count for state, count in states.items() if state)
    if "exactly once" in rule:
        return states[("hit",)]
    return sum(states.values())


@module("counting and statistics")
def two_clubs(rng: Random) -> Problem:
    """Members of one club, of two, of none."""
    both, first_only, second_only, neither = (rng.randint(2, 40) for _ in range(4))
    a, b, n = both + first_only, both + second_only, both + first_only + second_only + neither
    (one, two), people = (
        rng.sample(("chess", "football", "choir", "drama", "swimming", "robotics"), 2),
        rng.choice(PEOPLE),
    )
    asked, result = rng.choice(
        [
            ("how many are in neither", neither),
            (f"how many are only in the {one} club", first_only),
            ("how many are in exactly one of the two", first_only + second_only),
        ]
    )
    question = rng.choice(
        [
            f"Of ${n}$ {people}, ${a}$ are in the {one} club, ${b}$ in the {two} club and ${both}$ in both. Of all of "
            f"them, {asked}?",
            f"Among ${n}$ {people} there are ${a}$ members of the {one} club and ${b}$ of the {two} club; ${both}$ "
            f"are counted twice "
            f"that way. Of the ${n}$, {asked}?",
        ]
    )

    def people_in_a_row(s: str) -> bool:  # the first a do one thing; the others overlap with their last `both`
        ones, twos = set(range(a)), set(range(a - both, a - both + b))
        counts = {
            "neither": n - len(ones | twos),
            "only": len(ones - twos),
            "exactly": len(ones ^ twos),
        }
        return whole(s) == next(count for word, count in counts.items() if word in asked)

    return Problem(question, [str(result)], people_in_a_row)


@module("counting and statistics")
def drawer(rng: Random) -> Problem:
    """How many to draw in the dark to be sure."""
    colours = rng.sample(("red", "blue", "green", "black", "white", "yellow", "grey"), rng.randint(3, 5))
    counts = [rng.randint(2, 20) for _ in colours]
    wanted = rng.randint(2, max(counts))
    thing = rng.choice(("socks", "balls", "gloves", "candles", "buttons"))
    contents = ", ".join(f"${n}$ {c}" for n, c in zip(counts, colours, strict=True))
    question = rng.choice(
        [
            f"A drawer holds {contents} {thing}. How many must be taken in the dark to be sure of ${wanted}$ of one "
            f"colour?",
            f"In a dark room there is a box with {contents} {thing}. What is the smallest number to take so that "
            f"${wanted}$ of the same "
            f"colour are certainly among them?",
        ]
    )
    result = sum(min(n, wanted - 1) for n in counts) + 1

    def unlucky(s: str) -> bool:  # draw as unluckily as possible, one at a time
        taken = [0] * len(counts)
        drawn = 0
        while True:
            safe = [i for i, n in enumerate(counts) if taken[i] < n and taken[i] + 1 < wanted]
            drawn += 1
            if not safe:
                return whole(s) == drawn
            taken[safe[0]] += 1

    return Problem(question, [str(result)], unlucky)


@module("counting and statistics")
def groups_of_given_sizes(rng: Random) -> Problem:
    """Different things into labelled groups."""
    sizes = [rng.randint(1, 5) for _ in range(rng.randint(3, 4))]
    n, people = sum(sizes), rng.choice(PEOPLE)
    names = rng.sample(("kitchen", "garden", "workshop", "office", "stable", "library"), len(sizes))
    jobs = ", ".join(f"${k}$ to the {name}" for k, name in zip(sizes, names, strict=True))
    question = rng.choice(
        [
            f"${n}$ {people} are split up: {jobs}. In how many ways?",
            f"In how many ways can ${n}$ {people} be sent to work as follows: {jobs}?",
        ]
    )
    result = factorial(n) // prod(factorial(k) for k in sizes)
    return Problem(question, [str(result)], lambda s: whole(s) == _orders(tuple(sorted(sizes))))


# Probability


@module("counting and statistics", steps=True)
def dice_sum(rng: Random) -> Problem | None:
    """The probability of a sum of two or three dice, with any number of sides."""
    dice, sides = rng.choice((2, 2, 3)), rng.choice((4, 6, 6, 8, 10, 12))
    target = rng.randint(dice + 1, dice * sides - 1)
    relation = rng.choice(("exactly", "at least", "at most"))
    rolls = list(product(range(1, sides + 1), repeat=dice))
    good_sums = {
        "exactly": range(target, target + 1),
        "at least": range(target, dice * sides + 1),
        "at most": range(dice, target + 1),
    }[relation]
    hits = sum(1 for roll in rolls if sum(roll) in good_sums)
    result = Fraction(hits, len(rolls))
    question = rng.choice(
        [
            f"${dice}$ fair dice with ${sides}$ sides each (numbered from $1$) are rolled. What is the probability "
            f"that the sum is "
            f"{relation} ${target}$?",
            f"Find the probability of a total of {relation} ${target}$ when ${dice}$ fair ${sides}$-sided dice are "
            f"thrown.",
        ]
    )
    steps = worked(
        f"There are ${sides}^{dice} = {len(rolls)}$ equally likely results.",
        f"The sum is {relation} ${target}$ in ${hits}$ of them.",
        f"The probability is ${number(result)}$.",
    )

    def generating_function(s: str) -> bool:
        ways = [1]
        for _ in range(dice):
            ways = [
                sum(ways[t - x] for x in range(1, sides + 1) if 0 <= t - x < len(ways))
                for t in range(len(ways) + sides)
            ]
        good = sum(w for t, w in enumerate(ways) if t in good_sums)
        return bool(value(s) == Fraction(good, sum(ways)))

    return Problem(question, forms(result)[:2], generating_function, steps)


@module("counting and statistics")
def drawing_without_replacement(rng: Random) -> Problem | None:
    """So many of one colour among the drawn."""
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    drawn = rng.randint(2, 4)
    k = rng.randint(0, drawn)
    if k > a or drawn - k > b:
        return None
    one, two = rng.sample(("red", "blue", "green", "black", "white", "yellow"), 2)
    result = Fraction(comb(a, k) * comb(b, drawn - k), comb(a + b, drawn))
    count = "none" if k == 0 else "all" if k == drawn else f"exactly ${k}$"
    question = rng.choice(
        [
            f"An urn holds ${a}$ {one} and ${b}$ {two} balls. ${drawn}$ are drawn without replacement. What is the "
            f"probability that "
            f"{count} of them {'is' if k == 1 != drawn else 'are'} {one}?",
            f"From ${a}$ {one} and ${b}$ {two} cards, ${drawn}$ are dealt at random. Find the probability that "
            f"{count} of these "
            f"{'is' if k == 1 != drawn else 'are'} {one}.",
        ]
    )

    def one_after_another(s: str) -> bool:
        @cache
        def chance(red: int, blue: int, left: int, wanted: int) -> Fraction:
            if left == 0:
                return Fraction(wanted == 0)
            result_ = Fraction(0)
            if red:
                result_ += Fraction(red, red + blue) * chance(red - 1, blue, left - 1, wanted - 1)
            if blue:
                result_ += Fraction(blue, red + blue) * chance(red, blue - 1, left - 1, wanted)
            return result_

        return bool(value(s) == chance(a, b, drawn, k))

    return Problem(question, forms(result)[:2], one_after_another)


@module("counting and statistics")
def binomial_probability(rng: Random) -> Problem:
    """So many successes in independent trials."""
    n, q = rng.randint(3, 7), rng.randint(2, 6)
    p, k = Fraction(rng.randint(1, q - 1), q), rng.randint(0, n)
    relation = rng.choice(("exactly", "at least", "at most"))
    if (relation, k) in {("at least", 0), ("at most", n)}:
        relation = "exactly"
    wanted = {"exactly": [k], "at least": list(range(k, n + 1)), "at most": list(range(k + 1))}[relation]
    result = sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in wanted), Fraction(0))
    event = rng.choice(("a seed germinates", "an archer hits", "a machine part passes", "a bus is late"))
    question = rng.choice(
        [
            f"The probability that {event} is ${number(p)}$, independently each time. In ${n}$ trials, what is the "
            f"probability that it "
            f"happens {relation} ${k}$ times?",
            f"Suppose {event} with probability ${number(p)}$. Find the probability of {relation} ${k}$ such events in "
            f"${n}$ independent "
            f"trials.",
        ]
    )

    def trial_by_trial(s: str) -> bool:
        chances = [Fraction(1)] + [Fraction(0)] * n
        for _ in range(n):
            chances = [chances[i] * (1 - p) + (chances[i - 1] * p if i else 0) for i in range(n + 1)]
        return bool(value(s) == sum((chances[i] for i in wanted), Fraction(0)))

    return Problem(question, forms(result)[:2], trial_by_trial)


@module("counting and statistics")
def at_least_once(rng: Random) -> Problem:
    """By the opposite event."""
    q, n = rng.randint(2, 10), rng.randint(2, 4)
    p = Fraction(rng.randint(1, q - 1), q)
    result = 1 - (1 - p) ** n
    event = rng.choice(("it rains on a day", "a ticket wins", "a fish bites in an hour", "a spinner stops on gold"))
    question = rng.choice(
        [
            f"The probability that {event} is ${number(p)}$, independently. What is the probability that this happens "
            f"at least once in "
            f"${n}$ tries?",
            f"Each time, the chance that {event} is ${number(p)}$, whatever happened before. How likely is it to "
            f"happen one or more "
            f"times in ${n}$ tries?",
        ]
    )

    def first_time(s: str) -> bool:  # it happens for the first time in try 1, or 2, or ...
        return bool(value(s) == sum((p * (1 - p) ** i for i in range(n)), Fraction(0)))

    return Problem(question, forms(result)[:2], first_time)


@module("counting and statistics")
def expected_value(rng: Random) -> Problem:
    """A game with prizes and a stake."""
    n = rng.randint(3, 4)
    weights, prizes = [rng.randint(1, 6) for _ in range(n)], distinct(rng, n, -12, 30)
    whole_weight = sum(weights)
    cases = ", ".join(
        f"${x}$ with probability ${number(Fraction(w, whole_weight))}$" for x, w in zip(prizes, weights, strict=True)
    )
    question = rng.choice(
        [
            f"A random variable takes the values {cases}. Find its expected value.",
            f"A game pays the following (negative: you pay): {cases}. What does it pay on average?",
        ]
    )
    result = sum((Fraction(w, whole_weight) * x for x, w in zip(prizes, weights, strict=True)), Fraction(0))

    def long_run(s: str) -> bool:
        rounds = [x for x, w in zip(prizes, weights, strict=True) for _ in range(w)]
        return bool(sum(x - value(s) for x in rounds) == 0)

    return Problem(question, forms(result), long_run)


@module("counting and statistics")
def conditional_probability(rng: Random) -> Problem:
    """A two-way table."""
    a, b, c, d = (rng.randint(2, 40) for _ in range(4))
    people = rng.choice(PEOPLE)
    one, other = rng.choice((("left-handed", "right-handed"), ("young", "old"), ("tall", "short")))
    yes, no = rng.choice(
        (
            ("wear glasses", "do not wear glasses"),
            ("own a bicycle", "own no bicycle"),
            ("like tea", "do not like tea"),
        )
    )
    table = (
        f"${a}$ are {one} and {yes}, ${b}$ are {one} and {no}, "
        f"${c}$ are {other} and {yes}, and ${d}$ are {other} and {no}"
    )
    asked, result = rng.choice(
        [
            (
                f"Given that a random one of them is {one}, how likely is it that this one is among those who {yes}",
                Fraction(a, a + b),
            ),
            (
                f"One of those who {yes} is picked at random. How likely is it that this one is {one}",
                Fraction(a, a + c),
            ),
        ]
    )
    question = f"Of some {people}, {table}. {asked}?"

    def crowd(s: str) -> bool:
        everyone = [(1, 1)] * a + [(1, 0)] * b + [(0, 1)] * c + [(0, 0)] * d
        given = [p for p in everyone if (p[0] if asked.startswith("Given") else p[1])]
        return bool(value(s) == Fraction(sum(1 for p in given if p == (1, 1)), len(given)))

    return Problem(question, forms(result)[:2], crowd)


@module("counting and statistics", steps=True)
def bayes(rng: Random) -> Problem:
    """How much a positive test tells."""
    base = Fraction(rng.randint(1, 20), 100)
    hit, false = Fraction(rng.randint(12, 19), 20), Fraction(rng.randint(1, 6), 20)
    caught, wrong = base * hit, (1 - base) * false
    result = caught / (caught + wrong)
    what = rng.choice(("a disease", "a defect", "a fault", "an allergy"))

    def percent(p: Fraction) -> str:
        return f"${number(p * 100)}\\%$"

    question = rng.choice(
        [
            f"{percent(base)} of a population have {what}. A test finds it in {percent(hit)} of those who have it, "
            f"and wrongly reports "
            f"it in {percent(false)} of the others. What is the probability of {what} after a positive test?",
            f"A test for {what} is positive for {percent(hit)} of true cases and for {percent(false)} of all others. "
            f"{percent(base)} are "
            f"true cases. How likely is a true case when the test is positive?",
        ]
    )
    steps = worked(
        f"A true case with a positive test has probability ${number(base)} \\cdot {number(hit)} = {number(caught)}$.",
        f"A false alarm has probability ${number(1 - base)} \\cdot {number(false)} = {number(wrong)}$.",
        f"So a positive test has probability ${number(caught + wrong)}$.",
        f"The share of true cases among the positive tests is ${number(result)}$.",
    )

    def crowd(s: str) -> bool:
        people = 20_000
        ill = people * base
        positives = ill * hit, (people - ill) * false
        return bool(value(s) * sum(positives) == positives[0])

    return Problem(question, forms(result)[:2], crowd, steps)


@module("counting and statistics")
def waiting_time(rng: Random) -> Problem:
    """How long until the first success, or which try brings it."""
    q = rng.randint(2, 15)
    p = Fraction(rng.randint(1, q - 1), q)
    k = rng.randint(2, 4)
    asked, result = rng.choice(
        [
            (f"what is the probability that try number ${k}$ is the first success", (1 - p) ** (k - 1) * p),
            ("how many tries does it take on average until the first success", 1 / p),
            (f"what is the probability that more than ${k}$ tries are needed for the first success", (1 - p) ** k),
        ]
    )
    question = rng.choice(
        [
            f"Each try succeeds with probability ${number(p)}$, independently of the others; {asked}?",
            f"Independent tries have success probability ${number(p)}$. In such a series, {asked}?",
        ]
    )

    def step_by_step(s: str) -> bool:
        waiting, first = Fraction(1), Fraction(0)
        for _ in range(k):
            waiting, first = waiting * (1 - p), waiting * p
        if "average" in asked:  # try number n + 1 takes place with probability (1 - p)^n
            return close(value(s), sum(float(1 - p) ** n for n in range(3000)))
        return bool(value(s) == (waiting if "more than" in asked else first))

    return Problem(question, forms(result)[:2], step_by_step)


@module("counting and statistics")
def two_cards(rng: Random) -> Problem:
    """Two draws from a deck with suits and ranks."""
    suits, ranks = rng.randint(2, 6), rng.randint(5, 20)
    n = suits * ranks
    asked, result = rng.choice(
        [
            ("of the same suit", Fraction(ranks - 1, n - 1)),
            ("of the same rank", Fraction(suits - 1, n - 1)),
            ("of different suits and different ranks", Fraction((suits - 1) * (ranks - 1), n - 1)),
            ("of neighbouring ranks", Fraction(2 * (ranks - 1) * suits * suits, n * (n - 1))),
        ]
    )
    question = rng.choice(
        [
            f"A deck has ${suits}$ suits with the ranks $1$ to ${ranks}$ each. Two cards are drawn without "
            f"replacement. What is the "
            f"probability that they are {asked}?",
            f"Two cards are dealt from a deck of ${n}$ cards: ${suits}$ suits, ranks $1$ to ${ranks}$. How likely is "
            f"it that they are {asked}?",
        ]
    )

    def dealt(s: str) -> bool:
        good = every = 0
        for (s1, r1), (s2, r2) in combinations(list(product(range(suits), range(ranks))), 2):
            every += 1
            good += {
                "of the same suit": s1 == s2,
                "of the same rank": r1 == r2,
                "of different suits and different ranks": s1 != s2 and r1 != r2,
                "of neighbouring ranks": abs(r1 - r2) == 1,
            }[asked]
        return bool(value(s) == Fraction(good, every))

    return Problem(question, forms(result)[:2], dealt)


@module("counting and statistics")
def linear_transformation_of_data(rng: Random) -> Problem:
    """What happens to mean and standard deviation when data are scaled and shifted."""
    mean_, spread, a, b = rng.randint(5, 90), rng.randint(1, 20), nonzero(rng, 6), rng.randint(-30, 30)
    question = rng.choice(
        [
            f"Data have mean ${mean_}$ and standard deviation ${spread}$. Every value $x$ is replaced by "
            f"${total((a, 'x'), (b, ''))}$. "
            f"Give the new mean and the new standard deviation, separated by a comma.",
            f"A variable $X$ has mean ${mean_}$ and standard deviation ${spread}$. Find mean and standard deviation of "
            f"${total((a, 'X'), (b, ''))}$, in this order, separated by a comma.",
        ]
    )

    def on_two_points(s: str) -> bool:  # two equal heaps at mean - spread and mean + spread have these figures
        low, high = (a * x + b for x in (mean_ - spread, mean_ + spread))
        m, d = values(s)
        return bool(2 * m == low + high and 2 * d == abs(high - low))

    return Problem(question, [f"{a * mean_ + b}, {abs(a) * spread}"], on_two_points)


@module("counting and statistics")
def rounded_percentage(rng: Random) -> Problem:
    """A share as a percentage with one decimal."""
    n = rng.randint(7, 400)
    k = rng.randint(1, n - 1)
    people = rng.choice(PEOPLE)
    question = rng.choice(
        [
            f"${k}$ of ${n}$ {people} agree. Which percentage is that, rounded to one decimal?",
            f"Out of ${n}$ {people}, ${k}$ come by bus. Give the share in percent with one decimal.",
        ]
    )

    def nearest(s: str) -> bool:
        return len(s.partition(".")[2]) == 1 and bool(abs(value(s) * n - 100 * k) * 20 <= n)

    return Problem(question, [rounded(Fraction(100 * k, n), 1)], nearest)
