"""Persona Hub: personas told from texts and through the people around them, and what is written in their names."""

import re

import pytest

from gristmill import BadInput, Refused, recipes
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.persona_hub import (
    MARKS,
    TASKS,
    Demonstration,
    persona_hub,
    shown_for,
    written,
)
from gristmill.recipes.distillation.persona_hub_agreement import persona_hub_agreement
from gristmill.recipes.distillation.persona_hub_answer import persona_hub_answer
from gristmill.recipes.distillation.persona_hub_personas import Seen, bands, persona_hub_personas
from gristmill.testing import Scripted, replay, run
from gristmill.verify.values import Verdict

PERSONAS = [{"persona": name} for name in ("A lock keeper on a canal.", "Eine Bäckerin aus Köln 🥖", "A tuner {text}.")]
DEMONSTRATIONS = [
    {"text": f"How many {thing}?", "persona": f"A counter of {thing}.", "task": "math"} for thing in ("eels", "owls")
]
PROBLEM = "Math problem: How many boats pass the lock?"


def persona_of(prompt: str) -> str:
    return re.findall(r"^Persona: (.*)$", prompt, re.MULTILINE)[-1]


def problem(question):
    return f"Math problem: How many for {persona_of(question.messages[0].content)}"


async def write(script=problem, rows=PERSONAS, **options):
    model = Scripted(script)
    return await run(persona_hub, rows, generator=model, **options), model


# -- texts in the name of a persona


@pytest.mark.proof("persona-hub", 1)
@pytest.mark.parametrize("task", TASKS)
async def test_each_prompt_holds_exactly_one_persona_and_the_row_names_it(task):
    model = Scripted(lambda q: "\n".join(f"{mark} {persona_of(q.messages[0].content)}" for mark in MARKS[task]))
    done = await run(persona_hub, PERSONAS, generator=model, task=task, focus="with snow")
    names = [row["persona"] for row in PERSONAS]
    for prompt, name in zip(model.prompts, names, strict=True):
        assert [prompt.count(other) for other in names] == [int(other == name) for other in names]
        assert prompt.count("Persona: ") == 1
        assert "with snow" in prompt
        assert MARKS[task][0] in prompt
    assert [(row.persona, row.task) for row in done.rows] == [(name, task) for name in names]
    assert all(row.persona in row.text for row in done.rows)
    assert (await replay(done)).rows == done.rows


@pytest.mark.proof("persona-hub", 3)
async def test_a_problem_without_its_mark_or_with_a_solution_is_dropped_and_framing_before_the_mark_is_cut():
    said = {
        "lock": "How many boats pass the lock?",
        "Köln": "Here you are!\n\n**Math problem:** How many loaves?",
        "tuner": f"{PROBLEM}\n\nSolution: Four.",
    }
    done, _ = await write(lambda q: next(text for name, text in said.items() if name in q.messages[0].content))
    assert [row.text for row in done.rows] == ["How many loaves?"]
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("missing_section", {"section": "Math problem:"}),
        ("has_solution", {"found": "Solution:"}),
    ]


@pytest.mark.parametrize(
    "ending",
    [
        *("**Solution:** 4", "### Solution\nFirst, ...", "Answer: 4", "Final answer: 4", "Step-by-step solution: ..."),
        *("Solution to part (a): 4", "So the answer is 4.", r"We get \boxed{4}.", "__Answer__:\n4"),
    ],
)
def test_a_solution_is_seen_however_it_is_dressed(ending):
    with pytest.raises(Exception, match="has_solution"):
        written(Reply(f"{PROBLEM}\n{ending}"), "math", MARKS["math"])
    with pytest.raises(Exception, match="has_solution"):
        written(Reply(f"Reasoning problem: Who is it?\n{ending}"), "reasoning", MARKS["reasoning"])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Answer the following questions: (a) how many?",
            "How many solutions does x = x have?",
            "Is the answer unique?",
        ),
        *("The solution of salt is stirred.\nHow much is left?", "A solution in water: how much salt?"),
    ],
)
def test_a_problem_that_speaks_of_answers_is_no_solution(text):
    assert written(Reply(f"Math problem: {text}"), "math", MARKS["math"]) == text


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("Math problem:", "empty_section"),
        (Reply(PROBLEM, finish="length"), "truncated"),
        ("I'm sorry, but I cannot help with that.", "refusal"),
    ],
)
async def test_a_reply_that_holds_nothing_to_use_is_rejected_with_its_reason(reply, reason):
    done, _ = await write(lambda _: reply, PERSONAS[:1])
    assert ([r.reason for r in done.rejects], done.rows) == ([reason], [])


