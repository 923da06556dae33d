"""Equations in worked solutions: found in the prose, read exactly, and held against what was written before.

Promised: exact arithmetic (fractions, no floats) of numbers, unknowns and their powers, and of the commonest units;
nothing that a model wrote is evaluated. What cannot be read with certainty is "unknown", and never "bad": words that
change a number ("half of 16"), functions, roots, inequalities.
Not promised: algebra beyond polynomials; for that there is `ops.maths`. Words are read as English ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import msgspec

Outcome = Literal["ok", "bad", "unknown"]
SPACES = re.compile(r"\s+")
Kind = Literal["arithmetic", "substitution", "equivalence", "units", "reference", "code", "proof"]
Monomial = tuple[tuple[str, int], ...]
Polynomial = dict[Monomial, Fraction]

ONE: Monomial = ()
MOST_BITS = 4096  # of a number
MOST_TERMS = 100  # of a polynomial
MOST_DIGITS = 400  # of a number as it is written
MOST_TOKENS = 400  # of an equation
LONGEST = 20_000  # characters of a text


class Check(msgspec.Struct):
    """What was found out about a piece of a solution."""

    kind: Kind
    text: str
    outcome: Outcome


SIGNS = str.maketrans(
    {"−": "-", "–": "-", "‐": "-", "‑": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "∕": "/"}
    | {"²": "^2", "³": "^3", "½": "(1/2)", "¼": "(1/4)", "¾": "(3/4)", "⟹": "⇒", "→": "⇒", "\u00a0": " ", "\u202f": " "}
    | {"$": " ", "€": " ", "£": " ", "{": "(", "}": ")"}
)
LATEX = [
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\boxed\s*\{([^{}]*)\}"), r"\1"),
]
COMMANDS = [
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\approx(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\(?:Rightarrow|implies|to|Longrightarrow|rightarrow)(?![a-zA-Z])"), "⇒"),
    (re.compile(r"\\(?:left|right|displaystyle|q?quad)(?![a-zA-Z])|\\[()\[\],;:! ]|\\\\|&"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"<<([^<>]*)>>"), r" ; \1 ; "),  # GSM8K's notes for a calculator
    (re.compile(r"\*\*(?=[^*\n]*[A-Za-z])([^*\n]+)\*\*"), r" \1 "),  # bold
    (re.compile(r"(?<!\s)\s++(?=[=≈])"), " "),  # a calculation that goes on in the next line
]
TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<unread>\d+(?::\d+)+ | != | [<>]=? | \\[a-zA-Z]+)
    | (?P<break>=+>|->|⇒)
    | (?P<mixed>\d+\s+\d+/\d+(?![\d/.]))
    | (?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    | (?P<relation>=+|≈)
    | (?P<sign>\*\*|[-+*/^()%!])
    | (?P<letter>(?![ªº])[^\W\d_](?:_\(?[A-Za-z0-9]+\)?)?(?![^\W\d_]))
    | (?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)
    | (?P<clean>[.,;:?"'“”‘’…|\n])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
CHANGING_BEFORE = frozenset(
    SPACES.split(
        """half third quarter twice double triple square cube sqrt root log ln sin cos tan exp mod max min gcd lcm abs plus
        minus times by over from percent negative"""
    )
)
"""Words that change the number behind them."""
CHANGING_AFTER = frozenset(
    SPACES.split(
        "squared cubed factorial remainder plus minus times divided multiplied mod modulo halves thirds quarters"
    )
)
"""Words that change the number before them."""
JOINING = frozenset({"and", "or", "over"})
"""Words that do so where a number stands on their other side."""
MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
UNITS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(factor))
    for dimension, units in {
        "length": {"mm millimetre millimeter": "1/1000", "cm centimetre centimeter": "1/100", "m metre meter": "1"}
        | {"km kilometre kilometer": "1000"},
        "mass": {"mg milligram": "1/1000", "g gram": "1", "kg kilogram": "1000"},
        "time": {"s sec second": "1", "min minute": "60", "h hr hour": "3600", "day": "86400", "week": "604800"},
        "volume": {"ml millilitre milliliter": "1/1000", "l litre liter": "1"},
    }.items()
    for names, factor in units.items()
    for name in names.split()
}
ARTICLES = frozenset({"a", "A", "I"})


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    value: Fraction | None = None
    spaced: bool = False
    """White space stands before it."""
    unit: bool = False


@dataclass
class Side:
    """An expression, as its tokens. `certain`: nothing around it is known to change what it says."""

    tokens: list[Token]
    certain: bool = True

    @property
    def bare(self) -> bool:
        """One number or name, without any calculation."""
        return sum(token.kind in ("number", "letter") and not token.unit for token in self.tokens) == 1 and not any(
            token.kind == "sign" and token.text in "*/^!" and not token.unit for token in self.tokens
        )

    @property
    def words(self) -> list[str]:
        return [
            token.text.lower()
            for token in self.tokens
            if token.unit and token.kind in ("word", "letter") and token.text.lower() not in MULTIPLES
        ]

    @property
    def numbers(self) -> list[Fraction]:
        return [token.value for token in self.tokens if token.value is not None]


@dataclass
class Equation:
    """`a = b = c` as it stands in a text."""

    sides: list[Side]
    relations: list[str]
    text: str
    parts: list[str] = field(default_factory=list)
    """Each side as it is written."""


# -- finding


def plain(text: str) -> str:
    """LaTeX and typography as the signs of a keyboard."""
    text = text[:LONGEST]
    for pattern, replacement in LATEX:
        while (changed := pattern.sub(replacement, text)) != text:
            text = changed
    for pattern, replacement in COMMANDS:
        text = pattern.sub(replacement, text)
    return text.translate(SIGNS)


def equations(text: str) -> list[Equation]:
    """All equations of a text, in their order."""
    found = []
    for run, before, after in _runs(_tokens(plain(text))):
        equation = _equation(run, before, after)
        if equation:
            found.append(equation)
    return found


def numbers(text: str) -> set[Fraction]:
    """The numbers that a text names, in digits or in words; of percentages also what they make of a whole."""
    found: set[Fraction] = set()
    tokens = [token for token in _tokens(plain(text)) if token.kind != "space"]
    for index, token in enumerate(tokens):
        following = tokens[index + 1].text.lower() if index + 1 < len(tokens) else ""
        if token.value is not None:
            value = token.value
            found.add(value)
            if following in MULTIPLES:
                found.add(value * MULTIPLES[following])
            if following in ("%", "percent"):
                share = value / 100
                found |= {share, 1 - share, 1 + share, 100 - value, 100 + value}
            if following == "/" and index + 2 < len(tokens) and (below := tokens[index + 2].value):
                found |= {value / below, 1 - value / below, 1 + value / below}
        elif token.kind == "unread":
            found |= {Fraction(part) for part in re.findall(r"\d+", token.text)}
        else:
            for word in token.text.lower().split("-"):
                found |= WORDS.get(word, WORDS.get(word.removesuffix("s"), frozenset()))
            pair = [NUMERALS.get(word) for word in token.text.lower().split("-")]
            if len(pair) == 2 and pair[0] and pair[1]:
                found.add(Fraction(pair[0] + pair[1]))
    return found


NUMERALS = {
    word: number
    for number, word in enumerate(
        SPACES.split(
            """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
            seventeen eighteen nineteen twenty"""
        )
    )
} | {
    word: 10 * number
    for number, word in enumerate(SPACES.split("thirty forty fifty sixty seventy eighty ninety"), start=3)
}
WORDS: dict[str, frozenset[Fraction]] = {
    **{word: frozenset({Fraction(number)}) for word, number in NUMERALS.items()},
    **{word: frozenset({Fraction(number)}) for word, number in MULTIPLES.items()},
    "half": frozenset({Fraction(2), Fraction(1, 2)}),
    "halve": frozenset({Fraction(2), Fraction(1, 2)}),
    "third": frozenset({Fraction(3), Fraction(1, 3), Fraction(2, 3)}),
    "quarter": frozenset({Fraction(4), Fraction(1, 4), Fraction(3, 4), Fraction(25)}),
    "fourth": frozenset({Fraction(4), Fraction(1, 4), Fraction(3, 4)}),
    "fifth": frozenset({Fraction(5), Fraction(1, 5)}),
    "tenth": frozenset({Fraction(10), Fraction(1, 10)}),
    **dict.fromkeys(("twice", "double", "doubled", "couple", "pair", "both"), frozenset({Fraction(2)})),
    **dict.fromkeys(("triple", "thrice", "tripled", "triangle"), frozenset({Fraction(3)})),
    **dict.fromkeys(("square", "rectangle", "quadruple"), frozenset({Fraction(4)})),
}
CONSTANTS = frozenset(
    Fraction(number)
    for number in (0, 1, 2, 7, 10, 12, 24, 30, 52, 60, 90, 100, 180, 360, 365, 1000, 3600, "3.14", "0.5")
)
"""Numbers that a solution may use though nobody gave them: of the calendar, of angles, of units, of doubling."""


def _tokens(text: str) -> list[Token]:
    found = []
    spaced = False
    for match in TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match[0]
        if kind == "space":
            if "\n" in piece:
                found.append(Token("clean", "\n"))
            spaced = True
            continue
        value = None
        if len(piece) > MOST_DIGITS and kind in ("number", "mixed", "unread"):
            kind, piece = "other", "#"
        if kind == "number":
            value = Fraction(piece.replace(",", ""))
        elif kind == "mixed":
            whole, top, bottom = map(int, re.findall(r"\d+", piece))
            if bottom == 0:
                kind = "unread"
            else:
                kind, value = "number", whole + Fraction(top, bottom)
        found.append(Token(kind, piece, value, spaced))
        spaced = False
    return [_retold(found, index) for index in range(len(found))]


def _retold(tokens: list[Token], index: int) -> Token:
    """A token as its neighbours let it be read: "3 x 4", "20% of 50", "5 a day", "12!"."""
    token = tokens[index]
    before = tokens[index - 1] if index else None
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    operand = before is not None and (before.value is not None or before.text in (")", "%"))
    if token.text in ("x", "X") and operand and after and (after.value is not None or after.text == "("):
        return Token("sign", "*", None, token.spaced)
    if token.text == "of" and before is not None and after and after.value is not None:
        fraction = index > 1 and before.value is not None and tokens[index - 2].text == "/"
        if before.text == "%" or fraction:
            return Token("sign", "*", None, token.spaced)
    if token.text == "!" and not (operand and after and (after.kind in ("relation", "sign"))):
        return Token("clean", "!", None, token.spaced)
    if token.kind == "word" and not token.spaced and operand and not _known([token]):
        return Token("unread", token.text, None)  # "2xy" is a product
    if token.kind == "letter" and token.text in ARTICLES:
        calculated = (after is not None and after.kind in ("relation", "sign") and after.text != "(") or (
            before is not None and before.kind in ("relation", "sign") and before.text != ")"
        )
        if not calculated:
            return Token("word", token.text, None, token.spaced)
    return token


def _runs(tokens: list[Token]) -> Iterator[tuple[list[Token], list[Token], list[Token]]]:
    """Unbroken pieces of calculation, each with the tokens before and behind it."""
    start = index = 0
    while index <= len(tokens):
        token = tokens[index] if index < len(tokens) else None
        unit_length = _units_at(tokens, index, start)
        if unit_length:
            for at in range(index, index + unit_length):
                one = tokens[at]
                tokens[at] = Token(one.kind, one.text, None, one.spaced, unit=True)
            index += unit_length
            continue
        ends = token is None or token.kind in ("word", "clean", "break")
        if token is not None and not ends and index > start and _adjacent(tokens[index - 1], token):
            if any(one.kind == "relation" for one in tokens[start:index]):
                worded = token.text == "(" and index + 1 < len(tokens) and tokens[index + 1].kind == "word"
                yield tokens[start:index], tokens[max(0, start - 4) : start], [Token("clean", ",") if worded else token]
            start = index
        if ends:
            if any(one.kind == "relation" for one in tokens[start:index]):
                yield tokens[start:index], tokens[max(0, start - 4) : start], tokens[index : index + 3]
            start = index + 1
        index += 1


def _adjacent(left: Token, right: Token) -> bool:
    """Two operands with a gap between them belong to two different things."""
    closes = left.value is not None or left.kind == "letter" or left.text in (")", "%") or left.unit
    opens = right.value is not None or right.kind == "letter" or right.text == "("
    return closes and opens and right.spaced


def _units_at(tokens: list[Token], index: int, start: int) -> int:
    """How many tokens from here on say the unit of the number before them."""
    if index <= start or index >= len(tokens):
        return 0
    before = tokens[index - 1]
    if not (before.value is not None or before.text in (")", "%")):
        return 0
    end = index
    while end < len(tokens) and end - index < 3 and _may_be_unit(tokens[end], first=end == index):
        end += 1
    if end == index:
        return 0
    while end + 1 < len(tokens) and tokens[end].text == "/" and _may_be_unit(tokens[end + 1], first=True, divided=True):
        end += 2
    following = tokens[end] if end < len(tokens) else None
    if following and following.text == "^" and end + 1 < len(tokens) and tokens[end + 1].value is not None:
        end += 2
        following = tokens[end] if end < len(tokens) else None
    last_words = {token.text.lower() for token in tokens[index:end]}
    if last_words & (CHANGING_AFTER | CHANGING_BEFORE | {"and"}):
        return 0
    if following and (following.kind == "relation" or (following.kind == "sign" and following.text in "+-*/)")):
        return end - index
    # Behind the last number nothing follows: only what is surely a unit counts, the rest is prose.
    return next((size for size in (end - index, 1) if _known(tokens[index : index + size])), 0)


def _may_be_unit(token: Token, *, first: bool, divided: bool = False) -> bool:
    if token.kind == "word":
        return token.text != "per" or not first
    if token.kind != "letter" or not first:
        return False
    return token.text in UNITS and (token.spaced or divided)


def _known(tokens: Sequence[Token]) -> bool:
    named = [token for token in tokens if token.kind in ("word", "letter")]
    return bool(named) and all(_unit(token.text) or token.text.lower() in MULTIPLES for token in named)


def _unit(word: str) -> tuple[str, Fraction] | None:
    lower = word.lower()
    return UNITS.get(word) or UNITS.get(lower) or (UNITS.get(lower.removesuffix("s")) if len(lower) > 2 else None)


def _equation(run: list[Token], before: list[Token], after: list[Token]) -> Equation | None:
    if len(run) > MOST_TOKENS:
        return None
    sides: list[Side] = [Side([])]
    relations = []
    for token in run:
        if token.kind == "relation":
            relations.append("≈" if token.text == "≈" else "=")
            sides.append(Side([]))
        else:
            sides[-1].tokens.append(token)
    _unwrap(sides)
    first, last = sides[0], sides[-1]
    if first.tokens and before and before[-1].text != "\n":
        word = before[-1].text.lower()
        apart = any(token.kind == "relation" for token in before)  # that number belongs to another equation
        numbered = not apart and any(token.value is not None for token in before)
        changed = word in CHANGING_BEFORE or (word in JOINING and numbered)
        changed |= word == "of" and len(before) > 1 and (numbered or before[-2].text.lower() in CHANGING_BEFORE)
        if changed or (before[-1].kind == "word" and first.bare and first.numbers):
            first.certain = False
    if first.tokens and first.tokens[0].text in ("+", "-"):
        # A bullet, or the end of "total - 3 = 9"
        loose = len(first.tokens) > 1 and first.tokens[1].spaced
        attached = bool(before) and before[-1].kind == "word" and not first.tokens[0].spaced
        if loose or attached:
            first.certain = False
    if after:
        word = after[0].text.lower()
        goes_on = word in JOINING and len(after) > 1 and (after[1].value is not None or after[1].text == "a")
        goes_on &= not any(token.kind in ("sign", "relation") for token in after[2:3])  # another equation begins
        if word in MULTIPLES and last.tokens and last.tokens[-1].value is not None:
            last.tokens.append(Token("word", word, unit=True))
        elif word in CHANGING_AFTER or goes_on or after[0].kind not in ("word", "clean", "break"):
            last.certain = False
        elif word == "percent":
            last.tokens.append(Token("sign", "%"))
    parts = ["".join((" " if token.spaced else "") + token.text for token in side.tokens).strip() for side in sides]
    text = parts[0]
    for relation, part in zip(relations, parts[1:], strict=True):
        text += f" {relation} {part}"
    return Equation(sides, relations, text.strip(), parts)


def _unwrap(sides: list[Side]) -> None:
    """Brackets that open before the equation and close behind it are the prose's."""
    first, last = sides[0].tokens, sides[-1].tokens
    while _balance(first) > 0 and first and first[0].text == "(":
        del first[0]
    while _balance(last) < 0 and last and last[-1].text == ")":
        del last[-1]


