"""MAUVE: the curve's area against closed forms and numbers that were worked out apart, and what it is sensitive to."""

import random
from itertools import pairwise
from math import log
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.ops.text import STOP_WORDS, words
from gristmill.quality.embed import Embedder, hashed, known
from gristmill.quality.mauve import (
    area,
    buckets_for,
    divergence_curve,
    frontier_integral,
    histograms,
    mauve,
    measure,
    reduced,
    sees_order,
    shares,
)
from gristmill.quality.sets import of_texts
from quality_texts import news, reviews

EMBED = Embedder("hashed", hashed)
COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12)


def pairs_of_words(texts):
    """Vectors that see which word follows which; words that say much alone count as one."""
    found = np.zeros((len(texts), 256))
    for row, text in enumerate(texts):
        for pair in pairwise(word if word in STOP_WORDS else "" for word in words(text)):
            code = crc32(" ".join(pair).encode())
            found[row, code % 256] += 1 if code >> 31 else -1
    return found


PAIRS = Embedder("pairs of words", pairs_of_words)


def values(found):
    return {one.name: one.value for one in found.measures}


def without_tie_rule(curve):
    """The area where points of equal x stay in the order in which they were made."""

    def under(x, y):
        order = np.argsort(x, kind="stable")
        return np.trapezoid(y[order], x[order])

    return (under(curve[:, 0], curve[:, 1]) + under(curve[:, 1], curve[:, 0])) / 2


def test_one_histogram_twice_is_one_and_three_quarters_without_the_rule_for_ties():
    for histogram in ([1.0], [0.1, 0.2, 0.7], [0.25] * 4):
        curve = divergence_curve(np.array(histogram), np.array(histogram))
        assert area(curve) == 1.0
        assert without_tie_rule(curve) == 0.75
        assert curve[1:-1] == pytest.approx(1)


def test_disjoint_clusters_score_what_the_curve_s_closed_form_gives():
    p, q = np.array([1.0, 0]), np.array([0, 1.0])
    assert mauve(p, q) == pytest.approx(0.004, abs=1e-4)
    # ((1 - w)^c, w^c) encloses c B(c + 1, c): 5 * 5! 4! / 10! for c = 5, from above by trapezoids
    assert mauve(p, q, curve_points=2000) == pytest.approx(5 * 120 * 24 / 3628800, rel=1e-4)
    assert mauve(p, q, scaling=1, curve_points=2000) == pytest.approx(0.5, rel=1e-4)


def test_a_point_of_the_curve_is_the_two_divergences_to_the_mixture():
    p, q = np.array([0.5, 0.5, 0]), np.array([0.25, 0.25, 0.5])
    middle = (p + q) / 2
    to_q = sum(a * log(a / b) for a, b in zip(q, middle, strict=True) if a)
    to_p = sum(a * log(a / b) for a, b in zip(p, middle, strict=True) if a)
    curve = divergence_curve(p, q)
    assert len(curve) == 25 + 2
    assert curve[13] == pytest.approx([np.exp(-5 * to_q), np.exp(-5 * to_p)])
    assert curve[0].tolist() == [1, 0]
    assert curve[-1].tolist() == [0, 1]
    assert curve[1][0] < 1e-1 < 0.99 < curve[1][1]  # a mixture that is nearly p: p is near it, q is not


@given(COUNTS)
def test_the_order_of_the_two_histograms_does_not_matter(counts):
    counted = [np.array([pair[side] for pair in counts]) for side in (0, 1)]
    for smoothing in (0.0, 0.5) if all(side.sum() for side in counted) else (0.5,):
        p, q = (shares(side, smoothing) for side in counted)
        assert abs(mauve(p, q) - mauve(q, p)) < 1e-9
        assert abs(frontier_integral(p, q) - frontier_integral(q, p)) < 1e-9


