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


async def test_a_model_that_can_follow_a_hint_teaches_itself_to_do_without_round_by_round():
    pairs = sums(seed=1, count=800)
    shown, asked, held_out = pairs[:400], pairs[400:700], pairs[700:]
    base = tiny.make(folder() / "base", width=64, layers=2, context=160, seed=1)
    pretrained = folder()
    lessons = [lesson(*pair, True) for pair in shown] + [lesson(*pair, False) for pair in shown[:60]]
    settings = Training(learning_rate=2e-3, steps=600, batch_size=32)
    await finetune.train(str(base), Course("sft", lessons, settings), pretrained, lambda *_: None, device="cpu")
    before = await accuracy(str(pretrained), held_out)
    done = await gristmill.arun(
        "star",
        seeds=[question(a, b) for a, b in asked],
        inputs={"dev": [question(a, b) for a, b in held_out]},
        model={"student": f"transformers:{pretrained},device=cpu"},
        out=folder() / "run",
        iterations=2,
        patience=2,
        few_shot=0,
        start_steps=150,
        p_show_hint_save=0.3,  # it keeps being able to follow one
        temperature=0.3,
        max_tokens_per_rationale=80,
        training={"learning_rate": 2e-3, "batch_size": 32, "warmup_steps": 5},
    )
    first, second = done.iterate("star_round")
    assert done.failed == 0
    assert first.rationalized > first.solved  # it begins with what it can do with the answer in sight
    assert second.solved >= first.solved + 50  # without help, of the questions that it learns from
    # Of those that it never saw. Three runs gave 0.4 to 0.6; another machine's arithmetic makes another model.
    assert second.accuracy >= before + 0.2
    assert first.accuracy >= before + 0.1
    hinted = [row for row in done.rows if "Target:\n" not in row.prompt]
    assert 0 < len(hinted) < sum(row.rationalized for row in done.rows)
    again = await gristmill.arerun(done.folder, out=folder() / "again", offline=True)
    assert (again.rows, again.calls) == (done.rows, 0)
