"""phi-1's filtered code (Gunasekar et al. 2023, section 2.1): a large model judges a sample, a small one learns to tell the rest.

`phi-1-textbooks` and `phi-1-exercises` write the other two sets, `phi-1-decontaminate` cleans the exercises.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import BadInput, Chat, Document, Embed, Reply, Rows, Run, recipe
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.benchmarks import normal
from gristmill.ops.heads import forest, require
from gristmill.ops.prompts import Prompt
from gristmill.ops.vectors import embedded

JUDGE = Prompt(
    """A student wants to learn the basic concepts of programming. How much is there to learn from this Python file? Its educational value is high where it makes a concept clear and can be understood by itself: an algorithm, a piece of logic, good use of the language. It is low where the file is mostly settings, data, calls of some framework, or tangled beyond what a beginner can follow.

```python
{code}
```

Say in one or two sentences why. Then end with the line
Educational value: high
or the line
Educational value: low"""
)
VERDICT = re.compile(r"\b(high|low)\b", re.IGNORECASE)
CUED = re.compile(r"educational value\W{1,6}(high|low)\b", re.IGNORECASE)


class CodeFile(Document, kw_only=True):
    """A file of code to pre-train on."""

    quality: float
    """How sure the classifier is that its educational value is high, 0 to 1."""
    judged: str | None = None
    """What the judge said, "high" or "low", of those that it saw."""


def wording(row: CodeFile) -> str:
    return normal(row.text)


@recipe("phi-1", fixed=True, unique=wording, seeds="python_functions.jsonl")
async def phi_1(
    files: Rows[Document],
    judge: Chat,
    embedder: Embed,
    run: Run,
    *,
    judge_sample: Annotated[int, Meta(ge=1)] = 100_000,
    trees: Annotated[int, Meta(ge=1)] = 100,
    threshold: Annotated[float, Meta(gt=0, le=1)] = 0.5,
    judge_characters: Annotated[int, Meta(ge=1)] = 8000,
    temperature: float = 0.0,
    max_tokens_verdict: Annotated[int, Meta(ge=1)] = 512,
) -> AsyncIterator[CodeFile]:
    """Keep the code files that teach something, by a classifier that learned from a large model's verdicts on a sample.

    The judge says of a random sample whether the educational value for a beginner is high or low. A random forest
    learns that from embeddings and speaks on all files, those of the sample too; only it decides. (Gunasekar et al.
    2023, "Textbooks Are All You Need", arXiv:2306.11644, section 2.1. Paper: files of The Stack and StackOverflow,
    deduplicated, about 35 million (not confirmed), become 6 billion tokens. The judge's prompt is not published.) Copies
    go, also where only capitals or white space differ; near ones are dropped by the step `near-duplicates` before this one.

    phi-1-base is pre-trained on these files and `phi-1-textbooks` together, then fine-tuned on `phi-1-exercises`.

    Args:
        files: with the column `text`; of The Stack: --map content=text.
        judge: GPT-4 in the paper.
        embedder: places files; in the paper the last hidden state of CodeGen.
        judge_sample: files that the judge sees, drawn at random; all where there are fewer.
        trees: of the forest. Not from the paper.
        threshold: a file is kept whose `quality` is at least this. Not from the paper.
        judge_characters: of a file, that the judge sees. Not from the paper.
        temperature: of the judge. Not from the paper.
        max_tokens_verdict: of its answer. Not from the paper.

    Rejects: `low_value` (details: quality), `empty` files, `duplicate`; of the judge's answers `no_verdict` (neither high
        nor low, or both: nothing is learned from it), `empty` and `truncated`.
    """
    there = []
    for file in files:
        if file.text.strip():
            there.append(file)
        else:
            run.reject(file, "empty")
    if not there:
        return

    async def verdict(number: int) -> tuple[int, str | None]:
        code = there[number].text[:judge_characters]

        async def ask() -> Reply:
            return await judge.chat(JUDGE(code=code), temperature=temperature, max_tokens=max_tokens_verdict)

        return number, await attempt(run, ask, high_or_low)

    sample = sorted(run.rng("sample").sample(range(len(there)), min(judge_sample, len(there))))
    said = dict(await run.map(verdict, sample, keep_going=True))
    judged = {number: value for number, value in said.items() if value}
    if not judged:
        raise BadInput(
            "phi-1: none of the judge's answers says whether the value is high or low, so there is nothing to learn "
            "from. Look at them with `gristmill rows --rejects`, and name a model that can judge: --model judge=..."
        )
    vectors = await embedded(run, embedder, [file.text for file in there])
    shares, table = await forest(run, vectors, list(judged), list(judged.values()), "high", trees=trees, seed=run.seed)
    for number, (file, share) in enumerate(zip(there, shares, strict=True)):
        row = CodeFile(text=file.text, quality=round(share, 6), judged=judged.get(number))
        run.link(row, file, table)
        if row.quality >= threshold:
            yield row
        else:
            run.reject(row, "low_value", quality=row.quality)


@phi_1.check
def a_classifier_can_be_trained(trees: int) -> None:
    require()


def high_or_low(reply: Reply) -> str:
    """The last verdict in the form that was asked for; without one, the only one of the two words that is said; raises
    Bad."""
    text = complete_reply(reply)
    found = CUED.findall(text)[-1:] or list({word.lower() for word in VERDICT.findall(text)})
    if len(found) != 1:
        raise Bad("no_verdict")
    return str(found[0]).lower()
