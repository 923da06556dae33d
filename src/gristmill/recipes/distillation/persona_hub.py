"""Persona Hub (Ge et al. 2024, section 3): the same request, made for another person each time, gives another text."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from gristmill import BadInput, Chat, Document, Reply, Row, Rows, Run, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.sections import sections
from gristmill.ops.text import is_refusal, strip_framing

TASKS = {
    "math": Prompt(
        """Persona: {persona}

Invent a mathematics problem that comes out of the life or the work of this persona.
- It is very hard: only somebody with real talent for mathematics can solve it.
- It is tied to the persona: with another one it would be another problem.
- It has two sub-problems at most.
- It can be solved with what it says. Do not solve it, and give no hint.
- Your reply begins with "Math problem:" and holds nothing else.{focus}"""
    ),
    "reasoning": Prompt(
        """Persona: {persona}

Invent a problem of logical reasoning that comes out of the life or the work of this persona.
- It takes several steps of deduction and no special knowledge, and has exactly one answer.
- It is tied to the persona: with another one it would be another problem.
- It says all that is needed. Do not solve it, and give no hint.
- Your reply begins with "Reasoning problem:" and holds nothing else.{focus}"""
    ),
    "instruction": Prompt(
        """Persona: {persona}

What might this persona ask an AI assistant for? Write one such request, as the persona would type it.
- It is concrete: it has the details that such a person would give.
- Do not answer it.
- Your reply begins with "User prompt:" and holds nothing else.{focus}"""
    ),
    "knowledge": Prompt(
        """Persona: {persona}

Write an article, as this persona would write it for a site where people ask and answer questions.
- It passes on what the persona knows better than others, so that its readers learn something and can use it.
- It is written in the persona's voice.
- Your reply begins with "Title:" and the title on the first line; the article follows.{focus}"""
    ),
    "npc": Prompt(
        """Persona: {persona}

The game: {game}

Turn this persona into a character of that game whom no player controls.
- Give name, looks, past, and what drives the character; all of it must fit into the world of the game.
- Describe how the character deals with players: what it says, offers, asks for, and how it reacts to what they do.
- Your reply begins with "Name:" and holds nothing but the character.{focus}"""
    ),
    "tool": Prompt(
        """Persona: {persona}

