"""Self-Rewarding Language Models (Yuan et al. 2024, sections 2 and 3): one model answers, judges its answers, and learns
from its own judgements, round by round."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import combinations
from statistics import mean
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from gristmill import Chat, Completion, Lesson, Preference, Reply, Row, Rows, Run, Trainable, Training, recipe
from gristmill import recipes as home
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.instructions import admit, on_one_line
from gristmill.ops.novelty import Novelty
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_numbering

JUDGE = Prompt(
    """Judge how well an assistant answered a user, by adding points. Start with 0, and go through these five steps:

- Add 1 point if the response is relevant and holds some information that has to do with the question, even if it is incomplete.
- Add another point if it deals with a substantial part of the question, even if it does not answer it completely.
- Award a third point if it answers the basic elements of the question in a useful way.
- Grant a fourth point if it is written clearly from an assistant's point of view, deals with the question directly and in full, and is well organised, even if something small could be better.
- Give a fifth point if it is made for exactly this question by someone who knows the subject well, with nothing in it that is beside the point.

User: {prompt}

<response>{response}</response>

After reading the question and the response, justify your total in at most 100 words. Then end with the line
Score: <total points>"""
)
INVENT = Prompt(
    """Here are requests that people made to an assistant. Write one more that is different from all of them.

{examples}

