"""DIALOGIC (Li et al. 2022): new annotated dialogues after the example of two, each annotation checked against what was said.

`dialogic-auxiliary` makes the rows that an auxiliary model is trained on.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from random import Random
from typing import Annotated, Literal, Protocol, TypeVar

from msgspec import Meta, Struct
from rapidfuzz.distance import OSA

from gristmill import (
    Artefact,
    BadInput,
    Complete,
    Conversation,
    Lesson,
    Reply,
    Row,
    Rows,
    Run,
    Trainable,
    Training,
    Turn,
    recipe,
)
from gristmill import recipes as home
from gristmill.ops.ask import Bad, attempt
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import words

INTRODUCTION = Prompt(
    """In each of these conversations you talk with an assistant who finds and books what you require. Say things differently every time.

"""
)
REQUIREMENT = Prompt("you are about to book a {domain}, and you require ({slots})")
DEMONSTRATION = Prompt("Requirement {number}: {requirement}.\nConversation {number}:\n{conversation}\n")
OPEN = Prompt("Requirement {number}: {requirement}.\nConversation {number}:\n")
USER = Prompt("You require({annotation}): {text}\n")
SYSTEM = Prompt("Assistant({act}): {text}\n")

PREDICT = {
    "state": Prompt("Dialogue:\n{context}\nAll that the user requires by now:"),
    "act": Prompt("Dialogue:\n{context}\nThe database says {db}. What the system should do now:"),
    "response": Prompt("Dialogue:\n{context}\nThe database says {db}. What the system should say now:"),
}
"""What the auxiliary model is asked, and trained on."""

GENERAL = "general"
SEPARATOR = "):"
NAME = "[value_name]"
ACT = re.compile(r"(?:\[\w+\](?:[\s,]+\w+)*[\s,]*)+")
COMBINATIONS = {"two": (2, 3, 5, 0.2), "three": (3, 2, 4, 0.8)}
"""Of a goal: domains, the fewest and the most slots of each, and the odds."""
BUCKETS = {"[db_0]": 0, "[db_1]": 1, "[db_2]": 3}
"""Matches of the database, at most; more are [db_3]."""
NUMBERS = dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")))
FACILITIES = {"internet": ("internet", "wifi", "wi fi", "wireless"), "parking": ("parking", "park")}
INDIFFERENT = (
    "don t care", "do not care", "doesn t matter", "does not matter", "no preference", "not picky", "any", "anything",
    "anywhere", "either", "whatever", "whichever",
)  # fmt: skip
TYPO_LETTERS = 5
"""A value of so many letters may have a typo: one letter more, fewer, other, or two exchanged."""

T = TypeVar("T")
State = dict[str, dict[str, str]]
"""Values by domain and slot."""
Ontology = dict[str, dict[str, list[str]]]
Mode = Literal["combine", "substitute", "drop", "random"]


class SeedTurn(Struct):
    """What the user says, what is required by then, and what the system does and says."""

    user: str
    belief_state: State
    """All that the user has required up to here."""
    dialog_act: str
    """"[restaurant] [inform] choice [request] area"."""
    response: str
    """With placeholders for what a database knows: "[value_name] is in the [value_area]"."""


class SeedDialogue(Row):
    """A dialogue that people annotated."""

    goal: State
    turns: Annotated[list[SeedTurn], Meta(min_length=1)]


class OntologySlot(Row):
    """A slot that there is, and the values that a goal may give it."""

    domain: str
    slot: str
    values: Annotated[list[str], Meta(min_length=1)]


class Entity(Row):
    """Something that a database knows."""

    domain: str
    properties: dict[str, str]


class SimulatedTurn(Struct):
    user: str
    bspn: str
    """The belief state: all that the user has required up to here."""
    db: str
    """How much the database finds: [db_0] to [db_3], [db_nores] where nothing was looked for."""
    aspn: str
    """The system's act."""
    resp: str
    """The response, with placeholders."""


