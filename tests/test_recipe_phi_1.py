"""phi-1: code files filtered by a classifier that a judge taught, textbooks, exercises, and their decontamination."""

import ast
import re

import pytest

from gristmill.errors import BadInput, Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.phi_1 import phi_1
from gristmill.recipes.distillation.phi_1_decontaminate import phi_1_decontaminate
from gristmill.recipes.distillation.phi_1_exercises import names, phi_1_exercises
from gristmill.recipes.distillation.phi_1_textbooks import phi_1_textbooks, shipped
from gristmill.testing import Scripted, replay, run, text_of

FILES = [{"text": f"# {'lesson' if number % 2 else 'settings'} {number}\nx = {number}"} for number in range(30)]


def code_in(question):
    return text_of(question).split("```python\n")[1].split("\n```")[0]


def judge(say=None):
    return Scripted(
        say or (lambda q: f"Well.\nEducational value: {'high' if 'lesson' in code_in(q) else 'low'}"), model="judge"
    )


def embedder():
    return Scripted(lambda q: [1.0, 0.0] if "lesson" in q.texts[0] else [0.0, 1.0], model="embedder")


async def filtered(files=FILES, say=None, **options):
    models = {"judge": judge(say), "embedder": embedder()}
    return await run(phi_1, files, **models, **options), models


# -- filtered code


@pytest.mark.proof("phi-1", 1)
async def test_the_judge_sees_the_sample_only_and_a_classifier_on_embeddings_speaks_on_all():
    done, models = await filtered(judge_sample=12)
    shown = [code_in(question) for question in models["judge"].questions]
    assert len(shown) == len(set(shown)) == 12
    assert shown != [file["text"] for file in FILES[:12]]  # at random
    other = (await filtered(judge_sample=12, seed=1))[1]["judge"].questions
    assert {code_in(question) for question in other} != set(shown)
    embedded = [text for question in models["embedder"].questions for text in question.texts]
    assert sorted(embedded) == sorted(file["text"] for file in FILES)
    assert [row.text for row in done.rows] == [file["text"] for file in FILES if "lesson" in file["text"]]
    assert {row.text for row in done.rows if row.judged} == {text for text in shown if "lesson" in text}
    assert {row.judged for row in done.rows} == {"high", None}
    assert all(row.quality > 0.9 for row in done.rows)
    assert [(r.reason, r.details["quality"] < 0.1) for r in done.rejects] == [("low_value", True)] * 15
    assert all(row.lineage.parents[-1].startswith("forest:") for row in done.rows)
    assert phi_1.parameters["judge_sample"].default == 100_000


async def test_the_classifier_decides_also_where_the_judge_has_spoken():
    def odd(question):
        return f"Educational value: {'low' if code_in(question).endswith('x = 3') else 'high' if 'lesson' in code_in(question) else 'low'}"

    done, _ = await filtered(say=odd)
    [row] = [row for row in done.rows if row.text.endswith("x = 3")]
    assert row.judged == "low"
    assert row.quality > 0.5


@pytest.mark.parametrize(("threshold", "kept"), [(0.6, 0), (0.3, 30)])
async def test_a_file_is_kept_from_the_threshold_on(threshold, kept):
    even = iter(["high", "low"] * 50)
    same = Scripted(lambda q: [1.0, 1.0])
    models = {"judge": Scripted(lambda q: f"Educational value: {next(even)}"), "embedder": same}
    done = await run(phi_1, FILES, threshold=threshold, concurrency=1, **models)
    assert len(done.rows) == kept
    assert phi_1.parameters["threshold"].default == 0.5
    if kept:  # all look alike, so all have one quality: at exactly that they stay
        even = iter(["high", "low"] * 50)
        exactly = done.rows[0].quality
        assert len((await run(phi_1, FILES, threshold=exactly, concurrency=1, **models)).rows) == kept


