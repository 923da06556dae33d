"""Personal data and secrets in rows: patterns with check digits, names where Presidio is there, and leaks from private
rows.

Practice, no paper; the entropy limit is ours. Promised: what has a check digit is reported only where the digit is
right; a value that a private source row holds is a leak, whatever its type. Not promised: names without a model that
knows them (`presidio`), and with one in other languages than English; street addresses; national numbers of countries
that are not in `NUMBERS`; pictures of text.

A name may be anybody's in a story, so rows with names have a score and a reason of their own (`person_named`), apart from
what is surely personal (`personal_data`). Places, organisations and groups are counted and masked; alone they concern no
row.

Reports hold types and places, never the values themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from math import log2
from typing import Any, Literal, Protocol

from gristmill import packages
from gristmill.ops import parts_of_speech
from gristmill.ops.text import WORD
from gristmill.quality.contamination import fields
from gristmill.quality.intervals import proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score
from gristmill.quality.verbatim import Windows

CHECK = "pii-check"
Action = Literal["flag", "mask", "drop", "pseudonymise"]
NO_NAMES = "Names, addresses and organisations are not covered: no model for them was given."
ENGLISH = "Names are looked for by a model of English, which takes other words for names and names for other words."

RULES = (
    Rule(check=CHECK, score="leaks", reason="private_leak", least=1),
    Rule(check=CHECK, score="pii", reason="personal_data", least=0.5),
    Rule(check=CHECK, score="names", reason="person_named", least=0.5),
)
AROUND = frozenset({"location", "organisation", "group"})
"""Types that say nothing of a person by themselves."""

RESERVED = ("example.com", "example.org", "example.net", "example.edu", "example", "test", "invalid", "localhost")
"""Domains that belong to nobody (RFC 2606 and 6761)."""
BOOST, NEAR = 0.35, 48
"""What a context word adds to a score, and how many characters before the value it may stand. Ours."""


@dataclass(frozen=True)
class Span:
    """A finding in one text."""

    type: str
    start: int
    end: int
    score: float
    """0 to 1. Without a context word, what could as well be a plain number stays below 0.5."""
    detector: str


# Check digits


def luhn(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812), of cards and others."""
    total = 0
    for place, sign in enumerate(reversed(digits)):
        number = int(sign) * (1 + place % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0


IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip


def iban(code: str) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97 with the first four signs at the end."""
    code = code.upper()
    if IBAN_LENGTH.get(code[:2]) != len(code):
        return False
    return int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _nhs(n: str) -> bool:
    return (11 - _weighted(n, range(10, 1, -1)) % 11) % 11 == int(n[9])


def _bsn(n: str) -> bool:
    return _weighted(n, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and n != "0" * 9


def _dni(n: str) -> bool:
    number = n[:-1].upper().translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == n[-1].upper()


def _nir(n: str) -> bool:
    number = n[:13].upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(number) % 97 == int(n[13:])


def _pesel(n: str) -> bool:
    month, day = int(n[2:4]) % 20, int(n[4:6])
    return 1 <= month <= 12 and 1 <= day <= 31 and _weighted(n, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _cpf(n: str) -> bool:
    checks = [_weighted(n, range(length, 1, -1)) * 10 % 11 % 10 for length in (10, 11)]
    return checks == [int(n[9]), int(n[10])] and len(set(n)) > 1


def _steuer(n: str) -> bool:
    """ISO 7064 mod 11,10; of the first ten digits one stands twice or three times."""
    if n[0] == "0" or Counter(n[:10]).most_common(1)[0][1] not in (2, 3):
        return False
    left = 10
    for digit in n[:10]:
        left = (left + int(digit)) % 10 or 10
        left = left * 2 % 11
    return (11 - left) % 10 == int(n[10])


ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10,
    22, 25,
    24, 23,
), strict=True))  # fmt: skip


def _fiscale(n: str) -> bool:
    n = n.upper()
    even = sum(int(sign) if sign.isdigit() else ord(sign) - 65 for sign in n[1:15:2])
    return chr(65 + (even + sum(ODD[sign] for sign in n[0:15:2])) % 26) == n[15]


def _resident(n: str) -> bool:
    """China: ISO 7064 mod 11-2."""
    return "10X98765432"[_weighted(n, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11] == n[17].upper()


def _verhoeff(n: str) -> bool:
    """India: the check of the dihedral group of ten."""

    def times(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    turn = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    state = 0
    for place, sign in enumerate(reversed(n)):
        digit = int(sign)
        for _ in range(place % 8):
            digit = turn[digit]
        state = times(state, digit)
    return state == 0


def _ssn(n: str) -> bool:
    """United States: no check digit, but groups that were never given out."""
    return n[:3] not in ("000", "666") and n[0] != "9" and n[3:5] != "00" and n[5:] != "0000"


@dataclass(frozen=True)
class National:
    """A country's number for a person."""

    country: str
    pattern: str
    check: Callable[[str], bool]
    score: float
    """Without context: low where one plain number in ten or twenty passes the check."""


NUMBERS = {
    "us_ssn": National("US", r"\d{3}-\d{2}-\d{4}", _ssn, 0.6),
    "gb_nhs": National("GB", r"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs, 0.2),
    "nl_bsn": National("NL", r"\d{9}", _bsn, 0.2),
    "es_dni": National("ES", r"[XYZ]?\d{7,8}-?[A-Z]", _dni, 0.6),
    "fr_nir": National("FR", r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _nir, 0.7),
    "pl_pesel": National("PL", r"\d{11}", _pesel, 0.2),
    "br_cpf": National("BR", r"\d{3}\.\d{3}\.\d{3}-\d{2}", _cpf, 0.8),
    "de_tax": National("DE", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _steuer, 0.2),
    "it_fiscale": National("IT", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", _fiscale, 0.8),
    "cn_resident": National(
        "CN", r"[1-8]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]", _resident, 0.7
    ),
    "in_aadhaar": National("IN", r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", _verhoeff, 0.3),
}


# Patterns

JOINED = r"\dA-Za-z_\u00c0-\u052f"
"""Signs (Latin, Greek, Cyrillic, digits) beside which a value is only a part of something longer. Signs of Chinese, Thai or
Korean are written up to a value without a space, and end it."""
CONTEXT = {
    "phone": "phone|tel|telephone|mobile|cell|call|fax|whatsapp|sms|telefon|téléphone|teléfono|handy",
    "card": "card|visa|mastercard|amex|credit|debit|karte|carte|tarjeta",
    "coordinates": "coordinates?|latitude|longitude|lat|lon|lng|gps|located|location|position",
    "national_id": "id|ssn|social security|nhs|bsn|dni|nie|nir|sécu|pesel|cpf|steuer\\w*|tax|codice fiscale|aadhaar"
    "|passport"
    "|identity|national|insurance|resident",
    "secret": "key|token|secret|credential|auth|authorization|bearer|apikey",
    "ip": "ip|host|server|address|from|client|login",
}
PREFIXES = (
    r"sk-(?:proj-|ant-(?:api\d+-)?)?[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|hf_[A-Za-z]{30,}"
    r"|npm_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}|ASIA[A-Z0-9]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{20,}"
    r"|SG\.[\w-]{16,}\.[\w-]{20,}"
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}|pypi-[\w-]{40,}"
)
DATE = (
    r"(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}"
    r"|\d{1,2}(?:st|nd|rd|th)?\.? (?:of )?[A-Za-zäéû]{3,9},? (?:19|20)\d{2}"
    r"|[A-Z][a-z]{2,8}\.? \d{1,2}(?:st|nd|rd|th)?,? (?:19|20)\d{2})"
)
LETTER = r"\dA-Za-z\u00c0-\u052f"
EMAIL = re.compile(
    rf"(?<![{JOINED}.+-])[{LETTER}](?:[{JOINED}.+%'-]{{0,62}}[{JOINED}+-])?@"
    rf"(?:[{LETTER}](?:[{LETTER}-]{{0,61}}[{LETTER}])?\.)+[A-Za-z\u00c0-\u052f]{{2,24}}(?![{JOINED}-])"
)
URL_LOGIN = re.compile(
    rf"(?<![{JOINED}])[a-z][a-z0-9+.-]{{1,15}}://[^\s/:@\"'<>]{{1,80}}:[^\s/@\"'<>]{{1,80}}"
    rf"@[{JOINED}.:\[\]-]*[{JOINED}\]]",
    re.IGNORECASE,
)
PHONE = re.compile(
    rf"(?<![{JOINED}.+/-])"
    r"(?:(?P<abroad>(?:\+|00)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4})"
    r"|(?P<us>(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4})"
    r"|(?P<trunk>0\d{1,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}))"
    rf"(?![{JOINED}-]|\.\d)"
)
NO_PHONE = re.compile(r"^\d{4}-\d\d-\d\d$|^\d\d-\d\d-\d{4}$|555[-. ]01\d\d$")
"""Dates, and 555-0100 to 555-0199: kept free for stories in the North American plan."""
TRUNK = frozenset({"GB", "DE", "FR", "NL", "IT", "AT", "CH", "BE", "IE", "IN", "AU"})
CARD = re.compile(rf"(?<![{JOINED}.-])\d(?:[ -]?\d){{12,18}}(?![{JOINED}-]|\.\d)")
IBAN = re.compile(
    rf"(?<![{JOINED}])[A-Za-z]{{2}}\d{{2}}(?: ?[A-Za-z0-9]{{4}}){{2,7}}(?: ?[A-Za-z0-9]{{1,3}})?(?![{JOINED}])"
)
IPV4 = re.compile(rf"(?<![{JOINED}.-])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![{JOINED}-]|\.\d)")
IPV6 = re.compile(rf"(?<![{JOINED}:.])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}[0-9A-Fa-f]{{0,4}}(?![{JOINED}:])")
VERSION = re.compile(r"(?:\bversion|\bEC|\bv|\bver\.?|\brelease|§|\bsection|\bchapter)\s*$", re.IGNORECASE)
BORN = re.compile(
    rf"\b(?:born|birth ?(?:day|date)|date of birth|dob|d\.o\.b\.|geboren|geb\.|née?"
    rf"|nacid[oa])\b[^\n.;]{{0,40}}?(?P<date>{DATE})",
    re.IGNORECASE,
)
DEGREES = re.compile(
    rf"(?<![{JOINED}.])"
    r"\d{1,3}°\s?\d{1,2}[′']\s?(?:\d{1,2}(?:\.\d+)?[″\"])?\s?[NS][,;]?\s+\d{1,3}°\s?\d{1,2}[′']\s?"
    r"(?:\d{1,2}(?:\.\d+)?[″\"])?\s?[EW]"
    rf"(?![{JOINED}])"
)
DECIMALS = re.compile(
    rf"(?<![{JOINED}.,-])"
    r"(?P<lat>[-+]?\d{1,2}\.\d{4,})°?\s?(?P<ns>[NS])?\s?[,;/]\s?(?P<lon>[-+]?\d{1,3}\.\d{4,})°?\s?(?P<ew>[EW])?"
    rf"(?![{JOINED}]|\.\d)"
)
KEY = re.compile(rf"(?<![{JOINED}-])(?a:{PREFIXES})(?![{JOINED}-])")
PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?"
    r"-----(?:[\s\S]{0,20000}?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----)?"
)
BLOB = re.compile(
    rf"(?<![{JOINED}+/=.-])(?=[A-Za-z0-9_+/-]*\d)(?=[A-Za-z0-9_+/-]*[A-Za-z])[A-Za-z0-9_+/-]{{20,512}}={{0,2}}"
    rf"(?![{JOINED}+/=-])"
)
PASSWORD = re.compile(
    r"(?<![A-Za-z])(?:\w{0,30}_)?(?:password|passwd|passwort|passphrase|pwd|contraseña"
    r"|mot de passe)[\"']?\s{0,3}(?::=|=|:|\bis\b)\s{0,3}"
    r"(?P<quote>[\"'])?(?P<value>(?(quote)[^\"'\n]{4,64}|[^\s\"'<>(){}\[\],;]{6,64}))(?(quote)[\"'])",
    re.IGNORECASE,
)
NO_PASSWORD = re.compile(
    r"str|none|null|true|false|string|required|password\w*|passwd|pwd|your\w*|my_?\w*|change_?me\w*|example\w*"
    r"|secret|input\b.*"
    r"|os\.environ.*|getenv.*|getpass.*|self\..*|request\..*|\*+|x+|\.+|\$.*|%.*|#.*|.*\$\{.*",
    re.IGNORECASE,
)


def entropy(text: str) -> float:
    """Shannon entropy of its signs in bits a sign; 0.0 for no text."""
    counts = Counter(text)
    return -sum(n / len(text) * log2(n / len(text)) for n in counts.values()) if len(counts) > 1 else 0.0


def detect(
    text: str,
    *,
    locale: str = "US",
    entropy_bits: float = 3.5,
    allow: Collection[str] = (),
    more: Callable[[str], Iterable[Span]] | None = None,
    score_threshold: float = 0.5,
) -> list[Span]:
    """All findings of a text in their order, without overlaps and without what is allowed.

    Args:
        locale: a country (ISO 3166, two letters): its phones and national numbers need no context word.
        entropy_bits: of keys, in bits a sign over 20 signs or more.
        allow: values that are no finding (a public figure, a hot line), and domains that e-mail may have; any case.
        more: further detectors, as `presidio_spans`.
        score_threshold: findings from here on win over those below, where both overlap.
    """
    spans = [*_patterns(text, locale.upper(), entropy_bits), *(more(text) if more else ())]
    allowed = {value.lower() for value in allow}
    kept = [span for span in spans if not _allowed(text[span.start : span.end], span.type, allowed)]
    return merge(kept, score_threshold)


def merge(spans: Iterable[Span], score_threshold: float = 0.5) -> list[Span]:
    """Of overlapping spans the longest, of equally long ones that with the highest score; surer ones before doubtful
    ones, and all others before a model's, so that a guess about a whole line hides no certain finding within it."""
    found: list[Span] = []
    for span in sorted(
        spans,
        key=lambda s: (
            s.score < score_threshold,
            s.detector == MODEL,
            s.start - s.end,
            -s.score,
            s.start,
            s.type,
            s.detector,
        ),
    ):
        if all(span.end <= other.start or other.end <= span.start for other in found):
            found.append(span)
    return sorted(found, key=lambda span: span.start)


def _allowed(value: str, kind: str, allowed: Collection[str]) -> bool:
    value = value.lower()
    if value in allowed:
        return True
    if kind not in ("email", "url_login"):
        return False
    domain = re.split(r"[:/]", value.rpartition("@")[2])[0]
    return any(domain == one or domain.endswith(f".{one}") for one in (*RESERVED, *allowed))


def _patterns(text: str, locale: str, bits: float) -> Iterable[Span]:
    for kind, pattern in (("email", EMAIL), ("url_login", URL_LOGIN), ("private_key", PRIVATE_KEY)):
        yield from (Span(kind, *match.span(), 0.95, "pattern") for match in pattern.finditer(text))
    yield from _numbers(text, locale)
    yield from _addresses(text)
    yield from _secrets(text, bits)
    yield from (Span("birth_date", *match.span("date"), 0.8, "pattern") for match in BORN.finditer(text))
    yield from (Span("coordinates", *match.span(), 0.8, "pattern") for match in DEGREES.finditer(text))
    for match in DECIMALS.finditer(text):
        if abs(float(match["lat"])) <= 90 and abs(float(match["lon"])) <= 180:
            score = 0.8 if match["ns"] and match["ew"] else _raised(0.3, "coordinates", text, match)
            yield Span("coordinates", *match.span(), score, "pattern")


def _numbers(text: str, locale: str) -> Iterable[Span]:
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if digits[0] != "0" and len(set(digits)) > 1 and luhn(digits):
            spaced = re.fullmatch(r"\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -]?)\d{6}\2\d{4,5}", match[0])
            known = digits[0] in "3456" and spaced is not None
            yield Span("card", *match.span(), _raised(0.85 if known else 0.3, "card", text, match), "luhn")
    for match in IBAN.finditer(text):
        if (end := _iban_end(match[0])) is not None:
            yield Span("iban", match.start(), match.start() + end, 0.95, "mod97")
    persons = list(_national_ids(text, locale))
    yield from persons
    # A PESEL of 2000 begins like a call abroad. Where its check holds and a word or the country speaks for it, it is no
    # phone but with a word of its own.
    sure = {(span.start, span.end) for span in persons if span.score >= 0.5}
    for match in PHONE.finditer(text):
        size = len(re.sub(r"\D", "", match[0]))
        if 7 <= size <= 15 and not NO_PHONE.search(match[0]):
            at_home = (match["us"] and locale in ("US", "CA")) or (match["trunk"] and locale in TRUNK)
            base = 0.7 if (match["abroad"] or at_home) and match.span() not in sure else 0.3
            yield Span("phone", *match.span(), _raised(base, "phone", text, match), "pattern")


def _national_ids(text: str, locale: str) -> Iterable[Span]:
    for name, number in NUMBERS.items():
        for match in re.finditer(rf"(?<![{JOINED}.-])(?:{number.pattern})(?![{JOINED}-]|\.\d)", text):
            if number.check(re.sub(r"[ .-]", "", match[0])):
                base = number.score + BOOST * (number.country == locale)
                yield Span("national_id", *match.span(), _raised(base, "national_id", text, match), name)


def _iban_end(text: str) -> int | None:
    """Where the code ends in what the pattern took, which may have run on into the next word."""
    length = IBAN_LENGTH.get(text[:2].upper(), 0)
    places = [place for place, sign in enumerate(text) if sign != " "]
    if not length or len(places) < length:
        return None
    end = places[length - 1] + 1
    if end < len(text) and text[end] != " ":
        return None
    return end if iban(text[:end].replace(" ", "")) else None


def _addresses(text: str) -> Iterable[Span]:
    for pattern in (IPV4, IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            # Private, loopback and documentation ranges name no one.
            written = sum(map(bool, re.split(r"[.:]", match[0])))  # "::3" is a slice in Python, not a host
            if (
                address.is_global
                and written > 2
                and not VERSION.search(text[max(0, match.start() - 12) : match.start()])
            ):
                yield Span("ip", *match.span(), _raised(0.6, "ip", text, match), f"ipv{address.version}")


def _secrets(text: str, bits: float) -> Iterable[Span]:
    for match in KEY.finditer(text):
        if entropy(match[0]) >= bits:
            yield Span("api_key", *match.span(), 0.95, "prefix")
    for match in BLOB.finditer(text):
        if entropy(match[0]) >= bits and not _wordy(match[0]):
            yield Span("api_key", *match.span(), _raised(0.3, "secret", text, match), "entropy")
    for match in PASSWORD.finditer(text):
        plain = match["quote"] is None and re.search(r"[\d!@#$%^&*+=?]", match["value"]) is None
        if not plain and not NO_PASSWORD.fullmatch(match["value"]):
            yield Span("password", *match.span("value"), 0.8, "assignment")


def _wordy(text: str) -> bool:
    """A path or a name of several words: long, but its parts are words, not chance."""
    parts = [part for part in re.split(r"[_/+-]|(?<=[a-z])(?=[A-Z])", text.rstrip("=")) if part]
    return sum(len(part) for part in parts if part.isalpha() and len(part) > 2) > len(text) / 2


def _raised(score: float, kind: str, text: str, match: re.Match[str]) -> float:
    before = text[max(0, match.start() - NEAR) : match.start()]
    found = _context(kind).search(before)
    return round(min(1.0, score + BOOST * bool(found)), 4)


@cache
def _context(kind: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{CONTEXT[kind]})(?![A-Za-z])", re.IGNORECASE)


class Analyzer(Protocol):
    """What `presidio_analyzer.AnalyzerEngine` has."""

    def analyze(self, text: str, language: str, entities: list[str]) -> list[Any]: ...


MODEL = "presidio"
PRESIDIO = {"PERSON": "name", "LOCATION": "location", "ORGANIZATION": "organisation", "NRP": "group"}
UNASKED = (
    "AGE", "CARDINAL", "DATE", "DATE_TIME", "EVENT", "FAC", "LANGUAGE", "LAW", "MONEY", "ORDINAL", "PERCENT", "PRODUCT",
    "QUANTITY", "TIME", "WORK_OF_ART",
)  # fmt: skip
"""What the model finds besides; each would be a warning in the log."""
PIECE = 50_000
"""Characters that the model reads at once: spaCy refuses a million, and the memory for many is much."""
ALONE = re.compile("[\ud800-\udfff]")


def presidio_spans(engine: Analyzer, *, language: str = "en", least: float = 0.4) -> Callable[[str], list[Span]]:
    """A detector for `more` from a Presidio engine: names, places, organisations, groups.

    Only what the patterns here cannot know is asked of it; its own e-mails, cards and phones overlap with ours.

    Args:
        least: its findings below this score are left out: of its model they are mostly wrong.
    """

    def spans(text: str) -> list[Span]:
        text = ALONE.sub("\ufffd", text)  # half a character is no UTF-8, which spaCy takes
        return [
            Span(PRESIDIO[one.entity_type], start + one.start, start + one.end, round(float(one.score), 4), MODEL)
            for start, piece in _pieces(text)
            for one in engine.analyze(text=piece, language=language, entities=list(PRESIDIO))
            if one.entity_type in PRESIDIO and one.score >= least
        ]

    return spans


def _pieces(text: str) -> Iterable[tuple[int, str]]:
    """A long text in pieces that end with a word, each with its place."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text):
            end = max(text.rfind(" ", start, end), text.rfind("\n", start, end)) + 1 or end
        if piece := text[start:end].strip() and text[start:end]:
            yield start, piece
        start = end


def presidio(model: str | None = None) -> Analyzer:
    """A Presidio engine over a spaCy model on disk. Nothing is downloaded.

    Args:
        model: a spaCy model's name or folder; the English one that is installed unless given.

    Raises:
        BadInput: presidio-analyzer, spaCy or a model is not installed.
    """
    packages.require("finding names", "presidio", "presidio_analyzer", "spacy")
    place = model or parts_of_speech.place()
    analyzer, engines, spacy = map(
        importlib.import_module, ("presidio_analyzer", "presidio_analyzer.nlp_engine", "spacy")
    )
    nlp = engines.SpacyNlpEngine(ner_model_configuration=engines.NerModelConfiguration(labels_to_ignore=list(UNASKED)))
    pipeline = spacy.load(place)
    nlp.nlp = {"en": pipeline}  # set, since its own loading would download what it does not find
    engine: Any = analyzer.AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    meta = pipeline.meta
    over = f"{meta['lang']}_{meta['name']} {meta['version']}"
    engine.about = f"presidio {packages.version('presidio-analyzer')} over {over}"
    found: Analyzer = engine
    return found


def presidio_is_there() -> bool:
    """Whether presidio-analyzer, spaCy and an English model are installed."""
    return importlib.util.find_spec("presidio_analyzer") is not None and parts_of_speech.installed()


# What is done with findings


class Tags:
    """Within a row, the same value of one type has the same tag: [EMAIL_1], [EMAIL_2]."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}

    def __call__(self, kind: str, value: str) -> str:
        numbers = self._numbers.setdefault(kind, {})
        return f"[{kind.upper()}_{numbers.setdefault(_normal(kind, value), len(numbers) + 1)}]"


def _normal(kind: str, value: str) -> str:
    """Two spellings of one value: groups of digits, and case where it says nothing."""
    if kind in ("phone", "card", "iban", "national_id"):
        return re.sub(r"[\s().+/-]", "", value).upper()
    return value if kind in ("api_key", "private_key", "password") else value.lower()


def mask(text: str, spans: Iterable[Span], tags: Tags | None = None) -> str:
    """The text with tags for values. The same `tags` for all fields of a row keep one value one tag."""
    tags = tags or Tags()
    return _replaced(text, spans, tags)


def pseudonymise(text: str, spans: Iterable[Span], seed: int = 0) -> str:
    """The text with made-up values of the same type and format; the same value becomes the same one in all rows.

    E-mail, hosts, phones and addresses come from ranges that belong to nobody. Where there are none (cards, accounts,
    national numbers), the check digit is made wrong, so that no surrogate can be somebody's.
    """
    return _replaced(text, spans, lambda kind, value: surrogate(kind, value, seed))


def _replaced(text: str, spans: Iterable[Span], name: Callable[[str, str], str]) -> str:
    parts, at = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[at : span.start], name(span.type, text[span.start : span.end])]
        at = span.end
    return "".join([*parts, text[at:]])


def surrogate(kind: str, value: str, seed: int = 0) -> str:
    """A made-up value, a function of type, value and seed alone."""
    name = f"{seed}\n{kind}\n{_normal(kind, value)}".encode("utf-8", "surrogatepass")
    rng = random.Random(int.from_bytes(blake2b(name, digest_size=8).digest(), "big"))
    match kind:
        case "email":
            return f"{_like(value.partition('@')[0], rng)}@example.com"
        case "url_login":
            scheme = value.partition("://")[0]
            return f"{scheme}://user{rng.randrange(10**4)}:{rng.randrange(10**8):08}@host.example.com"
        case "ip":
            if ":" in value:
                return f"2001:db8::{rng.randrange(16**4):x}:{rng.randrange(16**4):x}"  # RFC 3849
            return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randrange(1, 255)}"  # RFC 5737
        case "phone":
            return f"{rng.randrange(201, 990)}-555-01{rng.randrange(100):02}"
        case "coordinates":
            return re.sub(
                r"\d+(?=\.)|(?<!\.)\b\d+\b", "0", re.sub(r"(?<=\.)\d", lambda _: str(rng.randrange(10)), value)
            )
        case "birth_date":
            years = {4: lambda: str(rng.randrange(1940, 2005)), 2: lambda: str(rng.randrange(40, 99))}
            return re.sub(r"\d{4}|(?<=[./-])\d{2}$", lambda year: years[len(year[0])](), value, count=1)
        case "name" | "location" | "organisation" | "group":
            return f"{kind.capitalize()} {chr(65 + rng.randrange(26))}{rng.randrange(1000)}"
        case "card":
            return _broken(value, rng, lambda text: luhn(re.sub(r"\D", "", text)))
        case "iban":
            return _broken(value, rng, lambda text: iban(text.replace(" ", "")))
        case "national_id":
            checks = [number.check for number in NUMBERS.values() if _fits(number.pattern, value)]
            return _broken(value, rng, lambda text: any(check(re.sub(r"[ .-]", "", text)) for check in checks))
        case _:
            return _like(value, rng)


def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def _like(value: str, rng: random.Random) -> str:
    """The same pattern of letters, digits and marks."""
    signs = {"0": "0123456789", "a": "abcdefghijklmnopqrstuvwxyz", "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    kinds = ["0" if s.isdigit() else "A" if s.isupper() else "a" if s.isalpha() else s for s in value]
    return "".join(rng.choice(signs[kind]) if kind in signs else kind for kind in kinds)


def _broken(value: str, rng: random.Random, valid: Callable[[str], bool]) -> str:
    """The same with other digits after the first two, whose check is wrong."""
    while True:
        seen = 0
        signs = []
        for sign in value:
            seen += sign.isdigit()
            signs.append(str(rng.randrange(10)) if sign.isdigit() and seen > 2 else sign)
        if not valid(made := "".join(signs)) and made != value:
            return made


def act(
    data: Set, found: Found, action: Action = "flag", *, seed: int = 0, least: float = 0.5
) -> list[tuple[str, str] | None]:
    """Prompt and response of each row after the action; None for a row that is dropped, also for what its other texts hold.
    Leaks are dropped, unless flagged. To mask all texts of a row there is the recipe `pii-check`.

    Args:
        least: findings with at least this score.
    """
    kept: list[tuple[str, str] | None] = []
    for row, pair in enumerate(zip(data.prompts, data.responses, strict=True)):
        findings = [one for one in found.details.get(row, []) if one["score"] >= least]
        if action == "flag" or not findings:
            kept.append(pair)
        elif action == "drop" or any(one["leak"] for one in findings):
            kept.append(None)
        else:
            tags = Tags()
            texts = []
            for name, text in zip(FIELDS, pair, strict=True):
                spans = [
                    Span(one["type"], one["start"], one["end"], one["score"], one["detector"])
                    for one in findings
                    if one["field"] == name
                ]
                texts.append(mask(text, spans, tags) if action == "mask" else pseudonymise(text, spans, seed))
            kept.append((texts[0], texts[1]))
    return kept


def _texts(data: Set) -> list[dict[str, str]]:
    """Of each row prompt and response, and what else in it is text (hidden reasoning, a contact), by its column."""
    found = []
    for prompt, response, parts in zip(data.prompts, data.responses, fields(data), strict=True):
        more = {f"{name} column" if name in FIELDS else name: text for name, text in parts.items() if name != "text"}
        found.append({"prompt": prompt, "response": response} | more)
    return found


# Leaks from private rows

FIELDS = ("prompt", "response")
CODE = re.compile(rf"(?<![{JOINED}-])(?=[{JOINED}-]*\d)[A-Za-z0-9][{JOINED}]*(?:-[{JOINED}]+)*(?![{JOINED}-])")
RARE = 3
"""Rows of the source that may hold a code for it to point to anyone. Ours."""


class Source:
    """What the private rows hold: their windows of tokens, their values, their rare codes and columns."""

    def __init__(
        self, private: Set, leak_tokens: int, find: Callable[[str], list[Span]], allow: Collection[str] = ()
    ) -> None:
        self._allowed = {value.lower() for value in allow}
        rows = [[text for text in texts.values() if text] for texts in _texts(private)]
        self._windows = Windows([text for texts in rows for text in texts], leak_tokens)
        held: Counter[str] = Counter()
        self._values: set[str] = set()
        for texts in rows:
            held.update({code.lower() for text in texts for code in _codes(text)})
            for text in texts:
                self._values |= {_normal(s.type, text[s.start : s.end]) for s in _telling(find(text)) if s.score >= 0.5}
        self._rare = {code for code, rows in held.items() if rows <= RARE}
        self._columns = _columns(private)
        longest = max((len(value.split()) for value in self._columns), default=0)
        self._most = longest

    def spans(self, text: str, own: Sequence[Span]) -> list[Span]:
        """Leaks of a text, without overlaps: runs of tokens, values that were found, rare codes, values of columns.

        Args:
            own: all findings of the text, also those below a threshold.
        """
        leaks = [Span("copied", run.start, run.end, 1.0, "source:tokens") for run in self._windows.runs(text)]
        leaks += [
            replace(span, score=1.0, detector="source:value")
            for span in own
            if _normal(span.type, text[span.start : span.end]) in self._values
        ]
        leaks += [
            Span("code", *match.span(), 1.0, "source:code")
            for match in CODE.finditer(text)
            if match[0].lower() in self._rare
        ]
        leaks += self._named(text)
        return merge([leak for leak in leaks if text[leak.start : leak.end].lower() not in self._allowed])

    def _named(self, text: str) -> list[Span]:
        places = [match.span() for match in WORD.finditer(text)] if self._columns else []
        words = [text[a:b].lower() for a, b in places]
        return [
            Span("value", places[at][0], places[at + size - 1][1], 1.0, "source:column")
            for at in range(len(words))
            for size in range(1, min(self._most, len(words) - at) + 1)
            if " ".join(words[at : at + size]) in self._columns
        ]


def _telling(spans: Iterable[Span]) -> Iterable[Span]:
    """Without places, organisations and groups: a private row's city is everybody's."""
    return (span for span in spans if span.type not in AROUND)


def _codes(text: str) -> list[str]:
    return [match[0] for match in CODE.finditer(text) if len(match[0]) >= 6]


def _columns(private: Set) -> set[str]:
    """Short values of columns that tell rows apart (nine of ten differ): a name, a customer number, a street."""
    found: set[str] = set()
    for name in dict.fromkeys(name for record in private.records for name in record):
        values = [value for record in private.records if (value := _told(record.get(name)))]
        if name == "id" or not values or len(set(values)) < 0.9 * len(values):
            continue
        for value in values:
            words = [match[0].lower() for match in WORD.finditer(value)]
            if len(value) <= 80 and (
                1 < len(words) <= 8 or (any(sign.isdigit() for sign in value) and len(value) >= 5)
            ):
                found.add(" ".join(words))
    return found


def _told(value: Any) -> str:
    """A text, or a number long enough to be somebody's: fewer than six digits may be a count."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 100_000:
        return str(value)
    return value if isinstance(value, str) else ""


# The planted probe

CLEAN = (
    "The committee met on 12 May 2021 and closed at 17:30.",
    "Order 4111 1111 1111 1112 is not a card, since its check digit is wrong.",
    "ISBN 978-3-16-148410-0 is on page 1234567 of the list.",
    "Version 10.0.19045.3448 came before release 11.2.0.1.",
    "The commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixed it.",
    "Write to support@example.com or call 212-555-0143 in the story.",
    "The loop ran from 0.1234 to 0.5678 in 1000000 steps, 3.1416 each.",
    "def check(password: str, token=None) -> bool: return password == other",
    "GB29 NWBK 6016 1331 9268 18 has a wrong check.",
    "The host 192.168.0.1 answers on 127.0.0.1:8080 too.",
    "See https://www.w3.org/TR/2012/REC-xmlschema11-1-20120405/ for the text.",
    "He was born in the spring, in a year that nobody wrote down.",
)
"""Texts without personal data that come close to it."""
CHECKED = ("card", "iban", "national_id")
"""Types with a check digit: their recall on the probe is 1.0."""


def probes(rng: random.Random) -> list[tuple[str, str]]:
    """A type and a sentence that holds one made-up value of it; one a type, national numbers each their own."""

    def digits(n: int) -> str:
        return "".join(rng.choices("0123456789", k=n))

    def letters(n: int) -> str:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=n))

    def mixed(n: int) -> str:
        return "".join(rng.sample("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=n))

    card = _valid("4" + digits(14), luhn)
    bank = digits(18)
    account = next(code for n in range(2, 99) if iban(code := f"DE{n:02}{bank}"))
    return [
        ("email", f"Write to {letters(6)}.{letters(7)}@{letters(9)}.net today."),
        ("phone", f"My phone is +44 20 7{digits(3)} {digits(4)}."),
        ("phone", f"Call me at (415) 6{digits(2)}-{digits(4)}."),
        ("ip", f"The login came from 81.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}."),
        ("ip", f"The client was 2a02:8108:{rng.randrange(4096, 65535):x}:{rng.randrange(4096, 65535):x}::17."),
        ("url_login", f"It is at https://{letters(5)}:{mixed(9)}@{letters(8)}.net/x."),
        ("card", f"Charge {card[:4]} {card[4:8]} {card[8:12]} {card[12:]} for it."),
        ("iban", f"Pay into {account} please."),
        ("birth_date", f"She was born on {rng.randrange(10, 28)} March 19{rng.randrange(40, 99)} there."),
        (
            "coordinates",
            f"The house is located at {rng.randrange(10, 80)}.{digits(5)}, {rng.randrange(10, 80)}.{digits(5)}.",
        ),
        ("api_key", f"Use sk-{mixed(40)} for it."),
        ("private_key", f"-----BEGIN PRIVATE KEY-----\n{mixed(50)}\n-----END PRIVATE KEY-----"),
        ("password", f"password = '{letters(5)}{digits(3)}!'"),
        *(("national_id", f"My tax or identity number is {_national(name, rng)}.") for name in NUMBERS),
    ]


def _valid(start: str, check: Callable[[str], bool]) -> str:
    return next(text for last in "0123456789" if check(text := start + last))


SHAPES = {
    "us_ssn": "###-##-####", "gb_nhs": "##########", "nl_bsn": "#########", "es_dni": "########@",
    "pl_pesel": "####15#####", "fr_nir": "18#0675######%%", "br_cpf": "###.###.###-##", "de_tax": "###########",
    "it_fiscale": "RSSMRA8#A01H50#@", "cn_resident": "11010519#51231####", "in_aadhaar": "#### #### ####",
}  # fmt: skip


def _national(name: str, rng: random.Random) -> str:
    """A number by chance whose check holds: one in some hundred does."""
    pattern, check = re.compile(NUMBERS[name].pattern), NUMBERS[name].check
    while True:
        signs = [
            rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") if s == "@" else str(rng.randrange(10)) if s in "#%" else s
            for s in SHAPES[name]
        ]
        made = "".join(signs)
        if pattern.fullmatch(made) and check(re.sub(r"[ .-]", "", made)):
            return made


NAMED = (
    ("name", "My name is {} and I wrote the letter.", ("Robert Miller", "Susan Clark", "David Nguyen", "Maria Lopez")),
    ("location", "She moved to {} last winter.", ("Berlin", "Chicago", "Paris", "Toronto")),
    ("organisation", "He worked for {} until then.", ("Siemens", "Microsoft", "the World Bank", "Toyota")),
)
"""Probes of what only a model finds."""


def self_test(
    texts: Sequence[str], find: Callable[[str], list[Span]], seed: int, least: float, *, names: bool = False
) -> dict[str, Any]:
    """Planted values found, by type; and texts without any in which something was found.

    Each probe is put after a text of the set (or alone, for an empty set), on a line of its own.

    Args:
        names: names, places and organisations are planted as well.
    """
    rng, drawn = random.Random(seed), random.Random(seed)  # apart, so that names change no other probe
    hits: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    for _ in range(5):
        named = [(kind, form.format(drawn.choice(some))) for kind, form, some in NAMED] if names else []
        for kind, sentence in [*probes(rng), *named]:
            before = f"{rng.choice(texts)[:2000]}\n" if texts else ""
            spans = find(before + sentence)
            planted[kind] += 1
            hits[kind] += any(span.type == kind and span.score >= least and span.end > len(before) for span in spans)
    alarms = [text for text in CLEAN if any(span.score >= least for span in _telling(find(text)))]
    return {
        "recall": [
            {"type": kind, "planted": n, "found": hits[kind], "recall": hits[kind] / n} for kind, n in planted.items()
        ],
        "false_alarms": len(alarms),
        "clean": len(CLEAN),
    }


# The check


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    private: Set | None = None,
    locale: str = "US",
    allow: Collection[str] = (),
    entropy_bits: float = 3.5,
    leak_tokens: int = 8,
    score_threshold: float = 0.5,
    analyzer: Analyzer | None = None,
) -> Found:
    """Personal data and secrets of each row, and what comes from private rows. All texts of a row are looked at, the columns
    of hidden reasoning too.

    Args:
        reference: rows to compare rates with.
        private: rows that the set was made from and must not repeat: a shared run of `leak_tokens` tokens, or any
            value that points to someone, is a leak.
        allow: values and domains that are no finding.
        score_threshold: from here on a finding counts in the rates; rows keep the score of all.
        analyzer: `presidio(...)`, or what has its interface. Without it names are not covered.

    Scores: `pii` (the highest score of a finding but names, 0.0 without), `names` (that of a person's name; None where
    none were looked for), `findings` (how many reach the threshold), `leaks`; none of them counts places, organisations
    and groups.
    """
    more = presidio_spans(analyzer) if analyzer else None

    def find(text: str) -> list[Span]:
        return detect(
            text, locale=locale, entropy_bits=entropy_bits, allow=allow, more=more, score_threshold=score_threshold
        )

    settings = {
        "locale": locale, "entropy_bits": entropy_bits, "leak_tokens": leak_tokens, "score_threshold": score_threshold,
        "allow": len(allow), "names": getattr(analyzer, "about", MODEL) if analyzer else "", "private_rows": len(private or ()), "seed": seed,
    }  # fmt: skip
    found = Found(check=CHECK, settings=settings, notes=[ENGLISH] if analyzer else [NO_NAMES])
    source = Source(private, leak_tokens, find, allow) if private is not None else None
    if source is None:
        found.notes.append("No private rows were given, so leaks are not looked for.")
    kinds = _rows(found, data, find, source, score_threshold)
    if analyzer is None:
        found.rows["names"] = [None] * len(data)
    _rates(found, data, reference, kinds, find, score_threshold, source is not None)
    test = self_test(data.texts, find, seed, score_threshold, names=analyzer is not None)
    found.tables["planted"] = test["recall"]
    hits, n = sum(one["found"] for one in test["recall"]), sum(one["planted"] for one in test["recall"])
    low, high = proportion(hits, n) or (None, None)
    found.measures.append(
        Measure(name="planted_recall", value=hits / n, low=low, high=high, n=n, unit="planted values", better="high")
    )
    low, high = proportion(test["false_alarms"], test["clean"]) or (None, None)
    found.measures.append(
        Measure(
            name="false_alarms", value=test["false_alarms"] / test["clean"], low=low, high=high, n=test["clean"],
            unit="clean texts", better="low",
        )
    )  # fmt: skip
    return found


def _rows(
    found: Found,
    data: Set,
    find: Callable[[str], list[Span]],
    source: Source | None,
    least: float,
) -> list[set[str]]:
    """Fills in scores and details; the types of each row that reach the threshold."""
    scores: dict[str, list[Score]] = {"pii": [], "names": [], "findings": [], "leaks": []}
    kinds: list[set[str]] = []
    for row, texts in enumerate(_texts(data)):
        tags = Tags()
        listed: list[dict[str, Any]] = []
        for name, text in texts.items():
            own = find(text)
            leaks = source.spans(text, own) if source else []
            inside = [s for s in own if not any(leak.start < s.end and s.start < leak.end for leak in leaks)]
            for span in sorted([*inside, *leaks], key=lambda span: span.start):
                listed.append(
                    {"type": span.type, "field": name, "start": span.start, "end": span.end, "score": span.score,
                     "detector": span.detector, "leak": span in leaks, "tag": tags(span.type,
                     text[span.start : span.end])}
                )  # fmt: skip
        counted = [one for one in listed if one["score"] >= least]
        own_kinds = {*(one["type"] for one in listed)} - AROUND - {"name"}
        scores["pii"].append(max((one["score"] for one in listed if one["type"] in own_kinds), default=0.0))
        scores["names"].append(max((one["score"] for one in listed if one["type"] == "name"), default=0.0))
        scores["findings"].append(float(sum(one["type"] not in AROUND for one in counted)))
        scores["leaks"].append(float(sum(one["leak"] for one in listed)))
        kinds.append({one["type"] for one in counted})
        if listed:
            found.details[row] = listed
    found.rows = scores
    return kinds


def _rates(
    found: Found,
    data: Set,
    reference: Set | None,
    kinds: Sequence[set[str]],
    find: Callable[[str], list[Span]],
    least: float,
    leaks: bool,
) -> None:
    others = [
        {span.type for text in texts.values() for span in find(text) if span.score >= least}
        for texts in (_texts(reference) if reference is not None else ())
    ]

    def rate(name: str, hits: int, against: float | None) -> Measure:
        low, high = proportion(hits, len(data)) or (None, None)
        value = hits / len(data) if len(data) else None
        return Measure(
            name=name, value=value, low=low, high=high, reference=against, n=len(data), better="low",
            why="" if len(data) else "no rows",
        )  # fmt: skip

    def share(hits: int) -> float | None:
        return hits / len(others) if others else None

    plain, beside = ([one - AROUND - {"name"} for one in side] for side in (kinds, others))
    found.measures.append(rate("pii_rate", sum(map(bool, plain)), share(sum(map(bool, beside)))))
    for kind in sorted(set[str]().union(*kinds, *others)):
        against = share(sum(kind in one for one in others))
        found.measures.append(rate(f"pii_rate_{kind}", sum(kind in one for one in kinds), against))
    if leaks:
        hits = sum(score is not None and score >= 1 for score in found.rows["leaks"])
        found.measures.append(rate("leak_rate", hits, None))
    else:
        found.measures.append(Measure(name="leak_rate", value=None, why="no private rows were given"))
