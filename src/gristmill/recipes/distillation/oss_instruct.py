"""OSS-Instruct (Wei et al. 2024, Magicoder, section 2): a few lines of somebody's code inspire a problem and its solution."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Instruction, Reply, Row, Rows, Run, recipe, system, user
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks
from gristmill.ops.code import FENCED
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections
from gristmill.ops.text import approx_tokens

SYSTEM = Prompt(
    "You are an expert author of programming problems. Your problems are good ones, and your solutions are exact."
)

PROBLEM = Prompt(
    """Here are some lines of code, cut out of a file at random:

{fence}
{snippet}
{fence}

Let them inspire you to a good programming problem. They are no more than an inspiration: the problem need not be about this code. Your answer has two sections:

[Problem Description] holds the problem. It stands on its own: whoever solves it sees neither the lines above nor anything else. You may count on what every programmer knows; whatever is particular to the problem, such as formats, names, limits or code to work on, must be spelled out in it.

[Solution] holds a solution of the problem that is complete and right.

Write each section below its label. Begin with the line "[Problem Description]", and put the line "[Solution]" between the two."""
)

LEAD_IN = Prompt("Write a solution to this programming problem.\n\n{problem}")

LABELS = ("[Problem Description]", "[Solution]")
MARGIN = 10
"""Tokens that the prompt may be longer than it was counted."""
PAPER = {"python": 40_000} | dict.fromkeys(
    ("cpp", "java", "typescript", "shell", "csharp", "rust", "php", "swift"), 5_000
)


class CodeFile(Row):
    """A source file."""

    content: str
    lang: str = ""


class OssInstruction(Instruction, kw_only=True):
    """A programming problem after a lead-in line, and its solution."""

    problem: str
    seed: str
    """The lines of code that inspired it."""
    lang: str
    """Of the file that they are from; the solution may be in another language."""
    raw_index: int
    """The file's number in the order of the seeds, from 0."""


