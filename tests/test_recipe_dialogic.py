"""DIALOGIC: dialogues simulated turn by turn, each annotation corrected by what was said and by an auxiliary model."""

import pytest

from gristmill import BadInput
from gristmill import recipes as home
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.dialogic import (
    OntologySlot,
    SeedDialogue,
    dialogic,
    known,
    likeness,
    mentions,
    nearest,
    newly,
    read_pieces,
    written,
)
from gristmill.recipes.distillation.dialogic_auxiliary import dialogic_auxiliary
from gristmill.testing import Scripted, replay, run


def turn(user, state, act, response):
    return {"user": user, "belief_state": state, "dialog_act": act, "response": response}


FOOD = {"restaurant": {"food": "thai", "area": "north", "people": "4"}}
ROOM = {"hotel": {"stars": "4", "area": "south", "parking": "yes"}}
DINNER = {
    "goal": FOOD,
    "turns": [
        turn("Thai food, please.", {"restaurant": {"food": "thai"}}, "[restaurant] [request] area", "Where?"),
        turn("North, for four.", FOOD, "[restaurant] [offerbook] name", "[value_name]?"),
        turn("Bye.", FOOD, "[general] [bye]", "Bye."),
    ],
}
NIGHT = {
    "goal": ROOM,
    "turns": [
        turn("A room in the south.", {"hotel": {"area": "south"}}, "[hotel] [inform] choice", "There are some."),
        turn("4 stars, and parking.", ROOM, "[general] [welcome]", "Good."),
    ],
}
SEEDS = [DINNER, NIGHT]
ONTOLOGY = [
    {"domain": domain, "slot": slot, "values": values}
    for domain, slots in {
        "restaurant": {"food": ["italian", "indian", "turkish"], "area": ["centre", "east"], "people": ["2", "5"]},
        "hotel": {"stars": ["3", "5"], "area": ["west", "centre"], "parking": ["yes", "no"], "internet": ["yes", "no"]},
    }.items()
    for slot, values in slots.items()
]
DATABASE = [
    {"domain": "restaurant", "properties": {"name": f"r{number}", "food": food, "area": "east"}}
    for number, food in enumerate(["italian", "indian", "indian", "turkish", "turkish", "turkish", "turkish"])
]
BYE = "general] [bye]): Goodbye."
GOING_ON = "restaurant] [request] area): Where?"


def speaker(question):
    return "user" if question.prompt.rpartition("\n")[2].startswith("You require(") else "system"


def model(user=(), system=()):
    """Says lines one after the other, the user's and the system's; then it goes on for ever."""
    left = {"user": list(user), "system": list(system)}

    def say(question):
        who = speaker(question)
        if left[who]:
            return left[who].pop(0)
        if who == "system":
            return " Where?" if question.prompt.endswith("):") else GOING_ON  # behind an act that is there, or with one
        return "general]): Well then."

    return Scripted(say)


def helper(state=(), act=(), response=()):
    """An auxiliary model that predicts one thing after the other; then nothing but small talk."""
    left = {"state": list(state), "act": list(act), "response": list(response)}
    rest = {"state": "[general]", "act": "[general] [bye]", "response": "Bye."}

    def say(question):
        of = kind(question)
        return left[of].pop(0) if left[of] else rest[of]

    return Scripted(say)


def kind(question):
    return (
        "state" if "All that the user" in question.prompt else "act" if "should do" in question.prompt else "response"
    )


async def made(generator=None, seeds=SEEDS, **options):
    generator = generator or model()
    options = {"ontology": ONTOLOGY, "target": 1, "max_turns": 3, "max_candidates": 200, **options}
    return generator, await run(dialogic, seeds, generator=generator, **options)


def states(done):
    return [one.bspn for one in done.rows[0].turns]


def reasons(done):
    return [reject.reason for reject in done.rejects]


def lines(generator, start):
    """The lines of the last prompt's open conversation that begin with `start`."""
    open_one = generator.questions[-1].prompt.rpartition("Conversation 3:\n")[2]
    return [line for line in open_one.splitlines() if line.startswith(start)]


# -- over-generation


