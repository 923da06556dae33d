"""Chains: recipes one behind the other, streaming, resumed, rerun; and targets that seeds alone do not reach."""

import asyncio
import itertools
import json
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

import gristmill
from gristmill import BadInput, Chain, Chat, Completion, Document, Row, Rows, Run, Step, Waiting, recipe
from gristmill.errors import Stopped
from gristmill.execute import config_of, looking
from gristmill.models.protocol import Question
from gristmill.rows import content
from gristmill.testing import Scripted, folder, replay, run, text_of
from gristmill.testing.server import counts, spawn


class Ask(Row):
    question: str


class Answered(Completion):
    pass


class Graded(Completion):
    grade: int


def numbered(question: Question) -> str:
    return f"answer to {text_of(question)}"


def seeds(count: int) -> list[dict[str, str]]:
    return [{"question": f"q{number}"} for number in range(count)]


@recipe("answer")
async def answer(row: Ask, model: Chat, run: Run, *, words: int = 50) -> AsyncIterator[Answered]:
    """Answer a question, with a drawn word in mind."""
    word = run.draw("word", [f"w{number}" for number in range(words)])
    reply = await model.chat(f"{row.question} {word}")
    yield Answered(row.question, reply.text)


@recipe("grade")
async def grade(row: Completion, judge: Chat, run: Run, *, least: int = 3) -> AsyncIterator[Graded]:
    """Keep what is graded well."""
    reply = await judge.chat(f"grade {row.completion}")
    found = zlib.crc32(reply.text.encode()) % 10
    if found < least:
        run.reject(row, "low", grade=found)
    else:
        yield Graded(row.prompt, row.completion, grade=found)


@recipe("short")
async def short(row: Completion, run: Run, *, most: int = 1000) -> AsyncIterator[Completion]:
    """A filter that asks nothing."""
    if len(row.completion) > most:
        run.reject(row, "long")
    else:
        yield Completion(row.prompt, row.completion)


@recipe("best")
async def best(rows: Rows[Completion], run: Run, *, share: float = 0.5) -> AsyncIterator[Completion]:
    """Sees the whole, keeps the first of it in the order of a hash; evicts when there is more."""
    order = sorted(rows, key=lambda row: zlib.crc32(row.completion.encode()))
    for row in order[: int(len(order) * share)]:
        made = Completion(row.prompt, row.completion)
        run.link(made, row)
        yield made


@recipe("drawn")
async def drawn(model: Chat, run: Run) -> AsyncIterator[Completion]:
    """Rows from nothing."""
    word = run.draw("word", [str(number) for number in range(1000)])
    yield Completion(word, (await model.chat(word)).text)


@recipe("twins")
async def twins(row: Completion) -> AsyncIterator[Completion]:
    """Two rows of each."""
    yield Completion(row.prompt, row.completion)
    yield Completion(row.prompt, row.completion + "!")


@recipe("loop", fixed=True)
async def loop(rows: Rows[Ask], *, rounds: int = 2) -> AsyncIterator[Ask]:
    """As many rows as its parameters say."""
    for _ in range(rounds):
        yield Ask(rows[0].question)


class Slow(Scripted):
    """Answers in an order of its own."""

    async def answer(self, question: Question, n: int):
        await asyncio.sleep(zlib.crc32(text_of(question).encode()) % 7 / 1000)
        return await super().answer(question, n)


async def chain(steps, *, model=None, out=None, **options):
    model = Scripted(numbered) if model is None else model
    return await gristmill.arun(Chain(steps), model=model, out=out or folder(), **options)


def plain(done) -> list[dict]:
    return [content(row) for row in done.rows]


# -- streaming


async def test_rows_flow_through_the_steps_and_say_where_they_came_from():
    done = await chain([answer, grade, short], seeds=seeds(30))
    first, second = list(done.iterate(step="answer")), list(done.iterate(step="grade"))
    assert len(first) == 30
    assert 0 < len(second) < 30
    assert [row.prompt for row in done.rows] == [row.prompt for row in second]
    assert len(done.rejects) == 30 - len(second)
    assert done.reject_counts == {"grade: low": 30 - len(second)}
    by_id = {row.id: row for row in [*first, *second]}
    for row in done.rows:
        [parent] = row.lineage.parents
        [grandparent] = by_id[parent].lineage.parents
        assert by_id[grandparent].lineage.parents == [row.lineage.seed]
        assert by_id[parent].lineage.calls  # the judge's call stands with the row that it let pass


async def test_a_later_step_works_while_an_earlier_one_still_does():
    order: list[str] = []

    def said(question: Question) -> str:
        order.append("judge" if text_of(question).startswith("grade") else "model")
        return numbered(question)

    await chain([answer, grade], seeds=seeds(50), model=Scripted(said), concurrency=2)
    assert order.index("judge") < 10
    assert order[-1] == "judge"


async def test_neither_concurrency_nor_the_order_of_answers_shapes_what_leaves_a_chain():
    steps = [answer, twins, grade, best, short]
    runs = [
        await chain(steps, seeds=seeds(20), model=kind(numbered), concurrency=concurrency)
        for kind, concurrency in [(Scripted, 1), (Slow, 3), (Slow, 64)]
    ]
    assert runs[0].rows
    assert runs[0].rows == runs[1].rows == runs[2].rows
    assert sorted(map(str, runs[0].rejects)) == sorted(map(str, runs[2].rejects))


