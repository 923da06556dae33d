"""What makes Mind's Eye that: the engine's outcome is the truth, questions hold no number, the hint is in the prompt."""

import asyncio
import json
import re
from collections import Counter

import pytest

from gristmill import BadInput, Refused, recipes
from gristmill.ops.scenes import Measure, measure_of, read
from gristmill.recipes.augmentation import minds_eye_utopia as utopia
from gristmill.recipes.augmentation.minds_eye import minds_eye
from gristmill.recipes.augmentation.minds_eye_utopia import SAME, ambiguous, compared, hint, minds_eye_utopia
from gristmill.recipes.augmentation.utopia_scenes import EQUAL, MORE, RANGES
from gristmill.testing import Scripted, replay, run
from gristmill.verify import physics
from gristmill.verify.physics import simulate
from gristmill.verify.values import Body, Motion

TASKS = [json.loads(line) for line in (recipes.DATA / "utopia_sub_tasks.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True, scope="module")
def no_worker_is_left():
    yield
    physics.close()


@pytest.fixture(scope="module")
def made():
    return asyncio.run(run(minds_eye_utopia, TASKS, engine="physics:mujoco", samples=3, pairs=4))


def again(scene: str) -> list[float]:
    measure = measure_of(scene)
    motion = simulate(scene, seconds=measure.seconds, watch=list(measure.bodies))
    return [round(read(motion, body, measure), 6) for body in measure.bodies]


def of(done, sub_task: str):
    return [row for row in done.rows if row.sub_task == sub_task]


async def test_every_one_of_39_sub_tasks_has_the_same_number_of_questions(made):
    counts = Counter(row.sub_task for row in made.rows)
    assert len(counts) == 39
    assert set(counts.values()) == {3}
    assert len({sub_task.split("/")[0] for sub_task in counts}) == 6


async def test_running_a_stored_scene_again_gives_the_stored_answer(made):
    for row in made.rows:
        assert again(row.scene) == row.measured
        more = compared(*row.measured, 0.005)
        assert row.answer == (SAME if more is None else row.choices[more])


async def test_a_question_holds_no_digit_and_no_number_of_the_scene(made):
    for row in made.rows:
        assert not re.search(r"\d", row.question), row.question
        assert all(choice in (*row.choices[:2], SAME) for choice in row.choices)
        assert row.question.lower().count(row.choices[0]) >= 2


async def test_what_is_said_of_the_bodies_holds_in_the_scene(made):
    for row in of(made, "friction/distance/friction"):
        rough = [float(value) for value in re.findall(r'friction="([\d.]+)" priority', row.scene)]
        first = row.choices[0].removeprefix("the ")
        said = re.search(rf"The {first} slides on a (rougher|smoother) surface", row.question)[1]
        assert (rough[0] > rough[1]) == (said == "rougher")
        assert row.answer == row.choices[0 if said == "smoother" else 1]
    for row in of(made, "free-fall/time/height+mass"):
        first = row.choices[0].removeprefix("the ")
        higher = f"The {first} starts from higher up" in row.question
        assert row.answer == row.choices[0 if higher else 1]


async def test_the_time_of_a_glide_is_its_way_over_its_speed(made):
    for row in [*of(made, "motion/time/speed"), *of(made, "motion/time/track")]:
        ends = [float(x) - 0.2 for x in re.findall(r'size="0.1 0.5 0.5" pos="([\d.]+)', row.scene)]
        speeds = [float(value) for value in re.search(r'qvel="([^"]+)"', row.scene)[1].split()]
        assert row.measured == pytest.approx([end / speed for end, speed in zip(ends, speeds, strict=True)], abs=0.04)


async def test_mass_does_not_matter_in_a_fall_and_matters_in_a_collision(made):
    for name in ("free-fall/time/mass", "free-fall/speed/mass", "slope/time/mass", "friction/distance/mass"):
        assert {row.answer for row in of(made, name)} == {SAME}
    assert SAME not in {row.answer for row in of(made, "collision/struck/mass")}
    fall = of(made, "free-fall/time/mass")[0].scene
    assert again(re.sub(r'mass="[\d.]+"', 'mass="7"', fall)) == again(fall)
    hit = of(made, "collision/struck/mass")[0].scene
    assert again(re.sub(r'mass="[\d.]+"', 'mass="7"', hit)) != again(hit)


async def test_gravity_changes_how_far_a_body_slides_and_mass_does_not(made):
    scene = of(made, "friction/distance/friction")[0].scene
    went = again(scene)
    moon = again(scene.replace("<option ", '<option gravity="0 0 -19.62" '))
    assert moon == pytest.approx([value / 2 for value in went], rel=0.03)
    assert again(re.sub(r'mass="[\d.]+"', 'mass="7"', scene)) == pytest.approx(went, rel=0.01)


async def test_pairs_of_text_and_scene_are_drawn_by_themselves_and_hold_no_question_of_the_benchmark(made):
    pairs = list(made.iterate("text_to_scene"))
    assert Counter(pair.sub_task for pair in pairs) == dict.fromkeys({row.sub_task for row in made.rows}, 4)
    assert all(isinstance(measure_of(pair.completion), Measure) for pair in pairs)
    assert {pair.completion for pair in pairs} & {row.scene for row in made.rows} == set()
    asked = [row.question for row in made.rows]
    assert not any(question in pair.prompt for pair in pairs for question in asked)


async def test_a_question_that_there_is_already_is_drawn_again_and_pairs_keep_clear_of_it(monkeypatch):
    # 3 objects in 6 orders, one of which has more, and one thing (mass) that is equal: 12 questions.
    monkeypatch.setattr(utopia, "OBJECTS", ("cup", "jar", "pot"))
    times = [time for number in range(2000) for time in (1.0 + number, 9000.0)]
    done = await run(minds_eye_utopia, [FALL], engine=still(*times), samples=10, pairs=5, tries=50)
    assert len({row.question for row in done.rows}) == 10 == len(done.rows)
    assert done.reject_counts["repeated"] > 0
    free = {pair.prompt.rpartition("\n\n")[2] for pair in done.iterate("text_to_scene")}
    assert 1 <= len(free) <= 2
    assert free & {row.question for row in done.rows} == set()
    assert len(list(done.iterate("text_to_scene"))) == 5
    all_of_them = await run(minds_eye_utopia, [FALL], engine=still(*times), samples=13, pairs=2, tries=50)
    assert len(all_of_them.rows) == 12  # no more than there are, and an end to trying
    assert list(all_of_them.iterate("text_to_scene")) == []


async def test_all_questions_that_are_made_by_default_differ():
    times = [time for number in range(200) for time in (1.0 + number, 9000.0)]
    done = await run(minds_eye_utopia, [FALL], engine=still(*times))
    assert len({row.question for row in done.rows}) == 100 == len(done.rows)


async def test_one_thing_that_matters_in_the_scene_is_said_to_be_the_same_and_is(made):
    attribute = {"mass": r'mass="([\d.]+)"', "friction": r'friction="([\d.]+)" priority'}
    for row in made.rows:
        family, _, varied = row.sub_task.split("/")
        may = [name for name in EQUAL[family] if name not in varied.split("+")]
        said = [name for name, words in MORE.items() if f" {words[2]} the " in row.question]
        assert len(said) == min(1, len(may)), row.question
        assert set(said) <= set(may)
        if said and said[0] in attribute and family != "collision":
            assert len(set(re.findall(attribute[said[0]], row.scene))) == 1
    assert {name for row in made.rows for name, words in MORE.items() if words[2] in row.question} == set(MORE)


async def test_a_replay_simulates_nothing(made):
    silent = Scripted(can={"Simulate"}, model="mujoco")
    silent.identity = made_identity
    assert (await replay(made, model={"engine": silent})).rows == made.rows


def made_identity():
    from gristmill.models.physics import Physics

    return Physics().identity()


def still(*values: float):
    """An engine in which the two bodies fall to the ground after the given seconds, draw by draw."""
    left = list(values)

    def script(question):
        watch = question.sampling["watch"]
        times = [0.0, left.pop(0), left.pop(0)]
        low, high = sorted(times[1:])
        bodies = {}
        for name, lands in zip(watch, times[1:], strict=True):
            heights = [1.0 if time < lands else 0.1 for time in (0.0, low, high)]
            bodies[name] = Body([(0, 0, z) for z in heights], [(0, 0, 0)] * 3)
        return Motion("ok", times=[0.0, low, high], bodies=bodies)

    return Scripted(script, can={"Simulate"})


FALL = {"family": "free-fall", "quantity": "time", "varied": ["height"], "differs": True}


async def test_a_draw_that_is_too_close_to_call_is_drawn_again_and_tries_end():
    done = await run(minds_eye_utopia, [FALL], engine=still(1.0, 1.0, 1.0, 1.01, 1.0, 2.0), samples=1)
    assert dict(done.reject_counts) == {"ambiguous": 2}
    assert len(done.rows) == 1
    none = await run(minds_eye_utopia, [FALL], engine=still(1.0, 1.0, 1.0, 1.0), samples=1, pairs=0, tries=2)
    assert dict(none.reject_counts) == {"ambiguous": 2, "no_question": 1}
    mass = FALL | {"varied": ["mass"], "differs": False}
    same = await run(minds_eye_utopia, [mass], engine=still(1.0, 1.0), samples=1)
    assert same.rows[0].answer == SAME


async def test_a_question_whose_simulation_fails_costs_no_other():
    fair, count = still(*[time for number in range(9) for time in (1.0 + number, 9000.0)])._script, iter(range(99))
    engine = Scripted(lambda q: Refused("no") if next(count) == 1 else fair(q), can={"Simulate"})
    done = await run(minds_eye_utopia, [FALL], engine=engine, samples=4, pairs=2, allow_failures=True)
    assert (len(done.rows), [failure.error for failure in done.failures]) == (3, ["no"])
    assert len(list(done.iterate("text_to_scene"))) == 2
    broken = Scripted(lambda _: Refused("no"), can={"Simulate"})
    none = await run(minds_eye_utopia, [FALL], engine=broken, samples=4, pairs=0, allow_failures=True)
    assert (none.rows, none.failed) == ([], 4)


@pytest.mark.parametrize("outcome", ["scene", "unstable", "timeout"])
async def test_a_scene_that_does_not_run_is_rejected(outcome):
    engine = Scripted(lambda _: Motion(outcome, "why"), can={"Simulate"})
    done = await run(minds_eye_utopia, [FALL], engine=engine, samples=1, pairs=0, tries=1)
    reason = "does_not_load" if outcome == "scene" else outcome
    assert dict(done.reject_counts) == {reason: 1, "no_question": 1}


async def test_a_kind_of_scene_that_there_is_not_is_said():
    with pytest.raises(BadInput, match="no scene for orbit/time"):
        await run(minds_eye_utopia, [FALL | {"family": "orbit"}], engine="physics:mujoco")


def test_words_exist_for_every_attribute_and_close_calls_are_told():
    assert set(MORE) == set(RANGES)
    assert (compared(1, 1.001, 0.005), compared(1, 2, 0.005), compared(2, 1, 0.005)) == (None, 1, 0)
    assert [ambiguous(1, other, 0.005, 3) for other in (1.001, 1.01, 1.1)] == [False, True, False]
    assert not ambiguous(0, 0, 0.005, 3)


# -- Mind's Eye


def lesson(done, sub_task="free-fall/time/height"):
    row = of(done, sub_task)[0]
    return {"question": row.question, "choices": row.choices, "answer": row.answer}, row


def knows(answer: str):
    return Scripted(lambda _: f"It is {answer}.", model="any")


async def test_the_prompt_holds_the_outcome_as_a_hint_and_without_hints_it_does_not(made):
    seed, row = lesson(made)
    writer, model = Scripted(lambda _: f"```xml\n{row.scene}\n```"), knows(row.answer)
    done = await run(minds_eye, [seed], converter=writer, engine="physics:mujoco", answerer=model)
    assert done.rows[0].hint == row.hint
    assert model.prompts[0].startswith(f"Hints: {row.hint}.\nQuestion: {row.question}")
    assert row.question in writer.prompts[0]
    assert (done.rows[0].answer, done.rows[0].correct) == (row.answer, True)
    plain, idle = knows(row.choices[0]), Scripted([])
    bare = await run(minds_eye, [seed], converter=idle, engine="physics:mujoco", answerer=plain, hints=False)
    assert "Hints" not in plain.prompts[0]
    assert (bare.rows[0].hint, idle.questions) == ("", [])


async def test_examples_hold_hints_too(made):
    seed, row = lesson(made)
    writer, model = Scripted(lambda _: row.scene), knows(row.answer)
    solved = [{**{k: getattr(one, k) for k in ("prompt", "completion", "question", "choices", "answer", "hint", "scene", "sub_task", "measured")}} for one in made.rows[:4]]  # fmt: skip
    done = await run(
        minds_eye, [seed], converter=writer, engine="physics:mujoco", answerer=model, examples=solved, few_shot=2
    )
    assert model.prompts[0].count("Hints: ") == 3
    assert model.prompts[0].count("Answer: ") == 2
    assert len(done.rows) == 1


@pytest.mark.parametrize("given", [0, 2])
async def test_fewer_examples_than_are_to_be_shown_are_an_error_before_the_first_call(given, made):
    seed, row = lesson(made)
    columns = ("prompt", "completion", "question", "choices", "answer", "hint", "scene", "sub_task", "measured")
    others = [one for one in made.rows if one.question != row.question][: given - 1]
    # The question itself is never its own example.
    solved = [{name: getattr(one, name) for name in columns} for one in [row, *others]] if given else None
    writer = Scripted([])
    with pytest.raises(BadInput, match=f"few_shot=2, but of `examples` there are {max(given - 1, 0)}"):
        await run(minds_eye, [seed], converter=writer, engine="physics:mujoco", answerer=Scripted([]), few_shot=2, examples=solved)  # fmt: skip
    assert writer.questions == []


async def test_a_scene_that_does_not_load_is_asked_for_again_and_then_skipped(made):
    seed, row = lesson(made)
    broken = row.scene.replace('size="0.1"', 'size="huge"')
    nowhere = row.scene.replace("ground 0.1;", "line 99;")
    writer = Scripted(["No.", broken, nowhere, row.scene])
    done = await run(
        minds_eye, [seed], converter=writer, engine="physics:mujoco", answerer=knows(row.answer), retries=3
    )
    assert (len(done.rows), dict(done.reject_counts)) == (1, {"no_scene": 1, "does_not_load": 1, "never": 1})
    # At temperature 0 the same question gets the same answer: each time the converter is told what was wrong.
    message = next(reject.details["message"] for reject in done.rejects if reject.reason == "does_not_load")
    assert message
    for prompt, shown, why in zip(writer.prompts[1:], ["No.", broken, nowhere], ["no <mujoco>", message, "never comes: time line 99"], strict=True):  # fmt: skip
        assert prompt.startswith(writer.prompts[0])
        assert shown in prompt
        assert why in prompt
    never = await run(minds_eye, [seed], converter=Scripted(lambda _: broken), engine="physics:mujoco", answerer=Scripted([]))  # fmt: skip
    assert (never.rows, dict(never.reject_counts)) == ([], {"does_not_load": 2})


@pytest.mark.parametrize(
    "reply",
    ["No idea.", "<mujoco/>", '<mujoco><include file="/etc/passwd"/></mujoco>',
     '<mujoco><custom><text name="measure" data="weight now"/></custom></mujoco>'],
)  # fmt: skip
async def test_a_reply_without_a_scene_that_may_be_run_is_rejected(reply, made):
    seed, _ = lesson(made)
    done = await run(minds_eye, [seed], converter=Scripted(lambda _: reply), engine="physics:mujoco", answerer=Scripted([]), retries=0)  # fmt: skip
    assert dict(done.reject_counts) == {"no_scene": 1}


@pytest.mark.parametrize("said", ["Maybe.", "the lamp or the trunk", "lamp or trunk", "lamps"])
async def test_an_answer_that_is_no_single_choice_is_rejected(said):
    seed = {"question": "Which?", "choices": ["the lamp", "the trunk", SAME]}
    done = await run(minds_eye, [seed], converter=Scripted([]), engine="physics:mujoco", answerer=Scripted(lambda _: said), hints=False)  # fmt: skip
    assert dict(done.reject_counts) == {"no_choice": 1}


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("lamp", 0),
        ("It is the Lamp.", 0),
        ("Both.", 2),
        ("They take the same time.", 2),
        ("The lamp; both fall alike.", 0),
    ],
)
async def test_an_answer_may_leave_out_the_article_and_say_both(said, choice):
    seed = {"question": "Which?", "choices": ["the lamp", "the trunk", SAME]}
    done = await run(minds_eye, [seed], converter=Scripted([]), engine="physics:mujoco", answerer=Scripted(lambda _: said), hints=False)  # fmt: skip
    assert [row.answer for row in done.rows] == [seed["choices"][choice]]


