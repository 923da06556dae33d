"""CORE (Dixit et al. 2022): a text becomes its own counterfactual, by words of texts that say the opposite.

Step 1 of the paper, the training of the retriever (CF-DPR: BERT-base, DPR loss, positives with the opposite label, 5 hard
negatives that keep it, 50 epochs) and of the re-ranker, is the user's: both are roles. BM25 and general embeddings find
texts about the same thing, of either label.
"""

import json
import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from gristmill import Choose, Complete, Document, Retrieve, Reward, Row, Rows, Run, assistant, recipe, user
from gristmill import recipes as home
from gristmill.ops.ask import Bad
from gristmill.ops.parts_of_speech import require, tagged
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import STOP_WORDS

EDIT_SENTIMENT = Prompt(
    """Change the sentiment of each review with as few edits as you can. Afterwards the new label must be true of it. {with_words}Leave everything else of the review as it is.

{demonstrations}
{query}"""
)
EDIT_NLI = Prompt(
    """Each statement comes with a fact and with how true it is, given that fact. Change the statement with as few edits as you can, so that the new label holds. {with_words}Leave the rest of the statement as it is.

{demonstrations}
{query}"""
)
WITH_WORDS = {
    "sentiment": Prompt("Use a few of the listed words, not all of them. "),
    "nli": Prompt("Use only one or two of the listed words. "),
}
WHICH_SENTIMENT = Prompt("Review: {text}\nIs this review positive or negative? It is")
WHICH_NLI = Prompt("Fact: {premise}\nStatement: {text}\nGiven the fact, the statement is")

ALLOWED = {"ADJ", "ADP", "ADV", "NOUN", "VERB"}
LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

Task = Literal["sentiment", "nli"]
Mode = Literal["retrieve-edit", "edit", "retrieve"]

WORDS_OF = {
    "sentiment": {0: "negative", 1: "positive"},
    "nli": {0: "definitely True", 1: "possibly True", 2: "definitely False"},
}


class LabelledText(Row, kw_only=True):
    """Sentiment: `text`, and 0 negative or 1 positive. NLI: `premise` and `hypothesis`, and 0 entailment, 1 neutral or 2
    contradiction."""

    text: str = ""
    premise: str = ""
    hypothesis: str = ""
    label: int


class Counterfactual(LabelledText, kw_only=True):
    """A text, and what became of it under the other label."""

    excerpts: list[str]
    """The retrieved texts whose words count; none in mode edit."""
    word_list: list[str]
    counterfactual: str
    """Sentiment: the edited text; NLI: the edited hypothesis."""
    target_label: int


class Demonstration(Struct):
    """An edit as the prompt shows it. Labels are words: "positive"; "definitely False"."""

    text: str
    label: str
    words: list[str]
    target: str
    edited: str
    premise: str = ""


