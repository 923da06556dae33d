"""The policy of retries, limits and budgets, against fake backends, on a clock that jumps instead of waiting."""

import asyncio
import itertools
import math
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gristmill
from gristmill import Chat, Completion, Refused, Row, Run, recipe
from gristmill.engine.budget import Budget, Halt, worst_case
from gristmill.engine.calls import _shares
from gristmill.engine.endpoint import (
    DEAD_AFTER,
    FIRST_PATIENCE,
    PATIENCE,
    REFUSED_TRIES,
    TRIES,
    UNREACHABLE_TRIES,
    Endpoint,
)
from gristmill.errors import BadInput, CallFailed, EndpointDown, Stopped, Transient
from gristmill.execute import looking
from gristmill.models.protocol import Answer, Limits, Price, Question, Reply, Usage
from gristmill.testing import Scripted, folder, run, text_of

ANSWER = Answer([Reply("yes")], Usage(10, 5))
STOP = Stopped("interrupted", "interrupted")


class Fake:
    """A backend that does what `script` says at each call: waits that long, raises, answers."""

    endpoint, model, price, max_n = "http://fake", "fake", None, 128

    def __init__(self, script: Callable[[int], object] = lambda number: 0.0) -> None:
        self.script = script
        self.times: list[float] = []
        self.now = self.peak = 0
        self.order: list[str] = []

    async def answer(self, question: Question, n: int) -> Answer:
        self.times.append(asyncio.get_running_loop().time())
        self.order.append(question.prompt)
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            does = self.script(len(self.times) - 1)
            await asyncio.sleep(0)  # others may come before it is done
            if isinstance(does, float):
                await asyncio.sleep(does)
                return ANSWER
            if isinstance(does, BaseException):
                raise does
            return does
        finally:
            self.now -= 1


def fails(*errors: Exception, wait: float = 0.0) -> Callable[[int], object]:
    """These errors first, then answers."""
    return lambda number: errors[number] if number < len(errors) else wait


class Setting:
    """An endpoint with all that its calls touch."""

    def __init__(self, backend: Fake, limit: int = 4, *, adaptive: bool = False, **budget: float) -> None:
        self.backend, self.halt, self.budget = backend, Halt(), Budget(**budget)
        self.endpoint = Endpoint("http://fake", limit, self.halt, fixed=None if adaptive else limit)

    def call(self, name: str = "", *, max_tokens: int = 100, n: int = 1, size: int = 0) -> asyncio.Task[Answer]:
        question = Question("complete", prompt=name, sampling={"max_tokens": max_tokens})
        return asyncio.create_task(self.endpoint.call(self.backend, question, n, size, self.budget))

    def check_idle(self) -> None:
        """Nothing is held by anybody."""
        assert self.endpoint.in_flight == 0
        assert not self.endpoint._waiting
        assert self.budget.reserved_tokens == 0
        assert self.budget.reserved_cost == pytest.approx(0, abs=1e-12)
        assert not self.halt._resting


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# Places


async def test_no_more_calls_than_the_limit_run_at_once_and_they_run_in_the_order_they_came(clock):
    at = Setting(Fake(lambda number: 1.0), limit=3)
    await asyncio.gather(*(at.call(str(number)) for number in range(10)))
    assert at.backend.peak == 3
    assert at.backend.order == [str(number) for number in range(10)]
    assert clock.passed == pytest.approx(4)
    at.check_idle()


async def test_who_comes_late_does_not_overtake_who_waits(clock):
    at = Setting(Fake(lambda number: 1.0), limit=1)
    first = [at.call("a"), at.call("b")]
    await first[0]
    late = at.call("c")
    await asyncio.gather(*first, late)
    assert at.backend.order == ["a", "b", "c"]


async def test_a_place_given_to_a_call_that_was_cancelled_in_the_same_moment_is_passed_on(clock, monkeypatch):
    at = Setting(Fake(lambda number: 1.0), limit=1)
    holder, given_up, next_one = at.call("a"), at.call("b"), at.call("c")
    leave = at.endpoint._leave

    def leave_and_cancel() -> None:
        leave()
        given_up.cancel()  # the place is its own, and it does not know yet

    monkeypatch.setattr(at.endpoint, "_leave", leave_and_cancel)
    await asyncio.gather(holder, next_one)
    assert given_up.cancelled()
    assert at.backend.order == ["a", "c"]
    at.check_idle()


async def test_a_waiting_call_that_is_cancelled_costs_nobody_a_place(clock):
    at = Setting(Fake(lambda number: 1.0), limit=1)
    calls = [at.call(str(number)) for number in range(5)]
    await turns(2)
    calls[1].cancel()
    calls[4].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert at.backend.order == ["0", "2", "3"]
    assert at.endpoint.in_flight == 0
    await at.call("again")


