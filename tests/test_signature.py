"""A signed run: what was changed since is found and named, what is the same in another form is the same."""

import base64
import hashlib
import json
import os
import random
import shutil
import sqlite3
import stat
import struct
import sys
from collections.abc import AsyncIterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import Document, Run, recipe
from gristmill.cli import main
from gristmill.errors import BadInput
from gristmill.export.signature import (
    MANIFEST,
    ROWS,
    SIGNATURE,
    VARIABLE,
    Proof,
    canonical,
    included,
    keypair,
    merkle_path,
    merkle_root,
    proof,
    row_id,
    sign,
    verify,
)
from gristmill.testing import Scripted, replay, run, text_of
from recipes_for_tests import drawn, two_calls

QUESTIONS = [{"question": f"Wie groß ist {number}"} for number in range(1, 16)]
TABLE = "data/completion.parquet"


@recipe("counted")
async def counted(run: Run) -> AsyncIterator[Document]:
    """Rows that nobody was asked for."""
    yield Document("a number")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    keypair(folder / "own")
    keypair(folder / "other")
    return folder


@pytest.fixture
async def done():
    return await run(two_calls, QUESTIONS, model=Scripted(lambda question: f"zu {text_of(question)[-30:]}"))


@pytest.fixture
def signed(done, keys):
    """The folder of a run that is signed; 13 rows, 2 rejects."""
    assert sign(done.folder, keys / "own") == done.folder / MANIFEST
    assert verify(done.folder, keys / "own.pub").ok
    return done.folder


def records(folder):
    return pq.read_table(folder / TABLE).to_pylist()


def rewrite(folder, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema or pq.read_schema(folder / TABLE)), folder / TABLE)


def manifest(folder):
    return json.loads((folder / MANIFEST).read_bytes())


def root_of(folder):
    return manifest(folder)["subject"][0]["digest"]["merkleSha256"]


