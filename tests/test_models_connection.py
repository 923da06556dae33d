"""The HTTP client against servers that send given bytes: whole, cut, hostile, silent, encrypted, behind proxies."""

import asyncio
import contextlib
import errno
import gc
import gzip
import itertools
import logging
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import BadInput, EndpointDown, Transient
from gristmill.models import connection as module
from gristmill.models.connection import Broken, Client, Unreachable
from gristmill.models.http import Http, _proxy, retry_after

BODY = b'{"choices": [{"text": "four"}]}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
KEY = "sk-verysecret0123456789"


@pytest.fixture(autouse=True)
def nothing_escapes_into_the_event_loop(caplog, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


class Peer:
    """A connection as its server sees it."""

    def __init__(self, server: "Raw", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    async def request(self) -> bytes:
        """The next request, whole; kept in `server.requests`."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        request = head + (await self.reader.readexactly(int(length[1])) if length else b"")
        self.server.requests.append(request)
        return request

    async def send(self, *pieces: bytes) -> None:
        """Each piece arrives by itself: client and server share a loop, and loopback delivers at once."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await turns(3)

    async def gone(self) -> None:
        """Until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass
        self.server.left += 1

    def reset(self) -> None:
        self.writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        self.writer.transport.abort()


Talk = Callable[[Peer], Awaitable[None]]


class Raw:
    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.left = 0
        """Connections that the client closed, as far as `gone` waited for it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def secure_url(self) -> str:
        return f"https://localhost:{self.port}/v1"


@contextlib.asynccontextmanager
async def served(talk: Talk, *, tls: ssl.SSLContext | None = None):
    """A server that leaves each of its connections to `talk`, and closes it after."""
    server, tasks = Raw(), []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        server.peers.append(Peer(server, reader, writer))
        try:
            await talk(server.peers[-1])
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # it ends here in any case; the loop would complain of a handler that was cancelled
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls, backlog=512)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in server.peers:
            with contextlib.suppress(AttributeError):  # asyncio's, where the transport is gone already
                peer.writer.transport.abort()
        await turns(5)


@contextlib.asynccontextmanager
async def opened(url: str, *, timeout: float = 10, proxy: str | None = None, **headers: str):  # noqa: ASYNC109
    client = Client(url, headers, timeout=timeout, proxy=proxy)
    try:
        yield client
    finally:
        client.close()
        await turns(5)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def always(*pieces: bytes, then: str = "") -> Talk:
    """Answer every request with these pieces. `then` "close": only one; "stay": only one, and keep the line open."""

    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)
            if then == "close":
                return
            if then == "stay":
                await peer.gone()
                return

    return talk


async def answer(*pieces: bytes, then: str = "close"):
    """What a client makes of these bytes."""
    async with served(always(*pieces, then=then)) as server, opened(server.url) as client:
        return await client.post("/x", b"{}")


async def broken(*pieces: bytes, then: str = "stay") -> str:
    """The words of the Broken that these bytes become at once, though the connection stays open."""
    with pytest.raises(Broken) as caught:  # and not the TimeoutError that a hang would end in
        await answer(*pieces, then=then)
    return str(caught.value)


# Reading

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b'5;name="a;b"\r\nabcde\r\n1 \r\n\r\r\n009\r\n\n0\r\n\r\nfgh\r\n0;last\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n'
)
PACKED = gzip.compress(BODY, mtime=0)
ANSWERS = {
    "length": (GOOD, 200, BODY),
    "no reason": (b"HTTP/1.1 201\r\ncontent-LENGTH:3  \r\n\r\nabc", 201, b"abc"),
    "empty": (b"HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\n\r\n", 500, b""),
    "chunked": (CHUNKED, 200, b"abcde\r\n0\r\n\r\nfgh"),
    "chunked, empty": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 200, b""),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\n" + BODY, 200, BODY),
    "1.0": (b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + BODY, 200, BODY),
    "after 1xx": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + GOOD, 200, BODY),
    "204": (b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
    "gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(PACKED), PACKED),
        200,
        BODY,
    ),
    "deflate, until the end": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: Deflate\r\n\r\n" + zlib.compress(BODY),
        200,
        BODY,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_cut_at_any_byte_is_read_as_if_it_came_whole(name):
    data, status, body = ANSWERS[name]
    cuts = iter([(data,)] + [(data[:at], data[at:]) for at in range(1, len(data))])

    async def talk(peer):
        for pieces in cuts:
            await peer.request()
            await peer.send(*pieces)
            if "until the end" in name or name == "1.0":
                return

    async with served(talk) as server, opened(server.url) as client:
        for _ in range(len(data)):
            found, headers, read = await client.post("/x", b"{}")
            assert (found, read) == (status, body)
            assert all(key == key.lower() for key in headers)


