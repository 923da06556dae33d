"""UltraFeedback: different models under drawn principles, one call an aspect with all texts, one critique a text."""

import json
import re
from collections import Counter

import pytest

from gristmill.errors import BadInput
from gristmill.models.protocol import Reply
from gristmill.recipes.preference.ultrafeedback import ASPECTS, PRINCIPLES, ultrafeedback
from gristmill.testing import Scripted, replay, run, text_of

SEED = {"instruction": "Name a bird.", "source": "sharegpt"}
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]
GRADES = dict(zip(NAMES, (1, 2, 3, 4, 5, 5), strict=True))


def pool(names=NAMES):
    return [Scripted(lambda question, name=name: f"I am {name}.", model=name) for name in names]


def aspect_of(question):
    [aspect] = [name for name, prompt in ASPECTS.items() if text_of(question).startswith(prompt.text)]
    return aspect


def texts_of(question):
    """The texts that a rating call shows, in the order of their numbers."""
    found = re.findall(r"### Text (\d)\n(.*)\n", text_of(question))
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [text for _, text in found]


def name_in(text):
    return re.search(r"I am (\w+)\.", text)[1]


def form(aspect, grade):
    types = {"type": [1, 3], "type_rationale": "so"} if aspect in ("truthfulness", "helpfulness") else {}
    return {**types, "rating": grade, "rationale": f"{aspect} is {grade}"}


def judge(grade=lambda name, aspect: GRADES[name], critique=lambda name: f"Say more.\nOverall Score: {GRADES[name]}"):
    def say(question):
        if question.schema:
            aspect = aspect_of(question)
            graded = [form(aspect, grade(name_in(text), aspect)) for text in texts_of(question)]
            return json.dumps({f"text_{number}": given for number, given in enumerate(graded, 1)})
        return critique(name_in(text_of(question)))

    return Scripted(say, model="judge")


async def feedback(seeds=(SEED,), models=None, judging=None, **options):
    return await run(ultrafeedback, seeds, models=models or pool(), judge=judging or judge(), **options)


def pairs(done):
    return list(done.iterate("ultra_feedback_pair"))


def aspects(completion):
    return {name: getattr(completion.annotations, name) for name in ASPECTS}


# -- completions


async def test_a_row_has_four_completions_of_four_models_and_sixteen_annotations():
    done = await feedback([SEED] * 20)
    assert len(done.rows) == 20
    for row in done.rows:
        assert len({completion.model for completion in row.completions}) == len(row.completions) == 4
        assert row.distinct_models == 4
        assert all(completion.response == f"I am {completion.model}." for completion in row.completions)
        rated = [note for completion in row.completions for note in aspects(completion).values()]
        assert len(rated) == 16
        assert all(note.rating in range(1, 6) and note.rationale for note in rated)
    assert {completion.model for row in done.rows for completion in row.completions} == set(NAMES)
    assert len({tuple(completion.model for completion in row.completions) for row in done.rows}) > 10


async def test_a_completion_is_sampled_under_a_phrasing_of_its_principle_as_system_text():
    models = pool()
    done = await feedback([{"instruction": "Name", "input": "a bird"}], models=models)
    asked = {model.model: model.questions for model in models if model.questions}
    assert len(asked) == 4
    for completion in done.rows[0].completions:
        [question] = asked[completion.model]
        assert [message.role for message in question.messages] == ["system", "user"]
        assert question.messages[0].content == completion.custom_system_prompt
        assert completion.custom_system_prompt in [prompt.text for prompt in PRINCIPLES[completion.principle]]
        assert question.messages[1].content == "Name\na bird"
        assert question.sampling == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 1024}


def test_a_principle_has_eleven_phrasings_and_calibration_one():
    assert {name: len({prompt.text for prompt in texts}) for name, texts in PRINCIPLES.items()} == {
        "helpfulness": 11, "truthfulness": 11, "honesty": 11, "verbalized_calibration": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "shares"),
    [
        ("sharegpt", {"helpfulness": 0.6, "truthfulness": 0.2, "honesty": 0.18, "verbalized_calibration": 0.02}),
        ("ultrachat", {"helpfulness": 0.6, "truthfulness": 0.2, "honesty": 0.18, "verbalized_calibration": 0.02}),
        ("flan", {"helpfulness": 0.8, "verbalized_calibration": 0.2}),
        ("evol_instruct", {"helpfulness": 1.0}),
        ("truthful_qa", {"truthfulness": 0.5, "honesty": 0.45, "verbalized_calibration": 0.05}),
        ("false_qa", {"truthfulness": 0.5, "honesty": 0.45, "verbalized_calibration": 0.05}),
        ("", {"helpfulness": 0.6, "truthfulness": 0.2, "honesty": 0.18, "verbalized_calibration": 0.02}),
    ],
)
async def test_principles_are_drawn_by_the_source(source, shares):
    done = await feedback([{"instruction": "Name a bird.", "source": source}] * 100)
    drawn = [completion for row in done.rows for completion in row.completions]
    counts = Counter(completion.principle for completion in drawn)
    assert len(drawn) == 400
    assert set(counts) == set(shares)  # 0.02 of 400 is 8: none at all has a chance of 1 in 3,000
    for principle, share in shares.items():  # four standard deviations
        assert abs(counts[principle] - 400 * share) <= 4 * (400 * share * (1 - share)) ** 0.5
    if source == "evol_instruct":
        assert len({completion.custom_system_prompt for completion in drawn}) == 11


