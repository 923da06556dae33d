"""gristmill: every published way of making training data for language models, over one durable engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gristmill.api import aplan, arerun, aresume, arun, plan, rerun, resume, run
    from gristmill.chain import Chain, Step
    from gristmill.contract import Recipe, recipe
    from gristmill.engine.artefacts import Artefact
    from gristmill.engine.run import Run
    from gristmill.errors import BadInput, CallFailed, EndpointDown, GristmillError, Refused, Unparsed, Waiting
    from gristmill.execute import Result
    from gristmill.forecast import Plan
    from gristmill.models.protocol import (
        Annotator,
        Chat,
        Choose,
        Complete,
        Embed,
        Execute,
        Gym,
        Hidden,
        Image,
        Message,
        Plot,
        Prove,
        Reply,
        Retrieve,
        Reward,
        Score,
        See,
        Simulate,
        Trainable,
        assistant,
        system,
        user,
    )
    from gristmill.rows import (
        Completion,
        Conversation,
        Document,
        ImageText,
        Instruction,
        Labelled,
        Picture,
        Preference,
        Row,
        Rows,
        Turn,
    )
    from gristmill.verify.values import Program, Verdict

# Looked up on first use, so that `import gristmill` and `gristmill --help` cost next to nothing.
_HOMES = {
    "gristmill.execute": ["Result"],
    "gristmill.forecast": ["Plan"],
    "gristmill.api": ["aplan", "arerun", "aresume", "arun", "plan", "rerun", "resume", "run"],
    "gristmill.chain": ["Chain", "Step"],
    "gristmill.contract": ["Recipe", "recipe"],
    "gristmill.engine.artefacts": ["Artefact"],
    "gristmill.engine.run": ["Run"],
    "gristmill.errors": ["BadInput", "CallFailed", "EndpointDown", "GristmillError", "Refused", "Unparsed", "Waiting"],
    "gristmill.models.protocol": [
        *["Chat", "Choose", "Complete", "Embed", "Execute", "Hidden", "Prove", "Retrieve", "Reward", "Score", "See"],
        *["Annotator", "Gym", "Plot", "Simulate", "Trainable"],
        *["Image", "Message", "Reply", "assistant", "system", "user"],
    ],
    "gristmill.models.training": ["Lesson", "Training"],
    "gristmill.verify.values": ["Program", "Verdict"],
    "gristmill.rows": [
        *["Completion", "Conversation", "Document", "ImageText", "Instruction", "Labelled", "Picture"],
        *["Preference", "Row", "Rows", "Turn"],
    ],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Annotator",
    "Artefact",
    "BadInput",
    "CallFailed",
    "Chain",
    "Chat",
    "Choose",
    "Complete",
    "Completion",
    "Conversation",
    "Document",
    "Embed",
    "EndpointDown",
    "Execute",
    "GristmillError",
    "Gym",
    "Hidden",
    "Image",
    "ImageText",
    "Instruction",
    "Labelled",
    "Lesson",
    "Message",
    "Picture",
    "Plan",
    "Plot",
    "Preference",
    "Program",
    "Prove",
    "Recipe",
    "Refused",
    "Reply",
    "Result",
    "Retrieve",
    "Reward",
    "Row",
    "Rows",
    "Run",
    "Score",
    "See",
    "Simulate",
    "Step",
    "Trainable",
    "Training",
    "Turn",
    "Unparsed",
    "Verdict",
    "Waiting",
    "aplan",
    "arerun",
    "aresume",
    "arun",
    "assistant",
    "plan",
    "recipe",
    "rerun",
    "resume",
    "run",
    "system",
    "user",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gristmill' has no attribute {name!r}")
