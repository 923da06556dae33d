"""Licences and terms of use of what a set was made from, and whether it fits where it will be used.

Practice, and not legal advice: the table of rules (`licence.toml`) is ours. Promised: a row's licences are those of
all its parents and of every model that wrote in it; what is unknown is never free; a conflict names the parent that
causes it.
Not promised: that the table reads a licence as a court would, or that all parents were declared.

The cultural part is a rubric and its count here; who judges (a model, people of the place) is the caller's.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from itertools import product
from math import isfinite
from typing import Any, Literal

from gristmill.ops.agreement import krippendorff
from gristmill.quality.intervals import proportion
from gristmill.quality.sets import Set
from gristmill.quality.values import Found, Measure, Rule, Score
from gristmill.quality.verbatim import Windows

CHECK = "licence-culture-check"
COVERED = 8
"""Tokens of the windows whose coverage is measured."""

RULES = (
    Rule(check=CHECK, score="conflicts", reason="licence_conflict", least=1),
    Rule(check=CHECK, score="copied_tokens", reason="copied_from_source", least=50),
    Rule(check=CHECK, score="copied_share", reason="copied_from_source", above=0.3),
)
"""Rows to keep from export for the use. Nothing deletes them: terms that are set later may free them."""


# Licence expressions


@dataclass(frozen=True)
class Licence:
    """What one licence, or a model's terms, ask for."""

    id: str
    known: bool = True
    commercial: bool = True
    derivatives: bool = True
    attribution: bool = True
    share_alike: str = ""
    """Family that what is derived must carry."""
    competing: bool = True
    """Output may train models that compete with the licensor's."""
    permissive: bool = False


@dataclass(frozen=True)
class Table:
    """The rules as data."""

    version: str
    licences: Mapping[str, Licence]
    """By id in lower case."""
    same: Mapping[str, str]
    compatible: frozenset[tuple[str, str]]
    countries: Mapping[str, frozenset[str]]
    models: Mapping[str, str] = field(default_factory=dict)
    """Terms by patterns of models' names."""

    def of_model(self, spec: str) -> str:
        """The terms of a model, by the name that a run knows it by; "" where they are not known."""
        name = spec.partition(",")[0].removeprefix("annotator:")  # without its options
        known = () if "@" in name else self.models.items()
        return next((terms for pattern, terms in known if fnmatchcase(name, pattern)), "")

    def __getitem__(self, name: str) -> Licence:
        """By its SPDX id in any case, or a common spelling; not `known`, and then never free, where it is not in the
        table."""
        lower = name.strip().lower()
        for known in (lower, self.same.get(lower, ""), lower.removesuffix("+")):  # "+": or any later version
            if known in self.licences:
                return self.licences[known]
        return Licence(name.strip(), known=False, commercial=False, derivatives=False, competing=False)


def load(text: str) -> Table:
    """A table from TOML, in the form of `licence.toml`."""
    read = tomllib.loads(text)
    licences = {name.lower(): Licence(name, **rules) for name, rules in read["licences"].items()}
    return Table(
        version=read["version"],
        licences=licences,
        same={name.lower(): other.lower() for name, other in read.get("same", {}).items()},
        compatible=frozenset((first, second) for first, second in read.get("compatible", [])),
        countries={name: frozenset(words) for name, words in read.get("countries", {}).items()},
        models=read.get("models", {}),
    )


@cache
def table() -> Table:
    """The table that comes with the package."""
    return load((resources.files("gristmill.quality") / "licence.toml").read_text("utf-8"))


class BadExpression(ValueError):
    """A licence expression that cannot be read; the message says where."""


PART = re.compile(r"\s*(?:(?P<sign>[()])|(?P<word>[^\s()]+))")
OPERATORS = ("AND", "OR", "WITH")


def alternatives(expression: str) -> list[tuple[str, ...]]:
    """What an SPDX expression lets one choose from: of each choice the licences that hold together.

    "MIT OR (Apache-2.0 AND CC-BY-4.0)" gives ("MIT",) and ("Apache-2.0", "CC-BY-4.0"). AND binds closer than OR, WITH
    closest: an exception only permits more, so its licence stands for both ("GPL-2.0-only WITH X" stays one name).

    Raises:
        BadExpression: nothing to read, a bracket without its other, an operator without what it joins.
    """
    parts = [match["sign"] or match["word"] for match in PART.finditer(expression)]
    if not parts:
        raise BadExpression("a licence expression is empty")
    found, at = _either(parts, 0, expression)
    if at < len(parts):
        raise BadExpression(f"{expression!r}: {parts[at]!r} was not expected here")
    return list(dict.fromkeys(tuple(dict.fromkeys(choice)) for choice in found))


