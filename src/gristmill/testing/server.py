"""An OpenAI-compatible server on loopback for tests and benchmarks: deterministic, countable, and faulty on request.

    async with Server(rate_limited=0.1) as server:         # in process
        ... openai:test@{server.url} ...
        assert server.repeated == 0
    with spawn("--latency", "0.05") as url: ...            # a process of its own
    python -m gristmill.testing.server --port 8000         # by hand; the first line printed is the URL

Promised: a sample's text is a function of the request's body and the sample's number in it; faults are decided by the
body and how often it came before (and `seed`), so neither the order of arrival nor time changes them. What limits the
server (`rate`, `slots`, `knee`, outages) goes by the loop's clock, and has no chance in it.
Not promised: HTTP beyond what clients of such servers send (no TLS, chunked bodies, pipelining or streaming).

A bare asyncio protocol: measured on one core of the machine it was written on, it answers about 3 times as many
requests as a handler of aiohttp.web, and in a benchmark the server must not be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from types import TracebackType
from typing import Any, cast

import msgspec

Body = dict[str, Any]

# 64 words, so that 6 bits of a digest choose one.
_WORDS = """
amber anchor apple arrow autumn basin beacon birch bridge candle canyon cedar circle cloud copper coral delta desert
dragon ember falcon feather forest garden glacier granite harbor hazel hollow island ivory jasmine kettle lantern ledger
linen lumber marble meadow mirror morning needle ocean orchard paper pebble pepper planet quarry quiet raven ribbon
river saddle shadow silver summer timber tunnel valley velvet walnut willow winter
"""
WORDS = _WORDS.split()

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nauthorization: *bearer +([^\r]*)", re.IGNORECASE)
_STATUS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Response(msgspec.Struct):
    """A whole HTTP answer, for a `fault` function that wants one of its own. A dict is sent as JSON."""

    status: int
    body: Body | bytes
    headers: dict[str, str] = {}


def error(status: int, message: str, *, code: str | None = None, param: str | None = None, **headers: str) -> Response:
    """An error in OpenAI's form; headers with "_" for "-"."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    return Response(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def words(body: bytes, sample: int) -> str:
    """What the server says unless told otherwise: 12 to 43 words, made from the body and the sample's number."""
    digest = blake2b(body, digest_size=44, salt=sample.to_bytes(8, "little")).digest()
    return " ".join([WORDS[byte & 63] for byte in digest[: 12 + digest[43] % 32]])


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector; texts that share words get vectors that are near each other."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        vector[int.from_bytes(digest[:3], "little") % dimensions] += 1.0 if digest[3] & 1 else -1.0
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    return [x / norm for x in vector]


