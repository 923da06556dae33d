"""LaMini-LM (Wu et al. 2023, section 3): instructions in the manner of four collections, some about topics, and answers."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from gristmill import BadInput, Chat, Instruction, Reply, Row, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import is_refusal

LIKE_EXAMPLES = Prompt(
    """{examples}

Above are {shown} instructions, each between <example> and </example>. Think up {wanted} more of their sort that differ from one another as much as they can. Write each one between <example> and </example> too, laid out as those above are. Nobody wants them answered: write no answers."""
)

ABOUT_TOPICS = Prompt(
    """{examples}

Above are {shown} instructions, each between <example> and </example>. Think up {wanted} more of their sort that differ from one another as much as they can and deal with these topics: {topics}. Write each one between <example> and </example> too, laid out as those above are. Nobody wants them answered: write no answers."""
)

Source = Literal["self_instruct", "alpaca", "p3", "flan"]
EXAMPLE = re.compile(r"<example>(.*?)(</example>|(?=<example>)|\Z)", re.DOTALL | re.IGNORECASE)


class LaminiSeed(Row):
    """An instruction of a known collection. An answer that it may have is not read."""

    instruction: str
    input: str = ""
    source: Source = "self_instruct"
    """What it is of: "self_instruct" serves as an example, "alpaca" is answered, "p3" and "flan" do both."""
    dataset: str = ""
    """Of P3 and FLAN: the data set that it was made from."""

    @property
    def whole(self) -> str:
        return f"{self.instruction}\n\n{self.input}".strip()


class Topic(Row):
    """A category of Wikipedia, or any other topic. None: not known, and not tested."""

    name: str
    subcategories: int | None = None
    pages: int | None = None


class Shares(Struct, frozen=True, forbid_unknown_fields=True):
    """How often it is each source's turn, in relation to one another. A turn is worth `instructions_per_call`."""

    self_instruct_without_topic: Annotated[float, Meta(ge=0)] = 0.27
    self_instruct_with_topic: Annotated[float, Meta(ge=0)] = 0.28
    generated_p3: Annotated[float, Meta(ge=0)] = 0.30
    generated_flan: Annotated[float, Meta(ge=0)] = 0.29
    alpaca: Annotated[float, Meta(ge=0)] = 0.05
    original_p3: Annotated[float, Meta(ge=0)] = 0.46
    original_flan: Annotated[float, Meta(ge=0)] = 0.93


SOURCE_OF: dict[str, Source] = {
    "self_instruct_without_topic": "self_instruct",
    "self_instruct_with_topic": "self_instruct",
    "generated_p3": "p3",
    "generated_flan": "flan",
    "alpaca": "alpaca",
    "original_p3": "p3",
    "original_flan": "flan",
}
"""What serves as an example, or is answered as it is, where a row is to be of this kind."""
ORIGINAL = ("alpaca", "original_p3", "original_flan")
WITH_TOPIC = "self_instruct_with_topic"


class LaminiInstruction(Instruction, kw_only=True):
    """An instruction and the answer to it, by two calls."""

    instruction_source: str
    """A name of `Shares`."""
    topics: list[str]
    """That the prompt named; empty but for `self_instruct_with_topic`."""


@dataclass
class Candidate:
    """An instruction that waits for its answer."""

    instruction: str
    source: str
    topics: list[str]
    made_from: list[Row | Reply]


