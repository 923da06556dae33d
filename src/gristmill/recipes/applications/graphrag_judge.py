"""GraphRAG's comparison (Edge et al. 2024, section 4): a judge holds answers from the graph against those of plain retrieval,
or of another level, on four criteria."""

import re
from collections.abc import AsyncIterator
from statistics import mean
from typing import Annotated, Any, Literal

from msgspec import Meta

from gristmill import Chat, Document, Instruction, Retrieve, Row, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.recipes.applications.graphrag import overlapping, packed

ANSWER = Prompt(
    """Answer a question from the texts below and from nothing else, in at most {words} words. Say so if they do not tell.

Question: {question}

{texts}"""
)
JUDGE = Prompt(
    """Two answers to a question are compared on one criterion alone, {criterion}: {meaning}

Question: {question}

Answer 1:
{first}

Answer 2:
{second}

Say which is better on this criterion and why, in a few sentences. If neither is, say so. End with a line "Winner: 1", "Winner: 2" or "Winner: neither"."""
)
WINNER = re.compile(r"Winner:[\s*_]*(?:Answer\s*)?(1|2|neither)\b", re.IGNORECASE)

Criterion = Literal["comprehensiveness", "diversity", "empowerment", "directness"]
MEANING: dict[Criterion, str] = {
    "comprehensiveness": "how much detail the answer gives to cover all aspects of the question.",
    "diversity": "how varied and rich the perspectives and insights of the answer are.",
    "empowerment": "how well the answer helps its reader to understand the topic and to judge it for themselves.",
    "directness": "how specifically and clearly the answer addresses the question.",
}


class ComparedAnswer(Row, kw_only=True):
    """An answer, the one that it was held against, and the share of verdicts that it won on each criterion, a verdict for
    neither counting half; None where of one order no verdict could be read."""

    question: str
    answer: str
    other: str
    comprehensiveness: float | None
    diversity: float | None
    empowerment: float | None
    directness: float | None


class WinRate(Row, kw_only=True):
    """The mean over all questions."""

    criterion: Criterion
    share: float
    questions: int


@recipe("graphrag-judge", fixed=True)
async def graphrag_judge(
    rows: Rows[Instruction],
    generator: Chat,
    retriever: Retrieve,
    judge: Chat,
    run: Run,
    *,
    corpus: Rows[Document] | None = None,
    other: Rows[Instruction] | None = None,
    judge_repeats: Annotated[int, Meta(ge=1)] = 5,
    judge_temperature: float = 0.7,
    chunk_tokens: Annotated[int, Meta(ge=50)] = 600,
    overlap: Annotated[int, Meta(ge=0)] = 100,
    retrieve_k: Annotated[int, Meta(ge=1)] = 100,
    context_tokens: Annotated[int, Meta(ge=100)] = 8000,
    answer_words: Annotated[int, Meta(ge=1)] = 2000,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 4096,
) -> AsyncIterator[ComparedAnswer | WinRate]:
    """Hold each answer against another to the same question, several times in both orders, on four criteria.

    Behind `graphrag`, or over its table `global_answer`. The other answer is that of plain retrieval over the corpus (the
    chunks found for the question, best first, as many as fit), or comes from `other`: the answers of a run on another
    level. Directness is the control: plain retrieval should win it. (Edge et al. 2024, arXiv:2404.16130, section 4.) In
    the paper each comparison is repeated 5 times; here that many times in each of both orders.

    Args:
        generator: writes the other answer, from what was retrieved.
        retriever: finds chunks of the corpus.
        judge: compares.
        corpus: the documents that the graph was made from; those that ship unless given.
        other: answers to hold them against instead; matched by the question.
        judge_repeats: verdicts a criterion and order.
        judge_temperature: of the verdicts. Not from the paper.
        chunk_tokens: tokens of a chunk, overlap included.
        overlap: tokens that a chunk repeats of the one before.
        retrieve_k: chunks to find. Not from the paper, which fills the context.
        context_tokens: of the chunks that an answer is written from.
        answer_words: of such an answer.
        max_tokens_per_reply: of any reply. Not from the paper.

    Rejects: `no_other` (no answer in `other` to this question), `nothing_retrieved`, `empty` and `truncated` (answers),
        `unread_verdict` (details: criterion; it does not count).
    """
    documents = corpus if corpus is not None else home.shipped("documents.jsonl", Document)
    given = {normal(question_of(row)): row.output for row in other or []}
    pieces = Rows(
        Document(text=piece) for document in documents for piece in overlapping(document.text, chunk_tokens, overlap)
    )

    async def rival(question: str) -> str:
        if other is not None:
            if not (found := given.get(normal(question))):
                raise Bad("no_other")
            return found
        hits = await retriever.search(pieces, question, k=retrieve_k)
        if not hits:
            raise Bad("nothing_retrieved")
        texts = packed([pieces[hit.index].text for hit in hits], context_tokens)[0]
        reply = await generator.chat(
            ANSWER(words=answer_words, question=question, texts="\n\n".join(texts)),
            temperature=0.0,
            max_tokens=max_tokens_per_reply,
        )
        return complete_reply(reply)

    async def won(question: str, answer: str, against: str, criterion: Criterion) -> float | None:
        """Of the verdicts those that the answer won, as the mean of both orders: where more of one can be read, it weighs
        no more. None where an order has none."""
        shares = []
        for first, second, own in ((answer, against, "1"), (against, answer, "2")):
            asked = JUDGE(
                criterion=criterion, meaning=MEANING[criterion], question=question, first=first, second=second
            )
            values = []
            for reply in await judge.chat(
                asked, n=judge_repeats, temperature=judge_temperature, max_tokens=max_tokens_per_reply
            ):
                said = WINNER.findall(reply.text)
                if said:
                    values.append(0.5 if said[-1].lower() == "neither" else float(said[-1] == own))
                else:
                    run.reject(reply, "unread_verdict", criterion=criterion)
            shares.append(mean(values) if values else None)
        forward, backward = shares
        return None if forward is None or backward is None else (forward + backward) / 2

    async def compare(row: Instruction) -> ComparedAnswer | None:
        question = question_of(row)
        try:
            against = await rival(question)
        except Bad as bad:
            run.reject(row, bad.reason, **bad.details)
            return None
        found = await run.map(lambda criterion: won(question, row.output, against, criterion), list(MEANING))
        shares: dict[str, Any] = dict(zip(MEANING, found, strict=True))
        made = ComparedAnswer(question=question, answer=row.output, other=against, **shares)
        run.link(made, row)
        return made

    compared = [row for row in await run.map(compare, rows, keep_going=True) if row is not None]
    for row in compared:
        yield row
    for criterion in MEANING:
        read = [(row, share) for row in compared if (share := getattr(row, criterion)) is not None]
        if read:
            rate = WinRate(criterion=criterion, share=mean(share for _, share in read), questions=len(read))
            for row, _ in read:
                run.link(rate, row)
            yield rate


def question_of(row: Instruction) -> str:
    return f"{row.instruction}\n{row.input}".strip()


def normal(question: str) -> str:
    return " ".join(question.split())