def _balance(tokens: Sequence[Token]) -> int:
    return sum((token.text == "(") - (token.text == ")") for token in tokens)


# -- reading


class Unreadable(Exception):
    """No polynomial."""


class Mixed(Exception):
    """A sum of what cannot be added: lengths and masses."""


def polynomial(side: Side, *, units: bool = False) -> Polynomial | None:
    """What an expression says, exactly; None where it cannot be read.

    Args:
        units: read the names of units, as powers of what they measure; else they are dropped.

    Raises:
        Mixed: it adds what has different units.
    """
    if not side.certain or not side.tokens:
        return None
    reader = _Reader(side.tokens, units)
    try:
        found = reader.sum()
        return found if reader.at == len(side.tokens) else None
    except (Unreadable, ZeroDivisionError):
        return None


class _Reader:
    def __init__(self, tokens: list[Token], units: bool) -> None:
        self.tokens, self.units, self.at, self.depth = tokens, units, 0, 0

    def peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def sign(self, *texts: str) -> str:
        token = self.peek()
        if token and token.kind == "sign" and not token.unit and token.text in texts:
            self.at += 1
            return token.text
        return ""

    def sum(self) -> Polynomial:
        self.depth += 1
        if self.depth > 30:
            raise Unreadable
        found = self.product()
        while sign := self.sign("+", "-"):
            other = self.product()
            if self.units and _apart(found, other):
                raise Mixed
            found = added(found, other, 1 if sign == "+" else -1)
        self.depth -= 1
        return found

    def product(self) -> Polynomial:
        found = self.factor()
        divided = False
        while True:
            if sign := self.sign("*", "/"):
                divided = sign == "/"
                other = self.factor()
                found = multiplied(found, other) if sign == "*" else divided_by(found, other)
                continue
            token = self.peek()
            if token and not token.unit and not token.spaced and (token.kind == "letter" or token.text == "("):
                if divided:
                    raise Unreadable  # 1/2x: of x, or below it?
                found = multiplied(found, self.factor())
                continue
            return found

    def factor(self) -> Polynomial:
        if sign := self.sign("+", "-"):
            found = self.factor()
            return found if sign == "+" else added({}, found, -1)
        found = self.atom()
        if self.sign("^", "**"):
            exponent = constant(self.factor())
            if exponent is None or exponent.denominator != 1 or abs(exponent) > 100:
                raise Unreadable
            found = power(found, int(exponent))
        return found

    def atom(self) -> Polynomial:
        token = self.peek()
        if token is None:
            raise Unreadable
        self.at += 1
        if token.value is not None:
            found: Polynomial = {ONE: token.value} if token.value else {}
        elif token.text == "(":
            found = self.sum()
            if not self.sign(")"):
                raise Unreadable
        elif token.kind == "letter" and not token.unit:
            following = self.peek()
            if following and following.text == "(" and not following.spaced:
                raise Unreadable  # f(3)
            found = {((token.text, 1),): Fraction(1)}
        else:
            raise Unreadable
        while mark := self.sign("%", "!"):
            if mark == "%":
                found = {monomial: value / 100 for monomial, value in found.items()}
            else:
                whole = constant(found)
                if whole is None or whole.denominator != 1 or not 0 <= whole <= 200:
                    raise Unreadable
                product = 1
                for number in range(2, int(whole) + 1):
                    product *= number
                found = {ONE: Fraction(product)}
        return self.unit_of(found)

    def unit_of(self, found: Polynomial) -> Polynomial:
        """Times the units that follow."""
        named: list[Token] = []
        while (token := self.peek()) and token.unit:
            named.append(token)
            self.at += 1
        raised = next((token.value for token in named if token.value is not None), None)
        exponent = 1 if raised is None else int(raised) if raised.denominator == 1 else 1
        direction = 1
        for token in named:
            word = token.text.lower()
            if word == "/":
                direction = -1
            elif word in MULTIPLES:
                found = multiplied(found, {ONE: Fraction(MULTIPLES[word])})
            elif self.units and "per" not in {other.text.lower() for other in named} and (unit := _unit(token.text)):
                dimension, factor = unit
                size = direction * exponent
                found = multiplied(found, {((f"[{dimension}]", size),): factor**size})
        return found


