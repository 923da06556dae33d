"""What makes OASST that: a state machine of writing, reviewing and ranking, in which nobody judges himself."""

import itertools

import pytest

from gristmill.models.annotation import Labelling, Note, Ranking, Writing
from gristmill.models.annotator import Script
from gristmill.recipes.preference.oasst import oasst
from gristmill.testing import Scripted, replay, run

TREE = [{"lang": "English"}]


def writer(text="{by} says {n}", names=("ann", "bob", "cy"), skip=lambda n: False) -> tuple[Script, list[Writing]]:
    seen: list[Writing] = []

    def write(task, _):
        assert isinstance(task, Writing)
        n = len(seen)
        seen.append(task)
        by = names[n % len(names)]
        return Note(by=by, skipped=True) if skip(n) else Note(by=by, text=text.format(by=by, n=n))

    return Script(write, name=f"writer {id(seen)}"), seen


def reviewer(labels=lambda task, number: ["fine"]) -> tuple[Script, list[Labelling]]:
    seen: list[Labelling] = []

    def review(task, number):
        assert isinstance(task, Labelling)
        seen.append(task)
        return Note(by=f"r{number}", labels=labels(task, number))

    return Script(review, name=f"reviewer {id(seen)}"), seen


def ranker(order=lambda items, number: list(range(len(items))), by="k") -> Script:
    def rank(task, number):
        assert isinstance(task, Ranking)
        return Note(by=f"{by}{number}", order=order(task.items, number))

    return Script(rank, name="ranker")


async def grow(**options):
    options.setdefault("prompters", writer("User text {n}", ("pia", "pat"))[0])
    options.setdefault("assistants", writer("Answer {n}")[0])
    options.setdefault("reviewers", reviewer()[0])
    options.setdefault("rankers", ranker())
    return await run(oasst, TREE, **options)


def tree_of(done):
    [tree] = done.iterate("oasst_tree")
    return tree


async def test_roles_alternate_on_every_path_and_none_is_deeper_than_the_limit():
    done = await grow(goal_tree_size=30, max_tree_depth=3)
    by_id = {row.message_id: row for row in done.rows}
    for row in done.rows:
        depth, node = 0, row
        while node.parent_id:
            parent = by_id[node.parent_id]
            assert {node.role, parent.role} == {"prompter", "assistant"}
            depth, node = depth + 1, parent
        assert node.role == "prompter"
        assert depth <= 3
    for row in done.rows:
        children = [other for other in done.rows if other.parent_id == row.message_id]
        assert len(children) <= (3 if row.role == "prompter" else 1)
    assert tree_of(done).state == "ready_for_export"
    for thread in done.iterate("oasst_thread"):
        roles = [turn.role for turn in thread.messages]
        assert roles == (["user", "assistant"] * 4)[: len(roles)]
        assert roles[-1] == "assistant"


async def test_a_tree_stops_growing_at_its_goal():
    done = await grow(goal_tree_size=5)
    assert (len(done.rows), tree_of(done).messages) == (5, 5)
    assert len((await grow(goal_tree_size=1)).rows) == 1


async def test_a_message_that_one_of_three_finds_good_is_not_in_the_export():
    def one_of_three(task, number):
        return ["fine"] if number == 0 or "Answer 1" not in task.text else ["spam"]

    done = await grow(reviewers=reviewer(one_of_three)[0], goal_tree_size=6)
    assert "Answer 1" not in {row.text for row in done.rows}
    [reject] = [reject for reject in done.rejects if reject.reason == "low_grade"]
    assert reject.details["score"] == pytest.approx(0.3333)
    assert tree_of(done).deleted == 1
    two = await grow(
        reviewers=reviewer(lambda task, number: ["spam"] if number == 2 else ["fine"])[0], goal_tree_size=4
    )
    assert {round(row.score, 2) for row in two.rows} == {0.67}


async def test_a_root_of_low_grade_aborts_the_tree():
    done = await grow(reviewers=reviewer(lambda *_: ["spam"])[0])
    assert (done.rows, tree_of(done).state) == ([], "aborted_low_grade")


async def test_more_than_four_red_flags_delete_a_message():
    def red(task, number):
        many = ["toxic", "violent", "pii"] if number < 2 else ["fine"]
        return many if task.text == "Answer 0" else ["fine"]

    done = await grow(
        reviewers=reviewer(red)[0], goal_tree_size=4, p_full_labeling_assistant=1.0, acceptance_threshold=0
    )
    assert [reject.reason for reject in done.rejects] == ["red_flags"]
    assert done.rejects[0].details["flags"] == 6
    assert "Answer 0" not in {row.text for row in done.rows}


