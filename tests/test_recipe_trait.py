"""TRAIT: text of a field by a classifier, passages that explain problems of several tasks together, two stages of training."""

import json
import random
import re
from collections import Counter

import pytest

from gristmill import BadInput, recipes
from gristmill.errors import PromptTooLong
from gristmill.export.formats import export
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.trait import paragraphs, trait
from gristmill.recipes.distillation.trait_select import SelectedText, best, folds, in_domain_scores, trait_select
from gristmill.recipes.distillation.trait_stages import trait_stages
from gristmill.rows import Document, Rows
from gristmill.testing import Scripted, replay, run


def problem(task, number, group=""):
    return {
        "question": f"What is {task} {number}{group}?", "task": task, "answer": f"gold-{task}-{number}", "group": group,
        "task_description": f"Do {task}.",
    }  # fmt: skip


PROBLEMS = [problem(task, number) for task in ("sums", "proofs", "riddles", "größen") for number in range(3)]


def passage(count, closing="Enlightenment: All take care."):
    return "\n\n".join([*(f"Problem {n}: Restated {n}. So it is {n}." for n in range(1, count + 1)), closing])


def asked(prompt):
    return re.findall(r"^What is (\S+) (\S+)\?", prompt, re.MULTILINE)


def writing(prompt):
    """A passage that is as it was asked for, another with each set of problems."""
    return f"{passage(len(asked(prompt)))} {asked(prompt)}"


async def write(problems=PROBLEMS, script=writing, target=12, **options):
    model = Scripted(lambda q: script(q.messages[0].content))
    return await run(trait, problems, generator=model, target=target, **options), model


# -- passages


@pytest.mark.proof("trait", 1)
async def test_each_prompt_holds_problems_of_two_tasks_at_least_and_no_gold_answer():
    done, model = await write(target=40)
    sizes = Counter()
    for prompt in model.prompts:
        shown = asked(prompt)
        sizes[len(shown)] += 1
        assert len({task for task, _ in shown}) == len(shown) >= 2  # as many tasks as problems, where there are enough
        assert len(set(shown)) == len(shown)
        assert "gold" not in prompt
        assert all(f"Do {task}." in prompt for task, _ in shown)
    assert set(sizes) == {2, 3, 4}
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.7, 2048)}
    for row in done.rows:
        assert len(row.tasks) == len(row.questions) >= 2
        assert len(row.lineage.parents) == len(row.questions)
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)


async def test_gold_answers_are_shown_only_where_that_is_wanted():
    _, model = await write(show_answers=True, target=3)
    for prompt in model.prompts:
        assert len(re.findall(r"^The right answer: gold-", prompt, re.MULTILINE)) == len(asked(prompt))
        assert "Lead to the right answers" in prompt


@pytest.mark.proof("trait", 2)
@pytest.mark.parametrize(
    ("reply", "reason", "details"),
    [
        (passage(2, closing=""), "missing_section", {"section": "Enlightenment:"}),
        (passage(1), "missing_section", {"section": "Problem 2:"}),
        (passage(3), "extra_section", {"section": "Problem 3:"}),
        (f"{passage(2)}\n\nProblem 3: One more.", "extra_section", {"section": "Problem 3:"}),
        (f"Problem 1: A first try.\n\n{passage(2)}", "extra_section", {"section": "Problem 1:"}),
        (passage(2).replace("Problem 1:", "Problem 7:"), "missing_section", {"section": "Problem 1:"}),
        (passage(2, closing="Enlightenment:"), "empty_section", {"section": "Enlightenment:"}),
        ("", "empty", {}),
        (Reply(passage(2), finish="length"), "truncated", {}),
    ],
)
async def test_a_passage_without_a_paragraph_for_each_problem_and_a_closing_one_is_rejected(reply, reason, details):
    said = iter([reply, *(f"{passage(2)} {n}" for n in range(5))])
    done, _ = await write(script=lambda _: next(said), target=1, max_problems=2)
    assert [(r.reason, r.details) for r in done.rejects] == [(reason, details)]
    assert len(done.rows) == 1


