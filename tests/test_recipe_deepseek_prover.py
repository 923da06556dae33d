"""What makes DeepSeek-Prover's loop: one model in all parts, trained on all that was proved, and what ends it. What a round
does stands in test_recipe_deepseek_prover_round.py."""

import pytest

from gristmill.engine.folder import kept_input
from gristmill.errors import Refused, TrainingFailed
from gristmill.models.protocol import Question
from gristmill.recipes.self_improvement.deepseek_prover import deepseek_prover
from gristmill.testing import Scripted, replay, run
from gristmill.verify.values import Proof

PROBLEMS = [{"problem": f"Show that {n} is {n}."} for n in range(4)]


def checker(accepts: str = "good") -> Scripted:
    """A proof assistant that accepts every statement, and of proofs only this one."""
    return Scripted(lambda q: Proof("ok" if q.sampling or q.continuation.strip() == accepts else "error"), model="coq")


def skilled(provable: int, refutable: int = 0, grade: str = "good"):
    """Proves the statements of the first problems, and refutes those of the last ones."""

    def script(question: Question) -> str:
        prompt = question.prompt
        if prompt.startswith("Translate"):
            number = int(prompt.rpartition("Show that ")[2].split()[0])
            return f"Theorem t (n : nat) (h : n = {number}) : n = {number}."
        if prompt.startswith("Formal statements"):
            return f"It is clear.\nGrade: {grade}"
        number = int(prompt.rpartition("(h : n = ")[2].split(")")[0])
        claim = prompt.rpartition("```coq")[2]
        if ": False." in claim:
            return "bad"
        return "good" if (number >= 4 - refutable if "~" in claim else number < provable) else "bad"

    return script


def student(*rounds: int, first: int = 1, **options) -> Scripted:
    """What it can prove, before and after each training."""
    return Scripted(skilled(first, **options), model="student", trained=[skilled(n, **options) for n in rounds])


async def made(model: Scripted, **options):
    options = {"hypothesis_tries": 1, "proof_tries": 1} | options
    return await run(deepseek_prover, PROBLEMS, student=model, prover=checker(), **options)


async def test_each_round_is_the_new_models_and_learns_from_all_rows_so_far():
    model = student(2, 3, 4)
    done = await made(model, rounds=3)
    assert [(row.round, row.proved, row.new, row.problems) for row in done.iterate("prover_round")] == [
        (1, 1, 2, 4),
        (2, 2, 2, 4),
        (3, 3, 2, 4),
    ]
    assert [name for name, _ in model.courses] == ["student", "student+1", "student+2"]
    taught = [{(lesson.prompt, lesson.completion) for lesson in course.lessons} for _, course in model.courses]
    assert [len(course.lessons) for _, course in model.courses] == [2, 4, 6]
    assert taught[0] < taught[1] < taught[2]
    assert {course.method for _, course in model.courses} == {"sft"}


async def test_it_learns_to_prove_and_to_formalize():
    model = student()
    await made(model, rounds=1)
    translation, proof = model.courses[0][1].lessons
    assert translation.prompt.startswith("Translate a problem")
    assert translation.completion.startswith("Theorem t")
    assert proof.prompt.startswith("Complete the proof")
    assert proof.completion == "good\nQed."


async def test_one_model_formalizes_grades_and_proves_in_every_round():
    model = student(1, 1)
    await made(model, rounds=2, min_gain=0)
    for one in model.family[:2]:
        begun = {q.prompt.split()[0] for q in one.questions}
        assert begun == {"Translate", "Formal", "Complete"}


async def test_what_was_refuted_is_learnt_as_well():
    model = student(refutable=2)
    done = await made(model, rounds=1)
    [row] = done.iterate("prover_round")
    assert (row.proved, row.refuted) == (1, 2)
    assert sum("~" in lesson.prompt for lesson in model.courses[0][1].lessons) == 2


async def test_it_ends_when_little_was_gained():
    model = student(2, 2, 4, 4)
    done = await made(model, rounds=9)
    assert [row.proved for row in done.iterate("prover_round")] == [1, 2, 2]
    assert len(model.courses) == 3  # it has learnt from the last round too
    patient = await made(student(2, 2, 4, 4), rounds=5, min_gain=0)
    assert [row.proved for row in patient.iterate("prover_round")] == [1, 2, 2, 4, 4]
    wanting = await made(student(2, 3, 4), rounds=5, min_gain=0.3)
    assert [row.proved for row in wanting.iterate("prover_round")] == [1, 2]