async def test_pieces_arrive_as_pieces_in_these_tests(monkeypatch):
    seen = []
    real = module._Connection.data_received

    def spy(self, data):
        seen.append(bytes(data))
        real(self, data)

    monkeypatch.setattr(module._Connection, "data_received", spy)
    pieces = [GOOD[i : i + 1] for i in range(len(GOOD))]
    assert (await answer(*pieces))[2] == BODY
    assert seen == pieces


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_an_answer_in_any_pieces_is_read_as_if_it_came_whole(name, cuts):
    data, status, body = ANSWERS[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges) if a < b]
    found, _, read = asyncio.run(answer(*pieces))
    assert (found, read) == (status, body)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: GOOD[:40] + tail)),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
def test_no_bytes_whatever_raise_anything_but_broken(data, start):
    with contextlib.suppress(Broken):
        asyncio.run(answer(start + data))


async def test_headers_come_in_lower_case_trimmed_and_joined_where_they_repeat():
    _, headers, _ = await answer(
        b"HTTP/1.1 200 OK\r\nX-A:  one two\t\r\nx-a:three\r\nEmpty:\r\nUmlaut: \xfc\r\nContent-Length: 0\r\n\r\n"
    )
    assert headers == {"x-a": "one two, three", "empty": "", "umlaut": "ü", "content-length": "0"}


async def test_50_megabytes_in_small_pieces_take_time_in_proportion():
    async def cost(size: int, head: bytes, tail: bytes = b"") -> float:
        body = bytes(size)

        async def talk(peer):
            await peer.request()
            for piece in (head, *(body[at : at + (64 << 10)] for at in range(0, size, 64 << 10)), tail):
                peer.writer.write(piece)
                await peer.writer.drain()

        async with served(talk) as server, opened(server.url) as client:
            started = time.process_time()
            assert (await client.post("/x", b""))[2] == body
            return time.process_time() - started

    small, large = 6 << 20, 48 << 20
    for head, tail in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", b"\r\n0\r\n\r\n"),
    ):
        one = min([await cost(small, head % small, tail) for _ in range(3)])
        eight = min([await cost(large, head % large, tail) for _ in range(2)])
        assert eight < max(30 * one, 2.0), (one, eight)  # eight times as much; where it is quadratic, 64 times


# Hostile

HEADS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "another version": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a blank before": b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "an empty line before": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1  OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 020 OK\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "one bare line feed": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "bare line feeds at the end": b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\n{}",
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": b"HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 0\r\n\r\n",
    "a blank in a name": b"HTTP/1.1 200 OK\r\nX Content-Length: 0\r\n\r\n",
    "a blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: 0\r\nContent-Length: 0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 0\r\n\r\n",
    "a name that is not ASCII": b"HTTP/1.1 200 OK\r\nContent-L\xe4nge: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n{}",
    "an endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding after a vertical tab": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x81\x05hello",
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_malformed_head_is_broken_at_once(name):
    await broken(HEADS[name])


CHUNKS = {
    "no size": b"hello\r\n",
    "a negative size": b"-1\r\nhello",
    "a signed size": b"+1\r\na\r\n0\r\n\r\n",
    "0x": b"0x1\r\na\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\na\r\n0\r\n\r\n",
    "a blank before": b" 1\r\na\r\n0\r\n\r\n",
    "an empty line": b"\r\n0\r\n\r\n",
    "more than a size": b"1a b\r\na\r\n0\r\n\r\n",
    "nine digits": b"000000001\r\na\r\n0\r\n\r\n",
    "nine digits, many": b"FFFFFFFFF\r\nhello",
    "bare line feeds": b"1\na\n0\n\n",
    "more than it says": b"1\r\nab\r\n0\r\n\r\n",
    "a line feed in an extension": b"1;x\ny\r\na\r\n0\r\n\r\n",
    "an endless extension": b"1;" + b"x" * 70_000,
    "an endless size": b"7" * 70_000,
    "an endless trailer": b"0\r\nX: " + b"x" * 70_000,
    "endless trailers": b"0\r\n" + b"X: y\r\n" * 20_000,
}


@pytest.mark.parametrize("name", CHUNKS)
async def test_malformed_chunks_are_broken_at_once(name):
    said = await broken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS[name])
    assert "chunk" in said or "more than" in said


LINES = {
    "blanks and a bare line feed": b"A:" + b" " * 60_000 + b"\nB: c\r\n",
    "words and a bare line feed": b"A: " + b"x " * 30_000 + b"\nB: c\r\n",
    "blanks": b"A:" + b" \t" * 30_000 + b"x\r\n",
    "a name without an end": b"a" * 60_000 + b"\r\n",
    "many fields of one name": b"a:\r\n" * 15_000,
    "many fields and a bare carriage return": b"a:\r\n" * 15_000 + b"\r",
}


