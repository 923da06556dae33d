"""TinyDialogues: what is drawn stands in the prompt and in the row; the vocabulary is cut off; ages come in order."""

import re

import msgspec
import pytest

from gristmill import recipes
from gristmill.errors import BadInput
from gristmill.export import export
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.tinydialogues import OTHERS, TYPES, TinyDialogue, shipped, tinydialogues
from gristmill.recipes.distillation.tinydialogues_curriculum import tinydialogues_curriculum
from gristmill.seeds import read
from gristmill.testing import Scripted, replay, run, text_of

END = "<|endoftext|>"
OTHER = re.compile(r"take part: (\w+), ([^,.]+)")


def says(form="**{child}**: Hello {n}!\n**{other}**: Hello, dear.\n\n**Vocabulary:**\n- {word}: easy"):
    count = 0

    def say(question):
        nonlocal count
        count += 1
        child, other = OTHER.search(text_of(question)).groups()
        word = re.search(r'the noun "(\w+)"', text_of(question))[1]
        return form.format(child=child, other=other, n=count, word=word)

    return Scripted(say)


async def made(reply, **options):
    return await run(
        tinydialogues, generator=Scripted(lambda _: reply), target=1, ages=[5], max_candidates=1, **options
    )


@pytest.mark.proof("tinydialogues", 1)
async def test_a_prompt_states_one_age_its_people_one_kind_and_three_words_and_the_row_says_the_same():
    model = says()
    done = await run(tinydialogues, generator=model, target=60)
    assert len(done.rows) == 60
    for row in done.rows:
        [prompt] = [p for p in model.prompts if f"a child of {row.age} years" in p and all(f'"{w}"' in p for w in row.words)
                    and ", ".join(row.participants) + "." in p and f"about {row.turns} turns" in p
                    and f"of the {row.conversation_type} kind" in p][:1]  # fmt: skip
        assert sum(f"of the {kind} kind" in prompt for kind in TYPES) == 1
        assert len(row.words) == 3
        known = shipped()[row.age]
        for word, words in zip(row.words, (known.verbs, known.nouns, known.adjectives), strict=True):
            assert word in words
        assert set(row.participants[1:]) <= set(OTHERS[row.age])
        assert 2 <= len(row.participants) <= 4
    assert {row.age for row in done.rows} == {2, 5, 10, 15}
    assert {row.conversation_type for row in done.rows} == set(TYPES)
    assert {row.turns for row in done.rows} == {5, 10}
    assert {len(row.participants) for row in done.rows} == {2, 3, 4}


@pytest.mark.proof("tinydialogues", 2)
@pytest.mark.parametrize(
    "title", ["Vocabulary:", "**Vocabulary:**", "### Key vocabulary words", "vocabulary (with level):"]
)
async def test_the_vocabulary_after_the_dialogue_never_enters_the_text(title):
    done = await made(f"**Child**: Look, a puddle!\n**Mom**: Do not jump.\n\n{title}\n- puddle: easy\n- jump: easy")
    [row] = done.rows
    assert row.text == rf"**Child**: Look, a puddle! \n\n **Mom**: Do not jump. {END}"
    assert row.vocabulary == "- puddle: easy\n- jump: easy"


@pytest.mark.proof("tinydialogues", 2)
@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        (
            "**Vocabulary**: puddle (easy), jump (easy), umbrella stand (hard)",
            "puddle (easy), jump (easy), umbrella stand (hard)",
        ),
        ("**Key Words:** puddle (easy)", "puddle (easy)"),
        ("**Keywords**\n* puddle: easy", "* puddle: easy"),
        ("---\n\nSome key vocabulary words used in this dialogue, each with how hard:\npuddle", "puddle"),
        ("**Words to know**: puddle", "puddle"),
    ],
)
async def test_a_list_in_another_dress_does_not_become_a_turn(listed, kept):
    done = await made(f"**Child**: Look!\n**Mom**: Do not jump.\n{listed}")
    [row] = done.rows
    assert row.text == rf"**Child**: Look! \n\n **Mom**: Do not jump. {END}"
    assert row.vocabulary == kept


