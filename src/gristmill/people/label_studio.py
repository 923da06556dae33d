"""Label Studio: open tasks as its tasks with a labelling interface, and its annotations as answers.

Label Studio has one interface a project, so tasks of one shape (kind, number of aspects, ...) make one file of tasks (JSON)
and one interface (XML). No text of a task stands in the interface: labels and aspects are data, too. Steps cannot be
shown; they are left for the page.

What comes back is its export "JSON": [{"id", "data", "annotations": [{"result", "completed_by", ...}]}]. It is checked like
what the page sends. The same file may be read twice.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gristmill.engine.folder import Replacing
from gristmill.errors import BadInput
from gristmill.models.annotation import (
    Comparing,
    Editing,
    Labelling,
    Note,
    Ranking,
    Rating,
    Steps,
    Task,
    Writing,
)
from gristmill.people.queue import LONGEST_NAME, Entry

KEY = "gristmill"
"""In a task's data: the key that its answers go by."""
MOST_BYTES = 256 << 20
"""Of a file that is read."""
WIDEST = 100
"""Ratings, or strengths of a preference, of which each is a choice."""


class Result(msgspec.Struct):
    """What one control of the interface says."""

    from_name: str = ""
    value: dict[str, Any] = {}


class Annotation(msgspec.Struct):
    result: list[Result] = []
    completed_by: int | str | dict[str, Any] | None = None
    was_cancelled: bool = False
    """Skipped."""
    lead_time: float | None = None
    """Seconds."""


class Exported(msgspec.Struct):
    """A task as Label Studio exports it."""

    data: dict[str, Any]
    id: int | str = ""
    annotations: list[Annotation] | None = None


class Answer(msgspec.Struct):
    """One annotation of a file."""

    number: int | str
    """Label Studio's, of the task."""
    key: str
    by: str
    annotation: Annotation


# -- out


def export(tasks: Iterable[tuple[Entry, Task]], path: Path) -> tuple[dict[Path, int], int]:
    """Write open tasks, and beside each file its interface. Returns how many tasks each holds, and how many are left out.

    One shape goes to `path`; several go to files beside it that name the kind. Samples of one question are one task of
    Label Studio: as many people as its `people` says should answer it.
    """
    shapes: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    left_out = 0
    for entry, task in tasks:
        if (interface := _interface(task)) is None:
            left_out += 1
            continue
        known = shapes.setdefault(interface, {})
        if entry.asked in known:
            known[entry.asked]["people"] += 1
        else:
            known[entry.asked] = {KEY: entry.key, "people": 1, "kind": _kind(task), "role": entry.role, **_data(task)}
    written = {}
    for number, (interface, found) in enumerate(shapes.items(), start=1):
        kind = next(iter(found.values()))["kind"]
        file = path if len(shapes) == 1 else path.with_name(f"{path.stem}-{number}-{kind}{path.suffix or '.json'}")
        _put(file, msgspec.json.format(msgspec.json.encode([{"data": data} for data in found.values()])))
        _put(file.with_suffix(".xml"), interface.encode())
        written[file] = len(found)
    return written, left_out


def _put(path: Path, data: bytes) -> None:
    try:
        with Replacing(path) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None


def _kind(task: Task) -> str:
    return str(type(task).__struct_config__.tag)


def _data(task: Task) -> dict[str, Any]:
    data: dict[str, Any] = {"guidelines": task.guidelines, "context": task.context}
    match task:
        case Labelling():
            data |= {"text": task.text, "options": [{"value": option} for option in task.options]}
        case Editing():
            data |= {"text": task.text}
        case Ranking():
            data |= {"items": [{"id": str(n), "body": text} for n, text in enumerate(task.items, start=1)]}
        case Comparing():
            data |= {"first": task.first, "second": task.second}
        case Rating():
            asked = {f"aspect_{n}": f"{name}: {what}" for n, (name, what) in enumerate(task.aspects.items())}
            data |= {"text": task.text, **asked}
        case Writing() | Steps():
            pass
    return data


