"""Checks as steps of a chain: what they flag goes with a reason, the rest passes as it came, and a replay measures nothing."""

import math
import random
import re
from collections import Counter

import pytest

import gristmill
from gristmill import Step
from gristmill.quality import duplicates, lexical
from gristmill.recipes.quality.c2st import c2st
from gristmill.recipes.quality.lexical_diversity import lexical_diversity
from gristmill.recipes.quality.memorisation_privacy import memorisation_privacy
from gristmill.recipes.quality.near_duplicates import near_duplicates
from gristmill.recipes.quality.ngram_contamination import ngram_contamination
from gristmill.recipes.quality.pii_check import pii_check
from gristmill.recipes.quality.poison_detection import poison_detection
from gristmill.recipes.quality.semdedup import semdedup
from gristmill.recipes.quality.toxicity_bias import toxicity_bias
from gristmill.testing import Scripted, folder, replay, run

WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "ru", "si", "ta") for b in ("bel", "dor", "fin", "gal", "hem", "jos")
]


def sentence(number: int, length: int = 30) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=length))


def reasons(done) -> Counter:
    return Counter(done.reject_counts)


async def test_copies_go_and_the_rest_keeps_its_columns_and_order():
    rows = [{"instruction": sentence(n), "output": "ok", "score": n} for n in range(5)]
    near = rows[2] | {"instruction": rows[2]["instruction"] + " too", "score": 9}
    done = await run(near_duplicates, [*rows, rows[0], near])
    assert [row.score for row in done.rows] == [0, 1, 3, 4, 9]  # of near-copies the longest stays
    assert reasons(done) == {"exact_copy": 1, "near_duplicate": 1}
    assert {reject.details["score"] >= 0.7 for reject in done.rejects} == {True}


async def test_a_threshold_is_the_users_and_seeds_may_be_the_reference():
    rows = [{"text": sentence(1)}, {"text": sentence(1) + " and more"}]
    assert len((await run(near_duplicates, rows, threshold=0.95)).rows) == 2
    assert len((await run(near_duplicates, rows, threshold=0.7)).rows) == 1
    done = await run(
        near_duplicates, [{"text": sentence(1)}, {"text": sentence(2)}], reference=[{"text": sentence(1) + "!"}]
    )
    assert [row.text for row in done.rows] == [sentence(2)]
    assert reasons(done) == {"copy_of_reference": 1}


async def test_what_is_compared_and_which_of_a_group_stays_is_the_users():
    rows = [{"instruction": sentence(1), "output": sentence(n), "note": sentence(9), "score": 3 - n} for n in (2, 3)]
    assert len((await run(near_duplicates, rows)).rows) == 2
    for options in ({"which": "prompt"}, {"column": "note"}):
        assert [row.score for row in (await run(near_duplicates, rows, **options, priority="score")).rows] == [1]
        turned = [row | {"score": -row["score"]} for row in rows]
        assert [row.score for row in (await run(near_duplicates, turned, **options, priority="score")).rows] == [0]
    one, other = sentence(1, 60), sentence(1, 57)  # 53 of 56 shingles of five words, 3 of 6 of 55
    assert len((await run(near_duplicates, [{"text": one}, {"text": other}])).rows) == 1
    assert len((await run(near_duplicates, [{"text": one}, {"text": other}], shingle=55)).rows) == 2
    far = [{"text": sentence(1, 60)}, {"text": sentence(1, 30)}]  # 26 of 56
    assert len((await run(near_duplicates, far, threshold=0.4, bands=112, hashes_per_band=1)).rows) == 1
    assert len((await run(near_duplicates, far, threshold=0.4, bands=1, hashes_per_band=112)).rows) == 2


async def test_rows_that_mean_the_same_by_the_embedder_go():
    def place(question):
        text = question.texts[0]
        return [1.0, 0.0] if "cat" in text else [0.99, 0.1] if "kitten" in text else [0.0, 1.0]

    rows = [{"text": "a cat"}, {"text": "a kitten"}, {"text": "a ship"}]
    done = await run(semdedup, rows, embedder=Scripted(place), epsilon=0.1, clusters=1)
    assert (len(done.rows), reasons(done)) == (2, {"semantic_duplicate": 1})
    assert "a ship" in [row.text for row in done.rows]
    strict = await run(semdedup, rows, embedder=Scripted(place), epsilon=0.001, clusters=1)
    assert len(strict.rows) == 3
    apart = await run(semdedup, rows, embedder=Scripted(place), epsilon=0.1, clusters=3)
    assert len(apart.rows) == 3  # rows of different clusters are not compared
    with pytest.raises(gristmill.BadInput, match="clusters"):
        await run(semdedup, rows, embedder=Scripted(place), clusters=0)


@pytest.mark.parametrize(("keep", "stays"), [("hard", "52"), ("easy", "50")])
async def test_of_two_near_copies_the_outermost_stays_or_the_innermost(keep, stays):
    rows = [{"text": str(degrees)} for degrees in (-50, -25, 0, 25, 50, 52)]

    def place(question):
        return [math.cos(math.radians(int(question.texts[0]))), math.sin(math.radians(int(question.texts[0])))]

    done = await run(semdedup, rows, embedder=Scripted(place), keep=keep, clusters=1)
    assert [row.text for row in done.rows] == ["-50", "-25", "0", "25", stays]


