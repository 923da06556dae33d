"""Auto Evol-Instruct (Zeng et al. 2024, sections 2 and 3): a model also writes, and mends, the prompt that evolves."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from gristmill import BadInput, Chat, Instruction, Reply, Row, Rows, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections
from gristmill.recipes.distillation.evol_instruct import Seed

FINAL = "#Finally Rewritten Instruction#"
METHOD = Prompt(
    """You rewrite instructions. Turn the one below into a version that is harder to carry out well, step by step:

Step 1. Look closely at #Instruction# and list ways in which just this one could be made harder. Its language stays as it is. Write the list under #Methods List#.
Step 2. Choose several of them and say under #Plan# how they go together.
Step 3. Carry the plan out. The new version is {added_words} words longer than the old one, no more. Write it under #Rewritten Instruction#.
Step 4. Read it as a stranger would. Mend what is unreasonable, and repeat all that is needed to carry it out. Write the result, and nothing else, under #Finally Rewritten Instruction#.

Reply with these four sections, each under its mark:
#Methods List#:
#Plan#:
#Rewritten Instruction#:
#Finally Rewritten Instruction#:"""
)
"""The universal method that the optimization begins with."""
EVOLVE = Prompt("{method}\n\n#Instruction#:\n{instruction}")

ANALYSE = Prompt(
    """Instructions were evolved by a prompt, stage by stage; each stage was to be harder than the one before. Find the cases in which that failed: nothing got harder, something needed was lost, it became unreasonable, or an answer instead of an instruction was written.

{trajectories}

For each case write one line: "CASE n: passed", or "CASE n: failed, because ..." with the reason."""
)
TRAJECTORY = Prompt("CASE {number}\n{stages}")
STAGE = Prompt("Stage {number}: {instruction}")
OPTIMIZE = Prompt(
    """A prompt makes instructions harder. What went wrong with it is told below. Rewrite the prompt so that this does not happen again, without harm to the cases that passed and without making the results any simpler. You may add steps, change them or take them out. Two things must stay: it works on any instruction, which will stand below it under #Instruction#, and its result comes last, under #Finally Rewritten Instruction#.

#Prompt#:
{method}

#Feedback#:
{feedback}

Write the whole new prompt, and nothing after it, under the mark #Optimized Prompt#."""
)

# What a response betrays of its instruction; the names are those of the rejects.
STAGNANT = re.compile(r"(?:understood|thank you)\b.*\?\W*", re.IGNORECASE | re.DOTALL)
UNQUALIFIED = re.compile(r"sure\b.*\?\W*", re.IGNORECASE | re.DOTALL)
LOST = re.compile(r"please provide", re.IGNORECASE)


class AutoEvolved(Instruction, kw_only=True):
    """An instruction that the best method made harder, and its answer."""

    parent: str
    """Id of the seed, or of the row of the round before."""
    round: int


class EvolvingMethod(Row):
    """A candidate of the optimization."""

    step: int
    candidate: int
    method: str
    failure_rate: float = 1.0
    """Share of the development set on which it failed."""
    feedback: str = ""
    """What the optimizer had to say of the method before, from which this one was made."""
    chosen: bool = False
    """The step's best: the next step works with it."""
    final: bool = False
    """The rows were made with it."""


