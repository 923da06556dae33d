"""What a recipe holds as a role: asks, and journals the answer before it hands it over.

The key of a call is the digest of the question (model identity, messages, every parameter, schema), of its place, and
of the sample's number; a question asked again in the same scope is the next sample. `n` is not in the key, so that
going from 32 samples to 40 pays for 8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import Any, TypeVar, cast

import msgspec

from gristmill.engine import artefacts, pictures
from gristmill.engine.artefacts import Artefact
from gristmill.engine.budget import DEFAULT_MAX_TOKENS, Budget, Halt, Purse
from gristmill.engine.database import ARTEFACT, CALL, QUESTION, TASK, Statement
from gristmill.engine.endpoint import Endpoint
from gristmill.engine.journal import Journal
from gristmill.engine.scope import Scope, current, here
from gristmill.errors import CallFailed, NotInJournal, PromptTooLong, Refused, Unparsed, Waiting
from gristmill.models.annotation import Task
from gristmill.models.protocol import (
    METHODS,
    Answer,
    Backend,
    Job,
    Message,
    Messages,
    Parsed,
    Question,
    Reply,
    Searcher,
    Usage,
    assistant,
    user,
)
from gristmill.rows import Document, Rows
from gristmill.verify.values import Limits, Program

S = TypeVar("S")

MOST_UNITS = 4096
"""Units under way at once, whatever the endpoints take."""

VECTORS = 256
"""Texts of a corpus that one call embeds."""

REPAIR = "That cannot be read: {error}\nReply again with nothing but the JSON, corrected so that it fits this schema:\n{schema}"

_stable = msgspec.json.Encoder(order="deterministic")
_encode = msgspec.json.Encoder().encode
_decode = {kind: msgspec.json.Decoder(sample).decode for kind, (_, sample) in METHODS.items()}
_any = msgspec.json.Decoder()
REFUSALS: dict[str, type[Refused]] = {cls.__name__: cls for cls in (Refused, PromptTooLong)}


class Ledger:
    """What all roles of a run share: the journal, the wall, and counters for whoever shows progress."""

    def __init__(self, journal: Journal, budget: Budget, halt: Halt, *, offline: bool = False) -> None:
        self.journal = journal
        self.budget = budget
        self.halt = halt
        self.offline = offline
        self.asked = 0
        self.replayed = 0
        self.endpoints: dict[str, Endpoint] = {}
        self.on_room: Callable[[], object] = lambda: None
        """Called when an endpoint takes more or fewer calls at once than before."""
        self.shelf = Shelf()
        self.opened: list[Any] = []
        """What was opened during the run, such as trained models, and is to be closed with it."""
        self.progress: Callable[[str], object] = lambda text: None
        """Called with a line on what takes long and is no call, such as training; "" when it is over."""
        self.once: dict[str, asyncio.Future[None]] = {}
        """Durable steps that are being computed, by key."""
        self.notes: list[str] = []
        """What a user should know of the run when it is over."""
        self.least = 0
        """Units worth having under way whatever the endpoints take: of a cluster."""
        self.asking = 0
        """Those that keep the endpoints busy."""
        self.width = 0
        """Units worth having under way: while some wait for a commit or parse a reply, others keep the wire busy."""
        self.resize()

    def resize(self) -> None:
        """See what the endpoints take now."""
        limit = sum(endpoint.limit for endpoint in self.endpoints.values()) or 8
        self.asking = limit + limit // 4 + 2
        self.width = min(MOST_UNITS, max(self.asking, self.least))
        self.on_room()

    async def recall(self, key: str) -> tuple[bytes | None, str | None] | None:
        """What the journal holds under a key: see `Journal.find`. Whoever gets nothing computes it, and says `release`."""
        return self.journal.find(key)

    async def release(self, key: str) -> None:
        """What `recall` did not find was computed and kept, or could not be."""

    async def store(self, step: int, found: Artefact, content: bytes) -> None:
        """Keep an artefact's file, and that the step made it."""
        await asyncio.to_thread(artefacts.write, self.journal.folder, found, content)
        await self.journal.put([(ARTEFACT, (step, found.name, found.digest, found.file))])


