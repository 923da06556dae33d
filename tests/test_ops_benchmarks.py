"""Benchmarks that a row must not hold."""

from gristmill.ops.benchmarks import BenchmarkItem, Benchmarks

KNOWN = Benchmarks(
    [
        BenchmarkItem("Return the sum of two integers, a and b.", benchmark="sums"),
        BenchmarkItem("return a+b", benchmark="solutions"),
        BenchmarkItem("  "),
    ]
)


def test_equal_but_for_capitals_white_space_and_the_unicode_form():
    assert KNOWN.equal("RETURN the  sum\nof two integers, a and b.") == "sums"
    assert KNOWN.equal("ｒeturn a+b") == "solutions"
    assert KNOWN.equal("Return the sum of two integers") is None
    assert KNOWN.equal("") is None


def test_an_item_inside_a_text_is_found_unless_it_is_shorter_than_asked():
    text = "def add(a, b):\n    Return A+B\n"
    assert KNOWN.inside(text) == "solutions"
    assert KNOWN.inside(text, shortest=11) is None
    assert KNOWN.inside("nothing of the kind") is None


def test_a_shared_run_of_n_words_is_found_and_one_word_less_is_not():
    assert KNOWN.sharing("Please return the sum of two numbers", 5) == "sums"
    assert KNOWN.sharing("Please return the sum of two numbers", 6) is None
    assert KNOWN.sharing("return a+b", 4) is None


def test_an_item_without_a_name_is_found_as_well():
    assert Benchmarks([BenchmarkItem("What is it?")]).equal("what is it?") == ""
