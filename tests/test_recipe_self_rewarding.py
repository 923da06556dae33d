"""What makes it self-rewarding: one model answers and judges, both move on together, best against worst."""

import random
import re

import pytest

from gristmill.errors import Refused, TrainingFailed
from gristmill.execute import looking
from gristmill.models.protocol import Reply
from gristmill.ops.ask import Bad
from gristmill.recipes.preference.self_rewarding import in_order, read_prompt, read_score, self_rewarding
from gristmill.testing import Scripted, folder, replay, run

ROWS = [{"prompt": f"Say what number {word} means to you.", "response": f"It means {word}."} for word in
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")]  # fmt: skip
RANKED = [
    {"prompt": f"Ranked question {n}?", "replies": [{"text": f"good {n}", "rank": 0}, {"text": f"bad {n}", "rank": 1}]}
    for n in range(8)
]
NOUNS = [
    a + b
    for a in ("bar", "cel", "dom", "fen", "gar", "hul", "jun", "kop")
    for b in ("ane", "ibo", "oku", "ust", "erl", "ath")
]


def judged(question) -> tuple[str, str]:
    text = question.messages[0].content
    return re.search(r"User: (.*)\n", text)[1], re.search(r"<response>(.*)</response>", text, re.DOTALL)[1]


def is_judge(question) -> bool:
    return "<response>" in question.messages[0].content


def by_word(question) -> str:
    _, response = judged(question)
    return f"Fine.\nScore: {4 if response.startswith('good') else 1}"


def talker(scores=(3, 5, 2, 5), name="m", judge=by_word):
    """Answers "name 0", "name 1", ...; its own judgement of these is the given score."""
    said: dict[str, int] = {}

    def script(question):
        if not is_judge(question):
            prompt = question.messages[0].content
            said[prompt] = said.get(prompt, -1) + 1
            return f"{name} {said[prompt]}"
        _, response = judged(question)
        if response.startswith(("good", "bad")):
            return judge(question)
        return f"So so.\nScore: {scores[int(response.split()[-1])]}"

    return script


def prompter() -> Scripted:
    chance = random.Random(1)
    return Scripted(lambda _: f"11. Compare {' '.join(chance.sample(NOUNS, 6))}.")


SMALL = {"iterations": 3, "prompts_per_iteration": 2}


def model(*scripts) -> Scripted:
    return Scripted(talker(name="m0"), trained=scripts or [talker(name=f"m{n}") for n in range(1, 6)])


async def go(player=None, rows=ROWS, **options):
    options.setdefault("ranked", RANKED)
    options.setdefault("prompter", prompter())
    return await run(self_rewarding, rows, model=player or model(), **(SMALL | options))


async def test_the_best_of_its_own_scores_is_chosen_and_the_worst_rejected():
    done = await go()
    assert {(row.chosen_score, row.rejected_score, tuple(row.scores)) for row in done.rows} == {(5, 2, (3, 5, 2, 5))}
    assert all((row.chosen[-1], row.rejected[-1]) == ("1", "2") for row in done.rows)
    assert len(done.rows) == 4


async def test_equal_scores_make_no_pair_and_a_round_without_pairs_stops_with_everything_kept():
    out = folder()
    with pytest.raises(TrainingFailed, match="no row to learn from"):
        await go(model(talker(), talker(), talker(scores=(4, 4, 4, 4))), out=out)
    with looking(out) as journal:
        kept = [name for (name,) in journal.select("SELECT name FROM rows ORDER BY place, seq")]
        rejects = [reason for (reason,) in journal.select("SELECT reason FROM rejects WHERE reason='equal_scores'")]
    rounds, pairs = "self_rewarding_round", "self_rewarded_pair"
    assert kept == ["self_rewarded_judgement"] * 12 + [rounds, pairs, pairs, rounds]
    assert len(rejects) == 2


async def test_pairs_are_kept_also_where_training_on_them_fails(monkeypatch):
    train = Scripted.train

    async def failing(self, course, folder, progress):
        return {"loss": float("nan")} if course.method == "dpo" else await train(self, course, folder, progress)

    monkeypatch.setattr(Scripted, "train", failing)
    out = folder()
    with pytest.raises(TrainingFailed):
        await go(out=out)
    with looking(out) as journal:
        assert len(list(journal.select("SELECT id FROM rows WHERE name='self_rewarded_pair'"))) == 2


async def test_an_answer_that_is_given_twice_is_judged_once_and_never_best_and_worst():
    def moody():
        """Says the same four times; of its judgements no two are the same."""
        asked = iter(range(999))

        def script(question):
            if is_judge(question) and not judged(question)[1].startswith(("good", "bad")):
                return f"Score: {next(asked) % 6}"
            return by_word(question) if is_judge(question) else "m2 always"

        return script

    out = folder()
    player = model(talker(name="m1"), moody())
    with pytest.raises(TrainingFailed):
        await go(player, out=out)
    with looking(out) as journal:
        reasons = [reason for (reason,) in journal.select("SELECT reason FROM rejects")]
    assert (reasons.count("duplicate"), reasons.count("too_few_scored")) == (2 * 3, 2)
    own = [q for q in player.family[2].questions if is_judge(q) and judged(q)[1] == "m2 always"]
    assert len(own) == 2


async def test_answers_and_judgements_are_of_the_same_model_and_both_change_together():
    player = model()
    done = await go(player)
    # 0 base, 1 on demonstrations alone (writes judgements), 2 is M1, 3 is M2, 4 is M3.
    answered = [[not is_judge(q) for q in one.questions].count(True) for one in player.family]
    own = [[q for q in one.questions if is_judge(q) and not judged(q)[1].startswith(("good", "bad"))] for one in player.family]  # fmt: skip
    assert answered == [0, 0, 2, 2, 0]  # of four samples each
    assert [len(some) for some in own] == [0, 0, 8, 8, 0]  # of three samples each
    for number in (2, 3):
        assert {judged(q)[1].split()[0] for q in own[number]} == {f"m{number}"}
    assert [(row.iteration, row.chosen[:2]) for row in done.rows] == [(1, "m2")] * 2 + [(2, "m3")] * 2


async def test_each_model_is_made_by_dpo_from_the_one_before_which_is_the_reference():
    player = model()
    await go(player)
    assert [(name, course.method) for name, course in player.courses] == [
        ("scripted", "sft"), ("scripted", "sft"), ("scripted+2", "dpo"), ("scripted+3", "dpo")]  # fmt: skip
    assert [course.reference for _, course in player.courses[2:]] == [str(player.family[n].weights) for n in (2, 3)]
    first = player.courses[1][1].lessons
    assert len(first) == len(ROWS) + 12  # six taught prompts with two judgements each
    assert all(lesson.chat for lesson in first)


async def test_a_judgement_without_a_score_does_not_enter_the_mean():
    def forgetful():
        plain, asked = talker(name="m2"), {}

        def script(question):
            if is_judge(question) and judged(question)[1].startswith("m2"):
                response = judged(question)[1]
                asked[response] = asked.get(response, 0) + 1
                if asked[response] == 2:
                    return "I would score 5, or so."
            return plain(question)

        return script

    done = await go(model(talker(name="m1"), forgetful()), iterations=2, prompts_per_iteration=1)
    assert done.rows[0].scores == [3, 5, 2, 5]
    assert dict(done.reject_counts)["no_score"] == 4


async def test_the_mean_of_three_judgements_counts():
    def moody():
        plain, asked = talker(name="m2"), {}

        def script(question):
            if is_judge(question) and judged(question)[1] == "m2 0":
                asked[0] = asked.get(0, -1) + 1
                return f"Score: {[1, 2, 5][asked[0]]}"
            return plain(question)

        return script

    done = await go(model(talker(name="m1"), moody()), iterations=2, prompts_per_iteration=1)
    assert done.rows[0].scores[0] == pytest.approx(8 / 3)


async def test_new_prompts_come_from_eight_examples_two_of_which_are_the_models_own_once_there_are_any():
    writer = prompter()
    await go(prompter=writer, prompts_per_iteration=4)
    seeds = {row["prompt"] for row in ROWS}
    shown = [re.findall(r"^\d+\. (.+)$", prompt, re.MULTILINE) for prompt in writer.prompts]
    own = [sum(one not in seeds for one in some) for some in shown]
    assert [len(some) for some in shown] == [8] * len(shown)
    assert (own[:4], set(own[4:])) == ([0] * 4, {2})
    assert all(q.sampling["temperature"] == 0.6 and q.sampling["top_p"] == 0.9 for q in writer.questions)
    assert all(len(set(some)) == 8 for some in shown)


@pytest.mark.parametrize(("options", "first"), [({}, 8), ({"batch": 3}, 3)])
async def test_once_a_batch_is_there_all_further_ones_see_two_of_the_models_own(options, first):
    writer = prompter()
    await go(prompter=writer, prompts_per_iteration=12, iterations=2, **options)
    seeds = {row["prompt"] for row in ROWS}
    shown = [re.findall(r"^\d+\. (.+)$", prompt, re.MULTILINE) for prompt in writer.prompts]
    own = [sum(one not in seeds for one in some) for some in shown]
    assert (own[:first], set(own[first:])) == ([0] * first, {2})


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        ("Explain tides.", "Explain tides."),
        ("9. Explain tides.\n10. Name a fish.", "Explain tides."),
        ("Explain tides.\n10. Name a fish.", "Explain tides."),
        ("1. Explain tides.\n2. Name a fish.", "Explain tides."),
        ("Here is one more request:\n\n9. Explain tides", "Explain tides"),
        ("A last one:\n9) Explain tides", "Explain tides"),
        ("Sure! Here's another request:\n\nExplain tides.", "Explain tides."),
        ("3D printing: is it worth it?", "3D printing: is it worth it?"),
        ("10 tips for a small garden", "10 tips for a small garden"),
        ("9. 10 tips for a small garden", "10 tips for a small garden"),
        ("Summarise this text:\nTides come\nand go.", "Summarise this text: Tides come and go."),
        ("9. Sort by weight:\n1. Mouse\n2. Elephant", "Sort by weight: 1. Mouse 2. Elephant"),
        ("Sort by weight:\n1. Mouse\n2. Elephant", "Sort by weight: 1. Mouse 2. Elephant"),
        ('"Explain tides."', "Explain tides."),
        ('Who said "I think"', 'Who said "I think"'),
        ("- Explain tides.", "Explain tides."),
    ],
)
def test_the_ninth_prompt_is_read_without_what_stands_around_it(said, prompt):
    assert read_prompt(Reply(said), 9) == prompt


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("Well.\nScore: 4", 4), ("Score: 2\nTo get a score 5 it would need more.", 2), ("**Score:** 3.5", 3.5), ("- **Score: 3/5**.", 3),
        ("Score: 1\nscore: 4 points", 4), ("Score: 4 out of 5 points.", 4), ("Score: <0>", 0), ("I would score 5, or so.", None), ("Score: 7", None), ("Score: 1-5", None),
        ("Score: -1", None), ("My score: high\nScore 4", None), ("Score: 4 of which 2 for style", None),
    ],
)  # fmt: skip
def test_only_a_line_that_is_a_score_counts_and_of_several_the_last(said, score):
    if score is None:
        with pytest.raises(Bad):
            read_score(Reply(said))
    else:
        assert read_score(Reply(said)) == score


