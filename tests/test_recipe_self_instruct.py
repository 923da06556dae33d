"""Self-Instruct: lists of tasks from people and model, filtered against all that came before, then answered."""

import hashlib
import re

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.self_instruct import read_examples, read_labels, self_instruct
from gristmill.testing import Scripted, replay, run

TOPICS = "algae bridges castles deserts engines forests glaciers harbours islands jungles lakes moors".split()  # noqa: SIM905
SEEDS = [
    {"instruction": f"Describe how {topic} change over many centuries", "is_classification": number < 3}
    for number, topic in enumerate(TOPICS)
]
KIND = "Classification:"


def fresh(prompt, salt=""):
    """An instruction like no other, the same for the same prompt."""
    digest = hashlib.md5((prompt + salt).encode()).hexdigest()
    return "Explain " + " ".join(f"w{digest[start : start + 4]}" for start in range(0, 24, 4))


def lists(question):
    return question.prompt.startswith("Write down a series")


def asks_kind(question):
    return question.prompt.endswith(KIND)


def task_of(question):
    return re.findall(r"Task: (.*)", question.prompt)[-1]


def model(replies=None, kind=" No", instances="Output: Done so."):
    """Goes on with lists by `replies` (one after the other; then, or without, with one fresh task each), and answers."""
    left = list(replies or [])

    def say(question):
        if lists(question):
            said = left.pop(0) if left else f" {fresh(question.prompt)}"
        else:
            said = kind if asks_kind(question) else instances
        return said(question) if callable(said) else said

    return Scripted(say)


def shown(question):
    return re.findall(r"^\d+\. (.+)$", question.prompt, re.MULTILINE)


def one_by_one(**options):
    return {"request_batch_size": 1, **options}


# -- what a prompt shows


@pytest.mark.proof("self-instruct", 2)
async def test_prompts_show_six_seeds_and_two_machine_tasks_from_the_third_accepted_on_and_the_first_shows_eight_seeds():
    generator = model()
    done = await run(self_instruct, SEEDS, generator=generator, target=12, **one_by_one())
    seeds = {seed["instruction"] for seed in SEEDS}
    prompts = [shown(question) for question in generator.questions if lists(question)]
    made = [row.instruction for row in done.rows]
    for number, prompt in enumerate(prompts):
        machine = [task for task in prompt if task not in seeds]
        assert len(prompt) == len(set(prompt)) == 8
        assert len(machine) == min(2, number)  # one task was accepted before each prompt
        assert set(machine) <= set(made[:number])
    assert len({tuple(prompt.index(task) for task in prompt if task not in seeds) for prompt in prompts[3:]}) > 1
    assert len({task for prompt in prompts for task in prompt if task in seeds}) == len(SEEDS)
    assert len({task for prompt in prompts for task in prompt if task not in seeds}) > 5  # of all, not the first two
    assert any(
        not set(made[number - 2 : number]) <= set(prompts[number]) for number in range(3, 12)
    )  # nor the last two


async def test_a_prompt_is_a_numbered_list_that_stands_open_at_its_next_number():
    seeds = [{**seed, "instruction": f"  {seed['instruction']}\n\n in detail: "} for seed in SEEDS]
    generator = model()
    await run(self_instruct, seeds, generator=generator, target=1, **one_by_one())
    lines = generator.questions[0].prompt.splitlines()
    assert [line.partition(" ")[0] for line in lines[1:]] == [f"{number}." for number in range(1, 10)]
    assert all(re.fullmatch(r"\d\. Describe how \w+ change over many centuries in detail", line) for line in lines[1:9])
    assert lines[9] == "9."


async def test_a_round_reads_the_pool_as_it_was_when_the_round_began():
    generator = model()
    await run(self_instruct, SEEDS, generator=generator, target=8, request_batch_size=4)
    seeds = {seed["instruction"] for seed in SEEDS}
    machine = [sum(task not in seeds for task in shown(q)) for q in generator.questions if lists(q)]
    assert machine == [0] * 4 + [2] * 4


