"""GenQA: prompts that chance makes different each time, and questions that do not say where they come from."""

import itertools
import re
import zlib
from collections import Counter

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.recipes.distillation.genqa import (
    BOOSTERS,
    KINDS,
    TASKS,
    beginning,
    chosen_subtopic,
    genqa,
    names,
    read_rounds,
    shipped_topics,
)
from gristmill.testing import Scripted, replay, run, text_of

LISTS = ["generator-conditional", "generator-nested", "generator-uniform"]


def lists(*, topics=0, subtopics=0):
    """What a model writes before its question: lists with names that no question has."""
    first = [f"{number}. Realm{number}" for number in range(1, topics + 1)]
    second = [f"{number}. Craft{number}" for number in range(1, subtopics + 1)]
    return "\n".join([*first, "", *second])


def reply_to(question, *, state=True, asked="Why {n}?", answer="Because of {n}.", n=None):
    text = text_of(question)
    counts = [int(count) for count in re.findall(r"numbered list of (\d+)", text)]
    numbers = [int(number) for number in re.findall(r"down number (\d+)", text)]
    topics, subtopics = (counts if len(counts) == 2 else [0, *counts]) if counts else (0, 0)
    number = numbers[-1] if numbers else 7
    stated = f"\nSubtopic: Craft{number}\n" if state and subtopics else ""
    n = zlib.crc32(text.encode()) if n is None else n
    rounds = 3 if "conversation" in text else 1
    said = "\n".join(f"Question: {asked.format(n=f'{n} in {i}')}\nAnswer: {answer.format(n=n)}" for i in range(rounds))
    return f"{lists(topics=topics, subtopics=subtopics)}\n{stated}\n{said}"


def writer(**options):
    """No two questions of it are alike."""
    numbers = itertools.count()
    return Scripted(lambda question: reply_to(question, n=next(numbers), **options))


async def made(kind, count=1, model=None, **options):
    options.setdefault("splits", {"academic": 1})
    return await run(genqa, generator=model or writer(), units=count, kinds=[kind], **options)


def said(row):
    return [(turn.role, turn.content) for turn in row.messages]


# -- the prompts


@pytest.mark.proof("genqa", 1)
async def test_nested_prompts_carry_two_numbers_within_the_lists_new_in_each_call_and_the_same_by_the_same_seed():
    runs = []
    for seed in (0, 0, 1):
        model = writer()
        done = await made("generator-nested", 60, model, seed=seed, concurrency=1)
        pairs = [tuple(map(int, re.findall(r"down number (\d+) of", prompt))) for prompt in model.prompts]
        assert all(len(pair) == 2 and min(pair) >= 1 and max(pair) <= 60 for pair in pairs)
        assert len(set(pairs)) > 55  # of 3,600: two alike come up about once in two runs
        assert pairs[0] != pairs[1]
        draws = [(row.lineage.draws["topic_number"], row.lineage.draws["subtopic_number"]) for row in done.rows]
        assert draws == pairs
        runs.append(pairs)
    assert runs[0] == runs[1] != runs[2]
    flat = [number for pairs in runs for pair in pairs for number in pair]
    assert min(flat) <= 2  # of 360 draws; none of 1 and 2 has odds of 5 in a million
    assert max(flat) >= 59
    assert len({number for number, _ in runs[0]} - {number for _, number in runs[0]}) > 5  # drawn apart


@pytest.mark.proof("genqa", 2)
async def test_uniform_prompts_carry_no_index_and_static_ones_ask_for_no_list():
    for kind, listing, index in (
        ("static", 0, 0),
        ("static-conditional", 0, 0),
        ("generator-conditional", 1, 1),
        ("generator-nested", 2, 2),
        ("generator-uniform", 2, 0),
    ):
        model = writer()
        await made(kind, 10, model)
        for prompt in model.prompts:
            assert prompt.count("numbered list") == listing
            assert len(re.findall(r"number \d+ of", prompt)) == index
            assert re.findall(r"\d+", prompt) == (
                ["60", "60"] if kind == "generator-uniform" else re.findall(r"\d+", prompt)
            )
            if kind.startswith("static"):
                assert not re.search(r"\d|\blist", prompt)
            else:
                assert "it must not ask about the subtopic itself" in prompt


