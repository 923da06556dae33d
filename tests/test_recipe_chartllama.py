"""What makes ChartLlama that: no model sees a picture, code really draws, and what fails to draw becomes no row."""

import json
import re
import struct
import zlib

import pytest
from PIL import Image

from gristmill import BadInput, Reply
from gristmill.export.formats import export
from gristmill.ops.ask import Bad
from gristmill.recipes.multimodal.chartllama import (
    CHARTS,
    CODE_TASKS,
    NEEDS_COLUMNS,
    TASKS,
    ChartInstruction,
    chartllama,
    code_pair_of,
    pairs_of,
    size_of,
    table_of,
)
from gristmill.rows import pictures
from gristmill.testing import Scripted, replay, run

POOL = [{"chart_type": "bar", "code": "EXAMPLE_ONE"}, {"chart_type": "line", "code": "EXAMPLE_TWO"}]


def drawing(values="[3, 1, 2]", colour="red", saving="") -> str:
    return f"""import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(2, 2))
ax.bar(["a", "b", "c"][: len({values})], {values}, color="{colour}")
fig.savefig("figure.png", dpi=40{saving})"""


def pixels(path):
    return Image.open(path).convert("RGBA").tobytes()


def fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"


def kind_of(prompt: str) -> str:
    if prompt.startswith("List "):
        return "topics"
    if prompt.startswith("Invent data"):
        return "data"
    if prompt.startswith("Write Python code"):
        return "code"
    if prompt.startswith("This code does not work"):
        return "repair"
    return next(name for name in TASKS if TASKS[name].text.split("{form}")[0].strip() in prompt)


def table(prompt: str) -> str:
    rows, columns = map(int, re.search(r"exactly (\d+) rows .* and (\d+) columns", prompt).groups())
    lines = [["name", *(f"c{n}" for n in range(1, columns))]]
    lines += [[f"r{m}", *(str(m + n) for n in range(1, columns))] for m in range(rows)]
    return fenced("\n".join(",".join(line) for line in lines), "csv") + "\nDescription: It rises, says UNIQUE."


def says(**other):
    """A model that does all of it well, but for what `other` says instead."""
    answers = {
        "topics": "1. Bread prices\n2. Rainfall\n- Bees",
        "data": table,
        "code": fenced(drawing()),
        "repair": fenced(drawing("[1, 2]")),
        "chart-to-chart": f"Instruction: Draw it again.\n{fenced(drawing())}",
        "text-to-chart": f"Instruction: Draw bars of 3, 1 and 2.\n{fenced(drawing(colour='blue'))}",
        "chart-editing": f"Instruction: Make it green.\n{fenced(drawing(colour='green'))}",
    } | other

    def script(question):
        prompt = question.messages[0].content
        kind = kind_of(prompt)
        answer = answers.get(kind) or json.dumps([{"instruction": f"{kind}?", "response": f"{kind}!"}])
        return answer(prompt) if callable(answer) else answer

    return Scripted(script)


async def go(model=None, **options):
    options = {"charts_at_once": 1, "target": 7, "repairs": 0} | options
    return await run(chartllama, POOL, generator=model or says(), **options)