async def test_a_round_has_five_prompts_and_a_target_counts_instances():
    generator = model(instances="Example 1\na\nOutput: b\nExample 2\nc\nOutput: d")
    done = await run(self_instruct, SEEDS, generator=generator, target=4)
    assert sum(lists(question) for question in generator.questions) == 5
    assert len(done.rows) == 4
    assert len({row.instruction for row in done.rows}) == 2


async def test_numbers_of_shown_tasks_are_parameters():
    generator = model()
    await run(
        self_instruct, SEEDS, generator=generator, target=3, human_in_prompt=2, machine_in_prompt=1, **one_by_one()
    )
    prompts = [shown(question) for question in generator.questions if lists(question)]
    assert [len(prompt) for prompt in prompts] == [3, 3, 3]
    assert generator.questions[0].prompt.endswith("\n4.")


async def test_too_few_seeds_are_refused_before_the_first_call():
    generator = model()
    with pytest.raises(BadInput, match="7 seed tasks are too few, a prompt shows 8"):
        await run(self_instruct, SEEDS[:7], generator=generator, target=1)
    assert not generator.questions


# -- reading and filtering


async def test_a_reply_is_split_at_its_numbers_and_cleaned():
    reply = " name three rare   metals\n10. what Makes SQL\n queries slow?\n11 . list five old trades"
    done = await run(self_instruct, SEEDS, generator=model([reply]), target=3, **one_by_one())
    assert [row.instruction for row in done.rows] == [
        "Name three rare metals", "What Makes SQL queries slow?", "List five old trades"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said", ["9. Name three rare metals", "Sure, here are some more tasks:\n\n 9. Name three rare metals"]
)
async def test_what_a_chat_model_says_before_the_open_number_is_no_instruction(said):
    done = await run(
        self_instruct, SEEDS, generator=model([f"{said}\n10. List five old trades"]), target=2, **one_by_one()
    )
    assert [row.instruction for row in done.rows] == ["Name three rare metals", "List five old trades"]
    assert not done.rejects


async def test_line_breaks_of_other_systems_and_white_space_change_nothing():
    reply = " Name three rare metals\r\n10.  List five\r\n old trades\u2003\r\n"
    kind = lambda q: " Yes.\r\n" if "metals" in task_of(q) else "\r\n No"  # noqa: E731
    instances = lambda q: (  # noqa: E731
        "Class label: a\r\nx\r\ny\r\nClass label: b\r\n" if "metals" in task_of(q)
        else "Example 1\r\nx\r\nOutput: y\r\n\r\nExample 2\r\nz\r\nOutput:\r\nw\r\n"
    )  # fmt: skip
    done = await run(
        self_instruct, SEEDS, generator=model([reply], kind=kind, instances=instances), target=4, **one_by_one()
    )
    assert [(row.instruction, row.input, row.output) for row in done.rows] == [
        ("Name three rare metals", "x\r\ny", "a"), ("Name three rare metals", "", "b"),
        ("List five old trades", "x", "y"), ("List five old trades", "z", "w"),
    ]  # fmt: skip


async def test_seeds_with_braces_and_numbers_of_their_own_are_shown_as_they_are():
    seeds = [
        {"instruction": f"{number} {{topic}} {{numbered}}: 3. fry it\n4. eat it\n 5. sleep"} for number in range(8)
    ]
    generator = model()
    done = await run(self_instruct, seeds, generator=generator, target=1, **one_by_one())
    lines = generator.questions[0].prompt.splitlines()
    assert len(lines) == 10
    assert all(
        re.fullmatch(r"\d\. \d \{topic\} \{numbered\}: 3\. fry it 4\. eat it 5\. sleep", line) for line in lines[1:9]
    )
    assert len(done.rows) == 1


