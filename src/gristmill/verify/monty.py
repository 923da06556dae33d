"""The fast link: Monty, an interpreter for a part of Python, written in Rust, which knows no host at all.

A run takes well under a millisecond, in a worker process that is kept. It lacks much (generators, inheritance, most
modules), and where it fails one cannot always tell whose fault it was. So the sandbox believes only its "ok" while
another link can be asked. In a check the program and the tests are in two workers, and their calls pass through here as
plain values.
"""

from __future__ import annotations

import builtins
import os
import re
import signal
import time
from typing import Any

from gristmill.verify.values import Job, Limits, Outcome, Program, SandboxTrouble, Verdict

INSTALL = "pip install 'gristmill[sandbox]'"
LACKS = ("NotImplementedError", "ModuleNotFoundError", "ImportError", "PermissionError")
BUILTINS = frozenset(dir(builtins))
STUB = """
def NAME(*gristmill_args, **gristmill_kwargs):
    gristmill_value, gristmill_after = gristmill_NAME(*gristmill_args, **gristmill_kwargs)
    if gristmill_after is not None:
        for gristmill_mine, gristmill_theirs in zip(gristmill_args, gristmill_after):
            if isinstance(gristmill_mine, list):
                gristmill_mine[:] = gristmill_theirs
            elif isinstance(gristmill_mine, (dict, set)):
                gristmill_mine.clear()
                gristmill_mine.update(gristmill_theirs)
    return gristmill_value
"""
"""Stands for a function of the program among the tests: asks us, and passes on what was changed in place."""
PLAIN = (bool, int, float, complex, str, bytes)


class Monty:
    name = "monty"
    final = False

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.pool: Any = None

    def start(self) -> None:
        try:
            import pydantic_monty
        except ImportError:
            raise SandboxTrouble(f"pydantic-monty is not installed: {INSTALL}") from None
        # Two a check, so that no check can wait for a second worker while all others do the same.
        pool = pydantic_monty.Monty(min_processes=2, max_processes=2 * self.workers)
        try:
            self.pool = pool.__enter__()
        except Exception as error:  # noqa: BLE001  (whatever it is, the link is left out)
            raise SandboxTrouble(f"Monty's workers do not start: {error}") from None

    def run(self, program: Program, limits: Limits, job: Job) -> Verdict:
        if program.stdin or program.files or program.keep:
            return Verdict("unsupported", link=self.name, message="Monty has no stdin and no files")
        return self._guarded(limits, job, lambda session: session(program.code))

    def check(self, program: Program, tests: str, names: list[str] | None, limits: Limits, job: Job) -> Verdict:
        if program.files:
            return Verdict("unsupported", link=self.name, message="Monty has no files")

        def both(session: Session) -> None:
            session(program.code)
            session.defines = dict.fromkeys(re.findall(r"^def\s+([A-Za-z_]\w*)\s*\(", program.code, re.MULTILINE))
            judge = Session(session.pool, limits, job, session.until, session.printed)
            with judge:
                session.where = "tests"
                judge.drive(tests, session, names)

        return self._guarded(limits, job, both)

    def _guarded(self, limits: Limits, job: Job, work: Any) -> Verdict:
        """What became of it, whichever way it ended."""
        from pydantic_monty import CollectStreams, MontyCrashedError, MontyError, MontyRuntimeError, MontySyntaxError

        started = time.monotonic()
        printed = CollectStreams(limits.output_kb * 1024 + 4096)
        verdict = Verdict("ok", link=self.name)
        session = Session(self.pool, limits, job, started + limits.seconds, printed)
        try:
            with session:
                work(session)
        except OverTime:
            verdict.outcome = "timeout"
        except MontyCrashedError as error:
            late = error.timed_out or time.monotonic() - started >= limits.seconds
            verdict.outcome = "timeout" if late else "exit"
            verdict.code, verdict.message = 134, str(error)[:2000]
        except (MontyRuntimeError, MontySyntaxError) as error:
            verdict.error, verdict.line = type(error.exception()).__name__, _line(error)
            verdict.message = error.display(format="msg")[:2000]
            if session.where == "tests":
                verdict.line = max(0, verdict.line - session.stubbed)
            if repr(error.exception()) == repr(session.raised):
                session.where, verdict.line = "program", session.raised_at
            verdict.outcome = _outcome(verdict, session, time.monotonic() - started, limits)
            verdict.where = session.where
        except (MontyError, TypeError, ValueError, OverflowError) as error:  # a value that does not cross
            verdict.outcome, verdict.message = "unsupported", str(error)[:2000]
        finally:
            job.forget()
        verdict.seconds = round(time.monotonic() - started, 4)
        most = limits.output_kb * 1024
        texts = {"stdout": "", "stderr": ""}
        for stream in texts:
            text = "".join(part for kind, part in printed.output if kind == stream)
            data = text.encode(errors="replace")
            if len(data) > most:
                verdict.outcome = "output"
            texts[stream] = data[:most].decode(errors="replace")
        verdict.stdout, verdict.stderr = texts["stdout"], texts["stderr"]
        return verdict

    def close(self) -> None:
        if self.pool is not None:
            self.pool.__exit__(None, None, None)
            self.pool = None


