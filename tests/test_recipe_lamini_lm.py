"""LaMini: instructions after three examples of one collection, some about three topics, each answered by its own call."""

import re

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.lamini_lm import SOURCE_OF, Shares, lamini_lm
from gristmill.testing import Scripted, replay, run, text_of

SOURCES = ("self_instruct", "alpaca", "p3", "flan")
SEEDS = [
    {"instruction": f"{source} task number {number}", "source": source} for source in SOURCES for number in range(8)
]
TOPICS = [{"name": f"Topic{number}", "subcategories": 50, "pages": 50} for number in range(6)]
NONE = dict.fromkeys(Shares.__struct_fields__, 0)


def only(*kinds):
    return {**NONE, **dict.fromkeys(kinds, 1)}


def is_writing(question):
    return "<example>" in text_of(question)


def tagged(*texts):
    return "\n".join(f"<example>{text}</example>" for text in texts)


def model(write=None, answer=None):
    """Writes two instructions a call that nobody wrote before, and answers each; other texts on demand."""
    calls = []

    def say(question):
        if not is_writing(question):
            return answer(question) if answer else f"An answer to: {text_of(question)}"
        calls.append(question)
        return write(question) if write else tagged(f"New task {len(calls)} a", f"New task {len(calls)} b")

    return Scripted(say)


async def made(seeds=SEEDS, generator=None, kinds=tuple(SOURCE_OF), **options):
    generator = generator or model()
    options = {"topics": TOPICS, "shares": only(*kinds), "target": 4, "max_candidates": 200, **options}
    return generator, await run(lamini_lm, seeds, generator=generator, **options)


def prompts(generator):
    return [text_of(question) for question in generator.questions if is_writing(question)]


def shown(prompt):
    return re.findall(r"<example>(.*?)</example>", prompt.partition("\n\nAbove are")[0], re.DOTALL)


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- what a prompt shows


@pytest.mark.proof("lamini-lm", 1)
async def test_a_prompt_shows_three_examples_of_one_collection_and_only_the_topic_guided_one_has_three_topics():
    generator, done = await made(target=60, requests_at_once=4)
    topics = {topic["name"] for topic in TOPICS}
    kinds = {row.instruction_source for row in done.rows}
    assert kinds == set(SOURCE_OF)
    seen = set()
    for prompt in prompts(generator):
        examples = shown(prompt)
        assert len(set(examples)) == 3
        [collection] = {example.partition(" ")[0] for example in examples}
        named = re.search(r"deal with these topics: (.+?)\.", prompt)
        seen.add((collection, bool(named)))
        if named:
            assert len(set(named[1].split(", ")) & topics) == 3
        else:
            assert "opic" not in prompt
    assert seen == {("self_instruct", True), ("self_instruct", False), ("p3", False), ("flan", False)}
    assert len({tuple(shown(prompt)) for prompt in prompts(generator)}) > 5


async def test_a_row_keeps_the_topics_of_its_prompt_and_what_it_was_made_from():
    generator, done = await made(kinds=["self_instruct_with_topic"], target=2)
    [prompt] = prompts(generator)
    for row in done.rows:
        assert row.topics == re.search(r"topics: (.+?)\.", prompt)[1].split(", ")
        assert len(row.lineage.parents) == 6  # three seeds and three topics
        assert len(row.lineage.calls) == 2
    _, plain = await made(kinds=["self_instruct_without_topic"], target=2)
    assert [row.topics for row in plain.rows] == [[], []]


async def test_the_prompt_asks_for_twenty_instructions_that_differ_and_for_no_answers():
    generator, _ = await made(kinds=["generated_p3"], target=1)
    [prompt] = prompts(generator)
    for words in ("Think up 20 more", "differ from one another", "write no answers", "laid out as those above"):
        assert words in prompt
    generator, _ = await made(kinds=["generated_p3"], target=1, instructions_per_call=7, examples_per_prompt=5)
    assert "Think up 7 more" in prompts(generator)[0]
    assert len(set(shown(prompts(generator)[0]))) == 5


async def test_the_number_of_topics_is_a_parameter():
    generator, _ = await made(kinds=["self_instruct_with_topic"], target=1, topics_per_prompt=5)
    assert len(re.search(r"topics: (.+?)\.", prompts(generator)[0])[1].split(", ")) == 5


