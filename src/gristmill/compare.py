"""`gristmill compare`: which method makes better data from the same seeds, with the same models, for the same money?

Every method is run several times under one budget; a real data set is split before anything is generated. What all made is
cut to one size, and told apart by a board that ranks only what the intervals separate. A comparison that was stopped goes
on where it was: its runs are ordinary runs in its folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gristmill import recipes
from gristmill.api import aresume, arun
from gristmill.bind import spec_text
from gristmill.check import open_set
from gristmill.engine.folder import Replacing
from gristmill.errors import BadInput, DiskTrouble, nearest
from gristmill.execute import config_of, looking
from gristmill.models.spec import parse, tool_for
from gristmill.models.training import Training
from gristmill.ops.novelty import Novelty
from gristmill.quality import contamination, lexical, semantic, tstr
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import mean_interval, proportion
from gristmill.quality.leaderboard import pareto, within
from gristmill.quality.sets import Set, of_texts
from gristmill.quality.values import Found, Measure
from gristmill.rows import digest, required, table
from gristmill.students import TRAINING, Real, Student, split, student_of
from gristmill.utility import BASELINES, Utility, refusals, utility
from gristmill.verdicts import Judged, Opinions, against_people, between, name_of, opinions, unless_interrupted

FROZEN = "track.json"
"""In a comparison's folder: what its seeds are."""


@dataclass(frozen=True)
class Entry:
    """What takes part: a recipe with its model, or a set that is there already."""

    name: str
    recipe: str = ""
    model: Any = None
    source: str = ""


class Metered(msgspec.Struct, kw_only=True):
    """A run of an entry, from its journal: all calls count, also those of rejected rows."""

    seed: int
    folder: str
    rows: int
    rejected: int
    tokens: int
    cost: float
    stopped: str = ""


class Compared(msgspec.Struct, kw_only=True):
    """An entry, with everything that is known of it."""

    entry: str
    runs: list[Metered] = []
    measures: list[Measure] = []
    refused: str = ""
    """Why it is not ranked; "" where it is."""


class Comparison(msgspec.Struct, kw_only=True):
    """All entries of one track."""

    track: dict[str, Any]
    """What was the same for all: seeds, budget, rows, real data, judge."""
    entries: list[Compared]
    utility: Utility | None = None
    """Boards, with their baselines; None without real data."""
    judged: Judged | None = None
    """Pairs of the entries' rows; None without a judge."""
    people: Found | None = None
    """The same judge's verdicts beside those of people; None without any."""
    front: list[str] = []
    """Entries that no other beats in tokens and utility."""
    notes: list[str] = []


@dataclass
class Track:
    """What is frozen before anything is generated."""

    out: Path
    seeds: str | None = None
    real: Set | None = None
    label: str | None = None
    """The column of labels, of the real rows and of what is made; None: a language model is trained."""
    domain: str | None = None
    """The column of domains, of the real rows and, where it is there, of what is made."""
    learner: Any = None
    """"linear", "ngram", or a model that can be trained; see `students.student_of`."""
    training: Training = TRAINING
    """Of a learner that is trained."""
    target: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    runs: int = 3
    trainings: int = 2
    seed: int = 0
    benchmarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    judge: Any = None
    pairs: int = 50
    """Judged pairs for each two entries."""
    people: str | Path | None = None
    """A file of people's verdicts on pairs, that the judge is held against; see `verdicts.opinions`."""
    text: str | None = None
    prices: Mapping[str, Any] = field(default_factory=dict)

    def split(self) -> Real:
        assert self.real is not None
        return split(self.real, seed=self.seed, label=self.label, domain=self.domain)


