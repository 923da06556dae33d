"""A round of DeepSeek-Prover (Xin et al. 2024): competition problems become formal statements, and those that a model can
prove or refute become training data with a proof that a machine has checked."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal, get_args

from msgspec import Meta

from gristmill import BadInput, Complete, Completion, Prove, Reply, Row, Run, recipe
from gristmill.ops.ask import Bad
from gristmill.ops.prompts import Prompt
from gristmill.verify.statements import Improper, Language, Statement, absurd, negation, split

FORMALIZE = {
    "coq": Prompt(
        """Translate a problem of a mathematics competition into a theorem of Coq 8.16. Write the statement alone and leave its proof open. What is given becomes a hypothesis with a name, what is to be shown or found becomes the goal; where a value is asked for, the goal says what it is.

Arith, ZArith, Znumtheory, Reals and List are loaded, and nothing may be defined or imported. Numbers are of type nat unless a scope says otherwise: write (x > 3)%Z for integers and (x > 3)%R for real numbers.

Problem:
{problem}

Statement:
```coq
"""
    ),
    "lean4": Prompt(
        """Translate a problem of a mathematics competition into a theorem of Lean 4 with Mathlib. Write the statement alone, ending in ":= by sorry". What is given becomes a hypothesis with a name, what is to be shown or found becomes the goal; where a value is asked for, the goal says what it is.

Mathlib is imported and BigOperators, Real, Nat, Topology and Rat are open; nothing may be defined or imported. Say of which type numbers are: (x : ℝ).

Problem:
{problem}

Statement:
```lean4
"""
    ),
}

CRITERIA = """Formal statements of mathematics are graded by what they are worth to somebody who learns to prove. Is it clear what is said, and is nothing left over or missing? Does it mean something, or is it true or false for a reason that has nothing to do with the mathematics? Does it take thought to prove it? Consider these three, then give one of five grades: excellent, good, above average, fair, poor.
"""

GRADE = {
    "coq": Prompt(
        CRITERIA
        + """
### Statement
Theorem square_mod_eight (n k : nat) (h : n = 2 * k + 1) : (n * n) mod 8 = 1.
### Consideration
Every name is used and the hypothesis says just that n is odd. A fact of number theory that people know and use. The proof needs a case distinction on k and some algebra.
Grade: excellent

### Statement
Theorem total_price (apples price total : nat) (h1 : apples = 12) (h2 : price = 3) (h3 : total = apples * price) : total = 36.
### Consideration
It is clear, and says what the problem asks for. But it is one multiplication: the proof is a substitution.
Grade: fair

### Statement
Theorem sum_of_roots (a b : R) (f : R -> R) : (a + b = a + b)%R.
### Consideration
The function is never used, and the goal says that something equals itself. Nothing of the problem is left in it.
Grade: poor

### Statement
Theorem consecutive (n : Z) (h : (n + (n + 1) + (n + 2) = 48)%Z) : (n = 15)%Z.
### Consideration
Clear and complete, an equation in words. It means what it says. The proof is linear arithmetic, in one step.
Grade: above average

### Statement
{statement}
### Consideration
"""
    ),
    "lean4": Prompt(
        CRITERIA
        + """
### Statement
theorem square_mod_eight (n k : ℕ) (h : n = 2 * k + 1) : n * n % 8 = 1
### Consideration
Every name is used and the hypothesis says just that n is odd. A fact of number theory that people know and use. The proof needs a case distinction on k and some algebra.
Grade: excellent

### Statement
theorem total_price (apples price total : ℕ) (h₁ : apples = 12) (h₂ : price = 3) (h₃ : total = apples * price) : total = 36
### Consideration
It is clear, and says what the problem asks for. But it is one multiplication: the proof is a substitution.
Grade: fair

### Statement
theorem sum_of_roots (a b : ℝ) (f : ℝ → ℝ) : a + b = a + b
### Consideration
The function is never used, and the goal says that something equals itself. Nothing of the problem is left in it.
Grade: poor

### Statement
theorem consecutive (n : ℤ) (h : n + (n + 1) + (n + 2) = 48) : n = 15
### Consideration
Clear and complete, an equation in words. It means what it says. The proof is linear arithmetic, in one step.
Grade: above average

