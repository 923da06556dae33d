"""What makes GraphRAG GraphRAG: a graph merged from chunks, reports on its communities, answers mapped and reduced."""

import json
import re
from itertools import pairwise

import pytest

from gristmill import Refused, Reply
from gristmill.recipes.applications.graphrag import (
    CANNOT,
    communities_can_be_found,
    graphrag,
    overlapping,
    packed,
    parse,
    unfounded,
)
from gristmill.testing import Scripted, replay, run, text_of

TEXTS = [{"text": "Ana leads the Harbour Office in Veere."}, {"text": "The Harbour Office pays Ana and Bo."}]
FEW = {"personas": 1, "tasks": 1, "questions": 1}


def entity(name: str, type: str = "person", text: str = "") -> str:
    return f'("entity"<|>{name}<|>{type}<|>{text or name + " is"})'


def relation(one: str, other: str, strength="5", text: str = "they work together") -> str:
    return f'("relationship"<|>{one}<|>{other}<|>{text}<|>{strength})'


def records(*made: str) -> str:
    return "##".join(made) + "<|COMPLETE|>"


CHUNKS = {
    "Ana leads": records(entity("Ana"), entity("Harbour Office", "organization", "An office"),
                         relation("Ana", "Harbour Office", "3", "leads it"), relation("Ana", "Nobody")),
    "pays Ana": records(entity("ANA"), entity("Harbour Office", "organization", "Pays people"), entity("Bo"),
                        relation("Ana", "Harbour Office", "4", "is paid"), relation("Bo", "Harbour Office", "strong")),
}  # fmt: skip
REPORT = {
    "title": "Ana and her office",
    "summary": "Ana leads it [Data: Entities (0, 1)].",
    "rating": 7.5,
    "rating_explanation": "It matters.",
    "findings": [{"summary": "Pay", "explanation": "It pays [Data: Relationships (0); Entities (99)]."}],
}


def world(chunks=None, more="", again="N", points=None, answer="All is well [Data: Reports (0)].", report=None):
    """A model that knows what each prompt is for by its first words."""

    def items(kind: str, count: int) -> str:
        return json.dumps({"items": [f"{kind} {number}" for number in range(count)]})

    def script(question):
        prompt, last = question.messages[0].content, question.messages[-1].content
        count = int(found[1]) if (found := re.search(r"(?:Name|Write) (\d+) ", last)) else 0
        if last.startswith("Many entities"):
            return more
        if last.startswith("Are there still"):
            return again
        if prompt.startswith("Find in a text"):
            text = prompt.rpartition("Text: ")[2]
            return next((said for part, said in (chunks or CHUNKS).items() if part in text), records())
        if prompt.startswith("Here are descriptions"):
            return "One description of both."
        if prompt.startswith("Write a report"):
            return report or json.dumps(REPORT)
        if "kinds of people" in last:
            return items("persona", count)
        if "tasks for which" in last:
            return items("task of " + re.search(r"persona \d+", last)[0], count)
        if "questions that this person" in last:
            return items("question on " + re.search(r"task of persona \d+ \d+", last)[0], count)
        if prompt.startswith("Answer a question"):
            return json.dumps({"points": points or [{"description": "It is well [Data: Reports (0)].", "score": 60}]})
        if prompt.startswith("Several analysts"):
            return answer
        raise AssertionError(prompt[:80])

    return Scripted(script)


async def made(model=None, texts=TEXTS, **options):
    return await run(graphrag, texts, generator=model or world(), **{**FEW, "max_gleanings": 0, **options})


def about(model: Scripted, beginning: str) -> list[str]:
    return [q.messages[0].content for q in model.questions if q.messages[0].content.startswith(beginning)]


async def test_strengths_of_a_pair_in_two_chunks_are_summed_and_an_edge_to_nobody_is_dropped():
    done = await made()
    edges = {(row.source, row.target): row.weight for row in done.iterate("relationship_row")}
    assert edges == {("ANA", "HARBOUR OFFICE"): 7, ("BO", "HARBOUR OFFICE"): 1}  # "strong" is no number
    assert [(r.reason, r.candidate) for r in done.rejects] == [("orphan_edge", {"source": "ANA", "target": "NOBODY"})]


