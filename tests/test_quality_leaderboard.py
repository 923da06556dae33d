"""Ranks that only separated intervals give."""

import inspect
from math import exp, log

import numpy as np
import pytest

from gristmill import BadInput
from gristmill.quality.leaderboard import (
    board,
    bradley_terry,
    centred,
    holm,
    pareto,
    strength_intervals,
    tallied,
    told_apart,
    within,
)


def runs(rate: float, *, count: int = 3, items: int = 300, seed: int = 0) -> list[list[float]]:
    """Right or wrong on each item."""
    rng = np.random.default_rng(seed)
    return [(rng.random(items) < rate).astype(float).tolist() for _ in range(count)]


def ranks(lines) -> dict[str, int]:
    return {line.entry: line.rank for line in lines}


def test_two_copies_of_one_method_get_the_same_rank():
    one = runs(0.6)
    assert ranks(board({"a": one, "b": [list(run) for run in one], "worse": runs(0.3, seed=1)})) == {
        "a": 1,
        "b": 1,
        "worse": 3,
    }


def test_two_copies_have_one_interval_too():
    moody = [[1.0, 0.0, 1.0] * 9, [0.0, 0.0, 1.0] * 9, [0.0] * 27]
    a, b = board({"a": moody, "b": moody})
    assert (a.low, a.high) == (b.low, b.high)
    assert a.low < a.high


def test_items_are_drawn_too_not_only_runs():
    [one] = board({"a": [[1.0, 0.0] * 50]})
    assert (one.low, one.high) == pytest.approx((0.4, 0.6), abs=0.03)  # of a share of a half of 100
    [same] = board({"a": [[1.0] * 100]})
    assert (same.low, same.high) == (1, 1)


def test_methods_that_the_items_do_not_tell_apart_share_a_rank():
    assert ranks(board({"a": runs(0.6, seed=1), "b": runs(0.61, seed=2)})) == {"a": 1, "b": 1}
    assert ranks(board({"a": runs(0.5, seed=1), "b": runs(0.8, seed=2)})) == {"b": 1, "a": 2}


def test_fewer_items_separate_less():
    scores = {"a": runs(0.5, seed=1), "b": runs(0.62, seed=2)}
    few = {name: [run[:20] for run in of] for name, of in scores.items()}
    assert (set(ranks(board(scores)).values()), set(ranks(board(few)).values())) == ({1, 2}, {1})


def test_of_losses_the_lowest_is_best():
    lines = board({"a": [[1.0, 1.1, 0.9] * 30], "b": [[2.0, 2.1, 1.9] * 30]}, better="low")
    assert [(line.entry, line.rank) for line in lines] == [("a", 1), ("b", 2)]


def test_the_interval_holds_the_score_and_dropping_a_seed_changes_it_but_no_stored_score():
    scores = {"a": runs(0.6, seed=1), "b": runs(0.5, seed=2)}
    kept = [list(run) for run in scores["a"]]
    whole = {line.entry: line for line in board(scores)}
    fewer = {line.entry: line for line in board({"a": scores["a"][:2], "b": scores["b"]})}
    assert whole["a"].low < whole["a"].score < whole["a"].high
    assert (whole["a"].low, whole["a"].high) != (fewer["a"].low, fewer["a"].high)
    assert scores["a"] == kept
    assert (whole["a"].runs, fewer["a"].runs, whole["a"].items) == (3, 2, 300)
    assert whole["b"] == fewer["b"]


def test_runs_that_differ_widen_the_interval():
    steady = [[1.0, 0.0] * 100] * 4
    moody = [[1.0] * 200, [1.0] * 200, [0.0] * 200, [0.0] * 200]
    found = {line.entry: line.high - line.low for line in board({"steady": steady, "moody": moody})}
    assert found["moody"] > 3 * found["steady"]


def test_the_same_input_gives_the_same_board():
    scores = {"a": runs(0.6, seed=1), "b": runs(0.5, seed=2)}
    assert board(scores) == board(scores)
    assert board({}) == []


def test_of_many_entries_each_can_be_told_apart():
    """With 15 there are 105 pairs: of 2,000 draws no p-value is below 0.05 / 105."""
    steps = {f"entry {at:02}": [[float(at), at + 0.1] * 20] for at in range(15)}
    assert [line.rank for line in board(steps)] == list(range(1, 16))


def test_a_score_that_is_no_number_is_refused():
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="b has a score that is no number"):
            board({"a": [[1.0, 0.0]], "b": [[1.0, wrong]]})


@pytest.mark.parametrize("entries", [{"a": []}, {"a": [[]]}, {"a": [[1.0]], "b": [[1.0, 0.0]]}])
def test_entries_must_have_been_tested_on_the_same_items(entries):
    with pytest.raises(ValueError, match="over the same test items"):
        board(entries)


