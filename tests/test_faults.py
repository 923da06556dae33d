"""Runs in processes of their own, against a server that fails, and killed without warning."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gristmill.testing.server import counts, spawn

HERE = Path(__file__).parent
RECIPES = HERE / "recipes_for_tests.py"


def gristmill(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, **options)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gristmill.cli", *map(str, arguments)]


def started(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def seeds(folder: Path, count: int) -> Path:
    path = folder / "seeds.jsonl"
    path.write_text("".join(json.dumps({"question": f"Question {n}"}) + "\n" for n in range(count)))
    return path


def rows(folder: Path, *which: str) -> list[dict]:
    found = gristmill("rows", folder, "--json", "--limit", "0", *which)
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.parametrize("name", ["two_calls", "growing", "drawn"])
def test_a_run_that_was_killed_again_and_again_resumes_to_the_rows_of_an_undisturbed_one(name, tmp_path):
    given = ["--seeds", seeds(tmp_path, 120)] if name != "drawn" else []
    given += ["--target", 80] if name != "two_calls" else []
    chance = random.Random(name)
    with spawn("--latency", "0.01", "--jitter", "0.02") as url:
        run = ["run", f"{RECIPES}:{name}", *given, "--model", f"openai:test@{url}", "--concurrency", 8]
        assert gristmill(*run, "--out", tmp_path / "calm", "--json").returncode == 0
        calm = counts(url, reset=True)

        process = started(*run, "--out", tmp_path / "killed", "--json")
        kills = 0
        while True:
            # Killed only once it works: before, there is nothing to lose, and nothing to resume.
            while process.poll() is None and not counts(url)["requests"]:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.05, 0.3))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            process = started("resume", tmp_path / "killed", "--json")
            if kills == 6:
                break
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        stormy = counts(url)
    assert kills >= 2
    assert rows(tmp_path / "killed") == rows(tmp_path / "calm")
    assert rows(tmp_path / "killed", "--rejects") == rows(tmp_path / "calm", "--rejects")
    # Asked again: only what was in flight when it was killed, at most the 8 calls that may be.
    assert stormy["successes"] - calm["successes"] <= 8 * kills
    [table] = (tmp_path / "killed" / "data").glob("*.parquet")
    assert table.read_bytes() == (tmp_path / "calm" / "data" / table.name).read_bytes()


def test_rate_limits_and_server_errors_cost_no_row(tmp_path):
    with spawn("--rate-limited", "0.1", "--server-error", "0.05", "--cut", "0.02", "--malformed", "0.02") as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 300), "--model", f"openai:test@{url}"]
        done = gristmill(*run, "--out", tmp_path / "run", "--json")
        seen = counts(url)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (sum(facts["rows"].values()), facts["rejects"], facts["failures"]) == (257, {"seventh": 43}, 0)
    assert seen["requests"] > 650
    assert seen["repeated"] == 0


def test_rows_that_are_refused_for_ever_are_failures_with_the_servers_words_and_no_others(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps({"question": f"{'cursed' * (n % 50 == 3)} {n}"}) + "\n" for n in range(200)))
    with spawn("--refuse", "cursed") as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", path, "--model", f"openai:test@{url}"]
        done = gristmill(*run, "--out", tmp_path / "run", "--json")
    assert done.returncode == 3
    failures = rows(tmp_path / "run", "--failures")
    assert [failure["seed"]["question"] for failure in failures] == [f"cursed {n}" for n in (3, 53, 103, 153)]
    assert all("refuse" in failure["error"] for failure in failures)
    facts = json.loads(done.stdout)
    assert sum(facts["rows"].values()) + facts["rejects"]["seventh"] == 196


def test_the_first_interrupt_drains_and_says_how_to_resume(tmp_path):
    with spawn("--latency", "0.3") as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 200), "--model", f"openai:test@{url}"]
        process = started(*run, "--out", tmp_path / "run", "--concurrency", 4)
        while counts(url)["requests"] < 6:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        seen = counts(url)
        assert "gristmill resume" in out
        assert seen["successes"] == seen["requests"]  # what was in flight was let arrive
        resumed = gristmill("resume", tmp_path / "run", "--json", "--concurrency", 64)
        assert resumed.returncode == 0, resumed.stderr
        after = counts(url)
    assert (after["repeated"], after["successes"]) == (0, 400)


def test_a_second_interrupt_stops_at_once_and_loses_nothing_that_had_arrived(tmp_path):
    with spawn("--latency", "0.2", "--fault", f"{HERE / 'hang.py'}:hang_on_improve") as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 8), "--model", f"openai:test@{url}"]
        process = started(*run, "--out", tmp_path / "run")
        while counts(url)["successes"] < 8:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None  # it waits for the calls in flight, which never come
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    with spawn() as url:
        resumed = gristmill("resume", tmp_path / "run", "--json", "--model", f"openai:test@{url}")
        assert resumed.returncode == 0, resumed.stderr
        assert counts(url)["successes"] == 8  # the second halves only


def test_a_full_disk_stops_the_run_with_a_message_and_the_run_resumes(tmp_path):
    resource = pytest.importorskip("resource")

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with spawn() as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 600), "--model", f"openai:test@{url}"]
        full = gristmill(*run, "--out", tmp_path / "run", preexec_fn=small)
        assert full.returncode == 1
        assert "make room" in full.stderr
        assert "Traceback" not in full.stderr
        kept = counts(url)["successes"]
        assert kept > 20
        resumed = gristmill("resume", tmp_path / "run", "--json")
        assert resumed.returncode == 0, resumed.stderr
        assert sum(json.loads(resumed.stdout)["rows"].values()) == 514


def test_a_dead_endpoint_is_named_and_no_row_is_spent_on_it(tmp_path):
    done = gristmill(
        *["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 5), "--model", "openai:test@http://127.0.0.1:9/v1"],
        *["--out", tmp_path / "run"],
    )
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(tmp_path / "run", "--failures") == []


def test_a_refused_key_is_named_by_its_variable_and_never_shown(tmp_path):
    secret = "sk-not-the-right-key-123456"
    with spawn("--api-key", "the-right-one") as url:
        given = ["--seeds", seeds(tmp_path, 5), "--model", f"openai:test@{url},key=TEST_KEY", "--out", tmp_path / "run"]
        done = gristmill("run", f"{RECIPES}:two_calls", *given, env={**os.environ, "TEST_KEY": secret})
    assert done.returncode == 1
    assert "TEST_KEY" in done.stderr
    assert secret not in done.stderr + done.stdout
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes()


def test_two_processes_cannot_work_on_one_run(tmp_path):
    with spawn("--latency", "0.5") as url:
        run = ["run", f"{RECIPES}:two_calls", "--seeds", seeds(tmp_path, 50), "--model", f"openai:test@{url}"]
        process = started(*run, "--out", tmp_path / "run", "--concurrency", 2)
        while not counts(url)["requests"]:
            time.sleep(0.02)
        second = gristmill("resume", tmp_path / "run")
        assert second.returncode == 1
        assert "another process is working" in second.stderr
        assert rows(tmp_path / "run") is not None  # looking is allowed meanwhile
        process.kill()
        process.communicate()