@recipe("auto-evol-instruct", seeds="instructions.jsonl")
async def auto_evol_instruct(
    rows: Rows[Seed],
    evolver: Chat,
    run: Run,
    optimizer: Chat | None = None,
    *,
    dev: Rows[Seed] | None = None,
    steps: Annotated[int, Meta(ge=0)] = 10,
    candidates_per_step: Annotated[int, Meta(ge=1)] = 5,
    mini_batch: Annotated[int, Meta(ge=1)] = 10,
    dev_size: Annotated[int, Meta(ge=1)] = 50,
    trajectory_rounds: Annotated[int, Meta(ge=1)] = 1,
    optimization_rows: Annotated[int, Meta(ge=1)] = 2000,
    final_rounds: Annotated[int, Meta(ge=1)] = 1,
    added_words: str = "10 to 20",
    evol_temperature: float = 0.0,
    optimizer_temperature: float = 0.6,
    optimizer_top_p: float = 0.95,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[AutoEvolved | EvolvingMethod]:
    """Find the prompt that evolves these instructions best, then make each of them harder with it and answer it.

    Evol-Instruct needs prompts that a person wrote for the kind of data. Here a step lets the method of the step before
    evolve a few instructions, lets the optimizer say what went wrong, has it rewrite the method several times, and tries
    each rewriting on a development set: what is counted are answers that show that an instruction did not get harder
    ("Understood ... ?"), asks back ("Sure, ... ?") or lost something ("please provide"). The rewriting with the fewest
    such failures is the next method. Of all steps' best methods the one with the fewest failures, the latest of equals,
    evolves the whole set. (Zeng et al. 2024, arXiv:2406.00770, sections 2 and 3, appendix A.)

    An evolution without its final section, and an answer that is empty or cut, count as failures, too; a call that failed
    for good counts on neither side of the rate.

    The table `evolving_method` is the log: every candidate, its failure rate, the feedback behind it. The method that it
    begins with is never tried on the development set; it makes the rows where no rewriting can be read.

    Args:
        optimizer: analyses and rewrites the method; the evolver itself, as in the paper, unless bound.
        dev: the development set. Unless given it is drawn from the seeds, at most half of them; those are evolved in the
            end like all others, but not in the optimization.
        steps: of the optimization (some notes on the paper say 12); 0 evolves with the method that it begins with.
        candidates_per_step: rewritings of the method that are tried.
        mini_batch: instructions that a step's method evolves to be looked at.
        dev_size: instructions of the development set, where it is drawn.
        trajectory_rounds: times that each of them is evolved, one from the other. Not confirmed.
        optimization_rows: seeds that the mini-batches are drawn from, at most.
        final_rounds: evolutions of each seed with the method that was found.
        added_words: how much longer a rewriting may get, as the first method says it.
        evol_temperature: of evolutions and answers.
        optimizer_temperature: of analyses and rewritings of the method.
        optimizer_top_p: of the same.
        max_tokens_per_call: of every reply.

    Rejects: of evolutions `missing_section` and `empty_section` (without the final section), `empty` and `truncated`;
        of their answers `stagnant`, `unqualified`, `lost_information`, `empty` and `truncated` (details: answer); of the
        optimizer's replies `empty` and `truncated`, of methods also those of evolutions and `no_final_section` for a
        method that would not ask for one. All with of (seed, dev, trajectory, analysis, method) and step.

    A step whose analysis is put aside, or whose every evolution was refused, changes nothing.
    """
    optimizer = optimizer or evolver
    sampling: dict[str, Any] = {"temperature": evol_temperature, "max_tokens": max_tokens_per_call}
    thinking: dict[str, Any] = {
        "temperature": optimizer_temperature,
        "top_p": optimizer_top_p,
        "max_tokens": max_tokens_per_call,
    }

    async def evolve(given: str, method: str, of: str, step: int) -> tuple[str, Reply] | None:
        """The harder instruction, and the reply in which it stands."""
        reply = await evolver.chat(EVOLVE(method=method, instruction=given), **sampling)
        try:
            return sections(complete_reply(reply), f"{FINAL}:", last=True)[0], reply
        except Bad as bad:
            run.reject(reply, bad.reason, of=of, step=step, **bad.details)
            return None

    async def answered(instruction: str, of: str, step: int) -> Reply | None:
        """An answer that shows no failure of the instruction."""
        reply: Reply = await evolver.chat(instruction, **sampling)
        try:
            check_answer(complete_reply(reply))
        except Bad as bad:
            run.reject(instruction, bad.reason, source=reply, of=of, step=step, answer=reply.text)
            return None
        return reply

    held, learning = split(run, rows, dev, dev_size, optimization_rows) if steps else ([], [])
    method = METHOD(added_words=added_words)
    log: list[EvolvingMethod] = []
    best: EvolvingMethod | None = None
    for step in range(1, steps + 1):

        async def trajectory(seed: Seed, method: str = method, step: int = step) -> list[str]:
            stages = [text_of(seed)]
            for _ in range(trajectory_rounds):
                if (evolved := await evolve(stages[-1], method, "trajectory", step)) is None:
                    return [*stages, "(the reply had no final section)"]
                stages.append(evolved[0])
            return stages

        batch = run.draw(f"batch/{step}", learning, k=min(mini_batch, len(learning)))
        cases = await run.map(trajectory, batch, keep_going=True)
        if not cases:
            continue  # every call failed for good: there is nothing to analyse
        analysis = await optimizer.chat(ANALYSE(trajectories=shown(cases)), **thinking)
        try:
            feedback = complete_reply(analysis)
        except Bad as bad:
            run.reject(analysis, bad.reason, of="analysis", step=step)
            continue
        question = OPTIMIZE(method=method, feedback=feedback)
        made: list[EvolvingMethod] = []
        for number, reply in enumerate(await optimizer.chat(question, n=candidates_per_step, **thinking), 1):
            try:
                candidate = EvolvingMethod(step, number, read_method(reply), feedback=feedback)
            except Bad as bad:
                run.reject(reply, bad.reason, of="method", step=step, **bad.details)
                continue
            run.link(candidate, analysis, reply)
            made.append(candidate)

        async def tried(
            trial: tuple[int, Seed], made: Sequence[EvolvingMethod] = made, step: int = step
        ) -> tuple[int, bool]:
            """Did the method of this number fail on this instruction?"""
            number, seed = trial
            evolved = await evolve(text_of(seed), made[number].method, "dev", step)
            return number, evolved is None or await answered(evolved[0], "dev", step) is None

        trials = [(number, seed) for number in range(len(made)) for seed in held]
        verdicts = await run.map(tried, trials, keep_going=True)
        for number, candidate in enumerate(made):
            # A call that failed for good says nothing of the method.
            said = [failure for index, failure in verdicts if index == number]
            candidate.failure_rate = sum(said) / len(said) if said else 1.0
        log += made
        if made:
            winner = min(made, key=lambda candidate: candidate.failure_rate)
            winner.chosen = True
            method = winner.method
            if best is None or winner.failure_rate <= best.failure_rate:
                best = winner
    if best is not None:
        best.final = True
        method = best.method
    for candidate in log:
        yield candidate

    async def finish(parent: Seed | AutoEvolved, number: int) -> AutoEvolved | None:
        if (evolved := await evolve(text_of(parent), method, "seed", steps)) is None:
            return None
        if (answer := await answered(evolved[0], "seed", steps)) is None:
            return None
        row = AutoEvolved(instruction=evolved[0], output=answer.text.strip(), parent=parent.id, round=number)
        run.link(row, parent, *([best] if best else []))
        return row

    parents: Sequence[Seed | AutoEvolved] = rows
    for number in range(1, final_rounds + 1):
        found = await run.map(partial(finish, number=number), parents, keep_going=True, name="finish")
        for row in (evolved := [row for row in found if row is not None]):
            yield row
        parents = evolved


def split(
    run: Run, rows: Sequence[Seed], dev: Sequence[Seed] | None, dev_size: int, most: int
) -> tuple[Sequence[Seed], Sequence[Seed]]:
    """The development set, and what mini-batches are drawn from."""
    if dev is not None:
        held, rest = dev, list(rows)
    elif len(rows) < 2:
        raise BadInput(
            "auto-evol-instruct: a single seed leaves none for a development set: give more, or a set by --dev, or --steps 0"
        )
    else:
        shuffled = run.draw("split", rows, k=len(rows))
        size = min(dev_size, len(rows) // 2)
        held, rest = shuffled[:size], shuffled[size:]
    return held, run.draw("optimization", rest, k=most) if len(rest) > most else rest


def text_of(seed: Seed | AutoEvolved) -> str:
    return f"{seed.instruction}\n{seed.input}".strip()


def shown(cases: Sequence[Sequence[str]]) -> str:
    return "\n\n".join(
        TRAJECTORY(
            number=number,
            stages="\n".join(STAGE(number=stage, instruction=text) for stage, text in enumerate(stages)),
        )
        for number, stages in enumerate(cases, 1)
    )


def read_method(reply: Reply) -> str:
    """The new method of an optimizer's reply; raises Bad where it has none, or one without the final section."""
    [method] = sections(complete_reply(reply), "#Optimized Prompt#:")
    if FINAL.lower() not in method.lower():
        raise Bad("no_final_section")
    return method


def check_answer(answer: str) -> None:
    """Raises Bad for an answer that shows that its instruction did not evolve as it should (section 3.3)."""
    for reason, sign in (("stagnant", STAGNANT), ("unqualified", UNQUALIFIED)):
        if sign.fullmatch(answer.strip()):
            raise Bad(reason)
    if LOST.search(answer):
        raise Bad("lost_information")
