"""What makes OAIF OAIF: each step samples from the model that the last one made, and no pair is used again."""

from math import log

import pytest

from gristmill import Reply
from gristmill.errors import Refused
from gristmill.models.protocol import Token
from gristmill.ops.judge import odds_of_first
from gristmill.recipes.self_improvement.oaif import oaif
from gristmill.testing import Scripted, replay, run

PROMPTS = [{"prompt": "Say a."}, {"prompt": "Say b."}]
SMALL = {"steps": 3, "training": {"batch_size": 2}}


def policy(*names: str) -> Scripted:
    """Two different answers to each prompt, a short and a long one, with the model's version in them."""

    def two(name: str):
        said = {}

        def script(question):
            prompt = question.messages[0].content
            said[prompt] = said.get(prompt, 0) + 1
            return f"{name} {prompt}" if said[prompt] % 2 else f"{name} {prompt} And much more besides."

        return script

    return Scripted(two("v0"), trained=[two(name) for name in names or ("v1", "v2", "v3")])


def shown(question) -> tuple[str, str]:
    text = question.messages[0].content
    first, second = text.split("Response 1:\n")[1].split("\n\nResponse 2:\n")
    return first, second.split("\n\nWhich response")[0]


def choice(p_first: float) -> Reply:
    return Reply("1", logprobs=[Token("1", log(p_first), {"1": log(p_first), " 2": log(1 - p_first)})])


def likes_short(question):
    first, second = shown(question)
    return choice(0.9 if len(first) < len(second) else 0.2)


def by_the_instruction(question):
    first, second = shown(question)
    short = "short" in question.messages[0].content.splitlines()[0]
    return choice(0.9 if (len(first) < len(second)) == short else 0.1)


async def test_every_step_samples_from_the_model_that_the_step_before_made():
    model = policy()
    done = await run(oaif, PROMPTS, policy=model, annotator=Scripted(likes_short), **SMALL)
    assert [(row.step, row.chosen[:2]) for row in done.rows] == [(0, "v0")] * 2 + [(1, "v1")] * 2 + [(2, "v2")] * 2
    assert len({row.lineage.calls[0] for row in done.rows}) == 6


async def test_no_pair_is_used_in_two_steps():
    model = policy()
    done = await run(oaif, PROMPTS, policy=model, annotator=Scripted(likes_short), **SMALL)
    lessons = [lesson for _, course in model.courses for lesson in course.lessons]
    assert len(lessons) == len({(one.completion, one.rejected) for one in lessons}) == 6
    assert [(one.completion, one.rejected) for one in lessons] == [(row.chosen, row.rejected) for row in done.rows]
    assert {(course.method, course.training.beta, course.reference) for _, course in model.courses} == {
        ("dpo", 0.1, "")
    }


async def test_both_orders_are_asked_and_averaged():
    judge = Scripted(likes_short)
    done = await run(oaif, PROMPTS, policy=policy(), annotator=judge, steps=1, training={"batch_size": 2})
    pairs = [shown(question) for question in judge.questions]
    assert all((second, first) in pairs for first, second in pairs)
    assert {round(row.p_chosen, 6) for row in done.rows} == {0.85}
    assert all(len(row.chosen) < len(row.rejected) for row in done.rows)
    assert {(q.sampling["max_tokens"], q.sampling["temperature"]) for q in judge.questions} == {(1, 0.0)}


async def test_a_judge_that_always_likes_the_first_place_gives_a_tie_and_no_step():
    model = policy()
    done = await run(oaif, PROMPTS, policy=model, annotator=Scripted(lambda q: choice(0.95)), **SMALL)
    assert (done.rows, dict(done.reject_counts), model.courses) == ([], {"tie": 6}, [])
    assert len(model.family) == 1  # nothing was learnt, so it stays as it was


