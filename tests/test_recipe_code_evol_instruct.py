"""Code Evol-Instruct: one of five methods, growing unions, and a stop before the round that makes the student worse."""

import re

import pytest

from gristmill import Training
from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.code_evol_instruct import METHODS, code_evol_instruct
from gristmill.recipes.distillation.evol_instruct import IN_BREADTH
from gristmill.recipes.distillation.evol_instruct import METHODS as PLAIN
from gristmill.testing import Scripted, replay, run, text_of
from gristmill.verify.values import Verdict

SEEDS = [{"instruction": f"Sort list {number}", "output": f"sorted({number})"} for number in range(4)]
DEV = [{"prompt": f"dev {number}", "tests": f"assert {number}"} for number in range(100)]


def evolves(question):
    return "#The Given Prompt#" in text_of(question)


def judges(question):
    return "Equal or Not Equal" in text_of(question)


def given(question):
    return re.search(r"#The Given Prompt#:\n(.*)\n\n#Rewritten", text_of(question), re.DOTALL)[1]


def generator(child=lambda q: given(q) + "+", verdict="Not Equal", answer="def solve(): return 1"):
    def say(question):
        what = verdict if judges(question) else child if evolves(question) else answer
        return what(question) if callable(what) else what

    return Scripted(say)


def school(*scores):
    """A student that, after its n-th training, solves so many of the 100 tasks, and the sandbox that finds that out."""

    def solves(score):
        return lambda q: "right" if int(re.search(r"dev (\d+)", q.prompt)[1]) < score else "wrong"

    student = Scripted("", model="student", trained=[solves(score) for score in scores])
    sandbox = Scripted(lambda q: Verdict("ok" if q.job.program.code == "right" else "wrong"))
    return {"student": student, "sandbox": sandbox, "dev": DEV}


def reports(done):
    return list(done.iterate("code_evol_round"))


@pytest.mark.proof("code-evol-instruct", 1)
async def test_a_prompt_carries_one_of_five_methods_for_code_and_nothing_of_new_questions_or_made_up_input():
    model = generator()
    done = await run(code_evol_instruct, [{**SEEDS[0], "instruction": f"q{n}"} for n in range(60)], generator=model)
    marks = {name: prompt.text.partition("{added_words}")[0] for name, prompt in METHODS.items()}
    found = []
    for question in filter(evolves, model.questions):
        text = text_of(question)
        names = [name for name, mark in marks.items() if mark in text]
        assert len(names) == 1
        found += names
        assert IN_BREADTH.text[:40] not in text
        assert PLAIN["complicate_input"].text[:30] not in text
        assert PLAIN["deepening"].text[:30] not in text
    assert set(found) == set(METHODS)
    assert len(METHODS) == 5
    # 180 draws, 36 each with a deviation of 5.4
    assert 15 < min(map(found.count, METHODS)) <= max(map(found.count, METHODS)) < 60
    assert sorted(found) == sorted(row.operation for row in done.rows if row.round)


@pytest.mark.proof("code-evol-instruct", 2)
async def test_the_loop_ends_with_the_round_after_which_the_student_is_worse_and_leaves_its_rows_out():
    done = await run(code_evol_instruct, SEEDS, generator=generator(), rounds=5, **school(50, 55, 53))
    assert [(r.round, r.dev_score, r.kept) for r in reports(done)] == [
        (1, 0.5, True),
        (2, 0.55, True),
        (3, 0.53, False),
    ]
    assert [row.round for row in done.rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert {row.instruction for row in done.rows if row.round == 2} == {f"Sort list {n}++" for n in range(4)}


@pytest.mark.proof("code-evol-instruct", 3)
async def test_each_rounds_training_holds_all_former_rounds_and_the_seeds():
    given = school(50, 50, 60)
    done = await run(code_evol_instruct, SEEDS, generator=generator(), **given)
    lessons = [{lesson.prompt for lesson in course.lessons} for _, course in given["student"].courses]
    assert [len(found) for found in lessons] == [8, 12, 16] == [r.rows for r in reports(done)]
    assert lessons[0] < lessons[1] < lessons[2]
    assert {base for base, _ in given["student"].courses} == {"student"}  # anew from its own weights each time
    assert all(r.kept for r in reports(done))  # the same score is no fall


async def test_without_a_student_all_rounds_are_kept():
    done = await run(code_evol_instruct, SEEDS, generator=generator(), rounds=2)
    assert [row.round for row in done.rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert "code_evol_round" not in done.counts
    parents = {row.id: row for row in done.rows}
    for row in done.rows[4:]:
        assert row.instruction == parents[row.parent].instruction + "+"
        assert row.parent in row.lineage.parents


async def test_a_failed_evolution_leaves_its_parent_in_the_pool():
    model = generator(verdict=lambda q: "Equal" if "list 1+" in text_of(q) and "++" not in text_of(q) else "Not Equal")
    done = await run(code_evol_instruct, SEEDS[:2], generator=model, rounds=2)
    assert [(r.reason, r.details["round"]) for r in done.rejects] == [("equal", 1), ("equal", 2)]
    assert [given(q) for q in model.questions if evolves(q)].count("Sort list 1") == 2
    assert {row.instruction for row in done.rows if row.round == 2} == {"Sort list 0++"}


async def test_a_call_that_is_refused_costs_its_evolution_and_not_the_parent():
    def child(question):
        if given(question) == "Sort list 1":
            raise Refused("no")
        return given(question) + "+"

    done = await run(code_evol_instruct, SEEDS[:2], generator=generator(child), rounds=2, allow_failures=True)
    assert done.failed == 2
    assert {row.instruction for row in done.rows} == {"Sort list 0", "Sort list 1", "Sort list 0+", "Sort list 0++"}


async def test_a_seed_without_an_answer_gets_one_and_its_input_belongs_to_the_question():
    model = generator()
    done = await run(code_evol_instruct, [{"instruction": "Mend this", "input": "x = ("}], generator=model, rounds=1)
    assert (done.rows[0].instruction, done.rows[0].output) == ("Mend this\nx = (", "def solve(): return 1")
    assert given(next(filter(evolves, model.questions))) == "Mend this\nx = ("


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"child": "#Rewritten Prompt# is harder"}, "copies_prompt"),
        ({"verdict": "Equal"}, "equal"),
        ({"verdict": "Perhaps"}, "unread_verdict"),
        ({"answer": "Sorry, I cannot."}, "sorry"),
        ({"answer": "Of the and."}, "no_content"),
        ({"child": ""}, "empty"),
    ],
)
async def test_the_tests_of_evol_instruct_apply_unless_told_otherwise(changed, reason):
    done = await run(code_evol_instruct, SEEDS[:1], generator=generator(**changed), rounds=1)
    assert [(r.reason, r.details["operation"] in METHODS) for r in done.rejects] == [(reason, True)]
    done = await run(code_evol_instruct, SEEDS[:1], generator=generator(**changed), rounds=1, eliminate=False)
    assert len(done.rows) == (1 if reason == "empty" else 2)


