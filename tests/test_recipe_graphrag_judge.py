"""GraphRAG's comparison: what is compared, in which order, how often, and what counts."""

import re
from collections import Counter

from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.applications.graphrag import graphrag
from gristmill.recipes.applications.graphrag_judge import MEANING, graphrag_judge
from gristmill.testing import Scripted, replay, run
from test_recipe_graphrag import FEW, TEXTS, world

ROWS = [{"instruction": "What holds it together?", "output": "Ana and her office."}]
CORPUS = [
    {"text": "Rain fell on the hills."},
    {"text": "What holds it together is the Harbour Office."},
    {"text": "Bo sleeps."},
]


def plain(text: str = "The office does.") -> Scripted:
    return Scripted(lambda question: text, model="plain")


def judge(prefers: str = "Ana", **by_criterion: str) -> Scripted:
    """Finds better the answer that holds a text; one for a criterion counts before the other."""

    def script(question):
        prompt = question.messages[0].content
        criterion = re.search(r"alone, (\w+):", prompt)[1]
        wanted = by_criterion.get(criterion, prefers)
        first = re.search(r"Answer 1:\n(.*)\n\nAnswer 2:", prompt, re.DOTALL)[1]
        second = re.search(r"Answer 2:\n(.*)\n\nSay which", prompt, re.DOTALL)[1]
        holders = [str(n) for n, text in enumerate((first, second), start=1) if wanted in text]
        if wanted in ("1", "2", "neither", ""):
            return f"I think so.\nWinner: {wanted}"
        return f"Well.\n**Winner: {holders[0]}**"

    return Scripted(script, model="judge")


async def made(rows=ROWS, judges=None, generator=None, **options):
    roles = {"judge": judges or judge(), "generator": generator or plain(), "retriever": "retrieve:bm25"}
    return await run(graphrag_judge, rows, **roles, **{"corpus": CORPUS} | options)


async def test_each_criterion_is_judged_so_many_times_in_both_orders():
    judges = judge()
    done = await made(judges=judges)
    [row] = done.rows
    assert [getattr(row, criterion) for criterion in MEANING] == [1.0] * 4
    shown = Counter((re.search(r"alone, (\w+):", prompt)[1], "Answer 1:\nAna" in prompt) for prompt in judges.prompts)
    assert shown == {(criterion, first): 1 for criterion in MEANING for first in (True, False)}
    assert len(row.lineage.calls) == 1 + 1 + 4 * 2 * 5  # a search, an answer, and the verdicts
    [row] = (await made(judge_repeats=2)).rows
    assert len(row.lineage.calls) == 1 + 1 + 4 * 2 * 2


async def test_a_judge_that_favours_a_place_or_nobody_gives_each_half():
    for said in ("1", "2", "neither"):
        [row] = (await made(judges=judge(said))).rows
        assert {getattr(row, criterion) for criterion in MEANING} == {0.5}


async def test_criteria_are_judged_apart():
    [row] = (await made(judges=judge(directness="The office does."))).rows
    assert (row.comprehensiveness, row.diversity, row.empowerment, row.directness) == (1, 1, 1, 0)


async def test_the_plain_answer_is_written_from_the_chunks_that_were_found_and_from_nothing_else():
    writer = plain()
    [row] = (await made(generator=writer, retrieve_k=1)).rows
    [prompt] = writer.prompts
    assert "What holds it together is the Harbour Office." in prompt
    assert "Rain" not in prompt
    assert "Ana" not in prompt
    assert (row.question, row.answer, row.other) == (
        "What holds it together?",
        "Ana and her office.",
        "The office does.",
    )


async def test_chunks_go_in_as_they_fit_the_best_first():
    writer = plain()
    few = plain()
    await made(generator=few, corpus=[{"text": f"What holds number {n}?"} for n in range(30)], retrieve_k=12)
    assert few.prompts[0].count("What holds number") == 12
    long = [{"text": f"What holds it together? {'word ' * 90}{n}"} for n in range(9)]
    await made(generator=writer, corpus=[*long, CORPUS[1]], context_tokens=300)
    assert 2 <= writer.prompts[0].count("What holds it together") - 1 <= 3


async def test_answers_of_another_level_take_the_place_of_plain_retrieval():
    writer = plain()
    other = [{"instruction": "What  holds it together?", "output": "Another level."}]
    done = await made([*ROWS, {"instruction": "Who?", "output": "Ana."}], generator=writer, other=other)
    assert [row.other for row in done.rows] == ["Another level."]
    assert (writer.prompts, dict(done.reject_counts)) == ([], {"no_other": 1})


