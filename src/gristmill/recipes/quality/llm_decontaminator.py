"""LLM decontaminator (Yang et al. 2023): reworded benchmark items in training data, found by embeddings and a judge."""

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from gristmill import CallFailed, Chat, Embed, Reply, Row, Rows, Run, recipe, system, user
from gristmill.ops.ask import Bad, attempt
from gristmill.ops.benchmarks import BenchmarkItem
from gristmill.ops.prompts import Prompt
from gristmill.ops.vectors import Vectors, embedded
from gristmill.quality.embed import normalised
from gristmill.quality.filters import set_of

DataType = Literal["code", "math", "number_substitution", "knowledge"]

ANSWER = 'Reply with one word and nothing else: "True" if they are the same, "False" if not.'
INSTRUCTIONS: dict[DataType, Prompt] = {
    "code": Prompt(
        f"""You compare two programming tasks. They are the same if they ask for a program with the same purpose, the same inputs and the same outputs; wording, names and the way in which it is written do not count. {ANSWER}"""
    ),
    "math": Prompt(
        f"""You compare two mathematical problems. They are the same if they ask the same question, whatever the names in them and the order of their words; where two problems are very much alike and have the same answer, they are the same. Problems with other numbers are different ones. {ANSWER}"""
    ),
    "number_substitution": Prompt(
        f"""You compare two mathematical problems. They are the same if they ask the same question, whatever the names in them and the order of their words, and also if one becomes the other when its numbers are replaced. {ANSWER}"""
    ),
    "knowledge": Prompt(
        f"""You compare two questions of knowledge. They are the same if they ask the same thing, whatever the names in them and the order of their words; where two questions are very much alike and have the same answer, they are the same. {ANSWER}"""
    ),
}
PAIR = Prompt("[First text]\n{test}\n[End of the first text]\n\n[Second text]\n{train}\n[End of the second text]")
VERDICT = re.compile(r"\W*(true|false)\W*", re.IGNORECASE)
BLOCK = 256
"""Items whose similarities to all rows are held at once."""


class ContaminatedItem(Row, kw_only=True):
    """An item of a benchmark and the rows that were judged against it, the most similar first."""

    test: str
    benchmark: str
    train: list[str]
    """Texts of the rows."""
    train_ids: list[str]
    similarities: list[float]
    results: list[bool | None]
    """None where the judge never gave a verdict."""
    contaminated: bool


class ContaminationReport(Row, kw_only=True):
    """How much of a benchmark stands reworded in the rows."""

    benchmark: str
    items: int
    contaminated: int
    undecided: int
    """Items of which no pair was judged the same, and at least one not at all."""
    percentage: float
    """Contaminated ones among the items."""
    drop_ids: list[str]
    """Rows that were judged the same as one of its items."""


