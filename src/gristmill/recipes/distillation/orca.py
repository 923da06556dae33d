"""Orca (Mukherjee et al. 2023, section 3): queries of FLAN-v2, answered at length because a system message asks for it; by
one teacher all, by a better one some of them."""

import random
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct, field

from gristmill import BadInput, Chat, Conversation, Message, Reply, Row, Rows, Run, Turn, recipe, system, user
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import is_refusal

Collection = Literal["cot", "niv2", "flan2021", "t0"]

SYSTEM_MESSAGES = {
    "none": Prompt(""),
    "nothing_to_look_up": Prompt(
        "You are an assistant. Answer in such detail that nobody has to look anything up elsewhere to understand you."
    ),
    "long": Prompt("You are an assistant. You get a task, and answer it in detail and at length."),
    "five_year_old": Prompt(
        "You are a friendly assistant who explains every answer, in words that a child of five understands."
    ),
    "follow_well": Prompt(
        "You are an assistant that keeps to instructions to the letter. Be as helpful as you possibly can."
    ),
    "find_information": Prompt(
        "You are an assistant that finds information for people. Give all the detail, so that they need no other source."
    ),
    "faithful_task": Prompt(
        "You are an assistant. Carry out the task that you are given as faithfully as you can. Think step by step while you do so, and give the reason for each step."
    ),
    "choice_for_a_child": Prompt(
        "Say what the task is, and explain your answer. If there are options, name the right one first, then say why each of the others is wrong. Explain it as you would to a child of five."
    ),
    "use_of_definition": Prompt("Explain how the definition of the task led you to the answer."),
    "choice_with_knowledge": Prompt(
        "You are an assistant. Say what the task is, and explain your answer. If there are options, name the right one first, then say why each of the others is wrong. Bring in knowledge from outside of the text where it is needed."
    ),
    "faithful_question": Prompt(
        "You are an assistant that finds information for people. Answer the question as faithfully as you can. Think step by step, and justify what you answer."
    ),
    "faithful_instructions": Prompt(
        "You get a task together with instructions. Follow these as faithfully as you can, step by step, and justify your answer."
    ),
    "teacher": Prompt(
        "You are a teacher. Explain in simple steps what the task asks for, which guidelines it gives, and how these lead to the answer."
    ),
    "every_language": Prompt(
        "You are an assistant who knows all languages and can translate between any two. Explain in simple steps what the task asks for and which guidelines it gives. Then solve it, and show where you used them."
    ),
    "parts_of_definition": Prompt(
        """You get the definition of a task and an input for it. Take the definition apart, and make each part clear by an example that meets it, in this form:
Part #: a part of the definition.
Usage: a reply that meets this part, and why it does.
Then answer for the input."""
    ),
    "find": Prompt("You are an assistant that finds information for people."),
}
"""By name."""

ALLOWED: dict[Collection, tuple[str, ...]] = {
    "cot": ("find_information", "faithful_question", "find"),
    "niv2": (
        *("none", "nothing_to_look_up", "follow_well", "faithful_task", "use_of_definition", "faithful_instructions"),
        *("teacher", "every_language", "parts_of_definition"),
    ),
    "flan2021": ("long", "five_year_old", "faithful_task", "choice_for_a_child", "choice_with_knowledge"),
    "t0": ("none", "nothing_to_look_up", "long", "follow_well", "faithful_task"),
}
"""Which of them a collection's queries may get: those about definitions suit NIv2, whose tasks have one."""

AT_ONCE = 1000
"""Queries that are worked on side by side: bounds the memory."""


class FlanQuery(Row):
    """A query of FLAN-v2, or of anything that is made of tasks."""

    query: str
    collection: Collection
    task: str = ""


class SystemMessage(Struct):
    name: str
    text: str
    collections: list[Collection] = field(default_factory=lambda: list(get_args(Collection)))
    """Whose queries may get it."""


class OrcaAnswer(Conversation, kw_only=True):
    """System message (where there is one), query and response, as a student sees them."""

    stage: int
    """Of training: 1, then 2."""
    teacher: str
    """The model that answered: the first teacher in stage 1, the second in stage 2."""
    system: str
    """The system message; "" where the teacher got none, and then none is among the messages."""
    collection: Collection
    task: str

    @property
    def query(self) -> str:
        return self.messages[-2].content

    @property
    def response(self) -> str:
        return self.messages[-1].content


