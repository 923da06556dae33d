"""MetaMath (Yu et al. 2024, section 3): a word problem solved again, rephrased, and turned round in two ways."""

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from gristmill import BadInput, Chat, Instruction, Reply, Row, Run, recipe, system, user
from gristmill.errors import nearest
from gristmill.ops.answers import final_answer, last_boxed, same_answer
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_framing

SYSTEM = Prompt("You answer a question in the way of the examples that you are given.")

SOLVE = Prompt(
    """Question: Tom has 3 boxes with 12 pencils each. He gives away 10 pencils. How many pencils does he have left?
A: Let's think step by step. In 3 boxes of 12 there are 3 * 12 = 36 pencils. After giving away 10 he has 36 - 10 = 26 left. The answer is 26.

Question: A bus drives 40 kilometres an hour. How many minutes does it need for 30 kilometres?
A: Let's think step by step. One kilometre takes 60 / 40 = 1.5 minutes. So 30 kilometres take 30 * 1.5 = 45 minutes. The answer is 45.

Question: Rosa buys 4 cakes at $7 each and pays with a $50 note. How many dollars does she get back?
A: Let's think step by step. The cakes cost 4 * 7 = 28 dollars. She gets back 50 - 28 = 22 dollars. The answer is 22.

Question: A school has 120 pupils, and 5/8 of them are girls. How many boys are there?
A: Let's think step by step. There are 120 / 8 * 5 = 75 girls. So there are 120 - 75 = 45 boys. The answer is 45.

Question: Ben reads 15 pages a day. His book has 240 pages, and he has read 90 of them. In how many days will he finish it?
A: Let's think step by step. There are 240 - 90 = 150 pages left. At 15 pages a day they take 150 / 15 = 10 days. The answer is 10.

Question: A jacket costs $80. It is reduced by 20%. What does it cost now?
A: Let's think step by step. The reduction is 80 * 20 / 100 = 16 dollars. So it costs 80 - 16 = 64 dollars. The answer is 64.

Question: Max is 6 years old, and Lily is twice as old. How old will Lily be in 5 years?
A: Let's think step by step. Lily is 2 * 6 = 12 years old. In 5 years she will be 12 + 5 = 17. The answer is 17.

Question: A pump moves 9 litres a minute. How many litres does it move in 1 hour and 20 minutes?
A: Let's think step by step. The time is 60 + 20 = 80 minutes. In it the pump moves 80 * 9 = 720 litres. The answer is 720.

Question: {question}
A: Let's think step by step."""
)

REPHRASE = Prompt(
    """Say each question in other words. It must ask for the same, with the same numbers.

Question: Tom has 3 boxes with 12 pencils each. He gives away 10 pencils. How many pencils does he have left?
Rephrased question: There are 12 pencils in each of Tom's 3 boxes. If 10 of the pencils are given away, how many remain?

Question: A bus drives 40 kilometres an hour. How many minutes does it need for 30 kilometres?
Rephrased question: At a speed of 40 kilometres an hour, how many minutes does a bus take to cover a distance of 30 kilometres?

Question: Rosa buys 4 cakes at $7 each and pays with a $50 note. How many dollars does she get back?
Rephrased question: What change, in dollars, does Rosa receive from a $50 note after paying for 4 cakes that cost $7 apiece?

Question: A school has 120 pupils, and 5/8 of them are girls. How many boys are there?
Rephrased question: Girls make up 5/8 of the 120 pupils of a school. What is the number of boys at it?

Question: Ben reads 15 pages a day. His book has 240 pages, and he has read 90 of them. In how many days will he finish it?
Rephrased question: Of a book of 240 pages Ben has finished 90. How many more days does he need if he reads 15 pages every day?

Question: A jacket costs $80. It is reduced by 20%. What does it cost now?
Rephrased question: What is the new price of an $80 jacket after 20% is taken off?

Question: Max is 6 years old, and Lily is twice as old. How old will Lily be in 5 years?
Rephrased question: Lily's age is twice that of Max, who is 6. What will her age be 5 years from now?

Question: A pump moves 9 litres a minute. How many litres does it move in 1 hour and 20 minutes?
Rephrased question: If a pump runs for 1 hour and 20 minutes and moves 9 litres each minute, how many litres does it move in all?

Question: {question}
Rephrased question:"""
)