async def test_a_whole_set_recipe_sees_all_that_comes_before_it():
    done = await chain([answer, best, short], seeds=seeds(40))
    everything = [row.completion for row in done.iterate(step="answer")]
    kept = sorted(everything, key=lambda text: zlib.crc32(text.encode()))[:20]
    assert [row.completion for row in done.rows] == kept


async def test_a_recipe_may_come_twice_and_copies_keep_apart():
    done = await chain([answer, twins, short, twins], seeds=seeds(3))
    assert list(done.steps) == ["answer", "twins", "short", "twins-2"]
    assert len(done.rows) == 12
    assert len({row.id for row in done.rows}) == 12


async def test_columns_can_be_renamed_on_the_way():
    @recipe("read")
    async def read(row: Document) -> AsyncIterator[Document]:
        """Reads a text."""
        yield Document(row.text.upper())

    done = await chain([answer, Step(read, mapping={"text": "completion"})], seeds=seeds(2))
    assert [row.text for row in done.rows] == [row.completion.upper() for row in done.iterate(step="answer")]


async def test_a_failure_in_a_late_step_costs_one_row():
    @recipe("fragile")
    async def fragile(row: Completion) -> AsyncIterator[Completion]:
        """Fails on one."""
        if row.prompt == "q3":
            raise ValueError("no")
        yield Completion(row.prompt, row.completion)

    done = await chain([answer, fragile], seeds=seeds(6))
    assert (len(done.rows), done.failed, done.exit_code) == (5, 1, 3)
    assert done.failures[0].seed["prompt"] == "q3"


# -- what a change costs


async def test_a_changed_late_step_repeats_nothing_of_the_early_ones():
    done = await chain([answer, grade], seeds=seeds(20))
    model = Scripted(numbered)
    again = await gristmill.arerun(done.folder, recipe=Chain([answer, Step(grade, least=6)]), model=model, out=folder())
    assert (again.calls, model.questions) == (0, [])
    assert len(again.rows) < len(done.rows)
    other = await gristmill.arerun(done.folder, recipe=Chain([answer, drawn_grade]), model=model, out=folder())
    assert all("regrade" in prompt for prompt in model.prompts)
    assert other.calls == 20


@recipe("grade")
async def drawn_grade(row: Completion, judge: Chat) -> AsyncIterator[Completion]:
    """Another prompt than `grade`."""
    await judge.chat(f"regrade {row.completion}")
    yield Completion(row.prompt, row.completion)


async def test_a_step_put_in_between_leaves_the_calls_behind_it_as_they_are():
    done = await chain([answer, grade], seeds=seeds(20))
    again = await gristmill.arerun(
        done.folder, recipe=Chain([answer, Step(short, most=19), grade]), model=Scripted(numbered), out=folder()
    )
    assert again.calls == 0
    assert plain(again) == [row for row in plain(done) if len(row["completion"]) <= 19]


async def test_a_chain_is_replayed_from_its_journal_alone():
    done = await chain([answer, grade, best], seeds=seeds(20))
    again = await replay(done, recipe=Chain([answer, grade, best]))
    assert again.rows == done.rows
    assert again.calls == 0


# -- stops and resumes


class Stops(Scripted):
    """Is interrupted after so many answers."""

    def __init__(self, after: int) -> None:
        super().__init__(numbered)
        self.after = after

    async def answer(self, question: Question, n: int):
        if len(self.questions) >= self.after:
            raise gristmill.EndpointDown("gone")
        return await super().answer(question, n)


@pytest.mark.parametrize("after", [0, 1, 7, 20, 33, 47])
@pytest.mark.parametrize("steps", [[answer, grade, short], [answer, twins, grade, best, short], [answer, best, grade]])
async def test_a_stopped_chain_goes_on_where_it_was_and_asks_nothing_twice(after, steps):
    whole = await chain(steps, seeds=seeds(20), model=Scripted(numbered))
    out, asked = folder(), []
    model = Stops(after)
    try:
        done = await chain(steps, seeds=seeds(20), model=model, out=out, concurrency=3)
    except gristmill.EndpointDown:
        asked = model.prompts
        model = Scripted(numbered)
        done = await gristmill.aresume(out, recipe=Chain(steps), model=model)
    assert done.rows == whole.rows
    assert sorted(map(str, done.rejects)) == sorted(map(str, whole.rejects))
    assert [tally for _, tally in done.steps.values()] == [tally for _, tally in whole.steps.values()]
    assert len(asked) + len(model.prompts) <= whole.calls


async def test_failed_rows_that_are_tried_again_are_put_back_into_the_stream():
    broken = True

    @recipe("fragile")
    async def fragile(row: Completion) -> AsyncIterator[Completion]:
        """Fails on some until it is repaired."""
        if broken and row.prompt in ("q3", "q5"):
            raise ValueError("no")
        yield Completion(row.prompt, row.completion)

    steps = [answer, fragile, grade]
    done = await chain(steps, seeds=seeds(8), out=(out := folder()))
    assert done.failed == 2
    broken = False
    again = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered), failed=True)
    whole = await chain(steps, seeds=seeds(8))
    assert again.rows == whole.rows
    assert again.failed == 0


@recipe("each")
async def each(rows: Rows[Ask]) -> AsyncIterator[Completion]:
    """A row of each, seen as a whole."""
    for number, row in enumerate(rows):
        yield Completion(row.question, f"c{number}")


