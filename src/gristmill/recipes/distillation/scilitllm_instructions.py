"""SciLitIns of SciLitLLM (Li et al. 2024, section 3.2): keywords of a field's papers, drawn flatter than they occur, become
paragraphs with questions."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta

from gristmill import Chat, Document, Reply, Row, Rows, Run, recipe, system, user
from gristmill import recipes as home
from gristmill.ops.ask import Bad, attempt, complete_reply
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import STOP_WORDS

SYSTEM = Prompt(
    """You write training data for a language model that is to understand scientific literature. The task is: {task}. {rules}

Values and findings that you invent must be plausible in the field of {domain}. Reply with nothing but a JSON object with two fields, both strings: "text", one paragraph as from a paper, with the question at its end; and "answer".

Examples:
{examples}"""
)
USER = Prompt(
    """Field: {domain}
{given}

Write one paragraph around this that holds all that is needed to answer the question, and put the question at its end."""
)
JUDGE = Prompt(
    """Rate this item of training data for a language model that reads scientific literature.

Text with question:
{text}

Answer:
{answer}

Explain your view first. Then rate clarity, complexity, correctness, usefulness and adaptability, each from 1 to 5, add them up, and end with a JSON object: {form}"""
)
FORM = Prompt('{"clarity": 1, "complexity": 1, "correctness": 1, "usefulness": 1, "adaptability": 1, "total": 5}')
ASPECTS = ("clarity", "complexity", "correctness", "usefulness", "adaptability")

ELEMENTS = frozenset(
    [
        "h",
        "he",
        "li",
        "be",
        "b",
        "c",
        "n",
        "o",
        "f",
        "ne",
        "na",
        "mg",
        "al",
        "si",
        "p",
        "s",
        "cl",
        "ar",
        "k",
        "ca",
        "sc",
        "ti",
        "v",
        "cr",
        "mn",
        "fe",
        "co",
        "ni",
        "cu",
        "zn",
        "ga",
        "ge",
        "as",
        "se",
        "br",
        "kr",
        "rb",
        "sr",
        "y",
        "zr",
        "nb",
        "mo",
        "tc",
        "ru",
        "rh",
        "pd",
        "ag",
        "cd",
        "in",
        "sn",
        "sb",
        "te",
        "i",
        "xe",
        "cs",
        "ba",
        "la",
        "ce",
        "pr",
        "nd",
        "pm",
        "sm",
        "eu",
        "gd",
        "tb",
        "dy",
        "ho",
        "er",
        "tm",
        "yb",
        "lu",
        "hf",
        "ta",
        "w",
        "re",
        "os",
        "ir",
        "pt",
        "au",
        "hg",
        "tl",
        "pb",
        "bi",
        "po",
        "at",
        "rn",
        "fr",
        "ra",
        "ac",
        "th",
        "pa",
        "u",
        "np",
        "pu",
        "am",
        "cm",
        "bk",
        "cf",
        "es",
        "fm",
        "md",
        "no",
        "lr",
        "rf",
        "db",
        "sg",
        "bh",
        "hs",
        "mt",
        "ds",
        "rg",
        "cn",
        "nh",
        "fl",
        "mc",
        "lv",
        "ts",
        "og",
    ]
)


class Paper(Document):
    """The text of a paper."""

    domain: str = "science"


class Kind(Row):
    """A kind of task, and what an item of it looks like."""

    name: str
    rules: str
    examples: list[str]
    molecules: bool = False
    """A molecule is given in the place of keywords."""
    overgenerate: float = 1.5


class ScientificTask(Document, kw_only=True):
    """A paragraph that ends in a question, and the answer."""

    answer: str
    domain: str
    task: str
    keywords: list[str]
    total: int
    """Of the judge, 5 to 25."""


class Item(msgspec.Struct):
    """What a reply holds."""

    text: str
    answer: str


@recipe("scilitllm-instructions", fixed=True, seeds="papers.jsonl")
async def scilitllm_instructions(
    rows: Rows[Paper],
    generator: Chat,
    judge: Chat,
    run: Run,
    *,
    kinds: Rows[Kind] | None = None,
    per_task: Annotated[int, Meta(ge=1)] = 10,
    k_keywords: Annotated[int, Meta(ge=1)] = 20,
    keyword_temperature: Annotated[float, Meta(gt=0)] = 3.0,
    dup_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.05,
    min_total_score: Annotated[int, Meta(ge=5, le=25)] = 20,
    temperature: float = 1.0,
    max_tokens_per_item: Annotated[int, Meta(ge=1)] = 2048,
    max_tokens_per_judgement: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[ScientificTask]:
    """Write, for each field and kind of task, paragraphs with questions around keywords of the field's papers.

    Keywords are drawn with replacement by their frequency to the power 1 / temperature, so that rare ones come up. More
    items are asked for than are wanted. Of the most similar pairs one item goes: similarity is 1 minus the normalised
    Levenshtein distance of the texts, times the same of the answers. A judge's total decides last. (Li et al. 2024,
    arXiv:2408.15545, section 3.2, and its released code.)

    Args:
        rows: papers; those of one `domain` share a table of keywords.
        kinds: of tasks, with rules and examples; those of the paper unless given.
        per_task: items wanted of each field and kind. More are asked for, and all that pass are kept.
        k_keywords: in a prompt.
        keyword_temperature: flattens the distribution of keywords; 1: as they occur.
        dup_ratio: pairs taken for duplicates, the most similar ones, as a share of the items of a field and kind; half a
            pair counts as one.
        min_total_score: of the judge, the lowest that is kept.
        temperature: of the generator. Not from the paper.
        max_tokens_per_item: of an item. Not from the paper.
        max_tokens_per_judgement: of a judgement. Not from the paper.

    Rejects: `unparsable` (no JSON object with the two texts), `empty`, `truncated`, `near_duplicate` (details: similarity,
        of), `no_rating` (the judge's answer has no JSON with a total), `low_total` (details: total, ratings),
        `no_keywords` (a field whose papers hold no word that counts: it gets kinds with molecules alone).
    """
    tables: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        tables[row.domain].update(keywords(row.text))
    wanted = list(kinds if kinds is not None else home.shipped("scilit_tasks.jsonl", Kind))
    for domain, table in tables.items():
        names, weights = flattened(table, keyword_temperature)
        if not names and not all(kind.molecules for kind in wanted):
            run.reject({"domain": domain}, "no_keywords")
        for kind in wanted:
            if not names and not kind.molecules:
                continue

            async def write(
                number: int,
                kind: Kind = kind,
                domain: str = domain,
                names: Sequence[str] = names,
                weights: Sequence[float] = weights,
            ) -> ScientificTask | None:
                drawn: list[str] = []
                if kind.molecules:
                    given = f"Molecule (SMILES): {run.draw('molecule', molecules())}"
                else:
                    drawn = run.rng("keywords").choices(names, weights, k=k_keywords)
                    given = f"Keywords: {', '.join(drawn)}. Use all of them."
                examples = "\n".join(kind.examples)
                messages = [
                    system(SYSTEM(task=kind.name, rules=kind.rules, domain=domain, examples=examples)),
                    user(USER(domain=domain, given=given)),
                ]
                item = await attempt(
                    run,
                    lambda: generator.chat(messages, temperature=temperature, max_tokens=max_tokens_per_item),
                    read_item,
                )
                if item is None:
                    return None
                return ScientificTask(
                    text=item.text, answer=item.answer, domain=domain, task=kind.name, keywords=drawn, total=0
                )

            asked = math.ceil(kind.overgenerate * per_task)
            made = [item for item in await run.map(write, range(asked), keep_going=True) if item]
            made = without_duplicates(run, made, dup_ratio)

            async def rated(item: ScientificTask) -> ScientificTask | None:
                ratings = await attempt(
                    run,
                    lambda: judge.chat(
                        JUDGE(text=item.text, answer=item.answer, form=FORM()),
                        temperature=0.0,
                        max_tokens=max_tokens_per_judgement,
                    ),
                    read_ratings,
                )
                if ratings is None:
                    return None
                item.total = total = ratings.pop("total")
                if total < min_total_score:
                    run.reject(item, "low_total", total=total, ratings=ratings)
                    return None
                return item

            for item in await run.map(rated, made, keep_going=True):
                if item is not None:
                    run.link(item, *(row for row in rows if row.domain == domain))
                    yield item


def keywords(text: str) -> list[str]:
    """Words in lower case, without numbers, punctuation and stop words; of two letters only symbols of elements."""
    found = []
    for whole in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower().replace("’", "'")):
        # Before it is split: of "doesn't" and "couldn't" a "doesn" and a "couldn" would be left.
        if whole not in STOP_WORDS and whole.removesuffix("n't") not in STOP_WORDS:
            words = [word for word in whole.split("'") if word not in STOP_WORDS]
            found += [word for word in words if len(word) > 2 or whole in ELEMENTS]  # the s of "cell's" is no sulphur
    return found


def flattened(table: Counter[str], temperature: float) -> tuple[list[str], list[float]]:
    """Words and their odds, p ** (1 / temperature)."""
    total = table.total()
    return list(table), [(count / total) ** (1 / temperature) for count in table.values()]


def read_item(reply: Reply) -> Item:
    text = complete_reply(reply)
    try:
        item = msgspec.json.decode(text[text.find("{") : text.rfind("}") + 1], type=Item)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Bad("unparsable", error=str(error)) from None
    if not item.text.strip() or not item.answer.strip():
        raise Bad("empty")
    return item


def read_ratings(reply: Reply) -> dict[str, int]:
    """The five ratings and the total, where all are there."""
    found = re.findall(r"\{[^{}]*\}", complete_reply(reply))
    try:
        ratings = msgspec.json.decode(found[-1], type=dict[str, int]) if found else {}
    except msgspec.DecodeError:
        ratings = {}
    if not all(1 <= ratings.get(aspect, 0) <= 5 for aspect in ASPECTS) or not 5 <= ratings.get("total", 0) <= 25:
        raise Bad("no_rating")
    return {name: ratings[name] for name in (*ASPECTS, "total")}


def without_duplicates(run: Run, items: list[ScientificTask], ratio: float) -> list[ScientificTask]:
    """One of each group that the most similar pairs make, the first."""
    import numpy as np
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    pairs = math.ceil(int(2 * ratio * len(items)) / 2)  # the paper's share is of directed pairs
    if pairs == 0:
        return items
    alike = np.ones((len(items), len(items)))
    for texts in ([item.text for item in items], [item.answer for item in items]):
        alike *= process.cdist(texts, texts, scorer=Levenshtein.normalized_similarity, dtype=np.float64)
    first, second = np.triu_indices(len(items), 1)
    order = np.argsort(-alike[first, second], kind="stable")[:pairs]
    group = list(range(len(items)))

    def root(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for edge in order.tolist():
        one, other = sorted((root(int(first[edge])), root(int(second[edge]))))
        group[other] = one
    kept = []
    for number, item in enumerate(items):
        if (of := root(number)) == number:
            kept.append(item)
        else:
            run.reject(item, "near_duplicate", similarity=round(float(alike[number, of]), 4), of=items[of].text)
    return kept


@cache
def molecules() -> list[str]:
    return (home.DATA / "molecules.txt").read_text(encoding="utf-8").split()
