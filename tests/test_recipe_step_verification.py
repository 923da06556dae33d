"""Step verification: what is calculated, what comes from nowhere, where a solution stops leading to the answer."""

import math
import re

import pytest

from gristmill.models.protocol import Reply
from gristmill.recipes.quality.step_verification import split_steps, step_verification
from gristmill.testing import Scripted, replay, run
from gristmill.verify.values import Proof, Verdict

QUESTION = "Ines buys 3 boxes of 4 eggs and gets 5 more. How many has she?"


def row(output, instruction=QUESTION, **more):
    return {"instruction": instruction, "output": output, **more}


async def checked(output, instruction=QUESTION, **options):
    """The one row of a solution, whatever its verdict."""
    seed = row(output, instruction, **options.pop("more", {}))
    [made] = (await run(step_verification, [seed], keep_flagged=True, **options)).rows
    return made


def reasons(done):
    return [(reject.reason, reject.details) for reject in done.rejects]


# -- hard checks


async def test_a_wrong_second_equality_is_bad_although_no_model_is_asked():
    done = await run(step_verification, [row("3*4 = 12, 12+5 = 18")])
    assert (done.rows, done.calls) == ([], 0)
    assert reasons(done) == [("failed_equality", {"step": 2, "text": "12+5 = 18", "kind": "arithmetic"})]
    made = await checked("3*4 = 12, 12+5 = 18")
    assert [step.ok for step in made.steps] == ["ok", "bad"]
    assert (made.first_bad_step, made.verdict, made.coverage) == (2, "bad", 1.0)


async def test_one_failed_check_makes_a_step_bad_whatever_else_is_right_in_it():
    made = await checked("So 3*4 = 12 and 12+5 = 18 eggs")
    [step] = made.steps
    assert {check.outcome for check in step.checked} == {"ok", "bad"}
    assert (step.ok, made.verdict) == ("bad", "bad")


async def test_a_right_answer_from_two_errors_that_cancel_is_bad():
    made = await checked("3*4 = 13 eggs.\n13 + 5 = 17 eggs.\nThe answer is 17.", more={"answer": "17"})
    assert ([step.ok for step in made.steps], made.verdict, made.first_bad_step) == (
        ["bad", "bad", "unknown"],
        "bad",
        1,
    )


async def test_a_solution_without_a_step_to_check_is_unknown_and_covered_by_nothing():
    text = "She has three boxes.\nSo she has seventeen.\nThe answer is 17."
    made = await checked(text, more={"answer": "17"})
    assert (made.verdict, made.coverage, made.first_bad_step) == ("unknown", 0.0, None)
    done = await run(step_verification, [row(text, answer="17")])
    assert (done.rows, reasons(done)) == ([], [("low_coverage", {"coverage": 0.0})])


async def test_a_right_solution_is_yielded_with_its_steps_and_checks():
    text = "Step 1: The boxes hold 3 * 4 = 12 eggs.\nStep 2: With the others she has 12 + 5 = 17."
    done = await run(step_verification, [row(text, input="By hand.", answer="17")])
    [made] = done.rows
    assert (made.instruction, made.input, made.output, made.answer) == (QUESTION, "By hand.", text, "17")
    assert [(step.ok, step.value, step.reward, [check.text for check in step.checked]) for step in made.steps] == [
        ("ok", None, None, ["3 * 4 = 12"]),
        ("ok", None, None, ["12 + 5 = 17"]),
    ]
    assert (made.verdict, made.coverage, made.first_bad_step, made.step_score) == ("good", 1.0, None, None)
    assert (done.calls, done.rejects) == (0, [])


@pytest.mark.parametrize(("floor", "verdict"), [(0.5, "unknown"), (0.3, "good")])
async def test_too_few_steps_that_can_be_checked_say_nothing(floor, verdict):
    made = await checked("First the boxes.\n3 * 4 = 12.\nThen the others.", coverage_floor=floor)
    assert (made.coverage, made.verdict) == (pytest.approx(1 / 3), verdict)


