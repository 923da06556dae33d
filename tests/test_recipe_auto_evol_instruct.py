"""Auto Evol-Instruct: the method that fails least on the development set is the next one, and makes the rows."""

import re

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.recipes.distillation.auto_evol_instruct import FINAL, auto_evol_instruct, check_answer
from gristmill.testing import Scripted, replay, run, text_of

SEEDS = [{"instruction": f"task {number}"} for number in range(20)]


def kind(question):
    text = text_of(question)
    if "#Feedback#:" in text:
        return "optimize"
    if "For each case write one line" in text:
        return "analyse"
    return "evolve" if "#Instruction#:\n" in text else "answer"


def method_of(question):
    """The name of the method that a prompt carries: "e0", or what the script's methods call themselves."""
    found = re.findall(r"METHOD (\S+)", text_of(question))
    return found[-1] if found else "e0"


def given(question):
    return text_of(question).rpartition("#Instruction#:\n")[2]


class Model(Scripted):
    """Evolves "x" to "x [m]" by method m; candidates of step s are called s.1, s.2, ...; `rates` says on how many of ten
    instructions each fails."""

    def __init__(self, rates, **options):
        self.rates = rates
        self.step = 0
        self.candidate = 0
        super().__init__(self.say, **options)

    def say(self, question):
        text = text_of(question)
        match kind(question):
            case "analyse":
                self.step += 1
                self.candidate = 0
                return f"CASE 1: failed, because of feedback {self.step}"
            case "optimize":
                self.candidate += 1
                return f"#Optimized Prompt#:\nMETHOD {self.step}.{self.candidate} ends with {FINAL}"
            case "evolve":
                return f"#Plan#: none\n{FINAL}:\n{given(question)} [{method_of(question)}]"
        name = re.search(r"\[(\S+)\]$", text)[1]
        number = int(re.search(r"\d+", text)[0])
        return "Sure, what would you like?" if number % 10 < self.rates.get(name, 0) else f"Here it is: {text}."

    def asked(self, what):
        return [question for question in self.questions if kind(question) == what]


def few(model, **options):
    dev = [{"instruction": f"dev {number}"} for number in range(10)]
    return {"evolver": model, "dev": dev, "steps": 2, "candidates_per_step": 3, "mini_batch": 2, **options}


async def logged(done):
    return list(done.iterate("evolving_method"))


@pytest.mark.proof("auto-evol-instruct", 1)
async def test_the_candidate_with_the_lowest_failure_rate_is_the_next_steps_method():
    model = Model({"1.1": 4, "1.2": 1, "1.3": 3, "2.1": 2, "2.2": 2, "2.3": 5})
    done = await run(auto_evol_instruct, SEEDS, **few(model))
    log = await logged(done)
    rates = {(row.step, row.candidate): row.failure_rate for row in log}
    assert [round(rates[1, number], 9) for number in (1, 2, 3)] == [0.4, 0.1, 0.3]
    trials = [method_of(q) for q in model.asked("evolve") if given(q).startswith("task")]
    assert trials[:4] == ["e0", "e0", "1.2", "1.2"]
    assert "METHOD 1.2 " in text_of(model.asked("optimize")[1])


@pytest.mark.proof("auto-evol-instruct", 2)
async def test_a_steps_optimizer_sees_the_method_before_it_and_its_feedback_and_what_it_evolved():
    model = Model({"1.1": 1})
    await run(auto_evol_instruct, SEEDS, **few(model))
    first, second = model.asked("optimize")[0], model.asked("optimize")[1]
    assert "Step 1. Look closely" in text_of(first)
    assert "feedback 1" in text_of(first)
    assert "feedback 2" in text_of(second)
    assert "feedback 1" not in text_of(second)
    assert "Step 1. Look closely" not in text_of(second)
    analyses = [text_of(q) for q in model.asked("analyse")]
    assert analyses[0].count("CASE") >= 2
    assert re.search(r"Stage 0: task (\d+)\nStage 1: task \1 \[e0\]", analyses[0])
    assert re.search(r"Stage 0: task (\d+)\nStage 1: task \1 \[1\.2\]", analyses[1])
    assert len({text_of(q).partition("#Instruction#")[0] for q in model.asked("evolve")}) > 3


@pytest.mark.proof("auto-evol-instruct", 3)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sure, what would you like?", "unqualified"),
        ("Understood! Shall I begin?", "stagnant"),
        ("Thank you for the task. What is next?", "stagnant"),
        ("To do this, please provide the table.", "lost_information"),
        ("Sure, here is the poem you asked for.", None),
        ("Understood. The result is 4.", None),
        ("Is it a question? It is.", None),
        ("Surely you are joking?", None),
    ],
)
def test_an_answer_that_asks_back_or_lost_something_counts_as_a_failure(answer, reason):
    try:
        check_answer(answer)
        found = None
    except Bad as bad:
        found = bad.reason
    assert found == reason


