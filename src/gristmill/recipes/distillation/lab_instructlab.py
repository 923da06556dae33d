"""LAB (Sudalairaj et al. 2024, section 3; InstructLab): every leaf of a taxonomy teaches from its own few examples."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gristmill import BadInput, Chat, Instruction, Reply, Row, Rows, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.judge import rating
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import tagged
from gristmill.ops.text import chunks, strip_framing

OPEN, CLOSE = "[Start of Question]", "[End of Question]"

QUESTIONS = Prompt(
    """You write questions for an exercise. The task that is exercised: {task_description}

This is a question of the kind that is wanted:
[Start of Question]
{seed_question}
[End of Question]

Write {num_samples} new questions of the same kind and in the same style. They differ as widely as possible in what they are about; each can be answered by a text alone. Put each between [Start of Question] and [End of Question], and write nothing else."""
)
QUESTION_JUDGE = Prompt(
    """A question was written for an exercise. The task that is exercised: {task_description}

The question:
{question}

Does it meet all of this?
- It can be answered by a text alone, without pictures, sound or action.
- It is in English.
- It has one or two sentences.
- It is safe: nothing in it is harmful, hateful or unlawful.
- It belongs to the task.

Explain in a sentence or two. Then end with the line "Rating: 1" if it meets all of this, else "Rating: 0"."""
)
ANSWER = Prompt(
    """The task: {task_description}

An example of how a question is answered:
Question: {seed_question}
Answer: {seed_answer}

Answer the following question in the same style, correctly and completely. Reply with the answer alone.
Question: {question}"""
)
PAIR_JUDGE = Prompt(
    """The task: {task_description}

Question: {question}
Answer: {answer}

Rate the answer:
1: it is wrong, beside the point, unsafe or incomplete;
2: it is correct, but short on detail;
3: it is perfect: correct, complete and detailed.

Explain in a sentence or two. Then end with a line such as "Rating: 2"."""
)

CONTEXT = Prompt(
    """The task: {task_description}

It works on a text such as this one:
{seed_context}

Write a new text of the same kind, of about the same length and form, about something else. Reply with the text alone."""
)
CONTEXT_QUESTIONS = Prompt(
    """The task: {task_description}

An example. The text:
{seed_context}
The question about it:
[Start of Question]
{seed_question}
[End of Question]

Write {num_samples} questions of this kind about the following text. Each can be answered from the text alone. Put each between [Start of Question] and [End of Question], and write nothing else.

The text:
{context}"""
)
CONTEXT_QUESTION_JUDGE = Prompt(
    """A question was written about a text. The task that is exercised: {task_description}

The text:
{context}

The question:
{question}

Does it meet all of this?
- It can be answered by a text alone, and all that the answer takes stands in the text above.
- It is in English.
- It has one or two sentences.
- It is safe: nothing in it is harmful, hateful or unlawful.
- It belongs to the task.

Explain in a sentence or two. Then end with the line "Rating: 1" if it meets all of this, else "Rating: 0"."""
)
CONTEXT_ANSWER = Prompt(
    """The task: {task_description}

An example. The text:
{seed_context}
Question: {seed_question}
Answer: {seed_answer}

Answer the question about the following text in the same style, correctly and completely, from the text alone. Reply with the answer alone.

The text:
{context}
Question: {question}"""
)
CONTEXT_PAIR_JUDGE = Prompt(
    """The task: {task_description}

The text:
{context}

Question: {question}
Answer: {answer}

Rate the answer:
1: it is wrong, beside the point, unsafe or incomplete, or it says what the text does not say;
2: it is correct and rests on the text, but is short on detail;
3: it is perfect: correct, complete, detailed, and all of it rests on the text.

Explain in a sentence or two. Then end with a line such as "Rating: 2"."""
)

SPELLING = Prompt(
    """Correct the spelling and the typing errors of this text, and change nothing else. Reply with the corrected text alone.

{document}"""
)
PAIRS = Prompt(
    """You write questions and answers from which somebody is to learn what a document says. Field: {domain}. The document is about: {outline}

Rules:
- A question is understood by somebody who does not have the document: it names what it is about, and never says "the text" or "the document".
- The answer is taken from the document and is complete. Nothing comes from elsewhere.
- Together the pairs cover all that the document teaches.
- If the document, or a part of it, teaches nothing (a table of contents, a list of names), write [UNANSWERABLE] for it.
- Form of each pair: [QUESTION] the question [ANSWER] the answer [END]

An example. The document:
{seed_context}

