"""What makes CoAnnotating that: nine prompts read each its own way, entropy, and the uncertain rows for people."""

import re

import pytest

from gristmill import BadInput, Refused
from gristmill.models.annotation import Note
from gristmill.models.annotator import Script
from gristmill.ops.votes import entropy
from gristmill.recipes.augmentation.coannotating import VARIANTS, coannotating, sureness
from gristmill.testing import Scripted, replay, run

LABELS = ["positive", "negative"]


def kind_of(prompt: str) -> str:
    if "Statement:" in prompt:
        return "not_true" if " is not " in prompt else "true"
    if "Do you agree?" in prompt:
        return "not_biased" if " is not " in prompt else "biased"
    if "letter of the right option" in prompt:
        return "choice"
    if "What is" in prompt:
        return "question"
    if "fits it best" in prompt:
        return "paraphrased"
    return "swapped" if prompt.startswith("Text:") else "instruction"


def says(prompt: str, label: str) -> str:
    """An answer to a prompt by one who thinks that `label` is right."""
    kind = kind_of(prompt)
    if kind == "choice":
        return re.search(rf"^([a-z])\) {label}$", prompt, re.MULTILINE)[1] + ")"
    if kind in ("true", "not_true", "biased", "not_biased"):
        put = re.search(r" is (?:not )?(\w+)\.", prompt.split("Statement:")[-1].split("I think")[-1])[1]
        holds = (put == label) != kind.startswith("not")
        return ("True" if holds else "False") if "Statement" in prompt else ("Yes." if holds else "No.")
    return f"{label.capitalize()}."


def sure_of(prompt: str) -> str:
    """Rows say how many of the nine prompts go astray, and what is right: "2 positive"."""
    wrong, label = re.search(r"(\d) (\w+) row", prompt).groups()
    other = "negative" if label == "positive" else "positive"
    number = ["instruction", "swapped", "paraphrased", "true", "not_true", "question", "choice", "biased", "not_biased"]
    return says(prompt, other if number.index(kind_of(prompt)) < int(wrong) else label)


def model(script=sure_of) -> Scripted:
    return Scripted(lambda question: script(question.messages[0].content))


def people() -> tuple[Script, list[str]]:
    seen: list[str] = []

    def label(task, number):
        seen.append(task.text)
        return Note(by="ann", labels=[re.search(r"\d (\w+) row", task.text)[1]])

    return Script(label), seen


ROWS = [{"text": f"{wrong} {label} row {n}"} for n, (wrong, label) in enumerate([(4, "positive"), (0, "negative"), (2, "positive"), (1, "negative"), (3, "positive")])]  # fmt: skip


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.6, 0.99, 1])
async def test_the_model_keeps_the_least_uncertain_rows_and_people_are_asked_about_exactly_the_others(share):
    script, seen = people()
    done = await run(coannotating, ROWS, annotator=model(), people=script, share=share)
    by = {kind: [row for row in done.rows if row.annotator == kind] for kind in ("llm", "human")}
    assert len(by["llm"]) == int(share * 5)
    assert sorted(seen) == sorted(row.text for row in by["human"])
    assert len(by["human"]) == 5 - int(share * 5)
    if by["llm"] and by["human"]:
        assert max(row.uncertainty for row in by["llm"]) <= min(row.uncertainty for row in by["human"])
    assert all(row.by == ("ann" if row.annotator == "human" else "scripted") for row in done.rows)
    assert (await replay(done, model={"annotator": Scripted(), "people": script})).rows == done.rows


async def test_a_row_on_which_all_prompts_agree_has_no_entropy_and_is_the_models_first():
    done = await run(coannotating, ROWS, annotator=model(), people=people()[0], share=0.2)
    [row] = [row for row in done.rows if row.annotator == "llm"]
    assert (row.text, row.uncertainty, row.votes, row.label) == ("0 negative row 1", 0.0, ["negative"] * 9, "negative")
    others = {row.text[0]: row.uncertainty for row in done.rows if row.annotator == "human"}
    assert others["1"] == pytest.approx(entropy(["a"] + ["b"] * 8))
    assert others["1"] < others["2"] < others["3"] < others["4"]


