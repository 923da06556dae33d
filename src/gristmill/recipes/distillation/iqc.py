"""IQC (Liu et al. 2024, MMIQC): new problems are composed around a given one, over and over, and solved by another model."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gristmill import BadInput, Chat, Instruction, Row, Run, recipe, system, user
from gristmill.ops.answers import last_boxed
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.maths import require, same
from gristmill.ops.prompts import Prompt

COMPOSE = Prompt(
    """You write mathematics problems. You get one problem with its solution and its answer. Invent one new problem for whose solution the given one is needed, openly or hidden, as a step in between.{warning}

Reply with one line of JSON, an object with three texts:
"problem": the new problem, which stands on its own.
"solution": a short solution of it. Do not just cite the result of the given problem, derive it. It has exactly one \\boxed{...}, and what is in there equals the answer.
"answer": the answer alone.
In JSON every backslash of LaTeX is written twice."""
)
WARNING = Prompt(" Mind that the given solution and answer may be wrong.")
BOOTSTRAP = Prompt(
    """You write mathematics problems. You get one problem with its answer. Write {count} new ones after it, each in another way: say it in other words; tell another story with the same quantities; put its answer into the problem and ask for something that was given; or change it in any way that leaves the answer derivable.

{form}"""
)
SIMILAR = Prompt(
    """You write mathematics problems. You get one problem with its solution and its answer. Write {count} new problems that are similar to it, each with a brief solution.