async def test_only_a_draw_of_honesty_becomes_one_of_calibration(monkeypatch):
    monkeypatch.setattr("gristmill.recipes.preference.ultrafeedback.CALIBRATED", 1.0)
    done = await feedback([{"instruction": "Name a bird.", "source": "false_qa"}] * 10)
    assert {c.principle for row in done.rows for c in row.completions} == {"truthfulness", "verbalized_calibration"}


# -- judging


async def test_the_judge_is_asked_once_an_aspect_with_all_four_texts_and_once_a_text_for_a_critique():
    judging = judge()
    done = await feedback(judging=judging)
    responses = sorted(completion.response for completion in done.rows[0].completions)
    rated = [question for question in judging.questions if question.schema]
    criticised = [question for question in judging.questions if not question.schema]
    assert sorted(map(aspect_of, rated)) == sorted(ASPECTS)
    assert all(sorted(texts_of(question)) == responses for question in rated)
    assert len(criticised) == 4
    for completion in done.rows[0].completions:
        [question] = [question for question in criticised if completion.response in text_of(question)]
        assert completion.custom_system_prompt in text_of(question)
        assert sum(response in text_of(question) for response in responses) == 1
    assert all(SEED["instruction"] in text for text in judging.prompts)
    for question in judging.questions:
        assert question.sampling == {"temperature": 0.0, "top_p": 0.6, "max_tokens": 1024}


async def test_texts_are_shown_in_another_order_for_each_aspect_and_each_gets_its_own_rating():
    judging = judge(grade=lambda name, aspect: (GRADES[name] + len(aspect)) % 5 + 1)
    done = await feedback([SEED] * 10, judging=judging)
    for row in done.rows:
        for completion in row.completions:
            for aspect, note in aspects(completion).items():
                assert note.rating == (GRADES[completion.model] + len(aspect)) % 5 + 1
                assert note.rationale == f"{aspect} is {note.rating}"
    orders = {}
    for question in judging.questions:
        if question.schema:
            key = frozenset(texts_of(question))
            orders.setdefault(key, set()).add(tuple(texts_of(question)))
    assert max(map(len, orders.values())) >= 3


async def test_an_aspect_that_does_not_apply_is_left_out_of_the_mean():
    def grade(name, aspect):
        return "N/A" if aspect == "honesty" and name == "dog" else {"truthfulness": 1}.get(aspect, 4)

    done = await feedback(models=pool(NAMES[:4]), judging=judge(grade))
    means = {completion.model: completion.mean_rating for completion in done.rows[0].completions}
    assert means == {"ant": 3.25, "bee": 3.25, "cat": 3.25, "dog": 3.0}
    [dog] = [completion for completion in done.rows[0].completions if completion.model == "dog"]
    assert dog.annotations.honesty.rating is None


@pytest.mark.parametrize("aspect", ["instruction_following", "truthfulness", "helpfulness"])
async def test_only_honesty_may_not_apply(aspect):
    done = await feedback(judging=judge(lambda name, asked: "N/A" if asked == aspect else 3))
    assert not done.rows
    assert [(r.reason, r.details["of"]) for r in done.rejects] == [("unread_rating", aspect)]


async def test_types_are_kept_with_the_aspects_that_have_them():
    done = await feedback()
    for completion in done.rows[0].completions:
        types = {aspect: (note.type, note.type_rationale) for aspect, note in aspects(completion).items()}
        assert types == {
            "instruction_following": ([], ""), "honesty": ([], ""),
            "truthfulness": ([1, 3], "so"), "helpfulness": ([1, 3], "so"),
        }  # fmt: skip


