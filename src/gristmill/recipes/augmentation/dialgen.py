"""DialGen (Lu et al. 2023, section 3): a model writes a call bit by bit, and a person edits, steers and annotates each bit."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from gristmill import Annotator, Chat, Completion, Conversation, Row, Rows, Run, Turn, recipe
from gristmill import recipes as home
from gristmill.models.annotation import Editing, Note, Writing
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.prompts import Prompt

GENERATE = Prompt(
    """Write a phone call between an agent of an insurance company and a caller, bit by bit. {task}

What happened: {story}
The agent: {agent}
The caller: {caller}

In the course of the call this has to come up, in the words of everyday speech, with hesitation and corrections as people speak:
{slots}

Write the next {turns} turns only, each in a line that begins "Agent:" or "Caller:". Say nothing that stands against what was said before. When all has come up and the matter is settled, let them say goodbye and end with the line "[end]".
{instruction}
The call so far:
{history}"""
)
OPENING = "Agent: Hello, thank you for calling. How can I help you?"
REVIEW = Prompt(
    "Read the new turns below the call so far. Correct wording and whatever stands against the story or the call; add "
    "hesitation where it sounds too smooth. Delete turns from the end to have them written anew; skip to have all of it "
    "written anew. What you write into the comment steers what comes next."
)
ANNOTATE = Prompt(
    """Write down what each new turn says about the case, one fact a line:

TURN | REFERENT | DOMAIN | SLOT | = VALUE

