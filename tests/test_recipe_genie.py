"""Genie: a passage behind four solved examples, one continuation, and three filters: format, entailment, reward."""

import re

import pytest

from gristmill import BadInput
from gristmill.errors import Refused
from gristmill.models.protocol import Reply
from gristmill.recipes.distillation.genie import genie, shipped, split, to_markdown
from gristmill.testing import Scripted, replay, run, text_of

TASKS = {"long-form-qa": "question", "summarization": "summary", "information-extraction": "extraction"}
ANSWERED = " Why is {}?\n[answer]: Because of {}.\n"


def texts(count=3):
    return [{"text": f"Passage {number} is about thing{number}."} for number in range(count)]


def thing(question):
    return re.findall(r"thing\d|\w+ing\b", text_of(question))[-1]


def writer(said=None):
    return Scripted(lambda question: ANSWERED.format(*[thing(question)] * 2) if said is None else said)


def judge(no=()):
    """Says Yes with 0.9, or with 0.2 where a word of `no` stands in the hypothesis."""

    def say(question):
        hypothesis = text_of(question).rpartition("Hypothesis: ")[2]
        yes = 0.2 if any(word in hypothesis for word in no) else 0.9
        return [yes, 1 - yes]

    return Scripted(say)


async def made(seeds=None, generator=None, nli=None, **options):
    generator, nli = generator or writer(), nli or judge()
    seeds = texts() if seeds is None else seeds
    return generator, nli, await run(genie, seeds, generator=generator, nli=nli, **options)


def reasons(done):
    return [reject.reason for reject in done.rejects]


# -- the prompt


@pytest.mark.proof("genie", 1)
@pytest.mark.parametrize("task", TASKS)
async def test_the_prompt_holds_four_solved_examples_then_the_passage_and_an_empty_slot(task):
    said = "Well.\n[answer]: So." if task == "long-form-qa" else "So."
    generator, _, done = await made(texts(1), writer(said), task=task)
    [question] = generator.questions
    assert question.kind == "complete"
    first, *solved, last = question.prompt.split("[document]: ")
    assert len(first.strip().splitlines()) == 1
    shown = [one for one in shipped() if one.task == task]
    assert len(solved) == len(shown) == 4
    for text, one in zip(solved, shown, strict=True):
        assert text.startswith(f"{one.content}\n[{TASKS[task]}]: ")
        assert text.endswith(f"{one.answer}\n\n")
        assert (f"[question]: {one.question}\n[answer]: " in text) is (task == "long-form-qa")
    assert last == f"Passage 0 is about thing0.\n[{TASKS[task]}]:"
    assert (done.rows[0].task, done.rows[0].input, done.rows[0].output) == (task, "Passage 0 is about thing0.", "So.")
    assert done.rows[0].instruction == ("Well." if task == "long-form-qa" else first.strip())


async def test_demonstrations_of_ones_own_are_used_and_have_to_be_as_many_as_a_prompt_shows():
    own = [{"task": "summarization", "content": f"Content {n}", "answer": f"Sum {n}"} for n in range(4)]
    generator, _, _ = await made(texts(1), writer("So."), task="summarization", demonstrations=own)
    assert re.findall(r"\[summary\]: Sum (\d)", generator.questions[0].prompt) == ["0", "1", "2", "3"]
    for wrong in (own[:3], [*own, {**own[0], "answer": "5"}]):
        with pytest.raises(BadInput, match=f"{len(wrong)} demonstrations are of summarization, and a prompt shows 4"):
            await made(texts(1), Scripted(), task="summarization", demonstrations=wrong)
    generator, _, _ = await made(texts(1), writer("So."), task="summarization", demonstrations=own[:2], few_shot=2)
    assert generator.questions[0].prompt.count("[document]:") == 3


