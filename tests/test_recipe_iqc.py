"""IQC: problems composed one around the other by one model, solved by another, kept where both agree."""

import json

import pytest

from gristmill import recipes
from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.ops.answers import last_boxed
from gristmill.recipes.distillation.iqc import Composed, iqc
from gristmill.seeds import read
from gristmill.testing import Scripted, replay, run, text_of

SEED = {"problem": "What is 1 + 1?", "solution": r"It is \boxed{2}.", "answer": "2"}


def item(problem, answer="1/2", solution="composer's own"):
    return json.dumps({"problem": problem, "solution": solution, "answer": answer})


def composer(*lines):
    """Composes problem 0, 1, ... unless told otherwise."""
    left = list(lines)

    def say(question):
        if left:
            return left.pop(0)
        shown = json.loads(question.messages[1].content)["problem"]
        number = int(shown.split()[1]) + 1 if shown.startswith("Problem") else 0
        return item(f"Problem {number}")

    return Scripted(say, model="composer")


def solver(*answers):
    """Says, over and over, that the answers are these."""
    said = 0

    def say(_):
        nonlocal said
        said += 1
        return rf"So it is \boxed{{{answers[(said - 1) % len(answers)]}}}."

    return Scripted(say, model="solver")


def shown(question):
    return json.loads(question.messages[1].content)


@pytest.mark.proof("iqc", 1)
async def test_each_iteration_is_shown_the_problem_of_the_one_before_also_where_nobody_agreed_with_it():
    asked = composer()
    done = await run(iqc, [SEED], composer=asked, solver=solver("7"))
    assert done.rows == []
    assert [shown(q)["problem"] for q in asked.questions] == ["What is 1 + 1?", "Problem 0", "Problem 1", "Problem 2"]
    assert [shown(q) for q in asked.questions][1] == json.loads(item("Problem 0"))
    warned = ["may be wrong" in q.messages[0].content for q in asked.questions]
    assert warned == [False, True, True, True]


@pytest.mark.proof("iqc", 2)
@pytest.mark.parametrize("same", ["0.5", r"\frac12", r"\frac{1}{2}", "1/2"])
async def test_a_problem_gives_rows_where_a_solution_agrees_however_the_answer_is_written_and_else_none(same):
    done = await run(iqc, [SEED], composer=composer(), solver=solver(same, "3", "4"), iterations=1)
    assert [(row.instruction, row.answer, row.iteration) for row in done.rows] == [("Problem 0", "1/2", 0)]
    assert [(r.reason, r.details["answer"]) for r in done.rejects] == [("wrong_answer", "3"), ("wrong_answer", "4")]
    done = await run(iqc, [SEED], composer=composer(), solver=solver("0.25"), iterations=1)
    assert (done.rows, [r.reason for r in done.rejects]) == ([], ["wrong_answer"] * 3)


@pytest.mark.proof("iqc", 3)
async def test_a_row_holds_the_solvers_solution_and_the_solver_never_sees_the_composers():
    one, other = composer(), solver("0.5")
    done = await run(iqc, [SEED], composer=one, solver=other)
    assert {row.output for row in done.rows} == {r"So it is \boxed{0.5}."}
    assert all("composer's own" not in text_of(q) for q in other.questions)
    assert all("composer's own" not in row.output for row in done.rows)
    assert "Solve this step by step" not in " ".join(one.prompts)


@pytest.mark.proof("iqc", 4)
async def test_a_problem_gives_three_rows_at_most():
    options = {"composer": composer(), "solver": solver("1/2"), "iterations": 2}
    done = await run(iqc, [SEED], samples_per_problem=5, **options)
    assert [row.instruction for row in done.rows] == ["Problem 0"] * 3 + ["Problem 1"] * 3
    assert [r.reason for r in done.rejects] == ["beyond_max_valid"] * 4