async def test_an_input_is_joined_to_its_instruction():
    seeds = [{"instruction": f"Translate {n}.", "input": "Ein Bär – früh", "source": "flan"} for n in range(3)]
    generator, done = await made(seeds, kinds=["generated_flan", "original_flan"], target=30)
    assert {text for prompt in prompts(generator) for text in shown(prompt)} == {
        f"Translate {n}.\n\nEin Bär – früh" for n in range(3)
    }
    assert {row.instruction for row in done.rows if row.instruction_source == "original_flan"} == {
        f"Translate {n}.\n\nEin Bär – früh" for n in range(3)
    }


# -- topics


@pytest.mark.proof("lamini-lm", 2)
@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ({"name": "History of Bulgarian opera", "subcategories": 50, "pages": 50}, "long_topic"),
        ({"name": "Bulgarian opera singers", "subcategories": 50, "pages": 50}, "long_topic"),
        ({"name": " ", "subcategories": 50, "pages": 50}, "long_topic"),
        ({"name": "Opera", "subcategories": 10, "pages": 50}, "small_topic"),
        ({"name": "Opera", "subcategories": 50, "pages": 10}, "small_topic"),
        ({"name": "Opera", "subcategories": 50}, None),
        ({"name": "Opera", "subcategories": 11, "pages": 11}, None),
        ({"name": "Bulgarian opera"}, None),
    ],
)
async def test_a_topic_is_short_and_has_more_than_ten_subcategories_and_pages(topic, reason):
    generator, done = await made(
        kinds=["self_instruct_with_topic"], topics=[topic, *TOPICS[:2]], target=1, topics_per_prompt=2 if reason else 3
    )
    assert reasons(done) == ([reason] if reason else [])
    named = re.search(r"topics: (.+?)\.", prompts(generator)[0])[1].split(", ")
    assert (topic["name"] in named) is (reason is None)


async def test_topics_that_do_not_fit_are_put_aside_together_and_a_name_counts_once():
    topics = [*TOPICS[:2], {"name": "a b c"}, {"name": "a b c d"}, {"name": "Small", "pages": 1}, {"name": "TOPIC0"}]
    with pytest.raises(BadInput, match="names 3 topics, and 2 are short and common enough"):
        await made(kinds=["self_instruct_with_topic"], topics=topics)
    _, done = await made(kinds=["self_instruct_with_topic"], topics=topics, topics_per_prompt=2, target=1)
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [
        ("long_topic", ["a b c", "a b c d"], {"topics": 2}),
        ("small_topic", ["Small"], {"topics": 1}),
    ]


async def test_the_limits_of_a_topic_are_parameters():
    topics = [{"name": "One two three", "subcategories": 3, "pages": 4}, *TOPICS[:2]]
    limits = {"topic_max_words": 3, "topic_min_subcategories": 3, "topic_min_pages": 4}
    _, done = await made(kinds=["self_instruct_with_topic"], topics=topics, target=1, **limits)
    assert not done.rejects
    for name, value in [("topic_max_words", 2), ("topic_min_subcategories", 4), ("topic_min_pages", 5)]:
        with pytest.raises(BadInput, match="and 2 are short"):
            await made(kinds=["self_instruct_with_topic"], topics=topics, **{**limits, name: value})


# -- replies


@pytest.mark.proof("lamini-lm", 3)
@pytest.mark.parametrize("kind", [kind for kind in SOURCE_OF if kind.startswith(("generated", "self"))])
async def test_a_reply_with_twenty_tagged_instructions_gives_twenty_rows_of_its_source(kind):
    texts = [f"Do the thing number {number}" for number in range(20)]
    generator, done = await made(generator=model(write=lambda _: f"Sure!\n{tagged(*texts)}"), kinds=[kind], target=20)
    assert [row.instruction for row in done.rows] == texts
    assert {row.instruction_source for row in done.rows} == {kind}
    assert len(prompts(generator)) == 1
    assert not done.rejects


