"""SciLitLLM (Li et al. 2024, section 3): texts out of PDFs are mended by a small model, and a classifier, taught by a large
one, keeps the better ones."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, CallFailed, Chat, Document, Embed, Rows, Run, recipe
from gristmill.errors import PromptTooLong
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.heads import regression, require, scores_of
from gristmill.ops.judge import rating
from gristmill.ops.prompts import Prompt
from gristmill.ops.vectors import placed

CORRECT = Prompt(
    """The text below was taken out of a PDF file. Lines and words may be broken, spaces may be missing, and headers, page numbers and remains of tables may stand in between. Write it anew, clean and readable, without leaving out or adding any content. Reply with the corrected text alone.

{text}"""
)
JUDGE = Prompt(
    """How much would this extract teach somebody who studies the field? Add up points:

- 1 point if it holds some information that is of use for study, even amid other matter such as advertisements.
- Another point if it deals with a subject of study, though without order or in bits that do not belong together.
- A third point if it fits a course of study: key concepts, in a coherent form.
- A fourth point if it is clear and consistent, like a chapter of a textbook or a good paper, with little that is beside the point.
- A fifth point if it is excellent: detailed reasoning that is easy to follow, and nothing else.

The extract:
{text}

After reading it, justify the total in at most 100 words. Then end with the line
Educational score: <total points>"""
)
BORDER = re.compile(r"\n\s*\n")
LEAD_IN = re.compile(
    r"\A\s*(?:(?:sure|certainly|of course)[!,.]?\s*)?here(?:'s| is)[^\n]{0,120}?(?:text|version)[^\n]{0,80}:\s*\n+",
    re.I,
)


class ScientificText(Document, kw_only=True):
    """A piece of a corpus to go on pre-training with."""

    quality: float
    """What the classifier says, about 0 to 5."""
    judged: float | None = None
    """What the judge said, of those that it saw."""


@recipe("scilitllm", fixed=True, seeds="documents.jsonl")
async def scilitllm(
    rows: Rows[Document],
    corrector: Chat,
    judge: Chat,
    embedder: Embed,
    run: Run,
    *,
    chunk_words: Annotated[int, Meta(ge=1)] = 1024,
    split_words: Annotated[int, Meta(ge=1)] = 2048,
    label_subset: Annotated[int, Meta(ge=2)] = 50_000,
    keep_share: Annotated[float, Meta(gt=0, le=1)] = 0.75,
    penalty: Annotated[float, Meta(gt=0)] = 1.0,
    temperature: float = 0.0,
    max_tokens_per_chunk: Annotated[int, Meta(ge=1)] = 4096,
) -> AsyncIterator[ScientificText]:
    """Correct texts piece by piece, let a judge score some, train a classifier on that, and keep the best three quarters.

    A chunk whose correction fails stays as it is. The judge scores a random subset for what it teaches, 0 to 5; a
    regression on embeddings learns that, scores every piece, and the lowest quarter goes. A piece whose judgement fails is
    not taught from; one that cannot be embedded is left out. (Li et al. 2024,
    arXiv:2408.15545, section 3.1, and its released code. In the place of a head on a frozen BERT encoder there is ridge
    regression on the embeddings of any model.) The fine-tuning half of the method is `scilitllm-instructions`.

    Args:
        corrector: a small model; the paper's has 8 billion weights.
        judge: a large model; the paper's has 70 billion.
        chunk_words: that are corrected at once.
        split_words: of a piece at most; pieces end between paragraphs where they can.
        label_subset: pieces that the judge scores; all where there are not more.
        keep_share: of the pieces, those with the highest quality.
        penalty: of the regression's weights. Not from the paper.
        temperature: of both models. Not from the paper.
        max_tokens_per_chunk: of a correction. Not from the paper.

    Rejects: `low_quality` (details: quality), `no_score` (the judge's answer has no whole number from 0 to 5; the piece
        is not taught from), `correction_failed` (details: error; the chunk as it is stays in the corpus), `empty` (a
        document without words).
    """

    async def corrected(chunk: str) -> str:
        try:
            reply = await corrector.chat(CORRECT(text=chunk), temperature=temperature, max_tokens=max_tokens_per_chunk)
            return LEAD_IN.sub("", complete_reply(reply)).strip()
        except (CallFailed, Bad) as error:
            run.reject({"text": chunk}, "correction_failed", error=str(error))
            return chunk

    async def pieces(row: Document) -> list[ScientificText]:
        if not row.text.split():
            run.reject(row, "empty")
            return []
        chunks = cut(row.text, chunk_words)
        done = await run.map(corrected, [chunk.strip() for chunk in chunks], name="chunks")
        # A chunk mostly ends amid a sentence: only where the source has a border is there one between two of them.
        ends = ["\n\n" if BORDER.search(chunk[len(chunk.rstrip()) :]) else " " for chunk in chunks]
        text = "".join(part + end for part, end in zip(done, ends, strict=True)).strip()
        made = [ScientificText(text=piece, quality=0.0) for piece in paragraphs(text, split_words)]
        for piece in made:
            run.link(piece, row)
        return made

    found = [piece for some in await run.map(pieces, rows, keep_going=True) for piece in some]
    corpus, vectors = await placed(run, embedder, found, lambda piece: piece.text)

    async def score(number: int) -> tuple[int, float | None]:
        text = corpus[number].text
        while True:
            try:
                reply = await judge.chat(JUDGE(text=text), temperature=temperature)
                return number, whole(rating(complete_reply(reply), low=0, high=5, cue="Educational score:"))
            except PromptTooLong:
                if len(text) < 2:
                    raise
                text = text[: len(text) // 2]
            except Bad:
                run.reject(reply, "no_score")
                return number, None

    subset = sorted(run.rng("subset").sample(range(len(corpus)), min(label_subset, len(corpus))))
    judged = await run.map(score, subset, keep_going=True)
    if not judged:  # there was no piece, or the judge gave no answer at all: the failures tell
        return
    for number, points in judged:
        corpus[number].judged = points
    taught = [number for number, points in judged if points is not None]
    if not taught:
        raise BadInput(
            "scilitllm: none of the judge's answers ends in a score, so there is nothing to train the classifier on. "
            "Look at them with `gristmill rows --rejects`, and name a model that can judge: --model judge=..."
        )
    head, artefact = await regression(
        run, vectors[taught], [corpus[number].judged or 0.0 for number in taught], penalty=penalty
    )
    for piece, quality in zip(corpus, scores_of(head, vectors), strict=True):
        piece.quality = round(quality, 6)
    ranked = sorted(range(len(corpus)), key=lambda number: -corpus[number].quality)
    kept = set(ranked[: round(keep_share * len(corpus))])
    for number, piece in enumerate(corpus):
        if number in kept:
            run.link(piece, artefact)
            yield piece
        else:
            run.reject(piece, "low_quality", quality=piece.quality)


@scilitllm.check
def a_classifier_can_be_trained(penalty: float) -> None:
    require()


def whole(score: float) -> float:
    """Points are added up one by one: half of one was not asked for."""
    if score % 1:
        raise Bad("no_score")
    return score


def cut(text: str, most: int) -> list[str]:
    """The text in chunks of so many words, with the white space that it has, also behind them."""
    words = re.findall(r"\S+\s*", text.strip())
    return ["".join(words[start : start + most]) for start in range(0, len(words), most)]


def paragraphs(text: str, most: int) -> list[str]:
    """Pieces of whole paragraphs, of so many words at most; a longer paragraph is cut."""
    made: list[str] = []
    count = most
    for paragraph in BORDER.split(text):
        for part in map(str.strip, cut(paragraph, most)):
            words = len(part.split())
            if count + words > most:
                made.append(part)
                count = words
            else:
                made[-1] += f"\n\n{part}"
                count += words
    return made
