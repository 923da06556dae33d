"""Search: BM25 by its formula, cosines, and what a run journals of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from math import cos, log, sin

import pytest

from gristmill import BadInput, Document, Retrieve, Row, Rows, Run, recipe
from gristmill.api import aresume
from gristmill.errors import EndpointDown
from gristmill.execute import looking
from gristmill.models.bm25 import BM25, words
from gristmill.models.dense import Dense
from gristmill.models.protocol import Hit, Question
from gristmill.models.spec import parse
from gristmill.testing import Scripted, folder, replay, run


async def found(backend, texts, query, k=10, vectors=()):
    await backend.index("c", list(texts), list(vectors))
    answer = await backend.answer(Question("retrieve", prompt=query, corpus="c", sampling={"k": k}), 1)
    return answer.samples[0]


def order(hits):
    return [hit.index for hit in hits]


# -- BM25


async def test_scores_are_those_of_the_formula():
    texts = ["the cat sat", "the dog sat on the cat", "birds fly"]
    hits = await found(BM25(), texts, "cat the the")
    mean = (3 + 6 + 2) / 3

    def worth(tf, df, length):
        return log(1 + (3 - df + 0.5) / (df + 0.5)) * tf / (tf + 1.2 * (1 - 0.75 + 0.75 * length / mean))

    first = worth(1, 2, 3) + 2 * worth(1, 2, 3)
    second = worth(1, 2, 6) + 2 * worth(2, 2, 6)
    assert {hit.index: hit.score for hit in hits} == pytest.approx({0: first, 1: second}, abs=1e-6)
    assert hits[0].score >= hits[1].score


async def test_a_rare_word_counts_more_than_a_common_one_and_a_short_text_more_than_a_long_one():
    texts = ["the the the", "the quokka", "the " * 30 + "quokka", "the end"]
    assert order(await found(BM25(), texts, "the quokka"))[:2] == [1, 2]


async def test_texts_that_score_alike_come_in_the_order_of_the_corpus_however_many_are_asked_for():
    texts = ["a b", "x", "b a", "a b", "B, A!"]
    for k in range(1, 6):
        assert order(await found(BM25(), texts, "a b", k)) == [0, 2, 3, 4][:k]


async def test_nothing_is_found_where_no_word_is_known():
    backend = BM25()
    for texts in (["one text"], ["one text", "another"], ["", " "], []):
        for query in ("", "  ?!", "unheard"):
            assert await found(backend, texts, query) == []


async def test_a_corpus_of_one_text_has_one_hit():
    [hit] = await found(BM25(), ["A single text."], "text")
    assert (hit.index, hit.score > 0) == (0, True)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Die STRASSE ist lang", "straße"),
        ("École normale", "e\u0301cole"),  # decomposed
        ("हिन्दी भाषा", "हिन्दी"),  # its vowels are marks
        ("我爱北京天安门", "北京"),
        ("日本語のテキスト", "テキスト"),
        ("ภาษาไทยเขียนติดกัน", "ไทย"),
        ("ｆｕｌｌ width", "full"),
        ("vitamin C", "c"),
        ("x86_64 only", "X86_64"),
    ],
)
async def test_words_of_any_script_are_found(text, query):
    assert order(await found(BM25(), ["nothing of it", text, ""], query)) == [1]


def test_marks_belong_to_their_word_and_signs_to_none():
    assert words("हिन्दी, (naïve) don't 北京!") == ["हिन्दी", "naïve", "don", "t", "北", "京"]


async def test_indexing_and_searching_leave_the_event_loop_alone(monkeypatch):
    threads = set()
    from gristmill.models import bm25

    monkeypatch.setattr(bm25, "words", lambda text: threads.add(threading.current_thread()) or text.split())
    await found(BM25(), ["a"], "a")
    assert threads
    assert threading.main_thread() not in threads


# -- dense


def embedder(vectors):
    return Scripted(lambda question: vectors[question.texts[0]], model="embedder", can={"Embed"})


VECTORS = {"north": [0.0, 2.0], "north-east": [1.0, 1.0], "east": [3.0, 0.0], "nowhere": [0.0, 0.0], "up": [0.0, 9.0]}


async def test_the_nearest_by_angle_come_first_whatever_their_length_and_a_zero_vector_is_like_nothing():
    backend = Dense(embedder(VECTORS))
    texts = ["east", "nowhere", "north", "north-east", "up"]
    vectors = [VECTORS[text] for text in texts]
    hits = await found(backend, texts, "north", 5, vectors)
    assert order(hits) == [2, 4, 3, 0]  # the two that point north in the order of the corpus
    assert [hit.score for hit in hits] == pytest.approx([1, 1, 2**-0.5, 0], abs=1e-6)
    assert order(await found(backend, texts, "north", 1, vectors)) == [2]
    assert await found(backend, texts, "nowhere", 5, vectors) == []
    assert await found(backend, [], "north", 5, []) == []


def test_only_what_embeds_makes_a_dense_search():
    with pytest.raises(BadInput, match="dense:wordllama:"):
        Dense(Scripted(model="talker", can={"Chat"}))
    made = parse("dense:wordllama:").open()
    assert (made.can, made.spec, made.price.input) == ({"Retrieve"}, "dense:wordllama:l2_supercat", 0)
    assert made.identity() != parse("retrieve:bm25").open().identity()


# -- in a run


class Query(Row):
    query: str


class Found(Row):
    query: str
    texts: list[str]


@recipe("look-up")
async def look_up(
    row: Query, retriever: Retrieve, run: Run, *, corpus: Rows[Document], k: int = 2
) -> AsyncIterator[Found]:
    """Finds the texts of a corpus that are nearest to a query."""
    hits = await retriever.search(corpus, row.query, k=k)
    yield Found(query=row.query, texts=[corpus[hit.index].text for hit in hits])


def corpus(size):
    return [{"text": f"text {n}"} for n in range(size)]


def numbered(question):
    angle = int(question.texts[0].split()[-1]) / 400
    return [cos(angle), sin(angle)]


async def test_a_corpus_is_embedded_once_for_many_searches_at_once_and_a_replay_embeds_and_searches_nothing():
    inner = Scripted(numbered, model="embedder", can={"Embed"})
    queries = [{"query": f"like {n}"} for n in range(40)]
    done = await run(look_up, queries, retriever=Dense(inner), corpus=corpus(600), concurrency=16)
    assert [row.texts[0] for row in done.rows] == [f"text {n}" for n in range(40)]
    asked = [len(question.texts) for question in inner.questions]
    assert sorted(asked) == [1] * 40 + [88, 256, 256]
    with looking(done.folder) as journal:
        spent = journal.spent(role="retriever")
        assert spent.calls == 43
        assert spent.input_tokens == 2 * (600 + 40)  # what embedding the queries took is counted with the searches
    silent = Scripted([], model="embedder", can={"Embed"})
    again = await replay(done, model={"retriever": Dense(silent)})
    assert (again.rows, again.calls, silent.questions, silent.indexed) == (done.rows, 0, [], {})


async def test_a_run_that_was_stopped_pays_for_no_vector_twice():
    inner, out = Scripted(numbered, model="embedder", can={"Embed"}), folder()

    def dies_at_the_third(question):
        if question.texts[0] == "text 512":
            raise EndpointDown("the embedder is gone")
        return numbered(question)

    dying = Scripted(dies_at_the_third, model="embedder", can={"Embed"})
    queries = [{"query": f"like {n}"} for n in range(3)]
    with pytest.raises(EndpointDown):
        await run(look_up, queries, retriever=Dense(dying), corpus=corpus(600), out=out)
    done = await aresume(out, recipe=look_up, model={"retriever": Dense(inner)})
    assert len(done.rows) == 3
    assert sorted(len(question.texts) for question in inner.questions) == [1, 1, 1, 88]


async def test_another_corpus_is_another_question_and_only_its_texts_tell():
    first = await run(look_up, [{"query": "text 1"}], corpus=corpus(3))
    same = await run(look_up, [{"query": "text 1"}], corpus=[{"id": "x", "text": f"text {n}"} for n in range(3)])
    other = await run(look_up, [{"query": "text 1"}], corpus=corpus(4))
    calls = [done.rows[0].lineage.calls for done in (first, same, other)]
    assert calls[0] == calls[1] != calls[2]
    assert first.rows[0].texts == ["text 1", "text 0"]


async def test_words_and_vectors_find_their_own_kind():
    texts = [{"text": text} for text in ("The feline slept.", "Stocks fell sharply.", "A dog barked at noon.")]
    query = [{"query": "a cat naps"}]
    [by_vector] = (await run(look_up, query, retriever="dense:wordllama:", corpus=texts, k=1)).rows
    assert by_vector.texts == ["The feline slept."]
    [by_word] = (await run(look_up, query, retriever="retrieve:bm25", corpus=texts, k=1)).rows
    assert by_word.texts == ["A dog barked at noon."]  # "a"


async def test_many_searches_at_once_agree_with_one_after_the_other():
    backend = BM25()
    await backend.index("c", [f"w{n % 7} w{n % 11}" for n in range(200)], [])
    asked = [Question("retrieve", prompt=f"w{n}", corpus="c", sampling={"k": 5}) for n in range(11)]
    together = await asyncio.gather(*(backend.answer(question, 1) for question in asked))
    alone = [await backend.answer(question, 1) for question in asked]
    assert [a.samples for a in together] == [a.samples for a in alone]
    assert all(isinstance(hit, Hit) for a in alone for hit in a.samples[0])
