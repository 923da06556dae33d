"""Recipes that workers of a cluster load by their file or their module."""

import os
import time
from collections.abc import AsyncIterator
from hashlib import blake2b

from gristmill import Annotator, Chat, Completion, Document, Retrieve, Row, Rows, Run, recipe
from gristmill.models.annotation import Writing
from gristmill.ops.ask import Bad, complete_reply


class Ask(Row):
    question: str


class Told(Completion, kw_only=True):
    drawn: str = ""
    pid: int = 0


class Timed(Completion, kw_only=True):
    pid: int
    began: float
    ended: float


class Beside(Row):
    note: str


@recipe("many-ways")
async def many_ways(row: Ask, model: Chat, judge: Chat, run: Run, *, samples: int = 2) -> AsyncIterator[Told | Beside]:
    """Draws, branches, samples, rejects, failures and a second table."""
    style = run.draw("style", ["plain", "ornate", "terse"])

    async def branch(number: int) -> str:
        word = run.draw("word", ["a", "b", "c"])
        reply = await judge.chat(f"{row.question} {number} {word}", temperature=0.0)
        return reply.text.split()[0]

    first = await run.map(branch, range(2))
    for reply in await model.chat(f"{style}: {row.question} {first}", n=samples, temperature=1.0):
        try:
            text = complete_reply(reply)
            if len(text.split()) % 5 == 0:
                raise Bad("unlucky", words=len(text.split()))
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            continue
        if len(text.split()) % 7 == 0:
            raise ValueError(f"no good: {text.split()[0]}")
        yield Beside(note=first[0])
        yield Told(row.question, text, drawn=style)


@recipe("drawn-words", unique="completion")
async def drawn_words(model: Chat, run: Run) -> AsyncIterator[Told]:
    """From nothing, with a gate."""
    word = run.turn("word", [f"word {number}" for number in range(7)])
    reply = await model.chat(f"{word} {run.rng('n').randrange(20)}", temperature=0.0)
    yield Told(word, reply.text.split()[0], drawn=word)


@recipe("durable")
async def durable(row: Ask, finder: Retrieve, run: Run, *, corpus: Rows[Document]) -> AsyncIterator[Told]:
    """A durable step, a race, a search and a file."""
    started = await run.once("pid", os.getpid)
    hits = await finder.search(corpus, row.question, k=1)

    async def ready() -> str | None:
        return row.question[-1]

    async def never() -> str | None:
        return None

    won = await run.race(never(), ready())
    found = await run.artefact("note", f"{row.question} {won}")
    made = Told(row.question, f"{corpus[hits[0].index].text} {won}", pid=started)
    run.link(made, found)
    yield made


def worked(loops: int) -> str:
    """So much to compute; 10,000 loops take some milliseconds."""
    found = b""
    for number in range(loops):
        found = blake2b(found + number.to_bytes(8)).digest()
    return found.hex()[:16]


@recipe("busy")
async def busy(row: Ask, *, loops: int = 1000) -> AsyncIterator[Timed]:
    """Computes, and asks nobody."""
    began = time.time()
    yield Timed(row.question, worked(loops), pid=os.getpid(), began=began, ended=time.time())


@recipe("deadly")
async def deadly(row: Ask) -> AsyncIterator[Told]:
    """Takes its process along, for one question."""
    if "die" in row.question:
        os._exit(1)
    yield Told(row.question, "alive")


@recipe("shout")
async def shout(row: Told, model: Chat, run: Run) -> AsyncIterator[Told]:
    """A second step."""
    reply = await model.chat(row.completion, temperature=0.0)
    yield Told(row.prompt, reply.text.upper(), drawn=row.drawn)


@recipe("gathered")
async def gathered(rows: Rows[Told], model: Chat, run: Run) -> AsyncIterator[Told]:
    """A whole set, on the driver."""

    async def again(row: Told) -> Told:
        made = Told(row.prompt, (await model.chat(f"again {row.completion}", temperature=0.0)).text)
        run.link(made, row)
        return made

    for made in await run.map(again, list(rows)):
        yield made


@recipe("asked-of-people")
async def asked_of_people(row: Ask, people: Annotator) -> AsyncIterator[Told]:
    """Waits for a person."""
    note = await people.annotate(Writing(context=row.question))
    yield Told(row.question, str(note))


@recipe("one-call")
async def one_call(row: Ask, model: Chat) -> AsyncIterator[Timed]:
    """Asks once."""
    began = time.time()
    reply = await model.chat(row.question, temperature=0.0, max_tokens=64)
    yield Timed(row.question, reply.text, pid=os.getpid(), began=began, ended=time.time())
