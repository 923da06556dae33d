"""Unnatural Instructions: five fixed prompts without outputs, nucleus sampling, then a greedy output and new wordings."""

import re
from collections import Counter

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.unnatural_instructions import unnatural_instructions
from gristmill.testing import Scripted, replay, run

SEEDS = [
    {"instruction": f"Do job {number}.", "input": f"material {number}", "constraints": f"Form {number}."}
    for number in range(15)
]


def kind(question):
    if "Alternative:" in question.prompt:
        return "wording"
    return "output" if question.prompt.endswith("Output:") else "task"


def task(instruction="Count the letters.", given="abc", constraints="The output should be a number."):
    return f"\nInstruction: {instruction}\nInput: {given}\nConstraints: {constraints}"


def model(tasks=(), output="Three.", wordings=()):
    """Says `tasks` one after the other and then a fresh one a call; `wordings` likewise."""
    left, words, made = list(tasks), list(wordings), []

    def say(question):
        made.append(question)
        match kind(question):
            case "task":
                return left.pop(0) if left else task(f"Fresh job {len(made)}.")
            case "output":
                return output
            case _:
                return words.pop(0) if words else f"How about {{INPUT}}, way {len(made)}?"

    return Scripted(say)


async def made(generator=None, seeds=SEEDS, **options):
    generator = generator or model()
    options = {"target": 1, "requests_at_once": 1, "max_candidates": 60, **options}
    return generator, await run(unnatural_instructions, seeds, generator=generator, **options)


def asked(generator, of):
    return [question for question in generator.questions if kind(question) == of]


def forms(done):
    return list(done.iterate("formulation"))


def reasons(done):
    return [(reject.reason, reject.details["of"]) for reject in done.rejects]


# -- tasks


@pytest.mark.proof("unnatural-instructions", 1)
async def test_five_prompts_in_turn_show_three_tasks_each_and_no_output():
    generator, _ = await made(target=23, requests_at_once=8)
    counts = Counter(question.prompt for question in asked(generator, "task"))
    assert len(counts) == 5
    assert max(counts.values()) - min(counts.values()) <= 1
    shown = []
    for prompt in counts:
        fields = re.findall(r"Example (\d)\nInstruction: (.+)\nInput: (.+)\nConstraints: (.+)\n", prompt)
        assert [number for number, *_ in fields] == ["1", "2", "3"]
        assert prompt.endswith("\n\nExample 4")
        assert "Output" not in prompt
        shown += [dict(zip(("instruction", "input", "constraints"), field[1:], strict=True)) for field in fields]
    assert shown == SEEDS  # each group is three that follow each other


@pytest.mark.proof("unnatural-instructions", 2)
async def test_a_task_is_drawn_by_nucleus_sampling_and_its_output_is_greedy():
    generator, _ = await made()
    [first, second, third] = (generator.questions[number] for number in range(3))
    assert [kind(question) for question in (first, second, third)] == ["task", "output", "wording"]
    assert (first.sampling["top_p"], first.sampling["temperature"]) == (0.99, 1.0)
    assert first.sampling["stop"] == ["\nExample 5", "\nOutput:"]
    assert second.sampling["temperature"] == 0.0
    assert "top_p" not in second.sampling
    assert second.sampling["stop"] == ["\nInstruction:", "\nExample "]
    assert third.sampling["stop"] == ["\nOriginal:"]
    assert (third.sampling["top_p"], third.sampling["temperature"]) == (0.99, 1.0)
    assert [question.sampling["max_tokens"] for question in (first, second, third)] == [512, 512, 256]


async def test_sampling_is_a_matter_of_parameters():
    options = {"top_p": 0.8, "temperature": 0.6, "max_tokens_per_call": 7, "max_tokens_output": 8}
    generator, _ = await made(**options, max_tokens_reformulation=9)
    found = [question.sampling for question in generator.questions[:3]]
    assert [sampling["max_tokens"] for sampling in found] == [7, 8, 9]
    assert [(s["temperature"], s.get("top_p")) for s in found] == [(0.6, 0.8), (0.0, None), (0.6, 0.8)]


