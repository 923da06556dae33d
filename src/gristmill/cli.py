"""The command line.

Exit codes: 0 all well; 1 bad usage or input; 2 stopped by a limit; 3 finished with failures; 4 waiting for people;
130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill import printing
from gristmill.errors import BadInput, GristmillError, nearest

if TYPE_CHECKING:
    from gristmill.chain import Chain
    from gristmill.contract import Recipe
    from gristmill.execute import Result

# Heavy modules are imported inside the commands: `gristmill --help` has to be instant.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Make training data for language models: every published method, one durable engine.",
    epilog="Exit codes: 0 all well, 1 bad usage or input, 2 stopped by a limit, 3 finished with failures, "
    "4 waiting for people, 5 a check failed, 130 interrupted.",
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
MaxCost = Annotated[
    list[str] | None,
    typer.Option(metavar="[ROLE=]USD", help="Spend at most so much, in all or on one role; repeat it for several."),
]
MaxTokens = Annotated[
    list[str] | None,
    typer.Option(metavar="[ROLE=]N", help="Use at most so many tokens, prompts and replies together; likewise."),
]
MaxCandidates = Annotated[int | None, typer.Option(help="Give up after so many rows and rejects together.")]
ClusterAt = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS|local:N", help="Work on a Ray cluster, or on N processes here: see docs/scale.md."
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(help="Calls at once per endpoint. Default: as many as it answers well, found as it goes.")
]
Seeds = Annotated[
    str | None, typer.Option(help="JSONL, JSON, CSV, Parquet, a folder of texts, a run's folder or hf:NAME[:SPLIT].")
]
Map = Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Rename a column of the seeds.")]
Chunk = Annotated[int | None, typer.Option(help="Split texts into pieces of at most so many tokens.")]


class Shown(StrEnum):
    """Ways of `gristmill.progress` to show a run."""

    auto = "auto"
    panel = "panel"
    lines = "lines"
    json = "json"
    none = "none"


class Pii(StrEnum):
    """What finds names of people: of `gristmill.report.command`."""

    auto = "auto"
    presidio = "presidio"
    light = "light"


Progress = Annotated[
    Shown | None,
    typer.Option(
        "--progress",
        help="On stderr: a live panel, plain lines for a log, JSON events for a program, or none. "
        "Default: a panel in a terminal and lines elsewhere; none with --json.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of all that is left to chance. Default 0.")]
Extra = {"allow_extra_args": True, "ignore_unknown_options": True}


def _only(what: str, like: str) -> Any:
    return typer.Option(help=f"Only those {what}: {like}.")


@app.command("list")
def list_(
    stage: Annotated[str | None, _only("for this stage", "pre-training, fine-tuning, preference-alignment")] = None,
    category: Annotated[str | None, _only("of this category", "co-annotation, data-reformation, quality")] = None,
    function: Annotated[str | None, _only("for this function of a model", "understanding, logic, memory")] = None,
    modality: Annotated[str | None, _only("of this modality", "text, image-text")] = None,
    domain: Annotated[str | None, _only("of this domain", "general, math, code, science, dialogue")] = None,
    need: Annotated[
        str | None, _only("that need this", "chat-model, embedder, python-sandbox, human-annotator")
    ] = None,
    part: Annotated[str | None, _only("of this part", "distillation, augmentation, quality")] = None,
    json: Json = False,
) -> None:
    """List the recipes; with options, those for which all of them hold."""
    from gristmill import recipes

    asked = {"stages": stage, "category": category, "functions": function, "modality": modality, "domain": domain,
             "needs": need, "part": part}  # fmt: skip
    wanted = {name: value for name, value in asked.items() if value is not None}
    names = recipes.select(wanted)
    plugins = {} if wanted else recipes.plugins()  # the survey says nothing of them
    if json:
        printing.print_json([recipes.load(name).describe() for name in [*names, *plugins]])
        return
    from rich.table import Table

    grid = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("recipe", "what it does", "paper"):
        grid.add_column(title, no_wrap=title == "recipe")
    for name in names:
        entry = recipes.survey()[name]
        grid.add_row(name, entry["summary"], entry["paper"])
    for name, point in plugins.items():
        grid.add_row(name, f"plugin: {point.value}", "")
    console = printing.new_console()
    console.print(grid)
    if wanted:
        console.print(f"{len(names)} of {len(recipes.survey())} recipes", markup=False)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="RECIPE")], json: Json = False) -> None:
    """Explain a recipe: the method, its paper, its parameters, what it needs."""
    from gristmill import recipes

    method = recipes.load(name)
    if json:
        printing.print_json(method.describe())
        return
    console = printing.new_console()
    entry = method.survey
    console.print(f"[bold]{name}[/]  {entry.get('title', '')}", highlight=False)
    if entry:
        arxiv = f"  arXiv:{entry['arxiv']}" if entry.get("arxiv") else ""
        console.print(f"{entry.get('paper', '')}{arxiv}", style="dim", highlight=False, markup=False)
        where = [entry.get(key) for key in ("category", "subcategory", "modality", "domain")]
        stages = ", ".join(entry.get("stages", []))
        needs = f"; needs {', '.join(entry['needs'])}" if entry.get("needs") else ""
        said = f"{'; '.join(filter(None, where))}; for {stages}{needs}"
        console.print(said, style="dim", highlight=False, markup=False)
    console.print()
    about, _, rest = method.doc.partition("\nArgs:")
    rejects = rest.partition("\nRejects:")[2] or about.partition("\nRejects:")[2]
    for paragraph in about.partition("\nRejects:")[0].strip().split("\n\n"):
        console.print(" ".join(paragraph.split()) + "\n", highlight=False, markup=False)
    if rejects:
        console.print("Rejects: " + " ".join(rejects.split()), highlight=False, markup=False)
    console.print()
    printing.explain_parts(console, method)
    needed = ["seeds"] if method.seed and not method.seeds else []
    needed += [key for key in method.inputs if key not in method.optional_inputs]
    needed += [key.replace("_", "-") for key, parameter in method.parameters.items() if parameter.default is ...]
    options = "".join(f" --{key} {'FILE' if key == 'seeds' or key in method.inputs else 'VALUE'}" for key in needed)
    console.print(printing.plain_text(f"\ngristmill run {name}{options}"), style="bold")


@app.command(context_settings=Extra)
def run(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name of `gristmill list`, ./FILE.py:NAME, or a chain.toml.")
    ],
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
    cluster: ClusterAt = None,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Run a recipe or a chain. The recipe's own parameters are options too: see `gristmill show RECIPE`."""
    from gristmill import api

    said = dict(context.params)
    chain, options = _run_options_of(context, said)
    first = chain.steps[0].method
    if preview is not None:
        _preview(chain, preview, options)
        return
    quiet = json or progress == Shown.json
    if first.seed and options["seeds"] is None and first.seeds and not quiet:
        print(f"no --seeds: using the shipped {first.seeds}", file=sys.stderr)
    if api.target_of(chain, options["target"], None) != options["target"] and not quiet:
        print(f"no --target: making {api.DEFAULT_TARGET} rows", file=sys.stderr)
    _finish(api.run(chain, watch=_watcher(progress, json), cluster=cluster, **options), json)


