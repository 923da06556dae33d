"""phi-1.5: textbook-like text, a topic and a sample of web text to each prompt; and its mixtures."""

from collections import Counter

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.phi_1_5 import FORMS, phi_1_5, shipped_samples, shipped_topics
from gristmill.recipes.distillation.phi_1_5_mix import phi_1_5_mix
from gristmill.testing import Scripted, replay, run, text_of

TOPICS = [f"the nature of thing {number}" for number in range(7)]
WEB = [{"text": " ".join(f"w{page}x{word}" for word in range(40))} for page in range(5)]


def writer(say=None):
    """Writes a text of its own on each topic; or what it is told."""
    return Scripted(lambda q: say(q) if say else f"All about {topic_in(q)}, {form_in(q)}, after {sample_in(q)[:6]}.")


def topic_in(question):
    return text_of(question).split("The topic: ")[1].split("\n")[0]


def sample_in(question):
    return text_of(question).split("\n---\n")[1]


def form_in(question):
    [form] = [name for name, prompt in FORMS.items() if text_of(question).startswith(f"Write {prompt()}.")]
    return form


@pytest.mark.proof("phi-1-5", 1)
async def test_a_prompt_carries_one_topic_and_one_web_sample_and_the_row_names_both():
    model = writer()
    done = await run(phi_1_5, generator=model, web=WEB, topics=TOPICS, units=21, concurrency=1)
    for row, question in zip(done.rows, model.questions, strict=True):
        assert [topic for topic in TOPICS if topic in text_of(question)] == [topic_in(question)] == [row.topic]
        assert [page["text"] for page in WEB if page["text"] in text_of(question)] == [sample_in(question)]
        assert row.form == form_in(question)
        assert row.lineage.draws["web_sample"] == row.web_sample_id == row.lineage.parents[-1]
    by_id = {row.web_sample_id: sample_in(question) for row, question in zip(done.rows, model.questions, strict=True)}
    assert len(by_id) == len(set(by_id.values())) == 5
    assert {row.form for row in done.rows} == set(FORMS)


@pytest.mark.proof("phi-1-5", 1)
async def test_a_text_that_copies_thirteen_words_of_its_web_sample_is_dropped_and_twelve_are_none():
    words = WEB[0]["text"].split()

    async def made(text, **options):
        return await run(phi_1_5, generator=Scripted(lambda q: text), web=WEB[:1], topics=TOPICS, units=1, **options)

    done = await made("It said: " + " ".join(words[3:16]).upper() + "!")
    assert (done.rows, [r.reason for r in done.rejects]) == ([], ["copies_sample"])
    assert len((await made("It said: " + " ".join(words[3:15]) + "!")).rows) == 1
    assert not (await made("It said: " + " ".join(words[3:8]), copied_words=5)).rows


@pytest.mark.proof("phi-1-5", 2)
async def test_every_topic_has_its_turn_before_one_comes_again():
    model = writer()
    await run(phi_1_5, generator=model, web=WEB, topics=[*TOPICS, TOPICS[0]], units=21, concurrency=1)
    asked = [topic_in(question) for question in model.questions]
    rounds = [asked[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(found) == sorted(TOPICS) for found in rounds)
    assert len({tuple(found) for found in rounds}) == 3
    model = writer()
    await run(phi_1_5, generator=model, web=WEB, units=60)
    assert sorted(topic_in(question) for question in model.questions) == sorted(shipped_topics())


async def test_of_a_long_web_text_a_prompt_shows_a_part_from_a_place_by_chance():
    model = writer()
    await run(phi_1_5, generator=model, web=WEB, topics=TOPICS, units=40, web_sample_words=10)
    shown = [sample_in(question).split() for question in model.questions]
    assert {len(words) for words in shown} == {10}
    starts = {int(words[0].partition("x")[2]) for words in shown}
    assert len(starts) > 12
    assert max(starts) <= 30
    assert phi_1_5.parameters["web_sample_words"].default == 300


async def test_without_web_text_the_shipped_documents_inspire():
    model = writer()
    done = await run(phi_1_5, generator=model, units=30)
    whole = [" ".join(document.text.split()) for document in shipped_samples()]
    assert all(any(sample_in(question) in text for text in whole) for question in model.questions)
    assert {row.web_sample_id for row in done.rows} <= {f"documents-{n}" for n in range(len(whole))}


async def test_web_texts_without_a_word_are_passed_over_and_none_with_words_is_refused():
    model = writer()
    await run(phi_1_5, generator=model, web=[{"text": " \n"}, WEB[0], {"text": ""}], topics=TOPICS, units=10)
    assert {sample_in(question) for question in model.questions} == {WEB[0]["text"]}
    with pytest.raises(BadInput, match="no row of web holds any text"):
        await run(phi_1_5, generator=model, web=[{"text": " "}], topics=TOPICS, units=1)


async def test_forms_can_be_chosen():
    done = await run(phi_1_5, generator=writer(), topics=TOPICS, units=6, forms=["dialogue"])
    assert {row.form for row in done.rows} == {"dialogue"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("  ", "empty"),
        ("Sure! Here is a text:\n", "empty"),
        (Reply("Once upon", finish="length"), "truncated"),
        ("I'm sorry, but I cannot write that.", "refusal"),
        ("Sure! Here is the text:\n\nIce floats.", None),
    ],
)
async def test_a_text_that_cannot_be_used_is_dropped(said, reason):
    done = await run(phi_1_5, generator=Scripted(lambda q: said), topics=TOPICS, units=1)
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert [row.text for row in done.rows] == ([] if reason else ["Ice floats."])