@pytest.mark.proof("unnatural-instructions", 3)
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (task("Do job 1.", "material 1"), "copies_demonstration"),
        (task("Do   job 1.", "material 1", "Other."), "copies_demonstration"),
        ("\nInstruction: Count.\nInput: abc", "missing_section"),
        ("\nInstruction: Count.\nConstraints: None", "missing_section"),
        ("\nInput: abc\nConstraints: None", "missing_section"),
        (task(given=""), "empty_section"),
        (task(constraints=""), "empty_section"),
        ("\nConstraints: None\nInput: abc\nInstruction: Count.", "missing_section"),
        (" \n", "empty"),
        (Reply(task(), finish="length"), "truncated"),
    ],
)
async def test_a_task_that_is_a_demonstration_or_lacks_a_field_gives_no_row(said, reason):
    generator, done = await made(model([said, task("Sing.")]))
    assert [row.instruction for row in done.rows] == ["Sing."]
    assert reasons(done) == [(reason, "task")]
    assert len(asked(generator, "output")) == 1  # nothing was paid for it


async def test_demonstrations_of_other_prompts_do_not_count_and_neither_does_another_input():
    _, done = await made(model([task("Do job 14.", "material 14"), task("Do job 4.", "other")]), target=2)
    assert [(row.instruction, row.input) for row in done.rows] == [
        ("Do job 14.", "material 14"),
        ("Do job 4.", "other"),
    ]
    assert not done.rejects


async def test_a_task_with_instruction_and_input_of_another_one_is_a_duplicate():
    tasks = [task("Count."), task("Count.", given="xyz"), task(" Count. ", constraints="None"), task("Sing.")]
    _, done = await made(model(tasks), target=3)
    assert [(row.instruction, row.input) for row in done.rows] == [
        ("Count.", "abc"),
        ("Count.", "xyz"),
        ("Sing.", "abc"),
    ]
    assert reasons(done) == [("duplicate", "task")]


async def test_fields_may_wear_something_and_hold_several_lines_and_any_script():
    said = "\n**Instruction:** Übersetze.\nBitte.\n**Input:** 犬\nと猫\n**Constraints:** None.\n\nThat was one more."
    _, done = await made(model([said]))
    [row] = done.rows
    assert (row.instruction, row.input, row.constraints) == ("Übersetze.\nBitte.", "犬\nと猫", "None.")


# -- outputs


@pytest.mark.parametrize(
    ("constraints", "line"),
    [("One word.", "Constraints: One word.\n"), ("None", ""), ("none.", ""), ("None of them twice.", "Constraints: None of them twice.\n")],
)  # fmt: skip
async def test_the_output_is_asked_for_with_the_constraints_unless_there_are_none(constraints, line):
    generator, done = await made(model([task("Count.", "abc", constraints)]))
    [question] = asked(generator, "output")
    assert question.prompt == f"Instruction: Count.\nInput: abc\n{line}Output:"
    assert (done.rows[0].output, done.rows[0].constraints) == ("Three.", constraints)
    assert ("Constraints: " + constraints in asked(generator, "wording")[0].prompt) is bool(line)


@pytest.mark.parametrize(("said", "reason"), [(" ", "empty"), (Reply("Thr", finish="length"), "truncated")])
async def test_an_output_that_is_none_gives_no_row_and_no_wording(said, reason):
    generator, done = await made(model(output=said), max_candidates=3)
    assert not done.rows
    assert not forms(done)
    assert set(reasons(done)) == {(reason, "output")}
    assert not asked(generator, "wording")


# -- wordings


@pytest.mark.proof("unnatural-instructions", 4)
async def test_all_wordings_of_a_task_share_its_input_and_output_and_contain_the_input():
    generator, done = await made(model([task()], wordings=["How long is {INPUT}?", "{INPUT}\nLetters of {INPUT}?"]))
    [row] = done.rows
    assert [one.instruction for one in row.reformulations] == ["How long is {INPUT}?", "{INPUT}\nLetters of {INPUT}?"]
    assert {(one.input, one.output) for one in row.reformulations} == {("abc", "Three.")}
    assert [(form.prompt, form.alternative) for form in forms(done)] == [
        ("Instruction: Count the letters.\nInput: abc\nConstraints: The output should be a number.", False),
        ("How long is abc?", True),
        ("abc\nLetters of abc?", True),
    ]
    assert {form.completion for form in forms(done)} == {"Three."}
    assert len(asked(generator, "output")) == 1  # copied, not asked for again


