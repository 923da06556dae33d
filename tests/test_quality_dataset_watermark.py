"""A model that was trained on the published version shows it, others do not. Models are counts of letters."""

import math
import random
from collections import Counter
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from gristmill.quality.dataset_watermark import (
    LOOK_ALIKES,
    Evidence,
    append,
    commitment,
    fresh_strings,
    holds,
    new_key,
    order,
    order_test,
    pattern,
    publish,
    random_string,
    rank_test,
    replaced,
    sealed,
    similarity,
    twins_test,
    version_keys,
)
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.watermark import normalised


class Letters:
    """A language model: letters by the four before them, from counts, with a little of every letter."""

    def __init__(self, texts, context: int = 4) -> None:
        self.context = context
        self.grams, self.before = Counter(), Counter()
        for text in texts:
            for gram in self._grams(text):
                self.grams[gram] += 1
                self.before[gram[:-1]] += 1

    def _grams(self, text: str) -> list[str]:
        padded = "\0" * self.context + text
        return [padded[at : at + self.context + 1] for at in range(len(text))]

    def loss(self, text: str) -> float:
        """Nats a letter."""
        grams = self._grams(text)
        return -sum(math.log((self.grams[g] + 0.05) / (self.before[g[:-1]] + 5)) for g in grams) / len(grams)


PARTS = [
    ("The old {}", "An ancient {}", "That aged {}", "One elderly {}"),
    ("walked quickly", "hurried along", "went in haste", "strode swiftly"),
    ("through the {}", "across the {}", "by way of the {}", "over the {}"),
    ("before sunrise", "ahead of dawn", "in the early hours", "while it was dark"),
]
NOUNS = [
    "baker",
    "miller",
    "sailor",
    "tailor",
    "farmer",
    "weaver",
    "smith",
    "cooper",
    "fisher",
    "potter",
    "tanner",
    "mason",
    "joiner",
    "glazier",
]
PLACES = [
    "market",
    "forest",
    "village",
    "valley",
    "harbour",
    "orchard",
    "meadow",
    "quarry",
    "garden",
    "tunnel",
    "square",
    "marsh",
]


def rows(count: int, seed: int, versions: int = 4) -> tuple[list[str], list[list[str]]]:
    """Sentences, each with rephrasings that are alike in kind."""
    rng = random.Random(seed)
    sources, made = [], []
    for _ in range(count):
        noun, place = rng.choice(NOUNS), rng.choice(PLACES)

        def say(noun=noun, place=place) -> str:
            first, verb, where, when = (rng.choice(part) for part in PARTS)
            number = rng.randrange(10**6)
            return f"{first.format(noun)} {number} {verb} {where.format(place)} {when}."

        sources.append(say())
        made.append([say() for _ in range(versions)])
    return sources, made


def of_twins(model: Letters, twins) -> Evidence:
    return twins_test(
        [model.loss(twins.public[row]) for row in twins.marked],
        [[model.loss(text) for text in twins.private[row]] for row in twins.marked],
    )


def test_a_model_of_the_published_version_is_found_and_one_of_a_private_version_is_not():
    sources, versions = rows(120, 0)
    twins = publish(sources, versions, "secret")
    background = rows(200, 99)[0]
    assert of_twins(Letters([*background, *twins.public]), twins).p_value < 1e-6
    assert of_twins(Letters([*background, *twins.public]), twins).trained_on()
    private = of_twins(Letters([*background, *(texts[0] for texts in twins.private)]), twins)
    assert private.p_value > 0.9
    assert not private.trained_on()
    assert of_twins(Letters(background), twins).p_value > 0.01


def uniform(p_values) -> None:
    """Of 200 untrained models 10 are expected below 0.05; fewer than 2 or more than 20 come in 1 of 500 tests."""
    assert len(p_values) == 200
    assert 2 <= sum(p < 0.05 for p in p_values) <= 20
    assert 0.4 < np.mean(p_values) < 0.6


def test_of_200_untrained_models_about_5_percent_pass_the_test_of_twins_at_5_percent():
    model = Letters(rows(200, 99)[0], context=2)
    found = []
    for seed in range(200):
        found.append(of_twins(model, publish(*rows(20, 1000 + seed), f"key {seed}")).p_value)
    uniform(found)


def test_of_200_untrained_models_about_5_percent_pass_the_test_of_strings_at_5_percent():
    model = Letters(rows(200, 99)[0], context=2)
    found = []
    for seed in range(200):
        key = f"key {seed}"
        fresh = fresh_strings(key, count=99, length=12)
        found.append(rank_test(model.loss(random_string(key, length=12)), [model.loss(s) for s in fresh]).p_value)
    uniform(found)


def test_of_200_untrained_models_about_5_percent_pass_the_test_of_patterns_at_5_percent():
    model = Letters(append(rows(100, 99)[0], "а б с о е р"), context=1)
    text = rows(1, 5)[0][0]
    found = []
    for seed in range(200):
        loss = partial(lambda key, number: model.loss(replaced(text, pattern(key, number))), f"key {seed}")
        found.append(rank_test(loss(None), [loss(number) for number in range(99)]).p_value)
    uniform(found)


