"""Pictures in messages: named by what they show while a question is journaled, and read when it is sent."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from gristmill.errors import BadInput
from gristmill.models.protocol import Image, Message, Question, Text
from gristmill.pictures import KINDS, NAME


def shown(question: Question, folder: Path) -> Question:
    """The question as it is sent: with the pictures themselves where it names them.

    Raises:
        BadInput: a name that is neither a URL nor a picture of the run.
    """
    if all(isinstance(message.content, str) for message in question.messages):
        return question
    messages = [
        message
        if isinstance(message.content, str)
        else Message(message.role, [_shown(part, folder) for part in message.content])
        for message in question.messages
    ]
    return msgspec.structs.replace(question, messages=messages)


def _shown(part: Text | Image, folder: Path) -> Text | Image:
    if isinstance(part, Text) or part.url.startswith(("https://", "data:", "http://")):
        return part
    name = NAME.fullmatch(part.url)
    if not name:
        raise BadInput(
            f"a message shows {part.url[:80]!r}, which is no picture of this run and no URL. Rows name pictures as "
            f"artefacts/NAME or inputs/pictures/NAME, of the kinds {', '.join(KINDS)}"
        )
    try:
        data = (folder / part.url).read_bytes()
    except OSError as error:
        raise BadInput(f"{folder / part.url}: a picture of the run cannot be read: {error.strerror}") from None
    return Image(f"data:{KINDS[name[1]]};base64,{base64.b64encode(data).decode()}")
