"""Personal data and secrets: masked, replaced by made-up values, or dropped with their rows."""

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

from gristmill import Row, Rows, Run, recipe
from gristmill.quality.filters import set_of
from gristmill.quality.pii import Source, Span, Tags, detect, mask, pseudonymise


@recipe("pii-check")
async def pii_check(
    row: Row,
    run: Run,
    *,
    private: Rows[Row] | None = None,
    action: Literal["mask", "pseudonymise", "drop"] = "mask",
    locale: str = "US",
    allow: list[str] | None = None,
    entropy_bits: Annotated[float, Meta(ge=0)] = 3.5,
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    leak_tokens: Annotated[int, Meta(ge=2)] = 8,
) -> AsyncIterator[Row]:
    """Rows of any kind, with their e-mail addresses, numbers, keys and the like masked or replaced, or without such rows.

    Patterns with check digits, in every text of a row. The same value has the same mark throughout a row, [EMAIL_1], or the
    same made-up value in all rows; these are of the same kind and format and belong to nobody. Names of people are not
    found: patterns cannot. To only count, use `gristmill check`. (Practice; the survey's section 5.3 on privacy.)

    Args:
        private: rows that the generator saw; a row that repeats a value or a run of words of theirs goes, whatever the
            action.
        action: what becomes of a row with findings.
        locale: a country, whose phones and national numbers are known without a word that says so.
        allow: values and domains that are no finding.
        entropy_bits: of keys, in bits a sign. Ours.
        score_threshold: findings from this score on count.
        leak_tokens: words in a row that are a leak of a private row.

    Rejects: `private_leak`, `personal_data` (details of both: findings, their types and places, never the values).
    """
    allowed = tuple(allow or ())
    find = finder(locale, allowed, entropy_bits, score_threshold)
    findings: list[dict[str, Any]] = []
    leaked: list[dict[str, Any]] = []
    tags = Tags()
    source = known(private, leak_tokens, find, allowed) if private is not None else None

    def clean(text: str) -> str:
        found = find(text)
        spans = [span for span in found if span.score >= score_threshold]
        findings.extend({"type": span.type, "start": span.start, "end": span.end} for span in spans)
        if source is not None:
            leaks = source.spans(text, found)
            leaked.extend({"type": span.type, "start": span.start, "end": span.end} for span in leaks)
        return mask(text, spans, tags) if action == "mask" else pseudonymise(text, spans, run.seed)

    cleaned = everywhere(msgspec.to_builtins(structs.replace(row, id="", lineage=None)), clean)
    if leaked:
        run.reject({"id": row.id}, "private_leak", findings=leaked)
    elif findings and action == "drop":
        run.reject({"id": row.id}, "personal_data", findings=findings)
    elif findings:
        yield msgspec.convert(cleaned, type(row))
    else:
        yield row


@lru_cache(maxsize=8)
def finder(locale: str, allow: tuple[str, ...], bits: float, least: float) -> Callable[[str], list[Span]]:
    def find(text: str) -> list[Span]:
        return detect(text, locale=locale, allow=allow, entropy_bits=bits, score_threshold=least)

    return find


def everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """A plain value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: everywhere(inner, change) for key, inner in value.items()}
    return [everywhere(inner, change) for inner in value] if isinstance(value, list) else value


@lru_cache(maxsize=1)
def known(private: Rows[Row], leak_tokens: int, find: Callable[[str], list[Span]], allow: tuple[str, ...]) -> Source:
    """What the private rows hold. Of one run at a time: they are the same for all its rows."""
    return Source(set_of(private, "the private rows"), leak_tokens, find, allow)