async def test_nine_prompts_of_seven_kinds_are_put_each_about_the_text():
    asked = model()
    await run(coannotating, ROWS[:1], annotator=asked, people=people()[0])
    assert len(VARIANTS) == 9
    kinds = ["instruction", "swapped", "paraphrased", "true", "not_true", "question", "choice", "biased", "not_biased"]
    assert sorted(map(kind_of, asked.prompts)) == sorted(kinds)
    assert all("4 positive row 0" in prompt for prompt in asked.prompts)
    swapped = next(prompt for prompt in asked.prompts if kind_of(prompt) == "swapped")
    assert swapped.index("positive row") < swapped.index("Decide")


async def test_who_always_says_true_is_read_the_other_way_round_where_the_statement_is_negated():
    done = await run(coannotating, ROWS[:1], annotator=model(lambda _: "True"), people=people()[0], share=1)
    assert done.rows[0].uncertainty > 0
    assert done.rows[0].votes.count("positive") == done.rows[0].votes.count("negative") == 1
    yes = await run(coannotating, ROWS[:1], annotator=model(lambda _: "yes"), people=people()[0], share=1)
    assert yes.rows[0].votes[-2:] == ["positive", "negative"]


async def test_what_cannot_be_read_and_what_failed_are_votes_that_raise_the_entropy_and_never_labels():
    def broken(prompt):
        kind = kind_of(prompt)
        if kind == "instruction":
            raise Refused("no")
        return "Hard to say, positive or negative." if kind == "swapped" else says(prompt, "negative")

    done = await run(coannotating, ROWS[:1], annotator=model(broken), people=people()[0], share=1)
    [row] = done.rows
    assert row.votes == ["error", "unreadable", *["negative"] * 7]
    assert row.uncertainty == pytest.approx(entropy(row.votes)) != 0
    assert row.label == "negative"


async def test_an_answer_that_an_offline_replay_lacks_is_no_vote():
    done = await run(coannotating, ROWS[:1], annotator=model(), people=people()[0], share=1)
    models = {"annotator": Scripted(), "people": people()[0]}
    again = await replay(done, model=models, settings={"task": "the mood"})
    assert again.rows == []
    assert "the journal has no answer" in again.failures[0].error
    known = [row | {"gold": "positive"} for row in ROWS]
    done = await run(coannotating, known, annotator=model(), people=people()[0], share=1)
    again = await replay(done, model=models, settings={"task": "the mood"})
    assert ["the journal has no answer" in failure.error for failure in again.failures] == [True] * 5
    assert (again.rows, list(again.iterate("co_annotating_share"))) == ([], [])


async def test_a_row_without_one_readable_vote_is_the_most_uncertain_and_gets_no_label_from_the_model():
    def silent(prompt):
        return "Hm." if "row 1" in prompt else sure_of(prompt)

    script, seen = people()
    done = await run(coannotating, ROWS, annotator=model(silent), people=script, share=0.8)
    assert seen == ["0 negative row 1"]
    assert {row.text: row.uncertainty for row in done.rows}[seen[0]] == max(row.uncertainty for row in done.rows)
    alone = await run(coannotating, ROWS[1:2], annotator=model(silent), people=script, share=1)
    assert (alone.rows, [reject.reason for reject in alone.rejects]) == ([], ["no_label"])


@pytest.mark.parametrize(
    ("answer", "vote"),
    [
        ("positive", "positive"),
        ("The label is: NEGATIVE!", "negative"),
        ("positively", "unreadable"),
        ("", "unreadable"),
        ("positive and negative", "unreadable"),
    ],
)
async def test_an_answer_in_words_names_exactly_one_label(answer, vote):
    done = await run(coannotating, ROWS[:1], annotator=model(lambda _: answer), people=people()[0], share=0)
    assert done.rows[0].votes[0] == vote


