"""Selective Reflection-Tuning (Li et al. 2024): a teacher reworks a pair, and the student to be trained selects.

Instruction-following difficulty (IFD) is how little an instruction helps the student to expect its answer; reversed
IFD (r-IFD) how little the answer helps it to expect the instruction. The arithmetic stands in `ops/loss.py`.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from gristmill import Chat, Instruction, Run, Score, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.loss import perplexity_ratio
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import approx_tokens, chunks

REFLECT_INSTRUCTION = Prompt(
    """You review training examples for an AI assistant. Here is one.

[Instruction]
{instruction}

[Answer]
{answer}

1. Why is the instruction a weak one? Go through five points: how complex its topic is, how much detail it calls for, how much one has to know, how ambiguous it is, and whether it takes logical reasoning or the solving of a problem.
2. Why is the answer a weak one? Go through its helpfulness, relevance, accuracy and level of detail.
3. How did the weak instruction lead to the weak answer?
4. With all this in mind write another instruction. It is related to the first but harder, and complete in itself: whoever reads it has nothing else to look at. Put it between the marks [New Instruction] and [End].
5. Answer it as fully as you can, between the marks [New Answer] and [End]."""
)

REFLECT_RESPONSE = Prompt(
    """You review answers of an AI assistant. Here is an instruction with its answer.

[Instruction]
{instruction}

[Answer]
{answer}