@pytest.mark.proof("dialogic", 1)
async def test_a_value_that_the_words_do_not_mention_is_in_no_state_and_not_in_the_prompt():
    said = ["restaurant] food is indian , area is east): Indian food would be nice.", "restaurant] people is 5): Yes."]
    generator, done = await made(model(said))
    assert states(done) == ["[restaurant] food is indian"] * 3
    assert done.rows[0].goal == {"restaurant": {"food": "indian"}}
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [
        ("not_mentioned", ["[restaurant] area is east"], {"turn": 0, "user": "Indian food would be nice."}),
        ("not_mentioned", ["[restaurant] people is 5"], {"turn": 1, "user": "Yes."}),
    ]
    assert lines(generator, "You require")[:2] == [
        "You require([restaurant] food is indian): Indian food would be nice.",
        "You require([restaurant]): Yes.",
    ]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("restaurant] stars is 3", "no_such_slot"),
        ("restaurant] name is [value_name]", "no_such_slot"),
        ("restaurant] food is [value_food]", "placeholder"),
        ("spaceship] area is east", "no_such_slot"),
        ("restaurant] three", "no_such_slot"),
    ],
)
async def test_a_slot_that_is_not_legal_and_a_placeholder_are_taken_out(annotation, reason):
    _, done = await made(model([f"{annotation}): With 3 stars in the east, [value_food], [value_name]."]), max_turns=1)
    assert states(done) == [""]
    assert reasons(done) == [reason]


@pytest.mark.parametrize(
    ("text", "slot", "value", "found"),
    [
        ("In the North, please", "area", "north", True),
        ("the northern part", "area", "north", False),
        ("a table for two", "people", "2", True),
        ("a table for 2", "people", "2", True),
        ("for 12 people", "people", "2", False),
        ("at 19:15 please", "time", "19:15", True),
        ("at 19:45 please", "time", "19:15", False),
        ("with WiFi please", "internet", "yes", True),
        ("with wi-fi", "internet", "yes", True),
        ("I have to park somewhere", "parking", "yes", True),
        ("yes", "parking", "yes", True),
        ("a place to stay", "parking", "yes", False),
        ("with wifi", "parking", "yes", False),
        ("I don't care about the area", "area", "dontcare", True),
        ("Any area will do", "area", "don't care", True),
        ("In the north", "area", "dontcare", False),
        ("on the same day", "day", "monday", True),
        ("on the same day", "day", "friday", False),
        ("in the center", "area", "centre", True),
        ("some italien food", "food", "italian", True),
        ("some itelion food", "food", "italian", False),
        ("a guest house", "kind", "guesthouse", True),
        ("a swiming pool", "kind", "swimming pool", True),
        ("in the west", "area", "east", False),
        ("südlich, 犬", "area", "犬", True),
        ("", "area", "north", False),
        ("north", "area", "", False),
    ],
)
def test_what_it_means_to_mention_a_value(text, slot, value, found):
    assert mentions(text, slot, value, {"train": {"day": "monday"}}) is found


# -- de-generation


@pytest.mark.proof("dialogic", 2)
async def test_a_slot_that_the_auxiliary_model_finds_in_the_words_is_put_into_the_state_and_the_next_prompt():
    said = ["restaurant] food is indian): Indian food in the east."]
    auxiliary = helper(
        state=["[restaurant] food is turkish , area is east , people is 2"], act=["[restaurant] [request] people"]
    )
    generator, done = await made(model(said), auxiliary=auxiliary, max_turns=2)
    assert states(done)[0] == "[restaurant] food is indian , area is east"  # people is not mentioned, and food is known
    assert (
        lines(generator, "You require")[0]
        == "You require([restaurant] food is indian , area is east): Indian food in the east."
    )
    after = next(q for q in generator.questions if speaker(q) == "system")
    assert after.prompt.endswith(
        "You require([restaurant] food is indian , area is east): Indian food in the east.\nAssistant([restaurant] [request] people):"
    )


