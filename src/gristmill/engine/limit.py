"""How many calls at once and how many a second, learnt from what an endpoint does. Pure logic: no clock, no I/O.

Two controllers, for two kinds of wall:

- `Climber` sets the number of calls at once, by hill climbing on throughput. It needs no word from the server, so it
  works for those that queue (vLLM, llama.cpp never say 429) and for those that get slower the more they are asked.
- `Pacer` sets the number of calls a second, by the cubic form of AIMD, once there are refusals (429). A limit of R
  requests a second cannot be met by calls at once alone: where a call takes 10 ms, even one at a time is 100 a second.

Promised: O(1) a call. Data is not shaped: all that is decided here is when a call is sent.
Not promised: the global optimum. A throughput curve with two peaks may hold it at the first.
"""

from __future__ import annotations

import math

MOST = 2048
"""Calls at once, whatever the endpoint bears."""
WINDOW = 0.5
"""Seconds that a measurement takes at least: shorter ones measure this machine's hiccups."""
SAMPLE = 96
"""Calls that a measurement takes at least."""
KNEE = 0.2
"""Elasticity of throughput (its relative change by that of the limit) from which more calls at once are worth it. Ideal
are 1 below the knee and 0 beyond; in between, a step of 1.25 passes the knee by no more than 5 % of throughput."""
FINE, COARSE = 1.25, 2.0
"""Factors of the smallest and the largest step."""
LONGEST_HOLD = 16
"""Measurements between two trials, once trials in both directions fail again and again."""
BLEND = 0.75
"""How much of a limit's last measurement counts in the next: the longer it is kept, the surer."""
HOPELESS = 0.6
"""Share of the base's throughput below which a trial is ended early."""
DECREASE = 0.9
"""Factor of the limit at a 429: mild, for the pacer takes its share."""


class Work:
    """What calls are worth in time, so that 10 tokens and 4000 can be compared: a + b * tokens, by least squares.

    Counting calls alone, a window with two long replies looks slow; counting tokens alone, one of many short replies
    does. Older calls fade out, with a half-life of 350.
    """

    FADE = 1 - 1 / 512

    def __init__(self) -> None:
        self._n = self._t = self._s = self._tt = self._ts = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        fade = self.FADE
        self._n = self._n * fade + 1
        self._t = self._t * fade + tokens
        self._s = self._s * fade + seconds
        self._tt = self._tt * fade + tokens * tokens
        self._ts = self._ts * fade + tokens * seconds

    @property
    def seconds(self) -> float:
        """The mean of a call."""
        return self._s / self._n if self._n else 0.0

    def of(self, calls: float, tokens: float) -> float:
        """The work of some calls with so many tokens together, in mean calls."""
        n, mean = self._n, self._t / self._n
        variance = self._tt / n - mean * mean
        if variance <= 1e-9 * mean * mean or self._s <= 0:
            return calls
        slope = (self._ts / n - mean * self._s / n) / variance
        # Of the time, what goes with the tokens: never all of it, for a call without any is some work, too.
        share = min(0.95, max(0.0, slope * mean * n / self._s))
        return calls * (1 - share) + tokens / mean * share if mean else calls