@recipe("oss-instruct", seeds="code_files.jsonl")
async def oss_instruct(
    files: Rows[CodeFile],
    generator: Chat,
    run: Run,
    *,
    benchmarks: Rows[BenchmarkItem] | None = None,
    min_lines: Annotated[int, Meta(ge=1)] = 1,
    max_lines: Annotated[int, Meta(ge=1)] = 15,
    files_per_language: dict[str, Annotated[int, Meta(ge=0)]] = PAPER,
    temperature: float = 0.0,
    max_new_tokens: Annotated[int, Meta(ge=1)] = 2500,
    context_tokens: Annotated[int, Meta(ge=1)] = 8192,
    drop_repeated_code: bool = False,
    requests_at_once: Annotated[int, Meta(ge=1)] = 64,
) -> AsyncIterator[OssInstruction]:
    """Cut a few lines out of each source file, and have a programming problem with its solution written after them.

    What makes problems various is the code of others and no list of topics: each file gives one run of 1 to 15 lines
    that begins anywhere, and each run one call. Files come in random order. A row stays if its lines, its problem and
    its solution are all new, white space apart; then it must hold no item of a benchmark. (Wei et al. 2024, "Magicoder",
    arXiv:2312.02120, section 2, and the repository ise-uiuc/magicoder; model: gpt-3.5-turbo-1106, 80,000 files.)

    Lines at the end of a file may be fewer than were drawn, as in the released code. Here besides: blank lines are not
    sent; what stands behind a label on its line belongs to its section; benchmarks are looked for without regard to
    white space, too. MagicoderS is a student trained on these rows and then on those of `code-evol-instruct`: give the
    two exports to the trainer in this order.

    Args:
        benchmarks: texts that no row may hold: docstrings, questions and solutions (paper: of HumanEval, MBPP, DS-1000,
            APPS and GSM8K). Leave out solutions that anybody would write, such as "return x + y", as the paper does.
        min_lines: of a piece of code.
        max_lines: of a piece of code.
        files_per_language: at most so many of a language; all of a language that is not named. The paper's numbers are
            from memory, not confirmed; it takes them from the first 150,000 files of each.
        temperature: of each call.
        max_new_tokens: tokens of a reply at most.
        context_tokens: tokens that prompt and reply may have together; a reply gets what the prompt leaves. The prompt
            is counted without a tokenizer, rather too high.
        drop_repeated_code: reject a solution that has a code block of its problem, word for word. Off in the paper.
        requests_at_once: files that are worked on side by side. The first round has one, each next one twice as many up
            to here.

    Rejects: files with `no_code`; lines that are `blank`, or leave no room for a reply: `too_long` (details: tokens, left);
        replies `empty`, `truncated`, `out_of_order` (the solution comes first), `missing_section`, `empty_section`
        (details: section); rows `seen_seed`, `seen_problem`, `seen_solution`, `repeated_code`, `in_benchmark` (details:
        benchmark).
    """
    known = Benchmarks(benchmarks or ())
    seen: dict[str, set[str]] = {"seed": set(), "problem": set(), "output": set()}

    async def write(number: int) -> OssInstruction | None:
        file = files[number]
        try:
            snippet = cut(run, file, min_lines, max_lines)
        except Bad as bad:
            run.reject(file, bad.reason)
            return None
        fence = "````" if "```" in snippet else "```"
        messages = [system(SYSTEM()), user(PROBLEM(snippet=snippet, fence=fence))]
        tokens = sum(approx_tokens(str(message.content)) for message in messages)
        left = min(max_new_tokens, context_tokens - tokens - MARGIN)
        if left <= 0:
            run.reject(snippet, "too_long", tokens=tokens, left=left)
            return None
        reply = await generator.chat(messages, temperature=temperature, max_tokens=left)
        try:
            problem, solution = read(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None
        row = OssInstruction(
            instruction=LEAD_IN(problem=problem),
            output=solution,
            problem=problem,
            seed=snippet,
            lang=file.lang,
            raw_index=number,
        )
        run.link(row, file)
        return row

    def check(row: OssInstruction) -> None:
        """Raise Bad for a row that is not new or not clean; one that is new is remembered."""
        keys = {field: "".join(getattr(row, field).split()) for field in seen}
        for field, reason in (("seed", "seen_seed"), ("problem", "seen_problem"), ("output", "seen_solution")):
            if keys[field] in seen[field]:
                raise Bad(reason)
        for field, key in keys.items():
            seen[field].add(key)
        if drop_repeated_code and blocks(row.problem) & blocks(row.output):
            raise Bad("repeated_code")
        if (found := known.inside(f"{row.problem}\n\n{row.output}")) is not None:
            raise Bad("in_benchmark", benchmark=found)

    waiting = chosen(run, files, files_per_language)
    count = 1
    while waiting:
        batch, waiting = waiting[:count], waiting[count:]
        for row in filter(None, await run.map(write, batch, keep_going=True)):
            try:
                check(row)
            except Bad as bad:
                run.reject(row, bad.reason, **bad.details)
                continue
            yield row
        count = min(2 * count, requests_at_once)


@oss_instruct.check
def the_lines_are_a_range(min_lines: int, max_lines: int) -> None:
    if min_lines > max_lines:
        raise BadInput(f"oss-instruct: min_lines is {min_lines}, more than max_lines, {max_lines}")


def chosen(run: Run, files: Rows[CodeFile], most: dict[str, int]) -> list[int]:
    """Numbers of the files in random order, of each language no more than are wanted."""
    order = list(range(len(files)))
    run.rng("order").shuffle(order)
    most = {lang.casefold(): number for lang, number in most.items()}  # sets of code write Python, python
    taken: Counter[str] = Counter()
    numbers = []
    for number in order:
        lang = files[number].lang.casefold()
        if taken[lang] < most.get(lang, len(files)):
            taken[lang] += 1
            numbers.append(number)
    return numbers


def cut(run: Run, file: CodeFile, min_lines: int, max_lines: int) -> str:
    """Consecutive lines of a file, without the last line break; raises Bad."""
    lines = file.content.splitlines(keepends=True)
    if not file.content.strip():
        raise Bad("no_code")
    start = run.draw("start", range(len(lines)))
    count = run.draw("lines", range(min_lines, max_lines + 1))
    snippet = "".join(lines[start : start + count]).rstrip("\r\n")
    if not snippet.strip():
        raise Bad("blank")
    return snippet


def read(reply: Reply) -> tuple[str, str]:
    """Problem and solution; raises Bad."""
    text = complete_reply(reply)
    first, second = (text.lower().find(label.lower()) for label in LABELS)
    if 0 <= second < first:
        raise Bad("out_of_order")
    problem, solution = sections(text, *LABELS)
    return problem, solution


def blocks(text: str) -> set[str]:
    """The fenced blocks of a text, without white space."""
    return {"".join(match["code"].split()) for match in FENCED.finditer(text)}
