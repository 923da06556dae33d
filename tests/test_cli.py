"""The command line as a person meets it: what it prints, what it refuses, how it exits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.testing.server import counts, spawn

RECIPES = Path(__file__).parent / "recipes_for_tests.py"


@pytest.fixture(scope="module")
def url():
    with spawn() as url:
        yield url


def gristmill(*arguments: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gristmill.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **env},
    )


@pytest.fixture
def seeds(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps({"question": f"Question {n}"}) + "\n" for n in range(1, 6)))
    return path


@pytest.fixture
def run(url, seeds, tmp_path):
    """`gristmill run` of a small recipe in a folder of its own."""

    def start(*arguments: object, model: str = f"openai:test@{url}", name: str = "two_calls", **env: str):
        given = ["--seeds", seeds] if name != "drawn" and "--seeds" not in arguments else []
        bound = ["--model", model] if model else []
        return gristmill("run", f"{RECIPES}:{name}", *given, *bound, *arguments, cwd=tmp_path, **env)

    return start


def test_a_run_says_what_was_made_what_it_cost_and_where_to_look(run, tmp_path):
    done = run()
    assert done.returncode == 0, done.stderr
    assert "5 rows of completion in runs/two-calls-1/data/completion.parquet" in done.stdout
    assert "$0.0000 for 10 answers" in done.stdout
    assert "gristmill rows runs/two-calls-1" in done.stdout
    assert run().returncode == 0
    assert (tmp_path / "runs" / "two-calls-2" / "run.db").exists()


def test_json_is_all_that_stands_on_standard_output(run):
    facts = json.loads(run("--json").stdout)
    assert facts["rows"] == {"completion": 5}
    assert (facts["calls"], facts["exit_code"], facts["stopped"]) == (10, 0, None)


def test_parameters_are_options_and_reach_the_prompt(run, tmp_path):
    assert run("--suffix", " please", "--out", "r").returncode == 0
    shown = run("--suffix= please", "--preview", "1")
    assert "Question 1 please" in shown.stdout
    assert "nothing was kept" in shown.stdout
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["r"]


def test_a_preview_shows_prompts_replies_rows_and_rejects(run):
    shown = run("--preview", "5")
    assert shown.stdout.count("Improve:") == 5
    assert shown.stdout.count("row: completion") == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suffx", "x"], "has no option --suffx: did you mean suffix"),
        (["--seeds", "missing.jsonl"], "missing.jsonl: no such file"),
        (["--target", "0"], "target=0: expected a number of 1 or more"),
        (["--target", "many"], "Invalid value for '--target'"),
        (["--suffix"], "--suffix needs a value"),
        (["stray"], "unexpected argument 'stray'"),
        (["--max-cost", "-1"], "a sum of money"),
        (["--prompt", "answer=missing.txt"], "No such file"),
        (["--prompt", "answer"], "expected NAME=VALUE"),
        (["--map", "a=b"], "has no field 'b'"),
        (["--model", "judge=openai:x@http://127.0.0.1:1/v1"], "has no role 'judge': known: model"),
    ],
)
def test_a_mistake_is_named_in_one_message_and_nothing_is_left_behind(run, tmp_path, url, arguments, message):
    before = counts(url)["requests"]
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["seeds.jsonl"]
    assert counts(url)["requests"] == before


def test_a_seeds_file_without_the_column_is_refused_before_any_call(run, tmp_path, url):
    (tmp_path / "other.jsonl").write_text('{"question": "a"}\n{"prompt": "b"}\n')
    before = counts(url)["requests"]
    done = run("--seeds", "other.jsonl")
    assert done.returncode == 1
    assert "other.jsonl line 2: no column 'question'" in done.stderr
    assert "--map COLUMN=question" in done.stderr
    assert counts(url)["requests"] == before


def test_a_model_that_cannot_do_what_its_role_needs_is_refused(run):
    done = gristmill("run", "magpie", "--model", "openai:gpt-4o-mini", OPENAI_API_KEY="sk-none")
    assert done.returncode == 1
    assert "needs Complete" in done.stderr
    assert "embedded:" in done.stderr


def test_a_folder_that_holds_another_run_is_never_touched(run, tmp_path):
    assert run("--out", "r").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    done = run("--out", "r", "--suffix", "x")
    assert done.returncode == 1
    assert "holds a run already" in done.stderr
    assert before == {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}


def test_an_unknown_recipe_command_or_folder_is_named():
    for arguments, message in [
        (["run", "evol-instrct"], "did you mean evol-instruct"),
        (["rum"], "No such command 'rum'"),
        (["resume", "nowhere"], "nowhere holds no run"),
        (["rows", "nowhere"], "nowhere holds no run"),
        (["show", "./missing.py:x"], "no such file"),
    ]:
        done = gristmill(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_limit_exits_with_2_and_resume_goes_on(run, tmp_path):
    done = run("--max-tokens", "400", "--out", "r", "--concurrency", "1")
    assert done.returncode == 2
    assert "--max-tokens 400" in done.stdout
    assert "gristmill resume r" in done.stdout
    again = gristmill("resume", "r", "--max-tokens", "1000000", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == {"completion": 5}


def test_rerun_pays_for_what_changed_only(run, tmp_path):
    assert run("--out", "r").returncode == 0
    same = json.loads(gristmill("rerun", "r", "--out", "s", "--offline", "--json", cwd=tmp_path).stdout)
    assert (same["calls"], same["replayed"], same["rows"]) == (0, 10, {"completion": 5})
    changed = gristmill("rerun", "r", "--out", "t", "--set", "suffix=!", "--json", cwd=tmp_path)
    assert json.loads(changed.stdout)["calls"] == 10
    wrong = gristmill("rerun", "r", "--out", "u", "--set", "sufix=!", cwd=tmp_path)
    assert (wrong.returncode, "did you mean suffix?" in wrong.stderr) == (1, True)


def test_rows_rejects_and_failures_can_be_looked_at(run, tmp_path):
    (tmp_path / "seven.jsonl").write_text('{"question": "Question 7"}\n{"question": "Question 8"}\n')
    assert run("--seeds", "seven.jsonl", "--out", "r").returncode == 0
    rejects = gristmill("rows", "r", "--rejects", "--json", cwd=tmp_path)
    assert json.loads(rejects.stdout)["reason"] == "seventh"
    rows = gristmill("rows", "r", cwd=tmp_path).stdout
    assert "1 of 1: completion" in rows
    assert "Question 8" in rows
    assert "has no failures" in gristmill("rows", "r", "--failures", cwd=tmp_path).stdout


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv", "trl-sft", "alpaca", "sharegpt", "openai"])
def test_every_format_that_fits_is_written_whole(run, tmp_path, format):
    assert run("--out", "r").returncode == 0
    done = gristmill("export", "r", "--format", format, "--to", "out.file", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 rows in out.file" in done.stdout
    if format == "parquet":
        import pyarrow.parquet as pq

        assert pq.read_table(tmp_path / "out.file").num_rows == 5
    else:
        lines = (tmp_path / "out.file").read_text().splitlines()
        assert len(lines) == 5 + (format == "csv")


def test_a_format_that_does_not_fit_says_what_it_needs(run, tmp_path):
    assert run("--out", "r").returncode == 0
    done = gristmill("export", "r", "--format", "trl-dpo", "--to", "out.jsonl", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "out.jsonl").exists()) == (1, False)
    assert "trl-dpo needs prompt, chosen and rejected" in done.stderr
    done = gristmill("export", "r", "--format", "trl-sfd", "--to", "out.jsonl", cwd=tmp_path)
    assert "did you mean trl-sft" in done.stderr


def test_the_configuration_file_stands_in_for_options_and_the_command_line_wins(run, tmp_path, url):
    (tmp_path / "gristmill.toml").write_text(
        f'model = "mine"\nmax-tokens = 400\n[models]\nmine = "openai:test@{url}"\n'
        f'[recipes."{RECIPES}:two_calls"]\nsuffix = " from file"\n'
    )
    assert run("--concurrency", "1", model="").returncode == 2
    shown = run("--preview", "1", "--max-tokens", "100000", model="")
    assert "Question 1 from file" in shown.stdout
    (tmp_path / "gristmill.toml").write_text("modle = 1")
    done = run()
    assert (done.returncode, "did you mean model" in done.stderr) == (1, True)


def test_models_are_asked_once_and_one_that_is_down_is_named(url):
    good = gristmill("models", "--model", f"openai:test@{url}", "--json")
    assert good.returncode == 0, good.stderr
    [entry] = json.loads(good.stdout)
    assert entry["error"] is None
    assert "Chat" in entry["can"]
    assert entry["bound"] == ["every role without a model of its own"]
    bad = gristmill("models", "--model", "openai:test@http://127.0.0.1:9/v1")
    assert bad.returncode == 1
    assert "cannot connect" in bad.stdout


def test_list_as_json_has_what_programs_need():
    found = json.loads(gristmill("list", "--json").stdout)
    keys = [
        "id",
        "paper",
        "stages",
        "category",
        "subcategory",
        "functions",
        "modality",
        "domain",
        "roles",
        "shape",
        "parameters",
    ]
    assert len(found) >= 9
    for entry in found:
        assert set(keys) <= entry.keys()


def test_list_and_show_speak_to_a_person():
    listed = gristmill("list", COLUMNS="200").stdout
    assert "evol-instruct" in listed
    assert "tinystories" in listed
    shown = gristmill("show", "evol-instruct", COLUMNS="200").stdout
    assert "2304.12244" in shown
    assert "--rounds" in shown
    assert "gristmill run evol-instruct" in shown
    assert shown.endswith("gristmill run evol-instruct\n")
    # What must be given is in the line that is to be copied.
    assert gristmill("show", "trait-stages", COLUMNS="200").stdout.endswith("--seeds FILE --selected FILE\n")


def test_list_shows_only_what_is_asked_for_and_refuses_what_nothing_has():
    listed = gristmill("list", "--need", "prover", COLUMNS="200").stdout
    assert "deepseek-prover" in listed
    assert "evol-instruct" not in listed
    assert " recipes" in listed.splitlines()[-1]
    names = [entry["id"] for entry in json.loads(gristmill("list", "--stage", "pre-training", "--json").stdout)]
    assert "tinystories" in names
    assert "magpie" not in names
    refused = gristmill("list", "--category", "co-annotations")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "did you mean co-annotation" in refused.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from gristmill.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'pyarrow','numpy','aiohttp','xllamacpp','rapidfuzz','asyncio'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "Exit codes" in done.stdout
