"""LLaVA: captions and boxes stand for an image; three kinds of response, parsed and checked; captions evenly chosen."""

import json
import re

import pytest

from gristmill.export.formats import export
from gristmill.models.protocol import Reply
from gristmill.recipes.multimodal.llava import ASK_DETAIL, DEMONSTRATIONS, llava, read
from gristmill.recipes.multimodal.llava_pretrain import ASK_BRIEFLY, llava_pretrain, noun_phrases
from gristmill.testing import Scripted, replay, run

CAPTIONS = [
    "A man rides a horse.",
    "A rider on\n a brown horse.",
    "A horse on a beach.",
    "Waves.",
    "A man.",
    "A sixth.",
]
IMAGE = {
    "image": "coco/000001.jpg",
    "captions": CAPTIONS,
    "objects": [
        {"name": "horse", "bbox": [0.1, 0.25, 0.66666, 1.0]},
        {"name": "person", "bbox": [0.3, 0.0, 0.5, 0.5]},
    ],
}
BOXES = "horse: [0.100, 0.250, 0.667, 1.000]\nperson: [0.300, 0.000, 0.500, 0.500]"
FIVE = "A man rides a horse.\nA rider on a brown horse.\nA horse on a beach.\nWaves.\nA man."
DIALOGUE = "Question:\nWhat is there?\n===\nAnswer:\nA horse.\n===\nQuestion:\nAnd where?\n===\nAnswer:\nOn a beach.\n\nIt walks.\n==="
PAIR = "Question:\nWhy here?\n===\nAnswer:\nFirst, there is room. Then, it is flat.\n==="
DETAIL = "A man sits on a brown horse near the water.\n\nWaves come in behind them."
SAID = {"conversation": DIALOGUE, "detail": DETAIL, "complex": PAIR}


def kind_of(question):
    system = question.messages[0].content
    return "conversation" if "dialogue" in system else "complex" if "one plausible question" in system else "detail"


def teacher(said=None):
    said = SAID | (said or {})
    return Scripted(lambda question: said[kind_of(question)])


async def made(said=None, seeds=(IMAGE,), **options):
    return await run(llava, seeds, teacher=teacher(said), **options)


async def only(kind, reply):
    return await made({kind: reply}, response_types=[kind])


def outcome(done):
    return [row.response_type for row in done.rows], [reject.reason for reject in done.rejects]


# -- what the teacher reads


async def test_a_conversation_is_made_from_captions_alone_and_the_others_from_captions_and_boxes():
    model = teacher()
    await run(llava, [IMAGE], teacher=model)
    asked = {kind_of(question): question for question in model.questions}
    assert asked["conversation"].messages[-1].content == FIVE
    assert asked["detail"].messages[-1].content == asked["complex"].messages[-1].content == f"{FIVE}\n\n{BOXES}"
    boxes = re.compile(r"\[\d\.\d{3}, \d\.\d{3}, \d\.\d{3}, \d\.\d{3}\]")
    for kind, question in asked.items():
        shown = [message.content for message in question.messages if message.role == "user"]
        assert all(bool(boxes.search(text)) == (kind != "conversation") for text in shown)
        assert "5 sentences" in question.messages[0].content
        assert isinstance(question.messages[-1].content, str)  # no image goes to the teacher


async def test_demonstrations_are_turns_of_the_chat_of_their_own():
    model = teacher()
    await run(llava, [IMAGE], teacher=model)
    for question in model.questions:
        kind, shots = kind_of(question), 2 if kind_of(question) == "conversation" else 3
        roles = [message.role for message in question.messages]
        assert roles == ["system", *["user", "assistant"] * shots, "user"]
        said = [message.content for message in question.messages if message.role == "assistant"]
        assert said == [getattr(shown, kind) for shown in DEMONSTRATIONS[:shots]]
        given = [message.content for message in question.messages if message.role == "user"][:-1]
        assert all(text.startswith("\n".join(s.captions)) for text, s in zip(given, DEMONSTRATIONS, strict=False))
        assert not any(caption in question.messages[0].content for s in DEMONSTRATIONS for caption in s.captions)


async def test_numbers_of_demonstrations_and_captions_are_parameters():
    model = teacher()
    options = {"few_shot_conversation": 3, "few_shot_detail": 1, "few_shot_complex": 0, "captions_per_image": 2}
    await run(llava, [IMAGE], teacher=model, **options)
    assert {kind_of(q): len(q.messages) for q in model.questions} == {"conversation": 8, "detail": 4, "complex": 2}
    assert all(CAPTIONS[2] not in question.messages[-1].content for question in model.questions)


