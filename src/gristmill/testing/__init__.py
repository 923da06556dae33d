"""For tests of recipes and pipelines: a scripted model, and a run in a temporary folder.

`Scripted` fakes the model and nothing else: the engine, the journal and the recipe are the real ones. The loopback
server in `gristmill.testing.server` fakes an endpoint, faults included.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gristmill.api import arerun, arun
from gristmill.contract import Recipe
from gristmill.errors import BadInput
from gristmill.execute import Result, config_of
from gristmill.models.annotation import Note
from gristmill.models.protocol import CAPABILITIES, Answer, Hit, Message, Price, Question, Reply, Text, Usage
from gristmill.models.training import Course, Lesson, Method, Progress, Training
from gristmill.verify.values import Motion, Proof, Verdict

Said = str | Reply | float | list[float] | list[Hit] | Verdict | Proof | Motion | Note | Exception
Script = Sequence[Said] | Callable[[Question], Said]


class Scripted:
    """A model that says what it was told to say, and remembers what it was asked.

    Args:
        replies: said one after the other, one a sample; or a function of the question, for tests in which calls run
            side by side. An exception is raised instead of said.
        model: its name.
        can: names of capabilities; all unless given.
        trained: what it says after its first, second, ... training; the last holds on. The same as before unless given.
    """

    def __init__(
        self,
        replies: Script = (),
        *,
        model: str = "scripted",
        can: Iterable[str] = (),
        price: Price | None = None,
        trained: Sequence[Script] = (),
    ) -> None:
        self.model = model
        self.can = frozenset(can or CAPABILITIES)
        self.endpoint = f"scripted://{model}/{id(self)}"
        self.concurrency = self.most = 64
        self.max_n = 1_000_000
        self.context: int | None = None
        self.price = price or Price(0, 0)
        self.spec = f"scripted:{model}"
        self.questions: list[Question] = []
        """Every question that was asked, in the order of arrival."""
        self.indexed: dict[str, list[str]] = {}
        """Corpora that it was to search, by name."""
        self.embedder = None
        self.weights: Path = Path(model)
        self.courses: list[tuple[str, Course]] = []
        """What it, and those that were trained from it, were taught, and the name of the model that it began with."""
        self.family: list[Scripted] = [self]
        """It, and those that were trained from it, in the order of their making; "scripted+1" is the first of them."""
        self._trained = trained
        self._name = ""
        self._script = replies
        self._said = 0

    @property
    def prompts(self) -> list[str]:
        """The text of every question: the raw prompt, or all messages joined by blank lines."""
        return [text_of(question) for question in self.questions]

    def identity(self) -> dict[str, Any]:
        return {"model": self.family[0].model, **({"trained": self._name} if self._name else {})}

    async def train(self, course: Course, folder: Path, progress: Progress) -> dict[str, float]:
        self.courses.append((self.model, course))
        progress(1, 1, {"loss": 1.0})
        (folder / "weights").write_text(self.model)
        return {"loss": 1.0, "steps": float(course.training.steps or 1)}

    def session(self, method: Method, training: Training, reference: str) -> ScriptedSession:
        return ScriptedSession(self, method, training, reference)

    def at(self, checkpoint: Path, name: str) -> Scripted:
        number = len(self.family)
        script = self._trained[min(number, len(self._trained)) - 1] if self._trained else self._script
        made = Scripted(script, model=f"{self.family[0].model}+{number}", can=self.can, price=self.price)
        made.weights, made._name, made._trained = checkpoint, name, self._trained
        made.family, made.courses, made.endpoint = self.family, self.courses, self.endpoint
        self.family.append(made)
        return made

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def index(self, corpus: str, texts: list[str], vectors: list[list[float]]) -> None:
        self.indexed[corpus] = texts

    async def answer(self, question: Question, n: int) -> Answer:
        self.questions.append(question)
        if question.kind == "embed":  # a vector a text, each said for itself
            samples = [self._say(Question("embed", texts=[text])) for text in question.texts]
        else:
            samples = [self._say(question) for _ in range(n)]
        text = "".join(s.text for s in samples if isinstance(s, Reply))
        return Answer(samples, Usage(len(text_of(question).split()), len(text.split())))

    def _say(self, question: Question) -> Any:
        if callable(self._script):
            said = self._script(question)
        elif self._said < len(self._script):
            said = self._script[self._said]
            self._said += 1
        else:
            raise BadInput(
                f"the scripted model {self.model!r} has no reply left after {self._said}; it was asked: "
                f"{text_of(question)[-300:]!r}"
            )
        if isinstance(said, Exception):
            raise said
        return Reply(said) if isinstance(said, str) else said


class ScriptedSession:
    """A scripted model in online training; `courses` of the model holds a course of one step for each step."""

    def __init__(self, model: Scripted, method: Method, training: Training, reference: str) -> None:
        self.backend, self._made = model, (method, training, reference)
        self.restored: Path | None = None

    async def step(self, lessons: list[Lesson]) -> dict[str, float]:
        method, training, reference = self._made
        self.backend.courses.append((self.backend.model, Course(method, lessons, training, reference)))
        self.backend = self.backend.at(Path(), "")
        return {"loss": 1.0}

    async def save(self, folder: Path) -> None:
        (folder / "weights").write_text(self.backend.model)

    async def restore(self, folder: Path) -> None:
        self.restored = folder

    async def close(self) -> None:
        pass


def text_of(question: Question) -> str:
    """All that a model gets to read, as one text."""
    if question.kind in ("chat", "reward"):
        return "\n\n".join(_content(message) for message in question.messages)
    if question.job:
        return f"{question.job.program.code}\n\n{question.job.tests or ''}".rstrip()
    if question.task:
        return msgspec.json.encode(question.task).decode()
    return "\n".join(question.texts) if question.kind == "embed" else question.prompt + question.continuation


def _content(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return " ".join(part.text if isinstance(part, Text) else f"[{part.url[:40]}]" for part in message.content)


async def run(
    recipe: Recipe, seeds: Iterable[Any] | None = None, *, allow_failures: bool = False, **options: Any
) -> Result:
    """Run a recipe in a temporary folder. Roles, further inputs, parameters and options of `gristmill.run` by name.

    Raises:
        AssertionError: a row failed, unless `allow_failures`; or a row cannot say what it was made from.
    """
    models = {name: options.pop(name) for name in recipe.roles if name in options}
    inputs = {name: options.pop(name) for name in recipe.inputs if name in options}
    options.setdefault("out", folder())
    done = await arun(recipe, seeds=seeds, inputs=inputs, model=models or options.pop("model", None), **options)
    if done.failures and not allow_failures:
        raise AssertionError(f"{len(done.failures)} failures; the first: {done.failures[0].error}")
    for name in done.counts if done.calls else ():
        for row in done.iterate(name):
            if not (row.lineage and (row.lineage.calls or row.lineage.parents)):
                raise AssertionError(
                    f"{recipe.name} asks a model, and a row of {name} names neither a call nor a parent: build it in a "
                    "branch of `run.map`, or say what it came from with `run.link`"
                )
    return done


async def replay(done: Result, *, offline: bool = True, **options: Any) -> Result:
    """Make the rows of a run anew from its journal, asking nothing. Options as `gristmill.rerun`: with `offline=False`
    and other settings or models, only what changed is asked."""
    alone = len(done.steps) == 1
    if "model" not in options:
        options["model"] = {
            role if alone else f"{step.name}.{role}": [Scripted(model=spec.removeprefix("scripted:")) for spec in specs]
            if done.steps[step.name][0].roles[role].many
            else Scripted(model=specs[0].removeprefix("scripted:"))
            for step in config_of(done.folder).steps
            for role, specs in step.models.items()
        }
    options.setdefault("recipe", done.recipe if alone else None)
    return await arerun(done.folder, out=folder(), offline=offline, **options)


def folder() -> Path:
    """A new temporary folder, removed when the process ends."""
    made = Path(tempfile.mkdtemp(prefix="gristmill-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


__all__ = ["Scripted", "folder", "replay", "run", "text_of"]
