"""Real training of a very small transformer in a process of its own."""

import asyncio
import json
import math

import pytest

import tiny
from gristmill import Lesson, Training
from gristmill.errors import BadInput, TrainingFailed
from gristmill.models import finetune
from gristmill.models.training import Course
from test_models_local import minilm

SUMS = [Lesson(f"{a}+{b}=", str(a + b)) for a in range(10) for b in range(10)]
PAIRS = [Lesson(f"{a}+1=", str(a + 1), "none") for a in range(9)] * 4


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def weights(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


async def taught(base, folder, course, progress=lambda *_: None):
    folder.mkdir(exist_ok=True)
    return await finetune.train(base, course, folder, progress, device="cpu")


async def test_completions_are_learnt_step_by_step_and_the_same_twice(base, tmp_path):
    course, steps = Course("sft", SUMS, Training(learning_rate=3e-3, steps=30, batch_size=16)), []
    measured = await taught(base, tmp_path / "a", course, lambda *said: steps.append(said))
    assert measured["loss"] < measured["first_loss"] - 1
    assert (measured["steps"], measured["rows"]) == (30, 100)
    assert [(done, of) for done, of, _ in steps] == [(n, 30) for n in range(1, 31)]
    assert not (tmp_path / "a" / "trainer").exists()
    await taught(base, tmp_path / "b", course)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


async def test_the_default_student_which_is_a_gguf_can_be_trained_and_its_checkpoint_is_one_of_plain_weights(tmp_path):
    from gristmill.models.weights import known, locate
    from gristmill.train import worker

    base = str(await asyncio.to_thread(locate, known("smollm2-135m-instruct")))
    course = Course("sft", SUMS[:1], Training(steps=1, batch_size=1, max_tokens=32))
    measured = await taught(base, tmp_path / "a", course)
    assert measured["steps"] == 1
    model, _ = await asyncio.to_thread(worker.load, str(tmp_path / "a"))
    assert not getattr(model, "is_quantized", False)
    assert "quantization_config" not in json.loads((tmp_path / "a" / "config.json").read_text())


@pytest.mark.parametrize("method", ["dpo", "reward"])
async def test_pairs_are_learnt(base, tmp_path, method):
    course = Course(method, PAIRS, Training(learning_rate=3e-3, steps=10, batch_size=12))
    measured = await taught(base, tmp_path / "a", course)
    # At first it prefers neither, but for the chance in a reward model's new head.
    assert abs(measured["first_loss"] - math.log(2)) < {"dpo": 1e-3, "reward": 0.1}[method]
    assert measured["loss"] < measured["first_loss"] - 0.1
    assert weights(tmp_path / "a")


async def test_a_training_that_was_stopped_goes_on_from_its_last_save(base, tmp_path):
    course, steps = Course("sft", SUMS, Training(learning_rate=3e-3, steps=200, batch_size=32)), []
    reached = asyncio.Event()

    def watch(done, of, measured):
        steps.append(done)
        if done >= 60:
            reached.set()

    work = asyncio.create_task(taught(base, tmp_path / "a", course, watch))
    await reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert steps[-1] < 200
    [save] = (tmp_path / "a" / "trainer").glob("checkpoint-*")
    saved = json.loads((save / "trainer_state.json").read_text())["global_step"]
    again = []
    measured = await taught(base, tmp_path / "a", course, lambda done, *_: again.append(done))
    assert (again[0], measured["steps"]) == (saved + 1, 200)


async def test_a_loss_that_explodes_is_seen_at_once(base, tmp_path):
    course = Course("sft", SUMS, Training(learning_rate=1e30, steps=50, schedule="constant"))
    measured = await taught(base, tmp_path / "a", course)
    assert math.isnan(measured["loss"])
    assert measured["steps"] < 50
    assert not (tmp_path / "a" / "model.safetensors").exists()


async def test_a_worker_that_fails_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingFailed, match=r"sft: \w+Error: .*empty"):
        await taught(str(tmp_path / "empty"), tmp_path / "a", Course("sft", SUMS, Training(steps=1)))


def test_what_is_not_installed_is_named_with_its_line(monkeypatch):
    monkeypatch.setattr(finetune, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(BadInput, match=r"training needs trl, which is not installed: pip install 'gristmill\[train\]'"):
        finetune.require()


async def test_low_rank_adapters_are_learnt_and_folded_into_weights_of_the_usual_format(base, tmp_path):
    course = Course("sft", SUMS, Training(learning_rate=2e-2, steps=30, batch_size=16, lora_rank=4))
    measured = await taught(base, tmp_path / "a", course)
    assert measured["loss"] < measured["first_loss"] - 0.5
    from safetensors.numpy import load_file

    before, after = load_file(f"{base}/model.safetensors"), load_file(tmp_path / "a" / "model.safetensors")
    assert before.keys() == after.keys()  # nobody who loads it needs to know of adapters
    changed = {name.split(".")[-2] for name in before if (before[name] != after[name]).any()}
    assert "q_proj" in changed
    assert not changed & {"embed_tokens", "norm", "input_layernorm"}


async def test_an_encoder_learns_which_texts_belong_together(tmp_path):
    import numpy as np
    from sentence_transformers import SentenceTransformer

    encoder = str(minilm())
    words = ["zebra", "violin", "glacier", "pepper", "lantern", "harbour", "feather", "copper"]
    lessons = [Lesson(f"code {n}", f"The word is {word}.") for n, word in enumerate(words)]
    course = Course("contrastive", lessons, Training(learning_rate=2e-4, steps=12, batch_size=8))
    measured = await taught(encoder, tmp_path / "a", course)
    assert measured["loss"] < 0.7 * measured["first_loss"]

    def right(folder: str) -> float:
        model = SentenceTransformer(folder, local_files_only=True, device="cpu")
        asked, found = (model.encode([getattr(one, side) for one in lessons]) for side in ("prompt", "completion"))
        return float((np.argmax(asked @ found.T, axis=1) == np.arange(8)).mean())

    assert right(str(tmp_path / "a")) > max(0.6, right(encoder))
