"""What makes OASST that: a state machine of writing, reviewing and ranking, in which nobody judges himself."""

import itertools

import pytest

from gristmill import Refused
from gristmill.models.annotation import Labelling, Note, Ranking, Rating, Writing
from gristmill.models.annotator import Script
from gristmill.recipes.preference.oasst import GRADES, Label, oasst
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


def reviewer(labels=lambda task, number: ["not_spam"], grade=lambda number: 2) -> tuple[Script, list[Labelling]]:
    """Who gives None for labels skips. Gradings are not among the tasks seen."""
    seen: list[Labelling] = []

    def review(task, number):
        if isinstance(task, Rating):
            return Note(by=f"r{number}", ratings=dict.fromkeys(task.aspects, grade(number)))
        assert isinstance(task, Labelling)
        seen.append(task)
        chosen = labels(task, number)
        return Note(by=f"r{number}", skipped=True) if chosen is None else Note(by=f"r{number}", labels=chosen)

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
        return ["not_spam"] if number == 0 or "Answer 1" not in task.text else ["spam"]

    done = await grow(reviewers=reviewer(one_of_three)[0], goal_tree_size=6)
    assert "Answer 1" not in {row.text for row in done.rows}
    [reject] = [reject for reject in done.rejects if reject.reason == "low_grade"]
    assert reject.details["score"] == pytest.approx(0.3333)
    assert tree_of(done).deleted == 1
    two = await grow(
        reviewers=reviewer(lambda task, number: ["spam"] if number == 2 else ["not_spam"])[0], goal_tree_size=4
    )
    assert {round(row.score, 2) for row in two.rows} == {0.67}


async def test_a_root_of_low_grade_aborts_the_tree():
    done = await grow(reviewers=reviewer(lambda *_: ["spam"])[0])
    assert (done.rows, tree_of(done).state) == ([], "aborted_low_grade")


@pytest.mark.parametrize(("language", "spam", "score"), [(1, 0, 0.6667), (1, 1, 0.3333), (0, 2, 0.3333), (3, 3, -1)])
async def test_spam_and_another_language_lower_the_score_and_no_other_label_does(language, spam, score):
    def labels(task, number):
        said = ["spam" if number < spam else "not_spam", *(["lang_mismatch"] if number >= 3 - language else [])]
        return [*said, "not_appropriate", "pii", *(["fails_task"] if "fails_task" in task.options else [])]

    people, seen = reviewer(labels)
    done = await grow(reviewers=people, goal_tree_size=2, p_full_labeling_assistant=1.0, acceptance_threshold=0.6)
    kept = {round(row.score, 4) for row in done.rows}
    assert kept == ({score} if score > 0.6 else set())
    assert kept or done.rejects[0].details["score"] == score
    assert len(done.rows) == (2 if score > 0.6 else 0)
    assert "fails_task" in seen[-1].options or not kept


@pytest.mark.parametrize(("flagged", "kept"), [(4, True), (5, False)])
async def test_more_than_four_reviewers_with_red_labels_delete_a_message_however_many_labels_each_chose(flagged, kept):
    def red(task, number):
        return ["not_spam", *(["hate_speech", "pii"] if task.text == "Answer 0" and number < flagged else [])]

    done = await grow(reviewers=reviewer(red)[0], goal_tree_size=4, p_full_labeling_assistant=1.0, num_reviews=6)
    assert ("Answer 0" in {row.text for row in done.rows}) == kept
    assert [(reject.reason, reject.details["flags"]) for reject in done.rejects] == ([] if kept else [("red_flags", 5)])


@pytest.mark.parametrize("said", [None, [], ["lang_mismatch"], ["spam", "not_spam"]])
async def test_a_review_that_does_not_say_whether_it_is_spam_is_none_and_all_of_them_are_needed(said):
    people = reviewer(lambda task, number: said if number == 2 and task.text == "Answer 0" else ["not_spam"])[0]
    done = await grow(reviewers=people, goal_tree_size=4)
    assert "Answer 0" not in {row.text for row in done.rows}
    assert [(reject.reason, reject.details["reviews"]) for reject in done.rejects] == [("not_reviewed", 2)]
    assert {row.reviews for row in done.rows} == {3}
    root = await grow(reviewers=reviewer(lambda *_: said)[0])
    assert (root.rows, tree_of(root).state) == ([], "incomplete")


