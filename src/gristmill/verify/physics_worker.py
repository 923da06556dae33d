"""The child process of `physics.py`: reads questions, a JSON object a line, and answers each with a motion, as JSON.

It is run as a script, so that it loads an engine and nothing of gristmill.
"""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

MEMORY = 4 << 30
"""Bytes of address space."""
LEAST_STEP = 1e-4
"""Seconds; a scene with smaller steps is refused."""


def mujoco(question: dict[str, Any]) -> dict[str, Any]:
    engine: Any = import_module("mujoco")
    try:
        model = engine.MjModel.from_xml_string(question["scene"])
    except (ValueError, engine.FatalError) as error:
        return {"outcome": "scene", "message": str(error)[:500]}
    step = model.opt.timestep
    if not step >= LEAST_STEP:
        return {"outcome": "scene", "message": f"timestep {step:g}; at least {LEAST_STEP:g}"}
    watched = {}
    for name in question["watch"]:
        number = engine.mj_name2id(model, engine.mjtObj.mjOBJ_BODY, name)
        if number < 0:
            return {"outcome": "scene", "message": f"there is no body {name!r}"}
        watched[name] = number
    data = engine.MjData(model)
    if model.nkey:
        engine.mj_resetDataKeyframe(model, data, 0)
    engine.mj_forward(model, data)
    motion = Motion(list(watched))
    names = [engine.mj_id2name(model, engine.mjtObj.mjOBJ_BODY, n) or "world" for n in range(model.nbody)]
    steps = max(1, round(question["seconds"] / step))
    before = b""
    bad = [int(getattr(engine.mjtWarning, f"mjWARN_BAD{what}")) for what in ("QPOS", "QVEL", "QACC", "CTRL")]
    for done in range(steps + 1):
        if done * question["samples"] // steps > (done - 1) * question["samples"] // steps or done == 0:
            motion.times.append(data.time)
            for name, number in watched.items():
                speed = velocity(engine, model, data, number)
                if not motion.saw(name, data.xpos[number].tolist(), speed):
                    return {"outcome": "unstable", "message": f"{name} has no place at {data.time:g} s"}
        if data.ncon and (touching := data.contact.geom).tobytes() != before:  # mostly they stay as they are
            before = touching.tobytes()
            for pair in touching.tolist():
                motion.met(*(names[model.geom_bodyid[geom]] for geom in pair))
        if done < steps:
            engine.mj_step(model, data)
            if any(data.warning[kind].number for kind in bad):
                return {"outcome": "unstable", "message": f"positions became no numbers at {data.time:g} s"}
    return motion.plain()


def velocity(engine: Any, model: Any, data: Any, number: int) -> list[float]:
    numpy: Any = import_module("numpy")
    found = numpy.zeros(6)
    engine.mj_objectVelocity(model, data, engine.mjtObj.mjOBJ_BODY, number, found, 0)
    return [float(value) for value in found[3:]]


def pymunk(question: dict[str, Any]) -> dict[str, Any]:
    engine: Any = import_module("pymunk")
    try:
        scene = json.loads(question["scene"])
        space = engine.Space()
        space.gravity = pair(scene.get("gravity", [0, -9.81]))
        step = float(scene.get("timestep", 0.002))
        if not step >= LEAST_STEP:
            raise ValueError(f"timestep {step:g}; at least {LEAST_STEP:g}")
        bodies = {body["name"]: made(engine, space, body) for body in scene["bodies"]}
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        return {"outcome": "scene", "message": f"{type(error).__name__}: {error}"[:500]}
    if unknown := [name for name in question["watch"] if name not in bodies]:
        return {"outcome": "scene", "message": f"there is no body {unknown[0]!r}"}
    motion = Motion(question["watch"])
    of = {id(body): name for name, body in bodies.items()}
    steps = max(1, round(question["seconds"] / step))
    for done in range(steps + 1):
        if done * question["samples"] // steps > (done - 1) * question["samples"] // steps or done == 0:
            motion.times.append(done * step)
            for name in question["watch"]:
                body = bodies[name]
                if not motion.saw(name, [*body.position, 0.0], [*body.velocity, 0.0]):
                    return {"outcome": "unstable", "message": f"{name} has no place at {done * step:g} s"}
        if done < steps:
            space.step(step)
            for name in question["watch"]:
                bodies[name].each_arbiter(lambda arbiter: motion.met(*(of[id(s.body)] for s in arbiter.shapes)))
    return motion.plain()


def pair(value: Any) -> tuple[float, float]:
    x, y = (float(number) for number in value)
    return x, y


def made(engine: Any, space: Any, scene: dict[str, Any]) -> Any:
    mass, static = float(scene.get("mass", 1.0)), bool(scene.get("static", False))
    kind = scene["shape"]
    if not static and not mass > 0:
        raise ValueError(f"{scene['name']}: mass {mass:g}")
    if kind == "circle":
        radius = float(scene["radius"])
        moment = engine.moment_for_circle(mass, 0, radius)
    elif kind == "box":
        size = pair(scene["size"])
        moment = engine.moment_for_box(mass, size)
    elif kind == "segment":
        ends = pair(scene["from"]), pair(scene["to"])
        moment = engine.moment_for_segment(mass, *ends, 0.01)
    else:
        raise ValueError(f"{scene['name']}: shape {kind!r} is none of circle, box, segment")
    body = engine.Body(body_type=engine.Body.STATIC) if static else engine.Body(mass, moment)
    body.position = pair(scene.get("position", [0, 0]))
    body.angle = float(scene.get("angle", 0.0))
    if not static:
        body.velocity = pair(scene.get("velocity", [0, 0]))
    if kind == "circle":
        shape = engine.Circle(body, radius)
    elif kind == "box":
        shape = engine.Poly.create_box(body, size)
    else:
        shape = engine.Segment(body, *ends, 0.01)
    shape.friction = float(scene.get("friction", 0.5))
    shape.elasticity = float(scene.get("elasticity", 0.0))
    space.add(body, shape)
    return body


class Motion:
    """What was seen so far."""

    def __init__(self, watch: list[str]) -> None:
        self.times: list[float] = []
        self.bodies: dict[str, Any] = {name: {"position": [], "velocity": [], "touched": []} for name in watch}

    def saw(self, name: str, position: list[float], velocity: list[float]) -> bool:
        if not all(map(math.isfinite, [*position, *velocity])):
            return False
        self.bodies[name]["position"].append([round(value, 9) for value in position])
        self.bodies[name]["velocity"].append([round(value, 9) for value in velocity])
        return True

    def met(self, one: str, other: str) -> None:
        for name, with_ in ((one, other), (other, one)):
            if name in self.bodies and with_ not in self.bodies[name]["touched"]:
                self.bodies[name]["touched"].append(with_)

    def plain(self) -> dict[str, Any]:
        return {"outcome": "ok", "times": [round(time, 9) for time in self.times], "bodies": self.bodies}


ENGINES = {"mujoco": mujoco, "pymunk": pymunk}


def main(output: TextIO) -> None:
    with suppress(ImportError, OSError, ValueError):
        resource: Any = import_module("resource")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("ready", file=output, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["engine"] == "mujoco":
                import_module("mujoco").set_mju_user_warning(lambda text: None)  # else it writes a log where it stands
            found = ENGINES[question["engine"]](question)
        except MemoryError:
            found = {"outcome": "memory"}
        print(json.dumps(found), file=output, flush=True)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an engine prints is no answer
    main(answers)
