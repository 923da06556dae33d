"""The command line.

Exit codes: 0 all well; 1 bad usage or input; 2 stopped by a limit; 3 finished with failures; 4 waiting for people;
130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.errors import BadInput, GristmillError, nearest

if TYPE_CHECKING:
    from gristmill.contract import Recipe
    from gristmill.execute import Result

# Heavy modules are imported inside the commands: `gristmill --help` has to be instant.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Make training data for language models: every published method, one durable engine.",
    epilog="Exit codes: 0 all well, 1 bad usage or input, 2 stopped by a limit, 3 finished with failures, "
    "4 waiting for people, 130 interrupted.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Model = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="[ROLE=]SPEC", help="A model for all roles or for one; repeat it for several."),
]
PromptFile = Annotated[
    list[str] | None,
    typer.Option("--prompt", metavar="NAME=FILE", help="Another text for one of the recipe's prompts."),
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; must be new. Default: runs/RECIPE-N.")]
Target = Annotated[int | None, typer.Option(help="Stop at so many accepted rows.")]
MaxCost = Annotated[float | None, typer.Option(help="Spend at most so many USD.")]
MaxTokens = Annotated[int | None, typer.Option(help="Use at most so many tokens, prompts and replies together.")]
MaxCandidates = Annotated[int | None, typer.Option(help="Give up after so many rows and rejects together.")]
Concurrency = Annotated[int | None, typer.Option(help="Calls at once per endpoint.")]
Seeds = Annotated[
    str | None, typer.Option(help="JSONL, JSON, CSV, Parquet, a folder of texts, a run's folder or hf:NAME[:SPLIT].")
]
Map = Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Rename a column of the seeds.")]
Chunk = Annotated[int | None, typer.Option(help="Split texts into pieces of at most so many tokens.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all that is left to chance. Default 0.")]
Extra = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("list")
def list_(json: Json = False) -> None:
    """List the recipes."""
    from gristmill import recipes

    if json:
        _print_json([recipes.load(name).describe() for name in [*recipes.survey(), *recipes.plugins()]])
        return
    from rich.table import Table

    grid = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("recipe", "what it does", "paper"):
        grid.add_column(title, no_wrap=title == "recipe")
    for name, entry in recipes.survey().items():
        grid.add_row(name, entry["summary"], entry["paper"])
    for name, point in recipes.plugins().items():
        grid.add_row(name, f"plugin: {point.value}", "")
    _console().print(grid)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="RECIPE")], json: Json = False) -> None:
    """Explain a recipe: the method, its paper, its parameters, what it needs."""
    from gristmill import recipes

    method = recipes.load(name)
    if json:
        _print_json(method.describe())
        return
    console = _console()
    entry = method.survey
    console.print(f"[bold]{name}[/]  {entry.get('title', '')}", highlight=False)
    if entry:
        arxiv = f"  arXiv:{entry['arxiv']}" if entry.get("arxiv") else ""
        console.print(f"{entry.get('paper', '')}{arxiv}", style="dim", highlight=False, markup=False)
        where = [entry.get(key) for key in ("category", "subcategory", "modality", "domain")]
        stages = ", ".join(entry.get("stages", []))
        console.print(f"{'; '.join(filter(None, where))}; for {stages}", style="dim", highlight=False, markup=False)
    console.print()
    about, _, rest = method.doc.partition("\nArgs:")
    rejects = rest.partition("\nRejects:")[2] or about.partition("\nRejects:")[2]
    for paragraph in about.partition("\nRejects:")[0].strip().split("\n\n"):
        console.print(" ".join(paragraph.split()) + "\n", highlight=False, markup=False)
    if rejects:
        console.print("Rejects: " + " ".join(rejects.split()), highlight=False, markup=False)
    console.print()
    _explain_parts(console, method)
    console.print(f"\ngristmill run {name}{' --seeds FILE' if method.seed and not method.seeds else ''}", style="bold")


def _explain_parts(console: Any, method: Recipe) -> None:
    from rich.table import Table

    from gristmill.rows import columns, required

    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    if method.seed:
        needed = required(method.seed)
        names = ", ".join(c if c in needed else f"[{c}]" for c in columns(method.seed))
        whole = "the whole set" if method.shape == "set" else "row by row"
        shipped = f"; without --seeds the shipped {method.seeds}" if method.seeds else ""
        grid.add_row("reads", _plain(f"{names} ({whole}{shipped})"))
    else:
        grid.add_row("reads", "nothing: it makes rows from nothing")
    for kind in method.tables:
        grid.add_row("makes", _plain(f"{kind.__name__}: {', '.join(columns(kind))}"))
    for role, needs in method.roles.items():
        extra = " (several)" if needs.many else " (optional)" if needs.optional else ""
        grid.add_row("role", _plain(f"{role}: {' + '.join(sorted(needs.needs))}{extra}"))
    for key, kind in method.inputs.items():
        grid.add_row("input", _plain(f"--{key} FILE: {', '.join(columns(kind))}"))
    for key, parameter in method.parameters.items():
        default = "required" if parameter.default is ... else f"= {_default(parameter.default)}"
        option = f"--{key.replace('_', '-')}"
        grid.add_row(option, _plain(f"{parameter.type_name} {default}  {parameter.doc}"))
    console.print(grid)


@app.command(context_settings=Extra)
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A name of `gristmill list`, or ./FILE.py:NAME.")],
    seeds: Seeds = None,
    map_: Map = None,
    chunk: Chunk = None,
    out: Out = None,
    target: Target = None,
    preview: Annotated[
        int | None, typer.Option(help="Show prompts, replies, rows and rejects of N seeds or rows; keep nothing.")
    ] = None,
    model: Model = None,
    prompt: PromptFile = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_candidates: MaxCandidates = None,
    concurrency: Concurrency = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Run a recipe. Its own parameters are options too: see `gristmill show RECIPE`."""
    from gristmill import api, config, recipes

    defaults = config.load()
    method = recipes.load(name)
    settings, inputs = _own_options(method, context.args)
    options: dict[str, Any] = {
        "seeds": seeds,
        "inputs": inputs,
        "mapping": _pairs("--map", map_),
        "chunk": chunk,
        "model": _models(model, defaults),
        "prompts": _prompt_texts(prompt),
        "max_cost": _first(max_cost, defaults.max_cost),
        "max_tokens": _first(max_tokens, defaults.max_tokens),
        "max_candidates": _first(max_candidates, defaults.max_candidates),
        "concurrency": _first(concurrency, defaults.concurrency),
        "seed": _first(seed, defaults.seed, 0),
        "prices": defaults.prices,
        **defaults.recipes.get(name, {}),
        **settings,
    }
    if preview is not None:
        _preview(name, method, preview, options)
        return
    parent = Path(defaults.out) if defaults.out else None
    options["out"] = out or (api.next_folder(method.name, parent) if parent else None)
    if method.seed and seeds is None and method.seeds and not json:
        print(f"no --seeds: using the shipped {method.seeds}", file=sys.stderr)
    if target is None and not method.bounded and not json:
        print(f"no --target: making {api.DEFAULT_TARGET} rows", file=sys.stderr)
    _finish(api.run(name, target=target, watch=_watcher(json), **options), json)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    failed: Annotated[bool, typer.Option("--failed", help="Try the rows that failed again.")] = False,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_candidates: MaxCandidates = None,
    concurrency: Concurrency = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Continue a run that was stopped or killed. Nothing that was paid for is asked again."""
    from gristmill import api, config

    defaults = config.load()
    given = _models(model, config.Defaults(models=defaults.models))
    result = api.resume(
        folder,
        failed=failed,
        max_cost=max_cost,
        max_tokens=max_tokens,
        max_candidates=max_candidates,
        concurrency=concurrency,
        model=given,
        prices=defaults.prices,
        watch=_watcher(json),
    )
    _finish(result, json)


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run whose journal is used.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another value of a parameter.")
    ] = None,
    seeds: Seeds = None,
    map_: Map = None,
    chunk: Chunk = None,
    out: Out = None,
    target: Target = None,
    model: Model = None,
    prompt: PromptFile = None,
    seed: Seed = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    concurrency: Concurrency = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing: use the journal alone.")] = False,
    json: Json = False,
) -> None:
    """Make a run anew in another folder, with other settings. Only what changed is asked, and paid for."""
    from gristmill import api, config, recipes
    from gristmill.execute import config_of

    defaults = config.load()
    method = recipes.load(config_of(folder).recipe)
    given = _models(model, config.Defaults(models=defaults.models))
    result = api.rerun(
        folder,
        out=out,
        settings=_typed(method, _pairs("--set", set_)),
        seeds=seeds,
        mapping=_pairs("--map", map_),
        chunk=chunk,
        target=target,
        model=given,
        prompts=_prompt_texts(prompt),
        seed=seed,
        max_cost=max_cost,
        max_tokens=max_tokens,
        concurrency=concurrency,
        offline=offline,
        prices=defaults.prices,
        watch=_watcher(json),
    )
    _finish(result, json)


@app.command()
def rows(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    rejects: Annotated[bool, typer.Option("--rejects", help="What did not pass, and why.")] = False,
    failures: Annotated[bool, typer.Option("--failures", help="What raised an error or waits for people.")] = False,
    limit: Annotated[int, typer.Option(help="Show at most so many; 0: all.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look at the rows of a run, at what it rejected, or at what failed."""
    import msgspec

    from gristmill.execute import looking
    from gristmill.rows import ordered

    kind = "rejects" if rejects else "failures" if failures else "rows"
    with looking(folder) as journal:
        total = journal.count(kind)
        cut = f" LIMIT {limit}" if limit > 0 else ""
        label = {"rows": "name", "rejects": "reason", "failures": "kind"}[kind]
        found = journal.select(f"SELECT {label}, data FROM {kind} ORDER BY step, place, seq{cut}")
        if json:
            for _, data in found:
                print(bytes(data).decode())
            return
        console = _console()
        for number, (title, data) in enumerate(found):
            plain = msgspec.json.decode(data)
            lineage = plain.pop("lineage", None) or {}
            console.rule(f"{number + 1} of {total}: {title}", align="left")
            _print_record(console, ordered(plain))
            if lineage.get("draws"):
                console.print(f"drawn: {_short(lineage['draws'])}", style="dim", markup=False)
        if not total:
            console.print(f"{folder} has no {kind}")
        elif limit and total > limit:
            console.print(f"\n{total - limit} more: --limit 0 shows all", style="dim")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    format_: Annotated[
        str, typer.Option("--format", help="jsonl, parquet, csv, trl-sft, trl-dpo, alpaca, sharegpt, openai.")
    ],
    to: Annotated[Path, typer.Option(help="The file to write.")],
    table: Annotated[str | None, typer.Option(help="Which table, where the run has several.")] = None,
) -> None:
    """Write the rows of a run in a format that trainers read."""
    from gristmill.export import export as write

    count = write(folder, format_, to, table=table)
    _console().print(f"{count:,} rows in {to}", markup=False)