@pytest.mark.parametrize("seed", range(25))
async def test_no_storm_of_failures_cancellations_and_waits_loses_a_place_or_a_token(clock, seed):
    chance = random.Random(seed)
    errors = [
        Transient("cut"),
        Transient("429", retry_after=0.5, busy=True),
        Transient("429", busy=True),
        Transient("503", down=True),
        Refused("no"),
        ValueError("a bug"),
    ]

    def script(number: int) -> object:
        return chance.choice(errors) if chance.random() < 0.3 else chance.uniform(0.0, 2.0)

    at = Setting(
        Fake(script),
        limit=chance.choice([1, 2, 7]),
        adaptive=seed % 2 == 0,
        max_tokens=chance.choice([None, 4_000, 8_000]),
    )
    calls = [at.call(max_tokens=chance.choice([10, 100, 1000])) for _ in range(60)]
    for call in calls:
        if chance.random() < 0.3:
            asyncio.get_running_loop().call_later(chance.uniform(0, 20), call.cancel)
    if seed % 5 == 0:
        asyncio.get_running_loop().call_later(5, at.halt.stop, STOP)
    # Stopped is no Exception: `gather` would let it through.
    await asyncio.wait(calls)
    kinds = {type(call.exception()) for call in calls if not call.cancelled()}
    assert kinds <= {type(None), Refused, CallFailed, ValueError, Stopped}
    assert at.backend.peak <= (at.endpoint.limit if seed % 2 else 8)
    assert at.budget.max_tokens is None or at.budget.input_tokens + at.budget.output_tokens <= at.budget.max_tokens
    at.check_idle()


# Trying again


async def test_what_passes_is_tried_again_with_growing_waits(clock):
    at = Setting(Fake(fails(*[Transient("cut")] * (TRIES - 1))))
    assert await at.call() is ANSWER
    waits = [b - a for a, b in itertools.pairwise(at.backend.times)]
    for number, wait in enumerate(waits, start=1):
        most = min(60, 0.25 * 2**number)
        assert most / 2 <= wait <= most + 0.001
    assert at.endpoint.retries == TRIES - 1
    at.check_idle()


async def test_a_call_that_fails_for_its_own_reasons_is_given_up_with_the_servers_words(clock):
    at = Setting(Fake(lambda number: Transient("upstream sneezed")))
    with pytest.raises(CallFailed, match=rf"fake: upstream sneezed \(tried {TRIES} times\)"):
        await at.call()
    assert len(at.backend.times) == TRIES
    at.check_idle()


@pytest.mark.parametrize("how", [{"retry_after": 1.0}, {"busy": True}, {"busy": True, "retry_after": 0.0}])
async def test_a_call_that_is_told_to_wait_has_more_patience_and_never_runs_through_its_tries_at_once(clock, how):
    at = Setting(Fake(fails(*[Transient("429", **how)] * (REFUSED_TRIES - 1))))
    assert await at.call() is ANSWER
    assert 10 * 60 < clock.passed < 40 * 60
    at = Setting(Fake(lambda number: Transient("429", **how)))
    with pytest.raises(CallFailed, match=f"tried {REFUSED_TRIES} times"):
        await at.call()


async def test_being_told_to_wait_uses_up_no_tries_of_other_failures(clock):
    busy, cut, gone = Transient("429", retry_after=1.0), Transient("500"), Transient("refused", unreachable=True)
    at = Setting(Fake(fails(*[busy] * 15, *[cut] * (TRIES - 1), *[gone] * (UNREACHABLE_TRIES - 1), busy, gone)))
    assert await at.call() is ANSWER


async def test_all_calls_heed_a_retry_after(clock):
    at = Setting(Fake(fails(Transient("429", retry_after=30.0, busy=True))), limit=8)
    start = clock.now
    early = at.call("early")
    await turns(3)
    await asyncio.gather(early, *(at.call(str(number)) for number in range(20)))
    assert at.backend.times[0] == start
    assert all(29.99 <= moment - start < 31 for moment in at.backend.times[1:])


async def test_a_longer_wait_that_is_asked_for_meanwhile_holds(clock):
    at = Setting(
        Fake(fails(Transient("429", retry_after=60.0, busy=True), Transient("429", retry_after=5.0, busy=True)))
    )
    start = clock.now
    await asyncio.gather(at.call(), at.call())
    assert [moment - start >= 59.99 for moment in at.backend.times] == [False, False, True, True]


@pytest.mark.parametrize("asked", [1e9, math.inf, math.nan, 3601.0])
async def test_an_endpoint_that_asks_for_more_than_an_hour_is_down_and_says_how_long(clock, asked):
    at = Setting(Fake(lambda number: Transient("daily limit", retry_after=asked, busy=True)))
    with pytest.raises(EndpointDown, match=r"asks to wait for .* hours: daily limit"):
        await at.call()
    assert clock.passed < 1
    assert at.endpoint._quiet_until <= clock.now
    at.check_idle()


