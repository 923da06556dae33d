"""What makes HelpSteer2 that: two models an answer, three raters or five, the mean of the three that agree most."""

import pytest

from gristmill import BadInput, Refused
from gristmill.models.annotation import Comparing, Note, Writing
from gristmill.models.annotator import Script
from gristmill.recipes.preference.helpsteer2 import ASPECTS, helpsteer2
from gristmill.recipes.preference.helpsteer2_clean import helpsteer2_clean
from gristmill.recipes.preference.helpsteer2_prompts import helpsteer2_prompts, without_code
from gristmill.testing import Scripted, replay, run, text_of

ONE = [{"messages": [{"role": "user", "content": "Name a planet."}]}]
SEEDS = [{"messages": [{"role": "user", "content": f"Name planet {n}."}]} for n in range(20)]
MANY = [
    {
        "messages": [
            {"role": "user", "content": "Name a planet."},
            {"role": "assistant", "content": "Venus, of course."},
            {"role": "user", "content": "Another one."},
            {"role": "assistant", "content": "Mars."},
            {"role": "user", "content": "Why that?"},
        ]
    }
]


def raters(*helpful: int, **notes) -> tuple[Script, list[str]]:
    """Helpfulness in the order of asking, the same for both answers; all else is 2."""
    asked: list[str] = []
    number: dict[str, int] = {}

    def rate(task, _):
        if isinstance(task, Comparing):
            return notes["compare"](task)
        asked.append(task.text)
        about = task.context + task.text
        at = number[about] = number.get(about, -1) + 1
        if helpful[at] < 0:
            return Note(by=f"r{at}", skipped=True)
        return Note(by=f"r{at}", ratings=dict.fromkeys(ASPECTS, 2) | {"helpfulness": helpful[at]})

    return Script(rate), asked


def models(*names: str) -> list[Scripted]:
    return [Scripted(lambda _, name=name: f"{name} says Saturn.", model=name) for name in names]


async def rate(people: Script, seeds=ONE, **options):
    options.setdefault("generators", models("a", "b", "c"))
    options.setdefault("inhouse", Scripted(lambda q: f"Answer {len(q.messages)}"))
    return await run(helpsteer2, seeds, raters=people, **options)


async def test_ratings_that_lie_two_apart_bring_two_more_people_and_the_three_that_agree_most_count():
    people, asked = raters(4, 4, 0, 4, 1)
    done = await rate(people)
    assert [row.helpfulness for row in done.rows] == [4, 4]
    assert len(asked) == 10
    assert [[one.ratings["helpfulness"] for one in row.ratings] for row in done.rows] == [[4, 4, 0, 4, 1]] * 2
    assert [one.by for one in done.rows[0].ratings] == ["r0", "r1", "r2", "r3", "r4"]
    assert (
        await replay(done, model={"generators": models("a", "b", "c"), "inhouse": Scripted(), "raters": people})
    ).rows == done.rows


async def test_ratings_that_lie_one_apart_ask_nobody_else():
    people, asked = raters(3, 3, 4)
    done = await rate(people)
    assert [row.helpfulness for row in done.rows] == [3, 3]
    assert len(asked) == 6


async def test_a_distance_of_exactly_two_is_too_far():
    people, asked = raters(4, 3, 2, 3, 3)
    assert [row.helpfulness for row in (await rate(people)).rows] == [3, 3]
    assert len(asked) == 10


@pytest.mark.parametrize(("given", "mean"), [((3, 4, 4), 4), ((3, 3, 4), 3), ((1, 2, 2), 2), ((0, 0, 1), 0)])
async def test_the_mean_is_rounded_to_a_whole_number(given, mean):
    assert (await rate(raters(*given)[0])).rows[0].helpfulness == mean


async def test_an_answer_on_which_five_still_disagree_is_dropped():
    people, _ = raters(0, 2, 4, 0, 4)
    done = await rate(people)
    assert done.rows == []
    assert [reject.reason for reject in done.rejects] == ["disagreement"] * 2
    assert done.rejects[0].details["helpfulness"] == [0, 2, 4, 0, 4]
    kept = await rate(raters(0, 2, 4, 0, 4)[0], drop_spread=5)
    assert len(kept.rows) == 2


