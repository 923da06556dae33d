"""What a recipe may ask of a model, and what comes back. Plain values; no backend's own types cross this line.

A recipe types each role by what it must be able to do (`generator: Chat`). What it then holds is a handle of the
engine that journals every answer; the backends behind it implement `Backend`.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, overload, runtime_checkable

import msgspec

from gristmill.models.annotation import Note, Task
from gristmill.rows import Document
from gristmill.verify import values
from gristmill.verify.values import Motion, Program, Proof, Verdict

S = TypeVar("S")


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture inside a message: an https or data URL, or a picture of the run as rows name it ("artefacts/...",
    "inputs/pictures/..."), which is read when it is sent. Such names tell the content, so the journal holds no picture."""

    url: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A text part, next to pictures."""

    text: str


class Message(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str | list[Text | Image]


def system(text: str) -> Message:
    return Message("system", text)


def user(*parts: str | Image) -> Message:
    """A user's message: a text, or texts and pictures in their order."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return Message("user", parts[0])
    return Message("user", [Text(part) if isinstance(part, str) else part for part in parts])


def assistant(text: str) -> Message:
    """An assistant's message. As the last one of a chat it is the beginning of the reply (prefill)."""
    return Message("assistant", text)


Messages = str | Sequence[Message]
"""A chat: messages, oldest first, or a plain string for a single user message."""


class Token(msgspec.Struct, omit_defaults=True):
    """A token of a reply, with its natural-log probability and, where asked for, its best rivals."""

    text: str
    logprob: float
    top: dict[str, float] = {}


class Reply(msgspec.Struct, omit_defaults=True):
    """One sample from a model."""

    text: str
    finish: str = "stop"
    """"stop", "length" (cut by max_tokens), "content_filter", or the endpoint's own word."""
    thinking: str = ""
    """A reasoning model's thoughts, kept apart from the answer."""
    logprobs: list[Token] | None = None
    call: str = ""
    """The journal's key of this answer; set by the engine."""

    @property
    def truncated(self) -> bool:
        return self.finish == "length"


class Parsed(Reply, Generic[S]):
    """A reply that was asked for by a schema, and its value."""

    value: S = msgspec.field(default=None)  # type: ignore[assignment]


class Usage(msgspec.Struct, omit_defaults=True):
    """Tokens of one request."""

    input: int = 0
    output: int = 0


class Limits(msgspec.Struct, frozen=True):
    """What an endpoint says it will still take, as its rate-limit headers tell; of several, the tightest."""

    remaining: int
    """Requests, or tokens."""
    reset: float = 0.0
    """Seconds until there is more, if nothing is left."""
    rate: float | None = None
    """Requests a second at which there is more, where that can be told."""


class Hit(msgspec.Struct, frozen=True):
    """What a search found: the number of a text in its corpus, and how well it fits; higher is better."""

    index: int
    score: float


class Answer(msgspec.Struct):
    """What a backend returns: up to n samples, and what the request used. Fewer than n: the engine asks for the rest."""

    samples: list[Any]
    """What METHODS says of the question's kind."""
    usage: Usage
    limits: Limits | None = None
    """None: the endpoint does not say."""


@runtime_checkable
class Capability(Protocol):
    """Base of the role types below. A role that needs two of them is typed by a class that inherits from both."""

    @property
    def model(self) -> str:
        """The model's name, as its provider writes it."""


class Chat(Capability, Protocol):
    """Answers messages. Sampling options: temperature, top_p, max_tokens (default 1024), stop, presence_penalty,
    frequency_penalty, seed, logprobs, top_logprobs. With `n` a list of n samples, without one a single sample."""

    @overload
    async def chat(self, messages: Messages, *, n: None = None, **sampling: Any) -> Reply: ...
    @overload
    async def chat(self, messages: Messages, *, n: int, **sampling: Any) -> list[Reply]: ...
    async def chat(self, messages: Messages, *, n: int | None = None, **sampling: Any) -> Reply | list[Reply]: ...

    async def ask(self, messages: Messages, schema: type[S], **sampling: Any) -> Parsed[S]:
        """A reply that is JSON of the type `schema` (any msgspec type). Repaired once; then raises `Unparsed`."""