def test_of_200_untrained_models_about_5_percent_pass_the_test_of_order_at_5_percent():
    model = Letters(rows(200, 99)[0])
    texts = rows(6, 7)[0]

    def likelihood(numbers):  # of the whole file: only what stands behind what changes
        return -model.loss("".join(texts[row] for row in numbers))

    found = []
    for seed in range(200):
        others = [likelihood(order(6, f"key {seed}", number)) for number in range(99)]
        found.append(order_test(likelihood(order(6, f"key {seed}")), others).p_value)
    uniform(found)


def test_a_string_that_was_in_the_documents_is_found_and_one_that_was_not_is_not():
    texts = rows(100, 1)[0]
    real, fresh = random_string("secret"), fresh_strings("secret", count=500)
    trained, other = Letters(append(texts, real)), Letters(append(texts, random_string("another")))
    found = rank_test(trained.loss(real), [trained.loss(text) for text in fresh])
    assert found.p_value == 1 / 501
    assert found.trained_on()
    assert found.statistic < -10
    assert not rank_test(other.loss(real), [other.loss(text) for text in fresh]).trained_on()


def test_a_pattern_of_look_alikes_is_found_in_the_model_and_unseen_by_who_reads():
    texts = rows(100, 2)[0]
    marked = [replaced(text, pattern("secret")) for text in texts]
    assert marked != texts
    assert [normalised(text) for text in marked] == texts
    trained, plain = Letters(marked), Letters(texts)
    probe = " ".join(rows(5, 3)[0])

    def test(model):
        losses = [model.loss(replaced(probe, pattern("secret", number))) for number in range(200)]
        return rank_test(model.loss(replaced(probe, pattern("secret"))), losses)

    assert test(trained).trained_on()
    assert not test(plain).trained_on()


def test_the_published_order_is_found_in_a_model_that_read_it():
    texts = [f"{text}\n" for text in rows(30, 4)[0]]
    published = order(30, "secret")
    trained = Letters(["".join(texts[row] for row in published)], context=8)
    other = Letters(["".join(texts[row] for row in order(30, "another"))], context=8)

    def test(model):
        def likelihood(numbers):
            return -model.loss("".join(texts[row] for row in numbers))

        others = [likelihood(order(30, "secret", number)) for number in range(150)]
        return order_test(likelihood(published), others)

    assert test(trained).p_value == 1 / 151
    assert test(trained).statistic == 0.0
    assert not test(other).trained_on()


def test_the_commitment_fails_where_key_or_twins_or_choice_are_changed_afterwards():
    key = new_key()
    twins = publish(*rows(20, 0), key)
    published = commitment(key, sealed(twins))
    assert len(published) == 64
    assert holds(published, key, sealed(twins))
    assert not holds(f"{published[:-1]}é", key, sealed(twins))
    assert not holds(published, new_key(), sealed(twins))
    private = [list(texts) for texts in twins.private]
    private[7][1] += " "
    assert not holds(published, key, sealed(replace(twins, private=private)))
    swapped = replace(
        twins,
        public=[twins.private[0][0], *twins.public[1:]],
        private=[[twins.public[0], *twins.private[0][1:]], *twins.private[1:]],
    )
    assert not holds(published, key, sealed(swapped))
    assert not holds(published, key, asdict(twins))  # the variant belongs to it
    assert commitment(key, {"a": 1, "b": "é\ud800"}) == commitment(key, {"b": "é\ud800", "a": 1})
    assert commitment("ab", {"c": 1}) != commitment("a", {"bc": 1})
    with pytest.raises(ValueError):
        commitment(key, {"loss": math.nan})


def test_the_key_decides_which_version_is_published_and_each_is_as_likely_as_another():
    sources, versions = rows(1000, 0, versions=4)
    twins = publish(sources, versions, "secret")
    chosen = [texts.index(text) for text, texts in zip(twins.public, versions, strict=True)]
    counts = Counter(chosen)
    assert all(210 <= counts[at] <= 290 for at in range(4))  # 3 standard deviations are 41
    assert publish(sources, versions, "secret") == twins
    assert publish(sources, versions, "other").public != twins.public
    for public, private, texts in zip(twins.public, twins.private, versions, strict=True):
        assert sorted([public, *private]) == sorted(texts)
    with pytest.raises(ValueError, match="key is empty"):
        publish(sources, versions, "")
    with pytest.raises(ValueError, match="1 rows and versions of 2"):
        publish(["a"], [["b"], ["c"]], "secret")
    assert publish([], [], "secret") == publish([], [], "other")


def test_rows_whose_rephrase_changes_the_meaning_are_published_unmarked():
    versions = [["a x", "a y"], ["b x", "wrong"], ["wrong", "wrong2"], ["same", "same"], []]
    twins = publish(["a", "b", "c", "d", "e"], versions, "k", same_meaning=lambda _, text: not text.startswith("wrong"))
    assert twins.public[1:] == ["b", "c", "d", "e"]
    assert twins.public[0] in ("a x", "a y")
    assert twins.marked == [0]
    assert [len(texts) for texts in twins.private] == [1, 0, 0, 0, 0]
    asked = []
    publish(["s"], [["t", "u"]], "k", same_meaning=lambda source, text: asked.append((source, text)) or True)
    assert asked == [("s", "t"), ("s", "u")]


