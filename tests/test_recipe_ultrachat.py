"""UltraChat: opening lines of three sectors, and dialogues between two models that keep to their sides."""

import re

import pytest

from gristmill import Chain, Step, arun
from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.ultrachat import SIMULATE, said_by_user, ultrachat, without_thanks
from gristmill.recipes.distillation.ultrachat_materials import TEMPLATES, ultrachat_materials
from gristmill.recipes.distillation.ultrachat_topics import ultrachat_topics
from gristmill.recipes.distillation.ultrachat_world import ultrachat_world
from gristmill.recipes.distillation.ultrachat_writing import WRITING_TYPES, ultrachat_writing
from gristmill.testing import Scripted, folder, replay, run, text_of

SECTORS = ("world", "writing", "materials")


def numbered(*items):
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def rounds_of(question):
    """How many rounds a call has before it."""
    return text_of(question).count("Assistant: ")


def simulator(change=lambda number: f"And what about {number}?"):
    return Scripted(lambda question: change(rounds_of(question) + 1))


def answerer(change=lambda number: f"Answer {number}."):
    return Scripted(lambda question: change(sum(m.role == "user" for m in question.messages)))


async def talk(opening=None, human=None, machine=None, **options):
    models = {"simulator": human or simulator(), "assistant_model": machine or answerer()}
    return await run(ultrachat, [opening or {"instruction": "Why is snow white?"}], **models, **options)


def said(row):
    return [turn.content for turn in row.messages]


# -- the dialogue


@pytest.mark.proof("ultrachat", 1)
async def test_user_and_assistant_have_prompts_of_their_own_and_the_assistant_never_sees_the_simulators():
    human, machine = simulator(), answerer()
    done = await talk(human=human, machine=machine, rounds_world=(4, 4))
    assert [turn.role for turn in done.rows[0].messages] == ["user", "assistant"] * 4
    assert len(human.questions) == 3
    assert len(machine.questions) == 4
    for question in human.questions:
        assert [message.role for message in question.messages] == ["system", "user"]
        assert question.messages[0].content == SIMULATE.text
    for number, question in enumerate(machine.questions):
        assert SIMULATE.text[:40] not in text_of(question)
        assert [message.role for message in question.messages] == ["user", "assistant"] * number + ["user"]
        assert [message.content for message in question.messages] == said(done.rows[0])[: 2 * number + 1]


async def test_the_simulator_sees_the_talk_with_who_said_what_and_is_told_to_write_as_the_human():
    human = simulator()
    await talk(human=human, rounds_world=(3, 3))
    assert [question.messages[1].content for question in human.questions] == [
        "Human: Why is snow white?\n\nAssistant: Answer 1.\n\nHuman:",
        "Human: Why is snow white?\n\nAssistant: Answer 1.\n\nHuman: And what about 2?\n\nAssistant: Answer 2.\n\nHuman:",
    ]
    for rule in ("You play the human", "never answer", "No thanks", "this one message"):
        assert rule in SIMULATE.text


