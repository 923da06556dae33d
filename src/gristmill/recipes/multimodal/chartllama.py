"""ChartLlama (Han et al. 2023, section 3): a model invents tables, writes the code that draws them, and questions on them.

The model sees text alone; the pictures come from its code, which runs in the sandbox.
"""

import csv
import io
import re
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from gristmill import BadInput, Chat, Conversation, Picture, Plot, Program, Reply, Row, Rows, Run, Turn, recipe
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.code import FENCED, PYTHON, code_block
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_numbering
from gristmill.recipes.multimodal.llava import IMAGE, turns
from gristmill.verify import Limits

FIGURE = "figure.png"
SHORTEST, MOST_PIXELS = 16, 25_000_000
"""Of a figure: its shorter side, and all in all. More is no chart, and too much for whoever opens it."""
COMPARE = """
from PIL import Image
one, other = [Image.open(name).convert("RGBA") for name in ("one.png", "other.png")]
print("same" if (one.size, one.tobytes()) == (other.size, other.tobytes()) else "differ")
"""
"""Pixels: one and the same picture can be packed in many ways. In the sandbox, since a program wrote the files."""
ROOM = Limits(seconds=20.0, memory_mb=1536, files_kb=20480)
"""Of a comparison: two figures have to fit, each as large as a drawing's files may be."""
TOPICS = Prompt(
    """List {count} short topics for charts, from as many fields of life as you can: economy, health, sport, science, nature, households and others. One topic a line, two to six words each, nothing else."""
)
DATA = Prompt(
    """Invent data for a {chart_type} chart on the topic "{topic}". The data should show this: {trend}.

Write a table of exactly {rows} rows (besides the header) and {columns} columns as CSV in a fenced block, with plausible numbers; the first column names the rows. {needs} Then describe in two or three sentences what the data shows.

```csv
...
```
Description: ..."""
)
CODE = Prompt(
    """Write Python code with Matplotlib that draws a {chart_type} chart of this table, and saves it as "{figure}".

Topic: {topic}
Table:
{table}

Of use for this kind of chart:
{documentation}

Style of this one: {style}

Examples of code that works:
{examples}

The code stands alone: it holds the data itself, reads no file and shows no window. Reply with one fenced block of Python."""
)
REPAIR = Prompt(
    """This code does not work.

```python
{code}
```

Error: {error}

Write it anew so that it draws the same chart and saves it as "{figure}". Reply with one fenced block of Python."""
)
ABOUT = Prompt(
    """Here is all that is known of a chart.

Kind: {chart_type}
Description: {description}
Table:
{table}
The code that draws it:
```python
{code}
```

{task}"""
)
PAIRS = Prompt('Reply with a JSON list of {count} objects, each with the fields "instruction" and "response".')
CODE_PAIR = Prompt(
    'Write the user\'s words after "Instruction:"; then, after "Code:", the assistant\'s code in one fenced block of Python '
    'that stands alone and saves its figure as "{figure}".'
)
TASKS = {
    "qa": Prompt(
        "Write questions about the chart and their answers, some that are read off and some that take comparing or "
        "calculating; reason before the final value. Who asks sees the picture alone, so speak of the chart, never of a "
        "table, code or description. {form}"
    ),
    "summary": Prompt("Write a request for a short summary of the chart, and the summary. {form}"),
    "extraction": Prompt(
        "Write a request for the data of the chart as a table, and the answer with the whole table as CSV. {form}"
    ),
    "detailed-description": Prompt(
        "Write a request for a description of the chart in every detail, and the description: kind, title, axes, legend, "
        "colours, values, and what they show. {form}"
    ),
    "chart-to-chart": Prompt("The user wants code that draws this very chart again. {form}"),
    "text-to-chart": Prompt(
        "The user has no picture: they give the data in words or as a table, and say what chart of it they want. {form}"
    ),
    "chart-editing": Prompt(
        "The user wants one change of the chart that can be seen, such as other colours, another kind of chart, sorted or "
        "fewer values; the assistant gives the changed code. {form}"
    ),
}
CODE_TASKS = ("chart-to-chart", "text-to-chart", "chart-editing")
BLIND = "text-to-chart"
"""The task whose user has no picture."""
LABEL = re.compile(r"^[ \t*#]*Code:", re.MULTILINE)