@pytest.mark.parametrize(
    ("answer", "vote"),
    [("b", "negative"), ("(A)", "positive"), ("The answer is B.", "negative"), ("c", "unreadable"), ("Both", "unreadable"),
     ("The right option is B.", "negative"), ("The correct answer is B", "negative"), ("**B) negative**", "negative"), ("A: positive", "positive"),
     ("The answer is option B", "negative"), ("B\nIt is negative.", "negative"), ("a bad one", "unreadable"), ("A negative one", "unreadable")],
)  # fmt: skip
async def test_a_letter_stands_for_its_option(answer, vote):
    script = model(lambda prompt: answer if kind_of(prompt) == "choice" else says(prompt, "positive"))
    done = await run(coannotating, ROWS[:1], annotator=script, people=people()[0], share=0)
    assert done.rows[0].votes[6] == vote


@pytest.mark.parametrize(
    ("answer", "votes"),
    [
        ("The statement is not true.", ["negative", "positive"]),
        ("It isn't true", ["negative", "positive"]),
        ("It isn’t quite true.", ["negative", "positive"]),
        ("Not false", ["positive", "negative"]),
        ("True, and not false.", ["positive", "negative"]),
        ("That is not positive: false.", ["negative", "positive"]),
        ("Neither true nor false", ["unreadable", "unreadable"]),
        ("Not true, not false", ["unreadable", "unreadable"]),
    ],
)
async def test_a_negation_turns_round_what_is_said_of_a_statement(answer, votes):
    script = model(lambda prompt: answer if "Statement:" in prompt else says(prompt, "positive"))
    done = await run(coannotating, ROWS[:1], annotator=script, people=people()[0], share=0)
    assert done.rows[0].votes[3:5] == votes


async def test_a_label_within_another_is_told_whatever_the_case():
    labels = ["Good", "very good"]
    done = await run(
        coannotating, ROWS[:1], annotator=model(lambda _: "Very good"), people=people()[0], labels=labels, share=1
    )
    assert done.rows[0].votes[0] == "very good"


async def test_of_a_pair_both_texts_are_shown_to_the_model_to_people_and_to_the_classifier():
    pytest.importorskip("sklearn")
    pair = [{"text": "0 positive row", "text2": "It rains.", "gold": "positive"}]
    asked, seen, embedder = model(), [], Scripted(lambda q: [1.0, 0.0])
    person = Script(lambda task, _: seen.append(task.text) or Note(by="ann", labels=["positive"]))
    done = await run(coannotating, pair, annotator=asked, people=person, share=0, test=pair, embedder=embedder)
    assert len(asked.prompts) == 9
    assert all(text.index("0 positive row") < text.index("It rains.") for text in [*asked.prompts, *seen])
    assert {"It rains." in question.texts[0] for question in embedder.questions} == {True}
    assert (done.rows[0].text, done.rows[0].text2) == ("0 positive row", "It rains.")


async def test_of_three_labels_a_statement_is_put_for_each_and_the_vote_is_the_one_affirmed():
    labels = ["sport", "world", "world sport"]

    def news(prompt):
        kind = kind_of(prompt)
        if kind in ("true", "not_true", "biased", "not_biased"):
            put = re.search(r" is (?:not )?([a-z ]+)\.", prompt.split("Statement:")[-1].split("I think")[-1])[1]
            holds = (put == "world sport") != kind.startswith("not")
            return ("true" if holds else "false") if "Statement" in prompt else ("yes" if holds else "no")
        return "c" if kind == "choice" else "World sport"

    asked = model(news)
    done = await run(coannotating, ROWS[:1], annotator=asked, people=people()[0], labels=labels, share=1)
    assert done.rows[0].votes == ["world sport"] * 9
    assert len(asked.questions) == 5 + 4 * 3

    def two(prompt):
        return "true" if kind_of(prompt) == "true" and not prompt.endswith("x") else news(prompt)

    undecided = await run(coannotating, ROWS[:1], annotator=model(two), people=people()[0], labels=labels, share=1)
    assert undecided.rows[0].votes[3] == "unreadable"


