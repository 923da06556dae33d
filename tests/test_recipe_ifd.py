"""IFD: what the losses are means over, what is dropped, and which share stays."""

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from math import exp, log

import pytest

import gristmill
from gristmill import BadInput, Instruction, Training, recipe
from gristmill.models.protocol import Token
from gristmill.ops.ask import Bad
from gristmill.ops.text import approx_tokens
from gristmill.recipes.quality.ifd import ALONE, PROMPT, fitting, ifd, losses, ratio, spread
from gristmill.testing import Scripted, folder, replay, run

WORDS = ["sun", "rain", "wind", "snow", "oak", "elm", "fox", "owl", "bee", "ant", "iron", "gold", "salt", "clay"]


def cache_model(**options):
    """A small language model that really conditions: a word is the likelier the more often it stood before it."""

    def say(question):
        frame = set(PROMPT(instruction="").lower().split())
        seen = Counter(word for word in question.prompt.lower().split() if word not in frame)
        tokens = []
        for word in question.continuation.lower().split():
            tokens.append(Token(word, log(0.6 * seen[word] / max(1, sum(seen.values())) + 0.4 / 200)))
            seen[word] += 1
        return tokens

    return Scripted(say, model="cache", **options)


def fixed(ratios, direct=1.0):
    """Finds the outputs so likely that their IFD is what is wanted."""

    def say(question):
        if question.prompt == ALONE():
            return [Token("t", -direct)] * 3
        return [Token("t", -direct * ratios[question.continuation])] * 3

    return Scripted(say, model="fixed")


def rows(outputs):
    return [{"instruction": f"Do {output}.", "input": "in", "output": output} for output in outputs]


def report(done):
    [found] = list(done.iterate("ifd_report"))
    return found


def pairs(count=40):
    """Answers that take up the words of their instructions."""
    rng = random.Random(1)
    found = []
    for _ in range(count):
        topic = rng.sample(WORDS, 3)
        found.append(
            {"instruction": f"Tell of {' '.join(topic)}", "output": f"here come {' '.join(topic)} again {topic[0]}"}
        )
    return found


# -- what the number says


async def test_pairing_outputs_with_other_instructions_raises_the_mean_ifd_toward_1():
    right = pairs()
    outputs = [row["output"] for row in right]
    wrong = [row | {"output": outputs[(at + 7) % len(outputs)]} for at, row in enumerate(right)]
    means = [report(await run(ifd, seeds, scorer=cache_model())).mean for seeds in (right, wrong)]
    assert means[0] < 0.9
    assert means[1] - means[0] > 0.6 * (1 - means[0])


async def test_an_output_that_copies_its_instruction_is_far_below_1():
    text = "sun oak fox iron bee sun oak fox"
    seeds = [{"instruction": text, "output": text}, {"instruction": "gold clay", "output": text}]
    done = await run(ifd, seeds, scorer=cache_model(), keep_flagged=True)
    copy, other = [row.ifd for row in done.rows]
    assert copy < 0.75
    assert other > 0.95


async def test_rows_above_1_are_never_returned_and_exactly_1_may_be():
    done = await run(ifd, rows(["a", "b", "c"]), scorer=fixed({"a": 1.01, "b": 1.0, "c": 0.5}), keep_share=1.0)
    assert [row.output for row in done.rows] == ["b", "c"]
    assert [(r.reason, r.candidate["output"], round(r.details["ifd"], 6)) for r in done.rejects] == [
        ("high_ifd", "a", 1.01)
    ]
    assert report(done).above == 1
    done = await run(ifd, rows(["a"]), scorer=fixed({"a": 1.01}), keep_share=1.0, drop_above=1.1)
    assert len(done.rows) == 1


async def test_losses_are_means_over_the_output_alone():
    output = "sun oak fox"
    seeds = [{"instruction": "Go.", "output": output}, {"instruction": "Go. " + "well then " * 40, "output": output}]
    model = cache_model()
    done = await run(ifd, seeds, scorer=model, keep_flagged=True)
    assert [row.tokens for row in done.rows] == [3, 3]
    assert done.rows[0].loss_direct == done.rows[1].loss_direct
    assert {question.continuation for question in model.questions} == {output}
    assert {question.prompt for question in model.questions} == {
        ALONE(), *(PROMPT(instruction=seed["instruction"].strip()) for seed in seeds)
    }  # fmt: skip
    assert ALONE() in PROMPT(instruction="x")  # the same words stand right before the output
    given = [Token("a", -1.0), Token("b", -3.0)]
    alone = [Token("a", -2.0), Token("b", -6.0)]
    assert losses(given, alone) == (2.0, 4.0, 2)