CHARTS = {
    "bar": ("ax.bar(x, height, width, color=...), ax.barh(y, width), ax.set_xticks(positions, labels)", ""),
    "line": ("ax.plot(x, y, marker=..., linestyle=..., label=...), ax.fill_between(x, low, high), ax.legend()", ""),
    "pie": ("ax.pie(sizes, labels=..., autopct='%1.1f%%', startangle=..., wedgeprops=...)", "Values are above 0."),
    "polar": ("ax = fig.add_subplot(projection='polar'), ax.plot(angles, values), ax.fill(angles, values, alpha=...)", ""),
    "funnel": ("ax.barh(y, width, left=[-w / 2 for w in width]), ax.invert_yaxis(), ax.text(...)", "Values fall from row to row."),
    "gantt": ("ax.barh(y, width=duration, left=start), ax.set_yticks(y, labels)", "Columns after the first hold starts and durations in days."),
    "heatmap": ("ax.imshow(matrix, cmap=...), fig.colorbar(image), ax.set_xticks(range(n), labels)", ""),
    "scatter": ("ax.scatter(x, y, s=..., c=..., alpha=...)", ""),
    "box": ("ax.boxplot(list_of_samples, tick_labels=..., patch_artist=True)", ""),
    "candlestick": ("ax.vlines(x, low, high), ax.bar(x, close - open, bottom=open, color=...)", "Columns after the first are open, high, low and close."),
}  # fmt: skip
"""The ten kinds of chart: functions that draw it, and what its table must be like."""
NEEDS_COLUMNS = {"gantt": 3, "heatmap": 3, "scatter": 3, "candlestick": 5}
"""Kinds that say nothing with fewer columns, the names of the rows among them."""
TRENDS = (
    "values that rise steadily", "values that fall steadily", "ups and downs", "one extreme value", "hardly any change",
    "a rise, and then a fall", "two groups that differ", "values that repeat in cycles", "a slow start and a fast end",
)  # fmt: skip
STYLES = {
    "colours": ("a few strong colours", "pastel colours", "shades of one colour", "a colour map of Matplotlib", "grey with one accent"),
    "font": ("a serif font", "a sans-serif font", "a monospaced font", "large labels", "small labels"),
    "legend": ("a legend at the upper left", "a legend below the axes", "no legend but labels at the data", "a legend at the right, outside"),
    "size": ("6 by 4 inches", "8 by 5 inches", "a square figure", "a wide figure, 10 by 4 inches"),
}  # fmt: skip

Task = Literal[
    "qa", "summary", "extraction", "detailed-description", "chart-to-chart", "text-to-chart", "chart-editing"
]


class ChartExample(Row):
    """Code that draws a chart."""

    chart_type: str
    code: str


class ChartInstruction(Conversation, kw_only=True):
    """A chart, what a user asks about it, and the answer. The first turn holds the mark <image>, once, where there is one."""

    image: Picture | None
    """What the user sees; None of text-to-chart."""
    task: Task
    chart_type: str
    topic: str
    trend: str
    table: str
    """As CSV, with a header."""
    description: str
    code: str
    """That draws the chart."""
    response_image: Picture | None = None
    """Of tasks whose answer is code: what that draws."""


class Pair(msgspec.Struct):
    """A request and its answer, as a reply has them."""

    instruction: str
    response: str


@dataclass
class Chart:
    """A chart that was drawn."""

    kind: str
    topic: str
    trend: str
    table: str
    description: str
    code: str
    png: bytes


