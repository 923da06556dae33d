"""LongForm: the answer is a document of people, byte for byte; a model says only what was asked, in one of three ways."""

import re

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.ops.text import words
from gristmill.recipes.distillation.longform import STYLES, count_of, longform
from gristmill.recipes.distillation.longform_select import chosen, letters, longform_select
from gristmill.recipes.distillation.longform_structured import longform_structured
from gristmill.testing import Scripted, replay, run


def document(number, **more):
    text = f"Text {number} tells of many things. " + " ".join(f"word{number}x{i}" for i in range(30)) + "."
    return {"text": text, **more}


async def made(seeds=None, generator=None, **options):
    generator = generator or Scripted(lambda question: " Tell me about it.")
    seeds = [document(number) for number in range(40)] if seeds is None else seeds
    return generator, await run(longform, seeds, generator=generator, **{"length_share": 0.0, **options})


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- reverse instructions


@pytest.mark.proof("longform", 1)
@pytest.mark.parametrize(
    "text",
    [
        "  Two spaces before, a tab\tinside and lines\r\nof all systems after, " + "and on " * 20 + "\n\n",
        "Ein Bär – früh am Morgen – sieht 犬 und мышь, " + "na\u0308mlich so " * 20,
        "X: the mark itself stands in this one. Output: and this one too. " + "yes " * 20,
    ],
)
async def test_the_output_is_the_document_byte_for_byte_whatever_the_model_says(text):
    generator = Scripted(lambda question: "What is it?\nOutput: Something else altogether.")
    _, done = await made([{"text": text, "source": "C4"}], generator)
    [row] = done.rows
    assert row.output == text
    assert row.source == "C4"
    assert generator.questions[0].prompt.count(text) == 1


@pytest.mark.proof("longform", 2)
async def test_all_three_ways_of_asking_occur_and_a_row_names_its_own():
    generator, done = await made()
    fields = {
        "instruction": r"^Instruction: X\nOutput: Text",
        "chatbot": r"chatbot.*casual message.*\nMessage: X\nReply: Text",
        "search": r"search engine.*detailed query.*\nQuery: X\nDocument: Text",
    }
    counts = dict.fromkeys(fields, 0)
    prompts = {question.prompt for question in generator.questions}
    for row in done.rows:
        [prompt] = [prompt for prompt in prompts if row.output in prompt]
        assert [style for style, pattern in fields.items() if re.search(pattern, prompt, re.DOTALL)] == [row.style]
        counts[row.style] += 1
    assert set(counts) == set(STYLES)
    assert min(counts.values()) >= 6  # of 40


@pytest.mark.proof("longform", 4)
@pytest.mark.parametrize(
    ("said", "instruction"),
    [
        (" Tell me about it.\n", "Tell me about it."),
        ("Sure!\nX: Tell me\nabout it.", "Tell me\nabout it."),
        ("Tell me about Plan X: what is it?", "Tell me about Plan X: what is it?"),
    ],
)
async def test_the_call_ends_with_the_cue_behind_the_document_and_what_follows_the_cue_is_the_instruction(
    said, instruction
):
    generator, done = await made([document(1)], Scripted([said]))
    [question] = generator.questions
    assert question.kind == "complete"
    assert question.prompt.endswith("\nX:")
    assert question.prompt.index(document(1)["text"]) < question.prompt.rindex("X:")
    assert done.rows[0].instruction == instruction
    assert done.rows[0].input == ""


