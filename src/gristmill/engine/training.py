"""Training between rounds: checkpoints named by what makes them, so that only a journal miss trains.

A checkpoint's name is the digest of the model it begins from, the lessons in their order, the method, the settings and
the reference. Its weights lie in the run's folder, `artefacts/checkpoint-NAME/`; the journal keeps what was measured.
Promised: the same lessons are trained on once; a training that was cut short goes on from its last save; a handle of a
trained model never gets an answer of other weights. Not promised: the same weights from another machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gristmill.engine.artefacts import Artefact
from gristmill.engine.calls import Handle, Ledger
from gristmill.engine.database import ARTEFACT, CALL, QUESTION
from gristmill.engine.scope import current
from gristmill.errors import BadInput, NotInJournal, TrainingFailed
from gristmill.models.protocol import Answer, Backend, Question
from gristmill.models.training import Course, Lesson, Method, Session, Trainee, Training
from gristmill.rows import Row, digest

if TYPE_CHECKING:
    from gristmill.engine.journal import Journal

_stable = msgspec.json.Encoder(order="deterministic").encode
MEASURED = "measured.json"
SAVE_EVERY = 25
"""Steps of a session between two saves: a stopped run repeats at most so many."""


async def train(
    ledger: Ledger,
    step: int,
    base: Handle,
    rows: Iterable[Row | Lesson],
    method: Method,
    training: Training,
    reference: Handle | None,
) -> Handle:
    """See `Run.train`."""
    trainee = _trainee(base)
    lessons, training = _lessons(rows, method), _plain(training)
    named = [method, training, _identity(base), _identity(reference) if reference else None, lessons]
    found = checkpoint(digest("train", _stable(named).decode()))
    folder = ledger.journal.folder / "artefacts" / found.file
    kept = ledger.journal.find(found.digest)
    if kept is not None and kept[0] is not None:
        measured = msgspec.json.decode(kept[0])
        bring(ledger.journal, found)
    elif (folder / MEASURED).exists():  # stopped between the last step and the journal
        measured = msgspec.json.decode((folder / MEASURED).read_bytes())
        await _keep(ledger, found.digest, method, base, measured)
    else:
        if ledger.offline:
            raise NotInJournal(f"offline, and the journal has no {method} training of role {base.role!r} like this")
        course = Course(method, lessons, training, _weights(reference) if reference else "")
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        measured = await trainee.train(course, unfinished, _shown(ledger, method, base.role))
        ledger.progress("")
        _check(measured, method)
        (unfinished / MEASURED).write_bytes(_stable(measured))
        os.replace(unfinished, folder)
        await _keep(ledger, found.digest, method, base, measured)
    await ledger.journal.put([(ARTEFACT, (step, found.name, found.digest, found.file))])
    return _handle(ledger, base, trainee.at(folder, found.digest), found, measured)


class OnlineTrainer:
    """A model that is trained step by step, and asked in between; see `Run.trainer`.

    Its state is named by what made it: the model that it began from, and the lessons of all steps. A replay takes no
    step while the journal answers; at the first question that it cannot answer the weights are restored from the last
    save, and the steps since then are taken again.
    """

    def __init__(
        self, ledger: Ledger, step: int, base: Handle, method: Method, training: Training, reference: Handle | None
    ) -> None:
        self._ledger, self._step, self._base = ledger, step, base
        self._method, self._training, self._reference = method, _plain(training), reference
        self._trainee = _trainee(base)
        named = [method, self._training, _identity(base), _identity(reference) if reference else None]
        self._name = digest("online", _stable(named).decode())
        self._taken: list[tuple[str, list[Lesson]]] = []
        """Lessons of each step, and the name of the state behind it."""
        self._session: Session | None = None
        self._at = 0
        """Steps that the session has taken."""
        self.model = base
        """The model as it is after the last step."""
        self.measured: dict[str, float] = {}
        """What the last step measured."""

    async def step(self, rows: Iterable[Row | Lesson]) -> Handle:
        """Learn from these rows, one optimizer step; returns the model as it is then. No row is used again."""
        lessons = _lessons(rows, self._method)
        self._name = digest("step", self._name, _stable(lessons).decode())
        self._taken.append((self._name, lessons))
        kept = self._ledger.journal.find(self._name)
        if kept is not None and kept[0] is not None:
            self.measured = msgspec.json.decode(kept[0])
        else:
            if self._ledger.offline:
                raise NotInJournal(
                    f"offline, and the journal has no {self._method} step of role {self._base.role!r} like this"
                )
            self.measured = await self._catch_up()
            await _keep(self._ledger, self._name, self._method, self._base, self.measured)
        number = len(self._taken)
        found = checkpoint(self._name)
        live = _Live(self._base._backend, self._name, number, self)
        self.model = _handle(self._ledger, self._base, live, found, self.measured)
        return self.model

    async def session(self, number: int) -> Session:
        """The live model after step `number`, which must be the last one."""
        if number != len(self._taken):
            raise RuntimeError(
                f"the model of step {number} was asked after step {len(self._taken)}: ask the newest one"
            )
        await self._catch_up()
        assert self._session
        return self._session

    async def _catch_up(self) -> dict[str, float]:
        """Take the steps that the session has not taken."""
        if self._session is None:
            weights = _weights(self._reference) if self._reference else ""
            self._session = self._trainee.session(self._method, self._training, weights)
            self._ledger.opened.append(_Closing(self._session))
            await self._restore()
        measured = self.measured
        while self._at < len(self._taken):
            name, lessons = self._taken[self._at]
            measured = await self._session.step(lessons)
            _check(measured, self._method)
            self._at += 1
            if self._at % SAVE_EVERY == 0:
                await self._save(name)
        return measured

    async def _restore(self) -> None:
        for number in range(len(self._taken), 0, -1):
            found = checkpoint(self._taken[number - 1][0])
            if bring(self._ledger.journal, found):
                assert self._session
                await self._session.restore(self._ledger.journal.folder / "artefacts" / found.file)
                self._at = number
                return

    async def _save(self, name: str) -> None:
        assert self._session
        found = checkpoint(name)
        folder = self._ledger.journal.folder / "artefacts" / found.file
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        await self._session.save(unfinished)
        os.replace(unfinished, folder)
        await self._ledger.journal.put([(ARTEFACT, (self._step, found.name, found.digest, found.file))])


class _Live:
    """The model of one step of an online training, as a backend. Loads nothing until the journal lacks an answer."""

    def __init__(self, base: Backend, name: str, number: int, trainer: OnlineTrainer) -> None:
        self._base, self._name, self._number, self._trainer = base, name, number, trainer
        self.can = base.can - {"Trainable"}  # its weights live in the session only

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def identity(self) -> dict[str, Any]:
        return {**self._base.identity(), "trained": self._name}

    async def answer(self, question: Question, n: int) -> Answer:
        session = await self._trainer.session(self._number)
        return await session.backend.answer(question, n)

    async def close(self) -> None:
        pass  # the session is what is closed


class _Closing:
    """What is closed with the run."""

    def __init__(self, session: Session) -> None:
        self.close = session.close


def checkpoint(name: str) -> Artefact:
    return Artefact("checkpoint", name, f"checkpoint-{name}")


def bring(journal: Journal, found: Artefact) -> bool:
    """See that a checkpoint of the run that this one repeats lies in this one's folder too; whether there is one at all.

    Files are linked where the disk allows, so that weights are not written twice.
    """
    here = journal.folder / "artefacts" / found.file
    if here.is_dir():
        return True
    there = journal.base_folder / "artefacts" / found.file if journal.base_folder else None
    if there is None or not there.is_dir():
        return False
    unfinished = here.with_name(f"{here.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(there, unfinished, copy_function=_link)
    os.replace(unfinished, here)
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _plain(training: Training) -> Training:
    """Its values in their declared types: 2 epochs and 2.0 epochs make the same checkpoint, and so the same name."""
    return msgspec.convert(msgspec.to_builtins(training), Training)


def _trainee(base: Handle) -> Trainee:
    if "Trainable" not in base._backend.can:
        raise BadInput(
            f"the role {base.role!r} is trained by this recipe, and {base.model} cannot be; type it Trainable"
        )
    return cast(Trainee, base._backend)


def _identity(handle: Handle) -> str:
    return handle.identity.decode()


def _weights(handle: Handle) -> str:
    """Where a model's weights lie."""
    return str(getattr(handle._backend, "weights", ""))


