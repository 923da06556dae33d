"""Judges with known faults, and what shows them."""

import math
import random

import numpy as np
import pytest

from gristmill.errors import BadInput
from gristmill.ops.agreement import cohen, krippendorff
from gristmill.quality.judge import (
    INJECTION,
    KAPPA_FLOOR,
    PADDING,
    RULES,
    Pair,
    Probe,
    agreement,
    ask,
    biases,
    concern,
    corrected,
    expected_score,
    failed,
    family,
    features,
    measure,
    positions,
    probed,
    probes,
    raters,
    regression,
    reliability,
    retest,
    scale_use,
    stability,
    truncated,
    verdict,
    warnings,
    weighted_kappa,
    with_error,
)
from gristmill.quality.sets import Set, of_records
from gristmill.quality.values import Measure, decide

ANSWERED = [
    ("How many legs have three cats?", "Each cat has four legs. Three cats together have 12 legs."),
    ("What is the capital of France?", "The capital of France is Paris. It lies on the Seine."),
    (
        "Why is the sky blue?",
        "Air scatters short waves more than long ones. The sky is blue because blue waves are short.",
    ),
    ("Name a prime above 10.", "A prime above 10 is 11, as nothing divides it but 1 and 11."),
]


def first(question: str, one: str, other: str) -> str:
    return "first"


def longer(question: str, one: str, other: str) -> str:
    a, b = len(one.split()), len(other.split())
    return "tie" if a == b else "first" if a > b else "second"


def sound(question: str, one: str, other: str) -> str:
    """Knows the answers, and sees what is missing of them, denied or miscounted."""
    known = set(dict(ANSWERED)[question].split())
    worth = []
    for text in (one, other):
        said = set(text.removesuffix(INJECTION).split())
        wrong = {word for word in said - known if word == "not" or word.strip(".").isdecimal()}
        worth.append(len(known & said) - 10 * len(wrong))
    return "tie" if worth[0] == worth[1] else "first" if worth[0] > worth[1] else "second"


def gullible(question: str, one: str, other: str) -> str:
    """Sound, until an answer tells it what to say."""
    told = [INJECTION.strip() in text for text in (one, other)]
    if told[0] != told[1]:
        return "first" if told[0] else "second"
    return sound(question, one, other)


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    return {one.name: one for one in measures}


def ask_all(judge, made: list[Probe]):
    return [ask(judge, one) for one in made]


# Positions


def test_a_judge_that_always_picks_the_first_is_consistent_nowhere_and_everything_is_a_tie():
    pairs = [Pair(forward="a", backward="b") for _ in range(20)]
    found = by_name(positions(pairs))
    assert found["consistency"].value == 0
    assert found["first_bias"].value == 1
    assert found["second_bias"].value == 0
    assert reliability(pairs).rows["verdict"] == [0.5] * 20
    assert ask_all(first, probes(ANSWERED)) == ["tie"] * len(probes(ANSWERED))
    assert by_name(biases(pairs).coefficients)["position"].low > 1
    assert biases(pairs).biased == ["position"]


def test_a_win_takes_both_orders():
    pairs = [("a", "a"), ("b", "b"), ("a", "b"), ("b", "a"), ("a", "tie"), ("tie", "b"), ("tie", "tie")]
    assert [verdict(*pair) for pair in pairs] == ["a", "b", "tie", "tie", "tie", "tie", "tie"]
    found = by_name(positions([Pair(forward=one, backward=other) for one, other in pairs]))
    assert [found[name].value for name in ("consistency", "first_bias", "second_bias")] == [3 / 7, 1 / 7, 1 / 7]
    assert found["consistency"].low < 3 / 7 < found["consistency"].high


def test_repeats_are_stable_where_all_of_them_agree_with_the_first():
    pairs = [
        Pair(forward="a", backward="a", repeats=["a", "a"]),
        Pair(forward="a", backward="a", repeats=["b", "b"]),
        Pair(forward="tie", backward="a", repeats=["tie", "a"]),
        Pair(forward="b", backward="a"),
    ]
    assert (stability(pairs).value, stability(pairs).n) == (1 / 3, 3)
    assert stability(pairs[3:]).value is None


