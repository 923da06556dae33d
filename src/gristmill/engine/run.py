"""`Run`: all that a recipe may touch besides its rows, roles and parameters."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any, TypeVar, overload

import msgspec

from gristmill.engine import artefacts
from gristmill.engine import training as training_of
from gristmill.engine.artefacts import Artefact
from gristmill.engine.calls import Ledger
from gristmill.engine.database import CALL, QUESTION
from gristmill.engine.scope import Failure, Reject, Scope, current
from gristmill.engine.training import OnlineTrainer
from gristmill.errors import NotInJournal, Stopped, Waiting
from gristmill.models.protocol import Reply
from gristmill.models.training import Lesson, Method, Training
from gristmill.rows import Lineage, Row, content, digest

T = TypeVar("T")
R = TypeVar("R")

_encode = msgspec.json.Encoder(order="deterministic").encode


class Run:
    """The engine's side of a recipe. One object serves a whole step; what it does depends on the current scope."""

    def __init__(
        self, ledger: Ledger, *, step: int, seed: int, target: int | None, on_reject: Callable[[Scope], None]
    ) -> None:
        self._ledger = ledger
        self._step = step
        self._on_reject = on_reject
        self.seed = seed
        """The run's seed (`--seed`)."""
        self.target = target
        """Rows asked for, or None. For planning ahead only: the engine itself stops when they are there."""

    # -- chance

    @overload
    def draw(self, name: str, options: Sequence[T], *, weights: Sequence[float] | None = None) -> T: ...
    @overload
    def draw(self, name: str, options: Sequence[T], *, k: int) -> list[T]: ...
    def draw(
        self, name: str, options: Sequence[T], *, k: int | None = None, weights: Sequence[float] | None = None
    ) -> T | list[T]:
        """Choose by chance, seeded by the place, and keep the choice in the lineage of the rows made from here on.

        Args:
            name: what is chosen; its key in the lineage.
            options: what from.
            k: as many distinct ones, in random order, instead of a single one.
            weights: relative odds of the options; equal without.
        """
        if not options:
            raise ValueError(f"draw {name!r}: there is nothing to draw from")
        rng = self.rng(name)
        picked: T | list[T]
        if k is not None:
            if k > len(options):
                raise ValueError(f"draw {name!r}: {k} of {len(options)} cannot be distinct")
            indices = rng.sample(range(len(options)), k)
            picked, note = [options[i] for i in indices], [_note(options[i], i) for i in indices]
        else:
            index = rng.choices(range(len(options)), weights)[0] if weights else rng.randrange(len(options))
            picked, note = options[index], _note(options[index], index)
        scope = current()
        if not scope.open_ended:
            times = scope.occurrence(f"draw:{name}")
            scope.lineage.draws[name if times == 0 else f"{name}#{times}"] = note
        return picked

    def turn(self, name: str, options: Sequence[T]) -> T:
        """The option whose turn it is, kept in the lineage as by `draw`: over the draws of a run each one is used once,
        in an order by chance, before any is used again; then in a new order. Only where rows are made from nothing.

        Args:
            name: what is chosen; its key in the lineage, and the name of the order.
        """
        if not options:
            raise ValueError(f"turn {name!r}: there is nothing to choose from")
        scope = current()
        if scope.open_ended or not scope.unit.isdigit() or len(scope.unit) > 18:  # a seed's id has 32 digits
            raise ValueError(f"turn {name!r}: turns are taken by draws, and this recipe works on rows")
        cycle, place = divmod(int(scope.unit), len(options))
        order = list(range(len(options)))
        random.Random(int(digest(self.seed, self._step, "turn", name, cycle), 16)).shuffle(order)
        picked = options[order[place]]
        scope.lineage.draws[name] = _note(picked, order[place])
        return picked

    def rng(self, name: str = "rng") -> random.Random:
        """A generator seeded by the place, for chance that no single row needs to remember."""
        return current().random(self.seed, name)

    # -- branches

    async def map(
        self, fn: Callable[[T], Awaitable[R]], items: Iterable[T], *, keep_going: bool = False, name: str = ""
    ) -> list[R]:
        """`fn` of each item, side by side, each in a scope of its own. Results in the order of the items.

        All branches run to their end before an error (the first in item order) is raised: a paid answer is never
        thrown away, and which error it is does not depend on timing.

        Args:
            keep_going: an item that fails costs only that item: it becomes a failure of the run and is left out.
            name: of the scope; the function's name unless given.
        """
        scope = current()
        label = name or getattr(fn, "__name__", "map").strip("<>")
        times = scope.occurrence(f"map:{label}")
        label = label if times == 0 else f"{label}#{times}"
        branches: list[Scope] = []
        tasks: list[asyncio.Task[R]] = []
        for index, item in enumerate(items):
            branch = scope.branch(f"{label}/{index}")
            branches.append(branch)
            tasks.append(_start(branch, fn(item)))
        return await self._join(scope, branches, tasks, keep_going=keep_going)

    async def gather(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Several coroutines side by side, each in a scope of its own. Errors as in `map`."""
        scope = current()
        times = scope.occurrence("gather")
        branches = [scope.branch(f"gather#{times}/{index}") for index in range(len(work))]
        tasks = [_start(branch, coroutine) for branch, coroutine in zip(branches, work, strict=True)]
        return await self._join(scope, branches, tasks, keep_going=False)

    async def _join(
        self, scope: Scope, branches: list[Scope], tasks: list[asyncio.Task[R]], *, keep_going: bool
    ) -> list[R]:
        if not tasks:
            return []
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        errors = [task.exception() for task in tasks]
        for error in errors:
            if isinstance(error, Stopped):
                raise error
        scope.absorb(branches)
        results = []
        for branch, task, error in zip(branches, tasks, errors, strict=True):
            if error is None:
                results.append(task.result())
            elif keep_going and isinstance(error, Exception) and not ends_the_run(error):
                kind = "waiting" if isinstance(error, Waiting) else "failed"
                scope.failures.append(Failure(branch.place, describe(error), kind))
            else:
                raise error
        self._on_reject(scope)
        return results

    async def race(self, *work: Coroutine[Any, Any, R | None]) -> R | None:
        """The first of several coroutines that gives something other than None; the others are cancelled.

        Who won is journaled, so that a replay runs only the winner. None if all gave None.
        """
        scope = current()
        times = scope.occurrence("race")
        branches = [scope.branch(f"race#{times}/{index}") for index in range(len(work))]
        key = digest("race", scope.place, times)
        kept = await self._ledger.recall(key)
        if kept is not None and kept[0] is not None:
            winner = msgspec.json.decode(kept[0], type=int)
            for index, coroutine in enumerate(work):
                if index != winner and winner >= 0:
                    coroutine.close()
            runners = [winner] if winner >= 0 else range(len(work))
            results = [await _start(branches[index], work[index]) for index in runners]
            scope.absorb([branches[index] for index in runners])
            return results[0] if winner >= 0 else None
        try:
            winner, result = await _first(branches, work)
            await self._keep("race", key, _encode(winner))
        finally:
            await self._ledger.release(key)
        scope.absorb([branches[winner]] if winner >= 0 else branches)
        return result

    # -- outcomes

    def reject(self, candidate: object, reason: str, *, source: Reply | None = None, **details: Any) -> None:
        """Put a candidate aside for a reason: a short code, with the numbers that decided as details.

        Args:
            source: the reply that the candidate was read from, where it is not the candidate itself and was not asked
                for in this scope.
        """
        scope = current()
        if isinstance(candidate, Row):
            plain: Any = {"type": type(candidate).__name__, **content(candidate)}
        elif isinstance(candidate, Reply):
            plain = candidate.text
        else:
            plain = msgspec.to_builtins(candidate)
        calls = [] if scope.open_ended else list(scope.lineage.calls)
        origin = candidate if isinstance(candidate, Reply) else source
        if origin and origin.call not in calls:
            calls.append(origin.call)
        scope.rejects.append(Reject(reason, plain, details, calls))
        self._on_reject(scope)

    def link(self, row: Row, *sources: Row | Reply | Artefact) -> None:
        """Say what a row was made from, where its scope does not tell: rows of a pool, replies of earlier rounds,
        artefacts."""
        scope = current()
        known = row.lineage or (Lineage() if scope.open_ended else scope.lineage)
        row.lineage = lineage = Lineage(
            known.seed, list(known.parents), list(known.calls), dict(known.draws), known.generation
        )
        for source in sources:
            if isinstance(source, Row) and source.lineage:
                lineage.generation = max(lineage.generation, source.lineage.generation)
            names = lineage.calls if isinstance(source, Reply) else lineage.parents
            name = source.call if isinstance(source, Reply) else source.id
            if name not in names:
                names.append(name)

    # -- durable steps

    async def once(self, name: str, fn: Callable[..., Any], *inputs: Any) -> Any:
        """The result of a slow or unrepeatable step, computed once and kept under its name and inputs.

        `inputs` and the result must be plain values (what JSON can hold). A plain function runs in a thread.
        """
        key = digest("once", _encode([name, *inputs]).decode())
        ledger = self._ledger
        while (working := ledger.once.get(key)) is not None:  # elsewhere in this run, right now
            await asyncio.wait([working])
        done = ledger.once[key] = asyncio.get_running_loop().create_future()
        try:
            if (kept := await ledger.recall(key)) is not None and kept[0] is not None:
                return msgspec.json.decode(kept[0])
            if ledger.offline:
                raise NotInJournal(f"offline, and the journal has no result of the step {name!r}")
            try:
                result = fn(*inputs) if inspect.iscoroutinefunction(fn) else asyncio.to_thread(fn, *inputs)
                encoded = _encode(await result)
                await self._keep("once", key, encoded, name)
            finally:
                await ledger.release(key)
            ledger.journal.expect_repeats()
        finally:
            del ledger.once[key]
            done.set_result(None)
        return msgspec.json.decode(encoded)

    async def artefact(self, name: str, data: Any, *, suffix: str = "") -> Artefact:
        """Keep something that is made besides rows, such as a graph or an index, as a file in the run's folder.

        It is named by its content, so a replay rebuilds the same; `link` puts it into a row's lineage. What a stopped
        or changed run left behind is removed at the end.

        Args:
            name: what it is; lower-case letters, digits and dashes.
            data: bytes or a text, as they are; any other plain value as JSON.
            suffix: of the file; by default ".bin", ".txt" or ".json".
        """
        found, content = artefacts.named(name, data, suffix)
        await self._ledger.store(self._step, found, content)
        return found

    # -- training

    async def train(
        self,
        base: Any,
        rows: Iterable[Row | Lesson],
        method: Method = "sft",
        *,
        training: Training | None = None,
        reference: Any = None,
    ) -> Any:
        """A model that begins with the weights of `base` and learns from `rows`. It plays the same role.

        The checkpoint is named by base, rows in their order, method, settings and reference, so a replay trains nothing.

        Args:
            base: a role typed `Trainable`, or what an earlier `train` returned.
            rows: rows of a base type (sft: completions, instructions; dpo, reward: preferences), or `Lesson`s.
            reference: the model that DPO holds it against; `base` unless given.

        Raises:
            TrainingFailed: no rows, or a loss that is no number. The run stops, and keeps everything.
        """
        return await training_of.train(self._ledger, self._step, base, rows, method, training or Training(), reference)

    def trainer(
        self, base: Any, method: Method = "dpo", *, training: Training | None = None, reference: Any = None
    ) -> OnlineTrainer:
        """A model that is trained step by step, `await trainer.step(rows)`, and asked in between, `trainer.model`."""
        return OnlineTrainer(self._ledger, self._step, base, method, training or Training(), reference)

    async def _keep(self, kind: str, key: str, answer: bytes, name: str = "") -> None:
        question = digest(kind, name)
        body = _encode({"kind": kind, "name": name})
        entry = (key, question, 0, current().place, kind, "", answer, None, 0, 0, 0.0, 0.0, 0)
        await self._ledger.journal.put([(QUESTION, (question, body)), (CALL, entry)])


def _start(branch: Scope, work: Awaitable[R]) -> asyncio.Task[R]:
    context = copy_context()
    context.run(branch.enter)

    async def follow() -> R:
        return await work

    return asyncio.get_running_loop().create_task(follow(), context=context)


async def _first(branches: list[Scope], work: Sequence[Coroutine[Any, Any, R | None]]) -> tuple[int, R | None]:
    tasks = [_start(branch, coroutine) for branch, coroutine in zip(branches, work, strict=True)]
    left = set(tasks)
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.index):
                if (result := task.result()) is not None:
                    return tasks.index(task), result
        return -1, None
    finally:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def ends_the_run(error: BaseException) -> bool:
    """Errors that are about the run and not about a row."""
    from gristmill.errors import BadInput, DiskTrouble, EndpointDown, TrainingFailed

    return isinstance(error, (BadInput, DiskTrouble, EndpointDown, TrainingFailed))


def describe(error: BaseException) -> str:
    """An error as a failure keeps it: the message of ours, the type too of others, and where in the recipe it arose."""
    from gristmill.errors import GristmillError

    if isinstance(error, GristmillError):
        return str(error)
    where = ""
    trace = error.__traceback__
    while trace:
        where = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{where}"


def _note(option: object, index: int) -> Any:
    """A draw as the lineage keeps it: a plain value itself, a row's id, else the number of the option."""
    if isinstance(option, Row):
        return option.id
    if option is None or isinstance(option, (str, int, float, bool)):
        return option
    return getattr(option, "name", None) or index