async def test_a_judgement_to_learn_from_is_asked_for_once():
    asked = []

    def counted(question):
        asked.append(question)
        return by_word(question)

    player = model(talker(judge=counted), talker(name="m2"))
    done = await go(player, iterations=1, judged_share=0, thin=False, judge_samples=3)
    assert len(asked) == len(list(done.iterate("self_rewarded_judgement"))) == 16


async def test_a_prompt_that_is_like_an_older_one_or_unsuited_is_not_asked():
    bad = iter(
        [ROWS[0]["prompt"], "Draw a map of the whole garden.", "Hi there", "Tell me how a kettle would describe snow."]
    )
    player = model()
    done = await go(player, prompter=Scripted(lambda _: next(bad)), iterations=2, prompts_per_iteration=1, attempts=9)
    assert {row.prompt for row in done.rows} == {"Tell me how a kettle would describe snow."}
    counts = dict(done.reject_counts)
    assert [counts[reason] for reason in ("too_similar", "unsuited", "too_short")] == [1, 1, 1]


async def test_only_judgements_in_the_order_of_people_are_learnt_from():
    def wrong_on_odd(question):
        _, response = judged(question)
        good, number = response.split()
        return f"Score: {4 if (good == 'good') != (int(number) % 2 == 1) else 1}"

    player = model(talker(judge=wrong_on_odd), talker(name="m2"))
    done = await go(player, iterations=1, judged_share=0, thin=False)
    learnt = list(done.iterate("self_rewarded_judgement"))
    assert len(learnt) == 8
    assert all(int(re.search(r"(?:good|bad) (\d)<", row.prompt)[1]) % 2 == 0 for row in learnt)
    assert dict(done.reject_counts) == {"against_people": 4}
    taught = [lesson.completion for lesson in player.courses[1][1].lessons if "<response>" in lesson.prompt]
    assert sorted(taught) == sorted(row.completion for row in learnt)


