"""Ways to be told "ok" for a proof of 1 = 2, or to get out of the box. Run as a program: those that got through."""

import asyncio
import sys

from gristmill.verify.provers import Coq
from gristmill.verify.statements import split

FALSE = "Theorem t : 1 = 2."

# Told to the checker as a proof of FALSE.
PROOFS = {
    "qed and another": "Abort.",
    "ends and begins another": "Qed. Theorem u : 1 = 1. Proof. reflexivity.",
    "axiom": "Axiom a : 1 = 2. exact a.",
    "axiom in lower case disguise": "idtac. Local Axiom a : 1 = 2. exact a.",
    "hypothesis": "Hypothesis a : 1 = 2. exact a.",
    "variable": "Variable a : 1 = 2. exact a.",
    "context": "Context (a : 1 = 2). exact a.",
    "admitted": "Admitted.",
    "admit": "admit.",
    "admit inside": "assert (1 = 2) by admit. assumption.",
    "give up": "give_up.",
    "shelved": "assert (1 = 2). shelve. assumption.",
    "shelved and revived": "eexists ?[x]. Unshelve.",
    "nothing": "",
    "only words": "Proof. Qed.",
    "notation": 'Notation "x = y" := True. exact I.',
    "infix": "Infix plus := (fun _ _ => True). exact I.",
    "guard": "Unset Guard Checking. exact ((fix f (n : nat) : 1 = 2 := f n) 0).",
    "positivity": "Unset Positivity Checking. idtac.",
    "universes": "Unset Universe Checking. idtac.",
    "attribute": "#[bypass_check(guard)] Fixpoint f (n : nat) : 1 = 2 := f n. exact (f 0).",
    "attribute before a tactic": "#[bypass_check(guard)] exact I.",
    "fix without end": "exact ((fix f (n : nat) : 1 = 2 := f n) 0).",
    "fix without end, by tactics": "generalize 0. fix f 1. intro n. exact (f n).",
    "plugin": 'Declare ML Module "coq-core.plugins.extraction". exact I.',
    "load": "Load evil. exact I.",
    "load a file": 'Load "/etc/passwd".',
    "redirect": 'Redirect "Verdict" Print nat.',
    "extraction": "Extraction nat.",
    "cd": 'Cd "/".',
    "drop": "Drop.",
    "quit": "Quit.",
    "require": "Require Import Classical. exact I.",
    "module": "Module M. End M. exact I.",
    "ends a section": "End S.",
    "restart": "Restart. exact I.",
    "goal": "Goal True. exact I. Qed.",
    "fail": "Fail exact I. exact I.",
    "ltac": "Ltac lie := exact I. lie.",
    "hint": "Hint Resolve I. exact I.",
    "native": "native_compute. exact I.",
    "native cast": "native_cast_no_check (eq_refl 1).",
    "unchecked": "exact_no_check (eq_refl 1).",
    "unchecked change": "change_no_check (1 = 1). reflexivity.",
    "cast": "exact (eq_refl 1 <: 1 = 2).",
    "lazy cast": "exact (eq_refl 1 <<: 1 = 2).",
    "after a comment": "(* nothing *) Axiom a : 1 = 2. exact a.",
    "comment in a comment": "(* (* *) *) Axiom a : 1 = 2. exact a.",
    "comment that seems to go on": '(* " *) " *) Axiom a : 1 = 2. exact a.',
    "comment that seems to end": "(* (*) *) Axiom a : 1 = 2. exact a. (* *) *)",
    "comment to the end": "(* exact I.",
    "ends a comment of ours": "*) Axiom a : 1 = 2. exact a. (*",
    "admit behind a string": 'idtac "(*". admit. idtac "*)".',
    "a string": 'idtac "Closed under the global context".',
    "bullet": "- Axiom a : 1 = 2.",
    "brace": "{ Axiom a : 1 = 2. }",
    "braces": "assert (1 = 1). { reflexivity. } Axiom a : 1 = 2.",
    "selector": "1: Axiom a : 1 = 2.",
    "bullets and braces": "- + * { - Axiom a : 1 = 2. exact a. }",
    "no-break space": "idtac.\u00a0Axiom a : 1 = 2.\u00a0exact a.",
    "form feed": "idtac.\x0cAxiom a : 1 = 2.\x0cexact a.",
    "zero width": "idtac.\u200bAxiom a : 1 = 2.",
    "line separator": "idtac.\u2028Axiom a : 1 = 2.",
    "null": "idtac.\x00 Axiom a : 1 = 2.",
    "two dots": "idtac.. Axiom a : 1 = 2.",
    "three dots": "idtac... Axiom a : 1 = 2.",
    "no space": "exact I.Axiom a : 1 = 2.",
    "timeout": "Timeout 1 Axiom a : 1 = 2.",
    "print": "Print Assumptions t.",
    "query": "Search nat. exact I.",
    "a name of the judge's": "exact proved.",
    "discriminate": "discriminate.",
}

# Told as a statement; what stands below as its proof.
STATEMENTS = {
    "two sentences": ("Theorem t : 1 = 1. Theorem u : 1 = 2.", "reflexivity."),
    "with an axiom": ("Axiom a : False. Theorem t : 1 = 2.", "destruct a."),
    "with its proof": ("Theorem t : 1 = 1. Proof. reflexivity. Qed. Axiom a : False.", "reflexivity."),
    "closes our bracket": ("Theorem t : 1 = 1) -> (1 = 2", "reflexivity."),
    "says it by a tactic": ("Theorem t : ltac:(exact (1 = 1)).", "reflexivity."),
    "sets": ("Set Universe Polymorphism. Theorem t : 1 = 1.", "reflexivity."),
    "attribute": ("#[bypass_check(guard)] Theorem t : 1 = 1.", "reflexivity."),
    "no proposition": ("Theorem t : nat.", "exact 0."),
    "a hole": ("Theorem t : _ = 2.", "reflexivity."),
    "two theorems": ("Theorem t : 1 = 1 with u : 2 = 2.", "reflexivity."),
    "a definition": ("Definition t : 1 = 1.", "reflexivity."),
    "given its body": ("Theorem t : 1 = 1 := eq_refl.", "reflexivity."),
    "another name for it": ("Theorem t@{u} : 1 = 1.", "reflexivity."),
}

