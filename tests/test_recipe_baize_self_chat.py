"""Baize: a dialogue in one call, the same turn by turn, and the best of a student's own answers."""

import json

import pytest

from gristmill.errors import BadInput
from gristmill.export import formats
from gristmill.models.protocol import Message, Reply
from gristmill.recipes.distillation.baize_feedback import baize_feedback
from gristmill.recipes.distillation.baize_self_chat import TRANSCRIPT, baize_self_chat
from gristmill.recipes.distillation.baize_self_chat_turns import baize_self_chat_turns
from gristmill.testing import Scripted, replay, run, text_of

SEED = {"instruction": "Why do cats purr?"}
TALK = """
[Human] Why do cats purr?
[AI] Mostly because they are content.
[Human] And lions?
[AI] They roar:
they cannot purr.
[Human] Thank you, so"""


def said(row):
    return [(turn.role, turn.content) for turn in row.messages]


def reasons(done):
    return [(reject.reason, reject.details) for reject in done.rejects]


# -- v1: a dialogue in one call


@pytest.mark.proof("baize-self-chat", 1)
async def test_one_call_a_seed_with_the_seed_as_topic_gives_a_dialogue_of_several_turns():
    seeds = [{"instruction": f"Why is {thing} so?"} for thing in ("snow", "rain", "hail")]
    generator = Scripted(lambda question: TALK)
    done = await run(baize_self_chat, seeds, generator=generator)
    assert len(generator.questions) == done.calls == 3
    assert [row.topic for row in done.rows] == [seed["instruction"] for seed in seeds]
    for row in done.rows:
        [prompt] = [text for text in generator.prompts if row.topic in text]
        assert f"Its topic: {row.topic}\n" in prompt
        assert said(row) == [
            ("user", "Why do cats purr?"),
            ("assistant", "Mostly because they are content."),
            ("user", "And lions?"),
            ("assistant", "They roar:\nthey cannot purr."),
        ]


async def test_the_prompt_is_a_record_that_begins_with_a_greeting_of_both_sides():
    generator = Scripted([TALK])
    await run(baize_self_chat, [SEED], generator=generator, max_tokens_dialogue=99, temperature=0.7)
    [question] = generator.questions
    assert len(question.messages) == 1
    *_, human, ai = text_of(question).strip().split("\n")
    assert human.startswith("[Human] ")
    assert ai.startswith("[AI] ")
    for rule in ("no longer holds", "The human keeps asking", "the talk is over", "asks nothing back", "this format"):
        assert rule in text_of(question)
    assert question.sampling == {"temperature": 0.7, "max_tokens": 99}


@pytest.mark.proof("baize-self-chat", 2)
@pytest.mark.parametrize(
    ("end", "lost"),
    [
        ("\n[Human] And then", "And then"),
        ("\n[Human] And then?\n[AI] Cut in the mid", "And then?\n[AI] Cut in the mid"),
    ],
)
async def test_the_last_turn_of_the_human_is_lost_whether_or_not_it_has_an_answer(end, lost):
    reply = Reply("[Human] Why?\n[AI] So." + end, finish="length")
    done = await run(baize_self_chat, [SEED], generator=Scripted([reply]))
    assert said(done.rows[0]) == [("user", "Why?"), ("assistant", "So.")]
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [("last_turn", lost, {"turn": 2})]


async def test_an_open_mark_at_the_end_is_no_turn_and_loses_nothing():
    done = await run(baize_self_chat, [SEED], generator=Scripted(["[Human] Why?\n[AI] So.\n[Human] \n"]))
    assert said(done.rows[0]) == [("user", "Why?"), ("assistant", "So.")]
    assert done.rejects == []


async def test_what_stands_before_the_first_mark_is_no_part_of_the_dialogue():
    done = await run(baize_self_chat, [SEED], generator=Scripted(["Sure! [AI] Here:\n[Human] Why?\n[AI] So.\n[Human]"]))
    assert said(done.rows[0]) == [("user", "Why?"), ("assistant", "So.")]


