"""What the commands print: reports, records, explanations. On standard output; progress is elsewhere, on stderr."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gristmill.contract import Recipe
    from gristmill.estimate import Range
    from gristmill.execute import Result
    from gristmill.export.signature import Verified
    from gristmill.forecast import Plan
    from gristmill.trace import Origin


def explain_parts(console: Any, method: Recipe) -> None:
    from rich.table import Table

    from gristmill.rows import columns, required

    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    if method.seed:
        needed = required(method.seed)
        names = ", ".join(c if c in needed else f"[{c}]" for c in columns(method.seed)) or "rows of any kind"
        whole = "the whole set" if method.shape == "set" else "row by row"
        shipped = f"; without --seeds the shipped {method.seeds}" if method.seeds else ""
        grid.add_row("reads", plain_text(f"{names} ({whole}{shipped})"))
    else:
        grid.add_row("reads", "nothing: it makes rows from nothing")
    for kind in method.tables:
        grid.add_row("makes", plain_text(f"{kind.__name__}: {', '.join(columns(kind)) or 'what it read'}"))
    for role, needs in method.roles.items():
        extra = " (several)" if needs.many else " (optional)" if needs.optional else ""
        grid.add_row("role", plain_text(f"{role}: {' + '.join(sorted(needs.needs))}{extra}"))
    for key, kind in method.inputs.items():
        grid.add_row(
            "input",
            plain_text(f"--{key} FILE: {', '.join(columns(kind))}{' (optional)' * (key in method.optional_inputs)}"),
        )
    for key, parameter in method.parameters.items():
        default = "required" if parameter.default is ... else f"= {_default(parameter.default)}"
        option = f"--{key.replace('_', '-')}"
        grid.add_row(option, plain_text(f"{parameter.type_name} {default}  {parameter.doc}"))
    console.print(grid)


def show_models(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(found)
    else:
        console = new_console()
        for entry in found:
            price = "${:g}/${:g} for a million tokens".format(*entry["price"]) if entry["price"] else "price not known"
            context = f"{entry['context']:,} tokens of context" if entry["context"] else "context not known"
            console.print(plain_text(entry["model"]), style="bold", soft_wrap=True)
            console.print(plain_text(f"  {', '.join(entry['bound'])}"), soft_wrap=True)
            console.print(
                plain_text(
                    f"  can {', '.join(entry['can'])}; {context}; {price}; {entry['concurrency']} calls at once"
                ),
                soft_wrap=True,
            )
            live = f"answers, {entry['seconds']:.2f} s" if entry["error"] is None else entry["error"]
            console.print(plain_text(f"  {live}"), style="red" if entry["error"] else "green", soft_wrap=True)


def report(result: Result) -> None:
    from rich.text import Text

    console = new_console()
    folder = result.folder
    first = next(result.iterate(), None)
    if first is not None:
        from gristmill.rows import content

        console.rule("the first row", align="left")
        print_record(console, content(first), most=300)
        console.rule()
    facts = [("made", f"{result.counts[name]:,} rows of {name} in {path}") for name, path in result.tables.items()]
    facts = facts or [("made", "no rows")]
    facts += [("rejected", f"{count:,} {reason}") for reason, count in result.reject_counts.most_common()]
    if result.failed:
        facts.append(("failed", f"{result.failed:,}: see gristmill rows {folder} --failures"))
    if result.waiting:
        facts.append(("waiting", f"{result.waiting:,} for people"))
    spent = result.spent
    used = f"{spent.calls:,} answers, {spent.input_tokens:,} tokens in, {spent.output_tokens:,} out"
    facts.append(("cost", f"${spent.cost:,.4f} for {used}"))
    if result.replayed:
        facts.append(("", f"{result.replayed:,} answers came from the journal, free of charge"))
    if result.stopped:
        facts.append(("stopped", f"{result.stopped}. Go on with: gristmill resume {folder}"))
    facts += [("note", note) for note in result.notes]
    if result.rounds:
        _show_rounds(console, result.rounds)
    facts.append(("look", f"gristmill rows {folder}{' [--rejects]' if result.reject_counts else ''}"))
    for label, text in facts:
        # The terminal may wrap: a path or a command that we broke could not be copied.
        console.print(Text.assemble((f"{label:>8}  ", "bold"), text), soft_wrap=True)


def _show_rounds(console: Any, rounds: dict[str, Any]) -> None:
    """Diversity by round, and what it comes to."""
    from rich.table import Table

    from gristmill.export.card import diversity_said
    from gristmill.quality.values import number

    budget = f" ({rounds['token_budget']:,} tokens)" if rounds["token_budget"] else ""
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("round", "rows", f"distinct-2{budget}"):
        grid.add_column(title, justify="right")
    for one in rounds["rounds"]:
        value = "not measured" if one["distinct_2"] is None else number(one["distinct_2"])
        grid.add_row(f"{one['round']:,}", f"{one['rows']:,}", value)
    console.print(grid)
    console.print(plain_text(diversity_said(rounds)), style="yellow" if rounds["falls"] else "dim", soft_wrap=True)


def facts(result: Result) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "recipe": result.name,
        "rows": dict(result.counts),
        "steps": {
            name: {"rows": dict(tally.rows), "rejects": dict(tally.rejects), "failures": tally.failures}
            for name, (_, tally) in result.steps.items()
        },
        "rejects": dict(result.reject_counts),
        "failures": result.failed,
        "waiting": result.waiting,
        "calls": result.calls,
        "replayed": result.replayed,
        "input_tokens": result.spent.input_tokens,
        "output_tokens": result.spent.output_tokens,
        "cost": result.spent.cost,
        "stopped": str(result.stopped) if result.stopped else None,
        "notes": result.notes,
        "rounds": result.rounds,
        "exit_code": result.exit_code,
        "files": {name: str(path) for name, path in result.tables.items()},
    }


def show_plan(plan: Plan) -> None:
    """A forecast as a table; ranges in brackets hold the truth about 9 times in 10."""
    from rich.table import Table
    from rich.text import Text

    console = new_console()
    chain = len({role.step for role in plan.roles}) > 1
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for title in (*(["step"] if chain else []), "role", "calls", "tokens in", "tokens out", "cost", "time"):
        grid.add_column(title, justify="left" if title in ("step", "role") else "right")
    for role in plan.roles:
        numbers = [role.calls, role.input_tokens, role.output_tokens]
        cells = [*map(_count_range, numbers), _money_range(role.cost), _time_range(role.seconds)]
        grid.add_row(*(Text(cell) for cell in (*([role.step] if chain else []), role.role, *cells)))
    numbers = [plan.calls, plan.input_tokens, plan.output_tokens]
    cells = [*map(_count_range, numbers), _money_range(plan.cost), _time_range(plan.seconds)]
    grid.add_row(*(Text(cell, style="bold") for cell in (*([""] if chain else []), "in all", *cells)))
    what = "target" if plan.target is not None else "all"
    facts = [
        ("tried", f"{plan.sample:,} units gave {plan.sample_rows:,} rows for ${plan.sample_cost:,.4f}"),
        *(
            ("yield", f"{name}: {_range(rows, '{:.2f}'.format)} rows for each unit")
            for name, rows in plan.yields.items()
        ),
        (what, f"{_count_range(plan.rows)} rows from {_count_range(plan.units)} seeds or draws"),
    ]
    if plan.concurrency:
        at_once = ", ".join(f"{limit} calls at once at {name}" for name, limit in plan.concurrency.items())
        facts.append(("time", f"{_time_range(plan.seconds)}, with {at_once}; less where more turn out to be well"))
    facts += [("note", note) for note in plan.notes]
    console.rule(plain_text(plan.name), align="left")
    if plan.roles:
        console.print(grid)
        console.print("low to high: the truth lies between them about 9 times in 10", style="dim")
    facts.append(("go on", f"gristmill resume {plan.folder}   (what was tried is not paid for again)"))
    for label, text in facts:
        console.print(Text.assemble((f"{label:>8}  ", "bold"), text), soft_wrap=True)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """A forecast for programs: ranges as [low, likely, high], null for a number without limit."""
    import dataclasses

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"low", "likely", "high"}:
                return [x if math.isfinite(x) else None for x in (value["low"], value["likely"], value["high"])]
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return {**plain(dataclasses.asdict(plan)), "folder": str(plan.folder)}


def _count_range(found: Range) -> str:
    return _range(found, _compact_count)


def _compact_count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 10 * size:
            return f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def _money_range(found: Range) -> str:
    return _range(found, _money)


def _money(amount: float) -> str:
    """To the cent; of less than a dollar two digits that say something."""
    return (
        f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.{max(2, 1 - math.floor(math.log10(amount)))}f}"
    )


def _time_range(found: Range) -> str:
    return _range(found, duration)


def _range(found: Range, text: Callable[[float], str]) -> str:
    if found.likely == float("inf"):
        return f"{text(found.low)} or more"
    likely, low = text(found.likely), text(found.low)
    if found.high == float("inf"):
        return f"{likely} ({low} or more)"
    high = text(found.high)
    return likely if low == high else f"{likely} ({low}–{high})"


def duration(seconds: float) -> str:
    """As people say it: 40 s, 12 min, 3.5 h, 2.1 days."""
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def show_preview(result: Result) -> None:
    import msgspec

    from gristmill.execute import looking
    from gristmill.models.protocol import Question
    from gristmill.rows import ordered
    from gristmill.testing import text_of

    console = new_console()
    with looking(result.folder) as journal:
        for place, role, answer, error, body in journal.select(
            "SELECT place, role, answer, error, body FROM calls JOIN questions ON question=digest ORDER BY calls.rowid"
        ):
            console.rule(f"{role} at {place}", align="left", style="dim")
            plain = msgspec.json.decode(body)
            if plain.get("kind") in ("once", "race"):
                continue
            console.print(plain_text(text_of(msgspec.convert(plain, Question))), style="cyan")
            said = msgspec.json.decode(answer) if answer else error
            console.print(plain_text(said["text"] if isinstance(said, dict) else short(said, 400)), style="green")
        names = list(result.steps)
        for step, title, data in journal.select("SELECT step, name, data FROM rows ORDER BY step, place, seq"):
            console.rule(f"row: {title}{f' of {names[step]}' if len(names) > 1 else ''}", align="left")
            plain = msgspec.json.decode(data)
            plain.pop("lineage", None)
            print_record(console, ordered(plain))
        for reason, data in journal.select("SELECT reason, data FROM rejects ORDER BY step, place, seq"):
            console.rule(f"reject: {reason}", align="left", style="red")
            print_record(console, msgspec.json.decode(data))
        for _, data in journal.select("SELECT kind, data FROM failures"):
            console.rule("failure", align="left", style="red")
            print_record(console, msgspec.json.decode(data))
    rows, rejected = sum(result.counts.values()), sum(result.reject_counts.values())
    console.rule()
    console.print(f"preview: {rows} rows, {rejected} rejects, ${result.spent.cost:.4f}; nothing was kept")


def print_record(console: Any, plain: dict[str, Any], most: int = 2000) -> None:
    """The fields that hold something, in their order; lists and tables as JSON, cut where they get long."""
    from rich.text import Text

    for key, value in plain.items():
        if value not in ("", None, [], {}):
            text = value if isinstance(value, str) else _compact(value)
            if len(text) > most:
                text = f"{text[:most]} … ({len(text) - most:,} more characters)"
            console.print(Text.assemble((f"{key}: ", "bold"), text))


def new_console(*, error: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=error)


def print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def plain_text(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def short(value: Any, width: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= width else text[: width - 1] + "…"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return short(value) if value != "" else '""'


def _compact(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def show_verified(folder: Path, found: Verified) -> None:
    """Whether a signed run is as it was signed."""
    from rich.text import Text

    console = new_console()
    for difference in found.differences:
        console.print(Text(f"differs: {difference}", style="red"), soft_wrap=True)
    if hint := found.hint(folder):
        console.print(Text(hint, style="yellow"), soft_wrap=True)
    if found.ok:
        console.print(
            Text(f"{folder}: {found.rows:,} rows are as they were signed by key {found.key_id[:16]}"), soft_wrap=True
        )
    if not found.known:
        said = "The key is the manifest's own: whoever changed the rows could have changed it too. Name the signer's: --key"
        console.print(Text(said, style="yellow"), soft_wrap=True)


def show_card(folder: Path, missing: list[str], *, written: bool) -> None:
    """What a run's card still lacks."""
    from rich.text import Text

    console = new_console()
    for line in missing:
        console.print(Text(line, style="yellow"), soft_wrap=True)
    state = "complete" if not missing else "not complete" if written else "not complete, or not as it should be"
    console.print(Text(f"{folder / 'README.md'} {'was written; it is' if written else 'is'} {state}"), soft_wrap=True)
    if written:
        show_old_signature(folder)


