"""What @recipe reads off a signature, and how parameters are checked."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal, Protocol

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import BadInput, Chat, Complete, Document, Instruction, Preference, Row, Rows, Run, recipe
from gristmill.contract import argument_docs
from gristmill.testing import replay, run


class Both(Chat, Complete, Protocol):
    """Chat and raw completion."""


@recipe("everything", endless=True)
async def everything(
    seeds: Rows[Instruction],
    teacher: Both,
    judges: list[Chat],
    critic: Chat | None,
    run: Run,
    *,
    corpus: Rows[Document],
    style: Literal["short", "long"] = "short",
    rounds: Annotated[int, msgspec.Meta(ge=1)] = 4,
    share: float = 0.5,
    words: list[str] = ["a"],  # noqa: B006
    strict: bool = False,
    hint: str | None = None,
    needed: str,
) -> AsyncIterator[Instruction | Preference]:
    """Do everything.

    More words.

    Args:
        rounds: how often,
            in all.
        needed: what must be given.

    Rejects: `none`.
    """
    yield Instruction(instruction="x")


def test_the_signature_gives_shape_roles_inputs_parameters_and_tables():
    assert (everything.shape, everything.seed) == ("set", Instruction)
    assert everything.roles["teacher"].needs == {"Chat", "Complete"}
    assert [(r.many, r.optional) for r in everything.roles.values()] == [(False, False), (True, False), (False, True)]
    assert everything.inputs == {"corpus": Document}
    assert list(everything.parameters) == ["style", "rounds", "share", "words", "strict", "hint", "needed"]
    assert everything.tables == (Instruction, Preference)
    assert everything.parameters["rounds"].doc == "how often, in all."
    assert everything.summary == "Do everything."


def test_the_first_parameter_says_the_shape():
    @recipe("row")
    async def row(seed: Document) -> AsyncIterator[Document]:
        """Row."""
        yield seed

    @recipe("draw")
    async def draw(model: Chat) -> AsyncIterator[Document]:
        """Draw."""
        yield Document("x")

    assert (row.shape, row.seed, row.bounded) == ("row", Document, True)
    assert (draw.shape, draw.seed, draw.bounded) == ("draw", None, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ({"rounds": "3"}, 3),
        ({"share": "1"}, 1.0),
        ({"style": "long"}, "long"),
        ({"words": "x, y"}, ["x", "y"]),
        ({"words": '["x, y"]'}, ["x, y"]),
        ({"strict": "true"}, True),
        ({"strict": "false"}, False),
        ({"hint": "none"}, None),
        ({"hint": "7"}, "7"),
    ],
)
def test_a_command_lines_words_become_typed_values(text, value):
    assert everything.settings({"needed": "x"} | everything.from_text(text))[next(iter(text))] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"rounds": "0"}, "Expected `int` >= 1"),
        ({"rounds": "three"}, "rounds='three' does not fit int"),
        ({"style": "medium"}, "short | long"),
        ({"strict": "maybe"}, "does not fit bool"),
        ({"words": "[1"}, "not valid JSON"),
        ({"round": "1"}, "no parameter 'round': did you mean rounds?"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_was_expected(text, message):
    with pytest.raises(BadInput) as caught:
        everything.from_text(text)
    assert message in str(caught.value)


def test_a_parameter_without_a_default_must_be_given_and_says_what_it_is():
    with pytest.raises(BadInput, match=r"needs the parameter 'needed' \(str\): what must be given"):
        everything.settings({})


def test_a_check_runs_over_the_parameters_that_it_names():
    @recipe("checked")
    async def checked(*, low: int = 1, high: int = 2) -> AsyncIterator[Document]:
        """Checked."""
        yield Document("x")

    @checked.check
    def in_order(low: int, high: int) -> None:
        if low > high:
            raise BadInput(f"low={low} is above high={high}")

    assert checked.settings({"low": 2}) == {"low": 2, "high": 2}
    with pytest.raises(BadInput, match="low=3 is above high=2"):
        checked.settings({"low": 3})
    with pytest.raises(TypeError, match="no parameters"):
        checked.check(lambda nothing: None)


def test_a_recipe_that_breaks_the_contract_is_refused_where_it_is_written():
    async def no_rows(seed: Document) -> AsyncIterator[str]:
        yield "x"

    async def positional(seed: Document, rounds: int) -> AsyncIterator[Document]:
        yield seed

    async def untyped(seed, *, rounds=3) -> AsyncIterator[Document]:
        yield seed

    async def returns(seed: Document) -> Document:
        return seed

    for fn, message in [
        (no_rows, "must return AsyncIterator"),
        (positional, "options of the method come after"),
        (untyped, "has no type"),
        (returns, "must be `async def` and `yield`"),
    ]:
        with pytest.raises(TypeError, match=message):
            recipe("broken")(fn)
    for name in ["Bad", "bad name", "-bad", "../bad", "x" * 65]:
        with pytest.raises(TypeError, match="recipe name"):
            recipe(name)


def test_descriptions_are_plain_values_that_json_can_hold():
    described = msgspec.json.decode(msgspec.json.encode(everything.describe()))
    assert described["parameters"]["needed"] == {
        "type": "str",
        "required": True,
        "default": None,
        "doc": "what must be given.",
    }
    assert described["roles"]["judges"] == {"needs": ["Chat"], "many": True, "optional": False}
    assert described["yields"]["Preference"] == ["prompt", "chosen", "rejected"]


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.from_regex(r"\w[\w .]{0,60}", fullmatch=True))
)
def test_every_documented_argument_is_read_back(docs):
    text = "Do it.\n\nArgs:\n" + "".join(f"    {name}: {doc}\n" for name, doc in docs.items()) + "\nRejects: none."
    assert argument_docs(text) == {name: doc.strip() for name, doc in docs.items()}


def test_a_row_type_only_adds_fields_and_keeps_its_bases():
    class Scored(Instruction):
        score: float

    row = Scored(2.5, instruction="x")
    assert isinstance(row, Row)
    assert (row.score, row.id, row.lineage) == (2.5, "", None)


async def test_a_further_input_may_be_left_out_and_is_none_then():
    @recipe("helped")
    async def helped(row: Document, *, corpus: Rows[Document] | None = None) -> AsyncIterator[Document]:
        yield Document(text=f"{row.text} {corpus and len(corpus)}")

    assert (helped.inputs, helped.optional_inputs) == ({"corpus": Document}, {"corpus"})
    alone = await run(helped, [{"text": "a"}])
    assert [row.text for row in alone.rows] == ["a None"]
    assert [row.text for row in (await replay(alone)).rows] == ["a None"]
    given = await run(helped, [{"text": "a"}], corpus=[{"text": "b"}])
    assert [row.text for row in given.rows] == ["a 1"]
    assert [row.text for row in (await replay(given)).rows] == ["a 1"]


def test_an_input_that_may_be_left_out_says_so_by_its_default():
    with pytest.raises(TypeError, match="'corpus' may be left out, so its default is None"):

        @recipe("unclear")
        async def unclear(row: Document, *, corpus: Rows[Document] | None) -> AsyncIterator[Document]:
            yield row
