"""Small things that recipes do with texts: words, sentences, pieces, and what models put around an answer.

Nothing here knows a tokenizer or a language's grammar; each function says what it promises all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Scripts that are written without spaces: each sign counts as a word of its own.
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{SPACELESS}](?<=\w)|(?:(?![{SPACELESS}])[^\W_])+")
# Possessive and anchored, so that long runs of dots or blanks cost no more than their length.
SENTENCE_END = re.compile(
    r"""
      (?<![.!?…]) [.!?…]++ ["'”’»)\]]*+ \s++ (?= ["'“‘«(\[¿¡—–-]*+ \w )  # a mark, closing quotes, a gap, a start
    | [。！？｡]++ [」』”’）]*+ \s*+                                          # scripts without spaces
    | (?<![\s.!?…:;,]) [.!?…:;,]*+ [^\S\n]*+ \n \s*? \n \s*+               # a paragraph ends
    """,
    re.VERBOSE,
)
ABBREVIATION = re.compile(
    "mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|e.g|i.e|cf|al|figs?|nos?|vol|pp?|eds?|inc|ltd|co|corp|dept|approx|est|ca|gen|"
    "col|sgt|lt|capt|rev|hon|mt|ft|ave|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u.s|u.k|a.m|p.m|ph.d|[a-hj-z]"
)
"""What may stand before a full stop that ends no sentence; single letters are initials."""

STOP_WORDS = frozenset(
    re.split(  # in a text of its own it can be read
        r"\s+",
        """a about above after again against all also am an and any are aren't as at be because been before being below
    between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each few for
    from further get got had hadn't has hasn't have haven't having he her here hers herself him himself his how i i'd i'll
    i'm i've if in into is isn't it it's its itself just let's like may me might more most much must mustn't my myself no
    nor not now of off on once one only or other our ours ourselves out over own same shan't she should shouldn't so some
    such than that that's the their theirs them themselves then there there's these they they'll they're they've this
    those through to too under until up upon us very was wasn't we we're we've were weren't what when where which while
    who whom why will with won't would wouldn't you you'd you'll you're you've your yours yourself yourselves""",
    )
)
"""Of English: words that say little alone."""


def words(text: str) -> list[str]:
    """The words in lower case: runs of letters and digits of any script. On ASCII text equal to rouge-score's."""
    return WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    """The text cut into sentences, each with the white space after it: joined, they are the text again.

    It prefers to leave two sentences together over cutting one in half: after an abbreviation, an initial, or before a
    lower-case letter it does not cut.
    """
    pieces, start = [], 0
    for match in SENTENCE_END.finditer(text):
        end = match.end()
        if end < len(text) and not _goes_on(text, start, match):
            pieces.append(text[start:end])
            start = end
    return [*pieces, text[start:]] if start < len(text) else pieces


def _goes_on(text: str, start: int, match: re.Match[str]) -> bool:
    """Is this full stop no end of a sentence?"""
    if not match[0].startswith(".") or match[0].startswith("..") or match[0].count("\n") > 1:
        return False
    following = text[match.end() : match.end() + 20].lstrip("\"'“‘«([¿¡—–-")
    before = re.search(r"[\w.]*$", text[max(start, match.start() - 20) : match.start()])
    return following[:1].islower() or bool(before and ABBREVIATION.fullmatch(before[0].lower()))


def approx_tokens(text: str) -> int:
    """About how many tokens a model sees, without a tokenizer; meant to err upwards.

    Held against SmolLM2's tokenizer: 10 to 25 % above it on English prose (the shipped documents), 35 % on Python,
    about equal on Russian and Chinese, a quarter below on German, more on random strings. So leave some room where a
    limit is hard.
    """
    return sum(_cost(match) for match in TOKENISH.finditer(text))


TOKENISH = re.compile(
    r"(?P<word>[A-Z]?[a-z]+)|(?P<capitals>[A-Z]+)|(?P<spaces>[ ]+)|"
    r"(?P<one>[\x00-\u07ff])|(?P<two>[\u0800-\uffff])|(?P<four>.)"
)


def _cost(match: re.Match[str]) -> int:
    size = len(match[0])
    match match.lastgroup:
        case "word":
            return -(-size // 5) if size < 8 else -(-size // 4)
        case "capitals":
            return -(-size // 2)
        case "spaces":
            return 0 if size == 1 else 1
        case "one":  # digits, marks, line breaks, letters with accents, Greek, Cyrillic, Hebrew, Arabic
            return 1
        case "two":  # most other scripts
            return 2
        case _:  # emoji and rare signs
            return 4


def chunks(text: str, max_tokens: int, count: Callable[[str], int] = approx_tokens) -> list[str]:
    """The text in pieces of at most `max_tokens`, cut between sentences; joined, they are the text again.

    A sentence that is too long is cut between words, a word that is too long anywhere. Only a single character that
    alone counts for more than `max_tokens` makes a piece that is larger.

    Args:
        text: any text; "" has no pieces.
        max_tokens: as `count` counts, at least 1.
        count: tokens of a piece of text. It should not fall when text is added.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, it must be at least 1")
    pieces: list[str] = []
    for sentence in sentences(text):
        if pieces and count(pieces[-1] + sentence) <= max_tokens:
            pieces[-1] += sentence
        elif count(sentence) <= max_tokens:
            pieces.append(sentence)
        else:
            pieces += _by_words(sentence, max_tokens, count)
    return pieces


def _by_words(text: str, max_tokens: int, count: Callable[[str], int]) -> list[str]:
    pieces: list[str] = []
    for word in re.findall(r"\S+\s*|\s+", text):
        if pieces and count(pieces[-1] + word) <= max_tokens:
            pieces[-1] += word
        elif count(word) <= max_tokens:
            pieces.append(word)
        else:
            pieces += _by_characters(word, max_tokens, count)
    return pieces


def _by_characters(text: str, max_tokens: int, count: Callable[[str], int]) -> list[str]:
    pieces = []
    while text:
        low, high = 1, len(text)  # the longest beginning that fits has low to high characters
        while low < high:
            middle = (low + high + 1) // 2
            if count(text[:middle]) <= max_tokens:
                low = middle
            else:
                high = middle - 1
        pieces.append(text[:low])
        text = text[low:]
    return pieces


# What models say around an answer

ACTS = (
    "help|assist|provide|fulfil|fulfill|comply|create|generate|answer|complete|continue|paraphrase|rephrase|rewrite|"
    "write|process|discuss|engage|support|do that|do this|offer|give|produce|share|summarize|translate"
)
REFUSAL = re.compile(
    rf"""
    (?: i['’]?m\ (?:very\ |so\ |really\ |truly\ )?sorry | i\ am\ (?:very\ |so\ )?sorry | sorry | i\ apologi[sz]e
      | unfortunately | i\ regret )
    [^.!?\n]{{0,80}}? \b(?: can(?:no|['’])t | can\ not | unable | not\ able | won['’]t | not\ going\ to | must\ decline
      | not\ allowed | against\ my )\b
    | i\ (?: can(?:no|['’])t | can\ not | could\ not | am\ (?:unable|not\ able|not\ going)\ to | will\ not | won['’]t
      | must\ decline\ to | have\ to\ decline\ to ) \ (?:\w+\ )?(?:{ACTS})\b
    | i['’]m\ (?:unable|not\ able)\ to\ (?:{ACTS})\b
    | as\ an?\ (?:ai|artificial\ intelligence|language\ model|large\ language\ model)\b [^.!?\n]{{0,120}}?
      \b(?: can(?:no|['’])t | can\ not | unable | not\ able | do\ not | don['’]t | won['’]t | must )\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Does the text begin by declining? Looks at its first sentence or two only, and wants "sorry" or "I cannot" to go
    on like a refusal: "I cannot believe my luck" is none. English only.
    """
    beginning = text.lstrip(" \n\t\"'*#>")[:240]
    return any(REFUSAL.match(part.strip()) for part in sentences(beginning)[:2])


OPENERS = r"(?:sure(?:\ thing)?|certainly|of\ course|absolutely|okay|ok|yes|great|alright)"
REWORKED = r"\b(?:(?:para|re)phras|rewrit|reword|simplif|summar|translat|version|revised|adaptation)\w*\b"
MADE = r"\b(?:conversation|dialogue|text|passage|article|story|question|answer|response|reply|list|example|draft)s?\b"
COLON = r":[*_]{0,3}"
FRAME = re.compile(
    rf"""
    [*_\#]{{0,3}} \s* (?: {OPENERS} [!.,]* \s* )?
    (?: (?: here(?:['’]s|\ is|\ are) | below\ (?:is|are) | the\ following\ (?:is|are) ) \b [^\n:]{{0,140}}?
        (?: {REWORKED} [^\n:.!?]{{0,100}} {COLON} | {MADE} [^\n:.!?]{{0,100}} {COLON} [^\S\n]* (?:\n|\Z) )
      | (?: this\ is | the | my | your | an? ) \b [^\n:.!?]{{0,100}}? {REWORKED} [^\n:.!?]{{0,60}} {COLON}
        [^\S\n]* (?:\n|\Z)
      | (?: \w+\ ){{0,2}} {REWORKED} (?: \ (?:version|text|passage))? {COLON}
    ) \s*
    """,
    re.VERBOSE | re.IGNORECASE,
)
BARE_OPENER = re.compile(rf"{OPENERS}(?:,\ [^\n.!?]{{0,60}})?[!.]\s*(?=\n|here\b|below\b)", re.VERBOSE | re.IGNORECASE)
CLOSING = re.compile(
    r"""
      (?:i|we)\ hope\ (?:this|that|it|these|you)
    | (?:please\ )? (?:let\ me\ know|feel\ free)
    | (?:is|if)\ there (?:['’]s|\ is)? \ anything\ else
    | would\ you\ like\ me\ to
    | do\ you\ (?:want|need)\ me\ to
    | if\ you\ (?:have\ any|need|want|would\ like) [^\n]{0,80} (?:let\ me\ know|feel\ free|ask)
    | \(? note (?::|\ that) \ (?:i|this\ (?:is\ a|paraphrase|version|rewrite|text)) \b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def strip_framing(text: str) -> str:
    """The text without what models say around it: "Sure! Here is a paraphrase:" before, "Let me know if ..." after.

    Careful: it drops an opening only where it names what follows (a version, a summary, ...) and ends in a colon, and
    a last paragraph only where it talks to the user. What stays is an unbroken part of the text. A reply that is
    nothing but framing leaves "". English only.
    """
    text = text.strip()
    while True:
        before = text
        if match := BARE_OPENER.match(text) or FRAME.match(text):
            opening = match[0].rstrip()
            text = text[match.end() :].strip()
            text = _unwrapped(text) if ":" in opening[-4:] else text
        body, gap, last = text.rpartition("\n\n")
        if gap and CLOSING.match(last.strip().lstrip("*_-—")) and len(last) < 400:
            text = body.rstrip()
        if text == before:
            return text


def _unwrapped(text: str) -> str:
    """Without the quotes or stars around all of it."""
    for opening, closing in (('"', '"'), ("“", "”"), ("**", "**")):
        inside = text[len(opening) : len(text) - len(closing)]
        wrapped = len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing)
        if wrapped and opening not in inside and closing not in inside:
            return inside.strip()
    return text


NUMBERING = re.compile(
    r"""
    \s* (?: \(? (?:\d{1,3}|[a-z]|[ivx]{2,5}) [.)] (?=\s)
          | [-*•–] (?=\s)
          | (?:step|item|task|question) \s+ \d{1,3} \s* [:.)] ) \s*
    """,
    re.VERBOSE | re.IGNORECASE,
)


def strip_numbering(line: str) -> str:
    """A list item without its number or bullet: "3. Sing", "(b) Sing", "- Sing" and "Step 3: Sing" become "Sing".

    "3.5 litres" and "1984 was" are no numbering; nor is a sign with nothing after it.
    """
    match = NUMBERING.match(line)
    return line[match.end() :].strip() if match and line[match.end() :].strip() else line.strip()
