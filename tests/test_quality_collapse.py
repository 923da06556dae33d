"""Model collapse: regimes, lineage, toys with known theory, and sets that were made in rounds."""

import math
from itertools import pairwise

import numpy as np
import pytest

from gristmill.errors import BadInput
from gristmill.quality.collapse import (
    Line,
    cap,
    categorical,
    compare,
    falls,
    fitted_slope,
    gaussian_model,
    generations_of,
    iterate,
    max_generation,
    measure,
    regression_error,
    regression_errors,
    signs,
    slope,
    text_measures,
    word_ngrams,
)
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.sets import of_records, of_texts
from gristmill.quality.values import Found, Measure, decide

EMBED = Embedder("hashed:256", hashed)
ZIPF = 1 / np.arange(1, 201)
ZIPF /= ZIPF.sum()


def real_types(seed: int) -> list[int]:
    """300 tokens of 200 types."""
    return np.random.default_rng(seed).choice(200, 300, p=ZIPF).tolist()


def value(found: Found, name: str) -> Measure:
    return next(one for one in found.measures if one.name == name)


# Lineage


def test_a_row_whose_parents_are_of_generations_0_and_2_is_of_generation_3():
    assert max_generation([0, 2]) == 3
    assert max_generation([]) == 0
    assert max_generation([0]) == 1


def test_generations_follow_the_longest_way_and_a_parent_that_is_no_row_was_brought():
    parents = {"d": ["a", "c"], "c": ["b"], "b": ["seed"], "a": [], "e": ["d", "d"]}
    assert generations_of(parents) == {"d": 3, "c": 2, "b": 1, "a": 0, "e": 4}
    assert list(generations_of(parents)) == ["d", "c", "b", "a", "e"]


def test_a_row_that_descends_from_itself_is_refused_and_a_long_line_is_not():
    with pytest.raises(ValueError, match="descends from itself"):
        generations_of({"a": ["b"], "b": ["c"], "c": ["a"]})
    with pytest.raises(ValueError, match="descends from itself"):
        generations_of({"a": ["a"]})
    line = {str(number): [str(number - 1)] if number else [] for number in range(5000)}
    assert generations_of(line)["4999"] == 4999
    assert generations_of(dict(reversed(line.items())))["4999"] == 4999


def test_a_cap_flags_rows_above_it_alone():
    data = of_records([{"text": "a", "generation": number} for number in (0, 1, 2, 3)], "set")
    found = measure(data)
    assert found.rows["generation"] == [0.0, 1.0, 2.0, 3.0]
    assert [flag.row for flag in decide([found], [cap(2)])] == [3]
    assert found.tables["generations"] == [{"generation": number, "rows": 1} for number in range(4)]


def test_the_generation_of_a_row_is_read_from_its_lineage_before_a_column():
    data = of_records([{"text": "a", "generation": 1, "lineage": {"generation": 4}}, {"text": "b"}], "set")
    assert measure(data).rows["generation"] == [4.0, None]
    assert "generation" not in measure(of_texts(["a"])).rows


# Regimes


def named(rows, n, seed):
    """Rows that say what they were made from."""
    return [f"<{len(rows)}>{at}" for at in range(n)]


def test_each_regime_passes_on_the_rows_that_it_promises():
    real = ["r0", "r1", "r2"]
    pools = {
        regime: [one.origin for one in iterate(named, real, regime=regime, generations=2, n=4, share=0.25)]
        for regime in ("replace", "accumulate", "accumulate-subsample", "mixed")
    }
    assert pools["replace"] == [[0] * 3, [1] * 4, [2] * 4]
    assert pools["accumulate"] == [[0] * 3, [0] * 3 + [1] * 4, [0] * 3 + [1] * 4 + [2] * 4]
    assert [len(pool) for pool in pools["accumulate-subsample"]] == [3, 4, 4]
    assert pools["mixed"] == [[0] * 3, [0] + [1] * 3, [0] + [2] * 3]