STATE = Prompt(
    """Turn each question and its answer into one statement. An unknown {unknown} in the question stays in the statement.

Question: How many pencils does he have left?
Answer: 26
Statement: He has 26 pencils left.

Question: How many minutes does it need for {unknown} kilometres?
Answer: 45
Statement: It needs 45 minutes for {unknown} kilometres.

Question: How many dollars does she get back?
Answer: 22
Statement: She gets back 22 dollars.

Question: how many boys are there?
Answer: 45
Statement: there are 45 boys.

Question: In how many days will he finish it?
Answer: 10
Statement: He will finish it in 10 days.

Question: What does it cost now?
Answer: 64
Statement: It costs 64 dollars now.

Question: How old will Lily be in {unknown} years?
Answer: 17
Statement: Lily will be 17 years old in {unknown} years.

Question: How many litres does it move in 1 hour and {unknown} minutes?
Answer: 720
Statement: It moves 720 litres in 1 hour and {unknown} minutes.

Question: {question}
Answer: {answer}
Statement:"""
)

FOBAR = Prompt(
    "{question} The answer to this question is known to be {answer}. What is the value of the unknown {unknown}?"
)
SELF_VERIFICATION = Prompt("{rest} {statement} What is the value of the unknown {unknown}?")

SOLVE_BACKWARD = Prompt(
    """Question: Tom has {unknown} boxes with 12 pencils each. He gives away 10 pencils. How many pencils does he have left? The answer to this question is known to be 26. What is the value of the unknown {unknown}?
A: Let's think step by step. Before giving away 10 pencils Tom had 26 + 10 = 36. With 12 in each box these were 36 / 12 = 3 boxes. The value of {unknown} is 3.

Question: A bus drives 40 kilometres an hour. It needs 45 minutes for {unknown} kilometres. What is the value of the unknown {unknown}?
A: Let's think step by step. In 60 minutes it drives 40 kilometres, so in 45 minutes 40 * 45 / 60 = 30 kilometres. The value of {unknown} is 30.

Question: Rosa buys 4 cakes at ${unknown} each and pays with a $50 note. How many dollars does she get back? The answer to this question is known to be 22. What is the value of the unknown {unknown}?
A: Let's think step by step. The 4 cakes cost 50 - 22 = 28 dollars, so each costs 28 / 4 = 7 dollars. The value of {unknown} is 7.

Question: A school has {unknown} pupils, and 5/8 of them are girls, there are 45 boys. What is the value of the unknown {unknown}?
A: Let's think step by step. The boys are 3/8 of the pupils. One eighth is 45 / 3 = 15, so there are 8 * 15 = 120 pupils. The value of {unknown} is 120.

Question: Ben reads 15 pages a day. His book has 240 pages, and he has read {unknown} of them. In how many days will he finish it? The answer to this question is known to be 10. What is the value of the unknown {unknown}?
A: Let's think step by step. In 10 days he reads 10 * 15 = 150 pages. So he has read 240 - 150 = 90. The value of {unknown} is 90.

Question: A jacket costs $80. It is reduced by {unknown}%. It costs 64 dollars now. What is the value of the unknown {unknown}?
A: Let's think step by step. The reduction is 80 - 64 = 16 dollars. That is 16 / 80 * 100 = 20 percent. The value of {unknown} is 20.

Question: Max is 6 years old, and Lily is twice as old. How old will Lily be in {unknown} years? The answer to this question is known to be 17. What is the value of the unknown {unknown}?
A: Let's think step by step. Lily is 2 * 6 = 12 years old. She will be 17 in 17 - 12 = 5 years. The value of {unknown} is 5.

Question: A pump moves 9 litres a minute. It moves 720 litres in 1 hour and {unknown} minutes. What is the value of the unknown {unknown}?
A: Let's think step by step. It takes 720 / 9 = 80 minutes. Without the hour these are 80 - 60 = 20 minutes. The value of {unknown} is 20.

Question: {question}
A: Let's think step by step."""
)

