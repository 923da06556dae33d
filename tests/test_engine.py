"""The engine's promises, on small recipes and scripted models."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest

import gristmill
from gristmill import BadInput, Chat, Completion, Refused, Row, Rows, Run, Waiting, recipe
from gristmill.engine.database import CALL
from gristmill.engine.journal import Journal
from gristmill.errors import EndpointDown
from gristmill.execute import looking
from gristmill.models.protocol import Price, Question, Reply
from gristmill.testing import Scripted, folder, replay, run, text_of


class Ask(Row):
    question: str
    note: str = ""


class Answered(Completion):
    pass


def numbered(question: Question) -> str:
    return f"answer to {text_of(question)}"


def seeds(count: int) -> list[dict[str, str]]:
    return [{"question": f"q{number}"} for number in range(count)]


@recipe("answer")
async def answer(row: Ask, model: Chat, *, temperature: float = 0.0, samples: int = 1) -> AsyncIterator[Answered]:
    """Answer a question."""
    for reply in await model.chat(row.question, n=samples, temperature=temperature):
        yield Answered(row.question, reply.text)


@recipe("nothing")
async def from_nothing(model: Chat, run: Run) -> AsyncIterator[Answered]:
    """Rows from a drawn word."""
    word = run.draw("word", [str(number) for number in range(50)])
    reply = await model.chat(word)
    if zlib.crc32(reply.text.encode()) % 3 == 0:
        run.reject(reply, "unlucky", word=word)
        return
    yield Answered(word, reply.text)


@recipe("rounds", endless=True)
async def rounds(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Answered]:
    """A pool that grows, three questions a round, shown to the model as of the round's start."""
    pool: list[str] = []

    async def grow(number: int) -> Answered:
        shown = run.draw("shown", [row.question for row in rows] + pool)
        reply = await model.chat(f"{number} {len(pool)} {shown}")
        return Answered(shown, reply.text)

    while True:
        for made in await run.map(grow, range(3)):
            pool.append(made.completion)
            yield made


class Slow(Scripted):
    """Answers after a wait that differs from call to call, so that replies come in another order than asked."""

    async def answer(self, question, n):
        await asyncio.sleep(zlib.crc32(text_of(question).encode()) % 7 / 1000)
        return await super().answer(question, n)


# -- replay


@pytest.mark.parametrize("method", [answer, from_nothing, rounds])
async def test_a_replay_gives_the_same_rows_byte_for_byte_and_asks_nothing(method):
    given = None if method is from_nothing else seeds(9)
    target = None if method is answer else 20
    done = await run(method, given, model=Slow(numbered), target=target)
    again = await replay(done)
    assert list(again.iterate()) == done.rows
    assert again.tables.keys() == done.tables.keys()
    for name, path in done.tables.items():
        assert again.tables[name].read_bytes() == path.read_bytes()
    assert (again.calls, len(again.rejects)) == (0, len(done.rejects))


@pytest.mark.parametrize("method", [answer, from_nothing, rounds])
async def test_neither_concurrency_nor_the_order_of_answers_shapes_the_data(method):
    given = None if method is from_nothing else seeds(9)
    target = None if method is answer else 20
    runs = [
        await run(method, given, model=kind(numbered), target=target, concurrency=concurrency)
        for kind, concurrency in [(Scripted, 1), (Slow, 3), (Slow, 64)]
    ]
    assert runs[0].rows
    assert runs[0].rows == runs[1].rows == runs[2].rows
    assert runs[0].rejects == runs[1].rejects == runs[2].rejects


async def test_another_seed_makes_other_draws():
    one, other = [await run(from_nothing, model=Scripted(numbered), target=8, seed=seed) for seed in (0, 1)]
    assert [row.prompt for row in one.rows] != [row.prompt for row in other.rows]


async def test_an_offline_replay_of_changed_settings_fails_the_rows_that_would_need_a_call():
    done = await run(answer, seeds(3), model=Scripted(numbered))
    again = await replay(done, settings={"temperature": 0.5})
    assert (again.rows, again.failed, again.calls) == ([], 3, 0)
    assert "offline" in again.failures[0].error


# -- the cache cannot be stale


