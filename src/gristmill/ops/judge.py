"""Models as judges: ratings, and comparisons in both orders.

A verdict that cannot be read raises `Bad`: a judge's own failure is never scored against what it judges.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import exp
from typing import Literal

from gristmill.engine.run import Run
from gristmill.models.protocol import Chat, Messages, Reply
from gristmill.ops.ask import Bad

NUMBER = r"(-?\d+(?:\.\d+)?)(?!\d|\.\d| ?[-–] ?\d)"

Side = Literal["a", "b", "tie"]


def rating(text: str, *, low: float, high: float, cue: str = "Rating:") -> float:
    """The number after the last `cue` ("Rating: 4", "**Rating:** 4/5"); raises Bad("unread_rating") or
    Bad("rating_out_of_range"). A scale that is only repeated ("Rating: [1-5]") is none."""
    return split_rating(text, low=low, high=high, cue=cue)[1]


def split_rating(text: str, *, low: float, high: float, cue: str = "Rating:") -> tuple[str, float]:
    """What stands before the rating, and the rating; raises as `rating`."""
    pattern = re.escape(cue.rstrip(":")) + r"\W{0,4}:?\W{0,4}?" + NUMBER
    found = list(re.finditer(pattern, text, re.IGNORECASE))
    if not found:
        raise Bad("unread_rating", text=text[-300:])
    value = float(found[-1][1])
    if not low <= value <= high:
        raise Bad("rating_out_of_range", rating=value, low=low, high=high)
    return text[: found[-1].start()], value


async def rate(judge: Chat, messages: Messages, *, low: float, high: float, cue: str = "Rating:") -> float:
    """One judge's rating at temperature 0; raises as `rating`."""
    reply: Reply = await judge.chat(messages, temperature=0.0)
    return rating(reply.text, low=low, high=high, cue=cue)


def odds_of_first(reply: Reply, first: str, second: str) -> float | None:
    """The probability of one answer against another, both of a token, by the log-probabilities of a reply's first token.

    Asked with `logprobs=True, top_logprobs=5, max_tokens=1`. White space around a token does not count, and what
    other tokens have is left out. None where neither answer is among them: then nothing can be told.
    """
    if not reply.logprobs:
        return None
    token = reply.logprobs[0]
    chances = {first: 0.0, second: 0.0}
    for text, logprob in ({token.text: token.logprob} | token.top).items():
        if text.strip() in chances:
            chances[text.strip()] += exp(logprob)
    total = sum(chances.values())
    return chances[first] / total if total > 0 else None


async def prefer(
    run: Run, judge: Chat, ask: Callable[[str, str], Messages], a: str, b: str, read: Callable[[str], Side]
) -> tuple[Side, bool]:
    """Which of two texts a judge prefers, asked in both orders because judges favour a position.

    Args:
        ask: the messages that show a first and a second text.
        read: the verdict of a reply: "a" for the first, "b" for the second, or "tie"; raises Bad if it gives none.

    Returns:
        The winner ("tie" where the two orders disagree), and whether they agreed.
    """
    forward, backward = await run.gather(judge.chat(ask(a, b), temperature=0.0), judge.chat(ask(b, a), temperature=0.0))
    swap: dict[Side, Side] = {"a": "b", "b": "a", "tie": "tie"}
    first, second = read(forward.text), swap[read(backward.text)]
    return (first, True) if first == second else ("tie", False)