def test_a_generation_is_made_from_the_pool_before_it_and_from_nothing_else():
    real = ["r0", "r1", "r2"]
    rows = {
        regime: [one.rows[0] for one in iterate(named, real, regime=regime, generations=3, n=4)]
        for regime in ("replace", "accumulate", "accumulate-subsample")
    }
    assert rows["replace"] == ["r0", "<3>0", "<4>0", "<4>0"]
    assert rows["accumulate"] == ["r0", "<3>0", "<7>0", "<11>0"]
    assert rows["accumulate-subsample"] == ["r0", "<3>0", "<4>0", "<4>0"]


def test_a_subsample_is_of_all_generations_without_a_row_twice():
    real = [f"r{number}" for number in range(200)]
    made = iterate(lambda rows, n, seed: [f"{seed}/{at}" for at in range(n)], real, regime="accumulate-subsample")
    last = made[-1]
    assert len(set(last.pool)) == 200
    assert set(last.origin) == {0, 1, 2, 3, 4, 5}
    assert all((row in real) == (origin == 0) for row, origin in zip(last.pool, last.origin, strict=True))


def test_seen_types_fall_from_92_to_about_31_under_replace_and_stay_under_accumulate():
    """One run is known to go from 92 to 31; 40 seeds show where that lies."""
    ends, starts = [], []
    for seed in range(40):
        runs = {
            regime: [
                len(set(one.pool)) for one in iterate(categorical, real_types(seed), regime=regime, generations=10)
            ]
            for regime in ("replace", "accumulate")
        }
        assert all(after <= before for before, after in pairwise(runs["replace"]))
        assert runs["accumulate"] == [runs["accumulate"][0]] * 11
        starts.append(runs["replace"][0])
        ends.append(runs["replace"][-1])
    assert min(starts) <= 92 <= np.mean(starts) + 1
    assert np.mean(ends) == pytest.approx(31, abs=4)
    assert min(ends) < 31 < max(ends)


def test_no_generation_knows_a_type_that_its_pool_lacks():
    run = iterate(categorical, real_types(0), regime="accumulate-subsample", generations=5)
    for before, after in pairwise(run):
        assert set(after.rows) <= set(before.pool)


def test_real_rows_alone_reproduce_the_statistics_of_generation_0():
    real = real_types(32)
    run = iterate(categorical, real, regime="mixed", share=1.0, generations=10)
    assert all(sorted(one.pool) == sorted(real) for one in run)  # a sample of all without replacement is all
    fresh = iterate(
        categorical,
        real,
        regime="mixed",
        share=1.0,
        generations=10,
        fresh=lambda n, seed: np.random.default_rng(seed).choice(200, n, p=ZIPF).tolist(),
    )
    types = [len(set(one.pool)) for one in fresh]
    assert types[0] == 92
    assert len({tuple(one.pool) for one in fresh}) == 11  # fresh each time
    assert np.mean(types[1:]) == pytest.approx(97, abs=4)  # the expectation of 300 draws is 96.9
    none = iterate(categorical, real, regime="mixed", share=0.0, generations=10)
    assert len(set(none[-1].pool)) < 45  # the share is what holds it


def test_the_same_seed_gives_the_same_generations_and_another_does_not():
    runs = [iterate(categorical, real_types(0), regime="replace", seed=seed)[-1].rows for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_three_regimes_are_compared_over_five_generations_and_three_seeds():
    lines = compare(categorical, ["a", "b"], {"types": lambda one: float(len(set(one.rows)))})
    assert list(dict.fromkeys(line.regime for line in lines)) == ["replace", "accumulate", "accumulate-subsample"]
    assert [(line.seed, line.generation) for line in lines[:18]] == [(seed, at) for seed in range(3) for at in range(6)]
    assert len(lines) == 3 * 18


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"real": []}, "0 real rows"),
        ({"n": 0}, "0 to be made"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"regime": "collect"}, "there is no regime 'collect'"),
        ({"regime": "mixed", "share": 1.0, "n": 5}, "5 fresh real rows"),
        ({"generate": lambda rows, n, seed: []}, "made 0 in generation 1"),
    ],
)
def test_what_cannot_be_carried_out_is_said(changed, what):
    given = {"generate": categorical, "real": ["a", "b"], "regime": "replace"} | changed
    with pytest.raises(BadInput, match=what):
        iterate(**given)


# Theory


