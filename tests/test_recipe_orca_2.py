"""Orca 2: the strategy that suits a kind of task is found by trial, the teacher told it, and the student not."""

import json
from collections import Counter

import pytest

from gristmill import recipes
from gristmill.errors import BadInput, Refused
from gristmill.export.formats import export
from gristmill.models.protocol import Message, Reply
from gristmill.recipes.distillation.orca_2 import FORMAT, GENERIC, STRATEGIES, CautiousTask, is_right, orca_2
from gristmill.recipes.distillation.orca_2_doctor_patient import COMPLAINTS, PATIENTS, SETTINGS, orca_2_doctor_patient
from gristmill.recipes.distillation.orca_2_few_shot import orca_2_few_shot
from gristmill.recipes.distillation.orca_2_mix import SHARES, orca_2_mix
from gristmill.testing import Scripted, replay, run, text_of

BEST = {"sums": "step_by_step", "labels": "direct_answer", "facts": "recall_then_generate"}


def tasks(cluster, count=4, answer="7", **columns):
    return [{"query": f"{cluster} {n}", "cluster": cluster, "answer": answer, **columns} for n in range(count)]


ALL = [task for cluster in BEST for task in tasks(cluster)]


def strategy_in(question):
    """The strategy whose instruction is the system message."""
    [name] = [
        name
        for name, prompt in STRATEGIES.items()
        if question.messages[0].content.startswith(prompt.text.split("{cluster}")[0])
        and prompt.text.split("{cluster}")[1] in question.messages[0].content
    ]
    return name


def teacher(best=BEST, say=None):
    """Right under the strategy that is best for a cluster, wrong under any other; or what it is told."""

    def answer(question):
        if say and (said := say(question)) is not None:
            return said
        cluster = question.messages[1].content.split()[0]
        return f"I thought.\nThe answer is {7 if strategy_in(question) == best[cluster] else 8}"

    return Scripted(answer, model="teacher")


def is_trial(question):
    return question.sampling["temperature"] == 0.0


def response(row):
    return row.messages[-1].content


# -- the choice of a strategy


@pytest.mark.proof("orca-2", 2)
async def test_each_cluster_gets_the_strategy_with_the_most_right_answers_in_its_sample():
    model = teacher()
    done = await run(orca_2, ALL, teacher=model, sample_per_cluster=3)
    assert {(row.cluster, row.strategy) for row in done.rows} == set(BEST.items())
    assert len(done.rows) == len(ALL)
    trials = Counter((q.messages[1].content.split()[0], strategy_in(q)) for q in model.questions if is_trial(q))
    assert trials == {(cluster, name): 3 for cluster in BEST for name in STRATEGIES}
    answers = [q for q in model.questions if not is_trial(q)]
    assert {(q.messages[1].content.split()[0], strategy_in(q)) for q in answers} == set(BEST.items())
    [table] = (done.folder / "artefacts").glob("strategies-*.json")
    kept = json.loads(table.read_text())
    assert kept["chosen"] == BEST
    assert kept["right"]["sums"]["step_by_step"] == {"trials": 3, "right": 3}
    assert kept["right"]["sums"]["direct_answer"] == {"trials": 3, "right": 0}


async def test_the_largest_share_wins_and_of_equals_the_first_that_is_listed():
    right = {("sums 0", "recall_then_generate"), ("sums 1", "recall_then_generate"), ("sums 0", "direct_answer")}
    right |= {("sums 2", "step_by_step"), ("sums 3", "step_by_step")}  # as many as the later one

    def say(q):
        return f"The answer is {7 if (q.messages[1].content, strategy_in(q)) in right else 1}"

    done = await run(orca_2, tasks("sums"), teacher=teacher(say=say), drop_wrong=False)
    assert {row.strategy for row in done.rows} == {"step_by_step"}
    done = await run(orca_2, tasks("sums"), teacher=teacher(say=lambda q: "The answer is 1"), drop_wrong=False)
    assert {row.strategy for row in done.rows} == {next(iter(STRATEGIES))}