async def test_the_win_rates_are_means_over_the_questions():
    rows = [*ROWS, {"instruction": "What else holds it together?", "output": "Nothing, I fear."}]
    done = await made(rows, judges=judge("Ana", directness="1", diversity=""), other=[
        {"instruction": "What holds it together?", "output": "The office."},
        {"instruction": "What else holds it together?", "output": "Ana does."},
    ])  # fmt: skip
    assert [row.comprehensiveness for row in done.rows] == [1, 0]
    rates = {row.criterion: (row.share, row.questions) for row in done.iterate("win_rate")}
    assert rates == {"comprehensiveness": (0.5, 2), "empowerment": (0.5, 2), "directness": (0.5, 2)}


async def test_a_question_without_a_verdict_does_not_count_in_the_rate():
    rows = [*ROWS, {"instruction": "Who holds it together?", "output": "Ana"}]
    silent = Scripted(lambda q: "Hm." if "Who" in q.messages[0].content else "Winner: 1", model="judge")
    done = await made(rows, judges=silent)
    assert {row.questions for row in done.iterate("win_rate")} == {1}


async def test_the_last_word_of_a_judge_counts():
    wavering = Scripted(
        lambda q: "Winner: 1? No.\nWinner: 2" if "Answer 1:\nAna" in q.messages[0].content else "Winner: 1",
        model="judge",
    )
    [row] = (await made(judges=wavering)).rows
    assert row.directness == 0


async def test_the_judge_is_told_what_the_criterion_means():
    judges = judge()
    await made(judges=judges)
    for prompt in judges.prompts:
        [meant] = [criterion for criterion, meaning in MEANING.items() if meaning in prompt]
        assert f"alone, {meant}:" in prompt


async def test_what_is_found_best_stands_first_and_comes_in_chunks():
    writer, judges = plain(), judge()
    corpus = [{"text": "What is it?"}, {"text": "What holds it together is this. " + "Rain falls on the hill. " * 200}]
    await made(
        generator=writer,
        judges=judges,
        corpus=corpus,
        chunk_tokens=100,
        overlap=0,
        answer_words=77,
        judge_temperature=0.25,
    )
    [prompt] = writer.prompts
    assert prompt.index("What holds it together is this") < prompt.index("What is it?")
    assert prompt.count("Rain falls") < 40
    assert "at most 77 words" in prompt
    assert {q.sampling["temperature"] for q in judges.questions} == {0.25}


async def test_an_answer_that_was_cut_is_compared_with_nothing():
    done = await made(generator=Scripted([Reply("The off", finish="length")], model="plain"))
    assert (done.rows, dict(done.reject_counts)) == ([], {"truncated": 1})


async def test_verdicts_of_one_order_alone_say_nothing():
    one_sided = Scripted(lambda q: "Winner: 1" if "Answer 1:\nAna" in q.messages[0].content else "Hm.", model="judge")
    [row] = (await made(judges=one_sided)).rows
    assert row.comprehensiveness is None


async def test_answers_of_another_run_are_found_by_the_whole_question():
    asked = [{"instruction": "What holds it", "input": "together?", "output": "Ana."}]
    done = await made(asked, other=[{**asked[0], "output": "Another."}])
    assert [row.other for row in done.rows] == ["Another."]


async def test_a_question_that_fails_costs_no_other():
    def broken(question):
        if "fails" in question.messages[0].content:
            raise Refused("no")
        return "Winner: 1"

    rows = [*ROWS, {"instruction": "What fails to hold it together?", "output": "x"}]
    done = await made(rows, judges=Scripted(broken, model="judge"), allow_failures=True)
    assert (len(done.rows), done.failed) == (1, 1)


async def test_a_verdict_that_cannot_be_read_does_not_count():
    done = await made(judges=judge(diversity=""))
    assert (done.rows[0].diversity, done.rows[0].empowerment) == (None, 1)
    assert dict(done.reject_counts) == {"unread_verdict": 10}
    assert {reject.details["criterion"] for reject in done.rejects} == {"diversity"}


async def test_an_answer_that_is_empty_is_compared_with_nothing():
    done = await made(generator=plain(" "))
    assert (done.rows, dict(done.reject_counts)) == ([], {"empty": 1})


async def test_where_nothing_is_found_nothing_is_compared():
    writer = plain()
    done = await made(corpus=[{"text": "Unrelated."}], generator=writer)
    assert (done.rows, dict(done.reject_counts), writer.prompts) == ([], {"nothing_retrieved": 1}, [])


async def test_it_takes_the_answers_of_a_run_of_graphrag():
    answers = await run(graphrag, TEXTS, generator=world(), **FEW)
    done = await made(answers.rows, judges=judge("All is well"), corpus=[{"text": "A persona has a task."}])
    assert [(row.question, row.comprehensiveness) for row in done.rows] == [
        ("question on task of persona 0 0 0", 1.0),
    ]
    assert done.rows[0].lineage.parents


async def test_a_replay_asks_and_searches_nothing():
    done = await made()
    nobody = {"judge": Scripted(model="judge"), "generator": Scripted(model="plain"), "retriever": "retrieve:bm25"}
    assert (await replay(done, model=nobody)).rows == done.rows
    assert nobody["judge"].questions == nobody["generator"].questions == []
