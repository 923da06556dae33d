"""`openai:MODEL[@URL]`: any endpoint that speaks OpenAI's API, theirs, a router's, vLLM's, llama.cpp's, Ollama's.

Endpoints differ in what they take. Where one refuses a parameter, that is remembered for the rest of the run, noted,
and the question is asked again at once; only what a reply cannot do without (a token limit, log-probabilities) is
never dropped.

Not covered: streaming, tools, audio.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gristmill.errors import BadInput, EndpointDown, GristmillError, PromptTooLong, Refused, Transient
from gristmill.models import choices
from gristmill.models.http import Http, check_key, limits, retry_after
from gristmill.models.protocol import Answer, Image, Limits, Message, Price, Question, Reply, Text, Token, Usage

if TYPE_CHECKING:
    from gristmill.models.spec import Spec

URL = "https://api.openai.com/v1"

START = 64
"""Calls at once to begin with; the engine finds out how many are best."""
COMPLETION_MODELS = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
"""The only models that OpenAI itself still serves in raw completion."""

NO_CHANCE = -9999.0
"""Log-probability of zero. Endpoints write null or -9999 for it; minus infinity has no place in JSON."""

IN_WORDS = "\n\nAnswer with one JSON value that is valid by this JSON schema, and with nothing else:\n"

# What a reply can be had without. `stop` is then done here.
DROPPABLE = (
    "top_p",
    "temperature",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "continue_final_message",
    "add_generation_prompt",
)

_UNSUPPORTED = re.compile(
    r"unsupported|not support|n't support|unknown|unrecognized|unexpected|unavailable|not available|deprecated"
    r"|not (?:be )?(?:permitted|allowed|enabled)|extra (?:inputs|fields)|extra_forbidden|cannot both",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"maximum (?:context|input|prompt|sequence) length|context[ _](?:length|size|window)[^.]{0,60}exceed"
    r"|exceed[^.]{0,60}(?:context|maximum (?:number of )?(?:input )?tokens)|(?:prompt|input)[^.]{0,40} too (?:long|large)"
    r"|reduce the length of|max_tokens must be at least 1, got -",
    re.IGNORECASE,
)
_ONE_SCHEMA = re.compile(r"invalid[^.]{0,20}schema|schema conversion|grammar|in context=", re.IGNORECASE)
_NO_MODEL = re.compile(r"model\b.{0,80}(?:not found|does not exist|not exist)|no such model", re.IGNORECASE)
_MODERATED = re.compile(r"flagged|moderation|content[ _](?:policy|filter)|safety", re.IGNORECASE)
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
_FINISH = {"max_tokens": "length", "MAX_TOKENS": "length", "eos": "stop", "end_turn": "stop", "STOP": "stop"}


class _Top(msgspec.Struct):
    token: str
    logprob: float | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None
    id: Any = None  # llama.cpp's


class _Logprobs(msgspec.Struct):
    """Both forms at once: chat has `content`; completion has the parallel lists, except llama.cpp's, which is chat's."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None

    def read(self, top: int) -> list[Token]:
        """Tokens, each with its `top` best rivals: endpoints add more than asked for."""
        if self.content is not None:
            found = [(t.token, t.logprob, {r.token: r.logprob for r in t.top_logprobs or ()}) for t in self.content]
        else:
            tokens = self.tokens or []
            tops: Sequence[dict[str, float | None] | None] = self.top_logprobs or [None] * len(tokens)
            chances = self.token_logprobs or [None] * len(tokens)
            found = [(t, p, rivals or {}) for t, p, rivals in zip(tokens, chances, tops, strict=False)]
        return [
            Token(text, _chance(p), dict(sorted(((t, _chance(r)) for t, r in rivals.items()), key=_worst_last)[:top]))
            for text, p, rivals in found
        ]


class _Said(msgspec.Struct):
    # A list of parts at Mistral's reasoning models.
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Piece(msgspec.Struct):
    id: int
    piece: str | list[int]  # bytes, where it is a part of a character


