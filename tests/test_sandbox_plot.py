"""Programs that draw: matplotlib inside the sandbox, and nothing else of the machine."""

import importlib.util
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Job, Question
from gristmill.models.spec import parse, tool_for
from gristmill.pictures import suffix_of
from gristmill.verify import Limits, Program, Sandbox, SandboxTrouble, bubblewrap
from gristmill.verify.bubblewrap import Bubblewrap, importable
from gristmill.verify.plotting import LIMITS

DRAW = """
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.bar(["ä", "b"], [1, 2])
fig.savefig("figure.png")
"""


async def test_a_figure_comes_back_as_a_picture_and_the_same_code_makes_the_same_one():
    async with Sandbox(["matplotlib"], limits=LIMITS) as sandbox:
        one, other = [await sandbox.run(Program(DRAW, keep=["figure.png"])) for _ in range(2)]
    assert (one.outcome, one.link, one.stderr) == ("ok", "matplotlib", "")
    assert suffix_of(one.files["figure.png"]) == ".png"
    assert one.files == other.files


async def test_host_network_and_other_packages_stay_closed():
    closed = {
        "import pytest": "ModuleNotFoundError",
        "import gristmill": "ModuleNotFoundError",
        "open('/etc/passwd')": "FileNotFoundError",
        "open('/opt/packages/matplotlib/__init__.py', 'a')": "OSError",
        "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)": "OSError",
    }
    async with Sandbox(["matplotlib"], limits=LIMITS) as sandbox:
        for code, error in closed.items():
            found = await sandbox.run(Program(code))
            assert found.outcome == "error", code
            assert issubclass(getattr(__builtins__, found.error, None) or __builtins__[found.error], eval(error)), code
        seen = await sandbox.run(Program("import os\nprint(sorted(os.environ))"))
    assert seen.stdout == str(sorted(["HOME", "LC_ALL", "MPLBACKEND", "MPLCONFIGDIR", "OPENBLAS_NUM_THREADS", "PATH", "PWD"])) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("code", "limits", "outcome"),
    [
        ("while True: pass", Limits(seconds=2.0, memory_mb=1536), "timeout"),
        ("while True: print('x' * 9999)", LIMITS, "output"),
        ("import numpy\nx = numpy.ones((4000, 4000, 40))", LIMITS, "memory"),
        ("import matplotlib.pyplot as plt\nplt.plot([1], [1, 2])", LIMITS, "error"),
    ],
)
async def test_a_drawing_that_never_ends_floods_or_fails_is_a_verdict(code, limits, outcome):
    async with Sandbox(["matplotlib"], limits=limits) as sandbox:
        assert (await sandbox.run(Program(code, keep=["figure.png"]))).outcome == outcome


def test_a_role_that_plots_is_played_by_it_and_one_that_executes_by_the_chain():
    assert tool_for(frozenset({"Execute", "Plot"})) == "sandbox:matplotlib"
    assert tool_for(frozenset({"Execute"})) == "sandbox:python"
    assert tool_for(frozenset({"Chat", "Execute"})) == tool_for(frozenset()) == ""


async def test_the_backend_draws_and_its_identity_holds_the_version():
    backend = parse("sandbox:matplotlib").open()
    assert backend.can == {"Execute", "Plot"}
    assert backend.identity()["version"] == metadata.version("matplotlib")
    assert "version" not in parse("sandbox:python").open().identity()
    await backend.start()
    answer = await backend.answer(Question("execute", job=Job(Program(DRAW, keep=["figure.png"]))), 1)
    assert list(answer.samples[0].files) == ["figure.png"]
    await backend.close()


async def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    plain = metadata.distribution

    def without(name):
        if name == "matplotlib":
            raise metadata.PackageNotFoundError(name)
        return plain(name)

    monkeypatch.setattr(metadata, "distribution", without)
    monkeypatch.setattr(bubblewrap, "_bwraps", list)  # the extra brings that too, so it is not what is asked for
    with pytest.raises(BadInput, match=r"matplotlib is not installed: pip install 'gristmill\[charts\]'") as raised:
        await parse("sandbox:matplotlib").open().start()
    assert "wasi" not in str(raised.value)  # which cannot draw


def test_what_a_package_needs_on_other_pythons_alone_may_be_missing(monkeypatch):
    """matplotlib 3.9 names importlib-resources for Python before 3.10."""
    plain = metadata.distribution

    def distribution(name):
        found = plain(name)
        if name == "matplotlib":
            return SimpleNamespace(
                requires=[*(found.requires or []), *more], files=found.files, locate_file=found.locate_file
            )
        return found

    monkeypatch.setattr(metadata, "distribution", distribution)
    more = ['no-such-package>=3.2; python_version < "3.10"']
    assert {"matplotlib", "numpy", "PIL"} <= {path.name for path in importable(["matplotlib"])}
    more = ["no-such-package>=3.2"]
    with pytest.raises(SandboxTrouble, match="no-such-package is not installed"):
        importable(["matplotlib"])


def test_an_interpreter_of_the_packages_version_is_taken_before_others(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    ours = "/usr/bin/python3"
    monkeypatch.setattr(Bubblewrap, "_runs", lambda self, argv: argv[-1] != bubblewrap.OURS or argv[0] == ours)
    for packages, first in (((), "/nowhere"), (("numpy",), ours)):
        monkeypatch.setattr(bubblewrap.subprocess, "run", lambda argv, **_: SimpleNamespace(returncode=0, stdout=b""))
        link = Bubblewrap(packages)
        link.start()
        link.close()
        assert link.tail[1].startswith(first)


async def test_an_interpreter_of_another_version_is_refused_because_the_packages_are_not_for_it(monkeypatch):
    monkeypatch.setattr(bubblewrap, "OURS", "import sys; sys.exit(1)")
    with pytest.raises(BadInput, match="need an interpreter of that version"):
        await parse("sandbox:matplotlib").open().start()


def test_matplotlib_is_there_for_these_tests():
    assert importlib.util.find_spec("matplotlib")
