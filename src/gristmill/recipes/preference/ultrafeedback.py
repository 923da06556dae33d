"""UltraFeedback (Cui et al. 2023, section 2): four models answer, a judge rates four aspects and criticises each."""

from collections.abc import AsyncIterator
from functools import cache
from itertools import combinations
from statistics import mean
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, defstruct, field

from gristmill import (
    BadInput,
    Chat,
    Completion,
    Instruction,
    Preference,
    Row,
    Run,
    Unparsed,
    recipe,
    system,
    user,
)
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.judge import split_rating
from gristmill.ops.prompts import Prompt

HELPFULNESS = (
    Prompt("Help the user as well as you can: answer what was asked, completely and to the point."),
    Prompt("Your aim is an answer that the user can use at once. Be clear, relevant and kind."),
    Prompt("Find out what the user needs, and give exactly that, with the details that matter."),
    Prompt("Be a useful assistant: solve the user's problem and leave no part of the question open."),
    Prompt("Answer so that the user is better off than before: practical, thorough and easy to follow."),
    Prompt("Give a valuable answer. Add an example or a next step where it helps, and nothing that does not."),
    Prompt("Put the user's goal first. Everything in your answer should bring them nearer to it."),
    Prompt("Be generous with good advice, friendly in tone and positive, also when the question is vague."),
    Prompt("Respond with well-organised information that covers the question from all sides that are of use."),
    Prompt("You are a patient helper. Explain what the user may not know, and do not lecture on the rest."),
    Prompt("Do the task that the user sets, as carefully as an expert would do it for a client."),
)
TRUTHFULNESS = (
    Prompt("Say only what is true. Where facts and a pleasant answer differ, give the facts."),
    Prompt("Your answers must agree with what is known about the world. Invent nothing."),
    Prompt("Be accurate: check every statement before you make it, and leave out what you cannot support."),
    Prompt("Correct mistaken assumptions in a question instead of building upon them."),
    Prompt("Stay faithful to the facts and to the text that the user gives you. Do not contradict yourself."),
    Prompt("Names, numbers, dates and quotations in your answer must be right, or not be there."),
    Prompt("Do not repeat popular errors or myths as if they were facts."),
    Prompt("Keep to knowledge that is well established, and mark opinions as opinions."),
    Prompt("Answer like a careful reference work: exact, sober and free of inventions."),
    Prompt("Truth comes before style: a plain answer that is correct beats a fine one that is not."),
    Prompt("Reason from facts step by step, so that no false statement slips into your answer."),
)
HONESTY = (
    Prompt("Be open about what you know and what you do not know."),
    Prompt("If you are not sure of something, say so. Never pretend to a certainty that you do not have."),
    Prompt("Admit it when a question goes beyond your knowledge, instead of guessing."),
    Prompt("Say how you know what you say, and where your knowledge ends."),
    Prompt("Mark doubtful parts of your answer with words such as probably, perhaps or as far as I know."),
    Prompt("Be sincere: do not flatter, do not mislead, and do not hide the weak points of your answer."),
    Prompt("Show as much confidence as your knowledge deserves, neither more nor less."),
    Prompt("You may say that you do not know. It is better than an answer that you do not believe."),
    Prompt("Tell the user which parts of the answer they had better check for themselves."),
    Prompt("Be frank about your limits as a language model where they touch the question."),
    Prompt("Express your true assessment, also where it is uncertain or unwelcome."),
)
CALIBRATION = (
    Prompt(
        "Answer, and say after each important statement how confident you are that it is right, in percent, so that "
        "these numbers agree with how often you are right."
    ),
)
PRINCIPLES = {
    "helpfulness": HELPFULNESS,
    "truthfulness": TRUTHFULNESS,
    "honesty": HONESTY,
    "verbalized_calibration": CALIBRATION,
}
"""What a completion is asked to heed, each in 11 phrasings; calibration in one."""

ODDS = {
    "sharegpt": {"helpfulness": 3, "truthfulness": 1, "honesty": 1},
    "ultrachat": {"helpfulness": 3, "truthfulness": 1, "honesty": 1},
    "flan": {"helpfulness": 4, "verbalized_calibration": 1},
    "evol_instruct": {"helpfulness": 1},
    "truthful_qa": {"honesty": 1, "truthfulness": 1},
    "false_qa": {"honesty": 1, "truthfulness": 1},
}
"""Of the principles, by the source of an instruction."""
CALIBRATED = 0.1
"""How often a draw of honesty becomes one of verbalized calibration."""

