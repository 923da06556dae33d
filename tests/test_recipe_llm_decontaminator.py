"""LLM decontaminator: whom the judge gets to see, what its silence means, and what leaves."""

import re
from collections.abc import AsyncIterator

import pytest

import gristmill
from gristmill import BadInput, Document, Instruction, Refused, Row, recipe
from gristmill.models.protocol import Reply
from gristmill.recipes.quality.llm_decontaminator import INSTRUCTIONS, llm_decontaminator
from gristmill.recipes.quality.ngram_contamination import ngram_contamination
from gristmill.testing import Scripted, folder, replay, run

ITEM = "A farmer sells seven baskets of pears at two coins each. How many coins does she get for all of them?"
REWORDED = (
    "Baskets of pears cost two coins. If a farmer brings seven to the market and sells every one, what does she earn?"
)
TRAIN = {
    REWORDED: [1.0, 0.1, 0.0],
    "Name the rivers of Asia.": [0.0, 1.0, 0.0],
    "A farmer sells apples. Which colour are they?": [0.8, 0.6, 0.0],
    "Write a poem on rain.": [0.0, 0.0, 1.0],
}
ITEMS = {ITEM: [1.0, 0.0, 0.0], "Which is the longest river of Asia?": [0.0, 1.0, 0.1]}
PLACES = TRAIN | ITEMS


def embedder(places=None):
    at = PLACES | (places or {})
    return Scripted(lambda q: at[q.texts[0]], model="embedder")


def pair_of(question):
    prompt = question.messages[-1].content
    return tuple(re.findall(r"(?:First|Second) text\]\n(.*?)\n\[End", prompt, re.DOTALL))


def judge(*same):
    """Says True of these pairs of item and row."""
    return Scripted(lambda q: str(pair_of(q) in same), model="judge")


def rows(texts=TRAIN):
    return [{"text": text, "stars": number} for number, text in enumerate(texts)]


def benchmarks(texts=ITEMS, name="bench"):
    return [{"text": text, "benchmark": name} for text in texts]


async def made(judges=None, seeds=None, items=None, **options):
    roles = {"embedder": options.pop("embedder", None) or embedder(), "judge": judges or judge()}
    seeds, items = seeds if seeds is not None else rows(), items if items is not None else benchmarks()
    return await run(llm_decontaminator, seeds, benchmarks=items, **roles, **options)


def reasons(done):
    return [(reject.reason, reject.candidate["text"]) for reject in done.rejects]


def grams(text, size=8):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


async def test_a_reworded_copy_without_a_common_8_gram_is_dropped():
    assert grams(ITEM)
    assert grams(REWORDED)
    assert not grams(ITEM) & grams(REWORDED)
    blind = await run(ngram_contamination, rows(), benchmarks=benchmarks())
    assert (len(blind.rows), blind.rejects) == (4, [])
    done = await made(judge((ITEM, REWORDED)))
    assert [row.text for row in done.rows] == [text for text in TRAIN if text != REWORDED]
    [reject] = done.rejects
    assert (reject.reason, reject.candidate["text"]) == ("contaminated", REWORDED)
    assert reject.details == {"test": ITEM, "benchmark": "bench", "similarity": pytest.approx(0.995037)}


async def test_rows_leave_as_they_came_with_all_their_columns():
    done = await made(judge((ITEM, REWORDED)))
    assert [row.stars for row in done.rows] == [1, 2, 3]
    assert all(isinstance(row, Document) for row in done.rows)
    seeds = [Instruction(instruction=text, output="yes") for text in TRAIN]
    at = {f"{text}\nyes": vector for text, vector in TRAIN.items()}
    done = await made(seeds=seeds, embedder=embedder(at))
    assert {type(row).__name__ for row in done.rows} == {"Instruction"}
    done = await made(seeds=seeds, text="instruction")
    assert len(done.rows) == 4


async def test_calls_are_items_times_k_whatever_the_number_of_rows():
    for k in (1, 2, 3):
        for texts in (list(TRAIN), list(TRAIN) * 5):
            judges = judge()
            await made(judges, rows(texts), top_k=k)
            assert len(judges.questions) == len(ITEMS) * k
    judges = judge()
    await made(judges, rows([REWORDED]), top_k=3)
    assert len(judges.questions) == len(ITEMS)