@pytest.mark.proof("auto-evol-instruct", 4)
async def test_the_log_has_every_candidates_rate_and_the_rows_are_made_with_the_winning_method():
    model = Model({"1.1": 3, "1.2": 1, "1.3": 3, "2.1": 2, "2.2": 4, "2.3": 2})
    done = await run(auto_evol_instruct, SEEDS, **few(model))
    log = await logged(done)
    assert [(row.step, row.candidate) for row in log] == [(s, c) for s in (1, 2) for c in (1, 2, 3)]
    assert [round(row.failure_rate, 9) for row in log] == [0.3, 0.1, 0.3, 0.2, 0.4, 0.2]
    assert [(row.step, row.candidate) for row in log if row.chosen] == [(1, 2), (2, 1)]
    [final] = [row for row in log if row.final]
    assert (final.step, final.candidate) == (1, 2)  # step 2 found none as good
    assert {row.instruction[-5:] for row in done.rows} == {"[1.2]"}
    assert all(final.id in row.lineage.parents for row in done.rows)
    assert {row.instruction.split(" [")[0] for row in done.rows} <= {seed["instruction"] for seed in SEEDS}


async def test_of_equal_methods_the_latest_makes_the_rows():
    done = await run(auto_evol_instruct, SEEDS, **few(Model({})))
    [final] = [row for row in await logged(done) if row.final]
    assert (final.step, final.candidate) == (2, 1)


async def test_an_evolved_seed_whose_answer_shows_a_failure_gives_no_row():
    done = await run(auto_evol_instruct, SEEDS, **few(Model({"e0": 2}), steps=0))
    assert sorted(row.instruction for row in done.rows) == sorted(f"task {n} [e0]" for n in range(20) if n % 10 >= 2)
    assert [(r.reason, r.details["of"]) for r in done.rejects] == [("unqualified", "seed")] * 4
    assert done.rejects[0].details["answer"] == "Sure, what would you like?"
    assert await logged(done) == []


async def test_further_rounds_evolve_the_rows_of_the_round_before():
    done = await run(auto_evol_instruct, SEEDS[:3], **few(Model({}), steps=0, final_rounds=2))
    assert [row.round for row in done.rows] == [1] * 3 + [2] * 3
    assert done.rows[3].instruction == f"{done.rows[0].instruction} [e0]"
    assert done.rows[3].parent == done.rows[0].id


async def test_replies_without_their_final_section_are_put_aside_and_count_as_failures():
    class Broken(Model):
        def say(self, question):
            if kind(question) == "evolve" and method_of(question) == "1.1":
                return "#Plan#: I forgot the rest"
            if kind(question) == "optimize" and self.candidate == 1:
                self.candidate += 1
                return "#Optimized Prompt#:\nMETHOD 1.2 says nothing of its end"
            if kind(question) == "optimize" and self.candidate == 2:
                self.candidate += 1
                return Reply("#Optimized Prompt#:\nMETHOD 1.3 is cut", finish="length")
            return super().say(question)

    done = await run(auto_evol_instruct, SEEDS, **few(Broken({}), steps=1))
    log = await logged(done)
    assert [(row.step, row.candidate, row.failure_rate) for row in log] == [(1, 1, 1.0)]
    reasons = [(r.reason, r.details["of"]) for r in done.rejects]
    assert reasons.count(("missing_section", "dev")) == 10
    assert ("no_final_section", "method") in reasons
    assert ("truncated", "method") in reasons
    assert reasons.count(("missing_section", "seed")) == 20  # the only candidate is chosen, however bad


async def test_a_step_without_a_candidate_keeps_the_method():
    class Silent(Model):
        def say(self, question):
            return "I would rather not." if kind(question) == "optimize" else super().say(question)

    done = await run(auto_evol_instruct, SEEDS, **few(Silent({})))
    assert {row.instruction[-4:] for row in done.rows} == {"[e0]"}
    assert await logged(done) == []


async def test_an_analysis_that_was_cut_changes_nothing():
    class Cut(Model):
        def say(self, question):
            return Reply("CASE 1: fai", finish="length") if kind(question) == "analyse" else super().say(question)

    done = await run(auto_evol_instruct, SEEDS, **few(Cut({})))
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("truncated", {"of": "analysis", "step": step}) for step in (1, 2)
    ]
    assert {row.instruction[-4:] for row in done.rows} == {"[e0]"}


async def test_a_call_of_a_trial_that_is_refused_is_no_failure_of_the_method():
    class Refusing(Model):
        def say(self, question):
            if kind(question) == "evolve" and method_of(question) == "1.1" and given(question) in ("dev 0", "dev 1"):
                raise Refused("no")
            return super().say(question)

    done = await run(auto_evol_instruct, SEEDS, **few(Refusing({"1.1": 4}), steps=1), allow_failures=True)
    assert next(iter(await logged(done))).failure_rate == 2 / 8


