"""The facts of a run, from its records alone: what the dataset card and the Croissant file show.

Promised: every number is counted in `run.db` or in the files of `data/`, none is typed; what the steps counted as they
worked is held against what the journal holds; what was generated is what was kept and what was dropped. Of rows that were
made in rounds, the diversity of each round at one token budget.
Not promised: what a model's revision was where its name does not say it, and what a row means.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import gristmill
from gristmill.contract import Recipe
from gristmill.engine.folder import BATCH, kept_count
from gristmill.engine.journal import Journal
from gristmill.engine.tally import Tally
from gristmill.ops.prompts import prompts_of
from gristmill.rows import ImageText, Labelled, table

Facts = dict[str, Any]

SAMPLED = 2000
"""Rows of a round whose words are counted."""
WAYS = 20
"""Ways of sampling that are told of a model in a role, the most frequent first: a recipe may draw its temperature."""


def facts_of(folder: Path, journal: Journal, recipes: Sequence[Recipe]) -> Facts:
    """All that the records of a run say about it.

    Args:
        recipes: of its steps, in their order.

    Raises:
        AssertionError: the journal, the tallies and the tables do not agree.
    """
    config = journal.meta("config")
    calls = _calls(journal)
    steps = [
        _step(folder, journal, number, about, method, [call for call in calls if call["step"] == about["name"]])
        for number, (about, method) in enumerate(zip(config["steps"], recipes, strict=True))
    ]
    for number, step in enumerate(steps):
        step["given"] = _given(folder, journal, number, recipes[number], steps)
    files = [_file(folder, kind) for kind in recipes[-1].tables if _path(folder, kind).exists()]
    main = table(recipes[-1].tables[0])
    generations: Counter[str] = Counter()
    for file in files:
        generations.update(file["generations"])
    facts: Facts = {
        "name": " > ".join(step["name"] for step in steps),
        "gristmill": gristmill.__version__,
        "state": journal.meta("state"),
        "began": journal.meta("began"),
        "ended": journal.meta("ended"),
        "seed": config["seed"],
        "seeds": config["seeds"],
        "target": config["target"],
        "budget": {name: config[name] for name in ("max_cost", "max_tokens")},
        "spent": journal.spent()._asdict() | {"reused": journal.count("calls", "reused=1")},
        "steps": steps,
        "files": files,
        "rows": sum(file["rows"] for file in files),
        "generations": dict(sorted(generations.items(), key=lambda pair: int(pair[0]))),
        "made": sum(count for generation, count in generations.items() if generation != "0"),
        "tasks": sorted({_task(kind) for kind in recipes[-1].tables}),
        "rounds": next(
            (_rounds(folder / one["path"], one["generations"]) for one in files if one["table"] == main), None
        ),
    }
    facts["whole"] = _whole(facts)
    wrong = unbalanced(facts)
    assert not wrong, f"{folder}: the counts of the run do not add up: {'; '.join(wrong)}"
    return facts


def _step(
    folder: Path,
    journal: Journal,
    number: int,
    about: Mapping[str, Any],
    method: Recipe,
    calls: list[dict[str, Any]],
) -> Facts:
    rows = dict(journal.select("SELECT name, COUNT(*) FROM rows WHERE step=? GROUP BY 1 ORDER BY 1", (number,)))
    rejects = dict(journal.select("SELECT reason, COUNT(*) FROM rejects WHERE step=? GROUP BY 1 ORDER BY 1", (number,)))
    failed = dict(journal.select("SELECT kind, COUNT(*) FROM failures WHERE step=? GROUP BY 1", (number,)))
    told = Tally.decode(found) if (found := journal.progress(number).tally) else Tally()
    own = {"rows": rows, "rejects": rejects, "failures": failed.get("failed", 0), "waiting": failed.get("waiting", 0)}
    tally = {"rows": told.rows, "rejects": told.rejects, "failures": told.failures, "waiting": told.waiting}
    for name, count in own.items():
        assert count == tally[name], f"{folder}: step {about['name']} tells of {tally[name]} {name}; there are {count}"
    return {
        "name": about["name"],
        "recipe": method.name,
        "version": about["version"],
        "summary": method.summary,
        "survey": {key: method.survey[key] for key in ("title", "paper", "arxiv", "year") if method.survey.get(key)},
        "filter": method.passes,
        "shape": method.shape,
        "main": table(method.tables[0]),
        "models": about["models"],
        "settings": about["settings"],
        "prompts": _prompts(method, about["prompts"]),
        "calls": calls,
        "generated": sum(rows.values()) + sum(rejects.values()),
        **own,
        "nothing": told.barren,
    }


def _given(folder: Path, journal: Journal, number: int, method: Recipe, steps: list[Facts]) -> int:
    """Rows, seeds or draws that a step was given; a seed that was used twice counts twice."""
    if method.shape != "set":
        return journal.progress(number).released
    if number:
        before = steps[number - 1]
        return int(before["rows"].get(before["main"], 0))
    return kept_count(folder, "seeds") if (folder / "inputs" / "seeds.parquet").exists() else 0


def _prompts(method: Recipe, replaced: Mapping[str, str]) -> list[Facts]:
    texts = {name: prompt.text for name, prompt in prompts_of(sys.modules[method.fn.__module__]).items()}
    return [
        {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "replaced": name in replaced, "text": text}
        for name, text in sorted((texts | dict(replaced)).items())
    ]


def _calls(journal: Journal) -> list[Facts]:
    """Who was asked, in which role, with which sampling."""
    found: dict[tuple[str, str, str], Facts] = {}
    sql = (
        "SELECT substr(place, 1, instr(place, '/') - 1), role, model, "
        "json_extract(CAST(body AS TEXT), '$.sampling') AS sampling, COUNT(*), SUM(error IS NOT NULL) "
        "FROM calls LEFT JOIN questions ON digest = question GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 5 DESC, 4"
    )
    for step, role, model, sampling, count, errors in journal.select(sql):
        one = found.setdefault(
            (step, role, model),
            {"step": step, "role": role, "model": model, "answers": 0, "errors": 0, "ways": 0, "sampling": []},
        )
        one["answers"] += count - errors
        one["errors"] += errors
        one["ways"] += 1
        if one["ways"] <= WAYS:
            one["sampling"].append({"settings": msgspec.json.decode(sampling) if sampling else {}, "calls": count})
    return list(found.values())


def _path(folder: Path, kind: type) -> Path:
    return folder / "data" / f"{table(kind)}.parquet"


def _file(folder: Path, kind: type) -> Facts:
    import pyarrow.parquet as pq

    path = _path(folder, kind)
    generations: Counter[str] = Counter()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["lineage.generation"]):
            generations.update(str(one["generation"] or 0) for one in batch.column(0).to_pylist())
        columns = [_column(column) for column in file.schema_arrow]
        rows = file.metadata.num_rows
    return {
        "table": table(kind),
        "path": f"data/{path.name}",
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "columns": columns,
        "generations": dict(generations),
    }


def _rounds(path: Path, generations: Mapping[str, int]) -> Facts | None:
    """Diversity by round of a table whose rows say in which they were made, or whose lineage tells of several generations;
    None for all others.

    Returns:
        `by` (the column), `rounds` (each with `round`, `rows`, `distinct_2`: None where it has too few tokens),
        `token_budget`, `slope` (a measure: value, interval, null; of distinct-2, by round), `falls`, `why` (why there is
        no slope).
    """
    from gristmill.quality import collapse  # numpy takes long to load, and most runs have no rounds
    from gristmill.quality.sets import of_records

    by = _numbered_by(path, generations)
    if by is None:
        return None
    counts, kept = _sampled(path, by)
    try:
        found = collapse.measure(of_records([row for number in sorted(kept) for row in kept[number]], path.stem))
    except ValueError:  # no column of text: there is nothing to be diverse
        return None
    told = {line["round"]: line["distinct_2"] for line in found.tables.get("rounds", [])}
    slope = found.measures[0]
    return {
        "by": by,
        "rounds": [
            {"round": int(number), "rows": counts[number], "distinct_2": told.get(number)} for number in sorted(counts)
        ],
        "token_budget": found.settings.get("token_budget"),
        "slope": {"value": slope.value, "low": slope.low, "high": slope.high, "null": slope.null},
        "falls": collapse.falls(found),
        "why": slope.why,
    }


def _numbered_by(path: Path, generations: Mapping[str, int]) -> str | None:
    """What numbers two rounds or more: a column, or the lineage's generation."""
    import pyarrow.parquet as pq

    from gristmill.quality.collapse import LINEAGE, ROUNDS, round_of

    with pq.ParquetFile(path) as file:
        for name in ROUNDS:
            if name not in file.schema_arrow.names:
                continue
            batches = file.iter_batches(BATCH, columns=[name])
            if len({round_of(record, name) for batch in batches for record in batch.to_pylist()} - {None}) > 1:
                return name
    return LINEAGE if len(generations) > 1 else None


