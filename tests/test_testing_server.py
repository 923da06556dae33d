"""The loopback server: deterministic, countable, faulty on request."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import aiohttp
import pytest

from gristmill.testing.server import Response, Server, counts, error, spawn, start_outage


def chat(text, **more):
    return {"model": "test", "messages": [{"role": "user", "content": text}], **more}


async def post(server, body, path="chat/completions", **headers):
    """Status, headers and JSON of one answer, on a connection of its own."""
    url = server if isinstance(server, str) else server.url
    async with aiohttp.ClientSession() as session, session.post(f"{url}/{path}", json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


async def texts(server, body, **more):
    return [choice["message"]["content"] for choice in (await post(server, body, **more))[2]["choices"]]


async def test_a_text_is_a_function_of_body_and_sample_number_and_of_nothing_else():
    async with Server() as one:
        first = await texts(one, chat("a", n=3))
        assert await texts(one, chat("b")) != await texts(one, chat("c"))
    async with Server(latency=0.01, jitter=0.01, seed=9) as other:
        await texts(other, chat("b"))
        assert await texts(other, chat("a", n=3)) == first
    assert len(set(first)) == 3


async def test_a_function_of_the_user_answers_instead():
    async with Server(lambda body, sample: f"{body['messages'][0]['content']} {sample}") as server:
        assert await texts(server, chat("hello", n=2)) == ["hello 0", "hello 1"]


async def test_an_error_in_the_users_function_fails_the_test_and_not_only_the_request():
    with pytest.raises(ZeroDivisionError):
        async with Server(lambda body, sample: str(1 // sample)) as server:
            assert (await post(server, chat("a")))[0] == 500


async def test_max_tokens_cuts_and_says_so_and_usage_counts_words():
    async with Server(lambda body, sample: "one two three") as server:
        answer = (await post(server, chat("a", max_completion_tokens=2)))[2]
    assert answer["choices"][0]["message"]["content"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


async def test_it_counts_what_was_answered_and_how_often_the_same():
    async with Server(refuse="bad") as server:
        for text in ("a", "b", "a", "bad"):
            await post(server, chat(text, n=2))
        assert (server.requests, server.successes, server.samples, server.repeated) == (4, 3, 6, 1)
        assert sorted(server.answered.values()) == [1, 2]
        seen_outside = await asyncio.to_thread(counts, server.url, reset=True)
        assert (seen_outside["successes"], seen_outside["distinct"], seen_outside["faults"]) == (3, 2, {"refuse": 1})
        assert server.requests == 0


async def test_the_most_requests_at_once_are_counted():
    async with Server(latency=0.1) as server:
        await asyncio.gather(*(post(server, chat(str(i))) for i in range(5)))
        assert (server.peak, server.inflight) == (5, 0)


async def test_an_answer_whose_client_went_away_does_not_count():
    async with Server(latency=0.2) as server:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(server, chat("a")), 0.05)
        await asyncio.sleep(0.3)
        assert (server.successes, server.abandoned, server.inflight) == (0, 1, 0)


async def test_faults_by_rate_hit_the_same_requests_in_any_order_and_their_share():
    async def statuses(order):
        async with Server(rate_limited=0.2, server_error=0.2, seed=3) as server:
            return {text: (await post(server, chat(text)))[0] for text in order}

    names = [str(i) for i in range(100)]
    forwards, backwards = await statuses(names), await statuses(names[::-1])
    assert forwards == backwards
    # Two draws of 100 at 0.2: outside of 5 to 40 with a chance below one in ten thousand, and the seed is fixed.
    assert all(5 < list(forwards.values()).count(status) < 40 for status in (429, 500))


async def test_a_retry_of_a_faulty_request_gets_through():
    async with Server(server_error=0.5) as server:
        for i in range(20):
            for _ in range(20):
                if (await post(server, chat(str(i))))[0] == 200:
                    break
        assert len(server.answered) == 20
        assert server.faults["server_error"] > 0


async def test_a_429_says_when_to_come_back():
    async with Server(rate_limited=1, retry_after=2.5) as server:
        status, headers, _ = await post(server, chat("a"))
    assert (status, headers["Retry-After"]) == (429, "2.5")


async def test_a_fault_function_sees_the_body_and_how_often_it_came():
    def fault(body, before):
        return error(418, "tea", code="pot", retry_after="7") if body["model"] == "test" and before < 2 else None

    async with Server(fault=fault) as server:
        answers = [await post(server, chat("a")) for _ in range(3)]
    assert [status for status, _, _ in answers] == [418, 418, 200]
    assert answers[0][1]["Retry-After"] == "7"
    assert answers[0][2]["error"]["code"] == "pot"


async def test_a_fault_function_may_give_any_answer():
    async with Server(fault=lambda body, before: Response(200, b'{"choices": []}')) as server:
        assert (await post(server, chat("a")))[2] == {"choices": []}


async def test_hang_never_answers_cut_breaks_the_body_and_malformed_is_no_json():
    async with Server(fault=lambda body, before: body["messages"][0]["content"]) as server:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(server, chat("hang")), 0.2)
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(server, chat("cut"))
        with pytest.raises(ValueError):
            await post(server, chat("malformed"))
        assert server.successes == 0
        assert server.faults == {"hang": 1, "cut": 1, "malformed": 1}


async def test_a_marked_body_is_refused_however_often_it_comes():
    async with Server(refuse="POISON") as server:
        assert [(await post(server, chat("a POISON b")))[0] for _ in range(3)] == [400] * 3
        assert (await post(server, chat("a b")))[0] == 200


async def test_a_key_can_be_required():
    async with Server(api_key="right") as server:
        assert (await post(server, chat("a")))[0] == 401
        assert (await post(server, chat("a"), Authorization="Bearer wrong"))[0] == 401
        assert (await post(server, chat("a"), Authorization="Bearer right"))[0] == 200


async def test_a_slow_start_answers_503_first():
    async with Server(slow_start=0.2) as server:
        assert (await post(server, chat("a")))[0] == 503
        await asyncio.sleep(0.25)
        assert (await post(server, chat("a")))[0] == 200


class Loop:
    """A loop whose time is set by hand; what is to happen later is kept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay, function, *arguments) -> None:
        self.later.append((self.now + delay, partial(function, *arguments)))

    def go(self, until: float) -> None:
        while due := sorted((entry for entry in self.later if entry[0] <= until), key=lambda entry: entry[0]):
            self.later.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = until