class Server:
    """See the module. Rates are shares of requests, 0 to 1; times are seconds.

    Args:
        reply: text of a sample, from the request's body and the sample's number (0 to n-1). Default: `words`.
        fault: what goes wrong with a request, from its body and how often that body came before: a fault's name
            ("rate_limited", "server_error", "hang", "cut", "malformed"), a whole `Response`, or None. Asked before rates.
        latency, jitter: every answer waits for latency + up to jitter.
        rate_limited: answer 429 with `retry_after`.
        server_error: answer 500.
        hang: never answer.
        cut: close the connection in the middle of the body.
        malformed: answer 200 with JSON that breaks off.
        refuse: answer 400 for ever to bodies that hold this text.
        api_key: answer 401 to all others (and repeat their key in the message, as some providers do).
        slow_start: answer 503 for so long after the start.

    What it can bear; these can be combined:
        per_token: each word of an answer takes so long, besides `latency`.
        rate: requests a second, as a token bucket of the size `burst`; beyond it 429 at once, with `retry_after` (None:
            without). `limit_headers`: every answer has OpenAI's x-ratelimit-*-requests headers.
        slots: requests worked on at once; others queue, first come first served, without end (vLLM, llama.cpp).
        knee: requests at once beyond which throughput falls: with c of them each takes 1 + (c / knee)^2 times as long, so
            it is best at c = knee, with half of what one at a time would give times c.
        outage: (from, to) after the start: answer 503, or with `outage_cut` close the connection; requests in flight
            too. POST /_outage {"seconds": 5, "cut": false} begins one now.
    """

    def __init__(
        self,
        reply: Callable[[Body, int], str] | None = None,
        *,
        fault: Callable[[Body, int], str | Response | None] | None = None,
        port: int = 0,
        model: str = "test",
        latency: float = 0.0,
        jitter: float = 0.0,
        rate_limited: float = 0.0,
        retry_after: float | None = 0.05,
        server_error: float = 0.0,
        hang: float = 0.0,
        cut: float = 0.0,
        malformed: float = 0.0,
        refuse: str = "",
        api_key: str = "",
        slow_start: float = 0.0,
        per_token: float = 0.0,
        rate: float = 0.0,
        burst: int = 1,
        limit_headers: bool = False,
        slots: int = 0,
        knee: float = 0.0,
        outage: Sequence[float] = (0.0, 0.0),
        outage_cut: bool = False,
        dimensions: int = 32,
        seed: int = 0,
    ) -> None:
        self.reply, self.fault, self.port, self.model = reply, fault, port, model
        self.latency, self.jitter, self.retry_after, self.slow_start = latency, jitter, retry_after, slow_start
        self.refuse, self.api_key, self.dimensions, self.seed = refuse.encode(), api_key, dimensions, seed
        self.rates = {
            name: rate
            for name, rate in [
                ("rate_limited", rate_limited),
                ("server_error", server_error),
                ("hang", hang),
                ("cut", cut),
                ("malformed", malformed),
            ]
            if rate
        }
        self.per_token, self.slots, self.knee = per_token, slots, knee
        self.rate, self.burst, self.limit_headers = rate, burst, limit_headers
        self.outage, self.outage_cut = outage, outage_cut
        self._tokens, self._filled_at = float(burst), 0.0
        self._busy = 0
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self.reset()
        self._connections: set[_Connection] = set()
        self._broken: BaseException | None = None

    def reset(self) -> None:
        """Forget all counts, and with them how often each body came."""
        self.requests = 0
        """POSTs that came."""
        self.successes = 0
        """Answered with 200 and a whole body, on a connection that was still open."""
        self.samples = 0
        """Texts or vectors in them."""
        self.abandoned = 0
        """The client had gone before its answer was ready."""
        self.inflight = self.peak = 0
        """Requests waiting for their answer: now, and at most."""
        self.faults: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        """How often each body came, by its digest."""
        self.answered: Counter[str] = Counter()
        """How often each body was answered successfully."""

    @property
    def repeated(self) -> int:
        """Successful answers beyond the first to the same body: calls that a client paid for more than once."""
        return self.successes - len(self.answered)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def counts(self) -> Body:
        """What GET /_counts answers. `bodies`: successful answers for each body."""
        plain = ("requests", "successes", "samples", "repeated", "abandoned", "inflight", "peak")
        return {name: getattr(self, name) for name in plain} | {
            "distinct": len(self.answered),
            "faults": dict(self.faults),
            "bodies": dict(self.answered),
        }

    async def __aenter__(self) -> Server:
        self._loop = asyncio.get_running_loop()
        self._listener = await self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=2048, reuse_address=True
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        self._ready = time.monotonic() + self.slow_start
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._listener.wait_closed()
        if self._broken is not None and raised is None:
            raise self._broken  # an error in `reply` or `fault` is the test's own, and must not pass as a flaky server

    def _start(self) -> None:
        self._filled_at = start = self._loop.time()
        self._out = (start + self.outage[0], start + self.outage[1])

    def handle(self, connection: _Connection, head: bytes, body: bytes) -> None:
        """Response one request, now or later."""
        method, _, rest = head.partition(b" ")
        path = rest[: rest.find(b" ")].removeprefix(b"/v1")
        if method != b"POST":
            connection.send(self._get(path))
        elif path == b"/_reset":
            self.reset()
            connection.send(Response(200, {}))
        elif path == b"/_outage":
            asked = msgspec.json.decode(body, type=Body)
            self._out = (now := self._loop.time(), now + asked["seconds"])
            self.outage_cut = bool(asked.get("cut"))
            connection.send(Response(200, {}))
        else:
            self.requests += 1
            if self._fails(connection):
                return
            if self.rate and not self._admit():
                self.faults["over_rate"] += 1
                connection.send(self._too_many())
                return
            self.inflight += 1
            self.peak = max(self.peak, self.inflight)
            digest = blake2b(body, digest_size=16).hexdigest()
            before = self.seen[digest]
            self.seen[digest] = before + 1
            # Named by this body and its number: the same chance whatever came in between.
            chance = (
                blake2b(f"{self.seed} {digest} {before}".encode(), digest_size=8).digest() if self._by_chance else b""
            )
            delay = self.latency
            if self.jitter:
                delay += self.jitter * int.from_bytes(chance[:4], "little") / 2**32
            if self.per_token:
                delay += self.per_token * self._length(body)
            if self.knee:
                delay *= 1 + (self.inflight / self.knee) ** 2
            if self.slots:
                self._work(delay, partial(self._finish, connection, head, path, body, digest, before, chance))
            elif delay:
                self._loop.call_later(delay, self._finish, connection, head, path, body, digest, before, chance)
            else:
                self._finish(connection, head, path, body, digest, before, chance)

    def _fails(self, connection: _Connection) -> bool:
        """During an outage: answer so."""
        if not self._out[0] <= self._loop.time() < self._out[1]:
            return False
        self.faults["outage"] += 1
        if self.outage_cut:
            connection.transport.abort()
        else:
            connection.send(error(503, "Service unavailable"))
        return True

    def _admit(self) -> bool:
        """Take a token out of the bucket, if there is one."""
        now = self._loop.time()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _too_many(self) -> Response:
        answer = error(429, "Rate limit reached", code="rate_limit_exceeded")
        if self.retry_after is not None:
            answer.headers["retry-after"] = f"{self.retry_after:g}"
        return self._told(answer)

    def _told(self, answer: Response) -> Response:
        """With the headers that say what is left. As OpenAI's, `reset` is the time until the bucket is full again."""
        if self.limit_headers and self.rate:
            full = (self.burst - self._tokens) / self.rate
            answer.headers |= {
                "x-ratelimit-limit-requests": str(self.burst),
                "x-ratelimit-remaining-requests": str(int(self._tokens)),
                "x-ratelimit-reset-requests": f"{full:.3f}s" if full >= 1 else f"{full * 1000:.0f}ms",
            }
        return answer

    def _work(self, seconds: float, done: Callable[[], None]) -> None:
        """Take a slot for so long; queue for one if there is none."""
        if self._busy >= self.slots:
            self._queue.append((seconds, done))
            return
        self._busy += 1

        def free() -> None:
            self._busy -= 1
            done()
            if self._queue:
                self._work(*self._queue.popleft())

        self._loop.call_later(seconds, free)

    def _length(self, body: bytes) -> int:
        """Words of the longest sample: samples are written side by side."""
        asked = msgspec.json.decode(body, type=Body)
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or 1 << 30
        texts = [
            self.reply(asked, sample) if self.reply else words(body, sample) for sample in range(asked.get("n") or 1)
        ]
        return min(limit, max(text.count(" ") + 1 for text in texts))

    @property
    def _by_chance(self) -> bool:
        return bool(self.rates or self.jitter)

    def _finish(
        self, connection: _Connection, head: bytes, path: bytes, body: bytes, digest: str, before: int, chance: bytes
    ) -> None:
        self.inflight -= 1
        if connection.transport.is_closing():
            self.abandoned += 1
            return
        if self._fails(connection):
            return
        try:
            answer = self._answer(head, path, body, before, chance)
        except Exception as broken:  # noqa: BLE001 - raised again where the test ends
            self._broken = self._broken or broken
            answer = error(500, f"the test's own function failed: {broken!r}")
        if answer == "hang":
            self.faults["hang"] += 1
            return
        if isinstance(answer, str):  # "cut" or "malformed": a good answer, spoiled on its way
            self.faults[answer] += 1
            whole = msgspec.json.encode(self._good(path, body, msgspec.json.decode(body)))
            connection.send(Response(200, whole[: len(whole) // 2]), missing=answer == "cut")
        else:
            if answer.status == 200:
                self.successes += 1
                self.answered[digest] += 1
            connection.send(self._told(answer))

    def _answer(self, head: bytes, path: bytes, body: bytes, before: int, chance: bytes) -> Response | str:
        if self.slow_start and time.monotonic() < self._ready:
            self.faults["slow_start"] += 1
            return error(503, "Loading model")
        if self.api_key:
            key = _KEY.search(head)
            if key is None or key[1].decode("latin-1") != self.api_key:
                self.faults["wrong_key"] += 1
                return error(401, f"Incorrect API key provided: {key[1].decode('latin-1') if key else ''}")
        if self.refuse and self.refuse in body:
            self.faults["refuse"] += 1
            return error(400, "this request is refused", code="content_policy_violation")
        try:
            asked = msgspec.json.decode(body, type=Body)
        except msgspec.DecodeError as bad:
            return error(400, f"not a JSON object: {bad}")
        fault = self.fault(asked, before) if self.fault else None
        if fault is None and self.rates:
            point = int.from_bytes(chance[4:], "little") / 2**32
            for name, rate in self.rates.items():
                point -= rate
                if point < 0:
                    fault = name
                    break
        if fault is None:
            return Response(200, self._good(path, body, asked))
        if isinstance(fault, Response):
            self.faults[str(fault.status)] += fault.status != 200
            return fault
        if fault not in ("rate_limited", "server_error"):
            return fault
        self.faults[fault] += 1
        if fault == "rate_limited":
            return self._too_many()
        return error(500, "The server had an error")

    def _good(self, path: bytes, body: bytes, asked: Body) -> Body:
        used = len(body) // 4
        if path == b"/embeddings":
            texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
            self.samples += len(texts)
            return {
                "object": "list",
                "model": self.model,
                "data": [
                    {"object": "embedding", "index": i, "embedding": embedding(text, self.dimensions)}
                    for i, text in enumerate(texts)
                ],
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        chat = path == b"/chat/completions"
        if not chat and path != b"/completions":
            raise ValueError(f"{path.decode()}: no such endpoint; there are chat/completions, completions, embeddings")
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or 1 << 30
        choices, written = [], 0
        for sample in range(asked.get("n") or 1):
            text = self.reply(asked, sample) if self.reply else words(body, sample)
            length = text.count(" ") + 1  # a word is a token here
            finish = "stop"
            if length > limit:
                text, length, finish = " ".join(text.split(" ")[:limit]), limit, "length"
            written += length
            choice: Body = {"index": sample, "finish_reason": finish, "logprobs": None}
            if asked.get("logprobs"):
                choice["logprobs"] = _logprobs(text, asked, chat)
            if chat:
                choice["message"] = {"role": "assistant", "content": text}
            else:
                choice["text"] = text
            choices.append(choice)
        self.samples += len(choices)
        return {
            "id": "test",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": self.model,
            "choices": choices,
            "usage": {"prompt_tokens": used, "completion_tokens": written, "total_tokens": used + written},
        }

    def _get(self, path: bytes) -> Response:
        if path == b"/_counts":
            return Response(200, self.counts())
        if path == b"/models":
            return Response(200, {"object": "list", "data": [{"id": self.model, "object": "model"}]})
        return error(404, f"{path.decode('latin-1')}: no such page; there are /v1/models and /_counts")


class _Connection(asyncio.Protocol):
    """One keep-alive connection: cuts its bytes into requests."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server._connections.add(self)

    def connection_lost(self, reason: Exception | None) -> None:
        self.server._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.unread = self.unread + data if self.unread else data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            head = self.unread[:end]
            length = _LENGTH.search(head)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(self.unread) < stop:
                return
            body, self.unread = self.unread[end + 4 : stop], self.unread[stop:]
            self.server.handle(self, head, body)

    def send(self, answer: Response, *, missing: bool = False) -> None:
        """`missing`: announce more bytes than come, and close."""
        body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
        if answer.status == 200 and not answer.headers:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        else:
            lines = [
                f"HTTP/1.1 {answer.status} {_STATUS.get(answer.status, 'Error')}",
                "Content-Type: application/json",
            ]
            lines += [f"{name}: {value}" for name, value in answer.headers.items()]
            head = "\r\n".join(lines).encode("latin-1").replace(b"%", b"%%") + b"\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (len(body) + missing) + body)
        if missing:
            self.transport.close()


def _logprobs(text: str, asked: Body, chat: bool) -> Body:
    """Words as tokens; a word's probability comes from its letters, so it is the same wherever it stands."""
    tokens = [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]
    values = [-(sum(token.encode("utf-8", "surrogatepass")) % 97 + 1) / 100 for token in tokens]
    rivals = (asked.get("top_logprobs") or 0) if chat else int(asked["logprobs"])
    tops = [
        {token: value} | {f" {WORDS[i]}": value - 1 - i for i in range(rivals - 1)}
        for token, value in zip(tokens, values, strict=True)
    ]
    if not chat:
        offsets = list(itertools.accumulate([len(token) for token in tokens[:-1]], initial=0))
        return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}
    return {
        "content": [
            {
                "token": token,
                "logprob": value,
                "bytes": None,
                "top_logprobs": [{"token": t, "logprob": v} for t, v in top.items()] if rivals else [],
            }
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]
    }


@contextlib.contextmanager
def spawn(*options: str) -> Iterator[str]:
    """A server in a process of its own: its URL. It ends with the block, and also when this process is killed."""
    # By its file: as a module it would import the package first, engine and all. -P: its folder is no place for imports.
    command = [sys.executable, "-P", __file__, "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (url := process.stdout.readline().strip()):
                raise RuntimeError(f"the test server ended at once: {' '.join(command)}")
            yield url
        finally:
            process.terminate()


def counts(url: str, *, reset: bool = False) -> Body:
    """The counts of a server in another process; `reset` also clears them."""
    from urllib.request import ProxyHandler, Request, build_opener

    opener = build_opener(ProxyHandler({}))  # a proxy of the environment is none for loopback
    base = url.removesuffix("/v1")
    with opener.open(f"{base}/_counts", timeout=30) as answer:
        found: Body = json.load(answer)
    if reset:
        opener.open(Request(f"{base}/_reset", b""), timeout=30).close()
    return found


def start_outage(url: str, seconds: float, *, cut: bool = False) -> None:
    """Begin an outage of a server in another process."""
    from urllib.request import ProxyHandler, Request, build_opener

    body = json.dumps({"seconds": seconds, "cut": cut}).encode()
    build_opener(ProxyHandler({})).open(Request(f"{url.removesuffix('/v1')}/_outage", body), timeout=30).close()


def _function(place: str) -> Callable[[Body, int], Any]:
    """`file.py:name` -> the function."""
    path, _, name = place.rpartition(":")
    spec = importlib.util.spec_from_file_location("replies", path)
    if spec is None or spec.loader is None:
        raise argparse.ArgumentTypeError(f"{place}: expected FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Callable[[Body, int], Any], getattr(module, name))


def _seconds_or_none(text: str) -> float | None:
    return None if text == "none" else float(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m gristmill.testing.server", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--reply", type=_function, metavar="FILE.py:FUNCTION")
    parser.add_argument("--fault", type=_function, metavar="FILE.py:FUNCTION")
    for name in ("port", "dimensions", "seed", "burst", "slots"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    for name in ("latency", "jitter", "rate-limited", "server-error", "per-token", "rate", "knee"):
        parser.add_argument(f"--{name}", type=float, default=argparse.SUPPRESS)
    for name in ("hang", "cut", "malformed", "slow-start"):
        parser.add_argument(f"--{name}", type=float, default=argparse.SUPPRESS)
    for name in ("model", "refuse", "api-key"):
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS)
    parser.add_argument("--retry-after", type=_seconds_or_none, default=argparse.SUPPRESS, metavar="SECONDS|none")
    parser.add_argument("--outage", type=float, nargs=2, default=argparse.SUPPRESS, metavar=("FROM", "TO"))
    for name in ("limit-headers", "outage-cut"):
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS)
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    options = vars(parser.parse_args(arguments))
    until_eof = options.pop("until_eof")

    async def serve() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(done.set)

        async with Server(**options) as server:
            print(server.url, flush=True)
            if until_eof:
                threading.Thread(target=wait, daemon=True).start()
            await done.wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
