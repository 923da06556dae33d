"""Lexical diversity: values by hand and by the definitions, and what must not change them."""

import gzip
import math
import random
from collections import Counter

import numpy as np
import pytest

from gristmill.quality import lexical
from gristmill.quality.lexical import (
    CHECK,
    RULES,
    compression,
    distinct,
    measure,
    mtld,
    repetition,
    self_bleu,
)
from gristmill.quality.sets import Set, of_texts
from gristmill.quality.values import decide

WORDS = [f"w{number}" for number in range(400)]


def prose(rows: int, length: int = 60, seed: int = 0) -> list[str]:
    """Texts with a long tail of words, as prose has."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, [1 / (at + 1) for at in range(400)], k=length)) for _ in range(rows)]


def values(found):
    return {one.name: one.value for one in found.measures}


def bleu_by_the_book(row, others, order=4):
    """BLEU of one text, pair by pair, smoothed as `self_bleu` says."""
    total, orders = 0.0, 0
    for n in range(1, order + 1):
        grams = Counter(zip(*(row[at:] for at in range(n)), strict=False))
        if not grams:
            break
        most = Counter()
        for other in others:
            most |= Counter(zip(*(other[at:] for at in range(n)), strict=False))
        matched = sum((grams & most).values())
        if n == 1 and not matched:
            return 0.0
        total += math.log((matched or 0.1) / sum(grams.values()))
        orders += 1
    closest = min((abs(len(other) - len(row)), len(other)) for other in others)[1]
    return min(1.0, math.exp(1 - closest / len(row))) * math.exp(total / orders)


@pytest.mark.parametrize("copies", [2, 7])
def test_copies_of_one_text_have_self_bleu_1_and_distinct_1_of_types_over_all_tokens(copies):
    text = ["the", "cat", "saw", "the", "dog"]
    assert self_bleu([text] * copies) == [pytest.approx(1.0)] * copies
    assert distinct([text] * copies, 1) == 4 / (copies * 5)
    found = values(measure(of_texts(["the cat saw the dog"] * 8)))
    assert found["self_bleu"] == pytest.approx(1.0)


def test_copies_of_a_text_shorter_than_four_words_have_self_bleu_1_too():
    assert self_bleu([["hello", "there"]] * 3) == [pytest.approx(1.0)] * 3


def test_disjoint_vocabularies_have_self_bleu_0():
    texts = [" ".join(f"r{row}w{at}" for at in range(20)) for row in range(10)]
    assert self_bleu([text.split() for text in texts]) == [0.0] * 10
    assert values(measure(of_texts(texts)))["self_bleu"] == 0.0


def test_one_word_in_common_gives_a_self_bleu_near_0():
    texts = [["the", *(f"r{row}w{at}" for at in range(20))] for row in range(5)]
    assert all(0 < score < 0.05 for score in self_bleu(texts))


def test_self_bleu_equals_bleu_against_all_others_pair_by_pair():
    texts = [text.split()[: 3 + 2 * (row % 9)] for row, text in enumerate(prose(30, 20))]
    texts += [texts[4], ["w1", "w1", "w1", "w1"], ["w1"]]
    expected = [bleu_by_the_book(text, texts[:row] + texts[row + 1 :]) for row, text in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(expected)


def test_self_bleu_of_a_text_alone_or_of_an_empty_one_is_0():
    assert self_bleu([["a", "b"]]) == [0.0]
    assert self_bleu([[], ["a", "b"], ["a", "b"]]) == [0.0, pytest.approx(1.0), pytest.approx(1.0)]


def test_mtld_of_two_words_fifty_times_is_3_03_and_of_a_hundred_different_ones_undefined():
    assert mtld(["a", "b"] * 50) == pytest.approx(100 / 33)
    assert round(mtld(["a", "b"] * 50), 2) == 3.03
    assert mtld(WORDS[:100]) is None
    assert mtld([]) is None


def test_a_stretch_ends_at_exactly_the_threshold_and_the_rest_counts_in_part():
    text = [*WORDS[:18], *WORDS[:7]]  # 18 types of 25 tokens: 0.72
    assert mtld(text) == pytest.approx((25 + 25 / _factors(text[::-1])) / 2)
    assert mtld([*WORDS[:19], *WORDS[:6]]) == pytest.approx(25 / ((1 - 19 / 25) / 0.28))  # both ways: 0.76 at the end


def test_at_the_threshold_itself_a_new_stretch_begins():
    assert lexical._mtld([*WORDS[:18], *WORDS[:7], *WORDS[100:118], *WORDS[100:107]], 0.72) == 25.0


def _factors(text):
    seen, length, factors = set(), 0, 0.0
    for token in text:
        seen, length = seen | {token}, length + 1
        if len(seen) / length <= 0.72:
            seen, length, factors = set(), 0, factors + 1
    return factors + ((1 - len(seen) / length) / 0.28 if length else 0)


def test_mtld_is_the_mean_of_both_directions():
    text = ["a", "a", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "a", "q"]
    one, other = 20 / _factors(text), 20 / _factors(text[::-1])
    assert one != pytest.approx(other)
    assert mtld(text) == pytest.approx((one + other) / 2)


def test_mtld_of_a_set_is_the_mean_over_rows_of_more_than_fifty_tokens():
    rows = [" ".join(["a b"] * 50), " ".join(["a b"] * 25), " ".join(WORDS[:100]), " ".join(["a b c"] * 17)]
    found = next(one for one in measure(of_texts(rows)).measures if one.name == "mtld")
    assert found.n == 2  # the second row has 50, the third repeats nothing
    assert found.value == pytest.approx((mtld(["a", "b"] * 50) + mtld(["a", "b", "c"] * 17)) / 2)


def test_duplication_halves_distinct_n_of_the_whole_set_moves_the_budgeted_one_less_and_raises_self_bleu():
    rows = prose(200)
    split = [row.split() for row in rows]
    for n in (1, 2, 3, 4):
        assert distinct(split * 2, n) == distinct(split, n) / 2
    once, twice = (values(measure(of_texts(some), token_budget=1500)) for some in (rows, rows * 2))
    for n in (1, 2, 3, 4):
        assert 0.9 < twice[f"distinct_{n}"] / once[f"distinct_{n}"] <= 1.005
    assert twice["self_bleu"] > once["self_bleu"] + 0.2
    bleu = next(one for one in measure(of_texts(rows)).measures if one.name == "self_bleu")
    assert bleu.low < bleu.value < bleu.high


def test_the_same_texts_in_another_order_give_the_same_numbers():
    rows = [*prose(80, 70), "short", "", "a b c a b c"]
    shuffled = rows[:]
    random.Random(5).shuffle(shuffled)
    one, other = (measure(of_texts(some), of_texts(prose(50, seed=3))) for some in (rows, shuffled))
    assert one.measures == other.measures
    assert one.tables == other.tables
    assert one.rows["repetition"] != other.rows["repetition"]  # rows keep their own
    assert sorted(one.rows["tokens"]) == sorted(other.rows["tokens"])
    assert measure(of_texts(rows)).measures == measure(of_texts(rows)).measures
    assert values(measure(of_texts(rows), seed=1)) != values(measure(of_texts(rows)))


def test_budgeted_distinct_n_is_that_of_so_many_tokens():
    rows = ["a b c d", "e f g h"] * 40  # any 8 tokens from whole rows: 4 or 8 types
    found = next(
        one for one in measure(of_texts(rows), token_budget=8, resamples=200).measures if one.name == "distinct_2"
    )
    assert (found.n, found.unit) == (8, "tokens")
    assert 0.7 < found.value < 0.8
    assert (found.low, found.high) == (0.5, 1.0)


def test_the_fast_distinct_n_equals_the_definition():
    rng = np.random.default_rng(0)
    for size in (1, 3, 30):
        rows = [rng.integers(0, 6, rng.integers(0, 9)).astype(np.int32) for _ in range(size)]
        for n in (1, 2, 3, 4):
            assert lexical._distinct_of(rows, n) == distinct([row.tolist() for row in rows], n)


def test_the_last_row_is_cut_to_the_budget():
    assert values(measure(of_texts(["a b a b a b a b"] * 9), token_budget=2))["distinct_1"] == 1.0


def test_halves_are_all_rows_once():
    part = lexical._part([f"row {at}" for at in range(9)], 0.72, 50)
    one, other = part.halves(0)
    assert sorted([*one.texts, *other.texts]) == part.texts


def test_n_grams_do_not_cross_rows():
    assert distinct([["a", "b"], ["c", "d"]], 2) == 1.0
    assert distinct([["a"], ["b"]], 2) is None
    assert values(measure(of_texts(["a b"] * 20), token_budget=20))["distinct_2"] == pytest.approx(1 / 10)


def test_set_reference_and_halves_are_compared_at_one_size():
    small, large = of_texts(prose(30)), of_texts(prose(300, seed=1))
    found = measure(large, small)
    assert found.settings["sizes"] == {"tokens": 900, "bytes": small_bytes(small) // 2, "bleu": 15}
    for one in found.measures[:4]:
        assert one.n == 900
        assert one.reference == pytest.approx(one.value, rel=0.1)
        assert one.null == pytest.approx(one.value, rel=0.1)
    ratios = {row["measure"]: row["ratio"] for row in found.tables["ratio_to_reference"]}
    assert ratios["distinct_1"] == found.measures[0].value / found.measures[0].reference
    alone = measure(large)
    assert all(one.reference is None for one in alone.measures)
    assert "set itself" in alone.measures[0].why


def test_a_half_that_one_long_row_leaves_with_too_little_is_no_null():
    found = measure(of_texts([*prose(1, 3000), *prose(9, 5, seed=1)]))
    for one in found.measures:
        if one.name.startswith(("distinct", "compression")):
            assert one.null == pytest.approx(one.value, rel=0.1), one.name  # of 25 words it would be near 1


def small_bytes(data):
    return sum(len(text.encode()) for text in data.texts)


def test_compression_is_bytes_before_over_bytes_after_gzip_and_high_for_repetition():
    joined = "\n".join(["one two", "three"]).encode()
    assert compression(["one two", "three"]) == len(joined) / len(gzip.compress(joined, 9, mtime=0))
    assert compression([]) is None
    long = "\n".join(prose(30)).encode()
    best, fastest = (len(gzip.compress(long, level, mtime=0)) for level in (9, 1))
    assert compression(prose(30)) == len(long) / best > len(long) / fastest
    repeated, varied = (values(measure(of_texts(some)))["compression_ratio"] for some in (prose(1) * 100, prose(100)))
    assert repeated > 5 * varied


def test_compression_keeps_to_its_budget_of_bytes():
    assert compression(["é" * 100], budget=10) == 10 / len(gzip.compress("é".encode() * 5, 9, mtime=0))
    long, longer = (values(measure(of_texts(prose(1) * rows), byte_budget=2000)) for rows in (100, 400))
    assert long["compression_ratio"] == pytest.approx(longer["compression_ratio"])


def test_repetition_is_the_share_of_three_grams_that_came_before():
    assert repetition(["a", "b", "c", "a", "b", "c"]) == 1 / 4  # abc bca cab abc
    assert repetition(["a", "b", "c", "d"]) == 0.0
    assert repetition(["a"] * 5) == 2 / 3
    assert repetition(["a", "b"]) is None
    rows = of_texts(["go on and go on and go on and go on", " ".join(WORDS[:30]), "", "one two"])
    found = measure(rows)
    assert found.rows["repetition"] == [6 / 9, 0.0, None, None]
    assert found.rows["tokens"] == [11.0, 30.0, 0.0, 2.0]
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [(0, "repetitive"), (2, "empty")]
    assert found.check == CHECK == RULES[0].check


def test_openings_that_many_rows_share_are_counted_and_listed():
    rows = [f"Once upon a time {word}" for word in WORDS[:30]] + [f"{word} is new here" for word in WORDS[:60]]
    found = measure(of_texts([*rows, ""]))
    bias = next(one for one in found.measures if one.name == "opening_bias")
    assert (bias.value, bias.n) == (39 / 90, 90)  # the common one and nine of the others
    assert found.tables["openings"] == [{"opening": "once upon a", "rows": 30, "share": 30 / 90}]


def test_prompts_and_responses_are_measured_apart():
    both = Set("both", ["what is this"] * 30, prose(30))
    found = values(measure(both))
    assert found["prompt_distinct_1"] == pytest.approx(3 / 45)
    assert found["response_distinct_1"] > 0.1
    assert "distinct_1" not in found
    alone = measure(both, of_texts(prose(30)))
    assert "The reference has no prompts to compare with." in alone.notes


def test_signs_of_scripts_without_spaces_are_tokens():
    found = measure(of_texts(["中文中文中文", "Ein Wörterbuch, ein GUTES"]))
    assert found.rows["tokens"] == [6.0, 4.0]
    assert found.rows["repetition"][0] == 2 / 4


def test_the_defaults_are_those_of_the_sources():
    settings = measure(of_texts([])).settings
    assert (
        settings
        | {
            "n": [1, 2, 3, 4],
            "token_budget": 50_000,
            "resamples": 20,
            "self_bleu_sample": 500,
            "self_bleu_order": 4,
            "mtld_threshold": 0.72,
            "mtld_min_tokens": 50,
        }
        == settings
    )


@pytest.mark.parametrize(
    "rows", [[], [""], ["", " \n"], ["one"], ["?!"], ["same same same"] * 5, ["a"] * 3, ["\ud800 x"]]
)
def test_sets_with_little_in_them_have_defined_values_or_say_why_not(rows):
    found = measure(of_texts(rows), of_texts(rows))
    for one in [*found.measures, *measure(of_texts(rows)).measures]:
        assert one.value is not None or one.why
    assert len(found.rows["tokens"]) == len(rows)


def test_a_very_long_row_is_taken():
    found = measure(of_texts([" ".join(prose(1, 60_000)), "a b"]))
    assert found.rows["tokens"][0] == 60_000
