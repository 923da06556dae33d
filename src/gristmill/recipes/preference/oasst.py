"""OpenAssistant Conversations (Köpf et al. 2023, section 3): trees of messages that people write, review and rank."""

from collections.abc import AsyncIterator
from itertools import combinations
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gristmill import Annotator, CallFailed, Conversation, Preference, Row, Run, Turn, recipe
from gristmill.models.annotation import Labelling, Note, Ranking, Rating, Writing
from gristmill.ops.prompts import Prompt
from gristmill.ops.votes import ranked_pairs

Role = Literal["prompter", "assistant"]
State = Literal["aborted_low_grade", "halted_by_moderator", "incomplete", "ready_for_export"]

WRITE_ROOT = Prompt("Write the first message to an assistant, in {lang}: a question or a task.")
WRITE_REPLY = Prompt("Write the answer of an assistant to the last message, in {lang}.")
WRITE_PROMPT = Prompt("Write what a user would say next to the assistant, in {lang}.")
REVIEW = Prompt('Is the last message spam? Choose "spam" or "not_spam", and of the other labels all that hold.')
GRADE = Prompt("Grade the last message: 0 not at all, 4 very much.")
RANK = Prompt("Put these answers to the conversation in order, the best first.")

SPAM, NO_SPAM = "spam", "not_spam"
"""One of them is mandatory."""
MISMATCH = "lang_mismatch"
FULL = ("not_appropriate", "pii", "hate_speech", "sexual_content")
OF_ASSISTANTS = ("fails_task",)
RED = frozenset({SPAM, "not_appropriate", "pii", "hate_speech", "sexual_content"})
"""Labels that count as a red flag."""
GRADES = {
    "quality": "how good it is, all in all",
    "creativity": "how creative it is",
    "humor": "how funny it is meant to be",
    "toxicity": "how rude or hurtful it is",
    "violence": "how much it speaks for violence",
}
GRADES_OF_ASSISTANTS = {"helpfulness": "how far it helps the user"}
HIGHEST = 4

ATTEMPTS = 4
"""Messages that are tried for each one that is wanted; then a tree ends smaller than its goal."""


class TreeSpec(Row):
    """A tree to grow."""

    lang: str = "English"


class Label(msgspec.Struct):
    """What reviewers said of a message in one respect."""

    value: float
    """0 to 1: the mean grade, or the share of those who chose the label."""
    count: int
    """Reviewers who were asked and answered."""


class OasstMessage(Row):
    """A message of a tree."""

    message_id: str
    parent_id: str
    """"" for a root."""
    tree_id: str
    role: Role
    text: str
    lang: str
    author: str
    labels: dict[str, Label]
    reviews: int
    score: float
    """1 less the shares of its reviewers who call it spam and who find it in another language."""
    rank: int | None
    """Among its siblings, 0 is the best; of answers that were ranked."""


class OasstTree(Row):
    """How a tree ended."""

    tree_id: str
    state: State
    messages: int
    deleted: int


class OasstThread(Conversation):
    """A path from a root along the best answers to the last of them."""


class OasstPair(Preference):
    """Two answers to the same message, in the order of people."""


class _Node(msgspec.Struct):
    """A message of the tree while it grows."""

    id: str
    parent: "_Node | None"
    role: Role
    text: str
    author: str
    labels: dict[str, Label]
    reviews: int
    score: float
    children: list["_Node"] = []
    rank: int | None = None

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    def path(self) -> list["_Node"]:
        return [self] if self.parent is None else [*self.parent.path(), self]