async def test_the_forest_has_as_many_trees_as_asked_for_and_grows_anew_with_another_seed():
    async def qualities(**options):
        models = {
            "judge": judge(lambda q: f"Educational value: {'high' if int(code_in(q)[-1]) % 3 else 'low'}"),
            "embedder": Scripted(lambda q: [float(q.texts[0].rpartition(" = ")[2])]),
        }
        done = await run(phi_1, FILES, threshold=1e-6, **models, **options)
        said = {row.text: row.quality for row in done.rows}
        return said | {reject.candidate["text"]: reject.candidate["quality"] for reject in done.rejects}

    two = await qualities(trees=2)
    assert len(two) == 30
    assert set(two.values()) == {0.0, 0.5, 1.0}
    assert two != await qualities(trees=2, seed=1)
    assert len(set((await qualities()).values())) > 3
    assert phi_1.parameters["trees"].default == 100


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("So.\nEducational value: low", "low"),
        ("Educational value: high? No.\n**Educational Value:** LOW", "low"),
        ("I would say high.", "high"),
        ("It is highly useful.", "no_verdict"),
        ("High or low, who knows.", "no_verdict"),
        ("", "empty"),
        (Reply("Educational value: high", finish="length"), "truncated"),
    ],
)
async def test_a_verdict_is_read_and_what_is_none_teaches_nothing(said, verdict):
    files = [*FILES[:1], {"text": "x = 'last'"}]
    done, _ = await filtered(files, say=lambda q: said if "last" in code_in(q) else "Educational value: high")
    rows = {row.text: row.judged for row in done.rows}
    reasons = [r.reason for r in done.rejects if r.reason != "low_value"]
    assert reasons == ([] if verdict in ("high", "low") else [verdict])
    judged = rows.get("x = 'last'") or next(
        (r.candidate["judged"] for r in done.rejects if r.reason == "low_value" and "last" in r.candidate["text"]), None
    )
    assert judged == (verdict if verdict in ("high", "low") else None)


async def test_without_any_verdict_the_run_says_so():
    with pytest.raises(BadInput, match="nothing to learn from"):
        await filtered(say=lambda q: "Hm.")


async def test_a_judge_that_fails_costs_its_own_verdict_alone():
    def say(question):
        if code_in(question).endswith("x = 1"):
            raise Refused("no")
        return "Educational value: high"

    done, _ = await filtered(FILES[:6], say=say, allow_failures=True)
    assert (len(done.rows), len(done.failures)) == (6, 1)


async def test_empty_files_and_copies_are_dropped_and_long_ones_are_shown_in_part():
    files = [{"text": " \n"}, {"text": "lesson = 1"}, {"text": "lesson  =  1\n"}, {"text": "lesson = " + "1" * 50}]
    done, models = await filtered(files, judge_characters=20)
    assert [r.reason for r in done.rejects] == ["empty", "duplicate"]
    assert len(done.rows) == 2
    assert max(len(code_in(question)) for question in models["judge"].questions) == 20
    assert (await filtered([{"text": " "}]))[0].rows == []


async def test_the_judge_is_sampled_as_asked_for_and_a_replay_grows_nothing(monkeypatch):
    done, models = await filtered(judge_sample=8)
    assert models["judge"].questions[0].sampling == {"temperature": 0.0, "max_tokens": 512}
    monkeypatch.setattr("sklearn.ensemble.RandomForestClassifier", None)
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)
    done, models = await filtered(judge_sample=1, temperature=0.4, max_tokens_verdict=9)
    assert models["judge"].questions[0].sampling == {"temperature": 0.4, "max_tokens": 9}
    with pytest.raises(BadInput, match="leave --target out"):
        await filtered(target=3)


# -- textbooks

SECTION = "## Loops\n" + "word " * 40 + "\n```python\nfor x in [1]:\n    print(x)\n```\nSo it is."


def writer(say=SECTION):
    return Scripted(lambda q: say(q) if callable(say) else say)


def drawn_in(question):
    return re.search(r"Topic: (.*)\nReaders: (.*)\n", text_of(question)).groups()


@pytest.mark.proof("phi-1", 2)
async def test_a_textbook_prompt_carries_one_topic_and_one_audience_and_both_vary():
    model = writer(lambda q: f"{drawn_in(q)}\n{SECTION}")
    done = await run(phi_1_textbooks, generator=model, units=60, concurrency=1)
    asked = [drawn_in(question) for question in model.questions]
    for (topic, audience), question in zip(asked, model.questions, strict=True):
        assert [one for one in shipped()["topics"] if one in text_of(question)] == [topic]
        assert [one for one in shipped()["audiences"] if one in text_of(question)] == [audience]
    assert len({topic for topic, _ in asked}) > 25
    assert {audience for _, audience in asked} == set(shipped()["audiences"])
    assert {(row.topic, row.audience) for row in done.rows} == set(asked)
    assert all(row.lineage.draws == {"topic": row.topic, "audience": row.audience} for row in done.rows)


