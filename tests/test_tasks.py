"""Tasks with checkers: the answers of models are evaluated in the sandbox alone."""

import json
from collections.abc import AsyncIterator

import pytest

from gristmill import BadInput, Chat, Completion, Gym, Row, Run, Verdict, recipe
from gristmill.models.spec import tool_for
from gristmill.ops.tasks import make, names, score
from gristmill.testing import Scripted, replay, run

pytestmark = pytest.mark.filterwarnings("ignore")


class Number(Row):
    number: int


class Solved(Completion, kw_only=True):
    score: float


@recipe("countdown")
async def countdown(row: Number, solver: Chat, gym: Gym, run: Run) -> AsyncIterator[Solved]:
    """Solve a task, and score the answer."""
    [task] = make("countdown", count=1, seed=row.number)
    reply = await solver.chat(task.question)
    yield Solved(prompt=task.question, completion=reply.text, score=await score(gym, task, reply.text))


def test_tasks_are_the_same_for_the_same_seed_and_differ_for_another():
    one = make("countdown", count=3, seed=7)
    assert one == make("countdown", count=3, seed=7) != make("countdown", count=3, seed=8)
    assert len({task.question for task in one}) == 3
    assert make("sudoku", count=0) == []
    assert len(names()) > 100


async def test_an_answer_that_differs_from_the_given_one_and_is_right_scores_one_and_a_wrong_one_less():
    [task] = make("countdown", count=1, seed=3)
    turned = " + ".join(f"({part})" for part in [task.answer]) + " * 1"
    answers = iter([task.answer, f"({task.answer})", "1 + 1", f"({turned}"])
    solver = Scripted(lambda _: next(answers))
    seeds = [{"number": 3}] * 4
    done = await run(countdown, seeds, solver=solver, concurrency=1)
    assert [row.score for row in done.rows] == [1.0, 1.0, 0.05, 0.01]
    again = await replay(done, model={"solver": Scripted(), "gym": "sandbox:reasoning-gym"})
    assert (again.rows, again.calls) == (done.rows, 0)


@pytest.mark.parametrize(
    "answer",
    ["__import__('os').system('id')", "print('\\nscore 1.0') or exit()", "().__class__", "exec ('x')", " ", "9" * 20_001,
     "os.system('id')", "open('/etc/passwd')"],
)  # fmt: skip
async def test_an_answer_that_is_made_for_the_checker_scores_nothing_and_is_not_run(answer):
    [task] = make("countdown", count=1)
    assert await score(None, task, answer) == 0.0


async def test_what_the_checker_chokes_on_scores_nothing():
    seeds = [{"number": 3}]
    done = await run(countdown, seeds, solver=Scripted(["9**9**9**9"]), gym="sandbox:reasoning-gym,timeout=6")
    assert done.rows[0].score <= 0.05


async def test_a_checker_that_fails_by_itself_is_a_failure_and_no_score():
    broken = Scripted([Verdict("error", message="boom")], can={"Execute", "Gym"})
    with pytest.raises(RuntimeError, match="checker of countdown failed: error boom"):
        await score(Asked(broken), make("countdown", count=1)[0], "1 + 2")


async def test_the_checker_is_made_with_the_settings_of_the_task():
    seen = []

    def checked(question):
        seen.append(json.loads(question.job.program.files["job.json"]))
        return Verdict("ok", stdout="\nscore 0.5\n")

    [task] = make("countdown", count=1, min_numbers=3, max_numbers=3)
    assert await score(Asked(Scripted(checked, can={"Execute", "Gym"})), task, "1 + 2") == 0.5
    assert seen[0]["settings"] == {"min_numbers": 3, "max_numbers": 3}
    assert seen[0]["entry"]["metadata"]["target"]
    assert seen[0]["answer"] == "1 + 2"


class Asked:
    """A scripted sandbox without a run around it."""

    def __init__(self, backend):
        self.backend = backend

    async def run(self, program):
        from gristmill.models.protocol import Job, Question

        return (await self.backend.answer(Question("execute", job=Job(program)), 1)).samples[0]


def test_what_there_is_not_is_named(monkeypatch):
    with pytest.raises(BadInput, match="did you mean countdown"):
        make("countdwon", count=1)
    with pytest.raises(BadInput, match="countdown: "):
        make("countdown", count=1, colour="red")
    assert tool_for(frozenset({"Execute", "Gym"})) == "sandbox:reasoning-gym"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[tasks\]'"):
        make("countdown", count=1)