async def test_a_row_that_an_earlier_round_made_is_neither_kept_nor_learnt_twice():
    model = student(1, first=1)
    done = await made(model, rounds=2, min_gain=0)
    assert [len(course.lessons) for _, course in model.courses] == [2, 2]
    assert (len(done.rows), done.reject_counts["known"]) == (1, 2)


async def test_it_may_begin_from_the_first_model_each_time():
    model = student(2, 3)
    await made(model, rounds=2, begin_from="first")
    assert [name for name, _ in model.courses] == ["student", "student"]
    assert [len(course.lessons) for _, course in model.courses] == [2, 4]


async def test_rows_name_their_problem_and_the_model_that_learnt_from_them():
    done = await made(student(2), rounds=2)
    first, second = done.rows
    seeds = {seed["problem"]: seed["id"] for seed in kept_input(done.folder, "seeds", dict)}
    assert [seeds[row.problem] in row.lineage.parents for row in done.rows] == [True, True]
    checkpoints = [next(p for p in row.lineage.parents if "checkpoint" in p) for row in (first, second)]
    assert checkpoints[0] != checkpoints[1]


async def test_a_round_in_which_nothing_was_proved_ends_the_run_with_the_reason():
    with pytest.raises(TrainingFailed, match="no row to learn from"):
        await made(student(first=0))


async def test_a_statement_graded_fair_is_never_sent_to_the_prover():
    model = student(grade="fair")
    with pytest.raises(TrainingFailed):
        await made(model)
    assert not any(q.prompt.startswith("Complete") for q in model.questions)


async def test_the_settings_of_a_round_reach_it():
    model = student(first=0, refutable=1)
    await made(model, rounds=1, proof_tries=3, hypothesis_tries=2, negate="whole", temperature=0.3)
    tries = [q.prompt for q in model.questions if q.prompt.startswith("Complete")]
    first = [prompt for prompt in tries if "h : n = 0" in prompt]
    assert sum(": False." in prompt for prompt in first) == 2
    assert sum(": False." not in prompt and "~" not in prompt for prompt in first) == 3
    assert any("~ (forall" in prompt for prompt in tries)
    assert {q.sampling["temperature"] for q in model.questions} == {0.3, 0.0}


async def test_the_lengths_the_grades_and_the_training_are_the_users():
    model = student()
    settings = {"max_statement_tokens": 11, "max_grade_tokens": 12, "max_proof_tokens": 13, "training": {"epochs": 3}}
    await made(model, rounds=1, **settings)
    assert {q.prompt.split()[0]: q.sampling["max_tokens"] for q in model.questions} == {
        "Translate": 11,
        "Formal": 12,
        "Complete": 13,
    }
    assert model.courses[0][1].training.epochs == 3
    fair = student(grade="fair")
    done = await made(fair, rounds=1, grades_kept=["fair"])
    assert len(done.rows) == 1


async def test_a_problem_that_cannot_be_asked_costs_no_other():
    def broken(question):
        if "Show that 3" in question.prompt:
            raise Refused("no")
        return skilled(2)(question)

    model = Scripted(broken, model="student")
    done = await run(
        deepseek_prover,
        PROBLEMS,
        student=model,
        prover=checker(),
        hypothesis_tries=1,
        proof_tries=1,
        rounds=1,
        allow_failures=True,
    )
    assert (len(done.rows), done.failed) == (2, 1)


async def test_a_gain_as_great_as_wanted_goes_on():
    done = await made(student(2, 3), rounds=3, min_gain=0.25)
    assert [row.proved for row in done.iterate("prover_round")] == [1, 2, 3]


async def test_a_replay_asks_and_trains_nothing():
    done = await made(student(2, 3), rounds=2)
    nobody = {"student": Scripted(model="student"), "prover": Scripted(model="coq")}
    assert (await replay(done, model=nobody)).rows == done.rows
    assert [nobody["student"].courses, *(one.questions for one in nobody.values())] == [[], [], []]