@pytest.mark.parametrize("name", LINES)
async def test_no_head_takes_long_to_read(name):
    started = time.process_time()
    with contextlib.suppress(Broken):
        await answer(b"HTTP/1.1 200 OK\r\n" + LINES[name] + b"Content-Length: 0\r\n\r\n")
    assert time.process_time() - started < 5  # of CPU: milliseconds where it is linear, minutes where it is not


@pytest.mark.parametrize("size", [1 << 10, 300 << 10])
async def test_a_head_over_its_limit_is_refused_whole_or_in_pieces(size, monkeypatch):
    monkeypatch.setattr(module, "MAX_HEAD", 600)
    head = b"HTTP/1.1 200 OK\r\nA: " + b"x" * size + b"\r\nContent-Length: 0\r\n\r\n"
    assert "600 bytes" in await broken(head)
    assert "600 bytes" in await broken(*(head[at : at + 100] for at in range(0, 1000, 100)))
    assert (await answer(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 500 + b"\r\nContent-Length: 0\r\n\r\n"))[0] == 200


TOO_LARGE = {
    "by its length": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + bytes(500) + b"\r\n1f5\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001),
    "unpacked": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    % (len(gzip.compress(bytes(1001))), gzip.compress(bytes(1001))),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_body_over_its_limit_is_refused_before_it_is_taken(name, monkeypatch):
    monkeypatch.setattr(module, "MAX_BODY", 1000)
    assert "1000" in await broken(TOO_LARGE[name])


BADLY_PACKED = {
    "cut": (b"gzip", PACKED[:-9]),
    "twice in a row": (b"gzip", PACKED + PACKED),
    "plain, said to be gzip": (b"gzip", b"plain"),
    "plain, said to be deflate": (b"deflate", b"plain"),
    "unknown": (b"br", b"plain"),
    "twice": (b"gzip, gzip", gzip.compress(PACKED, mtime=0)),
}


@pytest.mark.parametrize("name", BADLY_PACKED)
@pytest.mark.parametrize("length", [True, False])
async def test_a_body_that_cannot_be_unpacked_whole_is_broken(name, length):
    coding, packed = BADLY_PACKED[name]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding
    head += b"\r\nContent-Length: %d" % len(packed) if length else b""
    await broken(head + b"\r\n\r\n" + packed, then="stay" if length else "close")


# Connections


async def test_a_connection_is_used_again():
    async with served(always(GOOD)) as server, opened(server.url) as client:
        for _ in range(5):
            assert (await client.post("/x", b"{}"))[2] == BODY
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("data", "connections"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\na", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close\r\n\r\na", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", 3),  # more than an answer
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" + GOOD, 3),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nb", 3),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n", 3),
    ],
)
async def test_a_connection_is_kept_only_where_the_answer_leaves_it_clean(data, connections):
    async with served(always(data)) as server, opened(server.url) as client:
        for _ in range(3):
            status, _, body = await client.post("/x", b"{}")
            assert (status, body) == (200, b"a")
        assert len(server.peers) == connections


async def test_what_comes_unasked_over_an_idle_connection_is_nobodys_answer():
    async def talk(peer):
        await peer.request()
        await peer.send(GOOD)
        await asyncio.sleep(0.01)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await peer.gone()

    async with served(talk) as server, opened(server.url) as client:
        assert (await client.post("/x", b"{}"))[2] == BODY
        await until(lambda: server.left)
        assert (await client.post("/x", b"{}"))[2] == BODY
        assert len(server.peers) == 2