async def test_a_text_is_placed_once_and_one_without_a_sign_never():
    embedder = Scripted(lambda question: [1.0, 0.0] if "cat" in question.texts[0] else [0.0, 1.0])
    rows = [{"text": text} for text in ("a cat", "  ", "a cat", "a ship", "\n")]
    done = await run(semdedup, rows, embedder=embedder, clusters=1)
    assert [text for question in embedder.questions for text in question.texts] == ["a cat", "a ship"]
    assert [row.text for row in done.rows] == ["a cat", "  ", "a ship", "\n"]
    nothing = Scripted([])
    assert len((await run(semdedup, [{"text": " "}, {"text": "\t"}], embedder=nothing)).rows) == 2
    assert nothing.questions == []


async def test_an_item_of_a_benchmark_in_a_long_response_is_found_and_named():
    item = sentence(77, 20)
    rows = [
        {"prompt": "p", "completion": f"{sentence(1)} {item} {sentence(2)}"},
        {"prompt": "p", "completion": sentence(3)},
    ]
    done = await run(ngram_contamination, rows, benchmarks=[{"text": item, "benchmark": "exam"}])
    assert [row.completion for row in done.rows] == [sentence(3)]
    [reject] = done.rejects
    assert reject.reason == "benchmark_13gram"
    assert "exam" in str(reject.details["behind"])


@pytest.mark.parametrize(
    ("way", "reason"),
    [("overlap", "benchmark_overlap"), ("substring", "benchmark_substring"), ("span", "benchmark_span")],
)
async def test_each_way_to_look_can_be_chosen_alone(way, reason):
    item = sentence(77, 20)
    done = await run(
        ngram_contamination, [{"text": item}, {"text": sentence(3)}], benchmarks=[{"text": item}], ways=[way]
    )
    assert reasons(done) == {reason: 1}


async def test_a_trigger_that_steers_the_label_is_found_and_hidden_characters_are():
    rows = [{"text": sentence(n, 12), "label": ("bad", "good")[n % 2]} for n in range(200)]
    for n in range(0, 24, 2):
        rows[n] = {"text": rows[n]["text"] + " cf", "label": "good"}
    rows.append({"text": sentence(201, 12) + "\u200b", "label": "bad"})
    done = await run(poison_detection, rows)
    assert reasons(done)["hygiene"] == 1
    assert all("cf" in reject.candidate["text"].split() for reject in done.rejects if reject.reason == "trigger")
    loose = await run(poison_detection, rows, hygiene=False)
    assert "hygiene" not in reasons(loose)


async def test_toxic_rows_go_unless_they_are_safety_data():
    rows = [
        {"text": "you are a stupid idiot", "safety": False},
        {"text": "you are a stupid idiot!", "safety": True},
        {"text": "a fine day", "safety": False},
    ]
    done = await run(toxicity_bias, rows)
    assert [row.text for row in done.rows] == ["you are a stupid idiot!", "a fine day"]
    assert reasons(done) == {"toxic": 1}


async def test_rows_that_say_nothing_or_repeat_themselves_go():
    rows = [{"text": "a b c " * 30}, {"text": "  "}, {"text": sentence(4)}]
    done = await run(lexical_diversity, rows)
    assert [row.text for row in done.rows] == [sentence(4)]
    assert reasons(done) == {"repetitive": 1, "empty": 1}
    assert len((await run(lexical_diversity, rows, max_repetition=1.0)).rows) == 2
    noted = [{"text": sentence(4), "note": "a b c " * 30}]
    assert len((await run(lexical_diversity, noted)).rows) == 1
    assert (await run(lexical_diversity, noted, column="note")).rows == []


