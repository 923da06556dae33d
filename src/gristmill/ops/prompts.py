"""Prompts: texts with named gaps, compiled once, replaceable by name without touching the recipe.

`{topic}` is a gap; every other brace is text, so JSON and code need no escaping. Values go in as they are: braces
inside them are never read as gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from types import ModuleType

from gristmill.errors import BadInput, nearest

GAP = re.compile(r"\{([a-z][a-z0-9_]*)\}")

_replaced: ContextVar[Mapping[int, Prompt] | None] = ContextVar("replaced", default=None)


class Prompt:
    """A template. Call it with a value for each gap."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = GAP.split(text)
        self._texts, self._names = pieces[::2], pieces[1::2]
        self.gaps = frozenset(self._names)

    def __call__(self, **values: object) -> str:
        return self._now()._fill(values)

    def __repr__(self) -> str:
        return f"Prompt({self.text[:40]!r}...)"

    def _now(self) -> Prompt:
        replaced = _replaced.get()
        return replaced.get(id(self), self) if replaced else self

    def _fill(self, values: Mapping[str, object]) -> str:
        try:
            filled = [f"{values[name]}{text}" for name, text in zip(self._names, self._texts[1:], strict=True)]
        except KeyError as missing:
            raise TypeError(f"{self!r} needs a value for {missing}") from None
        return self._texts[0] + "".join(filled)


def prompts_of(module: ModuleType) -> dict[str, Prompt]:
    """The prompts of a recipe's module by name: its constant in lower case, `ANSWER` as "answer".

    Those in a tuple, list or dict are named by it and their index or key: "styles.easy".
    """
    found: dict[str, Prompt] = {}
    for name, value in vars(module).items():
        if isinstance(value, Prompt):
            found[name.lower()] = value
        elif name.isupper() and isinstance(value, (tuple, list, dict)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            found |= {f"{name.lower()}.{key}": inner for key, inner in items if isinstance(inner, Prompt)}
    return found


def check(module: ModuleType, texts: Mapping[str, str]) -> dict[int, Prompt]:
    """Other texts for prompts of a module, compiled, by the prompts that they replace.

    Raises:
        BadInput: an unknown name, or a text with a gap that the recipe does not fill.
    """
    known = prompts_of(module) if texts else {}
    replaced = {}
    for name, text in texts.items():
        if name not in known:
            raise BadInput(f"there is no prompt {name!r} in {module.__name__}: {nearest(name, known)}")
        prompt = Prompt(text)
        if extra := prompt.gaps - known[name].gaps:
            raise BadInput(
                f"prompt {name!r}: nothing fills {{{'}, {'.join(sorted(extra))}}}; "
                f"the recipe fills {{{'}, {'.join(sorted(known[name].gaps))}}}"
            )
        replaced[id(known[name])] = prompt
    return replaced


def replace(texts: dict[int, Prompt]) -> None:
    """From here on, in this context, use other texts: what `check` gave."""
    _replaced.set(texts)