async def test_seven_tasks_are_made_of_a_chart_that_code_drew_in_the_sandbox():
    model = says()
    done = await go(model)
    assert [row.task for row in done.rows] == list(TASKS)
    assert {row.code for row in done.rows} == {drawing()}
    [image] = {row.image for row in done.rows if row.task != "text-to-chart"}
    assert size_of((done.folder / image).read_bytes()) == (80, 80)
    # The mark stands in the first turn, as LLaVA's trainer reads it; who gives data in words shows no picture.
    for row in done.rows:
        first, last = (turn.content for turn in row.messages)
        blind = row.task == "text-to-chart"
        assert (row.image is None, first.count("<image>"), last.count("<image>")) == (blind, 0 if blind else 1, 0)
    assert done.rows[0].messages[0].content in ("<image>\nqa?", "qa?\n<image>")
    assert done.rows[5].messages[0].content == "Draw bars of 3, 1 and 2."
    export(done.folder, "sharegpt", done.folder / "llava.jsonl")
    records = [json.loads(line) for line in (done.folder / "llava.jsonl").read_text().splitlines()]
    assert ["image" in record for record in records] == [row.image is not None for row in done.rows]
    assert pictures(ChartInstruction) == ("image", "response_image")
    again = await replay(done, model={"generator": Scripted(), "renderer": "sandbox:matplotlib"})
    assert (again.rows, again.calls) == (done.rows, 0)
    assert (again.folder / image).read_bytes() == (done.folder / image).read_bytes()
    # What people write of a chart rests on its data, description and code, never on pixels.
    asked = [q for q in model.questions if kind_of(q.messages[0].content) in TASKS]
    assert len(asked) == 7
    for question in asked:
        [message] = question.messages
        assert isinstance(message.content, str)
        for part in (done.rows[0].table, done.rows[0].code, "It rises, says UNIQUE."):
            assert part in message.content
    # An edit draws something else than the chart; drawing it again draws the same.
    by_task = {row.task: row for row in done.rows}
    assert [task for task, row in by_task.items() if row.response_image] == list(CODE_TASKS)
    shown = {task: pixels(done.folder / by_task[task].response_image) for task in CODE_TASKS}
    original = pixels(done.folder / image)
    assert shown["chart-to-chart"] == original != shown["chart-editing"]