async def test_equations_that_do_not_follow_and_units_that_do_not_go_together_are_bad():
    for text, question, kind in (
        ("2x + 3 = 11\n2x = 9\nx = 4.5", "Solve 2x + 3 = 11.", "equivalence"),
        ("3 km + 4 kg = 7 km", "Add 3 km and 4 kg.", "units"),
        ("x = 4\n2x + 1 = 10", "Let x be 4. What is 2x + 1?", "substitution"),
    ):
        done = await run(step_verification, [row(text, question)])
        assert [(reason, details["kind"]) for reason, details in reasons(done)] == [("failed_equality", kind)]


async def test_a_value_that_comes_from_nowhere_is_undefined():
    text = "3 * 4 = 12.\n12 + 45 = 57."
    done = await run(step_verification, [row(text)])
    assert reasons(done) == [("undefined_value", {"step": 2, "text": "45 in 12 + 45 = 57"})]
    assert (await checked(text, check_references=False)).verdict == "good"


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("3 * 5 = 15.\n15 + 4 = 19.\n19 - 15 = 4.", QUESTION),  # results
        ("5 * 7 = 35 days", "How many days are five weeks?"),  # a word and a constant
        ("0.8 * 50 = 40", "What do 50 euros less 20% come to?"),
        ("(3 + 5 + 10) / 3 = 6", "What is the mean of 3, 5 and 10?"),
        ("6^3 = 216", "What is the volume of a cube of side 6?"),
        ("(6 + 8 + 9 + 13) / 4 = 9", "What is the mean of 6, 8, 9 and 13?"),
    ],
)
async def test_a_value_from_the_question_a_result_or_a_constant_is_not(text, question):
    assert (await checked(text, question)).verdict == "good"


async def test_a_number_from_nowhere_confirms_nothing_and_a_wrong_calculation_is_named_before_it():
    made = await checked("45 boxes.\n12 + 45 = 58.")
    assert [check.kind for check in made.steps[1].checked] == ["arithmetic", "reference"]
    done = await run(step_verification, [row("12 + 45 = 58.")])
    assert reasons(done)[0][0] == "failed_equality"


async def test_an_empty_solution_has_no_steps():
    for text in ("", "  \n", "\\[\n\\]"):
        done = await run(step_verification, [row(text)])
        assert (done.rows, reasons(done)) == ([], [("no_steps", {})])


# -- steps


def test_a_solution_is_cut_at_lines_at_steps_and_between_equations():
    assert [block.text for block in split_steps("One.\n\nTwo, three. Four")] == ["One.", "Two, three. Four"]
    assert [block.text for block in split_steps("Step 1: a Step 2: b\nStep 3. c")] == [
        "Step 1: a",
        "Step 2: b",
        "Step 3. c",
    ]
    assert [block.text for block in split_steps("So 3*4 = 12. She has them. Then 12+5 = 17, as it is.")] == [
        "So 3*4 = 12. She has them.",
        "Then 12+5 = 17, as it is.",
    ]
    assert [block.text for block in split_steps("2 + 3\n= 5\n= 4 + 1\nDone")] == ["2 + 3 = 5 = 4 + 1", "Done"]
    text = "First:\n```python\nx = 1\n\ny = 2\n```\nThen 2 = 2"
    assert [(block.text[:9], block.language) for block in split_steps(text)] == [
        ("First:", ""),
        ("```python", "python"),
        ("Then 2 = ", ""),
    ]


def test_a_long_solution_takes_as_long_as_its_length_asks_for():
    for text in ("So it is. " * 200_000, "1\n" + "= 1\n" * 200_000, "One.\n" + " " * 200_000 + "\nTwo."):
        assert len(split_steps(text)) <= 2  # with the square of it, this would be hours


# -- code and proofs