async def test_the_judge_sees_the_nearest_rows_first_by_cosine_and_not_by_length():
    at = {REWORDED: [0.01, 0.001, 0.0], "A farmer sells apples. Which colour are they?": [80.0, 60.0, 0.0]}
    at |= {ITEM: [10.0, 0.0, 0.0]}
    done = await made(embedder=embedder(at), top_k=2)
    [first, second] = list(done.iterate("contaminated_item"))
    assert first.train == [REWORDED, "A farmer sells apples. Which colour are they?"]
    assert first.similarities == pytest.approx([0.995037, 0.8], abs=1e-3)
    assert second.train[0] == "Name the rivers of Asia."
    done = await made(judge((ITEM, "A farmer sells apples. Which colour are they?")), top_k=2)
    assert reasons(done) == [("contaminated", "A farmer sells apples. Which colour are they?")]


async def test_a_judge_that_never_answers_leaves_a_pair_undecided_and_never_clean():
    judges = Scripted(lambda q: "I think so." if pair_of(q)[0] == ITEM else "False", model="judge")
    done = await made(judges, retries=4)
    assert [row.text for row in done.rows] == [text for text in TRAIN if text != REWORDED]
    assert sum(pair_of(question)[0] == ITEM for question in judges.questions) == 4
    assert [reject.reason for reject in done.rejects] == ["unread_verdict"] * 4 + ["undecided"]
    [item, other] = list(done.iterate("contaminated_item"))
    assert (item.results, item.contaminated) == ([None], False)
    assert other.results == [False]
    [report] = list(done.iterate("contamination_report"))
    assert (report.items, report.contaminated, report.undecided, report.percentage, report.drop_ids) == (
        2,
        0,
        1,
        0.0,
        [],
    )
    assert llm_decontaminator.parameters["retries"].default == 30


async def test_a_verdict_that_comes_late_counts():
    said = iter(["Maybe.", "", "Hm", " **true**."])
    judges = Scripted(lambda q: next(said) if pair_of(q)[0] == ITEM else "False", model="judge")
    done = await made(judges)
    assert [reason for reason, _ in [(r.reason, 0) for r in done.rejects]] == ["unread_verdict"] * 3 + ["contaminated"]


async def test_an_item_that_is_found_in_one_row_is_not_undecided_for_another():
    colours = "A farmer sells apples. Which colour are they?"
    judges = Scripted(lambda q: "True" if pair_of(q)[1] == REWORDED else "?", model="judge")
    done = await made(judges, items=benchmarks([ITEM]), top_k=2, retries=1)
    [item] = list(done.iterate("contaminated_item"))
    [report] = list(done.iterate("contamination_report"))
    assert (item.results, report.contaminated, report.undecided, len(report.drop_ids)) == ([True, None], 1, 0, 1)
    assert [(r.reason, r.candidate["text"]) for r in done.rejects if r.reason != "unread_verdict"] == [
        ("contaminated", REWORDED),
        ("undecided", colours),
    ]


@pytest.mark.parametrize("said", ["True, I think", "False or True", "Not true", "yes", "1", ""])
async def test_only_the_one_word_is_a_verdict(said):
    done = await made(Scripted(lambda q: said, model="judge"), retries=1)
    assert {reject.reason for reject in done.rejects} == {"unread_verdict", "undecided"}


async def test_a_judge_that_refuses_a_pair_leaves_it_undecided():
    judges = Scripted(lambda q: Refused("no") if pair_of(q)[0] == ITEM else "False", model="judge")
    done = await made(judges)
    assert reasons(done) == [("undecided", REWORDED)]


async def test_true_of_one_pair_outweighs_what_is_said_of_the_others():
    far = "Which is the longest river of Asia?"
    judges = Scripted(lambda q: {ITEM: "?", far: "True"}[pair_of(q)[0]], model="judge")
    done = await made(judges, rows([REWORDED]), retries=1)
    assert [(r.reason, r.details.get("test")) for r in done.rejects if r.reason != "unread_verdict"] == [
        ("contaminated", far)
    ]


async def test_number_substitution_flags_what_math_does_not():
    tom, ann = "Tom has 3 apples and buys 2. How many?", "Ann has 7 apples and buys 4. How many?"

    def say(question):
        instruction, (test, train) = question.messages[0].content, pair_of(question)
        assert (test, train) == (tom, ann)
        other_numbers = re.findall(r"\d", test) != re.findall(r"\d", train)
        forgiving = "numbers are replaced" in instruction
        strict = "other numbers are different" in instruction
        assert forgiving != strict
        return str(not other_numbers or forgiving)

    flagged = {}
    for data_type in ("math", "number_substitution"):
        done = await made(
            Scripted(say, model="judge"), rows([ann]), benchmarks([tom]), data_type=data_type,
            embedder=embedder({tom: [1.0, 0.0], ann: [1.0, 0.1]}),
        )  # fmt: skip
        flagged[data_type] = reasons(done)
    assert flagged == {"math": [], "number_substitution": [("contaminated", ann)]}


