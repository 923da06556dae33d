"""AMPS: programs loop until each has its quota of different problems; what no check confirms does not leave."""

import math
import re
from collections import Counter
from fractions import Fraction

import pytest

from gristmill.errors import BadInput
from gristmill.ops.answers import number
from gristmill.ops.text import approx_tokens
from gristmill.recipes.augmentation.amps import amps
from gristmill.recipes.augmentation.amps_modules import MODULES, Module, Problem
from gristmill.recipes.augmentation.amps_modules.base import ends_with
from gristmill.testing import replay, run


def plant(monkeypatch, name="sums", draw=None, steps=False):
    """Put a module of our own beside the others: sums of two numbers, unless `draw` says otherwise."""

    def sums(rng):
        a, b = rng.randint(1, 9), rng.randint(1, 9)
        answers = [str(a + b), f"{a + b}.0"]
        return Problem(f"What is {a} + {b}?", answers, lambda s: float(s) == a + b, f"It is {a + b}" if steps else None)

    monkeypatch.setitem(MODULES, name, Module(name, "planted", steps, draw or sums))


def samples(done):
    return list(done.iterate("amps_sample"))


async def test_answers_are_right_by_arithmetic_that_is_done_here():
    done = await run(amps, modules=["greatest-common-divisor", "least-common-multiple", "mean"], per_module=20, units=1)
    assert len(done.rows) == 60
    for row in done.rows:
        numbers = [int(n) for n in re.findall(r"-?\d+", row.problem)]
        if row.module == "mean":
            right = Fraction(sum(numbers), len(numbers))
        else:
            right = {"greatest-common-divisor": math.gcd, "least-common-multiple": math.lcm}[row.module](*numbers)
        assert {number(answer) for answer in row.answers} == {right}


@pytest.mark.parametrize(
    ("answers", "steps", "reason"),
    [
        (["5"], None, "answer_check"),
        (["4", "5"], None, "answer_check"),  # a single wrong form is enough
        (["4"], "Count.\nIt is 5", "steps_miss_answer"),
    ],
)
async def test_a_module_with_a_planted_bug_gives_no_row(monkeypatch, answers, steps, reason):
    plant(monkeypatch, draw=lambda rng: Problem("What is 2 + 2?", answers, lambda s: s == "4", steps))
    done = await run(amps, modules=["sums"], units=1, max_draws=3)
    assert not done.rows
    assert not samples(done)
    assert [r.reason for r in done.rejects] == [reason] * 3 + ["quota_missed"]
    assert done.rejects[0].candidate["answers"] == answers


async def test_every_module_meets_its_quota_of_different_problems():
    names = ["two-squares", "mode", "weekday", "eigenvalues"]
    done = await run(amps, modules=names, per_module=40, target=160)
    assert Counter(row.module for row in done.rows) == dict.fromkeys(names, 40)
    assert len({row.problem for row in done.rows}) == 160


async def test_a_draw_goes_through_all_modules_and_each_draw_in_another_order():
    done = await run(amps, units=2)
    made = [row.module for row in done.rows]
    assert len(MODULES) >= 100
    assert len({row.topic for row in done.rows}) == 6
    first, second = made[: len(MODULES)], made[len(MODULES) :]
    assert sorted(first) == sorted(MODULES)
    assert set(second) <= set(MODULES)
    assert first[:20] != second[:20]
    assert first[:20] != list(MODULES)[:20]


async def test_what_an_earlier_draw_made_is_rejected_as_a_duplicate_and_so_is_what_the_same_draw_made(monkeypatch):
    plant(monkeypatch)  # 81 different problems
    done = await run(amps, modules=["sums"], units=3, per_module=40, seed=3)
    problems = [row.problem for row in done.rows]
    assert len(set(problems)) == len(problems) < 120
    repeated = [r for r in done.rejects if r.reason == "duplicate"]
    assert {type(r.candidate) for r in repeated} == {str, dict}  # within a draw, and between draws
    prompts = Counter(sample.prompt + sample.completion for sample in samples(done))
    assert set(prompts.values()) == {1}


