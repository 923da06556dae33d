"""Magpie: nothing but the template before a user's words is asked; what comes is cut, answered, tagged, selected."""

import json
from math import cos, sin

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Message, Reply
from gristmill.models.templates import PRE_QUERY
from gristmill.recipes.distillation.magpie import magpie
from gristmill.recipes.distillation.magpie_preference import magpie_preference
from gristmill.recipes.distillation.magpie_select import magpie_select
from gristmill.testing import Scripted, replay, run, text_of

QWEN2 = "<|im_start|>user\n"
SMOLLM2 = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n"
)
LLAMA3 = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
QUESTION = "How do magpies recognise themselves in a mirror?"


def aligned(said=QUESTION, answer="By the mark test.", follow_up="And crows?", model="qwen2-7b-instruct"):
    """Says `said` where a user would begin, `follow_up` where one would go on, and answers chats."""

    def say(question):
        if question.kind == "complete":
            return follow_up if "assistant\n" in question.prompt else said
        return answer(question) if callable(answer) else answer

    return Scripted(say, model=model)


def judge(quality="good", difficulty="hard", category="math", language="German"):
    def say(question):
        text = text_of(question)
        if "input_quality" in text:
            return json.dumps({"explanation": "It is clear.", "input_quality": quality})
        if "primary_tag" in text:
            return json.dumps({"primary_tag": category, "other_tags": ["reasoning"], "language": language})
        return json.dumps({"intent": "the user wants it", "knowledge": "birds", "difficulty": difficulty})

    return Scripted(say, model="judge")


def asked(model, kind):
    return [question for question in model.questions if question.kind == kind]


# -- the instruction


@pytest.mark.proof("magpie", 1)
@pytest.mark.parametrize(
    ("model", "template"),
    [("qwen2-7b-instruct", QWEN2), ("smollm2-135m", SMOLLM2), ("Meta-Llama-3-8B-Instruct", LLAMA3)],
)
async def test_the_first_request_is_the_text_before_a_users_words_byte_for_byte_in_raw_completion(model, template):
    generator = aligned(model=model)
    done = await run(magpie, generator=generator, target=1)
    first = generator.questions[0]
    assert first.kind == "complete"
    assert first.prompt == template
    assert done.rows[0].instruction == QUESTION


@pytest.mark.parametrize("model", ["my-own-model", "qwen2-7b-instruct"])
async def test_the_template_can_be_named_by_its_family_or_given_as_it_is(model):
    generator = aligned(model=model)
    await run(magpie, generator=generator, target=1, family="llama-3")
    assert generator.questions[0].prompt == LLAMA3
    generator = aligned(QUESTION + "<|eot_id|><|start_header_id|>", model=model)
    done = await run(magpie, generator=generator, target=1, pre_query_template="[INST] ")
    assert generator.questions[0].prompt == "[INST] "
    assert done.rows[0].instruction == QUESTION  # the marks of every known family end it


async def test_an_unknown_template_is_asked_for_before_the_first_call():
    generator = aligned(model="my-own-model")
    with pytest.raises(BadInput, match=r"my-own-model.*--family"):
        await run(magpie, generator=generator, target=1)
    with pytest.raises(BadInput, match="qwen3"):
        await run(magpie, generator=generator, target=1, family="qwen3")
    for option in ({"control": "math"}, {"family": "qwen2"}, {"num_turns": 2}):
        with pytest.raises(BadInput, match="pre_query_template"):
            await run(magpie, generator=generator, target=1, pre_query_template="[INST] ", **option)
    assert not generator.questions


@pytest.mark.proof("magpie", 1)
async def test_a_model_without_raw_completion_is_refused_and_never_chatted_with_instead():
    generator = Scripted(lambda question: QUESTION, model="qwen2", can={"Chat"})
    with pytest.raises(BadInput, match="Complete"):
        await run(magpie, generator=generator, target=1)
    assert not generator.questions