def _apart(one: Polynomial, other: Polynomial) -> bool:
    """Both have units, and not the same ones."""
    dimensions = [
        {tuple(part for part in monomial if part[0].startswith("[")) for monomial in found} for found in (one, other)
    ]
    return all(found and ONE not in found for found in dimensions) and dimensions[0] != dimensions[1]


def constant(found: Polynomial) -> Fraction | None:
    """The value of a polynomial without unknowns."""
    if not found:
        return Fraction(0)
    return found.get(ONE) if len(found) == 1 else None


def added(left: Polynomial, right: Polynomial, times: int | Fraction = 1) -> Polynomial:
    found = dict(left)
    for monomial, value in right.items():
        total = found.get(monomial, Fraction(0)) + times * value
        if total:
            found[monomial] = total
        else:
            found.pop(monomial, None)
    return _small(found)


def multiplied(left: Polynomial, right: Polynomial) -> Polynomial:
    if len(left) * len(right) > MOST_TERMS:
        raise Unreadable
    found: Polynomial = {}
    for one, a in left.items():
        for other, b in right.items():
            found = added(found, {_product(one, other): a * b})
    return found


def _product(one: Monomial, other: Monomial) -> Monomial:
    exponents = dict(one)
    for name, exponent in other:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted((name, exponent) for name, exponent in exponents.items() if exponent))


