"""What the tests of `gristmill compare` share: reviews of films, two methods that make some, and the entries of a track."""

import random
from collections.abc import AsyncIterator

from gristmill import Chat, Labelled, Row, Run, recipe
from gristmill.compare import Comparison, Entry, Track, acompare
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.sets import of_records
from gristmill.testing import Scripted, folder

EMBED = Embedder("hashed", hashed)
GOOD = [
    "a wonderful film",
    "superb acting throughout",
    "moving and funny",
    "a joy from start to end",
    "brilliant story",
]
BAD = ["a dreadful film", "wooden acting throughout", "dull and endless", "a bore from start to end", "stupid story"]


FILLER = [
    "the",
    "camera",
    "then",
    "moves",
    "along",
    "a",
    "street",
    "where",
    "people",
    "talk",
    "about",
    "rain",
    "or",
    "tea",
]


def review(rng: random.Random, label: str) -> str:
    filler = " ".join(rng.choices(FILLER, k=8))
    return f"{rng.choice(GOOD if label == 'pos' else BAD)} {filler}"


def real(count: int = 150) -> list[dict[str, str]]:
    rng = random.Random(5)
    return [{"text": review(rng, label), "label": label} for label in ("pos", "neg") * (count // 2)]


class Topic(Row):
    topic: str


@recipe("well-labelled")
async def well_labelled(row: Topic, writer: Chat, run: Run) -> AsyncIterator[Labelled]:
    """Reviews with their label."""
    label = run.draw("label", ["pos", "neg"])
    yield Labelled((await writer.chat(f"{label} {row.topic}")).text, label)


@recipe("mislabelled")
async def mislabelled(row: Topic, writer: Chat, run: Run) -> AsyncIterator[Labelled]:
    """The same texts, labelled by chance."""
    label, said = run.draw("label", ["pos", "neg"]), run.draw("said", ["pos", "neg"])
    text = (await writer.chat(f"{label} {row.topic}")).text
    if run.rng("drop").random() < 0.3:
        run.reject(text, "dropped")
    else:
        yield Labelled(text, said)


METHODS = {"well": well_labelled, "ill": mislabelled}
"""By the names that entries give them."""


def writer(question) -> str:
    label, _, topic = question.messages[0].content.partition(" ")
    return review(random.Random(topic + label), label)


def track(seeds, **options) -> Track:
    data = of_records(real(300), "real")
    given = {"real": data, "label": "label", "runs": 2} | options
    return Track(out=folder() / "compared", seeds=seeds, **given)


def entries(*names: str) -> list[Entry]:
    return [Entry(name, name, Scripted(writer)) for name in names]


async def compared(track, *names, more=()) -> Comparison:
    return await acompare([*entries(*names), *more], track, embed=EMBED)
