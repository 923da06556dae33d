"""Answers held against the passages that they should rest on: claims, citations, age (after Min et al. 2023, FActScore;
Gao et al. 2023, ALCE; Rashkin et al. 2021, AIS)."""

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from math import exp, log
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gristmill import BadInput, Chat, Document, Embed, Instruction, Retrieve, Rows, Run, Unparsed, recipe
from gristmill.ops.ask import Bad, complete_reply
from gristmill.ops.equations import MULTIPLES, NUMERALS
from gristmill.ops.prompts import Prompt
from gristmill.ops.text import sentences, strip_numbering, words
from gristmill.ops.vectors import embedded
from gristmill.quality.embed import normalised

CLAIMS = Prompt(
    """Take the answer below apart into the single facts that it states. Each fact is a short sentence that can be understood alone: put names in the place of "he" or "it". Leave out greetings, questions and opinions. Write one fact a line, each after "- ", and nothing else.

Question: {question}

Answer:
{answer}"""
)
VERIFY = Prompt(
    """Is the claim true by the passages, and by nothing else that you know?

supported: a passage says it, or the passages together do.
contradicted: a passage says otherwise.
not_found: the passages do not tell.

For supported and contradicted give as evidence the words of the passage that decide it, copied letter by letter, each with the id of its passage.

{passages}

Claim: {claim}"""
)
SHOWN = Prompt("[Passage {id}]\n{text}\n\n")

Support = Literal["supported", "contradicted", "not_found", "undecided"]
CITATION = re.compile(r"\[([^\[\]\n]{1,80})\]")
BEHIND_THE_STOP = re.compile(r"(?<=\w)([.!?])\s*((?:\[[^\[\]\n]{1,80}\]\s*)+)(?=\s|\Z|[A-Z\"“])")
OPENING = re.compile(r"(?:sure|certainly|of course)\b[\s,.!–—-]*", re.IGNORECASE)
"""What may stand before a claim."""
GREETING = re.compile(
    r"(?:hi|hello|hey|dear|thanks(?! to\b)|thank you|you['’]re welcome|i hope|let me know|feel free|"
    r"i(?: can|['’]ll| will|['’]d| would)(?: gladly)?(?: help| explain| tell you| be (?:glad|happy))|"
    r"(?:that['’]s a |what a )?(?:great|good) question|best regards|here (?:is|are)|here['’]s)\b",
    re.IGNORECASE,
)
MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug"),
            *("september sep sept", "october oct", "november nov", "december dec"),
        ),
        start=1,
    )
    for name in names.split()
}
MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
DATES = (
    re.compile(r"\b(?P<y>\d{4})-(?P<m>\d{1,2})(?:-(?P<d>\d{1,2}))?(?!\d|-)"),
    re.compile(
        rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m>{MONTH})\.?,?\s+(?P<y>\d{{4}})\b", re.IGNORECASE
    ),
    re.compile(rf"\b(?P<m>{MONTH})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>\d{{4}})\b", re.IGNORECASE),
    re.compile(rf"\b(?P<m>{MONTH})\.?,?\s+(?P<y>\d{{4}})\b", re.IGNORECASE),
)
DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"<>\])]+")
ARTICLE = re.compile(
    r"(?:\b(?:articles?|art\.|sections?|sec\.|paragraphs?)|§+)\s*(\d+[a-z]?(?:\(\w{1,4}\))*)", re.IGNORECASE
)
QUOTED = re.compile(r"[\"“]([^\"“”\n]{3,})[\"”]")
NAME = re.compile(r"(?<![\w’'-])[^\W\d_a-z][\w’'-]*")
FIGURE = re.compile(
    rf"(\d{{1,3}}(?:,\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)(?:\s+({'|'.join(MULTIPLES)})\b)?", re.IGNORECASE
)
SPELT = "|".join(sorted(NUMERALS, key=len, reverse=True))
NUMERAL = re.compile(rf"\b({SPELT})(?:-({SPELT}))?(?:\s+({'|'.join(MULTIPLES)}))?\b", re.IGNORECASE)
NO_NAMES = frozenset({"i", "ok", "a", "mr", "mrs", "ms", "dr", "prof", "st"}) | MONTHS.keys()


class Passage(msgspec.Struct):
    """A text that an answer may rest on."""

    id: str
    """As the answer cites it: [id]."""
    text: str
    date: str = ""
    """Of what it says: "2024-05-31", "2024-05", "2024"; "" where not known."""


class Source(Document):
    """A text of a corpus that passages are searched in."""

    source: str = ""
    """As answers cite it; its number in the corpus, from 1, where it has none."""
    date: str = ""