ANSWER_IS = "The answer is"
VALUE_IS = "The value of {} is"
NEXT_EXAMPLE = "\nQuestion:"
"""Where a model that goes on writing examples is stopped."""

Dataset = Literal["gsm8k", "math"]
Type = Literal["AnsAug", "Rephrased", "SV", "FOBAR"]
TYPES: tuple[Type, ...] = ("AnsAug", "Rephrased", "SV", "FOBAR")
MIX = {"AnsAug": 2, "Rephrased": 2, "SV": 1, "FOBAR": 1}

NUMBER = re.compile(r"(?P<before>\$?)(?P<value>-?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:/\d+)?)(?P<after>[%$.,;:!?]*)")
WORD = re.compile(r"(?P<before>)(?P<value>[A-Za-z]+)(?P<after>[.,;:!?]*)")
NUMBER_WORDS = {
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16", "half": "1/2", "fifth": "5 1/5",
}  # fmt: skip


class MathQuestion(Row):
    question: str
    answer: str = ""
    answer_detail: str = ""
    """A worked solution; read only where `answer` is empty."""


class MetaMathItem(Instruction):
    """A query and a verified solution."""

    type: Type
    original_question: str
    answer: str
    """What the solution arrives at: the original answer, or (SV, FOBAR) the masked number as the question has it."""


class Masked(NamedTuple):
    """A question with one of its numbers replaced by the unknown."""

    question: str
    number: str


def wording(item: MetaMathItem) -> str:
    return f"{item.instruction}\n{item.output}"