@recipe("chartllama", endless=True, seeds="chart_examples.jsonl")
async def chartllama(
    rows: Rows[ChartExample],
    generator: Chat,
    renderer: Plot,
    run: Run,
    *,
    chart_types: tuple[str, ...] = tuple(CHARTS),
    topics: tuple[str, ...] = (),
    topic_count: Annotated[int, Meta(ge=1)] = 100,
    trends: tuple[str, ...] = TRENDS,
    least_rows: Annotated[int, Meta(ge=1)] = 3,
    most_rows: Annotated[int, Meta(ge=1)] = 8,
    least_columns: Annotated[int, Meta(ge=2)] = 2,
    most_columns: Annotated[int, Meta(ge=2)] = 5,
    tasks: tuple[Task, ...] = get_args(Task),
    qa_pairs: Annotated[int, Meta(ge=1)] = 3,
    examples_in_prompt: Annotated[int, Meta(ge=0)] = 2,
    charts_at_once: Annotated[int, Meta(ge=1)] = 4,
    repairs: Annotated[int, Meta(ge=0)] = 0,
    temperature: float = 1.0,
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 2048,
) -> AsyncIterator[ChartInstruction]:
    """Invent data, have code written that draws it, and instructions about the chart from data, description and code.

    No model sees a picture. Kind of chart, topic, trend and size of the table are drawn; the table is checked against the
    size that was asked for. The code runs in the sandbox, and only what writes a figure goes on; code that works joins
    the examples that later prompts show, so that style and success grow. For seven tasks requests and answers are
    written; where an answer is code, it runs too. As LLaVA reads it, the mark <image> stands before or after the request,
    by chance. (Han et al. 2023, ChartLlama, arXiv:2311.16483, section 3. Its prompts
    are not published; that code joins the examples is not confirmed.) Training LLaVA on the rows is left to the export.

    Args:
        rows: code examples that the pool begins with.
        chart_types: to draw from.
        topics: to draw from, in the place of those that the model is asked for in one call.
        topic_count: topics to ask for. Not confirmed from the paper.
        trends: to draw from. Not confirmed from the paper.
        least_rows: of a table.
        most_rows: of a table.
        least_columns: of a table, the names of its rows among them.
        most_columns: of a table. Kinds that need more than `least_columns` get them, up to this.
        tasks: to write rows for.
        qa_pairs: to ask for, of the task qa, for a chart; more are not kept. Not confirmed from the paper.
        examples_in_prompt: code examples, drawn from the pool.
        charts_at_once: charts that are made side by side, with the pool as it was before them.
        repairs: times that the error of code that fails is shown to the model; the paper drops the chart at once.
        temperature: of all calls. Not from the paper.
        max_tokens_per_reply: of all calls. Not from the paper.

    Rejects: `no_table` (no CSV, or no description), `wrong_shape` (details: rows, columns, wanted), `no_code`,
        `code_failed` (details: outcome, error), `no_figure` (the code ran and wrote none, or no PNG of a chart's size),
        `unparsable` (no pairs), `response_failed` (an answer whose code fails, or draws nothing; details: task, outcome),
        `nothing_changed` (an edit whose picture is the same), `image_mark` (has <image> in it), `empty`, `truncated`.
    """
    pool = [row.code for row in rows]
    chosen_topics = list(topics) or await topic_list(run, generator, topic_count, temperature)

    async def ask(prompt: str) -> Reply:
        return await generator.chat(prompt, temperature=temperature, max_tokens=max_tokens_per_reply)

    async def draw(code: str) -> tuple[bytes, str]:
        """The picture that code makes, or b"" and why there is none."""
        verdict = await renderer.run(Program(code, keep=[FIGURE]))
        png = verdict.files.get(FIGURE, b"")
        if not verdict.ok:
            return b"", f"{verdict.outcome}: {verdict.error} {verdict.message}".strip()
        if size_of(png) is None:
            return b"", f"no_figure: the code wrote no whole PNG of a chart's size named {FIGURE}"
        return png, ""

    async def same(one: bytes, other: bytes) -> bool | None:
        """Whether two figures show the same; None where one cannot be opened."""
        if one == other or size_of(one) != size_of(other):
            return one == other
        verdict = await renderer.run(Program(COMPARE, files={"one.png": one, "other.png": other}), limits=ROOM)
        return {"same\n": True, "differ\n": False}.get(verdict.stdout) if verdict.ok else None

    async def invent(number: int) -> tuple[Chart, list[ChartInstruction]] | None:
        kind = run.draw("chart_type", chart_types)
        topic, trend = run.draw("topic", chosen_topics), run.draw("trend", trends)
        least = max(least_columns, min(NEEDS_COLUMNS.get(kind, 2), most_columns))
        size = run.draw("rows", range(least_rows, most_rows + 1)), run.draw("columns", range(least, most_columns + 1))
        asked = DATA(chart_type=kind, topic=topic, trend=trend, rows=size[0], columns=size[1], needs=CHARTS[kind][1])
        read = await attempt(run, lambda: ask(asked), lambda reply: table_of(reply, *size))
        if read is None:
            return None
        table, description = read
        style = "; ".join(run.draw(name, options) for name, options in STYLES.items())
        shown = run.rng("examples").sample(pool, min(examples_in_prompt, len(pool)))
        prompt = CODE(
            chart_type=kind,
            topic=topic,
            table=table,
            documentation=CHARTS[kind][0],
            style=style,
            figure=FIGURE,
            examples="\n\n".join(f"```python\n{code}\n```" for code in shown) or "(none)",
        )
        for again in range(repairs + 1):
            code = await attempt(run, partial(ask, prompt), code_of)
            if code is None:
                return None
            png, trouble = await draw(code)
            if png:
                break
            reason = "no_figure" if trouble.startswith("no_figure") else "code_failed"
            run.reject({"code": code}, reason, error=trouble, attempt=again)
            prompt = REPAIR(code=code, error=trouble, figure=FIGURE)
        else:
            return None
        chart = Chart(kind, topic, trend, table, description, code, png)
        artefact = await run.artefact("chart", png, suffix=".png")
        written = await run.map(lambda task: instruct(chart, task, artefact.path), tasks, name="tasks")
        return chart, [row for some in written for row in some]

    async def instruct(chart: Chart, task: Task, image: str) -> list[ChartInstruction]:
        codes = task in CODE_TASKS
        most = qa_pairs if task == "qa" else 1
        form = CODE_PAIR(figure=FIGURE) if codes else PAIRS(count=most)
        asked = ABOUT(
            chart_type=chart.kind,
            description=chart.description,
            table=chart.table,
            code=chart.code,
            task=TASKS[task](form=form),
        )
        pairs = await attempt(run, lambda: ask(asked), code_pair_of if codes else pairs_of)
        made = []
        for pair in (pairs or [])[:most]:
            response_image = None
            candidate = {"instruction": pair.instruction, "response": pair.response}
            if IMAGE in pair.instruction + pair.response:
                run.reject(candidate, "image_mark")
                continue
            if codes:
                code = code_block(pair.response) or ""
                png, trouble = await draw(code)
                if png and task == "chart-editing":
                    unchanged = code == chart.code or await same(chart.png, png)  # the same code may draw by chance
                    if unchanged:
                        run.reject(candidate, "nothing_changed")
                        continue
                    if unchanged is None:
                        png, trouble = b"", "unreadable: a figure cannot be opened"
                if not png:
                    run.reject(candidate, "response_failed", task=task, outcome=trouble)
                    continue
                response_image = (await run.artefact("chart", png, suffix=".png")).path
            made.append(
                ChartInstruction(
                    messages=[Turn("user", pair.instruction), Turn("assistant", pair.response)]
                    if task == BLIND
                    else turns(run, [pair.instruction, pair.response]),
                    image=None if task == BLIND else image,
                    task=task,
                    chart_type=chart.kind,
                    topic=chart.topic,
                    trend=chart.trend,
                    table=chart.table,
                    description=chart.description,
                    code=chart.code,
                    response_image=response_image,
                )
            )
        return made

    while True:
        for found in await run.map(invent, range(charts_at_once)):
            if found is None:
                continue
            chart, instructions = found
            pool.append(chart.code)
            for row in instructions:
                yield row


