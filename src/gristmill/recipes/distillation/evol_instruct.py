"""Evol-Instruct (Xu et al. 2023, WizardLM, section 3): a model rewrites instructions into harder and rarer ones."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from msgspec import Meta

from gristmill import Chat, Instruction, Reply, Row, Run, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.prompts import Prompt

IN_DEPTH = Prompt(
    """Your role: a rewriter of prompts. Below stands #The Given Prompt#; write #Rewritten Prompt#, a version of it that even the strongest AI assistants find a little harder to answer well. A person who reads it must still know what is meant, and must be able to give an answer.

How to make it harder: {method}

Rules:
- Keep any table, any code and any other material to work on. Nothing of the input may get lost.
- Be brief. #Rewritten Prompt# has {added_words} words more than #The Given Prompt#, no more than that.
- Write it as its author would, who knows of no other version: without the marks '#The Given Prompt#' and '#Rewritten Prompt#' and without the words 'given prompt' and 'rewritten prompt'.

#The Given Prompt#:
{prompt}

#Rewritten Prompt#:
"""
)

METHODS = {
    "add_constraints": Prompt("a good answer has to meet one further condition, which you make up and state."),
    "deepening": Prompt("where it wants to know something, let it dig deeper and look at more sides of the matter."),
    "concretizing": Prompt("wherever it speaks in general terms, put something specific in their place."),
    "increase_reasoning": Prompt(
        "if a thought or two would do to answer it, change it so that it takes several steps of reasoning, and let it "
        "ask for these steps in so many words."
    ),
    "complicate_input": Prompt(
        """give it data to work on: #Rewritten Prompt# must contain {data_format} as its input. The data does not count as added words. Two demonstrations:

#The Given Prompt#:
Which product sold best?

#Rewritten Prompt#:
Which product earned the most in these orders, and which sold in the most cities?
[{"product": "lamp", "price": 30, "city": "Oslo"}, {"product": "rug", "price": 80, "city": "Rome"}, {"product": "lamp", "price": 30, "city": "Bern"}]

#The Given Prompt#:
Explain why my program stops.

#Rewritten Prompt#:
Explain why this program stops before it prints the last name, and correct it:
for i in range(len(names) - 1): print(names[i])

End of the demonstrations."""
    ),
}
"""The five in-depth operations."""

IN_BREADTH = Prompt(
    """Your role: a creator of prompts. Read #The Given Prompt#, then leave it behind: #Created Prompt# asks for something else altogether, from the same field, that hardly anybody would think of asking (far out in the long tail). It is about as long and about as difficult, and makes sense to a person, who could answer it.
It stands on its own: without the marks '#The Given Prompt#' and '#Created Prompt#' and without the words 'given prompt' and 'created prompt'.

#The Given Prompt#:
{prompt}

#Created Prompt#:
"""
)

EQUAL = Prompt(
    """Would the second of these instructions to an AI assistant teach it anything that the first does not? It would not if whoever gives the one wants just what the other wants: neither sets a condition or makes a demand that the other lacks, and neither goes deeper into its subject or covers more of it. Then they are Equal, however they are worded. Otherwise they are Not Equal.

The first instruction: {first}

The second instruction: {second}

Equal or Not Equal? Say only which."""
)

OPERATIONS = (*METHODS, "in_breadth")
DATA_FORMATS = ("XML data", "an SQL database", "Python code", "an HTML page", "a shell command", "JSON data")

COPIED = re.compile(r"#?(the )?(given|rewritten|created) prompt#?", re.IGNORECASE)
STOP_WORDS = """
    a about above after again against all am an and any are as at be because been before being below between both
    but by can cannot could did do does doing don't down during each few for from further had has have having he her
    here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not now of
    off on once only or other our ours ourselves out over own same she should so some such than that the their theirs
    them themselves then there these they this those through to too under until up very was we were what when where
    which while who whom why will with would you your yours yourself yourselves