@pytest.mark.proof("ultrachat", 2)
async def test_the_number_of_rounds_lies_in_the_sectors_range_and_every_number_of_it_occurs():
    seeds = [{"instruction": f"{sector} {i}?", "sector": sector} for sector in SECTORS for i in range(40)]
    done = await run(ultrachat, seeds, simulator=simulator(), assistant_model=answerer())
    rounds = {sector: {len(row.messages) // 2 for row in done.rows if row.sector == sector} for sector in SECTORS}
    assert rounds == {"world": {3, 4, 5, 6, 7}, "writing": {2, 3, 4}, "materials": {2, 3, 4}}
    assert len(done.rows) == 120
    assert all(row.lineage.draws["rounds"] == len(row.messages) // 2 for row in done.rows)


async def test_each_range_can_be_chosen_and_must_go_up():
    for sector in SECTORS:
        opening = {"instruction": "Hm?", "sector": sector}
        done = await talk(opening, **{f"rounds_{sector}": (1, 1)})
        assert len(done.rows[0].messages) == 2
        with pytest.raises(BadInput, match=f"rounds_{sector} is 3 to 2"):
            await talk(opening, **{f"rounds_{sector}": (3, 2)})
    with pytest.raises(BadInput, match="rounds_world"):
        await talk(rounds_world=(0, 2))


async def test_sampling_is_as_given_on_each_side():
    human, machine = simulator(), answerer()
    await talk(
        human=human, machine=machine, rounds_world=(2, 2), temperature=0.3, max_tokens_user=11, max_tokens_answer=22
    )
    assert human.questions[0].sampling == {
        "temperature": 0.3,
        "max_tokens": 11,
        "stop": ["\nHuman:", "\nAssistant:"],
    }
    assert machine.questions[0].sampling == {"temperature": 0.3, "max_tokens": 22}
    human, machine = simulator(), answerer()
    await talk(human=human, machine=machine)
    assert (human.questions[0].sampling["max_tokens"], machine.questions[0].sampling["max_tokens"]) == (256, 1024)
    assert human.questions[0].sampling["temperature"] == machine.questions[0].sampling["temperature"] == 1.0


async def test_an_input_belongs_to_the_opening_line_and_an_empty_one_is_dropped():
    done = await talk({"instruction": "Shorten.", "input": "日本は寒い。"}, rounds_world=(1, 1))
    assert said(done.rows[0])[0] == "Shorten.\n日本は寒い。"
    done = await talk({"instruction": " \n"})
    assert [reject.reason for reject in done.rejects] == ["empty_opening"]
    assert done.calls == 0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (Reply("And what", finish="length"), "truncated"),
        ("Thank you so much! That was great.", "only_polite"),
        ("You're welcome! Is there anything else?", "acts_as_assistant"),
        ("As an AI, I have no body.", "acts_as_assistant"),
        ("I'm sorry, but I cannot help with that.", "acts_as_assistant"),
    ],
)
async def test_a_bad_message_of_the_user_ends_the_dialogue_which_stands_if_it_is_long_enough(reply, reason):
    human = simulator(lambda number: reply if number == 4 else f"And {number}?")
    seeds = [{"instruction": f"Why {i}?"} for i in range(30)]
    models = {"simulator": human, "assistant_model": answerer()}
    done = await run(ultrachat, seeds, rounds_world=(3, 9), **models)
    assert len(done.rows) == 30
    assert {len(row.messages) // 2 for row in done.rows} == {3}
    assert {said(row)[-1] for row in done.rows} == {"Answer 3."}
    longer = sum(row.lineage.draws["rounds"] > 3 for row in done.rows)
    assert 20 < longer < 30
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, {"round": 4, "of": "user"})] * longer
    done = await run(ultrachat, seeds, rounds_world=(4, 9), **models)
    assert not done.rows
    short = [r for r in done.rejects if r.reason == "too_few_rounds"]
    assert [r.details for r in short] == [{"rounds": 3, "least": 4}] * 30
    assert [turn["role"] for turn in short[0].candidate] == ["user", "assistant"] * 3


@pytest.mark.parametrize(("reply", "reason"), [(" ", "empty"), (Reply("Snow is", finish="length"), "truncated")])
async def test_a_bad_answer_ends_the_dialogue_before_its_question(reply, reason):
    machine = answerer(lambda number: reply if number == 3 else "So.")
    seeds = [{"instruction": f"Why {i}?"} for i in range(10)]
    done = await run(ultrachat, seeds, simulator=simulator(), assistant_model=machine, rounds_world=(2, 3))
    assert [len(row.messages) for row in done.rows] == [4] * 10
    assert {(r.reason, r.details["round"], r.details["of"]) for r in done.rejects} == {(reason, 3, "assistant")}
    done = await talk(machine=answerer(lambda number: reply))
    assert not done.rows
    assert [r.reason for r in done.rejects] == [reason, "too_few_rounds"]
    assert done.rejects[1].candidate == [{"role": "user", "content": "Why is snow white?"}]