async def test_the_most_frequent_score_is_thinned_to_the_second():
    ranked = [
        {"prompt": f"Q {n}?", "replies": [{"text": f"good {n}", "rank": 0}, {"text": f"good {n}b", "rank": 1}, {"text": f"bad {n}", "rank": 2}]}
        for n in range(3)
    ]  # fmt: skip
    done = await go(iterations=1, ranked=ranked, judged_share=0)
    scores = [row.score for row in done.iterate("self_rewarded_judgement")]
    assert (scores.count(4), scores.count(1)) == (3, 3)
    assert dict(done.reject_counts)["too_frequent"] == 3
    plain = await go(iterations=1, ranked=ranked, judged_share=0, thin=False)
    assert [row.score for row in plain.iterate("self_rewarded_judgement")].count(4) == 6


async def test_how_well_each_model_judges_is_told_on_prompts_that_none_learnt_from():
    def other_way(question):
        return by_word(question).replace("4", "0")

    player = model(
        talker(), talker(name="m2"), talker(name="m3", judge=other_way), talker(name="m4", judge=lambda _: "Score: 3")
    )
    done = await go(player)
    rounds = list(done.iterate("self_rewarding_round"))
    assert [(one.iteration, one.judge_accuracy) for one in rounds] == [(1, 1.0), (2, 0.0), (3, 0.0)]
    assert [one.learnt for one in rounds] == [22, 2, 2]
    held = {judged(q)[0] for q in player.family[2].questions if is_judge(q) and "Ranked" in judged(q)[0]}
    taught = {re.search(r"User: (.*)\n", lesson.prompt)[1] for lesson in player.courses[1][1].lessons if "<response>" in lesson.prompt}  # fmt: skip
    assert (len(held), held & taught) == (2, set())