async def test_more_samples_pay_only_for_the_new_ones():
    done = await run(answer, seeds(2), model=Scripted(numbered), samples=5)
    model = Scripted(numbered)
    again = await replay(done, offline=False, settings={"samples": 8}, model={"model": model})
    assert len(again.rows) == 16
    assert (again.replayed, sum(again.spent[:1])) == (10, 6)


async def test_a_changed_seed_row_is_asked_anew_and_its_neighbours_are_not():
    done = await run(answer, seeds(4), model=Scripted(numbered))
    model = Scripted(numbered)
    changed = [*seeds(4)[:2], {"question": "another"}, *seeds(4)[3:]]
    again = await replay(done, offline=False, model={"model": model}, seeds=changed)
    assert model.prompts == ["another"]
    assert [row.prompt for row in again.rows] == ["q0", "q1", "another", "q3"]


async def test_reordered_seeds_and_columns_that_the_recipe_does_not_read_cost_nothing():
    done = await run(answer, seeds(4), model=Scripted(numbered))
    model = Scripted(numbered)
    changed = [{**row, "unread": "x"} for row in reversed(seeds(4))]
    again = await replay(done, offline=False, model={"model": model}, seeds=changed)
    assert model.prompts == []
    assert [row.prompt for row in again.rows] == ["q3", "q2", "q1", "q0"]


async def test_equal_seeds_are_two_rows_with_two_answers():
    script = iter(["first", "second"])
    done = await run(answer, [{"question": "same"}] * 2, model=Scripted(lambda _: next(script)), concurrency=1)
    assert [row.completion for row in done.rows] == ["first", "second"]
    assert len({row.id for row in done.rows}) == 2


async def test_another_parameter_of_a_call_is_another_call_and_a_threshold_is_not():
    @recipe("filter")
    async def keep_long(row: Ask, model: Chat, run: Run, *, longer_than: int = 0) -> AsyncIterator[Answered]:
        """Keep long answers."""
        reply = await model.chat(row.question)
        if len(reply.text) > longer_than:
            yield Answered(row.question, reply.text)
        else:
            run.reject(reply, "short", length=len(reply.text))

    done = await run(keep_long, seeds(3), model=Scripted(["a", "bbb", "ccccc"]), concurrency=1)
    stricter = await replay(done, settings={"longer_than": 3})
    assert [row.completion for row in stricter.rows] == ["ccccc"]
    assert [reject.details for reject in stricter.rejects] == [{"length": 1}, {"length": 3}]
    assert stricter.calls == 0


async def test_the_same_question_asked_again_in_one_scope_is_a_new_sample():
    @recipe("twice")
    async def twice(row: Ask, model: Chat) -> AsyncIterator[Answered]:
        """Ask twice."""
        for _ in range(2):
            yield Answered(row.question, (await model.chat(row.question)).text)

    done = await run(twice, seeds(1), model=Scripted(["one", "two"]))
    assert [row.completion for row in done.rows] == ["one", "two"]
    assert (await replay(done)).rows == done.rows


# -- rows, rejects, failures, waiting


async def test_one_bad_row_costs_one_row_and_keeps_the_servers_words():
    def script(question):
        return Refused("max tokens is too large", status=400) if "q2" in text_of(question) else numbered(question)

    done = await run(answer, seeds(5), model=Scripted(script), allow_failures=True)
    assert [row.prompt for row in done.rows] == ["q0", "q1", "q3", "q4"]
    assert [failure.error for failure in done.failures] == ["max tokens is too large"]
    assert done.failures[0].seed == {"question": "q2", "note": ""}
    assert done.exit_code == 3
    assert (await replay(done)).failures == done.failures


async def test_an_error_in_a_recipe_names_its_type_and_line():
    @recipe("breaks")
    async def breaks(row: Ask) -> AsyncIterator[Answered]:
        """Break on one row."""
        yield Answered(row.question, str(1 / (row.question != "q1")))

    done = await run(breaks, seeds(3), allow_failures=True)
    assert len(done.rows) == 2
    assert done.failures[0].error.startswith("ZeroDivisionError: division by zero (test_engine.py:")