@recipe("llm-decontaminator", fixed=True)
async def llm_decontaminator(
    rows: Rows[Row],
    embedder: Embed,
    judge: Chat,
    run: Run,
    *,
    benchmarks: Rows[BenchmarkItem],
    data_type: DataType = "knowledge",
    top_k: Annotated[int, Meta(ge=1)] = 1,
    temperature: float = 0.3,
    retries: Annotated[int, Meta(ge=1)] = 30,
    text: str | None = None,
    keep_flagged: bool = False,
) -> AsyncIterator[Row | ContaminatedItem | ContaminationReport]:
    """Drop the rows that a judge takes for a reworded item of a benchmark.

    Of each item the most similar rows are looked for by cosine, and a judge says of each pair whether the two are the
    same. That finds what shares no phrase with the benchmark. It takes items * top_k calls, however many rows there
    are. (Yang et al. 2023, "Rethinking Benchmark and Contamination for Language Models with Rephrased Samples",
    arXiv:2311.04850; paper: multi-qa-MiniLM-L6-cos-v1 and gpt-4.)

    The released tool takes a pair for clean whose verdict cannot be read after all tries. Here it is undecided: it
    counts as such in the report, and its row does not stay.

    Args:
        embedder: places rows and items.
        judge: compares a row with an item.
        benchmarks: what a student will be evaluated on.
        data_type: what counts as the same. number_substitution finds problems with other numbers, too.
        top_k: rows judged against an item.
        temperature: of the judge.
        retries: asks for a verdict at most. The pauses between them are the endpoint's matter.
        text: the rows' column that is compared; prompt and response together unless given. Not from the paper.
        keep_flagged: yield all rows, and only report.

    Rejects: `unread_verdict` (a reply of the judge that is neither True nor False); of rows `contaminated` and `undecided`
        (details of both: test, benchmark, similarity).
    """
    texts = set_of(rows, "the rows", text).texts
    items = list(benchmarks)
    placed = await embedded(run, embedder, [*texts, *(item.text for item in items)], name="place")
    nearest = most_similar(placed[len(texts) :], placed[: len(texts)], top_k)

    async def same(pair: tuple[int, int]) -> tuple[bool | None, list[Reply]]:
        test, train = pair
        asked: list[Reply] = []
        messages = [system(INSTRUCTIONS[data_type]()), user(PAIR(test=items[test].text, train=texts[train]))]

        async def ask() -> Reply:
            asked.append(await judge.chat(messages, temperature=temperature, max_tokens=16))
            return asked[-1]

        try:
            return await attempt(run, ask, read_verdict, tries=retries), asked
        except CallFailed:  # a pair that the judge will not look at is not clean for that
            return None, asked

    pairs = [(test, train) for test, found in enumerate(nearest) for train, _ in found]
    verdicts = dict(zip(pairs, await run.map(same, pairs), strict=True))
    against: dict[int, list[tuple[int, float, bool | None]]] = defaultdict(list)
    results: list[ContaminatedItem] = []
    for test, (item, found) in enumerate(zip(items, nearest, strict=True)):
        said = [verdicts[test, train][0] for train, _ in found]
        result = ContaminatedItem(
            test=item.text,
            benchmark=item.benchmark,
            train=[texts[train] for train, _ in found],
            train_ids=[rows[train].id for train, _ in found],
            similarities=[similarity for _, similarity in found],
            results=said,
            contaminated=True in said,
        )
        for train, similarity in found:
            verdict, replies = verdicts[test, train]
            against[train].append((test, similarity, verdict))
            run.link(result, rows[train], *replies)
        results.append(result)
        run.link(result, item)
        yield result
    for benchmark in Counter(item.benchmark for item in items):
        yield report(benchmark, results, run)
    for train, row in enumerate(rows):
        judged = sorted(against[train], key=lambda one: (one[2] is not True, one[2] is not None, one[0]))
        worst = judged[0] if judged and judged[0][2] is not False else None
        if worst and not keep_flagged:
            test, similarity, verdict = worst
            details: dict[str, Any] = {
                "test": items[test].text,
                "benchmark": items[test].benchmark,
                "similarity": similarity,
            }
            if verdict:
                run.reject(row, "contaminated", **details)
            else:
                run.reject(row, "undecided", **details)
            continue
        kept = replace(row, id="", lineage=None)
        run.link(kept, row, *(reply for test, *_ in judged for reply in verdicts[test, train][1]))
        yield kept


def most_similar(tests: Vectors, trains: Vectors, top_k: int) -> list[list[tuple[int, float]]]:
    """For each item its most similar rows with their cosines, of equals the earlier first."""
    if not len(tests) or not len(trains):
        return [[] for _ in range(len(tests))]
    found = []
    rows = normalised(trains)
    for start in range(0, len(tests), BLOCK):
        for cosines in (normalised(tests[start : start + BLOCK]) @ rows.T).round(
            6
        ):  # the last digits are a machine's own
            order = np.argsort(-cosines, kind="stable")[:top_k]
            found.append([(int(at), float(cosines[at])) for at in order])
    return found


def read_verdict(reply: Reply) -> bool:
    match = VERDICT.fullmatch(reply.text)
    if not match:
        raise Bad("unread_verdict")
    return match[1].lower() == "true"


def report(benchmark: str, results: list[ContaminatedItem], run: Run) -> ContaminationReport:
    ours = [result for result in results if result.benchmark == benchmark]
    contaminated = sum(result.contaminated for result in ours)
    dropped = {
        name: None for result in ours for name, same in zip(result.train_ids, result.results, strict=True) if same
    }
    made = ContaminationReport(
        benchmark=benchmark,
        items=len(ours),
        contaminated=contaminated,
        undecided=sum(not result.contaminated and None in result.results for result in ours),
        percentage=100 * contaminated / len(ours),
        drop_ids=list(dropped),
    )
    run.link(made, *ours)
    return made
