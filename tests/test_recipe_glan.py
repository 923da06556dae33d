"""GLAN: a taxonomy with votes, subjects and syllabi by two calls each, drawn concepts, homework and its answer."""

import json
import re
from itertools import combinations
from math import comb

import pytest

from gristmill import Chain
from gristmill.api import arun
from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.glan import concept_sets, glan
from gristmill.recipes.distillation.glan_decontaminate import glan_decontaminate
from gristmill.recipes.distillation.glan_taxonomy import glan_taxonomy
from gristmill.testing import Scripted, folder, replay, run, text_of

ALGEBRA = {"field": "Science", "sub_field": "Mathematics", "discipline": "Algebra"}
OPTICS = {"field": "Science", "sub_field": "Physics", "discipline": "Optics"}
CHESS = {"field": "Leisure", "sub_field": "Games", "discipline": "Chess"}
TREE = {"": ["Science", "Leisure"], "Science": ["Mathematics", "Physics"], "Leisure": ["Games"],
        "Mathematics": ["Algebra"], "Physics": ["Optics"], "Games": ["Chess", "Go"]}  # fmt: skip
KINDS = {
    "taxonomy": "Name the ",
    "subjects": "expert of education",
    "subjects_format": "this list of subjects into",
    "syllabus": "Write its syllabus",
    "syllabus_format": "Take the class sessions",
    "question": "Write one homework question",
}


def kind(question):
    """What a question to the generator is for."""
    [found] = [name for name, mark in KINDS.items() if mark in text_of(question)]
    return found


def name_in(question):
    """The discipline or the subject that a prompt, or the text in it, is about."""
    text = text_of(question)
    if kind(question) == "subjects":
        return re.search(r"education in (?:.* / )?(.+?)\. Which", text)[1]
    if kind(question) in ("syllabus", "question"):
        return re.search(r'the subject "(.+?)"', text)[1]
    return re.search(r"of <(.+?)>", text)[1]


def lines(*objects):
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in objects)


def subject(name, level="beginner"):
    return {"subject_name": name, "level": level, "subtopics": ["one", "two"]}


def session(number, of, concepts=5):
    return {"session": f"{of} class {number}", "key_concepts": [f"{of} {number}.{n}" for n in range(1, concepts + 1)]}


USUAL = {
    "subjects": lambda q: f"Subjects of <{name_in(q)}>: a list.",
    "subjects_format": lambda q: lines(*(subject(f"{name_in(q)} {number}") for number in (1, 2))),
    "syllabus": lambda q: f"Syllabus of <{name_in(q)}>: sessions.",
    "syllabus_format": lambda q: lines(*(session(number, name_in(q)) for number in (1, 2, 3))),
    "question": lambda q: f"Question on {name_in(q)}: {re.search(r'of them: (.*)', text_of(q))[1]}",
}


def teacher(**changed):
    """Writes a curriculum of two subjects a discipline and three sessions a subject; or what it is told to, by kind."""

    def divide(question):
        names = re.findall(r'"([^".]+)"', text_of(question).split("Answer in JSON")[0])
        return json.dumps({"names": TREE[names[0] if names else ""]})

    script = {"taxonomy": divide, **USUAL, **changed}

    def say(question):
        said = script[kind(question)]
        return said(question) if callable(said) else said

    return Scripted(say, model="teacher")


def student():
    return Scripted(lambda question: f"Answer to {text_of(question)}", model="student")


def asked(model, of):
    return [question for question in model.questions if kind(question) == of]


def few(**options):
    """Runs small enough to look at."""
    return {"subject_queries": 1, "generator": teacher(), "answerer": student(), **options}


def shown(done):
    return [(reject.reason, reject.candidate, reject.details) for reject in done.rejects]


# -- what rows are made of


