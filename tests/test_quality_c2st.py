"""The classifier two-sample test: statistics by hand or by scikit-learn, and what it tells and must not tell."""

import random
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from gristmill.quality.c2st import (
    RULES,
    Terms,
    accuracy_p,
    auc,
    classified,
    clean,
    dealt,
    density_ratio,
    grouped,
    held_out,
    matched,
    measure,
    permutation_p,
    widened,
)
from gristmill.quality.embed import Embedder, hashed, known
from gristmill.quality.sets import of_records, of_texts
from gristmill.quality.values import decide
from quality_texts import news, reviews

EMBED = Embedder("hashed", hashed)
QUICK = {"permutations": 100, "features": 5000}


def measures(found):
    return {one.name: one for one in found.measures}


def marked(text, token="zqxmark"):
    said = text.split()
    return " ".join([*said[:5], token, *said[5:]])


def films(words=60):
    return [" ".join(row["text"].split()[:words]) for row in reviews()]


# Statistics


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_that_of_scikit_learn(rows):
    scores, synthetic = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if 0 < synthetic.sum() < len(rows):
        assert auc(scores, synthetic) == pytest.approx(roc_auc_score(synthetic, scores))
    else:
        assert auc(scores, synthetic) == 0.5


def test_accuracy_is_normal_under_no_difference():
    assert accuracy_p(0.5, 100) == 0.5
    # 0.6 of 100 rows is two standard deviations of 0.05
    assert accuracy_p(0.6, 100) == pytest.approx(1 - (1 + erf(2 / sqrt(2))) / 2)
    assert accuracy_p(0.6, 400) < 1e-4 < 0.9 < accuracy_p(0.4, 100)


def test_the_permutation_test_has_a_least_p_value_and_none_for_equal_scores():
    synthetic = np.arange(40) < 20
    assert permutation_p(synthetic.astype(float), synthetic, np.arange(40), permutations=199) == 1 / 200
    assert permutation_p(np.zeros(40), synthetic, np.arange(40), permutations=199) == 1
    scores = np.random.default_rng(1).random(40)
    assert permutation_p(scores, synthetic, np.arange(40)) > 0.05
    # ten rows of one text are one draw, not ten
    alike = np.repeat([1.0, 0.0], 10)
    assert permutation_p(alike, alike > 0.5, np.repeat([0, 1], 10), permutations=199) > 0.3


def test_density_ratios_favour_what_looks_human_and_are_clipped():
    assert density_ratio(0.5) == 1
    assert density_ratio(0.8) == pytest.approx(0.25)
    assert density_ratio(0.2) == pytest.approx(4)
    assert density_ratio(0.0) == density_ratio(0.05) == 10
    assert density_ratio(0.05, clip=100) == pytest.approx(19)
    assert density_ratio(1.0) == 0


def test_an_interval_is_widened_about_its_value():
    assert widened(0.5, (0.4, 0.7), 2) == (pytest.approx(0.3), pytest.approx(0.9))
    assert widened(0.9, (0.8, 0.95), 4) == (pytest.approx(0.5), 1.0)


# Texts


def test_cleaning_leaves_words_and_takes_what_is_only_form():
    assert clean("# Title\n\n* one\n2. **two**\r\n> said “so” — `x`\u00a0ﬁn  ") == 'Title one two said "so" - x fin'
    assert clean("it's 3.5 - no, a well-known 2*3") == "it's 3.5 - no, a well-known 2 3"
    assert clean(" \n") == ""


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_matched_sides_have_the_same_lengths_and_beginnings_of_their_texts(lengths):
    ours, theirs = ([" ".join([name] * pair[side]) for pair in lengths] for side, name in ((0, "a"), (1, "b")))
    cut, other = matched(ours, theirs)
    assert sorted(len(text.split()) for text in cut) == sorted(len(text.split()) for text in other)
    assert all(text.startswith(part) and part for text, part in zip([*ours, *theirs], [*cut, *other], strict=True))


def test_neither_side_ends_where_its_writer_ended():
    cut, other = matched(["a b c d.", "a b."], ["e f g h i j k.", "e f g."])
    assert cut == ["a b c", "a"]
    assert other == ["e f g", "e"]
    assert matched(["a"], ["b c"]) == (["a"], ["b"])


