"""The queue of a run's tasks for people: who is asked what, answers that are kept once, the interface, Label Studio."""

import contextlib
import copy
import json
import random
import re
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import typer

from annotating import KINDS, Asked, Told, answers, ask_people, serving, waiting
from annotating import free_port as port_of
from gristmill import Annotator, BadInput, Run, recipe
from gristmill.api import aresume
from gristmill.cli import app
from gristmill.engine.journal import Journal
from gristmill.errors import DiskTrouble
from gristmill.models.annotation import Note, complaint
from gristmill.people import label_studio
from gristmill.people.command import TOKEN, annotate_command
from gristmill.people.page import MOST_BYTES, page_app
from gristmill.people.queue import LEASE, Gone, Queue, Taken, annotator
from gristmill.testing import folder, run

LABEL = {"kind": "label"}
GOOD = {
    "label": Note(labels=["praise"]),
    "several": Note(labels=["food", "service"]),
    "write": Note(text="Because air scatters blue light."),
    "edit": Note(text="He went to school yesterday."),
    "rank": Note(order=[1, 0, 2]),
    "compare": Note(preference=-2),
    "rate": Note(ratings={"helpfulness": 3, "correctness": 4, "brevity": 4}),
    "steps": Note(labels=["right", "wrong"]),
}
TIED = Note(labels=["question"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def good(handed) -> Note:
    return next(GOOD[kind] for kind, task in KINDS.items() if task == handed.task)


@pytest.fixture
def opened():
    """Opens queues, and closes them at the end."""
    queues: list[Queue] = []

    def open_queue(*arguments, **options):
        queues.append(Queue(*arguments, **options))
        return queues[-1]

    yield open_queue
    for queue in queues:
        queue.close()


# -- the queue


async def test_two_people_answer_tasks_of_every_kind_and_the_resumed_run_has_their_notes(opened):
    out = await waiting(*[{"kind": kind, "n": 2} for kind in KINDS])
    queue = opened(out)
    for by in ("anna", "bo"):
        while handed := queue.next(by):
            queue.store(by, handed.key, good(handed))
    assert queue.groups() == {}
    queue.close()
    done = await aresume(out, recipe=ask_people)
    assert (done.exit_code, done.waiting) == (0, 0)
    told = {row.kind: row.notes for row in done.rows}
    assert list(told) == list(KINDS)
    for kind, notes in told.items():
        assert [note.by for note in notes] == ["anna", "bo"]
        for note in notes:
            said = msgspec.structs.replace(GOOD[kind], by=note.by, call=note.call)
            assert note == said
    assert all(len(row.lineage.calls) == 2 for row in done.rows)


async def test_a_person_fills_one_sample_of_a_question_and_another_person_the_next(opened):
    out = await waiting({**LABEL, "n": 2})
    queue = opened(out)
    first = queue.next("anna")
    queue.store("anna", first.key, GOOD["label"])
    assert queue.next("anna") is None
    other = queue.next("bo")
    with pytest.raises(Taken, match="answered this already"):
        queue.store("anna", other.key, TIED)
    queue.store("bo", other.key, TIED)
    assert [note.by for note in answers(out)] == ["anna", "bo"]


async def test_who_answered_before_the_run_was_resumed_is_still_not_asked_the_same_again(opened):
    out = await waiting({**LABEL, "n": 2})
    queue = opened(out)
    queue.store("anna", queue.next("anna").key, GOOD["label"])
    queue.close()
    assert (await aresume(out, recipe=ask_people)).waiting == 1
    queue = opened(out)
    assert queue.next("anna") is None
    assert queue.standing("anna").last == ""  # the run went on with it: it cannot be taken back
    assert queue.next("Bo")


async def test_whom_a_question_excludes_is_not_asked_and_not_believed(opened):
    out = await waiting({**LABEL, "without": ["Anna"]})
    queue = opened(out)
    assert queue.next("anna") is None
    handed = queue.next("bo")
    with pytest.raises(Taken, match="must not answer"):
        queue.store("anna", handed.key, GOOD["label"])
    assert answers(out) == []


async def test_the_same_answer_sent_twice_is_one_and_another_answer_is_refused(opened):
    out = await waiting({**LABEL, "n": 2})
    queue = opened(out)
    key = queue.next("anna").key
    kept = [queue.store("anna", key, msgspec.structs.replace(GOOD["label"], seconds=s)) for s in (1.0, 2.0)]
    assert [(k.key, k.again) for k in kept] == [(key, False), (key, True)]
    with pytest.raises(Taken, match="otherwise"):
        queue.store("anna", key, TIED)
    queue.close()
    queue = opened(out)  # and also after the server was killed in between
    assert queue.store("ANNA", key, GOOD["label"]).again
    assert [(note.by, note.labels, note.seconds) for note in answers(out)] == [("anna", ["praise"], 1.0)]


async def test_a_sample_that_another_filled_meanwhile_is_not_overwritten_and_the_answer_goes_to_an_open_one(opened):
    out = await waiting({**LABEL, "n": 2})
    queue = opened(out)
    key = queue.next("anna").key
    queue.store("anna", key, GOOD["label"])
    kept = queue.store("bo", key, TIED)
    assert kept.key != key
    assert queue.store("bo", key, TIED) == msgspec.structs.replace(kept, again=True)
    with pytest.raises(Taken, match="others have answered this meanwhile"):
        queue.store("cy", key, TIED)
    assert [(note.by, note.labels) for note in answers(out)] == [("anna", ["praise"]), ("bo", ["question"])]


async def test_a_late_answer_goes_to_a_sample_that_nobody_is_on(opened):
    out = await waiting({**LABEL, "n": 3})
    queue = opened(out)
    keys = [queue.next(by).key for by in ("anna", "bo")]
    queue.store("anna", keys[0], GOOD["label"])
    assert queue.store("cy", keys[0], TIED).key not in keys
    assert queue.store("bo", keys[1], TIED).key == keys[1]


async def test_a_task_is_kept_for_whom_it_was_handed_to_until_the_lease_is_over(opened):
    out = await waiting(LABEL)
    clock = Clock()
    queue = opened(out, now=clock)
    handed = queue.next("anna")
    clock.now = LEASE - 1
    assert (queue.next("bo"), queue.next("anna").key) == (None, handed.key)  # which keeps it for longer
    clock.now += LEASE - 1
    assert queue.next("bo") is None
    queue.hold("bo", handed.key)  # which is not his
    assert queue.next("bo") is None
    queue.hold("anna", handed.key)
    clock.now += LEASE - 1
    assert queue.next("bo") is None
    clock.now += 1
    assert queue.next("bo").key == handed.key
    assert queue.next("anna") is None


async def test_after_a_crash_tasks_come_in_the_same_order_again(opened):
    out = await waiting(*[{"kind": kind, "n": 2} for kind in KINDS])
    queue = opened(out)
    order = [entry.key for entry, _ in queue.open_tasks()]
    assert queue.next("anna").key == order[0]
    queue.close()
    queue = opened(out)
    assert [entry.key for entry, _ in queue.open_tasks()] == order
    assert queue.next("bo").key == order[0]


async def test_a_person_takes_back_his_own_last_answer_and_no_other(opened):
    out = await waiting(LABEL, {"kind": "several"}, {"kind": "rank"})
    queue = opened(out)
    keys = []
    for by in ("anna", "anna", "bo"):
        handed = queue.next(by)
        keys.append(handed.key)
        queue.store(by, handed.key, good(handed))
    for key in (keys[0], keys[2]):
        with pytest.raises(Taken, match="only your own last"):
            queue.undo("anna", key)
    queue.close()
    queue = opened(out)  # also from another process than took it
    before = len(answers(out))
    handed = queue.undo("anna", keys[1])
    assert queue.next("bo") is None
    assert (handed.key, handed.note.by, len(answers(out))) == (keys[1], "anna", before - 1)
    assert queue.undo("anna", keys[1]) == handed  # sent again after a lost reply: still one
    assert len(answers(out)) == before - 1
    assert queue.next("anna").key == keys[1]
    queue.store("anna", keys[1], good(handed))
    assert queue.undo("anna", keys[1]).key == keys[1]
    assert queue.undo("anna", keys[0]).key == keys[0]  # and then the one before
    with pytest.raises(Taken, match="no answer to be taken back"):
        queue.undo("anna", keys[0] + "x")


async def test_what_was_taken_back_is_not_in_the_resumed_run(opened):
    out = await waiting(LABEL)
    queue = opened(out)
    key = queue.next("anna").key
    queue.store("anna", key, GOOD["label"])
    queue.undo("anna", key)
    queue.store("anna", key, TIED)
    queue.close()
    [row] = (await aresume(out, recipe=ask_people)).rows
    assert row.notes[0].labels == ["question"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_breaks_the_rules_of_its_task_is_never_stored(kind, opened):
    out = await waiting({"kind": kind})
    queue = opened(out)
    key = queue.next("anna").key
    wrong = [Note(labels=["red"], text=" ", order=[0, 0, 1], preference=4, ratings={"brevity": 1})]
    wrong += [Note(skipped=True, labels=["wrong"], text="x", order=[0], preference=1, ratings={"brevity": 1})]
    for note in wrong:
        with pytest.raises(BadInput):
            queue.store("anna", key, note)
    assert (answers(out), queue.next("anna").key) == ([], key)
    queue.store("anna", key, Note(skipped=True, comment=" broken "))
    assert answers(out) == [Note(by="anna", skipped=True, comment="broken")]


async def test_only_what_answers_the_task_is_kept_of_a_note(opened):
    out = await waiting(LABEL)
    queue = opened(out)
    sent = Note(by="bo", labels=["praise"], text="x", order=[1], preference=3, seconds=-5.0, call="k")
    queue.store("anna", queue.next("anna").key, sent)
    assert answers(out) == [Note(by="anna", labels=["praise"])]


@recipe("two-groups")
async def two_groups(row: Asked, crowd: Annotator, experts: Annotator, run: Run) -> AsyncIterator[Told]:
    """A task for the many, and one for those who know."""
    asked = [crowd.annotate(KINDS["label"]), experts.annotate(KINDS["rank"])]
    yield Told(row.kind, await run.gather(*asked))


async def test_a_group_is_asked_its_own_tasks_alone(opened):
    out = folder()
    spec = {"crowd": "people:anyone", "experts": "people:experts"}
    await run(two_groups, [LABEL], out=out, allow_failures=True, **spec)
    queue = opened(out)
    assert queue.groups() == {"anyone": 1, "experts": 1}
    queue.close()
    for group, role in (("anyone", "crowd"), ("experts", "experts")):
        queue = opened(out, group)
        assert queue.groups() == {group: 1}
        handed = queue.next("anna")
        assert (handed.role, handed.group) == (role, group)
        queue.store("anna", handed.key, good(handed))
        assert queue.next("anna") is None
        queue.close()
    [row] = (await aresume(out, recipe=two_groups)).rows
    assert [(note.labels, note.order) for note in row.notes] == [(["praise"], []), ([], [1, 0, 2])]


async def test_a_person_stays_on_his_task_when_an_earlier_one_becomes_free(opened):
    clock = Clock()
    queue = opened(await waiting(LABEL, LABEL), now=clock)
    queue.next("bo")
    clock.now = LEASE / 2
    mine = queue.next("anna")
    clock.now = LEASE
    assert queue.next("anna").key == mine.key


async def test_what_another_program_put_into_the_journal_meanwhile_is_not_overwritten(opened):
    out = await waiting(LABEL)
    queue = opened(out)
    handed = queue.next("anna")
    with contextlib.closing(sqlite3.connect(out / "run.db")) as other:
        other.execute(
            "INSERT INTO calls SELECT key, question, sample, place, role, people, '{}', NULL, 0, 0, 0, 0, 0 FROM tasks"
        )
        other.commit()
    with pytest.raises(DiskTrouble, match="changed by another program"):
        queue.store("anna", handed.key, GOOD["label"])
    assert answers(out) == [Note()]


async def test_a_queue_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(BadInput, match="holds no run"):
        Queue(tmp_path)
    assert list(tmp_path.iterdir()) == []
    out = await waiting(LABEL)
    with pytest.raises(BadInput, match="no tasks for the group 'experst'"):
        Queue(out, "experst")
    journal = Journal(out)  # as a run holds it
    with pytest.raises(BadInput, match="another process is working"):
        Queue(out)
    journal.release()
    queue = Queue(out)
    with pytest.raises(BadInput, match="another process is working"):
        await aresume(out, recipe=ask_people)
    with pytest.raises(Gone, match="no task 'none'"):
        queue.store("anna", "none", GOOD["label"])
    queue.close()


def test_names_are_letters_digits_and_dashes_and_their_case_does_not_matter():
    assert [annotator(name) for name in (" Anna ", "zoe\u0308-2", "安娜")] == ["anna", "zoë-2", "安娜"]
    for name in ("", "-a", "a b", "a_b", "a/b", "<b>", "a" * 41, "a\nb", "а\u200bb"):
        with pytest.raises(BadInput, match="no name for an annotator"):
            annotator(name)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_people_do_and_in_whatever_order_no_sample_has_two_answers_and_no_person_two_samples(
    seed, opened
):
    chance = random.Random(seed)
    out = await waiting(*[{"kind": kind, "n": 3, "without": ["cy"] if kind == "rank" else []} for kind in KINDS])
    queue = opened(out)
    tasks = {entry.key: task for entry, task in queue.open_tasks()}
    people = ["anna", "bo", "cy", "di"]
    kept: dict[str, tuple[str, Note]] = {}
    for _ in range(300):
        by, what = chance.choice(people), chance.random()
        key = chance.choice(list(tasks)) if what < 0.5 else ""
        try:
            if what < 0.85:
                key = key or getattr(queue.next(by), "key", next(iter(tasks)))
                note = next(GOOD[kind] for kind, task in KINDS.items() if task == tasks[key])
                stored = queue.store(by, key, note)
                assert stored.again == (stored.key in kept)
                kept[stored.key] = by, note
            elif what < 0.95:
                last = queue.standing(by).last or "none"
                queue.undo(by, last)
                del kept[last]
            else:
                queue.close()
                queue = opened(out)
        except Taken:
            continue
    assert queue.standing("anna").answered == len(kept)
    queue.close()
    journal = Journal(out, read_only=True)
    found = list(journal.select("SELECT key, question, answer FROM calls"))
    journal.release()
    said = {key: msgspec.json.decode(answer, type=Note) for key, _, answer in found}
    assert {key: note.by for key, note in said.items()} == {key: by for key, (by, _) in kept.items()}
    assert all(complaint(tasks[key], note) == "" for key, note in said.items())
    asked = [(question, said[key].by) for key, question, _ in found]
    assert len(set(asked)) == len(asked)
    assert not [1 for key, note in said.items() if tasks[key] == KINDS["rank"] and note.by == "cy"]


# -- the interface


def client(queue, token="t" * 32, headers=None, **options) -> httpx.AsyncClient:
    app = page_app(queue, token, **options)
    given = {"Authorization": f"Bearer {token}"} if headers is None else headers
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8231", headers=given)


async def test_a_task_is_asked_answered_taken_back_and_skipped_over_http(opened):
    queue = opened(await waiting(LABEL, LABEL))
    async with client(queue) as web:
        shown = (await web.get("/api/task?by=anna")).json()
        key = shown["task"]["key"]
        assert shown["task"]["role"] == "rater"
        assert shown["standing"] == {"open": 2, "answered": 0, "mine": 0, "last": ""}
        assert shown["task"]["task"]["text"] == KINDS["label"].text
        note = {"labels": ["praise"]}
        body = {"by": "anna", "key": key, "note": {**note, "comment": "hm", "seconds": 2.5}}
        for again in (False, True):
            assert (await web.post("/api/answer", json=body)).json() == {"key": key, "again": again}
        for _ in range(2):
            back = (await web.post("/api/undo", json={"by": "anna", "key": key})).json()
            assert back["task"]["note"] == {"by": "anna", **note, "comment": "hm", "seconds": 2.5}
            assert back["standing"]["answered"] == 0
        skipped = {"by": "anna", "key": key, "note": {**note, "comment": "torn"}}
        assert (await web.post("/api/skip", json=skipped)).status_code == 200
        assert answers(queue.folder) == [Note(by="anna", skipped=True, comment="torn")]
        far = (await web.get(f"/api/progress?by=bo&key={key}")).json()
        assert far == {"open": 1, "answered": 1, "mine": 0, "last": ""}


async def test_a_page_that_is_looked_at_keeps_its_task(opened):
    clock = Clock()
    queue = opened(await waiting(LABEL), now=clock)
    async with client(queue) as web:
        key = (await web.get("/api/task?by=anna")).json()["task"]["key"]
        clock.now = LEASE - 1
        assert (await web.get(f"/api/progress?by=anna&key={key}")).status_code == 200
        clock.now = LEASE + 1
        assert (await web.get("/api/task?by=bo")).json()["task"] is None


async def test_what_is_wrong_with_a_request_is_said_and_nothing_is_kept(opened):
    queue = opened(await waiting({**LABEL, "n": 2}))
    async with client(queue) as web:
        key = (await web.get("/api/task?by=anna")).json()["task"]["key"]
        kind = {"Content-Type": "application/json"}
        right = {"by": "anna", "key": key, "note": {"labels": ["praise"]}}

        async def refused(status: int, why: str, path: str = "/api/answer", **sent) -> None:
            reply = await web.post(path, **sent)
            assert (reply.status_code, why in reply.json()["error"]) == (status, True), reply.text

        await refused(400, "none of the labels", json={**right, "note": {"labels": ["<b>"]}})
        await refused(400, "Expected `str`, got `int`", json={**right, "key": 1})
        await refused(400, "Content-Type", content=json.dumps(right))
        for broken in (b"", b"{", b"[]", b"\xff", b'"\\ud800"', b'{"a":' + b"[" * 100_000):
            await refused(400, "that is no answer", content=broken, headers=kind)
        await refused(413, "at most 4 MiB", content=b" " * (MOST_BYTES + 1), headers=kind)
        await refused(404, "no task", json={**right, "key": "x" * 1000})
        await refused(400, "no name", json={**right, "by": "<script>"})
        await refused(409, "no answer to be", "/api/undo", json=right)
        assert (await web.get("/api/task?by=")).status_code == 400
        assert (await web.get("/api/answer")).status_code == 405
        assert (await web.get("/etc/passwd")).status_code == 404
    assert answers(queue.folder) == []


async def test_an_answer_that_the_disk_did_not_take_is_not_said_to_be_kept_and_can_be_sent_again(opened, monkeypatch):
    queue = opened(await waiting(LABEL))

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    async with client(queue) as web:
        sent = {"by": "anna", "key": (await web.get("/api/task?by=anna")).json()["task"]["key"], "note": GOOD["label"]}
        with monkeypatch.context() as patched:
            patched.setattr("gristmill.people.queue.insert", full)
            reply = await web.post("/api/answer", json=msgspec.to_builtins(sent))
            assert (reply.status_code, "disk is full; the answer is not kept" in reply.json()["error"]) == (503, True)
        assert answers(queue.folder) == []
        reply = await web.post("/api/answer", json=msgspec.to_builtins(sent))
        assert reply.json() == {"key": sent["key"], "again": False}


async def test_without_the_token_nothing_is_told_and_the_address_that_holds_it_sets_a_cookie(opened):
    queue = opened(await waiting(LABEL))
    token = "s" * 32
    for headers in ({}, {"Authorization": "Bearer " + "s" * 31}, {"Cookie": f"gristmill={token}"}):
        async with client(queue, token, headers) as web:
            for path in ("/", "/api/task?by=anna", f"/api/task?by=anna&token={token}", "/?token=é", "/none"):
                reply = await web.get(path)
                assert (reply.status_code, "Uppsala" in reply.text) == (401, False), path
            assert (await web.post("/api/answer", json={})).status_code == 401
    async with client(queue, token, {}) as web:
        reply = await web.get(f"/?token={token}&by=anna")
        assert (reply.status_code, reply.headers["location"]) == (303, "/?by=anna")
        assert "HttpOnly" in reply.headers["set-cookie"]
        assert "SameSite=strict" in reply.headers["set-cookie"]
        assert (await web.get("/api/task?by=anna")).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8231", 200),
        ("localhost:8231", 200),
        ("[::1]:8231", 200),
        ("192.168.1.7", 200),
        ("annotators.example", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.0.0.1@evil.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
async def test_a_name_that_others_can_point_at_this_machine_is_refused(host, status, opened):
    queue = opened(await waiting(LABEL))
    async with client(queue, host="annotators.example") as web:
        assert (await web.get("/api/progress?by=anna", headers={"Host": host})).status_code == status


async def test_a_page_of_another_site_cannot_send_answers(opened):
    queue = opened(await waiting(LABEL))
    async with client(queue) as web:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
            reply = await web.post("/api/answer", json={}, headers={"Origin": origin})
            assert reply.status_code == 403, origin
        assert (await web.post("/api/answer", json={}, headers={"Origin": "http://127.0.0.1:8231"})).status_code == 400


async def test_the_page_may_load_nothing_from_anywhere(opened):
    queue = opened(await waiting(LABEL))
    async with client(queue) as web:
        reply = await web.get("/")
    policy = reply.headers["content-security-policy"]
    for part in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "script-src 'sha256-"):
        assert part in policy
    assert "unsafe" not in policy
    assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")
    for words in ("http:", "https:", "innerHTML", "src=", "@import", "url("):
        assert words not in reply.text, words


# -- the command


async def test_the_command_serves_until_it_is_interrupted_and_says_what_is_left():
    out = await waiting(*[{**LABEL, "n": 2}])
    port = port_of()
    with serving(out, port) as served:
        assert "2 for anyone open" in served.said[0]
        token = (out / TOKEN).read_text()
        assert served.url == f"http://127.0.0.1:{port}/?token={token}"
        assert (out / TOKEN).stat().st_mode & 0o077 == 0
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", follow_redirects=True) as web:
            assert "<!doctype html>" in (await web.get(served.url)).text
            key = (await web.get("/api/task?by=anna")).json()["task"]["key"]
            sent = {"by": "anna", "key": key, "note": {"labels": ["praise"]}}
            assert (await web.post("/api/answer", json=sent)).status_code == 200
        with pytest.raises(BadInput, match="another process is working"):
            annotate_command(out)
        assert f"1 open; `gristmill resume {out}`" in served.end()
        assert served.process.returncode == 0
    with serving(out, port) as served:  # pages that are open go on: the address is the same
        assert served.url.endswith(token)


async def test_a_port_that_is_taken_is_said(capsys):
    out = await waiting(LABEL)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BadInput, match="Try another --port"):
        annotate_command(out, port=other.getsockname()[1])
    assert "1 open" in capsys.readouterr().out


async def test_what_the_page_needs_and_is_not_installed_is_named(monkeypatch):
    out = await waiting(LABEL)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[annotate\]'"):
        annotate_command(out)


def test_the_commands_of_the_documentation_have_the_options_that_it_names():
    text = (Path(__file__).parent.parent / "docs/annotation.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands
    named = re.findall(r"^gristmill (\w+)(.*)$", text, re.MULTILINE)
    assert {name for name, _ in named} == {"run", "annotate", "resume"}
    for name, rest in named:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--\w+", rest.partition("#")[0])) <= known, name
    for key in ("`s`", "`u`", "`c`, `t`", "`g`, `?`"):
        assert f"| {key}" in text


# -- Label Studio


SAID = {
    "label": [("label", {"choices": ["praise"]})],
    "several": [("label", {"choices": ["food", "service"]})],
    "write": [("text", {"text": ["Because air scatters blue light."]})],
    "edit": [("text", {"text": ["He went to school yesterday."]})],
    "rank": [("order", {"ranker": {"order": ["2", "1", "3"]}})],
    "compare": [("preference", {"choices": ["-2"]})],
    "rate": [
        ("rating_0", {"choices": ["4"]}),  # of brevity: a question keeps its aspects in the order of their names
        ("rating_1", {"choices": ["4"]}),
        ("rating_2", {"choices": ["3"]}),
    ],
}


def annotated(task: dict, kind: str, *people) -> dict:
    said = copy.deepcopy(SAID[kind])
    result = [{"from_name": name, "to_name": "x", "type": "x", "value": value} for name, value in said]
    return {
        "id": 7,
        **task,
        "annotations": [
            {"id": n, "result": result, "completed_by": by, "lead_time": 3.25} for n, by in enumerate(people)
        ],
    }


async def test_tasks_go_to_label_studio_and_its_annotations_come_back(opened, tmp_path, capsys):
    kinds = list(KINDS)
    out = await waiting(*[{"kind": kind, "n": 2} for kind in kinds])
    annotate_command(out, export=tmp_path / "tasks.json")
    assert "2 tasks left out" in capsys.readouterr().out
    returned = []
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(kinds) - 1
    for file in files:
        interface = file.with_suffix(".xml").read_text()
        assert "onerror" not in interface
        assert "$context" in interface
        [task] = json.loads(file.read_bytes())
        assert task["data"]["people"] == 2
        kind = next(k for k in kinds if same_data(task["data"], k))
        assert all(f'name="{name}"' in interface for name, _ in SAID[kind])
        returned.append(annotated(task, kind, 3, {"id": 4, "email": "Bo@example.com"}))
    export = tmp_path / "export"
    export.write_text(json.dumps(returned))
    for said in ("14 answers taken over, 0 there before", "0 answers taken over, 14 there before"):
        annotate_command(out, answers=export)
        assert said in capsys.readouterr().out
    queue = opened(out)
    while handed := queue.next("anna"):
        queue.store("anna", handed.key, good(handed))
    while handed := queue.next("di"):
        queue.store("di", handed.key, good(handed))
    queue.close()
    done = await aresume(out, recipe=ask_people)
    assert len(done.rows) == len(kinds)
    for row in done.rows:
        said = [msgspec.structs.replace(note, by="", call="", seconds=0.0) for note in row.notes]
        assert said == [GOOD[row.kind]] * 2
        if row.kind != "steps":
            assert [note.by for note in row.notes] == ["label-studio-3", "bo-example-com"]
            assert [note.seconds for note in row.notes] == [3.2, 3.2]


def same_data(data: dict, kind: str) -> bool:
    task = KINDS[kind]
    same = [data.get(name) == getattr(task, name) for name in ("text", "first") if hasattr(task, name)]
    return data["kind"] == task.__struct_config__.tag and data["context"] == task.context and all(same)


async def test_an_annotation_that_breaks_the_rules_is_refused_and_the_others_are_kept(tmp_path, capsys):
    out = await waiting({**LABEL, "n": 2})
    annotate_command(out, export=tmp_path / "t.json")
    [task] = json.loads((tmp_path / "t.json").read_bytes())
    rows = [annotated(task, "label", 1), annotated(task, "label", 2), annotated(task, "label", 3)]
    rows[0]["annotations"][0]["result"][0]["value"]["choices"] = ["rage"]
    rows[1]["annotations"][0] |= {"was_cancelled": True}
    rows.append(annotated({"data": {"gristmill": "gone"}}, "label", 1))
    (tmp_path / "back.json").write_text(json.dumps(rows))
    with pytest.raises(BadInput) as refused:
        annotate_command(out, answers=tmp_path / "back.json")
    assert "2 answers refused" in str(refused.value)
    assert "task 7, label-studio-1: 'rage' is none of the labels" in str(refused.value)
    assert [(n.by, n.labels, n.skipped) for n in answers(out)] == [
        ("label-studio-2", [], True),
        ("label-studio-3", ["praise"], False),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not what Label Studio exports"),
        (b"{}", "Expected `array`"),
        (b"[" * 100_000, "not what Label Studio exports"),
        (
            b'[{"data": {}, "annotations": [{"result": [{"value": {"a": ' + b"[" * 100_000,
            "not what Label Studio exports",
        ),
        (b'[{"id": 3, "data": {"text": "x"}, "annotations": []}]', "task 3 is none that"),
        (b'[{"id": 3, "data": {"gristmill": "k"}}]', "not as JSON-MIN"),
        (b'[{"id": 3, "data": {"gristmill": 1}, "annotations": []}]', "task 3 is none that"),
        (b"\xff\xfe", "not what Label Studio exports"),
    ],
)
def test_a_file_that_is_no_export_says_so(data, why, tmp_path):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(BadInput, match=why):
        label_studio.read(tmp_path / "x.json")
    with pytest.raises(BadInput, match="cannot read"):
        label_studio.read(tmp_path / "none.json")


def test_a_file_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(label_studio, "MOST_BYTES", 10)
    (tmp_path / "x.json").write_bytes(b" " * 11)
    with pytest.raises(BadInput, match="in parts"):
        label_studio.read(tmp_path / "x.json")


@pytest.mark.parametrize("said", [[1], {"a": 1}, None, 3])
def test_what_a_control_says_and_is_no_text_is_refused(said):
    found = label_studio.Annotation(result=[label_studio.Result("label", {"choices": said})])
    with pytest.raises(BadInput, match="expected texts"):
        label_studio.note_of(KINDS["label"], found)


def test_a_control_that_says_nothing_answers_nothing():
    found = label_studio.Annotation(result=[label_studio.Result("label", {}), label_studio.Result("other")])
    assert label_studio.note_of(KINDS["label"], found) == Note()


@pytest.mark.parametrize("said", ["", "1e3", "٣", "9" * 30, "first"])
def test_a_number_that_is_none_is_refused(said):
    for task, name in ((KINDS["compare"], "preference"), (KINDS["rate"], "rating_0")):
        found = label_studio.Annotation(result=[label_studio.Result(name, {"choices": [said]})])
        with pytest.raises(BadInput, match="whole number"):
            label_studio.note_of(task, found)


def test_a_comparison_that_nobody_made_is_no_tie():
    with pytest.raises(BadInput, match="no preference"):
        label_studio.note_of(KINDS["compare"], label_studio.Annotation())
