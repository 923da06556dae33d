"""Alpaca: Self-Instruct, except that one call writes whole tasks after the example of three seeds."""

import hashlib
import re

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.alpaca import alpaca
from gristmill.testing import Scripted, replay, run

TOPICS = "algae bridges castles deserts engines forests".split()  # noqa: SIM905
SEEDS = [
    {"instruction": f"Describe how {topic} change over many centuries", "output": f"All {topic} grow old."}
    for topic in TOPICS
]


def block(number, instruction, given="<noinput>", output="Done."):
    return f"{number}. Instruction: {instruction}\n{number}. Input:\n{given}\n{number}. Output:\n{output}\n"


def reply(*blocks):
    """Blocks as a model writes them that goes on after "4. Instruction:"."""
    return "###\n".join(blocks).removeprefix("4. Instruction:")


def fresh(prompt, number):
    digest = hashlib.md5((prompt + str(number)).encode()).hexdigest()
    return "Explain " + " ".join(f"w{digest[start : start + 4]}" for start in range(0, 24, 4))


def model(*replies):
    """Says `replies` one after the other, then two fresh tasks a call."""
    left = list(replies)

    def say(question):
        if left:
            return left.pop(0)
        return reply(*(block(number, fresh(question.prompt, number)) for number in (4, 5)))

    return Scripted(say)


def one_by_one(**options):
    return {"request_batch_size": 1, **options}


# -- what a prompt shows


@pytest.mark.proof("alpaca", 1)
async def test_every_prompt_shows_three_seeds_and_never_a_machine_task():
    generator = model()
    done = await run(alpaca, SEEDS, generator=generator, target=40, **one_by_one())
    seeds = {seed["instruction"] for seed in SEEDS}
    assert len(done.rows) == 40
    for prompt in generator.prompts:
        shown = re.findall(r"^(\d)\. Instruction: (.+)$", prompt, re.MULTILINE)
        assert [number for number, _ in shown] == ["1", "2", "3"]
        assert len({task for _, task in shown} & seeds) == 3
    assert len({tuple(re.findall(r"\d\. Instruction: (.+)", prompt)) for prompt in generator.prompts}) > 10


async def test_a_demonstration_has_input_and_output_and_the_next_one_stands_open():
    seeds = [
        {"instruction": "Add the two\n numbers:", "input": "3 4", "output": "7"},
        {"instruction": "Name a metal", "output": "Tin"},
        {"instruction": "Turn around", "instances": [{"input": "ab", "output": "ba"}, {"input": "cd", "output": "dc"}]},
    ]
    generator = model()
    await run(alpaca, seeds, generator=generator, target=1, **one_by_one())
    prompt = generator.prompts[0]
    assert re.search(r"###\n\d\. Instruction: Add the two numbers\n\d\. Input:\n3 4\n\d\. Output:\n7\n###\n", prompt)
    assert re.search(r"###\n\d\. Instruction: Name a metal\n\d\. Input:\n<noinput>\n\d\. Output:\nTin\n###\n", prompt)
    assert re.search(r"###\n\d\. Instruction: Turn around\n\d\. Input:\nab\n\d\. Output:\nba\n###\n", prompt)
    assert prompt.endswith("###\n4. Instruction:")
    assert "cd" not in prompt


async def test_the_prompt_carries_the_requirements_and_the_number_of_tasks():
    generator = model()
    await run(alpaca, SEEDS, generator=generator, target=1, tasks_per_call=12, **one_by_one())
    prompt = generator.prompts[0]
    for words in ["a verb that none of the others uses", "some as questions and some as orders", "free writing, classification, editing",
                  "nothing but text", "no picture and no sound", "real world", "in English", "one sentence, two at most",
                  "no placeholder", "up to about 100 words", 'the input is "<noinput>"', "output is what a good answer would be, in under 100 words",
                  "Write 12 exercises", "The 12 exercises:"]:  # fmt: skip
        assert words in prompt
    assert generator.questions[0].sampling["stop"] == ["\n12", "12."]


async def test_the_call_is_sampled_as_released():
    generator = model()
    await run(alpaca, SEEDS, generator=generator, target=1)
    assert {question.kind for question in generator.questions} == {"complete"}
    assert generator.questions[0].sampling == {
        "temperature": 1.0, "top_p": 1.0, "max_tokens": 3072, "stop": ["\n20", "20."]
    }  # fmt: skip
    assert len(generator.questions) == 5  # a round of prompts, and no call for kinds or instances


async def test_seeds_that_are_too_few_or_have_no_output_are_refused_before_the_first_call():
    generator = model()
    with pytest.raises(BadInput, match="2 seed tasks are too few, a prompt shows 3"):
        await run(alpaca, SEEDS[:2], generator=generator, target=1)
    with pytest.raises(BadInput, match="'Be quiet' has no output"):
        await run(alpaca, [*SEEDS, {"instruction": "Be quiet"}], generator=generator, target=1)
    assert not generator.questions