async def test_only_tasks_with_a_gold_answer_are_tried():
    model = teacher()
    rows = [*({"query": f"sums {n}", "cluster": "sums"} for n in range(2, 30)), *tasks("sums", 2)]
    done = await run(orca_2, rows, teacher=model, sample_per_cluster=2)
    assert {q.messages[1].content for q in model.questions if is_trial(q)} == {"sums 0", "sums 1"}
    assert Counter(row.right for row in done.rows) == {True: 2, None: 28}


async def test_a_trial_whose_reply_cannot_be_used_or_fails_is_none_that_is_right():
    def say(q):
        if is_trial(q) and strategy_in(q) == "direct_answer":
            return "Seven, I would say."
        if is_trial(q) and strategy_in(q) == "explain_then_answer":
            raise Refused("no")
        return f"The answer is {7 if q.messages[1].content == 'sums 0' or not is_trial(q) else 1}"

    done = await run(orca_2, tasks("sums"), teacher=teacher(say=say), allow_failures=True)
    assert {row.strategy for row in done.rows} == {"step_by_step"}  # one of four is right
    [table] = (done.folder / "artefacts").glob("strategies-*.json")
    right = json.loads(table.read_text())["right"]["sums"]
    assert right["direct_answer"] == {"trials": 4, "right": 0}
    assert "explain_then_answer" not in right
    assert len(done.failures) == 4
    assert done.rejects == []


async def test_a_cluster_whose_trials_all_fail_has_no_strategy_and_no_rows():
    def say(q):
        if q.messages[1].content.startswith("sums"):
            raise Refused("no")
        return

    done = await run(orca_2, ALL, teacher=teacher(say=say), sample_per_cluster=1, allow_failures=True)
    assert {row.cluster for row in done.rows} == {"labels", "facts"}
    assert len(done.failures) == len(STRATEGIES)
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [("no_strategy", "sums", {"rows": 4})]


async def test_a_strategy_that_is_said_is_taken_without_a_trial():
    model = teacher({"sums": "recall_reason_generate"})
    rows = [{"query": f"sums {n}", "cluster": "sums"} for n in range(3)]
    done = await run(orca_2, rows, teacher=model, strategy_of={"sums": "recall_reason_generate"})
    assert len(model.questions) == 3
    assert {(row.strategy, row.right) for row in done.rows} == {("recall_reason_generate", None)}


async def test_own_strategies_take_the_place_of_the_five_and_may_be_for_some_clusters_only():
    own = [
        {"name": "hasty", "instruction": "Be {quick}.", "clusters": ["labels"]},
        {"name": "slow", "instruction": "Take your time."},
    ]
    model = Scripted(lambda q: f"The answer is {7 if 'Be {quick}.' in q.messages[0].content else 6}")
    done = await run(orca_2, [*tasks("sums", 2), *tasks("labels", 2)], teacher=model, strategies=own, drop_wrong=False)
    assert {(row.cluster, row.strategy) for row in done.rows} == {("sums", "slow"), ("labels", "hasty")}
    assert [q.messages[1].content for q in model.questions if is_trial(q)].count("sums 0") == 0  # only one can be
    assert all(q.messages[0].content.endswith(FORMAT()) for q in model.questions)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy_of": {"sums": "by_magic"}}, "by_magic, which is none of: direct_answer"),
        ({"strategy_of": {"sum": "direct_answer"}}, "no task is of: sum"),
        ({"strategies": []}, "strategies"),
        ({"strategies": [{"name": "a", "instruction": " "}]}, "instruction"),
        ({"strategies": [{"name": "a", "instruction": "A."}, {"name": "a", "instruction": "B."}]}, "the same name"),
        ({"strategies": [{"name": "a", "instruction": "A.", "clusters": ["labels"]}]}, "for the cluster 'sums'"),
        ({"sample_per_cluster": 0}, "sample_per_cluster"),
        ({"target": 2}, "leave --target out"),
    ],
)
async def test_strategies_that_cannot_be_used_are_refused_before_the_first_call(options, said):
    model = teacher()
    with pytest.raises(BadInput, match=said):
        await run(orca_2, ALL, teacher=model, **options)
    assert not model.questions


