"""Case2Code (Shao et al. 2024): from real functions, what they return; from what they return, the function."""

import ast
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta, Struct

from gristmill import Chat, Completion, Document, Execute, Program, Reply, Run, Verdict, recipe
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.code import code_block, parsed
from gristmill.ops.functions import Function, functions, same_but_for_names
from gristmill.ops.prompts import Prompt
from gristmill.verify.values import Limits

INPUTS = Prompt(
    """You are given a Python function. Say in a sentence or two of which type each of its arguments is and which values it accepts. Then write {inputs_per_function} example inputs that differ as much as they can: ordinary ones, and some at the edges. Write them in a Python code block as a list named `examples` of calls of `dict` by argument names. Use literal values only. Write no results.

Function:
```python
def scale(values, factor=1.0, digits=2):
    scaled = []
    for value in values:
        scaled.append(round(value * factor, digits))
    return scaled
```

Answer:
`values` is a list of numbers, which may be empty; `factor` is a number; `digits` is a whole number, which may be negative.
```python
examples = [
    dict(values=[1, 2, 3], factor=2.0, digits=1),
    dict(values=[], factor=3.5),
    dict(values=[0.125, -7.5, 1000], factor=-0.5, digits=3),
    dict(values=[12345.678], factor=1, digits=-2),
    dict(values=[0, 0.0, -0.0]),
]
```

Function:
```python
{code}
```

Answer:
"""
)

INSTRUCTIONS = tuple(
    map(
        Prompt,
        [
            "Find out which Python function behaves as these cases show, and write it.",
            "The cases record what a function was given and what came back. Write a Python function that does the same.",
            "Infer the function behind these examples and implement it in Python.",
            "Which function turns these inputs into these outputs? Give its Python code.",
            "Someone lost the source of a Python function; all that is left are these cases. Restore it.",
            "Write a Python function that is consistent with every case shown.",
            "Look for the rule that leads from each input to its output, and put it into a Python function.",
            "Here is a black box, observed from outside. Write Python code for what is inside.",
            "Reverse-engineer the Python function from its observed behaviour.",
            "Study the observations and reconstruct the Python function that made them.",
            "Your task is to guess a function from examples of its use. Answer with Python code.",
            "Given some inputs and the results for them, deduce the general algorithm and code it in Python.",
            "Can you write the Python function that gave these results?",
            "What does the hidden function do? Answer with its implementation in Python.",
            "Generalise from the examples: write a Python function that gives the output for each input.",
            "Program by example: turn what you see into a Python function.",
            "Each case is one call of the same function. Work out the function and write it in Python.",
            "From the behaviour below, derive an implementation in Python.",
            "Write the Python function that these tests were recorded from.",
            "There is a pattern in these cases. Express it as a Python function.",
            "Please implement, in Python, the function that these examples describe.",
            "Induce the program: the cases are all that you know about it. Use Python.",
            "A colleague left only sample runs behind. Write the Python function that they belong to.",
            "Complete the puzzle: which Python function maps the given arguments to the given results?",
            "Use the samples to recover the logic of the function, then write it as Python code.",
            "I need a Python function that reproduces all of the following.",
            "Think about what the results have in common with the arguments. Then write the function in Python.",
            "The function is unknown, its results are not. Write Python code that returns the same.",
        ],
    )
)

HEADERS = tuple(
    map(
        Prompt,
        [
            "Cases:",
            "Examples:",
            "Observed calls:",
            "Here are the cases.",
            "These are the observations:",
            "Inputs and outputs:",
            "Sample runs:",
            "What is known about it:",
            "Recorded behaviour:",
            "### Cases",
            "### Examples",
            "## Input and output",
            "Some calls and their results:",
            "Test data:",
            "The samples:",
            "See what it does:",
            "A few runs:",
            "[Cases]",
            "**Examples**",
            "For example:",
        ],
    )
)