### Statement
{statement}
### Consideration
"""
    ),
}

PROVE = {
    "coq": Prompt(
        """Complete the proof in Coq 8.16. Arith, ZArith, Znumtheory, Reals, List, Lia, Lra and Psatz are loaded. The proof consists of tactics only, and ends with "Qed.".

```coq
{statement}
Proof.
"""
    ),
    "lean4": Prompt(
        """Complete the proof in Lean 4. Mathlib is imported, and BigOperators, Real, Nat, Topology and Rat are open. The proof consists of tactics only.

```lean4
{statement} := by
"""
    ),
}

END_OF_BLOCK = ["\n```\n"]
END_OF_GRADE = ["\n###"]
END_OF_PROOF = {"coq": ["Qed."], "lean4": END_OF_BLOCK}

Grade = Literal["excellent", "good", "above average", "fair", "poor"]


class CompetitionProblem(Row):
    problem: str


class ProvedStatement(Completion, kw_only=True):
    """A formal statement and its proof. The prompt is the one that proofs are asked for with."""

    problem: str
    formal_statement: str
    """What the proof proves: the statement, or its negation."""
    proof: str
    """Tactics alone."""
    proved: Literal["statement", "negation"]
    grade: Grade
    language: Language


class FormalizedProblem(Completion, kw_only=True):
    """A problem, as the formalizer is asked for it, and its statement. Only of statements that were proved."""

    problem: str
    language: Language


@recipe("deepseek-prover-round", seeds="competition_problems.jsonl")
async def deepseek_prover_round(
    row: CompetitionProblem,
    formalizer: Complete,
    grader: Complete,
    generator: Complete,
    prover: Prove,
    run: Run,
    *,
    grades_kept: tuple[Grade, ...] = ("excellent", "good", "above average"),
    hypothesis_tries: Annotated[int, Meta(ge=0)] = 4,
    proof_tries: Annotated[int, Meta(ge=1)] = 16,
    negate: Literal["goal", "whole"] = "goal",
    temperature: float = 0.7,
    max_statement_tokens: Annotated[int, Meta(ge=1)] = 512,
    max_grade_tokens: Annotated[int, Meta(ge=1)] = 512,
    max_proof_tokens: Annotated[int, Meta(ge=1)] = 1024,
) -> AsyncIterator[ProvedStatement | FormalizedProblem]:
    """Formalize a problem, sift the statements, and race the proof of each with that of its negation.

    A statement has to type-check, to get one of the better grades, and to survive the attempt to prove False from its
    hypotheses. Then two streams of whole proofs run side by side, for the statement and for its negation; the first
    that the proof assistant accepts ends both. A proved negation is a row like any other. (Xin et al. 2024,
    arXiv:2405.14333, section 3. There Lean 4; here the language is the prover's, Coq or Lean 4. In the paper one model,
    DeepSeekMath-Base 7B trained on MMA, is formalizer, grader and generator.)

    This is one round, of models that need not be trainable; `deepseek-prover` is the loop around it.

    Which stream wins can depend on speed. It is journaled, so a replay has the same winner.

    Args:
        formalizer: translates problems into statements.
        grader: at temperature 0, shown four graded examples.
        generator: writes proofs.
        prover: checks them.
        grades_kept: of the five.
        hypothesis_tries: attempts to prove False from the hypotheses; 0: none. Not from the paper.
        proof_tries: attempts at the statement and at its negation, each (k in the paper, which we do not know).
        negate: what "not" is put around: the goal, under the same hypotheses, as in the paper; or the whole statement,
            so that one counterexample refutes it.
        temperature: of statements and proofs. Not from the paper.
        max_statement_tokens: tokens of a statement. Not from the paper.
        max_grade_tokens: tokens of a grade with its consideration. Not from the paper.
        max_proof_tokens: tokens of a proof. Not from the paper.

    Rejects: statements with `truncated`, `no_statement` (it is not one theorem alone; details: message), `ill_typed`
        (details: outcome, message), `unread_grade`, `low_grade` (details: grade), `contradictory` (details: proof),
        `unproved` (details: tries); proofs with `truncated`, `other_statement`, and `not_accepted` (details: of, the
        side; outcome, message).
    """
    if prover.model not in get_args(Language):
        raise BadInput(
            f"deepseek-prover-round has prompts for Coq and Lean 4; the prover's language is {prover.model!r}"
        )
    language: Language = prover.model  # type: ignore[assignment]

    async def accepted(claim: Statement, tries: int, of: str) -> tuple[Statement, str] | None:
        """The first proof of a claim that the assistant accepts."""
        for _ in range(tries):
            reply = await generator.complete(
                PROVE[language](statement=claim),
                temperature=temperature,
                max_tokens=max_proof_tokens,
                stop=END_OF_PROOF[language],
            )
            try:
                proof = proof_in(reply, claim)
            except Bad as bad:
                run.reject(reply, bad.reason, of=of, **bad.details)
                continue
            said = await prover.proves(str(claim), proof)
            if said.ok:
                return claim, proof
            run.reject(reply, "not_accepted", of=of, outcome=said.outcome, message=said.message)
        return None

    question = FORMALIZE[language](problem=row.problem)
    reply = await formalizer.complete(
        question, temperature=temperature, max_tokens=max_statement_tokens, stop=END_OF_BLOCK
    )
    try:
        statement = split(code_in(reply), language)
    except Bad as bad:
        run.reject(reply, bad.reason)
        return
    except Improper as improper:
        run.reject(reply, "no_statement", message=str(improper))
        return
    if not (said := await prover.states(str(statement))).ok:
        run.reject(str(statement), "ill_typed", outcome=said.outcome, message=said.message)
        return

    judgement = await grader.complete(
        GRADE[language](statement=statement), temperature=0.0, max_tokens=max_grade_tokens, stop=END_OF_GRADE
    )
    if not (grade := grade_in(judgement.text)):
        run.reject(judgement, "unread_grade")
        return
    if grade not in grades_kept:
        run.reject(str(statement), "low_grade", grade=grade)
        return

    contradiction = absurd(statement)
    if contradiction.closed != "False" and (found := await accepted(contradiction, hypothesis_tries, "False")):
        run.reject(str(statement), "contradictory", proof=found[1])
        return

    denied = negation(statement, whole=negate == "whole")
    found = await run.race(accepted(statement, proof_tries, "statement"), accepted(denied, proof_tries, "negation"))
    if found is None:
        run.reject(str(statement), "unproved", tries=proof_tries)
        return
    claim, proof = found
    if claim == statement:  # before the proof, with which a run may reach its target
        yield FormalizedProblem(question, written(statement), problem=row.problem, language=language)
    yield ProvedStatement(
        PROVE[language](statement=claim),
        f"{proof}\nQed." if language == "coq" else proof,
        problem=row.problem,
        formal_statement=str(claim),
        proof=proof,
        proved="statement" if claim == statement else "negation",
        grade=grade,
        language=language,
    )


def written(statement: Statement) -> str:
    """A statement with its proof left open."""
    return f"{statement} := by sorry" if statement.language == "lean4" else str(statement)


def code_in(reply: Reply) -> str:
    """What a reply says within the block that the prompt opened, or within the first that it opens itself."""
    before, fence, rest = reply.text.partition("```")
    if named := re.match(r"(?:coq|lean4?)[ \t]*\n", rest):
        before, fence, _ = rest[named.end() :].partition("```")
    if reply.truncated and not fence:
        raise Bad("truncated")
    return before


def proof_in(reply: Reply, claim: Statement) -> str:
    """The tactics of a reply. One that repeats the theorem has to repeat this one."""
    code = code_in(reply)
    if claim.language == "coq":
        code = re.split(r"(?<![\w.'])(?:Qed|Defined)\s*\.", code)[
            0
        ]  # a model without an end goes on with other theorems
    if re.match(r"\s*(?:Theorem|Lemma|theorem|lemma)\s", code):
        head, _, code = code.partition("Proof." if claim.language == "coq" else ":= by")
        try:
            same = split(head, claim.language) == claim
        except Improper:
            same = False
        if not same:
            raise Bad("other_statement", head=head)
    return code.strip("\n").rstrip()


def grade_in(text: str) -> Grade | None:
    """The grade that a judgement ends with; None where there is none, or more than one."""
    found = re.findall(rf"Grade:[\s*_]*({'|'.join(get_args(Grade))})\b", text, re.IGNORECASE)
    grades = {grade.lower() for grade in found}
    return next(grade for grade in get_args(Grade) if grade in grades) if len(grades) == 1 else None