async def test_each_type_has_an_instruction_of_its_own_as_the_system_message():
    seen = set()
    for data_type, instruction in INSTRUCTIONS.items():
        judges = judge()
        await made(judges, data_type=data_type)
        assert {q.messages[0].content for q in judges.questions} == {instruction()}
        assert {q.messages[0].role for q in judges.questions} == {"system"}
        assert all('"True"' in q.messages[0].content and '"False"' in q.messages[0].content for q in judges.questions)
        assert {q.sampling["temperature"] for q in judges.questions} == {0.3}
        seen.add(instruction())
    assert len(seen) == 4
    assert llm_decontaminator.parameters["data_type"].default == "knowledge"  # says the least of what the rows are


async def test_the_report_counts_each_benchmark_apart_and_names_the_rows_to_drop():
    items = [*benchmarks([ITEM], "a"), *benchmarks(list(ITEMS)[1:], "b"), *benchmarks(["Write a poem on rain."], "b")]
    done = await made(judge((ITEM, REWORDED)), items=items)
    reports = {report.benchmark: report for report in done.iterate("contamination_report")}
    assert {name: (r.items, r.contaminated, r.percentage) for name, r in reports.items()} == {
        "a": (1, 1, 100.0),
        "b": (2, 0, 0.0),
    }
    [dropped] = reports["a"].drop_ids
    first = next(iter(done.iterate("contaminated_item")))
    assert [dropped] == first.train_ids
    assert dropped in first.lineage.parents
    assert reports["b"].drop_ids == []


async def test_flagged_rows_may_stay_and_are_reported_all_the_same():
    done = await made(judge((ITEM, REWORDED)), keep_flagged=True)
    assert [row.text for row in done.rows] == list(TRAIN)
    assert not done.rejects
    assert next(iter(done.iterate("contamination_report"))).contaminated == 1


async def test_a_row_knows_who_judged_it():
    done = await made()
    calls = {row.text: len(row.lineage.calls) for row in done.rows}
    assert [calls[text] for text in TRAIN] == [1, 1, 0, 0]
    assert all(len(row.lineage.parents) == 1 for row in done.rows)


async def test_rows_without_text_are_said_to_be():
    with pytest.raises(BadInput, match="--text"):
        await made(seeds=[{"stars": 3}])
    with pytest.raises(BadInput, match="no column 'body'"):
        await made(text="body")


async def test_in_a_chain_a_row_comes_from_the_row_that_came_in():
    @recipe("all-of-them")
    async def all_of_them(row: Document) -> AsyncIterator[Document]:
        """Keep all."""
        yield row

    done = await gristmill.arun(
        gristmill.Chain([all_of_them, llm_decontaminator]),
        seeds=rows(),
        inputs={"llm-decontaminator.benchmarks": benchmarks()},
        model={"embedder": embedder(), "judge": judge((ITEM, REWORDED))},
        out=folder() / "run",
    )
    assert [row.text for row in done.rows] == [text for text in TRAIN if text != REWORDED]
    assert all(len(row.lineage.parents) == 1 for row in done.rows)


async def test_a_set_without_rows_gives_reports_and_asks_no_judge():
    @recipe("nothing")
    async def nothing(row: Document) -> AsyncIterator[Document]:
        """Drop all."""
        if row.text == "never":
            yield row

    judges = judge()
    done = await gristmill.arun(
        gristmill.Chain([nothing, llm_decontaminator]),
        seeds=rows(),
        inputs={"llm-decontaminator.benchmarks": benchmarks()},
        model={"embedder": embedder(), "judge": judges},
        out=folder() / "run",
    )
    assert (done.rows, judges.questions) == ([], [])
    assert [report.contaminated for report in done.iterate("contamination_report")] == [0]


async def test_a_replay_asks_nothing():
    done = await made(Scripted(lambda q: Reply("True" if pair_of(q)[0] == ITEM else "?"), model="judge"), retries=2)
    again = await replay(done)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
    assert len(again.rejects) == 4


def test_it_takes_rows_of_any_type():
    assert llm_decontaminator.seed is Row
