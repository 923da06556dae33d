"""Any chain, whatever the order of answers, the concurrency and the stops on the way: the same rows, no call twice."""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gristmill
from gristmill import Chain, Chat, EndpointDown, Refused, Row, Rows, Run, recipe
from gristmill.testing import Scripted, folder, text_of


class Text(Row):
    text: str


def chance(text: str, sides: int) -> int:
    return zlib.crc32(text.encode()) % sides


@recipe("upper")
async def upper(row: Text, run: Run) -> AsyncIterator[Text]:
    """A mapper without calls, which may draw."""
    yield Text(f"{row.text}{run.draw('mark', list('abcdefgh'))}"[-40:])


@recipe("ask")
async def ask(row: Text, model: Chat, run: Run) -> AsyncIterator[Text]:
    """Two calls, one after the other; refuses, fails and rejects by hash."""
    first = await model.chat(f"{row.text} {run.draw('word', list(range(40)))}", max_tokens=20)
    if chance(first.text, 11) == 0:
        raise ValueError(first.text)
    second = await model.chat(f"again {first.text}", max_tokens=20)
    if chance(second.text, 5) == 0:
        run.reject(second, "unlucky")
    else:
        yield Text(second.text)


@recipe("pick")
async def pick(row: Text, run: Run) -> AsyncIterator[Text]:
    """A filter: some in silence, some with a reject."""
    kind = chance(row.text, 6)
    if kind == 1:
        run.reject(row, "low")
    elif kind:
        yield Text(row.text)


@recipe("split", unique="text")
async def split(row: Text) -> AsyncIterator[Text]:
    """None to three rows of each, some of them the same; with a gate."""
    for number in range(chance(row.text, 4)):
        yield Text(f"{row.text[-30:]}{number // 2}")


@recipe("evict")
async def evict(rows: Rows[Text], run: Run) -> AsyncIterator[Text]:
    """Keeps the better half."""
    for row in sorted(rows, key=lambda row: (chance(row.text, 997), row.text))[: (len(rows) + 1) // 2]:
        made = Text(row.text)
        run.link(made, row)
        yield made


@recipe("grow", endless=True)
async def grow(rows: Rows[Text], model: Chat, run: Run) -> AsyncIterator[Text]:
    """A pool that grows as long as it is asked to."""
    pool = [row.text for row in rows] or ["nothing"]

    async def one(number: int) -> Text:
        return Text((await model.chat(f"{number} {run.draw('shown', pool)}", max_tokens=20)).text)

    while True:
        for made in await run.map(one, range(3)):
            if chance(made.text, 5):
                pool.append(made.text)
                yield made
            else:
                run.reject(made, "unlucky")


@recipe("draw")
async def draw(model: Chat, run: Run) -> AsyncIterator[Text]:
    """From nothing."""
    yield Text((await model.chat(str(run.draw("word", range(500))), max_tokens=20)).text)


class Uneven(Scripted):
    """Answers after waits that depend on `shuffle`, and is gone after so many answers."""

    def __init__(self, shuffle: int = 0, most: int | None = None) -> None:
        super().__init__(self.said, model="m")
        self.shuffle, self.most, self.paid = shuffle, most, Counter[str]()

    @staticmethod
    def said(question: Any) -> Any:
        text = text_of(question)
        return Refused("no") if chance(f"r {text}", 17) == 0 else f"{chance(text, 9973)} words"

    async def answer(self, question: Any, n: int) -> Any:
        for _ in range(chance(f"{self.shuffle} {text_of(question)}", 6) if self.shuffle else 0):
            await asyncio.sleep(0.001 * (self.shuffle % 2))
        if self.most is not None:
            if self.most <= 0:
                raise EndpointDown("gone")
            self.most -= 1
        return await super().answer(question, n)


LATER = [upper, ask, pick, split, evict, grow]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=st.sampled_from([upper, ask, split, evict, grow, draw]),
    later=st.lists(st.sampled_from(LATER), max_size=4),
    texts=st.lists(st.integers(0, 9).map(lambda n: f"seed {n}"), min_size=1, max_size=9),
    target=st.none() | st.integers(1, 12),
    shuffle=st.integers(0, 1000),
    concurrency=st.integers(1, 64),
    stops=st.lists(st.integers(0, 30), max_size=4),
    seed=st.integers(0, 3),
)
def test_any_chain_gives_the_same_however_it_is_run(first, later, texts, target, shuffle, concurrency, stops, seed):
    steps = [first, *later]
    if sum(step is grow for step in steps) > 1 or (target is None and (first is draw or grow in steps)):
        target = target or 5
    asks = any(step.roles for step in steps)
    given_seeds = None if first is draw else [{"text": text} for text in texts]

    def options(model: Uneven, concurrency: int) -> dict[str, Any]:
        return {"model": model if asks else None, "concurrency": concurrency}

    async def both() -> None:
        calm_model = Uneven()
        calm = await gristmill.arun(
            Chain(steps), seeds=given_seeds, target=target, seed=seed, out=folder(), **options(calm_model, 1)
        )
        out = folder()
        asked: list[str] = []
        stormy = None
        for number, most in enumerate([*stops, None]):
            model = Uneven(shuffle, most)
            try:
                if number == 0:
                    stormy = await gristmill.arun(
                        Chain(steps),
                        seeds=given_seeds,
                        target=target,
                        seed=seed,
                        out=out,
                        **options(model, concurrency),
                    )
                else:
                    stormy = await gristmill.aresume(out, recipe=Chain(steps), **options(model, concurrency))
            except EndpointDown:
                stormy = None
            asked += model.prompts
        assert stormy is not None
        assert stormy.spent.calls == len(asked)  # each answer is in the journal, and each was asked once
        assert bool(stormy.stopped) == bool(calm.stopped) or target is not None
        if not (stormy.stopped or calm.stopped):
            assert stormy.rows == calm.rows
            assert target is None or len(calm.rows) == target or calm.notes
        if target is None:
            assert stormy.rejects == calm.rejects
            assert stormy.failures == calm.failures
            assert len(asked) == len(calm_model.prompts)
            assert [t for _, t in stormy.steps.values()] == [t for _, t in calm.steps.values()]
        for name, (_, tally) in stormy.steps.items():  # what is counted is what is stored
            assert tally.rows["text"] == len(list(stormy.iterate(step=name)))
        assert sum(stormy.reject_counts.values()) == len(stormy.rejects)
        assert stormy.failed == len(stormy.failures)

    asyncio.run(asyncio.wait_for(both(), 30))
