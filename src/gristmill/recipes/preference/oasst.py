"""OpenAssistant Conversations (Köpf et al. 2023, section 3): trees of messages that people write, review and rank."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gristmill import Annotator, Conversation, Preference, Row, Run, Turn, recipe
from gristmill.models.annotation import Labelling, Note, Ranking, Writing
from gristmill.ops.prompts import Prompt
from gristmill.ops.votes import ranked_pairs

Role = Literal["prompter", "assistant"]
State = Literal["aborted_low_grade", "halted_by_moderator", "ready_for_export"]

WRITE_ROOT = Prompt("Write the first message to an assistant, in {lang}: a question or a task.")
WRITE_REPLY = Prompt("Write the answer of an assistant to the last message, in {lang}.")
WRITE_PROMPT = Prompt("Write what a user would say next to the assistant, in {lang}.")
REVIEW = Prompt("Is the last message spam, or unfit to be kept? Look at its quality too; choose all labels that hold.")
RANK = Prompt("Put these answers to the conversation in order, the best first.")

GOOD, SPAM = "fine", "spam"
FULL = (
    "lang_mismatch", "low_quality", "creative", "humorous", "toxic", "violent", "not_appropriate", "pii", "hate_speech",
    "sexual_content",
)  # fmt: skip
OF_ASSISTANTS = ("fails_task", "helpful")
RED = frozenset({SPAM, "toxic", "violent", "not_appropriate", "pii", "hate_speech", "sexual_content"})
"""Labels that speak against keeping a message."""


ATTEMPTS = 4
"""Messages that are tried for each one that is wanted; then a tree ends smaller than its goal."""


class TreeSpec(Row):
    """A tree to grow."""

    lang: str = "English"


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
    labels: dict[str, float]
    """Share of its reviewers who chose each label."""
    reviews: int
    score: float
    """Share of its reviewers who found nothing against it."""
    rank: int | None
    """Among its siblings, 0 is the best; of answers that were ranked."""


class OasstTree(Row):
    """How a tree ended."""

    tree_id: str
    state: State
    messages: int
    deleted: int


class OasstThread(Conversation):
    """A path from a root to a leaf along the best answers."""


class OasstPair(Preference):
    """Two answers to the same message, in the order of people."""


class _Node(msgspec.Struct):
    """A message of the tree while it grows."""

    id: str
    parent: "_Node | None"
    role: Role
    text: str
    author: str
    labels: dict[str, float]
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
    reached, siblings are ranked, the tree is ready. Nobody reviews or ranks what he wrote. Rankings of the same answers
    are merged by ranked pairs. (Köpf et al. 2023, arXiv:2304.07327, section 3, with the settings of the released code; how
    a review becomes a score is not confirmed: here it is the share of reviewers who choose no label that speaks against the
    message.) The roles are played by people, or by models in their place (annotator:MODEL): then different ones must write and
    review, as a review by the author's name never counts.

    Args:
        prompters: write as users.
        assistants: write as assistants.
        reviewers: label messages.
        rankers: order answers.
        goal_tree_size: accepted messages at which a tree stops growing.
        max_tree_depth: of a message; a root has depth 0.
        max_children_count: answers to a message of a user.
        num_prompter_replies: messages of users after an answer.
        num_reviews: of a message.
        acceptance_threshold: score from which a message is kept.
        num_required_rankings: of the answers to a message.
        lonely_children_count: a user's message with fewer answers is lonely.
        p_lonely_child_extension: how often a lonely one is preferred when a place for a reply is chosen.
        p_full_labeling_root: how often a root is reviewed with all labels, and not for spam alone.
        p_full_labeling_assistant: the same of an answer.
        p_full_labeling_prompter: the same of a user's message.
        auto_mod_red_flags: red labels of all reviewers above which a message is deleted.
        auto_mod_max_skip_reply: people who skip writing in a tree above which it is halted.
        message_size_limit: characters of a message.

    Rejects: `low_grade` (details: score, labels), `red_flags` (details: flags), `duplicate` (a sibling has the same text),
        `skipped` (nobody would write here), `not_reviewed` (nobody but its author would
        review it), `not_ranked` (the same of answers).
    """
    tree, deleted, skips = row.id, 0, 0
    full = {"root": p_full_labeling_root, "assistant": p_full_labeling_assistant, "prompter": p_full_labeling_prompter}

    async def write(parent: _Node | None, number: int) -> _Node | None:
        """A message by a person, reviewed by others; None where it does not stay."""
        nonlocal deleted, skips
        role: Role = "assistant" if parent is not None and parent.role == "prompter" else "prompter"
        wanted = WRITE_ROOT if parent is None else WRITE_REPLY if role == "assistant" else WRITE_PROMPT
        context = shown(parent.path()) if parent else f"A new conversation, number {number}."
        people = assistants if role == "assistant" else prompters
        note: Note = await people.annotate(
            Writing(context=context, guidelines=wanted(lang=row.lang), most=message_size_limit)
        )
        if note.skipped:
            skips += 1
            run.reject({"after": context}, "skipped")
            return None
        text = note.text.strip()
        if parent is not None and any(text == child.text for child in parent.children):
            run.reject({"text": text}, "duplicate")
            return None
        labels = [GOOD, SPAM]
        if run.rng("labels").random() < full["root" if parent is None else role]:
            labels += [*FULL, *(OF_ASSISTANTS if role == "assistant" else ())]
        task = Labelling(text=text, options=labels, several=True, context=context, guidelines=REVIEW())
        notes: list[Note] = await reviewers.annotate(task, n=num_reviews, without=[note.by])
        said = [one.labels for one in notes if not one.skipped and one.by != note.by]
        if not said:
            run.reject({"text": text}, "not_reviewed")
            return None
        counts = {label: sum(label in one for one in said) / len(said) for label in labels if label != GOOD}
        flags = sum(label in RED for one in said for label in one)
        score = sum(not RED & set(one) and "fails_task" not in one for one in said) / len(said)
        if flags > auto_mod_red_flags or score < acceptance_threshold:
            deleted += 1
            if flags > auto_mod_red_flags:
                run.reject({"text": text}, "red_flags", flags=flags)
            else:
                run.reject({"text": text}, "low_grade", score=round(score, 4), labels=counts)
            return None
        return _Node(f"{tree}-{number}", parent, role, text, note.by, counts, len(said), score)

    def report(state: State, messages: int) -> OasstTree:
        return OasstTree(tree_id=tree, state=state, messages=messages, deleted=deleted)

    root = await write(None, 0)
    if root is None:
        yield report("aborted_low_grade", 0)
        return
    nodes, number = [root], 0
    while len(nodes) < goal_tree_size and number < ATTEMPTS * goal_tree_size:
        open_for = [
            node
            for node in nodes
            if node.depth < max_tree_depth and room(node, max_children_count, num_prompter_replies)
        ]
        if not open_for:
            break
        number += 1
        chance = run.rng("parent")
        lonely = [node for node in open_for if node.role == "prompter" and len(node.children) < lonely_children_count]
        parent = chance.choice(lonely if lonely and chance.random() < p_lonely_child_extension else open_for)
        node = await write(parent, number)
        if node is not None:
            parent.children.append(node)
            nodes.append(node)
        if skips > auto_mod_max_skip_reply:
            yield report("halted_by_moderator", len(nodes))
            return

    async def rank(parent: _Node) -> None:
        items = [child.text for child in parent.children]
        authors = sorted({child.author for child in parent.children})
        task = Ranking(items=items, context=shown(parent.path()), guidelines=RANK())
        notes: list[Note] = await rankers.annotate(task, n=num_required_rankings, without=authors)
        said = [note.order for note in notes if not note.skipped and note.by not in authors]
        if not said:
            run.reject({"items": items}, "not_ranked")
            return
        order = ranked_pairs(said, len(items))
        for place, item in enumerate(order):
            parent.children[item].rank = place

    await run.map(rank, [node for node in nodes if node.role == "prompter" and len(node.children) > 1])
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
    yield report("ready_for_export", len(nodes))
    for leaf in nodes:
        path = leaf.path()
        if leaf.role == "assistant" and not leaf.children and all(not node.rank for node in path):
            turns = [Turn("assistant" if node.role == "assistant" else "user", node.text) for node in path]
            yield OasstThread(messages=turns)
    for node in nodes:
        ranked = sorted((child for child in node.children if child.rank is not None), key=lambda child: child.rank or 0)
        for better, worse in pairwise(ranked):
            yield OasstPair(prompt=shown(node.path()), chosen=better.text, rejected=worse.text)


def room(node: _Node, answers: int, prompts: int) -> bool:
    return len(node.children) < (answers if node.role == "prompter" else prompts)


def shown(path: list[_Node]) -> str:
    return "\n\n".join(f"{'Assistant' if node.role == 'assistant' else 'User'}: {node.text}" for node in path)
