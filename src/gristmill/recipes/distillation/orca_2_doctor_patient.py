"""Orca 2's conversations of doctors and patients (Mitra et al. 2023, section 4): written by a model, then summarised twice."""

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Chat, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import strip_framing
from gristmill.recipes.distillation.orca import answered
from gristmill.recipes.distillation.orca_2 import CautiousAnswer, erased

CONVERSATION = Prompt(
    """Write the conversation of a doctor and a patient, {setting}. The patient is {patient} and comes because of {complaint}.

Let it go back and forth at least ten times, as people talk: with findings, numbers, doses and dates, things that are asked and not answered, and something that the patient leaves open. Each line begins with "Doctor:" or "Patient:". Write the conversation alone, and begin with "Doctor:"."""
)
SUMMARY = {
    "plain": Prompt(
        """{conversation}

Write a summary of this conversation for the patient's record."""
    ),
    "careful": Prompt(
        """{conversation}

Write a summary of this conversation for the patient's record. Keep to what was said: invent nothing, no finding, no dose, no date and no diagnosis that does not occur in it. Leave out nothing that matters for treatment. What was asked and not answered is to be called open."""
    ),
}
"""Without and with instructions on inventing nothing."""

COMPLAINTS = (
    *("headaches that wake them at night", "a cough that has lasted six weeks", "pain in the left knee on stairs"),
    *("dizziness on getting up", "a rash on both forearms", "heartburn after meals", "poor sleep since a new job"),
    *("a sore throat and fever", "a burn on the hand from a stove", "tiredness in spite of enough sleep"),
    *("a swollen ankle after a fall", "numb fingers in the morning", "a cut that does not heal", "blurred vision at dusk"),
    *("a racing heart before meetings", "stomach cramps after milk", "an ear that feels blocked", "back pain after a move"),
    *("weight loss that they cannot explain", "hay fever that tablets do not help", "blood pressure that will not come down"),
    *("a tick bite with a red ring", "a tooth that hurts in the cold", "the refill of a prescription", "a tremor of the right hand"),
)  # fmt: skip
PATIENTS = (
    *("a retired teacher of 71", "a student of 19", "a baker of 45 who starts at three in the morning", "a cyclist of 33"),
    *("a mother of two, 38", "a lorry driver of 52", "a singer of 27", "a gardener of 60 with diabetes"),
    *("a nurse of 41 on night shifts", "a boy of 12 with his father", "a programmer of 29", "a farmer of 66 who dislikes pills"),
)  # fmt: skip
SETTINGS = (
    *("in a village surgery", "by video call", "in a crowded emergency room", "at the bedside in a hospital"),
    *("at a check-up that was planned for months", "on the phone, with a poor line"),
)


@recipe("orca-2-doctor-patient")
async def orca_2_doctor_patient(
    teacher: Chat,
    run: Run,
    *,
    temperature: float = 0.7,
    summary_temperature: float = 0.0,
    max_tokens_conversation: Annotated[int, Meta(ge=1)] = 2048,
    max_tokens_summary: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[CautiousAnswer]:
    """Have a doctor and a patient talk, and their talk summarised: as it comes, and told to invent nothing.

    Two rows a conversation (paper: 2,000 conversations, all by GPT-4). The instruction on inventing nothing is part of
    the query, since a student is to learn to follow it; the system message is the generic one of `orca-2`. (Mitra et al.
    2023, arXiv:2311.11045, section 4. How the paper varies the conversations is not confirmed: here complaint, patient
    and setting are drawn from lists.) No medical advice: people and findings are invented.

    Args:
        temperature: of the conversations. Not confirmed.
        summary_temperature: of the summaries. Not confirmed.
        max_tokens_conversation: one that reaches it was cut, and is dropped. Not confirmed.
        max_tokens_summary: likewise.

    Rejects: conversations and summaries that are `empty`, `truncated`, `content_filter` or `refusal` (details: of), and
        conversations of `one_voice`, without a line of each.
    """
    question = CONVERSATION(
        complaint=run.draw("complaint", COMPLAINTS),
        patient=run.draw("patient", PATIENTS),
        setting=run.draw("setting", SETTINGS),
    )
    reply = await teacher.chat(question, temperature=temperature, max_tokens=max_tokens_conversation)
    try:
        conversation = strip_framing(answered(reply))
        if not all(f"{voice}:" in conversation for voice in ("Doctor", "Patient")):
            raise Bad("one_voice")
    except Bad as bad:
        run.reject(reply, bad.reason, of="conversation")
        return
    for kind, prompt in SUMMARY.items():
        query = prompt(conversation=conversation)
        reply = await teacher.chat(query, temperature=summary_temperature, max_tokens=max_tokens_summary)
        try:
            summary = answered(reply)
        except Bad as bad:
            run.reject(reply, bad.reason, of=kind)
            continue
        yield CautiousAnswer(
            messages=erased(query, summary),
            source="doctor_patient",
            cluster="summarization",
            task="doctor-patient conversation",
            strategy=kind,
            right=None,
        )
