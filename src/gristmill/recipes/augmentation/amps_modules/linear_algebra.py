"""Linear algebra: matrices, systems, vectors, eigenvalues.

The solvers eliminate or use formulas for small matrices; the checks multiply back, or add up permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations
from math import gcd, prod
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, nonzero, worked
from gristmill.recipes.augmentation.amps_modules.read import close, entries, value, values, vector, whole
from gristmill.recipes.augmentation.amps_modules.write import (
    bracketed,
    column,
    forms,
    listing,
    matrix,
    number,
    point,
    poly,
    surd,
    total,
)

Rational = int | Fraction
Matrix = list[list[int]]


def draw(rng: Random, rows: int, columns: int, most: int = 9) -> Matrix:
    return [[rng.randint(-most, most) for _ in range(columns)] for _ in range(rows)]


def times(a: Sequence[Sequence[Rational]], b: Sequence[Sequence[Rational]]) -> list[list[Rational]]:
    return [[sum((x * y for x, y in zip(row, col, strict=True)), 0) for col in zip(*b, strict=True)] for row in a]


def apply(a: Sequence[Sequence[Rational]], x: Sequence[Rational]) -> list[Rational]:
    return [sum((c * y for c, y in zip(row, x, strict=True)), 0) for row in a]


def dot(u: Sequence[Rational], v: Sequence[Rational]) -> Rational:
    return sum((x * y for x, y in zip(u, v, strict=True)), 0)


def reduced(a: Sequence[Sequence[Rational]]) -> list[list[Fraction]]:
    """The reduced row echelon form."""
    m, lead = [[Fraction(x) for x in row] for row in a], 0
    for column_ in range(len(m[0])):
        pivot = next((i for i in range(lead, len(m)) if m[i][column_]), None)
        if pivot is None:
            continue
        m[lead], m[pivot] = m[pivot], m[lead]
        m[lead] = [x / m[lead][column_] for x in m[lead]]
        for i, row in enumerate(m):
            if i != lead and row[column_]:
                m[i] = [x - row[column_] * y for x, y in zip(row, m[lead], strict=True)]
        lead += 1
        if lead == len(m):
            break
    return m


def determinant(a: Sequence[Sequence[Rational]]) -> Rational:
    """By the first row."""
    if len(a) == 1:
        return a[0][0]
    minors = ([row[:i] + row[i + 1 :] for row in map(list, a[1:])] for i in range(len(a)))
    return sum(
        ((-1 if i % 2 else 1) * x * determinant(m) for i, (x, m) in enumerate(zip(a[0], minors, strict=True))), 0
    )


def by_permutations(a: Sequence[Sequence[Rational]]) -> Rational:
    """The determinant again, for the checks: a signed product for every permutation."""
    n, result = len(a), Fraction(0)
    for order in permutations(range(n)):
        swaps = sum(1 for i in range(n) for j in range(i) if order[j] > order[i])
        result += (-1 if swaps % 2 else 1) * Fraction(prod((a[i][order[i]] for i in range(n)), start=Fraction(1)))
    return result


# Systems


def equations(a: Matrix, right: Sequence[Rational], names: str = "xyz") -> str:
    """A system as text: three equations separated by commas."""
    return ", ".join(
        f"${total(*zip(row, names, strict=False))} = {number(r)}$" for row, r in zip(a, right, strict=True)
    )


@module("linear algebra", steps=True)
def system_of_two(rng: Random) -> Problem | None:
    """Two equations, two unknowns, by elimination."""
    a = draw(rng, 2, 2)
    x = [Fraction(rng.randint(-9, 9), rng.choice((1, 1, 1, 2))) for _ in range(2)]
    (p, q), (r, s) = a
    d = p * s - q * r
    if d == 0 or 0 in (p, q, r, s):
        return None
    right = apply(a, x)
    if any(Fraction(b).denominator > 1 for b in right):
        return None
    u, v = (int(b) for b in right)
    question = rng.choice(
        [
            f"Solve the system {equations(a, right)}.",
            f"Find $x$ and $y$ with {equations(a, right)}.",
            f"Which pair $(x, y)$ satisfies {equations(a, right)}?",
        ]
    )
    answer = f"x = {number(x[0])}, y = {number(x[1])}"
    steps = worked(
        f"Multiply the first equation by ${s}$ and the second by ${q}$ and subtract: ${total((d, 'x'))} = "
        f"{u * s - v * q}$.",
        f"So $x = {number(x[0])}$.",
        f"Multiply the second equation by ${p}$ and the first by ${r}$ and subtract: ${total((d, 'y'))} = "
        f"{p * v - r * u}$.",
        f"The solution is ${answer}$.",
    )
    return Problem(question, [answer, point(*x)], lambda t: apply(a, values(t)) == right, steps)


@module("linear algebra", steps=True)
def system_of_three(rng: Random) -> Problem | None:
    """Three equations, three unknowns, by row reduction."""
    a, x = draw(rng, 3, 3, 5), [rng.randint(-6, 6) for _ in range(3)]
    if determinant(a) == 0 or any(not any(row) for row in a):
        return None
    right = apply(a, x)
    rows = [[Fraction(c) for c in [*row, b]] for row, b in zip(a, right, strict=True)]
    notes = []
    for i in range(3):
        pivot = next(j for j in range(i, 3) if rows[j][i])
        if pivot != i:
            rows[i], rows[pivot] = rows[pivot], rows[i]
            notes.append(f"Swap rows ${i + 1}$ and ${pivot + 1}$: ${matrix(rows)}$.")
        for j in range(i + 1, 3):
            rows[j] = [y - rows[j][i] / rows[i][i] * z for y, z in zip(rows[j], rows[i], strict=True)]
        if i < 2:
            notes.append(f"Clear column ${i + 1}$ below row ${i + 1}$: ${matrix(rows)}$.")
    answer = f"x = {x[0]}, y = {x[1]}, z = {x[2]}"
    question = rng.choice(
        [
            f"Solve the system {equations(a, right)}.",
            f"Find the numbers $x$, $y$, $z$ that satisfy {equations(a, right)}.",
        ]
    )
    steps = worked(
        "Write the system as an augmented matrix and reduce it.",
        *notes,
        f"Solve from the last row upwards: ${answer}$.",
    )
    return Problem(question, [answer, point(*x)], lambda t: apply(a, values(t)) == right, steps)


@module("linear algebra", steps=True)
def row_echelon_form(rng: Random) -> Problem:
    """The reduced row echelon form of a small matrix."""
    a = draw(rng, *rng.choice(((2, 3), (3, 3), (2, 4), (3, 4))), 5)
    if len(a) == 3 and rng.random() < 0.5:
        a[2] = [rng.choice((1, -1)) * x + y for x, y in zip(a[0], a[1], strict=True)]
    result = reduced(a)
    question = rng.choice(
        [
            f"Find the reduced row echelon form of ${matrix(a)}$.",
            f"Row reduce ${matrix(a)}$ completely.",
            f"Bring ${matrix(a)}$ into reduced row echelon form.",
        ]
    )
    pivots = [next(i for i, x in enumerate(row) if x) + 1 for row in result if any(row)]
    steps = worked(
        "Eliminate column by column, scaling each pivot row so that its pivot is $1$.",
        f"The pivots end up in column{'s' if len(pivots) != 1 else ''} ${listing(pivots)}$."
        if pivots
        else "All entries are zero, so nothing is to be done.",
        f"The result is ${matrix(result)}$.",
    )

    def reduces(s: str) -> bool:
        r = entries(s)
        leads = [next((i for i, x in enumerate(row) if x), len(row) + k) for k, row in enumerate(r)]
        shape = leads == sorted(set(leads)) and all(
            [row[lead] for row in r] == [1 if k == j else 0 for k in range(len(r))]
            for j, lead in enumerate(leads)
            if lead < len(r[0])
        )
        # every row of the matrix must be the combination of the result's rows that its pivot entries name
        spans = all(
            list(row)
            == [
                sum((row[lead] * r[k][i] for k, lead in enumerate(leads) if lead < len(row)), 0)
                for i in range(len(row))
            ]
            for row in a
        )
        return shape and spans and sum(1 for lead in leads if lead < len(r[0])) == rank_by_minors(a)

    return Problem(question, [matrix(result)], reduces, steps)


def rank_by_minors(a: Sequence[Sequence[Rational]]) -> int:
    """The size of the largest square part with a determinant that is not 0."""
    for size in range(min(len(a), len(a[0])), 0, -1):
        for rows in combinations(range(len(a)), size):
            for cols in combinations(range(len(a[0])), size):
                if by_permutations([[a[i][j] for j in cols] for i in rows]):
                    return size
    return 0


@module("linear algebra")
def rank(rng: Random) -> Problem:
    """How many independent rows."""
    n, k = rng.choice((3, 3, 4)), rng.randint(1, 3)
    base = draw(rng, k, 4 if n == 4 else rng.choice((3, 4)), 3)
    a = [[dot(weights, col) for col in zip(*base, strict=True)] for weights in draw(rng, n, k, 2)]
    question = rng.choice(
        [
            f"Find the rank of ${matrix(a)}$.",
            f"How many linearly independent rows has ${matrix(a)}$?",
            f"What is the dimension of the column space of ${matrix(a)}$?",
        ]
    )
    result = sum(1 for row in reduced(a) if any(row))
    return Problem(question, [str(result)], lambda s: whole(s) == rank_by_minors(a))


@module("linear algebra")
def dependent_vectors(rng: Random) -> Problem | None:
    """The entry that makes three vectors dependent."""
    u, v = draw(rng, 2, 3, 5)
    w = [rng.randint(-6, 6), rng.randint(-6, 6)]
    cross = u[0] * v[1] - u[1] * v[0]
    if cross == 0:
        return None
    # det = k * cross + the rest, with k the last entry of w
    rest = determinant([u, v, [*w, 0]])
    k = Fraction(-rest, cross)
    shown = f"${point(*u)}$, ${point(*v)}$ and $({w[0]}, {w[1]}, k)$"
    question = rng.choice(
        [
            f"For which $k$ are the vectors {shown} linearly dependent?",
            f"Find the number $k$ for which {shown} lie in one plane through the origin.",
        ]
    )

    def flat(s: str) -> bool:
        return by_permutations([u, v, [*w, value(s)]]) == 0

    return Problem(question, forms(k, "k = ") + forms(k)[:1], flat)


@module("linear algebra")
def coordinates(rng: Random) -> Problem | None:
    """A vector as a combination of two others."""
    u, v = draw(rng, 2, 2, 6)
    a, b = nonzero(rng, 7), nonzero(rng, 7)
    if u[0] * v[1] == u[1] * v[0]:
        return None
    w = [a * x + b * y for x, y in zip(u, v, strict=True)]
    question = rng.choice(
        [
            f"Write ${point(*w)}$ as $a{point(*u)} + b{point(*v)}$. Give $(a, b)$.",
            f"Find the coordinates of ${point(*w)}$ in the basis ${point(*u)}, {point(*v)}$.",
        ]
    )

    def combines(s: str) -> bool:
        p, q = values(s)
        return all(p * x + q * y == z for x, y, z in zip(u, v, w, strict=True))

    return Problem(question, [point(a, b)], combines)


# Matrices


@module("linear algebra")
def matrix_combination(rng: Random) -> Problem:
    """pA + qB."""
    rows, cols = rng.choice(((2, 2), (2, 3), (3, 2)))
    a, b, p, q = draw(rng, rows, cols), draw(rng, rows, cols), nonzero(rng, 5), nonzero(rng, 5)
    text = total((p, "A"), (q, "B"))
    question = rng.choice(
        [
            f"Let $A = {matrix(a)}$ and $B = {matrix(b)}$. Compute ${text}$.",
            f"Find ${text}$ for $A = {matrix(a)}$ and $B = {matrix(b)}$.",
        ]
    )
    result = [[p * x + q * y for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]

    def undone(s: str) -> bool:  # take pA away again, and the rest is q times B
        return all(
            x - p * y == q * z
            for found, r, t in zip(entries(s), a, b, strict=True)
            for x, y, z in zip(found, r, t, strict=True)
        )

    return Problem(question, [matrix(result)], undone)


@module("linear algebra", steps=True)
def matrix_product(rng: Random) -> Problem:
    """Rows times columns."""
    n, m, k = rng.choice(((2, 2, 2), (2, 2, 2), (2, 3, 2), (3, 2, 3), (1, 3, 2), (2, 2, 3)))
    a, b = draw(rng, n, m, 7), draw(rng, m, k, 7)
    result = times(a, b)
    question = rng.choice(
        [
            f"Compute ${matrix(a)} {matrix(b)}$.",
            f"Find the matrix product ${matrix(a)} \\cdot {matrix(b)}$.",
            f"Let $A = {matrix(a)}$ and $B = {matrix(b)}$. What is $AB$?",
        ]
    )
    rows = [
        f"Row ${i + 1}$: "
        + ", ".join(
            f"${' + '.join(f'{bracketed(x)} {DOT} {bracketed(y)}' for x, y in zip(row, col, strict=True))} = "
            f"{number(c)}$"
            for col, c in zip(zip(*b, strict=True), found, strict=True)
        )
        + "."
        for i, (row, found) in enumerate(zip(a, result, strict=True))
    ]
    steps = worked(
        "Each entry is a row of the first matrix times a column of the second.",
        *rows,
        f"The product is ${matrix(result)}$.",
    )

    def acts(s: str) -> bool:  # the product must do to vectors what the factors do one after the other
        tests = [[1 if i == j else 0 for i in range(k)] for j in range(k)] + [[3, -2, 5][:k]]
        return all(apply(entries(s), x) == apply(a, apply(b, x)) for x in tests)

    return Problem(question, [matrix(result)], acts, steps)


DOT = "\\cdot"


@module("linear algebra", steps=True)
def determinant_of_three(rng: Random) -> Problem:
    """The determinant of a 3 by 3 matrix, along the first row."""
    a = draw(rng, 3, 3, 7)
    result = determinant(a)
    question = rng.choice(
        [
            f"Find the determinant of ${matrix(a)}$.",
            f"Compute $\\det {matrix(a)}$.",
            f"What is the determinant of ${matrix(a)}$?",
        ]
    )
    minors = [determinant([row[:i] + row[i + 1 :] for row in a[1:]]) for i in range(3)]
    terms = " ".join(
        f"{sign} {bracketed(x)} \\cdot {bracketed(m)}" for sign, x, m in zip("+-+", a[0], minors, strict=True)
    ).removeprefix("+ ")
    steps = worked(
        f"Expand along the first row. The minors are ${listing(minors)}$.",
        f"The determinant is ${terms} = {number(result)}$.",
    )
    return Problem(question, [number(result)], lambda s: by_permutations(a) == whole(s), steps)


@module("linear algebra", steps=True)
def inverse_of_two(rng: Random) -> Problem | None:
    """The inverse of a 2 by 2 matrix."""
    (a, b), (c, d) = m = draw(rng, 2, 2)
    size = a * d - b * c
    if size == 0:
        return None
    result = [[Fraction(d, size), Fraction(-b, size)], [Fraction(-c, size), Fraction(a, size)]]
    question = rng.choice(
        [
            f"Find the inverse of ${matrix(m)}$.",
            f"Compute ${matrix(m)}^{{-1}}$.",
            f"Which matrix is inverse to ${matrix(m)}$?",
        ]
    )
    steps = worked(
        f"The determinant is ${bracketed(a)} \\cdot {bracketed(d)} - {bracketed(b)} \\cdot {bracketed(c)} = {size}$.",
        f"Swap the diagonal and change the other signs: ${matrix([[d, -b], [-c, a]])}$.",
        f"Divide by the determinant: ${matrix(result)}$.",
    )
    return Problem(question, [matrix(result)], lambda s: times(m, entries(s)) == [[1, 0], [0, 1]], steps)


@module("linear algebra")
def inverse_of_three(rng: Random) -> Problem:
    """The inverse of a 3 by 3 matrix with determinant 1 or -1."""
    lower = [[1, 0, 0], [rng.randint(-3, 3), 1, 0], [rng.randint(-3, 3), rng.randint(-3, 3), 1]]
    upper = [[1, rng.randint(-3, 3), rng.randint(-3, 3)], [0, rng.choice((1, -1)), rng.randint(-3, 3)], [0, 0, 1]]
    m = times(lower, upper)
    with_unit = [[*row, *(1 if i == j else 0 for j in range(3))] for i, row in enumerate(m)]
    result = [row[3:] for row in reduced(with_unit)]
    question = rng.choice([f"Find the inverse of ${matrix(m)}$.", f"Invert the matrix ${matrix(m)}$."])

    def unit(s: str) -> bool:
        return times(m, entries(s)) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]

    return Problem(question, [matrix(result)], unit)


@module("linear algebra")
def matrix_power(rng: Random) -> Problem:
    """A power of a 2 by 2 matrix."""
    a, n = draw(rng, 2, 2, 4), rng.randint(3, 6)
    result: Sequence[Sequence[Rational]] = a
    for _ in range(n - 1):
        result = times(result, a)
    question = rng.choice([f"Compute ${matrix(a)}^{n}$.", f"Let $A = {matrix(a)}$. Find $A^{n}$."])

    def cayley_hamilton(s: str) -> bool:  # A^2 = tA - dI, so A^n = pA + qI for numbers that follow a recurrence
        t, d = a[0][0] + a[1][1], by_permutations(a)
        p, q = Fraction(1), Fraction(0)
        for _ in range(n - 1):
            p, q = p * t + q, -p * d
        return entries(s) == [[p * x + (q if i == j else 0) for j, x in enumerate(row)] for i, row in enumerate(a)]

    return Problem(question, [matrix(result)], cayley_hamilton)


@module("linear algebra")
def lu_decomposition(rng: Random) -> Problem | None:
    """The lower and the upper factor of a matrix."""
    lower = [[1, 0, 0], [rng.randint(-4, 4), 1, 0], [rng.randint(-4, 4), rng.randint(-4, 4), 1]]
    upper = [
        [nonzero(rng, 5), rng.randint(-5, 5), rng.randint(-5, 5)],
        [0, nonzero(rng, 5), rng.randint(-5, 5)],
        [0, 0, nonzero(rng, 5)],
    ]
    size = rng.choice((2, 3))
    lower, upper = ([row[:size] for row in m[:size]] for m in (lower, upper))
    a = times(lower, upper)
    which = rng.choice(("L", "U"))
    question = rng.choice(
        [
            f"Write $A = {matrix(a)}$ as $LU$ with $L$ lower triangular, ones on the diagonal of $L$, and $U$ upper "
            f"triangular. Give "
            f"${which}$.",
            f"In the LU decomposition of ${matrix(a)}$ (with a unit lower triangular $L$), what is ${which}$?",
        ]
    )

    def factors(s: str) -> bool:  # solve for the other factor, and look at its shape
        found = entries(s)
        if which == "L":
            if any(row[i] != 1 or any(row[i + 1 :]) for i, row in enumerate(found)):
                return False
            other = [row[size:] for row in reduced([[*f, *r] for f, r in zip(found, a, strict=True)])]
            return times(found, other) == a and not any(other[i][j] for i in range(size) for j in range(i))
        if any(found[i][j] for i in range(size) for j in range(i)) or by_permutations(found) != by_permutations(a):
            return False
        turned = [[*f, *r] for f, r in zip(zip(*found, strict=True), zip(*a, strict=True), strict=True)]
        other = [list(col) for col in zip(*(row[size:] for row in reduced(turned)), strict=True)]
        unit = all(other[i][i] == 1 and not any(other[i][i + 1 :]) for i in range(size))
        return unit and times(other, found) == a

    return Problem(question, [matrix(lower if which == "L" else upper)], factors)


# Eigenvalues


@module("linear algebra", steps=True)
def eigenvalues(rng: Random) -> Problem | None:
    """The eigenvalues of a 2 by 2 matrix, whole numbers."""
    r, s = distinct(rng, 2, -9, 9)
    p = rng.randint(-6, 9)
    a, d = p, r + s - p
    product_ = a * d - r * s  # of the entries off the diagonal
    if product_ == 0:
        return None
    b = rng.choice([x for x in range(-9, 10) if x and product_ % x == 0])
    m = [[a, b], [product_ // b, d]]
    (low, high), name = sorted((r, s)), "\\lambda"
    question = rng.choice(
        [
            f"Find the eigenvalues of ${matrix(m)}$.",
            f"What are the eigenvalues of the matrix ${matrix(m)}$?",
            f"For which numbers $\\lambda$ is ${matrix(m)} - \\lambda I$ singular?",
        ]
    )
    steps = worked(
        f"The trace is ${a + d}$ and the determinant is ${r * s}$.",
        f"The characteristic polynomial is ${poly([1, -(r + s), r * s], name)}$.",
        f"Its roots are ${low}, {high}$.",
    )

    def singular(t: str) -> bool:
        found = values(t)
        return len(set(found)) == 2 and all(by_permutations([[a - x, m[0][1]], [m[1][0], d - x]]) == 0 for x in found)

    return Problem(question, [f"{low}, {high}"], singular, steps)


@module("linear algebra")
def eigenvector(rng: Random) -> Problem:
    """The eigenvector for a given eigenvalue, in lowest terms."""
    q, r = rng.randint(-4, 4), rng.randint(-4, 4)
    p, s = 1, 1 + q * r  # the eigenvectors are the columns (p, r) and (q, s), with determinant 1
    if rng.random() < 0.5:
        p, q, r, s = q, -p, s, -r
    x, y = distinct(rng, 2, -6, 6)
    m = times(times([[p, q], [r, s]], [[x, 0], [0, y]]), [[s, -q], [-r, p]])
    first = next(c for c in (p, r) if c)
    v = [p, r] if first > 0 else [-p, -r]
    question = rng.choice(
        [
            f"${x}$ is an eigenvalue of ${matrix(m)}$. Find the eigenvector for it with coprime whole entries whose "
            f"first nonzero entry "
            f"is positive.",
            f"Find the eigenvector of ${matrix(m)}$ for the eigenvalue ${x}$. Scale it to whole entries without a "
            f"common factor, the "
            f"first nonzero one positive.",
        ]
    )

    def stretched(t: str) -> bool:
        u = vector(t)
        scaled = gcd(*(int(c) for c in u)) == 1 and next(c for c in u if c) > 0
        return bool(scaled and apply(m, u) == [x * c for c in u])

    return Problem(question, [column(v)], stretched)


@module("linear algebra")
def characteristic_polynomial(rng: Random) -> Problem:
    """det(tI - A) of a 3 by 3 matrix."""
    a = draw(rng, 3, 3, 4)
    t = sum(a[i][i] for i in range(3))
    pairs = sum((a[i][i] * a[j][j] - a[i][j] * a[j][i] for i in range(3) for j in range(i)), 0)
    question = rng.choice(
        [
            f"Find the characteristic polynomial $\\det(tI - A)$ of $A = {matrix(a)}$.",
            f"Expand $\\det(tI - A)$ as a polynomial in $t$ for $A = {matrix(a)}$.",
        ]
    )

    def put_in(s: str) -> bool:
        return all(
            value(s, t=Fraction(n))
            == by_permutations([[(n if i == j else 0) - x for j, x in enumerate(row)] for i, row in enumerate(a)])
            for n in (-3, -1, 0, 2, 5)
        )

    return Problem(question, [poly([1, -t, pairs, -determinant(a)], "t")], put_in)


# Vectors


@module("linear algebra")
def dot_product(rng: Random) -> Problem:
    """In three or four dimensions."""
    n = rng.choice((3, 4))
    u, v = draw(rng, 2, n, 12)
    question = rng.choice(
        [f"Find the dot product of ${point(*u)}$ and ${point(*v)}$.", f"Compute ${point(*u)} \\cdot {point(*v)}$."]
    )

    def polarised(s: str) -> bool:  # |u + v|^2 - |u - v|^2 is four times the dot product
        plus, minus = (sum((x + sign * y) ** 2 for x, y in zip(u, v, strict=True)) for sign in (1, -1))
        return 4 * whole(s) == plus - minus

    return Problem(question, [number(dot(u, v))], polarised)


@module("linear algebra", steps=True)
def cross_product(rng: Random) -> Problem | None:
    """The vector at right angles to two others."""
    u, v = draw(rng, 2, 3, 8)
    w = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    if not any(w):
        return None
    question = rng.choice(
        [f"Find the cross product ${point(*u)} \\times {point(*v)}$.", f"Compute ${point(*u)} \\times {point(*v)}$."]
    )
    names = ((1, 2), (2, 0), (0, 1))
    rows = [
        f"Entry ${k + 1}$: ${bracketed(u[i])} \\cdot {bracketed(v[j])} - {bracketed(u[j])} \\cdot {bracketed(v[i])} = "
        f"{w[k]}$."
        for k, (i, j) in enumerate(names)
    ]
    steps = worked(*rows, f"So the cross product is ${point(*w)}$.")

    def perpendicular(s: str) -> bool:  # right angles, the right length (Lagrange), and a right-handed order
        found = values(s)
        square = dot(u, u) * dot(v, v) - dot(u, v) ** 2
        upright = dot(found, u) == 0 == dot(found, v)
        return bool(upright and dot(found, found) == square and by_permutations([u, v, found]) > 0)

    return Problem(question, [point(*w)], perpendicular, steps)


@module("linear algebra", steps=True)
def projection(rng: Random) -> Problem | None:
    """The part of a vector along another."""
    n = rng.choice((2, 3))
    u, v = draw(rng, 2, n, 8)
    size = dot(v, v)
    if size == 0 or dot(u, v) == 0:
        return None
    scale = Fraction(dot(u, v)) / size
    result = [scale * x for x in v]
    question = rng.choice(
        [
            f"Find the projection of ${point(*u)}$ onto ${point(*v)}$.",
            f"Project the vector ${point(*u)}$ onto ${point(*v)}$.",
        ]
    )
    steps = worked(
        f"The dot product of the two is ${number(dot(u, v))}$, and the second one's with itself is ${number(size)}$.",
        f"So the second vector is to be multiplied by ${number(scale)}$.",
        f"The projection is ${point(*result)}$.",
    )

    def foot(s: str) -> bool:  # a multiple of v, and the rest stands upright on v
        w = values(s)
        parallel = all(w[i] * v[j] == w[j] * v[i] for i in range(n) for j in range(i))
        return bool(parallel and dot([x - y for x, y in zip(u, w, strict=True)], v) == 0)

    return Problem(question, [point(*result)], foot, steps)


@module("linear algebra")
def angle_of_vectors(rng: Random) -> Problem | None:
    """The cosine of an angle in space."""
    u, v = draw(rng, 2, 3, 6)
    product_, size = dot(u, v), int(dot(u, u) * dot(v, v))
    if product_ == 0 or size == 0:
        return None
    question = rng.choice(
        [
            f"Find the cosine of the angle between ${point(*u)}$ and ${point(*v)}$.",
            f"Let $\\theta$ be the angle between the vectors ${point(*u)}$ and ${point(*v)}$. What is $\\cos \\theta$?",
        ]
    )

    def law_of_cosines(s: str) -> bool:
        third = sum((x - y) ** 2 for x, y in zip(u, v, strict=True))
        a, b = float(dot(u, u)), float(dot(v, v))
        return close(value(s), (a + b - third) / (2 * a**0.5 * b**0.5))

    return Problem(question, [surd(Fraction(product_) / size, size)], law_of_cosines)


@module("linear algebra")
def parallelepiped(rng: Random) -> Problem | None:
    """The volume between three vectors, or the area between two."""
    u, v, w = draw(rng, 3, 3, 6)
    if rng.random() < 0.5:
        size = determinant([u, v, w])
        if size == 0:
            return None
        question = rng.choice(
            [
                f"Find the volume of the parallelepiped spanned by ${point(*u)}$, ${point(*v)}$ and ${point(*w)}$.",
                f"Three edges of a parallelepiped at one corner are ${point(*u)}$, ${point(*v)}$, ${point(*w)}$. What "
                f"is its volume?",
            ]
        )

        def gram(s: str) -> bool:
            table = [[dot(x, y) for y in (u, v, w)] for x in (u, v, w)]
            return whole(s) > 0 and whole(s) ** 2 == by_permutations(table)

        return Problem(question, [number(size if size > 0 else -size)], gram)
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    square = sum(x * x for x in cross)
    if square == 0:
        return None
    question = rng.choice(
        [
            f"Find the area of the parallelogram spanned by ${point(*u)}$ and ${point(*v)}$.",
            f"What is the area of the parallelogram with the sides ${point(*u)}$ and ${point(*v)}$?",
        ]
    )

    def base_and_height(s: str) -> bool:
        a, b, c = float(dot(u, u)), float(dot(v, v)), float(dot(u, v))
        return close(value(s), a**0.5 * (b - c * c / a) ** 0.5)

    return Problem(question, [surd(1, square)], base_and_height)


@module("linear algebra")
def unit_vector(rng: Random) -> Problem | None:
    """A vector scaled to length 1."""
    v = draw(rng, 1, rng.choice((2, 3)), 9)[0]
    square = int(dot(v, v))
    if square == 0:
        return None
    answer = f"({', '.join(surd(Fraction(x, square), square) for x in v)})"
    question = rng.choice(
        [
            f"Find the unit vector in the direction of ${point(*v)}$.",
            f"Scale ${point(*v)}$ to length $1$ without changing its direction.",
        ]
    )

    def scaled(s: str) -> bool:
        w = [float(x) for x in values(s)]
        long = sum(x * x for x in w) ** 0.5
        along = sum(x * y for x, y in zip(w, v, strict=True))
        return close(long, 1.0) and close(along, float(square) ** 0.5)

    return Problem(question, [answer], scaled)


@module("linear algebra")
def plane_through_points(rng: Random) -> Problem | None:
    """ax + by + cz = d with coprime whole coefficients."""
    p, q, r = draw(rng, 3, 3, 5)
    u, v = [y - x for x, y in zip(p, q, strict=True)], [y - x for x, y in zip(p, r, strict=True)]
    w = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    if not any(w):
        return None
    d = int(dot(w, p))
    shared = gcd(*w, d) * (1 if next(x for x in w if x) > 0 else -1)
    w, d = [x // shared for x in w], d // shared
    left = total(*zip(w, "xyz", strict=True))
    question = rng.choice(
        [
            f"Find the plane through ${point(*p)}$, ${point(*q)}$ and ${point(*r)}$ in the form $ax + by + cz = d$ "
            f"with coprime whole "
            f"coefficients, the first nonzero one positive.",
            f"Which equation $ax + by + cz = d$ (whole numbers without a common factor, leading one positive) "
            f"describes the plane that "
            f"contains ${point(*p)}$, ${point(*q)}$, ${point(*r)}$?",
        ]
    )

    def contains(s: str) -> bool:
        side, _, right = s.partition("=")
        level = value(right)
        slopes = [value(side, **{n: Fraction(n == m) for n in "xyz"}) for m in "xyz"]
        lowest = gcd(*(int(x) for x in slopes), int(level)) == 1 and next(x for x in slopes if x) > 0
        return bool(lowest and all(value(side, x=x, y=y, z=z) == level for x, y, z in (p, q, r)))

    return Problem(question, [f"{left} = {d}"], contains)


@module("linear algebra")
def distance_to_a_plane(rng: Random) -> Problem | None:
    """From a point of space to ax + by + cz = d."""
    n, p = draw(rng, 2, 3, 7)
    d = rng.randint(-15, 15)
    miss, square = abs(int(dot(n, p)) - d), int(dot(n, n))
    if miss == 0 or square == 0:
        return None
    left = total(*zip(n, "xyz", strict=True))
    question = rng.choice(
        [
            f"Find the distance from ${point(*p)}$ to the plane ${left} = {d}$.",
            f"How far is the point ${point(*p)}$ from the plane ${left} = {d}$?",
        ]
    )

    def straight_down(s: str) -> bool:  # walk along the normal by that distance, one way or the other
        distance = float(value(s))
        ends = ([x + sign * distance * c / square**0.5 for x, c in zip(p, n, strict=True)] for sign in (1, -1))
        return distance > 0 and any(abs(sum(x * c for x, c in zip(end, n, strict=True)) - d) < 1e-8 for end in ends)

    return Problem(question, [surd(Fraction(miss, square), square)], straight_down)


@module("linear algebra")
def orthogonalise(rng: Random) -> Problem | None:
    """One step of Gram and Schmidt."""
    n = rng.choice((2, 3))
    u, v = draw(rng, 2, n, 5)
    size = dot(u, u)
    if size == 0 or dot(u, v) == 0 or rank_by_minors([u, v]) < 2:
        return None
    result = [y - Fraction(dot(u, v)) / size * x for x, y in zip(u, v, strict=True)]
    question = rng.choice(
        [
            f"Apply the Gram-Schmidt process (without normalising) to ${point(*u)}$, ${point(*v)}$. Which second "
            f"vector results?",
            f"Find the vector that is orthogonal to ${point(*u)}$ and differs from ${point(*v)}$ by a multiple of "
            f"${point(*u)}$.",
        ]
    )

    def upright(s: str) -> bool:
        w = values(s)
        rest = [y - x for x, y in zip(w, v, strict=True)]
        along = all(rest[i] * u[j] == rest[j] * u[i] for i in range(n) for j in range(i))
        return bool(along and dot(w, u) == 0)

    return Problem(question, [point(*result)], upright)


@module("linear algebra")
def null_space(rng: Random) -> Problem | None:
    """The vector that a 2 by 3 matrix sends to zero, in lowest terms."""
    a = draw(rng, 2, 3, 6)
    (u, v) = a
    w = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    if not any(w):
        return None
    shared = gcd(*w) * (1 if next(x for x in w if x) > 0 else -1)
    w = [x // shared for x in w]
    question = rng.choice(
        [
            f"Find a vector that spans the null space of ${matrix(a)}$. Use coprime whole entries, the first nonzero "
            f"one positive.",
            f"Which vector with coprime whole entries, the first nonzero entry positive, solves ${matrix(a)} v = 0$?",
        ]
    )

    def vanishes(s: str) -> bool:
        x = vector(s)
        lowest = gcd(*(int(c) for c in x)) == 1 and next(c for c in x if c) > 0
        return bool(lowest and apply(a, x) == [0, 0])

    return Problem(question, [column(w)], vanishes)


@module("linear algebra")
def linear_map(rng: Random) -> Problem | None:
    """The matrix of a map from the images of two vectors."""
    m = draw(rng, 2, 2, 6)
    u, v = draw(rng, 2, 2, 4)
    if u[0] * v[1] == u[1] * v[0]:
        return None
    images = [apply(m, x) for x in (u, v)]
    question = rng.choice(
        [
            f"A linear map sends ${point(*u)}$ to ${point(*images[0])}$ and ${point(*v)}$ to ${point(*images[1])}$. "
            f"Find its matrix.",
            f"Find the $2 \\times 2$ matrix $A$ with $A{column(u)} = {column(images[0])}$ and $A{column(v)} = "
            f"{column(images[1])}$.",
        ]
    )

    def sends(s: str) -> bool:
        return [apply(entries(s), x) for x in (u, v)] == images

    return Problem(question, [matrix(m)], sends)


@module("linear algebra")
def trace_of_product(rng: Random) -> Problem:
    """The sum of the diagonal, without the whole product."""
    a, b = draw(rng, 2, 2, 9), draw(rng, 2, 2, 9)
    question = rng.choice(
        [
            f"Find the trace of $AB$ for $A = {matrix(a)}$ and $B = {matrix(b)}$.",
            f"Let $A = {matrix(a)}$, $B = {matrix(b)}$. What is the sum of the diagonal entries of $AB$?",
        ]
    )
    result = sum(a[i][j] * b[j][i] for i in range(2) for j in range(2))

    def other_order(s: str) -> bool:  # the trace of BA is the same
        ba = times(b, a)
        return whole(s) == ba[0][0] + ba[1][1]

    return Problem(question, [str(result)], other_order)