async def test_entities_are_merged_by_upper_case_name_and_type_and_several_descriptions_are_joined_by_a_call():
    model = world()
    done = await made(model)
    rows = {row.name: row for row in done.iterate("entity_row")}
    assert set(rows) == {"ANA", "HARBOUR OFFICE", "BO"}
    assert (rows["HARBOUR OFFICE"].frequency, rows["HARBOUR OFFICE"].degree) == (2, 2)
    assert rows["HARBOUR OFFICE"].description == "One description of both."
    assert rows["BO"].description == "Bo is"
    joined = about(model, "Here are descriptions")
    assert len(joined) == 3  # ana ("Ana is", "ANA is"), the office, and the edge between them
    assert any("- An office\n- Pays people" in prompt and "500 words" in prompt for prompt in joined)


async def test_an_entity_that_only_a_gleaning_names_is_in_the_graph():
    glean = records(entity("Cleo"), relation("Cleo", "Ana", "2"))
    model = world(more=glean)
    done = await made(model, max_gleanings=1)
    assert "CLEO" in {row.name for row in done.iterate("entity_row")}
    asked = [q.messages[-1].content[:14] for q in model.questions if q.messages[0].content.startswith("Find in a text")]
    assert sorted(asked) == ["Find in a text"] * 2 + ["Many entities "] * 2  # no question whether more remain


async def test_without_gleanings_a_chunk_is_asked_about_once():
    model = world(more=records(entity("Cleo")))
    done = await made(model)
    assert len([q for q in model.questions if q.messages[0].content.startswith("Find in a text")]) == 2
    assert "CLEO" not in {row.name for row in done.iterate("entity_row")}


@pytest.mark.parametrize(("again", "calls"), [("N", 3), ("no", 3), ("Y", 6)])
async def test_gleaning_goes_on_while_the_model_says_that_more_remains_and_ends_at_its_bound(again, calls):
    model = world(again=again)
    await made(model, texts=TEXTS[:1], max_gleanings=3)
    # N: the text, more, and the question. Y: the text, three times more, and two questions.
    assert len([q for q in model.questions if q.messages[0].content.startswith("Find in a text")]) == calls


async def test_a_report_is_written_from_the_edges_with_the_best_connected_ends_and_invented_references_are_flagged():
    model = world()
    done = await made(model)
    [report] = done.iterate("community_report")
    [prompt] = about(model, "Write a report")
    lines = prompt[prompt.index("Relationships (id, source") :].splitlines()
    assert lines[1].startswith("0, ANA, HARBOUR OFFICE") and lines[2].startswith("1, BO, HARBOUR OFFICE")  # noqa: PT018
    assert "0, ANA, One description" in prompt
    assert report.unfounded == ["Entities 99"]
    assert "# Ana and her office" in report.text and "## Pay" in report.text  # noqa: PT018
    assert (report.community, report.level, report.rating) == (0, 0, 7.5)


async def test_five_personas_tasks_and_questions_make_125_questions_with_persona_and_task():
    done = await made(personas=5, tasks=5, questions=5)
    questions = list(done.iterate("global_question"))
    assert len({row.question for row in questions}) == len(questions) == 125
    assert {(row.persona, row.task) for row in questions} == {
        (f"persona {p}", f"task of persona {p} {t}") for p in range(5) for t in range(5)
    }
    assert len(done.rows) == 125


async def test_points_without_a_score_are_not_reduced_and_the_others_stand_in_falling_order():
    points = [
        {"description": "low", "score": 10},
        {"description": "nothing", "score": 0},
        {"description": "high", "score": 90},
        {"description": "too much", "score": 900},
    ]
    model = world(points=points)
    done = await made(model)
    [prompt] = about(model, "Several analysts")
    assert prompt.endswith("(90) high\n\n(10) low")
    assert "nothing" not in prompt
    assert dict(done.reject_counts) == {"orphan_edge": 1, "bad_score": 1}
    [row] = done.rows
    assert (row.output, row.reports, row.points) == ("All is well [Data: Reports (0)].", [0], 2)


async def test_where_all_points_score_zero_the_answer_is_fixed_and_nothing_is_reduced():
    model = world(points=[{"description": "I cannot tell", "score": 0}])
    done = await made(model)
    assert about(model, "Several analysts") == []
    assert [(row.output, row.points, row.reports) for row in done.rows] == [(CANNOT, 0, [])]


async def test_rows_name_the_graph_that_they_were_made_from():
    done = await made()
    [(name, path)] = done.artefacts.items()
    kept = json.loads(path.read_text())
    assert [entry[1] for entry in kept["entities"]] == ["ANA", "HARBOUR OFFICE", "BO"]
    for table in (
        "global_answer",
        "global_question",
        "entity_row",
        "relationship_row",
        "community_row",
        "community_report",
    ):
        assert all(name in row.lineage.parents for row in done.iterate(table))
    assert done.rows[0].lineage.calls


