"""Functions of Python source files that can be run alone, found without running anything.

Kept: top-level functions whose arguments can all be given by name, that return something, hold no other function, and
need nothing but built-ins and modules of the standard library that neither read nor write. Code of strangers can hide
what it does, so this is a choice and no safeguard: run it in the sandbox.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterator
from typing import NamedTuple

from gristmill.ops.ask import Bad
from gristmill.ops.code import parsed

PURE = frozenset(
    {
        *["abc", "array", "base64", "binascii", "bisect", "cmath", "collections", "colorsys", "copy", "dataclasses"],
        *["datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "html"],
        *["itertools", "json", "keyword", "math", "numbers", "operator", "re", "statistics", "string", "struct"],
        *["textwrap", "typing", "unicodedata", "zlib", "__future__"],
    }
)
"""Modules that neither read nor write, and leave nothing to chance."""
IMPURE = frozenset(
    {
        *["open", "print", "input", "exec", "eval", "compile", "globals", "locals", "vars", "breakpoint", "exit"],
        *["quit", "help", "license", "copyright", "credits", "id"],
    }
)
CLOCKS = frozenset({"now", "utcnow", "today"})
NEWLINE = re.compile(r"\r\n|\r|\n")  # those that ast counts; str.splitlines has more


class Function(NamedTuple):
    name: str
    arguments: list[str]
    positional: int
    """How many arguments, from the first, may be given without their names."""
    code: str
    """Its source as it stands, after the import lines that it needs."""


def functions(text: str) -> list[tuple[str, Function | Bad]]:
    """The top-level functions of a file, each with its source, and why where it is not kept.

    Raises:
        Bad: `unparsed`, `no_functions`.
    """
    tree = parsed(text)
    if tree is None:
        raise Bad("unparsed")
    nodes = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if not nodes:
        raise Bad("no_functions")
    imports = dict(_imports(tree.body))
    lines = NEWLINE.split(text)
    found: list[tuple[str, Function | Bad]] = []
    for node in nodes:
        start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        code = "\n".join(lines[start - 1 : node.end_lineno]).rstrip()
        try:
            found.append((code, _kept(node, code, imports)))
        except Bad as bad:
            found.append((code, bad))
    return found


def same_but_for_names(code: str) -> str:
    """A spelling of code that leaves out layout, comments, docstrings and what its own names are."""
    tree = ast.parse(code)
    own: dict[str, str] = {}
    for node in ast.walk(tree):
        for name in _bound(node):
            own.setdefault(name, f"#{len(own)}")
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    told = []
    for node in ast.walk(tree):  # not ast.dump: that recurses, and so fails at some depth
        values = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        said = [repr(node.value)] if isinstance(node, ast.Constant) else [own.get(value, value) for value in values]
        told.append(f"{type(node).__name__}/{len(list(ast.iter_child_nodes(node)))} {' '.join(said)}")
    return "\n".join(told)


def _imports(nodes: list[ast.stmt]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Names that imports bind, each with its module and an import line for it alone."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], (alias.name, ast.unparse(ast.Import([alias])))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = "." * node.level + (node.module or "")
                line = ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
                yield alias.asname or alias.name, (module, line)


def _kept(node: ast.FunctionDef | ast.AsyncFunctionDef, code: str, imports: dict[str, tuple[str, str]]) -> Function:
    """The function with its imports; raises Bad."""
    given, inside = node.args, list(ast.walk(node))[1:]
    if given.posonlyargs or given.vararg or given.kwarg:
        raise Bad("star_arguments")
    if not (given.args or given.kwonlyargs):
        raise Bad("no_arguments")
    if any(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for part in inside):
        raise Bad("nested")
    if isinstance(node, ast.AsyncFunctionDef) or any(isinstance(part, (ast.Yield, ast.YieldFrom)) for part in inside):
        raise Bad("generator")
    if not any(isinstance(part, ast.Return) and part.value is not None for part in inside):
        raise Bad("no_return")
    if clock := next((part.attr for part in inside if isinstance(part, ast.Attribute) and part.attr in CLOCKS), None):
        raise Bad("does_io", name=clock)
    needed = [imports[name] for name in _free_names(code, node.name) if _is_imported(name, imports)]
    local = dict(_imports([part for part in inside if isinstance(part, ast.stmt)])).values()
    for module, _ in (*needed, *local):
        if module.partition(".")[0] not in PURE:
            raise Bad("needs_module", name=module)
    lines = [line for module, line in imports.values() if module == "__future__"] + [line for _, line in needed]
    arguments = [argument.arg for argument in given.args]
    return Function(
        name=node.name,
        arguments=arguments + [argument.arg for argument in given.kwonlyargs],
        positional=len(arguments),
        code="\n\n\n".join(["\n".join(dict.fromkeys(lines)), code] if lines else [code]),
    )


def _is_imported(name: str, imports: dict[str, tuple[str, str]]) -> bool:
    """Whether a name is imported, rather than built in; raises Bad for those that are neither, or read or write."""
    if name in imports:
        return True
    if name in IMPURE:
        raise Bad("does_io", name=name)
    if name.startswith("__") or not hasattr(builtins, name):
        raise Bad("needs_name", name=name)
    return False


def _free_names(code: str, name: str) -> list[str]:
    """What a function needs from around it, itself apart: in its body, defaults, annotations and decorators."""
    try:
        top = symtable.symtable(code, "function", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Bad("unparsed") from None
    free = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced() and not symbol.is_assigned()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_assigned():
                raise Bad("needs_name", name=symbol.get_name())
            if symbol.is_global() and symbol.is_referenced():
                free.add(symbol.get_name())
    return sorted(free - {name})


def _bound(node: ast.AST) -> list[str]:
    """Names that a node binds, imports apart."""
    match node:
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)):
            return [name]
    return []
