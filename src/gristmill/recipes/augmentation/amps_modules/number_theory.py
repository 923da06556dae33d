"""Number theory: divisibility, primes, congruences, digits.

The checks count and try; the numbers are small enough for that.
"""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from math import factorial, gcd, isqrt, lcm, prod
from random import Random

from gristmill.recipes.augmentation.amps_modules.base import Problem, distinct, module, worked
from gristmill.recipes.augmentation.amps_modules.read import value, values, whole
from gristmill.recipes.augmentation.amps_modules.write import forms, listing, number, power

PRIMES = [p for p in range(2, 1000) if all(p % q for q in range(2, isqrt(p) + 1))]
DIGITS = "0123456789ABCDEF"


def factors(n: int) -> dict[int, int]:
    """The prime factorisation, n up to a million."""
    found: dict[int, int] = {}
    for p in PRIMES:
        while n % p == 0:
            found[p] = found.get(p, 0) + 1
            n //= p
    if n > 1:
        found[n] = found.get(n, 0) + 1
    return found


def product_of_powers(found: dict[int, int]) -> str:
    return " \\cdot ".join(power(str(p), k) for p, k in found.items())


def smooth(rng: Random, most: int) -> int:
    """A number with several small prime factors."""
    n = rng.choice((2, 3, 4, 5, 6, 7))
    while True:
        p = rng.choice((2, 2, 3, 3, 5, 7, 11, 13))
        if n * p > most:
            return n
        n *= p


def is_prime(n: int) -> bool:
    """By definition, for the checks."""
    return n > 1 and all(n % d for d in range(2, isqrt(n) + 1))


def divisors(n: int) -> list[int]:
    """By trial, for the checks."""
    small = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d != n]


def euclid(a: int, b: int) -> list[str]:
    """The divisions of Euclid's algorithm."""
    rows = []
    while b:
        rows.append(f"${a} = {a // b} \\cdot {b} + {a % b}$.")
        a, b = b, a % b
    return rows


# Divisors and primes


@module("number theory", steps=True)
def greatest_common_divisor(rng: Random) -> Problem:
    """By Euclid's algorithm."""
    common = rng.randint(1, 60)
    a, b = common * rng.randint(2, 60), common * rng.randint(2, 60)
    a, b = max(a, b), min(a, b)
    result = gcd(a, b)
    question = rng.choice(
        [
            f"Find the greatest common divisor of ${a}$ and ${b}$.",
            f"Compute $\\gcd({a}, {b})$.",
            f"What is the largest number that divides both ${a}$ and ${b}$?",
        ]
    )
    steps = worked(*euclid(a, b), f"The last remainder that is not zero is the greatest common divisor, ${result}$.")

    def largest(s: str) -> bool:
        return max(set(divisors(a)) & set(divisors(b))) == whole(s)

    return Problem(question, [str(result)], largest, steps)


@module("number theory", steps=True)
def least_common_multiple(rng: Random) -> Problem:
    """From the prime factors."""
    a, b = distinct(rng, 2, 4, 300)
    result = lcm(a, b)
    question = rng.choice(
        [
            f"Find the least common multiple of ${a}$ and ${b}$.",
            f"What is the smallest positive number divisible by both ${a}$ and ${b}$?",
            f"Two lights flash every ${a}$ and every ${b}$ seconds. They flash together now; after how many seconds "
            f"do they do so again?",
        ]
    )
    both = {p: max(factors(a).get(p, 0), factors(b).get(p, 0)) for p in sorted({*factors(a), *factors(b)})}
    steps = worked(
        f"Factor both: ${a} = {product_of_powers(factors(a))}$ and ${b} = {product_of_powers(factors(b))}$.",
        f"Take each prime with its larger power: ${product_of_powers(both)}$.",
        f"The least common multiple is ${result}$.",
    )

    def first_meeting(s: str) -> bool:
        return next(m for m in range(a, a * b + 1, a) if m % b == 0) == whole(s)

    return Problem(question, [str(result)], first_meeting, steps)


@module("number theory", steps=True)
def prime_factorisation(rng: Random) -> Problem | None:
    """A number as a product of primes."""
    n = rng.randint(60, 9999) if rng.random() < 0.5 else smooth(rng, 20_000)
    found = factors(n)
    if sum(found.values()) < 2:
        return None
    answer = product_of_powers(found)
    question = rng.choice(
        [
            f"Find the prime factorisation of ${n}$.",
            f"Write ${n}$ as a product of prime powers.",
            f"Factor ${n}$ into primes.",
        ]
    )
    rows: list[str] = []
    rest = n
    for p in (p for p, k in found.items() for _ in range(k)):
        if rest != p:
            rows.append(f"${rest} = {p} \\cdot {rest // p}$.")
        rest //= p
    steps = worked(*rows, f"All factors are prime now, so the factorisation is ${answer}$.")

    def multiplies_back(s: str) -> bool:
        bases = [int(part.partition("^")[0]) for part in s.split("\\cdot")]
        return value(s) == n and all(map(is_prime, bases)) and len(set(bases)) == len(bases)

    return Problem(question, [answer], multiplies_back, steps)


