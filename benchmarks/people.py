"""No answer lost, none stored twice: two people label 500 rows while the server is killed with -9 again and again.

    python benchmarks/people.py [--rows 500] [--kills 15]

The server is the program in a process of its own. The people are threads that do what the page does: what got no reply is
sent again. One reply in ten they do not wait for. Every label depends on the person and the row, so a wrong one shows.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
from figures import figure, machine

import gristmill
from gristmill import Annotator, Row, Run, recipe
from gristmill.models.annotation import Labelling, Note

OPTIONS = [f"label {n}" for n in range(10)]
PEOPLE = ("anna", "bo")


class Thing(Row):
    text: str


class Labels(Row):
    text: str
    notes: list[Note]


@recipe("two-labels")
async def two_labels(row: Thing, rater: Annotator, run: Run) -> AsyncIterator[Labels]:
    """Two people label each text."""
    yield Labels(row.text, await rater.annotate(Labelling(text=row.text, options=OPTIONS), n=2))


def label(by: str, text: str) -> str:
    return OPTIONS[sha256(f"{by} {text}".encode()).digest()[0] % len(OPTIONS)]


class Server:
    """The program, killed and started again at one address."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        self.command = [sys.executable, "-m", "gristmill.cli", "annotate", str(folder), "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("http"):
                [self.token] = parse_qs(urlsplit(line.strip()).query)["token"]
                return
        raise AssertionError("the server did not start")

    def end(self, how: int) -> None:
        self.process.send_signal(how)
        self.process.communicate()


class Person(threading.Thread):
    """Answers until nothing is left."""

    def __init__(self, server: Server, by: str) -> None:
        super().__init__(daemon=True)
        self.server, self.by = server, by
        self.chance = random.Random(by)
        self.told: dict[str, str] = {}
        """Text of each task that the server said it has an answer of, and the label."""
        self.sent = self.lost = 0

    def ask(self, method: str, path: str, body: object = None, *, leave: bool = False) -> dict | None:
        """A reply, or None where there was none; with `leave` it is not waited for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            if leave:
                time.sleep(self.chance.uniform(0, 0.01))
                return None
            reply = connection.getresponse()
            said = json.loads(reply.read())
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            return None
        finally:
            connection.close()
        assert reply.status == 200, said
        return said

    def run(self) -> None:
        while True:
            shown = self.ask("GET", f"/api/task?by={self.by}")
            if shown is None:
                continue
            if shown["task"] is None:
                return
            text = shown["task"]["task"]["text"]
            note = {"labels": [label(self.by, text)]}
            body = {"by": self.by, "key": shown["task"]["key"], "note": note}
            said = None
            while said is None:
                self.sent += 1
                said = self.ask("POST", "/api/answer", body, leave=self.chance.random() < 0.1)
                self.lost += said is None
            self.told[text] = note["labels"][0]


def answered(folder: Path, kills: int) -> tuple[int, list[Person]]:
    chance = random.Random(7)
    server = Server(folder)
    people = [Person(server, by) for by in PEOPLE]
    for person in people:
        person.start()
    killed = 0
    while any(person.is_alive() for person in people):
        time.sleep(chance.uniform(0.05, 0.4))
        if killed < kills:
            server.end(signal.SIGKILL)
            server.start()
            killed += 1
    server.end(signal.SIGINT)
    return killed, people


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--kills", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        folder = Path(name) / "run"
        seeds = [{"text": f"text {n}"} for n in range(options.rows)]
        waiting = gristmill.run(two_labels, seeds=seeds, out=folder, model="people:anyone")
        assert (waiting.exit_code, waiting.waiting) == (4, options.rows)
        killed, people = answered(folder, options.kills)
        for person in people:
            assert len(person.told) == options.rows, "a row was not asked"
        with gristmill.execute.looking(folder) as journal:
            found = [msgspec.json.decode(answer, type=Note) for (answer,) in journal.select("SELECT answer FROM calls")]
        done = gristmill.resume(folder, recipe=two_labels)
        right = {
            row.text: sorted((note.by, note.labels[0]) for note in row.notes)
            == [(person.by, person.told[row.text]) for person in people]
            for row in done.rows
        }
        lost = 2 * options.rows - len(found)
        wrong = options.rows - sum(right.values())
        sent, cut = sum(person.sent for person in people), sum(person.lost for person in people)
        figure(
            f"two people, {options.rows} rows, server killed with -9 {killed} times",
            f"{max(0, lost)} answers lost, {max(0, -lost)} stored twice; {sent:,} tries, {cut} without a reply",
            aim="0 and 0",
            met=lost == 0 and killed == options.kills,
        )
        figure(
            "the resumed run",
            f"{len(done.rows)} rows, {wrong} with other labels than were given",
            aim=f"{options.rows} and 0",
            met=len(done.rows) == options.rows and wrong == 0,
        )
    print(machine())


if __name__ == "__main__":
    main()