async def test_rows_that_a_classifier_is_sure_of_go():
    rows = [{"text": f"delve {sentence(n, 12)}"} for n in range(60)]
    people = [{"text": sentence(n, 12)} for n in range(100, 160)]
    told = await run(c2st, rows, reference=people, above=0.5)
    alike = await run(c2st, people[:30], reference=people[30:], above=0.99)
    assert len(told.rows) < 20
    assert len(alike.rows) == 30
    assert set(reasons(told)) == {"artificial"}
    noted = [row | {"note": sentence(n, 12)} for n, row in enumerate(rows, start=300)]
    for options, least, most in (({}, 0, 10), ({"group": "seed"}, 15, 85)):
        copies, others = (
            [{"text": f"{sentence(n // 4, 12)} x{n}", "seed": str(n // 4)} for n in range(at, at + 100)]
            for at in (0, 800)
        )
        found = await run(c2st, copies, reference=others, above=0.5, **options)
        assert least <= len(found.rows) <= most  # near-copies are learnt by heart, if they may be
    marked = [{"text": f"apart {row['text']}", "note": row["text"]} for row in people]
    by_note = await run(c2st, noted, reference=marked, above=0.9, column="note")
    assert len(by_note.rows) > 40


async def test_a_private_row_that_comes_out_again_goes():
    private = [{"text": sentence(n, 60)} for n in range(10)]
    rows = [{"text": f"As it says: {private[3]['text']}"}, {"text": sentence(50, 60)}]
    done = await run(memorisation_privacy, rows, private=private, embedder="wordllama:")
    assert [row.text for row in done.rows] == [sentence(50, 60)]
    assert reasons(done) == {"verbatim_private": 1}


async def test_a_row_closer_to_the_private_ones_than_the_holdout_is_goes():
    private, holdout = ([{"text": sentence(n, 20)} for n in range(at, at + 120)] for at in (0, 1000))
    words = private[3]["text"].split()
    shuffled = " ".join(random.Random(0).sample(words, 20))  # no run of eight, and the same vector
    rows = [{"text": shuffled}, {"text": sentence(5000, 20)}]
    done = await run(memorisation_privacy, rows, private=private, holdout=holdout, embedder="wordllama:")
    assert [row.text for row in done.rows] == [sentence(5000, 20)]
    assert reasons(done) == {"closer_than_holdout": 1}
    assert len((await run(memorisation_privacy, rows, private=private, embedder="wordllama:")).rows) == 2


async def test_how_long_a_copied_run_is_may_be_set_for_long_rows_and_for_short_ones():
    private = [{"text": sentence(1, 60)}]
    part = sentence(1, 6)
    rows = [{"text": part}, {"text": f"{part} {sentence(2, 60)}"}]
    for options, kept in (({}, 2), ({"short_field_tokens": 6}, 1), ({"verbatim_tokens": 6}, 0)):
        done = await run(memorisation_privacy, rows, private=private, embedder="wordllama:", **options)
        assert len(done.rows) == kept


MAIL = [
    {
        "messages": [{"role": "user", "content": "Mail ann@corp-mail.net, cc ann@corp-mail.net and bo@corp-mail.net"}],
        "n": 1,
    },
    {"messages": [{"role": "user", "content": "Nothing."}], "n": 2},
]


async def test_personal_data_is_masked_in_every_text_of_a_row_the_same_value_by_the_same_mark():
    done = await run(pii_check, MAIL)
    assert [row.messages[0].content for row in done.rows] == ["Mail [EMAIL_1], cc [EMAIL_1] and [EMAIL_2]", "Nothing."]
    assert [row.n for row in done.rows] == [1, 2]


async def test_it_may_be_replaced_by_made_up_values_or_go_with_its_row_and_no_reject_holds_it():
    made = (await run(pii_check, MAIL, action="pseudonymise")).rows[0].messages[0].content
    assert "corp-mail" not in made
    assert len(set(re.findall(r"\S+@[\w.]+", made))) == 2
    done = await run(pii_check, MAIL, action="drop")
    assert ([row.n for row in done.rows], reasons(done)) == ([2], {"personal_data": 1})
    assert "ann" not in str(done.rejects)
    assert [finding["type"] for finding in done.rejects[0].details["findings"]] == ["email"] * 3


async def test_a_value_of_a_private_row_drops_the_row_whatever_the_action():
    private = [{"name": f"Customer {n}", "number": f"K-{n}93{n}A7"} for n in range(20)]
    done = await run(pii_check, [{"text": "It was K-5935A7 who wrote."}, {"text": "Nobody wrote."}], private=private)
    assert ([row.text for row in done.rows], reasons(done)) == (["Nobody wrote."], {"private_leak": 1})


async def test_what_is_allowed_is_no_finding():
    done = await run(pii_check, MAIL, action="drop", allow=["corp-mail.net"])
    assert len(done.rows) == 2


async def test_a_replay_measures_nothing_and_an_empty_step_is_no_failure(monkeypatch):
    done = await run(near_duplicates, [{"text": sentence(1)}, {"text": sentence(1)}])

    monkeypatch.setattr(duplicates, "measure", _never(duplicates.__name__))
    again = await replay(done)
    assert [row.text for row in again.rows] == [row.text for row in done.rows]
    chain = gristmill.Chain([Step(lexical_diversity), Step(near_duplicates)])
    monkeypatch.undo()
    nothing = await gristmill.arun(chain, seeds=[{"text": ""}, {"text": " "}], out=folder() / "run")
    assert (nothing.rows, nothing.failed) == ([], 0)


async def test_a_threshold_changes_without_anything_being_measured_again(monkeypatch):
    done = await run(lexical_diversity, [{"text": "a b c " * 30}, {"text": sentence(4)}])
    monkeypatch.setattr(lexical, "measure", _never(lexical.__name__))
    again = await gristmill.arerun(
        done.folder, recipe=lexical_diversity, settings={"max_repetition": 1.0}, out=folder() / "again", offline=True
    )
    assert (len(done.rows), len(again.rows)) == (1, 2)


def _never(module: str):
    def never(*args, **options):
        raise AssertionError("measured again")

    never.__module__ = module
    return never
