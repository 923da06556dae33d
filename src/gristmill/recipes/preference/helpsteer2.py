"""HelpSteer2 (Wang et al. 2024, sections 2 and 3): two answers to each prompt, rated by at least three people."""

from collections.abc import AsyncIterator, Sequence
from math import copysign
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gristmill import (
    Annotator,
    BadInput,
    Chat,
    Conversation,
    Message,
    Preference,
    Row,
    Run,
    Turn,
    assistant,
    recipe,
    user,
)
from gristmill.models.annotation import Comparing, Note, Rating, Writing
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.votes import closest

ASPECTS = {
    "helpfulness": "How much does it help who asked, over all?",
    "correctness": "Are all facts that matter there, and none of them wrong?",
    "coherence": "Is it clear and consistent with itself?",
    "complexity": "How much knowledge of a field does it take to write it? 0: anybody could, 4: an expert.",
    "verbosity": "How much detail is there for what was asked? 0: terse, 4: long.",
}
GUIDELINES = Prompt(
    "Read the conversation, then rate the last answer, each aspect for itself, from 0 to 4. Look facts up where you are "
    "not sure. Complexity and verbosity are no virtues and no faults: say how much there is."
)
COMPARE = Prompt(
    "Which of the two answers to the conversation above is better, and by how much: 1 slightly, 2 clearly, 3 by far? Give "
    "your reason in the comment."
)
WRITE = Prompt("Write the answer that an excellent assistant would give to the last message of the user.")


class HelpSteerRating(msgspec.Struct):
    """What one person says of an answer, aspect by aspect."""

    by: str
    ratings: dict[str, int]


class HelpSteerResponse(Row):
    """An answer and its ratings, each a whole number from 0 to 4."""

    prompt: list[Turn]
    """Ends with the user's last message."""
    response: str
    helpfulness: int
    correctness: int
    coherence: int
    complexity: int
    verbosity: int
    generator: str
    """The model that wrote it, or the person."""
    ratings: list[HelpSteerRating]


class HelpSteerPair(Preference, kw_only=True):
    """Two answers of different helpfulness."""

    difference: int
    """Of their helpfulness, from 1."""


class HelpSteerPreference(Preference, kw_only=True):
    """Two answers that people compared."""

    strength: int
    """-3 to 3 as they were shown: below 0 the first is better."""
    reasons: list[str]