@given(COUNTS)
def test_all_scores_lie_between_zero_and_one(counts):
    p, q = (np.array([pair[side] for pair in counts]) for side in (0, 1))
    if p.sum() and q.sum():
        assert 0 <= mauve(shares(p), shares(q)) <= 1 + 1e-12
        assert -1e-12 <= frontier_integral(shares(p), shares(q)) <= 1 + 1e-12


def test_the_frontier_integral_is_its_formula_and_keeps_its_digits_near_equality():
    def formula(p, q):
        total = 0.0
        for a, b in zip(p, q, strict=True):
            if a == 0 or b == 0:
                total += a / 4 + b / 4
            elif a != b:
                total += (a + b) / 4 - a * b / 2 * (log(a) - log(b)) / (a - b)
        return 2 * total

    p, q = [0.5, 0.3, 0.2, 0], [0.1, 0.3, 0.25, 0.35]
    assert frontier_integral(np.array(p), np.array(q)) == pytest.approx(formula(p, q), abs=1e-12)
    assert frontier_integral(np.array(p), np.array(p)) == pytest.approx(0, abs=1e-15)
    assert frontier_integral(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    near = np.array([0.5 + 1e-9, 0.5 - 1e-9])
    assert 0 <= frontier_integral(near, np.array([0.5, 0.5])) < 1e-12


def test_smoothing_adds_to_each_count_before_they_become_shares():
    assert shares([1, 3]).tolist() == [0.25, 0.75]
    assert shares([0, 1], 0.5).tolist() == [0.25, 0.75]
    with pytest.raises(ValueError, match="empty histogram"):
        shares([0, 0])


def test_clusters_are_one_for_ten_rows_and_at_least_two():
    assert [buckets_for(n) for n in (0, 5, 26, 1000, 5000)] == [2, 2, 3, 100, 500]


def test_components_are_kept_up_to_the_variance_and_not_whitened():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4000, 4)) * np.sqrt([60, 31, 8, 1])
    kept = reduced(vectors, 0.9)
    assert kept.shape == (4000, 2)
    assert kept.var(axis=0) == pytest.approx([60, 31], rel=0.1)
    assert reduced(vectors, 0.95).shape == (4000, 3)
    assert reduced(vectors, 1.0).shape == (4000, 4)
    assert reduced(np.ones((5, 3)), 0.9).shape == (5, 1)


def test_both_sets_are_counted_in_the_same_clusters():
    places = np.eye(4)
    p, q = histograms(places[[0] * 6 + [1] * 4], 7 * places[[1] * 3 + [2] * 7], 3)
    assert sorted(zip(p.tolist(), q.tolist(), strict=True)) == [(0, 7), (4, 3), (6, 0)]


FLAT = {"a": [1, 0.2], "b": [1, -0.2], "c": [-1, 0.2], "d": [-1, -0.2]}
"""Four places: more than nine tenths of the variance lie left and right, the rest above and below."""
PLACES = Embedder("places", lambda texts: np.array([FLAT[text] for text in texts], float))


def test_clusters_are_those_of_the_components_that_are_kept():
    places = np.array(list(FLAT.values()))
    assert [side.tolist() for side in histograms(places[[0, 1]], places[[2, 3]], 4)] in (
        [[2, 0], [0, 2]],
        [[0, 2], [2, 0]],
    )
    assert len(histograms(places[[0, 1]], places[[2, 3]], 4, explained_variance=1.0)[0]) == 4
    # Left or right holds most of the variance, above or below little of it, and is all that the two sets differ by.
    rng = np.random.default_rng(0)
    vectors = np.column_stack([rng.choice([-1, 1], 300), np.repeat([0.2, -0.2], [200, 100]), rng.normal(0, 0.2, 300)])
    embed = Embedder("given", lambda texts: vectors[[int(text) for text in texts]])
    above, below = of_texts([str(at) for at in range(200)]), of_texts([str(at) for at in range(200, 300)])
    some, every = (
        values(measure(below, above, embed=embed, explained_variance=share, num_buckets=4))["mauve"]
        for share in (0.9, 1.0)
    )
    assert some > 0.6 > 0.1 > every


