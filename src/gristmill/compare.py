"""`gristmill compare`: which method makes better data from the same seeds, with the same models, for the same money?

Every method is run several times under one budget; a real data set is split before anything is generated. What all made is
cut to one size, and told apart by a board that ranks only what the intervals separate. A comparison that was stopped goes
on where it was: its runs are ordinary runs in its folder.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from gristmill import recipes
from gristmill.api import aresume, arun
from gristmill.check import open_set
from gristmill.errors import BadInput
from gristmill.execute import looking
from gristmill.ops.novelty import Novelty
from gristmill.quality import contamination, lexical, semantic, tstr
from gristmill.quality.embed import Embedder
from gristmill.quality.intervals import mean_interval, proportion
from gristmill.quality.leaderboard import Line, board, bradley_terry, pareto, within
from gristmill.quality.sets import Set, of_texts
from gristmill.quality.values import Measure
from gristmill.recipes.quality.row_judge import RowPair
from gristmill.rows import required, table

REAL, NO_DATA = "real data", "no data"
"""Baselines of utility: the real training rows at the size of all entries, and no training."""


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
    """What was the same for all: seeds, budget, rows, real data, learner."""
    entries: list[Compared]
    utility: list[Line] = []
    """The board, with its baselines; empty without real data."""
    better: Literal["high", "low"] = "high"
    judged: list[Line] = []
    strengths: dict[str, float] = {}
    """Bradley-Terry log-odds from the judged pairs."""
    front: list[str] = []
    """Entries that no other beats in tokens and utility."""
    notes: list[str] = []


@dataclass
class Track:
    """What is frozen before anything is generated."""

    out: Path
    seeds: str | None = None
    real: Set | None = None
    labels: list[str] | None = None
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
    text: str | None = None
    label: str | None = None

    def split(self) -> tuple[list[int], list[int]]:
        """Real rows to train on and to test on: four fifths and the rest, by chance of the seed."""
        assert self.real is not None
        order = np.random.default_rng(self.seed).permutation(len(self.real)).tolist()
        cut = max(1, len(order) // 5)
        return sorted(order[cut:]), sorted(order[:cut])


def entries_of(names: Sequence[str], data: Sequence[str], models: Sequence[Any], *, vary: bool) -> list[Entry]:
    """The entries that a command line names.

    Args:
        names: recipes.
        data: sets that are there already.
        models: specs; with `vary` each makes an entry of its own with every recipe.

    Raises:
        BadInput: fewer than two entries, or nothing to vary.
    """
    if vary and len(models) < 2:
        raise BadInput("--vary model: name the models, --model A --model B")
    found: list[Entry] = []
    for name in names:
        recipes.load(name)
        if vary:
            found += [Entry(f"{name} by {model}", name, model) for model in models]
        else:
            found.append(Entry(name, name, models[0] if models else None))
    found += [Entry(Path(source).name or source, source=source) for source in data]
    counted = Counter(entry.name for entry in found)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise BadInput(f"{twice[0]} stands twice: an entry is told by its name")
    if len(found) < 2:
        raise BadInput("a comparison takes two entries or more: recipes, sets (--data), or models (--vary model)")
    return found


async def acompare(
    entries: Sequence[Entry], track: Track, *, embed: Embedder, progress: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Run what is to be run, and hold all against each other.

    Raises:
        BadInput: entries that cannot be compared, before anything is asked.
    """
    check_seeds(entries, track)
    result = Comparison(
        track={
            "seeds": track.seeds or "",
            "real": track.real.name if track.real else "",
            "target": track.target,
            "max_tokens": track.max_tokens,
            "max_cost": track.max_cost,
            "runs": track.runs,
            "seed": track.seed,
            "embedder": embed.name,
        },
        entries=[],
    )
    made: dict[str, list[Set]] = {}
    for entry in entries:
        compared, sets = await run_entry(entry, track, progress)
        result.entries.append(compared)
        if not compared.refused:
            made[entry.name] = sets
    if not made:
        result.notes.append("no entry made rows that could be compared")
        return result
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
    if track.real is not None and cut:
        progress("training on each, testing on real rows")
        utility(result, cut, track, embed)
    if track.judge is not None and len(cut) > 1:
        progress("judging pairs of rows")
        await judge(result, cut, track)
    return result


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


async def run_entry(entry: Entry, track: Track, progress: Callable[[str], None]) -> tuple[Compared, list[Set]]:
    """An entry's runs, metered, and what each made."""
    compared = Compared(entry=entry.name)
    if entry.source:
        found = open_set(entry.source, text=track.text)
        return compared, [found]
    method = recipes.load(entry.recipe)
    sets: list[Set] = []
    for number in range(track.runs):
        folder = track.out / entry.name.replace("/", "-").replace(" ", "-") / f"run-{number}"
        progress(f"{entry.name}, run {number + 1} of {track.runs}")
        if (folder / "run.db").exists():
            done = await aresume(folder, model=entry.model)
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
            )
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
    found.append(_over_runs("distinct_2", [_value(one.measures, "distinct_2") for one in by_run], len(sets[0]), "high"))
    size = min(2000, len(sets[0]))
    if size > 1:
        spread = [semantic.measure(part, embed=embed, seed=track.seed, n_sample=size, k_clusters=10) for part in sets]
        values = [_value(one.measures, "vendi") for one in spread]
        found.append(_over_runs("vendi", values, size, "high"))
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


def _over_runs(name: str, values: Sequence[float | None], n: int, better: Literal["high", "low"]) -> Measure:
    known = [value for value in values if value is not None]
    if not known:
        return Measure(name=name, value=None, n=n, better=better, why="too few rows")
    low, high = tstr.seed_interval(known) or (None, None)
    why = f"mean over {len(known)} runs" if len(known) > 1 else "one run"
    return Measure(name=name, value=float(np.mean(known)), low=low, high=high, n=n, better=better, why=why)


