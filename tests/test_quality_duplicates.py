"""Copies and near-copies: the S-curve, groups, and what the order of rows may not change."""

import itertools
import random

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from gristmill.quality import duplicates, shingles
from gristmill.quality.duplicates import (
    CHECK,
    RULES,
    candidate_probability,
    groups,
    jaccard,
    measure,
    merges,
    near_pairs,
)
from gristmill.quality.sets import Set, of_records, of_texts
from gristmill.quality.values import Rule, decide


def text(*parts: range | int) -> str:
    return " ".join(f"w{word}" for part in parts for word in ([part] if isinstance(part, int) else part))


def planted(similarity: float, count: int) -> list[tuple[str, str]]:
    """Pairs whose word 5-grams have this similarity: 100 words, the last of which the other text lacks."""
    shared = round(96 * similarity)
    return [(text(range(at, at + 100)), text(range(at, at + shared + 4))) for at in range(0, count * 200, 200)]


@pytest.mark.parametrize(
    ("similarity", "probability"), [(0.7, 0.565), (0.75, 0.772), (0.8, 0.924), (0.0, 0.0), (1.0, 1.0)]
)
def test_fourteen_bands_of_eight_see_a_pair_with_the_computed_probability(similarity, probability):
    assert round(candidate_probability(similarity), 3) == probability


def test_twenty_bands_of_six_see_more():
    assert round(candidate_probability(0.7, 20, 6), 3) == 0.918
    assert round(candidate_probability(0.6, 20, 6), 3) == 0.615


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.75, 0.8])
@pytest.mark.parametrize(("bands", "hashes"), [(14, 8), (20, 6)])
def test_planted_pairs_are_seen_as_often_as_the_curve_says(similarity, bands, hashes):
    pairs = planted(similarity, 1000)
    true = jaccard(*pairs[0])
    assert true == pytest.approx(similarity, abs=0.006)
    found = near_pairs([one for pair in pairs for one in pair], bands=bands, hashes_per_band=hashes, threshold=0.5)
    assert (found.other == found.one + 1).all()  # no pair but the planted ones
    assert found.similarity == pytest.approx(np.full(len(found.one), true))
    expected = candidate_probability(true, bands, hashes)
    assert abs(len(found.one) / 1000 - expected) < 4 * (expected * (1 - expected) / 1000) ** 0.5