@recipe("orca", fixed=True, seeds="flan_queries.jsonl")
async def orca(
    queries: Rows[FlanQuery],
    first_teacher: Chat,
    second_teacher: Chat,
    run: Run,
    *,
    cot: Annotated[int, Meta(ge=0)] = 150_000,
    niv2: Annotated[int, Meta(ge=0)] = 440_000,
    niv2_max_per_task: Annotated[int, Meta(ge=1)] = 300,
    flan2021: Annotated[int, Meta(ge=0)] = 2_500_000,
    t0: Annotated[int, Meta(ge=0)] = 2_000_000,
    second_teacher_queries: Annotated[int, Meta(ge=0)] = 1_000_000,
    system_messages: Annotated[list[SystemMessage], Meta(min_length=1)] | None = None,
    temperature: float = 0.7,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[OrcaAnswer]:
    """Have teachers explain themselves: each query gets a system message that asks for it, and two stages of answers.

    Queries are drawn task by task, so that large tasks do not crowd out small ones. Each gets one system message, drawn
    among those that suit its collection; with it the first teacher answers all, and the second, better one a part.
    A student learns from the first (stage 1: more, shorter, easier) and then from the second (stage 2): rows
    come in this order, and `gristmill export --by stage` writes a file for each. (Mukherjee et al. 2023, "Orca:
    Progressive Learning from Complex Explanation Traces of GPT-4", arXiv:2306.02707, sections 3.1 to 3.3.)

    The training is not done here. Paper: 4 epochs of each stage, 2,048 tokens a row, loss on the response alone, with
    the system message in the input. FLAN-v2 is not shipped; bring it with the columns `query`, `collection` (cot,
    niv2, flan2021 or t0) and `task`.

    Args:
        first_teacher: answers every query (paper: ChatGPT).
        second_teacher: answers a part of them anew (paper: GPT-4).
        cot: queries of this collection at most (paper: all of it). Draw a task, take an unused query of it, until
            there are so many or none is left.
        niv2: likewise.
        niv2_max_per_task: of each of its tasks. Not confirmed.
        flan2021: likewise.
        t0: likewise.
        second_teacher_queries: drawn among those that the first teacher answered; all where there are fewer.
        system_messages: others than the 16 of the recipe, as JSON: [{"name", "text", "collections"}]; for all
            collections where they are not said. Which of the 16 the paper allows for which collection is not confirmed.
        temperature: of both teachers. Not confirmed.
        max_tokens_response: a response that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `empty_query` (of a seed), `empty`, `truncated`, `content_filter` (as the endpoint says) and `refusal`
        responses (details: stage, collection). What the first teacher did not answer, the second is not asked.
    """
    messages = {name: prompt() for name, prompt in SYSTEM_MESSAGES.items()}
    allowed: dict[Collection, Sequence[str]] = dict(ALLOWED)
    if system_messages:
        messages = {message.name: message.text.strip() for message in system_messages}
        allowed = {
            name: [message.name for message in system_messages if name in message.collections] for name in ALLOWED
        }
    usable = [query for query in queries if query.query.strip()]
    if bare := next((query.collection for query in usable if not allowed[query.collection]), None):
        raise BadInput(
            f"orca: none of the system_messages is for the collection {bare!r}, of which there are queries: "
            f'add "{bare}" to the `collections` of one'
        )
    for query in queries:
        if not query.query.strip():
            run.reject(query, "empty_query")

    sizes: dict[Collection, int] = {"cot": cot, "niv2": niv2, "flan2021": flan2021, "t0": t0}
    drawn: list[FlanQuery] = []
    for name, size in sizes.items():
        those = [query for query in usable if query.collection == name]
        drawn += by_task(run.rng(name), those, size, niv2_max_per_task if name == "niv2" else None)

    async def answer(teacher: Chat, stage: int, query: FlanQuery, message: str) -> OrcaAnswer | None:
        asked = [*([system(message)] if message else []), user(query.query)]
        reply = await teacher.chat(asked, temperature=temperature, max_tokens=max_tokens_response)
        try:
            response = answered(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, stage=stage, collection=query.collection)
            return None
        row = OrcaAnswer(
            messages=turns(asked, response),
            stage=stage,
            teacher=teacher.model,
            system=message,
            collection=query.collection,
            task=query.task,
        )
        run.link(row, query)
        return row

    async def first(query: FlanQuery) -> tuple[FlanQuery, OrcaAnswer | None]:
        message = messages[run.draw("system_message", allowed[query.collection])]
        return query, await answer(first_teacher, 1, query, message)

    async def second(item: tuple[FlanQuery, str]) -> OrcaAnswer | None:
        return await answer(second_teacher, 2, *item)

    done: list[tuple[FlanQuery, str]] = []
    for start in range(0, len(drawn), AT_ONCE):
        for query, row in await run.map(first, drawn[start : start + AT_ONCE], keep_going=True):
            if row:
                done.append((query, row.system))
                yield row
    part = run.rng("second_teacher").sample(range(len(done)), min(second_teacher_queries, len(done)))
    for start in range(0, len(part), AT_ONCE):
        items = [done[number] for number in part[start : start + AT_ONCE]]
        for row in await run.map(second, items, keep_going=True):
            if row:
                yield row


@orca.check
def messages_have_names_of_their_own(system_messages: list[SystemMessage] | None) -> None:
    names = [message.name for message in system_messages or []]
    if len(set(names)) < len(names):
        raise BadInput(f"orca: two of the system_messages have the same name: {', '.join(names)}")


def by_task(
    rng: random.Random, queries: Sequence[FlanQuery], size: int, most_per_task: int | None = None
) -> list[FlanQuery]:
    """Draw a task, then an unused query of it, until there are `size` or all tasks are used up.

    Args:
        most_per_task: queries of one task at most.
    """
    tasks: dict[str, list[FlanQuery]] = {}
    for query in queries:
        tasks.setdefault(query.task, []).append(query)
    left = [rng.sample(those, len(those))[:most_per_task] for those in tasks.values()]
    found: list[FlanQuery] = []
    while left and len(found) < size:
        number = rng.randrange(len(left))
        found.append(left[number].pop())
        if not left[number]:
            left[number] = left[-1]
            left.pop()
    return found


def answered(reply: Reply) -> str:
    """The text of a reply that is there, whole and no refusal; raises Bad."""
    if reply.finish == "content_filter":
        raise Bad("content_filter")
    text = complete_reply(reply)
    if is_refusal(text):
        raise Bad("refusal")
    return text


def turns(asked: Sequence[Message], response: str) -> list[Turn]:
    """What was asked in texts, and the response, as a conversation."""
    return [*(Turn(message.role, str(message.content)) for message in asked), Turn("assistant", response)]