class Good(msgspec.Struct):
    choices: list[_Choice] | None = None
    data: list[_Vector] | None = None
    usage: _Usage | None = None
    error: Any = None  # OpenRouter answers 200 with an error inside
    timings: Any = None  # llama.cpp's mark
    limits: Any = None  # ours: `Limits` of the headers
    tokens: list[_Piece] | None = None  # of llama.cpp's /tokenize


class Problem(msgspec.Struct):
    """What an endpoint said went wrong, whatever form it said it in."""

    message: str
    code: str = ""
    param: str = ""
    sizes: str = ""
    status: int = 0


_decoder = msgspec.json.Decoder(Good)


class OpenAI:
    """A model at an OpenAI-compatible `url`.

    Args:
        key: name of the environment variable that holds the key. Default: OPENAI_API_KEY for OpenAI's own address, no
            key for others.
        timeout: seconds for one call. Long, since a busy server queues: slow means loaded, not broken.
    """

    backend = "openai"

    def __init__(
        self,
        model: str,
        *,
        url: str = URL,
        key: str = "",
        context: int | None = None,
        price: Price | None = None,
        timeout: float = 600.0,
        concurrency: int | None = None,
    ) -> None:
        self.model, self.url, self.context, self.price = model, url.rstrip("/"), context, price
        self.concurrency = concurrency or START
        self.most = concurrency
        """Calls at once, at most; None: as many as it answers well."""
        self.max_n = 128
        """OpenAI's limit. Falls to what the endpoint turns out to serve."""
        self.endpoint = "/".join(self.url.split("/")[:3])
        self.spec = f"{self.backend}:{model}@{self.url}"
        """How a user names this model."""
        self.notes: list[str] = []
        """What a user should know about how this endpoint had to be asked."""
        self._official = re.fullmatch(r"https://([a-z]+\.)?api\.openai\.com", self.endpoint) is not None
        self._key_name = key or ("OPENAI_API_KEY" if self._official else "")
        self.can = self._abilities()
        # OpenAI's newer models refuse `max_tokens` and all of its chat models take the other.
        self._renamed = {"max_tokens": "max_completion_tokens"} if self._official else {}
        self._dropped: set[str] = set()
        # vLLM would close a prefill and begin a new message. llama.cpp takes both, and continues anyway.
        self._prefill = {} if self._official else {"continue_final_message": True, "add_generation_prompt": False}
        self._in_words = False
        self._formats: dict[bytes, msgspec.Raw | None] = {}
        """How a schema is sent, by its text. None: in words."""
        self._forces = False
        """It is a llama.cpp server: no echo, but grammars of tokens."""
        self._http = Http(self.url, timeout=timeout)

    def _abilities(self) -> frozenset[str]:
        if not self._official:
            # Of a server that we do not know, believe all.
            return frozenset({"Chat", "Complete", "See", "Embed", "Score", "Choose"})
        if self.model in COMPLETION_MODELS:
            return frozenset({"Complete"})
        return frozenset({"Embed"} if self.model.startswith("text-embedding") else {"Chat", "See"})

    def identity(self) -> dict[str, Any]:
        return {"backend": self.backend, "model": self.model}

    async def start(self) -> None:
        key = check_key(os.environ.get(self._key_name, ""), self._key_name) if self._key_name else ""
        if self._key_name and not key:
            raise BadInput(
                f"{self.backend}:{self.model} needs a key and the environment variable {self._key_name} is not set. Set "
                f"it, name another one with ,key=NAME, or use a model without a key: embedded:smollm2-135m-instruct, "
                f"openai:MODEL@http://localhost:8000/v1"
            )
        await self._http.open(key)

    async def close(self) -> None:
        await self._http.close()

    async def answer(self, question: Question, n: int) -> Answer:
        if question.kind == "embed":
            return await self._embed(question.texts)
        if question.kind == "score":
            return await self._score(question.prompt, question.continuation)
        if question.kind == "choose":
            return await self._choose(question.prompt, question.texts)
        chat = question.kind == "chat"
        for _ in range(len(DROPPABLE) + 4):  # each turn learns something, so it ends before
            asked = self._body(question, n)
            try:
                good = await self._post("/chat/completions" if chat else "/completions", asked)
                break
            except _Peculiar as peculiar:
                if not self._learn(peculiar.problem, asked, question):
                    raise peculiar.meaning from None
        else:
            raise Refused(f"{self._here()} refuses one parameter after the other")
        choices = good.choices
        if not choices or any(choice.finish_reason == "error" for choice in choices):
            raise Transient(f"{self._here()}: an answer without a choice")
        if len(choices) < asked.get("n", 1):
            self.max_n = max(1, len(choices))  # it takes `n` and does not heed it
        elif len(choices) > 1 and good.timings is not None:
            self.max_n = 1  # llama.cpp's usage counts the first choice only: later calls ask for one, and count right
        samples = [self._reply(choice, question) for choice in choices[:n]]
        return Answer(samples, self._usage(good, asked, samples), good.limits)

    # What is sent

    def _body(self, question: Question, n: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model}
        sampling = question.sampling
        if question.kind == "chat":
            messages = question.messages
            words = ""
            if question.schema is not None:
                schema = msgspec.json.encode(question.schema)
                if schema not in self._formats:
                    self._formats[schema] = msgspec.Raw(msgspec.json.encode(_response_format(question.schema)))
                if self._in_words or (native := self._formats[schema]) is None:
                    words = IN_WORDS + schema.decode()
                else:
                    body["response_format"] = native
            plain = not words and all(type(message.content) is str for message in messages)
            body["messages"] = messages if plain else _messages(messages, words)
            if messages and messages[-1].role == "assistant":
                body.update(self._prefill)
            body.update(sampling)
        else:
            body["prompt"] = question.prompt
            body.update(sampling)
            top = body.pop("top_logprobs", 0)
            if body.pop("logprobs", False):
                body["logprobs"] = max(1, top)
        if n > 1 and self.max_n > 1:
            body["n"] = min(n, self.max_n)
        if self._dropped:
            for name in self._dropped:
                body.pop(name, None)
        if question.kind == "chat":
            for name, other in self._renamed.items():
                if name in body:
                    body[other] = body.pop(name)
        return body

    async def _post(self, path: str, body: dict[str, Any]) -> Good:
        try:
            data = msgspec.json.encode(body)
        except UnicodeEncodeError as broken:
            raise Refused(f"the prompt is not valid text: {broken.reason} at {broken.start}") from None
        status, headers, answer = await self._http.post(path, data)
        if status >= 300:
            raise self._problem(status, headers, _problem(answer))
        good = _decode(answer)
        if good is None:
            raise Transient(f"{self._here()}: an answer that is not JSON as agreed: {self._short(answer)}")
        if good.error and not good.choices:
            problem = _problem(answer)
            raise self._problem(problem.status or 502, headers, problem)
        good.limits = limits(headers)
        return good

    # What comes back

    def _reply(self, choice: _Choice, question: Question) -> Reply:
        thinking = ""
        if (said := choice.message) is not None:
            text, thinking = _said(said)
            last = question.messages[-1] if question.messages else None
            if last is not None and last.role == "assistant" and isinstance(last.content, str):
                text = text.removeprefix(last.content)  # llama.cpp repeats the prefill
            if "think>" in text:
                text, thinking = _split_thinking(text, thinking)
        else:
            text = choice.text or ""
        finish = choice.finish_reason or "stop"
        if said is not None and said.refusal and not text:
            text, finish = said.refusal, "refusal"
        reply = Reply(text, _FINISH.get(finish, finish), thinking)
        if choice.logprobs is not None and question.sampling.get("logprobs"):
            reply.logprobs = choice.logprobs.read(question.sampling.get("top_logprobs") or 0)
        if "stop" in self._dropped and (stop := question.sampling.get("stop")):
            _cut(reply, [stop] if isinstance(stop, str) else stop)
        return reply

    def _usage(self, good: Good, asked: dict[str, Any], samples: list[Reply]) -> Usage:
        if (used := good.usage) is None or (used.prompt_tokens is None and used.total_tokens is None):
            # A budget must not stand still because an endpoint does not count: 4 characters are about a token.
            written = sum(len(sample.text) + len(sample.thinking) for sample in samples)
            return Usage(len(msgspec.json.encode(asked)) // 4 + 1, written // 4 + 1)
        prompt = max(0, used.prompt_tokens or 0)  # an endpoint cannot give tokens back
        # xAI and Gemini count thoughts in the total only.
        return Usage(prompt, max(0, used.completion_tokens or 0, (used.total_tokens or 0) - prompt))

    async def _embed(self, texts: list[str]) -> Answer:
        vectors: list[list[float]] = []
        usage, left = Usage(), None
        for start in range(0, len(texts), 256):  # OpenAI takes 2048 texts and 300 000 tokens at once; others take less
            part = texts[start : start + 256]
            asked = {"model": self.model, "input": part}
            try:
                good = await self._post("/embeddings", asked)
            except _Peculiar as peculiar:
                raise peculiar.meaning from None
            found = sorted(good.data or [], key=lambda vector: vector.index)
            if len(found) != len(part):
                raise Transient(f"{self._here()}: {len(found)} vectors for {len(part)} texts")
            vectors += [vector.embedding for vector in found]
            used = self._usage(good, asked, [])
            usage = Usage(usage.input + used.input, 0)
            left = good.limits
        return Answer(vectors, usage, left)

    async def _score(self, prompt: str, continuation: str) -> Answer:
        tokens, usage, left = await self._echo(prompt + continuation)
        # Counted from the end: a token for the beginning of the text stands before the first and shifts all offsets.
        if not "".join(token.text for token in tokens).endswith(continuation):
            raise Refused(f"{self._here()}: the tokens of this continuation do not add up to its text", code="tokens")
        first, length = len(tokens), 0
        while length < len(continuation):  # a token across the border belongs to the continuation
            first -= 1
            length += len(tokens[first].text)
        return Answer([tokens[first:]], usage, left)

    async def _echo(self, text: str) -> tuple[list[Token], Usage, Limits | None]:
        """By `echo` the endpoint repeats the text with the log-probability of each of its tokens."""
        asked = {"model": self.model, "prompt": text, "max_tokens": 0, "echo": True, "logprobs": 1}
        try:
            good = await self._post("/completions", asked)
        except _Peculiar as peculiar:
            self._forces = "no echo" in peculiar.problem.message  # an older llama.cpp
            if not self._forces:
                raise peculiar.meaning from None
            good = Good()
        choice = good.choices[0] if good.choices else _Choice()
        tokens = choice.logprobs.read(0) if choice.logprobs else []
        if not (choice.text or "").startswith(text) or not tokens:
            self._forces |= good.timings is not None
            raise EndpointDown(
                f"{self._here()} does not give log-probabilities of a given text (it ignores `echo`); vLLM's server does"
            )
        return tokens, self._usage(good, asked, []), good.limits

    async def _choose(self, prompt: str, options: list[str]) -> Answer:
        """As `models/choices.py` says; a request an option."""
        if not self._forces:
            try:
                found = [await self._echo(prompt + option) for option in options]
            except EndpointDown:
                if not self._forces:
                    raise
            else:
                common = choices.common_start([[token.text for token in tokens] for tokens, _, _ in found])
                sums = [sum(token.logprob for token in tokens[common:]) for tokens, _, _ in found]
                used = Usage(sum(u.input for _, u, _ in found), sum(u.output for _, u, _ in found))
                return Answer([choices.shares(sums)], used, found[-1][2])
        return await self._force(prompt, options)

    async def _force(self, prompt: str, options: list[str]) -> Answer:
        """llama.cpp reports the model's own probabilities of what a grammar made it write.

        Forced token by token: of a grammar of letters it would take the first token that fits, such as the space alone
        before a name, and go on where no text ever does.
        """
        found = [await self._tokens(prompt + option) for option in options]
        rows = [[token.id for token in tokens] for tokens in found]
        common = choices.common_start(rows)
        if common == 0:
            raise Refused(f"{self._here()} needs a prompt to choose after: the options have no first token in common")
        sums: list[float] = []
        used = Usage()
        for row, tokens in zip(rows, found, strict=True):
            rest = row[common:]
            if not rest:  # it begins all the others
                sums.append(0.0)
                continue
            if any(isinstance(token.piece, list) for token in tokens[common:]):
                raise Refused(
                    f"{self._here()}: an option holds a character of several tokens, and llama.cpp tells the probability of "
                    f"the last one only. A model in torch (transformers:) can choose"
                )
            grammar = "root ::= " + " ".join(f"<[{token}]>" for token in rest)
            asked = {"model": self.model, "prompt": row[:common], "max_tokens": len(rest), "grammar": grammar}
            try:
                good = await self._post("/completions", {**asked, "temperature": 0, "logprobs": 1})
            except _Peculiar as peculiar:
                raise peculiar.meaning from None
            choice = good.choices[0] if good.choices else _Choice()
            written = (choice.logprobs.content if choice.logprobs else None) or []
            if [token.id for token in written[: len(rest)]] != rest:
                raise EndpointDown(f"{self._here()} does not heed a grammar of tokens (a newer llama.cpp server does)")
            sums.append(sum(_chance(token.logprob) for token in written[: len(rest)]))
            now = self._usage(good, asked, [])
            used = Usage(used.input + now.input, used.output + now.output)
        return Answer([choices.shares(sums)], used)

    async def _tokens(self, text: str) -> list[_Piece]:
        """As the server reads a raw prompt. It has this beside its API, not below it."""
        server = Http(self.url.removesuffix("/v1"), timeout=self._http.timeout)
        await server.open(self._http.key)
        asked = {"content": text, "add_special": True, "parse_special": True, "with_pieces": True}
        try:
            status, headers, answer = await server.post("/tokenize", msgspec.json.encode(asked))
        except UnicodeEncodeError as broken:
            raise Refused(f"the prompt is not valid text: {broken.reason} at {broken.start}") from None
        finally:
            await server.close()
        if status >= 300:
            trouble = self._problem(status, headers, _problem(answer))
            raise trouble.meaning if isinstance(trouble, _Peculiar) else trouble
        if (good := _decode(answer)) is None or good.tokens is None:
            raise EndpointDown(f"{self._here()} does not say how it splits a text into tokens: {self._short(answer)}")
        return good.tokens

    # What goes wrong

    def _here(self) -> str:
        return f"{self.model} at {self.url}"

    def _short(self, data: bytes) -> str:
        text = self._http.hide(data[:2000].decode("utf-8", "replace"))
        return repr(text if len(text) <= 300 else text[:300] + "...")

    def _problem(self, status: int, headers: Mapping[str, str], problem: Problem) -> Exception:
        """The error that a status and a message mean."""
        said = self._http.hide(problem.message)
        said = (said if len(said) <= 600 else said[:600] + "...") or "no message"
        text = f"{self._here()}: {said} (HTTP {status})"
        long = problem.code in ("context_length_exceeded", "exceed_context_size_error")
        if status in (400, 413, 422, 500) and (long or _TOO_LONG.search(problem.message)):
            return PromptTooLong(
                f"the prompt does not fit into the context of {self._here()}: {said}{problem.sizes}",
                status=status,
                code=problem.code or "context_length_exceeded",
            )
        if status < 400:
            target = self._http.hide(headers.get("location", "nowhere").split("?")[0])
            return EndpointDown(
                f"{self.url} redirects to {target}; that is not followed, for it would take the key along"
            )
        if status == 401 or (status == 403 and not _MODERATED.search(problem.message)):
            if self._key_name:
                return EndpointDown(f"{self._here()} refused the key in {self._key_name}: {said} (HTTP {status})")
            return EndpointDown(f"{text}. No key was sent: name the environment variable that holds it with ,key=NAME")
        if status == 402 or problem.code in _NO_MONEY:
            return EndpointDown(f"{text}. The account behind this key cannot pay for the call")
        if problem.code == "model_not_found" or (status == 400 and _NO_MODEL.search(problem.message)):
            return EndpointDown(f"{text}. There is no such model")
        if status in (404, 405, 501):
            return EndpointDown(
                f"{text}. Check the model's name, and that the URL is the API's base (it often ends in /v1). A model "
                f"without raw completions can be asked in chat: ,as=complete"
            )
        if status in (408, 409, 425, 429) or (status >= 500 and "not supported" not in said):
            return Transient(
                text,
                retry_after=retry_after(headers),
                busy=status == 429,
                down=status in (502, 503, 529),  # a 504 may be of one call that takes too long
                limits=limits(headers),
            )
        refused = Refused(text, status=status, code=problem.code)
        return _Peculiar(problem, refused) if status in (400, 422) else refused

    def _learn(self, problem: Problem, asked: dict[str, Any], question: Question) -> bool:
        """Remember what this endpoint does not take. True: the same question, asked anew, now looks different."""
        said, param = problem.message, problem.param
        if "response_format" in asked and (
            param.startswith("response_format")
            or re.search(r"response_format|json_schema|structured output|schema|grammar", said, re.IGNORECASE)
        ):
            if _ONE_SCHEMA.search(said):
                self._formats[msgspec.json.encode(question.schema)] = None
            else:
                self._in_words = True
                self._note("does not take JSON schemas; they are put into the prompt")
            return True
        if "n" in asked and (param == "n" or re.search(r"['\"`]n['\"`]|\bn must be\b", said)):
            limit = re.search(r"(?:<=|at most|maximum[^\d]{0,20}) ?(\d+)", said)
            self.max_n = max(1, min(int(limit[1]) if limit else 1, asked["n"] - 1))
            return True
        if "max_tokens" in asked and "max_completion_tokens" in said and question.kind == "chat":
            self._renamed["max_tokens"] = "max_completion_tokens"
            return True
        if problem.code in ("unsupported_parameter", "unsupported_value") or _UNSUPPORTED.search(said):
            for name in DROPPABLE:
                # Words like "stop" and "seed" may be mentioned by chance: they count in quotes, or as the parameter.
                pattern = rf"\b{name}\b" if "_" in name or name == "temperature" else rf"['\"`]{name}['\"`]"
                if name in asked and (param == name or (not param and re.search(pattern, said))):
                    self._dropped.add(name)
                    if "_p" in name or "_" not in name:  # the two that we add ourselves are nobody's concern
                        self._note(f"does not take {name}; it is asked without")
                    return True
        return False

    def _note(self, text: str) -> None:
        if (note := f"{self.model} {text}") not in self.notes:
            self.notes.append(note)


class _Peculiar(Exception):
    """A refusal that may be of a parameter and not of the question. It never leaves this module."""

    def __init__(self, problem: Problem, meaning: GristmillError) -> None:
        self.problem, self.meaning = problem, meaning


def _chance(logprob: float | None) -> float:
    return NO_CHANCE if logprob is None else logprob


def _worst_last(rival: tuple[str, float]) -> float:
    return -rival[1]


def _decode(data: bytes) -> Good | None:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        # Half an emoji at the end of a cut reply, a bare NaN: Python's reader takes them, and they become ? and null.
        loose = json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)
        return _decoder.decode(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _problem(data: bytes) -> Problem:
    """The forms met: {"error": {...}} (OpenAI, llama.cpp), {"message": ...} (vLLM), {"error": "..."} (Ollama),
    {"detail": [{"loc": ..., "msg": ...}]} (FastAPI), [{"error": {...}}] (Google), plain text (proxies)."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(re.sub(r"<[^>]*>|\s+", " ", data[:4000].decode("utf-8", "replace")).strip())
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return Problem(str(found))
    error = found.get("error") or found
    if not isinstance(error, dict):
        return Problem(str(error))
    detail = error.get("detail")
    param = error.get("param")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        param = param or str((detail[0].get("loc") or [""])[-1])
        detail = f"{detail[0].get('type', '')}: {detail[0].get('msg', '')} ({param})"
    message = error.get("message") or detail or found.get("message") or data[:2000].decode("utf-8", "replace")
    if isinstance(metadata := error.get("metadata"), dict) and isinstance(metadata.get("raw"), str):
        message = f"{message}: {metadata['raw']}"  # OpenRouter: what the provider behind it said
    code, kind = error.get("code"), error.get("type")
    sizes = ""
    if (asked := error.get("n_prompt_tokens")) and str(asked) not in str(message):  # older llama.cpp
        sizes = f" ({asked} tokens of prompt, {error.get('n_ctx')} of context)"
    return Problem(
        str(message),
        code=code if isinstance(code, str) and not code.isdigit() else kind if isinstance(kind, str) else "",
        param=param if isinstance(param, str) else "",
        sizes=sizes,
        status=int(code) if isinstance(code, int | str) and str(code).isdigit() and 400 <= int(code) < 600 else 0,
    )


def _said(said: _Said) -> tuple[str, str]:
    """A message's text and its thoughts."""
    thinking = said.reasoning_content or said.reasoning or ""
    thinking = thinking if isinstance(thinking, str) else ""
    if isinstance(said.content, str):
        return said.content, thinking
    texts = []
    for part in said.content or ():
        if part.get("type") == "thinking":
            thoughts = part.get("thinking")
            thinking += thoughts if isinstance(thoughts, str) else "".join(t.get("text", "") for t in thoughts or ())
        else:
            texts.append(part.get("text") or "")
    return "".join(texts), thinking


def _split_thinking(text: str, thinking: str) -> tuple[str, str]:
    """<think>...</think> at the beginning, where the endpoint did not take it out. Some templates open it in the
    prompt, so that only its end is in the reply; of a reply that was cut, only the beginning may be."""
    head, end, rest = text.partition("</think>")
    opened = head.lstrip().startswith("<think>")
    if opened or (end and "<think>" not in head):
        return rest.lstrip(), thinking + head.lstrip().removeprefix("<think>").strip()
    return text, thinking


def _cut(reply: Reply, stops: Sequence[str]) -> None:
    places = [place for stop in stops if stop and (place := reply.text.find(stop)) >= 0]
    if places:
        reply.text, reply.finish = reply.text[: min(places)], "stop"


def _messages(messages: Sequence[Message], words: str) -> list[dict[str, Any]]:
    """Messages as the wire has them; `words` go to the end of the last user message."""
    wire: list[dict[str, Any]] = []
    for message in messages:
        content: str | list[dict[str, Any]]
        if isinstance(message.content, str):
            content = message.content
        else:
            content = [_part(part) for part in message.content]
        wire.append({"role": message.role, "content": content})
    if words:
        last = next((message for message in reversed(wire) if message["role"] == "user"), None)
        if last is None:
            wire.append({"role": "user", "content": words.strip()})
        elif isinstance(last["content"], str):
            last["content"] += words
        else:
            last["content"].append({"type": "text", "text": words.strip()})
    return wire


def _part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    root, definitions = schema, schema.get("$defs", {})
    if (reference := schema.get("$ref", "")).startswith("#/$defs/"):
        # OpenAI wants an object at the root, not a reference to one.
        root = {**definitions.get(reference.removeprefix("#/$defs/"), {}), "$defs": definitions}
    strict = _strict(root) if root.get("type") == "object" else None
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", root.get("title") or "reply")[:64]  # the characters that OpenAI takes
    body = {"name": name, "schema": strict or root, "strict": strict is not None}
    return {"type": "json_schema", "json_schema": body}


def _strict(schema: Any) -> Any:
    """The schema in the subset that OpenAI enforces: all fields required, no others. None where it has no such form
    (an object with free keys). A field with a default becomes a field that is always written: still valid."""
    if isinstance(schema, list):
        parts = [_strict(part) for part in schema]
        return parts if None not in parts else None
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "object" and not isinstance(schema.get("properties"), dict):
        return None
    strict: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("default", "discriminator"):
            continue
        if key in ("properties", "$defs"):
            strict[key] = {name: _strict(part) for name, part in value.items()}
            if None in strict[key].values():
                return None
        elif key in ("anyOf", "oneOf", "items", "prefixItems"):
            if (part := _strict(value)) is None:
                return None
            strict["anyOf" if key == "oneOf" else key] = part
        else:
            strict[key] = value
    if "properties" in strict:
        strict["required"], strict["additionalProperties"] = list(strict["properties"]), False
    return strict


def from_spec(spec: Spec, price: Price | None) -> OpenAI:
    return OpenAI(
        spec.model,
        url=spec.url or URL,
        key=spec.key,
        context=spec.context,
        price=price,
        timeout=spec.timeout or 600.0,
        concurrency=spec.concurrency,
    )
