"""What a model costs: a small table that ships, and the user's own prices over it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import BadInput
from gristmill.models.protocol import Price

if TYPE_CHECKING:
    from gristmill.models.spec import Spec

_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Prices:
    """Prices by model."""

    def __init__(self, own: Mapping[str, Price]) -> None:
        self._own = own

    def of(self, spec: Spec) -> Price | None:
        """The price of a model: what its spec says, else the user's table, else ours. None: not known.

        Ours holds at the provider's own address only: the same name behind another URL may cost anything.
        """
        if spec.price is not None:
            return spec.price
        if spec.backend in ("embedded", "sandbox"):
            return Price(0, 0)
        for name in (f"{spec.backend}:{spec.model}@{spec.url}", f"{spec.backend}:{spec.model}", spec.model):
            if name in self._own:
                return self._own[name]
        if spec.url:
            return None
        table = _table()
        return table.get((spec.backend, spec.model)) or table.get((spec.backend, _DATE.sub("", spec.model)))


def load(own: Mapping[str, Any] | None = None) -> Prices:
    """The prices that ship and a user's own: "IN/OUT", [IN, OUT] or {input = IN, output = OUT} by model.

    A model is named as in its spec ("openai:my-finetune", also with its URL), or by its bare name.
    """
    return Prices({name: parse(value, f"the price of {name!r}") for name, value in (own or {}).items()})


def parse(value: Any, what: str) -> Price:
    """A price as people write it; `what` it is the price of, for the message."""
    pair = value.split("/") if isinstance(value, str) else value
    if isinstance(pair, Mapping) and set(pair) == {"input", "output"}:
        pair = [pair["input"], pair["output"]]
    try:
        first, second = (float(number) for number in pair)
    except (TypeError, ValueError):
        first = second = math.nan
    if not (0 <= first < math.inf and 0 <= second < math.inf):
        raise BadInput(f"{what}: expected IN/OUT in USD for a million tokens, such as 0.15/0.60; got {value!r}")
    return Price(first, second)


@cache
def _table() -> dict[tuple[str, str], Price]:
    shipped = tomllib.loads(Path(__file__).with_name("prices.toml").read_text(encoding="utf-8"))
    return {(backend, model): Price(*pair) for backend, models in shipped.items() for model, pair in models.items()}
