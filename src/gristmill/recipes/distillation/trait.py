"""TRAIT's passages (Liang et al. 2024): problems of several tasks, each explained, and what they have in common."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Document, Reply, Row, Rows, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections

PASSAGE = Prompt(
    """Write a passage from which a language model is to learn how problems of a field are thought through. It is about these {count} problems, which come from different tasks:

{problems}

The passage has {count} paragraphs about the problems, one for each, in their order, and one closing paragraph.

The paragraph about a problem restates it in full, so that nobody needs the list above, and explains step by step how to come to an answer that you suggest. It brings in the knowledge of the field that each step rests on.

The closing paragraph is about the problems together. It says what they have in common, which knowledge and which techniques serve several of them, and in what they differ: what each of them takes that the others do not.

Begin each paragraph about a problem with its mark, "Problem 1:", "Problem 2:" and so on, and the closing one with "Enlightenment:". Write nothing before, between and after these paragraphs.{gold}"""
)
PROBLEM = Prompt("Problem {number} (task: {task})\n{description}{question}{answer}")
DESCRIPTION = Prompt("What the task asks for: {task_description}\n")
GOLD = Prompt("\nThe right answer: {answer}")
TOWARDS = Prompt(" Lead to the right answers, where they are given.")
CLOSING = "Enlightenment:"
NUMBERED = re.compile(r"^[*_#>` \t]*Problem (\d+)\b[*_ \t]*(?::|$)", re.IGNORECASE | re.MULTILINE)
BLANK = re.compile(r"\n\s*\n")


LEAST_INSIDE = 20
"""Characters of a test question that is looked for as a whole: shorter ones stand in texts by chance."""


class TraitProblem(Row):
    """A problem of a downstream task, from its training set."""

    question: str
    task: str
    task_description: str = ""
    answer: str = ""
    """The gold answer; nobody is shown it."""
    group: str = ""
    """What problems of a passage share, such as a query or a product; those without may all meet."""


class TraitPassage(Document, kw_only=True):
    """A paragraph for each problem, and a closing one; blank lines between them and nowhere else."""

    tasks: list[str]
    """By problem."""
    questions: list[str]


ByTask = dict[str, list[TraitProblem]]
"""Problems of a group."""


@recipe("trait", endless=True, unique="text", seeds="trait_problems.jsonl")
async def trait(
    problems: Rows[TraitProblem],
    generator: Chat,
    run: Run,
    *,
    benchmarks: Rows[BenchmarkItem] | None = None,
    min_problems: Annotated[int, Meta(ge=2)] = 2,
    max_problems: Annotated[int, Meta(ge=2)] = 4,
    show_answers: bool = False,
    overlap_words: Annotated[int, Meta(ge=1)] = 13,
    passages_at_once: Annotated[int, Meta(ge=1)] = 64,
    temperature: float = 0.7,
    max_tokens_passage: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[TraitPassage]:
    """Explain problems of different downstream tasks in one passage, and end it with what they teach together.

    Text of a field alone does not say how its tasks are done. A passage takes 2 to 4 problems, of as many tasks as there
    are, that share something: of advertising the same query or product (`group`), of mathematics nothing (no `group`:
    any may meet). A paragraph for each restates it and reasons to an answer; the closing one says what they share and
    how they differ. Gold answers are not shown. (Liang et al. 2024, "Task Oriented In-Domain Data Augmentation",
    arXiv:2406.16694; model: not confirmed, of GPT-4's class.)

    Problems have `question` and `task`, and may have `task_description`, `answer`, `group`. `trait-select` finds text of
    the field; `trait-stages` puts both in the order of training.

    Args:
        benchmarks: test questions. A problem that is one, or shares words with one, is used in no passage; a passage
            that does is dropped.
        min_problems: of a passage. Each number up to max_problems has equal odds; that, and the two numbers, are not
            confirmed. A group with fewer problems gives all it has.
        max_problems: likewise.
        show_answers: show the gold answers. Whether the paper does is not confirmed; it is taken not to.
        overlap_words: words in a row that a text must share with a test question to be dropped; what contains a whole
            shorter one is dropped too. Not confirmed.
        passages_at_once: worked on side by side. The first round has one, each next one twice as many up to here.
        temperature: of the passage. Not confirmed.
        max_tokens_passage: a passage that reaches it was cut, and is dropped. Not confirmed.

    The marks that a reply sets before its paragraphs are not part of the passage. How problems are drawn within a group
    is not confirmed: here tasks first, then a problem of each, then any others.

    Rejects: `missing_section` (fewer paragraphs than problems, or no closing one; details: section), `empty_section`,
        `extra_section` (more paragraphs than problems; details: section), `empty`, `truncated`, `overlap` (with a test
        question; details: benchmark), `duplicate`; and of problems, one for all (details: problems), `no_question`,
        `test_problem` (it is a test question, or shares words with one), `no_other_task` (its group has a single task).
    """
    tests = Benchmarks(benchmarks or [])

    def in_test(text: str) -> str | None:
        return overlapping(tests, text, overlap_words)

    groups: dict[str, ByTask] = defaultdict(lambda: defaultdict(list))
    useless: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if not problem.question.strip():
            useless["no_question"].append(problem.question)
        elif in_test(problem.question) is not None:
            useless["test_problem"].append(problem.question)
        else:
            groups[problem.group.strip()][problem.task].append(problem)
    usable = []
    for group in groups.values():
        if len(group) > 1:
            usable.append(group)
        else:
            useless["no_other_task"] += [problem.question for alike in group.values() for problem in alike]
    sizes = [sum(map(len, group.values())) for group in usable]
    for reason, questions in useless.items():  # one for all, as a reject is a candidate lost
        run.reject(questions, reason, problems=len(questions))
    if not usable:
        raise BadInput(
            f"trait: a passage takes problems of two tasks at least, and of the {len(problems)} problems no two of "
            "different tasks are usable and share a group: bring problems of several tasks (`task`), in groups that hold "
            "more than one, or in none"
        )

    async def write(_: int) -> TraitPassage | None:
        group = usable[run.draw("group", range(len(usable)), weights=sizes)]
        count = run.draw("problem_count", range(min_problems, max_problems + 1))
        drawn = several(run, group, count)
        shown = [PROBLEM(**told(problem, number, show_answers)) for number, problem in enumerate(drawn, 1)]
        question = PASSAGE(count=len(drawn), problems="\n\n".join(shown), gold=TOWARDS() if show_answers else "")
        reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_passage)
        try:
            text = "\n\n".join(paragraphs(reply, len(drawn)))
            if (found := in_test(text)) is not None:
                raise Bad("overlap", benchmark=found)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None
        row = TraitPassage(
            text=text, tasks=[problem.task for problem in drawn], questions=[problem.question for problem in drawn]
        )
        run.link(row, *drawn)
        return row

    size = 1
    while True:
        for made in await run.map(write, range(size), keep_going=True):
            if made:
                yield made
        size = min(2 * size, passages_at_once)


@trait.check
def the_range_is_one(min_problems: int, max_problems: int) -> None:
    if min_problems > max_problems:
        raise BadInput(f"trait: min_problems={min_problems} is above max_problems={max_problems}")


def overlapping(tests: Benchmarks, text: str, overlap_words: int) -> str | None:
    """The benchmark of which a text has a question: it is one, contains one, or shares so many words in a row with one."""
    for found in (tests.equal(text), tests.sharing(text, overlap_words), tests.inside(text, shortest=LEAST_INSIDE)):
        if found is not None:
            return found
    return None


def several(run: Run, group: ByTask, count: int) -> list[TraitProblem]:
    """So many problems of a group, of as many tasks as can be, in random order; all where there are not more."""
    tasks = run.draw("tasks", list(group), k=min(count, len(group)))
    drawn = [run.draw("problem", group[task]) for task in tasks]
    if count > len(drawn):
        others = [problem for alike in group.values() for problem in alike if problem not in drawn]
        if others:
            drawn += run.draw("others", others, k=min(count - len(drawn), len(others)))
    return drawn


def told(problem: TraitProblem, number: int, show_answer: bool) -> dict[str, object]:
    """What a prompt says of a problem, as the gaps of PROBLEM."""
    description = problem.task_description.strip()
    return {
        "number": number,
        "task": problem.task,
        "question": problem.question.strip(),
        "description": DESCRIPTION(task_description=description) if description else "",
        "answer": GOLD(answer=problem.answer.strip()) if show_answer and problem.answer.strip() else "",
    }


def paragraphs(reply: Reply, count: int) -> list[str]:
    """The paragraphs of a passage about so many problems, the closing one last, without their marks; raises Bad."""
    text = complete_reply(reply)
    parts = sections(text, *(f"Problem {number}:" for number in range(1, count + 1)), CLOSING)
    extra = [found for found in NUMBERED.finditer(text) if int(found[1]) > count]
    extra += [found for part in parts[:-1] for found in NUMBERED.finditer(part)]  # the closing one may list them
    if extra:
        raise Bad("extra_section", section=extra[0][0].strip())
    return [BLANK.sub("\n", part) for part in parts]