# -- reading


@pytest.mark.proof("alpaca", 2)
async def test_one_reply_gives_a_row_for_each_block_and_noinput_is_empty():
    said = reply(block(4, "Name three rare metals"), block(5, "Count the letters given", "abc", "3"), block(6, "List five old trades", "<NoInput>"))  # fmt: skip
    done = await run(alpaca, SEEDS, generator=model(said), target=3, **one_by_one())
    assert [(row.instruction, row.input, row.output) for row in done.rows] == [
        ("Name three rare metals", "", "Done."), ("Count the letters given", "abc", "3"), ("List five old trades", "", "Done."),
    ]  # fmt: skip
    assert not done.rejects


@pytest.mark.proof("alpaca", 2)
@pytest.mark.parametrize(
    "broken",
    [
        "5. Instruction: Name three rare metals\n5. Input:\n<noinput>\n",
        "5. Instruction: Name three rare metals\n5. Input:\n<noinput>\n5. Output:\n ",
        "5. Instruction: Name three rare metals\n5. Output:\nTin\n",
        "5. Instruction: Name three rare metals\n5. Output:\nTin\n5. Input:\n<noinput>",
        "6. Instruction: Name three rare metals\n6. Input:\n<noinput>\n6. Output:\nTin",
        "Name three rare metals",
    ],
)
async def test_a_block_that_is_not_the_three_fields_with_its_number_gives_no_row(broken):
    said = reply(block(4, "List five old trades"), broken, block(6, "Count the letters given", "abc", "3"))
    done = await run(alpaca, SEEDS, generator=model(said), target=2, **one_by_one())
    assert [row.instruction for row in done.rows] == ["List five old trades", "Count the letters given"]
    assert [(r.reason, r.details) for r in done.rejects] == [("unparsed", {"number": 5})]


@pytest.mark.parametrize("begun", ["4. Instruction:", "\n4. Instruction:", "###\n4. Instruction:"])
async def test_a_reply_may_begin_with_the_open_words_once_more(begun):
    said = begun + reply(block(4, "Name three rare metals"), block(5, "List five old trades"))
    done = await run(alpaca, SEEDS, generator=model(said), target=2, **one_by_one())
    assert [row.instruction for row in done.rows] == ["Name three rare metals", "List five old trades"]
    assert not done.rejects


@pytest.mark.parametrize("separator", ["###\n5.", "  #### \n\n 5.", "### 5.", "###5."])
async def test_a_heading_within_an_output_ends_no_block(separator):
    plan = "# Plan\n\n### First\nStart.\n#### Then ###\nStop."
    said = reply(block(4, "Draft a short plan", output=plan), block(5, "Name three rare metals", output="Tin ###"))
    done = await run(alpaca, SEEDS, generator=model(said.replace("###\n5.", separator)), target=2, **one_by_one())
    assert [row.output for row in done.rows] == [plan, "Tin"]
    assert not done.rejects


async def test_a_task_that_was_not_set_apart_does_not_end_up_in_the_output_before_it():
    said = reply(
        block(4, "Name three rare metals") + block(5, "List five old trades"), block(5, "Count the letters given")
    )
    done = await run(alpaca, SEEDS, generator=model(said), target=1, **one_by_one())
    assert [row.instruction for row in done.rows] == ["Count the letters given"]
    assert [(r.reason, r.details) for r in done.rejects] == [("unparsed", {"number": 4})]
    assert done.rejects[0].calls == done.rows[0].lineage.calls


async def test_line_breaks_of_other_systems_change_nothing():
    said = reply(block(4, "Name three rare metals"), block(5, "Count the letters given", "a\nb", "3"))
    done = await run(alpaca, SEEDS, generator=model(said.replace("\n", "\r\n")), target=2, **one_by_one())
    assert [(row.input, row.output) for row in done.rows] == [("", "Done."), ("a\r\nb", "3")]


@pytest.mark.proof("alpaca", 3)
async def test_a_cut_reply_loses_exactly_its_last_block():
    blocks = [block(4, "List five old trades"), block(5, "Count the letters given"), block(6, "Name three rare metals")]
    done = await run(alpaca, SEEDS, generator=model(Reply(reply(*blocks), finish="length")), target=4, **one_by_one())
    assert [row.instruction for row in done.rows[:2]] == ["List five old trades", "Count the letters given"]
    assert done.rows[2].instruction.startswith("Explain w")  # of the next reply
    assert [r.reason for r in done.rejects] == ["truncated"]
    assert "rare metals" in done.rejects[0].candidate
    assert done.rejects[0].calls == done.rows[0].lineage.calls


