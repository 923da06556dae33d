"""Deita (Liu et al. 2023): conversations by complexity times quality, the best first, and none too near to a better one."""

from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from math import exp
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from gristmill import Complete, Conversation, Embed, Reply, Row, Rows, Run, Turn, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt
from gristmill.ops.vectors import Vectors, embedded
from gristmill.quality.embed import normalised

COMPLEXITY = Prompt(
    """How complex is the instruction below, from 1 (simple) to 6 (very complex)?
##Instruction: {instruction}
##Complexity: """
)
QUALITY = Prompt(
    """How good is the response to the instruction below, from 1 (poor) to 6 (very good)?
##Instruction: {instruction}
##Response: {response}
##Quality: """
)
"""Scorers that were trained on other fixed texts need those: see `--prompt`."""
SCORES = tuple("123456")


class ScoredConversation(Conversation, kw_only=True):
    """A conversation with its scores, one a pair of instruction and response."""

    complexity: list[float]
    quality: list[float]
    final_score: float
    missing_scores: int
    """Scores that could not be read off the scorer's probabilities and stand at `missing_score`."""
    kept: bool
    """Whether it is selected; always true unless flagged rows are kept."""


class DeitaReport(Row, kw_only=True):
    """A selection in numbers."""

    rows: int
    scored: int
    kept: int
    too_similar: int
    below_size: int
    missing_scores: int
    mean_score: float | None
    mean_kept_score: float | None


class Near(NamedTuple):
    """The most similar one of those that were kept before."""

    similarity: float
    to: int


@recipe("deita", fixed=True)
async def deita(
    rows: Rows[Conversation],
    complexity_scorer: Complete,
    quality_scorer: Complete,
    embedder: Embed,
    run: Run,
    *,
    size: Annotated[int, Meta(ge=1)] = 6000,
    similarity_threshold: float = 0.9,
    missing_score: float = 3.0,
    top_logprobs: Annotated[int, Meta(ge=6)] = 20,
    keep_flagged: bool = False,
) -> AsyncIterator[ScoredConversation | DeitaReport]:
    """Select conversations by complexity times quality, summed over their turns, and pass over what is near a better one.

    A scorer is a small model that was trained to answer a fixed text with a number from 1 to 6. Its score is the mean of
    1 to 6, weighted by the probabilities of these tokens in the first place of its answer. Conversations are gone
    through from the highest score down, and each is kept unless its cosine with one that was kept is over the threshold,
    until there are enough. (Liu et al. 2023, "What Makes Good Data for Alignment", arXiv:2312.15685.) Data to train
    the scorers on comes from `deita-scorers`. Not here: the paper's second stage, DPO on pairs drawn by chance from a set of
    feedback.

    Args:
        complexity_scorer: reads an instruction.
        quality_scorer: reads an instruction and its response.
        embedder: places conversations (paper: the last token's state of a 13B model).
        size: conversations to keep at most; the paper keeps 6,000 and 10,000.
        similarity_threshold: a cosine that conversations may have, and not exceed.
        missing_score: stands for a score of which a token is not among the scorer's most probable ones, as in the
            released code; such scores are counted.
        top_logprobs: of the scorer's first token. An endpoint may give fewer. Not from the paper.
        keep_flagged: yield all scored conversations, with `kept` saying which are selected.

    Rejects: `no_turns` (no instruction with its response), `no_logprobs` (a scorer gives no probabilities), `too_similar`
        (details: final_score, similarity, to), `below_size` (details: final_score).
    """

    async def score(row: Conversation) -> ScoredConversation | None:
        turns = exchanges(row.messages)
        if not turns:
            run.reject(row, "no_turns")
            return None
        asking: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": top_logprobs}
        replies = await run.gather(
            *(complexity_scorer.complete(COMPLEXITY(instruction=said), **asking) for said, _ in turns),
            *(quality_scorer.complete(QUALITY(instruction=said, response=to), **asking) for said, to in turns),
        )
        try:
            read = [expected_score(reply) for reply in replies]
        except Bad as bad:
            run.reject(row, bad.reason)
            return None
        filled = [missing_score if value is None else value for value in read]
        complexity, quality = filled[: len(turns)], filled[len(turns) :]
        made = ScoredConversation(
            messages=row.messages,
            complexity=complexity,
            quality=quality,
            final_score=sum(c * q for c, q in zip(complexity, quality, strict=True)),
            missing_scores=read.count(None),
            kept=False,
        )
        run.link(made, row)
        return made

    scored = [made for made in await run.map(score, rows, keep_going=True) if made is not None]
    scored.sort(key=lambda made: -made.final_score)
    vectors = await embedded(run, embedder, [text_of(made) for made in scored], name="place")
    kept, near = walked(vectors, size, similarity_threshold)
    for at in kept:
        scored[at].kept = True
    report = described(scored, len(rows), near)
    run.link(report, *rows)
    yield report
    for at, made in enumerate(scored):
        if made.kept or keep_flagged:
            yield made
        elif at in near:
            to = text_of(scored[near[at].to])
            run.reject(made, "too_similar", final_score=made.final_score, similarity=near[at].similarity, to=to)
        else:
            run.reject(made, "below_size", final_score=made.final_score)