async def test_a_text_with_thirteen_words_of_a_benchmark_is_dropped():
    item = " ".join(f"b{n}" for n in range(20))

    async def made(text, **options):
        benchmarks = [{"text": item, "benchmark": "piqa"}]
        return await run(phi_1_5, generator=Scripted(lambda q: text), benchmarks=benchmarks, units=1, **options)

    done = await made("So " + " ".join(item.split()[2:15]))
    assert [(r.reason, r.details) for r in done.rejects] == [("in_benchmark", {"benchmark": "piqa"})]
    assert len((await made("So " + " ".join(item.split()[2:14]))).rows) == 1
    assert not (await made("So " + " ".join(item.split()[2:6]), benchmark_words=4)).rows


async def test_the_same_text_leaves_once():
    said = iter(["Ice floats.", " ice  FLOATS.", "Ice sinks."])
    done = await run(phi_1_5, generator=Scripted(lambda q: next(said)), topics=TOPICS, units=3, concurrency=1)
    assert [row.text for row in done.rows] == ["Ice floats.", "Ice sinks."]
    assert [r.reason for r in done.rejects] == ["duplicate"]


async def test_the_call_is_sampled_as_asked_for():
    for options, sampling in [({}, (1.0, 2048)), ({"temperature": 0.3, "max_tokens_text": 7}, (0.3, 7))]:
        model = writer()
        await run(phi_1_5, generator=model, units=1, **options)
        assert model.questions[0].sampling == {"temperature": sampling[0], "max_tokens": sampling[1]}


@pytest.mark.parametrize("options", [{"topics": []}, {"topics": ["a", " "]}, {"forms": []}, {"forms": ["poem"]}])
async def test_topics_and_forms_that_are_none_are_refused(options):
    with pytest.raises(BadInput, match=next(iter(options))):
        await run(phi_1_5, generator=writer(), units=1, **options)


def test_the_shipped_topics_differ_and_the_documents_are_there():
    assert len(shipped_topics()) == len(set(shipped_topics())) == 60
    assert all(topic.strip() == topic != "" for topic in shipped_topics())
    assert len({document.id for document in shipped_samples()}) == len(shipped_samples()) > 5


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    first = await run(phi_1_5, generator=writer(), web=WEB, topics=TOPICS, target=12, concurrency=1)
    again = await replay(first)
    assert (again.rows, again.calls) == (first.rows, 0)
    other = await run(phi_1_5, generator=writer(), web=WEB, topics=TOPICS, target=12, concurrency=16)
    assert [row.text for row in other.rows] == [row.text for row in first.rows]


# -- mixtures


def texts(name, count):
    return [{"text": f"{name} {number}"} for number in range(count)]


PARTS = {"phi1": texts("phi1", 90), "web": texts("web", 90), "code": texts("code", 90)}


@pytest.mark.proof("phi-1-5", 3)
@pytest.mark.parametrize(
    ("variant", "shares"),
    [
        ("phi-1.5", {"synthetic": 0.8, "phi1": 0.2}),
        ("phi-1.5-web", {"web": 0.4, "code": 0.2, "synthetic": 0.4}),
        ("phi-1.5-web-only", {"web": 0.8, "code": 0.2}),
    ],
)
@pytest.mark.parametrize("total", [1, 7, 50, 73])
async def test_the_mixture_has_the_shares_of_its_variant_within_one_row(variant, shares, total):
    done = await run(phi_1_5_mix, texts("synthetic", 90), variant=variant, total_rows=total, **PARTS)
    counts = Counter(row.part for row in done.rows)
    assert sum(counts.values()) == total
    assert set(counts) <= set(shares)
    assert all(abs(counts[name] - share * total) < 1 for name, share in shares.items())
    assert len({row.text for row in done.rows}) == total
    assert all(row.text.startswith(f"{row.part} ") for row in done.rows)


async def test_without_a_total_the_mixture_is_as_large_as_its_parts_allow_and_shuffled():
    done = await run(phi_1_5_mix, texts("synthetic", 90), phi1=texts("phi1", 20))
    assert Counter(row.part for row in done.rows) == {"synthetic": 80, "phi1": 20}
    parts = [row.part for row in done.rows]
    assert parts not in (sorted(parts), sorted(parts, reverse=True))
    assert all(len(row.lineage.parents) == 1 for row in done.rows)
    other = await run(phi_1_5_mix, texts("synthetic", 90), phi1=texts("phi1", 20), seed=1)
    assert {row.text for row in other.rows} != {row.text for row in done.rows}
    assert (await replay(done)).rows == done.rows


async def test_other_shares_take_the_place_of_the_variants():
    done = await run(phi_1_5_mix, texts("synthetic", 9), code=texts("code", 3), shares={"synthetic": 1, "code": 1})
    assert Counter(row.part for row in done.rows) == {"synthetic": 3, "code": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "phi-1.5 takes a share of phi1, which is not given: add --phi1 FILE"),
        ({"variant": "phi-1.5-web"}, "web, code, which is not given: add --web FILE and --code FILE"),
        ({"phi1": texts("phi1", 20), "total_rows": 50}, "takes 40 of 'synthetic', and there are 9"),
        ({"shares": {"books": 1}}, "shares of books; known are synthetic"),
        ({"shares": {"synthetic": 0}}, "at least one must be above 0"),
        ({"shares": {"synthetic": 1, "phi1": -1}}, "shares"),
        ({"variant": "phi-2"}, "variant"),
        ({"total_rows": 0}, "total_rows"),
    ],
)
async def test_mixtures_that_cannot_be_made_are_refused(options, said):
    with pytest.raises(BadInput, match=said):
        await run(phi_1_5_mix, texts("synthetic", 9), **options)