@recipe("core-retrieve-edit", seeds="movie_reviews.jsonl")
async def core_retrieve_edit(
    row: LabelledText,
    editor: Complete,
    retriever: Retrieve,
    run: Run,
    reranker: Reward | None = None,
    classifier: Choose | None = None,
    *,
    corpus: Rows[Document] | None = None,
    task: Task = "sentiment",
    mode: Mode = "retrieve-edit",
    retrieve_k: Annotated[int, Meta(ge=1)] = 20,
    rerank_keep: Annotated[int, Meta(ge=1)] = 2,
    nli_words: Annotated[int, Meta(ge=1)] = 5,
    demonstrations: list[Demonstration] | None = None,
    temperature: float = 0.0,
    max_tokens_per_edit: int | None = None,
) -> AsyncIterator[Counterfactual]:
    """Retrieve texts, take a list of words from them, and edit a labelled text with a few of these to flip its label.

    What is retrieved is never shown to the editor, only its words. NLI: the hypothesis is edited; a contradiction
    becomes "definitely True", everything else "definitely False". Modes edit (no words) and retrieve (the best text
    found is the counterfactual) are the paper's ablations. (Dixit et al. 2022, "CORE: A Retrieve-then-Edit Framework for
    Counterfactual Data Generation", arXiv:2210.04873; editor: text-davinci-002. The released code prints the sentiment
    words the wrong way round; here 0 is negative, as its README says. How a neutral label is shown to the editor is not
    confirmed: "possibly True" is ours.)

    Args:
        editor: continues the prompt up to the end of a line.
        retriever: finds texts for a row: of the opposite label, if it was trained as the paper's.
        reranker: NLI: orders what was found; judges the pair of a row (user) and a text (assistant). Without one the
            retriever's order stands.
        classifier: drops an edit whose label it finds to be another one. The released code has no such check.
        corpus: unlabelled texts of the same kind, to search; that of a shipped example unless given.
        task: what a row is: a review with its sentiment, or a pair of sentences.
        mode: retrieve-edit, or a half of it.
        retrieve_k: texts to find.
        rerank_keep: NLI: of these, the first whose words count. Sentiment takes all.
        nli_words: NLI: length of the word list.
        demonstrations: shown to the editor (JSON); 2 for sentiment and 4 for NLI of our own unless given.
        temperature: of the editor; the released code passes 0.7, and does not heed it.
        max_tokens_per_edit: 512 for sentiment and 64 for NLI unless given.

    Rejects: `no_text`, `unknown_label` (details: label), `nothing_retrieved`, `no_words`, `empty` (no edit), `truncated`
        (the edit has no end), `unchanged` (it is the text as it was), `wrong_label` (details: label, probability).
    """
    premise, text = (flat(row.premise), flat(row.hypothesis)) if task == "nli" else ("", flat(row.text))
    if not text or (task == "nli" and not premise):
        run.reject(row, "no_text")
        return
    if row.label not in WORDS_OF[task]:
        run.reject(row, "unknown_label", label=row.label)
        return
    target = flipped(row.label, task)

    async def found() -> list[str]:
        texts = corpus if corpus is not None else shipped_corpus(task)
        query = f"{premise} [SEP] {text}" if premise else text
        hits = await retriever.search(texts, query, k=retrieve_k)
        kept = distinct([flat(texts[hit.index].text) for hit in hits], but=text)
        if reranker is not None and task == "nli":
            judge = reranker
            worth = await run.map(lambda other: judge.reward([user(query), assistant(other)]), kept, name="rerank")
            kept = [kept[i] for i in sorted(range(len(kept)), key=lambda i: -worth[i])]
        if not kept:
            raise Bad("nothing_retrieved")
        return kept[:rerank_keep] if task == "nli" else kept

    async def words_of(excerpts: list[str]) -> list[str]:
        if task == "nli":
            tokens = [pair for excerpt in excerpts for pair in await run.once("parts-of-speech", tagged, excerpt)]
            words = distinct([token.lower() for token, part in tokens if part in ALLOWED])[:nli_words]
        else:
            words = distinct([word for excerpt in excerpts for word in LETTERS.findall(excerpt.lower())])
            words = [word for word in words if word.replace("’", "'") not in STOP_WORDS]
        if not words:
            raise Bad("no_words")
        return words

    async def edit(words: list[str]) -> str:
        query = Demonstration(text, WORDS_OF[task][row.label], words, WORDS_OF[task][target], "", premise)
        shown = [example(d, words=bool(words)) for d in demonstrations or shipped_demonstrations(task)]
        reply = await editor.complete(
            (EDIT_NLI if task == "nli" else EDIT_SENTIMENT)(
                with_words=WITH_WORDS[task]() if words else "",
                demonstrations="\n".join(shown),
                query=example(query, words=bool(words)).rstrip(),
            ),
            temperature=temperature,
            max_tokens=max_tokens_per_edit or (64 if task == "nli" else 512),
            stop=["\n"],
        )
        if reply.truncated:
            raise Bad("truncated")
        return flat(reply.text)

    try:
        excerpts = await found() if mode != "edit" else []
        words = await words_of(excerpts) if mode == "retrieve-edit" else []
        made = excerpts[0] if mode == "retrieve" else await edit(words)
        if not made:
            raise Bad("empty")
        if made == text:
            raise Bad("unchanged")
        if classifier is not None:
            labels = list(WORDS_OF[task])
            asked = WHICH_NLI(premise=premise, text=made) if task == "nli" else WHICH_SENTIMENT(text=made)
            odds = await classifier.choose(asked, [f" {WORDS_OF[task][label]}" for label in labels])
            best = max(range(len(labels)), key=lambda i: odds[i])
            if labels[best] != target:
                raise Bad("wrong_label", label=labels[best], probability=odds[best])
    except Bad as bad:
        run.reject(row, bad.reason, **bad.details)
        return
    yield Counterfactual(
        text=row.text,
        premise=row.premise,
        hypothesis=row.hypothesis,
        label=row.label,
        excerpts=excerpts,
        word_list=words,
        counterfactual=made,
        target_label=target,
    )


@core_retrieve_edit.check
def tagger_is_installed(task: str, mode: str) -> None:
    if task == "nli" and mode == "retrieve-edit":
        require()


def flipped(label: int, task: Task) -> int:
    if task == "sentiment":
        return 1 - label
    return 0 if label == 2 else 2


def example(one: Demonstration, *, words: bool) -> str:
    """An edit in the form of the prompt; the query's ends where the edited text is to come."""
    lines = [f"Fact: {one.premise}"] if one.premise else []
    kind = "Statement" if one.premise else "Review"
    lines += [f"{kind}: {one.text}", f"Label: {one.label}"]
    if words:
        lines.append(f"Words: {', '.join(one.words)}")
    lines += [f"New label: {one.target}", f"New {kind.lower()}: {one.edited}"]
    return "\n".join(lines) + "\n"


def flat(text: str) -> str:
    return " ".join(text.split())


def distinct(texts: list[str], but: str = "") -> list[str]:
    """Each text once, by its letters; without `but`, and without empty ones."""
    seen = {but.casefold(), ""}
    return [text for text in texts if not (text.casefold() in seen or seen.add(text.casefold()))]  # type: ignore[func-returns-value]


@cache
def shipped() -> Any:
    return json.loads((home.DATA / "core_examples.json").read_text(encoding="utf-8"))


def shipped_demonstrations(task: Task) -> list[Demonstration]:
    return convert(shipped()["demonstrations"][task], list[Demonstration])


@cache
def shipped_corpus(task: Task) -> Rows[Document]:
    return Rows([Document(text=text) for text in shipped()["corpus"][task]])