@pytest.mark.parametrize("field", ["content", "question", "answer"])
async def test_a_demonstration_that_lacks_a_field_is_refused_before_the_first_call(field):
    whole = {"task": "long-form-qa", "content": "c", "question": "q", "answer": "a"}
    generator = Scripted()
    with pytest.raises(BadInput, match="lacks content, question, answer"):
        await made(texts(1), generator, demonstrations=[whole, whole, whole, {**whole, field: " "}])
    assert not generator.questions


async def test_the_call_is_sampled_and_stopped_as_the_parameters_say():
    generator, _, _ = await made(texts(1))
    assert generator.questions[0].sampling == {"temperature": 0.7, "max_tokens": 512, "stop": ["[document]:"]}
    generator, _, _ = await made(texts(1), temperature=0.1, max_tokens_example=9)
    assert (generator.questions[0].sampling["temperature"], generator.questions[0].sampling["max_tokens"]) == (0.1, 9)


# -- format


@pytest.mark.proof("genie", 2)
@pytest.mark.parametrize(
    ("said", "reason", "field"),
    [
        (" Why?\nBecause.", "missing_field", "answer"),
        (" Why?\n[summary]: Because.", "missing_field", "answer"),
        (" Why?\n[document]: x\n[answer]: Because.", "missing_field", "answer"),
        ("\n[answer]: Because.", "empty_field", "question"),
        (" Why?\n[answer]: \n[document]: More.", "empty_field", "answer"),
        ("", "empty_field", "question"),
        (Reply(" Why?\n[answer]: Becau", finish="length"), "truncated", None),
    ],
)
async def test_a_continuation_without_every_field_gives_no_row_and_is_not_judged(said, reason, field):
    _, nli, done = await made(texts(1), writer(said))
    assert (done.rows, reasons(done)) == ([], [reason])
    assert done.rejects[0].details == ({"field": field} if field else {})
    assert not nli.questions


@pytest.mark.proof("genie", 2)
@pytest.mark.parametrize(
    "said",
    [
        " Why?\n[answer]: Because.\n\n[document]: Another one.\n[question]: Who?\n[answer]: Me.",
        " Why?\n[answer]: Because.\n[question]: Who?\n[answer]: Me.",
        Reply(" Why?\n[answer]: Because.\n[document]: Anoth", finish="length"),
        "\n[Question]: Why?\n[ANSWER]: Because.",
    ],
)
async def test_nothing_behind_the_first_example_enters_a_row(said):
    _, nli, done = await made(texts(1), writer(said))
    assert [(row.instruction, row.output) for row in done.rows] == [("Why?", "Because.")]
    assert "Hypothesis: Why? Because.\n" in text_of(nli.questions[0])
    assert not done.rejects


# -- faithfulness and quality


@pytest.mark.proof("genie", 3)
async def test_a_text_that_is_not_entailed_by_its_passage_is_dropped_and_the_others_stay():
    _, nli, done = await made(nli=judge(no=["thing1"]))
    assert [row.output for row in done.rows] == ["Because of thing0.", "Because of thing2."]
    assert [(r.reason, r.details) for r in done.rejects] == [("not_entailed", {"faithfulness": 0.2})]
    assert {row.faithfulness for row in done.rows} == {0.9}
    asked = sorted(text_of(question) for question in nli.questions)
    for number, prompt in enumerate(asked):
        premise, hypothesis = (
            f"Passage {number} is about thing{number}.",
            f"Why is thing{number}? Because of thing{number}.",
        )
        assert prompt.endswith(f"Premise: {premise}\nHypothesis: {hypothesis}\nEntailed:")
    assert nli.questions[0].texts == [" Yes", " No"]


async def test_of_a_question_and_its_answer_the_answer_alone_can_be_the_hypothesis():
    _, nli, _ = await made(texts(1), joined_hypothesis=False)
    assert text_of(nli.questions[0]).endswith("Hypothesis: Because of thing0.\nEntailed:")


