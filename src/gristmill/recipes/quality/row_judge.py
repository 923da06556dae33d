"""Two rows of different makers, and which of them a judge would rather train on (after MT-Bench, Zheng et al. 2023)."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Row, Run, recipe, user
from gristmill.models.protocol import Messages
from gristmill.ops.ask import Bad
from gristmill.ops.judge import Side
from gristmill.ops.prompts import Prompt
from gristmill.quality.judge import SWAP, verdict

JUDGE = Prompt(
    """Two examples are candidates for the training data of a language model. Which of them would teach it more? Look at whether what is asked makes sense and takes some thought, and whether the answer is right, complete and well written. The order of the two and their length say nothing.

[Example 1]
{first}
[End of example 1]

[Example 2]
{second}
[End of example 2]

Say why in one or two sentences. End with a line "Better: 1", "Better: 2" or "Better: neither"."""
)
VERDICT = re.compile(r"Better:[\s*_]*(?:example\s*)?(1|2|neither)\b", re.IGNORECASE)


class RowPair(Row):
    """Two rows as text, and who made each."""

    first: str
    second: str
    first_of: str = "first"
    second_of: str = "second"


class JudgedPair(RowPair, kw_only=True):
    winner: str
    """The maker of the better row, or "tie": the judge says neither, or the other one when the order is turned."""
    agreed: bool
    """Both orders gave the same verdict."""
    forward: Side
    """The verdict with `first` shown first: "a" is `first`, "b" is `second`, wherever they were shown."""
    backward: Side
    """With `second` shown first. A judge that always takes what stands first says "a" forward and "b" backward."""


@recipe("row-judge")
async def row_judge(
    row: RowPair, judge: Chat, run: Run, *, max_characters: Annotated[int, Meta(ge=100)] = 6000
) -> AsyncIterator[JudgedPair]:
    """Which of two rows a judge would rather train on, asked in both orders.

    A row wins only where both orders agree. `gristmill compare --judge` asks this of rows of different methods. (Zheng et
    al. 2023, arXiv:2306.05685, section 3.4, for the swap; the wording is ours.)

    Args:
        judge: at temperature 0.
        max_characters: of a row that it is shown.

    Rejects: `unread_verdict`.
    """

    def ask(first: str, second: str) -> Messages:
        return [user(JUDGE(first=first[:max_characters], second=second[:max_characters]))]

    one, other = await run.gather(
        judge.chat(ask(row.first, row.second), temperature=0.0), judge.chat(ask(row.second, row.first), temperature=0.0)
    )
    try:
        forward, backward = read(one.text), SWAP[read(other.text)]
    except Bad as bad:
        run.reject(row, bad.reason, **bad.details)
        return
    winner = {"a": row.first_of, "b": row.second_of, "tie": "tie"}[verdict(forward, backward)]
    agreed = forward == backward
    yield JudgedPair(
        row.first,
        row.second,
        row.first_of,
        row.second_of,
        winner=winner,
        agreed=agreed,
        forward=forward,
        backward=backward,
    )


def read(text: str) -> Side:
    found = VERDICT.findall(text)
    if not found:
        raise Bad("unread_verdict", text=text[-300:])
    sides: dict[str, Literal["a", "b", "tie"]] = {"1": "a", "2": "b", "neither": "tie"}
    return sides[found[-1].lower()]