class Wire:
    """A connection that keeps what was sent over it, and when."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.transport, self.closed = loop, self, False
        self.sent: list[tuple[float, Response]] = []

    def send(self, answer, *, missing=False) -> None:
        self.sent.append((self.loop.now, answer))

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def by_hand(**options) -> tuple[Server, Loop, Callable[[str], Wire]]:
    """A server without a network: (it, its loop, a function that asks)."""
    server, loop = Server(**options), Loop()
    server._loop = loop
    server._start()

    def ask(text: str, path: str = "/v1/chat/completions", **body) -> Wire:
        wire = Wire(loop)
        server.handle(wire, f"POST {path} HTTP/1.1".encode(), json.dumps(body or chat(text)).encode())
        return wire

    return server, loop, ask


def test_a_rate_is_a_token_bucket_and_what_is_beyond_is_429_at_once():
    server, loop, ask = by_hand(rate=10, burst=3)
    assert [ask(str(number)).sent[0][1].status for number in range(5)] == [200, 200, 200, 429, 429]
    loop.now = 0.25
    assert [ask(str(number)).sent[0][1].status for number in range(4)] == [200, 200, 429, 429]
    loop.now = 100.0
    assert [ask(str(number)).sent[0][1].status for number in range(4)] == [200, 200, 200, 429]
    assert (server.requests, server.successes, server.faults) == (13, 8, {"over_rate": 5})


def test_a_429_says_when_to_come_back_unless_told_not_to_and_headers_say_what_is_left():
    _, loop, ask = by_hand(rate=10, burst=2, retry_after=1.5, limit_headers=True)
    first = ask("a").sent[0][1]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert (first.headers["x-ratelimit-remaining-requests"], first.headers["x-ratelimit-reset-requests"]) == (
        "1",
        "100ms",
    )
    ask("b")
    refused = ask("c").sent[0][1]
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining-requests"]) == ("1.5", "0")
    _, loop, ask = by_hand(rate=1, burst=1, retry_after=None)
    ask("a")
    assert ask("b").sent[0][1].headers == {}
    loop.now = 1.0
    assert ask("c").sent[0][1].status == 200


def test_with_slots_requests_queue_and_are_served_in_the_order_they_came():
    server, loop, ask = by_hand(slots=2, latency=1.0)
    wires = [ask(str(number)) for number in range(5)]
    loop.go(10)
    assert [wire.sent[0][0] for wire in wires] == [1, 1, 2, 2, 3]
    assert (server.peak, server.inflight) == (5, 0)
    again = ask("again")
    loop.go(20)
    assert again.sent[0][0] == 11


def test_beyond_the_knee_throughput_falls():
    rates = {}
    for at_once in (1, 4, 8, 16, 32):
        server, loop, ask = by_hand(knee=8, latency=1.0)
        server.inflight = at_once - 1  # others
        wire = ask("a")
        loop.go(1e6)
        rates[at_once] = at_once / wire.sent[0][0]
    assert max(rates, key=rates.get) == 8
    assert rates[8] == pytest.approx(4)
    assert rates[1] < rates[4] < rates[8] > rates[16] > rates[32]


def test_a_long_answer_takes_longer_where_tokens_take_time():
    _, loop, ask = by_hand(reply=lambda body, sample: "one two three", latency=1.0, per_token=0.5)
    wire = ask("a")
    loop.go(10)
    assert wire.sent[0][0] == 2.5
    cut = ask("", **chat("a", max_tokens=2))
    loop.go(20)
    assert cut.sent[0][0] == 12


def test_an_outage_refuses_all_and_what_was_in_flight_when_it_began():
    server, loop, ask = by_hand(latency=1.0, outage=(2, 4))
    good = ask("a")
    loop.go(1.5)
    caught = ask("b")
    loop.go(3)
    refused = ask("c")
    loop.go(4)
    back = ask("d")
    loop.go(6)
    assert [wire.sent[0][1].status for wire in (good, caught, refused, back)] == [200, 503, 503, 200]
    assert refused.sent[0][0] == 3
    assert (server.faults, server.inflight) == ({"outage": 2}, 0)


def test_an_outage_can_be_begun_from_outside_and_close_connections():
    _, loop, ask = by_hand()
    loop.now = 50.0
    ask("", "/v1/_outage", seconds=2, cut=True)
    refused = ask("a")
    assert (refused.sent, refused.closed) == ([], True)
    loop.now = 52.0
    assert ask("b").sent[0][1].status == 200


async def test_a_server_of_its_own_process_takes_limits_and_outages():
    with spawn("--rate", "0.001", "--burst", "2", "--retry-after", "none", "--limit-headers") as url:
        found = [await post(url, chat(str(number))) for number in range(3)]
        assert [status for status, _, _ in found] == [200, 200, 429]
        assert "retry-after" not in found[2][1]
        assert found[1][1]["x-ratelimit-remaining-requests"] == "0"
    with spawn("--slots", "1", "--knee", "4", "--per-token", "0.001", "--outage", "0", "0") as url:
        assert (await post(url, chat("a")))[0] == 200
        await asyncio.to_thread(start_outage, url, 60)
        assert (await post(url, chat("a")))[0] == 503


async def test_embeddings_are_unit_vectors_and_nearer_for_texts_that_share_words():
    async with Server(dimensions=64) as server:
        body = {"model": "test", "input": ["the red fox jumps", "the red fox sleeps", "interest rates rose"]}
        answer = (await post(server, body, "embeddings"))[2]
        one, near, far = (entry["embedding"] for entry in answer["data"])
        assert server.samples == 3
    assert sum(x * x for x in one) == pytest.approx(1)
    assert sum(x * y for x, y in zip(one, near, strict=True)) > sum(x * y for x, y in zip(one, far, strict=True))


async def test_logprobs_have_the_form_of_their_endpoint():
    async with Server(lambda body, sample: "one two") as server:
        spoken = (await post(server, chat("a", logprobs=True, top_logprobs=2)))[2]["choices"][0]
        raw = (await post(server, {"prompt": "a", "logprobs": 2}, "completions"))[2]["choices"][0]
    tokens = spoken["logprobs"]["content"]
    assert [token["token"] for token in tokens] == raw["logprobs"]["tokens"] == ["one", " two"]
    assert [token["logprob"] for token in tokens] == raw["logprobs"]["token_logprobs"]
    assert len(tokens[0]["top_logprobs"]) == len(raw["logprobs"]["top_logprobs"][0]) == 2
    assert raw["logprobs"]["text_offset"] == [0, 3]


async def test_it_lists_its_model_and_names_what_there_is_for_an_unknown_page():
    async with Server(model="mine") as server, aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/models") as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["mine"]
        async with session.get(f"{server.url}/nothing") as answer:
            assert answer.status == 404
            assert "/v1/models" in await answer.text()


async def test_requests_that_come_in_pieces_or_together_are_told_apart():
    async with Server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        one = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-LENGTH: 15\r\n\r\n" + b'{"messages":[]}'
        writer.write(one[:30])
        await asyncio.sleep(0.05)
        writer.write(one[30:70])
        await asyncio.sleep(0.05)
        writer.write(one[70:] + one)
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()
        assert server.repeated == 1


async def test_a_server_of_its_own_process_answers_alike_and_takes_options(tmp_path):
    (tmp_path / "replies.py").write_text("def echo(body, sample):\n    return body['messages'][0]['content']\n")
    with spawn("--reply", f"{tmp_path / 'replies.py'}:echo", "--refuse", "POISON") as url:
        assert await texts(url, chat("hello")) == ["hello"]
        assert (await post(url, chat("POISON")))[0] == 400
        assert (await asyncio.to_thread(counts, url))["requests"] == 2
    with spawn() as url:
        alone = await texts(url, chat("a"))
    async with Server() as server:
        assert await texts(server, chat("a")) == alone


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_server_of_its_own_process_ends_when_its_user_is_killed():
    code = (
        "import importlib.util as u, sys, time\n"
        "spec = u.spec_from_file_location('server', sys.argv[1]); m = u.module_from_spec(spec)\n"
        "sys.modules['server'] = m; spec.loader.exec_module(m)\n"
        "with m.spawn() as url: print(url, flush=True); time.sleep(60)\n"
    )
    path = sys.modules[spawn.__module__].__file__
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as user:
        url = user.stdout.readline().strip()
        assert counts(url)["requests"] == 0
        os.kill(user.pid, signal.SIGKILL)
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            counts(url)
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("it still answers")