async def test_a_separator_at_the_end_is_no_block():
    said = reply(block(4, "List five old trades")) + "###\n"
    done = await run(alpaca, SEEDS, generator=model(said), target=2, **one_by_one())
    assert len(done.rows) == 2
    assert not done.rejects
    done = await run(alpaca, SEEDS, generator=model(Reply(said, finish="length")), target=2, **one_by_one())
    assert done.rows[0].instruction == "List five old trades"


# -- filters


@pytest.mark.proof("alpaca", 4)
@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Explain the diagram in words", "unsuited"),
        ("Describe this Video in words", "unsuited"),
        ("Sum up all of these files", "unsuited"),
        ("Explain diagrammatic reasoning to me", None),
        ("Sing a song", "too_short"),
        ("Write a program that sorts numbers", "writes_program"),
        ("(Optional) sing a short song", "starts_with_punctuation"),
        ("Übersetze den Satz ins Englische", "starts_non_ascii"),
        ("Describe how algae change over very many centuries", "too_similar"),
        ("Describe how algae change over many aa bb cc dd", "too_similar"),  # six of seven and ten words: 0.71
        ("Describe how algae change over many aa bb cc dd ee", None),  # and eleven: 0.67
        ("Sing " + "la " * 149, None),
        ("Sing " + "la " * 150, "too_long"),
        *[(f"Explain this {word} in words", "unsuited") for word in ("audio", "music", "flowchart")],
    ],
)
async def test_filters_are_those_of_self_instruct_with_more_words(instruction, reason):
    said = reply(block(4, instruction), block(5, "Name three rare metals"))
    done = await run(alpaca, SEEDS, generator=model(said), target=1 if reason else 2, **one_by_one())
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert [row.instruction for row in done.rows][-1] == "Name three rare metals"


async def test_tasks_of_one_reply_and_of_one_round_are_compared_with_each_other():
    metal = "Name the three rarest metals found on Earth"
    replies = [reply(block(4, metal), block(5, metal + " today")), reply(block(4, metal + " now"))]
    done = await run(alpaca, SEEDS, generator=model(*replies), target=3, request_batch_size=2)
    assert [(r.reason, r.details["to"]) for r in done.rejects] == [("too_similar", metal)] * 2
    assert done.rows[0].instruction == metal
    assert done.rows[0].mean_rouge_l < 0.3
    assert len(done.rows[0].most_similar) == len(SEEDS)


async def test_limits_are_parameters():
    said = reply(
        block(4, "Name three very rare metals"), block(5, "Sing a song"), block(6, "Name three very old metals")
    )
    done = await run(alpaca, SEEDS, generator=model(said), target=1, min_words=3, max_words=4, **one_by_one())
    assert [(r.reason, r.details) for r in done.rejects] == [("too_long", {"words": 5})]
    assert done.rows[0].instruction == "Sing a song"
    done = await run(alpaca, SEEDS, generator=model(said), target=2, rouge_threshold=0.9, **one_by_one())
    assert [r.reason for r in done.rejects] == ["too_short"]


# -- the engine's promises


async def test_a_row_names_the_call_and_the_three_seeds_that_made_it():
    generator = model()
    done = await run(alpaca, SEEDS, generator=generator, target=4, **one_by_one())
    assert [len(row.lineage.calls) for row in done.rows] == [1] * 4
    assert [len(row.lineage.parents) for row in done.rows] == [3] * 4
    assert done.rows[0].lineage == done.rows[1].lineage  # of one reply
    assert done.rows[1].lineage.calls != done.rows[2].lineage.calls


async def test_a_call_that_fails_costs_its_own_reply_alone():
    done = await run(alpaca, SEEDS, generator=model(Refused("no")), target=4, request_batch_size=2, allow_failures=True)
    assert len(done.rows) == 4
    assert [failure.error for failure in done.failures] == ["no"]


@pytest.mark.parametrize("said", ["", "no task at all", Reply("", finish="length"), Refused("no")])
async def test_a_loop_that_gets_nothing_ends(said):
    generator = Scripted(lambda question: said)
    done = await run(alpaca, SEEDS, generator=generator, target=1, max_candidates=25, allow_failures=True)
    assert not done.rows
    assert done.stopped.reason == "candidates"


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    one = await run(alpaca, SEEDS, generator=model(), target=20, concurrency=1)
    many = await run(alpaca, SEEDS, generator=model(), target=20, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 20
    assert again.calls == 0
    other = await run(alpaca, SEEDS, generator=model(), target=20, seed=1)
    assert {row.instruction for row in other.rows} != {row.instruction for row in one.rows}
