"""What makes DialGen that: the next bit rests on exactly what a person accepted, and every fact on the schema."""

import re

import pytest

from gristmill import recipes
from gristmill.models.annotation import Editing, Note, Writing
from gristmill.models.annotator import Script
from gristmill.recipes.augmentation.dialgen import OPENING, Change, Slot, apply, dialgen, spoken
from gristmill.testing import Scripted, replay, run

CALL = [{"story": "A van hit the car.", "agent": "calm", "caller": "loud", "wanted": [{"referent": "Caller", "domain": "CarInfo", "slot": "Make", "value": "Ford"}]}]  # fmt: skip
FORD = "Caller | CarInfo | Make | = Ford"


def bits(*texts: str) -> Scripted:
    return Scripted(list(texts))


def ford(task, _=0) -> str:
    """What `TWO` says, wherever it stands."""
    found = re.search(r"(\d+) Caller: In my Ford", task.context)
    return f"{found[1]} | {FORD}" if found else "none"


def person(edit=lambda task, n: {}, facts=ford):
    """`edit` gives what a note has besides the text as it is; `facts` the annotation, None where it is skipped."""
    seen: dict[type, list] = {Editing: [], Writing: []}

    def act(task, _):
        n = len(seen[type(task)])
        seen[type(task)].append(task)
        if isinstance(task, Editing):
            return Note(by="rita", **({"text": task.text} | edit(task, n)))
        said = facts(task, n)
        return Note(by="rita", skipped=True) if said is None else Note(by="rita", text=said)

    return Script(act, name=f"rita {id(seen)}"), seen


ONE, TWO = "Caller: I was hit, uh, by a van.\nAgent: Oh no.", "Caller: In my Ford.\nAgent: Goodbye.\n[end]"


async def test_each_prompt_holds_exactly_the_turns_that_were_accepted_as_they_were_edited():
    def edit(task, n):
        return {"text": task.text.replace("by a van", "by a lorry")}

    model = bits(ONE, TWO)
    done = await run(dialgen, CALL, generator=model, reviewer=person(edit)[0])
    first, second = (prompt.split("The call so far:\n")[1] for prompt in model.prompts)
    assert first == OPENING
    assert second == f"{OPENING}\nCaller: I was hit, uh, by a lorry.\nAgent: Oh no."
    assert "van" not in second
    [row] = done.rows
    assert row.complete
    assert [turn.content for turn in row.messages][1:] == [
        "I was hit, uh, by a lorry.",
        "Oh no.",
        "In my Ford.",
        "Goodbye.",
    ]
    assert [turn.role for turn in row.messages] == ["assistant", "user", "assistant", "user", "assistant"]
    assert [(edited.written, edited.by) for edited in row.edits] == [(ONE, "rita"), (TWO, "rita")]


async def test_a_bit_that_is_sent_back_costs_one_more_call_and_is_nowhere_in_the_output():
    def edit(task, n):
        return {"text": "", "skipped": True} if n == 0 else {}

    model = bits("Caller: REJECTED words.", ONE, TWO)
    done = await run(dialgen, CALL, generator=model, reviewer=person(edit)[0])
    assert len(model.questions) == 3
    assert "REJECTED" not in str(done.rows[0])
    assert all("REJECTED" not in prompt for prompt in model.prompts)
    assert dict(done.reject_counts) == {"sent_back": 1}


async def test_turns_cut_from_the_end_are_written_anew_and_an_instruction_steers_the_next_bit_only():
    def edit(task, n):
        return {"text": task.text.splitlines()[0], "comment": "Let the agent ask for the car."} if n == 0 else {}

    model = bits(ONE, "Agent: What car?", TWO)
    await run(dialgen, CALL, generator=model, reviewer=person(edit)[0])
    assert model.prompts[1].endswith("Caller: I was hit, uh, by a van.")
    assert ["Let the agent ask" in prompt for prompt in model.prompts] == [False, True, False]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("3 | Caller | CarInfo | Wheels | = four", "there is no slot"),
        ("3 | Pilot | CarInfo | Make | = Ford", "not said of Pilot"),
        ("3 | Caller | AccidentDetails | Damage Part | = roof", "none of front"),
        ("9 | Caller | CarInfo | Make | = Ford", "turn 9 is not among"),
    ],
)
async def test_a_fact_outside_the_schema_is_refused_and_the_person_is_asked_again(line, why):
    people, seen = person(facts=lambda task, n: f"{line}\n3 | {FORD}" if "In my Ford" in task.context else "none")
    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=people)
    [row] = done.rows
    assert [(known.slot, known.values) for known in row.state] == [("Make", ["Ford"])]
    [reject] = done.rejects
    assert (reject.reason, why in reject.details["why"]) == ("outside_schema", True)
    assert len(seen[Writing]) == 3
    assert why in seen[Writing][2].guidelines