async def test_talk_of_vocabulary_is_no_list_of_it():
    done = await made("**Child**: My vocabulary is big.\n**Mom**: It is.")
    assert "vocabulary is big" in done.rows[0].text
    assert done.rows[0].vocabulary == ""


@pytest.mark.proof("tinydialogues", 3)
async def test_every_row_is_one_line_with_the_child_as_speaker_and_ends_with_the_token():
    done = await run(tinydialogues, generator=says(), target=20)
    for row in done.rows:
        assert "\n" not in row.text
        assert row.text.endswith(f" {END}")
        assert f"**{row.participants[0]}**: " in row.text


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("**Mom**: Hello.\n**Dad**: Hello.", "no_child"),
        ("**Grandchild**: Hello.\n**Dad**: Hello.", "no_child"),
        ("**Child**: Hello.\n**Child**: Hello?", "one_speaker"),
        ("Sure! Here is a dialogue:\n**Child**: Hi.\n**Mom**: Hi.", "meta_text"),
        ("Could you tell me more about the child?", "meta_text"),
        ("**Child**: Hi.\n(They laugh.)\n**Mom**: Hi.", "unlabelled_line"),
        ("**Child**:\n**Mom**: Hi.", "meta_text"),
        ("**Scene**: A kitchen.\n**Child**: Hi.\n**Mom**: Hi.", "meta_text"),
        ("**Child**: Hi.\n**Mom**: Hi.\n**Note**: They are kind.", "unlabelled_line"),
        ("**Child's Mom**: Hello.\n**Dad**: Hello.", "no_child"),
        ("**Children**: Hello.\n**Dad**: Hello.", "no_child"),
        ("Vocabulary:\n- a: easy", "empty"),
        ("", "empty"),
    ],
)
async def test_what_is_no_dialogue_with_the_child_is_rejected(reply, reason):
    done = await made(reply)
    assert (done.rows, [r.reason for r in done.rejects]) == ([], [reason])


async def test_a_cut_dialogue_and_a_repeated_one_are_rejected():
    done = await made(Reply("**Child**: Hi.\n**Mom**: Hi.", finish="length"))
    assert [r.reason for r in done.rejects] == ["truncated"]
    model = Scripted(lambda _: "**Child**: Hi.\n**Mom**: Hi.")
    done = await run(tinydialogues, generator=model, target=2, ages=[5], max_candidates=5)
    assert len(done.rows) == 1
    assert {r.reason for r in done.rejects} == {"duplicate"}


@pytest.mark.parametrize(
    "label",
    [
        "**Child 1**: Hi.",
        "**Child1**: Hi.",
        "**Child:** Hi.",
        "**child** Hi.",
        "**Mia, child**: Hi.",
        "**Mia (child)**: Hi.",
    ],
)
async def test_labels_may_be_dressed_and_numbered(label):
    done = await made(f"{label}\n**Mom**: Hi.")
    assert len(done.rows) == 1


async def test_separator_and_token_are_the_users_and_other_ages_bring_their_words():
    done = await made("**Child**: Hi.\n**Mom**: Hi.", separator=" | ", end_of_text="")
    assert done.rows[0].text == "**Child**: Hi. | **Mom**: Hi."
    words = {7: {"verbs": ["skate"], "nouns": ["ice"], "adjectives": ["slim"]}}
    done = await run(tinydialogues, generator=says(), target=1, ages=[7], words=words)
    assert (done.rows[0].age, done.rows[0].words) == (7, ["skate", "ice", "slim"])
    assert set(done.rows[0].participants[1:]) <= set(OTHERS[5])


async def test_ages_without_words_are_refused_before_the_first_call():
    model = says()
    empty = {5: {"verbs": [], "nouns": ["ice"], "adjectives": ["slim"]}}
    for options, message in [
        ({"ages": [3]}, "no words for the age 3"),
        ({"ages": []}, "must not be empty"),
        ({"turns": []}, "must not be empty"),
        ({"ages": [5], "words": empty}, "lack verbs, nouns or adjectives"),
    ]:
        with pytest.raises(BadInput, match=message):
            await run(tinydialogues, generator=model, target=1, **options)
    assert model.questions == []