@pytest.mark.parametrize(
    ("bad", "marks"),
    [("And what else?", 0), ("And? [AI] This. [AI] And that.", 2), (" \n[AI] I go on.", 1), ("And?\n[AI] ", 1)],
)
async def test_a_turn_without_exactly_one_answer_ends_the_dialogue_there(bad, marks):
    text = f"[Human] Why?\n[AI] So.\n[Human] {bad}\n[Human] Later?\n[AI] Later.\n[Human] Bye"
    done = await run(baize_self_chat, [SEED], generator=Scripted([text]))
    assert said(done.rows[0]) == [("user", "Why?"), ("assistant", "So.")]
    assert reasons(done) == [("last_turn", {"turn": 4}), ("malformed_turn", {"turn": 2, "marks": marks})]


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("", []),
        ("Human: Why?\nAI: So.\nHuman: Bye", []),
        ("[human] Why?\n[ai] So.", []),
        ("[Human] Why?\n[AI] So.", ["last_turn"]),  # may have been cut, as far as anybody can tell
        ("[Human] Why?\n[Human] Why?\n[AI] So.\n[Human] Bye", ["last_turn", "malformed_turn"]),
    ],
)
async def test_a_dialogue_without_a_complete_pair_is_dropped(text, before):
    done = await run(baize_self_chat, [SEED], generator=Scripted([text]))
    assert not done.rows
    assert [reason for reason, _ in reasons(done)] == [*before, "no_complete_pair"]


async def test_the_input_is_the_dialogue_as_baize_reads_it_with_an_open_tag_of_the_human():
    talk = "[Human] Где снег?\n[AI] 在山上。\n[Human] 👍?\n[AI] Ja.\n[Human] "
    done = await run(baize_self_chat, [SEED], generator=Scripted([talk]))
    assert done.rows[0].input == (
        "The conversation between human and AI assistant.\n"
        "[|Human|] Где снег?\n[|AI|] 在山上。\n[|Human|] 👍?\n[|AI|] Ja.\n[|Human|]"
    )


async def test_rows_export_as_chats_as_they_are(tmp_path):
    done = await run(baize_self_chat, [SEED], generator=Scripted([TALK]))
    formats.export(done.folder, "trl-sft", tmp_path / "sft.jsonl")
    record = json.loads((tmp_path / "sft.jsonl").read_text())
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"] * 2
    assert list(record) == ["messages"]


async def test_an_answer_that_a_seed_has_already_costs_no_new_call():
    one = await run(baize_self_chat, [SEED], generator=Scripted([TALK]))
    other = await run(baize_self_chat, [{**SEED, "output": "For joy.", "input": "x"}], generator=Scripted([TALK]))
    assert one.rows == other.rows


# -- v2: turn by turn


def plays_human(question):
    return "Its topic:" in text_of(question)


def talker(humans=None, ais=None):
    """Asks "q1", "q2", ... as the human, answers "a to q1", ... as the assistant; or what it is told, in order."""
    humans, ais = list(humans or []), list(ais or [])

    def say(question):
        if plays_human(question):
            return humans.pop(0) if humans else f"q{text_of(question).count('[AI]') - 1}\n"
        return ais.pop(0) if ais else f"a to {question.messages[-1].content}"

    return Scripted(say)


@pytest.mark.proof("baize-self-chat", 3)
async def test_answers_come_from_a_chat_that_holds_the_dialogue_and_not_the_record():
    generator = talker()
    done = await run(baize_self_chat_turns, [SEED], generator=generator, max_rounds=3)
    answering = [question for question in generator.questions if not plays_human(question)]
    assert [question.messages for question in answering] == [
        [Message("user", "q1")],
        [Message("user", "q1"), Message("assistant", "a to q1"), Message("user", "q2")],
        [
            *[Message("user", "q1"), Message("assistant", "a to q1")],
            *[Message("user", "q2"), Message("assistant", "a to q2"), Message("user", "q3")],
        ],
    ]
    assert all("stop" not in question.sampling for question in answering)
    assert not any("[Human]" in text_of(question) or SEED["instruction"] in text_of(question) for question in answering)
    assert said(done.rows[0])[-2:] == [("user", "q3"), ("assistant", "a to q3")]
    assert len(done.rows[0].messages) == 6
    assert done.rows[0].topic == SEED["instruction"]


@pytest.mark.proof("baize-self-chat", 3)
async def test_the_human_goes_on_with_the_record_and_stops_before_the_answer():
    generator = talker()
    await run(baize_self_chat_turns, [SEED], generator=generator, max_rounds=2)
    playing = [question for question in generator.questions if plays_human(question)]
    record = TRANSCRIPT(topic=SEED["instruction"])
    assert [text_of(question) for question in playing] == [
        record + "[Human]",
        record + "[Human] q1\n[AI] a to q1\n[Human]",
    ]
    assert {tuple(question.sampling["stop"]) for question in playing} == {("[AI]",)}


