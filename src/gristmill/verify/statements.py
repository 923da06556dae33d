"""Theorems of Coq and Lean 4 as texts: taken apart, negated, and read for what does not belong into them.

No parser of either language: comments, words, brackets and the first colon outside of them are enough to find a
theorem's name, binders and goal. What does not look like exactly one theorem is refused, and so is what a statement or
a tactic proof has no use for. This is the first of two guards: what a proof proved, the assistant itself says
afterwards, in a process that never read the proof's text (see `provers.py`).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Language = Literal["coq", "lean4"]


class Improper(ValueError):
    """A text that is not what it should be. `outcome`: what a `Proof` says of it, "refused" or "open"."""

    def __init__(self, message: str, outcome: Literal["refused", "open"] = "refused") -> None:
        super().__init__(message)
        self.outcome = outcome


class Statement(msgspec.Struct, frozen=True):
    """A theorem without its proof. As a text: `str(statement)`."""

    language: Language
    name: str
    binders: str
    """What stands between the name and the colon, as it was written: "(n : nat) (h : n > 3)"."""
    goal: str
    keyword: str = "Theorem"

    def __str__(self) -> str:
        head = " ".join(part for part in (self.keyword, self.name, self.binders) if part)
        return f"{head} : {self.goal}" + ("." if self.language == "coq" else "")

    @property
    def closed(self) -> str:
        """The whole as one proposition."""
        if not self.binders:
            return self.goal
        return f"{'forall' if self.language == 'coq' else '∀'} {self.binders}, {self.goal}"


COMMENT = {"coq": ("(*", "*)"), "lean4": ("/-", "-/")}
OPEN = dict(zip("([{⟨⦃⟦", ")]}⟩⦄⟧", strict=True))
COQ_NAME = r"[A-Za-z_][\w']*"
LEAN_NAME = r"[^\W\d][\w'!?]*(?:\.[^\W\d][\w'!?]*)*"
HEAD = {
    "coq": re.compile(
        rf"(Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property|Example)\s+({COQ_NAME})(?![\w'@])(.*)", re.DOTALL
    ),
    "lean4": re.compile(rf"(theorem|lemma)\s+({LEAN_NAME})(?![\w'!?.])(.*)", re.DOTALL),
}
PROOF_LEFT_OPEN = {
    "coq": re.compile(r"(?:\s*Proof\s*\.)?(?:\s*(?:Admitted|Abort)\s*\.)?\s*"),
    "lean4": re.compile(r"\s*(?::=\s*(?:by\b\s*)?(?:sorry\b)?)?\s*"),
}
# The colon before the goal, and the arrow after a hypothesis; not the signs that only begin or end like them.
COLON = {"coq": re.compile(r"(?<![:<]):(?![:=>])"), "lean4": re.compile(r"(?<!:):(?![:=])")}
ARROW = {"coq": re.compile(r"(?<![-<=|])->(?!>)"), "lean4": re.compile(r"(?<![-<=|])->|→(?=\s)")}
FORALL = {"coq": re.compile(r"\s*(?:forall\b|∀)"), "lean4": re.compile(r"\s*(?:∀|forall\b)")}
# What reaches as far to the right as it can: an arrow behind it is its own. `exists x, P x -> Q` has no hypothesis.
FAR = re.compile(r"\b(?:exists2?|fun|let|have|show|match|if|fix|cofix|forall)(?![\w'])|[∀∃λΣ∑∏⋃⋂]")
# What binds less than an arrow: P → Q ↔ R is (P → Q) ↔ R in Lean, and has no hypothesis either.
LOOSE = {"coq": re.compile(r"(?!)"), "lean4": re.compile(r"↔|<->|<\||\|>|\$")}

# Words that a theorem and a proof by tactics have no use for.
COQ_BANNED = frozenset({"native_compute", "native_cast_no_check"})
COQ_OPEN = frozenset({"admit", "give_up", "Admitted", "Abort"})
LEAN_BANNED = frozenset(
    re.findall(
        r"\w+",
        """theorem lemma def abbrev axiom example instance inductive structure class opaque variable variables universe
        universes namespace section end mutual open export import prelude module public private protected noncomputable
        unsafe partial attribute macro macro_rules syntax notation notation3 infix infixl infixr prefix postfix elab
        elab_rules declare_syntax_cat set_option initialize builtin_initialize deriving extern implemented_by run_cmd
        run_elab run_meta run_tac by_elab eval_expr native_decide alias include omit local scoped""",
    )
)
LEAN_OPEN = frozenset({"sorry", "admit", "stop", "sorryAx"})
WORD = re.compile(r"(?<![\w'.])[^\W\d][\w']*")
# Spaces and signs that the assistants may read otherwise than we do.
STRANGE = re.compile(r"[^\S \t\n\r]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
COQ_FOCUS = re.compile(
    r"\A(?:\s|[-+*{}]|\d+(?:\s*[-,]\s*\d+)*\s*:(?!=)|(?:all|par)\s*:(?!=)|!\s*:(?!=)|\[\s*[A-Za-z_][\w']*\s*\]\s*:(?!=))*"
)
"""Bullets, braces and selectors, before a tactic or alone."""


def split(text: str, language: Language) -> Statement:
    """A statement from its text, with or without the words that leave its proof open.

    "Theorem t (n : nat) : n = n." and "Theorem t (n : nat) : n = n. Proof. Admitted." of Coq, "theorem t (n : ℕ) :
    n = n" and "... := by sorry" of Lean 4. Comments are dropped.

    Raises:
        Improper: it is not exactly one theorem, is not closed, or holds what a statement must not.
    """
    plain = without_comments(text, language).strip()
    if language == "coq":
        end = re.search(r"\.(?=\s|$)", plain)
        head, rest = (plain[: end.start()], plain[end.end() :]) if end else (plain, "")
    else:
        end = next(iter(outside(plain, re.compile(":="))), None)
        head, rest = (plain[: end.start()], plain[end.start() :]) if end else (plain, "")
    if not PROOF_LEFT_OPEN[language].fullmatch(rest):
        raise Improper(f"after the statement stands {_short(rest)}: it must be one theorem alone, its proof left open")
    found = HEAD[language].fullmatch(head)
    if not found:
        raise Improper(f"it begins with {_short(head)}, not with a theorem and its name")
    keyword, name, rest = found.groups()
    _proper(rest, language)
    if re.search(r"\bltac\s*:", rest):
        raise Improper("what it says must stand in it, and not come from a tactic")
    colon = next(iter(outside(rest, COLON[language])), None)
    if colon is None:
        raise Improper(f"{name} has no goal: there is no colon outside of brackets")
    binders, goal = rest[: colon.start()].strip(), rest[colon.end() :].strip()
    if not goal:
        raise Improper(f"{name} has no goal after its colon")
    if language == "lean4":
        keyword = "theorem"  # `lemma` is Mathlib's
    return Statement(language, name, binders, goal, keyword)


def negation(statement: Statement, *, whole: bool = False) -> Statement:
    """Its negation: the same binders, with "not" around the goal.

    So it says that the goal holds nowhere. `whole`: "not" stands around binders and goal, so that one counterexample
    proves it.
    """
    goal = f"({statement.closed if whole else statement.goal})"
    sign = "~" if statement.language == "coq" else "¬"
    binders = "" if whole else statement.binders
    return msgspec.structs.replace(statement, binders=binders, goal=f"{sign} {goal}")


def absurd(statement: Statement) -> Statement:
    """The same hypotheses, and False for a goal: what proves it shows that they contradict each other.

    Hypotheses are the binders, and in the goal what stands before its last conclusion: "forall x, P x -> Q x" becomes
    "forall x, P x -> False". Where it is not plain what an arrow belongs to, it stays in the conclusion, so too few
    hypotheses are kept and never others.
    """
    language, goal = statement.language, statement.goal
    kept = 0
    while True:
        rest = goal[kept:]
        if quantifier := FORALL[language].match(rest):
            comma = next(iter(outside(rest, re.compile(","))), None)
            if comma is None or outside(rest[quantifier.end() : comma.start()], FAR):
                break
            kept += comma.end()
            continue
        arrow = next(iter(outside(rest, ARROW[language])), None)
        if arrow is None or outside(rest, LOOSE[language]) or outside(rest[: arrow.start()], FAR):
            break
        kept += arrow.end()
    return msgspec.structs.replace(statement, goal=f"{goal[:kept].strip()} False".strip())


def tactics(text: str, language: Language) -> str:
    """A proof's tactics, without comments and without the words that begin and end a proof.

    Raises:
        Improper: it leaves something out ("open"), or holds more than tactics ("refused"): a command, a string, another
            theorem.
    """
    plain = without_comments(text, language)
    _proper(plain, language)
    return _coq_tactics(plain) if language == "coq" else _lean_tactics(plain)


def _coq_tactics(plain: str) -> str:
    script = re.sub(r"\A\s*Proof\s*\.(?=\s|\Z)|(?:\A|(?<=[\s}]))(?:Qed|Defined)\s*\.\s*\Z", "", plain)
    for sentence in re.split(r"(?<=\.)(?=\s|\Z)", script):
        tactic = COQ_FOCUS.sub("", sentence, count=1)
        # Commands begin with a capital letter or an attribute, tactics never do.
        if tactic and not re.match(r"[a-z_(\[]|Unshelve\.\Z", tactic):
            raise Improper(f"a proof consists of tactics, and {_short(tactic)} is none")
    script = script.strip()
    if script and script[-1] not in ".}":  # what comes behind it would be read as part of it
        raise Improper(f"its last tactic does not end in a full stop: {_short(script[-60:])}")
    return script


def _lean_tactics(plain: str) -> str:
    text = re.sub(r"\A\s*(?::=\s*)?by(?![\w'])[ \t]*\n?", "", plain)
    lines = [line.rstrip() for line in text.replace("\t", "  ").splitlines() if line.strip()]
    if not lines:
        return ""
    # What begins at the margin could begin a command: everything is moved to the right by as much as keeps its shape.
    margin = min(len(line) - len(line.lstrip(" ")) for line in lines)
    return "\n".join("  " + line[margin:] for line in lines)


def _proper(plain: str, language: Language) -> None:
    banned, leaves_open = (COQ_BANNED, COQ_OPEN) if language == "coq" else (LEAN_BANNED, LEAN_OPEN)
    for word in WORD.finditer(plain):
        if word[0] in leaves_open:
            raise Improper(f"it leaves something out: {word[0]}", "open")
        if word[0] in banned:
            raise Improper(f"it must not hold {word[0]!r}")
    if sign := re.search(r"#\[" if language == "coq" else r"#|@\[|«|»|`", plain):
        raise Improper(f"it must not hold {sign[0]!r}")


def without_comments(text: str, language: Language) -> str:
    """The text with a space for every comment. Raises Improper for strings, which no theorem needs, and for signs that
    could be read in two ways."""
    if strange := STRANGE.search(text):
        raise Improper(f"it holds the sign {strange[0]!a}, which is none of mathematics")
    start, end = COMMENT[language]
    pattern = re.compile("|".join(map(re.escape, (start, end, '"', *(["--"] if language == "lean4" else [])))))
    kept: list[str] = []
    depth = at = 0
    while sign := pattern.search(text, at):
        if not depth:
            kept.append(text[at : sign.start()])
        at = sign.start() + 1 if depth and sign[0] == "--" else sign.end()  # "--/" ends a comment
        if sign[0] == start:
            depth += 1
        elif sign[0] == end and depth:
            depth -= 1
            kept += [] if depth else [" "]
        elif sign[0] == '"' and depth and language == "coq":  # in Coq the end of a comment may stand in a string in it
            at = text.find('"', at) + 1
            if not at:
                raise Improper("a string in a comment does not end")
        elif sign[0] == "--" and not depth:
            line = text.find("\n", at)
            at = len(text) if line < 0 else line
        elif sign[0] == '"' and not depth:
            raise Improper("it must not hold a string")
        elif sign[0] == end:
            raise Improper(f"a comment ends that never began: {end}")
    if depth:
        raise Improper(f"a comment does not end: {start}")
    return "".join([*kept, text[at:]])


def outside(text: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Where a pattern stands outside of all brackets. Raises Improper if these do not fit together."""
    opened: list[str] = []
    depths = []
    for sign in text:
        if sign in OPEN:
            opened.append(OPEN[sign])
        elif sign in OPEN.values() and (not opened or opened.pop() != sign):
            raise Improper(f"{sign!r} closes no bracket in {_short(text)}")
        depths.append(len(opened))
    if opened:
        raise Improper(f"a bracket is not closed in {_short(text)}: {opened[-1]!r} is missing")
    return [match for match in pattern.finditer(text) if not depths[match.start()]]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
