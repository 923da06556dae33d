"""MathInstruct (Yue et al. 2023, MAmmoTH, section 2): rationales and programs for the same problems, programs that ran."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import Chat, Execute, Instruction, Program, Reply, Row, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.code import printed, program
from gristmill.ops.maths import require, same
from gristmill.ops.prompts import Prompt
from gristmill.verify.values import Limits

RATIONALE = Prompt(
    """{question}

Solve this step by step, as you would explain it to a student: say what is given and what is asked, and justify each step. End with a line "The answer is X.", where X is the final answer alone."""
)

PROGRAM = Prompt(
    """For each problem, write a Python program that works the answer out and prints it. It prints the answer and nothing else: no words, no units; if the problem offers options, the letter of the right one. It reads no input. It may import from {modules}, and from nothing else.

Problem: A tank holds 340 litres. It is filled at 12.5 litres a minute, and loses 2.5 litres a minute through a leak. After how many minutes is the empty tank full?
Program:
```python
capacity = 340
filling = 12.5
leaking = 2.5
minutes = capacity / (filling - leaking)
print(minutes)
```

Problem: Two fair dice are thrown. What is the probability that the larger of the two numbers is 4, as a fraction?
Program:
```python
from fractions import Fraction
from itertools import product

throws = list(product(range(1, 7), repeat=2))
hits = [throw for throw in throws if max(throw) == 4]
print(Fraction(len(hits), len(throws)))
```

Problem: What is the sum of all positive integers n below 100 for which n^2 + n + 1 is divisible by 7?
Program:
```python
total = 0
for n in range(1, 100):
    if (n * n + n + 1) % 7 == 0:
        total += n
print(total)
```

Problem: A cylinder has a radius of 3 cm and a height of 5 cm. What is its volume in cubic centimetres, to the nearest whole number? Options: (A) 45 (B) 94 (C) 141 (D) 283
Program:
```python
import math

options = {"A": 45, "B": 94, "C": 141, "D": 283}
volume = math.pi * 3**2 * 5
print(min(options, key=lambda letter: abs(options[letter] - volume)))
```