async def test_the_development_set_is_drawn_from_the_seeds_and_kept_out_of_the_optimization():
    model = Model({})
    options = {"steps": 1, "candidates_per_step": 1, "mini_batch": 10, "dev_size": 10}
    done = await run(auto_evol_instruct, SEEDS, evolver=model, **options)
    looked_at = [given(q) for q in model.asked("evolve") if method_of(q) == "e0"]
    tried = [given(q) for q in model.asked("evolve") if method_of(q) == "1.1"][:10]
    assert sorted(looked_at + tried) == sorted(seed["instruction"] for seed in SEEDS)
    assert len(done.rows) == 20
    shipped = await run(auto_evol_instruct, SEEDS, evolver=Model({}), **{**options, "dev_size": 50})
    assert len(shipped.rows) == 20  # at most half of the seeds are held back


async def test_sampling_is_greedy_for_evolutions_and_warm_for_the_optimizer_which_may_be_another_model():
    model, other = Model({}), Model({}, model="optimizer")
    await run(auto_evol_instruct, SEEDS, **few(model, optimizer=other, steps=1))
    assert {kind(q) for q in other.questions} == {"analyse", "optimize"}
    assert {kind(q) for q in model.questions} == {"evolve", "answer"}
    assert {q.sampling["temperature"] for q in model.questions} == {0.0}
    assert {(q.sampling["temperature"], q.sampling["top_p"]) for q in other.questions} == {(0.6, 0.95)}


async def test_a_replay_asks_nothing_and_gives_the_same():
    done = await run(auto_evol_instruct, SEEDS, **few(Model({"1.1": 2})))
    again = await replay(done)
    assert again.rows == done.rows
    assert await logged(again) == await logged(done)


async def test_seeds_that_cannot_do_are_refused():
    for seeds, options, message in [
        ([], {}, "no rows in it"),
        (SEEDS[:1], {"dev": None}, "a single seed leaves none"),
        (SEEDS, {"dev": []}, "no rows in it"),
    ]:
        given_options = {name: value for name, value in few(Model({}), **options).items() if value is not None}
        with pytest.raises(BadInput, match=message):
            await run(auto_evol_instruct, seeds, **given_options)


async def test_every_further_round_of_a_trajectory_evolves_the_stage_before():
    model = Model({})
    await run(auto_evol_instruct, SEEDS, **few(model, steps=1, mini_batch=1, trajectory_rounds=3))
    [analysis] = map(text_of, model.asked("analyse"))
    assert re.search(
        r"Stage 1: (task \d+) \[e0\]\nStage 2: \1 \[e0\] \[e0\]\nStage 3: \1 \[e0\] \[e0\] \[e0\]", analysis
    )
    assert "Stage 4" not in analysis


async def test_mini_batches_are_drawn_from_so_many_seeds_at_most():
    model = Model({})
    await run(
        auto_evol_instruct, SEEDS, **few(model, steps=8, mini_batch=1, candidates_per_step=1, optimization_rows=2)
    )
    looked_at = [re.search(r"Stage 0: (.+)", text_of(q))[1] for q in model.asked("analyse")]
    assert len(looked_at) == 8
    assert len(set(looked_at)) == 2  # by chance of 20: less than once in a million


async def test_a_step_whose_every_evolution_is_refused_analyses_nothing_and_keeps_the_method():
    class Refusing(Model):
        def say(self, question):
            if kind(question) == "evolve" and not self.asked("evolve")[40:]:
                raise Refused("no")
            return super().say(question)

    model = Refusing({})
    done = await run(auto_evol_instruct, SEEDS, **few(model, steps=1), allow_failures=True)
    assert model.asked("analyse") == model.asked("optimize") == []
    assert await logged(done) == []


async def test_what_a_user_sets_reaches_the_calls():
    model = Model({})
    options = {"added_words": "5 to 7", "max_tokens_per_call": 88, "evol_temperature": 0.3}
    await run(
        auto_evol_instruct, SEEDS, **few(model, steps=1, optimizer_temperature=0.9, optimizer_top_p=0.5, **options)
    )
    assert "5 to 7 words longer" in text_of(model.asked("evolve")[0])
    assert {q.sampling["max_tokens"] for q in model.questions} == {88}
    assert {q.sampling["temperature"] for q in [*model.asked("evolve"), *model.asked("answer")]} == {0.3}
    thinking = [*model.asked("analyse"), *model.asked("optimize")]
    assert {(q.sampling["temperature"], q.sampling["top_p"]) for q in thinking} == {(0.9, 0.5)}


async def test_an_answer_that_is_empty_or_cut_gives_no_row_and_an_input_belongs_to_its_instruction():
    class Mute(Model):
        def say(self, question):
            if kind(question) == "answer":
                return "" if "task 0" in text_of(question) else Reply("Here", finish="length")
            return super().say(question)

    model = Mute({})
    done = await run(auto_evol_instruct, [{"instruction": "task 0", "input": "x = 1"}, SEEDS[1]], **few(model, steps=0))
    assert done.rows == []
    assert [(r.reason, r.details["answer"]) for r in done.rejects] == [("empty", ""), ("truncated", "Here")]
    assert given(model.asked("evolve")[0]) == "task 0\nx = 1"
