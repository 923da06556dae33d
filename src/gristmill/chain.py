"""Chains: recipes one behind the other, as a list in Python or as a file.

    seeds = "tasks.jsonl"                  # optional, as are target, model, seed, max-cost, max-tokens, concurrency,
    target = 5000                          # max-candidates; the command line wins over them

    [[step]]
    recipe = "evol-instruct"
    set = {rounds = 2}

    [[step]]
    recipe = "./filters.py:short_enough"   # beside this file
    name = "short"                         # default: the recipe's name
    from = "evol-instruct"                 # default: the step above
    map = {text = "instruction"}           # this recipe's column = the column that comes in
    model = {judge = "openai:gpt-4o"}
    prompts = {grade = "grade.txt"}
    inputs = {corpus = "docs.jsonl"}

What flows from one step to the next are the rows of its first table. Per-row recipes stream into one another; a recipe
over a whole set waits for all that comes before it.
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gristmill import recipes
from gristmill.contract import NAME, Recipe, type_name
from gristmill.errors import BadInput, nearest
from gristmill.rows import Row, columns, required


class Step:
    """A recipe in a chain, with what is its own.

    Args:
        recipe: a name, "FILE.py:NAME", or a decorated function.
        name: of the step; the recipe's name unless given, with a number where it comes again.
        after: name of the step whose rows it reads; the one before it in the list unless given.
        model: by role, over what the run says for all steps.
        prompts: other texts for the recipe's prompts, by name.
        mapping: the recipe's column to the column that comes in, where their names differ.
        inputs: further inputs of the recipe, by name.
        **settings: the recipe's own parameters.
    """

    def __init__(
        self,
        recipe: str | Recipe,
        *,
        name: str = "",
        after: str = "",
        model: Any = None,
        prompts: Mapping[str, str] | None = None,
        mapping: Mapping[str, str] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(recipe, (str, Recipe)):
            raise BadInput(f"chain: {recipe!r} is no recipe: give its name, or a function decorated with @recipe")
        self.recipe = recipe
        self.given = recipes.load(recipe) if isinstance(recipe, str) else recipe
        self.method = self.given
        """The recipe; in a chain, of one that works on any rows, for the rows that reach it there."""
        self.name = name
        self.after = after
        self.model = model
        self.prompts = dict(prompts or {})
        self.mapping = dict(mapping or {})
        self.inputs = dict(inputs or {})
        self.settings = settings

    @property
    def source(self) -> str:
        """How to find the recipe again."""
        return self.recipe if isinstance(self.recipe, str) else self.recipe.name


class Chain:
    """Recipes one behind the other; run it as a single one: `gristmill.run(Chain(["evol-instruct", short]), ...)`."""

    def __init__(self, steps: Iterable[Step | str | Recipe]) -> None:
        # Copies: what rows reach a step here is no matter of another chain that the same step stands in.
        named = _named([copy(step) if isinstance(step, Step) else Step(step) for step in steps])
        self.steps = _ordered(named)
        self.read(Row)

    @property
    def reads_any(self) -> bool:
        """Whether the first step works on rows of any type: `read` says of which."""
        return self.steps[0].given.seed is Row

    def read(self, kind: type[Row]) -> None:
        """Say of which type the rows are that the first step reads, if it reads any; `Row`: that is not known yet."""
        self.steps[0].method = self.steps[0].given.on(kind)
        for before, after in zip(self.steps, self.steps[1:], strict=False):
            after.method = after.given.on(before.method.tables[0])
            check_fit(before, after)

    @property
    def name(self) -> str:
        return "-".join(step.name for step in self.steps)


def _named(steps: list[Step]) -> list[Step]:
    if not steps:
        raise BadInput("a chain needs at least one step")
    taken: dict[str, int] = {}
    for step in steps:
        given = step.name
        base = given or step.method.name
        if given and (not NAME.fullmatch(given) or given in taken):
            what = "stands twice" if given in taken else "use lower-case letters, digits and dashes"
            raise BadInput(f"chain: step name {given!r}: {what}")
        number = taken[base] = taken.get(base, 0) + 1
        while number > 1 and f"{base}-{number}" in taken:
            number = taken[base] = number + 1
        step.name = base if number == 1 else f"{base}-{number}"
        taken.setdefault(step.name, 1)
    return steps


def _ordered(steps: list[Step]) -> list[Step]:
    """The steps in the order in which rows pass them: one line, without forks and loops."""
    known = {step.name: step for step in steps}
    before = dict(zip([step.name for step in steps[1:]], [step.name for step in steps], strict=False))
    for step in steps:
        if step.after:
            if step.after not in known:
                raise BadInput(
                    f"chain: step {step.name!r} reads from {step.after!r}, which is no step: "
                    f"{nearest(step.after, known)}"
                )
            before[step.name] = step.after
    for name in known:
        path = [name]
        while path[-1] in before:
            path.append(before[path[-1]])
            if path[-1] in path[:-1]:
                loop = path[path.index(path[-1]) :]
                raise BadInput(f"chain: the steps go in a circle: {' <- '.join(loop)}")
    behind: dict[str, str] = {}
    for name, source in before.items():
        if source in behind:
            raise BadInput(
                f"chain: {behind[source]!r} and {name!r} both read from {source!r}. A chain is one line: "
                "say with `from` which of them follows the other"
            )
        behind[source] = name
    [first, *others] = [name for name in known if name not in before]
    if others:
        raise BadInput(f"chain: {first!r} and {others[0]!r} both come first")
    line = [first]
    while line[-1] in behind:
        line.append(behind[line[-1]])
    return [known[name] for name in line]


def check_fit(before: Step, after: Step) -> None:
    """See that what one step makes is what the next one reads.

    Raises:
        BadInput: it is not; names both.
    """
    made, read = before.method.tables[0], after.method.seed
    between = f"chain: {before.name!r} and {after.name!r} do not fit"
    if read is None:
        raise BadInput(f"{between}: {after.name!r} makes rows from nothing, so it can only come first")
    if made is Row:
        return  # of a type that is not known yet: `Chain.read` looks again
    given, wanted = typing.get_type_hints(made), typing.get_type_hints(read)
    have = columns(made)
    for column, source in after.mapping.items():
        if column not in columns(read):
            raise BadInput(f"{between}: {after.name!r} reads no column {column!r}: {nearest(column, columns(read))}")
        if source not in have:
            raise BadInput(f"{between}: {before.name!r} makes no column {source!r}: {nearest(source, have)}")
    for column in columns(read):
        source = after.mapping.get(column, column)
        if source not in have:
            if column in required(read):
                raise BadInput(
                    f"{between}: {after.name!r} reads {column!r}, and the rows of {before.name!r} ({made.__name__}) have "
                    f"{', '.join(have)}. Say which of them it is with map = {{{column} = COLUMN}}"
                )
        elif not _takes(wanted[column], given[source]):
            raise BadInput(
                f"{between}: {after.name!r} reads {column!r} as {type_name(wanted[column])}, and {source!r} of "
                f"{before.name!r} is {type_name(given[source])}"
            )


def _takes(wanted: Any, given: Any) -> bool:
    """Whether a value of one type can be read as the other; in doubt yes, and a row that cannot is a failure."""
    if wanted == given or Any in (wanted, given):
        return True
    for hint, other in ((given, wanted), (wanted, given)):
        if typing.get_origin(hint) is typing.Annotated:
            inner = typing.get_args(hint)[0]
            return _takes(other, inner) if hint is given else _takes(inner, other)
    if (options := _options(given)) is not None:
        return all(_takes(wanted, option) for option in options)
    if (options := _options(wanted)) is not None:
        return any(_takes(option, given) for option in options)
    if typing.get_origin(given) is typing.Literal:
        return all(_takes(wanted, type(value)) for value in typing.get_args(given))
    if typing.get_origin(wanted) is typing.Literal:
        return any(_takes(type(value), given) for value in typing.get_args(wanted))
    whole, part = typing.get_origin(wanted) or wanted, typing.get_origin(given) or given
    if whole is float and part is int:
        return True
    if (whole, part) in ((list, tuple), (tuple, list), (set, list), (list, set)):
        return True
    if isinstance(whole, type) and isinstance(part, type) and whole is not part:
        both_structs = issubclass(whole, msgspec.Struct) and issubclass(part, msgspec.Struct)
        return (
            issubclass(part, whole) or both_structs or (issubclass(whole, Mapping) and issubclass(part, msgspec.Struct))
        )
    inner = list(zip(typing.get_args(wanted), typing.get_args(given), strict=False))
    return all(_takes(a, b) for a, b in inner)


def _options(hint: Any) -> tuple[Any, ...] | None:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else None


# -- files


class StepEntry(
    msgspec.Struct, rename={"after": "from", "settings": "set", "mapping": "map"}, forbid_unknown_fields=True
):
    """A [[step]] of a chain file."""

    recipe: str
    name: str = ""
    after: str = ""
    settings: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    model: str | dict[str, str | list[str]] | None = None
    prompts: dict[str, str] = {}
    inputs: dict[str, str] = {}


class ChainFile(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """A chain file."""

    step: list[StepEntry]
    seeds: str | None = None
    model: str | dict[str, str | list[str]] | None = None
    target: int | None = None
    seed: int | None = None
    max_cost: float | dict[str, float] | None = None
    max_tokens: int | dict[str, int] | None = None
    max_candidates: int | None = None
    concurrency: int | None = None


@dataclass
class Loaded:
    """A chain as its file tells it, and the options of the run that stand there too."""

    chain: Chain
    options: dict[str, Any] = field(default_factory=dict)


def load(path: Path) -> Loaded:
    """Read a chain file. What it names (seeds, recipes, prompts, inputs) is looked for beside it.

    Raises:
        BadInput: no such file, not a chain, or steps that do not fit.
    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), ChainFile)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{path}: {error}") from None
    steps = []
    for number, entry in enumerate(found.step, start=1):
        try:
            steps.append(
                Step(
                    _beside(path, entry.recipe) if ".py" in entry.recipe else entry.recipe,
                    name=entry.name,
                    after=entry.after,
                    model=entry.model,
                    prompts={name: _text_beside(path, file) for name, file in entry.prompts.items()},
                    mapping=entry.mapping,
                    inputs={name: _beside(path, file) for name, file in entry.inputs.items()},
                    **entry.settings,
                )
            )
        except (BadInput, TypeError) as error:
            raise BadInput(f"{path}: step {number}: {error}") from None
    options = {
        name: getattr(found, name)
        for name in ("model", "target", "seed", "max_cost", "max_tokens", "max_candidates", "concurrency")
    }
    options["seeds"] = _beside(path, found.seeds) if found.seeds else None
    try:
        return Loaded(Chain(steps), {name: value for name, value in options.items() if value is not None})
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _beside(path: Path, name: str) -> str:
    """A file that a chain names, as seen from where it is run."""
    return name if name.startswith("hf:") else str(path.parent / name)


def _text_beside(path: Path, name: str) -> str:
    try:
        return (path.parent / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"prompt file {name}: {error}") from None
