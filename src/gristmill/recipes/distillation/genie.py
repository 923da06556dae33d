"""Genie (Yehudai et al. 2024, sections 2-3): questions with answers, summaries or extractions written from a passage, after
four solved examples, and kept where they are well-formed, faithful to the passage and good."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from gristmill import (
    BadInput,
    Choose,
    Complete,
    Document,
    Instruction,
    Reply,
    Reward,
    Row,
    Rows,
    Run,
    assistant,
    recipe,
    user,
)
from gristmill import recipes as home
from gristmill.ops.ask import Bad
from gristmill.ops.html import markdown
from gristmill.ops.html import require as require_html
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import chunks, words

Task = Literal["long-form-qa", "summarization", "information-extraction"]

INSTRUCTION = {
    "long-form-qa": Prompt("Ask a question about the document, and answer it at length from what the document says."),
    "summarization": Prompt("Sum up the document in a few sentences."),
    "information-extraction": Prompt("List the people, organizations, places and dates that the document names."),
}
"""A line for each task; of the last two also the instruction that a row holds."""

EXAMPLES = Prompt("{instruction}\n\n{demonstrations}[document]: {content}\n{slot}")
DEMONSTRATION = Prompt("[document]: {content}\n{example}\n\n")

ENTAILED = Prompt(
    """Does the premise alone prove that all of the hypothesis is true?

Premise: The bakery opens at six and closes at noon, except on Mondays.
Hypothesis: Who runs the bakery? An old baker from Lyon runs it.
Entailed: No

Premise: The bakery opens at six and closes at noon, except on Mondays.
Hypothesis: When does the bakery close? It closes at noon.
Entailed: Yes

Premise: {premise}
Hypothesis: {hypothesis}
Entailed:"""
)

FIELDS = {
    "long-form-qa": ("question", "answer"),
    "summarization": ("summary",),
    "information-extraction": ("extraction",),
}
MARK = re.compile(r"\[(document|question|answer|summary|extraction)\]:", re.IGNORECASE)
VERDICTS = (" Yes", " No")

IS_HTML = re.compile(r"<(!doctype|html|body|main|article|section|div|p|h[1-6]|table|ul|ol)\b[^>]*>", re.IGNORECASE)
NO_CONTENT = ("nav", "aside", "script", "style", "noscript", "template", "form", "iframe", "svg")
ROLES = {"navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar"}
IN_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
BLOCKS = ["header", "footer", "main", "figure", "figcaption", "details", "summary", "address", "hgroup"]
BOXES = ("div", "section", "ul", "ol", "table", "td")
AROUND = re.compile(
    r"(?:(?:site|page|global|main|top|bottom|left|right|primary|secondary)[-_]?)?"
    r"(?:nav|navbar|navigation|menu|sidebar|footer|header|breadcrumbs?|toc)",
    re.IGNORECASE,
)
"""Names of classes and ids of what stands around the text of a page."""
HEADING = re.compile(r"#{1,6}[ \t]+\S")
UNDERLINE = re.compile(r"(?:={3,}|-{3,})[ \t]*$")


class Demonstration(Row, kw_only=True):
    """A passage, and what somebody made of it."""

    task: Task
    content: str
    question: str = ""
    """Of long-form QA."""
    answer: str
    """The answer, the summary, or what was extracted."""


class GenieExample(Instruction, kw_only=True):
    """What was written from a passage: `instruction` is the question or the task, `input` the passage, `output` the text."""

    task: str
    faithfulness: float
    """Probability that the passage entails the text, 0 to 1."""
    reward: float | None
    """On the reward model's own scale; None where there is none."""