# -- reading motions


def moved(positions, velocities, times=(0.0, 1.0, 2.0)) -> Motion:
    return Motion("ok", times=list(times), bodies={"a": Body(positions, velocities)})


def test_quantities_are_read_where_they_are_waited_for():
    fall = moved([(0, 0, 4), (3, 4, 2), (6, 8, 0)], [(0, 0, 0), (0, 0, 3), (0, 0, 5)])
    assert read(fall, "a", Measure("time", "ground", 1.0, 2, ("a", "b"))) == 1.5
    assert read(fall, "a", Measure("distance", "ground", 1.0, 2, ("a", "b"))) == 7.5
    assert read(fall, "a", Measure("speed", "end", 0, 2, ("a", "b"))) == 5
    assert read(fall, "a", Measure("time", "line", 99, 2, ("a", "b"))) is None
    slide = moved([(0, 0, 0), (2, 0, 0), (3, 0, 0)], [(4, 0, 0), (2, 0, 0), (0, 0, 0)])
    assert read(slide, "a", Measure("time", "stop", 1.0, 2, ("a", "b"))) == 1.5
    assert read(slide, "a", Measure("time", "line", 1.0, 2, ("a", "b"))) == 0.5
    assert read(slide, "a", Measure("time", "touch", 1.0, 2, ("a", "b"))) == 1.0
    assert read(slide, "a", Measure("distance", "touch", 1.0, 2, ("a", "b"))) == 2.0
    # A speed is that after the collision, a tenth of a second later.
    assert read(slide, "a", Measure("speed", "touch", 1.0, 2, ("a", "b"))) == pytest.approx(1.8)
    assert read(slide, "a", Measure("time", "touch", 9.0, 2, ("a", "b"))) is None


def test_a_hint_is_in_words_and_names_what_was_struck():
    assert hint(Measure("time", "ground", 0, 1, ("cup", "jar")), 1) == "the jar takes longer than the cup"
    assert (
        hint(Measure("speed", "end", 0, 1, ("cup-struck-ball", "jar-struck-ball")), 0)
        == "the cup's ball is faster than the jar's ball"
    )
    assert hint(Measure("distance", "end", 0, 1, ("a", "b")), None) == "both get equally far"
    ball = hint(Measure("time", "ground", 0, 1, ("bowling-ball", "jar")), 0)
    assert ball == "the bowling-ball takes longer than the jar"