class Shelf:
    """The corpora that are searched, by digests of their texts."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.lock = asyncio.Lock()
        """Held while one is indexed: whoever else searches it waits, and does not pay for it again."""
        self._names: dict[int, tuple[Rows[Document], str]] = {}

    async def name(self, corpus: Rows[Document]) -> str:
        """A digest of its texts, whatever else stands in its rows."""
        known = self._names.get(id(corpus))
        if known is None:
            texts = [row.text for row in corpus]
            name = await asyncio.to_thread(_digest_of, texts)
            known = self._names[id(corpus)] = corpus, name  # the corpus is kept too: its id stays its own
            self.texts[name] = texts
        return known[1]


def _digest_of(texts: list[str]) -> str:
    found = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()


class Handle:
    """One model in one role. Its methods are those of the capabilities that the role was typed by."""

    def __init__(self, role: str, backend: Backend, ledger: Ledger, endpoint: Endpoint, purse: Purse) -> None:
        self.role = role
        self.model = backend.model
        self._backend = backend
        self._ledger = ledger
        self.endpoint = endpoint
        self._purse = purse
        self.identity = _stable.encode(backend.identity())
        self.checkpoint: Artefact | None = None
        """Of a trained model: what `Run.link` puts into a row's lineage."""
        self.measured: dict[str, float] = {}
        """What its training measured, "loss" among it."""

    def __repr__(self) -> str:
        return f"<{self.role}: {self.model}>"

    async def chat(self, messages: Messages, *, n: int | None = None, **sampling: Any) -> Any:
        return await self._sample(Question("chat", messages=_messages(messages), sampling=_sampling(sampling)), n)

    async def complete(self, prompt: str, *, n: int | None = None, **sampling: Any) -> Any:
        return await self._sample(Question("complete", prompt=prompt, sampling=_sampling(sampling)), n)

    async def ask(self, messages: Messages, schema: type[S], **sampling: Any) -> Parsed[S]:
        asked = _messages(messages)
        form = msgspec.json.schema(schema)
        settings = _sampling(sampling)
        [reply] = await self._samples(Question("chat", messages=asked, sampling=settings, schema=form), 1)
        try:
            return _parsed(reply, schema)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            said = REPAIR.format(error=error, schema=_encode(form).decode())
            asked = [*asked, assistant(reply.text), user(said)]
        [repaired] = await self._samples(Question("chat", messages=asked, sampling=settings, schema=form), 1)
        try:
            return _parsed(repaired, schema)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise Unparsed(
                f"no valid {schema.__name__}, also after asking again: {error}", text=repaired.text
            ) from None

    async def embed(self, texts: Sequence[str]) -> Any:
        return await self._one(Question("embed", texts=list(texts))) if texts else []

    async def reward(self, messages: Sequence[Message]) -> Any:
        return await self._one(Question("reward", messages=list(messages)))

    async def score(self, prompt: str, continuation: str) -> Any:
        return await self._one(Question("score", prompt=prompt, continuation=continuation))

    async def choose(self, prompt: str, options: Sequence[str]) -> Any:
        if len(set(options)) < len(options) or not all(options):
            raise ValueError(f"choose: the options must be different texts, none empty: {list(options)}")
        return await self._one(Question("choose", prompt=prompt, texts=list(options)))

    async def hidden(self, text: str, *, layer: int = -1, pool: str = "mean") -> Any:
        return await self._one(Question("hidden", prompt=text, sampling={"layer": layer, "pool": pool}))

    async def search(self, corpus: Rows[Document], query: str, *, k: int = 10) -> Any:
        if k < 1:
            raise ValueError(f"k={k}: ask for at least one hit")
        question = Question("retrieve", prompt=query, corpus=await self._ledger.shelf.name(corpus), sampling={"k": k})
        return await self._one(question)

    async def states(self, statement: str) -> Any:
        return await self._one(Question("prove", prompt=statement, sampling={"state": True}))

    async def proves(self, statement: str, proof: str) -> Any:
        return await self._one(Question("prove", prompt=statement, continuation=proof))

    async def simulate(self, scene: str, *, seconds: float, watch: Sequence[str]) -> Any:
        asked = {"seconds": float(seconds), "watch": list(watch)}
        return await self._one(Question("simulate", prompt=scene, sampling=asked))

    async def annotate(self, task: Task, *, n: int | None = None, without: Collection[str] = ()) -> Any:
        asked = {"without": sorted(without)} if without else {}
        notes = await self._samples(Question("annotate", task=task, sampling=asked), 1 if n is None else n)
        return notes[0] if n is None else notes

    async def run(self, program: Program | str, *, limits: Limits | None = None) -> Any:
        return await self._one(Question("execute", job=Job(_program(program), limits)))

    async def check(
        self, program: Program | str, tests: str, *, names: list[str] | None = None, limits: Limits | None = None
    ) -> Any:
        return await self._one(Question("execute", job=Job(_program(program), limits, tests, names)))

    async def _one(self, question: Question) -> Any:
        return (await self._samples(question, 1))[0]

    async def _sample(self, question: Question, n: int | None) -> Reply | list[Reply]:
        replies = await self._samples(question, 1 if n is None else n)
        return replies[0] if n is None else replies

    async def _samples(self, question: Question, n: int) -> list[Any]:
        """n answers, from the journal where it has them, else from the endpoint."""
        if n < 1:
            raise ValueError(f"n={n}: ask for at least one sample")
        scope = current()
        body = _stable.encode(question)
        name = blake2b(self.identity + body, digest_size=16).hexdigest()
        first = scope.occurrence(name, n)
        keys = [_key(name, scope.place, first + index) for index in range(n)]
        journal = self._ledger.journal
        answers = [_replay(journal.find(key)) for key in keys]
        missing = [index for index, answer in enumerate(answers) if answer is None]
        self._ledger.replayed += n - len(missing)
        if missing:
            fresh = await self._fetch(question, body, name, scope.place, [(first + i, keys[i]) for i in missing])
            for index, answer in zip(missing, fresh, strict=True):
                answers[index] = answer
        if not scope.open_ended:  # a row of a whole set does not come from every call of the run
            scope.lineage.calls.extend(keys)
        decode = _decode[question.kind]
        decoded = [decode(answer) for answer in answers if answer is not None]
        if question.kind in ("chat", "complete", "annotate"):
            for reply, key in zip(decoded, keys, strict=True):
                reply.call = key
        return decoded

    async def obtain(
        self, question: Question, body: bytes, name: str, place: str, wanted: list[tuple[int, str]]
    ) -> list[bytes]:
        """The wanted samples of a question that another process asked, from the journal or from the endpoint."""
        find = self._ledger.journal.find
        answers = {key: _replay(find(key)) for _, key in wanted}
        missing = [(number, key) for number, key in wanted if answers[key] is None]
        self._ledger.replayed += len(wanted) - len(missing)
        if missing:
            fresh = await self._fetch(question, body, name, place, missing)
            answers.update({key: answer for (_, key), answer in zip(missing, fresh, strict=True)})
        return [answer for answer in answers.values() if answer is not None]

    async def _fetch(
        self, question: Question, body: bytes, name: str, place: str, wanted: list[tuple[int, str]]
    ) -> list[bytes]:
        """Ask for the wanted (sample number, key) pairs; committed to the journal when it returns."""
        ledger = self._ledger
        if ledger.offline:
            raise NotInJournal(
                f"offline, and the journal has no answer to this {question.kind} call of role {self.role!r} at {place}"
            )
        if getattr(self._backend, "queues", False):
            asked = [(TASK, (key, name, number, place, self.role, self.model)) for number, key in wanted]
            await ledger.journal.put([(QUESTION, (name, body)), *asked])
            raise Waiting(f"role {self.role!r} waits for {len(wanted)} answer{'s' * (len(wanted) > 1)} of {self.model}")
        if question.kind == "retrieve":
            await self._index(question.corpus)
        sent = pictures.shown(question, ledger.journal.folder)
        got: list[bytes] = []
        while len(got) < len(wanted):
            batch = wanted[len(got) : len(got) + self._backend.max_n]
            started = time.monotonic()
            error: CallFailed | None = None
            answer = Answer([], Usage())
            try:
                answer = await self.endpoint.call(self._backend, sent, len(batch), len(body), self._purse)
                if not answer.samples:
                    raise CallFailed(f"{self.endpoint.name} answered with no sample at all")
            except CallFailed as failed:
                error = failed
            ledger.asked += 1
            seconds = (time.monotonic() - started) / len(batch)
            # Vectors, one a text, are together a single answer.
            samples = [
                _encode(s) for s in ([answer.samples] if question.kind == "embed" else answer.samples)[: len(batch)]
            ]
            statements: list[Statement] = [(QUESTION, (name, body))]
            kept: list[bytes | None] = [*samples] or [None]
            for (number, key), sample, used in zip(
                batch, kept, _shares(answer.usage, max(1, len(samples))), strict=False
            ):
                cost = self._backend.price.cost(used) if self._backend.price else 0.0
                entry = (key, name, number, place, self.role, self.model, sample, _error(error))
                statements.append((CALL, (*entry, used.input, used.output, cost, seconds, 0)))
            await ledger.journal.put(statements)
            if error:
                raise error
            got.extend(samples)
        return got

    async def _index(self, corpus: str) -> None:
        """See that the backend knows a corpus. Vectors that it takes are journaled once, under the corpus's own place."""
        searcher = cast(Searcher, self._backend)
        texts = self._ledger.shelf.texts[corpus]
        async with self._ledger.shelf.lock:
            if corpus in searcher.indexed:
                return
            vectors: list[list[float]] = []
            if searcher.embedder is not None:
                asking = Handle(self.role, searcher.embedder, self._ledger, self.endpoint, self._purse)
                token = here.set(Scope(f"corpus/{corpus}", "", open_ended=True))
                try:
                    for start in range(0, len(texts), VECTORS):
                        vectors += await asking.embed(texts[start : start + VECTORS])
                finally:
                    here.reset(token)
            await searcher.index(corpus, texts, vectors)