async def test_the_call_stops_where_the_document_would_come_once_more():
    generator, done = await made()
    stops = {"instruction": "\nOutput:", "chatbot": "\nReply:", "search": "\nDocument:"}
    for row in done.rows:
        [question] = [question for question in generator.questions if row.output in question.prompt]
        assert question.sampling == {"temperature": 1.0, "max_tokens": 256, "stop": [stops[row.style]]}
    generator, _ = await made([document(1)], temperature=0.2, max_tokens_per_call=9)
    sampling = generator.questions[0].sampling
    assert (sampling["temperature"], sampling["max_tokens"]) == (0.2, 9)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (" \n", "empty"),
        ("X: \n", "empty"),
        (Reply("Tell me ab", finish="length"), "truncated"),
        ("Text 1 tells of many things, word1x0 word1x1. And then?", "copies_document"),
        ("text 1 TELLS of many", "copies_document"),
        ("Text 1 tells of many things, and which?", None),
        ("?!", None),
    ],
)
async def test_an_instruction_that_is_none_or_copies_the_beginning_gives_no_row(said, reason):
    _, done = await made([document(1)], Scripted([said]))
    assert reasons(done) == ([reason] if reason else [])
    assert len(done.rows) == (reason is None)
    assert all(reject.details["style"] in STYLES for reject in done.rejects)


async def test_how_many_words_make_a_copy_is_a_parameter():
    said = "Text 1 tells of something else"
    assert longform.settings({})["copied_words"] == 8
    for count, kept in ((3, 0), (4, 0), (5, 1)):
        _, done = await made([document(1)], Scripted([said]), copied_words=count)
        assert len(done.rows) == kept


# -- documents


@pytest.mark.parametrize(
    ("text", "reason"),
    [(" \n", "empty_document"), ("a " * 19, "too_short"), ("a " * 20, None), ("犬" * 20, None), ("- * - " * 30, "too_short")],
)  # fmt: skip
async def test_a_document_that_is_empty_or_too_short_costs_no_call(text, reason):
    generator, done = await made([{"text": text}])
    assert reasons(done) == ([reason] if reason else [])
    assert len(generator.questions) == len(done.rows) == (reason is None)
    _, done = await made([{"text": "one two three"}], min_words=3)
    assert len(done.rows) == 1


async def test_a_document_that_shares_words_with_an_evaluation_set_costs_no_call():
    run_of = " ".join(document(1)["text"].split()[8:21])  # 13 words
    evaluation = [{"text": f"And so: {run_of.upper()} - the end.", "benchmark": "recipes"}]
    generator, done = await made([document(1), document(2)], evaluation=evaluation)
    assert [(r.reason, r.details) for r in done.rejects] == [("in_evaluation", {"benchmark": "recipes"})]
    assert len(generator.questions) == len(done.rows) == 1
    _, done = await made([document(1)], evaluation=evaluation, overlap_words=14)
    assert len(done.rows) == 1
    _, done = await made([{"text": "One two THREE."}], evaluation=[{"text": "one  two three."}], min_words=1)
    assert (done.rows, reasons(done)) == ([], ["in_evaluation"])  # fewer words than the run, but all of it


async def test_a_document_that_comes_twice_gives_one_row():
    _, done = await made([document(1), document(1)])
    assert len(done.rows) == 1
    assert reasons(done) == ["duplicate"]


@pytest.mark.parametrize(("seeds", "message"), [([], "."), ([{"body": "a " * 30}], "text")])
async def test_seeds_without_texts_are_refused(seeds, message):
    generator = Scripted()
    with pytest.raises(BadInput, match=message):
        await made(seeds, generator)
    assert not generator.questions


# -- lengths and splits

TEXT = "Mr. Lund came early. He left!\n\nWhy? Nobody knows, " + "not even now, " * 10 + "I fear.\n \nThe end.\n"


@pytest.mark.proof("longform", 3)
@pytest.mark.parametrize(
    ("unit", "wish"),
    [("sentences", "Respond in 5 sentences."), ("words", "Respond in 43 words."), ("paragraphs", "Respond in 3 paragraphs.")],
)  # fmt: skip
async def test_a_wish_for_the_length_states_what_the_document_has(unit, wish):
    assert len(words(TEXT)) == 43
    _, done = await made([{"text": TEXT}], length_share=1.0, length_units=[unit])
    assert done.rows[0].instruction == f"Tell me about it. {wish}"
    assert done.rows[0].length_unit == unit
    assert count_of("One. " + "\n\n", unit) == 1
    _, done = await made([{"text": "One"}], length_share=1.0, length_units=[unit], min_words=1)
    assert done.rows[0].instruction.endswith(f"Respond in 1 {unit[:-1]}.")


