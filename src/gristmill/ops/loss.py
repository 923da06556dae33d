"""How well a model expects a text, from the tokens of `Score.score`: mean loss, perplexity, and how far a context helps.

`student.score(context, text)` gives the text in its context, `student.score("", text)` the text alone. Of a text alone
the first token may have no probability: nothing stands before it. A model that begins every text with a token of its
own (Llama's <s>) gives one all the same, others (GPT-2, Qwen) do not; backends then write -9999. Such a first token is
left out, and a ratio leaves it out on both sides, so that it always compares the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from gristmill.models.protocol import Token
from gristmill.ops.ask import Bad

MISSING = -9999.0
"""What backends write for a log-probability that there is not; so is anything below it, and what is no number."""
MOST = 700.0  # exp() of more is no float


def mean_loss(tokens: Sequence[Token]) -> float:
    """The mean of the negative natural-log probabilities, without a first token that has none.

    Raises:
        Bad("no_loss"): no token is left, or a later one has no probability (details: tokens).
    """
    counted = tokens[1:] if lacks_first(tokens) else tokens
    if not counted or any(not token.logprob > MISSING for token in counted):
        raise Bad("no_loss", tokens=len(tokens))
    return -sum(token.logprob for token in counted) / len(counted)


def perplexity(tokens: Sequence[Token]) -> float:
    """exp of the mean loss, at least 1."""
    return exp(min(mean_loss(tokens), MOST))


def perplexity_ratio(given: Sequence[Token], alone: Sequence[Token]) -> float:
    """ppl(text | context) / ppl(text): below 1 where the context helps to expect the text, above where it misleads.

    With an instruction as context of its answer this is the instruction-following difficulty, IFD. Raises as
    `mean_loss`.

    Args:
        given: the text's tokens in its context.
        alone: its tokens with nothing before them.
    """
    if lacks_first(alone):
        given, alone = given[1:], alone[1:]
    return exp(max(-MOST, min(mean_loss(given) - mean_loss(alone), MOST)))


def lacks_first(tokens: Sequence[Token]) -> bool:
    return bool(tokens) and not tokens[0].logprob > MISSING