def seal(folder, statement, keys):
    """Sign a statement of one's own making."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    payload = statement if isinstance(statement, bytes) else canonical(statement)
    secret = load_pem_private_key((keys / "own").read_bytes(), None)
    kind = b"application/vnd.in-toto+json"
    encoded = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    envelope = json.loads((folder / SIGNATURE).read_bytes())
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(secret.sign(encoded)).decode()
    (folder / MANIFEST).write_bytes(payload)
    (folder / SIGNATURE).write_text(json.dumps(envelope))


def test_changing_one_character_of_one_row_names_that_row(signed, keys):
    for number in (0, 7, 12):
        rows = records(signed)
        kept = rows[number]["completion"]
        rows[number]["completion"] = kept[:-1] + chr(ord(kept[-1]) ^ 1)
        rewrite(signed, rows)
        found = verify(signed, keys / "own.pub")
        assert not found.ok
        assert (found.first.file, found.first.row) == (TABLE, rows[number]["id"])
        assert str(found.first) == f"{TABLE}: row {rows[number]['id']} differs"
        assert len(found.differences) == 1
        rows[number]["completion"] = kept
        rewrite(signed, rows)
        assert verify(signed, keys / "own.pub").ok


def test_rows_in_another_order_or_of_another_writer_verify_the_same(signed, keys):
    rows, root = records(signed), verify(signed).root
    random.Random(0).shuffle(rows)
    rewrite(signed, rows)
    found = verify(signed, keys / "own.pub")
    assert found.ok
    assert found.root == root
    assert found.rows == 13
    for row in rows:
        row["lineage"]["parents"] = row["lineage"]["parents"] or []
    turned = pa.Table.from_pylist([dict(reversed(row.items())) for row in rows])
    pq.write_table(turned, signed / TABLE, compression="none", row_group_size=2)
    assert verify(signed, keys / "own.pub").ok
    sign(signed, keys / "own")
    assert root_of(signed) == root


def test_an_inclusion_proof_needs_the_root_and_the_row_alone(signed):
    root = root_of(signed)
    for record in records(signed):
        found = proof(signed, f"completion/{record['id']}")
        assert found.row_id == row_id(record, "completion", "two-calls@1")
        assert len(found.path) <= 4
        assert included(found, root)
        assert not included(found, root[::-1])
        assert not included(Proof("no hex", found.path), root)
        assert not included(Proof(found.row_id, [("left", "no hex")]), root)
        assert not included(Proof(found.row_id, found.path[:-1]), root)
        side, node = found.path[0]
        assert not included(Proof(found.row_id, [(side, node[::-1]), *found.path[1:]]), root)
        record["prompt"] += "."
        assert not included(Proof(row_id(record, "completion", "two-calls@1"), found.path), root)
    with pytest.raises(BadInput, match="no row 'completion/x'"):
        proof(signed, "completion/x")


async def test_a_replay_has_the_same_root_and_a_changed_prompt_another(done, keys):
    sign(done.folder, keys / "own")
    again = await replay(done)
    sign(again.folder, keys / "other")
    assert root_of(again.folder) == root_of(done.folder)
    say = Scripted(lambda question: f"zu {text_of(question)[-30:]}")
    changed = await replay(done, offline=False, settings={"suffix": "?"}, model={"model": say})
    sign(changed.folder, keys / "own")
    assert root_of(changed.folder) != root_of(done.folder)
    # Even where the model says the same to the other prompt: the calls are others.
    same = Scripted(lambda question: f"zu {text_of(question).replace('?', '')[-30:]}")
    quiet = await replay(done, offline=False, settings={"suffix": "?"}, model={"model": same})
    assert [r["completion"] for r in records(quiet.folder)] == [r["completion"] for r in records(done.folder)]
    sign(quiet.folder, keys / "own")
    assert root_of(quiet.folder) != root_of(done.folder)


def test_signing_twice_gives_the_same_bytes(signed, keys):
    before = {name: (signed / name).read_bytes() for name in (MANIFEST, SIGNATURE, ROWS)}
    sign(signed, keys / "own")
    assert {name: (signed / name).read_bytes() for name in before} == before


def test_the_manifest_is_an_in_toto_statement_that_counts_tombstones(signed, keys):
    statement = manifest(signed)
    assert (signed / MANIFEST).read_bytes() == canonical(statement)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    about, built = statement["predicate"]["gristmill_run"], statement["predicate"]["buildDefinition"]
    assert about["rows"] == 13
    assert about["tombstones"] == [{"step": "two-calls", "reason": "seventh", "rows": 2}]
    assert about["models"] == [{"role": "model", "model": "scripted", "calls": 30}]
    assert about["failures"] == 0
    assert about["state"] == "finished"
    assert built["externalParameters"]["steps"][0]["recipe"] == "two-calls"
    assert [one["name"] for one in statement["subject"]] == ["data", "README.md", "card.json", "croissant.json"]
    assert [one["name"] for one in built["resolvedDependencies"]] == ["gristmill", "inputs/seeds.parquet"]
    card = hashlib.sha256((signed / "README.md").read_bytes()).hexdigest()
    assert statement["subject"][1]["digest"] == {"sha256": card}


def test_the_envelope_is_dsse(signed, keys):
    """By the words of its protocol, without our code."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = json.loads((signed / SIGNATURE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    assert payload == (signed / MANIFEST).read_bytes()
    kind = envelope["payloadType"].encode()
    encoded = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    public = load_pem_public_key((keys / "own.pub").read_bytes())
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)
    assert envelope["signatures"][0]["keyid"] == hashlib.sha256(public.public_bytes_raw()).hexdigest()


def test_rows_that_were_added_taken_away_doubled_or_given_another_past_are_named(signed, keys):
    rows = records(signed)

    def first(changed):
        rewrite(signed, changed)
        found = verify(signed, keys / "own.pub")
        return found.first.what, found.first.row, len(found.differences)

    new = rows[0] | {"id": "new"}
    assert first([*rows[:5], new, *rows[5:]]) == ("was added", "new", 1)
    assert first(rows[1:]) == ("is missing", rows[0]["id"], 1)
    assert first([*rows, rows[3]]) == ("is there twice", rows[3]["id"], 1)
    past = rows[2] | {"lineage": rows[2]["lineage"] | {"calls": rows[3]["lineage"]["calls"]}}
    assert first([*rows[:2], past, *rows[3:]]) == ("differs in its lineage", rows[2]["id"], 1)
    swapped = [rows[1] | {"id": rows[0]["id"]}, rows[0] | {"id": rows[1]["id"]}, *rows[2:]]
    assert first(swapped)[2] == 2
    assert first([rows[0] | {"id": None}, *rows[1:]])[:2] == ("was added", "number 1")
    assert first([])[2] == 13
    rewrite(signed, rows)
    broken = pa.StringArray.from_buffers(13, pa.array(range(14), pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 13))
    kept = pq.read_table(signed / TABLE)
    pq.write_table(kept.set_column(kept.schema.get_field_index("prompt"), "prompt", broken), signed / TABLE)
    assert str(verify(signed).first) == f"{TABLE}: cannot be read"
    (signed / TABLE).write_bytes(b"PAR1 no more")
    assert str(verify(signed).first) == f"{TABLE}: cannot be read"
    (signed / TABLE).unlink()
    assert verify(signed).first.what == "is missing"
    assert len(verify(signed).differences) == 13