def test_the_variance_of_a_fitted_normal_shrinks_by_one_less_one_nth_a_generation():
    """Standard error of the mean ratio over 2,000 runs is about 0.01 at n = 10."""
    n, runs = 10, []
    for seed in range(2000):
        real = np.random.default_rng(seed).normal(size=n).tolist()
        run = iterate(gaussian_model, real, regime="replace", generations=5, seed=seed)
        runs.append([np.var(one.rows) for one in run])
    shrunk = np.mean(runs, axis=0)
    assert shrunk[1:] / shrunk[0] == pytest.approx((1 - 1 / n) ** np.arange(1, 6), abs=0.035)


def test_the_error_of_regressions_grows_linearly_under_replace_and_is_bounded_under_accumulate():
    own = regression_error(dimensions=10, rows=100, sigma=2.0)
    assert own == pytest.approx(4 * 10 / 89)
    replaced = regression_errors("replace", dimensions=10, rows=100, sigma=2.0, generations=8, repeats=400)
    assert replaced / own == pytest.approx(np.arange(1, 9), rel=0.08)
    kept = regression_errors("accumulate", dimensions=10, rows=100, sigma=2.0, generations=30, repeats=200)
    assert kept[0] / own == pytest.approx(1, rel=0.08)
    assert 1.4 < kept[-1] / own < math.pi**2 / 6
    assert kept.max() < own * math.pi**2 / 6 * 1.03
    with pytest.raises(ValueError, match="no expectation"):
        regression_error(dimensions=10, rows=11)
    with pytest.raises(BadInput, match="replace or accumulate"):
        regression_errors("mixed", dimensions=2, rows=10)  # type: ignore[arg-type]


def test_a_model_of_word_ngrams_says_only_what_follows_in_its_rows():
    rows = ["the cat sat down", "the dog sat", ""]
    unigrams, bigrams = word_ngrams(1)(rows, 300, 0), word_ngrams(2)(rows, 300, 0)
    assert set(bigrams) == {"the cat sat down", "the cat sat", "the dog sat down", "the dog sat", ""}
    assert bigrams.count("") / 300 == pytest.approx(1 / 3, abs=0.1)
    assert len(set(unigrams)) > 20
    assert {word for text in unigrams for word in text.split()} == {"the", "cat", "dog", "sat", "down"}
    assert word_ngrams(2, most=2)(["a a a a a a"], 50, 0).count("a a") > 20


# Slopes and signs


def lines_of(values, regime="replace", name="m"):
    return [
        Line(regime=regime, seed=seed, generation=at, values={name: one})
        for seed, row in enumerate(values)
        for at, one in enumerate(row)
    ]


def test_a_slope_is_least_squares_and_its_interval_students():
    scipy = pytest.importorskip("scipy.stats")
    y = [5.0, 3.0, 4.0, 1.0, 0.5]
    known = scipy.linregress(range(5), y)
    found = slope(lines_of([y]), "replace", "m")
    half = scipy.t.ppf(0.975, 3) * known.stderr
    assert (found.value, found.low, found.high) == pytest.approx((known.slope, known.slope - half, known.slope + half))
    seeds = slope(lines_of([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]]), "replace", "m")
    assert seeds.value == pytest.approx(3)
    assert seeds.high == pytest.approx(3 + scipy.t.ppf(0.975, 2) * math.sqrt(7) / math.sqrt(3))
    assert seeds.n == 6


def test_a_slope_without_two_values_is_not_defined_and_other_regimes_do_not_count():
    assert slope(lines_of([[1.0]]), "replace", "m").value is None
    assert slope(lines_of([[1.0, None, None]]), "replace", "m").value is None
    assert slope(lines_of([[1.0, 2.0]], regime="accumulate"), "replace", "m").value is None
    two = slope(lines_of([[1.0, 3.0]]), "replace", "m")
    assert (two.value, two.low) == (2.0, None)
    assert fitted_slope(np.array([1.0, 1.0]), np.array([0.0, 5.0])) == 0.0


