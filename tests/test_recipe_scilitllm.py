"""What makes SciLitLLM that: a small model mends, a large one judges a part, a classifier decides on all; and SciLitIns."""

import json
import re
from collections import Counter

import pytest

from gristmill import BadInput, Refused, recipes
from gristmill.errors import PromptTooLong
from gristmill.recipes.distillation.scilitllm import cut, paragraphs, scilitllm
from gristmill.recipes.distillation.scilitllm_instructions import (
    ASPECTS,
    Kind,
    flattened,
    keywords,
    molecules,
    scilitllm_instructions,
)
from gristmill.testing import Scripted, replay, run, text_of

DOCUMENTS = [{"text": f"{'good' if n % 4 else 'poor'} text number {n}"} for n in range(20)]


def corrector(question):
    return question.messages[0].content.split("\n\n")[-1]


def judging(question):
    return f"Well.\nEducational score: {4 if 'good' in extract_of(question) else 1}"


def extract_of(question) -> str:
    return question.messages[0].content.split("The extract:\n")[1].split("\n\nAfter reading")[0]


def embed(question):
    return [1.0, 0.0] if "good" in question.texts[0] else [0.0, 1.0]


async def mend(rows=DOCUMENTS, script=corrector, judge=judging, place=embed, **options):
    small, large = Scripted(script, model="small"), Scripted(judge, model="large")
    done = await run(scilitllm, rows, corrector=small, judge=large, embedder=Scripted(place), **options)
    return done, small, large


@pytest.mark.proof("scilitllm", 2)
async def test_the_judge_sees_a_part_only_and_the_classifier_keeps_three_quarters_of_all():
    done, small, large = await mend(label_subset=8)
    assert (len(small.questions), len(large.questions)) == (20, 8)
    assert len(done.rows) == 15
    assert all(row.text.startswith("good") for row in done.rows)
    assert [reject.reason for reject in done.rejects] == ["low_quality"] * 5
    assert (
        sum(row.judged is not None for row in done.rows) + sum(r.candidate["judged"] is not None for r in done.rejects)
        == 8
    )
    unseen = [row for row in done.rows if row.judged is None]
    assert unseen
    assert all(row.quality > 3 for row in unseen)
    assert any(parent.startswith("regression:") for parent in done.rows[0].lineage.parents)
    again = await replay(
        done, model={"corrector": Scripted(model="small"), "judge": Scripted(model="large"), "embedder": Scripted()}
    )
    assert (again.rows, again.calls) == (done.rows, 0)


@pytest.mark.proof("scilitllm", 4)
async def test_a_chunk_whose_correction_fails_stays_as_it_is():
    def broken(question):
        if "number 3" in question.messages[0].content:
            raise Refused("no")
        return "" if "number 5" in question.messages[0].content else "good, mended"

    done, _, _ = await mend(DOCUMENTS[:8], broken, keep_share=1.0)
    assert [row.text for row in done.rows] == ["good, mended"] * 3 + ["good text number 3", "good, mended", "good text number 5"] + ["good, mended"] * 2  # fmt: skip
    assert [reject.reason for reject in done.rejects] == ["correction_failed"] * 2


@pytest.mark.parametrize(
    "lead", ["Here is the corrected text:\n\n", "Sure! Here's a clean version of the text:\n", "Here is the text in a readable version:\n\n"]
)  # fmt: skip
async def test_what_a_model_says_before_the_text_is_cut_off(lead):
    done, _, _ = await mend([{"text": "good"}], lambda _: f"{lead}Here is what we found: cells divide.", keep_share=1.0)
    assert done.rows[0].text == "Here is what we found: cells divide."


async def test_long_texts_are_corrected_in_chunks_and_put_together_again():
    text = " ".join(f"good{n}" for n in range(25))
    done, small, _ = await mend([{"text": text}], chunk_words=10, split_words=20, keep_share=1.0)
    assert [len(prompt.split("\n\n")[-1].split()) for prompt in small.prompts] == [10, 10, 5]
    assert [len(row.text.split()) for row in done.rows] == [20, 5]
    assert " ".join(row.text for row in done.rows) == text