@app.command(context_settings=Extra)
def plan(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name of `gristmill list`, ./FILE.py:NAME, or a chain.toml.")
    ],
    seeds: Seeds = None,
    map_: Map = None,
    chunk: Chunk = None,
    out: Out = None,
    target: Target = None,
    sample: Annotated[int, typer.Option(help="Seeds or draws to try.")] = 20,
    model: Model = None,
    prompt: PromptFile = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_candidates: MaxCandidates = None,
    concurrency: Concurrency = None,
    seed: Seed = None,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Try a small sample for real, and say what the whole will cost: money, tokens, time, rows. `resume` then makes the
    run; what was tried is kept, and not paid for twice."""
    from gristmill import api

    chain, options = _run_options_of(context, dict(context.params))
    found = api.plan(chain, sample=sample, watch=_watcher(progress, json), **options)
    if json:
        printing.print_json(printing.plan_facts(found))
    else:
        printing.show_plan(found)


def _run_options_of(context: typer.Context, said: dict[str, Any]) -> tuple[Chain, dict[str, Any]]:
    """What is to be run, and how: the command line over the chain's file over gristmill.toml."""
    from gristmill import api, assemble, config

    defaults = config.load()
    chain, written = assemble.open_chain(said["name"])
    settings, inputs = _own_options(chain, context.args)
    for step in chain.steps:
        mine = step.source if step.source in defaults.recipes else step.method.name
        step.settings = {**defaults.recipes.get(mine, {}), **step.settings}
    parent = Path(defaults.out) if defaults.out else None
    return chain, {
        "seeds": _first(said["seeds"], written.get("seeds")),
        "inputs": inputs,
        "mapping": _pairs("--map", said["map_"]),
        "chunk": said["chunk"],
        "out": said["out"] or (api.next_folder(chain.name, parent) if parent else None),
        "target": _first(said["target"], written.get("target")),
        "model": _models(said["model"], defaults, written.get("model")),
        "prompts": _prompt_texts(said["prompt"]),
        "max_cost": _walls(defaults.max_cost, written.get("max_cost"), _wall("--max-cost", said["max_cost"])),
        "max_tokens": _walls(defaults.max_tokens, written.get("max_tokens"), _wall("--max-tokens", said["max_tokens"])),
        "max_candidates": _first(said["max_candidates"], written.get("max_candidates"), defaults.max_candidates),
        "concurrency": _first(said["concurrency"], written.get("concurrency"), defaults.concurrency),
        "seed": _first(said["seed"], written.get("seed"), defaults.seed),
        "prices": defaults.prices,
        **settings,
    }


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    failed: Annotated[bool, typer.Option("--failed", help="Try the rows that failed again.")] = False,
    target: Annotated[int | None, typer.Option(help="Make more rows than were asked for before.")] = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    max_candidates: MaxCandidates = None,
    concurrency: Concurrency = None,
    model: Model = None,
    cluster: ClusterAt = None,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Continue a run that was stopped or killed. Nothing that was paid for is asked again."""
    from gristmill import api, config

    defaults = config.load()
    given = _models(model, config.Defaults(models=defaults.models))
    result = api.resume(
        folder,
        failed=failed,
        target=target,
        max_cost=_wall("--max-cost", max_cost),
        max_tokens=_wall("--max-tokens", max_tokens),
        max_candidates=max_candidates,
        concurrency=concurrency,
        model=given,
        prices=defaults.prices,
        watch=_watcher(progress, json),
        cluster=cluster,
    )
    _finish(result, json)


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run whose journal is used.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[STEP.]NAME=VALUE", help="Another value of a parameter; repeat it for several."),
    ] = None,
    chain_file: Annotated[
        str | None, typer.Option("--chain", metavar="FILE", help="A changed chain in place of the run's own.")
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
    max_candidates: MaxCandidates = None,
    concurrency: Concurrency = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing: use the journal alone.")] = False,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Make a run anew in another folder, with other settings. Only what changed is asked, and paid for."""
    from gristmill import api, assemble, config
    from gristmill.execute import config_of

    defaults = config.load()
    chain = assemble.open_chain(chain_file)[0] if chain_file else assemble.chain_of(config_of(folder))
    given = _models(model, config.Defaults(models=defaults.models))
    result = api.rerun(
        folder,
        recipe=chain_file,
        out=out,
        settings=_typed(chain, _pairs("--set", set_)),
        seeds=seeds,
        mapping=_pairs("--map", map_),
        chunk=chunk,
        target=target,
        model=given,
        prompts=_prompt_texts(prompt),
        seed=seed,
        max_cost=_wall("--max-cost", max_cost),
        max_tokens=_wall("--max-tokens", max_tokens),
        max_candidates=max_candidates,
        concurrency=concurrency,
        offline=offline,
        prices=defaults.prices,
        watch=_watcher(progress, json),
    )
    _finish(result, json)


