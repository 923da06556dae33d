"""Several opinions become one, and how far they agree. Reference values from the literature, or by hand."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.ops.agreement import cohen, krippendorff
from gristmill.ops.votes import closest, entropy, majority, ranked_pairs


def test_the_majority_is_the_most_frequent_label_and_of_equals_the_first():
    assert majority(["b", "a", "a"]) == "a"
    assert majority(["b", "a"]) == "b"
    with pytest.raises(ValueError, match="no labels"):
        majority([])


def test_entropy_is_in_bits_and_zero_where_all_agree():
    assert entropy(["a"] * 9) == 0.0
    assert entropy(["a", "b"]) == 1.0
    assert entropy(["a", "b", "c", "d"]) == 2.0
    assert entropy(["a", "a", "a", "b"]) == pytest.approx(0.8112781)


def test_the_three_ratings_that_agree_most():
    assert closest([4, 4, 0, 4, 1]) == [4, 4, 4]
    assert closest([0, 1, 1, 2, 4]) == [0, 1, 1]  # as wide as 1, 1, 2; the lower
    assert closest([0, 2, 2, 2, 4]) == [2, 2, 2]
    assert closest([1, 3]) == [1, 3]
    assert closest([]) == []


def test_a_circle_of_preferences_still_gives_one_order_and_the_same_each_time():
    circle = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    found = {tuple(ranked_pairs(list(order), 3)) for order in itertools.permutations(circle)}
    assert len(found) == 1
    assert sorted(found.pop()) == [0, 1, 2]


def test_the_weakest_majority_of_a_circle_gives_way():
    # 0 beats 1 by 6, 1 beats 2 by 4, 2 beats 0 by 2: the last is dropped.
    rankings = [[0, 1, 2]] * 4 + [[1, 2, 0]] * 3 + [[2, 0, 1]] * 2
    margins = {(0, 1): 3, (1, 2): 5, (2, 0): 1}
    for (a, b), margin in margins.items():
        assert sum(1 if r.index(a) < r.index(b) else -1 for r in rankings) == margin
    assert ranked_pairs(rankings, 3) == [0, 1, 2]


def test_tideman_by_the_textbook():
    """Tennessee: Memphis 42, Nashville 26, Chattanooga 15, Knoxville 17."""
    memphis, nashville, chattanooga, knoxville = range(4)
    rankings = [[memphis, nashville, chattanooga, knoxville]] * 42
    rankings += [[nashville, chattanooga, knoxville, memphis]] * 26
    rankings += [[chattanooga, knoxville, nashville, memphis]] * 15
    rankings += [[knoxville, chattanooga, nashville, memphis]] * 17
    assert ranked_pairs(rankings, 4) == [nashville, chattanooga, knoxville, memphis]


def test_what_was_not_ranked_comes_in_the_order_of_its_number_and_nonsense_is_refused():
    assert ranked_pairs([], 3) == [0, 1, 2]
    assert ranked_pairs([[2, 0]], 3) == [1, 2, 0]
    assert ranked_pairs([], 0) == []
    with pytest.raises(ValueError, match="no ranking of 2 items"):
        ranked_pairs([[0, 0]], 2)
    with pytest.raises(ValueError, match="no ranking of 2 items"):
        ranked_pairs([[0, 2]], 2)


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.permutations(range(n)), max_size=9))))
def test_an_order_has_each_item_once_and_a_winner_of_all_pairs_stands_first(case):
    count, rankings = case
    order = ranked_pairs(rankings, count)
    assert sorted(order) == list(range(count))
    for item in range(count):
        others = [other for other in range(count) if other != item]
        if all(sum(r.index(item) < r.index(o) for r in rankings) * 2 > len(rankings) for o in others):
            assert order[0] == item


def test_kappa_of_cohens_kind_of_table():
    # 20 both yes, 15 both no, 5 and 10 apart: observed 0.7, by chance 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen(first, second) == pytest.approx(0.4)
    assert cohen(["a", "b"], ["a", "b"]) == 1.0
    assert cohen(["a", "b"], ["b", "a"]) == -1.0
    assert math.isnan(cohen(["a"], ["a"]))
    with pytest.raises(ValueError, match="same things"):
        cohen(["a"], [])


RATED = [  # Krippendorff 2011, "Computing Krippendorff's alpha-reliability": four observers, twelve units, gaps
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1],
    [2, 2, 2, 2], [5, 5, 5], [1, 1], [3],
]  # fmt: skip


def test_alpha_as_krippendorff_computed_it():
    assert krippendorff(RATED) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff(RATED, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff(RATED, "interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_agreement_of_chance_and_of_nothing():
    assert krippendorff([["a", "a"], ["b", "b"]]) == 1.0
    rng = random.Random(1)
    noise = [[rng.choice("abc"), rng.choice("abc")] for _ in range(20_000)]
    assert krippendorff(noise) == pytest.approx(0, abs=0.02)
    assert math.isnan(krippendorff([["a", "a"]]))
    assert math.isnan(krippendorff([]))
    assert krippendorff([["a", "b"], ["a"], ["b", "b"]]) == krippendorff([["a", "b"], ["b", "b"]])