async def test_chunks_are_joined_by_a_border_only_where_the_source_has_one():
    text = "good two three four five\nsix\n\nseven eight \n  \nnine"
    done, small, _ = await mend([{"text": text}], chunk_words=2, keep_share=1.0)
    assert [prompt.split("\n\n")[-1] for prompt in small.prompts] == ["good two", "three four", "five\nsix", "seven eight", "nine"]  # fmt: skip
    assert done.rows[0].text == "good two three four five\nsix\n\nseven eight\n\nnine"


async def test_what_is_too_long_for_the_judge_is_halved_and_asked_again():
    def narrow(question):
        if len(extract_of(question)) > 30:
            raise PromptTooLong("too long")
        return judging(question)

    done, _, large = await mend([{"text": "good " * 20}], judge=narrow, keep_share=1.0)
    assert (done.rows[0].judged, len(large.questions)) == (4, 3)


async def test_an_answer_without_a_score_teaches_nothing_and_none_at_all_is_said():
    done, _, _ = await mend(judge=lambda q: "Good." if "number 1" in q.messages[0].content else judging(q))
    assert dict(done.reject_counts)["no_score"] == 11
    with pytest.raises(BadInput, match="nothing to train the classifier on"):
        await mend(judge=lambda _: "Good.")


async def test_a_score_that_is_no_whole_number_is_none():
    done, _, _ = await mend(judge=lambda q: judging(q) + (".5" if "number 1" in q.messages[0].content else ""))
    assert dict(done.reject_counts)["no_score"] == 11
    assert {row.judged for row in done.rows} == {None, 4}


def refusing(script, words="number 3"):
    """Like the script, but not for what holds these words."""

    def say(question):
        if words in text_of(question):
            raise Refused("no")
        return script(question)

    return say


async def test_a_document_that_breaks_something_costs_no_other():
    def broken(question):
        if "number 3" in text_of(question):
            raise ValueError("broken")
        return corrector(question)

    done, _, _ = await mend(DOCUMENTS[:8], broken, keep_share=1.0, allow_failures=True)
    assert [row.text for row in done.rows] == [row["text"] for n, row in enumerate(DOCUMENTS[:8]) if n != 3]
    assert "broken" in done.failures[0].error


async def test_a_piece_whose_judgement_fails_is_not_taught_from_and_costs_no_other():
    done, _, large = await mend(DOCUMENTS[:8], judge=refusing(judging), keep_share=1.0, allow_failures=True)
    assert [row.judged for row in done.rows] == [1, 4, 4, None, 1, 4, 4, 4]
    assert done.rows[3].quality == pytest.approx(done.rows[2].quality) != 0
    assert ([failure.error for failure in done.failures], len(large.questions)) == (["no"], 8)


@pytest.mark.parametrize(
    ("lost", "asked"), [(3, [1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64]), (64, [1, 64])]
)  # in the midst of a batch of 64, and alone in the last one
async def test_a_piece_that_cannot_be_embedded_costs_no_other(lost, asked):
    rows = [{"text": f"{'good' if n % 4 else 'poor'} text number {n}."} for n in range(65)]
    small, large = Scripted(corrector), Scripted(judging)
    embedder = Scripted(refusing(embed, f"number {lost}."))
    options = {"corrector": small, "judge": large, "keep_share": 1.0, "allow_failures": True}
    done = await run(scilitllm, rows, embedder=embedder, **options)
    assert [row.text for row in done.rows] == [row["text"] for n, row in enumerate(rows) if n != lost]
    assert {row.text.split()[0]: round(row.quality) for row in done.rows} == {"good": 4, "poor": 1}
    assert [failure.error for failure in done.failures] == ["no"]
    assert sorted(len(q.texts) for q in embedder.questions) == asked
    assert not any(f"number {lost}." in prompt for prompt in large.prompts)


@pytest.mark.parametrize("broken", ["judge", "place"])
async def test_where_every_judgement_or_every_embedding_fails_there_is_no_row_and_the_failures_tell(broken):
    done, _, _ = await mend(DOCUMENTS[:4], **{broken: lambda _: Refused("no")}, allow_failures=True)
    assert (done.rows, [failure.error for failure in done.failures]) == ([], ["no"] * 4)


async def test_documents_without_words_and_none_at_all():
    done, small, _ = await mend([{"text": " \n"}])
    assert ([r.reason for r in done.rejects], small.questions) == (["empty"], [])