class Complete(Capability, Protocol):
    """Continues a raw text; no chat template is put around it. Options as `Chat`, besides the schema."""

    @overload
    async def complete(self, prompt: str, *, n: None = None, **sampling: Any) -> Reply: ...
    @overload
    async def complete(self, prompt: str, *, n: int, **sampling: Any) -> list[Reply]: ...
    async def complete(self, prompt: str, *, n: int | None = None, **sampling: Any) -> Reply | list[Reply]: ...


class See(Chat, Protocol):
    """A chat whose messages may hold pictures."""


class Embed(Capability, Protocol):
    """Texts to vectors: one list of floats a text, in their order."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]: ...


class Reward(Capability, Protocol):
    """A number for how good the last message of a chat is; the scale is the model's own."""

    async def reward(self, messages: Sequence[Message]) -> float: ...


class Score(Capability, Protocol):
    """Log-probabilities of a given continuation: a token each, in order, without the prompt's."""

    async def score(self, prompt: str, continuation: str) -> list[Token]: ...


class Choose(Capability, Protocol):
    """Probabilities over given continuations, that sum to 1: how a model would go on if these were all there is."""

    async def choose(self, prompt: str, options: Sequence[str]) -> list[float]:
        """One probability an option, in their order. Options are raw text: " yes", with its space."""


class Hidden(Capability, Protocol):
    """What a model holds of a text inside."""

    async def hidden(self, text: str, *, layer: int = -1, pool: Literal["mean", "last"] = "mean") -> list[float]:
        """The hidden state after a layer (0: the embeddings, -1: the last), over all tokens or of the last one."""


class Retrieve(Capability, Protocol):
    """Finds texts of a corpus. What was found is journaled, so a replay searches nothing."""

    async def search(self, corpus: Sequence[Document], query: str, *, k: int = 10) -> list[Hit]:
        """At most k hits, best first; fewer where the corpus is smaller or nothing else fits.

        Args:
            corpus: a further input. It is indexed once.
        """


class Prove(Capability, Protocol):
    """A proof assistant. `model` is its language: "coq", "lean4"."""

    async def states(self, statement: str) -> Proof:
        """Whether a statement (a theorem's head, without proof) is well-formed: its outcome is then "ok"."""

    async def proves(self, statement: str, proof: str) -> Proof:
        """Whether a proof proves exactly this statement, from no axiom of its own."""


class Simulate(Capability, Protocol):
    """A physics engine, named by `model`: "mujoco", "pymunk"."""

    async def simulate(self, scene: str, *, seconds: float, watch: Sequence[str]) -> Motion:
        """What becomes of the watched bodies of a scene (a text in the engine's own format)."""


class Annotator(Capability, Protocol):
    """People, or what stands in for them. A row whose answer is not there yet waits; `resume` goes on with it."""

    @overload
    async def annotate(self, task: Task, *, n: None = None, without: Collection[str] = ()) -> Note: ...
    @overload
    async def annotate(self, task: Task, *, n: int, without: Collection[str] = ()) -> list[Note]: ...
    async def annotate(self, task: Task, *, n: int | None = None, without: Collection[str] = ()) -> Note | list[Note]:
        """What a person says of a task; with `n` what n different people say.

        Args:
            without: people who must not answer it, such as the author of what is judged.
        """


class Trainable(Capability, Protocol):
    """A model whose weights can be trained: see `Run.train`."""

    checkpoint: Any
    """Of a trained model: an artefact, which `Run.link` puts into a row's lineage. None of the one that it began from."""
    measured: dict[str, float]
    """What its training measured, "loss" among it."""


class Execute(Capability, Protocol):
    """Runs Python that a model wrote, in a sandbox. Verdicts are journaled like any answer."""

    async def run(self, program: Program | str, *, limits: values.Limits | None = None) -> Verdict:
        """Run a script to its end."""

    async def check(
        self,
        program: Program | str,
        tests: str,
        *,
        names: list[str] | None = None,
        limits: values.Limits | None = None,
    ) -> Verdict:
        """Whether `tests`, a script of asserts over what the program defines (or only over `names` of it), pass."""


class Plot(Execute, Protocol):
    """An `Execute` whose Python has matplotlib and numpy. A figure is a file that the program saves and `Program.keep`
    names; it comes back in `Verdict.files`."""


class Gym(Execute, Protocol):
    """An `Execute` whose Python has reasoning-gym, to check answers to its tasks: see `gristmill.ops.tasks`."""