class GroundedAnswer(Instruction, kw_only=True):
    """A question, an answer (`output`), and what it was written from."""

    passages: list[Passage] = msgspec.field(default_factory=list)


class Claim(msgspec.Struct):
    """A statement of an answer, and what the passages say of it."""

    text: str
    support: Support
    passage_id: str = ""
    span: list[int] = msgspec.field(default_factory=list)
    """Where in the passage the deciding words stand: first character, and the one after the last."""
    stale: bool = False


class Missing(msgspec.Struct):
    """What an answer holds and no passage does."""

    kind: Literal["number", "date", "name", "quotation", "citation", "article", "doi"]
    text: str


class CheckedAnswer(GroundedAnswer, kw_only=True):
    """An answer and how far it is grounded. None: nothing of the kind was there to check."""

    claims: list[Claim]
    precision: float | None
    """Share of the claims that are supported, with the length penalty where asked for."""
    citation_precision: float | None
    """Share of the citations that their sentence needs, or that support it alone."""
    citation_recall: float | None
    """Share of the sentences that their citations support."""
    missing: list[Missing]
    stale: bool


class Evidence(msgspec.Struct):
    passage: str
    quote: str


class Judgement(msgspec.Struct):
    support: Literal["supported", "contradicted", "not_found"]
    evidence: list[Evidence] = msgspec.field(default_factory=list)


