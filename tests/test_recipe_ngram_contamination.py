"""Items of benchmarks as a step of a chain: which rows go, and by which of the four ways."""

import pytest

from gristmill.recipes.quality.ngram_contamination import ngram_contamination
from gristmill.testing import run


def w(*words: int | range) -> str:
    return " ".join(f"w{word}" for part in words for word in ([part] if isinstance(part, int) else part))


ITEM = w(range(60))
BENCHMARKS = [{"text": ITEM, "benchmark": "exam"}, {"text": w(range(500, 560)), "benchmark": "other"}]


def reasons(done) -> list[tuple[str, str]]:
    return [(reject.reason, reject.details["behind"][0]["benchmark"]) for reject in done.rejects]


async def test_rows_that_hold_an_item_go_wherever_in_the_row_it_stands_and_all_others_stay():
    rows = [
        {"prompt": "p", "completion": f"so {ITEM.upper()}!", "n": 0},
        {"prompt": "p", "completion": "so", "reasoning": w(range(500, 560)), "n": 1},
        {"prompt": "p", "completion": "so", "n": 2},
    ]
    done = await run(ngram_contamination, rows, benchmarks=BENCHMARKS)
    assert [row.n for row in done.rows] == [2]
    assert reasons(done) == [("benchmark_13gram", "exam"), ("benchmark_13gram", "other")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (w(range(13), 900), {"ngram"}),
        (w(range(10), 900), {"ngram"}),
        (w(*(part for at in range(0, 60, 10) for part in (range(at, min(60, at + 17)), 900 + at))), {"ngram", "overlap", "span"}),
        ("".join(w(range(60)).split()), {"substring"}),
        (w(range(9), 900), set()),
    ],
    ids=["13", "10", "pieces", "joined", "9"],
)  # fmt: skip
async def test_each_way_takes_what_it_finds_and_nothing_else(text, found):
    for way in ("ngram", "overlap", "span", "substring"):
        done = await run(ngram_contamination, [{"text": text}, {"text": "x"}], benchmarks=BENCHMARKS, ways=[way])
        gone = len(done.rejects) == 1
        assert gone == (way in found) or (way == "substring" and "overlap" in found), way


async def test_an_n_gram_of_ten_words_has_a_reason_of_its_own():
    done = await run(ngram_contamination, [{"text": w(range(10), 900)}], benchmarks=BENCHMARKS)
    assert reasons(done) == [("benchmark_10gram", "exam")]


async def test_words_of_more_rows_than_allowed_are_boilerplate():
    rows = [{"text": w(range(20), 900 + row)} for row in range(11)]
    assert len((await run(ngram_contamination, rows, benchmarks=BENCHMARKS)).rows) == 11
    assert (await run(ngram_contamination, rows[:10], benchmarks=BENCHMARKS)).rows == []
    assert (await run(ngram_contamination, rows, benchmarks=BENCHMARKS, boilerplate_rows=11)).rows == []
