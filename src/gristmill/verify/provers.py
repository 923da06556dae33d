"""Proof assistants: is a statement well-formed, and does a proof prove exactly that statement?

Promised, of Coq: "ok" means that Coq's kernel accepted a term of the statement's type, resting on no axiom but the
allowed ones. Text of the proof is read in one sandbox, and judged in another that never sees it: there the statement
is given its meaning first, then the compiled proof is loaded (and nothing of it imported), and a constant of the
statement's type is defined by it. So no notation, option or name of the proof can change what was to be proved or what
is said about it. A proof may hold tactics only, so it has no commands to begin with (`statements.py`).

Promised, of Lean 4: less. One file is read in one sandbox: statement, proof, and behind it what asks for the type and
the axioms; the answer counts only from those lines. Lean's tactics can run programs, and what keeps a proof from that
is the list of words that it must not hold.

Not promised: bugs of the kernels. Coq's virtual machine, which has had most of them, is switched off; its native
compiler too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from gristmill.errors import BadInput
from gristmill.verify.bubblewrap import Bubblewrap, holding
from gristmill.verify.statements import Improper, Language, Statement, split, tactics
from gristmill.verify.values import Limits, Proof, SandboxTrouble

LIMITS = Limits(seconds=60.0, memory_mb=2048, output_kb=64, files_kb=64 * 1024)
MESSAGE = 2000
"""Characters of an error message that are kept."""


class Assistant(Protocol):
    """A proof assistant. Cancelling a question ends its processes before the error goes on."""

    language: Language

    def identity(self) -> dict[str, object]:
        """All that could change an answer, as plain values. It can be asked before `start`."""

    async def start(self) -> None:
        """Raises BadInput, with what to install, where it cannot work on this machine."""

    async def states(self, text: str) -> Proof: ...

    async def proves(self, text: str, proof: str) -> Proof: ...


COQ_PRELUDE = "From Coq Require Import Arith ZArith Znumtheory Reals List Lia Lra Psatz.\nImport ListNotations.\nOpen Scope nat_scope."
REAL_NUMBERS = frozenset({"sig_forall_dec", "sig_not_dec", "functional_extensionality_dep"})
"""The axioms below the real numbers of Coq's library: nothing about them can be proved without."""
CLASSICAL = REAL_NUMBERS | {
    "classic",
    "proof_irrelevance",
    "propositional_extensionality",
    "constructive_indefinite_description",
    "constructive_definite_description",
    "dependent_unique_choice",
    "relational_choice",
    "eq_rect_eq",
}
"""Those of the library's classical mathematics, which hold together in set theory."""


