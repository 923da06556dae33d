"""GPT3Mix (Yoo et al. 2021): a language model mixes labelled examples into new texts, and its odds for the label label
them."""

import re
from collections.abc import AsyncIterator
from itertools import chain, zip_longest
from math import exp
from random import Random
from typing import Annotated, Any, Literal

from msgspec import Meta

from gristmill import BadInput, Complete, Embed, Labelled, Reply, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt

MIX = Prompt(
    """This is a list. Each of its items is a {text_type}, followed by its {label_type} in brackets. The {label_type} is always one of {labels}.
{examples}
{text_cue}:"""
)
EXAMPLE = Prompt("{text_cue}: {text} ({label_cue}: {label})")

EMBEDDED = 64
"""Texts that one embedding call takes."""

Strategy = Literal["uniform", "class-balanced", "closest", "furthest"]


class MixedText(Labelled):
    """A new text with the most probable label."""

    probs: dict[str, float]
    """Of every label of the set; together 1. With hard labels the written one has it all."""
    source_examples: list[str]
    """The texts that the prompt showed, in their order."""


@recipe("gpt3mix")
async def gpt3mix(
    rows: Rows[Labelled],
    generator: Complete,
    run: Run,
    embedder: Embed | None = None,
    *,
    text_type: Annotated[str, Meta(pattern=r"\S")] = "text",
    label_type: Annotated[str, Meta(pattern=r"\S")] = "label",
    verbalisers: dict[str, str] | None = None,
    strategy: Strategy = "uniform",
    k_examples: Annotated[int, Meta(ge=1)] = 2,
    num_classes_in_prompt: Annotated[int, Meta(ge=1)] = 2,
    soft_labels: bool = True,
    multiplier: Annotated[int, Meta(ge=1)] = 1,
    batch_size: Annotated[int, Meta(ge=1)] = 20,
    max_retries: Annotated[int, Meta(ge=1)] = 10,
    temperature: float = 1.0,
    max_new_tokens: Annotated[int, Meta(ge=1)] = 100,
    frequency_penalty: float = 0.01,
    top_logprobs: Annotated[int, Meta(ge=1)] = 100,
) -> AsyncIterator[MixedText]:
    """Make as many new labelled texts as there are real ones, each a mixture of a few that the model is shown.

    A raw completion goes on with a list of examples and writes a text and its label. The label that counts is not the
    written one but the distribution that the model had over all labels where it wrote it. A prompt whose reply is of
    no use is tried again, with the same examples, in the next round; after `max_retries` rounds in a row without a row
    the recipe stops with an error, and what it made stays. The real rows are not repeated; a classifier learns from
    both. (Yoo et al. 2021, "GPT3Mix", arXiv:2104.08826. The endpoint must continue raw text and, for soft labels, give
    log-probabilities. Which engine made the paper's main table is not confirmed; the released code begins with ada.)

    Args:
        embedder: places the texts for closest and furthest. The paper compares them with BLEURT; here similarity is the
            cosine of their embeddings.
        text_type: what a text is, in words: "movie review".
        label_type: what the label says of it: "sentiment".
        verbalisers: the word that stands for each label in prompts, for labels that are no word, or more than one token
            (JSON: label -> word). These labels are then the label set. Without it the labels of the rows are, each its
            own word. All in lower case.
        strategy: which examples a prompt shows: any (uniform), of different classes (class-balanced), or a pair drawn
            with odds that grow with its similarity, exp(similarity) (closest), or fall with it (furthest).
        k_examples: in a prompt; two with closest and furthest.
        num_classes_in_prompt: of the examples of class-balanced.
        soft_labels: without, the written label counts, and no log-probabilities are asked for.
        multiplier: new rows for each real one.
        batch_size: prompts of a round, asked side by side.
        max_retries: rounds in a row that may give nothing.
        temperature: the API's default, as in the released code.
        max_new_tokens: of a continuation; it also ends with its line.
        frequency_penalty: small. The released code's command line has 0.01, its class 0.02.
        top_logprobs: of the most probable tokens at each place. An endpoint may give fewer.

    Rejects: `not_completed` (no text with a label in brackets behind it); with soft labels `no_label_token` (none of
        the most probable tokens where the label begins is a label; details: top) and `unaligned_tokens` (the tokens do
        not hold the label as it stands in the text); with hard labels `unknown_label` (details: label).
    """
    words = {label.strip().lower(): word.strip().lower() for label, word in (verbalisers or {}).items()}
    words = words or {label: label for label in sorted({name(row) for row in rows})}
    check_labels(rows, words, k_examples)
    text_cue, label_cue = capital(text_type), capital(label_type)
    sampling: dict[str, Any] = {
        "temperature": temperature,
        "max_tokens": max_new_tokens,
        "frequency_penalty": frequency_penalty,
        "stop": ["\n"],
    }
    if soft_labels:
        sampling |= {"logprobs": True, "top_logprobs": top_logprobs}

    chance, wanted = run.rng("examples"), range(multiplier * len(rows))
    slots: list[list[Labelled]]
    if strategy in ("closest", "furthest"):
        if embedder is None or k_examples != 2:
            raise BadInput(f"gpt3mix: {strategy} draws pairs by their embeddings: bind the role `embedder`, and leave "
                           f"k_examples at 2 (it is {k_examples})")  # fmt: skip
        batches = [rows[start : start + EMBEDDED] for start in range(0, len(rows), EMBEDDED)]
        placed = await run.map(lambda batch: embedder.embed([row.text for row in batch]), batches, name="place")
        odds = odds_of_pairs([*chain(*placed)], nearer=strategy == "closest")
        firsts = chance.choices(range(len(rows)), odds.sum(axis=1).tolist(), k=len(wanted))
        seconds = [chance.choices(range(len(rows)), odds[first].tolist())[0] for first in firsts]
        slots = [[rows[first], rows[second]] for first, second in zip(firsts, seconds, strict=True)]
    elif strategy == "class-balanced":
        classes = [[row for row in rows if name(row) == label] for label in sorted({name(row) for row in rows})]
        slots = [balanced(chance, classes, k_examples, num_classes_in_prompt) for _ in wanted]
    else:
        slots = [chance.sample(rows, k_examples) for _ in wanted]

    async def mix(slot: int) -> tuple[int, MixedText] | None:
        shown = [
            EXAMPLE(
                text_cue=text_cue,
                text=" ".join(row.text.split()),
                label_cue=label_cue,
                label=capital(words[name(row)]),
            )
            for row in slots[slot]
        ]
        prompt = MIX(
            text_type=text_type,
            label_type=label_type,
            labels=", ".join(f"'{word}'" for word in words.values()),
            examples="\n".join(shown),
            text_cue=text_cue,
        )
        reply = await generator.complete(prompt, **sampling)
        try:
            text, start, written = read_item(reply.text, text_cue, label_cue)
            probs = soft_label(reply, start, words) if soft_labels else hard_label(written, words)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None
        label = max(probs, key=lambda label: probs[label])
        row = MixedText(text, label, probs, [example.text for example in slots[slot]])
        run.link(row, *slots[slot])
        return slot, row

    open_slots, idle = list(range(len(slots))), 0
    while open_slots:
        made = dict(filter(None, await run.map(mix, open_slots[:batch_size], keep_going=True)))
        for row in made.values():
            yield row
        idle = 0 if made else idle + 1
        if idle == max_retries:
            raise RuntimeError(
                f"gpt3mix: {max_retries} rounds in a row gave no row; {len(open_slots)} of {len(slots)} are still to be "
                "made. See the rejects for why, and text_type, label_type, verbalisers and top_logprobs"
            )
        open_slots = [slot for slot in open_slots if slot not in made]


