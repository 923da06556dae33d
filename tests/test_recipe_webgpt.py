"""What makes WebGPT WebGPT: answers from quotes that were found by browsing, and comparisons in which ties count half."""

import pytest

from gristmill import Reply
from gristmill.models.annotation import Note
from gristmill.models.annotator import Script
from gristmill.models.bm25 import BM25
from gristmill.ops.browser import Page
from gristmill.recipes.preference.webgpt import shipped_pages, webgpt
from gristmill.testing import Scripted, replay, run

PAGES = [
    {
        "url": "https://a.example/bread",
        "title": "Bread",
        "text": "Bread rises, since yeast makes gas. Gluten holds it.",
        "links": [],
    },
    {"url": "https://b.example/tides", "title": "Tides", "text": "The moon makes the tides.", "links": []},
]
ASK = [{"question": "Why does bread rise?"}]
GOOD = ["Search why bread rises", "Clicked on link 1", "Quote: yeast makes gas", "End: Answer", "Yeast makes gas [1]."]
OTHER = ["Search gluten bread", "Clicked on link 1", "Quote: Gluten holds it.", "End: Answer", "Gluten holds it [1]."]


def browses(*episodes: list[str]) -> Scripted:
    """Each episode says its own lines, whichever comes first: told apart by the actions that its prompt shows."""
    left = [list(lines) for lines in episodes]
    said: dict[str, list[str]] = {}

    def script(question):
        if "References:" in question.prompt:
            return next(lines[-1] for lines in episodes if quoted(lines) in question.prompt)
        shown = question.prompt.partition("Past actions:\n")[2].partition("\n\n")[0]
        actions = [line.removeprefix("- ") for line in shown.splitlines()]
        if not actions:
            lines = left.pop(0)
            said[lines[0]] = lines
            return lines[0]
        return said[actions[0]][len(actions)]

    return Scripted(script)


def quoted(lines: list[str]) -> str:
    """What an episode quotes last."""
    return ["\0", *(line.removeprefix("Quote: ") for line in lines if line.startswith("Quote: "))][-1]


def prefers(*preferences: int) -> Script:
    return Script(lambda task, number: Note(by=f"p{number}", preference=preferences[number]))


async def browsed(*episodes, labeler=None, **options):
    return await run(
        webgpt, ASK, demonstrator=browses(*(episodes or (GOOD, OTHER))), retriever=BM25(),
        labeler=labeler or prefers(-1), corpus=PAGES, **options,
    )  # fmt: skip


async def test_every_reference_stands_word_for_word_on_a_page_that_was_opened():
    done = await browsed()
    [row] = done.rows
    texts = {page["title"]: page["text"] for page in PAGES}
    quotes = [*row.quotes_0, *row.quotes_1]
    assert [quote.extract for quote in quotes] == ["yeast makes gas", "Gluten holds it."]
    assert all(quote.extract in texts[quote.title] for quote in quotes)


async def test_an_invented_quote_counts_for_nothing():
    lines = [*GOOD[:2], "Quote: yeast makes gold", *GOOD[2:]]
    done = await browsed(lines, OTHER)
    assert [quote.extract for quote in done.rows[0].quotes_0] == ["yeast makes gas"]
    steps = [step.completion for step in done.iterate("webgpt_demonstration") if step.episode == 0]
    assert " Quote: yeast makes gold" not in steps
    assert len(steps) == 5


async def test_an_unknown_command_is_no_demonstration_and_uses_up_an_action():
    seen = browses(["Search why bread rises", "Dance", *GOOD[1:]], OTHER)
    done = await run(webgpt, ASK, demonstrator=seen, retriever=BM25(), labeler=prefers(-1), corpus=PAGES)
    assert any("- Dance" in prompt and "Actions left: 98" in prompt for prompt in seen.prompts)
    assert not any("Dance" in step.completion for step in done.iterate("webgpt_demonstration"))


async def test_the_answer_is_written_from_the_question_and_the_references_alone():
    seen = browses(GOOD, OTHER)
    await run(webgpt, ASK, demonstrator=seen, retriever=BM25(), labeler=prefers(-1), corpus=PAGES)
    answers = [prompt for prompt in seen.prompts if "References:" in prompt]
    assert len(answers) == 2
    assert all("Why does bread rise?" in prompt and "[1] Bread (a.example): " in prompt for prompt in answers)
    assert not any("Commands:" in prompt or PAGES[0]["text"] in prompt or "Page:" in prompt for prompt in answers)


async def test_without_a_quote_no_answer_is_asked_for():
    seen = browses(["Search bread", "End: Answer", "never"], OTHER)
    done = await run(webgpt, ASK, demonstrator=seen, retriever=BM25(), labeler=prefers(-1), corpus=PAGES)
    assert sum("References:" in prompt for prompt in seen.prompts) == 1
    assert (done.rows, dict(done.reject_counts)) == ([], {"no_quotes": 1, "no_pair": 1})
    assert {step.episode for step in done.iterate("webgpt_demonstration")} == {1}


