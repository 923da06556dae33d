"""Semantic diversity: the Vendi score by hand and by its definition, and what a set's report says."""

import inspect
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.quality import points, semantic
from gristmill.quality.embed import Embedder, hashed, light
from gristmill.quality.semantic import centroid_distance, cluster_entropy, dispersion, eigenvalues, measure, vendi
from gristmill.quality.sets import of_texts
from quality_texts import news, reviews

EMBED = Embedder("hashed", hashed)


def numbers(found):
    return {one.name: one.value for one in found.measures}


def unit(rows, dimensions, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_identical_vectors_count_as_one_and_orthogonal_ones_as_many_as_they_are():
    for q in (0, 0.5, 1, 2, inf):
        assert vendi(np.tile([0.3, 0.4, 0.1], (7, 1)), q=q) == pytest.approx(1.0)
        assert vendi(np.eye(7), q=q) == pytest.approx(7.0)


def test_the_score_is_the_definition_written_out():
    vectors = unit(9, 4)
    shares = np.linalg.eigvalsh(vectors @ vectors.T / 9)
    shares = shares[shares > 1e-12]
    assert vendi(vectors) == pytest.approx(exp(-sum(share * log(share) for share in shares)))
    assert vendi(vectors, q=2) == pytest.approx(1 / (shares**2).sum())
    assert vendi(vectors, q=inf) == pytest.approx(1 / shares.max())
    assert vendi(vectors, q=0) == pytest.approx(4)  # dimensions that are used
    assert vendi(vectors * np.linspace(0.1, 9, 9)[:, None]) == pytest.approx(vendi(vectors))  # rows of any length


def test_the_matrix_of_rows_and_that_of_dimensions_agree():
    vectors = unit(200, 16)
    primal = np.linalg.eigvalsh(vectors @ vectors.T / 200)[::-1]
    dual = eigenvalues(vectors)[::-1]
    assert len(dual) == 16
    assert np.abs(primal[:16] - dual).max() < 1e-6
    assert abs(exp(-sum(x * log(x) for x in primal if x > 1e-12)) - vendi(vectors)) < 1e-6


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 9))
def test_a_copy_of_every_row_changes_nothing(rows, dimensions, seed):
    vectors = unit(rows, dimensions, seed)
    for q in (1, 2, inf):
        assert vendi(np.concatenate([vectors, vectors]), q=q) == pytest.approx(vendi(vectors, q=q))


def test_a_weight_of_two_is_a_row_given_twice():
    vectors = unit(5, 8)
    assert vendi(vectors, [2, 1, 1, 1, 1]) == pytest.approx(vendi(np.concatenate([vectors[:1], vectors])))
    assert vendi(np.eye(3), [1, 1, 0]) == pytest.approx(2)


def test_what_has_no_score_is_refused():
    with pytest.raises(ValueError, match="0 rows"):
        vendi(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="1 of them zero"):
        vendi(np.array([[1.0, 0], [0, 0]]))
    for weights in ([1.0], [1, -1], [0, 0]):
        with pytest.raises(ValueError, match="weights"):
            vendi(np.eye(2), weights)
    with pytest.raises(ValueError, match="order"):
        vendi(np.eye(2), q=-1)
    with pytest.raises(ValueError, match="no pair"):
        dispersion(np.eye(2)[:1])
    with pytest.raises(ValueError, match="no row has another"):
        points.nearest(np.eye(2)[:1])


def test_dispersion_is_one_minus_the_mean_cosine_of_all_pairs():
    vectors = unit(12, 5)
    pairs = [vectors[a] @ vectors[b] for a in range(12) for b in range(12) if a != b]
    assert dispersion(vectors) == pytest.approx(1 - np.mean(pairs))
    assert dispersion(np.eye(4)) == pytest.approx(1.0)
    assert centroid_distance(np.array([[1.0, 0], [-1, 0]])) == 1.0
    assert centroid_distance(np.array([[1.0, 0], [0, 1]])) == pytest.approx(np.sqrt(0.5))


