"""AMPS (Hendrycks et al. 2021, MATH, section 3.2): programs that draw, solve and verify mathematics problems.

The programs are in `amps_modules`; here they are looped until each has given its quota. No model is asked.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Completion, Document, Run, recipe
from gristmill.errors import nearest
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens
from gristmill.recipes.augmentation.amps_modules import MODULES, Problem, generate

PROBLEM_SECTION = Prompt("Problem:\n{problem}")
ANSWER_SECTION = Prompt("\n\nAnswer:\n{answer}")
ASK_ANSWER = Prompt("QUESTION:\n{problem}\nFINAL ANSWER:\n")
ASK_SOLUTION = Prompt("QUESTION:\n{problem}\nFULL SOLUTION:\n")


class AmpsProblem(Document):
    """A problem with its verified answers. `text` is the file of AMPS: a section for it and one for each answer."""

    problem: str
    """Plain text, with LaTeX between dollar signs."""
    answers: list[str]
    """Equivalent forms, the preferred one first."""
    steps: str | None
    """A worked solution, one step a line; None for modules without one."""
    module: str
    topic: str


class AmpsSample(Completion):
    """What a model is trained on: the loss is for `completion` alone. One for each answer, one for the solution."""

    module: str
    full_solution: bool
    """Does the prompt ask for the worked solution, and not only for the answer?"""


def wording(row: AmpsProblem | AmpsSample) -> str:
    return row.problem if isinstance(row, AmpsProblem) else row.prompt + row.completion


@recipe("amps", unique=wording)
async def amps(
    run: Run,
    *,
    modules: list[str] | None = None,
    per_module: Annotated[int, Meta(ge=1)] = 1,
    max_draws: Annotated[int, Meta(ge=1)] = 100,
    context: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[AmpsProblem | AmpsSample]:
    """Make mathematics problems by programs with random parameters, each answer verified by an independent check.

    A draw loops every module, in random order, until it has its quota of different problems; what an earlier draw made
    is rejected as it leaves. For exactly n of each take `per_module` = n, and a target of n times the modules: that is
    a single draw. (Hendrycks et al. 2021, arXiv:2103.03874, section 3.2 and the repository's loaders. The programs
    are ours, in exact arithmetic: those of the paper are Mathematica, and not released.)

    Not here: the second part of AMPS, 100,000 exercises of Khan Academy with hints, which nothing generates.

    Args:
        modules: names of modules or of topics ("number theory"); all unless given. The paper has 100, 37 of them with
            steps; here are more.
        per_module: different problems of each module in a draw. The paper's total is about 50,000 a module.
        max_draws: programs may fail to draw a new problem; after so many draws for each problem wanted a module is
            given up. Ours.
        context: a training text of more tokens is dropped. That of the paper's GPT-2; not confirmed.

    Rejects: `degenerate` draws (nothing to solve, an unreadable answer), `duplicate`, `answer_check` (the check does
        not confirm an answer), `steps_miss_answer` (the solution ends in another answer), `quota_missed` (details:
        made, wanted), `too_long` training texts (details: tokens; the problem stays). All with module.
    """
    names = chosen(modules)
    for name in run.rng("order").sample(names, len(names)):
        rng = run.rng(name)
        seen: set[str] = set()
        for _ in range(per_module * max_draws):
            problem = generate(name, rng)
            if problem is None:
                run.reject(name, "degenerate", module=name)
            elif problem.question in seen:
                run.reject(problem.question, "duplicate", module=name)
            elif fault := problem.fault():
                drawn = {"problem": problem.question, "answers": problem.answers, "steps": problem.steps}
                run.reject(drawn, fault, module=name)
            else:
                seen.add(problem.question)
                for sample in samples(name, problem):  # before the problem, with which a run may reach its target
                    if (tokens := approx_tokens(sample.prompt + sample.completion)) > context:
                        run.reject(sample, "too_long", module=name, tokens=tokens)
                    else:
                        yield sample
                yield filed(name, problem)
            if len(seen) == per_module:
                break
        else:
            run.reject(name, "quota_missed", module=name, made=len(seen), wanted=per_module)


@amps.check
def the_modules_are_known(modules: list[str] | None) -> None:
    chosen(modules)


def chosen(modules: list[str] | None) -> list[str]:
    """Names of modules, for names of modules and topics."""
    topics = {module.topic for module in MODULES.values()}
    for name in modules or []:
        if name not in MODULES and name not in topics:
            raise BadInput(f"amps: there is no module or topic {name!r}: {nearest(name, [*MODULES, *topics])}")
    return [name for name, module in MODULES.items() if not modules or {name, module.topic} & set(modules)]


def filed(module: str, problem: Problem) -> AmpsProblem:
    answers = "".join(ANSWER_SECTION(answer=answer) for answer in problem.answers)
    return AmpsProblem(
        text=PROBLEM_SECTION(problem=problem.question) + answers,
        problem=problem.question,
        answers=problem.answers,
        steps=problem.steps,
        module=module,
        topic=MODULES[module].topic,
    )


def samples(module: str, problem: Problem) -> list[AmpsSample]:
    question = ASK_ANSWER(problem=problem.question)
    found = [AmpsSample(question, answer, module, full_solution=False) for answer in problem.answers]
    if problem.steps is not None:
        question = ASK_SOLUTION(problem=problem.question)
        found.append(AmpsSample(question, problem.steps, module, full_solution=True))
    return found
