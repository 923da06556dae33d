"""Scenes run in a real engine: what they show is physics, and what they hold can do no harm."""

import json
import os
from math import sqrt

import pytest

from gristmill.errors import BadInput
from gristmill.models.physics import Physics
from gristmill.models.protocol import Question
from gristmill.models.spec import parse, tool_for
from gristmill.verify import physics
from gristmill.verify.physics import SAMPLES, complaint, simulate


@pytest.fixture(autouse=True, scope="module")
def no_worker_is_left():
    yield
    physics.close()


def scene(bodies: str, more: str = "") -> str:
    floor = '<geom type="plane" size="50 50 1" friction="0.1"/>'
    return f'<mujoco><option cone="elliptic"/><worldbody>{floor}{bodies}</worldbody>{more}</mujoco>'


def ball(name: str, height: float, mass: float) -> str:
    return f'<body name="{name}" pos="0 {len(name)} {height}"><freejoint/><geom size="0.1" mass="{mass}"/></body>'


def box(name: str, friction: float, mass: float) -> str:
    return (
        f'<body name="{name}" pos="0 {len(name)} 0.05"><freejoint/>'
        f'<geom type="box" size=".1 .1 .05" mass="{mass}" friction="{friction}" priority="1"/></body>'
    )


def test_a_free_fall_takes_the_time_that_gravity_says_whatever_the_mass():
    motion = simulate(scene(ball("a", 5, 1) + ball("bb", 5, 50)), seconds=1.0, watch=["a", "bb"])
    assert (motion.outcome, len(motion.times)) == ("ok", SAMPLES + 1)
    for name in ("a", "bb"):
        for time, (_, _, z) in zip(motion.times, motion.bodies[name].position, strict=True):
            if z > 0.2:
                assert z == pytest.approx(5 - 9.81 / 2 * time**2, abs=0.02)
        assert motion.bodies[name].velocity[100][2] == pytest.approx(-9.81 * motion.times[100], rel=0.01)
    assert motion.bodies["a"].position[:180] == [
        (x, y - 1, z) for x, y, z in motion.bodies["bb"].position[:180]
    ]  # the same to the last digit


def test_a_rougher_body_slides_less_far_and_mass_does_not_matter():
    start = '<keyframe><key qvel="3 0 0 0 0 0 3 0 0 0 0 0 3 0 0 0 0 0"/></keyframe>'
    bodies = box("a", 0.3, 1) + box("bb", 0.6, 1) + box("ccc", 0.3, 20)
    motion = simulate(scene(bodies, start), seconds=2.0, watch=["a", "bb", "ccc"])
    went = {name: motion.bodies[name].position[-1][0] for name in motion.bodies}
    assert went["a"] == pytest.approx(9 / (2 * 0.3 * 9.81), rel=0.02)
    assert went["bb"] == pytest.approx(9 / (2 * 0.6 * 9.81), rel=0.02)
    assert went["ccc"] == pytest.approx(went["a"], rel=0.01)


def test_contacts_are_told_in_the_order_of_their_beginning():
    motion = simulate(scene(ball("a", 1, 1)), seconds=1.0, watch=["a"])
    assert motion.bodies["a"].touched == ["world"]
    assert simulate(scene(ball("a", 9, 1)), seconds=0.5, watch=["a"]).bodies["a"].touched == []


