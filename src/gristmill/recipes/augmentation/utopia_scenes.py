"""The six kinds of scene of UTOPIA (see `minds_eye_utopia.py`): what is drawn, how it stands in MJCF, and how it is asked.

Two bodies, each in a lane of its own, so that they meet only what they are meant to. Numbers stay in the scene: the
question has words of more and less alone.
"""

from __future__ import annotations

from math import cos, radians, sin
from random import Random

import msgspec

from gristmill.ops.scenes import Measure

OBJECTS = (
    "apple", "brick", "barrel", "basket", "book", "boot", "bottle", "box", "bucket", "cup", "drum", "helmet", "jar", "kettle",
    "lamp", "melon", "pot", "pumpkin", "puck", "stone", "suitcase", "toolbox", "trunk", "vase",
)  # fmt: skip

MORE = {
    "mass": ("is heavier than", "is lighter than", "weighs as much as"),
    "speed": ("starts faster than", "starts more slowly than", "starts as fast as"),
    "friction": ("slides on a rougher surface than", "slides on a smoother surface than", "slides on the same surface as"),
    "height": ("starts from higher up than", "starts from lower down than", "starts from the same height as"),
    "angle": ("is on a steeper slope than", "is on a gentler slope than", "is on as steep a slope as"),
    "track": ("has a longer way to go than", "has a shorter way to go than", "has as long a way to go as"),
    "struck": ("hits a heavier ball than", "hits a lighter ball than", "hits a ball that weighs the same as that of"),
}  # fmt: skip
"""How an attribute of the first body relates to the second's: greater, less, equal."""

STORY = {
    "motion": "Two bodies, the {a} and the {b}, glide over ice without friction.",
    "friction": "Two bodies, the {a} and the {b}, are pushed along the floor and slide until they stop.",
    "free-fall": "Two bodies, the {a} and the {b}, are dropped from rest. Air does not slow them.",
    "projection": "Two bodies, the {a} and the {b}, are thrown horizontally from a tower. Air does not slow them.",
    "collision": "Two bodies, the {a} and the {b}, glide without friction, and each runs into a ball at rest.",
    "slope": "Two bodies, the {a} and the {b}, are let go at the top of a slope and slide down.",
}
ASK = {
    "motion/distance": "Neither has reached the end of its way yet. Which of them is farther from its start?",
    "motion/time": "Which of them takes longer to reach the end of its way?",
    "friction/distance": "Which of them slides farther before it stops?",
    "friction/time": "Which of them takes longer to stop?",
    "free-fall/time": "Which of them takes longer to reach the ground?",
    "free-fall/speed": "Which of them is faster when it reaches the ground?",
    "projection/time": "Which of them takes longer to reach the ground?",
    "projection/distance": "Which of them lands farther from where it was thrown?",
    "projection/speed": "Which of them is faster when it reaches the ground?",
    "collision/struck": "Which of them strikes the ball that is faster afterwards: that of the {a} or that of the {b}?",
    "collision/striker": "Which of them is faster itself after the collision?",
    "slope/time": "Which of them takes longer to reach the end of its slope?",
    "slope/speed": "Which of them is faster at the end of its slope?",
}
RANGES = {
    "mass": (0.5, 8.0), "speed": (1.0, 4.0), "friction": (0.15, 0.6), "height": (2.0, 9.0), "angle": (38.0, 60.0),
    "track": (2.0, 5.0), "struck": (0.5, 8.0),
}  # fmt: skip
"""What is drawn, in kilograms, metres, metres a second, degrees."""
EQUAL = {
    "motion": ("mass", "speed", "track"),
    "friction": ("mass", "speed", "friction"),
    "free-fall": ("mass", "height"),
    "projection": ("mass", "speed", "height"),
    "collision": ("mass", "speed", "struck"),
    "slope": ("mass", "angle", "friction"),
}
"""What plays a part in a kind of scene, or might be thought to: of what does not vary, one is said to be equal."""
APART = 1.3
"""Least ratio of two values of which one is said to be greater."""


class Setting(msgspec.Struct):
    """Values of an attribute for the first and the second body."""

    mass: tuple[float, float]
    speed: tuple[float, float]
    friction: tuple[float, float]
    height: tuple[float, float]
    angle: tuple[float, float]
    track: tuple[float, float]
    struck: tuple[float, float]


def draw(chance: Random, varied: list[str]) -> tuple[Setting, dict[str, int]]:
    """Values of all attributes, equal for both bodies but those that vary; and of these which body has more (0 or 1)."""
    values: dict[str, tuple[float, float]] = {}
    greater: dict[str, int] = {}
    for name, (low, high) in RANGES.items():
        one = round(chance.uniform(low, high), 3)
        values[name] = (one, one)
        if name in varied:
            low_one = round(chance.uniform(low, high / APART), 3)
            more = round(chance.uniform(low_one * APART, high), 3)
            greater[name] = chance.randrange(2)
            values[name] = (more, low_one) if greater[name] == 0 else (low_one, more)
    return Setting(**values), greater