class SimulatedDialogue(Conversation, kw_only=True):
    """A dialogue of the model, as messages and with its annotation."""

    dial_id: str
    goal: State
    """What the user came to require in the end."""
    planned_goal: State
    """What the prompt asked for."""
    turns: list[SimulatedTurn]
    complete: bool
    """Whether it came to an end with all of its domains, and was not cut at `max_turns`."""


class Learner(Complete, Trainable, Protocol):
    """A small model that is trained on the seeds."""


@dataclass
class Talk:
    """A dialogue as it grows."""

    prompt: str
    turns: list[SimulatedTurn] = field(default_factory=list)
    state: State = field(default_factory=dict)
    domain: str = GENERAL
    """Of this turn."""
    mentioned: set[str] = field(default_factory=set)

    @property
    def context(self) -> str:
        return "".join(f"User: {turn.user}\nSystem: {turn.resp}\n" for turn in self.turns)


@recipe("dialogic", seeds="dialogic_dialogues.jsonl")
async def dialogic(
    seeds: Rows[SeedDialogue],
    generator: Complete,
    run: Run,
    auxiliary: Complete | None = None,
    learner: Learner | None = None,
    *,
    ontology: Rows[OntologySlot] | None = None,
    database: Rows[Entity] | None = None,
    goal_mode: Mode = "combine",
    augment_times: Annotated[int, Meta(ge=1)] = 1,
    k_shot: Annotated[int, Meta(ge=2)] = 2,
    combine_temperature: Annotated[float, Meta(gt=0)] = 0.2,
    lm_temperature: float = 0.7,
    frequency_penalty: float = 1.0,
    max_tokens_per_turn: Annotated[int, Meta(ge=1)] = 64,
    max_turns: Annotated[int, Meta(ge=1)] = 10,
    max_repeat: Annotated[int, Meta(ge=1)] = 3,
    training: Training = Training(epochs=10),
    dialogues_at_once: Annotated[int, Meta(ge=1)] = 64,
) -> AsyncIterator[SimulatedDialogue]:
    """Simulate task-oriented dialogues turn by turn, and correct each turn's annotation before the next one is written.

    A goal is made of two unlike dialogues with other values, and these two are what the prompt shows, with their
    annotations in the lines. The model writes the user's requirements and then the user's words. A requirement that the
    words do not mention is taken out (over-generation); one that an auxiliary model finds in them is put in
    (de-generation); the corrected line stays in the prompt. The auxiliary model also says what the system does, and the
    language model how it says it. A dialogue ends with a farewell once all domains of its goal came up. (Li et al. 2022,
    "Controllable Dialogue Simulation with In-Context Learning", arXiv:2210.04185, and the repository Leezekun/dialogic;
    text-davinci-002, 85 dialogues of MultiWOZ 2.3.)

    The paper's auxiliary model, PPTOD, is a T5-small that was trained on the same seeds. Here it is a causal model:
    bind a `learner`, and it is trained first, or an `auxiliary` that was trained on rows of `dialogic-auxiliary`. With
    neither the recipe runs, but it is half the method: nothing forgotten is put in, and the language model writes the
    acts as well.

    Here besides: a line that was cut is asked for again, and of a prediction that was cut only whole values of the state
    count. A goal is filled up with slots of the ontology where the seeds have fewer; all modes give new values;
    `substitute`, `drop` and `random` show the dialogues nearest to the goal. The buckets of the database are not
    confirmed. Values that a user may say are not limited to the ontology.

    Args:
        auxiliary: predicts belief state, act and response; trained before.
        learner: the same, trained here on the seeds.
        ontology: slots and the values that goals take; those that ship unless given, with their database.
        database: what the system can find. Without one every turn has [db_nores].
        goal_mode: combine: two dialogues. substitute: the goal of one with other values. drop: with up to two slots less
            in each domain. random: any goal of the ontology.
        augment_times: dialogues for each seed.
        k_shot: dialogues in a prompt.
        combine_temperature: the lower, the more a seed is combined with its opposite.
        lm_temperature: of the generator. The auxiliary model is asked at 0.
        frequency_penalty: of the generator. A small one forgets the form of the lines under it: give 0 then.
        max_tokens_per_turn: of a line.
        max_turns: of a dialogue (the released script: 12).
        max_repeat: tries for a line.
        training: of the learner. Not confirmed.
        dialogues_at_once: dialogues that are simulated side by side. The first round has one, each next one twice as
            many up to here.

    Rejects: lines `unsplit` (without exactly one mark between annotation and text), `empty`, `truncated`, `no_act`
        (details: of, turn); required values (one reject a turn; details: turn, user) `not_mentioned`, `no_such_slot`,
        `placeholder`; predictions `unread_prediction` (details: of, turn); dialogues `given_up` (no line after all
        tries; details: turns).
    """
    if len(seeds) < k_shot:
        raise BadInput(f"dialogic: {len(seeds)} seed dialogues are too few, a prompt shows {k_shot}")
    if auxiliary is not None and learner is not None:
        raise BadInput("dialogic: bind a learner, which is trained here, or an auxiliary, which was trained; not both")
    slots = known(ontology if ontology is not None else home.shipped("dialogic_ontology.jsonl", OntologySlot))
    entities: Sequence[Entity] | None = database
    if ontology is None and database is None:
        entities = home.shipped("dialogic_database.jsonl", Entity)
    refuse_what_cannot_be_read(slots)
    for seed in seeds:
        if bare := next((domain for domain, values in seed.goal.items() if not values), None):
            raise BadInput(f"dialogic: a seed's goal has [{bare}] without a slot: leave it out, or give it one")
        for domain, slot in pairs(seed.goal):
            if slot not in slots.get(domain, {}):
                raise BadInput(f"dialogic: a seed's goal has [{domain}] {slot}, which the ontology lacks")
    helper: Complete | None = auxiliary
    trained: list[Artefact] = []
    if learner is not None:
        learnt = [lesson for seed in seeds for _, lesson in lessons(seed, entities)]
        helper = taught = await run.train(learner, learnt, training=training)
        trained = [taught.checkpoint]

    async def write(prompt: str, stop: str) -> Reply:
        return await generator.complete(
            prompt,
            temperature=lm_temperature,
            frequency_penalty=frequency_penalty,
            max_tokens=max_tokens_per_turn,
            stop=[stop],
        )

    async def predict(of: str, talk: Talk, user: str, db: str) -> str:
        """What the auxiliary model says; "" without one."""
        if helper is None:
            return ""
        asked = PREDICT[of](context=f"{talk.context}User: {user}", **({} if of == "state" else {"db": db}))
        reply = await helper.complete(asked, temperature=0.0, max_tokens=max_tokens_per_turn, stop=["\n"])
        text = reply.text.strip()
        if reply.truncated:  # the last value may be half of one, and half an act or a response is none
            text = text.rpartition(",")[0] if of == "state" else ""
        if not (read_pieces(text) if of == "state" else ACT.fullmatch(text) if of == "act" else text):
            run.reject(reply, "unread_prediction", of=of, turn=len(talk.turns))
            return ""
        return text

    async def user_turn(talk: Talk) -> str | None:
        """What the user says. The corrected line is in the prompt then, and the state is up to date. None where no line
        could be had."""
        at = {"of": "user", "turn": len(talk.turns)}
        accepting = bool(talk.turns) and "[offerbook]" in talk.turns[-1].aspn.lower()
        begun = f"[{GENERAL}]{SEPARATOR} yes" if accepting else "["

        def read(reply: Reply) -> tuple[str, str]:
            annotation, text = halves(begun + reply.text, at)
            return annotation, first_line(text, reply, at)

        found = await attempt(
            run, lambda: write(f"{talk.prompt}You require({begun}", "Assistant"), read, tries=max_repeat
        )
        if found is None:
            return None
        annotation, user = found
        named = [domain for domain, *_ in read_pieces(annotation)]
        real = [domain for domain in named if domain in slots]
        talk.domain = GENERAL if GENERAL in named or not real else real[-1]
        talk.mentioned.update(real)
        required = checked(run, annotation, user, slots, talk.state, len(talk.turns))
        before = f"{talk.turns[-1].user} {talk.turns[-1].resp}" if talk.turns else ""
        late: State = {}  # known, but not what this line says
        for domain, slot, value in read_pieces(await predict("state", talk, user, "")):
            if domain != talk.domain or objection(domain, slot, value, slots) or slot in required.get(domain, {}):
                continue
            if mentions(user, slot, value, talk.state):
                required.setdefault(domain, {})[slot] = value
            elif mentions(before, slot, value, talk.state):
                late.setdefault(domain, {})[slot] = value
        for more in (late, required):
            for domain, values in more.items():
                talk.state.setdefault(domain, {}).update(values)
        talk.prompt += USER(annotation=written(required) or f"[{talk.domain}]", text=user)
        return user

    async def system_turn(talk: Talk, user: str, db: str) -> tuple[str, str] | None:
        """What the system does and says; None where no line could be had."""
        at = {"of": "system", "turn": len(talk.turns)}
        act = await predict("act", talk, user, db)
        begun = f"{act}{SEPARATOR}" if act else "["

        def read(reply: Reply) -> tuple[str, str]:
            done, text = halves(begun + reply.text, at)
            if not ACT.fullmatch(done.strip()):
                raise Bad("no_act", **at)
            return done.strip(), first_line(text, reply, at)

        found = await attempt(
            run, lambda: write(f"{talk.prompt}Assistant({begun}", "You require"), read, tries=max_repeat
        )
        if found is None:
            return None
        act, text = found
        if NAME not in text and NAME in (other := await predict("response", talk, user, db)):
            text = other
        talk.prompt += SYSTEM(act=act, text=text)
        return act, text

    async def simulate(number: int) -> SimulatedDialogue | None:
        goal, shown = planned(run, goal_mode, seeds[number % len(seeds)], seeds, slots, combine_temperature, k_shot)
        talk = Talk(INTRODUCTION() + demonstrated(shown) + OPEN(number=len(shown) + 1, requirement=wish(goal)))
        complete = False
        while not complete and len(talk.turns) < max_turns:
            answer = None
            if (user := await user_turn(talk)) is not None:
                db = found_by(entities, talk.domain, talk.state)
                bspn = written(talk.state)
                answer = await system_turn(talk, user, db)
            if user is None or answer is None:
                run.reject(talk.prompt.rpartition("Requirement")[2], "given_up", turns=len(talk.turns))
                return None
            talk.turns.append(SimulatedTurn(user, bspn, db, *answer))
            act = answer[0].lower()
            ends = "[bye]" in act or "[welcome]" in act
            complete = ends and set(goal) <= talk.mentioned | set(talk.state)
        row = SimulatedDialogue(
            messages=[
                Turn(role, text)
                for turn in talk.turns
                for role, text in (("user", turn.user), ("assistant", turn.resp))
            ],
            dial_id=f"{goal_mode}-{number}",
            goal=talk.state,
            planned_goal=goal,
            turns=talk.turns,
            complete=complete,
        )
        run.link(row, *shown, *trained)
        return row

    waiting, count = list(range(len(seeds) * augment_times)), 1
    while waiting:
        batch, waiting = waiting[:count], waiting[count:]
        for row in filter(None, await run.map(simulate, batch, keep_going=True)):
            yield row
        count = min(2 * count, dialogues_at_once)


