"""The page on which people answer, in a real browser, by keyboard alone."""

import asyncio
import signal

import msgspec
import pytest
from playwright.async_api import Page

from annotating import HOSTILE, KINDS, answers, ask_people, free_port, serving, waiting
from chromium import browsing
from gristmill.api import aresume
from gristmill.models.annotation import Note

# What is pressed for each kind of task, and what must then be in the journal.
BY_KEYS: dict[str, tuple[list[str], Note]] = {
    "label": (["2", "3", "Enter"], Note(labels=["question"])),
    "several": (["1", "2", "3", "2", "Enter"], Note(labels=["food", "price"])),
    "write": (["type:Air scatters\nblue light; u s 1", "Control+Enter"], Note(text="Air scatters\nblue light; u s 1")),
    "edit": (["Control+Home", "type:Yes. ", "Control+Enter"], Note(text="Yes. He go to school yesterday.")),
    "rank": (["3", "1", "ArrowDown", "ArrowDown", "Shift+ArrowUp", "Enter"], Note(order=[2, 1, 0])),
    "compare": (["6", "ArrowLeft", "ArrowLeft", "Enter"], Note(preference=0)),
    "rate": (["4", "0", "ArrowUp", "ArrowRight", "ArrowDown", "2", "Enter"], Note()),
    "steps": (["1", "1", "1", "ArrowUp", "2", "Enter"], Note(labels=["right", "wrong"])),
}
BY_KEYS["rate"][1].ratings = {"brevity": 4, "correctness": 1, "helpfulness": 2}


async def settled(page: Page, kind: str = "") -> None:
    """Until a task is shown, of this kind, and nothing is under way."""
    shown = "current ? (current.task.several ? 'several' : current.task.type) : 'none'"
    await page.wait_for_function(f"kind => widget && !busy && (!kind || {shown} === kind)", arg=kind)


async def press(page: Page, keys: list[str]) -> None:
    for key in keys:
        if key.startswith("type:"):
            await page.keyboard.type(key.removeprefix("type:"))
        else:
            await page.keyboard.press(key)


async def kind_of(page: Page) -> str:
    task = await page.evaluate("current.task")
    return "several" if task.get("several") else task["type"]


async def finished(page: Page) -> None:
    await page.get_by_role("heading", name="Nothing is left for you").wait_for()


def said(note: Note) -> Note:
    return msgspec.structs.replace(note, by="", seconds=0.0, call="")


async def test_tasks_of_every_kind_are_answered_by_keyboard_and_nothing_outside_is_asked_for():
    out = await waiting(*[{"kind": kind} for kind in KINDS])
    port = free_port()
    with serving(out, port) as served:
        async with browsing() as (page, asked):
            await page.goto(served.url)
            await page.get_by_label("Your name").wait_for()
            await press(page, ["type:Anna", "Enter"])
            order = []
            for _ in KINDS:
                await settled(page)
                kind = await kind_of(page)
                order.append(kind)
                if kind == "label":
                    assert HOSTILE in await page.inner_text("#task")
                    assert await page.title() != "taken"
                    assert await page.locator("#task img, #task script").count() == 0
                keys, note = BY_KEYS[kind]
                await press(page, ["Escape", "c", "type:s u 1", "Escape"] if kind == "rank" else [])
                await press(page, keys)
                await page.wait_for_function("n => !busy && standing.mine === n", arg=len(order))
                expected = msgspec.structs.replace(note, comment="s u 1" if kind == "rank" else "")
                assert said(answers(out)[-1]) == expected, kind
            await finished(page)
            await press(page, ["Control+z"])  # the last one is taken back, shows what was said, and is given again
            await settled(page, order[-1])
            assert len(answers(out)) == len(KINDS) - 1
            assert await page.evaluate("widget.problem()") == ""
            shown = msgspec.convert(await page.evaluate("widget.note()"), Note)
            assert shown == BY_KEYS[order[-1]][1]
            await press(page, ["Control+Enter"])
            await finished(page)
        assert {url.split("?")[0].removeprefix(f"http://127.0.0.1:{port}/").split("/")[0] for url in asked} <= {
            "",
            "api",
        }
        assert "0 open" in served.end()
    done = await aresume(out, recipe=ask_people)
    assert {row.kind: [note.by for note in row.notes] for row in done.rows} == {kind: ["anna"] for kind in KINDS}


