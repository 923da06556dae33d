"""Answers to tasks of reasoning-gym, scored by the library's own checkers in the sandbox."""

from __future__ import annotations

import re

import msgspec

from gristmill.models.protocol import Gym
from gristmill.verify.tasks import Task, make, names, require
from gristmill.verify.values import Program, Verdict

LONGEST = 20_000
"""Characters of an answer; what is longer scores 0."""
FOUL = re.compile(
    r"__|\b(?:import|lambda|eval|exec|open|print|exit|quit|compile|getattr|setattr|globals|locals|vars|breakpoint|input|"
    r"sys|os|builtins)\b\s*[(.\[]"
)
"""Checkers that evaluate an answer would run these. They can do no harm in the sandbox, but could write their own score."""
CHECK = """
import json, warnings
warnings.simplefilter("ignore")
job = json.load(open("job.json"))
import reasoning_gym
checker = reasoning_gym.create_dataset(job["generator"], size=1, seed=0, **job["settings"])
print("\\nscore", float(checker.score_answer(job["answer"], job["entry"])))
"""


async def score(gym: Gym, task: Task, answer: str) -> float:
    """How right an answer is, 0.0 to 1.0, as the task's checker says. The right answer as it stands is 1.0 at once.

    Raises:
        RuntimeError: the checker itself failed on an answer that is harmless; the message holds what it said.
    """
    if answer.strip() == task.answer.strip():
        return 1.0
    if not answer.strip() or len(answer) > LONGEST or FOUL.search(answer):
        return 0.0
    job = msgspec.json.encode({**msgspec.to_builtins(task), "answer": answer})
    verdict: Verdict = await gym.run(Program(CHECK, files={"job.json": job}))
    if verdict.outcome in ("timeout", "memory", "output"):
        return 0.0  # the answer is what it choked on
    found = re.search(r"\nscore (\S+)\n?\Z", verdict.stdout)
    if not verdict.ok or not found:
        raise RuntimeError(f"the checker of {task.generator} failed: {verdict.outcome} {verdict.message}")
    return min(1.0, max(0.0, float(found[1])))


__all__ = ["Task", "make", "names", "require", "score"]
