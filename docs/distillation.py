"""Write docs/distillation.md: every recipe of distillation, run for real on the embedded model.

    python docs/distillation.py [NAME ...]     # all, or those named; the others' runs are kept

Each is run from the command line with what it ships with, cut short by the options below. The results lie in
`docs/distillation.json`, so that the page can be written anew without running anything.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gristmill import recipes
from gristmill.execute import looking

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "distillation.json", HERE / "distillation.md"
PATIENCE = 90
"""Seconds for a run; then it is stopped, and what it made stands."""
PATIENT = {"orca-2": 420, "scilitllm": 300, "tinystories": 300, "tinydialogues": 300, "xwin-math-qgen": 300,
           "oss-instruct": 300, "gair-abel": 300, "trait": 300, "glan": 300}  # fmt: skip
"""Seconds, for those that try much before they make their first row, or whose rows are long."""
LONG = {"tinystories", "tinydialogues", "xwin-math-qgen", "oss-instruct", "gair-abel", "trait", "glan"}
"""Their replies are cut at twice as many tokens: in fewer they hardly ever end."""
USUAL = ["--target", "2", "--max-candidates", "10"]
OPTIONS: dict[str, list[str]] = {
    "auto-evol-instruct": ["--steps", "1", "--candidates-per-step", "2", "--mini-batch", "2", "--dev-size", "2"],
    "code-evol-instruct": ["--rounds", "1"],
    "orca-2": ["--sample-per-cluster", "1"],
    "phi-1": ["--judge-sample", "3"],
    "lab-instructlab": ["--questions-per-seed", "3"],
    "dialogic": ["--frequency-penalty", "0", "--max-repeat", "6"],
    "genqa": ["--kinds", "static-conditional"],
    "orca": ["--cot", "2", "--niv2", "2", "--flan2021", "2", "--t0", "2", "--second-teacher-queries", "2"],
    "scilitllm": ["--label-subset", "4"],
}
"""Besides the usual ones: what takes hundreds of calls as it ships."""
SHORT = 200
"""Tokens of a reply at most, where the recipe has a parameter for it."""
SHOWN = ("prompt", "completion", "instruction", "input", "output", "question", "answer", "text", "messages", "persona")


def run(name: str) -> dict[str, Any]:
    """One run, as a user would type it."""
    options = options_of(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        command = [sys.executable, "-m", "gristmill.cli", "run", name, *options, "--out", str(folder), "--json"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said, trouble = process.communicate(timeout=PATIENT.get(name, PATIENCE))
        except subprocess.TimeoutExpired:
            process.terminate()  # as Ctrl-C: it drains, and keeps what it has
            said, trouble = process.communicate(timeout=120)
        seconds = time.perf_counter() - began
        try:
            told = json.loads(said)
        except json.JSONDecodeError:  # it gave up, and said why
            told = given_up(folder, trouble)
        shutil.rmtree(folder / "artefacts", ignore_errors=True)
        row = first_row(folder)
    return {
        "command": f"gristmill run {name} {' '.join(options)}".strip(),
        "rows": {table: count for step in told["steps"].values() for table, count in step["rows"].items()},
        "rejects": told["rejects"],
        "failures": told["failures"],
        "calls": told["calls"],
        "seconds": round(seconds),
        "stopped": told["stopped"],
        "row": row,
        "error": told.get("error", ""),
    }


def given_up(folder: Path, trouble: str) -> dict[str, Any]:
    """What a run that ended with an error came to."""
    if not (folder / "run.db").exists():
        raise SystemExit(trouble.strip()[-500:])
    with looking(folder) as journal:
        [(calls,)] = journal.select("SELECT count(*) FROM calls")
        reasons = Counter(reason for (reason,) in journal.select("SELECT reason FROM rejects"))
        [(failures,)] = journal.select("SELECT count(*) FROM failures")
    said = re.sub(r"\s+", " ", trouble.strip().rpartition("gristmill: ")[2])
    return {"steps": {}, "rejects": dict(reasons), "failures": failures, "calls": calls, "stopped": "", "error": said}


def options_of(name: str) -> list[str]:
    method = recipes.load(name)
    found = [] if method.fixed else list(USUAL)
    for parameter, about in method.parameters.items():
        if (
            "tokens" in parameter
            and isinstance(about.default, int)
            and about.default > SHORT
            and "context" not in parameter
        ):
            found += [f"--{parameter.replace('_', '-')}", str(min(about.default, 2 * SHORT if name in LONG else SHORT))]
    return [*found, *OPTIONS.get(name, [])]


def first_row(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "gristmill.cli", "rows", str(folder), "--json", "--limit", "1"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return dict(json.loads(shown.splitlines()[0])) if shown.strip() else {}


def page(results: dict[str, dict[str, Any]], machine: str) -> str:
    names = [name for name, entry in recipes.survey().items() if entry["part"] == "distillation"]
    lines = [
        "# Distillation: every recipe, run",
        "",
        "Made by `python docs/distillation.py`: each recipe as it ships, from the command line, on the embedded model of 135",
        "million parameters, cut short. Such a model writes poor rows, and often none that pass: what is shown is that the",
        "machinery works, and why what did not pass did not. What a recipe does is said by `gristmill show NAME`.",
        "",
        f"Runs of {machine}. Stopped: at ten candidates, or when it had not ended in {PATIENCE} seconds ("
        + ", ".join(f"{name}: {seconds}" for name, seconds in PATIENT.items())
        + ").",
        "",
        "| recipe | paper | rows | yield | rejects by reason | calls | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        if (result := results.get(name)) is None:
            continue
        made, lost = sum(result["rows"].values()), sum(result["rejects"].values()) + result["failures"]
        share = f"{100 * made / (made + lost):.0f} %" if made + lost else "-"
        why = ", ".join(f"{reason} {count}" for reason, count in result["rejects"].items()) or "none"
        why += f", failures {result['failures']}" if result["failures"] else ""
        paper = recipes.survey()[name]["paper"]
        stop = " (stopped)" if result["stopped"] else ""
        lines.append(
            f"| [`{name}`](#{name}) | {paper} | {made} | {share} | {why} | {result['calls']} | {result['seconds']}{stop} |"
        )
    for name in names:
        if (result := results.get(name)) is not None:
            lines += ["", f"## {name}", "", f"`{result['command']}`", "", *row_of(result["row"])]
            lines += ["", result["error"]] if result.get("error") else []
    return "\n".join(lines) + "\n"


def row_of(row: dict[str, Any]) -> list[str]:
    if not row:
        return ["No row passed."]
    fields = [key for key in SHOWN if row.get(key)] or [key for key in row if key not in ("id", "lineage")]
    return ["```text", *(f"{key}: {short(row[key])}" for key in fields[:4]), "```"]


def short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"\s+", " ", text).replace("```", "'''").strip()
    return text if len(text) <= 400 else f"{text[:400]} ..."


def main() -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": {}}
    names = sys.argv[1:] or [name for name, entry in recipes.survey().items() if entry["part"] == "distillation"]
    kept["machine"] = (
        f"gristmill {version('gristmill')} on CPython {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores"
    )
    for name in names:
        kept["runs"][name] = run(name)
        print(f"{name}: {kept['runs'][name]['rows']} in {kept['runs'][name]['seconds']} s", flush=True)
        RESULTS.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept["runs"], kept["machine"]), encoding="utf-8")


if __name__ == "__main__":
    main()
