"""Contamination: what each way finds, what none can, and that removing the rows leaves nothing."""

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.errors import BadInput
from gristmill.quality import contamination
from gristmill.quality.contamination import (
    CHECK,
    JUDGE,
    RULES,
    Item,
    asked,
    benchmark,
    draws,
    fields,
    items,
    known_by_heart,
    masked,
    measure,
    plain,
    probe,
    read_verdict,
    rouge_l,
    score_effect,
    span,
    word_places,
)
from gristmill.quality.sets import Set, of_records, of_texts
from gristmill.quality.values import decide

WAYS = ("ngram_13", "ngram_10", "overlap_8", "token_span", "substring")
ITEM = (
    "A farmer has 17 sheep and 9 goats on two meadows. All but 8 of the sheep run away during a storm, and 3 goats are "
    "sold at the market in town. How many animals does the farmer still have when the week is over?"
)
PARAPHRASE = (
    "Someone keeps seventeen sheep plus nine goats across a pair of fields. A storm scares off every sheep except "
    "eight; later the owner sells three of those goats. At the end of that week, what is the total of his animals?"
)
OTHERS = [
    "Which planet of our solar system has the largest number of known moons according to recent counts by astronomers?",
    "Write a function that takes a list of integers and returns the second largest or nothing when there is none",
]
BENCHMARKS = {"farm": [ITEM, OTHERS[0]], "code": [OTHERS[1]]}
LONG = (
    "Here is a puzzle that my grandmother liked. {} Think about it for a while before you answer, since most people "
    "subtract the wrong number, and write down each of your steps as you go."
)


def filler(rows: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(f"f{rng.randrange(5000)}" for _ in range(60)) for _ in range(rows)]


def hits(found, name="farm"):
    return {
        row["way"]: (row["items_hit"], row["rows_hit"])
        for row in found.tables["benchmarks"]
        if row["benchmark"] == name
    }


def w(*words: int | range) -> str:
    return " ".join(f"w{word}" for part in words for word in ([part] if isinstance(part, int) else part))


def test_an_exact_copy_inside_a_long_response_is_found_in_all_ways():
    rows = Set("set", ["Tell me a puzzle", "Hello"], [LONG.format(ITEM), "Hello to you, too."])
    found = measure(rows, benchmarks=BENCHMARKS)
    for way in WAYS:
        assert found.rows[way] == [1.0, 0.0]
        assert hits(found)[way] == (1, 1)
        assert hits(found, "code")[way] == (0, 0)
    assert {flag.reason for flag in decide([found], RULES)} == {rule.reason for rule in RULES}
    assert {flag.row for flag in decide([found], RULES)} == {0}
    assert found.check == CHECK


def test_a_paraphrase_is_found_in_none_and_the_report_says_so():
    found = measure(of_texts([LONG.format(PARAPHRASE)]), benchmarks=BENCHMARKS)
    assert [found.rows[way] for way in WAYS] == [[0.0]] * 5
    assert found.details == {}
    assert "A paraphrase, a translation" in found.notes[0]


@pytest.mark.parametrize(
    "copy",
    [
        ITEM.upper(),
        ITEM.replace(" ", "\n\n  "),
        ITEM.replace(".", "!!").replace(",", " --").replace("?", ""),
        ITEM.replace(" ", " * "),
        unicodedata.normalize("NFKD", ITEM),
        "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in ITEM),  # full width
    ],
)
def test_case_punctuation_spacing_and_unicode_forms_hide_no_copy(copy):
    found = measure(of_texts([LONG.format(copy)]), benchmarks=BENCHMARKS)
    assert [found.rows[way] for way in WAYS] == [[1.0]] * 5


def test_apostrophes_and_accents_hide_no_copy():
    item = "It's the café's oldest rule that nobody who doesn't speak softly may order a second cup"
    copy = "its the cafe\u0301s oldest rule that nobody who doesn’t speak softly may order a second cup"
    found = measure(of_texts([copy]), benchmarks={"b": [item]})
    assert [found.rows[way] for way in WAYS] == [[1.0]] * 5


