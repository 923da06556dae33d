"""WRAP: chunks of a document are rephrased by style, joined in order, and mixed with as much real text."""

import re

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.ops.text import approx_tokens, sentences
from gristmill.recipes.augmentation.wrap import STYLES, wrap
from gristmill.testing import Scripted, replay, run

TEXT = (
    "The old mill stands by the river. It was built in 1790, and it ground wheat for six villages. Its wheel is made of "
    "oak! Who repairs it today?\n\nA society of forty members does that. Each spring they drain the pond, and they look "
    "at every paddle of the wheel. Broken ones are replaced at once. On Sundays visitors may see the stones turn. The "
    "miller, Dr. Anna Bell, tells them how flour was made. Children like the sieve best. It shakes so loudly that "
    "nobody can speak.  In winter the mill is closed, for the ice is dangerous."
)
DOCUMENT = {"text": TEXT}
MARKS = {"easy": "toddler", "medium": "Wikipedia", "hard": "scholar", "qa": "conversation"}


def style_of(question):
    [style] = [style for style, mark in MARKS.items() if mark in question.messages[1].content]
    return style


def chunk_of(question):
    """The source text in a prompt: what stands where the style's order has its gap."""
    before, after = STYLES[style_of(question)].text.split("{text}")
    content = question.messages[1].content
    assert content.startswith(before)
    assert content.endswith(after)
    return content[len(before) : len(content) - len(after)]


def said(text, style):
    """A rephrase: the same words backwards, and for qa with tags."""
    turned = " ".join(reversed(re.findall(r"\w+", text))) + "."
    return f"Question: What is known?\nAnswer: {turned}" if style == "qa" else turned


def rewriter(change=lambda text, question: text):
    return Scripted(lambda question: change(said(chunk_of(question), style_of(question)), question))


def asked(model, style):
    return [question for question in model.questions if style_of(question) == style]


def tokens(rows, real):
    return sum(row.tokens for row in rows if (row.style == "real") == real)


async def test_no_chunk_is_larger_than_allowed_and_the_chunks_of_each_style_are_the_document():
    model = rewriter()
    await run(wrap, [DOCUMENT], generator=model, max_chunk_tokens=50, concurrency=1)
    for style in STYLES:
        chunks = [chunk_of(question) for question in asked(model, style)]
        assert len(chunks) > 3
        assert max(map(approx_tokens, chunks)) <= 50
        assert "".join(chunks) == TEXT
        assert all(re.search(r"[.!?]\s*$", chunk) for chunk in chunks)  # cut between sentences


async def test_three_hundred_tokens_are_the_most_unless_told_otherwise():
    model = rewriter()
    await run(wrap, [{"text": " ".join([TEXT] * 5)}], generator=model, styles=["easy"])
    sizes = [approx_tokens(chunk_of(question)) for question in model.questions]
    assert 200 < max(sizes) <= 300
    assert len(sizes) == 3


async def test_each_chunk_is_asked_for_once_in_each_style_after_a_preamble_and_in_different_words():
    model = rewriter()
    await run(wrap, [{"text": "One short text."}], generator=model)
    assert sorted(map(style_of, model.questions)) == sorted(STYLES)
    assert len({question.messages[1].content for question in model.questions}) == 4
    assert {question.messages[0].content for question in model.questions} == {model.questions[0].messages[0].content}
    assert {question.messages[0].role for question in model.questions} == {"system"}
    await run(wrap, [{"text": "One short text."}], generator=model, temperature=0.3, max_tokens_rephrase=50)
    assert [model.questions[at].sampling for at in (0, -1)] == [
        {"temperature": 0.7, "max_tokens": 1024}, {"temperature": 0.3, "max_tokens": 50},
    ]  # fmt: skip


async def test_only_the_wanted_styles_are_made_and_unknown_ones_are_refused():
    done = await run(wrap, [DOCUMENT], generator=rewriter(), styles=["qa", "hard"])
    assert [row.style for row in done.rows if row.style != "real"] == ["qa", "hard"]
    for styles in ([], ["funny"]):
        with pytest.raises(BadInput, match="styles"):
            await run(wrap, [DOCUMENT], generator=rewriter(), styles=styles)