async def test_a_replay_asks_nothing_and_gives_the_same_rows_and_the_same_communities():
    done = await made()
    again = await replay(done)
    for table in ("global_answer", "community_row", "community_report"):
        assert list(again.iterate(table)) == list(done.iterate(table))
    assert again.calls == 0


CLUMPS = {
    f"Clump {clump}": records(
        *[entity(f"n{clump}{n}") for n in range(7)],
        *[relation(f"n{clump}{i}", f"n{clump}{j}", "9") for i in range(7) for j in range(i)],
        *([entity("n00"), relation(f"n{clump}0", "n00", "1")] if clump else []),
    )
    for clump in range(3)
}
CLUMPED = [{"text": name} for name in CLUMPS]


async def test_large_communities_are_split_and_every_level_has_each_name_once():
    done = await made(world(CLUMPS), texts=CLUMPED, max_cluster_size=5)
    found = list(done.iterate("community_row"))
    top = [name for row in found if row.level == 0 for name in row.members]
    assert sorted(top) == sorted({row.name for row in done.iterate("entity_row")})
    assert len([row for row in found if row.level == 0]) >= 3


CHAIN = {
    "Chain": records(
        *[entity(f"n{n:02}") for n in range(60)], *[relation(f"n{n:02}", f"n{n + 1:02}", "1") for n in range(59)]
    )
}


async def test_communities_within_communities_are_found_and_each_lies_in_its_parent():
    done = await made(world(CHAIN), texts=[{"text": "Chain"}], max_cluster_size=5)
    found = list(done.iterate("community_row"))
    by_number = {row.number: row for row in found}
    parents = {row.parent for row in found}
    assert max(row.level for row in found) == 1
    assert all(set(row.members) < set(by_number[row.parent].members) for row in found if row.level)
    assert max(len(row.members) for row in found if row.number not in parents) <= 5
    whole = await made(world(CHAIN), texts=[{"text": "Chain"}], max_cluster_size=100)
    assert {row.level for row in whole.iterate("community_row")} == {0}


async def test_a_community_that_is_too_large_is_told_by_the_reports_of_its_parts():
    tight, roomy = world(CHAIN), world(CHAIN)
    await made(tight, texts=[{"text": "Chain"}], max_cluster_size=5, report_input_tokens=150)
    await made(roomy, texts=[{"text": "Chain"}], max_cluster_size=5)
    told = [prompt for prompt in about(tight, "Write a report") if "\nReport " in prompt]
    assert told
    assert all("# Ana and her office" in prompt for prompt in told)
    assert not any("\nReport " in prompt for prompt in about(roomy, "Write a report"))


async def test_the_level_says_whose_reports_answer():
    coarse, fine = world(CHAIN), world(CHAIN)
    few = await made(coarse, texts=[{"text": "Chain"}], max_cluster_size=5)
    many = await made(fine, texts=[{"text": "Chain"}], max_cluster_size=5, level=1)
    found = list(few.iterate("community_row"))
    parents = {row.parent for row in found}
    leaves = [row.number for row in found if row.level == 1 or row.number not in parents]
    assert [len(re.findall(r"\nReport \d+", about(one, "Answer a question")[0])) for one in (coarse, fine)] == [
        len([row for row in found if row.level == 0]),
        len(leaves),
    ]
    assert (few.rows[0].level, many.rows[0].level) == (0, 1)


async def test_the_edges_whose_ends_have_the_most_relations_come_first():
    star = records(
        *[entity(name) for name in "abcd"],
        relation("b", "c"), relation("a", "b"), relation("a", "c"), relation("a", "d"), relation("b", "d"),
    )  # fmt: skip
    model = world({"Star": star})
    await made(model, texts=[{"text": "Star"}])
    [prompt] = about(model, "Write a report")
    lines = prompt[prompt.index("Relationships (id, source") :].splitlines()[1:3]
    assert [line[:7] for line in lines] == ["1, A, B", "0, B, C"]


async def test_the_reports_are_shuffled_for_each_question():
    model = world(CLUMPS)
    await made(model, texts=CLUMPED, questions=8)
    orders = {tuple(re.findall(r"\nReport (\d+)", prompt)) for prompt in about(model, "Answer a question")}
    assert len(orders) > 1