async def test_failed_rows_are_left_alone_by_resume_and_tried_again_on_request():
    broken = Scripted(lambda q: Refused("no") if "q1" in text_of(q) else numbered(q))
    out = folder() / "run"
    await run(answer, seeds(3), model=broken, out=out, allow_failures=True)
    mended = Scripted(numbered)
    left = await gristmill.aresume(out, recipe=answer, model={"model": mended})
    assert (len(left.rows), left.failed, mended.prompts) == (2, 1, [])
    tried = await gristmill.aresume(out, recipe=answer, model={"model": mended}, failed=True)
    assert [row.prompt for row in tried.rows] == ["q0", "q1", "q2"]
    assert (tried.failed, mended.prompts) == (0, ["q1"])


@pytest.mark.parametrize("method", [answer, from_nothing, rounds])
async def test_resuming_a_finished_run_changes_nothing(method):
    given = None if method is from_nothing else seeds(9)
    out = folder() / "run"
    done = await run(method, given, model=Scripted(numbered), target=None if method is answer else 20, out=out)
    files = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    again = await gristmill.aresume(out, recipe=method, model={"model": Scripted([])})
    assert (again.rows, again.counts, again.reject_counts) == (done.rows, done.counts, done.reject_counts)
    assert (again.calls, again.exit_code) == (0, 0)
    assert files == {path.name: path.read_bytes() for path in (out / "data").iterdir()}


async def test_a_row_that_waits_for_a_person_keeps_its_place_until_resume():
    people = {"q0": "x", "q2": "z"}

    def script(question):
        asked = text_of(question)
        return people[asked] if asked in people else Waiting("nobody has answered yet")

    out = folder() / "run"
    first = await run(answer, seeds(3), model=Scripted(script), out=out, allow_failures=True)
    assert (first.waiting, first.failed, first.exit_code) == (1, 0, 4)
    people["q1"] = "y"
    model = Scripted(script)
    second = await gristmill.aresume(out, recipe=answer, model={"model": model})
    assert [row.completion for row in second.rows] == ["x", "y", "z"]
    assert (model.prompts, second.exit_code) == (["q1"], 0)


async def test_a_yield_of_another_type_than_promised_is_a_failure():
    @recipe("liar")
    async def liar(row: Ask) -> AsyncIterator[Answered]:
        """Yield what was not promised."""
        yield row  # type: ignore[misc]

    @recipe("wrong")
    async def wrong(row: Ask) -> AsyncIterator[Answered]:
        """Yield a wrong field."""
        yield Answered(row.question, 7)  # type: ignore[arg-type]

    assert "promises Answered" in (await run(liar, seeds(1), allow_failures=True)).failures[0].error
    assert "Expected `str`, got `int`" in (await run(wrong, seeds(1), allow_failures=True)).failures[0].error


async def test_an_endpoint_that_is_down_stops_the_run_and_spends_no_rows():
    out = folder() / "run"
    dead = Scripted(lambda q: EndpointDown("the key was refused") if "q2" in text_of(q) else numbered(q))
    with pytest.raises(EndpointDown, match="the key was refused"):
        await run(answer, seeds(5), model=dead, out=out, concurrency=1)
    done = await gristmill.aresume(out, recipe=answer, model={"model": Scripted(numbered)})
    assert [row.prompt for row in done.rows] == ["q0", "q1", "q2", "q3", "q4"]
    assert done.failed == 0


# -- targets and gates


@pytest.mark.parametrize("target", [1, 7, 33])
async def test_exactly_the_first_n_accepted_rows_in_place_order(target):
    many = await run(from_nothing, model=Slow(numbered), target=60)
    few = await run(from_nothing, model=Slow(numbered), target=target)
    assert len(few.rows) == target
    assert few.rows == many.rows[:target]


async def test_a_unique_key_leaves_once_in_place_order_whoever_comes_first():
    @recipe("unique", unique="completion")
    async def unique(row: Ask, model: Chat) -> AsyncIterator[Answered]:
        """Answers must differ."""
        yield Answered(row.question, (await model.chat(row.question)).text)

    done = await run(unique, seeds(12), model=Slow(lambda q: str(int(text_of(q)[1:]) % 4)))
    assert [row.prompt for row in done.rows] == ["q0", "q1", "q2", "q3"]
    assert [(r.reason, r.candidate["prompt"]) for r in done.rejects] == [("duplicate", f"q{n}") for n in range(4, 12)]