async def test_a_row_that_holds_a_benchmarks_item_is_left_out():
    items = [{"text": "SORT LIST 2+", "benchmark": "known"}]
    done = await run(code_evol_instruct, SEEDS, generator=generator(), rounds=1, benchmarks=items)
    assert [(r.reason, r.details["benchmark"]) for r in done.rejects] == [("in_benchmark", "known")]
    assert len(done.rows) == 7


async def test_part_of_an_evol_stop_is_refused_before_the_first_call():
    model = generator()
    whole = school(1)
    for missing in whole:
        part = {name: value for name, value in whole.items() if name != missing}
        with pytest.raises(BadInput, match="a student, a sandbox and development tasks together"):
            await run(code_evol_instruct, SEEDS, generator=model, **part)
    assert model.questions == []


async def test_a_replay_trains_and_asks_nothing():
    done = await run(code_evol_instruct, SEEDS, generator=generator(), rounds=3, **school(50, 55, 53))
    again = await replay(done)
    assert again.rows == done.rows
    assert reports(again) == reports(done)


async def test_a_seed_that_holds_a_benchmarks_item_gives_no_row_and_does_not_evolve():
    items = [{"text": "sorted(2)", "benchmark": "known"}]
    model = generator()
    done = await run(code_evol_instruct, SEEDS, generator=model, rounds=1, benchmarks=items)
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("in_benchmark", {"benchmark": "known", "operation": "seed", "round": 0})
    ]
    assert len(done.rows) == 6
    assert not any("Sort list 2" in text_of(q) for q in model.questions)


async def test_the_rows_of_the_round_that_made_the_student_worse_are_rejects():
    done = await run(code_evol_instruct, SEEDS, generator=generator(), rounds=5, **school(50, 49))
    assert [(r.reason, r.details["round"]) for r in done.rejects] == [("evol_stop", 2)] * 4
    assert all(r.details["operation"] in METHODS for r in done.rejects)


async def test_cut_replies_are_rejects_of_seed_and_evolution():
    cut = Scripted(lambda _: Reply("def f", finish="length"))
    done = await run(code_evol_instruct, [{"instruction": "Sort"}], generator=cut, **school(50))
    assert done.rows == reports(done) == []
    assert [(r.reason, r.details) for r in done.rejects] == [("truncated", {"operation": "seed", "round": 0})]
    done = await run(code_evol_instruct, SEEDS[:1], generator=cut, rounds=2)
    assert [(r.reason, r.details["round"]) for r in done.rejects] == [("truncated", 1), ("truncated", 2)]


async def test_an_answer_of_white_space_is_none():
    done = await run(code_evol_instruct, [{"instruction": "Sort", "output": " \n"}], generator=generator(), rounds=1)
    assert done.rows[0].output == "def solve(): return 1"


async def test_what_a_user_sets_reaches_calls_judge_and_training():
    model, judge, taught = generator(), Scripted(lambda _: "Not Equal"), school(50)
    settings = Training(learning_rate=1e-4)
    await run(
        code_evol_instruct,
        [{"instruction": f"q{n}"} for n in range(30)],
        generator=model,
        judge=judge,
        rounds=1,
        added_words=23,
        temperature=0.4,
        max_tokens_per_call=99,
        max_tokens_per_solution=55,
        training=settings,
        **taught,
    )
    assert len(judge.questions) == 30
    assert not any(map(judges, model.questions))
    assert {q.sampling["temperature"] for q in judge.questions} == {0.0}
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.4, 99)}
    assert any("in about 23 words" in prompt for prompt in model.prompts)
    [_, after] = taught["student"].family
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in after.questions} == {(0.0, 55)}
    assert [course.training for _, course in taught["student"].courses] == [settings]


async def test_a_short_sorry_is_short_as_told():
    model = generator(answer="Sorry, this takes a few more words: def f(): return 1")
    done = await run(code_evol_instruct, SEEDS[:1], generator=model, rounds=1, sorry_max_words=5)
    assert [row.round for row in done.rows] == [0, 1]