async def test_a_reply_that_was_cut_is_dropped_whole():
    cut = Reply(" Name three rare metals\n10. Tell me why the", finish="length")
    done = await run(self_instruct, SEEDS, generator=model([cut]), target=1, **one_by_one())
    assert [(r.reason, r.candidate) for r in done.rejects] == [("truncated", cut.text)]
    assert done.rows[0].instruction.startswith("Explain w")


@pytest.mark.parametrize(
    ("instruction", "reason", "details"),
    [
        ("", "too_short", {"words": 0}),
        ("Sing a song", "too_short", {"words": 3}),
        ("Sing " + "la " * 150, "too_long", {"words": 151}),
        ("Describe the Image in words", "unsuited", {"word": "Image"}),
        ("Sum up all of these files", "unsuited", {"word": "files"}),
        ("Go to the shop for me", "unsuited", {"word": "Go to"}),
        ("Please draw a big house", "unsuited", {"word": "draw"}),
        ("Write a program that sorts numbers", "writes_program", {}),
        ("write a Program that sorts numbers", "writes_program", {}),
        ("(Optional) sing a short song", "starts_with_punctuation", {}),
        ("Übersetze den Satz ins Englische", "starts_non_ascii", {}),
    ],
)
async def test_an_unfit_instruction_is_rejected_with_its_reason(instruction, reason, details):
    generator = model([f" {instruction}\n10. Name three rare metals"])
    done = await run(self_instruct, SEEDS, generator=generator, target=1, **one_by_one())
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, details)]
    assert [row.instruction for row in done.rows] == ["Name three rare metals"]
    assert not any(instruction in q.prompt for q in generator.questions if instruction)  # neither shown nor answered
    assert done.rejects[0].calls == done.rows[0].lineage.calls[-1:]  # the reply that it stood in


WORDS = [
    "image",
    "images",
    "graph",
    "graphs",
    "picture",
    "pictures",
    "file",
    "files",
    "map",
    "maps",
    "draw",
    "plot",
    "go to",
]


async def test_each_word_for_what_a_model_cannot_do_is_one_whole_word():
    listed = [f"Say {word} a{n} b{n} c{n}" for n, word in enumerate(WORDS)]
    letters = [f"Say {word}x a{n}x b{n}x c{n}x" for n, word in enumerate(WORDS)]
    reply = " " + "\n10. ".join(listed + letters)
    done = await run(self_instruct, SEEDS, generator=model([reply]), target=len(WORDS), **one_by_one())
    assert [(r.reason, r.details["word"]) for r in done.rejects] == [("unsuited", word) for word in WORDS]
    assert [row.instruction for row in done.rows] == letters


@pytest.mark.parametrize(
    "instruction",
    ["Sing a song please", "Sing " + "la " * 149, "Explain imagery and profiles well", "Withdraw the filed maps4 now",
     "Tell how to write a program", "Explain the word café briefly"],
)  # fmt: skip
async def test_a_fit_instruction_at_the_limits_passes(instruction):
    done = await run(self_instruct, SEEDS, generator=model([f" {instruction}"]), target=1, **one_by_one())
    assert done.rows[0].instruction == instruction.strip()
    assert not done.rejects


@pytest.mark.proof("self-instruct", 1)
async def test_an_instruction_too_similar_to_a_seed_an_accepted_one_or_one_of_its_reply_is_rejected():
    metal = "Name the three rarest metals found on Earth"
    replies = [
        f" Describe how algae change over very many centuries\n10. {metal}\n11. {metal} today",  # a seed's; its own reply's
        f" {metal} now",  # an earlier reply's
    ]
    done = await run(self_instruct, SEEDS, generator=model(replies), target=2, **one_by_one())
    assert [(r.reason, r.details["to"]) for r in done.rejects] == [
        ("too_similar", "Describe how algae change over many centuries"),
        ("too_similar", metal),
        ("too_similar", metal),
    ]
    assert all(r.details["rouge_l"] >= 0.7 for r in done.rejects)
    assert [len(r.calls) for r in done.rejects] == [1] * 3
    assert done.rejects[0].calls == done.rejects[1].calls != done.rejects[2].calls
    assert done.rows[0].instruction == metal