async def test_degenerate_draws_are_rejected_and_drawn_again_but_not_for_ever(monkeypatch):
    plant(monkeypatch, draw=lambda rng: None if rng.random() < 0.9 else Problem("One?", ["1"], lambda s: s == "1"))
    done = await run(amps, modules=["sums"], units=1, per_module=2, max_draws=20)
    assert [row.problem for row in done.rows] == ["One?"]
    reasons = Counter(r.reason for r in done.rejects)
    assert reasons["degenerate"] > 20
    assert reasons["degenerate"] + reasons["duplicate"] == 39
    assert [r.details for r in done.rejects if r.reason == "quota_missed"] == [{"module": "sums", "made": 1, "wanted": 2}]  # fmt: skip


async def test_steps_come_with_the_modules_that_write_them_and_end_with_the_stored_answer():
    done = await run(amps, units=1)
    assert {row.module for row in done.rows if row.steps} == {name for name, m in MODULES.items() if m.has_steps}
    assert all(ends_with(row.steps, row.answers[0]) for row in done.rows if row.steps)
    solutions = [sample for sample in samples(done) if sample.full_solution]
    assert [sample.completion for sample in solutions] == [row.steps for row in done.rows if row.steps]


async def test_the_file_has_a_problem_section_and_an_answer_section_for_each_form(monkeypatch):
    plant(monkeypatch)
    [row] = (await run(amps, modules=["sums"], units=1)).rows
    assert row.text == f"Problem:\n{row.problem}\n\nAnswer:\n{row.answers[0]}\n\nAnswer:\n{row.answers[1]}"


async def test_each_form_of_the_answer_and_the_solution_makes_a_sample_whose_prompt_says_which_follows(monkeypatch):
    plant(monkeypatch, steps=True, draw=lambda rng: Problem("Two?", ["2", "2.0"], lambda s: float(s) == 2, "It is 2"))
    done = await run(amps, modules=["sums"], units=1)
    short, long = "QUESTION:\nTwo?\nFINAL ANSWER:\n", "QUESTION:\nTwo?\nFULL SOLUTION:\n"
    assert [(s.prompt, s.completion, s.full_solution) for s in samples(done)] == [
        (short, "2", False),
        (short, "2.0", False),
        (long, "It is 2", True),
    ]


async def test_the_last_problem_of_a_run_has_all_its_samples():
    for target in (1, 2, 3, 4, 5):
        done = await run(amps, target=target)
        asked = Counter(re.search(r"QUESTION:\n(.*)\nF", sample.prompt, re.DOTALL)[1] for sample in samples(done))
        assert asked == {row.problem: len(row.answers) + (row.steps is not None) for row in done.rows}


async def test_a_training_text_beyond_the_context_is_dropped_and_its_problem_stays():
    done = await run(amps, modules=["mean"], units=1, context=70)
    [row] = done.rows
    [long] = [r for r in done.rejects if r.reason == "too_long"]
    assert long.candidate["completion"] == row.steps
    assert long.details["tokens"] == approx_tokens(long.candidate["prompt"] + row.steps) > 70
    assert all(approx_tokens(sample.prompt + sample.completion) <= 70 for sample in samples(done))


async def test_modules_are_chosen_by_name_or_topic_and_unknown_ones_are_refused_before_a_folder_is_made(tmp_path):
    done = await run(amps, modules=["geometry", "mean"], units=1)
    assert {row.topic for row in done.rows} == {"geometry", "counting and statistics"}
    with pytest.raises(BadInput, match="did you mean geometry"):
        await run(amps, modules=["geomtry"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


async def test_the_same_seed_gives_the_same_problems_and_another_seed_others():
    one, two, other = [await run(amps, target=50, seed=seed) for seed in (7, 7, 8)]
    assert one.rows == two.rows
    assert samples(one) == samples(two)
    assert not {row.problem for row in one.rows} & {row.problem for row in other.rows}


async def test_no_model_is_called_and_a_replay_and_any_concurrency_give_the_same_rows():
    assert not amps.roles
    one = await run(amps, target=300, concurrency=1)
    many = await run(amps, target=300, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert samples(one) == samples(again)
    assert one.calls == many.calls == again.calls == 0
