"""The adaptive limits against simulated servers, on a clock that jumps; and the controllers alone."""

import asyncio
import itertools
import math
import random
from collections import deque
from collections.abc import Callable

import pytest

from gristmill.engine.budget import Budget, Halt
from gristmill.engine.calls import Ledger, bind
from gristmill.engine.endpoint import Endpoint
from gristmill.engine.limit import BETA, Climber, Pacer, Work
from gristmill.errors import CallFailed, Stopped, Transient
from gristmill.models.protocol import Answer, Question, Reply, Usage
from gristmill.testing import Scripted

Length = Callable[[], tuple[float, int]]
"""Seconds and tokens of a call."""


def same(seconds: float) -> Length:
    return lambda: (seconds, 20)


def mixed(seconds: float, chance: random.Random) -> Length:
    """10 to 4000 tokens by a heavy-tailed law, at a constant speed: `seconds` in the mean."""

    def length() -> tuple[float, int]:
        tokens = min(4000, max(10, int(chance.lognormvariate(math.log(200) - 0.72, 1.2))))
        return seconds * tokens / 200, tokens

    return length


class Simulated:
    """A backend that takes what `length` says for each call."""

    endpoint, model, price, max_n = "http://simulated", "simulated", None, 128

    def __init__(self, length: Length) -> None:
        self.length = length
        self.in_flight = self.peak = self.refused = 0
        self.done: list[tuple[float, int]] = []
        """When, and tokens."""
        self.started = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.started

    async def answer(self, question: Question, n: int) -> Answer:
        seconds, tokens = self.length()
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await self.work(seconds)
        finally:
            self.in_flight -= 1
        self.done.append((self.now, tokens))
        return Answer([Reply("yes")], Usage(10, tokens))

    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def rate(self, start: float, end: float) -> float:
        return sum(start <= moment < end for moment, _ in self.done) / (end - start)


class Queueing(Simulated):
    """So many slots; what finds none waits, first come first served."""

    def __init__(self, length: Length, slots: int) -> None:
        super().__init__(length)
        self.free, self.queue = slots, deque[asyncio.Future[None]]()

    async def work(self, seconds: float) -> None:
        if self.free:
            self.free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self.queue.append(turn)
            await turn
        await asyncio.sleep(seconds)
        if self.queue:
            self.queue.popleft().set_result(None)
        else:
            self.free += 1


class Degrading(Simulated):
    """Throughput is best at `knee` calls at once, with half of what each alone would give."""

    def __init__(self, length: Length, knee: int) -> None:
        super().__init__(length)
        self.knee = knee

    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds * (1 + (self.in_flight / self.knee) ** 2))


class Limited(Simulated):
    """A token bucket: so many calls a second, and 429 beyond."""

    def __init__(self, length: Length, rate: float, burst: float, retry_after: float | None = None) -> None:
        super().__init__(length)
        self.limit, self.burst, self.retry_after = rate, burst, retry_after
        self.left, self.filled = burst, 0.0

    async def work(self, seconds: float) -> None:
        self.left = min(self.burst, self.left + (self.now - self.filled) * self.limit)
        self.filled = self.now
        if self.left < 1:
            self.refused += 1
            await asyncio.sleep(0.002)
            raise Transient("429", busy=True, retry_after=self.retry_after)
        self.left -= 1
        await asyncio.sleep(seconds)


class Chancy(Simulated):
    """Refuses a share of the calls, however many or few there are."""

    def __init__(self, length: Length, share: float) -> None:
        super().__init__(length)
        self.share, self.chance = share, random.Random(1)

    async def work(self, seconds: float) -> None:
        if self.chance.random() < self.share:
            self.refused += 1
            await asyncio.sleep(0.002)
            raise Transient("429", busy=True)
        await asyncio.sleep(seconds)