@app.command()
def rows(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    rejects: Annotated[bool, typer.Option("--rejects", help="What did not pass, and why.")] = False,
    failures: Annotated[bool, typer.Option("--failures", help="What raised an error or waits for people.")] = False,
    step: Annotated[
        str | None, typer.Option(help="Of this step of a chain. Default: rows of the last, else all.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many; 0: all.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Look at the rows of a run, at what it rejected, or at what failed."""
    import msgspec

    from gristmill.execute import config_of, looking
    from gristmill.rows import ordered

    kind = "rejects" if rejects else "failures" if failures else "rows"
    names = [entry.name for entry in config_of(folder).steps]
    if step is not None and step not in names:
        raise BadInput(f"{folder} has no step {step!r}: {nearest(step, names)}")
    number = names.index(step) if step else len(names) - 1 if kind == "rows" else None
    where = "1" if number is None else f"step={number}"
    with looking(folder) as journal:
        total = journal.count(kind, where)
        cut = f" LIMIT {limit}" if limit > 0 else ""
        label = {"rows": "name", "rejects": "reason", "failures": "kind"}[kind]
        found = journal.select(f"SELECT step, {label}, data FROM {kind} WHERE {where} ORDER BY step, place, seq{cut}")
        if json:
            for _, _, data in found:
                print(bytes(data).decode())
            return
        console = printing.new_console()
        for shown, (at, title, data) in enumerate(found, start=1):
            plain = msgspec.json.decode(data)
            lineage = plain.pop("lineage", None) or {}
            of = f" of {names[at]}" if len(names) > 1 else ""
            console.rule(f"{shown} of {total}: {title}{of}", align="left")
            printing.print_record(console, ordered(plain))
            if lineage.get("draws"):
                console.print(f"drawn: {printing.short(lineage['draws'])}", style="dim", markup=False)
        if not total:
            console.print(f"{folder} has no {kind}")
        elif limit and total > limit:
            console.print(f"\n{total - limit} more: --limit 0 shows all", style="dim")


@app.command()
def trace(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    row: Annotated[str, typer.Argument(metavar="ROW", help="A row's number, its id, or the first letters of the id.")],
    json: Json = False,
) -> None:
    """Where a row came from: its seed and parents, what was drawn, every question and answer behind it."""
    import msgspec

    from gristmill.trace import trace as find

    found = find(folder, row)
    if json:
        printing.print_json(msgspec.to_builtins(found))
    else:
        printing.show_trace(found)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    format_: Annotated[
        str, typer.Option("--format", help="jsonl, parquet, csv, trl-sft, trl-dpo, alpaca, sharegpt, openai.")
    ],
    to: Annotated[Path, typer.Option(help="The file to write.")],
    table: Annotated[str | None, typer.Option(help="Which table, where the run has several.")] = None,
    step: Annotated[str | None, typer.Option(help="Of this step of a chain. Default: the last.")] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="A file for each of its values, such as stage or split: FILE-VALUE."),
    ] = None,
) -> None:
    """Write the rows of a run in a format that trainers read."""
    from gristmill.execute import config_of
    from gristmill.export import export as write

    names = [entry.name for entry in config_of(folder).steps]
    if step is not None and step not in names:
        raise BadInput(f"{folder} has no step {step!r}: {nearest(step, names)}")
    number = names.index(step) if step else len(names) - 1
    for path, count in write(folder, format_, to, table=table, step=number, by=by).items():
        printing.new_console().print(f"{count:,} rows in {path}", markup=False, soft_wrap=True)


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 5 where the card lacks something or does not hold."),
    ] = False,
    json: Json = False,
) -> None:
    """Write the card of a run anew, after card.toml was written: README.md, card.json, croissant.json."""
    from gristmill.export.card import exportable, ready, renew

    if check:
        ready(folder)
    else:
        renew(folder)
    missing = exportable(folder)
    if json:
        printing.print_json({"folder": str(folder), "missing": missing})
    else:
        printing.show_card(folder, missing, written=not check)
    if check and missing:
        raise typer.Exit(5)


