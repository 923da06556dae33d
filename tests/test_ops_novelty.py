"""Novelty: the fast comparison equals ROUGE-L by the book."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.ops import novelty
from gristmill.ops.novelty import Novelty
from gristmill.ops.text import words

TEXTS = st.text("ab cdé., ÄЖ中文\n'5", max_size=60)


def rouge_l(one: str, other: str) -> float:
    """The definition: F1 of the longest common subsequence of words, by the table of all beginnings."""
    a, b = words(one), words(other)
    if not a or not b:
        return 0.0
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(a) + len(b))


@given(st.lists(TEXTS, max_size=8), TEXTS)
@settings(max_examples=300)
def test_scores_order_and_mean_equal_the_definition(texts, asked):
    scores = [rouge_l(asked, text) for text in texts]
    found = Novelty(0.7, texts).compare(asked, k=5)
    order = sorted(range(len(texts)), key=lambda i: (-scores[i], i))[:5]
    assert found.nearest == [(texts[i], scores[i]) for i in order]
    assert found.mean == pytest.approx(sum(scores) / len(scores) if scores else 0.0)
    assert found.highest == max(scores, default=0.0)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_any_unicode_is_taken_and_a_text_equals_itself(texts):
    pool = Novelty(0.7, texts)
    for text in texts:
        assert pool.nearest(text, k=1)[0][1] == (1.0 if words(text) else 0.0)


def test_what_reaches_the_threshold_is_not_new():
    pool = Novelty(0.7, ["one two three four five six seven eight nine ten"])
    at_it = "one two three four five six seven x y z"
    assert pool.compare(at_it).highest == 0.7
    assert not pool.is_new(at_it)
    assert pool.is_new("one two three four five six x y z w")


def test_a_text_that_was_just_added_counts_for_the_next():
    pool = Novelty(0.7)
    assert pool.is_new("Name three rivers of Asia.")
    pool.add("Name three rivers of Asia.")
    assert not pool.is_new("Name three rivers of Africa!")
    assert len(pool) == 1


def test_words_on_both_sides_of_the_surrogates_and_beyond_55_thousand_keep_apart():
    many = [f"w{i}" for i in range(70_000)]
    pool = Novelty(0.7, [" ".join(many[i : i + 100]) for i in range(0, len(many), 100)])
    for at in (0xD7FE, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 65_536, 69_999):
        (its_text, score), (_, other) = pool.nearest(many[at - 1], k=2)
        assert (its_text, score, other) == (pool.texts[(at - 1) // 100], 2 / 101, 0.0)


def test_a_question_leaves_nothing_behind():
    pool = Novelty(0.7, ["a b c"])
    before = pool.compare("x y z a")
    pool.compare("q r s t")
    assert pool.compare("x y z a") == before
    assert len(pool._numbers) == 3


def test_the_pool_is_compared_in_parts(monkeypatch):
    texts = [f"text number {i} of many" for i in range(50)]
    expected = Novelty(0.7, texts).compare("text number 7 of few")
    monkeypatch.setattr(novelty, "CHUNK", 7)
    assert Novelty(0.7, texts).compare("text number 7 of few") == expected


def test_a_thousand_texts_and_more_fit():
    pool = Novelty(0.7, (f"{i} {i + 1}" for i in range(3000)))
    assert pool.nearest("2998 2999", k=1) == [("2998 2999", 1.0)]