def test_a_nine_word_item_copied_verbatim_is_found_though_n_is_13():
    item = "Which river flows through both Vienna and Budapest today?"
    assert len(plain(item)) == 9
    found = measure(of_texts([LONG.format(item), *filler(3)]), benchmarks={"short": [item]})
    for way in WAYS:
        assert found.rows[way] == [1.0, 0.0, 0.0, 0.0]
    near = measure(
        of_texts([LONG.format("Which river flows through both Vienna and Budapest now?")]), benchmarks={"short": [item]}
    )
    assert near.rows["ngram_13"] == near.rows["ngram_10"] == near.rows["token_span"] == [0.0]
    assert near.rows["overlap_8"] == [0.5]  # one of its two 8-grams


def test_items_of_fewer_than_three_words_are_not_looked_for_and_that_is_told():
    found = measure(of_texts(["yes no", "one two three"]), benchmarks={"b": ["Yes, no", "One two three!"]})
    assert found.rows["ngram_13"] == [0.0, 1.0]
    assert found.tables["benchmarks"][0]["checked"] == 1
    assert found.tables["benchmarks"][0]["items"] == 2
    assert "1 items of fewer than 3 words were not looked for." in found.notes


def test_removing_the_rows_makes_a_second_run_report_no_hits():
    rng = random.Random(1)
    long = [w(range(at, at + 60)) for at in range(0, 4000, 100)]
    rows = filler(60)
    for item in long[:20]:
        words = item.split()
        cut = rng.randrange(0, 40)
        rows.append("x " + " ".join(words[cut : cut + rng.randrange(8, 30)]) + " y")
        rows.append(" ".join([*words[:12], "changed", *words[13:30], "again", *words[31:]]))
    for piece in range(0, 60, 10):  # an item in pieces of ten words: 8-grams at most
        rows.append("p " + " ".join(long[30].split()[max(0, piece - 7) : piece + 9]) + " q")
    rng.shuffle(rows)
    data = of_texts(rows)
    first = measure(data, benchmarks={"b": long})
    assert all(one.value > 0 for one in first.measures if one.name.startswith("items"))
    flagged = {flag.row for flag in decide([first], RULES)}
    assert 20 < len(flagged) < 60
    second = measure(data.take(row for row in range(len(data)) if row not in flagged), benchmarks={"b": long})
    assert decide([second], RULES) == []
    assert all(one.value == 0 for one in second.measures)
    assert all(row["items_hit"] == row["rows_hit"] == 0 for row in second.tables["benchmarks"])


def test_an_n_gram_more_finds_thirteen_and_one_fewer_only_ten():
    item = w(range(40))
    rows = [f"a {w(range(5, 5 + n))} b" for n in (9, 10, 12, 13)]
    found = measure(of_texts(rows), benchmarks={"b": [item]})
    assert [score > 0 for score in found.rows["ngram_13"]] == [False, False, False, True]
    assert [score > 0 for score in found.rows["ngram_10"]] == [False, True, True, True]


def test_overlap_is_the_share_of_an_items_8_grams_in_the_whole_set():
    item = w(range(27))  # 20 8-grams
    rows = [w(range(14), 900), w(901, range(10, 24))]  # 7 and 7 of them
    found = measure(of_texts(rows), benchmarks={"b": [item]})
    assert found.rows["overlap_8"] == [0.7, 0.7]
    assert hits(found, "b")["overlap_8"] == (1, 2)
    assert "benchmark_overlap" in {flag.reason for flag in decide([found], RULES)}  # at 0.7, not above it alone
    assert [one["overlap"] for one in found.details[0] if one["way"] == "overlap_8"] == [7 / 20]
    fewer = measure(of_texts([rows[0], w(901, range(10, 23))]), benchmarks={"b": [item]})
    assert fewer.rows["overlap_8"] == [13 / 20] * 2
    assert hits(fewer, "b")["overlap_8"] == (0, 0)
    assert "benchmark_overlap" not in {flag.reason for flag in decide([fewer], RULES)}
    assert hits(measure(of_texts(rows), benchmarks={"b": [item]}, overlap_share=0.71), "b")["overlap_8"] == (0, 0)


