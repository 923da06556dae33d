"""For tests of what people answer: a run that waits with a task of every kind, and the program that serves it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from gristmill import Annotator, Row, Run, recipe
from gristmill.models.annotation import Comparing, Editing, Labelling, Note, Ranking, Rating, Steps, Task, Writing
from gristmill.testing import folder, run

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"

KINDS: dict[str, Task] = {
    "label": Labelling(
        text="The train to Uppsala was two hours late, and nobody told us why. " + HOSTILE,
        options=["complaint", "praise", "question", "something else"],
        context="A letter to a railway.",
        guidelines="Judge what the writer wants.\nAnger alone is no complaint.",
    ),
    "several": Labelling(text="Great coffee, slow service.", options=["food", "service", "price"], several=True),
    "write": Writing(context="Why is the sky blue?", guidelines="Two sentences, for a child.", most=200),
    "edit": Editing(text="He go to school yesterday.", context="Correct the English."),
    "rank": Ranking(items=["A cat.", "A cat sat on the mat.", "Mat."], context="Which describes the picture best?"),
    "compare": Comparing(
        first="Paris is the capital of France.",
        second="The capital of France, a country in Europe, is, as is widely known, Paris.",
        strength=3,
        context="What is the capital of France?",
    ),
    "rate": Rating(
        text="Water boils at 100 °C at sea level.",
        aspects={"helpfulness": "Does it answer the request?", "correctness": "Is it true?", "brevity": "Is it short?"},
        context="When does water boil?",
    ),
    "steps": Steps(
        steps=["2 + 2 = 4", "4 * 3 = 13", "So it is 13."],
        options=["right", "wrong"],
        until="wrong",
        context="What is (2 + 2) * 3?",
    ),
}


class Asked(Row):
    kind: str
    n: int = 1
    without: list[str] = msgspec.field(default_factory=list)


class Told(Row):
    kind: str
    notes: list[Note]


@recipe("ask-people")
async def ask_people(row: Asked, rater: Annotator, run: Run) -> AsyncIterator[Told]:
    """A task of a kind, for n people."""
    notes = await rater.annotate(KINDS[row.kind], n=row.n, without=row.without)
    yield Told(row.kind, notes)


async def waiting(*rows: dict, group: str = "anyone") -> Path:
    """The folder of a run that waits for the answers of these rows."""
    out = folder()
    await run(ask_people, list(rows), out=out, allow_failures=True, rater=f"people:{group}")
    return out


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Served:
    """`gristmill annotate` in a process of its own."""

    def __init__(self, run_folder: Path, port: int, *more: str) -> None:
        command = [sys.executable, "-m", "gristmill.cli", "annotate", str(run_folder), "--port", str(port), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout
        self.said = [self.process.stdout.readline()]
        while not self.said[-1].startswith("http"):
            assert self.process.poll() is None or self.said[-1], self.said
            self.said.append(self.process.stdout.readline())
        self.url = self.said[-1].strip()

    def end(self, how: int = signal.SIGINT) -> str:
        """What it said at last."""
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        said, _ = self.process.communicate(timeout=30)
        return said


@contextlib.contextmanager
def serving(run_folder: Path, port: int, *more: str) -> Iterator[Served]:
    served = Served(run_folder, port, *more)
    try:
        yield served
    finally:
        served.end(signal.SIGKILL)


def answers(run_folder: Path) -> list[Note]:
    """All notes that the journal holds, in the order in which they came."""
    from gristmill.engine.journal import Journal

    journal = Journal(run_folder, read_only=True)
    found = [msgspec.json.decode(a, type=Note) for (a,) in journal.select("SELECT answer FROM calls ORDER BY rowid")]
    journal.release()
    return found