async def test_thanks_never_reach_the_row_nor_the_assistant():
    machine = answerer()
    human = simulator(lambda number: "Thanks, that's very helpful! How cold is it?")
    done = await talk(human=human, machine=machine, rounds_world=(2, 2))
    assert said(done.rows[0])[2] == machine.questions[1].messages[-1].content == "How cold is it?"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Thank you! How cold is it?", "How cold is it?"),
        (
            "Wow, that's really interesting. I live in Ghent. Does it snow there?",
            "I live in Ghent. Does it snow there?",
        ),
        ("That's a great point, but what about rain?", "What about rain?"),
        ("Thanks, please show me the code.", "Please show me the code."),
        ("Great explanation! Why?", "Why?"),
        ("How cold is it? Thanks!", "How cold is it?"),
        ("I really appreciate your help.", ""),
        ("You've been very helpful. Goodbye!", ""),
        ("Great Britain is an island, or is it?", "Great Britain is an island, or is it?"),
        ("Thanks to the Gulf Stream it is warm. Is it?", "Thanks to the Gulf Stream it is warm. Is it?"),
        ("Is that good for a dog?", "Is that good for a dog?"),
        ("Почему? 谢谢。", "Почему? 谢谢。"),
    ],
)
def test_sentences_of_thanks_and_praise_are_taken_out_and_requests_stay(text, left):
    assert without_thanks(text) == left


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Human: Why?", "Why?"),
        ("**User:** Why?\nAssistant: Because.", "Why?"),
        ("Why?\n\nHuman: And how?", "Why?"),
        ('"Why?"', "Why?"),
        ("Can you help me? I'm sorry to ask again.", "Can you help me? I'm sorry to ask again."),
        ("Sure, but why?", "Sure, but why?"),
        ("How can I help my neighbours?", None),  # an assistant's phrase; the price of a rule by words
    ],
)
def test_of_the_simulators_reply_the_first_message_is_read(text, line):
    if line is None:
        with pytest.raises(Exception, match="acts_as_assistant"):
            said_by_user(text)
    else:
        assert said_by_user(text) == line


# -- the world


def asks(question):
    """Which list a call of `ultrachat-topics` or `ultrachat-world` asks for."""
    text = text_of(question)
    kinds = {" subtopics, ": "subtopics", "specific questions that a curious": "questions", "other questions": "related",
             "basic questions": "meta", "more specific": "specific", "more general": "general"}  # fmt: skip
    [kind] = [kind for words, kind in kinds.items() if words in text]
    return kind


def lister(count=None):
    """Answers with as many items as are asked for, each with the kind and a mark of what it was asked about."""

    def reply(question):
        text, kind = text_of(question), asks(question)
        wanted = count or int(re.search(r"(?:Write|name) (\d+) ", text)[1])
        about = re.search(r"(?:asked|question about [^:]+): (.*)", text) or re.search(r"about \W?([\w ]+)", text)
        return numbered(*(f"{kind} {i} of [{about[1].strip()}]" for i in range(wanted)))

    return Scripted(reply)


async def test_a_meta_topic_becomes_subtopics_in_one_call_and_each_subtopic_is_kept_once():
    model = lister()
    done = await run(ultrachat_topics, [{"name": "health"}, {"name": "music"}], generator=model)
    assert len(model.questions) == 2
    assert len(done.rows) == 74
    assert {(row.kind, tuple(row.path)) for row in done.rows} == {("topic", ("health",)), ("topic", ("music",))}
    again = Scripted(lambda question: numbered("Jazz", "jazz ", "Blues"))
    done = await run(ultrachat_topics, [{"name": "music"}, {"name": "art"}], generator=again, subtopics_per_topic=3)
    assert [row.name for row in done.rows] == ["Jazz", "Blues"]
    assert [r.reason for r in done.rejects] == ["duplicate"] * 4
    assert again.questions[0].sampling == {"temperature": 1.0, "max_tokens": 1024}