async def test_replies_of_one_round_are_compared_with_each_other_in_their_order():
    metal = "Name the three rarest metals found on Earth"
    replies = [f" {metal}", f" {metal} today", f" {metal} now"]
    done = await run(self_instruct, SEEDS, generator=model(replies), target=1, request_batch_size=3)
    assert [row.instruction for row in done.rows] == [metal]
    assert [r.candidate for r in done.rejects] == [f"{metal} today", f"{metal} now"]


async def test_a_rejected_instruction_does_not_stand_in_the_way_of_others():
    first, second, third = "Aa bb cc dd ee ff", "Aa bb cc dd ee gg", "Aa bb cc dd hh gg"  # 5 of 6 in common, 4 of 6
    reply = f" {first}\n10. {second}\n11. {third}"
    done = await run(self_instruct, SEEDS, generator=model([reply]), target=2, **one_by_one())
    assert [row.instruction for row in done.rows] == [first, third]
    assert [r.candidate for r in done.rejects] == [second]


@pytest.mark.proof("self-instruct", 1)
async def test_exactly_the_threshold_is_too_similar():
    seven_of_ten = "Aa bb cc dd ee ff gg {0}1 {0}2 {0}3"
    reply = f" {seven_of_ten.format('x')}\n10. {seven_of_ten.format('y')}"
    done = await run(self_instruct, SEEDS, generator=model([reply]), target=1, **one_by_one())
    assert [(r.reason, r.details["rouge_l"]) for r in done.rejects] == [("too_similar", 0.7)]
    both = await run(self_instruct, SEEDS, generator=model([reply]), target=2, rouge_threshold=0.71, **one_by_one())
    assert not both.rejects


async def test_a_row_keeps_its_ten_most_similar_instructions_and_the_mean():
    done = await run(
        self_instruct, SEEDS, generator=model([" Tell how algae grow in centuries"]), target=1, **one_by_one()
    )
    row = done.rows[0]
    assert len(row.most_similar) == 10
    assert row.most_similar[0].instruction == "Describe how algae change over many centuries"
    # Of 6 and 7 words, "how algae centuries" are in common with the first seed, "how centuries" with the others.
    assert [similar.rouge_l for similar in row.most_similar] == pytest.approx([6 / 13] + [4 / 13] * 9, abs=1e-4)
    assert row.mean_rouge_l == pytest.approx((6 + 11 * 4) / 13 / 12)


# -- kinds and instances


@pytest.mark.proof("self-instruct", 3)
async def test_a_classification_task_gets_the_output_first_template_and_its_label_comes_before_its_input():
    raw = "Class label: spam\nMessage: You won!\nClass label: no spam\nMessage: See you at noon."
    generator = model([" Tell whether the message is spam"], kind=" Yes", instances=raw)
    done = await run(self_instruct, SEEDS, generator=generator, target=2, **one_by_one())
    asked = generator.questions[-1].prompt
    assert asked.startswith("For each classification task")
    assert asked.endswith("Task: Tell whether the message is spam\n")
    assert [(row.input, row.output) for row in done.rows] == [("Message: You won!", "spam"), ("Message: See you at noon.", "no spam")]  # fmt: skip
    assert all(row.is_classification for row in done.rows)
    assert all(raw.index(row.output) < raw.index(row.input) for row in done.rows)