class Coq:
    """Coq, of the system's package.

    Args:
        limits: of one question.
        axioms: what proofs may rest on, by the names that Coq's library gives them; empty: nothing.
    """

    language: Language = "coq"

    def __init__(self, limits: Limits = LIMITS, axioms: Iterable[str] = REAL_NUMBERS) -> None:
        self.limits = limits
        self.axioms = frozenset(axioms)
        self.box = Box()

    def identity(self) -> dict[str, object]:
        return {"prelude": COQ_PRELUDE, "axioms": sorted(self.axioms), "seconds": self.limits.seconds}

    async def start(self) -> None:
        try:
            if not shutil.which("coqc", path="/usr/bin"):
                raise SandboxTrouble("there is no /usr/bin/coqc")
            await self.box.start()
            tried = await self.states("Theorem t (n : nat) (x : R) : n = n.")
            if not tried.ok:
                raise SandboxTrouble(f"coqc does not work in the sandbox: {tried.outcome} {tried.message}")
        except SandboxTrouble as trouble:
            raise BadInput(
                "prover:coq runs Coq in bubblewrap (Linux), never outside of it, and cannot here. Install both: apt "
                f"install coq bubblewrap. Tried: {trouble}"
            ) from trouble

    async def states(self, text: str) -> Proof:
        try:
            statement = split(text, "coq")
        except Improper as improper:
            return Proof(improper.outcome, str(improper))
        # Both ways of saying it: as the theorem that a proof will follow, and as the proposition that it will be held against.
        ran = await self.compile(f"{_definition(statement)}\n{statement}\nAbort.", self.limits.seconds)
        return Proof(*_failure(ran), seconds=ran.seconds) if ran.failed else Proof("ok", seconds=ran.seconds)

    async def proves(self, text: str, proof: str) -> Proof:
        try:
            statement, script = split(text, "coq"), tactics(proof, "coq")
        except Improper as improper:
            return Proof(improper.outcome, str(improper))
        ran = await self.compile(f"{statement}\nProof.\n{script}\nQed.", self.limits.seconds)
        if ran.failed:
            return Proof(*_failure(ran), seconds=ran.seconds)
        return await self.judge(statement, ran.out, self.limits.seconds - ran.seconds, ran.seconds)

    async def compile(self, text: str, seconds: float) -> Ran:
        """What becomes of a text after the prelude; `out` is what it was compiled to."""
        source = f"{COQ_PRELUDE}\n{text}\n"
        return await self._coqc("Attempt", source, {}, seconds, then=" >&2 && cat Attempt.vo")

    async def _coqc(self, name: str, source: str, files: dict[str, bytes], seconds: float, then: str = "") -> Ran:
        command = f"coqc -q -w none -bytecode-compiler no -native-compiler no -R . Gristmill {name}.v{then}"
        files = {f"{name}.v": source.encode(), **files}
        return await self.box.run(command, files, self.limits, seconds, binds=["/etc/ocamlfind.conf"])

    async def judge(self, statement: Statement, compiled: bytes, seconds: float, before: float = 0.0) -> Proof:
        """Whether something compiled proves a statement, under its name."""
        text = f"""{COQ_PRELUDE}
{_definition(statement)}
From Gristmill Require Attempt.
Definition proved : statement := Attempt.{statement.name}.
Print Assumptions proved.
"""
        ran = await self._coqc("Verdict", text, {"Attempt.vo": compiled}, seconds)
        spent = before + ran.seconds
        if ran.failed:
            outcome, message = _failure(ran)
            if outcome == "error":
                outcome, message = "refused", f"what is proved is not the statement: {message}"
            return Proof(outcome, message, seconds=spent)
        axioms = _assumptions(ran.out.decode(errors="replace"))
        # Whatever else the compiled proof holds is called Attempt.something: nothing of it was imported.
        if other := [
            name for name in axioms if name.rpartition(".")[2] not in self.axioms or name.startswith("Attempt.")
        ]:
            return Proof("axioms", f"it rests on {', '.join(other)}", axioms, spent)
        return Proof("ok", axioms=axioms, seconds=spent)


def _definition(statement: Statement) -> str:
    return f"Definition statement : Prop := {statement.closed}."


def _assumptions(said: str) -> list[str]:
    """What Print Assumptions lists, by name; what is no axiom ("f is assumed to be guarded") with all its words."""
    if said.strip() == "Closed under the global context":
        return []
    lines = [line for line in said.splitlines() if line[:1].strip()]
    if lines[:1] != ["Axioms:"]:
        return [*lines] or ["nothing known: Coq did not say"]
    return [found[1] if (found := re.fullmatch(r"([\w.']+)(?: :.*)?", line)) else line for line in lines[1:]]


def _failure(ran: Ran) -> tuple[Any, str]:
    """Outcome and message of what went wrong in Coq."""
    if ran.over:
        return ran.over, f"ended after {ran.seconds:.0f} s"
    if re.search(r"(?i)out of memory|not enough memory|cannot allocate", ran.err):
        return "memory", ran.err[-MESSAGE:]
    return ("open" if "Attempt to save" in ran.err else "error"), ran.err[-MESSAGE:]


LEAN_HEADER = "import Mathlib\nset_option maxHeartbeats 400000\nopen BigOperators Real Nat Topology Rat"
LEAN_AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
"""The three that Lean's own library rests on."""
LEAN_LIMITS = Limits(seconds=120.0, memory_mb=32 * 1024, processes=128, output_kb=256)
"""Memory: Mathlib's compiled files are mapped into it."""
LEAN_HELP = (
    "prover:lean4 runs Lean 4 with Mathlib in bubblewrap (Linux), and cannot here. Install Lean (https://lean-lang.org/"
    "install) and bubblewrap (apt install bubblewrap), and start from the folder of a project that has Mathlib, or set "
    "GRISTMILL_LEAN, for example to 'lake --dir=/home/me/project env lean'. Tried: "
)