async def test_a_fact_that_is_corrected_is_kept():
    def facts(task, n):
        if "In my Ford" not in task.context:
            return "none"
        return f"3 | {FORD}" if "not accepted" in task.guidelines else "3 Ford"

    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=person(facts=facts)[0])
    assert (done.rejects, done.rows[0].state[0].values, done.rows[0].complete) == ([], ["Ford"], True)


LINES = "1 | Caller | CarInfo | Make | = Ford\n2 | Global | AccidentDetails | Place | = Elm Road\n1 | Caller | CarInfo | Colour red"


@pytest.mark.parametrize(
    ("again", "kept", "rejects"),
    [
        ("1 | Caller | CarInfo | Colour | = red", ["Make", "Colour", "Place"], {}),
        (LINES, ["Make", "Place"], {"unreadable": 1}),
        (None, ["Make", "Place"], {"unreadable": 1}),
    ],
)
async def test_good_facts_are_kept_when_others_are_corrected_repeated_or_left(again, kept, rejects):
    people, seen = person(facts=lambda task, n: again if "not accepted" in task.guidelines else LINES)
    done = await run(dialgen, CALL, generator=bits(f"{ONE} [end]"), reviewer=people)
    [row] = done.rows
    assert [change.slot for turn in row.turns for change in turn.changes] == kept
    assert dict(done.reject_counts) == rejects
    asked = seen[Writing][1].guidelines.partition("not accepted")[2]
    assert ("Colour red" in asked, "Ford" in asked) == (True, False)


async def test_facts_are_played_in_the_order_of_the_turns_and_not_of_the_lines():
    late = f"2 | Caller | CarInfo | Make | = Opel\n1 | {FORD}"
    done = await run(dialgen, CALL, generator=bits(f"{ONE} [end]"), reviewer=person(facts=lambda task, n: late)[0])
    assert done.rows[0].state[0].values == ["Opel"]


async def test_an_annotation_that_is_skipped_is_said():
    people = person(facts=lambda task, n: None if n == 0 else ford(task))[0]
    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=people)
    assert (dict(done.reject_counts), done.rows[0].complete) == ({"not_annotated": 1}, True)


async def test_playing_the_changes_through_gives_the_stored_state_with_updates():
    lines = {0: f"1 | {FORD}\n1 | Global | AccidentDetails | Place | = Elm Road", 1: "3 | Caller | CarInfo | Make | = Opel\n4 | Global | AccidentDetails | Place | + Oak Road\n4 | Caller | CarInfo | Make | ~ Opel"}  # fmt: skip
    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=person(facts=lambda task, n: lines[n])[0])
    [row] = done.rows
    assert {known.slot: known.values for known in row.state} == {"Make": ["Opel"], "Place": ["Elm Road", "Oak Road"]}
    state: dict = {}
    for turn in row.turns:
        for change in turn.changes:
            apply(state, change)
    assert {(known.referent, known.domain, known.slot): known.values for known in row.state} == state
    table = list(done.iterate("state_change"))
    assert [one.completion.count("|") // 3 for one in table] == [0, 2, 0, 1, 2]
    # The prompt numbers no turns, so the target names none.
    assert table[3].completion == "Caller | CarInfo | Make | = Opel"
    assert [one.turn for one in table] == [0, 1, 2, 3, 4]
    assert table[3].prompt.endswith("Caller: In my Ford.")


def test_a_value_is_set_replaced_added_and_confirmed():
    state: dict = {}
    for op, value, after in [
        ("~", "a", ["a"]),
        ("~", "b", ["a"]),
        ("+", "b", ["a", "b"]),
        ("+", "b", ["a", "b"]),
        ("=", "c", ["c"]),
    ]:
        apply(state, Change("Caller", "CarInfo", "Make", op, value))
        assert state["Caller", "CarInfo", "Make"] == after


async def test_what_came_up_is_no_longer_asked_for():
    model = bits(ONE, TWO)
    await run(
        dialgen, CALL, generator=model, reviewer=person(facts=lambda task, n: f"1 | {FORD}" if n == 0 else "none")[0]
    )
    assert ["Make: Ford" in prompt for prompt in model.prompts] == [True, False]


async def test_a_second_person_looks_over_the_facts():
    def correct(task, _):
        return Note(by="sam", text=task.text.replace("Ford", "Opel"))

    people, _ = person(facts=lambda task, n: f"1 | {FORD}" if n == 0 else "none")
    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=people, second_annotator=Script(correct))
    assert done.rows[0].state[0].values == ["Opel"]


async def test_what_the_first_person_could_not_mend_is_said_also_where_a_second_one_looks_at_the_rest():
    people, _ = person(facts=lambda task, n: f"1 | {FORD}\nnonsense" if n < 2 else "none")
    second = Script(
        lambda task, _: Note(by="sam", text=f"{task.text}\n1 | Pilot | CarInfo | Make | = Ford"), name="sam"
    )
    done = await run(dialgen, CALL, generator=bits(f"{ONE} [end]"), reviewer=people, second_annotator=second)
    assert dict(done.reject_counts) == {"unreadable": 1, "outside_schema": 1}


