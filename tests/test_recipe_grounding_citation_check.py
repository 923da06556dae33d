"""Grounding: what needs no model, what a judge must quote, what citations are worth, what is out of date."""

import json
import re
from math import exp

import pytest

import gristmill
from gristmill import BadInput
from gristmill.recipes.quality.grounding_citation_check import (
    citations,
    day,
    facts,
    grounding_citation_check,
    is_claim,
    located,
    names,
    not_in,
    pieces,
)
from gristmill.testing import Scripted, folder, replay, run

RIVER = {"id": "1", "text": "The Elbe is 1,094 kilometres long and rises in the Giant Mountains.", "date": "2020-05-01"}
PORT = {"id": "2", "text": "Hamburg, on the Elbe, has the largest port of Germany.", "date": "2021"}
SEA = {"id": "3", "text": "The Elbe ends in the North Sea near Cuxhaven.", "date": ""}
PASSAGES = [RIVER, PORT, SEA]
QUESTION = "Tell me of the Elbe."
ANSWER = "The Elbe is 1094 kilometres long. Its largest port is Hamburg. It ends in the North Sea."


def row(output=ANSWER, passages=PASSAGES, **more):
    return {"instruction": QUESTION, "output": output, "passages": passages, **more}


def shown(question):
    """Passages by id, and the claim that a judge gets to see."""
    prompt = question.messages[0].content
    found = dict(re.findall(r"\[Passage (.+?)\]\n(.*?)(?=\n\n\[Passage|\n\nClaim:)", prompt, re.DOTALL))
    return found, prompt.rpartition("Claim: ")[2]


def verdict(support, passage="", quote=""):
    return json.dumps({"support": support, "evidence": [{"passage": passage, "quote": quote}] if quote else []})


EVIDENCE = {
    "long": ("1", "1,094 kilometres long"),
    "port": ("2", "largest port of Germany"),
    "North": ("3", "ends in the North Sea"),
}


def judge(**said):
    """Supports a claim by the passage that EVIDENCE names for a word of it, if it is shown; or says what is given."""

    def say(question):
        passages, claim = shown(question)
        for word, reply in said.items():
            if word in claim:
                return reply(passages) if callable(reply) else reply
        for word, (passage, quote) in EVIDENCE.items():
            if word in claim and passage in passages:
                return verdict("supported", passage, quote)
        return verdict("not_found")

    return Scripted(say, model="judge")


async def made(*seeds, judges=None, **options):
    roles = {"judge": judges} if judges else {}
    return await run(grounding_citation_check, list(seeds) or [row()], **roles, **options)


def reasons(done):
    return [(reject.reason, reject.details) for reject in done.rejects]


def missing(answer, context=(QUESTION, *(p["text"] for p in PASSAGES)), ids=("1", "2", "3")):
    return [(one.kind, one.text) for one in not_in(answer, context, ids)]


# -- without a model


async def test_an_answer_with_one_number_changed_fails_without_a_model():
    done = await made(row(), row(ANSWER.replace("1094", "1049")))
    assert [made.output for made in done.rows] == [ANSWER]
    assert reasons(done) == [("not_in_context", {"missing": ["number: 1049"]})]
    assert done.calls == 0
    [good] = done.rows
    assert (good.claims, good.precision, good.citation_precision, good.citation_recall) == ([], None, None, None)


