"""`annotator:SPEC`: a chat model in the place of a person; and `Script`, a function in that place.

What it says is held to the same rules as what a person says (`annotation.complaint`); where it breaks one it is told so,
once, and then the call fails: no answer is made up for it. Samples are drawn at temperature 1, as people differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gristmill.errors import CallFailed
from gristmill.models.annotation import (
    Comparing,
    Editing,
    Labelling,
    Note,
    Ranking,
    Rating,
    Steps,
    Task,
    Writing,
    complaint,
)
from gristmill.models.protocol import Answer, Backend, Message, Price, Question, Usage

MAX_TOKENS = 2048


class Labels(msgspec.Struct):
    labels: list[str]


class Written(msgspec.Struct):
    text: str


class Order(msgspec.Struct):
    order: list[int]


class Preferred(msgspec.Struct):
    preference: int


class Ratings(msgspec.Struct):
    ratings: dict[str, int]


class ModelAnnotator:
    """A chat model that answers tasks for people."""

    def __init__(self, chat: Backend) -> None:
        self._chat = chat
        self.can = frozenset({"Annotator"}) if "Chat" in chat.can else frozenset[str]()
        self.max_n = 1
        self.spec = f"annotator:{getattr(chat, 'spec', chat.model)}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)

    def identity(self) -> dict[str, Any]:
        return {"annotator": self._chat.identity()}

    async def answer(self, question: Question, n: int) -> Answer:
        assert question.task
        text, form = asked(question.task)
        messages = [Message("user", text)]
        usage = Usage()
        trouble = ""
        for _ in range(2):
            sampling = {"temperature": 1.0, "max_tokens": MAX_TOKENS}
            said = await self._chat.answer(
                Question("chat", messages=messages, sampling=sampling, schema=msgspec.json.schema(form)), 1
            )
            usage = Usage(usage.input + said.usage.input, usage.output + said.usage.output)
            reply = said.samples[0].text
            try:
                note = Note(by=self._chat.model, **msgspec.structs.asdict(msgspec.json.decode(reply, type=form)))
                trouble = complaint(question.task, note)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                trouble = f"not the JSON that was asked for: {error}"
            if not trouble:
                return Answer([note], usage, said.limits)
            again = f"That will not do: {trouble}. Answer again, with the JSON alone."
            messages = [*messages, Message("assistant", reply), Message("user", again)]
        raise CallFailed(f"{self._chat.model} gave no answer to the task, also when told what was wrong: {trouble}")


class Script:
    """A function in the place of people: gold labels, or a test. It gets the task and the number of the sample in its
    request; what it gives is held to the rules of the task."""

    def __init__(self, fn: Callable[[Task, int], Note], *, name: str = "script") -> None:
        self._fn = fn
        self.model = name
        self.can = frozenset({"Annotator"})
        self.endpoint = self.spec = f"script:{name}"
        self.concurrency = 64
        self.max_n = 64
        self.context = None
        self.price: Price | None = Price(0, 0)

    def identity(self) -> dict[str, Any]:
        return {"script": self.model}

    async def start(self) -> None:
        pass

    async def answer(self, question: Question, n: int) -> Answer:
        assert question.task
        notes = [self._fn(question.task, number) for number in range(n)]
        for note in notes:
            if trouble := complaint(question.task, note):
                raise CallFailed(f"{self.spec}: {trouble}")
        return Answer(notes, Usage())

    async def close(self) -> None:
        pass


def asked(task: Task) -> tuple[str, type[msgspec.Struct]]:
    """A task as a prompt, and the form of its answer."""
    form: type[msgspec.Struct]
    match task:
        case Labelling():
            how = "any number of" if task.several else "exactly one of"
            shown, form = f"Text:\n{task.text}", Labels
            wanted = f'Which label fits? Choose {how}: {", ".join(task.options)}. Answer as {{"labels": ["..."]}}.'
        case Writing():
            most = f", of at most {task.most} characters" if task.most else ""
            shown, form, wanted = "", Written, f'Write the text{most}. Answer as {{"text": "..."}}.'
        case Editing():
            shown, form = f"Text:\n{task.text}", Written
            wanted = 'Make the text better where it needs it. Answer with the whole text, as {"text": "..."}.'
        case Ranking():
            shown = "\n\n".join(f"[{number}]\n{text}" for number, text in enumerate(task.items))
            form, wanted = Order, 'Rank these, the best first, each number once. Answer as {"order": [...]}.'
        case Comparing():
            tie = ", 0 if both are as good" if task.ties else ", never 0"
            shown, form = f"First:\n{task.first}\n\nSecond:\n{task.second}", Preferred
            wanted = (
                f"Which is better, and by how much? From {-task.strength} (the first, clearly) to {task.strength} (the "
                f'second, clearly){tie}. Answer as {{"preference": ...}}.'
            )
        case Rating():
            aspects = "\n".join(f"- {name}: {what}" for name, what in task.aspects.items())
            shown, form = f"Text:\n{task.text}\n\nAspects:\n{aspects}", Ratings
            wanted = f'Rate each aspect from {task.low} to {task.high}. Answer as {{"ratings": {{"aspect": number}}}}.'
        case Steps():
            shown = "\n".join(f"Step {number}: {text}" for number, text in enumerate(task.steps, start=1))
            until = f" You may end after the first step that is {task.until}." if task.until else ""
            form = Labels
            wanted = (
                f"Label each step, in order, with one of: {', '.join(task.options)}.{until} "
                'Answer as {"labels": ["...", ...]}.'
            )
    return "\n\n".join(filter(None, (task.guidelines, task.context, shown, wanted))), form