@pytest.mark.proof("magpie", 2)
@pytest.mark.parametrize(
    ("said", "instruction"),
    [
        (QUESTION + "<|im_end|>\n<|im_start|>assistant\nSure.", QUESTION),
        (QUESTION + "<|endoftext|>And more.", QUESTION),
        (QUESTION + "\nSecond line", QUESTION),
        (QUESTION + " assistant Sure.", QUESTION),
        ("  " + QUESTION, QUESTION),
    ],
)
async def test_an_instruction_is_cut_at_the_end_of_its_turn_and_of_its_first_line(said, instruction):
    generator = aligned(said)
    done = await run(magpie, generator=generator, target=1)
    assert done.rows[0].instruction == instruction
    assert asked(generator, "chat")[0].messages == [Message("user", instruction)]  # and is answered as it is kept


async def test_an_instruction_that_a_server_ran_past_is_whole_all_the_same():
    done = await run(magpie, generator=aligned(Reply(QUESTION + "\nAnd so on and", finish="length")), units=1)
    assert [row.instruction for row in done.rows] == [QUESTION]


async def test_the_server_is_told_to_stop_there_and_how_to_sample():
    generator = aligned()
    await run(magpie, generator=generator, target=1)
    sampling = generator.questions[0].sampling
    assert {*PRE_QUERY["qwen2"].stop, "assistant", "\n"} == set(sampling["stop"])
    assert (sampling["temperature"], sampling["top_p"], sampling["max_tokens"]) == (1.0, 1.0, 2048)


async def test_without_early_stopping_an_instruction_may_have_several_lines():
    generator = aligned("Sort these:\n3 1 2<|im_end|>\n")
    done = await run(magpie, generator=generator, target=1, early_stop_newline=False)
    assert done.rows[0].instruction == "Sort these:\n3 1 2"
    assert "\n" not in generator.questions[0].sampling["stop"]


@pytest.mark.parametrize(("said", "reason"), [("", "empty"), ("\n" + QUESTION, "empty"), ("Sort these:", "ends_with_colon"), (Reply("How d", finish="length"), "truncated")])  # fmt: skip
async def test_an_unusable_instruction_is_rejected_and_costs_no_answer(said, reason):
    generator = aligned(said)
    done = await run(magpie, generator=generator, units=1)
    assert not done.rows
    assert [r.reason for r in done.rejects] == [reason]
    assert not asked(generator, "chat")


async def test_sanitizing_is_off_by_default_and_takes_off_labels_and_answers():
    said = "Question: What is 2+2? Answer: 4"
    assert (await run(magpie, generator=aligned(said), target=1)).rows[0].instruction == said
    done = await run(magpie, generator=aligned(said), target=1, sanitize=True)
    assert done.rows[0].instruction == "What is 2+2?"


@pytest.mark.parametrize(
    ("control", "word"), [("math", "mathematics"), ("code", "programming"), ("translation", "translate")]
)
async def test_control_puts_a_system_text_before_the_users_words(control, word):
    generator = aligned()
    await run(magpie, generator=generator, target=1, control=control)
    prompt = generator.questions[0].prompt
    assert prompt.startswith("<|im_start|>system\nYou are an AI assistant for ")
    assert prompt.endswith("<|im_end|>\n<|im_start|>user\n")
    assert word in prompt
    assert [message.role for message in asked(generator, "chat")[0].messages] == ["user"]


async def test_a_call_may_take_many_samples_and_each_becomes_a_row():
    said = iter(f"How high is hill {n}?" for n in range(100))
    generator = Scripted(lambda q: next(said) if q.kind == "complete" else "High.", model="qwen2")
    done = await run(magpie, generator=generator, units=1, n_per_call=4, concurrency=1)
    assert len(asked(generator, "complete")) == 1
    assert {row.instruction for row in done.rows} == {f"How high is hill {n}?" for n in range(4)}


# -- the answer


@pytest.mark.proof("magpie", 3)
async def test_the_answer_comes_from_an_ordinary_chat_at_temperature_zero():
    generator = aligned()
    done = await run(magpie, generator=generator, target=1)
    [question] = asked(generator, "chat")[:1]
    assert question.messages == [Message("user", QUESTION)]
    assert question.sampling == {"temperature": 0.0, "max_tokens": 4096}
    assert done.rows[0].output == "By the mark test."


