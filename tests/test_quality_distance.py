"""Distances: each estimate against its sum written out or another library, its behaviour under no difference, and what the
report finds in planted sets."""

from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, ks_2samp

from gristmill.quality.distance import (
    bandwidth,
    contributions,
    frechet,
    frechet_dimensions,
    frechet_of,
    gaussian,
    js,
    kid,
    kl,
    ks,
    log_odds,
    measure,
    mmd2,
    ngrams,
    permutation_test,
    readability,
    total_variation,
)
from gristmill.quality.embed import Embedder, hashed, known, light
from gristmill.quality.sets import of_records, of_texts
from quality_texts import news, reviews

EMBED = Embedder("hashed", hashed)
PHRASE = {"tapestry", "a rich", "rich tapestry", "tapestry indeed"}
COUNTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10)


def values(found):
    return {one.name: one.value for one in found.measures}


def measures(found):
    return {one.name: one for one in found.measures}


def normal(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


# MMD, KID


def test_mmd_is_the_unbiased_sum_written_out_for_sides_of_any_size():
    x, y = normal(5, 3, 0), normal(7, 3, 1, 0.5)

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * 1.3**2))

    xx = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    yy = sum(k(y[i], y[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    xy = sum(k(a, b) for a in x for b in y) / 35
    kernel = gaussian(np.concatenate([x, y]), 1.3)
    assert mmd2(kernel, np.arange(5)) == pytest.approx(xx + yy - 2 * xy)
    assert mmd2(kernel, np.arange(5, 12)) == pytest.approx(xx + yy - 2 * xy)
    with pytest.raises(ValueError, match="1 and 11 rows"):
        mmd2(kernel, np.arange(1))


def test_the_kernel_s_width_is_the_median_distance_of_two_rows_and_of_different_ones_where_most_are_equal():
    vectors = normal(9, 4, 0)
    pairs = [np.linalg.norm(vectors[a] - vectors[b]) for a in range(9) for b in range(a)]
    assert bandwidth(vectors) == pytest.approx(np.median(pairs))
    assert bandwidth(np.array([[0.0], [0], [0], [0], [3]])) == pytest.approx(3)
    assert bandwidth(np.ones((4, 2))) == 1.0
    two = gaussian(vectors, 2.0, (0.5, 1))
    assert two == pytest.approx((gaussian(vectors, 1.0) + gaussian(vectors, 2.0)) / 2)
    assert gaussian(np.array([[0.0], [2.0]]), 2.0)[0, 1] == pytest.approx(np.exp(-0.5))


def test_under_no_difference_the_p_value_is_uniform_over_seeds():
    found = []
    for seed in range(200):
        pooled = normal(40, 3, seed)
        found.append(permutation_test(gaussian(pooled, bandwidth(pooled)), 20, permutations=99, seed=seed)[1])
    # 200 draws: the share under 0.05 has a standard deviation of 0.015, the widest gap from uniform one of about 0.06
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.1
    assert ks(found, np.arange(1, 100) / 100) < 0.12


def test_a_shift_by_one_standard_deviation_has_the_least_p_value_there_is():
    for permutations in (99, 1000):
        pooled = np.concatenate([normal(100, 3, 0), normal(100, 3, 1, 1.0)])
        value, p = permutation_test(gaussian(pooled, bandwidth(pooled)), 100, permutations=permutations)
        assert p == 1 / (permutations + 1)
        assert value > 0.1


def test_estimates_under_no_difference_fall_below_zero_as_often_as_above_and_are_not_clipped():
    found, blocks = [], []
    for seed in range(100):
        pooled = normal(40, 3, 1000 + seed)
        found.append(mmd2(gaussian(pooled, bandwidth(pooled)), np.arange(20)))
        blocks.append(kid(pooled[:20], pooled[20:])[0])
    for values in (found, blocks):
        assert 30 <= sum(value < 0 for value in values) <= 80
        assert abs(np.mean(values)) < 3 * np.std(values) / 10
    texts = [row["text"] for row in reviews()]
    report = measure(of_texts(texts[::2]), of_texts(texts[1::2]), embed=light())
    assert values_below_zero(report)


def values_below_zero(report):
    return [name for name in ("mmd2", "kid") if values(report)[name] < 0 or measures(report)[name].null < 0]


def test_kid_is_mmd_under_a_cubic_kernel_and_the_mean_over_blocks():
    x, y = normal(6, 4, 0), normal(6, 4, 1, 1)
    pooled = np.concatenate([x, y])
    whole = mmd2((pooled @ pooled.T / 4 + 1) ** 3, np.arange(6))
    assert kid(x, y) == (pytest.approx(whole), [pytest.approx(whole)])
    value, blocks = kid(normal(350, 4, 0), normal(320, 4, 1, 1), block=100)
    assert len(blocks) == 3
    assert value == pytest.approx(np.mean(blocks)) == pytest.approx(whole, rel=0.9)
    with pytest.raises(ValueError, match="1 and 1 rows"):
        kid(x[:1], y[:1])


# Frechet


def test_frechet_of_normal_distributions_is_its_closed_form():
    one, two = np.diag([1.0, 4.0]), np.diag([9.0, 1.0])
    # diagonal: the sum of squared differences of the standard deviations, and of the means
    assert frechet_of(np.zeros(2), one, np.array([1.0, 2.0]), two) == pytest.approx((1 - 3) ** 2 + (2 - 1) ** 2 + 1 + 4)
    a, b = normal(50, 4, 0) @ normal(4, 4, 1), normal(60, 4, 2)
    s, t = np.cov(a.T), np.cov(b.T)
    by_scipy = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet(a, b, 4) == pytest.approx(by_scipy)
    assert frechet(a, a, 4) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="1 and 50 rows"):
        frechet(b[:1], a)


def test_dimensions_are_cut_to_one_for_ten_rows():
    assert [frechet_dimensions(*both) for both in ((5, 64), (200, 64), (2000, 64))] == [1, 20, 64]
    a, b = normal(40, 30, 0), normal(40, 30, 1)
    assert frechet(a, b) == pytest.approx(frechet(a, b, 4))
    assert frechet(a, b, 30) > 5 * frechet(a, b)  # the bias of few rows in many dimensions


# n-grams


def test_js_is_one_bit_for_disjoint_vocabularies_and_nought_for_equal_shares():
    assert js(np.array([3.0, 5, 0]), np.array([0, 0, 9.0])) == 1.0
    assert js(np.array([1.0, 2]), np.array([10.0, 20])) == pytest.approx(0, abs=1e-12)


@given(COUNTS)
def test_divergences_are_those_of_scipy(counts):
    p, q = (np.array([pair[side] for pair in counts], float) for side in (0, 1))
    if p.sum() and q.sum():
        assert 0 <= js(p, q) <= 1
        assert js(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
        assert kl(p, q, 0.01) == pytest.approx(entropy(p + 0.01, q + 0.01), abs=1e-9)
        assert kl(p, q) >= -1e-12


def test_the_two_directions_fail_differently():
    human, forgetful, inventive = np.array([5.0, 5, 0]), np.array([10.0, 0, 0]), np.array([3.0, 3, 4])
    assert kl(human, forgetful) > 4 * kl(forgetful, human)
    assert kl(inventive, human) > 3 * kl(human, inventive)
    with pytest.raises(ValueError, match="infinite"):
        kl(human, forgetful, 0)
    with pytest.raises(ValueError, match="no counts"):
        js(human, np.zeros(3))


def test_contributions_add_up_to_the_divergence():
    p, q = np.array([5.0, 1, 0]), np.array([1.0, 1, 4])
    each = contributions(p, q)
    assert each.sum() == pytest.approx(kl(p, q))
    a, b = 5.01 / 6.03, 1.01 / 6.03
    assert each[0] == pytest.approx(a * log(a / b))


def test_log_odds_are_positive_for_what_the_first_has_more_of_and_small_for_what_is_rare():
    common, rare, equal = log_odds(np.array([300.0, 3, 500]), np.array([100.0, 1, 702]))
    assert common > 5 > 2 > rare > 0 > equal
    p, q = np.array([30.0, 70]), np.array([10.0, 90])
    a, b = p + 10 * np.array([0.2, 0.8]), q + 10 * np.array([0.2, 0.8])
    by_hand = (log(a[0] / a[1]) - log(b[0] / b[1])) / np.sqrt(1 / a[0] + 1 / b[0])
    assert log_odds(p, q, 10)[0] == pytest.approx(by_hand)


def test_n_grams_are_of_words_in_lower_case():
    assert ngrams("The cat -- the CAT", 2) == ["the cat", "cat the", "the cat"]
    assert ngrams("one", 2) == []


def test_a_phrase_planted_in_a_fifth_of_the_rows_heads_the_over_used_list():
    texts = news(60)
    planted = [f"{text} A rich tapestry indeed." if at % 5 == 0 else text for at, text in enumerate(texts[:300])]
    found = measure(of_texts(planted), of_texts(texts[300:]), embed=EMBED)
    first = found.tables["over_used"][:5]
    assert {row["ngram"] for row in first[:3]} <= PHRASE
    assert first[0]["count"] == 60
    assert first[0]["reference_count"] == 0
    assert first[0]["log_odds"] > 4
    assert not any("tapestry" in row["ngram"] for row in found.tables["missing"])
    backwards = measure(of_texts(texts[:300]), of_texts([*planted, *planted]), embed=EMBED)
    assert backwards.tables["missing"][0]["ngram"] in PHRASE
    assert backwards.tables["missing"][0]["log_odds"] > 4
    assert len([row for row in found.tables["over_used"] if row["n"] == 1]) <= 50


def test_the_vocabulary_is_that_of_the_two_sides_and_each_direction_has_its_name():
    # Either row may be the half that is compared; both are two of one term and one of another.
    found = values(measure(of_texts(["e e e e"]), of_texts(["a a b", "c c d"]), embed=EMBED))
    half, ours = np.array([0.0, 2, 1]), np.array([4.0, 0, 0])
    assert kl(half, ours) != pytest.approx(kl(ours, half))
    assert found["kl_ngram_1_reference_set"] == pytest.approx(kl(half, ours))
    assert found["kl_ngram_1_set_reference"] == pytest.approx(kl(ours, half))


# Marginals


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of scipy's p-value, which is not asked for
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_ks_is_that_of_scipy(x, y):
    assert ks(x, y) == pytest.approx(ks_2samp(x, y, method="exact").statistic)


def test_total_variation_by_hand():
    assert total_variation("aab", "abb") == pytest.approx(1 / 3)
    assert total_variation("aa", "bb") == 1
    assert total_variation("ab", "abab") == 0
    for statistic in (ks, total_variation):
        with pytest.raises(ValueError, match="empty sample"):
            statistic([], [1])


def test_readability_is_the_index_written_out():
    assert readability("The cat sat. It slept.") == pytest.approx(4.71 * 16 / 5 + 0.5 * 5 / 2 - 21.43)
    assert readability("...") is None


# The report


def test_news_is_farther_from_reviews_than_the_reviews_halves_are_from_each_other():
    films = of_records(reviews(), "films")
    found = measures(measure(of_texts(news(240)[:150]), films, embed=light()))
    assert found["p_value"].value == pytest.approx(1 / 1001)
    assert found["p_value"].null > 0.01
    for name in ("mmd2", "kid", "frechet", "js_ngram_1", "kl_ngram_1_reference_set", "kl_ngram_1_set_reference"):
        assert found[name].value > found[name].null, name
    for name in ("mmd2", "frechet", "js_ngram_1"):
        assert found[name].null < found[name].low < found[name].value < found[name].high
    assert found["mmd2"].n == found["js_ngram_2"].n == 100


def test_value_and_null_rest_on_equally_many_rows():
    texts = news(30)
    found = measure(of_texts(texts[:600]), of_texts(texts[600:]), embed=EMBED, n_sample=120, n_texts=150)
    assert found.settings["n_texts"] == 150
    assert found.settings["n_vectors"] == 120
    js_score = measures(found)["js_ngram_1"]
    assert js_score.value == pytest.approx(js_score.null, rel=0.05)  # n-gram distances shrink with rows: 600 would tell
    assert js_score.low < js_score.value < js_score.high


def test_the_settings_of_the_report_are_those_of_its_numbers():
    far, films = of_texts(news(240)[:60]), of_texts([row["text"] for row in reviews()[:120]])
    plain = measures(measure(far, films, embed=EMBED))
    options = {"permutations": 19, "kid_block": 10, "scales": (0.5, 1, 2), "alpha": 1.0}
    other = measures(measure(far, films, embed=EMBED, **options))
    assert other["p_value"].value == 1 / 20
    assert plain["kid"].low is None  # one block
    assert other["kid"].low < other["kid"].value < other["kid"].high
    assert other["mmd2"].value != pytest.approx(plain["mmd2"].value, rel=0.01)
    assert other["kl_ngram_1_set_reference"].value < plain["kl_ngram_1_set_reference"].value / 2
    assert other["js_ngram_1"].value == plain["js_ngram_1"].value  # not smoothed


def test_the_report_s_frechet_distance_is_of_as_few_dimensions_as_it_says():
    vectors = normal(120, 30, 0)
    embed = Embedder("given", lambda texts: np.array([vectors[int(text)] for text in texts]))
    ours, theirs = ([str(at) for at in range(*ends)] for ends in ((0, 40), (40, 120)))
    found = measure(of_texts(ours), of_texts(theirs), embed=embed)
    assert found.settings["frechet_dimensions"] == 4
    assert values(found)["frechet"] < frechet(embed(ours), embed(theirs[:40]), 30) / 3


def test_marginals_are_compared_and_the_language_model_s_where_there_is_one():
    short = [" ".join(text.split()[:20]) for text in news(80)[:200]]
    full = news(80)[200:600]
    found = measures(measure(of_texts(short), of_texts(full), embed=EMBED))
    assert found["length_ks"].value > 0.98
    assert found["length_ks"].null < 0.15
    assert found["sentences_ks"].value > 0.8
    assert found["readability_ks"].value > 3 * found["readability_ks"].null
    assert "perplexity_ks" not in found
    asked = measure(of_texts(short), of_texts(full), embed=EMBED, perplexity=lambda texts: [None, *map(len, texts[1:])])
    assert measures(asked)["perplexity_ks"].value > 0.98
    assert measures(asked)["perplexity_ks"].n == 199
    assert not any("perplexity" in note for note in asked.notes)
    odd = measure(
        of_texts(short), of_texts(full), embed=EMBED, perplexity=lambda texts: [float("nan"), *map(len, texts[1:])]
    )
    assert measures(odd)["perplexity_ks"] == measures(asked)["perplexity_ks"]


def test_facets_of_both_sets_are_compared():
    films = of_records(reviews(), "films")
    negative = of_records([row for row in reviews() if row["label"] == reviews()[0]["label"]], "one kind")
    share = Counter(row["label"] for row in reviews())[reviews()[0]["label"]] / 200
    found = measures(measure(negative, films, embed=EMBED))
    assert found["facet_tv_label"].value == pytest.approx(1 - share, abs=0.1)
    assert found["facet_tv_label"].null < 0.2
    assert "facet_tv_label" not in measures(measure(of_texts(["a", "b"]), films, embed=EMBED))


def test_the_same_seed_gives_the_same_report_and_settings_name_what_it_rests_on():
    texts = news(40)[:200]
    embed = known("elsewhere", texts, hashed(texts))
    first, second = (measure(of_texts(texts[:80]), of_texts(texts[80:]), embed=embed, seed=5) for _ in range(2))
    assert first == second
    assert first != measure(of_texts(texts[:80]), of_texts(texts[80:]), embed=embed, seed=6)
    assert first.settings["embedder"] == "elsewhere"
    assert first.settings["bandwidth"] > 0
    assert first.settings["n"] == [1, 2]


def test_one_set_twice_is_no_distance_and_disjoint_ones_are_all():
    same = values(measure(of_texts(["a b c"] * 9), of_texts(["a b c"] * 9), embed=EMBED))
    assert [round(value, 9) for name, value in same.items() if name != "p_value"] == [0] * (len(same) - 1)
    assert same["p_value"] == 1
    apart = values(measure(of_texts(["a b c"] * 9), of_texts(["d e"] * 9), embed=EMBED))
    assert apart["js_ngram_1"] == apart["js_ngram_2"] == 1
    assert apart["length_ks"] == 1


def test_the_defaults_of_the_report():
    settings = measure(of_texts([]), embed=EMBED).settings
    assert settings | {"permutations": 1000, "alpha": 0.01, "n": [1, 2], "kid_block": 100, "scales": [1]} == settings


@pytest.mark.parametrize(
    "texts",
    [[], ["one"], ["", " "], ["same"] * 9, ["...", "!"], ["漢字 🎉 é"] * 2 + ["\ud800 x"], ["word " * 50_000, "a"]],
)
@pytest.mark.parametrize("reference", [None, [], ["one"], ["", ""], ["a b", "c d", "e f", "g h"], ["", "", "a", ""]])
def test_every_set_has_a_defined_report(texts, reference):
    found = measure(of_texts(texts), None if reference is None else of_texts(reference), embed=EMBED, permutations=20)
    assert {"mmd2", "kid", "frechet", "js_ngram_1"} <= set(values(found))
    assert all(one.value is not None or one.why for one in found.measures)