async def test_a_tool_has_all_four_parts_and_articles_and_characters_keep_their_mark():
    done, _ = await write(lambda _: "Name: f\nDescription: d\nInputs: x", PERSONAS[:1], task="tool")
    assert [r.details for r in done.rejects] == [{"section": "Outputs:"}]
    done, _ = await write(lambda _: "Name: f\nDescription: d\nInputs: x\nOutputs: y", PERSONAS[:1], task="tool")
    assert done.rows[0].text == "Name: f\nDescription: d\nInputs: x\nOutputs: y"
    for task, mark in (("knowledge", "Title:"), ("npc", "Name:")):
        done, model = await write(
            lambda _, mark=mark: f"{mark} X\nSolution: none", PERSONAS[:1], task=task, game="Chess."
        )
        assert done.rows[0].text == f"{mark} X\nSolution: none"  # only problems must not be solved
        assert ("Chess." in model.prompts[0]) == (task == "npc")


# -- demonstrations


@pytest.mark.proof("persona-hub", 4)
async def test_each_demonstration_has_its_persona_beside_it_only_in_the_mode_that_says_so():
    for mode in ("zero-shot", "few-shot", "persona-few-shot"):
        done, model = await write(mode=mode, demonstrations=DEMONSTRATIONS, shots=2)
        assert len(done.rows) == 3
        for prompt in model.prompts:
            for one in DEMONSTRATIONS:
                alone, beside = (
                    f"Math problem: {one['text']}",
                    f"Persona: {one['persona']}\nMath problem: {one['text']}",
                )
                assert prompt.count(alone) == (mode != "zero-shot")
                assert prompt.count(beside) == (mode == "persona-few-shot")
                assert prompt.count(one["persona"]) == (mode == "persona-few-shot")
            own = persona_of(prompt)
            assert own in [row["persona"] for row in PERSONAS]
            assert prompt.index(f"Persona: {own}") > prompt.rfind("owls")


async def test_demonstrations_are_drawn_anew_for_each_persona_and_the_draw_is_kept():
    many = [{"text": f"Problem {n}", "task": "math"} for n in range(20)]
    done, model = await write(rows=[{"persona": f"P{n}"} for n in range(12)], mode="few-shot", demonstrations=many)
    for prompt, row in zip(model.prompts, done.rows, strict=True):
        shown = [int(n) for n in re.findall(r"Problem (\d+)", prompt)]
        assert len(set(shown)) == 3  # the usual number
        assert shown == row.lineage.draws["demonstrations"]
    assert len({tuple(row.lineage.draws["demonstrations"]) for row in done.rows}) > 6


def test_only_demonstrations_of_the_task_are_shown_and_the_shipped_ones_serve_every_task():
    given = [Demonstration(text="a", task="npc"), Demonstration(text="b"), Demonstration(text="c", task="math")]
    assert [one.text for one in shown_for("math", given, with_personas=False)] == ["b", "c"]
    for task in TASKS:
        shipped = shown_for(task, None, with_personas=True)
        assert len(shipped) >= 2
        for one in shipped:
            text = one.text if one.text.startswith(MARKS[task][0]) else f"{MARKS[task][0]} {one.text}"
            assert written(Reply(text), task, MARKS[task]) == one.text  # they pass what replies must pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"mode": "few-shot", "demonstrations": [{"text": "a", "task": "npc"}]},
            "no demonstration is for the task 'math'",
        ),
        ({"mode": "persona-few-shot", "demonstrations": [{"text": "a"}]}, "'a' has no persona"),
        ({"template": "Write a letter."}, "exactly once"),
        ({"template": "{persona} writes to {persona}."}, "exactly once"),
        ({"template": "{persona} writes to {friend}."}, "no other gap"),
        ({"template": "{persona}", "focus": "snow"}, "say it in yours"),
        ({"mark": "Letter:"}, "for a template of your own"),
        ({"task": "poem"}, "task='poem'"),
        ({"shots": 0}, "shots=0"),
    ],
)
async def test_what_cannot_work_is_refused_before_the_first_call(options, said):
    model = Scripted(problem)
    with pytest.raises(BadInput, match=said):
        await run(persona_hub, PERSONAS[:1], generator=model, **options)
    assert not model.questions