@recipe("metamath", unique=wording, seeds="math_questions.jsonl")
async def metamath(
    row: MathQuestion,
    generator: Chat,
    run: Run,
    *,
    dataset: Dataset = "gsm8k",
    mix: dict[str, int] = MIX,
    ans_aug_samples: Annotated[int, Meta(ge=1)] = 2,
    rephrase_samples: Annotated[int, Meta(ge=1)] = 2,
    sv_samples: Annotated[int, Meta(ge=1)] = 2,
    backward_samples: Annotated[int, Meta(ge=1)] = 2,
    temperature: float = 0.7,
    max_tokens_reply: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[MetaMathItem]:
    """Bootstrap a mathematics question with a known answer into four types of verified questions and solutions.

    AnsAug: further solutions. Rephrased: the question in other words, solved. FOBAR: one of its numbers masked, the
    answer given, the number asked for. SV: likewise, with the answer told in a statement. A solution is kept if it
    arrives at the original answer, or at the masked number. (Yu et al. 2024, arXiv:2309.12284, section 3, and the
    repository meta-math/MetaMath; model: gpt-3.5-turbo.)

    A question gives each type no more than `mix` says; masked numbers are tried in random order until that is there.
    Where a type has fewer verified solutions its share of the whole is smaller: nothing is made up for it. The eight
    examples of each prompt are word problems; for harder ones bring your own with --prompt.

    Args:
        dataset: whose conventions hold. gsm8k: the unknown is x, number words are masked, too, the answer is the last
            number after its cue. math: the unknown is X, an answer may also be boxed or the last number of all.
        mix: rows of each type that a question gives at most. The proportions are those of the paper's GSM8K part
            (80, 80, 40 and 40 thousand; MATH: 75, 50, 15, 15), not confirmed.
        ans_aug_samples: solutions of the question. The released scripts take 2, as for the next three; the code's
            default is 10.
        rephrase_samples: rephrased questions, each solved once. The code's default is 40.
        sv_samples: statements for each masked number. The code's default is 40.
        backward_samples: solutions for each SV and each FOBAR question. The code's default is 20.
        temperature: of all calls.
        max_tokens_reply: of all calls. Not confirmed.

    Rejects: `wrong_answer` (details: answer, wanted), `no_answer`, `empty`, `truncated`, `not_rephrased` (the question
        itself), `unknown_lost` (a statement without the unknown that it should hold), `duplicate`, `over_mix` (more
        than `mix` wants), all with type; `no_number` (the question has none to mask), `unknown_taken` (it holds an x of its
        own: no backward question), `no_gold` (it has no answer), `no_question`.
    """
    gold = gold_answer(row)
    if not row.question.strip():
        run.reject(row, "no_question")
        return
    if not gold:
        run.reject(row, "no_gold")
        return
    unknown = "x" if dataset == "gsm8k" else "X"

    async def ask(prompt: Prompt, n: int, **values: str) -> list[Reply]:
        return await generator.chat(
            [system(SYSTEM()), user(prompt(unknown=unknown, **values))],
            n=n,
            temperature=temperature,
            max_tokens=max_tokens_reply,
            stop=[NEXT_EXAMPLE],
        )

    def usable(type: Type, replies: list[Reply], read: Callable[[str], str]) -> list[str]:
        """What `read` makes of the replies, each once."""
        texts: dict[str, None] = {}
        for reply in replies:
            try:
                text = read(complete_reply(reply))
                if text in texts:
                    raise Bad("duplicate")
                texts[text] = None
            except Bad as bad:
                run.reject(reply, bad.reason, type=type, **bad.details)
        return list(texts)

    async def solve(type: Type, prompt: Prompt, query: str, cue: str, wanted: str, n: int) -> list[MetaMathItem]:
        def read(text: str) -> str:
            found = final(text, cue, dataset)
            if not any(same_answer(found, value) for value in values(wanted)):
                raise Bad("wrong_answer", answer=found, wanted=wanted)
            return text

        solutions = usable(type, await ask(prompt, n, question=query), read)
        return [
            MetaMathItem(instruction=query, output=text, type=type, original_question=row.question, answer=wanted)
            for text in solutions
        ]

    async def ans_aug() -> list[MetaMathItem]:
        return await solve("AnsAug", SOLVE, row.question, ANSWER_IS, gold, ans_aug_samples)

    async def rephrased() -> list[MetaMathItem]:
        def read(text: str) -> str:
            text = bare(text, "Rephrased question:")
            if text.split() == row.question.split():
                raise Bad("not_rephrased")
            return text

        async def answered(question: str) -> list[MetaMathItem]:
            return await solve("Rephrased", SOLVE, question, ANSWER_IS, gold, 1)

        questions = usable("Rephrased", await ask(REPHRASE, rephrase_samples, question=row.question), read)
        return [item for made in await run.map(answered, questions) for item in made]

    async def backward(type: Type, query: str, number: str) -> list[MetaMathItem]:
        cue = VALUE_IS.format(unknown)
        return await solve(type, SOLVE_BACKWARD, query, cue, number, backward_samples)

    async def fobar(masked: Masked) -> list[MetaMathItem]:
        query = FOBAR(question=masked.question, answer=gold, unknown=unknown)
        return await backward("FOBAR", query, masked.number)

    async def self_verification(masked: Masked) -> list[MetaMathItem]:
        rest, clause = last_clause(masked.question)

        def read(text: str) -> str:
            text = bare(text, "Statement:")
            if holds(clause, unknown) and not holds(text, unknown):
                raise Bad("unknown_lost")
            return SELF_VERIFICATION(rest=rest, statement=text, unknown=unknown).strip()

        async def answered(query: str) -> list[MetaMathItem]:
            return await backward("SV", query, masked.number)

        queries = usable("SV", await ask(STATE, sv_samples, question=clause, answer=gold), read)
        return [item for made in await run.map(answered, queries) for item in made]

    taken = holds(row.question, unknown)  # an unknown beside another x could not be told from it
    questions = [] if taken else masks(row.question, dataset, unknown)
    if not questions and (mix.get("SV") or mix.get("FOBAR")):
        run.reject(row, "unknown_taken" if taken else "no_number")
    attempts: dict[Type, Sequence[Callable[[], Coroutine[Any, Any, list[MetaMathItem]]]]] = {
        "AnsAug": [ans_aug],
        "Rephrased": [rephrased],
        "SV": [partial(self_verification, masked) for masked in questions],
        "FOBAR": [partial(fobar, masked) for masked in questions],
    }

    async def enough(type: Type) -> list[MetaMathItem]:
        """As many items as the mix wants, if there are."""
        wanted = mix.get(type, 0)
        made: list[MetaMathItem] = []
        for attempt in run.rng("order").sample(attempts[type], len(attempts[type])):
            if len(made) < wanted:
                made += (await run.gather(attempt()))[0]
        chosen = run.rng("mix").sample(range(len(made)), min(wanted, len(made)))
        for number, item in enumerate(made):
            if number not in chosen:
                run.reject(item, "over_mix", type=type, made=len(made), wanted=wanted)
        return [made[number] for number in sorted(chosen)]

    for items in await run.map(enough, TYPES):
        for item in items:
            yield item


@metamath.check
def the_mix_names_types(mix: dict[str, int]) -> None:
    for name, count in mix.items():
        if name not in TYPES:
            raise BadInput(f"metamath: `mix` has no type {name!r}: {nearest(name, TYPES)}")
        if count < 0:
            raise BadInput(f"metamath: `mix` wants {count} rows of {name}; give 0 or more")


def gold_answer(row: MathQuestion) -> str:
    """The answer as a number without useless zeros where it is one; for MATH what is in the last box. "" for none."""
    text = row.answer or final_answer(row.answer_detail, (ANSWER_IS, "####")) or ""
    text = (last_boxed(text) or text).strip()
    if re.fullmatch(r"-?[\d,]*\.\d+", text):
        return text.rstrip("0").rstrip(".")
    return text


def masks(question: str, dataset: Dataset, unknown: str) -> list[Masked]:
    """The question once for each number in it, that number replaced by the unknown. No model is asked."""
    words = re.split(r"(\s)", question)
    found = []
    for at, word in enumerate(words):
        match = NUMBER.fullmatch(word)
        if not match and dataset == "gsm8k" and (match := WORD.fullmatch(word)):
            match = match if match["value"].lower() in NUMBER_WORDS else None
        if match:
            changed = f"{match['before']}{unknown}{match['after']}"
            found.append(Masked("".join([*words[:at], changed, *words[at + 1 :]]), match["value"]))
    return found


def values(number: str) -> list[str]:
    """What a number may be given as: itself, or for a word the figures that it can stand for."""
    return NUMBER_WORDS[number.lower()].split() if number.lower() in NUMBER_WORDS else [number]


def last_clause(question: str) -> tuple[str, str]:
    """What stands before the last clause, and the clause: all after the last comma or full stop."""
    *_, end = [0, *(match.end() for match in re.finditer(r"[.,]\s+", question.rstrip()))]
    return question[:end].rstrip(), question[end:].strip()


def bare(text: str, label: str) -> str:
    """A reply without the label of the examples, and without what a chat model says around it."""
    text = re.sub(rf"^[*_]*{re.escape(label)}[*_]*\s*", "", strip_framing(text), flags=re.IGNORECASE)
    if not text:
        raise Bad("empty")
    return text


def holds(text: str, unknown: str) -> bool:
    return re.search(rf"\b{unknown}\b", text) is not None


def final(text: str, cue: str, dataset: Dataset) -> str:
    """The answer after its cue: for GSM8K the last number there, and no answer without a cue."""
    if dataset == "gsm8k" and cue.lower() not in text.lower():
        raise Bad("no_answer")
    answer = final_answer(text, (cue,), last_number=dataset == "math")
    if answer and dataset == "gsm8k":
        answer = final_answer(answer, (), last_number=True)
    if not answer:
        raise Bad("no_answer")
    return answer