@pytest.mark.parametrize(("yes", "threshold", "kept"), [(0.5, 0.5, 1), (0.49, 0.5, 0), (0.7, 0.71, 0), (0.0, 0.0, 1)])
async def test_the_threshold_of_faithfulness_is_a_parameter(yes, threshold, kept):
    assert genie.settings({})["nli_threshold"] == 0.5
    _, _, done = await made(texts(1), nli=Scripted(lambda _: [yes, 1 - yes]), nli_threshold=threshold)
    assert len(done.rows) == kept


@pytest.mark.proof("genie", 4)
async def test_a_row_with_reward_49_is_dropped_and_one_with_51_is_kept():
    rewards = {"thing0": 0.49, "thing1": 0.51, "thing2": 0.5}
    reward = Scripted(lambda question: rewards[thing(question)])
    _, _, done = await made(reward=reward)
    assert [(row.output, row.reward) for row in done.rows] == [
        ("Because of thing1.", 0.51),
        ("Because of thing2.", 0.5),
    ]
    assert [(r.reason, r.details) for r in done.rejects] == [("low_reward", {"reward": 0.49, "faithfulness": 0.9})]
    messages = next(q.messages for q in reward.questions if "thing0" in text_of(q))
    assert [(message.role, message.content) for message in messages] == [
        ("user", "Why is thing0?"), ("assistant", "Because of thing0."),
    ]  # fmt: skip
    _, _, done = await made(reward=Scripted(lambda _: -3.0), reward_threshold=-3.5)
    assert len(done.rows) == 3


async def test_of_a_summary_the_reward_model_reads_the_tasks_instruction_and_nothing_is_rated_that_is_not_entailed():
    reward = Scripted(lambda _: 1.0)
    _, _, done = await made(texts(1), writer("So."), task="summarization", reward=reward)
    assert reward.questions[0].messages[0].content == done.rows[0].instruction
    reward = Scripted(lambda _: 1.0)
    await made(nli=judge(no=["thing"]), reward=reward)
    assert not reward.questions


async def test_without_a_reward_model_the_third_filter_is_left_out():
    _, _, done = await made()
    assert [row.reward for row in done.rows] == [None] * 3


async def test_each_continuation_of_a_passage_is_filtered_for_itself():
    said = iter([" Why?\n[answer]: A.", " Why?", " Why?\n[answer]: C."])
    _, _, done = await made(texts(1), Scripted(lambda _: next(said)), samples_per_passage=3)
    assert [row.output for row in done.rows] == ["A.", "C."]
    assert reasons(done) == ["missing_field"]


# -- passages

PAGE = """<!DOCTYPE html><html><head><title>Site</title><style>p {}</style></head><body class="sidebar">
<header><h1>Big site</h1></header><nav>Home</nav><div class="site-navigation">Start</div><div id="sidebar">Links</div>
<div role="banner">Sale!</div><ul class="breadcrumbs"><li>You are here</li></ul><script>var x = 1</script>
<main><header><h1>Swifts</h1></header><p>They <b>fly</b> a_lot_ of *miles*.</p>
<h2 class="header">Food</h2><ul><li>flies</li><li>spiders</li></ul><h2>Empty</h2><h3>Nests</h3><p>Under roofs.</p></main>
<aside>Advert</aside><footer>Imprint</footer></body></html>"""


async def test_a_page_loses_what_stands_around_its_text_and_becomes_markdown_along_its_headings():
    generator, _, done = await made([{"text": PAGE}], writer(" Why?\n[answer]: So."))
    assert [row.input for row in done.rows] == [
        "# Swifts\n\nThey **fly** a_lot_ of *miles*.",
        "## Food\n\n* flies\n* spiders",
        "## Empty\n\n### Nests\n\nUnder roofs.",
    ]
    assert len(generator.questions) == 3
    assert len({row.lineage.seed for row in done.rows}) == 1


