"""Long-tail coverage: bands and ratios by hand, balls by brute force, and the loop from a missing list to the next set."""

from collections import Counter
from math import log

import numpy as np
import pytest

from gristmill.quality import points
from gristmill.quality.embed import Embedder, hashed, light
from gristmill.quality.long_tail import (
    BANDS,
    OUTSIDE,
    Draws,
    balls,
    bands,
    coverage,
    mass_ratio,
    measure,
    rarity,
    requests,
    unseen_mass,
)
from gristmill.quality.sets import of_records, of_texts
from quality_texts import news, reviews

EMBED = Embedder("hashed", hashed)
TOPICS = {"film": 50, "music": 20, "sport": 12, "law": 8, "chess": 4, "bees": 3, "knots": 2, "moss": 1}
HEAD, TORSO, TAIL = {"film"}, {"music", "sport", "law"}, {"chess", "bees", "knots", "moss"}


def rows(counts):
    return [
        {"text": f"A text about {topic}, the {topic} kind {number % 3}.", "topic": topic}
        for topic, count in counts.items()
        for number in range(count)
    ]


def values(found):
    return {one.name: one.value for one in found.measures}


def by_band(found, what):
    return [values(found)[f"{what}_{band}"] for band in BANDS]


def missing(found, kind):
    return [row["cell"] for row in found.tables["missing"] if row["units"] == kind]


REFERENCE = of_records(rows(TOPICS), "reference")


def test_a_band_takes_units_until_it_holds_its_share():
    counts = np.array(list(TOPICS.values()))
    assert bands(counts).tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert bands(np.array([1, 49, 50])).tolist() == [2, 1, 0]
    assert bands(np.array([30, 30, 30, 10])).tolist() == [0, 0, 1, 2]  # the second crosses a half, and completes it
    assert bands(np.array([3, 0, 0]), wanted=[2]).tolist() == [0, OUTSIDE, 2]
    assert bands(np.array([5, 5]), (0.4, 0.4, 0.2)).tolist() == [0, 1]
    for shares in ((0.5, 0.5), (0.5, 0.4, 0.2)):
        with pytest.raises(ValueError, match="three and together 1"):
            bands(counts, shares)


def test_coverage_and_mass_ratio_by_hand():
    theirs, ours = np.array([50, 40, 6, 4]), np.array([9, 0, 1, 0])
    banded = bands(theirs)
    assert banded.tolist() == [0, 1, 2, 2]
    assert coverage(ours, banded) == [1, 0, 0.5]
    assert coverage(ours, banded, 5) == [1, 0, 0]
    assert mass_ratio(ours, theirs, banded) == pytest.approx([0.9 / 0.5, 0, 0.1 / 0.1])
    assert (
        mass_ratio(np.array([1, 0, 0, 0, 1]), np.append(theirs, 0), np.append(banded, OUTSIDE))[0] == 1
    )  # of all rows
    assert coverage(np.array([1]), np.array([0])) == [1, None, None]
    assert mass_ratio(np.zeros(4, int), theirs, banded) == [None] * 3


def test_a_set_of_head_rows_alone_covers_no_tail_and_every_tail_cell_is_missing():
    found = measure(of_records(rows({"film": 40}), "set"), REFERENCE, embed=EMBED)
    assert by_band(found, "facet_topic_coverage") == [1, 0, 0]
    assert by_band(found, "facet_topic_mass_ratio") == pytest.approx([2, 0, 0])
    cells = [cell["topic"] for cell in missing(found, "facet_topic")]
    assert set(cells) == TORSO | TAIL
    assert cells == [
        "music",
        "sport",
        "law",
        "chess",
        "bees",
        "knots",
        "moss",
    ]  # none has rows: the most frequent first
    lists = [row for row in found.tables["missing"] if row["units"] == "facet_topic"]
    assert {row["cell"]["topic"] for row in lists if row["band"] == "tail"} == TAIL
    assert values(found)["terms_coverage_tail"] == 0
    terms = {
        row["cell"]["term"] for row in found.tables["missing"] if row["units"] == "terms" and row["band"] == "tail"
    }
    assert terms == TORSO | TAIL  # below the 90 % that five words of every row, film and numbers hold