async def test_who_skips_is_replaced_and_too_few_ratings_are_no_row():
    people, asked = raters(3, -1, 3, 3, -1)
    done = await rate(people)
    assert len(asked) == 10
    assert [len(row.ratings) for row in done.rows] == [3, 3]
    none = await rate(raters(3, -1, -1, -1, -1)[0])
    assert [reject.reason for reject in none.rejects] == ["too_few_ratings"] * 2


async def test_the_two_answers_come_from_different_models_that_chance_draws():
    done = await rate(raters(3, 3, 3)[0], seeds=SEEDS, generators=models("a", "b", "c"))
    pairs = [(first.generator, second.generator) for first, second in zip(done.rows[::2], done.rows[1::2], strict=True)]
    assert all(first != second for first, second in pairs)
    assert len(set(pairs)) > 3
    with pytest.raises(BadInput, match="at least two"):
        await rate(raters(3, 3, 3)[0], generators=models("a", "a"))


async def test_what_the_source_let_an_assistant_say_is_written_anew_and_never_shown():
    generators = models("a", "b")
    inhouse = Scripted(lambda q: f"Answer {len(q.messages)}")
    done = await rate(raters(3, 3, 3)[0], MANY, generators=generators, inhouse=inhouse)
    turns = [(turn.role, turn.content) for turn in done.rows[0].prompt]
    assert turns == [("user", "Name a planet."), ("assistant", "Answer 1"), ("user", "Another one."), ("assistant", "Answer 3"), ("user", "Why that?")]  # fmt: skip
    for model in [inhouse, *generators]:
        assert all("Venus" not in prompt and "Mars" not in prompt for prompt in model.prompts)
    assert all("Answer 3" in prompt for model in generators for prompt in model.prompts)
    copied = await rate(raters(3, 3, 3)[0], MANY, inhouse=Scripted(lambda q: "Venus, of course."))
    assert [reject.reason for reject in copied.rejects] == ["copied_turn"]


async def test_the_more_helpful_answer_is_the_chosen_one_and_equal_ones_are_no_pair():
    def rate_by_model(task, _):
        return Note(by="x", ratings=dict.fromkeys(ASPECTS, 2) | {"helpfulness": 4 if task.text.startswith("b") else 1})

    done = await rate(Script(rate_by_model), generators=models("a", "b"))
    [pair] = done.iterate("help_steer_pair")
    assert (pair.prompt, pair.chosen[:1], pair.rejected[:1], pair.difference) == ("Name a planet.", "b", "a", 3)
    assert list((await rate(raters(3, 3, 3)[0])).iterate("help_steer_pair")) == []


async def test_people_see_the_conversation_and_compare_where_it_is_wanted():
    def compare(task):
        assert (task.strength, task.ties, task.context) == (3, False, "Name a planet.")
        return Note(by="x", preference=2, comment="It says why.")

    people, _ = raters(3, 3, 3, compare=compare)
    done = await rate(people, generators=models("a", "b"), compare=True)
    [liked] = done.iterate("help_steer_preference")
    assert (liked.chosen, liked.strength) == (done.rows[1].response, 2)
    assert liked.reasons == ["It says why."] * 3


@pytest.mark.parametrize(("given", "strength"), [((1, 2), 2), ((-2, -1), -2), ((1, 1, 2), 1), ((-1, 1), None), ((-1, -1, 1), None)])  # fmt: skip
async def test_the_mean_of_preferences_is_rounded_away_from_zero_and_dropped_at_zero(given, strength):
    def say(task, number):
        if not isinstance(task, Comparing):
            return Note(by=f"r{number}", ratings=dict.fromkeys(ASPECTS, 2))
        return Note(by=f"r{number}", preference=given[number]) if number < len(given) else Note(by="z", skipped=True)

    done = await rate(Script(say), generators=models("a", "b"), compare=True)
    assert [row.strength for row in done.iterate("help_steer_preference")] == ([strength] if strength else [])
    if strength is None:
        assert [(r.reason, r.details["preferences"]) for r in done.rejects] == [("disagreement", list(given))]


@pytest.mark.parametrize("options", [{"fewest": 4, "most": 3}, {"agreeing": 4}, {"fewest": 2}])
async def test_counts_of_ratings_that_do_not_fit_are_refused(options):
    with pytest.raises(BadInput, match="agreeing <= fewest <= most"):
        await rate(raters(3, 3, 3)[0], **options)


