"""Persona Hub's personas (Ge et al. 2024, section 2): told from texts, then through the people around those who were found."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from gristmill import BadInput, Chat, Embed, Reply, Row, Rows, Run, packages, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import is_refusal, strip_framing, words
from gristmill.ops.vectors import Vectors, embedded
from gristmill.quality import embed
from gristmill.quality.shingles import normalised, tokens
from gristmill.recipes.distillation.persona_hub import Persona

TEXT_TO_PERSONA = Prompt(
    """Text:
{text}

Who is likely to {relation} this text? Where the text has details that point to somebody in particular, such as a trade, a field of study or a situation in life, describe a fine-grained persona with them, in one or two sentences. Where it is a text for many, a coarse persona of a few words is enough. Reply with the persona alone."""
)
PERSONA_TO_PERSONA = Prompt(
    """Persona: {persona}

Who is in a close relationship with this persona? Think of family, friends, colleagues, patients, customers, neighbours, and of people who are seldom written about. Choose one, and describe that one as a persona of its own, in one or two sentences that can be understood without the first. Reply with the new persona alone."""
)
LABEL = re.compile(r"\A[\W_]*(?:new\s+)?persona[*_\s]*:[*_\s]*", re.IGNORECASE)
MISSED = 0.001
"""The most that the bands of a signature may miss of the pairs that are just as alike as the threshold says."""
AT_ONCE = 1000
"""Personas that are asked about side by side: bounds the memory."""

Relation = Literal["read", "write", "like", "dislike"]
Found = tuple[Persona, Reply | None]


class PersonaSource(Row):
    """A text to tell a persona from, or a persona that is there already."""

    text: str = ""
    persona: str = ""


@recipe("persona-hub-personas", seeds="documents.jsonl")
async def persona_hub_personas(
    rows: Rows[PersonaSource],
    generator: Chat,
    embedder: Embed,
    run: Run,
    *,
    relations: Annotated[tuple[Relation, ...], Meta(min_length=1)] = ("read", "write", "like", "dislike"),
    p2p_iterations: Annotated[int, Meta(ge=0)] = 6,
    related_per_persona: Annotated[int, Meta(ge=1)] = 1,
    minhash_signature: Annotated[int, Meta(ge=8, multiple_of=8)] = 128,
    minhash_ngram: Annotated[int, Meta(ge=1)] = 1,
    minhash_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.9,
    embedding_threshold: Annotated[float, Meta(ge=-1, le=1)] = 0.9,
    min_words: Annotated[int, Meta(ge=1)] = 2,
    max_words: Annotated[int, Meta(ge=1)] = 100,
    temperature: float = 0.7,
    max_tokens_persona: Annotated[int, Meta(ge=1)] = 128,
) -> AsyncIterator[Persona]:
    """Collect personas: who would read or write a text, and who is close to these people, six steps far.

    Text-to-persona asks of each text who is likely to read, write, like or dislike it. Persona-to-persona asks of each
    persona who is close to it, and of those who are found again: six iterations, since anybody knows anybody over six
    others. It reaches people of whom the web has little (a child, a patient). What is near a persona that was kept is
    dropped: by its words (MinHash, then the true Jaccard similarity of the words) or by its meaning (cosine of
    embeddings). A row may bring a persona instead of a text. (Ge et al. 2024, arXiv:2406.20094, section 2.)

    Personas that are dropped are not asked about: here each iteration is made free of duplicates before the next one;
    in the paper that comes at the end. A target ends the run early.

    Args:
        embedder: places the personas (paper: text-embedding-3-small).
        relations: to a text; one is drawn for each. That it is one a text is not confirmed.
        p2p_iterations: 0 for text-to-persona alone.
        related_per_persona: samples of persona-to-persona for each. Above 1 iterations grow by this factor. Not
            confirmed.
        minhash_signature: hashes of a signature, a multiple of 8.
        minhash_ngram: words of a shingle.
        minhash_threshold: similarity of the words from which on a persona is dropped.
        embedding_threshold: cosine above which a persona is dropped.
        min_words: of a persona. The paper drops poor ones by simple heuristics; which is not confirmed.
        max_words: of a persona; likewise.
        temperature: of all calls.
        max_tokens_persona: of a persona. Not confirmed.

    Rejects: `no_text` (a seed without text and persona); of replies `empty`, `truncated`, `refusal`; of personas
        `too_short`, `too_long` (details: words), `near_duplicate` (details: of, jaccard), `same_meaning` (details: of,
        cosine).
    """
    seen = Seen(minhash_signature, minhash_ngram, minhash_threshold, embedding_threshold)

    def read(reply: Reply) -> str | None:
        try:
            return described(reply, min_words, max_words)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None

    async def from_text(row: PersonaSource) -> list[Found]:
        if row.persona.strip():
            made = Persona(persona=" ".join(row.persona.split()))
            run.link(made, row)
            return [(made, None)]
        if not row.text.strip():
            run.reject(row, "no_text")
            return []
        relation = run.draw("relation", relations)
        question = TEXT_TO_PERSONA(text=row.text.strip(), relation=relation)
        reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_persona)
        if (persona := read(reply)) is None:
            return []
        made = Persona(persona=persona, origin="text-to-persona", text=row.text)
        run.link(made, row)
        return [(made, reply)]

    async def from_persona(parent: Persona) -> list[Found]:
        question = PERSONA_TO_PERSONA(persona=parent.persona)
        reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_persona)
        if (persona := read(reply)) is None:
            return []
        made = Persona(
            persona=persona, origin="persona-to-persona", parent=parent.persona, iteration=parent.iteration + 1
        )
        run.link(made, parent)
        return [(made, reply)]

    async def fresh(candidates: list[Found]) -> list[Persona]:
        """Those that are near none that was kept; they are kept from now on."""
        vectors = embed.normalised(await embedded(run, embedder, [one.persona for one, _ in candidates]))
        kept = []
        for (one, reply), vector in zip(candidates, vectors, strict=True):
            try:
                seen.admit(one.persona, vector)
                kept.append(one)
            except Bad as bad:
                run.reject(one, bad.reason, source=reply, **bad.details)
        return kept

    frontier: list[Persona] = []
    for start in range(0, len(rows), AT_ONCE):
        found = await run.map(from_text, rows[start : start + AT_ONCE], keep_going=True)
        some = await fresh([one for each in found for one in each]) if any(found) else []
        for persona in some:
            yield persona
        frontier += some
    for _ in range(p2p_iterations):
        parents = [parent for parent in frontier for _ in range(related_per_persona)]
        frontier = []
        for start in range(0, len(parents), AT_ONCE):
            found = await run.map(from_persona, parents[start : start + AT_ONCE], keep_going=True)
            some = await fresh([one for each in found for one in each]) if any(found) else []
            for persona in some:
                yield persona
            frontier += some


@persona_hub_personas.check
def duplicates_can_be_found(min_words: int, max_words: int) -> None:
    packages.require("finding near-copies of personas", "quality", "rensa")
    if min_words > max_words:
        raise BadInput(
            f"persona-hub-personas: min_words={min_words} is above max_words={max_words}: nothing would pass"
        )


def described(reply: Reply, min_words: int, max_words: int) -> str:
    """The persona of a reply, on one line; raises Bad."""
    text = complete_reply(reply)
    if is_refusal(text):
        raise Bad("refusal")
    persona = " ".join(LABEL.sub("", strip_framing(text)).split())
    count = len(words(persona))
    if count < min_words:
        raise Bad("too_short", words=count)
    if count > max_words:
        raise Bad("too_long", words=count)
    return persona


class Seen:
    """Personas that were kept, to tell what is near one of them."""

    def __init__(self, signature: int, ngram: int, jaccard: float, cosine: float) -> None:
        from rensa import RMinHash, RMinHashLSH

        self.ngram, self.jaccard, self.cosine = ngram, jaccard, cosine
        self.texts: list[str] = []
        self._hash: Callable[[], Any] = lambda: RMinHash(num_perm=signature, seed=0)
        self._bands = RMinHashLSH(threshold=jaccard, num_perm=signature, num_bands=bands(signature, jaccard))
        self._vectors: Vectors = np.zeros((0, 0))

    def admit(self, text: str, vector: Vectors) -> None:
        """Keep a persona, or raise Bad where one that was kept is near it.

        Args:
            vector: of length 1, or all zeros for a text of which the embedder knows nothing.
        """
        shingles = self._shingles(text)
        signature = self._hash()
        signature.update(sorted(shingles))
        near = [(jaccard_of(shingles, self._shingles(self.texts[at])), -at) for at in self._bands.query(signature)]
        if near and (best := max(near))[0] >= self.jaccard:
            raise Bad("near_duplicate", of=self.texts[-best[1]], jaccard=round(best[0], 6))
        count = len(self.texts)
        if count:
            cosines = (self._vectors[:count] @ vector).round(6)  # the last digits differ between machines
            if cosines.max() > self.cosine:
                raise Bad("same_meaning", of=self.texts[int(cosines.argmax())], cosine=float(cosines.max()))
        if count == len(self._vectors):  # grows by doubling
            more = np.zeros((max(1024, count), len(vector)))
            self._vectors = np.concatenate([self._vectors, more]) if count else more
        self._vectors[count] = vector
        self._bands.insert(count, signature)
        self.texts.append(text)

    def _shingles(self, text: str) -> set[str]:
        """Runs of `ngram` words; of a text with fewer, all of them as one."""
        split = tokens(normalised(text))
        last = max(0, len(split) - self.ngram)
        return {" ".join(split[at : at + self.ngram]) for at in range(last + 1)}


def bands(signature: int, jaccard: float) -> int:
    """Bands of a signature: as few as find all but MISSED of the pairs with this similarity, one a hash at most.

    A pair of similarity s shares a band of r hashes with probability s**r. (128 hashes, 0.9: 16 bands of 8.)
    """
    sizes = [size for size in range(signature, 0, -1) if signature % size == 0]
    return next(
        (signature // size for size in sizes if (1 - jaccard**size) ** (signature // size) <= MISSED), signature
    )


def jaccard_of(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