NAMES = tuple(
    map(
        Prompt,
        [
            "The function is called `{name}`.",
            "Function name: {name}",
            "Name it `{name}`.",
            "Use the name `{name}` for the function.",
            "Name of the function: `{name}`",
            "Its name is {name}.",
            "Define it as `def {name}(...)`.",
            "Let the function be `{name}`.",
        ],
    )
)

CASES = tuple(
    map(
        Prompt,
        [
            "Input: {arguments}\nOutput: {output}",
            "Input:\n{arguments}\nOutput:\n{output}",
            "assert {call} == {output}",
            ">>> {call}\n{output}",
            "{call} -> {output}",
            "{call}  # {output}",
            "{arguments} => {output}",
            "Case {number}: {arguments} gives {output}",
            "{number}. {call} returns {output}",
            "- arguments: {arguments}\n  result: {output}",
            "Given {arguments}, the result is {output}.",
            "In [{number}]: {call}\nOut[{number}]: {output}",
            "| {arguments} | {output} |",
        ],
    )
)

LEAD_IN = "This function gives the results of all cases:"

HARNESS = """
import json
for case in cases:
    space = {"__name__": "function"}
    exec(compile(code, "function", "exec"), space)
    try:
        said = {"output": repr(space[name](**eval(case)))}
    except BaseException as error:
        said = {"raised": type(error).__name__ + ": " + str(error)}
    print(json.dumps(said))
"""
"""Each case has a function and arguments of its own: what a call keeps or changes must not show in the next."""

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")


class Case(Struct):
    """A call of the function."""

    arguments: dict[str, str]
    """As Python literals."""
    output: str
    """`repr` of what it returned; where it raised, the exception's type and text."""
    raised: bool = False


class InductionTask(Completion, kw_only=True):
    """Cases of a function, and the function."""

    name: str
    code: str
    cases: list[Case]
    """Those that the prompt shows, in its order."""


def wording(row: InductionTask) -> str:
    return same_but_for_names(row.code)


