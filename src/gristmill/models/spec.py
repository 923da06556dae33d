"""A model's name: BACKEND:MODEL[@URL][,key=ENV_NAME][,context=N][,price=IN/OUT][,as=complete][,timeout=SECONDS]
[,concurrency=N], and for `embedded:` also [,slots=N][,threads=N]. What is no language model is named alike:
`sandbox:python`, `sandbox:matplotlib`, `prover:coq`, `physics:mujoco`, `retrieve:bm25`, `wordllama:`, `people:`;
`dense:` before the name of an embedding model makes a search of it, `annotator:` before that of a chat model puts it in a
person's place.

MODEL may hold ":" and "/" (openai:qwen2.5:7b@http://localhost:11434/v1). A key is never part of it, only the name of
the environment variable that holds one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from gristmill.errors import BadInput, nearest
from gristmill.models import prices as price_table
from gristmill.models.prices import Prices
from gristmill.models.protocol import Answer, Backend, Message, Price, Question

DEFAULT = "embedded:smollm2-135m-instruct"
"""Who plays a role that was given no model: needs no key, no network after the first time, and no GPU."""
TOOLS = {
    "Plot": "sandbox:matplotlib",
    "Gym": "sandbox:reasoning-gym",
    "Execute": "sandbox:python",
    "Prove": "prover:coq",
    "Retrieve": "retrieve:bm25",
    "Simulate": "physics:mujoco",
    "Annotator": "people:anyone",
}
"""What plays a role that no language model plays, unless one is named for that very role."""
EMBEDDER = "wordllama:l2_supercat"
"""What embeds where no model was named at all."""
STUDENT = "transformers:smollm2-135m-instruct"
"""What is trained where no model was named at all."""

# Backend: its module and the options it takes.
LOCAL = {
    "physics": ("mujoco", "pymunk"),
    "prover": ("coq", "lean4"),
    "retrieve": ("bm25",),
    "sandbox": ("python", "matplotlib", "reasoning-gym"),
    "wordllama": ("l2_supercat",),
}
"""Backends without a URL, and the models that each has; the first is the one that is meant without a name."""
_REMOTE = ("key", "context", "price", "as", "timeout", "concurrency")
BACKENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "embedded": ("gristmill.models.embedded", ("context", "as", "timeout", "slots", "threads")),
    "litellm": ("gristmill.models.litellm", _REMOTE),
    "openai": ("gristmill.models.openai", _REMOTE),
    "physics": ("gristmill.models.physics", ("timeout", "concurrency")),
    "prover": ("gristmill.models.prover", ("timeout", "concurrency")),
    "retrieve": ("gristmill.models.bm25", ()),
    "sandbox": ("gristmill.models.sandbox", ("timeout", "concurrency")),
    "sentence-transformers": ("gristmill.models.sentence_transformers", ("device", "context")),
    "transformers": ("gristmill.models.transformers", ("device", "context")),
    "wordllama": ("gristmill.models.wordllama", ()),
    "people": ("gristmill.models.people", ()),
    "annotator": ("gristmill.models.annotator", _REMOTE),
    "dense": ("gristmill.models.dense", _REMOTE),
}
NESTED = {"dense": "Dense", "annotator": "ModelAnnotator"}
"""Backends around another one, whose whole name follows theirs; and the class in their module."""
UNNAMED = {
    "embedded": DEFAULT,
    "people": TOOLS["Annotator"],
    **{name: f"{name}:{has[0]}" for name, has in LOCAL.items()},
}
"""What is meant where only the backend is named."""

FILES = ("embedded", "transformers", "sentence-transformers")
"""Backends whose models are files on this machine."""

WHO_CAN = {
    "Chat": "embedded:, openai:MODEL, litellm:MODEL",
    "Complete": "embedded:, openai:MODEL@URL of a vLLM or llama.cpp server, openai:gpt-3.5-turbo-instruct",
    "See": "openai:MODEL of a model that sees",
    "Embed": "wordllama:, sentence-transformers:FOLDER, openai:text-embedding-3-small, openai:MODEL@URL of a server with "
    "an embedding model",
    "Score": "transformers:FOLDER, openai:MODEL@URL of a vLLM server",
    "Choose": "embedded:, transformers:FOLDER, openai:MODEL@URL of a vLLM or llama.cpp server",
    "Hidden": "transformers:FOLDER",
    "Retrieve": "retrieve:bm25, dense: and the name of an embedding model (dense:wordllama:)",
    "Prove": "prover:coq, prover:lean4",
    "Simulate": "physics:mujoco, physics:pymunk",
    "Execute": "sandbox:python",
    "Plot": "sandbox:matplotlib",
    "Gym": "sandbox:reasoning-gym",
    "Annotator": "people:, annotator: and the name of a chat model (annotator:openai:gpt-4o-mini)",
    "Trainable": "transformers:FOLDER",
    "Reward": "a backend of your own (gristmill.models.protocol.Backend), given from Python",
}


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's name, taken apart."""

    backend: str
    model: str
    url: str = ""
    """Base of the API, without a "/" at its end; "" for the provider's own."""
    key: str = ""
    """Name of the environment variable that holds the key; "" for the backend's default."""
    context: int | None = None
    """Tokens of prompt and reply together."""
    price: Price | None = None
    as_complete: bool = False
    """A chat model may play a role of raw completion."""
    timeout: float | None = None
    """Seconds for one call."""
    concurrency: int | None = None
    """Calls at once."""
    slots: int | None = None
    threads: int | None = None
    device: str = ""
    """"cpu", "cuda", "cuda:1", "mps"; "" for the fastest that is there."""

    @property
    def text(self) -> str:
        """The name again, in one canonical form."""
        price = f"{self.price.input:.12g}/{self.price.output:.12g}" if self.price else None
        options = {
            "key": self.key or None,
            "context": self.context,
            "price": price,
            "as": "complete" if self.as_complete else None,
            "timeout": None if self.timeout is None else f"{self.timeout:.12g}",
            "concurrency": self.concurrency,
            "slots": self.slots,
            "threads": self.threads,
            "device": self.device or None,
        }
        tail = "".join(f",{name}={value}" for name, value in options.items() if value is not None)
        return f"{self.backend}:{self.model}{self.url and '@' + self.url}{tail}"

    def open(self, prices: Prices | None = None) -> Backend:
        """The backend, not started yet."""
        module = import_module(BACKENDS[self.backend][0])
        if self.backend in NESTED:
            return cast(Backend, getattr(module, NESTED[self.backend])(parse(self.model).open(prices)))
        make = cast(Callable[[Spec, Price | None], Any], module.from_spec)
        backend = make(self, (prices or price_table.load()).of(self))
        if self.as_complete:
            backend = AsComplete(backend)
        backend.spec = self.text
        return cast(Backend, backend)


