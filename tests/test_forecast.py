"""`plan`: a sample that is run for real, what it says of the whole, and that nothing is paid twice."""

import math
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest

import gristmill
from gristmill import BadInput, Chain, Chat, Completion, Row, Rows, Run, recipe
from gristmill.estimate import made, total, until
from gristmill.models.protocol import Price, Question
from gristmill.testing import Scripted, folder, text_of


class Ask(Row):
    question: str


@recipe("answer")
async def answer(row: Ask, model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Answers of every length; some are rejected."""
    word = run.draw("word", [str(number) for number in range(1000)])
    reply = await model.chat(f"{row.question} {word}", max_tokens=100)
    if zlib.crc32(reply.text.encode()) % 10 < 4:
        run.reject(reply, "unlucky")
    else:
        yield Completion(row.question, reply.text)


@recipe("judge")
async def judge(row: Completion, judge: Chat, run: Run) -> AsyncIterator[Completion]:
    """Half of it."""
    reply = await judge.chat(row.completion, max_tokens=10)
    if zlib.crc32(reply.text.encode()) % 2:
        run.reject(reply, "poor")
    else:
        yield row


@recipe("drawn")
async def drawn(model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Rows from nothing."""
    word = run.draw("word", [str(number) for number in range(1000)])
    yield Completion(word, (await model.chat(word)).text)


@recipe("whole")
async def whole(rows: Rows[Completion], model: Chat) -> AsyncIterator[Completion]:
    """A whole set."""
    yield Completion("all", (await model.chat(f"{len(rows)}")).text)


def wordy(question: Question) -> str:
    number = zlib.crc32(text_of(question).encode())
    return f"{number} " + "word " * (number % 60)


def priced(**options) -> Scripted:
    return Scripted(wordy, price=Price(1.0, 2.0), **options)


def seeds(count: int) -> list[dict[str, str]]:
    return [{"question": f"q{number}"} for number in range(count)]


async def test_the_truth_lies_in_the_ranges_and_the_sample_is_not_paid_twice():
    out, model = folder(), priced()
    plan = await gristmill.aplan(answer, seeds=seeds(400), model=model, out=out)
    assert (plan.sample, len(model.questions)) == (20, 20)
    assert plan.sample_cost > 0
    done = await gristmill.aresume(out, recipe=answer, model=model)
    assert (len(model.questions), done.replayed) == (400, 20)
    assert done.spent.calls == 400
    assert done.spent.cost in plan.cost
    assert done.spent.input_tokens in plan.input_tokens
    assert done.spent.output_tokens in plan.output_tokens
    assert len(done.rows) in plan.rows
    assert plan.calls.low == plan.calls.high == 400
    assert plan.cost.high < 3 * plan.cost.low
    fresh = await gristmill.arun(answer, seeds=seeds(400), model=priced(), out=folder())
    assert fresh.rows == done.rows  # and the sample shaped nothing


async def test_a_chain_is_forecast_by_step_and_role_up_to_its_target():
    out, model = folder(), priced()
    chain = Chain([answer, judge])
    plan = await gristmill.aplan(chain, seeds=seeds(50), target=60, sample=30, model=model, out=out)
    assert [(role.step, role.role) for role in plan.roles] == [("answer", "model"), ("judge", "judge")]
    assert plan.roles[0].calls.likely > plan.roles[1].calls.likely
    assert plan.cost.likely == pytest.approx(sum(role.cost.likely for role in plan.roles))
    assert plan.yields["answer"].likely > plan.yields["judge"].likely > 0
    for found in plan.yields.values():
        assert found.low < found.likely < found.high
    assert all(role.seconds.low <= role.seconds.likely <= role.seconds.high for role in plan.roles)
    assert any("50 seeds are not enough for 60 rows" in note for note in plan.notes)
    paid = len(model.questions)
    done = await gristmill.aresume(out, recipe=chain, model=model, concurrency=4)
    assert len(done.rows) == 60
    assert done.spent.cost in plan.cost
    assert len(model.questions) == done.spent.calls
    assert done.calls < done.spent.calls
    assert done.spent.calls == done.calls + paid


async def test_recipes_that_make_rows_from_nothing_are_tried_by_draws():
    plan = await gristmill.aplan(drawn, target=100, sample=5, model=priced(), out=folder())
    assert (plan.sample, plan.sample_rows) == (5, 5)
    assert plan.units.likely == 100
    assert plan.rows == made(np.ones(100), 100)


async def test_what_a_whole_set_will_ask_is_not_pretended_to_be_known():
    model = priced()
    with pytest.raises(BadInput, match="a sample cannot tell"):
        await gristmill.aplan(whole, seeds=[{"prompt": "a", "completion": "b"}], model=model)
    plan = await gristmill.aplan(Chain([answer, whole]), seeds=seeds(30), sample=10, model=model, out=folder())
    assert [role.step for role in plan.roles] == ["answer"]
    assert plan.notes[0].startswith("whole works on a whole set")
    assert len(model.questions) == 10


async def test_a_few_seeds_are_all_tried_and_nothing_is_left_to_guess():
    plan = await gristmill.aplan(answer, seeds=seeds(7), model=priced(), out=folder())
    assert plan.sample == 7
    assert plan.cost.low == plan.cost.high == plan.sample_cost


async def test_seeds_are_tried_in_all_parts_of_the_file():
    model = priced()
    await gristmill.aplan(answer, seeds=seeds(1000), model=model, out=folder())
    tried = [int(prompt.split()[0][1:]) for prompt in model.prompts]
    assert len({number // 250 for number in tried}) == 4


async def test_a_sample_stays_within_the_wall():
    plan = await gristmill.aplan(answer, seeds=seeds(100), model=priced(), out=folder(), max_tokens=500, concurrency=1)
    assert 0 < plan.sample < 20
    assert any("cut short: --max-tokens 500" in note for note in plan.notes)


async def test_a_sample_of_one_has_no_range():
    with pytest.raises(BadInput, match="2 units or more"):
        await gristmill.aplan(answer, seeds=seeds(9), sample=1, model=priced())


# -- the numbers


def coverage(truth_in_range, tries: int = 200) -> float:
    return sum(truth_in_range(np.random.default_rng(number)) for number in range(tries)) / tries


def test_ranges_of_a_sum_hold_skewed_costs_about_as_often_as_they_say():
    def one(chance) -> bool:
        costs = chance.lognormal(5, 0.7, 1000)
        return costs.sum() in total(costs[:20], 1000)

    assert 0.82 <= coverage(one) <= 0.97


def test_ranges_of_what_a_target_costs_hold_about_as_often_as_they_say():
    def one(chance) -> bool:
        costs, rows = chance.lognormal(5, 0.7, 1000), (chance.random(1000) < 0.4).astype(int)
        needed = int(np.searchsorted(np.cumsum(rows), 300)) + 1
        return costs[:needed].sum() in until(costs[:20], rows[:20], 300)

    assert 0.82 <= coverage(one) <= 0.98


def test_a_sample_in_which_all_passed_does_not_say_that_all_will():
    assert made(np.ones(20), 1000).low < 960
    assert made(np.zeros(20), 1000).high > 50
    assert until(np.ones(20), np.ones(20), 1000).high > 1030
    assert made(np.ones(20), 20) == made(np.ones(20), 5)


def test_a_sample_without_rows_sets_no_limit():
    found = until(np.ones(20), np.zeros(20), 10)
    assert (found.low, found.likely, found.high) == (20, math.inf, math.inf)