First explain in what way the answer falls short: in its helpfulness, its relevance, its accuracy and its level of detail. Then write a better answer to the same instruction, between the marks [Better Answer] and [End]."""
)

STUDENT = Prompt("Instruction:\n{instruction}\n\nResponse:\n")
"""How the student reads an instruction. Put the format that it will be trained with in its place."""
STUDENT_REVERSED = Prompt(
    "Response:\n{answer}\n\nWhich instruction was this the response to? Guess it.\n\nInstruction:\n"
)


class ReflectedInstruction(Instruction, kw_only=True):
    """A pair that the student selected."""

    source: Literal["QA", "A", "Q", "original"]
    """What the teacher renewed: both, and then the answer once more (QA); the answer (A). Q and original are pairs whose
    answer reflection did not improve."""
    ifd: float = 0.0
    r_ifd: float = 0.0


@recipe("selective-reflection-tuning", seeds="instructions.jsonl")
async def selective_reflection_tuning(
    row: Instruction,
    teacher: Chat,
    student: Score,
    run: Run,
    *,
    temperature: float = 0.0,
    max_new_tokens: Annotated[int, Meta(ge=1)] = 2048,
    max_length: Annotated[int, Meta(ge=1)] = 2048,
    below: float = 1.0,
    emit_unimproved: bool = False,
) -> AsyncIterator[ReflectedInstruction]:
    """Let a teacher reflect on an instruction and its answer; keep what is harder and fits better for the student.

    The teacher writes a new, harder pair (Q), and better answers to the old instruction (A) and to the new one (QA).
    The student then chooses the instruction with the higher IFD = ppl(answer | instruction) / ppl(answer), and on that
    side the reflected answer if its r-IFD = ppl(instruction | answer) / ppl(instruction) is lower than that of the
    answer before it. Both must be below 1 in what is chosen. At most one row a pair. (Li et al. 2024, "Selective
    Reflection-Tuning", arXiv:2402.10110; teacher: gpt-3.5-turbo, student: Llama-2-7B. The ratios are as the paper
    defines them; its code for them was not compared.)

    What the teacher writes does not depend on the student: with another student, a rerun asks the teacher nothing. An
    input belongs to its instruction, in prompts and in losses. ppl(y) of a text alone is asked for with an empty
    prompt; where its first token has no probability there, it counts on neither side of the ratio.

    Args:
        teacher: reflects. Where its reply on one side cannot be read, the other side goes on.
        student: the model that will be trained.
        temperature: of the teacher.
        max_new_tokens: of a reply of the teacher.
        max_length: tokens of prompt and text that the student scores, estimated; what is longer is cut at its end.
        below: what IFD and r-IFD must be below.
        emit_unimproved: also rows whose answer reflection did not improve; the released code drops them.

    Rejects: `no_instruction` and `no_answer` (of a seed); `no_markers` (a reply of the teacher lacks a part between its
        marks; details: part), `empty` (nothing stands between them; details: part); versions of the pair `too_long`
        (the prompt alone has max_length tokens; details: tokens), `no_loss` (the student gives no probabilities;
        details: tokens), `not_improved` (details: unreflected, its r-IFD), `high_ifd`, `high_r_ifd`.
    """
    if not (row.instruction.strip() and row.output.strip()):
        run.reject(row, "no_answer" if row.instruction.strip() else "no_instruction")
        return

    async def reflect(question: str, *parts: str) -> list[str] | None:
        reply = await teacher.chat(question, temperature=temperature, max_tokens=max_new_tokens)
        try:
            return [between_marks(reply.text, part) for part in parts]
        except Bad as bad:
            run.reject(reply, bad.reason, **bad.details)
            return None

    async def better(pair: ReflectedInstruction, source: Literal["QA", "A"]) -> ReflectedInstruction | None:
        said = await reflect(REFLECT_RESPONSE(instruction=task(pair), answer=pair.output), "Better Answer")
        return replace(pair, source=source, output=said[0]) if said else None

    async def harder(pair: ReflectedInstruction) -> list[ReflectedInstruction | None]:
        question = REFLECT_INSTRUCTION(instruction=task(pair), answer=pair.output)
        if not (said := await reflect(question, "New Instruction", "New Answer")):
            return []
        new = ReflectedInstruction(instruction=said[0], output=said[1], source="Q")
        return [new, await better(new, "QA")]

    async def ratio(prompt: str, text: str) -> float:
        text = cut(text, prompt, max_length)
        return perplexity_ratio(*await run.gather(student.score(prompt, text), student.score("", text)))

    async def scored(pair: ReflectedInstruction) -> ReflectedInstruction | None:
        x, y = task(pair), pair.output
        try:
            ifd = await ratio(STUDENT(instruction=x), y)
            r_ifd = await ratio(STUDENT_REVERSED(answer=y), x)
        except Bad as bad:
            run.reject(pair, bad.reason, **bad.details)
            return None
        return replace(pair, ifd=ifd, r_ifd=r_ifd)

    original = ReflectedInstruction(instruction=row.instruction, input=row.input, output=row.output, source="original")
    answer, new = await run.gather(better(original, "A"), harder(original))
    versions = await run.map(scored, [version for version in (original, answer, *new) if version])
    found = {version.source: version for version in versions if version}
    if "original" not in found:
        return
    on_new_side = "Q" in found and found["Q"].ifd > found["original"].ifd
    unreflected, reflected = found["Q" if on_new_side else "original"], found.get("QA" if on_new_side else "A")
    chosen = unreflected
    if reflected and reflected.r_ifd < unreflected.r_ifd:
        chosen = reflected
    elif not emit_unimproved:
        run.reject(reflected or unreflected, "not_improved", unreflected=unreflected.r_ifd)
        return
    if chosen.ifd >= below:
        run.reject(chosen, "high_ifd")
    elif chosen.r_ifd >= below:
        run.reject(chosen, "high_r_ifd")
    else:
        yield replace(chosen, lineage=None)  # made by all calls, also by those of what it was compared with


def task(pair: Instruction) -> str:
    return f"{pair.instruction}\n\n{pair.input}".strip()


def between_marks(reply: str, part: str) -> str:
    """What stands last between [part] and the [End] after it, with no other mark inside."""
    inside = r"((?:(?!\[(?:New |Better |End\])).)*?)"
    found = re.findall(rf"\[{part}\][*:]*{inside}(?:\n\*\*)?\[End\]", reply, re.DOTALL | re.IGNORECASE)
    if not found:
        raise Bad("no_markers", part=part)
    text: str = found[-1].strip()
    if not text:
        raise Bad("empty", part=part)
    return text


def cut(text: str, prompt: str, max_length: int) -> str:
    room = max_length - approx_tokens(prompt)
    if room < 1:
        raise Bad("too_long", tokens=max_length - room)
    return chunks(text, room)[0]