{number}."""
)

SCORE = re.compile(
    r"^[^\w\n]*score[^\w\n]*:[^\w\n-]*(\d+(?:\.\d+)?)[^\w\n]*(?:(?:out of|/) ?5)?[^\w\n]*(?:points?)?[^\w\n]*$",
    re.I | re.M,
)
LEAD_IN = re.compile(
    r"\A(?:(?:sure|certainly|of course)\b|here\b[^\n]*\b(?:another|more|new|different)\b)[^\n]*"
    r"\b(?:request|prompt|task|instruction)\b[^\n]*:\s*\n",
    re.I,
)


class Model(Chat, Trainable, Protocol):
    """The model that answers, judges and learns."""


class Demonstration(Row):
    """A prompt, and a good answer."""

    prompt: str
    response: str


class RankedReply(msgspec.Struct):
    """An answer, and its place among the answers to its prompt; 0 is the best."""

    text: str
    rank: int


class RankedReplies(Row):
    """Answers to one prompt that people put in order."""

    prompt: str
    replies: list[RankedReply]


class SelfRewardedPair(Preference, kw_only=True):
    """The answer of a model that it likes best itself, and the one that it likes least."""

    iteration: int
    """1 for pairs of the first model, which make the second."""
    chosen_score: float
    rejected_score: float
    scores: list[float]
    """Of all its different answers that could be scored."""


class SelfRewardedJudgement(Completion, kw_only=True):
    """A judgement that agrees with people, for the first model to learn to judge from (EFT)."""

    score: float


class SelfRewardingRound(Row, kw_only=True):
    """How a model did."""

    iteration: int
    """Of the model: 1 was trained on demonstrations and judgements, the others on the pairs of the one before."""
    learnt: int
    """Rows that it was trained on."""
    loss: float
    judge_accuracy: float | None = None
    """Share of the pairs of replies held out for this that it puts in the order of people; a tie is wrong. Of those prompts
    whose judgements did not fail; None without any."""


@recipe("self-rewarding", fixed=True, seeds="demonstrations.jsonl")
async def self_rewarding(
    rows: Rows[Demonstration],
    model: Model,
    prompter: Chat,
    run: Run,
    *,
    ranked: Rows[RankedReplies] | None = None,
    iterations: Annotated[int, Meta(ge=1)] = 3,
    prompts_per_iteration: Annotated[int, Meta(ge=1)] = 4000,
    batch: Annotated[int, Meta(ge=1)] = 8,
    candidates: Annotated[int, Meta(ge=2)] = 4,
    temperature: float = 0.7,
    top_p: float = 0.9,
    judge_samples: Annotated[int, Meta(ge=1)] = 3,
    judge_temperature: float = 0.7,
    prompt_temperature: float = 0.6,
    prompt_top_p: float = 0.9,
    few_shot: Annotated[int, Meta(ge=1)] = 8,
    few_shot_own: Annotated[int, Meta(ge=0)] = 2,
    attempts: Annotated[int, Meta(ge=1)] = 5,
    rouge_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.7,
    min_words: Annotated[int, Meta(ge=1)] = 4,
    max_words: Annotated[int, Meta(ge=1)] = 150,
    judged_share: Annotated[float, Meta(ge=0, lt=1)] = 0.25,
    thin: bool = True,
    max_tokens_per_response: Annotated[int, Meta(ge=1)] = 1024,
    max_tokens_per_judgement: Annotated[int, Meta(ge=1)] = 512,
    first: Training = Training(learning_rate=5.5e-6, schedule="cosine", batch_size=16),
    training: Training = Training(learning_rate=1e-6, batch_size=16, beta=0.1),
) -> AsyncIterator[SelfRewardedPair | SelfRewardedJudgement | SelfRewardingRound]:
    """A model answers new prompts several times, scores its own answers, and is trained on best against worst; again.

    The first model is trained on the demonstrations and on judgements that agree with people's ranking. From then on the
    same model answers and judges, and both improve together: each is made by DPO from the one before, which is also the
    reference. (Yuan et al. 2024, arXiv:2401.10020, sections 2 and 3.)

    Args:
        prompter: writes new prompts, the same model all along.
        ranked: prompts with answers that people ranked, to learn judging from; a few that ship unless given.
        iterations: models to make; the paper's are M1, M2 and M3.
        prompts_per_iteration: new prompts, the same number each time. The paper keeps 3,964 pairs in the first round and
            6,942 in the second: for these it takes more than 7,000.
        batch: prompts that are asked for at once, and do not see each other among the examples. Not from the paper.
        candidates: answers to a prompt.
        temperature: of the answers.
        top_p: of the answers.
        judge_samples: judgements of an answer; their mean counts.
        judge_temperature: of the judgements. Not from the paper.
        prompt_temperature: of new prompts.
        prompt_top_p: of new prompts.
        few_shot: prompts that the prompter sees.
        few_shot_own: of these, those that it wrote itself, once there are any.
        attempts: calls for new prompts at most, as a multiple of those wanted. Not from the paper.
        rouge_threshold: a new prompt whose ROUGE-L with an older one is as high is too similar. Not confirmed from the
            paper, which filters as Self-Instruct does.
        min_words: of a new prompt.
        max_words: of a new prompt.
        judged_share: of the ranked prompts, those held out to see how well each model judges; the paper has 541 of 2,171.
        thin: of the most frequent score of the judgements no more are kept than of the second most frequent.
        max_tokens_per_response: of an answer. Not from the paper.
        max_tokens_per_judgement: of a judgement. Not from the paper.
        first: training on demonstrations and judgements.
        training: of the rounds after it. The paper has learning rates of 1e-6 falling to 1e-7.

    A round that leaves no pair ends the run: there is nothing to learn from. All rows until then are kept.

    Rejects: `no_score` (a judgement without a line "Score: " and 0 to 5; it does not enter the mean), `against_people`
        (judgements of a prompt whose order is not people's; details: scores, ranks), `too_frequent` (thinned out),
        `duplicate` (an answer that the prompt has already), `too_few_scored`, `equal_scores`, `empty`, `truncated`; of new
        prompts `too_short`, `too_long`, `unsuited`, `writes_program`, `starts_with_punctuation`, `starts_non_ascii`,
        `too_similar`.
    """
    known = list(ranked if ranked is not None else home.shipped("ranked_replies.jsonl", RankedReplies))
    known = run.rng("held_out").sample(known, len(known))
    held_out, taught = known[: int(judged_share * len(known))], known[int(judged_share * len(known)) :]

    async def score(prompt: str, response: str, judge: Model, samples: int = judge_samples) -> list[tuple[float, str]]:
        """Scores with what was said, without those that cannot be read."""
        found = []
        asked = JUDGE(prompt=prompt, response=response)
        said: list[Reply] = await judge.chat(
            asked, n=samples, temperature=judge_temperature, max_tokens=max_tokens_per_judgement
        )
        for reply in said:
            try:
                found.append((read_score(reply), reply.text.strip()))
            except Bad:
                run.reject(reply, "no_score")
        return found

    # The first model learns to answer and to judge.
    answering = [Lesson(row.prompt, row.response, chat=True) for row in rows]
    teacher = await run.train(model, answering, training=first) if taught else model

    async def agreeing(row: RankedReplies) -> list[SelfRewardedJudgement]:
        scored = [await score(row.prompt, reply.text, teacher, 1) for reply in row.replies]
        if not all(scored):
            return []
        said = [one for [one] in scored]
        scores, ranks = [value for value, _ in said], [reply.rank for reply in row.replies]
        if not in_order(scores, ranks):
            run.reject(row, "against_people", scores=scores, ranks=ranks)
            return []
        return [
            SelfRewardedJudgement(prompt=JUDGE(prompt=row.prompt, response=reply.text), completion=text, score=value)
            for reply, (value, text) in zip(row.replies, said, strict=True)
        ]

    judgements = [one for some in await run.map(agreeing, taught, keep_going=True) for one in some]
    if thin:
        judgements = thinned(run, judgements)
    for judgement in judgements:
        yield judgement
    judging = [Lesson(one.prompt, one.completion, chat=True) for one in judgements]
    model = await run.train(model, run.rng("order").sample(both := answering + judging, len(both)), training=first)
    learnt = len(both)

    seeds = [on_one_line(row.prompt) for row in rows]
    pool = Novelty(rouge_threshold, seeds)
    own: list[str] = []
    for iteration in range(1, iterations + 1):

        async def orders(row: RankedReplies, judge: Model = model) -> list[bool]:
            scored = [await score(row.prompt, reply.text, judge) for reply in row.replies]
            means = [mean(value for value, _ in one) if one else None for one in scored]
            pairs = combinations(zip(means, row.replies, strict=True), 2)
            return [
                a is not None and b is not None and a != b and (a > b) == (one.rank < other.rank)
                for (a, one), (b, other) in pairs
                if one.rank != other.rank
            ]

        judged = [right for some in await run.map(orders, held_out, keep_going=True) for right in some]
        done = SelfRewardingRound(iteration=iteration, learnt=learnt, loss=model.measured["loss"])
        done.judge_accuracy = mean(judged) if judged else None
        run.link(done, model.checkpoint)
        yield done
        if iteration == iterations:
            return

        prompts: list[tuple[str, Reply]] = []
        left = attempts * prompts_per_iteration
        while len(prompts) < prompts_per_iteration and left > 0:
            count = min(batch, prompts_per_iteration - len(prompts), left)
            left -= count

            async def invent(number: int, own: list[str] = own) -> tuple[Reply, int]:
                shown = run.rng("own").sample(own, min(few_shot_own, len(own), few_shot))
                shown = run.rng("seeds").sample(seeds, min(few_shot - len(shown), len(seeds))) + shown
                run.rng("shuffle").shuffle(shown)
                examples = "\n".join(f"{place}. {prompt}" for place, prompt in enumerate(shown, start=1))
                reply = await prompter.chat(
                    INVENT(examples=examples, number=len(shown) + 1),
                    temperature=prompt_temperature,
                    top_p=prompt_top_p,
                    max_tokens=max_tokens_per_response,
                )
                return reply, len(shown) + 1

            for reply, number in await run.map(invent, range(count), keep_going=True):
                try:
                    prompt = read_prompt(reply, number)
                except Bad as bad:
                    run.reject(reply, bad.reason)
                    continue
                if admit(run, pool, prompt, reply, min_words, max_words) is not None:
                    prompts.append((prompt, reply))
                    own = [*own, prompt]

        async def answer(
            made: tuple[str, Reply], same: Model = model, iteration: int = iteration
        ) -> SelfRewardedPair | None:
            prompt, source = made
            said: list[Reply] = await same.chat(
                prompt, n=candidates, temperature=temperature, top_p=top_p, max_tokens=max_tokens_per_response
            )
            texts: list[str] = []
            for reply in said:
                try:
                    text = complete_reply(reply)
                except Bad as bad:
                    run.reject(reply, bad.reason)
                    continue
                if text in texts:  # judged twice, it could be the best and the worst
                    run.reject(reply, "duplicate")
                else:
                    texts.append(text)
            # Which is the best, and which the worst, is not known without the score of each: then the prompt is lost.
            judged = await run.map(lambda text: score(prompt, text, same), texts, name="judge")
            scored = [(mean(v for v, _ in some), text) for some, text in zip(judged, texts, strict=True) if some]
            if len(scored) < 2:
                run.reject({"prompt": prompt}, "too_few_scored", scored=len(scored))
                return None
            best, worst = max(scored, key=lambda one: one[0]), min(scored, key=lambda one: one[0])
            scores = [value for value, _ in scored]
            if best[0] == worst[0]:
                run.reject({"prompt": prompt}, "equal_scores", scores=scores)
                return None
            pair = SelfRewardedPair(
                prompt=prompt,
                chosen=best[1],
                rejected=worst[1],
                iteration=iteration,
                chosen_score=best[0],
                rejected_score=worst[0],
                scores=scores,
            )
            run.link(pair, source)
            return pair

        pairs = [pair for pair in await run.map(answer, prompts, keep_going=True) if pair is not None]
        for pair in pairs:  # before training, which fails without pairs: these are kept
            yield pair
        model = await run.train(model, pairs, "dpo", training=training, reference=model)
        learnt = len(pairs)


def in_order(scores: Sequence[float], ranks: Sequence[int]) -> bool:
    """Whether no pair of scores is the other way round than the ranks, and not all are equal. Whether the paper allows ties
    is not known."""
    pairs = [(a, b) for a, b in combinations(range(len(scores)), 2) if ranks[a] != ranks[b]]
    straight = all((scores[a] - scores[b]) * (ranks[b] - ranks[a]) >= 0 for a, b in pairs)
    return straight and any(scores[a] != scores[b] for a, b in pairs)


def thinned(run: Run, judgements: list[SelfRewardedJudgement]) -> list[SelfRewardedJudgement]:
    """The most frequent score is cut down to the second most frequent."""
    counts = Counter(one.score for one in judgements).most_common(2)
    if len(counts) < 2 or counts[0][1] == counts[1][1]:
        return judgements
    (frequent, many), (_, few) = counts
    places = [place for place, one in enumerate(judgements) if one.score == frequent]
    out = set(run.rng("thin").sample(places, many - few))
    for place in sorted(out):
        run.reject(judgements[place], "too_frequent", score=frequent)
    return [one for place, one in enumerate(judgements) if place not in out]


def read_score(reply: Reply) -> float:
    """The points of the last line that is a score; a sentence that speaks of scores is none."""
    found = SCORE.findall(complete_reply(reply))
    if not found or not 0 <= float(found[-1]) <= 5:
        raise Bad("no_score")
    return float(found[-1])


def read_prompt(reply: Reply, number: int) -> str:
    """The one new prompt of a reply; models like to lead in to it, to repeat its number, or to write further ones.

    Args:
        number: that it has in the list. By this alone is a lead-in told from a prompt that holds a list of its own.
    """
    text = LEAD_IN.sub("", complete_reply(reply)).strip()
    if item := re.match(rf"[^\n]*:\s*\n\s*({number})[.)]\s|(\d{{1,3}})[.)]\s", text):
        number = int(item[1] or item[2])
        text = text[item.end() :]
    text = re.split(rf"^\s*{number + 1}[.)]\s", text, maxsplit=1, flags=re.MULTILINE)[0]
    return on_one_line(re.sub(r'\A"([^"]*)"\Z', r"\1", strip_numbering(text)))