async def test_about_half_of_the_instructions_ask_for_a_length_in_any_of_the_units():
    assert longform.settings({})["length_share"] == 0.5
    _, done = await made([document(number) for number in range(90)], length_share=0.5)
    units = [row.length_unit for row in done.rows]
    assert 27 <= units.count("") <= 63
    assert min(units.count(unit) for unit in ("sentences", "words", "paragraphs")) >= 5
    for row in done.rows:
        asked = re.search(r"Respond in (\d+) (\w+)\.$", row.instruction)
        assert bool(asked) == bool(row.length_unit)
        if asked:
            assert int(asked[1]) == count_of(row.output, row.length_unit)


async def test_splits_are_drawn_by_their_odds():
    _, done = await made(split={"train": 2, "validation": 1, "test": 0})
    splits = [row.split for row in done.rows]
    assert 18 <= splits.count("train") <= 35
    assert splits.count("validation") == 40 - splits.count("train")
    default = longform.settings({})["split"]
    assert (default.train, default.validation, default.test) == (23_652, 2_042, 2_045)


@pytest.mark.parametrize("method", [longform, longform_structured])
def test_parameters_that_leave_nothing_to_draw_are_refused(method):
    with pytest.raises(BadInput, match="length_units is empty"):
        method.settings({"length_units": []})
    assert method.settings({"length_units": [], "length_share": 0.0})
    with pytest.raises(BadInput, match="a split needs odds above 0"):
        method.settings({"split": {"train": 0, "validation": 0, "test": 0}})


# -- the engine's promises


async def test_a_replay_gives_the_same_rows_and_asks_nothing():
    _, done = await made(length_share=0.5)
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0
    assert set(done.rows[0].lineage.draws) >= {"style", "length", "split"}
    _, other = await made(length_share=0.5, seed=1)
    assert [row.style for row in other.rows] != [row.style for row in done.rows]


async def test_a_call_that_fails_costs_its_own_document_alone():
    failing = [Refused("no")]
    generator = Scripted(lambda question: failing.pop() if failing else "Tell me.")
    _, done = await made([document(1), document(2)], generator, allow_failures=True)
    assert len(done.rows) == len(done.failures) == 1


# -- choosing documents


def placed(question):
    """Documents of three places, far apart."""
    place = float(re.search(r"place(\d)", question.texts[0])[1])
    return [place * 10, 1.0]


def at(place, length, source="C4"):
    return {"text": f"place{place} " + " ".join(["word"] * length), "source": source}


async def selected(seeds, **options):
    embedder = Scripted(placed)
    return embedder, await run(longform_select, seeds, embedder=embedder, **options)


async def test_clusters_take_turns_so_that_a_large_one_does_not_crowd_out_the_others():
    seeds = [at(1, 30 + n) for n in range(20)] + [at(2, 30), at(2, 31), at(3, 30)]
    _, done = await selected(seeds, sizes={"C4": 6}, clusters=3)
    places = [row.text[5] for row in done.rows]
    assert sorted(places) == ["1", "1", "1", "2", "2", "3"]
    assert len({row.cluster for row in done.rows}) == 3
    assert reasons(done) == ["not_selected"] * 17
    _, done = await selected(seeds, sizes={"C4": 3})
    assert sorted(row.text[5] for row in done.rows) == ["1", "2", "3"]  # as many clusters as are wanted