# Compiled as they stand, as if no text had been looked at: what the judge is to see through.
COMPILED = {
    "another statement": "Theorem t : 1 = 1. Proof. reflexivity. Qed.",
    "another name": "Theorem u : 1 = 1. Proof. reflexivity. Qed.",
    "notation": 'Notation "x = y" := True : type_scope. Theorem t : 1 = 2. Proof. exact I. Qed.',
    "number": 'Notation "1" := (S (S O)). Theorem t : 1 = 2. Proof. reflexivity. Qed.',
    "equality": "Inductive eq {A : Type} (x : A) : A -> Prop := any y : eq x y.\n"
    'Notation "x = y" := (eq x y) : type_scope. Theorem t : 1 = 2. Proof. apply any. Qed.',
    "axiom": "Axiom a : 1 = 2. Theorem t : 1 = 2. Proof. exact a. Qed.",
    "axiom as an allowed one": "Axiom functional_extensionality_dep : 1 = 2. Definition t := functional_extensionality_dep.",
    "axiom in a module of an allowed one": "Module FunctionalExtensionality. Axiom functional_extensionality_dep : 1 = 2.\n"
    "End FunctionalExtensionality. Definition t := FunctionalExtensionality.functional_extensionality_dep.",
    "itself an axiom": "Parameter t : 1 = 2.",
    "admitted": "Theorem t : 1 = 2. Proof. Admitted.",
    "admitted below": "Lemma u : False. Proof. Admitted. Theorem t : 1 = 2. Proof. destruct u. Qed.",
    "declared module": "Module Type P. Parameter p : 1 = 2. End P. Declare Module D : P. Definition t : 1 = 2 := D.p.",
    "sealed module": "Module Type P. Parameter p : 1 = 2. End P. Module D : P. Axiom p : 1 = 2. End D.\n"
    "Definition t : 1 = 2 := D.p.",
    "functor": "Module Type P. Parameter p : 1 = 2. End P. Module F (X : P). Definition q := X.p. End F. Declare Module D : P.\n"
    "Module G := F D. Definition t : 1 = 2 := G.q.",
    "instance": "Class C := c : 1 = 2. #[global] Declare Instance i : C. Definition t : 1 = 2 := c.",
    "section": "Section S. Hypothesis h : 1 = 2. Theorem t : 1 = 2. Proof. exact h. Qed. End S.",
    "guard": "Unset Guard Checking. Fixpoint f (n : nat) : 1 = 2 := f n. Definition t : 1 = 2 := f 0.",
    "guard, of an attribute": "#[bypass_check(guard)] Fixpoint f (n : nat) : 1 = 2 := f n. Definition t : 1 = 2 := f 0.",
    "positivity": "Unset Positivity Checking. Inductive bad := B (f : bad -> False). Set Positivity Checking.\n"
    "Definition n (b : bad) : False := match b with B f => f b end. Theorem t : 1 = 2. Proof. destruct (n (B n)). Qed.",
    "universes": "Require Import Hurkens. Unset Universe Checking.\n"
    "Theorem t : 1 = 2. Proof. destruct (TypeNeqSmallType.paradox Type eq_refl). Qed.",
    "prints less": "#[global] Set Printing Depth 0. #[global] Set Printing Width 1. Axiom t : 1 = 2.",
    "names of the judge's": "Definition statement := True. Definition proved := I. Theorem t : statement. Proof. exact I. Qed.",
    "a library of the same name": "Module Attempt. Theorem t : True. Proof. exact I. Qed. End Attempt. Axiom t : 1 = 2.",
    "coercion": "Definition c (n : nat) : Prop := True. Coercion c : nat >-> Sortclass. Theorem t : 1. Proof. exact I. Qed.",
    "irrelevance": "Set Definitional UIP. Inductive e {A : Type} (x : A) : A -> SProp := r : e x x. Axiom t : 1 = 2.",
}


async def through(coq: Coq, most: int = 1000) -> list[str]:
    """The names of those that got through; there should be none. `most`: of each kind."""
    slots = asyncio.Semaphore(2)
    found: list[str] = []

    async def prove(name: str, statement: str, proof: str) -> None:
        async with slots:
            if (await coq.proves(statement, proof)).ok:
                found.append(name)

    async def judge(name: str, text: str) -> None:
        async with slots:
            ran = await coq.compile(text, 60.0)
            if ran.failed or not ran.out:
                found.append(f"{name}: it never reached the judge: {ran.err}")
            elif (await coq.judge(split(FALSE, "coq"), ran.out, 60.0)).ok:
                found.append(f"{name}: the judge")

    await asyncio.gather(
        *(prove(name, FALSE, text) for name, text in [*PROOFS.items()][:most]),
        *(prove(name, statement, proof) for name, (statement, proof) in [*STATEMENTS.items()][:most]),
        *(judge(name, text) for name, text in [*COMPILED.items()][:most]),
    )
    return found


async def main() -> None:
    coq = Coq()
    await coq.start()
    if not (await coq.proves("Theorem t (n m : nat) : n + m = m + n.", "lia.")).ok:
        sys.exit("it proves nothing at all")
    if found := await through(coq, most=int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    asyncio.run(main())
