"""What people are asked, and what they say. Plain values; a model or a script may answer in a person's place.

A task is one question about one thing, small enough to be answered in one go. `context` is shown above what is judged
(the prompt of two answers, the text of a question), `guidelines` say how to judge. Both are plain text.
"""

from __future__ import annotations

import msgspec


class Labelling(msgspec.Struct, frozen=True, tag="label", kw_only=True, omit_defaults=True):
    """Which of the labels fits? Answered by `Note.labels`: one, or with `several` any number of them."""

    text: str
    options: list[str]
    several: bool = False
    context: str = ""
    guidelines: str = ""


class Writing(msgspec.Struct, frozen=True, tag="write", kw_only=True, omit_defaults=True):
    """Write a text. Answered by `Note.text`. `most`: characters at most, 0 for as many as one likes."""

    context: str = ""
    guidelines: str = ""
    most: int = 0


class Editing(msgspec.Struct, frozen=True, tag="edit", kw_only=True, omit_defaults=True):
    """Make a text better, or leave it. Answered by `Note.text`, the whole text as it should be."""

    text: str
    context: str = ""
    guidelines: str = ""


class Ranking(msgspec.Struct, frozen=True, tag="rank", kw_only=True, omit_defaults=True):
    """Put texts in order. Answered by `Note.order`: their numbers, best first, each once."""

    items: list[str]
    context: str = ""
    guidelines: str = ""


class Comparing(msgspec.Struct, frozen=True, tag="compare", kw_only=True, omit_defaults=True):
    """Which of two texts is better, and by how much? Answered by `Note.preference`: from -strength (the first is much
    better) to strength (the second); 0, a tie, only with `ties`."""

    first: str
    second: str
    strength: int = 1
    ties: bool = True
    context: str = ""
    guidelines: str = ""


class Rating(msgspec.Struct, frozen=True, tag="rate", kw_only=True, omit_defaults=True):
    """Rate a text in several aspects. Answered by `Note.ratings`: a whole number for each, `low` to `high`."""

    text: str
    aspects: dict[str, str]
    """Name of each aspect, and what it asks."""
    low: int = 0
    high: int = 4
    context: str = ""
    guidelines: str = ""


class Steps(msgspec.Struct, frozen=True, tag="steps", kw_only=True, omit_defaults=True):
    """Judge the steps of a solution one by one. Answered by `Note.labels`: one of `options` a step, in order; with
    `until` it may end after the first step that is called so."""

    steps: list[str]
    options: list[str]
    until: str = ""
    context: str = ""
    guidelines: str = ""


Task = Labelling | Writing | Editing | Ranking | Comparing | Rating | Steps


class Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one annotator said of one task."""

    by: str = ""
    """Who: a person's name, or a model's."""
    labels: list[str] = []
    text: str = ""
    order: list[int] = []
    preference: int = 0
    ratings: dict[str, int] = {}
    skipped: bool = False
    """Nothing can be said: broken, or not understood. All else is then empty."""
    comment: str = ""
    seconds: float = 0.0
    """How long the person looked at it; 0: not known."""
    call: str = ""
    """The journal's key of this answer; set by the engine."""


def complaint(task: Task, note: Note) -> str:
    """What is wrong with an answer, for whoever gave it; "" if it answers the task."""
    if note.skipped:
        said = note.labels or note.text or note.order or note.preference or note.ratings
        return "a task is skipped or answered, not both" if said else ""
    match task:
        case Labelling():
            if unknown := [label for label in note.labels if label not in task.options]:
                return f"{unknown[0]!r} is none of the labels {', '.join(task.options)}"
            if len(set(note.labels)) < len(note.labels) or (not task.several and len(note.labels) != 1):
                return "choose each label once at most" if task.several else "choose exactly one label"
        case Writing() | Editing():
            if not note.text.strip():
                return "write something, or skip the task"
            if isinstance(task, Writing) and task.most and len(note.text) > task.most:
                return f"{len(note.text)} characters; at most {task.most}"
        case Ranking():
            if sorted(note.order) != list(range(len(task.items))):
                return f"rank each of the {len(task.items)} texts exactly once"
        case Comparing():
            if abs(note.preference) > task.strength or (note.preference == 0 and not task.ties):
                tie = "" if task.ties else ", and not 0"
                return f"the preference must lie between {-task.strength} and {task.strength}{tie}"
        case Rating():
            if set(note.ratings) != set(task.aspects):
                return f"rate each of {', '.join(task.aspects)}"
            if wrong := [name for name, value in note.ratings.items() if not task.low <= value <= task.high]:
                return f"{wrong[0]}: rate from {task.low} to {task.high}"
        case Steps():
            if unknown := [label for label in note.labels if label not in task.options]:
                return f"{unknown[0]!r} is none of the labels {', '.join(task.options)}"
            ended = task.until and note.labels[-1:] == [task.until] and task.until not in note.labels[:-1]
            if len(note.labels) != len(task.steps) and not (ended and len(note.labels) < len(task.steps)):
                return f"label each of the {len(task.steps)} steps, in order"
    return ""