@pytest.mark.parametrize("rounds", [1, 4])
async def test_a_dialogue_has_as_many_rounds_as_asked_for_and_two_calls_a_round(rounds):
    done = await run(baize_self_chat_turns, [SEED], generator=talker(), max_rounds=rounds)
    assert len(done.rows[0].messages) == done.calls == 2 * rounds
    assert done.rejects == []


@pytest.mark.parametrize(
    "line", ["q1", "[Human] q1", " q1\n[AI] and its answer\n[Human] q2", "q1\n[Human] q2", "[Human] q1 [AI]"]
)
async def test_a_line_of_the_human_is_cut_at_the_next_mark_where_the_server_did_not_stop(line):
    generator = talker([line])
    done = await run(baize_self_chat_turns, [SEED], generator=generator, max_rounds=1)
    assert said(done.rows[0]) == [("user", "q1"), ("assistant", "a to q1")]


@pytest.mark.parametrize(
    ("humans", "ais", "reason", "side"),
    [
        (["q1", "  "], [], "empty", "human"),
        (["q1", "[AI] I ask myself."], [], "empty", "human"),
        (["q1", Reply("And what ab", finish="length")], [], "truncated", "human"),
        (["q1", "q2"], ["a to q1", "\n"], "empty", "ai"),
        (["q1", "q2"], ["a to q1", Reply("It", finish="length")], "truncated", "ai"),
    ],
)
async def test_a_turn_that_comes_to_nothing_ends_the_dialogue_before_it(humans, ais, reason, side):
    done = await run(baize_self_chat_turns, [SEED], generator=talker(humans, ais), max_rounds=4)
    assert said(done.rows[0]) == [("user", "q1"), ("assistant", "a to q1")]
    assert reasons(done) == [(reason, {"turn": 2, "of": side})]


async def test_a_dialogue_that_never_began_is_dropped():
    done = await run(baize_self_chat_turns, [SEED], generator=talker([""]))
    assert not done.rows
    assert [reason for reason, _ in reasons(done)] == ["empty", "no_complete_pair"]
    assert done.calls == 1


async def test_no_rounds_are_refused():
    with pytest.raises(BadInput, match="max_rounds"):
        await run(baize_self_chat_turns, [SEED], generator=talker(), max_rounds=0)


# -- self-distillation with feedback

ANSWERS = ["fair", "best", "poor", "good"]
SCORES = {"fair": 40, "best": 100, "poor": 1, "good": 70, "teacher's": 100}


def judge(scores=None):
    """Scores each response that it is shown by `SCORES`, in the order in which it is shown."""

    def say(question):
        shown = text_of(question).split("Response ")[1:]
        values = scores or [SCORES[part.split("\n")[1]] for part in shown]
        return json.dumps({"scores": values})

    return Scripted(say, model="judge")


@pytest.mark.proof("baize-self-chat", 4)
async def test_the_row_is_the_students_response_with_the_highest_of_four_scores():
    student, judging = Scripted(ANSWERS, model="student"), judge()
    done = await run(baize_feedback, [SEED], student=student, judge=judging)
    [row] = done.rows
    assert said(row) == [("user", SEED["instruction"]), ("assistant", "best")]
    assert row.score == 100
    assert [(scored.response, scored.score) for scored in row.responses] == [
        *[("best", 100), ("good", 70), ("fair", 40), ("poor", 1)],
    ]
    [answered], [judged] = student.questions, judging.questions
    assert text_of(answered) == SEED["instruction"]
    assert "from 1 (" in text_of(judged)
    assert "to 100 (" in text_of(judged)
    assert all(f":\n{answer}\n" in text_of(judged) for answer in ANSWERS)
    assert judged.sampling["temperature"] == 0.0
    assert judged.schema


async def test_the_best_and_the_worst_make_a_pair():
    done = await run(baize_feedback, [SEED], student=Scripted(ANSWERS), judge=judge())
    [pair] = done.iterate("baize_feedback_pair")
    assert (pair.prompt, pair.chosen, pair.rejected) == (SEED["instruction"], "best", "poor")
    assert (pair.chosen_score, pair.rejected_score) == (100, 1)