@pytest.mark.proof("glan", 1)
async def test_key_concepts_are_of_their_sessions_sessions_of_the_subjects_syllabus_and_subjects_of_their_discipline():
    disciplines = {node["discipline"]: node for node in (ALGEBRA, OPTICS, CHESS)}
    done = await run(glan, disciplines.values(), target=60, **few())
    assert len(done.rows) == 60
    for row in done.rows:
        node = disciplines[row.discipline]
        assert (row.field, row.sub_field) == (node["field"], node["sub_field"])
        assert row.subject in (f"{row.discipline} 1", f"{row.discipline} 2")
        syllabus = {made["session"]: made["key_concepts"] for made in (session(n, row.subject) for n in (1, 2, 3))}
        assert set(row.sessions) <= set(syllabus)
        assert len(set(row.key_concepts)) == len(row.key_concepts)
        for concept in row.key_concepts:
            assert any(concept in syllabus[name] for name in row.sessions)
        for name in row.sessions:
            assert set(row.key_concepts) & set(syllabus[name])
        assert row.level == "beginner"
    assert {row.subject for row in done.rows} == {f"{name} {n}" for name in disciplines for n in (1, 2)}


@pytest.mark.proof("glan", 2)
async def test_one_session_gives_one_to_five_concepts_and_two_sessions_two_to_five():
    done = await run(glan, [ALGEBRA], target=200, **few())
    counts = {1: set(), 2: set()}
    for row in done.rows:
        counts[len(row.sessions)].add(len(row.key_concepts))
        assert row.sessions == sorted(row.sessions)
    assert counts == {1: {1, 2, 3, 4, 5}, 2: {2, 3, 4, 5}}
    share = sum(len(row.sessions) == 2 for row in done.rows) / 200
    assert 0.35 < share < 0.65  # a deviation is 0.035: outside of this is a chance of 1 in 50,000


@pytest.mark.parametrize("share", [0, 1])
async def test_the_share_of_two_session_questions_can_be_set_and_their_prompt_says_so(share):
    options = few(two_session_share=share, max_concepts_per_question=2)
    done = await run(glan, [ALGEBRA], target=20, **options)
    assert {len(row.sessions) for row in done.rows} == {1 + share}
    assert {len(row.key_concepts) for row in done.rows} == ({2} if share else {1, 2})
    assert {"must come together" in text_of(q) for q in asked(options["generator"], "question")} == {bool(share)}


def test_every_concept_set_of_the_paper_is_counted_once():
    assert sum(concept_sets([9], 5).values()) == sum(comb(9, i) for i in range(1, 6))
    assert sum(concept_sets([4, 6], 5).values()) == sum(comb(10, i) - comb(4, i) - comb(6, i) for i in range(2, 6))
    pairs = [s for i in range(2, 6) for s in combinations("abcxy", i) if set(s) & set("abc") and set(s) & set("xy")]
    assert sum(concept_sets([3, 2], 5).values()) == len(pairs)
    assert concept_sets([1, 1], 5) == {(1, 1): 1}


async def test_a_question_is_asked_with_the_full_syllabus_and_names_sessions_and_concepts():
    generator = teacher()
    done = await run(glan, [ALGEBRA], target=9, **few(generator=generator))
    prompts = {re.search(r"of them: (.*)\.", text_of(q))[1]: text_of(q) for q in asked(generator, "question")}
    for row in done.rows:
        prompt = prompts["; ".join(row.key_concepts)]
        assert f"\nSyllabus of <{row.subject}>: sessions.\n" in prompt  # the free text, not the format
        assert f"class sessions: {'; '.join(row.sessions)}.\n" in prompt
        assert "nothing that comes later" in prompt


@pytest.mark.proof("glan", 3)
async def test_question_and_answer_are_two_calls_of_different_models():
    options = few()
    done = await run(glan, [ALGEBRA], target=3, **options)
    answerer = options["answerer"]
    assert all(row.instruction.startswith("Question on ") for row in done.rows)
    assert [row.output for row in done.rows] == [f"Answer to {row.instruction}" for row in done.rows]
    assert {row.instruction for row in done.rows} <= {text_of(question) for question in answerer.questions}
    assert {question.sampling["temperature"] for question in answerer.questions} == {0.7}
    assert not any("yllabus" in prompt for prompt in answerer.prompts)


# -- two calls for a list