@pytest.mark.parametrize(
    "broken",
    [
        "no JSON here", item("Problem 0")[:-1], json.dumps({"problem": "p", "solution": "s"}),
        json.dumps({"problem": "p", "solution": "s", "answer": 3}), item("", "1"), item("p", " "), "{" * 5000,
    ],
)  # fmt: skip
async def test_what_is_no_object_of_three_texts_is_put_aside_and_ends_the_seeds_line(broken):
    asked = composer(broken)
    done = await run(iqc, [SEED], composer=asked, solver=solver("1/2"))
    assert done.rows == []
    assert [(r.reason, r.details) for r in done.rejects] == [("unparsed", {"part": "iqc", "iteration": 0})]
    assert len(asked.questions) == 1


async def test_an_object_may_be_framed_and_go_over_several_lines():
    said = "Here it is:\n```json\n" + json.dumps(json.loads(item("Problem 0")), indent=1) + "\n```"
    done = await run(iqc, [SEED], composer=composer(said), solver=solver("1/2"), iterations=1)
    assert len(done.rows) == 3


async def test_a_cut_composition_and_a_solution_without_a_box_are_rejects():
    cut = Scripted([Reply(item("Problem 0"), finish="length")], model="composer")
    done = await run(iqc, [SEED], composer=cut, solver=solver("1"))
    assert [r.reason for r in done.rejects] == ["truncated"]
    done = await run(iqc, [SEED], composer=composer(), solver=Scripted(lambda _: "Two."), iterations=1)
    assert [r.reason for r in done.rejects] == ["no_answer"] * 3


async def test_a_seed_with_a_drawing_is_left_out_and_costs_nothing():
    asked = composer()
    done = await run(
        iqc, [{**SEED, "problem": "[asy] draw(A--B); [/asy] How long?"}], composer=asked, solver=solver("1")
    )
    assert [r.reason for r in done.rejects] == ["asymptote"]
    assert asked.questions == []


async def test_answer_augmentation_solves_the_seed_and_asks_no_composer():
    asked = composer()
    done = await run(iqc, [SEED], composer=asked, solver=solver("2.0", "3"), parts=["answer_augmentation"])
    assert [(row.instruction, row.answer, row.source) for row in done.rows] == [
        ("What is 1 + 1?", "2", "answer_augmentation")
    ] * 2
    assert asked.questions == []


async def test_bootstrapped_problems_come_of_the_seed_without_its_solution_and_similar_ones_with_it():
    five = "\n".join(item(f"P{number}") for number in range(7)) + "\nThat is all."
    for part, count, keys in [
        ("question_bootstrapping", 5, {"problem", "answer"}),
        ("similar_problems", 3, {"problem", "solution", "answer"}),
    ]:
        asked = composer(five)
        done = await run(iqc, [SEED], composer=asked, solver=solver("1/2", "3", "3"), parts=[part])
        assert [row.instruction for row in done.rows] == [f"P{number}" for number in range(count)]
        assert {row.source for row in done.rows} == {part}
        assert set(shown(asked.questions[0])) == keys
        assert f"Write {count} new" in asked.prompts[0]
        assert [r.reason for r in done.rejects if r.reason != "wrong_answer"] == [
            "unparsed", *["beyond_count"] * (7 - count)
        ]  # fmt: skip


async def test_the_solvers_samples_differ_and_the_composer_is_greedy():
    one, other = composer(), solver("1/2")
    await run(iqc, [SEED], composer=one, solver=other, iterations=1)
    assert {q.sampling["temperature"] for q in one.questions} == {0.0}
    assert {q.sampling["temperature"] for q in other.questions} == {0.7}
    assert {q.sampling["max_tokens"] for q in [*one.questions, *other.questions]} == {4000}


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (r"Find \\frac{1}{2}", None), (r"Find \frac{1}{2}", "single_backslash"), (r"Put \boxed{1}", "single_backslash"),
        (r"3 \times 4", "single_backslash"), (r"x \neq 1", "single_backslash"), (r"A line\nand another", None),
        (r"A break\\\\frac", None), (r"\\\frac{1}{2}", "single_backslash"),
    ],
)  # fmt: skip
async def test_latex_with_single_backslashes_would_be_read_wrongly_and_is_put_aside(problem, reason):
    said = '{"problem": "' + problem + '", "solution": "s", "answer": "1/2"}'
    done = await run(iqc, [SEED], composer=composer(said), solver=solver("1/2"), iterations=1)
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert len(done.rows) == (0 if reason else 3)