async def test_an_answer_before_the_request_is_out_ends_the_connection():
    async def talk(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with served(talk) as server, opened(server.url) as client:
        assert (await client.post("/x", bytes(50 << 20)))[0] == 413
        await until(lambda: server.left)
        assert not client._idle


@pytest.mark.parametrize("part", [b"", GOOD[:-1], b"HTTP/1.0 413 Too Large\r\n\r\nno"])
async def test_a_server_that_ends_its_side_while_the_request_goes_out_is_not_sent_the_rest(part):
    read = 0

    async def talk(peer):
        nonlocal read
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(part)
        peer.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while data := await peer.reader.read(1 << 16):
                read += len(data)
                await asyncio.sleep(0.001)

    async with served(talk) as server, opened(server.url) as client:
        if part.endswith(b"no"):
            assert (await client.post("/x", bytes(60 << 20)))[::2] == (413, b"no")
        else:
            with pytest.raises(Broken):
                await client.post("/x", bytes(60 << 20))
        await turns(5)
        assert not client._all
    assert read < 40 << 20


@pytest.mark.parametrize("wait", [0.02, 0])
async def test_an_idle_connection_that_the_server_closed_is_replaced_and_the_request_sent_once(wait):
    async with served(always(GOOD, then="close")) as server, opened(server.url) as client:
        for number in range(5):
            assert (await client.post(f"/{number}", b"{}"))[2] == BODY
            if wait:
                await asyncio.sleep(wait)
        assert [request.split()[1] for request in server.requests] == [b"/v1/%d" % n for n in range(5)]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_request_that_an_idle_connection_swallowed_is_sent_exactly_once_more(end):
    async def talk(peer):
        if len(server.peers) > 10:  # only the ten first close when they are asked again
            await always(GOOD)(peer)
        await peer.request()
        await asyncio.sleep(0.02)
        await peer.send(GOOD)
        await peer.request()
        if end == "reset":
            peer.reset()

    async with served(talk) as server, opened(server.url) as client:
        await asyncio.gather(*(client.post("/first", b"{}") for _ in range(10)))
        assert len(client._idle) == 10
        assert (await client.post("/second", b"{}"))[2] == BODY
        assert [request.split()[1] for request in server.requests[10:]] == [b"/v1/second"] * 2
        assert len(server.peers) == 11


async def test_a_server_that_swallows_every_request_is_sent_each_at_most_twice():
    async def talk(peer):
        await peer.request()
        if len(server.peers) <= 5:
            await asyncio.sleep(0.02)
            await peer.send(GOOD)
            await peer.request()

    async with served(talk) as server, opened(server.url) as client:
        await asyncio.gather(*(client.post("/first", b"{}") for _ in range(5)))
        with pytest.raises(Broken):
            await client.post("/second", b"{}")
        assert len(server.requests) == 5 + 2


async def test_a_connection_that_closes_as_it_is_taken_is_replaced(monkeypatch):
    """The server's end has been read, and `connection_lost` comes with the next turn of the loop: between them."""
    async with served(always(GOOD)) as server, opened(server.url) as client:
        await client.post("/x", b"{}")
        [idle] = client._idle
        idle.transport.close()
        assert (await client.post("/x", b"{}"))[2] == BODY
        await turns(2)
        idle = client._idle[0]
        idle.data_received(b"unasked")
        assert (await client.post("/x", b"{}"))[2] == BODY
        assert len(server.peers) == len(server.requests) == 3


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("part", [b"H", GOOD[:20], GOOD[:-1], CHUNKED[:-1], b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("used", [False, True])
async def test_a_connection_that_breaks_after_part_of_an_answer_is_broken_and_not_asked_again(part, end, used):
    async def talk(peer):
        if used:
            await peer.request()
            await peer.send(GOOD)
        await peer.request()
        await peer.send(part)
        if end == "reset":
            peer.reset()

    async with served(talk) as server, opened(server.url) as client:
        if used:
            await client.post("/x", b"{}")
        with pytest.raises(Broken):
            await client.post("/x", b"{}")
        assert len(server.requests) == 1 + used
        assert not client._all


async def test_a_new_connection_that_ends_without_an_answer_is_broken_and_not_asked_again():
    async def talk(peer):
        await peer.request()

    async with served(talk) as server, opened(server.url) as client:
        with pytest.raises(Broken):
            await client.post("/x", b"{}")
        assert len(server.requests) == 1


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"H", b"x"])
async def test_a_server_that_is_silent_or_drips_holds_a_call_no_longer_than_its_timeout(drip):
    async def talk(peer):
        await peer.request()
        if drip == b"x":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        end = asyncio.create_task(peer.gone())
        while drip not in (b"", b"H") and not end.done():
            await peer.send(drip)
            await asyncio.sleep(0.01)
        await end

    async with served(talk) as server, opened(server.url, timeout=0.1) as client:
        with pytest.raises(TimeoutError):
            await client.post("/x", b"{}")
        await until(lambda: server.left)
        assert not client._all
        assert len(server.requests) == 1


async def test_an_answer_that_comes_with_its_timeout_is_kept_and_its_connection_is_not(monkeypatch):
    real = module._Connection.data_received

    def late(self, data):
        real(self, data)
        self._fail(TimeoutError())

    monkeypatch.setattr(module._Connection, "data_received", late)
    async with served(always(GOOD)) as server, opened(server.url) as client:
        for _ in range(2):
            assert (await client.post("/x", b"{}"))[2] == BODY
            assert not client._idle
        assert len(server.peers) == 2


async def test_a_connection_that_ends_with_its_answer_is_not_kept(monkeypatch):
    real = module._Connection.data_received

    def ending(self, data):
        real(self, data)
        self.transport.abort()
        self.connection_lost(None)

    monkeypatch.setattr(module._Connection, "data_received", ending)
    async with served(always(GOOD)) as server, opened(server.url) as client:
        assert (await client.post("/x", b"{}"))[2] == BODY
        assert not client._idle


async def test_a_timeout_that_was_not_needed_hurts_no_later_call():
    async with served(always(GOOD)) as server, opened(server.url, timeout=0.05) as client:
        for _ in range(4):
            await client.post("/x", b"{}")
            await asyncio.sleep(0.03)
        assert len(server.peers) == 1


async def test_a_call_that_is_cancelled_closes_its_connection():
    async def talk(peer):
        await peer.request()
        await peer.gone()

    async with served(talk) as server, opened(server.url) as client:
        call = asyncio.create_task(client.post("/x", b"{}"))
        await until(lambda: server.requests)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: server.left)
        assert not client._all