@recipe("genie", seeds="webgpt_pages.jsonl")
async def genie(
    document: Document,
    generator: Complete,
    nli: Choose,
    run: Run,
    reward: Reward | None = None,
    *,
    demonstrations: Rows[Demonstration] | None = None,
    task: Task = "long-form-qa",
    few_shot: Annotated[int, Meta(ge=1)] = 4,
    samples_per_passage: Annotated[int, Meta(ge=1)] = 1,
    nli_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    joined_hypothesis: bool = True,
    reward_threshold: float = 0.5,
    max_passage_words: Annotated[int, Meta(ge=1)] = 400,
    temperature: float = 0.7,
    max_tokens_example: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[GenieExample]:
    """Write examples of a task from the passages of a document, and keep those that are whole, faithful and good.

    A page is cleared of what stands around its text, becomes Markdown and is split along its headings; a text likewise.
    A model that has seen one line of instruction and four solved examples goes on with each passage: it makes up the
    question as well as its answer. Three filters follow. Format: all fields are there. Faithfulness: a model of natural
    language inference finds the text entailed by the passage alone. Quality: a reward model likes the text. (Yehudai et
    al. 2024, "Genie", arXiv:2401.14367, sections 2 and 3. Not confirmed: the generators, Falcon-40B and Llama-2-70B, and
    the marks of the fields of a summary and of an extraction.)

    Here a page is read as it was saved; scripts are not run. A `header` or `footer` inside an `article` or a `main`
    belongs to the text. HTML needs the extra `html`.

    Args:
        nli: says Yes or No of premise and hypothesis, with probabilities (paper: a T5-11B that was trained for it, of the
            TRUE benchmark). A small general model decides poorly.
        reward: rates the text after the question, or after the task's instruction (paper: OpenAssistant's DeBERTa-v3).
            Without one the third filter is left out, and the method with it: it is optional as few machines have one.
        demonstrations: solved examples, `few_shot` of the task; those that ship unless given.
        task: what is written from a passage.
        few_shot: demonstrations in a prompt, all that there are of the task.
        samples_per_passage: continuations that are asked for.
        nli_threshold: the probability of Yes from which on a text is faithful. Not confirmed.
        joined_hypothesis: of a question and its answer both, joined, have to be entailed; else the answer alone. Not
            confirmed.
        reward_threshold: the reward from which on a text is good.
        max_passage_words: of a passage; longer sections are split between paragraphs. Not confirmed.
        temperature: of the generator. Not confirmed.
        max_tokens_example: of a continuation. Not confirmed.

    Rejects: documents `no_content`, `parser_error` (details: error); continuations `truncated`, `missing_field`,
        `empty_field` (details: field), `not_entailed` (details: faithfulness), `low_reward` (details: reward,
        faithfulness).
    """
    shown = [one for one in (demonstrations or shipped()) if one.task == task]
    if len(shown) != few_shot:
        raise BadInput(
            f"genie: {len(shown)} demonstrations are of {task}, and a prompt shows {few_shot}: give as many, or set few_shot"
        )
    first = FIELDS[task][0]
    for one in shown:
        if not all((one.content.strip(), one.answer.strip(), one.question.strip() or first != "question")):
            raise BadInput(
                f"genie: a demonstration of {task} lacks {', '.join(('content', *FIELDS[task]))}: {one.content[:60]!r}"
            )
    instruction = INSTRUCTION[task]()
    solved = "".join(DEMONSTRATION(content=one.content, example=written(task, one)) for one in shown)
    try:
        passages = split(to_markdown(document.text), max_passage_words)
        if not passages:
            raise Bad("no_content")
    except Bad as bad:
        run.reject(document, bad.reason, **bad.details)
        return

    async def filtered(passage: str, reply: Reply) -> GenieExample:
        fields = read_example(reply, FIELDS[task])
        question = fields[0] if first == "question" else instruction
        text = fields[-1]
        faithfulness = await entailed(nli, passage, " ".join(fields) if joined_hypothesis else text)
        if faithfulness < nli_threshold:
            raise Bad("not_entailed", faithfulness=faithfulness)
        rated = await reward.reward([user(question), assistant(text)]) if reward else None
        if rated is not None and rated < reward_threshold:
            raise Bad("low_reward", reward=rated, faithfulness=faithfulness)
        return GenieExample(
            instruction=question, input=passage, output=text, task=task, faithfulness=faithfulness, reward=rated
        )

    async def judge(job: tuple[str, Reply]) -> GenieExample | None:
        try:
            return await filtered(*job)
        except Bad as bad:
            run.reject(job[1], bad.reason, **bad.details)
            return None

    async def write(passage: str) -> list[GenieExample | None]:
        replies = await generator.complete(
            EXAMPLES(instruction=instruction, demonstrations=solved, content=passage, slot=f"[{first}]:"),
            n=samples_per_passage,
            temperature=temperature,
            max_tokens=max_tokens_example,
            stop=["[document]:"],
        )
        return await run.map(judge, [(passage, reply) for reply in replies], keep_going=True)

    for made in await run.map(write, passages, keep_going=True):
        for row in filter(None, made):
            yield row


def shipped() -> list[Demonstration]:
    return home.shipped("genie_demonstrations.jsonl", Demonstration)


def written(task: Task, one: Demonstration) -> str:
    """A demonstration's example with its marks."""
    texts = (one.question, one.answer)[-len(FIELDS[task]) :]
    return "\n".join(f"[{field}]: {text}" for field, text in zip(FIELDS[task], texts, strict=True))


def read_example(reply: Reply, fields: Sequence[str]) -> list[str]:
    """The fields of a continuation that goes on behind the first field's mark, or begins by saying it once more. It ends
    where another document, or a field once more, begins; raises Bad."""
    parts = MARK.split(reply.text)
    if not parts[0].strip() and len(parts) > 1 and parts[1].lower() == fields[0]:
        parts = parts[2:]
    marks = [fields[0], *map(str.lower, parts[1::2])]
    end = next((number for number, mark in enumerate(marks) if mark not in fields or mark in marks[:number]), None)
    if end is None and reply.truncated:
        raise Bad("truncated")
    found = {mark: text.strip() for mark, text in zip(marks[:end], parts[::2][:end], strict=True)}
    for field in fields:
        if field not in found:
            raise Bad("missing_field", field=field)
        if not found[field]:
            raise Bad("empty_field", field=field)
    return [found[field] for field in fields]


async def entailed(nli: Choose, premise: str, hypothesis: str) -> float:
    """The probability that the premise entails the hypothesis."""
    yes, _ = await nli.choose(ENTAILED(premise=premise, hypothesis=hypothesis), VERDICTS)
    return yes


def to_markdown(text: str) -> str:
    """A page's text as Markdown; a text that is no HTML as it is, also one whose code shows some. Raises
    Bad("parser_error"), or BadInput without the extra `html`."""
    if not IS_HTML.search(IN_CODE.sub("", text)):
        return text
    require_html()
    return markdown(without_surroundings(text), escape=False, headings="atx")


def without_surroundings(page: str) -> str:
    """HTML without headers, footers, sidebars, navigation and what is not shown."""
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    try:
        soup = BeautifulSoup(page, "html.parser")
    except (ParserRejectedMarkup, AssertionError, RecursionError) as error:
        raise Bad("parser_error", error=f"{type(error).__name__}: {error}"[:200]) from None
    for element in soup.find_all(True):
        if not element.decomposed and is_around(element):
            element.decompose()
    for element in soup.find_all(BLOCKS):  # the converter would run their words into those beside them
        element.name = "div"
    return str(soup)


def is_around(element: Any) -> bool:
    if element.name in NO_CONTENT or element.get("role") in ROLES or element.name == "title":
        return True
    if element.name in ("header", "footer"):
        return element.find_parent(["article", "main"]) is None
    names = [*(element.get("class") or ()), element.get("id") or ""]
    return element.name in BOXES and any(AROUND.fullmatch(name) for name in names)


def split(text: str, max_words: int) -> list[str]:
    """The passages of a text in Markdown: what stands below a heading, with it, in pieces of at most `max_words`. A heading
    with nothing below it goes with the next one, or, as the last, goes."""
    sections: list[list[str]] = [[]]
    has_body = fenced = False
    lines = text.strip().splitlines()
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith("```")
        below = lines[number + 1] if number + 1 < len(lines) else ""
        underlined = bool(line.strip() and UNDERLINE.match(below) and (number == 0 or not lines[number - 1].strip()))
        if not fenced and (underlined or HEADING.match(line)):
            if has_body:
                sections.append([])
            has_body = False
        elif re.search(r"\w", line):
            has_body = True
        sections[-1].append(line)
    if not has_body:
        sections.pop()
    return [piece for section in sections for piece in pieces("\n".join(section).strip(), max_words)]


def pieces(section: str, max_words: int) -> list[str]:
    """Whole paragraphs, as many as fit; one that is too long is cut between sentences."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", section):
        if found and count(found[-1]) + count(paragraph) <= max_words:
            found[-1] += f"\n\n{paragraph}"
        elif count(paragraph) <= max_words:
            found.append(paragraph)
        else:
            found += [piece.strip() for piece in chunks(paragraph, max_words, count)]
    return found


def count(text: str) -> int:
    return len(words(text))  # not what stands between blanks: a Chinese text has none