def _either(parts: Sequence[str], at: int, whole: str) -> tuple[list[tuple[str, ...]], int]:
    found, at = _both(parts, at, whole)
    while at < len(parts) and parts[at].upper() == "OR":
        more, at = _both(parts, at + 1, whole)
        found = found + more
    return found, at


def _both(parts: Sequence[str], at: int, whole: str) -> tuple[list[tuple[str, ...]], int]:
    found, at = _one(parts, at, whole)
    while at < len(parts) and parts[at].upper() == "AND":
        more, at = _one(parts, at + 1, whole)
        found = [first + second for first, second in product(found, more)]
    return found, at


def _one(parts: Sequence[str], at: int, whole: str) -> tuple[list[tuple[str, ...]], int]:
    if at >= len(parts) or parts[at] == ")" or parts[at].upper() in OPERATORS:
        raise BadExpression(f"{whole!r}: a licence is missing before {parts[at] if at < len(parts) else 'the end'!r}")
    if parts[at] == "(":
        found, at = _either(parts, at + 1, whole)
        if at >= len(parts) or parts[at] != ")":
            raise BadExpression(f"{whole!r}: a bracket is not closed")
        return found, at + 1
    name, at = parts[at], at + 1
    if at < len(parts) and parts[at].upper() == "WITH":
        if at + 1 >= len(parts) or parts[at + 1] in "()" or parts[at + 1].upper() in OPERATORS:
            raise BadExpression(f"{whole!r}: an exception is missing after WITH")
        name, at = f"{name} WITH {parts[at + 1]}", at + 2
    return [(name,)], at


def _rules(name: str, rules: Table) -> Licence:
    return rules[name.partition(" WITH ")[0]]


# Parents and uses

Role = Literal["rewritten", "quoted", "evaluation", "wrote"]
"""How a row used a parent: its text was rewritten, stands in the row unchanged, only checked or retrieved for a check;
or the parent is a model that wrote text of the row."""


@dataclass(frozen=True)
class Parent:
    """A seed row's source, a passage, a picture, or a model."""

    id: str
    licence: str = ""
    """SPDX expression, or the id of a model's terms; "" where it is not known."""
    role: Role = "rewritten"
    attribution: str = ""
    """Who must be named, and how; the id where it is empty."""
    jurisdiction: str = ""
    texts: Sequence[str] = field(default=(), repr=False, compare=False)
    """Its rows, to find copies of."""


@dataclass(frozen=True)
class Use:
    """What the set is made for."""

    commercial: bool = True
    competing: bool = True
    """It will train models that compete with those of the models that wrote it."""


@dataclass(frozen=True)
class Conflict:
    """Why a row may not be exported for a use, and which parent causes it."""

    parent: str
    licence: str
    reason: Literal["unknown", "unreadable", "non_commercial", "no_derivatives", "competing", "share_alike"]


@dataclass(frozen=True)
class Verdict:
    """What holds for a row with these parents."""

    licences: tuple[str, ...]
    """Of all parents whose text is in the row and of models that wrote it; of alternatives the one that was chosen."""
    commercial: bool
    obligations: tuple[str, ...]
    """"attribution", "share_alike:FAMILY"."""
    conflicts: tuple[Conflict, ...]
    unknown: tuple[str, ...]
    """Parents without a licence that can be read. A finding for any use, a conflict for a commercial one."""


