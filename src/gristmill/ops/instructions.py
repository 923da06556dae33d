"""New instructions, filtered as Self-Instruct does (Wang et al. 2023, section 2.2 and its released code)."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from gristmill.engine.run import Run
from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.ops.novelty import Comparison, Novelty

BANNED = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
)  # fmt: skip
"""Words of tasks that a language model cannot do."""


def on_one_line(instruction: str) -> str:
    return " ".join(instruction.split()).rstrip(":")


def admit(
    run: Run,
    pool: Novelty,
    instruction: str,
    reply: Reply,
    min_words: int,
    max_words: int,
    banned: Sequence[str] = BANNED,
) -> Comparison | None:
    """Filter an instruction. One that passes joins the pool at once, so that the next of its reply meets it there."""
    if bad := objection(instruction, min_words, max_words, banned):
        run.reject(instruction, bad.reason, source=reply, **bad.details)
        return None
    compared = pool.compare(instruction)
    if compared.highest >= pool.threshold:
        rouge_l, to = compared.highest, compared.nearest[0][0]
        run.reject(instruction, "too_similar", source=reply, rouge_l=rouge_l, to=to)
        return None
    pool.add(instruction)
    return compared


def objection(instruction: str, min_words: int, max_words: int, banned: Sequence[str]) -> Bad | None:
    words = len(instruction.split())
    if words < min_words:
        return Bad("too_short", words=words)
    if words > max_words:
        return Bad("too_long", words=words)
    if found := re.search(rf"\b({'|'.join(banned)})\b", instruction, re.IGNORECASE):
        return Bad("unsuited", word=found[0])
    if instruction.lower().startswith("write a program"):
        return Bad("writes_program")
    if instruction[0] in string.punctuation:
        return Bad("starts_with_punctuation")
    if not instruction[0].isascii():
        return Bad("starts_non_ascii")
    return None