@pytest.mark.parametrize(("answer", "reason"), [(" \n", "empty"), (Reply("By the m", finish="length"), "truncated")])
async def test_an_answer_that_is_empty_or_cut_costs_its_row(answer, reason):
    done = await run(magpie, generator=aligned(answer=answer), units=1)
    assert not done.rows
    assert [(r.reason, r.candidate["instruction"]) for r in done.rejects] == [(reason, QUESTION)]


async def test_a_conversation_lets_the_model_write_each_further_turn_of_the_user_raw():
    generator = aligned(
        answer=lambda question: f"Answer to {question.messages[-1].content}", follow_up="And crows?\nYes"
    )
    done = await run(magpie, generator=generator, units=1, num_turns=3)
    [row], [talk] = done.rows, list(done.iterate("magpie_conversation"))
    assert [(turn.role, turn.content) for turn in talk.messages] == [
        ("user", QUESTION),
        ("assistant", f"Answer to {QUESTION}"),
        ("user", "And crows?"),
        ("assistant", "Answer to And crows?"),
        ("user", "And crows?"),
        ("assistant", "Answer to And crows?"),
    ]
    assert row.output == f"Answer to {QUESTION}"
    second = asked(generator, "complete")[1].prompt
    assert second.startswith("<|im_start|>system\n")
    assert "going by your answer, further ones" in second
    assert second.endswith(
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\nAnswer to {QUESTION}<|im_end|>\n<|im_start|>user\n"
    )
    answered = asked(generator, "chat")
    assert [len(question.messages) for question in answered] == [1, 3, 5]
    assert {question.sampling["temperature"] for question in answered} == {0.0}
    raw = [question.sampling for question in asked(generator, "complete")]
    assert raw[0] == raw[1] == raw[2]


@pytest.mark.parametrize(
    "options",
    [
        {"follow_up": "<|im_end|>"},
        {"follow_up": Reply("And cr", finish="length")},
        {"answer": lambda question: "" if len(question.messages) > 1 else "Yes."},
    ],
)
async def test_a_later_turn_that_is_empty_or_cut_ends_the_conversation_and_the_row_stays(options):
    done = await run(magpie, generator=aligned(**options), units=1, num_turns=2)
    assert len(done.rows) == 1
    assert not list(done.iterate("magpie_conversation"))
    assert [(r.reason, r.details) for r in done.rejects] == [("no_follow_up", {"turn": 2})]


# -- tags and tests


async def test_a_row_carries_what_judge_reward_model_and_guard_said():
    rewarding, guard = Scripted(lambda q: 1.5, model="rm"), Scripted(lambda q: "Safe.", model="guard")
    judging = judge()
    done = await run(magpie, generator=aligned(), judge=judging, reward=rewarding, guard=guard, target=1)
    row = done.rows[0]
    assert (row.input_quality, row.difficulty, row.task_category, row.language) == ("good", "hard", "math", "German")
    assert (row.intent, row.knowledge, row.other_categories) == ("the user wants it", "birds", ["reasoning"])
    assert (row.instruct_reward, row.safety) == (1.5, "safe")
    assert rewarding.questions[0].messages == [Message("user", QUESTION), Message("assistant", "By the mark test.")]
    assert {question.sampling["temperature"] for question in [*judging.questions, *guard.questions]} == {0.0}
    assert f"User: {QUESTION}\n\nAssistant: By the mark test.\n" in text_of(guard.questions[0])
    marks = ["input_quality", '"difficulty"', "primary_tag"]
    assert [[mark in text_of(question) for mark in marks] for question in judging.questions] == [
        [True, False, False], [False, True, False], [False, False, True]
    ]  # fmt: skip
    assert all(question.schema for question in judging.questions)
    assert all(QUESTION in text_of(question) for question in judging.questions)


