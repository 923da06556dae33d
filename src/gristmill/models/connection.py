"""HTTP/1.1 as far as calling a model needs it: POST, keep-alive, TLS, proxies, whole answers.

Why not a library: a call of aiohttp costs 0.2 ms of CPU, four times what all of this engine's own work on a call
would allow it to cost; this costs 0.05 (`benchmarks/wire.py` prints both). What a general client is for, and we do
without: streaming, cookies, redirects, sessions, HTTP/2.

Promised: bytes go to the address that was given and no other; certificates are checked; a server cannot fill memory
(MAX_HEAD, MAX_BODY) or hold a call longer than its timeout.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import zlib
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, unquote, urlsplit

MAX_HEAD = 64 << 10
"""Bytes of status line and headers."""
MAX_BODY = 256 << 20
"""Bytes of an answer, packed or unpacked."""
CONNECT_TIMEOUT = 30.0
"""Seconds to reach the server and agree on TLS."""

_HEAD = re.compile(rb"HTTP/1\.([01]) (\d{3})[^\r\n]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")

Answered = tuple[int, Mapping[str, str], bytes]
"""Status, headers by lower-case name, body."""


class Broken(Exception):
    """The connection ended, or what came over it was not HTTP, before the answer was whole."""


class Unreachable(Exception):
    """No connection could be made."""


class Client:
    """Connections to one server, kept alive and reused. `headers` go with every request, and never to a proxy."""

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: float, proxy: str | None = None) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._secure = self._url.scheme == "https"
        self._tls = ssl.create_default_context() if self._secure else None
        self._headers = dict(headers)
        if self._proxy and not self._secure:
            self._headers |= _proxy_authorization(self._proxy)
        self._heads: dict[str, bytes] = {}
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def post(self, path: str, body: bytes) -> Answered:
        """Send a body to the URL and path; the whole answer, whatever its status.

        Raises:
            Unreachable, ssl.SSLError: no connection, or no trustworthy one.
            Broken: it broke on the way.
            TimeoutError: no whole answer in time.
        """
        if (head := self._heads.get(path)) is None:
            head = self._heads[path] = self._head(path)
        request = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                return await connection.ask(request, self._timeout)
            except Broken:
                # A server may close an idle connection just as we write to it. Nothing came back: ask on another.
                if not (reused and connection.silent):
                    raise

    def close(self) -> None:
        for connection in list(self._all):
            connection.drop()

    def _head(self, path: str) -> bytes:
        url = self._url
        target = quote(url.path + path, safe="/%:@!$&'()*+,;=~-._")
        if self._proxy and not self._secure:
            target = f"http://{url.netloc}{target}"
        fields = {"Host": url.netloc.encode("idna").decode(), "Accept-Encoding": "identity", **self._headers}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")

    async def _connect(self) -> _Connection:
        via = self._proxy or self._url
        secure = self._secure and not self._proxy
        host, port = via.hostname or "", via.port or (443 if via.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._idle, self._all),
                    host,
                    port,
                    ssl=self._tls if secure else None,
                    happy_eyeballs_delay=0.25,
                )
                if self._proxy and self._secure:
                    await self._tunnel(connection)
        except ssl.SSLError:
            raise
        except TimeoutError:
            raise Unreachable(f"no connection within {CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from error
        return connection

    async def _tunnel(self, connection: _Connection) -> None:
        """Ask a proxy for a way through, and agree on TLS with the server behind it."""
        assert self._proxy
        target = f"{self._url.hostname}:{self._url.port or 443}"
        fields = {"Host": target, **_proxy_authorization(self._proxy)}
        lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        status, _, _ = await connection.ask("\r\n".join([*lines, "", ""]).encode(), CONNECT_TIMEOUT, tunnel=True)
        if status != 200:
            connection.drop()
            raise Unreachable(f"the proxy {self._proxy.hostname} answered {status}")
        assert connection.transport
        assert self._tls
        transport = await asyncio.get_running_loop().start_tls(
            connection.transport, connection, self._tls, server_hostname=self._url.hostname
        )
        assert isinstance(transport, asyncio.Transport)
        connection.transport = transport


class _Connection(asyncio.Protocol):
    """One request at a time. Goes back to `idle` by itself when its answer is whole."""

    def __init__(self, idle: list[_Connection], alive: set[_Connection]) -> None:
        self.transport: asyncio.Transport | None = None
        self.silent = True
        """Nothing has come back for the request at hand."""
        self._idle, self._alive = idle, alive
        self._answer: asyncio.Future[Answered] | None = None
        self._tunnel = False
        self._clear()

    def _clear(self) -> None:
        self._data = bytearray()
        self._status = 0  # 0: the head is not read yet
        self._headers: dict[str, str] = {}
        self._body: bytearray | None = None  # of a chunked answer
        self._length = -1  # of the body; -1: until the connection ends
        self._keep = True

    async def ask(self, request: bytes, timeout: float, *, tunnel: bool = False) -> Answered:  # noqa: ASYNC109
        transport = self.transport
        if transport is None or transport.is_closing():
            raise Broken("the connection was closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answered] = loop.create_future()
        self._answer = answer
        self._tunnel = tunnel
        self._keep = True
        self.silent = True
        timer = loop.call_later(timeout, self._fail, TimeoutError())
        transport.write(request)
        try:
            answered = await answer
        except asyncio.CancelledError:
            self.drop()
            raise
        finally:
            timer.cancel()
            self._answer = None
        if self._keep:
            self._idle.append(self)  # not before: the next user would find our answer still pending
        return answered

    def drop(self) -> None:
        self._keep = False
        self._alive.discard(self)
        if self.transport is not None:
            self.transport.abort()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._alive.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._keep = False
        self._alive.discard(self)
        if self in self._idle:
            self._idle.remove(self)
        if self._answer is not None and not self._answer.done():
            if error is None and self._status and self._length < 0 and self._body is None:
                self._finish(bytes(self._data))  # a body that ends with the connection
            else:
                self._fail(Broken(str(error) if error else "the connection ended before the answer did"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.drop()  # nobody asked
            return
        self.silent = False
        self._data += data
        try:
            if self._status or self._read_head():
                self._read_body()
        except Broken as broken:
            self._fail(broken)

    # -- reading

    def _read_head(self) -> bool:
        """Read status and headers if they are all there."""
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[: end + 2])
            first = _HEAD.match(head)
            fields = _FIELD.findall(head, first.end()) if first else []
            if not first or len(fields) != head.count(b"\r\n") - 1:
                raise Broken("the answer is not HTTP/1.1")
            del self._data[: end + 4]
            status = int(first[2])
            if status < 200:
                continue  # "100 Continue" and its like come before the answer
            headers: dict[str, str] = {}
            for name, value in fields:
                key, text = name.decode("ascii").lower(), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
            self._status, self._headers = status, headers
            connection = headers.get("connection", "").lower()
            self._keep = "close" not in connection and (first[1] == b"1" or "keep-alive" in connection)
            self._frame()
            return True
        if len(self._data) > MAX_HEAD:
            raise Broken(f"headers of more than {MAX_HEAD} bytes")
        return False

    def _frame(self) -> None:
        """How long the body is."""
        coding, length = self._headers.get("transfer-encoding"), self._headers.get("content-length")
        if self._status in (204, 304) or (self._tunnel and self._status == 200):
            self._length = 0
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Broken(f"an answer in transfer-encoding {coding}")
            self._body = bytearray()
        elif length is not None:
            if not re.fullmatch(r"\d{1,15}", length):
                raise Broken(f"an answer of length {length[:40]!r}")
            self._length = int(length)
            if self._length > MAX_BODY:
                raise Broken(f"an answer of {self._length} bytes; {MAX_BODY} are taken")
        else:
            self._keep = False

    def _read_body(self) -> None:
        data = self._data
        if self._body is not None:
            if self._read_chunks():
                self._finish(bytes(self._body))
        elif self._length >= 0:
            if len(data) >= self._length:
                self._keep = self._keep and len(data) == self._length  # more than an answer: out of step
                self._finish(bytes(data[: self._length]))
        elif len(data) > MAX_BODY:
            raise Broken(f"an answer of more than {MAX_BODY} bytes")

    def _read_chunks(self) -> bool:
        """Move whole chunks from the data to the body; True after the last."""
        data, body = self._data, self._body
        assert body is not None
        at = 0
        try:
            while head := _CHUNK.match(data, at):
                size = int(head[1], 16)
                if size == 0:
                    end = data.find(b"\r\n\r\n", head.end() - 2)  # trailers, if any, end with an empty line
                    if end < 0:
                        return False
                    self._keep = self._keep and end + 4 == len(data)
                    return True
                if len(body) + size > MAX_BODY:
                    raise Broken(f"an answer of more than {MAX_BODY} bytes")
                if len(data) < head.end() + size + 2:
                    return False
                start, at = head.end(), head.end() + size + 2
                if data[at - 2 : at] != b"\r\n":
                    raise Broken("a chunk that does not end where it said")
                body += data[start : start + size]
            if len(data) - at > MAX_HEAD:
                raise Broken("an answer that is not chunked as it says")
            return False
        finally:
            head = None  # the match holds the buffer, which could not shrink
            del data[:at]

    def _finish(self, body: bytes) -> None:
        coding = self._headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            body = _unpack(body, coding)
        answered = self._status, self._headers, body
        keep = self._keep
        self._clear()
        assert self._answer
        self._answer.set_result(answered)
        self._keep = keep and not self._tunnel  # a tunnel's user is the one who dug it
        if not keep:
            self.drop()

    def _fail(self, error: Exception) -> None:
        self.drop()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _unpack(body: bytes, coding: str) -> bytes:
    """A body that was packed although we asked for it plain."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Broken(f"an answer in content-encoding {coding}")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, whichever it is
    try:
        plain = unpacker.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise Broken(f"an answer that cannot be unpacked: {error}") from None
    if unpacker.unconsumed_tail:
        raise Broken(f"an answer of more than {MAX_BODY} bytes")
    return plain


def _proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