@pytest.mark.parametrize("asked", [-5.0, -math.inf, 0.0])
async def test_a_retry_after_in_the_past_is_no_leave_to_hurry(clock, asked):
    at = Setting(Fake(fails(Transient("429", retry_after=asked))))
    await at.call()
    assert 0.25 <= clock.passed <= 0.51


async def test_an_endpoint_that_nobody_reaches_is_down_within_seconds(clock):
    at = Setting(Fake(lambda number: Transient("connection refused", unreachable=True)))
    with pytest.raises(EndpointDown, match="does not answer: connection refused"):
        await at.call()
    assert len(at.backend.times) == UNREACHABLE_TRIES
    assert 3 < clock.passed < 8
    at.check_idle()


async def test_an_endpoint_that_answers_others_is_not_down_because_one_call_does_not_reach_it(clock):
    class Half(Fake):
        async def answer(self, question, n):
            if question.prompt == "unlucky" and self.order.count("unlucky") < 12:
                self.order.append("unlucky")
                raise Transient("no route", unreachable=True)
            return await super().answer(question, n)

    at = Setting(Half(lambda number: 0.1), limit=2)
    unlucky = at.call("unlucky")
    others = 0
    while not unlucky.done():
        await at.call("other")
        others += 1
    assert unlucky.result() is ANSWER
    at.check_idle()


async def test_a_call_that_never_gets_through_where_others_do_ends_too(clock):
    class Half(Fake):
        async def answer(self, question, n):
            if question.prompt == "unlucky":
                raise Transient("no route", unreachable=True)
            return await super().answer(question, n)

    at = Setting(Half(lambda number: 1.0), limit=2)
    unlucky = at.call("unlucky")
    while not unlucky.done():
        await at.call("other")
    with pytest.raises(CallFailed, match=f"no route .tried {REFUSED_TRIES} times"):
        await unlucky


async def test_a_row_of_calls_that_are_given_up_means_that_the_endpoint_is_down(clock):
    at = Setting(Fake(lambda number: Transient("500")), limit=1)
    for _ in range(DEAD_AFTER - 1):
        with pytest.raises(CallFailed):
            await at.call()
    with pytest.raises(EndpointDown, match="500"):
        await at.call()


async def test_one_success_ends_such_a_row(clock):
    at = Setting(Fake(lambda number: 0.0 if number == 3 * TRIES else Transient("500")), limit=1)
    for _ in range(3):
        with pytest.raises(CallFailed):
            await at.call()
    await at.call()
    for _ in range(DEAD_AFTER - 1):
        with pytest.raises(CallFailed):
            await at.call()


@pytest.mark.parametrize("error", [Refused("no"), EndpointDown("no key"), BadInput("wrong"), KeyError("bug")])
async def test_what_is_not_transient_goes_out_at_once_and_leaves_nothing_behind(clock, error):
    at = Setting(Fake(lambda number: error), limit=1, max_tokens=1_000_000)
    with pytest.raises(type(error)):
        await at.call()
    assert len(at.backend.times) == 1
    at.check_idle()


# Outages


class Server(Fake):
    """Answers after a second, except from `out[0]` to `out[1]`, in seconds from now: then it says `error` at once."""

    def __init__(self, *out: float, error: Exception | None = None, takes: float = 1.0) -> None:
        super().__init__(self._does)
        self.error = error or Transient("503", down=True)
        self.takes = takes
        self.start = asyncio.get_running_loop().time()
        self.out = out or (0.0, math.inf)

    def _does(self, number: int) -> object:
        passed = asyncio.get_running_loop().time() - self.start
        return self.error if self.out[0] <= passed < self.out[1] else self.takes

    def asked(self, start: float, end: float) -> list[float]:
        """When, in seconds since the beginning."""
        return [moment - self.start for moment in self.times if start <= moment - self.start < end]


async def kept_busy(at: Setting, seconds: float, callers: int) -> list[asyncio.Task[None]]:
    """So many callers, each with one call after the other."""
    ends = asyncio.get_running_loop().time() + seconds

    async def caller() -> None:
        while asyncio.get_running_loop().time() < ends:
            await at.call()

    callers_ = [asyncio.create_task(caller()) for _ in range(callers)]
    await asyncio.wait(callers_)
    return callers_


TROUBLES = [
    Transient("503", down=True),
    Transient("500"),
    Transient("cut"),
    Transient("connection refused", unreachable=True),
]


