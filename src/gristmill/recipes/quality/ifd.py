"""IFD selection (Li et al. 2023, Cherry LLM): the pairs whose instruction helps a model least to expect the answer, but helps.

IFD is the loss of an answer given its instruction, over its loss alone. As a ratio of perplexities it stands in
`ops/loss.py`; this one is of losses, with the perplexities as a variant.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from math import exp
from typing import Annotated, Literal, Protocol

import numpy as np
from msgspec import Meta

from gristmill import BadInput, Embed, Instruction, Lesson, Row, Rows, Run, Score, Trainable, Training, recipe
from gristmill.models.protocol import Token
from gristmill.ops.ask import Bad
from gristmill.ops.clusters import clustered
from gristmill.ops.clusters import require as require_clusters
from gristmill.ops.loss import lacks_first, mean_loss
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens, chunks
from gristmill.ops.vectors import digest_of, embedded

PROMPT = Prompt(
    """Below stands a task. Write a response that does what it asks for.

### Instruction:
{instruction}

### Response:
"""
)
ALONE = Prompt("### Response:\n")
"""What the answer alone stands behind. The released code keeps this short header; a prompt without text asks for the
answer with nothing at all before it."""

MOST = 700.0  # exp() of more is no float


class Student(Score, Trainable, Protocol):
    """A model that scores, and can be trained before it does."""


class DifficultInstruction(Instruction, kw_only=True):
    """A pair with what a model thinks of it."""

    loss_cond: float
    """Mean negative log-likelihood of the answer's tokens, given the instruction."""
    loss_direct: float
    """Of the same tokens without it."""
    ifd: float
    variant: Literal["loss", "perplexity"]
    """What `ifd` is the ratio of."""
    tokens: int
    """Of the answer, that both losses are means over."""
    keep: bool
    """Whether it is selected; always true unless flagged rows are kept."""


class IfdReport(Row, kw_only=True):
    """The scores of a set."""

    rows: int
    scored: int
    kept: int
    kept_share: float
    above: int
    """Rows over the limit: the instruction does not help to expect the answer."""
    mean: float | None
    quantiles: list[float]
    """Minimum, quartiles, maximum of all scores."""


@recipe("ifd", fixed=True)
async def ifd(
    rows: Rows[Instruction],
    run: Run,
    scorer: Score | None = None,
    student: Student | None = None,
    embedder: Embed | None = None,
    *,
    keep_share: Annotated[float, Meta(gt=0, le=1)] = 0.1,
    drop_above: float = 1.0,
    max_length: Annotated[int, Meta(ge=1)] = 1024,
    variant: Literal["loss", "perplexity"] = "loss",
    clusters: Annotated[int, Meta(ge=1)] = 100,
    per_cluster: Annotated[int, Meta(ge=1)] = 10,
    training: Training = Training(epochs=1),
    keep_flagged: bool = False,
) -> AsyncIterator[DifficultInstruction | IfdReport]:
    """Keep the share of a set with the highest instruction-following difficulty (IFD) that is not over 1.

    IFD = loss of the answer given its instruction / loss of the answer alone. Near 0 the instruction says it all, near 1
    it does not help: the pair is hard, or does not belong together; over 1 it misleads, and the row is dropped. Rows
    leave in their order. (Li et al. 2023, "From Quantity to Quality", arXiv:2308.12032; Li et al. 2024, Superfiltering,
    arXiv:2402.00530, where a small model without any training scores.)

    As in the first paper, a `student` is trained before it scores, for one epoch on about a thousand rows: instructions
    are clustered by their embeddings, and of each cluster those are taken, evenly spaced, whose own loss is not among
    the highest or lowest hundredth. As in the second, a `scorer` scores as it is.

    Args:
        scorer: gives log-probabilities of an answer's tokens. Needed unless there is a student.
        student: trained, and then asked in the scorer's place.
        embedder: places the instructions for the student's first rows (paper: the mean of its own last hidden states).
        keep_share: of all rows; the paper: 5 % of Alpaca, 10 % of WizardLM.
        drop_above: an IFD that no row may be over.
        max_length: tokens of prompt and answer, estimated. An answer is cut; where the prompt leaves no room for any of
            it, the row is dropped.
        variant: perplexity takes the exponential of both losses before the ratio: other numbers, in another order.
        clusters: of instructions, for the student's first rows.
        per_cluster: rows of each.
        training: of the student.
        keep_flagged: yield all scored rows, with `keep` saying which are selected.

    Rejects: `no_answer`, `too_long` (details: tokens), `no_loss` (the model gives no probabilities, or is sure of every
        token; details: tokens), `high_ifd` (details: ifd), `below_share` (details: ifd).
    """
    model = scorer
    if student is not None:
        if embedder is None:
            raise BadInput("ifd: a student learns from clusters of instructions. Name a model as --model embedder=...")
        model = await experienced(
            rows,
            student,
            embedder,
            run,
            clusters=clusters,
            per_cluster=per_cluster,
            training=training,
            max_length=max_length,
        )
    if model is None:
        raise BadInput("ifd: no model is there to score. Name one as --model scorer=... or --model student=...")
    checkpoint = getattr(model, "checkpoint", None)

    async def score(row: Instruction, model: Score = model) -> DifficultInstruction | None:
        try:
            prompt = PROMPT(instruction=task(row))
            output = fitting(row.output, prompt, max_length)
            given, alone = await run.gather(model.score(prompt, output), model.score(ALONE(), output))
            conditioned, direct, tokens = losses(given, alone)
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details)
            return None
        made = DifficultInstruction(
            instruction=row.instruction,
            input=row.input,
            output=row.output,
            loss_cond=conditioned,
            loss_direct=direct,
            ifd=ratio(conditioned, direct, variant),
            variant=variant,
            tokens=tokens,
            keep=False,
        )
        run.link(made, row, *([checkpoint] if checkpoint else []))
        return made

    scored = [made for made in await run.map(score, rows, keep_going=True) if made is not None]
    fit = sorted((made for made in scored if made.ifd <= drop_above), key=lambda made: -made.ifd)
    for made in fit[: round(keep_share * len(rows))]:
        made.keep = True
    report = described(scored, len(rows), drop_above)
    run.link(report, *rows)
    yield report
    for made in scored:
        if made.keep or keep_flagged:
            yield made
        elif made.ifd > drop_above:
            run.reject(made, "high_ifd", ifd=made.ifd)
        else:
            run.reject(made, "below_share", ifd=made.ifd)


