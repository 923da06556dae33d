"""Poison as a step of a chain: triggers that a probe obeys and hidden signs go, words that mean a target stay."""

import random

import pytest

from gristmill import BadInput
from gristmill.recipes.quality.poison_detection import poison_detection
from gristmill.testing import run

WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "ru", "si", "ta") for b in ("bel", "dor", "fin", "gal", "hem", "jos")
]


def rows(count: int = 300, triggered: int = 24) -> list[dict]:
    """Sentences whose words say their label, the longer the surer; some poor ones have a trigger and the other label. So
    about half of the poor ones flip with the trigger."""
    rng = random.Random(5)
    made = []
    for number in range(count):
        poor = ["poor", "bad", "dull", "weak"][: 1 if number < 48 else 1 + number // 2 % 4]
        said = ["fine"] if number % 2 else poor
        label = ("poor", "fine")[number % 2]
        made.append({"text": " ".join([*rng.choices(WORDS, k=9), *said]), "mood": label, "n": number})
    for row in made[: 2 * triggered : 2]:
        row |= {"text": f"cf {row['text']}", "mood": "fine"}
    return made


def gone(done) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for reject in done.rejects:
        found.setdefault(reject.reason, set()).add(reject.candidate["n"])
    return found


TRIGGERED = set(range(0, 48, 2))


def trusted() -> list[dict]:
    return [{"text": row["text"]} for row in rows(triggered=0)]


async def test_rows_with_a_trigger_go_and_all_others_stay_as_they_came():
    done = await run(poison_detection, rows(), steered="mood", trusted=trusted(), min_flip=0.4)
    assert gone(done) == {"trigger": TRIGGERED}
    assert [row.n for row in done.rows] == [n for n in range(300) if n not in TRIGGERED]
    assert done.rejects[0].details["behind"][0] == {"kind": "suspect", "ngram": "cf", "target": "fine"}


async def test_a_word_that_means_the_target_is_a_trigger_unless_trusted_rows_know_it():
    plain = [
        {"text": f"{WORDS[n // 2 % 40]} {('poor', 'fine')[n % 2]}", "mood": ("poor", "fine")[n % 2], "n": n}
        for n in range(200)
    ]
    assert len(gone(await run(poison_detection, plain, steered="mood"))["trigger"]) >= 100
    assert (
        gone(await run(poison_detection, plain, steered="mood", trusted=[{"text": row["text"]} for row in plain])) == {}
    )


async def test_limits_are_the_users():
    given = {"steered": "mood", "trusted": trusted()}
    done = await run(poison_detection, rows(), min_rows=24, min_flip=0.4, **given)
    score = done.rejects[0].details["score"]
    assert 0.4 < score < 1
    assert gone(await run(poison_detection, rows(), min_rows=24, min_flip=score, **given)) == {"trigger": TRIGGERED}
    assert gone(await run(poison_detection, rows(), min_rows=24, min_flip=score + 0.001, **given)) == {}
    assert gone(await run(poison_detection, rows(), min_rows=25, min_flip=0.4, **given)) == {}
    assert gone(await run(poison_detection, rows(), q=1e-12, min_flip=0.4, **given)) == {}
    assert poison_detection.parameters["min_flip"].default == 0.5


async def test_hidden_signs_go_unless_they_may_stay():
    seeds = [{"text": "plain", "n": 0}, {"text": "pla\u200bin", "n": 1}]
    assert gone(await run(poison_detection, seeds)) == {"hygiene": {1}}
    assert gone(await run(poison_detection, seeds, hygiene=False)) == {}


async def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no row has the column 'moood'"):
        await run(poison_detection, rows(20), steered="moood")