def test_texts_without_spaces_are_matched_by_their_signs():
    assert matched(["我们在公园。", "in park里"], ["一只小狗跑得很快", "a b"]) == (
        ["我们在公园", "in"],
        ["一只小狗跑", "a"],
    )
    rng = np.random.default_rng(0)

    def texts(least, most):
        return ["".join(rng.choice(list("天地人和"), rng.integers(least, most))) + "。" for _ in range(150)]

    found = measure(of_texts(texts(10, 25)), of_texts(texts(25, 60)), embed=EMBED, **QUICK)
    assert measures(found)["auc_raw"].value > 0.75
    assert measures(found)["auc"].value < 0.65
    assert measures(found)["auc"].low < 0.5
    assert (found.tables["tells"][0]["tell"], found.tables["tells"][0]["auc"]) == ("length", 0)


# Groups


def test_equal_texts_and_equal_names_are_one_group():
    assert len(set(grouped(["a b", "A b", "a  b", "c"]).tolist())) == 3
    groups = grouped(["a", "b", "c", "c", "d"], ["s1", "s1", "s2", "", ""]).tolist()
    assert groups[0] == groups[1] != groups[2] == groups[3] != groups[4]
    chain = grouped(["a", "b", "b", "c"], ["1", "1", "2", "2"]).tolist()
    assert len(set(chain)) == 1  # by name, by text, by name


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40), st.integers(2, 5))
def test_a_group_is_in_one_fold(rows, folds):
    groups, synthetic = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    fold_of = dealt(groups, synthetic, folds, 0)
    assert all(len(set(fold_of[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert set(fold_of.tolist()) <= set(range(folds))


def test_folds_have_about_as_much_of_either_kind():
    synthetic = np.arange(100) < 50
    fold_of = dealt(np.arange(100), synthetic, 5, 0)
    assert [int((synthetic & (fold_of == fold)).sum()) for fold in range(5)] == [10] * 5
    assert [int((~synthetic & (fold_of == fold)).sum()) for fold in range(5)] == [10] * 5
    assert dealt(np.arange(100), synthetic, 5, 1).tolist() != fold_of.tolist()


def test_copies_across_folds_inflate_the_auc_on_pure_noise_and_groups_prevent_it():
    noise = np.random.default_rng(0).normal(size=(150, 100))
    features = np.concatenate([noise, noise, noise])
    synthetic, groups = np.tile(np.arange(150) % 2 == 0, 3), np.tile(np.arange(150), 3)
    apart = classified(features, synthetic, np.arange(450))
    together = classified(features, synthetic, groups)
    assert apart.auc > 0.8
    assert 0.35 < together.auc < 0.65
    assert permutation_p(apart.scores, synthetic, np.arange(450), permutations=99) == 0.01
    held = held_out(features, synthetic, groups)
    assert set(held.groups.tolist()) < set(range(150))
    assert permutation_p(held.scores, held.synthetic, held.groups, permutations=99) > 0.05


def test_copied_rows_of_one_set_do_not_tell_it_from_itself():
    texts = news(40)[:240]
    ours, theirs = of_texts(texts[:120] * 3), of_texts(texts[120:] * 3)
    found = measures(measure(ours, theirs, embed=EMBED, **QUICK))
    assert found["auc"].value < 0.65
    assert found["auc"].low < 0.5 < found["auc"].high


def test_a_named_group_keeps_near_copies_together():
    rng = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(400)]

    def side(first):
        rows = []
        for source in range(first, first + 25):
            said = rng.choice(vocabulary, 30).tolist()
            rows += [{"text": " ".join([*said, f"x{version}"]), "seed": str(source)} for version in range(4)]
        return rows

    ours, theirs = of_records(side(0), "ours"), of_records(side(100), "theirs")
    apart = measures(measure(ours, theirs, embed=EMBED, **QUICK))
    together = measures(measure(ours, theirs, embed=EMBED, group="seed", **QUICK))
    assert apart["auc"].value > 0.85
    assert together["auc"].value < 0.7
    assert together["auc"].low < 0.5
    unnamed = of_records([row | {"seed": float("nan")} for row in side(200)], "unnamed")
    told = measure(unnamed, theirs, embed=EMBED, group="seed", **QUICK)
    assert measures(told)["auc"].value is not None  # rows without a name are no group
    with pytest.raises(ValueError, match="neither ours nor theirs has the column 'source'"):
        measure(ours, theirs, embed=EMBED, group="source", **QUICK)


# The report


def test_a_random_split_of_one_set_has_an_auc_interval_with_a_half_in_it():
    texts = news(60)
    inside = 0
    for seed in range(3):
        order = random.Random(seed).sample(texts, 400)
        found = measures(measure(of_texts(order[:200]), of_texts(order[200:]), embed=EMBED, seed=seed, **QUICK))
        inside += sum(found[name].low <= 0.5 <= found[name].high for name in ("auc", "auc_raw", "auc_embedding"))
        assert found["p_value"].value > 0.005
        # Independent scores of 200 rows a side would have a standard error of 0.0289; theirs is sqrt(2) times that.
        assert found["auc"].high - found["auc"].low == pytest.approx(2 * 1.96 * 0.0289 * sqrt(2), rel=0.2)
    assert inside >= 8


def test_a_marker_in_all_synthetic_rows_is_told_always_and_is_the_first_feature():
    texts = films()
    order = random.Random(0).sample(texts, 200)
    found = measure(of_texts([marked(text) for text in order[:100]]), of_texts(order[100:]), embed=EMBED, **QUICK)
    by_name = measures(found)
    assert by_name["auc"].value == by_name["auc_raw"].value == 1.0
    assert by_name["distance"].value == 1.0
    assert by_name["auc"].low == 1.0
    assert by_name["p_value"].value == 1 / 101
    assert by_name["accuracy"].value == 1.0
    assert by_name["accuracy_p"].n == by_name["p_value"].n == 100  # the half that was asked about, once
    assert by_name["accuracy_p"].value == pytest.approx(accuracy_p(1.0, 100), abs=0)
    for run in ("raw", "clean"):
        first = next(row for row in found.tables["features"] if row["run"] == run)
        assert (first["feature"], first["kind"], first["speaks_for"]) == ("zqxmark", "words", "set")
        assert first["share"] == pytest.approx(1)
        assert first["reference_share"] == 0
    assert min(found.rows["synthetic"]) > 0.8
    assert by_name["auc"].null == pytest.approx(0.5, abs=0.2)


def test_what_speaks_for_the_reference_is_listed_apart():
    order = random.Random(1).sample(films(), 200)
    found = measure(of_texts(order[:100]), of_texts([marked(text) for text in order[100:]]), embed=EMBED, **QUICK)
    row = next(row for row in found.tables["features"] if row["speaks_for"] == "reference")
    assert row["feature"] == "zqxmark"
    assert row["weight"] < 0
    assert (row["share"], row["reference_share"]) == (0, pytest.approx(1))


def test_matching_lengths_removes_a_tell_that_is_only_length():
    rng = np.random.default_rng(0)
    vocabulary = [f"word{number}" for number in range(60)]

    def texts(least, most):
        return [" ".join(rng.choice(vocabulary, rng.integers(least, most))) + "." for _ in range(150)]

    found = measure(of_texts(texts(10, 25)), of_texts(texts(25, 60)), embed=EMBED, **QUICK)
    by_name = measures(found)
    assert by_name["auc_raw"].value > 0.9
    assert by_name["auc"].value < 0.65
    assert by_name["auc"].low < 0.5
    assert by_name["p_value_raw"].value < 0.02 < by_name["p_value"].value
    assert found.tables["tells"][0]["tell"] == "length"
    assert found.tables["tells"][0]["auc"] == 0


def test_trivial_tells_are_stripped_from_the_clean_run_and_reported_apart():
    order = random.Random(2).sample(films(), 200)
    dressed = [f"## Answer\n\n- **{text}**\n" for text in order[:100]]
    found = measure(
        of_texts([text.replace("## Answer\n\n", "") for text in dressed]), of_texts(order[100:]), embed=EMBED, **QUICK
    )
    by_name = measures(found)
    assert by_name["auc_raw"].value > 0.99
    assert by_name["auc"].value < 0.7
    tells = {row["tell"]: row for row in found.tables["tells"]}
    assert tells["ends_in_white_space"] == {
        "tell": "ends_in_white_space",
        "auc": 1.0,
        "mean": 1.0,
        "reference_mean": 0.0,
    }
    assert tells["markdown"]["auc"] > 0.95
    assert abs(tells["carriage_returns"]["auc"] - 0.5) < 0.01
    plain = measure(of_texts([clean(text) for text in dressed]), of_texts(order[100:]), embed=EMBED, **QUICK)
    bare = measure(of_texts(dressed), of_texts(order[100:]), embed=EMBED, **QUICK)
    assert bare.rows["synthetic"] == plain.rows["synthetic"]  # rows are scored without their dress, too


def test_news_is_told_from_reviews_by_words_and_by_vectors():
    found = measures(measure(of_texts(news(60)[:150]), of_texts(films()), embed=EMBED, **QUICK))
    for name in ("auc", "auc_raw", "auc_embedding"):
        assert found[name].value > 0.9, name
        assert found[name].null < 0.7
        assert found[name].low > 0.8


def test_every_row_with_text_has_a_score_and_the_most_artificial_are_flagged():
    human = films()
    made = [
        *[f"In conclusion it is important to note {at} that delving matters greatly." for at in range(150)],
        *human[:20],
        "",
    ]
    found = measure(of_texts(made), of_texts(human[20:]), embed=EMBED, n_sample=80, **QUICK)
    scores = found.rows["synthetic"]
    assert scores[-1] is None
    assert found.rows["weight"][-1] is None
    assert None not in scores[:-1]
    assert min(scores[:150]) > max(scores[150:170])
    assert found.settings["n"] == 80
    assert all(
        weight == pytest.approx(density_ratio(score))
        for score, weight in zip(scores[:-1], found.rows["weight"], strict=False)
    )
    limit = sorted(scores[:150])[75]
    assert [(rule.score, rule.reason, rule.above) for rule in RULES] == [("synthetic", "artificial", 0.99)]
    flagged = decide([found], [type(RULES[0])(check="c2st", score="synthetic", reason="artificial", above=limit)])
    assert 0 < len(flagged) <= 75
    assert all(flag.row < 150 for flag in flagged)


def test_a_row_is_scored_by_a_model_that_has_not_seen_it():
    texts = films(30)
    found = measure(of_texts(texts[:100]), of_texts(texts[100:]), embed=EMBED, **QUICK)
    scores = np.array(found.rows["synthetic"])
    assert 0.3 < scores.mean() < 0.7  # of rows that it has learnt by heart it would be sure
    doubled = measure(of_texts(texts[:100] * 2), of_texts(texts[100:]), embed=EMBED, **QUICK)
    assert 0.3 < np.mean(doubled.rows["synthetic"]) < 0.75


def test_the_rows_that_are_learnt_from_are_drawn_by_chance():
    texts = films(20)
    ours = of_texts([*[marked(text) for text in texts[:30]], *texts[30:120]])
    found = measure(ours, of_texts(texts[120:]), embed=EMBED, n_sample=30, clip=1.1, **QUICK)
    assert measures(found)["auc_raw"].value < 0.85  # of the first 30 rows it would be 1
    assert max(found.rows["weight"]) == 1.1


def test_the_same_seed_gives_the_same_report_and_known_vectors_will_do():
    texts = films(20)
    embed = known("elsewhere", texts, hashed(texts))
    first, second = (
        measure(of_texts(texts[:60]), of_texts(texts[60:]), embed=embed, seed=5, **QUICK) for _ in range(2)
    )
    assert first == second
    assert first != measure(of_texts(texts[:60]), of_texts(texts[60:]), embed=embed, seed=6, **QUICK)
    assert first.rows != measure(of_texts(texts[:60]), of_texts(texts[60:]), embed=embed, seed=5, folds=2, **QUICK).rows
    assert first.settings["embedder"] == "elsewhere"


def test_words_weigh_more_than_the_letters_that_they_are_made_of():
    terms = Terms(["the cat sat", "a dog ran"])
    row = terms(["the cat sat"]).toarray()[0]
    sizes = {kind: np.linalg.norm(row[np.array(terms.kinds) == kind]) for kind in ("words", "letters")}
    assert sizes == {"words": pytest.approx(1), "letters": pytest.approx(0.3)}


def test_texts_without_a_word_in_common_with_anything_have_no_terms_and_no_error():
    assert Terms(["", ""])(["a"]).shape == (1, 1)
    assert Terms(["a b"])(["a"]).shape[0] == 1


def test_the_defaults_of_the_report():
    settings = measure(of_texts([]), embed=EMBED).settings
    assert settings | {"folds": 5, "clip": 10, "permutations": 1000, "group": None} == settings


@pytest.mark.parametrize(
    "texts",
    [[], ["one"], ["", " "], ["same"] * 9, ["...", "!"], ["漢字 🎉 é"] * 2 + ["\ud800 x"], ["word " * 50_000, "a"]],
)
@pytest.mark.parametrize("reference", [None, [], ["one"], ["", ""], ["same"] * 4, ["a b", "c d", "e f", "g h"]])
def test_every_set_has_a_defined_report(texts, reference):
    found = measure(of_texts(texts), None if reference is None else of_texts(reference), embed=EMBED, **QUICK)
    assert len(found.rows["synthetic"]) == len(found.rows["weight"]) == len(texts)
    assert {"auc", "auc_raw", "auc_embedding"} <= set(measures(found))
    assert all(one.value is not None or one.why for one in found.measures)