@app.command()
def keypair(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key; FILE.pub will be the public one.")],
) -> None:
    """Make a key to sign runs with. The private file is for your eyes only."""
    from gristmill.export.signature import keypair as make

    printing.new_console().print(f"key {make(file)} in {file} and {file}.pub", markup=False, soft_wrap=True)


@app.command()
def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    key: Annotated[Path | None, typer.Option(help="The private key. Default: GRISTMILL_SIGNING_KEY.")] = None,
    parent: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A signed run that this one was made from; repeat it.")
    ] = None,
) -> None:
    """Sign a finished run: a manifest of its rows and files that `gristmill verify` holds it against."""
    from gristmill.export.signature import sign as write

    printing.new_console().print(f"signed: {write(folder, key, parents=parent or [])}", markup=False, soft_wrap=True)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    key: Annotated[
        str | None, typer.Option(help="The signer's public key, a file or 64 hex digits, had from elsewhere.")
    ] = None,
    json: Json = False,
) -> None:
    """Say whether a signed run is as it was signed, and which row or file is not. Exit code 5 if one is not."""
    from dataclasses import asdict

    from gristmill.export.signature import verify as hold

    found = hold(folder, key)
    if json:
        printing.print_json({**asdict(found), "ok": found.ok, "hint": found.hint(folder)})
    else:
        printing.show_verified(folder, found)
    if not found.ok:
        raise typer.Exit(5)