@app.command()
def models(model: Model = None, json: Json = False) -> None:
    """What is bound, what it can do, and whether it answers: one small call to each."""
    from gristmill import config
    from gristmill.models import check

    defaults = config.load()
    given = _models(model, defaults)
    _show_models(check.look(given, defaults.models, defaults.prices), json)


def _show_models(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        _print_json(found)
    else:
        console = _console()
        for entry in found:
            price = "${:g}/${:g} for a million tokens".format(*entry["price"]) if entry["price"] else "price not known"
            context = f"{entry['context']:,} tokens of context" if entry["context"] else "context not known"
            console.print(_plain(entry["model"]), style="bold", soft_wrap=True)
            console.print(
                _plain(f"  can {', '.join(entry['can'])}; {context}; {price}; {entry['concurrency']} calls at once"),
                soft_wrap=True,
            )
            live = f"answers, {entry['seconds']:.2f} s" if entry["error"] is None else entry["error"]
            console.print(_plain(f"  {live}"), style="red" if entry["error"] else "green", soft_wrap=True)
    if any(entry["error"] for entry in found):
        raise typer.Exit(1)


# -- reading the command line


def _own_options(method: Recipe, args: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The recipe's parameters and further inputs among the arguments that are not the command's own."""
    given: dict[str, str] = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("--"):
            raise BadInput(f"unexpected argument {arg!r}: options are written --NAME VALUE")
        key, has_value, value = arg[2:].partition("=")
        name = key.replace("-", "_")
        negated = name.removeprefix("no_") if name.startswith("no_") else ""
        if name not in method.parameters and negated in method.parameters:
            given[negated] = "false"
            continue
        if name not in method.parameters and name not in method.inputs:
            known = [n.replace("_", "-") for n in (*method.parameters, *method.inputs)]
            ours = [o.lstrip("-") for o in _run_options()]
            raise BadInput(f"{method.name} has no option --{key}: {nearest(key, [*known, *ours])}")
        if not has_value:
            flag = name in method.parameters and method.parameters[name].type is bool
            if flag and (not rest or rest[0].startswith("--")):
                value = "true"
            elif not rest:
                raise BadInput(f"--{key} needs a value")
            else:
                value = rest.pop(0)
        given[name] = value
    inputs = {name: value for name, value in given.items() if name in method.inputs}
    return _typed(method, {n: v for n, v in given.items() if n not in inputs}), inputs


def _typed(method: Recipe, given: dict[str, str]) -> dict[str, Any]:
    return method.from_text({name.replace("-", "_"): value for name, value in given.items()})


def _run_options() -> list[str]:
    command: Any = typer.main.get_command(app)
    return [option for parameter in command.commands["run"].params for option in parameter.opts if option[:2] == "--"]


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"{option} {text!r}: expected NAME=VALUE")
        pairs[key] = value
    return pairs


def _prompt_texts(given: list[str] | None) -> dict[str, str]:
    texts = {}
    for name, file in _pairs("--prompt", given).items():
        try:
            texts[name] = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--prompt {name}={file}: {error}") from None
    return texts


def _models(given: list[str] | None, defaults: Any) -> Any:
    """What --model and gristmill.toml say, by role; "" stands for all other roles."""
    bound: dict[str, Any] = {}
    if isinstance(defaults.model, dict):
        bound = dict(defaults.model)
    elif defaults.model:
        bound[""] = defaults.model
    said: dict[str, list[str]] = {}
    for text in given or []:
        role, equals, spec = text.partition("=")
        if not equals or not role.isidentifier():
            role, spec = "", text
        said.setdefault(role, []).append(spec)
    bound |= said
    known = defaults.models
    named = {
        role: [known.get(s, s) for s in ([specs] if isinstance(specs, str) else specs)] for role, specs in bound.items()
    }
    return named or None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _watcher(json: bool) -> Any:
    if json:
        return None
    from gristmill.progress import shown

    return shown


# -- printing


def _console() -> Any:
    from rich.console import Console

    return Console()


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _short(value: Any, width: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= width else text[: width - 1] + "…"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return _short(value) if value != "" else '""'


def _print_record(console: Any, plain: dict[str, Any], most: int = 2000) -> None:
    """The fields that hold something, in their order; lists and tables as JSON, cut where they get long."""
    from rich.text import Text

    for key, value in plain.items():
        if value not in ("", None, [], {}):
            text = value if isinstance(value, str) else _compact(value)
            if len(text) > most:
                text = f"{text[:most]} … ({len(text) - most:,} more characters)"
            console.print(Text.assemble((f"{key}: ", "bold"), text))


def _compact(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _finish(result: Result, json: bool) -> None:
    """Say what was made, what was not and why, what it cost, and where to look; exit with the code for it."""
    if json:
        _print_json(_facts(result))
    else:
        _report(result)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _facts(result: Result) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "recipe": result.recipe.name,
        "rows": dict(result.counts),
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
        "exit_code": result.exit_code,
        "files": {name: str(path) for name, path in result.tables.items()},
    }


def _report(result: Result) -> None:
    from rich.text import Text

    console = _console()
    folder = result.folder
    first = next(result.iterate(), None)
    if first is not None:
        from gristmill.rows import content

        console.rule("the first row", align="left")
        _print_record(console, content(first), most=300)
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
    facts.append(("look", f"gristmill rows {folder}{' [--rejects]' if result.reject_counts else ''}"))
    for label, text in facts:
        # The terminal may wrap: a path or a command that we broke could not be copied.
        console.print(Text.assemble((f"{label:>8}  ", "bold"), text), soft_wrap=True)


def _preview(name: str, method: Recipe, count: int, options: dict[str, Any]) -> None:
    """Show a small run on screen, and keep nothing of it."""
    import tempfile

    from gristmill import api

    if count < 1:
        raise BadInput(f"--preview {count}: expected a number of 1 or more")
    options |= {"target": count} if method.shape == "set" else {"units": count}
    options["max_candidates"] = options["max_candidates"] or 20 * count
    with tempfile.TemporaryDirectory(prefix="gristmill-preview-") as folder:
        result = api.run(name, out=Path(folder) / "run", **options)
        _show_preview(result)


def _show_preview(result: Result) -> None:
    import msgspec

    from gristmill.execute import looking
    from gristmill.models.protocol import Question
    from gristmill.rows import ordered
    from gristmill.testing import text_of

    console = _console()
    with looking(result.folder) as journal:
        for place, role, answer, error, body in journal.select(
            "SELECT place, role, answer, error, body FROM calls JOIN questions ON question=digest ORDER BY calls.rowid"
        ):
            console.rule(f"{role} at {place}", align="left", style="dim")
            plain = msgspec.json.decode(body)
            if plain.get("kind") in ("once", "race"):
                continue
            console.print(_plain(text_of(msgspec.convert(plain, Question))), style="cyan")
            said = msgspec.json.decode(answer) if answer else error
            console.print(_plain(said["text"] if isinstance(said, dict) else _short(said, 400)), style="green")
        for title, data in journal.select("SELECT name, data FROM rows ORDER BY place, seq"):
            console.rule(f"row: {title}", align="left")
            plain = msgspec.json.decode(data)
            plain.pop("lineage", None)
            _print_record(console, ordered(plain))
        for reason, data in journal.select("SELECT reason, data FROM rejects ORDER BY place, seq"):
            console.rule(f"reject: {reason}", align="left", style="red")
            _print_record(console, msgspec.json.decode(data))
        for _, data in journal.select("SELECT kind, data FROM failures"):
            console.rule("failure", align="left", style="red")
            _print_record(console, msgspec.json.decode(data))
    rows, rejected = sum(result.counts.values()), sum(result.reject_counts.values())
    console.rule()
    console.print(f"preview: {rows} rows, {rejected} rejects, ${result.spent.cost:.4f}; nothing was kept")


def main(args: list[str] | None = None) -> None:
    """The program `gristmill`."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a row may hold what a terminal cannot
    usage: Any = typer.BadParameter.__mro__[1]
    try:
        code = typer.main.get_command(app).main(args, prog_name="gristmill", standalone_mode=False)
    except usage as error:
        print(f"gristmill: {error.format_message()}\nTry `gristmill --help`.", file=sys.stderr)
        code = 1
    except GristmillError as error:
        print(f"gristmill: {error}", file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        print("gristmill: stopped at once; `gristmill resume DIR` goes on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