class Lean:
    """Lean 4, as the command GRISTMILL_LEAN starts it: "lake env lean" in a project's folder unless set, else "lean".

    Where Lean and its libraries lie is asked of the command, once, outside of the sandbox; what it is given to read is
    read inside. Tested against what Lean prints, and not against Lean.
    """

    language: Language = "lean4"

    def __init__(self, limits: Limits = LEAN_LIMITS, axioms: Iterable[str] = LEAN_AXIOMS) -> None:
        self.limits = limits
        self.axioms = frozenset(axioms)
        self.box = Box()
        self._lean = ""
        self._path = ""

    def identity(self) -> dict[str, object]:
        return {"prelude": LEAN_HEADER, "axioms": sorted(self.axioms), "seconds": self.limits.seconds}

    async def start(self) -> None:
        try:
            await self.box.start()
            await asyncio.to_thread(self._find)
            tried = await self.states("theorem t : 1 + 1 = 2")
            if not tried.ok:
                raise SandboxTrouble(f"{self._lean} does not work in the sandbox: {tried.outcome} {tried.message}")
        except SandboxTrouble as trouble:
            raise BadInput(LEAN_HELP + str(trouble)) from trouble

    def _find(self) -> None:
        in_project = shutil.which("lake") and any(Path(f"lakefile.{kind}").exists() for kind in ("lean", "toml"))
        command = shlex.split(os.environ.get("GRISTMILL_LEAN", "") or ("lake env lean" if in_project else "lean"))
        self._lean = f"{_said([*command, '--print-prefix'])}/bin/lean"
        lake = command[-2:-1] == ["env"]
        self._path = _said([*command[:-1], "printenv", "LEAN_PATH"]) if lake else os.environ.get("LEAN_PATH", "")

    async def states(self, text: str) -> Proof:
        try:
            statement = split(text, "lean4")
        except Improper as improper:
            return Proof(improper.outcome, str(improper))
        ran, messages = await self._read(f"{statement} := by sorry\n")
        return _lean_failure(ran, messages) or Proof("ok", seconds=ran.seconds)

    async def proves(self, text: str, proof: str) -> Proof:
        try:
            statement, script = split(text, "lean4"), tactics(proof, "lean4")
        except Improper as improper:
            return Proof(improper.outcome, str(improper))
        before = f"{statement} := by\n{script}\n"
        ran, messages = await self._read(
            f"{before}example : ({statement.closed}) := @{statement.name}\n#print axioms {statement.name}\n"
        )
        if failed := _lean_failure(ran, messages):
            return failed
        if any(message.severity == "warning" and "sorry" in message.data for message in messages):
            return Proof("open", "it uses sorry", seconds=ran.seconds)
        # What the proof itself prints stands at its own lines.
        line = f"{LEAN_HEADER}\n{before}".count("\n") + 2
        said = [m.data for m in messages if (m.severity, m.pos.line) in (("info", line), ("information", line))]
        found = re.fullmatch(
            r"'\S+' (?:does not depend on any axioms|depends on axioms: \[(.*)\])\s*", "\n".join(said), re.DOTALL
        )
        if not found:
            return Proof("error", f"Lean did not say which axioms it rests on: {said}", seconds=ran.seconds)
        axioms = re.findall(r"[^\s,]+", found[1] or "")
        if "sorryAx" in axioms:
            return Proof("open", "it uses sorry", axioms, ran.seconds)
        if other := [name for name in axioms if name not in self.axioms]:
            return Proof("axioms", f"it rests on {', '.join(other)}", axioms, ran.seconds)
        return Proof("ok", axioms=axioms, seconds=ran.seconds)

    async def _read(self, text: str) -> tuple[Ran, list[Message]]:
        binds = [self._lean.removesuffix("/bin/lean"), *filter(None, self._path.split(":"))]
        ran = await self.box.run(
            f"{shlex.quote(self._lean)} --json Attempt.lean",
            {"Attempt.lean": f"{LEAN_HEADER}\n{text}".encode()},
            self.limits,
            self.limits.seconds,
            binds=binds,
            variables={"LEAN_PATH": self._path},
        )
        messages = []
        for line in ran.out.splitlines():
            with suppress(msgspec.DecodeError):  # it may die in the middle of one; then its exit code says so
                messages.append(msgspec.json.decode(line, type=Message))
        return ran, messages


class Position(msgspec.Struct):
    line: int


class Message(msgspec.Struct):
    """One of Lean's, as `lean --json` prints them."""

    severity: str
    pos: Position
    data: str


def _lean_failure(ran: Ran, messages: list[Message]) -> Proof | None:
    if ran.over:
        return Proof(ran.over, f"ended after {ran.seconds:.0f} s", seconds=ran.seconds)
    if errors := [message for message in messages if message.severity == "error"]:
        said = "\n".join(f"{message.pos.line}: {message.data}" for message in errors)[:MESSAGE]
        unfinished = all(message.data.startswith("unsolved goals") for message in errors)
        return Proof("open" if unfinished else "error", said, seconds=ran.seconds)
    if not ran.code:
        return None
    return Proof("memory" if "memory" in ran.err else "error", ran.err[-MESSAGE:], seconds=ran.seconds)