async def test_a_slot_of_the_turn_before_joins_the_state_but_not_the_line():
    said = ["general]): Hello, we are two.", "restaurant] food is indian): Indian food."]
    auxiliary = helper(state=["[general]", "[restaurant] people is 2"], act=["[general] [greet]", "[general] [bye]"])
    generator, done = await made(model(said), auxiliary=auxiliary, max_turns=2)
    assert states(done) == ["", "[restaurant] people is 2 , food is indian"]
    assert lines(generator, "You require")[1] == "You require([restaurant] food is indian): Indian food."


async def test_what_is_predicted_of_another_domain_or_of_small_talk_changes_nothing():
    said = ["restaurant] food is indian): Indian, and a room in the west.", "general]): In the east, too."]
    auxiliary = helper(
        state=["[hotel] area is west , [restaurant] stars is 3", "[restaurant] area is east"],
        act=["[general] [greet]"] * 2,
    )
    _, done = await made(model(said), auxiliary=auxiliary, max_turns=2)
    assert states(done) == ["[restaurant] food is indian"] * 2


async def test_the_newest_domain_of_a_line_is_the_turns():
    said = ["restaurant] food is indian , [hotel] stars is 3): Indian, 3 stars, in the west."]
    auxiliary = helper(state=["[restaurant] people is 3 , [hotel] area is west"], act=["[general] [greet]"])
    _, done = await made(model(said), auxiliary=auxiliary, max_turns=1)
    assert states(done) == ["[restaurant] food is indian , [hotel] stars is 3 , area is west"]


async def test_the_auxiliary_model_reads_the_dialogue_so_far_and_the_database_at_temperature_0():
    auxiliary = helper(act=["[restaurant] [request] area", "[general] [bye]"])
    _, done = await made(
        model(["restaurant] food is turkish): Turkish.", "general]): Thanks."], [" Where?", " Bye."]),
        auxiliary=auxiliary, database=DATABASE, max_turns=2,
    )  # fmt: skip
    first, second = [question for question in auxiliary.questions if kind(question) == "act"]
    assert "Dialogue:\nUser: Turkish.\nThe database says [db_3]." in first.prompt
    assert "Dialogue:\nUser: Turkish.\nSystem: Where?\nUser: Thanks.\nThe database says [db_nores]." in second.prompt
    assert {(q.sampling["temperature"], tuple(q.sampling["stop"])) for q in auxiliary.questions} == {(0.0, ("\n",))}
    assert [(one.aspn, one.resp) for one in done.rows[0].turns] == [("[restaurant] [request] area", "Where?"), ("[general] [bye]", "Bye.")]  # fmt: skip


async def test_a_prediction_that_cannot_be_read_is_put_aside_and_the_model_writes_the_act():
    auxiliary = helper(state=["blah", ""], act=["go on", "[general] [greet]"])
    _, done = await made(
        model(["general]): Hi."], ["general] [greet]): Hello.", " Hm."]), auxiliary=auxiliary, max_turns=2
    )
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("unread_prediction", {"of": "state", "turn": 0}), ("unread_prediction", {"of": "act", "turn": 0}),
        ("unread_prediction", {"of": "state", "turn": 1}),
    ]  # fmt: skip
    assert [(one.aspn, one.resp) for one in done.rows[0].turns] == [("[general] [greet]", "Hello."), ("[general] [greet]", "Hm.")]  # fmt: skip


async def test_of_a_prediction_that_was_cut_only_whole_values_of_the_state_count():
    auxiliary = helper(
        state=[
            Reply("[restaurant] area is east , food is indi", finish="length"),
            Reply("[hotel] stars", finish="length"),
        ],
        act=[Reply("[restaurant] [inform] na", finish="length"), "[restaurant] [inform] name"],
        response=[Reply("[value_name] is in", finish="length")],
    )
    said = ["restaurant] people is 2): We are two, in the east, for indi pop.", "hotel]): Hm."]
    _, done = await made(model(said, [GOING_ON, " Try it."]), auxiliary=auxiliary, max_turns=2)
    assert states(done)[0] == "[restaurant] people is 2 , area is east"
    assert [one.resp for one in done.rows[0].turns] == ["Where?", "Try it."]
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("unread_prediction", {"of": "act", "turn": 0}), ("unread_prediction", {"of": "response", "turn": 0}),
        ("unread_prediction", {"of": "state", "turn": 1}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "other", "kept", "asked"),
    [
        ("Try it.", "[value_name] is good.", "[value_name] is good.", 1),
        ("[value_name] it is.", "[value_name] is good.", "[value_name] it is.", 0),
        ("Try it.", "It is good.", "Try it.", 1),
    ],
)
async def test_the_auxiliary_response_is_taken_where_it_alone_names_something(own, other, kept, asked):
    auxiliary = helper(act=["[restaurant] [inform] name"], response=[other])
    _, done = await made(model(["restaurant]): Hi."], [f" {own}"]), auxiliary=auxiliary, max_turns=1)
    assert done.rows[0].turns[0].resp == kept
    assert sum(kind(question) == "response" for question in auxiliary.questions) == asked