async def test_topics_and_audiences_can_be_given():
    model = writer()
    await run(phi_1_textbooks, generator=model, units=3, topics=["sorting"], audiences=["cooks"])
    assert {drawn_in(question) for question in model.questions} == {("sorting", "cooks")}
    assert model.questions[0].sampling == {"temperature": 1.0, "max_tokens": 2048}
    await run(phi_1_textbooks, generator=(model := writer()), units=1, temperature=0.1, max_tokens_section=5)
    assert model.questions[0].sampling == {"temperature": 0.1, "max_tokens": 5}
    for options in ({"topics": []}, {"audiences": ["cooks", ""]}):
        with pytest.raises(BadInput, match=next(iter(options))):
            await run(phi_1_textbooks, generator=model, units=1, **options)


PROSE = "word " * 30


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "empty"),
        (Reply(SECTION, finish="length"), "truncated"),
        (PROSE, "no_code"),
        (f"{PROSE}\n```python\nfor in x:\n```", "no_code"),
        (f"{PROSE}\n```python\n\n```", "no_code"),
        (f"{PROSE}\n```text\nx\n```", "no_code"),
        (f"{PROSE}\n```text\nx = 1\n```\n```py\ny = 1\n```", None),
        (f"{PROSE}\n```\nx = 1\n```", None),
        (f"{'word ' * 29}\n```python\nx = 1\n```", "no_prose"),
        ("```python\n" + "a = 1\n" * 40 + "```", "no_prose"),
    ],
)
async def test_a_section_holds_prose_and_code_that_is_python(said, reason):
    done = await run(phi_1_textbooks, generator=writer(said), units=1)
    assert [r.reason for r in done.rejects] == ([reason] if reason else [])
    assert len(done.rows) == (reason is None)


async def test_what_a_model_says_around_a_section_goes_and_the_same_section_leaves_once():
    done = await run(phi_1_textbooks, generator=writer(f"Sure! Here is the text:\n\n{SECTION}"), units=2)
    assert [row.text for row in done.rows] == [SECTION]
    assert [r.reason for r in done.rejects] == ["duplicate"]
    assert not (await run(phi_1_textbooks, generator=writer(), units=1, min_prose_words=60)).rows


# -- exercises

BODY = "    total = 0\n    for x in xs:  # each\n        total += x\n    return total\n"


def function(name, doc='    """Add up."""\n', body=BODY, above=""):
    return f"{above}def {name}(xs):\n{doc}{body}"


def name_in(question):
    return re.search(r"name is (\w+)\.", text_of(question))[1]


def block(code):
    return f"Here:\n```python\n{code}```\n"


@pytest.mark.proof("phi-1", 2)
async def test_an_exercise_prompt_carries_one_function_name_and_each_has_its_turn():
    model = Scripted(lambda q: block(function(name_in(q))))
    done = await run(phi_1_exercises, generator=model, units=len(names()), concurrency=1)
    asked = [name_in(question) for question in model.questions]
    assert sorted(asked) == sorted(names())
    assert asked != names()
    assert [row.function_name for row in done.rows] == asked
    for question in model.questions[:40]:
        assert len(set(re.findall(r"\w+", text_of(question))) & set(names())) == 1


@pytest.mark.proof("phi-1", 3)
async def test_prompt_and_completion_parse_together_as_one_function_of_the_name():
    above = "import math\nfrom collections import Counter\n\n\n"
    doc = '    """Add up.\n\n    >>> f([1])\n    1\n    """\n'
    said = {
        "plain": block(function("plain")),
        "with_imports": block(function("with_imports", above=above)),
        "long_doc": block(function("long_doc", doc=doc)),
        "bare": function("bare"),
        "shown": block(function("shown") + "\nprint(shown([1, 2]))\n"),
        "waiting": block("async " + function("waiting")),
        "windows": block(function("windows")).replace("\n", "\r\n"),
    }
    done = await run(
        phi_1_exercises, generator=Scripted(lambda q: said[name_in(q)]), function_names=list(said), units=len(said)
    )
    assert not done.rejects
    assert {row.function_name for row in done.rows} == set(said)
    for row in done.rows:
        tree = ast.parse(row.prompt + row.completion)
        *imports, made = tree.body
        assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in imports)
        assert isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)
        assert made.name == row.function_name
        assert row.prompt.rstrip().endswith('"""')
        assert ast.get_docstring(ast.parse(row.prompt + "    pass").body[-1]).startswith("Add up.")
        assert row.completion == BODY