@pytest.mark.parametrize(
    ("reply", "kept", "rejected"),
    [
        ("1. Sing a song\n2. Dance", [], [("untagged", "1. Sing a song\n2. Dance")]),
        ("<example>Sing</example>\n<example>Dance\n<example>Run</example>", ["Sing", "Run"], [("untagged", "Dance")]),
        ("<example>Sing</example><example> </example>", ["Sing"], [("empty_instruction", "")]),
        ("<Example>\nSing\nloudly\n</EXAMPLE> and <example>Dan", ["Sing\nloudly"], [("untagged", "Dan")]),
        (Reply("<example>Sing</example> <example>Dan", finish="length"), ["Sing"], [("truncated", "Dan")]),
        (Reply("<example>Sing</example>", finish="length"), ["Sing"], []),
        ("", [], [("untagged", "")]),
    ],
)
async def test_what_is_not_between_two_tags_is_no_instruction(reply, kept, rejected):
    replies = [reply]
    generator = model(write=lambda _: replies.pop() if replies else tagged("The last one"))
    _, done = await made(generator=generator, kinds=["generated_flan"], target=len(kept) + 1)
    assert [row.instruction for row in done.rows] == [*kept, "The last one"]
    assert [(reject.reason, reject.candidate) for reject in done.rejects] == rejected
    assert all(len(reject.calls) == 1 for reject in done.rejects)


@pytest.mark.parametrize("again", ["P3 task   number 1", "alpaca task number 2", "new TASK"])
async def test_an_instruction_that_was_there_before_is_a_duplicate(again):
    generator = model(write=lambda _: tagged("New task", again, f"Task {len(generator.questions)}"))
    _, done = await made(generator=generator, kinds=["generated_p3"], target=2)
    assert (reasons(done), done.rejects[0].details) == (["duplicate"], {"instruction_source": "generated_p3"})
    assert done.rejects[0].candidate == again
    [call] = done.rejects[0].calls
    assert call in done.rows[0].lineage.calls


# -- answers


@pytest.mark.proof("lamini-lm", 4)
async def test_instruction_and_answer_come_from_two_calls_and_the_second_holds_the_instruction_alone():
    generator, done = await made(kinds=["generated_p3", "self_instruct_with_topic"], target=6)
    answers = [question for question in generator.questions if not is_writing(question)]
    assert [[message.role for message in question.messages] for question in answers] == [["user"]] * len(answers)
    assert {row.instruction for row in done.rows} <= {text_of(question) for question in answers}
    for row in done.rows:
        assert row.output == f"An answer to: {row.instruction}"
        assert len(set(row.lineage.calls)) == 2


async def test_a_responder_of_its_own_answers_and_writes_nothing():
    responder = Scripted(lambda question: "Mine.")
    generator, done = await made(kinds=["generated_p3"], responder=responder, target=2)
    assert {row.output for row in done.rows} == {"Mine."}
    assert all(map(is_writing, generator.questions))
    assert not any(map(is_writing, responder.questions))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (" \n", "empty"),
        (Reply("It is", finish="length"), "truncated"),
        ("I'm sorry, but I cannot help with that.", "refused"),
    ],
)
async def test_an_answer_that_is_none_gives_no_row(said, reason):
    def answer(question):
        return said if text_of(question).endswith("1 a") else "Fine."

    _, done = await made(generator=model(answer=answer), kinds=["generated_flan"], target=2)
    assert [row.instruction for row in done.rows] == ["New task 1 b", "New task 2 a"]
    assert reasons(done) == [reason]
    assert done.rejects[0].details == {"instruction": "New task 1 a", "instruction_source": "generated_flan"}


async def test_both_calls_are_sampled_as_the_parameters_say():
    options = {"temperature": 0.3, "max_tokens_per_call": 11, "response_temperature": 0.4, "max_tokens_response": 12}
    for given, writing, answering in (({}, (1.0, 2048), (1.0, 1024)), (options, (0.3, 11), (0.4, 12))):
        generator, _ = await made(kinds=["generated_p3"], target=1, **given)
        for question in generator.questions:
            found = question.sampling["temperature"], question.sampling["max_tokens"]
            assert found == (writing if is_writing(question) else answering)


# -- originals and shares


async def test_originals_are_answered_as_they_are_once_each_and_then_the_run_ends():
    seeds = [*SEEDS, SEEDS[9], {"instruction": "", "source": "alpaca"}]
    generator, done = await made(seeds, kinds=["alpaca", "original_p3"], target=100, instructions_per_call=3)
    assert sorted(row.instruction for row in done.rows) == sorted(
        seed["instruction"] for seed in SEEDS if seed["source"] in ("alpaca", "p3")
    )
    assert all(row.instruction_source == {"a": "alpaca", "p": "original_p3"}[row.instruction[0]] for row in done.rows)
    assert sorted(reasons(done)) == ["duplicate", "empty_instruction"]
    assert not prompts(generator)
    assert {len(row.lineage.parents) for row in done.rows} == {1}