async def test_a_subtopic_gives_ten_questions_and_ten_related_ones_of_each():
    model = lister()
    done = await run(ultrachat_world, [{"name": "jazz", "path": ["music"]}], generator=model)
    assert [asks(question) for question in model.questions] == ["questions"] + ["related"] * 10
    paths = [tuple(row.path) for row in done.rows]
    assert len(done.rows) == 10 + 100
    assert paths[:10] == [("music", "jazz")] * 10
    first = [row.instruction for row in done.rows[:10]]
    assert paths[10:] == [("music", "jazz", question) for question in first for _ in range(10)]
    assert all(row.instruction.endswith(f"[{row.path[-1]}]") for row in done.rows[10:])
    assert {row.sector for row in done.rows} == {"world"}
    assert "a part of: music" in model.prompts[0]


async def test_an_entity_gives_meta_questions_and_a_share_of_specific_and_general_ones():
    model = lister()
    done = await run(ultrachat_world, [{"name": "Oslo", "kind": "entity"}], generator=model)
    kinds = [row.instruction.split()[0] for row in done.rows]
    assert sorted(map(asks, model.questions)) == sorted(["meta"] + ["specific", "general"] * 5)
    assert (kinds.count("meta"), kinds.count("specific"), kinds.count("general")) == (5, 5 * 4, 5 * 5)
    assert all(row.path[0] == "Oslo" for row in done.rows)
    assert all(row.path[1].startswith("meta") for row in done.rows if not row.instruction.startswith("meta"))
    taken = {row.instruction.split()[1] for row in done.rows if row.instruction.startswith("general")}
    assert len(taken) > 5  # by chance, and not the first ones of each list


async def test_shares_and_numbers_can_be_chosen_and_what_nobody_wants_costs_no_call():
    model = lister()
    done = await run(
        ultrachat_world,
        [{"name": "Oslo", "kind": "entity"}],
        generator=model,
        meta_questions_per_entity=2,
        specific_per_meta=0,
        general_per_meta=4,
        keep_meta=0.5,
        keep_general=1.0,
    )
    kinds = [row.instruction.split()[0] for row in done.rows]
    assert kinds == ["meta"] + ["general"] * 8
    assert "specific" not in map(asks, model.questions)
    done = await run(
        ultrachat_world, [{"name": "x"}], generator=lister(), questions_per_subtopic=2, related_per_question=1
    )
    assert len(done.rows) == 4
    none = await run(
        ultrachat_world, [{"name": "O", "kind": "entity"}], generator=lister(), keep_specific=0.0, keep_general=0.0
    )
    assert len(none.rows) == 5


async def test_a_list_that_is_none_is_a_reject_and_costs_only_its_own_lines():
    def reply(question):
        return "I would ask about the sea." if "[questions 1" in text_of(question) else lister()._script(question)

    def related_fails(question):
        return "No." if asks(question) == "related" else lister()._script(question)

    done = await run(ultrachat_world, [{"name": "jazz"}], generator=Scripted(related_fails), questions_per_subtopic=3)
    assert len(done.rows) == 3
    assert [r.reason for r in done.rejects] == ["no_list"] * 3
    cut = Scripted(lambda question: Reply("1. Why?\n2. And ho", finish="length"))
    done = await run(ultrachat_world, [{"name": "jazz"}], generator=cut, related_per_question=0)
    assert [row.instruction for row in done.rows] == ["Why?"]


@pytest.mark.parametrize(("recipe", "reason"), [(ultrachat_topics, "empty_topic"), (ultrachat_world, "empty_subject")])
async def test_what_has_no_name_costs_no_call(recipe, reason):
    model = lister()
    done = await run(recipe, [{"name": " "}], generator=model)
    assert (done.rows, model.questions, [r.reason for r in done.rejects]) == ([], [], [reason])


async def test_opening_lines_that_come_twice_are_dropped_whatever_their_capitals():
    model = Scripted(lambda question: numbered("Why  jazz?", "Why JAZZ?"))
    done = await run(ultrachat_world, [{"name": "jazz"}], generator=model, related_per_question=0)
    assert [row.instruction for row in done.rows] == ["Why  jazz?"]
    assert [r.reason for r in done.rejects] == ["duplicate"]