def test_a_column_that_no_json_can_hold_is_a_row_that_differs(signed):
    rows = records(signed)
    for value in (float("nan"), b"bytes"):
        pq.write_table(pa.Table.from_pylist([row | {"more": value} for row in rows]), signed / TABLE)
        assert verify(signed).first.row == rows[0]["id"]
        assert verify(signed).first.what == "differs"


TOLD = ("README.md", "card.json", "croissant.json", "card.toml", "report.json", "report.html")


@pytest.mark.parametrize("name", TOLD)
def test_every_file_that_tells_of_the_rows_is_signed_where_it_is_there(signed, keys, name):
    for new in ("card.toml", "report.html", "report.json"):
        (signed / new).write_text("")
    found = verify(signed, keys / "own.pub").differences
    assert [str(one) for one in found] == [
        "card.toml: was added",
        "report.html: was added",
        "report.json: was added",
    ]
    sign(signed, keys / "own")
    assert verify(signed, keys / "own.pub").ok
    with open(signed / name, "a") as file:
        file.write(" ")
    assert list(map(str, verify(signed, keys / "own.pub").differences)) == [f"{name}: differs"]
    (signed / name).unlink()
    assert list(map(str, verify(signed, keys / "own.pub").differences)) == [f"{name}: is missing"]


def test_what_a_later_check_rewrites_is_named_with_the_way_to_sign_again(signed, keys, capsys):
    def command(*args):
        with pytest.raises(SystemExit) as caught:
            main([*args])
        return caught.value.code, " ".join(capsys.readouterr().out.split())

    code, shown = command("check", str(signed), "--only", "duplicates")
    assert code == 0
    assert f"Sign the folder again: gristmill sign {signed} --key KEY" in shown
    code, shown = command("verify", str(signed), "--key", str(keys / "own.pub"))
    assert code == 5
    assert "differs: README.md: differs" in shown
    assert "differs: report.json: was added" in shown
    assert "README.md, report.html, report.json: `gristmill check` and `gristmill card` write such files anew." in shown
    assert f"sign the folder again: `gristmill sign {signed} --key KEY`" in shown
    assert json.loads(command("verify", str(signed), "--json")[1])["hint"].startswith("README.md, report.html")
    sign(signed, keys / "own")
    assert command("verify", str(signed), "--key", str(keys / "own.pub"))[0] == 0
    (signed / "inputs" / "more.parquet").write_bytes(b"x")  # nothing that a command writes
    assert "sign the folder again" not in command("verify", str(signed))[1]


def test_changed_missing_and_added_files_are_named(signed, keys):
    card = signed / "README.md"
    kept = card.read_text()
    card.write_text(kept.replace("two", "ten"))
    assert str(verify(signed, keys / "own.pub").first) == "README.md: differs"
    card.unlink()
    assert str(verify(signed).first) == "README.md: is missing"
    card.write_text(kept)
    (signed / "inputs" / "more.parquet").write_bytes(b"x")
    assert str(verify(signed).first) == "inputs/more.parquet: was added"
    (signed / "inputs" / "more.parquet").unlink()
    (signed / "artefacts").mkdir()
    (signed / "artefacts" / "graph.json").write_text("{}")
    assert str(verify(signed).first) == "artefacts/graph.json: was added"
    sign(signed, keys / "own")
    assert verify(signed).ok
    (signed / "artefacts" / "graph.json").write_text("[]")
    assert str(verify(signed).first) == "artefacts/graph.json: differs"


def test_a_copy_without_the_journal_verifies(signed, keys, tmp_path):
    shutil.copytree(signed, tmp_path / "copy", ignore=shutil.ignore_patterns("run.db*", ".lock"))
    assert verify(tmp_path / "copy", keys / "own.pub").ok