async def test_code_that_fails_leaves_no_row_of_any_task_and_its_error_can_be_fed_back():
    attempts = []

    def broken_first(prompt):
        attempts.append(prompt)
        return fenced("raise ValueError('no such colour')") if len(attempts) == 1 else fenced(drawing())

    model = says(code=broken_first)
    done = await go(model)
    assert dict(done.reject_counts) == {"code_failed": 1}
    assert "ValueError no such colour" in done.rejects[0].details["error"]
    assert sum(kind_of(prompt) in TASKS for prompt in model.prompts) == 7  # of the second chart alone
    assert "repair" not in map(kind_of, model.prompts)
    mended = says(code=fenced("raise ValueError('no such colour')"))
    repaired = await go(mended, repairs=1)
    assert {row.code for row in repaired.rows} == {drawing("[1, 2]")}
    [fed] = [prompt for prompt in mended.prompts if kind_of(prompt) == "repair"]
    assert "ValueError no such colour" in fed
    assert "raise ValueError" in fed
    hopeless = says(code=fenced("1 / 0"), repair=fenced("2 / 0"))
    given_up = await go(hopeless, repairs=1, max_candidates=2, target=1)
    assert [r.details["attempt"] for r in given_up.rejects] == [0, 1]
    assert (given_up.rows, [kind_of(p) for p in hopeless.prompts]) == ([], ["topics", "data", "code", "repair"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [("print(1)", "no_figure"), ("open('figure.png', 'w').write('no picture')", "no_figure"), ("import os; os._exit(3)", "code_failed")],
)  # fmt: skip
async def test_code_that_runs_and_draws_nothing_is_no_chart(code, reason):
    done = await go(says(code=fenced(code)), target=1, max_candidates=1)
    assert (done.rows, dict(done.reject_counts)) == ([], {reason: 1})


CHANCE = "import random\n" + drawing().replace('"red"', "[random.random() for _ in range(3)]")
"""Two runs of it draw the same once in 16 million times."""


@pytest.mark.parametrize(
    ("code", "edited"),
    [
        (drawing(), drawing() + "\n# edited"),
        (drawing(), drawing(saving=", pil_kwargs={'compress_level': 1}")),  # other bytes, the same picture
        (CHANCE, CHANCE),  # another picture, and nothing edited
    ],
)
async def test_an_edit_that_changes_nothing_is_dropped(code, edited):
    model = says(code=fenced(code), **{"chart-editing": f"Instruction: Nothing.\n{fenced(edited)}"})
    done = await go(model, tasks=["chart-editing", "qa"], target=1)
    assert ([row.task for row in done.rows], dict(done.reject_counts)) == (["qa"], {"nothing_changed": 1})


BROKEN = """import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = struct.pack(">IIBBBBB", 80, 80, 8, 6, 0, 0, 0)
data = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"nothing packed") + chunk(b"IEND", b"")
open("figure.png", "wb").write(data)"""


async def test_an_edit_whose_code_fails_or_whose_figure_cannot_be_opened_is_dropped():
    unreadable = says(**{"chart-editing": f"Instruction: Break.\n{fenced(BROKEN)}"})
    done = await go(unreadable, tasks=["chart-editing", "qa"], target=1)
    assert ([row.task for row in done.rows], dict(done.reject_counts)) == (["qa"], {"response_failed": 1})
    assert done.rejects[0].details["outcome"].startswith("unreadable")
    broken = says(**{"chart-editing": f"Instruction: Break.\n{fenced('1 / 0')}"})
    done = await go(broken, tasks=["chart-editing", "qa"], target=1)
    assert ([row.task for row in done.rows], dict(done.reject_counts)) == (["qa"], {"response_failed": 1})
    assert done.rejects[0].details["task"] == "chart-editing"


async def test_kind_size_and_trend_stand_in_the_prompt_and_the_table_has_the_size():
    model = says()
    done = await go(model, tasks=["qa"], target=3)
    for prompt, row in zip([p for p in model.prompts if kind_of(p) == "data"], done.rows, strict=True):
        draws = row.lineage.draws
        assert f"a {row.chart_type} chart" in prompt
        assert row.topic in prompt
        assert row.trend in prompt
        assert f"exactly {draws['rows']} rows (besides the header) and {draws['columns']} columns" in prompt
        lines = [line.split(",") for line in row.table.splitlines()]
        assert len(lines) == draws["rows"] + 1
        assert {len(line) for line in lines} == {draws["columns"]}
    assert {row.topic for row in done.rows} <= {"Bread prices", "Rainfall", "Bees"}


async def test_tables_have_all_sizes_from_the_least_to_the_most():
    model = says(data="no table")
    sizes = {"least_rows": 2, "most_rows": 3, "least_columns": 2, "most_columns": 3, "chart_types": ["bar"]}
    await go(model, **sizes, max_candidates=40, target=1)
    asked = [prompt for prompt in model.prompts if kind_of(prompt) == "data"]
    seen = {re.search(r"exactly (\d+) rows .* and (\d+) columns", prompt).groups() for prompt in asked}
    assert seen == {("2", "2"), ("2", "3"), ("3", "2"), ("3", "3")}


async def test_a_table_of_another_size_or_none_is_rejected():
    done = await go(says(data=lambda prompt: fenced("a,b\n1,2", "csv") + "\nDescription: x"), least_rows=2, max_candidates=1, target=1)  # fmt: skip
    assert (done.rejects[0].reason, done.rejects[0].details["rows"]) == ("wrong_shape", 1)
    ragged = says(data=lambda prompt: table(prompt).replace("r0,", "r0,9,"))
    assert (await go(ragged, max_candidates=1, target=1)).rejects[0].reason == "wrong_shape"
    for reply in ("no table", fenced("a,b", "csv"), "Description: only"):
        done = await go(says(data=reply), max_candidates=1, target=1)
        assert dict(done.reject_counts) == {"no_table": 1}


async def test_code_that_works_becomes_an_example_for_charts_that_follow():
    model = says()
    await go(model, tasks=["qa"], target=2, examples_in_prompt=3)
    first, second = [prompt for prompt in model.prompts if kind_of(prompt) == "code"]
    assert ["EXAMPLE_ONE" in first, "EXAMPLE_TWO" in first, drawing() in first] == [True, True, False]
    assert drawing() in second


async def test_pairs_that_cannot_be_read_are_rejected():
    done = await go(says(qa="no JSON", summary='[{"instruction": "", "response": "x"}]', extraction="```\n1\n```"), tasks=["qa", "summary", "extraction"], max_candidates=1, target=1)  # fmt: skip
    assert dict(done.reject_counts) == {"unparsable": 3}


async def test_no_more_pairs_are_kept_than_were_asked_for_and_none_that_holds_the_mark():
    many = json.dumps([{"instruction": f"q{n}", "response": "<image>" if n == 1 else "a"} for n in range(5)])
    done = await go(says(qa=many, summary=many), tasks=["qa", "summary"], qa_pairs=3, max_candidates=4, target=3)
    asked = [(row.task, row.messages[0].content.replace("<image>", "").strip()) for row in done.rows]
    assert asked == [("qa", "q0"), ("qa", "q2"), ("summary", "q0")]
    assert dict(done.reject_counts) == {"image_mark": 1}


async def test_topics_can_be_given_and_none_is_an_error():
    model = says()
    done = await go(model, topics=["Own topic"], tasks=["qa"], target=1)
    assert done.rows[0].topic == "Own topic"
    assert "topics" not in map(kind_of, model.prompts)
    with pytest.raises(BadInput, match="names no topics"):
        await go(says(topics=" \n"), target=1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"chart_types": ["radar"]}, "unknown kind"),
        ({"least_rows": 9}, "must not exceed"),
        ({"tasks": []}, "at least one"),
    ],
)
async def test_what_cannot_work_is_said_at_once(options, why):
    model = says()
    with pytest.raises(BadInput, match=why):
        await go(model, **options)
    assert model.questions == []