@module("number theory", steps=True)
def primality(rng: Random) -> Problem:
    """Prime or composite?"""
    n = rng.choice(PRIMES[20:]) if rng.random() < 0.5 else rng.choice(PRIMES[3:30]) * rng.choice(PRIMES[3:30])
    question = rng.choice(
        [
            f"Is ${n}$ prime or composite?",
            f"Decide whether ${n}$ is prime or composite.",
            f"Prime or composite: ${n}$?",
        ]
    )
    least = min(factors(n))
    answer = "prime" if least == n else "composite"
    tried = [p for p in PRIMES if p * p <= n and p < least]
    rows = [f"${n} = {n // p} \\cdot {p} + {n % p}$." for p in tried]
    last = (
        f"No prime up to $\\sqrt{{{n}}}$ divides it, so ${n}$ is prime."
        if answer == "prime"
        else f"${n} = {least} \\cdot {n // least}$, so ${n}$ is composite."
    )
    steps = worked("Divide by the primes, one after the other.", *rows, last)

    def all_pairs(s: str) -> bool:
        return s == ("prime" if len(divisors(n)) == 2 else "composite")

    return Problem(question, [answer], all_pairs, steps)


@module("number theory", steps=True)
def totient(rng: Random) -> Problem:
    """Euler's function."""
    n = rng.randint(20, 900)
    found = factors(n)
    result = prod((p - 1) * p ** (k - 1) for p, k in found.items())
    question = rng.choice(
        [
            f"Compute $\\varphi({n})$, where $\\varphi$ is Euler's totient function.",
            f"How many of the numbers $1, \\ldots, {n}$ are coprime to ${n}$?",
            f"Find the number of positive integers up to ${n}$ that share no factor greater than $1$ with ${n}$.",
        ]
    )
    each = ", ".join(f"$\\varphi({power(str(p), k)}) = {(p - 1) * p ** (k - 1)}$" for p, k in found.items())
    steps = worked(
        f"The prime factorisation is ${n} = {product_of_powers(found)}$.",
        f"For prime powers $\\varphi(p^k) = (p - 1)p^{{k - 1}}$: {each}.",
        f"The product is ${result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == sum(1 for m in range(n) if gcd(m, n) == 1), steps)


@module("number theory", steps=True)
def number_of_divisors(rng: Random) -> Problem:
    """How many divisors, from the exponents."""
    n = smooth(rng, 40_000)
    found = factors(n)
    result = prod(k + 1 for k in found.values())
    question = rng.choice(
        [
            f"How many positive divisors has ${n}$?",
            f"Find the number of positive divisors of ${n}$.",
            f"How many numbers divide ${n}$?",
        ]
    )
    product_ = " \\cdot ".join(f"({k} + 1)" for k in found.values())
    steps = worked(
        f"The prime factorisation is ${n} = {product_of_powers(found)}$.",
        "A divisor takes each prime from $0$ times up to its exponent.",
        f"The number of choices is ${product_} = {result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == len(divisors(n)), steps)


@module("number theory", steps=True)
def sum_of_divisors(rng: Random) -> Problem:
    """The sum of all divisors, prime by prime."""
    n = rng.randint(12, 1500)
    found = factors(n)
    parts = [sum(p**i for i in range(k + 1)) for p, k in found.items()]
    result = prod(parts)
    question = rng.choice(
        [f"Find the sum of all positive divisors of ${n}$.", f"What do the divisors of ${n}$ add up to?"]
    )
    each = ", ".join(
        f"${' + '.join(str(p**i) for i in range(k + 1))} = {part}$"
        for (p, k), part in zip(found.items(), parts, strict=True)
    )
    steps = worked(
        f"The prime factorisation is ${n} = {product_of_powers(found)}$.",
        f"For each prime, add its powers: {each}.",
        f"The sum of the divisors is the product of these, ${result}$.",
    )
    return Problem(question, [str(result)], lambda s: whole(s) == sum(divisors(n)), steps)


@module("number theory")
def abundance(rng: Random) -> Problem:
    """Perfect, abundant or deficient. About 1,500 questions."""
    n = rng.randint(6, 1200)
    own = sum(d for d in range(1, n) if n % d == 0)
    answer = "perfect" if own == n else "abundant" if own > n else "deficient"
    question = rng.choice(
        [
            f"Is ${n}$ abundant, deficient or perfect?",
            f"Classify ${n}$ by the sum of its proper divisors: abundant, deficient or perfect?",
        ]
    )

    def by_formula(s: str) -> bool:
        every = prod(sum(p**i for i in range(k + 1)) for p, k in factors(n).items())
        return [every > 2 * n, every < 2 * n, every == 2 * n] == [s == "abundant", s == "deficient", s == "perfect"]

    return Problem(question, [answer], by_formula)


@module("number theory")
def neighbouring_prime(rng: Random) -> Problem:
    """The next prime up or down."""
    n, up = rng.randint(20, 990), rng.random() < 0.5
    result = next(m for m in (range(n + 1, n + 50) if up else range(n - 1, 1, -1)) if is_prime(m))
    question = (
        rng.choice([f"What is the smallest prime greater than ${n}$?", f"Find the first prime after ${n}$."])
        if up
        else rng.choice([f"What is the largest prime less than ${n}$?", f"Find the last prime before ${n}$."])
    )

    def sieve(s: str) -> bool:
        numbers = set(range(2, 1100))
        for p in range(2, 34):
            numbers -= set(range(2 * p, 1100, p))
        return whole(s) == (min(m for m in numbers if m > n) if up else max(m for m in numbers if m < n))

    return Problem(question, [str(result)], sieve)


@module("number theory")
def perfect_power_multiplier(rng: Random) -> Problem:
    """The smallest factor that makes a square or a cube."""
    n, k = smooth(rng, 6000), rng.choice((2, 3))
    result = prod(p ** (-e % k) for p, e in factors(n).items())
    name = "square" if k == 2 else "cube"
    question = rng.choice(
        [
            f"What is the smallest positive number by which ${n}$ must be multiplied to give a perfect {name}?",
            f"Find the least positive integer $m$ such that ${n}m$ is a perfect {name}.",
        ]
    )

    def is_power(x: int) -> bool:
        root = round(x ** (1 / k))
        return any((root + i) ** k == x for i in (-1, 0, 1))

    def least(s: str) -> bool:
        m = whole(s)
        return m > 0 and is_power(n * m) and not any(is_power(n * d) for d in divisors(m)[:-1])

    return Problem(question, [str(result)], least)


@module("number theory")
def multiples_in_range(rng: Random) -> Problem:
    """How many numbers up to n are divisible by a, or b, or neither."""
    a, b = distinct(rng, 2, 2, 20)
    n = rng.randint(50, 1000)
    either = n // a + n // b - n // lcm(a, b)
    asked, result = rng.choice(
        [
            (f"are divisible by ${a}$ or by ${b}$", either),
            (f"are divisible by neither ${a}$ nor ${b}$", n - either),
            (f"are divisible by ${a}$ but not by ${b}$", n // a - n // lcm(a, b)),
        ]
    )
    question = rng.choice(
        [
            f"How many of the whole numbers from $1$ to ${n}$ {asked}?",
            f"Count the positive integers up to ${n}$ that {asked}.",
        ]
    )

    def one_by_one(s: str) -> bool:
        one, two = (set(range(m, n + 1, m)) for m in (a, b))
        counts = {"or by": len(one | two), "neither": n - len(one | two), "but not": len(one - two)}
        return whole(s) == next(count for words, count in counts.items() if words in asked)

    return Problem(question, [str(result)], one_by_one)


@module("number theory")
def missing_digit(rng: Random) -> Problem | None:
    """The digit that makes a number divisible by 7, 9 or 11."""
    digits, by = [rng.randint(1, 9), *(rng.randint(0, 9) for _ in range(rng.randint(4, 6)))], rng.choice((9, 11, 7))
    place = rng.randrange(1, len(digits))
    shown = "".join("d" if i == place else str(x) for i, x in enumerate(digits))
    fitting = [d for d in range(10) if int(shown.replace("d", str(d))) % by == 0]
    if len(fitting) != 1:
        return None
    question = rng.choice(
        [
            f"In the number $\\overline{{{shown}}}$, $d$ is a digit. For which $d$ is the number divisible by ${by}$?",
            f"Find the digit $d$ that makes $\\overline{{{shown}}}$ a multiple of ${by}$.",
        ]
    )

    def remainders(s: str) -> bool:  # place by place, with the powers of ten reduced
        rest = 0
        for i, x in enumerate(reversed(shown)):
            rest += (whole(s) if x == "d" else int(x)) * (10**i % by)
        return 0 <= whole(s) <= 9 and rest % by == 0

    return Problem(question, forms(fitting[0]), remainders)


# Congruences


@module("number theory", steps=True)
def power_remainder(rng: Random) -> Problem:
    """a^b mod m by squaring."""
    a, b, m = rng.randint(2, 50), rng.randint(5, 200), rng.randint(5, 99)
    result = pow(a, b, m)
    question = rng.choice(
        [
            f"Find the remainder when ${a}^{{{b}}}$ is divided by ${m}$.",
            f"Compute ${a}^{{{b}}} \\bmod {m}$.",
            f"What is ${a}^{{{b}}}$ modulo ${m}$?",
        ]
    )
    bits = [i for i in range(b.bit_length()) if b >> i & 1]
    squares = ", ".join(f"${a}^{{{2**i}}} \\equiv {pow(a, 2**i, m)}$" for i in range(b.bit_length()))
    steps = worked(
        f"Square again and again, modulo ${m}$: {squares}.",
        f"The exponent is ${b} = {' + '.join(str(2**i) for i in bits)}$, so multiply "
        f"${', '.join(str(pow(a, 2**i, m)) for i in bits)}$.",
        f"Modulo ${m}$ the result is ${result}$.",
    )

    def multiplied_out(s: str) -> bool:
        x = 1
        for _ in range(b):
            x = x * a % m
        return whole(s) == x

    return Problem(question, [str(result)], multiplied_out, steps)


@module("number theory")
def last_digits(rng: Random) -> Problem:
    """The end of a large power or of a sum of powers."""
    a, b, c, d = rng.randint(2, 99), rng.randint(10, 300), rng.randint(2, 99), rng.randint(10, 300)
    k = rng.choice((1, 1, 2))
    two = rng.random() < 0.5
    text = f"{a}^{{{b}}} + {c}^{{{d}}}" if two else f"{a}^{{{b}}}"
    result = (pow(a, b, 10**k) + (pow(c, d, 10**k) if two else 0)) % 10**k
    what = "last digit" if k == 1 else "number formed by the last two digits"
    question = rng.choice([f"What is the {what} of ${text}$?", f"Find the {what} of ${text}$."])

    def written_out(s: str) -> bool:
        return int(str(a**b + (c**d if two else 0))[-k:]) == whole(s)

    return Problem(question, [str(result)], written_out)


@module("number theory", steps=True)
def modular_inverse(rng: Random) -> Problem | None:
    """By the extended Euclidean algorithm."""
    m = rng.randint(7, 200)
    a = rng.randint(2, m - 1)
    if gcd(a, m) > 1:
        return None
    result = pow(a, -1, m)
    question = rng.choice(
        [
            f"Find the inverse of ${a}$ modulo ${m}$, between $1$ and ${m - 1}$.",
            f"Which $x$ from $1$ to ${m - 1}$ satisfies ${a}x \\equiv 1 \\pmod{{{m}}}$?",
        ]
    )
    k = (a * result - 1) // m
    steps = worked(
        *euclid(m, a),
        f"Solving these backwards for $1$ gives $1 = {a} \\cdot {result} - {m} \\cdot {k}$.",
        f"So the inverse is ${result}$.",
    )
    return Problem(question, [str(result)], lambda s: [x for x in range(m) if a * x % m == 1] == [whole(s)], steps)


@module("number theory", steps=True)
def linear_congruence(rng: Random) -> Problem | None:
    """ax = b modulo m, with one or several solutions."""
    m = rng.randint(6, 60)
    a, b = rng.randint(2, m - 1), rng.randint(0, m - 1)
    g = gcd(a, m)
    if b % g or g > 4:
        return None
    step = m // g
    first = b // g * pow(a // g, -1, step) % step
    solutions = [first + i * step for i in range(g)]
    question = rng.choice(
        [
            f"Solve ${a}x \\equiv {b} \\pmod{{{m}}}$. List all solutions from $0$ to ${m - 1}$.",
            f"Find every $x$ with $0 \\le x < {m}$ and ${a}x \\equiv {b} \\pmod{{{m}}}$.",
        ]
    )
    steps = worked(
        f"The greatest common divisor of ${a}$ and ${m}$ is ${g}$, which divides ${b}$, so there "
        f"{'is one solution' if g == 1 else f'are ${g}$ solutions'}.",
        f"Dividing by it, ${'' if a == g else a // g}x \\equiv {b // g} \\pmod{{{step}}}$, and the inverse of "
        f"${a // g}$ there is ${pow(a // g, -1, step)}$.",
        f"So $x \\equiv {first} \\pmod{{{step}}}$, and the list is ${listing(solutions)}$.",
    )
    return Problem(
        question, [listing(solutions)], lambda s: values(s) == [x for x in range(m) if a * x % m == b], steps
    )


@module("number theory", steps=True)
def chinese_remainders(rng: Random) -> Problem | None:
    """Two or three remainders at once."""
    moduli = rng.sample((3, 4, 5, 7, 8, 9, 11, 13), rng.choice((2, 3)))
    if any(gcd(m, n) > 1 for i, m in enumerate(moduli) for n in moduli[:i]):
        return None
    n = prod(moduli)
    x = rng.randrange(n)
    rests = [x % m for m in moduli]
    conditions = ", ".join(f"$x \\equiv {r} \\pmod{{{m}}}$" for r, m in zip(rests, moduli, strict=True))
    words = ", ".join(f"${r}$ on division by ${m}$" for r, m in zip(rests, moduli, strict=True))
    question = rng.choice(
        [
            f"Find the smallest non-negative $x$ with {conditions}.",
            f"Which number from $0$ to ${n - 1}$ leaves the remainders {words}?",
        ]
    )
    rows, found, step = [], rests[0], moduli[0]
    for r, m in zip(rests[1:], moduli[1:], strict=True):
        start = found
        while found % m != r:
            found += step
        rows.append(
            f"Among ${start}, {start + step}, {start + 2 * step}, \\ldots$ the first that leaves ${r}$ modulo ${m}$ "
            f"is ${found}$."
        )
        step *= m
    steps = worked(
        f"Numbers that leave ${rests[0]}$ modulo ${moduli[0]}$ go up in steps of ${moduli[0]}$.",
        *rows,
        f"So $x = {x}$.",
    )

    def tried(s: str) -> bool:
        return [y for y in range(n) if all(y % m == r for r, m in zip(rests, moduli, strict=True))] == [whole(s)]

    return Problem(question, [f"x = {x}", str(x)], tried, steps)


@module("number theory", steps=True)
def bezout(rng: Random) -> Problem | None:
    """The greatest common divisor as a combination, with the smallest positive first coefficient."""
    g = rng.randint(1, 12)
    a, b = g * rng.randint(3, 40), g * rng.randint(3, 40)
    d = gcd(a, b)
    if d in (a, b):
        return None
    x = pow(a // d, -1, b // d)
    y = (d - a * x) // b
    question = rng.choice(
        [
            f"Find whole numbers $x$ and $y$ with ${a}x + {b}y = {d}$, where $x$ is positive and as small as "
            f"possible. Give $(x, y)$.",
            f"Write ${d}$, the greatest common divisor of ${a}$ and ${b}$, as ${a}x + {b}y$ with the least positive "
            f"$x$. Answer $(x, y)$.",
        ]
    )
    answer = f"({x}, {y})"
    steps = worked(
        *euclid(max(a, b), min(a, b)),
        f"Working backwards gives one solution; adding ${b // d}$ to $x$ and taking ${a // d}$ from $y$ gives the "
        f"others.",
        f"The one with the least positive $x$ is ${answer}$.",
    )

    def least(s: str) -> bool:
        u, v = values(s)
        return bool(a * u + b * v == d and u == next(n for n in range(1, b + 1) if (d - a * n) % b == 0))

    return Problem(question, [answer], least, steps)


@module("number theory")
def stamps(rng: Random) -> Problem | None:
    """The largest sum that two coprime values cannot make, or the number of ways to make a sum."""
    a, b = sorted(distinct(rng, 2, 3, 25))
    if gcd(a, b) > 1:
        return None
    target = rng.randint(2 * b, 4 * a * b)
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"With stamps of ${a}$ and ${b}$ cents, in how many ways can a postage of exactly ${target}$ cents be "
                f"made up?",
                f"How many pairs of non-negative whole numbers satisfy ${a}x + {b}y = {target}$?",
            ]
        )
        result = sum(1 for x in range(target // a + 1) if (target - a * x) % b == 0)

        def ways(s: str) -> bool:  # a solution in y every a steps
            first = target * pow(b, -1, a) % a
            return whole(s) == (0 if first * b > target else (target // b - first) // a + 1)

        return Problem(question, [str(result)], ways)
    question = rng.choice(
        [
            f"What is the largest postage in cents that cannot be made with stamps of ${a}$ and ${b}$ cents?",
            f"Find the largest whole number that is not of the form ${a}x + {b}y$ with non-negative whole $x$ and $y$.",
        ]
    )

    def reached(s: str) -> bool:
        made = [True] + [False] * (a * b)
        for n in range(1, a * b + 1):
            made[n] = (n >= a and made[n - a]) or (n >= b and made[n - b])
        return whole(s) == max(n for n, hit in enumerate(made) if not hit)

    return Problem(question, [str(a * b - a - b)], reached)


@module("number theory")
def multiplicative_order(rng: Random) -> Problem | None:
    """The least power that is 1 modulo m."""
    m = rng.randint(7, 120)
    a = rng.randint(2, m - 1)
    if gcd(a, m) > 1:
        return None
    phi = prod((p - 1) * p ** (k - 1) for p, k in factors(m).items())
    result = next(d for d in divisors(phi) if pow(a, d, m) == 1)
    question = rng.choice(
        [
            f"Find the multiplicative order of ${a}$ modulo ${m}$.",
            f"What is the smallest positive $k$ with ${a}^k \\equiv 1 \\pmod{{{m}}}$?",
        ]
    )

    def counted(s: str) -> bool:
        x, k = a % m, 1
        while x != 1:
            x, k = x * a % m, k + 1
        return whole(s) == k

    return Problem(question, [str(result)], counted)


@module("number theory")
def quadratic_residue(rng: Random) -> Problem:
    """Is it a square modulo a prime? By Euler's criterion."""
    p = rng.choice(PRIMES[4:60])
    a = rng.randint(2, p - 1)
    answer = "Yes" if pow(a, (p - 1) // 2, p) == 1 else "No"
    question = rng.choice(
        [
            f"Is ${a}$ a quadratic residue modulo ${p}$? Answer Yes or No.",
            f"Does $x^2 \\equiv {a} \\pmod{{{p}}}$ have a solution? Answer Yes or No.",
        ]
    )
    return Problem(question, [answer], lambda s: s == ("Yes" if any(x * x % p == a for x in range(p)) else "No"))


@module("number theory")
def primitive_root(rng: Random) -> Problem | None:
    """How many primitive roots, or the smallest. About 600 questions."""
    p = rng.choice(PRIMES[3:150])
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"How many primitive roots are there modulo ${p}$?",
                f"Find the number of primitive roots of the prime ${p}$.",
            ]
        )
        result = prod((q - 1) * q ** (k - 1) for q, k in factors(p - 1).items())
        return Problem(question, [str(result)], lambda s: whole(s) == sum(1 for m in range(1, p) if gcd(m, p - 1) == 1))
    question = rng.choice(
        [
            f"What is the smallest positive primitive root modulo ${p}$?",
            f"Find the least primitive root of the prime ${p}$.",
        ]
    )
    result = next(g for g in range(2, p) if all(pow(g, (p - 1) // q, p) != 1 for q in factors(p - 1)))

    def generates(s: str) -> bool:
        def reach(g: int) -> int:
            x, seen = 1, 0
            while seen == 0 or x != 1:
                x, seen = x * g % p, seen + 1
            return seen

        return whole(s) > 1 and next(g for g in range(2, p) if reach(g) == p - 1) == whole(s)

    return Problem(question, [str(result)], generates)


# Digits and bases


def in_base(n: int, base: int) -> str:
    digits = ""
    while n:
        n, d = divmod(n, base)
        digits = DIGITS[d] + digits
    return digits or "0"


def written(n: int, base: int) -> str:
    """1011_{2}; letters upright."""
    digits = in_base(n, base)
    numeral = digits if digits.isdigit() else f"\\text{{{digits}}}"
    return f"{numeral}_{{{base}}}"


def reading(answer: str) -> tuple[int, int]:
    """Value and base of a written numeral."""
    digits, _, base = answer.replace("\\text{", "").replace("}", "").replace("{", "").partition("_")
    return int(digits, int(base)), int(base)


@module("number theory", steps=True)
def to_base(rng: Random) -> Problem:
    """From decimal to another base."""
    n, base = rng.randint(30, 5000), rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 12, 16))
    answer = written(n, base)
    question = rng.choice(
        [
            f"Write ${n}$ in base ${base}$.",
            f"Convert the decimal number ${n}$ to base ${base}$.",
            f"What is ${n}$ in base ${base}$? (Digits above $9$ are A, B and so on.)"
            if base > 10
            else f"What is ${n}$ in base ${base}$?",
        ]
    )
    rows, rest = [], n
    while rest:
        rows.append(f"${rest} = {rest // base} \\cdot {base} + {rest % base}$.")
        rest //= base
    steps = worked(
        f"Divide by ${base}$ again and again; the remainders are the digits from right to left.",
        *rows,
        f"Read upwards this is ${answer}$.",
    )
    return Problem(question, [answer], lambda s: reading(s) == (n, base), steps)


@module("number theory", steps=True)
def from_base(rng: Random) -> Problem:
    """From another base to decimal."""
    n, base = rng.randint(30, 5000), rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 12, 16))
    shown, digits = written(n, base), in_base(n, base)
    question = rng.choice(
        [f"Convert ${shown}$ to decimal.", f"Which decimal number is ${shown}$?", f"Write ${shown}$ in base ten."]
    )
    terms = " + ".join(
        f"{DIGITS.index(d)} \\cdot {base}^{{{len(digits) - 1 - i}}}" for i, d in enumerate(digits) if d != "0"
    )
    steps = worked(f"Each digit counts for a power of ${base}$: ${terms}$.", f"Added up, this is ${n}$.")
    return Problem(question, [str(n)], lambda s: whole(s) == int(digits, base), steps)


@module("number theory")
def between_bases(rng: Random) -> Problem:
    """From one base to another."""
    n, (first, second) = rng.randint(30, 3000), rng.sample((2, 3, 4, 5, 6, 7, 8, 9), 2)
    question = rng.choice(
        [f"Convert ${written(n, first)}$ to base ${second}$.", f"Write ${written(n, first)}$ in base ${second}$."]
    )
    return Problem(question, [written(n, second)], lambda s: reading(s) == (int(in_base(n, first), first), second))


@module("number theory")
def arithmetic_in_base(rng: Random) -> Problem:
    """Sums, differences and products in other bases."""
    base, sign = rng.choice((2, 3, 5, 7, 8)), rng.choice(("+", "-", "\\cdot"))
    a, b = rng.randint(20, 300), rng.randint(5, 60)
    a, b = max(a, b), min(a, b)
    result = {"+": a + b, "-": a - b, "\\cdot": a * b}[sign]
    text = f"{written(a, base)} {sign} {written(b, base)}"
    question = rng.choice(
        [f"Compute ${text}$ and give the result in base ${base}$.", f"Without leaving base ${base}$, find ${text}$."]
    )

    def digit_by_digit(s: str) -> bool:  # counted in decimal
        x, y = (int(in_base(n, base), base) for n in (a, b))
        found, its_base = reading(s)
        return its_base == base and (
            found - y == x if sign == "+" else found + y == x if sign == "-" else found == sum([x] * y)
        )

    return Problem(question, [written(result, base)], digit_by_digit)


@module("number theory")
def factorial_end(rng: Random) -> Problem:
    """Zeros at the end of a factorial, or the power of a prime in it."""
    n = rng.randint(10, 400)
    p = rng.choice((2, 3, 5, 7, 11, 10))
    result, power_ = 0, 5 if p == 10 else p
    k = power_
    while k <= n:
        result, k = result + n // k, k * power_
    question = (
        rng.choice(
            [f"How many zeros are at the end of ${n}!$?", f"${n}!$ is written out. With how many zeros does it end?"]
        )
        if p == 10
        else rng.choice(
            [
                f"What is the largest $k$ for which ${p}^k$ divides ${n}!$?",
                f"How often does the prime ${p}$ occur in ${n}!$?",
            ]
        )
    )

    def divided(s: str) -> bool:
        rest, k = factorial(n), 0
        while rest % p == 0:
            rest, k = rest // p, k + 1
        return whole(s) == k

    return Problem(question, [str(result)], divided)


@module("number theory")
def number_of_digits(rng: Random) -> Problem:
    """How many digits a product of powers has."""
    a, m, b, n = rng.choice((2, 4, 8, 16)), rng.randint(5, 40), rng.choice((5, 25, 3, 7)), rng.randint(5, 40)
    question = rng.choice(
        [
            f"How many digits has ${a}^{{{m}}} \\cdot {b}^{{{n}}}$?",
            f"Find the number of decimal digits of ${a}^{{{m}}} \\cdot {b}^{{{n}}}$.",
        ]
    )
    number_ = a**m * b**n
    result = 0
    while number_:
        number_, result = number_ // 10, result + 1
    return Problem(question, [str(result)], lambda s: whole(s) == len(str(a**m * b**n)))


@module("number theory", steps=True)
def repeating_decimal(rng: Random) -> Problem | None:
    """A fraction as a decimal with its period."""
    q = rng.choice(
        (3, 6, 7, 9, 11, 12, 13, 15, 18, 21, 22, 24, 27, 33, 36, 37, 41, 44, 45, 54, 55, 66, 74, 75, 99, 101)
    )
    p = rng.randint(1, 3 * q)
    if gcd(p, q) > 1 or p > 2 * q:
        return None
    head, rest = divmod(p, q)
    seen: dict[int, int] = {}
    digits, rows = "", []
    while rest not in seen:
        seen[rest] = len(digits)
        digit, after = divmod(10 * rest, q)
        rows.append(f"$10 \\cdot {rest} = {digit} \\cdot {q} + {after}$.")
        digits, rest = digits + str(digit), after
    start = seen[rest]
    answer = f"{head}.{digits[:start]}\\overline{{{digits[start:]}}}"
    question = rng.choice(
        [
            f"Write $\\frac{{{p}}}{{{q}}}$ as a repeating decimal, with a bar over the period.",
            f"Find the decimal expansion of $\\frac{{{p}}}{{{q}}}$. Mark the repeating part with a bar.",
        ]
    )
    steps = worked(
        f"The whole part is ${head}$, with remainder ${p % q}$. Multiply the remainder by ten and divide, again and "
        f"again:",
        *rows,
        f"Now the remainder ${rest}$ comes back, so the digits repeat: ${answer}$.",
    )

    def sums_up(s: str) -> bool:  # the period is a geometric series
        before, _, bar = s.partition("\\overline{")
        plain, period = before.partition(".")[2], bar.rstrip("}")
        shortest = not any(
            period == period[:d] * (len(period) // d) for d in range(1, len(period)) if len(period) % d == 0
        )
        late = plain == "" or plain[-1] != period[-1]
        exact = Fraction(before) if plain else Fraction(before.rstrip("."))
        tail = Fraction(int(period), 10 ** len(plain) * (10 ** len(period) - 1))
        return shortest and late and exact + tail == Fraction(p, q)

    return Problem(question, [answer], sums_up, steps)


@module("number theory", steps=True)
def fraction_from_decimal(rng: Random) -> Problem:
    """A repeating decimal as a fraction."""
    plain = "".join(rng.choice("0123456789") for _ in range(rng.randint(0, 2)))
    period = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 3)))
    if set(period) <= {"0"} or set(period) <= {"9"}:
        period = "3"
    head, m, k = rng.randint(0, 3), len(plain), len(period)
    below = 10**m * (10**k - 1)
    both, before = int(f"{head}{plain}{period}"), int(f"{head}{plain}")
    result = Fraction(both - before, below)
    shown = f"{head}.{plain}\\overline{{{period}}}"
    question = rng.choice(
        [f"Write ${shown}$ as a fraction in lowest terms.", f"Which fraction, reduced, equals ${shown}$?"]
    )
    lead = f"10^{m + k}x - 10^{m}x" if m else f"10^{k}x - x"
    steps = worked(
        f"Let $x = {shown}$. In ${lead}$ the repeating parts cancel.",
        f"The difference is ${both} - {before} = {both - before}$, so ${below}x = {both - before}$.",
        f"Reduced, $x = {number(result)}$.",
    )

    def long_division(s: str) -> bool:
        x = value(s)
        reduced = f"\\frac{{{x.numerator}}}{{{x.denominator}}}" in s or f"{x.numerator}/{x.denominator}" in s
        digits = str(int(x * 10 ** (m + 6 * k))).rjust(m + 6 * k + 1, "0")
        return (
            digits == f"{head}{plain}{period * 6}".lstrip("0").rjust(m + 6 * k + 1, "0")
            and (reduced or x.denominator == 1)
            and (x.denominator <= below)
        )

    return Problem(question, forms(result)[:2], long_division, steps)


@module("number theory", steps=True)
def continued_fraction(rng: Random) -> Problem | None:
    """The continued fraction of a rational number."""
    p, q = rng.randint(10, 400), rng.randint(3, 120)
    if gcd(p, q) > 1:
        return None
    quotients, rows, a, b = [], [], p, q
    while b:
        quotients.append(a // b)
        rows.append(f"${a} = {a // b} \\cdot {b} + {a % b}$.")
        a, b = b, a % b
    if len(quotients) < 3:
        return None
    answer = f"[{quotients[0]}; {', '.join(map(str, quotients[1:]))}]"
    question = rng.choice(
        [
            f"Write $\\frac{{{p}}}{{{q}}}$ as a continued fraction $[a_0; a_1, \\ldots, a_n]$ with $a_n > 1$.",
            f"Find the continued fraction expansion of $\\frac{{{p}}}{{{q}}}$ in the form $[a_0; a_1, \\ldots]$, the "
            f"last entry above $1$.",
        ]
    )
    steps = worked("The quotients of Euclid's algorithm are the entries.", *rows, f"So the expansion is ${answer}$.")

    def folded(s: str) -> bool:
        entries = [int(x) for x in s.strip("[]").replace(";", ",").split(",")]
        x = Fraction(entries[-1])
        for a_ in reversed(entries[:-1]):
            x = a_ + 1 / x
        return entries[-1] > 1 and x == Fraction(p, q) and s.count(";") == 1

    return Problem(question, [answer], folded, steps)


# Small searches


@module("number theory")
def consecutive_numbers(rng: Random) -> Problem:
    """Neighbours with a given sum."""
    n, start = rng.randint(3, 9), rng.randint(-20, 300)
    kind, step = rng.choice(
        (("consecutive integers", 1), ("consecutive odd integers", 2), ("consecutive even integers", 2))
    )
    if step == 2 and start % 2 != (1 if "odd" in kind else 0):
        start += 1
    asked = rng.choice(("smallest", "largest"))
    result = start if asked == "smallest" else start + step * (n - 1)
    sum_ = n * start + step * n * (n - 1) // 2
    question = rng.choice(
        [
            f"The sum of ${n}$ {kind} is ${sum_}$. What is the {asked} of them?",
            f"${n}$ {kind} add up to ${sum_}$. Find the {asked} one.",
        ]
    )

    def added(s: str) -> bool:
        first = whole(s) if asked == "smallest" else whole(s) - step * (n - 1)
        return sum(range(first, first + step * n, step)) == sum_

    return Problem(question, [str(result)], added)


@module("number theory")
def weekday(rng: Random) -> Problem:
    """Which day of the week after so many days."""
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    start, days = rng.randrange(7), rng.randint(20, 5000)
    back = rng.random() < 0.3
    question = (
        rng.choice(
            [
                f"Today is {names[start]}. Which day of the week was it ${days}$ days ago?",
                f"What day was it ${days}$ days before a {names[start]}?",
            ]
        )
        if back
        else rng.choice(
            [
                f"Today is {names[start]}. Which day of the week will it be in ${days}$ days?",
                f"What day comes ${days}$ days after a {names[start]}?",
            ]
        )
    )
    answer = names[(start + (-days if back else days)) % 7]

    def calendar(s: str) -> bool:
        monday = date(2024, 1, 1)
        found = monday + timedelta(days=start) + timedelta(days=-days if back else days)
        return names[found.weekday()] == s

    return Problem(question, [answer], calendar)


@module("number theory")
def powers_between(rng: Random) -> Problem:
    """How many squares or cubes lie in a range."""
    low = rng.randint(1, 3000)
    high = low + rng.randint(200, 9000)
    name, k = rng.choice((("squares", 2), ("cubes", 3)))

    def floor_root(n: int) -> int:
        root: int = round(n ** (1 / k))
        return root if root**k <= n else root - 1

    question = rng.choice(
        [
            f"How many perfect {name} lie between ${low}$ and ${high}$, both included?",
            f"Count the perfect {name} $n$ with ${low} \\le n \\le {high}$.",
        ]
    )
    result = floor_root(high) - floor_root(low - 1)
    return Problem(question, [str(result)], lambda s: whole(s) == sum(1 for m in range(200) if low <= m**k <= high))


@module("number theory")
def two_squares(rng: Random) -> Problem | None:
    """A number as a sum or a difference of two squares, in exactly one way."""
    a, b = sorted(distinct(rng, 2, 1, 40))
    n, sign = (a * a + b * b, "+") if rng.random() < 0.6 else (b * b - a * a, "-")
    most = 40 if sign == "+" else (n + 1) // 2
    pairs = [
        (x, y)
        for x in range(1, most + 1)
        for y in [isqrt(abs(n - x * x))]
        if y > 0 and (x <= y and x * x + y * y == n if sign == "+" else x * x - y * y == n)
    ]
    if len(pairs) != 1:
        return None
    x, y = pairs[0]
    shape = "x^2 + y^2" if sign == "+" else "x^2 - y^2"
    rule = "0 < x \\le y" if sign == "+" else "x, y > 0"
    question = rng.choice(
        [
            f"Find whole numbers with ${n} = {shape}$ and ${rule}$. Give $(x, y)$.",
            f"There is one pair of whole numbers ${rule}$ with ${shape} = {n}$. Which pair $(x, y)$ is it?",
        ]
    )

    def fits(s: str) -> bool:
        u, v = values(s)
        return bool(value(shape, x=u, y=v) == n and u > 0 and v > 0 and (u <= v or sign == "-"))

    return Problem(question, [f"({x}, {y})"], fits)


@module("number theory")
def remainder_of_expression(rng: Random) -> Problem:
    """A remainder from the remainders of the parts."""
    m = rng.randint(5, 30)
    r, s = rng.randint(1, m - 1), rng.randint(1, m - 1)
    p, q, k = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 3)
    text = f"{p}{power('a', k)} + {q}ab"
    question = rng.choice(
        [
            f"On division by ${m}$, $a$ leaves the remainder ${r}$ and $b$ the remainder ${s}$. What remainder does "
            f"${text}$ leave?",
            f"If $a \\equiv {r}$ and $b \\equiv {s} \\pmod{{{m}}}$, find the remainder of ${text}$ modulo ${m}$.",
        ]
    )

    def with_numbers(answer: str) -> bool:
        tests = [(r + i * m, s + j * m) for i, j in ((0, 0), (3, 1), (7, 11))]
        return (
            all((value(text, a=Fraction(a), b=Fraction(b)) - whole(answer)) % m == 0 for a, b in tests)
            and 0 <= whole(answer) < m
        )

    return Problem(question, [str((p * r**k + q * r * s) % m)], with_numbers)