async def test_a_loop_that_accepts_nothing_ends_and_says_why():
    @recipe("hopeless", endless=True)
    async def hopeless(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Answered]:
        """Reject all."""
        while True:
            run.reject(await model.chat("?"), "never_good")
        yield

    done = await run(hopeless, seeds(1), model=Scripted(numbered), target=5, max_candidates=30)
    assert done.exit_code == 2
    assert "30 candidates gave 0 accepted rows; rejected: never_good 30" in str(done.stopped)


async def test_drawing_stops_when_the_yield_is_nothing():
    @recipe("nothing-good")
    async def nothing_good(model: Chat, run: Run) -> AsyncIterator[Answered]:
        """Reject all."""
        run.reject(await model.chat("?"), "bad")
        return
        yield

    done = await run(nothing_good, model=Scripted(numbered), target=5, max_candidates=50)
    assert done.exit_code == 2
    assert done.calls <= 50 + 82  # the limit and what was in flight


async def test_drawing_stops_when_every_question_is_refused():
    @recipe("refused")
    async def refused(model: Chat) -> AsyncIterator[Answered]:
        """Ask."""
        yield Answered(prompt="", completion=(await model.chat("?")).text)

    model = Scripted(lambda q: Refused("no such model"))
    done = await run(refused, model=model, target=5, max_candidates=50, allow_failures=True)
    assert done.exit_code == 2
    assert "failed: " in str(done.stopped)


async def test_drawing_ends_even_where_nothing_at_all_comes_of_a_draw():
    @recipe("silent")
    async def silent(run: Run) -> AsyncIterator[Answered]:
        """Neither yield nor reject."""
        return
        yield

    done = await run(silent, target=5, max_candidates=50)
    assert (done.exit_code, done.rows) == (2, [])


async def test_rounds_without_rejects_are_not_candidates():
    done = await run(rounds, seeds(3), model=Scripted(numbered), target=60, max_candidates=61)
    assert (len(done.rows), done.exit_code) == (60, 0)

    @recipe("quiet", endless=True)
    async def quiet(rows: Rows[Ask], run: Run) -> AsyncIterator[Answered]:
        """Many rounds for one row."""

        async def nothing(number: int) -> None:
            return None

        for _ in range(20):
            await run.map(nothing, range(2))
        yield Answered("x", "y")

    done = await run(quiet, seeds(1), target=1, max_candidates=3)
    assert (len(done.rows), done.exit_code) == (1, 0)


# -- budgets


async def test_the_wall_of_tokens_is_never_overrun_and_the_run_resumes_behind_it():
    out = folder() / "run"
    model = Scripted(lambda q: " ".join(["word"] * 10))
    first = await run(answer, seeds(100), model=model, out=out, max_tokens=1_500)
    assert first.exit_code == 2
    used = first.spent.input_tokens + first.spent.output_tokens
    assert 300 < used <= 1_500
    assert 0 < len(first.rows) < 100
    second = await gristmill.aresume(out, recipe=answer, model={"model": model}, max_tokens=10_000_000)
    assert (len(second.rows), second.exit_code) == (100, 0)
    assert len(model.questions) == 100


async def test_money_counts_over_resumes():
    out = folder() / "run"

    def bound():
        return {"model": Scripted(lambda q: "ten " * 10, price=Price(0, 100_000))}

    first = await run(answer, seeds(50), out=out, model=bound()["model"], max_cost=110, concurrency=1)
    spent = first.spent.cost
    assert 0 < spent <= 110
    again = await gristmill.aresume(out, recipe=answer, model=bound())
    assert again.spent.cost == spent
    assert (again.calls, again.exit_code) == (0, 2)


async def test_a_price_that_is_not_known_is_refused_before_the_first_call():
    model = Scripted(numbered)
    model.price = None
    with pytest.raises(BadInput, match="needs the price of scripted"):
        await run(answer, seeds(1), model=model, max_cost=1)
    assert model.questions == []


# -- scopes


async def test_branches_that_ask_the_same_get_answers_of_their_own_in_item_order():
    @recipe("branches")
    async def branches(row: Ask, model: Chat, run: Run) -> AsyncIterator[Answered]:
        """Ask the same in three branches."""

        async def ask(number: int) -> str:
            await asyncio.sleep((3 - number) / 500)
            return (await model.chat("same")).text

        yield Answered(row.question, " ".join(await run.map(ask, range(3))))

    done = await run(branches, seeds(1), model=Scripted(["a", "b", "c"]))
    assert done.rows[0].completion == "c b a"  # the last branch asked first
    assert len(done.rows[0].lineage.calls) == 3
    assert (await replay(done)).rows == done.rows