@pytest.mark.parametrize(
    ("said", "reason", "details"),
    [
        ("", "empty", {}),
        (Reply(block(function("f")), finish="length"), "truncated", {}),
        ("I would add them up.", "unparsed", {}),
        (block("def f(xs:\n    pass"), "unparsed", {}),
        (block("x = 1\n"), "not_one_function", {"functions": 0}),
        (block(function("f") + "\n" + function("g")), "not_one_function", {"functions": 2}),
        (block(function("f", above="LIMIT = 3\n")), "not_one_function", {"functions": 1}),
        (block(function("g")), "other_name", {"name": "g"}),
        (block(function("f", doc="")), "no_docstring", {}),
        (block(function("f", doc='    """ """\n')), "no_docstring", {}),
        (block(function("f", body="")), "no_body", {}),
        (block(function("f", body="    pass\n")), "no_body", {}),
        (block(function("f", body="    ...\n")), "no_body", {}),
        (block(function("f", body="    raise NotImplementedError()\n")), "no_body", {}),
        (block(function("f", doc='    """Add up."""; return sum(xs)\n', body="")), "no_body", {}),
        (block(function("f", body="    raise ValueError(xs)\n")), None, {}),
    ],
)
async def test_what_is_no_exercise_is_rejected_with_its_reason(said, reason, details):
    done = await run(phi_1_exercises, generator=Scripted([said]), function_names=["f"], units=1)
    assert [(r.reason, r.details) for r in done.rejects] == ([(reason, details)] if reason else [])
    assert len(done.rows) == (reason is None)


async def test_the_same_exercise_leaves_once_whatever_its_layout_and_comments():
    said = [
        function("f"),
        function("f").replace("  # each", "").replace("x in xs", "x  in  xs"),
        function("f", body="    return 1\n"),
    ]
    done = await run(phi_1_exercises, generator=Scripted(said), function_names=["f"], units=3, concurrency=1)
    assert [row.completion for row in done.rows] == [BODY, "    return 1\n"]
    assert [r.reason for r in done.rejects] == ["duplicate"]


async def test_an_exercise_that_is_nested_too_deeply_to_be_written_anew_is_compared_as_it_stands():
    deep = function("f", body=f"    return {'+'.join(['1'] * 600)}\n")
    done = await run(phi_1_exercises, generator=Scripted([deep, deep]), function_names=["f"], units=2)
    assert (len(done.rows), [r.reason for r in done.rejects]) == (1, ["duplicate"])


async def test_names_that_cannot_be_are_refused_and_calls_are_sampled_as_asked_for():
    for bad in (["a b"], ["class"], ["f", ""], []):
        with pytest.raises(BadInput, match="function_names"):
            await run(phi_1_exercises, generator=Scripted(), function_names=bad, units=1)
    model = Scripted(lambda q: block(function(name_in(q))))
    await run(phi_1_exercises, generator=model, units=1)
    await run(phi_1_exercises, generator=model, units=1, temperature=0.2, max_tokens_exercise=7)
    assert [q.sampling for q in model.questions] == [
        {"temperature": 1.0, "max_tokens": 1024}, {"temperature": 0.2, "max_tokens": 7},
    ]  # fmt: skip
    assert len(set(names())) == len(names()) == 400
    assert all(name.isidentifier() for name in names())


async def test_exercises_and_sections_replay_and_do_not_depend_on_concurrency():
    for recipe, say in [
        (phi_1_exercises, lambda q: block(function(name_in(q)))),
        (phi_1_textbooks, lambda q: f"{drawn_in(q)}\n{SECTION}"),
    ]:
        first = await run(recipe, generator=Scripted(say), target=9, concurrency=1)
        again = await replay(first)
        assert (again.rows, again.calls) == (first.rows, 0)
        other = await run(recipe, generator=Scripted(say), target=9, concurrency=16)
        assert [row.id for row in other.rows] == [row.id for row in first.rows]
        assert other.rows[-1].lineage.draws == first.rows[-1].lineage.draws


# -- decontamination

PROBLEM = '''def has_close_elements(numbers, threshold):
    """Tell whether any two of the numbers are closer to each other than the threshold that was given."""
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j and abs(a - b) < threshold:
                return True
    return False
'''
BENCHMARK = [{"text": PROBLEM, "benchmark": "humaneval"}, {"text": "Add two numbers.", "benchmark": "prose"}]


def exercise(doc="Say hello.", body="    return 'hello'\n", name="f", arguments=""):
    return {"prompt": f'def {name}({arguments}):\n    """{doc}"""\n', "completion": body, "function_name": name}


