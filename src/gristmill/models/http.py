"""The wire: one keep-alive HTTP client, and what its failures mean.

Promised: a key is sent to the address it was meant for and nowhere else (redirects are not followed), and never shows
in an error's text. What can be tried again is `Transient`; what cannot serve this run is `EndpointDown`.
Not promised: retries, limits, caching. Those live once, in the engine.
"""

from __future__ import annotations

import errno
import re
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gristmill.errors import BadInput, EndpointDown, Transient
from gristmill.models.connection import Broken, Client, Unreachable
from gristmill.models.protocol import Limits

# Keys as providers write them, also half hidden ("sk-abc***xyz"): for messages that repeat a key that is not ours.
_KEYS = re.compile(
    r"\b(?:sk|rk|pk|gsk|csk|hf|xai|nvapi|pplx|tgp|fw)[-_][\w*.-]{8,}|\bAIza[\w*-]{16,}|(?<=Bearer )(?=\S*\d)\S{12,}"
)


class Http:
    """A client of one address. `post` returns whatever came, by status, headers (in lower case) and bytes."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        """Seconds from the request to the last byte of its answer."""
        self.key = ""
        """In memory only: `hide` takes it out of whatever is shown."""
        self._client: Client | None = None

    async def open(self, key: str = "") -> None:
        if self._client is not None:
            return
        self.key = key
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gristmill"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = Client(self.url, headers, timeout=self.timeout, proxy=_proxy(self.url))

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def post(self, path: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if self._client is None:
            raise RuntimeError("start() comes before the first answer()")
        try:
            answered = await self._client.post(path, body)
        except (Broken, Unreachable, TimeoutError, ssl.SSLError, ValueError) as trouble:
            raise self._meaning(trouble) from trouble
        if answered[0] == 407:
            raise EndpointDown(
                f"{self.url}: the proxy on the way wants a password (HTTP 407): set the variable that names the proxy to "
                f"http://USER:PASSWORD@HOST:PORT"
            )
        return answered

    def _meaning(self, trouble: Exception) -> Transient | EndpointDown:
        reason = self.hide(str(trouble) or type(trouble).__name__)
        match trouble:
            case ssl.SSLCertVerificationError():
                return EndpointDown(f"{self.url}: no secure connection: {reason}")
            case ssl.SSLError():  # also what a server under load breaks off
                return Transient(f"{self.url}: no secure connection: {reason}", unreachable=True)
            case ValueError():
                return EndpointDown(f"{self.url}: not an address that can be asked: {reason}")
            case Unreachable(__cause__=OSError(errno=errno.EMFILE | errno.ENFILE)):
                # Busy: fewer calls at once help, and the endpoint is not to blame.
                return Transient(f"{self.url}: this process may open no more connections: {reason}", busy=True)
            case Unreachable():
                return Transient(f"{self.url}: cannot connect: {reason}", unreachable=True)
            case TimeoutError():
                return Transient(f"{self.url}: no answer within {self.timeout:g} s (longer: ,timeout=SECONDS)")
            case _:
                return Transient(f"{self.url}: the connection broke: {reason}")

    def hide(self, text: str) -> str:
        """The text without our key, or anything that looks like one."""
        if self.key:
            text = text.replace(self.key, "***")
        return _KEYS.sub("***", text)


def check_key(key: str, name: str) -> str:
    """The key as it goes into a header; `name` is the variable it came from."""
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        # Else the HTTP library would refuse the header with an error that quotes it.
        raise BadInput(f"the key in {name} holds characters that no key has (a line break, a quote?): set it again")
    return key


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        if (value := headers.get(name)) is None:
            continue
        if re.fullmatch(r" *\d+(\.\d+)? *", value):
            return float(value) / unit
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError):
            continue
    return None


# OpenAI's kind (Groq, Azure, ... too): a bucket that is refilled all the time, and `reset` is when it is full again.
_BUCKETS = tuple(
    (unit, f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}", f"x-ratelimit-limit-{unit}")
    for unit in ("requests", "tokens")
)
# The plain kind: so many in a window, and `reset` is when the next one begins.
_WINDOWS = (("ratelimit-remaining", "ratelimit-reset"), ("x-ratelimit-remaining", "x-ratelimit-reset"))
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def limits(headers: Mapping[str, str]) -> Limits | None:
    """What the rate-limit headers say is left, of requests or tokens, whichever has less; None if there are none."""
    found: Limits | None = None
    for unit, left, until, most in _BUCKETS:
        if left in headers:
            told = _bucket(unit, _whole(headers[left]), _span(headers.get(until, "")), _whole(headers.get(most, "")))
            found = told if found is None or (told is not None and told.remaining < found.remaining) else found
    for left, until in _WINDOWS:
        if found is None and left in headers and (remaining := _whole(headers[left])) is not None:
            found = Limits(remaining, _span(headers.get(until, "")) or 0.0)
    return found


def _bucket(unit: str, remaining: int | None, full: float | None, most: int | None) -> Limits | None:
    if remaining is None:
        return None
    if not full or not most:
        return Limits(remaining, full or 0.0)
    if unit == "tokens":
        return Limits(remaining, full / 50)  # a call needs more than the next token, and less than all of them
    # `remaining` is rounded, so the fewer are gone, the less the quotient says. The next request has its place soon.
    used = most - remaining
    return Limits(remaining, 0.0, used / full if used >= 5 else None)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _span(text: str) -> float | None:
    """Seconds: "6m0s", "120ms", "20", or a moment since 1970, in seconds or milliseconds."""
    try:
        value = float(text)
    except ValueError:
        parts = _SPAN.fullmatch(text.strip())
        if not parts or not any(parts.groups()):
            return None
        units = (86400.0, 3600.0, 60.0, 1.0, 0.001)
        return sum(float(part) * unit for part, unit in zip(parts.groups(), units, strict=True) if part)
    if not 0 <= value < 1e14:
        return None
    if value > 1e9:
        value = value / (1000 if value > 1e11 else 1) - time.time()
    return max(0.0, value)


def _proxy(url: str) -> str | None:
    """The user's proxy for this address, from the environment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(parts.netloc):
        return None
    found = getproxies()
    proxy = found.get(parts.scheme) or found.get("all")
    if not proxy:
        return None
    scheme, separator, _ = proxy.partition("://")
    if not separator:
        return f"http://{proxy}"  # as curl reads it
    if scheme.lower() not in ("http", "https"):
        raise BadInput(
            f"the environment names a proxy of the kind {scheme} for {parts.scheme}://{host}, and only http and https ones "
            f"are spoken here: set {parts.scheme}_proxy to one of those, or no_proxy={host} to go without"
        )
    return proxy