def test_a_span_begins_with_ten_exact_words_and_bears_four_mismatches_but_none_at_its_end():
    item = list("abcdefghijklmnopqrstuvwxyz")
    changed = [*item[:10], "0", *item[11:13], "0", "0", *item[15:17], "0", *item[18:]]
    assert span(changed, item) == 26
    assert span([*changed[:20], "0", *item[21:]], item) == 20  # the fifth ends it
    assert span([*item[:12], "0", "0"], item[:14]) == 12
    assert span(item[:5], item) == 5


def test_words_in_spans_are_counted_over_the_whole_set_and_items_are_clean_or_dirty():
    item = w(range(50))
    eleven, ten = w(range(11)), w(range(10))
    found = measure(of_texts([eleven, w(range(30, 50))]), benchmarks={"b": [item]})
    assert found.rows["token_span"] == [31 / 50] * 2
    line = next(row for row in found.tables["benchmarks"] if row["way"] == "token_span")
    assert (line["clean"], line["dirty"]) == (0, 0)
    assert "benchmark_span" not in {flag.reason for flag in decide([found], RULES)}
    shares = {n: measure(of_texts([w(range(n))]), benchmarks={"b": [item]}) for n in (39, 40, 41)}
    flagged = {n: "benchmark_span" in {flag.reason for flag in decide([one], RULES)} for n, one in shares.items()}
    assert flagged == {39: False, 40: False, 41: True}  # above 0.8 of 50 words
    assert measure(of_texts([ten]), benchmarks={"b": [item]}).rows["token_span"] == [0.0]  # not longer than ten
    broken = " ".join("x" if at in (12, 20, 29, 30) else word for at, word in enumerate(item.split()))
    found = measure(of_texts([broken, "q"]), benchmarks={"b": [item, w(range(100, 120))]})
    assert found.rows["token_span"] == [1.0, 0.0]
    line = next(row for row in found.tables["benchmarks"] if row["way"] == "token_span")
    assert (line["clean"], line["dirty"]) == (1, 1)
    early = w(range(9), 99, range(10, 19), 98, range(20, 29), 97, range(30, 39))  # never ten in a row
    assert measure(of_texts([early]), benchmarks={"b": [item]}).rows["token_span"] == [0.0]


def test_a_second_span_on_the_same_line_has_its_own_mismatches():
    item = w(range(60))
    gaps = {12, 14, 16, 18, 20, 40, 42}  # the fifth ends the first span; the next begins where ten match again
    found = measure(of_texts([" ".join("x" if at in gaps else f"w{at}" for at in range(60))]), benchmarks={"b": [item]})
    assert found.rows["token_span"] == [(60 - 1) / 60]


def test_substrings_are_found_across_words_of_other_bounds():
    item = "the quick brown fox jumps over the lazy dog while seven wizards mix potions of jade"
    joined = "thequick brownfox jumpsover thelazy dogwhile sevenwizards mixpotions ofjade"
    found = measure(of_texts([joined, joined[:40]]), benchmarks={"b": [item]})
    assert found.rows["substring"] == [1.0, 0.0]
    assert found.rows["ngram_10"] == [0.0, 0.0]


def test_draws_are_fifty_characters_of_the_item_and_depend_on_it_and_the_seed_alone():
    item = Item("b", 0, plain(ITEM))
    drawn = draws(item)
    text = "".join(plain(ITEM))
    assert 1 < len(drawn) <= 3
    assert all(len(piece) == 50 and text[place : place + 50] == piece for place, piece in drawn)
    assert drawn == draws(Item("other", 7, plain(ITEM.upper())))
    assert drawn != draws(item, seed=1)
    assert draws(Item("b", 0, ["ab", "cd"])) == [(0, "abcd")]


def test_an_item_shorter_than_the_window_counts_at_word_bounds_only():
    found = measure(of_texts(["this item a", "is it a cat", "well, is it a?"]), benchmarks={"b": ["Is it a"]})
    assert found.rows["substring"] == [0.0, 1.0, 1.0]