def _said(command: list[str]) -> str:
    """What a command of the user's prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxTrouble(f"{shlex.join(command)}: {error}") from None
    return done.stdout.strip()


@dataclass
class Ran:
    """What became of a command in the box."""

    code: int
    out: bytes
    err: str
    seconds: float
    over: Literal["", "timeout", "output"] = ""

    @property
    def failed(self) -> bool:
        return bool(self.over or self.code)


COMPILED = 16 << 20
"""Bytes that a command may print: a compiled proof goes that way."""


class Box:
    """Commands of ours over texts of a model's, each in a sandbox of its own: bubblewrap, as for programs."""

    def __init__(self) -> None:
        self._link = Bubblewrap()

    async def start(self) -> None:
        """Raises SandboxTrouble where bubblewrap does not work."""
        await asyncio.to_thread(self._link.start)

    async def run(
        self,
        script: str,
        files: Mapping[str, bytes],
        limits: Limits,
        seconds: float,
        *,
        binds: Iterable[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run a shell script of ours in an empty folder with these files. All is over when it returns, also when it is
        cancelled.

        Args:
            seconds: instead of those of the limits.
            binds: files and folders of the machine that it sees, besides /usr, where they are.

        Raises:
            SandboxTrouble: bubblewrap itself failed.
        """
        began = time.monotonic()
        if seconds <= 0:
            return Ran(0, b"", "", 0.0, "timeout")
        argv, descriptors = self._command(script, files, limits, seconds, binds, variables or {})
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=descriptors,
                env={},
                cwd="/",
                **self._link.options,
            )
        except OSError as error:
            raise SandboxTrouble(f"{argv[0]} could not be started: {error}") from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        assert process.stdout is not None
        assert process.stderr is not None
        over: Literal["", "timeout", "output"] = ""
        out, err = bytearray(), bytearray()
        most = limits.output_kb * 1024
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    _take(process, process.stdout, out, COMPILED), _take(process, process.stderr, err, most)
                )
                await process.wait()
        except TimeoutError:
            over = "timeout"
        finally:
            await _end(process)
        if len(out) > COMPILED or len(err) > most:
            over = "output"
        text = err.decode(errors="replace")
        if not text.startswith(BEGUN) and not over:
            raise SandboxTrouble(text.strip()[-500:] or f"{argv[0]} ended before it began")
        return Ran(process.returncode or 0, bytes(out), text.removeprefix(BEGUN), time.monotonic() - began, over)

    def _command(
        self,
        script: str,
        files: Mapping[str, bytes],
        limits: Limits,
        seconds: float,
        binds: Iterable[str],
        variables: Mapping[str, str],
    ) -> tuple[list[str], list[int]]:
        descriptors: list[int] = []
        argv = [*self._link.base, "--size", str(limits.files_kb * 1024), "--tmpfs", "/tmp", "--chdir", "/tmp"]
        for path in binds:
            argv += ["--ro-bind-try", path, path]
        for name, content in files.items():
            descriptors.append(holding(content))
            argv += ["--file", str(descriptors[-1]), f"/tmp/{name}"]
        argv += ["--remount-ro", "/", "--clearenv"]
        for name, value in {"PATH": "/usr/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **variables}.items():
            argv += ["--setenv", name, value]
        if self._link.filter:
            descriptors.append(holding(self._link.filter))
            argv += ["--seccomp", str(descriptors[-1])]
        memory, written = limits.memory_mb << 20, limits.files_kb * 1024
        argv += ["/usr/bin/prlimit", f"--as={memory}", f"--nproc={limits.processes}", f"--cpu={int(seconds) + 2}"]
        argv += [f"--fsize={written}", "--core=0", "--nofile=4096", "--memlock=0", "--msgqueue=0", "--"]
        return [*argv, "/bin/sh", "-c", f"printf '{BEGUN}' >&2; {script}"], descriptors


BEGUN = "begun."
"""Printed by the box before the command, to tell its failure from bubblewrap's."""


async def _take(process: Process, pipe: asyncio.StreamReader, into: bytearray, most: int) -> None:
    """Read a pipe to its end. Who says more than `most` is ended, and the rest is not kept."""
    while data := await pipe.read(1 << 16):
        if len(into) <= most:
            into += data
        else:
            _kill(process)


async def _end(process: Process) -> None:
    """Kill what is left, and wait until all of it has gone, however often we are cancelled meanwhile."""
    _kill(process)
    gone = asyncio.get_running_loop().create_task(_gone(process))
    cancelled = None
    while not gone.done():
        try:
            await asyncio.wait([gone])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


def _kill(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # bubblewrap, and with it the namespace of all its processes


async def _gone(process: Process) -> None:
    await process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while await pipe.read(1 << 16):
                    pass