@pytest.mark.parametrize("quality", ["average", "poor", "very poor", "good", "excellent"])
async def test_only_good_and_excellent_queries_pass_and_others_cost_no_answer(quality):
    generator = aligned()
    done = await run(magpie, generator=generator, judge=judge(quality), units=1)
    if quality in ("good", "excellent"):
        assert len(done.rows) == 1
    else:
        assert not done.rows
        assert [(r.reason, r.details) for r in done.rejects] == [("low_quality", {"input_quality": quality})]
        assert not asked(generator, "chat")


@pytest.mark.parametrize(("reward", "passes"), [(-11.0, False), (-10.0, False), (-9.9, True)])
async def test_the_reward_must_be_higher_than_its_minimum(reward, passes):
    done = await run(magpie, generator=aligned(), reward=Scripted(lambda q: reward, model="rm"), units=1)
    assert len(done.rows) == passes
    assert [r.reason for r in done.rejects] == ([] if passes else ["low_reward"])


async def test_a_tag_that_cannot_be_read_rejects_the_row_also_after_asking_again():
    done = await run(magpie, generator=aligned(), judge=judge(quality="brilliant"), units=1)
    assert [(r.reason, r.details["tag"]) for r in done.rejects] == [("unread_tag", "QualityTag")]
    done = await run(magpie, generator=aligned(), guard=Scripted(lambda q: "Perhaps"), units=1)
    assert [(r.reason, r.details["tag"]) for r in done.rejects] == [("unread_tag", "safety")]


# -- the selection


def made(instruction, output="x", **columns):
    return {"instruction": instruction, "output": output, **columns}


@pytest.mark.proof("magpie", 4)
async def test_selection_tests_every_row_again():
    rows = [
        made("Is it good?", input_quality="good", instruct_reward=-9.0),
        made("Is it average?", input_quality="average"),
        made("Is it liked?", instruct_reward=-11.0),
        made("Sort these: "),
        made(" "),
    ]
    done = await run(magpie_select, rows)
    assert [row.instruction for row in done.rows] == ["Is it good?"]
    assert [r.reason for r in done.rejects] == ["low_quality", "low_reward", "ends_with_colon", "empty"]


async def test_the_longest_answers_come_first_and_the_rest_is_left_out():
    rows = [made("a", "1"), made("b", "333"), made("c", "22"), made("d", "4444")]
    done = await run(magpie_select, rows, select_top=2)
    assert [row.instruction for row in done.rows] == ["d", "b"]
    assert [(r.reason, r.details["characters"]) for r in done.rejects] == [
        ("not_among_longest", 2),
        ("not_among_longest", 1),
    ]


async def test_of_neighbours_within_the_threshold_only_the_first_stays():
    # Unit vectors at these angles: the squared distance of 0 and 0.2 is 0.04, of 0 and 0.3 is 0.09.
    angles = {"first": 0.0, "near": 0.2, "far": 0.3, "farther": 2.0}

    embedder = Scripted(lambda q: [3 * cos(angles[q.texts[0]]), 3 * sin(angles[q.texts[0]])], model="mpnet")
    done = await run(magpie_select, [made(name) for name in angles], embedder=embedder)
    # "far" is near to "near" (0.01), which comes before it: it is not the lowest index of its neighbours.
    assert [row.instruction for row in done.rows] == ["first", "farther"]
    assert [(r.reason, r.details["of"]) for r in done.rejects] == [
        ("near_duplicate", "first"),
        ("near_duplicate", "near"),
    ]
    assert done.rejects[0].details["min_neighbor_distance"] == pytest.approx(0.01, abs=1e-4)
    assert done.rows[0].min_neighbor_distance == pytest.approx(0.04, abs=1e-3)
    wide = await run(
        magpie_select, [made(name) for name in angles], embedder=embedder, neighbor_distance_threshold=0.005
    )
    assert len(wide.rows) == 4
    assert all(row.lineage.calls and row.lineage.parents for row in done.rows)
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0