def test_the_demonstrations_keep_the_rules_that_they_demonstrate():
    for shown in DEMONSTRATIONS:
        assert len(shown.captions) == 5
        assert len(read(Reply(shown.conversation), "conversation")) >= 4
        assert read(Reply(shown.detail), "detail") == [shown.detail]
        assert len(read(Reply(shown.complex), "complex")) == 2
        assert all(0 <= edge <= 1 for thing in shown.objects for edge in thing.bbox)


# -- rows


async def test_two_pairs_make_four_turns_in_which_the_image_stands_once():
    [row] = (await only("conversation", DIALOGUE)).rows
    assert [turn.role for turn in row.messages] == ["user", "assistant", "user", "assistant"]
    assert row.messages[0].content in ("<image>\nWhat is there?", "What is there?\n<image>")
    assert [turn.content for turn in row.messages[1:]] == ["A horse.", "And where?", "On a beach.\n\nIt walks."]
    assert (row.image, row.response_type) == ("coco/000001.jpg", "conversation")
    assert len(row.lineage.calls) == 1


async def test_an_image_gives_a_row_of_each_kind_that_is_wanted():
    done = await made()
    assert outcome(done) == (["conversation", "detail", "complex"], [])
    assert all("".join(turn.content for turn in row.messages).count("<image>") == 1 for row in done.rows)
    assert [turn.content for turn in done.rows[1].messages][1:] == [DETAIL]
    assert [turn.content for turn in done.rows[2].messages][1:] == ["First, there is room. Then, it is flat."]
    assert "Why here?" in done.rows[2].messages[0].content
    assert outcome(await made(response_types=["complex", "detail"])) == (["complex", "detail"], [])


async def test_the_place_of_the_image_and_the_question_for_a_description_are_drawn():
    seeds = [{**IMAGE, "image": f"{n}.jpg"} for n in range(120)]
    done = await made(seeds=seeds, response_types=["detail"])
    first = [row.messages[0].content for row in done.rows]
    before = sum(text.startswith("<image>\n") for text in first)
    assert before + sum(text.endswith("\n<image>") for text in first) == 120
    assert 30 < before < 90
    asked = {text.replace("<image>", "").strip() for text in first}
    assert asked <= {prompt() for prompt in ASK_DETAIL}
    assert len(asked) > 12
    assert set(done.rows[0].lineage.draws) == {"ask_detail", "image_mark"}


@pytest.mark.parametrize("format", ["sharegpt", "trl-sft"])
async def test_rows_export_as_conversations(format, tmp_path):
    done = await only("conversation", DIALOGUE)
    export(done.folder, format, tmp_path / "rows.jsonl")
    record = json.loads((tmp_path / "rows.jsonl").read_text())
    turns = record["conversations" if format == "sharegpt" else "messages"]
    path = record["image"] if format == "sharegpt" else record["images"]
    assert path == (IMAGE["image"] if format == "sharegpt" else [IMAGE["image"]])
    speakers = {"sharegpt": ["human", "gpt"], "trl-sft": ["user", "assistant"]}[format]
    assert [turn.get("from", turn.get("role")) for turn in turns] == speakers * 2
    assert "<image>" in (turns[0].get("value") or turns[0]["content"])


# -- what cannot be used


UNPARSED = [
    "Question: What is there? Answer: A horse.",
    "Question:\nWhat is there?\n\nAnswer:\nA horse.",
    "Question:\nWhat is there?\nAnswer:\nA horse.\n===",
    "Question:\nWhat is there?\nAnswer:\nA horse.\n===\nQuestion:\nWhere?\nAnswer:\nHere.\n===",
    "Question:\nWhat is there?\n===\nAnswer:\nA horse.\nQuestion:\nAnd where?\n===\nAnswer:\nThere.\n===",
    "Question:\nWhat is there?\n===\nAnswer:\nA horse.\n===\nQuestion:\nAnd where?\n===",
    "Answer:\nA horse.\n===\nQuestion:\nWhat is there?\n===",
    "Question:\nWhat?\n===\nQuestion:\nWhere?\n===",
    "Question:\n===\nAnswer:\nA horse.\n===",
    "Question:\nWhat?\n===\nAnswer:\n \n===",
    "Sure!\nQuestion:\nWhat is there?\n===\nAnswer:\nA horse.\n===",
    "Sure!\n===\nQuestion:\nWhat is there?\n===\nAnswer:\nA horse.\n===",
    "Question:\nWhat is there?\n===\nAnswer:\nA horse.\n===\nI hope this helps!",
    "Frage:\nWas?\n===\nAntwort:\nEin Pferd.\n===",
    "===\n===",
    "I cannot see the image.",
]