def judge(parents: Sequence[Parent], use: Use | None = None, rules: Table | None = None) -> Verdict:
    """A row's licences and conflicts: the union over its parents.

    Of alternatives ("MIT OR GPL-3.0-only") the one with the fewest conflicts is taken, then that with the fewest
    obligations. A parent that was used for evaluation alone leaves nothing in the row: it may forbid derivatives or
    ask for share-alike, but non-commercial still holds for its use.
    """
    use, rules = use or Use(), rules or table()
    licences: dict[str, None] = {}
    obligations: dict[str, None] = {}
    conflicts: list[Conflict] = []
    families: dict[str, str] = {}
    commercial, unknown = True, []
    for parent in {(parent.id, parent.role, parent.licence): parent for parent in parents}.values():
        chosen = min(_choices(parent, rules), key=lambda names: _cost(names, parent, use, rules), default=())
        told = [_rules(name, rules) for name in chosen]
        if not told or not all(one.known for one in told):
            unknown.append(parent.id)
        commercial &= bool(told) and all(one.commercial for one in told)
        conflicts += _conflicts(chosen, parent, use, rules)
        if parent.role == "evaluation":
            continue
        licences |= dict.fromkeys(chosen or ("unknown",))
        obligations |= dict.fromkeys(["attribution"] if any(one.attribution for one in told) else [])
        for name, one in zip(chosen, told, strict=True):
            if one.share_alike:
                obligations[f"share_alike:{one.share_alike}"] = None
                families.setdefault(one.share_alike, f"{parent.id}\n{name}")
    conflicts += _families(families, rules)
    return Verdict(tuple(licences), commercial, tuple(obligations), tuple(conflicts), tuple(unknown))


def _choices(parent: Parent, rules: Table) -> list[tuple[str, ...]]:
    """What its licence lets one choose from; nothing where it is missing or cannot be read."""
    said = parent.licence.strip()
    if said.lower() in rules.same:  # a spelling with blanks is no expression
        return [(rules[said].id,)]
    try:
        return alternatives(said) if said else []
    except BadExpression:
        return []


def _cost(names: Sequence[str], parent: Parent, use: Use, rules: Table) -> tuple[int, int, int]:
    told = [_rules(name, rules) for name in names]
    return (
        len(_conflicts(names, parent, use, rules)),
        sum(not one.known for one in told),
        sum(bool(one.share_alike) + one.attribution for one in told),
    )


def _conflicts(names: Sequence[str], parent: Parent, use: Use, rules: Table) -> list[Conflict]:
    if not names:
        reason: Literal["unreadable", "unknown"] = "unreadable" if parent.licence.strip() else "unknown"
        return [Conflict(parent.id, parent.licence, reason)] if use.commercial else []
    found: list[Conflict] = []
    for name in names:
        one = _rules(name, rules)
        if not one.known:
            found += [Conflict(parent.id, name, "unknown")] if use.commercial else []
            continue
        if use.commercial and not one.commercial:
            found.append(Conflict(parent.id, name, "non_commercial"))
        if not one.derivatives and parent.role == "rewritten":
            found.append(Conflict(parent.id, name, "no_derivatives"))
        if use.competing and not one.competing and parent.role == "wrote":
            found.append(Conflict(parent.id, name, "competing"))
    return found


def _families(families: Mapping[str, str], rules: Table) -> list[Conflict]:
    """Share-alike families of one row that no single licence satisfies."""
    names = list(families)
    if any(all(name == other or (name, other) in rules.compatible for name in names) for other in names) or not names:
        return []
    found = []
    for name in names:
        parent, _, licence = families[name].partition("\n")
        found.append(Conflict(parent, licence, "share_alike"))
    return found


def attribution(parents: Sequence[Parent], rules: Table | None = None) -> list[dict[str, str]]:
    """What must be named: each source once, in the order of its id. Unknown licences are listed: they may ask for
    it."""
    rules = rules or table()
    found: dict[str, dict[str, str]] = {}
    for parent in parents:
        verdict = judge([parent], Use(commercial=False, competing=False), rules)
        if parent.role != "evaluation" and ("attribution" in verdict.obligations or verdict.unknown):
            found.setdefault(
                parent.id,
                {
                    "source": parent.id, "attribution": parent.attribution or parent.id,
                    "licence": parent.licence or "unknown", "jurisdiction": parent.jurisdiction,
                },
            )  # fmt: skip
    return [found[name] for name in sorted(found)]


def attribution_file(parents: Sequence[Parent], rules: Table | None = None) -> str:
    """The same as a text to ship with the set."""
    lines = [f"- {one['attribution']} ({one['licence']})" for one in attribution(parents, rules)]
    return "\n".join(["This set is derived from:", "", *lines, ""]) if lines else ""


# Cultural fit

CODES = ("fits", "foreign", "offends", "none")
"""Of an item in a row: as it is done there; as it is done elsewhere; against a taboo; not touched. A judgement of the
first three quotes the span that it rests on."""
RUBRIC: Mapping[str, str] = {
    "address": "Forms of address and politeness: titles, formal and informal forms.",
    "holidays": "Holidays, seasons and the calendar.",
    "units": "Units, money, formats of dates and numbers.",
    "food": "Food, drink and meals.",
    "institutions": "Law, schools, offices, health care and other institutions.",
    "taboos": "Topics that are avoided or handled with care.",
    "names": "Names of people, streets and places.",
}