async def test_any_other_task_gets_the_input_first_template():
    raw = "Example 1\nSentence: I run.\nOutput: I ran.\nExample 2\nSentence: I eat.\nOutput: I ate.\n\n"
    generator = model([" Put the sentence into the past"], kind=" No", instances=raw)
    done = await run(self_instruct, SEEDS, generator=generator, target=2, **one_by_one())
    asked = generator.questions[-1].prompt
    assert asked.startswith("Show worked examples")
    assert asked.endswith("Task: Put the sentence into the past\n")
    assert [(row.input, row.output) for row in done.rows] == [
        ("Sentence: I run.", "I ran."),
        ("Sentence: I eat.", "I ate."),
    ]
    assert not any(row.is_classification for row in done.rows)


async def test_the_question_for_the_kind_shows_seeds_of_both_kinds_with_yes_and_no():
    generator = model()
    seeds = [{**seed, "instruction": seed["instruction"].replace(" many ", "\n many ") + ":"} for seed in SEEDS]
    await run(self_instruct, seeds, generator=generator, target=2, **one_by_one(clf_demos=2, non_clf_demos=5))
    asked = [question.prompt for question in generator.questions if asks_kind(question)]
    answered = re.findall(r"Task: (.*)\nClassification: (\w+)", asked[0])
    assert sorted(answer for _, answer in answered) == ["No"] * 5 + ["Yes"] * 2
    is_classification = {seed["instruction"]: seed["is_classification"] for seed in SEEDS}
    assert all(is_classification[task] == (answer == "Yes") for task, answer in answered)
    before = [prompt.rpartition("Task: ")[0] for prompt in asked]
    assert before[0] == before[1]  # one prefix, read once by a server that keeps it


async def test_by_default_up_to_twelve_and_nineteen_seeds_show_the_kinds():
    many = [{"instruction": f"Say number {n} in w{n} x{n}", "is_classification": n % 2 == 0} for n in range(60)]
    generator = model()
    await run(self_instruct, many, generator=generator, target=1, **one_by_one())
    asked = next(question.prompt for question in generator.questions if asks_kind(question))
    assert (asked.count(" Yes\n"), asked.count(" No\n")) == (12, 19)
    said = re.findall(r"Classification: (\w+)", asked)
    assert said not in (sorted(said), sorted(said, reverse=True))  # mixed


async def test_a_seed_that_does_not_say_so_is_no_classification():
    generator = model()
    await run(self_instruct, [{"instruction": seed["instruction"]} for seed in SEEDS], generator=generator, target=1)
    asked = next(question.prompt for question in generator.questions if asks_kind(question))
    assert (asked.count(" Yes\n"), asked.count(" No\n")) == (0, 12)


async def test_a_kind_that_is_neither_yes_nor_no_is_a_reject_and_no_guess():
    generator = model([" Name three rare metals"], kind=lambda q: " Maybe so" if "metals" in task_of(q) else " No")
    done = await run(self_instruct, SEEDS, generator=generator, target=1, **one_by_one())
    assert [(r.reason, r.candidate) for r in done.rejects] == [("unread_kind", "Name three rare metals")]
    assert "metals" not in done.rows[0].instruction


async def test_the_three_calls_are_sampled_as_the_paper_says():
    generator = model(kind=lambda q: " Yes" if "metals" in task_of(q) else " No", replies=[" Name three rare metals"],
                      instances=lambda q: "Class label: a" if "metals" in task_of(q) else "Output: b")  # fmt: skip
    await run(self_instruct, SEEDS, generator=generator, target=2, **one_by_one())
    listing, kind, labels, *_ = [question.sampling for question in generator.questions]
    assert listing == {"temperature": 0.7, "top_p": 0.5, "presence_penalty": 2.0, "frequency_penalty": 0.0,
                       "max_tokens": 1024, "stop": ["\n\n", "\n16", "16.", "16 ."]}  # fmt: skip
    assert kind == {"temperature": 0.0, "max_tokens": 3, "stop": ["\n", "Task"]}
    assert labels == {"temperature": 0.0, "presence_penalty": 1.5, "max_tokens": 300, "stop": ["Example 6", "Task:"]}
    assert generator.questions[-1].sampling == {**labels, "max_tokens": 350}


