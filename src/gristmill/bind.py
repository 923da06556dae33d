"""Which model plays which role: from what a user named to backends that can do what the recipe needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gristmill.contract import Recipe, Role
from gristmill.errors import BadInput, nearest
from gristmill.models import prices as price_table
from gristmill.models.protocol import Backend
from gristmill.models.spec import check_can, default_for, parse, tool_for

Models = str | Backend | Mapping[str, "str | Backend | list[str | Backend]"] | None
"""A model for every role, or one (or a list) by role: a spec such as "openai:gpt-4o-mini", or a backend object."""


class Binder:
    """Opens backends, one a spec however many roles it plays, and checks that each can do what its role needs.

    Args:
        prices: the user's own, over those that ship.
        priced: roles ("role" or "step.role") whose price must be known, "" for all: there is a wall in money.
    """

    def __init__(self, prices: Mapping[str, Any], *, priced: Collection[str] = ()) -> None:
        self._prices = price_table.load(prices)
        self._priced = frozenset(priced)
        self._opened: dict[str, Backend] = {}

    def bind(self, step: str, method: Recipe, given: Mapping[str, Any]) -> dict[str, list[Backend]]:
        """Backends for each role of a recipe: the one that is named for it, else the one for "", else the default."""
        bound: dict[str, list[Backend]] = {}
        for name, role in method.roles.items():
            if role.optional and name not in given:
                continue
            wanted = given.get(name) or tool_for(role.needs) or given.get("") or default_for(role.needs)
            items = wanted if isinstance(wanted, list) else [wanted]
            if len(items) > 1 and not role.many:
                raise BadInput(f"{method.name}: the role {name!r} is played by one model, {len(items)} were given")
            bound[name] = [self._open(item, name, role) for item in items]
            if self._priced & {"", name, f"{step}.{name}"}:
                for backend in bound[name]:
                    _check_price(backend, name)
        return bound

    def _open(self, item: str | Backend, name: str, role: Role) -> Backend:
        if isinstance(item, str):
            backend = self._opened.get(item) or parse(item).open(self._prices)
            self._opened[item] = backend
        else:
            backend = item
        check_can(backend, name, role.needs)
        return backend


def _check_price(backend: Backend, name: str) -> None:
    if backend.price is None:
        raise BadInput(
            f"--max-cost needs the price of {backend.model} (role {name}), which is not known: give it as "
            f"--model {name}={spec_text(backend)},price=IN/OUT in USD for a million tokens, or under [prices] "
            "in gristmill.toml"
        )


def by_role(model: Models, methods: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """What each step's roles are played by, from what a user said for the whole run.

    Args:
        model: one for all; or by role, or by "step.role" where only that of one step is meant.
        methods: the recipes, by the names of their steps.

    Raises:
        BadInput: a role that no step has, or a model for recipes that ask none.
    """
    given = dict(model) if isinstance(model, Mapping) else {"": model} if model is not None else {}
    roles = {role for method in methods.values() for role in method.roles}
    exact = {f"{step}.{role}" for step, method in methods.items() for role in method.roles}
    names = ", ".join(dict.fromkeys(method.name for method in methods.values()))
    for name in given:
        if name and name not in roles | exact:
            raise BadInput(f"{names} has no role {name!r}: {nearest(name, roles | (exact if '.' in name else set()))}")
    if not roles and "" in given:
        raise BadInput(f"{names} asks no model: leave --model out")
    general = {name: value for name, value in given.items() if name not in exact}
    return {
        step: {name: value for name, value in general.items() if not name or name in method.roles}
        | {role: given[f"{step}.{role}"] for role in method.roles if f"{step}.{role}" in given}
        for step, method in methods.items()
    }


def spec_text(backend: Backend) -> str:
    return str(getattr(backend, "spec", "") or f"{type(backend).__name__.lower()}:{backend.model}")