def test_boilerplate_in_more_than_ten_rows_is_ignored_and_listed():
    start = "Please read the following text with care and then answer the question that is below it in a full sentence"
    item = f"{start} {w(range(30))}"
    rows = [f"{start} r{at} {text}" for at, text in enumerate(filler(11))]
    found = measure(of_texts(rows), benchmarks={"b": [item]})
    assert found.rows["ngram_13"] == found.rows["ngram_10"] == found.rows["overlap_8"] == [0.0] * 11
    assert {row["rows"] for row in found.tables["ignored"]} == {11}
    assert " ".join(plain(start)[:13]) in [row["text"] for row in found.tables["ignored"]]
    assert all(len(row["text"].split()) in (1, 13) for row in found.tables["ignored"])  # what those hold is implied
    ten = measure(of_texts(rows[:10]), benchmarks={"b": [item]})
    assert min(ten.rows["ngram_13"]) > 0
    assert ten.tables["ignored"] == []
    again = measure(
        of_texts(rows[:10]), benchmarks={"b": [item]}, templates=[row["text"] for row in found.tables["ignored"]]
    )
    assert (
        again.rows["ngram_13"]
        == again.rows["ngram_10"]
        == again.rows["overlap_8"]
        == again.rows["substring"]
        == [0.0] * 10
    )


def test_a_substring_in_more_than_ten_rows_is_boilerplate_too():
    item = f"{'x' * 60} {w(range(20))}"  # a draw within the x, or none
    rows = [f"{'x' * 60} {text}" for text in filler(11)]
    seeds = [
        seed for seed in range(40) if any(piece == "x" * 50 for _, piece in draws(Item("b", 0, plain(item)), seed=seed))
    ]
    found = measure(of_texts(rows), benchmarks={"b": [item]}, seed=seeds[0])
    assert found.rows["substring"] == [0.0] * 11
    assert {"text": "x" * 50, "rows": 11} in found.tables["ignored"]
    assert min(measure(of_texts(rows[:10]), benchmarks={"b": [item]}, seed=seeds[0]).rows["substring"]) > 0
    given = measure(of_texts(rows[:10]), benchmarks={"b": [item]}, seed=seeds[0], templates=["x" * 50])
    assert given.rows["substring"] == [0.0] * 10


def test_a_short_item_that_many_rows_have_is_a_common_phrase():
    given = {"b": ["What is it?"]}
    assert (
        measure(of_texts([f"{text} what is it" for text in filler(10)]), benchmarks=given).rows["ngram_13"]
        == [1.0] * 10
    )
    found = measure(of_texts([f"{text} what is it" for text in filler(11)]), benchmarks=given)
    assert [found.rows[way] for way in WAYS] == [[0.0] * 11] * 5
    assert found.tables["ignored"] == [{"text": "what is it", "rows": 11}]


def test_boilerplate_is_counted_in_rows_and_not_in_places():
    item = w(range(40))
    found = measure(of_texts([f"{w(range(14))} x " * 12]), benchmarks={"b": [item]})
    assert found.rows["ngram_13"][0] > 0


def test_an_item_that_many_rows_hold_whole_is_no_boilerplate():
    found = measure(of_texts([LONG.format(ITEM)] * 30), benchmarks=BENCHMARKS)
    for way in WAYS:
        assert found.rows[way] == [1.0] * 30


def test_seven_tenths_of_an_item_in_many_rows_are_no_boilerplate_and_less_is():
    item = w(range(50))  # 38 runs of 13 words
    for held, found in ((39, 27 / 38), (38, 0.0)):
        rows = of_texts([w(range(held), 900 + row) for row in range(11)])
        assert measure(rows, benchmarks={"b": [item]}).rows["ngram_13"] == [found] * 11


def test_a_run_of_many_items_and_many_rows_is_a_template():
    start = w(range(15))
    given = {"b": [f"{start} {w(range(at, at + 4))}" for at in range(100, 300, 10)]}
    found = measure(of_texts([f"{start} r{at}" for at in range(20)]), benchmarks=given)
    assert found.rows["ngram_13"] == [0.0] * 20
    assert found.tables["ignored"]


