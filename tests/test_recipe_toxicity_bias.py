"""Toxicity as a step of a chain: what is toxic goes, but not what is meant as safety data or only names somebody."""

import pytest

from gristmill.quality import toxicity
from gristmill.recipes.quality.toxicity_bias import toxicity_bias
from gristmill.testing import run


@pytest.fixture(autouse=True)
def by_word_list(monkeypatch):
    """The scores of the word list, whatever is installed: 0.9 aimed at somebody, 0.6 alone, 0.3 quoted."""
    monkeypatch.setattr(toxicity, "scorer", lambda: ("word list", toxicity.word_list_scores))


ROWS = [
    {"text": "You are an idiot.", "note": "fine", "meant": "no", "n": 0},
    {"text": "What an idiot plan.", "note": "fine", "meant": "no", "n": 1},
    {"text": "He called me an idiot.", "note": "You idiot", "meant": "no", "n": 2},
    {"text": "You are an idiot.", "note": "fine", "meant": "yes", "n": 3},
    {"text": "The Muslim woman spoke.", "note": "fine", "meant": "no", "n": 4},
]


async def kept(**options: object) -> list[int]:
    return [row.n for row in (await run(toxicity_bias, ROWS, **options)).rows]


async def test_rows_above_the_threshold_go_and_no_row_for_whom_it_names():
    assert await kept() == [2, 4]
    assert await kept(threshold=0.6) == [1, 2, 4]  # not above it
    assert await kept(threshold=0.2) == [4]
    done = await run(toxicity_bias, ROWS)
    assert {reject.reason for reject in done.rejects} == {"toxic"}
    assert done.rejects[0].details["score"] == 0.9


async def test_the_column_of_safety_data_and_that_of_the_text_are_the_users():
    assert await kept(safety="meant") == [2, 3, 4]
    assert await kept(column="note") == [0, 1, 3, 4]