async def test_a_solver_that_is_refused_costs_its_problem_and_no_later_iteration():
    def say(question):
        if "Problem 0" in text_of(question):
            raise Refused("no")
        return r"\boxed{1/2}"

    done = await run(iqc, [SEED], composer=composer(), solver=Scripted(say), iterations=2, allow_failures=True)
    assert [row.iteration for row in done.rows] == [1] * 3
    assert done.failed == 1


async def test_no_part_is_refused_and_a_replay_asks_nothing():
    with pytest.raises(BadInput, match="`parts` is empty"):
        await run(iqc, [SEED], composer=composer(), solver=solver("1"), parts=[])
    done = await run(iqc, [SEED], composer=composer(), solver=solver("1/2"))
    assert (await replay(done)).rows == done.rows


def test_the_shipped_problems_say_in_the_box_what_their_answer_is():
    for row in read(recipes.DATA / "competition_solutions.jsonl", Composed):
        assert last_boxed(row.solution) == row.answer


async def test_what_a_user_sets_reaches_the_calls_and_the_counts():
    lines = "\n".join(item(f"P{number}") for number in range(4))
    one, other = composer(lines, lines), solver("1/2")
    options = {"qb_per_seed": 2, "similar_per_seed": 1, "max_valid_per_problem": 1, "samples_per_problem": 2}
    sampling = {"temperature": 0.2, "solver_temperature": 0.9, "max_tokens_per_reply": 66}
    parts = ["question_bootstrapping", "similar_problems"]
    done = await run(iqc, [SEED], composer=one, solver=other, parts=parts, **options, **sampling)
    assert [(row.instruction, row.source) for row in done.rows] == [
        ("P0", parts[0]),
        ("P1", parts[0]),
        ("P0", parts[1]),
    ]
    assert "Write 2 new" in one.prompts[0]
    assert "Write 1 new" in one.prompts[1]
    assert [r.reason for r in done.rejects].count("beyond_max_valid") == 3
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in one.questions} == {(0.2, 66)}
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in other.questions} == {(0.9, 66)}


async def test_a_drawing_in_the_solution_is_one_and_so_is_an_empty_reply_a_reject():
    asked = composer()
    drawn = {**SEED, "solution": r"[asy] draw(A--B); [/asy] \boxed{2}"}
    done = await run(iqc, [drawn], composer=asked, solver=solver("1"))
    assert ([r.reason for r in done.rejects], asked.questions) == (["asymptote"], [])
    done = await run(iqc, [SEED], composer=Scripted(lambda _: " "), solver=solver("1"))
    assert [(r.reason, r.details) for r in done.rejects] == [("empty", {"part": "iqc", "iteration": 0})]


async def test_an_answer_that_cannot_be_compared_and_a_cut_solution_are_rejects_of_their_own():
    long = "9" * 2000
    done = await run(iqc, [SEED], composer=composer(), solver=solver(long), iterations=1, samples_per_problem=1)
    assert [(r.reason, r.details["composed"]) for r in done.rejects] == [("undecided", "1/2")]
    cut = Scripted(lambda _: Reply(r"\boxed{1/2}", finish="length"))
    done = await run(iqc, [SEED], composer=composer(), solver=cut, iterations=1, samples_per_problem=1)
    assert (done.rows, [r.reason for r in done.rejects]) == ([], ["truncated"])


async def test_a_composer_that_is_refused_keeps_the_rows_it_had():
    def say(question):
        if shown(question)["problem"] == "Problem 0":
            raise Refused("no")
        return item("Problem 0")

    options = {"solver": solver("1/2"), "iterations": 3, "allow_failures": True}
    done = await run(iqc, [SEED], composer=Scripted(say), **options)
    assert done.failed == 1
    assert [row.iteration for row in done.rows] == [0] * 3
