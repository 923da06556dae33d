"""Reliability by sampled answers: self-consistency (Wang et al. 2022), SelfCheckGPT (Manakul et al. 2023) and semantic
entropy (Farquhar et al. 2024).

A model that knows a thing says it again; what it made up, it says otherwise the next time.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from math import exp, log
from statistics import mean
from typing import Annotated, Literal

from msgspec import Meta, field

from gristmill import BadInput, Chat, Instruction, Reply, Run, recipe
from gristmill.ops.answers import final_answer, same_answer
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.maths import require
from gristmill.ops.maths import same as same_formula
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import sentences, words

SHORT_ANSWER = Prompt(
    """{question}

Work it out, and end with a line "The answer is X.", X being the answer alone, as short as it can be."""
)
SUPPORTS = Prompt(
    """Does the text support the sentence? Say "yes" if the text says or implies it, "no" if the text says otherwise, and "unclear" if it does not tell. One word, nothing else.

Text:
{text}

Sentence: {sentence}"""
)
ENTAILS = Prompt(
    """Two answers to a question. Does the first one, read as an answer to it, imply the second? Reply "yes" or "no", one word, nothing else.

Question: {question}

First answer:
{first}

Second answer:
{second}"""
)
SUPPORT = {"yes": 0.0, "unclear": 0.5, "no": 1.0}
SAID = re.compile(r"\W*(yes|no|unclear)\b", re.IGNORECASE)
SHORT_WORDS = 12
"""Words of an answer that is compared as a whole where nothing marks a final answer in it."""

Flag = Literal["", "contested", "low_agreement", "unsupported"]


class Answered(Instruction, kw_only=True):
    """A question and the answer that is to be checked."""

    correct: bool | None = None
    """Whether the answer is known to be right; None: not known. For `self-consistency-calibration`."""


class ReliableInstruction(Answered, kw_only=True):
    """An answer, and how far what models say when asked again bears it out."""

    agreement: float | None = None
    """Of a short answer: share of the sampled answers that are the same, of several models the lowest share."""
    majority: str | None = None
    """The answer that was sampled most often."""
    semantic_entropy: float | None = None
    """Over the meanings of the sampled answers, in nats; None where a verdict about them could not be read."""
    sentences: list[str] = field(default_factory=list)
    sentence_support: list[float] = field(default_factory=list)
    """Of a long answer, for each sentence: 0 where all sampled answers support it, 1 where none does."""
    unsupported: float | None = None
    """Mean of `sentence_support`; high is unreliable."""
    samples: int = 0
    """Sampled answers that could be read."""
    flag: Flag = ""


@recipe("self-consistency-reliability")
async def self_consistency_reliability(
    row: Answered,
    resamplers: list[Chat],
    run: Run,
    judge: Chat | None = None,
    *,
    k: Annotated[int, Meta(ge=1)] = 10,
    temperature: float = 0.7,
    form: Literal["auto", "short", "long"] = "auto",
    matching: Literal["text", "math"] = "text",
    min_agreement: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    max_unsupported: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    use_logprobs: bool = False,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 1024,
    keep_flagged: bool = False,
) -> AsyncIterator[ReliableInstruction]:
    """Ask models the question of a row again, and keep the row if their answers bear out the one that it has.

    A short answer is compared with k sampled ones: agreement is the share that is equal, and where another answer has
    the majority the row is contested. A long answer is held sentence by sentence against k sampled ones; a judge says
    whether each supports it (yes 0, unclear 0.5, no 1), and the mean is the score. The entropy of the samples' meanings,
    that is of groups of answers that imply each other, tells besides how unsure a model is. (Wang et al. 2022,
    arXiv:2203.11171; Manakul et al. 2023, SelfCheckGPT, arXiv:2303.08896; Farquhar et al. 2024.)

    Of several models each is asked k times, and the lowest agreement counts: models of one family err alike, so what two
    families agree on is worth more than any number of samples of one. Samples that cannot be read do not count; if these
    are half of all or more, nothing is said about the row.

    Args:
        resamplers: answer the question again; best not only the model that wrote the row.
        judge: whether a sampled answer supports a sentence, and whether two mean the same. Needed for long answers.
        k: answers to sample of each model.
        temperature: of these.
        form: of the stored answer; auto: short where it marks a final answer or has at most 12 words.
        matching: how short answers are compared: as texts (numbers by their value), or by computer algebra.
        min_agreement: of a short answer. Not from the paper: calibrate it with `self-consistency-calibration`.
        max_unsupported: score of a long answer. Not from the paper: calibrate it likewise.
        use_logprobs: weigh meanings by the probabilities of the samples instead of counting them, where the models give
            log-probabilities.
        max_tokens_per_reply: of a sampled answer. Not from the paper.
        keep_flagged: yield all scored rows, with their flags.

    Rejects: samples that are `empty` or `truncated`, or without a final answer (`no_answer`); `unread_verdict` (of the
        judge); of rows `no_stored_answer`, `too_few_samples` (details: read, asked), `undecided` (the judge gave no verdict
        about a sentence; details: sentence); `contested` (details: answer, majority, agreement), `low_agreement` (details:
        agreement), `unsupported` (details: unsupported).
    """
    if matching == "math":
        require()
    stored = row.output.strip()
    if not stored:
        run.reject(row, "no_stored_answer")
        return
    short = form == "short" or (form == "auto" and is_short(stored))
    if not short and judge is None:
        raise BadInput(
            "self-consistency-reliability: sentences of long answers need a judge; name one as --model judge=..., or say "
            "form=short where all answers are short"
        )
    question = f"{row.instruction}\n{row.input}".strip()
    asked = SHORT_ANSWER(question=question) if short else question
    sampling = {"temperature": temperature, "max_tokens": max_tokens_per_reply} | (
        {"logprobs": True} if use_logprobs else {}
    )
    drawn = [await model.chat(asked, n=k, **sampling) for model in resamplers]
    families = [readable(run, replies, short=short) for replies in drawn]
    read = [sample for family in families for sample in family]
    if any(len(family) * 2 <= k for family in families):
        run.reject(row, "too_few_samples", read=len(read), asked=k * len(families))
        return
    texts = [text for text, _ in read]
    made = ReliableInstruction(
        instruction=row.instruction, input=row.input, output=row.output, correct=row.correct, samples=len(read)
    )

    async def equal(one: str, other: str) -> bool:
        if matching == "math":
            return await same_formula(run, one, other) == "equal"
        return same_answer(one, other)

    async def means_the_same(one: str, other: str) -> bool:
        if one == other:
            return True
        replies = await run.gather(
            *(
                judge.chat(ENTAILS(question=question, first=a, second=b), temperature=0.0, max_tokens=16)  # type: ignore[union-attr]
                for a, b in ((one, other), (other, one))
            )
        )
        said = [verdict(reply, ("yes", "no")) for reply in replies]
        return said == ["yes", "yes"]

    try:
        groups = await grouped(texts, equal if short else means_the_same)
        made.semantic_entropy = semantic_entropy(groups, logprobs_of(read) if use_logprobs else None)
    except Bad as bad:
        run.reject(row.output, bad.reason, **bad.details)
        groups = []
    if short:
        answer = final_answer(stored, ("The answer is", "####")) or stored
        agrees = [await equal(text, answer) for text in texts]
        shares, at = [], 0
        for family in families:
            shares.append(sum(agrees[at : at + len(family)]) / len(family))
            at += len(family)
        made.agreement = min(shares)
        made.majority = texts[groups.index(largest(groups))]
        if not await equal(made.majority, answer) and groups.count(largest(groups)) > sum(agrees):
            made.flag = "contested"
        elif made.agreement < min_agreement:
            made.flag = "low_agreement"
    else:
        made.sentences = [piece.strip() for piece in sentences(stored) if words(piece)]

        async def support(sentence: str) -> float | None:
            """The mean over all samples; None where not one verdict could be read."""
            replies = await run.map(
                lambda text: judge.chat(SUPPORTS(text=text, sentence=sentence), temperature=0.0, max_tokens=16),  # type: ignore[union-attr]
                texts,
                name="support",
            )
            said = []
            for reply in replies:
                try:
                    said.append(SUPPORT[verdict(reply, tuple(SUPPORT))])
                except Bad as bad:
                    run.reject(reply, bad.reason)
            return mean(said) if said else None

        found = await run.map(support, made.sentences)
        for sentence, value in zip(made.sentences, found, strict=True):
            if value is None:
                run.reject(row, "undecided", sentence=sentence)
                return
            made.sentence_support.append(value)
        if not found:
            run.reject(row, "no_stored_answer")
            return
        made.unsupported = mean(made.sentence_support)
        if made.unsupported > max_unsupported:
            made.flag = "unsupported"
    if not made.flag or keep_flagged:
        yield made
    elif made.flag == "contested":
        run.reject(made, "contested", answer=answer, majority=made.majority, agreement=made.agreement)
    elif made.flag == "low_agreement":
        run.reject(made, "low_agreement", agreement=made.agreement)
    else:
        run.reject(made, "unsupported", unsupported=made.unsupported)


def is_short(answer: str) -> bool:
    return final_answer(answer, ("The answer is", "####")) is not None or len(words(answer)) <= SHORT_WORDS


def readable(run: Run, replies: Sequence[Reply], *, short: bool) -> list[tuple[str, Reply]]:
    """The sampled answers that can be used; the others are rejected."""
    found = []
    for reply in replies:
        try:
            text = complete_reply(reply)
            if short:
                marked = final_answer(text)
                if marked is None and len(words(text)) > SHORT_WORDS:
                    raise Bad("no_answer")
                text = marked or text
            found.append((text, reply))
        except Bad as bad:
            run.reject(reply, bad.reason)
    return found


def verdict(reply: Reply, allowed: Sequence[str]) -> str:
    said = SAID.match(reply.text)
    if not said or said[1].lower() not in allowed:
        raise Bad("unread_verdict", verdict=reply.text[-300:])
    return said[1].lower()


async def grouped(texts: Sequence[str], same: Callable[[str, str], Awaitable[bool]]) -> list[int]:
    """The number of each text's group: that of the first group whose first text is the same, else a new one."""
    firsts: list[str] = []
    groups = []
    for text in texts:
        for number, first in enumerate(firsts):
            if await same(first, text):
                groups.append(number)
                break
        else:
            groups.append(len(firsts))
            firsts.append(text)
    return groups


def largest(groups: Sequence[int]) -> int:
    """The group with most members, of equals the first."""
    return max(sorted(set(groups)), key=lambda group: list(groups).count(group))


def semantic_entropy(groups: Sequence[int], logprobs: Sequence[float] | None = None) -> float:
    """-sum p ln p over groups of answers that mean the same, p being their share of the answers or, where given, of the
    answers' probabilities."""
    weights = [1.0] * len(groups)
    if logprobs is not None:
        most = max(logprobs)
        weights = [exp(value - most) for value in logprobs]
    shares = [
        sum(weight for weight, group in zip(weights, groups, strict=True) if group == one) / sum(weights)
        for one in sorted(set(groups))
    ]
    return max(0.0, -sum(share * log(share) for share in shares if share > 0))


def logprobs_of(samples: Sequence[tuple[str, Reply]]) -> list[float] | None:
    """The log-probability of each reply as a whole; None where one has none."""
    if not all(reply.logprobs for _, reply in samples):
        return None
    return [sum(token.logprob for token in reply.logprobs or ()) for _, reply in samples]
