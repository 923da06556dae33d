"""A judge of rows, held against people: what their file must hold, and what is told of the judge."""

import json
import os
import signal

import pytest

from comparing import EMBED, compared, entries, track, writer
from gristmill import BadInput
from gristmill.compare import Entry, acompare
from gristmill.errors import Stopped
from gristmill.quality.sets import of_texts
from gristmill.report.compared import notes
from gristmill.report.compared_page import page
from gristmill.rows import digest
from gristmill.testing import Scripted, folder
from gristmill.verdicts import against_people, between, opinions

pytestmark = pytest.mark.usefixtures("methods")

FINE = [f"fine row number {n}" for n in range(12)]
POOR = [f"poor row number {n}" for n in range(12)]


def file(rows) -> str:
    path = folder() / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def verdicts(count: int = 12, **more) -> list[dict[str, str]]:
    """People who take the fine row, which always stands first."""
    return [
        {"first": fine, "second": poor, "winner": "first", **more}
        for fine, poor in zip(FINE[:count], POOR, strict=False)
    ]


def shown(question) -> tuple[str, str]:
    first, _, second = question.messages[0].content.partition("[Example 2]")
    return first.partition("[Example 1]")[2], second


def knows(question) -> str:
    """Takes the fine row, wherever it stands."""
    return f"Better: {1 if 'fine' in shown(question)[0] else 2}"


def always(said: str):
    return lambda question: f"Better: {said}"


def values(found) -> dict[str, float | None]:
    return {one.name: one.value for one in found.measures}


async def held(rows, script, **options):
    return await against_people(opinions(file(rows)), Scripted(script), folder(), seed=0, **options)


async def test_a_judge_that_says_what_people_say_agrees_fully_also_where_their_file_puts_winners_first():
    found = await held(verdicts(), knows)
    known_values = values(found)  # with the order of the file, chance would agree as much and kappa would be 0
    assert (known_values["agreement"], known_values["kappa"], known_values["consistency"]) == (1, 1, 1)
    assert len({digest(fine) < digest(poor) for fine, poor in zip(FINE, POOR, strict=True)}) == 2


async def test_a_judge_that_takes_what_stands_first_is_told_and_agrees_with_nobody():
    found = values(await held(verdicts(), always("1")))
    assert (found["consistency"], found["first_bias"], found["second_bias"]) == (0, 1, 0)
    assert found["agreement"] == 0  # all are ties
    second = values(await held(verdicts(), always("2")))
    assert (second["first_bias"], second["second_bias"]) == (0, 1)


async def test_a_judge_that_contradicts_people_has_a_kappa_below_chance_and_its_interval():
    found = await held(verdicts(), lambda question: f"Better: {2 if 'fine' in shown(question)[0] else 1}")
    kappa = next(one for one in found.measures if one.name == "kappa")
    assert kappa.value < 0
    assert kappa.high < 0.4
    assert kappa.n == 12
    assert any("below the floor of 0.4" in note for note in found.notes)


async def test_each_pair_is_judged_in_both_orders_and_once_however_many_people_looked():
    ann, bob = verdicts(rater="ann"), verdicts(rater="bob")
    swapped = [{"first": row["second"], "second": row["first"], "winner": "second", "rater": "bob"} for row in bob]
    judge = Scripted(knows)
    found = values(await against_people(opinions(file(ann + swapped)), judge, folder(), seed=0))
    assert len(judge.questions) == 2 * 12
    assert len({shown(question) for question in judge.questions}) == 24
    assert (found["human_agreement"], found["agreement"]) == (1, 1)
    contrary = [{**row, "winner": "first"} for row in swapped]
    found = values(await held(ann + contrary, knows))
    assert (found["human_agreement"], found["agreement"]) == (0, 0.5)


async def test_a_verdict_that_cannot_be_read_is_no_tie_and_is_counted():
    found = await held(verdicts(), lambda q: "Hm." if "number 3" in shown(q)[0] else knows(q))
    assert values(found)["agreement"] == 1
    assert found.notes[0] == "1 of 12 pairs have no verdict of the judge that can be read."
    assert next(one for one in found.measures if one.name == "kappa").n == 11
    silent = await held(verdicts(), lambda q: "Hm.")
    assert values(silent)["agreement"] is None
    assert silent.notes == ["12 of 12 pairs have no verdict of the judge that can be read."]


async def test_of_two_entries_the_one_that_wins_in_both_orders_has_all_pairs_and_the_greater_strength():
    cut = {"poor": [of_texts(POOR)], "fine": [of_texts(FINE)]}
    judge = Scripted(lambda q: "Hm." if "number 3" in shown(q)[0] else knows(q))
    found = await between(cut, judge, folder(), pairs=20, seed=0)
    won = dict(zip(found.entries, found.wins, strict=True))
    assert (won["fine"].value, won["poor"].value) == (1, 0)
    assert found.strengths["fine"] == pytest.approx(-found.strengths["poor"])
    assert found.strengths["fine"] > 1
    low, high = found.intervals["fine"]
    assert 0 < low <= found.strengths["fine"] <= high
    assert found.unread == 20 - won["fine"].n > 0
    tied = await between(cut, Scripted(always("1")), folder(), pairs=20, seed=0)
    assert [one.value for one in tied.wins] == [0.5, 0.5]
    assert tied.strengths["fine"] == pytest.approx(0)
    assert tied.intervals["fine"] == pytest.approx((0, 0))