def test_the_report_s_numbers_are_those_of_its_two_histograms_and_its_settings():
    found = measure(of_texts(["d"] * 4), of_texts(["a"] * 8), embed=PLACES)
    p, q = np.array([4, 0]), np.array([0, 4])
    assert values(found)["mauve"] == mauve(shares(p), shares(q))
    assert values(found)["mauve_star"] == pytest.approx(mauve(shares(p, 0.5), shares(q, 0.5)))
    assert values(found)["frontier_integral"] == 1
    assert {one.name: one.better for one in found.measures} == {
        "mauve": "high", "mauve_star": "high", "frontier_integral": "low", "mauve_sd": "low",
    }  # fmt: skip
    other = measure(of_texts(["d"] * 4), of_texts(["a"] * 8), embed=PLACES, scaling_c=1, curve_points=5)
    assert values(other)["mauve"] == mauve(shares(p), shares(q), scaling=1, curve_points=5)
    assert values(other)["mauve_star"] == pytest.approx(
        mauve(shares(p, 0.5), shares(q, 0.5), scaling=1, curve_points=5)
    )
    assert len(other.tables["curve"]) == 7
    one = measure(of_texts(["d"] * 4), of_texts(["a"] * 8), embed=PLACES, num_buckets=1)
    assert values(one)["mauve"] == 1  # all in one cluster


def test_each_seed_draws_rows_of_its_own_and_the_clustering_is_as_careful_as_it_is_told():
    found = measure(of_texts(["a"] * 20 + ["d"] * 20), of_texts(["a"] * 20 + ["d"] * 20), embed=PLACES, n_sample=10)
    assert len({row["mauve"] for row in found.tables["seeds"]}) > 2  # two places are two clusters, whatever their start
    films = [row["text"][:200] for row in reviews()]
    seen = [
        values(measure(of_texts(films[:100]), of_texts(films[100:]), embed=EMBED, seeds=1, **some))["mauve"]
        for some in ({}, {"kmeans_restarts": 1}, {"kmeans_iterations": 1})
    ]
    assert len(set(seen)) == 3


def test_the_score_falls_as_one_repeated_text_takes_over():
    texts = news(40)
    seen = []
    for repeated in (0, 150, 300, 450):
        made = [*texts[:450][repeated:], *[texts[0]] * repeated]
        found = measure(of_texts(made), of_texts(texts[450:]), embed=EMBED, n_sample=275, seeds=2, kmeans_restarts=1)
        seen.append((values(found)["mauve"], -values(found)["frontier_integral"], values(found)["mauve_star"]))
    for scores in zip(*seen, strict=True):
        assert all(before > after for before, after in pairwise(scores)), scores
    assert seen[0][0] > 0.7 > 0.1 > seen[-1][0]


def test_two_halves_score_above_a_half_against_a_copy_with_the_words_in_disorder():
    rng = random.Random(0)
    films = [" ".join(row["text"].split()[:80]) for row in reviews()]
    disordered = of_texts([" ".join(rng.sample(text.split(), len(text.split()))) for text in films])
    found = measure(disordered, of_texts(films), embed=PAIRS, seeds=3)
    score = found.measures[0]
    assert 0.9999 > score.null > 0.8 > 0.6 > score.value
    assert not any("order of words" in note for note in found.notes)
    blind = measure(disordered, of_texts(films), embed=EMBED, seeds=1)
    assert any("hardly sees the order of words" in note for note in blind.notes)
    assert sees_order(PAIRS, films[:20])
    assert not sees_order(EMBED, films[:20])


def test_news_is_far_from_film_reviews_and_reviews_are_near():
    films = [row["text"] for row in reviews()]
    near = measure(of_texts(films[::2]), of_texts(films[1::2]), embed=EMBED, seeds=2)
    far = measure(of_texts(news(240)[:100]), of_texts(films[1::2]), embed=EMBED, seeds=2)
    assert values(near)["mauve"] > 0.6 > 0.3 > values(far)["mauve"]
    assert values(near)["frontier_integral"] < values(far)["frontier_integral"]
    assert values(far)["mauve_star"] > values(far)["mauve"] + 0.01  # smoothed, nothing is quite apart
    assert far.measures[0].null == near.measures[0].null > 0.6
    assert near.settings["n"] == 50
    assert near.settings["num_buckets"] == 5
    assert any("50 texts a side" in note for note in near.notes)