# -- the learner


async def test_a_learner_is_trained_on_the_seeds_and_helps():
    trained = Scripted(
        lambda q: {"state": "[restaurant] area is east", "act": "[restaurant] [x]", "response": "."}[kind(q)]
    )
    learner = Scripted(trained=[trained._script])
    _, done = await made(model(["restaurant]): In the east."]), learner=learner, max_turns=1)
    [(_, course)] = learner.courses
    assert course.method == "sft"
    assert len(course.lessons) == 3 * 5
    assert states(done) == ["[restaurant] area is east"]
    assert done.rows[0].turns[0].aspn == "[restaurant] [x]"
    assert len(done.rows[0].lineage.parents) == 3  # two dialogues and the checkpoint
    again = await replay(done)
    assert again.rows == done.rows


async def test_a_learner_and_an_auxiliary_model_are_not_taken_together():
    with pytest.raises(BadInput, match="not both"):
        await made(learner=Scripted(), auxiliary=Scripted())


async def test_rows_for_the_auxiliary_model_are_the_same_lessons_for_each_turn():
    done = await run(dialogic_auxiliary, [DINNER], database=DATABASE)
    assert [(row.of, row.turn) for row in done.rows] == [
        (of, n) for n in range(3) for of in ("state", "act", "response")
    ]
    state, act, response = done.rows[3:6]
    context = "Dialogue:\nUser: Thai food, please.\nSystem: Where?\nUser: North, for four.\n"
    assert state.prompt == f"{context}All that the user requires by now:"
    assert act.prompt == f"{context}The database says [db_0]. What the system should do now:"
    assert response.prompt == f"{context}The database says [db_0]. What the system should say now:"
    assert [row.completion for row in (state, act, response)] == [
        " [restaurant] food is thai , area is north , people is 4", " [restaurant] [offerbook] name", " [value_name]?",
    ]  # fmt: skip
    greeting = {"goal": {}, "turns": [turn("Hi.", {}, "[general] [greet]", "Hi.")]}
    done = await run(dialogic_auxiliary, [greeting])
    assert [row.completion for row in done.rows] == [" [general]", " [general] [greet]", " Hi."]
    assert "[db_nores]" in done.rows[1].prompt


# -- goals


def shipped():
    return known(home.shipped("dialogic_ontology.jsonl", OntologySlot))


@pytest.mark.proof("dialogic", 3)
@pytest.mark.parametrize("mode", ["combine", "random"])
async def test_a_goal_has_two_domains_with_3_to_5_slots_or_three_with_2_to_4_and_values_of_the_ontology(mode):
    done = await run(dialogic, generator=model(), goal_mode=mode, augment_times=12, max_turns=1, max_candidates=500)
    assert len(done.rows) == 6 * 12
    slots, sizes = shipped(), []
    for row in done.rows:
        counts = [len(values) for values in row.planned_goal.values()]
        sizes.append(len(counts))
        assert len(counts) in (2, 3)
        assert all(3 <= count <= 5 if len(counts) == 2 else 2 <= count <= 4 for count in counts)
        for domain, values in row.planned_goal.items():
            assert all(value in slots[domain][slot] for slot, value in values.items())
    assert sizes.count(3) / len(sizes) > 0.55  # 0.8 where three domains are there
    assert sizes.count(2) >= 3