@dataclass(frozen=True)
class Judgement:
    """What one rater says of one item of the rubric in one row."""

    row: int
    item: str
    code: str
    quote: str
    rater: str
    human: bool = False


def cultural(judgements: Sequence[Judgement], texts: Sequence[str]) -> dict[str, Any]:
    """Counts judgements: shares of misfits with intervals, agreement, rows.

    A judgement outside of the rubric, with another code, of a row that does not exist, or whose quote does not stand
    in the row is not counted and listed with its reason.

    Returns:
        `items`: an item of the rubric with `rows` (judged and touched), `misfits` (foreign or offends by most of its
        raters; half is no majority), share, low, high, and `alpha` (Krippendorff, nominal; None where it is not
        defined);
        `alpha_human`: between the people alone; `alpha_judge`: between the majority of people, where there is one, and
        the other raters;
        `refused`: judgements that were not counted; `rows`: misfits a row, None where nobody judged it.
    """
    refused: list[dict[str, Any]] = []
    said: dict[tuple[int, str], list[Judgement]] = {}
    for one in judgements:
        if reason := _refused(one, texts):
            refused.append({"row": one.row, "item": one.item, "rater": one.rater, "reason": reason})
        else:
            said.setdefault((one.row, one.item), []).append(one)
    scores: list[Score] = [None] * len(texts)
    items = []
    for item in RUBRIC:
        units = {row: ones for (row, name), ones in sorted(said.items()) if name == item}
        touched = {row: ones for row, ones in units.items() if any(one.code != "none" for one in ones)}
        misfits = [row for row, ones in touched.items() if _misfit(ones)]
        for row in units:
            scores[row] = (scores[row] or 0.0) + (row in misfits)
        low, high = proportion(len(misfits), len(touched)) or (None, None)
        share = len(misfits) / len(touched) if touched else None
        items.append(
            {"item": item, "rows": len(touched), "misfits": len(misfits), "share": share, "low": low, "high": high,
             "alpha": _alpha([[one.code for one in ones] for ones in units.values()])}
        )  # fmt: skip
    people = [[one.code for one in ones if one.human] for ones in said.values()]
    both = [
        [code, *(one.code for one in ones if not one.human)]
        for ones, codes in zip(said.values(), people, strict=True)
        if (code := _majority(codes)) is not None
    ]
    return {
        "items": items, "alpha_human": _alpha(people), "alpha_judge": _alpha(both), "refused": refused, "rows": scores,
    }  # fmt: skip


def _refused(one: Judgement, texts: Sequence[str]) -> str:
    if one.item not in RUBRIC or one.code not in CODES:
        return "not_in_rubric"
    if not 0 <= one.row < len(texts):
        return "no_such_row"
    if one.code != "none" and (not one.quote.strip() or one.quote.strip() not in texts[one.row]):
        return "quote_not_in_row"
    return ""


def _misfit(ones: Sequence[Judgement]) -> bool:
    return sum(one.code in ("foreign", "offends") for one in ones) * 2 > len(ones)


def _majority(codes: Sequence[str]) -> str | None:
    """What more than half said."""
    return next((code for code, count in Counter(codes).items() if count * 2 > len(codes)), None)


def _alpha(units: Sequence[Sequence[str]]) -> float | None:
    value = krippendorff([unit for unit in units if len(unit) > 1])
    return value if isfinite(value) else None


def countries(texts: Sequence[str], rules: Table | None = None) -> list[frozenset[str]]:
    """Of each text the countries that its words tie it to (ISO 3166)."""
    named = {country: _any_of(words) for country, words in (rules or table()).countries.items()}
    every = _any_of(frozenset(word for words in (rules or table()).countries.values() for word in words))
    return [
        frozenset(country for country, pattern in named.items() if pattern.search(text))
        if every.search(text)
        else frozenset()
        for text in map(str.lower, texts)
    ]


@cache
def _any_of(words: frozenset[str]) -> re.Pattern[str]:
    listed = "|".join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))
    return re.compile(rf"\b(?:{listed})(?!\w)" if listed else r"(?!)")


# The check