@pytest.mark.parametrize(
    "known",
    [
        {"world_knowledge": "Wrens are birds."},
        {"correct_answers": ["Wrens are birds."], "incorrect_answers": ["Bats"]},
    ],
)
async def test_world_knowledge_is_shown_for_truthfulness_and_helpfulness_where_there_is_some(known):
    judging = judge()
    await feedback([{**SEED, **known}], judging=judging)
    shown = {aspect_of(q) for q in judging.questions if q.schema and "### World Knowledge\n" in text_of(q)}
    assert shown == {"truthfulness", "helpfulness"}
    knowing = [text_of(q) for q in judging.questions if "Wrens are birds." in text_of(q)]
    assert len(knowing) == 2
    assert all("Wrong: Bats" in text for text in knowing) == ("incorrect_answers" in known)
    await feedback(judging=judging)
    assert sum("World Knowledge" in text for text in judging.prompts) == 2


@pytest.mark.parametrize(
    ("said", "critique", "score"),
    [
        ("Be clearer.\nOverall Score: 7", "Be clearer.", 7),
        ("Be clearer.\n\n**Overall Score:** 7/10", "Be clearer.", 7),
        ("Be clearer. Overall Score: 1", "Be clearer.", 1),
        ("Be clearer. overall score: 1/10", "Be clearer.", 1),
        ("The Overall Score: 3 would be harsh.\nOverall Score: 8.5", "The Overall Score: 3 would be harsh.", 8.5),
        ("Be clearer.\nOverall Score: 10", "Be clearer.", 10),
        ("Be clearer.\nOverall Score: 7\nThis overall score is fair.", "Be clearer.", 7),
        ("Be clearer.\nOverall Score: 7\n- 3 mistakes", "Be clearer.", 7),
    ],
)
async def test_a_critique_is_split_at_its_score(said, critique, score):
    done = await feedback(judging=judge(critique=lambda name: said))
    assert {(c.critique, c.overall_score) for c in done.rows[0].completions} == {(critique, score)}
    lessons = list(done.iterate("ultra_feedback_critique"))
    assert len(lessons) == 4
    for lesson, completion in zip(lessons, done.rows[0].completions, strict=True):
        assert completion.response in lesson.prompt
        assert lesson.completion == f"{critique}\nOverall Score: {score:g}"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Be clearer.", "unread_rating"),
        ("Overall Score: none", "unread_rating"),
        ("Be clearer.\nOverall Score: [1-10]", "unread_rating"),  # the form, repeated
        ("Overall Score: 11", "rating_out_of_range"),
        ("Overall Score: 0", "rating_out_of_range"),
        ("**Overall Score: 7**", "no_feedback"),
        (" \n", "empty"),
        (Reply("Be clearer.\nOverall Score: 1", finish="length"), "truncated"),  # of 10, perhaps
    ],
)
async def test_a_critique_without_a_score_is_rejected_and_the_ratings_stay(said, reason):
    judging = judge(critique=lambda name: said if name == "ant" else "Fine. Overall Score: 5")
    done = await feedback(models=pool(NAMES[:4]), judging=judging)
    assert [(r.reason, r.details["of"], r.details["model"]) for r in done.rejects] == [(reason, "critique", "ant")]
    [row] = done.rows
    assert {c.model: (c.critique, c.overall_score) for c in row.completions} == {
        "ant": ("", None), **dict.fromkeys(NAMES[1:4], ("Fine.", 5)),
    }  # fmt: skip
    assert done.counts["ultra_feedback_critique"] == 3
    assert len(pairs(done)) == 6


@pytest.mark.parametrize("which", ["all", "best"])
async def test_a_completion_without_a_score_takes_no_part_in_a_ranking_by_score(which):
    judging = judge(critique=lambda name: "?" if name == "dog" else f"Fine. Overall Score: {GRADES[name]}")
    options = {"models": pool(NAMES[:4]), "judging": judging, "rank_by": "overall_score", "pairs": which}
    done = await feedback(**options)
    assert len(pairs(done)) == {"all": 3, "best": 1}[which]
    assert not any("dog" in (pair.chosen_model, pair.rejected_model) for pair in pairs(done))
    assert {pair.chosen_model for pair in pairs(done)} <= {"bee", "cat"}
    silent = {**options, "judging": judge(critique=lambda name: "?")}
    assert not pairs(await feedback(**silent))


async def test_ratings_that_cannot_be_read_cost_the_instruction_also_after_asking_again():
    judging = Scripted(lambda question: '{"text_1": {"rating": 6}}' if question.schema else "Fine. Overall Score: 5")
    done = await feedback(judging=judging)
    assert not done.rows
    assert [(r.reason, r.details["of"]) for r in done.rejects] == [("unread_rating", "instruction_following")]