@pytest.mark.parametrize("kind", ["conversation", "complex"])
@pytest.mark.parametrize("said", UNPARSED)
async def test_a_reply_without_blocks_of_question_and_answer_in_turns_is_rejected(said, kind):
    done = await only(kind, said)
    assert outcome(done) == ([], ["unparsed"])
    assert done.rejects[0].details["response_type"] == kind
    assert done.rejects[0].details["blocks"] >= 1
    assert done.rejects[0].candidate == said


async def test_a_complex_reply_is_one_pair_and_a_description_has_no_blocks():
    assert outcome(await only("complex", DIALOGUE)) == ([], ["unparsed"])
    assert outcome(await only("detail", PAIR)) == ([], ["unparsed"])
    assert outcome(await only("detail", f"{DETAIL}\n===")) == ([], ["unparsed"])
    assert outcome(await only("detail", f"Answer: {DETAIL}")) == ([], ["unparsed"])


@pytest.mark.parametrize("kind", ["conversation", "detail", "complex"])
async def test_empty_and_cut_replies_are_rejected(kind):
    assert outcome(await only(kind, " \n")) == ([], ["empty"])
    assert outcome(await only(kind, Reply(SAID[kind], finish="length"))) == ([], ["truncated"])


async def test_blocks_are_read_whatever_white_space_and_signs_they_have():
    said = "Question: Wo steht das Pferd? 🐎\r\n  =====  \r\nAnswer:Am Strand = Meer.\n\n===\n Question:\nWarum?\n===\nAnswer:\nJa.\n"
    [row] = (await only("conversation", said)).rows
    assert [turn.content for turn in row.messages[1:]] == ["Am Strand = Meer.", "Warum?", "Ja."]
    assert "Wo steht das Pferd? 🐎" in row.messages[0].content.split("\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [("as the caption says", "caption"), ("by the Captions", "Captions"), ("in its bounding box", "bounding box"),
     ("the bounding-boxes show", "bounding-boxes"), ("at the coordinates", "coordinates"), ("at [0.1, 0.25]", "[0.1,")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["conversation", "detail", "complex"])
async def test_a_reply_that_gives_its_source_away_is_dropped_whole(kind, words, found):
    said = SAID[kind].replace("On a beach", f"On a beach, {words}").replace("First", f"First, {words}")
    said = said.replace("near the water", f"near the water, {words}")
    done = await only(kind, said)
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("gives_away_source", {"response_type": kind, "words": found})
    ]
    assert not done.rows


async def test_words_that_only_look_like_a_source_pass():
    said = DIALOGUE.replace("A horse.", "A captioned boxer coordinated it; a captain [sic].")
    assert outcome(await only("conversation", said)) == (["conversation"], [])


async def test_a_description_that_is_declined_is_no_description():
    assert outcome(await only("detail", "I'm sorry, but I can't describe images.")) == ([], ["refusal"])


async def test_a_reply_with_a_mark_of_its_own_is_rejected():
    done = await only("conversation", DIALOGUE.replace("A horse.", "A <image> horse."))
    assert outcome(done) == ([], ["image_mark"])


async def test_a_response_that_fails_costs_only_its_kind():
    done = await made({"detail": "The caption says so."})
    assert outcome(done) == (["conversation", "complex"], ["gives_away_source"])


async def test_without_boxes_there_is_only_a_conversation_and_without_captions_nothing():
    done = await made(seeds=[{"image": "a.jpg", "captions": CAPTIONS}])
    assert outcome(done) == (["conversation"], ["no_objects", "no_objects"])
    assert {r.details["response_type"] for r in done.rejects} == {"detail", "complex"}
    model = teacher()
    done = await run(llava, [{**IMAGE, "captions": [" ", ""]}, {**IMAGE, "captions": []}], teacher=model)
    assert (outcome(done), model.questions) == (([], ["no_captions"] * 2), [])