@recipe("grounding-citation-check")
async def grounding_citation_check(
    row: GroundedAnswer,
    retriever: Retrieve,
    run: Run,
    judge: Chat | None = None,
    embedder: Embed | None = None,
    *,
    corpus: Rows[Source] | None = None,
    split: Literal["sentences", "atomic"] = "sentences",
    min_precision: Annotated[float, Meta(ge=0, le=1)] = 0.8,
    top_passages: Annotated[int, Meta(ge=1)] = 3,
    length_penalty: bool = False,
    gamma: Annotated[int, Meta(ge=1)] = 10,
    max_age_days: Annotated[int, Meta(ge=0)] | None = None,
    as_of: str = "",
    max_tokens_per_reply: Annotated[int, Meta(ge=1)] = 1024,
    keep_flagged: bool = False,
) -> AsyncIterator[CheckedAnswer]:
    """Check an answer's claims, citations and age against the passages that it was, or could have been, written from.

    First, without a model: every number in digits, date, name, quotation, article of law and DOI of the answer must stand
    in the passages or the question, and what is cited must be there. Then a judge decides for each claim, from the passages that
    fit it best, whether they support it, and must quote the words that decide; a quote that is not in its passage makes
    the claim not found. Citations are checked as ALCE does: all of a sentence together (recall), and each for whether
    the sentence needs it (precision). A claim is stale whose passage is too old, or contradicted by a newer one. (Min et
    al. 2023, FActScore, arXiv:2305.14251; Gao et al. 2023, ALCE; Rashkin et al. 2021, AIS.)

    A claim of which the judge gave no readable verdict is undecided, and counts as not supported. Names are told by their
    capitals, which suits English.

    Args:
        retriever: finds passages in the corpus, for rows that bring none.
        judge: decides. Without one, only what needs no model is checked.
        embedder: ranks a row's passages together with the words that they share with a claim.
        corpus: what to search in for rows without passages.
        split: claims are the answer's sentences, or the judge takes it apart into single facts.
        min_precision: share of claims that must be supported. Not from the paper.
        top_passages: shown for a claim.
        length_penalty: times exp(1 - gamma / claims) where there are fewer claims than gamma, as in FActScore's code.
        gamma: of the length penalty.
        max_age_days: of a passage that supports a claim. None: no limit.
        as_of: the day from which ages are counted, "2025-01-31"; needed for max_age_days. Not from the paper.
        max_tokens_per_reply: of a reply of the judge. Not from the paper.
        keep_flagged: yield all checked rows, with what was found.

    Rejects: of rows `no_claims`, `no_passages`, `repeated_id` (two passages have it, so that a citation names neither;
        details: id), `not_in_context` (details: missing), `contradicted` (details: claims), `low_precision` (details:
        precision), `stale` (details: claims); `unread_claims` (the judge lists no facts), and of a claim `unread_verdict`
        (details: text).
    """
    question = f"{row.instruction}\n{row.input}".strip()
    stated = [piece for piece in pieces(row.output) if is_claim(piece)]
    if not stated:
        run.reject(row, "no_claims")
        return
    passages = list(row.passages)
    if not passages and corpus is not None:
        hits = await run.map(
            lambda query: retriever.search(corpus, query, k=top_passages),
            [question, *map(without_citations, stated)],
            name="search",
        )
        found = dict.fromkeys(hit.index for some in hits for hit in some)
        passages = [passage_of(corpus[index], index) for index in found]
    if not passages:
        run.reject(row, "no_passages")
        return
    by_id = {passage.id: passage for passage in passages}
    if twice := next((name for name in by_id if sum(one.id == name for one in passages) > 1), None):
        run.reject(row, "repeated_id", id=twice)
        return
    missing = not_in(row.output, [question, *(f"{one.text}\n{one.date}" for one in passages)], list(by_id))
    if missing and not keep_flagged:
        run.reject(row, "not_in_context", missing=[f"{one.kind}: {one.text}" for one in missing])
        return

    async def decide(claim: str, shown: Sequence[Passage]) -> Claim:
        """The judge's verdict, if its quotes are what they should be."""
        asked = VERIFY(passages="".join(SHOWN(id=one.id, text=one.text) for one in shown).strip(), claim=claim)
        try:
            said = (await judge.ask(asked, Judgement, temperature=0.0, max_tokens=max_tokens_per_reply)).value  # type: ignore[union-attr]
        except Unparsed as error:
            run.reject(claim, "unread_verdict", text=error.text[-300:])
            return Claim(claim, "undecided")
        return quoted(claim, said, shown)

    async def judged(claim: str) -> Claim:
        made = await decide(claim, await fitting(run, embedder, claim, passages, top_passages))
        if made.support == "supported":
            of = by_id[made.passage_id]
            made.stale = too_old(of.date, as_of, max_age_days)
            newer = [one for one in passages if is_newer(one.date, of.date)]
            if newer and not made.stale:
                later = await decide(claim, await fitting(run, embedder, claim, newer, top_passages))
                made.stale = later.support == "contradicted"
        return made

    async def cited(sentence: str) -> tuple[bool, list[bool]]:
        """Whether a sentence's citations support it, and which of them are of use."""
        claim, names = without_citations(sentence), citations(sentence, list(by_id))
        known = [by_id[name] for name in dict.fromkeys(names) if name in by_id]
        whole = bool(known) and (await decide(claim, known)).support == "supported"
        useful = {}
        for one in known if whole else []:
            rest = [other for other in known if other is not one]
            useful[one.id] = not rest or (await decide(claim, [one])).support == "supported"
            if not useful[one.id]:
                useful[one.id] = (await decide(claim, rest)).support != "supported"
        return whole, [useful.get(name, False) for name in names]

    claims: list[Claim] = []
    precision = citation_precision = citation_recall = None
    if judge:
        texts = [without_citations(piece) for piece in stated]
        if split == "atomic":
            reply = await judge.chat(
                CLAIMS(question=question, answer=" ".join(texts)), temperature=0.0, max_tokens=max_tokens_per_reply
            )
            try:
                texts = facts(complete_reply(reply))
            except Bad:
                texts = []
            if not texts:
                run.reject(reply, "unread_claims")
                return
        claims = await run.map(judged, texts)
        precision = claim_precision(claims, gamma if length_penalty else None)
    if judge and any(citations(piece, list(by_id)) for piece in stated):
        checked = await run.map(cited, stated)
        citation_recall = share([whole for whole, _ in checked])
        citation_precision = share([use for _, uses in checked for use in uses])
    made = CheckedAnswer(
        instruction=row.instruction,
        input=row.input,
        output=row.output,
        passages=passages,
        claims=claims,
        precision=precision,
        citation_precision=citation_precision,
        citation_recall=citation_recall,
        missing=missing,
        stale=any(claim.stale for claim in claims),
    )
    against = [claim.text for claim in claims if claim.support == "contradicted"]
    if keep_flagged:
        yield made
    elif against:
        run.reject(made, "contradicted", claims=against)
    elif precision is not None and precision < min_precision:
        run.reject(made, "low_precision", precision=precision)
    elif made.stale:
        run.reject(made, "stale", claims=[claim.text for claim in claims if claim.stale])
    else:
        yield made


@grounding_citation_check.check
def ages_have_a_day_to_be_counted_from(max_age_days: int | None, as_of: str) -> None:
    if as_of and day(as_of) is None:
        raise BadInput(f"grounding-citation-check: as_of={as_of!r} is no date. Write it as 2025-01-31")
    if max_age_days is not None and not as_of:
        raise BadInput("grounding-citation-check: max_age_days counts from a day; give it as --as-of 2025-01-31")


# -- claims