@app.command()
def annotate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run that waits for people.")],
    group: Annotated[str, typer.Option(help="Only tasks of this group of people. Default: all.")] = "",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8231,
    host: Annotated[str, typer.Option(help="The address to listen on. Default: for this machine alone.")] = "127.0.0.1",
    export_: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the tasks for Label Studio instead.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Take over what Label Studio exported as JSON.")
    ] = None,
) -> None:
    """Serve a page on which people answer what a run waits for; then `gristmill resume DIR`."""
    from gristmill.people.command import annotate_command

    annotate_command(folder, group=group, port=port, host=host, export=export_, answers=import_)


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A run's folder, or any file of rows, or hf:NAME.")],
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET", help="A benchmark that must not be in it: humaneval, or a file. Repeat for several."
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="SET", help="What it should be like. Of a run its seeds, unless given.")
    ] = None,
    private: Annotated[
        str | None, typer.Option(metavar="SET", help="Rows that must not come out again, word for word or nearly.")
    ] = None,
    holdout: Annotated[
        str | None, typer.Option(metavar="SET", help="As many rows like those that the generator never saw.")
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to look at.")] = None,
    table: Annotated[str | None, typer.Option(help="Which table, where a run has several.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="This check alone; repeat for several.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Not this check.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BAR", help="Exit with 5 if it holds: contamination>0, near_duplicate>5%, distinct_2<0.3."
        ),
    ] = None,
    pii: Annotated[
        Pii,
        typer.Option(
            help="What finds names of people: Presidio, or nothing. Default: Presidio where it is installed, up to 5,000 rows."
        ),
    ] = Pii.auto,
    report: Annotated[Path | None, typer.Option(help="Where the page goes. Default: report.html.")] = None,
    seed: Annotated[int, typer.Option(help="Of samples and resamples.")] = 0,
    json: Json = False,
) -> None:
    """Look whether a set is good and safe to train on: a summary, and a page with every figure and row behind it."""
    from gristmill.report.command import check_command

    code = check_command(
        data,
        against=against or [],
        reference=reference,
        private=private,
        holdout=holdout,
        text=text,
        table=table,
        only=only or [],
        skip=skip or [],
        fail_on=fail_on or [],
        names=pii.value,
        report=report,
        seed=seed,
        json=json,
    )
    if code:
        raise typer.Exit(code)