@chartllama.check
def sizes_and_kinds(
    chart_types: tuple[str, ...], trends: tuple[str, ...], tasks: tuple[str, ...], least_rows: int, most_rows: int, least_columns: int, most_columns: int
) -> None:  # fmt: skip
    if not chart_types or not trends or not tasks:
        raise BadInput("chartllama: chart_types, trends and tasks must each name at least one")
    if unknown := sorted(set(chart_types) - set(CHARTS)):
        raise BadInput(f"chartllama: unknown kind of chart {unknown[0]!r}; known: {', '.join(CHARTS)}")
    if least_rows > most_rows or least_columns > most_columns:
        raise BadInput("chartllama: the least rows and columns of a table must not exceed the most")


async def topic_list(run: Run, generator: Chat, count: int, temperature: float) -> list[str]:
    reply = await generator.chat(TOPICS(count=count), temperature=temperature, max_tokens=16 * count + 64)
    # The last line of a cut reply is half a topic.
    whole = reply.text.rpartition("\n")[0] if reply.truncated else reply.text
    lines = [strip_numbering(line).strip(" -*\"'.") for line in whole.splitlines()]
    if not (found := list(dict.fromkeys(line for line in lines if line and len(line) <= 80))):
        raise BadInput(f"chartllama: {generator.model} names no topics for charts; give some with --topics")
    return found