"""


class Seed(Row):
    """What is evolved. An answer that it may have is not read."""

    instruction: str
    input: str = ""


class EvolvedInstruction(Instruction, kw_only=True):
    """A harder or rarer instruction and its answer."""

    parent: str
    """Id of what it was evolved from: the seed, or the row of an earlier round."""
    operation: str
    round: int


@recipe("evol-instruct", seeds="instructions.jsonl")
async def evol_instruct(
    seed: Seed,
    generator: Chat,
    run: Run,
    judge: Chat | None = None,
    *,
    rounds: Annotated[int, Meta(ge=1)] = 4,
    added_words: str = "10 to 20",
    temperature: float = 1.0,
    top_p: float = 0.9,
    max_tokens_per_call: Annotated[int, Meta(ge=1)] = 2048,
    frequency_penalty: float = 0.0,
    sorry_max_words: Annotated[int, Meta(ge=0)] = 80,
) -> AsyncIterator[EvolvedInstruction]:
    """Evolve an instruction into harder and rarer ones, round by round, and answer each.

    A round draws one of six operations with equal odds: five that deepen the instruction and one that makes a new,
    rarer one of its kind. An evolution that fails is put aside and its parent evolves again in the next round; one
    that succeeds takes its parent's place. (Xu et al. 2023, "WizardLM", arXiv:2304.12244, section 3. The public code
    has neither `complicate_input` nor the elimination step; both are the paper's. Which of six data formats
    `complicate_input` asks for is drawn, too; evolutions and answers that were cut are eliminated here besides.)

    What does not need the answer is tested before it is asked for: an evolution that has failed by then costs none.
    Rows leave in the order of their seeds; merging them with the seeds and shuffling belongs to the export.

    Args:
        judge: tells whether child and parent are equal. The generator itself, as in the paper, unless bound.
        rounds: evolutions that are tried for each seed.
        added_words: how much longer a rewriting may get, as the prompt says it.
        temperature: of the answers. What the evolutions took is not confirmed; here they take the same, as they do of
            the three below. The judge is asked at 0.
        top_p: of both.
        max_tokens_per_call: of both.
        frequency_penalty: of both.
        sorry_max_words: an answer with "sorry" in it and fewer words than this is taken for a refusal.

    Rejects: `equal` (the judge found no information gained), `unread_verdict` (it said neither), `sorry` (details:
        words), `no_content` (an answer of punctuation and stop words only), `copies_prompt` (details: words),
        `empty` and `truncated` evolutions; answers that were cut are `truncated` too (details: answer). All with
        operation and round.
    """
    sampling: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens_per_call,
        "frequency_penalty": frequency_penalty,
    }
    judge = judge or generator
    parent: Row = seed
    given = f"{seed.instruction}\n{seed.input}".strip()
    for number in range(1, rounds + 1):
        operation = run.draw("operation", OPERATIONS)
        if operation == "in_breadth":
            question = IN_BREADTH(prompt=given)
        else:
            data_format = run.draw("data_format", DATA_FORMATS) if operation == "complicate_input" else ""
            method = METHODS[operation](data_format=data_format)
            question = IN_DEPTH(method=method, added_words=added_words, prompt=given)
        evolved = await generator.chat(question, **sampling)
        try:
            task = complete_reply(evolved)
            if copied := COPIED.search(task):
                raise Bad("copies_prompt", words=copied[0])
            verdict = await judge.chat(EQUAL(first=given, second=task), temperature=0.0)
            if says_equal(verdict.text):
                raise Bad("equal")
            answer = await generator.chat(task, **sampling)
            check_answer(answer, sorry_max_words)
        except Bad as bad:
            run.reject(evolved, bad.reason, operation=operation, round=number, **bad.details)
            continue
        child = EvolvedInstruction(
            instruction=task, output=answer.text.strip(), parent=parent.id, operation=operation, round=number
        )
        run.link(child, parent)
        yield child
        parent, given = child, task


def says_equal(verdict: str) -> bool:
    if not re.search(r"equal\b", verdict, re.IGNORECASE):
        raise Bad("unread_verdict", verdict=verdict[-300:])
    return not re.search(r"(\bnot\b|n't)[^.\n]{0,20}\bequal\b|\bunequal\b", verdict, re.IGNORECASE)


def check_answer(reply: Reply, sorry_max_words: int) -> None:
    """Raise Bad for an answer that shows that the evolved instruction cannot be answered."""
    answer = reply.text
    words = len(answer.split())
    if "sorry" in answer.lower() and words < sorry_max_words:
        raise Bad("sorry", words=words, answer=answer)
    stop_words = STOP_WORDS.split()
    if all(word in stop_words for word in re.findall(r"[^\W_]+(?:'[^\W_]+)?", answer.lower())):
        raise Bad("no_content", answer=answer)
    if reply.truncated:
        raise Bad("truncated", answer=answer)
