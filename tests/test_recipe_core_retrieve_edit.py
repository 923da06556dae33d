"""What makes CORE CORE: words of retrieved texts, never the texts; the opposite label; two halves that stand alone."""

import pytest

from gristmill import BadInput, Reply
from gristmill.models.bm25 import BM25
from gristmill.models.protocol import Hit
from gristmill.ops import parts_of_speech
from gristmill.recipes.augmentation.core_retrieve_edit import (
    ALLOWED,
    STOP_WORDS,
    WORDS_OF,
    core_retrieve_edit,
    distinct,
    flipped,
    shipped,
    shipped_demonstrations,
)
from gristmill.testing import Scripted, replay, run

GOOD = {"text": "The film was a wonderful evening.", "label": 1}
CORPUS = [
    {"text": "The film was a dreadful, boring evening!"},
    {"text": "the film was a DREADFUL, boring evening!"},
    {"text": "A wasted evening: the film drags on."},
    {"text": "Cooking rice takes patience."},
]
PAIR = {"premise": "A man sells bread.", "hypothesis": "A man is outside.", "label": 0}
NLI_CORPUS = [
    {"text": "The old man slowly sells fresh bread in his little dark shop."},
    {"text": "She quickly bought a red boat."},
    {"text": "Nobody outside."},
]


def words_in(prompt: str) -> list[str]:
    """The list of words of the query, the last of the prompt."""
    return prompt.rpartition("Words: ")[2].split("\n")[0].split(", ")


def found(*numbers: int) -> Scripted:
    return Scripted(lambda question: [Hit(number, 1.0) for number in numbers], can=["Retrieve"])


async def test_the_editor_sees_words_of_retrieved_texts_and_no_retrieved_text():
    editor = Scripted(["The film was a dreadful evening."])
    done = await run(core_retrieve_edit, [GOOD], editor=editor, retriever=BM25(), corpus=CORPUS)
    [row] = done.rows
    assert row.word_list == words_in(editor.prompts[0])
    retrieved = " ".join(row.excerpts).lower()
    assert set(row.word_list) == {"film", "dreadful", "boring", "evening", "wasted", "drags"}
    assert all(word in retrieved for word in row.word_list)
    assert not any(one["text"] in editor.prompts[0] for one in CORPUS)
    assert (row.counterfactual, row.target_label, row.text) == ("The film was a dreadful evening.", 0, GOOD["text"])


async def test_a_text_that_was_found_twice_counts_once_and_stop_words_and_marks_not_at_all():
    done = await run(core_retrieve_edit, [GOOD], editor=Scripted(["Bad."]), retriever=found(0, 1, 2), corpus=CORPUS)
    assert done.rows[0].excerpts == [CORPUS[0]["text"], CORPUS[2]["text"]]
    assert not set(done.rows[0].word_list) & STOP_WORDS
    assert all(word.isalpha() for word in done.rows[0].word_list)


async def test_twenty_texts_are_asked_for_and_the_row_itself_is_none_of_them():
    retriever = found(0, 1)
    corpus = [{"text": GOOD["text"].upper()}, {"text": "Boring."}]
    done = await run(core_retrieve_edit, [GOOD], editor=Scripted(["Bad."]), retriever=retriever, corpus=corpus)
    assert [question.sampling["k"] for question in retriever.questions] == [20]
    assert done.rows[0].excerpts == ["Boring."]


@pytest.mark.parametrize(
    ("task", "label", "before", "after", "target"),
    [
        ("sentiment", 0, "negative", "positive", 1),
        ("sentiment", 1, "positive", "negative", 0),
        ("nli", 0, "definitely True", "definitely False", 2),
        ("nli", 1, "possibly True", "definitely False", 2),
        ("nli", 2, "definitely False", "definitely True", 0),
    ],
)
async def test_the_label_that_is_asked_for_is_always_the_other_one(task, label, before, after, target):
    editor = Scripted(["It became something else."])
    seed = {**(PAIR if task == "nli" else GOOD), "label": label}
    done = await run(core_retrieve_edit, [seed], editor=editor, retriever=Scripted(), task=task, mode="edit")
    query = editor.prompts[0].rpartition("\nLabel: ")[2]
    assert query.split("\n")[:2] == [before, f"New label: {after}"]
    assert done.rows[0].target_label == target


async def test_nli_lists_hold_five_words_of_five_parts_of_speech_from_the_two_best_texts():
    editor = Scripted(["A man is in his shop."])
    done = await run(core_retrieve_edit, [PAIR], editor=editor, retriever=found(0, 1, 2), corpus=NLI_CORPUS, task="nli")
    [row] = done.rows
    assert row.excerpts == [NLI_CORPUS[0]["text"], NLI_CORPUS[1]["text"]]
    parts = {word.lower(): part for text in row.excerpts for word, part in parts_of_speech.tagged(text)}
    assert {parts[word] for word in row.word_list} <= ALLOWED
    assert row.word_list == ["old", "man", "slowly", "sells", "fresh"]
    assert words_in(editor.prompts[0]) == row.word_list
    assert editor.questions[0].sampling == {"temperature": 0.0, "max_tokens": 64, "stop": ["\n"]}


