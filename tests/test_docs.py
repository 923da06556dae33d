"""The documents say what is so: code in them runs, lists in them are those of the registry."""

import ast
import re
import sys
from pathlib import Path

import pytest

from gristmill.testing import Scripted, run

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import recipes as recipes_page  # noqa: E402


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_lists_the_recipes_of_the_registry():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert recipes_page.with_listing(text) == text, "run: python docs/recipes.py"
    assert text.count("| [`") == len(recipes_page.recipes.survey())


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/progress.md"])
def test_links_lead_to_files_that_are_there(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert ((ROOT / file).parent / target).exists(), target


def test_the_python_of_the_readme_names_what_exists():
    import gristmill
    from gristmill import recipes

    [code] = blocks("README.md", "python")
    [call] = [
        n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "gristmill.run"
    ]
    method = recipes.load(call.args[0].value)
    options = gristmill.api.arun.__code__.co_varnames
    for keyword in call.keywords:
        assert keyword.arg in method.parameters or keyword.arg in options, keyword.arg
    for attribute in re.findall(r"row\.(\w+)", code):
        assert attribute in method.tables[0].__struct_fields__, attribute


async def test_the_recipe_and_the_test_of_the_contributing_guide_run(tmp_path, monkeypatch):
    recipe, test = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "role_swap.py").write_text(recipe)
    from gristmill import recipes

    role_swap = recipes.load(str(tmp_path / "role_swap.py"))
    done = await run(role_swap, [{"text": "word " * 30}], generator=Scripted(["What is it?"]))
    assert [row.instruction for row in done.rows] == ["What is it?"]
    names = {"role_swap": role_swap}
    exec(test, names)
    await names["test_a_short_text_is_rejected_before_anything_is_asked"]()


def test_the_rooms_of_the_architecture_page_are_the_rooms_of_the_package():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(\w+(?:/|\.py))", text.split("src/gristmill/\n")[1].split("```")[0]))
    there = {p.name + "/" * p.is_dir() for p in (ROOT / "src/gristmill").iterdir()}
    there -= {"__pycache__/", "__init__.py", "py.typed"}
    assert there <= named
    assert {name for name in named - there if name not in ("data/",)} == set()