# asyncio itself forgets a socket that was connected just as the call was cancelled; it is closed, with this warning.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
@pytest.mark.parametrize("kept", [False, True])
async def test_a_call_may_be_cancelled_at_any_moment(kept):
    async with served(always(GOOD[:30], GOOD[30:])) as server, opened(server.url) as client:
        for moment in range(40):
            if kept:
                await client.post("/x", b"{}")
            else:
                client.close()
                client._closed = False
                await turns(3)
            call = asyncio.create_task(client.post("/x", b"{}"))
            await turns(moment)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert (await call)[2] == BODY
            await turns(3)
            assert client._all == set(client._idle)
            assert (await client.post("/x", b"{}"))[2] == BODY
            assert len(client._idle) == 1
        gc.collect()


async def test_200_calls_at_once_each_get_their_own_answer():
    async def talk(peer):
        while True:
            name = (await peer.request()).split()[1]
            await asyncio.sleep(0.01)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name), name)

    async with served(talk) as server, opened(server.url) as client:
        for _ in range(2):
            answers = await asyncio.gather(*(client.post(f"/{n}", b"{}") for n in range(200)))
            assert [body for _, _, body in answers] == [b"/v1/%d" % n for n in range(200)]
        assert len(server.peers) == 200
        assert len(client._idle) == len(client._all) == 200
        for peer in server.peers:
            peer.writer.close()
        await until(lambda: not client._idle)
        assert not client._all


async def test_close_fails_the_calls_in_flight_and_sends_none_again():
    async def talk(peer):
        await peer.request()
        if len(server.requests) <= 5:
            await peer.send(GOOD)
            await peer.request()
        await peer.gone()

    async with served(talk) as server, opened(server.url) as client:
        await asyncio.gather(*(client.post("/x", b"{}") for _ in range(5)))
        calls = [asyncio.create_task(client.post("/x", b"{}")) for _ in range(10)]
        await until(lambda: len(server.requests) == 15)
        calls += [asyncio.create_task(client.post("/x", b"{}")) for _ in range(5)]  # these are still connecting
        await turns(2)
        before = len(server.requests)
        client.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {Broken}
        await turns(5)
        assert len(server.requests) == before
        assert not client._all


async def test_two_clients_on_one_server_share_nothing():
    async with served(always(GOOD)) as server, opened(server.url) as one, opened(server.url) as other:
        await one.post("/x", b"{}")
        await other.post("/x", b"{}")
        assert len(server.peers) == 2


# What is sent