class OverTime(Exception):
    """The clock on the wall; the interpreter's own does not run while it waits for us."""


class Session:
    """A worker of its own for one program, or for its tests."""

    def __init__(self, pool: Any, limits: Limits, job: Job, until: float, printed: Any) -> None:
        self.pool, self.limits, self.job, self.until, self.printed = pool, limits, job, until, printed
        self.where: Any = "program"
        self.raised: BaseException | None = None
        self.raised_at = 0
        self.defines: dict[str, None] = {}
        self.stubbed = 0
        """Lines of ours in front of the tests."""

    def __enter__(self) -> Session:
        seconds = max(0.01, self.until - time.monotonic())
        self.checkout = self.pool.checkout(
            script_name="main.py",
            limits={
                "max_feed_duration_secs": seconds,
                "max_memory": self.limits.memory_mb << 20,
                "max_total_sleep_secs": seconds,
                "max_suspensions": 1_000_000,
            },
            os_policy={"sleep_system_max": float("inf")},
        )
        self.session = self.checkout.__enter__()
        pid = self.session.worker_pid
        self.job.on_cancel(lambda: os.kill(pid, signal.SIGKILL) if pid else None)
        return self

    def __exit__(self, *exc: Any) -> None:
        self.checkout.__exit__(None, None, None)

    def __call__(self, code: str, inputs: dict[str, Any] | None = None) -> Any:
        if time.monotonic() >= self.until or self.job.cancelled:
            raise OverTime
        return self.session.feed_run(code, inputs=inputs, print_callback=self.printed)

    def drive(self, tests: str, program: Session, names: list[str] | None) -> None:
        """Run tests that call what `program` defined."""
        from pydantic_monty import FunctionSnapshot, MontyComplete, MontyRuntimeError

        known = [name for name in program.defines if name not in BUILTINS and (names is None or name in names)]
        stubs = "".join(STUB.replace("NAME", name) for name in known)
        program.stubbed = stubs.count("\n")
        step = self.session.feed_start(stubs + tests, print_callback=self.printed)  # one way there and back less
        while not isinstance(step, MontyComplete):
            if time.monotonic() >= self.until or self.job.cancelled:
                raise OverTime
            asked = str(step.function_name) if isinstance(step, FunctionSnapshot) and not step.is_os_function else ""
            if asked.startswith("gristmill_") and asked[10:] in known:
                program.where = "program"
                try:
                    answer = {"return_value": program.call(asked[10:], step.args, step.kwargs)}
                except MontyRuntimeError as error:
                    program.raised, program.raised_at = error.exception(), _line(error)
                    if isinstance(program.raised, MemoryError | TimeoutError | RecursionError):
                        raise
                    answer = {"exception": program.raised}  # the tests may expect it
                program.where = "tests"
                step = step.resume(answer)
            else:
                step = step.resume_auto()

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the program's function returned, and its arguments where it changed them. A program may well see
        through this code and answer in its place, but only with plain values, and those are what it is judged by."""
        before = repr(args)
        found = self(
            f"({name}(*gristmill_args, **gristmill_kwargs), gristmill_args)",
            {"gristmill_args": list(args), "gristmill_kwargs": kwargs},
        )
        if type(found) is not tuple or len(found) != 2:
            raise TypeError("the program answered for us")
        value, after = plain(found)
        return (value, None if repr(tuple(after)) == before else after)


def plain(value: Any) -> Any:
    """The value, if it is made of plain types alone: an object with methods of its own could equal anything."""
    kind = type(value)
    if value is None or kind in PLAIN:
        return value
    if kind in (list, tuple, set, frozenset):
        for item in value:
            plain(item)
        return value
    if kind is dict:
        for key, item in value.items():
            plain(key)
            plain(item)
        return value
    raise TypeError(f"{kind.__name__} does not cross")


def _line(error: Any) -> int:
    frames = error.traceback()
    return frames[-1].line if frames else 0


def _outcome(verdict: Verdict, session: Session, seconds: float, limits: Limits) -> Outcome:
    message = verdict.message
    if (
        verdict.error == "TimeoutError"
        and "limit exceeded" in message
        and (seconds >= 0.9 * limits.seconds or message.startswith("sleep"))
    ):
        return "timeout"
    if verdict.error == "MemoryError":
        flooded = message.startswith("memory limit exceeded") and f"> {limits.output_kb * 1024 + 4096} bytes" in message
        return "output" if flooded else "memory"
    if verdict.error in LACKS or "not supported" in message or message.startswith("Internal error"):
        return "unsupported"
    if verdict.error == "AssertionError" and session.where == "tests":
        return "wrong"
    return "error"
