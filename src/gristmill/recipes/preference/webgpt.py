"""WebGPT (Nakano et al. 2021): questions are answered from quotes that were found by browsing, and answers compared."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from msgspec import Meta

from gristmill import Annotator, Complete, Completion, Preference, Reply, Retrieve, Row, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.models.annotation import Comparing, Note
from gristmill.ops.browser import Browser, Page, Reference, references
from gristmill.ops.prompts import Prompt

BROWSE = Prompt(
    """You look for passages that answer a question, in a text browser. Each turn you see its state and give one command. Quote what an answer can rest on, word for word as it stands on the page; then end.

{state}

Next command:"""
)
ANSWER = Prompt(
    """Question: {question}

References:
{references}

Answer the question from the references alone, in a few sentences, and put the number of the reference in brackets behind each claim: [1]

Answer:"""
)
GUIDELINES = Prompt(
    "Each answer comes with the passages that it rests on. First see whether each claim is supported by the passages it "
    "cites, then whether the answer is useful to who asked, then whether it is coherent. Say which answer is better "
    "over all; a tie is a fair answer."
)

CITED = re.compile(r"\[(\d+)\]")


class Ask(Row):
    """A question that takes more than a word to answer."""

    question: str


class WebgptComparison(Row):
    """Two answers to one question, each with what it rests on, and what people think of them."""

    question: str
    quotes_0: list[Reference]
    answer_0: str
    quotes_1: list[Reference]
    answer_1: str
    score_0: float
    """-1 to 1; that of the other answer is its negative."""
    score_1: float
    target: float
    """How likely the first answer is the better one, as a reward model is to learn it: 1, 0, or 0.5 for a tie."""


class WebgptDemonstration(Completion, kw_only=True):
    """What the browser showed and the command that was given; or references and the answer that was written."""

    episode: int
    step: int
    phase: str
    """"browse" or "answer"."""


class WebgptPair(Preference, kw_only=True):
    """A comparison without a tie."""

    score: float
    """How much better, up to 1."""


@dataclass
class Episode:
    """What came of one way of browsing."""

    number: int
    steps: list[WebgptDemonstration]
    quotes: list[Reference]
    answer: str


@recipe("webgpt", seeds="webgpt_questions.jsonl")
async def webgpt(
    row: Ask,
    demonstrator: Complete,
    retriever: Retrieve,
    labeler: Annotator,
    run: Run,
    *,
    corpus: Rows[Page] | None = None,
    max_actions: Annotated[int, Meta(ge=1)] = 100,
    results: Annotated[int, Meta(ge=1)] = 10,
    window: Annotated[int, Meta(ge=100)] = 2000,
    max_quoted: Annotated[int, Meta(ge=0)] = 5000,
    labelers: Annotated[int, Meta(ge=1)] = 1,
    scale: Annotated[int, Meta(ge=1)] = 2,
    temperature: float = 0.8,
    max_tokens_per_command: Annotated[int, Meta(ge=1)] = 256,
    max_tokens_per_answer: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[WebgptComparison | WebgptDemonstration | WebgptPair]:
    """Browse twice for each question, answer from what was quoted, and have people compare the two answers.

    The model sees nothing but the browser's state and gives one command a turn; what is none costs an action and does
    nothing. A quote counts only if it stands on the screen, word for word. The answer is written from the question and
    the quotes alone. (Nakano et al. 2021, arXiv:2112.09332, sections 2 and 3.) In the paper people demonstrate first,
    and a model is trained on that; here the demonstrator is a role. Reward models, best-of-n and PPO are export: from
    the comparisons, whose ties have a target of one half.

    Args:
        corpus: the pages that are the web here; a few that ship unless given.
        max_actions: of an episode, valid or not.
        results: that a search shows. Not from the paper.
        window: characters of a page on the screen. Not from the paper.
        max_quoted: characters of all quotes after which browsing ends; 0: no limit. Not confirmed from the paper.
        labelers: people who compare two answers; their mean counts. Where one finds the first better and another the
            second, the comparison is dropped.
        scale: steps of the preference to either side. Not confirmed from the paper.
        temperature: of commands and answers. Not from the paper.
        max_tokens_per_command: of a command.
        max_tokens_per_answer: of an answer.

    Rejects: `no_quotes` (nothing was quoted: no answer is asked for; details: episode, actions), `nonsense` (the model
        said that the question has no answer), `empty`, `truncated` (the answer), `uncited` (it cites no reference, or one
        that there is not), `no_pair` (fewer than two answers), `same_answer`, `low_agreement`, `skipped` (nobody could
        compare).
    """
    pages = corpus if corpus is not None else shipped_pages()
    web = {page.url: page for page in pages}

    async def browse(number: int) -> Episode | None:
        browser = Browser(row.question, web, window=window, max_actions=max_actions, max_quoted=max_quoted)
        steps: list[WebgptDemonstration] = []
        while not browser.ended:
            state = BROWSE(state=browser.state())
            reply = await demonstrator.complete(
                state, temperature=temperature, max_tokens=max_tokens_per_command, stop=["\n"]
            )
            command = reply.text.strip()
            found: list[Page] = []
            if query := browser.wants_search(command):
                found = [pages[hit.index] for hit in await retriever.search(pages, query, k=results)]
            if browser.act(command, found):
                steps.append(
                    WebgptDemonstration(
                        prompt=state, completion=f" {command}", episode=number, step=len(steps), phase="browse"
                    )
                )
        if browser.ended == "nonsense":
            run.reject({"actions": browser.actions}, "nonsense", episode=number)
            return None
        if not browser.quotes:
            run.reject({"actions": browser.actions}, "no_quotes", episode=number, actions=len(browser.actions))
            return None
        asked = ANSWER(question=row.question, references=references(browser.quotes))
        said = await demonstrator.complete(asked, temperature=temperature, max_tokens=max_tokens_per_answer)
        if (reason := unfit(said, len(browser.quotes))) is not None:
            run.reject(said, reason, episode=number)
            return None
        answer = said.text.strip()
        steps.append(
            WebgptDemonstration(prompt=asked, completion=f" {answer}", episode=number, step=len(steps), phase="answer")
        )
        return Episode(number, steps, browser.quotes, answer)

    made = [episode for episode in await run.map(browse, range(2)) if episode is not None]
    for episode in made:
        for step in episode.steps:
            yield step
    if len(made) < 2:
        run.reject(row, "no_pair", answers=len(made))
        return
    first, second = made
    if first.answer == second.answer:
        run.reject({"answer": first.answer}, "same_answer")
        return
    task = Comparing(
        first=shown(first),
        second=shown(second),
        strength=scale,
        context=row.question,
        guidelines=GUIDELINES(),
    )
    notes: list[Note] = [note for note in await labeler.annotate(task, n=labelers) if not note.skipped]
    liked = [note.preference for note in notes]
    if not liked:
        run.reject({"question": row.question}, "skipped")
        return
    if min(liked) < 0 < max(liked):
        run.reject({"question": row.question}, "low_agreement", preferences=liked)
        return
    score = -sum(liked) / len(liked) / scale  # of the first: a preference above 0 is for the second
    yield WebgptComparison(
        question=row.question,
        quotes_0=first.quotes,
        answer_0=first.answer,
        quotes_1=second.quotes,
        answer_1=second.answer,
        score_0=score,
        score_1=-score,
        target=0.5 if score == 0 else float(score > 0),
    )
    if score:
        better, worse = (first, second) if score > 0 else (second, first)
        yield WebgptPair(prompt=row.question, chosen=better.answer, rejected=worse.answer, score=abs(score))


def unfit(reply: Reply, quotes: int) -> str | None:
    if not reply.text.strip():
        return "empty"
    if reply.truncated:
        return "truncated"
    cited = {int(number) for number in CITED.findall(reply.text)}
    return None if cited and cited <= set(range(1, quotes + 1)) else "uncited"


def shown(episode: Episode) -> str:
    return f"{episode.answer}\n\nReferences:\n{references(episode.quotes)}"


@cache
def shipped_pages() -> Rows[Page]:
    return Rows(home.shipped("webgpt_pages.jsonl", Page))