@app.command()
def compare(
    names: Annotated[list[str] | None, typer.Argument(metavar="[RECIPE]...")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="SET", help="A set that is there already; repeat it for several.")
    ] = None,
    model: Model = None,
    vary: Annotated[
        str | None, typer.Option(metavar="model", help="Each recipe with each --model is an entry of its own.")
    ] = None,
    seeds: Seeds = None,
    real: Annotated[
        str | None, typer.Option(metavar="SET", help="Real rows: what each made is trained on, and these test it.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the real rows and of what is made.")] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of the real rows: utility by domain, and across domains.")
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is trained on each: linear (labels), ngram, or a model that can be: transformers:FOLDER. "
            "Default: linear with --label, else ngram.",
        ),
    ] = None,
    training: Annotated[
        str | None, typer.Option(metavar="JSON", help="Of such a model, such as '{\"learning_rate\": 1e-4}'.")
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to look at.")] = None,
    target: Annotated[int | None, typer.Option(help="Rows that each run makes.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of each run.")] = None,
    max_cost: Annotated[float | None, typer.Option(metavar="USD", help="Of each run.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of each recipe, each with a seed of its own.")] = 3,
    trainings: Annotated[int, typer.Option(min=1, help="On each run's rows, each with a seed of its own.")] = 2,
    judge: Annotated[str | None, typer.Option(metavar="SPEC", help="A model that judges pairs of rows.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Judged pairs for each two entries.")] = 50,
    people: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="People's verdicts to hold the judge against: first, second, winner (first, second or tie), rater.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="SET", help="A benchmark; an entry that holds it is not ranked.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; a comparison that was stopped goes on in it.")] = Path(
        "comparison"
    ),
    seed: Annotated[int, typer.Option(help="Of the first run, of samples and of the split.")] = 0,
    json: Json = False,
) -> None:
    """Which method makes better data from the same seeds for the same money? A table that ranks what it can tell apart."""
    from gristmill import config
    from gristmill.report.compared import compare_command

    defaults = config.load()
    code = compare_command(
        names or [],
        data=data or [],
        models=_models(model, defaults) or {},
        vary=vary,
        seeds=seeds,
        real=real,
        label=label,
        domain=domain,
        learner=defaults.models.get(learner, learner) if learner else None,
        training=training,
        text=text,
        target=target,
        max_tokens=max_tokens,
        max_cost=max_cost,
        runs=runs,
        trainings=trainings,
        judge=defaults.models.get(judge, judge) if judge else None,
        pairs=pairs,
        people=people,
        against=against or [],
        out=out,
        seed=seed,
        prices=defaults.prices,
        json=json,
    )
    if code:
        raise typer.Exit(code)


@app.command()
def models(model: Model = None, json: Json = False) -> None:
    """What is bound, what it can do, and whether it answers: one small call to each."""
    from gristmill import config
    from gristmill.models import check

    defaults = config.load()
    given = _models(model, defaults)
    found = check.look(given, defaults.models, defaults.prices)
    printing.show_models(found, json)
    if any(entry["error"] for entry in found):
        raise typer.Exit(1)


# -- reading the command line


