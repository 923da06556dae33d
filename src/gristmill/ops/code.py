"""Python in replies and files: finding it, and reading it without running it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad, complete_reply
from gristmill.verify.values import Verdict

FENCED = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
PYTHON = ("python", "py", "python3")
LONGEST = 200_000
"""Characters of a text that is read as Python."""


def code_block(text: str) -> str | None:
    """The first fenced block that says it is Python, else the first block, "" for an empty one; None where there is
    none. One that is not closed ends with the text."""
    blocks = [(match["language"].lower(), match["code"]) for match in FENCED.finditer(text)]
    ours = [code for language, code in blocks if language in PYTHON] or [code for _, code in blocks]
    return ours[0].strip() if ours else None


def parsed(code: str) -> ast.Module | None:
    """The syntax tree, or None for what is no Python, or too long or too deep to be read."""
    if len(code) > LONGEST:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the author's escapes
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def syntax(tree: ast.AST) -> list[str]:
    """The kinds of a tree's nodes, each before those that it holds: code without its names, values and layout."""
    kinds = []
    left = [tree]
    while left:  # not by recursion: a long sum is a deep tree
        node = left.pop()
        kinds.append(type(node).__name__)
        left += reversed(list(ast.iter_child_nodes(node)))
    return kinds


def match_rate(one: Sequence[str], other: Sequence[str]) -> float:
    """How much of two trees is alike, 0 to 1: 1 - edit distance of what `syntax` gives / the longer one's length."""
    return float(Levenshtein.normalized_similarity(one, other))


def program(reply: Reply) -> str:
    """The program of a reply, in a block or bare; raises Bad (`no_program`, `empty`, `truncated`)."""
    text = complete_reply(reply)
    code = code_block(text) or text
    if parsed(code) is None:
        raise Bad("no_program")
    return code


def printed(verdict: Verdict) -> str:
    """What a program printed as its answer, one line; raises Bad (`printed_nothing`, `printed_more`, else the outcome)."""
    if not verdict.ok:
        raise Bad(verdict.outcome, error=verdict.error, message=verdict.message)
    answer = verdict.stdout.strip()
    if not answer:
        raise Bad("printed_nothing")
    if len(answer.splitlines()) > 1:
        raise Bad("printed_more", printed=answer[:200])
    return answer