async def test_the_input_belongs_to_the_instruction():
    model = cache_model()
    await run(ifd, rows(["a b"]), scorer=model)
    assert any("Do a b.\n\nin" in question.prompt for question in model.questions)


async def test_a_first_token_without_a_probability_counts_on_neither_side():
    given = [Token("a", -5.0), Token("b", -1.0)]
    alone = [Token("a", -9999.0), Token("b", -2.0)]
    assert losses(given, alone) == (1.0, 2.0, 1)


async def test_the_perplexity_variant_is_another_number_and_is_named():
    seeds, scorer = rows(["a", "b"]), {"a": 0.5, "b": 0.8}
    for variant, wanted in (("loss", [0.5, 0.8]), ("perplexity", [exp(-1.5), exp(-0.6)])):
        done = await run(ifd, seeds, scorer=fixed(scorer, direct=3.0), variant=variant, keep_flagged=True)
        assert [row.ifd for row in done.rows] == pytest.approx(wanted)
        assert {row.variant for row in done.rows} == {variant}
    # Another order: a long way between large losses is a small ratio of perplexities.
    assert ratio(9.0, 10.0, "loss") > ratio(0.5, 1.0, "loss")
    assert ratio(9.0, 10.0, "perplexity") < ratio(0.5, 1.0, "perplexity")


# -- which rows stay


async def test_the_top_share_stays_in_the_order_of_the_rows():
    ratios = {f"row {n}": 0.1 + ((7 * n) % 20) / 25 for n in range(20)}
    done = await run(ifd, rows(ratios), scorer=fixed(ratios), keep_share=0.25)
    best = sorted(ratios, key=lambda name: -ratios[name])[:5]
    assert [row.output for row in done.rows] == [name for name in ratios if name in best]
    assert {reject.reason for reject in done.rejects} == {"below_share"}
    assert ifd.parameters["keep_share"].default == 0.1
    assert all(row.keep for row in done.rows)
    found = report(done)
    assert (found.rows, found.scored, found.kept, found.kept_share, found.above) == (20, 20, 5, 0.25, 0)
    assert found.mean == pytest.approx(sum(ratios.values()) / 20)
    assert (found.quantiles[0], found.quantiles[4]) == pytest.approx((min(ratios.values()), max(ratios.values())))


async def test_the_share_is_one_of_all_rows_and_those_above_1_do_not_fill_it():
    ratios = {f"row {n}": 1.5 if n < 5 else 0.5 + n / 100 for n in range(10)}
    done = await run(ifd, rows(ratios), scorer=fixed(ratios), keep_share=0.2)
    assert [row.output for row in done.rows] == ["row 8", "row 9"]


async def test_flagged_rows_can_stay_and_say_so():
    done = await run(ifd, rows(["a", "b"]), scorer=fixed({"a": 1.2, "b": 0.9}), keep_flagged=True, keep_share=0.5)
    assert [(row.output, row.keep) for row in done.rows] == [("a", False), ("b", True)]
    assert not done.rejects


# -- what cannot be scored


async def test_what_does_not_fit_is_dropped_and_an_answer_is_cut():
    long = "Answer this. " * 500
    asked = Scripted(lambda q: [Token("t", -1.0)], model="m")
    done = await run(ifd, [{"instruction": long, "output": "yes"}], scorer=asked)
    assert [reject.reason for reject in done.rejects] == ["too_long"]
    assert not asked.questions
    done = await run(ifd, [{"instruction": "Why?", "output": long}], scorer=asked, max_length=100, keep_flagged=True)
    assert len(done.rows) == 1
    assert {len(question.continuation) for question in asked.questions} != {len(long)}
    assert len({question.continuation for question in asked.questions}) == 1
    assert fitting("yes", "", 10) == "yes"


@pytest.mark.parametrize(("output", "room"), [("yes", 0), ("yes", -5), ("\n\n  yes", 1), ("𒀀", 1)])
def test_an_answer_of_which_nothing_is_left_is_dropped(output, room):
    with pytest.raises(Bad, match="too_long") as caught:
        fitting(output, "a", approx_tokens("a") + room)
    assert caught.value.details == {"tokens": approx_tokens("a")}