async def test_free_texts_are_asked_for_without_the_form_of_an_answer_and_need_none():
    model = Scripted(lambda q: "Once upon a time.")
    rows = [{"query": f"tales {n}", "cluster": "tales"} for n in range(2)]
    done = await run(orca_2, rows, teacher=model, strategy_of={"tales": "recall_then_generate"})
    assert [(response(row), row.right) for row in done.rows] == [("Once upon a time.", None)] * 2
    assert not any("The answer is" in text_of(q) for q in model.questions)
    mixed = [*rows, *tasks("tales", 1)]
    done = await run(orca_2, mixed, teacher=model, strategy_of={"tales": "recall_then_generate"})
    assert [r.reason for r in done.rejects] == ["wrong_format"] * 3  # where one has an answer, all end with theirs


async def test_a_cluster_without_gold_answers_must_be_told_its_strategy():
    model = teacher()
    with pytest.raises(BadInput, match=r"'facts' has an `answer`.*--strategy-of.*\"facts\": \"direct_answer\""):
        await run(orca_2, [*tasks("sums"), *tasks("facts", answer=" ")], teacher=model)
    with pytest.raises(BadInput, match="no column 'cluster'"):
        await run(orca_2, [{"query": "q"}], teacher=model)
    assert not model.questions


# -- erasure


@pytest.mark.proof("orca-2", 1)
async def test_the_instruction_that_the_teacher_got_is_in_no_row(tmp_path):
    model = teacher()
    done = await run(orca_2, ALL, teacher=model)
    asked = {q.messages[1].content: q.messages[0].content for q in model.questions if not is_trial(q)}
    for row in done.rows:
        [first, query, answer] = row.messages
        assert (first.role, query.role, answer.role) == ("system", "user", "assistant")
        assert first.content == GENERIC() != asked[query.content]
        assert answer.content == "I thought.\nThe answer is 7"
        assert STRATEGIES[row.strategy](cluster=row.cluster) in asked[query.content]
    export(done.folder, "jsonl", tmp_path / "all.jsonl")
    exported = (tmp_path / "all.jsonl").read_text()
    for detailed in {*asked.values(), *(prompt.text.split("{cluster}")[1] for prompt in STRATEGIES.values()), FORMAT()}:
        assert json.dumps(detailed)[1:-1] not in exported


async def test_a_response_that_repeats_its_instruction_is_dropped_and_nine_words_are_none():
    words = " ".join(FORMAT().split()[:10])

    def say(q):
        if is_trial(q):
            return None
        said = {"sums 0": words, "sums 1": words.rpartition(" ")[0], "sums 2": words.upper()}
        return f"{said.get(q.messages[1].content, 'So.')}.\nThe answer is 7"

    done = await run(orca_2, tasks("sums"), teacher=teacher(say=say))
    assert {row.messages[1].content for row in done.rows} == {"sums 1", "sums 3"}
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("repeats_instruction", {"cluster": "sums", "strategy": "step_by_step"})
    ] * 2


# -- answers


@pytest.mark.parametrize(
    ("said", "reason", "details"),
    [
        ("The answer is 8", "wrong_answer", {"answer": "8", "gold": "7"}),
        ("It is 7.", "wrong_format", {}),
        ("The answer is ", "wrong_format", {}),
        ("", "empty", {}),
        (Reply("The answer is 7", finish="length"), "truncated", {}),
        (Reply("The answer is 7", finish="content_filter"), "content_filter", {}),
        ("I'm sorry, but I can't help with that.\nThe answer is 7", "refusal", {}),
        ("So.\n**The answer is** 7.0", None, {}),
        ("The answer is 8\nNo, that is wrong.\nThe answer is 7", None, {}),
        ("the answer is (7).", None, {}),
        ("So it is \\boxed{7}", None, {}),
    ],
)
async def test_a_response_that_cannot_be_used_is_dropped_with_its_reason(said, reason, details):
    done = await run(orca_2, tasks("sums", 1), teacher=teacher(say=lambda q: None if is_trial(q) else said))
    assert len(done.rows) == (reason is None)
    told = {"cluster": "sums", "strategy": "step_by_step", **details}
    assert [(r.reason, r.details) for r in done.rejects] == ([] if reason is None else [(reason, told)])
    assert all(row.right is True for row in done.rows)