def test_pieces_end_between_paragraphs_where_they_can():
    assert paragraphs("a b\n\nc d\n\ne", 4) == ["a b\n\nc d", "e"]
    assert paragraphs("a b c d e", 2) == ["a b", "c d", "e"]
    assert paragraphs("", 5) == []
    assert cut("a  b\nc", 2) == ["a  b\n", "c"]


# -- SciLitIns

PAPERS = [
    {"domain": "zoology", "text": "whale " * 90 + "otter " * 9 + "newt Fe 12 in the"},
    {"domain": "zoology", "text": "whale"},
]
KIND = [{"name": "true or false", "rules": "Say true or false.", "examples": ["{EXAMPLE}"], "overgenerate": 1.5}]
CHEMISTRY = [{"name": "translation", "rules": "Name it.", "examples": ["{E}"], "molecules": True}]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def item(number: int) -> str:
    return json.dumps({"text": f"{LETTERS[number % 26] * 40} {number}?", "answer": LETTERS[-number % 26] * 9})


def writer():
    count = iter(range(999))
    return lambda _: item(next(count))


def totals(total=20):
    return lambda _: "Fine. " + json.dumps({**dict.fromkeys(ASPECTS, 4), "total": total})


async def invent(script=None, judge=None, rows=PAPERS, kinds=KIND, **options):
    generator, large = Scripted(script or writer()), Scripted(judge or totals())
    options = {"per_task": 4, "k_keywords": 20} | options
    done = await run(scilitllm_instructions, rows, generator=generator, judge=large, kinds=kinds, **options)
    return done, generator, large


@pytest.mark.proof("scilitllm", 1)
async def test_every_prompt_holds_twenty_keywords_the_task_and_its_examples_and_more_are_asked_than_wanted():
    done, generator, _ = await invent()
    assert len(generator.questions) == 6
    for question in generator.questions:
        system, user = (message.content for message in question.messages)
        given = re.search(r"Keywords: (.*)\. Use all", user)[1].split(", ")
        assert len(given) == 20
        assert set(given) <= {"whale", "otter", "newt", "fe"}
        assert "Say true or false." in system
        assert "{EXAMPLE}" in system
        assert "zoology" in user
    assert [row.task for row in done.rows] == ["true or false"] * 6
    assert all(len(row.keywords) == 20 for row in done.rows)


@pytest.mark.proof("scilitllm", 1)
def test_a_temperature_of_three_draws_rare_keywords_more_often_than_one():
    table = Counter(keywords(PAPERS[0]["text"]))
    assert table == Counter({"whale": 90, "otter": 9, "newt": 1, "fe": 1})
    names, plain = flattened(table, 1.0)
    _, flat = flattened(table, 3.0)
    assert keywords("It doesn’t, couldn't, isn't: the whale's fin") == ["whale", "fin"]
    share = [weights[names.index("newt")] / sum(weights) for weights in (plain, flat)]
    assert share == pytest.approx([1 / 101, 1 / (90 ** (1 / 3) + 9 ** (1 / 3) + 2)])


async def test_rare_keywords_stand_in_more_prompts_with_three_than_with_one():
    async def rare(temperature):
        _, generator, _ = await invent(keyword_temperature=temperature, per_task=20)
        return sum(prompt.count("newt") for prompt in generator.prompts)

    assert await rare(3.0) > 3 * max(1, await rare(1.0))


@pytest.mark.proof("scilitllm", 3)
async def test_of_two_items_that_are_alike_one_goes():
    texts = [*(item(n) for n in range(19)), json.dumps({"text": "a" * 39 + "b 0?", "answer": LETTERS[0] * 9})]
    script = iter(texts)
    done, _, large = await invent(lambda _: next(script), per_task=13, dup_ratio=0.05)
    assert dict(done.reject_counts) == {"near_duplicate": 1}
    [reject] = done.rejects
    assert reject.candidate["text"].startswith("a" * 39 + "b")
    assert len(large.questions) == 19


