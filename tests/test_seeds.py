"""Reading what users bring, and saying what is wrong with it before anything is asked."""

import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import BadInput, Document, Instruction, Row
from gristmill.seeds import read

ROWS = [
    {"instruction": "Zähle bis drei.", "input": "", "output": "1, 2, 3"},
    {"instruction": "日本語で", "output": "a\nb"},
]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def instructions(source, **options):
    return [(row.instruction, row.output) for row in read(source, Instruction, **options)]


EXPECTED = [(row["instruction"], row["output"]) for row in ROWS]


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    import csv

    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = "\n".join(json.dumps(row) for row in ROWS)
    assert instructions(write(tmp_path, "a.jsonl", lines + "\n\n")) == EXPECTED
    assert instructions(write(tmp_path, "bom.jsonl", "\ufeff" + lines)) == EXPECTED
    assert instructions(write(tmp_path, "a.json", json.dumps(ROWS))) == EXPECTED
    assert instructions(write(tmp_path, "b.json", json.dumps({"data": ROWS, "version": 1}))) == EXPECTED
    with open(tmp_path / "a.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["instruction", "input", "output"], restval="")
        writer.writeheader()
        writer.writerows(ROWS)
    assert instructions(tmp_path / "a.csv") == EXPECTED
    full = [{"input": "", **row} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(full), tmp_path / "a.parquet")
    assert instructions(tmp_path / "a.parquet") == EXPECTED
    assert instructions(ROWS) == EXPECTED
    assert instructions([Instruction(**row) for row in ROWS]) == EXPECTED


def test_a_folder_of_texts_is_split_at_sentences_into_pieces_that_join_to_the_text(tmp_path):
    text = "One sentence here. " * 50
    write(tmp_path, "b.md", text)
    write(tmp_path, "a.txt", "Short.")
    (tmp_path / "skipped.pdf").write_bytes(b"%PDF")
    assert [row.text for row in read(tmp_path, Document)] == ["Short.", text]
    pieces = [row.text for row in read(tmp_path, Document, chunk=40)]
    assert len(pieces) > 5
    assert "".join(pieces[1:]) == text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"instruction": "x"}\n{"instruction": \n', "a.jsonl line 2: not valid JSON"),
        ("a.jsonl", '{"instruction": "x"}\n[1]\n', "a.jsonl line 2: expected an object, got list"),
        ("a.jsonl", '{"instruction": 7}\n', "a.jsonl line 1: Expected `str`, got `int` - at `$.instruction`"),
        ("a.jsonl", "\n\n", "there are no rows in it"),
        ("a.jsonl", '{"prompt": "x", "answer": 1}\n', "--map COLUMN=instruction"),
        ("a.json", '{"a": 1}', "expected a list of objects"),
        ("a.json", '[{"instruction": "x"},\n oops]', "a.json line 2: not valid JSON"),
        ("a.csv", "instruction,output\nx,y,z\n", "a.csv line 2: the number of cells differs"),
        ("a.csv", 'instruction,output\n"x,y\n', "a.csv line"),
        ("a.parquet", "no parquet", "not a readable Parquet file"),
        ("a.xyz", "x", "unknown kind of file '.xyz'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, name, text, message):
    with pytest.raises(BadInput) as caught:
        list(read(write(tmp_path, name, text), Instruction))
    assert message in str(caught.value)


def test_text_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"instruction": "' + b"\xff\xfe" + b'"}')
    with pytest.raises(BadInput, match="not UTF-8 at byte 17"):
        list(read(path, Instruction))


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        list(read(tmp_path / "missing.jsonl", Instruction))
    with pytest.raises(BadInput, match="in this folder"):
        list(read(tmp_path, Document))


def test_columns_can_be_renamed_and_a_wrong_name_is_named(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": 7, "prompt": "x"}')
    assert instructions(path, mapping={"prompt": "instruction"}) == [("x", "")]
    with pytest.raises(BadInput, match="no field 'instrction'"):
        list(read(path, Instruction, mapping={"prompt": "instrction"}))


class Named(Row):
    name: str
    text: str


def test_a_users_own_id_can_be_kept_in_a_field(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"id": "mine", "text": "x"}')
    [row] = read(path, Named, mapping={"id": "name"})
    assert row.name == "mine"
    assert row.id != "mine"


def test_a_set_of_the_hub_is_streamed_where_the_library_is_and_named_where_it_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match="pip install 'gristmill\\[datasets\\]'"):
        list(read("hf:someone/something", Document))
    asked = []

    def load_dataset(name, *, split, streaming):
        asked.append((name, split, streaming))
        return iter([{"text": "one"}, {"text": "two"}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert [row.text for row in read("hf:someone/something:test", Document)] == ["one", "two"]
    assert asked == [("someone/something", "test", True)]


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_ids_depend_on_content_and_occurrence_and_nothing_else(texts):
    ids = [row.id for row in read([{"text": text} for text in texts], Document)]
    assert len(set(ids)) == len(ids)
    extra = [row.id for row in read([{"text": text, "unread": n} for n, text in enumerate(texts)], Document)]
    assert extra == ids
    backwards = [row.id for row in read([{"text": text} for text in reversed(texts)], Document)]
    assert set(backwards) == set(ids)