@pytest.mark.parametrize(
    ("preference", "scores", "target", "pairs"),
    [
        (-2, (1.0, -1.0), 1.0, [("Yeast makes gas [1].", "Gluten holds it [1].", 1.0)]),
        (1, (-0.5, 0.5), 0.0, [("Gluten holds it [1].", "Yeast makes gas [1].", 0.5)]),
        (0, (0.0, 0.0), 0.5, []),
    ],
)
async def test_a_preference_becomes_scores_and_a_tie_a_target_of_one_half(preference, scores, target, pairs):
    done = await browsed(labeler=prefers(preference))
    [row] = done.rows
    assert (row.answer_0, row.answer_1) == ("Yeast makes gas [1].", "Gluten holds it [1].")
    assert ((row.score_0, row.score_1), row.target) == (scores, target)
    assert [(pair.chosen, pair.rejected, pair.score) for pair in done.iterate("webgpt_pair")] == pairs


async def test_people_see_both_answers_with_their_references_and_what_to_look_for():
    seen = []

    def judge(task, number):
        seen.append(task)
        return Note(preference=0)

    await browsed(labeler=Script(judge))
    [task] = seen
    assert task.context == "Why does bread rise?"
    assert "[1] Bread (a.example): yeast makes gas" in task.first
    assert "Gluten holds it [1]." in task.second
    assert "supported" in task.guidelines
    assert task.ties


async def test_several_people_count_by_their_mean_unless_they_contradict_each_other():
    agreed = await browsed(labeler=prefers(-2, -1, 0), labelers=3)
    assert agreed.rows[0].score_0 == pytest.approx(0.5)
    torn = await browsed(labeler=prefers(-2, 1), labelers=2)
    assert (torn.rows, dict(torn.reject_counts)) == ([], {"low_agreement": 1})
    nobody = await browsed(labeler=Script(lambda task, number: Note(skipped=True)))
    assert dict(nobody.reject_counts) == {"skipped": 1}


async def test_browsing_ends_after_so_many_actions_and_so_many_characters_of_quotes():
    endless = ["Search why bread rises", "Clicked on link 1", *["Top"] * 20, ""]
    done = await browsed(endless, OTHER, max_actions=6)
    assert [(r.reason, r.details.get("actions")) for r in done.rejects] == [("no_quotes", 6), ("no_pair", None)]
    short = await browsed([*GOOD[:3], GOOD[4]], [*OTHER[:3], OTHER[4]], max_quoted=10)
    assert len(short.rows) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("", "empty"), ("Yeast makes gas.", "uncited"), ("Yeast makes gas [2].", "uncited")],
)
async def test_an_answer_that_does_not_cite_its_references_is_rejected(answer, reason):
    done = await browsed([*GOOD[:4], answer], OTHER)
    assert dict(done.reject_counts) == {reason: 1, "no_pair": 1}


async def test_a_cut_answer_and_a_question_called_nonsense_and_equal_answers_are_rejected():
    cut = browses(GOOD, OTHER)
    script = cut._script
    cut._script = lambda q: Reply(script(q), finish="length") if "References:" in q.prompt else script(q)
    done = await run(webgpt, ASK, demonstrator=cut, retriever=BM25(), labeler=prefers(-1), corpus=PAGES)
    assert dict(done.reject_counts) == {"truncated": 2, "no_pair": 1}
    senseless = await browsed(["Search bread", "End: <Nonsense, Controversial>", ""], OTHER)
    assert dict(senseless.reject_counts) == {"nonsense": 1, "no_pair": 1}
    same = await browsed(GOOD, [*OTHER[:4], GOOD[4]])
    assert dict(same.reject_counts) == {"same_answer": 1}


async def test_a_replay_rebuilds_the_episodes_and_searches_nothing():
    done = await browsed()
    nobody = Scripted()
    again = await replay(done, model={"demonstrator": nobody, "retriever": BM25(), "labeler": prefers()})
    assert (again.rows, again.calls, nobody.questions) == (done.rows, 0, [])
    assert list(again.iterate("webgpt_demonstration")) == list(done.iterate("webgpt_demonstration"))


async def test_a_question_waits_for_people_where_nobody_else_compares():
    done = await run(
        webgpt, ASK, demonstrator=browses(GOOD, OTHER), retriever=BM25(), corpus=PAGES, allow_failures=True
    )
    assert (done.exit_code, done.waiting) == (4, 1)


def test_the_shipped_pages_link_to_one_another():
    pages = {page.url: page for page in shipped_pages()}
    assert all(isinstance(page, Page) and page.title for page in pages.values())
    assert all(link.url in pages for page in pages.values() for link in page.links)