def test_early_collapse_loses_the_tail_while_means_hold_and_late_collapse_the_variance():
    def over(low, high):
        return Measure(name="slope", value=(low + high) / 2, low=low, high=high)

    falls, holds, rises = over(-2, -1), over(-1, 1), over(1, 2)
    assert signs({"tail_coverage": falls, "mean_words": holds, "dispersion": holds}) == ["early"]
    assert signs({"tail_coverage": falls, "mean_words": falls, "dispersion": falls}) == ["late"]
    assert signs({"tail_coverage": falls, "mean_words": rises}) == []
    assert signs({"tail_coverage": holds, "mean_words": holds, "dispersion": holds}) == []
    assert signs({"tail_coverage": falls}) == []  # nothing says that the means hold
    assert signs({"tail_coverage": falls, "bits": holds, "mean_words": rises}, means=("bits",)) == ["early"]


def corpus(n, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(200)]
    return [" ".join(rng.choice(vocabulary, 12, p=ZIPF).tolist()) for _ in range(n)]


def test_texts_lose_types_tail_and_fit_under_replace_and_keep_them_under_accumulate():
    real, held_out = corpus(60), corpus(30, seed=9)
    measures = text_measures(real, held_out=held_out)
    lines = compare(word_ngrams(1), real, measures, regimes=("replace", "accumulate"), generations=6)
    assert len(lines) == 2 * 3 * 7
    slopes = {regime: {name: slope(lines, regime, name) for name in measures} for regime in ("replace", "accumulate")}
    replaced, kept = slopes["replace"], slopes["accumulate"]
    for name in ("types", "tail_coverage", "distinct_1", "distinct_2"):
        assert replaced[name].high < 0, name
        assert replaced[name].value < 2 * kept[name].value, name
    assert replaced["bits"].low > 0
    assert replaced["bits"].value > 2 * kept["bits"].value
    assert "early" in signs(replaced)
    first = [line.values for line in lines if line.generation == 0]
    assert all(one == first[0] for one in first)
    assert first[0]["mean_words"] == pytest.approx(12)


def test_generation_0_is_held_against_the_other_half_of_the_real_rows_and_moves_away_from_it():
    real = corpus(60)
    measures = text_measures(real, embed=EMBED)
    run = iterate(word_ngrams(1), real, regime="replace", generations=6)
    first, last = ({name: one(run[at]) for name, one in measures.items()} for at in (0, 6))
    assert {"vendi", "dispersion", "mmd2", "auc", "mauve"} < set(first)
    assert all(math.isfinite(number) for number in [*first.values(), *last.values()])
    assert abs(first["auc"] - 0.5) < 0.15 < last["auc"] - 0.5
    assert abs(first["mmd2"]) < 0.008 < last["mmd2"]
    assert first["mauve"] > last["mauve"]
    assert first["vendi"] > last["vendi"]
    assert 1 < first["vendi"] <= 30


def test_measures_of_texts_are_taken_at_one_budget_and_none_below_it():
    real = corpus(40)
    measures = text_measures(real, embed=EMBED)
    copies = iterate(lambda rows, n, seed: ["w0"] * n, real, regime="replace", generations=1)
    assert measures["types"](copies[1]) is None  # 40 tokens are fewer than 240
    assert measures["mean_words"](copies[1]) == 1
    assert measures["dispersion"](copies[1]) == pytest.approx(0)
    assert measures["vendi"](copies[1]) == pytest.approx(1)
    whole = text_measures(real, token_budget=480)
    assert whole["types"](copies[0]) == len({word for text in real for word in text.split()})
    assert whole["tail_coverage"](copies[0]) == 1.0
    few = iterate(lambda rows, n, seed: list(rows[:n]), real, regime="replace", generations=1, n=5)
    assert measures["vendi"](few[1]) is None  # fewer rows would look less diverse
    nothing = iterate(lambda rows, n, seed: [""] * n, ["", ""], regime="replace", generations=1)
    assert text_measures(["", ""], embed=EMBED)["vendi"](nothing[1]) is None
    assert text_measures(["", ""])["tail_coverage"](nothing[1]) is None


# Sets in rounds


def in_rounds(vocabularies, column="iteration", rows=60):
    rng = np.random.default_rng(0)
    return [
        {"text": " ".join(f"w{one}" for one in rng.integers(0, size, 20)), column: number}
        for number, size in enumerate(vocabularies, start=1)
        for _ in range(rows)
    ]


