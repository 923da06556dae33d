"""Reliability by sampled answers: agreement, support of sentences, entropy of meanings; and where to cut."""

import re
from math import log

import pytest

from gristmill import BadInput
from gristmill.models.protocol import Reply, Token
from gristmill.recipes.quality.self_consistency_calibration import auroc, lenient_cut, self_consistency_calibration
from gristmill.recipes.quality.self_consistency_reliability import (
    SHORT_ANSWER,
    SUPPORTS,
    grouped,
    is_short,
    self_consistency_reliability,
    semantic_entropy,
)
from gristmill.testing import Scripted, replay, run

SHORT = {"instruction": "What is 6 times 7?", "output": "6 times 7 is 42. The answer is 42."}
LONG = {
    "instruction": "Tell me of Ada Lovelace.",
    "output": "Ada Lovelace wrote on the Analytical Engine of Charles Babbage. She was born in Peru. Her notes hold a program for it.",
}
TRUE = "Ada Lovelace was born in London and wrote notes on the Analytical Engine, with a program."


def sampler(*answers, model="sampler"):
    """Says one after the other, again and again."""
    said = {"count": -1}

    def say(question):
        said["count"] += 1
        return answers[said["count"] % len(answers)]

    return Scripted(say, model=model)


def answers(*values):
    return [f"Let us see. The answer is {value}." for value in values]


def judge(denied=(), unclear=(), same=lambda a, b: a == b):
    """Knows which sentences samples deny, and which answers mean the same."""

    def say(question):
        prompt = question.messages[0].content
        if "First answer:" in prompt:
            first, second = re.search(r"First answer:\n(.*)\n\nSecond answer:\n(.*)", prompt, re.DOTALL).groups()
            return "Yes." if same(first, second) else "no"
        sentence = prompt.rpartition("Sentence: ")[2]
        if any(part in sentence for part in denied):
            return "No"
        return "unclear" if any(part in sentence for part in unclear) else "yes"

    return Scripted(say, model="judge")


async def made(seed, *models, judges=None, **options):
    roles = {"resamplers": list(models)} | ({"judge": judges} if judges else {})
    return await run(self_consistency_reliability, [seed], **roles, **options)


async def rejected(*given, **options):
    return [reject.reason for reject in (await made(*given, **options)).rejects]


# -- short answers


async def test_a_model_that_always_says_otherwise_gives_agreement_0_and_contests_the_row():
    done = await made(SHORT, sampler(*answers(41)))
    assert done.rows == []
    [reject] = done.rejects
    assert (reject.reason, reject.details) == ("contested", {"answer": "42", "majority": "41", "agreement": 0.0})
    [row] = (await made(SHORT, sampler(*answers(41)), keep_flagged=True)).rows
    assert (row.agreement, row.flag, row.majority, row.samples) == (0.0, "contested", "41", 10)
    assert (row.instruction, row.output) == (SHORT["instruction"], SHORT["output"])


async def test_agreement_is_the_share_of_equal_answers_however_they_are_written():
    [row] = (await made(SHORT, sampler(*answers("42", "$42$", "42.0", "41")), k=4)).rows
    assert (row.agreement, row.flag, row.majority) == (0.75, "", "42")
    seed = {"instruction": "Capital of France?", "output": "Paris"}
    [row] = (await made(seed, sampler("paris", *answers("PARIS"), "Paris."), k=3)).rows
    assert row.agreement == 1.0


async def test_exactly_k_answers_are_sampled_a_row():
    for k in (1, 4, 10):
        model = sampler(*answers(42))
        done = await made(SHORT, model, k=k)
        [question] = model.questions
        assert len(done.rows[0].lineage.calls) == k
        assert done.rows[0].samples == k
        assert question.sampling == {"temperature": 0.7, "max_tokens": 1024}
        assert question.messages[0].content == SHORT_ANSWER(question=SHORT["instruction"])
    assert self_consistency_reliability.parameters["k"].default == 10


