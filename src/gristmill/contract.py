"""`@recipe`: a method is an async function, and its signature is the contract.

Read from the signature, once, at decoration:
- the first parameter's type gives the shape: `Row` itself stands for rows of any type; a row type ("row": called once a seed row), `Rows[T]` ("set": it sees the
  whole set), anything else ("draw": it makes rows from nothing, called once a draw);
- parameters typed by a capability (`Chat`, `list[Chat]`, `Chat | None`) are roles;
- `run: Run` is the engine's side;
- keyword-only `Rows[T]` are further inputs (`Rows[T] | None = None`: may be left out); every other keyword-only parameter is an option of the method.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from gristmill.errors import BadInput, nearest
from gristmill.models.protocol import CAPABILITIES, Capability
from gristmill.rows import Row, Rows, columns

Shape = Literal["row", "set", "draw"]

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class Role:
    """Something a recipe asks. `needs`: names of capabilities; `many`: bound to a list; `optional`: may be unbound."""

    needs: frozenset[str]
    many: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Parameter:
    """An option of a method. `default` is `...` where the user must give one."""

    type: Any
    default: Any
    doc: str = ""

    @property
    def type_name(self) -> str:
        return type_name(self.type)


@dataclass(eq=False)
class Recipe:
    """A decorated method. Call it as the plain function that it is, to vary it from another recipe."""

    name: str
    fn: Callable[..., AsyncIterator[Row]]
    shape: Shape
    seed: type[Row] | None
    """The row type it reads; None for "draw"."""
    roles: dict[str, Role]
    inputs: dict[str, type[Row]]
    """Further inputs, by parameter name."""
    optional_inputs: frozenset[str]
    """Those that may be left out; the recipe then gets None."""
    parameters: dict[str, Parameter]
    tables: tuple[type[Row], ...]
    """What it yields; `--target` counts the first."""
    wants_run: bool
    unique: str | Callable[[Row], str] | None = None
    """A gate: rows whose key already left are rejected as `duplicate`, in place order."""
    endless: bool = False
    """A set recipe that goes on until a target is met."""
    fixed: bool = False
    """Its own parameters say how many rows it makes: it takes no target."""
    passes: bool = False
    """Its rows are those that it read, of whatever type: a filter."""
    seeds: str | None = None
    """The shipped file of seeds that is used when the user gives none."""
    survey: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    checks: list[Callable[..., None]] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncIterator[Row]:
        return self.fn(*args, **kwargs)

    def on(self, kind: type[Row]) -> Recipe:
        """This recipe for rows of one type, where it reads any: what it yields as `Row` is then of that type."""
        if self.seed is not Row or kind is Row:
            return self
        tables = tuple(kind if made is Row else made for made in self.tables)
        return replace(self, seed=kind, tables=tables, passes=kind in tables)

    def check(self, fn: Callable[..., None]) -> Callable[..., None]:
        """Register a check of parameters, run once before the first call. It takes those that it names."""
        if unknown := set(inspect.signature(fn).parameters) - set(self.parameters):
            raise TypeError(f"{self.name}: check {fn.__name__} reads {sorted(unknown)}, which are no parameters")
        self.checks.append(fn)
        return fn

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.fn) or ""

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]

    @property
    def bounded(self) -> bool:
        """Ends by itself: it works through a given set."""
        return self.shape != "draw" and not self.endless

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """All parameters with their values: `given` over the defaults, checked."""
        values = {}
        for name in given:
            self._parameter(name)
        for name, parameter in self.parameters.items():
            if name in given:
                values[name] = _convert(self.name, name, parameter, given[name], strict=True)
            elif parameter.default is ...:
                raise BadInput(
                    f"{self.name} needs the parameter {name!r} ({parameter.type_name}): {parameter.doc or 'no default'}. "
                    f"Give it as --{name.replace('_', '-')}"
                )
            else:
                values[name] = parameter.default
        for check in self.checks:
            check(**{name: values[name] for name in inspect.signature(check).parameters})
        return values

    def from_text(self, given: dict[str, str]) -> dict[str, Any]:
        """Parameters as a command line gives them, in their types: "3" is a number where one is wanted."""
        values = {}
        for name, text in given.items():
            parameter = self._parameter(name)
            values[name] = _convert(self.name, name, parameter, _from_text(parameter.type, text), strict=False)
        return values

    def _parameter(self, name: str) -> Parameter:
        if name not in self.parameters:
            raise BadInput(f"{self.name} has no parameter {name!r}: {nearest(name, self.parameters)}")
        return self.parameters[name]

    def describe(self) -> dict[str, Any]:
        """All that a program may want to know of a recipe, as plain values."""
        return {
            "id": self.name,
            "summary": self.summary,
            **self.survey,
            "shape": self.shape,
            "reads": "any rows" if self.seed is Row else list(columns(self.seed)) if self.seed else [],
            "inputs": {
                name: {"reads": list(columns(kind)), "optional": name in self.optional_inputs}
                for name, kind in self.inputs.items()
            },
            "yields": {row.__name__: list(columns(row)) for row in self.tables},
            "roles": {
                name: {"needs": sorted(role.needs), "many": role.many, "optional": role.optional}
                for name, role in self.roles.items()
            },
            "parameters": {
                name: {"type": p.type_name, "required": p.default is ..., "default": _plain(p.default), "doc": p.doc}
                for name, p in self.parameters.items()
            },
        }


def recipe(
    name: str,
    *,
    unique: str | Callable[[Any], str] | None = None,
    endless: bool = False,
    fixed: bool = False,
    seeds: str | None = None,
    version: int = 1,
    **survey: Any,
) -> Callable[[Callable[..., AsyncIterator[Any]]], Recipe]:
    """Make a recipe of an async generator function.

    Args:
        name: its id, lower case with dashes.
        unique: a field, or a function of the row: rows with a key that already left are rejected as `duplicate`.
        endless: a set recipe that goes on until the target is met.
        fixed: a loop whose parameters say how many rows it makes; it refuses a target.
        seeds: a shipped file of example seeds.
        version: raise it when the method's meaning changes; it stands in every card and lineage.
        survey: coordinates (paper, stages, category, ...) of a recipe that is not in `recipes/survey.toml`.
    """
    if not NAME.fullmatch(name):
        raise TypeError(f"recipe name {name!r}: use lower-case letters, digits and dashes, at most 64")

    def decorate(fn: Callable[..., AsyncIterator[Any]]) -> Recipe:
        parts = _read_signature(name, fn)
        return Recipe(
            name=name,
            fn=fn,
            unique=unique,
            endless=endless,
            fixed=fixed,
            seeds=seeds,
            version=version,
            survey=survey,
            **parts,
        )

    return decorate


def _read_signature(name: str, fn: Callable[..., Any]) -> dict[str, Any]:
    if not inspect.isasyncgenfunction(fn):
        raise TypeError(f"recipe {name}: {fn.__name__} must be `async def` and `yield` its rows")
    hints = typing.get_type_hints(fn, include_extras=True)
    docs = argument_docs(inspect.getdoc(fn) or "")
    shape: Shape = "draw"
    seed: type[Row] | None = None
    roles: dict[str, Role] = {}
    inputs: dict[str, type[Row]] = {}
    optional_inputs: set[str] = set()
    parameters: dict[str, Parameter] = {}
    wants_run = False
    for index, (key, parameter) in enumerate(inspect.signature(fn).parameters.items()):
        if key not in hints:
            raise TypeError(f"recipe {name}: parameter {key!r} has no type")
        hint = hints[key]
        set_of = _rows_of(hint)
        if index == 0 and set_of:
            shape, seed = "set", set_of
        elif index == 0 and isinstance(hint, type) and issubclass(hint, Row):
            shape, seed = "row", hint
        elif key == "run":
            wants_run = True
        elif role := _role(hint):
            roles[key] = role
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            raise TypeError(
                f"recipe {name}: {key!r} is neither seeds, role nor `run`; options of the method come after the `*`"
            )
        elif set_of:
            inputs[key] = set_of
        elif further := _optional_rows(hint):
            if parameter.default is not None:
                raise TypeError(f"recipe {name}: {key!r} may be left out, so its default is None")
            inputs[key] = further
            optional_inputs.add(key)
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            parameters[key] = Parameter(hint, default, docs.get(key, ""))
    return {
        "shape": shape,
        "seed": seed,
        "roles": roles,
        "inputs": inputs,
        "optional_inputs": frozenset(optional_inputs),
        "parameters": parameters,
        "tables": _tables(name, hints.get("return")),
        "wants_run": wants_run,
    }


def _tables(name: str, returns: Any) -> tuple[type[Row], ...]:
    args = typing.get_args(returns)
    rows = typing.get_args(args[0]) or args[:1] if args else ()
    if not rows or not all(isinstance(row, type) and issubclass(row, Row) for row in rows):
        raise TypeError(
            f"recipe {name}: it must return AsyncIterator[SomeRow] (or AsyncIterator[A | B] for two tables)"
        )
    return tuple(rows)


def _rows_of(hint: Any) -> type[Row] | None:
    if typing.get_origin(hint) is Rows:
        return typing.cast("type[Row]", typing.get_args(hint)[0])
    return None


def _optional_rows(hint: Any) -> type[Row] | None:
    """T of `Rows[T] | None`."""
    args = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else ()
    if len(args) != 2 or type(None) not in args:
        return None
    return _rows_of(next(a for a in args if a is not type(None)))


def _role(hint: Any) -> Role | None:
    """Chat, list[Chat] or Chat | None; Chat may be any class made of capabilities."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union) and type(None) in args and len(args) == 2:
        inner = _role(next(a for a in args if a is not type(None)))
        return Role(inner.needs, inner.many, optional=True) if inner else None
    if origin is list:
        inner = _role(args[0])
        return Role(inner.needs, many=True) if inner else None
    if isinstance(hint, type) and Capability in hint.__mro__ and hint is not Capability:
        return Role(frozenset(base.__name__ for base in hint.__mro__ if CAPABILITIES.get(base.__name__) is base))
    return None


