"""phi-1's decontamination and pruning (Gunasekar et al. 2023, section 5): exercises held against the problems of a benchmark."""

import ast
from collections.abc import AsyncIterator
from typing import Annotated

import numpy as np
from msgspec import Meta

from gristmill import BadInput, Embed, Rows, Run, recipe
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks
from gristmill.ops.code import match_rate, parsed, syntax
from gristmill.ops.vectors import embedded
from gristmill.recipes.distillation.phi_1_exercises import Exercise


class CheckedExercise(Exercise, kw_only=True):
    """An exercise that is near no problem, and how near the nearest one is."""

    ast_match: float | None
    """The highest rate at which its syntax tree matches a problem's, 0 to 1; None where no problem is a function."""
    embedding_distance: float | None
    """To the nearest problem (L2); None without an embedder."""


@recipe("phi-1-decontaminate")
async def phi_1_decontaminate(
    rows: Rows[Exercise],
    run: Run,
    embedder: Embed | None = None,
    *,
    benchmarks: Rows[BenchmarkItem],
    ngram: Annotated[int, Meta(ge=1)] = 13,
    ast_match_rate: Annotated[float, Meta(gt=0, le=1)] = 0.95,
    max_embedding_distance: Annotated[float, Meta(ge=0)] | None = None,
) -> AsyncIterator[CheckedExercise]:
    """Drop exercises that share words, syntax or meaning with the problems of a benchmark, such as HumanEval.

    Three tests, each on prompt and completion together: a run of 13 words that stands in a problem; a syntax tree
    that matches a problem's (edit distance of the kinds of its nodes; names and values do not count); and, if an
    embedder is given, an embedding near a problem's. (Gunasekar et al. 2023, arXiv:2306.11644, section 5. The paper
    reports the first as overlap, and prunes by the other two to see what remains of the gain.)

    Args:
        embedder: places code; in the paper the hidden state of CodeGen.
        benchmarks: problems with their solutions, as `text`.
        ngram: words in a row.
        ast_match_rate: at and above it an exercise goes. The paper prunes at 0.95, 0.9, 0.85 and 0.8. Trees are compared
            with problems that hold a function.
        max_embedding_distance: at and below it an exercise goes (L2). Not from the paper; only the distance is kept unless
            given.

    Rejects: `ngram_overlap` (details: benchmark), `ast_match` (details: rate, benchmark), `near_in_embedding` (details:
        distance, benchmark).
    """
    items = list(benchmarks)
    known = Benchmarks(items)
    trees = [(syntax(tree), item) for item in items if (tree := parsed(item.text)) and holds_a_function(tree)]
    if max_embedding_distance is not None and embedder is None:
        raise BadInput("phi-1-decontaminate: max_embedding_distance needs an embedder: --model embedder=...")
    texts = [row.prompt + row.completion for row in rows]
    ours = await embedded(run, embedder, texts, "exercises") if embedder else None
    theirs = await embedded(run, embedder, [item.text for item in items], "problems") if embedder else None
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        own = syntax(tree) if (tree := parsed(text)) else []
        rate, alike = max(((match_rate(own, other), item) for other, item in trees), key=lambda pair: pair[0], default=(None, None))  # fmt: skip
        distance, near = None, None
        if ours is not None and theirs is not None:
            distances = np.linalg.norm(theirs - ours[number], axis=1)
            near = items[int(distances.argmin())]
            distance = round(float(distances.min()), 6)
        if (found := known.sharing(text, ngram)) is not None:
            run.reject(row, "ngram_overlap", benchmark=found)
        elif rate is not None and alike is not None and rate >= ast_match_rate:
            run.reject(row, "ast_match", rate=round(rate, 6), benchmark=alike.benchmark)
        elif (
            near and distance is not None and max_embedding_distance is not None and distance <= max_embedding_distance
        ):
            run.reject(row, "near_in_embedding", distance=distance, benchmark=near.benchmark)
        else:
            made = CheckedExercise(
                prompt=row.prompt,
                completion=row.completion,
                function_name=row.function_name,
                ast_match=None if rate is None else round(rate, 6),
                embedding_distance=distance,
            )
            run.link(made, row)
            yield made


def holds_a_function(tree: ast.Module) -> bool:
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in tree.body)