def test_a_run_in_several_items_counts_for_each():
    given = {"one": [w(range(20))], "two": [w(range(200, 220)), w(range(20), 500)]}
    found = measure(of_texts([w(range(14))]), benchmarks=given)
    assert hits(found, "one")["ngram_13"] == hits(found, "two")["ngram_13"] == (1, 1)
    assert {(one["benchmark"], one["item"]) for one in found.details[0]} == {("one", 0), ("two", 1)}


def test_runs_cross_neither_items_nor_rows():
    given = {"b": [w(range(7), 700), w(range(800, 808), range(7, 14))]}
    assert measure(of_texts([w(range(14))]), benchmarks={"b": [w(range(7)), w(range(7, 14))]}).rows["ngram_13"] == [1.0]
    assert measure(of_texts([w(range(14))]), benchmarks=given).details == {}
    assert measure(of_texts([w(range(7)), w(range(7, 14))]), benchmarks={"b": [w(range(14))]}).details == {}


def test_details_show_where_in_the_row_and_of_which_item():
    text = f"Before. {ITEM} After."
    found = measure(of_texts(["none", text]), benchmarks=BENCHMARKS)
    assert set(found.details) == {1}
    for one in found.details[1]:
        assert (one["benchmark"], one["item"], one["field"], one["overlap"]) == ("farm", 0, "text", 1.0)
        start, end = one["span"]
        assert one["text"] == text[start:end][:200]
        if one["way"] != "substring":
            assert text[start:end] == ITEM.rstrip("?")
    assert {one["way"] for one in found.details[1]} == set(WAYS)


def test_a_substrings_span_is_the_words_it_touches():
    for seed in range(30):
        found = measure(of_texts([f"Before. {ITEM} After."]), benchmarks={"b": [ITEM]}, char_draws=1, seed=seed)
        (start, end) = next(one["span"] for one in found.details[0] if one["way"] == "substring")
        touched = plain(f"Before. {ITEM} After."[start:end])
        ((_, piece),) = draws(Item("b", 0, plain(ITEM)), count=1, seed=seed)
        assert piece in "".join(touched)
        assert piece not in "".join(touched[1:])
        assert piece not in "".join(touched[:-1])


def test_a_match_across_two_texts_of_a_row_is_shown_to_the_end_of_the_first():
    first, rest = ITEM[: ITEM.index(" during")], ITEM[ITEM.index(" during") :]
    found = measure(of_records([{"text": first, "thinking": rest}], "set"), benchmarks=BENCHMARKS)
    assert found.rows["ngram_13"] == [1.0]
    one = next(one for one in found.details[0] if one["way"] == "ngram_13")
    assert one["field"] == "text"
    assert one["span"] == [0, len(first)]


def test_hidden_reasoning_and_other_columns_are_searched():
    records = [
        {"id": ITEM, "question": "What?", "answer": "Five.", "reasoning": LONG.format(ITEM)},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "thinking": ITEM}]},
        {"id": ITEM, "question": "What?", "answer": "Six.", "lineage": {"from": ITEM}},
    ]
    found = measure(of_records(records, "set"), benchmarks=BENCHMARKS)
    assert found.rows["ngram_13"] == [1.0, 1.0, 0.0]
    assert found.details[0][0]["field"] == "reasoning"
    assert found.details[1][0]["field"] == "messages.1.thinking"
    start, end = found.details[0][0]["span"]
    assert LONG.format(ITEM)[start:end].startswith("A farmer has")
    assert [set(parts) for parts in fields(of_records(records, "set"))][2] == {"text"}


def test_a_column_called_text_hides_no_other_text_of_its_row():
    records = [
        {"question": "What?", "answer": ITEM, "text": "something else"},
        {"question": "What?", "answer": "Five.", "text": ITEM},
    ]
    found = measure(of_records(records, "set"), benchmarks=BENCHMARKS)
    assert found.rows["ngram_13"] == [1.0, 1.0]
    assert (found.details[0][0]["field"], found.details[1][0]["field"]) == ("text", "text column")