async def test_asked_again_and_again_the_uncertainty_is_the_entropy_of_one_prompt():
    replies = iter(["positive", "negative", "positive", "positive"])
    asked = Scripted(lambda _: next(replies))
    done = await run(
        coannotating, ROWS[:1], annotator=asked, people=people()[0], uncertainty="repeated", repeats=4, share=1
    )
    assert done.rows[0].uncertainty == pytest.approx(entropy(["a", "b", "b", "b"]))
    assert len(set(asked.prompts)) == 1
    assert {question.sampling["temperature"] for question in asked.questions} == {1.0}


async def test_sureness_is_averaged_and_taken_from_one():
    replies = iter(["positive\n80", "Negative\n100", "positive"])
    done = await run(
        coannotating, ROWS[:1], annotator=Scripted(lambda _: next(replies)), people=people()[0],
        uncertainty="confidence", repeats=3, share=1,
    )  # fmt: skip
    assert done.rows[0].uncertainty == pytest.approx(1 - 1.8 / 3)
    assert done.rows[0].votes == ["positive", "negative", "positive"]


@pytest.mark.parametrize(
    ("said", "sure"),
    [
        ("positive\n80/100", 0.8), ("positive\n80 out of 100", 0.8), ("positive\n0.8", 0.8), ("positive\n8/10", 0.8), ("positive\n80%", 0.8),
        ("1. positive\n2. 80", 0.8), ("positive\nI am 80% sure, as 3 words say so", 0.8), ("positive, 80", 0.8), ("positive\n1.0", 1.0),
        ("positive\n1", 0.01), ("positive\n0.5%", 0.005), ("5 stars\n80", 0.8), ("positive\n800", 0.0), ("positive\nvery", 0.0), ("", 0.0), (None, 0.0),
    ],
)  # fmt: skip
def test_how_sure_an_answer_says_it_is(said, sure):
    assert sureness(said) == pytest.approx(sure)


async def test_by_chance_the_split_has_nothing_to_do_with_the_votes():
    rows = [{"text": f"{n % 5} positive row {n}"} for n in range(40)]
    done = await run(coannotating, rows, annotator=model(), people=people()[0], uncertainty="random", share=0.5)
    mine = [entropy(row.votes) for row in done.rows if row.annotator == "llm"]
    others = [entropy(row.votes) for row in done.rows if row.annotator == "human"]
    assert max(mine) > min(others)


GOLD = [row | {"gold": row["text"].split()[1]} for row in ROWS] + [{"text": "9 positive row 5", "gold": "positive"}]


async def test_with_gold_labels_the_tables_tell_what_a_share_costs_and_is_worth():
    script, seen = people()
    done = await run(
        coannotating, GOLD, annotator=model(), people=script, human="gold", human_price=1.0, model_price=0.5
    )
    assert seen == []
    assert {row.by for row in done.rows if row.annotator == "human"} == {"gold"}
    shares = list(done.iterate("co_annotating_share"))
    assert [(one.share, one.by_model, one.cost) for one in shares] == [
        (0, 0, 9.0), (0.2, 1, 8.0), (0.4, 2, 7.0), (0.6, 3, 6.0), (0.8, 4, 5.0), (1.0, 6, 3.0)]  # fmt: skip
    # The row on which nine prompts agree, and are wrong, is among the first.
    assert [one.quality for one in shares] == pytest.approx([1, 1, 5 / 6, 5 / 6, 5 / 6, 5 / 6])
    assert [one.random_quality for one in shares] == pytest.approx([1 - k * (1 / 6) / 6 for k in (0, 1, 2, 3, 4, 6)])
    assert [one.efficient for one in shares] == [False, True, False, False, False, True]
    bins = list(done.iterate("co_annotating_bin"))
    assert sum(one.rows for one in bins) == 6
    assert [one.lowest for one in bins] == sorted(one.lowest for one in bins)
    assert sum(one.alignment * one.rows for one in bins) == pytest.approx(5)


