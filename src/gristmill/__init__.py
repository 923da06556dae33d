"""gristmill: every published way of making training data for language models, over one durable engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gristmill.api import Result, arerun, aresume, arun, rerun, resume, run
    from gristmill.contract import Recipe, recipe
    from gristmill.engine.run import Run
    from gristmill.errors import BadInput, CallFailed, EndpointDown, GristmillError, Refused, Unparsed, Waiting
    from gristmill.models.protocol import (
        Chat,
        Complete,
        Embed,
        Image,
        Message,
        Reply,
        Reward,
        Score,
        assistant,
        system,
        user,
    )
    from gristmill.rows import Completion, Conversation, Document, Instruction, Labelled, Preference, Row, Rows, Turn

# Looked up on first use, so that `import gristmill` and `gristmill --help` cost next to nothing.
_HOMES = {
    "gristmill.api": ("Result", "arerun", "aresume", "arun", "rerun", "resume", "run"),
    "gristmill.errors": "BadInput CallFailed EndpointDown GristmillError Refused Unparsed Waiting".split(),
    "gristmill.models.protocol": (["Chat", "Complete", "Embed", "Image", "Message", "Reply", "Reward", "Score", "assistant", "system", "user"]),
    "gristmill.contract": ("Recipe", "recipe"),
    "gristmill.rows": ["Completion", "Conversation", "Document", "Instruction", "Labelled", "Preference", "Row", "Rows", "Turn"],
    "gristmill.engine.run": ("Run",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gristmill' has no attribute {name!r}")
