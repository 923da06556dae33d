"""MetaMath: four types of questions from one, and nothing is kept whose answer is not the one that is known."""

import re
from collections import Counter

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.augmentation import metamath as module
from gristmill.recipes.augmentation.metamath import TYPES, last_clause, masks, metamath
from gristmill.testing import Scripted, replay, run

BAKERY = (
    "A bakery sells rolls in bags of 6. On Monday it sold 24 bags, and on Tuesday 5 bags fewer. "
    "How many rolls did it sell on both days?"
)
SEED = {"question": BAKERY, "answer": "258"}
NUMBERS = ["6", "24", "5"]
CLAUSE = "How many rolls did it sell on both days?"
STATEMENT = "It sold 258 rolls on both days."
ALL = dict.fromkeys(TYPES, 100)


def only(*types, count=100):
    return dict.fromkeys(types, count)


def task(question):
    """What a call is for."""
    text = question.messages[1].content
    if text.endswith("\nRephrased question:"):
        return "rephrase"
    if text.endswith("\nStatement:"):
        return "state"
    assert text.endswith("\nA: Let's think step by step.")
    return "backward" if re.search(r"The value of [xX] is", text) else "solve"


def query(question):
    """What the last, open example of a prompt asks."""
    return re.findall(r"Question: (.*)\n(?:A:|Rephrased question:|Answer:)", question.messages[1].content)[-1]


def missing(masked, numbers=NUMBERS):
    """The number of the bakery that a masked question does not show."""
    [number] = [number for number in numbers if not re.search(rf"\b{number}\b", masked)]
    return number


def model(**says):
    """A model that knows the bakery; `says` gives other replies by task, as texts or functions of the question."""
    count = iter(range(10_000))
    replies = {
        "solve": lambda q: f"Way {next(count)}: 6 * 24 + 6 * 19 = 258. The answer is 258.",
        "rephrase": lambda q: f"Say {next(count)}: bags hold 6 rolls, 24 were sold, then 5 fewer. How many rolls?",
        "state": STATEMENT,
        "backward": lambda q: f"Way {next(count)}: backwards. The value of x is {missing(query(q))}.",
        **says,
    }

    def say(question):
        reply = replies[task(question)]
        return reply(question) if callable(reply) else reply

    return Scripted(say)


def asked(scripted, what):
    return [question for question in scripted.questions if task(question) == what]


# -- masking, without a model


@pytest.mark.parametrize(
    ("question", "dataset", "numbers"),
    [
        (BAKERY, "gsm8k", NUMBERS),
        ("It costs $1,250.50, or 25% less than 3/4 of $12.", "gsm8k", ["1,250.50", "25", "3/4", "12"]),
        ("Half of the twelve ate one cake; a fifth ran 5km a-3.", "gsm8k", ["Half", "twelve", "one", "fifth"]),
        ("Half of 12 boys", "math", ["12"]),
        ("If $x^2 = 9$ and $7$ is prime, what is 2x?", "math", ["9", "7"]),
        ("How many are left?", "gsm8k", []),
        ("He has 5\nand, \r\n6\tcats.", "gsm8k", ["5", "6"]),
        ("He has 5, 5 and 5.", "gsm8k", ["5", "5", "5"]),
    ],
)
def test_each_number_of_a_question_gives_one_variant_in_which_it_alone_is_the_unknown(question, dataset, numbers):
    found = masks(question, dataset, "@")
    assert [masked.number for masked in found] == numbers
    assert len({masked.question for masked in found}) == len(numbers)
    for masked in found:
        assert masked.question.count("@") == 1
        assert masked.question.replace("@", masked.number) == question


async def test_all_variants_of_a_question_are_asked_for_backwards_and_no_call_makes_them():
    scripted = model()
    done = await run(metamath, [SEED], generator=scripted, mix=only("FOBAR"), backward_samples=1)
    assert {task(question) for question in scripted.questions} == {"backward"}
    assert len(scripted.questions) == len(NUMBERS)
    assert {row.answer for row in done.rows} == set(NUMBERS)


async def test_a_question_without_a_number_gives_no_backward_item():
    scripted = model(solve="It is so. The answer is 2.")
    done = await run(metamath, [{"question": "How many wings has a bird?", "answer": "2"}], generator=scripted)
    assert {row.type for row in done.rows} == {"AnsAug", "Rephrased"}
    assert not asked(scripted, "backward") + asked(scripted, "state")
    assert "no_number" in [r.reason for r in done.rejects]
    done = await run(metamath, [{"question": "Wings?", "answer": "2"}], generator=scripted, mix=only("AnsAug"))
    assert "no_number" not in [r.reason for r in done.rejects]


