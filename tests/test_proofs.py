"""What proves a method is tested, line by line: `@pytest.mark.proof("orca", 2)` stands at a test of the second thing that
makes Orca what it is. A recipe that loses such a test fails here."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from gristmill import recipes

LINES = {
    "tinystories": 4, "genie": 4, "self-instruct": 4, "alpaca": 4, "code-alpaca": 3, "evol-instruct": 4,
    "code-evol-instruct": 3, "iqc": 4, "xwin-math-qgen": 4, "mathinstruct": 4, "case2code": 4, "oss-instruct": 4,
    "dialogic": 4, "ultrachat": 4, "magpie": 4, "genqa": 4, "tinydialogues": 4, "phi-1": 4, "phi-1-5": 3, "scilitllm": 4,
    "trait": 4, "persona-hub": 4, "lamini-lm": 4, "unnatural-instructions": 4, "baize-self-chat": 4, "longform": 4,
    "vicuna-sharegpt": 4, "glan": 4, "lab-instructlab": 4, "orca": 4, "orca-2": 4, "gair-abel": 4,
    "auto-evol-instruct": 4,
}  # fmt: skip
"""How many things prove each method of distillation, as its specification counts them."""
WAYS_OUT = ("skip", "skipif", "xfail")


def marked(source: str) -> dict[str, set[int]]:
    """Recipe and numbers of every test that is marked, asserts something and is always run."""
    found: dict[str, set[int]] = defaultdict(set)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        marks = [call for call in node.decorator_list if isinstance(call, ast.Call)]
        names = {ast.unparse(call.func if isinstance(call, ast.Call) else call) for call in node.decorator_list}
        if names & {f"pytest.mark.{way}" for way in WAYS_OUT} or not asserts(node):
            continue
        for call in marks:
            if ast.unparse(call.func) == "pytest.mark.proof":
                name, number = map(ast.literal_eval, call.args)
                found[name].add(number)
    return found


def asserts(test: ast.AST) -> bool:
    """Is there an assertion that can fail, or an error that is expected?"""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises":
            return True
    return False


def all_marked() -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for path in Path(__file__).parent.glob("test_*.py"):
        for name, numbers in marked(path.read_text(encoding="utf-8")).items():
            found[name] |= numbers
    return found


@pytest.mark.parametrize("name", [name for name in LINES if name in recipes.survey()])
def test_every_line_that_proves_a_method_has_its_test(name):
    assert all_marked()[name] == set(range(1, LINES[name] + 1))


def test_no_mark_names_a_method_that_is_not_known():
    assert set(all_marked()) <= set(LINES)


def test_a_test_that_is_gone_skipped_or_asserts_nothing_does_not_count():
    kept = '@pytest.mark.proof("x", {})\n{}\ndef test_{}():\n    {}\n'
    source = (
        kept.format(1, "", "a", "assert f() == 1")
        + kept.format(2, "", "b", "pass")
        + kept.format(3, "@pytest.mark.skip", "c", "assert f()")
        + kept.format(4, '@pytest.mark.xfail(reason="no")', "d", "assert f()")
        + kept.format(5, "", "e", "assert True")
        + kept.format(6, '@pytest.mark.proof("y", 1)', "f", "with pytest.raises(E):\n        f()")
    )
    assert marked(source) == {"x": {1, 6}, "y": {1}}
