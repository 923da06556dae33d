"""Ask, read, check, and ask again: a reply that cannot be read becomes a reject with a reason, never a default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gristmill.engine.run import Run
from gristmill.models.protocol import Reply

T = TypeVar("T")


class Bad(Exception):
    """Raised by a reader: the reply is not usable. `reason`: a short code; the details are kept with the reject."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


async def attempt(
    run: Run, call: Callable[[], Awaitable[Reply]], read: Callable[[Reply], T], *, tries: int = 1
) -> T | None:
    """What `read` makes of a reply, or None once every try was bad; each bad reply is kept as a reject.

    Args:
        call: asks; called again for each try, and each time it is a new sample.
        read: raises `Bad` for a reply that cannot be used.
        tries: replies to ask for at most.
    """
    for _ in range(tries):
        reply = await call()
        try:
            return read(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
    return None


def complete_reply(reply: Reply) -> str:
    """The text of a reply that is there and was not cut; raises Bad("empty") or Bad("truncated")."""
    text = reply.text.strip()
    if not text:
        raise Bad("empty")
    if reply.truncated:
        raise Bad("truncated")
    return text
