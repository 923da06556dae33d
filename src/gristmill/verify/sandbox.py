"""Running code that a model wrote: a chain of sandboxes with one interface.

Promised: such code runs only inside a link of the chain, never in this process and never in a plain subprocess; a link
is used only after it has withstood an attack on this machine; what runs is bounded in time, memory, output and files,
and gone when `run` returns or is cancelled; a program cannot pass a check by anything but the values that it returns.
Not promised: protection from bugs of the kernel, of wasmtime or of Monty; secrecy of what the tests pass to the program
as arguments; a fair trial for programs that need packages, a network or more than one machine's patience.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from gristmill.errors import BadInput
from gristmill.verify.values import Job, Limits, Link, Program, SandboxTrouble, Verdict

T = TypeVar("T")
CHAIN = ("monty", "bubblewrap", "wasi")

ATTACK = """
import os
print("env", sorted(os.environ))
def show(what, path):
    try:
        with open(path, "rb") as file:
            print(what, file.read(4096))
    except Exception as error:
        print("closed", path)
show("READ", "/etc/passwd")
for number in ["self", "1", str(PID)]:
    show("PROC", "/proc/" + number + "/environ")
try:
    open("/usr/gristmill-was-here", "w")
    print("WROTE")
except Exception:
    print("closed /usr")
try:
    import socket
    socket.create_connection(("127.0.0.1", PORT), 1)
    print("CONNECTED")
except Exception:
    print("closed network")
try:
    held = bytearray(MEMORY)
    print("MEMORY")
except MemoryError:
    print("closed memory")
