"""Code Alpaca: Alpaca's code with seeds and rules of programming; see test_recipe_alpaca.py for pool and parsing."""

from itertools import combinations

import pytest

from gristmill import recipes
from gristmill.ops.novelty import Novelty
from gristmill.recipes.distillation import alpaca as plain
from gristmill.recipes.distillation.code_alpaca import TASKS, code_alpaca
from gristmill.seeds import read
from gristmill.testing import Scripted, replay, run
from test_recipe_alpaca import block, model, reply

SEEDS = [
    {"instruction": row.instruction, "input": row.input, "output": row.output}
    for row in read(recipes.DATA / "code_tasks.jsonl", plain.AlpacaSeed)
]


def few(**options):
    return {"request_batch_size": 1, **options}


@pytest.mark.proof("code-alpaca", 1)
async def test_a_prompt_asks_for_code_only_shows_code_seeds_and_does_not_limit_the_output():
    generator = model()
    await run(code_alpaca, SEEDS, generator=generator, target=6, **few())
    known = [" ".join(seed["instruction"].split()) for seed in SEEDS]
    for prompt in generator.prompts:
        assert "It is about code or programming. No other subject will do." in prompt
        assert "Write 20 exercises" in prompt
        assert sum(f"Instruction: {instruction}\n" in prompt for instruction in known) == 3
        assert "100 words" not in prompt.partition("The 20 exercises")[0]
    assert "in under 100 words" in plain.TASKS.text
    assert "100 words" not in TASKS.text
    assert len(SEEDS) == 21


@pytest.mark.proof("code-alpaca", 2)
async def test_write_a_program_is_rejected_as_with_alpaca_and_so_are_words_that_text_cannot_do():
    said = reply(
        block(4, "Write a program that sorts a list of names"),
        block(5, "Draw the control flow of this function"),
        block(6, "Sort a list of names by their length"),
    )
    done = await run(code_alpaca, SEEDS, generator=Scripted([said]), target=1, **few())
    assert [row.instruction for row in done.rows] == ["Sort a list of names by their length"]
    assert [r.reason for r in done.rejects] == ["writes_program", "unsuited"]


@pytest.mark.proof("code-alpaca", 3)
async def test_no_two_instructions_are_as_similar_as_the_threshold():
    said = reply(
        block(4, "Sort a list of names by their length in Python"),
        block(5, "Sort a list of names by their length in Java"),
        block(6, "Count the words of a long text quickly"),
    )
    done = await run(code_alpaca, SEEDS, generator=model(said), target=12, **few())
    assert [r.reason for r in done.rejects] == ["too_similar"]
    for one, other in combinations([row.instruction for row in done.rows], 2):
        assert Novelty(texts=[one]).compare(other, 1).highest < 0.7


async def test_every_row_names_its_seeds_and_a_replay_asks_nothing():
    done = await run(code_alpaca, SEEDS, generator=model(), target=5, **few())
    assert all(len(row.lineage.parents) == 3 for row in done.rows)
    assert (await replay(done)).rows == done.rows


async def test_what_a_user_sets_reaches_the_call_and_the_filters():
    generator = model(reply(block(4, "Sort names"), block(5, "Sort many names of people by length")))
    options = {"temperature": 0.3, "top_p": 0.5, "max_tokens_per_call": 99, "min_words": 3, "tasks_per_call": 4}
    done = await run(code_alpaca, SEEDS, generator=generator, target=1, num_prompt_instructions=3, **few(**options))
    sampling = generator.questions[0].sampling
    assert (sampling["temperature"], sampling["top_p"], sampling["max_tokens"]) == (0.3, 0.5, 99)
    assert [r.reason for r in done.rejects] == ["too_short"]
    assert "Write 4 exercises" in generator.prompts[0]


async def test_further_settings_reach_the_prompt_the_round_and_the_filters():
    said = reply(block(3, "Sort names by their length please now"), block(4, "Sort names by their length please"))
    generator = model(said)
    options = {"num_prompt_instructions": 2, "max_words": 6, "request_batch_size": 3, "rouge_threshold": 0.95}
    done = await run(code_alpaca, SEEDS, generator=generator, target=1, **options)
    assert [(r.reason, r.details["words"]) for r in done.rejects][:1] == [("too_long", 7)]
    assert len(generator.questions) == 3
    for prompt in generator.prompts:
        assert "2. Instruction: " in prompt
        assert prompt.endswith("###\n3. Instruction:")


@pytest.mark.parametrize(("threshold", "rows"), [(0.7, 1), (0.95, 2)])
async def test_the_threshold_is_the_users(threshold, rows):
    said = reply(
        block(4, "Sort a list of names by their length in Python"),
        block(5, "Sort a list of names by their length in Java"),
    )
    done = await run(
        code_alpaca,
        SEEDS,
        generator=Scripted([said]),
        target=rows,
        rouge_threshold=threshold,
        max_candidates=rows,
        **few(),
    )
    assert len(done.rows) == rows