async def test_a_whole_set_that_waits_for_the_steps_behind_it_ends_when_they_do():
    work = chain([each, grade], seeds=seeds(400), model=Stops(0))
    with pytest.raises(gristmill.EndpointDown):
        await asyncio.wait_for(work, 20)


@pytest.mark.parametrize("late", [False, True])
async def test_a_whole_set_that_waits_for_a_person_goes_on_when_resumed(late):
    ready = False

    @recipe("person")
    async def person(rows: Rows[Completion], run: Run) -> AsyncIterator[Completion]:
        """Waits, for all or for one."""

        async def look(row: Completion) -> Completion:
            if not ready and row.prompt == "q1":
                raise Waiting("for a person")
            return Completion(row.prompt, row.completion)

        for made in await run.map(look, rows, keep_going=late):
            yield made

    steps, out = [answer, person, short], folder()
    done = await chain(steps, seeds=seeds(4), out=out)
    assert (len(done.rows), done.waiting, done.failed, done.exit_code) == (3 if late else 0, 1, 0, 4)
    ready = True
    done = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered))
    assert (len(done.rows), done.waiting, done.exit_code) == (4, 0, 0)


async def test_units_of_which_nothing_came_are_still_counted_when_failures_are_tried_again():
    broken = True

    @recipe("silent")
    async def silent(row: Completion) -> AsyncIterator[Completion]:
        """Nothing of most, and fails on one until it is repaired."""
        if broken and row.prompt == "q7":
            raise ValueError("no")
        if row.prompt > "q5":
            yield Completion(row.prompt, row.completion)

    steps, out = [answer, silent], folder()
    await chain(steps, seeds=seeds(9), out=out)
    broken = False
    again = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered), failed=True)
    whole = await chain(steps, seeds=seeds(9))
    assert [tally for _, tally in again.steps.values()] == [tally for _, tally in whole.steps.values()]


# -- targets


async def test_seeds_that_end_are_used_again_with_new_draws_until_the_target_is_met():
    model = Scripted(numbered)
    done = await run(answer, seeds(4), model=model, target=30)
    assert len(done.rows) == 30
    assert len({row.completion for row in done.rows}) == 30
    assert [row.prompt for row in done.rows[:4]] == ["q0", "q1", "q2", "q3"]
    assert len(model.questions) == done.calls
    again = await replay(done)
    assert again.rows == done.rows


async def test_what_seeds_give_again_is_a_copy_and_a_run_of_copies_ends():
    done = await run(answer, seeds(3), model=Scripted(numbered), target=9, words=1)
    assert len(done.rows) == 3
    assert done.exit_code == 2
    assert done.reject_counts["duplicate"] >= 100
    assert "gave 3 accepted rows; rejected: duplicate" in str(done.stopped)


async def test_equal_seeds_of_one_pass_are_no_copies():
    done = await run(answer, [{"question": "same"}] * 5, model=Scripted(numbered), target=5, words=1)
    assert (len(done.rows), done.rejects) == (5, [])


async def test_a_filter_that_takes_no_chance_is_not_run_twice_over_its_seeds():
    @recipe("plain")
    async def plain_filter(row: Completion) -> AsyncIterator[Completion]:
        """A filter."""
        yield Completion(row.prompt, row.completion)

    given = [{"prompt": f"p{number}", "completion": "c"} for number in range(3)]
    done = await run(plain_filter, given, target=5)
    assert (len(done.rows), done.notes, done.exit_code) == (3, ["5 rows were asked for; the seeds ended after 3"], 0)


@pytest.mark.parametrize("steps", [[answer, grade], [answer, twins, grade, short], [drawn, grade]])
async def test_a_target_counts_what_leaves_the_chain_exactly_and_in_place_order(steps):
    given = {"seeds": seeds(7)} if steps[0] is answer else {}
    small = await chain(steps, target=25, **given)
    large = await chain(steps, target=60, model=Slow(numbered), concurrency=16, **given)
    assert (len(small.rows), len(large.rows)) == (25, 60)
    assert large.rows[:25] == small.rows
    assert small.exit_code == 0


async def test_near_the_target_little_more_is_begun_than_is_needed():
    model = Slow(numbered)
    done = await chain([answer, short], seeds=seeds(500), model=model, target=40, concurrency=64)
    assert len(done.rows) == 40
    assert len(model.questions) <= 48  # not 64 beyond


@pytest.mark.parametrize("steps", [[answer, best], [answer, best, grade], [drawn, best, short, best]])
async def test_a_target_behind_a_step_that_evicts_is_met_by_making_more_before_it(steps):
    given = {"seeds": seeds(7)} if steps[0] is answer else {}
    model = Scripted(numbered)
    done = await chain(steps, target=20, model=model, **given)
    assert len(done.rows) == 20
    assert done.calls == len(model.questions) == done.spent.calls  # rounds ask nothing twice
    assert (done.replayed > 0) == (grade in steps)
    again = await chain(steps, target=20, model=Slow(numbered), concurrency=5, **given)
    assert again.rows == done.rows


async def test_a_target_behind_a_barrier_takes_what_there_is_when_the_seeds_end():
    @recipe("plain")
    async def plain_step(row: Ask) -> AsyncIterator[Completion]:
        """No chance in it."""
        yield Completion(row.question, row.question)

    done = await chain([plain_step, best], seeds=seeds(10), target=8, model={})
    assert len(done.rows) == 5
    assert done.notes == ["8 rows were asked for; the seeds ended after 5"]


