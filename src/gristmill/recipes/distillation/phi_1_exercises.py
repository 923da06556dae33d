"""phi-1's exercises (Gunasekar et al. 2023, section 2.3): functions to complete from their docstring, each with a name that is
given."""

import ast
import keyword
import re
from collections.abc import AsyncIterator
from functools import cache
from itertools import product
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Completion, Reply, Run, recipe
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.code import code_block, parsed
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.phi_1_textbooks import shipped

EXERCISE = Prompt(
    """Write an exercise on programming in Python: a function with a docstring, and below it the body that solves it.

The function's name is {function_name}.

The docstring says in plain words what the function gets and what it returns, precisely enough to write the body without having seen it; an example of a call may help. The body takes some thought, and needs nothing but the standard library.

Reply with the one function, complete, in a single block (```python), with what it imports above it."""
)

NEWLINE = re.compile(r"\r\n|\r|\n")  # those that ast counts; str.splitlines has more


class Exercise(Completion, kw_only=True):
    """Signature and docstring, and the body that completes them."""

    function_name: str


def code(row: Exercise) -> str:
    """The exercise without layout and comments; as it stands where it is nested too deeply to be written anew."""
    text = row.prompt + row.completion
    try:
        return ast.unparse(ast.parse(text))
    except RecursionError:
        return text


@recipe("phi-1-exercises", unique=code)
async def phi_1_exercises(
    generator: Chat,
    run: Run,
    *,
    function_names: Annotated[list[str], Meta(min_length=1)] | None = None,
    temperature: float = 1.0,
    max_tokens_exercise: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[Exercise]:
    """Write functions to be completed from their docstring, with their solution; the name of each is given.

    A name in the prompt, of which each has its turn before one comes again, makes the exercises differ. A row's prompt
    ends with the docstring, its completion is the body. (Gunasekar et al. 2023, "Textbooks Are All You Need",
    arXiv:2306.11644, section 2.3: CodeExercises, 180 million tokens by GPT-3.5. The prompt is not published.) Behind
    it: `phi-1-decontaminate`. That a solution is right is not looked at, as in the paper.

    Args:
        function_names: to use; 400 of a verb and a noun unless given. Their number is not confirmed.
        temperature: of the exercises. Not confirmed.
        max_tokens_exercise: an exercise that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `empty`, `truncated`, `unparsed` (no Python), `not_one_function` (details: functions; or with other code
        before it), `other_name` (details: name), `no_docstring`, `no_body` (none, a stub, or on the docstring's line),
        `duplicate` (but for layout and comments).
    """
    name = run.turn("function_name", list(dict.fromkeys(function_names or names())))

    async def ask() -> Reply:
        question = EXERCISE(function_name=name)
        return await generator.chat(question, temperature=temperature, max_tokens=max_tokens_exercise)

    def read(reply: Reply) -> tuple[str, str]:
        text = complete_reply(reply)
        return split_function(code_block(text) or text, name)

    if halves := await attempt(run, ask, read):
        yield Exercise(prompt=halves[0], completion=halves[1], function_name=name)


@phi_1_exercises.check
def names_are_names(function_names: list[str] | None) -> None:
    for name in function_names or []:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise BadInput(f"phi-1-exercises: function_names: {name!r} cannot be the name of a Python function")


@cache
def names() -> list[str]:
    return [f"{verb}_{noun}" for verb, noun in product(shipped()["verbs"], shipped()["nouns"])]


def split_function(text: str, name: str) -> tuple[str, str]:
    """Code of one function as what is given (imports, signature, docstring) and what completes it; raises Bad.

    What stands behind the function, such as calls that show it at work, is left out.
    """
    tree = parsed(text)
    if tree is None:
        raise Bad("unparsed")
    found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if len(found) != 1:
        raise Bad("not_one_function", functions=len(found))
    function = found[0]
    above = tree.body[: tree.body.index(function)]
    if not all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in above):
        raise Bad("not_one_function", functions=1)
    if function.name != name:
        raise Bad("other_name", name=function.name)
    if not (ast.get_docstring(function) or "").strip():
        raise Bad("no_docstring")
    docstring, *body = function.body
    last = docstring.end_lineno or 0
    if all(is_stub(node) for node in body) or body[0].lineno <= last:
        raise Bad("no_body")
    lines = NEWLINE.split(text)
    return "\n".join(lines[:last]) + "\n", "\n".join(lines[last : function.end_lineno]) + "\n"


def is_stub(node: ast.stmt) -> bool:
    """`pass`, `...` and `raise NotImplementedError`."""
    if isinstance(node, ast.Raise):
        return node.exc is not None and "NotImplementedError" in ast.unparse(node.exc)
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