async def test_every_prompt_but_the_static_one_forbids_to_name_what_the_question_comes_from():
    for kind, said in (
        ("static-conditional", 'the name "bees" must not be in the question'),
        ("generator-conditional", "Do not name the subtopic in the question."),
        ("generator-nested", "Use no word of the subtopic's name in the question."),
        ("generator-uniform", "Use no word of the subtopic's name in the question."),
    ):
        await made(kind, 1, model := writer(), topics=["bees"])
        assert said in model.prompts[0]


async def test_conditional_prompts_name_a_topic_that_is_drawn_from_the_list():
    for kind in ("static-conditional", "generator-conditional"):
        model = writer()
        done = await made(kind, 40, model, topics=["bees", "locks", "tides"])
        drawn = [row.lineage.draws["topic"] for row in done.rows]
        assert set(drawn) == {"bees", "locks", "tides"}
        for topic in set(drawn):
            assert sum(topic in prompt for prompt in model.prompts) == drawn.count(topic)
    model = writer()
    done = await made("generator-conditional", 5, model)
    assert {row.lineage.draws["topic"] for row in done.rows} <= set(shipped_topics())
    assert len(shipped_topics()) == 30
    assert all("numbered list of 40 subtopics" in prompt for prompt in model.prompts)
    numbers = [row.lineage.draws["subtopic_number"] for row in (await made("generator-conditional", 200)).rows]
    assert {min(numbers), max(numbers)} == {1, 40}


async def test_the_lengths_of_the_lists_can_be_chosen():
    model = writer()
    done = await made("generator-nested", 30, model, topics_per_list=3, subtopics_nested=2)
    assert all("list of 3 topics" in prompt and "list of 2 subtopics" in prompt for prompt in model.prompts)
    assert {row.lineage.draws["topic_number"] for row in done.rows} == {1, 2, 3}
    assert {row.lineage.draws["subtopic_number"] for row in done.rows} == {1, 2}
    model = writer()
    await made("generator-conditional", 1, model, subtopics_conditional=5)
    assert "list of 5 subtopics" in model.prompts[0]


async def test_every_prompt_ends_with_one_of_six_boosters():
    model = writer()
    await run(genqa, generator=model, units=200, kinds=list(KINDS))
    ends = Counter(prompt.rpartition("\n\n")[2] for prompt in model.prompts)
    assert set(ends) == {booster.text for booster in BOOSTERS}
    assert len(BOOSTERS) == 6


async def test_kinds_and_splits_are_drawn_anew_and_the_row_names_them_with_its_prompt():
    model = writer()
    done = await run(genqa, generator=model, units=120, concurrency=1)
    assert Counter(row.template for row in done.rows).keys() == {"generator-conditional", "generator-nested"}
    assert {row.category for row in done.rows} == set(TASKS)
    assert [row.prompt for row in done.rows] == model.prompts
    for row in done.rows:
        task = TASKS[row.category](dialog_rounds="3 to 5")
        assert task in row.prompt
        assert row.prompt.count("numbered list") == (2 if row.template == "generator-nested" else 1)
    every = await run(genqa, generator=writer(), units=60, kinds=list(KINDS))
    assert {row.template for row in every.rows} == set(KINDS)


async def test_splits_are_drawn_by_their_odds():
    done = await made("static", 100, splits={"math": 9, "code": 1, "task": 0})
    counts = Counter(row.category for row in done.rows)
    assert counts.keys() == {"math", "code"}
    assert counts["code"] < 25
    for bad in ({"math": 0}, {}, {"chemistry": 1}, {"math": -1}):
        with pytest.raises(BadInput, match="splits"):
            await made("static", splits=bad)


async def test_a_dialog_asks_for_rounds_and_marks_each_message():
    model = writer()
    done = await made("generator-nested", 1, model, splits={"dialog": 1}, dialog_rounds="2 or 4")
    assert "2 or 4 rounds" in model.prompts[0]
    assert "each message of the user" in model.prompts[0]
    assert [turn.role for turn in done.rows[0].messages] == ["user", "assistant"] * 3
    one = Scripted(lambda question: reply_to(question).rpartition("Question:")[0].rpartition("Question:")[0])
    done = await made("generator-nested", 1, one, splits={"dialog": 1})
    assert [reject.reason for reject in done.rejects] == ["one_round"]