# -- forward


async def test_only_solutions_that_arrive_at_the_known_answer_are_kept():
    replies = ["So 258. The answer is 258.", "So 260. The answer is 260.", "I do not know.", ""]
    said = iter([*replies, Reply("The answer is 258", finish="length")])
    done = await run(
        metamath, [SEED], generator=model(solve=lambda q: next(said)), mix=only("AnsAug"), ans_aug_samples=5
    )
    [row] = done.rows
    assert (row.instruction, row.output, row.type, row.answer) == (BAKERY, replies[0], "AnsAug", "258")
    assert [(r.reason, r.details["type"]) for r in done.rejects] == [
        ("wrong_answer", "AnsAug"), ("no_answer", "AnsAug"), ("empty", "AnsAug"), ("truncated", "AnsAug"),
    ]  # fmt: skip
    assert (done.rejects[0].details["answer"], done.rejects[0].details["wanted"]) == ("260", "258")


async def test_a_rephrased_question_is_solved_and_one_whose_answer_is_not_the_original_one_never_leaves():
    said = iter(["Good words, 6 and 24 and 5?", "Other sense, 6 and 24?"])
    scripted = model(
        rephrase=lambda q: next(said),
        solve=lambda q: f"The answer is {'258' if 'Good' in query(q) else '288'}.",
    )
    done = await run(metamath, [SEED], generator=scripted, mix=only("Rephrased"))
    assert [query(question) for question in asked(scripted, "rephrase")] == [BAKERY]
    assert {query(question) for question in asked(scripted, "solve")} == {
        "Good words, 6 and 24 and 5?", "Other sense, 6 and 24?",
    }  # fmt: skip
    [row] = done.rows
    assert (row.instruction, row.original_question, row.type) == ("Good words, 6 and 24 and 5?", BAKERY, "Rephrased")
    assert [(r.reason, r.details["type"], r.details["answer"]) for r in done.rejects] == [
        ("wrong_answer", "Rephrased", "288")
    ]


async def test_a_question_that_was_only_repeated_is_not_rephrased():
    scripted = model(rephrase=BAKERY.replace(". ", ".  "))
    done = await run(metamath, [SEED], generator=scripted, mix=only("Rephrased"))
    assert not done.rows
    assert {r.reason for r in done.rejects} == {"not_rephrased"}
    assert not asked(scripted, "solve")


@pytest.mark.parametrize(
    "said",
    ["Rephrased question: Bags of 6?", "Sure! Here is the rephrased question:\n\n**Rephrased question:** Bags of 6?"],
)
async def test_what_the_model_says_around_a_rephrased_question_is_taken_off(said):
    done = await run(metamath, [SEED], generator=model(rephrase=said), mix=only("Rephrased"))
    assert [row.instruction for row in done.rows] == ["Bags of 6?"]
    done = await run(metamath, [SEED], generator=model(rephrase="Rephrased question:"), mix=only("Rephrased"))
    assert ([r.reason for r in done.rejects], done.rows) == (["empty", "empty"], [])


# -- backward


async def test_a_question_with_an_x_of_its_own_gives_no_backward_item_and_one_without_text_nothing():
    scripted = model(solve="The answer is 15.", rephrase="5 times 3?")
    done = await run(metamath, [{"question": "What is 5 x 3?", "answer": "15"}], generator=scripted)
    assert {row.type for row in done.rows} == {"AnsAug", "Rephrased"}
    assert "unknown_taken" in [r.reason for r in done.rejects]
    assert not asked(scripted, "backward") + asked(scripted, "state")
    done = await run(metamath, [{"question": " ", "answer": "15"}], generator=scripted)
    assert ([r.reason for r in done.rejects], done.rows) == (["no_question"], [])


async def test_putting_the_kept_value_for_the_unknown_of_a_fobar_item_gives_the_question_back_with_its_answer():
    done = await run(metamath, [SEED], generator=model(), mix=only("FOBAR"))
    assert len(done.rows) == 6
    for row in done.rows:
        assert "258" in row.instruction
        restored = re.sub(r"\bx\b", row.answer, row.instruction)
        assert restored.startswith(BAKERY)
        assert not row.instruction.startswith(BAKERY)
        assert row.original_question == BAKERY
        assert f"The value of x is {row.answer}" in row.output