async def test_what_fails_without_a_model_is_not_judged():
    model = judge()
    await made(row(ANSWER.replace("1094", "1049")), judges=model)
    assert not model.questions
    await made(row(ANSWER.replace("1094", "1049")), judges=model, keep_flagged=True)
    assert model.questions


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("The Elbe flows through Hamburg.", []),
        ("The Elbe flows through Dresden.", [("name", "Dresden")]),
        ("Dresden lies on the Elbe.", []),  # the first word of a sentence may be any
        ("The port of Hamburg's is the largest.", []),
        ("It is 1,094.0 km long.", []),
        ("It is 1,094.5 km long.", [("number", "1,094.5")]),
        ("1. It is long.\n2. It ends in the North Sea.", []),
        ("It was called “the largest port of Germany”.", []),
        ("It was called “the largest port of all”.", [("quotation", "“the largest port of all”")]),
        ("It ends in the North Sea [3].", []),
        ("It ends in the North Sea [7].", [("citation", "7")]),
        ("# Of The Great Rhine\n\nIt is long.", []),
        (
            "It was called “the largest port of Germany" + ", the largest port of Germany" * 20 + "”.",
            [("quotation", "“the largest port of Germany" + ", the largest port of Germany" * 20 + "”")],
        ),
        ("Elle a vu élan et ähnliche мосты 在 河边.", []),  # no capitals
        ("Elle a vu Ärger в Москве.", [("name", "Ärger"), ("name", "Москве")]),
        ("It has " + "1" * 5000 + " banks.", [("number", "1" * 5000)]),
        ("It has ٣ banks.", [("number", "٣")]),
    ],
)
def test_numbers_names_quotations_and_citations_must_be_in_the_context(answer, found):
    assert missing(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It was signed on 4 March 2021.", []),
        ("It was signed on March 4th, 2021.", []),
        ("It was signed on 2021-03-04.", []),
        ("It was signed in March 2021.", []),
        ("It was signed on 5 March 2021.", [("date", "5 March 2021")]),
        ("It was signed in April 2021.", [("date", "April 2021")]),
        ("It breaks Article 5(2).", []),
        ("It breaks Art. 6.", [("article", "Art. 6")]),
        ("See 10.1000/xyz123.", []),
        ("See 10.1000/xyz124.", [("doi", "10.1000/xyz124.")]),
        ("See 10.1000/xyz12.", [("doi", "10.1000/xyz12.")]),  # the beginning of one
        ("Twelve states and 3 cities took part.", []),
        ("It took 20% of them.", []),
        ("It took 25% of them.", [("number", "25")]),
        ("It took 80% of them.", [("number", "80")]),  # the rest of 20%, and not what was said
    ],
)
def test_dates_articles_and_dois_must_be_in_the_context_however_they_are_written(answer, found):
    context = [
        "The treaty of 2021-03-04 (https://doi.org/10.1000/xyz123), article 5(2), by 12 states and three cities, 20%."
    ]
    assert missing(answer, context) == found


@pytest.mark.parametrize(
    ("answer", "context", "strange"),
    [
        ("3 million live there.", "3,000,000 live there.", []),
        ("3,000,000 live there.", "Three million live there.", []),
        ("3 million live there.", "3 billion live there.", ["3 million"]),
        ("3 live there.", "3 million live there.", ["3"]),
        ("24 live there.", "2 dozen live there.", []),
        ("25 live there.", "Twenty-five live there.", []),
        ("20 live there.", "Twenty-five live there.", ["20"]),
        ("4 live there.", "They live in the square.", ["4"]),
    ],
)
def test_a_number_is_worth_what_stands_behind_it(answer, context, strange):
    assert missing(answer, [context]) == [("number", written) for written in strange]


def test_a_context_without_spaces_takes_no_longer_than_one_with_them():
    assert missing("It has 7 banks.", ["长江" * 100_000]) == [("number", "7")]


def test_names_are_words_with_a_capital_that_nothing_else_explains():
    assert names("Anna met Bo Lee. I saw: Carl. In May, on Monday") == ["Bo", "Lee", "Monday"]


async def test_the_question_and_the_dates_of_passages_are_context_too():
    done = await made(row("The answer to question 99 was right in 2021.", instruction="Question 99?"))
    assert len(done.rows) == 1


# -- claims