async def test_a_goal_of_two_dialogues_with_two_domains_has_both_and_is_filled_up_from_the_ontology():
    done = await run(dialogic, SEEDS, generator=model(), ontology=ONTOLOGY, augment_times=10, max_turns=1)
    goals = [row.planned_goal for row in done.rows]
    assert len(goals) == 20
    for goal in goals:
        assert set(goal) == {"restaurant", "hotel"}
        assert len(goal["restaurant"]) == 3  # all that the ontology has
        assert 3 <= len(goal["hotel"]) <= 4
    assert any("internet" in goal["hotel"] for goal in goals)
    assert len({str(goal) for goal in goals}) > 10


async def test_substitute_keeps_the_slots_and_drop_takes_up_to_two_away_in_each_domain():
    for mode, counts in (("substitute", {3}), ("drop", {1, 2, 3})):
        done = await run(
            dialogic, SEEDS, generator=model(), ontology=ONTOLOGY, goal_mode=mode, augment_times=15, max_turns=1
        )
        for number, row in enumerate(done.rows):
            [(domain, values)] = row.planned_goal.items()
            goal = SEEDS[number % 2]["goal"]
            assert row.dial_id == f"{mode}-{number}"
            assert set(values) <= set(goal[domain])
            assert not set(values.items()) & {("food", "thai"), ("area", "north"), ("stars", "4")}  # new values
        assert {len(values) for row in done.rows for values in row.planned_goal.values()} == counts


async def test_drop_takes_two_slots_away_at_most():
    slots = [f"slot {number}" for number in range(6)]
    long = {**DINNER, "goal": {"museum": dict.fromkeys(slots, "x")}}
    ontology = [*ONTOLOGY, *({"domain": "museum", "slot": slot, "values": ["y"]} for slot in slots)]
    done = await run(
        dialogic, [long, long], generator=model(), ontology=ontology, goal_mode="drop", augment_times=20, max_turns=1
    )
    assert {len(row.planned_goal["museum"]) for row in done.rows} == {4, 5, 6}


async def test_unlike_dialogues_are_combined_more_often_the_lower_the_temperature():
    like = {**DINNER, "goal": {"restaurant": {"food": "thai", "area": "north", "people": "2"}, "hotel": {"stars": "4"}}}
    mixed = {
        **DINNER,
        "goal": {"restaurant": {"food": "thai", "area": "north", "people": "2"}, "hotel": {"stars": "3"}},
    }
    assert likeness(FOOD, ROOM) == 0
    assert likeness(FOOD, FOOD) == 1
    assert likeness(like["goal"], mixed["goal"]) == pytest.approx(3 / 5)
    seeds, partners = [like, mixed, NIGHT], {}
    for temperature in (0.2, 100.0):
        done = await run(
            dialogic,
            seeds,
            generator=model(),
            ontology=ONTOLOGY,
            augment_times=30,
            max_turns=1,
            combine_temperature=temperature,
        )
        drawn = [row.lineage.draws["partner"] for row in done.rows[::3]]
        night = done.rows[2].lineage.parents[0]  # the third seed begins the third dialogue
        partners[temperature] = drawn.count(night) / len(drawn)
    await run(dialogic, seeds, generator=model(), ontology=ONTOLOGY, max_turns=1, combine_temperature=0.0001)
    assert partners[0.2] > 0.8  # exp(5 * 11 / 12) to exp(5 * 0.4): 0.93
    assert partners[100.0] < 0.75


def test_dialogues_are_chosen_for_what_the_goal_has_left():
    rows = [SeedDialogue(goal=goal, turns=[]) for goal in (FOOD, {**FOOD, **ROOM}, ROOM, {"hotel": {"stars": "4"}})]
    goal = {"restaurant": {"food": "x", "area": "x", "people": "x"}, "hotel": {"stars": "x"}}
    assert nearest(goal, rows, 2, []) == [rows[1], rows[0]]  # the second has it all; then again for the whole goal
    assert nearest({"restaurant": FOOD["restaurant"]}, rows, 2, []) == [rows[0], rows[1]]
    assert nearest(goal, rows, 2, [rows[0]]) == [rows[0], rows[3]]