def question(family: str, quantity: str, a: str, b: str, varied: dict[str, int], equal: str = "") -> str:
    """The question in words. `equal`: an attribute that is said to be so; all others that do not vary are in one breath."""
    said = [f"The {a} {MORE[name][which]} the {b}." for name, which in varied.items()]
    said += [f"The {a} {MORE[equal][2]} the {b}."] if equal else []
    story = STORY[family].format(a=a, b=b)
    asked = ASK[f"{family}/{quantity}"].format(a=a, b=b)
    return f"{story} {' '.join(said)} All else is equal. {asked}"


def scene(family: str, quantity: str, names: tuple[str, str], setting: Setting) -> tuple[str, Measure]:
    """The scene as MJCF, with what is measured in it."""
    bodies, start = "", []
    for lane, name in enumerate(names):
        made, velocity = LANES[family](name, lane, setting)
        bodies += made
        start += velocity
    measure = measures(family, quantity, names, setting)
    return (
        '<mujoco><compiler angle="degree"/><option cone="elliptic" timestep="0.002"/>'
        f'<custom><text name="measure" data="{measure.text}"/></custom>'
        f"<worldbody>{GROUND if family == 'friction' else ''}{bodies}</worldbody>"
        f'<keyframe><key qvel="{" ".join(f"{value:g}" for value in start)}"/></keyframe></mujoco>'
    ), measure


STRUCK = "-struck-ball"
"""Ends the name of a ball that the body of that name runs into, and no other."""
GROUND = '<geom type="plane" size="60 60 1" friction="0.01"/>'


def measures(family: str, quantity: str, names: tuple[str, str], setting: Setting) -> Measure:
    match family, quantity:
        case "motion", "distance":
            return Measure("distance", "end", 0, 0.4, names)
        case "motion", _:
            return Measure("time", "touch", 0.05, 6, names)
        case "friction", "distance":
            return Measure("distance", "end", 0, 4, names)
        case "friction", _:
            return Measure("time", "stop", 0.02, 4, names)
        case "free-fall" | "projection", "distance":
            return Measure("distance", "ground", 0.1, 2, names)
        case "free-fall" | "projection", _:
            return Measure("time" if quantity == "time" else "speed", "ground", 0.1, 2, names)
        case "collision", "struck":
            return Measure("speed", "touch", 0.05, 4, (names[0] + STRUCK, names[1] + STRUCK))
        case "collision", _:
            return Measure("speed", "touch", 0.05, 4, names)
        case _:
            return Measure("time" if quantity == "time" else "speed", "line", min(setting.track), 6, names)


def motion(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    # A wall stands at the end of its way.
    body = (
        f'<geom type="box" size="0.1 0.5 0.5" pos="{setting.track[lane] + 0.2:g} {2 * lane} 0.5"/>'
        f'<body name="{name}" pos="0 {2 * lane} 0.1"><joint type="slide" axis="1 0 0"/>'
        f'<geom size="0.1" mass="{setting.mass[lane]:g}"/></body>'
    )
    return body, [setting.speed[lane]]


def friction(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    body = (
        f'<body name="{name}" pos="0 {2 * lane} 0.05"><freejoint/><geom type="box" size="0.1 0.1 0.05" '
        f'mass="{setting.mass[lane]:g}" friction="{setting.friction[lane]:g}" priority="1"/></body>'
    )
    return body, [setting.speed[lane], 0, 0, 0, 0, 0]


def falling(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    body = (
        f'<body name="{name}" pos="0 {2 * lane} {setting.height[lane] + 0.1:g}"><freejoint/>'
        f'<geom size="0.1" mass="{setting.mass[lane]:g}"/></body>'
    )
    return body, [0, 0, 0, 0, 0, 0]


def thrown(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    body, velocity = falling(name, lane, setting)
    return body, [setting.speed[lane], *velocity[1:]]


def collision(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    rail = '<joint type="slide" axis="1 0 0"/>'
    body = (
        f'<body name="{name}" pos="0 {2 * lane} 0.1">{rail}<geom size="0.1" mass="{setting.mass[lane]:g}"/></body>'
        f'<body name="{name}{STRUCK}" pos="1 {2 * lane} 0.1">{rail}<geom size="0.1" mass="{setting.struck[lane]:g}"/></body>'
    )
    return body, [setting.speed[lane], 0]


def slope(name: str, lane: int, setting: Setting) -> tuple[str, list[float]]:
    angle = setting.angle[lane]
    down, up = (cos(radians(angle)), -sin(radians(angle))), (sin(radians(angle)), cos(radians(angle)))
    half, y = 4.0, 2 * lane
    ramp = (0.0, 10.0)
    top = tuple(ramp[n] - down[n] * (half - 0.3) + up[n] * 0.1 for n in range(2))
    body = (
        f'<geom type="box" size="{half:g} 0.5 0.05" pos="{ramp[0]:g} {y} {ramp[1]:g}" euler="0 {angle:g} 0" friction="0.01"/>'
        f'<body name="{name}" pos="{top[0]:.6f} {y} {top[1]:.6f}" euler="0 {angle:g} 0"><freejoint/><geom type="box" '
        f'size="0.1 0.1 0.05" mass="{setting.mass[lane]:g}" friction="{setting.friction[lane]:g}" priority="1"/></body>'
    )
    return body, [0, 0, 0, 0, 0, 0]


LANES = {
    "motion": motion,
    "friction": friction,
    "free-fall": falling,
    "projection": thrown,
    "collision": collision,
    "slope": slope,
}