def refusing(script, which):
    """Like the script, but not for some questions."""

    def say(question):
        if which(question):
            raise Refused("no")
        return script(question)

    return say


def first_of(key):
    """Whether a question is about the same as the first that was asked; None is about nothing."""
    seen = []

    def which(question):
        if (about := key(question)) is not None:
            seen.append(about)
        return about is not None and about == seen[0]

    return which


def ranked_prompt(question):
    return judged(question)[0] if is_judge(question) and "Ranked" in judged(question)[0] else None


async def test_a_ranked_prompt_whose_judgement_fails_costs_no_other():
    player = model(refusing(talker(), first_of(ranked_prompt)), talker())
    done = await go(player, iterations=1, judged_share=0, thin=False, allow_failures=True)
    assert len(list(done.iterate("self_rewarded_judgement"))) == 14
    assert [failure.error for failure in done.failures] == ["no"]
    player = model(refusing(talker(), ranked_prompt), talker())
    none = await go(player, iterations=1, judged_share=0, allow_failures=True)
    assert ([one.learnt for one in none.iterate("self_rewarding_round")], none.failed) == ([len(ROWS)], 8)


async def test_the_accuracy_of_a_judge_is_of_the_prompts_whose_judgements_did_not_fail():
    for which, accuracy, failed in ((first_of(ranked_prompt), 1.0, 1), (ranked_prompt, None, 4)):
        player = model(talker(), refusing(talker(), which))
        done = await go(player, iterations=1, judged_share=0.5, allow_failures=True)
        assert [one.judge_accuracy for one in done.iterate("self_rewarding_round")] == [accuracy]
        assert [failure.error for failure in done.failures] == ["no"] * failed