@recipe("more", endless=True)
async def more(rows: Rows[Ask], model: Chat) -> AsyncIterator[Completion]:
    """Goes on for ever."""
    number = 0
    while True:
        row = rows[number % len(rows)]
        yield Completion(row.question, (await model.chat(f"{number} {row.question}")).text)
        number += 1


@recipe("ask")
async def ask(row: Completion) -> AsyncIterator[Ask]:
    """Makes a question of an answer."""
    yield Ask(row.completion)


half, whole_of = Step(best, name="half"), Step(best, name="whole", share=1.0)


@pytest.mark.parametrize(
    "steps",
    [
        [more, best],
        [more, grade, best],
        [answer, ask, more, best, short],
        [answer, ask, more, grade, short, best],
        [each, grade, best],
        [each, best, grade],
        [answer, whole_of, twins, half],
        [answer, whole_of, twins, grade, half, short],
    ],
)
async def test_every_kind_of_step_before_a_barrier_makes_what_the_target_behind_it_needs(steps):
    runs = [
        await asyncio.wait_for(chain(steps, seeds=seeds(99), target=20, model=model, concurrency=concurrency), 20)
        for model, concurrency in [(Scripted(numbered), 1), (Slow(numbered), 3), (Slow(numbered), 64)]
    ]
    assert len(runs[0].rows) == len({(row.prompt, row.completion) for row in runs[0].rows}) == 20
    assert runs[0].rows == runs[1].rows == runs[2].rows


@recipe("many")
async def many(run: Run) -> AsyncIterator[Completion]:
    """Many rows at once, the same ones again and again."""
    for number in range(30):
        yield Completion(run.draw("word", ["a", "b", "c"]), f"c{number % 10}")


async def test_a_round_goes_on_with_the_rows_that_the_last_one_left_before_a_step():
    first = await chain([many, grade, best], target=20, model=Scripted(numbered))
    second = await chain([many, grade, best], target=20, model=Slow(numbered), concurrency=5)
    graded = list(first.iterate(step="grade"))
    assert len({row.lineage.parents[0] for row in graded}) == len(graded)
    single = await chain([many, grade], target=len(graded))
    assert graded == single.rows
    assert first.rows == second.rows


async def test_a_whole_set_asks_for_little_more_than_the_steps_behind_it_need():
    model, judge = Scripted(numbered), Slow(numbered)
    models = {"model": model, "judge": judge}
    done = await chain([more, Step(grade, least=0)], seeds=seeds(5), target=20, model=models, concurrency=2)
    assert len(done.rows) == 20
    assert len(model.questions) <= 24


async def test_an_endless_recipe_anywhere_in_a_chain_makes_a_few_rows_unless_told_and_ends_where_nothing_comes():
    endless = [answer, ask, more]
    done = await asyncio.wait_for(chain(endless, seeds=seeds(3)), 20)
    assert len(done.rows) == 10
    done = await asyncio.wait_for(chain(endless, seeds=seeds(3), units=2), 20)
    assert len(done.rows) == 10
    done = await asyncio.wait_for(chain([each, ask, more, Step(grade, least=10)], seeds=seeds(3), target=5), 20)
    assert (done.exit_code, len(done.rows)) == (2, 0)
    single = await chain([answer], seeds=seeds(3))
    work = gristmill.arerun(single.folder, recipe=Chain(endless), model=Scripted(numbered), out=folder())
    assert len((await asyncio.wait_for(work, 20)).rows) == 10


@recipe("nothing")
async def nothing(rows: Rows[Completion]) -> AsyncIterator[Completion]:
    """Takes none of them, and does not say why."""
    for row in rows:
        if not row.prompt:
            yield row


async def test_rounds_that_give_nothing_come_to_an_end():
    wide = Step(drawn, name="wide")
    for target, most in [(5, 250), (600, 650)]:
        model = Scripted(numbered)
        done = await asyncio.wait_for(chain([wide, nothing], target=target, model=model), 20)
        assert (done.exit_code, done.rows) == (2, [])
        assert len(model.questions) <= most + 84
    done = await asyncio.wait_for(chain([wide, nothing], target=5, max_candidates=30), 20)
    assert "--max-candidates 30" in str(done.stopped)


async def test_chance_behind_a_barrier_is_no_reason_to_use_seeds_again():
    @recipe("plain")
    async def plain_step(row: Ask) -> AsyncIterator[Completion]:
        """No chance in it."""
        yield Completion(row.question, row.question)

    done = await chain([plain_step, best, Step(grade, least=0)], seeds=seeds(10), target=8)
    assert (len(done.rows), done.exit_code) == (5, 0)
    assert done.notes == ["8 rows were asked for; the seeds ended after 5"]


async def test_a_stop_between_rounds_leaves_the_rows_of_the_last_one():
    out = folder()
    with pytest.raises(gristmill.EndpointDown):
        await chain([answer, best], seeds=seeds(7), target=20, out=out, model=Stops(30), concurrency=1)
    with looking(out) as journal:
        assert journal.count("rows", "step=0") > 20
        assert journal.count("rows", "step=1") == 10
    done = await gristmill.aresume(out, recipe=Chain([answer, best]), model=Scripted(numbered))
    whole = await chain([answer, best], seeds=seeds(7), target=20)
    assert done.rows == whole.rows
    capped = await chain([answer, best], seeds=seeds(7), target=20, max_candidates=25)
    assert (capped.exit_code, len(capped.rows)) == (2, 10)


