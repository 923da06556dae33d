"""Log-probabilities: those of the backend against cross-entropy by hand, and choices of llama.cpp against torch.

python benchmarks/logprobs.py
"""

from __future__ import annotations

import asyncio
import sys

from figures import figure, machine

from gristmill.models.protocol import Question
from gristmill.models.spec import parse

MODEL = "smollm2-135m-instruct"
TEXTS = [
    ("The capital of France is", " Paris, a city on the Seine."),
    ("def add(a, b):\n", "    return a + b\n"),
    ("", "Once upon a time there was a small 🦙 in the Andes."),
    ("<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\n", "Blue."),
    ("Die Hauptstadt von ", "Österreich ist Wien."),
]
CHOICES = [
    ("The capital of France is", [" Paris", " London", " Zanzibar"]),
    ("The capital of Japan is", [" Tokyo", " Berlin", " green"]),
    ("Once upon a", [" time", " purple", " seventeen times"]),
    ("The opposite of hot is", [" cold", " window", " Thursday"]),
    ("Two plus two equals", [" four", " banana"]),
    ("Water is made of hydrogen and", [" oxygen", " carpets", " tea"]),
    ("Roses are red, violets are", [" blue", " running", " Tuesday"]),
    ("The first president of the United States was", [" George", " Microsoft", " soup"]),
    ("Question: Is fire cold? Answer:", [" No", " Purple", " Elephants"]),
    ("A dog says", [" woof", " spreadsheet"]),
    ("In winter it often", [" snows", " keyboards"]),
    ("He opened the door and walked", [" in", " banana", " quantum"]),
]
CLEAR = 2.0
"""A gap between two options is clear where torch finds one e ** CLEAR times as likely as the other."""


def by_hand(backend, prompt: str, continuation: str) -> float:
    """The mean loss of the continuation's tokens as torch's own cross-entropy has it, from the whole text's logits."""
    import torch

    found = backend._tokenizer(prompt + continuation, return_offsets_mapping=True)
    ids = torch.tensor([found["input_ids"]])
    labels = ids.clone()
    for place, (_, end) in enumerate(found["offset_mapping"]):
        if end <= len(prompt):
            labels[0, place] = -100
    with torch.no_grad():
        return float(backend._net(input_ids=ids, labels=labels).loss)


async def main() -> int:
    torch_model, server = parse(f"transformers:{MODEL},device=cpu").open(), parse(f"embedded:{MODEL}").open()
    await asyncio.gather(torch_model.start(), server.start())
    worst = 0.0
    for prompt, continuation in TEXTS:
        answer = await torch_model.answer(Question("score", prompt=prompt, continuation=continuation), 1)
        counted = [token.logprob for token in answer.samples[0]][0 if prompt else 1 :]
        worst = max(worst, abs(-sum(counted) / len(counted) - by_hand(torch_model, prompt, continuation)))
    good = worst <= 1e-4
    figure(
        f"score: worst difference from the loss by hand, {len(TEXTS)} texts",
        f"{worst:.1e}",
        aim="at most 1e-4",
        met=good,
    )
    agreed = pairs = 0
    for prompt, options in CHOICES:
        question = Question("choose", prompt=prompt, texts=options)
        [here], [there] = [(await backend.answer(question, 1)).samples for backend in (server, torch_model)]
        for a in range(len(options)):
            for b in range(len(options)):
                if there[a] > there[b] * 2.718281828**CLEAR:
                    pairs += 1
                    agreed += here[a] > here[b]
    figure(
        "choose: llama.cpp agrees with torch where the gap is clear",
        f"{agreed}/{pairs} pairs of {len(CHOICES)} prompts",
        aim="all",
        met=agreed == pairs,
    )
    await asyncio.gather(torch_model.close(), server.close())
    print(machine())
    return 0 if good and agreed == pairs else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