async def test_who_wrote_an_answer_neither_rates_nor_compares_it():
    questions = []

    class Asked(Script):
        async def answer(self, question, n):
            questions.append(question)
            return await super().answer(question, n)

    def say(task, number):
        by = ["wanda", "b", "c", "d", "e"][number]  # as a model in a person's place, which knows no `without`
        if isinstance(task, Comparing):
            return Note(by=by, preference=3 if by == "wanda" else -1)
        return Note(by=by, ratings=dict.fromkeys(ASPECTS, 2) | {"helpfulness": 0 if by == "wanda" else 3})

    people = Asked(say)
    writer = Script(lambda task, _: Note(by="wanda", text="Neptune, far out."))
    done = await rate(
        people, generators=models("x", "y"), writers=writer, human_share=1.0, compare=True, most=5, agreeing=2
    )
    without = {q.task.text: q.sampling.get("without") for q in questions if not isinstance(q.task, Comparing)}
    assert without == {"Neptune, far out.": ["wanda"], done.rows[0].response: None}
    assert [one.by for one in done.rows[1].ratings if one.by == "wanda"] == []
    assert any(one.by == "wanda" for one in done.rows[0].ratings)
    assert [q.sampling["without"] for q in questions if isinstance(q.task, Comparing)] == [["wanda"]]
    [liked] = done.iterate("help_steer_preference")
    assert liked.strength == -1


async def test_a_writer_with_the_name_of_the_model_is_no_second_generator():
    writer = Script(lambda task, _: Note(by="a", text="Neptune, far out."))
    people, asked = raters(3, 3, 3)
    done = await rate(people, SEEDS, writers=writer, human_share=1.0, generators=models("a", "b"))
    assert asked
    assert {reject.reason for reject in done.rejects} == {"same_generator"}
    assert {row.generator for row in done.rows[::2]} == {"b"}
    assert len(done.rows) == 2 * (20 - len(done.rejects))


async def test_a_person_writes_the_second_answer_where_writers_are_named():
    writer = Script(lambda task, _: Note(by="wanda", text="Neptune, far out.") if isinstance(task, Writing) else None)
    done = await rate(raters(3, 3, 3)[0], writers=writer, human_share=1.0)
    assert [row.generator in "abc" for row in done.rows] == [True, False]
    assert (done.rows[1].generator, done.rows[1].response) == ("wanda", "Neptune, far out.")


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [([{"messages": []}], "no_user"), ([{"messages": [{"role": "assistant", "content": "Hi."}]}], "no_user")],
)
async def test_a_conversation_without_a_question_is_set_aside(seeds, reason):
    done = await rate(raters(3, 3, 3)[0], seeds)
    assert [reject.reason for reject in done.rejects] == [reason]


async def test_equal_and_empty_answers_are_no_rows():
    same = [Scripted(lambda _: "Saturn.", model=name) for name in "ab"]
    assert [reject.reason for reject in (await rate(raters(3, 3, 3)[0], generators=same)).rejects] == ["same_response"]
    half = [Scripted(lambda _: " ", model="a"), *models("b")]
    done = await rate(raters(3, 3, 3)[0], generators=half)
    assert ([row.generator for row in done.rows], [reject.reason for reject in done.rejects]) == (["b"], ["empty"])


# -- the choice of prompts


def conversation(text: str) -> dict:
    return {"messages": [{"role": "user", "content": text}]}


def by_topic(question) -> list[float]:
    return [1.0, 0.0] if "garden" in question.texts[0] else [0.0, 1.0]


async def choose(rows, level="3", **options):
    judge = Scripted(level if callable(level) else lambda _: level)
    return await run(helpsteer2_prompts, rows, classifier=judge, embedder=Scripted(by_topic), **options)


GARDEN = [conversation(f"How should I water the garden in week {n} of a dry summer?") for n in range(30)]
COOKING = [conversation(f"What can I cook for dinner on evening {n} of the month?") for n in range(6)]


async def test_topics_are_sampled_alike_however_many_rows_they_have():
    done = await choose(GARDEN + COOKING, keep=10, topics=2)
    topics = [row.topic for row in done.rows]
    assert (len(topics), topics.count(topics[0])) == (10, 5)
    assert [reject.reason for reject in done.rejects] == ["not_drawn"] * 26
    everything = await choose(GARDEN + COOKING, keep=1000, topics=2)
    assert len(everything.rows) == 36