def _handle(ledger: Ledger, base: Handle, backend: Backend, found: Artefact, measured: dict[str, float]) -> Handle:
    ledger.opened.append(backend)
    made = Handle(base.role, backend, ledger, base.endpoint, base._purse)
    made.checkpoint, made.measured = found, measured
    return made


def _shown(ledger: Ledger, method: Method, role: str) -> Callable[[int, int, dict[str, float]], None]:
    def show(done: int, of: int, measured: dict[str, float]) -> None:
        loss = f", loss {measured['loss']:.4g}" if "loss" in measured else ""
        ledger.progress(f"training {role} ({method}): step {done:,} of {of:,}{loss}")

    return show


def _check(measured: dict[str, float], method: Method) -> None:
    loss = measured.get("loss", 0.0)
    if loss != loss or abs(loss) == float("inf"):
        raise TrainingFailed(
            f"{method}: the loss became {loss} after {measured.get('steps', 0):.0f} steps. A smaller learning rate may help: "
            "`gristmill rerun` with other settings keeps every answer"
        )


async def _keep(ledger: Ledger, key: str, method: Method, base: Handle, measured: dict[str, float]) -> None:
    question = digest("train", method, base.role)
    body = _stable({"kind": "train", "method": method})
    entry = (key, question, 0, current().place, base.role, base.model, _stable(measured), None, 0, 0, 0.0, 0.0, 0)
    await ledger.journal.put([(QUESTION, (question, body)), (CALL, entry)])


def _lessons(rows: Iterable[Row | Lesson], method: Method) -> list[Lesson]:
    lessons = [row if isinstance(row, Lesson) else lesson_of(row, method) for row in rows]
    if not lessons:
        raise TrainingFailed(
            f"{method}: there is no row to learn from; all were rejected. The rejects say why: `gristmill rows --rejects`"
        )
    return lessons


def lesson_of(row: Row, method: Method) -> Lesson:
    """What a row of a base type teaches. Completions are raw text, all else goes through the chat template.

    Raises:
        TypeError: rows of this type teach nothing by this method; yield Lessons, or rows of a base type.
    """
    fields: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__}
    if method in ("dpo", "reward") and {"prompt", "chosen", "rejected"} <= fields.keys():
        return Lesson(fields["prompt"], fields["chosen"], fields["rejected"], chat=True)
    if method == "sft" and {"prompt", "completion"} <= fields.keys():
        return Lesson(fields["prompt"], fields["completion"])
    if method == "sft" and {"instruction", "output"} <= fields.keys():
        asked = "\n\n".join(filter(None, (fields["instruction"], fields.get("input", ""))))
        return Lesson(asked, fields["output"], chat=True)
    raise TypeError(f"{type(row).__name__} rows cannot be trained on by {method}: make Lessons of them")
