"""phi-1's synthetic textbooks (Gunasekar et al. 2023, section 2.2): explanations interleaved with code, by topic and audience."""

import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Document, Run, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.benchmarks import normal
from gristmill.ops.code import FENCED, PYTHON, parsed
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_framing, words

SECTION = Prompt(
    """Write a section of a textbook on programming in Python.

Topic: {topic}
Readers: {audience}

Explain in prose how one thinks about it: what the problem is, how an algorithm for it comes about, and why it is right. Between the explanations stand short pieces of Python in blocks (```python), each complete and correct, each taken up by the text around it. Choose your examples from the world of these readers. Write the section alone."""
)

Named = Annotated[str, Meta(pattern=r"\S")]


class TextbookSection(Document, kw_only=True):
    """A text to pre-train on."""

    topic: str
    audience: str


def wording(row: TextbookSection) -> str:
    return normal(row.text)


@recipe("phi-1-textbooks", unique=wording)
async def phi_1_textbooks(
    generator: Chat,
    run: Run,
    *,
    topics: Annotated[list[Named], Meta(min_length=1)] | None = None,
    audiences: Annotated[list[Named], Meta(min_length=1)] | None = None,
    min_prose_words: Annotated[int, Meta(ge=1)] = 30,
    temperature: float = 1.0,
    max_tokens_section: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[TextbookSection]:
    """Write sections of a textbook in which prose that explains alternates with Python, each on its own draw.

    A topic and a target audience, drawn by chance into each prompt, make the sections differ. (Gunasekar et al. 2023,
    "Textbooks Are All You Need", arXiv:2306.11644, section 2.2: under a billion tokens by GPT-3.5. Prompts, topics and
    audiences are not published.) Here besides: a section must hold both, code that is Python and prose.

    Args:
        topics: to draw from; 46 ship. Their number is not confirmed.
        audiences: likewise; 12 ship.
        min_prose_words: outside of code. Not from the paper.
        temperature: of the sections. Not confirmed.
        max_tokens_section: a section that reaches it was cut, and is dropped. Not confirmed.

    Rejects: `empty`, `truncated`, `no_code` (no block that is Python), `no_prose` (details: words), `duplicate`.
    """
    topic = run.draw("topic", topics or shipped()["topics"])
    audience = run.draw("audience", audiences or shipped()["audiences"])
    question = SECTION(topic=topic, audience=audience)
    reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_section)
    try:
        text = strip_framing(complete_reply(reply))
        snippets = [block["code"] for block in FENCED.finditer(text) if block["language"].lower() in (*PYTHON, "")]
        if not any(snippet.strip() and parsed(snippet) for snippet in snippets):
            raise Bad("no_code")
        if (prose := len(words(FENCED.sub("", text)))) < min_prose_words:
            raise Bad("no_prose", words=prose)
    except Bad as bad:
        run.reject(reply, bad.reason, **bad.details)
        return
    yield TextbookSection(text=text, topic=topic, audience=audience)


@cache
def shipped() -> dict[str, list[str]]:
    """Topics, audiences, and verbs and nouns of function names."""
    text = (home.DATA / "phi_lists.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
