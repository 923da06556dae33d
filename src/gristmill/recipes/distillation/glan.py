"""GLAN (Li et al. 2024, section 2): from a taxonomy of knowledge over subjects and syllabi to homework, without seeds.

`glan-taxonomy` makes the taxonomy alone, for people to vote on; `glan-decontaminate` drops what stands in benchmarks.
"""

import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from math import comb, prod
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from gristmill import BadInput, Chat, Instruction, Reply, Row, Rows, Run, Unparsed, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt

TAXONOMY = {
    "field": Prompt(
        """Name the fields that all human knowledge and skill divides into: academic, vocational, and those of everyday life and leisure. Leave none out, and let none contain another.

Answer in JSON: {"names": ["...", "..."]}"""
    ),
    "sub_field": Prompt(
        """Name the sub-fields that the field "{field}" of human knowledge and skill divides into. Leave none out, and let none contain another.

Answer in JSON: {"names": ["...", "..."]}"""
    ),
    "discipline": Prompt(
        """Name the disciplines of "{sub_field}" ({field}): what a school, a university or a course of training would have a department or a curriculum for.

Answer in JSON: {"names": ["...", "..."]}"""
    ),
}
"""What divides the whole, a field, a sub-field."""

SUBJECTS = Prompt(
    """You are an expert of education in {discipline}. Which subjects should somebody learn who studies it, from the first to the last? List them all. For each say at what level it is taught, what one learns in it, and what its subtopics are."""
)

SUBJECTS_FORMAT = Prompt(
    """Bring this list of subjects into another form: JSON Lines, one object a subject, all of them, in their order, and nothing else.
{"subject_name": "...", "level": "...", "subtopics": ["...", "..."]}

The list:
{text}"""
)

SYLLABUS = Prompt(
    """You teach {discipline} and are about to teach the subject "{subject}" (level: {level}). Its subtopics: {subtopics}.

Write its syllabus: {sessions} class sessions, in the order in which they are taught. For each give its name, a description, and {concepts} key concepts that a student must have understood at its end. Go into detail."""
)

SYLLABUS_FORMAT = Prompt(
    """Take the class sessions out of this syllabus, with the key concepts of each: JSON Lines, one object a session, all of them, in their order, and nothing else.
{"session": "...", "key_concepts": ["...", "..."]}

The syllabus:
{text}"""
)

QUESTION = Prompt(
    """You teach the subject "{subject}" ({discipline}, level: {level}). This is its syllabus:

{syllabus}

End of the syllabus. Your students have just had these class sessions: {sessions}.
Write one homework question for them, for which these key concepts are needed, all of them: {concepts}.
{together}It may use what was taught up to then and nothing that comes later. It must be complete in itself, with all that is given, for the students see no more than the question. Write the question alone, without its answer."""
)

TOGETHER = Prompt("The sessions must come together in it, so that it takes several steps to answer.\n")

T = TypeVar("T")
Path = tuple[str, str, str]
Named = Annotated[str, Meta(pattern=r"\S")]


class TaxonomyNode(Row):
    """A field of human knowledge and skill, a sub-field or a discipline: whichever is the lowest that is named."""

    field: str = ""
    sub_field: str = ""
    discipline: str = ""
    keep: int = 0
    """Votes of people to keep it."""
    remove: int = 0
    """Votes to remove it, with all below it."""


class GlanInstruction(Instruction, kw_only=True):
    """A homework question and its answer, and where in the curriculum it belongs."""

    field: str
    sub_field: str
    discipline: str
    subject: str
    level: str
    sessions: list[str]
    """One or two, in the order of the syllabus."""
    key_concepts: list[str]


class Names(Struct):
    names: list[Named]


class SubjectLine(Struct):
    subject_name: Named
    level: str | int
    subtopics: list[str]


class SessionLine(Struct):
    session: Named
    key_concepts: Annotated[list[Named], Meta(min_length=1)]


@dataclass(eq=False)
class Node:
    """A node of the taxonomy as it grows."""

    row: TaxonomyNode
    sources: list[Row | Reply]
    """The seed that it is, or the replies that named it."""
    subjects: "list[Subject] | None" = None
    """Of a discipline; None before it had its first turn."""

    @property
    def name(self) -> str:
        return " / ".join(filter(None, (self.row.field, self.row.sub_field, self.row.discipline)))