class Known(Row):
    prompt: Literal["q1", "q2"]
    completion: str


@recipe("known")
async def known(row: Known) -> AsyncIterator[Completion]:
    """Reads two prompts only."""
    yield Completion(row.prompt, row.completion)


@recipe("known-set")
async def known_set(rows: Rows[Known]) -> AsyncIterator[Completion]:
    """Likewise, all at once."""
    for row in rows:
        yield Completion(row.prompt, row.completion)


@pytest.mark.parametrize("steps", [[answer, known], [answer, known_set], [answer, twins, known, short]])
async def test_a_row_that_the_next_step_cannot_read_is_a_failure(steps):
    done = await asyncio.wait_for(chain(steps, seeds=seeds(5), model=Slow(numbered), concurrency=2), 20)
    per = 1 + (twins in steps)
    assert (len(done.rows), done.failed, done.exit_code) == (2 * per, 3 * per, 3)
    assert "of the step before does not fit Known: Invalid enum value" in done.failures[0].error
    assert done.failures[0].seed["prompt"] == "q0"


async def test_seeds_that_a_changed_first_step_cannot_read_are_a_mistake_and_not_a_hang():
    done = await chain([answer], seeds=seeds(3))
    for steps in ([known], [known, short], [known_set]):
        work = gristmill.arerun(done.folder, recipe=Chain(steps), out=folder())
        with pytest.raises(BadInput, match="cannot be read as"):
            await asyncio.wait_for(work, 20)


async def test_a_target_below_what_a_run_made_without_one_leaves_its_rows():
    for steps in ([answer], [answer, best]):
        out = folder()
        done = await chain(steps, seeds=seeds(30), out=out)
        again = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered), target=10)
        assert again.rows == done.rows


async def test_walls_of_other_roles_stay_when_a_resume_sets_one():
    out = folder()
    steps = [answer, grade]
    await chain(steps, seeds=seeds(9), out=out, max_tokens={"": 10**6, "judge": 1_150, "model": 4_000})
    model = Scripted(numbered)
    await gristmill.aresume(out, recipe=Chain(steps), model=model, max_tokens={"judge": 2_000})
    kept = config_of(out)
    assert (kept.max_tokens, kept.role_max_tokens) == (10**6, {"judge": 2_000, "model": 4_000})
    with pytest.raises(BadInput, match="expected a number of 1 or more"):
        await chain(steps, seeds=seeds(9), max_tokens={"judge": float("inf")})


async def test_a_changed_step_is_played_by_its_own_model():
    done = await chain([answer], seeds=seeds(5))
    new = Scripted(numbered, model="new")
    await gristmill.arerun(done.folder, recipe=Chain([Step(answer, model=new)]), out=folder())
    assert len(new.questions) == 5


async def test_a_parameter_may_be_called_as_an_argument_of_step():
    @recipe("labels")
    async def labels(row: Ask, *, name: str = "n", after: int = 1) -> AsyncIterator[Completion]:
        """Has parameters of such names."""
        yield Completion(row.question, name * after)

    out = folder()
    done = await run(labels, seeds(2), out=out, name="x", after=2)
    again = await gristmill.aresume(out, recipe=labels)
    assert again.rows == done.rows
    assert [row.completion for row in again.rows] == ["xx", "xx"]


@pytest.mark.parametrize("after", [3, 15, 22, 31, 40, 50, 60, 66, 72])
async def test_a_target_behind_a_barrier_survives_a_stop_in_any_round(after):
    steps = [answer, best, grade]
    whole = await chain(steps, seeds=seeds(7), target=20)
    out = folder()
    try:
        done = await chain(steps, seeds=seeds(7), target=20, model=Stops(after), out=out, concurrency=3)
    except gristmill.EndpointDown:
        done = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered))
    assert done.rows == whole.rows


async def test_a_target_can_be_raised_when_it_is_met():
    for steps in (
        [answer, grade],
        [answer, best],
        [answer, twins],
        [answer, best, grade],
        [answer, whole_of, grade],
        [answer, Step(best, name="few", share=0.3), short],
    ):
        out = folder()
        await chain(steps, seeds=seeds(7), target=11, out=out, concurrency=2)
        model = Scripted(numbered)
        raised = await gristmill.aresume(out, recipe=Chain(steps), model=model, target=31)
        whole = await chain(steps, seeds=seeds(7), target=31, concurrency=2)
        assert raised.rows == whole.rows
        assert raised.spent.calls <= whole.calls + (
            4 if len(steps) == 2 else 40
        )  # what was in flight when the first target was met
        with pytest.raises(BadInput, match="it can only be asked for more"):
            await gristmill.aresume(out, recipe=Chain(steps), model=model, target=20)


async def test_candidates_can_be_capped():
    done = await chain([answer, Step(grade, least=10)], seeds=seeds(7), target=10, max_candidates=40)
    assert done.exit_code == 2
    assert "--max-candidates 40" in str(done.stopped)
    assert 40 <= sum(done.reject_counts.values()) <= 40 + 84