async def test_an_sv_item_states_the_answer_in_place_of_the_last_clause_and_its_unknown_is_the_masked_number():
    said = iter([STATEMENT, f"Statement: {STATEMENT}"] * 3)  # with the label of the examples, or without it
    scripted = model(state=lambda question: next(said))
    done = await run(metamath, [SEED], generator=scripted, mix=only("SV"))
    assert len(done.rows) == 6
    for question in asked(scripted, "state"):
        assert question.messages[1].content.endswith(f"Question: {CLAUSE}\nAnswer: 258\nStatement:")
    for row in done.rows:
        restored = re.sub(r"\bx\b", row.answer, row.instruction)
        assert restored.startswith(f"{BAKERY.removesuffix(CLAUSE)}{STATEMENT} What is the value of the unknown ")
        assert row.type == "SV"


@pytest.mark.parametrize("kind", ["SV", "FOBAR"])
async def test_a_backward_solution_with_another_value_is_rejected(kind):
    done = await run(metamath, [SEED], generator=model(backward="The value of x is 7."), mix=only(kind))
    assert not done.rows
    wrong = [r for r in done.rejects if r.reason == "wrong_answer"]
    assert {r.details["wanted"] for r in wrong} == set(NUMBERS)
    assert {(r.details["answer"], r.details["type"]) for r in wrong} == {("7", kind)}


@pytest.mark.parametrize(
    ("question", "rest", "clause"),
    [
        (BAKERY, BAKERY.removesuffix(f" {CLAUSE}"), CLAUSE),
        ("If pens cost $2.50 each, what do 1,000 pens cost?", "If pens cost $2.50 each,", "what do 1,000 pens cost?"),
        ("How many wings have x birds?", "", "How many wings have x birds?"),
        ("He has x cats. Find the number of legs. ", "He has x cats.", "Find the number of legs."),
    ],
)
def test_the_last_clause_follows_the_last_comma_or_full_stop_that_is_no_part_of_a_number(question, rest, clause):
    assert last_clause(question) == (rest, clause)


async def test_a_backward_item_names_the_calls_that_led_to_it_and_none_that_came_later():
    done = await run(metamath, [SEED], generator=model(), mix=only("FOBAR"))
    calls = {row.answer: len(row.lineage.calls) for row in done.rows}
    assert sorted(calls.values()) == [2, 4, 6]  # two samples for each number that was tried


async def test_a_statement_must_keep_the_unknown_that_its_clause_holds():
    seed = {"question": "Rolls cost 2 coins. What do 7 rolls cost?", "answer": "14"}

    def state(question):
        return (
            "They cost 14 coins with tax." if "What do x rolls cost?" in query(question) else "7 rolls cost 14 coins."
        )

    done = await run(
        metamath,
        [seed],
        generator=model(state=state, backward="It is 2. The value of x is 2."),
        mix=only("SV"),
        sv_samples=1,
        backward_samples=1,
    )
    assert [row.instruction for row in done.rows] == ["Rolls cost x coins. 7 rolls cost 14 coins. What is the value of the unknown x?"]  # fmt: skip
    assert [(r.reason, r.candidate) for r in done.rejects] == [("unknown_lost", "They cost 14 coins with tax.")]


async def test_number_words_are_masked_and_their_figures_accepted():
    seed = {"question": "Half of twelve eggs broke. How many?", "answer": "6"}
    values = {"x of twelve": "0.5", "Half of x": "12"}

    def backward(question):
        [value] = [value for mark, value in values.items() if mark in query(question)]
        return f"The value of x is {value}."

    done = await run(metamath, [seed], generator=model(backward=backward), mix=only("FOBAR"), backward_samples=1)
    assert {row.answer for row in done.rows} == {"Half", "twelve"}
    for row in done.rows:
        assert re.sub(r"\bx\b", row.answer, row.instruction).startswith(seed["question"])


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("He has 5. If he eats 2, how many are left?", ("He has 5. If he eats 2,", "how many are left?")),
        ("He has 1,000.5 cats, all old. How many?", ("He has 1,000.5 cats, all old.", "How many?")),
        ("How many is 5?", ("", "How many is 5?")),
    ],
)
def test_the_last_clause_begins_after_the_last_comma_or_full_stop(question, parts):
    assert module.last_clause(question) == parts


