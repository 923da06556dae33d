"""Pictures: what a user brings, what a run makes, what a model is shown, what is exported."""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator

import pytest

from gristmill import BadInput, Image, ImageText, Picture, Row, Run, See, recipe, user
from gristmill.export.formats import export
from gristmill.pictures import suffix_of
from gristmill.testing import Scripted, folder, replay, run


def png(red: int) -> bytes:
    """A picture of one point."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes([0, red, 0, 0])))
        + chunk(b"IEND", b"")
    )


class Photo(Row):
    image: Picture
    title: str = ""


@recipe("caption")
async def caption(row: Photo, eye: See, run: Run) -> AsyncIterator[ImageText]:
    said = await eye.chat([user("What is this?", Image(row.image))])
    yield ImageText(image=row.image, text=said.text)


@recipe("draw")
async def draw(row: Photo, run: Run) -> AsyncIterator[ImageText]:
    made = await run.artefact("point", png(len(row.title)), suffix=".png")
    drawn = ImageText(image=made.path, text=row.title)
    run.link(drawn, made)
    yield drawn


def shown(model: Scripted) -> list[bytes]:
    """The pictures that a model was sent."""
    urls = [
        part.url for question in model.questions for part in question.messages[0].content if isinstance(part, Image)
    ]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


@pytest.fixture
def album():
    """A file that names two pictures beside it."""
    place = folder()
    (place / "photos").mkdir()
    for number in (1, 2):
        (place / "photos" / f"{number}.png").write_bytes(png(number))
    lines = [{"image": f"photos/{number}.png", "title": str(number)} for number in (1, 2)]
    (place / "album.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return place / "album.jsonl"


async def test_a_model_sees_the_pictures_that_a_file_names_and_the_journal_holds_none_of_them(album):
    eye = Scripted(lambda question: "a point")
    done = await run(caption, str(album), eye=eye)
    assert set(shown(eye)) == {png(1), png(2)}
    assert base64.b64encode(png(1))[:40] not in (done.folder / "run.db").read_bytes()
    assert [(done.folder / row.image).read_bytes() for row in done.rows] == [png(1), png(2)]


async def test_a_picture_that_moved_keeps_its_answer_and_one_that_changed_does_not(album):
    done = await run(caption, str(album), eye=Scripted(lambda question: "a point"))
    (album.parent / "photos").rename(album.parent / "moved")
    album.write_text(album.read_text().replace("photos/", "moved/"))
    nobody = Scripted([])
    again = await replay(done, seeds=str(album), model=nobody, offline=False)
    assert (again.rows, nobody.questions) == (done.rows, [])
    (album.parent / "moved" / "2.png").write_bytes(png(7))
    eye = Scripted(lambda question: "another")
    other = await replay(done, seeds=str(album), model=eye, offline=False)
    assert (shown(eye), [row.text for row in other.rows]) == ([png(7)], ["a point", "another"])


async def test_a_run_is_whole_without_the_files_that_it_read(album):
    done = await run(caption, str(album), eye=Scripted(lambda question: "a point"))
    for photo in (album.parent / "photos").iterdir():
        photo.unlink()
    again = await replay(done)
    assert (again.rows, (again.folder / again.rows[0].image).read_bytes()) == (done.rows, png(1))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"GIF but not one", "no PNG, JPEG, GIF or WebP"), (b"", "no PNG"), (None, "the picture cannot be read")],
)
async def test_a_picture_that_is_none_is_named_with_its_line_before_any_call(album, content, complaint):
    photo = album.parent / "photos" / "2.png"
    photo.unlink() if content is None else photo.write_bytes(content)
    eye = Scripted([])
    with pytest.raises(BadInput, match=rf"album.jsonl line 2: .*2.png: .*{complaint}"):
        await run(caption, str(album), eye=eye)
    assert eye.questions == []


async def test_pictures_as_bytes_are_taken_as_the_library_datasets_has_them():
    eye = Scripted(["a point"])
    await run(caption, [{"image": {"bytes": png(3), "path": None}}], eye=eye)
    assert shown(eye) == [png(3)]


async def test_a_url_is_sent_as_it_is():
    eye = Scripted(["far away"])
    done = await run(caption, [{"image": "https://example.org/a.png"}], eye=eye)
    assert eye.questions[0].messages[0].content[1] == Image("https://example.org/a.png")
    assert done.rows[0].image == "https://example.org/a.png"


@pytest.mark.parametrize(
    "name", ["artefacts/../run.db", "/etc/passwd", "inputs/seeds.parquet", "artefacts/x.png/../y.png"]
)
async def test_no_message_reads_another_file_than_a_picture_of_the_run(name):
    @recipe("reads")
    async def reads(row: Photo, eye: See, run: Run) -> AsyncIterator[ImageText]:
        yield ImageText(image="", text=(await eye.chat([user("?", Image(row.title))])).text)

    eye = Scripted(["never"])
    with pytest.raises(BadInput, match="no picture of this run"):
        await run(reads, [{"image": "", "title": name}], eye=eye)
    assert eye.questions == []


async def test_a_model_that_cannot_see_is_refused_before_the_first_call(album):
    blind = Scripted([], can=["Chat"])
    with pytest.raises(BadInput, match=r"needs See.*openai:MODEL of a model that sees"):
        await run(caption, str(album), eye=blind)


async def test_an_export_takes_its_pictures_along(album):
    done = await run(draw, str(album))
    to = folder() / "points.jsonl"
    assert export(done.folder, "jsonl", to) == {to: 2}
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    assert [(to.parent / row["image"]).read_bytes() for row in rows] == [png(1), png(1)]
    assert all(row["image"].startswith("points-pictures/point-") for row in rows)
    seen = Scripted(lambda question: "again")
    await run(caption, str(to), eye=seen)  # what was exported can be read again
    assert set(shown(seen)) == {png(1)}


async def test_the_table_of_another_run_brings_its_pictures(album):
    done = await run(draw, str(album))
    eye = Scripted(lambda question: "a point")
    again = await run(caption, str(done.folder / "data" / "image_text.parquet"), eye=eye)
    assert set(shown(eye)) == {png(1)}
    assert all((again.folder / row.image).exists() for row in again.rows)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(0), ".png"),
        (b"\xff\xd8\xff\xe0rest", ".jpg"),
        (b"GIF89a...", ".gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", ""),
        (b"<svg/>", ""),
    ],
)
def test_a_picture_is_known_by_how_it_begins(data, kind):
    assert suffix_of(data) == kind
