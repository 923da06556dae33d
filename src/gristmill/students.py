"""Small models that learn from a set of rows and are tested on real ones: a linear head on embeddings, an n-gram language
model, or any model that the trainer of `train/` can train.

Promised: real rows are split once, and no training row holds a test row; each student gives a score for every test row,
in the same order for every set; a training that was done is not repeated, and one that was cut short goes on.
Not promised: that a large model would gain what a small one does.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np

from gristmill.errors import BadInput, TrainingFailed
from gristmill.models import finetune
from gristmill.models.protocol import Backend, Question
from gristmill.models.spec import parse
from gristmill.models.training import Course, Lesson, Trainee, Training
from gristmill.ops.loss import lacks_first
from gristmill.quality import tstr
from gristmill.quality.embed import Embedder
from gristmill.quality.language_model import fitted
from gristmill.quality.sets import Set
from gristmill.rows import digest

MOST_CHARACTERS = 2_000_000
"""That a language model is trained on."""
PIECE = 1000
"""Characters of a text that a transformer reads at once; a quarter of its context where that is less, since a character
can be four tokens."""
TRAINING = Training(learning_rate=5e-5, epochs=3.0)
"""Of a model that is trained. Rate and passes are ours: common for a small model."""
FEWEST = 5
"""Rows of a domain, to train on and to test on, below which nothing is said of it."""

Unit = Literal["rows", "characters"]
Saying = Callable[[str], None]


# Real rows


@dataclass(frozen=True)
class Real:
    """Real rows, split before anything is generated."""

    train: Set
    test: Set
    leaked: int
    """Training rows that held a test row, and were taken out."""
    label: str | None = None
    domain: str | None = None

    @property
    def domains(self) -> list[str]:
        """Those with enough rows on both sides."""
        if self.domain is None:
            return []
        here, there = (Counter(values(part, self.domain)) for part in (self.train, self.test))
        return sorted(name for name in here if min(here[name], there[name]) >= FEWEST)


def split(real: Set, *, seed: int, label: str | None = None, domain: str | None = None) -> Real:
    """Four fifths to train on, one fifth to test on, by chance of the seed. Rows without text are left out.

    Raises:
        BadInput: fewer than two rows, a row without its label or domain, or fewer than two domains with FEWEST rows on
            either side.
    """
    real = real.take([row for row, text in enumerate(real.texts) if text.strip()])
    order = np.random.default_rng(seed).permutation(len(real)).tolist()
    cut = max(1, len(order) // 5)
    test = real.take(sorted(order[:cut]), f"{real.name}, test rows")
    rows = sorted(order[cut:])
    leaking = {leak.row for leak in tstr.leaks(test.texts, [real.texts[row] for row in rows])}
    kept = [row for number, row in enumerate(rows) if number not in leaking]
    if not kept:
        raise BadInput(
            f"{real.name} has {len(real)} rows with text: too few to split into rows to train on and to test on"
        )
    found = Real(real.take(kept, real.name), test, len(leaking), label, domain)
    for column in filter(None, (label, domain)):
        values(real, column)
    if domain is not None and len(found.domains) < 2:
        raise BadInput(
            f"--domain {domain}: transfer is between two domains or more with {FEWEST} rows each to train on and to test on; "
            f"{real.name} has {len(found.domains)}"
        )
    return found


def values(part: Set, column: str) -> list[str]:
    """A column as text.

    Raises:
        BadInput: it is not there, or a row has nothing in it.
    """
    found = part.column(column)
    if found is None:
        raise BadInput(f"{part.name} has no column {column!r}, which the real rows are to be learnt by")
    if (lacking := next((row for row, value in enumerate(found) if value is None), None)) is not None:
        raise BadInput(f"{part.name}: row {lacking + 1} has nothing in the column {column!r}")
    return list(map(str, found))


# Students


@dataclass(frozen=True)
class Student:
    """What is trained on each set, and tested on the real test rows."""

    name: str
    measure: str
    """What a score is: "share of right labels", "bits a character"."""
    better: Literal["high", "low"]
    unit: Unit
    """What all sets have as many of."""
    trainings: int
    """Of each set, each with a seed of its own."""
    floor_of: str
    """What scores without data."""
    floor: Callable[[], Awaitable[list[float]]]
    """The score of each test row without data."""
    teach: Callable[[Set, int], Awaitable[list[float]]]
    """(rows, seed) -> the score of each test row."""
    close: Callable[[], Awaitable[None]]


def student_of(
    learner: Any, real: Real, *, embed: Embedder, trainings: int, training: Training, folder: Path, say: Saying
) -> Student:
    """The student that is named.

    Args:
        learner: "linear", "ngram", a model that can be trained (a spec or a backend), or None: linear where there are
            labels, else ngram.
        training: of a model that is trained.
        folder: where trainings are kept, so that none is repeated.

    Raises:
        BadInput: linear without labels, a model that cannot be trained or give probabilities, or packages that are missing.
    """
    learner = ("linear" if real.label else "ngram") if learner is None else learner
    if learner == "linear":
        return linear(real, embed, trainings)
    if learner == "ngram":
        return ngrams(real)
    if isinstance(learner, str):
        if ":" not in learner:
            raise BadInput(
                f"--learner {learner}: it is linear, ngram, or a model that can be trained: transformers:FOLDER"
            )
        finetune.require(("sft",))
        learner = parse(learner).open()
    if lacking := {"Trainable", "Score"} - learner.can:
        raise BadInput(f"--learner {learner.model}: it lacks {' and '.join(sorted(lacking))}; take transformers:FOLDER")
    return trained(real, learner, trainings, training, folder, say)


def linear(real: Real, embed: Embedder, trainings: int) -> Student:
    """A linear head on embeddings; the score is 1 where the label is right, else 0."""
    if real.label is None:
        raise BadInput("--learner linear learns labels: name their column with --label")
    label = real.label
    learner, truth = tstr.linear(embed), values(real.test, label)
    steps = max(tstr.LEAST_STEPS, tstr.PASSES * len(real.train))
    test = learner.features(real.test.texts)
    frequent = tstr.most_frequent(values(real.train, label))

    async def floor() -> list[float]:
        return [float(frequent == said) for said in truth]

    async def teach(part: Set, seed: int) -> list[float]:
        model = learner.fit(learner.features(part.texts), values(part, label), steps, seed)
        return [float(a == b) for a, b in zip(model.predict(test), truth, strict=True)]

    return Student(
        learner.name,
        "share of right labels",
        "high",
        "rows",
        trainings,
        "the most frequent label",
        floor,
        teach,
        _nothing,
    )


async def _nothing() -> None:
    """Is left open."""


def ngrams(real: Real) -> Student:
    """An n-gram language model; the score is the bits that it spends on a character of a test row and on its end."""

    def spent(texts: Sequence[str], order: int) -> list[float]:
        bits = fitted(texts, order=order).bits(real.test.texts)
        return [one / (len(text) + 1) for one, text in zip(bits, real.test.texts, strict=True)]

    async def floor() -> list[float]:
        return spent(of_size(real.train, "characters", MOST_CHARACTERS, 0).texts, 1)

    async def teach(part: Set, seed: int) -> list[float]:
        return spent(part.texts, 5)

    name, floor_of = "n-gram language model of characters", "how frequent single characters are in real rows"
    return Student(name, "bits a character", "low", "characters", 1, floor_of, floor, teach, _nothing)


def trained(real: Real, model: Backend, trainings: int, training: Training, folder: Path, say: Saying) -> Student:
    """A language model that goes on learning from a set's text; the score is the bits that it then spends on a character of
    a test row, of PIECE characters at most.

    All texts of a set are one after the other, cut into pieces of one length: the same number of steps for every set.
    Scores are kept in `folder` by all that makes them, and weights only until then.
    """
    trainee = cast(Trainee, model)

    async def piece() -> int:
        if start := getattr(model, "start", None):
            await start()
        context = getattr(model, "context", None)
        return min(PIECE, context // 4) if context else PIECE

    async def scores(asked: Backend, length: int) -> list[float]:
        return [await bits_of(asked, text.strip()[:length]) for text in real.test.texts]

    async def floor() -> list[float]:
        return await scores(model, await piece())

    async def teach(part: Set, seed: int) -> list[float]:
        length = await piece()
        text = "\n\n".join(part.texts)[: sum(map(len, part.texts))]
        lessons = [Lesson("", text[at : at + length]) for at in range(0, len(text), length)]
        course = Course("sft", lessons, msgspec.structs.replace(training, seed=seed))
        name = digest("utility", *map(_stable, (model.identity(), course, real.test.texts, length)))
        kept = folder / f"{name}.json"
        if not kept.exists():
            (folder / name).mkdir(parents=True, exist_ok=True)
            taught = await _taught(trainee, course, folder / name, name, say)
            found = await scores(taught, length)
            await taught.close()
            kept.with_suffix(".unfinished").write_bytes(msgspec.json.encode(found))
            os.replace(kept.with_suffix(".unfinished"), kept)
            shutil.rmtree(folder / name)
        return msgspec.json.decode(kept.read_bytes(), type=list[float])

    spec = str(getattr(model, "spec", "") or model.model)
    return Student(
        spec, "bits a character", "low", "characters", trainings, "the model as it came", floor, teach, model.close
    )


async def _taught(model: Trainee, course: Course, folder: Path, name: str, say: Saying) -> Backend:
    """The model after a course; one that was cut short goes on from its last save."""

    def progress(done: int, of: int, measured: dict[str, float]) -> None:
        if done == of:
            say(f"trained {of:,} steps, loss {measured.get('loss', math.nan):.3g}")

    measured = await model.train(course, folder, progress)
    if not math.isfinite(measured["loss"]):
        raise TrainingFailed(
            f"the loss became {measured['loss']} after {measured['steps']:.0f} steps. A smaller learning rate may help: "
            """--training '{"learning_rate": 1e-5}'"""
        )
    return model.at(folder, name)


async def bits_of(model: Backend, text: str) -> float:
    """Bits that a model spends on a character of a text, after a line's end: so the first token has a probability too.

    Raises:
        BadInput: the model gives no probabilities.
    """
    [tokens] = (await model.answer(Question("score", prompt="\n", continuation=text), 1)).samples
    counted = tokens[1:] if lacks_first(tokens) else tokens
    if not counted:
        raise BadInput(f"{model.model} gives no probability of {text[:60]!r}")
    return float(-sum(token.logprob for token in counted) / math.log(2) / len(text))


def _stable(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


# Sizes


def of_size(part: Set, unit: Unit, most: int, seed: int) -> Set:
    """Rows by chance, up to so many, or until so many characters; then the last one's text is cut."""
    if unit == "rows":
        return part.sample(most, seed)
    rows: list[int] = []
    left = most
    for row in np.random.default_rng(seed).permutation(len(part)).tolist():
        if left <= 0:
            break
        rows.append(row)
        left -= len(part.texts[row])
    texts = [part.texts[row] for row in rows]
    if left < 0:
        texts[-1] = texts[-1][:left]
    records = [part.records[row] for row in rows] if part.records else ()
    return Set(part.name, [""] * len(texts), texts, records)


def size_of(part: Set, unit: Unit) -> int:
    """A set's size."""
    return len(part) if unit == "rows" else min(MOST_CHARACTERS, sum(map(len, part.texts)))