class Load:
    """Callers with one call after the other: as many as the limit and a quarter more, or a number."""

    def __init__(self, server: Simulated, *, start: int = 64, callers: int = 0, **more: int | None) -> None:
        self.server, self.halt = server, Halt()
        self.callers = callers
        self.seen: list[int] = []
        """Limits, one after the other."""
        self.endpoint = Endpoint("http://simulated", start, self.halt, changed=self._changed, **more)
        self._tasks: list[asyncio.Task[None]] = []
        self._more()

    async def run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def end(self) -> None:
        self.halt.stop(Stopped("interrupted", "interrupted"))
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, CallFailed):
                raise end
        assert self.endpoint.in_flight == self.endpoint.waiting == 0

    def _changed(self) -> None:
        self.seen.append(self.endpoint.limit)
        self._more()

    def _more(self) -> None:
        limit = self.endpoint.limit
        while len(self._tasks) < (self.callers or limit + limit // 4 + 2):
            self._tasks.append(asyncio.create_task(self._call()))

    async def _call(self) -> None:
        while True:
            await self.endpoint.call(self.server, Question("complete", prompt="?"), 1, 0, Budget())


# What the limits come to


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(
    ("slots", "seconds", "within"),
    [(8, 0.05, 30), (32, 0.1, 30), (256, 1.0, 60), (4, 1.0, 400)],
)
async def test_a_server_that_queues_is_kept_busy_and_not_much_more(clock, slots, seconds, within, heavy):
    server = Queueing(mixed(seconds, random.Random(3)) if heavy else same(seconds), slots)
    load = Load(server)
    await load.run(2 * within)
    tokens = sum(tokens for moment, tokens in server.done if moment >= within) / (20 if not heavy else 200)
    assert tokens / within >= 0.9 * slots / seconds
    if not heavy:
        assert load.endpoint.limit <= 3 * slots  # far more would only wait there
    await load.end()


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(("knee", "seconds", "within"), [(8, 0.02, 60), (64, 0.1, 30), (200, 0.5, 60)])
async def test_a_server_that_degrades_is_held_near_its_best(clock, knee, seconds, within, heavy):
    server = Degrading(mixed(seconds, random.Random(4)) if heavy else same(seconds), knee)
    load = Load(server)
    await load.run(2 * within)
    tokens = sum(tokens for moment, tokens in server.done if moment >= within) / (20 if not heavy else 200)
    assert tokens / within >= (0.8 if heavy else 0.9) * knee / 2 / seconds
    await load.end()


@pytest.mark.parametrize(
    ("rate", "burst", "seconds", "retry_after"),
    [(50, 10, 0.1, None), (50, 50, 0.1, 1.0), (200, 20, 0.01, None), (300, 30, 0.3, 0.05), (20, 5, 1.0, 0.05)],
)
async def test_a_hard_rate_limit_is_used_in_full_and_seldom_run_into(clock, rate, burst, seconds, retry_after):
    server = Limited(same(seconds), rate, burst, retry_after)
    load = Load(server)
    await load.run(40)
    before = server.refused
    await load.run(40)
    assert server.rate(40, 80) >= 0.9 * rate
    assert server.refused - before < 0.05 * rate * 40
    await load.end()


async def test_where_no_more_is_refused_the_pace_grows_to_it(clock):
    server = Limited(same(0.1), 20, 5)
    load = Load(server)
    await load.run(30)
    server.limit, server.burst = 100, 10
    await load.run(100)
    assert server.rate(100, 130) >= 0.9 * 100
    server.limit, server.burst = 10, 5
    await load.run(40)
    assert server.rate(150, 170) >= 0.85 * 10
    await load.end()


async def test_the_limit_grows_beyond_a_thousand_where_that_pays(clock):
    load = Load(Simulated(same(2.0)))
    await load.run(60)
    assert load.endpoint.limit >= 1024
    await load.end()


async def test_it_never_grows_beyond_the_most_that_a_backend_can_do(clock):
    load = Load(Simulated(same(0.1)), start=4, most=4)
    await load.run(60)
    assert load.server.peak <= 4
    assert load.endpoint.limit <= 4
    assert load.server.rate(30, 60) >= 0.9 * 40
    await load.end()


async def test_a_backend_says_how_much_it_can_do_and_a_user_what_holds():
    model, ledger, resized = Scripted(), Ledger(None, Budget(), Halt()), []
    ledger.on_room = lambda: resized.append(ledger.width)
    model.concurrency, model.most = 3, 5
    endpoint = bind("step", "role", model, ledger, None).endpoint
    assert (endpoint.limit, endpoint._climber.most, resized[-1]) == (3, 5, 5)
    second = Scripted()
    second.endpoint, second.most = model.endpoint, 2  # another model at the same address, of which less is wanted
    assert bind("step", "other", second, ledger, None).endpoint is endpoint
    assert (endpoint.limit, endpoint._climber.most, resized[-1]) == (2, 2, 4)
    fixed = bind("step", "role", model, Ledger(None, Budget(), Halt()), 7).endpoint
    assert (fixed.limit, fixed._climber, fixed._pacer) == (7, None, None)


async def test_a_limit_that_is_not_used_does_not_grow(clock):
    load = Load(Simulated(same(0.1)), callers=30)
    await load.run(60)
    assert load.seen == []
    assert load.endpoint.limit == 64
    await load.end()


@pytest.mark.parametrize("server", [lambda: Queueing(same(0.1), 100), lambda: Limited(same(0.1), 50, 10)])
async def test_what_the_user_fixed_stays(clock, server):
    load = Load(server(), fixed=16)
    await load.run(30)
    assert (load.endpoint.limit, load.seen, load.server.peak) == (16, [], 16)
    assert load.endpoint.note == ""
    await load.end()


async def test_every_change_of_the_limit_is_told(clock):
    load = Load(Queueing(same(0.05), 200))
    await load.run(10)
    assert load.seen[-1] == load.endpoint.limit
    assert all(a != b for a, b in itertools.pairwise(load.seen))
    assert max(load.seen) >= 200
    await load.end()


@pytest.mark.parametrize("share", [0.02, 0.1])
async def test_429s_that_come_by_chance_do_not_slow_everything_down(clock, share):
    server = Chancy(same(1.0), share)
    load = Load(server, callers=60)
    await load.run(120)
    assert server.rate(60, 120) >= 0.75 * 60
    await load.end()


async def test_a_burst_of_429s_is_one_piece_of_evidence(clock):
    server = Limited(same(5.0), 1000, 1)
    load = Load(server)
    await load.run(0.3)
    assert server.refused >= 60
    assert load.seen == [57]  # 0.9 of 64
    await load.end()


# The controllers alone


def test_a_calls_work_is_its_expected_time_whatever_its_length():
    chance, work = random.Random(0), Work()
    for _ in range(1000):
        tokens = chance.choice([10, 100, 4000])
        work.add(tokens, 0.5 + tokens * 0.01)
    mean = work.seconds
    assert work.of(1, 10) < 0.1
    assert work.of(1, 4000) == pytest.approx(40.5 / mean, rel=0.05)
    assert work.of(10, 10 * 4000) == pytest.approx(405 / mean, rel=0.05)


def test_where_tokens_say_nothing_about_time_calls_count():
    chance, work = random.Random(0), Work()
    for _ in range(2000):
        work.add(chance.choice([10, 100, 4000]), 2.0)
    assert work.of(5, 5 * 4000) == pytest.approx(5, rel=0.05)
    work = Work()
    for _ in range(10):
        work.add(0, 2.0)  # embeddings write nothing
    assert work.of(7, 0) == 7


def test_calls_that_write_nothing_are_some_work_among_others_that_do():
    chance, work = random.Random(0), Work()
    for _ in range(1000):
        tokens = chance.choice([10, 4000])
        work.add(tokens, tokens * 0.01)
    assert 0 < work.of(96, 0) < 0.06 * 96


def fed(
    climber: Climber, rates: Callable[[int], float], seconds: float, *, start: float = 0.0, crowded: bool = True
) -> list[int]:
    """A server that answers `rates(limit)` calls a second: the limits over time."""
    now, seen = start, [climber.limit]
    while now < start + seconds:
        now += 1 / rates(climber.limit)
        climber.done(now, 20, climber.limit / rates(climber.limit), crowded)
        if climber.limit != seen[-1]:
            seen.append(climber.limit)
    return seen


def test_the_climber_finds_the_knee_from_above_and_from_below():
    for start in (1, 64, 1000):
        climber = Climber(start)
        fed(climber, lambda limit: min(limit, 100) * 10.0, 60)
        assert 85 <= climber.limit <= 160


def test_the_climber_rests_longer_and_longer_where_nothing_is_to_be_gained():
    climber = Climber(100)
    early = len(fed(climber, lambda limit: min(limit, 100) * 1.0, 60))
    late = len(fed(climber, lambda limit: min(limit, 100) * 1.0, 300, start=60))
    assert early > 8
    assert late / 5 <= 4  # a trial is two changes


def test_the_climber_learns_nothing_from_a_limit_that_is_not_used():
    climber = Climber(64)
    assert fed(climber, lambda limit: limit * 1.0, 100, crowded=False) == [64]


def test_a_cut_of_the_limit_counts_once_a_round():
    climber = Climber(100)
    climber.work.add(20, 3.0)
    for now in (10.0, 10.5, 12.9):
        climber.refused(now)
    assert climber.limit == 90
    climber.refused(13.1)
    assert climber.limit == 81


def paced(pacer: Pacer, seconds: float, bucket: float, *, start: float = 0.0, burst: float = 1.0) -> tuple[int, int]:
    """Send as fast as the pacer lets, at most 200 a second, to a bucket: (taken, refused)."""
    now, left, filled, sent = start, burst, start, [0, 0]
    while now < start + seconds:
        now += max(pacer.wait(now), 0.005)
        pacer.take(now)
        left, filled = min(burst, left + (now - filled) * bucket), now
        refused = left < 1
        left -= not refused
        sent[refused] += 1
        if refused:
            pacer.refused(now, now)
    return sent[0], sent[1]


def test_the_pacer_holds_nothing_back_before_a_call_is_refused():
    pacer = Pacer()
    assert paced(pacer, 10, 1000.0)[1] == 0
    assert pacer.rate == math.inf


def test_the_pacer_stays_just_below_what_is_refused():
    pacer = Pacer()
    paced(pacer, 20, 40.0)
    taken, refused = paced(pacer, 100, 40.0, start=20.0)
    assert taken >= 0.93 * 40 * 100
    assert refused <= 0.02 * taken


def test_a_refused_pace_falls_once_and_comes_back_slowly_to_where_it_was():
    pacer = Pacer()
    pacer.cap(100.0)
    pacer.take(0.0)
    for _ in range(20):
        pacer.refused(0.1, 0.05)
    assert pacer.rate == pytest.approx(BETA * 100)
    now, rates = 0.1, []
    while now < 20:
        now += pacer.wait(now)
        pacer.take(now)
        rates.append((now, pacer.rate))
        pacer.wait(now)
    assert all(later >= earlier for (_, earlier), (_, later) in itertools.pairwise(rates))
    assert next(moment for moment, rate in rates if rate >= 98) < 4
    assert next(moment for moment, rate in rates if rate >= 102) > 5


def test_refusals_of_calls_that_were_sent_before_the_last_cut_are_no_new_evidence():
    pacer = Pacer()
    pacer.cap(100.0)
    pacer.take(9.0)
    pacer.refused(10.0, 9.9)
    pacer.take(11.0)
    rate = pacer.rate
    pacer.refused(11.5, 9.95)
    assert pacer.rate == rate
    pacer.refused(11.6, 11.0)
    assert pacer.rate < rate