# -- goals and demonstrations


def planned(
    run: Run,
    mode: Mode,
    first: SeedDialogue,
    seeds: Sequence[SeedDialogue],
    slots: Ontology,
    temperature: float,
    k_shot: int,
) -> tuple[State, list[SeedDialogue]]:
    """A goal, and the dialogues to show for it."""
    rng = run.rng("goal")
    shown: list[SeedDialogue] = []
    match mode:
        case "combine":
            others = [seed for seed in seeds if seed is not first]
            # Where some bring a further domain, one of these: a goal has two domains or three.
            others = [seed for seed in others if len(first.goal.keys() | seed.goal.keys()) > 1] or others
            alike = [likeness(first.goal, seed.goal) for seed in others]
            # The same odds as of exp((1 - likeness) / T), which is too large a number where T is small.
            odds = [exp((min(alike) - each) / temperature) for each in alike]
            shown = [first, run.draw("partner", others, weights=odds)]
            offered = {
                domain: [*dict.fromkeys(slot for seed in shown for slot in seed.goal.get(domain, {}))]
                for domain in dict.fromkeys(domain for seed in shown for domain in seed.goal)
            }
            wanted = combined(run, rng, offered, slots)
        case "random":
            wanted = combined(run, rng, {domain: list(slots[domain]) for domain in slots}, slots)
        case "substitute":
            wanted = {domain: list(values) for domain, values in first.goal.items()}
        case "drop":
            wanted = {}
            for domain, values in first.goal.items():
                left = len(values) - rng.randint(0, min(2, len(values) - 1))
                kept = set(rng.sample(list(values), left))
                wanted[domain] = [slot for slot in values if slot in kept]
    if mode in ("substitute", "drop"):
        shown = [first]
    goal = {domain: {slot: rng.choice(slots[domain][slot]) for slot in names} for domain, names in wanted.items()}
    return goal, nearest(goal, seeds, k_shot, shown)


