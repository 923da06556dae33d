"""MathInstruct's college mathematics (Yue et al. 2023, section 2.2): new problems with rationales, by Self-Instruct."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Reply, Rows, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.mathinstruct import MathInstruction, MathProblem

PROBLEMS = Prompt(
    """You write exercises for a university course in mathematics. Here are some, with worked solutions.

{demonstrations}Write {pairs_per_call} more of this level. Vary the field (calculus, linear algebra, differential equations, probability, discrete mathematics, analysis and others) and what is asked. Each is complete in itself, has one definite answer, and is solved step by step; the solution ends in "The answer is X." Begin each problem with "Problem:" and its solution with "Solution:", on lines of their own as above, and write nothing else."""
)
DEMONSTRATION = Prompt("Problem: {question}\nSolution: {rationale}\n\n")

PROBLEM = re.compile(r"^[\W\d]*Problem(?:\s*\d+)?\W{0,4}:\W{0,3}\s*", re.MULTILINE)
SOLUTION = re.compile(r"^[\W\d]*Solution(?:\s*\d+)?\W{0,4}:\W{0,3}\s*", re.MULTILINE)


def question(row: MathInstruction) -> str:
    return " ".join(row.instruction.split()).casefold()


@recipe("mathinstruct-college", endless=True, unique=question, seeds="college_problems.jsonl")
async def mathinstruct_college(
    seeds: Rows[MathProblem],
    generator: Chat,
    run: Run,
    *,
    demonstrations: Annotated[int, Meta(ge=1)] = 3,
    pairs_per_call: Annotated[int, Meta(ge=1)] = 4,
    request_batch_size: Annotated[int, Meta(ge=1)] = 5,
    temperature: float = 1.0,
    max_tokens_reply: Annotated[int, Meta(ge=1)] = 3072,
) -> AsyncIterator[MathInstruction]:
    """Show a few college problems with their solutions, and let the model write new ones.

    The third step of MathInstruct (College-Math, 1800 rows in the paper; arXiv:2309.05653; model: GPT-4). Nobody checks
    the solutions. The rows have no gold answer, so they get no programs.

    Args:
        demonstrations: seeds that a prompt shows, drawn for each call. "A few" in the paper.
        pairs_per_call: problems that a prompt asks for. Not from the paper, like all that follows.
        request_batch_size: prompts that are asked side by side.
        temperature: of each call.
        max_tokens_reply: of each call.

    Rejects: `unparsed` (no problem, or no solution to it), `truncated` (the last of a reply that was cut), `copied` (a
        seed's problem), `duplicate`.
    """
    if len(seeds) < demonstrations:
        raise BadInput(f"mathinstruct-college: {len(seeds)} seeds are too few, a prompt shows {demonstrations}")
    if bare := next((seed for seed in seeds if not seed.rationale.strip()), None):
        raise BadInput(f"mathinstruct-college: {bare.question[:60]!r} has no rationale to show; give each seed one")
    known = {" ".join(seed.question.split()).casefold() for seed in seeds}

    async def write(_: int) -> list[MathInstruction]:
        shown = run.draw("seeds", seeds, k=demonstrations)
        reply = await generator.chat(
            PROBLEMS(
                pairs_per_call=pairs_per_call,
                demonstrations="".join(DEMONSTRATION(question=s.question, rationale=s.rationale) for s in shown),
            ),
            temperature=temperature,
            max_tokens=max_tokens_reply,
        )
        rows = []
        for part, cut in parts(reply):
            try:
                row = read(part, cut)
                if question(row) in known:
                    raise Bad("copied")
            except Bad as bad:
                run.reject(part, bad.reason, source=reply)
                continue
            run.link(row, *shown)
            rows.append(row)
        return rows

    while True:
        for rows in await run.map(write, range(request_batch_size), keep_going=True):
            for row in rows:
                yield row


def parts(reply: Reply) -> list[tuple[str, bool]]:
    """What follows each "Problem:", and whether it was cut; what stands before the first is no problem."""
    pieces = PROBLEM.split(reply.text)[1:] or [reply.text]
    return [(piece, reply.truncated and piece is pieces[-1]) for piece in pieces]


def read(part: str, cut: bool) -> MathInstruction:
    if cut:
        raise Bad("truncated")
    problem, *solution = (piece.strip() for piece in SOLUTION.split(part, maxsplit=1))
    if not (problem and solution and solution[0]):
        raise Bad("unparsed")
    return MathInstruction(instruction=problem, output=solution[0], kind="cot", source="college-math", answer="")
