"""GraphRAG (Edge et al. 2024) as a maker of data: a graph of a corpus, reports on its communities, and questions about the
whole of it, answered from the reports."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from gristmill import Chat, Document, Instruction, Row, Rows, Run, Unparsed, assistant, recipe, user
from gristmill.ops.graph import (
    Community,
    Entity,
    Graph,
    Relation,
    communities,
    largest_component,
    partition,
    require,
)
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens, chunks

EXTRACT = Prompt(
    """Find in a text all entities of the given types, and which of them are clearly related.

For each entity write a record ("entity"<|>NAME<|>TYPE<|>what the text says of it).
For each pair that is clearly related write a record ("relationship"<|>SOURCE<|>TARGET<|>why they are related<|>how strongly, a number from 1 to 10).
Put ## between records, and <|COMPLETE|> behind the last one.

Example 1
Types: organization, person
Text: The harbour office will publish its plan on Monday, said its head Ana Ruiz.
Records: ("entity"<|>HARBOUR OFFICE<|>organization<|>The office that will publish a plan on Monday)##("entity"<|>ANA RUIZ<|>person<|>Head of the harbour office)##("relationship"<|>ANA RUIZ<|>HARBOUR OFFICE<|>Ana Ruiz leads the harbour office<|>9)<|COMPLETE|>

Example 2
Types: geo, event
Text: After the flood of 1953 the dikes at Veere were raised.
Records: ("entity"<|>FLOOD OF 1953<|>event<|>A flood after which dikes were raised)##("entity"<|>VEERE<|>geo<|>A place whose dikes were raised)##("relationship"<|>FLOOD OF 1953<|>VEERE<|>The dikes at Veere were raised after the flood<|>7)<|COMPLETE|>

Example 3
Types: person
Text: It rained all day.
Records: <|COMPLETE|>

Now yours.
Types: {types}
Text: {text}
Records:"""
)
MORE = Prompt("Many entities and relationships were missed. Add them, in the same form, and nothing else:")
AGAIN = Prompt("Are there still entities or relationships that were missed? Answer with one letter, Y or N.")
JOIN = Prompt(
    """Here are descriptions of {what}. Write one description from all of them, in the third person, with everything they say, in at most {words} words. Where they contradict each other, say what fits them all.

{descriptions}"""
)
REPORT = Prompt(
    """Write a report on a community of entities that belong together, from the data below and from nothing else, in at most {words} words.

Give it a title that names its main entities, a summary of how they are connected, a rating from 0 to 10 of how important it is, a sentence that explains the rating, and five to ten findings, each with a summary and an explanation. Behind each claim name the data that it rests on, [Data: Entities (ids); Relationships (ids)], at most five ids at once and then "+more".

{context}

Answer in JSON: {"title": "...", "summary": "...", "rating": 0.0, "rating_explanation": "...", "findings": [{"summary": "...", "explanation": "..."}]}"""
)
PERSONAS = Prompt(
    """Here is what a collection of texts is about: {description}

Name {count} kinds of people who would work with it, each in a sentence. Answer in JSON: {"items": ["..."]}"""
)
TASKS = Prompt(
    """Here is what a collection of texts is about: {description}
Somebody works with it: {persona}

Name {count} tasks for which this person would use it, each in a sentence. Answer in JSON: {"items": ["..."]}"""
)
QUESTIONS = Prompt(
    """Here is what a collection of texts is about: {description}
Somebody works with it: {persona}
The task: {task}

Write {count} questions that this person would ask for the task. To answer one must understand the collection as a whole; no question is about a single fact. Answer in JSON: {"items": ["..."]}"""
)
MAP = Prompt(
    """Answer a question from the reports below and from nothing else, as a list of points, in at most {words} words. Give each point a score from 0 to 100 for how much it helps to answer; a single point with the score 0 says that the reports do not tell. Behind each claim name the reports that it rests on: [Data: Reports (ids)].

Question: {question}

{reports}

Answer in JSON: {"points": [{"description": "...", "score": 0}]}"""
)
REDUCE = Prompt(
    """Several analysts read different parts of a collection. Write one answer to the question from their points, which come with the most important first, in at most {words} words. Leave out what does not matter, keep all references [Data: Reports (ids)], and do not mention the analysts.

Question: {question}