def test_the_same_scene_moves_the_same_way():
    text = scene(ball("a", 1, 1) + box("bb", 0.3, 1))
    assert simulate(text, seconds=1.0, watch=["a", "bb"]) == simulate(text, seconds=1.0, watch=["a", "bb"])


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><mujoco><worldbody><body name="&b;"/></worldbody></mujoco>'
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no XML"),
        ("<mujoco>", "no XML"),
        ("<model/>", "the root is <model>"),
        (BOMB, "document type"),
        ('<mujoco><include file="/etc/passwd"/></mujoco>', "<include> is not allowed"),
        ('<mujoco><asset><mesh file="/etc/passwd"/></asset></mujoco>', "<mesh> is not allowed"),
        ('<mujoco><asset><texture name="t" type="2d" file="/etc/x.png"/></asset></mujoco>', "<texture> is not allowed"),
        ('<mujoco><asset><material name="m" file="x"/></asset></mujoco>', "attribute file is not allowed"),
        ('<mujoco><compiler meshdir="/etc"/></mujoco>', "attribute meshdir is not allowed"),
        ('<mujoco><extension><plugin plugin="x"/></extension></mujoco>', "<extension> is not allowed"),
        ('<mujoco><worldbody><attach model="x"/></worldbody></mujoco>', "<attach> is not allowed"),
        ('<mujoco><size memory="1T"/></mujoco>', "<size> is not allowed"),
        (f"<mujoco><!-- {'x' * 200_001} --></mujoco>", "at most"),
    ],
)
def test_a_scene_that_holds_what_it_must_not_never_reaches_the_engine(text, why, monkeypatch):
    monkeypatch.setattr(physics, "Pool", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(physics, "_pools", {})
    motion = simulate(text, seconds=1.0, watch=[])
    assert motion.outcome == "scene"
    assert why in motion.message == complaint(text)


@pytest.mark.parametrize(
    ("text", "watch", "why"),
    [
        (scene('<body name="a"><freejoint/></body>'), ["a"], "mass and inertia"),
        (scene('<body name="a"><geom size="big"/></body>'), ["a"], "bad format"),
        (scene(ball("a", 1, 1)), ["b"], "there is no body 'b'"),
        ('<mujoco><option timestep="1e-9"/><worldbody/></mujoco>', [], "timestep"),
    ],
)
def test_a_scene_that_the_engine_cannot_load_is_said(text, watch, why):
    motion = simulate(text, seconds=1.0, watch=watch)
    assert (motion.outcome, why in motion.message) == ("scene", True), motion.message


def test_what_flies_apart_is_unstable_and_what_never_ends_is_a_timeout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = '<keyframe><key qvel="1e30 0 0 0 0 0"/></keyframe>'
    assert simulate(scene(ball("a", 1, 1), start), seconds=1.0, watch=["a"]).outcome == "unstable"
    many = "".join(ball("a" * n, 1 + n, 1) for n in range(1, 200))
    assert simulate(scene(many), seconds=600.0, watch=["a"], patience=1.0).outcome == "timeout"
    assert simulate(scene(ball("a", 1, 1)), seconds=0.1, watch=["a"]).ok  # with a worker of its own
    assert os.listdir(tmp_path) == []  # the engine's log of warnings
    with pytest.raises(ValueError, match="more than 0"):
        simulate(scene(""), seconds=0, watch=[])


FLAT = {"bodies": [{"name": "ball", "shape": "circle", "radius": 0.1, "mass": 2, "position": [0, 5]}, {"name": "floor", "shape": "box", "size": [20, 1], "static": True, "position": [0, -0.5]}]}  # fmt: skip


def test_the_light_engine_falls_as_fast_and_meets_the_floor():
    motion = simulate(json.dumps(FLAT), seconds=1.2, watch=["ball"], engine="pymunk")
    landed = next(t for t, (_, y, _) in zip(motion.times, motion.bodies["ball"].position, strict=True) if y < 0.11)
    assert landed == pytest.approx(sqrt(2 * 4.9 / 9.81), abs=0.02)
    assert motion.bodies["ball"].touched == ["floor"]
    assert {z for _, _, z in motion.bodies["ball"].position} == {0.0}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"bodies": 3}', '{"bodies": [{"name": "a", "shape": "cone"}]}', "[" * 5000,
     '{"bodies": [{"name": "a", "shape": "circle", "radius": 1, "mass": 0}]}',
     '{"timestep": 1e-12, "bodies": []}'],
)  # fmt: skip
def test_a_flat_scene_that_is_none_is_said(text):
    assert simulate(text, seconds=1.0, watch=[], engine="pymunk").outcome == "scene"


async def test_engines_are_backends_that_play_roles_which_simulate():
    assert tool_for(frozenset({"Simulate"})) == "physics:mujoco"
    backend = parse("physics:pymunk,concurrency=3,timeout=7").open()
    assert (backend.can, backend.model, backend.most) == ({"Simulate"}, "pymunk", 3)
    await backend.start()
    asked = Question("simulate", prompt=json.dumps(FLAT), sampling={"seconds": 0.1, "watch": ["ball"]})
    [motion] = (await backend.answer(asked, 1)).samples
    assert motion.ok
    assert parse("physics:").open().identity()["version"]


async def test_an_engine_that_is_not_installed_is_named_before_anything_runs(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"physics:mujoco needs mujoco, which is not installed: pip install 'gristmill\[physics\]'"
    ):
        await Physics().start()