def table_of(reply: Reply, rows: int, columns: int) -> tuple[str, str]:
    """The table as CSV and the description; raises Bad."""
    text = complete_reply(reply)
    block = FENCED.search(text)
    description = text[block.end() :].strip() if block else ""
    description = description.removeprefix("Description:").strip()
    if block is None or not description:
        raise Bad("no_table")
    try:
        table = [[cell.strip() for cell in line] for line in csv.reader(block["code"].splitlines()) if any(line)]
    except csv.Error as error:
        raise Bad("no_table", error=str(error)) from None
    widths = sorted({len(line) for line in table})
    if len(table) != rows + 1 or widths != [columns]:
        raise Bad("wrong_shape", rows=len(table) - 1, columns=widths, wanted=[rows, columns])
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(table)
    return written.getvalue().strip(), description


def code_of(reply: Reply) -> str:
    code = code_block(complete_reply(reply))
    if not code:
        raise Bad("no_code")
    return code


def pairs_of(reply: Reply) -> list[Pair]:
    text = complete_reply(reply)
    try:
        pairs = msgspec.json.decode(text[text.find("[") : text.rfind("]") + 1], type=list[Pair])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Bad("unparsable", error=str(error)) from None
    pairs = [pair for pair in pairs if pair.instruction.strip() and pair.response.strip()]
    if not pairs:
        raise Bad("unparsable")
    return pairs


def code_pair_of(reply: Reply) -> list[Pair]:
    """A request, in which other fenced blocks may stand, Python too, and the block after its label; raises Bad."""
    text = complete_reply(reply)
    blocks = list(FENCED.finditer(text))
    labels = [m.start() for m in LABEL.finditer(text) if not any(b.start() < m.start() < b.end() for b in blocks)]
    after = [b for b in blocks if labels and b.start() > labels[-1]]
    # Without a label the code comes last, as what the user shows comes first.
    ours = [b for b in blocks if b["language"].lower() in PYTHON] or blocks
    block = next(iter(after or ours[-1:]), None)
    if block is None:
        raise Bad("unparsable")
    _, label, asked = text[: labels[-1] if after else block.start()].rpartition("Instruction:")
    asked = asked.strip(" *\n").removesuffix("Code:").strip(" *\n")
    if not label or not asked:
        raise Bad("unparsable")
    return [Pair(asked, f"```python\n{block['code'].strip()}\n```")]


def size_of(png: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None for what is no whole PNG, or none of a chart's size."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return None
    at, kinds = 8, []
    while at + 12 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if zlib.crc32(png[at + 4 : end - 4]) != int.from_bytes(png[end - 4 : end], "big"):
            return None
        kinds.append(png[at + 4 : at + 8])
        at = end
    if at != len(png) or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        return None
    width, height = struct.unpack(">II", png[16:24])
    return (width, height) if min(width, height) >= SHORTEST and width * height <= MOST_PIXELS else None