async def sent(url: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as a proxy gets to see it, which needs no name resolved."""
    async with served(always(GOOD)) as proxy, opened(url, proxy=proxy.url, **headers) as client:
        await client.post(path, body)
        return proxy.requests[0]


async def test_a_request_is_exactly_this():
    async with served(always(GOOD)) as server, opened(server.url, Authorization=f"Bearer {KEY}") as client:
        await client.post("/chat/completions", b'{"a": "\xc3\xbc"}')
        assert server.requests == [
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n"
            b'Authorization: Bearer %b\r\nContent-Length: 11\r\n\r\n{"a": "\xc3\xbc"}' % (server.port, KEY.encode())
        ]


@pytest.mark.parametrize(
    ("url", "path", "line", "host"),
    [
        ("http://example.test/v1", "/x", b"http://example.test/v1/x", b"example.test"),
        ("http://EXAMPLE.test:80/v1", "/x", b"http://example.test:80/v1/x", b"example.test:80"),
        ("http://[::1]/v1", "/x", b"http://[::1]/v1/x", b"[::1]"),
        ("http://[FE80::1%25eth0]:8000/v1", "/x", b"http://[fe80::1]:8000/v1/x", b"[fe80::1]:8000"),
        ("http://müller.test:81/v1", "/x", b"http://xn--mller-kva.test:81/v1/x", b"xn--mller-kva.test:81"),
        ("http://例え.test/v1", "/x", b"http://xn--r8jz45g.test/v1/x", b"xn--r8jz45g.test"),
        ("http://h.test/a b/ü", "/x y", b"http://h.test/a%20b/%C3%BC/x%20y", b"h.test"),
        ("http://h.test/v1", "/a%20b", b"http://h.test/v1/a%20b", b"h.test"),
        ("http://h.test/v1", "/x?y#z", b"http://h.test/v1/x%3Fy%23z", b"h.test"),
        ("http://user:pass@h.test/v1", "/x", b"http://h.test/v1/x", b"h.test"),
        (
            "http://h.test/v1",
            "/x HTTP/1.1\r\nEvil: 1\r\n\r\n",
            b"http://h.test/v1/x%20HTTP/1.1%0D%0AEvil:%201%0D%0A%0D%0A",
            b"h.test",
        ),
    ],
)
async def test_hosts_and_paths_are_written_as_the_wire_has_them(url, path, line, host):
    request = await sent(url, path)
    assert request.startswith(b"POST " + line + b" HTTP/1.1\r\nHost: " + host + b"\r\n")
    assert request.count(b"\r\n\r\n") == 1
    assert b"pass" not in request


async def test_an_empty_body_has_a_length_of_zero():
    assert (await sent("http://h.test", "/x")).endswith(b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\rb", "a\0b", "a\x7fb"])
async def test_a_header_cannot_hold_another_and_the_error_does_not_show_it(value):
    async with served(always(GOOD)) as server, opened(server.url, Authorization=f"{KEY}{value}") as client:
        with pytest.raises(ValueError) as caught:
            await client.post("/x", b"{}")
        assert "secret" not in str(caught.value)
        assert not server.peers


@pytest.mark.parametrize("url", ["http://", "http:///v1", "http://:80/v1"])
async def test_an_address_without_a_host_is_not_taken_for_this_machine(url):
    async with opened(url) as client:
        with pytest.raises(ValueError):
            await client.post("/x", b"{}")


async def test_a_peer_that_vanishes_without_a_word_is_noticed_by_the_system():
    async with served(always(GOOD)) as server, opened(server.url) as client:
        await client.post("/x", b"{}")
        sock = client._idle[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


@pytest.mark.parametrize("name", ["length", "chunked", "until the end", "gzip"])
async def test_a_server_with_a_trusted_certificate_is_asked(trusted, name):
    data, status, body = ANSWERS[name]
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    end = "close" if name == "until the end" else ""
    async with (
        served(always(*pieces, then=end), tls=certified(trusted, "localhost")) as server,
        opened(server.secure_url) as client,
    ):
        for _ in range(3):
            found, _, read = await client.post("/x", b"{}")
            assert (found, read) == (status, body)
        assert len(server.peers) == (3 if end else 1)


@pytest.mark.parametrize("why", ["untrusted", "of another host", "expired"])
async def test_a_server_without_a_good_certificate_gets_nothing(trusted, why):
    if why == "untrusted":
        context = certified(trustme.CA(), "localhost")
    elif why == "expired":
        import datetime

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        before = datetime.datetime(2020, 1, 1)
        trusted.issue_cert("localhost", not_before=before, not_after=before).configure_cert(context)
    else:
        context = certified(trusted, "other.test", "127.0.0.1")
    async with served(always(GOOD), tls=context) as server:
        async with opened(server.secure_url) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.post("/x", b"{}")
            assert not client._all
        http = Http(server.secure_url, timeout=5)
        await http.open(KEY)
        with pytest.raises(EndpointDown, match="no secure connection"):
            await http.post("/x", b"{}")
        await http.close()
        assert server.requests == []


@pytest.mark.parametrize("hostile", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_that_speaks_no_tls_may_be_tried_again_and_gets_no_request(hostile):
    came = []

    async def talk(peer):
        came.append(await peer.reader.read(1 << 16))
        await peer.send(hostile)

    async with served(talk) as server:
        http = Http(server.secure_url, timeout=5)
        await http.open(KEY)
        with pytest.raises(Transient) as caught:
            await http.post("/x", b"{}")
        assert caught.value.unreachable
        await http.close()
        assert KEY.encode() not in b"".join(came)


async def test_a_server_that_never_answers_the_handshake_is_unreachable(trusted, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.1)

    async def talk(peer):
        await peer.gone()

    async with served(talk) as server, opened(server.secure_url) as client:
        with pytest.raises(Unreachable, match="no connection within"):
            await client.post("/x", b"{}")
        await until(lambda: server.left)


# Proxies


def tunnel(*answer: bytes, target: int = 0) -> Talk:
    """A proxy that joins the client to the port on loopback; `server.requests` also gets every byte that passes."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(*answer)
        if not target:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", target)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    peer.server.requests.append(data)
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.transport.abort()

    return talk


async def test_a_proxy_gets_the_whole_address_and_its_own_password():
    async with served(always(GOOD)) as proxy:
        way = proxy.url.replace("http://", "http://me%40home:p%3Aw@")
        async with opened("http://target.test:81/v1", proxy=way) as client:
            for _ in range(2):
                await client.post("/x", b"{}")
        assert len(proxy.peers) == 1
        assert proxy.requests[0].startswith(b"POST http://target.test:81/v1/x HTTP/1.1\r\nHost: target.test:81\r\n")
        assert b"\r\nProxy-Authorization: Basic bWVAaG9tZTpwOnc=\r\n" in proxy.requests[0]  # me@home:p:w


@pytest.mark.parametrize(
    "established",
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n",),
        (b"HTTP/1.0 200 Connection established\r\n", b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",),
        (b"HTTP/1.1 201 Fine\r\nContent-Length: 99\r\n\r\n",),
    ],
)
async def test_through_a_tunnel_the_key_never_reaches_the_proxy_and_the_password_never_the_target(trusted, established):
    async with (
        served(always(GOOD), tls=certified(trusted, "localhost")) as server,
        served(tunnel(*established, target=server.port)) as proxy,
        opened(server.secure_url, proxy=proxy.url.replace("//", "//me:pw@"), Authorization=KEY) as client,
    ):
        for _ in range(3):
            assert (await client.post("/x", b"{}"))[2] == BODY
        assert len(proxy.peers) == len(server.peers) == 1
        host = b"localhost:%d" % server.port
        assert proxy.requests[0] == (
            b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n" % (host, host)
        )
        assert not any(KEY.encode() in data or b"/v1/x" in data for data in proxy.requests)
        assert len(server.requests) == 3
        for request in server.requests:
            assert request.startswith(b"POST /v1/x HTTP/1.1\r\n")
            assert KEY.encode() in request
            assert b"proxy" not in request.lower()


@pytest.mark.parametrize("secure", [False, True])
async def test_a_proxy_of_https_is_spoken_to_in_tls_only(trusted, secure):
    came = []

    async def deaf(peer):
        came.append(await peer.reader.read(1 << 16))

    async with served(always(GOOD), tls=certified(trusted, "localhost")) as server:
        way = tunnel(b"HTTP/1.1 200 OK\r\n\r\n", target=server.port) if secure else always(GOOD)
        async with (
            served(way, tls=certified(trusted, "localhost")) as proxy,
            served(deaf) as plain,
        ):
            url = server.secure_url if secure else "http://target.test/v1"
            async with opened(url, proxy=proxy.secure_url.replace("//", "//me:pw@")) as client:
                for _ in range(2):
                    assert (await client.post("/x", b"{}"))[2] == BODY
                assert len(proxy.peers) == 1
            async with opened(url, proxy=plain.secure_url.replace("//", "//me:pw@")) as client:
                with pytest.raises((ssl.SSLError, Unreachable)):
                    await client.post("/x", b"{}")
            assert came[0][:1] == b"\x16"  # a handshake
            assert b"Proxy-Authorization" not in came[0]


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("https://[::1]/v1", b"CONNECT [::1]:443 HTTP/1.1"),
        ("https://müller.test:8443/v1", b"CONNECT xn--mller-kva.test:8443 HTTP/1.1"),
    ],
)
async def test_a_tunnel_is_asked_for_by_the_name_as_the_wire_has_it(url, line):
    async with served(tunnel(b"HTTP/1.1 502 No\r\n\r\n")) as proxy, opened(url, proxy=proxy.url) as client:
        with pytest.raises(Unreachable, match=r"127.0.0.1 answered 502"):
            await client.post("/x", b"{}")
        assert proxy.requests[0].startswith(line + b"\r\nHost: " + line.split()[1] + b"\r\n")
        assert not client._all


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 301 Moved\r\nLocation: https://evil.test\r\n\r\n",
        b"SOCKS?",
    ],
)
async def test_a_proxy_that_gives_no_tunnel_gets_no_request(said, trusted):
    async with served(tunnel(said)) as proxy, opened("https://t.test/v1", proxy=proxy.url) as client:
        with pytest.raises((Unreachable, Broken)):
            await client.post("/x", b"{}")
        await turns(5)
        assert len(proxy.requests) == 1
        assert not client._all