def test_an_answer_is_cut_to_what_is_left():
    cut = fitting("one two three four five six", "a", approx_tokens("a") + 3)
    assert cut == "one two three "


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [([], "no_loss"), ([Token("t", -1.0), Token("t", -9999.0)], "no_loss"), ([Token("t", 0.0)] * 2, "no_loss")],
)
async def test_without_probabilities_there_is_no_score(tokens, reason):
    done = await run(ifd, rows(["a"]), scorer=Scripted(lambda q: tokens, model="m"))
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], [reason])
    assert (report(done).scored, report(done).mean) == (0, None)


async def test_a_row_without_an_answer_is_dropped():
    done = await run(ifd, rows([" "]), scorer=cache_model())
    assert [reject.reason for reject in done.rejects] == ["no_answer"]


async def test_a_row_that_fails_costs_that_row():
    def say(question):
        if "bad" in question.continuation:
            raise gristmill.Refused("no")
        return [Token("t", -1.0)]

    done = await run(ifd, rows(["a", "bad", "c"]), scorer=Scripted(say, model="m"), keep_share=1.0, allow_failures=True)
    assert [row.output for row in done.rows] == ["a", "c"]
    assert len(done.failures) == 1


async def test_without_a_model_it_is_said_what_to_name():
    with pytest.raises(BadInput, match="scorer"):
        await run(ifd, rows(["a"]))
    with pytest.raises(BadInput, match="embedder"):
        await run(ifd, rows(["a"]), student=cache_model())


# -- a first experience


def place(question):
    return [1.0 if word in question.texts[0] else 0.0 for word in ("fox", "gold")]


async def test_a_student_learns_from_rows_of_all_clusters_before_it_scores():
    seeds = [
        {"instruction": f"{word} number {n}", "output": f"{word} {n}"} for word in ("fox", "gold") for n in range(8)
    ]
    plain = cache_model()
    student = cache_model(trained=[lambda q: [Token("t", -0.5 if "###" in q.prompt[:4] else -0.25)] * 2])
    embedder = Scripted(place, model="embedder")
    done = await run(
        ifd, seeds, scorer=plain, student=student, embedder=embedder, clusters=2, per_cluster=3, keep_flagged=True
    )  # fmt: skip
    assert {text for question in embedder.questions for text in question.texts} == {row["instruction"] for row in seeds}
    assert {row.ifd for row in done.rows} == {0.5}  # of the trained one
    assert not plain.questions
    [(_, course)] = student.courses
    taught = Counter(lesson.completion.split()[0] for lesson in course.lessons)
    assert taught == {"fox": 3, "gold": 3}
    assert course.lessons[0].prompt == PROMPT(
        instruction=next(s["instruction"] for s in seeds if s["output"] == course.lessons[0].completion)
    )
    assert (course.method, course.training.epochs) == ("sft", 1)
    assert ifd.parameters["training"].default == Training(epochs=1)
    assert (ifd.parameters["clusters"].default, ifd.parameters["per_cluster"].default) == (100, 10)
    assert {question.prompt for question in student.questions} == {""}  # before training: the instructions' own losses
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)
    assert all(any("checkpoint" in parent or len(parent) > 8 for parent in row.lineage.parents) for row in done.rows)
    assert all(len(row.lineage.parents) == 2 for row in done.rows)


def test_of_each_cluster_the_ends_are_left_out_and_the_rest_is_evenly_spaced():
    values = [float(n) for n in range(200)]
    chosen = spread([0] * 200, values, 10)
    assert len(chosen) == 10
    assert 0 not in chosen
    assert 199 not in chosen
    assert len({b - a for a, b in itertools.pairwise(chosen)}) == 1
    assert chosen[-1] > 150
    assert spread([0, 1, 0], [1.0, 2.0, 3.0], 2) == [0, 1, 2]
    assert spread([0, 0], [None, 1.0], 2) == [1]


async def test_an_empty_set_gives_a_report():
    @recipe("none-of-them")
    async def none_of_them(row: Instruction) -> AsyncIterator[Instruction]:
        """Drop all."""
        if row.output == "never":
            yield row

    done = await gristmill.arun(
        gristmill.Chain([none_of_them, ifd]), seeds=rows(["a"]), model={"scorer": cache_model()}, out=folder() / "run"
    )
    assert done.rows == []
    assert (report(done).rows, report(done).kept_share, report(done).quantiles) == (0, 0.0, [])


async def test_a_replay_asks_nothing():
    done = await run(ifd, pairs(10), scorer=cache_model(), keep_share=0.5)
    again = await replay(done)
    assert (again.rows, again.rejects, again.calls) == (done.rows, done.rejects, 0)
    assert len(again.rows) == 5
