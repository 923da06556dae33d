"""HTTP/1.1 as far as calling a model needs it: POST, keep-alive, TLS, proxies, whole answers.

Why not a library: a call of aiohttp costs 0.2 ms of CPU, four times what all of this engine's own work on a call
would allow it to cost; this costs 0.05 (`benchmarks/wire.py` prints both). What a general client is for, and we do
without: streaming, cookies, redirects, sessions, HTTP/2.

Promised: bytes go to the address that was given and no other; certificates are checked; no answer takes more memory
than MAX_BODY or more time than its timeout (and CONNECT_TIMEOUT); what is not HTTP to the letter is `Broken`, not guessed
at. A request is sent a second time only where a kept connection ended before a byte of the answer came.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
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

# No two neighbours in these can take the same byte, and a field begins at a line's beginning: they match in linear time.
_HEAD = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n\0]*)?\r\n")
_FIELD = re.compile(rb"(?<=\n)([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")

Answered = tuple[int, Mapping[str, str], bytes]
"""Status, headers by lower-case name, body."""


class Broken(Exception):
    """The connection ended, or what came over it was not HTTP, before the answer was whole."""


class Unreachable(Exception):
    """No connection could be made."""


class Client:
    """Connections to one server, kept alive and reused. `headers` go with every request; a proxy sees them only where the
    server's own URL is http, for then it sees all."""

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: float, proxy: str | None = None) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._secure = self._url.scheme == "https"
        safe = self._secure or (self._proxy and self._proxy.scheme == "https")
        self._tls = ssl.create_default_context() if safe else None
        self._headers = dict(headers)
        if self._proxy and not self._secure:
            self._headers |= _proxy_authorization(self._proxy)
        self._heads: dict[str, bytes] = {}
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._closed = False

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
        if self._idle:
            connection = self._idle.pop()
            try:
                return await connection.ask(request, self._timeout)
            except Broken:
                # A server may close an idle connection just as we write to it. Nothing came back: ask on a new one.
                if not connection.silent:
                    raise
        return await (await self._connect()).ask(request, self._timeout)

    def close(self) -> None:
        """Ends all connections; calls in flight are `Broken`."""
        self._closed = True
        for connection in list(self._all):
            connection.drop()

    def _head(self, path: str) -> bytes:
        host = _authority(self._url)
        target = quote(self._url.path + path, safe="/%:@!$&'()*+,;=~-._")
        if self._proxy and not self._secure:
            target = f"http://{host}{target}"
        fields = {"Host": host, "Accept-Encoding": "identity", **self._headers}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        if not all(line.isprintable() for line in lines):
            raise ValueError("a header holds a line break or another character that none may hold")
        return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")

    async def _connect(self) -> _Connection:
        via = self._proxy or self._url
        if not via.hostname:
            raise ValueError("no host in the address")  # an empty one would be this machine
        where = f" (proxy {via.hostname})" if self._proxy else ""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self._idle, self._all),
                    via.hostname,
                    via.port or (443 if via.scheme == "https" else 80),
                    ssl=self._tls if via.scheme == "https" else None,
                    happy_eyeballs_delay=0.25,
                )
                if self._proxy and self._secure:
                    await self._tunnel(connection)
        except ssl.SSLError:
            raise
        except TimeoutError:
            raise Unreachable(f"no connection within {CONNECT_TIMEOUT:g} s{where}") from None
        except OSError as error:
            raise Unreachable(f"{error.strerror or error}{where}") from error
        if self._closed:
            connection.drop()
            raise Broken("the client was closed")
        return connection

    async def _tunnel(self, connection: _Connection) -> None:
        """Ask a proxy for a way through, and agree on TLS with the server behind it."""
        assert self._proxy
        assert self._tls
        target = _authority(self._url, port=443)
        fields = {"Host": target, **_proxy_authorization(self._proxy)}
        lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        try:
            status, _, _ = await connection.ask("\r\n".join([*lines, "", ""]).encode(), CONNECT_TIMEOUT, tunnel=True)
            if status // 100 != 2:
                raise Unreachable(f"the proxy {self._proxy.hostname} answered {status}")
            if connection.transport is None or connection.transport.is_closing():
                raise Unreachable(f"the proxy {self._proxy.hostname} closed the connection")
            connection.transport = await asyncio.get_running_loop().start_tls(
                connection.transport, connection, self._tls, server_hostname=self._url.hostname
            )
        except BaseException:
            connection.drop()
            raise
        if connection.transport is None:  # aborted meanwhile
            raise Broken("the connection was closed")


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
        self.silent = True
        transport = self.transport
        if transport is None or transport.is_closing():
            raise Broken("the connection was closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answered] = loop.create_future()
        self._answer = answer
        self._tunnel = tunnel
        self._keep = True
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
        _watch(transport)

    def eof_received(self) -> None:
        # asyncio would first send what is left of the request, to nobody; and `abort` fails on what it closed that way.
        if self.transport is not None:
            self.transport.abort()

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
        data = self._data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = bytes(data[: end + 2])
            first = _HEAD.match(head)
            fields = _FIELD.findall(head, first.end()) if first else []
            if not first or len(fields) != head.count(b"\n") - 1:
                raise Broken("the answer is not HTTP/1.1")
            if end > MAX_HEAD:
                break
            del data[: end + 4]
            status = int(first[2])
            if status < 200:
                continue  # "100 Continue" and its like come before the answer
            headers: dict[str, str] = {}
            for name, value in fields:
                key, text = name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
            self._status, self._headers = status, headers
            connection = headers.get("connection", "").lower()
            self._keep = "close" not in connection and (first[1] == b"1" or "keep-alive" in connection)
            self._frame()
            return True
        if len(data) > MAX_HEAD:
            raise Broken(f"headers of more than {MAX_HEAD} bytes")
        # What can no longer become a head is not waited for.
        lines = data.count(b"\n")
        if (
            not data.startswith(b"HTTP/1."[: len(data)])
            or (lines and not _HEAD.match(data))
            or lines != data.count(b"\r\n")
        ):
            raise Broken("the answer is not HTTP/1.1")
        return False

    def _frame(self) -> None:
        """How long the body is."""
        coding, length = self._headers.get("transfer-encoding"), self._headers.get("content-length")
        if self._tunnel and self._status < 300:
            self._length, self._keep = 0, True  # what headers say of a body or an end is not about a tunnel
        elif self._status in (204, 304):
            self._length = 0
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Broken(f"an answer in transfer-encoding {coding}")
            self._body = bytearray()
            self._keep = self._keep and length is None  # two lengths: whatever comes next may be somebody's forgery
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
                        break
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
            if len(data) - at > MAX_HEAD or (head is None and data.find(b"\n", at) >= 0):
                raise Broken("an answer that is not chunked as it says")
            return False
        finally:
            del data[:at]

    def _finish(self, body: bytes) -> None:
        assert self._answer
        assert self.transport
        coding = self._headers.get("content-encoding", "identity").lower()
        if body and coding != "identity":
            try:
                body = _unpack(body, coding)
            except Broken as broken:
                self._fail(broken)
                return
        answered = self._status, self._headers, body
        keep = self._keep and not self.transport.get_write_buffer_size()  # answered early: the rest is in the way
        self._clear()
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
    if not unpacker.eof or unpacker.unused_data:
        raise Broken("an answer that cannot be unpacked: it does not end where its packing does")
    return plain


def _watch(transport: asyncio.Transport) -> None:
    """Let the system find out in 90 seconds that a silent peer is gone: firewalls forget connections, and tell nobody."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _authority(url: SplitResult, *, port: int | None = None) -> str:
    """Host and port as they go over the wire. `port`: where the URL names none."""
    host = url.hostname or ""
    host = f"[{host.partition('%')[0]}]" if ":" in host else host.encode("idna").decode()
    port = url.port or port
    return f"{host}:{port}" if port else host


def _proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
