"""`gristmill.toml`: what would otherwise be typed again with every command.

    model = "openai:gpt-4o-mini"          # or a table: role -> model
    max-cost = 20

    [models]                              # short names for models
    big = "openai:gpt-4o,price=2.5/10"

    [prices]                              # USD for a million tokens, IN/OUT
    "my-finetune" = "0.30/1.20"

    [recipes.evol-instruct]               # defaults of a recipe's parameters
    rounds = 2

The file in the current folder is read, or the one that $GRISTMILL_CONFIG names. The command line wins over it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from gristmill.errors import BadInput, nearest


class Defaults(msgspec.Struct, rename="kebab", kw_only=True):
    """The contents of gristmill.toml."""

    model: str | dict[str, str | list[str]] | None = None
    models: dict[str, str] = {}
    prices: dict[str, str] = {}
    recipes: dict[str, dict[str, Any]] = {}
    max_cost: float | dict[str, float] | None = None
    max_tokens: int | dict[str, int] | None = None
    max_candidates: int | None = None
    concurrency: int | None = None
    seed: int | None = None
    out: str | None = None


def load() -> Defaults:
    named = os.environ.get("GRISTMILL_CONFIG")
    path = Path(named or "gristmill.toml")
    if not path.exists():
        if named:
            raise BadInput(f"$GRISTMILL_CONFIG names {path}, which does not exist")
        return Defaults()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path}: {error}") from None
    known = {field.encode_name for field in msgspec.structs.fields(Defaults)}
    for key in found:
        if key not in known:
            raise BadInput(f"{path}: unknown key {key!r}: {nearest(key, known)}")
    try:
        return msgspec.convert(found, Defaults)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}") from None
