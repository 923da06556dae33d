"""Whatever the order of answers, the concurrency and the stops on the way: the same rows, and no call twice."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill
from gristmill import Chat, Completion, Row, Rows, Run, recipe
from gristmill.models.protocol import Reply
from gristmill.testing import Scripted, folder, run, text_of


class Ask(Row):
    question: str


def chance(text: str, sides: int) -> int:
    return zlib.crc32(text.encode()) % sides


@recipe("per-row", unique="completion")
async def per_row(row: Ask, model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Branches, draws, rejects and a gate."""

    async def ask(number: int) -> Reply:
        return await model.chat(f"{row.question} {number} {run.draw('tone', ['soft', 'loud'])}", max_tokens=20)

    for reply in await run.map(ask, range(1 + chance(row.question, 3))):
        if chance(reply.text, 4):
            yield Completion(row.question, reply.text[:2])
        else:
            run.reject(reply, "unlucky")


@recipe("whole", endless=True)
async def whole(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Completion]:
    """A pool that grows in rounds."""
    pool = [row.question for row in rows]

    async def grow(number: int) -> Completion:
        shown = run.draw("shown", pool)
        return Completion(shown, (await model.chat(f"{number} {shown}", max_tokens=20)).text)

    while True:
        for made in await run.map(grow, range(3)):
            if chance(made.completion, 5):
                pool.append(made.completion)
                yield made
            else:
                run.reject(made, "unlucky")


@recipe("drawn")
async def drawn(model: Chat, run: Run) -> AsyncIterator[Completion]:
    """From nothing."""
    word = run.draw("word", [str(number) for number in range(30)])
    reply = await model.chat(word, max_tokens=20)
    if chance(reply.text, 3):
        yield Completion(word, reply.text)
    else:
        run.reject(reply, "unlucky")


class Uneven(Scripted):
    """Answers after waits that depend on `shuffle`: another number, another order of answers."""

    def __init__(self, shuffle: int) -> None:
        super().__init__(lambda question: f"{chance(text_of(question), 9973)} words", model="m")
        self.shuffle = shuffle

    async def answer(self, question, n):
        for _ in range(chance(f"{self.shuffle} {text_of(question)}", 6)):
            await asyncio.sleep(0)
        return await super().answer(question, n)


CASES = {"per-row": (per_row, 12, None), "whole": (whole, 3, 14), "drawn": (drawn, None, 14)}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15, deadline=None)
@given(
    shuffle=st.integers(0, 1000),
    concurrency=st.integers(1, 12),
    walls=st.lists(st.integers(40, 400), max_size=4),
    seed=st.integers(0, 3),
)
def test_stops_orders_and_concurrency_leave_rows_and_calls_as_they_are(name, shuffle, concurrency, walls, seed):
    method, count, target = CASES[name]

    def seeds() -> list[dict] | None:
        return None if count is None else [{"question": f"q{n}"} for n in range(count)]

    async def both() -> None:
        calm = await run(method, seeds(), model=Uneven(0), target=target, seed=seed)
        out = folder() / "run"
        model = Uneven(shuffle)
        wall = walls[0] if walls else None
        stormy = await run(
            method, seeds(), model=model, target=target, seed=seed, concurrency=concurrency, max_tokens=wall, out=out
        )
        for extra in [*walls[1:], 1_000_000]:
            wall = (wall or 0) + extra
            stormy = await gristmill.aresume(
                out, recipe=method, model={"model": model}, concurrency=concurrency, max_tokens=wall
            )
        assert stormy.exit_code == 0
        assert stormy.rows == calm.rows
        assert stormy.rejects == calm.rejects
        texts = [text_of(question) for question in model.questions]
        assert stormy.spent.calls == len(texts)  # each call is in the journal, and each was asked once

    asyncio.run(both())