def test_entropy_of_clusters_is_a_share_of_the_most_possible():
    assert cluster_entropy(np.array([0, 1, 2, 3]), 4) == pytest.approx(1.0)
    assert cluster_entropy(np.array([0, 0, 1, 1]), 4) == pytest.approx(0.5)
    assert cluster_entropy(np.array([3, 3, 3]), 4) == 0.0
    assert cluster_entropy(np.array([0, 0]), 1) == 0.0


def test_the_nearest_row_is_another_one_whatever_the_slices(monkeypatch):
    vectors = unit(50, 6)
    similarities = vectors @ vectors.T - 2 * np.eye(50)
    for cells in (8_000_000, 120):
        monkeypatch.setattr(points, "CELLS", cells)
        which, cosines = points.nearest(vectors)
        assert which.tolist() == similarities.argmax(axis=1).tolist()
        assert cosines == pytest.approx(similarities.max(axis=1))


def test_near_copies_are_less_diverse_than_independent_texts_of_the_same_number():
    texts = [row["text"][:300] for row in reviews()[:100]]
    copies = [f"{texts[0]} Version {number}." for number in range(90)] + texts[:10]
    found, real = (numbers(measure(of_texts(one), embed=EMBED)) for one in (copies, texts))
    assert found["vendi_share"] < real["vendi_share"] / 2
    assert found["neighbour_distance"] < real["neighbour_distance"] / 2
    assert found["dispersion"] < real["dispersion"]


def test_one_topic_is_less_diverse_than_two_beside_the_same_reference():
    embed = light()
    films = [row["text"][:300] for row in reviews()]
    both = of_texts([*films[:100], *news()[:100]])
    one, two = measure(of_texts(films), both, embed=embed), measure(both, both, embed=embed)
    assert numbers(one)["vendi_ratio"] < 0.8
    assert numbers(two)["vendi_ratio"] == pytest.approx(1)
    assert numbers(one)["cluster_entropy"] < numbers(two)["cluster_entropy"]
    assert numbers(one)["empty_clusters"] > numbers(two)["empty_clusters"]


def test_a_number_of_a_set_and_of_its_reference_rests_on_equally_many_rows():
    films = [row["text"][:300] for row in reviews()]
    found = measure(of_texts(films), of_texts(films[:40]), embed=EMBED)
    vendi_score = next(one for one in found.measures if one.name == "vendi")
    assert found.settings["n"] == vendi_score.n == 40
    assert vendi_score.reference == pytest.approx(vendi_score.value, rel=0.1)  # of all 200 rows it would be far greater
    assert vendi_score.low < vendi_score.value < vendi_score.high
    assert found.settings["null_n"] == 20
    assert any("20 rows" in note for note in found.notes)
    wide = measure(of_texts(films), embed=EMBED, n_sample=60)
    assert wide.settings | {"n": 60, "null_n": 60, "null_of": "data"} == wide.settings
    assert wide.measures[0].null == pytest.approx(wide.measures[0].value, rel=0.1)


def test_the_ratio_of_the_reference_s_own_halves_is_about_one():
    found = measure(of_texts(news()[:300]), of_texts(news()[300:]), embed=light())
    ratio = found.measures[-1]
    assert ratio.name == "vendi_ratio"
    assert ratio.null == pytest.approx(1, abs=0.05)
    assert ratio.null != 1  # two halves, not one twice
    assert ratio.low < 1 < ratio.high


def test_a_text_of_white_space_is_left_out_whatever_vector_it_is_given():
    embed = Embedder("never zero", lambda texts: np.array([[1.0, len(text)] for text in texts]))
    found = measure(of_texts(["", " ", "one", "two", "three"]), embed=embed)
    assert found.rows["nearest_similarity"][:2] == [None, None]
    assert found.settings["n"] == 3


def test_each_row_has_its_nearest_neighbour():
    found = measure(of_texts(["", "a red cat", "the stock market fell", "a red cat sat"]), embed=EMBED)
    assert found.details[1][0]["nearest_row"] == 3
    assert found.details[3][0]["nearest_row"] == 1
    scores = found.rows["nearest_similarity"]
    assert scores[1] == found.details[1][0]["similarity"] > scores[2]
    assert scores[0] is None
    assert 0 not in found.details
    assert found.notes[0].startswith("1 rows without a word")


