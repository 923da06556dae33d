"""Baize's self-distillation with feedback (Xu et al. 2023, section 4): a judge picks the best of a student's answers."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta, Struct

from gristmill import Chat, Conversation, Instruction, Preference, Run, Turn, Unparsed, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt

SCORE = Prompt(
    """Compare these {count} responses of an AI assistant to the same instruction. Give each a score from 1 (useless) to 100 (could not be better) by how well it helps: is it right, does it do what was asked, is it clear? Let the scores show which one is better than which.

Instruction:
{instruction}

{responses}
Answer in JSON: {"scores": [...]}, with {count} whole numbers, in the order of the responses."""
)

RESPONSE = Prompt("Response {number}:\n{response}\n\n")


class Scores(Struct):
    scores: list[Annotated[int, Meta(ge=1, le=100)]]


class ScoredResponse(Struct):
    response: str
    score: int


class BaizeFeedback(Conversation):
    """An instruction and the student's own response that was ranked first."""

    score: int
    responses: list[ScoredResponse]
    """All that were ranked, the best first."""


class BaizeFeedbackPair(Preference):
    """The student's best response and its worst."""

    chosen_score: int
    rejected_score: int


@recipe("baize-feedback", seeds="instructions.jsonl")
async def baize_feedback(
    row: Instruction,
    student: Chat,
    judge: Chat,
    run: Run,
    *,
    sdf_samples: Annotated[int, Meta(ge=2)] = 4,
    temperature: float = 1.0,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[BaizeFeedback | BaizeFeedbackPair]:
    """Let a student answer an instruction several times, a judge rank the answers, and keep the best for training.

    The student learns from its own answers, never from the judge's. (Xu et al. 2023, arXiv:2304.01196, section 4;
    paper's student: the tuned Baize, its judge ChatGPT.) How the judge is asked is not confirmed: here one call sees
    all responses, in an order drawn by chance, at temperature 0. Here besides: the best and the worst make a
    preference pair; responses that are empty or were cut take no part.

    Args:
        student: answers; the model that is to be trained on the rows.
        judge: ranks.
        sdf_samples: responses of the student to an instruction.
        temperature: of the student. The paper does not fix it.
        max_tokens_response: tokens a response. The paper does not fix it.

    Rejects: `empty` and `truncated` responses; of the instruction `too_few_responses` (fewer than two to rank;
        details: responses) and `unread_scores` (details: text, responses); `tie` (all scores are equal: a row, but no
        pair; details: score).
    """
    instruction = f"{row.instruction}\n{row.input}".strip()
    replies = await student.chat(instruction, n=sdf_samples, temperature=temperature, max_tokens=max_tokens_response)
    usable = []
    for reply in replies:
        try:
            usable.append(complete_reply(reply))
        except Bad as bad:
            run.reject(reply, bad.reason)
    if len(usable) < 2:
        run.reject(row, "too_few_responses", responses=len(usable))
        return
    shown = run.draw("order", usable, k=len(usable))
    listed = "".join(RESPONSE(number=number, response=response) for number, response in enumerate(shown, start=1))
    question = SCORE(count=len(shown), instruction=instruction, responses=listed)
    try:
        said = await judge.ask(question, Scores, temperature=0.0)
    except Unparsed as error:
        run.reject(row, "unread_scores", text=error.text[-300:], responses=len(shown))
        return
    if len(said.value.scores) != len(shown):
        run.reject(row, "unread_scores", text=said.text[-300:], responses=len(shown))
        return
    ranked = [ScoredResponse(response, score) for response, score in zip(shown, said.value.scores, strict=True)]
    ranked.sort(key=lambda scored: -scored.score)
    best, worst = ranked[0], ranked[-1]
    if best.score > worst.score:  # before the row, with which a run may reach its target
        yield BaizeFeedbackPair(instruction, best.response, worst.response, best.score, worst.score)
    else:
        run.reject([scored.response for scored in ranked], "tie", score=best.score)
    turns = [Turn("user", instruction), Turn("assistant", best.response)]
    yield BaizeFeedback(messages=turns, score=best.score, responses=ranked)
