"""Orca 2 (Mitra et al. 2023, sections 3 and 4): each kind of task is answered by the strategy that suits it, and the student is
never told which: the instruction that asked for it is erased.

`orca-2-few-shot` and `orca-2-doctor-patient` make the paper's other new rows, `orca-2-mix` the stages of training.
"""

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, field

from gristmill import BadInput, Chat, Conversation, Reply, Row, Rows, Run, Turn, recipe, system, user
from gristmill.ops.answers import final_answer
from gristmill.ops.ask import Bad
from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks
from gristmill.ops.maths import at_once
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.orca import AT_ONCE, answered

STRATEGIES = {
    "direct_answer": Prompt(
        "You get a task of the kind: {cluster}. Read it with care, and give the answer at once, without an explanation and without intermediate steps."
    ),
    "step_by_step": Prompt(
        "You get a task of the kind: {cluster}. First say what is given and what is asked. Then work towards the answer in small numbered steps, each of which follows from those before it; where there are options, weigh each of them in a step of its own. Check the last step against the question before you answer."
    ),
    "explain_then_answer": Prompt(
        "You get a task of the kind: {cluster}. First explain in a short paragraph what speaks for the answer that you are going to give, and what speaks against the others. Only then answer."
    ),
    "recall_then_generate": Prompt(
        "You get a task of the kind: {cluster}. First recall: list the facts, from the text or from what you know, that bear on it. Then write the answer from these facts, without further argument."
    ),
    "recall_reason_generate": Prompt(
        "You get a task of the kind: {cluster}. Work in three parts. Recall: list the facts, from the text or from what you know, that bear on it. Reason: say what follows from them taken together. Generate: write the answer that this leads to."
    ),
}
"""How a task may be tackled, by name; each is a candidate for every cluster."""

FORMAT = Prompt(
    """End your reply with the line "The answer is X.", where X is the answer alone: of options the letter, of a calculation the number, of labels the label."""
)
GENERIC = Prompt(
    "You are a careful assistant. You follow instructions closely, think before you answer, and say nothing that you have no grounds for."
)
"""What a student reads in the place of the instruction. The paper's own words are not confirmed."""

REPEATED = 10
"""Words in a row that give an instruction away."""

Source = Literal["flan", "math", "few_shot", "doctor_patient"]
T = TypeVar("T")


class CautiousTask(Row):
    """A task to be answered with care."""

    query: str
    cluster: str
    """What kind of task it is, such as "claim verification": tasks that the same strategy suits. The paper groups 1,448
    tasks of FLAN-v2 by hand into 23 (both not confirmed)."""
    task: str = ""
    answer: str = ""
    """The gold answer, where it is known."""
    source: Literal["flan", "math"] = "flan"


class Strategy(Struct):
    name: str
    instruction: Annotated[str, Meta(pattern=r"\S")]
    """The detailed system instruction that elicits it."""
    clusters: list[str] = field(default_factory=list)
    """It is a candidate for these alone; for all where none is named."""


class CautiousAnswer(Conversation, kw_only=True):
    """The generic system message, query and response, as a student sees them."""

    source: Source
    cluster: str
    task: str
    strategy: str
    """What the teacher was told to do; the student is not."""
    right: bool | None
    """Whether the response ends in the gold answer; None where that is not known."""