async def test_a_replay_draws_the_same_and_asks_nothing():
    done = await run(tinydialogues, generator=says(), target=5)
    assert (await replay(done)).rows == done.rows


async def test_what_a_user_sets_reaches_the_call_and_the_people():
    model = says()
    options = {"temperature": 0.4, "max_tokens_per_dialogue": 55, "most_participants": 2, "turns": [7]}
    done = await run(tinydialogues, generator=model, target=12, **options)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.4, 55)}
    assert {(len(row.participants), row.turns) for row in done.rows} == {(2, 7)}
    done = await run(tinydialogues, generator=says(), target=60, most_participants=7, ages=[2])
    assert {len(row.participants) for row in done.rows} == {2, 3, 4, 5, 6, 7}
    assert all(len(set(row.participants)) == len(row.participants) for row in done.rows)


# -- the curriculum


def dialogues(*ages):
    known = {"participants": ["Child"], "conversation_type": "narrative", "words": [], "turns": 5, "vocabulary": ""}
    return [{"text": f"{age} {number}", "age": age, **known} for number, age in enumerate(ages)]


MIXED = dialogues(*[15, 2, 10, 5] * 20)


@pytest.mark.proof("tinydialogues", 4)
async def test_the_exported_train_file_is_ordered_2_5_10_15(tmp_path):
    done = await run(tinydialogues_curriculum, MIXED)
    written = export(done.folder, "jsonl", tmp_path / "talk.jsonl", by="split")
    assert written == {tmp_path / "talk-train.jsonl": 68, tmp_path / "talk-validation.jsonl": 12}
    for name in ("train", "validation"):
        ages = [msgspec.json.decode(line)["age"] for line in (tmp_path / f"talk-{name}.jsonl").read_text().splitlines()]
        assert ages == sorted(ages)
        assert set(ages) == {2, 5, 10, 15}
    texts = [row.text for row in done.rows]
    assert sorted(texts) == sorted(row["text"] for row in MIXED)


async def test_other_orders_and_repeated_buckets():
    down = await run(tinydialogues_curriculum, MIXED, order="descending")
    ages = [row.age for row in down.rows if row.split == "train"]
    assert ages == sorted(ages, reverse=True)
    mixed = await run(tinydialogues_curriculum, MIXED, order="random")
    ages = [row.age for row in mixed.rows if row.split == "train"]
    assert ages not in (sorted(ages), sorted(ages, reverse=True))
    twice = await run(tinydialogues_curriculum, MIXED, repeats=2)
    train = [row for row in twice.rows if row.split == "train"]
    assert [row.age for row in train] == [2] * 34 + [5] * 34 + [10] * 34 + [15] * 34
    assert [row.text for row in train[:17]] == [row.text for row in train[17:34]]
    assert sum(row.split == "validation" for row in twice.rows) == 12
    again = await run(tinydialogues_curriculum, MIXED, order="random", repeats=2)
    assert sum(row.split == "train" for row in again.rows) == 2 * 68


async def test_no_dialogue_is_in_both_splits_and_a_share_of_nothing_holds_none_back():
    done = await run(tinydialogues_curriculum, MIXED, validation_share=0.5)
    texts = {split: {row.text for row in done.rows if row.split == split} for split in ("train", "validation")}
    assert not texts["train"] & texts["validation"]
    assert len(texts["validation"]) == 40
    done = await run(tinydialogues_curriculum, MIXED[:1], validation_share=0)
    assert [row.split for row in done.rows] == ["train"]


def test_the_shipped_dialogues_are_rows_of_the_recipe():
    rows = list(read(recipes.DATA / "tinydialogues.jsonl", TinyDialogue))
    assert {row.age for row in rows} == {2, 5, 10, 15}
    assert all(row.text.endswith(END) for row in rows)