@recipe("helpsteer2", seeds="user_conversations.jsonl")
async def helpsteer2(
    row: Conversation,
    generators: list[Chat],
    inhouse: Chat,
    raters: Annotator,
    run: Run,
    *,
    writers: Annotator | None = None,
    human_share: Annotated[float, Meta(ge=0, le=1)] = 0.1,
    fewest: Annotated[int, Meta(ge=1)] = 3,
    most: Annotated[int, Meta(ge=1)] = 5,
    agreeing: Annotated[int, Meta(ge=1)] = 3,
    escalate_spread: Annotated[int, Meta(ge=1, le=4)] = 2,
    drop_spread: Annotated[int, Meta(ge=1, le=5)] = 2,
    compare: bool = False,
    temperature: float = 1.0,
    max_tokens_per_response: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[HelpSteerResponse | HelpSteerPair | HelpSteerPreference]:
    """Have two different models answer each conversation, and people rate both answers in five aspects.

    Of the conversation only the user's messages are used: what an assistant said between them is written anew. Three
    people rate an answer; where their helpfulness lies two or more apart, two more are asked. Each aspect is the mean of
    the three ratings that agree most, rounded. (Wang et al. 2024, HelpSteer2, arXiv:2406.08673, sections 2 and 3; the
    spread that calls for more ratings, the rounding and when an answer is dropped are not confirmed from the paper.) In
    front of it, `helpsteer2-prompts` chooses conversations; behind it, `helpsteer2-clean` drops raters who are outliers.

    Args:
        generators: models, at least two; two of them are drawn for each prompt. The paper has about ten.
        inhouse: writes the assistant's messages between those of the user.
        raters: people who rate.
        writers: people who write answers; nobody unless named.
        human_share: of the second answers, those that a writer writes, where there are any. Not from the paper.
        fewest: ratings of an answer.
        most: ratings where the first disagree.
        agreeing: how many of the ratings count, those that agree most.
        escalate_spread: distance of two helpfulness ratings that calls for more.
        drop_spread: distance at which even the ratings that agree most are too far apart; 5: never.
        compare: people also compare the two answers, from -3 to 3, with reasons, as the set's later part has it. The mean
            of the preferences that agree most is rounded, a half away from 0.
        temperature: of the answers. Not from the paper.
        max_tokens_per_response: of an answer. Not from the paper.

    Rejects: `no_user` (a conversation that does not end with, or has no, user's message), `empty`, `truncated`,
        `copied_turn` (a regenerated message is the source's own), `same_response`, `same_generator` (a writer has the
        name of the model that wrote the other answer), `too_few_ratings` (raters skipped it; details: ratings),
        `disagreement` (details: helpfulness, the ratings; or preferences, the mean of which is 0 when rounded), `skipped`
        (nobody would write, or compare).
    """
    if len({generator.model for generator in generators}) < 2:
        raise BadInput(
            "helpsteer2: the two answers come from different models. Name at least two: --model generators=ONE "
            "--model generators=OTHER"
        )
    asked = [turn for turn in row.messages if turn.role == "user" and turn.content.strip()]
    said = [turn.content.strip() for turn in row.messages if turn.role == "assistant"]
    if not asked or row.messages[-1].role not in ("user", "assistant"):
        run.reject(row, "no_user")
        return
    chat: list[Message] = []
    for turn in asked[:-1]:
        chat.append(user(turn.content))
        reply = await inhouse.chat(chat, temperature=temperature, max_tokens=max_tokens_per_response)
        try:
            text = complete_reply(reply)
        except Bad as bad:
            run.reject(reply, bad.reason)
            return
        if text in said:
            run.reject(reply, "copied_turn")
            return
        chat.append(assistant(text))
    chat.append(user(asked[-1].content))
    turns = [Turn(message.role, str(message.content)) for message in chat]
    context = shown(turns)

    async def written_by(generator: Chat) -> tuple[str, str] | None:
        reply = await generator.chat(chat, temperature=temperature, max_tokens=max_tokens_per_response)
        try:
            return complete_reply(reply), generator.model
        except Bad as bad:
            run.reject(reply, bad.reason, generator=generator.model)
            return None

    wrote: list[str] = []

    async def written_by_person() -> tuple[str, str] | None:
        assert writers is not None
        note = await writers.annotate(Writing(context=context, guidelines=WRITE()))
        if note.skipped:
            run.reject(row, "skipped")
            return None
        wrote.append(note.by)
        return note.text.strip(), note.by

    drawn = run.draw("generators", list({generator.model: generator for generator in generators}.values()), k=2)
    by_person = writers is not None and run.rng("human").random() < human_share
    second = written_by_person() if by_person else written_by(drawn[1])
    answers = [answer for answer in await run.gather(written_by(drawn[0]), second) if answer is not None]
    if len(answers) == 2 and answers[0][0] == answers[1][0]:
        run.reject({"response": answers[0][0]}, "same_response")
        return
    if len(answers) == 2 and answers[0][1] == answers[1][1]:
        run.reject({"responses": [text for text, _ in answers]}, "same_generator", generator=answers[0][1])
        return

    async def opinions(task: Rating | Comparing, count: int, authors: Sequence[str]) -> list[Note]:
        """Of people who did not write what is judged."""
        notes: list[Note] = await raters.annotate(task, n=count, without=authors)
        return [note for note in notes if not note.skipped and note.by not in authors]

    async def rated(answer: tuple[str, str]) -> HelpSteerResponse | None:
        text, generator = answer
        task = Rating(text=text, aspects=ASPECTS, low=0, high=4, context=context, guidelines=GUIDELINES())
        author = [generator] if generator in wrote else []
        notes = await opinions(task, fewest, author)
        helpful = [note.ratings["helpfulness"] for note in notes]
        if most > fewest and (len(helpful) < fewest or max(helpful) - min(helpful) >= escalate_spread):
            notes += await opinions(task, most - fewest, author)
        ratings = [HelpSteerRating(note.by, note.ratings) for note in notes]
        try:
            return response(turns, text, generator, ratings, agreeing=agreeing, drop_spread=drop_spread)
        except Bad as bad:
            run.reject({"prompt": context, "response": text}, bad.reason, **bad.details)
            return None

    made = [one for one in await run.map(rated, answers) if one is not None]
    for one in made:
        yield one
    if len(made) < 2:
        return
    if (pair := more_helpful(*made)) is not None:
        yield pair
    if compare:
        task = Comparing(
            first=made[0].response,
            second=made[1].response,
            strength=3,
            ties=False,
            context=context,
            guidelines=COMPARE(),
        )
        notes = await opinions(task, fewest, wrote)
        if not notes:
            run.reject({"prompt": context}, "skipped")
            return
        liked = closest([note.preference for note in notes], agreeing)
        mean = sum(liked) / len(liked)
        strength = int(mean + copysign(0.5, mean))
        if strength == 0:
            run.reject({"prompt": context}, "disagreement", preferences=liked)
            return
        chosen, rejected = (made[0], made[1]) if strength < 0 else (made[1], made[0])
        yield HelpSteerPreference(
            prompt=context,
            chosen=chosen.response,
            rejected=rejected.response,
            strength=strength,
            reasons=[note.comment for note in notes if note.comment],
        )


@helpsteer2.check
def counts_of_ratings_fit(fewest: int, most: int, agreeing: int) -> None:
    if not agreeing <= fewest <= most:
        raise BadInput(
            "helpsteer2: `agreeing` ratings count, of `fewest`, or of `most` where these disagree: agreeing <= fewest <= "
            f"most, and not {agreeing}, {fewest} and {most}"
        )


def more_helpful(one: HelpSteerResponse, other: HelpSteerResponse) -> HelpSteerPair | None:
    """The more helpful of two different answers to a prompt before the other; none where both are as helpful."""
    better, worse = (one, other) if one.helpfulness > other.helpfulness else (other, one)
    difference = better.helpfulness - worse.helpfulness
    if difference == 0 or better.response == worse.response:
        return None
    return HelpSteerPair(
        prompt=shown(one.prompt), chosen=better.response, rejected=worse.response, difference=difference
    )


def response(
    prompt: list[Turn],
    text: str,
    generator: str,
    ratings: Sequence[HelpSteerRating],
    *,
    agreeing: int,
    drop_spread: int,
) -> HelpSteerResponse:
    """An answer with the means of the ratings that agree most.

    Raises:
        Bad: `too_few_ratings`, or `disagreement`.
    """
    if len(ratings) < agreeing:
        raise Bad("too_few_ratings", ratings=len(ratings))
    means: dict[str, Any] = {}
    for aspect in ASPECTS:
        values = closest([one.ratings[aspect] for one in ratings], agreeing)
        if aspect == "helpfulness" and values[-1] - values[0] >= drop_spread:
            raise Bad("disagreement", helpfulness=[one.ratings[aspect] for one in ratings])
        means[aspect] = int(sum(values) / len(values) + 0.5)  # a half goes up
    return HelpSteerResponse(prompt=prompt, response=text, generator=generator, ratings=list(ratings), **means)


def shown(turns: Sequence[Turn]) -> str:
    """A conversation as a text: a single message as it is."""
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)
