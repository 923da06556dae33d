"""What holds for every recipe, tested over all of them."""

import ast
import inspect
import typing
from pathlib import Path

import pytest

from gristmill import api, recipes
from gristmill.contract import argument_docs

NAMES = list(recipes.survey())
ROOT = Path(recipes.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)
COORDINATES = ["title", "part", "paper", "year", "stages", "category", "functions", "modality", "domain", "summary"]

# Chance, clocks and tasks of a recipe's own would make a replay differ. (`random.Random` as a type is harmless.)
FORBIDDEN_CALLS = {
    *["asyncio.gather", "asyncio.create_task", "asyncio.ensure_future", "asyncio.TaskGroup", "asyncio.wait"],
    *["asyncio.sleep", "asyncio.to_thread", "asyncio.run", "asyncio.as_completed", "asyncio.wait_for"],
    *["random.random", "random.choice", "random.choices", "random.sample", "random.shuffle", "random.randint"],
    *["random.uniform", "random.seed", "random.Random", "random.randrange", "random.gauss"],
    *["time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.datetime.now", "date.today"],
    *["uuid.uuid4", "uuid.uuid1", "os.urandom", "secrets.token_hex", "hash", "id", "open", "eval", "exec", "print"],
}
OPTIONS = set(inspect.signature(api.arun).parameters) - {"settings"}


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_recipe_leaves_anything_to_chance_time_or_tasks_of_its_own(path):
    assert calls(ast.parse(path.read_text())) & FORBIDDEN_CALLS == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_recipe_knows_nothing_of_the_engine(path):
    ours = {name for name in imports(ast.parse(path.read_text())) if name.startswith("gristmill.")}
    allowed = (
        "gristmill.ops.",
        "gristmill.quality",
        "gristmill.models.templates",
        "gristmill.verify",
        "gristmill.pictures",
        "gristmill.errors",
        "gristmill.recipes.",
        "gristmill.models",
    )
    assert {name for name in ours if not name.startswith(allowed)} == set()


def test_the_lint_sees_what_it_forbids():
    assert calls(ast.parse("x = asyncio.gather(a()); y = random.choice(b)")) & FORBIDDEN_CALLS == {
        "asyncio.gather",
        "random.choice",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_found_by_its_name_and_has_its_coordinates(name):
    method = recipes.load(name)
    assert method.name == name
    for key in COORDINATES:
        assert key in method.survey, key
    assert method.survey["stages"]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_explained_and_none_hides_an_option_of_the_program(name):
    method = recipes.load(name)
    assert set(method.parameters) <= set(argument_docs(method.doc)), "Args: lacks some"
    assert not set(method.parameters) & OPTIONS
    assert all(parameter.doc for parameter in method.parameters.values())
    assert method.summary.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_every_reject_reason_of_the_source_stands_in_the_docstring(name):
    method = recipes.load(name)
    tree = ast.parse(Path(inspect.getfile(method.fn)).read_text())
    reasons = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            position = {"run.reject": 1, "Bad": 0}.get(function)
            if position is not None and len(node.args) > position and isinstance(node.args[position], ast.Constant):
                reasons.add(node.args[position].value)
    documented = " ".join(m.doc for m in vars(inspect.getmodule(method.fn)).values() if hasattr(m, "checks"))
    assert {reason for reason in reasons if f"`{reason}`" not in documented} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_without_arguments_of_its_own(name):
    method = recipes.load(name)
    assert method.settings({}) is not None
    if method.seed and method.seeds:
        from gristmill.seeds import read

        assert next(iter(read(recipes.DATA / method.seeds, method.seed))).id


def test_the_survey_names_no_recipe_that_is_not_there_and_no_recipe_is_missing_from_it():
    from gristmill.contract import Recipe

    found = set()
    for path in MODULES:
        if path.stem != "__init__":
            relative = path.relative_to(ROOT.parent.parent).with_suffix("")
            module = __import__(".".join(relative.parts), fromlist=["x"])
            found |= {
                v.name for v in vars(module).values() if isinstance(v, Recipe) and v.fn.__module__ == module.__name__
            }
    assert found == set(NAMES)


def test_a_name_that_is_no_recipe_is_refused_wherever_it_points(tmp_path, monkeypatch):
    from gristmill import BadInput

    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "empty.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    for name, message in [
        ("../evol-instruct", "there is no recipe"),
        ("evol_instruct", "did you mean evol-instruct"),
        ("./broken.py:x", "No module named 'nothing_of_this_name'"),
        ("./empty.py:x", "has no recipe 'x'"),
        ("./missing.py", "no such file"),
    ]:
        with pytest.raises(BadInput) as caught:
            recipes.load(name)
        assert message in str(caught.value)


def test_a_plugin_cannot_take_the_name_of_a_built_in_recipe_or_one_with_a_path_in_it(monkeypatch):
    from importlib.metadata import EntryPoint

    points = [EntryPoint(n, "x:y", "gristmill.recipes") for n in ("evol-instruct", "../x", "Bad Name", "mine")]
    monkeypatch.setattr(recipes, "entry_points", lambda group: points)
    assert set(recipes.plugins()) == {"mine"}
    with pytest.raises(Exception, match="the plugin recipe mine"):
        recipes.load("mine")


def test_type_names_can_be_read_by_people():
    for name in NAMES:
        for parameter in recipes.load(name).parameters.values():
            assert "typing." not in parameter.type_name
            assert "Literal[" not in parameter.type_name
            assert typing.get_origin(parameter.type) is None or "<" not in parameter.type_name


def test_recipes_are_found_by_what_the_survey_says_of_them():
    assert "magpie" in recipes.select({"stages": "data-preparation", "needs": "completion-model"})
    assert "magpie" not in recipes.select({"stages": "pre-training"})
    assert set(recipes.select({"functions": "logic"})) > set(recipes.select({"functions": "logic/code"}))
    assert "case2code" in recipes.select({"functions": "Code"})
    assert set(recipes.select({"needs": "prover"})) == {
        name for name, entry in recipes.survey().items() if "prover" in entry["needs"]
    }
    assert recipes.select({}) == NAMES
    assert recipes.select({"part": "quality", "modality": "image-text"}) == []


def test_a_coordinate_that_no_recipe_has_is_refused_with_the_nearest_one():
    from gristmill import BadInput

    with pytest.raises(BadInput, match="no recipe has 'maths' among its domain: did you mean math"):
        recipes.select({"domain": "maths"})