def utility(result: Comparison, cut: Mapping[str, list[Set]], track: Track, embed: Embedder) -> None:
    """Train on each entry's rows and test on real ones: a classifier where rows have labels, else a language model.

    An entry whose rows hold test rows is refused.
    """
    assert track.real is not None
    train, test = track.split()
    scores: dict[str, list[list[float]]] = {}
    labels = track.labels
    result.better = "high" if labels else "low"
    result.track["learner"] = "linear head on embeddings" if labels else "n-gram language model, bits a character"
    known = {one.entry: one for one in result.entries}
    for name, sets in cut.items():
        try:
            runs = [
                _labelled(part, train, test, track, embed) if labels else _unlabelled(part, train, test, track)
                for part in sets
            ]
        except BadInput as error:
            known[name].refused = str(error)
            continue
        scores[name] = [run for own, _, _ in runs for run in own]
        for baseline, of in ((REAL, runs[0][1]), (NO_DATA, runs[0][2])):
            scores.setdefault(baseline, of)
    if not any(name in scores for name in cut):
        return
    result.utility = board(scores, better=result.better, seed=track.seed)
    for line in result.utility:
        if line.entry in known:
            known[line.entry].measures.append(
                Measure(name="utility", value=line.score, low=line.low, high=line.high, n=line.items, unit="items",
                        better=result.better, why=f"rank {line.rank}")
            )  # fmt: skip
    spent = {one.entry: sum(run.tokens for run in one.runs) / len(one.runs) for one in result.entries if one.runs}
    sign = 1 if result.better == "high" else -1
    result.front = pareto(
        {line.entry: (spent[line.entry], sign * line.score) for line in result.utility if line.entry in spent}
    )


Scored = tuple[list[list[float]], list[list[float]], list[list[float]]]
"""Of the entry, of the real rows and of no data: by run, a score for each test item."""


def _labelled(part: Set, train: Sequence[int], test: Sequence[int], track: Track, embed: Embedder) -> Scored:
    assert track.real is not None
    assert track.labels is not None
    given = part.column(track.label or "label")
    if given is None:
        raise BadInput(f"{part.name} has no column {track.label!r}: utility needs the labels that the real rows have")

    def real(rows: Sequence[int]) -> tstr.Labelled:
        assert track.real is not None
        assert track.labels is not None
        return tstr.Labelled([track.real.texts[row] for row in rows], [track.labels[row] for row in rows])

    count = min(len(part), len(train))
    own = tstr.Labelled(part.texts, [str(value) for value in given])
    found = tstr.utility(
        real(train[:count]), real(test), own, tstr.linear(embed), seeds=track.trainings, seed=track.seed, curve=(),
        low_resource=(),
    )  # fmt: skip

    def right(name: str) -> list[list[float]]:
        return [
            [float(a == b) for a, b in zip(run.said, found.truth, strict=True)]
            for run in found.runs
            if run.name == name
        ]

    return right("TSTR"), right("TRTR"), [[float(a == b) for a, b in zip(found.base, found.truth, strict=True)]]


def _unlabelled(part: Set, train: Sequence[int], test: Sequence[int], track: Track) -> Scored:
    assert track.real is not None
    texts = track.real.texts
    found = tstr.text_utility([texts[row] for row in train], [texts[row] for row in test], part.texts, seed=track.seed)

    def bits(name: str) -> list[list[float]]:
        return [[b / c for b, c in zip(found.bits[name], found.characters, strict=True)]]

    return bits("TSTR"), bits("TRTR"), bits("base")


async def judge(result: Comparison, cut: Mapping[str, list[Set]], track: Track) -> None:
    """Pairs of rows of each two entries, in both orders; a run of its own in the comparison's folder."""
    rng = np.random.default_rng(track.seed)
    pairs: list[RowPair] = []
    for one, other in combinations(cut, 2):
        own = [text for part in cut[one] for text in part.texts]
        theirs = [text for part in cut[other] for text in part.texts]
        for _ in range(min(track.pairs, len(own) * len(theirs))):
            pairs.append(RowPair(own[rng.integers(len(own))], theirs[rng.integers(len(theirs))], one, other))
    folder = track.out / "judge"
    if (folder / "run.db").exists():
        done = await aresume(folder, model=track.judge)
    else:
        done = await arun("row-judge", seeds=pairs, model={"judge": track.judge}, out=folder, seed=track.seed)
    wins: defaultdict[tuple[str, str], float] = defaultdict(float)
    won: dict[str, list[float]] = {name: [] for name in cut}
    agreed: list[float] = []
    for row in done.iterate():
        a, b = row.first_of, row.second_of
        share = 0.5 if row.winner == "tie" else float(row.winner == a)
        won[a].append(share)
        won[b].append(1 - share)
        wins[a, b] += share
        wins[b, a] += 1 - share
        agreed.append(float(row.agreed))
    result.strengths = bradley_terry(wins)
    known = {one.entry: one for one in result.entries}
    for name, values in won.items():
        if values:
            low, high = mean_interval(values, track.seed) or (None, None)
            known[name].measures.append(
                Measure(name="judged_wins", value=float(np.mean(values)), low=low, high=high, n=len(values),
                        unit="pairs", better="high", why="a tie counts half")
            )  # fmt: skip
    if agreed:
        result.notes.append(
            f"the judge gave the same verdict in both orders for {100 * float(np.mean(agreed)):.0f} % of {len(agreed):,} "
            "pairs; it was not held against people"
        )


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