def show_old_signature(folder: Path) -> None:
    """Of a folder that was signed before its card was written anew, how to sign again."""
    if (folder / "manifest.sig").exists():
        said = f"The signature is older than the card. Sign the folder again: gristmill sign {folder} --key KEY"
        new_console().print(plain_text(said), style="yellow", soft_wrap=True)


def show_trace(origin: Origin) -> None:
    """A row with its questions and answers, and what it came from, as a tree."""
    from rich.tree import Tree

    console = new_console()
    tree = Tree(_titled(origin))
    _grow(tree, origin)
    console.print(tree)


def _titled(origin: Origin) -> Any:
    from rich.text import Text

    where = f" of {origin.step}" if origin.step else ""
    made = f", generation {origin.generation}" if origin.kind not in ("seed", "artefact", "unknown") else ""
    return Text.assemble((f"{origin.kind}{where}", "bold"), f" {origin.id}{made}")


def _grow(tree: Any, origin: Origin) -> None:
    from rich.text import Text

    from gristmill.trace import answered, said

    if origin.known:
        tree.add(Text("as above", style="dim"))
        return
    for key, value in origin.data.items():
        tree.add(Text.assemble((f"{key}: ", "cyan"), short(value, 200)))
    for key, value in origin.draws.items():
        tree.add(Text.assemble((f"drawn {key}: ", "magenta"), short(value)))
    for call in origin.calls:
        paid = "paid for by another run" if call.reused else f"${call.cost:.6f}"
        used = f"{call.input_tokens:,} tokens in, {call.output_tokens:,} out, {call.seconds:.2f} s, {paid}"
        branch = tree.add(Text.assemble((f"{call.role or 'call'} ", "bold"), f"{call.model} ({used})"))
        branch.add(Text.assemble(("asked: ", "dim"), short(said(call.question), 400)))
        branch.add(Text.assemble(("said: ", "dim"), short(answered(call.answer), 400)))
    for parent in origin.parents:
        _grow(tree.add(_titled(parent)), parent)