@given(st.text(max_size=40))
@example("İstanbul's ﬁne ½ e\u0301 o'clock")
@example("ΑΣ ΣΑΣ 中文'a")
@example("rock'n'roll' 'tis a_'b o''clock")
def test_each_word_has_its_place_in_the_text(text):
    places = word_places(text)
    assert len(places) == len(plain(text))
    assert all(0 <= start < end <= len(text) for start, end in places)


def test_places_are_those_of_the_words():
    text = "Don't STOP—the cafe\u0301 №5 ﬁne 中文"
    assert plain(text) == ["dont", "stop", "the", "café", "no5", "fine", "中", "文"]
    assert [text[start:end] for start, end in word_places(text)] == [
        "Don't", "STOP", "the", "cafe\u0301", "№5", "ﬁne", "中", "文",
    ]  # fmt: skip
    assert word_places("It's rock'n'roll, 'tis a_b") == [(0, 4), (5, 16), (19, 22), (23, 24), (25, 26)]
    assert plain("İzmir x") == ["i", "zmir", "x"]
    assert word_places("İzmir x") == [(0, 1), (1, 5), (6, 7)]


def test_masked_spans_are_replaced_and_touching_ones_are_one():
    assert masked("one two three four", [(4, 7), (8, 13), (7, 8)]) == "one [removed] four"
    assert masked("abc", [(0, 1), (2, 3)], mark="_") == "_b_"
    assert masked("abc", []) == "abc"


def test_counts_are_by_benchmark_with_its_hash():
    found = measure(of_texts([LONG.format(ITEM), OTHERS[1], OTHERS[1] + " again", "none"]), benchmarks=BENCHMARKS)
    farm, code = (
        next(row for row in found.tables["benchmarks"] if row["benchmark"] == name and row["way"] == "ngram_13")
        for name in ("farm", "code")
    )
    assert (farm["items_hit"], farm["items_share"], farm["rows_hit"], farm["rows_share"]) == (1, 0.5, 1, 0.25)
    assert (code["items_hit"], code["items_share"], code["rows_hit"], code["rows_share"]) == (1, 1.0, 2, 0.5)
    one = {one.name: one for one in found.measures}
    assert (one["rows_hit_ngram_13"].value, one["rows_hit_ngram_13"].n) == (3 / 4, 4)
    assert (one["items_hit_ngram_13"].value, one["items_hit_ngram_13"].unit) == (2 / 3, "items")
    assert one["rows_hit_ngram_13"].low < 3 / 4 < one["rows_hit_ngram_13"].high
    hashes = {name: given["sha256"] for name, given in found.settings["benchmarks"].items()}
    assert set(hashes) == {"farm", "code"}
    changed = measure(of_texts([]), benchmarks={"farm": [ITEM, OTHERS[0] + "?"]}).settings["benchmarks"]["farm"]
    assert changed["sha256"] != hashes["farm"]


def test_the_null_is_what_halves_of_the_reference_share():
    copied = filler(40) * 2
    found = {one.name: one for one in measure(of_texts(["none"]), of_texts(copied), benchmarks=BENCHMARKS).measures}
    assert found["rows_hit_ngram_13"].value == 0.0
    assert 0.3 < found["rows_hit_ngram_13"].null < 0.7
    assert found["rows_hit_ngram_13"].reference == 0.0
    assert "reference" in found["rows_hit_ngram_13"].why
    alone = {one.name: one for one in measure(of_texts(filler(40)), benchmarks=BENCHMARKS).measures}
    assert alone["items_hit_ngram_13"].null == 0.0
    held = {one.name: one for one in measure(of_texts(["none"]), of_texts([ITEM, "x"]), benchmarks=BENCHMARKS).measures}
    assert held["rows_hit_ngram_13"].reference == 0.5


def test_rows_are_searched_in_parts(monkeypatch):
    rows = of_texts([*filler(5), LONG.format(ITEM), "", OTHERS[1]])
    whole = measure(rows, benchmarks=BENCHMARKS)
    assert whole == measure(rows, benchmarks=BENCHMARKS)
    monkeypatch.setattr(contamination, "AT_ONCE", 3)
    assert measure(rows, benchmarks=BENCHMARKS) == whole
    assert whole.rows["ngram_13"] == [0.0] * 5 + [1.0, None, 1.0]