def _interface(task: Task) -> str | None:
    """The labelling interface of a task's shape; None where it cannot be shown."""
    view = xml.Element("View")
    for name in ("guidelines", "context"):
        _add(view, "Text", name=name, value=f"${name}")
    about = "text"
    match task:
        case Labelling():
            _add(view, "Text", name="text", value="$text")
            many = "multiple" if task.several else "single"
            _add(view, "Choices", name="label", toName="text", value="$options", choice=many)
        case Writing():
            about = "context"
            _add(view, "TextArea", name="text", toName="context", rows="8", maxSubmissions="1", editable="true")
        case Editing():
            _add(view, "Text", name="original", value="$text")
            about = "original"
            more = {"rows": "8", "maxSubmissions": "1", "editable": "true"}
            _add(view, "TextArea", name="text", toName="original", value="$text", **more)
        case Ranking():
            about = "items"
            _add(view, "List", name="items", value="$items", title="Best first")
            _add(view, "Ranker", name="order", toName="items")
        case Comparing():
            if task.strength > WIDEST:
                return None
            about = "first"
            for name in ("first", "second"):
                _add(view, "Header", value=name.capitalize())
                _add(view, "Text", name=name, value=f"${name}")
            choices = _add(view, "Choices", name="preference", toName="first", choice="single-radio")
            for preference in range(-task.strength, task.strength + 1):
                if preference or task.ties:
                    _add(choices, "Choice", value=_preference(preference, task.strength), alias=str(preference))
        case Rating():
            if task.high - task.low > WIDEST:
                return None
            _add(view, "Text", name="text", value="$text")
            for number in range(len(task.aspects)):
                _add(view, "Text", name=f"aspect_{number}", value=f"$aspect_{number}")
                named = {"name": f"rating_{number}", "toName": f"aspect_{number}"}
                choices = _add(view, "Choices", choice="single-radio", showInline="true", **named)
                for value in range(task.low, task.high + 1):
                    _add(choices, "Choice", value=str(value))
        case Steps():
            return None
    _add(view, "TextArea", name="comment", toName=about, placeholder="Comment", rows="2", maxSubmissions="1")
    xml.indent(view)
    return xml.tostring(view, encoding="unicode")


def _add(parent: xml.Element, tag: str, **attributes: str) -> xml.Element:
    return xml.SubElement(parent, tag, attributes)


def _preference(preference: int, strength: int) -> str:
    if preference == 0:
        return "As good"
    which = "First" if preference < 0 else "Second"
    return f"{which} is better" + (f", by {abs(preference)} of {strength}" if strength > 1 else "")


# -- in


def read(path: Path) -> list[Answer]:
    """The annotations of an export."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise BadInput(f"{path} holds {size >> 20} MiB; at most {MOST_BYTES >> 20} are read. Export it in parts")
        tasks = msgspec.json.decode(path.read_bytes(), type=list[Exported])
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not what Label Studio exports as JSON: {error}") from None
    answers = []
    for task in tasks:
        if task.annotations is None:
            raise BadInput(f"{path}: task {task.id} has no `annotations`: export it as JSON, not as JSON-MIN")
        key = task.data.get(KEY)
        if not isinstance(key, str):
            raise BadInput(f"{path}: task {task.id} is none that `gristmill annotate --export` wrote: no {KEY!r} in it")
        answers += [Answer(task.id, key, _by(found.completed_by), found) for found in task.annotations]
    return answers


def note_of(task: Task, annotation: Annotation) -> Note:
    """An annotation as the answer of a task; what the interface does not say is left empty, for the task's rules to see."""
    said = {result.from_name: result.value for result in annotation.result}
    note = Note(skipped=annotation.was_cancelled, seconds=annotation.lead_time or 0.0)
    note.comment = _text(said.get("comment"))
    if note.skipped:
        return note
    note.labels = _choices(said.get("label"))
    note.text = _text(said.get("text"))
    note.order = [_number(name) - 1 for name in _ranked(said.get("order"))]
    if preference := _choices(said.get("preference")):
        note.preference = _number(preference[0])
    elif isinstance(task, Comparing):
        raise BadInput("no preference is chosen")
    if isinstance(task, Rating):
        for number, aspect in enumerate(task.aspects):
            if chosen := _choices(said.get(f"rating_{number}")):
                note.ratings[aspect] = _number(chosen[0])
    return note


def _by(completed_by: int | str | dict[str, Any] | None) -> str:
    """A person's name: of the e-mail address where the export has it, else Label Studio's number of him."""
    known = completed_by
    if isinstance(known, dict):
        known = known.get("email") or known.get("id")
    if isinstance(known, int):
        return f"label-studio-{known}"
    name = re.sub(r"[\W_]+", "-", str(known or "")).strip("-")[:LONGEST_NAME]
    return name or "label-studio"


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"expected texts, got {str(value)[:60]!r}")
    return texts


def _choices(value: dict[str, Any] | None) -> list[str]:
    return _texts(value.get("choices", [])) if value else []


def _text(value: dict[str, Any] | None) -> str:
    return "\n".join(_texts(value.get("text", []))) if value else ""


def _ranked(value: dict[str, Any] | None) -> list[str]:
    ranked = value.get("ranker", []) if value else []
    if isinstance(ranked, dict):  # by the name of the control
        ranked = next(iter(ranked.values()), [])
    return _texts(ranked)


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise BadInput(f"expected a whole number, got {text[:60]!r}")
    return int(text)
