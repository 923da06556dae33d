"""The recipes: one module a method, found by its name; and `survey.toml`, where the survey puts each of them.

The built-in `evol-instruct` is the object decorated with that name in `recipes/<part>/evol_instruct.py`. Others come
from plugins (entry point group `gristmill.recipes`) and from files: `./mine.py:my_recipe`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gristmill.contract import NAME, Recipe
from gristmill.errors import BadInput, nearest

HERE = Path(__file__).parent
DATA = HERE / "data"
T = TypeVar("T")


def shipped(file: str, kind: type[T]) -> list[T]:
    """The lines of a JSON Lines file in `data/`, as values of a type."""
    lines = (DATA / file).read_text(encoding="utf-8").splitlines()
    return [msgspec.json.decode(line, type=kind) for line in lines]


@cache
def survey() -> dict[str, dict[str, Any]]:
    """The coordinates of all built-in recipes, by name. Imports none of them."""
    return tomllib.loads((HERE / "survey.toml").read_text(encoding="utf-8"))


COORDINATES = ("part", "stages", "category", "functions", "modality", "domain", "needs")
"""What the survey orders recipes by; the singular of each is an option of `gristmill list`."""


def select(wanted: Mapping[str, str]) -> list[str]:
    """Built-in recipes, by name, for which all of the coordinates that are wanted hold.

    Args:
        wanted: coordinate to value. "logic" is met by "logic/math", "math" by it and by "general, math, code".

    Raises:
        BadInput: a value that no recipe has.
    """
    found = list(survey())
    for coordinate, value in wanted.items():
        having = [name for name, entry in survey().items() if value.lower() in _parts(entry.get(coordinate, ""))]
        if not having:
            known = {part for entry in survey().values() for part in _parts(entry.get(coordinate, ""))}
            raise BadInput(f"no recipe has {value!r} among its {coordinate}: {nearest(value.lower(), known)}")
        found = [name for name in found if name in having]
    return found


def _parts(given: str | list[str]) -> set[str]:
    """A coordinate's values, whole and in their parts, in lower case."""
    values = [given] if isinstance(given, str) else given
    pieces = {part.strip() for value in values for part in re.split(r"[/,;()]", value.lower())}
    return {piece for piece in pieces | {value.lower() for value in values} if piece}


def plugins() -> dict[str, EntryPoint]:
    """Recipes of installed packages, by name. A name that is malformed or taken is left out: it could not be run."""
    return {
        point.name: point
        for point in entry_points(group="gristmill.recipes")
        if NAME.fullmatch(point.name) and point.name not in survey()
    }


def load(name: str) -> Recipe:
    """A recipe by its name, or by `FILE.py:NAME`.

    Raises:
        BadInput: there is none, or its module cannot be imported.
    """
    if ".py" in name:
        return _from_file(name)
    if name in survey():
        entry = survey()[name]
        module = importlib.import_module(f"{__name__}.{entry['part'].replace('-', '_')}.{name.replace('-', '_')}")
        found = _named(module, name)
        found.survey = entry
        return found
    if name in plugins():
        point = plugins()[name]
        try:
            found = point.load()
        except Exception as error:
            raise BadInput(f"the plugin recipe {name} ({point.value}) cannot be imported: {error!r}") from error
        if not isinstance(found, Recipe):
            raise BadInput(f"the plugin recipe {name} ({point.value}) is no recipe; decorate it with @recipe")
        return found
    raise BadInput(
        f"there is no recipe {name!r}: {nearest(name, [*survey(), *plugins()])} (`gristmill list` shows all)"
    )


def _from_file(name: str) -> Recipe:
    file, _, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = Path(file).resolve()
    if not path.is_file():
        raise BadInput(f"{file}: no such file; a recipe of your own is named as ./FILE.py:FUNCTION")
    module_name = f"gristmill_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))  # its neighbours, as when Python runs the file
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    recipes = {key: value for key, value in vars(module).items() if isinstance(value, Recipe)}
    own = {key: value for key, value in recipes.items() if value.fn.__module__ == module_name}
    if not attribute and len(own) == 1:
        return next(iter(own.values()))
    if attribute not in recipes:
        raise BadInput(f"{file} has no recipe {attribute!r}: {nearest(attribute, own)}")
    return recipes[attribute]


def _named(module: Any, name: str) -> Recipe:
    for value in vars(module).values():
        if isinstance(value, Recipe) and value.name == name:
            return value
    raise LookupError(f"{module.__name__} defines no recipe named {name!r}")