@pytest.mark.proof("phi-1", 4)
@pytest.mark.parametrize(("words", "flagged"), [(13, True), (12, False)])
async def test_an_exercise_with_thirteen_words_of_a_problem_in_a_row_is_flagged(words, flagged):
    doc = [
        "Tell",
        "whether",
        "any",
        "two",
        "of",
        "the",
        "numbers",
        "are",
        "closer",
        "to",
        "each",
        "other",
        "than",
        "the",
        "threshold",
    ]
    done = await run(phi_1_decontaminate, [exercise(" ".join(doc[:words]).upper()), exercise()], benchmarks=BENCHMARK)
    assert [(r.reason, r.details) for r in done.rejects] == [("ngram_overlap", {"benchmark": "humaneval"})] * flagged
    assert len(done.rows) == 2 - flagged
    assert done.calls == 0


async def test_words_of_the_solution_count_like_those_of_the_docstring():
    row = exercise(body='    return "if i != j and abs(a - b) < threshold: return True, return False"\n')
    assert not (await run(phi_1_decontaminate, [row], benchmarks=BENCHMARK, ngram=10)).rows


async def test_how_many_words_in_a_row_count_can_be_set():
    rows = [exercise("Any two of the numbers.")]
    assert (await run(phi_1_decontaminate, rows, benchmarks=BENCHMARK)).rows
    assert not (await run(phi_1_decontaminate, rows, benchmarks=BENCHMARK, ngram=5)).rows


async def test_the_same_syntax_under_other_names_and_words_is_a_match():
    body = PROBLEM.partition('given."""\n')[2]
    for old, new in [("numbers", "temperatures"), ("threshold", "gap"), ("i", "k"), ("a", "one"), ("b", "two")]:
        body = re.sub(rf"\b{old}\b", new, body)
    renamed = exercise("See if temperatures are near.", body, "near_days", "temperatures, gap")
    changed = {**renamed, "completion": body.replace("return False", "return None or not gap")}
    done = await run(phi_1_decontaminate, [renamed, changed, exercise()], benchmarks=BENCHMARK)
    assert [(r.reason, r.details) for r in done.rejects] == [("ast_match", {"rate": 1.0, "benchmark": "humaneval"})]
    rates = [row.ast_match for row in done.rows]
    assert 0.8 < rates[0] < 0.95
    assert rates[1] < 0.5
    other = {"text": "def add(a, b):\n    return a + b", "benchmark": "mbpp"}
    for items in ([*BENCHMARK, other], [other, *BENCHMARK]):  # the problem that is most alike counts; 1.0 is reached
        done = await run(phi_1_decontaminate, [renamed], benchmarks=items, ast_match_rate=1.0)
        assert [(r.reason, r.details["benchmark"]) for r in done.rejects] == [("ast_match", "humaneval")]
    done = await run(phi_1_decontaminate, [changed], benchmarks=BENCHMARK, ast_match_rate=0.8)
    assert [(r.reason, r.details["rate"]) for r in done.rejects] == [("ast_match", rates[0])]
    assert phi_1_decontaminate.parameters["ast_match_rate"].default == 0.95


async def test_problems_without_a_function_are_compared_by_words_alone():
    done = await run(phi_1_decontaminate, [exercise()], benchmarks=[{"text": "hello"}, {"text": "x = 1"}])
    assert [(row.ast_match, row.embedding_distance) for row in done.rows] == [(None, None)]


async def test_an_embedder_tells_how_far_the_nearest_problem_is_and_a_limit_drops_what_is_near():
    def place(question):
        return (
            [0.0, 0.0]
            if "has_close" in question.texts[0]
            else [9.0, 9.0]
            if "Add two" in question.texts[0]
            else [3.0, 4.0]
        )

    options = {"benchmarks": BENCHMARK, "embedder": Scripted(place)}
    done = await run(phi_1_decontaminate, [exercise()], **options)
    assert [row.embedding_distance for row in done.rows] == [5.0]
    assert (await run(phi_1_decontaminate, [exercise()], max_embedding_distance=4.9, **options)).rows
    done = await run(phi_1_decontaminate, [exercise()], max_embedding_distance=5.0, **options)
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("near_in_embedding", {"distance": 5.0, "benchmark": "humaneval"})
    ]
    with pytest.raises(BadInput, match="needs an embedder"):
        await run(phi_1_decontaminate, [exercise()], benchmarks=BENCHMARK, max_embedding_distance=1.0)


async def test_what_is_kept_is_the_exercise_as_it_was_and_a_replay_asks_nothing():
    done = await run(
        phi_1_decontaminate,
        [exercise()],
        benchmarks=BENCHMARK,
        embedder=Scripted(lambda q: [1.0, float(len(q.texts[0]))]),
    )
    [row] = done.rows
    assert {"prompt": row.prompt, "completion": row.completion, "function_name": row.function_name} == exercise()
    assert row.lineage.parents
    again = await replay(done)
    assert (again.rows, again.calls) == (done.rows, 0)