async def test_a_run_that_meets_its_target_has_the_pair_of_its_last_row(tmp_path):
    done = await run(baize_feedback, [SEED], student=Scripted(ANSWERS), judge=judge(), target=1)
    assert done.counts == {"baize_feedback": 1, "baize_feedback_pair": 1}
    formats.export(done.folder, "trl-dpo", tmp_path / "dpo.jsonl", table="baize_feedback_pair")
    formats.export(done.folder, "trl-sft", tmp_path / "sft.jsonl", table="baize_feedback")
    assert json.loads((tmp_path / "sft.jsonl").read_text())["messages"][1]["content"] == "best"


async def test_responses_stand_before_the_judge_in_drawn_orders():
    judging = judge()
    seeds = [{"instruction": f"Count to {number}."} for number in range(12)]
    done = await run(baize_feedback, seeds, student=Scripted(ANSWERS * 12), judge=judging, concurrency=1)
    orders = {tuple(part.split("\n")[1] for part in text.split("Response ")[1:]) for text in judging.prompts}
    assert len(orders) > 3  # 12 draws of 24: fewer than four different ones would be a chance of 1 in 10 million
    assert {said(row)[1][1] for row in done.rows} == {"best"}


async def test_the_input_of_an_instruction_is_part_of_what_is_answered_and_judged():
    student, judging = Scripted(ANSWERS), judge()
    done = await run(baize_feedback, [{"instruction": "Sort:", "input": "3 1"}], student=student, judge=judging)
    assert text_of(student.questions[0]) == said(done.rows[0])[0][1] == "Sort:\n3 1"
    assert "Instruction:\nSort:\n3 1\n" in judging.prompts[0]


async def test_equal_scores_give_a_row_and_no_pair():
    done = await run(baize_feedback, [SEED], student=Scripted(ANSWERS), judge=judge([50] * 4))
    assert done.rows[0].score == 50
    assert not list(done.iterate("baize_feedback_pair"))
    assert reasons(done) == [("tie", {"score": 50})]


@pytest.mark.parametrize(
    "said_by_judge",
    ['{"scores": [1, 2, 3]}', '{"scores": [0, 2, 3, 4]}', '{"scores": [1, 2, 3, 101]}', "The second, by far.", ""],
)
async def test_scores_that_are_too_few_out_of_range_or_no_scores_cost_the_instruction(said_by_judge):
    judging = Scripted(lambda question: said_by_judge)
    done = await run(baize_feedback, [SEED], student=Scripted(ANSWERS), judge=judging)
    assert not done.rows
    assert reasons(done) == [("unread_scores", {"text": said_by_judge, "responses": 4})]


async def test_empty_and_cut_responses_take_no_part_and_one_alone_is_not_ranked():
    student = Scripted(["good", "", Reply("best", finish="length"), "fair"])
    judging = judge()
    done = await run(baize_feedback, [SEED], student=student, judge=judging)
    assert [scored.response for scored in done.rows[0].responses] == ["good", "fair"]
    assert "these 2 responses" in judging.prompts[0]
    assert [reason for reason, _ in reasons(done)] == ["empty", "truncated"]
    judging = judge()
    done = await run(baize_feedback, [SEED], student=Scripted(["good", " ", "", "\n"]), judge=judging)
    assert not done.rows
    assert reasons(done)[-1] == ("too_few_responses", {"responses": 1})
    assert not judging.questions


# -- the engine's promises


@pytest.mark.parametrize(
    ("recipe", "models"),
    [
        (baize_self_chat, lambda: {"generator": Scripted(lambda q: TALK.replace("cats", text_of(q)[150:160]))}),
        (baize_self_chat_turns, lambda: {"generator": talker()}),
        (baize_feedback, lambda: {"student": Scripted(lambda q: text_of(q)), "judge": judge([1, 9, 4, 2])}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_a_replay_and_any_concurrency_give_the_same_rows(recipe, models):
    seeds = [{"instruction": f"Why {number}?"} for number in range(5)]
    one = await run(recipe, seeds, concurrency=1, **models())
    many = await run(recipe, seeds, concurrency=16, **models())
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 5
    assert again.calls == 0
    assert again.rejects == many.rejects
    assert all(row.lineage.calls and row.lineage.seed for row in one.rows)
