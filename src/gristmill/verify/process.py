"""A sandbox's processes, from start to certain end: pipes, limits on time, output and memory, and the report at the end.

Used by the links that run CPython. In a check there are two sandboxes, and all that passes between them passes here,
so that nothing of the program can reach the interpreter of the tests before that has read its own job.
"""

from __future__ import annotations

import os
import secrets
import selectors
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gristmill.verify.values import Job, Limits, Outcome, Program, SandboxTrouble, Verdict

GUEST = Path(__file__).with_name("guest.py").read_text(encoding="utf-8")
CHUNK = 1 << 16
RELAY_MOST = 64 << 20
"""Bytes that the program and the tests may send one another."""
WATCH = 0.1
"""Seconds between looks at the memory of a sandbox."""


@dataclass
class Command:
    """How to start a sandbox: arguments, and what Popen needs besides."""

    argv: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    close: list[int] = field(default_factory=list)
    """File descriptors that are the child's once it is started."""


class Guest:
    """One sandbox with an interpreter in it."""

    def __init__(self, command: Command, job: dict[str, Any], limits: Limits, memory: int) -> None:
        self.nonce = secrets.token_hex(16)
        text = repr({**job, "nonce": self.nonce, "files_kb": limits.files_kb}).encode("utf-8", "backslashreplace")
        self.inbox = bytearray(b"%d\n" % len(text) + text)
        self.out, self.err = bytearray(), bytearray()
        self.out_most = self.err_most = limits.output_kb * 1024
        self.err_most += 8192 + (2 * limits.files_kb * 1024 + 4096 if job["keep"] else 0)
        self.memory = memory
        self.relay_to: Guest | None = None
        self.relayed = 0
        self.over: Outcome | None = None
        self.last = False
        """Nothing more will be put into `inbox`."""
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                **command.options,
            )
        except OSError as error:
            raise SandboxTrouble(f"{command.argv[0]} could not be started: {error}") from None
        finally:
            for descriptor in command.close:
                os.close(descriptor)
        for pipe in self.pipes():
            os.set_blocking(pipe.fileno(), False)

    def pipes(self) -> list[IO[bytes]]:
        process = self.process
        return [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]

    def kill(self) -> None:
        """End it and all below it: bubblewrap's processes are in a PID namespace that ends with its first one."""
        with suppress(OSError):
            os.killpg(self.process.pid, 9)
        with suppress(OSError):
            self.process.kill()

    def report(self) -> list[bytes] | None:
        """The last report, as fields; the text before it stays in `err`."""
        at = self.err.rfind(b"\n" + self.nonce.encode() + b" ")
        if at < 0:
            return None
        line = bytes(self.err[at + 1 :]).split(b"\n", 1)[0]
        try:
            fields = [bytes.fromhex(part.decode()) for part in line.split(b" ")[1:]]
            int(fields[3]), int(fields[4])
        except (ValueError, IndexError):
            return None
        return fields

    def verdict(self, link: str, seconds: float) -> Verdict:
        started = f"{self.nonce}+\n".encode()
        fields = self.report()
        text = bytes(self.err)
        begun = started in text
        if fields:
            text = text[: text.rfind(b"\n" + self.nonce.encode() + b" ")]
        text = text.replace(started, b"", 1)
        most = self.out_most
        verdict = Verdict("ok", self.out[:most].decode(errors="replace"), text[:most].decode(errors="replace"))
        verdict.seconds, verdict.link = round(seconds, 4), link
        if self.over:
            verdict.outcome = self.over
        elif len(text) > most:
            verdict.outcome = "output"
        elif not begun:
            raise SandboxTrouble(f"{link}: {verdict.stderr.strip()[-500:] or 'it ended before it began'}")
        elif fields:
            verdict.outcome = fields[0].decode()  # type: ignore[assignment]
            verdict.error, verdict.message = (f.decode(errors="replace") for f in fields[1:3])
            verdict.line, verdict.code = int(fields[3]), int(fields[4])
            verdict.where = "tests" if fields[5] == b"tests" else "program"
            verdict.files = {fields[i].decode(errors="replace"): fields[i + 1] for i in range(6, len(fields) - 1, 2)}
            if verdict.outcome not in OUTCOMES:  # the program spoke, or the interpreters lost one another
                verdict.outcome = "exit"
        else:
            code = self.process.returncode or 0
            verdict.outcome, verdict.code = "exit", 128 - code if code < 0 else code
        return verdict


OUTCOMES = {"ok", "wrong", "error", "exit", "memory"}


def run(command: Command, program: Program, limits: Limits, job: Job, *, link: str, memory: int) -> Verdict:
    task: dict[str, Any] = {
        "mode": "run",
        "code": program.code,
        "stdin": program.stdin.encode(errors="replace"),
        "files": program.files,
    }
    task |= {"keep": program.keep, "names": None}
    started = time.monotonic()
    guest = Guest(command, task, limits, memory)
    guest.last = True
    supervise([guest], started + limits.seconds, job)
    return guest.verdict(link, time.monotonic() - started)


