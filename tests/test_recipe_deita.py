"""Deita: scores read off probabilities, summed over turns, and a walk that keeps its distance."""

import random
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from math import log

import numpy as np
import pytest

import gristmill
from gristmill import Conversation, recipe
from gristmill.models.protocol import Reply, Token
from gristmill.recipes.quality.deita import deita, exchanges, expected_score, walked, weighted
from gristmill.rows import Turn
from gristmill.testing import Scripted, folder, replay, run


def said(scores):
    """A first token of the scores' probabilities, as a score or as all six of them."""
    if not isinstance(scores, dict):
        low, high = int(scores), min(6, int(scores) + 1)
        scores = {str(n): 1e-12 for n in range(1, 7)} | {
            str(low): 1 - (scores - low),
            str(high): max(1e-12, scores - low),
        }
        if low == high:
            scores["6"] = 1.0
    ordered = {text: log(value) for text, value in scores.items()}
    first = max(ordered, key=ordered.get)
    return Reply(first, logprobs=[Token(first, ordered[first], ordered)])


def scorer(score):
    """Scores what a prompt says of `##Instruction` (and `##Response`) by a function."""

    def say(question):
        parts = re.findall(r"##\w+: (.*?)(?=\n##)", question.prompt, re.DOTALL)
        return said(score(*parts))

    return Scripted(say, model="scorer")


def talk(*turns, system=""):
    messages = [{"role": "system", "content": system}] if system else []
    for number, content in enumerate(turns):
        messages.append({"role": ("user", "assistant")[number % 2], "content": content})
    return {"messages": messages}


def ordinary(question):
    """A place of its own for each text."""
    return [
        float(x)
        for x in np.random.default_rng(sum(map(ord, question.texts[0])) * 7 + len(question.texts[0])).normal(size=16)
    ]


async def made(seeds, complexity=None, quality=None, place=ordinary, **options):
    roles = {
        "complexity_scorer": complexity or scorer(lambda i: 2),
        "quality_scorer": quality or scorer(lambda i, r: 3),
        "embedder": Scripted(place, model="embedder"),
    }
    return await run(deita, seeds, **roles, **options)


def report(done):
    [found] = list(done.iterate("deita_report"))
    return found


# -- scores


def test_equal_logits_give_3_5_and_mass_on_6_gives_6():
    assert weighted({str(n): -2.0 for n in range(1, 7)}) == pytest.approx(3.5)
    assert weighted({str(n): -1e9 for n in range(1, 6)} | {"6": 0.0}) == 6.0
    assert weighted({str(n): -1e9 for n in range(2, 7)} | {"1": 0.0}) == 1.0
    assert weighted({"1": log(0.25), "6": log(0.75)} | {str(n): -1e9 for n in range(2, 6)}) == pytest.approx(4.75)


def test_only_the_six_scores_count_and_white_space_around_them_does_not():
    logs = {str(n): log(0.1) for n in range(1, 7)}
    assert weighted(logs | {"7": 0.0, "The": 0.0, "66": 0.0}) == pytest.approx(3.5)
    assert weighted({f" {n}": value for n, value in logs.items()}) == pytest.approx(3.5)
    assert weighted(logs | {" 6": log(0.3)}) == pytest.approx((0.1 * 15 + 0.4 * 6) / 0.9)


def test_the_first_token_and_what_it_was_chosen_over_count():
    rivals = {str(n): log(0.1) for n in range(1, 6)}
    first = Token("6", log(0.5), rivals)  # some endpoints leave the chosen token out of its own rivals
    assert expected_score(Reply("6 6", logprobs=[first, Token("1", 0.0, {"1": 0.0})])) == pytest.approx(4.5)


async def test_where_a_score_is_not_among_the_tokens_it_is_3_and_counted():
    five = {str(n): 0.2 for n in range(2, 7)}
    assert weighted({text: log(value) for text, value in five.items()}) is None
    [row] = (await made([talk("q", "a")], complexity=scorer(lambda i: five))).rows
    assert (row.complexity, row.quality, row.final_score, row.missing_scores) == (
        [3.0],
        pytest.approx([3.0]),
        pytest.approx(9.0),
        1,
    )
    [row] = (await made([talk("q", "a")], complexity=scorer(lambda i: five), missing_score=1.0)).rows
    assert row.complexity == [1.0]


async def test_a_scorer_without_probabilities_scores_nothing():
    done = await made([talk("q", "a")], quality=Scripted(lambda q: "5", model="mute"))
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], ["no_logprobs"])
    assert (report(done).scored, report(done).mean_score) == (0, None)


