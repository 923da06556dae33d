"""Mixtures: shares within one row, no row twice."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import BadInput
from gristmill.ops.mixture import largest, mixed, sizes

SHARES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50), min_size=1)


@given(SHARES, st.integers(0, 500))
def test_sizes_add_up_and_each_is_within_one_row_of_its_share(shares, total):
    found = sizes(shares, total)
    assert sum(found.values()) == total
    for name, count in found.items():
        assert abs(count - Fraction(shares[name] * total, sum(shares.values()))) < 1


@given(SHARES, st.data())
def test_the_largest_mixture_takes_no_row_twice_and_uses_a_part_up_to_less_than_a_row(shares, data):
    available = {name: data.draw(st.integers(0, 60)) for name in shares}
    most = largest(shares, available)
    assert all(count <= available[name] for name, count in sizes(shares, most).items())
    more = {name: Fraction(share * (most + 1), sum(shares.values())) for name, share in shares.items()}
    assert any(more[name] > available[name] for name in shares)


def test_rows_are_shuffled_named_and_none_is_taken_twice():
    parts = {"new": [f"n{i}" for i in range(40)], "old": [f"o{i}" for i in range(40)]}
    found = mixed(random.Random(1), parts, {"new": 0.8, "old": 0.2})
    assert len(found) == 50
    assert len({row for _, row in found}) == 50
    assert sum(name == "new" for name, _ in found) == 40
    assert all(row[0] == name[0] for name, row in found)
    assert [name for name, _ in found] != sorted(name for name, _ in found)
    assert mixed(random.Random(1), parts, {"new": 0.8, "old": 0.2}) == found


def test_a_part_that_is_too_small_and_shares_of_nothing_are_refused():
    with pytest.raises(BadInput, match=r"takes 8 of 'a', and there are 3"):
        mixed(random.Random(0), {"a": [1, 2, 3], "b": [1] * 9}, {"a": 8, "b": 2}, 10)
    with pytest.raises(BadInput, match="not all 0"):
        sizes({"a": 0.0}, 3)
    with pytest.raises(BadInput, match="at least 0"):
        sizes({"a": -1.0, "b": 2.0}, 3)
