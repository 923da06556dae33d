"""GPT3Mix: a raw list of examples is continued; the odds of the label's first token become a distribution over labels."""

import re
from math import log

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply, Token
from gristmill.recipes.augmentation.gpt3mix import gpt3mix
from gristmill.testing import Scripted, replay, run

ROWS = [
    {"text": "A dull, endless film.", "label": "Negative"},
    {"text": "I laughed\n from start to end (twice).", "label": "positive"},
    {"text": "Bold and tender.", "label": "positive"},
    {"text": "Nobody should pay for this.", "label": "negative"},
]
FILMS = {"text_type": "movie review", "label_type": "sentiment"}
SPREAD = {" Positive": log(0.5), " positive": log(0.1), " Negative": log(0.2), " good": log(0.15), "\n": log(0.05)}


def tokens(text, tops=()):
    """Tokens of a reply: words with the space before them, and signs. `tops`: the table at the tokens named in it."""
    tops = dict(tops)
    return [Token(t, log(0.5), tops.get(t, {t: log(0.5), " the": log(0.1)})) for t in re.findall(r" ?\w+|\W", text)]


def written(text="Warm and funny.", label="Positive", top=SPREAD):
    said = f" {text} (Sentiment: {label})"
    return Reply(said, logprobs=tokens(said, {f" {label}": top}))


def mixes(*replies):
    """Says these, one after the other, the last of them for ever."""
    left = list(replies)
    return Scripted(lambda _: left.pop(0) if len(left) > 1 else left[0])


async def made(*replies, rows=ROWS, **options):
    return await run(gpt3mix, rows, generator=mixes(*replies), **{**FILMS, **options})


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- the prompt


async def test_the_prompt_is_raw_text_with_k_examples_and_ends_with_the_bare_cue():
    generator = mixes(written())
    await run(gpt3mix, ROWS, generator=generator, k_examples=3, **FILMS)
    shown = {
        "Movie review: A dull, endless film. (Sentiment: Negative)",
        "Movie review: I laughed from start to end (twice). (Sentiment: Positive)",
        "Movie review: Bold and tender. (Sentiment: Positive)",
        "Movie review: Nobody should pay for this. (Sentiment: Negative)",
    }
    assert len(generator.questions) == len(ROWS)
    for question in generator.questions:
        head, *examples, cue = question.prompt.split("\n")
        assert (question.kind, question.messages, cue) == ("complete", [], "Movie review:")
        assert len(examples) == len(set(examples)) == 3
        assert set(examples) <= shown
        assert all(said in head for said in ("movie review", "sentiment", "'negative', 'positive'"))
    assert len({question.prompt for question in generator.questions}) > 1


async def test_a_prompt_shows_two_examples_and_asks_for_one_line_and_the_hundred_best_tokens():
    generator = mixes(written())
    await run(gpt3mix, ROWS, generator=generator, **FILMS)
    [question, *_] = generator.questions
    assert question.prompt.count("(Sentiment: ") == 2
    assert question.sampling == {
        "temperature": 1.0, "max_tokens": 100, "frequency_penalty": 0.01, "stop": ["\n"], "logprobs": True,
        "top_logprobs": 100,
    }  # fmt: skip


async def test_a_row_names_the_texts_that_its_prompt_showed_and_comes_from_their_rows():
    generator = mixes(written())
    done = await run(gpt3mix, ROWS, generator=generator, **FILMS)
    for row, prompt in zip(done.rows, generator.prompts, strict=True):
        places = [prompt.index(" ".join(text.split())) for text in row.source_examples]
        assert len(places) == 2
        assert places == sorted(places)
        assert len(row.lineage.parents) == 2
        assert len(row.lineage.calls) == 1
    assert len({tuple(row.lineage.calls) for row in done.rows}) == len(ROWS)


async def test_labels_that_are_no_words_are_shown_and_read_by_their_verbalisers():
    rows = [{"text": f"text {n}", "label": str(n % 2)} for n in range(4)]
    generator = mixes(written(label="Good", top={" Good": log(0.6), " Bad": log(0.2), " 1": log(0.1)}))
    done = await run(gpt3mix, rows, generator=generator, verbalisers={"0": "bad", "1": "good"}, **FILMS)
    assert set(re.findall(r"Sentiment: (\w+)", "".join(generator.prompts))) == {"Bad", "Good"}
    assert "'bad', 'good'" in generator.prompts[0]
    assert done.rows[0].label == "1"
    assert done.rows[0].probs == pytest.approx({"0": 0.25, "1": 0.75})


# -- the soft label


async def test_the_soft_label_is_the_models_odds_at_the_labels_first_token_over_exactly_the_label_set():
    done = await made(written())
    for row in done.rows:
        assert row.probs == pytest.approx({"negative": 0.2 / 0.8, "positive": 0.6 / 0.8})  # both spellings together
        assert sum(row.probs.values()) == pytest.approx(1.0)
        assert (row.text, row.label) == ("Warm and funny.", "positive")
    assert len(done.rows) == len(ROWS)