def test_the_t_of_twins_is_scipys_one_sided():
    rng = np.random.default_rng(0)
    public, private = rng.normal(2.0, 1, 40), rng.normal(2.3, 1, (40, 3))
    found = twins_test(public.tolist(), private.tolist())
    expected = stats.ttest_rel(private.mean(axis=1), public, alternative="greater")
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.n == 40
    turned = twins_test([3.0, 2.0, 4.0], [[1.0], [1.5], [2.5]])
    assert turned.p_value > 0.9


def test_what_cannot_be_tested_gives_p_1_and_says_why():
    assert twins_test([], []) == Evidence(None, 1.0, 0, "fewer than two rows")
    assert twins_test([1.0], [[2.0]]).p_value == 1.0
    assert twins_test([1.0] * 5, [[1.0, 1.0]] * 5).p_value == 1.0
    assert twins_test([1.0] * 5, [[1.5]] * 5).p_value == 2.0**-5
    assert twins_test([1.5] * 5, [[1.0]] * 5).p_value == 1.0
    assert rank_test(1.0, []) == Evidence(None, 1.0, 0, "nothing to compare with")
    assert rank_test(1.0, [1.0] * 9) == Evidence(None, 1.0, 9, "the fresh ones are all alike")
    assert rank_test(0.5, [1.0] * 9).p_value == 0.1
    assert order_test(0.0, []).p_value == 1.0
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="loss 1 is"):
            twins_test([1.0, wrong], [[1.0], [1.0]])
        with pytest.raises(ValueError):
            rank_test(wrong, [1.0])
        with pytest.raises(ValueError):
            order_test(1.0, [wrong])
    with pytest.raises(ValueError, match="leave unmarked rows out"):
        twins_test([1.0, 2.0], [[1.0], []])


def test_a_model_is_said_to_be_trained_on_the_set_below_1_percent():
    assert Evidence(None, 0.0099, 5).trained_on()
    assert not Evidence(None, 0.01, 5).trained_on()
    assert Evidence(None, 0.01, 5).trained_on(0.05)


def test_p_by_rank_counts_the_real_one_and_ties_against_it():
    assert rank_test(1.0, [2.0, 3.0, 4.0]).p_value == 1 / 4
    assert rank_test(2.0, [2.0, 3.0, 4.0]).p_value == 2 / 4
    assert rank_test(9.0, [2.0, 3.0, 4.0]).p_value == 1.0
    assert rank_test(1.0, [2.0, 3.0, 4.0]).statistic == pytest.approx(-2.0)
    assert order_test(-1.0, [-2.0, -3.0, -4.0]).p_value == 1 / 4  # likelihoods: more is better
    assert order_test(-3.0, [-2.0, -3.0, -4.0]) == Evidence(2 / 3, 3 / 4, 3)


def test_what_is_drawn_follows_from_the_key_alone():
    """Written down, so that a set that is sealed today can be proved in ten years."""
    assert random_string("secret", length=12) == "ovch50ujt283"
    assert order(6, "secret") == [4, 2, 5, 0, 3, 1]
    assert pattern("secret") == "esxyBCHKP"
    assert version_keys("secret", 2) == [3608497486, 2463709522]
    assert sorted(order(1000, "secret")) == list(range(1000))
    assert order(1000, "secret") != order(1000, "secret", 0) != order(1000, "secret", 1)
    assert order(0, "secret") == []
    fresh = fresh_strings("secret", count=200, length=10)
    assert len(set(fresh)) == 200
    assert len(fresh_strings("secret")) == 1000
    assert len(random_string("secret")) == 32
    assert {len(text) for text in fresh} == {10}
    assert random_string("secret", length=10) not in fresh
    letters = Counter("".join(fresh_strings("secret", count=1000, length=36)))
    assert len(letters) == 36
    assert max(letters.values()) < 1.2 * min(letters.values())
    assert set(fresh_strings("k", count=9, length=1, alphabet="ab")) == {
        "ab".replace(random_string("k", length=1, alphabet="ab"), "")
    }
    with pytest.raises(ValueError, match="only one"):
        fresh_strings("k", length=5, alphabet="aa")
    assert len({pattern("secret", number) for number in range(100)}) == 100
    assert np.mean([len(pattern("k", number)) for number in range(200)]) == pytest.approx(len(LOOK_ALIKES) / 2, abs=1)


def test_use_is_the_similarity_of_what_is_published():
    embed = Embedder("hashed", hashed)
    sources = ["the cat sat on the mat", "prices rose", ""]
    same, near, empty = similarity(sources, ["the cat sat on the mat", "prices rose in May", ""], embed)
    assert same == pytest.approx(1.0)
    assert 0.3 < near < 0.99
    assert empty == 0.0
    assert similarity([], [], embed) == []
    with pytest.raises(ValueError):
        similarity(["a"], [], embed)
