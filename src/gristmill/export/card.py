"""The dataset card: what the rows of a run are, for people (`README.md`, as the Hugging Face hub reads it) and for programs
(`card.json`, `croissant.json`).

Promised: `README.md` is a function of `card.json` and, where the rows were checked, of `report.json`; `check_card` makes it
anew and names each number that is another one. Facts come from the run's records; what people write comes from `card.toml`
and is marked as theirs; what was not measured says so.
Not promised: that what people write is true, or that rows without a finding are good.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import msgspec

import gristmill
from gristmill.contract import Recipe
from gristmill.engine.folder import Replacing
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput, nearest
from gristmill.export.croissant import croissant, problems
from gristmill.export.facts import Facts, facts_of, sha256, unbalanced
from gristmill.models.spec import LOCAL
from gristmill.quality.values import number, words_of

README, CARD, REPORT, CROISSANT, WRITTEN = "README.md", "card.json", "report.json", "croissant.json", "card.toml"
PAGE = "report.html"
"""What check found, for people; `gristmill check` writes it."""
REQUIRED = ("purpose", "out_of_scope", "limits", "licence")
"""What people must write before a card is more than a draft."""
NOT_MEASURED = "not measured"
CHECKS = {
    "Contamination": ("contamination",),
    "Privacy": ("personal-data", "memorisation"),
    "Safety and bias": ("toxicity", "poison"),
    "Licence and attribution": ("licence",),
}
"""Checks that have their section; all others stand under quality."""
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
# fmt: off
LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-2.0",
    "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "odbl", "odc-by", "pddl",
    "unlicense", "wtfpl", "zlib",
)
# fmt: on
"""Licences that the hub knows by these names."""
NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")


class Written(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What people write about a run: the keys of `card.toml`."""

    purpose: str = ""
    intended_use: str = ""
    out_of_scope: str = ""
    limits: str = ""
    licence: str = ""
    """SPDX id of the rows' licence."""
    terms: dict[str, str] = {}
    """Licence or terms of use of each model, by the name that it has in the card; of the seeds, by "seeds"; of what else
    the run read, by the name of its file in `inputs/`. SPDX expressions and the ids of `quality/licence.toml` can be
    judged."""
    language: str = ""
    """Codes of the rows' languages: "en" or "en, de"."""
    contact: str = ""


def written(folder: Path) -> Written:
    """What stands in `card.toml`; nothing where there is none.

    Raises:
        BadInput: it cannot be read, or has a key that no card has.
    """
    path = folder / WRITTEN
    if not path.exists():
        return Written()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path}: {error}") from None
    known = Written.__struct_fields__
    for key in found:
        if key not in known:
            raise BadInput(f"{path}: unknown key {key!r}: {nearest(key, known)}")
    try:
        told = msgspec.convert(found, Written)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}") from None
    for code in _languages(told.language):
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*|code|multilingual", code):
            raise BadInput(f'{path}: language {code!r}: expected codes such as "en" or "en, de"')
    return told


# -- writing and checking


def write_card(folder: Path, journal: Journal, recipes: Sequence[Recipe]) -> Facts:
    """Write the three files of a run that ended. Returns its facts.

    Args:
        recipes: of its steps, in their order.
    """
    facts = facts_of(folder, journal, recipes)
    _write(folder, facts)
    return facts


def ready(folder: Path) -> None:
    """See that the card can be written anew, before work is done that goes into it. Raises as `renew`."""
    written(folder)
    _card(folder)


def renew(folder: Path) -> None:
    """Write the card anew, after `card.toml` was written or changed.

    Raises:
        BadInput: there is no card in the folder, or `card.toml` cannot be read.
    """
    _write(Path(folder), _card(Path(folder))["facts"])