@recipe("lamini-lm", endless=True, seeds="lamini_instructions.jsonl")
async def lamini_lm(
    seeds: Rows[LaminiSeed],
    generator: Chat,
    run: Run,
    responder: Chat | None = None,
    *,
    topics: Rows[Topic] | None = None,
    shares: Shares = Shares(),  # noqa: B008  # a frozen value
    examples_per_prompt: Annotated[int, Meta(ge=1)] = 3,
    topics_per_prompt: Annotated[int, Meta(ge=1)] = 3,
    instructions_per_call: Annotated[int, Meta(ge=1)] = 20,
    topic_max_words: Annotated[int, Meta(ge=1)] = 2,
    topic_min_subcategories: Annotated[int, Meta(ge=0)] = 11,
    topic_min_pages: Annotated[int, Meta(ge=0)] = 11,
    temperature: float = 1.0,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 2048,
    response_temperature: float = 1.0,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 1024,
    requests_at_once: Annotated[int, Meta(ge=1)] = 64,
) -> AsyncIterator[LaminiInstruction]:
    """Have new instructions written after examples of one collection, a part of them about topics, and answer them all.

    Seven sources take turns by chance: instructions in the manner of Self-Instruct, with and without topics, of P3 and
    of FLAN, twenty of one call; and those of Alpaca, P3 and FLAN as they are. A prompt shows three examples of a single
    collection. A topic is a common category of Wikipedia: short, and with much below it. Every instruction, new or
    not, is answered by a call of its own that holds nothing else. (Wu et al. 2023, "LaMini-LM", arXiv:2304.14402,
    section 3, and the repository mbzuai-nlp/LaMini-LM; model: gpt-3.5-turbo; 2.58 million rows.)

    An input is joined to its instruction. A source that has no seeds is left out, and so is one whose own instructions
    are used up; the run ends when none is left. Data sets of P3 and of FLAN take turns. What counts as a duplicate is
    not confirmed: here, what equals another instruction or a seed but for capitals and white space. Left to the
    export: the training of students of many sizes.

    Args:
        responder: answers the instructions. The generator itself, as in the paper, unless bound.
        topics: names, and where known how many subcategories and pages each has; those that ship unless given.
        shares: of the seven sources. The default is the paper's rows, in millions; not confirmed.
        examples_per_prompt: seeds that a prompt shows.
        topics_per_prompt: topics that a prompt names. Not confirmed.
        instructions_per_call: that a prompt asks for; as many originals make a turn. What comes above it is kept.
        topic_max_words: of a topic's name; longer ones are too specific. Not confirmed, nor are the two below.
        topic_min_subcategories: of a topic, where their number is known.
        topic_min_pages: likewise.
        temperature: of the calls that write instructions. Not confirmed.
        max_tokens_per_call: of these calls. Not confirmed.
        response_temperature: of the answers. Not confirmed.
        max_tokens_response: of the answers. Not confirmed.
        requests_at_once: answers that are asked for side by side. The first round has one, each next one twice as many
            up to here.

    Rejects: topics `long_topic` (or without a name), `small_topic` (one reject for all; details: topics); `untagged`
        replies, and texts whose tag is not closed, of which the last one of a cut reply is `truncated`; instructions
        `empty_instruction` (of seeds, too), `duplicate` (details: instruction_source); answers `empty`, `truncated`,
        `refused` (details: instruction, instruction_source).
    """
    answering = responder or generator
    usable = [seed for seed in seeds if seed.whole]
    for seed in seeds:
        if not seed.whole:
            run.reject(seed, "empty_instruction")
    known = {same(seed.whole) for seed in usable}
    seeds_of = {kind: [seed for seed in usable if seed.source == source] for kind, source in SOURCE_OF.items()}
    for kind in ORIGINAL:
        seeds_of[kind] = in_turns(run, kind, seeds_of[kind])
    odds = {kind: share for kind, share in asdict(shares).items() if share > 0 and seeds_of[kind]}
    for kind in odds:
        if kind not in ORIGINAL and len(seeds_of[kind]) < examples_per_prompt:
            raise BadInput(
                f"lamini-lm: {kind} shows {examples_per_prompt} examples of {SOURCE_OF[kind]!r}, and there are "
                f"{len(seeds_of[kind])}: give more seeds, or set its share to 0"
            )
    if not odds:
        raise BadInput("lamini-lm: no source has both seeds and a share")
    named = common(
        run,
        list(topics) if topics is not None else home.shipped("lamini_topics.jsonl", Topic),
        topic_max_words,
        topic_min_subcategories,
        topic_min_pages,
    )
    if WITH_TOPIC in odds and len(named) < topics_per_prompt:
        raise BadInput(
            f"lamini-lm: a prompt names {topics_per_prompt} topics, and {len(named)} are short and common enough: give "
            f"more `topics`, or set the share of {WITH_TOPIC} to 0"
        )
    taken: set[str] = set()

    async def write(kind: str) -> list[Candidate]:
        shown = run.draw("examples", seeds_of[kind], k=examples_per_prompt)
        about = run.draw("topics", named, k=topics_per_prompt) if kind == WITH_TOPIC else []
        names = [topic.name for topic in about]
        fill = {
            "examples": "\n".join(f"<example>{seed.whole}</example>" for seed in shown),
            "shown": len(shown),
            "wanted": instructions_per_call,
        }
        prompt = ABOUT_TOPICS(**fill, topics=", ".join(names)) if names else LIKE_EXAMPLES(**fill)
        reply = await generator.chat(prompt, temperature=temperature, max_tokens=max_tokens_per_call)
        return [Candidate(text, kind, names, [reply, *shown, *about]) for text in read_examples(run, reply)]

    async def answer(candidate: Candidate) -> LaminiInstruction | None:
        reply = await answering.chat(
            candidate.instruction, temperature=response_temperature, max_tokens=max_tokens_response
        )
        try:
            output = complete_reply(reply)
            if is_refusal(output):
                raise Bad("refused")
        except Bad as bad:
            run.reject(reply, bad.reason, instruction=candidate.instruction, instruction_source=candidate.source)
            return None
        row = LaminiInstruction(
            instruction=candidate.instruction,
            output=output,
            instruction_source=candidate.source,
            topics=candidate.topics,
        )
        run.link(row, *candidate.made_from)
        return row

    waiting: list[Candidate] = []
    count = 1
    while odds or waiting:
        if not waiting:
            turns = max(1, count // instructions_per_call)
            drawn = run.rng("sources").choices(list(odds), list(odds.values()), k=turns)
            candidates = []
            for kind in drawn:
                if kind in ORIGINAL:
                    own = seeds_of[kind][:instructions_per_call]
                    del seeds_of[kind][:instructions_per_call]
                    candidates += [Candidate(seed.whole, kind, [], [seed]) for seed in own]
            for written in await run.map(write, [kind for kind in drawn if kind not in ORIGINAL], keep_going=True):
                candidates += written
            for candidate in candidates:
                key = same(candidate.instruction)
                if key in taken or (key in known and candidate.source not in ORIGINAL):
                    said = next((one for one in candidate.made_from if isinstance(one, Reply)), None)
                    run.reject(candidate.instruction, "duplicate", source=said, instruction_source=candidate.source)
                    continue
                taken.add(key)
                waiting.append(candidate)
            odds = {kind: share for kind, share in odds.items() if seeds_of[kind]}
        batch, waiting = waiting[:count], waiting[count:]
        for row in filter(None, await run.map(answer, batch, keep_going=True)):
            yield row
        if batch:
            count = min(2 * count, requests_at_once)


def common(run: Run, topics: Sequence[Topic], max_words: int, min_subcategories: int, min_pages: int) -> list[Topic]:
    """The topics that are short and have much below them, each name once; the others are put aside together."""
    kept: dict[str, Topic] = {}
    long, small = [], []
    for topic in topics:
        if not 0 < len(topic.name.split()) <= max_words:
            long.append(topic.name)
        elif too_few(topic.subcategories, min_subcategories) or too_few(topic.pages, min_pages):
            small.append(topic.name)
        else:
            kept.setdefault(same(topic.name), topic)
    if long:
        run.reject(long, "long_topic", topics=len(long))
    if small:
        run.reject(small, "small_topic", topics=len(small))
    return list(kept.values())


def too_few(count: int | None, least: int) -> bool:
    return count is not None and count < least


def in_turns(run: Run, kind: str, seeds: Sequence[LaminiSeed]) -> list[LaminiSeed]:
    """The seeds in random order, their data sets by turns."""
    order = list(seeds)
    run.rng(kind).shuffle(order)
    seen: dict[str, int] = {}
    places = []
    for seed in order:
        places.append(seen.get(seed.dataset, 0))
        seen[seed.dataset] = places[-1] + 1
    return [seed for _, seed in sorted(zip(places, order, strict=True), key=lambda pair: pair[0])]


def read_examples(run: Run, reply: Reply) -> list[str]:
    """What stands between each pair of tags; all else that a tag opens is put aside."""
    found = []
    pieces = list(EXAMPLE.finditer(reply.text))
    if not pieces:
        run.reject(reply, "untagged")
    for number, piece in enumerate(pieces, 1):
        text = piece[1].strip()
        if not piece[2]:
            cut = reply.truncated and number == len(pieces)
            run.reject(text, "truncated" if cut else "untagged", source=reply)
        elif not text:
            run.reject(text, "empty_instruction", source=reply)
        else:
            found.append(text)
    return found


def same(text: str) -> str:
    return " ".join(text.casefold().split())
