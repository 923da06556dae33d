"""Proof assistants: the real Coq in the real sandbox, and a command that answers as Lean 4 does."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

import proof_attacks
from exclusive import exclusive
from gristmill import BadInput, Chat, Completion, Prove, Row, Run, recipe
from gristmill.models.prover import Prover, from_spec
from gristmill.models.spec import parse
from gristmill.testing import Scripted, replay, run
from gristmill.verify import bubblewrap, provers
from gristmill.verify.provers import CLASSICAL, LIMITS, Coq, Lean
from gristmill.verify.statements import Improper, absurd, negation, split, tactics


@pytest.fixture(autouse=True)
def alone():
    """One test looks for processes of coqc, and must not find those of another worker."""
    with exclusive("coq"):
        yield


SUM = "Theorem t (n m : nat) : n + m = m + n."
REAL = "Theorem t (x : R) (h : (x > 3)%R) : (x > 2)%R."
ENDLESS = "let rec f x := f x in f I."


@pytest.fixture(scope="module")
def coq():
    found = Coq()
    with exclusive("coq"):
        asyncio.run(found.start())
    return found


# -- what is proved


@pytest.mark.parametrize(
    ("statement", "proof"),
    [
        (SUM, "lia."),
        (SUM, "Proof.\n  (* by \"lia\", *) intros; lia.\nQed."),
        (SUM, "induction n as [| n' IH].\n- { simpl. rewrite <- plus_n_O. reflexivity. }\n- lia.\n"),
        ("Lemma t : 1 = 1 /\\ (forall n : nat, n = 0 -> exists k, k = n) -> True \\/ False.", "intros _. left. exact I. Defined."),
        ("Theorem t : exists n, n * n = 49.", "eexists. Unshelve. 2: exact 7. 1: { reflexivity. }"),
        ("Theorem t : (2 ^ 10 = 1024)%Z.", "vm_compute. reflexivity."),
        (REAL, "lra."),
        ("Theorem t : ~ (forall n : nat, n < 5).", "intro h. specialize (h 5). lia."),
        ("Theorem t (x : nat) (h1 : x > 3) (h2 : x < 2) : False.", "lia."),
    ],
)  # fmt: skip
async def test_a_proof_of_the_statement_is_accepted(coq, statement, proof):
    said = await coq.proves(statement, proof)
    assert (said.outcome, said.message) == ("ok", "")
    assert said.seconds > 0


@pytest.mark.parametrize(
    ("proof", "outcome", "message"),
    [
        ("reflexivity.", "error", "Unable to unify"),
        ("lai.", "error", "lai"),
        ("intros", "refused", "full stop"),
        ("exact (lia).", "error", "lia"),
        ("", "open", "incomplete proof"),
        ("assert (n = n). Qed.", "open", "incomplete proof"),
        ("lia. Admitted.", "open", "Admitted"),
        ("assert (0 = 1) by admit. lia.", "open", "admit"),
        ("Axiom a : False. destruct a.", "refused", "Axiom a"),
        ("idtac (* .", "refused", "comment"),
    ],
)
async def test_what_is_no_proof_says_why(coq, proof, outcome, message):
    said = await coq.proves(SUM, proof)
    assert said.outcome == outcome
    assert message in said.message


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("Theorem t (n : nat) : n = 0. Proof. Admitted.", "ok"),
        ("Theorem t : 1 = 2.", "ok"),
        ("Theorem t (n : nat) : n = m.", "error"),
        ("Theorem t (n : nat) : n.", "error"),
        ("Theorem t : nat.", "error"),
        ("Theorem t : True : False", "error"),
        ("Theorem forall : True.", "error"),
        ("Theorem t n = n.", "refused"),
        ("Show that n = n.", "refused"),
        ("Theorem t : True. Theorem u : True.", "refused"),
    ],
)
async def test_a_statement_is_well_formed_or_not_whether_or_not_it_is_true(coq, statement, outcome):
    assert (await coq.states(statement)).outcome == outcome


async def test_axioms_are_told_and_those_that_are_not_allowed_are_refused(coq):
    allowed = await coq.proves(REAL, "lra.")
    assert {name.rpartition(".")[2] for name in allowed.axioms} <= provers.REAL_NUMBERS
    assert allowed.axioms
    strict = Coq(axioms=())
    strict.box = coq.box
    refused = await strict.proves(REAL, "lra.")
    assert (refused.outcome, refused.axioms) == ("axioms", allowed.axioms)
    assert "sig_forall_dec" in refused.message
    middle = "Theorem t (P : Prop) : P \\/ ~ P."
    refused = await coq.proves(middle, "apply Classical_Prop.classic.")
    assert (refused.outcome, refused.axioms) == ("axioms", ["Classical_Prop.classic"])
    classical = Coq(axioms=CLASSICAL)
    classical.box = coq.box
    assert (await classical.proves(middle, "apply Classical_Prop.classic.")).ok
    assert strict.identity() != coq.identity() != classical.identity()


# -- what must not pass


async def test_no_attack_is_told_ok(coq):
    assert len(proof_attacks.PROOFS) >= 60
    assert len(proof_attacks.COMPILED) >= 20
    assert await proof_attacks.through(coq) == []


async def test_the_judge_believes_a_compiled_proof_that_is_one_and_no_bytes_of_another_kind(coq):
    statement = split(proof_attacks.FALSE.replace("2", "1"), "coq")
    good = await coq.compile("Theorem t : 1 = 1. Proof. reflexivity. Qed.", 60.0)
    assert (await coq.judge(statement, good.out, 60.0)).ok
    for bad in (b"", b"Closed under the global context", good.out[:-100], good.out[:200] + bytes(50) + good.out[250:]):
        assert not (await coq.judge(statement, bad, 60.0)).ok


async def test_text_in_the_box_sees_no_file_of_the_machine_and_writes_none(coq, tmp_path):
    secret = tmp_path / "secret.v"
    secret.write_text("Definition found := 0.")
    for text in (
        f'Load "{secret}".',
        'Load "/etc/passwd".',
        'Load "/proc/1/environ".',
        'Cd "/usr". Redirect "x" Print nat.',
    ):
        ran = await coq.compile(text, 60.0)
        assert ran.code, text
        assert "Syntax error" not in ran.err, text
    assert not list_of("/usr", "x.*")
    assert list_of(tmp_path, "*") == ["secret.v"]


async def test_time_memory_and_output_have_limits():
    small = Coq(msgspec.structs.replace(LIMITS, seconds=2.0))
    await small.box.start()
    assert (await small.proves("Theorem t : True.", ENDLESS)).outcome == "timeout"
    small.limits = LIMITS
    assert (await small.proves("Theorem t : True.", "do 20000 idtac 7 7 7 7. exact I.")).outcome == "output"
    small.limits = msgspec.structs.replace(LIMITS, memory_mb=300)
    assert (await small.proves("Theorem t : True.", "exact I.")).outcome == "memory"


async def test_a_cancelled_question_leaves_no_process_behind(coq):
    before = processes()
    asked = asyncio.create_task(coq.proves("Theorem t : True.", ENDLESS))
    while len(processes()) == len(before):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert processes() <= before


def list_of(folder, pattern: str) -> list[str]:
    return [path.name for path in Path(folder).glob(pattern)]


def processes() -> set[str]:
    """Those of coqc on this machine that read a file of ours."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"Attempt.v" in path.read_bytes():
                found.add(path.parent.name)
    return found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_prove_and_not_cheat_either():
    as_nobody = [shutil.which("setpriv") or "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(prefix="gristmill-nobody-") as home:
        os.chmod(home, 0o777)
        environment = {
            "HOME": home,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
            with contextlib.suppress(OSError):
                works = [*as_nobody, python, "-c", "import msgspec, gristmill.verify.provers"]
                if not subprocess.run(works, env=environment, cwd="/", capture_output=True).returncode:
                    break
        else:
            pytest.skip("no Python here that an ordinary user can start, with these packages")
        done = subprocess.run(
            [*as_nobody, python, proof_attacks.__file__, "3"], env=environment, cwd="/", capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr


# -- where it cannot work


async def test_without_coq_or_bubblewrap_nothing_is_proved_and_the_message_says_what_to_install(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(bubblewrap, "_bwraps", list)
        with pytest.raises(BadInput, match=r"apt install coq bubblewrap.*no bwrap"):
            await Coq().start()
    with monkeypatch.context() as patch:
        patch.setattr(provers.shutil, "which", lambda name, path=None: None)
        with pytest.raises(BadInput, match=r"apt install coq bubblewrap.*no /usr/bin/coqc"):
            await Coq().start()


# -- the role


class Claim(Row):
    statement: str


@recipe("prove")
async def prove(row: Claim, generator: Chat, prover: Prove, run: Run) -> AsyncIterator[Completion]:
    """A proof."""
    if not (said := await prover.states(row.statement)).ok:
        run.reject(row, said.outcome)
        return
    reply = await generator.chat(row.statement)
    said = await prover.proves(row.statement, reply.text)
    if said.ok:
        yield Completion(row.statement, f"{prover.model}: {reply.text}")
    else:
        run.reject(reply, said.outcome, message=said.message)


CLAIMS = [{"statement": SUM}, {"statement": "Theorem t : 1 = 2."}, {"statement": "Theorem t : x."}]


async def test_what_coq_says_is_journaled_and_a_replay_proves_nothing_again(monkeypatch):
    generator = Scripted(lambda question: "lia.")
    done = await run(prove, CLAIMS, generator=generator)  # Coq plays the role unless another is named
    assert [row.completion for row in done.rows] == ["coq: lia."]
    assert [reject.reason for reject in done.rejects] == ["error", "error"]
    monkeypatch.setattr(bubblewrap, "_bwraps", list)  # as on a machine that has none of it
    again = await replay(done, model={"generator": Scripted(), "prover": "prover:coq"})
    assert (again.rows, again.calls) == (done.rows, 0)


async def test_no_more_questions_are_asked_at_once_than_there_are_workers():
    assert from_spec(parse("prover:coq"), None).most == os.cpu_count()
    assert from_spec(parse("prover:lean4,concurrency=3,timeout=7"), None).most == 3
    assert from_spec(parse("prover:lean4,timeout=7"), None).identity()["seconds"] == 7
    at_once, most = 0, 0

    class Slow(Coq):
        async def start(self):
            pass

        async def states(self, text):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            at_once -= 1
            return provers.Proof("refused")

    done = await run(prove, CLAIMS * 5, generator=Scripted(), prover=Prover(Slow(), workers=2))
    assert len(done.rejects) == 15
    assert most == 2


async def test_a_box_that_fails_is_a_failure_of_the_row_and_no_verdict(monkeypatch):
    backend = Prover(Coq())
    await backend.start()
    monkeypatch.setattr(backend, "start", lambda: asyncio.sleep(0))
    link = backend._assistant.box._link
    monkeypatch.setattr(link, "base", [*link.base, "--no-such-option"])
    done = await run(prove, CLAIMS[:1], generator=Scripted(), prover=backend, allow_failures=True)
    assert (done.rows, done.rejects) == ([], [])
    assert "no-such-option" in done.failures[0].error


# -- the language


@pytest.mark.parametrize(
    ("text", "name", "binders", "goal"),
    [
        ("Theorem t : True.", "t", "", "True"),
        ("Lemma a_1' (n m : nat) {h : n < m} : n <= m.", "a_1'", "(n m : nat) {h : n < m}", "n <= m"),
        ("  Example t n m : n = m -> (fun x : nat => x) n = m.\nProof.\nAdmitted.", "t", "n m", "n = m -> (fun x : nat => x) n = m"),
        ("Theorem (* why: *) t : (* so *) {x : nat | x = 0} = {x : nat | x = 0}.", "t", "", "{x : nat | x = 0} = {x : nat | x = 0}"),
        ("Theorem t (l := [1; 2] ++ [3]) : l = 1 :: [2; 3]. Abort.", "t", "(l := [1; 2] ++ [3])", "l = 1 :: [2; 3]"),
    ],
)  # fmt: skip
def test_a_statement_of_coq_is_taken_apart(text, name, binders, goal):
    found = split(text, "coq")
    assert (found.name, found.binders, found.goal) == (name, binders, goal)
    assert split(str(found), "coq") == found


@pytest.mark.parametrize(
    ("text", "name", "binders", "goal"),
    [
        ("theorem t : True := by sorry", "t", "", "True"),
        ("lemma Nat.t' {n : ℕ} (h : n > 3) : n > 2 := by\n  sorry", "Nat.t'", "{n : ℕ} (h : n > 3)", "n > 2"),
        ("theorem t\n  (x : ℝ) -- a real: one\n  : x = x :=", "t", "(x : ℝ)", "x = x"),
        ("theorem t : ({x : ℕ | x < 3} : Set ℕ) = ⟨fun x => x⟩ /- := -/", "t", "", "({x : ℕ | x < 3} : Set ℕ) = ⟨fun x => x⟩"),
        ("theorem t (f : ℕ → ℕ := id) : f 1 = 1", "t", "(f : ℕ → ℕ := id)", "f 1 = 1"),
    ],
)  # fmt: skip
def test_a_statement_of_lean_is_taken_apart(text, name, binders, goal):
    found = split(text, "lean4")
    assert (found.name, found.binders, found.goal) == (name, binders, goal)
    assert str(found) == " ".join(f"theorem {name} {binders}".split()) + f" : {goal}"
    assert split(str(found), "lean4") == found


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("coq", ""),
        ("coq", "True."),
        ("coq", "Theorem : True."),
        ("coq", "Theorem t."),
        ("coq", "Theorem t :."),
        ("coq", "Theorem t (n : nat : n = n."),
        ("coq", "Theorem t (n : nat] : n = n."),
        ("coq", "Theorem t : True. exact I. Qed."),
        ("coq", "Require Import Lia. Theorem t : True."),
        ("coq", 'Theorem t : "a" = "b".'),
        ("coq", "theorem t : True := by sorry"),
        ("lean4", "theorem t : True := by trivial"),
        ("lean4", "theorem t : True := trivial"),
        ("lean4", "import Mathlib\ntheorem t : True := by sorry"),
        ("lean4", "theorem t : True\ntheorem u : False := by sorry"),
        ("lean4", "theorem t : True\naxiom u : False"),
        ("lean4", "theorem t : sorry := by sorry"),
        ("lean4", "def t : True := by sorry"),
        ("lean4", "theorem t (n : ℕ : n = n := by sorry"),
        ("lean4", "Theorem t : True."),
    ],
)
def test_what_is_not_one_theorem_alone_is_not_taken_apart(language, text):
    with pytest.raises(Improper):
        split(text, language)


@pytest.mark.parametrize(
    ("language", "text", "denied", "contradiction"),
    [
        ("coq", "Theorem t (x : nat) (h1 : x > 3) : x = 5.", "(x : nat) (h1 : x > 3) : ~ (x = 5).", "(x : nat) (h1 : x > 3) : False."),
        ("coq", "Theorem t : forall n, n > 3 -> n < 2 -> n = 5.", ": ~ (forall n, n > 3 -> n < 2 -> n = 5).", ": forall n, n > 3 -> n < 2 -> False."),
        ("coq", "Theorem t n : n <> 0 -> exists k, k < n -> k = 0.", "n : ~ (n <> 0 -> exists k, k < n -> k = 0).", "n : n <> 0 -> False."),
        ("coq", "Theorem t : (1 = 1 <-> 2 = 2) -> forall P : Prop, P.", ": ~ ((1 = 1 <-> 2 = 2) -> forall P : Prop, P).", ": (1 = 1 <-> 2 = 2) -> forall P : Prop, False."),
        ("coq", "Theorem t : exists n, n = 0 -> n = 1.", ": ~ (exists n, n = 0 -> n = 1).", ": False."),
        ("coq", "Theorem t : 1 = 1 /\\ forall n, n = 0 -> n = 1.", ": ~ (1 = 1 /\\ forall n, n = 0 -> n = 1).", ": False."),
        ("lean4", "theorem t (x : ℕ) (h : x > 3) : x = 5 := by sorry", "(x : ℕ) (h : x > 3) : ¬ (x = 5)", "(x : ℕ) (h : x > 3) : False"),
        ("lean4", "theorem t : ∀ x > 3, x < 2 → x = 5", ": ¬ (∀ x > 3, x < 2 → x = 5)", ": ∀ x > 3, x < 2 → False"),
        ("lean4", "theorem t : 1 = 1 → 2 = 2 ↔ 3 = 3", ": ¬ (1 = 1 → 2 = 2 ↔ 3 = 3)", ": False"),
        ("lean4", "theorem t (P : Prop) : P -> ∃ x, x = 1 → x = 2", "(P : Prop) : ¬ (P -> ∃ x, x = 1 → x = 2)", "(P : Prop) : P -> False"),
        ("lean4", "theorem t (f : ℕ →+ ℕ) : ∀ g : ℕ →+ ℕ, f = g", "(f : ℕ →+ ℕ) : ¬ (∀ g : ℕ →+ ℕ, f = g)", "(f : ℕ →+ ℕ) : ∀ g : ℕ →+ ℕ, False"),
    ],
)  # fmt: skip
def test_a_statement_is_negated_and_its_hypotheses_are_kept_for_false(language, text, denied, contradiction):
    statement = split(text, language)
    head = "Theorem t " if language == "coq" else "theorem t "
    assert str(negation(statement)) == head + denied
    assert str(absurd(statement)) == head + contradiction


def test_the_whole_can_be_negated_so_that_one_counterexample_is_enough():
    small = split("Theorem t (n : nat) (h : n > 0) : n < 5.", "coq")
    assert str(negation(small, whole=True)) == "Theorem t : ~ (forall (n : nat) (h : n > 0), n < 5)."
    small = split("theorem t (n : ℕ) : n < 5", "lean4")
    assert str(negation(small, whole=True)) == "theorem t : ¬ (∀ (n : ℕ), n < 5)"


async def test_negations_and_contradictions_mean_what_they_say(coq):
    false = split("Theorem t (n : nat) (h : n > 3) : n < 5.", "coq")
    proof = "intro h. specialize (h 7). lia."
    assert (await coq.proves(str(negation(false, whole=True)), proof)).ok
    assert (await coq.proves(str(negation(split("Theorem t (n : nat) : n + 1 = n.", "coq"))), "lia.")).ok
    assert not (await coq.proves(str(absurd(false)), "lia.")).ok
    for text in (
        "Theorem t (x : nat) (a : x > 3) (b : x < 2) : x = 5.",
        "Theorem t : forall x, x > 3 -> x < 2 -> x = 5.",
    ):
        assert (await coq.proves(str(absurd(split(text, "coq"))), "lia.")).ok


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (":= by\n  norm_num\n  linarith", "  norm_num\n  linarith"),
        ("by simp", "  simp"),
        ("norm_num -- easy\ncases h with\n| inl a => exact a /- or\nnot -/\n| inr b => exact b", "  norm_num\n  cases h with\n  | inl a => exact a\n  | inr b => exact b"),
    ],
)  # fmt: skip
def test_a_proof_for_lean_is_moved_off_the_margin(text, kept):
    assert tactics(text, "lean4") == kept