def _sampled(path: Path, by: str) -> tuple[Counter[float], dict[float, list[Facts]]]:
    """How many rows each round has, and some of each by chance, the same for the same table."""
    import pyarrow.parquet as pq

    from gristmill.quality.collapse import round_of

    rng = random.Random(0)
    counts: Counter[float] = Counter()
    kept: dict[float, list[Facts]] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            for record in batch.to_pylist():
                number = round_of(record, by)
                if number is None:
                    continue
                counts[number] += 1
                some = kept.setdefault(number, [])
                if len(some) < SAMPLED:
                    some.append(record)
                elif (at := rng.randrange(counts[number])) < SAMPLED:  # each row so far is as likely to be kept
                    some[at] = record
    return counts, kept


def _column(field: Any) -> Facts:
    """A column as Croissant and the card tell of it: type, whether it is a list, what is in it."""
    import pyarrow.types as kinds

    kind, many = field.type, False
    while kinds.is_list(kind):
        kind, many = kind.value_type, True
    names = (
        (kinds.is_boolean, "Boolean"),
        (kinds.is_integer, "Integer"),
        (kinds.is_floating, "Float"),
        (kinds.is_struct, "Struct"),
    )
    found: Facts = {"name": field.name, "type": next((name for test, name in names if test(kind)), "Text")}
    if many:
        found["many"] = True
    if (field.metadata or {}).get(b"json"):
        found["json"] = True
    if kinds.is_struct(kind):
        found["columns"] = [_column(kind.field(number)) for number in range(kind.num_fields)]
    return found