async def test_a_template_of_ones_own_takes_the_place_of_the_tasks():
    letter = {"template": 'Who: {persona}\nWrite "Letter:" and a letter.', "mark": "Letter:"}
    done, model = await write(lambda _: "Sure.\nLetter: Dear all", PERSONAS[:1], **letter)
    assert model.prompts == ['Who: A lock keeper on a canal.\nWrite "Letter:" and a letter.']
    assert [(row.text, row.task) for row in done.rows] == [("Letter: Dear all", "custom")]
    done, _ = await write(lambda _: "Dear all", PERSONAS[:1], template="{persona} writes.")
    assert done.rows[0].text == "Dear all"


async def test_several_texts_of_a_persona_are_samples_of_one_prompt_and_equal_ones_are_one_row():
    said = iter([PROBLEM, PROBLEM, "Math problem: Another?"])
    done, model = await write(lambda _: next(said), PERSONAS[:1], texts_per_persona=3)
    assert len(set(model.prompts)) == 1
    assert [row.text for row in done.rows] == ["How many boats pass the lock?", "Another?"]
    assert [r.reason for r in done.rejects] == ["duplicate"]
    assert {len(row.lineage.calls) for row in done.rows} == {1}  # each knows its own call
    assert {q.sampling["temperature"] for q in model.questions} == {0.7}


async def test_a_seed_without_a_persona_costs_itself_and_no_seeds_make_nothing():
    done, model = await write(rows=[{"persona": " \n"}, PERSONAS[0]])
    assert ([r.reason for r in done.rejects], len(done.rows), len(model.questions)) == (["empty_persona"], 1, 1)
    with pytest.raises(BadInput, match="persona"):
        await write(rows=[{"text": "no such column"}])


# -- personas

TEXTS = [{"text": "How to knit a sock."}, {"text": "Über Schleusen 🚣"}]


def apart(question):
    """A direction of its own for each text."""
    vector = [0.0] * 64
    vector[sum(question.texts[0].encode()) % 64] = 1.0
    return vector


def numbered():
    """A model that names another persona with each call."""
    count = iter(range(1000))
    return Scripted(lambda _: f"Persona: The person with number{next(count)} on the list.")


async def collect(rows=TEXTS, model=None, embedder=None, **options):
    model = model or numbered()
    names = iter(range(1000))
    embedder = embedder or Scripted(lambda _: [float(n == at) for at in [next(names)] for n in range(64)])
    done = await run(persona_hub_personas, rows, generator=model, embedder=embedder, **options)
    return done, model


@pytest.mark.proof("persona-hub", 2)
async def test_persona_to_persona_stops_after_six_iterations_and_each_child_knows_its_parent():
    done, model = await collect()
    assert [row.iteration for row in done.rows] == [n for n in range(7) for _ in TEXTS]
    assert len(model.questions) == 7 * len(TEXTS)
    assert {(q.sampling["temperature"], q.sampling["max_tokens"]) for q in model.questions} == {(0.7, 128)}
    by_id = {row.id: row for row in done.rows}
    for row in done.rows:
        if row.iteration == 0:
            assert (row.origin, row.parent, row.text) in [("text-to-persona", "", one["text"]) for one in TEXTS]
        else:
            [parent] = [by_id[name] for name in row.lineage.parents]
            assert (row.origin, row.parent, row.text) == ("persona-to-persona", parent.persona, "")
            assert parent.iteration == row.iteration - 1
            [asked] = [prompt for prompt in model.prompts if f"Persona: {row.parent}" in prompt]
            assert "close relationship" in asked
    again = await replay(done, model={"generator": Scripted(), "embedder": Scripted()})
    assert (again.rows, again.calls) == (done.rows, 0)


@pytest.mark.proof("persona-hub", 2)
async def test_of_two_personas_that_differ_by_one_stop_word_one_is_left():
    words = "A nurse on night duty who explains to frightened parents what these monitors show and when they can sleep"
    given = [{"persona": words}, {"persona": words.replace("explains to", "explains to the")}, {"persona": "A boy."}]
    done, _ = await collect(given, p2p_iterations=0)
    assert [row.persona for row in done.rows] == [words, "A boy."]
    [reject] = done.rejects
    assert (reject.reason, reject.details["of"]) == ("near_duplicate", words)
    assert 0.9 <= reject.details["jaccard"] < 1
    done, _ = await collect(given, p2p_iterations=0, minhash_threshold=1.0)
    assert len(done.rows) == 3