# -- Lean, as far as it goes without one

FAKE = r"""#!/bin/sh
[ "$1" = --print-prefix ] && { cd "$(dirname "$0")/.." && pwd; exit; }
[ "$1 $2" = "--json Attempt.lean" ] || exit 9
line() { grep -n -m1 -- "$1" "$2" | cut -d: -f1; }
say() { printf '{"severity":"%s","pos":{"line":%s,"column":0},"endPos":null,"kind":"[anonymous]","isSilent":false,"fileName":"Attempt.lean","data":"%s","caption":""}\n' "$1" "$2" "$3"; }
head=$(line '^theorem' $2); ask=$(line '^#print axioms t$' $2); example=$(line '^example' $2)
has() { grep -q -- "$1" Attempt.lean; }
has 'by sorry' && say warning $head "declaration uses 'sorry'"
has lai && { say error $((head + 1)) "unknown tactic 'lai'"; exit 1; }
has skip && { say error $head "unsolved goals\nx : Nat\n⊢ False"; exit 1; }
has nope && { say error $head "unknown identifier 'nope'"; exit 1; }
has segfault && kill -SEGV $$
has loop && sleep 60
has elsewhere && { say error $example "type mismatch"; exit 1; }
[ "$ask" ] || exit 0
has forge && say info $((head + 1)) "'t' does not depend on any axioms"
has unsound && { say info $ask "'t' depends on axioms: [propext,\n evil]"; exit 0; }
has hidden && { say info $ask "'t' depends on axioms: [propext, sorryAx]"; exit 0; }
has forge && { say info $ask "'t' depends on axioms: [evil]"; exit 0; }
has silent && exit 0
has choice && { say info $ask "'t' depends on axioms: [propext,\n Classical.choice,\n Quot.sound]"; exit 0; }
say info $ask "'t' does not depend on any axioms"
"""