def test_a_header_of_an_article_and_words_that_only_look_like_surroundings_stay():
    page = (
        '<article><header>A</header><footer>B</footer><div class="header-of-chapter">C</div></article><p id="toc">D</p>'
    )
    assert to_markdown(page).split() == ["A", "B", "C", "D"]
    assert to_markdown("a < b and <b>c") == "a < b and <b>c"
    shown = "# Tags\n\nWrite `<p>` or\n\n```\n<div>\n\n  x\n```\n\nand be done."
    assert to_markdown(shown) == shown  # a text about HTML is none


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("One.\n\nTwo.", ["One.\n\nTwo."]),
        ("# A\nOne.\n## B\n\n# C\nTwo.\n# D", ["# A\nOne.", "## B\n\n# C\nTwo."]),
        ("Before.\n\nTitle\n=====\nOne.\n\nOther\n---\nTwo.", ["Before.", "Title\n=====\nOne.", "Other\n---\nTwo."]),
        ("# A\n```\n# no heading\n\nx\n```\nOne.", ["# A\n```\n# no heading\n\nx\n```\nOne."]),
        ("#hashtag\nOne #2.", ["#hashtag\nOne #2."]),
        ("A line\nand more\n---\nOne.", ["A line\nand more\n---\nOne."]),
        (" \n# A\n", []),
    ],
)
def test_a_text_is_split_along_its_headings(text, passages):
    assert split(text, 100) == passages


def test_a_long_section_is_split_between_paragraphs_and_a_long_paragraph_between_sentences():
    text = "# A\n\nOne two three.\n\nFour five.\n\nSix seven eight. Nine ten. Elf.\n\nZwölf."
    assert split(text, 5) == ["# A\n\nOne two three.", "Four five.", "Six seven eight. Nine ten.", "Elf.\n\nZwölf."]
    assert split(text, 400) == [text]
    assert split("雪是白的。冰是硬的。", 5) == ["雪是白的。", "冰是硬的。"]  # each sign is a word


async def test_passages_are_as_long_as_the_parameter_says():
    generator, _, _ = await made(
        [{"text": "One two.\n\nThree four."}], writer(" Why?\n[answer]: So."), max_passage_words=2
    )
    assert len(generator.questions) == 2
    assert genie.settings({})["max_passage_words"] == 400


@pytest.mark.parametrize(
    ("text", "reason"),
    [(" ", "no_content"), ("# Title", "no_content"), ("<body><nav>Home</nav></body>", "no_content"), ("<div>" * 3000 + "x", "parser_error")],
)  # fmt: skip
async def test_a_document_without_content_costs_no_call(text, reason):
    generator, _, done = await made([{"text": text}])
    assert (reasons(done), generator.questions) == ([reason], [])


@pytest.mark.parametrize(("seeds", "message"), [([], "."), ([{"body": "x"}], "text")])
async def test_seeds_without_texts_are_refused(seeds, message):
    with pytest.raises(BadInput, match=message):
        await made(seeds, Scripted())


async def test_html_without_its_package_says_what_to_install(monkeypatch):
    from gristmill import packages

    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"gristmill\[html\]"):
        await made([{"text": PAGE}], Scripted())


# -- the engine's promises


async def test_a_call_that_fails_costs_its_own_passage_alone():
    failing = [Refused("no")]
    generator = Scripted(lambda question: failing.pop() if failing else " Why?\n[answer]: So.")
    _, _, done = await made([{"text": "# A\nOne.\n# B\nTwo."}], generator, allow_failures=True)
    assert len(done.rows) == len(done.failures) == 1


async def test_a_replay_gives_the_same_rows_and_asks_nothing():
    _, _, done = await made(nli=judge(no=["thing1"]), reward=Scripted(lambda _: 0.7))
    again = await replay(done)
    assert again.rows == done.rows
    assert again.calls == 0
    assert [len(row.lineage.calls) for row in done.rows] == [3, 3]  # written, entailed, rated
