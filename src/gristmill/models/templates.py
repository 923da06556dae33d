"""Chat templates as plain data, for methods that leave the template themselves: Magpie sends a model the text up to
where the user's words would stand, in raw completion, and the model writes them.

Checked against llama.cpp's /apply-template for SmolLM2; the others are their published templates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec


class Template(msgspec.Struct, frozen=True):
    """How a family of models marks turns."""

    open: str
    """Begins a turn; {role} is "system", "user" or "assistant"."""
    close: str
    """Ends a turn."""
    stop: tuple[str, ...]
    """Where a turn that the model writes has ended."""
    start: str = ""
    """Before the first turn."""
    system: str = ""
    """The system text that the family's own template puts first where none is given; "": none."""

    def pre_query(self, system: str | None = None, turns: Sequence[tuple[str, str]] = ()) -> str:
        """The raw text up to the user's next words. `system`: None for the family's own, "" for none at all; `turns`:
        (role, text), oldest first."""
        said = self.system if system is None else system
        before = [("system", said)] if said else []
        text = "".join(self.open.format(role=role) + words + self.close for role, words in (*before, *turns))
        return self.start + text + self.open.format(role="user")


_CHATML = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")

PRE_QUERY: dict[str, Template] = {
    # Servers put the begin-of-text token before a raw prompt by themselves. It is written here all the same, as Magpie
    # does; llama.cpp and vLLM then see two, and the published figures were made with that.
    "llama-3": Template(
        open="<|start_header_id|>{role}<|end_header_id|>\n\n",
        close="<|eot_id|>",
        stop=("<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        start="<|begin_of_text|>",
    ),
    # Without its default system text: Magpie's own setting for Qwen2.
    "qwen2": Template(open="<|im_start|>{role}\n", close="<|im_end|>\n", stop=_CHATML),
    "qwen2.5": Template(
        open="<|im_start|>{role}\n",
        close="<|im_end|>\n",
        stop=_CHATML,
        system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    "smollm2": Template(
        open="<|im_start|>{role}\n",
        close="<|im_end|>\n",
        stop=_CHATML,
        system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    ),
}

# The most special first.
_FAMILIES = {
    "qwen2.5": r"qwen-?2\.5",
    "qwen2": r"qwen-?2(?![.\d])",
    "llama-3": r"llama-?3(?![.\d]*-?base)",
    "smollm2": r"smollm-?2",
}


def of(model: str) -> Template | None:
    """The template of a model, by its name; None where the family is not known."""
    for family, pattern in _FAMILIES.items():
        if re.search(pattern, model, re.IGNORECASE):
            return PRE_QUERY[family]
    return None