async def test_another_instruction_alone_turns_the_labels_round():
    runs = [
        await run(
            oaif,
            PROMPTS,
            policy=policy(),
            annotator=Scripted(by_the_instruction),
            instruction=wish,
            steps=1,
            training={"batch_size": 2},
        )
        for wish in ("Be short.", "Be thorough.")
    ]
    assert [[(r.chosen, r.rejected) for r in done.rows] for done in runs[:1]] == [
        [(r.rejected, r.chosen) for r in done.rows] for done in runs[1:]
    ]
    assert all(len(row.chosen) < len(row.rejected) for row in runs[0].rows)


async def test_identical_answers_ask_nobody():
    judge = Scripted([])
    done = await run(oaif, PROMPTS, policy=Scripted(lambda q: "same"), annotator=judge, **SMALL)
    assert (dict(done.reject_counts), judge.questions) == ({"identical": 6}, [])


@pytest.mark.parametrize("fails", ["policy", "annotator"])
async def test_a_prompt_whose_call_fails_costs_that_prompt_alone(fails):
    def refuse(script):
        return lambda q: Refused("too long") if "Say a." in q.messages[0].content else script(q)

    good = policy()
    models = {"policy": Scripted(refuse(good._script)) if fails == "policy" else good}
    models["annotator"] = Scripted(refuse(likes_short) if fails == "annotator" else likes_short)
    done = await run(oaif, PROMPTS, steps=1, training={"batch_size": 2}, allow_failures=True, **models)
    assert [(row.step, row.prompt) for row in done.rows] == [(0, "Say b.")]
    assert [len(course.lessons) for _, course in models["policy"].courses] == [1]
    assert (done.failed, done.exit_code) == (1, 3)
    assert "too long" in done.failures[0].error


async def test_an_annotator_that_says_neither_is_no_vote_for_any():
    mute = Scripted(lambda q: Reply("Hm", logprobs=[Token("Hm", -0.1, {"Hm": -0.1})]))
    done = await run(oaif, PROMPTS, policy=policy(), annotator=mute, **SMALL)
    assert (done.rows, set(done.reject_counts)) == ([], {"no_choice"})


async def test_prompts_come_again_only_when_all_were_used_and_batches_may_be_larger_than_the_set():
    seeds = [{"prompt": f"Say {n}."} for n in range(6)]
    model = policy("v1", "v2", "v3", "v4")
    done = await run(oaif, seeds, policy=model, annotator=Scripted(likes_short), steps=4, training={"batch_size": 3})
    prompts = [row.prompt for row in done.rows]
    assert len(set(prompts[:6])) == len(set(prompts[6:])) == 6
    large = await run(
        oaif, PROMPTS, policy=policy(), annotator=Scripted(likes_short), steps=1, training={"batch_size": 5}
    )
    assert len(large.rows) == 5


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
async def test_the_loss_may_be_dpos_ipos_or_slics(loss):
    model = policy()
    await run(
        oaif, PROMPTS, policy=model, annotator=Scripted(likes_short), steps=1, training={"loss": loss, "batch_size": 2}
    )
    assert [course.training.loss for _, course in model.courses] == [loss]


async def test_a_replay_asks_and_trains_nothing():
    done = await run(oaif, PROMPTS, policy=policy(), annotator=Scripted(likes_short), **SMALL)
    nobody = Scripted()
    again = await replay(done, model={"policy": nobody, "annotator": nobody})
    assert (again.rows, nobody.courses) == (done.rows, [])


@pytest.mark.parametrize(
    ("tokens", "odds"),
    [
        ({"1": log(0.6), "2": log(0.2), "x": log(0.2)}, 0.75),
        ({" 1": log(0.3), "1": log(0.3), "2": log(0.4)}, 0.6),
        ({"1": log(0.5)}, 1.0),
        ({"one": -0.1}, None),
    ],
)
def test_the_odds_are_those_of_the_two_answers_alone(tokens, odds):
    found = odds_of_first(Reply("1", logprobs=[Token("zzz", -9.0, tokens)]), "1", "2")
    assert found == (None if odds is None else pytest.approx(odds))
    assert odds_of_first(Reply("1"), "1", "2") is None
