"""UltraChat's topic tree, first level (Ding et al. 2023, section 3): meta topics become subtopics."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta, field

from gristmill import Chat, Row, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.ultrachat import asked_for

SUBTOPICS = Prompt(
    """Think of all that people like to know about "{topic}" and divide it up: name {count} subtopics, each of a few words, that overlap as little as possible and together cover the whole of it. Write a numbered list with nothing else."""
)


class MetaTopic(Row):
    """A theme of the widest kind, such as "health"."""

    name: str


class UltraChatSubject(Row):
    """What questions are asked about: a subtopic, or an entity (a person, a place, a work, ...)."""

    name: str
    kind: Literal["topic", "entity"] = "topic"
    path: list[str] = field(default_factory=list)
    """What it descends from, the most general first."""


def same_name(row: UltraChatSubject) -> str:
    return " ".join(row.name.casefold().split())


@recipe("ultrachat-topics", unique=same_name, seeds="ultrachat_topics.jsonl")
async def ultrachat_topics(
    topic: MetaTopic,
    generator: Chat,
    run: Run,
    *,
    subtopics_per_topic: Annotated[int, Meta(ge=1)] = 37,
    temperature: float = 1.0,
    max_tokens_list: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[UltraChatSubject]:
    """Divide a meta topic into subtopics: what `ultrachat-world` asks questions about.

    One call a topic. The paper has 30 meta topics (ours ship) and more than 1,100 subtopics. (Ding et al. 2023,
    arXiv:2305.14233, section 3.)

    Args:
        subtopics_per_topic: at most. Of 30 topics 37 each make 1,110.
        temperature: not confirmed.
        max_tokens_list: tokens of the list; of one that reaches it the last item is left out. Not confirmed.

    Rejects: `empty_topic`, `no_list` (a reply without any item), `duplicate`.
    """
    if not topic.name.strip():
        run.reject(topic, "empty_topic")
        return
    question = SUBTOPICS(topic=topic.name, count=subtopics_per_topic)
    sampling = {"temperature": temperature, "max_tokens": max_tokens_list}
    for name in await asked_for(run, generator, question, subtopics_per_topic, sampling):
        yield UltraChatSubject(name=name, path=[topic.name])