async def test_a_yield_near_zero_ends_the_run_with_what_was_learnt():
    done = await chain([answer, Step(grade, least=10)], seeds=seeds(600), target=1000)
    assert (done.exit_code, len(done.rows)) == (2, 0)
    assert "none of the last 500 candidates of grade was accepted" in str(done.stopped)
    assert "low 5" in str(done.stopped)


# -- what is refused


def refused(message: str, *steps) -> None:
    with pytest.raises(BadInput, match=message):
        Chain(steps)


def test_steps_that_do_not_fit_are_named_with_their_columns():
    refused(r"'answer' and 'loop' do not fit: 'loop' reads 'question', .* have prompt, completion", answer, loop)
    refused("'answer' and 'drawn' do not fit: 'drawn' makes rows from nothing", answer, drawn)
    refused("reads no column 'txt'", answer, Step(grade, mapping={"txt": "prompt"}))
    refused("makes no column 'promt': did you mean prompt", answer, Step(grade, mapping={"prompt": "promt"}))

    class Number(Row):
        prompt: int
        completion: str

    @recipe("numbers")
    async def numbers(row: Number) -> AsyncIterator[Number]:
        """Reads a number."""
        yield row

    refused(r"'numbers' reads 'prompt' as int, and 'prompt' of 'answer' is str", answer, numbers)


def test_a_chain_is_one_line():
    refused("in a circle: grade <- short <- grade", answer, Step(grade, after="short"), Step(short, after="grade"))
    refused("'anser', which is no step: did you mean answer", answer, Step(grade, after="anser"))
    refused("both read from 'answer'", answer, grade, Step(short, after="answer"))
    refused("stands twice", Step(answer, name="a"), Step(grade, name="a"))
    refused("at least one step")
    four = Chain([answer, Step(short, name="twins-2"), twins, twins]).steps
    assert [step.name for step in four] == ["answer", "twins-2", "twins", "twins-3"]
    steps = Chain([answer, Step(short, after="grade"), Step(grade, after="answer")]).steps
    assert [step.name for step in steps] == ["answer", "grade", "short"]


async def test_what_is_wrong_with_a_run_of_a_chain_is_said_before_the_first_call():
    model = Scripted(numbered)
    unpriced = Scripted(numbered, model="unpriced")
    unpriced.price = None
    for options, message in [
        ({"judg.least": 1}, "no step has the parameter 'judg.least'"),
        ({"model": {"jury": model}}, "has no role 'jury'"),
        ({"max_cost": {"jury": 1}}, "no such role"),
        ({"max_cost": {"judge": 1}, "model": {"model": model, "judge": unpriced}}, "needs the price of unpriced"),
        ({"max_cost": 1, "model": unpriced}, "needs the price of unpriced"),
        ({"max_tokens": -1}, "expected a number of 1 or more"),
        ({"inputs": {"corpus": []}}, "has no input 'corpus'"),
    ]:
        out = folder() / "run"
        with pytest.raises(BadInput, match=message):
            await chain([answer, grade], **{"seeds": seeds(3), "model": model, "out": out, **options})
        assert not out.exists()
    with pytest.raises(BadInput, match="leave --target out"):
        await run(loop, seeds(2), target=3)
    assert model.questions == []


async def test_one_role_can_have_a_wall_of_its_own_which_lasts_over_resumes():
    out = folder()
    steps = [answer, grade]
    done = await chain(steps, seeds=seeds(20), out=out, max_tokens={"judge": 1_150})
    assert done.exit_code == 2
    assert "--max-tokens judge=1150" in str(done.stopped)
    with looking(out) as journal:
        judge, model = journal.spent(role="judge"), journal.spent(role="model")
    assert 0 < judge.calls < 20
    assert judge.input_tokens + judge.output_tokens <= 1_150
    assert model.calls > judge.calls
    again = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered))
    assert (again.exit_code, again.calls) == (2, 0)
    done = await gristmill.aresume(out, recipe=Chain(steps), model=Scripted(numbered), max_tokens={"judge": 10**6})
    assert (done.exit_code, len(done.rows) + len(done.rejects)) == (0, 20)


async def test_models_prompts_and_parameters_go_to_the_step_that_is_named():
    judge, writer = Scripted(numbered, model="judge"), Scripted(numbered, model="writer")
    done = await chain(
        [answer, grade, Step(grade, name="again")],
        seeds=seeds(5),
        model={"": writer, "again.judge": judge},
        **{"grade.least": 0, "again.least": 10},
    )
    assert done.rows == []
    assert done.reject_counts == {"again: low": 5}
    assert len(judge.questions) == 5
    assert len(writer.questions) == 10
    with pytest.raises(BadInput, match="several steps have the parameter 'least'"):
        await chain([answer, grade, Step(grade, name="again")], seeds=seeds(5), least=3)


# -- files


FILTERS = '''
from collections.abc import AsyncIterator
from gristmill import Completion, Run, recipe

@recipe("short-enough")
async def short_enough(row: Completion, run: Run, *, most: int = 400) -> AsyncIterator[Completion]:
    """Keep what is short."""
    if len(row.completion) > most:
        run.reject(row, "long")
    else:
        yield row
'''
CHAIN = """
seeds = "seeds.jsonl"
model = "openai:test@{url}"
target = 12

[[step]]
recipe = "{home}/recipes_for_tests.py:two_calls"
name = "ask"

[[step]]
recipe = "filters.py:short_enough"
set = {{most = 200}}
"""