async def test_a_passage_has_a_paragraph_a_problem_and_one_more_and_its_marks_are_gone():
    text = "**Problem 1:**\nFirst.\n\nThen.\n\n### Problem 2\nSecond.\n\n**Enlightenment:** Both are alike."
    done, _ = await write(script=lambda _: text, target=1, max_problems=2)
    assert done.rows[0].text == "First.\nThen.\n\nSecond.\n\nBoth are alike."
    assert len(done.rows[0].text.split("\n\n")) == len(done.rows[0].questions) + 1
    assert paragraphs(Reply("Problem 1: As in Problem 3 of the book.\nEnlightenment: ä"), 1) == [
        "As in Problem 3 of the book.", "ä"
    ]  # fmt: skip
    both = "Both take care.\nProblem 1: and a table."  # the closing paragraph may go through them once more
    assert paragraphs(Reply(f"Problem 1: a\nProblem 2: b\nEnlightenment: {both}"), 2) == ["a", "b", both]


async def test_problems_of_a_passage_share_their_group():
    grouped = [problem(task, n, group) for group in ("lamp", "desk") for task in ("title", "query") for n in range(2)]
    done, model = await write(grouped, target=8)
    shared = [{re.search("lamp|desk", number)[0] for _, number in asked(prompt)} for prompt in model.prompts]
    assert all(len(one) == 1 for one in shared)
    assert {name for one in shared for name in one} == {"lamp", "desk"}
    four = [row for row in done.rows if len(row.questions) == 4]
    assert four
    assert all(Counter(row.tasks) == {"title": 2, "query": 2} for row in four)  # more problems than tasks


async def test_larger_groups_are_drawn_more_often_and_a_small_one_gives_all_it_has():
    grouped = [problem(task, n, "big") for task in ("title", "query") for n in range(10)]
    grouped += [problem(task, 0, "small") for task in ("title", "query")]
    _, model = await write(grouped, target=60)
    small = [prompt for prompt in model.prompts if "small" in prompt]
    assert all(len(asked(prompt)) == 2 for prompt in small)
    assert 0 < len(small) < len(model.prompts) / 4  # an eleventh; a half without regard to the sizes


async def test_problems_without_another_task_beside_them_are_left_out_and_none_at_all_is_refused():
    alone = [problem("sums", 0, "alone"), problem("sums", 1, "alone"), {**problem("sums", 2), "question": " "}]
    done, model = await write([*PROBLEMS, *alone], target=5)
    assert [(r.reason, r.details["problems"]) for r in done.rejects] == [("no_question", 1), ("no_other_task", 2)]
    assert not [prompt for prompt in model.prompts if "alone" in prompt]
    for useless in (alone, PROBLEMS[:3], PROBLEMS[:1]):
        with pytest.raises(BadInput, match="no two of different tasks"):
            await write(useless)
    with pytest.raises(BadInput):
        await write([])


async def test_a_test_question_is_in_no_passage():
    benchmarks = [{"text": "What is SUMS  0?", "benchmark": "short"}, {"text": "It is said that one two three four.", "benchmark": "B"}]  # fmt: skip
    said = iter([f"{passage(2)} It is  said that one two three four. Really.", passage(2), f"{passage(2)} More."])
    done, _ = await write(script=lambda _: next(said), target=1, max_problems=2, benchmarks=benchmarks)
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("test_problem", {"problems": 1}),
        ("overlap", {"benchmark": "B"}),
    ]
    shared = [{"text": "for it is said that one or another", "benchmark": "C"}]
    done, _ = await write(
        script=lambda _: f"{passage(2)} it is said that one may", target=1, max_problems=2, benchmarks=shared
    )
    assert done.rejects == []  # five words in a row are not thirteen
    said = iter([f"{passage(2)} it is said that one may", passage(2), f"{passage(2)} More."])
    done, _ = await write(script=lambda _: next(said), target=1, max_problems=2, benchmarks=shared, overlap_words=5)
    assert [r.reason for r in done.rejects] == ["overlap"]