@pytest.mark.proof("glan", 3)
async def test_subjects_and_syllabi_are_written_as_free_text_and_brought_into_a_format_by_a_second_call():
    generator = teacher()
    await run(glan, [ALGEBRA], target=1, **few(generator=generator))
    counts = [len(asked(generator, of)) for of in ("subjects", "subjects_format", "syllabus", "syllabus_format")]
    assert counts == [1, 1, 1, 1]
    for of, text in [("subjects", "Subjects of <Algebra>: a list."), ("syllabus", "Syllabus of <Algebra ")]:
        [free], [form] = asked(generator, of), asked(generator, f"{of}_format")
        assert "JSON" not in text_of(free)
        assert "JSON Lines" in text_of(form)
        assert text in text_of(form)
        assert (free.sampling["temperature"], free.sampling["top_p"]) == (1.0, 0.95)
        assert form.sampling["temperature"] == 0.0
        assert free.schema is form.schema is None
    prompt = text_of(asked(generator, "syllabus")[0])
    assert re.search(r'"Algebra [12]" \(level: beginner\). Its subtopics: one, two\.', prompt)
    assert "10 to 30 class sessions" in prompt
    assert "about 5 key concepts" in prompt


async def test_ten_lists_of_subjects_are_merged_without_repeats_within_a_discipline():
    said = iter(range(100))

    def listing(question):
        return lines(subject("Groups"), subject(f"Rings {next(said) % 2}"), subject(" groups "))

    generator = teacher(subjects_format=listing)
    seeds = [ALGEBRA, OPTICS]
    done = await run(glan, seeds, target=30, generator=generator, answerer=student(), concurrency=1)
    assert len(asked(generator, "subjects")) == len(asked(generator, "subjects_format")) == 2 * 10
    assert {(row.discipline, row.subject) for row in done.rows} == {
        (discipline, name) for discipline in ("Algebra", "Optics") for name in ("Groups", "Rings 0", "Rings 1")
    }  # a subject may stand in several disciplines
    repeats = [details for reason, _, details in shown(done) if reason == "duplicate_subjects"]
    assert [(d["discipline"], d["repeats"], d["subjects"]) for d in repeats] == [
        ("Science / Mathematics / Algebra", 27, 3),
        ("Science / Physics / Optics", 27, 3),
    ]


async def test_a_syllabus_is_written_once_however_often_its_subject_is_drawn():
    generator = teacher()
    done = await run(glan, [ALGEBRA], target=40, **few(generator=generator))
    assert len(done.rows) == 40
    assert len(asked(generator, "subjects")) == 1
    assert sorted(name_in(question) for question in asked(generator, "syllabus")) == ["Algebra 1", "Algebra 2"]


async def test_the_first_row_needs_the_subjects_of_one_discipline_and_one_syllabus_only():
    seeds = [{"discipline": f"D{number}"} for number in range(126)]
    done = await run(glan, seeds, target=1, generator=teacher(), answerer=student())
    assert done.calls == 2 * 10 + 2 + 2


# -- the taxonomy


async def test_without_seeds_the_whole_taxonomy_is_the_models():
    generator = teacher()
    done = await run(glan, target=8, **few(generator=generator))
    assert {(row.field, row.sub_field, row.discipline) for row in done.rows} == {
        ("Science", "Mathematics", "Algebra"),
        ("Science", "Physics", "Optics"),
        ("Leisure", "Games", "Chess"),
        ("Leisure", "Games", "Go"),
    }
    assert len(asked(generator, "taxonomy")) == 1 + 2 + 3
    assert all(question.schema for question in asked(generator, "taxonomy"))


async def test_a_field_without_rows_below_it_is_divided_and_one_with_some_is_taken_as_it_is():
    generator = teacher()
    done = await run(glan, [{"field": "Science"}, OPTICS, {"field": "Leisure"}], target=9, **few(generator=generator))
    assert {row.discipline for row in done.rows} == {"Optics", "Chess", "Go"}
    assert len(asked(generator, "taxonomy")) == 2


async def test_disciplines_alone_are_a_taxonomy():
    done = await run(glan, [{"discipline": "物理学"}], target=2, **few())
    assert {(row.field, row.discipline, row.subject[:3]) for row in done.rows} == {("", "物理学", "物理学")}