async def test_sampling_and_topics_are_as_given():
    model = writer()
    await made("static", 1, model, temperature=0.3, max_tokens_reply=99)
    await made("static", 1, model)
    assert [question.sampling for question in model.questions] == [
        {"temperature": 0.3, "max_tokens": 99},
        {"temperature": 1.0, "max_tokens": 3072},
    ]
    for bad in ([], [" "]):
        with pytest.raises(BadInput, match="topics"):
            await made("static-conditional", topics=bad)
    with pytest.raises(BadInput, match="kinds"):
        await run(genqa, generator=writer(), units=1, kinds=[])


# -- what is kept of a reply


@pytest.mark.proof("genqa", 3)
@pytest.mark.parametrize("kind", LISTS)
async def test_a_row_holds_question_and_answer_alone_and_nothing_of_the_lists(kind):
    done = await made(kind, 5)
    assert len(done.rows) == 5
    for row in done.rows:
        assert [role for role, _ in said(row)] == ["user", "assistant"]
        assert re.fullmatch(r"Why \d+ in 0\?", row.messages[0].content)
        assert re.fullmatch(r"Because of \d+\.", row.messages[1].content)
        assert not any(name in turn.content for turn in row.messages for name in ("Realm", "Craft", "Subtopic"))


def test_the_last_question_of_a_reply_is_meant_and_what_came_before_is_thrown_away():
    text = "1. A\nQuestion: a draft?\nAnswer: no\n\n**Question:** The real one?\n\n**Answer:** Yes.\nIn 2 steps."
    assert read_rounds(text, dialog=False) == ["The real one?", "Yes.\nIn 2 steps."]
    assert read_rounds("Question: a?\nAnswer: b\nquestion: c?\nanswer: d", dialog=True) == ["a?", "b", "c?", "d"]


HEADED = "Subtopic: Blue glass\n\n## Question\nWhy does it break?\n\n**Answer**\nIt is brittle."


@pytest.mark.parametrize("kind", LISTS)
async def test_marks_that_stand_alone_on_their_line_need_no_colon(kind):
    done = await made(kind, 1, Scripted([HEADED]))
    assert (done.rows[0].subtopic, said(done.rows[0])) == (
        "Blue glass",
        [("user", "Why does it break?"), ("assistant", "It is brittle.")],
    )
    done = await made(kind, 1, Scripted([HEADED]), splits={"dialog": 1})
    assert [reject.reason for reject in done.rejects] == ["one_round"]
    again = f"{HEADED}\n\n## Question\nAnd what bends?\n\n## Answer\nLead."
    done = await made(kind, 1, Scripted([again]), splits={"dialog": 1})
    assert [text for _, text in said(done.rows[0])] == [
        "Why does it break?", "It is brittle.", "And what bends?", "Lead.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("Why? Because.", "missing_section"),
        ("Question: Why?", "missing_section"),
        ("Answer: So.\nQuestion: Why?", "missing_section"),
        ("Question: Why?\nAnswer: \n", "empty_section"),
        ("Question:\nAnswer: So.", "empty_section"),
        (Reply("Question: Why?\nAnswer: So", finish="length"), "truncated"),
    ],
)
@pytest.mark.parametrize("split", ["academic", "dialog"])
async def test_a_reply_without_both_marks_or_with_nothing_behind_them_is_dropped(reply, reason, split):
    done = await made("static", 1, Scripted([reply]), splits={split: 1})
    assert not done.rows
    [reject] = done.rejects
    assert reject.reason == reason
    assert (reject.details["template"], reject.details["category"]) == ("static", split)