@dataclass(eq=False)
class Subject:
    discipline: Node
    line: SubjectLine
    sources: list[Reply]
    syllabus: str = ""
    sessions: dict[str, list[str]] = field(default_factory=dict)
    """The key concepts that each session teaches first."""


@recipe("glan", endless=True, seeds="glan_taxonomy.jsonl")
async def glan(
    taxonomy: Rows[TaxonomyNode],
    generator: Chat,
    answerer: Chat,
    run: Run,
    *,
    subject_queries: Annotated[int, Meta(ge=1)] = 10,
    sessions_per_syllabus: str = "10 to 30",
    concepts_per_session: str = "about 5",
    two_session_share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    max_concepts_per_question: Annotated[int, Meta(ge=2)] = 5,
    questions_at_once: Annotated[int, Meta(ge=1)] = 64,
    temperature: float = 1.0,
    top_p: float = 0.95,
    max_tokens_curriculum: Annotated[int, Meta(ge=1)] = 4096,
    question_temperature: float = 1.0,
    max_tokens_question: Annotated[int, Meta(ge=1)] = 1024,
    answer_temperature: float = 0.7,
    max_tokens_answer: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[GlanInstruction]:
    """Build a curriculum of all knowledge, discipline by discipline, and set homework from its syllabi.

    What the taxonomy leaves open is grown level by level; people's votes on its nodes are heeded. The disciplines then
    take turns. A discipline's subjects are listed at its first turn and a subject's syllabus is written when it is
    first drawn, so the first rows need no whole curriculum, and no draw depends on what is not there yet. Lists are
    asked for as free text and brought into a format by a second call: asked for at once they get worse. (Li et al.
    2024, "Synthetic Data (Almost) from Scratch", arXiv:2402.13064, section 2.)

    The taxonomy is made of rows with `field`, `sub_field` and `discipline`, as `glan-taxonomy` makes them; rows
    with a discipline alone will do. A field or sub-field with no row below it is divided by the model. A node with more
    votes to `remove` than to `keep` goes with all below it; votes of several rows on one node are added up. Without
    seeds the whole taxonomy is the model's. Here besides: a key concept belongs to the session that teaches it first.

    Args:
        generator: writes the curriculum and the questions (paper: GPT-4).
        answerer: answers the questions (paper: GPT-3.5-turbo, faster and good enough).
        subject_queries: lists of subjects that are asked for and merged, a discipline.
        sessions_per_syllabus: as the prompt says it.
        concepts_per_session: likewise.
        two_session_share: of the questions, how many draw on two sessions. The paper does not fix it, nor which
            concepts are drawn: here every possible set of a session, or of two, has the same odds.
        max_concepts_per_question: of one session 1 to so many, of two at least one of each.
        questions_at_once: turns that are worked on side by side. The first round has one, each next one twice as many
            up to here. Another number gives other draws.
        temperature: of taxonomy, subjects and syllabi. That the taxonomy takes the same is not confirmed. What brings
            a list into its format is asked at 0, not confirmed either.
        top_p: of the same, and of the questions, where it is not confirmed.
        max_tokens_curriculum: of the same, and of what brings a list into its format. Not confirmed.
        question_temperature: of the questions. Not confirmed.
        max_tokens_question: of a question. Not confirmed.
        answer_temperature: of the answers.
        max_tokens_answer: of an answer. Not confirmed.

    Rejects: `voted_out` (one for all nodes; details: nodes, with those below), `duplicate_subjects` (one a discipline;
        details: discipline, repeats, subjects), `unparsed` names, lines and sessions (details: of), `empty` and
        `truncated` replies (details: of), `no_subjects` (costs the discipline; details: queries), `no_sessions` (costs
        the subject; details: discipline).
    """
    sampling: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens_curriculum}

    async def listed(question: str, form: Prompt, kind: type[T], of: str) -> tuple[str, list[T], list[Reply]]:
        """A list in free text, what a second call makes of it, and both replies."""
        reply = await generator.chat(question, **sampling)
        try:
            text, replies = complete_reply(reply), [reply]
            reply = await generator.chat(form(text=text), temperature=0.0, max_tokens=max_tokens_curriculum)
            lines = read_lines(run, complete_reply(reply), kind, of)
        except Bad as bad:
            run.reject(reply, bad.reason, of=of)
            return "", [], []
        return text, lines, [*replies, reply]

    async def list_subjects(discipline: Node) -> None:
        async def query(_: int) -> list[Subject]:
            question = SUBJECTS(discipline=discipline.name)
            _text, lines, replies = await listed(question, SUBJECTS_FORMAT, SubjectLine, "subjects")
            return [Subject(discipline, line, list(replies)) for line in lines]

        merged: dict[str, Subject] = {}
        repeats = []
        for subject in chain(*await run.map(query, range(subject_queries), keep_going=True)):
            if merged.setdefault(same(subject.line.subject_name), subject) is not subject:
                repeats.append(subject.line.subject_name)
        if repeats:  # one for all: a list of lists repeats more than it says, and a reject is a candidate lost
            run.reject(
                repeats, "duplicate_subjects", discipline=discipline.name, repeats=len(repeats), subjects=len(merged)
            )
        if not merged:
            run.reject(discipline.name, "no_subjects", queries=subject_queries)
        discipline.subjects = list(merged.values())

    async def write_syllabus(subject: Subject) -> None:
        question = SYLLABUS(
            discipline=subject.discipline.name,
            subject=subject.line.subject_name,
            level=subject.line.level,
            subtopics=", ".join(subject.line.subtopics),
            sessions=sessions_per_syllabus,
            concepts=concepts_per_session,
        )
        subject.syllabus, lines, replies = await listed(question, SYLLABUS_FORMAT, SessionLine, "syllabus")
        subject.sessions = first_taught(lines)
        subject.sources += replies
        if not subject.sessions:
            run.reject(subject.line.subject_name, "no_sessions", discipline=subject.discipline.name)

    async def set_homework(subject: Subject) -> GlanInstruction | None:
        two = len(subject.sessions) > 1 and run.draw(
            "two_sessions", [True, False], weights=[two_session_share, 1 - two_session_share]
        )
        names = run.draw("sessions", list(subject.sessions), k=2 if two else 1)
        drawn = {name: concepts for name, concepts in subject.sessions.items() if name in names}
        sets = concept_sets([len(concepts) for concepts in drawn.values()], max_concepts_per_question)
        sizes = run.draw("concepts_of_each", list(sets), weights=list(sets.values()))
        key_concepts = [
            concept
            for concepts, size in zip(drawn.values(), sizes, strict=True)
            for concept in run.draw("key_concepts", concepts, k=size)
        ]
        question = QUESTION(
            discipline=subject.discipline.name,
            subject=subject.line.subject_name,
            level=subject.line.level,
            syllabus=subject.syllabus,
            sessions="; ".join(drawn),
            concepts="; ".join(key_concepts),
            together=TOGETHER() if two else "",
        )
        reply = await generator.chat(
            question, temperature=question_temperature, top_p=top_p, max_tokens=max_tokens_question
        )
        of = "question"
        try:
            instruction = complete_reply(reply)
            of = "answer"
            reply = await answerer.chat(instruction, temperature=answer_temperature, max_tokens=max_tokens_answer)
            output = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, of=of, subject=subject.line.subject_name)
            return None
        node = subject.discipline.row
        row = GlanInstruction(
            instruction=instruction,
            output=output,
            field=node.field,
            sub_field=node.sub_field,
            discipline=node.discipline,
            subject=subject.line.subject_name,
            level=str(subject.line.level),
            sessions=list(drawn),
            key_concepts=key_concepts,
        )
        run.link(row, *subject.discipline.sources, *subject.sources)
        return row

    nodes = await grow(taxonomy, generator, run, sampling)
    waiting = deque(node for node in nodes if node.row.discipline)
    if not waiting:
        raise BadInput("glan: no discipline is left: all were voted out, or none could be read (see the rejects)")
    turns = 1
    while waiting:
        turn = [waiting[number % len(waiting)] for number in range(turns)]
        waiting.rotate(-turns)
        await run.map(list_subjects, [node for node in dict.fromkeys(turn) if node.subjects is None], keep_going=True)
        drawn = [run.draw("subject", node.subjects) for node in turn if node.subjects]
        fresh = [subject for subject in dict.fromkeys(drawn) if not subject.sessions]
        await run.map(write_syllabus, fresh, keep_going=True)
        rows = await run.map(set_homework, [subject for subject in drawn if subject.sessions], keep_going=True)
        for row in filter(None, rows):
            yield row
        for node in turn:  # what came to nothing is not asked for again
            node.subjects = [subject for subject in node.subjects or [] if subject.sessions or subject not in fresh]
        waiting = deque(node for node in waiting if node.subjects != [])
        turns = min(2 * turns, questions_at_once)