def test_diversity_that_falls_by_round_has_a_slope_below_what_chance_gives():
    found = measure(of_records(in_rounds([200, 100, 50, 25]), "set"))
    for name in ("distinct_2_slope", "types_slope"):
        one = value(found, name)
        assert one.high < one.null, name
        assert one.value < 0
    assert abs(value(found, "types_slope").null) < 3
    types = [line["types"] for line in found.tables["rounds"]]
    assert types == pytest.approx([190, 100, 50, 25], abs=8)
    assert [line["round"] for line in found.tables["rounds"]] == [1, 2, 3, 4]
    assert found.settings["token_budget"] == 600
    assert found.rows["round"] == [float(number) for number in range(1, 5) for _ in range(60)]


def test_a_fall_is_clear_where_the_whole_interval_lies_below_chance():
    assert falls(measure(of_records(in_rounds([200, 100, 50, 25]), "set")))
    assert not falls(measure(of_records(in_rounds([25, 50, 100, 200]), "set")))
    assert not falls(measure(of_records(in_rounds([100] * 5), "set")))
    assert not falls(measure(of_texts(["no rounds"])))
    for high, null, clear in (
        (-0.1, 0.0, True),
        (0.01, 0.0, False),
        (0.0, 0.0, False),
        (None, 0.0, False),
        (-1.0, None, False),
    ):
        one = Measure(name="distinct_2_slope", value=-0.2, low=-0.3, high=high, null=null)
        assert falls(Found(check="model-collapse", measures=[one])) is clear


def test_rounds_of_few_long_rows_and_of_many_short_ones_are_held_against_chance_at_the_same_budget():
    false_alarms = 0
    for seed in range(10):
        said = np.random.default_rng(seed).integers(0, 300, (2, 5000))
        rows = [
            {"text": " ".join(f"w{one}" for one in said[at, start : start + length]), "round": at}
            for at, length in ((0, 10), (1, 500))
            for start in range(0, 5000, length)
        ]
        found = measure(of_records(rows, "set"))
        # Ten rows by chance would mostly be 100 tokens of the budget's 2,500, and look most diverse.
        assert abs(value(found, "distinct_2_slope").null) < 0.004
        false_alarms += falls(found)
    assert false_alarms <= 2


def test_generations_of_the_lineage_are_rounds_where_no_column_numbers_several():
    rows = [{"text": row["text"], "lineage": {"generation": row["iteration"]}} for row in in_rounds([200, 100, 50, 25])]
    found = measure(of_records(rows, "set"))
    assert found.settings["column"] == "lineage.generation"
    assert (
        value(found, "distinct_2_slope").value
        == value(measure(of_records(in_rounds([200, 100, 50, 25]), "set")), "distinct_2_slope").value
    )
    assert measure(of_records([row | {"round": 1} for row in rows], "set")).settings["column"] == "lineage.generation"
    named = measure(of_records([row | {"round": n % 2} for n, row in enumerate(rows)], "set"))
    assert named.settings["column"] == "round"
    same = measure(of_records([row | {"lineage": {"generation": 1}} for row in rows], "set"))
    assert same.settings["column"] is None


def test_the_highest_generation_is_a_measure_of_its_own_with_rounds_and_without():
    for generations, most in (([0, 1, 2, 1], 2.0), ([1, 1, 1, 1], 1.0)):
        rows = [{"text": f"t {n}", "lineage": {"generation": n}} for n in generations]
        one = value(measure(of_records(rows, "set")), "max_generation")
        assert (one.value, one.n, one.better) == (most, 4, "")
    rows = [row | {"lineage": {"generation": 3}} for row in in_rounds([100, 50])]
    found = measure(of_records(rows, "set"))
    assert value(found, "max_generation").value == 3.0
    assert value(found, "distinct_2_slope").value is not None
    assert "max_generation" not in {one.name for one in measure(of_records(in_rounds([100, 50]), "set")).measures}


def test_rounds_of_one_distribution_have_a_slope_that_chance_gives():
    found = measure(of_records(in_rounds([100] * 5), "set"))
    for name in ("distinct_2_slope", "types_slope"):
        one = value(found, name)
        assert one.low < one.null < one.high, name


