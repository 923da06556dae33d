"""TinyStories: three words drawn by part of speech and some features make a prompt; a story without them is dropped."""

import re
from collections import Counter

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.tinystories import FEATURES, forms, holds, shipped, tinystories
from gristmill.testing import Scripted, replay, run, text_of

WORDS = {
    "verbs": ["jump", "eat", "sing", "hide", "swim"],
    "nouns": ["dog", "cake", "box", "leaf", "moon"],
    "adjectives": ["big", "happy", "red", "nice", "old"],
}
KINDS = ("verb", "noun", "adjective")


def words_in(question):
    """The words that a prompt asks for, by their part of speech."""
    found = re.findall(r'(verb|noun|adjective) "([^"]+)"', text_of(question))
    assert sorted(kind for kind, _ in found) == sorted(KINDS)
    return dict(found)


def features_in(question):
    return {name for name, prompt in FEATURES.items() if prompt.text in text_of(question)}


def sums_up(question):
    return text_of(question).startswith("Sum up")


def story_of(question, leave_out=()):
    """A story of three sentences around the words of the prompt."""
    said = " ".join(word for kind, word in words_in(question).items() if kind not in leave_out)
    return f'Once there was Tom. "I see: {said}," he said, number {len(text_of(question))}.\n\nAnd all was well!'


def teller(change=lambda story, question: story, summary="Tom saw something."):
    return Scripted(lambda q: summary if sums_up(q) else change(story_of(q), q))


def told(model):
    return [question for question in model.questions if not sums_up(question)]


def drawn(row):
    return {"verb": row.words.verb, "noun": row.words.noun, "adjective": row.words.adjective}


def instructed(done):
    return list(done.iterate("tiny_story_instruct"))


# -- the prompt


@pytest.mark.proof("tinystories", 1)
async def test_a_prompt_holds_a_word_of_each_part_of_speech_from_the_vocabulary_and_the_triples_differ():
    model = teller()
    await run(tinystories, generator=model, units=60, **WORDS)
    triples = [words_in(question) for question in model.questions]
    for triple in triples:
        assert all(triple[kind] in WORDS[f"{kind}s"] for kind in KINDS)
    assert len({tuple(triple[kind] for kind in KINDS) for triple in triples}) > 30
    for kind in KINDS:
        assert {triple[kind] for triple in triples} == set(WORDS[f"{kind}s"])


async def test_words_come_from_the_shipped_vocabulary_unless_others_are_given():
    model = teller()
    await run(tinystories, generator=model, units=30)
    assert 1400 < sum(map(len, shipped().values())) < 1600
    for question in model.questions:
        assert all(words_in(question)[kind] in shipped()[f"{kind}s"] for kind in KINDS)
    for bad in ([], ["!"]):
        with pytest.raises(BadInput, match="nouns"):
            await run(tinystories, generator=model, units=1, nouns=bad)


async def test_the_prompt_asks_for_short_paragraphs_in_a_small_childs_words_and_for_the_story_alone():
    model = teller()
    await run(tinystories, generator=model, units=1, paragraphs="2 or 3", target_age="4 to 5", temperature=0.2)
    [question] = model.questions
    assert "2 or 3 paragraphs" in text_of(question)
    assert "very simple words" in text_of(question)
    assert "4 to 5 years" in text_of(question)
    assert "only" in text_of(question)
    assert question.sampling == {"temperature": 0.2, "max_tokens": 512}
    await run(tinystories, generator=model, units=1)
    assert "3 to 5 paragraphs" in model.prompts[1]
    assert "3 to 4 years" in model.prompts[1]


async def test_a_story_has_none_to_three_features_and_all_six_occur():
    model = teller()
    await run(tinystories, generator=model, units=120)
    counts = Counter(len(features_in(question)) for question in model.questions)
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 12  # of 30, with a deviation of 4.7
    assert set().union(*map(features_in, model.questions)) == set(FEATURES)
    assert len(FEATURES) == 6


async def test_the_number_of_features_can_be_chosen():
    model = teller()
    await run(tinystories, generator=model, units=20, max_features=0)
    assert not any(features_in(question) for question in model.questions)
    with pytest.raises(BadInput, match="max_features"):
        await run(tinystories, generator=model, units=1, max_features=7)


@pytest.mark.proof("tinystories", 3)
async def test_a_row_records_the_words_and_features_of_the_prompt_that_made_it():
    model = teller()
    done = await run(tinystories, generator=model, units=40, concurrency=1)
    asked = [(words_in(question), features_in(question)) for question in model.questions]
    assert [(drawn(row), set(row.features)) for row in done.rows] == asked
    assert [(row.lineage.draws["verb"], set(row.lineage.draws["features"])) for row in done.rows] == [
        (words["verb"], features) for words, features in asked
    ]
    assert [row.text for row in done.rows] == [story_of(question) for question in model.questions]