async def grow(taxonomy: Sequence[TaxonomyNode], generator: Chat, run: Run, sampling: dict[str, Any]) -> list[Node]:
    """The nodes that votes leave, and what the model names below those with no row below them, level by level."""
    given: dict[Path, TaxonomyNode] = {}
    votes: Counter[Path] = Counter()
    for row in taxonomy:
        path = ancestry(row)[-1]
        given.setdefault(path, row)
        votes[path] += row.keep - row.remove
    removed = {path: given[path] for path in given if votes[path] < 0}
    nodes = [Node(row, [row]) for row in given.values() if removed.keys().isdisjoint(ancestry(row))]
    if removed:  # one for all, as a reject is a candidate lost
        gone = [{"node": Node(row, []).name, "votes": votes[path]} for path, row in removed.items()]
        run.reject(gone, "voted_out", nodes=len(given) - len(nodes))
    inner = {path for row in taxonomy for path in ancestry(row)[:-1]}

    async def divide(node: Node) -> list[Node]:
        above = node.row
        level = "discipline" if above.sub_field else "sub_field" if above.field else "field"
        question = TAXONOMY[level](field=above.field, sub_field=above.sub_field)
        try:
            said = await generator.ask(question, Names, **sampling)
        except Unparsed as error:
            run.reject(error.text[-300:], "unparsed", of=level, below=node.name)
            return []
        children: dict[str, Node] = {}
        for name in said.value.names:
            child = TaxonomyNode(field=above.field, sub_field=above.sub_field)
            setattr(child, level, " ".join(name.split()))
            children.setdefault(same(name), Node(child, [*node.sources, said]))
        return list(children.values())

    growing = [node for node in nodes if not node.row.discipline and ancestry(node.row)[-1] not in inner]
    while growing:
        children = list(chain(*await run.map(divide, growing, keep_going=True)))
        nodes += children
        growing = [node for node in children if not node.row.discipline]
    return nodes