@pytest.mark.proof("ultrachat", 4)
async def test_a_world_dialogue_descends_from_meta_topic_subtopic_and_question_and_says_so():
    model = Scripted(
        lambda question: (
            f"And {rounds_of(question)}?"
            if question.messages[0].role == "system"
            else "So."
            if not text_of(question).startswith(("Think", "Write", "Somebody"))
            else lister(2)._script(question)
        )
    )
    chain = Chain(
        [
            Step("ultrachat-topics", subtopics_per_topic=2),
            Step("ultrachat-world", questions_per_subtopic=2, related_per_question=2),
            Step("ultrachat"),
        ]
    )
    done = await arun(chain, seeds=[{"name": "music"}], model=model, out=folder())
    assert len(done.rows) == 2 * (2 + 4)
    openings = {row.id: row for row in done.iterate(step="ultrachat-world")}
    subjects = {row.id: row for row in done.iterate(step="ultrachat-topics")}
    depths = set()
    for row in done.rows:
        opening = openings[row.lineage.parents[0]]
        subject = subjects[opening.lineage.parents[0]]
        assert row.messages[0].content == opening.instruction
        assert row.path == opening.path
        assert row.path[:2] == ["music", subject.name]
        assert subject.path == ["music"]
        assert all(question in [o.instruction for o in openings.values()] for question in row.path[2:])
        depths.add(len(row.path))
    assert depths == {2, 3}


# -- writing


def writer(count=10):
    def reply(question):
        text = text_of(question)
        if text.startswith("Here is a request"):
            return "Expanded: " + re.search(r"assistant: (.*)", text)[1]
        kind = re.search(r"of this kind: (.*?)\. Let", text)[1]
        return numbered(*(f"Write {kind} no. {len(text)}-{i}" for i in range(count)))

    return Scripted(reply)


async def test_the_types_of_writing_take_turns():
    model = writer()
    done = await run(ultrachat_writing, generator=model, units=20, expand_share=0.0)
    assert len(WRITING_TYPES) == 20
    assert sorted(row.path[0] for row in done.rows) == sorted(WRITING_TYPES * 10)
    assert len(model.questions) == 20
    assert all("Write 10 different requests" in prompt for prompt in model.prompts)
    assert {row.sector for row in done.rows} == {"writing"}


async def test_four_fifths_of_the_instructions_are_given_back_to_be_expanded():
    model = writer()
    done = await run(ultrachat_writing, generator=model, units=60, writing_types=["a poem", "a song"], seed=3)
    expanded = [row for row in done.rows if row.instruction.startswith("Expanded: ")]
    share = len(expanded) / len(done.rows)
    assert len(done.rows) > 19
    assert share < 1
    for row in expanded:
        assert row.path[1:] == [row.instruction.removeprefix("Expanded: ")]
    for row in done.rows:
        assert len(row.path) == (2 if row in expanded else 1)
    draws = []
    for part in range(8):
        made = await run(ultrachat_writing, generator=writer(), units=20, seed=part)
        draws += [row.lineage.draws["expand"] for row in made.rows]
    assert abs(sum(draws) / len(draws) - 0.8) < 0.05  # of 1,600: five standard deviations
    every = await run(ultrachat_writing, generator=writer(), units=2, expand_share=1.0)
    assert all(row.instruction.startswith("Expanded: ") for row in every.rows)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(" ", "empty"), ("Sure! Here is a rewritten version:", "empty"), (Reply("Write a", finish="length"), "truncated")],
)
async def test_an_expansion_that_came_to_nothing_costs_its_instruction(reply, reason):
    def said(question):
        return reply if text_of(question).startswith("Here is a request") else numbered("Write an ode.")

    done = await run(ultrachat_writing, generator=Scripted(said), units=1, expand_share=1.0)
    assert not done.rows
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, {"instruction": "Write an ode."})]


async def test_types_of_writing_must_be_there():
    for bad in ([], ["a poem", " "]):
        with pytest.raises(BadInput, match="writing_types"):
            await run(ultrachat_writing, generator=writer(), units=1, writing_types=bad)