async def test_a_passage_that_came_before_is_dropped():
    said = iter([passage(2), passage(2), f"{passage(2)} Another."])
    done, _ = await write(script=lambda _: next(said), target=2, max_problems=2, passages_at_once=1)
    assert [r.reason for r in done.rejects] == ["duplicate"]


@pytest.mark.parametrize("options", [{"min_problems": 4, "max_problems": 3}, {"min_problems": 1}, {"max_problems": 1}])
async def test_ranges_that_are_none_are_refused_before_the_first_call(options):
    model = Scripted(lambda _: passage(2))
    with pytest.raises(BadInput, match="problems"):
        await run(trait, PROBLEMS, generator=model, target=1, **options)
    assert not model.questions


# -- selection

NOUNS = ["kettle", "lamp", "shoe", "tent", "pan", "desk", "tyre", "tea", "drill", "bag", "mat", "jacket"]
ANIMALS = ["otter", "heron", "newt", "vole", "swift", "adder", "beaver", "moth", "toad", "crane", "stoat", "carp"]
ADS = [{"text": f"Buy this {noun} now and save 10 euros, delivered free."} for noun in NOUNS]
NATURE = [{"text": f"The {animal} lives by the river and sleeps in winter."} for animal in ANIMALS]
HELD_OUT = [
    {"text": "Buy two umbrellas now, delivered free."}, {"text": "The hare lives in the meadow."},
    {"text": "Save 20 euros on this clock."}, {"text": "In winter the river sleeps under the ice."},
]  # fmt: skip


def valued(question):
    text = question.messages[0].content
    return f"Well.\nEducational value: {1 if 'Save 20' in text else 3}"


async def select(corpus=HELD_OUT, script=valued, **options):
    options = {"in_domain": ADS, "general": NATURE} | options
    judge = Scripted(script)
    return await run(trait_select, corpus, judge=judge, **options), judge


@pytest.mark.proof("trait", 3)
async def test_the_classifier_keeps_text_of_the_field_that_it_never_saw_and_drops_general_text():
    done, judge = await select(min_quality=0)
    assert [row.text for row in done.rows] == [HELD_OUT[0]["text"], HELD_OUT[2]["text"]]
    assert [(r.reason, r.candidate["text"]) for r in done.rejects] == [
        ("out_of_domain", HELD_OUT[1]["text"]), ("out_of_domain", HELD_OUT[3]["text"])
    ]  # fmt: skip
    assert all(row.in_domain_score > 0.5 > r.details["in_domain_score"] for row in done.rows for r in done.rejects)
    assert all(row.quality is None for row in done.rows)
    assert not judge.questions
    turned, _ = await select(min_quality=0, in_domain=NATURE, general=ADS)
    assert [row.text for row in turned.rows] == [HELD_OUT[1]["text"], HELD_OUT[3]["text"]]


async def test_what_is_kept_must_teach_something_and_nothing_else_is_judged():
    done, judge = await select()
    assert [(row.text, row.quality) for row in done.rows] == [(HELD_OUT[0]["text"], 3)]
    assert [question.sampling["temperature"] for question in judge.questions] == [0.0, 0.0]
    assert Counter(r.reason for r in done.rejects) == {"out_of_domain": 2, "low_quality": 1}
    assert [r.details for r in done.rejects if r.reason == "low_quality"] == [{"quality": 1}]
    assert len(done.rows[0].lineage.calls) == 1
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)
    done, _ = await select(min_quality=4)
    assert done.rows == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Good.", "unread_rating"),
        ("Educational value: 2.5", "unread_rating"),
        ("Educational value: 7", "rating_out_of_range"),
    ],
)
async def test_a_judgement_that_cannot_be_read_is_no_low_rating(reply, reason):
    done, _ = await select(HELD_OUT[:1], lambda _: reply)
    assert ([r.reason for r in done.rejects], done.rows) == ([reason], [])