def ancestry(row: TaxonomyNode) -> list[Path]:
    """The paths from the root to the node, as they are compared."""
    names = same(row.field), same(row.sub_field), same(row.discipline)
    paths: list[Path] = [("", "", ""), (names[0], "", ""), (names[0], names[1], ""), names]
    return list(dict.fromkeys(paths))


def same(name: str) -> str:
    return " ".join(name.casefold().split())


def read_lines(run: Run, text: str, kind: type[T], of: str) -> list[T]:
    """The JSON objects of a reply, in whatever they are wrapped; those that do not fit are put aside."""
    found = []
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    while start >= 0:
        end = start
        try:
            value, end = decoder.raw_decode(text, start)
            found.append(msgspec.convert(value, kind))
        except (ValueError, RecursionError, msgspec.ValidationError):
            end = end if end > start else f"{text}\n".index("\n", start)  # no JSON: go on with the next line
            run.reject(text[start:end], "unparsed", of=of)
        start = text.find("{", end)
    return found


def first_taught(lines: Sequence[SessionLine]) -> dict[str, list[str]]:
    """The key concepts by the session that teaches them first."""
    sessions: dict[str, list[str]] = {}
    taught = set()
    for line in lines:
        for concept in line.key_concepts:
            if same(concept) not in taught:
                taught.add(same(concept))
                sessions.setdefault(" ".join(line.session.split()), []).append(" ".join(concept.split()))
    return sessions


def concept_sets(concepts: Sequence[int], most: int) -> dict[tuple[int, ...], int]:
    """How many sets of concepts can be drawn, by how many come of each session: at least one, and `most` in all.

    Args:
        concepts: of each session drawn.
    """
    sizes = product(*(range(1, count + 1) for count in concepts))
    return {size: prod(map(comb, concepts, size)) for size in sizes if sum(size) <= most}