async def test_a_tunnel_to_a_server_without_a_good_certificate_carries_nothing(trusted):
    async with (
        served(always(GOOD), tls=certified(trusted, "other.test")) as server,
        served(tunnel(b"HTTP/1.1 200 OK\r\n\r\n", target=server.port)) as proxy,
        opened(server.secure_url, proxy=proxy.url) as client,
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.post("/x", b"{}")
        assert server.requests == []
        assert not client._all


@pytest.mark.parametrize("said", [(), (b"HTTP/1.1 200 OK\r\n\r\n",)])
@pytest.mark.parametrize("how", ["timeout", "close", "cancel"])
async def test_a_tunnel_that_hangs_is_given_up(said, how, monkeypatch):
    if how == "timeout":
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.1)

    async def talk(peer):
        await peer.request()
        await peer.send(*said)
        await peer.gone()

    async with served(talk) as proxy, opened("https://t.test/v1", proxy=proxy.url) as client:
        call = asyncio.create_task(client.post("/x", b"{}"))
        await until(lambda: proxy.requests)
        await asyncio.sleep(0.02)
        if how == "close":
            client.close()
        elif how == "cancel":
            call.cancel()
        kind = {"timeout": Unreachable, "close": (Broken, Unreachable), "cancel": asyncio.CancelledError}[how]
        with pytest.raises(kind):
            await asyncio.wait_for(call, 3)
        await until(lambda: proxy.left)
        assert not client._all