@pytest.mark.parametrize("lost", ["week 17 ", "evening 0 "])  # in the midst of a batch of 64, and alone in the last one
@pytest.mark.parametrize("broken", ["classifier", "embedder"])
async def test_a_conversation_that_cannot_be_rated_or_embedded_costs_no_other(broken, lost):
    def models(which):
        scripts = {"classifier": lambda _: "3", "embedder": by_topic}
        usual = scripts[broken]
        scripts[broken] = lambda question: Refused("no") if which in text_of(question) else usual(question)
        return {role: Scripted(script) for role, script in scripts.items()}

    rows = [conversation(f"How should I water the garden in week {n} of a dry summer?") for n in range(64)]
    done = await run(helpsteer2_prompts, rows + COOKING[:1], topics=2, allow_failures=True, **models(lost))
    assert len(done.rows) == 64
    assert not any(lost in row.messages[0].content for row in done.rows)
    assert all(("garden" in row.messages[0].content) == (row.topic == done.rows[0].topic) for row in done.rows)
    assert [failure.error for failure in done.failures] == ["no"]
    none = await run(helpsteer2_prompts, COOKING, allow_failures=True, **models(""))
    assert (none.rows, [failure.error for failure in none.failures]) == ([], ["no"] * 6)


async def test_within_a_topic_complex_prompts_are_drawn_more_often():
    def level(question):
        return "5" if int(question.messages[0].content.split("week ")[1].split()[0]) % 2 else "1"

    done = await choose(GARDEN, level, keep=10, topics=1)
    assert sum(row.complexity == 5 for row in done.rows) >= 7
    flat = await choose(GARDEN, level, keep=10, topics=1, complexity_weight=0)
    assert sum(row.complexity == 5 for row in flat.rows) < sum(row.complexity == 5 for row in done.rows)


async def test_other_languages_and_code_alone_are_left_out():
    rows = [
        conversation("Wie entferne ich einen Fleck aus dem Teppich?"),
        conversation("```python\nfor i in range(10):\n    print(i)\n```"),
        conversation("int main() {\n  return 0;\n}"),
        conversation("Why does this print twice?\n```python\nprint(1)\n```"),
        {"messages": [{"role": "assistant", "content": "Hello."}]},
    ]
    done = await choose(rows)
    assert [row.messages[0].content[:8] for row in done.rows] == ["Why does"]
    assert [reject.reason for reject in done.rejects] == ["language", "code_only", "code_only", "no_user"]
    german = await choose(rows, spoken="de")
    assert [row.messages[0].content[:3] for row in german.rows] == ["Wie"]


@pytest.mark.parametrize(
    "text",
    [
        "let me know what you think of it",
        "public transport in Paris",
        "return policy of a small shop",
        "class ideas for a teacher",
        "import duties",
        "function of the liver",
        "for (almost) everybody",
        "I bought:\na cup of flour;\na litre of milk;",
        "Find the slope.\ny = 2x + 1, and why is it so",
    ],
)
def test_english_is_no_code(text):
    assert without_code(text).split() == text.split()


@pytest.mark.parametrize(
    "text",
    [
        "import os\nimport sys\nprint(os.getcwd())",
        "import numpy as np\nx = np.ones(3)\ny = x + x",
        "from a import b\ndef f(x):\n    return x",
        "class Foo(Bar):\n    x = 1",
        "public class Foo {\n  private final String name;\n  public void f() {\n  }\n}",
        "const a = 5\nlet b = f(a)\nif (a > b) {\n  return b;\n}",
        "function f(x) {\n  return x;\n}",
        "#include <stdio.h>\nfor (int i = 0; i < 5; i++)\n  foo.bar(i);",
        "SELECT a FROM b",
    ],
)
def test_code_is_told_by_its_syntax(text):
    assert without_code(text) == ""