async def test_full_reviews_grade_a_message_and_say_of_how_many_people():
    people, _ = reviewer(grade=lambda number: (4, 2, 3)[number])
    done = await grow(reviewers=people, goal_tree_size=2, p_full_labeling_assistant=1.0)
    root, answer = done.rows
    assert root.labels["spam"] == Label(0.0, 3)
    assert set(root.labels) == {
        "spam",
        "lang_mismatch",
        "not_appropriate",
        "pii",
        "hate_speech",
        "sexual_content",
        *GRADES,
    }
    assert {root.labels[name].value for name in GRADES} == {0.75}
    assert set(answer.labels) - set(root.labels) == {"fails_task", "helpfulness"}
    plain = await grow(reviewers=people, goal_tree_size=2, p_full_labeling_assistant=0.0)
    assert set(plain.rows[1].labels) == {"spam", "lang_mismatch"}


async def test_nobody_reviews_or_ranks_what_he_wrote():
    # Reviewers named as the authors: their word does not count, so nothing was reviewed.
    selfish = Script(lambda task, number: Note(by="pia", labels=["not_spam"]), name="selfish")
    done = await grow(prompters=writer("Hello {n}", ("pia",))[0], reviewers=selfish)
    assert (done.rows, [reject.reason for reject in done.rejects]) == ([], ["not_reviewed"])
    asked = Scripted(lambda q: Note(by="eve", **({"ratings": dict.fromkeys(q.task.aspects, 1)} if isinstance(q.task, Rating) else {"labels": ["not_spam"]})), can={"Annotator"})  # fmt: skip
    await grow(prompters=writer("Hello {n}", ("pia",))[0], reviewers=asked, goal_tree_size=1)
    assert {tuple(question.sampling["without"]) for question in asked.questions} == {("pia",)}
    vain = Script(lambda task, number: Note(by="ann", order=list(range(len(task.items)))), name="vain")
    ranked = await grow(assistants=writer("Answer {n}", ("ann",))[0], rankers=vain)
    assert {row.rank for row in ranked.rows} == {None}
    assert "not_ranked" in {reject.reason for reject in ranked.rejects}
    assert tree_of(ranked).state == "incomplete"


async def test_answers_are_ranked_by_all_who_are_wanted_or_have_no_ranks():
    lazy = Script(lambda task, n: Note(by="k", skipped=True) if n == 1 else Note(by="k", order=list(range(len(task.items)))), name="lazy")  # fmt: skip
    done = await grow(rankers=lazy, max_tree_depth=1, goal_tree_size=4)
    assert {row.rank for row in done.rows} == {None}
    assert [(reject.reason, reject.details["rankings"]) for reject in done.rejects] == [("not_ranked", 2)]
    assert (tree_of(done).state, list(done.iterate("oasst_pair"))) == ("incomplete", [])


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


@pytest.mark.parametrize("weakest", [0, 1, 2])
async def test_of_a_circle_the_weakest_majority_gives_way(weakest):
    # 7 rankings in a circle 0 > 1 > 2 > 0, with margins of 3, 3 and 1; the one of 1 is `weakest` over the next.
    best, middle, last = ((weakest + 1 + step) % 3 for step in range(3))
    orders = [[best, middle, last]] * 3 + [[middle, last, best]] * 2 + [[last, best, middle]] * 2
    for shift in range(7):
        done = await grow(
            rankers=ranker(lambda items, number, shift=shift: orders[(number + shift) % 7]),
            max_tree_depth=1,
            goal_tree_size=4,
            num_required_rankings=7,
        )
        assert [row.rank for row in done.rows[1:]] == [[best, middle, last].index(item) for item in range(3)]


