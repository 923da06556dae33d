"""Attacks on the sandbox, each a program that prints THROUGH (or the canary) where it gets through.

As a script: `python tests/attacks.py LINK...` tries all of them and names those that got through. So the tests can run
the same suite as another user.
"""

# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from gristmill.verify import Limits, Program, Sandbox

PATHS = ["FILE", "/proc/self/root" + "FILE", "/../.." + "FILE", "/proc/1/root" + "FILE", "/proc/PID/root" + "FILE"]


def reads(path: str) -> str:
    return f"print(open({path!r}, 'rb').read(99999))"


CTYPES = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"

ATTACKS: dict[str, str] = {
    **{f"read {path}": reads(path) for path in PATHS},
    "read /etc/passwd": "x = open('/etc/passwd').read()\nprint('THROUGH' if 'root:' in x else '')",
    "read /etc/shadow": "print('THROUGH', open('/etc/shadow').read())",
    "list /root": "import os\nprint('THROUGH', os.listdir('/root'))",
    "list /home": "import os\nprint('THROUGH', os.listdir('/home'))",
    "list /etc": "import os\nprint('THROUGH', os.listdir('/etc'))",
    "walk to the canary": "import os\nfor d, _, fs in os.walk('/'):\n  if d.startswith(('/proc', '/sys', '/usr')): continue\n  for f in fs:\n    try: print(open(os.path.join(d, f)).read(99))\n    except Exception: pass",
    "own environment": "import os\nprint(dict(os.environ), os.getenv('GRISTMILL_CANARY'))",
    "environ of init": reads("/proc/1/environ"),
    "environ of self": reads("/proc/self/environ"),
    "environ of the host": reads("/proc/PID/environ"),
    "all environs": "import glob\nfor p in glob.glob('/proc/*/environ') + glob.glob('/proc/*/task/*/environ'):\n  try: print(open(p, 'rb').read())\n  except Exception as e: print(e)",
    "all command lines": "import glob\nfor p in glob.glob('/proc/*/cmdline'):\n  x = open(p, 'rb').read()\n  print('THROUGH' if b'attacks' in x or b'pytest' in x else '')",
    "memory of init": "f = open('/proc/1/maps').read()\nm = open('/proc/PID/mem', 'rb')\nprint('THROUGH')",
    "fds of others": "import glob, os\nfor p in glob.glob('/proc/[0-9]*/fd/*'):\n  t = os.readlink(p)\n  print('THROUGH ' + t if t.startswith('/') and not t.startswith(('/dev/null', '/proc', '/tmp')) else '')",
    "environment in C": CTYPES + "libc.getenv.restype = ctypes.c_char_p\nprint(libc.getenv(b'GRISTMILL_CANARY'))",
    "write /usr": "open('/usr/gristmill-was-here', 'w').write('x')\nprint('THROUGH')",
    "write the host's file": "open('FILE', 'w').write('broken')\nprint('THROUGH')",
    "write host /tmp": "open('DIR/was-here', 'w').write('x')\nprint('THROUGH')",
    "write the root": "open('/was-here', 'w').write('x')\nprint('THROUGH')",
    "write /dev/shm": "open('/dev/shm/was-here', 'w').write('x')\nprint('THROUGH')",
    "sysrq": "open('/proc/sysrq-trigger', 'w').write('h')\nprint('THROUGH')",
    "core pattern": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/x')\nprint('THROUGH')",
    "out of memory score": "open('/proc/PID/oom_score_adj', 'w').write('1000')\nprint('THROUGH')",
    "symlink out": "import os\nos.symlink('FILE', 'link')\nprint(open('link').read())",
    "symlink of a folder": "import os\nos.symlink('DIR', 'link')\nprint(open('link/canary').read())",
    "hard link": "import os\nos.link('FILE', 'link')\nprint('THROUGH', open('link').read())",
    "dot dot": "import os\nos.chdir('../../../../../..')\nprint(open('FILE'[1:]).read())",
    "kept symlink": "import os\nos.symlink('FILE', 'kept')",
    "TCP to loopback": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)\nprint('THROUGH')",
    "TCP over IPv6": "import socket\nsocket.create_connection(('::1', PORT6), 1)\nprint('THROUGH')",
    "UDP out": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('192.0.2.1', 53))\nprint('THROUGH', s.send(b'x'))",
    "DNS": "import socket\nprint('THROUGH', socket.getaddrinfo('pypi.org', 443))",
    "HTTP": "import urllib.request\nprint('THROUGH', urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=1))",
    "unix socket": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('UNIX')\nprint('THROUGH')",
    "abstract socket": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0ABSTRACT')\nprint('THROUGH')",
    "raw socket": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nprint('THROUGH')",
    "packet socket": "import socket\nsocket.socket(17, socket.SOCK_RAW, 3)\nprint('THROUGH')",
    "network devices": "import socket\nx = [n for _, n in socket.if_nameindex() if n != 'lo']\nprint('THROUGH' if x else '')",
    "fork bomb": "import os\nn = 0\nwhile n < 300:\n  if os.fork() == 0:\n    while True: pass\n  n += 1\nprint('THROUGH')",
    "fork bomb that doubles": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "thread bomb": "import threading, time\nfor n in range(300): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nprint('THROUGH')",
    "double fork": "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(9)\n    print('THROUGH')\n  os._exit(0)",
    "shell": "import os, subprocess\nprint(subprocess.run('cat FILE; env', shell=True, capture_output=True))\nos.system('cat FILE')",
    "exec": "import os\nos.execv('/bin/cat', ['cat', 'FILE'])",
    "huge argv": "import os\nos.execv('/bin/echo', ['echo'] + ['x' * 100000] * 100)\nprint('THROUGH')",
    "memory at once": "x = bytearray(4 << 30)\nprint('THROUGH')",
    "memory bit by bit": "x = []\nwhile len(x) < 4000: x.append('a' * (1 << 20) + str(len(x)))\nprint('THROUGH')",
    "memory in children": "import os\nfor n in range(20):\n  if os.fork() == 0:\n    x = bytearray(b'x') * (100 << 20)\n    import time; time.sleep(9); os._exit(0)\nimport time; time.sleep(1.8)\nprint('THROUGH')",
    "memory in memfds": "import os\nfor n in range(30):\n  f = os.memfd_create('x')\n  for m in range(99): os.write(f, b'x' * (1 << 20))\nprint('THROUGH')",
    "memory in System V segments": CTYPES + "x = libc.shmget(0, 400 << 20, 0o1600)\nprint('THROUGH' if x >= 0 else '')",
    "zip bomb": "import zlib\nd = zlib.compressobj()\nx = b''.join([d.compress(bytes(1 << 20)) for _ in range(3000)]) + d.flush()\nprint('THROUGH', len(zlib.decompress(x)))",
    "pickle bomb": "import pickle\nclass A:\n  def __reduce__(self): return (eval, ('open(\"FILE\").read()',))\nprint(pickle.loads(pickle.dumps(A())))",
    "billion laughs": "x = ['lol']\nfor _ in range(99): x = x * 10\nprint('THROUGH')",
    "huge number": "x = 10 ** 10 ** 10\nprint('THROUGH')",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return f()\nf()\nprint('THROUGH')",
    "null pointer": "import ctypes\nctypes.string_at(0)\nprint('THROUGH')",
    "output flood": "while True: print('x' * 1000)",
    "file flood": "n = 0\nfor n in range(99): open('f%d' % n, 'wb').write(bytes(1 << 20))\nprint('THROUGH')",
    "one huge file": "f = open('f', 'wb')\nf.seek(1 << 33)\nf.write(b'x')\nf.flush()\nprint('THROUGH')",
    "ptrace": CTYPES + "print('THROUGH' if libc.ptrace(16, PID, 0, 0) == 0 or libc.ptrace(0, 0, 0, 0) == 0 else '')",
    "read another's memory": CTYPES + "b = ctypes.create_string_buffer(8)\nprint('THROUGH' if libc.process_vm_readv(PID, b, 0, b, 0, 0) == 0 else '')",
    "mount": CTYPES + "print('THROUGH' if libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0 else '')",
    "unmount": CTYPES + "print('THROUGH' if libc.umount2(b'/proc', 2) == 0 or libc.umount2(b'/tmp', 2) == 0 else '')",
    "remount": CTYPES + "print('THROUGH' if libc.mount(None, b'/', None, 32 | 4096, None) == 0 else '')",
    "new user namespace": CTYPES + "print('THROUGH' if libc.unshare(0x10000000) == 0 else '')",
    "new user namespace by clone": CTYPES + "r = libc.syscall(56, 0x10000011, 0, 0, 0, 0)\nif r == 0: libc._exit(0)\nprint('THROUGH' if r > 0 else '')",
    "join the host's namespace": "import os, ctypes\nf = os.open('/proc/PID/ns/mnt', 0)\nprint('THROUGH' if ctypes.CDLL(None).setns(f, 0) == 0 else '')",
    "chroot": "import os\nos.chroot('/tmp')\nprint('THROUGH')",
    "setuid": "import os\nos.setuid(0)\nprint('THROUGH')",
    "setgroups": "import os\nos.setgroups([0])\nprint('THROUGH')",
    "setuid program": "import subprocess\nx = subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True, text=True, stdin=-3)\nprint('THROUGH' if 'uid=0' in x.stdout else '')",
    "make a device": "import os, stat\nos.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0))\nprint('THROUGH')",
    "read a disk": "import glob\nfor p in glob.glob('/dev/vd*') + glob.glob('/dev/sd*') + ['/dev/mem', '/dev/kmsg', '/dev/kvm']:\n  try: open(p, 'rb').read(1); print('THROUGH', p)\n  except OSError: pass",
    "terminal": "f = open('/dev/tty', 'w')\nf.write('THROUGH')\nprint('THROUGH')",
    "push into the terminal": "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x')\nprint('THROUGH')",
    "kill everyone": "import os, signal\nos.kill(-1, 9)",
    "kill the host": "import os, signal\nos.kill(PID, 9)\nprint('THROUGH')",
    "kill the parent": "import os\nfor s in (15, 2, 1, 9): os.kill(os.getppid(), s)",
    "kill the group": "import os\nos.killpg(0, 9)",
    "inherited descriptors": "import os\nfor n in range(3, 256):\n  try:\n    t = os.readlink('/proc/self/fd/%d' % n)\n    if not t.startswith(('pipe:', '/proc', 'anon')): print('THROUGH', t)\n    os.write(n, b'x')\n  except OSError: pass",
    "raise a limit": "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))\nprint('THROUGH')",
    "raise the memory limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nprint('THROUGH')",
    "busy loop": "while True: pass",
    "busy loop in C": "sum(range(10 ** 13))",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "sleep": "import time\ntime.sleep(3600)",
    "ignore signals": "import signal, time\nfor s in range(1, 32):\n  try: signal.signal(s, signal.SIG_IGN)\n  except (OSError, ValueError): pass\ntime.sleep(3600)",
    "atexit": "import atexit, time\natexit.register(time.sleep, 3600)",
    "finalizer": "class A:\n  def __del__(self):\n    while True: pass\na = A()\ndel a",
    "catch all": "import time\nwhile True:\n  try: time.sleep(9)\n  except BaseException: pass",
    "stop oneself": "import os\nos.kill(os.getpid(), 19)\nimport time\ntime.sleep(9)",
    "close everything": "import os\nos.closerange(0, 256)\nwhile True: pass",
    "frames of the driver": "import sys\nf = sys._getframe()\nwhile f:\n  print([k for k, v in f.f_locals.items() if 'GRISTMILL_CANARY' in str(v)], 'gristmill_c' + 'anary')\n  f = f.f_back",
    "modules of the host": "import gristmill\nprint('THROUGH')",
    "builtin objects": "for c in ().__class__.__base__.__subclasses__():\n  g = getattr(getattr(c, '__init__', None), '__globals__', {})\n  if 'os' in g: print(dict(g['os'].environ))",
    "WASI preopens": "import os\nfor n in range(3, 9):\n  try: print('THROUGH' if 'etc' in os.listdir(n) else '')\n  except OSError: pass",
}  # fmt: skip