@pytest.fixture
def written(tmp_path):
    (tmp_path / "filters.py").write_text(FILTERS)
    (tmp_path / "seeds.jsonl").write_text("".join(f'{{"question": "question {n}"}}\n' for n in range(300)))

    def write(url: str, text: str = CHAIN):
        path = tmp_path / "chain.toml"
        path.write_text(text.format(url=url, home=Path(__file__).parent))
        return path

    return write


def shell(*arguments, code: int = 0):
    done = subprocess.run([sys.executable, "-m", "gristmill.cli", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_a_chain_file_is_run_resumed_changed_and_looked_at_from_the_command_line(written, tmp_path):
    with spawn() as url:
        path, out = written(url), tmp_path / "run"
        done = json.loads(shell("run", path, "--out", out, "--json").stdout)
        assert (done["rows"], done["recipe"]) == ({"completion": 12}, "ask > short-enough")
        assert set(done["steps"]) == {"ask", "short-enough"}
        paid = done["calls"]
        assert "of ask" in shell("rows", out, "--step", "ask").stdout
        assert "no step 'aks': did you mean ask" in shell("rows", out, "--step", "aks", code=1).stderr
        shell("export", out, "--format", "jsonl", "--to", tmp_path / "rows.jsonl")
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
        card = (out / "README.md").read_text()
        assert "# ask > short-enough" in card
        assert "`short-enough`: Parameter `most`: `200`" in card
        written(url, CHAIN.replace("most = 200", "most = 150"))
        again = json.loads(shell("rerun", out, "--chain", path, "--out", tmp_path / "two", "--json").stdout)
        assert again["replayed"] >= 24
        assert counts(url)["repeated"] == 0
        once = json.loads(shell("rerun", out, "--set", "most=1000", "--out", tmp_path / "three", "--json").stdout)
        assert (once["calls"], once["rows"]) == (0, {"completion": 12})
        counts(url, reset=True)
        more = json.loads(shell("resume", out, "--target", 20, "--json").stdout)
        assert more["rows"] == {"completion": 20}
        assert counts(url)["repeated"] == 0
        assert paid > 0
        plan = json.loads(shell("plan", path, "--out", tmp_path / "planned", "--sample", 4, "--json").stdout)
        assert [role["role"] for role in plan["roles"]] == ["model"]
        assert len(plan["cost"]) == 3
        shown = shell("plan", path, "--out", tmp_path / "planned-2", "--sample", 4, "--ask.suffix", "!").stdout
        assert "truth lies between them" in shown
        assert f"gristmill resume {tmp_path / 'planned-2'}" in shown.replace("\n", "")
        shell("resume", tmp_path / "planned")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 3", "Expected `array`"),
        ("[[step]]\nrecipe = 'evol-instrut'", "step 1: there is no recipe 'evol-instrut': did you mean evol-instruct"),
        ("[[step]]\nrecipe = 'wrap'\nfrom = 'x'", "'wrap' reads from 'x', which is no step"),
        ("[[step]]\nrecipe = 'wrap'\nfrom = 'wrap'", "in a circle: wrap <- wrap"),
        ("[[step]]\nrecipe = 'amps'\n[[step]]\nrecipe = 'tinystories'", "'amps' and 'tinystories' do not fit"),
        ("[[step]]\nrecipe = 'wrap'\nsets = {{}}", "unknown field `sets`"),
        ("tarket = 3\n[[step]]\nrecipe = 'wrap'", "unknown field `tarket`"),
        ("[[step]\nrecipe = 'wrap'", "Expected ']]'"),
    ],
)
def test_what_is_wrong_with_a_chain_file_is_said_with_its_place(written, text, message):
    path = written("x", text)
    error = shell("run", path, code=1).stderr
    assert message in error
    assert str(path) in error


async def test_a_step_without_calls_lets_the_loop_breathe_and_an_interrupt_through():
    @recipe("busy", endless=True)
    async def busy(rows: Rows[Ask]) -> AsyncIterator[Ask]:
        """Never awaits anything."""
        for number in itertools.count():
            yield Ask(f"{number}")

    @recipe("none")
    async def none(row: Ask, run: Run) -> AsyncIterator[Ask]:
        """Lets nothing through, and awaits nothing."""
        if row.question:
            run.reject(row, "all")
        else:
            yield row

    out = folder()
    for steps in ([busy], [busy, none]):
        told = []

        @asynccontextmanager
        async def ticking(live, told=told):
            async def tick():
                while True:
                    await asyncio.sleep(0.005)
                    told.append(live.flow.candidates)
                    if len(told) == 3:
                        live.ledger.halt.stop(Stopped("interrupted", "enough of it"))

            task = asyncio.create_task(tick())
            yield
            task.cancel()

        done = await gristmill.arun(
            Chain(steps), seeds=seeds(1), target=10**9, max_candidates=10**9, out=out / str(len(steps)), watch=ticking
        )
        assert done.exit_code == 130
        assert len(told) >= 3