def entries_of(
    names: Sequence[str],
    data: Sequence[str],
    models: Sequence[str],
    *,
    vary: bool,
    roles: Mapping[str, Sequence[str]] | None = None,
) -> list[Entry]:
    """The entries that a command line names.

    Args:
        names: recipes.
        data: sets that are there already.
        models: specs; with `vary` each makes an entry of its own with every recipe.
        roles: specs for single roles, by role; each recipe takes those that it has.

    Raises:
        BadInput: fewer than two entries, nothing to vary, several models and no --vary, or a role that no recipe has.
    """
    if vary and len(models) < 2:
        raise BadInput("--vary model: name the models, --model A --model B")
    if not vary and len(models) > 1:
        raise BadInput(
            f"{len(models)} models are named: with --vary model each makes an entry of its own; else name one"
        )
    methods = {name: recipes.load(name) for name in names}
    known = {role for method in methods.values() for role in method.roles}
    if strange := [role for role in roles or {} if role not in known]:
        raise BadInput(f"no recipe here has a role {strange[0]!r}: {nearest(strange[0], known)}")
    found: list[Entry] = []
    for name in names:
        own = {role: list(specs) for role, specs in (roles or {}).items() if role in methods[name].roles}
        for model in [*models] or [""]:
            asked = {**({"": model} if model else {}), **own} if own else model or None
            found.append(Entry(f"{name} by {model}" if vary else name, name, asked))
    short = [Path(source).name or source for source in data]  # of two runs called run-0 the whole path tells which
    for name, source in zip(short, data, strict=True):
        found.append(Entry(name if short.count(name) == 1 else source, source=source))
    counted = Counter(entry.name for entry in found)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise BadInput(f"{twice[0]} stands twice: an entry is told by its name")
    if taken := [name for name in counted if name in BASELINES]:
        raise BadInput(f"{taken[0]!r} is the name of a baseline: name the set otherwise")
    if len(found) < 2:
        raise BadInput("a comparison takes two entries or more: recipes, sets (--data), or models (--vary model)")
    return found