async def test_an_item_that_fails_costs_that_item_or_the_row_as_the_recipe_says():
    def method(keep_going: bool):
        @recipe("items")
        async def items(row: Ask, model: Chat, run: Run) -> AsyncIterator[Answered]:
            """Ask for each item."""

            async def ask(item: str) -> str:
                return (await model.chat(item)).text

            yield Answered(row.question, " ".join(await run.map(ask, "abc", keep_going=keep_going)))

        return items

    model = Scripted(lambda q: Refused("not b") if text_of(q) == "b" else text_of(q))
    going = await run(method(True), seeds(1), model=model, allow_failures=True)
    assert ([row.completion for row in going.rows], going.failed) == (["a c"], 1)
    stopping = await run(method(False), seeds(1), model=model, allow_failures=True)
    assert (stopping.rows, stopping.failed, stopping.failures[0].error) == ([], 1, "not b")
    assert stopping.calls == 3  # a paid answer is never thrown away: all branches ran to their end


async def test_the_winner_of_a_race_is_journaled_and_a_replay_runs_only_it():
    cancelled = []

    @recipe("race")
    async def race(row: Ask, model: Chat, run: Run) -> AsyncIterator[Answered]:
        """The first answer that is a proof wins."""

        async def prove(name: str, seconds: float) -> str | None:
            try:
                await asyncio.sleep(seconds)
                return (await model.chat(f"prove {name}")).text
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        winner = await run.race(prove("it", 0.5), prove("its negation", 0.001))
        yield Answered(row.question, winner or "")

    done = await run(race, seeds(1), model=Scripted(numbered))
    assert [row.completion for row in done.rows] == ["answer to prove its negation"]
    assert cancelled == ["it"]
    again = await replay(done)
    assert (again.rows, again.replayed) == (done.rows, 1)


async def test_a_slow_step_is_computed_once_for_its_inputs():
    ran = []

    def slow(numbers: list[int]) -> int:
        ran.append(numbers)
        return sum(numbers)

    @recipe("once")
    async def once(row: Ask, run: Run, *, numbers: list[int]) -> AsyncIterator[Answered]:
        """Add up."""
        yield Answered(row.question, str(await run.once("sum", slow, numbers)))

    done = await run(once, seeds(1), numbers=[1, 2])
    assert (await replay(done)).rows[0].completion == "3"
    assert ran == [[1, 2]]
    await replay(done, offline=False, settings={"numbers": [4]})
    assert ran == [[1, 2], [4]]


async def test_roles_and_run_say_so_when_used_outside_of_a_run():
    with pytest.raises(RuntimeError, match="work only inside a run"):
        Run(None, step=0, seed=0, target=None, on_reject=print).draw("x", [1])  # type: ignore[arg-type]


# -- lineage


async def test_a_row_names_its_seed_its_calls_and_its_draws():
    @recipe("traced")
    async def traced(row: Ask, model: Chat, run: Run) -> AsyncIterator[Answered]:
        """Trace."""
        style = run.draw("style", ["plain", "ornate"])
        reply = await model.chat(f"{style} {row.question}")
        yield Answered(row.question, reply.text)
        run.draw("after", [1])

    done = await run(traced, seeds(2), model=Scripted(numbered))
    lineage = done.rows[1].lineage
    assert lineage.parents == [lineage.seed]
    assert lineage.seed != done.rows[0].lineage.seed
    assert lineage.draws.keys() == {"style"}
    with looking(done.folder) as journal:
        [(answer,)] = journal.select("SELECT answer FROM calls WHERE key=?", (lineage.calls[0],))
    assert msgspec.json.decode(answer, type=Reply).text == done.rows[1].completion


@recipe("rejecting")
async def hopeless_root(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Answered]:
    """Reject a reply, and a part of one."""
    run.reject(await model.chat("1"), "whole")
    reply = await model.chat("2")
    run.reject(reply.text[:1], "part", source=reply)
    return
    yield