@pytest.mark.proof("glan", 4)
async def test_removing_a_field_by_vote_removes_all_rows_below_it_and_every_other_discipline_gets_rows():
    votes = [ALGEBRA, {"field": "Leisure", "keep": 1, "remove": 2}, OPTICS, CHESS, {**CHESS, "discipline": "Go"}]
    generator = teacher()
    done = await run(glan, votes, target=12, **few(generator=generator))
    assert {row.discipline for row in done.rows} == {"Algebra", "Optics"}
    assert not any("Chess" in prompt or "Games" in prompt for prompt in generator.prompts)
    assert shown(done) == [("voted_out", [{"node": "Leisure", "votes": -1}], {"nodes": 3})]


@pytest.mark.parametrize(
    ("votes", "stays"),
    [
        ([{"remove": 1}, {"remove": 1}, {"keep": 1}], False),
        ([{"remove": 1}, {"keep": 1}], True),
        ([{"keep": 2, "remove": 1}], True),
        ([{"discipline": " chess", "remove": 1}], False),
    ],
)
async def test_the_majority_of_the_votes_of_all_rows_on_a_node_decides(votes, stays):
    seeds = [ALGEBRA, CHESS, *({**CHESS, **vote} for vote in votes)]
    done = await run(glan, seeds, target=8, **few())
    counts = [row.discipline for row in done.rows].count("Chess")
    assert counts == (4 if stays else 0)


async def test_a_field_that_was_emptied_by_votes_is_not_grown_again():
    generator = teacher()
    done = await run(
        glan, [{"field": "Leisure"}, {**CHESS, "remove": 3}, ALGEBRA], target=3, **few(generator=generator)
    )
    assert {row.discipline for row in done.rows} == {"Algebra"}
    assert not asked(generator, "taxonomy")


async def test_where_no_discipline_is_left_the_run_says_so():
    with pytest.raises(BadInput, match="no discipline is left"):
        await run(glan, [{**CHESS, "remove": 1}], target=1, **few())
    with pytest.raises(BadInput, match="no discipline is left"):
        await run(glan, target=1, **few(generator=teacher(taxonomy="Fields: many.")))


async def test_disciplines_take_turns():
    done = await run(glan, target=40, **few())
    counts = {name: [row.discipline for row in done.rows].count(name) for name in ("Algebra", "Optics", "Chess", "Go")}
    assert set(counts.values()) == {10}
    assert len({row.discipline for row in done.rows[:4]}) == 4


async def test_the_taxonomy_alone_is_a_recipe_whose_rows_take_votes_and_are_seeds_of_glan():
    done = await run(glan_taxonomy, generator=teacher())
    nodes = [(row.field, row.sub_field, row.discipline) for row in done.rows if row.field]
    assert len(nodes) == len(set(nodes)) == 2 + 3 + 4
    assert all(row.lineage.calls for row in done.rows if row.field)
    voted = [
        {"field": f, "sub_field": s, "discipline": d, "keep": 1, "remove": 2 * (s == "Games" and not d)}
        for f, s, d in nodes
    ]
    generator = teacher()
    again = await run(glan, voted, target=4, **few(generator=generator))
    assert {row.discipline for row in again.rows} == {"Algebra", "Optics"}
    assert not asked(generator, "taxonomy")
    assert (await replay(done)).rows == done.rows


async def test_names_that_repeat_or_cannot_be_read_make_no_nodes():
    def divide(question):
        text = text_of(question)
        if "Mathematics" in text:
            return '{"names": ["Algebra", " algebra ", "Géométrie\\n non"]}'
        return '{"names": ["Mathematics"]}' if '"Science"' in text else '{"names": ["'

    done = await run(glan_taxonomy, [{"field": "Science"}, {"field": "Leisure"}], generator=teacher(taxonomy=divide))
    assert [row.discipline for row in done.rows if row.discipline] == ["Algebra", "Géométrie non"]
    assert [(reason, details) for reason, _, details in shown(done)] == [
        ("unparsed", {"of": "sub_field", "below": "Leisure"})
    ]


# -- replies that cannot be used