async def test_of_a_text_that_is_too_long_for_the_judge_the_beginning_is_rated():
    def narrow(question):
        if len(question.messages[0].content) > 700:
            raise PromptTooLong("too long")
        return "Educational value: 5"

    long = {"text": f"{ADS[0]['text']} " * 40}
    done, judge = await select([long], narrow)
    assert [(row.text, row.quality) for row in done.rows] == [(long["text"], 5)]
    assert 1 < len(judge.questions) < 12


async def test_the_threshold_and_the_number_of_negatives_are_those_that_are_set():
    assert len((await select(threshold=0.0, min_quality=0))[0].rows) == 4
    assert (await select(threshold=1.0, min_quality=0))[0].rows == []
    kept = (await select(min_quality=0))[0].rows
    least = min(row.in_domain_score for row in kept)
    assert (await select(threshold=least, min_quality=0))[0].rows == kept  # what has just the threshold is kept
    one, _ = await select(negatives_per_positive=0.01, threshold=0.0, min_quality=0)
    all_of_them, _ = await select(threshold=0.0, min_quality=0)
    assert [r.in_domain_score for r in one.rows] != [r.in_domain_score for r in all_of_them.rows]


async def test_without_general_text_negatives_come_from_the_other_half_of_the_corpus():
    corpus = [*NATURE, *HELD_OUT[::2]]
    done, _ = await select(corpus, general=None, min_quality=0)
    assert {row.text for row in done.rows} == {one["text"] for one in HELD_OUT[::2]}
    texts = [f"t{n}" for n in range(7)]
    [(first, of_second), (second, of_first)] = folds(random.Random(1), texts, None)
    assert sorted(first + second) == list(range(7))
    assert {texts[n] for n in first} == set(of_first)
    assert {texts[n] for n in second} == set(of_second)
    general = Rows([Document(text="a"), Document(text="!?")])
    assert folds(random.Random(1), texts, general) == [(list(range(7)), ["a"])]


async def test_texts_with_a_test_question_and_texts_without_words_are_dropped():
    corpus = [{"text": "?!"}, {"text": " "}, *HELD_OUT[:1]]
    done, _ = await select(corpus, benchmarks=[{"text": HELD_OUT[0]["text"].upper(), "benchmark": "B"}])
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("empty", {}),
        ("empty", {}),
        ("overlap", {"benchmark": "B"}),
    ]
    only, judge = await select(corpus[:2])
    assert (only.rows, judge.questions) == ([], [])


@pytest.mark.parametrize(
    "options", [{"in_domain": [{"text": "?"}]}, {"general": [{"text": "!"}]}, {"general": None, "corpus": HELD_OUT[:1]}]
)
async def test_a_classifier_without_examples_of_both_kinds_is_refused(options):
    with pytest.raises(BadInput, match="both need one"):
        await select(**options)


async def test_a_budget_of_tokens_keeps_the_highest_scores_in_the_order_of_the_corpus():
    rows = [SelectedText(text="word " * 10, in_domain_score=score, quality=None) for score in (0.6, 0.9, 0.7, 0.8)]
    kept, left = best(rows, 30)
    assert [row.in_domain_score for row in kept] == [0.9, 0.7, 0.8]
    assert [row.in_domain_score for row in left] == [0.6]
    done, _ = await select(ADS, general=NATURE, min_quality=0, selected_tokens=40)
    assert 0 < len(done.rows) < len(ADS)
    [reject] = done.rejects
    assert (reject.reason, reject.details["texts"]) == ("over_budget", len(ADS) - len(done.rows))
    assert reject.details["tokens"] > 40


def test_runs_of_words_tell_apart_what_words_alone_do_not():
    yes, no = ["dog bites man"] * 3, ["man bites dog"] * 3
    assert in_domain_scores(yes, no, ["dog bites man", "man bites dog"], 1, 100.0) == [0.5, 0.5]
    high, low = in_domain_scores(yes, no, ["dog bites man", "man bites dog"], 2, 100.0)
    assert high > 0.5 > low
    high, low = in_domain_scores(["買います"], ["眠ります"], ["買", "眠"], 1, 100.0)  # scripts without spaces too
    assert high > 0.5 > low