print("end")
"""
"""Tried in each link before it is used."""

__all__ = ["CHAIN", "Limits", "Program", "Sandbox", "SandboxTrouble", "Verdict"]


ALONE = [
    "print(open('/etc/passwd').read())",
    "import os\nprint(os.environ)",
    "import os\nprint(os.listdir('/'))",
    "import socket",
    "import ctypes",
    "x = 'a' * (1 << 30)",
]


def make(name: str, workers: int) -> Link:
    if name == "monty":
        from gristmill.verify.monty import Monty

        return Monty(workers)
    if name == "bubblewrap":
        from gristmill.verify.bubblewrap import Bubblewrap

        return Bubblewrap()
    if name == "wasi":
        from gristmill.verify.wasi import Wasi

        return Wasi()
    if name == "matplotlib":
        from gristmill.verify.plotting import Plotting

        return Plotting()
    if name == "reasoning-gym":
        from gristmill.verify.tasks import link

        return link()
    raise BadInput(f"no link is called {name!r}; there are: {', '.join(CHAIN)}, matplotlib, reasoning-gym")


class Sandbox:
    """Runs programs, `workers` at once. Use it as `async with Sandbox() as sandbox`.

    Args:
        links: names of links, in the order in which they are asked; None: monty, bubblewrap, wasi.
        limits: those of each run that names none of its own.
        workers: programs at once. A check counts as one, though it is two processes.
    """

    def __init__(self, links: Sequence[str] | None = None, limits: Limits | None = None, workers: int = 2) -> None:
        self.limits, self.workers = limits or Limits(), workers
        self._wanted = [make(name, workers) for name in (CHAIN if links is None else links)]
        self._threads: ThreadPoolExecutor | None = None
        self._links: list[Link] = []
        self.left_out: dict[str, str] = {}
        """Links that do not work here, and why."""

    @property
    def links(self) -> list[str]:
        """The links in use, by name; known after `start`."""
        return [link.name for link in self._links]

    async def start(self) -> None:
        """Find out which links hold here. Raises BadInput if there is none."""
        if self._threads is not None:
            return
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="gristmill-sandbox")
        for link in self._wanted:
            try:
                await self._call(lambda job, link=link: tried(link, job))  # type: ignore[misc]
            except SandboxTrouble as error:
                self.left_out[link.name] = str(error)
            except BaseException:
                await self.close()
                raise
            else:
                self._links.append(link)
        if not self._links:
            await self.close()
            why = "".join(f"\n  {name}: {reason}" for name, reason in self.left_out.items())
            advice = (
                "Install one: pip install 'gristmill[sandbox]' (Monty, bubblewrap) or pip install 'gristmill[wasi]'. "
            )
            if not set(self.left_out) & set(CHAIN):  # links with packages, which the others cannot stand in for
                advice = ""
            raise BadInput(f"model-written code has to run, and no sandbox works on this machine. {advice}Tried:{why}")

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        for link in self._wanted:
            await asyncio.to_thread(link.close)
        self._links = []

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def run(self, program: Program, limits: Limits | None = None) -> Verdict:
        """Run a script to its end. Its verdict says what it did; a script can lie about itself, but not past a check."""
        return await self._chain(limits, lambda link, bounds, job: link.run(program, bounds, job))

    async def check(
        self, program: Program, tests: str, *, names: list[str] | None = None, limits: Limits | None = None
    ) -> Verdict:
        """Whether `tests`, a script of asserts that use what the program defines, pass.

        The tests run in an interpreter of their own, in which no line of the program runs. What they call of the
        program is called in the program's, and only plain values come back: numbers, strings, bytes, lists, tuples,
        dicts, sets, ranges. Other objects stay there and can be used, but never equal a plain value. Lists, dicts and
        sets that the program changes are changed for the tests too. Tests must import or define themselves what
        helps them judge; a built-in's name is never the program's.

        Args:
            names: what of the program the tests may see; None: all that it defines.
        """
        return await self._chain(limits, lambda link, bounds, job: link.check(program, tests, names, bounds, job))

    async def _chain(self, limits: Limits | None, ask: Callable[[Link, Limits, Job], Verdict]) -> Verdict:
        if self._threads is None:
            raise BadInput("this sandbox is not started: use `async with Sandbox() as sandbox`")
        bounds = limits or self.limits

        def down(job: Job) -> Verdict:
            for link in self._links[:-1]:
                quick = bounds if link.final else msgspec.structs.replace(bounds, seconds=min(1.0, bounds.seconds))
                verdict = ask(link, quick, job)
                if verdict.ok or (link.final and verdict.outcome != "unsupported") or job.cancelled:
                    return verdict
            return ask(self._links[-1], bounds, job)

        return await self._call(down)

    async def _call(self, work: Callable[[Job], T]) -> T:
        """`work` in a thread. If we are cancelled, it is ended first, and for sure."""
        assert self._threads is not None
        job = Job()
        begun = threading.Event()

        def guarded() -> T:
            begun.set()
            if job.cancelled:
                raise SandboxTrouble("cancelled")
            return work(job)

        future = asyncio.get_running_loop().run_in_executor(self._threads, guarded)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            job.cancel()
            if begun.is_set() or not future.cancel():
                while not future.done():
                    try:
                        await asyncio.wait([future])
                    except asyncio.CancelledError:
                        continue
                if not future.cancelled():
                    future.exception()
            raise


def tried(link: Link, job: Job) -> None:
    """Start a link and attack it. Raises SandboxTrouble unless it both works and holds."""
    link.start()
    limits = Limits(seconds=20.0, memory_mb=128)
    hello = link.run(Program("print(6 * 7)"), limits, job)
    if not hello.ok or hello.stdout != "42\n":
        raise SandboxTrouble(f"{link.name} does not work: {hello.outcome} {hello.message} {hello.stderr[-300:]}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = ATTACK.replace("PORT", str(listener.getsockname()[1])).replace("PID", str(os.getpid()))
        attack = link.run(Program(code.replace("MEMORY", str(1 << 30))), limits, job)
    if not link.final and not attack.ok:  # Monty stops at the first line that it lacks: so one attack at a time
        for line in ALONE:
            attack = link.run(Program(line), limits, job)
            if attack.ok:
                raise SandboxTrouble(f"{link.name} does not hold: {line}")
        return
    through = [word for word in ("READ", "WROTE", "CONNECTED", "MEMORY") if f"\n{word}" in attack.stdout]
    secrets = [key for key, value in os.environ.items() if len(value) > 7 and value in attack.stdout]
    secrets = [key for key in secrets if os.environ[key] not in ("/usr/bin", "C.UTF-8")]
    if through or secrets or not attack.ok or not attack.stdout.endswith("end\n"):
        raise SandboxTrouble(
            f"{link.name} does not hold: {through or secrets or attack.outcome} {attack.stderr[-300:]}"
        )