def pieces(answer: str) -> list[str]:
    """The sentences of an answer; a citation behind a full stop belongs to the sentence before it."""
    moved = BEHIND_THE_STOP.sub(lambda found: f" {found[2].strip()}{found[1]} ", answer)
    lines = [strip_numbering(line) for line in moved.splitlines() if line.strip()]
    return [piece.strip() for line in lines for piece in sentences(line) if piece.strip()]


def is_claim(sentence: str) -> bool:
    """Whether a sentence states something: no greeting, no question, no lead, no heading."""
    text = OPENING.sub("", without_citations(sentence).lstrip("*_ \"'"), count=1)
    if re.match(r"#+\s", text):
        return False
    return not text.rstrip("\"'*) ").endswith(("?", ":")) and not GREETING.match(text) and len(words(text)) > 1


def facts(reply: str) -> list[str]:
    """The lines of a list."""
    listed = [line.strip() for line in reply.splitlines()]
    return [fact for line in listed if line[:1] in ("-", "*", "•") and (fact := line[1:].strip())]


def quoted(claim: str, said: Judgement, shown: Sequence[Passage]) -> Claim:
    """A verdict as far as its quotes bear it out: one that is not in its passage makes the claim not found."""
    texts = {passage.id: passage.text for passage in shown}
    spans = [(one.passage, located(one.quote, texts.get(one.passage, ""))) for one in said.evidence]
    if said.support == "not_found" or not spans or any(span is None for _, span in spans):
        return Claim(claim, "not_found")
    name, span = spans[0]
    return Claim(claim, said.support, passage_id=name, span=list(span or ()))