def check(
    commands: tuple[Command, Command],
    program: Program,
    tests: str,
    names: list[str] | None,
    limits: Limits,
    job: Job,
    *,
    link: str,
    memory: int,
) -> Verdict:
    common: dict[str, Any] = {"stdin": b"", "files": {}, "keep": [], "names": names}
    started = time.monotonic()
    solver = Guest(
        commands[0], {**common, "mode": "solve", "code": program.code, "files": program.files}, limits, memory
    )
    try:
        judge = Guest(commands[1], {**common, "mode": "test", "code": tests}, limits, memory)
    except BaseException:
        supervise([solver], 0.0, job)
        raise
    solver.relay_to, judge.relay_to = judge, solver
    supervise([solver, judge], started + limits.seconds, job)
    seconds = time.monotonic() - started
    said = judge.verdict(link, seconds)
    if lost_other(judge):
        # The program's interpreter is gone. What it says of itself is believed, as long as it is nothing good.
        said = solver.verdict(link, seconds)
        if said.outcome in ("ok", "wrong") or lost_other(solver):
            said.outcome = "exit"
        return said
    if said.outcome == "timeout" and solver.over not in (None, "timeout"):
        said.outcome = solver.over
    said.stdout, said.stderr = "", (said.stderr + solver.verdict(link, seconds).stderr)[: limits.output_kb * 1024]
    return said


def lost_other(guest: Guest) -> bool:
    """Whether the other interpreter went away from it."""
    fields = guest.report()
    return guest.over is None and fields is not None and fields[0] == b"lost"


def supervise(guests: list[Guest], deadline: float, job: Job) -> None:
    """Serve the pipes until all is over, then leave nothing behind. The last guest is the one that decides."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    select = selectors.DefaultSelector()
    writing: set[int] = set()
    try:
        select.register(wake_read, selectors.EVENT_READ, None)
        for guest in guests:
            for pipe in guest.pipes()[1:]:
                select.register(pipe, selectors.EVENT_READ, guest)
        job.on_cancel(lambda: void(os.write(wake_write, b"x")))
        look = time.monotonic() + WATCH
        left = 2 * len(guests)
        while left and not job.cancelled:
            for guest in guests:
                left -= _write(guest, select, writing)
            if len(guests) > 1 and guests[-1].process.stderr not in select.get_map():
                # The tests are over. Only if they lost the program does it matter how that ended: give it a moment.
                fields = guests[-1].report()
                if fields is None or fields[0] != b"lost":
                    break
                deadline = min(deadline, time.monotonic() + 0.5)
            now = time.monotonic()
            if now >= deadline:
                for guest in guests:
                    guest.over = guest.over or "timeout"
                break
            if now >= look:
                look = now + WATCH
                for guest in guests:
                    if used(guest.process.pid) > guest.memory:
                        guest.over = "memory"
                if any(guest.over for guest in guests):
                    break
            for key, _ in select.select(min(deadline, look) - now):
                found: Guest | None = key.data
                if found is None or key.fileobj is found.process.stdin:
                    continue
                left -= _read(found, key.fileobj, select)
            if any(guest.over for guest in guests):
                break
    finally:
        job.forget()
        for guest in guests:
            guest.kill()
        for guest in guests:
            _settle(guest)
        select.close()
        os.close(wake_read)
        os.close(wake_write)


def _write(guest: Guest, select: selectors.BaseSelector, writing: set[int]) -> int:
    pipe = guest.process.stdin
    assert pipe is not None
    if pipe.closed:
        return 0
    number = pipe.fileno()
    with suppress(BlockingIOError):
        try:
            while guest.inbox:
                del guest.inbox[: os.write(number, guest.inbox[:CHUNK])]
        except BrokenPipeError:
            guest.inbox.clear()
            guest.last = True
    if guest.inbox and number not in writing:
        select.register(pipe, selectors.EVENT_WRITE, guest)
        writing.add(number)
    elif not guest.inbox and number in writing:
        select.unregister(pipe)
        writing.discard(number)
    if guest.last and not guest.inbox:
        pipe.close()
    return 0


def _read(guest: Guest, pipe: Any, select: selectors.BaseSelector) -> int:
    """Take what is there. 1 if the pipe is at its end."""
    try:
        data = os.read(pipe.fileno(), CHUNK)
    except BlockingIOError:
        return 0
    if not data:
        select.unregister(pipe)
        if pipe is guest.process.stdout and guest.relay_to:
            guest.relay_to.last = True
        return 1
    if pipe is guest.process.stderr:
        guest.err += data
        if len(guest.err) > guest.err_most:
            guest.over = "output"
    elif guest.relay_to:
        guest.relay_to.inbox += data
        guest.relayed += len(data)
        if guest.relayed > RELAY_MOST or len(guest.relay_to.inbox) > RELAY_MOST:
            guest.over = "output"
    else:
        guest.out += data
        if len(guest.out) > guest.out_most:
            guest.over = "output"
    return 0


def _settle(guest: Guest) -> None:
    """Wait until it is dead; its pipes close when the last process that holds them has gone."""
    guest.process.wait()
    assert guest.process.stderr is not None
    until = time.monotonic() + 2.0
    with selectors.DefaultSelector() as select:
        select.register(guest.process.stderr, selectors.EVENT_READ)
        while time.monotonic() < until:
            if select.select(0.05):
                try:
                    if not os.read(guest.process.stderr.fileno(), CHUNK):
                        break
                except OSError:
                    break
    for pipe in guest.pipes():
        with suppress(OSError):
            pipe.close()


def void(_: object) -> None:
    pass


def used(pid: int) -> int:
    """Bytes of memory of a process and all below it, as far as it is theirs alone. 0 where that cannot be told."""
    total, left = 0, [pid]
    while left:
        number = left.pop()
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{number}/statm").read_text().split()
            total += (int(fields[1]) - int(fields[2])) * PAGE
            for thread in os.listdir(f"/proc/{number}/task"):
                left += map(int, Path(f"/proc/{number}/task/{thread}/children").read_text().split())
    return total


PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