@pytest.mark.parametrize(
    "bbox", [[0.1, 0.1, 1.2, 0.5], [-0.1, 0, 1, 1], [0.5, 0, 0.1, 1], [0, 0.6, 1, 0.5], [12, 40, 200, 310]]
)
async def test_a_box_that_is_none_is_rejected_before_anything_is_asked(bbox):
    model = teacher()
    done = await run(llava, [{**IMAGE, "objects": [{"name": "horse", "bbox": bbox}]}], teacher=model)
    assert (outcome(done), model.questions) == (([], ["bad_box"]), [])
    assert done.rejects[0].details == {"name": "horse", "bbox": bbox}


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{**IMAGE, "image": f"{n}.jpg", "captions": CAPTIONS[n % 3 :]} for n in range(8)]
    said = {"complex": "no blocks"}
    one = await made(said, seeds=seeds, concurrency=1)
    many = await made(said, seeds=seeds, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert one.rejects == many.rejects == again.rejects
    assert (len(one.rows), len(one.rejects), again.calls) == (16, 8, 0)


# -- pre-training


def captioned(*captions):
    return [{"image": f"{number}.jpg", "caption": caption} for number, caption in enumerate(captions)]


def answers(done):
    return [row.messages[-1].content for row in done.rows]


async def test_a_phrase_seen_twice_adds_nothing_and_one_of_three_captions_adds_all():
    done = await run(llava_pretrain, captioned(*["a zebra"] * 2, *["the otter!"] * 3, "it is on"))
    assert answers(done) == ["the otter!"] * 3
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("rare", {"frequency": 2}), ("rare", {"frequency": 2}), ("no_phrase", {}),
    ]  # fmt: skip


async def test_a_phrase_that_is_too_rare_adds_nothing_whatever_the_cap():
    done = await run(llava_pretrain, captioned(*["a zebra"] * 3), noun_phrase_min_freq=4, noun_phrase_cap=2)
    assert outcome(done) == ([], ["rare"] * 3)


async def test_a_phrase_of_500_captions_adds_a_hundred_of_them_by_chance():
    done = await run(llava_pretrain, captioned(*[f"{n} of a dog" for n in range(500)]), noun_phrase_min_freq=2)
    chosen = [int(caption.split()[0]) for caption in answers(done)]
    assert len(set(chosen)) == 100
    assert max(chosen) > 400
    assert min(chosen) < 100
    assert [(r.reason, r.details) for r in done.rejects] == [("over_cap", {"frequency": 500})] * 400
    assert len((await run(llava_pretrain, captioned(*["a dog"] * 101))).rows) == 100
    assert len((await run(llava_pretrain, captioned(*["a dog"] * 100))).rows) == 100


async def test_rare_phrases_come_first_and_bring_their_captions_in_whatever_else_they_hold():
    seeds = captioned(*["a dog"] * 40, *["a dog with a kite"] * 3, *["a cat"] * 5)
    done = await run(llava_pretrain, seeds, noun_phrase_cap=10)
    said = answers(done)
    assert said[:8] == ["a dog with a kite"] * 3 + ["a cat"] * 5
    assert set(said[8:]) == {"a dog"}
    assert 18 - 3 <= len(said) <= 18  # of the ten that "dog" draws, some may be in already
    assert len({row.image for row in done.rows}) == len(said)


async def test_a_phrase_is_counted_once_a_caption():
    done = await run(llava_pretrain, captioned("a yak, a yak and the yak", "a yak"))
    assert outcome(done) == ([], ["rare", "rare"])


async def test_a_caption_answers_a_drawn_request_for_a_brief_description():
    done = await run(llava_pretrain, captioned(*["  a dog "] * 60))
    first = [row.messages[0].content for row in done.rows]
    assert {text.replace("<image>", "").strip() for text in first} <= {prompt() for prompt in ASK_BRIEFLY}
    assert len(set(first)) > 12  # of 11 requests with the image before or after
    assert all(text.count("<image>") == 1 for text in first)
    assert {tuple(turn.role for turn in row.messages) for row in done.rows} == {("user", "assistant")}
    assert {(row.messages[1].content, row.response_type) for row in done.rows} == {("a dog", "pretrain")}
    assert [row.image for row in done.rows] == [f"{n}.jpg" for n in range(60)]
    assert len({row.lineage.parents[0] for row in done.rows}) == 60


async def test_a_caption_with_a_mark_of_its_own_is_rejected():
    done = await run(llava_pretrain, captioned(*["a dog <image>"] * 3))
    assert outcome(done) == ([], ["image_mark"] * 3)


async def test_a_replay_of_the_choice_is_the_same():
    done = await run(llava_pretrain, captioned(*[f"dog number {n}, a dog" for n in range(300)]))
    again = await replay(done)
    assert done.rows == again.rows
    assert len(done.rows) == 100


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A brown dog running on the beach.", ["brown dog", "beach"]),
        ("The city's old town-hall, at night", ["city's old town-hall", "night"]),
        ("Office building in the evening", ["office building", "evening"]),
        ("Running shoes and a man wearing running shoes", ["running shoes", "man"]),
        ("two dogs, two DOGS", ["dogs"]),
        ("a café — ein Straßencafé", ["café", "ein straßencafé"]),
        ("", []),
        ("on the ... !?", []),
    ],
)
def test_noun_phrases_are_what_stands_between_function_words(caption, phrases):
    assert noun_phrases(caption) == phrases