ASPECTS = {
    "instruction_following": Prompt(
        """Judge how well texts follow their instruction: do they reach its goal, and do they heed its restrictions (format, length, style, content)?
1: irrelevant. 2: the goal or most restrictions are missed. 3: the goal is reached in part, or a restriction is neglected. 4: only small deviations. 5: goal and restrictions are fully met."""
    ),
    "honesty": Prompt(
        """Judge how honest texts are: does the confidence that they express agree with how right they are? Confidence shows in words such as "certainly", "perhaps" or "I do not know".
1: confidently wrong. 2: confident with major errors, or unsure without need. 3: confidence and correctness agree in part. 4: mostly in agreement, with small slips. 5: confident where right, unsure or silent where not. "N/A": the task is creative and has no right or wrong."""
    ),
    "truthfulness": Prompt(
        """Judge how truthful texts are, and which types of hallucination they hold: 1 (against facts of the world), 2 (against the instruction or its input), 3 (against itself); none is an empty list.
1: completely made up. 2: severe hallucination. 3: a partial one, beside what is right. 4: only an insignificant one. 5: none."""
    ),
    "helpfulness": Prompt(
        """Judge how helpful texts are, and which of these they have: 1 (clear and relevant), 2 (useful and comprehensive), 3 (not too long, without repetition); none is an empty list. A text that is wrong is not helpful.
1: severely wrong. 2: partly wrong. 3: right and basic. 4: right and helpful. 5: right and outstandingly helpful."""
    ),
}
RATE = Prompt(
    """{aspect}

### Instruction
{instruction}
{world_knowledge}{texts}

Rate each of the {count} texts from 1 to 5 by the scale above, and give a rationale of one or two sentences. Answer in JSON: {form}"""
)
FORM = Prompt('{"text_1": {"rating": 1, "rationale": "..."}, "text_2": ...}')
TYPED_FORM = Prompt(
    '{"text_1": {"type": [1, 2], "type_rationale": "...", "rating": 1, "rationale": "..."}, "text_2": ...}'
)
TEXT = Prompt("\n### Text {number}\n{text}\n")
WORLD_KNOWLEDGE = Prompt("\n### World Knowledge\n{facts}\n")

CRITIQUE = Prompt(
    """Here are an instruction and an answer to it. Give feedback from which the one who answered can learn: concrete, on what is good and on what to improve, and why. Do not write a reference answer, and do not mention other answers.

### Instruction
{instruction}

### Note
The answer was to heed this: {principle}

### Answer
{response}

Write your feedback, and then a last line that rates the answer from 1 (worst) to 10 (best), as: Overall Score: [1-10]"""
)
SCORE = "Overall Score:"


class FeedbackInstruction(Instruction):
    source: str = ""
    """sharegpt, ultrachat, flan, evol_instruct, truthful_qa or false_qa; others draw principles as sharegpt does."""
    correct_answers: list[str] = field(default_factory=list)
    incorrect_answers: list[str] = field(default_factory=list)
    world_knowledge: str = ""


class Annotation(Struct):
    """How one aspect of one text was judged."""

    rating: int | None
    """1 to 5; None for "N/A"."""
    rationale: str
    type: list[int] = field(default_factory=list)
    """Ids of the types that the aspect has (truthfulness: of hallucinations)."""
    type_rationale: str = ""


class Annotations(Struct):
    instruction_following: Annotation
    honesty: Annotation
    truthfulness: Annotation
    helpfulness: Annotation

    @property
    def mean(self) -> float:
        """Of the aspects that were rated: one that is not applicable counts for nothing."""
        aspects = (self.instruction_following, self.honesty, self.truthfulness, self.helpfulness)
        return mean(aspect.rating for aspect in aspects if aspect.rating is not None)


class Answer(NamedTuple):
    model: str
    principle: str
    phrasing: str
    text: str


class RatedCompletion(Struct):
    model: str
    principle: str
    custom_system_prompt: str
    """The phrasing of the principle."""
    response: str
    annotations: Annotations
    mean_rating: float
    critique: str
    """"" where none could be read."""
    overall_score: float | None
    """1 to 10, as the critique gives it; None where none could be read."""


class UltraFeedbackRow(Row):
    """An instruction with its completions, each rated by aspect and criticised."""

    instruction: str
    source: str
    completions: list[RatedCompletion]
    distinct_models: int
    """Of the completions. 1: a model was compared with itself."""


class UltraFeedbackPair(Preference):
    chosen_score: float
    rejected_score: float
    chosen_model: str
    rejected_model: str


class UltraFeedbackCritique(Completion):
    """For a model that learns to criticise: the question for a critique, and the critique."""

    overall_score: float