def combined(run: Run, rng: Random, offered: Mapping[str, list[str]], slots: Ontology) -> dict[str, list[str]]:
    """Two or three of the domains, each with so many of its slots as COMBINATIONS says, as far as there are so many."""
    possible = {name: option for name, option in COMBINATIONS.items() if option[0] <= len(offered)} or COMBINATIONS
    name = run.draw("domains", list(possible), weights=[option[3] for option in possible.values()])
    domains, fewest, most, _ = possible[name]
    wanted = {}
    for domain in rng.sample(list(offered), min(domains, len(offered))):
        count = min(rng.randint(fewest, most), len(slots[domain]))
        names = rng.sample(offered[domain], min(count, len(offered[domain])))
        others = [slot for slot in slots[domain] if slot not in names and slot not in offered[domain]]
        wanted[domain] = names + rng.sample(others, count - len(names))
    return wanted


def likeness(one: State, other: State) -> float:
    """Jaccard similarity of the domains times that of the values with their slots."""
    return jaccard(set(one), set(other)) * jaccard(set(triples(one)), set(triples(other)))


def nearest(
    goal: State, seeds: Sequence[SeedDialogue], count: int, shown: Sequence[SeedDialogue]
) -> list[SeedDialogue]:
    """`shown`, and as many more as `count` needs: each time the dialogue most like what of the goal is still without an
    example; of equally like ones the first."""
    chosen = list(shown)
    left = [seed for seed in seeds if all(seed is not one for one in chosen)]
    whole = set(pairs(goal))
    rest = whole.difference(*(pairs(seed.goal) for seed in chosen))
    while len(chosen) < count:
        aim = rest or whole

        def fit(seed: SeedDialogue, aim: set[tuple[str, str]] = aim) -> float:
            return jaccard({domain for domain, _ in aim}, set(seed.goal)) * jaccard(aim, set(pairs(seed.goal)))

        best = max(left, key=fit)
        left = [seed for seed in left if seed is not best]
        chosen.append(best)
        rest = rest.difference(pairs(best.goal))
    return chosen