async def test_the_label_is_the_most_probable_one_and_not_the_written_one():
    odds = {" Positive": log(0.2), " Negative": log(0.7)}
    done = await made(written(label="Positive", top=odds), written(label="Marvellous", top=odds))
    assert {row.label for row in done.rows} == {"negative"}
    assert [row.probs["positive"] for row in done.rows] == pytest.approx([2 / 9] * len(ROWS))


async def test_a_label_that_nothing_speaks_for_has_probability_zero():
    done = await made(written(top={" Positive": log(0.4)}))
    assert done.rows[0].probs == {"negative": 0.0, "positive": 1.0}


async def test_without_a_label_token_in_the_table_the_reply_is_rejected_and_not_guessed():
    bad = {" Posit": log(0.9), " good": log(0.1)}
    done = await made(written(text="Unread.", top=bad), written(top={}), written())
    assert reasons(done) == ["no_label_token", "no_label_token"]
    assert done.rejects[0].details == {"top": [" Posit", " good"]}
    assert "Unread." not in {row.text for row in done.rows}
    assert len(done.rows) == len(ROWS)


async def test_label_words_elsewhere_in_the_text_do_not_count():
    text = "(So Positive) A Positive (Sentiment: Negative) mess, all Negative"
    said = f" {text} (Sentiment: Positive)"
    found = tokens(said, {" Negative": {" Negative": log(0.9)}, " Positive": {" Positive": log(0.9)}})
    found[-2].top = {" Positive": log(0.3), " Negative": log(0.1)}
    done = await made(Reply(said, logprobs=found))
    assert done.rows[0].text == text
    assert done.rows[0].probs == pytest.approx({"negative": 0.25, "positive": 0.75})


async def test_tokens_that_are_parts_of_characters_and_a_token_after_the_text_do_not_move_the_label():
    said = " Traumhaft schön 🎬 — 很好 (Sentiment: Positive)"
    found = [Token("\ufffd", -1.0)] * 9 + tokens(" (Sentiment: Positive)", {" Positive": SPREAD}) + [Token("\n", -1.0)]
    done = await made(Reply(said, logprobs=found))
    assert done.rows[0].text == "Traumhaft schön 🎬 — 很好"
    assert done.rows[0].probs == pytest.approx({"negative": 0.25, "positive": 0.75})


async def test_tokens_that_do_not_hold_the_label_are_rejected():
    done = await made(Reply(" Fine. (Sentiment: Positive)", logprobs=tokens(" Something else")), written())
    assert reasons(done) == ["unaligned_tokens"]


async def test_an_endpoint_without_log_probabilities_stops_the_run():
    with pytest.raises(BadInput, match="gives no log-probabilities"):
        await made(" Fine. (Sentiment: Positive)")


# -- hard labels


async def test_hard_labels_ask_for_no_log_probabilities_and_reject_what_is_outside_of_the_label_set():
    generator = mixes(" So so. (Sentiment: Mixed)", " Fine. (Sentiment: posiTive )", " Bad. (Sentiment: Negative)")
    done = await run(gpt3mix, ROWS, generator=generator, soft_labels=False, **FILMS)
    assert [(r.reason, r.details) for r in done.rejects] == [("unknown_label", {"label": "Mixed"})]
    assert {row.label for row in done.rows} == {"positive", "negative"}
    assert [row.probs for row in done.rows if row.text == "Fine."] == [{"negative": 0.0, "positive": 1.0}]
    assert not any("logprobs" in question.sampling for question in generator.questions)


# -- reading


@pytest.mark.parametrize(
    "said",
    ["", " ", " Just a text.", " Cut in the mid", " Fine. (Sentiment: Pos", " Fine. (Mood: Positive)", " (Sentiment: Positive)",
     " Fine. (Sentiment: )", " Fine. Sentiment: Positive", "\ufffd\u202e"],
)  # fmt: skip
async def test_a_continuation_without_text_and_label_is_not_completed(said):
    done = await made(Reply(said, logprobs=tokens(said), finish="length"), written())
    assert reasons(done) == ["not_completed"]
    assert done.rejects[0].candidate == said
    assert len(done.rows) == len(ROWS)


async def test_of_several_items_on_a_line_the_last_is_read():
    said = " Good. (Sentiment: Positive) Movie review: Poor (as ever). (sentiment:Negative) and so on"
    done = await made(said, soft_labels=False)
    assert {(row.text, row.label) for row in done.rows} == {("Poor (as ever).", "negative")}


# -- rounds


async def test_a_prompt_that_was_not_completed_is_asked_again_as_it_was_and_every_slot_is_filled_in_the_end():
    asked = []
    generator = Scripted(lambda q: written() if asked.append(q.prompt) or asked.count(q.prompt) > 1 else " ...")
    done = await run(gpt3mix, ROWS, generator=generator, multiplier=3, batch_size=4, k_examples=3, **FILMS)
    assert len(done.rows) == 3 * len(ROWS)
    assert reasons(done) == ["not_completed"] * len(set(asked))
    assert all(asked.count(prompt) > 1 for prompt in asked)
    assert all(len(row.lineage.calls) == 1 for row in done.rows)  # not those of the replies that were of no use