@recipe("case2code", unique=wording, seeds="python_functions.jsonl")
async def case2code(
    row: Document,
    generator: Chat,
    sandbox: Execute,
    run: Run,
    *,
    inputs_per_function: Annotated[int, Meta(ge=1)] = 10,
    temperature: float = 0.2,
    top_p: float = 0.95,
    max_tokens_reply: Annotated[int, Meta(ge=1)] = 2048,
    retries: Annotated[int, Meta(ge=0)] = 3,
    exec_timeout_s: Annotated[float, Meta(gt=0)] = 21.0,
    min_cases_in_prompt: Annotated[int, Meta(ge=1)] = 3,
    p_header: Annotated[float, Meta(ge=0, le=1)] = 0.8,
    p_function_name: Annotated[float, Meta(ge=0, le=1)] = 0.8,
    max_prompt_chars: Annotated[int, Meta(ge=1)] = 32768,
) -> AsyncIterator[InductionTask]:
    """Have a small model invent inputs for real functions, run them, and ask for the function behind the cases.

    A seed is the text of a Python file. Its top-level functions are taken that have arguments, return something, hold no
    other function, and need neither packages nor files; imports of the standard library come along. The model writes
    inputs and never outputs: these come from running the function, twice, in the sandbox. The prompt shows some cases
    in a wording and a form drawn by chance, and no word of what the function does. (Shao et al. 2024, "Case2Code",
    arXiv:2407.12504; repository choosewhatulike/case2code; model: InternLM2-chat-7B.)

    Not from the paper: which modules count as free of input and output; that arguments can all be given by name; the
    second run; that at least one case shown returned a value; the newlines drawn. A copy of a function that differs only
    in names, comments and layout is a duplicate.

    Args:
        inputs_per_function: that the model is asked for.
        temperature: of each call.
        top_p: of each call.
        max_tokens_reply: of each call.
        retries: further calls where a reply has no block, or an empty one.
        exec_timeout_s: for all cases of a function together, in seconds.
        min_cases_in_prompt: the number shown is drawn from this up to all.
        p_header: chance of a line above the cases.
        p_function_name: chance of a line with the function's name.
        max_prompt_chars: longer prompts are rejected.

    Rejects: files `unparsed`, `no_functions`; functions `no_arguments`, `star_arguments` (or ones that have no name to
        give them by), `no_return`, `nested`, `generator`, `does_io`, `needs_module`, `needs_name` (details: name);
        replies `empty`, `truncated`, `no_block`, `unread_examples` (no list of dict calls or dict literals); single
        examples `not_literal`, `same_input`; functions when run: the sandbox's `error`, `exit`, `timeout`, `memory`,
        `output`, `unsupported` (details: error, message), `outputs_differ` (in number from the inputs), `unstable`
        (another run gave something else, or an address), `all_raised`, `too_few_cases`; tasks `long_prompt` (details:
        chars), `duplicate`.
    """

    async def work(function: Function) -> InductionTask | None:
        question = INPUTS(code=function.code, inputs_per_function=inputs_per_function)

        async def ask() -> Reply:
            return await generator.chat(question, temperature=temperature, top_p=top_p, max_tokens=max_tokens_reply)

        block = await attempt(run, ask, read_block, tries=1 + retries)
        if block is None:
            return None
        try:
            inputs = distinct(run, read_examples(block, function))
            script = Program(f"code = {function.code!r}\nname = {function.name!r}\ncases = {list(inputs)!r}\n{HARNESS}")
            limits = Limits(seconds=exec_timeout_s)
            first, second = await run.gather(sandbox.run(script, limits=limits), sandbox.run(script, limits=limits))
            cases = observed(first, list(inputs.values()))
            if cases != observed(second, list(inputs.values())) or any(ADDRESS.search(case.output) for case in cases):
                raise Bad("unstable")
            if all(case.raised for case in cases):
                raise Bad("all_raised", message=cases[0].output)
            if len(cases) < min_cases_in_prompt:
                raise Bad("too_few_cases", cases=len(cases))
        except Bad as bad:
            run.reject(function.code, bad.reason, **bad.details)
            return None
        shown = choose(run, cases, min_cases_in_prompt)
        prompt = written(run, function, shown, p_header, p_function_name)
        fence = "```" if "```" not in function.code else "````"
        task = InductionTask(
            prompt=prompt,
            completion=f"{LEAD_IN}\n\n{fence}python\n{function.code}\n{fence}",
            name=function.name,
            code=function.code,
            cases=shown,
        )
        if len(prompt) > max_prompt_chars:
            run.reject(task, "long_prompt", chars=len(prompt))
            return None
        return task

    for task in await run.map(work, collected(run, row)):
        if task:
            yield task


def collected(run: Run, row: Document) -> list[Function]:
    """The functions of a file that can be used; the others are rejected."""
    try:
        found = functions(row.text)
    except Bad as bad:
        run.reject(row, bad.reason)
        return []
    for code, result in found:
        if isinstance(result, Bad):
            run.reject(code, result.reason, **result.details)
    return [result for _, result in found if isinstance(result, Function)]


# -- inputs and outputs


def read_block(reply: Reply) -> str:
    block = code_block(complete_reply(reply))
    if not block:
        raise Bad("no_block")
    return block


def read_examples(block: str, function: Function) -> list[dict[str, str | None]]:
    """The examples, each value as a literal or None where it is none. What is no argument, an output say, is ignored."""
    tree = parsed(block)
    lists = [
        node.value
        for node in (tree.body if tree else [])
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr))
        and isinstance(node.value, ast.List)
        and (isinstance(node, ast.Expr) or "examples" in _bound_by(node))
    ]
    if not lists or not lists[0].elts:
        raise Bad("unread_examples")
    found = []
    for example in lists[0].elts:
        match example:
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
                pairs = {keyword.arg: keyword.value for keyword in keywords}
            case ast.Dict(keys=keys, values=values):
                names = [key.value if isinstance(key, ast.Constant) else None for key in keys]
                pairs = {str(name): value for name, value in zip(names, values, strict=True)}
            case _:
                raise Bad("unread_examples")
        found.append({name: _literal(pairs[name]) for name in function.arguments if name in pairs})
    return found