# -- what is dropped


@pytest.mark.proof("tinystories", 2)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_story_that_leaves_out_one_of_its_words_is_not_returned(kind):
    model = teller(lambda story, question: story_of(question, leave_out=[kind]))
    done = await run(tinystories, generator=model, units=5, **WORDS)
    assert not done.rows
    assert {r.reason for r in done.rejects} == {"missing_words"}
    assert [r.details["missing"] for r in done.rejects] == [[words_in(q)[kind]] for q in model.questions]


async def test_each_word_counts_in_the_forms_of_its_own_part_of_speech():
    one = {"verbs": ["jump"], "nouns": ["Fish"], "adjectives": ["slow"]}
    for said, missing in (("He was fishing, jumped and slower.", ["Fish"]), ("A fish jumps, and it slowed.", ["slow"])):
        done = await run(tinystories, generator=teller(lambda *_, said=said: said), units=1, **one)
        assert [r.details["missing"] for r in done.rejects] == [missing]
    done = await run(tinystories, generator=teller(lambda *_: "FISHES JUMPED SLOWER"), units=1, **one)
    assert len(done.rows) == 1


@pytest.mark.parametrize(
    ("word", "kind", "inflected", "others"),
    [
        ("jump", "verb", "jumps jumped jumping JUMP", "jumper jumpy"),
        ("hope", "verb", "hopes hoped hoping", "hops hopped hopping"),
        ("hop", "verb", "hops hopped hopping", "hopes hoped hoping"),
        ("carry", "verb", "carries carried carrying", "car"),
        ("lie", "verb", "lies lied lying lay", "liar"),
        ("eat", "verb", "ate eaten eats", "heat great"),
        ("go", "verb", "goes went gone going", "gong"),
        ("visit", "verb", "visited visiting", "visitor"),
        ("box", "noun", "boxes", "boxed boxing"),
        ("leaf", "noun", "leaves leaf's", "leafy"),
        ("knife", "noun", "knives", "knit"),
        ("baby", "noun", "babies", "babe"),
        ("mouse", "noun", "mice", "mouses2 moose"),
        ("snowman", "noun", "snowmen", "snow man"),
        ("cat", "noun", "cats cat's Cat.", "catch concatenate"),
        ("big", "adjective", "bigger biggest", "bigs biged"),
        ("happy", "adjective", "happier happiest", "happily unhappy"),
        ("nice", "adjective", "nicer nicest", "nicely niece"),
        ("good", "adjective", "better best", "goods"),
    ],
)
def test_inflected_forms_count_and_other_words_do_not(word, kind, inflected, others):
    for text in inflected.split():
        assert holds(f'He said: "{text}!"', word, kind), text
    for text in others.split():
        assert not holds(f"He said {text}.", word, kind), text
    assert not holds("", word, kind)


def test_a_word_of_two_parts_is_found_as_a_whole():
    assert holds("They ate ice creams.", "ice cream", "noun")
    assert not holds("The ice was near the cream.", "ice cream", "noun")
    assert "ice creams" in forms("ice cream", "noun")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("", "empty"), ("Sure! Here is a short story:", "empty"), (lambda story: Reply(story, finish="length"), "truncated")],
)  # fmt: skip
async def test_empty_and_truncated_stories_are_dropped(reply, reason):
    model = teller(lambda story, question: reply(story) if callable(reply) else reply)
    done = await run(tinystories, generator=model, units=2)
    assert not done.rows
    assert [(r.reason, r.details["of"]) for r in done.rejects] == [(reason, "story")] * 2


async def test_what_the_model_says_around_a_story_is_taken_off():
    model = teller(lambda story, question: f"Sure! Here is a story:\n\n{story}")
    done = await run(tinystories, generator=model, units=1)
    assert done.rows[0].text == story_of(model.questions[0])


async def test_exact_duplicates_are_dropped_with_their_instructed_form():
    one = {"verbs": ["sing"], "nouns": ["dog"], "adjectives": ["old"]}
    model = teller(lambda story, question: "The old dog sings.")
    done = await run(tinystories, generator=model, units=6, instruct=True, **one)
    assert len(done.rows) == len(instructed(done)) == 1
    assert [r.reason for r in done.rejects] == ["duplicate"] * 10


# -- the instruct variant


async def test_without_the_switch_there_is_one_call_a_story_and_no_header():
    model = teller()
    done = await run(tinystories, generator=model, units=5)
    assert not instructed(done)
    assert len(model.questions) == 5


