"""`transformers:FOLDER` or `transformers:FILE.gguf`, with [,device=cuda][,context=N]: a causal language model on this
machine, in torch. It gives what few servers do: log-probabilities of a given text, and hidden states.

`transformers:smollm2-135m-instruct` is the embedded model's file. Calls are computed one after the other, each alone in
its batch (n samples of one prompt, and the options of one choice, are one batch): what stands beside a text in a batch
would change its last digits. For many calls a minute a vLLM server is the better choice.

The same weights are the same model on any device: float32 on a CPU, what the file holds (often bfloat16) elsewhere.

It can be trained: `at` is the same kind of model with a checkpoint's weights, loaded when it is first asked. Of those,
the last two that were asked stay in memory.

Not covered: pictures, schemas enforced while writing (they are put in words), a server's batching.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gristmill.errors import BadInput, PromptTooLong, Refused
from gristmill.models import choices, finetune, local, weights
from gristmill.models.openai import IN_WORDS, NO_CHANCE
from gristmill.models.protocol import Answer, Message, Price, Question, Reply, Token, Usage
from gristmill.models.spec import Spec
from gristmill.models.training import Course, Method, Progress, Session, Training
from gristmill.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIVE = 2
"""Trained models that stay loaded: the newest, and the one before it."""
TAIL = 8
"""Tokens of a prompt that are read with a reply: what a token stands for can depend on those before it."""
SAMPLING = {"max_tokens", "temperature", "top_p", "stop", "seed", "logprobs", "top_logprobs"}
SAMPLING |= {"presence_penalty", "frequency_penalty"}

GiveUp = Callable[[], bool]


class Transformers:
    """A causal language model.

    Args:
        model: a folder as `save_pretrained` makes one, with its tokenizer; a .gguf file; or a name in `weights.KNOWN`.
        device: "cuda" where there is one unless given.
        context: tokens of prompt and reply; the model's own unless given.
        origin: of a trained model, the one that it was trained from and the name of its checkpoint; its folder need not
            be there before it is asked.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "",
        context: int | None = None,
        origin: tuple[Transformers, str] | None = None,
    ) -> None:
        self._known = weights.KNOWN.get(model)
        self.weights = Path(model).expanduser()
        """Where they lie."""
        self._origin = origin
        self._alive: list[Transformers] = origin[0]._alive if origin else []
        """Trained models that are loaded, the one that was asked last at the end."""
        if origin:
            pass  # what was trained in this run, or in the one that it repeats
        elif self._known is None and self.weights.suffix != ".gguf":
            self.weights = local.folder("transformers", model, "config.json")
        elif self._known is None and not self.weights.is_file():
            raise BadInput(f"transformers: there is no file {self.weights}")
        self.model = self.weights.name
        chats = self.weights.suffix == ".gguf" or self._known is not None or _has_template(self.weights)
        self.can = frozenset({"Complete", "Score", "Choose", "Hidden", "Trainable"} | ({"Chat"} if chats else set()))
        if origin:
            self.can = origin[0].can | {"Reward"}
        self.endpoint = self.spec = f"transformers:{model}"
        self.concurrency = self.most = 1
        self.max_n = 8
        self.context = context
        self.price: Price | None = Price(0, 0)
        self._device = device
        self._lane = local.Lane("transformers")
        self._torch: Any = None
        self._tokenizer: Any = None
        self._net: Any = None
        self._ends: set[int] = set()
        self._cache = ""

    def identity(self) -> dict[str, Any]:
        if self._origin:
            return {**self._origin[0].identity(), "trained": self._origin[1]}
        digest = self._known.sha256 if self._known else local.content(self.weights)
        return {"backend": "transformers", "weights": digest}

    async def start(self) -> None:
        gguf = ["gguf"] if self._known or self.weights.suffix == ".gguf" else []
        require("transformers:", "transformers", "torch", "transformers", *gguf)
        if self._net is None:
            await self._lane.do(self._load)

    async def train(self, course: Course, folder: Path, progress: Progress) -> dict[str, float]:
        if self._known:
            self.weights = await self._lane.do(weights.locate, self._known)
        return await finetune.train(str(self.weights), course, folder, progress, device=self._device)

    def at(self, checkpoint: Path, name: str) -> Transformers:
        return Transformers(str(checkpoint), device=self._device, context=self.context, origin=(self, name))

    def session(self, method: Method, training: Training, reference: str) -> Session:
        from gristmill.models.online import Online

        return Online(self, method, training, reference)

    async def _ready(self) -> None:
        """Loaded, and of the trained ones no more than two with it."""
        await self.start()
        if self._origin:
            self._alive[:] = [one for one in self._alive if one is not self] + [self]
            for old in self._alive[:-ALIVE]:
                old._net = old._tokenizer = None
            del self._alive[:-ALIVE]

    def _load(self) -> None:
        import torch
        import transformers

        if self._origin and not self.weights.exists():
            raise BadInput(
                f"transformers: the checkpoint {self.weights} is gone, and a question came that the journal cannot answer. "
                "Rerun into a new folder without it in the journal, or put it back"
            )
        if self._known:
            self.weights = weights.locate(self._known)
        source = self.weights
        options: dict[str, Any] = {"local_files_only": True}
        if source.is_file():
            source, options["gguf_file"] = source.parent, source.name
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            torch.set_num_threads(local.threads())
        try:
            with _quickly(transformers, "gguf_file" in options):
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
                net = self._kind(transformers).from_pretrained(
                    source, dtype=torch.float32 if device == "cpu" else "auto", **options
                )
            self._net = net.to(device).eval().requires_grad_(False)
        except Exception as error:  # whatever the libraries make of it, the files are what is wrong
            raise BadInput(f"transformers: {self.weights} cannot be loaded: {error}") from error
        self._torch = torch
        # Called otherwise from 5.24 on; the old name warns there, and is gone from 5.40 on.
        self._cache = "cache" if "cache" in signature(net.forward).parameters else "past_key_values"
        most = getattr(net.config, "max_position_embeddings", None)
        self.context = min(filter(None, (self.context, most)), default=None)
        ends = net.generation_config.eos_token_id
        self._ends = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}

    def _kind(self, transformers: Any) -> Any:
        """A reward model has a head of its own."""
        config = self.weights / "config.json"
        if config.is_file() and b"ForSequenceClassification" in config.read_bytes():
            return transformers.AutoModelForSequenceClassification
        return transformers.AutoModelForCausalLM

    async def answer(self, question: Question, n: int) -> Answer:
        await self._ready()
        match question.kind:
            case "reward":
                return await self._lane.do(self._reward, question)
            case "score":
                return await self._lane.do(self._score, question.prompt, question.continuation)
            case "choose":
                return await self._lane.do(self._choose, question.prompt, question.texts)
            case "hidden":
                return await self._lane.do(self._hidden, question.prompt, question.sampling)
            case "chat" | "complete":
                return await self._lane.work(self._write, question, min(n, self.max_n))
        raise BadInput(f"transformers: {self.model} cannot {question.kind}")

    async def close(self) -> None:
        await self._lane.close()
        self._net = self._tokenizer = None

    # Text and tokens

    def _ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of a raw text as the model reads it, with its own first token if it has one, and where in the text
        each stands."""
        found = self._tokenizer(
            _clean(text), return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
        )
        ids, places, added = found["input_ids"], found["offset_mapping"], found["special_tokens_mask"]
        while added and added[-1]:  # an end, which some tokenizers put behind every text
            ids, places, added = ids[:-1], places[:-1], added[:-1]
        return self._fits(ids), places

    def _fits(self, ids: list[int], room: int = 0) -> list[int]:
        if self.context is not None and len(ids) + room > self.context:
            raise PromptTooLong(
                f"the prompt does not fit into the context of {self.model}: {len(ids)} tokens, {self.context} of context",
                code="context_length_exceeded",
            )
        return ids

    def _logits(self, rows: list[list[int]], keep: int) -> Any:
        """Of the last `keep` places of each row, as float32: what the model expects after them. Shorter rows are filled up
        at their end, which no token before sees."""
        width = max(map(len, rows))
        ids = self._torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self._net.device)
        with self._torch.inference_mode():
            return self._net(input_ids=ids, logits_to_keep=keep, use_cache=False).logits.float()

    # What is asked

    def _score(self, prompt: str, continuation: str) -> Answer:
        """A token across the border belongs to the continuation. A first token with nothing before it has no probability."""
        text = _clean(prompt + continuation)
        ids, places = self._ids(text)
        first = next((i for i, (_, end) in enumerate(places) if end > len(prompt)), len(ids))
        if not continuation or first == len(ids):
            return Answer([[]], Usage(len(ids)))
        chances: list[float] = [NO_CHANCE] if first == 0 else []
        begin = max(first, 1)
        if begin < len(ids):
            logits = self._logits([ids], len(ids) - begin + 1)[0, :-1]
            wanted = self._torch.tensor(ids[begin:], device=logits.device)
            taken = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(1)
            chances += taken.tolist()
        at = max((end for _, end in places[:first]), default=0)
        tokens = []
        for (_, end), chance in zip(places[first:], chances, strict=True):
            tokens.append(Token(text[at:end], chance))  # of a character of several tokens the first one holds it
            at = max(at, end)
        return Answer([tokens], Usage(len(ids)))

    def _choose(self, prompt: str, options: list[str]) -> Answer:
        rows = [self._ids(prompt + option)[0] for option in options]
        common = choices.common_start(rows)
        if common == 0:
            raise Refused(f"{self.model} needs a prompt to choose after: it has no token for the beginning of a text")
        sums: list[float] = []
        for start in range(0, len(rows), self.max_n):
            batch = rows[start : start + self.max_n]
            width = max(map(len, batch))
            logits = self._logits(batch, width - common + 1)
            for row, found in zip(batch, logits, strict=True):
                wanted = self._torch.tensor(row[common:], device=found.device, dtype=self._torch.long)
                expected = found[: len(wanted)]
                taken = expected.gather(1, wanted[:, None])[:, 0] - expected.logsumexp(1)
                sums.append(float(taken.double().sum()))
        return Answer([choices.shares(sums)], Usage(sum(map(len, rows))))

    def _hidden(self, text: str, asked: dict[str, Any]) -> Answer:
        ids, _ = self._ids(text)
        if not ids:
            raise Refused(f"{self.model}: an empty text has no hidden state")
        with self._torch.inference_mode():
            rows = self._torch.tensor([ids], device=self._net.device)
            states = self._net(input_ids=rows, output_hidden_states=True, logits_to_keep=1).hidden_states
        layer = asked["layer"]
        if not -len(states) <= layer < len(states):
            raise Refused(f"{self.model} has {len(states) - 1} layers; layer={layer} is none (0: the embeddings)")
        found = states[layer][0].float()
        pooled = found[-1] if asked["pool"] == "last" else found.mean(0)
        return Answer([pooled.tolist()], Usage(len(ids)))

    def _reward(self, question: Question) -> Answer:
        """What a model that was trained on pairs gives a chat, unbounded."""
        ids = self._prompt(Question("chat", messages=[*question.messages]))
        with self._torch.inference_mode():
            found = self._net(input_ids=self._torch.tensor([ids], device=self._net.device)).logits
        if found.numel() != 1:
            raise Refused(f"{self.model} is no reward model: it was not trained by `reward`")
        return Answer([float(found.float().reshape(()))], Usage(len(ids)))

    def _prompt(self, question: Question) -> list[int]:
        if question.kind == "complete":
            ids = self._ids(question.prompt)[0]
        else:
            messages = _messages(question.messages, question.schema)
            goes_on = messages[-1]["role"] == "assistant"
            if not self._tokenizer.chat_template:
                raise Refused(f"{self.model} has no chat template: it is a model for raw completion")
            try:
                text = self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
                )
            except Exception as error:  # a template raises what it likes about roles that it does not take
                raise Refused(f"the chat template of {self.model} does not take these messages: {error}") from error
            ids = self._tokenizer(_clean(text), add_special_tokens=False, verbose=False)["input_ids"]
        if not ids:
            raise Refused(f"{self.model} has nothing to go on from: the prompt is empty")
        return self._fits(ids, room=1)

    def _write(self, question: Question, n: int, give_up: GiveUp) -> Answer:
        """n samples, token by token. Temperature is 1 unless asked for, 0 takes the most likely token."""
        asked = question.sampling
        if strange := sorted(set(asked) - SAMPLING):
            raise Refused(f"transformers: takes no sampling parameter {', '.join(strange)}")
        torch, net = self._torch, self._net
        ids = self._prompt(question)
        room = asked.get("max_tokens", 1024)
        if self.context is not None:
            room = min(room, self.context - len(ids))
        stop = asked.get("stop") or []
        stops = [stop] if isinstance(stop, str) else list(stop)
        marks = {self._tokenizer.convert_tokens_to_ids(s) for s in stops if s in self._tokenizer.get_added_vocab()}
        rng = torch.Generator(net.device).manual_seed(asked.get("seed", secrets.randbits(63)))
        samples = [_Sample(self._tokenizer, ids, stops, self._ends | marks, room) for _ in range(n)]
        counts = torch.zeros((n, net.get_output_embeddings().weight.shape[0]), device=net.device)
        penalised = asked.get("presence_penalty") or asked.get("frequency_penalty")
        top = (asked.get("top_logprobs") or 0) if asked.get("logprobs") else 0
        with torch.inference_mode():
            found = net(input_ids=torch.tensor([ids], device=net.device), use_cache=True, logits_to_keep=1)
            cache, logits = getattr(found, self._cache), found.logits[:, -1].float().repeat(n, 1)
            if n > 1:
                cache.batch_repeat_interleave(n)
            while True:
                aim = logits
                if penalised:
                    seen = (counts > 0) * asked.get("presence_penalty", 0.0)
                    aim = logits - seen - counts * asked.get("frequency_penalty", 0.0)
                picked = _pick(torch, aim, asked.get("temperature", 1.0), asked.get("top_p", 1.0), rng)
                chances = logits.log_softmax(1) if asked.get("logprobs") else None
                for row, sample in enumerate(samples):
                    token = int(picked[row])
                    if sample.take(token) and chances is not None:
                        best = chances[row].topk(top) if top else None
                        rivals = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
                        named = {self._tokenizer.decode([i]): chance for i, chance in rivals}
                        sample.tokens.append(Token(sample.piece, float(chances[row, token]), named))
                if all(sample.finish for sample in samples) or give_up():
                    break
                counts.scatter_add_(1, picked[:, None], torch.ones_like(picked[:, None], dtype=counts.dtype))
                found = net(input_ids=picked[:, None], use_cache=True, **{self._cache: cache})
                logits = found.logits[:, -1].float()
        replies = [sample.reply(logprobs=bool(asked.get("logprobs"))) for sample in samples]
        return Answer(replies, Usage(len(ids), sum(len(sample.ids) for sample in samples)))


class _Sample:
    """A text that is being written."""

    def __init__(self, tokenizer: Any, prompt: list[int], stops: list[str], ends: set[int], room: int) -> None:
        self._tokenizer, self._stops, self._marks, self._room = tokenizer, stops, ends, room
        self._before = prompt[-TAIL:]
        self._prefix = self._read([])
        self.ids: list[int] = []
        self.text = ""
        self.piece = ""
        """What the last token added."""
        self.tokens: list[Token] = []
        self.finish = ""

    def take(self, token: int) -> bool:
        """Add a token; whether it is part of the text."""
        if self.finish:
            return False
        self.ids.append(token)
        if token in self._marks:
            self.finish = "stop"
            return False
        whole = self._read(self.ids)
        whole = whole[len(self._prefix) :] if whole.startswith(self._prefix) else self._tokenizer.decode(self.ids)
        self.piece, self.text = whole[len(self.text) :], whole
        places = [place for stop in self._stops if stop and (place := self.text.find(stop)) >= 0]
        if places:
            self.text, self.finish = self.text[: min(places)], "stop"
        elif len(self.ids) >= self._room:
            self.finish = "length"
        return True

    def _read(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            self._before + ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def reply(self, *, logprobs: bool) -> Reply:
        reply = Reply(self.text, self.finish or "length")
        if logprobs:
            reply.logprobs = self.tokens
        return reply


def _pick(torch: Any, logits: Any, temperature: float, top_p: float, rng: Any) -> Any:
    """A token a row."""
    if temperature <= 0:
        return logits.argmax(1)
    chances = (logits / temperature).softmax(1)
    if top_p < 1:
        ordered, index = chances.sort(dim=1, descending=True, stable=True)
        ordered[ordered.cumsum(1) - ordered >= top_p] = 0  # the token that reaches top_p is still in
        chances = torch.zeros_like(chances).scatter_(1, index, ordered)
    return torch.multinomial(chances, 1, generator=rng)[:, 0]


def _clean(text: str) -> str:
    """A lone surrogate is text to Python, and none to a tokenizer."""
    return text.encode("utf-8", "replace").decode()


def _messages(messages: Sequence[Message], schema: dict[str, Any] | None) -> list[dict[str, str]]:
    if any(not isinstance(message.content, str) for message in messages):
        raise Refused("transformers: this backend sees no pictures")
    wire = [{"role": message.role, "content": str(message.content)} for message in messages]
    if schema is not None:
        last = next((message for message in reversed(wire) if message["role"] == "user"), wire[-1])
        last["content"] += IN_WORDS + msgspec.json.encode(schema).decode()
    return wire


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and b'"chat_template"' in settings.read_bytes()


@contextmanager
def _quickly(transformers: Any, gguf_file: bool) -> Iterator[None]:
    """Loading without progress bars, which would run through ours; and a GGUF is parsed once, not three times, which
    take most of the time that a small model's loading takes."""
    logs = transformers.utils.logging
    with ExitStack() as undo:
        if logs.is_progress_bar_enabled():
            logs.disable_progress_bar()
            undo.callback(logs.enable_progress_bar)
        if gguf_file:
            library: Any = import_module("gguf")
            reading: Any = import_module("transformers.modeling_gguf_pytorch_utils")
            for name in ("GGUFReader", "get_tensor_name_map"):
                undo.callback(setattr, library, name, getattr(library, name))
                setattr(library, name, cache(getattr(library, name)))
            undo.callback(setattr, reading, "tqdm", reading.tqdm)
            reading.tqdm = lambda items, **_: items
        yield


def from_spec(spec: Spec, price: Price | None) -> Transformers:
    return Transformers(spec.model, device=spec.device, context=spec.context)
