"""The page on which people answer tasks, and its JSON interface.

    GET  /api/task?by=NAME              the task that NAME is on, else the next one for him
    POST /api/answer    by, key, note   keep an answer
    POST /api/skip      by, key, note   keep that nothing can be said
    POST /api/undo      by, key         take back NAME's last answer
    GET  /api/progress?by=NAME&key=KEY  how far all are; keeps the task KEY for NAME, who is on it

Each may be sent again after a lost reply: an answer stays one answer. Errors are {"error": MESSAGE} with 400 (it does not
answer the task), 401 (token), 403 (another site), 404 (no such task any more), 409 (what was answered before forbids it),
413 (too long), 503 (the disk).

Who has the address may answer, under any name. The token is asked of every request (in the address, then in a cookie, or
in the header `Authorization: Bearer TOKEN`); a name in the header `Host` that is not the server's own is refused, as
another site may point its name at this machine. Traffic is not encrypted: across a network, put it behind SSH or a proxy
with TLS.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gristmill.errors import BadInput, DiskTrouble
from gristmill.models.annotation import Note
from gristmill.people.queue import Gone, Handed, Queue, Standing, Taken

MOST_BYTES = 4 << 20
"""Of a request's body."""

_encode = msgspec.json.Encoder().encode


class Answering(msgspec.Struct):
    by: str
    key: str
    note: Note = msgspec.field(default_factory=Note)


class Shown(msgspec.Struct):
    """What the page shows next."""

    task: Handed | None
    standing: Standing


def page_app(queue: Queue, token: str, *, host: str = "") -> ASGIApp:
    """The application that asks what is in a queue.

    Args:
        token: what whoever asks has to know.
        host: a further name that this machine goes by.
    """
    html, policy = _page()

    async def page(request: Request) -> Response:
        if (given := request.query_params.get("token")) is None:
            return Response(html, media_type="text/html")
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        reply = RedirectResponse(f"/?{urlencode(rest)}" if rest else "/", status_code=303)
        reply.set_cookie(_cookie(token), given, httponly=True, samesite="strict")
        return reply

    async def task(request: Request) -> Response:
        by = request.query_params.get("by", "")

        def look() -> Shown:
            return Shown(queue.next(by), queue.standing(by))

        return _json(await run_in_threadpool(look))

    async def answer(request: Request) -> Response:
        said = await _body(request)
        return _json(await run_in_threadpool(queue.store, said.by, said.key, said.note))

    async def skip(request: Request) -> Response:
        said = await _body(request)
        note = Note(skipped=True, comment=said.note.comment, seconds=said.note.seconds)
        return _json(await run_in_threadpool(queue.store, said.by, said.key, note))

    async def undo(request: Request) -> Response:
        said = await _body(request)

        def back() -> Shown:
            return Shown(queue.undo(said.by, said.key), queue.standing(said.by))

        return _json(await run_in_threadpool(back))

    async def progress(request: Request) -> Response:
        by, key = request.query_params.get("by", ""), request.query_params.get("key", "")

        def look() -> Standing:
            if key:
                queue.hold(by, key)
            return queue.standing(by)

        return _json(await run_in_threadpool(look))

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/api/task", task),
            Route("/api/answer", answer, methods=["POST"]),
            Route("/api/skip", skip, methods=["POST"]),
            Route("/api/undo", undo, methods=["POST"]),
            Route("/api/progress", progress),
        ],
        exception_handlers={
            **{kind: _refusal(status) for kind, status in ((BadInput, 400), (Taken, 409), (Gone, 404))},
            DiskTrouble: _refusal(503),
        },
    )
    return Guard(app, token, host.lower(), policy)


class Guard:
    """Lets through who knows the token and means this server; and says in every reply what the page may do."""

    def __init__(self, app: ASGIApp, token: str, host: str, policy: str) -> None:
        self._app, self._token, self._host = app, token, host
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        if scope["type"] == "http":
            await (self._refused(Request(scope)) or self._app)(scope, receive, guarded)

    def _refused(self, request: Request) -> Response | None:
        names = [name for key, name in request.headers.items() if key == "host"]
        if len(names) != 1 or not _ours(names[0], self._host):
            return _error(403, "this address is not the server's own; open the one that `gristmill annotate` printed")
        origin = request.headers.get("origin")
        if origin and urlsplit(origin).netloc != names[0]:
            return _error(403, "a page of another site asked; open the address that `gristmill annotate` printed")
        given = (
            request.query_params.get("token") if request.url.path == "/" else None,
            request.cookies.get(_cookie(self._token)),
            request.headers.get("authorization", "").removeprefix("Bearer "),
        )
        if not any(_equal(text or "", self._token) for text in given):
            return _error(401, "the token is missing or old; open the address that `gristmill annotate` printed")
        return None


def _ours(header: str, host: str) -> bool:
    """Whether a Host header names this machine. An address always may: only names can be pointed at it by others."""
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", host, socket.gethostname().lower()} - {""}
    return True


def _equal(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _cookie(token: str) -> str:
    """A browser sends a machine's cookies to all its ports: each server's has a name of its own."""
    return f"gristmill-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


async def _body(request: Request) -> Answering:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadInput("send JSON, with Content-Type: application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLong(f"too long: at most {MOST_BYTES >> 20} MiB are taken")
    try:
        return msgspec.json.decode(bytes(body), type=Answering)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"that is no answer: {error}") from None


class TooLong(BadInput):
    """A request that is longer than any answer."""


def _json(value: Any) -> Response:
    return Response(_encode(value), media_type="application/json")


def _error(status: int, message: str) -> Response:
    return Response(_encode({"error": message}), status, media_type="application/json")


def _refusal(status: int) -> Callable[[Request, Exception], Response]:
    def refuse(request: Request, error: Exception) -> Response:
        return _error(413 if isinstance(error, TooLong) else status, str(error))

    return refuse


@cache
def _page() -> tuple[str, str]:
    """The page, and the policy that lets its own script and style alone run, and nothing be loaded from anywhere."""
    html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    digests = {}
    for tag in ("script", "style"):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests[tag] = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; style-src 'sha256-{digests['style']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    return html, policy
