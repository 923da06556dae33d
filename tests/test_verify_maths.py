"""Comparing answers: what is read and equal, what is different, and what nobody can tell, in time and in a replay."""

import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gristmill import BadInput, Completion, Row, Run, recipe
from gristmill.errors import GristmillError
from gristmill.ops import maths as ops
from gristmill.ops.maths import at_once, same
from gristmill.testing import replay, run
from gristmill.verify import maths, workers
from gristmill.verify.maths import compare

TOWER = "9^{9^{9^9}}"


@pytest.fixture(autouse=True, scope="module")
def no_worker_is_left():
    yield
    maths.close()


def asked(pool, given, gold, seconds):
    return pool.ask({"given": given, "gold": gold, "seconds": seconds}, seconds)


class Pair(Row):
    given: str
    gold: str


@recipe("compare")
async def comparing(row: Pair, run: Run, *, seconds: float = 5.0) -> AsyncIterator[Completion]:
    """The verdict on a pair."""
    yield Completion(prompt=row.given, completion=await same(run, row.given, row.gold, seconds=seconds))


async def verdicts(pairs, **options):
    done = await run(comparing, [{"given": a, "gold": b} for a, b in pairs], **options)
    return [row.completion for row in done.rows]


# -- by algebra


@pytest.mark.parametrize(
    ("given", "gold"),
    [
        ("x**2 + 2*x + 1", "(x+1)^2"),
        ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
        ("sqrt(2*(x + sqrt(3)))", r"\sqrt{2x+2\sqrt3}"),
        ("0.7071067811865476", r"\frac{\sqrt2}{2}"),
        ("pi/2", r"$\frac{\pi}{2}$"),
        ("2*x**(1/2)", r"2\sqrt{x}"),
        ("log(8)", r"3\ln 2"),
        ("1e-7*x", r"x \times 10^{-7}"),
        ("{1, 2}", r"\{2,1\}"),
        ("(1, 2)", "(1,2)"),
        ("x = 5", "5"),
        ("5", "x = 5"),
        ("5 > x", "x < 5"),
        (r"\infty", "oo"),
        (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    ],
)
def test_what_is_equal_in_other_words_is_found_equal(given, gold):
    assert compare(given, gold) == "equal"


@pytest.mark.parametrize(
    ("given", "gold"),
    [
        ("x + 1", "x + 2"),
        ("(1, 2)", "(2, 1)"),
        ("[1, 2]", "(1, 2)"),
        ("y = 5", "x = 5"),
        (r"\sqrt2", r"\sqrt3"),
        ("10^{-20}", r"2 \cdot 10^{-20}"),  # the library alone rounds both of these to 0
        ("0.0000001", "0.0000002"),
        ("10^{400}", r"2 \cdot 10^{400}"),
    ],
)
def test_what_is_not_equal_is_different(given, gold):
    assert compare(given, gold) == "different"


@pytest.mark.parametrize(
    ("given", "gold"),
    [
        ("yes", "sye"),  # to the library the product of the same letters
        ("7:15", "14:30"),  # to the library the same fraction
        ("2**3**2", "64"),  # Python has 512, the library reads from the left
        ("x +", "x"),
        ("", "x"),
        ("1/0", "2/0"),
        ("x" * 2_000_000, "x"),
        (r"\frac" * 200, "1"),
        ("\ud800\0", "1"),
    ],
)
def test_what_cannot_be_read_is_undecided_and_nothing_else(given, gold):
    assert compare(given, gold) == "undecided"
    assert compare(gold, given) == "undecided"


# -- hostile input


@pytest.mark.parametrize("given", ["10^{10^{9}}!", "2^{1000000000}"])
def test_a_number_that_nobody_can_write_down_is_undecided(given):
    assert compare(given, "5", 0.5) == "undecided"


def test_a_worker_that_hangs_is_killed_and_the_next_comparison_has_another(monkeypatch):
    pool = maths.workers(1)
    try:
        assert asked(pool, "x+1", "1+x", 60.0) == "equal"
        [first] = pool._free
        assert asked(pool, "(" * 200 + ")" * 200, "5", 0.25) is None
        assert first.process.poll() == -signal.SIGKILL
        assert (pool._free, pool._busy) == ([], [])
        assert asked(pool, "x+1", "1+x", 60.0) == "equal"
        assert pool._free != [first]
    finally:
        pool.close()


def test_a_worker_is_used_again_and_one_that_died_in_its_sleep_is_not_taken_for_a_verdict():
    pool = maths.workers(1)
    try:
        asked(pool, "x", "x", 60.0)
        [first] = pool._free
        asked(pool, "x", "x", 60.0)
        assert pool._free == [first]
        first.process.kill()
        first.process.wait()
        assert asked(pool, "x+1", "1+x", 60.0) == "equal"
    finally:
        pool.close()
    assert pool._free == []


def test_threads_share_the_workers_and_each_gets_its_own_verdict():
    pool = maths.workers(2)
    pairs = [(f"x+{n}", f"{n + n % 2}+x") for n in range(8)]
    try:
        with ThreadPoolExecutor(8) as threads:
            said = list(threads.map(lambda pair: asked(pool, *pair, 60.0), pairs))
        assert said == ["different" if n % 2 else "equal" for n in range(8)]
        assert len(pool._free) <= 2
    finally:
        pool.close()


def test_closing_ends_a_comparison_under_way():
    pool = maths.workers(1)
    said = []
    thread = threading.Thread(target=lambda: said.append(asked(pool, TOWER, "5", 600.0)))
    thread.start()
    while not pool._busy:
        time.sleep(0.01)
    pool.close()
    thread.join()
    assert said == [None]


def test_what_outlives_its_parent_ends_by_its_own_alarm():
    worker = workers.Worker(maths.WORKER, "math-verify", maths.require)
    try:
        worker.process.stdin.write(b'{"given": "9^{9^{9^9}}", "gold": "5", "seconds": -0.5}\n')
        worker.process.stdin.flush()
        assert worker.process.wait() == -signal.SIGALRM
    finally:
        worker.close()


def test_no_process_is_started_before_a_comparison_needs_one(monkeypatch):
    monkeypatch.setattr(workers, "Worker", lambda *made_of: pytest.fail("started"))
    maths.workers(1).close()
    assert compare("yes", "no") == "undecided"
    assert at_once("1/2", "0.5") == "equal"


# -- without the library


def test_a_missing_library_is_said_with_what_to_install(monkeypatch):
    maths.require()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[maths\]'"):
        ops.require()


def test_a_worker_without_the_library_says_so_too(monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("print('missing')")
    with pytest.raises(BadInput, match="cannot be imported"):
        workers.Worker(script, "math-verify", maths.require)
    script.write_text("")
    with pytest.raises(GristmillError, match="did not start"):
        workers.Worker(script, "math-verify", maths.require)


# -- without algebra


@pytest.mark.parametrize(
    ("given", "gold", "verdict"),
    [
        ("1,200", "1200.0", "equal"),
        ("0.75", r"\frac{3}{4}", "equal"),
        ("$5.00", "5", "equal"),
        ("25%", "25", "equal"),
        ("0.25", "25%", "equal"),
        ("25%", "1/4", "equal"),
        ("0.3", "25%", "different"),
        ("1e-3", "0.001", "equal"),
        ("6.02E+23", "602000000000000000000000", "equal"),
        ("258", "260", "different"),
        ("(B)", "b", "equal"),
        ("B) 15 apples", "B", "equal"),
        ("C.", "B", "different"),
        ("Monday", "monday", "equal"),
        ("", "", "undecided"),
        ("5", "", "undecided"),
        ("x" * 2_000_000, "x" * 2_000_000, "equal"),
        ("9" * 2_000_000, "9", "undecided"),
        ("x + 1", "1 + x", None),
        ("Banana", "B", None),
    ],
)
def test_numbers_and_letters_are_told_apart_without_the_library(given, gold, verdict):
    assert at_once(given, gold) == verdict


@pytest.mark.parametrize(
    ("given", "gold", "tolerance", "verdict"),
    [
        ("33.333333333333336", "33.33", 1e-3, "equal"),
        ("33.333333333333336", "33.33", 0.0, "different"),
        ("0.30000000000000004", "3/10", 1e-9, "equal"),
        ("1001", "1000", 1e-2, "different"),  # whole numbers are counted
        ("1001.0", "1000", 1e-2, "different"),
        ("-2.5", "2.5", 1e-3, "different"),
    ],
)
def test_a_tolerance_is_a_share_of_the_gold_number_and_none_for_whole_numbers(given, gold, tolerance, verdict):
    assert at_once(given, gold, tolerance) == verdict


# -- in a recipe


async def test_a_verdict_is_in_the_journal_and_a_replay_compares_nothing(monkeypatch):
    pairs = [{"given": "x + 1", "gold": r"\boxed{1 + x}"}, {"given": TOWER, "gold": "5"}, {"given": "2", "gold": "2.0"}]
    done = await run(comparing, pairs, seconds=2.0)
    assert [row.completion for row in done.rows] == ["equal", "undecided", "equal"]
    monkeypatch.setattr(ops, "compare", lambda *_: pytest.fail("compared again"))
    assert (await replay(done)).rows == done.rows


async def test_another_time_limit_is_another_comparison():
    calls = []
    done = await run(comparing, [{"given": TOWER, "gold": "5"}], seconds=0.25)
    assert [row.completion for row in done.rows] == ["undecided"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "compare", lambda *args: calls.append(args) or "different")
        again = await replay(done, offline=False, settings={"seconds": 0.75})
    assert [row.completion for row in again.rows] == ["different"]
    assert calls == [(TOWER, "5", 0.75)]