Think of a tool, a function that a program can call, which would be of use to this persona. Write down its interface, in this form and with nothing else:
Name: a name as in code
Description: what it does, in a sentence or two
Inputs: each with its name, its type and its meaning
Outputs: likewise
- It takes more than everyday knowledge to do what it does. Do not write its code.{focus}"""
    ),
}
FOCUS = Prompt("\n- Above all: {focus}.")
EXAMPLES = Prompt("Examples of what is wanted:\n\n{demonstrations}\n\nNow a new one.\n\n")
DEMONSTRATION = {"few-shot": Prompt("{text}"), "persona-few-shot": Prompt("Persona: {persona}\n{text}")}

MARKS = {
    "math": ("Math problem:",),
    "reasoning": ("Reasoning problem:",),
    "instruction": ("User prompt:",),
    "knowledge": ("Title:",),
    "npc": ("Name:",),
    "tool": ("Name:", "Description:", "Inputs:", "Outputs:"),
}
"""What a reply begins with; of a tool, all its parts in their order."""
PROBLEMS = ("math", "reasoning")
PROMPTS = (*PROBLEMS, "instruction")
"""Tasks whose texts are to be answered: the mark before them is no part of them."""
SOLUTION = re.compile(
    r"""
      ^[\W_]* (?:(?:step[-\ ]by[-\ ]step|detailed|full|worked|final|correct)\ )? (?:solution|answer)s?
      (?:\ (?:to|of|for|key)\b[^\n:]{0,40})? (?: [*_\ ]*: | [\W_]*$ )
    | \\boxed\s*\{
    | \bthe\ (?:final\ |correct\ )?answer\ is:?\W{0,4}\d
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
GAME = (
    "an online role-playing game in a world of kingdoms, magic and ruins, where players of many peoples and professions "
    "explore, trade and fight monsters together"
)

Task = Literal["math", "reasoning", "instruction", "knowledge", "npc", "tool"]
Mode = Literal["zero-shot", "few-shot", "persona-few-shot"]


class Persona(Row):
    """Somebody, in a sentence or two."""

    persona: str
    origin: Literal["given", "text-to-persona", "persona-to-persona"] = "given"
    parent: str = ""
    """Of persona-to-persona: the persona that it was found through."""
    iteration: int = 0
    """Of persona-to-persona: 1 for those who were found through the first ones."""
    text: str = ""
    """Of text-to-persona: the text that it was told from."""


class Demonstration(Row):
    """A text of the kind that is wanted."""

    text: str
    persona: str = ""
    """Who might have written it."""
    task: str = ""
    """What it may be shown for; "" for any."""


class PersonaText(Document, kw_only=True):
    """What was written for a persona. Of math, reasoning and instruction: the prompt without the mark before it."""

    persona: str
    task: str


@recipe("persona-hub", unique="text", seeds="personas.jsonl")
async def persona_hub(
    row: Persona,
    generator: Chat,
    run: Run,
    *,
    demonstrations: Rows[Demonstration] | None = None,
    task: Task = "math",
    mode: Mode = "zero-shot",
    shots: Annotated[int, Meta(ge=1)] = 3,
    focus: str = "",
    game: str = GAME,
    template: str | None = None,
    mark: str = "",
    texts_per_persona: Annotated[int, Meta(ge=1)] = 1,
    temperature: float = 0.7,
    max_tokens_text: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[PersonaText]:
    """Put a persona into the template of a task, and have a model write what is asked for.

    A model that is asked for a hard problem ten thousand times repeats itself; asked for one out of the life of ten
    thousand people it does not. Tasks: a very hard problem of mathematics, one of logical reasoning, a request to an
    assistant (instruction), an article (knowledge), a character of a game (npc), a tool's interface (tool), or what a
    template of your own says. (Ge et al. 2024, "Scaling Synthetic Data Creation with 1,000,000,000 Personas",
    arXiv:2406.20094, sections 3 and 4. The survey names it Chan et al.)

    Personas come from `persona-hub-personas`. `persona-hub-answer` answers problems and requests and writes the code of
    tools; `persona-hub-agreement` makes a test set of problems.

    Args:
        demonstrations: texts of the kind that is wanted (`text`, `persona`, `task`), for the modes with few shots; the
            shipped ones unless given. Who might have written them tells `persona-hub-personas` with p2p_iterations 0,
            whose rows can be given here.
        task: what is written. The templates of reasoning and tool are not confirmed.
        mode: zero-shot; few-shot, with demonstrations; or persona-few-shot, each demonstration behind its persona.
        shots: demonstrations a prompt, drawn anew for each persona; all where there are not so many. Not confirmed.
        focus: words that say what kind of problem or text, such as "from geometry" or "of the level of an Olympiad".
        game: of the task npc, the game. Ours is invented.
        template: another request, instead of the task's; it says {persona} once.
        mark: what a reply to the template must begin with, such as "Letter:". It stays in the text.
        texts_per_persona: samples of a prompt.
        temperature: of each.
        max_tokens_text: a text that reaches it was cut, and is dropped. Not confirmed.

    What a reply says before its mark is cut off.

    Rejects: `empty_persona` (of a seed); of replies `empty`, `truncated`, `refusal`, `missing_section` and
        `empty_section` (the mark lacks, or nothing follows it; details: section), `has_solution` (of a problem;
        details: found), `duplicate`.
    """
    persona = " ".join(row.persona.split())
    if not persona:
        run.reject(row, "empty_persona")
        return
    name: str = "custom" if template is not None else task
    marks = ((mark,) if mark else ()) if template is not None else MARKS[task]
    if template is not None:
        question = Prompt(template)(persona=persona)
    else:
        question = TASKS[task](persona=persona, game=game, focus=FOCUS(focus=focus) if focus else "")
    if mode != "zero-shot":
        pool = shown_for(name, demonstrations, with_personas=mode == "persona-few-shot")
        drawn = run.draw("demonstrations", range(len(pool)), k=min(shots, len(pool)))
        shown = [DEMONSTRATION[mode](persona=pool[at].persona, text=marked(pool[at].text, marks)) for at in drawn]
        question = EXAMPLES(demonstrations="\n\n".join(shown)) + question

    async def write(_: int) -> PersonaText | None:
        reply = await generator.chat(question, temperature=temperature, max_tokens=max_tokens_text)
        try:
            return PersonaText(text=written(reply, name, marks), persona=persona, task=name)
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None

    for made in await run.map(write, range(texts_per_persona), keep_going=True):
        if made:
            yield made


@persona_hub.check
def a_template_has_a_place_for_the_persona(template: str | None, mark: str, focus: str) -> None:
    if template is None:
        if mark:
            raise BadInput(f"persona-hub: mark={mark!r} is for a template of your own; the tasks have theirs")
        return
    if Prompt(template).gaps != {"persona"} or template.count("{persona}") != 1:
        raise BadInput(
            f"persona-hub: the template must say {{persona}} exactly once and have no other gap; it is {template!r}"
        )
    if focus:
        raise BadInput("persona-hub: `focus` goes into the task's own template; say it in yours")


def shown_for(task: str, given: Rows[Demonstration] | None, *, with_personas: bool) -> Sequence[Demonstration]:
    """The demonstrations that may be shown for a task."""
    known = home.shipped("persona_demonstrations.jsonl", Demonstration) if given is None else given
    found = [one for one in known if one.task in ("", task)]
    if not found:
        raise BadInput(
            f"persona-hub: no demonstration is for the task {task!r}: give --demonstrations FILE, with `text` and, where "
            "they are for several tasks, `task`"
        )
    bare = next((one.text for one in found if not one.persona.strip()), None)
    if with_personas and bare is not None:
        raise BadInput(
            f"persona-hub: the demonstration {bare[:60]!r} has no persona, and persona-few-shot shows one beside each: "
            "run `persona-hub-personas` over them with --p2p-iterations 0, and give its run as --demonstrations"
        )
    return found


def marked(text: str, marks: Sequence[str]) -> str:
    """A demonstration as a reply would be."""
    return text if not marks or text.lower().startswith(marks[0].lower()) else f"{marks[0]} {text}"


def written(reply: Reply, task: str, marks: Sequence[str]) -> str:
    """What a reply holds from its mark on; raises Bad."""
    text = strip_framing(complete_reply(reply))
    if not text:
        raise Bad("empty")
    if is_refusal(text):
        raise Bad("refusal")
    if not marks:
        return text
    parts = sections(text, *marks)
    if task not in PROMPTS:
        return "\n".join(f"{mark} {part}" for mark, part in zip(marks, parts, strict=True))
    if task in PROBLEMS and (found := SOLUTION.search(parts[0])):
        raise Bad("has_solution", found=found[0].strip())
    return parts[0]
