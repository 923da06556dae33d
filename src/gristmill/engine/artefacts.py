"""What a run makes besides rows: files in its folder `artefacts`, named by their content.

Promised: a file is whole or not there; the same content has the same name in every replay.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from gristmill.contract import NAME
from gristmill.engine.journal import Journal

_stable = msgspec.json.Encoder(order="deterministic").encode


class Artefact(msgspec.Struct, frozen=True):
    """A graph, an index, a picture, a trained model: anything that is no row."""

    name: str
    digest: str
    """Of its content, or of all that made it (a checkpoint); 128 bits in hex."""
    file: str
    """In the folder `artefacts` of the run."""

    @property
    def path(self) -> str:
        """In the run's folder: what a row's `Picture` is."""
        return f"artefacts/{self.file}"

    @property
    def id(self) -> str:
        """As it stands in the lineage of rows."""
        return f"{self.name}:{self.digest}"


def named(name: str, data: Any, suffix: str = "") -> tuple[Artefact, bytes]:
    """An artefact's name, and its content as bytes.

    Raises:
        ValueError: a name or a suffix that could lead out of the folder.
    """
    if not NAME.fullmatch(name) or (suffix and not (suffix[0] == "." and suffix[1:].isalnum())):
        raise ValueError(f"artefact {name!r}, suffix {suffix!r}: use lower-case letters, digits and dashes; `.json`")
    if isinstance(data, bytes):
        content, usual = data, ".bin"
    elif isinstance(data, str):
        content, usual = data.encode("utf-8", "surrogatepass"), ".txt"
    else:
        content, usual = _stable(data), ".json"
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Artefact(name, digest, f"{name}-{digest}{suffix or usual}"), content


def write(folder: Path, artefact: Artefact, content: bytes) -> None:
    """Put an artefact into a run's folder, whole or not at all."""
    path = folder / "artefacts" / artefact.file
    if path.exists() and path.stat().st_size == len(content):
        return
    path.parent.mkdir(exist_ok=True)
    # Several units may make the same one at the same time.
    handle, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".unfinished")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def listed(journal: Journal) -> list[Artefact]:
    """The artefacts of a run."""
    sql = "SELECT DISTINCT name, digest, file FROM artefacts ORDER BY step, name, digest"
    return [Artefact(*entry) for entry in journal.select(sql)]


def sweep(folder: Path, journal: Journal) -> int:
    """Remove files and checkpoints that belong to no artefact any more; returns how many."""
    known = {artefact.file for artefact in listed(journal)}
    orphans = [path for path in (folder / "artefacts").glob("*") if path.name not in known]
    for path in orphans:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(orphans)