def measure(
    data: Set,
    reference: Set | None = None,
    *,
    seed: int = 0,
    sources: Sequence[Parent] = (),
    use: Use | None = None,
    parents: str = "sources",
    licence: str = "licence",
    locale: str = "",
    judgements: Sequence[Judgement] = (),
    verbatim_tokens: int = 50,
    coverage: float = 0.3,
    rules: Table | None = None,
) -> Found:
    """Licences, conflicts and copies of each row, and what it takes for granted.

    Args:
        reference: rows to compare countries with.
        sources: what was declared, by id; the same id may stand with several roles.
        parents: column with the ids of a row's sources, a list or one id. A row without it has its own licence, or
            else all declared sources as its parents, or else none that is known. Where no model is listed, all
            declared models are taken to have written the row.
        licence: column with a row's own licence expression ("license" is read as well).
        locale: country of use; rows that take another one for granted are counted.
        judgements: of the rubric, by models or people.

    Scores: `conflicts`, `unknown` (parents without a licence), `copied_tokens` and `copied_share` (from sources that
    are not permissive), `misfits` (of the rubric, None where nobody judged).
    """
    use, rules = use or Use(), rules or table()
    settings = {
        "rules": rules.version, "commercial": use.commercial, "competing": use.competing, "locale": locale,
        "verbatim_tokens": verbatim_tokens, "coverage": coverage, "sources": len(sources), "seed": seed,
    }  # fmt: skip
    found = Found(
        check=CHECK, settings=settings, notes=["Not legal advice: the table of licences is a summary by hand."]
    )
    used = _licences(found, data, sources, use, rules, parents, licence)
    found.tables["attribution"] = [dict(one) for one in attribution(used, rules)]
    _copies(found, data, sources, rules, verbatim_tokens, coverage)
    _countries(found, data, reference, locale, rules)
    counted = cultural(judgements, data.texts)
    found.rows["misfits"] = counted["rows"]
    found.tables["culture"], found.tables["refused_judgements"] = counted["items"], counted["refused"]
    for name in ("alpha_human", "alpha_judge"):
        found.measures.append(
            Measure(
                name=f"culture_{name}", value=counted[name], n=len(judgements), unit="judgements", better="high",
                why="" if counted[name] is not None else "fewer than two raters, or all judgements alike",
            )
        )  # fmt: skip
    if not judgements:
        found.notes.append("Nobody judged the rubric, so cultural fit is not known.")
    return found


def _licences(
    found: Found, data: Set, sources: Sequence[Parent], use: Use, rules: Table, parents: str, licence: str
) -> list[Parent]:
    """Scores, details and tables of licences; the parents that rows use."""
    declared: dict[str, list[Parent]] = {}
    for source in sources:
        declared.setdefault(source.id, []).append(source)
    scores: dict[str, list[Score]] = {"conflicts": [], "unknown": []}
    verdicts: dict[tuple[Parent, ...], Verdict] = {}
    used: dict[Parent, None] = {}
    blocked, licences, commercial = Counter[tuple[str, str, str]](), Counter[str](), 0
    records = data.records or [{}] * len(data)
    for row, record in enumerate(records):
        own = tuple(_parents(record, declared, parents, licence))
        if own not in verdicts:
            verdicts[own] = judge(own, use, rules)
            used |= dict.fromkeys(own)
        verdict = verdicts[own]
        scores["conflicts"].append(float(len(verdict.conflicts)))
        scores["unknown"].append(float(len(verdict.unknown)))
        blocked.update({(one.parent, one.licence, one.reason) for one in verdict.conflicts})
        licences.update(verdict.licences)
        commercial += verdict.commercial
        if verdict.conflicts or verdict.unknown:
            found.details[row] = [
                *({"kind": "conflict", "parent": one.parent, "licence": one.licence, "reason": one.reason}
                  for one in verdict.conflicts),
                *({"kind": "unknown_licence", "parent": name} for name in verdict.unknown),
            ]  # fmt: skip
    found.rows |= scores
    found.tables["licences"] = [{"licence": name, "rows": rows} for name, rows in sorted(licences.items())]
    found.tables["blocked_by"] = [
        {"parent": parent, "licence": name, "reason": reason, "rows": rows}
        for (parent, name, reason), rows in sorted(blocked.items(), key=lambda item: (-item[1], item[0]))
    ]
    duties = Counter(duty for own, verdict in verdicts.items() for duty in verdict.obligations)
    found.tables["obligations"] = [{"obligation": duty, "sets_of_parents": n} for duty, n in sorted(duties.items())]
    hits = {name: sum(score is not None and score > 0 for score in values) for name, values in scores.items()}
    _shares(found, {"blocked_rate": hits["conflicts"], "unknown_rate": hits["unknown"]}, len(data), "low")
    _shares(found, {"commercial_rate": commercial}, len(data), "")
    return list(used)


