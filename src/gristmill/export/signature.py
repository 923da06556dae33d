"""Signed provenance: what a run's folder held when it was signed, by which key, and which row is another one since.

`sign` writes three files into the folder: `manifest.json` (an in-toto statement with SLSA provenance, in the canonical
JSON of RFC 8785), `manifest.sig` (its DSSE envelope, Ed25519) and `manifest.rows` (a line a row: its hash, then
TABLE/ID). The hashes are the leaves of a Merkle tree as RFC 9162 has it, whose root stands in the manifest.

Promised: a change of one character of a row, of its lineage, of what tells of the rows (`TOLD`: the card, what check
found), of an input or an artefact is found, and the row or file is named; rows in another order, or in Parquet of
another writer, are the same rows. The same folder and key give the same bytes; a replay of the run gives the same root.
The private key is read, never written.
Not promised: that what is signed is true: a signature says who vouches, not how a row came about. `run.db` is not
covered (looking into it changes its bytes): only how many rows it says were rejected, by step and reason, not which. So a
row's calls are named by what was asked, of which model, at which place; what was answered is covered as far as it stands
in the rows. Nor are files that others put beside ours in the folder, nor code outside the package, such as a recipe in a
file of your own. There is no C2PA mark in pictures (their hashes are covered), no time stamp and no revocation of keys. An
integer beyond 2**53 is written with all its digits, where RFC 8785 would have it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gristmill
from gristmill import packages
from gristmill.engine.folder import BATCH, Replacing
from gristmill.engine.journal import Journal
from gristmill.errors import BadInput
from gristmill.export.card import CARD, CROISSANT, PAGE, README, REPORT, WRITTEN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST, SIGNATURE, ROWS = "manifest.json", "manifest.sig", "manifest.rows"
TOLD = (README, CARD, CROISSANT, WRITTEN, REPORT, PAGE)
"""What tells of the rows, where it is there. `gristmill check` and `gristmill card` write it anew, also after signing."""
VARIABLE = "GRISTMILL_SIGNING_KEY"
"""Environment variable that holds a private key, PEM or 64 hex digits, where no file is named."""
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILD = "urn:gristmill:run:1"
MERKLE = "merkleSha256"
"""Our name for the digest of a set of rows; in-toto leaves names of digests open."""
MOST = 100
"""Differences that a verification lists."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was signed."""

    file: str
    """In the run's folder."""
    what: str
    row: str = ""
    """Its id; "" where it is about the file."""

    def __str__(self) -> str:
        return f"{self.file}: {f'row {self.row} ' if self.row else ''}{self.what}"


@dataclass(frozen=True)
class Verified:
    """What a verification found."""

    root: str
    """Of the rows as they were signed; "" where the signature does not hold."""
    key_id: str
    """Of the key that signed: sha256 of its 32 bytes."""
    known: bool
    """The signature was checked with a key that was given. Else with the one in the manifest, which anybody can replace
    together with everything else: then all that is shown is that nothing was changed by accident."""
    rows: int
    differences: list[Difference] = field(default_factory=list)
    """In the order of files and rows, the first of them."""

    @property
    def ok(self) -> bool:
        return not self.differences

    @property
    def first(self) -> Difference | None:
        return self.differences[0] if self.differences else None

    def hint(self, folder: Path) -> str:
        """What may have come of one's own work after signing, and what to do then; "" where nothing of that kind differs."""
        told = [one.file for one in self.differences if one.file in TOLD]
        if not told:
            return ""
        return (
            f"{', '.join(told)}: `gristmill check` and `gristmill card` write such files anew. If that was you, sign the "
            f"folder again: `gristmill sign {folder} --key KEY`. If not, somebody changed what the set says of itself"
        )


@dataclass(frozen=True)
class Proof:
    """That a row is one of those under a root, without any other row."""

    row_id: str
    path: list[tuple[str, str]]
    """From the leaf up: "left" or "right" (where the other node stands), and the other node in hex."""


# -- canonical JSON


def canonical(value: Any) -> bytes:
    """JSON of RFC 8785: sorted keys, no spaces, numbers as ECMAScript writes them, UTF-8.

    Raises:
        ValueError: NaN, an infinity, a lone surrogate, or what is no JSON.
    """
    return _json(value).encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError


def _json(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("a key that is no text is no JSON")
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_json(name)}:{_json(value[name])}" for name in names) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_json, value)) + "]"
    raise ValueError(f"{type(value).__name__} is no JSON")


def _number(number: float) -> str:
    if not isfinite(number):
        raise ValueError(f"{number} is no JSON")
    if number == 0:
        return "0"  # -0 too
    sign, figures, power = Decimal(repr(number)).normalize().as_tuple()  # repr is as short as ECMAScript's
    digits, minus = "".join(map(str, figures)), "-" * sign
    point = len(digits) + int(power)  # where it stands, counted from the first digit
    if len(digits) <= point <= 21:
        return minus + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{minus}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{fraction}e{point - 1:+d}"


# -- rows and their tree


def row_id(record: Mapping[str, Any], table: str, recipe: str) -> str:
    """The hash of a row's content, then that of its lineage; 128 hex digits.

    Args:
        record: the row as its Parquet file has it, with `id` and `lineage`.
        recipe: of the step that wrote it, "name@version".
    """
    content = {name: value for name, value in record.items() if name not in ("id", "lineage")}
    known = {name: value for name, value in (record.get("lineage") or {}).items() if value}  # null, "" and [] are one
    origin = {"id": record["id"], "table": table, "recipe": recipe, "lineage": known}
    return hashlib.sha256(canonical(content)).hexdigest() + hashlib.sha256(canonical(origin)).hexdigest()


def merkle_root(leaves: Sequence[str]) -> str:
    """The root of a tree over row ids in their order; in hex."""
    level = _leaves(leaves)
    if not level:
        return hashlib.sha256().hexdigest()
    while len(level) > 1:
        level = _above(level)
    return level[0].hex()


def merkle_path(leaves: Sequence[str], number: int) -> Proof:
    """The proof of a leaf, by its number."""
    row, level, path = leaves[number], _leaves(leaves), []
    while len(level) > 1:
        other = number ^ 1
        if other < len(level):  # else it goes up alone
            path.append(("left" if other < number else "right", level[other].hex()))
        level, number = _above(level), number // 2
    return Proof(row, path)


def included(proof: Proof, root: str) -> bool:
    """Does the proof lead to this root? One that is no hex leads nowhere."""
    try:
        [node] = _leaves([proof.row_id])
        for side, other in proof.path:
            pair = bytes.fromhex(other), node
            node = _node(*(pair if side == "left" else pair[::-1]))
    except ValueError:
        return False
    return node.hex() == root


def _leaves(rows: Sequence[str]) -> list[bytes]:
    # 0 before a leaf and 1 before a node, so that no leaf can pass for a node.
    return [hashlib.sha256(b"\0" + bytes.fromhex(row)).digest() for row in rows]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _above(level: list[bytes]) -> list[bytes]:
    paired = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return paired + level[len(paired) * 2 :]


# -- keys


def keypair(path: Path) -> str:
    """Make a key to sign with: `path` (private, PEM, for your eyes only) and `path.pub`. Returns its id.

    Raises:
        BadInput: one of the files is there already; a key is never overwritten.
    """
    packages.require("signing", "sign", "cryptography")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.name}.pub")
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    shown = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    for file in (path, public):
        if file.exists():
            raise BadInput(f"{file} is there already; no key was made. Choose another name")
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(secret)
        public.write_bytes(shown)
    except OSError as error:
        raise BadInput(f"cannot write the key {path}: {error.strerror or error}") from None
    return _key_id(key.public_key())


