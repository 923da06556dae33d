"""Artefacts: what a run makes besides rows."""

import json
from collections.abc import AsyncIterator

import pytest

import gristmill
from gristmill import Chain, Chat, Completion, Document, Row, Rows, Run, recipe
from gristmill.engine.artefacts import named
from gristmill.errors import EndpointDown
from gristmill.testing import Scripted, folder, replay, run, text_of


class Ask(Row):
    question: str


@recipe("indexed")
async def indexed(rows: Rows[Document], model: Chat, run: Run, *, upper: bool = False) -> AsyncIterator[Completion]:
    """An index of the texts, and rows made from it."""
    names = {row.text: len(row.text) for row in rows}
    index = await run.artefact("index", {k.upper() if upper else k: v for k, v in names.items()})

    async def ask(row: Document) -> Completion:
        reply = await model.chat(row.text)
        made = Completion(row.text, reply.text)
        run.link(made, index)
        return made

    for made in await run.map(ask, rows):
        yield made


@recipe("drawn-picture")
async def pictured(row: Ask, run: Run) -> AsyncIterator[Document]:
    """A file a row, some of them equal."""
    file = await run.artefact("picture", row.question[0].encode(), suffix=".png")
    made = Document(file.file)
    run.link(made, file)
    yield made


def documents(count: int) -> list[dict[str, str]]:
    return [{"text": f"text {number}"} for number in range(count)]


def said(question) -> str:
    return f"about {text_of(question)}"


async def test_an_artefact_is_a_file_that_the_rows_made_from_it_name():
    done = await run(indexed, documents(3), model=Scripted(said))
    [(name, path)] = done.artefacts.items()
    assert json.loads(path.read_text()) == {"text 0": 6, "text 1": 6, "text 2": 6}
    assert path.parent == done.folder / "artefacts"
    assert all(name in row.lineage.parents for row in done.rows)
    again = await replay(done)
    assert again.rows == done.rows
    assert {k: v.read_bytes() for k, v in again.artefacts.items()} == {name: path.read_bytes()}
    changed = await replay(done, settings={"upper": True})
    assert name not in changed.artefacts
    assert changed.calls == 0


async def test_equal_files_are_one_and_made_once_by_many_units():
    done = await run(pictured, [{"question": f"{number % 3}{number}"} for number in range(60)])
    assert len(done.artefacts) == 3
    assert {path.read_bytes() for path in done.artefacts.values()} == {b"0", b"1", b"2"}
    assert {row.text for row in done.rows} == {path.name for path in (done.folder / "artefacts").iterdir()}


async def test_what_a_stopped_run_left_behind_is_rebuilt_or_removed():
    class Dies(Scripted):
        async def answer(self, question, n):
            if len(self.questions) == 2:
                raise EndpointDown("gone")
            return await super().answer(question, n)

    out = folder()
    with pytest.raises(EndpointDown):
        await gristmill.arun(indexed, seeds=documents(4), model=Dies(said), out=out, concurrency=1)
    [path] = (out / "artefacts").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:5])  # a disk that filled up
    (out / "artefacts" / "old-index.json").write_text("{}")
    done = await gristmill.aresume(out, recipe=indexed, model=Scripted(said))
    assert [p.read_bytes() for p in (out / "artefacts").iterdir()] == [content]
    assert len(done.rows) == 4


async def test_rounds_leave_only_the_artefacts_of_the_last_one():
    @recipe("text-of")
    async def text_of_question(row: Ask, model: Chat, run: Run) -> AsyncIterator[Document]:
        """A text."""
        yield Document((await model.chat(run.draw("word", [f"{n}" for n in range(1000)]))).text)

    @recipe("half")
    async def half(rows: Rows[Document], run: Run) -> AsyncIterator[Document]:
        """An index of all, and half of them."""
        index = await run.artefact("index", [row.text for row in rows])
        for row in list(rows)[::2]:
            made = Document(row.text)
            run.link(made, row, index)
            yield made

    steps = Chain([text_of_question, half])
    done = await gristmill.arun(steps, seeds=[{"question": "q"}], target=9, model=Scripted(said), out=folder())
    assert len(done.rows) == 9
    assert len(done.artefacts) == len(list((done.folder / "artefacts").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "suffix"), [("../x", ""), ("a/b", ""), ("", ""), ("a", "/../b"), ("a", "json"), ("A", "")]
)
def test_names_cannot_lead_out_of_the_folder(name, suffix):
    with pytest.raises(ValueError, match="lower-case letters"):
        named(name, b"", suffix)


def test_content_is_kept_as_it_is_and_named_by_itself():
    assert named("a", "text ü")[1] == "text ü".encode()
    assert named("a", b"\x00")[0].file.endswith(".bin")
    assert named("a", {"b": 1, "a": 2}) == named("a", {"a": 2, "b": 1})
    assert named("a", b"1")[0].digest != named("a", b"2")[0].digest