async def test_a_new_prompt_that_cannot_be_asked_for_costs_no_other():
    writer, count = prompter(), iter(range(99))
    writer._script = refusing(writer._script, lambda _: next(count) == 0)
    done = await go(prompter=writer, allow_failures=True)
    assert (len(done.rows), [failure.error for failure in done.failures]) == (4, ["no"])


@pytest.mark.parametrize("call", ["answer", "judgement"])
async def test_a_prompt_that_fails_costs_no_other_also_where_one_of_its_judgements_does(call):
    def about(question):
        if call == "answer":
            return None if is_judge(question) else question.messages[0].content
        return judged(question) if is_judge(question) and judged(question)[1].startswith("m2") else None

    player = model(
        talker(name="m1"), refusing(talker(name="m2"), first_of(about)), talker(name="m3"), talker(name="m4")
    )
    done = await go(player, allow_failures=True)
    assert [row.iteration for row in done.rows] == [1, 2, 2]
    assert [len(course.lessons) for _, course in player.courses[2:]] == [1, 2]
    assert [failure.error for failure in done.failures] == ["no"]


async def test_a_round_of_which_every_prompt_fails_stops_with_everything_kept():
    out = folder()
    player = model(talker(), talker(), refusing(talker(), lambda question: not is_judge(question)))
    with pytest.raises(TrainingFailed, match="no row to learn from"):
        await go(player, out=out)
    with looking(out) as journal:
        kept = [name for (name,) in journal.select("SELECT name FROM rows ORDER BY place, seq")]
        assert journal.count("failures", "kind='failed'", ()) == 2
    assert kept[12:] == ["self_rewarding_round", "self_rewarded_pair", "self_rewarded_pair", "self_rewarding_round"]


async def test_a_replay_trains_and_asks_nothing():
    player = model()
    done = await go(player)
    again = await replay(done, model={"model": Scripted(), "prompter": Scripted()})
    assert (again.rows, again.calls) == (done.rows, 0)


@pytest.mark.parametrize(
    ("scores", "ranks", "right"),
    [([4, 1], [0, 1], True), ([1, 4], [0, 1], False), ([3, 3], [0, 1], False), ([5, 3, 3], [0, 1, 2], True), ([5, 3, 4], [0, 1, 2], False), ([1, 5, 3], [2, 0, 1], True), ([2, 3], [0, 0], False)],
)  # fmt: skip
def test_an_order_agrees_where_no_pair_is_turned_round_and_something_is_told_apart(scores, ranks, right):
    assert in_order(scores, ranks) is right