async def test_wrong_answers_may_be_kept_and_are_marked():
    done = await run(
        orca_2,
        tasks("sums", 1),
        teacher=teacher(say=lambda q: None if is_trial(q) else "The answer is 8"),
        drop_wrong=False,
    )
    assert [(row.right, response(row)) for row in done.rows] == [(False, "The answer is 8")]


def test_answers_are_compared_by_value_letter_and_spelling():
    for final, gold in [("0.75", "3/4"), ("(B) Paris", "B"), ("Positive", "positive"), ("*not enough information*", "not enough information"), ("1,000", "1000")]:  # fmt: skip
        assert is_right(final, gold)
    for final, gold in [("B", "C"), ("negative", "positive"), ("7 or 8", "7"), ("", "7")]:
        assert not is_right(final, gold)


async def test_sources_have_sizes_of_their_own_and_draw_at_random():
    rows = [*tasks("sums", 30, source="math"), *tasks("labels", 30)]
    done = await run(orca_2, rows, teacher=teacher(), sample_per_cluster=1, math=4, flan_cautious=6)
    assert Counter(row.source for row in done.rows) == {"math": 4, "flan": 6}
    assert [row.messages[1].content for row in done.rows][:6] != [f"labels {n}" for n in range(6)]
    assert (orca_2.parameters["math"].default, orca_2.parameters["flan_cautious"].default) == (160_000, 602_000)


async def test_tasks_without_a_query_or_a_cluster_are_put_aside():
    rows = [*tasks("sums", 1), {"query": " ", "cluster": "sums"}, {"query": "q", "cluster": ""}]
    done = await run(orca_2, rows, teacher=teacher())
    assert len(done.rows) == 1
    assert [r.reason for r in done.rejects] == ["empty_query", "empty_query"]


async def test_calls_are_sampled_as_asked_for_and_rows_name_task_table_and_call():
    model = teacher()
    done = await run(orca_2, tasks("sums", 2), teacher=model)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {
        (0.0, 2048),
        (0.7, 2048),
    }
    for row in done.rows:
        assert len(row.lineage.calls) == 1
        assert [parent.partition(":")[0] for parent in row.lineage.parents][1:] == ["strategies"]
    model = Scripted(lambda q: "The answer is 7")
    options = {"sample_temperature": 0.2, "temperature": 0.3, "max_tokens_response": 8}
    await run(orca_2, tasks("sums", 1), teacher=model, **options)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.2, 8), (0.3, 8)}


async def test_more_tasks_than_are_worked_on_at_once_lose_none(monkeypatch):
    monkeypatch.setattr("gristmill.recipes.distillation.orca_2.AT_ONCE", 3)
    done = await run(orca_2, tasks("sums", 8), teacher=teacher())
    assert len({row.messages[1].content for row in done.rows}) == 8


async def test_a_call_that_fails_costs_its_own_task_alone():
    def say(q):
        if not is_trial(q) and q.messages[1].content == "sums 1":
            raise Refused("no")
        return

    done = await run(orca_2, tasks("sums", 3), teacher=teacher(say=say), allow_failures=True)
    assert (len(done.rows), len(done.failures)) == (2, 1)


def test_the_shipped_tasks_can_all_be_tried():
    rows = recipes.shipped("flan_queries.jsonl", CautiousTask)
    assert all(row.answer and row.cluster for row in rows)
    assert {row.source for row in rows} == {"flan", "math"}