Rationale = Annotated[str, Meta(max_length=500)]  # characters: a small model that repeats itself comes to an end


class Rated(Struct):
    rating: Literal[1, 2, 3, 4, 5]
    rationale: Rationale


class RatedOrNot(Struct):
    rating: Literal[1, 2, 3, 4, 5, "N/A"]
    rationale: Rationale


class RatedWithType(Struct):
    type: Annotated[list[Literal[1, 2, 3]], Meta(max_length=3)]
    type_rationale: Rationale
    rating: Literal[1, 2, 3, 4, 5]
    rationale: Rationale


FORMS: dict[str, type[Rated | RatedOrNot | RatedWithType]] = {
    "instruction_following": Rated,
    "honesty": RatedOrNot,
    "truthfulness": RatedWithType,
    "helpfulness": RatedWithType,
}
KNOWING = ("truthfulness", "helpfulness")
"""Aspects that are judged with what is known of the right answer."""


@recipe("ultrafeedback", seeds="instructions.jsonl")
async def ultrafeedback(
    row: FeedbackInstruction,
    models: list[Chat],
    judge: Chat,
    run: Run,
    *,
    models_per_instruction: Annotated[int, Meta(ge=2, le=9)] = 4,
    generation_temperature: float = 1.0,
    generation_top_p: float = 1.0,
    max_tokens_response: Annotated[int, Meta(ge=1)] = 1024,
    judge_temperature: float = 0.0,
    judge_top_p: float = 0.6,
    max_tokens_judge: Annotated[int, Meta(ge=1)] = 1024,
    rank_by: Literal["mean_rating", "overall_score"] = "mean_rating",
    pairs: Literal["all", "best"] = "all",
) -> AsyncIterator[UltraFeedbackRow | UltraFeedbackPair | UltraFeedbackCritique]:
    """Let different models answer an instruction under drawn principles; a judge rates, criticises, and pairs follow.

    A call for each completion, one for each of four aspects that sees all completions together, in an order of its
    own (not confirmed), and one for the critique of each. (Cui et al. 2023, arXiv:2310.01377, section 2, and the
    repository OpenBMB/UltraFeedback: a pool of 17 models, judge gpt-4-0613.)

    Bind a pool: --model models=A --model models=B and so on. With a single model, as by default, it answers as often
    by itself: then the pairs say which of its own answers is better, and `distinct_models` is 1. A pool of several
    models that is smaller than `models_per_instruction` is refused.

    The judge's ratings are asked for as JSON held to a schema, where the paper reads "Rating:" and "Rationale:" lines.

    Args:
        models_per_instruction: completions of an instruction, each by another model.
        generation_temperature: of the completions.
        generation_top_p: likewise.
        max_tokens_response: of a completion. One that is cut is kept and judged as it is.
        judge_temperature: of ratings and critiques.
        judge_top_p: likewise.
        max_tokens_judge: of a rating call, and of a critique.
        rank_by: what orders the completions: the mean over the aspects that apply, or the score of the critique (the
            released data had scores of 1 read as 10; the mean is safer).
        pairs: all: of every two completions that differ in score; best: the best one and another one, drawn.

    Rejects: `empty` instructions and completions, and `unread_rating` of an aspect (details: of, text), which cost the
        instruction; `unread_rating`, `rating_out_of_range`, `empty`, `truncated` and `no_feedback` (nothing but a
        score) of a critique, which cost the critique (details: of, model); `tie` (two completions of one score make
        no pair; details: score, models).
    """
    pool = {model.model: model for model in models}
    if 1 < len(pool) < models_per_instruction:
        raise BadInput(
            f"ultrafeedback: `models_per_instruction` is {models_per_instruction}, but the pool has only {len(pool)} "
            f"different models ({', '.join(pool)}). Bind more with --model models=SPEC, or set it to {len(pool)}"
        )
    alone = len(pool) == 1
    names = list(pool) * models_per_instruction if alone else run.draw("models", list(pool), k=models_per_instruction)
    instruction = f"{row.instruction}\n{row.input}".strip()
    if not instruction:
        run.reject(row, "empty")
        return
    judging: dict[str, Any] = {
        "temperature": judge_temperature,
        "top_p": judge_top_p,
        "max_tokens": max_tokens_judge,
    }

    async def complete(name: str) -> Answer:
        odds = ODDS.get(row.source, ODDS["sharegpt"])
        principle = run.draw("principle", list(odds), weights=list(odds.values()))
        if principle == "honesty" and run.draw("calibrated", [True, False], weights=[CALIBRATED, 1 - CALIBRATED]):
            principle = "verbalized_calibration"
        phrasing = run.draw("phrasing", PRINCIPLES[principle])()
        reply = await pool[name].chat(
            [system(phrasing), user(instruction)],
            temperature=generation_temperature,
            top_p=generation_top_p,
            max_tokens=max_tokens_response,
        )
        if not reply.text.strip():
            raise Bad("empty", model=name)
        return Answer(name, principle, phrasing, reply.text.strip())

    async def annotate(aspect: str) -> list[Annotation]:
        """One call for all answers; an annotation for each of them."""
        order = run.draw("order", range(len(answers)), k=len(answers))
        question = RATE(
            aspect=ASPECTS[aspect](),
            instruction=instruction,
            world_knowledge=world_knowledge(row) if aspect in KNOWING else "",
            texts="".join(TEXT(number=number, text=answers[at].text) for number, at in enumerate(order, 1)),
            count=len(answers),
            form=(TYPED_FORM if FORMS[aspect] is RatedWithType else FORM)(),
        )
        try:
            given = (await judge.ask(question, sheet(aspect, len(answers)), **judging)).value
        except Unparsed as error:
            raise Bad("unread_rating", of=aspect, text=error.text[-300:]) from None
        return [annotation(getattr(given, f"text_{order.index(at) + 1}")) for at in range(len(answers))]

    async def criticise(answer: Answer) -> tuple[str, str, float | None]:
        question = CRITIQUE(instruction=instruction, principle=answer.phrasing, response=answer.text)
        reply = await judge.chat(question, **judging)
        try:
            feedback, score = split_rating(complete_reply(reply), low=1, high=10, cue=SCORE)
            feedback = feedback.strip(" \n*#-")
            if not feedback:
                raise Bad("no_feedback", score=score)
        except Bad as bad:
            run.reject(reply, bad.reason, of="critique", model=answer.model, **bad.details)
            return question, "", None
        return question, feedback, score

    try:
        answers = await run.map(complete, names)
        annotated, critiques = await run.gather(run.map(annotate, ASPECTS), run.map(criticise, answers))
    except Bad as bad:
        run.reject(row, bad.reason, **bad.details)
        return
    completions = []
    for at, (answer, (question, feedback, score)) in enumerate(zip(answers, critiques, strict=True)):
        aspects = Annotations(*(annotations[at] for annotations in annotated))
        completions.append(RatedCompletion(*answer, aspects, aspects.mean, feedback, score))
        if score is not None:
            yield UltraFeedbackCritique(question, f"{feedback}\n{SCORE} {score:g}", score)
    for one, other in compared([c for c in completions if getattr(c, rank_by) is not None], rank_by, pairs, run):
        better, worse = sorted((one, other), key=lambda completion: -getattr(completion, rank_by))
        scores = getattr(better, rank_by), getattr(worse, rank_by)
        if scores[0] == scores[1]:
            run.reject([one.response, other.response], "tie", score=scores[0], models=[one.model, other.model])
        else:
            yield UltraFeedbackPair(instruction, better.response, worse.response, *scores, better.model, worse.model)
    # Last, so that a run which reaches its target with this row has its pairs, too.
    yield UltraFeedbackRow(
        instruction=instruction, source=row.source, completions=completions, distinct_models=len(set(names))
    )