def divided_by(left: Polynomial, right: Polynomial) -> Polynomial:
    if not right:
        raise ZeroDivisionError
    if len(right) > 1:
        raise Unreadable
    [(monomial, value)] = right.items()
    return multiplied(left, {tuple((name, -exponent) for name, exponent in monomial): 1 / value})


def power(base: Polynomial, exponent: int) -> Polynomial:
    if exponent < 0:
        return divided_by({ONE: Fraction(1)}, power(base, -exponent))
    if len(base) <= 1:
        if base and exponent * max(_bits(value) for value in base.values()) > MOST_BITS:
            raise Unreadable
        if not base:
            return {ONE: Fraction(1)} if exponent == 0 else {}
        [(monomial, value)] = base.items()
        return {tuple((name, size * exponent) for name, size in monomial if size * exponent): value**exponent}
    found: Polynomial = {ONE: Fraction(1)}
    for _ in range(exponent):
        found = multiplied(found, base)
    return found


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _small(found: Polynomial) -> Polynomial:
    if len(found) > MOST_TERMS or any(_bits(value) > MOST_BITS for value in found.values()):
        raise Unreadable
    return found


# -- checking


class Notebook:
    """What a solution has established so far: the values of its unknowns, and the equation that it works on.

    Args:
        given: the question. Its equations may be taken up at any time.
    """

    def __init__(self, given: str = "") -> None:
        self.values: dict[str, Fraction] = {}
        self.open: Polynomial | None = None
        """The last equation with unknowns, as a polynomial that is 0."""
        self.given = [one for equation in equations(given) for one in _differences(equation)]
        self.rounded: set[Fraction] = set()
        """Results that were written rounded: what is calculated with them is not exact."""

    def check(self, equation: Equation) -> list[Check]:
        """A check for each pair of neighbouring sides; what it establishes is remembered."""
        found = []
        for index, relation in enumerate(equation.relations):
            left, right = equation.sides[index], equation.sides[index + 1]
            if left.tokens and right.tokens:
                text = f"{equation.parts[index]} {relation} {equation.parts[index + 1]}"
                kind, outcome = self._pair(left, right, relation)
                found.append(Check(kind, text, outcome))
        return found

    def _pair(self, left: Side, right: Side, relation: str) -> tuple[Kind, Outcome]:
        try:
            a, b = polynomial(left), polynomial(right)
            if a is None or b is None:
                return "arithmetic", "unknown"
            x, y = constant(a), constant(b)
            if x is None or y is None:
                return self._algebra(a, b) if relation == "=" else ("arithmetic", "unknown")
            return self._numbers(left, right, x, y, relation)
        except Unreadable:
            return "arithmetic", "unknown"

    def _numbers(self, left: Side, right: Side, x: Fraction, y: Fraction, relation: str) -> tuple[Kind, Outcome]:
        mixed, same = _with_units(left, right)
        if mixed:
            return "units", "bad"
        if left.bare and right.bare and (left.words or right.words):
            # 1 hour = 60 minutes can be told, 10 apples = 5 oranges not
            return "units", "unknown" if same is None else "ok" if same else "bad"
        if x == y or same:
            return "arithmetic", "ok"
        if _rounds(left, y, relation) or _rounds(right, x, relation):
            self.rounded |= {x, y, *left.numbers[-1:], *right.numbers[-1:]}
            return "arithmetic", "ok"
        if relation == "≈" or (left.bare and left.words):
            return "arithmetic", "unknown"  # an estimate; "3 hours = 3 * 60 = 180 minutes"
        if _percent(left) == y or _percent(right) == x:
            return "arithmetic", "ok"
        inexact = self.rounded & {*left.numbers, *right.numbers}
        if inexact and abs(x - y) <= abs(y) / 100:
            return "arithmetic", "unknown"
        return "arithmetic", "bad"

    def _algebra(self, a: Polynomial, b: Polynomial) -> tuple[Kind, Outcome]:
        whole = added(a, b, -1)
        if not whole:
            return "equivalence", "ok"  # an identity
        filled = substituted(whole, self.values)
        if (value := constant(filled)) is not None and not _defines(a, b):
            return "substitution", "ok" if value == 0 else "bad"
        if defined := _defines(a, b):
            return self._define(*defined)
        before, self.open = self.open, whole
        if any(_proportional(whole, one) for one in self.given):
            return "equivalence", "unknown"  # the question says so
        return "equivalence", _follows(whole, substituted(before, self.values) if before else None)

    def _define(self, name: str, expression: Polynomial) -> tuple[Kind, Outcome]:
        value = constant(substituted(expression, self.values))
        if value is None:
            return "substitution", "unknown"
        outcome: Outcome = "unknown"
        if self.open is not None and {letter for one in self.open for letter, _ in one} - self.values.keys() <= {name}:
            others = {letter: number for letter, number in self.values.items() if letter != name}
            rest = constant(substituted(self.open, others | {name: value}))
            if rest is not None:
                outcome = "ok" if rest == 0 else "unknown" if value in self.rounded else "bad"
        elif name in self.values and self.values[name] == value:
            outcome = "ok"
        self.values[name] = value
        return "substitution", outcome