# -- the prompt


async def test_the_prompt_shows_two_annotated_dialogues_and_the_new_requirement():
    generator, done = await made()
    prompt = generator.questions[0].prompt
    head, first, second, last = prompt.split("Requirement ")
    assert "Say things differently" in head
    dialogues = {
        "1: you are about to book a restaurant, and you require ([restaurant] food is thai , area is north , people is 4).\n"
        "Conversation 1:\n"
        "You require([restaurant] food is thai): Thai food, please.\nAssistant([restaurant] [request] area): Where?\n"
        "You require([restaurant] area is north , people is 4): North, for four.\n"
        "Assistant([restaurant] [offerbook] name): [value_name]?\n"
        "You require([general]): Bye.\nAssistant([general] [bye]): Bye.\n\n",
    }
    assert first in dialogues
    assert second.startswith("2: you are about to book a hotel")
    goal = done.rows[0].planned_goal
    assert last == (
        "3: "
        + "; ".join(
            f"you are about to book a {domain}, and you require ({written({domain: values})})"
            for domain, values in goal.items()
        )
        + ".\nConversation 3:\nYou require(["
    )


async def test_calls_are_sampled_and_stopped_as_in_the_paper():
    generator, _ = await made(max_turns=1)
    user, system = generator.questions
    assert user.sampling == {"temperature": 0.7, "frequency_penalty": 1.0, "max_tokens": 64, "stop": ["Assistant"]}
    assert system.sampling == {"temperature": 0.7, "frequency_penalty": 1.0, "max_tokens": 64, "stop": ["You require"]}
    assert system.prompt.endswith("\nAssistant([")
    generator, _ = await made(max_turns=1, lm_temperature=0.1, frequency_penalty=0.2, max_tokens_per_turn=9)
    assert {key: generator.questions[0].sampling[key] for key in ("temperature", "frequency_penalty", "max_tokens")} == {
        "temperature": 0.1, "frequency_penalty": 0.2, "max_tokens": 9,
    }  # fmt: skip


async def test_after_an_offer_to_book_the_user_says_yes():
    said = ["restaurant] food is indian): Indian.", ", for five of us.", "general]): Thanks."]
    generator, done = await made(model(said, ["restaurant] [inform] name [offerbook]): Shall I?"]))
    users = [question for question in generator.questions if speaker(question) == "user"]
    assert users[1].prompt.endswith("\nYou require([general]): yes")
    assert users[2].prompt.endswith("\nYou require([")
    assert [one.user for one in done.rows[0].turns] == ["Indian.", "yes, for five of us.", "Thanks."]
    assert states(done)[1] == "[restaurant] food is indian"
    _, done = await made(model(["general]): Hi.", ""], ["restaurant] [offerbook]): Shall I?"]))
    assert done.rows[0].turns[1].user == "yes"


# -- lines


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("restaurant] food is indian: Indian.", "unsplit"),
        ("restaurant]): Hi.\nYou require([hotel]): Ho.", "unsplit"),
        ("restaurant]): \n", "empty"),
        (Reply("restaurant]): I would li", finish="length"), "truncated"),
    ],
)
async def test_a_users_line_without_exactly_one_mark_is_asked_for_again(said, reason):
    _, done = await made(model([said, said, "general]): Hi."]), max_turns=1)
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, {"of": "user", "turn": 0})] * 2
    assert done.rows[0].turns[0].user == "Hi."
    _, done = await made(model([said] * 3), max_turns=1, max_candidates=4)
    assert reasons(done)[:4] == [reason] * 3 + ["given_up"]
    assert not done.rows
    _, done = await made(model([said]), max_turns=1, max_repeat=1, max_candidates=2)
    assert reasons(done)[:2] == [reason, "given_up"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("general] [bye] Bye.", "unsplit"),
        ("general: bye): Bye.", "no_act"),
        ("general] [bye]): ", "empty"),
        (Reply("general] [bye]): By", finish="length"), "truncated"),
    ],
)
async def test_a_systems_line_without_exactly_one_mark_is_asked_for_again(said, reason):
    _, done = await made(model(system=[said, said, GOING_ON]), max_turns=1)
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, {"of": "system", "turn": 0})] * 2
    assert (done.rows[0].turns[0].aspn, done.rows[0].turns[0].resp) == ("[restaurant] [request] area", "Where?")
    _, done = await made(model(system=[said] * 3), max_turns=1, max_candidates=4)
    assert reasons(done)[:4] == [reason] * 3 + ["given_up"]
    assert done.rejects[3].details == {"turns": 0}
    assert "Well then." in done.rejects[3].candidate