async def test_a_scorer_is_asked_for_one_token_with_its_rivals():
    complexity, quality = scorer(lambda i: 2), scorer(lambda i, r: 3)
    await made([talk("Why?", "So.")], complexity, quality)
    for model in (complexity, quality):
        [question] = model.questions
        assert question.kind == "complete"
        assert question.sampling == {"temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    assert "So." not in complexity.prompts[0]
    assert "Why?" in quality.prompts[0]
    assert "So." in quality.prompts[0]


async def test_three_turns_score_the_sum_of_three_products():
    of = {"one": 1, "two": 2, "three": 4}
    to = {"uno": 5, "dos": 3, "tres": 2}
    seed = talk("one", "uno", "two", "dos", "three", "tres", system="Be brief.")
    [row] = (await made([seed], scorer(lambda i: of[i]), scorer(lambda i, r: to[r]))).rows
    assert row.complexity == pytest.approx([1, 2, 4])
    assert row.quality == pytest.approx([5, 3, 2])
    assert row.final_score == pytest.approx(1 * 5 + 2 * 3 + 4 * 2)
    assert [turn.content for turn in row.messages] == ["Be brief.", "one", "uno", "two", "dos", "three", "tres"]


def test_only_an_instruction_with_its_response_is_scored():
    turns = [
        Turn("system", "s"),
        Turn("user", "a"),
        Turn("user", "b"),
        Turn("assistant", "c"),
        Turn("assistant", "d"),
        Turn("user", "e"),
    ]
    assert exchanges(turns) == [("b", "c")]
    assert exchanges([Turn("user", "a"), Turn("assistant", " ")]) == []


async def test_a_conversation_without_an_exchange_is_dropped():
    done = await made([talk("only a question"), talk("q", "a")])
    assert len(done.rows) == 1
    assert [reject.reason for reject in done.rejects] == ["no_turns"]


# -- the walk


async def test_of_two_identical_rows_only_the_first_in_score_order_is_kept():
    seeds = [talk("weak", "same"), talk("strong", "same"), talk("strong", "same")]
    score = {"weak": 1, "strong": 5}
    done = await made(seeds, scorer(lambda i: score[i]), place=lambda q: [1.0, 2.0])
    [row] = done.rows
    assert row.messages[0].content == "strong"
    assert [(r.reason, r.details["similarity"]) for r in done.rejects] == [("too_similar", 1.0)] * 2
    assert {reject.details["to"] for reject in done.rejects} == {"strong\nsame"}


async def test_100_of_1000_are_in_falling_order_and_no_two_are_too_near():
    rng = random.Random(3)
    seeds = [talk(f"{n}", "a") for n in range(1000)]
    scores = {str(n): 1 + 5 * rng.random() for n in range(1000)}
    at = {f"{n}\na": [rng.gauss(0, 1) for _ in range(4)] for n in range(1000)}
    done = await made(seeds, scorer(lambda i: scores[i]), place=lambda q: at[q.texts[0]], size=100)
    assert len(done.rows) == 100
    finals = [row.final_score for row in done.rows]
    assert all(a >= b for a, b in pairwise(finals))
    vectors = np.array([at[row.messages[0].content + "\na"] for row in done.rows])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T - 2 * np.eye(100)
    assert cosines.max() <= 0.9
    # Who is missing among the best was too near to a better one.
    near = [reject for reject in done.rejects if reject.reason == "too_similar"]
    assert near
    assert all(reject.details["similarity"] > 0.9 and reject.details["final_score"] >= finals[-1] for reject in near)
    assert all(r.details["final_score"] <= finals[-1] for r in done.rejects if r.reason == "below_size")
    found = report(done)
    assert (found.rows, found.scored, found.kept, found.too_similar) == (1000, 1000, 100, len(near))
    assert found.below_size == 900 - len(near)
    assert found.mean_kept_score == pytest.approx(sum(finals) / 100)
    assert found.mean_kept_score > found.mean_score
    assert deita.parameters["size"].default == 6000


def test_a_cosine_at_the_threshold_may_stay_and_one_over_it_not():
    vectors = np.array([[1.0, 0.0], [0.9, (1 - 0.81) ** 0.5], [-1.0, 0.0]])
    assert walked(vectors, 9, 0.9)[0] == [0, 1, 2]
    kept, near = walked(vectors, 9, 0.899)
    assert kept == [0, 2]
    assert (near[1].to, near[1].similarity) == (0, pytest.approx(0.9))
    assert walked(vectors, 1, 0.9) == ([0], {})
    assert walked(np.zeros((0, 0)), 5, 0.9) == ([], {})


async def test_only_what_was_kept_keeps_others_away():
    # b is near a, c is near b and not near a: b goes, c stays.
    at = {"a\nx": [1.0, 0.0], "b\nx": [0.95, 0.312], "c\nx": [0.8, 0.6]}
    score = {"a": 6, "b": 5, "c": 4}
    done = await made([talk(n, "x") for n in "cab"], scorer(lambda i: score[i]), place=lambda q: at[q.texts[0]])
    assert [row.messages[0].content for row in done.rows] == ["a", "c"]
    [reject] = done.rejects
    assert reject.details["to"] == "a\nx"


async def test_flagged_rows_can_stay_and_say_so():
    done = await made([talk("a", "x"), talk("b", "x")], place=lambda q: [1.0], keep_flagged=True)
    assert [row.kept for row in done.rows] == [True, False]
    assert not done.rejects


async def test_the_whole_conversation_is_placed():
    texts = []
    await made([talk("q", "a", "q2", "a2")], place=lambda q: texts.append(q.texts[0]) or [1.0])
    assert texts == ["q\na\nq2\na2"]


async def test_an_empty_set_gives_a_report():
    @recipe("none-of-these")
    async def none_of_these(row: Conversation) -> AsyncIterator[Conversation]:
        """Drop all."""
        if not row.messages:
            yield row

    model = Scripted(lambda q: [], model="m")
    done = await gristmill.arun(
        gristmill.Chain([none_of_these, deita]), seeds=[talk("q", "a")], model=model, out=folder() / "run"
    )
    assert (done.rows, report(done).rows, report(done).mean_kept_score) == ([], 0, None)
    assert not model.questions


async def test_a_replay_asks_nothing_and_a_row_knows_its_scores_calls():
    done = await made([talk(f"{n}", "a", "q", "b") for n in range(5)], size=3)
    again = await replay(done)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
    assert all(len(row.lineage.calls) == 4 and len(row.lineage.parents) == 1 for row in done.rows)