def test_words_are_near_from_the_threshold_on_and_meanings_above_it():
    words = [f"w{n}" for n in range(10)]
    zero, one = [0.0, 1.0], [1.0, 0.0]
    seen = Seen(128, 1, 0.9, 0.9)
    seen.admit(" ".join(words), zero)
    with pytest.raises(Exception, match="near_duplicate"):
        seen.admit(" ".join(words[:9]), one)  # exactly 0.9
    seen.admit(" ".join(words[:8]), one)
    with pytest.raises(Exception, match="same_meaning"):
        seen.admit("something else", [0.91, 0.414608])
    seen.admit("another thing", [0.9, 0.43589])  # exactly 0.9 of one, 0.44 of the other
    seen.admit("nothing that the embedder knows", [0.0, 0.0])
    assert len(seen.texts) == 4


@pytest.mark.parametrize(("signature", "threshold"), [(128, 0.9), (128, 0.5), (16, 0.8), (8, 0.9)])
def test_the_bands_find_what_is_as_near_as_the_threshold_says_whatever_it_and_the_signature_are(signature, threshold):
    assert bands(128, 0.9) == 16
    seen = Seen(signature, 1, threshold, 1.0)
    for number in range(30):
        words = [f"n{number}w{at}" for at in range(10)]
        seen.admit(" ".join(words), [0.0])
        with pytest.raises(Exception, match="near_duplicate"):
            seen.admit(" ".join(words[: round(10 * threshold)]), [0.0])
        seen.admit(" ".join(words[: round(10 * threshold) - 1]), [0.0])


def test_shingles_of_two_words_see_the_order_and_many_personas_are_kept_apart():
    seen = Seen(128, 2, 0.9, 1.0)
    seen.admit("a b c d", [0.0])
    seen.admit("d c b a", [0.0])
    with pytest.raises(Exception, match="near_duplicate"):
        seen.admit("A, b; c d!", [0.0])
    for number in range(1100):  # past the first doubling
        seen.admit(f"number {number} of {number}", [0.0])
    with pytest.raises(Exception, match="near_duplicate"):
        seen.admit("number 1050 of 1050", [0.0])


async def test_what_means_the_same_is_dropped_and_never_asked_about():
    model = numbered()
    done, _ = await collect(TEXTS, model, Scripted(lambda _: [3.0, 4.0]))
    assert [r.reason for r in done.rejects] == ["same_meaning"] * 2
    assert done.rejects[0].details["cosine"] == 1
    assert len(done.rows) == 1
    assert len(model.questions) == len(TEXTS) + 1  # the child of the only one that was kept ends the line


async def test_more_relatives_of_each_persona_make_more_of_them():
    done, model = await collect(TEXTS[:1], p2p_iterations=2, related_per_persona=3)
    assert [row.iteration for row in done.rows] == [0] + [1] * 3 + [2] * 9
    assert len(model.questions) == 13


async def test_the_relation_to_the_text_is_drawn_and_asked_for():
    rows = [{"text": f"Text {n}."} for n in range(40)]
    done, model = await collect(rows, p2p_iterations=0)
    asked = {re.search(r"^Text:\n(.*)", p, re.M)[1]: re.search(r"likely to (\w+) this", p)[1] for p in model.prompts}
    assert set(asked.values()) == {"read", "write", "like", "dislike"}
    assert all(row.lineage.draws["relation"] == asked[row.text] for row in done.rows)
    _, model = await collect(rows[:3], p2p_iterations=0, relations=["write"])
    assert all("likely to write this" in prompt for prompt in model.prompts)


async def test_every_persona_is_expanded_and_compared_however_many_are_asked_about_at_once(monkeypatch):
    monkeypatch.setattr("gristmill.recipes.distillation.persona_hub_personas.AT_ONCE", 2)
    rows = [{"text": f"Text {n}."} for n in range(5)]
    done, _ = await collect(rows, p2p_iterations=2)
    assert [row.iteration for row in done.rows] == [0] * 5 + [1] * 5 + [2] * 5
    done, _ = await collect([{"persona": "A boy at sea."}] * 5, p2p_iterations=0)
    assert [r.reason for r in done.rejects] == ["near_duplicate"] * 4