def test_a_copy_of_the_reference_covers_all_of_it_at_mass_ratio_one():
    for copy in (rows(TOPICS), rows(TOPICS)[::-1]):
        found = measure(of_records(copy, "set"), REFERENCE, embed=EMBED)
        for kind in ("facet_topic", "clusters", "terms"):
            assert all(value in (1, None) for value in by_band(found, f"{kind}_coverage"))
            assert [value for value in by_band(found, f"{kind}_mass_ratio") if value is not None] == pytest.approx(
                [1] * sum(value is not None for value in by_band(found, f"{kind}_mass_ratio"))
            )
        assert by_band(found, "facet_topic_mass_ratio") == pytest.approx([1, 1, 1])
        assert values(found)["embedding_coverage"] == 1
        assert found.tables["missing"] == []
        assert values(found)["rare_rows"] <= 0.1


def test_what_is_made_after_the_missing_list_raises_the_tail_s_coverage():
    made = rows({"film": 40, "music": 10})
    seen = []
    for _ in range(2):
        found = measure(of_records(made, "set"), REFERENCE, embed=EMBED)
        seen.append((values(found)["facet_topic_coverage_tail"], values(found)["facet_topic_coverage_tail_5"]))
        for cell in list(requests(found)):
            if "topic" in cell:
                made = [*made, {"text": f"Something on {cell['topic']}.", "topic": cell["topic"]}]
    assert seen == [(0, 0), (1, 1)]


def test_the_smallest_coverage_is_asked_for_first_and_thin_cells_apart():
    found = measure(of_records(rows({"film": 9, "bees": 3, "moss": 1}), "set"), REFERENCE, embed=EMBED)
    thin = [row for row in found.tables["thin"] if row["units"] == "facet_topic"]
    assert [(row["cell"]["topic"], row["rows"], row["wanted"]) for row in thin] == [("moss", 1, 4), ("bees", 3, 2)]
    assert missing(found, "facet_topic")[0] == {"topic": "music"}
    assert values(found)["facet_topic_coverage_tail"] == 0.5
    assert values(found)["facet_topic_coverage_tail_5"] == 0


def test_pairs_of_facets_are_cells_and_a_facet_that_the_set_lacks_is_named():
    full = [
        {"text": "x y", "topic": topic, "language": language, "level": str(at % 2)}
        for at, (topic, language) in enumerate([("a", "en"), ("a", "fr"), ("b", "en"), ("b", "fr")] * 5)
    ]
    part = [
        {name: row[name] for name in ("text", "topic", "language")} for row in full if row["topic"] != row["language"]
    ]
    part = [row for row in part if (row["topic"], row["language"]) != ("b", "fr")]
    found = measure(of_records(part, "set"), of_records(full, "reference"), embed=EMBED)
    assert missing(found, "facet_topic") == missing(found, "facet_language") == []
    assert missing(found, "facet_topic_and_language") == [{"topic": "b", "language": "fr"}]
    assert any("facet level" in note for note in found.notes)


def test_a_taxonomy_and_a_word_list_ask_for_what_the_reference_lacks_too():
    found = measure(
        of_records(rows({"film": 5, "law": 2}), "set"),
        REFERENCE,
        embed=EMBED,
        taxonomy={"topic": ["film", "opera"]},
        word_list={"Film", "moss", "sonnet"},
    )
    assert {"topic": "opera"} in missing(found, "facet_topic")
    assert missing(found, "terms") == [{"term": "moss"}, {"term": "sonnet"}]
    opera = next(row for row in found.tables["missing"] if row["cell"] == {"topic": "opera"})
    assert (opera["band"], opera["reference_rows"]) == ("tail", 0)
    assert found.rows["rarity"][0] is not None


