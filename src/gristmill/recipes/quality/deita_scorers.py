"""Deita's scorers (Liu et al. 2023): instructions or responses evolved step by step, ranked together, as lessons for a scorer."""

import re
from collections.abc import AsyncIterator
from typing import Literal

from gristmill import Chat, Completion, Instruction, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.recipes.quality.deita import COMPLEXITY, QUALITY, SCORES

HARDER: dict[str, Prompt] = {
    way: Prompt(
        f"""Rewrite the instruction below so that it becomes somewhat harder for an assistant: {how} It must stay sensible, and take at most 20 words more. Reply with the new instruction and nothing else.

Instruction:
{{instruction}}"""
    )
    for way, how in {
        "deepen": "let it ask for more depth and breadth.",
        "constrain": "add one more constraint or requirement.",
        "concretise": "put something more specific in the place of a general notion.",
        "reason": "let its answer take several steps of reasoning.",
    }.items()
}
BETTER: dict[str, Prompt] = {
    way: Prompt(
        f"""Rewrite the response below so that it becomes somewhat better: {how} Reply with the new response and nothing else.

Instruction:
{{instruction}}

Response:
{{response}}"""
    )
    for way, how in {
        "helpfulness": "let it help the user more.",
        "relevance": "let it keep closer to what was asked.",
        "depth": "let it go deeper.",
        "creativity": "let it be more original.",
        "detail": "let it give more detail.",
    }.items()
}
RANK_INSTRUCTIONS = Prompt(
    """Rank these instructions by how complex and difficult they are, and give each a score from 1 (least) to 6 (most). Write one line for each, "[number] Score: score", and nothing else.

{versions}"""
)
RANK_RESPONSES = Prompt(
    """Rank these responses to an instruction by how good they are: helpful, relevant, deep, creative and detailed. Give each a score from 1 (worst) to 6 (best). Write one line for each, "[number] Score: score", and nothing else.

Instruction: {instruction}

{versions}"""
)
SCORED = re.compile(r"\[(\d+)\]\W*Score:\W*(\d+(?:\.\d+)?)", re.IGNORECASE)


class ScorerLesson(Completion, kw_only=True):
    """A scorer's fixed text with an instruction (and a response), and the score that it should answer."""

    evolution: int
    """0 for the seed."""
    score: int


@recipe("deita-scorers", seeds="instructions.jsonl")
async def deita_scorers(
    row: Instruction,
    generator: Chat,
    judge: Chat,
    run: Run,
    *,
    of: Literal["complexity", "quality"] = "complexity",
    evolutions: int = 5,
    temperature: float = 0.7,
    max_tokens_per_reply: int = 2048,
) -> AsyncIterator[ScorerLesson]:
    """Evolve an instruction in complexity, or its answer in quality, and let a judge rank and score all versions at once.

    Seen side by side, versions are told apart that alone would get the same score. Each becomes a lesson for the small
    model that scores in `deita`. (Liu et al. 2023, arXiv:2312.15685: 2,000 seeds, five evolutions. These numbers are not
    confirmed from the paper.)

    Args:
        generator: evolves.
        judge: ranks and scores all versions in one call.
        of: what the scorer will score.
        evolutions: versions besides the seed, each made from the one before.
        temperature: of the generator. Not from the paper.
        max_tokens_per_reply: of a reply. Not from the paper.

    Rejects: `empty` and `truncated` evolutions (the versions before them stay); of a seed `no_answer` (its quality cannot
        evolve), `no_evolution`, `unread_scores` (details: text).
    """
    instruction = f"{row.instruction}\n{row.input}".strip()
    if of == "quality" and not row.output.strip():
        run.reject(row, "no_answer")
        return
    versions = [instruction if of == "complexity" else row.output]
    for number in range(evolutions):
        ways = HARDER if of == "complexity" else BETTER
        way = run.draw(f"evolution {number + 1}", list(ways))
        asked = (
            HARDER[way](instruction=versions[-1])
            if of == "complexity"
            else BETTER[way](instruction=instruction, response=versions[-1])
        )
        reply = await generator.chat(asked, temperature=temperature, max_tokens=max_tokens_per_reply)
        try:
            versions.append(complete_reply(reply))
        except Bad as bad:
            run.reject(reply, bad.reason)
            break
    if len(versions) < 2:
        run.reject(row, "no_evolution")
        return
    order = run.draw("order", list(range(len(versions))), k=len(versions))  # a judge favours places
    listed = "\n\n".join(f"[{place}]\n{versions[at]}" for place, at in enumerate(order, start=1))
    question = (
        RANK_INSTRUCTIONS(versions=listed)
        if of == "complexity"
        else RANK_RESPONSES(instruction=instruction, versions=listed)
    )
    said = await judge.chat(question, temperature=0.0, max_tokens=max_tokens_per_reply)
    scores = read_scores(said.text, len(versions))
    if scores is None:
        run.reject(row, "unread_scores", text=said.text[-300:])
        return
    by_version = dict(zip(order, scores, strict=True))
    for at, version in enumerate(versions):
        prompt = (
            COMPLEXITY(instruction=version)
            if of == "complexity"
            else QUALITY(instruction=instruction, response=version)
        )
        yield ScorerLesson(prompt=prompt, completion=str(by_version[at]), evolution=at, score=by_version[at])


def read_scores(text: str, count: int) -> list[int] | None:
    """The score of each version in the order of their numbers; None unless each has exactly one, of 1 to 6."""
    found = SCORED.findall(text)
    scores = dict(found)
    if len(found) != count or scores.keys() != {str(number) for number in range(1, count + 1)}:
        return None
    if not set(scores.values()) <= set(SCORES):
        return None
    return [int(scores[str(number)]) for number in range(1, count + 1)]
