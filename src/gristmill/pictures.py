"""Picture files: what is one, and how those that a user brings get into a run's folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from gristmill.errors import BadInput

MAGIC = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
}
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
NAME = re.compile(rf"(?:artefacts|inputs/pictures)/[a-z0-9-]+({'|'.join(re.escape(kind) for kind in KINDS)})")
"""How rows and messages name a picture of their run."""
MOST_BYTES = 64 << 20
"""Of one picture. No endpoint takes more, and a journal of messages must not be made of videos."""


def suffix_of(data: bytes) -> str:
    """ ".png", ".jpg", ".gif" or ".webp", by how the file begins; "" for what is no picture."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), "")


def take(value: Any, beside: Path, folder: Path) -> str:
    """The name in a run's folder of a picture that a user brings; the picture is copied there, under its digest.

    Args:
        value: a path; bytes; {"bytes": ..., "path": ...} as the library `datasets` has it; or a URL, which stays one.
        beside: where relative paths begin.

    Raises:
        BadInput: what cannot be read, or is no picture.
    """
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        return value
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        data, name = value, "the picture"
    elif isinstance(value, str) and value:
        path = beside / value
        name = str(path)
        try:
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            raise BadInput(f"{name}: the picture cannot be read: {getattr(error, 'strerror', error)}") from None
    else:
        raise BadInput(f"a picture is a path, bytes or a URL; this is {value!r}")
    if len(data) > MOST_BYTES:
        raise BadInput(f"{name}: more than {MOST_BYTES >> 20} MB, too large for a picture")
    if not (suffix := suffix_of(data)):
        raise BadInput(f"{name}: no PNG, JPEG, GIF or WebP; it begins {data[:12]!r}")
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    kept = folder / "inputs" / "pictures" / f"{digest}{suffix}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
    return f"inputs/pictures/{kept.name}"