# -- few-shot rows


def answers(task="t", count=6, stage=2, system="Explain."):
    return [
        {
            "messages": [
                *([{"role": "system", "content": system}] if system else []),
                {"role": "user", "content": f"{task} query {n}"},
                {"role": "assistant", "content": f"{task} response {n}"},
            ],
            "stage": stage,
            "teacher": "x",
            "system": system,
            "collection": "t0",
            "task": task,
        }
        for n in range(count)
    ]


@pytest.mark.proof("orca-2", 3)
async def test_a_few_shot_row_holds_three_to_five_demonstrations_of_its_task_before_its_query():
    done = await run(orca_2_few_shot, [*answers("cats", 9), *answers("dogs", 9)])
    assert len(done.rows) == 18
    counts, firsts = set(), set()
    for row in done.rows:
        [first, user, assistant] = row.messages
        assert (first.role, first.content) == ("system", GENERIC())
        number = assistant.content.rpartition(" ")[2]
        assert assistant.content == f"{row.task} response {number}"
        *shown, query = user.content.split("### Task\n")[1:]
        assert query == f"{row.task} query {number}\n\n### Answer"
        pairs = [part.strip().split("\n\n### Answer\n") for part in shown]
        assert all(pair == [f"{row.task} query {pair[0][-1]}", f"{row.task} response {pair[0][-1]}"] for pair in pairs)
        assert len({pair[0] for pair in pairs} - {f"{row.task} query {number}"}) == len(pairs)
        counts.add(len(pairs))
        firsts.add(pairs[0][0])
        assert (row.source, row.right) == ("few_shot", None)
        assert len(row.lineage.parents) == 1 + len(pairs)
    assert counts == {3, 4, 5}
    assert len(firsts) > 6  # drawn: not always the first ones
    assert done.calls == 0


async def test_demonstrations_share_task_system_message_and_stage():
    rows = [
        *answers("a", 4, stage=1), *answers("a", 4, stage=2), *answers("a", 4, system=""), *answers("b", 3), *answers("c", 1),
    ]  # fmt: skip
    done = await run(orca_2_few_shot, rows)
    assert Counter(row.task for row in done.rows) == {"a": 12}
    assert all(len(row.lineage.parents) == 4 for row in done.rows)  # itself and the three others of its own group
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [
        ("too_few_demonstrations", ["b", "c"], {"rows": 4})
    ]


async def test_tasks_of_the_same_name_in_two_collections_and_tasks_without_a_name_show_nothing_of_each_other():
    other = [{**row, "collection": "cot"} for row in answers("a", 2)]
    done = await run(orca_2_few_shot, [*answers("a", 2), *other, *answers("", 9)], min_demonstrations=2)
    assert done.rows == []
    assert [(r.reason, r.candidate, r.details) for r in done.rejects] == [
        ("too_few_demonstrations", ["", "a"], {"rows": 13})
    ]


async def test_how_many_few_shot_rows_and_demonstrations_there_are_can_be_set():
    done = await run(orca_2_few_shot, answers(count=9), few_shot=4, min_demonstrations=1, max_demonstrations=1)
    assert len(done.rows) == 4
    assert all(len(row.lineage.parents) == 2 for row in done.rows)
    assert orca_2_few_shot.parameters["few_shot"].default == 55_000
    numbers = [response(row)[-1] for row in done.rows]
    assert numbers != ["0", "1", "2", "3"]
    with pytest.raises(BadInput, match="min_demonstrations=6 is above max_demonstrations=5"):
        await run(orca_2_few_shot, answers(), min_demonstrations=6)
    assert (await replay(done)).rows == done.rows


# -- doctors and patients

TALK = "Doctor: Where does it hurt?\nPatient: Here."


def clinic(talk=TALK, summary="It hurts."):
    return Scripted(
        lambda q: talk if "Write the conversation" in text_of(q) else summary(q) if callable(summary) else summary
    )