async def test_too_little_agreement_without_another_majority_is_a_flag_of_its_own():
    done = await made(SHORT, sampler(*answers(42, 42, 1, 2, 3)), k=5)
    assert [(r.reason, r.details) for r in done.rejects] == [("low_agreement", {"agreement": 0.4})]
    assert len((await made(SHORT, sampler(*answers(42, 42, 1, 2, 3)), k=5, min_agreement=0.4)).rows) == 1


async def test_a_tie_does_not_contest():
    [row] = (await made(SHORT, sampler(*answers(41, 42)), k=4)).rows
    assert (row.agreement, row.flag) == (0.5, "")


async def test_of_two_families_the_lower_agreement_counts():
    one, other = sampler(*answers(42), model="one"), sampler(*answers(42, 41, 40, 39), model="other")
    done = await made(SHORT, one, other, k=4)
    assert [(r.reason, r.details) for r in done.rejects] == [("low_agreement", {"agreement": 0.25})]
    [row] = (await made(SHORT, one, sampler(*answers(42), model="third"), k=4)).rows
    assert (row.agreement, row.samples) == (1.0, 8)


async def test_answers_are_compared_by_algebra_on_demand():
    seed = {"instruction": "Expand.", "output": "The answer is $x^2+2x+1$."}
    says = sampler(*answers("(x+1)^2"))
    assert (await made(seed, says, k=2, keep_flagged=True)).rows[0].agreement == 0.0
    assert (await made(seed, says, k=2, matching="math")).rows[0].agreement == 1.0


async def test_samples_that_cannot_be_read_do_not_count_and_half_of_them_say_nothing():
    talk = "I am not sure, but it could be many things, one after the other, who can say."
    samples = [*answers(42, 42, 42), "", Reply("The answer is 42.", finish="length"), talk]
    done = await made(SHORT, sampler(*samples), k=6)
    assert done.rows == []
    assert sorted(r.reason for r in done.rejects) == ["empty", "no_answer", "too_few_samples", "truncated"]
    assert done.rejects[-1].details == {"read": 3, "asked": 6}
    done = await made(SHORT, sampler(*answers(42, 42, 42), "", talk), k=5)
    assert (done.rows[0].agreement, done.rows[0].samples) == (1.0, 3)


async def test_one_silent_family_is_enough_to_say_nothing():
    done = await made(SHORT, sampler(*answers(42), model="one"), sampler("", model="mute"), k=2)
    assert done.rejects[-1].reason == "too_few_samples"


async def test_a_row_without_an_answer_is_dropped_unasked():
    done = await made({"instruction": "Sing."}, sampler("x"))
    assert (done.calls, [r.reason for r in done.rejects]) == (0, ["no_stored_answer"])


# -- long answers


async def test_a_sentence_planted_as_false_scores_higher_than_its_neighbours():
    done = await made(LONG, sampler(TRUE), judges=judge(denied=["Peru"]), k=4)
    [row] = done.rows
    assert row.sentences[1] == "She was born in Peru."
    assert row.sentence_support == [0.0, 1.0, 0.0]
    assert row.unsupported == pytest.approx(1 / 3)
    assert (row.agreement, row.flag) == (None, "")


async def test_unclear_counts_half_and_the_row_is_dropped_over_the_limit():
    judges = judge(denied=["Peru", "notes"], unclear=["Babbage"])
    done = await made(LONG, sampler(TRUE), judges=judges, k=2)
    [reject] = done.rejects
    assert (reject.reason, reject.details["unsupported"]) == ("unsupported", pytest.approx(2.5 / 3))
    assert reject.candidate["sentence_support"] == [0.5, 1.0, 1.0]
    assert len((await made(LONG, sampler(TRUE), judges=judges, k=2, max_unsupported=0.9)).rows) == 1
    half = judge(unclear=["Ada", "Peru", "notes"])
    assert (await made(LONG, sampler(TRUE), judges=half, k=2)).rows[0].unsupported == 0.5  # at the limit, not over it
    assert await rejected(LONG, sampler(TRUE), judges=judge(denied=["Peru"], unclear=["Ada", "notes"]), k=2) == [
        "unsupported"
    ]