@pytest.fixture
async def lean(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="gristmill-lean-") as home:
        os.chmod(home, 0o755)
        (path := Path(home, "bin")).mkdir()
        (path / "lean").write_text(FAKE)
        (path / "lean").chmod(0o755)
        monkeypatch.setenv("GRISTMILL_LEAN", str(path / "lean"))
        found = Lean()
        await found.start()
        yield found


@pytest.mark.parametrize(
    ("proof", "outcome", "said"),
    [
        ("norm_num", "ok", []),
        ("exact choice", "ok", ["propext", "Classical.choice", "Quot.sound"]),
        ("lai", "error", "5: unknown tactic"),
        ("skip", "open", "unsolved goals"),
        ("exact unsound", "axioms", "evil"),
        ("exact forge", "axioms", "evil"),
        ("exact hidden", "open", "sorry"),
        ("exact elsewhere", "error", "type mismatch"),
        ("exact silent", "error", "did not say"),
        ("exact segfault", "error", ""),
        ("sorry", "open", "sorry"),
        ("exact h\naxiom evil : False", "refused", "axiom"),
        ("exact h\n\ntheorem u : True := by trivial", "refused", "theorem"),
        ("native_decide", "refused", "native_decide"),
        ("set_option debug.skipKernelTC true in exact h", "refused", "set_option"),
        ("run_tac pure ()", "refused", "run_tac"),
        ("exact h\n#eval 1", "refused", "#"),
        ("open Lean Elab in exact h", "refused", "open"),
        ('exact h\n-- "\nmacro "t" : term => `(1) -- "', "refused", "string"),
        ("exact h\nmacro_rules | _ => 1", "refused", "macro_rules"),
        ("exact h /- /- -/ axiom -/", "ok", []),
        ("exact h /- -/ axiom a : False", "refused", "axiom"),
        ("exact h /- --/ axiom a : False", "refused", "axiom"),
    ],
)
async def test_what_lean_prints_is_read(lean, proof, outcome, said):
    found = await lean.proves("theorem t (n : ℕ) : n = n := by sorry", proof)
    assert found.outcome == outcome, found
    assert (found.axioms == said) if isinstance(said, list) else (said in found.message)