async def test_a_cluster_gives_documents_of_all_lengths():
    seeds = [at(1, 30 + n) for n in range(40)]
    _, done = await selected(seeds, sizes={"C4": 4}, clusters=1)
    lengths = sorted(len(row.text.split()) - 31 for row in done.rows)
    assert [length // 10 for length in lengths] == [0, 1, 2, 3]
    _, other = await selected(seeds, sizes={"C4": 4}, clusters=1, seed=1)
    assert [row.text for row in other.rows] != [row.text for row in done.rows]


async def test_documents_leave_unchanged_in_their_order_with_what_they_came_from():
    seeds = [at(1, 30), at(2, 40), at(3, 50), at(2, 45)]
    _, done = await selected(seeds, sizes={"C4": 3}, clusters=3)
    texts = [seed["text"] for seed in seeds]
    assert [text for text in texts if text in [row.text for row in done.rows]] == [row.text for row in done.rows]
    assert all(len(row.lineage.parents) == 1 for row in done.rows)


async def test_a_source_that_is_not_named_or_small_is_taken_whole_and_nothing_is_placed():
    embedder, done = await selected([at(1, 30, "blogs"), at(2, 30, "blogs"), at(3, 30)], sizes={"C4": 1})
    assert len(done.rows) == 3
    assert not embedder.questions
    embedder, done = await selected([at(1, 30), at(2, 30)], sizes={"C4": 0})
    assert (len(done.rows), reasons(done), embedder.questions) == (0, ["not_selected"] * 2, [])
    assert longform_select.settings({})["sizes"] == {"C4": 10_000, "Wikipedia": 5_000}


async def test_each_source_has_its_own_number():
    seeds = [at(place, 30 + n, source) for source in ("C4", "Wikipedia") for place in (1, 2, 3) for n in range(3)]
    _, done = await selected(
        [{**seed, "text": f"{seed['text']} {seed['source']}"} for seed in seeds], sizes={"C4": 2, "Wikipedia": 4}
    )
    assert sorted(row.source for row in done.rows) == ["C4"] * 2 + ["Wikipedia"] * 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ", "empty_document"),
        ("a " * 19, "too_short"),
        ("12 | 34 | " * 20, "noisy"),
        ("PLACE1  " + "word\n" * 30, "duplicate"),
        ("नमस्ते दुनिया " * 20, None),
    ],
)
async def test_what_is_empty_short_noisy_or_there_already_goes_first(text, reason):
    _, done = await selected([at(1, 30), {"text": text, "source": "C4"}], min_letters=0.35)
    assert reasons(done) == ([reason] if reason else [])
    assert len(done.rows) == (1 if reason else 2)


async def test_the_limits_are_parameters():
    assert letters("ab 12") == 0.5
    assert letters(" ") == 0
    for options, kept in (({"min_letters": 0.5}, 1), ({"min_letters": 0.51}, 0), ({"min_words": 21}, 0)):
        _, done = await selected([{"text": "ab 12 " * 10}], **options)
        assert len(done.rows) == kept


async def test_the_choice_is_made_once_and_a_replay_makes_it_again_without_asking():
    seeds = [at(place, 30 + n) for place in (1, 2, 3) for n in range(5)]
    _, done = await selected(seeds, sizes={"C4": 4})
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0


def test_the_number_that_is_wanted_is_met_whatever_the_clusters():
    for wanted in range(1, 9):
        kept = chosen([0, 0, 0, 0, 0, 1, 1, 2, 2], list(range(9)), wanted, 0)
        assert len(set(kept)) == wanted


# -- structured corpora


async def structured(row, **options):
    options = {"length_share": 0.0, "split": {"validation": 0, "test": 0}, **options}
    return await run(longform_structured, [row], **options)