async def test_a_slow_unit_late_in_a_chain_does_not_let_rows_pile_up_before_it(monkeypatch):
    monkeypatch.setattr("gristmill.engine.flow.AHEAD", 50)

    @recipe("stuck")
    async def stuck(row: Completion, judge: Chat) -> AsyncIterator[Completion]:
        """Slow on the first."""
        await judge.chat(row.prompt)
        yield row

    piled = []

    class Stuck(Scripted):
        async def answer(self, question: Question, n: int):
            if text_of(question) == "q0":
                for _ in range(20):
                    await asyncio.sleep(0.02)
                    first, last = live_flow[0].stages
                    piled.append(first.accepted - last.started)
            return await super().answer(question, n)

    live_flow = []

    @asynccontextmanager
    async def see(live):
        live_flow.append(live.flow)
        yield

    model = Stuck(numbered)
    done = await chain(
        [answer, stuck], seeds=seeds(600), model={"model": Scripted(numbered), "judge": model}, watch=see
    )
    assert len(done.rows) == 600
    assert max(piled) <= 50 + 2 * 82  # AHEAD, and what was under way when it was reached


async def test_a_whole_set_that_breaks_off_is_not_asked_again_and_again():
    @recipe("breaks")
    async def breaks(rows: Rows[Completion], run: Run) -> AsyncIterator[Completion]:
        """Fails after a row."""
        run.link(made := Completion("a", "b"), rows[0])
        yield made
        raise ValueError("no")

    done = await chain([answer, breaks], seeds=seeds(7), target=5)
    assert (len(done.rows), done.failed, done.exit_code) == (1, 1, 3)
    assert len(list(done.iterate(step="answer"))) <= 10


async def test_a_changed_chain_takes_seeds_and_inputs_from_where_they_are():
    @recipe("paired")
    async def paired(row: Completion, *, corpus: Rows[Document]) -> AsyncIterator[Completion]:
        """Reads a second input."""
        yield Completion(row.prompt, corpus[0].text)

    out, model = folder(), Scripted(numbered)
    done = await gristmill.arun(
        paired, seeds=[{"prompt": "p", "completion": "c"}], inputs={"corpus": [{"text": "t"}]}, out=out
    )
    longer = await gristmill.arerun(out, recipe=Chain([paired, twins]), out=folder())
    assert [row.completion for row in longer.rows] == ["t", "t!"]
    with pytest.raises(BadInput, match=r"corpus\.parquet cannot be read as Ask"):
        await gristmill.arerun(done.folder, recipe=Chain([Step(needs_more, name="other")]), out=folder())
    start = await chain([drawn], target=2, out=folder())
    with pytest.raises(BadInput, match="has no input 'corpus' for needs-more"):
        await gristmill.arerun(start.folder, recipe=Chain([drawn, needs_more]), model=model, out=folder())
    with pytest.raises(BadInput, match="answer needs --seeds"):
        await gristmill.arerun(start.folder, recipe=Chain([answer]), model=model, out=folder())


@recipe("needs-more")
async def needs_more(row: Completion, *, corpus: Rows[Ask]) -> AsyncIterator[Completion]:
    """Reads a second input of another type."""
    yield row


async def test_a_durable_step_is_computed_once_though_many_units_ask_for_it_at_the_same_time():
    computed = []

    async def slow(number: int) -> int:
        computed.append(number)
        await asyncio.sleep(0.01)
        return number + 1

    @recipe("index")
    async def index(row: Ask, run: Run) -> AsyncIterator[Ask]:
        """Needs what only has to be made once."""
        yield Ask(f"{await run.once('index', slow, 1)}")

    done = await run(index, seeds(20))
    assert [row.question for row in done.rows] == ["2"] * 20
    assert computed == [1]


def test_what_is_no_recipe_is_refused():
    refused("is no recipe", answer, numbered)


async def test_rejects_of_an_early_step_are_no_drought_while_a_late_one_works(monkeypatch):
    monkeypatch.setattr("gristmill.engine.flow.DROUGHT", 20)

    @recipe("picky")
    async def picky(row: Ask, run: Run) -> AsyncIterator[Completion]:
        """Takes one in ten, at once."""
        if int(row.question[1:]) % 10:
            run.reject(row, "nine in ten")
        else:
            yield Completion(row.question, row.question)

    class Late(Scripted):
        async def answer(self, question: Question, n: int):
            await asyncio.sleep(0.05)
            return await super().answer(question, n)

    done = await chain([picky, Step(grade, least=0)], seeds=seeds(400), model=Late(numbered), target=30)
    assert (len(done.rows), done.stopped) == (30, None)


async def test_a_recipe_that_goes_on_for_ever_gets_all_that_comes_before_it_whatever_the_target():
    @recipe("taxonomy")
    async def taxonomy(rows: Rows[Ask], run: Run) -> AsyncIterator[Ask]:
        """Twelve nodes of whatever is given."""
        for number in range(12):
            run.link(made := Ask(f"{rows[0].question}.{number}"), rows[0])
            yield made

    @recipe("homework", endless=True)
    async def homework(rows: Rows[Ask], run: Run) -> AsyncIterator[Ask]:
        """Goes round and round."""
        for number in itertools.count():
            made = Ask(f"{number} of {len(rows)}")
            run.link(made, rows[number % len(rows)])
            yield made

    for target in (5, 40):
        done = await gristmill.arun(Chain([taxonomy, homework]), seeds=seeds(1), target=target, out=folder())
        assert [row.question for row in done.rows] == [f"{number} of 12" for number in range(target)]
    done = await gristmill.arun(Chain([answer, Step(homework, mapping={"question": "prompt"})]), seeds=seeds(3), target=5,
                                model=Scripted(numbered), out=folder())  # fmt: skip
    assert [row.question for row in done.rows] == [f"{number} of 3" for number in range(5)]