async def test_a_rating_off_the_scale_is_no_report():
    done = await made(world(report=json.dumps({**REPORT, "rating": 70})))
    assert (done.rows, done.reject_counts["bad_rating"]) == ([], 1)


async def test_what_does_not_fit_into_a_report_is_left_out_from_the_end():
    model = world(CLUMPS)
    await made(model, texts=CLUMPED, report_input_tokens=120)
    prompts = about(model, "Write a report")
    assert all(prompt.count(", they work together") < 21 for prompt in prompts)
    assert all(prompt.count(", they work together") >= 1 for prompt in prompts)


async def test_reports_are_packed_into_batches_and_each_is_read_by_a_call_of_its_own():
    model = world(CLUMPS)
    await made(model, texts=CLUMPED, global_context_tokens=100)
    read = about(model, "Answer a question")
    assert len(read) == len(about(model, "Write a report")) == 3
    assert all(prompt.count("\nReport ") == 1 for prompt in read)


async def test_parts_outside_the_largest_component_are_left_out_unless_wanted():
    chunks = {**CHUNKS, "Far": records(entity("Xi"), entity("Yo"), relation("Xi", "Yo"))}
    texts = [*TEXTS, {"text": "Far away."}]
    inside = {name for row in (await made(world(chunks), texts)).iterate("community_row") for name in row.members}
    whole = await made(world(chunks), texts, use_largest_component=False)
    everywhere = {name for row in whole.iterate("community_row") for name in row.members}
    assert everywhere - inside == {"XI", "YO"}


async def test_a_graph_without_edges_gives_its_entities_and_no_question():
    model = world({"Ana": records(entity("Ana"))})
    done = await made(model, texts=TEXTS[:1])
    assert [row.name for row in done.iterate("entity_row")] == ["ANA"]
    assert (done.rows, list(done.iterate("community_row")), about(model, "Write a report")) == ([], [], [])
    nothing = await made(world({"Ana": records()}), texts=TEXTS[:1])
    assert (nothing.rows, list(nothing.iterate("entity_row"))) == ([], [])


async def test_what_cannot_be_read_is_rejected_with_its_reason():
    broken = await made(world({"Ana": '("entity"<|>Ana<|>person)##nonsense<|COMPLETE|>'}), texts=TEXTS[:1])
    assert dict(broken.reject_counts) == {"bad_record": 2}
    cut = world()
    script = cut._script
    cut._script = lambda q: Reply(script(q), finish="length") if q.messages[0].content.startswith("Find") else script(q)
    done = await made(cut, texts=TEXTS[1:])
    assert done.reject_counts["truncated"] == 1
    assert "BO" in {row.name for row in done.iterate("entity_row")}
    unread = await made(world(report="no JSON at all"))
    assert (unread.rows, unread.reject_counts["bad_report"]) == ([], 1)
    short = await made(personas=3, model=world())
    assert len(list(short.iterate("global_question"))) == 3


def refusing(model: Scripted, *words: str) -> Scripted:
    """Like the model, but not where all these words are read."""
    script = model._script
    model._script = lambda q: Refused("no") if all(word in text_of(q) for word in words) else script(q)
    return model


async def test_a_chunk_that_cannot_be_asked_about_costs_no_other():
    done = await made(refusing(world(), "Find in a text", "pays Ana and Bo"), allow_failures=True)
    assert [row.name for row in done.iterate("entity_row")] == ["ANA", "HARBOUR OFFICE"]
    assert (len(done.rows), [failure.error for failure in done.failures]) == (1, ["no"])
    nothing = await made(refusing(world()), allow_failures=True)
    assert (nothing.rows, list(nothing.iterate("entity_row")), nothing.failed) == ([], [], 2)


async def test_where_descriptions_cannot_be_joined_the_first_stays_and_no_entity_or_edge_is_lost():
    done = await made(refusing(world(), "Here are descriptions"), allow_failures=True)
    rows = {row.name: row.description for row in done.iterate("entity_row")}
    assert rows == {"ANA": "Ana is", "HARBOUR OFFICE": "An office", "BO": "Bo is"}
    assert [row.description for row in done.iterate("relationship_row")] == ["leads it", "they work together"]
    assert (len(done.rows), [failure.error for failure in done.failures]) == (1, ["no"] * 3)