@pytest.mark.parametrize("rows", [[], [""], ["one"], ["same text here"] * 3, ["?!"], ["\ud800 one two three"]])
@pytest.mark.parametrize("given", [{}, {"b": []}, {"b": [""]}, {"b": ["same text here", "same text here"]}])
def test_sets_with_little_in_them_have_defined_values_or_say_why_not(rows, given):
    for reference in (None, of_texts(rows), of_texts([])):
        found = measure(of_texts(rows), reference, benchmarks=given)
        assert all(one.value is not None or one.why for one in found.measures)
        assert all(len(scores) == len(rows) for scores in found.rows.values())


def test_a_very_long_row_and_a_very_long_item_are_taken():
    found = measure(of_texts([w(range(100_000))]), benchmarks={"b": [w(range(50_000, 60_000))]})
    assert [found.rows[way] for way in WAYS] == [[1.0]] * 5


def test_a_long_row_is_not_read_to_its_end_at_every_place_that_matches(monkeypatch):
    read = []
    monkeypatch.setattr(contamination, "span", lambda text, item: read.append(len(text)) or span(text, item))
    found = measure(of_texts([f"{ITEM} " * 200]), benchmarks={"b": [ITEM]})
    assert found.rows["token_span"] == [1.0]
    assert len(read) >= 200
    assert max(read) <= len(plain(ITEM))


def test_humaneval_is_known_and_its_solutions_are_found_in_code():
    given = benchmark("humaneval")
    assert len(given) == 164
    assert given[2].endswith("return number % 1.0\n")
    rows = of_texts([f"# my file\nimport os\n\n{given[3]}\n\nprint(1)\n", "def add(a, b):\n    return a + b\n"])
    found = measure(rows, benchmarks={"humaneval": given})
    for way in WAYS:
        assert found.rows[way] == [1.0, 0.0]
        assert hits(found, "humaneval")[way][1] == 1
    with pytest.raises(BadInput, match="there is humaneval"):
        benchmark("mmlu")


def test_an_item_is_all_its_texts_without_ids():
    records = [
        {"id": "q1", "question": "Which one?", "choices": {"text": ["a cat", "a dog"], "n": 2}, "answer": "a dog"}
    ]
    assert items(records) == ["Which one?\na cat\na dog\na dog"]


def test_the_effect_is_the_difference_of_dirty_and_clean_items_with_an_interval():
    shares = [0.0, 0.1, 0.19, 0.2, 0.5, 0.8, 0.81, 1.0, 0.9]
    scores = [0, 1, 0, 9, 9, 9, 1, 1, 0]
    clean, dirty, effect = score_effect(scores, shares)
    assert (clean.value, clean.n, dirty.value, dirty.n) == (pytest.approx(1 / 3), 3, pytest.approx(2 / 3), 3)
    assert effect.value == pytest.approx(1 / 3)
    assert effect.low < effect.value < effect.high
    wide = score_effect([0.0] * 40 + [1.0] * 40, [0.0] * 40 + [1.0] * 40)[2]
    assert (wide.value, wide.low, wide.high) == (1.0, 1.0, 1.0)
    rng = np.random.default_rng(0)
    even = score_effect(rng.integers(0, 2, 400).tolist(), [0.0, 1.0] * 200)[2]
    assert even.low < 0 < even.high
    assert even.high - even.low == pytest.approx(2 * 1.96 * (0.25 / 200 * 2) ** 0.5, rel=0.15)
    assert score_effect([1.0], [0.0])[2].value is None
    with pytest.raises(ValueError, match="2 scores and 1 shares"):
        score_effect([1, 1], [0])


RESTS = [w(range(at, at + 12)) for at in range(0, 1000, 100)]


def test_a_model_that_goes_on_word_for_word_only_when_the_dataset_is_named_is_contaminated():
    found = probe(RESTS, ["some other end of it"] * 10, RESTS)
    assert (found.guided, found.general, found.p, found.contaminated) == (1.0, 0.0, 0.0, True)


