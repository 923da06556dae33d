"""The sandbox as a role: verdicts are journaled like any answer."""

from collections.abc import AsyncIterator

import pytest

import gristmill
from gristmill import BadInput, Chat, Completion, Execute, Program, Row, Run, Verdict, recipe
from gristmill.execute import looking
from gristmill.testing import Scripted, folder, replay, run


class Task(Row):
    prompt: str
    tests: str


class Solved(Completion):
    outcome: str


@recipe("solve")
async def solve(row: Task, generator: Chat, sandbox: Execute, run: Run) -> AsyncIterator[Solved]:
    """A solution that passes its tests."""
    reply = await generator.chat(row.prompt)
    verdict = await sandbox.check(reply.text, row.tests)
    if verdict.ok:
        yield Solved(row.prompt, reply.text, outcome=verdict.outcome)
    else:
        run.reject(reply, verdict.outcome, error=verdict.error, message=verdict.message)


SOLUTIONS = {
    "right": "def double(x):\n    return 2 * x",
    "wrong": "def double(x):\n    return x",
    "broken": "def double(x):\n    return x +",
    "endless": "def double(x):\n    while True: pass",
    "liar": "import os\nos._exit(0)",
}
TASKS = [{"prompt": name, "tests": "assert double(3) == 6"} for name in SOLUTIONS]


def writer() -> Scripted:
    return Scripted(lambda question: SOLUTIONS[question.messages[0].content])


async def test_only_what_passes_its_tests_in_the_sandbox_becomes_a_row_and_a_replay_runs_no_code():
    done = await run(solve, TASKS, generator=writer(), sandbox="sandbox:python,timeout=2")
    assert [row.prompt for row in done.rows] == ["right"]
    assert [reject.reason for reject in done.rejects][:1] == ["wrong"]
    assert {reject.reason for reject in done.rejects} <= {"wrong", "error", "timeout", "exit"}
    assert len(done.rejects) == 4
    with looking(done.folder) as journal:
        assert journal.spent(role="sandbox").calls == 5
        assert journal.spent(role="sandbox").cost == 0
    silent = Scripted([], model="python")
    again = await replay(done, model={"generator": Scripted(), "sandbox": "sandbox:python,timeout=2"})
    assert again.rows == done.rows
    assert (again.calls, silent.questions) == (0, [])


async def test_a_sandbox_is_played_by_the_sandbox_though_a_model_is_named_for_all_roles():
    done = await run(solve, TASKS[:2], model=writer())
    assert len(done.rows) == 1
    assert done.exit_code == 0


async def test_a_verdict_can_be_scripted():
    judge = Scripted([Verdict("ok"), Verdict("wrong", error="AssertionError")])
    done = await run(solve, TASKS[1:3], generator=writer(), sandbox=judge, concurrency=1)
    assert [row.prompt for row in done.rows] == ["wrong"]
    assert [reject.details["error"] for reject in done.rejects] == ["AssertionError"]
    assert "assert double(3) == 6" in judge.prompts[0]


async def test_programs_get_input_and_files_and_hand_files_back():
    @recipe("script")
    async def script(row: Task, sandbox: Execute) -> AsyncIterator[Completion]:
        """Runs what the row says."""
        program = Program(row.prompt, stdin="7", files={"in.txt": b"\xff"}, keep=["out.txt"])
        verdict = await sandbox.run(program)
        yield Completion(verdict.stdout, repr(verdict.files))

    code = "print(int(input()) * 6)\nopen('out.txt', 'wb').write(open('in.txt', 'rb').read() * 2)"
    done = await run(script, [{"prompt": code, "tests": ""}])
    assert [(row.prompt, row.completion) for row in done.rows] == [("42\n", repr({"out.txt": b"\xff\xff"}))]
    assert (await replay(done, model={})).rows == done.rows


async def test_what_cannot_run_code_is_refused_before_the_first_call():
    model = writer()
    with pytest.raises(BadInput, match=r"role 'sandbox' needs Execute.* sandbox:python"):
        await gristmill.arun(
            solve,
            seeds=TASKS,
            model={"generator": model, "sandbox": "openai:x@http://127.0.0.1:1/v1"},
            out=folder() / "x",
        )
    with pytest.raises(BadInput, match="write sandbox:python"):
        await gristmill.arun(
            solve, seeds=TASKS, model={"generator": model, "sandbox": "sandbox:perl"}, out=folder() / "x"
        )
    assert model.questions == []
