"""Replies in parts: what stands after each of a prompt's marks, between tags, or in a list.

Models dress a mark up ("**Solution:**", "### SOLUTION"); the mark alone is meant. A part that is not there is `Bad`, never
an empty text.
"""

from __future__ import annotations

import re

from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.ops.text import NUMBERING, strip_numbering

BOLD_NUMBER = re.compile(r"^[*_]{1,3}(\(?\d{1,3}[.)])[*_]{0,3}")


def sections(text: str, *marks: str, last: bool = False) -> list[str]:
    """The text after each mark, up to the next one; stripped. A mark begins a line, in capitals or not.

    Args:
        marks: in the order in which they must come: "Question:", "[Solution]". A colon at a mark's end may lack where
            the mark stands alone on its line.
        last: read from the last place where the first mark stands, and not from the first: what came before was a draft.

    Raises:
        Bad: `missing_section` (details: section), a mark that is not there or not in its order; `empty_section`.
    """
    starts = list(re.finditer(_mark(marks[0]), text, re.IGNORECASE | re.MULTILINE))
    if not starts:
        raise Bad("missing_section", section=marks[0])
    found = [starts[-1 if last else 0]]
    for mark in marks[1:]:
        pattern = re.compile(_mark(mark), re.IGNORECASE | re.MULTILINE)
        if (match := pattern.search(text, found[-1].end())) is None:
            raise Bad("missing_section", section=mark)
        found.append(match)
    ends = [*(match.start() for match in found[1:]), len(text)]
    parts = [text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)]
    for mark, part in zip(marks, parts, strict=True):
        if not part:
            raise Bad("empty_section", section=mark)
    return parts


def _mark(mark: str) -> str:
    stars = "[*_]{0,3}"
    colon = rf"(?:{stars}:{stars}|{stars}[ \t]*$)" if mark.endswith(":") else rf"{stars}:?{stars}"
    return rf"^[*_#>` \t]*{re.escape(mark.removesuffix(':'))}{colon}"


def tagged(text: str, opening: str, closing: str) -> list[str]:
    """What stands between each pair of tags, stripped, without the empty ones. A last one that is not closed is left out:
    the reply may have been cut."""
    pattern = rf"{re.escape(opening)}(.*?){re.escape(closing)}"
    parts = (part.rpartition(opening)[2].strip() for part in re.findall(pattern, text, re.DOTALL | re.IGNORECASE))
    return [part for part in parts if part]


def listed(text: str) -> list[str]:
    """The items of a list with numbers or bullets, an item a line, as "3. Sing" or "- Sing"; lines that are none are
    taken for framing and left out. An item's further lines belong to no item."""
    items = []
    for line in text.splitlines():
        bare = BOLD_NUMBER.sub(r"\1 ", line.strip())
        if (match := NUMBERING.match(bare)) and (item := bare[match.end() :].strip("*_ \t")):
            items.append(item)
    return items


def items(reply: Reply, most: int) -> list[str]:
    """The first `most` items of a reply that is a list, each once. The last one of a reply that was cut is left out.

    Raises:
        Bad: `no_list`, no item is there.
    """
    found = listed(reply.text)
    if reply.truncated:
        found = found[:-1]
    if not found:
        raise Bad("no_list")
    return list(dict.fromkeys(map(strip_numbering, found)))[:most]  # small models write "- 1. Sing"