def _task(kind: type) -> str:
    """A task category of the Hugging Face hub."""
    if issubclass(kind, Labelled):
        return "text-classification"
    return "image-to-text" if issubclass(kind, ImageText) else "text-generation"


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what was generated, dropped and kept


def _whole(facts: Facts) -> Facts:
    """From the last step that generates on, through the filters behind it: every row that is not kept has its reason."""
    steps = facts["steps"]
    base = max((number for number, step in enumerate(steps) if not _filters(step)), default=0)
    first = steps[base]
    dropped: Counter[str] = Counter(_named(first, first["rejects"], steps))
    for before, step in zip(steps[base:-1], steps[base + 1 :], strict=True):
        left = before["rows"].get(before["main"], 0)
        dropped.update(_named(before, {"in another table": sum(before["rows"].values()) - left}, steps))
        dropped.update(_named(step, step["rejects"], steps))
        rest = {
            "not reached": left - step["given"],
            "failed": step["failures"],
            "waiting": step["waiting"],
            "passed over": step["given"] - _accounted(step),
        }
        dropped.update(_named(step, rest, steps))
    return {
        "from": first["name"],
        "generated": first["generated"],
        "dropped": dict(sorted((+dropped).items())),
        "kept": facts["rows"],
    }


def _named(step: Facts, counts: Mapping[str, int], steps: list[Facts]) -> dict[str, int]:
    return {(f"{step['name']}: {name}" if len(steps) > 1 else name): count for name, count in counts.items()}


def _accounted(step: Facts) -> int:
    return int(step["generated"] + step["failures"] + step["waiting"])


def _filters(step: Facts) -> bool:
    """Whether each row that it was given had one outcome at most. A recipe that yields what it read may do otherwise: put
    aside a row twice, or fail in a branch and reject too."""
    if not step["filter"]:
        return False
    silent = step["given"] - _accounted(step)
    return bool(silent >= 0 if step["shape"] == "set" else silent == step["nothing"])


def unbalanced(facts: Facts) -> list[str]:
    """Where counts do not add up, in words."""
    wrong = []
    for step in facts["steps"]:
        apart = sum(step["rows"].values()) + sum(step["rejects"].values())
        if step["generated"] != apart:
            wrong.append(f"{step['name']} generated {step['generated']}, but its rows and rejects are {apart}")
    made, last = facts["files"], facts["steps"][-1]
    if {file["table"]: file["rows"] for file in made} != last["rows"]:
        wrong.append(f"the tables hold other rows than {last['name']} made")
    for file in made:
        if sum(file["generations"].values()) != file["rows"]:
            wrong.append(f"the generations of {file['path']} are not those of its rows")
    if facts["rows"] != sum(file["rows"] for file in made):
        wrong.append(f"{facts['rows']} rows in all, but other numbers of rows in the tables")
    whole = facts["whole"]
    if whole["generated"] != whole["kept"] + sum(whole["dropped"].values()):
        wrong.append(f"{whole['generated']} generated are not {whole['kept']} kept and {whole['dropped']} dropped")
    return wrong