{points}"""
)
CANNOT = "The collection does not say enough to answer this question."

FIELD, RECORD, END = "<|>", "##", "<|COMPLETE|>"
CITED = re.compile(r"(Entities|Relationships|Reports) \(([^)]*)\)")

S = TypeVar("S")
R = TypeVar("R", bound=Row)


class GlobalAnswer(Instruction, kw_only=True):
    """A question about the whole corpus and its answer from the reports of one level."""

    persona: str
    task: str
    level: int
    reports: list[int]
    """Those that the answer cites."""
    points: int
    """Of the map step, that the answer was written from; 0: it is the fixed one."""


class GlobalQuestion(Row):
    """A question that needs the whole corpus."""

    persona: str
    task: str
    question: str


class EntityRow(Row):
    number: int
    name: str
    type: str
    description: str
    frequency: int
    degree: int


class RelationshipRow(Row):
    number: int
    source: str
    target: str
    description: str
    weight: float


class CommunityRow(Row):
    number: int
    level: int
    parent: int | None
    members: list[str]


class Finding(Struct):
    summary: str
    explanation: str


class CommunityReport(Document, kw_only=True):
    """A report; `text` is the whole of it, for pre-training."""

    community: int
    level: int
    title: str
    summary: str
    rating: float
    findings: list[Finding]
    unfounded: list[str]
    """Citations of data that it was not shown. Not from the paper."""


class Written(Struct):
    title: str
    summary: str
    rating: float
    rating_explanation: str
    findings: list[Finding]


class Point(Struct):
    description: str
    score: int


class Points(Struct):
    points: list[Point]


class Items(Struct):
    items: list[str]


@dataclass(frozen=True)
class Asked:
    persona: str
    task: str
    question: str


@recipe("graphrag", seeds="documents.jsonl", fixed=True)
async def graphrag(
    documents: Rows[Document],
    generator: Chat,
    run: Run,
    *,
    description: str = "a collection of texts",
    entity_types: list[str] = ["organization", "person", "geo", "event"],  # noqa: B006 - read only
    chunk_tokens: Annotated[int, Meta(ge=50)] = 600,
    overlap: Annotated[int, Meta(ge=0)] = 100,
    max_gleanings: Annotated[int, Meta(ge=0)] = 1,
    max_cluster_size: Annotated[int, Meta(ge=2)] = 10,
    cluster_seed: int = 0xDEADBEEF,
    use_largest_component: bool = True,
    description_max_words: Annotated[int, Meta(ge=1)] = 500,
    report_input_tokens: Annotated[int, Meta(ge=100)] = 8000,
    report_max_words: Annotated[int, Meta(ge=1)] = 2000,
    personas: Annotated[int, Meta(ge=1)] = 5,
    tasks: Annotated[int, Meta(ge=1)] = 5,
    questions: Annotated[int, Meta(ge=1)] = 5,
    level: Annotated[int, Meta(ge=0)] = 0,
    global_context_tokens: Annotated[int, Meta(ge=100)] = 12_000,
    map_words: Annotated[int, Meta(ge=1)] = 1000,
    reduce_words: Annotated[int, Meta(ge=1)] = 2000,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 4096,
) -> AsyncIterator[GlobalAnswer | GlobalQuestion | EntityRow | RelationshipRow | CommunityRow | CommunityReport]:
    """Extract a graph from chunks, find communities in it, report on each, and ask and answer questions about the whole.

    Names are upper case; a strength that is no number counts 1; edges with an end that no chunk mentions are dropped. The
    communities are those of the largest connected part, by hierarchical Leiden. A report is written from the edges of a
    community, those with the best connected ends first, as far as they fit; where they do not, the largest of its parts
    stand in it by their own reports. (Edge et al. 2024, arXiv:2404.16130, sections 2 and 3; the released code for formats
    and defaults.) The wording of the questions' prompts is in the paper's appendix and was not seen. Its comparison
    with plain retrieval by a judge is `graphrag-judge`; claims are not here.

    Args:
        description: what the corpus is about, in a sentence; all that the questions are made from.
        entity_types: to look for.
        chunk_tokens: tokens of a chunk, overlap included; the released code's default is 1,200.
        overlap: tokens that a chunk repeats of the one before.
        max_gleanings: times that the model is told that much was missed.
        max_cluster_size: communities with more members are split, where they can be.
        cluster_seed: of the chance in it.
        use_largest_component: leave smaller connected parts out of the communities.
        description_max_words: of a description that is joined from several.
        report_input_tokens: of the data that a report is written from.
        report_max_words: of a report.
        personas: kinds of users (K).
        tasks: of each (N).
        questions: for each task (M).
        level: whose reports answer; 0 is the coarsest.
        global_context_tokens: of reports in one map call, and of points in the reduce call.
        map_words: of a map reply.
        reduce_words: of an answer.
        max_tokens_per_reply: of any reply. Not from the paper.

    Rejects: `bad_record`, `orphan_edge`, `truncated` (the records of a cut reply that came before the cut are kept),
        `bad_report`, `bad_rating` (not from 0 to 10), `bad_list` (personas, tasks or questions), `bad_points`, `bad_score`, `too_few` (a list is shorter
        than asked for), `empty` (an answer).
    """
    asking: dict[str, Any] = {"temperature": 0.0, "max_tokens": max_tokens_per_reply}
    graph = Graph()
    pieces = [piece for document in documents for piece in overlapping(document.text, chunk_tokens, overlap)]
    for records in await run.map(
        partial(extract, run=run, generator=generator, types=entity_types, gleanings=max_gleanings, asking=asking),
        pieces,
        keep_going=True,
    ):
        for record in records:
            if len(record) == 3:
                graph.mention(*record)
            else:
                graph.relate(*record)
    for lost in graph.orphans():
        run.reject({"source": lost.source, "target": lost.target}, "orphan_edge", weight=lost.weight)

    async def describe(one: Entity | Relation) -> tuple[int, str]:
        if len(one.descriptions) < 2:
            return one.id, "".join(one.descriptions)
        what = one.name if isinstance(one, Entity) else f"how {one.source} and {one.target} are related"
        listed = "\n".join(f"- {text}" for text in one.descriptions)
        reply = await generator.chat(JOIN(what=what, words=description_max_words, descriptions=listed), **asking)
        return one.id, reply.text.strip() or one.descriptions[0]

    async def described(those: Sequence[Entity | Relation], name: str) -> list[str]:
        """A description of each. Where joining several fails it is the first of them: an entity that was left out would
        take its edges along."""
        joined = dict(await run.map(describe, those, keep_going=True, name=name))
        return [joined[one.id] if one.id in joined else one.descriptions[0] for one in those]

    entities, relations = list(graph.entities.values()), list(graph.relations.values())
    said = await described(entities, "describe")
    why = await described(relations, "describe-relation")
    degrees = graph.degrees()
    edges = graph.undirected()
    if use_largest_component:
        names = largest_component(edges)
        edges = {pair: weight for pair, weight in edges.items() if pair[0] in names}
    found = communities(edges, max_size=max_cluster_size, seed=cluster_seed)
    kept = await run.artefact(
        "graph",
        {
            "entities": [[one.id, one.name, one.type, text] for one, text in zip(entities, said, strict=True)],
            "relationships": [
                [one.id, one.source, one.target, one.weight, text] for one, text in zip(relations, why, strict=True)
            ],
            "communities": [[one.id, one.level, one.parent, one.members] for one in found],
        },
    )

    def linked(row: R) -> R:
        run.link(row, kept)
        return row

    for one, text in zip(entities, said, strict=True):
        yield linked(
            EntityRow(
                number=one.id, name=one.name, type=one.type, description=text, frequency=one.frequency,
                degree=degrees[one.name],
            )
        )  # fmt: skip
    for edge, text in zip(relations, why, strict=True):
        yield linked(
            RelationshipRow(
                number=edge.id, source=edge.source, target=edge.target, description=text, weight=edge.weight
            )
        )
    for community in found:
        yield linked(
            CommunityRow(number=community.id, level=community.level, parent=community.parent, members=community.members)
        )
    data = Data(entities, said, relations, why, degrees)
    reports: dict[int, CommunityReport] = {}

    async def report(community: Community) -> CommunityReport | None:
        context = data.context(community, report_input_tokens, {one.id: one for one in found}, reports)
        written = await listed_or_none(
            run, generator, REPORT(words=report_max_words, context=context), Written, "bad_report", asking
        )
        if written is None:
            return None
        if not 0 <= written.rating <= 10:
            run.reject({"title": written.title}, "bad_rating", rating=written.rating)
            return None
        claims = [one.explanation for one in written.findings]
        made = CommunityReport(
            text="\n\n".join(
                [f"# {written.title}", written.summary, *(f"## {f.summary}\n{f.explanation}" for f in written.findings)]
            ),
            community=community.id,
            level=community.level,
            title=written.title,
            summary=written.summary,
            rating=written.rating,
            findings=written.findings,
            unfounded=unfounded(" ".join([written.summary, *claims]), context),
        )
        run.link(made, kept)
        return made

    for depth in range(max((one.level for one in found), default=-1), -1, -1):  # the finest first: others may need them
        for made in await run.map(report, [one for one in found if one.level == depth], keep_going=True):
            if made is not None:
                reports[made.community] = made
    for community in found:
        if community.id in reports:
            yield reports[community.id]

    deepest = max((one.level for one in found), default=0)
    base = [reports[one.id] for one in partition(found, min(level, deepest)) if one.id in reports]
    if not base:
        return

    async def items(prompt: str, count: int) -> list[str]:
        given = await listed_or_none(run, generator, prompt, Items, "bad_list", asking)
        if given is not None and len(given.items) < count:
            run.reject(given.items, "too_few", wanted=count)
        return given.items[:count] if given else []

    async def tasks_of(who: str) -> list[tuple[str, str]]:
        return [(who, job) for job in await items(TASKS(description=description, persona=who, count=tasks), tasks)]

    async def questions_for(job: tuple[str, str]) -> list[Asked]:
        prompt = QUESTIONS(description=description, persona=job[0], task=job[1], count=questions)
        return [Asked(*job, text) for text in await items(prompt, questions)]

    users = await items(PERSONAS(description=description, count=personas), personas)
    jobs = [job for some in await run.map(tasks_of, users, keep_going=True, name="tasks") for job in some]
    asked = [one for some in await run.map(questions_for, jobs, keep_going=True, name="questions") for one in some]

    async def solve(one: Asked) -> list[GlobalQuestion | GlobalAnswer]:
        question = GlobalQuestion(persona=one.persona, task=one.task, question=one.question)
        run.link(question, kept)
        shuffled = run.rng("reports").sample(base, len(base))
        batches = packed([shown(made) for made in shuffled], global_context_tokens)

        async def read(batch: list[str]) -> list[Point]:
            prompt = MAP(words=map_words, question=one.question, reports="\n\n".join(batch))
            given = await listed_or_none(run, generator, prompt, Points, "bad_points", asking)
            return given.points if given else []

        points = []
        # Without one of its batches the answer would not be from the whole: the question is lost.
        for point in [point for many in await run.map(read, batches) for point in many]:
            if not 0 <= point.score <= 100:
                run.reject(point.description, "bad_score", score=point.score)
            elif point.score:
                points.append(point)
        points.sort(key=lambda point: -point.score)
        best = next(iter(packed([f"({p.score}) {p.description}" for p in points], global_context_tokens)), [])
        output = CANNOT
        if best:
            reply = await generator.chat(
                REDUCE(words=reduce_words, question=one.question, points="\n\n".join(best)), **asking
            )
            output = reply.text.strip()
            if not output:
                run.reject(reply, "empty")
                return [question]
        answer = GlobalAnswer(
            instruction=one.question,
            output=output,
            persona=one.persona,
            task=one.task,
            level=min(level, deepest),
            reports=sorted({number for kind, number in cited(output) if kind == "Reports"}),
            points=len(best),
        )
        run.link(answer, kept)
        return [question, answer]

    for both in await run.map(solve, asked, keep_going=True):
        for row in both:
            yield row


@graphrag.check
def communities_can_be_found(overlap: int, chunk_tokens: int) -> None:
    require()


async def extract(
    text: str, *, run: Run, generator: Chat, types: Sequence[str], gleanings: int, asking: dict[str, Any]
) -> list[tuple[str, str, str] | tuple[str, str, str, float]]:
    """The records of a chunk: (name, type, description), or (source, target, description, strength)."""
    messages = [user(EXTRACT(types=", ".join(types), text=text))]
    replies = []
    for round in range(gleanings + 1):
        reply = await generator.chat(messages, **asking)
        replies.append(reply)
        messages += [assistant(reply.text), user(MORE())]
        if 0 < round < gleanings:  # not after the last one, nor before the first
            ask = await generator.chat([*messages[:-1], user(AGAIN())], temperature=0.0, max_tokens=8)
            if not ask.text.strip().upper().startswith("Y"):
                break
    found = []
    for reply in replies:
        records = reply.text.split(END)[0].split(RECORD)
        if reply.truncated and records:
            run.reject({"record": records.pop()}, "truncated", source=reply)
        for record in filter(None, map(str.strip, records)):
            if (parsed := parse(record)) is not None:
                found.append(parsed)
            else:
                run.reject({"record": record}, "bad_record", source=reply)
    return found


def parse(record: str) -> tuple[str, str, str] | tuple[str, str, str, float] | None:
    parts = [
        part.strip().strip('"').strip() for part in record.strip().removeprefix("(").removesuffix(")").split(FIELD)
    ]
    if parts[0] == "entity" and len(parts) == 4 and parts[1]:
        return parts[1].upper(), parts[2].lower(), parts[3]
    if parts[0] == "relationship" and len(parts) == 5 and parts[1] and parts[2]:
        try:
            strength = float(parts[4])
        except ValueError:
            strength = 1.0
        return parts[1].upper(), parts[2].upper(), parts[3], strength if 0 < strength < 1e6 else 1.0
    return None


def overlapping(text: str, size: int, overlap: int) -> list[str]:
    """Chunks of at most `size` tokens (estimated) that begin with the end of the one before."""
    parts = chunks(text, max(1, size - overlap))
    made = parts[:1]
    for before, part in pairwise(parts):
        words, tail = before.split(), ""
        while words and approx_tokens(longer := f"{words.pop()} {tail}") <= overlap:
            tail = longer
        made.append(tail + part)
    return made


async def listed_or_none(
    run: Run, generator: Chat, prompt: str, schema: type[S], reason: str, asking: dict[str, Any]
) -> S | None:
    try:
        return (await generator.ask(prompt, schema, **asking)).value
    except Unparsed as error:
        run.reject({"text": error.text}, reason)
        return None


@dataclass
class Data:
    """The graph as tables of text."""

    entities: list[Entity]
    said: list[str]
    relations: list[Relation]
    why: list[str]
    degrees: dict[str, int]

    def context(
        self,
        community: Community,
        limit: int,
        every: dict[int, Community],
        reports: dict[int, CommunityReport],
    ) -> str:
        """What a report is written from, of at most `limit` tokens: the edges, or for parts that do not fit, the largest
        first, their reports."""
        parts = sorted(
            (one for one in community.children if one in reports),
            key=lambda one: (-approx_tokens(self.table(every[one].members, 1 << 60)), one),
        )
        told: list[str] = []
        members = set(community.members)
        while parts and approx_tokens(self.table(sorted(members), 1 << 60)) > limit - sum(map(approx_tokens, told)):
            part = parts.pop(0)
            told.append(f"Report {part}: {reports[part].text}")
            members -= set(every[part].members)
        kept = next(iter(packed(told, limit)), [])
        left = limit - sum(map(approx_tokens, kept))
        return "\n\n".join([*kept, *([self.table(sorted(members), left)] if members else [])])

    def table(self, members: Sequence[str], limit: int) -> str:
        """Edges among the members, in falling order of the degrees of both ends, with the entities that they join, as far
        as they fit."""
        among = set(members)
        edges = [
            (one, text)
            for one, text in zip(self.relations, self.why, strict=True)
            if one.source in among and one.target in among
        ]
        edges.sort(key=lambda pair: -(self.degrees[pair[0].source] + self.degrees[pair[0].target]))
        by_name: dict[str, list[str]] = {}
        for one, text in zip(self.entities, self.said, strict=True):
            by_name.setdefault(one.name, []).append(f"{one.id}, {one.name}, {text}")
        nodes: dict[str, None] = {}
        lines: list[str] = []
        used = 0
        for edge, text in edges:
            line = f"{edge.id}, {edge.source}, {edge.target}, {text}"
            more = [entry for name in (edge.source, edge.target) for entry in by_name[name] if entry not in nodes]
            cost = sum(map(approx_tokens, [line, *more]))
            if used + cost > limit:
                break
            used += cost
            lines.append(line)
            nodes |= dict.fromkeys(more)
        return "\n".join(
            ["Entities (id, name, description)", *nodes, "", "Relationships (id, source, target, description)", *lines]
        )


def packed(texts: Sequence[str], limit: int, count: Callable[[str], int] = approx_tokens) -> list[list[str]]:
    """Texts in their order, in parcels of at most `limit` tokens; one that is longer has a parcel of its own."""
    parcels: list[list[str]] = []
    room = 0
    for text in texts:
        if not parcels or count(text) > room:
            parcels.append([])
            room = limit
        parcels[-1].append(text)
        room -= count(text)
    return parcels


def shown(report: CommunityReport) -> str:
    return f"Report {report.community}\n{report.text}"


def cited(text: str) -> list[tuple[str, int]]:
    """What a text refers to: kind and number."""
    return [(kind, int(number)) for kind, numbers in CITED.findall(text) for number in re.findall(r"\d+", numbers)]


def unfounded(text: str, context: str) -> list[str]:
    """References to data that does not stand in the context."""
    tables = context.partition("Relationships (id")
    known = {
        "Entities": set(re.findall(r"^(\d+), ", tables[0], re.MULTILINE)),
        "Relationships": set(re.findall(r"^(\d+), ", tables[2], re.MULTILINE)),
        "Reports": set(re.findall(r"^Report (\d+):", context, re.MULTILINE)),
    }
    return [f"{kind} {number}" for kind, number in cited(text) if str(number) not in known[kind]]