async def test_every_sentence_is_held_against_every_sample_and_the_samples_answer_the_bare_question():
    model, judges = sampler("One.", "Two.", "Three."), judge()
    await made(LONG, model, judges=judges, k=3)
    assert model.questions[0].messages[0].content == LONG["instruction"]
    asked = [prompt for prompt in judges.prompts if "Sentence:" in prompt]
    assert len(asked) == len(set(asked)) == 3 * 3
    assert SUPPORTS(text="Two.", sentence="She was born in Peru.") in asked
    assert {question.sampling["temperature"] for question in judges.questions} == {0.0}


async def test_the_input_belongs_to_the_question():
    model, judges = sampler("One.", "Two."), judge()
    await made(LONG | {"input": "In short."}, model, judges=judges, k=2)
    assert model.questions[0].messages[0].content == f"{LONG['instruction']}\nIn short."
    assert all("Lovelace.\nIn short." in prompt for prompt in judges.prompts if "First answer:" in prompt)


async def test_a_verdict_that_cannot_be_read_does_not_count_and_none_at_all_leaves_the_row_undecided():
    def say(question):
        prompt = question.messages[0].content
        return "yes" if "First answer" in prompt or ("Peru" in prompt and "Text:\nOne" in prompt) else "Hm."

    done = await made(LONG, sampler("One.", "Two."), judges=Scripted(say, model="judge"), k=2)
    assert done.rows == []
    assert done.rejects[-1].reason == "undecided"
    mostly = Scripted(lambda q: "well" if "Text:\nOne" in q.messages[0].content else "yes", model="judge")
    done = await made(LONG, sampler("One.", "Two."), judges=mostly, k=2)
    assert done.rows[0].sentence_support == [0.0] * 3
    assert {r.reason for r in done.rejects} == {"unread_verdict"}


async def test_a_long_answer_needs_a_judge():
    with pytest.raises(BadInput, match="judge"):
        await made(LONG, sampler(TRUE))
    assert is_short("Paris")
    assert is_short("Long. " * 50 + "The answer is 4.")
    assert is_short("Long. " * 50 + "#### 4")
    assert not is_short(LONG["output"])


# -- entropy


@pytest.mark.parametrize("k", [1, 3, 5])
async def test_identical_responses_have_entropy_0_and_k_different_ones_ln_k(k):
    same = (await made(LONG, sampler(TRUE), judges=judge(), k=k)).rows[0]
    other = (await made(LONG, sampler(*[f"Text {n}." for n in range(k)]), judges=judge(), k=k)).rows[0]
    assert same.semantic_entropy == 0.0
    assert other.semantic_entropy == pytest.approx(log(k))
    [short] = (await made(SHORT, sampler(*answers(*range(42, 42 + k))), k=k, keep_flagged=True)).rows
    assert short.semantic_entropy == pytest.approx(log(k))


async def test_two_answers_mean_the_same_only_if_each_implies_the_other():
    samples = ["She was born in London in 1815.", "She was born in London."]
    both = judge(same=lambda a, b: True)
    one_way = judge(same=lambda a, b: len(a) >= len(b))
    assert (await made(LONG, sampler(*samples), judges=both, k=2)).rows[0].semantic_entropy == 0.0
    assert (await made(LONG, sampler(*samples), judges=one_way, k=2)).rows[0].semantic_entropy == pytest.approx(log(2))


async def test_an_unread_verdict_on_meanings_leaves_the_entropy_open():
    mute = Scripted(lambda q: "?" if "First answer" in q.messages[0].content else "yes", model="judge")
    done = await made(LONG, sampler("One.", "Two."), judges=mute, k=2)
    assert (done.rows[0].semantic_entropy, done.rows[0].unsupported) == (None, 0.0)
    assert [r.reason for r in done.rejects] == ["unread_verdict"]


