"""HelpSteer2 (Wang et al. 2024, section 2): conversations worth rating, even over topics, with more of the complex ones."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Conversation, Embed, Rows, Run, recipe
from gristmill.ops.ask import Bad, attempt
from gristmill.ops.clusters import clustered
from gristmill.ops.clusters import require as require_clusters
from gristmill.ops.language import language
from gristmill.ops.language import require as require_language
from gristmill.ops.prompts import Prompt
from gristmill.ops.vectors import digest_of, placed

RATE = Prompt(
    """How complex is this request to an assistant?

1: anybody could answer at once. 2: it takes a little knowledge or a few sentences. 3: it takes some thought or several steps. 4: it takes knowledge of a field and many steps. 5: an expert would need time for it.

Request:
{text}

Answer with the number alone."""
)
FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
CODE = re.compile(
    r"""
    ^\s*(?: def\s+\w+\s*\( | \#include\s*[<"] | SELECT\s | // | \{ | \} | </?\w+[^>]*>
          | from\s+[\w.]+\s+import\s+[\w*(]+(?:,|\s*$|\s+as\s)
          | import\s+(?: \w+\.[\w.*]+ | [\w.]+\s+as\s+\w+\s*$ | [\w{*].*\sfrom\s+["'] )
          | class\s+(?: [A-Z]\w*(?:\([^)]*\))?:\s*$ | \w+\s+(?:extends|implements)\s )
          | (?:public|private|protected)\s+(?: static\b | void\b | \w+\( | .*;\s*$ )
          | (?:var|let|const)\s+(?: [\[{] | \w+\s*(?::\s*\w+\s*)?= )
          | (?:async\s+)?function\b[\s*]*\w*\s*\([^)]*\)\s*\{?\s*$
          | (?:if|for|while|switch)\s*\(.*\)\s*$
          | [\w.]+\(.*\)\s*$
          | [\w.]+(?:\[[^\]]*\])?\s*[-+*/]?=(?!=)(?:(?!.*[^\W\d_]\s+[^\W\d_]) | .*["'(\[{]) )
    | [{}]\s*$
    | ^(?!.*[^\W\d_]{2}\s+[^\W\d_]{2,}\s+[^\W\d_]{2}).*[^\W_].*;\s*$  # not prose that ends in a semicolon
    """,
    re.VERBOSE,
)
BARE = re.compile(r"^\s*(?:(?:import|return)\s+[\w.]+|else:?|try:?|end)\s*$")
"""Lines that are code only beside other code: alone "import duties" and "return policy" are prose."""


class HelpSteerPrompt(Conversation, kw_only=True):
    """A conversation that was chosen, as it came."""

    topic: int
    complexity: int


@recipe("helpsteer2-prompts", fixed=True, seeds="user_conversations.jsonl")
async def helpsteer2_prompts(
    rows: Rows[Conversation],
    classifier: Chat,
    embedder: Embed,
    run: Run,
    *,
    keep: Annotated[int, Meta(ge=1)] = 10000,
    topics: Annotated[int, Meta(ge=1)] = 1000,
    complexity_weight: Annotated[float, Meta(ge=0)] = 1.0,
    spoken: str = "en",
    sureness: Annotated[float, Meta(ge=0, le=1)] = 0.15,
    min_words: Annotated[int, Meta(ge=0)] = 3,
) -> AsyncIterator[HelpSteerPrompt]:
    """Choose conversations: of one language, not of code alone, the same number of each topic, complex ones more often.

    A conversation is judged and embedded by all that the user says in it. They are grouped by k-means, in the place of the paper's
    BERTopic. Topics are drawn evenly, one after the other; within a topic a conversation is the likelier the more complex
    a classifier finds it. None is drawn twice. (Wang et al. 2024, HelpSteer2, arXiv:2406.08673, section 2.)

    Args:
        classifier: says how complex a request is, from 1 to 5.
        keep: conversations to choose; all that pass where there are not so many.
        topics: groups; the number is not confirmed from the paper.
        complexity_weight: odds within a topic are complexity to this power; 0: all alike. Not confirmed from the paper.
        spoken: language of the user, as an ISO 639-1 code.
        sureness: of the detector, below which a language does not count as told. Not from the paper.
        min_words: that are left of a message without its code. Not from the paper.

    Rejects: `no_user`, `language` (details: language, probability), `code_only`, `no_rating` (the classifier's answer is
        no number from 1 to 5), `not_drawn` (details: topic, complexity).
    """
    fit: list[Conversation] = []
    for row in rows:
        said = asked(row)
        words = without_code(said).split()
        if not said:
            run.reject(row, "no_user")
        elif len(words) < min_words and len(said.split()) > len(words):
            run.reject(row, "code_only")
        elif (found := language(" ".join(words)))[0] != spoken or found[1] < sureness:
            run.reject(row, "language", language=found[0], probability=round(found[1], 3))
        else:
            fit.append(row)

    async def rate(row: Conversation) -> tuple[Conversation, int | None]:
        level = await attempt(
            run,
            lambda: classifier.chat(RATE(text=asked(row)), temperature=0.0, max_tokens=16),
            lambda r: rating(r.text),
        )
        return row, level

    judged = [(row, level) for row, level in await run.map(rate, fit, keep_going=True) if level is not None]
    rated, vectors = await placed(run, embedder, judged, lambda one: asked(one[0]))
    if not rated:
        return
    seed = run.rng("topics").randrange(2**32)
    grouped = await run.once(
        "topics",
        lambda *_: clustered(vectors, "kmeans", clusters=topics, min_cluster_size=2, seed=seed),
        digest_of(vectors),
        topics,
        seed,
    )
    waiting: dict[int, list[int]] = defaultdict(list)
    chance = run.rng("draw")
    for number, topic in enumerate(grouped):
        waiting[topic].append(number)
    chosen: set[int] = set()
    while waiting and len(chosen) < keep:
        for topic in chance.sample(sorted(waiting), len(waiting)):
            if len(chosen) == keep:
                break
            members = waiting[topic]
            [drawn] = chance.choices(members, [rated[n][1] ** complexity_weight for n in members])
            chosen.add(drawn)
            members.remove(drawn)
            if not members:
                del waiting[topic]
    for number, ((row, level), topic) in enumerate(zip(rated, grouped, strict=True)):
        if number in chosen:
            made = HelpSteerPrompt(messages=row.messages, topic=topic, complexity=level)
            run.link(made, row)
            yield made
        else:
            run.reject(row, "not_drawn", topic=topic, complexity=level)


@helpsteer2_prompts.check
def parts_are_installed(spoken: str) -> None:
    require_clusters()
    require_language()
    if not re.fullmatch(r"[a-z]{2,3}", spoken):
        raise BadInput(f"helpsteer2-prompts: spoken={spoken!r} is no language code such as en")


def asked(row: Conversation) -> str:
    """All that the user says."""
    return "\n\n".join(turn.content.strip() for turn in row.messages if turn.role == "user").strip()


def without_code(text: str) -> str:
    lines = FENCED.sub(" ", text).splitlines()
    code = {line for line in lines if CODE.search(line)}
    if code:
        code |= {line for line in lines if BARE.search(line)}
    return " ".join(line for line in lines if line not in code)


def rating(text: str) -> int:
    found = re.fullmatch(r"\W*([1-5])\W*", text)
    if not found:
        raise Bad("no_rating")
    return int(found[1])