@pytest.mark.parametrize(("kind", "made"), [("AnsAug", 2), ("Rephrased", 2), ("SV", 4), ("FOBAR", 2)])
async def test_two_samples_are_taken_of_each_thing_unless_told_otherwise(kind, made):
    count = iter(range(100))
    scripted = model(state=lambda question: f"{STATEMENT} {next(count)}.", backward="The value of x is 258.")
    done = await run(
        metamath, [{"question": "It sold 258 rolls. How many?", "answer": "258"}], generator=scripted, mix=only(kind)
    )
    assert len(done.rows) + len(done.rejects) == made  # SV: two statements, each solved twice


# -- the mix


async def test_types_follow_the_mix_and_no_row_has_another_type():
    done = await run(metamath, [SEED] * 5, generator=model())
    assert Counter(row.type for row in done.rows) == {"AnsAug": 10, "Rephrased": 10, "SV": 5, "FOBAR": 5}
    mix = {"AnsAug": 1, "Rephrased": 2, "SV": 3, "FOBAR": 4}
    done = await run(metamath, [SEED] * 5, generator=model(), mix=mix)
    assert Counter(row.type for row in done.rows) == {kind: 5 * count for kind, count in mix.items()}


async def test_what_a_type_has_too_much_of_is_rejected_by_chance_and_a_type_that_is_not_wanted_costs_nothing():
    scripted = model()
    done = await run(metamath, [SEED] * 20, generator=scripted, mix={"AnsAug": 1}, ans_aug_samples=3, concurrency=1)
    assert Counter(row.type for row in done.rows) == {"AnsAug": 20}
    surplus = [r for r in done.rejects if r.reason == "over_mix"]
    assert len(surplus) == 40
    assert {(r.details["made"], r.details["wanted"]) for r in surplus} == {(3, 1)}
    assert len(scripted.questions) == 20  # three samples a call
    assert {task(question) for question in scripted.questions} == {"solve"}
    assert any(int(row.output.split()[1].rstrip(":")) % 3 for row in done.rows)  # not the first of three each time


async def test_masked_numbers_are_tried_in_random_order_until_the_mix_is_there():
    scripted = model()
    done = await run(metamath, [SEED] * 30, generator=scripted, mix={"FOBAR": 1}, backward_samples=1)
    assert len(scripted.questions) == 30
    assert set(Counter(row.answer for row in done.rows)) == set(NUMBERS)
    scripted = model(backward=lambda q: "The value of x is 5." if missing(query(q)) == "5" else "No.")
    done = await run(metamath, [SEED], generator=scripted, mix={"FOBAR": 1}, backward_samples=1)
    assert [row.answer for row in done.rows] == ["5"]


async def test_an_unknown_type_or_a_negative_number_in_the_mix_is_refused():
    with pytest.raises(BadInput, match="did you mean FOBAR"):
        await run(metamath, [SEED], generator=model(), mix={"FOBAQ": 1})
    with pytest.raises(BadInput, match="-1"):
        await run(metamath, [SEED], generator=model(), mix={"SV": -1})


async def test_exact_duplicates_leave_once():
    done = await run(metamath, [SEED, SEED], generator=model(solve="The answer is 258."), mix=only("AnsAug"))
    assert len(done.rows) == 1
    assert [r.reason for r in done.rejects] == ["duplicate"] * 3  # one in each row, one between them
    scripted = model(rephrase="Same words, 6, 24, 5?")
    await run(metamath, [SEED], generator=scripted, mix=only("Rephrased"))
    assert len(asked(scripted, "solve")) == 1  # what was said twice is solved once


# -- answers


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"answer": "72.0"}, "72"),
        ({"answer": "2.50"}, "2.5"),
        ({"answer": "100"}, "100"),
        ({"answer": "1,200.00"}, "1,200"),
        ({"answer_detail": "6 + 2 = 8\n#### 8"}, "8"),
        ({"answer_detail": "First \\boxed{3}, no: $\\boxed{\\frac{1}{2}}$."}, "\\frac{1}{2}"),
        ({"answer": "5", "answer_detail": "\\boxed{6}"}, "5"),
        ({"answer": "\\boxed{7}"}, "7"),
    ],
)
async def test_the_known_answer_is_cleaned(row, gold):
    scripted = model(backward="The value of x is 6.")
    await run(metamath, [{"question": BAKERY, **row}], generator=scripted, mix=only("FOBAR"), backward_samples=1)
    assert f"is known to be {gold}. What" in query(scripted.questions[0])