CODE = "We count.\n```python\nprint(3 * 4 + 5)\n```\n```output\n17\n```\n"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (Verdict("ok", stdout="17\n"), "ok"),
        (Verdict("ok", stdout="18\n"), "bad"),
        (Verdict("error"), "bad"),
        (Verdict("timeout"), "unknown"),
    ],
)
async def test_code_is_run_and_must_print_what_the_solution_shows(said, outcome):
    sandbox = Scripted(lambda _: said)
    made = await checked(CODE, sandbox=sandbox)
    assert [step.ok for step in made.steps] == ["unknown", outcome]
    assert [check.kind for check in made.steps[1].checked] == ["code"]
    assert sandbox.questions[0].job.program.code == "print(3 * 4 + 5)"
    assert made.verdict == {"ok": "good", "bad": "bad", "unknown": "unknown"}[outcome]


async def test_code_is_left_alone_without_a_sandbox_and_is_no_equation():
    made = await checked("```python\nx = 3 * 4 == 13\n```\n3*4 = 12")
    assert [(step.ok, len(step.checked)) for step in made.steps] == [("unknown", 0), ("ok", 1)]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(Proof("ok"), "ok"), (Proof("error"), "bad"), (Proof("open"), "bad"), (Proof("timeout"), "unknown")],
)
async def test_a_proof_is_given_to_the_prover_of_its_language(said, outcome):
    text = "```coq\nTheorem t : 1 = 1.\nProof. reflexivity. Qed.\n```"
    prover = Scripted(lambda _: said, model="coq")
    made = await checked(text, prover=prover)
    [step] = made.steps
    assert (step.ok, [check.kind for check in step.checked]) == (outcome, ["proof"])
    assert (prover.questions[0].prompt, prover.questions[0].continuation) == (
        "Theorem t : 1 = 1.",
        "Proof. reflexivity. Qed.",
    )
    other = Scripted(lambda _: said, model="lean4")
    made = await checked(text, prover=other)
    assert (made.steps[0].ok, other.questions) == ("unknown", [])


# -- rollouts

SIXTEEN = "\n".join(f"We do thing {chr(64 + number)}." for number in range(1, 17))


def shown(prompt):
    """How many steps a prompt shows."""
    return len(re.findall(r"We do thing", prompt.partition("Solution so far:")[2]))


def roller(bad, every=1):
    """Reaches 17 from each beginning before the bad step, with one of so many samples."""
    said = {"count": 0}

    def say(question):
        said["count"] += 1
        reached = shown(question.messages[0].content) < bad and said["count"] % every == 0
        return f"Well. The answer is {17 if reached else 99}."

    return Scripted(say, model="roller")


@pytest.mark.parametrize("bad", [1, 2, 5, 8, 9, 15, 16, 17])
async def test_halving_finds_the_planted_bad_step_of_sixteen_in_at_most_five_batches(bad):
    model = roller(bad)
    done = await run(step_verification, [row(SIXTEEN, answer="17")], rollout=model, keep_flagged=True)
    [made] = done.rows
    assert made.first_bad_step == (None if bad == 17 else bad)
    batches = {question.messages[0].content for question in model.questions}
    assert len(batches) <= 5
    assert done.calls == len(batches)
    assert len(made.lineage.calls) == 8 * len(batches)
    values = {number: step.value for number, step in enumerate(made.steps, start=1) if step.value is not None}
    assert all(value == (1.0 if number < bad else 0.0) for number, value in values.items())
    assert made.verdict == ("unknown" if bad == 17 else "bad")
    assert {question.sampling["temperature"] for question in model.questions} == {0.7}
    assert step_verification.parameters["coverage_floor"].default == 0.5


async def test_a_bad_step_by_rollouts_is_a_reject_of_its_own():
    done = await run(step_verification, [row(SIXTEEN, answer="17")], rollout=roller(6))
    assert (done.rows, reasons(done)) == ([], [("bad_step", {"step": 6})])