Problem: {question}
Program:"""
)

POT_INSTRUCTION = Prompt("{question}\n\nWrite a Python program that solves this problem and prints the answer.")

STANDARD_LIBRARY = "the standard library"
NEXT_EXAMPLE = "\nProblem:"
"""Where a model that goes on writing examples is stopped."""
OPTIONS = re.compile(r"(?:^|(?<=\s)|\()([A-J])[).:]\s*", re.MULTILINE)


class MathProblem(Row):
    """A problem. What has no `answer` gives no program; what has no `rationale` may be given one."""

    question: str
    answer: str = ""
    """The gold answer; of a problem with options, the letter."""
    rationale: str = ""
    source: str = ""


class MathInstruction(Instruction, kw_only=True):
    kind: Literal["cot", "pot"]
    """A rationale, or a program."""
    source: str
    answer: str
    """The gold answer."""


def wording(row: Instruction) -> str:
    return f"{row.instruction}\n{row.output}"


@recipe("mathinstruct", unique=wording, seeds="math_problems.jsonl")
async def mathinstruct(
    row: MathProblem,
    generator: Chat,
    sandbox: Execute,
    run: Run,
    *,
    write_rationales: bool = True,
    programs_per_question: Annotated[int, Meta(ge=0)] = 1,
    modules: tuple[str, ...] = (),
    sandbox_timeout_s: Annotated[float, Meta(gt=0)] = 5.0,
    tolerance: Annotated[float, Meta(ge=0)] = 1e-3,
    temperature: float = 0.7,
    max_tokens_reply: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[MathInstruction]:
    """Give a problem a rationale, and programs whose printed result is the gold answer.

    A rationale that is there is taken as it is, one that is missing is written, and neither is held against the gold
    answer. Programs are: what fails, hangs, prints nothing or something else is dropped, and the rationale stays. The
    gold answer is shown to nobody. (Yue et al. 2023, "MAmmoTH", arXiv:2309.05653, section 2 and table 1; model: GPT-4.)

    The mix of sources (13 in the paper, 260 thousand rows) is that of the seeds. New college problems:
    `mathinstruct-college`. Asking a trained student for both kinds: `mathinstruct-hybrid`.

    Args:
        write_rationales: where one is missing. The paper does so for TheoremQA and college mathematics only.
        programs_per_question: each from a sample of its own; 0 for rationales alone. The paper has 1 to 2 by source.
        modules: packages that programs may import besides the standard library. The paper allows sympy and numpy; the
            sandbox must have them.
        sandbox_timeout_s: of a program, in seconds. Not from the paper.
        tolerance: share of the gold number by which a printed number may be off, unless both are whole. Not from the
            paper.
        temperature: of all calls. Not from the paper.
        max_tokens_reply: of each call. Not from the paper.

    Rejects: `no_question` (of a seed); `no_gold` (no program is asked for); of replies `empty`, `truncated`,
        `no_program`; of programs the sandbox's `error`, `exit`, `timeout`, `memory`, `output`, `unsupported` (details:
        error, message), `printed_nothing`, `printed_more` (more than a line), `wrong_answer` and `undecided` (it cannot
        be told, or not in time; details: printed, gold), `duplicate`.
    """
    if not row.question.strip():
        run.reject(row, "no_question")
        return

    def made(kind: Literal["cot", "pot"], instruction: str, output: str) -> MathInstruction:
        return MathInstruction(
            instruction=instruction, output=output, kind=kind, source=row.source, answer=row.answer.strip()
        )

    async def cot() -> list[MathInstruction]:
        if row.rationale.strip():
            return [made("cot", row.question, row.rationale.strip())]
        if not write_rationales:
            return []
        reply = await generator.chat(
            RATIONALE(question=row.question), temperature=temperature, max_tokens=max_tokens_reply
        )
        try:
            return [made("cot", row.question, complete_reply(reply))]
        except Bad as bad:
            run.reject(reply, bad.reason)
            return []

    async def pot(reply: Reply) -> MathInstruction | None:
        try:
            code = program(reply)
            verdict = await sandbox.run(Program(code), limits=Limits(seconds=sandbox_timeout_s))
            await check(printed(verdict))
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None
        return made("pot", POT_INSTRUCTION(question=row.question), code)

    async def check(answer: str) -> None:
        verdicts = [await same(run, answer, gold, tolerance=tolerance) for gold in golds(row)]
        if "equal" not in verdicts:
            wrong = "undecided" if "undecided" in verdicts else "wrong_answer"
            raise Bad(wrong, printed=answer[-200:], gold=row.answer)

    async def pots() -> list[MathInstruction | None]:
        if not programs_per_question:
            return []
        if not row.answer.strip():
            run.reject(row, "no_gold")
            return []
        replies = await generator.chat(
            PROGRAM(question=row.question, modules=listed((STANDARD_LIBRARY, *modules))),
            n=programs_per_question,
            temperature=temperature,
            max_tokens=max_tokens_reply,
            stop=[NEXT_EXAMPLE],
        )
        return await run.map(pot, replies)

    for rows in await run.gather(cot(), pots()):
        for solved in rows:
            if solved:
                yield solved


@mathinstruct.check
def answers_can_be_compared() -> None:
    require()


def golds(row: MathProblem) -> list[str]:
    """The gold answer; where it is the letter of an option, also what that option says."""
    gold = row.answer.strip()
    return [gold, *filter(None, [options(row.question).get(gold.strip("().:").upper())])]


def options(question: str) -> dict[str, str]:
    """The options of a question, by letter: "... (A) 12 (B) 15", "A. 12", "A) 12"."""
    pieces = OPTIONS.split(question)
    found = list(zip(pieces[1::2], pieces[2::2], strict=True))
    starts = [at for at, (letter, _) in enumerate(found) if letter == "A"]
    offered = found[starts[-1] :] if starts else []
    letters = [letter for letter, _ in offered]
    return (
        {letter: text.strip(" ,;\n") for letter, text in offered}
        if letters == list("ABCDEFGHIJ")[: len(letters)]
        else {}
    )


def listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