@recipe("oasst", seeds="oasst_trees.jsonl")
async def oasst(
    row: TreeSpec,
    prompters: Annotator,
    assistants: Annotator,
    reviewers: Annotator,
    rankers: Annotator,
    run: Run,
    *,
    goal_tree_size: Annotated[int, Meta(ge=1)] = 12,
    max_tree_depth: Annotated[int, Meta(ge=1)] = 3,
    max_children_count: Annotated[int, Meta(ge=1)] = 3,
    num_prompter_replies: Annotated[int, Meta(ge=1)] = 1,
    num_reviews: Annotated[int, Meta(ge=1)] = 3,
    acceptance_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.6,
    num_required_rankings: Annotated[int, Meta(ge=1)] = 3,
    lonely_children_count: Annotated[int, Meta(ge=1)] = 2,
    p_lonely_child_extension: Annotated[float, Meta(ge=0, le=1)] = 0.75,
    p_full_labeling_root: Annotated[float, Meta(ge=0, le=1)] = 1.0,
    p_full_labeling_assistant: Annotated[float, Meta(ge=0, le=1)] = 0.5,
    p_full_labeling_prompter: Annotated[float, Meta(ge=0, le=1)] = 0.25,
    auto_mod_red_flags: Annotated[int, Meta(ge=0)] = 4,
    auto_mod_max_skip_reply: Annotated[int, Meta(ge=0)] = 25,
    message_size_limit: Annotated[int, Meta(ge=1)] = 2000,
) -> AsyncIterator[OasstMessage | OasstTree | OasstThread | OasstPair]:
    """Grow a tree of messages: written by people as users and as assistants, each reviewed by others, answers ranked.

    States follow one another: the root is reviewed (else the tree is aborted), replies are handed out until the goal is
    reached, siblings are ranked, the tree is ready. Nobody reviews or ranks what he wrote. A message is kept by its spam
    and language labels alone, as in the released code; full reviews also grade it. Rankings of the same answers are merged
    by ranked pairs. (Köpf et al. 2023, arXiv:2304.07327, section 3, with the settings of the released code.) The roles are
    played by people, or by models in their place (annotator:MODEL): then different ones must write and review, as a
    review by the author's name never counts.

    A tree is `incomplete` where its root was skipped or not reviewed, where answers were not ranked, or where four messages
    for each one of the goal were tried in vain; the limit is ours. Left out: the prompt lottery and BACKLOG_RANKING, queues
    between many trees, as each is ranked when it is grown; quality in reviews for spam alone; and of the released columns
    `review_result` and `deleted`, as what is not kept becomes a reject, and `synthetic`, as `author` names the person or model.

    Args:
        prompters: write as users.
        assistants: write as assistants.
        reviewers: label messages.
        rankers: order answers.
        goal_tree_size: accepted messages at which a tree stops growing.
        max_tree_depth: of a message; a root has depth 0.
        max_children_count: answers to a message of a user.
        num_prompter_replies: messages of users after an answer.
        num_reviews: of a message; with fewer it is not kept.
        acceptance_threshold: score from which a message is kept.
        num_required_rankings: of the answers to a message; with fewer they have no ranks.
        lonely_children_count: a user's message with fewer answers is lonely.
        p_lonely_child_extension: how often a lonely one is preferred when a place for a reply is chosen.
        p_full_labeling_root: how often a root is reviewed with all labels, and not for spam and language alone.
        p_full_labeling_assistant: the same of an answer.
        p_full_labeling_prompter: the same of a user's message.
        auto_mod_red_flags: reviewers with a red label above which a message is deleted. In the released service any reader
            may flag; here it takes more reviews than three to come to so many.
        auto_mod_max_skip_reply: different people who skip answering one message above which the tree is halted.
        message_size_limit: characters of a message.

    Rejects: `low_grade` (details: score, labels), `red_flags` (details: flags), `duplicate` (a sibling has the same text),
        `skipped` (nobody would write here), `not_reviewed` (too few but its author would, or said whether it is spam;
        details: reviews), `not_ranked` (the same of answers; details: rankings), `call_failed` (a model in the place of
        people gave nothing that could be used for a message but the root, or for a ranking; details: error).
    """
    tree, deleted = row.id, 0
    skips: dict[str, set[str]] = {}
    fully = {"root": p_full_labeling_root, "assistant": p_full_labeling_assistant, "prompter": p_full_labeling_prompter}

    async def write(parent: _Node | None, number: int) -> _Node | None:
        """A message by a person, reviewed by others; None where it does not stay."""
        nonlocal deleted
        role: Role = "assistant" if parent is not None and parent.role == "prompter" else "prompter"
        wanted = WRITE_ROOT if parent is None else WRITE_REPLY if role == "assistant" else WRITE_PROMPT
        context = shown(parent.path()) if parent else f"A new conversation, number {number}."
        people = assistants if role == "assistant" else prompters
        note: Note = await people.annotate(
            Writing(context=context, guidelines=wanted(lang=row.lang), most=message_size_limit)
        )
        if note.skipped:
            skips.setdefault(parent.id if parent else "", set()).add(note.by)
            run.reject({"after": context}, "skipped")
            return None
        text = note.text.strip()
        if parent is not None and any(text == child.text for child in parent.children):
            run.reject({"text": text}, "duplicate")
            return None
        full = run.rng("labels").random() < fully["root" if parent is None else role]
        labels = [SPAM, MISMATCH]
        if full:
            labels += [*FULL, *(OF_ASSISTANTS if role == "assistant" else ())]
        task = Labelling(text=text, options=[NO_SPAM, *labels], several=True, context=context, guidelines=REVIEW())
        notes: list[Note] = await reviewers.annotate(task, n=num_reviews, without=[note.by])
        said = [one.labels for one in notes if one.by != note.by and (SPAM in one.labels) != (NO_SPAM in one.labels)]
        if len(said) < num_reviews:
            run.reject({"text": text}, "not_reviewed", reviews=len(said))
            return None
        found = {label: Label(sum(label in one for one in said) / len(said), len(said)) for label in labels}
        flags = sum(not RED.isdisjoint(one) for one in said)
        score = 1 - (found[SPAM].value + found[MISMATCH].value)
        if flags > auto_mod_red_flags or score < acceptance_threshold:
            deleted += 1
            if flags > auto_mod_red_flags:
                run.reject({"text": text}, "red_flags", flags=flags)
            else:
                run.reject({"text": text}, "low_grade", score=round(score, 4), labels=found)
            return None
        if full:  # of what is kept alone: grades do not decide
            aspects = GRADES | (GRADES_OF_ASSISTANTS if role == "assistant" else {})
            grading = Rating(text=text, aspects=aspects, high=HIGHEST, context=context, guidelines=GRADE())
            graded: list[Note] = await reviewers.annotate(grading, n=num_reviews, without=[note.by])
            marks = [one.ratings for one in graded if not one.skipped and one.by != note.by]
            for name in aspects if marks else ():
                found[name] = Label(sum(one[name] for one in marks) / HIGHEST / len(marks), len(marks))
        return _Node(f"{tree}-{number}", parent, role, text, note.by, found, len(said), score)

    def report(state: State, messages: int) -> OasstTree:
        return OasstTree(tree_id=tree, state=state, messages=messages, deleted=deleted)

    root = await write(None, 0)
    if root is None:
        yield report("aborted_low_grade" if deleted else "incomplete", 0)
        return
    nodes, number = [root], 0

    def places() -> list[_Node]:
        return [
            node
            for node in nodes
            if node.depth < max_tree_depth and room(node, max_children_count, num_prompter_replies)
        ]

    while len(nodes) < goal_tree_size and number < ATTEMPTS * goal_tree_size and (open_for := places()):
        number += 1
        chance = run.rng("parent")
        lonely = [node for node in open_for if node.role == "prompter" and len(node.children) < lonely_children_count]
        parent = chance.choice(lonely if lonely and chance.random() < p_lonely_child_extension else open_for)
        try:
            node = await write(parent, number)
        except CallFailed as error:  # costs this message; a person who is to answer yet makes the tree wait
            run.reject({"after": shown(parent.path())}, "call_failed", error=str(error))
            continue
        if node is not None:
            parent.children.append(node)
            nodes.append(node)
        if any(len(people) > auto_mod_max_skip_reply for people in skips.values()):
            yield report("halted_by_moderator", len(nodes))
            return

    async def rank(parent: _Node) -> bool:
        items = [child.text for child in parent.children]
        authors = sorted({child.author for child in parent.children})
        task = Ranking(items=items, context=shown(parent.path()), guidelines=RANK())
        try:
            notes: list[Note] = await rankers.annotate(task, n=num_required_rankings, without=authors)
        except CallFailed as error:
            run.reject({"items": items}, "call_failed", error=str(error))
            return False
        said = [note.order for note in notes if not note.skipped and note.by not in authors]
        if len(said) < num_required_rankings:
            run.reject({"items": items}, "not_ranked", rankings=len(said))
            return False
        order = ranked_pairs(said, len(items))
        for place, item in enumerate(order):
            parent.children[item].rank = place
        return True

    grown = len(nodes) >= goal_tree_size or not places()
    ranked = await run.map(rank, [node for node in nodes if node.role == "prompter" and len(node.children) > 1])
    for node in nodes:
        yield OasstMessage(
            message_id=node.id,
            parent_id=node.parent.id if node.parent else "",
            tree_id=tree,
            role=node.role,
            text=node.text,
            lang=row.lang,
            author=node.author,
            labels=node.labels,
            reviews=node.reviews,
            score=node.score,
            rank=node.rank,
        )
    yield report("ready_for_export" if grown and all(ranked) else "incomplete", len(nodes))
    for last in nodes:
        path = last.path()
        # What a user said last and nobody answered is no lesson: the thread ends before it.
        unanswered = not any(child.children for child in last.children)
        if last.role == "assistant" and unanswered and all(not node.rank for node in path):
            turns = [Turn("assistant" if node.role == "assistant" else "user", node.text) for node in path]
            yield OasstThread(messages=turns)
    for node in nodes:
        order = sorted((child for child in node.children if child.rank is not None), key=lambda child: child.rank or 0)
        for better, worse in combinations(order, 2):
            yield OasstPair(prompt=shown(node.path()), chosen=better.text, rejected=worse.text)


def room(node: _Node, answers: int, prompts: int) -> bool:
    return len(node.children) < (answers if node.role == "prompter" else prompts)


def shown(path: list[_Node]) -> str:
    return "\n\n".join(f"{'Assistant' if node.role == 'assistant' else 'User'}: {node.text}" for node in path)
