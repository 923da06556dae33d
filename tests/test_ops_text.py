"""Words, sentences, pieces, and what models put around an answer."""

import re
import string
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.ops.text import (
    approx_tokens,
    chunks,
    is_refusal,
    sentences,
    strip_framing,
    strip_numbering,
    words,
)

TEXTS = st.one_of(st.text(max_size=200), st.text("aZ .!?\n\"'(é中。5", max_size=200))
COUNTS = st.sampled_from([len, approx_tokens, lambda text: len(text.split()), lambda text: len(text.encode())])


@given(st.text(string.printable))
def test_words_of_ascii_text_are_those_of_rouge_score(text):
    assert words(text) == [word for word in re.sub(r"[^a-z0-9]+", " ", text.lower()).split(" ") if word]


def test_words_of_other_scripts_are_kept_and_signs_without_spaces_count_alone():
    assert words("Crème brûlée, ÄPFEL_ und Öl") == ["crème", "brûlée", "äpfel", "und", "öl"]
    assert words("我爱你 2024年 ok") == ["我", "爱", "你", "2024", "年", "ok"]
    assert words("Привет, мир!") == ["привет", "мир"]


@given(TEXTS)
def test_sentences_join_to_the_text(text):
    pieces = sentences(text)
    assert "".join(pieces) == text
    assert all(pieces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Dr. Smith met J. R. Hartley at 3.5 km, e.g. there.", ["Dr. Smith met J. R. Hartley at 3.5 km, e.g. there."]),
        ('"Really?" She left. (He stayed.) Why?', ['"Really?" ', "She left. ", "(He stayed.) ", "Why?"]),
        ("Wait... Then go.", ["Wait... ", "Then go."]),
        ("A title\n\nFirst line\nsecond line.", ["A title\n\n", "First line\nsecond line."]),
        ("第一句。第二句！「第三句？」四", ["第一句。", "第二句！", "「第三句？」", "四"]),
        ("It was I. Then it rained.", ["It was I. ", "Then it rained."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text, expected):
    assert sentences(text) == expected


@given(TEXTS, st.integers(1, 40), COUNTS)
@example("x" * 100, 7, len)
@example(" \n" * 50, 3, len)
def test_chunks_join_to_the_text_and_none_is_too_large(text, most, count):
    pieces = chunks(text, most, count)
    assert "".join(pieces) == text
    assert all(piece and (count(piece) <= most or len(piece) == 1) for piece in pieces)


def test_chunks_are_cut_between_sentences_and_filled():
    text = "A cat sat. A dog ran. A cow ate. A hen slept."
    assert chunks(text, 23, len) == ["A cat sat. A dog ran. ", "A cow ate. A hen slept."]


def test_only_a_sentence_that_is_too_long_is_cut_between_words_and_only_a_long_word_inside():
    assert chunks("Short. one two three four", 10, len) == ["Short. ", "one two ", "three four"]
    assert chunks("abcdefghij klm", 4, len) == ["abcd", "efgh", "ij ", "klm"]


def test_no_tokens_at_all_is_refused():
    with pytest.raises(ValueError):
        chunks("text", 0)


@given(TEXTS, TEXTS)
def test_more_text_never_counts_for_fewer_tokens(one, other):
    assert approx_tokens(one + other) >= max(approx_tokens(one) - 1, 0)
    assert approx_tokens(one) <= 4 * len(one)


def test_english_prose_is_estimated_a_little_above_what_tokenizers_count():
    text = (
        "The harbour had been quiet for a week, and then the boats came back one after another, low in the water, with "
        "gulls behind them. Nobody asked where they had been."
    )
    assert 35 <= approx_tokens(text) <= 50  # SmolLM2 counts 37


@pytest.mark.parametrize(
    "text", [" " * 100_000, "." * 100_000, ".\n" * 50_000, '. "' * 30_000, "'" * 100_000, "a" * 100_000]
)
def test_odd_runs_take_no_time(text):
    start = time.process_time()
    assert "".join(sentences(text)) == text
    strip_framing(text)
    is_refusal(text)
    assert time.process_time() - start < 5  # a quadratic pattern takes minutes


# What models say around an answer


@given(TEXTS)
def test_stripping_keeps_an_unbroken_part_and_twice_is_once(text):
    kept = strip_framing(text)
    assert kept in text
    assert strip_framing(kept) == kept


@pytest.mark.parametrize(
    "framed",
    [
        "Here is a paraphrase of the text:\n\nThe cat sat.",
        "Sure! Here's a simplified version: The cat sat.",
        'Certainly! Below is the rewritten passage in the style of Wikipedia:\n\n"The cat sat."',
        "**Here is the rephrased text:**\n\nThe cat sat.\n\nLet me know if you need anything else!",
        "Paraphrase: The cat sat.",
        "Of course!\n\nHere is the article:\nThe cat sat.\n\nI hope this helps!\n\nFeel free to ask for more.",
        "My rewritten version:\nThe cat sat.\n\nNote: I kept the meaning of the original.",
        "The cat sat.",
    ],
)
def test_framing_is_dropped(framed):
    assert strip_framing(framed) == "The cat sat."


@pytest.mark.parametrize(
    "content",
    [
        "Here is what you need: flour and eggs.",
        "This is a story about a man who said: hello",
        "The story so far: nothing happened.",
        "Of course! The cat is fine.",
        "Question: Who sat?\nAnswer: The cat.",
        "The cat sat.\n\nI hope to see it again.",
        "Sure of himself, he left.\n\nNote: trains run late.",
    ],
)
def test_content_that_only_looks_like_framing_stays(content):
    assert strip_framing(content) == content


def test_a_reply_of_nothing_but_framing_leaves_nothing():
    assert strip_framing("Sure! Here is a paraphrase:") == ""


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "As an AI language model, I cannot form opinions.",
        "I am unable to assist with this request.",
        "Unfortunately, I can't provide that.",
        "I’m sorry. I cannot answer this.",
        "I'm not able to write that.",
        "I won't create such a text.",
    ],
)
def test_a_refusal_is_seen(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot believe my luck. It was a good day.",
        "Sorry for the delay. The shop opens at nine.",
        'He said: "I cannot help it."',
        "As an AI researcher, she writes about models.",
        "Sure! I can help with that.",
        "The engine could not start. Unfortunately it was Sunday.",
    ],
)
def test_an_ordinary_text_is_no_refusal(text):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "item", ["1. Sing", "12) Sing", "(b) Sing", "- Sing", "• Sing", "Step 3: Sing", " iv. Sing ", "Sing"]
)
def test_a_number_or_bullet_goes(item):
    assert strip_numbering(item) == "Sing"


@pytest.mark.parametrize("line", ["3.5 litres", "1984 was cold", "A cat", "1.", "-", "-5 degrees", "I sing"])
def test_what_is_no_numbering_stays(line):
    assert strip_numbering(line) == line