def test_a_method_that_spends_more_than_the_budget_is_refused_with_the_number():
    with pytest.raises(BadInput, match=r"evol used 400,000 tokens, and the budget of this comparison is 200,000"):
        within("evol", 400_000, 200_000)
    within("evol", 200_000, 200_000)
    within("evol", 10**9, None)


def test_the_board_is_of_2000_draws_at_a_level_of_one_in_twenty():
    given = {name: one.default for name, one in inspect.signature(board).parameters.items()}
    assert (given["times"], given["alpha"]) == (2000, 0.05)


def test_holm_gives_the_smallest_p_the_strictest_level_and_stops_at_the_first_that_stands():
    assert holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]  # 0.01 <= 0.05/3; 0.03 > 0.05/2
    assert holm([0.01, 0.02, 0.04], 0.05) == [True, True, True]
    assert holm([0.02, 0.001], 0.05) == [True, True]
    assert holm([], 0.05) == []


def test_a_pair_whose_difference_is_on_both_sides_of_nothing_is_not_told_apart():
    rng = np.random.default_rng(0)
    drawn = {"a": rng.normal(0.5, 0.01, 2000), "b": rng.normal(0.5, 0.01, 2000), "c": rng.normal(0.7, 0.01, 2000)}
    found = told_apart(drawn)
    assert found["a", "b"] == 0
    assert found["a", "c"] == pytest.approx(-0.2, abs=0.01)


@pytest.mark.parametrize(
    ("against", "draws", "apart"), [(20, 1000, True), (30, 1000, False), (0, 30, False), (0, 100, True)]
)
def test_two_are_told_apart_where_so_few_draws_say_the_other_thing_on_either_side(against, draws, apart):
    """Two-sided at 0.05: no more than one draw in 40 the other way, and never by fewer than 39 draws."""
    zeros, gaps = np.zeros(draws), np.ones(draws)
    gaps[:against] = -1
    for sign in (1, -1):
        assert bool(told_apart({"a": sign * gaps, "b": zeros})["a", "b"]) is apart


def test_the_front_holds_what_nothing_beats():
    points = {"cheap": (1.0, 0.5), "good": (5.0, 0.9), "bad": (5.0, 0.4), "same": (1.0, 0.5), "dear": (6.0, 0.9)}
    assert pareto(points) == ["cheap", "good", "same"]


def test_strengths_give_back_the_odds_of_the_games():
    wins = {
        ("a", "b"): 750.0,
        ("b", "a"): 250.0,
        ("b", "c"): 500.0,
        ("c", "b"): 500.0,
        ("a", "c"): 750.0,
        ("c", "a"): 250.0,
    }
    found = bradley_terry(wins)
    assert found["a"] - found["b"] == pytest.approx(log(3), abs=0.01)
    assert found["b"] - found["c"] == pytest.approx(0, abs=0.01)
    assert sum(found.values()) == pytest.approx(0, abs=1e-9)


def test_who_never_lost_has_a_strength_all_the_same():
    found = bradley_terry({("a", "b"): 10.0})
    assert 0 < 1 / (1 + exp(found["b"] - found["a"])) < 1
    assert found["a"] > found["b"]
    assert bradley_terry({}) == {}


def test_the_interval_of_a_strength_holds_it_and_narrows_with_games():
    few, many = ([("a", "b", float(at % 4 > 0)) for at in range(count)] for count in (40, 400))
    found, narrow = strength_intervals(few), strength_intervals(many)
    strength = bradley_terry(tallied(few))
    assert found.keys() == strength.keys() == {"a", "b"}
    for name, (low, high) in found.items():
        assert low < strength[name] < high
    assert 0.55 < found["a"][1] - found["a"][0] < 0.95  # 2 * 1.96 * sqrt(1 / 30 + 1 / 10) / 2
    assert found["b"] == pytest.approx((-found["a"][1], -found["a"][0]))
    assert narrow["a"][1] - narrow["a"][0] < (found["a"][1] - found["a"][0]) / 2
    assert strength_intervals(few) == found != strength_intervals(few, seed=1)
    assert strength_intervals([]) == {}
    even = strength_intervals([("a", "b", 0.5)] * 9 + [("b", "a", 1.0), ("a", "b", 1.0)])
    assert even["a"][0] < 0 < even["a"][1]


def test_a_tie_counts_half_for_both_whoever_is_named_first():
    assert tallied([("a", "b", 0.5), ("b", "a", 1.0), ("a", "b", 1.0)]) == {("a", "b"): 1.5, ("b", "a"): 1.5}


def test_a_centred_score_is_nothing_for_guessing_and_one_for_all_right():
    assert (centred(0.25, 0.25), centred(1.0, 0.25), centred(0.1, 0.25)) == (0, 1, pytest.approx(-0.2))
    with pytest.raises(ValueError, match="chance=1"):
        centred(0.5, 1.0)