def _private(path: Path | None) -> Ed25519PrivateKey:
    packages.require("signing", "sign", "cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if path is None and not os.environ.get(VARIABLE):
        raise BadInput(f"no key to sign with: name a file, or set {VARIABLE}; `keypair` makes one")
    # What is wrong with a key is said without the key.
    data, where = (os.environ[VARIABLE].encode(), VARIABLE) if path is None else (_read(path), str(path))
    try:
        if digits := _hex(data):
            return Ed25519PrivateKey.from_private_bytes(digits)
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{where} is no private Ed25519 key: PEM without a password, or 64 hex digits")
    return key


def _public(given: Path | str) -> Ed25519PublicKey:
    packages.require("verifying", "sign", "cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = given.encode() if isinstance(given, str) and _hex(given.encode()) else _read(Path(given))
    try:
        if digits := _hex(data):
            return Ed25519PublicKey.from_public_bytes(digits)
        key = load_pem_public_key(data)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{given} is no public Ed25519 key: PEM, or 64 hex digits")
    return key


def _hex(data: bytes) -> bytes | None:
    text = data.strip().decode("ascii", "replace")
    return bytes.fromhex(text) if re.fullmatch("[0-9a-fA-F]{64}", text) else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the key {path}: {error.strerror or error}") from None


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


# -- signing


def sign(folder: Path, key: Path | None = None, *, parents: Sequence[Path] = ()) -> Path:
    """Sign a finished run; returns the path of `manifest.json`. What was signed before is replaced.

    Args:
        key: a file with the private key, outside the folder; the environment variable GRISTMILL_SIGNING_KEY unless
        given. parents: folders of signed runs that this one was made from; their roots go into the manifest.

    Raises:
        BadInput: no key, no run or one that is still at work, a row that does not say what it was made from or names an
            answer of no model that the run knows, or a parent that is not as it was signed.
    """
    folder = Path(folder)
    if key is not None and Path(key).resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"the key {key} lies in the run's folder and would be given away with it: move it out")
    secret = _private(key)
    about = _run(folder)
    lines = sorted(_leaves_of(folder, _recipe(about["config"]), about["calls"]))
    root = merkle_root([row for row, _ in lines])
    statement = _statement(folder, about, root, len(lines), [_parent(Path(parent)) for parent in parents], secret)
    payload = canonical(statement)
    envelope = {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": _key_id(secret.public_key()),
                "sig": base64.b64encode(secret.sign(_encoded(payload))).decode(),
            }
        ],
    }
    shown = "".join(f"{row}  {name}\n" for row, name in lines)
    for name, content in ((ROWS, shown.encode()), (MANIFEST, payload), (SIGNATURE, canonical(envelope))):
        with Replacing(folder / name) as unfinished:
            unfinished.write_bytes(content)
    return folder / MANIFEST