def argument_docs(doc: str) -> dict[str, str]:
    """The texts of a docstring's `Args:` section, by parameter."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    docs: dict[str, str] = {}
    current = ""
    for line in section[1].splitlines() if section else []:
        if entry := re.match(r" {4}(\w+):\s*(.*)", line):
            current = entry[1]
            docs[current] = entry[2].strip()
        elif current and line.strip():
            docs[current] += " " + line.strip()
    return docs


def type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        return type_name(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Literal:
        return " | ".join(str(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " | ".join(type_name(a) for a in typing.get_args(hint))
    if (origin := typing.get_origin(hint)) in (list, dict, tuple):
        return f"{origin.__name__}[{', '.join('...' if a is ... else type_name(a) for a in typing.get_args(hint))}]"
    if isinstance(hint, type) and not typing.get_args(hint):
        return "none" if hint is type(None) else hint.__name__
    return str(hint).replace("typing.", "")


def _convert(recipe_name: str, name: str, parameter: Parameter, value: Any, *, strict: bool) -> Any:
    if isinstance(parameter.default, msgspec.Struct) and isinstance(value, dict):
        value = {**msgspec.to_builtins(parameter.default), **value}  # what is not given stays as the recipe has it
    try:
        return msgspec.convert(value, parameter.type, strict=strict)
    except msgspec.ValidationError as error:
        raise BadInput(
            f"{recipe_name}: {name}={value!r} does not fit {parameter.type_name}: {error}. {parameter.doc}".strip()
        ) from None


def _from_text(hint: Any, value: str) -> Any:
    """A command line's value: JSON for lists and tables ("a,b" is a list too), else the text itself."""
    if typing.get_origin(hint) is typing.Annotated:
        return _from_text(typing.get_args(hint)[0], value)
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if type(None) in options and value.lower() == "none":
        return None
    origins = {typing.get_origin(o) or o for o in options}
    structs = any(isinstance(o, type) and issubclass(o, msgspec.Struct) for o in options)
    if structs or origins & {list, tuple, dict, set}:
        if value.lstrip().startswith(("[", "{")):
            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError as error:
                raise BadInput(f"{value!r} is not valid JSON: {error}") from None
        if origins & {list, tuple, set} and str not in origins:
            return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _plain(default: Any) -> Any:
    return None if default is ... else msgspec.to_builtins(default)
