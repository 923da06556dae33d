"""GAIR-Abel (Chern et al. 2023): solutions that restate the problem and name the ground of every step."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Completion, Row, Run, recipe
from gristmill.ops.answers import DIGITS
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.maths import require, same
from gristmill.ops.prompts import Prompt

STRUCTURED = Prompt(
    """Write the solution of a mathematics problem so that a student who reads it can follow every deduction. {help}

Its form is a numbered list:
- Item 1 says the problem again in your words, with all its numbers, and then the goal: "1. The problem states that ... We need to find out ...". Nothing is calculated there.
- Every further item makes one deduction and begins with its ground: "2. By problem, ..." for what the problem tells, "4. By steps 2 and 3, ..." for what earlier items found. Write the arithmetic out.
- The last item begins with "[Final solution]" and says the result in a sentence: "6. [Final solution] By step 5, ...".
- Below it, alone on the last line: "#### " and the final answer.

The problem:
{question}"""
)
STANDARD = Prompt(
    """Solve this mathematics problem step by step. {help} End with the final answer alone on the last line, after "#### ".

The problem:
{question}"""
)
ANSWER = Prompt("The right answer is {answer}.")
SOLUTION = Prompt("The right answer is {answer}. A solution, in another form:\n{solution}\n")
TRAINED = Prompt("Question:\n{question}\nAnswer:\n{cue}")

Style = Literal["structured", "standard"]

ITEM = re.compile(r"^[ \t]*(\d{1,3})[.)][ \t]+", re.MULTILINE)
GROUND = re.compile(r"\bby (?:the )?(?:problem\b|(?:steps?|items?)\s+\d)", re.IGNORECASE)  # not "step by step"
REFERENCE = re.compile(r"\b(?:steps?|items?)\s+(\d+(?:\s*(?:,|and|&|or|[-–]|to)\s*(?:and\s+)?\d+)*)", re.IGNORECASE)
GOAL = re.compile(r"\b(?:need|want|goal|asks?|asked|find|determine|calculate|how (?:many|much))\b", re.IGNORECASE)
RESULT = re.compile(rf"=\s*[^\w\s=]{{0,2}}({DIGITS})")
ANSWER_LINE = re.compile(r"^[ \t]*####(?!#)[ \t]*(.*?)[ \t]*$", re.MULTILINE)
MARK = "[Final solution]"


class AbelQuestion(Row):
    """A problem with its gold answer; with a reference solution the generator has more to go by."""

    question: str
    answer: str
    solution: str = ""


class AbelSolution(Completion, kw_only=True):
    """The question with its cue, and a solution that ends in "#### answer"."""

    answer: str
    style: Style
    items: int
    """Numbered items; 0 in the standard style."""


@recipe("gair-abel", seeds="math_problems.jsonl")
async def gair_abel(
    row: AbelQuestion,
    generator: Chat,
    run: Run,
    *,
    style: Style = "structured",
    retries: Annotated[int, Meta(ge=0)] = 3,
    restated_share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    prompt_cue: str = "Let's think step by step.",
    temperature: float = 0.7,
    max_tokens_per_solution: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[AbelSolution]:
    """Have a solution written in a form that a student can follow, and keep it if form and answer are right.

    The first item restates the problem and says the goal, every further one makes one deduction from a ground that it
    names ("By problem", "By steps 2 and 3"), and the last one is marked; then comes "#### answer". A solution with a
    wrong answer, or in another form, is asked for again, and dropped in the end.

    How the authors made their rows was never published: this form is that of the outputs they released, and prompts,
    checks and retries are a reconstruction. The markers "[Final solution]" and "####" are fixed. What is theirs is the
    claim that the form matters: `--style standard` makes the same rows without restatement and grounds, to compare.
    (Chern et al. 2023, github.com/GAIR-NLP/abel.)

    A row's solution ends with the answer's line, and a structured one begins with its first item: what a chat model says
    around them is cut off. Checked is that one middle item names its ground, not each; and of a question without digits
    that its goal is said, not that it is restated.

    Args:
        style: structured, or the ablation: a step-by-step solution without the form.
        retries: further tries for a solution that was rejected. Not confirmed.
        restated_share: share of the question's numbers that the first item must hold. Not confirmed.
        prompt_cue: ends the prompt of each row, as in the released evaluation.
        temperature: of the solutions. Not confirmed.
        max_tokens_per_solution: not confirmed.

    Rejects: `no_gold` (a question without an answer, which no call is spent on); of solutions `no_items`,
        `no_restatement` (details: numbers), `no_goal`, `calculates_at_once` (details: result), `no_ground`,
        `forward_reference` (details: item, step), `no_final_mark`, `no_answer` (nothing after "####"), `wrong_answer`
        and `undecided` (details: answer, gold), `empty`, `truncated`.
    """
    if not row.answer.strip():
        run.reject(row, "no_gold")
        return
    known = SOLUTION if row.solution else ANSWER
    form = STRUCTURED if style == "structured" else STANDARD
    question = form(help=known(answer=row.answer, solution=row.solution), question=row.question)
    for _ in range(1 + retries):
        reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_per_solution)
        try:
            text = unframed(complete_reply(reply), style)
            items = read_items(text) if style == "structured" else []
            if style == "structured":
                check_form(items, row.question, restated_share)
            answer = read_answer(text)
            verdict = await same(run, answer, row.answer)
            if verdict != "equal":
                reason = "wrong_answer" if verdict == "different" else "undecided"
                raise Bad(reason, answer=answer, gold=row.answer)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            continue
        prompt = TRAINED(question=row.question, cue=prompt_cue)
        yield AbelSolution(prompt, text, answer=answer, style=style, items=len(items))
        return


@gair_abel.check
def algebra_can_be_compared(retries: int) -> None:
    require()


def read_items(text: str) -> list[str]:
    """The items of a list that is numbered 1, 2, 3, ...; a number out of its order belongs to the item before."""
    starts: list[re.Match[str]] = []
    for match in ITEM.finditer(text):
        if int(match[1]) == len(starts) + 1:
            starts.append(match)
    ends = [*(match.start() for match in starts[1:]), len(text)][: len(starts)]
    return [text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True)]


def check_form(items: Sequence[str], question: str, restated_share: float) -> None:
    """Raises Bad for a solution that does not restate the problem, name its grounds or mark its end."""
    if len(items) < 2:
        raise Bad("no_items")
    first, middle, last = items[0], items[1:-1], items[-1]
    numbers = numbers_of(question)
    if numbers and len(numbers & numbers_of(first)) < restated_share * len(numbers):
        raise Bad("no_restatement", numbers=sorted(numbers))
    if not GOAL.search(first):
        raise Bad("no_goal")
    for result in RESULT.findall(first):
        if not numbers_of(result) <= numbers:  # "x + 2 = 5" may be told; what is not was worked out
            raise Bad("calculates_at_once", result=result)
    if not any(GROUND.search(item) for item in middle):
        raise Bad("no_ground")
    for number, item in enumerate(items, 1):
        for reference in REFERENCE.findall(item):
            for step in map(int, re.findall(r"\d+", reference)):
                if step >= number:
                    raise Bad("forward_reference", item=number, step=step)
    if not last.lower().startswith(MARK.lower()):
        raise Bad("no_final_mark")


def unframed(text: str, style: Style) -> str:
    """From the first item, in the structured style, to the last line with an answer."""
    first = next((match.start() for match in ITEM.finditer(text) if int(match[1]) == 1), 0)
    ends = [match.end() for match in ANSWER_LINE.finditer(text)]
    return text[first if style == "structured" else 0 : ends[-1] if ends else len(text)].strip()


def numbers_of(text: str) -> set[str]:
    return {found.replace(",", "") for found in re.findall(DIGITS, text)}


def read_answer(text: str) -> str:
    """What follows the last "####" on its line; raises Bad where there is nothing."""
    found = ANSWER_LINE.findall(text)
    if not found or not found[-1]:
        raise Bad("no_answer")
    return str(found[-1])
