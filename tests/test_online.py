"""Online training of a very small transformer: what a step does, and that a save holds all of it."""

import math

import pytest

import tiny
from gristmill import BadInput, Lesson, Training
from gristmill.models.protocol import Question
from gristmill.models.transformers import Transformers

PAIRS = [Lesson(f"{a}+1=", str(a + 1), "none") for a in range(8)]
FAST = Training(learning_rate=3e-3)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


async def chance(model, lesson: Lesson) -> float:
    """The log-probability of the better answer less that of the other."""
    asked = [
        Question("score", prompt=lesson.prompt, continuation=text) for text in (lesson.completion, lesson.rejected)
    ]
    one, other = [(await model.answer(question, 1)).samples[0] for question in asked]
    return sum(token.logprob for token in one) - sum(token.logprob for token in other)


@pytest.mark.parametrize(("loss", "first"), [("sigmoid", math.log(2)), ("ipo", 25.0), ("hinge", 1.0)])
async def test_a_step_makes_the_better_answer_likelier_and_leaves_the_reference_alone(base, loss, first):
    model = Transformers(base, device="cpu")
    await model.start()
    before = await chance(model, PAIRS[0])
    session = model.session("dpo", Training(learning_rate=3e-3, loss=loss), "")
    losses = [(await session.step(PAIRS))["loss"] for _ in range(6)]
    assert losses[0] == pytest.approx(first, abs=1e-4)  # it is its own reference yet
    assert losses[-1] < losses[0]
    assert await chance(session.backend, PAIRS[0]) > before + 0.2
    assert await chance(model, PAIRS[0]) == before
    await session.close()
    await model.close()


async def test_the_dpo_loss_is_that_of_the_formula(base):
    model = Transformers(base, device="cpu")
    await model.start()
    session = model.session("dpo", Training(learning_rate=3e-3, beta=0.5), "")
    for _ in range(3):
        await session.step(PAIRS[:1])
    # Of the next step, from what the two models say of both answers and of the end that follows them.
    end = "<eos>"

    async def whole(one, text: str) -> float:
        [tokens] = (await one.answer(Question("score", prompt=PAIRS[0].prompt, continuation=text + end), 1)).samples
        return sum(token.logprob for token in tokens)

    gains = [
        await whole(session.backend, text) - await whole(model, text)
        for text in (PAIRS[0].completion, PAIRS[0].rejected)
    ]
    by_hand = math.log1p(math.exp(-0.5 * (gains[0] - gains[1])))
    assert (await session.step(PAIRS[:1]))["loss"] == pytest.approx(by_hand, abs=1e-4)
    await session.close()
    await model.close()


async def test_a_restored_session_goes_on_as_if_it_had_never_stopped(base, tmp_path):
    model = Transformers(base, device="cpu")
    whole = model.session("dpo", FAST, "")
    for _ in range(3):
        await whole.step(PAIRS)
    await whole.save(tmp_path)
    after = [(await whole.step(PAIRS))["loss"] for _ in range(3)]
    again = model.session("dpo", FAST, "")
    await again.restore(tmp_path)
    assert [(await again.step(PAIRS))["loss"] for _ in range(3)] == after
    for one in (whole, again, model):
        await one.close()


async def test_completions_can_be_learnt_step_by_step_too(base):
    model = Transformers(base, device="cpu")
    session = model.session("sft", FAST, "")
    losses = [(await session.step(PAIRS))["loss"] for _ in range(10)]
    assert losses[-1] < losses[0] - 0.5
    with pytest.raises(BadInput, match="takes sft or dpo"):
        model.session("reward", FAST, "")
    await session.close()
    await model.close()