async def test_an_answer_given_while_the_server_is_dead_arrives_when_it_is_back():
    out = await waiting({"kind": "write"}, {"kind": "label"})
    port = free_port()
    async with browsing() as (page, asked):
        with serving(out, port) as served:
            await page.goto(served.url + "&by=anna")
            await settled(page)
            first = await kind_of(page)
            served.end(signal.SIGKILL)
            await press(page, BY_KEYS[first][0])
            await page.get_by_text("The server does not answer").wait_for()
            assert answers(out) == []
        with serving(out, port):
            await page.wait_for_function("n => !busy && standing.mine === n", arg=1)
            assert await page.locator("#lost").is_hidden()
            second = await kind_of(page)
            await press(page, BY_KEYS[second][0])
            await finished(page)
    assert [said(note) for note in answers(out)] == [BY_KEYS[first][1], BY_KEYS[second][1]]
    assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in asked)


async def test_an_answer_that_was_on_its_way_at_a_reload_is_sent_and_an_unfinished_text_is_still_there():
    out = await waiting({"kind": "write"})
    async with browsing() as (page, _):
        with serving(out, 0) as served:
            await page.goto(served.url + "&by=anna")
            await settled(page)
            await press(page, ["type:Half a sen"])
            await page.reload()
            await settled(page)
            assert await page.input_value("#text") == "Half a sen"
            await press(page, ["End", "type:tence"])
            await page.route("**/api/answer", lambda route: route.abort())
            await press(page, ["Control+Enter"])
            await page.get_by_text("The server does not answer").wait_for()
            await page.unroute("**/api/answer")
            await page.reload()
            await finished(page)
    assert [note.text for note in answers(out)] == ["Half a sentence"]


async def test_a_reply_that_is_lost_leaves_one_answer():
    out = await waiting({"kind": "label", "n": 2})
    lost = 0

    async def lose(route) -> None:
        nonlocal lost
        lost += 1
        if lost <= 2:
            await route.fetch()  # it reached the server, the reply does not reach the page
            await route.abort()
        else:
            await route.continue_()

    with serving(out, 0) as served:
        async with browsing() as (page, _):
            await page.goto(served.url + "&by=anna")
            await settled(page)
            await page.route("**/api/answer", lose)
            await press(page, ["1", "Enter"])
            await finished(page)
    assert (lost, [note.labels for note in answers(out)]) == (3, [["complaint"]])


async def test_what_does_not_fit_is_said_and_not_sent():
    out = await waiting({"kind": "rank"})
    with serving(out, 0) as served:
        async with browsing() as (page, asked):
            await page.goto(served.url + "&by=anna")
            await settled(page)
            await press(page, ["2", "Enter"])
            await page.get_by_text("Give each text a place.").wait_for()
            await press(page, ["u"])
            await page.get_by_text("There is nothing to take back.").wait_for()
            assert not [url for url in asked if url.endswith("/answer")]
            await press(page, ["s"])
            await finished(page)
    assert [note.skipped for note in answers(out)] == [True]


async def test_a_ranking_can_be_dragged():
    out = await waiting({"kind": "rank"})
    with serving(out, 0) as served:
        async with browsing() as (page, _):
            await page.goto(served.url + "&by=anna")
            await settled(page)
            await page.drag_and_drop(".item >> nth=2", ".item >> nth=0")
            await page.drag_and_drop(".item >> nth=2", ".item >> nth=0")
            assert await page.evaluate("widget.note().order") == [1, 2, 0]


async def test_two_people_on_one_page_each_get_a_task_of_their_own():
    out = await waiting({"kind": "label", "n": 2}, {"kind": "rate"})
    with serving(out, 0) as served:
        async with browsing() as (anna, _), browsing() as (bo, _):
            for page, by in ((anna, "anna"), (bo, "bo")):
                await page.goto(f"{served.url}&by={by}")
                await settled(page)
            keys = await asyncio.gather(*[page.evaluate("current.key") for page in (anna, bo)])
            assert keys[0] != keys[1]
            async with anna.expect_request("**/api/progress*") as asked:
                await anna.evaluate("watch()")
            assert (await asked.value).url.endswith(f"by=anna&key={keys[0]}")  # and so it stays hers


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_can_be_read_in_light_and_dark_and_on_a_narrow_screen(scheme):
    out = await waiting(*[{"kind": kind} for kind in KINDS])
    with serving(out, 0) as served:
        async with browsing(color_scheme=scheme, viewport={"width": 390, "height": 800}) as (page, _):
            await page.goto(served.url + "&by=anna")
            for _ in KINDS:
                await settled(page)
                key = await page.evaluate("current.key")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 390, await kind_of(page)
                ink, ground = await page.evaluate(
                    "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
                )
                assert contrast(ink, ground) > 7
                await press(page, ["Escape", "s"])
                await page.wait_for_function("k => !busy && (!current || current.key !== k)", arg=key)


def contrast(one: str, other: str) -> float:
    """Of two colours, "rgb(1, 2, 3)", as WCAG 2 defines it: 1 to 21."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted([light(one), light(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)