async def test_a_conversation_is_summarised_without_and_with_the_instruction_to_invent_nothing():
    model = clinic(summary=lambda q: "Careful." if "invent nothing" in text_of(q) else "Plain.")
    done = await run(orca_2_doctor_patient, teacher=model, units=6, concurrency=1)
    assert [(row.strategy, response(row)) for row in done.rows] == [("plain", "Plain."), ("careful", "Careful.")] * 6
    for row in done.rows:
        assert row.messages[0].content == GENERIC()
        assert row.messages[1].content.startswith(TALK + "\n\nWrite a summary")
        assert ("invent nothing" in row.messages[1].content) == (row.strategy == "careful")
        assert row.source == "doctor_patient"
    asked = [q for q in model.questions if "Write the conversation" in text_of(q)]
    assert len(asked) == 6
    assert all(q.sampling == {"temperature": 0.7, "max_tokens": 2048} for q in asked)
    assert all(q.sampling == {"temperature": 0.0, "max_tokens": 1024} for q in model.questions if q not in asked)
    assert all(q.messages == [Message("user", text_of(q))] for q in model.questions)


async def test_conversations_and_summaries_are_sampled_as_asked_for():
    model = Scripted(lambda _: "Doctor: Well?\nPatient: No.")
    options = {"temperature": 0.3, "summary_temperature": 0.2, "max_tokens_conversation": 77, "max_tokens_summary": 66}
    await run(orca_2_doctor_patient, teacher=model, target=2, **options)
    sampled = {"Write a summary" in text_of(q): q.sampling for q in model.questions}
    assert sampled == {
        False: {"temperature": 0.3, "max_tokens": 77},
        True: {"temperature": 0.2, "max_tokens": 66},
    }


async def test_conversations_differ_by_what_is_drawn():
    model = clinic()
    done = await run(orca_2_doctor_patient, teacher=model, units=40)
    drawn = [tuple(row.lineage.draws[name] for name in ("complaint", "patient", "setting")) for row in done.rows[::2]]
    assert len(set(drawn)) > 35
    assert [len({one[at] for one in drawn}) > 5 for at in range(2)] == [True, True]
    assert {one[2] for one in drawn} == set(SETTINGS)
    prompts = [text_of(q) for q in model.questions if "Write the conversation" in text_of(q)]
    assert all(any(all(part in prompt for part in one) for prompt in prompts) for one in drawn)
    assert all(len(set(those)) == len(those) for those in (COMPLAINTS, PATIENTS, SETTINGS))


@pytest.mark.parametrize(
    ("talk", "summary", "rejects"),
    [
        ("", "S.", [("empty", "conversation")]),
        (Reply(TALK, finish="length"), "S.", [("truncated", "conversation")]),
        ("Doctor: Hm.", "S.", [("one_voice", "conversation")]),
        ("Patient: Hm.", "S.", [("one_voice", "conversation")]),
        (TALK, "", [("empty", "plain"), ("empty", "careful")]),
        (TALK, lambda q: Reply("S", finish="length") if "invent" in text_of(q) else "S.", [("truncated", "careful")]),
        (f"Sure! Here is a conversation:\n\n{TALK}", "S.", []),
    ],
)
async def test_what_cannot_be_used_of_a_consultation_is_dropped(talk, summary, rejects):
    done = await run(orca_2_doctor_patient, teacher=clinic(talk, summary), units=1)
    assert [(r.reason, r.details["of"]) for r in done.rejects] == rejects
    assert len(done.rows) == (0 if rejects[:1] and rejects[0][1] == "conversation" else 2 - len(rejects))
    assert all(row.messages[1].content.startswith(TALK) for row in done.rows)


# -- the stages


def new(source, count):
    row = {"cluster": "", "task": "", "strategy": "", "right": None, "source": source}
    talk = [{"role": "user", "content": source}]
    return [{**row, "messages": [*talk, {"role": "assistant", "content": f"{source} {n}"}]} for n in range(count)]