async def test_one_rollout_of_eight_that_arrives_is_enough_and_the_share_is_kept():
    made = await checked("3 * 4 = 12.\n12 + 5 = 17.", rollout=roller(9, every=8), more={"answer": "17"})
    assert made.verdict == "good"
    assert {step.value for step in made.steps} <= {None, 1 / 8}
    assert made.steps[1].value == 1 / 8


async def test_every_step_is_rolled_out_where_labels_are_wanted():
    model = roller(3)
    text = "\n".join(SIXTEEN.splitlines()[:4])
    made = await checked(text, rollout=model, every_step=True, rollouts_n=2, more={"answer": "17"})
    assert [step.value for step in made.steps] == [1.0, 1.0, 0.0, 0.0]
    assert (made.first_bad_step, len(model.questions)) == (3, 4)


async def test_a_model_that_cannot_solve_the_bare_question_tells_nothing():
    made = await checked(SIXTEEN, rollout=roller(0), more={"answer": "17"})
    assert (made.first_bad_step, made.verdict) == (None, "unknown")


async def test_a_rollout_without_a_readable_or_whole_answer_has_not_arrived():
    for reply in ("I give up.", Reply("The answer is 17.", finish="length")):
        said = Scripted(lambda q, r=reply: "The answer is 17." if not shown(q.messages[0].content) else r)
        made = await checked(SIXTEEN, rollout=said, more={"answer": "17"})
        assert made.first_bad_step == 1


async def test_the_share_is_one_of_all_rollouts():
    said = iter(range(100))
    model = Scripted(lambda q: "I give up." if next(said) % 2 else "The answer is 17.")
    made = await checked("We do thing A.", rollout=model, rollouts_n=4, more={"answer": "17"})
    assert made.steps[0].value == 0.5


async def test_rows_without_a_gold_answer_are_not_continued():
    model = roller(1)
    await checked(SIXTEEN, rollout=model)
    assert not model.questions


async def test_a_hard_error_before_the_dead_end_is_the_first():
    made = await checked("3*4 = 13.\nWe do thing A.\nWe do thing B.", rollout=roller(2), more={"answer": "17"})
    assert made.first_bad_step == 1


# -- a reward model


@pytest.mark.parametrize(("combine", "score"), [("min", 0.5), ("product", 0.4)])
async def test_each_beginning_is_rewarded_and_the_rewards_are_combined(combine, score):
    model = Scripted(lambda q: {1: 0.8, 2: 0.5}[len(q.messages[-1].content.splitlines())], model="prm")
    made = await checked("3 * 4 = 12.\n12 + 5 = 17.", reward=model, combine=combine)
    assert [step.reward for step in made.steps] == [0.8, 0.5]
    assert made.step_score == pytest.approx(score)
    assert [message.role for message in model.questions[0].messages] == ["user", "assistant"]


# -- labels


async def test_step_labels_are_right_up_to_the_first_bad_step():
    seeds = [row("3*4 = 12.\n12+5 = 18.\n18 - 1 = 17."), row("3*4 = 12."), row("No equation.")]
    done = await run(step_verification, seeds, step_labels=True, target=None)
    labels = list(done.iterate("step_labels"))
    assert [one.labels for one in labels] == [[True, False, False], [True]]
    assert labels[0].completions == ["3*4 = 12.", "12+5 = 18.", "18 - 1 = 17."]
    assert labels[0].prompt == QUESTION
    assert not list((await run(step_verification, seeds)).iterate("step_labels"))


async def test_a_replay_asks_nothing():
    done = await run(step_verification, [row(SIXTEEN, answer="\\frac{34}{2}")], rollout=roller(6), keep_flagged=True)
    nobody = Scripted(model="roller")
    again = await replay(done, model={"rollout": nobody})
    assert (again.rows, again.rejects, again.calls, nobody.questions) == (done.rows, done.rejects, 0, [])
    assert math.isclose(again.rows[0].coverage, 0)
