"""Recipes that tests run in processes of their own: `gristmill run tests/recipes_for_tests.py:answer`."""

from collections.abc import AsyncIterator

from gristmill import Chat, Completion, Row, Rows, Run, recipe


class Ask(Row):
    question: str


@recipe("two-calls")
async def two_calls(row: Ask, model: Chat, run: Run, *, suffix: str = "") -> AsyncIterator[Completion]:
    """An answer, and a second one that builds on it; every seventh is rejected."""
    first = await model.chat(row.question + suffix, temperature=0.5, max_tokens=64)
    second = await model.chat(f"Improve: {first.text}", max_tokens=64)
    if int(row.question.split()[-1]) % 7 == 0:
        run.reject(second, "seventh")
    else:
        yield Completion(row.question, second.text)


@recipe("growing", endless=True)
async def growing(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Completion]:
    """A pool that grows in rounds of four, each prompt drawn from the pool as of the round's start."""
    pool = [row.question for row in rows]

    async def grow(number: int) -> Completion:
        shown = " ".join(run.draw("shown", pool, k=3))
        return Completion(shown, (await model.chat(f"{number}: {shown}", max_tokens=64)).text)

    while True:
        for made in await run.map(grow, range(4)):
            pool.append(made.completion)
            yield made


@recipe("drawn")
async def drawn(model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Rows from nothing."""
    words = " ".join(run.draw("words", [f"word{number}" for number in range(40)], k=3))
    reply = await model.chat(words, max_tokens=64)
    if "river" in reply.text:
        run.reject(reply, "river")
    else:
        yield Completion(words, reply.text)