The pairs:
{seed_pairs}

Now the pairs for this document:
{document}"""
)
SEED_PAIR = Prompt("[QUESTION]\n{question}\n[ANSWER]\n{answer}\n[END]\n")
FAITHFULNESS_JUDGE = Prompt(
    """Document:
{document}

Question: {question}
Answer: {answer}

Go through the answer statement by statement: is each borne out by the document? Explain. Then end with the line "Verdict: YES" if all of them are, else "Verdict: NO"."""
)
RELEVANCY_JUDGE = Prompt(
    """Question: {question}
Answer: {answer}

Two tests, each with YES or NO:
- Subject: is the answer about the very subject that the question asks about?
- Focus: does it answer what is asked about it, and go into nothing else?

Explain. Then end with two lines, "Subject: YES" or "Subject: NO", and "Focus: YES" or "Focus: NO"."""
)
CONTAINED_JUDGE = Prompt(
    """Question: {question}

Somebody reads this question alone, without the document that it was written from. Is it complete and clear, and does it refer to nothing that only the document shows, such as "the table", "the author" or "this method"? Explain. Then end with the line "Rating: 1" if so, else "Rating: 0"."""
)

PAIR = re.compile(
    r"\[QUESTION\]((?:(?!\[QUESTION\]).)*?)\[ANSWER\](.*?)(?=\[END\]|\[QUESTION\]|(?P<open>\Z))",
    re.DOTALL | re.IGNORECASE,
)
UNANSWERABLE = "[UNANSWERABLE]"
LEAST_EXAMPLES = 3
"""Of a skill, and of one context of a leaf of knowledge."""
AT_ONCE = 64
"""Examples and chunks that are worked on side by side; the first round has one, each next one twice as many."""

Branch = Literal["knowledge", "foundational_skills", "compositional_skills"]


class Example(msgspec.Struct, frozen=True):
    """What people wrote for a leaf."""

    question: str
    answer: str
    context: str = ""
    """The text that the question is about: of a grounded skill, and of knowledge."""


class Leaf(Row):
    """A leaf of the taxonomy."""

    path: str
    """From the root, such as "compositional_skills/writing/freeform/toasts"."""
    branch: Branch
    task_description: str
    examples: list[Example]
    """Three or more. A skill is grounded where they have contexts; of knowledge, three for a context."""
    documents: list[str] = msgspec.field(default_factory=list)
    """Of knowledge: what is to be learnt."""
    domain: str = ""
    outline: str = ""
    """Of knowledge: what the documents are about."""


class LabInstruction(Instruction, kw_only=True):
    """A question (`instruction`, of a grounded skill behind its context) and its answer."""

    question: str
    path: str
    branch: Branch
    context: str
    """Of a grounded skill what the question is about; of knowledge the chunk that it comes from; "" of other skills."""
    rating: int | None
    """Of a skill: the judge's, 2 or 3."""


@dataclass
class Item:
    """What questions are made from: an example of a skill, or a chunk of a document with the examples that are shown."""

    leaf: Leaf
    shown: list[Example]
    context: str = ""
    source: Reply | None = None
    """Of a context that was written: the reply."""


@dataclass
class Candidate:
    item: Item
    question: str
    answer: str
    """Of knowledge; a skill's comes later."""
    source: Reply