def jaccard(one: set[T], other: set[T]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def demonstrated(shown: Sequence[SeedDialogue]) -> str:
    """The dialogues with what each line newly requires."""
    text = ""
    for number, seed in enumerate(shown, 1):
        conversation, before = "", State()
        for turn in seed.turns:
            new = newly(before, turn.belief_state)
            conversation += USER(annotation=written(new) or f"[{GENERAL}]", text=one_line(turn.user))
            conversation += SYSTEM(act=one_line(turn.dialog_act), text=one_line(turn.response))
            before = turn.belief_state
        text += DEMONSTRATION(number=number, requirement=wish(seed.goal), conversation=conversation)
    return text


def lessons(seed: SeedDialogue, entities: Sequence[Entity] | None) -> list[tuple[str, Lesson]]:
    """What an auxiliary model learns from a dialogue: of each turn the state, the act and the response."""
    found, context, before = [], "", State()
    for turn in seed.turns:
        context += f"User: {one_line(turn.user)}"
        domain = next(reversed(newly(before, turn.belief_state)), GENERAL)
        db = found_by(entities, domain, turn.belief_state)
        texts = {
            "state": written(turn.belief_state) or f"[{GENERAL}]",
            "act": one_line(turn.dialog_act),
            "response": one_line(turn.response),
        }
        for of, text in texts.items():
            asked = PREDICT[of](context=context, **({} if of == "state" else {"db": db}))
            found.append((of, Lesson(asked, f" {text}")))
        context += f"\nSystem: {texts['response']}\n"
        before = turn.belief_state
    return found


# -- states, and how they are written


def known(ontology: Iterable[OntologySlot]) -> Ontology:
    found: Ontology = {}
    for one in ontology:
        found.setdefault(one.domain, {})[one.slot] = one.values
    return found


def refuse_what_cannot_be_read(slots: Ontology) -> None:
    """Raises BadInput for a name or a value that a line of a dialogue would not give back as it is."""
    for domain, names in slots.items():
        for slot, values in names.items():
            for value in values:
                if read_pieces(written({domain: {slot: value}})) != [(domain, slot, one_line(value).lower())]:
                    raise BadInput(
                        f"dialogic: the ontology's [{domain}] {slot} is {value!r} cannot be read in a dialogue: domains "
                        "are one word in small letters, slots are in small letters, and no text is empty or has a comma"
                    )


def pairs(state: State) -> list[tuple[str, str]]:
    return [(domain, slot) for domain, values in state.items() for slot in values]


def triples(state: State) -> list[tuple[str, str, str]]:
    return [(domain, slot, value) for domain, values in state.items() for slot, value in values.items()]


def newly(before: State, after: State) -> State:
    """What was added to a state, or changed in it."""
    new = {
        domain: {slot: value for slot, value in values.items() if before.get(domain, {}).get(slot) != value}
        for domain, values in after.items()
    }
    return {domain: values for domain, values in new.items() if values}


def written(state: State) -> str:
    """ "[restaurant] food is thai , area is north , [hotel] stars is 4"; "" for an empty state."""
    return " , ".join(
        f"[{domain}] " + " , ".join(f"{slot} is {value}" for slot, value in values.items())
        for domain, values in state.items()
        if values
    )


def wish(goal: State) -> str:
    """A goal as a prompt states it."""
    return "; ".join(REQUIREMENT(domain=domain, slots=written({domain: values})) for domain, values in goal.items())


def read_pieces(text: str) -> list[tuple[str, str, str]]:
    """Domain, slot and value of each part of an annotation; without slot and value where only a domain is named, and
    without a value where there is none."""
    found, domain = [], ""
    for piece in text.lower().split(","):
        match = re.match(r"\s*((?:\[\w+\]\s*)*)(.*)", piece, re.DOTALL)
        named = re.findall(r"\w+", match[1]) if match else []
        slot, _, value = " ".join(match[2].split() if match else ()).partition(" is ")
        found += [(name, "", "") for name in named[:-1]]
        domain = named[-1] if named else domain
        if domain and (named or slot):
            found.append((domain, slot, value.strip()))
    return found


def halves(text: str, at: Mapping[str, object]) -> tuple[str, str]:
    """Annotation and text of a line; raises Bad where not exactly one mark stands between them."""
    parts = text.split(SEPARATOR)
    if len(parts) != 2:
        raise Bad("unsplit", **at)
    return parts[0], parts[1]


def first_line(text: str, reply: Reply, at: Mapping[str, object]) -> str:
    """The first line of a text; raises Bad where there is none, or where the reply was cut within it."""
    line, ended, _ = text.strip(" ").partition("\n") if text.strip() else ("", "", "")
    if not line.strip():
        raise Bad("empty", **at)
    if reply.truncated and not ended:
        raise Bad("truncated", **at)
    return line.strip()


def one_line(text: str) -> str:
    return " ".join(text.split())


# -- control


def checked(run: Run, annotation: str, user: str, slots: Ontology, state: State, turn: int) -> State:
    """What a line requires of all that its annotation says: what is mentioned in it. The rest is put aside."""
    kept: State = {}
    wrong: dict[str, list[str]] = {}
    for domain, slot, value in read_pieces(annotation):
        if domain == GENERAL or not slot:
            continue
        reason = objection(domain, slot, value, slots) or (
            "" if mentions(user, slot, value, state) else "not_mentioned"
        )
        if reason:
            wrong.setdefault(reason, []).append(f"[{domain}] {slot} is {value}")
        else:
            kept.setdefault(domain, {})[slot] = value
    for reason in wrong:
        run.reject(wrong[reason], reason, turn=turn, user=user)
    return kept


def objection(domain: str, slot: str, value: str, slots: Ontology) -> str:
    """Why a value can belong to no state; "" where it can."""
    if slot not in slots.get(domain, {}):
        return "no_such_slot"
    return "placeholder" if value.startswith("[") else ""


def mentions(text: str, slot: str, value: str, state: State) -> bool:
    """Does a text say this value? Numbers may be words; wifi and parking stand for "yes", "same" for any value of the state
    so far; a value of letters may have a typo."""
    said, meant = words(text), words(value)
    if not said or not meant:
        return False
    if has(said, meant) or has(said, [NUMBERS.get(int(word), word) if word.isdecimal() else word for word in meant]):
        return True
    if "same" in said and any(words(other) == meant for *_, other in triples(state)):
        return True
    if meant == ["yes"] and slot in FACILITIES:
        return any(has(said, name.split()) for name in FACILITIES[slot])
    if is_indifferent(value):
        return any(has(said, phrase.split()) for phrase in INDIFFERENT)
    whole = "".join(meant)
    if len(whole) < TYPO_LETTERS or not whole.isalpha():
        return False
    windows = ("".join(said[at : at + size]) for size in range(1, len(meant) + 2) for at in range(len(said) - size + 1))
    return any(OSA.distance(whole, window, score_cutoff=1) <= 1 for window in windows)


def has(said: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(said[at : at + len(part)]) == list(part) for at in range(len(said) - len(part) + 1))


def is_indifferent(value: str) -> bool:
    return "".join(words(value)) in ("dontcare", "donotcare", "any")


def found_by(entities: Sequence[Entity] | None, domain: str, state: State) -> str:
    """How much of a domain the database has that fits the state: a bucket. A slot that no entity has is no matter."""
    known_of = [entity.properties for entity in entities or () if entity.domain == domain]
    if not known_of:
        return "[db_nores]"
    wanted = {slot: value for slot, value in state.get(domain, {}).items() if not is_indifferent(value)}
    count = sum(
        all(words(properties.get(slot, value)) == words(value) for slot, value in wanted.items())
        for properties in known_of
    )
    return next((bucket for bucket, most in BUCKETS.items() if count <= most), "[db_3]")