def _own_options(chain: Chain, args: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The recipes' parameters and further inputs among the arguments that are not the command's own."""
    parameters = _parameters(chain)
    alone = len(chain.steps) == 1
    known_inputs = {
        name if alone else f"{step.name}.{name}": name for step in chain.steps for name in step.method.inputs
    }
    given: dict[str, str] = {}
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if not arg.startswith("--"):
            raise BadInput(f"unexpected argument {arg!r}: options are written --NAME VALUE")
        key, has_value, value = arg[2:].partition("=")
        name = _underscored(key)
        negated = name.removeprefix("no_") if name.startswith("no_") else ""
        if name not in parameters and negated in parameters:
            given[negated] = "false"
            continue
        if name not in parameters and name not in known_inputs:
            known = [n.replace("_", "-") for n in (*parameters, *known_inputs)]
            ours = [o.lstrip("-") for o in _run_options()]
            what = chain.steps[0].name if alone else "the chain"
            raise BadInput(f"{what} has no option --{key}: {nearest(key, [*known, *ours])}")
        if not has_value:
            flag = name in parameters and parameters[name][0].parameters[parameters[name][1]].type is bool
            if flag and (not rest or rest[0].startswith("--")):
                value = "true"
            elif not rest:
                raise BadInput(f"--{key} needs a value")
            else:
                value = rest.pop(0)
        given[name] = value
    inputs = {name: value for name, value in given.items() if name in known_inputs}
    return _typed(chain, {n: v for n, v in given.items() if n not in inputs}), inputs


def _parameters(chain: Chain) -> dict[str, tuple[Recipe, str]]:
    """Every name of a parameter: its own, and in a chain "step.name" too."""
    found = {name: (step.method, name) for step in chain.steps for name in step.method.parameters}
    if len(chain.steps) > 1:
        found |= {f"{step.name}.{name}": (step.method, name) for step in chain.steps for name in step.method.parameters}
    return found


def _underscored(key: str) -> str:
    """A parameter's name as Python writes it; a step's keeps its dashes."""
    step, dot, own = key.rpartition(".")
    return f"{step}{dot}{own.replace('-', '_')}"


def _typed(chain: Chain, given: dict[str, str]) -> dict[str, Any]:
    known = _parameters(chain)
    values = {}
    for key, text in given.items():
        name = _underscored(key)
        method, own = known.get(name, (chain.steps[0].method, name))
        values[name] = method.from_text({own: text})[own]
    return values


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


def _wall(option: str, given: list[str] | None) -> dict[str, float] | None:
    """A limit for the run ("20") and for single roles ("judge=5")."""
    walls: dict[str, float] = {}
    for text in given or []:
        role, _, value = text.rpartition("=")
        try:
            walls[role] = float(value)
        except ValueError:
            raise BadInput(f"{option} {text!r}: expected a number, or ROLE=NUMBER") from None
    return walls or None


def _walls(*said: Any) -> dict[str, float] | None:
    """Of several places the last that says something of a role, or (by "") of the whole run."""
    walls: dict[str, float] = {}
    for wall in said:
        walls |= wall if isinstance(wall, dict) else {} if wall is None else {"": wall}
    return walls or None


def _models(given: list[str] | None, defaults: Any, written: Any = None) -> Any:
    """What --model, the chain's file and gristmill.toml say, by role; "" stands for all other roles."""
    bound: dict[str, Any] = {}
    for said_there in (defaults.model, written):
        if said_there:
            bound |= said_there if isinstance(said_there, dict) else {"": said_there}
    said: dict[str, list[str]] = {}
    for text in given or []:
        role, equals, spec = text.partition("=")
        if not equals or not role.rpartition(".")[2].isidentifier() or ":" in role:
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


def _watcher(progress: Shown | None, json: bool) -> Any:
    from gristmill.progress import watcher

    return watcher(progress or (Shown.none if json else Shown.auto))


# -- printing


def _finish(result: Result, json: bool) -> None:
    """Say what was made, what was not and why, what it cost, and where to look; exit with the code for it."""
    if json:
        printing.print_json(printing.facts(result))
    else:
        printing.report(result)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _preview(chain: Chain, count: int, options: dict[str, Any]) -> None:
    """Show a small run on screen, and keep nothing of it."""
    import tempfile

    from gristmill import api

    if count < 1:
        raise BadInput(f"--preview {count}: expected a number of 1 or more")
    whole = chain.steps[0].method.shape == "set"
    options |= {"target": count if whole else None, "units": None if whole else count}
    options["max_candidates"] = options["max_candidates"] or 20 * count
    with tempfile.TemporaryDirectory(prefix="gristmill-preview-") as folder:
        result = api.run(chain, **{**options, "out": Path(folder) / "run"})
        printing.show_preview(result)


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