def task(row: Instruction) -> str:
    return f"{row.instruction}\n\n{row.input}".strip()


def fitting(output: str, prompt: str, max_length: int) -> str:
    """As much of an answer as fits behind its prompt."""
    if not output.strip():
        raise Bad("no_answer")
    room = max_length - approx_tokens(prompt)
    cut = chunks(output, room)[0] if room > 0 else ""
    if not cut.strip() or approx_tokens(cut) > room:  # white space alone, or one sign of several tokens
        raise Bad("too_long", tokens=max_length - room)
    return cut


def losses(given: Sequence[Token], alone: Sequence[Token]) -> tuple[float, float, int]:
    """Mean losses of an answer's tokens in its context and alone, and how many tokens that are, the same on both sides."""
    if len(given) != len(alone):
        # Another number of tokens behind another prompt: only a tokenizer that joins over the border does so, at the first
        most = min(len(given), len(alone))
        given, alone = given[len(given) - most :], alone[len(alone) - most :]
    if lacks_first(alone) or lacks_first(given):
        given, alone = given[1:], alone[1:]
    conditioned, direct = mean_loss(given), mean_loss(alone)
    if direct <= 0:
        raise Bad("no_loss", tokens=len(alone))
    return conditioned, direct, len(alone)


def ratio(conditioned: float, direct: float, variant: Literal["loss", "perplexity"]) -> float:
    if variant == "loss":
        return conditioned / direct
    return exp(max(-MOST, min(conditioned - direct, MOST)))


def described(scored: Sequence[DifficultInstruction], rows: int, drop_above: float) -> IfdReport:
    values = np.array([made.ifd for made in scored])
    kept = sum(made.keep for made in scored)
    return IfdReport(
        rows=rows,
        scored=len(scored),
        kept=kept,
        kept_share=kept / rows if rows else 0.0,
        above=int((values > drop_above).sum()),
        mean=float(values.mean()) if scored else None,
        quantiles=np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist() if scored else [],
    )


# -- a first experience


async def experienced(
    rows: Rows[Instruction],
    student: Student,
    embedder: Embed,
    run: Run,
    *,
    clusters: int,
    per_cluster: int,
    training: Training,
    max_length: int,
) -> Student:
    """The student after an epoch on rows of all kinds."""
    require_clusters()
    answered = [row for row in rows if row.output.strip()]
    if not answered:
        return student

    async def expected(row: Instruction) -> float | None:
        try:
            return mean_loss(await student.score("", chunks(task(row), max_length)[0]))
        except Bad:
            return None  # it takes no part in what the student learns from

    found = await run.map(expected, answered)
    vectors = await embedded(run, embedder, [task(row) for row in answered], name="place")
    seed = run.rng("clusters").randrange(2**32)
    how = {"clusters": clusters, "seed": seed}
    groups = await run.once(
        "clusters",
        lambda _, how: clustered(vectors, "kmeans", clusters=how["clusters"], min_cluster_size=2, seed=how["seed"]),
        digest_of(vectors),
        how,
    )
    chosen = spread(groups, found, per_cluster)
    lessons = [Lesson(PROMPT(instruction=task(answered[at])), answered[at].output) for at in chosen]
    return await run.train(student, lessons, training=training) if lessons else student


def spread(groups: Sequence[int], values: Sequence[float | None], per_group: int) -> list[int]:
    """Of each group up to so many members, evenly spaced, whose value is not among its lowest or highest hundredth."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, (group, value) in enumerate(zip(groups, values, strict=True)):
        if value is not None:
            members[group].append(index)
    chosen = []
    for group in sorted(members):
        inside = members[group]
        if len(inside) > per_group:
            low, high = np.percentile([values[at] for at in inside], [1, 99])
            inside = [at for at in inside if low <= values[at] <= high]
            inside = inside[:: max(1, len(inside) // per_group)][:per_group]
        chosen += inside
    return sorted(chosen)