async def test_an_instruction_without_text_is_rejected_before_anything_is_asked():
    models = pool()
    done = await feedback([{"instruction": " \n"}], models=models)
    assert [r.reason for r in done.rejects] == ["empty"]
    assert not [question for model in models for question in model.questions]


async def test_an_empty_completion_costs_the_instruction_before_the_judge_is_asked():
    judging = judge()
    done = await feedback(models=[Scripted(lambda q: " ", model=name) for name in NAMES], judging=judging)
    assert ([r.reason for r in done.rejects], judging.questions) == (["empty"], [])


# -- pairs


async def test_every_two_completions_that_differ_in_their_mean_make_a_pair():
    done = await feedback(models=pool(NAMES[:4]))
    assert Counter((pair.chosen_model, pair.rejected_model) for pair in pairs(done)) == {
        (better, worse): 1 for better in NAMES[:4] for worse in NAMES[:4] if GRADES[better] > GRADES[worse]
    }
    for pair in pairs(done):
        assert (pair.prompt, pair.chosen, pair.rejected) == (
            SEED["instruction"], f"I am {pair.chosen_model}.", f"I am {pair.rejected_model}.",
        )  # fmt: skip
        assert (pair.chosen_score, pair.rejected_score) == (GRADES[pair.chosen_model], GRADES[pair.rejected_model])
        assert pair.lineage.seed == done.rows[0].lineage.seed
    assert not done.rejects


async def test_ties_give_no_pair():
    done = await feedback(models=pool(NAMES[2:]))  # elk and fox have the same grade
    assert len(pairs(done)) == 5
    [tie] = done.rejects
    assert (tie.reason, set(tie.details["models"]), tie.details["score"]) == ("tie", {"elk", "fox"}, 5)
    assert len(done.rows) == 1


async def test_completions_may_be_ranked_by_the_score_of_their_critique():
    judging = judge(critique=lambda name: f"Hm. Overall Score: {9 - GRADES[name]}")
    done = await feedback(models=pool(NAMES[:4]), judging=judging, rank_by="overall_score")
    assert {(pair.chosen_model, pair.rejected_model) for pair in pairs(done)} >= {("ant", "dog"), ("bee", "cat")}
    assert {pair.chosen_score - pair.rejected_score for pair in pairs(done)} == {1, 2, 3}


async def test_with_best_pairs_the_best_one_meets_another_one_drawn():
    done = await feedback([SEED] * 30, models=pool(NAMES[:4]), pairs="best")
    assert len(pairs(done)) == 30
    assert {pair.chosen_model for pair in pairs(done)} == {"dog"}
    assert {pair.rejected_model for pair in pairs(done)} == {"ant", "bee", "cat"}


async def test_the_last_instruction_of_a_run_has_its_pairs():
    done = await feedback([SEED] * 5, models=pool(NAMES[:4]), target=2)
    assert (len(done.rows), len(pairs(done)), done.counts["ultra_feedback_critique"]) == (2, 12, 8)


# -- the pool


async def test_a_pool_that_is_too_small_is_refused_with_what_to_do():
    models = pool(["ant", "bee", "bee"])
    with pytest.raises(BadInput, match=r"only 2 different models \(ant, bee\).*set it to 2"):
        await feedback(models=models)
    assert not [question for model in models for question in model.questions]
    done = await feedback(models=models, models_per_instruction=2)
    assert {completion.model for completion in done.rows[0].completions} == {"ant", "bee"}
    assert len(pairs(done)) == 1


async def test_a_single_model_is_compared_with_itself_and_the_row_says_so():
    said = iter(NAMES)
    alone = Scripted(lambda question: f"I am {next(said)}.", model="solo")
    done = await feedback(models=[alone])
    [row] = done.rows
    assert row.distinct_models == 1
    assert {completion.model for completion in row.completions} == {"solo"}
    assert len({completion.response for completion in row.completions}) == 4
    assert len(pairs(done)) == 6


async def test_a_replay_and_any_concurrency_give_the_same_rows():
    seeds = [{"instruction": f"Name bird {i}.", "source": source} for i in range(6) for source in ("flan", "false_qa")]
    one = await feedback(seeds, concurrency=1)
    many = await feedback(seeds, concurrency=16)
    again = await replay(many)
    assert one.rows == many.rows == again.rows
    assert pairs(one) == pairs(again)
    assert list(one.iterate("ultra_feedback_critique")) == list(again.iterate("ultra_feedback_critique"))
    assert len(one.rows) == 12
    assert again.calls == 0
    assert all(row.lineage.calls for row in [*one.rows, *pairs(one)])