async def test_personas_that_are_there_already_are_taken_as_they_are_and_expanded():
    done, model = await collect([{"persona": "A nurse\n at night"}, {"text": " "}], p2p_iterations=1)
    assert [(row.persona[:7], row.origin) for row in done.rows] == [
        ("A nurse", "given"),
        ("The per", "persona-to-persona"),
    ]
    assert done.rows[0].persona == done.rows[1].parent == "A nurse at night"
    assert [r.reason for r in done.rejects] == ["no_text"]
    assert len(model.questions) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (Reply("A nurse who", finish="length"), "truncated"),
        ("I'm sorry, but I cannot help with that.", "refusal"),
        ("Nurse", "too_short"),
        ("?! ...", "too_short"),
        ("word " * 101, "too_long"),
    ],
)
async def test_poor_personas_are_dropped_with_a_reason(reply, reason):
    done, _ = await collect(TEXTS[:1], Scripted([reply]))
    assert ([r.reason for r in done.rejects], done.rows) == ([reason], [])


async def test_a_text_that_cannot_be_asked_about_costs_itself():
    def some(question):
        if "knit" in question.messages[0].content:
            raise Refused("no")
        return "A lock keeper."

    done, _ = await collect(model=Scripted(some), p2p_iterations=0, allow_failures=True)
    assert ([row.persona for row in done.rows], len(done.failures)) == (["A lock keeper."], 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_words": 9, "max_words": 3}, "nothing would pass"),
        ({"relations": []}, "relations"),
        ({"minhash_signature": 100}, "minhash_signature"),
        ({"p2p_iterations": -1}, "p2p_iterations"),
    ],
)
async def test_settings_of_personas_that_cannot_work_are_refused(options, said):
    model = numbered()
    with pytest.raises(BadInput, match=said):
        await collect(model=model, **options)
    assert not model.questions


async def test_personas_of_the_one_recipe_are_demonstrations_and_seeds_of_the_other():
    told, _ = await collect(p2p_iterations=0)
    done, model = await write(rows=told.folder, mode="persona-few-shot", demonstrations=told.folder)
    assert [row.persona for row in done.rows] == [row.persona for row in told.rows]
    assert all(f"Persona: {told.rows[0].persona}\nMath problem: {TEXTS[0]['text']}" in p for p in model.prompts)


# -- answers


async def test_a_second_call_answers_problems_and_requests_and_turns_a_tool_into_code():
    rows = [
        {"text": f"T{n}", "persona": f"P{n}", "task": task}
        for n, task in enumerate(("math", "reasoning", "instruction", "custom", "tool", "knowledge", "npc"))
    ]
    model = Scripted(lambda q: "```python\ndef f(): pass\n```")
    done = await run(persona_hub_answer, rows, solver=model)
    assert [(row.instruction, row.persona, row.task) for row in done.rows] == [(r["text"], r["persona"], r["task"]) for r in rows[:5]]  # fmt: skip
    assert done.rows[4].output == "def f(): pass"
    assert done.rows[0].output.startswith("```python")
    assert all("The answer is X." in prompt for prompt in model.prompts[:2])
    assert "one Python function" in model.prompts[4]
    assert {q.sampling["temperature"] for q in model.questions} == {0.0}
    assert model.prompts[2:4] == ["T2", "T3"]
    assert [(r.reason, r.details["task"]) for r in done.rejects] == [("no_answer_wanted", task) for task in ("knowledge", "npc")]  # fmt: skip
    assert (await replay(done)).rows == done.rows


@pytest.mark.parametrize(
    ("task", "reply", "reason"),
    [("math", "", "empty"), ("math", Reply("4", finish="length"), "truncated"), ("tool", "It counts.", "no_program")],
)
async def test_an_answer_that_is_none_is_rejected(task, reply, reason):
    done = await run(persona_hub_answer, [{"text": "T", "persona": "P", "task": task}], solver=Scripted([reply]))
    assert ([r.reason for r in done.rejects], done.rows) == ([reason], [])


# -- agreement


