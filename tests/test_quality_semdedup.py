"""SemDeDup: decisions against the definition, pair by pair, and what embeddings see that shingles do not."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from gristmill.models import wordllama
from gristmill.quality import duplicates, semdedup
from gristmill.quality.embed import Embedder, hashed, normalised
from gristmill.quality.semdedup import CHECK, RULES, measure, nearest_earlier, spherical_kmeans
from gristmill.quality.sets import of_texts
from gristmill.quality.values import Rule, decide

HASHED = Embedder("hashed", hashed)


def table(vectors: dict[str, list[float]]) -> Embedder:
    return Embedder("by hand", lambda texts: np.array([vectors[text] for text in texts]))


def blobs(groups: int, each: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = normalised(rng.normal(size=(groups, 30)))
    return normalised(np.repeat(centres, each, axis=0) + spread * rng.normal(size=(groups * each, 30)))


def by_the_definition(vectors, cluster, keep):
    """Highest cosine with what comes before in the cluster, by the order of similarity to the mean direction."""
    found = np.full(len(vectors), -1.0)
    for number in set(cluster.tolist()):
        members = np.flatnonzero(cluster == number)
        centre = vectors[members].sum(0) / np.linalg.norm(vectors[members].sum(0))
        order = sorted(members, key=lambda row: (vectors[row] @ centre) * (1 if keep == "hard" else -1))
        for at, row in enumerate(order):
            if at:
                found[row] = max(vectors[row] @ vectors[earlier] for earlier in order[:at])
    return found


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
@pytest.mark.parametrize("clusters", [1, 3, 40])
def test_of_identical_rows_exactly_one_is_kept(keep, clusters):
    rng = np.random.default_rng(0)
    different = normalised(rng.normal(size=(20, 64)))
    which = rng.integers(0, 20, 300)
    found = nearest_earlier(different[which] * rng.uniform(0.5, 2, (300, 1)), clusters=clusters, keep=keep)
    kept = which[~found.removed(0.01)]
    assert sorted(kept) == sorted(set(which.tolist()))


def test_of_identical_texts_one_is_kept_by_the_default_rule():
    rows = of_texts(["one text of words"] * 5 + ["another matter altogether"])
    flagged = {flag.row for flag in decide([measure(rows, embed=HASHED)], RULES)}
    assert len(flagged) == 4
    assert 5 not in flagged


def test_the_kept_share_falls_as_epsilon_grows_and_at_0_nothing_goes():
    vectors = np.concatenate([blobs(6, 40, 0.05), blobs(6, 5, 0.05)[:5], blobs(6, 40, 0.05)[:30]])
    rows = of_texts([str(at) for at in range(len(vectors))])
    found = measure(
        rows,
        embed=Embedder("given", lambda texts: np.array([vectors[int(text)] for text in texts])),
        epsilon=(0, 0.01, 0.05, 0.1, 0.15, 0.5, 1),
        clusters=6,
    )
    shares = [one.value for one in found.measures]
    assert shares[0] == 1.0  # with copies among them
    assert all(one >= other for one, other in pairwise(shares))
    assert shares[1] < 1.0
    assert len(set(shares)) >= 5
    assert shares[-1] == len(set(found.rows["cluster"])) / len(vectors)  # the first of each stays


@pytest.mark.parametrize("keep", ["hard", "easy"])
def test_similarities_equal_the_definition(keep, monkeypatch):
    monkeypatch.setattr(semdedup, "BLOCK", 16)
    vectors = blobs(5, 30, 0.15)
    found = nearest_earlier(vectors, clusters=5, keep=keep)
    assert found.similarity == pytest.approx(by_the_definition(vectors, found.cluster, keep), abs=1e-5)
    for row in np.flatnonzero(found.row >= 0):
        assert vectors[row] @ vectors[found.row[row]] == pytest.approx(found.similarity[row], abs=1e-5)
        assert found.cluster[row] == found.cluster[found.row[row]]
    assert (found.row < 0).sum() == 5


def angle(degrees: float) -> list[float]:
    return [float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))]


def test_hard_keeps_the_outermost_of_two_near_copies_and_easy_the_innermost():
    vectors = np.array([angle(degrees) for degrees in (-50, -25, 0, 25, 50, 52)])  # the centre is at about 9
    removed = {
        keep: np.flatnonzero(nearest_earlier(vectors, clusters=1, keep=keep).removed(0.05)).tolist()
        for keep in ("hard", "easy")
    }
    assert removed == {"hard": [4], "easy": [5]}
    assert np.flatnonzero(nearest_earlier(vectors, clusters=1).removed(0.05)).tolist() == [4]


def test_a_row_goes_even_if_what_it_resembles_went_itself():
    vectors = np.array([angle(degrees) for degrees in (0, 15, 30, -90)])  # 15 degrees: 0.966; 30: 0.866
    found = nearest_earlier(vectors, clusters=1, keep="easy")
    order = np.argsort(-(vectors @ vectors.sum(0)))
    assert order.tolist() == [0, 1, 2, 3]
    assert found.removed(0.05).tolist() == [False, True, True, False]


def test_a_paraphrase_that_shingles_miss_is_merged_at_epsilon_0_1():
    one = "the river rose quickly after heavy rain fell in the hills"
    other = "the river rose quickly after heavy showers in nearby hills"
    assert duplicates.jaccard(one, other) == pytest.approx(0.2, abs=0.03)
    assert duplicates.groups([one, other]) == []
    unlike = "my bank closes at four on fridays"
    embed = table({one: [1.0, 0.0, 0.0], other: [0.95, (1 - 0.95**2) ** 0.5, 0.0], unlike: [0.0, 0.0, 1.0]})
    found = measure(of_texts([one, other, unlike]), embed=embed)
    assert {one.name: one.value for one in found.measures} == {
        "kept_share_0.05": 1.0,  # 0.95 is not above 0.95
        "kept_share_0.1": 2 / 3,
        "kept_share_0.15": 2 / 3,
    }
    assert decide([found], RULES) == []
    ((row, (detail,)),) = found.details.items()
    assert {row, detail["similar_to"]} == {0, 1}
    assert detail["similarity"] == 0.95
    (pair,) = found.tables["pairs"]
    assert {pair["text"], pair["other"]} == {one, other}


def test_word_vectors_see_a_reordered_sentence_that_shingles_miss():
    one = "The company said that profits rose sharply in the last quarter because of strong sales abroad."
    other = "Because of strong sales abroad, the company said, profits in the last quarter rose sharply."
    model = wordllama.load()
    light = Embedder("wordllama", lambda texts: wordllama.vectors(model, texts))
    rows = of_texts([one, other, "Bake the bread until its crust is brown."])
    assert duplicates.groups(rows.texts) == []
    flagged = {flag.row for flag in decide([measure(rows, embed=light)], RULES)}
    assert len(flagged) == 1
    assert flagged < {0, 1}


def test_a_threshold_is_chosen_without_measuring_again():
    vectors = blobs(4, 25, 0.08)
    embed = Embedder("given", lambda texts: np.array([vectors[int(text)] for text in texts]))
    found = measure(of_texts([str(at) for at in range(100)]), embed=embed, clusters=4)
    for epsilon, one in zip((0.05, 0.1, 0.15), found.measures, strict=True):
        rule = Rule(check=CHECK, score="earlier_similarity", reason="semantic", above=1 - epsilon)
        assert len(decide([found], [rule])) == 100 - round(100 * one.value)


def test_scores_follow_what_is_kept_the_steps_of_k_means_and_the_seed():
    vectors = np.random.default_rng(1).normal(size=(300, 5))
    embed = Embedder("given", lambda texts: np.array([vectors[int(text)] for text in texts]))

    def scores(**options):
        return measure(of_texts([str(at) for at in range(300)]), embed=embed, clusters=12, **options).rows

    seen = [scores(), scores(keep="easy"), scores(keep="random"), scores(niter=1), scores(seed=2)]
    assert all(one != other for at, one in enumerate(seen) for other in seen[:at])
    assert scores() == seen[0]


def test_clusters_are_those_of_directions():
    vectors = blobs(8, 50, 0.05)
    scaled = vectors * np.random.default_rng(0).uniform(0.1, 9, (400, 1))
    found = [nearest_earlier(scaled, clusters=8, seed=seed).cluster for seed in range(20)]
    scores = [adjusted_rand_score(np.repeat(range(8), 50), cluster) for cluster in found]
    assert max(scores) == 1.0  # from random rows, some starts end elsewhere
    assert min(scores) > 0.4


def test_k_means_ends_where_each_row_is_nearest_to_its_own_centre_and_centres_are_mean_directions():
    vectors = normalised(np.random.default_rng(1).normal(size=(300, 5)))
    cluster, centres = spherical_kmeans(vectors, 7)
    assert np.linalg.norm(centres, axis=1) == pytest.approx(np.ones(7), abs=1e-5)
    assert ((vectors @ centres.T).argmax(1) == cluster).mean() > 0.99
    for number in range(7):
        mean = vectors[cluster == number].sum(0)
        assert mean / np.linalg.norm(mean) @ centres[number] > 0.999


def test_one_step_is_fewer_than_a_hundred():
    vectors = normalised(np.random.default_rng(1).normal(size=(500, 5)))

    def spread(iterations: int) -> float:
        cluster, centres = spherical_kmeans(vectors, 12, iterations=iterations)
        return float((vectors * centres[cluster]).sum())

    assert spread(0) < spread(2) < spread(100)


def test_without_a_number_there_is_a_cluster_for_200_rows():
    vectors = normalised(np.random.default_rng(1).normal(size=(650, 8)))
    assert len(set(nearest_earlier(vectors).cluster.tolist())) == 3
    assert len(set(nearest_earlier(vectors[:150]).cluster.tolist())) == 1
    assert len(set(nearest_earlier(vectors[:10], clusters=50).cluster.tolist())) == 10


def test_rows_of_different_clusters_are_not_compared():
    vectors = np.array([angle(44), angle(46), angle(0), angle(90)])
    found = nearest_earlier(vectors, clusters=4)
    assert found.similarity.tolist() == [-1.0] * 4
    assert nearest_earlier(vectors, clusters=1).similarity.max() > 0.999


def test_random_keeps_depend_on_the_seed_and_repeat_with_it():
    vectors = np.repeat(blobs(20, 1, 0.1), 2, axis=0)
    kept = [tuple(nearest_earlier(vectors, clusters=1, keep="random", seed=seed).removed(0.05)) for seed in (1, 1, 2)]
    assert kept[0] == kept[1] != kept[2]


def test_null_and_reference_are_the_kept_shares_of_halves_and_of_as_many_rows():
    words = [f"{a} {b} {c}" for a in ("red", "blue", "green") for b in ("cat", "dog", "owl", "fox") for c in "pqrstuv"]
    reference = of_texts(words * 2)  # a copy is in the same half half of the time
    rows = of_texts(words[:40])
    found = measure(rows, reference, embed=HASHED, epsilon=(0.01,)).measures[0]
    assert found.value == 1.0
    assert 0.6 < found.null < 0.9
    assert 0.75 < found.reference < 1.0
    assert "reference" in found.why
    alone = measure(of_texts(words * 2), embed=HASHED, epsilon=(0.01,)).measures[0]
    assert alone.value == 0.5
    assert alone.null > 0.6
    assert alone.low < 0.5 < alone.high
    assert "set itself" in alone.why
    assert measure(rows, reference, embed=HASHED) == measure(rows, reference, embed=HASHED)


def test_of_many_removed_rows_a_few_are_listed():
    found = measure(of_texts(["same text"] * 30), embed=HASHED)
    assert len({row["row"] for row in found.tables["pairs"]}) == len(found.tables["pairs"]) == 20


def test_a_text_without_a_vector_has_no_score_and_is_told():
    found = measure(of_texts(["", "a cat", "a cat", "..."]), embed=HASHED)
    assert found.rows["earlier_similarity"][0] is found.rows["cluster"][3] is None
    assert sorted(found.rows["earlier_similarity"][1:3]) == [0.0, 1.0]
    assert "2 rows have no vector and no scores." in found.notes
    assert found.settings["embedder"] == "hashed"
    assert found.measures[0].n == 2


def test_the_defaults_are_those_of_the_paper_and_the_first_epsilon_is_the_rule_s():
    settings = measure(of_texts([]), embed=HASHED).settings
    assert settings | {"epsilon": [0.05, 0.1, 0.15], "niter": 100, "keep": "hard", "seed": 1234} == settings
    assert [(rule.score, rule.above) for rule in RULES] == [("earlier_similarity", 0.95)]


@pytest.mark.parametrize("rows", [[], [""], ["one"], ["same"] * 3, ["", ""], ["中文", "\ud800 x"]])
def test_sets_with_little_in_them_have_defined_values_or_say_why_not(rows):
    for reference in (None, of_texts(rows), of_texts([])):
        found = measure(of_texts(rows), reference, embed=HASHED)
        assert all(one.value is not None or one.why for one in found.measures)
        assert all(len(scores) == len(rows) for scores in found.rows.values())


def test_opposite_rows_score_0():
    found = measure(of_texts(["a", "b"]), embed=table({"a": [1.0, 0.0], "b": [-1.0, 0.0]}), clusters=1)
    assert found.rows["earlier_similarity"] == [0.0, 0.0]