async def test_the_shipped_corpus_and_examples_find_what_is_for_sale():
    done = await run(trait_select, None, judge=Scripted(lambda _: "Educational value: 3"))
    texts = " ".join(row.text for row in done.rows)
    assert "Garden shears" in texts
    assert "Coffee machine" in texts
    assert "Swifts" not in texts


# -- stages

PASSAGES = [{"text": f"Passage {n}", "tasks": ["a", "b"], "questions": ["x", "y"]} for n in range(8)]
SELECTED = [{"text": f"Field {n}", "in_domain_score": 0.9, "quality": 3} for n in range(9)]
GENERAL = [{"text": f"General {n}"} for n in range(5)]


@pytest.mark.proof("trait", 4)
async def test_the_stages_are_separate_files_in_their_order(tmp_path):
    done = await run(trait_stages, PASSAGES, selected=SELECTED, general=GENERAL)
    written = export(done.folder, "jsonl", tmp_path / "out.jsonl", by="stage")
    assert [path.name for path in written] == ["out-1.jsonl", "out-2.jsonl"]
    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in written)
    assert Counter(row["source"] for row in first) == {"in-domain": 9, "general": 1}
    assert Counter(row["source"] == "passage" for row in second) == {True: 8, False: 2}
    assert {row["text"] for row in second if row["source"] != "passage"} < {row["text"] for row in first}
    assert {row["text"] for row in first} >= {row["text"] for row in SELECTED}
    assert [row.stage for row in done.rows] == [1] * 10 + [2] * 10
    assert all(row.lineage.parents for row in done.rows)
    assert (await replay(done)).rows == done.rows


async def test_shares_are_those_that_are_set_and_without_general_text_none_is_replayed():
    done = await run(trait_stages, PASSAGES, selected=SELECTED)
    assert Counter((row.stage, row.source) for row in done.rows) == {(1, "in-domain"): 9, (2, "passage"): 8, (2, "in-domain"): 2}  # fmt: skip
    done = await run(
        trait_stages, PASSAGES, selected=SELECTED, general=GENERAL, general_share=0.25, first_stage_share=0.5
    )
    assert Counter(row.stage for row in done.rows) == {1: 9 + 3, 2: 8 + 8}
    second = [row.source for row in done.rows if row.stage == 2]
    passages = [source == "passage" for source in second]
    assert passages not in (sorted(passages), sorted(passages, reverse=True))  # mixed, not behind one another
    done = await run(
        trait_stages, PASSAGES, selected=SELECTED, general=GENERAL, general_share=0.25, first_stage_share=0.6
    )
    assert Counter(row.source for row in done.rows if row.stage == 2) == {"passage": 8, "in-domain": 9, "general": 3}
    done = await run(trait_stages, PASSAGES, selected=SELECTED, general=GENERAL, general_share=0, first_stage_share=0)
    assert Counter(row.source for row in done.rows) == {"in-domain": 9, "passage": 8}


async def test_too_little_text_for_a_share_is_said_and_so_is_a_stage_without_rows():
    with pytest.raises(BadInput, match="takes 9 of 'general', and there are 5"):
        await run(trait_stages, PASSAGES, selected=SELECTED, general=GENERAL, general_share=0.5)
    with pytest.raises(BadInput, match="no passages"):
        await anext(trait_stages(Rows([]), None, selected=Rows(SELECTED)))


async def test_rows_of_the_other_two_recipes_are_what_the_stages_read():
    passages, _ = await write(target=2)
    selected, _ = await select()
    done = await run(trait_stages, passages.folder, selected=selected.folder)
    assert Counter(row.source for row in done.rows if row.stage == 2)["passage"] == 2


def test_the_defaults_are_those_of_the_specification():
    settings = recipes.load("trait").settings({})
    assert (settings["min_problems"], settings["max_problems"], settings["show_answers"]) == (2, 4, False)
