"""HTML as Markdown: markdownify, MIT (extra `html`)."""

from __future__ import annotations

import re
import warnings
from typing import Literal

from gristmill import packages
from gristmill.ops.ask import Bad

DECLARATION = re.compile(r"\A\s*<\?xml\b[^>]*>", re.IGNORECASE)
"""Of XHTML; it would be read as text."""


def require() -> None:
    """Raises BadInput where markdownify is not installed."""
    packages.require("reading HTML", "html", "markdownify")


def markdown(html: str, *, escape: bool = True, headings: Literal["underlined", "atx"] = "underlined") -> str:
    """HTML, or a text without any, as Markdown; without white space around it.

    Args:
        escape: put a backslash before underscores and asterisks that are text, as Markdown wants it outside of code.
        headings: the first two levels with a line below them, or all with "#" before them.

    Raises:
        Bad: `parser_error`, markup that cannot be read, or is nested too deeply.
    """
    from bs4 import MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
    from bs4.exceptions import ParserRejectedMarkup
    from markdownify import markdownify

    try:
        with warnings.catch_warnings():
            # Of a text that is an address or a file's name alone, and of XHTML: both are read as they should be.
            warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
            warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
            bare = DECLARATION.sub("", html)
            made = markdownify(bare, escape_underscores=escape, escape_asterisks=escape, heading_style=headings)
    except (ParserRejectedMarkup, AssertionError, RecursionError) as error:
        raise Bad("parser_error", error=f"{type(error).__name__}: {error}"[:200]) from None
    return str(made).strip()