@recipe("orca-2", fixed=True, seeds="flan_queries.jsonl")
async def orca_2(
    tasks: Rows[CautiousTask],
    teacher: Chat,
    run: Run,
    *,
    flan_cautious: Annotated[int, Meta(ge=0)] = 602_000,
    math: Annotated[int, Meta(ge=0)] = 160_000,
    sample_per_cluster: Annotated[int, Meta(ge=1)] = 10,
    strategies: Annotated[list[Strategy], Meta(min_length=1)] | None = None,
    strategy_of: dict[str, str] | None = None,
    drop_wrong: bool = True,
    sample_temperature: float = 0.0,
    temperature: float = 0.7,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[CautiousAnswer]:
    """Find out which strategy serves each kind of task best, have it answered that way, and erase the instruction.

    Of each cluster a few tasks with a gold answer are tried under every candidate: a detailed system instruction, such
    as "recall, then reason, then answer". The one with the most right answers is the cluster's. Under it
    the teacher answers all its tasks; but the row holds a generic system message in its place. So a student sees
    careful answers without being told how to think, and must learn which way fits: a "cautious reasoner". (Mitra et al.
    2023, "Orca 2: Teaching Small Language Models How to Reason", arXiv:2311.11045, sections 3 and 4.)

    The paper describes the choice in words only (it looks at the teacher's performance); counting right answers is our
    reading. Its instructions are written by hand for each task: bring yours with `strategies`. FLAN-v2 is not shipped;
    tasks have the columns `query`, `cluster`, and better `answer`.

    Args:
        teacher: GPT-4 in the paper.
        flan_cautious: tasks of the source "flan" at most, drawn at random.
        math: of the source "math" likewise (DeepMind mathematics, GSM8K, AQuA, MATH, AMPS and others in the paper).
        sample_per_cluster: tasks with a gold answer that every candidate is tried on. Not confirmed.
        strategies: others than the five of the recipe, as JSON: [{"name", "instruction", "clusters"}]. How the
            reply must end is added to each where there are gold answers.
        strategy_of: the strategy of a cluster by the names of both, where it need not be tried: as no task has a gold
            answer, or as the student, who may be too small for the teacher's way, needs another.
        drop_wrong: reject a response that does not end in the gold answer. Not confirmed. Answers are compared as numbers,
            letters of options and spellings, without algebra.
        sample_temperature: of the trials. Not confirmed.
        temperature: of the answers. Not confirmed.
        max_tokens_response: a response that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `empty_query` (of a seed), `no_strategy` (of a cluster: all its trials failed; details: rows), and responses:
        `empty`, `truncated`, `content_filter`, `refusal`, `wrong_format` (no final answer, where others of its cluster have a gold one),
        `wrong_answer` (details: answer, gold), `repeats_instruction` (10 words of it in a row). Details of all: cluster,
        strategy.
    """
    by_name = {made.name: made for made in strategies or built_in()}
    usable = []
    for task in tasks:
        if task.query.strip() and task.cluster.strip():
            usable.append(task)
        else:
            run.reject(task, "empty_query")
    clusters: dict[str, list[CautiousTask]] = defaultdict(list)
    for task in usable:
        clusters[task.cluster].append(task)
    candidates = {
        name: candidates_for(name, rows, list(by_name.values()), strategy_of or {}) for name, rows in clusters.items()
    }
    if unknown := set(strategy_of or {}) - set(clusters):
        raise BadInput(f"orca-2: strategy_of names clusters that no task is of: {', '.join(sorted(unknown))}")

    closed = {task.cluster for task in usable if task.answer.strip()}
    """Clusters whose tasks have an answer that can be compared; of others, free texts, no form is asked for."""

    async def ask(task: CautiousTask, strategy: Strategy, heat: float) -> Reply:
        asked = [system(instruction(strategy, task.cluster, task.cluster in closed)), user(task.query)]
        return await teacher.chat(asked, temperature=heat, max_tokens=max_tokens_response)

    async def trial(item: tuple[CautiousTask, Strategy]) -> tuple[str, str, bool]:
        task, strategy = item
        reply = await ask(task, strategy, sample_temperature)
        try:
            right = is_right(concluded(answered(reply)), task.answer)
        except Bad:  # a reply that cannot be used speaks against the strategy that led to it
            right = False
        return task.cluster, strategy.name, right

    trials = []
    for name, rows in clusters.items():
        if len(candidates[name]) > 1:
            gold = [task for task in rows if task.answer.strip()]
            some = sample(run.rng(f"sample of {name}"), gold, sample_per_cluster)
            trials += [(task, strategy) for task in some for strategy in candidates[name]]
    tried = await run.map(trial, trials, keep_going=True)
    chosen = best(candidates, tried)
    for name, rows in clusters.items():
        if name not in chosen:
            run.reject(name, "no_strategy", rows=len(rows))
    table = await run.artefact("strategies", {"chosen": chosen, "right": counts(tried)})

    async def answer(task: CautiousTask) -> CautiousAnswer | None:
        strategy = by_name[chosen[task.cluster]]
        reply = await ask(task, strategy, temperature)
        try:
            response = answered(reply)
            final = concluded(response) if task.cluster in closed else ""
            right = is_right(final, task.answer) if task.answer.strip() else None
            if drop_wrong and right is False:
                raise Bad("wrong_answer", answer=final, gold=task.answer)
            if repeats(response, instruction(strategy, task.cluster, task.cluster in closed)):
                raise Bad("repeats_instruction")
        except Bad as bad:
            run.reject(reply, bad.reason, cluster=task.cluster, strategy=strategy.name, **bad.details)
            return None
        row = CautiousAnswer(
            messages=erased(task.query, response),
            source=task.source,
            cluster=task.cluster,
            task=task.task,
            strategy=strategy.name,
            right=right,
        )
        run.link(row, task, table)
        return row

    sizes: dict[str, int] = {"flan": flan_cautious, "math": math}
    able = [task for task in usable if task.cluster in chosen]
    for source, size in sizes.items():
        drawn = sample(run.rng(source), [task for task in able if task.source == source], size)
        for start in range(0, len(drawn), AT_ONCE):
            for row in await run.map(answer, drawn[start : start + AT_ONCE], keep_going=True):
                if row:
                    yield row


@orca_2.check
def strategies_are_known(strategies: list[Strategy] | None, strategy_of: dict[str, str] | None) -> None:
    names = [strategy.name for strategy in strategies or built_in()]
    if len(set(names)) < len(names):
        raise BadInput(f"orca-2: two of the strategies have the same name: {', '.join(names)}")
    if unknown := set((strategy_of or {}).values()) - set(names):
        raise BadInput(f"orca-2: strategy_of names {', '.join(sorted(unknown))}, which is none of: {', '.join(names)}")


def built_in() -> list[Strategy]:
    """The recipe's own candidates; their instructions are filled in for each cluster."""
    return [Strategy(name, "") for name in STRATEGIES]


def instruction(strategy: Strategy, cluster: str, closed: bool) -> str:
    """The detailed system instruction that a teacher gets.

    Args:
        closed: there is an answer to end with.
    """
    text = strategy.instruction or STRATEGIES[strategy.name](cluster=cluster)
    return f"{text.strip()}\n\n{FORMAT() if closed else ''}".strip()


def candidates_for(
    cluster: str, rows: Sequence[CautiousTask], strategies: Sequence[Strategy], strategy_of: dict[str, str]
) -> list[Strategy]:
    """The strategies that a cluster can choose from: one where it is said.

    Raises:
        BadInput: none is for this cluster, or several are and no task has a gold answer to try them on.
    """
    if cluster in strategy_of:
        return [strategy for strategy in strategies if strategy.name == strategy_of[cluster]]
    found = [strategy for strategy in strategies if not strategy.clusters or cluster in strategy.clusters]
    if not found:
        raise BadInput(f"orca-2: no strategy is for the cluster {cluster!r}: add it to the `clusters` of one")
    if len(found) > 1 and not any(task.answer.strip() for task in rows):
        raise BadInput(
            f"orca-2: no task of the cluster {cluster!r} has an `answer`, so the {len(found)} strategies cannot be tried "
            f'on it. Give some tasks their gold answer, or say which: --strategy-of \'{{"{cluster}": "{found[0].name}"}}\''
        )
    return found


def sample(rng: random.Random, items: Sequence[T], size: int) -> list[T]:
    """So many of them at random, or all."""
    return rng.sample(items, min(size, len(items)))


def counts(tried: Sequence[tuple[str, str, bool]]) -> dict[str, dict[str, Any]]:
    """Of each cluster and strategy, how many trials there were and how many were right."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    asked, right = Counter(trial[:2] for trial in tried), Counter(trial[:2] for trial in tried if trial[2])
    for (cluster, strategy), number in asked.items():
        found[cluster][strategy] = {"trials": number, "right": right[cluster, strategy]}
    return found


def best(candidates: dict[str, list[Strategy]], tried: Sequence[tuple[str, str, bool]]) -> dict[str, str]:
    """Of each cluster the strategy with the largest share of right trials; of equals the one that is listed first.

    A candidate without rivals needs no trial. A cluster whose trials all failed is not among them.
    """
    found = {}
    scores = counts(tried)
    for cluster, those in candidates.items():
        names = [strategy.name for strategy in those if len(those) == 1 or strategy.name in scores.get(cluster, {})]
        shares = {name: share(scores.get(cluster, {}).get(name)) for name in names}
        if names:
            found[cluster] = max(names, key=shares.__getitem__)
    return found


def share(score: dict[str, int] | None) -> float:
    return score["right"] / score["trials"] if score else 0.0


def concluded(response: str) -> str:
    """The final answer of a response; raises Bad."""
    final = final_answer(response)
    if final is None:
        raise Bad("wrong_format")
    return final


def is_right(final: str, gold: str) -> bool:
    return at_once(final, gold) == "equal"


def repeats(response: str, given: str) -> bool:
    """Does a response say ten words of its instruction in a row?"""
    return Benchmarks([BenchmarkItem(text=given)]).sharing(response, REPEATED) is not None


def erased(query: str, response: str) -> list[Turn]:
    """A conversation under the generic message, whatever the teacher was told."""
    return [Turn("system", GENERIC()), Turn("user", query), Turn("assistant", response)]