async def answered_by(instances, kind=" No", **options):
    """Rows and rejects of one instruction whose instances are `instances`; a later one is there to reach the target."""
    generator = model(
        [" Name three rare metals"], kind=lambda q: kind if "metals" in task_of(q) else " No",
        instances=lambda q: instances if "metals" in task_of(q) else "Output: filler",
    )  # fmt: skip
    done = await run(self_instruct, SEEDS, generator=generator, target=8, **one_by_one(**options))
    rows = [(row.input, row.output) for row in done.rows if "metals" in row.instruction]
    return rows, [
        (r.reason, r.candidate.get("output") if isinstance(r.candidate, dict) else r.candidate) for r in done.rejects
    ]


@pytest.mark.proof("self-instruct", 4)
async def test_the_same_input_with_two_outputs_costs_all_rows_of_the_instruction():
    rows, rejects = await answered_by("Example 1\nx\nOutput: 1\nExample 2\ny\nOutput: 2\nExample 3\nx\nOutput: 3")
    assert rows == []
    assert rejects == [("conflicting_outputs", "1"), ("conflicting_outputs", "2"), ("conflicting_outputs", "3")]


async def test_no_input_with_two_outputs_is_no_conflict():
    rows, rejects = await answered_by("Class label: one\nClass label: two", kind=" Yes")
    assert rows == [("", "one"), ("", "two")]
    assert not rejects


async def test_invalid_and_repeated_instances_are_rejected_one_by_one():
    rows, rejects = await answered_by(
        "Example 1\nsame\nOutput: same\nExample 2\nx\nOutput:\nExample 3\nThe list:\nOutput: 1\nExample 4\nz\nOutput: as follows:\n"
        "Example 5\nx\nOutput: good\nExample 5\nx\nOutput: good"
    )
    assert rows == [("x", "good")]
    assert rejects == [
        ("input_is_output", "same"), ("empty_output", ""), ("ends_with_colon", "1"), ("ends_with_colon", "as follows:"),
        ("duplicate", "good"),
    ]  # fmt: skip


async def test_at_most_five_instances_are_kept_chosen_by_chance():
    rows, rejects = await answered_by("".join(f"Example {n}\nx{n}\nOutput: y{n}\n" for n in range(7)))
    assert len(rows) == 5
    assert [reason for reason, _ in rejects] == ["surplus"] * 2
    assert {output for _, output in rows} | {output for _, output in rejects} == {f"y{n}" for n in range(7)}
    others = [
        await answered_by("".join(f"Example {n}\nx{n}\nOutput: y{n}\n" for n in range(7)), seed=s) for s in (1, 2)
    ]
    assert len({tuple(kept) for kept, _ in [(rows, rejects), *others]}) > 1
    fewer, _ = await answered_by("Class label: a\nClass label: b", kind=" Yes", max_instances_per_instruction=1)
    assert len(fewer) == 1


async def test_a_cut_reply_loses_its_last_instance():
    rows, rejects = await answered_by(Reply("Example 1\nx\nOutput: whole\nExample 2\ny\nOutput: hal", finish="length"))
    assert rows == [("x", "whole")]
    assert rejects == [("truncated", "hal")]


@pytest.mark.parametrize("said", ["I do not know.", "The Output is unknown", "", " \r\n\t"])
@pytest.mark.parametrize("kind", [" Yes", " No"])
async def test_a_reply_without_an_instance_is_a_reject(said, kind):
    rows, rejects = await answered_by(said, kind)
    assert rows == []
    assert rejects == [("no_instances", said)]


async def test_what_has_no_output_mark_is_no_output():
    rows, rejects = await answered_by(
        "Here are some examples.\nExample 1\nx\nOutput: good\nExample 2\nJust this\nExample 3\nOutput 3 : alone"
    )
    assert rows == [("x", "good"), ("", "alone")]
    assert rejects == [("empty_output", ""), ("empty_output", "")]