@pytest.mark.proof("genqa", 4)
async def test_of_two_questions_with_equal_first_two_sentences_one_is_kept():
    asked = ["A bee dances. What does it say? Mind the sun.", "A bee dances. What does it say? Mind the rain.",
             "A bee dances. What does it see? Mind the sun."]  # fmt: skip
    model = Scripted([f"Question: {one}\nAnswer: So." for one in asked])
    done = await made("static", 3, model, concurrency=1)
    assert [row.messages[0].content for row in done.rows] == [asked[0], asked[2]]
    assert [reject.reason for reject in done.rejects] == ["duplicate"]
    assert beginning(done.rows[0]) == "A bee dances. What does it say?"


# -- the subtopic


@pytest.mark.parametrize(
    ("kind", "asked", "named"),
    [
        ("generator-conditional", "Why does Craft7 hold?", ["craft7"]),
        ("generator-nested", "Why does CRAFT7 hold?", ["craft7"]),
        ("generator-uniform", "Why does craft7's joint hold?", ["craft7"]),
        ("static-conditional", "Why do honey bees dance?", ["honey", "bees"]),
    ],
)
async def test_a_question_that_names_its_subtopic_is_dropped(kind, asked, named):
    def reply(question):
        return re.sub("Craft\\d+\n", "Craft7\n", reply_to(question, asked=asked))

    done = await made(kind, 1, Scripted(reply), topics=["Honey bees"])
    assert not done.rows
    [reject] = done.rejects
    assert (reject.reason, reject.details["words"]) == ("names_subtopic", named)
    assert reject.details["subtopic"] == {"static-conditional": "Honey bees"}.get(kind, "Craft7")


@pytest.mark.parametrize(
    ("kind", "kept"), [("generator-conditional", 1), ("generator-nested", 0), ("generator-uniform", 0)]
)
async def test_a_part_of_the_name_does_no_harm_where_the_whole_name_is_meant(kind, kept):
    def reply(question):
        return re.sub("Craft\\d+\n", "Blue glass\n", reply_to(question, asked="Why does glass break?"))

    assert len((await made(kind, 1, Scripted(reply))).rows) == kept
    part = Scripted(lambda question: reply_to(question, asked="Why do bees dance?"))
    assert len((await made("static-conditional", 1, part, topics=["Honey bees"])).rows) == 1


def test_a_whole_name_counts_for_the_conditional_kinds_and_any_word_that_says_something_for_the_others():
    subtopic = "The history of glass"
    assert names("What is the history of glass?", subtopic, whole=True) == ["the", "history", "of", "glass"]
    assert names("What of the glass in history?", subtopic, whole=True) == []
    assert names("What of the glass in history?", subtopic, whole=False) == ["history", "glass"]
    assert names("What is the use of sand?", subtopic, whole=False) == []
    assert names("Why does a glassy stone shine?", subtopic, whole=False) == []
    assert names("蜜蜂为什么跳舞?", "蜜蜂", whole=True) == ["蜜", "蜂"]
    assert names("Why?", "", whole=True) == names("Why?", "", whole=False) == []


@pytest.mark.parametrize(
    ("before", "count", "number", "found"),
    [
        ("1. A\n2. B\n\nSubtopic: B\n", 2, 2, "B"),
        ("1. A\n2. B\n\n**Subtopic:** 2. **Blue glass**.\n", 2, 2, "Blue glass"),
        ('Chosen subtopic 2: "B"\n', 2, 2, "B"),
        ("Subtopic: an early one\nSubtopic: B\n", 2, 2, "B"),
        ("1. X\n2. Y\nX it is.\n1. A\n2. B\n", 2, 1, "A"),
        ("1. X\n2. Y\n1. A\n2. B\n", 2, 2, "B"),
        ("1. A\n", 2, 1, None),
        ("1. A\n2. B\n", 2, 0, None),
        ("Subtopic 1: A\nSubtopic 2: B\nSubtopic 3: C\n", 3, 2, "B"),
        ("Subtopic 1: A\nSubtopic 2: B\nSubtopic: A\n", 2, 2, "A"),
        ("Subtopic 1: A\nSubtopic 2: B\n", 2, 0, None),
        ("Subtopics: A, B\n", 2, 1, None),
        ("Subtopic: **.**\n", 1, 1, None),
    ],
)
def test_the_subtopic_is_read_as_stated_or_else_from_the_last_list(before, count, number, found):
    text = f"{before}Question: Why?\nAnswer: Subtopic: no"
    if found is None:
        with pytest.raises(Bad, match="no_subtopic"):
            chosen_subtopic(text, count, number)
    else:
        assert chosen_subtopic(text, count, number) == found