async def test_a_report_that_fails_costs_no_other_and_the_questions_are_answered_from_these():
    model = refusing(world(CLUMPS), "Write a report", ", N16, ")
    done = await made(model, texts=CLUMPED, allow_failures=True)
    reported = {row.community for row in done.iterate("community_report")}
    assert len(list(done.iterate("community_row"))) == 3
    assert (len(reported), done.failed) == (2, 1)
    [prompt] = about(model, "Answer a question")
    assert {int(number) for number in re.findall(r"\nReport (\d+)", prompt)} == reported
    assert len(done.rows) == 1
    none = await made(refusing(world(CLUMPS), "Write a report"), texts=CLUMPED, allow_failures=True)
    assert (none.rows, list(none.iterate("community_report")), none.failed) == ([], [], 3)


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (["tasks for which", "persona 1"], {"1 0 0", "1 0 1", "1 1 0", "1 1 1"}),
        (["questions that this person", "task of persona 1 0"], {"1 0 0", "1 0 1"}),
        (["Answer a question", "on task of persona 1 0 1", "Report 1"], {"1 0 1"}),  # one of three batches of reports
        (["Several analysts", "on task of persona 1 0 1"], {"1 0 1"}),
    ],
)
async def test_a_persona_a_task_or_a_question_whose_call_fails_costs_what_hangs_on_it_alone(words, lost):
    options = {"personas": 2, "tasks": 2, "questions": 2, "global_context_tokens": 100}
    done = await made(refusing(world(CLUMPS), *words), texts=CLUMPED, allow_failures=True, **options)
    every = {f"{persona} {task} {number}" for persona in range(2) for task in range(2) for number in range(2)}
    assert {row.instruction.removeprefix("question on task of persona ") for row in done.rows} == every - lost
    assert len(list(done.iterate("global_question"))) == len(done.rows)
    assert [failure.error for failure in done.failures] == ["no"]


async def test_without_any_persona_there_is_no_question_and_the_graph_and_its_reports_stay():
    done = await made(refusing(world(), "kinds of people"), allow_failures=True)
    assert (done.rows, len(list(done.iterate("community_report"))), done.failed) == ([], 1, 1)


async def test_a_list_that_is_too_short_is_said_to_be():
    model = world()
    script = model._script
    model._script = lambda q: (
        '{"items": ["one"]}'
        if "kinds of people" in q.messages[-1].content
        else ('{"items": []}' if "tasks for which" in q.messages[-1].content else script(q))
    )
    done = await made(model, personas=2)
    assert done.reject_counts["too_few"] == 2


@pytest.mark.parametrize(
    ("record", "read"),
    [
        ('("entity"<|>Café Ü<|>GEO<|>A café)', ("CAFÉ Ü", "geo", "A café")),
        ('("relationship"<|>a<|>b<|>why<|>2.5)', ("A", "B", "why", 2.5)),
        ('("relationship"<|>a<|>b<|>why<|>very)', ("A", "B", "why", 1.0)),
        ('("relationship"<|>a<|>b<|>why<|>nan)', ("A", "B", "why", 1.0)),
        ('("relationship"<|>a<|>b<|>why<|>3<|>2024-01-01)', None),
        ('("entity"<|><|>geo<|>no name)', None),
        ("hello", None),
    ],
)
def test_records_are_read_by_their_number_of_fields(record, read):
    assert parse(record) == read


def test_chunks_begin_with_the_end_of_the_one_before():
    text = " ".join(f"Sentence number {n} stands here." for n in range(60))
    made = overlapping(text, 100, 30)
    assert len(made) > 3
    for before, after in pairwise(made):
        tail = before.split()[-5:]
        assert " ".join(tail) in after
    assert overlapping("short", 100, 30) == ["short"]


def test_texts_are_packed_in_their_order_and_a_long_one_alone():
    assert packed(["aa", "b", "cccccc", "d"], 3, len) == [["aa", "b"], ["cccccc"], ["d"]]
    assert packed([], 3, len) == []


def test_references_are_held_against_what_was_shown():
    context = "Report 4: text\n\nEntities (id, name, description)\n1, A, a\n\nRelationships (id, source, target, description)\n7, A, B, x"
    assert unfounded("[Data: Entities (1, 7); Relationships (7, 1); Reports (4, 5, +more)]", context) == [
        "Entities 7", "Relationships 1", "Reports 5",
    ]  # fmt: skip


def test_the_check_is_the_one_of_the_library(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        Exception, match=r"graspologic_native, which is not installed: pip install 'gristmill\[graph\]'"
    ):
        communities_can_be_found(overlap=1, chunk_tokens=50)