async def test_the_best_answer_is_in_the_thread_and_pairs_follow_the_order():
    turned = ranker(lambda items, number: list(reversed(range(len(items)))))
    done = await grow(rankers=turned, max_tree_depth=1, goal_tree_size=4)
    assert [row.rank for row in done.rows] == [None, 2, 1, 0]
    [thread] = done.iterate("oasst_thread")
    assert thread.messages[-1].content == done.rows[-1].text
    pairs = [(pair.chosen, pair.rejected) for pair in done.iterate("oasst_pair")]
    texts = {row.rank: row.text for row in done.rows}
    assert pairs == [(texts[0], texts[1]), (texts[0], texts[2]), (texts[1], texts[2])]


async def test_a_thread_ends_with_the_answer_before_a_user_s_word_that_nobody_answered():
    done = await grow(max_tree_depth=2, goal_tree_size=12, max_children_count=2)
    assert {row.role for row in done.rows if not any(other.parent_id == row.message_id for other in done.rows)} == {"prompter"}  # fmt: skip
    [thread] = done.iterate("oasst_thread")
    [best] = [row for row in done.rows if row.rank == 0]
    assert [turn.content for turn in thread.messages] == [done.rows[0].text, best.text]


def lonely_choices(done) -> list[bool]:
    """Of each reply, while there was a user's message with one answer or none: whether it went to such a one."""
    rows = sorted(done.rows, key=lambda row: int(row.message_id.rpartition("-")[2]))
    children: dict[str, list] = {row.message_id: [] for row in rows}
    depth, found = {rows[0].message_id: 0}, []
    for number, row in enumerate(rows[1:], start=1):
        lonely = [one.message_id for one in rows[:number] if one.role == "prompter" and len(children[one.message_id]) < 2 and depth[one.message_id] < 3]  # fmt: skip
        found += [row.parent_id in lonely] if lonely else []
        children[row.parent_id].append(row)
        depth[row.message_id] = depth[row.parent_id] + 1
    return found


async def test_messages_with_few_answers_come_first_as_often_as_is_said():
    always = lonely_choices(await grow(goal_tree_size=16, p_lonely_child_extension=1.0))
    assert len(always) > 6
    assert all(always)
    assert not all(lonely_choices(await grow(goal_tree_size=16, p_lonely_child_extension=0.0)))


async def test_all_labels_are_asked_of_roots_always_and_of_others_by_chance():
    people, seen = reviewer()
    await grow(reviewers=people, goal_tree_size=25, p_full_labeling_assistant=0.0, p_full_labeling_prompter=0.0)
    kinds = {len(task.options) for task in seen if task.context.startswith("A new")}, {len(task.options) for task in seen if not task.context.startswith("A new")}  # fmt: skip
    assert kinds == ({7}, {3})
    assert all({"spam", "not_spam", "lang_mismatch"} <= set(task.options) for task in seen)
    people, seen = reviewer()
    await grow(reviewers=people, goal_tree_size=8, p_full_labeling_assistant=1.0)
    assert any("fails_task" in task.options for task in seen)


async def test_a_twin_of_a_sibling_is_dropped_and_a_tree_that_does_not_grow_is_incomplete():
    done = await grow(assistants=writer("Same")[0], max_tree_depth=1, goal_tree_size=4)
    assert [row.text for row in done.rows] == ["User text 0", "Same"]
    assert {reject.reason for reject in done.rejects} == {"duplicate"}
    assert tree_of(done).state == "incomplete"


async def test_a_tree_is_halted_by_different_people_who_skip_one_message():
    five = ("a", "b", "c", "d", "e")
    many = await grow(assistants=writer(names=five, skip=lambda n: True)[0], auto_mod_max_skip_reply=3)
    assert (tree_of(many).state, dict(many.reject_counts)) == ("halted_by_moderator", {"skipped": 4})
    one = await grow(assistants=writer(names=("a",), skip=lambda n: True)[0], auto_mod_max_skip_reply=3)
    assert (tree_of(one).state, dict(one.reject_counts)) == ("incomplete", {"skipped": 48})
    # Six people skip, but none of the messages more than two of them.
    users = writer("User text {n}", tuple("pqrstu"), skip=lambda n: n % 2 == 1)[0]
    spread = await grow(prompters=users, goal_tree_size=16, auto_mod_max_skip_reply=2)
    assert spread.reject_counts["skipped"] > 2
    assert tree_of(spread).state == "ready_for_export"
    root = await grow(prompters=writer(skip=lambda n: True)[0])
    assert (root.rows, tree_of(root).state) == ([], "incomplete")


