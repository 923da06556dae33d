"""A random forest over embeddings: taught by some rows, asked about all."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from gristmill import Document, Rows, Run, recipe
from gristmill.ops import heads
from gristmill.testing import replay, run

NEAR, FAR = [0.0, 1.0], [1.0, 0.0]
VECTORS = np.array([NEAR, FAR] * 20) + np.linspace(0, 0.2, 80).reshape(40, 2)
LABELS = ["near", "far"] * 5


class Said(Document):
    share: float


@recipe("forest-of-a-test")
async def of_a_test(
    rows: Rows[Document],
    run: Run,
    *,
    labels: list[str],
    label: str = "near",
    trees: int = 20,
) -> AsyncIterator[Said]:
    said, kept = await heads.forest(run, VECTORS, list(range(len(labels))), labels, label, trees=trees)
    for row, share in zip(rows, said, strict=True):
        made = Said(text=row.text, share=share)
        run.link(made, row, kept)
        yield made


async def shares(**options):
    done = await run(of_a_test, [{"text": str(number)} for number in range(40)], **options)
    return done, [row.share for row in done.rows]


async def test_a_forest_tells_rows_that_it_was_not_taught():
    _, found = await shares(labels=LABELS)
    assert all(share > 0.8 for share in found[::2])
    assert all(share < 0.2 for share in found[1::2])
    _, other = await shares(labels=LABELS, label="far")
    assert other == pytest.approx([1 - share for share in found])


async def test_of_a_single_label_it_is_sure():
    for labels, label, sure in [(["near"] * 3, "near", 1.0), (["far"] * 3, "near", 0.0), (LABELS, "nowhere", 0.0)]:
        assert set((await shares(labels=labels, label=label))[1]) == {sure}
    done = await run(of_a_test, [{"text": "0"}], labels=[], allow_failures=True)
    assert "there are none" in done.failures[0].error


async def test_a_replay_grows_nothing_and_says_the_same(monkeypatch):
    done, found = await shares(labels=LABELS)
    monkeypatch.setattr("sklearn.ensemble.RandomForestClassifier", None)
    again = await replay(done)
    assert [row.share for row in again.rows] == found
    assert all(parent.startswith("forest:") for row in done.rows for parent in row.lineage.parents[1:])
    assert len(done.rows[0].lineage.parents) == 2