def test_a_model_that_is_helped_by_no_name_is_not_contaminated():
    assert not probe(RESTS, RESTS, RESTS).contaminated  # by heart or not: the name adds nothing
    assert not probe(["nothing"] * 10, RESTS, RESTS).contaminated
    mixed = [RESTS[at] if at % 2 else "no" for at in range(10)]
    swapped = ["no" if at % 2 else RESTS[at] for at in range(10)]
    found = probe(mixed, swapped, RESTS)
    assert (found.guided, found.general) == (0.5, 0.5)
    assert 0.3 < found.p < 0.8
    assert not found.contaminated


def test_a_gain_is_significant_or_not_by_alpha():
    general = ["no"] * 10
    for gained, contaminated in ((1, False), (2, False), (3, True), (5, True)):  # (1 - k/10)**10: .35 .11 .03 .001
        guided = [RESTS[at] if at < gained else "no" for at in range(10)]
        found = probe(guided, general, RESTS)
        assert found.contaminated == contaminated
        assert found.p == pytest.approx((1 - gained / 10) ** 10, abs=0.015)
    assert not probe([RESTS[at] if at < 3 else "no" for at in range(10)], general, RESTS, alpha=0.01).contaminated
    near = probe([*RESTS[:2], *general[:3]], general[:5], RESTS[:5])  # 0.6**5
    assert near.p == pytest.approx(0.078, abs=0.01)
    assert not near.contaminated
    with pytest.raises(ValueError, match="2 guided and 1 general completions of 2 items"):
        probe(["a", "b"], ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="of 0 items"):
        probe([], [], [])


def test_rouge_l_is_f1_of_the_longest_common_subsequence():
    assert rouge_l("a b c d", "a x c d y z") == 2 * 3 / 10
    assert rouge_l("", "a") == rouge_l("?", "!") == 0.0


def test_one_exact_or_two_near_exact_matches_flag_a_partition():
    assert known_by_heart(["none"] * 9 + ["exact"])
    assert known_by_heart(["near-exact", "none", "near-exact"])
    assert known_by_heart(["none"] * 9 + ["near-exact"]) is False
    assert known_by_heart(["none"] * 10) is False


def test_a_verdict_that_cannot_be_read_never_clears_a_partition():
    assert known_by_heart(["none"] * 9 + [None]) is None
    assert known_by_heart(["near-exact", None]) is None
    assert known_by_heart([]) is None
    assert known_by_heart([None, "exact"]) is True
    with pytest.raises(ValueError, match="no verdict: \\['Exact match'\\]"):
        known_by_heart(["none", "Exact match"])


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("exact", "exact"), (" Near-exact.\n", "near-exact"), ("**None**", "none"), ("Exact match", "exact"), ("", None),
        ("inexact", None), ("not exact", None), ("exact, or none", None), ("The answer is exact", None),
    ],
)  # fmt: skip
def test_only_one_of_the_three_answers_alone_is_a_verdict(reply, verdict):
    assert read_verdict(reply) == verdict


def test_the_guided_instruction_alone_names_dataset_and_split_and_neither_shows_the_rest():
    found = asked("one two  three\nfour five", "GSM8K", "test")
    assert found.rest == "four five"
    for text in (found.guided, found.general):
        assert "First piece:\none two  three\n\nSecond piece:" in text
        assert "four" not in text
    assert "the test split of the GSM8K dataset" in found.guided
    assert "exactly as it stands in the dataset" in found.guided
    assert "GSM8K" not in found.general
    assert "dataset" not in found.general
    assert asked("a b", "d", "s").rest == "b"
    for short in ("", "one"):
        with pytest.raises(ValueError, match="cannot be cut in two"):
            asked(short, "d", "s")


def test_the_judge_sees_examples_of_all_three_verdicts_and_then_the_pair():
    text = JUDGE(reference="what it is", candidate="what was said")
    assert [line.removeprefix("Answer: ") for line in text.splitlines() if line.startswith("Answer: ")] == [
        "exact",
        "near-exact",
        "none",
    ]
    assert text.endswith("Reference: what it is\nCandidate: what was said\nAnswer:")