@pytest.mark.parametrize(
    ("lost", "asked"), [("q3", [1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64]), ("q64", [1, 64])]
)  # in the midst of a batch of 64, and alone in the last one
async def test_a_row_that_cannot_be_embedded_costs_no_other(lost, asked):
    def place(question):
        if question.texts[0] == lost:
            raise Refused("too long")
        return [float(question.texts[0] == name) for name in names if name != lost]

    names = [f"q{n}" for n in range(65)]
    embedder = Scripted(place, model="mpnet")
    done = await run(magpie_select, [made(name) for name in names], embedder=embedder, allow_failures=True)
    assert [row.instruction for row in done.rows] == [name for name in names if name != lost]
    assert [failure.error for failure in done.failures] == ["too long"]
    assert sorted(len(q.texts) for q in embedder.questions) == asked
    assert all(len(row.lineage.calls) == 1 and row.lineage.parents for row in done.rows)
    assert (await replay(done)).rows == done.rows
    broken = Scripted(lambda _: Refused("no"))
    none = await run(magpie_select, [made(name) for name in names], embedder=broken, allow_failures=True)
    assert (none.rows, none.failed) == ([], 65)


async def test_a_vector_of_zeros_is_near_nothing():
    embedder = Scripted(lambda q: [0.0, 0.0] if q.texts[0] == "b" else [1.0, 0.0], model="mpnet")
    done = await run(magpie_select, [made("a"), made("b"), made("c")], embedder=embedder)
    assert [row.instruction for row in done.rows] == ["a", "b"]


# -- preference


@pytest.mark.proof("magpie", 4)
async def test_chosen_and_rejected_have_the_highest_and_lowest_reward_of_five_samples():
    said = iter(["two", "five", "one", "four", "three"])
    rewards = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0}
    generator = Scripted(lambda question: next(said))
    rewarding = Scripted(lambda question: rewards[question.messages[-1].content], model="armo")
    done = await run(magpie_preference, [{"instruction": "Count."}], generator=generator, reward=rewarding)
    [row] = done.rows
    assert (row.prompt, row.chosen, row.rejected) == ("Count.", "five", "one")
    assert (row.chosen_reward, row.rejected_reward) == (5.0, 1.0)
    assert generator.questions[0].sampling["temperature"] == 0.8
    assert len(rewarding.questions) == 5
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0


async def test_answers_that_are_empty_or_cut_are_neither_chosen_nor_rejected():
    said = iter(["b", " ", Reply("best of a", finish="length"), "a", ""])
    generator = Scripted(lambda question: next(said))
    rewards = {"a": 1.0, "b": 2.0, "": 9.0, " ": 9.0, "best of a": 9.0}
    rewarding = Scripted(lambda question: rewards[question.messages[-1].content], model="armo")
    done = await run(magpie_preference, [{"instruction": "Count."}], generator=generator, reward=rewarding)
    assert [(row.chosen, row.rejected) for row in done.rows] == [("b", "a")]
    assert [r.reason for r in done.rejects] == ["empty", "truncated", "empty"]
    alone = Scripted(["b", "", "", "", ""])
    done = await run(magpie_preference, [{"instruction": "Count."}], generator=alone, reward=rewarding)
    assert not done.rows
    assert (done.rejects[-1].reason, done.rejects[-1].details) == ("no_contrast", {"rewards": [2.0]})


async def test_answers_of_equal_reward_make_no_pair():
    done = await run(
        magpie_preference,
        [{"instruction": "Count."}],
        generator=Scripted(lambda q: "1"),
        reward=Scripted(lambda q: 1.0),
    )
    assert not done.rows
    assert [r.reason for r in done.rejects] == ["no_contrast"]


# -- the engine's promises


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    def options():
        return {"generator": aligned(), "judge": judge(), "reward": Scripted(lambda q: 1.0, model="rm"), "num_turns": 2}

    one = await run(magpie, units=6, concurrency=1, **options())
    many = await run(magpie, units=6, concurrency=16, **options())
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 6
    assert again.calls == 0
    assert list(again.iterate("magpie_conversation")) == list(many.iterate("magpie_conversation"))
    assert all(row.lineage.calls for row in one.rows)