@pytest.mark.parametrize(
    ("row", "instructions"),
    [
        ({"source": "StackExchange", "title": "Why?", "question": "It is so.\nWhy?"}, {"Why?\n\nIt is so.\nWhy?"}),
        ({"source": "StackExchange", "question": "Why?"}, {"Why?"}),
        ({"source": "NIv2", "title": "Sum up.", "question": "A long text."}, {"Sum up.\n\nA long text."}),
        ({"source": "BigBench", "title": "Tell a story."}, {"Tell a story."}),
        ({"source": "Enron", "title": "Lunch"}, {'Write an email with the subject "Lunch".', 'I need the text of an email. Its subject line is "Lunch".'}),
        ({"source": "BEA-GEC", "question": "He go."}, {"Correct the grammar of this text: He go.", "He go.\n\nWrite this once more without its mistakes."}),
        ({"source": "WikiHow", "title": "How to Bake Bread"}, {"How do I bake Bread?", "Explain in detail how to bake Bread.", "What does somebody have to do who wants to bake Bread?"}),
    ],
)  # fmt: skip
async def test_a_structured_row_asks_by_a_template_of_its_corpus_and_needs_no_model(row, instructions):
    text = " An answer.\nOf two lines. "
    found = set()
    for seed in range(12):
        done = await structured({**row, "text": text}, seed=seed)
        [made] = done.rows
        found.add(made.instruction)
        assert (made.output, made.source, made.style, made.split) == (text, row["source"], "structured", "train")
        assert done.calls == 0
    assert found == instructions


async def test_a_guide_states_the_true_number_of_its_steps():
    text = "First this.\n1. Mix.\n2) Knead 3. times\nStep 3: Bake.\n\n- Eat.\n10.5 minutes is enough.\n"
    found = set()
    for seed in range(20):
        done = await structured({"source": "WikiHow", "title": "Bake Bread", "text": text}, seed=seed)
        found.add(done.rows[0].instruction)
    assert {
        "Write a guide in 3 steps: how to bake Bread.",
        "I want to bake Bread. Which 3 steps does it take?",
    } <= found
    assert len(found) == 5
    for seed in range(12):  # a single step is no number worth a mention
        done = await structured({"source": "WikiHow", "title": "Bake Bread", "text": "1. Bake."}, seed=seed)
        assert not re.search(r"\d", done.rows[0].instruction)


async def test_a_title_loses_the_capital_of_its_first_word_unless_it_is_written_in_capitals():
    for title, task in (("How To Übe", "übe"), ("DIY a Shelf", "DIY a Shelf"), ("Q&A well", "Q&A well"), ("A", "a")):
        done = await structured({"source": "WikiHow", "title": title, "text": "Well."})
        assert re.search(f" {re.escape(task)}[.?]", done.rows[0].instruction)


async def test_a_structured_row_may_ask_for_the_length_that_it_has():
    row = {"source": "NIv2", "title": "Tell.", "text": "One two. Three."}
    done = await structured(row, length_share=1.0, length_units=["words"])
    assert (done.rows[0].instruction, done.rows[0].length_unit) == ("Tell. Respond in 3 words.", "words")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"source": "StackExchange", "text": "Yes."}, "no_question"),
        ({"source": "WikiHow", "question": "How?", "text": "So."}, "no_question"),
        ({"source": "WikiHow", "title": " how to ", "text": "So."}, "no_question"),
        ({"source": "BEA-GEC", "title": "Correct.", "text": "So."}, "no_question"),
        ({"source": "NIv2", "title": "Tell.", "text": " "}, "empty_document"),
        ({"source": "NIv2", "title": "Tell.", "text": "..."}, "too_short"),
        ({"source": "NIv2", "title": "Tell.", "text": "A B C D, e f"}, "in_evaluation"),
        ({"source": "StackExchange", "title": "Why?", "question": "Is A b c, D so?", "text": "Yes."}, "in_evaluation"),
    ],
)
async def test_a_structured_row_that_has_no_question_or_no_answer_is_put_aside(row, reason):
    done = await structured(row, evaluation=[{"text": "a b c d", "benchmark": "eli5"}], overlap_words=4)
    assert (reasons(done), done.rows) == ([reason], [])


async def test_a_text_that_comes_twice_gives_one_row_and_an_unknown_corpus_is_refused():
    row = {"source": "NIv2", "title": "Tell.", "text": "Well."}
    done = await run(longform_structured, [row, {**row, "title": "Say."}])
    assert (len(done.rows), reasons(done)) == (1, ["duplicate"])
    with pytest.raises(BadInput, match="Reddit"):
        await structured({**row, "source": "Reddit"})
