"""LLaVA-Instruct (Liu et al. 2023, Visual Instruction Tuning, section 3): a teacher that reads only text talks of
images, given as captions and boxes, as if it saw them.

The pre-training set of captions (CC3M-595K) is `llava-pretrain`.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gristmill import Chat, Conversation, Message, Reply, Row, Run, Turn, assistant, recipe, system, user
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import is_refusal

CONVERSATION = Prompt(
    """You are a visual assistant, and you are looking at one image. Its content is told to you in {count} sentences, each about the same image. Answer all questions as if you saw the image itself.

Write a dialogue between a person who asks about this image and you, who answer. Let the questions differ: what kinds of things there are, how many of them, what they do, where they are and where in relation to each other. Ask only what has a definite answer: what is asked for can be seen in the image with confidence, or one can be sure that it is not there. Then add a few complex questions, for example on the background of what is shown, or on events to discuss, and answer these in detail, with examples or reasons, in several well-ordered paragraphs if that helps. Do not ask about what is uncertain.

Write every question and every answer as a block, in turns, with a line of three equals signs after each block:
Question:
...
===
Answer:
...
==="""
)

DETAIL = Prompt(
    """You are a visual assistant, and you are looking at one image. It is told to you in {count} sentences and by the objects in it, each with its place as [x1, y1, x2, y2]: left, top, right and bottom edge, from 0 to 1.

Describe the image in detail, in natural language, as somebody who sees it. Make use of the places: say how many things there are, where they are, and how they stand to each other. Never name the numbers, and never let it be known that you were given sentences or places instead of the image. Write the description and nothing else."""
)

COMPLEX = Prompt(
    """You are a visual assistant, and you are looking at one image. It is told to you in {count} sentences and by the objects in it, each with its place as [x1, y1, x2, y2]: left, top, right and bottom edge, from 0 to 1.

Come up with one plausible question that goes beyond a description of the scene: one must first understand what is shown and then reason, on causes, on what may follow, on what to do. Do not give the visual details away in the question, so that whoever answers has to look at the image first. Then answer it in detail, step by step. Speak as somebody who sees the image: never name the numbers, and never mention sentences or places that were given.

Write both as blocks, with a line of three equals signs after each:
Question:
...
===
Answer:
...
==="""
)

ASK_DETAIL = (
    Prompt("Describe this image in detail."),
    Prompt("Give a thorough description of what you see."),
    Prompt("What does this picture show? Leave nothing out."),
    Prompt("Take me through the whole image, piece by piece."),
    Prompt("Write a detailed account of the scene."),
    Prompt("Please look closely and tell me everything that is there."),
    Prompt("Can you explain the image to me at length?"),
    Prompt("Characterise the picture with as many particulars as you can."),
    Prompt("I cannot see this image. Paint it for me in words, in full."),
    Prompt("Provide an exhaustive description of the photo."),
    Prompt("What can be seen here? Go into detail."),
    Prompt("Analyse the image and report all that you find in it."),
    Prompt("Give me a full picture of the scene: what is there, and where?"),
    Prompt("Describe the contents of the image comprehensively."),
    Prompt("Go over this photo carefully and write down what it holds."),
    Prompt("Share a rich and complete description of the image."),
)
"""The human side of a detailed description; one is drawn."""

QUESTION, ANSWER = "Question:", "Answer:"
BLOCKS = re.compile(r"^[ \t]*={3,}[ \t\r]*$", re.MULTILINE)
HEADS = re.compile(rf"^[ \t]*({QUESTION}|{ANSWER})", re.MULTILINE)
SOURCES = re.compile(r"\b(captions?|bounding[ -]box(es)?|co-?ordinates?)\b|\[\s*[01]?\.\d+\s*,", re.IGNORECASE)
IMAGE = "<image>"

Box = tuple[float, float, float, float]
ResponseType = Literal["conversation", "detail", "complex"]


class Object(Struct):
    """A thing in the image."""

    name: str
    bbox: Box
    """x1, y1, x2, y2 from 0 to 1: left, top, right, bottom."""


class SymbolicImage(Row):
    """An image as a text-only model can read it."""

    image: str
    """Its path. It is never opened."""
    captions: list[str]
    objects: list[Object] = field(default_factory=list)


class LlavaConversation(Conversation):
    """A conversation on an image; its first user turn holds the mark <image>, once."""

    image: str
    response_type: Literal["conversation", "detail", "complex", "pretrain"]


class Shown(Struct):
    """An image for demonstrations, and what the teacher should say of it."""

    captions: list[str]
    objects: list[Object]
    conversation: str
    detail: str
    complex: str


MARKET = Shown(
    captions=[
        "A woman in a green apron weighs apples at a market stall.",
        "A stall with crates of fruit under a striped awning.",
        "Two customers wait while a vendor uses a scale.",
        "A dog lies on the ground in front of a fruit stand.",
        "People shop for fruit at an outdoor market.",
    ],
    objects=[
        Object("person", (0.412, 0.205, 0.583, 0.742)),
        Object("person", (0.071, 0.248, 0.214, 0.911)),
        Object("person", (0.208, 0.262, 0.331, 0.897)),
        Object("dog", (0.352, 0.803, 0.601, 0.954)),
        Object("apple", (0.470, 0.512, 0.531, 0.566)),
    ],
    conversation="""Question:
What is the woman in the apron doing?
===
Answer:
She is weighing apples on a scale at a fruit stall.
===
Question:
How many customers are waiting?
===
Answer:
Two customers are waiting.
===
Question:
Where is the dog?
===
Answer:
It lies on the ground in front of the stall.
===
Question:
Is there a car in the picture?
===
Answer:
No, there is no car to be seen.
===
Question:
Why may the stall have an awning?
===
Answer:
The market is outdoors, and fruit suffers from the weather. Shade keeps it from warming up, which would make it ripen too fast and lose water, and in a shower it stays dry and does not rot. The awning also protects the vendor, who stands there all day, and the customers while they wait.
===""",
    detail="""The picture shows a busy outdoor market. In the middle, a woman in a green apron stands behind a stall with crates of fruit and weighs a few apples on a scale. A striped awning shades her and her goods. On the left, two customers stand close to each other and wait for their turn, one of them near the edge of the picture. In front of the stall a dog has stretched out on the ground, right below the vendor and undisturbed by the people around it. It looks like a calm moment of an ordinary market day.""",
    complex="""Question:
What does the behaviour of the animal suggest about this place?
===
Answer:
The dog lies at full length on the ground although people stand and walk within a few steps of it. An animal that felt threatened would keep to the side, stay on its feet, or watch the strangers. That it rests right where customers pass suggests that it knows the place and is used to crowds; perhaps it belongs to the vendor and spends many days there. It also tells something about the people: they seem to step around it calmly, so the place is probably a familiar one for them as well.
===""",
)

BRIDGE = Shown(
    captions=[
        "A cyclist with a yellow backpack crosses a narrow bridge in the rain.",
        "A person on a bicycle rides over a wet bridge.",
        "A rider passes a man with an umbrella on a bridge.",
        "A footbridge over a river on a grey day.",
        "A man under a red umbrella looks down at the water.",
    ],
    objects=[
        Object("person", (0.305, 0.311, 0.462, 0.776)),
        Object("bicycle", (0.288, 0.540, 0.481, 0.868)),
        Object("backpack", (0.318, 0.372, 0.397, 0.505)),
        Object("person", (0.702, 0.352, 0.794, 0.801)),
        Object("umbrella", (0.664, 0.241, 0.839, 0.398)),
    ],
    conversation="""Question:
What is the weather like?
===
Answer:
It is raining, and the day is grey.
===
Question:
What colour is the backpack of the cyclist?
===
Answer:
It is yellow.
===
Question:
What is the man with the umbrella looking at?
===
Answer:
He is looking down at the water of the river.
===
Question:
What should the rider pay attention to here?
===
Answer:
The bridge is narrow and wet. On a wet surface, tyres hold less well and brakes take longer, so the rider should go slowly and brake early and gently. Besides, somebody stands on the bridge who is looking down and may not notice a bicycle, and whose umbrella takes up room. Ringing the bell in good time and passing at walking pace would be safest.
===""",
    detail="""On a grey and rainy day, a cyclist rides over a narrow footbridge that crosses a river. The rider is a little to the left of the middle and carries a yellow backpack that stands out against the dull colours around it. Further to the right, a man has stopped on the bridge. He holds a red umbrella above his head and looks down at the water. The surface of the bridge is wet. There is some distance between the two people, and neither seems to take notice of the other.""",
    complex="""Question:
What might happen next if neither of the two people changes what they are doing?
===
Answer:
One of them moves along a narrow way, while the other stands still further along it and looks elsewhere. If both go on like that, they will come very close to each other. The one who stands may be startled when somebody suddenly passes, and could step aside into the path. Since everything is wet, stopping at short notice is hard. So it would be wise for the one who is moving to slow down and make a sound early, and for the other to look up now and then.
===""",
)

KITCHEN = Shown(
    captions=[
        "A small kitchen with a cat on the windowsill.",
        "A grey cat sits by the window above a sink full of dishes.",
        "Dishes are piled up in a kitchen sink.",
        "A kettle stands on the stove next to a sink.",
        "A cat looks out of a kitchen window.",
    ],
    objects=[
        Object("cat", (0.444, 0.158, 0.562, 0.371)),
        Object("sink", (0.367, 0.495, 0.668, 0.640)),
        Object("cup", (0.402, 0.455, 0.449, 0.521)),
        Object("cup", (0.553, 0.463, 0.601, 0.529)),
        Object("oven", (0.705, 0.512, 0.948, 0.993)),
    ],
    conversation="""Question:
What animal is in the kitchen?
===
Answer:
There is a grey cat.
===
Question:
What is in the sink?
===
Answer:
A pile of dishes.
===""",
    detail="""This is a small kitchen. A grey cat sits on the windowsill in the middle of the picture and looks out of the window. Right below it is the sink, in which dishes are piled up; two cups stand out among them, one towards each side. On the right of the sink is a stove with an oven, and a kettle stands on top of it. The room looks lived in: somebody seems to have eaten and not yet found the time to clean up.""",
    complex="""Question:
What can be guessed about the last hours in this room?
===
Answer:
Things that were used are gathered in one place but have not been washed, so there was probably a meal not long ago, and whoever had it was in a hurry or preferred to rest first. There is more than one cup, which may mean that two people ate together, or that one person had several drinks. Nobody is about now, and the animal is relaxed enough to sit and watch what is outside, so the room has likely been quiet for a while.
===""",
)

DEMONSTRATIONS = (MARKET, BRIDGE, KITCHEN)


@recipe("llava")
async def llava(
    picture: SymbolicImage,
    teacher: Chat,
    run: Run,
    *,
    response_types: Annotated[tuple[ResponseType, ...], Meta(min_length=1)] = ("conversation", "detail", "complex"),
    captions_per_image: Annotated[int, Meta(ge=1)] = 5,
    few_shot_conversation: Annotated[int, Meta(ge=0, le=3)] = 2,
    few_shot_detail: Annotated[int, Meta(ge=0, le=3)] = 3,
    few_shot_complex: Annotated[int, Meta(ge=0, le=3)] = 3,
    temperature: float = 1.0,
    max_new_tokens: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[LlavaConversation]:
    """Make conversations on an image from its captions and boxes, with a teacher that never sees it.

    One call for each kind of response: a dialogue of several turns, from the captions alone; a detailed description;
    a question that takes reasoning, with its answer; the last two from captions and boxes. Demonstrations are earlier
    turns of the chat: captions and boxes from the user, the response from the assistant. The mark <image> comes before
    or after the first question, by chance. (Liu et al. 2023, "Visual Instruction Tuning", arXiv:2304.08485, section 3;
    teacher: text-only GPT-4. Captions and boxes come from people, as in COCO, or from other models.)

    Args:
        response_types: wanted of each image. How the paper's 58K, 23K and 77K rows share its images is not confirmed.
        captions_per_image: of those given, the first.
        few_shot_conversation: demonstrations of a dialogue.
        few_shot_detail: of a description.
        few_shot_complex: of a question that takes reasoning.
        temperature: not confirmed.
        max_new_tokens: of a response. Not confirmed.

    Rejects: images with `no_captions`, `no_objects` (for detail and complex; details: response_type), `bad_box` (not
        from 0 to 1, or turned over; details: name, bbox); responses `empty`, `truncated`, `unparsed` (not blocks of
        Question and Answer in turns, or not one pair for complex, or blocks in a description; details: blocks),
        `refusal`, `gives_away_source` (names captions, boxes or coordinates; details: words), `image_mark` (has <image>
        in it). All with response_type. The paper asks the teacher not to name its sources; the last three checks are
        ours.
    """
    captions = [caption for given in picture.captions if (caption := " ".join(given.split()))][:captions_per_image]
    if not captions:
        run.reject(picture, "no_captions")
        return
    for thing in picture.objects:
        x1, y1, x2, y2 = thing.bbox
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            run.reject(picture, "bad_box", name=thing.name, bbox=thing.bbox)
            return

    async def respond(kind: ResponseType) -> LlavaConversation | None:
        if kind != "conversation" and not picture.objects:
            run.reject(picture, "no_objects", response_type=kind)
            return None
        if kind == "conversation":
            rules, shots = CONVERSATION, few_shot_conversation
        elif kind == "detail":
            rules, shots = DETAIL, few_shot_detail
        else:
            rules, shots = COMPLEX, few_shot_complex
        messages: list[Message] = [system(rules(count=len(captions)))]
        for shown in DEMONSTRATIONS[:shots]:
            messages += [user(symbols(shown.captions, shown.objects, kind)), assistant(getattr(shown, kind))]
        messages.append(user(symbols(captions, picture.objects, kind)))
        reply = await teacher.chat(messages, temperature=temperature, max_tokens=max_new_tokens)
        try:
            said = read(reply, kind)
        except Bad as bad:
            run.reject(reply, bad.reason, response_type=kind, **bad.details)
            return None
        if kind == "detail":
            said = [run.draw("ask_detail", ASK_DETAIL)(), *said]
        return LlavaConversation(turns(run, said), picture.image, kind)

    for row in await run.map(respond, response_types):
        if row:
            yield row


def symbols(captions: list[str], objects: list[Object], kind: ResponseType) -> str:
    """The image in words: its captions, and, but for a conversation, its boxes."""
    lines = list(captions)
    if kind != "conversation":
        lines += ["", *(f"{thing.name}: [{', '.join(f'{edge:.3f}' for edge in thing.bbox)}]" for thing in objects)]
    return "\n".join(lines)


def read(reply: Reply, kind: ResponseType) -> list[str]:
    """What is said in turns, beginning with a question; of a detailed description only the answer."""
    text = complete_reply(reply)
    blocks = [block.strip() for block in BLOCKS.split(text)]
    if kind == "detail":
        said = blocks
        sound = len(blocks) == 1 and not HEADS.search(text)
    else:
        blocks = blocks[: len(blocks) - (not blocks[-1])]  # nothing stands after the last line of marks
        heads = [(QUESTION, ANSWER)[number % 2] for number in range(len(blocks))]
        said = [block.removeprefix(head).strip() for block, head in zip(blocks, heads, strict=True)]
        in_turns = [HEADS.findall(block) for block in blocks] == [[head] for head in heads] and len(blocks) % 2 == 0
        whole = all(said) and all(block.startswith((QUESTION, ANSWER)) for block in blocks)
        sound = in_turns and whole and (kind != "complex" or len(blocks) == 2)
    if not sound:
        raise Bad("unparsed", blocks=len(blocks))
    if is_refusal(text):
        raise Bad("refusal")
    if found := SOURCES.search(text):
        raise Bad("gives_away_source", words=found[0])
    if IMAGE in text:
        raise Bad("image_mark")
    return said


def turns(run: Run, said: list[str]) -> list[Turn]:
    """User and assistant in turns, with the mark of the image before or after the first words, as chance has it."""
    before = run.draw("image_mark", ("before", "after")) == "before"
    first = f"{IMAGE}\n{said[0]}" if before else f"{said[0]}\n{IMAGE}"
    return [Turn(("user", "assistant")[number % 2], text) for number, text in enumerate([first, *said[1:]])]