async def test_a_line_ends_with_its_line_and_one_that_was_cut_behind_it_is_whole():
    said = [Reply("general]): Hi.\nMore that was cu", finish="length")]
    _, done = await made(model(said), max_turns=1)
    assert done.rows[0].turns[0].user == "Hi."


def test_annotations_are_read_as_they_are_written():
    state = {"restaurant": {"food": "thai", "price range": "cheap"}, "hotel": {"stars": "4"}}
    text = "[restaurant] food is thai , price range is cheap , [hotel] stars is 4"
    assert written(state) == text
    assert read_pieces(text.upper()) == [("restaurant", "food", "thai"), ("restaurant", "price range", "cheap"), ("hotel", "stars", "4")]  # fmt: skip
    assert read_pieces("[hotel] [train] day is monday,, [general]") == [
        ("hotel", "", ""), ("train", "day", "monday"), ("general", "", ""),
    ]  # fmt: skip
    assert read_pieces("") == read_pieces("no domain") == []
    assert written({}) == written({"hotel": {}}) == ""
    assert newly({"a": {"x": "1", "y": "1"}}, {"a": {"x": "1", "y": "2"}, "b": {"z": "1"}}) == {
        "a": {"y": "2"},
        "b": {"z": "1"},
    }


# -- the end


@pytest.mark.proof("dialogic", 4)
@pytest.mark.parametrize("farewell", ["[bye]", "[welcome]", "[Bye]"])
async def test_a_dialogue_does_not_end_while_a_domain_of_its_goal_was_not_mentioned(farewell):
    said = ["restaurant] food is indian): Indian.", "general]): Thanks.", "hotel] stars is 3): And 3 stars."]
    ending = f"general] {farewell}): So long."
    _, done = await made(model(said, [ending] * 9), max_turns=9)
    [row] = done.rows
    assert set(row.planned_goal) == {"restaurant", "hotel"}
    assert [one.aspn for one in row.turns] == [f"[general] {farewell}"] * 3  # not after the first or the second
    assert row.complete
    assert row.goal == {"restaurant": {"food": "indian"}, "hotel": {"stars": "3"}}  # what came up, and not the plan


async def test_a_dialogue_ends_at_the_limit_of_turns_and_says_so():
    _, done = await made(max_turns=4)
    assert (len(done.rows[0].turns), done.rows[0].complete) == (4, False)
    assert [(message.role, message.content) for message in done.rows[0].messages][:2] == [
        ("user", "Well then."), ("assistant", "Where?"),
    ]  # fmt: skip
    assert dialogic.settings({})["max_turns"] == 10


# -- the database


@pytest.mark.parametrize(
    ("said", "bucket"),
    [
        ("restaurant] food is thai): Thai.", "[db_0]"),
        ("restaurant] food is italian): Italian.", "[db_1]"),
        ("restaurant] food is indian): Indian.", "[db_2]"),
        ("restaurant] food is turkish): Turkish.", "[db_3]"),
        ("restaurant] people is 2 , food is italian): Italian for two.", "[db_1]"),
        ("restaurant] area is east): In the east.", "[db_3]"),
        ("restaurant] food is dontcare): Any food.", "[db_3]"),
        ("hotel] stars is 3): 3 stars.", "[db_nores]"),
        ("general]): Hi.", "[db_nores]"),
    ],
)
async def test_the_database_is_asked_with_all_that_is_required_and_answers_with_a_bucket(said, bucket):
    _, done = await made(model([said]), max_turns=1, database=DATABASE)
    assert done.rows[0].turns[0].db == bucket