@pytest.mark.parametrize("error", TROUBLES, ids=str)
@pytest.mark.parametrize("adaptive", [True, False])
async def test_an_outage_of_minutes_fails_no_call_and_is_probed_with_one_call_at_a_time(clock, error, adaptive):
    server = Server(100.0, 400.0, error=error)
    at = Setting(server, limit=8, adaptive=adaptive)
    callers = await kept_busy(at, 600, 10)
    assert [caller.exception() for caller in callers] == [None] * 10
    probes = server.asked(101.5, 400)
    pauses = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert 20 < len(probes) < 50
    assert pauses[0] < 6
    assert all(0.75 * 10 <= pause <= 1.25 * 10.1 for pause in pauses[6:])
    assert len(server.asked(440, 600)) > 160 * 8 / 2  # at work again
    at.check_idle()


async def test_between_two_probes_nothing_is_sent_and_a_failed_probe_doubles_the_pause(clock):
    server = Server(10.0, 1e9)
    at = Setting(server, limit=8)
    await asyncio.gather(*(at.call() for _ in range(8)))
    await asyncio.sleep(10)
    calls = [at.call() for _ in range(30)]
    await asyncio.sleep(40)
    begins = server.asked(10, 1e9)[0]
    first, *probes = server.asked(begins + 0.001, 1e9)
    assert 0.75 <= first - begins <= 1.26
    for number, (earlier, later) in enumerate(itertools.pairwise([first, *probes]), start=1):
        assert 0.75 * min(10, 2**number) <= later - earlier <= 1.25 * min(10, 2**number) + 0.01
    assert re.fullmatch(r"breaker open: probing in \d+ s", at.endpoint.note)
    assert at.endpoint.waiting == 30
    at.halt.stop(STOP)
    await asyncio.wait(calls)
    assert clock.passed < 62
    assert {type(call.exception()) for call in calls} == {Stopped}
    at.check_idle()


async def test_a_half_open_breaker_waits_for_its_probe_however_long_that_takes(clock):
    server = Server(10.0, 15.0, takes=5.0)
    at = Setting(server, limit=8)
    callers = asyncio.create_task(kept_busy(at, 60, 10))
    await asyncio.sleep(18.9)
    assert len(server.asked(15, 18.9)) == 1
    assert at.endpoint.note == "breaker open: probing"
    await callers
    assert at.endpoint.note == ""
    assert len(server.asked(25, 60)) > 40


async def test_after_an_outage_the_limit_comes_back_from_a_quarter_of_what_it_was(clock):
    at = Setting(Server(40.0, 60.0), limit=32, adaptive=True)
    at.endpoint._climber.most = 32
    seen: list[tuple[float, int]] = []
    at.endpoint.changed = lambda: seen.append((clock.passed, at.endpoint.limit))
    await kept_busy(at, 100, 40)
    after = [(moment, limit) for moment, limit in seen if moment > 60]
    assert after[0][1] <= 32 // 4
    moment = next(moment for moment, limit in after if limit >= 24)
    assert after[0][0] + 2 <= moment < after[0][0] + 40