async def test_a_row_joins_the_rephrases_of_its_style_in_the_order_of_the_chunks_and_names_its_source():
    model = rewriter()
    done = await run(wrap, [DOCUMENT, {"text": "Another text."}], generator=model, max_chunk_tokens=50)
    for row in done.rows:
        assert row.source_id == row.lineage.seed
    first = [row for row in done.rows if row.source_id == done.rows[0].source_id]
    for row in first:
        if row.style != "real":
            chunks = sorted({chunk_of(q) for q in asked(model, row.style)} - {"Another text."}, key=TEXT.index)
            assert row.text == "\n\n".join(said(chunk, row.style) for chunk in chunks)
            assert row.chunks == list(range(len(chunks)))
            assert row.tokens == approx_tokens(row.text)
    assert len({row.source_id for row in done.rows}) == 2


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("styles", [["medium"], ["qa"], ["easy", "medium", "hard", "qa"]])
async def test_the_mixture_has_as_many_real_tokens_as_synthetic_ones_in_each_document(ratio, styles):
    documents = [{"text": " ".join(sentences(TEXT)[:count])} for count in range(1, 13)]

    def change(text, question):  # rephrases that are longer or shorter than the real text, by the document
        return text * 2 if approx_tokens(text) % 3 == 0 else text[: len(text) * 2 // 3] if "Bell" in text else text

    done = await run(
        wrap, documents, generator=rewriter(change), styles=styles, real_to_synthetic=ratio, max_chunk_tokens=80
    )
    most = max(map(approx_tokens, sentences(TEXT)))
    assert len({row.source_id for row in done.rows}) == 12
    for source in {row.source_id for row in done.rows}:
        rows = [row for row in done.rows if row.source_id == source]
        assert tokens(rows, real=False) > 0
        assert abs(tokens(rows, real=True) - ratio * tokens(rows, real=False)) <= most / 2 + 1
    assert tokens(done.rows, real=True) == pytest.approx(ratio * tokens(done.rows, real=False), rel=0.05)


async def test_real_rows_are_the_document_whole_and_then_its_first_sentences():
    done = await run(wrap, [DOCUMENT], generator=rewriter(), real_to_synthetic=0.6)
    *whole, part = [row for row in done.rows if row.style == "real"]
    assert len(whole) == 0.6 * tokens(done.rows, real=False) // approx_tokens(TEXT) >= 2
    assert {row.text for row in whole} == {TEXT}
    assert TEXT.startswith(part.text)
    assert [row.chunks for row in (*whole, part)] == [[0]] * (len(whole) + 1)
    assert part.text.endswith((".", "!", "?"))
    assert (await run(wrap, [DOCUMENT], generator=rewriter(), real_to_synthetic=0)).counts["wrap_text"] == 4


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("Here is a paraphrase of the text:", "empty"),
        (Reply("The mill stands and", finish="length"), "truncated"),
        ("I'm sorry, but I cannot rewrite this text for you.", "refusal"),
        ("Mill.", "too_short"),
        (" ".join(f"In year {n} the mill stood, and it turned." for n in range(300)), "too_long"),
        ("The mill stands. " * 9, "repetitive"),
        (TEXT, "copied"),
        ("A question: what?\nAn answer: the mill by the river, and its wheel of oak.", "no_tags"),
        ("Question: What stands by the river, and what is its wheel made of?", "no_tags"),
        ("Answer: The mill stands by the river, and its wheel is made of oak.", "no_tags"),
    ],
)
async def test_a_reply_that_is_no_rephrase_is_rejected_and_what_it_leaves_makes_no_row(reply, reason):
    done = await run(wrap, [DOCUMENT], generator=Scripted(lambda question: reply), styles=["qa"])
    assert [(r.reason, r.details["style"], r.details["chunk"]) for r in done.rejects] == [(reason, "qa", 0)]
    assert not done.rows  # no real row either: there is nothing to mix it with


async def test_a_chunk_that_fails_is_left_out_of_its_style_alone():
    def change(text, question):
        return "" if style_of(question) == "hard" and "forty" in chunk_of(question) else text

    done = await run(wrap, [DOCUMENT], generator=rewriter(change), max_chunk_tokens=50)
    kept = {row.style: row.chunks for row in done.rows if row.style != "real"}
    [reject] = done.rejects
    assert sorted([*kept["hard"], reject.details["chunk"]]) == kept["easy"] == kept["qa"]
    assert reject.details["style"] == "hard"


async def test_rephrases_of_a_share_that_is_large_enough_pass():
    done = await run(wrap, [DOCUMENT], generator=Scripted(lambda q: "A mill."), styles=["hard"], min_share=0.0)
    assert done.rows[0].text == "A mill."


async def test_a_framing_line_is_removed():
    def change(text, question):
        return f"Sure! Here is a paraphrase of the text:\n\n{text}\n\nLet me know if you need more."

    done = await run(wrap, [DOCUMENT], generator=rewriter(change), styles=["medium", "qa"])
    assert [row.text for row in done.rows if row.style != "real"] == [said(TEXT, "medium"), said(TEXT, "qa")]


async def test_qa_rows_hold_both_tags():
    done = await run(wrap, [DOCUMENT], generator=rewriter(), max_chunk_tokens=50)
    [row] = [row for row in done.rows if row.style == "qa"]
    assert row.text.count("Question:") == row.text.count("Answer:") == len(row.chunks)


async def test_a_document_without_text_is_rejected_and_nothing_is_asked():
    model = rewriter()
    done = await run(wrap, [{"text": " \n "}, {"text": ""}], generator=model)
    assert ([r.reason for r in done.rejects], model.questions) == (["empty", "empty"], [])


async def test_a_row_knows_the_calls_of_its_own_style():
    done = await run(wrap, [DOCUMENT], generator=rewriter(), max_chunk_tokens=50)
    calls = {row.style: row.lineage.calls for row in done.rows}
    chunks = len(calls["easy"])
    assert chunks > 3
    assert {len(calls[style]) for style in STYLES} == {chunks}
    assert len({call for style in STYLES for call in calls[style]}) == 4 * chunks
    assert len(calls["real"]) == 4 * chunks  # its length depends on all of them


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    documents = [{"text": TEXT[start:]} for start in range(0, 300, 50)]

    def change(text, question):
        return "" if "sieve" in text and style_of(question) == "easy" else text

    one = await run(wrap, documents, generator=rewriter(change), max_chunk_tokens=60, concurrency=1)
    many = await run(wrap, documents, generator=rewriter(change), max_chunk_tokens=60, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert one.rejects == again.rejects
    assert len(one.rows) > 30
    assert again.calls == 0
    assert all(row.lineage.calls for row in one.rows)