async def test_a_reranker_puts_the_texts_of_nli_in_its_own_order():
    worth = {text["text"]: float(number) for number, text in enumerate(NLI_CORPUS)}
    reranker = Scripted(lambda question: worth[question.messages[1].content])
    retriever = found(0, 1, 2)
    done = await run(
        core_retrieve_edit, [PAIR], editor=Scripted(["A man buys a boat."]), retriever=retriever, reranker=reranker,
        corpus=NLI_CORPUS, task="nli",
    )  # fmt: skip
    assert done.rows[0].excerpts == [NLI_CORPUS[2]["text"], NLI_CORPUS[1]["text"]]
    assert {question.messages[0].content for question in reranker.questions} == {
        "A man sells bread. [SEP] A man is outside."
    }
    assert retriever.prompts == ["A man sells bread. [SEP] A man is outside."]


async def test_mode_edit_searches_nothing_and_shows_no_words():
    retriever, editor = Scripted(), Scripted(["The film was a dreadful evening."])
    done = await run(core_retrieve_edit, [GOOD], editor=editor, retriever=retriever, mode="edit")
    assert retriever.questions == []
    assert "Words:" not in editor.prompts[0]
    assert "listed words" not in editor.prompts[0]
    assert (done.rows[0].word_list, done.rows[0].excerpts) == ([], [])


async def test_mode_retrieve_asks_no_model_and_takes_the_best_text():
    editor = Scripted([])
    done = await run(core_retrieve_edit, [GOOD], editor=editor, retriever=found(2, 0), corpus=CORPUS, mode="retrieve")
    assert (editor.questions, done.rows[0].counterfactual) == ([], CORPUS[2]["text"])


async def test_the_demonstrations_stand_before_the_query_two_for_sentiment_and_four_for_nli():
    for task, seed, count, kind in (("sentiment", GOOD, 2, "Review"), ("nli", PAIR, 4, "Statement")):
        editor = Scripted(["Other."])
        await run(core_retrieve_edit, [seed], editor=editor, retriever=Scripted(), task=task, mode="edit")
        assert editor.prompts[0].count(f"New {kind.lower()}:") == count + 1
        assert editor.prompts[0].endswith(f"New {kind.lower()}:")
        assert len(shipped_demonstrations(task)) == count


async def test_shipped_demonstrations_use_only_a_few_of_their_words_and_flip_the_label():
    for task in ("sentiment", "nli"):
        for one in shipped_demonstrations(task):
            used = [word for word in one.words if word.lower() in one.edited.lower()]
            assert 1 <= len(used) < len(one.words)
            flips = {
                label: list(WORDS_OF[task].values())[flipped(number, task)] for number, label in WORDS_OF[task].items()
            }
            assert one.target == flips[one.label]
    assert all(len(texts) >= 10 for texts in shipped()["corpus"].values())


async def test_without_a_corpus_the_shipped_one_is_searched():
    done = await run(core_retrieve_edit, [GOOD], editor=Scripted(["Bad."]), retriever=BM25())
    assert set(done.rows[0].excerpts) <= set(shipped()["corpus"]["sentiment"])


@pytest.mark.parametrize(
    ("seed", "said", "options", "reason"),
    [
        ({"text": " ", "label": 1}, "x", {}, "no_text"),
        ({"text": "Fine.", "label": 2}, "x", {}, "unknown_label"),
        ({"text": "Fine.", "label": 1}, "x", {"corpus": [{"text": "The and of it."}]}, "no_words"),
        ({"text": "Fine.", "label": 1}, "x", {"retriever": Scripted(lambda q: [])}, "nothing_retrieved"),
        ({"text": "Fine.", "label": 1}, "  ", {}, "empty"),
        ({"text": "Fine.", "label": 1}, " Fine. ", {}, "unchanged"),
        ({"text": "Fine.", "label": 1}, Reply("So", finish="length"), {}, "truncated"),
    ],
)
async def test_what_cannot_be_used_is_rejected_with_its_reason(seed, said, options, reason):
    given = {"retriever": found(0), "corpus": CORPUS[:1], **options}
    done = await run(core_retrieve_edit, [seed], editor=Scripted([said]), **given)
    assert (done.rows, dict(done.reject_counts)) == ([], {reason: 1})


async def test_a_classifier_drops_an_edit_that_kept_its_label_and_is_optional():
    def says(question):
        assert question.texts == [" negative", " positive"]
        return [0.1, 0.9] if "great" in question.prompt else [0.8, 0.2]

    for edited, reasons in (("A great evening.", {"wrong_label": 1}), ("A bad evening.", {})):
        done = await run(
            core_retrieve_edit, [GOOD], editor=Scripted([edited]), retriever=found(0), corpus=CORPUS,
            classifier=Scripted(says),
        )  # fmt: skip
        assert dict(done.reject_counts) == reasons


async def test_a_replay_searches_tags_and_asks_nothing(monkeypatch):
    done = await run(
        core_retrieve_edit, [PAIR], editor=Scripted(["A man is in."]), retriever=found(0), corpus=NLI_CORPUS, task="nli"
    )
    monkeypatch.setattr(parts_of_speech, "_model", lambda: pytest.fail("a replay tagged something"))
    assert (await replay(done)).rows == done.rows


def test_a_tagger_that_is_not_installed_is_named_before_any_call(monkeypatch):
    monkeypatch.setattr(parts_of_speech, "_installed", list)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[spacy\]'"):
        core_retrieve_edit.settings({"task": "nli"})
    core_retrieve_edit.settings({"task": "sentiment"})
    core_retrieve_edit.settings({"task": "nli", "mode": "edit"})


def test_texts_are_told_apart_by_their_letters():
    assert distinct(["A b", "a B", "", "c"], but="C") == ["A b"]