async def test_a_kind_that_needs_columns_gets_them_as_far_as_they_are_allowed():
    for most, wanted in ((6, {5, 6}), (4, {4})):
        model = says(data="no table")
        await go(model, chart_types=["candlestick"], most_columns=most, max_candidates=12, target=1)
        prompts = [prompt for prompt in model.prompts if kind_of(prompt) == "data"]
        assert {int(re.search(r"and (\d+) columns", prompt)[1]) for prompt in prompts} == wanted
    assert set(NEEDS_COLUMNS) < set(CHARTS)


async def test_the_last_topic_of_a_reply_that_was_cut_is_not_taken():
    model = says(topics=Reply("Bread prices\nRainf", finish="length"))
    assert {row.topic for row in (await go(model, tasks=["qa"], target=3)).rows} == {"Bread prices"}


def test_a_reply_that_is_not_in_the_form_asked_for_is_bad():
    bad = [
        (code_pair_of, f"Sure, here is the code:\n{fenced('1')}"),
        (code_pair_of, f"Instruction:\nCode:\n{fenced('1')}"),
        (code_pair_of, "Instruction: Draw."),
        (pairs_of, '[{"instruction": "a", "response": "b", "x": ' + "[" * 100_000 + "]" * 100_000 + "}]"),
        (lambda reply: table_of(reply, 1, 2), fenced("a,b\n" + "x" * 140_000 + ",1", "csv") + "\nDescription: x"),
    ]
    for read, text in bad:
        with pytest.raises(Bad):
            read(Reply(text))


def test_a_request_may_hold_the_data_and_a_label_before_the_code_is_no_part_of_it():
    request = f"Draw this:\n{fenced('a,b', 'csv')}"
    [pair] = code_pair_of(Reply(f"**Instruction:** {request}\n\n**Code:**\n{fenced('print(1)')}"))
    assert (pair.instruction, pair.response) == (request, fenced("print(1)"))


@pytest.mark.parametrize(
    ("between", "code"),
    [("\nCode:\n", "print(2)"), ("\n**Code:**\n", "print(2)"), ("\nCode: here it is\n", "# Code:\nprint(2)"), ("\n", "print(2)")],
)  # fmt: skip
def test_a_request_may_hold_python_of_its_own(between, code):
    request = f"Sort the bars of this:\n{fenced('print(1)')}"
    [pair] = code_pair_of(Reply(f"Instruction: {request}\n{between}{fenced(code)}\nThe bars are sorted."))
    assert (pair.instruction, pair.response) == (request, fenced(code))


def test_a_block_that_names_no_language_is_taken_for_the_code():
    [pair] = code_pair_of(Reply("Instruction: Draw.\n```\nprint(1)\n```"))
    assert (pair.instruction, pair.response) == ("Draw.", fenced("print(1)"))


def png(width=80, height=80, end=b"IEND", data=b"IDAT") -> bytes:
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(data, b"x") + chunk(end, b"")


def test_a_figure_is_a_whole_png_of_a_chart_s_size():
    assert size_of(png(320, 240)) == (320, 240)
    for file in (
        b"",
        b"GIF89a" + png()[6:],
        png()[:16],
        png()[:-5],
        png() + b"more",
        png().replace(b"IDATx", b"IDATy"),
        png(end=b"tEXt"),
        png(data=b"tEXt"),
        png(15, 900),
        png(60_000, 60_000),
    ):
        assert size_of(file) is None


def test_ten_kinds_of_chart():
    assert len(CHARTS) == 10