async def test_the_data_sets_of_a_collection_take_turns():
    seeds = [
        {"instruction": f"{dataset}{number}", "source": "flan", "dataset": dataset}
        for dataset, size in (("a", 9), ("b", 2), ("c", 2))
        for number in range(size)
    ]
    _, done = await made(seeds, kinds=["original_flan"], target=13)
    order = [row.instruction for row in done.rows]
    assert [set("".join(order[start : start + 3])) & set("abc") for start in (0, 3)] == [set("abc")] * 2
    assert {text[0] for text in order[6:]} == {"a"}
    assert [text for text in order if text[0] == "a"] != sorted(text for text in order if text[0] == "a")


async def test_shares_say_how_often_a_source_has_its_turn_and_one_without_share_never_has():
    shares = {**NONE, "generated_p3": 3, "generated_flan": 1}
    generator, _ = await made(target=400, shares=shares, max_candidates=1000)
    collections = [shown(prompt)[0].partition(" ")[0] for prompt in prompts(generator)]
    assert set(collections) == {"p3", "flan"}
    assert 2 < collections.count("p3") / collections.count("flan") < 4.5  # 200 calls, 3 to 1
    assert lamini_lm.settings({"shares": {"alpaca": 7}})["shares"] == Shares(alpaca=7)
    assert sum(getattr(Shares(), kind) for kind in SOURCE_OF) == pytest.approx(2.58)


async def test_a_source_without_seeds_is_left_out():
    seeds = [seed for seed in SEEDS if seed["source"] == "p3"]
    _, done = await made(seeds, target=30)
    assert {row.instruction_source for row in done.rows} == {"generated_p3", "original_p3"}


@pytest.mark.parametrize(
    ("seeds", "kinds", "message"),
    [
        (SEEDS[:8], ["alpaca"], "no source has both seeds and a share"),
        ([], list(SOURCE_OF), "."),
        (SEEDS[:2], list(SOURCE_OF), "shows 3 examples of 'self_instruct', and there are 2"),
        ([{"instruction": "Sing", "source": "other"}], list(SOURCE_OF), "other"),
        ([{"task": "Sing"}], list(SOURCE_OF), "instruction"),
    ],
)
async def test_seeds_that_cannot_do_are_refused_before_the_first_call(seeds, kinds, message):
    generator = model()
    with pytest.raises(BadInput, match=message):
        await made(seeds, generator=generator, kinds=kinds)
    assert not generator.questions


# -- the engine's promises


async def test_answers_are_asked_for_in_rounds_that_double_up_to_a_limit():
    texts = [f"Do the thing number {number}" for number in range(20)]
    for target, limit, calls in ((1, 64, 1), (2, 64, 3), (20, 64, 20), (4, 2, 5)):
        generator, _ = await made(
            generator=model(write=lambda _: tagged(*texts)),
            kinds=["generated_p3"],
            target=target,
            requests_at_once=limit,
        )
        assert sum(not is_writing(question) for question in generator.questions) == calls


async def test_a_call_that_fails_costs_its_own_reply_alone():
    failing = [Refused("no")]
    generator = model(write=lambda _: failing.pop() if failing else tagged("Sing", "Dance"))
    _, done = await made(generator=generator, kinds=["generated_p3"], target=2, allow_failures=True)
    assert [row.instruction for row in done.rows] == ["Sing", "Dance"]
    assert [failure.error for failure in done.failures] == ["no"]


async def test_a_model_that_says_nothing_ends_the_run():
    _, done = await made(generator=Scripted(lambda _: ""), kinds=["generated_p3"], max_candidates=20)
    assert not done.rows
    assert done.stopped.reason == "candidates"


async def test_a_replay_asks_nothing_and_another_seed_draws_otherwise():
    _, done = await made(target=30)
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0
    _, other = await made(target=30, seed=1)
    assert [row.instruction_source for row in other.rows] != [row.instruction_source for row in done.rows]