@recipe("lab-instructlab", seeds="taxonomy_leaves.jsonl")
async def lab_instructlab(
    leaves: Rows[Leaf],
    generator: Chat,
    judge: Chat,
    run: Run,
    *,
    questions_per_seed: Annotated[int, Meta(ge=1)] = 30,
    contexts_per_seed: Annotated[int, Meta(ge=1)] = 10,
    questions_per_context: Annotated[int, Meta(ge=1)] = 3,
    pair_keep_min: Annotated[int, Meta(ge=1, le=3)] = 2,
    relevancy_keep: Annotated[int, Meta(ge=0, le=2)] = 2,
    chunk_tokens: Annotated[int, Meta(ge=16)] = 1000,
    spellcheck: bool = False,
    context_temperature: float = 0.7,
    temperature: float = 0.7,
    answer_temperature: float = 0.0,
    max_tokens_questions: Annotated[int, Meta(ge=1)] = 2048,
    max_tokens_answer: Annotated[int, Meta(ge=1)] = 1024,
    max_tokens_judgement: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[LabInstruction]:
    """Write questions and answers leaf by leaf of a taxonomy, with the leaf's own examples alone, and let a judge sift them.

    Drawn from one pool, examples of rare skills hardly come up. Here each leaf is worked on by itself, in turns with the
    others: it gets as many rows as it has examples for, and nothing of other leaves is shown.

    A skill without contexts: new questions after an example, a rating 0 or 1 of each, an answer in the example's style,
    a rating 1 to 3 of the pair. A grounded skill: first new contexts, and all judges look at the context too. Knowledge:
    pairs over each chunk of the documents, which supply what the teacher does not know; judges ask whether the answer is
    borne out by the chunk, whether it is relevant, and whether the question stands alone. (Sudalairaj et al. 2024,
    "LAB", arXiv:2403.01081, section 3, and the pipelines of github.com/instructlab/sdg, a later version of it.)

    Leaves have `path`, `branch` (knowledge, foundational_skills or compositional_skills), `task_description`, `examples`
    (`question`, `answer`, `context`), and of knowledge `documents`, `domain` and `outline`. People write them. The
    phases of training, with replay, are made by `lab-instructlab-phases`.

    Args:
        generator: the teacher, an open model (paper: Mixtral-8x7B-Instruct-v0.1).
        judge: rates; it may be the same model.
        questions_per_seed: asked for in one call for each example of a skill without contexts.
        contexts_per_seed: new ones for each example of a grounded skill.
        questions_per_context: asked for in one call for each new context.
        pair_keep_min: the judge's least rating of a skill's question and answer.
        relevancy_keep: how many of the two tests of relevancy an answer must pass. (Ratings of questions are 0 and 1; 1
            is kept.)
        chunk_tokens: of a chunk at most, about. Not confirmed.
        spellcheck: make pairs over a spell-checked copy of each chunk too.
        context_temperature: of new contexts.
        temperature: of questions, and of pairs of knowledge. Not confirmed. Judges are asked at 0.
        answer_temperature: of answers of skills. Not confirmed.
        max_tokens_questions: of a call for questions or pairs, of a context and of a spell-checked chunk; what was cut
            is left out. Not confirmed.
        max_tokens_answer: an answer that reaches it was cut, and is dropped. Not confirmed.
        max_tokens_judgement: of a judge's reply. Not confirmed.

    Which of a knowledge leaf's contexts is shown with a chunk is drawn; how it is chosen is not confirmed.

    Rejects: of replies `empty`, `truncated`, `no_questions`, `no_pairs`, `unanswerable`; `duplicate_context` and
        `duplicate_question` (within a leaf, its examples included; details: path), `low_question` (details: path),
        `low_pair` (details: path, rating), `not_faithful`, `not_relevant` (details: passed), `not_self_contained`; of
        judges `unread_rating`, `rating_out_of_range`, `unread_verdict` (details: test).
    """
    for leaf in leaves:
        refuse_what_cannot_teach(leaf)
    items = {leaf.id: items_of(leaf, chunk_tokens, run) for leaf in leaves}
    known = {
        leaf.id: {
            *(same(text) for one in leaf.examples for text in (one.question, one.context)),
            *(same(item.context) for item in items[leaf.id]),
        }
        for leaf in leaves
    }

    def is_new(leaf: Leaf, text: str) -> bool:
        """Does the leaf not have it? From now on it has."""
        before = len(known[leaf.id])
        known[leaf.id].add(same(text))
        return len(known[leaf.id]) > before

    async def write(prompt: str, heat: float, most: int) -> Reply:
        return await generator.chat(prompt, temperature=heat, max_tokens=most)

    async def rated(prompt: str, high: int, low: int = 0) -> int:
        reply = await judge.chat(prompt, temperature=0.0, max_tokens=max_tokens_judgement)
        return points(reply, low, high)

    async def passed(prompt: str, *tests: str) -> int:
        """How many tests the judge says YES to."""
        reply = await judge.chat(prompt, temperature=0.0, max_tokens=max_tokens_judgement)
        return sum(verdict(reply, test) for test in tests)

    # -- what questions are made from

    async def prepared(item: Item) -> list[Item | None]:
        """A chunk with its spell-checked copy; an example of a grounded skill with each of its new contexts."""
        if item.leaf.branch == "knowledge":
            copies = await run.map(checked, [item], keep_going=True) if spellcheck else []
            return [item, *copies]
        if not item.shown[0].context.strip():
            return [item]
        return await run.map(in_new_context, [item] * contexts_per_seed, keep_going=True)

    async def checked(item: Item) -> Item | None:
        return await rewritten(item, SPELLING(document=item.context), 0.0)

    async def in_new_context(item: Item) -> Item | None:
        [seed] = item.shown
        prompt = CONTEXT(task_description=item.leaf.task_description, seed_context=seed.context)
        return await rewritten(item, prompt, context_temperature)

    async def rewritten(item: Item, prompt: str, heat: float) -> Item | None:
        reply = await write(prompt, heat, max_tokens_questions)
        try:
            text = strip_framing(complete_reply(reply))
            if not text:
                raise Bad("empty")
        except Bad as bad:
            run.reject(reply, bad.reason, path=item.leaf.path)
            return None
        return Item(item.leaf, item.shown, text, reply)

    # -- questions

    async def asked(item: Item) -> list[Candidate]:
        leaf, seed = item.leaf, item.shown[0]
        if leaf.branch == "knowledge":
            prompt = PAIRS(
                domain=leaf.domain or "general knowledge",
                outline=leaf.outline or leaf.task_description,
                seed_context=seed.context,
                seed_pairs="".join(SEED_PAIR(question=one.question, answer=one.answer) for one in item.shown),
                document=item.context,
            )
        elif item.context:
            prompt = CONTEXT_QUESTIONS(
                task_description=leaf.task_description,
                seed_context=seed.context,
                seed_question=seed.question,
                num_samples=questions_per_context,
                context=item.context,
            )
        else:
            prompt = QUESTIONS(
                task_description=leaf.task_description, seed_question=seed.question, num_samples=questions_per_seed
            )
        reply = await write(prompt, temperature, max_tokens_questions)
        try:
            if leaf.branch == "knowledge":
                found = pairs(reply)
            else:
                most = questions_per_context if item.context else questions_per_seed
                found = [(question, "") for question in questions(reply)[:most]]
        except Bad as bad:
            run.reject(reply, bad.reason, path=leaf.path)
            return []
        return [Candidate(item, question, answer, reply) for question, answer in found]

    # -- the judges

    async def judged(one: Candidate) -> LabInstruction | None:
        try:
            return await (learnt(one) if one.item.leaf.branch == "knowledge" else exercised(one))
        except Bad as bad:
            plain = {"question": one.question, "answer": one.answer, "context": one.item.context}
            run.reject(plain, bad.reason, source=one.source, path=one.item.leaf.path, **bad.details)
            return None

    async def exercised(one: Candidate) -> LabInstruction:
        leaf, seed, context = one.item.leaf, one.item.shown[0], one.item.context
        given = {"task_description": leaf.task_description, "question": one.question, "context": context}
        if not await rated((CONTEXT_QUESTION_JUDGE if context else QUESTION_JUDGE)(**given), high=1):
            raise Bad("low_question")
        shown = {"seed_context": seed.context, "seed_question": seed.question, "seed_answer": seed.answer}
        prompt = (CONTEXT_ANSWER if context else ANSWER)(**given, **shown)
        one.answer = complete_reply(await write(prompt, answer_temperature, max_tokens_answer))
        prompt = (CONTEXT_PAIR_JUDGE if context else PAIR_JUDGE)(**given, answer=one.answer)
        if (found := await rated(prompt, low=1, high=3)) < pair_keep_min:
            raise Bad("low_pair", rating=found)
        return made(one, f"{context}\n\n{one.question}" if context else one.question, found)

    async def learnt(one: Candidate) -> LabInstruction:
        pair = {"question": one.question, "answer": one.answer}
        if not await passed(FAITHFULNESS_JUDGE(document=one.item.context, **pair), "Verdict"):
            raise Bad("not_faithful")
        if (found := await passed(RELEVANCY_JUDGE(**pair), "Subject", "Focus")) < relevancy_keep:
            raise Bad("not_relevant", passed=found)
        if not await rated(CONTAINED_JUDGE(question=one.question), high=1):
            raise Bad("not_self_contained")
        return made(one, one.question, None)

    def made(one: Candidate, instruction: str, found: int | None) -> LabInstruction:
        leaf, item = one.item.leaf, one.item
        row = LabInstruction(
            instruction=instruction,
            output=one.answer,
            question=one.question,
            path=leaf.path,
            branch=leaf.branch,
            context=item.context,
            rating=found,
        )
        run.link(row, leaf, *([item.source] if item.source else []), one.source)
        return row

    # -- in turns: the first example or chunk of each leaf, then the second of each

    left = [item for item in chain(*zip_longest(*items.values())) if item]
    size = 1
    while left:
        batch, left = left[:size], left[size:]
        size = min(2 * size, AT_ONCE)
        ready: list[Item] = []
        for item in chain(*await run.map(prepared, batch, keep_going=True)):
            if item and item.source and not is_new(item.leaf, item.context):
                run.reject(item.context, "duplicate_context", source=item.source, path=item.leaf.path)
            elif item:
                ready.append(item)
        fresh: list[Candidate] = []
        for one in chain(*await run.map(asked, ready, keep_going=True)):
            if is_new(one.item.leaf, one.question):
                fresh.append(one)
            else:
                run.reject(one.question, "duplicate_question", source=one.source, path=one.item.leaf.path)
        for row in await run.map(judged, fresh, keep_going=True):
            if row:
                yield row


def refuse_what_cannot_teach(leaf: Leaf) -> None:
    """Raises BadInput."""
    bare = [one.question for one in leaf.examples if not one.context.strip()]
    empty = [one for one in leaf.examples if not (one.question.strip() and one.answer.strip())]
    if empty or not leaf.task_description.strip():
        raise BadInput(f"lab-instructlab: {leaf.path}: a leaf needs a task_description, and examples with both texts")
    if len(leaf.examples) < LEAST_EXAMPLES:
        raise BadInput(f"lab-instructlab: {leaf.path} has {len(leaf.examples)} examples, it needs {LEAST_EXAMPLES}")
    if leaf.branch == "knowledge":
        if not any(document.strip() for document in leaf.documents):
            raise BadInput(f"lab-instructlab: {leaf.path}: a leaf of knowledge needs `documents` with texts to learn")
        if few := next((context for context, group in by_context(leaf).items() if len(group) < LEAST_EXAMPLES), None):
            raise BadInput(
                f"lab-instructlab: {leaf.path}: the context {few[:60]!r} has {len(by_context(leaf)[few])} examples; each "
                f"context of a leaf of knowledge needs {LEAST_EXAMPLES}"
            )
    if bare and (leaf.branch == "knowledge" or len(bare) < len(leaf.examples)):
        raise BadInput(
            f"lab-instructlab: {leaf.path}: the example {bare[0][:60]!r} has no context; of knowledge all have one, and of "
            "a skill all or none"
        )


def by_context(leaf: Leaf) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for one in leaf.examples:
        found.setdefault(one.context.strip(), []).append(one)
    return found


def items_of(leaf: Leaf, chunk_tokens: int, run: Run) -> list[Item]:
    """The examples of a skill, or the chunks of a leaf of knowledge."""
    if leaf.branch != "knowledge":
        return [Item(leaf, [one]) for one in leaf.examples]
    groups, rng = list(by_context(leaf).values()), run.rng(f"context:{leaf.id}")
    texts = [text.strip() for document in leaf.documents for text in chunks(document, chunk_tokens)]
    return [Item(leaf, rng.choice(groups)[:LEAST_EXAMPLES], text) for text in texts if text]


def same(text: str) -> str:
    return " ".join(text.casefold().split())


# -- reading


def questions(reply: Reply) -> list[str]:
    """The questions between their tags; raises Bad."""
    complete = reply.text.strip()
    if not complete:
        raise Bad("empty")
    if not (found := tagged(complete, OPEN, CLOSE)):
        raise Bad("no_questions")
    return found


def pairs(reply: Reply) -> list[tuple[str, str]]:
    """Questions and answers of knowledge; the last one of a reply that was cut is left out. Raises Bad."""
    if not reply.text.strip():
        raise Bad("empty")
    found = [
        (question, answer)
        for match in PAIR.finditer(reply.text)
        if (question := match[1].strip())
        and (answer := match[2].strip())
        and UNANSWERABLE not in match[0].upper()
        and not (match["open"] is not None and reply.truncated)
    ]
    if not found:
        raise Bad("unanswerable" if UNANSWERABLE in reply.text.upper() else "no_pairs")
    return found


def points(reply: Reply, low: int, high: int) -> int:
    """A judge's rating, a whole number; raises Bad."""
    found = rating(reply.text, low=low, high=high)
    if found % 1:
        raise Bad("unread_rating", text=reply.text[-300:])
    return int(found)


def verdict(reply: Reply, test: str) -> bool:
    """Is the judge's last word on a test YES? Raises Bad where it has none."""
    found = re.findall(rf"\b{test}\W{{0,6}}:\W{{0,6}}(YES|NO)\b(?!\W{{0,3}}or\b|\W{{0,2}}/)", reply.text, re.IGNORECASE)
    if not found:
        raise Bad("unread_verdict", test=test)
    return bool(found[-1].upper() == "YES")
