"""Scenes that say themselves what is to be measured: what a physics engine shows becomes a comparison of two bodies.

A scene in MJCF holds, in its `<custom>` element, a text "measure":

    <custom><text name="measure" data="time ground 0.1; 3; ball brick"/></custom>

that is: a quantity (time, distance, speed), when it is taken and at which value, the seconds to simulate, and the two bodies.
"""

from __future__ import annotations

import re
from math import dist, hypot
from typing import Literal
from xml.etree import ElementTree

import msgspec

from gristmill.verify.physics import complaint
from gristmill.verify.values import Motion

Quantity = Literal["time", "distance", "speed"]
When = Literal["end", "ground", "line", "stop", "touch"]


class Measure(msgspec.Struct, frozen=True):
    """What is read of a body's motion."""

    quantity: Quantity
    """time: seconds from the start; distance: metres from where it began, on the level; speed: metres a second."""
    when: When
    """end: of the simulation; ground: its height falls to `at`; line: its way reaches `at` metres; stop: its speed falls to
    `at`; touch: its speed first changed by more than `at`, as in a collision; a speed is taken a tenth of a second after, when
    the bodies are apart again."""
    at: float
    seconds: float
    bodies: tuple[str, str]

    @property
    def text(self) -> str:
        return f"{self.quantity} {self.when} {self.at:g}; {self.seconds:g}; {' '.join(self.bodies)}"


MEASURE = re.compile(
    r"(time|distance|speed) (end|ground|line|stop|touch) (\d+(?:\.\d+)?); (\d+(?:\.\d+)?); ([\w-]+) ([\w-]+)"
)


def measure_of(scene: str) -> Measure | str:
    """What a scene says is to be measured, or why it does not."""
    if trouble := complaint(scene):
        return trouble
    for element in ElementTree.fromstring(scene).iter("text"):
        if element.get("name") == "measure":
            found = MEASURE.fullmatch(element.get("data", ""))
            if not found or found[5] == found[6]:
                return "the measure is not of the form 'time ground 0.1; 3; ball brick'"
            *what, one, other = found.groups()
            plain = dict(zip(("quantity", "when", "at", "seconds"), what, strict=True)) | {"bodies": (one, other)}
            return msgspec.convert(plain, Measure, strict=False)
    return "it does not say what is to be measured"


def read(motion: Motion, body: str, measure: Measure) -> float | None:
    """The quantity of a body, or None where what is waited for never comes."""
    found = motion.bodies[body]
    start = found.position[0]
    level = [dist(start[:2], place[:2]) for place in found.position]
    gone = [dist(start, place) for place in found.position]
    speeds = [hypot(*velocity) for velocity in found.velocity]
    when = float(len(motion.times) - 1)
    match measure.when:
        case "ground":
            crossed = _crossing([-z for _, _, z in found.position], -measure.at)
        case "line":
            crossed = _crossing(gone, measure.at)
        case "stop":
            crossed = _crossing([-speed for speed in speeds], -measure.at)
        case "touch":
            changed = next((n for n, speed in enumerate(speeds) if abs(speed - speeds[0]) > measure.at), None)
            delay = 0.1 if measure.quantity == "speed" else 0.0
            later = None if changed is None else motion.times[changed] + delay
            crossed = None if later is None else _crossing(motion.times, later)
        case _:
            crossed = when
    if crossed is None:
        return None
    series = {"time": motion.times, "distance": level, "speed": speeds}[measure.quantity]
    low = int(crossed)
    high = min(low + 1, len(series) - 1)
    return series[low] + (series[high] - series[low]) * (crossed - low)


def _crossing(values: list[float], at: float) -> float | None:
    """The place, between two samples too, at which a series first reaches a value."""
    if values[0] >= at:
        return 0.0
    for n in range(1, len(values)):
        if values[n] >= at:
            return n - 1 + (at - values[n - 1]) / (values[n] - values[n - 1])
    return None