def _bound_by(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _literal(node: ast.expr) -> str | None:
    try:
        ast.literal_eval(node)
        return ast.unparse(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def distinct(run: Run, examples: list[dict[str, str | None]]) -> dict[str, dict[str, str]]:
    """Those of the examples that hold only literals, each once, by the dict that they are in Python."""
    inputs: dict[str, dict[str, str]] = {}
    for example in examples:
        literal = {name: value for name, value in example.items() if value is not None}
        source = f"dict({', '.join(f'{name}={value}' for name, value in literal.items())})"
        if len(literal) < len(example):
            run.reject(source, "not_literal", names=[name for name in example if name not in literal])
        elif source in inputs:
            run.reject(source, "same_input")
        else:
            inputs[source] = literal
    if not inputs:
        raise Bad("unread_examples")
    return inputs


def observed(verdict: Verdict, inputs: list[dict[str, str]]) -> list[Case]:
    """The cases that a run of the harness told; raises Bad."""
    if not verdict.ok:
        raise Bad(verdict.outcome, error=verdict.error, message=verdict.message)
    cases = []
    for arguments, line in zip(inputs, verdict.stdout.splitlines(), strict=False):
        match _json(line):
            case {"output": str(output)}:
                cases.append(Case(arguments, output))
            case {"raised": str(output)}:
                cases.append(Case(arguments, output, raised=True))
    told = len(verdict.stdout.splitlines())
    if not len(inputs) == len(cases) == told:
        raise Bad("outputs_differ", inputs=len(inputs), outputs=told)
    return cases


def _json(line: str) -> object:
    try:
        said: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said


# -- the prompt


def choose(run: Run, cases: list[Case], least: int) -> list[Case]:
    """Some of the cases in random order, of which at least one returned something."""
    numbers = run.draw("cases", range(len(cases)), k=run.rng("count").randint(least, len(cases)))
    if all(cases[number].raised for number in numbers):
        numbers[-1] = run.draw("returned", [number for number, case in enumerate(cases) if not case.raised])
    return [cases[number] for number in numbers]


def written(run: Run, function: Function, cases: list[Case], p_header: float, p_function_name: float) -> str:
    """The prompt, in a form drawn by chance."""
    chance = run.rng("form")
    form = run.draw("case_format", CASES)
    # A value without its name must stand where the signature has it, in each case shown.
    in_order = all(list(case.arguments) == function.arguments[: len(case.arguments)] for case in cases) and all(
        len(case.arguments) <= function.positional for case in cases
    )
    styles = ["keywords", *(["values"] if in_order else [])]
    style = run.draw("arguments", styles if "call" in form.gaps else [*styles, "colons", "dict"])
    blocks = []
    for number, case in enumerate(cases, start=1):
        arguments = _arguments(case, style)
        gaps = {
            "arguments": arguments,
            "call": f"{function.name}({arguments})",
            "output": case.output,
            "number": number,
        }
        blocks.append(form(**gaps))
    shown = ("\n" * chance.randint(1, 2)).join(blocks)
    if chance.random() < p_header:
        shown = f"{run.draw('header', HEADERS)()}\n{shown}"
    parts = [run.draw("template", INSTRUCTIONS)(), shown]
    if chance.random() < p_function_name:
        parts.append(run.draw("name_line", NAMES)(name=function.name))
    chance.shuffle(parts)
    return ("\n" * chance.randint(1, 3)).join(parts)


def _arguments(case: Case, style: str) -> str:
    keywords = ", ".join(f"{name}={value}" for name, value in case.arguments.items())
    match style:
        case "values":
            return ", ".join(case.arguments.values())
        case "colons":
            return ", ".join(f"{name}: {value}" for name, value in case.arguments.items())
        case "dict":
            return f"dict({keywords})"
    return keywords