async def test_lines_are_read_in_whatever_they_are_wrapped_and_others_are_rejected_one_by_one():
    wrapped = f"""Sure! Here they are:
```json
[{json.dumps(subject("Groups", level=2))},
{json.dumps(subject("Kürzen 数", level="101"), indent=2)}]
```
{{"subject_name": "Broken", "lev
{{"subject_name": "No level", "subtopics": []}}
{{"subject_name": " ", "level": "x", "subtopics": []}}
{{"subject_name": "Rings", "level": "3", "subtopics": ["over two
lines"]}}
{{"subject_name": "Cut", "lev"""
    done = await run(glan, [ALGEBRA], target=24, **few(generator=teacher(subjects_format=wrapped)))
    assert {(row.subject, row.level) for row in done.rows} == {("Groups", "2"), ("Kürzen 数", "101"), ("Rings", "3")}
    assert [(reason, details) for reason, _, details in shown(done)] == [("unparsed", {"of": "subjects"})] * 4
    assert shown(done)[0][1] == '{"subject_name": "Broken", "lev'
    assert shown(done)[3][1] == '{"subject_name": "Cut", "lev'


@pytest.mark.parametrize(
    ("changed", "rejected", "lost"),
    [
        ({"subjects": " "}, [("empty", "subjects")], "no_subjects"),
        ({"subjects": Reply("1. Gro", finish="length")}, [("truncated", "subjects")], "no_subjects"),
        ({"subjects_format": ""}, [("empty", "subjects")], "no_subjects"),
        ({"subjects_format": "1. Groups\n2. Rings"}, [], "no_subjects"),
        ({"subjects_format": '{"a":' * 200_000}, [("unparsed", "subjects")], "no_subjects"),
        ({"syllabus": ""}, [("empty", "syllabus")] * 2, "no_sessions"),
        ({"syllabus_format": Reply(lines(session(1, "x")), finish="length")}, [("truncated", "syllabus")] * 2, "no_sessions"),
        ({"syllabus_format": '{"session": "x", "key_concepts": []}'}, [("unparsed", "syllabus")] * 2, "no_sessions"),
    ],
)  # fmt: skip
async def test_a_list_that_cannot_be_used_costs_its_discipline_or_its_subject_and_is_not_asked_for_again(
    changed, rejected, lost
):
    bad = teacher(**changed)
    good = teacher()

    def say(question):
        about = re.findall(r"Chess|Algebra", text_of(question))
        return (bad if about[:1] == ["Chess"] or "x" in about else good)._script(question)

    generator = Scripted(say, model="teacher")
    done = await run(glan, [CHESS, ALGEBRA], target=6, **few(generator=generator))
    assert {row.discipline for row in done.rows} == {"Algebra"}
    assert len(done.rows) == 6
    found = shown(done)
    assert [(reason, details["of"]) for reason, _, details in found if "of" in details] == rejected
    subjects = ["Chess 1", "Chess 2"] if lost == "no_sessions" else ["Leisure / Games / Chess"]
    assert sorted(candidate for reason, candidate, _ in found if reason == lost) == subjects
    assert len([text for text in generator.prompts if "education in" in text and "Chess" in text]) == 1


@pytest.mark.parametrize(("said", "reason"), [("\n", "empty"), (Reply("What is", finish="length"), "truncated")])
async def test_a_question_or_an_answer_that_is_empty_or_cut_costs_its_row(said, reason):
    broken = iter([said, said])
    options = few(generator=teacher(question=lambda q: next(broken, None) or USUAL["question"](q)))
    done = await run(glan, [ALGEBRA], target=3, concurrency=1, **options)
    assert [(r, d["of"]) for r, _, d in shown(done)] == [(reason, "question")] * 2
    broken = iter([said])
    answerer = Scripted(lambda q: next(broken, None) or "Fine.", model="student")
    done = await run(glan, [ALGEBRA], target=3, concurrency=1, **few(answerer=answerer))
    assert [(r, d["of"]) for r, _, d in shown(done)] == [(reason, "answer")]
    assert {row.output for row in done.rows} == {"Fine."}


async def test_a_concept_that_two_sessions_share_is_of_the_first_and_never_drawn_twice():
    shared = lines(
        {"session": "Groups", "key_concepts": ["axioms", "Inverse", "axioms"]},
        {"session": "Review", "key_concepts": ["inverse", " Axioms"]},
        {"session": "Rings", "key_concepts": ["axioms", "units"]},
    )
    done = await run(glan, [ALGEBRA], target=40, **few(generator=teacher(syllabus_format=shared)))
    assert {name for row in done.rows for name in row.sessions} == {"Groups", "Rings"}
    assert {tuple(sorted(row.key_concepts)) for row in done.rows if len(row.sessions) == 2} == {
        *[("axioms", "units"), ("Inverse", "units"), ("Inverse", "axioms", "units")]
    }