def test_mean_interval_and_spread_are_over_seeds():
    films = [row["text"][:200] for row in reviews()]
    found = measure(of_texts(films[:100]), of_texts(films[100:]), embed=EMBED, seed=7, seeds=4, kmeans_restarts=1)
    rows = found.tables["seeds"]
    assert [row["seed"] for row in rows] == found.settings["seeds"] == [7, 8, 9, 10]
    scores = [row["mauve"] for row in rows]
    assert len(set(scores)) == 4
    by_name = {one.name: one for one in found.measures}
    assert by_name["mauve"].value == pytest.approx(np.mean(scores))
    assert min(scores) <= by_name["mauve"].low < by_name["mauve"].high <= max(scores)
    assert by_name["mauve_sd"].value == pytest.approx(np.std(scores, ddof=1))
    assert by_name["mauve"].null == pytest.approx(np.mean([row["null_mauve"] for row in rows]))
    assert len(found.tables["curve"]) == 27
    again = measure(of_texts(films[:100]), of_texts(films[100:]), embed=EMBED, seed=7, seeds=4, kmeans_restarts=1)
    assert found == again


def test_empty_texts_are_left_out_and_longer_ones_are_named():
    films = [row["text"][:100] for row in reviews()[:40]]
    plain = measure(of_texts(films[:20]), of_texts(films[20:]), embed=EMBED, seeds=1)
    padded = measure(of_texts(["", *films[:20], " \n"]), of_texts(films[20:]), embed=EMBED, seeds=1)
    assert plain.settings["n"] == padded.settings["n"] == 10
    constant = Embedder("constant", lambda texts: np.ones((len(texts), 3)))
    assert measure(of_texts(["", ""]), of_texts(films), embed=constant).measures[0].value is None
    long = measure(of_texts([2 * text for text in films[:20]]), of_texts(films[20:]), embed=EMBED, seeds=1)
    assert any("characters" in note for note in long.notes)
    assert not any("characters" in note for note in plain.notes)


def test_vectors_that_were_made_elsewhere_will_do():
    films = [row["text"][:100] for row in reviews()[:40]]
    embed = known("elsewhere", films, hashed(films))
    found = measure(of_texts(films[:20]), of_texts(films[20:]), embed=embed, seeds=1)
    assert values(found)["mauve"] is not None
    assert any("was not asked" in note for note in found.notes)


def test_the_defaults_are_those_of_the_authors_program():
    settings = measure(of_texts([]), embed=EMBED).settings
    assert (
        settings
        | {
            "explained_variance": 0.9,
            "kmeans_restarts": 5,
            "kmeans_iterations": 500,
            "scaling_c": 5,
            "curve_points": 25,
            "seeds": [25, 26, 27, 28, 29],
        }
        == settings
    )


@pytest.mark.parametrize(
    "texts",
    [[], ["one"], ["", " "], ["same"] * 9, ["...", "!"], ["漢字 🎉 é"] * 2 + ["\ud800 x"], ["word " * 50_000, "a"]],
)
@pytest.mark.parametrize("reference", [None, [], ["one"], ["", ""], ["same"] * 4, ["a b", "c d", "e f", "g h"]])
def test_every_set_has_a_defined_report(texts, reference):
    found = measure(of_texts(texts), None if reference is None else of_texts(reference), embed=EMBED, seeds=1)
    assert {"mauve", "mauve_star", "frontier_integral"} <= set(values(found))
    assert all(one.value is not None or one.why for one in found.measures)
    if texts == ["same"] * 9 and reference == ["same"] * 4:
        assert values(found)["mauve"] == 1
        assert values(found)["frontier_integral"] == 0