async def test_all_that_a_user_says_is_judged_and_not_the_last_message_alone():
    def turns(*texts):
        return {"messages": [{"role": "user", "content": text} for text in texts]}

    rows = [
        turns("How should I water the garden in a dry summer?", "Why?"),
        turns("Wie entferne ich einen Fleck aus dem Teppich, ohne dass er bleicht?", "Ok, and?"),
        turns("Why does this print twice?", "print(1)\nprint(2)"),
    ]
    judge, embedder = Scripted(lambda _: "3"), Scripted(by_topic)
    done = await run(helpsteer2_prompts, rows, classifier=judge, embedder=embedder)
    assert [row.messages[0].content[:8] for row in done.rows] == ["How shou", "Why does"]
    assert [reject.reason for reject in done.rejects] == ["language"]
    assert any("in a dry summer?\n\nWhy?" in prompt for prompt in judge.prompts)
    assert any("in a dry summer?\n\nWhy?" in question.texts[0] for question in embedder.questions)


async def test_a_rating_that_is_none_leaves_the_prompt_out():
    done = await choose(COOKING[:2], "rather complex")
    assert [reject.reason for reject in done.rejects] == ["no_rating"] * 2


# -- without outliers


def rated(*helpful: tuple[str, int]) -> dict:
    ratings = [{"by": by, "ratings": dict.fromkeys(ASPECTS, 2) | {"helpfulness": value}} for by, value in helpful]
    return {"prompt": [{"role": "user", "content": "?"}], "response": "!", **dict.fromkeys(ASPECTS, 0), "generator": "g", "ratings": ratings}  # fmt: skip


async def test_a_rater_who_stands_apart_is_left_out_and_the_means_are_made_anew():
    rows = [rated(("a", 4), ("b", 4), ("c", 3), ("odd", 0)), rated(("a", 1), ("b", 0), ("c", 1), ("odd", 4))] * 6
    done = await run(helpsteer2_clean, rows)
    assert [row.helpfulness for row in done.rows] == [4, 1] * 6
    assert {one.by for row in done.rows for one in row.ratings} == {"a", "b", "c"}
    people = {rater.by: rater for rater in done.iterate("help_steer_rater")}
    assert {by: rater.kept for by, rater in people.items()} == {"a": True, "b": True, "c": True, "odd": False}
    assert people["odd"].apart == pytest.approx((3.5 + 3) / 2)
    few = await run(helpsteer2_clean, rows[:2])
    assert all(rater.kept for rater in few.iterate("help_steer_rater"))  # two ratings say nothing about a person


async def test_pairs_are_made_of_the_cleaned_ratings_within_a_prompt():
    def answered(prompt, response, *helpful):
        return rated(*helpful) | {"prompt": [{"role": "user", "content": prompt}], "response": response}

    rows = [
        answered("?", "good", ("a", 3), ("b", 3), ("c", 3), ("odd", 0)),
        answered("?", "bad", ("a", 1), ("b", 1), ("c", 2), ("odd", 4)),
        answered("!", "one", ("a", 3), ("b", 3), ("c", 3), ("odd", 0)),
        answered("!", "two", ("a", 3), ("b", 3), ("c", 3), ("odd", 0)),
        answered(".", "alone", ("a", 4), ("b", 4), ("c", 4), ("odd", 0)),
    ]
    done = await run(helpsteer2_clean, rows, min_ratings=2)
    assert not {rater.by: rater.kept for rater in done.iterate("help_steer_rater")}["odd"]
    [pair] = done.iterate("help_steer_pair")
    assert (pair.prompt, pair.chosen, pair.rejected, pair.difference) == ("?", "good", "bad", 2)
    assert pair.lineage.parents == [row.lineage.parents[0] for row in done.rows[:2]]


async def test_an_answer_that_is_left_with_too_few_ratings_is_set_aside():
    rows = [rated(("a", 4), ("b", 4), ("c", 4), ("odd", 0))] * 10 + [rated(("a", 4), ("b", 4), ("odd", 0))]
    done = await run(helpsteer2_clean, rows)
    assert len(done.rows) == 10
    assert [(r.reason, r.details["left_out"]) for r in done.rejects] == [("too_few_ratings", 1)]


async def test_agreement_is_told_for_each_aspect():
    done = await run(helpsteer2_clean, [rated(("a", 4), ("b", 4), ("c", 4)), rated(("a", 0), ("b", 0), ("c", 0))])
    found = {one.aspect: one.alpha for one in done.iterate("help_steer_agreement")}
    assert found == {"helpfulness": 1.0, "correctness": None, "coherence": None, "complexity": None, "verbosity": None}