def test_what_stands_before_the_output_is_the_input_without_its_mark():
    pairs = read_examples("Input: 3 4\nOutput: 7\nInput: 5 6\nOutput: 11")
    assert [(pair.input, pair.output) for pair in pairs] == [("3 4", "7")]
    pairs = read_examples("Example 1\nOutput: alone\nExample 2.\nInput 2: a\nOutput 2: b")
    assert [(pair.input, pair.output) for pair in pairs] == [("", "alone"), ("a", "b")]
    [pair] = read_examples("Example 1\nas in Example 4 above\nOutput: b")
    assert pair.input == "as in Example 4 above"
    assert [(pair.input, pair.output) for pair in read_labels("Class label: a\nx\ny\nClass label: b")] == [("x\ny", "a"), ("", "b")]  # fmt: skip


# -- the engine's promises


async def test_a_row_names_the_three_calls_and_the_eight_tasks_that_made_it():
    reply = " Name three rare metals\n10. List five old trades"
    done = await run(self_instruct, SEEDS, generator=model([reply]), target=4, **one_by_one())
    first, second, third, fourth = done.rows
    assert [len(row.lineage.calls) for row in done.rows] == [3] * 4
    assert len(set(first.lineage.calls) & set(second.lineage.calls)) == 1  # the call that wrote the list
    assert not set(first.lineage.calls) & set(third.lineage.calls)
    assert [len(row.lineage.parents) for row in done.rows] == [8] * 4
    assert {first.id, second.id} < set(third.lineage.parents)
    assert not {first.id, second.id, third.id} & set(first.lineage.parents)
    assert fourth.id not in fourth.lineage.parents


async def test_a_row_made_after_a_task_that_gave_no_rows_names_the_reply_with_that_task():
    generator = model([" Name three rare metals"], kind=lambda q: "?" if "metals" in task_of(q) else " No")
    done = await run(self_instruct, SEEDS, generator=generator, target=1, **one_by_one())
    assert "Name three rare metals" in shown([question for question in generator.questions if lists(question)][1])
    row, [reject] = done.rows[0], done.rejects
    assert len(row.lineage.parents) == 7
    assert len(row.lineage.calls) == 4
    assert len(set(row.lineage.calls) - set(reject.calls)) == 4  # the list that named it, not what was asked about it


async def test_a_call_that_fails_costs_its_own_instruction_alone():
    generator = model(
        [" Name three rare metals\n10. List five old trades"],
        instances=lambda q: Refused("no metals") if "metals" in task_of(q) else "Output: here",
    )
    done = await run(self_instruct, SEEDS, generator=generator, target=2, allow_failures=True, **one_by_one())
    assert len(done.rows) == 2
    assert [failure.error for failure in done.failures] == ["no metals"]


@pytest.mark.parametrize(
    "generator",
    [
        model([""] * 999),
        model([Reply(" Name three rare", finish="length")] * 999),
        model(instances="no"),
        model(kind="?"),
        Scripted(lambda question: Refused("no")),
    ],
)
async def test_a_loop_that_gets_nothing_ends(generator):
    done = await run(self_instruct, SEEDS, generator=generator, target=1, max_candidates=25, allow_failures=True)
    assert not done.rows
    assert done.stopped.reason == "candidates"


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    def generator():
        return model(kind=lambda q: " Yes" if len(task_of(q)) % 2 else " No",
                     instances=lambda q: "Class label: a\nb" if "Class label" in q.prompt else "Example 1\nx\nOutput: y")  # fmt: skip

    one = await run(self_instruct, SEEDS, generator=generator(), target=20, concurrency=1)
    many = await run(self_instruct, SEEDS, generator=generator(), target=20, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 20
    assert again.calls == 0
    other = await run(self_instruct, SEEDS, generator=generator(), target=20, seed=1)
    assert {row.instruction for row in other.rows} != {row.instruction for row in one.rows}
