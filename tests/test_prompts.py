"""Prompts: gaps, braces that are none, and texts that users put in their place."""

import contextvars
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import BadInput, Chat, Completion, Row, recipe
from gristmill.ops.prompts import Prompt, check, prompts_of, replace
from gristmill.testing import Scripted, run


class Ask(Row):
    question: str


ANSWER = Prompt("Answer: {question}")
STYLES = {"easy": Prompt("Simply: {question}"), "hard": Prompt("{question}, please, with {word}")}
HERE = sys.modules[__name__]


@recipe("prompted")
async def prompted(row: Ask, model: Chat) -> AsyncIterator[Completion]:
    """Answer."""
    yield Completion(row.question, (await model.chat(ANSWER(question=row.question))).text)


def test_only_names_in_braces_are_gaps():
    prompt = Prompt('{topic}: reply as {"topic": "..."} or {} or {1} or { topic } or {Topic}')
    assert prompt.gaps == {"topic"}
    assert prompt(topic="x") == 'x: reply as {"topic": "..."} or {} or {1} or { topic } or {Topic}'


@given(st.text(), st.text())
def test_values_go_in_as_they_are_whatever_they_hold(question, word):
    assert STYLES["hard"](question=question, word=word) == f"{question}, please, with {word}"


def test_a_value_that_is_missing_is_named():
    with pytest.raises(TypeError, match="needs a value for 'word'"):
        STYLES["hard"](question="x")


def test_prompts_are_named_by_their_constants():
    assert set(prompts_of(HERE)) == {"answer", "styles.easy", "styles.hard"}


async def test_a_replaced_prompt_reaches_the_model_of_that_run_only():
    model = Scripted(lambda q: "ok")
    await run(prompted, [{"question": "x"}], model=model, prompts={"answer": "Réponds: {question}"})
    await run(prompted, [{"question": "x"}], model=model)
    assert model.prompts == ["Réponds: x", "Answer: x"]


async def test_an_unknown_prompt_or_gap_is_refused_before_the_first_call():
    model = Scripted(lambda q: "ok")
    for texts, message in [({"anwser": "x"}, "did you mean answer?"), ({"answer": "{topic}"}, "nothing fills {topic}")]:
        with pytest.raises(BadInput) as caught:
            await run(prompted, [{"question": "x"}], model=model, prompts=texts)
        assert message in str(caught.value)
    assert model.questions == []


def test_a_replacement_holds_in_its_own_context_and_ends_with_the_next():
    def inside() -> list[str]:
        replace(check(HERE, {"answer": "other {question}"}))
        said = [ANSWER(question="x")]
        replace({})
        return [*said, ANSWER(question="x")]

    assert contextvars.copy_context().run(inside) == ["other x", "Answer: x"]
    assert ANSWER(question="x") == "Answer: x"