@pytest.mark.proof("orca-2", 4)
async def test_training_files_come_in_order_and_the_last_one_is_mixed_as_the_paper_has_it(tmp_path):
    counts = {"flan": 603, "math": 160, "few_shot": 55, "doctor_patient": 2}
    orca = [*answers("one", 20, stage=1), *answers("two", 1000, stage=2)]
    flan = [{"query": f"q{n}", "answer": f"a{n}"} for n in range(5)]
    rows = [row for source, count in counts.items() for row in new(source, count)]
    done = await run(orca_2_mix, rows, orca=orca, flan=flan)
    assert Counter((row.stage, row.epochs, row.source) for row in done.rows) == {
        (1, 1, "flan-v2"): 5,
        (2, 3, "orca-stage-1"): 20,
        (3, 4, "orca"): 1000,
        (3, 4, "flan"): 602,
        (3, 4, "math"): 160,
        (3, 4, "few_shot"): 55,
        (3, 4, "doctor_patient"): 2,
    }
    assert [row.stage for row in done.rows] == sorted(row.stage for row in done.rows)
    last = [row.source for row in done.rows if row.stage == 3]
    assert last != sorted(last, reverse=True)
    assert 30 < last[:100].count("flan") < 100 - 30  # mixed: 33 of 100 expected, with a deviation of 5
    assert [(r.reason, r.details["rows"]) for r in done.rejects] == [("left_over", 1)]
    files = export(done.folder, "trl-sft", tmp_path / "train.jsonl", by="stage")
    assert [(path.name, count) for path, count in files.items()] == [
        ("train-1.jsonl", 5), ("train-2.jsonl", 20), ("train-3.jsonl", 1819),
    ]  # fmt: skip
    first = json.loads((tmp_path / "train-1.jsonl").read_text().splitlines()[0])
    assert [turn["content"] for turn in first["messages"]] == ["q0", "a0"]
    second = json.loads((tmp_path / "train-2.jsonl").read_text().splitlines()[0])
    assert [turn["content"] for turn in second["messages"]] == ["Explain.", "one query 0", "one response 0"]
    assert all(row.lineage.parents for row in done.rows)


async def test_shares_can_be_set_and_parts_may_come_from_files_of_their_own():
    options = {"few_shot": new("few_shot", 4), "doctor_patient": new("doctor_patient", 3)}
    shares = {"orca": 1, "flan": 1, "few_shot": 1}
    done = await run(orca_2_mix, new("flan", 9), orca=answers("two", 2), shares=shares, **options)
    assert Counter(row.source for row in done.rows) == {"orca": 2, "flan": 2, "few_shot": 2}
    assert [r.candidate for r in done.rejects] == [{"orca": 0, "flan": 7, "few_shot": 2, "doctor_patient": 3}]
    assert sum(SHARES.values()) == 1_819_000  # a million, and the 817 thousand to within what the paper rounds


@pytest.mark.parametrize(
    ("shares", "said"), [({"orca": 0}, "no rows"), ({"alpaca": 1}, "shares of alpaca"), ({"few_shot": 1}, "no rows")]
)
async def test_a_last_stage_without_rows_is_refused(shares, said):
    with pytest.raises(BadInput, match=said):
        await run(orca_2_mix, new("flan", 2), orca=answers(count=2), shares=shares)


async def test_without_flan_training_begins_with_the_second_stage():
    done = await run(orca_2_mix, new("flan", 2), orca=[*answers("one", 1, stage=1), *answers("two", 4)])
    assert {row.stage for row in done.rows} == {2, 3}
    assert (await replay(done)).rows == done.rows


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    first = await run(orca_2, ALL, teacher=teacher(), concurrency=1)
    again = await replay(first)
    assert (again.rows, again.calls) == (first.rows, 0)
    other = await run(orca_2, ALL, teacher=teacher(), concurrency=16)
    assert [row.messages for row in other.rows] == [row.messages for row in first.rows]