def _encoded(payload: bytes) -> bytes:
    """What DSSE signs: the payload with its type, each with its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _run(folder: Path) -> dict[str, Any]:
    journal = Journal(folder, read_only=True)
    try:
        config, state = journal.meta("config"), journal.meta("state")
        if config is None or state == "running":
            raise BadInput(f"{folder} is not finished: `gristmill resume {folder}`, then sign it")
        names = [step["name"] for step in config["steps"]]
        rejects = journal.select("SELECT step, reason, COUNT(*) FROM rejects GROUP BY 1, 2 ORDER BY 1, 2")
        models = journal.select("SELECT role, model, COUNT(*) FROM calls GROUP BY 1, 2 ORDER BY 1, 2")
        return {
            "config": config,
            "state": state,
            "tombstones": [{"step": names[step], "reason": reason, "rows": rows} for step, reason, rows in rejects],
            "failures": journal.count("failures"),
            "models": [{"role": role, "model": model, "calls": calls} for role, model, calls in models],
            "calls": {key for (key,) in journal.select("SELECT key FROM calls WHERE model <> ''")},
        }
    finally:
        journal.release()


def _recipe(config: Mapping[str, Any]) -> str:
    last = config["steps"][-1]
    return f"{last['recipe']}@{last['version']}"


def _leaves_of(folder: Path, recipe: str, calls: set[str]) -> Iterator[tuple[str, str]]:
    """Row ids with TABLE/ID, in the order of the files."""
    seen = set()
    for table in _tables(folder):
        for record in _records(folder, table):
            name = f"{table}/{record.get('id')}"
            lineage = record.get("lineage") or {}
            made_from = lineage.get("calls") or []
            if not record.get("id") or name in seen:
                raise BadInput(f"data/{table}.parquet: {'two rows have' if name in seen else 'a row has no'} id {name}")
            if calls and not (made_from or lineage.get("parents")):
                raise BadInput(f"data/{table}.parquet: row {record['id']} does not say what it was made from")
            if unknown := [call for call in made_from if call not in calls]:
                raise BadInput(f"data/{table}.parquet: row {record['id']} names {unknown[0]}, no answer of this run")
            seen.add(name)
            try:
                yield row_id(record, table, recipe), name
            except ValueError as error:
                raise BadInput(f"data/{table}.parquet: row {record['id']} cannot be signed: {error}") from None


def _tables(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "data").glob("*.parquet"))


def _records(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(folder / "data" / f"{table}.parquet") as file:
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()


def _statement(
    folder: Path,
    about: Mapping[str, Any],
    root: str,
    rows: int,
    parents: list[dict[str, Any]],
    secret: Ed25519PrivateKey,
) -> dict[str, Any]:
    config = about["config"]
    files = _files(folder)
    inputs = [_resource(name, digest) for name, digest in files.items() if name.startswith("inputs/")]
    made = [_resource(name, digest) for name, digest in files.items() if not name.startswith("inputs/")]
    code = _resource("gristmill", _code()) | {"annotations": {"version": gristmill.__version__}}
    return {
        "_type": STATEMENT,
        "subject": [{"name": "data", "digest": {MERKLE: root}}, *made],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": config,
                "resolvedDependencies": [code, *inputs, *parents],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:gristmill",
                    "version": {"python": platform.python_version(), "pyarrow": packages.version("pyarrow")},
                }
            },
            "gristmill_run": {
                "state": about["state"],
                "rows": rows,
                "tombstones": about["tombstones"],
                "failures": about["failures"],
                "models": about["models"],
                "public_key": secret.public_key().public_bytes_raw().hex(),
            },
        },
    }


def _resource(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}


def _files(folder: Path) -> dict[str, str]:
    """Hashes of the files that count as they are: what tells of the rows, inputs, artefacts."""
    found = [*(folder / name for name in TOLD), *(folder / "inputs").rglob("*"), *(folder / "artefacts").rglob("*")]
    files = sorted(path for path in found if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code() -> str:
    """Of all files of this package that are read when a recipe runs."""
    package = Path(gristmill.__file__).parent
    files = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return hashlib.sha256(
        canonical([[path.relative_to(package).as_posix(), _digest(path)] for path in files])
    ).hexdigest()


def _parent(folder: Path) -> dict[str, Any]:
    found = verify(folder)
    if not found.ok:
        raise BadInput(f"the parent {folder} is not as it was signed: {found.first}")
    return {"name": f"parent:{folder.resolve().name}", "digest": {MERKLE: found.root}}


# -- verifying


def verify(folder: Path, public_key: Path | str | None = None) -> Verified:
    """Hold a folder against its signature. Needs the three files of the manifest and no run.db.

    Args:
        public_key: of the signer, a file or 64 hex digits, had from somewhere else than from the folder; without it,
            see `Verified.known`.

    Raises:
        BadInput: the folder is not signed, or the public key cannot be read.
    """
    folder, given = Path(folder), _public(public_key) if public_key is not None else None
    for name in (MANIFEST, SIGNATURE):
        if not (folder / name).is_file():
            raise BadInput(f"{folder} is not signed: there is no {name} in it")
    payload = (folder / MANIFEST).read_bytes()
    key, trouble = _signed(payload, (folder / SIGNATURE).read_bytes(), given)
    known, key_id = given is not None, _key_id(key) if key else ""
    if trouble:
        return Verified("", key_id, known, 0, [trouble])
    try:
        statement = json.loads(payload)
        built, about = statement["predicate"]["buildDefinition"], statement["predicate"]["gristmill_run"]
        listed = [*statement["subject"], *built["resolvedDependencies"]]
        files = {one["name"]: one["digest"]["sha256"] for one in listed if "sha256" in one["digest"]}
        root, rows, recipe = listed[0]["digest"][MERKLE], about["rows"], _recipe(built["externalParameters"])
    except (ValueError, KeyError, IndexError, TypeError):
        return Verified("", key_id, known, 0, [Difference(MANIFEST, "is no statement about a run")])
    files.pop("gristmill", None)  # the code then; what is installed now may be newer
    different = [*_different_files(folder, files), *_different_rows(folder, root, recipe)]
    return Verified(root, key_id, known, rows, different[:MOST])


def _signed(
    payload: bytes, envelope: bytes, given: Ed25519PublicKey | None
) -> tuple[Ed25519PublicKey | None, Difference | None]:
    from cryptography.exceptions import InvalidSignature

    try:
        sealed = json.loads(envelope)
        [signature] = sealed["signatures"]
        signed, signed_as = base64.b64decode(signature["sig"], validate=True), signature["keyid"]
        content = base64.b64decode(sealed["payload"], validate=True)
        if sealed["payloadType"] != PAYLOAD:
            raise ValueError(sealed["payloadType"])
    except (ValueError, KeyError, TypeError):
        return given, Difference(SIGNATURE, "is no envelope of one signature")
    if content != payload:
        return given, Difference(MANIFEST, "is not what was signed")
    try:
        key = given or _public(json.loads(payload)["predicate"]["gristmill_run"]["public_key"])
    except (ValueError, KeyError, TypeError, BadInput):
        return None, Difference(MANIFEST, "names no public key")
    if signed_as != _key_id(key):
        return key, Difference(SIGNATURE, f"was signed with another key, {signed_as}")
    try:
        key.verify(signed, _encoded(payload))
    except InvalidSignature:
        return key, Difference(SIGNATURE, "does not fit the manifest")
    return key, None


def _different_files(folder: Path, signed: Mapping[str, str]) -> list[Difference]:
    files = _files(folder)
    found = []
    for name in sorted(signed.keys() | files.keys()):
        if name not in files:
            found.append(Difference(name, "is missing"))
        elif name not in signed:
            found.append(Difference(name, "was added"))
        elif signed[name] != files[name]:
            found.append(Difference(name, "differs"))
    return found


def _different_rows(folder: Path, root: str, recipe: str) -> list[Difference]:
    import pyarrow as pa

    signed = _signed_rows(folder, root)
    found: list[Difference] = []
    now: dict[str, str] = {}
    for table in _tables(folder):
        file = f"data/{table}.parquet"
        try:
            for number, record in enumerate(_records(folder, table), start=1):
                what = _what_differs(record, table, recipe, signed, now)
                if what and len(found) < MOST:
                    found.append(Difference(file, what, str(record.get("id") or f"number {number}")))
        except (OSError, ValueError, pa.ArrowException):
            found.append(Difference(file, "cannot be read"))
    if signed is not None:
        gone = sorted(name.partition("/") for name in signed if name not in now)
        found += [Difference(f"data/{table}.parquet", "is missing", id) for table, _, id in gone]
    # The list's names are not under the root: one that stood there twice would hide a row that is missing.
    if found or merkle_root(sorted(now.values())) == root:
        return found
    trouble = "is not what was signed" if (folder / ROWS).exists() else "is missing"
    return [Difference(ROWS, f"{trouble}, so that no row can be named; but the rows are not those that were signed")]


def _what_differs(
    record: Mapping[str, Any], table: str, recipe: str, signed: Mapping[str, str] | None, now: dict[str, str]
) -> str:
    name = f"{table}/{record.get('id')}"
    if name in now:
        return "is there twice"
    try:
        now[name] = row_id(record, table, recipe)
    except (ValueError, KeyError):  # no row that could have been signed
        now[name] = ""
        return "differs"
    if signed is None or signed.get(name) == now[name]:
        return ""
    if name not in signed:
        return "was added"
    return "differs" if signed[name][:64] != now[name][:64] else "differs in its lineage"


def _signed_rows(folder: Path, root: str) -> dict[str, str] | None:
    """Row ids by TABLE/ID; None where the list is not the one under the root."""
    try:
        lines = [line.split("  ", 1) for line in (folder / ROWS).read_text(encoding="utf-8").split("\n")[:-1]]
        if merkle_root([row for row, _ in lines]) == root:
            return {name: row for row, name in lines}
    except (OSError, ValueError):
        pass
    return None


def proof(folder: Path, row: str) -> Proof:
    """That a row is in the set, for somebody who has the root (from a manifest that they trust) and the row alone: they
    compute its `row_id` and ask `included`.

    Args:
        row: TABLE/ID.

    Raises:
        BadInput: no such row was signed.
    """
    lines = [line.split("  ", 1) for line in _listed(folder).split("\n")[:-1]]
    number = next((number for number, (_, name) in enumerate(lines) if name == row), None)
    if number is None:
        raise BadInput(f"{folder}: no row {row!r} was signed; {ROWS} lists them as TABLE/ID")
    return merkle_path([row for row, _ in lines], number)


def _listed(folder: Path) -> str:
    try:
        return (Path(folder) / ROWS).read_text(encoding="utf-8")
    except OSError:
        raise BadInput(f"{folder} is not signed: there is no {ROWS} in it") from None