async def test_an_outage_that_outlasts_all_patience_stops_the_run_and_not_before(clock):
    at = Setting(Server(10.0, 1e9), limit=4)
    await asyncio.gather(*(at.call() for _ in range(8)))
    await asyncio.sleep(10)
    calls = [at.call() for _ in range(6)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(EndpointDown, match=r"did not answer for \d+ s, .* 503"):
        raise done.pop().exception()
    assert PATIENCE <= clock.passed - 12 < PATIENCE + 60
    at.halt.stop(STOP)
    await asyncio.wait(calls)
    at.check_idle()


async def test_a_server_that_is_there_and_never_answered_has_a_minute_to_load_its_model(clock):
    at = Setting(Server(0.0, FIRST_PATIENCE - 25), limit=4)
    await asyncio.gather(*(at.call() for _ in range(8)))
    at = Setting(Server(0.0, 1e9), limit=4)
    begins = clock.passed
    done, rest = await asyncio.wait([at.call() for _ in range(8)], return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(done.pop().exception(), EndpointDown)
    assert FIRST_PATIENCE <= clock.passed - begins < FIRST_PATIENCE + 40
    for call in rest:
        call.cancel()


@pytest.mark.parametrize("adaptive", [True, False])
async def test_a_429_is_no_trouble_however_often_it_comes(clock, adaptive):
    at = Setting(Server(10.0, 70.0, error=Transient("429", busy=True)), limit=8, adaptive=adaptive)
    callers = asyncio.create_task(kept_busy(at, 300, 10))
    for _ in range(200):
        await asyncio.sleep(1)
        assert not at.endpoint._breaker.open
    callers_ = await callers
    assert [caller.exception() for caller in callers_] == [None] * 10


async def test_calls_that_fail_for_their_own_reasons_are_given_up_while_others_go_on_and_when_they_are_alone(clock):
    class Poisoned(Fake):
        async def answer(self, question, n):
            if question.prompt == "poison":
                raise Transient("500")
            return await super().answer(question, n)

    at = Setting(Poisoned(lambda number: 0.5), limit=4)
    poisoned = [at.call("poison") for _ in range(4)]
    for _ in range(30):
        await at.call()
    results = await asyncio.gather(*poisoned, return_exceptions=True)
    assert {type(result) for result in results} == {CallFailed}
    assert clock.passed < 120  # their own backoff; not one after the other, as an open breaker's probes
    at.check_idle()


async def test_tries_that_turn_out_to_be_of_an_outage_are_given_back(clock):
    at = Setting(Fake(lambda number: Transient("500") if number else 0.0), limit=2)
    await at.call()
    results = await asyncio.gather(at.call(), at.call(), return_exceptions=True)
    assert {type(result) for result in results} == {CallFailed}
    opened_it = 5 - 1  # the last of them counts as the first of its own
    assert len(at.backend.times) == 1 + opened_it + 2 * TRIES


async def test_a_probe_that_is_refused_or_told_to_wait_shows_that_the_endpoint_is_well(clock):
    for sign, within in [(Refused("no"), 0.01), (Transient("429", busy=True, retry_after=1.0), 1.6)]:
        at = Setting(Fake(fails(*[Transient("503", down=True)] * 8, sign, wait=1.0)), limit=8)
        calls = [at.call() for _ in range(8)]
        await asyncio.wait(calls)
        assert not at.endpoint._breaker.open
        probe, *others = at.backend.times[8:]
        assert len(others) in (7, 8)
        assert others[-1] - probe < within  # all at once, not one after the other as probes


async def test_a_probe_that_is_cancelled_passes_its_turn_on(clock):
    server = Server(10.0, 11.5, takes=5.0)
    at = Setting(server, limit=8)
    await at.call("first")
    await asyncio.sleep(6)
    calls = [at.call(str(number)) for number in range(8)]
    while not at.endpoint._breaker.probing:
        await asyncio.sleep(0.1)
    while clock.passed < 16:
        await asyncio.sleep(0.1)
    probe = int(server.order[-1])
    calls[probe].cancel()
    await asyncio.wait(calls)
    assert [call.cancelled() for call in calls].count(True) == 1
    assert [call.exception() for call in calls if not call.cancelled()] == [None] * 7
    at.check_idle()


@pytest.mark.parametrize(("share", "opens"), [(0.05, False), (0.12, False), (0.35, True), (0.6, True)])
async def test_retries_are_a_share_of_the_answers_or_the_breaker_opens(clock, share, opens):
    chance = random.Random(5)

    class Flaky(Fake):
        async def answer(self, question, n):
            await asyncio.sleep(chance.uniform(0.4, 0.6))
            if chance.random() < share:
                raise Transient("500")
            return ANSWER

    at = Setting(Flaky(), limit=64)
    callers = await kept_busy(at, 60, 80)
    assert {type(caller.exception()) for caller in callers} <= {type(None), CallFailed}
    assert bool(at.endpoint._breaker.openings) == opens
    answers = at.endpoint._answers
    # What the budget grants: a fifth of the answers, what was saved up, half of that again each time that it opened,
    # and what was in flight then.
    assert at.endpoint.retries <= 0.2 * answers + 64 + at.endpoint._breaker.openings * (16 + 64)


# What headers say


async def test_where_nothing_is_left_all_calls_wait_until_there_is_more(clock):
    told = Answer([Reply("yes")], Usage(10, 5), Limits(0, reset=20.0))
    at = Setting(Fake(lambda number: told if number == 0 else 0.1), limit=4)
    await at.call()
    assert at.endpoint.note == "waits 20 s: asked to"
    await asyncio.gather(*(at.call() for _ in range(8)))
    assert all(moment >= clock.start + 20 for moment in at.backend.times[1:])
    assert at.endpoint.note == ""


@pytest.mark.parametrize("told", [Limits(1, reset=20.0), Limits(0), Limits(0, reset=1e6)])
async def test_what_is_left_or_not_told_in_full_holds_nothing_up(clock, told):
    answer = Answer([Reply("yes")], Usage(10, 5), told)
    at = Setting(Fake(lambda number: answer), limit=4)
    await asyncio.gather(*(at.call() for _ in range(8)))
    assert clock.passed < 1


async def test_a_429_whose_headers_say_when_is_heeded_as_a_retry_after_is(clock):
    at = Setting(Fake(fails(Transient("429", busy=True, limits=Limits(0, reset=30.0)))), limit=4)
    await at.call()
    assert clock.passed >= 30


async def test_a_rate_that_is_told_paces_calls_before_any_is_refused(clock):
    told = Answer([Reply("yes")], Usage(10, 5), Limits(3, rate=10.0))
    at = Setting(Fake(lambda number: told), limit=4, adaptive=True)
    await at.call()
    await asyncio.gather(*(at.call() for _ in range(50)))
    assert clock.passed == pytest.approx(5.0, rel=0.1)
    assert at.endpoint.note == "paced: 10 calls a second"
    at = Setting(Fake(lambda number: told), limit=4)  # fixed: what the user said holds
    await asyncio.gather(*(at.call() for _ in range(50)))
    assert at.endpoint.note == ""


# Stopping


def waits() -> dict[str, Callable[[], tuple[Setting, int]]]:
    """Everything that a call can wait for before it asks, and how many calls are let arrive meanwhile."""
    return {
        "a place": lambda: (Setting(Fake(lambda number: 100.0), limit=1), 1),
        "its next try": lambda: (Setting(Fake(lambda number: Transient("429", retry_after=900.0))), 1),
        "its next try, of its own": lambda: (Setting(Fake(lambda number: Transient("cut"))), 1),
        "room in the budget": lambda: (Setting(Fake(lambda number: 100.0), max_tokens=250), 2),
    }


@pytest.mark.parametrize("what", waits())
async def test_after_a_stop_no_call_starts_whatever_it_waited_for(clock, what):
    at, in_flight = waits()[what]()
    calls = [at.call() for _ in range(1 if "try" in what else 5)]
    await turns(10)
    asked = len(at.backend.times)
    assert asked == in_flight
    if "try" in what:
        calls.append(at.call())  # this one waits for the end of the quiet
        await turns(10)
        asked = len(at.backend.times)
    at.halt.stop(STOP)
    await asyncio.wait(calls)
    assert len(at.backend.times) == asked
    ends = [type(call.exception()) for call in calls]
    assert ends.count(type(None)) == (0 if "try" in what else in_flight)  # what was asked is let arrive
    assert set(ends) <= {type(None), Stopped}
    assert clock.passed < 1 if "try" in what else clock.passed < 101
    at.check_idle()
    with pytest.raises(Stopped, match="interrupted"):
        await at.call()


async def test_a_pause_ends_at_its_time_or_at_the_stop_and_not_at_an_older_one(clock):
    halt = Halt()
    await halt.rest(5)
    assert clock.passed == pytest.approx(5)
    await halt.rest(0)
    await halt.rest(-1)
    asyncio.get_running_loop().call_later(2, halt.stop, STOP)
    with pytest.raises(Stopped):
        await halt.rest(5)
    assert clock.passed == pytest.approx(7)
    halt.stopped = None  # as the schedule does when the target was met meanwhile
    await halt.rest(5)
    assert clock.passed == pytest.approx(12)
    halt.stop(STOP)
    with pytest.raises(Stopped):
        await halt.rest(5)
    assert clock.passed == pytest.approx(12)


def test_the_first_cause_of_a_stop_is_the_one_that_is_told():
    halt = Halt()
    halt.stop(Stopped("budget", "the wall"))
    halt.stop(STOP)
    with pytest.raises(Stopped, match="the wall") as caught:
        halt.check()
    assert caught.value.reason == "budget"


@pytest.mark.parametrize("what", waits())
@pytest.mark.parametrize("when", [0, 1, 3, 10])
async def test_a_call_can_be_cancelled_whatever_it_waits_for(clock, what, when):
    at, _ = waits()[what]()
    calls = [at.call() for _ in range(5)]
    await turns(when)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    at.check_idle()


# Budgets


async def reserved(budget: Budget, tokens: int, price: Price | None = None) -> None:
    await budget.reserve(Usage(0, tokens), price)


async def test_what_is_in_flight_counts_and_who_finds_no_room_waits_for_it(clock):
    at = Setting(Fake(lambda number: 1.0), limit=10, max_tokens=500)
    calls = [at.call(max_tokens=184) for _ in range(6)]  # 200 with the prompt; 15 are used
    await asyncio.wait(calls)
    assert [call.exception() for call in calls] == [None] * 6
    assert at.backend.peak == 2
    assert clock.passed == pytest.approx(3)
    assert at.budget.input_tokens + at.budget.output_tokens == 6 * 15


async def test_where_nothing_is_in_flight_and_there_is_no_room_the_run_stops_and_says_by_how_much(clock):
    budget = Budget(max_tokens=100, input_tokens=60)
    with pytest.raises(Stopped, match="--max-tokens 100: 60 tokens used, and the next call may need 50"):
        await reserved(budget, 50)
    budget = Budget(max_cost=1.0, cost=0.75)
    with pytest.raises(Stopped, match=r"--max-cost 1: \$0\.7500 spent, and the next call may cost \$0\.5000"):
        await reserved(budget, 50, Price(0, 10_000))
    assert budget.reserved_tokens == budget.reserved_cost == 0
    await reserved(budget, 25, Price(0, 10_000))  # exactly what is left


async def test_all_who_wait_are_told_when_the_last_in_flight_leaves_no_room(clock):
    at = Setting(Fake(lambda number: Answer([Reply("long")], Usage(0, 200))), limit=10, max_tokens=250)
    calls = [at.call(max_tokens=184) for _ in range(5)]
    await asyncio.wait(calls)
    assert [type(call.exception()) for call in calls] == [type(None), *[Stopped] * 4]
    at.check_idle()


async def test_a_failed_call_gives_back_what_it_had_reserved(clock):
    at = Setting(Fake(fails(*[Refused("no")] * 20)), max_tokens=120)
    for _ in range(20):
        with pytest.raises(Refused):
            await at.call(max_tokens=100)
    await at.call(max_tokens=100)


async def test_a_call_holds_no_room_between_its_tries(clock):
    at = Setting(Fake(fails(Transient("429", retry_after=10.0))), max_tokens=150)
    slow = at.call("slow", max_tokens=100)
    await turns(3)
    assert at.budget.reserved_tokens == 0
    await slow


async def test_calls_that_cost_nothing_do_not_let_one_that_costs_slip_over_the_wall(clock):
    budget, dear = Budget(max_cost=1.0), Price(0, 1_000_000)
    await reserved(budget, 1, dear)  # $1
    await reserved(budget, 10**9, Price(0, 0))
    second = asyncio.create_task(reserved(budget, 1, dear))
    await turns(3)
    assert not second.done()
    budget.settle(Usage(0, 1), Usage(0, 1), dear)
    await turns(3)
    assert not second.done()  # something free is still in flight
    budget.settle(Usage(0, 10**9), Usage(0, 5), Price(0, 0))
    with pytest.raises(Stopped):
        await second
    assert (budget.cost, budget.reserved_cost) == (1.0, 0.0)


async def test_a_large_call_is_not_forgotten_while_small_ones_pass_it(clock):
    at = Setting(Fake(lambda number: 1.0), limit=4, max_tokens=1_000)
    blocker = at.call("blocker", max_tokens=400)
    await turns(2)
    large = at.call("large", max_tokens=700)
    small = [at.call("small", max_tokens=20) for _ in range(10)]
    await asyncio.gather(blocker, large, *small)
    assert at.backend.order.count("large") == 1


def test_the_most_that_a_question_can_use_counts_every_sample():
    assert worst_case(Question("chat", sampling={"max_tokens": 100}), 32, 1000) == Usage(516, 3200)
    assert worst_case(Question("embed", texts=["x"]), 1, 10) == Usage(21, 0)


async def test_samples_are_reserved_for_together(clock):
    at = Setting(Fake(lambda number: 1.0), max_tokens=1_000)
    with pytest.raises(Stopped):
        await at.call(max_tokens=100, n=10)
    await at.call(max_tokens=100, n=9)
    at.check_idle()


@given(
    st.lists(
        st.tuples(st.integers(1, 500), st.floats(0, 1), st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=40
    ),
    st.integers(100, 3_000),
)
def test_spent_and_reserved_together_never_pass_a_wall(calls, wall):
    price = Price(3.0, 17.0)

    async def main() -> None:
        budget = Budget(max_tokens=wall, max_cost=price.cost(Usage(0, wall)) * 0.8)

        async def one(most: int, share: float, turns_in_flight: float, fails: bool) -> None:
            await budget.reserve(Usage(0, most), price)
            assert budget.input_tokens + budget.output_tokens + budget.reserved_tokens <= wall
            assert budget.cost + budget.reserved_cost <= budget.max_cost + 1e-12
            await turns(int(turns_in_flight * 3))
            budget.settle(Usage(0, most), None if fails else Usage(0, int(most * share)), price)

        tasks = [asyncio.create_task(one(*call)) for call in calls]
        done, pending = await asyncio.wait(tasks, timeout=5)
        assert not pending
        assert {type(task.exception()) for task in done} <= {type(None), Stopped}
        assert budget.reserved_tokens == 0
        assert budget.reserved_cost == pytest.approx(0, abs=1e-9)

    asyncio.run(main())


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 200))
def test_a_requests_tokens_are_split_over_its_samples_without_loss(prompt, written, parts):
    shares = _shares(Usage(prompt, written), parts)
    assert len(shares) == parts
    assert sum(share.input for share in shares) == prompt
    assert sum(share.output for share in shares) == written
    assert max(share.output for share in shares) - min(share.output for share in shares) <= 1


# Calls, with a journal


class Ask(Row):
    question: str


@recipe("sampled")
async def sampled(row: Ask, model: Chat, *, samples: int = 8) -> AsyncIterator[Completion]:
    """Several samples of one answer."""
    for reply in await model.chat(row.question, n=samples, max_tokens=100):
        yield Completion(row.question, reply.text)


class Giving(Scripted):
    """Gives as many samples as `gives` says for a request of n, each a text of its own."""

    def __init__(self, gives: Callable[[int], int], **more: Any) -> None:
        super().__init__(**more)
        self.gives, self.asked = gives, []

    async def answer(self, question: Question, n: int) -> Answer:
        self.asked.append(n)
        start = sum(self.asked)
        texts = [f"{start} {number} {'word ' * 7}" for number in range(self.gives(n))]
        return Answer([Reply(text) for text in texts], Usage(60, 100 * n))


def numbers(done: Any) -> list[int]:
    with looking(done.folder) as journal:
        return [sample for (sample,) in journal.select("SELECT sample FROM calls WHERE error IS NULL ORDER BY sample")]


@pytest.mark.parametrize(
    ("gives", "max_n", "asked"),
    [
        (lambda n: n, 128, [8]),
        (lambda n: n, 3, [3, 3, 2]),
        (lambda n: min(n, 3), 128, [8, 5, 2]),
        (lambda n: 1, 128, [8, 7, 6, 5, 4, 3, 2, 1]),
        (lambda n: n + 5, 3, [3, 3, 2]),
    ],
)
async def test_samples_that_one_request_does_not_give_are_asked_for_and_each_is_kept_once(gives, max_n, asked):
    model = Giving(gives)
    model.max_n = max_n
    done = await run(sampled, [{"question": "?"}], model=model)
    assert model.asked == asked
    assert numbers(done) == list(range(8))
    assert len({row.completion for row in done.rows}) == 8
    assert (done.spent.input_tokens, done.spent.output_tokens) == (
        60 * len(asked),
        100 * sum(asked),
    )


async def test_an_answer_without_a_sample_is_a_failure_that_is_kept():
    done = await run(sampled, [{"question": "?"}], model=Giving(lambda n: 0), allow_failures=True)
    assert "no sample at all" in done.failures[0].error
    again = Giving(lambda n: n)
    resumed = await gristmill.aresume(done.folder, recipe=sampled, model={"model": again})
    assert (again.asked, resumed.failed) == ([], 1)


async def test_samples_that_came_before_a_wall_or_a_failure_are_not_paid_for_again():
    out = folder()
    done = await run(sampled, [{"question": "?"}], model=Giving(lambda n: 3), out=out, max_tokens=900)
    assert done.stopped
    assert done.stopped.reason == "budget"
    kept = numbers(done)
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 8
    rest = Giving(lambda n: n)
    done = await gristmill.aresume(out, recipe=sampled, model={"model": rest}, max_tokens=10_000)
    assert rest.asked == [8 - len(kept)]
    assert len(done.rows) == 8


async def test_samples_that_came_before_a_refusal_stay():
    class Once(Giving):
        async def answer(self, question, n):
            if self.asked:
                raise Refused("enough of you")
            return await super().answer(question, n)

    done = await run(sampled, [{"question": "?"}], model=Once(lambda n: 3), allow_failures=True)
    assert "enough of you" in done.failures[0].error
    rest = Giving(lambda n: n)
    done = await gristmill.aresume(done.folder, recipe=sampled, model={"model": rest}, failed=True)
    assert (rest.asked, len(done.rows), done.failed) == ([5], 8, 0)


async def test_a_target_that_is_met_waits_for_no_call_that_was_told_to_wait():
    class Told(Scripted):
        async def answer(self, question, n):
            if text_of(question) == "1":
                raise Transient("later", retry_after=600, busy=True)
            await asyncio.sleep(0.05)
            return await super().answer(question, n)

    model = Told(lambda question: "yes")
    async with asyncio.timeout(5):
        done = await run(sampled, [{"question": "0"}, {"question": "1"}], model=model, samples=1, target=1)
    assert [row.prompt for row in done.rows] == ["0"]
    assert not done.stopped


@recipe("paired")
async def paired(row: Ask, one: Chat, other: Chat, run: Run) -> AsyncIterator[Completion]:
    """Two roles asked at the same time."""
    first, second = await run.gather(one.chat(row.question), other.chat(row.question))
    yield Completion(first.text, second.text)


async def test_models_at_one_address_share_its_limit():
    gauge = Fake(lambda number: 0.002)

    class Slow(Scripted):
        async def answer(self, question, n):
            await gauge.answer(question, n)
            return await super().answer(question, n)

    one, other = (Slow(lambda question: "yes", model=name) for name in ("one", "other"))
    one.endpoint = other.endpoint = "http://together"
    await run(paired, [{"question": str(n)} for n in range(20)], one=one, other=other, concurrency=3)
    assert gauge.peak == 3
