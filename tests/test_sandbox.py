"""The sandbox, with its real links and real attacks: what it promises about limits, verdicts, checks and escapes."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

import attacks
from gristmill.errors import BadInput
from gristmill.verify import Limits, Program, Sandbox, Verdict

CPYTHON = ["bubblewrap", "wasi"]
LINKS = ["monty", *CPYTHON]
SHORT = Limits(seconds=2.0, memory_mb=256, output_kb=64, files_kb=256)


@contextlib.asynccontextmanager
async def only(link: str, limits: Limits = SHORT):
    async with Sandbox([link], limits) as sandbox:
        yield sandbox


def children() -> set[int]:
    path = Path(f"/proc/{os.getpid()}/task")
    if not path.exists():
        return set()
    found = set()
    for thread in path.iterdir():
        with contextlib.suppress(OSError):
            found |= set(map(int, (thread / "children").read_text().split()))
    return found


# What every link must agree about: program, outcome, standard output.
AGREED = [
    ("", "ok", ""),
    ("print('hello')", "ok", "hello\n"),
    ("print('é ∑ 😀', '\\x1b[31m')", "ok", "é ∑ 😀 \x1b[31m\n"),
    ("print(sum(n * n for n in range(100)))", "ok", "328350\n"),
    ("print(sorted({'b': 1, 'a': 2}.items()))", "ok", "[('a', 2), ('b', 1)]\n"),
    ("print(7 // -2, 7 % -2, -7 ** 2, 0.1 + 0.2)", "ok", "-4 -1 -49 0.30000000000000004\n"),
    ("import math\nprint(math.gcd(12, 18), math.sqrt(2))", "ok", "6 1.4142135623730951\n"),
    ("print(f'{3.14159:.2f} {5:03d}', 2 ** 100)", "ok", "3.14 005 1267650600228229401496703205376\n"),
    ("print('a-b'.split('-'), 'x' * 3, [1, 2, 3][::-1])", "ok", "['a', 'b'] xxx [3, 2, 1]\n"),
    ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f(20))", "ok", "2432902008176640000\n"),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e)", "ok", "division by zero\n"),
    ("print('first')\nraise ValueError('no')", "error", "first\n"),
    ("print({}['a'])", "error", ""),
    ("x = [1]\nprint(x[3])", "error", ""),
    ("assert 1 == 2", "error", ""),
    ("print('a'\n", "error", ""),
    ("def f(n):\n    return f(n + 1)\nf(0)", "error", ""),
    ("while True:\n    pass", "timeout", ""),
    ("sum(range(10 ** 13))", "timeout", ""),
    ("import time\ntime.sleep(99)", "timeout", ""),
    ("x = 'a' * (1 << 30)", "memory", ""),
    ("x = []\nwhile True:\n    x.append('a' * 100000 + str(len(x)))", "memory", ""),
    ("# " + "x" * (1 << 20) + "\nprint(1)", "ok", "1\n"),
]


@pytest.mark.parametrize("link", LINKS)
async def test_links_agree_on_what_a_program_does(link):
    async with only(link) as sandbox:
        verdicts = await asyncio.gather(*(sandbox.run(Program(code)) for code, _, _ in AGREED))
    for (code, outcome, stdout), verdict in zip(AGREED, verdicts, strict=True):
        assert (verdict.outcome, verdict.stdout, verdict.link) == (outcome, stdout, link), (code[:60], verdict)
        assert verdict.seconds < SHORT.seconds + 1.5
        if outcome == "error":
            assert verdict.error, code
    assert not [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("gristmill-wasi-")]


@pytest.mark.parametrize("link", CPYTHON)
async def test_outcomes_are_told_apart(link):
    cases = {
        "import sys\nsys.exit(3)": ("exit", 3),
        "import os\nos._exit(5)": ("exit", 5),
        "import os\nos._exit(0)": ("exit", 0),  # it ended, but not at its end
        "import sys\nsys.exit(0)": ("ok", 0),
        "while True: print('x' * 999)": ("output", 0),
        "import sys\nwhile True: sys.stderr.write('x' * 999)": ("output", 0),
        "import os\nos.write(1, b'\\xff\\xfe\\0')": ("ok", 0),
        "for n in range(9): open(str(n), 'wb').write(bytes(100000))\n": ("error", 1),
    }
    async with only(link) as sandbox:
        for code, expected in cases.items():
            verdict = await sandbox.run(Program(code))
            assert (verdict.outcome, verdict.code) == expected, (code, verdict.outcome, verdict.stderr[-500:])
            assert len(verdict.stdout) <= 64 * 1024
        failed = await sandbox.run(Program("\n\nraise KeyError('a')"))
        assert (failed.error, failed.message, failed.line) == ("KeyError", "'a'", 3)
        spoken = Program("print(input()[::-1])", stdin="äbc\n")
        assert (await sandbox.run(spoken)).stdout == "cbä\n"
        files = Program("open('b', 'wb').write(open('a', 'rb').read() * 2)", files={"a": b"\xff\0"}, keep=["b", "c"])
        assert (await sandbox.run(files)).files == {"b": b"\xff\0\xff\0"}


async def test_a_program_and_its_verdict_survive_a_journal():
    program = Program("print(1)", files={"a": b"text"}, keep=["b"])
    verdict = Verdict("error", stdout="\x1b", files={"b": b"\xff"}, error="ValueError")
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    assert msgspec.json.decode(msgspec.json.encode(program), type=Program) == program


TESTS = """
def check(candidate):
    assert candidate([3, 1, 2]) == [1, 2, 3]
    assert abs(candidate([0.5])[0] - 0.5) < 1e-6
    assert 3 in candidate([3])