def bind(step: str, role: str, backend: Backend, ledger: Ledger, concurrency: int | None) -> Handle:
    """Put a backend into a role of a step; backends at one address share one limit."""
    endpoint = ledger.endpoints.get(backend.endpoint)
    if endpoint is None:
        endpoint = ledger.endpoints[backend.endpoint] = Endpoint(
            backend.endpoint, backend.concurrency, ledger.halt, fixed=concurrency, changed=ledger.resize
        )
    if (most := getattr(backend, "most", None)) is not None:
        endpoint.at_most(most)
    ledger.resize()
    return Handle(role, backend, ledger, endpoint, ledger.budget.of(step, role))


def _key(question: str, place: str, sample: int) -> str:
    """`digest` of these three, without its loop: this runs once a call."""
    named = f"{question}\n{place}\n{sample}".encode("utf-8", "surrogatepass")
    return blake2b(named, digest_size=16).hexdigest()


def _messages(messages: Messages) -> list[Message]:
    if isinstance(messages, str):
        return [Message("user", messages)]
    if not messages:
        raise ValueError("a chat needs at least one message")
    return list(messages)


def _program(program: Program | str) -> Program:
    return Program(program) if isinstance(program, str) else program


def _sampling(given: dict[str, Any]) -> dict[str, Any]:
    sampling = {key: value for key, value in given.items() if value is not None}
    sampling.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    return sampling