async def test_lists_and_expansions_of_writing_take_the_sampling_given():
    model = writer(1)
    await run(
        ultrachat_writing,
        generator=model,
        units=1,
        expand_share=1.0,
        temperature=0.4,
        max_tokens_list=50,
        max_tokens_expanded=60,
        instructions_per_call=7,
    )
    assert [question.sampling for question in model.questions] == [
        {"temperature": 0.4, "max_tokens": 50},
        {"temperature": 0.4, "max_tokens": 60},
    ]
    assert "Write 7 different requests" in model.prompts[0]


# -- materials

MATERIAL = "Die Fähre war wieder spät. Ana counted {lamps} on the pier."


@pytest.mark.proof("ultrachat", 3)
async def test_the_first_turn_of_a_materials_row_holds_the_material_and_the_instruction():
    model = Scripted(lambda question: numbered(*(f"Do thing {i}." for i in range(5))))
    seeds = [{"text": f"{MATERIAL} {i}"} for i in range(12)]
    openings = await run(ultrachat_materials, seeds, generator=model)
    assert len(openings.rows) == 60
    used = set()
    for row in openings.rows:
        assert row.material in row.instruction
        assert row.path[-1] in row.instruction
        used.add(row.lineage.draws["template"])
    assert used == set(range(len(TEMPLATES)))
    assert [row.material for row in openings.rows[::5]] == [seed["text"] for seed in seeds]
    done = await run(ultrachat, openings.rows, simulator=simulator(), assistant_model=answerer())
    assert [row.messages[0].content for row in done.rows] == [row.instruction for row in openings.rows]
    assert all(MATERIAL in row.messages[0].content and row.path[0] in row.messages[0].content for row in done.rows)
    assert {row.sector for row in done.rows} == {"materials"}


async def test_a_text_is_asked_about_once_and_an_empty_one_never():
    model = Scripted(lambda question: numbered("Shorten it.", "Go on.", "Why?"))
    done = await run(
        ultrachat_materials, [{"text": MATERIAL}, {"text": " "}], generator=model, questions_per_material=2
    )
    assert len(done.rows) == 2
    assert [r.reason for r in done.rejects] == ["empty_material"]
    [question] = model.questions
    assert MATERIAL in text_of(question)
    assert "Write 2 different" in text_of(question)
    assert question.sampling == {"temperature": 1.0, "max_tokens": 1024}
    same = Scripted(lambda question: numbered("Shorten it."))
    done = await run(ultrachat_materials, [{"text": MATERIAL}] * 12, generator=same)
    lines = [row.instruction for row in done.rows]
    assert len(lines) == len(set(lines)) <= len(TEMPLATES)
    assert [r.reason for r in done.rejects] == ["duplicate"] * (12 - len(lines))
    bare = await run(ultrachat_materials, [{"text": MATERIAL}], generator=Scripted(["Shorten it"]))
    assert [r.reason for r in bare.rejects] == ["no_list"]


# -- the engine's promises


async def test_replays_give_the_same_rows_without_a_call():
    seeds = [{"instruction": f"Why {i}?", "sector": sector} for i, sector in enumerate(SECTORS * 3)]
    human = simulator(lambda number: "Thanks!" if number == 3 else "And?")
    runs = [
        await run(ultrachat, seeds, simulator=human, assistant_model=answerer()),
        await run(ultrachat_world, [{"name": "jazz"}, {"name": "Oslo", "kind": "entity"}], generator=lister()),
        await run(ultrachat_writing, generator=writer(), units=5),
        await run(
            ultrachat_materials, [{"text": MATERIAL}], generator=Scripted(lambda question: numbered("Why?", "How?"))
        ),
    ]
    for done in runs:
        again = await replay(done)
        assert done.rows
        assert again.rows == done.rows
        assert again.calls == 0
    assert {r.reason for r in runs[0].rejects} == {"only_polite", "too_few_rounds"}


async def test_seeds_without_their_column_are_refused():
    for method, models in ((ultrachat, ("simulator", "assistant_model")), (ultrachat_world, ("generator",))):
        with pytest.raises(BadInput):
            await run(method, [{"question": "Why?"}], **{name: Scripted([]) for name in models})