async def test_a_question_without_an_answer_is_rejected_before_anything_is_asked():
    scripted = model()
    done = await run(metamath, [{"question": BAKERY, "answer_detail": "Nobody knows."}], generator=scripted)
    assert ([r.reason for r in done.rejects], scripted.questions) == (["no_gold"], [])


@pytest.mark.parametrize(
    ("solution", "dataset", "kept"),
    [
        ("The answer is $258.", "gsm8k", True),
        ("The answer is 129 + 129 = 258 rolls.", "gsm8k", True),
        ("The answer is 300. No: the answer is 258.", "gsm8k", True),
        ("The answer is 258. No: the answer is 300.", "gsm8k", False),
        ("So it sells 258 rolls.", "gsm8k", False),
        ("It sells 258 rolls. The answer is", "gsm8k", False),
        ("Thus $\\boxed{258}$ rolls in 2 days.", "gsm8k", False),
        ("So it sells 258 rolls.", "math", True),
        ("Thus $\\boxed{258}$ rolls in 2 days.", "math", True),
        ("The answer is $\\frac{516}{2}$.", "math", True),
    ],
)
async def test_the_answer_of_a_solution_is_read_by_the_conventions_of_the_dataset(solution, dataset, kept):
    done = await run(metamath, [SEED], generator=model(solve=solution), mix=only("AnsAug"), dataset=dataset)
    assert len(done.rows) == kept
    assert {r.reason for r in done.rejects} <= {"duplicate", "wrong_answer", "no_answer"}


async def test_in_math_the_unknown_is_a_capital_letter():
    scripted = model(backward=lambda q: f"The value of X is {missing(query(q))}.")
    done = await run(metamath, [SEED], generator=scripted, mix=only("SV", "FOBAR"), dataset="math")
    assert len(done.rows) == 6  # the same words twice are one solution
    for row in done.rows:
        assert re.search(r"\bX\b", row.instruction)
        assert not re.search(r"\bx\b", row.instruction)
    assert all(not re.search(r"\bx\b", question.messages[1].content) for question in scripted.questions)


# -- prompts


@pytest.mark.parametrize("name", ["SOLVE", "REPHRASE", "STATE", "SOLVE_BACKWARD"])
def test_every_prompt_shows_eight_examples(name):
    assert getattr(module, name).text.count("\nQuestion:") + getattr(module, name).text.startswith("Question:") == 9


@pytest.mark.parametrize("name", ["SOLVE", "SOLVE_BACKWARD"])
def test_the_arithmetic_of_the_examples_is_right(name):
    text = getattr(module, name).text
    sums = re.findall(r"(?<![\w./])(\d[\d.]*(?: [-+*/] \d[\d.]*)+) = (\d+(?:\.\d+)?)", text)
    assert len(sums) >= 12
    assert all(eval(left) == float(right) for left, right in sums)
    cue = "The answer is" if name == "SOLVE" else "The value of {unknown} is"
    assert len(re.findall(rf"{re.escape(cue)} \d+\.\n", text)) == 8


def test_rephrased_examples_keep_their_numbers():
    pairs = re.findall(r"Question: (.*)\nRephrased question: (.*)\n", module.REPHRASE.text)
    assert len(pairs) == 8
    for before, after in pairs:
        assert sorted(re.findall(r"\d+", before)) == sorted(re.findall(r"\d+", after))


async def test_calls_sample_at_the_given_temperature_after_a_system_message():
    scripted = model()
    await run(metamath, [SEED], generator=scripted)
    for question in scripted.questions:
        assert question.sampling == {"temperature": 0.7, "max_tokens": 512, "stop": ["\nQuestion:"]}
    assert {question.messages[0].role for question in scripted.questions} == {"system"}


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{"question": BAKERY.replace("rolls", f"rolls{i}"), "answer": "258"} for i in range(6)]

    def says():
        return {
            "solve": lambda q: f"{len(query(q))} The answer is {'9' if 'rolls3' in query(q) else '258'}.",
            "rephrase": lambda q: f"Say: {query(q)}",
            "state": STATEMENT,
            "backward": lambda q: f"The value of x is {missing(query(q))}.",
        }

    one = await run(metamath, seeds, generator=model(**says()), concurrency=1, mix=ALL)
    many = await run(metamath, seeds, generator=model(**says()), concurrency=16, mix=ALL)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert one.rejects == many.rejects == again.rejects
    assert {row.type for row in one.rows} == set(TYPES)
    assert again.calls == 0
    assert all(row.lineage.calls for row in one.rows)