async def test_lean_is_given_the_statement_the_proof_and_what_asks_about_them(lean, monkeypatch):
    given = []
    run_it = lean.box.run
    monkeypatch.setattr(lean.box, "run", lambda script, files, *rest, **more: (given.append(files), run_it(script, files, *rest, **more))[1])  # fmt: skip
    await lean.proves("lemma t {n : ℕ} (h : n > 3) : n > 2 := by sorry", "by\n  omega")
    header = "import Mathlib\nset_option maxHeartbeats 400000\nopen BigOperators Real Nat Topology Rat\n"
    assert given[0]["Attempt.lean"].decode() == header + (
        "theorem t {n : ℕ} (h : n > 3) : n > 2 := by\n  omega\n"
        "example : (∀ {n : ℕ} (h : n > 3), n > 2) := @t\n#print axioms t\n"
    )
    assert (await lean.states("theorem t : 1 = 2 := by sorry")).ok
    assert (await lean.states("theorem t : nope := by sorry")).outcome == "error"
    assert given[-2]["Attempt.lean"].decode() == header + "theorem t : 1 = 2 := by sorry\n"


async def test_lean_has_limits_and_says_what_to_install(lean, monkeypatch):
    lean.limits = msgspec.structs.replace(lean.limits, seconds=1.0)
    assert (await lean.proves("theorem t : True", "exact loop")).outcome == "timeout"
    monkeypatch.setenv("GRISTMILL_LEAN", "/no/such/lean")
    with pytest.raises(BadInput, match=r"(?s)lean-lang.org/install.*bubblewrap.*GRISTMILL_LEAN.*/no/such/lean"):
        await Lean().start()


async def test_lake_tells_where_the_libraries_are(monkeypatch, lean):
    home = Path(os.environ["GRISTMILL_LEAN"]).parent.parent
    (lake := home / "bin" / "lake").write_text(
        f'#!/bin/sh\n[ "$1" = env ] || exit 9\nshift\nPATH={home}/bin:$PATH LEAN_PATH={home}/lib:/nowhere exec "$@"\n'
    )
    lake.chmod(0o755)
    (home / "lib").mkdir()
    monkeypatch.setenv("GRISTMILL_LEAN", f"{lake} env lean")
    other = Lean()
    await other.start()
    assert (other._lean, other._path) == (f"{home}/bin/lean", f"{home}/lib:/nowhere")
    assert (await other.proves("theorem t : True", "trivial")).ok
