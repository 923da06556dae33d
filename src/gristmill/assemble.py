"""From what a user named to steps that can be carried out: chains, models, parameters, walls. All mistakes show here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gristmill import chain as chains
from gristmill.bind import Binder, Models, by_role, spec_text
from gristmill.chain import Chain, Step
from gristmill.contract import Recipe
from gristmill.errors import BadInput, nearest
from gristmill.execute import Config, Part, StepConfig
from gristmill.infer import row_type
from gristmill.ops import prompts as prompt_texts

Wall = float | Mapping[str, float] | None
"""A limit for the whole run, or by role: {"": 20, "judge": 5}; "step.role" where only that of one step is meant."""


def open_chain(recipe: str | Recipe | Chain) -> tuple[Chain, dict[str, Any]]:
    """What is to be run, as a chain, and the options of the run that stand in its file."""
    if isinstance(recipe, Chain):
        return Chain(recipe.steps), {}  # a run says what its rows are, and that is no matter of the next one
    if isinstance(recipe, str) and recipe.endswith(".toml"):
        loaded = chains.load(Path(recipe))
        return loaded.chain, loaded.options
    return Chain([recipe]), {}


def chain_of(config: Config, recipe: Recipe | Chain | None = None, *, same_seeds: bool = True) -> Chain:
    """The chain of a run again, with its settings; `recipe` where its recipes cannot be found by name. A first step that
    reads any rows reads those that it read then, unless there will be other seeds."""
    steps = config.steps
    given: list[str | Recipe] = [step.recipe for step in steps]
    if isinstance(recipe, Recipe):
        given = [recipe]
    elif recipe is not None:
        given = [step.given for step in recipe.steps]
    if len(given) != len(steps):
        raise BadInput(f"the run has the steps {', '.join(s.name for s in steps)}, and {len(given)} were given")
    found = [
        Step(method, name=kept.name, prompts=kept.prompts, mapping=kept.mapping)
        for method, kept in zip(given, steps, strict=True)
    ]
    for step, kept in zip(found, steps, strict=True):
        step.settings = dict(kept.settings)  # not by keyword: a parameter may be called as one of Step's own
    chain = Chain(found)
    if same_seeds and chain.reads_any and config.reads:
        chain.read(row_type(config.reads))
    return chain


def parts_of(
    chain: Chain,
    config: Config,
    *,
    model: Models = None,
    prices: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    prompts: Mapping[str, str] | None = None,
) -> list[Part]:
    """The steps of a chain, ready to be carried out; `config.steps` then says how.

    A role is played by what `model` says for it by name, else by what its step says, else by what `model` says for all,
    else by what played it when the run was first made, else by the default.

    Args:
        settings, prompts: over those of the steps; by name, or by "step.name" in a chain.
    """
    binder = Binder(prices or {}, priced=[*config.role_max_cost, *([""] if config.max_cost is not None else [])])
    methods = {step.name: step.method for step in chain.steps}
    before = {step.name: step.models for step in config.steps}
    said = by_role(model, methods)
    changed = _by_step(chain, settings or {}, lambda step: step.method.parameters, "parameter")
    texts = _by_step(chain, prompts or {}, lambda step: prompt_texts.prompts_of(_module(step)), "prompt")
    parts = []
    for step in chain.steps:
        method = step.method
        own = by_role(step.model, {step.name: method})[step.name]
        kept = {} if "" in own else before.get(step.name, {})
        general = {"": said[step.name][""]} if "" in said[step.name] else kept
        given = {**general, **own, **{role: spec for role, spec in said[step.name].items() if role}}
        bound = binder.bind(step.name, method, given)
        replaced = {**step.prompts, **texts[step.name]}
        prompt_texts.check(_module(step), replaced)
        parts.append(
            Part(
                method,
                StepConfig(
                    recipe=step.recipe if isinstance(step.recipe, str) else method.name,
                    name=step.name,
                    version=method.version,
                    settings=method.settings({**step.settings, **changed[step.name]}),
                    models={role: [spec_text(backend) for backend in backends] for role, backends in bound.items()},
                    prompts=replaced,
                    mapping=step.mapping,
                ),
                bound,
            )
        )
    config.steps = [part.config for part in parts]
    return parts


def limits(chain: Chain, given: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a run, checked: `max_cost` and `max_tokens` split into those of the run and those of its roles."""
    found = dict(given)
    roles = {role for step in chain.steps for role in step.method.roles}
    exact = {f"{step.name}.{role}" for step in chain.steps for role in step.method.roles}
    for name in ("max_cost", "max_tokens"):
        wall = found.get(name)
        walls = dict(wall) if isinstance(wall, Mapping) else {"": wall} if wall is not None else {}
        for role, value in walls.items():
            if role and role not in roles | exact:
                raise BadInput(f"{name} for {role!r}: there is no such role: {nearest(role, roles)}")
            infinite = name == "max_tokens" and value == float("inf")
            if infinite or value < (0 if name == "max_cost" else 1) or value != value:
                expected = "a sum of money in USD, 0 or more" if name == "max_cost" else "a number of 1 or more"
                raise BadInput(f"{name}={f'{role}=' if role else ''}{value:g}: expected {expected}")
        if name == "max_tokens":
            walls = {role: int(value) for role, value in walls.items()}
        found[name] = walls.pop("", None)
        found[f"role_{name}"] = walls
    for name in ("target", "max_candidates", "concurrency"):
        value = found.get(name)
        if value is not None and value < 1:
            raise BadInput(f"{name}={value}: expected a number of 1 or more")
    return found


def check_target(chain: Chain, target: int | None) -> None:
    for step in chain.steps if target is not None else ():
        if step.method.fixed:
            raise BadInput(
                f"{step.name} makes as many rows as its own parameters say ({', '.join(step.method.parameters)}): "
                "leave --target out"
            )


def _by_step(chain: Chain, given: Mapping[str, Any], names: Any, what: str) -> dict[str, dict[str, Any]]:
    """Values by step; a name without its step must belong to one only."""
    found: dict[str, dict[str, Any]] = {step.name: {} for step in chain.steps}
    for name, value in given.items():
        step_name, dot, own = name.partition(".")
        if dot and step_name in found and len(found) > 1:
            found[step_name][own] = value
            continue
        holders = [step.name for step in chain.steps if name in names(step)]
        if len(found) == 1:
            holders = list(found)  # what is wrong with the name, the recipe itself says best
        if len(holders) != 1:
            every = [f"{step.name}.{own}" for step in chain.steps for own in names(step)]
            raise BadInput(
                f"several steps have the {what} {name!r}: say {' or '.join(f'{h}.{name}' for h in holders)}"
                if holders
                else f"no step has the {what} {name!r}: {nearest(name, every)}"
            )
        found[holders[0]][name] = value
    return found


def _module(step: Step) -> Any:
    return sys.modules[step.method.fn.__module__]