def compared(
    ranked: list[RatedCompletion], rank_by: str, pairs: str, run: Run
) -> list[tuple[RatedCompletion, RatedCompletion]]:
    """Which completions meet: every two, or the best and another one."""
    if pairs == "all" or len(ranked) < 2:
        return list(combinations(ranked, 2))
    best = max(ranked, key=lambda completion: getattr(completion, rank_by))
    return [(best, run.draw("rejected", [other for other in ranked if other is not best]))]


@cache
def sheet(aspect: str, count: int) -> type[Struct]:
    """What the judge fills in: a form for each text."""
    return defstruct("Ratings", [(f"text_{number}", FORMS[aspect]) for number in range(1, count + 1)])


def annotation(given: Rated | RatedOrNot | RatedWithType) -> Annotation:
    made = Annotation(None if given.rating == "N/A" else given.rating, given.rationale)
    if isinstance(given, RatedWithType):
        made.type, made.type_rationale = sorted(set(given.type)), given.type_rationale
    return made


def world_knowledge(row: FeedbackInstruction) -> str:
    """What is known of the right answer, where something is."""
    facts = [row.world_knowledge] if row.world_knowledge else []
    facts += [f"Right: {answer}" for answer in row.correct_answers]
    facts += [f"Wrong: {answer}" for answer in row.incorrect_answers]
    return WORLD_KNOWLEDGE(facts="\n".join(facts)) if facts else ""
