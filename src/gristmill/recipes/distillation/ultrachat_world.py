"""UltraChat's first sector, questions about the world (Ding et al. 2023, section 3): about subtopics and about entities."""

from collections.abc import AsyncIterator, Sequence
from itertools import chain
from typing import Annotated, Any

from msgspec import Meta

from gristmill import Chat, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.distillation.ultrachat import UltraChatOpening, asked_for, same_line
from gristmill.recipes.distillation.ultrachat_topics import UltraChatSubject

LIST_ONLY = "Write a numbered list, a question a line, and nothing else."
QUESTIONS = Prompt(
    "Write {count} specific questions that a curious person might ask about {subject} (a part of: {above}). Each must be "
    "understood on its own and concern something else than the others. " + LIST_ONLY
)
RELATED = Prompt(
    "Somebody who is interested in {subject} asked: {question}\n\nWrite {count} other questions that the same person "
    "might well ask: of the same field, but about something new. Each must be understood on its own. " + LIST_ONLY
)
META = Prompt(
    "Write {count} basic questions that people would ask first about {subject}, each about another side of it, and each "
    'with the name "{subject}" in it. ' + LIST_ONLY
)
SPECIFIC = Prompt(
    "This is a question about {subject}: {question}\n\nWrite {count} more specific questions that dig into details of it. "
    "Each must be understood on its own. " + LIST_ONLY
)
GENERAL = Prompt(
    "This is a question about {subject}: {question}\n\nWrite {count} more general questions that have to do with it and "
    "reach beyond {subject}. Each must be understood on its own. " + LIST_ONLY
)

Share = Annotated[float, Meta(ge=0, le=1)]


@recipe("ultrachat-world", unique=same_line, seeds="ultrachat_subjects.jsonl")
async def ultrachat_world(
    subject: UltraChatSubject,
    generator: Chat,
    run: Run,
    *,
    questions_per_subtopic: Annotated[int, Meta(ge=1)] = 10,
    related_per_question: Annotated[int, Meta(ge=0)] = 10,
    meta_questions_per_entity: Annotated[int, Meta(ge=1)] = 5,
    specific_per_meta: Annotated[int, Meta(ge=0)] = 10,
    general_per_meta: Annotated[int, Meta(ge=0)] = 20,
    keep_meta: Share = 1.0,
    keep_specific: Share = 0.4,
    keep_general: Share = 0.25,
    temperature: float = 1.0,
    max_tokens_list: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[UltraChatOpening]:
    """Write opening lines about the world: questions about a subtopic or an entity, and questions that come from these.

    Of a subtopic (`kind` topic): questions, and related ones of each. Of an entity: meta questions, and of each of these
    more specific and more general ones, of all which some are kept by chance. `path` says what a line descends from,
    beginning with the meta topic where the subtopic comes from `ultrachat-topics`. (Ding et al. 2023, arXiv:2305.14233,
    section 3. Paper: 1,100 subtopics, and the 10,000 entities named most in Wikidata, which you bring.)

    Args:
        questions_per_subtopic: at most.
        related_per_question: of a subtopic's question. The exact number is not confirmed.
        meta_questions_per_entity: at most.
        specific_per_meta: of a meta question.
        general_per_meta: likewise.
        keep_meta: share of the meta questions that become opening lines; all 50,000 in the paper.
        keep_specific: share of the specific ones, of each list; in the paper 200,000 of 500,000.
        keep_general: share of the general ones, likewise; 250,000 of a million.
        temperature: not confirmed.
        max_tokens_list: tokens of a list; of one that reaches it the last item is left out. Not confirmed.

    Rejects: `empty_subject`, `no_list` (a reply without any item), `duplicate`.
    """
    if not subject.name.strip():
        run.reject(subject, "empty_subject")
        return
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens_list}
    above = [*subject.path, subject.name]

    async def written(form: Prompt, count: int, path: Sequence[str], share: float) -> list[UltraChatOpening]:
        if count == 0:
            return []
        question = form(
            subject=subject.name, question=path[-1], count=count, above=" / ".join(subject.path) or "the world"
        )
        found = await asked_for(run, generator, question, count, sampling)
        kept = sorted(run.rng("kept").sample(range(len(found)), round(share * len(found))))
        return [UltraChatOpening(instruction=found[i], sector="world", path=list(path)) for i in kept]

    async def below(question: UltraChatOpening) -> list[UltraChatOpening]:
        path = [*above, question.instruction]
        if subject.kind == "topic":
            return await written(RELATED, related_per_question, path, 1.0)
        specific = await written(SPECIFIC, specific_per_meta, path, keep_specific)
        return [*specific, *await written(GENERAL, general_per_meta, path, keep_general)]

    if subject.kind == "topic":
        first, kept = await written(QUESTIONS, questions_per_subtopic, above, 1.0), 1.0
    else:
        first, kept = await written(META, meta_questions_per_entity, above, 1.0), keep_meta
    chosen = run.rng("meta").sample(range(len(first)), round(kept * len(first)))
    for index in sorted(chosen):
        yield first[index]
    for row in chain(*await run.map(below, first, keep_going=True)):
        yield row