async def test_pairs_are_drawn_by_the_seed_and_are_no_more_than_there_are():
    cut = {"poor": [of_texts(POOR)], "fine": [of_texts(FINE)]}
    drawn = []
    for seed in (0, 1):
        model = Scripted(knows)
        await between(cut, model, folder(), pairs=5, seed=seed)
        drawn.append({shown(question) for question in model.questions})
    assert drawn[0] != drawn[1]
    few = Scripted(knows)
    found = await between({"poor": [of_texts(POOR[:1])], "fine": [of_texts(FINE[:2])]}, few, folder(), pairs=50, seed=0)
    assert [one.n for one in found.wins] == [2, 2]


async def test_what_was_judged_is_not_asked_again_and_another_file_or_judge_is():
    out, people = folder(), opinions(file(verdicts()))
    first = await against_people(people, Scripted(knows), out, seed=0)
    nobody = Scripted()
    assert await against_people(people, nobody, out, seed=0) == first
    assert nobody.questions == []
    fewer = Scripted(knows)
    await against_people(people[:5], fewer, out, seed=0)
    assert len(fewer.questions) == 10
    other = Scripted(always("2"), model="other")
    assert values(await against_people(people, other, out, seed=0))["second_bias"] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"first": "a", "second": "b"}], r"jsonl.*1: nothing in 'winner'\. .* here are: first, second"),
        ([{"first": "a", "second": "b", "winner": "first"}, {"first": "", "second": "b", "winner": "tie"}],
         r"jsonl.*2: nothing in 'first'"),
        ([{"first": "a", "second": "b", "winner": "A"}], "the winner is 'A'; it is first, second or tie"),
        ([{"first": "a", "second": "a", "winner": "tie"}], "the same text"),
        (verdicts(1) * 2, "this pair was judged twice; name who judged"),
        (verdicts(1, rater="ann") * 2, "ann judged this pair twice"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_as_verdicts_is_refused_with_the_place(rows, message):
    with pytest.raises(BadInput, match=message):
        opinions(file(rows))


def test_ties_and_capitals_are_read_and_raters_kept_apart():
    rows = [{**verdicts(1)[0], "winner": said, "rater": who} for said, who in (("TIE", "ann"), ("First ", "bob"))]
    [pair] = opinions(file(rows))
    assert {pair.a, pair.b} == {FINE[0], POOR[0]}
    assert pair.humans == {"ann": "tie", "bob": "a" if pair.a == FINE[0] else "b"}


async def test_a_comparison_tells_of_people_where_there_is_a_file_and_says_that_there_is_none_where_not(topics):
    def prefers(question):
        first = shown(question)[0]
        return f"Better: {1 if any(word in first for word in ('fine', 'wonderful', 'superb', 'moving')) else 2}"

    done = await compared(track(topics, judge=Scripted(prefers), pairs=10, runs=1), "well", "ill")
    assert any("was not held against people" in note for note in notes(done))
    assert done.people is None
    assert "held against itself" in page(done)
    judge = Scripted(prefers)
    done = await compared(track(topics, judge=judge, pairs=10, people=file(verdicts()), runs=1), "well", "ill")
    assert len(judge.questions) == 20 + 24
    assert not any("was not held against people" in note for note in notes(done))
    [said] = [note for note in notes(done) if "against people" in note]
    assert "12 pairs: agreement 100 %" in said
    assert "kappa 1" in said
    assert "what stands first won both times 0 %" in said
    shown_page = page(done)
    assert "The judge held against people" in shown_page
    assert "agrees with people" in shown_page
    consistency = next(one for one in done.judged.positions if one.name == "consistency")
    assert consistency.n == 10


async def test_the_judge_is_held_against_people_also_where_no_two_entries_are_left(topics):
    def silent(question):
        raise RuntimeError("no")

    mute = Entry("mute", "ill", Scripted(silent))
    one = track(topics, judge=Scripted(knows), people=file(verdicts()), runs=1)
    done = await acompare([*entries("well"), mute], one, embed=EMBED)
    assert done.judged is None
    assert values(done.people)["kappa"] == 1


async def test_an_interrupt_ends_the_comparison_and_not_the_run_alone(topics):
    def interrupted(question):
        if len(model.questions) == 1:  # a second one would stop at once
            os.kill(os.getpid(), signal.SIGINT)
        return writer(question)

    model = Scripted(interrupted)

    one = track(topics, runs=1)
    both = [Entry("one", "well", model), Entry("other", "well", Scripted(writer))]
    with pytest.raises(Stopped, match="interrupted"):
        await acompare(both, one, embed=EMBED)
    assert (one.out / "one").exists()
    assert not (one.out / "other").exists()
    done = await acompare([Entry("one", "well", Scripted(writer)), both[1]], one, embed=EMBED)
    assert [run.rows for entry in done.entries for run in entry.runs] == [60, 60]
