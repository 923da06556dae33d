"""TRAIT's selection (Liang et al. 2024): of a general corpus, what is of the field and teaches something."""

from collections.abc import AsyncIterator
from random import Random
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Document, Rows, Run, packages, recipe
from gristmill import recipes as home
from gristmill.errors import PromptTooLong
from gristmill.ops.ask import Bad
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks
from gristmill.ops.judge import rating
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens, words
from gristmill.recipes.distillation.trait import overlapping

JUDGE = Prompt(
    """How much can be learnt from this text by somebody who wants to become good in its field?

0: nothing: it is broken, or advertisement, navigation or chatter without content
1: next to nothing
2: some facts, without connection
3: something coherent that is of use
4: a good deal, clearly explained
5: it could stand in a textbook

The text:
{text}

Justify your rating in a sentence or two. Then end with the line
Educational value: <0 to 5>"""
)
FEATURES = 2**20
"""Numbers that word n-grams are hashed to, as fastText does with its buckets."""


class SelectedText(Document, kw_only=True):
    """A text of the field."""

    in_domain_score: float
    """The classifier's probability, 0 to 1."""
    quality: int | None
    """The judge's, 0 to 5; None where none was asked."""


@recipe("trait-select", seeds="web_texts.jsonl")
async def trait_select(
    corpus: Rows[Document],
    judge: Chat,
    run: Run,
    *,
    in_domain: Rows[Document] | None = None,
    general: Rows[Document] | None = None,
    benchmarks: Rows[BenchmarkItem] | None = None,
    negatives_per_positive: Annotated[float, Meta(gt=0)] = 1.0,
    word_ngrams: Annotated[int, Meta(ge=1)] = 2,
    strength: Annotated[float, Meta(gt=0)] = 100.0,
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    min_quality: Annotated[int, Meta(ge=0, le=5)] = 3,
    overlap_words: Annotated[int, Meta(ge=1)] = 13,
    selected_tokens: Annotated[int, Meta(ge=1)] | None = None,
    temperature: float = 0.0,
) -> AsyncIterator[SelectedText]:
    """Train a classifier to tell text of the field from any other, keep what it says yes to, and of that what teaches.

    Positives are texts of the field that you bring, negatives any text. The classifier scores the whole corpus, so a few
    thousand examples find billions of tokens; a judge then sees only what it keeps. (Liang et al. 2024,
    arXiv:2406.16694. Its fastText is no longer maintained; here it is what fastText's is, hashed word n-grams with
    logistic regression, by scikit-learn.) Passages are made by `trait`.

    Args:
        corpus: general text to choose from.
        judge: rates what teaches. Which filter the paper has is not confirmed.
        in_domain: text of the field, such as OpenWebMath for mathematics; texts about things for sale unless given. For
            advertising the paper may have had a model label them.
        general: negatives. Unless given they are drawn from the corpus, of which some texts are of the field; no text
            is then scored by a classifier that learnt from it, so there are two.
        benchmarks: test questions; a text with one is dropped.
        negatives_per_positive: drawn of `general` or the corpus; all where there are not so many. Not confirmed.
        word_ngrams: longest run of words that is a feature. Not confirmed.
        strength: inverse of the penalty on the classifier's weights. Not from the paper.
        threshold: the least probability of a text that is kept. Not confirmed.
        min_quality: the least rating that is kept; with 0 nobody is asked. Not confirmed.
        overlap_words: words in a row that a text must share with a test question to be dropped. Not confirmed.
        selected_tokens: about how many to keep, those with the highest scores; all unless given. Paper: 15 billion for
            advertising, 5.5 billion for mathematics.
        temperature: of the judge. Not confirmed.

    Rejects: `empty` (a text without words), `out_of_domain` (details: in_domain_score), `overlap` (details: benchmark),
        `low_quality` (details: quality), `unread_rating`, `rating_out_of_range`, `over_budget` (one for all; details:
        texts, tokens).
    """
    texts = [row for row in corpus if words(row.text)]
    for row in corpus:
        if not words(row.text):
            run.reject(row, "empty")
    if not texts:
        return
    shipped = home.shipped("shop_texts.jsonl", Document) if in_domain is None else in_domain
    positives = [row.text for row in shipped if words(row.text)]
    rng, size = run.rng("negatives"), max(1, round(negatives_per_positive * len(positives)))
    scores = [0.0] * len(texts)
    for part, pool in folds(rng, [row.text for row in texts], general):
        negatives = rng.sample(pool, min(size, len(pool)))
        if not positives or not negatives:
            raise BadInput(
                f"trait-select: the classifier learns from {len(positives)} texts of the field (in_domain) and "
                f"{len(negatives)} others (general): both need one with words at least"
            )
        scored = [texts[number].text for number in part]
        found = await run.once("classifier", in_domain_scores, positives, negatives, scored, word_ngrams, strength)
        for number, score in zip(part, found, strict=True):
            scores[number] = score
    tests = Benchmarks(benchmarks or [])

    async def judged(item: tuple[Document, float]) -> SelectedText | None:
        row, score = item
        if (found := overlapping(tests, row.text, overlap_words)) is not None:
            run.reject(row, "overlap", benchmark=found)
            return None
        quality = None
        try:
            if min_quality and (quality := await rated(row.text)) < min_quality:
                raise Bad("low_quality", quality=quality)
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details)
            return None
        made = SelectedText(text=row.text, in_domain_score=score, quality=quality)
        run.link(made, row)
        return made

    async def rated(text: str) -> int:
        """Of a text that is too long for the judge, its beginning is rated."""
        while True:
            try:
                reply = await judge.chat(JUDGE(text=text), temperature=temperature)
            except PromptTooLong:
                if len(text) < 2:
                    raise
                text = text[: len(text) // 2]
                continue
            found = rating(reply.text, low=0, high=5, cue="Educational value:")
            if found % 1:
                raise Bad("unread_rating", text=reply.text[-300:])
            return int(found)

    inside = []
    for row, score in zip(texts, scores, strict=True):
        if score >= threshold:
            inside.append((row, score))
        else:
            run.reject(row, "out_of_domain", in_domain_score=score)
    kept = [made for made in await run.map(judged, inside, keep_going=True) if made]
    if selected_tokens is not None:
        within, left = best(kept, selected_tokens)
        if left:  # one for all, as a reject is a candidate lost
            tokens = sum(approx_tokens(row.text) for row in left)
            run.reject([row.text[:100] for row in left], "over_budget", texts=len(left), tokens=tokens)
        kept = within
    for made in kept:
        yield made


@trait_select.check
def a_classifier_can_be_trained(strength: float) -> None:
    packages.require("training a classifier", "learn", "sklearn")


def folds(rng: Random, texts: list[str], general: Rows[Document] | None) -> list[tuple[list[int], list[str]]]:
    """Numbers of texts that are scored together, and what negatives are drawn from for them.

    A classifier says no to what it was told is a negative: of the corpus each half is scored with negatives of the other.
    """
    order = list(range(len(texts)))
    if general is not None:
        return [(order, [row.text for row in general if words(row.text)])]
    rng.shuffle(order)
    halves = order[::2], order[1::2]
    return [(part, [texts[number] for number in rest]) for part, rest in (halves, halves[::-1]) if part]


def in_domain_scores(
    positives: list[str], negatives: list[str], corpus: list[str], word_ngrams: int, strength: float
) -> list[float]:
    """The probability of each text of the corpus to be of the field.

    Words are those of any script. Both classes have the same weight, whatever their sizes.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    hashed = HashingVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, word_ngrams),
        n_features=FEATURES,
        alternate_sign=False,
    )
    labels = [1] * len(positives) + [0] * len(negatives)
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(hashed.transform([*positives, *negatives]), labels)
    return [round(float(chance), 6) for chance in model.predict_proba(hashed.transform(corpus))[:, 1]]


def best(rows: list[SelectedText], tokens: int) -> tuple[list[SelectedText], list[SelectedText]]:
    """The rows of the highest scores that have about so many tokens together, in their order, and the rest."""
    chosen, total = set(), 0
    for number in sorted(range(len(rows)), key=lambda number: -rows[number].in_domain_score):
        total += approx_tokens(rows[number].text)
        if total > tokens:
            break
        chosen.add(number)
    return (
        [row for number, row in enumerate(rows) if number in chosen],
        [row for number, row in enumerate(rows) if number not in chosen],
    )