# What it means


@contextlib.asynccontextmanager
async def http(url: str, timeout: float = 5, key: str = KEY):  # noqa: ASYNC109
    made = Http(url, timeout=timeout)
    await made.open(key)
    try:
        yield made
    finally:
        await made.close()
        await turns(5)


async def test_a_broken_or_late_answer_may_be_tried_again():
    async with served(always(b"nonsense " + KEY.encode(), then="close")) as server, http(server.url) as client:
        with pytest.raises(Transient, match="the connection broke") as caught:
            await client.post("/x", b"{}")
        assert not caught.value.unreachable
    async with served(always(then="stay")) as server, http(server.url, timeout=0.05) as client:
        with pytest.raises(Transient, match=r"no answer within 0\.05 s"):
            await client.post("/x", b"{}")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ECONNREFUSED, errno.ENETUNREACH, errno.ETIMEDOUT])
async def test_a_process_out_of_files_is_no_sign_that_the_server_is_down(number, monkeypatch):
    async def refuse(*given, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    async with http("http://127.0.0.1:1/v1") as client:
        with pytest.raises(Transient) as caught:
            await client.post("/x", b"{}")
    assert caught.value.unreachable == (number not in (errno.EMFILE, errno.ENFILE))


@pytest.mark.parametrize("url", ["http://a..b/v1", f"http://{'a' * 70}.test/v1", "http:///v1"])
async def test_an_address_that_cannot_be_asked_is_down(url):
    async with http(url) as client:
        with pytest.raises(EndpointDown, match="not an address"):
            await client.post("/x", b"{}")


async def test_a_key_that_fits_into_no_header_is_not_shown():
    async with http("http://127.0.0.1:1/v1", key=f"{KEY}\nx") as client:
        with pytest.raises(EndpointDown) as caught:
            await client.post("/x", b"{}")
    assert "secret" not in str(caught.value)


async def test_a_proxy_that_wants_a_password_stops_the_run(monkeypatch):
    async with served(always(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        async with http("http://target.test/v1") as client:
            with pytest.raises(EndpointDown, match=r"proxy .* wants a password"):
                await client.post("/x", b"{}")


async def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{free.getsockname()[1]}")
    async with http("http://target.test/v1") as client:
        with pytest.raises(Transient, match=r"proxy 127\.0\.0\.1") as caught:
            await client.post("/x", b"{}")
    assert caught.value.unreachable
    assert "pw" not in str(caught.value)


async def test_after_close_nothing_is_asked():
    async with served(always(GOOD)) as server, http(server.url) as client:
        await client.close()
        with pytest.raises(RuntimeError):
            await client.post("/x", b"{}")
        assert not server.peers


def test_the_proxy_comes_from_the_environment_as_curl_reads_it(monkeypatch):
    assert _proxy("http://a.test/v1") is None
    monkeypatch.setenv("all_proxy", "p.test:3128")
    monkeypatch.setenv("https_proxy", "https://q.test")
    monkeypatch.setenv("no_proxy", "b.test:81,.c.test")
    assert _proxy("http://a.test/v1") == "http://p.test:3128"
    assert _proxy("https://a.test/v1") == "https://q.test"
    assert _proxy("http://b.test:81/v1") is None
    assert _proxy("http://b.test/v1") == "http://p.test:3128"
    assert _proxy("https://x.c.test/v1") is None
    assert _proxy("http://localhost:8000/v1") is _proxy("http://127.0.0.1/v1") is _proxy("http://[::1]/v1") is None


def test_a_proxy_of_another_kind_is_not_silently_gone_around(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5h://me:pw@p.test:1080")
    with pytest.raises(BadInput, match=r"socks5h.*no_proxy=a\.test") as caught:
        _proxy("https://a.test/v1")
    assert "pw" not in str(caught.value)


@given(st.one_of(st.text(alphabet="0123456789 :,+-.MonJaGMT", max_size=40), st.text(max_size=20)))
def test_no_retry_after_whatever_raises(value):
    wait = retry_after({"retry-after": value})
    assert wait is None or wait >= 0