DAMAGE = {"referent": "Caller", "domain": "AccidentDetails", "slot": "Damage Part"}
PLACE = {"referent": "Global", "domain": "AccidentDetails", "slot": "Place"}


@pytest.mark.parametrize(
    ("slot", "wanted", "said", "left"),
    [
        (DAMAGE, ["front", "rear"], ["front"], ["rear"]),
        (DAMAGE, ["front"], ["rear"], ["front"]),
        (DAMAGE, ["front", "rear"], ["rear", "front"], []),
        (PLACE, ["Elm Road", "Oak Road"], ["the Oak"], ["Oak Road"]),  # in other words, but one of two
        (PLACE, ["Elm Road", "Oak Road"], ["Oak Road"], ["Elm Road"]),
        (PLACE, ["Elm Road"], ["down by the elms"], []),
    ],
)
async def test_a_slot_has_come_up_with_all_values_that_are_wanted(slot, wanted, said, left):
    call = [CALL[0] | {"wanted": [slot | {"value": value} for value in wanted]}]
    lines = "\n".join(f"1 | {' | '.join(slot.values())} | + {value}" for value in said)
    model = bits(ONE, "Caller: Bye. [end]")
    done = await run(dialgen, call, generator=model, reviewer=person(facts=lambda task, n: lines if n == 0 else "none")[0], max_turns=4)  # fmt: skip
    asked = model.prompts[1].split("as people speak:\n")[1].split("\n\nWrite the next")[0]
    assert asked == ("\n".join(f"- {', '.join(slot.values())}: {value}" for value in left) or "- (all of it has)")
    assert done.rows[0].complete == (not left)


async def test_a_call_of_which_something_outside_the_schema_is_wanted_is_not_begun():
    model = bits()
    done = await run(
        dialgen, [CALL[0] | {"wanted": [DAMAGE | {"value": "roof"}]}], generator=model, reviewer=person()[0]
    )
    assert (done.rows, dict(done.reject_counts), model.questions) == ([], {"outside_schema": 1}, [])


async def test_a_call_that_says_goodbye_too_soon_goes_on():
    model = bits("Caller: I was hit.\nAgent: Goodbye. [END]", TWO)
    done = await run(dialgen, CALL, generator=model, reviewer=person()[0])
    assert model.prompts[1].endswith("Caller: I was hit.\nAgent: Goodbye.")
    assert "Make: Ford" in model.prompts[1]
    assert done.rows[0].complete
    deaf = Scripted(lambda _: "Agent: Goodbye. [end]")
    done = await run(dialgen, CALL, generator=deaf, reviewer=person()[0], max_turns=5)
    assert (len(done.rows[0].turns), done.rows[0].complete) == (5, False)


def test_turns_are_read_with_their_further_lines_and_without_the_mark():
    text = "Here it is:\nCaller: It was\n  dark.\n\nAgent: [END]\nagent: I see. [End]\n[end]\nCaller:\nOh."
    assert [(one.speaker, one.utterance) for one in spoken(text)] == [
        ("Caller", "It was dark."),
        ("Agent", "I see."),
        ("Caller", "Oh."),
    ]


async def test_a_call_ends_at_its_limit_and_one_that_is_only_sent_back_is_given_up():
    endless = Scripted(lambda _: "Caller: And then?\nAgent: Hm.")
    done = await run(dialgen, CALL, generator=endless, reviewer=person()[0], max_turns=7)
    assert (len(done.rows[0].turns), done.rows[0].complete) == (7, False)
    cut = await run(dialgen, CALL, generator=endless, reviewer=person()[0], max_turns=6)
    assert (len(cut.rows[0].turns), cut.rows[0].edits[-1].accepted) == (6, "Caller: And then?")
    never = person(lambda task, n: {"text": "", "skipped": True})[0]
    given_up = await run(dialgen, CALL, generator=endless, reviewer=never, rejections=2)
    assert (given_up.rows, dict(given_up.reject_counts)) == ([], {"sent_back": 3, "given_up": 1})
    mute = await run(dialgen, CALL, generator=Scripted(lambda _: "They talk."), reviewer=person()[0], rejections=0)
    assert dict(mute.reject_counts) == {"no_turns": 1, "given_up": 1}


async def test_it_waits_for_a_person_and_a_replay_asks_nobody():
    waiting = await run(dialgen, CALL, generator=bits(ONE), allow_failures=True)
    assert waiting.exit_code == 4
    people, _ = person()
    done = await run(dialgen, CALL, generator=bits(ONE, TWO), reviewer=people)
    again = await replay(done, model={"generator": Scripted(), "reviewer": people})
    assert (again.rows, again.calls) == (done.rows, 0)


def test_the_slots_that_ship_are_of_eight_domains():
    slots = recipes.shipped("insurance_slots.jsonl", Slot)
    assert len({slot.domain for slot in slots}) == 8
    assert all(re.fullmatch(r"[A-Za-z ]+", slot.name) for slot in slots)