async def test_meanings_can_be_weighed_by_probability():
    likely = Reply("The answer is 42.", logprobs=[Token("a", log(0.6)), Token("b", 0.0)])
    rare = Reply("The answer is 41.", logprobs=[Token("a", log(0.2))])
    wanted = -(0.75 * log(0.75) + 0.25 * log(0.25))
    [row] = (await made(SHORT, sampler(likely, rare), k=2, use_logprobs=True)).rows
    assert row.semantic_entropy == pytest.approx(wanted)
    [row] = (await made(SHORT, sampler(likely, rare), k=2)).rows
    assert row.semantic_entropy == pytest.approx(log(2))
    [row] = (await made(SHORT, sampler(likely, *answers(41)), k=2, use_logprobs=True)).rows
    assert row.semantic_entropy == pytest.approx(log(2))
    assert semantic_entropy([0, 1], [-9000.0, -9000.0]) == pytest.approx(log(2))


async def test_answers_are_grouped_with_the_first_of_a_group():
    async def near(a, b):
        return abs(int(a) - int(b)) <= 1

    assert await grouped(["1", "2", "3", "2", "9"], near) == [0, 0, 1, 0, 2]


async def test_a_replay_asks_nothing():
    done = await made(LONG, sampler("One.", "Two."), judges=judge(denied=["Peru"]), k=4)
    again = await replay(done)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)


# -- calibration


def scored(agreement, correct, **more):
    return {"instruction": "q", "output": "a", "agreement": agreement, "correct": correct} | more


async def test_the_most_lenient_cut_of_the_wanted_precision_is_found_with_its_auroc():
    truth = [(0.1, False), (0.3, False), (0.5, True), (0.6, False), (0.7, True), (0.9, True)]
    seeds = [scored(agreement, correct) for agreement, correct in truth] + [scored(0.8, None), scored(0.2, None)]
    [cut] = (await run(self_consistency_calibration, seeds, wanted_precision=0.75)).rows
    assert (cut.score, cut.rows, cut.known, cut.threshold, cut.precision) == ("agreement", 8, 6, 0.5, 0.75)
    assert cut.passing == 5 / 8
    assert cut.auroc == pytest.approx(8 / 9)
    assert cut.quantiles[0] == 0.1
    [cut] = (await run(self_consistency_calibration, seeds)).rows
    assert (cut.threshold, cut.precision) == (0.7, 1.0)


async def test_of_a_score_that_is_bad_when_high_the_cut_is_an_upper_one():
    seeds = [scored(None, n < 2, unsupported=n / 4) for n in range(4)]
    [cut] = (await run(self_consistency_calibration, seeds)).rows
    assert (cut.score, cut.threshold, cut.precision, cut.auroc, cut.passing) == ("unsupported", 0.25, 1.0, 1.0, 0.5)


async def test_without_truth_only_the_scores_are_told():
    [cut] = (await run(self_consistency_calibration, [scored(0.5, None), scored(1.0, None)])).rows
    assert (cut.known, cut.auroc, cut.threshold, cut.precision, cut.passing) == (0, None, None, None, None)
    assert cut.quantiles[2] == 0.75


async def test_it_takes_the_rows_of_a_run():
    seeds = [SHORT | {"correct": True}, {**SHORT, "output": "41", "correct": False}]
    done = await run(
        self_consistency_reliability, seeds, resamplers=[sampler(*answers(42))], keep_flagged=True, k=2
    )  # fmt: skip
    [cut] = (await run(self_consistency_calibration, done.rows)).rows
    assert (cut.threshold, cut.auroc, cut.known) == (1.0, 1.0, 2)


def test_auroc_counts_equal_scores_half():
    assert auroc([1, 1], [True, False]) == 0.5
    assert auroc([1, 2], [True, False]) == 0.0
    assert auroc([1.0], [True]) is None
    assert lenient_cut([1.0, 2.0], [False, False], 0.5) is None


def test_a_cut_of_exactly_the_wanted_precision_is_one_whatever_floats_make_of_the_product():
    assert 0.56 * 25 > 14
    assert lenient_cut([0.5] * 25, [at < 14 for at in range(25)], 0.56) == (0.5, 0.56)
    assert lenient_cut([0.5] * 25, [at < 13 for at in range(25)], 0.56) is None


def test_equal_scores_pass_together():
    assert lenient_cut([0.5, 0.5, 0.9], [True, False, True], 0.7) == (0.9, 1.0)
    assert lenient_cut([0.9, 0.5, 0.5], [False, True, True], 0.6) == (0.5, pytest.approx(2 / 3))