async def test_with_four_of_five_claims_supported_precision_is_0_8_times_the_penalty_if_asked_for():
    answer = f"{ANSWER} It is a long river. Its banks are green."
    model = judge(river=verdict("supported", "1", "is 1,094 kilometres long"))
    [found] = (await made(row(answer), judges=model)).rows
    assert [claim.support for claim in found.claims] == ["supported"] * 4 + ["not_found"]
    assert found.precision == 0.8
    [found] = (await made(row(answer), judges=model, length_penalty=True, min_precision=0.1)).rows
    assert found.precision == pytest.approx(0.8 * exp(1 - 10 / 5))
    for gamma in (2, 4, 5):
        [found] = (await made(row(answer), judges=model, length_penalty=True, gamma=gamma)).rows
        assert found.precision == 0.8
    defaults = {name: parameter.default for name, parameter in grounding_citation_check.parameters.items()}
    assert (defaults["gamma"], defaults["top_passages"], defaults["min_precision"]) == (10, 3, 0.8)
    assert {question.sampling["temperature"] for question in model.questions} == {0.0}
    done = await made(row(answer), judges=model, min_precision=0.81)
    assert reasons(done) == [("low_precision", {"precision": 0.8})]


async def test_supported_with_a_quote_that_is_not_in_the_passage_is_not_found():
    for reply in (
        verdict("supported", "1", "1,094 miles long"),
        verdict("supported", "2", "1,094 kilometres long"),  # of another passage
        verdict("supported", "9", "1,094 kilometres long"),
        verdict("supported"),
        verdict("supported", "1", " "),
        json.dumps({"support": "supported", "evidence": [{"passage": "1", "quote": "1,094"}, {"passage": "1", "quote": "no"}]}),
    ):  # fmt: skip
        [found] = (await made(judges=judge(long=reply), keep_flagged=True)).rows
        assert [claim.support for claim in found.claims] == ["not_found", "supported", "supported"]
        assert found.precision == pytest.approx(2 / 3)
        assert (found.claims[0].passage_id, found.claims[0].span) == ("", [])


async def test_a_supported_claim_names_its_passage_and_the_place_of_the_words():
    [found] = (await made(judges=judge())).rows
    claim = found.claims[0]
    start, end = claim.span
    assert (claim.text, claim.passage_id) == ("The Elbe is 1094 kilometres long.", "1")
    assert RIVER["text"][start:end] == "1,094 kilometres long"
    assert located("a  b", "x a\nb") == (2, 5)
    assert located("A b", "x a b") is None


async def test_one_contradicted_claim_is_enough_and_needs_a_quote_too():
    reply = verdict("contradicted", "1", "1,094 kilometres")
    done = await made(judges=judge(long=reply), min_precision=0.0)
    assert reasons(done) == [("contradicted", {"claims": ["The Elbe is 1094 kilometres long."]})]
    done = await made(judges=judge(long=verdict("contradicted", "1", "of another length")), min_precision=0.0)
    assert done.rows[0].claims[0].support == "not_found"


async def test_a_verdict_that_cannot_be_read_is_undecided_and_supports_nothing():
    done = await made(judges=judge(long="Yes, surely."))
    assert done.rows == []
    assert [reason for reason, _ in reasons(done)] == ["unread_verdict", "low_precision"]
    assert done.rejects[1].candidate["claims"][0]["support"] == "undecided"


async def test_greetings_questions_and_leads_are_no_claims():
    answer = f"Sure, here you go:\n\nHello! {ANSWER} Do you want more? Let me know if you do."
    [found] = (await made(row(answer), judges=judge())).rows
    assert len(found.claims) == 3
    assert not is_claim("Great question!")
    for talk in ("Thanks for asking.", "Sure, I can help you with that.", "Certainly!", "## Of the Elbe"):
        assert not is_claim(talk)
    for claim in ("Of course, the Elbe is 900 km long.", "Thanks to the dam it is 900 km long.", "Sure, it is long."):
        assert is_claim(claim)
    assert is_claim("Sugar is sweet.")
    done = await made(row("Hello! What do you mean?"), judges=judge())
    assert reasons(done) == [("no_claims", {})]


async def test_an_answer_can_be_taken_apart_into_facts():
    def say(question):
        prompt = question.messages[0].content
        if "single facts" in prompt:
            assert "[1]" not in prompt
            return "- The Elbe is long.\n- Hamburg has a port.\n\nThat is all."
        return judge()._script(question)

    seed = row("It is 1094 kilometres long, with Hamburg's port [1].")
    [found] = (await made(seed, judges=Scripted(say, model="judge"), split="atomic")).rows
    assert [claim.text for claim in found.claims] == ["The Elbe is long.", "Hamburg has a port."]
    done = await made(judges=Scripted(lambda q: "I will not.", model="judge"), split="atomic")
    assert reasons(done) == [("unread_claims", {})]
    assert facts("- a\n* b\nc\n-") == ["a", "b"]