async def test_the_prompt_for_a_wording_shows_pairs_that_keep_the_slot_and_never_the_input():
    generator, _ = await made(model([task("Count the beans.", "xyzzy")]))
    prompt = asked(generator, "wording")[0].prompt
    alternatives = re.findall(r"Alternative:(.*(?:\n(?!\n).*)*)", prompt)
    assert len(alternatives) == 4
    assert all("{INPUT}" in alternative for alternative in alternatives[:3])
    assert prompt.endswith("Original: Count the beans.\nInput: {INPUT}\nConstraints: The output should be a number.\nAlternative:")  # fmt: skip
    assert "xyzzy" not in prompt


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("How long is it?", "no_slot"),
        ("How long is {input}?", "no_slot"),
        ("count THE letters. {INPUT}", "same_wording"),
        ("Count the letters.\nInput: {INPUT}", "same_wording"),
        ("How long  is {INPUT}?", "same_wording"),
        ("{INPUT}", "slot_alone"),
        ("", "empty"),
        (Reply("How {INPUT}", finish="length"), "truncated"),
    ],
)
async def test_a_wording_without_the_slot_or_equal_to_another_is_dropped_and_the_task_stays(said, reason):
    _, done = await made(model([task()], wordings=["How long is {INPUT}?", said]))
    assert [one.instruction for one in done.rows[0].reformulations] == ["How long is {INPUT}?"]
    assert reasons(done) == [(reason, "wording")]
    assert len(forms(done)) == 2


@pytest.mark.parametrize("number", [0, 1, 5])
async def test_the_number_of_wordings_is_a_parameter(number):
    generator, done = await made(reformulations_per_example=number)
    assert len(done.rows[0].reformulations) == number
    assert len(asked(generator, "wording")) == bool(number)  # all of one call


async def test_a_task_without_any_wording_is_a_row_all_the_same():
    _, done = await made(model([task()], wordings=["", ""]))
    assert done.rows[0].reformulations == []
    assert [form.alternative for form in forms(done)] == [False]


# -- seeds


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (SEEDS[:14], "14 seeds make no whole groups of 3"),
        (SEEDS[:1], "1 seeds make no whole groups"),
        ([], "."),
        ([{"instruction": "Sing"}] * 3, "input"),
        ([*SEEDS[:2], SEEDS[2] | {"instruction": " "}], "seed 3 of 3 has no instruction"),
        ([SEEDS[0] | {"input": ""}, *SEEDS[1:3]], "seed 1 of 3 has no instruction or no input"),
    ],
)
async def test_seeds_that_fill_no_groups_are_refused_before_the_first_call(seeds, message):
    generator = model()
    with pytest.raises(BadInput, match=message):
        await made(generator, seeds=seeds)
    assert not generator.questions


async def test_a_seed_without_constraints_shows_that_there_are_none():
    rows = [SEEDS[0] | {"constraints": " "}, {name: SEEDS[1][name] for name in ("instruction", "input")}, SEEDS[2]]
    generator, _ = await made(seeds=rows)
    assert re.findall("Constraints: (.*)", generator.questions[0].prompt) == ["None", "None", "Form 2."]


async def test_other_groups_make_other_prompts():
    generator, _ = await made(seeds=SEEDS[:10], examples_per_group=5, target=4)
    prompts = {question.prompt for question in asked(generator, "task")}
    assert len(prompts) == 2
    assert all(prompt.endswith("Example 6") for prompt in prompts)
    assert asked(generator, "task")[0].sampling["stop"][0] == "\nExample 7"


# -- the engine's promises


async def test_rows_name_the_calls_and_the_tasks_that_made_them():
    _, done = await made(target=3)
    for row in [*done.rows, *forms(done)]:
        assert len(row.lineage.parents) == 3
        assert len(row.lineage.calls) == 4  # task, output, two wordings
    assert len({tuple(row.lineage.parents) for row in done.rows}) == 3


async def test_rounds_double_up_to_the_limit():
    generator, _ = await made(target=7, requests_at_once=64)
    assert len(asked(generator, "task")) == 1 + 2 + 4
    generator, _ = await made(target=7, requests_at_once=2)
    assert len(asked(generator, "task")) == 1 + 2 + 2 + 2


async def test_a_call_that_fails_costs_its_own_task_alone():
    _, done = await made(model([Refused("no")]), target=2, allow_failures=True)
    assert len(done.rows) == 2
    assert [failure.error for failure in done.failures] == ["no"]


async def test_a_model_that_says_nothing_ends_the_run():
    _, done = await made(Scripted(lambda _: ""), max_candidates=10)
    assert not done.rows
    assert done.stopped.reason == "candidates"


async def test_a_replay_gives_the_same_rows_and_asks_nothing():
    _, done = await made(target=12, requests_at_once=64)
    again = await replay(done)
    assert again.rows == done.rows
    assert forms(again) == forms(done)
    assert again.calls == 0