async def test_nobody_reviews_or_ranks_what_he_wrote():
    # Reviewers named as the authors: their word does not count, so nothing was reviewed.
    selfish = Script(lambda task, number: Note(by="pia", labels=["fine"]), name="selfish")
    done = await grow(prompters=writer("Hello {n}", ("pia",))[0], reviewers=selfish)
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], ["not_reviewed"])
    asked = Scripted(lambda q: Note(by="eve", labels=["fine"]), can={"Annotator"})
    await grow(prompters=writer("Hello {n}", ("pia",))[0], reviewers=asked, goal_tree_size=1)
    assert [question.sampling["without"] for question in asked.questions] == [["pia"]]
    vain = Script(lambda task, number: Note(by="ann", order=list(range(len(task.items)))), name="vain")
    ranked = await grow(assistants=writer("Answer {n}", ("ann",))[0], rankers=vain)
    assert {row.rank for row in ranked.rows} == {None}
    assert "not_ranked" in {reject.reason for reject in ranked.rejects}


async def test_rankings_in_a_circle_still_give_an_order_and_the_same_each_time():
    orders = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    found = set()
    for turned in itertools.permutations(orders):
        done = await grow(
            rankers=ranker(lambda items, number, turned=turned: turned[number]), max_tree_depth=1, goal_tree_size=4,
        )  # fmt: skip
        answers = [row for row in done.rows if row.role == "assistant"]
        assert sorted(row.rank for row in answers) == [0, 1, 2]
        found.add(tuple((row.text, row.rank) for row in answers))
    assert len(found) == 1


async def test_the_best_answer_is_in_the_thread_and_pairs_follow_the_order():
    turned = ranker(lambda items, number: list(reversed(range(len(items)))))
    done = await grow(rankers=turned, max_tree_depth=1, goal_tree_size=4)
    assert [row.rank for row in done.rows] == [None, 2, 1, 0]
    [thread] = done.iterate("oasst_thread")
    assert thread.messages[-1].content == done.rows[-1].text
    pairs = [(pair.chosen, pair.rejected) for pair in done.iterate("oasst_pair")]
    texts = {row.rank: row.text for row in done.rows}
    assert pairs == [(texts[0], texts[1]), (texts[1], texts[2])]


async def test_all_labels_are_asked_of_roots_always_and_of_others_by_chance():
    people, seen = reviewer()
    await grow(reviewers=people, goal_tree_size=25, p_full_labeling_assistant=0.0, p_full_labeling_prompter=0.0)
    kinds = {len(task.options) for task in seen if task.context.startswith("A new")}, {len(task.options) for task in seen if not task.context.startswith("A new")}  # fmt: skip
    assert kinds == ({12}, {2})
    assert all("spam" in task.options for task in seen)
    people, seen = reviewer()
    await grow(reviewers=people, goal_tree_size=8, p_full_labeling_assistant=1.0)
    assert any("fails_task" in task.options for task in seen)


async def test_a_twin_of_a_sibling_is_dropped_and_who_skips_too_often_halts_the_tree():
    done = await grow(assistants=writer("Same")[0], max_tree_depth=1, goal_tree_size=4)
    assert [row.text for row in done.rows] == ["User text 0", "Same"]
    assert {reject.reason for reject in done.rejects} == {"duplicate"}
    lazy = await grow(assistants=writer(skip=lambda n: True)[0], auto_mod_max_skip_reply=3)
    assert tree_of(lazy).state == "halted_by_moderator"
    assert dict(lazy.reject_counts) == {"skipped": 4}


async def test_writers_see_the_conversation_and_who_is_to_speak():
    people, seen = writer("Answer {n}")
    await grow(assistants=people, goal_tree_size=6)
    assert seen[0].context == "User: User text 0"
    assert seen[0].most == 2000
    assert "assistant" in seen[0].guidelines


async def test_it_waits_for_people_and_a_replay_asks_nobody():
    waiting = await run(oasst, TREE, allow_failures=True)
    assert (waiting.exit_code, waiting.rows) == (4, [])
    parts = {"prompters": writer("User text {n}", ("pia", "pat"))[0], "assistants": writer("Answer {n}")[0], "reviewers": reviewer()[0], "rankers": ranker()}  # fmt: skip
    done = await grow(**parts)
    again = await replay(done, model=parts)
    assert (again.rows, again.calls) == (done.rows, 0)
