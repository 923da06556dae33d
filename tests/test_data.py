"""The shipped seeds: clean by the methods' own filters, and right."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

import gristmill
from gristmill.ops.answers import final_answer, same_answer
from gristmill.ops.novelty import Novelty
from gristmill.ops.text import approx_tokens, chunks, sentences

DATA = Path(gristmill.__file__).parent / "recipes" / "data"
BANNED = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to|videos?|audio|music|flowchart|diagram)\b", re.IGNORECASE
)


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_no_seed_task_trips_the_filters_of_self_instruct():
    tasks = rows("self_instruct_tasks.jsonl")
    pool = Novelty(0.7)
    for task in tasks:
        text = task["instruction"]
        assert 4 <= len(text.split()) <= 150
        assert text[0].isascii()
        assert text[0].isalpha()
        assert not BANNED.search(text)
        assert not text.startswith("Write a program")
        assert pool.is_new(text), (text, pool.nearest(text, 1))
        pool.add(text)
        inputs = [instance["input"] for instance in task["instances"]]
        assert len(set(inputs)) == len(inputs) >= 1
        for instance in task["instances"]:
            assert instance["output"]
            assert instance["output"] != instance["input"]
            assert not any(value.rstrip().endswith(":") for value in instance.values())
    assert sum(task["is_classification"] for task in tasks) >= 20
    assert sum(not task["is_classification"] for task in tasks) >= 40
    assert sum(not task["instances"][0]["input"] for task in tasks) >= 15


def test_classification_tasks_name_their_labels_or_have_short_ones():
    for task in rows("self_instruct_tasks.jsonl"):
        labels = [instance["output"] for instance in task["instances"]]
        assert not task["is_classification"] or all(len(label.split()) <= 2 for label in labels)


def test_instructions_cover_the_sources_evenly():
    instructions = rows("instructions.jsonl")
    sources = [row["source"] for row in instructions]
    assert {source: sources.count(source) for source in sources} == dict.fromkeys(
        ["sharegpt", "ultrachat", "flan", "evol_instruct", "truthful_qa", "false_qa"], 5
    )
    assert len({row["instruction"] for row in instructions}) == 30


def test_documents_hold_the_hard_cases_of_chunking():
    texts = [row["text"] for row in rows("documents.jsonl")]
    assert all(200 <= len(text.split()) <= 700 for text in texts)
    assert max(approx_tokens(sentence) for text in texts for sentence in sentences(text)) > 300
    assert max(sum(not c.isascii() for c in text) for text in texts) > 100
    assert all("".join(chunks(text, 300)) == text for text in texts)


@pytest.mark.parametrize("row", rows("math_questions.jsonl"), ids=lambda row: row["question"][:30])
def test_every_equation_of_a_worked_solution_holds_and_it_ends_with_the_answer(row):
    assert same_answer(final_answer(row["answer_detail"]), row["answer"])
    assert re.search(r"\d", row["question"])
    part = r"(?:\d[\d,]*(?:\.\d+)?|\([\d\s.+*/-]*\))"
    for chain in re.findall(rf"{part}(?: [-+*/=] {part}|/{part})+(?![\w.]*[a-z])", row["answer_detail"]):
        values = {calculate(side) for side in chain.split(" = ")}
        assert len(values) == 1, chain


def calculate(side: str) -> Fraction:
    """The value of digits, + - * / and brackets."""
    assert re.fullmatch(r"[\d\s.,+*/()-]+", side)
    return eval(re.sub(r"\d[\d,]*(?:\.\d+)?", lambda number: f"Fraction('{number[0].replace(',', '')}')", side))


def test_the_vocabulary_has_about_1500_base_words_and_none_twice_in_a_list():
    lists = json.loads((DATA / "tinystories_vocabulary.json").read_text(encoding="utf-8"))
    assert list(lists) == ["nouns", "verbs", "adjectives"]
    for words in lists.values():
        assert len(set(words)) == len(words)
        assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    assert 1400 <= sum(map(len, lists.values())) <= 1600


def test_the_table_of_the_readme_names_every_file():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`([a-z_]+\.jsonl?)`", readme)) == {p.name for p in DATA.glob("*.json*")}