def write_quality(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what `gristmill check` found as `report.json`, and say it in the card.

    Args:
        facts: of `gristmill.check.facts`.
    """
    folder = Path(folder)
    names = {key: facts[key] and facts[key].replace(str(folder), "this run") for key in ("set", "reference")}
    report = {
        **facts,
        **names,
        "gristmill": gristmill.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {file["path"]: sha256(folder / file["path"]) for file in _card(folder)["facts"]["files"]},
    }
    _put(folder / REPORT, report)
    renew(folder)


def check_card(folder: Path) -> list[str]:
    """Whether card, facts, report and files agree: each number that differs or that the facts do not hold, by its line, and
    each line of facts that is gone."""
    folder = Path(folder)
    try:
        card, report, shown = _card(folder), _report(folder), (folder / README).read_text(encoding="utf-8")
        meant = render(card, report)
        figures = {key: value for key, value in report.items() if key != "flags"}  # which name rows by number
        known = _numbers(card) | _numbers(figures) | {_plain(one) for one in NUMBER.findall(meant)}
        other = msgspec.json.decode((folder / CROISSANT).read_bytes()) != croissant(card["facts"], card["written"])
        wrong = unbalanced(card["facts"])
        told = msgspec.to_builtins(written(folder))
    except (BadInput, OSError, UnicodeDecodeError, msgspec.DecodeError, LookupError, TypeError, ValueError) as error:
        return [f"the card cannot be read: {type(error).__name__}: {error}"]
    wrong += _differences(meant.splitlines(), shown.splitlines(), known)
    if other:
        wrong.append(f"{CROISSANT} is not that of {CARD}")
    for file in card["facts"]["files"]:
        path = folder / file["path"]
        if not path.is_file() or sha256(path) != file["sha256"]:
            wrong.append(f"{file['path']} is not the file that {CARD} tells of")
    if told != card["written"]:
        wrong.append(f"{WRITTEN} was changed after the card was written")
    return wrong


def exportable(folder: Path) -> list[str]:
    """What a card still lacks before its rows should be published; nothing where nothing is missing.

    Of a card that cannot be read, or whose numbers are others than the facts', only that is told.
    """
    folder = Path(folder)
    if wrong := check_card(folder):
        return [f"counts: {one}" for one in wrong]
    card = _card(folder)
    facts, told = card["facts"], card["written"]
    missing = [f"{name}: {WRITTEN} says nothing of it" for name in REQUIRED if not told[name]]
    terms = _terms(facts, told)
    missing += [
        f"model terms: {WRITTEN} says nothing of {model} in [terms]" for model, said in terms.items() if not said
    ]
    if facts["state"] != "finished":
        missing.append(f"counts: the run is not finished ({facts['state']})")
    if waiting := sum(step["waiting"] for step in facts["steps"]):
        missing.append(f"counts: {waiting:,} rows wait for people")
    if not facts["rows"]:
        missing.append("counts: there are no rows")
    document = msgspec.json.decode((folder / CROISSANT).read_bytes())
    return missing + [f"{CROISSANT}: {one}" for one in problems(document, folder)]


def _card(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode((folder / CARD).read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{folder} has no {CARD}: `gristmill resume {folder}` writes it at the end of the run") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"{folder / CARD} cannot be read: {error}. `gristmill resume {folder}` writes it anew") from None
    return found


def _report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT
    try:
        return msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    except msgspec.DecodeError as error:
        raise BadInput(f"{path} cannot be read: {error}. `gristmill check {folder}` writes it anew") from None


def _write(folder: Path, facts: Facts) -> None:
    # Through JSON once, so that what is written and what is read again are the same values.
    card = msgspec.json.decode(msgspec.json.encode({"facts": facts, "written": msgspec.to_builtins(written(folder))}))
    _put(folder / CARD, card)
    _put(folder / CROISSANT, croissant(card["facts"], card["written"]))
    with Replacing(folder / README) as unfinished:
        unfinished.write_text(render(card, _report(folder)), encoding="utf-8")


def _put(path: Path, value: Any) -> None:
    with Replacing(path) as unfinished:
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def _differences(meant: list[str], shown: list[str], known: set[str]) -> list[str]:
    """Numbers of the lines that are shown, against those of the lines that the facts give; and lines of facts that are gone.

    What stands in a list or a table is a fact also without a number: a verdict, "not measured". Prose may be other words.
    """
    wrong = []
    due, found = ([NUMBER.sub("0", line) for line in lines] for lines in (meant, shown))
    for kind, a, b, c, d in SequenceMatcher(None, due, found, autojunk=False).get_opcodes():
        if kind == "equal":
            for number, (right, line) in enumerate(zip(meant[a:b], shown[c:d], strict=True), start=c + 1):
                pairs = zip(NUMBER.findall(right), NUMBER.findall(line), strict=True)
                wrong += [f"{README}:{number}: {now}, but the facts say {was}" for was, now in pairs if was != now]
            continue
        for line in meant[a:b]:
            if NUMBER.search(line):
                wrong.append(f"{README} lacks a line with numbers: {line}")
            elif line.lstrip().startswith(("- ", "|")):
                wrong.append(f"{README} lacks a line of facts: {line}")
        for number, line in enumerate(shown[c:d], start=c + 1):
            strange = [one for one in NUMBER.findall(line) if _plain(one) not in known]
            wrong += [f"{README}:{number}: {one} does not occur in the facts" for one in strange]
    return wrong


def _numbers(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return set().union(*map(_numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(_numbers, value))
    return {str(value)} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()


def _plain(number: str) -> str:
    return number.replace(",", "")


# -- the card for people


def render(card: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """`README.md` from the facts, from what people wrote, and from what was checked."""
    facts, told = card["facts"], card["written"]
    empty = [name for name in REQUIRED if not told[name]]
    parts = [
        _front(facts, told),
        f"# {facts['name']}",
        f"**Draft.** `{WRITTEN}` says nothing yet of: {', '.join(empty)}." if empty else "",
        f"Every number here stands in `{CARD}`" + (f" or `{REPORT}`." if report else "."),
        "## Purpose and use",
        *(f"{title}\n\n{_quoted(told[key])}" for key, title in USES.items()),
        *_composition(facts, told),
        *_made(facts),
        "## Quality",
        *_rounds(facts.get("rounds")),
        *_quality(facts, report),
        *(part for title in CHECKS for part in _checked(title, facts, told, report)),
        *_closing(facts, told),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


USES = {"purpose": "Purpose:", "intended_use": "Intended use:", "out_of_scope": "Out of scope:"}


def _front(facts: Facts, told: Mapping[str, Any]) -> str:
    power = len(str(facts["rows"])) - 3  # 999 rows are below a thousand, 1,000 are above
    lines = ["---", *_licence(told["licence"])]
    if languages := _languages(told["language"]):
        lines += ["language:", *(f"- {_yaml(code)}" for code in languages)]
    lines += ["size_categories:", f"- {SIZES[min(max(0, power), len(SIZES) - 1)]}"]
    lines += ["task_categories:", *(f"- {task}" for task in facts["tasks"])]
    names = dict.fromkeys(["synthetic", "gristmill", *(step["recipe"] for step in facts["steps"])])
    lines += ["tags:", *(f"- {_yaml(name)}" for name in names)]
    for at, file in enumerate(facts["files"]):
        lines += [] if at else ["configs:"]
        lines += [
            f"- config_name: {_yaml(file['table'])}",
            "  data_files:",
            "  - split: train",
            f"    path: {file['path']}",
        ]
    return "\n".join([*lines, "---"])


def _licence(said: str) -> list[str]:
    if not said:
        return []
    name = re.sub(r"-(only|or-later)$", "", said.strip().lower())
    name = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}.get(name, name)
    if name in LICENCES:
        return [f"license: {name}"]
    return ["license: other", f"license_name: {_yaml(re.sub(r'[^a-z0-9.]+', '-', name).strip('-'))}"]


def _yaml(text: str) -> str:
    """A plain scalar only where YAML cannot take it for anything but text: "no" is Norway's code, and false."""
    plain = re.fullmatch(r"[a-z][a-z0-9_-]{2,}|[a-z]{2}", text) and text not in (
        "no",
        "on",
        "yes",
        "off",
        "null",
        "true",
        "false",
    )
    return text if plain else msgspec.json.encode(text).decode()


def _languages(text: str) -> list[str]:
    return [code.strip() for code in text.split(",") if code.strip()]


def _composition(facts: Facts, told: Mapping[str, Any]) -> list[str]:
    generations = [
        f"| {generation} | {count:,} | {'as it was brought' if generation == '0' else 'made from rows of the one before'} |"
        for generation, count in facts["generations"].items()
    ]
    return [
        "## Composition",
        f"{facts['rows']:,} rows, of which {facts['made']:,} are synthetic. "
        f"Languages: {_cell(told['language']) or 'not stated'}.",
        _table("file | rows | split | sha256", [
            f"| `{file['path']}` | {file['rows']:,} | train | `{file['sha256']}` |" for file in facts["files"]
        ]),
        *(
            _table(f"column of `{file['table']}` | type", [
                f"| `{column['name']}` | {_type(column)} |" for column in file["columns"]
            ])
            for file in facts["files"]
        ),
        _table("generation | rows | what it is", generations),
        "Each row has an `id` and a `lineage` (its seed, parents, calls, draws and generation); every call stands in `run.db`.",
    ]  # fmt: skip


def _type(column: Mapping[str, Any]) -> str:
    kind = "JSON text" if column.get("json") else column["type"].lower()
    if "columns" in column:
        kind = f"struct of {', '.join(one['name'] for one in column['columns'])}"
    return f"list of {kind}" if column.get("many") else kind


def _made(facts: Facts) -> list[str]:
    alone = len(facts["steps"]) == 1
    spent, budget, whole = facts["spent"], facts["budget"], facts["whole"]
    walls = [f"at most ${budget['max_cost']:,}"] if budget["max_cost"] is not None else []
    walls += [f"at most {budget['max_tokens']:,} tokens"] if budget["max_tokens"] is not None else []
    state = "" if facts["state"] == "finished" else f" State: {_cell(facts['state'])}. Not complete."
    dropped = [f"| {_cell(reason)} | {count:,} |" for reason, count in whole["dropped"].items()]
    asked = "no number" if facts["target"] is None else f"{facts['target']:,}"
    return [
        "## How it was made",
        f"Made by gristmill {facts['gristmill']}, seed {facts['seed']}, "
        f"from {facts['began'] or 'an unknown time'} to {facts['ended'] or 'an unknown time'}.{state}",
        f"Seeds: {_cell(facts['seeds']) or 'none; the method makes rows from nothing'}. "
        f"Rows asked for: {asked}.",
        *(part for step in facts["steps"] for part in _method(step, alone=alone)),
        _table("step | given | generated | kept | rejected | failed | waiting | without outcome", [
            f"| `{step['name']}` | {step['given']:,} | {step['generated']:,} | {sum(step['rows'].values()):,} | "
            f"{sum(step['rejects'].values()):,} | {step['failures']:,} | {step['waiting']:,} | {step['nothing']:,} |"
            for step in facts["steps"]
        ]),
        f"Of {whole['generated']:,} rows that `{whole['from']}` generated, {whole['kept']:,} were kept and "
        f"{sum(whole['dropped'].values()):,} dropped.",
        _table("dropped because | rows", dropped) if dropped else "",
        f"Spent: ${spent['cost']:,.4f} for {spent['calls']:,} answers, {spent['input_tokens']:,} tokens in, "
        f"{spent['output_tokens']:,} out; {spent['reused']:,} answers were taken over from another run. "
        f"Budget: {' and '.join(walls) or 'none'}.",
    ]  # fmt: skip


def _method(step: Facts, *, alone: bool) -> list[str]:
    of = "" if alone else f"`{step['name']}`: "
    survey = step["survey"]
    paper = ", arXiv:".join(filter(None, (survey.get("paper", ""), survey.get("arxiv", ""))))
    about = [
        step["summary"],
        f"Method: {survey.get('title', step['recipe'])}{f' ({paper})' if paper else ''}." if survey else "",
        f"Recipe `{step['recipe']}` version {step['version']}.",
    ]
    return [
        f"{of}{' '.join(filter(None, about))}",
        "\n".join([
            *(f"- {of}Role `{role}`: {', '.join(f'`{_cell(one)}`' for one in specs)}" for role, specs in step["models"].items()),
            *(_call(call, of) for call in step["calls"]),
            *(f"- {of}Parameter `{name}`: `{_cell(_text(value))}`" for name, value in step["settings"].items()),
            *(
                f"- {of}Prompt `{_cell(one['name'])}`{' was replaced' if one['replaced'] else ''}: sha256 `{one['sha256']}`"
                for one in step["prompts"]
            ),
        ]),
    ]  # fmt: skip


def _call(call: Facts, of: str) -> str:
    ways = "; ".join(f"`{_cell(_text(way['settings']))}` {way['calls']:,} times" for way in call["sampling"])
    more = call["ways"] - len(call["sampling"])
    return (
        f"- {of}`{_cell(call['model'])}` as `{call['role']}`: {call['answers']:,} answers, {call['errors']:,} errors; "
        f"asked with {ways}{f' and in {more:,} other ways' if more else ''}"
    )


def _rounds(rounds: Facts | None) -> list[str]:
    """Diversity by round, of rows that were made in rounds."""
    if not rounds:
        return []
    lines = [
        f"| {one['round']:,} | {one['rows']:,} | {NOT_MEASURED if one['distinct_2'] is None else number(one['distinct_2'])} |"
        for one in rounds["rounds"]
    ]
    at = f"at {rounds['token_budget']:,} tokens of each" if rounds["token_budget"] else NOT_MEASURED
    return [
        f"Diversity by round (`{rounds['by']}`): distinct-2, the share of pairs of words that are different, {at}.",
        _table("round | rows | distinct-2", lines),
        diversity_said(rounds),
    ]


def diversity_said(rounds: Facts) -> str:
    """What the diversity of rounds comes to, in a sentence: a plain warning where it falls clearly."""
    slope = rounds["slope"]
    if slope["value"] is None:
        return f"Whether it falls is not known: {rounds['why']}."
    figures = (
        f"by {number(slope['value'])} a round (95 % interval {number(slope['low'])} to {number(slope['high'])}; "
        f"{number(slope['null'])} where the same rows are dealt to the rounds by chance)"
    )
    if rounds["falls"]:
        return f"Warning: diversity falls from round to round, distinct-2 {figures}. Models trained on such rows may collapse."
    return f"No clear fall: distinct-2 changes {figures}."


def _quality(facts: Facts, report: Mapping[str, Any]) -> list[str]:
    own = {name for names in CHECKS.values() for name in names}
    if why := _unread(facts, report):
        return [why]
    against = f", held against {_cell(report['reference'])}" if report["reference"] else ""
    items = [f"{_cell(name)} ({count:,} items)" for name, count in report["benchmarks"].items()]
    return [
        f"Checked by gristmill {report['gristmill']} on {report['date']}: {report['rows']:,} rows of "
        f"{_cell(report['set'])}{against}, seed {report['seed']}, texts embedded by {_cell(report['embedder'])}. "
        f"Benchmarks: {', '.join(items) or 'none'}.",
        *_verdicts(report, [verdict for verdict in report["verdicts"] if verdict["check"] not in own]),
    ]


def _checked(title: str, facts: Facts, told: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    if why := _unread(facts, report):
        found = [why]
    else:
        found = _verdicts(report, [verdict for verdict in report["verdicts"] if verdict["check"] in CHECKS[title]])
    if title != "Licence and attribution":
        return [f"## {title}", *(found or [f"- {NOT_MEASURED}"])]
    terms = [f"| `{_cell(model)}` | {_cell(said) or 'not stated'} |" for model, said in _terms(facts, told).items()]
    terms += [f"| seeds | {_cell(told['terms'].get('seeds', '')) or 'not stated'} |"] if facts["seeds"] else []
    licence = f"Licence of the rows:\n\n{_quoted(told['licence'])}"
    if not told["licence"]:
        licence = "Not stated. It depends on the seeds and on the terms of the models that wrote the rows: see to both before use."
    return [f"## {title}", licence, _table("model or seeds | licence or terms", terms) if terms else "", *found]


def _unread(facts: Facts, report: Mapping[str, Any]) -> str:
    """Why nothing can be said of the rows' quality; "" where it can."""
    if not report:
        return f"- {NOT_MEASURED}: `gristmill check` was not carried out"
    if report["files"] != {file["path"]: file["sha256"] for file in facts["files"]}:
        return f"- {NOT_MEASURED}: `{REPORT}` is about other rows; `gristmill check` anew"
    return ""


def _verdicts(report: Mapping[str, Any], verdicts: list[Mapping[str, Any]]) -> list[str]:
    found = {one["check"]: one for one in report["checks"]}
    lines, measures = [], []
    for verdict in verdicts:
        check = found.get(verdict["check"], {"measures": [], "notes": []})
        lines.append(f"- {_cell(verdict['title'])}: {verdict['state']}. {_cell(verdict['said'])}")
        lines += [f"  - {_cell(note)}" for note in check["notes"]]
        measures += [_measure(one, f"{check['entry']}, gristmill {report['gristmill']}") for one in check["measures"]]
    table = _table("measure | value | 95 % interval | reference | rests on | tool", measures) if measures else ""
    return ["\n".join(lines), table] if lines else []


def _measure(one: Mapping[str, Any], tool: str) -> str:
    def said(value: float | None) -> str:
        return NOT_MEASURED if value is None else number(value)

    interval = f"{said(one['low'])} to {said(one['high'])}" if None not in (one["low"], one["high"]) else NOT_MEASURED
    reference = said(one["reference"])
    if one["reference"] is None and one["null"] is not None:
        reference = f"{number(one['null'])} between two halves"
    value = said(one["value"]) + (f" ({_cell(one['why'])})" if one["value"] is None else "")
    return f"| {_cell(words_of(one['name']))} | {value} | {interval} | {reference} | {one['n']:,} {_cell(one['unit'])} | {_cell(tool)} |"


def _terms(facts: Facts, told: Mapping[str, Any]) -> dict[str, str]:
    return terms_of(
        [spec for step in facts["steps"] for specs in step["models"].values() for spec in specs], told["terms"]
    )


def terms_of(specs: Sequence[str], terms: Mapping[str, str]) -> dict[str, str]:
    """Terms of use of each model that played a role, "" where nothing is said; tools that are no models have none.

    Args:
        specs: names of models and tools, as the run knows them.
        terms: what `card.toml` says, by any name of a model.
    """
    return {spec: _of(spec, terms) for spec in specs if spec.partition(":")[0] not in {*LOCAL, "people"}}


def _of(spec: str, terms: Mapping[str, str]) -> str:
    """By the whole name, without its options and URL, or by the model's own."""
    short = spec.partition(",")[0].partition("@http")[0]
    names = (spec, short, short.partition(":")[2])
    return next((terms[name] for name in names if terms.get(name)), "")


def _closing(facts: Facts, told: Mapping[str, Any]) -> list[str]:
    return [
        "## Provenance and how to verify",
        "`gristmill trace FOLDER ROW` tells what a row was made from. If the folder is signed (`manifest.sig`), "
        "`gristmill verify FOLDER` names each row and file that was changed since. The hashes above and in "
        f"`{CROISSANT}` are those of the files.",
        f"## Known limits\n\n{_quoted(told['limits'])}",
        f"## Maintenance and contact\n\n{_quoted(told['contact'])}",
        "## Citation",
        *(_citations(facts) or ["The recipes name no paper."]),
    ]


def _citations(facts: Facts) -> list[str]:
    found: dict[str, str] = {}
    for step in facts["steps"]:
        survey = step["survey"]
        if not survey.get("paper"):
            continue
        lines = [f"@misc{{{step['recipe']},", f"  title = {{{survey.get('title', step['recipe'])}}},"]
        lines.append(f"  note = {{{survey['paper']}}},")
        lines += [f"  year = {{{survey['year']}}},"] if survey.get("year") else []
        lines += [f"  eprint = {{{survey['arxiv']}}},", "  archivePrefix = {arXiv},"] if survey.get("arxiv") else []
        found.setdefault(survey.get("arxiv") or step["recipe"], "\n".join(["```bibtex", *lines, "}", "```"]))
    return list(found.values())


def _table(head: str, lines: list[str]) -> str:
    names = head.split(" | ")
    return "\n".join([f"| {head} |", f"|{' --- |' * len(names)}", *lines])


def _quoted(text: str) -> str:
    """What people wrote, as theirs: nothing in it can pass for a part of the card."""
    if not text.strip():
        return "Nothing was written."
    return "\n".join(["*Written by the publisher:*", "", *(f"> {line}".rstrip() for line in text.strip().splitlines())])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cell(text: str) -> str:
    """One line that cannot end a cell, however long or strange the value is."""
    text = " ".join(text.replace("`", "'").replace("|", "¦").split())
    return text if len(text) <= 200 else text[:199] + "…"