def test_the_defaults_of_the_report():
    defaults = {name: one.default for name, one in inspect.signature(measure).parameters.items()}
    assert defaults | {"n_sample": 2000, "q": (1, inf), "k_clusters": 50, "resamples": 10} == defaults


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["one"],
        [""],
        ["", " \n"],
        ["same"] * 9,
        ["...", "!"],
        ["ж 漢字 🎉 é"] * 2 + ["\ud800 x"],
        ["word " * 100_000, "a"],
    ],
)
@pytest.mark.parametrize("reference", [None, [], ["one"], ["", ""], ["a b", "c d", "e f", "g h"]])
def test_every_set_has_a_defined_report(texts, reference):
    found = measure(of_texts(texts), None if reference is None else of_texts(reference), embed=EMBED)
    assert len(found.rows["nearest_similarity"]) == len(texts)
    assert {"vendi", "vendi_q_inf", "vendi_share", "dispersion", "cluster_entropy"} <= set(numbers(found))
    assert all(one.value is not None or one.why for one in found.measures)


def test_rows_that_are_all_the_same_are_one_item_in_one_cluster():
    found = numbers(measure(of_texts(["the same text"] * 30), embed=EMBED))
    assert found["vendi"] == pytest.approx(1)
    assert found["vendi_share"] == pytest.approx(1 / 30)
    assert found["dispersion"] == pytest.approx(0, abs=1e-9)
    assert found["cluster_entropy"] == 0
    assert found["empty_clusters"] == pytest.approx(29 / 30)


def test_clusters_that_no_row_falls_into_are_counted_of_all_that_there_could_be():
    found = numbers(measure(of_texts(["cats", "market", "violin"] * 20), embed=EMBED, k_clusters=10))
    assert found["empty_clusters"] == pytest.approx(0.7)
    assert found["cluster_entropy"] == pytest.approx(log(3) / log(10))


def test_the_same_seed_gives_the_same_report_and_the_embedder_is_named():
    films = of_texts([row["text"] for row in reviews()[:80]])
    first, second = (measure(films, films, embed=EMBED, seed=3, n_sample=30) for _ in range(2))
    assert first == second
    assert first != measure(films, films, embed=EMBED, seed=4, n_sample=30)
    assert first.settings["embedder"] == "hashed"
    assert first.settings["q"] == ["1", "inf"]
    assert semantic.RULES == ()


def test_the_interval_by_halves_has_the_width_of_the_mean_s_own():
    values = np.random.default_rng(0).normal(size=400)
    low, high = points.from_halves(lambda rows: float(values[rows].mean()), float(values.mean()), 400, times=200)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert points.from_halves(lambda rows: 0.0, 0.0, 3) is None


@pytest.mark.parametrize("total", [110, 400, 20_000])
def test_the_interval_over_samples_is_that_of_sets_of_their_size_however_many_rows_they_come_from(total):
    rng = np.random.default_rng(0)
    widths = []
    for seed, values in enumerate(rng.normal(size=(30, total))):
        mean, (low, high) = points.over_samples(lambda rows, of=values: float(of[rows].mean()), total, 100, seed=seed)
        assert low < mean < high
        widths.append(high - low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 / 10, rel=0.15)
    assert points.over_samples(lambda rows: 1.0, total, 100, times=1) == (1.0, None)


def test_clusters_are_no_more_than_the_different_rows_and_do_not_warn():
    labels, centres = points.clusters(np.repeat(np.eye(3), 5, axis=0), 10)
    assert len(centres) == len(set(labels.tolist())) == 3
    assert points.clusters(np.zeros((0, 4)), 3)[1].shape == (0, 4)
    vectors, middles = unit(40, 3), unit(5, 3, 1) * np.array([[0.2], [0.5], [1], [1.5], [2]])
    nearest = ((vectors[:, None] - middles[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert points.assigned(vectors, middles).tolist() == nearest.tolist()
