"""STaR with nothing pretended: a very small transformer that was shown a few sums teaches itself more of them."""

import random

import pytest

import gristmill
import tiny
from gristmill import Lesson, Training
from gristmill.models import finetune
from gristmill.models.protocol import Question
from gristmill.models.training import Course
from gristmill.models.transformers import Transformers
from gristmill.recipes.self_improvement.star import FORMS, StarQuestion
from gristmill.testing import folder

pytestmark = pytest.mark.timeout(1200)
FORM = FORMS["arithmetic"]


def digits(number: int) -> str:
    return " ".join(str(number))


def sums(seed: int, count: int) -> list[tuple[int, int]]:
    """Different pairs of numbers of two digits."""
    return random.Random(seed).sample([(a, b) for a in range(10, 100) for b in range(10, 100)], count)


def question(a: int, b: int) -> dict[str, str]:
    return {"question": f"{digits(a)} + {digits(b)}", "answer": digits(a + b)}


def lesson(a: int, b: int, hinted: bool) -> Lesson:
    """Digit by digit from the right, with what is carried over."""
    carried, lines = 0, []
    for one, other in ((a % 10, b % 10), (a // 10, b // 10)):
        lines.append(f"{one} + {other} + {carried} = {(made := one + other + carried)}")
        carried = made // 10
    context = FORM.context(StarQuestion(**question(a, b)), hinted)
    return Lesson(context, "<scratch>\n" + "\n".join(lines) + f"\n</scratch>\n{digits(a + b)}")


async def accuracy(weights: str, sums: list[tuple[int, int]]) -> float:
    model = Transformers(weights, device="cpu")
    await model.start()
    right = 0
    for a, b in sums:
        asked = Question("complete", prompt=lesson(a, b, False).prompt, sampling={"temperature": 0.0, "max_tokens": 80})
        right += FORM.read((await model.answer(asked, 1)).samples[0].text) == digits(a + b)
    await model.close()
    return right / len(sums)


async def test_a_model_that_knows_some_sums_solves_more_of_them_and_of_others_round_by_round():
    pairs = [(a, b) for a in range(10) for b in range(10)]
    random.Random(1).shuffle(pairs)
    held_out, known = pairs[:25], pairs[25:]
    base = tiny.make(folder() / "base", width=64, layers=2, context=160, seed=1)
    pretrained = folder()
    shown = [lesson(a, b, hinted) for a, b in known for hinted in (False, True)]
    settings = Training(learning_rate=2e-3, steps=250, batch_size=32)
    await finetune.train(str(base), Course("sft", shown, settings), pretrained, lambda *_: None, device="cpu")
    before = await accuracy(str(pretrained), held_out)
    done = await gristmill.arun(
        "star",
        seeds=[question(a, b) for a, b in known],
        inputs={"dev": [question(a, b) for a, b in held_out]},
        model={"student": f"transformers:{pretrained},device=cpu"},
        out=folder() / "run",
        iterations=2,
        patience=2,
        few_shot=0,
        start_steps=150,
        temperature=0.3,
        max_tokens_per_rationale=100,
        training={"learning_rate": 2e-3, "batch_size": 32, "warmup_steps": 5},
    )
    first, second = done.iterate("star_round")
    assert done.failed == 0
    assert second.solved >= first.solved + 5  # without help, of the questions that it learns from
    assert second.accuracy >= before + 0.1  # of those that it never saw
    assert first.rationalized > 0
    assert all("Target:\n" in row.prompt for row in done.rows)
    again = await gristmill.arerun(done.folder, out=folder() / "again", offline=True)
    assert (again.rows, again.calls) == (done.rows, 0)