check(solve)
"""
RIGHT = "def solve(x):\n    return sorted(x)\n"


@pytest.mark.parametrize("link", LINKS)
async def test_a_check_tells_right_from_wrong_and_wrong_from_broken(link):
    async with only(link) as sandbox:
        assert (await sandbox.check(Program(RIGHT), TESTS)).outcome == "ok"
        assert (await sandbox.check(Program("def solve(x):\n    return x\n"), TESTS)).outcome == "wrong"
        broken = await sandbox.check(Program("def solve(x):\n    return x[99]\n"), TESTS)
        assert (broken.outcome, broken.error, broken.where) == ("error", "IndexError", "program")
        failing = await sandbox.check(Program("def solve(x):\n    assert False\n"), TESTS)
        assert (failing.outcome, failing.error, failing.where) == ("error", "AssertionError", "program")
        slow = await sandbox.check(Program("def solve(x):\n    while True: pass\n"), TESTS)
        assert slow.outcome == "timeout"
        sloppy = await sandbox.check(Program(RIGHT), "assert solve([1]) == undefined_name")
        assert (sloppy.outcome, sloppy.where) == ("error", "tests")
        in_place = "x = [2, 1]\nsort(x)\nassert x == [1, 2]"
        assert (await sandbox.check(Program("def sort(x):\n    x.sort()\n"), in_place)).ok


@pytest.mark.parametrize("link", CPYTHON)
async def test_classes_callbacks_and_generators_can_be_tested(link):
    code = """
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x); return self
    def __len__(self): return len(self.items)
    def __eq__(self, other): return self.items == other.items
def count(n):
    for i in range(n): yield i
def twice(f, x): return f(f(x))
def fail(): raise ValueError('bad')
"""
    tests = """
a, b = Stack(), Stack()
a.push(1).push(2)
assert len(a) == 2 and a.items == [1, 2] and a != b
assert Stack().push(1) == Stack().push(1)
assert list(count(3)) == [0, 1, 2]
assert twice(lambda x: x + 1, 1) == 3
try:
    fail()
    assert False
except ValueError as e:
    assert str(e) == 'bad'
