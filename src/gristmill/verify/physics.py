"""Physics as ground truth: a scene runs in an engine, and what became of its bodies comes back as numbers.

Promised: a scene that a model wrote is data. It reads no file, loads no plugin, and ends: what is not on the list of
elements below is refused before the engine sees it, and the engine runs in a child process that is killed when it takes too
long. The same scene gives the same motion on the same machine.
Not promised: protection from bugs of the engine's own reading of what is allowed; the last digits on another machine.

`mujoco` takes MJCF, in three dimensions. `pymunk` takes JSON, in two (z is 0):

    {"gravity": [0, -9.81], "bodies": [{"name": "ball", "shape": "circle", "radius": 0.1, "mass": 1, "position": [0, 5],
      "velocity": [0, 0], "friction": 0.5, "elasticity": 0}, {"name": "floor", "shape": "box", "size": [20, 1], "static": true,
      "position": [0, -0.5]}]}
"""

from __future__ import annotations

import atexit
import os
import re
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import msgspec

from gristmill import packages
from gristmill.verify.values import Motion
from gristmill.verify.workers import Pool

Engine = Literal["mujoco", "pymunk"]
WORKER = Path(__file__).with_name("physics_worker.py")
LONGEST = 200_000
"""Characters of a scene."""
MOST_SECONDS = 600.0
"""Of simulated time."""
SAMPLES = 200
"""Times at which watched bodies are looked at, evenly, besides the start."""

ELEMENTS = frozenset(
    [
        "mujoco",
        "compiler",
        "option",
        "flag",
        "default",
        "worldbody",
        "body",
        "geom",
        "joint",
        "freejoint",
        "inertial",
        "site",
        "light",
        "camera",
        "asset",
        "material",
        "contact",
        "pair",
        "exclude",
        "equality",
        "weld",
        "connect",
        "tendon",
        "fixed",
        "spatial",
        "actuator",
        "motor",
        "position",
        "velocity",
        "general",
        "keyframe",
        "key",
        "custom",
        "text",
        "numeric",
        "visual",
        "global",
        "headlight",
        "map",
        "quality",
        "rgba",
        "statistic",
        "sensor",
    ]
)
"""Of MJCF: none that names a file, a plugin or another model."""
REFUSED = frozenset({"file", "dir", "meshdir", "texturedir", "assetdir", "plugin", "instance", "mesh", "hfield"})


def require(engine: Engine) -> None:
    """Raises BadInput where the engine is not installed."""
    packages.require(f"physics:{engine}", "physics", engine)


def complaint(scene: str, engine: Engine = "mujoco") -> str:
    """Why a scene is not loaded, or ""."""
    if len(scene) > LONGEST:
        return f"{len(scene)} characters; at most {LONGEST}"
    if engine == "pymunk":
        return ""
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", scene, re.IGNORECASE):
        return "a document type or an entity"
    try:
        root = ElementTree.fromstring(scene)
    except (ElementTree.ParseError, ValueError) as error:
        return f"no XML: {error}"
    if root.tag != "mujoco":
        return f"the root is <{root.tag}>, not <mujoco>"
    for element in root.iter():
        if element.tag not in ELEMENTS:
            return f"<{element.tag}> is not allowed"
        if refused := REFUSED & set(element.attrib):
            return f"<{element.tag}>: the attribute {sorted(refused)[0]} is not allowed"
    return ""


def simulate(
    scene: str, *, seconds: float, watch: list[str], engine: Engine = "mujoco", patience: float = 30.0
) -> Motion:
    """Run a scene. Blocks for `patience` at most, once a worker runs.

    A scene with a keyframe begins as its first one says: that is how bodies get a speed.

    Args:
        scene: in the engine's format.
        seconds: of simulated time.
        watch: names of bodies.
        patience: seconds by the clock.

    Raises:
        BadInput: the engine is not installed.
        ValueError: seconds that are none.
    """
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"seconds={seconds}: simulate more than 0 and at most {MOST_SECONDS:g} seconds")
    require(engine)
    if trouble := complaint(scene, engine):
        return Motion("scene", trouble)
    pool = _pools.get(engine) or _pools.setdefault(
        engine, Pool(WORKER, engine, lambda: require(engine), min(4, os.cpu_count() or 1))
    )
    question = {"engine": engine, "scene": scene, "seconds": seconds, "watch": watch, "samples": SAMPLES}
    said = pool.ask(question, patience)
    return (
        msgspec.json.decode(said, type=Motion)
        if said
        else Motion("timeout", f"not done in {patience:g} s, or it crashed")
    )


_pools: dict[str, Pool] = {}


def close() -> None:
    """End all workers; they end with the interpreter by themselves."""
    for pool in _pools.values():
        pool.close()


atexit.register(close)
