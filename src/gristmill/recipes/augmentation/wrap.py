"""WRAP (Maini et al. 2024, section 3): web documents said again in other styles, mixed with the real ones."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Document, Reply, Run, recipe, system, user
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens, chunks, is_refusal, sentences, strip_framing

PREAMBLE = Prompt(
    "You are an assistant that says texts in another way. You keep what a text says, add nothing to it, and reply with "
    "the new text alone."
)

STYLES = {
    "easy": Prompt(
        "Rewrite this text with a tiny vocabulary and in very simple, short sentences that even a toddler "
        "understands:\n\n{text}"
    ),
    "medium": Prompt(
        "Paraphrase this text in other words and varied sentences, in English of high quality, as on Wikipedia:"
        "\n\n{text}"
    ),
    "hard": Prompt(
        "Rewrite this text in terse and abstruse language, with rare words that only a learned scholar "
        "understands:\n\n{text}"
    ),
    "qa": Prompt(
        'Turn this text into a conversation of several questions and answers. Begin every question with "Question:" '
        'and every answer with "Answer:", each on a line of its own:\n\n{text}'
    ),
}

Style = Literal["easy", "medium", "hard", "qa"]


class WrapText(Document):
    """A document in one of the styles, or a real one (whole or its beginning) as the other half of the mixture."""

    style: Literal["easy", "medium", "hard", "qa", "real"]
    source_id: str
    """Id of the document."""
    chunks: list[int]
    """Which of the document's chunks the text holds, in their order. A chunk whose rephrase failed is not among them."""
    tokens: int
    """Of the text, estimated."""


@recipe("wrap", seeds="documents.jsonl")
async def wrap(
    document: Document,
    generator: Chat,
    run: Run,
    *,
    styles: Annotated[tuple[Style, ...], Meta(min_length=1)] = ("easy", "medium", "hard", "qa"),
    max_chunk_tokens: Annotated[int, Meta(ge=1)] = 300,
    real_to_synthetic: Annotated[float, Meta(ge=0)] = 1.0,
    temperature: float = 0.7,
    max_tokens_rephrase: Annotated[int, Meta(ge=1)] = 1024,
    min_share: Annotated[float, Meta(ge=0, le=1)] = 0.1,
) -> AsyncIterator[WrapText]:
    """Rephrase a document in several styles, chunk by chunk, and mix the results with as many tokens of the real text.

    A row for each style: the rephrases of the chunks, joined in order. Then real rows of the same document: whole, as
    often as the tokens of the synthetic rows call for, and a last one of its first sentences. So the mixture holds in
    every document, to half a sentence, and needs no look at the whole set; with one style, as in the paper's main run,
    the real text comes about once. Shuffling belongs to the training. A `target` may cut the last document's rows.
    (Maini et al. 2024, arXiv:2401.16380, section 3; rephraser: Mistral-7B-Instruct. No filter for facts: what is said
    comes from the chunk.)

    Args:
        styles: wanted of easy, medium, hard, qa. The paper's main run takes one, medium or qa, and combines several
            in others.
        max_chunk_tokens: of a chunk, cut between sentences: from longer inputs a model loses information. Tokens are
            estimated, upwards on English.
        real_to_synthetic: tokens of real text for each synthetic one; 0 for no real rows.
        temperature: not confirmed.
        max_tokens_rephrase: a rephrase that reaches it is cut, and dropped. Not confirmed.
        min_share: a rephrase with a smaller share of its chunk's tokens lost what the chunk says; one of which the
            chunk would be a smaller share is no rephrase of it. Not confirmed; the paper's clean-up is not published
            in detail.

    Rejects: `empty` (also a document without text, and a reply of nothing but framing), `truncated`, `refusal`,
        `too_short` and `too_long` (details: tokens, of), `repetitive` (most sentences say what another one said),
        `copied` (the chunk itself), `no_tags` (a qa rephrase without "Question:" or "Answer:"). With style and chunk. The last three are
        ours.
    """
    pieces = [piece for piece in chunks(document.text, max_chunk_tokens) if piece.strip()]
    if not pieces:
        run.reject(document, "empty")
        return

    async def rephrased(style: Style) -> WrapText | None:
        async def rephrase(number: int) -> tuple[int, str] | None:
            question = [system(PREAMBLE()), user(STYLES[style](text=pieces[number]))]
            reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_rephrase)
            try:
                return number, read(reply, pieces[number], style, min_share)
            except Bad as bad:
                run.reject(reply, bad.reason, style=style, chunk=number, **bad.details)
                return None

        kept = [made for made in await run.map(rephrase, range(len(pieces))) if made]
        if not kept:
            return None
        text = "\n\n".join(text for _, text in kept)
        return WrapText(text, style, document.id, [number for number, _ in kept], approx_tokens(text))

    synthetic = 0
    for row in await run.map(rephrased, styles):
        if row:
            synthetic += row.tokens
            yield row
    for row in real(document, pieces, real_to_synthetic * synthetic):
        yield row


def read(reply: Reply, chunk: str, style: Style, min_share: float) -> str:
    """The rephrase without what the model says around it; raises Bad for one that is none."""
    text = strip_framing(complete_reply(reply))
    tokens, of = approx_tokens(text), approx_tokens(chunk)
    if not text:
        raise Bad("empty")
    if is_refusal(text):
        raise Bad("refusal")
    if tokens < min_share * of:
        raise Bad("too_short", tokens=tokens, of=of)
    if min_share * tokens > of:
        raise Bad("too_long", tokens=tokens, of=of)
    said = [sentence.strip() for sentence in sentences(text)]
    if len(set(said)) < len(said) / 2:
        raise Bad("repetitive", sentences=len(said), different=len(set(said)))
    if text.split() == chunk.split():
        raise Bad("copied")
    if style == "qa" and not ("Question:" in text and "Answer:" in text):
        raise Bad("no_tags")
    return text


def real(document: Document, pieces: list[str], wanted: float) -> list[WrapText]:
    """The document, whole as often as it fits and then in part, until it has about `wanted` tokens."""
    parts = [(number, sentence) for number, piece in enumerate(pieces) for sentence in sentences(piece)]
    rows: list[WrapText] = []
    held = [0] * len(parts)
    while len(held) == len(parts):  # whole so far
        said: list[str] = []
        held, tokens, end = [], 0, 0
        for number, sentence in parts:
            more = end + approx_tokens(sentence.rstrip())
            if abs(wanted - more) >= abs(wanted - tokens):
                break
            tokens, end = more, end + approx_tokens(sentence)
            said.append(sentence)
            held.append(number)
        if text := "".join(said).strip():
            rows.append(WrapText(text, "real", document.id, sorted(set(held)), approx_tokens(text)))
            wanted -= rows[-1].tokens
    return rows