LIMITS = Limits(seconds=2.5, memory_mb=256)


async def through(links: list[str]) -> list[str]:
    """Names of the attacks that got through, with what they showed."""
    canary = f"canary-{secrets.token_hex(8)}"
    os.environ["GRISTMILL_CANARY"] = canary
    got: list[str] = []
    visitors: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gristmill-attack-") as folder:
        os.chmod(folder, 0o777)
        file = Path(folder, "canary")
        file.write_text(canary)
        file.chmod(0o666)
        abstract = f"gristmill-{secrets.token_hex(4)}"
        listeners = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
        for name in (f"{folder}/socket", f"\0{abstract}"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(name)
            listener.listen()
            listeners.append(listener)
        os.chmod(f"{folder}/socket", 0o777)
        for listener in listeners:
            threading.Thread(target=_visited, args=(listener, visitors), daemon=True).start()
        fill = {"PORT6": str(listeners[1].getsockname()[1]), "PORT": str(listeners[0].getsockname()[1])}
        fill |= {"FILE": str(file), "DIR": folder, "PID": str(os.getpid()), "UNIX": f"{folder}/socket"}
        fill["ABSTRACT"] = abstract
        async with Sandbox(links, LIMITS) as sandbox:
            if sandbox.links != links:
                return [f"not there: {sandbox.left_out}"]

            async def attack(name: str, code: str) -> None:
                for word, value in fill.items():
                    code = code.replace(word, value)
                started = time.monotonic()
                verdict = await sandbox.run(Program(code, keep=["kept"] if name == "kept symlink" else []))
                shown = verdict.stdout + verdict.stderr + verdict.message + str(verdict.files)
                if "THROUGH" in verdict.stdout or canary in shown:
                    got.append(f"{name}: {verdict.outcome} {shown[:300]}")
                if verdict.seconds > LIMITS.seconds + 2 or time.monotonic() - started > 120:
                    got.append(f"{name}: took {verdict.seconds} s")
                if len(verdict.stdout.encode()) > 2 * LIMITS.output_kb * 1024:
                    got.append(f"{name}: {len(verdict.stdout)} characters of output")

            await asyncio.gather(*(attack(name, code) for name, code in ATTACKS.items()))
        if file.read_text() != canary:
            got.append("the host's file was changed")
        if here := [
            str(p) for p in (Path(folder, "was-here"), Path("/was-here"), Path("/dev/shm/was-here")) if p.exists()
        ]:
            got.append(f"the host's disk was written: {here}")
        if visitors:
            got.append(f"the host's listeners were visited: {visitors}")
        for listener in listeners:
            listener.close()
    return got


def _visited(listener: socket.socket, visitors: list[str]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        visitors.append(str(listener))
        connection.close()


if __name__ == "__main__":
    found = {link: asyncio.run(through([link])) for link in sys.argv[1:] or ["monty", "bubblewrap", "wasi"]}
    print(len(ATTACKS), "attacks;", found)
    sys.exit(any(found.values()))