def name(row: Labelled) -> str:
    return row.label.strip().lower()


def capital(words: str) -> str:
    return words.strip()[:1].upper() + words.strip()[1:]


def check_labels(rows: Rows[Labelled], words: dict[str, str], k_examples: int) -> None:
    if len(rows) < k_examples:
        raise BadInput(f"gpt3mix: {len(rows)} rows are too few, a prompt shows {k_examples}. Give more seeds")
    if unknown := {name(row) for row in rows} - set(words):
        raise BadInput(f"gpt3mix: `verbalisers` has no word for {', '.join(sorted(unknown))}, which rows are labelled")
    if len(set(words.values())) < max(2, len(words)):
        raise BadInput(
            f"gpt3mix: labels must be told apart, at least two, each by a word of its own; these are {words}"
        )


def balanced(chance: Random, classes: list[list[Labelled]], k: int, most: int) -> list[Labelled]:
    """k rows, from `most` of the classes in turn; from further ones only where those have too few."""
    mixed = [chance.sample(rows, min(k, len(rows))) for rows in chance.sample(classes, len(classes))]
    turns = chain(zip_longest(*mixed[:most]), zip_longest(*mixed[most:]))
    return [row for turn in turns for row in turn if row is not None][:k]


def odds_of_pairs(vectors: list[list[float]], *, nearer: bool) -> Any:
    """exp(cosine) of each two texts, or exp(-cosine); 0 of a text with itself."""
    import numpy as np

    unit = np.array(vectors)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    similarity = np.round(unit @ unit.T, 6)  # the last digits differ between machines
    odds = np.exp(similarity if nearer else -similarity)
    np.fill_diagonal(odds, 0.0)
    return odds


def read_item(continuation: str, text_cue: str, label_cue: str) -> tuple[str, int, str]:
    """The last item of a continuation: its text, where its label begins, and the label. Read from the right, since a
    text may have brackets of its own, and a model may write more than one item on the line."""
    labels = list(re.finditer(rf"\(\s*{re.escape(label_cue)}\s*:\s*([^()\s][^()]*)\)", continuation, re.IGNORECASE))
    if not labels:
        raise Bad("not_completed")
    before = continuation[: labels[-1].start()]
    text = re.split(rf"\)\s*{re.escape(text_cue)}\s*:", before, flags=re.IGNORECASE)[-1].strip()
    if not text:
        raise Bad("not_completed")
    return text, labels[-1].start(1), labels[-1][1].strip()


def soft_label(reply: Reply, start: int, words: dict[str, str]) -> dict[str, float]:
    """What the model thought of each label where it began to write one, as shares of 1."""
    if reply.logprobs is None:
        raise BadInput(
            "gpt3mix: this endpoint gives no log-probabilities, which soft labels are read from. Use one that does "
            "(vLLM, llama.cpp), or set soft_labels to false"
        )
    # Found from the right: half a character is a token but no text, and stands in the text before, not in the label.
    at = "".join(token.text for token in reply.logprobs).rfind(reply.text[start:])
    if at < 0:
        raise Bad("unaligned_tokens")
    tokens = iter(reply.logprobs)
    token = next(tokens)
    while (at := at - len(token.text)) >= 0:
        token = next(tokens)
    mass = {
        label: sum(exp(logprob) for said, logprob in token.top.items() if said.strip().lower() == word)
        for label, word in words.items()
    }
    total = sum(mass.values())
    if not total:
        raise Bad("no_label_token", top=list(token.top)[:10])
    return {label: part / total for label, part in mass.items()}


def hard_label(written: str, words: dict[str, str]) -> dict[str, float]:
    if written.lower() not in words.values():
        raise Bad("unknown_label", label=written)
    return {label: float(word == written.lower()) for label, word in words.items()}