async def test_writers_see_the_conversation_and_who_is_to_speak():
    people, seen = writer("Answer {n}")
    await grow(assistants=people, goal_tree_size=6)
    assert seen[0].context == "User: User text 0"
    assert seen[0].most == 2000
    assert "assistant" in seen[0].guidelines


def refusing(people: Script, which) -> Script:
    """Like these people, but not for some tasks."""

    def answer(task, number):
        if which(task):
            raise Refused("no")
        return people._fn(task, number)

    return Script(answer, name=people.model)


@pytest.mark.parametrize("stage", ["writing", "review"])
async def test_a_message_whose_call_fails_costs_no_other(stage):
    people, reviewers = writer("Answer {n}")[0], reviewer()[0]
    if stage == "writing":
        count = iter(range(99))
        people = refusing(people, lambda task: next(count) == 1)
    else:
        reviewers = refusing(reviewers, lambda task: task.text == "Answer 1")
    done = await grow(assistants=people, reviewers=reviewers, goal_tree_size=6)
    assert (len(done.rows), tree_of(done).state) == (6, "ready_for_export")
    assert ("Answer 1" in {row.text for row in done.rows}) == (stage == "writing")
    [reject] = done.rejects
    assert (reject.reason, reject.details) == ("call_failed", {"error": "no"})
    assert reject.candidate["after"].startswith("User: User text 0")


async def test_where_no_message_can_be_written_the_tree_ends_and_without_a_root_there_is_none():
    done = await grow(assistants=refusing(writer()[0], lambda task: True))
    assert ([row.text for row in done.rows], tree_of(done).state) == (["User text 0"], "incomplete")
    assert dict(done.reject_counts) == {"call_failed": 48}
    none = await grow(prompters=refusing(writer()[0], lambda task: True), allow_failures=True)
    assert (none.rows, list(none.iterate("oasst_tree"))) == ([], [])
    assert [failure.error for failure in none.failures] == ["no"]


async def test_answers_whose_ranking_fails_have_no_ranks_and_all_others_have():
    root = lambda task: "Assistant:" not in task.context  # noqa: E731
    done = await grow(rankers=refusing(ranker(), root), goal_tree_size=16)
    first = done.rows[0].message_id
    answers = [row for row in done.rows if row.role == "assistant"]
    siblings = [row for row in answers if sum(other.parent_id == row.parent_id for other in answers) > 1]
    assert {row.rank is None for row in siblings if row.parent_id == first} == {True}
    assert {row.rank is None for row in siblings if row.parent_id != first} == {False}
    assert (tree_of(done).state, dict(done.reject_counts)) == ("incomplete", {"call_failed": 1})


@pytest.mark.parametrize("role", ["assistants", "reviewers", "rankers"])
async def test_where_a_person_is_to_answer_yet_the_whole_tree_waits(role):
    waiting = await grow(**{role: "people:crowd"}, allow_failures=True)
    assert (waiting.exit_code, waiting.rows, waiting.rejects) == (4, [], [])


async def test_it_waits_for_people_and_a_replay_asks_nobody():
    waiting = await run(oasst, TREE, allow_failures=True)
    assert (waiting.exit_code, waiting.rows) == (4, [])
    parts = {"prompters": writer("User text {n}", ("pia", "pat"))[0], "assistants": writer("Answer {n}")[0], "reviewers": reviewer()[0], "rankers": ranker()}  # fmt: skip
    done = await grow(**parts)
    again = await replay(done, model=parts)
    assert (again.rows, again.calls) == (done.rows, 0)