"""
    async with only(link) as sandbox:
        verdict = await sandbox.check(Program(code), tests)
        assert verdict.ok, verdict


YES = "class Yes:\n" + "".join(
    f"    def {name}(self, *a): return {value}\n"
    for name, value in [
        *((f"__{n}__", "True") for n in ("eq", "lt", "gt", "le", "ge", "contains", "bool")),
        *((f"__{n}__", "0") for n in ("sub", "rsub", "abs", "add", "hash")),
        ("__getitem__", "Yes()"),
        ("__iter__", "iter([Yes()])"),
    ]
)
FAKES = {
    "exit": "import sys\nsys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "exit in the call": "import sys\ndef solve(x): sys.exit(0)",
    "exit at once in the call": "import os\ndef solve(x): os._exit(0)",
    "raise SystemExit": "def solve(x): raise SystemExit",
    "yes to everything": YES + "def solve(x): return Yes()",
    "a list of yes": YES + "def solve(x): return [Yes() for _ in x]",
    "a list that lies": "class L(list):\n def __eq__(s, o): return True\n def __contains__(s, o): return True\ndef solve(x): return L([9] * len(x))",
    "a number that lies": "class F(float):\n def __sub__(s, o): return 0\n def __eq__(s, o): return True\ndef solve(x): return [F(9)] * len(x)",
    "own builtins": "def abs(x): return 0\ndef sorted(x): return x\ndef check(c): pass\ndef solve(x): return [9] * len(x)",
    "patched builtins": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.AssertionError = ValueError\ndef solve(x): return [9] * len(x)",
    "own AssertionError": "class AssertionError(Exception): pass\ndef solve(x): return [9]",
    "print success": "import os\ndef solve(x):\n print('ok passed 0 OK')\n os.write(2, b'\\nok\\n')\n os._exit(0)",
    "closed streams": "import os\nos.closerange(0, 99)\ndef solve(x): return []",
    "a thread that exits": "import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(.05), os._exit(0))).start()\ndef solve(x): time.sleep(1)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef solve(x): return [9]",
    "speak for the driver": "import os, sys\ndef solve(x):\n f = sys._getframe()\n while f:\n  n = f.f_locals.get('nonce')\n  if n: os.write(2, b'\\n' + n + b' 6f6b 00 00 30 30 7465737473\\n'); os._exit(0)\n  f = f.f_back\n return [9]",
    "answer in the driver's place": "import os\nos.write(1, b'00000005u3:ntt' * 99)\ndef solve(x): return [9]",
    "a message of a gigabyte": "import os\nos.write(1, b'3fffffff' + b'x' * 99)\ndef solve(x): return [9]",
    "deep nesting on the wire": "import os\nd = b'l1:' * 200000\nos.write(1, b'%08x' % len(d) + d)\ndef solve(x): return [9]",
    "patched driver": "import sys\nf = sys._getframe()\nwhile f:\n if 'Wire' in f.f_globals:\n  f.f_globals['encode'] = lambda v, e, o: o.append(b't')\n f = f.f_back\ndef solve(x): return [9]",
    "module in place of a name": "import sys, operator\nsys.modules['operator'].solve = lambda x: x\nsolve = operator",
    "everything at once": YES + "solve = Yes()",
    "the tests' own source": "def solve(x):\n import gc\n for o in gc.get_objects():\n  if isinstance(o, str) and 'candidate([3, 1, 2]) ==' in o: return [1, 2, 3]\n return [9]",
    "collect and guess": "def solve(x, *a, **k):\n global seen\n seen = x\n return []",
    "exhaust the memory": "x = []\ndef solve(y):\n while True: x.append('a' * 9999999 + str(len(x)))",
    "endless recursion": "def solve(x): return solve(x)",
    "cyclic value": "def solve(x):\n y = []\n y.append(y)\n return y",
    "kill all": "import os\ndef solve(x): os.kill(-1, 9)",
}


@pytest.mark.parametrize("link", LINKS)
async def test_no_program_fakes_a_pass(link):
    async with only(link) as sandbox:
        assert (await sandbox.check(Program(RIGHT), TESTS)).ok
        verdicts = await asyncio.gather(*(sandbox.check(Program(code), TESTS) for code in FAKES.values()))
    assert {name: v for name, v in zip(FAKES, verdicts, strict=True) if v.ok} == {}


async def test_what_monty_lacks_goes_on_to_the_next_link_and_its_no_is_never_the_last_word():
    async with Sandbox(["monty", "bubblewrap"], SHORT) as sandbox:
        assert (await sandbox.run(Program("print(1)"))).link == "monty"
        for code in [
            "def f():\n    yield 1\nprint(*f())",
            "import string\nprint(1)",
            "class A(Exception): pass\nprint(1)",
        ]:
            verdict = await sandbox.run(Program(code))
            assert (verdict.outcome, verdict.stdout, verdict.link) == ("ok", "1\n", "bubblewrap")
        faked = await sandbox.run(Program("raise NotImplementedError('not supported')"))
        assert (faked.outcome, faked.error, faked.link) == ("error", "NotImplementedError", "bubblewrap")


@pytest.mark.parametrize("link", LINKS)
async def test_no_attack_gets_through(link):
    assert len(attacks.ATTACKS) >= 100
    assert await attacks.through([link]) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("link", LINKS)
def test_no_attack_gets_through_as_an_ordinary_user(link):
    as_nobody = [shutil.which("setpriv") or "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(prefix="gristmill-nobody-") as home:
        os.chmod(home, 0o777)
        environment = {
            "HOME": home,
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        works = (
            "import subprocess, sys, msgspec, gristmill.verify\nsubprocess.run([sys.executable, '-c', ''], check=True)"
        )
        for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
            with contextlib.suppress(OSError):
                tried = subprocess.run([*as_nobody, python, "-c", works], env=environment, cwd="/", capture_output=True)
                if tried.returncode == 0:
                    break
        else:
            pytest.skip("no Python here that an ordinary user can start, with these packages")
        script = str(Path(attacks.__file__))
        done = subprocess.run(
            [*as_nobody, python, script, link], env=environment, cwd="/", capture_output=True, text=True, timeout=250
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("link", LINKS)
async def test_a_cancelled_run_is_killed_and_the_loop_never_waits(link):
    before = children()
    async with only(link, Limits(seconds=60.0)) as sandbox:
        task = asyncio.create_task(sandbox.run(Program("while True: pass")))
        longest, last = 0.0, time.monotonic()
        until = last + 1.0
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        task.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 3.0
        assert longest < 0.5
        assert (await sandbox.run(Program("print(1)"))).stdout == "1\n"
    assert children() <= before


@pytest.mark.parametrize("link", ["monty", "bubblewrap"])
@pytest.mark.parametrize(
    ("tests", "where", "line"),
    [
        ("assert f(1) == 1\n\nassert g(2) == 3\n", "tests", 3),
        ("x = 1\ny = x +\n", "tests", 2),
        ("x = 1\nz = {}[3]\n", "tests", 2),
        ("assert f(1) == 1\nassert f(9) == 9\n", "program", 4),
    ],
)
async def test_a_verdict_of_a_check_says_whose_line_it_was(link, tests, where, line):
    program = Program(
        "def f(x):\n\n    if x > 5:\n        raise ValueError('big')\n    return x\ndef g(x):\n    return x\n"
    )
    async with Sandbox([link]) as sandbox:
        verdict = await sandbox.check(program, tests)
    assert (verdict.where, verdict.line) == (where, line)


async def test_without_a_link_nothing_runs_and_the_message_says_what_to_install(monkeypatch):
    from gristmill.verify import bubblewrap

    monkeypatch.setattr(bubblewrap, "_bwraps", list)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[sandbox\]'"):
        await Sandbox(["bubblewrap"]).start()
    with pytest.raises(BadInput, match="not started"):
        await Sandbox(["bubblewrap"]).run(Program("print(1)"))


async def test_a_link_that_does_not_hold_is_not_used(monkeypatch):
    from gristmill.verify import bubblewrap

    plain = bubblewrap.Bubblewrap.command

    def leaky(self, limits):
        command = plain(self, limits)
        at = command.argv.index("--proc")
        command.argv[at:at] = ["--ro-bind", "/etc", "/etc"]
        return command

    monkeypatch.setattr(bubblewrap.Bubblewrap, "command", leaky)
    with pytest.raises(BadInput, match="does not hold"):
        await Sandbox(["bubblewrap"]).start()