def _differences(equation: Equation) -> list[Polynomial]:
    found = []
    for left, right in zip(equation.sides, equation.sides[1:], strict=False):
        try:
            a, b = polynomial(left), polynomial(right)
            if a is not None and b is not None:
                found.append(added(a, b, -1))
        except Unreadable:
            continue
    return found


def _defines(a: Polynomial, b: Polynomial) -> tuple[str, Polynomial] | None:
    """Name and expression of `x = ...`, where the expression does not hold x."""
    for one, other in ((a, b), (b, a)):
        if len(one) == 1:
            [(monomial, value)] = one.items()
            if len(monomial) == 1 and monomial[0][1] == 1 and value == 1:
                name = monomial[0][0]
                if not any(letter == name for part in other for letter, _ in part):
                    return name, other
    return None


def substituted(found: Polynomial, values: dict[str, Fraction]) -> Polynomial:
    """With values in the place of unknowns."""
    result: Polynomial = {}
    for monomial, factor in found.items():
        rest: list[tuple[str, int]] = []
        for name, exponent in monomial:
            if name not in values:
                rest.append((name, exponent))
            elif values[name] == 0 and exponent < 0:
                raise Unreadable
            else:
                factor *= values[name] ** exponent
        if factor:
            result = added(result, {tuple(rest): factor})
    return result