def test_whoever_changes_the_manifest_needs_the_key(signed, keys):
    honest = (signed / MANIFEST).read_bytes()
    (signed / MANIFEST).write_bytes(honest.replace(b"seventh", b"quality"))
    found = verify(signed, keys / "own.pub")
    assert (str(found.first), found.root, found.rows) == (f"{MANIFEST}: is not what was signed", "", 0)
    (signed / MANIFEST).write_bytes(honest)
    envelope = json.loads((signed / SIGNATURE).read_bytes())
    forged = honest.replace(b"seventh", b"quality")
    (signed / MANIFEST).write_bytes(forged)
    (signed / SIGNATURE).write_text(json.dumps(envelope | {"payload": base64.b64encode(forged).decode()}))
    assert str(verify(signed).first) == f"{SIGNATURE}: does not fit the manifest"
    assert not verify(signed, keys / "own.pub").ok


def test_a_signature_by_another_key_holds_only_where_no_key_was_given(signed, keys):
    own = verify(signed)
    assert (own.ok, own.known) == (True, False)
    sign(signed, keys / "other")
    assert verify(signed).ok
    assert not verify(signed).known
    assert verify(signed).key_id != own.key_id
    found = verify(signed, keys / "own.pub")
    assert found.known
    assert "was signed with another key" in str(found.first)
    assert verify(signed, keys / "other.pub").ok
    # The id alone convinces nobody.
    envelope = json.loads((signed / SIGNATURE).read_bytes())
    envelope["signatures"][0]["keyid"] = own.key_id
    (signed / SIGNATURE).write_text(json.dumps(envelope))
    assert str(verify(signed, keys / "own.pub").first) == f"{SIGNATURE}: does not fit the manifest"


def test_a_list_of_rows_that_does_not_fit_the_root_names_nothing_and_hides_nothing(signed, keys):
    listed = (signed / ROWS).read_text().splitlines(keepends=True)
    rows = records(signed)
    (signed / ROWS).write_text("".join(listed[1:]))
    assert verify(signed, keys / "own.pub").ok  # the rows are under the root all the same
    rewrite(signed, rows[1:])
    assert verify(signed).first.file == ROWS
    assert "is not what was signed" in str(verify(signed).first)
    (signed / ROWS).unlink()
    assert "manifest.rows: is missing" in str(verify(signed).first)
    rewrite(signed, rows)
    assert verify(signed).ok
    # A name that stands there twice would hide the row whose name it took.
    gone, stays = (line.split()[1] for line in listed[:2])
    (signed / ROWS).write_text("".join(listed).replace(gone, stays))
    assert verify(signed, keys / "own.pub").first.what == "was added"
    rewrite(signed, [row for row in rows if f"completion/{row['id']}" != gone])
    assert verify(signed, keys / "own.pub").first.file == ROWS


def test_what_is_no_manifest_is_said_to_be_none(signed, keys):
    for damaged in (b"", b"{}", b"[]", b'{"payloadType":1}', b"\xff", b'{"signatures":[]}'):
        (signed / SIGNATURE).write_bytes(damaged)
        assert str(verify(signed).first) == f"{SIGNATURE}: is no envelope of one signature"
    sign(signed, keys / "own")
    for statement in ({}, [], {"subject": []}, {"subject": [], "predicate": {"buildDefinition": {}}}, b"no json"):
        seal(signed, statement, keys)
        assert str(verify(signed).first) == f"{MANIFEST}: names no public key"
        assert str(verify(signed, keys / "own.pub").first) == f"{MANIFEST}: is no statement about a run"
    sign(signed, keys / "own")
    envelope = json.loads((signed / SIGNATURE).read_bytes())
    (signed / SIGNATURE).write_text(json.dumps(envelope | {"payloadType": "text/plain"}))
    assert not verify(signed).ok
    for name in (SIGNATURE, MANIFEST):
        (signed / name).unlink()
        with pytest.raises(BadInput, match=f"is not signed: there is no {name}"):
            verify(signed)


def test_the_key_is_read_from_a_file_or_the_environment_and_never_written(done, keys, monkeypatch, capfd, caplog):
    with pytest.raises(BadInput, match=f"no key to sign with: name a file, or set {VARIABLE}"):
        sign(done.folder)
    secret = (keys / "own").read_text()
    monkeypatch.setenv(VARIABLE, secret)
    sign(done.folder)
    assert verify(done.folder, keys / "own.pub").ok
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    digits = load_pem_private_key(secret.encode(), None).private_bytes_raw().hex()
    public = load_pem_public_key((keys / "own.pub").read_bytes()).public_bytes_raw().hex()
    monkeypatch.setenv(VARIABLE, f"{digits}\n")
    before = (done.folder / MANIFEST).read_bytes()
    sign(done.folder)
    assert (done.folder / MANIFEST).read_bytes() == before
    assert verify(done.folder, public).ok
    sign(done.folder, keys / "other")  # the file goes before the variable
    assert verify(done.folder, keys / "other.pub").ok
    body = "".join(secret.splitlines()[1:-1])
    raw = bytes.fromhex(digits)
    for file in done.folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(part in content for part in (body.encode(), digits.encode(), raw, base64.b64encode(raw)))
    assert digits not in "".join([*capfd.readouterr(), caplog.text])