def test_a_slope_is_for_each_step_of_the_number_and_rounds_of_other_sizes_compare():
    even = of_records(in_rounds([200, 50]), "set")
    records = in_rounds([200, 50])
    apart = of_records([record | {"iteration": record["iteration"] * 10} for record in records], "set")
    assert value(measure(apart), "types_slope").value == pytest.approx(value(measure(even), "types_slope").value / 10)
    larger = of_records([*in_rounds([100, 1], rows=600)[:600], *in_rounds([1, 100], rows=60)[60:]], "set")
    one = value(measure(larger), "types_slope")
    assert abs(one.value) < 4  # ten times the rows, the same vocabulary


@pytest.mark.parametrize("column", ["iteration", "round", "generation"])
def test_each_of_the_usual_columns_is_read_and_numbers_may_be_text(column):
    records = [record | {column: str(record[column])} for record in in_rounds([50, 50], column)]
    found = measure(of_records(records, "set"))
    assert found.settings["column"] == column
    assert value(found, "distinct_2_slope").value is not None


def test_rows_in_another_order_give_the_same_numbers():
    records = in_rounds([100, 50])
    one, other = (measure(of_records(rows, "set")) for rows in (records, records[::-1]))
    assert one.measures == other.measures
    assert one.measures == measure(of_records(records, "set")).measures
    assert one.measures != measure(of_records(records, "set"), seed=1).measures


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no column"),
        ([{"text": "a b c"}], "no column"),
        ([{"text": "a b c", "round": 1}] * 3, "no column"),
        ([{"text": "a b c", "round": number} for number in (1, 2)], "has 0"),
        ([{"text": "a b c " * 100, "round": 1}, {"text": "", "round": 2}], "has 1"),
        ([{"text": "a", "round": True}, {"text": "b", "round": False}], "no column"),
        ([{"text": "a", "round": 0.5}, {"text": "b", "round": float("nan")}, {"text": "c", "round": "x"}], "no column"),
    ],
)
def test_a_set_without_two_rounds_of_text_has_one_measure_that_says_why(records, why):
    found = measure(of_records(records, "set"))
    assert len(found.measures) == 1
    assert found.measures[0].value is None
    assert why in found.measures[0].why


def test_short_rounds_are_left_out_and_named_and_rows_without_a_number_have_none():
    records = [*in_rounds([100, 100]), {"text": "short", "iteration": 9}, {"text": "no number " * 99}]
    found = measure(of_records(records, "set"))
    assert [line["round"] for line in found.tables["rounds"]] == [1, 2]
    assert any("1 rounds" in note for note in found.notes)
    assert found.rows["round"][-2:] == [9.0, None]


def test_rows_that_are_all_equal_or_hold_one_word_are_defined():
    found = measure(of_records([{"text": "wort", "round": at % 2} for at in range(400)], "set"))
    assert value(found, "types_slope").value == 0
    assert value(found, "distinct_2_slope").value == 0
    assert found.tables["rounds"][0]["types"] == 1
    unicode = [{"text": "мама 你好 ok\ud800 " * 40, "round": at} for at in (0, 1)]
    assert value(measure(of_records(unicode, "set")), "types_slope").value == pytest.approx(0)


def test_pairs_of_tokens_do_not_reach_over_rows():
    rows = [{"text": f"a{at} b{at}", "round": at % 2} for at in range(400)]
    table = measure(of_records(rows, "set")).tables["rounds"]
    assert table[0]["distinct_2"] == 1.0
    same = [{"text": "x y", "round": at % 2} for at in range(400)]
    assert measure(of_records(same, "set")).tables["rounds"][0]["distinct_2"] == pytest.approx(1 / 100)


def test_a_draw_has_exactly_the_budgets_tokens():
    rows = [{"text": " ".join(f"w{row}x{at}" for at in range(31)), "round": row % 2} for row in range(22)]
    found = measure(of_records(rows, "set"))
    assert found.settings["token_budget"] == 170
    assert [line["types"] for line in found.tables["rounds"]] == [170, 170]  # no token comes twice


def test_a_reference_stands_beside_at_the_same_budget():
    reference = of_texts([record["text"] for record in in_rounds([400], rows=30)])
    found = measure(of_records(in_rounds([100, 100]), "set"), reference)
    assert found.settings["token_budget"] == 300  # half of the reference's 600
    assert found.tables["reference"][0]["types"] > found.tables["rounds"][0]["types"] + 50
    assert "reference" not in measure(of_records(in_rounds([100, 100]), "set"), of_texts([""])).tables
