"""Xwin-Math (Li et al. 2024, section 3): a new question derived from a known one, solved as a test and repaired, then answered
by somebody who has seen nothing else."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Instruction, Reply, Row, Rows, Run, recipe
from gristmill.ops.answers import number
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, benchmarks_of, normal
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections

QUESTION = Prompt(
    """You teach mathematics, and you are good at writing exercises. Your pupils know this question:

{question}

Three jobs follow from it:
1. Create: derive a new question from it.
2. Verify: solve the new question step by step, and hold it against each principle below.
3. Repair: where that shows a fault, change the question so that the fault is gone.

The principles:
- The new question has a single unknown, makes sense, and is derived from the known question. {answer_rule}
- It could come up in everyday life: amounts are positive, people come in whole numbers, nothing costs or lasts what it never would.
- It stands alone. Whoever reads it does not know the other one, so every number and all background that it borrows is said again.
- It holds no solution and no hint at one.
- If you find no fault, the final question is the created one, unchanged.

Write three sections, in this order, each under its label: "CREATED QUESTION:" with the new question as it first comes to you, "VERIFICATION AND MODIFICATION:" with the solution and with what is to be changed, and "FINAL CREATED QUESTION:" with the question as it is in the end and nothing else."""
)

ANSWER = Prompt(
    """Solve this problem of mathematics:

{question}

Write two sections, each under its label: "SOLUTION:" with the way to the answer, step by step and in detail, then "FINAL ANSWER:" with {answer_form}."""
)

ANSWER_RULE = {
    "gsm8k": Prompt("Its answer is one number."),
    "math": Prompt("It has one answer, which can be written as a single expression in LaTeX."),
}
ANSWER_FORM = {
    "gsm8k": Prompt("just a number, without a unit and without words"),
    "math": Prompt("just the answer in LaTeX, without words around it"),
}

OUTPUT = Prompt("{solution}\n\nThe answer is {answer}.")

Style = Literal["gsm8k", "math"]


class ReferenceQuestion(Row):
    """A question to derive others from. An answer that it may have is not read."""

    question: str
    style: Style | None = None
    """The parameter of this name decides where it has none."""


class XwinQuestion(Instruction, kw_only=True):
    """A new question, its solution and, at the end of that, its answer."""

    answer: str
    style: Style
    reference: str
    """Id of the known question."""


def wording(row: XwinQuestion) -> str:
    return normal(row.instruction)


@recipe("xwin-math-qgen", unique=wording, seeds="math_questions.jsonl")
async def xwin_math_qgen(
    row: ReferenceQuestion,
    generator: Chat,
    run: Run,
    *,
    benchmarks: Rows[BenchmarkItem] | None = None,
    style: Style = "gsm8k",
    questions_per_reference: Annotated[int, Meta(ge=1)] = 1,
    temperature_question: float = 1.0,
    temperature_answer: float = 1.0,
    max_tokens_question: Annotated[int, Meta(ge=1)] = 1024,
    max_tokens_answer: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[XwinQuestion]:
    """Derive new questions from a known one in a single call that also solves and repairs them, then answer each.

    The call that creates a question must solve it, too, and mend what the solution brings to light; only what stands
    under its last label is kept. The answer is asked for in a call of its own that sees this question alone. There is no
    vote and no gold answer: what keeps faults out is the verification. (Li et al. 2024, "Common 7B Language Models
    Already Possess Strong Math Capabilities", arXiv:2403.04706, sections 3 and 4; model: GPT-4 Turbo.)

    With a target the known questions are gone through again and again, as in the paper: 960,000 rows from the 7,500 of
    GSM8K and 480,000 from those of MATH. How the paper removed repetitions and questions of the tests is not confirmed:
    here a question that was there before, capitals and white space apart, and one that holds a benchmark's are rejected.
    A row's output is the solution and a last line with the answer; how the paper joins them is not confirmed.

    Args:
        benchmarks: questions of test sets.
        style: of references that name none. gsm8k: the answer is a number (a unit behind it, against the prompt, is let
            pass and stays); math: an expression in LaTeX. What else the
            prompts of the paper change for MATH is not confirmed.
        questions_per_reference: in one pass; each is a sample of its own.
        temperature_question: of the call that creates.
        temperature_answer: of the call that answers.
        max_tokens_question: of its reply. Not from the paper.
        max_tokens_answer: of its reply. Not from the paper.

    Rejects: `no_question` (of a seed); replies `empty`, `truncated`, `missing_section`, `empty_section` (details: of,
        section); questions `same_as_reference`, `in_benchmark` (details: benchmark), `duplicate`; `not_a_number`, a final
        answer in the style of GSM8K (details: answer).
    """
    if not row.question.strip():
        run.reject(row, "no_question")
        return
    kind = row.style or style
    known = benchmarks_of(benchmarks) if benchmarks else None

    async def derive(_: int) -> XwinQuestion | None:
        of = "question"
        reply = await generator.chat(
            QUESTION(question=row.question.strip(), answer_rule=ANSWER_RULE[kind]()),
            temperature=temperature_question,
            max_tokens=max_tokens_question,
        )
        try:
            question = final_question(reply)
            if normal(question) == normal(row.question):
                raise Bad("same_as_reference")
            if known and (found := known.inside(question)) is not None:
                raise Bad("in_benchmark", benchmark=found)
            of = "answer"
            reply = await generator.chat(
                ANSWER(question=question, answer_form=ANSWER_FORM[kind]()),
                temperature=temperature_answer,
                max_tokens=max_tokens_answer,
            )
            solution, answer = final_answer(reply, kind)
        except Bad as bad:
            run.reject(reply, bad.reason, of=of, **bad.details)
            return None
        return XwinQuestion(
            instruction=question,
            output=OUTPUT(solution=solution, answer=answer),
            answer=answer,
            style=kind,
            reference=row.id,
        )

    for made in await run.map(derive, range(questions_per_reference), keep_going=True):
        if made:
            yield made


def final_question(reply: Reply) -> str:
    """What stands under the last label; raises Bad."""
    [question] = sections(complete_reply(reply), "FINAL CREATED QUESTION:", last=True)
    return question


def final_answer(reply: Reply, style: Style) -> tuple[str, str]:
    """Solution and answer of a reply; raises Bad."""
    text = complete_reply(reply)
    solution, _ = sections(text, "SOLUTION:", "FINAL ANSWER:")
    [answer] = sections(text, "FINAL ANSWER:", last=True)
    if style == "math":
        return solution, answer
    answer = answer.splitlines()[0].strip(" *_`").rstrip(".")
    if number(answer) is None:
        raise Bad("not_a_number", answer=answer)
    return solution, answer