@pytest.mark.parametrize("before", ["1. A\n2. B\n", "Subtopic: B\n"])
@pytest.mark.parametrize("answer", ["1. X\n2. Y", "Subtopic: X"])
def test_of_a_dialog_the_subtopic_stands_before_the_first_question_and_not_in_an_answer(before, answer):
    text = f"{before}Question: Why?\nAnswer: So:\n{answer}\nQuestion: And?\nAnswer: No."
    assert chosen_subtopic(text, 2, 2, dialog=True) == "B"


async def test_of_a_dialog_the_subtopic_is_kept_that_stands_before_it():
    listed = "Subtopic: B\nQuestion: Why?\nAnswer: So:\nSubtopic: X\nQuestion: And?\nAnswer: No."
    done = await made("generator-nested", 1, Scripted([listed]), splits={"dialog": 1})
    assert [row.subtopic for row in done.rows] == ["B"]


async def test_the_row_names_the_subtopic_and_a_reply_that_tells_none_is_dropped():
    for kind in ("generator-conditional", "generator-nested"):
        for state in (True, False):
            done = await made(kind, 3, writer(state=state))
            assert [row.subtopic for row in done.rows] == [
                f"Craft{row.lineage.draws['subtopic_number']}" for row in done.rows
            ]
            assert len(done.rows) == 3
    done = await made("generator-uniform", 1, writer(state=False))
    assert [reject.reason for reject in done.rejects] == ["no_subtopic"]
    assert (await made("static")).rows[0].subtopic == ""
    assert (await made("static-conditional", topics=["bees"])).rows[0].subtopic == "bees"


# -- the split that begins with the answer


async def test_general_sends_an_empty_prompt_to_a_second_model_and_has_the_question_written_to_its_answer():
    second = Scripted(["Snow is white because it scatters all light alike."])
    model = Scripted(["Sure!\nQuestion: Why is snow white?"])
    done = await run(genqa, generator=model, unprompted=second, units=1, splits={"general": 1})
    assert [message.content for message in second.questions[0].messages] == [""]
    assert "Snow is white because" in model.prompts[0]
    assert said(done.rows[0]) == [
        ("user", "Why is snow white?"),
        ("assistant", "Snow is white because it scatters all light alike."),
    ]
    assert (done.rows[0].template, done.rows[0].category) == ("general", "general")
    assert done.rows[0].prompt == model.prompts[0]
    assert second.questions[0].sampling == model.questions[0].sampling == {"temperature": 1.0, "max_tokens": 3072}


@pytest.mark.parametrize(
    ("answer", "question", "reason", "calls"),
    [
        ("", "", "empty", 1),
        (Reply("Snow", finish="length"), "", "truncated", 1),
        ("Snow is white.", "What is white?", "missing_section", 2),
        ("Snow is white.", Reply("Question: What", finish="length"), "truncated", 2),
    ],
)
async def test_a_failed_half_of_general_is_a_reject(answer, question, reason, calls):
    models = {"generator": Scripted([question]), "unprompted": Scripted([answer])}
    done = await run(genqa, units=1, splits={"general": 1}, **models)
    assert not done.rows
    assert [(reject.reason, reject.details["category"]) for reject in done.rejects] == [(reason, "general")]
    assert done.calls == calls


async def test_general_is_refused_without_a_second_model_and_left_out_by_default():
    model = writer()
    for odds in ({"general": 1}, {"general": 0.01, "math": 1}):  # also where another split is drawn first
        with pytest.raises(BadInput, match="unprompted"):
            await run(genqa, generator=model, units=1, splits=odds)
    assert not model.questions
    second = Scripted([])
    await run(genqa, generator=writer(), unprompted=second, units=40)
    assert not second.questions


# -- the engine's promises


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    one, many = [
        await run(genqa, generator=Scripted(reply_to), units=30, kinds=list(KINDS), concurrency=concurrency)
        for concurrency in (1, 16)
    ]
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert again.calls == 0
    assert len(one.rows) > 20