async def test_the_database_is_asked_with_what_earlier_turns_required_too():
    said = ["restaurant] area is east): In the east.", "restaurant] food is italian): Italian."]
    rows = [*DATABASE, {"domain": "restaurant", "properties": {"food": "italian", "area": "centre"}}]
    _, done = await made(model(said), max_turns=2, database=rows)
    assert [one.db for one in done.rows[0].turns] == ["[db_3]", "[db_1]"]


async def test_without_a_database_of_ones_own_ontology_nothing_is_found():
    _, done = await made(model(["restaurant] food is indian): Indian."]), max_turns=1)
    assert done.rows[0].turns[0].db == "[db_nores]"
    done = await run(dialogic, generator=model(["restaurant] food is thai): Thai."]), target=1, max_turns=1)
    assert done.rows[0].turns[0].db == "[db_1]"  # what ships


# -- seeds, and the engine's promises


def one_slot(domain, slot, value):
    return {"domain": domain, "slot": slot, "values": [value]}


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ([DINNER], {}, "1 seed dialogues are too few, a prompt shows 2"),
        (SEEDS, {"k_shot": 3}, "2 seed dialogues are too few, a prompt shows 3"),
        ([*SEEDS, {**DINNER, "goal": {"taxi": {"leave": "9:00"}}}], {}, r"\[taxi\] leave, which the ontology lacks"),
        ([*SEEDS, {**DINNER, "goal": {**FOOD, "hotel": {}}}], {}, r"\[hotel\] without a slot"),
        (SEEDS, {"ontology": [*ONTOLOGY, one_slot("hotel", "leaveAt", "9:00")]}, "leaveAt is '9:00' cannot be read"),
        (SEEDS, {"ontology": [*ONTOLOGY, one_slot("Hotel", "stars", "2")]}, "Hotel.* cannot be read"),
        (SEEDS, {"ontology": [*ONTOLOGY, one_slot("hotel", "name", "Inn, Old")]}, "'Inn, Old' cannot be read"),
        (SEEDS, {"ontology": [*ONTOLOGY, one_slot("hotel", "name", " ")]}, "' ' cannot be read"),
        ([*SEEDS, {"goal": {}, "turns": []}], {}, "turns"),
        ([], {}, "."),
    ],
)
async def test_seeds_that_cannot_do_are_refused_before_the_first_call(seeds, options, message):
    generator = Scripted()
    with pytest.raises(BadInput, match=message):
        await made(generator, seeds=seeds, **options)
    assert not generator.questions


async def test_each_seed_begins_as_many_dialogues_as_are_wanted_in_rounds_that_double():
    _, done = await made(target=None, augment_times=3, max_turns=1)
    assert [row.dial_id for row in done.rows] == [f"combine-{number}" for number in range(6)]
    generator, _ = await made(target=4, augment_times=9, max_turns=1, dialogues_at_once=2)
    assert len(generator.questions) == 2 * (1 + 2 + 2)
    assert {len(row.lineage.parents) for row in done.rows} == {2}


async def test_a_call_that_fails_costs_its_own_dialogue_alone():
    _, done = await made(model([Refused("no")]), target=None, max_turns=1, allow_failures=True)
    assert (len(done.rows), len(done.failures)) == (1, 1)


async def test_a_replay_gives_the_same_rows_and_asks_nothing():
    _, done = await made(target=None, augment_times=4, auxiliary=helper(), database=DATABASE)
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0
    _, other = await made(target=None, augment_times=4, auxiliary=helper(), database=DATABASE, seed=1)
    assert [row.planned_goal for row in other.rows] != [row.planned_goal for row in done.rows]


def test_the_shipped_dialogues_fit_their_ontology_and_mention_what_they_require():
    slots = shipped()
    for seed in home.shipped("dialogic_dialogues.jsonl", SeedDialogue):
        before = {}
        assert seed.goal == seed.turns[-1].belief_state
        for one in seed.turns:
            for domain, values in newly(before, one.belief_state).items():
                for slot, value in values.items():
                    assert value in slots[domain][slot]
                    assert mentions(one.user, slot, value, {}), (one.user, slot, value)
            before = one.belief_state
