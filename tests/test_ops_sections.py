"""Parts of a reply: what stands after marks, between tags, in a list."""

import pytest

from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.ops.sections import items, listed, sections, tagged


@pytest.mark.parametrize(
    "text",
    [
        "Solution: 2 and 2\nFinal answer: 4",
        "Let me see.\n\n**Solution:** 2 and 2\n\n**Final Answer**: 4\n",
        "### SOLUTION\n2 and 2\n## FINAL ANSWER\n4",
        "> solution:\n2 and 2\n> final answer:4",
    ],
)
def test_marks_are_found_however_a_model_dresses_them_up(text):
    assert sections(text, "Solution:", "Final answer:") == ["2 and 2", "4"]


def test_a_mark_within_a_line_is_none():
    with pytest.raises(Bad, match="missing_section"):
        sections("The solution: is here", "Solution:")
    with pytest.raises(Bad, match="missing_section"):
        sections("Solutions vary", "Solution:")


def test_marks_come_in_their_order_and_no_part_is_empty():
    with pytest.raises(Bad) as caught:
        sections("[Solution]\nx\n[Problem]\ny", "[Problem]", "[Solution]")
    assert (caught.value.reason, caught.value.details) == ("missing_section", {"section": "[Solution]"})
    with pytest.raises(Bad) as caught:
        sections("[Problem]\n\n[Solution]\nx", "[Problem]", "[Solution]")
    assert (caught.value.reason, caught.value.details) == ("empty_section", {"section": "[Problem]"})


def test_from_the_last_what_was_written_before_is_a_draft():
    text = "Question: a?\nAnswer: b\nQuestion: c?\nAnswer: d"
    assert sections(text, "Question:", "Answer:", last=True) == ["c?", "d"]
    assert sections(text, "Question:", "Answer:") == ["a?", "b\nQuestion: c?\nAnswer: d"]


def test_signs_in_marks_are_signs():
    assert sections("#Finally Rewritten#:\nHow?", "#Finally Rewritten#:") == ["How?"]
    assert sections("[problem description]\nP\n[SOLUTION]\nS", "[Problem Description]", "[Solution]") == ["P", "S"]


def test_a_long_run_of_blanks_costs_no_more_than_its_length():
    with pytest.raises(Bad):
        sections(" " * 100_000 + "x", "Mark:", "Other:")


def test_tags_hold_what_stands_between_them_and_one_that_is_not_closed_holds_nothing():
    assert tagged("<t>one</t> and <T> two\nlines </T><t></t><t>cut", "<t>", "</t>") == ["one", "two\nlines"]
    assert tagged("<t>left open <t>closed</t>", "<t>", "</t>") == ["closed"]


def test_a_list_is_its_items_without_numbers_bullets_and_what_is_said_around_it():
    text = "Here are some:\n1. Sing\n2) Dance\n- Swim\n* Run\n**3. Jump**\n**4.** Climb\n\nHope this helps!\n5."
    assert listed(text) == ["Sing", "Dance", "Swim", "Run", "Jump", "Climb"]
    assert listed("1984 was a year\n3.5 litres") == []
    assert listed("- **Bold**: and more") == ["Bold**: and more"]


def test_of_a_list_the_first_items_are_taken_each_once_and_never_one_that_was_cut():
    assert items(Reply("1. Sing\n2. Dance\n3. Sing\n4. Run"), 2) == ["Sing", "Dance"]
    assert items(Reply("Here:\n- 1. Sing\n- 2. Dance"), 9) == ["Sing", "Dance"]
    assert items(Reply("1. Sing\n2. Dan", finish="length"), 9) == ["Sing"]
    for reply in (Reply("Sing and dance."), Reply(""), Reply("1. Sin", finish="length")):
        with pytest.raises(Bad, match="no_list"):
            items(reply, 9)