def _shares(found: Found, hits: Mapping[str, int], n: int, better: Literal["high", "low", ""]) -> None:
    for name, count in hits.items():
        low, high = proportion(count, n) or (None, None)
        found.measures.append(
            Measure(
                name=name, value=count / n if n else None, low=low, high=high, n=n, better=better,
                why="" if n else "no rows"
            )
        )  # fmt: skip


def _parents(
    record: Mapping[str, Any], declared: Mapping[str, list[Parent]], parents: str, licence: str
) -> list[Parent]:
    named = record.get(parents)
    own = record.get(licence) or record.get("license")
    if named:
        ids = dict.fromkeys(map(str, named if isinstance(named, (list, tuple)) else [named]))
        found = [parent for name in ids for parent in declared.get(name, [Parent(name)])]
        if not any(parent.role == "wrote" for parent in found):  # sources alone were listed
            found += [parent for several in declared.values() for parent in several if parent.role == "wrote"]
    else:
        found = [parent for several in declared.values() for parent in several if not own or parent.role == "wrote"]
    if own or not found:
        found.append(Parent(f"row licence: {own}" if own else "row", str(own or ""), role="quoted"))
    return found


def _copies(found: Found, data: Set, sources: Sequence[Parent], rules: Table, least: int, coverage: float) -> None:
    """Runs and coverage of sources whose text a row must not carry."""
    texts: list[str] = []
    owners: list[str] = []
    held: dict[tuple[str, str], None] = {}  # a source may be declared with several roles
    for source in sources:
        if not _free(source, rules):
            held |= dict.fromkeys((source.id, text) for text in source.texts)
    for owner, text in held:
        owners.append(owner)
        texts.append(text)
    tokens: list[Score] = [0.0] * len(data)
    shares: list[Score] = [0.0] * len(data)
    found.rows |= {"copied_tokens": tokens, "copied_share": shares}
    if not texts:
        found.notes.append("No text of a source that is not permissive was given, so copies are not looked for.")
        found.measures.append(Measure(name="copied_rate", value=None, why="no texts of such sources"))
        return
    windows = Windows(texts, COVERED)
    for row, text in enumerate(data.texts):
        runs = windows.runs(text)
        if runs:
            best = max(runs, key=lambda run: run.tokens)
            tokens[row], shares[row] = float(best.tokens), windows.coverage(text)
            found.details.setdefault(row, []).append(
                {
                    "kind": "copy",
                    "source": owners[best.source],
                    "start": best.start,
                    "end": best.end,
                    "tokens": best.tokens,
                }
            )
    hits = sum((a or 0) >= least or (b or 0) > coverage for a, b in zip(tokens, shares, strict=True))
    _shares(found, {"copied_rate": hits}, len(data), "low")


def _free(source: Parent, rules: Table) -> bool:
    """May its text stand in a row? Some alternative is permissive in all its parts."""
    return any(all(_rules(name, rules).permissive for name in names) for names in _choices(source, rules))


def _countries(found: Found, data: Set, reference: Set | None, locale: str, rules: Table) -> None:
    """How many rows are tied to one country alone, and to which."""
    named = countries(data.texts, rules)
    beside = countries(reference.texts, rules) if reference is not None else []
    counts, others = _single(named), _single(beside)
    found.tables["countries"] = [
        {
            "country": country, "rows": counts[country], "share": counts[country] / len(named) if named else 0.0,
            "reference": others[country] / len(beside) if beside else None, "target": country == locale,
        }
        for country in sorted({*counts, *others}, key=lambda name: (-counts[name], name))
    ]  # fmt: skip
    _shares(found, {"one_country_rate": sum(counts.values())}, len(data), "")
    if locale:
        _shares(found, {"other_country_rate": sum(counts.values()) - counts[locale]}, len(data), "low")


def _single(rows: Sequence[frozenset[str]]) -> Counter[str]:
    return Counter(next(iter(row)) for row in rows if len(row) == 1)