def test_unseen_mass_is_the_share_of_draws_that_were_seen_once():
    assert unseen_mass(np.array([1, 1, 3, 0])) == pytest.approx(2 / 5)
    assert unseen_mass(np.array([4, 4])) == 0
    assert unseen_mass(np.zeros(3, int)) is None
    found = measure(of_records(rows({"film": 8, "law": 1, "moss": 1}), "set"), REFERENCE, embed=EMBED)
    assert values(found)["facet_topic_unseen_mass"] == pytest.approx(0.2)


def test_rarity_is_the_mean_surprise_of_a_row_s_terms():
    draws = Draws(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
    found = rarity(draws, np.array([10, 1, 0]), 10)
    assert found[0] == pytest.approx((0 + log(10)) / 2)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(log(20))  # as if half a row had it
    texts = of_texts(["a a b", "a c", "", "zebra"])
    scores = measure(texts, of_texts(["a b", "a c", "a d", "a e"]), embed=EMBED).rows["rarity"]
    assert scores[:3] == [pytest.approx(log(4) / 2), pytest.approx(log(4) / 2), None]
    assert scores[3] == pytest.approx(log(8))


def test_balls_are_those_of_brute_force_whatever_the_slices(monkeypatch):
    rng = np.random.default_rng(0)
    reference, others = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    groups = np.arange(30) % 3
    within = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    radii = np.sort(within, axis=1)[:, 5]
    held = np.linalg.norm(reference[:, None] - others[None], axis=2) <= radii[:, None]
    for cells in (8_000_000, 100):
        monkeypatch.setattr(points, "CELLS", cells)
        inside, holding = balls(reference, others, 5, groups)
        assert inside.tolist() == held.sum(axis=1).tolist()
        assert holding.tolist() == [[held[groups == group, other].sum() for group in range(3)] for other in range(20)]
    inside, _ = balls(np.ones((3, 2)), np.ones((2, 2)), 5, np.zeros(3, int))
    assert inside.tolist() == [2, 2, 2]  # balls of no width hold their copies


def test_one_place_of_the_reference_is_covered_and_dense_and_the_rest_is_not():
    where = {"a": [1, 0.0, 0], "b": [0, 1, 0.0], "c": [0.0, 0, 1]}
    rng = np.random.default_rng(0)
    vectors = {
        f"{name} {at}": np.array(place) + rng.normal(0, 0.05, 3) for name, place in where.items() for at in range(60)
    }
    embed = Embedder("places", lambda texts: np.array([vectors[text] for text in texts]))
    reference = [f"a {at}" for at in range(45)] + [f"b {at}" for at in range(12)] + [f"c {at}" for at in range(3)]
    alone = measure(of_texts([f"a {at}" for at in range(60)]), of_texts(reference), embed=embed, k=2, k_clusters=3)
    assert values(alone)["embedding_coverage_head"] > 0.9
    assert values(alone)["embedding_density_head"] == pytest.approx(60 / 45, rel=0.4)
    assert values(alone)["embedding_coverage_tail"] == values(alone)["embedding_density_tail"] == 0
    assert by_band(alone, "clusters_coverage") == [1, 0, 0]
    copy = measure(of_texts(reference), of_texts(reference), embed=embed, k=2, k_clusters=3)
    # Each of the three balls of c holds all three points: 9 / (2 * 60), of a twentieth of the points.
    assert values(copy)["embedding_density_tail"] == pytest.approx(1.5)
    assert [row["cell"]["example"][0] for row in alone.tables["missing"] if row["units"] == "clusters"] == ["b", "c"]


def test_news_covers_film_reviews_less_than_other_reviews_do():
    films = of_records(reviews(), "films")
    order = np.random.default_rng(0).permutation(200)
    half, other = films.take(order[:100].tolist()), films.take(order[100:].tolist())
    embed = light()
    near = measure(other, half, embed=embed)
    far = measure(of_texts([*news(240)[:100]]), half, embed=embed)
    assert values(near)["facet_label_coverage_head"] == 1
    for name in ("terms_coverage_tail", "embedding_coverage", "terms_mass_ratio_torso"):
        assert values(near)[name] > values(far)[name]
    assert values(far)["rare_rows"] > values(near)["rare_rows"]
    tail = next(one for one in near.measures if one.name == "terms_coverage_tail")
    assert tail.low < tail.value < tail.high
    assert 0 < tail.null < 1
    assert len(missing(near, "terms")) == 1000
    assert any("are missing; the 1000 first" in note for note in near.notes)
    quantiles = {(row["of"], row["percentile"]): row["rarity"] for row in far.tables["rarity"]}
    assert quantiles["set", 50] > quantiles["reference", 50]


def test_the_null_is_one_half_of_the_reference_against_the_other():
    found = measure(of_records(rows({"film": 40}), "set"), REFERENCE, embed=EMBED)
    by_name = {one.name: one for one in found.measures}
    assert by_name["facet_topic_coverage_head"].null == 1
    assert by_name["facet_topic_mass_ratio_head"].null == pytest.approx(1, abs=0.35)
    assert by_name["facet_topic_coverage_torso"].null == 1  # the set's is 0
    assert by_name["embedding_coverage"].null > 0.8
    assert found.settings["null_of"] == "reference"


def test_the_order_of_rows_changes_no_count_of_facets_and_terms():
    made = rows({"film": 9, "bees": 3, "moss": 1})
    first, second = (
        measure(of_records(one, "set"), of_records(other, "reference"), embed=EMBED)
        for one, other in ((made, rows(TOPICS)), (made[::-1], rows(TOPICS)[::-1]))
    )
    for name, value in values(first).items():
        if name.startswith(("facet", "terms")):
            assert value == pytest.approx(values(second)[name]), name
    assert first.tables["bands"][:4] == second.tables["bands"][:4]
    assert Counter(map(str, missing(first, "terms"))) == Counter(map(str, missing(second, "terms")))
    assert first.rows["rarity"] == pytest.approx(second.rows["rarity"][::-1])


def test_of_equally_frequent_units_the_alphabet_decides_and_not_the_order_of_rows():
    for reference in (["oak", "elm"], ["elm", "oak"]):
        found = measure(of_texts(["elm"]), of_texts(reference), embed=EMBED)
        assert by_band(found, "terms_coverage") == [1, 0, None]


def test_there_is_at_most_one_cluster_for_ten_rows_of_the_reference():
    found = measure(of_texts(["a"]), of_texts(news(20)[:30]), embed=EMBED)
    assert sum(row["count"] for row in found.tables["bands"] if row["units"] == "clusters") == 3


def test_bands_say_what_of_the_set_the_reference_does_not_have():
    found = measure(of_records(rows({"film": 6, "opera": 4}), "set"), REFERENCE, embed=EMBED)
    outside = next(row for row in found.tables["bands"] if (row["units"], row["band"]) == ("facet_topic", "outside"))
    assert outside == {"units": "facet_topic", "band": "outside", "count": 1, "reference_share": 0, "share": 0.4}


def test_the_defaults_of_the_report():
    settings = measure(of_texts([]), embed=EMBED).settings
    assert settings | {"band_shares": [0.5, 0.4, 0.1], "min_rows": [1, 5], "k": 5} == settings


@pytest.mark.parametrize(
    "texts",
    [[], ["one"], ["", " "], ["same"] * 9, ["...", "!"], ["漢字 🎉 é"] * 2 + ["\ud800 x"], ["word " * 50_000, "a"]],
)
@pytest.mark.parametrize("reference", [None, [], ["one"], ["", ""], ["a b", "c d", "e f", "g h"]])
def test_every_set_has_a_defined_report(texts, reference):
    found = measure(of_texts(texts), None if reference is None else of_texts(reference), embed=EMBED)
    assert len(found.rows["rarity"]) == len(texts)
    assert "terms_coverage_tail" in values(found)
    assert all(one.value is not None or one.why for one in found.measures)
