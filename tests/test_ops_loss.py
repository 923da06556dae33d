"""Losses: the definitions hold for any tokens, and a first token without a probability falls out on both sides."""

from math import exp, inf, log, nan, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.models.protocol import Token
from gristmill.ops.ask import Bad
from gristmill.ops.loss import mean_loss, perplexity, perplexity_ratio

LOGPROBS = st.lists(st.floats(-30, 0), min_size=1, max_size=12)
ABSENT = st.sampled_from([-9999.0, -1e6, -inf, nan])


def scored(logprobs):
    return [Token("x", logprob) for logprob in logprobs]


@given(LOGPROBS)
def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities(logprobs):
    chances = [exp(logprob) for logprob in logprobs]
    assert perplexity(scored(logprobs)) == pytest.approx(prod(chances) ** (-1 / len(chances)), rel=1e-6)


@given(st.integers(1, 10_000), st.integers(1, 30))
def test_a_model_that_finds_k_tokens_equally_likely_has_perplexity_k(k, length):
    assert perplexity(scored([-log(k)] * length)) == pytest.approx(k)


@given(LOGPROBS, LOGPROBS)
def test_the_ratio_is_the_quotient_of_the_perplexities_and_turns_over_with_its_sides(one, other):
    a, b = scored(one), scored(other)
    assert perplexity_ratio(a, b) == pytest.approx(perplexity(a) / perplexity(b))
    assert perplexity_ratio(a, b) * perplexity_ratio(b, a) == pytest.approx(1.0)
    if abs(mean_loss(a) - mean_loss(b)) > 1e-9:
        assert (perplexity_ratio(a, b) < 1) == (mean_loss(a) < mean_loss(b))


@given(LOGPROBS, st.floats(0.1, 5))
def test_a_context_that_makes_every_token_likelier_gives_a_ratio_below_one(logprobs, gain):
    helped = scored(min(0.0, logprob + gain) for logprob in logprobs)
    assert perplexity_ratio(helped, scored(logprobs)) <= 1.0


@given(LOGPROBS, LOGPROBS, st.floats(-30, 0), ABSENT)
def test_a_first_token_without_a_probability_counts_on_neither_side_of_a_ratio(in_context, alone, first, absent):
    with_first = perplexity_ratio(scored([first, *in_context]), scored([absent, *alone]))
    assert with_first == perplexity_ratio(scored(in_context), scored(alone))
    assert mean_loss(scored([absent, *alone])) == mean_loss(scored(alone))


def test_a_first_token_that_has_a_probability_counts():
    assert mean_loss(scored([-3.0, -1.0])) == 2.0
    assert perplexity_ratio(scored([-3.0, -1.0]), scored([-1.0, -1.0])) == pytest.approx(exp(1.0))


@given(LOGPROBS, ABSENT)
def test_a_later_token_without_a_probability_is_no_loss_and_no_guess(logprobs, absent):
    with pytest.raises(Bad, match="no_loss") as caught:
        mean_loss(scored([*logprobs, absent]))
    assert caught.value.details == {"tokens": len(logprobs) + 1}


@pytest.mark.parametrize("logprobs", [[], [-9999.0]])
def test_no_token_gives_no_loss(logprobs):
    with pytest.raises(Bad, match="no_loss"):
        mean_loss(scored(logprobs))
    with pytest.raises(Bad, match="no_loss"):
        perplexity_ratio(scored([-1.0]), scored(logprobs))


def test_the_largest_losses_stay_numbers():
    impossible, certain = scored([-9000.0] * 2), scored([0.0])
    assert 0 < perplexity_ratio(certain, impossible) < 1 < perplexity_ratio(impossible, certain) < inf
    assert perplexity(impossible) < inf
