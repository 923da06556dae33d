"""Python by its syntax: how much of two trees is alike."""

import pytest

from gristmill.ops.code import match_rate, parsed, syntax

ADD = "def add(a, b):\n    return a + b"


def rate(one, other):
    return match_rate(syntax(parsed(one)), syntax(parsed(other)))


def test_names_values_and_layout_do_not_count():
    assert rate(ADD, "def plus( x,y ): return x+y  # sums") == 1.0
    assert syntax(parsed("f(1)")) == ["Module", "Expr", "Call", "Name", "Load", "Constant"]


@pytest.mark.parametrize("other", ["def add(a, b):\n    return a - b", "def add(a, b, c):\n    return a + b"])
def test_a_small_change_costs_its_share_of_the_longer_tree(other):
    longer = max(len(syntax(parsed(code))) for code in (ADD, other))
    assert rate(ADD, other) == pytest.approx(1 - 1 / longer)
    assert rate(other, ADD) == rate(ADD, other)


def test_a_deep_tree_can_be_compared():
    deep = "x = " + " + ".join("1" for _ in range(900))
    assert rate(deep, deep.replace("1", "2")) == 1.0


def test_other_code_is_far():
    assert rate(ADD, "class A:\n    x = [1, 2, 3]\n    y = {}\n") < 0.4
    assert match_rate([], []) == 1.0