async def test_a_row_of_a_whole_set_names_the_calls_of_its_branch_and_what_the_recipe_links():
    done = await run(rounds, seeds(2), model=Scripted(numbered), target=6)
    assert all(len(row.lineage.calls) == 1 for row in done.rows)
    assert len({row.lineage.calls[0] for row in done.rows}) == 6

    @recipe("linked")
    async def linked(rows: Rows[Ask], model: Chat, run: Run) -> AsyncIterator[Answered]:
        """Link."""
        reply = await model.chat("?")
        made = Answered("?", reply.text)
        run.link(made, rows[0], reply)
        yield made

    rejects = (await run(hopeless_root, seeds(1), model=Scripted(["?", "!"]), allow_failures=True)).rejects
    assert [len(reject.calls) for reject in rejects] == [1, 1]
    [row] = (await run(linked, seeds(1), model=Scripted(["!"]))).rows
    assert len(row.lineage.parents) == len(row.lineage.calls) == 1


async def test_a_row_that_cannot_say_what_it_was_made_from_fails_its_recipes_test():
    @recipe("traceless")
    async def traceless(rows: Rows[Ask], model: Chat) -> AsyncIterator[Answered]:
        """Forget."""
        yield Answered("?", (await model.chat("?")).text)

    with pytest.raises(AssertionError, match="names neither a call nor a parent"):
        await run(traceless, seeds(1), model=Scripted(["!"]))


async def test_replies_keep_thoughts_and_finish_apart_from_the_text():
    @recipe("thinks")
    async def thinks(row: Ask, model: Chat) -> AsyncIterator[Answered]:
        """Keep the thought."""
        reply = await model.chat(row.question)
        yield Answered(f"{reply.thinking}/{reply.truncated}", reply.text)

    done = await run(thinks, seeds(1), model=Scripted([Reply("yes", "length", thinking="hm")]))
    assert done.rows[0].prompt == "hm/True"
    assert (await replay(done)).rows == done.rows


@recipe("pass-on")
async def pass_on(row: Ask, run: Run) -> AsyncIterator[Ask]:
    """Yields what it read."""
    yield row


async def test_a_row_that_is_passed_on_comes_from_its_own_seed():
    done = await run(pass_on, seeds(200))
    assert [row.question for row in done.rows] == [f"q{number}" for number in range(200)]
    for row in done.rows:
        assert row.lineage.parents == [row.lineage.seed]
    assert len({row.lineage.seed for row in done.rows}) == 200
    assert not {row.id for row in done.rows} & {row.lineage.seed for row in done.rows}


async def test_what_was_committed_after_a_look_is_found_when_it_may_be_asked_again():
    def entry(key: str) -> tuple:
        return (CALL, (key, "q", 0, "step/*", "model", "m", b"1", None, 1, 1, 0.0, 0.0, 0))

    where = folder()
    before = Journal(where)
    before.start()
    await before.put([entry("a")])
    await before.close()
    journal = Journal(where)
    journal.start()
    assert journal.find("a")
    await journal.put([entry("b")])
    journal.expect_repeats()  # the next round
    assert journal.find("b")
    await journal.close()


@recipe("in-turn")
async def in_turn(model: Chat, run: Run) -> AsyncIterator[Answered]:
    """Rows of topics that take turns."""
    topic = run.turn("topic", ["a", "b", "c", "d", "e"])
    yield Answered(topic, (await model.chat(topic)).text)


async def test_by_turns_each_option_is_used_once_before_any_is_used_again_and_the_order_is_chance():
    done = await run(in_turn, target=20, model=Scripted(numbered))
    cycles = ["".join(row.prompt for row in done.rows[at : at + 5]) for at in (0, 5, 10, 15)]
    assert [sorted(cycle) for cycle in cycles] == [list("abcde")] * 4
    assert len(set(cycles)) > 1
    assert [row.lineage.draws["topic"] for row in done.rows] == [row.prompt for row in done.rows]
    assert (await replay(done)).rows == done.rows
    other = await run(in_turn, target=20, seed=7, model=Scripted(numbered))
    assert [row.prompt for row in other.rows] != [row.prompt for row in done.rows]


async def test_turns_are_taken_by_draws_alone():
    @recipe("turn-of-a-row")
    async def turn_of_a_row(row: Ask, run: Run) -> AsyncIterator[Answered]:
        """Wrong."""
        yield Answered(run.turn("topic", ["a"]), "")

    done = await run(turn_of_a_row, seeds(1), allow_failures=True)
    assert "turns are taken by draws" in done.failures[0].error