def _parsed(reply: Reply, schema: type[S]) -> Parsed[S]:
    value = msgspec.json.decode(_unfence(reply.text), type=schema)
    return Parsed(reply.text, reply.finish, reply.thinking, reply.logprobs, reply.call, value)


def _unfence(text: str) -> str:
    """The JSON of a reply: models like to wrap it into a Markdown fence."""
    text = text.strip()
    if text.startswith("```"):
        return text.partition("\n")[2].rpartition("```")[0]
    return text


def _shares(usage: Usage, parts: int) -> list[Usage]:
    """A request's tokens, split over its samples: the prompt on the first, the reply evenly."""
    each, rest = divmod(usage.output, parts)
    return [Usage(usage.input if i == 0 else 0, each + (1 if i < rest else 0)) for i in range(parts)]


def _error(error: CallFailed | None) -> str | None:
    if error is None:
        return None
    status, code = getattr(error, "status", 0), getattr(error, "code", "")
    name = type(error).__name__
    return _encode({"error": name, "message": str(error), "status": status, "code": code}).decode()


def _replay(entry: tuple[bytes | None, str | None] | None) -> bytes | None:
    """The journal's answer; a journaled failure is raised again."""
    if entry is None or entry[1] is None:
        return entry[0] if entry else None
    kept = _any.decode(entry[1])
    refusal = REFUSALS.get(kept["error"])
    if refusal:
        raise refusal(kept["message"], status=kept["status"], code=kept["code"])
    raise CallFailed(kept["message"])