# -- passages


async def test_a_claim_is_judged_by_the_passages_that_fit_it_best():
    many = [{"id": f"x{n}", "text": f"Nothing of it, {n} times."} for n in range(20)]
    model = judge()
    await made(row("It ends in the North Sea.", [*many, *PASSAGES]), judges=model, top_passages=2)
    [question] = model.questions
    passages, claim = shown(question)
    assert claim == "It ends in the North Sea."
    assert len(passages) == 2
    assert "3" in passages


async def test_an_embedder_ranks_together_with_the_words():
    many = [{"id": f"x{n}", "text": f"Water {n}."} for n in range(9)]
    embedder = Scripted(
        lambda q: [1.0, 0.0] if q.texts[0] in ("It flows.", "Water 7.") else [0.0, 1.0], model="embedder"
    )
    model = judge()
    await made(row("It flows.", many), judges=model, embedder=embedder, top_passages=1, keep_flagged=True)
    assert list(shown(model.questions[0])[0]) == ["x7"]


async def test_rows_without_passages_are_held_against_what_is_found_in_a_corpus():
    corpus = [{"text": p["text"], "source": p["id"], "date": p["date"]} for p in PASSAGES] + [{"text": "Nothing else."}]
    [found] = (await made(row(passages=[]), judges=judge(), corpus=corpus)).rows
    assert [claim.passage_id for claim in found.claims] == ["1", "2", "3"]
    assert {passage.id: passage.date for passage in found.passages}["1"] == "2020-05-01"
    [found] = (await made(row("Nothing else.", []), corpus=corpus)).rows
    assert "4" in [passage.id for passage in found.passages]
    done = await made(row(passages=[]), judges=judge())
    assert reasons(done) == [("no_passages", {})]


async def test_of_two_passages_with_one_id_a_row_cannot_be_checked():
    done = await made(row(passages=[RIVER, PORT, dict(SEA, id="1")]), judges=judge())
    assert (reasons(done), done.calls) == ([("repeated_id", {"id": "1"})], 0)


# -- citations


async def test_citations_outside_the_context_are_not_precise():
    answer = "It is 1094 kilometres long [1]. It ends in the North Sea [9]."
    [found] = (await made(row(answer), judges=judge(), keep_flagged=True)).rows
    assert (found.citation_precision, found.citation_recall) == (0.5, 0.5)
    assert [(one.kind, one.text) for one in found.missing] == [("citation", "9")]
    assert reasons(await made(row(answer), judges=judge())) == [("not_in_context", {"missing": ["citation: 9"]})]


async def test_recall_is_of_sentences_by_their_own_citations_only():
    answer = "It is 1094 kilometres long [1]. Its largest port is Hamburg [1]. It ends in the North Sea."
    [found] = (await made(row(answer), judges=judge())).rows
    assert found.citation_recall == pytest.approx(1 / 3)
    assert found.citation_precision == 0.5
    assert found.precision == 1.0  # the passages do support it


async def test_a_citation_is_precise_if_it_supports_alone_or_is_needed():
    # [1] supports alone, [2] adds nothing.
    [found] = (await made(row("It is 1094 kilometres long [1][2]."), judges=judge())).rows
    assert (found.citation_recall, found.citation_precision) == (1.0, 0.5)
    # Neither supports alone, both are needed; [3] is not.
    both = judge(
        long=lambda seen: verdict("supported", "1", "1,094") if {"1", "2"} <= seen.keys() else verdict("not_found")
    )
    [found] = (await made(row("It is 1094 kilometres long [1, 2; 3]."), judges=both)).rows
    assert (found.citation_recall, found.citation_precision) == (1.0, pytest.approx(2 / 3))