@pytest.mark.parametrize(("options", "gone"), [({"per_task": 10}, 1), ({"per_task": 20}, 2), ({"per_task": 6}, 0), ({"dup_ratio": 0}, 0)])  # fmt: skip
async def test_two_times_five_percent_of_directed_pairs_are_edges_and_half_a_pair_is_one(options, gone):
    twins = iter([item(n // 2) for n in range(99)])
    done, _, _ = await invent(lambda _: next(twins), **({"per_task": 10} | options))
    assert dict(done.reject_counts) == ({"near_duplicate": gone} if gone else {})


async def test_alike_texts_with_different_answers_are_no_duplicates():
    texts = [json.dumps({"text": "the same question?", "answer": letter * 9}) for letter in LETTERS[:18]]
    texts += [json.dumps({"text": f"the same question{n}", "answer": "zzzzzzzz" + "yx"[n]}) for n in range(2)]
    script = iter(texts)
    done, _, _ = await invent(lambda _: next(script), per_task=13)
    assert done.rejects[0].candidate["answer"] == "zzzzzzzzx"


@pytest.mark.proof("scilitllm", 3)
@pytest.mark.parametrize(("total", "kept"), [(19, 0), (20, 6)])
async def test_a_total_of_nineteen_is_dropped_and_of_twenty_kept(total, kept):
    done, _, _ = await invent(judge=totals(total))
    assert len(done.rows) == kept
    assert all(reject.reason == "low_total" for reject in done.rejects)
    assert all(r.details == {"total": 19, "ratings": dict.fromkeys(ASPECTS, 4)} for r in done.rejects)
    assert len(done.rejects) == 6 - kept


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("no", "unparsable"), ('{"text": "a"}', "unparsable"), ('{"text": 1, "answer": "b"}', "unparsable"), ('{"text": " ", "answer": "b"}', "empty"), ('{"x": ' + "[" * 9999 + "}", "unparsable")],
)  # fmt: skip
async def test_a_reply_that_is_not_the_object_is_rejected(reply, reason):
    done, _, large = await invent(lambda _: reply)
    assert ({r.reason for r in done.rejects}, large.questions) == ({reason}, [])


@pytest.mark.parametrize("said", ["20", '{"total": 25}', '{"clarity": 9, "complexity": 4, "correctness": 4, "usefulness": 4, "adaptability": 4, "total": 25}'])  # fmt: skip
async def test_a_judgement_that_cannot_be_read_keeps_nothing(said):
    done, _, _ = await invent(judge=lambda _: said)
    assert {reject.reason for reject in done.rejects} == {"no_rating"}


async def test_a_molecule_stands_in_the_place_of_keywords_for_tasks_with_molecules():
    done, generator, _ = await invent(kinds=CHEMISTRY)
    given = [re.search(r"SMILES\): (\S+)", prompt)[1] for prompt in generator.prompts]
    assert set(given) <= set(molecules())
    assert not any("Keywords" in prompt for prompt in generator.prompts)
    assert [row.lineage.draws["molecule"] for row in done.rows] == given


async def test_an_item_whose_call_fails_costs_no_other():
    count = iter(range(99))

    def some(_):
        if (number := next(count)) == 2:
            raise Refused("no")
        return item(number)

    done, generator, large = await invent(some, refusing(totals(), " 4?"), allow_failures=True)
    assert sorted(row.text[-2:] for row in done.rows) == ["0?", "1?", "3?", "5?"]
    assert ([failure.error for failure in done.failures], len(generator.questions)) == (["no", "no"], 6)
    assert len(large.questions) == 5
    none, _, large = await invent(lambda _: Refused("no"), allow_failures=True)
    assert (none.rows, none.failed, large.questions) == ([], 6, [])


async def test_a_field_without_words_asks_nothing_and_the_kinds_that_ship_are_the_papers():
    done, generator, _ = await invent(rows=[{"domain": "void", "text": "12 the 34"}])
    assert ([r.reason for r in done.rejects], generator.questions) == (["no_keywords"], [])
    mixed, generator, _ = await invent(rows=[{"domain": "void", "text": "12 the 34"}], kinds=KIND + CHEMISTRY)
    assert [r.reason for r in mixed.rejects] == ["no_keywords"]
    assert len(mixed.rows) == 6
    assert all("Molecule" in prompt for prompt in generator.prompts)
    alone, _, _ = await invent(rows=[{"domain": "void", "text": "12 the 34"}], kinds=CHEMISTRY)
    assert (len(alone.rows), alone.rejects) == (6, [])
    kinds = {kind.name: kind for kind in recipes.shipped("scilit_tasks.jsonl", Kind)}
    assert len(kinds) == 6
    assert (kinds["table extraction"].overgenerate, kinds["multiple choice"].overgenerate) == (3.0, 1.5)
    assert [kind.molecules for kind in kinds.values()].count(True) == 2