async def agree(first, second, printed, **options):
    """The recipe with three solvers that say these answers."""
    row = {"text": "How many?", "persona": "P", "task": "math"}
    models = {
        "first_solver": Scripted([f"So. The answer is {first}."] if first else ["No idea"]),
        "second_solver": Scripted([f"Well. The answer is {second}."] if second else ["No idea"]),
        "programmer": Scripted(["```python\nprint(1)\n```"]),
        "sandbox": Scripted([printed if isinstance(printed, Verdict) else Verdict("ok", stdout=f"{printed}\n")]),
    }
    return await run(persona_hub_agreement, [row], **models, **options)


@pytest.mark.parametrize(
    ("answers", "agreeing", "output"),
    [
        (("4", "4", "5"), ["first_cot", "second_cot"], "So. The answer is 4."),
        (("4", "5", "4.0"), ["first_cot", "pot"], "So. The answer is 4."),
        (("5", "1/2", "0.5"), ["second_cot", "pot"], "Well. The answer is 1/2."),
        (("4", "4", "4"), ["first_cot", "second_cot", "pot"], "So. The answer is 4."),
        (("", "7", "7"), ["second_cot", "pot"], "Well. The answer is 7."),
    ],
)
async def test_two_of_three_solvers_must_agree(answers, agreeing, output):
    done = await agree(*answers)
    [row] = done.rows
    assert (row.instruction, row.agreeing, row.output, row.persona) == ("How many?", agreeing, output, "P")
    assert row.answer == answers[("first_cot", "second_cot", "pot").index(agreeing[0])]


async def test_a_problem_without_agreement_is_dropped_with_all_answers():
    done = await agree("4", "5", "6")
    assert done.rows == []
    assert [(r.reason, r.details) for r in done.rejects] == [
        ("no_agreement", {"answers": {"first_cot": "4", "second_cot": "5", "pot": "6"}})
    ]
    done = await agree("4", "4", "5", min_agreeing=3)
    assert [r.reason for r in done.rejects] == ["no_agreement"]
    done = await agree("4", "", Verdict("error", error="ValueError"))
    assert [(r.reason, r.details.get("of")) for r in done.rejects] == [
        ("no_answer", "second_cot"), ("error", "pot"), ("no_agreement", None)
    ]  # fmt: skip


async def test_only_problems_of_mathematics_are_tested_and_numbers_may_differ_by_the_tolerance():
    row = {"text": "Dear all", "persona": "P", "task": "instruction"}
    model = Scripted()
    done = await run(
        persona_hub_agreement, [row], first_solver=model, second_solver=model, programmer=model, sandbox=model
    )
    assert [(r.reason, r.details) for r in done.rejects] == [("no_problem", {"task": "instruction"})]
    assert not (await agree("0.333", "", "0.334")).rows
    assert (await agree("0.333", "", "0.334", tolerance=0.01)).rows


async def test_two_solvers_reason_in_words_and_a_third_writes_a_program_that_runs_under_a_limit_of_time():
    words, more, coder = (
        Scripted(["The answer is 4."]), Scripted(["The answer is 5."]), Scripted(["```python\nprint(4)\n```"])
    )  # fmt: skip
    sandbox = Scripted([Verdict("ok", stdout="4")])
    models = {"first_solver": words, "second_solver": more, "programmer": coder, "sandbox": sandbox}
    row = {"text": "How many?", "persona": "P", "task": "math"}
    done = await run(persona_hub_agreement, [row], **models, sandbox_timeout_s=1.5)
    assert [row.agreeing for row in done.rows] == [["first_cot", "pot"]]
    assert ["step by step" in model.prompts[0] for model in (words, more, coder)] == [True, True, False]
    assert ["Python program" in model.prompts[0] for model in (words, more, coder)] == [False, False, True]
    assert all(model.prompts[0].startswith("How many?\n") for model in (words, more, coder))
    [question] = sandbox.questions
    assert (question.job.program.code, question.job.limits.seconds) == ("print(4)", 1.5)


def test_the_defaults_are_those_of_the_paper():
    personas = recipes.load("persona-hub-personas").settings({})
    assert {name: personas[name] for name in ("p2p_iterations", "minhash_signature", "minhash_ngram")} == {
        "p2p_iterations": 6, "minhash_signature": 128, "minhash_ngram": 1
    }  # fmt: skip
    assert personas["minhash_threshold"] == personas["embedding_threshold"] == 0.9
    assert recipes.load("persona-hub").settings({})["temperature"] == personas["temperature"] == 0.7
    assert recipes.load("persona-hub-agreement").settings({})["min_agreeing"] == 2