async def test_without_citations_there_is_nothing_to_say_of_them():
    [found] = (await made(judges=judge())).rows
    assert (found.citation_precision, found.citation_recall) == (None, None)


def test_citations_are_ids_and_what_looks_like_them():
    assert citations("a [1] b [2, 3] c [sic] d [doc-9] e [12]", ["1", "doc-2"]) == ["1", "2", "3", "doc-9", "12"]
    assert citations("a [intro] b [outro]", ["intro"]) == ["intro"]
    assert pieces("It rained. [1][2] It snowed [3].") == ["It rained [1][2].", "It snowed [3]."]


# -- age


async def test_a_claim_is_stale_whose_passage_is_too_old():
    options = {"judges": judge(), "as_of": "2021-06-01"}
    [found] = (await made(**options, max_age_days=400, keep_flagged=True)).rows
    assert [claim.stale for claim in found.claims] == [False, False, False]
    [found] = (await made(**options, max_age_days=300, keep_flagged=True)).rows
    assert [claim.stale for claim in found.claims] == [True, False, False]  # the second is of 2021, the third undated
    assert found.stale
    for age, stale in ((396, False), (395, True)):  # from 2020-05-01 to 2021-06-01
        [found] = (await made(**options, max_age_days=age, keep_flagged=True)).rows
        assert found.stale is stale
    done = await made(**options, max_age_days=300)
    assert reasons(done) == [("stale", {"claims": ["The Elbe is 1094 kilometres long."]})]


async def test_a_claim_is_stale_that_a_newer_passage_contradicts():
    newer = {"id": "4", "text": "Measured again, the Elbe is 1,100 kilometres long.", "date": "2022"}

    def long(seen):
        if "1" in seen:
            return verdict("supported", "1", "1,094 kilometres long")
        return verdict("contradicted", "4", "1,100 kilometres long")

    model = judge(long=long)
    done = await made(row(passages=[*PASSAGES, newer]), judges=model, top_passages=4)
    assert reasons(done) == [("stale", {"claims": ["The Elbe is 1094 kilometres long."]})]
    again = [set(shown(question)[0]) for question in model.questions if "long" in shown(question)[1]]
    assert again == [{"1", "2", "3", "4"}, {"2", "4"}]  # only newer ones, the second time
    older = dict(newer, date="2019")
    assert (await made(row(passages=[*PASSAGES, older]), judges=judge(long=long), top_passages=4)).rows


async def test_ages_need_a_day_to_count_from():
    with pytest.raises(BadInput, match="as-of"):
        await made(max_age_days=5)
    with pytest.raises(BadInput, match="no date"):
        await made(as_of="soon")
    assert [str(day(text)) for text in ("2024", "2024-02", "2024-12", "2024-02-03", "March 4, 2021", "x", "2024-02-31")] == [
        "2024-12-31", "2024-02-29", "2024-12-31", "2024-02-03", "2021-03-04", "None", "None",
    ]  # fmt: skip


# -- rows


async def test_a_checked_row_keeps_what_it_was_and_can_be_exported():
    [found] = (await made(judges=judge())).rows
    assert (found.instruction, found.output) == (QUESTION, ANSWER)
    assert [passage.id for passage in found.passages] == ["1", "2", "3"]
    assert isinstance(found, gristmill.Instruction)
    assert (found.missing, found.stale) == ([], False)


async def test_a_replay_asks_nothing():
    corpus = [{"text": p["text"], "source": p["id"]} for p in PASSAGES]
    done = await made(row(passages=[]), row(), judges=judge(port="?"), corpus=corpus, keep_flagged=True)
    again = await replay(done, model={"judge": Scripted(model="judge"), "retriever": "retrieve:bm25"})
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)


async def test_it_stands_in_a_chain_behind_a_filter_that_leaves_nothing():
    done = await gristmill.arun(
        gristmill.Chain([grounding_citation_check, gristmill.Step(grounding_citation_check)]),
        seeds=[row(""), row("Hello!")],
        out=folder() / "run",
    )
    assert done.rows == []
    assert list(done.reject_counts.values()) == [2]