"=" sets a value or replaces it, "+" adds one more, "~" confirms what is known. Write "none" if nothing is said. Referents: {referents}. Slots:
{slots}
{trouble}"""
)
AGAIN = Prompt("These lines were not accepted; write only them anew, as the others are kept:\n{trouble}")
CHECK = Prompt(
    "Another person annotated these turns. Correct the lines where they are wrong, or leave them as they are."
)

SPEAKERS = {"agent": "Agent", "caller": "Caller"}
LINE = re.compile(r"^\s*(Agent|Caller)\s*:(.*)$", re.IGNORECASE)
FACT = re.compile(r"\s*(\d+)\s*\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*([=+~])\s*(\S.*?)\s*")
END = re.compile(r"\[end\]", re.IGNORECASE)


class Slot(Row):
    """Something that is to be known of a case."""

    domain: str
    name: str
    description: str
    values: list[str] = msgspec.field(default_factory=list)
    """Those allowed, of a categorical slot; none: any."""
    referents: list[str] = msgspec.field(default_factory=lambda: ["Global"])
    """Whom it may be said of."""


class Wanted(msgspec.Struct):
    """What has to come up in a call."""

    referent: str
    domain: str
    slot: str
    value: str


class CallSpec(Row):
    """A call to be written."""

    story: str
    agent: str
    caller: str
    wanted: list[Wanted]


class Change(msgspec.Struct):
    """What a turn says."""

    referent: str
    domain: str
    slot: str
    op: str
    """"=" sets or replaces, "+" adds, "~" confirms."""
    value: str


class Spoken(msgspec.Struct):
    """A turn, as it was accepted."""

    speaker: str
    utterance: str
    changes: list[Change] = []


class Known(msgspec.Struct):
    """Values of a slot at the end."""

    referent: str
    domain: str
    slot: str
    values: list[str]


class Edited(msgspec.Struct):
    """What a person made of a bit."""

    written: str
    accepted: str
    by: str
    instruction: str


class AnnotatedCall(Conversation, kw_only=True):
    """A call with all that is said in it. `messages` are its turns, the agent as assistant."""

    turns: list[Spoken]
    state: list[Known]
    edits: list[Edited]
    complete: bool
    """Whether the call was closed once all that was wanted had come up; else it was cut at `max_turns`."""


class StateChange(Completion, kw_only=True):
    """The turns so far, and what the last one says, as lines."""

    turn: int


@recipe("dialgen", seeds="insurance_calls.jsonl")
async def dialgen(
    row: CallSpec,
    generator: Chat,
    reviewer: Annotator,
    run: Run,
    *,
    schema: Rows[Slot] | None = None,
    second_annotator: Annotator | None = None,
    task: str = "The caller reports an accident with a car.",
    turns_per_subdialogue: Annotated[int, Meta(ge=1)] = 6,
    max_turns: Annotated[int, Meta(ge=2)] = 80,
    rejections: Annotated[int, Meta(ge=0)] = 3,
    corrections: Annotated[int, Meta(ge=0)] = 1,
    context_turns: Annotated[int, Meta(ge=1)] = 18,
    temperature: float = 1.0,
    max_tokens_per_subdialogue: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[AnnotatedCall | StateChange]:
    """Grow a call from subdialogues that a person edits, accepts and annotates, each before the next is written.

    The model sees the task, the story, what has still to come up, and exactly the turns that were accepted, as edited. The
    person may have a bit written anew, cut it, and say what should come next. What the turns say is written down as facts
    (referent, domain, slot, value), checked against the schema, and played through to the state at the end. (Lu et al.
    2023, arXiv:2307.07047, section 3. Prompt, turns in a subdialogue and sampling are not published.) Whether a value
    follows from its turn, and whether a turn stands against the story, is left to the person. A call that says goodbye
    with wanted facts left goes on. A fact has come up when its value is known; where a slot takes any words, when as many
    values are known as are wanted, since people put them in their own words. Training a tracker of dialogue states on the
    second table is left to the export.

    Args:
        reviewer: edits the turns, steers, and annotates.
        schema: slots that there are; those that ship unless given.
        second_annotator: looks over the annotations; nobody unless named. Not confirmed from the paper.
        task: what the call is about.
        turns_per_subdialogue: to ask for. Not confirmed from the paper.
        max_turns: of a call; turns above are cut.
        rejections: bits in a row that may be sent back before the call is given up. Not from the paper.
        corrections: times that an annotation with lines that were not accepted is handed back. Not from the paper.
        context_turns: in the second table's prompts.
        temperature: of the generator. Not from the paper.
        max_tokens_per_subdialogue: of the generator. Not from the paper.

    Rejects: `sent_back` (a bit that the reviewer had written anew), `given_up` (too many of these in a row),
        `outside_schema` (a fact with an unknown slot, referent or value, or a call of which one is wanted; details: why),
        `unreadable` (a line that is no fact), `no_turns` (the reply holds none), `not_annotated` (the reviewer skipped it),
        `empty`, `truncated`.
    """
    slots = list(schema if schema is not None else home.shipped("insurance_slots.jsonl", Slot))
    listed = "\n".join(f"- {slot.domain} | {slot.name}: {slot.description}{allowed(slot)}" for slot in slots)
    referents = sorted({name for slot in slots for name in slot.referents})
    turns = spoken(OPENING)
    edits: list[Edited] = []
    state: dict[tuple[str, str, str], list[str]] = {}
    instruction, closed, sent_back = "", False, 0
    for one in row.wanted:  # what no annotation may hold would never come up
        if why := objection(Change(one.referent, one.domain, one.slot, "=", one.value), slots):
            run.reject(row, "outside_schema", why=why)
            return

    def missing() -> list[Wanted]:
        """What has still to come up. In a slot that takes any words, a value that nobody wanted stands for one that is."""
        names = {(one.referent, one.domain, one.slot, one.value) for one in row.wanted}
        fixed = {(slot.domain, slot.name) for slot in slots if slot.values}
        other = {key: sum((*key, value) not in names for value in values) for key, values in state.items()}
        left = []
        for one in row.wanted:
            key = (one.referent, one.domain, one.slot)
            if one.value in state.get(key, ()):
                continue
            if key[1:] not in fixed and other.get(key):
                other[key] -= 1
            else:
                left.append(one)
        return left

    async def annotated(bit: Sequence[Spoken], first: int, history: str) -> list[tuple[int, Change]]:
        new = range(first, first + len(bit))
        numbered = "\n".join(f"{n} {one.speaker}: {one.utterance}" for n, one in zip(new, bit, strict=True))
        trouble = ""
        facts: list[tuple[int, Change]] = []
        refused: list[tuple[str, str, str]] = []
        for again in range(corrections + 1):
            said = ANNOTATE(referents=", ".join(referents), slots=listed, trouble=trouble)
            note: Note = await reviewer.annotate(Writing(context=f"{history}\n\nNew:\n{numbered}", guidelines=said))
            if note.skipped and not again:
                run.reject({"turns": numbered}, "not_annotated")
                return []
            if note.skipped:
                break
            found, refused = read_facts(note.text, slots, new)
            facts += [fact for fact in found if fact not in facts]
            if not refused:
                break
            trouble = AGAIN(trouble="\n".join(f"{line} ({why})" for line, why, _ in refused))
        if second_annotator is not None:
            shown = "\n".join(f"{number} | {fact_line(change)}" for number, change in facts) or "none"
            checked: Note = await second_annotator.annotate(
                Editing(text=shown, context=f"{history}\n\nNew:\n{numbered}", guidelines=CHECK())
            )
            if not checked.skipped:
                facts, more = read_facts(checked.text, slots, new)
                refused += more
        for line, why, reason in refused:
            if reason == "unreadable":
                run.reject({"line": line}, "unreadable")
            else:
                run.reject({"line": line}, "outside_schema", why=why)
        return sorted(facts, key=lambda fact: fact[0])  # a line may come late, and the state follows the turns

    while not closed and len(turns) < max_turns:
        history = "\n".join(f"{one.speaker}: {one.utterance}" for one in turns)
        left = missing()
        prompt = GENERATE(
            task=task,
            story=row.story,
            agent=row.agent,
            caller=row.caller,
            slots="\n".join(f"- {one.referent}, {one.domain}, {one.slot}: {one.value}" for one in left)
            or "- (all of it has)",
            turns=turns_per_subdialogue,
            instruction=f"The supervisor says: {instruction}\n" if instruction else "",
            history=history,
        )
        written = await attempt(
            run,
            partial(generator.chat, prompt, temperature=temperature, max_tokens=max_tokens_per_subdialogue),
            lambda reply: readable(complete_reply(reply)),
        )
        if written is None:
            sent_back += 1
        else:
            note: Note = await reviewer.annotate(
                Editing(text=written, context=f"{row.story}\n\n{history}", guidelines=REVIEW())
            )
            if note.skipped or not spoken(note.text):
                run.reject({"turns": written}, "sent_back")
                sent_back += 1
                instruction = note.comment or instruction
            else:
                sent_back = 0
                instruction = note.comment
                whole, first = spoken(note.text), len(turns)
                bit = whole[: max_turns - first]
                text = "\n".join(f"{one.speaker}: {one.utterance}" for one in bit)
                edits.append(Edited(written, text, note.by, note.comment))
                turns += bit
                for number, change in await annotated(bit, first, history):
                    turns[number].changes.append(change)
                    apply(state, change)
                closed = END.search(note.text) is not None and len(bit) == len(whole) and not missing()
        if sent_back > rejections:
            run.reject(row, "given_up", turns=len(turns))
            return
    yield AnnotatedCall(
        messages=[Turn("assistant" if one.speaker == "Agent" else "user", one.utterance) for one in turns],
        turns=turns,
        state=[Known(*key, values) for key, values in state.items()],
        edits=edits,
        complete=closed,
    )
    for number, turn in enumerate(turns):
        near = turns[max(0, number + 1 - context_turns) : number + 1]
        # Without the number, which cannot be told from turns that bear none.
        said = "\n".join(map(fact_line, turn.changes)) or "none"
        yield StateChange(
            prompt="\n".join(f"{other.speaker}: {other.utterance}" for other in near), completion=said, turn=number
        )


def spoken(text: str) -> list[Spoken]:
    """The turns of a text, without the mark of the end. A line without a speaker goes on with the turn before it; before
    the first turn it belongs to no one and is left out, and so is a turn without words."""
    turns: list[Spoken] = []
    for line in END.sub("", text).splitlines():
        if found := LINE.match(line):
            turns.append(Spoken(SPEAKERS[found[1].lower()], found[2].strip()))
        elif turns and line.strip():
            turns[-1].utterance = f"{turns[-1].utterance} {line.strip()}".strip()
    return [one for one in turns if one.utterance]


def readable(text: str) -> str:
    if not spoken(text):
        raise Bad("no_turns")
    return text


def read_facts(
    text: str, slots: Sequence[Slot], turns: range
) -> tuple[list[tuple[int, Change]], list[tuple[str, str, str]]]:
    """Facts with their turns; and lines that were not accepted, why, and under which code."""
    facts, refused = [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.lower() == "none":
            continue
        if not (found := FACT.fullmatch(line)):
            refused.append((line, "not of the form TURN | REFERENT | DOMAIN | SLOT | = VALUE", "unreadable"))
            continue
        number, change = int(found[1]), Change(*found.groups()[1:])
        if why := objection(change, slots) or ("" if number in turns else f"turn {number} is not among the new ones"):
            refused.append((line, why, "outside_schema"))
        else:
            facts.append((number, change))
    return facts, refused


def objection(change: Change, slots: Sequence[Slot]) -> str:
    slot = next((slot for slot in slots if (slot.domain, slot.name) == (change.domain, change.slot)), None)
    if slot is None:
        return f"there is no slot {change.domain} | {change.slot}"
    if change.referent not in slot.referents:
        return f"{change.slot} is not said of {change.referent}"
    if slot.values and change.value not in slot.values:
        return f"{change.value!r} is none of {', '.join(slot.values)}"
    return ""


def apply(state: dict[tuple[str, str, str], list[str]], change: Change) -> None:
    """Play a change into the state: "=" replaces what was known, "+" adds to it, "~" leaves it, or sets it if it is new."""
    values = state.setdefault((change.referent, change.domain, change.slot), [])
    if change.op == "=":
        values[:] = [change.value]
    elif change.value not in values and (change.op == "+" or not values):
        values.append(change.value)


def fact_line(change: Change) -> str:
    return f"{change.referent} | {change.domain} | {change.slot} | {change.op} {change.value}"


def allowed(slot: Slot) -> str:
    return f" ({', '.join(slot.values)})" if slot.values else ""
