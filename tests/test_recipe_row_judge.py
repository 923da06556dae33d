"""Rows judged in pairs: both orders, and a win only where they agree."""

import pytest

from gristmill.ops.ask import Bad
from gristmill.recipes.quality.row_judge import read, row_judge
from gristmill.testing import Scripted, replay, run

PAIR = [{"first": "Q: 1+1? A: 2.", "second": "Q: 1+1? A: 3.", "first_of": "evol", "second_of": "magpie"}]


def prefers(text: str):
    return lambda q: f"Because.\nBetter: {1 if text in q.messages[0].content.split('[Example 2]')[0] else 2}"


async def test_the_row_that_wins_in_both_orders_wins():
    judge = Scripted(prefers("A: 2."))
    [row] = (await run(row_judge, PAIR, judge=judge)).rows
    assert (row.winner, row.agreed) == ("evol", True)
    assert (row.forward, row.backward) == ("a", "a")
    assert [question.sampling["temperature"] for question in judge.questions] == [0.0, 0.0]
    assert len(judge.prompts) == 2
    assert judge.prompts[0].index("A: 2.") < judge.prompts[0].index("A: 3.")
    assert judge.prompts[1].index("A: 3.") < judge.prompts[1].index("A: 2.")
    [row] = (await run(row_judge, PAIR, judge=Scripted(prefers("A: 3.")))).rows
    assert row.winner == "magpie"


@pytest.mark.parametrize(("said", "agreed"), [("1", False), ("2", False), ("neither", True)])
async def test_a_judge_that_favours_a_place_or_nobody_gives_a_tie(said, agreed):
    [row] = (await run(row_judge, PAIR, judge=Scripted(lambda q: f"Better: {said}"))).rows
    assert (row.winner, row.agreed) == ("tie", agreed)
    assert (row.forward, row.backward) == {"1": ("a", "b"), "2": ("b", "a"), "neither": ("tie", "tie")}[said]


async def test_a_verdict_that_cannot_be_read_is_a_reject():
    done = await run(row_judge, PAIR, judge=Scripted(lambda q: "Both are fine."))
    assert (done.rows, dict(done.reject_counts)) == ([], {"unread_verdict": 1})


async def test_a_long_row_is_cut_for_the_judge():
    judge = Scripted(prefers("a"))
    await run(row_judge, [PAIR[0] | {"first": "a" * 500, "second": "b" * 500}], judge=judge, max_characters=100)
    for prompt in judge.prompts:
        for letter in "ab":
            assert letter * 100 in prompt
            assert letter * 101 not in prompt
    assert row_judge.parameters["max_characters"].default == 6000


def test_the_last_verdict_counts():
    assert read("Better: 1? No.\n**Better: 2**") == "b"
    assert read("better: Example 1") == "a"
    with pytest.raises(Bad):
        read("Better: 12")


async def test_a_replay_asks_nothing():
    done = await run(row_judge, PAIR, judge=Scripted(prefers("A: 2.")))
    nobody = Scripted()
    assert ((await replay(done, model=nobody)).rows, nobody.questions) == (done.rows, [])