def test_a_band_is_all_its_hashes():
    texts = [text(range(64), range(at * 100, at * 100 + 36), extra) for at in range(1, 41) for extra in (0, 1)]
    across = jaccard(texts[0], texts[2])
    assert across == pytest.approx(0.45, abs=0.03)
    found = near_pairs(texts, threshold=0.3)
    seen = (found.one // 2 != found.other // 2).sum() / (40 * 39 * 2)
    assert (found.one // 2 == found.other // 2).sum() == 40
    assert seen < 2.5 * candidate_probability(across)  # 0.02; of bands of one hash nearly all would be seen


def test_recall_of_near_copies_is_that_of_datasketch():
    pairs = planted(0.75, 400)
    texts = [one for pair in pairs for one in pair]
    index, hits = MinHashLSH(num_perm=112, params=(14, 8)), 0
    for one, other in pairs:
        sketches = []
        for side in (one, other):
            sketch, split = MinHash(num_perm=112), side.split()
            sketch.update_batch([" ".join(split[at : at + 5]).encode() for at in range(len(split) - 4)])
            sketches.append(sketch)
        index.insert(one, sketches[0])
        hits += one in index.query(sketches[1])
    assert len(near_pairs(texts).one) / 400 == pytest.approx(hits / 400, abs=0.12)


def test_similarity_is_jaccard_of_word_5_grams_by_the_definition():
    one, other = "The cat sat on the mat, and the dog lay by it.", "the cat sat on the mat and a dog lay by it"
    a, b = (
        {tuple(split[at : at + 5]) for at in range(8)}
        for split in map(str.split, map(shingles.normalised, (one, other)))
    )
    assert jaccard(one, other) == len(a & b) / len(a | b) == 3 / 13
    assert jaccard(one, other, shingle=1) == 10 / 11


def test_short_texts_are_compared_by_characters():
    one, other = "How do I boil an egg", "how do I boil an egg??"
    assert jaccard(one, other) == 1.0
    assert jaccard("How do I boil eggs", "How do I boil an egg") == 10 / (14 + 16 - 10)
    found = groups(["Name three rivers in Asia", "Name three rivers in Asia now", "Name three lakes"], threshold=0.7)
    assert [(group.kept, group.dropped) for group in found] == [(1, [0])]


def test_a_short_text_meets_one_that_is_a_little_longer():
    nine, ten = "one two three four five six seven eight nine", "one two three four five six seven eight nine x"
    assert jaccard(nine, ten) == pytest.approx(40 / 42)
    assert [group.dropped for group in groups([nine, ten], bands=30, hashes_per_band=4)] == [[0]]
    ten_too = ten[:-1] + "y"  # both long: word shingles, 5 of 7
    assert jaccard(ten, ten_too) == 5 / 7
    assert len(near_pairs([ten, ten_too], bands=60, hashes_per_band=2, threshold=0.7).one) == 1


def test_languages_without_spaces_are_compared_by_their_signs():
    one = "我们在公园里看见一只小狗它跑得很快"
    assert jaccard(one, one[:-1]) == pytest.approx(12 / 13)
    assert [group.dropped for group in groups([one, one[:-1], "今天天气很好我们去公园散步吧大家"])] == [[1]]


@pytest.mark.parametrize(
    "copy",
    ["THE cat, sat on Oslo's mat!", "the  cat\nsat on oslos mat", "ｔｈｅ cat sat on Oslo’s mat"],
)
def test_case_punctuation_spaces_and_unicode_forms_hide_no_exact_copy(copy):
    exact = measure(of_texts(["The cat sat on Oslo's mat.", copy])).rows["exact_copy"]
    assert sorted(exact) == [0.0, 1.0]
    (group,) = groups(["The cat sat on Oslo's mat.", copy, "The dog sat on my bed."])
    assert {group.kept, *group.dropped} == {0, 1}
    assert group.similarity == [1.0]


def test_marks_between_digits_are_no_punctuation():
    rows = [
        "What is 3-4?",
        "What is 3/4?",
        "What is 3 - 4?",
        "It costs 1.5.",
        "It costs 15.",
        "Is x+y it?",
        "Is x-y it?",
    ]
    assert measure(of_texts(rows)).rows["exact_copy"] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_texts_of_punctuation_alone_are_texts_and_empty_ones_none():
    found = measure(of_texts(["?!", "!!", "?!", "", "  ", ""]))
    assert found.rows["exact_copy"] == [0.0, 0.0, 1.0, None, None, None]
    assert found.rows["near_duplicate"] == [0.0, 0.0, None, None, None, None]


CHAIN = [text(range(100)), text(range(10, 110)), text(range(20, 120))]


def test_a_chain_is_one_group_with_one_row_kept_though_its_ends_are_not_alike():
    assert jaccard(CHAIN[0], CHAIN[1]) == jaccard(CHAIN[1], CHAIN[2]) > 0.7
    assert jaccard(CHAIN[0], CHAIN[2]) < 0.7
    for order in itertools.permutations(range(3)):
        found = groups([CHAIN[at] for at in order], bands=40, hashes_per_band=4)
        assert len(found) == 1
        assert len(found[0].dropped) == 2
        assert found[0].similarity == [pytest.approx(86 / 106)] * 2


def test_a_candidate_below_the_threshold_is_not_merged():
    one, other = planted(0.65, 1)[0]
    pairs = near_pairs([one, other], bands=56, hashes_per_band=2, threshold=0.6)
    assert pairs.similarity.tolist() == [jaccard(one, other)]  # so the two are candidates
    assert groups([one, other], bands=56, hashes_per_band=2, threshold=0.7) == []
    assert len(groups([one, other], bands=56, hashes_per_band=2, threshold=0.6)) == 1


def test_only_pairs_from_the_threshold_on_are_given():
    one, other = planted(0.65, 1)[0]
    assert len(near_pairs([one, other], bands=56, hashes_per_band=2, threshold=0.66).one) == 0


def test_a_shingle_counts_once_however_often_a_text_has_it():
    one, other = "la " * 30 + text(range(12)), "la " * 12 + text(range(13))
    pairs = near_pairs([one.strip(), other], bands=112, hashes_per_band=1, threshold=0.1)
    assert pairs.similarity.tolist() == [jaccard(one, other)] == [13 / 14]


def test_the_threshold_itself_is_enough():
    one, other = "a b c d e f g h i j k l m n", "a b c d e f g h i j k x y z"
    assert jaccard(one, other) == 7 / 13
    assert len(groups([one, other], threshold=7 / 13, bands=112, hashes_per_band=1)) == 1


def test_row_order_does_not_change_the_kept_set_when_priorities_differ():
    rng = random.Random(3)
    texts = [CHAIN[at % 3].replace(" w5", f" x{at // 9} w5") for at in range(27)] + CHAIN[:2] + ["other text here"]
    priorities = [float(at * 7 % 31) for at in range(30)]
    rows = list(zip(texts, priorities, strict=True))
    kept = set()
    for _ in range(6):
        found = groups([row[0] for row in rows], priority=[row[1] for row in rows], bands=40, hashes_per_band=4)
        dropped = {row for group in found for row in group.dropped}
        kept.add(frozenset(row for at, row in enumerate(rows) if at not in dropped))
        rng.shuffle(rows)
    assert len(kept) == 1
    assert len(next(iter(kept))) < 12


def test_of_a_group_the_highest_priority_then_the_longest_then_the_smallest_id_is_kept():
    texts = ["one text of some words here and there it goes", "One text, of some words here and there it goes!"]
    assert groups(texts, priority=[2, 1])[0].kept == 0
    assert groups(texts, priority=[1, 1])[0].kept == 1
    assert groups([texts[0], texts[0]], ids=["b", "a"])[0].kept == 1
    assert groups([texts[0], texts[0]], ids=[10, 9])[0].kept == 1  # as numbers
    assert groups([texts[0], texts[0]])[0].kept == 0


def test_a_row_is_dropped_at_a_threshold_iff_it_lost_at_it_or_above():
    rng = random.Random(0)
    texts = [text(range(at * 9, at * 9 + 100), rng.randrange(1000, 2000)) for at in range(40)]
    rng.shuffle(texts)
    found = measure(of_texts(texts), bands=60, hashes_per_band=3, floor=0.3)
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9):
        rule = Rule(check=CHECK, score="near_duplicate", reason="near", least=threshold)
        flagged = {flag.row for flag in decide([found], [rule])}
        grouped = groups(texts, threshold=threshold, bands=60, hashes_per_band=3)
        assert flagged == {row for group in grouped for row in group.dropped}


def test_merges_go_from_the_most_similar_pair_down():
    pairs = duplicates.Pairs(np.array([0, 1, 0, 3]), np.array([1, 2, 2, 4]), np.array([0.8, 0.9, 0.5, 0.6]))
    rank = {0: 0, 1: 2, 2: 1, 3: 4, 4: 3}
    assert merges(pairs, rank) == [(1, 2, 0.9), (2, 0, 0.8), (3, 4, 0.6)]


def test_scores_details_and_stages_of_a_set():
    near = [text(range(100)), text(range(2, 100))]
    rows = of_texts([near[0], near[0], near[1], "unlike the others in every word that it has", ""])
    found = measure(rows, bands=40, hashes_per_band=4)
    assert found.rows["exact_copy"] == [0.0, 1.0, 0.0, 0.0, None]
    similarity = round(94 / 96, 6)
    assert found.rows["near_duplicate"] == [0.0, None, similarity, 0.0, None]
    assert found.details == {1: [{"copy_of": 0, "similarity": 1.0}], 2: [{"similar_to": 0, "similarity": similarity}]}
    assert {one.name: (one.value, one.n) for one in found.measures[:2]} == {
        "exact_copies": (1 / 4, 4),
        "near_duplicates": (1 / 4, 4),
    }
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [(1, "exact_copy"), (2, "near_duplicate")]
    (group,) = found.tables["groups"]
    assert (group["kept"], group["dropped"], group["similarity"]) == (0, [1, 2], similarity)
    assert group["samples"] == [rows.texts[at][:200] for at in (0, 1, 2)]
    assert "1 rows are empty and have no scores." in found.notes


def test_the_largest_groups_are_listed_first_with_their_ids():
    records = [{"id": f"r{at}", "text": word * 40} for at, word in enumerate(["a b ", "c d ", "c d ", "a b ", "c d "])]
    found = measure(of_records(records, "set"))
    assert [(row["kept_id"], row["dropped_ids"]) for row in found.tables["groups"]] == [
        ("r1", ["r2", "r4"]),
        ("r0", ["r3"]),
    ]


def test_a_row_near_its_seed_is_found_against_the_reference_and_not_within_the_set():
    seeds = of_texts(["nothing like it at all in here or there", text(range(100)), "Write a poem"])
    rows = of_texts([text(range(3, 100)), text(range(500, 600)), "write a poem!", ""])
    found = measure(rows, seeds, bands=40, hashes_per_band=4)
    assert found.rows["reference_similarity"] == [round(93 / 96, 6), 0.0, 1.0, None]
    assert found.rows["near_duplicate"] == [0.0, 0.0, 0.0, None]
    assert found.rows["exact_copy"] == [0.0, 0.0, 0.0, None]
    assert found.details[0] == [{"reference": 1, "similarity": round(93 / 96, 6)}]
    assert found.details[2] == [{"reference": 2, "similarity": 1.0}]
    copies = next(one for one in found.measures if one.name == "copies_of_reference")
    assert (copies.value, copies.null) == (2 / 3, 0.0)
    assert [(flag.row, flag.reason) for flag in decide([found], RULES)] == [
        (0, "copy_of_reference"),
        (2, "copy_of_reference"),
    ]


def test_the_most_similar_row_of_the_reference_counts():
    seeds = of_texts([text(range(10, 110)), text(range(2, 102)), text(range(15, 115))])
    found = measure(of_texts([text(range(100))]), seeds, bands=60, hashes_per_band=3)
    assert found.details[0] == [{"reference": 1, "similarity": round(94 / 98, 6)}]
    seeds = of_texts([text(range(17, 117)), text(range(10, 110)), text(range(100))])
    found = measure(of_texts([text(range(2, 102))]), seeds, bands=60, hashes_per_band=3)
    assert found.details[0] == [{"reference": 2, "similarity": round(94 / 98, 6)}]


def test_the_null_is_that_of_halves_of_the_reference():
    copied = [text(range(at, at + 50)) for at in range(0, 4000, 100)] * 2
    found = {one.name: one for one in measure(of_texts(["a text", "b text"]), of_texts(copied)).measures}
    assert 0.1 < found["exact_copies"].null < 0.4  # a copy is in the same half half of the time
    assert 0.3 < found["copies_of_reference"].null < 0.7
    assert found["exact_copies"].value == 0.0
    alone = {one.name: one for one in measure(of_texts(copied)).measures}
    assert alone["exact_copies"].value == 0.5
    assert 0.1 < alone["exact_copies"].null < 0.4
    assert "set itself" in alone["exact_copies"].why


def test_the_reference_is_measured_at_the_size_of_the_set():
    many = of_texts([f"text {chr(97 + at % 26) * 9}{at}" for at in range(200)] * 2)
    found = {one.name: one for one in measure(of_texts([f"row {at}" for at in range(20)]), many).measures}
    assert found["exact_copies"].reference < 0.2  # of all of it, 0.5


def test_row_order_changes_no_measure():
    rows = [text(range(at % 7 * 9, at % 7 * 9 + 80), at // 14) for at in range(42)] + ["", "x", "x"]
    shuffled = random.Random(1).sample(rows, len(rows))
    reference = of_texts([text(range(20, 100)), "x"])
    assert measure(of_texts(rows), reference).measures == measure(of_texts(shuffled), reference).measures
    assert measure(of_texts(rows)) == measure(of_texts(rows))


def test_a_column_without_a_value_has_no_text_and_another_one_speaks_for_the_row():
    nothing = float("nan")
    rows = of_records([{"text": nothing}, {"text": None}, {"text": "a b"}, {"output": nothing, "text": "c d"}], "set")
    assert rows.texts == ["", "", "a b", "c d"]
    assert measure(rows).rows["exact_copy"] == [None, None, 0.0, 0.0]
    rows = of_records([{"text": str(at), "kind": kind} for at, kind in enumerate(["x", "y", nothing, None] * 5)], "set")
    assert rows.facets() == {"kind": ["x", "y", "", ""] * 5}
    assert rows.column("kind") == ["x", "y", None, None] * 5


def test_prompts_or_responses_alone_can_be_compared():
    rows = Set("set", ["the same"] * 2, ["one answer", "quite another thing"])
    assert measure(rows, which="prompt").rows["exact_copy"] == [0.0, 1.0]
    assert measure(rows, which="response").rows["exact_copy"] == [0.0, 0.0]
    assert measure(rows).rows["exact_copy"] == [0.0, 0.0]


def test_a_priority_column_decides_and_must_hold_numbers():
    rows = of_records([{"text": "a b", "score": score} for score in (1, None, 2.5, float("nan"))], "set")
    assert measure(rows, priority="score").rows["exact_copy"] == [1.0, 1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="'text' is no column of numbers"):
        measure(rows, priority="text")
    with pytest.raises(ValueError, match="'rank'"):
        measure(rows, priority="rank")


def test_a_band_that_very_many_share_still_makes_one_group(monkeypatch):
    monkeypatch.setattr(duplicates, "WINDOW", 3)
    texts = [text(range(200), 1000 + at) for at in range(60)]
    assert [len(group.dropped) for group in groups(texts)] == [59]
    pairs = near_pairs(sorted(texts)[:5], bands=40, hashes_per_band=4)
    found = set(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True))
    assert found >= set(itertools.combinations(range(5), 2)) - {(0, 4)}  # each with the next three


def test_a_narrow_window_makes_nothing_depend_on_the_order_of_rows(monkeypatch):
    monkeypatch.setattr(duplicates, "WINDOW", 1)
    rows = [text(range(at * 7 % 40, at * 7 % 40 + 80), 1000 + at) for at in range(50)]
    shuffled = random.Random(2).sample(rows, len(rows))
    one, other = (measure(of_texts(some), bands=7, hashes_per_band=3) for some in (rows, shuffled))
    scores = [
        dict(zip(some, found.rows["near_duplicate"], strict=True)) for some, found in ((rows, one), (shuffled, other))
    ]
    assert scores[0] == scores[1]


def test_groups_are_listed_at_the_threshold_and_not_at_the_floor():
    found = measure(of_texts(list(planted(0.6, 1)[0])), bands=56, hashes_per_band=2)
    assert max(found.rows["near_duplicate"]) > 0.5
    assert found.tables["groups"] == []
    assert found.measures[1].value == 0.0


def test_a_threshold_below_the_floor_lowers_it():
    pair = of_texts(list(planted(0.4, 1)[0]))
    found = measure(pair, bands=112, hashes_per_band=1, threshold=0.3)
    assert 0.3 < max(found.rows["near_duplicate"]) < 0.5
    assert [len(group["dropped"]) for group in found.tables["groups"]] == [1]
    assert measure(pair, bands=112, hashes_per_band=1).rows["near_duplicate"] == [0.0, 0.0]


def test_texts_are_worked_on_in_parts(monkeypatch):
    texts = [one for pair in planted(0.9, 60) for one in pair]
    whole = near_pairs(texts)
    monkeypatch.setattr(duplicates, "AT_ONCE", 7)
    assert all((one == other).all() for one, other in zip(near_pairs(texts), whole, strict=True))


def test_the_defaults_are_those_of_fineweb():
    settings = measure(of_texts([])).settings
    assert settings | {"shingle": 5, "bands": 14, "hashes_per_band": 8, "threshold": 0.7, "which": "both"} == settings
    limits = [(rule.reason, rule.above, rule.least) for rule in RULES]
    assert limits == [("exact_copy", 0, None), ("near_duplicate", None, 0.7), ("copy_of_reference", None, 0.7)]


@pytest.mark.parametrize("rows", [[], [""], ["one"], ["same"] * 3, ["\ud800", "\ud800 x"], ["中"], ["a", "b"]])
def test_sets_with_little_in_them_have_defined_values_or_say_why_not(rows):
    for reference in (None, of_texts(rows), of_texts([])):
        found = measure(of_texts(rows), reference)
        assert all(one.value is not None or one.why for one in found.measures)
        assert all(len(scores) == len(rows) for scores in found.rows.values())


def test_a_very_long_row_is_taken():
    long = text(range(200_000))
    assert measure(of_texts([long, long + " more"])).rows["near_duplicate"] in ([1.0, 0.0], [0.999995, 0.0])


def test_each_sign_of_a_script_without_spaces_is_a_word():
    assert shingles.tokens(shingles.normalised("我们在park里。")) == ["我", "们", "在", "park", "里"]


def test_a_row_shorter_than_a_run_is_one_and_rows_keep_their_places():
    rows = [np.arange(at, at + size).astype(np.uint64) for at, size in ((0, 2), (10, 5), (20, 0), (30, 3), (40, 4))]
    found, starts = shingles.shingled(*shingles.joined(rows), 3)
    assert starts.tolist() == [0, 1, 4, 4, 5, 7]
    for at, row in enumerate(rows):
        assert found[starts[at] : starts[at + 1]].tolist() == shingles.runs(row, min(3, len(row))).tolist()


def test_a_run_is_numbered_by_its_polynomial():
    factor, hashes = int(shingles.FACTOR), np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9], np.uint64)
    for n in range(1, 14):
        value = 0
        for word in hashes[:n].tolist():
            value = (value * factor + word) % 2**64
        assert shingles.runs(hashes, n)[0] == shingles.mixed(np.array([value], np.uint64))[0]


def test_numbers_of_words_are_forgotten_before_they_are_too_many(monkeypatch):
    monkeypatch.setattr(shingles, "KNOWN_MOST", 3)
    numbers = shingles.Numbers()
    first = numbers.of(["a", "b", "c", "d"]).tolist()
    assert numbers.of(["e", "a"]).tolist()[1] == first[0]
    assert len(numbers) == 2


@given(st.text(max_size=60))
def test_a_normalised_text_stays_as_it_is_and_says_all_words(given_text):
    once = shingles.normalised(given_text)
    assert once == " ".join(once.split())
    assert jaccard(given_text, given_text) in (0.0, 1.0)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 45))
def test_runs_are_numbered_by_their_content_alone(numbers, n):
    hashes = np.array(numbers, np.uint64)
    found = shingles.runs(hashes, n)
    assert len(found) == max(0, len(numbers) - n + 1)
    for at in range(len(found)):
        assert found[at] == shingles.runs(hashes[at : at + n], n)[0]
    if len(found) and len(set(numbers)) > 1:
        changed = hashes.copy()
        changed[n - 1] ^= np.uint64(1)
        assert shingles.runs(changed, n)[0] != found[0]
