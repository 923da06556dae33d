"""Which model plays which role: from what a user named to backends that can do what the recipe needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.contract import Recipe
from gristmill.errors import BadInput, nearest
from gristmill.models import prices as price_table
from gristmill.models.protocol import Backend
from gristmill.models.spec import DEFAULT, check_can, parse

Models = str | Backend | Mapping[str, "str | Backend | list[str | Backend]"] | None
"""A model for every role, or one (or a list) by role: a spec such as "openai:gpt-4o-mini", or a backend object."""


def backends_for(
    method: Recipe, model: Models, prices: Mapping[str, Any], max_cost: float | None
) -> dict[str, list[Backend]]:
    """A backend for every role, one object a spec; checked to be able to do what the role needs."""
    given = dict(model) if isinstance(model, Mapping) else {"": model} if model is not None else {}
    for name in given:
        if name and name not in method.roles:
            raise BadInput(f"{method.name} has no role {name!r}: {nearest(name, method.roles)}")
    if not method.roles and "" in given:
        raise BadInput(f"{method.name} asks no model: leave --model out")
    opened: dict[str, Backend] = {}
    known = price_table.load(prices)
    bound: dict[str, list[Backend]] = {}
    for name, role in method.roles.items():
        if role.optional and name not in given:
            continue
        wanted = given.get(name, given.get("", DEFAULT))
        items = wanted if isinstance(wanted, list) else [wanted]
        if len(items) > 1 and not role.many:
            raise BadInput(f"{method.name}: the role {name!r} is played by one model, {len(items)} were given")
        bound[name] = []
        for item in items:
            if isinstance(item, str):
                if item not in opened:
                    opened[item] = parse(item).open(known)
                backend = opened[item]
            else:
                backend = item
            check_can(backend, name, role.needs)
            if max_cost is not None and backend.price is None:
                raise BadInput(
                    f"--max-cost needs the price of {backend.model} (role {name}), which is not known: give it as "
                    f"--model {name}={spec_text(backend)},price=IN/OUT in USD for a million tokens, or under [prices] "
                    "in gristmill.toml"
                )
            bound[name].append(backend)
    return bound


def spec_text(backend: Backend) -> str:
    return str(getattr(backend, "spec", "") or f"{type(backend).__name__.lower()}:{backend.model}")