{form}"""
)
LINES = Prompt(
    """Reply with {count} lines of JSON, each an object with three texts: "problem", which stands on its own; "solution", with exactly one \\boxed{...} in it; "answer", the answer alone, equal to what is in the box. In JSON every backslash of LaTeX is written twice."""
)
SOLVE = Prompt("{problem}\n\nSolve this step by step. Put the final answer into \\boxed{...}.")

SINGLE = re.compile(r"(?<!\\)(?:\\\\)*\\(?:[bfrt][a-zA-Z]|n(?:eq?|u|ot|abla|eg)\b)")
"""A backslash that JSON takes for an escape, before what can only be a command of LaTeX."""

Part = Literal["iqc", "answer_augmentation", "question_bootstrapping", "similar_problems"]


class Composed(Row):
    """A problem of mathematics with a solution and its answer."""

    problem: str
    solution: str
    answer: str


class SolvedProblem(Instruction, kw_only=True):
    """A problem, and the solver's solution of it: not the composer's, whose answer it only has to reach."""

    answer: str
    """The composer's; of answer augmentation the seed's."""
    source: Part
    iteration: int
    """Of IQC, from 0; 0 for other parts."""


class Item(msgspec.Struct):
    problem: str
    solution: str
    answer: str


@recipe("iqc", seeds="competition_solutions.jsonl")
async def iqc(
    row: Composed,
    composer: Chat,
    solver: Chat,
    run: Run,
    *,
    parts: list[Part] = ["iqc"],  # noqa: B006 - read only
    iterations: Annotated[int, Meta(ge=1)] = 4,
    samples_per_problem: Annotated[int, Meta(ge=1)] = 3,
    max_valid_per_problem: Annotated[int, Meta(ge=1)] = 3,
    qb_per_seed: Annotated[int, Meta(ge=1)] = 5,
    similar_per_seed: Annotated[int, Meta(ge=1)] = 3,
    temperature: float = 0.0,
    solver_temperature: float = 0.7,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 4000,
) -> AsyncIterator[SolvedProblem]:
    """Compose a problem that needs the given one as a step, then one that needs that, and keep solutions that agree.

    A composer writes each new problem with its own solution and answer, from the second iteration on warned that what it
    is given may be wrong. Another model, the solver, solves it several times, and only solutions that reach the
    composer's answer become rows. The next iteration goes on from every composed problem, agreed upon or not. (Liu et al.
    2024, arXiv:2401.09003; prompts and parsing after github.com/iiis-ai/IterativeQuestionComposing. Composer: GPT-4-turbo,
    solver: GPT-3.5-turbo.)

    `parts` adds what the authors mixed with it for MMIQC: solutions of the seed itself, problems bootstrapped from it
    (it is shown without its solution), and similar ones, all solved and compared the same way. Not here: MetaMathQA,
    which `metamath` makes, and what they took from Mathematics Stack Exchange.

    Args:
        parts: what is made of each seed.
        iterations: compositions in a row. The paper's number is not confirmed.
        samples_per_problem: solutions that the solver writes.
        max_valid_per_problem: rows of a problem at most.
        qb_per_seed: problems that are bootstrapped.
        similar_per_seed: similar problems.
        temperature: of the composer.
        solver_temperature: of the solver. The released code has 0, with which its samples would be equal.
        max_tokens_per_reply: of both.

    Rejects: `asymptote` (a seed with a drawing, which cannot be read as text); of compositions `unparsed` (no JSON with the
        three texts), `single_backslash`, `beyond_count`; of solutions `no_answer`, `wrong_answer` and `undecided` (details:
        answer, composed), `beyond_max_valid`; of both `empty` and `truncated`. All but the first with part and iteration.
    """
    if "[asy]" in row.problem or "[asy]" in row.solution:
        run.reject(row, "asymptote")
        return

    async def compose(question: str, given: dict[str, str], source: Part, iteration: int) -> list[Item]:
        shown = msgspec.json.encode(given).decode()
        reply = await composer.chat(
            [system(question), user(shown)], temperature=temperature, max_tokens=max_tokens_per_reply
        )
        found: list[Item] = []
        try:
            text = complete_reply(reply)
            # A single object may go over several lines; of several, each has its own.
            for piece in [text] if source == "iqc" else [line for line in text.splitlines() if line.strip()]:
                try:
                    found.append(read_item(piece))
                except Bad as bad:
                    run.reject(piece, bad.reason, source=reply, part=source, iteration=iteration)
        except Bad as bad:
            run.reject(reply, bad.reason, part=source, iteration=iteration)
        return found

    async def solved(item: Item, source: Part, iteration: int) -> list[SolvedProblem]:
        """Rows of a problem: the solutions that agree."""
        replies = await solver.chat(
            SOLVE(problem=item.problem),
            n=samples_per_problem,
            temperature=solver_temperature,
            max_tokens=max_tokens_per_reply,
        )
        made: list[SolvedProblem] = []
        for reply in replies:
            try:
                text = complete_reply(reply)
                if not (boxed := (last_boxed(text) or "").strip()):
                    raise Bad("no_answer")
                verdict = await same(run, boxed, item.answer)
                if verdict != "equal":
                    reason = "wrong_answer" if verdict == "different" else "undecided"
                    raise Bad(reason, answer=boxed, composed=item.answer)
                if len(made) == max_valid_per_problem:
                    raise Bad("beyond_max_valid")
            except Bad as bad:
                run.reject(reply, bad.reason, part=source, iteration=iteration, **bad.details)
                continue
            made.append(
                SolvedProblem(
                    instruction=item.problem, output=text, answer=item.answer, source=source, iteration=iteration
                )
            )
        return made

    async def all_solved(items: Sequence[Item], source: Part, iteration: int = 0) -> list[SolvedProblem]:
        """A problem whose solver fails for good costs no other."""
        found = await run.map(partial(solved, source=source, iteration=iteration), items, keep_going=True, name="solve")
        return [made for those in found for made in those]

    seed = Item(row.problem, row.solution, row.answer)
    if "answer_augmentation" in parts:
        for made in await all_solved([seed], "answer_augmentation"):
            yield made
    whole = msgspec.structs.asdict(seed)
    further: list[tuple[Part, Prompt, int, dict[str, str]]] = [
        ("question_bootstrapping", BOOTSTRAP, qb_per_seed, {"problem": row.problem, "answer": row.answer}),
        ("similar_problems", SIMILAR, similar_per_seed, whole),
    ]
    for source, prompt, count, given in further:
        if source in parts:
            items = await compose(prompt(count=count, form=LINES(count=count)), given, source, 0)
            for item in items[count:]:
                run.reject(msgspec.to_builtins(item), "beyond_count", part=source, iteration=0)
            for made in await all_solved(items[:count], source):
                yield made
    given = whole
    for iteration in range(iterations if "iqc" in parts else 0):
        question = COMPOSE(warning=WARNING() if iteration else "")
        items = await compose(question, given, "iqc", iteration)
        if not items:
            return
        for made in await all_solved(items, "iqc", iteration):
            yield made
        given = msgspec.structs.asdict(items[0])


@iqc.check
def there_is_a_part_and_algebra_can_be_compared(parts: list[Part]) -> None:
    if not parts:
        raise BadInput(
            "iqc: `parts` is empty; choose of iqc, answer_augmentation, question_bootstrapping, similar_problems"
        )
    require()


def read_item(text: str) -> Item:
    """The object in a text; raises Bad where it is none, or one of its three texts is missing, empty or no text, and where
    LaTeX was written with single backslashes: "\\frac" would be read as a form feed and "rac"."""
    if SINGLE.search(text):
        raise Bad("single_backslash")
    try:
        item = msgspec.json.decode(text[text.find("{") : text.rfind("}") + 1], type=Item)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Bad("unparsed") from None
    if not (item.problem.strip() and item.answer.strip()):
        raise Bad("unparsed")
    return item