def test_a_key_that_is_none_is_refused_without_being_shown(done, keys, tmp_path, monkeypatch):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ed448
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem, pkcs = form.Encoding.PEM, form.PrivateFormat.PKCS8
    locked = Ed25519PrivateKey.generate().private_bytes(pem, pkcs, form.BestAvailableEncryption(b"word"))
    other = ed448.Ed448PrivateKey.generate().private_bytes(pem, pkcs, form.NoEncryption())
    for wrong in ("s3cret", "ab" * 31, locked.decode(), other.decode(), (keys / "own.pub").read_text()):
        (tmp_path / "key").write_text(wrong)
        with pytest.raises(BadInput, match="is no private Ed25519 key") as error:
            sign(done.folder, tmp_path / "key")
        assert wrong not in str(error.value)
        assert error.value.__cause__ is None
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(BadInput, match=f"{VARIABLE} is no private Ed25519 key") as error:
            sign(done.folder)
        assert wrong not in str(error.value)
    assert not (done.folder / MANIFEST).exists()
    with pytest.raises(BadInput, match="cannot read the key"):
        sign(done.folder, tmp_path / "none")
    shutil.copy(keys / "own", done.folder / "key")
    with pytest.raises(BadInput, match="lies in the run's folder"):
        sign(done.folder, done.folder / "key")
    sign(done.folder, keys / "own")
    with pytest.raises(BadInput, match="is no public Ed25519 key"):
        verify(done.folder, keys / "own")


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_a_new_key_is_for_its_owner_alone_and_overwrites_none(tmp_path):
    before = os.umask(0)
    try:
        name = keypair(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(name) == 64
    kept = (tmp_path / "key").read_bytes()
    with pytest.raises(BadInput, match="is there already"):
        keypair(tmp_path / "key")
    (tmp_path / "key2.pub").write_text("")
    with pytest.raises(BadInput, match=r"key2\.pub is there already"):
        keypair(tmp_path / "key2")
    assert (tmp_path / "key").read_bytes() == kept
    assert not (tmp_path / "key2").exists()
    (tmp_path / "key3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="cannot write the key"):
        keypair(tmp_path / "key3")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(BadInput, match="cannot write the key"):
        keypair(tmp_path / "none" / "key")


async def test_rows_that_do_not_say_what_they_come_from_are_refused(done, keys):
    rows = records(done.folder)

    def refused(row, match):
        rewrite(done.folder, [*rows[:4], row, *rows[5:]])
        with pytest.raises(BadInput, match=match):
            sign(done.folder, keys / "own")
        assert not (done.folder / MANIFEST).exists()

    lineage = rows[4]["lineage"]
    none = lineage | {"parents": [], "calls": None}
    refused(rows[4] | {"lineage": none}, f"row {rows[4]['id']} does not say what it was made from")
    refused(rows[4] | {"lineage": None}, "does not say what it was made from")
    refused(rows[4] | {"lineage": lineage | {"calls": ["feed"]}}, "names feed, no answer of this run")
    refused(rows[4] | {"id": rows[3]["id"]}, "two rows have id")
    refused(rows[4] | {"id": ""}, "a row has no id")
    with sqlite3.connect(done.folder / "run.db") as journal:
        journal.execute("UPDATE calls SET model='' WHERE key=?", (lineage["calls"][1],))
    journal.close()
    refused(rows[4], f"row {rows[4]['id']} names {lineage['calls'][1]}, no answer of this run")
    for one in ({"parents": [], "calls": lineage["calls"][:1]}, {"calls": []}):  # either is enough
        rewrite(done.folder, [*rows[:4], rows[4] | {"lineage": lineage | one}, *rows[5:]])
        sign(done.folder, keys / "own")


async def test_an_unfinished_run_is_refused_and_rows_from_nothing_are_not(keys, tmp_path):
    nothing = await run(drawn, model=Scripted(lambda _: "x"), target=3)
    sign(nothing.folder, keys / "own")
    assert verify(nothing.folder, keys / "own.pub").ok
    assert verify(nothing.folder).rows == 3
    counting = await run(counted, target=3)
    sign(counting.folder, keys / "own")  # no model was asked, nothing was read
    assert verify(counting.folder, keys / "own.pub").rows == 3
    with sqlite3.connect(nothing.folder / "run.db") as journal:
        journal.execute("UPDATE meta SET value='\"running\"' WHERE key='state'")
    journal.close()
    with pytest.raises(BadInput, match="is not finished"):
        sign(nothing.folder, keys / "own")
    with pytest.raises(BadInput, match="holds no run"):
        sign(tmp_path, keys / "own")


async def test_a_run_without_rows_has_the_root_of_nothing(keys):
    empty = await run(two_calls, [{"question": "seven 7"}], model=Scripted(["a", "b"]))
    sign(empty.folder, keys / "own")
    found = verify(empty.folder, keys / "own.pub")
    assert found.ok
    assert found.root == hashlib.sha256(b"").hexdigest()
    assert (empty.folder / ROWS).read_text() == ""


async def test_a_set_made_from_another_names_its_root(done, signed, keys):
    child = await run(drawn, model=Scripted(lambda _: "x"), target=2)
    sign(child.folder, keys / "own", parents=[signed])
    dependencies = manifest(child.folder)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[-1] == {"name": f"parent:{signed.name}", "digest": {"merkleSha256": root_of(signed)}}
    assert verify(child.folder, keys / "own.pub").ok
    (signed / "README.md").write_text("changed")
    with pytest.raises(BadInput, match=r"is not as it was signed: README\.md: differs"):
        sign(child.folder, keys / "own", parents=[signed])


# RFC 8785, appendix B: the bits of a number, and how it is written.
NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992", "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000", "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000", "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21", "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_written_as_rfc_8785_has_them(bits):
    [number] = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == NUMBERS[bits]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_can_be_read_again(number):
    assert float(canonical(number)) == number


def test_text_and_order_are_as_rfc_8785_has_them():
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    order = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonical(order)).values()) == [2, 4, 6, 7, 1, 5, 3]
    assert canonical([2**60, -(2**60), True, {}]) == b"[1152921504606846976,-1152921504606846976,true,{}]"
    assert canonical("\x7f\x1b\u2028\b\t\f") == '"\x7f\\u001b\u2028\\b\\t\\f"'.encode()
    for wrong in (float("nan"), float("inf"), "\ud800", {1: 2}, b"x", {"a": object()}):
        with pytest.raises(ValueError):
            canonical(wrong)


LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]


def test_the_tree_is_that_of_certificate_transparency():
    """The test vectors of its reference implementation."""
    assert merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle_root(LEAVES[:1]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(LEAVES[:2]) == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert merkle_root(LEAVES[:3]) == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle_root(LEAVES) == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.lists(st.binary(max_size=4).map(bytes.hex), min_size=1, max_size=40), st.data())
def test_each_leaf_of_a_tree_of_any_size_has_a_proof(leaves, data):
    def recursive(part):  # by the words of RFC 9162
        if len(part) == 1:
            return hashlib.sha256(b"\0" + bytes.fromhex(part[0])).digest()
        half = 1
        while half * 2 < len(part):
            half *= 2
        return hashlib.sha256(b"\1" + recursive(part[:half]) + recursive(part[half:])).digest()

    root = merkle_root(leaves)
    assert root == recursive(leaves).hex()
    number = data.draw(st.integers(0, len(leaves) - 1))
    found = merkle_path(leaves, number)
    assert found.row_id == leaves[number]
    assert included(found, root)
    assert not included(Proof(found.row_id + "00", found.path), root)


def test_the_id_of_a_row_is_of_its_content_then_of_its_past():
    row = {"id": "a", "text": "x", "score": 1.0, "lineage": {"seed": None, "parents": ["p"], "calls": None}}
    name = row_id(row, "document", "r@1")
    assert name[:64] == hashlib.sha256(b'{"score":1,"text":"x"}').hexdigest()
    past = b'{"id":"a","lineage":{"parents":["p"]},"recipe":"r@1","table":"document"}'
    assert name[64:] == hashlib.sha256(past).hexdigest()
    assert row_id(row | {"lineage": {"parents": ["p"], "seed": "", "calls": []}}, "document", "r@1") == name
