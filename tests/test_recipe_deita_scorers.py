"""Deita's scorers: versions of one seed, ranked together, become lessons."""

import re

import pytest

from gristmill.models.protocol import Reply
from gristmill.recipes.quality.deita import COMPLEXITY, QUALITY
from gristmill.recipes.quality.deita_scorers import BETTER, HARDER, deita_scorers, read_scores
from gristmill.testing import Scripted, replay, run

SEED = {"instruction": "Sing.", "input": "Loud.", "output": "La."}


def evolver():
    """Puts a plus behind what it is given to rewrite."""

    def say(question):
        return (
            re.search(
                r"(?:Response|Instruction):\n((?:(?!Instruction:|Response:)[\s\S])*)\Z", question.messages[0].content
            )[1]
            + "+"
        )

    return Scripted(say, model="evolver")


def judge(score=lambda version: version.count("+") + 1):
    def say(question):
        shown = re.findall(r"\[(\d+)\]\n(.*?)(?=\n\n\[|\Z)", question.messages[0].content, re.DOTALL)
        return "\n".join(f"[{place}] Score: {score(version)}" for place, version in reversed(shown))

    return Scripted(say, model="judge")


async def made(generator=None, judges=None, seed=SEED, **options):
    return await run(deita_scorers, [seed], generator=generator or evolver(), judge=judges or judge(), **options)


async def test_each_version_becomes_a_lesson_with_the_score_that_the_judge_gave_it():
    done = await made()
    task = "Sing.\nLoud."
    assert [(row.prompt, row.completion, row.evolution, row.score) for row in done.rows] == [
        (COMPLEXITY(instruction=task + "+" * n), str(n + 1), n, n + 1) for n in range(6)
    ]


async def test_versions_are_sampled_and_the_ranking_is_not():
    generator, judges = evolver(), judge()
    await made(generator, judges)
    assert [question.sampling["temperature"] for question in generator.questions] == [0.7] * 5
    assert [question.sampling["temperature"] for question in judges.questions] == [0.0]


async def test_responses_evolve_in_quality():
    generator = evolver()
    done = await made(generator, of="quality", evolutions=2)
    assert [row.prompt for row in done.rows] == [
        QUALITY(instruction="Sing.\nLoud.", response="La." + "+" * n) for n in range(3)
    ]
    assert all("Sing.\nLoud." in prompt for prompt in generator.prompts)


async def test_all_versions_are_ranked_in_one_call_in_an_order_by_chance():
    judges = judge()
    done = await made(judges=judges)
    [question] = judges.questions
    assert question.sampling["temperature"] == 0.0
    orders = {tuple((await made(seed=SEED | {"input": str(n)})).rows[0].lineage.draws["order"]) for n in range(4)}
    assert len(orders) > 1
    assert sorted(done.rows[0].lineage.draws["order"]) == list(range(6))


async def test_ways_are_drawn_from_those_of_the_kind():
    for of, ways in (("complexity", HARDER), ("quality", BETTER)):
        drawn = set()
        for n in range(5):
            row = (await made(of=of, seed=SEED | {"input": str(n)})).rows[0]
            drawn |= {row.lineage.draws[f"evolution {number}"] for number in range(1, 6)}
        assert drawn == set(ways)


@pytest.mark.parametrize(
    "said", ["", "[1] Score: 1", "[1] Score: 1\n[2] Score: 7", "[1] Score: 1\n[1] Score: 2", "[1] Score: 1\n[2] Score: 2\n[1] Score: 3", "[1] Score: 1\n[2] Score: 0", "[1] Score: 1\n[2] Score: 2\n[3] Score: 3", "[1] Score: 1.5\n[2] Score: 2"],
)  # fmt: skip
async def test_scores_that_are_not_one_for_each_are_none(said):
    done = await made(judges=Scripted(lambda q: said, model="judge"), evolutions=1)
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], ["unread_scores"])


def test_scores_are_read_by_their_numbers():
    assert read_scores("[2] Score: 6\n**[1]** score: 2 (weak)", 2) == [2, 6]


async def test_an_evolution_that_is_empty_or_cut_ends_the_line():
    replies = iter(["Sing well.", Reply("Sing", finish="length")])
    done = await made(Scripted(lambda q: next(replies), model="evolver"), judge(lambda version: len(version) % 6 + 1))
    assert len(done.rows) == 2
    assert [reject.reason for reject in done.rejects] == ["truncated"]
    done = await made(Scripted(lambda q: " ", model="evolver"))
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], ["empty", "no_evolution"])


async def test_without_an_answer_there_is_no_quality_to_evolve():
    done = await made(seed={"instruction": "Sing."}, of="quality")
    assert [reject.reason for reject in done.rejects] == ["no_answer"]
    assert done.calls == 0


async def test_a_replay_asks_nothing():
    done = await made()
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)