CAPABILITIES: dict[str, type] = {
    c.__name__: c
    for c in (
        Chat,
        Complete,
        See,
        Embed,
        Reward,
        Score,
        Choose,
        Hidden,
        Retrieve,
        Prove,
        Simulate,
        Execute,
        Plot,
        Gym,
        Annotator,
        Trainable,
    )
}
METHODS: dict[str, tuple[str, Any]] = {
    "chat": ("Chat", Reply),
    "complete": ("Complete", Reply),
    "embed": ("Embed", list[list[float]]),
    "reward": ("Reward", float),
    "score": ("Score", list[Token]),
    "choose": ("Choose", list[float]),
    "hidden": ("Hidden", list[float]),
    "retrieve": ("Retrieve", list[Hit]),
    "prove": ("Prove", Proof),
    "simulate": ("Simulate", Motion),
    "execute": ("Execute", Verdict),
    "annotate": ("Annotator", Note),
}
"""Which capability each kind of call needs, and what one sample of its answer is (of embed: all vectors together)."""


class Job(msgspec.Struct, omit_defaults=True):
    """A program to run; with `tests` also to be judged by them."""

    program: Program
    limits: values.Limits | None = None
    tests: str | None = None
    names: list[str] | None = None


class Question(msgspec.Struct, omit_defaults=True):
    """A call as it is asked and journaled. `kind` is a key of METHODS; `body` what that kind takes.

    chat:     messages: list[Message], sampling: dict, schema: JSON schema or absent
    complete: prompt: str, sampling: dict
    embed:    texts: list[str]                     (samples: one vector a text, whatever n)
    reward:   messages: list[Message]
    score:    prompt: str, continuation: str
    choose:   prompt: str, texts: list[str]        (the options)
    hidden:   prompt: str, sampling: layer, pool
    retrieve: prompt: str                          (the query), corpus: digest of its texts, sampling: k
    prove:    prompt: str, continuation: str       (statement and proof), sampling: {"state": True} without a proof
    simulate: prompt: str                          (the scene), sampling: seconds, watch
    execute:  job: Job
    annotate: task: Task, sampling: without        (n samples: n people)
    """

    kind: str
    messages: list[Message] = []
    prompt: str = ""
    continuation: str = ""
    texts: list[str] = []
    sampling: dict[str, Any] = {}
    schema: dict[str, Any] | None = None
    corpus: str = ""
    job: Job | None = None
    task: Task | None = None


class Price(msgspec.Struct, frozen=True):
    """USD for a million tokens."""

    input: float
    output: float

    def cost(self, usage: Usage) -> float:
        return (usage.input * self.input + usage.output * self.output) / 1e6


class Backend(Protocol):
    """A way to reach one model. Translates and classifies errors; retries, limits and the journal are the engine's.

    `answer` raises Transient (try again), Refused or PromptTooLong (this question never), EndpointDown (nothing at all).
    """

    model: str
    can: frozenset[str]
    """Names of capabilities: {"Chat", "Complete"}."""
    endpoint: str
    """What shares one concurrency limit: the server's address."""
    concurrency: int
    """Calls at once to begin with; from there the engine adapts them, unless the user fixes them. A backend that should
    never get more than so many at once says so in a further attribute, `most: int | None`."""
    max_n: int
    """Samples that one request may ask for."""
    context: int | None
    """Tokens of prompt and reply together, where known."""
    price: Price | None
    """None: not known."""

    def identity(self) -> dict[str, Any]:
        """What goes into a call's key: everything that could change the answer, and never the server's address."""

    async def start(self) -> None:
        """Open connections, load weights. Raises BadInput or EndpointDown."""

    async def answer(self, question: Question, n: int) -> Answer: ...

    async def close(self) -> None: ...


class Searcher(Backend, Protocol):
    """A backend that can Retrieve. Before it is asked about a corpus it is told its texts, once."""

    embedder: Backend | None
    """Makes the vectors that it needs; the engine asks it, so that they are journaled."""
    indexed: Container[str]
    """Names of the corpora that it knows."""

    async def index(self, corpus: str, texts: list[str], vectors: list[list[float]]) -> None:
        """Get ready to search a corpus. `vectors`: one a text where there is an embedder, else none."""