async def test_a_classifier_is_trained_on_the_labels_of_each_share_and_tried_on_others():
    pytest.importorskip("sklearn")
    rows = [{"text": f"0 {label} row {n}", "gold": label} for n in range(12) for label in LABELS]
    wrong = [{"text": f"9 positive row {n}", "gold": "positive"} for n in range(30)]  # the model is sure, and wrong
    embedder = Scripted(lambda q: [1.0, 0.0] if "positive" in q.texts[0] else [0.0, 1.0])
    tried = [{"text": f"positive {n}", "gold": "positive"} for n in range(3)] + [{"text": "x", "gold": "negative"}]
    done = await run(
        coannotating, rows + wrong, annotator=model(), people=people()[0], embedder=embedder, test=tried, human="gold"
    )
    shares = list(done.iterate("co_annotating_share"))
    assert shares[0].classifier_quality == 1.0
    assert shares[-1].classifier_quality == 0.25
    assert shares[0].lineage.parents[0].startswith("classifier:")


async def test_without_one_readable_vote_there_is_no_classifier_for_the_labels_of_the_model_alone():
    pytest.importorskip("sklearn")
    embedder = Scripted(lambda q: [1.0, 0.0] if "positive" in q.texts[0] else [0.0, 1.0])
    done = await run(
        coannotating, GOLD, annotator=model(lambda _: "Hm."), people=people()[0], embedder=embedder, test=GOLD, human="gold"
    )  # fmt: skip
    shares = list(done.iterate("co_annotating_share"))
    assert [one.classifier_quality is None for one in shares] == [False] * 5 + [True]
    assert shares[0].classifier_quality == 1.0


async def test_people_who_skip_leave_no_label():
    nobody = Script(lambda task, number: Note(by="ann", skipped=True))
    done = await run(coannotating, ROWS, annotator=model(), people=nobody, share=0.4)
    assert [row.annotator for row in done.rows] == ["llm", "llm"]
    assert [reject.reason for reject in done.rejects] == ["skipped"] * 3


async def test_a_run_with_people_waits_and_asks_them_only_about_the_uncertain_rows():
    done = await run(coannotating, ROWS, annotator=model(), people="people:crowd", share=0.6, allow_failures=True)
    assert (done.exit_code, done.waiting, [row.annotator for row in done.rows]) == (4, 2, ["llm"] * 3)


async def test_a_row_of_which_nobody_gives_a_label_costs_no_other():
    def label(task, number):
        if "row 4" in task.text:
            raise Refused("no")
        return Note(by="ann", labels=["positive"])

    done = await run(coannotating, ROWS, annotator=model(), people=Script(label), share=0.4, allow_failures=True)
    assert [(row.text, row.annotator) for row in done.rows] == [
        ("0 negative row 1", "llm"), ("1 negative row 3", "llm"), ("2 positive row 2", "human"), ("4 positive row 0", "human"),
    ]  # fmt: skip
    assert [failure.error for failure in done.failures] == ["no"]
    assert all(len(row.lineage.parents) == 1 for row in done.rows)


@pytest.mark.parametrize(
    ("options", "seeds", "why"),
    [
        ({"labels": ["a", "A"]}, ROWS, "different words"),
        ({"labels": ["yes", "error"]}, ROWS, "name the label otherwise"),
        ({"grid": [0.5, 2]}, ROWS, "between 0 and 1"),
        ({"human": "gold"}, ROWS, "5 rows have no `gold`"),
        ({}, [{"text": "a", "gold": "so-so"}], "none of positive, negative"),
        ({"test": ROWS}, ROWS, "needs a `gold` label"),
        ({"test": [{"text": "a", "gold": "positive"}]}, ROWS, "embedder=wordllama"),
    ],
)
async def test_what_cannot_work_is_said_before_anything_is_asked(options, seeds, why):
    asked = model()
    with pytest.raises(BadInput, match=why):
        await run(coannotating, seeds, annotator=asked, people=people()[0], **options)
    assert asked.questions == []