def located(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, letter by letter but for white space."""
    parts = quote.split()
    if not parts:
        return None
    found = re.search(r"\s+".join(map(re.escape, parts)), text)
    return (found.start(), found.end()) if found else None


def share(told: Sequence[bool]) -> float:
    return sum(told) / len(told)


def claim_precision(claims: Sequence[Claim], gamma: int | None) -> float | None:
    """Share of supported claims; with gamma times FActScore's penalty for answers of fewer claims."""
    if not claims:
        return None
    found = share([claim.support == "supported" for claim in claims])
    return found * exp(1 - gamma / len(claims)) if gamma and len(claims) < gamma else found


# -- passages


def passage_of(source: Source, index: int) -> Passage:
    return Passage(source.source or str(index + 1), source.text, source.date)


async def fitting(
    run: Run, embedder: Embed | None, claim: str, passages: Sequence[Passage], count: int
) -> Sequence[Passage]:
    """The passages that fit a claim best: by the words that they share, by meaning, or by both ranks together."""
    if len(passages) <= count:
        return passages
    ranks = [ranked(shared_words(claim, [one.text for one in passages]))]
    if embedder:
        vectors = normalised(await embedded(run, embedder, [claim, *(one.text for one in passages)], name="place"))
        ranks.append(ranked((vectors[1:] @ vectors[0]).round(6).tolist()))
    fused = [sum(1 / (60 + rank[at]) for rank in ranks) for at in range(len(passages))]
    best = sorted(range(len(passages)), key=lambda at: -fused[at])[:count]
    return [passages[at] for at in best]


def shared_words(claim: str, texts: Sequence[str]) -> list[float]:
    """For each text the worth of the claim's words in it: rare ones are worth more."""
    held = [set(words(text)) for text in texts]
    asked = set(words(claim))
    worth = {word: log(1 + len(texts) / (0.5 + sum(word in one for one in held))) for word in sorted(asked)}
    return [round(sum(value for word, value in worth.items() if word in one), 9) for one in held]


def ranked(scores: Sequence[float]) -> list[int]:
    """The rank of each score, 0 for the highest; equal scores have one rank."""
    ordered = sorted(scores, reverse=True)
    return [ordered.index(score) for score in scores]


# -- what needs no model


def citations(text: str, ids: Sequence[str]) -> list[str]:
    """What a text cites in square brackets: ids, and what looks like one of them ("[7]", where [1] is there)."""
    shapes = {shape(name) for name in ids}
    names = [name.strip() for inside in CITATION.findall(text) for name in re.split(r"[,;]", inside)]
    return [name for name in names if name in ids or shape(name) in shapes or re.fullmatch(r"\d{1,4}", name)]


def shape(name: str) -> str:
    """An id with its digits alike; one without digits is like no other."""
    return re.sub(r"\d+", "0", name) if re.search(r"\d", name) else name


def without_citations(text: str) -> str:
    return re.sub(r"\s+([.,;:!?])", r"\1", CITATION.sub("", text)).strip()


def not_in(answer: str, context: Sequence[str], ids: Sequence[str]) -> list[Missing]:
    """What an answer takes from nowhere: what is wrong with it can be told without understanding it."""
    held = "\n".join(context)
    plain = folded(held)
    found = [Missing("citation", name) for name in dict.fromkeys(citations(answer, ids)) if name not in ids]
    text = "\n".join(strip_numbering(line) for line in without_citations(answer).splitlines())

    for match in QUOTED.finditer(text):
        if folded(match[1].rstrip(".,;:")) not in plain:
            found.append(Missing("quotation", match[0]))
    dois = {folded(name.rstrip(".,;:")) for name in DOI.findall(held)}
    for name in DOI.findall(text):
        if folded(name.rstrip(".,;:")) not in dois:
            found.append(Missing("doi", name))
    text = DOI.sub(" ", text)
    articles = {name.lower() for name in ARTICLE.findall(held)}
    for match in ARTICLE.finditer(text):
        if match[1].lower() not in articles:
            found.append(Missing("article", match[0]))
    text = ARTICLE.sub(" ", text)
    known_days = {known for known, _ in dates(held)}
    for known, written in dates(text):
        if not any(one[: len(known)] == known for one in known_days):
            found.append(Missing("date", written))
        text = text.replace(written, " ")
    known_figures = {value for _, value in figures(held)} | spelt(held)
    found += [Missing("number", written) for written, value in figures(text) if value not in known_figures]
    known_words = {folded(word) for word in words(held)}
    for name in names(text):
        if not all(part in known_words or part.removesuffix("s") in known_words for part in words(folded(name))):
            found.append(Missing("name", name))
    return found


def figures(text: str) -> list[tuple[str, Decimal]]:
    """The numbers in digits, as they are written and their values: "3 million" is one of 3,000,000, and none of 3."""
    return [(match[0], _value(Decimal(match[1].replace(",", "")), match[2])) for match in FIGURE.finditer(text)]


def spelt(text: str) -> set[Decimal]:
    """The values of the numbers in words."""
    found = set()
    for first, second, many in NUMERAL.findall(text):
        found.add(_value(Decimal(NUMERALS[first.lower()] + NUMERALS.get(second.lower(), 0)), many))
    return found


def _value(number: Decimal, many: str | None) -> Decimal:
    return number * MULTIPLES[many.lower()] if many else number


def names(text: str) -> list[str]:
    """Words with a capital that no beginning of a sentence explains, as they are written; headings have none."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        capitals = len(line.split()) > 1 and all(word[:1].isupper() for word in line.split())
        if line.lstrip().startswith("#") or (capitals and not line.rstrip().endswith(".")):
            continue
        for sentence in sentences(line):
            first = re.search(r"\w", sentence)
            for match in NAME.finditer(sentence):
                name = re.sub(r"['’]s$", "", match[0])
                begins = first is not None and match.start() == first.start()
                opens = re.search(r"[:\"“(*]\s*$", sentence[: match.start()])
                if name[:1].isupper() and not begins and not opens and name.lower() not in NO_NAMES:
                    found[name] = None
    return list(found)


def folded(text: str) -> str:
    """Without capitals, accents and differences of white space."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(sign for sign in plain if not unicodedata.combining(sign)).split())


# -- dates


def dates(text: str) -> list[tuple[tuple[int, ...], str]]:
    """The dates of a text as (year, month, day) or (year, month), with how they are written."""
    found = []
    for pattern in DATES:
        for match in pattern.finditer(text):
            said = match.groupdict()
            month = MONTHS.get(said["m"].lower()) or (int(said["m"]) if said["m"].isdigit() else 0)
            parts = (int(said["y"]), month) + ((int(said["d"]),) if said.get("d") else ())
            if 1 <= month <= 12:
                found.append((parts, match[0]))
        text = pattern.sub(" ", text)
    return found


def day(written: str) -> date | None:
    """The last day that a date can mean: of "2024" the 31st of December. None for what is no date."""
    text = written.strip()
    if re.fullmatch(r"\d{4}", text):
        return date(int(text), 12, 31) if int(text) else None
    found = dates(text)
    if not found:
        return None
    year, month, *rest = found[0][0]
    try:
        if rest:
            return date(year, month, rest[0])
        return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    except ValueError:
        return None


def too_old(written: str, as_of: str, max_age_days: int | None) -> bool:
    """Whether something is older than it may be; what has no date is not."""
    then, now = day(written), day(as_of)
    return max_age_days is not None and then is not None and now is not None and (now - then).days > max_age_days


def is_newer(written: str, than: str) -> bool:
    one, other = day(written), day(than)
    return one is not None and other is not None and one > other