def exchanges(messages: list[Turn]) -> list[tuple[str, str]]:
    """Each instruction with the response that follows it."""
    return [
        (one.content, other.content)
        for one, other in pairwise(messages)
        if one.role == "user" and other.role == "assistant" and one.content.strip() and other.content.strip()
    ]


def expected_score(reply: Reply) -> float | None:
    """The mean of 1 to 6 by the probabilities of the first token; None where one of the six has none."""
    if not reply.logprobs:
        raise Bad("no_logprobs")
    token = reply.logprobs[0]
    return weighted({token.text: token.logprob} | token.top)


def weighted(logprobs: Mapping[str, float]) -> float | None:
    """The softmax over the six scores, and its mean. White space around a token does not count."""
    mass = dict.fromkeys(SCORES, 0.0)
    found = {text.strip() for text in logprobs}
    if not found >= set(SCORES):
        return None
    most = max(value for text, value in logprobs.items() if text.strip() in mass)
    for text, value in logprobs.items():
        if text.strip() in mass:
            mass[text.strip()] += exp(value - most)
    return sum(int(score) * part for score, part in mass.items()) / sum(mass.values())


def text_of(row: Conversation) -> str:
    return "\n".join(turn.content for turn in row.messages)


def walked(vectors: Vectors, size: int, threshold: float) -> tuple[list[int], dict[int, Near]]:
    """Which vectors are kept, from the first on, and of those passed over the one kept before that is too near."""
    units = normalised(vectors) if len(vectors) else vectors
    kept: list[int] = []
    near: dict[int, Near] = {}
    held = np.zeros((min(size, len(units)), units.shape[1] if units.ndim == 2 else 0))
    for at, unit in enumerate(units):
        if len(kept) == size:
            break
        if kept:
            cosines = (held[: len(kept)] @ unit).round(6)  # the last digits are a machine's own
            nearest = int(np.argmax(cosines))
            if cosines[nearest] > threshold:
                near[at] = Near(float(cosines[nearest]), kept[nearest])
                continue
        held[len(kept)] = unit
        kept.append(at)
    return kept, near


def described(scored: list[ScoredConversation], rows: int, near: Mapping[int, Near]) -> DeitaReport:
    chosen = [made.final_score for made in scored if made.kept]
    return DeitaReport(
        rows=rows,
        scored=len(scored),
        kept=len(chosen),
        too_similar=len(near),
        below_size=len(scored) - len(chosen) - len(near),
        missing_scores=sum(made.missing_scores for made in scored),
        mean_score=sum(made.final_score for made in scored) / len(scored) if scored else None,
        mean_kept_score=sum(chosen) / len(chosen) if chosen else None,
    )