class Climber:
    """Calls at once, by hill climbing: measure, try another limit, measure again, keep it if it was worth it.

    A measurement is a whole number of rounds (as many answers as there are places), so that calls that run in step do
    not make it a matter of luck how many rounds fall into it, and begins a round after the limit changed. It counts
    only if the limit was really used: calls waited for a place all the time.

    Args:
        start: where to begin.
        most: the largest limit.
    """

    def __init__(self, start: int, most: int = MOST) -> None:
        self.most = max(1, most)
        self.limit = min(max(1, start), self.most)
        self.work = Work()
        self._base = self.limit
        """The best limit so far; `limit` is another one during a trial."""
        self._base_rate: tuple[float, float, float] = (0, 0, 0)
        """Calls, tokens and seconds of the base's last measurement. Kept apart, for what they are worth may change."""
        self._up = True
        self._step = COARSE
        self._hold = 0
        self._pause = 1
        self._goal = 0
        """After an outage: the limit to come back to, without trials. 0: none."""
        self._cut_at = -math.inf
        self._need = 0
        """Answers that the measurement at hand takes."""
        self._watch(0.0)

    def at_most(self, most: int) -> None:
        """A smaller largest limit."""
        self.most = max(1, min(self.most, most))
        self._base, self.limit = min(self._base, self.most), min(self.limit, self.most)

    def done(self, now: float, tokens: int, seconds: float, crowded: bool, paced: bool = False) -> None:
        """A call was answered. `crowded`: others wait for its place. `paced`: a pacer is at work."""
        self.work.add(tokens, seconds)
        self._calls += 1
        self._tokens += tokens
        self._crowded += crowded
        if self._settling:
            if self._calls >= self._settling:
                self._watch(now, settling=0)
        elif self._calls >= self._need:
            if now - self._since < WINDOW and now > self._since:
                # As many rounds as will fill the window, by what was seen of it.
                rounds = math.ceil(self._calls * (WINDOW / (now - self._since)) / self.limit)
                self._need = max(self._need + self.limit, min(rounds * self.limit, 4 * self._need))
            else:
                self._judge(now, paced)
        elif self.limit != self._base and self._calls & 15 == 0 and self._lags(now):
            self._judge(now)

    def refused(self, now: float) -> None:
        """A 429. Only the first of a round counts: the others were sent before anything could be learnt from it."""
        if now - self._cut_at < max(1.0, self.work.seconds):
            return
        self._cut_at = now
        self._set(now, max(1, math.floor(self._base * DECREASE)))

    def restart(self, now: float) -> None:
        """After an outage: a quarter of what it was, then double each round until it is what it was."""
        self._goal = max(self._goal, self._base)
        self._set(now, max(1, self._goal // 4))

    def _set(self, now: float, limit: int) -> None:
        """A new base, of which nothing is known yet."""
        self._base = self.limit = limit
        self._base_rate = (0, 0, 0)
        self._up, self._step, self._hold, self._pause = True, FINE, 0, 1
        self._watch(now)

    def _watch(self, now: float, *, settling: int | None = None) -> None:
        """Begin to count. While settling, answers are still those of the old limit."""
        self._settling = max(self.limit, self._base) if settling is None else settling
        self._calls = self._tokens = self._crowded = 0
        self._since = now
        self._need = self.limit * max(2, math.ceil(SAMPLE / self.limit))

    def _lags(self, now: float) -> bool:
        """A trial with far less throughput than its base is decided early: there, a full one would take long."""
        calls, _, seconds = self._base_rate
        return self._calls >= max(32, self.limit // 2) and self._calls * seconds < HOPELESS * calls * (
            now - self._since
        )

    def _judge(self, now: float, paced: bool = False) -> None:
        calls, tokens, seconds = self._calls, self._tokens, now - self._since
        if paced and 0.1 * calls < self._crowded < 0.9 * calls:
            # The pace is the wall. Calls that happen to be long must not run into another one before it.
            self._base = self.limit = min(self.most, math.ceil(self._base * FINE))
            self._watch(now)
        elif self._crowded < 0.9 * calls or seconds <= 0:
            self.limit = self._base  # more places than calls: nothing to be learnt
            self._watch(now, settling=0)
        elif self._goal:
            self._base = self.limit = min(2 * self.limit, self._goal)
            self._goal = 0 if self.limit == self._goal else self._goal
            self._watch(now)
        elif self.limit == self._base:
            self._base_rate = self._blend(calls, tokens, seconds)
            if self._hold > 0:
                self._hold -= 1
                self._watch(now, settling=0)
            else:
                self._try(now)
        elif self._worth(calls, tokens, seconds):
            self._base, self._base_rate = self.limit, (calls, tokens, seconds)
            self._step = min(COARSE, self._step**1.5)
            self._pause = 1
            self._try(now)
        else:
            self.limit = self._base
            self._up = not self._up
            if self._step > FINE:
                self._step = max(FINE, math.sqrt(self._step))
            else:
                self._hold = self._pause
                self._pause = min(LONGEST_HOLD, 2 * self._pause)
            self._watch(now)

    def _blend(self, calls: int, tokens: int, seconds: float) -> tuple[float, float, float]:
        """With what was measured at this limit before."""
        old = self._base_rate
        return calls + BLEND * old[0], tokens + BLEND * old[1], seconds + BLEND * old[2]

    def _try(self, now: float) -> None:
        for _ in range(2):
            if self._up:
                self.limit = min(self.most, max(self._base + 1, round(self._base * self._step)))
            else:
                self.limit = max(1, min(self._base - 1, round(self._base / self._step)))
            if self.limit != self._base:
                break
            self._up = not self._up  # at an end of the range
        self._watch(now)

    def _worth(self, calls: int, tokens: int, seconds: float) -> bool:
        """Whether the limit on trial is better than the base: more throughput, or hardly less with fewer calls."""
        base_calls, base_tokens, base_seconds = self._base_rate
        before = self.work.of(base_calls, base_tokens) / base_seconds
        after = self.work.of(calls, tokens) / seconds
        gain, growth = math.log(after / before), math.log(self.limit / self._base)
        return gain > (KNEE if growth > 0 else KNEE / 2) * growth


BETA = 0.85
"""Factor of the pace at a 429."""
CALM = (4.0, 30.0)
"""Seconds in which the pace comes back to where it was refused: at first, and when that was the same again and again."""
SEEK = 0.22
"""Growth a second of the first estimate (the exponent: 25 %), until it is refused."""
ROUND = 1.0
"""Seconds of evidence: refusals within them are one."""
SLACK = 0.05
"""Seconds that a late timer may catch up."""
SLOWEST = 0.2
"""Calls a second."""
DEAF = (30.0, 600.0)
"""Seconds for which refusals are taken for chance, once slowing down did not make them fewer: first, and at most."""


class Pacer:
    """Calls a second. None is held back until calls are refused.

    As CUBIC does (RFC 9438; AWS's SDKs pace by it, too): falls to 85 % of where it was refused, comes back there fast,
    stays about there for long, then looks beyond. In the mean that is 95 to 98 % of a limit.
    """

    def __init__(self) -> None:
        self.rate = math.inf
        """Calls a second now."""
        self._peak = math.inf
        """Where calls were refused last; infinite until a pace was."""
        self._first = math.inf
        """The first estimate of it."""
        self._calm = CALM[0]
        self._age = 0.0
        """Seconds of real use since the rate was cut: what is not used proves nothing."""
        self._next = self._taken_at = -math.inf
        self._held = False
        # The evidence at hand: since when, what was sent and refused, and when it is too old.
        self._since = self._stale = -math.inf
        self._sent = self._refused = 0
        self._cut_at = -math.inf
        # Cuts in a row: what was sent a second and the share refused before them; what was sent and refused since then,
        # once that was far less.
        self._before = (0.0, 0.0)
        self._later = (0, 0)
        self._deaf_until = -math.inf
        self._deaf = DEAF[0]

    def wait(self, now: float) -> float:
        """Seconds until a call may be sent."""
        if self._next <= now:
            return 0.0
        self._held = True
        return self._next - now

    def take(self, now: float) -> None:
        """A call is sent."""
        if now > self._stale:
            self._begin(now)
        self._sent += 1
        if self.rate == math.inf:
            return
        if self._held:
            self._age += min(ROUND, now - self._taken_at)
            self._held = False
            if self._age > 2 * self._calm and self._peak < math.inf:
                # Far beyond the old limit: there must be a new one. Look for it, as in the beginning.
                self._first, self._peak, self._age = self.rate, math.inf, 0.0
            self.rate = self._due()
        self._taken_at = now
        self._next = max(self._next, now - SLACK) + 1 / self.rate

    def _due(self) -> float:
        if self._peak == math.inf:
            return self._first * math.exp(self._age * SEEK)
        return self._peak * (1 + (1 - BETA) * math.pow(self._age / self._calm - 1, 3))

    def _begin(self, now: float) -> None:
        self._since, self._stale = now, now + 2 * ROUND
        self._sent = self._refused = 0

    def cap(self, rate: float) -> None:
        """The endpoint itself tells how many calls a second it takes."""
        rate = max(rate, SLOWEST)
        if self.rate > rate:
            self.rate = self._peak = rate
            self._age = self._calm

    def refused(self, now: float, sent: float, asked: float = 0.0) -> bool:
        """A 429 to a call sent then, with the wait that it asked for, in seconds. Whether it says anything: not where
        429s come by chance."""
        if now < self._deaf_until:
            return False
        if now > self._stale:
            self._begin(now)
        elif sent < self._since:
            return True  # sent before the last cut: the same evidence again
        self._refused += 1
        self._stale = max(self._stale, now + asked + 3 * ROUND)
        # A pace that is refused was too fast. With no pace yet, a second of evidence tells which it should be.
        if now - (self._since if self.rate == math.inf else self._cut_at) < ROUND:
            return True
        elapsed = now - self._since
        share = self._refused / max(1, self._sent, self._refused)
        accepted = max(SLOWEST, (self._sent - self._refused) / max(ROUND, elapsed))
        again = now - self._cut_at < asked + 5 * ROUND
        self._cut_at = now
        # With a pace, it tells what was sent a second: what was counted has waits in it that were asked for.
        sending = self.rate if self.rate < math.inf else self._sent / max(ROUND, elapsed)
        if self._in_vain(again, sending):
            self._deaf_until, self._deaf = now + self._deaf, min(DEAF[1], 2 * self._deaf)
            self.rate = self._peak = math.inf
            self._next = -math.inf
            return False
        if self.rate == math.inf:
            self.rate = self._first = accepted
            self._calm = max(CALM[0], 2 * asked)
        else:
            # Where many were refused, those that were not are the limit; where few were, it is about here.
            many = self._refused >= 3 and share > 0.2 and elapsed > ROUND / 2
            peak = min(self.rate, max(accepted, self.rate / 2)) if many else self.rate
            same = abs(peak / self._peak - 1) < 0.15
            # The dearer a refusal, the rarer it is risked.
            self._calm = min(CALM[1] + 20 * asked, 1.6 * self._calm) if same else max(CALM[0], self._calm / 2)
            self._peak = max(SLOWEST, peak)
            self.rate = BETA * self._peak
        self._age = 0.0
        self._begin(now)
        return True

    def _in_vain(self, again: bool, sending: float) -> bool:
        """Whether cuts in a row did not make refusals fewer, as they do where there is a limit."""
        if not again:
            self._before, self._later = (sending, self._refused / max(1, self._sent, self._refused)), (0, 0)
            return False
        before, share = self._before
        if sending > 0.6 * before:
            return False
        sent, refused = self._later = (self._later[0] + self._sent, self._later[1] + self._refused)
        expected = max(0.0, 1 - before * (1 - share) / max(sending, SLOWEST))
        return sent >= 100 and refused / sent > (share + expected) / 2