async def test_a_syllabus_of_one_session_gives_one_session_questions_whatever_the_share():
    generator = teacher(syllabus_format=lines(session(1, "Only", concepts=1)))
    done = await run(glan, [ALGEBRA], target=4, **few(generator=generator, two_session_share=1))
    assert {(tuple(row.sessions), tuple(row.key_concepts)) for row in done.rows} == {(("Only class 1",), ("Only 1.1",))}


# -- decontamination

ROW = {**ALGEBRA, "subject": "s", "level": "1", "sessions": [], "key_concepts": [], "output": "a"}


@pytest.mark.parametrize(
    ("instruction", "given", "of"),
    [
        ("What is 2+2?", "", "instruction"),
        ("  what IS\n2+2? ", "", "instruction"),
        ("Solve it.", "Ｗhat is 2+2?", "input"),
        ("What is 2-2?", "", None),
        ("Tell me: What is 2+2?", "", None),
        ("Solve it.", "", None),
    ],
)
async def test_a_row_whose_question_or_input_stands_in_a_benchmark_is_dropped(instruction, given, of):
    benchmarks = [{"text": "Other"}, {"text": "What is  2+2?", "benchmark": "gsm8k"}, {"text": " "}]
    row = {**ROW, "instruction": instruction, "input": given}
    done = await run(glan_decontaminate, [row], benchmarks=benchmarks)
    assert [(r.reason, r.details) for r in done.rejects] == (
        [("in_benchmark", {"of": of, "benchmark": "gsm8k"})] if of else []
    )
    assert len(done.rows) == (of is None)
    if not of:
        assert (done.rows[0].instruction, done.rows[0].subject, done.rows[0].output) == (instruction, "s", "a")


async def test_a_chain_counts_what_decontamination_leaves():
    def model(question):
        if any(mark in text_of(question) for mark in KINDS.values()):
            return teacher()._script(question)
        return "An answer."

    free = await run(glan, [ALGEBRA], target=20, generator=Scripted(model), answerer=Scripted(model), subject_queries=1)
    banned = {row.instruction for row in free.rows[:3]}
    done = await arun(
        Chain(["glan", "glan-decontaminate"]),
        seeds=[ALGEBRA],
        inputs={"glan-decontaminate.benchmarks": [{"text": text} for text in banned]},
        model=Scripted(model),
        target=10,
        subject_queries=1,
        out=folder(),
    )
    assert len(done.rows) == 10
    assert not banned & {row.instruction for row in done.rows}
    assert {r.reason for r in done.rejects} == {"in_benchmark"}


# -- the engine's promises


async def test_a_replay_and_any_concurrency_give_the_same_rows_and_each_names_all_the_calls_behind_it():
    one = await run(glan, target=30, concurrency=1, **few())
    many = await run(glan, target=30, concurrency=16, **few())
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert len(one.rows) == 30
    assert again.calls == 0
    assert again.rejects == many.rejects
    for row in one.rows:  # question, answer; taxonomy 3; subjects 2; syllabus 2
        assert len(row.lineage.calls) == 2 + 3 + 2 + 2
        assert {"two_sessions", "sessions", "key_concepts"} <= set(row.lineage.draws)
        assert row.lineage.parents
    assert len({row.lineage.calls[0] for row in one.rows}) == 30


async def test_the_first_rows_of_a_longer_run_are_those_of_a_shorter_one():
    short = await run(glan, target=5, **few())
    long = await run(glan, target=25, **few())
    assert long.rows[:5] == short.rows


async def test_a_curriculum_of_which_nothing_is_left_ends_the_run():
    generator = teacher(subjects=" ")
    done = await run(glan, [ALGEBRA, CHESS], target=5, **few(generator=generator))
    assert not done.rows
    assert [reason for reason, _, _ in shown(done)] == ["empty", "no_subjects"] * 2
    assert len(generator.questions) == 2