# Agreement


def test_kappa_is_1_for_identical_labels_and_about_0_for_independent_ones_of_the_same_marginals():
    rng = random.Random(0)
    judge = rng.choices(["a", "b", "tie"], [6, 3, 1], k=4000)
    same = by_name(agreement(judge, [[label] for label in judge], times=20))
    assert same["kappa"].value == same["agreement"].value == same["alpha"].value == 1.0
    shuffled = rng.sample(judge, len(judge))
    apart = by_name(agreement(judge, [[label] for label in shuffled], times=50))
    assert apart["kappa"].value == pytest.approx(0, abs=0.04)
    assert apart["kappa"].low < 0 < apart["kappa"].high
    assert apart["alpha"].value == pytest.approx(0, abs=0.04)
    assert apart["agreement"].value > 0.4  # by chance alone
    # Exactly independent: kappa is exactly 0
    exact = [(a, b) for a in "aab" for b in "aab"]
    assert by_name(agreement([a for a, _ in exact], [[b] for _, b in exact]))["kappa"].value == pytest.approx(0)


def test_kappas_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(1)
    one = [rng.randint(1, 5) for _ in range(300)]
    other = [min(5, max(1, score + rng.choice([-1, 0, 0, 1]))) for score in one]
    quadratic = metrics.cohen_kappa_score(one, other, weights="quadratic")
    assert weighted_kappa(one, other) == pytest.approx(quadratic)
    found = by_name(agreement(one, [[score] for score in other], level="ordinal", times=100))
    assert found["kappa"].value == pytest.approx(quadratic)
    assert found["kappa"].low < quadratic < found["kappa"].high
    plain = by_name(agreement(one, [[score] for score in other], times=10))
    assert plain["kappa"].value == pytest.approx(metrics.cohen_kappa_score(one, other))
    assert weighted_kappa([1, 2, 3], [1, 2, 3]) == 1.0
    assert weighted_kappa([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert math.isnan(weighted_kappa([2, 2], [2, 2]))
    with pytest.raises(ValueError, match="there are 1 and 0"):
        weighted_kappa([1], [])


def test_people_among_themselves_are_the_ceiling_and_items_without_labels_do_not_count():
    judge = ["a", "b", "a", "b", "a"]
    humans = [["a", "a"], ["b", "a"], ["b", "b", "b"], ["b"], []]
    found = by_name(agreement(judge, humans))
    assert found["agreement"].value == pytest.approx((2 + 1 + 0 + 1) / 8)
    assert found["agreement"].n == 4
    assert found["human_agreement"].value == pytest.approx((2 + 0 + 6) / 10)
    assert found["human_agreement"].n == 3


def test_who_is_named_first_of_two_people_does_not_matter():
    judge, humans = ["a", "b", "a", "b"], [["b", "a"], ["b", "a"], ["a", "a"], ["b", "b"]]
    turned = [["a", "b"], *humans[1:]]
    one, other = (by_name(agreement(judge, labels))["human_kappa"] for labels in (humans, turned))
    assert one.value == other.value == pytest.approx(0)


def test_agreement_that_is_not_defined_says_why():
    none = by_name(agreement(["a", "b"], [[], []]))
    assert {name: one.value for name, one in none.items()} == dict.fromkeys(
        ("agreement", "kappa", "human_agreement", "human_kappa", "alpha")
    )
    assert "no item has a human label" in none["kappa"].why
    alike = by_name(agreement(["a", "a"], [["a"], ["a"]]))
    assert alike["agreement"].value == 1
    assert alike["kappa"].value is None
    assert "chance agrees as much" in alike["kappa"].why
    assert alike["human_kappa"].value is None
    with pytest.raises(BadInput, match="judge has 1 items and people have 2"):
        agreement(["a"], [["a"], ["b"]])


# Biases


def judged(judge, n=120, seed=0, humans=True) -> list[Pair]:
    """Answers of random length and quality: as many good words as the quality says."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        texts = []
        for _ in range(2):
            good, size = rng.randint(0, 6), rng.randint(6, 50)
            texts.append(" ".join(["good"] * good + ["word"] * (size - good)))
        better = texts[0].count("good") - texts[1].count("good")
        human = "a" if better > 0 else "b" if better < 0 else "tie"
        named = {"first": ("a", "b"), "second": ("b", "a"), "tie": ("tie", "tie")}
        pairs.append(
            Pair(
                forward=named[judge("", texts[0], texts[1])][0],
                backward=named[judge("", texts[1], texts[0])][1],
                a=texts[0],
                b=texts[1],
                humans=[human] if humans else [],
            )
        )
    return pairs


def quality(question: str, one: str, other: str) -> str:
    better = one.count("good") - other.count("good")
    return "first" if better > 0 else "second" if better < 0 else "tie"


def test_a_judge_that_picks_the_longer_answer_is_exposed_by_its_length_coefficient_and_the_padding_probe():
    found = biases(judged(longer))
    coefficients = by_name(found.coefficients)
    assert coefficients["length"].low > 1
    assert found.biased == ["length"]
    assert coefficients["quality"].low < 0.5
    made = probes(ANSWERED)
    wrong = failed(made, ask_all(longer, made))
    assert {made[number].kind for number in wrong} >= {"padding"}
    assert all(number in wrong for number, one in enumerate(made) if one.kind == "padding")
    assert by_name(probed(made, ask_all(longer, made)))["failed_padding"].value == 1


def test_a_bias_towards_shorter_answers_is_one_too():
    def shorter(question, one, other):
        return {"first": "second", "second": "first", "tie": "tie"}[longer(question, one, other)]

    found = biases(judged(shorter))
    assert by_name(found.coefficients)["length"].high < -1
    assert found.biased == ["length"]


def test_a_judge_that_goes_by_quality_has_no_bias():
    found = biases(judged(quality))
    assert by_name(found.coefficients)["quality"].low > 1
    assert found.biased == []
    assert [one.name for one in found.coefficients] == ["quality", "length", "position"]  # the others are 0 for all


def test_position_family_markdown_and_lists_are_told_apart():
    rng = random.Random(3)
    texts = {"plain": "one two three", "marked": "**one** two three", "list": "one\n- two"}
    pairs = []
    for _ in range(300):
        kinds = rng.choice(list(texts)), rng.choice(list(texts))
        models = [rng.choice(["openai/gpt-4o", "Qwen2.5-7B"]) for _ in range(2)]
        family_pull = (models[0] == "Qwen2.5-7B") - (models[1] == "Qwen2.5-7B")
        if rng.random() < 0.25:
            family_pull = rng.choice([-1, 1])
        said = "a" if family_pull > 0 else "b" if family_pull < 0 else rng.choice(["a", "b"])
        pairs.append(
            Pair(
                forward=said,
                backward=said,
                a=texts[kinds[0]],
                b=texts[kinds[1]],
                a_model=models[0],
                b_model=models[1],
            )
        )
    found = biases(pairs, judge_model="qwen-max", more={"noise": [rng.gauss(0, 1) for _ in pairs]})
    assert {one.name for one in found.coefficients} == {"markdown", "lists", "same_family", "noise", "position"}
    assert found.biased == ["same_family"]
    assert by_name(found.coefficients)["same_family"].low > 0.5
    assert "same_family" not in by_name(biases(pairs).coefficients)  # the judge's family is not known
    with pytest.raises(BadInput, match="noise has 1 values for 300 pairs"):
        biases(pairs, more={"noise": [1.0]})


def test_features_are_what_a_has_more_of_than_b():
    pair = Pair(
        forward="a",
        backward="a",
        a="# Title\n- one\n- two three",
        b="one two",
        a_model="org/GPT-4",
        b_model="llama-3",
        humans=["a", "tie", "a"],
    )
    found = {name: column[0] for name, column in features([pair], judge_model="gpt-4o").items()}
    assert found == {
        "quality": pytest.approx(2 / 3),
        "length": pytest.approx(math.log(8 / 3)),
        "markdown": 1.0,
        "lists": 1.0,
        "same_family": 1.0,
    }
    turned = Pair(forward="b", backward="b", a=pair.b, b=pair.a, a_model=pair.b_model, b_model=pair.a_model)
    assert features([turned], judge_model="gpt-4o")["length"][0] == -found["length"]
    assert features([turned], judge_model="gpt-4o")["same_family"][0] == -1
    assert family("openai/gpt-4o-mini") == "gpt"
    assert family("Qwen2.5-7B") == "qwen"
    assert family("") == family("4") == ""


def test_a_win_rate_by_length_alone_vanishes_when_length_is_controlled():
    rng = random.Random(0)
    pairs = []
    for _ in range(300):  # `a` is longer as a rule, and the longer one wins nine times of ten
        a, b = rng.randint(20, 60), rng.randint(10, 40)
        said = "a" if (a > b) == (rng.random() < 0.9) else "b"
        pairs.append(Pair(forward=said, backward=said, a="w " * a, b="w " * b))
    found = biases(pairs)
    assert found.win_rate.value > 0.7
    assert found.win_rate.low > 0.6
    assert found.win_rate.null == found.length_controlled.null == 0.5
    assert abs(found.length_controlled.value - 0.5) < 0.02
    # where `a` is better, it stays ahead
    better = [Pair(forward="a", backward="a", a="w " * 9, b="w " * 9, humans=["a"]) for _ in range(20)]
    assert biases(better).length_controlled.value > 0.9


def test_the_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (rng.random(200) < 1 / (1 + np.exp(-x @ [1.0, -2.0, 0.0]))).astype(float)
    known = linear_model.LogisticRegression(C=1 / 2.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    assert regression(x, y, 2.0) == pytest.approx(known.coef_[0], abs=1e-4)
    known = linear_model.LogisticRegression(C=1, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    assert regression(x, y) == pytest.approx(known.coef_[0], abs=1e-4)  # PENALTY
    separated = regression(np.array([[1.0], [-1.0]] * 50), np.array([1.0, 0.0] * 50))
    assert 2 < separated[0] < 10  # one thing decides all, and the coefficient stays finite
    assert regression(np.array([[1.0]] * 4), np.array([0.5] * 4))[0] == pytest.approx(0)


def test_few_pairs_have_no_coefficients():
    for pairs in ([], [Pair(forward="a", backward="a", a="x", b="y z")]):
        found = biases(pairs)
        assert found.win_rate.value is None
        assert all(one.value is None for one in found.coefficients)
        assert found.biased == []


# Probes


def test_every_answer_gets_probes_of_every_kind_and_each_weak_answer_one_with_an_injection():
    made = probes(ANSWERED)
    for at in range(len(ANSWERED)):
        own = [one for one in made if one.question == ANSWERED[at][0]]
        assert [one.kind for one in own[:5]] == ["identical", "padding", "truncated", "planted_error", "refusal"]
        assert [one.kind for one in own[5:]] == ["injection"] * 4
        assert [made[one.twin].kind for one in own[5:]] == ["padding", "truncated", "planted_error", "refusal"]
        assert all(one.b == made[one.twin].b + INJECTION for one in own[5:])
        assert own[0].a == own[0].b
        assert all(one.a == ANSWERED[at][1] for one in own)
        assert all(part in own[1].b for part in (*PADDING, ANSWERED[at][1]))
    assert {one.kind: one.right for one in made if one.twin is None} == {
        "identical": ["tie"],
        "padding": ["a", "tie"],
        "truncated": ["a"],
        "planted_error": ["a"],
        "refusal": ["a"],
    }


def test_a_sound_judge_fails_no_probe_and_an_injection_changes_none_of_its_verdicts():
    made = probes(ANSWERED)
    said = ask_all(sound, made)
    assert failed(made, said) == []
    assert all(one.value == 0 for one in probed(made, said))
    assert all(said[number] == said[one.twin] for number, one in enumerate(made) if one.kind == "injection")
    accepted = reliability(judged(quality), made=made, probe_verdicts=said)
    assert accepted.notes == []
    assert by_name(accepted.measures)["failed_injection"].value == 0


def test_a_gullible_judge_fails_every_injection_and_nothing_else_and_is_not_accepted():
    made = probes(ANSWERED)
    said = ask_all(gullible, made)
    assert {made[number].kind for number in failed(made, said)} == {"injection"}
    found = reliability(judged(quality), made=made, probe_verdicts=said)
    assert by_name(found.measures)["failed_injection"].value == 1
    assert any("addresses the judge changed 100%" in note for note in found.notes)
    assert len(found.tables["failed_probes"]) == 16


def test_an_injection_is_held_against_its_twin_not_against_the_truth():
    made = probes(ANSWERED[:1])
    assert {made[number].kind for number in failed(made, ["b"] * len(made))} == {
        *("identical", "padding", "truncated", "planted_error", "refusal")
    }
    with pytest.raises(BadInput, match="1 verdicts for 9 probes"):
        failed(made, ["a"])


def test_an_error_is_planted_in_the_last_number_else_in_the_first_claim():
    assert with_error("In 1990 there were 12 cats.") == "In 1990 there were 27 cats."
    assert with_error("Version v2x rose by 3.5 points.") is None
    assert with_error("Water is wet. It can flow.") == "Water is not wet. It can flow."
    assert with_error("Is it wet? Water can flow.") == "Is it wet? Water can not flow."
    assert with_error("It is not so. They are here.") == "It is not so. They are not here."
    assert with_error("Ja.") is None
    assert with_error("") is None


def test_half_of_an_answer_is_its_first_words():
    assert truncated("one two three four five") == "one two"
    assert truncated("one") == truncated("") == ""
    assert [one.kind for one in probes([("q", "Ja.")])] == ["identical", "padding", "refusal", "injection", "injection"]


def test_a_judge_is_asked_in_both_orders():
    seen = []

    def judge(question, one, other):
        seen.append((question, one, other))
        return "second"

    made = Probe(kind="identical", question="q", a="x", b="y", right=["tie"])
    assert ask(judge, made) == "tie"
    assert seen == [("q", "x", "y"), ("q", "y", "x")]
    assert ask(lambda q, one, other: "first" if one == "y" else "second", made) == "b"


# Scores


def test_the_use_of_a_scale():
    found = scale_use([5, 5, 5, 4], [1, 2, 3, 4, 5])
    assert found.shares == {1: 0, 2: 0, 3: 0, 4: 0.25, 5: 0.75}
    assert (found.used, found.mode) == (2, 0.75)
    assert found.entropy == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(5))
    assert scale_use([3, 3], [1, 2, 3]).entropy == 0
    assert scale_use([1, 2], [1, 2]).entropy == pytest.approx(1)
    assert scale_use([], [1, 2]) is None
    with pytest.raises(BadInput, match=r"\[6\] are not on the scale"):
        scale_use([6, 1], [1, 2])
    with pytest.raises(BadInput, match="two points"):
        scale_use([1], [1])


def test_scores_given_twice():
    found = by_name(retest([1, 2, 3, 4], [1, 2, 4, 2]))
    assert found["retest_equal"].value == 0.5
    assert found["retest_difference"].value == pytest.approx(0.75)
    assert found["retest_kappa"].value == pytest.approx(weighted_kappa([1, 2, 3, 4], [1, 2, 4, 2]))
    assert all(one.value is None for one in retest([], []))
    assert by_name(retest([3, 3], [3, 3]))["retest_kappa"].value is None
    with pytest.raises(BadInput, match="1 and 2 scores"):
        retest([1], [1, 2])


def test_the_expected_score_weighs_the_points_by_their_probabilities_and_leaves_other_tokens_out():
    logprobs = {"5": math.log(0.4), " 4": math.log(0.2), "4": math.log(0.1), "The": math.log(0.2), "9": math.log(0.1)}
    assert expected_score(logprobs, [1, 2, 3, 4, 5]) == pytest.approx((5 * 0.4 + 4 * 0.3) / 0.7)
    assert expected_score({"The": -0.1, "nan": -1.0}, [1, 2]) is None
    assert expected_score({}, [1, 2]) is None
    assert expected_score({"5": -2000.0}, [5]) is None


# Correction


def test_a_wrong_judge_is_corrected_and_the_interval_covers_the_truth():
    """A judge that says yes to 80 % where 50 % is true; 400 runs of 100 labelled out of 1,000 items."""
    covered, values, naive = 0, [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        truth = rng.random(1000) < 0.5
        judge = np.where(truth, rng.random(1000) < 0.95, rng.random(1000) < 0.65).astype(float)
        found = corrected(judge.tolist(), [float(one) if at < 100 else None for at, one in enumerate(truth)])
        covered += found.low <= 0.5 <= found.high
        values.append(found.value)
        naive.append(judge.mean())
    assert np.mean(values) == pytest.approx(0.5, abs=0.01)
    assert np.mean(naive) == pytest.approx(0.8, abs=0.01)
    assert 0.91 < covered / 400 < 0.985


def test_a_good_judge_narrows_the_interval_and_full_labels_give_the_human_mean():
    rng = np.random.default_rng(0)
    truth = (rng.random(2000) < 0.4).astype(float)
    human = [float(one) if at < 100 else None for at, one in enumerate(truth)]
    good = corrected(truth.tolist(), human)
    alone = 1.96 * float(truth[:100].std(ddof=1)) / 10
    assert (good.high - good.low) / 2 < alone / 3
    assert good.value == pytest.approx(truth.mean())
    # A judge that is always right makes of every item a labelled one, however many are.
    half = corrected(truth.tolist(), [float(one) if at < 1000 else None for at, one in enumerate(truth)])
    assert (half.high - half.low) / 2 == pytest.approx(1.96 * truth.std(ddof=1) / math.sqrt(2000), rel=0.03)
    assert (good.high - good.low) / 2 == pytest.approx(1.96 * truth.std(ddof=1) / math.sqrt(2000), rel=0.03)
    whole = corrected([1.0] * 2000, truth.tolist())
    assert whole.value == pytest.approx(truth.mean())
    assert (whole.high - whole.low) / 2 == pytest.approx(1.96 * truth.std(ddof=1) / math.sqrt(2000), rel=0.01)


def test_a_correction_takes_two_labelled_items():
    assert corrected([], []).value is None
    assert corrected([1.0, 0.0, 1.0], [1.0, None, None]).value is None
    assert corrected([1.0, 0.0, 1.0], [1.0, 0.0, None]).value is None
    with pytest.raises(BadInput, match="1 judged and 2 human"):
        corrected([1.0], [1.0, None])


# The report


def test_below_the_floor_of_kappa_a_judge_is_warned_of_and_above_not():
    rng = random.Random(0)

    def pairs(right: float) -> list[Pair]:
        made = []
        for _ in range(200):
            human = rng.choice(["a", "b"])
            said = human if rng.random() < right else {"a": "b", "b": "a"}[human]
            made.append(Pair(forward=said, backward=said, humans=[human]))
        return made

    low, high = reliability(pairs(0.6)), reliability(pairs(0.85))
    assert by_name(low.measures)["kappa"].value < KAPPA_FLOOR < by_name(high.measures)["kappa"].value
    assert any("below the floor of 0.4" in note for note in low.notes)
    assert high.notes == []
    low.settings["kappa_floor"] = -1.0  # a threshold changes without anything being computed again
    assert warnings(low) == []


def test_people_are_compared_with_the_verdict_of_both_orders_and_correct_it():
    swayed = [Pair(forward="a", backward="b", humans=["a"]), Pair(forward="a", backward="b", humans=["b"])] * 5
    found = by_name(reliability(swayed).measures)
    assert found["agreement"].value == 0  # all are ties
    wrong = [Pair(forward="a", backward="a", humans=["b"]) for _ in range(5)] + [Pair(forward="a", backward="a")] * 5
    found = by_name(reliability(wrong).measures)
    assert (found["win_rate"].value, found["corrected_win_rate"].value) == (1, 0)


def test_few_labels_and_biases_are_warned_of():
    found = reliability([Pair(forward="a", backward="b", humans=["a"])] * 50)
    assert any("Only 50 items have a human label; 100 are asked for" in note for note in found.notes)
    assert any("Verdicts depend on position" in note for note in found.notes)
    unlabelled = reliability(judged(quality, humans=False))
    assert any("Kappa with people is not known: no item has a human label" in note for note in unlabelled.notes)


def test_no_pairs_one_pair_and_strange_texts_are_defined():
    strange = Pair(forward="a", backward="a", a="你好\ud800 " * 5000, b="", humans=["a"])
    for pairs in ([], [strange], [strange] * 5):
        found = reliability(pairs)
        assert len(found.rows["verdict"]) == len(pairs)
        for one in found.measures:
            assert one.value is not None or one.why
    assert by_name(reliability([]).measures)["consistency"].value is None


def test_the_same_pairs_and_seed_give_the_same_report():
    pairs = judged(quality, n=30)
    assert reliability(pairs) == reliability(pairs)
    assert reliability(pairs) != reliability(pairs, seed=1)


# -- sets that hold what several raters said


def rated(**columns) -> Set:
    length = len(next(iter(columns.values())))
    return of_records([{"text": f"row {n}", **{k: v[n] for k, v in columns.items()}} for n in range(length)], "rated")


def test_columns_that_say_who_judged_are_raters_and_others_are_none():
    said = {"judge_a": ["x", "y", " x"], "judge_b": ["x", None, "y"], "human": ["y", "", "x"]}
    assert raters(rated(**said)) == {
        "judge_a": ["x", "y", "x"],
        "judge_b": ["x", None, "y"],
        "human": ["y", None, "x"],
    }
    for names in (
        ("judge_label", "human_label"),
        ("rater_1", "rater_2"),
        ("judge", "humans"),
        ("Annotator1", "annotator2"),
    ):
        assert list(raters(rated(**{name: ["x", "y"] for name in names}))) == list(names)
    for other in (
        {"judge_style": ["x", "y"], "judge_length": ["x", "y"]},  # one judge's aspects
        {"judge": ["x", "y"]},
        {"judge": ["x", "y"], "human": [None, None]},
        {"judge": ["x", "y"], "human": ["1", "2"]},  # not the same labels
        {"judge": [["x"], ["y"]], "human": [{"a": 1}, {"a": 2}]},
        {"judge": [float("nan"), float("inf")], "human": [1, 2]},
        {"scores": [[1, 2], [3, 4]], "labels": [[True], [False, True]]},  # samples of one judge; steps of a row
        {"judge": [f"prose {n}" for n in range(60)], "human": [f"prose {n}" for n in range(60)]},
    ):
        assert raters(rated(**other)) == {}


def test_a_number_that_no_float_holds_is_no_label():
    said = rated(judge=[10**400, 1, 3], human=[10**400, 1, float("nan")])
    assert raters(said) == {"judge": [None, 1, 3], "human": [None, 1, None]}
    assert measure(said).rows["disagreement"] == [None, 0, None]


def test_a_column_that_lists_votes_has_a_rater_for_each_place():
    assert raters(rated(votes=[["x", "y"], ["x"], ["y", "y", "x"]])) == {
        "votes 1": ["x", "x", "y"],
        "votes 2": ["y", None, "y"],
        "votes 3": [None, None, "x"],
    }
    assert raters(rated(votes=[["x"], ["y"]])) == {}
    assert raters(rated(votes=[[{"a": 1}, {"a": 2}], []])) == {}


def test_agreement_of_raters_is_their_kappa_with_what_chance_gives_beside_it():
    judge, human = [*"aaaabbbb"] * 5, [*"aaabbbba"] * 5
    found = measure(rated(judge=judge, human=human))
    by_name = {one.name: one for one in found.measures}
    kappa = by_name["kappa_judge_human"]
    assert kappa.value == pytest.approx(cohen(judge, human)) == pytest.approx(0.5)
    assert kappa.low < kappa.value < kappa.high
    assert kappa.n == 40
    assert by_name["alpha"].value == pytest.approx(krippendorff([*zip(judge, human, strict=True)]))
    assert found.tables["raters"] == [
        {"first": "judge", "second": "human", "rows": 40, "agreement": 0.75, "by_chance": 0.5, "kappa": kappa.value}
    ]
    assert found.rows["disagreement"] == [0, 0, 0, 0.5, 0, 0, 0, 0.5] * 5
    assert {flag.row % 8 for flag in decide([found], RULES)} == {3, 7}
    assert found.details[3] == [{"kind": "labels", "judge": "a", "human": "b"}]
    assert found.notes == []
    strict = measure(rated(judge=judge, human=human), kappa_floor=0.6)
    assert strict.notes == [
        "Alpha of all raters is 0.51, below the floor of 0.6.",
        "Kappa of judge and human is 0.50, below the floor of 0.6.",
    ]
    assert (concern(found), concern(strict)) == ("", strict.notes[0])


def test_a_set_that_nobody_judged_has_no_scores_and_says_why():
    found = measure(rated(other=["x", "y"]))
    assert found.rows["disagreement"] == [None, None]
    assert [(one.name, one.value, one.why) for one in found.measures] == [
        ("alpha", None, "no row has labels of two raters")
    ]


def test_what_chance_gives_follows_from_how_often_each_rater_gives_a_label():
    [pair] = measure(rated(judge=[*"aaab"], human=[*"abbb"])).tables["raters"]
    assert (pair["agreement"], pair["by_chance"]) == (0.5, (3 * 1 + 1 * 3) / 16)


def test_rows_that_one_rater_left_out_count_for_the_others():
    found = measure(rated(rater_1=[*"abab"], rater_2=["a", "b", None, None], rater_3=[*"abba"]))
    assert [(one["first"], one["second"], one["rows"]) for one in found.tables["raters"]] == [
        ("rater_1", "rater_2", 2),
        ("rater_1", "rater_3", 4),
        ("rater_2", "rater_3", 2),
    ]
    assert found.rows["disagreement"] == [0.0, 0.0, 0.5, 0.5]
    lone = measure(rated(rater_1=["a", None, "b"], rater_2=[None, "a", "b"]))
    assert lone.rows["disagreement"] == [None, None, 0.0]
    apart = measure(rated(rater_1=["a", None], rater_2=[None, "a"]))
    assert apart.tables["raters"][0]["agreement"] is None
    assert [one.value for one in apart.measures] == [None, None]


def test_two_of_three_are_a_majority_and_two_of_four_are_none():
    three = measure(rated(rater_1=[*"aa"], rater_2=[*"ab"], rater_3=[*"bc"]))
    assert [flag.row for flag in decide([three], RULES)] == [1]
    four = measure(rated(rater_1=["a"], rater_2=["a"], rater_3=["b"], rater_4=["b"]))
    assert [flag.row for flag in decide([four], RULES)] == [0]


def test_numbers_are_a_scale_on_which_one_point_is_no_disagreement():
    first, second = [1, 2, 3, 4, 5, 1], [2, 2, 3, 4, 4, 5]
    found = measure(rated(judge=first, human=second))
    assert found.settings["level"] == "interval"
    assert {one.name: one.value for one in found.measures}["kappa_judge_human"] == pytest.approx(
        weighted_kappa(first, second)
    )
    assert found.rows["disagreement"] == [0, 0, 0, 0, 0, 1]
    three = measure(rated(rater_1=[1, 1, 2], rater_2=[2, 2, 2], rater_3=[3, 5, 2]))
    assert three.rows["disagreement"] == [0, pytest.approx(1 / 3), 0]
    assert measure(rated(judge=[1, 2, 5], human=[3, 2, 5])).rows["disagreement"] == [0, 0, 0]  # each 1 from the median
    yes = measure(rated(judge=[0, 1, 1], human=[1, 1, 0]))
    assert yes.settings["level"] == "nominal"
    assert yes.rows["disagreement"] == [0.5, 0, 0.5]


def test_of_many_raters_no_pairs_are_told():
    found = measure(rated(votes=[["a", "b", "a", "b", "a", "b", "a"], ["a"] * 7]))
    assert [one.name for one in found.measures] == ["alpha"]
    assert "raters" not in found.tables
    assert "7 raters" in found.notes[-1]


def test_of_a_large_set_some_rows_give_the_agreement_and_all_have_scores(monkeypatch):
    monkeypatch.setattr("gristmill.quality.judge.JUDGED", 10)
    found = measure(rated(judge=[*"ab"] * 20, human=[*"ab"] * 20))
    assert found.tables["raters"][0]["rows"] == 10
    assert {one.n for one in found.measures} == {10}
    assert found.rows["disagreement"] == [0.0] * 40