def header_of(row):
    lines = row.text[: -len(f"\nStory:\n{row.story}")].split("\n")
    return {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}


@pytest.mark.proof("tinystories", 4)
async def test_a_header_is_a_random_subset_of_the_four_kinds_followed_by_the_story():
    done = await run(tinystories, generator=teller(), units=120, instruct=True)
    rows = instructed(done)
    assert [row.story for row in rows] == [row.text for row in done.rows]
    assert all(row.text.endswith(f"\nStory:\n{row.story}") for row in rows)
    headers = [header_of(row) for row in rows]
    assert set().union(*headers) == {"words", "sentence", "features", "summary"}
    assert {len(header) for header in headers} == {1, 2, 3, 4}
    assert len({frozenset(header) for header in headers}) == 15  # every subset but the empty one
    assert len({tuple(header) for header in headers if len(header) == 2}) > 8  # in any order


@pytest.mark.proof("tinystories", 4)
async def test_a_header_says_what_the_story_was_made_of_and_its_sentence_stands_in_the_story_exactly():
    done = await run(tinystories, generator=teller(summary="Tom  saw\nsomething."), units=80, instruct=True)
    for story, row in zip(done.rows, instructed(done), strict=True):
        header = header_of(row)
        words = [drawn(story)[kind] for kind in KINDS]
        assert (row.words, header.get("words", "")) == ((words, ", ".join(words)) if "words" in header else ([], ""))
        assert (row.features, header.get("features", "")) == (
            (story.features, ", ".join(name.replace("_", " ") for name in story.features))
            if "features" in header
            else ([], "")
        )
        assert story.features or "features" not in header
        assert row.summary == header.get("summary", "") == ("Tom saw something." if "summary" in header else "")
        assert bool(row.sentence) == ("sentence" in header)
        assert row.sentence in row.story
    sentences = {re.sub(r"\W.*", "", row.sentence) for row in instructed(done) if row.sentence}
    assert {"Once", "And", ""} <= sentences  # any sentence, not the first one alone


async def test_a_summary_is_made_from_the_story_and_only_where_the_header_holds_one():
    model = teller()
    done = await run(tinystories, generator=model, units=30, instruct=True)
    summaries = [text_of(question) for question in model.questions if sums_up(question)]
    wanted = [row for row in instructed(done) if row.summary]
    assert 5 < len(wanted) < 30
    assert len(summaries) == len(wanted)
    assert all(any(text.endswith(row.story) for text in summaries) for row in wanted)
    sampled = [question.sampling for question in model.questions if sums_up(question)]
    assert all(sampling == {"temperature": 0.0, "max_tokens": 100} for sampling in sampled)


async def test_what_the_model_says_around_a_summary_is_taken_off_and_a_sentence_stays_on_its_line():
    def change(story, question):
        return f"A Tale\r\n{story}"  # a title without a full stop

    done = await run(
        tinystories,
        generator=teller(change, summary="Here is a summary of the story:\nTom saw something."),
        units=60,
        instruct=True,
    )
    assert {row.summary for row in instructed(done)} == {"", "Tom saw something."}
    assert "A Tale" in {row.sentence for row in instructed(done)}
    assert all(row.sentence in row.story and not re.search(r"[\r\n]", row.sentence) for row in instructed(done))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("", "empty"), ("Here is a summary:", "empty"), (Reply("Tom saw", finish="length"), "truncated")],
)
async def test_a_story_stays_when_its_summary_fails(reply, reason):
    done = await run(tinystories, generator=teller(summary=reply), units=30, instruct=True)
    failed = [r for r in done.rejects if r.details["of"] == "summary"]
    assert {r.reason for r in failed} == {reason}
    assert len(done.rows) == 30 == len(instructed(done)) + len(failed)
    assert not any("summary" in header_of(row) for row in instructed(done))


async def test_the_last_story_of_a_run_has_its_instructed_form():
    done = await run(tinystories, generator=teller(), target=3, instruct=True)
    assert [row.story for row in instructed(done)] == [row.text for row in done.rows]


# -- the engine's promises


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    def change(story, question):
        return "No." if "conflict" in text_of(question) else story

    one = await run(tinystories, generator=teller(change), units=20, instruct=True, concurrency=1)
    many = await run(tinystories, generator=teller(change), units=20, instruct=True, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert instructed(one) == instructed(many) == instructed(again)
    assert 5 < len(one.rows) < 20
    assert again.calls == 0
    assert all(row.lineage.calls for row in [*one.rows, *instructed(one)])
    other = await run(tinystories, generator=teller(change), units=20, seed=1)
    assert [row.words for row in other.rows] != [row.words for row in one.rows]