async def test_a_round_asks_batch_size_prompts():
    generator = mixes(" ...")
    await run(gpt3mix, ROWS, generator=generator, batch_size=3, max_retries=2, allow_failures=True, **FILMS)
    assert generator.prompts[:3] == generator.prompts[3:]


async def test_rounds_in_a_row_that_give_nothing_end_in_an_error_and_keep_what_was_made():
    done = await made(
        written(), " ...", " ...", written(), " ...", batch_size=1, max_retries=3, allow_failures=True
    )  # two empty rounds, then a good one: the count begins anew
    assert len(done.rows) == 2
    assert len(done.rejects) == 2 + 3
    [failure] = done.failures
    assert "3 rounds in a row gave no row; 2 of 4" in failure.error


async def test_a_refused_call_costs_one_try():
    done = await made(Refused("no"), written(), allow_failures=True)
    assert len(done.rows) == len(ROWS)
    assert len(done.failures) == 1


# -- which examples


async def test_class_balanced_prompts_show_one_example_of_each_of_two_classes():
    rows = [{"text": f"text {n}", "label": "rare" if n == 0 else "other" if n < 3 else "common"} for n in range(30)]
    generator = mixes(written(top={" Rare": -1.0}))
    await run(gpt3mix, rows, generator=generator, strategy="class-balanced", **FILMS)
    shown = [re.findall(r"Sentiment: (\w+)", prompt) for prompt in generator.prompts]
    assert all(len(set(labels)) == 2 for labels in shown)
    assert sum("Rare" in labels for labels in shown) > 10  # of 30; by chance among all rows it would be 2
    assert len(set(re.findall(r"review: (text \d+) ", "".join(generator.prompts)))) > 10
    generator = mixes(written(top={" Rare": -1.0}))
    options = {"strategy": "class-balanced", "k_examples": 4, "num_classes_in_prompt": 1}
    await run(gpt3mix, rows, generator=generator, **options, **FILMS)
    shown = [re.findall(r"Sentiment: (\w+)", prompt) for prompt in generator.prompts]
    assert {len(labels) for labels in shown} == {4}  # also where a class has fewer
    assert any(set(labels) == {"Common"} for labels in shown)


PLACES = {"one": [1.0, 0.0], "two": [1.0, 0.0], "far": [-1.0, 0.0]}


@pytest.mark.parametrize(("strategy", "share"), [("closest", 0.79), ("furthest", 0.06)])
async def test_closest_and_furthest_draw_pairs_with_odds_of_the_exponential_similarity(strategy, share):
    rows = [{"text": text, "label": f"l{n}"} for n, text in enumerate(PLACES)]
    embedder = Scripted(lambda question: PLACES[question.texts[0]])
    generator = mixes(written(top={" L1": -1.0}))
    await run(
        gpt3mix, rows, generator=generator, embedder=embedder, strategy=strategy, multiplier=300, batch_size=900, **FILMS
    )  # fmt: skip
    pairs = [set(re.findall(r"review: (\w+) ", prompt)) for prompt in generator.prompts]
    assert all(len(pair) == 2 for pair in pairs)
    # Pairs (one, two), (one, far), (two, far): e / (e + 2/e) = 0.787, and with the signs turned 0.063. 900 draws.
    assert sum(pair == {"one", "two"} for pair in pairs) / len(pairs) == pytest.approx(share, abs=0.05)
    assert [question.texts for question in embedder.questions] == [list(PLACES)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS[:1], {}, "1 rows are too few, a prompt shows 2"),
        (ROWS[1:3], {}, "at least two"),
        (ROWS, {"verbalisers": {"positive": "good", "neutral": "fair"}}, "no word for negative"),
        (ROWS, {"verbalisers": {"positive": "good", "negative": "Good"}}, "told apart"),
        (ROWS, {"strategy": "closest"}, "bind the role `embedder`"),
        (ROWS, {"strategy": "furthest", "k_examples": 3, "embedder": Scripted()}, r"k_examples at 2 \(it is 3\)"),
    ],
)
async def test_what_cannot_work_is_refused_before_the_first_call(rows, options, message):
    generator = mixes(written())
    with pytest.raises(BadInput, match=message):
        await run(gpt3mix, rows, generator=generator, **options, **FILMS)
    assert not generator.questions


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    def say(question):
        return written(text=f"About {len(question.prompt)}.") if len(question.prompt) % 3 else " ..."

    rows = [{"text": "word " * n, "label": "ab"[n % 2]} for n in range(1, 12)]
    options = {"verbalisers": {"a": "positive", "b": "negative"}, "allow_failures": True, "batch_size": 4, **FILMS}
    one = await run(gpt3mix, rows, generator=Scripted(say), concurrency=1, **options)
    many = await run(gpt3mix, rows, generator=Scripted(say), concurrency=16, **options)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert one.rejects == many.rejects == again.rejects
    assert one.rows
    assert one.rejects
    assert again.calls == 0