def parse(text: str) -> Spec:
    """Raises BadInput; its message repeats nothing that could be a credential."""
    text = text.strip()
    backend, colon, rest = text.partition(":")
    if backend in BACKENDS and not rest:
        if backend not in UNNAMED:
            raise BadInput(f"{backend}: which model? Write {backend}:MODEL")
        rest = UNNAMED[backend].partition(":")[2]
    if backend not in BACKENDS:
        known = f"{', '.join(f'{name}:' for name in BACKENDS)}"
        name = re.split(r"[,@]", text)[0]
        if colon and not re.search(r"[/.\d]", backend) and len(backend) < 20:
            raise BadInput(
                f"unknown backend {backend!r}: {nearest(backend, BACKENDS)} (a model is BACKEND:MODEL[@URL])"
            )
        guess = f"embedded:{name}" if name.endswith(".gguf") else f"openai:{name}"
        raise BadInput(f"{name!r} names no backend ({known}): did you mean {guess}?")
    if backend in NESTED:
        inner = parse(rest)
        if inner.backend in NESTED:
            raise BadInput(f"{backend}: is followed by the name of a model, not by {inner.backend}:")
        return Spec(backend=backend, model=inner.text)
    rest, *parts = re.split(r",(?=[A-Za-z_-]+=)", rest)
    model, url = rest, ""
    for at in re.finditer(r"@(?=https?://)", rest):
        model, url = rest[: at.start()], rest[at.end() :]
    if backend in LOCAL and (model not in LOCAL[backend] or url):
        raise BadInput(
            f"{backend}: runs on this machine: write {' or '.join(f'{backend}:{m}' for m in LOCAL[backend])}"
        )
    if backend == "people" and (url or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", model)):
        raise BadInput("people: is followed by the name of a group: lower-case letters, digits and dashes")
    if url and backend in FILES:
        raise BadInput(f"{backend}: runs on this machine and takes no URL; for a server of your own: openai:MODEL@URL")
    if not model or model != model.strip() or (url and "," in url) or (backend not in FILES and "," in model):
        raise BadInput(f"{backend}: expected MODEL[@URL][,option=value]...; options: {', '.join(BACKENDS[backend][1])}")
    fields: dict[str, Any] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name not in BACKENDS[backend][1]:
            raise BadInput(f"{backend}: has no option {name!r}: {nearest(name, BACKENDS[backend][1])}")
        field = "as_complete" if name == "as" else name
        if field in fields:
            raise BadInput(f"{backend}:{model}: the option {name!r} is given twice")
        fields[field] = _READ[name](value)
    return Spec(backend=backend, model=model, url=_base(url) if url else "", **fields)


def tool_for(needs: frozenset[str]) -> str:
    """What plays a role whatever model is named for all of them: no chat model runs code."""
    return next(name for role, name in TOOLS.items() if role in needs) if needs and needs <= set(TOOLS) else ""


def default_for(needs: frozenset[str]) -> str:
    """What plays a role where the user named nothing."""
    if needs == {"Embed"}:
        return EMBEDDER
    return STUDENT if "Trainable" in needs else DEFAULT


def check_can(backend: Backend, role: str, needs: frozenset[str]) -> None:
    """Refuse a model that cannot do what its role needs, naming those that can."""
    if not (missing := sorted(needs - backend.can)):
        return
    able = ", ".join(sorted(backend.can)) or "nothing"
    who = "; ".join(f"{name}: {WHO_CAN.get(name, 'no backend that ships')}" for name in missing)
    hint = ""
    if missing == ["Complete"] and "Chat" in backend.can:
        hint = ". To let this one answer the raw prompt as a chat message instead, add ,as=complete to its name"
    raise BadInput(
        f"role {role!r} needs {' and '.join(missing)}, and {backend.model} at {backend.endpoint} can do only {able}. "
        f"Models that can - {who}{hint}"
    )


class AsComplete:
    """A chat model in a role of raw completion: the prompt goes out as the user's message. Only when a user asks for
    it, since a chat model answers a text where a base model would continue it; so it shows in every call's key."""

    def __init__(self, chat: Backend) -> None:
        self._chat = chat
        self.can = chat.can | {"Complete"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)  # all else, also what changes: `max_n`

    def identity(self) -> dict[str, Any]:
        return {**self._chat.identity(), "as": "complete"}

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind == "complete":
            messages = [Message("user", question.prompt)]
            question = Question("chat", messages=messages, sampling=question.sampling)
        return await self._chat.answer(question, n)


def _base(url: str) -> str:
    """The API's base in one form. Errors never repeat the URL before it is known to hold no credentials."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        raise BadInput("the URL after @ cannot be read: expected http://HOST[:PORT]/v1") from None
    if parts.username is not None or parts.password is not None:
        raise BadInput(
            "the URL after @ holds a user name or password. Credentials come from the environment only: put the key into "
            "a variable and name that with ,key=NAME"
        )
    if not host or parts.query or parts.fragment or re.search(r"\s", url):
        raise BadInput("the URL after @ must be the API's base, http(s)://HOST[:PORT]/v1, without '?' and '#'")
    # "http://localhost:8000" means its API, which all servers have below /v1.
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/') or '/v1'}"


def _key(value: str) -> str:
    if value in os.environ or (re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value) and not value.startswith("AKIA")):
        return value
    raise BadInput(
        "key= takes the NAME of an environment variable, such as key=TOGETHER_API_KEY, never the key itself (what was "
        "given is not shown here, as it could be one)"
    )


def _count(name: str) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"0*[1-9]\d{0,8}", value):
            raise BadInput(f"{name}= takes a whole number above 0")
        return int(value)

    return read


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadInput("timeout= takes seconds, a number above 0")
    return seconds


def _as(value: str) -> bool:
    if value != "complete":
        raise BadInput("as= takes one value: as=complete, which lets a chat model answer raw prompts")
    return True


def _device(value: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", value):
        raise BadInput("device= takes cpu, cuda, cuda:NUMBER or mps")
    return value


_READ: dict[str, Callable[[str], Any]] = {
    "key": _key,
    "context": _count("context"),
    "price": lambda value: price_table.parse(value, "price="),
    "as": _as,
    "timeout": _seconds,
    "concurrency": _count("concurrency"),
    "slots": _count("slots"),
    "threads": _count("threads"),
    "device": _device,
}
