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


def question(a: int, b: int) -> dict[str, str]:
    return {"question": f"{a} + {b}", "answer": str(a + b)}


def lesson(a: int, b: int, hinted: bool) -> Lesson:
    """One is moved from the second number to the first until nothing is left."""
    moves = "\n".join(f"{a + i} + {b - i}" for i in range(b + 1))
    context = FORM.context(StarQuestion(**question(a, b)), hinted)
    return Lesson(context, f"<scratch>\n{moves}\n</scratch>\n{a + b}")


async def accuracy(weights: str, sums: list[tuple[int, int]]) -> float:
    model = Transformers(weights, device="cpu")
    await model.start()
    right = 0
    for a, b in sums:
        asked = Question(
            "complete", prompt=lesson(a, b, False).prompt, sampling={"temperature": 0.0, "max_tokens": 100}
        )
        right += FORM.read((await model.answer(asked, 1)).samples[0].text) == str(a + b)
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