def _follows(whole: Polynomial, before: Polynomial | None) -> Outcome:
    """Whether an equation says what the one before it said. Of linear ones in one unknown that can always be told."""
    if not before:
        return "unknown"
    if _proportional(whole, before):
        return "ok"
    roots = _root(whole), _root(before)
    if roots[0] and roots[1] and roots[0][0] == roots[1][0]:
        return "bad"  # two linear equations in the same unknown, and other solutions
    return "unknown"


def _proportional(one: Polynomial, other: Polynomial) -> bool:
    if not one or one.keys() != other.keys():
        return False
    return len({value / other[monomial] for monomial, value in one.items()}) == 1


def _root(found: Polynomial) -> tuple[str, Fraction] | None:
    """The unknown of a linear equation and its solution."""
    letters = {name for monomial in found for name, _ in monomial}
    if len(letters) != 1:
        return None
    [name] = letters
    linear = ((name, 1),)
    if not found.keys() <= {ONE, linear}:
        return None
    return name, -found.get(ONE, Fraction(0)) / found[linear]


def _with_units(left: Side, right: Side) -> tuple[bool, bool | None]:
    """Whether a side adds what cannot be added, and whether both are the same if their units count; None: not to be told."""
    values = []
    for side in (left, right):
        try:
            values.append(polynomial(side, units=True))
        except Mixed:
            named = [_unit(word) for word in side.words]
            if all(named) and len(side.words) >= 2:
                return True, None
            values.append(None)
        except Unreadable:
            values.append(None)
    if (
        not all(any(_unit(word) for word in side.words) for side in (left, right))
        or values[0] is None
        or values[1] is None
    ):
        return False, None
    return False, not added(values[0], values[1], -1)


def _rounds(written: Side, exact: Fraction, relation: str) -> bool:
    """Whether a written number is the exact one, rounded or cut off at its last decimal."""
    tokens = [token for token in written.tokens if not token.unit]
    negative = bool(tokens) and tokens[0].text == "-"
    tokens = tokens[1:] if negative else tokens
    percent = len(tokens) == 2 and tokens[1].text == "%"
    if not tokens or tokens[0].value is None or (len(tokens) > 1 and not percent):
        return False
    decimals = len(tokens[0].text.partition(".")[2])
    if decimals == 0 and not percent and relation == "=":
        return False
    place = Fraction(1, 10**decimals) * (Fraction(1, 100) if percent else 1)
    value = tokens[0].value * (-1 if negative else 1) * (Fraction(1, 100) if percent else 1)
    distance = value - exact
    cut_off = abs(distance) < place and (distance <= 0 if exact >= 0 else distance >= 0)
    return abs(distance) * 2 <= place or cut_off


def _percent(side: Side) -> Fraction | None:
    """The number before a percent sign, for those who write "0.2 * 100 = 20%"."""
    tokens = [token for token in side.tokens if not token.unit]
    return tokens[0].value if len(tokens) == 2 and tokens[1].text == "%" else None