async def acompare(
    entries: Sequence[Entry], track: Track, *, embed: Embedder, progress: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Run what is to be run, and hold all against each other.

    Raises:
        BadInput: entries that cannot be compared, before anything is asked.
        Stopped: a run was interrupted.
    """
    people, real, student = prepared(entries, track, embed, progress)
    result = Comparison(track=facts(track, embed), entries=[])
    if any(entry.recipe for entry in entries):
        freeze(track, result.track["seeds_digest"])
    made: dict[str, list[Set]] = {}
    for entry in entries:
        compared, sets = await run_entry(entry, track, progress)
        result.entries.append(compared)
        if not compared.refused:
            made[entry.name] = sets
    cut = measure(result, made, track, embed, progress)
    if student is not None and real is not None and cut:
        try:
            await worth(result, cut, track, real, student, embed, progress)
        finally:
            await student.close()
    if track.judge is not None and len(cut) > 1:
        progress("judging pairs of rows")
        await judge(result, cut, track)
    if people:
        progress("judging what people judged")
        result.people = await against_people(people, track.judge, track.out, seed=track.seed, prices=track.prices)
    if not cut:
        result.notes.append("no entry made rows that could be compared")
    return result


def prepared(
    entries: Sequence[Entry], track: Track, embed: Embedder, say: Callable[[str], None]
) -> tuple[list[Opinions], Real | None, Student | None]:
    """All that a user can get wrong, before anything is asked: people's verdicts, the real rows split, the student."""
    check_seeds(entries, track)
    for entry in entries:
        check_folders(entry, track)
    if track.people is not None and track.judge is None:
        raise BadInput("--people: there is no judge to hold against people; name it with --judge")
    people = opinions(track.people) if track.people is not None else []
    if track.real is None:
        if lost := [name for name in ("label", "domain", "learner") if getattr(track, name) is not None]:
            raise BadInput(f"--{lost[0]} is about real rows: name them with --real")
        return people, None, None
    real = track.split()
    if track.seeds:
        tstr.stop_at_leaks(real.test.texts, {"seed": open_set(track.seeds).texts})
    student = student_of(
        track.learner,
        real,
        embed=embed,
        trainings=track.trainings,
        training=track.training,
        folder=track.out / "learner",
        say=say,
    )
    return people, real, student


def facts(track: Track, embed: Embedder) -> dict[str, Any]:
    """What is the same for all, for people and programs."""
    return {
        "seeds": track.seeds or "",
        "seeds_digest": digest_of(open_set(track.seeds)) if track.seeds else "",
        "real": track.real.name if track.real else "",
        "real_digest": digest_of(track.real) if track.real else "",
        "label": track.label or "",
        "domain": track.domain or "",
        "target": track.target,
        "max_tokens": track.max_tokens,
        "max_cost": track.max_cost,
        "runs": track.runs,
        "trainings": track.trainings,
        "seed": track.seed,
        "embedder": embed.name,
        "judge": name_of(track.judge) if track.judge is not None else "",
        "people": str(track.people or ""),
        "benchmarks": ", ".join(track.benchmarks),
    }


def digest_of(data: Set) -> str:
    """A name for a set's rows in their order, columns and all."""
    return digest("rows", msgspec.json.encode(data.records, enc_hook=str, order="deterministic").decode())


def freeze(track: Track, seeds: str) -> None:
    """Keep which seeds a comparison began with, and see that it goes on with these.

    Args:
        seeds: their digest.

    Raises:
        BadInput: it began with others, under whatever name.
    """
    path = track.out / FROZEN
    try:
        if path.exists() and (before := msgspec.json.decode(path.read_bytes())["seeds_digest"]) != seeds:
            raise BadInput(
                f"{track.out} was begun with other seeds (digest {before[:12] or 'none'}) than there are now "
                f"({seeds[:12] or 'none'}): methods are compared on the same ones. Name another folder with --out"
            )
        track.out.mkdir(parents=True, exist_ok=True)
        with Replacing(path) as unfinished:
            unfinished.write_bytes(msgspec.json.encode({"seeds": track.seeds or "", "seeds_digest": seeds}))
    except OSError as error:
        raise DiskTrouble(f"cannot write {path}: {error.strerror or error}") from error


def measure(
    result: Comparison,
    made: Mapping[str, list[Set]],
    track: Track,
    embed: Embedder,
    progress: Callable[[str], None],
) -> dict[str, list[Set]]:
    """What is left to compare, cut to one size and measured: entries with items of a benchmark are not."""
    if not made:
        return {}
    size = min(len(part) for sets in made.values() for part in sets)
    result.track["rows"] = size
    cut = {name: [part.sample(size, track.seed) for part in sets] for name, sets in made.items()}
    progress(f"measuring {size:,} rows of each")
    known = {one.entry: one for one in result.entries}
    seeds = open_set(track.seeds).texts if track.seeds else []
    budget = min(50_000, *(_tokens(part) for sets in cut.values() for part in sets))
    for name, sets in cut.items():
        known[name].measures += intrinsic(sets, seeds, track, embed, budget)
    for name in [name for name in cut if contaminated(known[name])]:
        known[name].refused = "it holds items of a benchmark: a score on that benchmark would mean nothing"
        del cut[name]
    return cut


async def worth(
    result: Comparison,
    cut: dict[str, list[Set]],
    track: Track,
    real: Real,
    student: Student,
    embed: Embedder,
    progress: Callable[[str], None],
) -> None:
    """The boards of utility, and each entry's measure; entries whose rows hold test rows are refused."""
    known = {one.entry: one for one in result.entries}
    for name, why in refusals(cut, real, student).items():
        known[name].refused = why
        del cut[name]
    if not cut:
        return
    found = result.utility = await utility(cut, real, student, embed=embed, seed=track.seed, say=progress)
    for line in found.board:
        if line.entry in known:
            known[line.entry].measures.append(
                Measure(name="utility", value=line.score, low=line.low, high=line.high, n=line.items, unit="items",
                        better=found.better, why=f"rank {line.rank}: {found.measure}")
            )  # fmt: skip
    spent = {one.entry: sum(run.tokens for run in one.runs) / len(one.runs) for one in result.entries if one.runs}
    sign = 1 if found.better == "high" else -1
    result.front = pareto(
        {line.entry: (spent[line.entry], sign * line.score) for line in found.board if line.entry in spent}
    )


async def judge(result: Comparison, cut: Mapping[str, list[Set]], track: Track) -> None:
    """Pairs of rows of each two entries, in both orders."""
    found = result.judged = await between(
        cut, track.judge, track.out, pairs=track.pairs, seed=track.seed, prices=track.prices
    )
    known = {one.entry: one for one in result.entries}
    for name, share in zip(found.entries, found.wins, strict=True):
        known[name].measures.append(share)


def check_seeds(entries: Sequence[Entry], track: Track) -> None:
    """See that every recipe can read the seeds that all share; without any, that those they ship with are the same."""
    columns: set[str] | None = None
    shipped: dict[str, str] = {}
    if track.seeds:
        found = open_set(track.seeds)
        columns = {name for record in found.records[:100] for name in record}
    for entry in entries:
        if not entry.recipe:
            continue
        method = recipes.load(entry.recipe)
        if method.seed is None:
            continue
        if columns is None and method.seeds is None:
            raise BadInput(f"{entry.recipe} needs --seeds: rows with {', '.join(required(method.seed))}")
        if columns is None and method.seeds is not None:
            shipped.setdefault(method.seeds, entry.recipe)
            if len(shipped) > 1:
                one, other = list(shipped.values())[:2]
                raise BadInput(
                    f"{one} and {other} ship with different examples, and methods are compared on the same seeds: name "
                    "some that both can read with --seeds"
                )
        if columns is not None and (lacking := [name for name in required(method.seed) if name not in columns]):
            raise BadInput(
                f"{entry.recipe} reads {', '.join(map(repr, lacking))}, which {track.seeds} does not have: methods are "
                f"compared on the same seeds. Its columns: {', '.join(sorted(columns))}"
            )


def check_folders(entry: Entry, track: Track) -> None:
    """See that the runs of an entry that are there already were made by this track."""
    for number in range(track.runs if entry.recipe else 0):
        folder = folder_of(entry, track, number)
        if not (folder / "run.db").exists():
            continue
        made = config_of(folder)
        asked: dict[str, Any] = {"seed": track.seed + number}
        asked |= {"seeds": track.seeds} if track.seeds and made.seeds else {}
        asked |= {"target": track.target} if track.target is not None and made.target is not None else {}
        for name, value in asked.items():
            if (there := getattr(made, name)) != value:
                raise BadInput(
                    f"{folder} was made with {name}={there}, and {value} is asked: a comparison goes on as it began. "
                    "Name another folder with --out"
                )
        for role, played in made.steps[0].models.items():
            before, now = [list(map(bare, models)) for models in (played, named(entry, role))]
            if now and now != before:
                raise BadInput(
                    f"{folder} was made with {role}={', '.join(before)}, and {', '.join(now)} is asked: a comparison goes on "
                    "as it began. Name another folder with --out"
                )


def named(entry: Entry, role: str) -> list[Any]:
    """The models that an entry names for a role of its recipe; none where whatever plays it is left as it is."""
    given = dict(entry.model) if isinstance(entry.model, Mapping) else {"": entry.model}
    method = recipes.load(entry.recipe)
    wanted = given.get(role) or ("" if tool_for(method.roles[role].needs) else given.get(""))
    return wanted if isinstance(wanted, list) else [wanted] if wanted else []


def bare(model: Any) -> str:
    """A model's name without its address and options, which may change: a moved server is the same model."""
    text = model if isinstance(model, str) else spec_text(model)
    try:
        spec = parse(text)
    except BadInput:  # a backend of the user's own
        return text
    return f"{spec.backend}:{spec.model}"


def folder_of(entry: Entry, track: Track, number: int) -> Path:
    """Of a run of an entry."""
    return track.out / entry.name.replace("/", "-").replace(" ", "-") / f"run-{number}"


async def run_entry(entry: Entry, track: Track, progress: Callable[[str], None]) -> tuple[Compared, list[Set]]:
    """An entry's runs, metered, and what each made."""
    compared = Compared(entry=entry.name)
    if entry.source:
        found = open_set(entry.source, text=track.text)
        return compared, [found]
    method = recipes.load(entry.recipe)
    sets: list[Set] = []
    for number in range(track.runs):
        folder = folder_of(entry, track, number)
        progress(f"{entry.name}, run {number + 1} of {track.runs}")
        if (folder / "run.db").exists():
            done = await aresume(folder, model=entry.model, prices=track.prices)
        else:
            done = await arun(
                entry.recipe,
                seeds=track.seeds if method.seed is not None else None,
                model=entry.model,
                out=folder,
                target=None if method.fixed else track.target,
                max_tokens=track.max_tokens,
                max_cost=track.max_cost,
                seed=track.seed + number,
                prices=track.prices,
            )
        unless_interrupted(done)
        with looking(folder) as journal:
            spent = journal.spent()
        rows = done.counts[table(done.recipe.tables[0])]
        metered = Metered(
            seed=track.seed + number,
            folder=str(folder),
            rows=rows,
            rejected=sum(done.reject_counts.values()) + done.failed,
            tokens=spent.input_tokens + spent.output_tokens,
            cost=spent.cost,
            stopped=str(done.stopped or ""),
        )
        compared.runs.append(metered)
        try:
            within(f"{entry.name}, run {number + 1}", metered.tokens, track.max_tokens)
        except BadInput as error:
            compared.refused = str(error)
        if rows:
            sets.append(open_set(folder, text=track.text))
    if not sets:
        compared.refused = compared.refused or "it made no rows"
    return compared, sets


def _tokens(data: Set) -> int:
    return max(100, sum(len(text.split()) for text in data.texts))


def intrinsic(sets: Sequence[Set], seeds: Sequence[str], track: Track, embed: Embedder, budget: int) -> list[Measure]:
    """What can be said of the rows themselves, at one size for all: means over an entry's runs."""
    found: list[Measure] = []
    # As one text a row: prompts and responses measured apart would be two figures under other names.
    whole = [of_texts(part.texts, part.name) for part in sets]
    by_run = [lexical.measure(part, seed=track.seed, token_budget=budget, self_bleu_sample=200) for part in whole]
    found.append(_over_runs("distinct_2", [_value(one.measures, "distinct_2") for one in by_run], len(sets[0]), (0, 1)))
    size = min(2000, len(sets[0]))
    if size > 1:
        spread = [semantic.measure(part, embed=embed, seed=track.seed, n_sample=size, k_clusters=10) for part in sets]
        values = [_value(one.measures, "vendi") for one in spread]
        found.append(_over_runs("vendi", values, size, (1, size)))
    if seeds:
        pool = Novelty(texts=seeds[:10_000])
        far = [1 - pool.compare(text, 1).highest for part in sets for text in part.texts[:1000]]
        low, high = mean_interval(far, track.seed) or (None, None)
        found.append(
            Measure(name="novelty", value=float(np.mean(far)), low=low, high=high, n=len(far), better="high",
                    why="1 - highest ROUGE-L with a seed")
        )  # fmt: skip
    if track.benchmarks:
        hit = total = 0
        for part in sets:
            one = contamination.measure(part, benchmarks=track.benchmarks, seed=track.seed)
            flagged = {
                row
                for rule in contamination.RULES
                for row, v in enumerate(one.rows.get(rule.score, []))
                if rule.hits(v)
            }
            hit, total = hit + len(flagged), total + len(part)
        low, high = proportion(hit, total) or (None, None)
        found.append(Measure(name="contaminated", value=hit / total, low=low, high=high, n=total, better="low"))
    return found


def contaminated(one: Compared) -> bool:
    return any(measure.name == "contaminated" and (measure.value or 0) > 0 for measure in one.measures)


def _value(measures: Sequence[Measure], name: str) -> float | None:
    return next((measure.value for measure in measures if measure.name == name), None)


def _over_runs(name: str, values: Sequence[float | None], n: int, within: tuple[float, float]) -> Measure:
    """The mean over runs, with its interval as far as it lies within what is possible; higher is better."""
    known = [value for value in values if value is not None]
    if not known:
        return Measure(name=name, value=None, n=n, better="high", why="too few rows")
    found = tstr.seed_interval(known)
    low, high = np.clip(found, *within).tolist() if found else (None, None)
    why = f"mean over {len(known)} runs" if len(known) > 1 else "one run"
    return Measure(name=name, value=float(np.mean(known)), low=low, high=high, n=n, better="high", why=why)


def yields(one: Compared) -> tuple[float, float, float] | None:
    """Rows as a share of all candidates, with its interval; None for a set that was there already."""
    rows, lost = sum(run.rows for run in one.runs), sum(run.rejected for run in one.runs)
    if not rows + lost:
        return None
    low, high = proportion(rows, rows + lost) or (math.nan, math.nan)
    return rows / (rows + lost), low, high


def cost_of_row(one: Compared) -> tuple[float, float] | None:
    """Tokens and USD for each kept row."""
    rows = sum(run.rows for run in one.runs)
    if not rows:
        return None
    return sum(run.tokens for run in one.runs) / rows, sum(run.cost for run in one.runs) / rows
