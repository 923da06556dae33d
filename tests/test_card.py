"""The dataset card: its numbers are the facts' numbers, what was not measured says so, its files are what they say."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gristmill
from annotating import waiting
from gristmill import BadInput, Chain, Chat, Completion, Document, Labelled, Row, Rows, Run, recipe
from gristmill.check import SUITE, check, facts, open_set
from gristmill.cli import main
from gristmill.execute import looking
from gristmill.export import card
from gristmill.export.card import check_card, exportable, renew, write_quality
from gristmill.export.croissant import problems
from gristmill.export.facts import facts_of, unbalanced
from gristmill.ops.prompts import Prompt
from gristmill.printing import facts as summary
from gristmill.printing import report
from gristmill.quality import values
from gristmill.quality.values import Found, Measure
from gristmill.testing import Scripted, folder, replay, run
from recipes_for_tests import growing, two_calls

ASK = Prompt("Ask about {number}, in 40 words.")
SEEDS = [{"question": f"Name {number}"} for number in range(1, 31)]
WRITTEN = """
purpose = "Teaching a model\\nto name numbers; about 5,000 of them."
out_of_scope = "# Anything else"
limits = "Only small numbers."
licence = "CC-BY-4.0"
language = "en, no"
contact = "somebody@example.org"
[terms]
scripted = "Apache-2.0"
"""


class Mixed(Row):
    """Columns of every kind."""

    name: str
    count: int
    share: float | None
    good: bool
    words: list[str]
    free: dict[str, int]


@recipe("mixed")
async def mixed(run: Run) -> AsyncIterator[Mixed]:
    """Rows from nothing."""
    yield Mixed(name="a|b", count=1, share=None, good=True, words=["x"], free={"y": 2})


@recipe("asks", paper="Nobody 2024", title="Asking", arxiv="2401.00001", year=2024, version=3)
async def asks(model: Chat, run: Run, *, temperature: float = 0.5) -> AsyncIterator[Completion]:
    """A question from nothing."""
    number = run.draw("number", list(range(1000)))
    reply = await model.chat(ASK(number=number), temperature=temperature, max_tokens=64)
    if number % 5 == 0:
        run.reject(reply, "fifth")
    elif number % 7 == 0:
        raise ValueError("seventh")
    else:
        yield Completion(str(number), reply.text)


@recipe("odd")
async def odd(row: Row, run: Run) -> AsyncIterator[Row]:
    """Odd rows only."""
    number = int(row.prompt)
    if number % 11 == 0:
        raise ValueError("eleven")
    if number % 13 == 0:
        return
    if number % 2:
        yield row
    else:
        run.reject(row, "even")


@recipe("few")
async def few(rows: Rows[Row], run: Run) -> AsyncIterator[Row]:
    """The first of each ending."""
    seen = set()
    for row in rows:
        if row.prompt[-1] in seen:
            run.reject(row, "ending")
        elif row.prompt[-1] != "3":
            seen.add(row.prompt[-1])
            yield row


@recipe("both")
async def both(row: Row, run: Run) -> AsyncIterator[Row]:
    """A row that is put aside and kept: no plain filter."""
    run.reject(row, "kept all the same")
    yield row


@recipe("two-tables")
async def two_tables(run: Run) -> AsyncIterator[Labelled | Document]:
    """Rows of two types."""
    yield Labelled(text="good", label="yes")
    yield Document("a text")


class Said(Completion, kw_only=True):
    """A row of a loop."""

    iteration: int


class Round(Row):
    """What a round came to."""

    round: int
    loss: float


class Tale(Completion):
    """A row that does not say of which round it is."""


def tell(number: int, words: int) -> str:
    """40 words by chance out of so many."""
    return " ".join(f"w{random.Random(f'{number} {place}').randrange(words)}" for place in range(40))


@recipe("looping")
async def looping(
    rows: Rows[Completion], run: Run, *, words: tuple[int, ...] = (2000, 200, 20), each: int = 20
) -> AsyncIterator[Said]:
    """Rounds, each of texts of fewer different words than the one before."""
    for iteration, many in enumerate(words, start=1):
        for number in range(each):
            made = Said("Go on.", tell(100 * iteration + number, many), iteration=iteration)
            run.link(made, rows[0])
            yield made


@recipe("handing-down")
async def handing_down(rows: Rows[Completion], run: Run, *, generations: int = 3) -> AsyncIterator[Tale]:
    """Rows that are made of the rows before."""
    parents: list[Row] = [rows[0]]
    for generation in range(generations):
        children = [Tale("Go on.", tell(100 * generation + number, 2000)) for number in range(20)]
        for child in children:
            run.link(child, parents[0])
            yield child
        parents = children


def says(question):
    return f"{question.messages[-1].content} is what was asked for."


@pytest.fixture
async def done():
    return (await run(two_calls, SEEDS, model=Scripted(says))).folder


@pytest.fixture
async def whole():
    """A chain in which rows are lost in every way."""
    made = await gristmill.arun(Chain([asks, odd, few]), units=90, model=Scripted(says), out=folder())
    return made.folder


def load(path: Path, name: str = "card.json"):
    return json.loads((path / name).read_text())


def measured(**values):
    found = Found(check="c2st", measures=[Measure(**values)], notes=["A note of 17 words"])
    empty = open_set([{"text": "a"}])
    done = check(empty, only=["mauve"])
    done.found["two-sample-test"] = found
    plain = facts(done)
    verdict = {"check": "two-sample-test", "title": "Told from the reference", "state": "fine", "said": "said"}
    others = [one for one in plain["verdicts"] if one["check"] != verdict["check"]]
    return plain | {"verdicts": [*others, verdict | {"flagged": {}, "seconds": 0.1}]}


# -- numbers


async def test_changing_one_number_in_the_card_by_hand_makes_the_check_fail(whole):
    write_quality(whole, facts(check(open_set(whole), only=["duplicates", "toxicity"])))
    assert check_card(whole) == []
    path = whole / "README.md"
    text = path.read_text()
    tried = 0
    for found in list(re.finditer(r"\d+", text))[::6]:
        number = found.group()
        other = str((int(number[0]) + 1) % 10) + number[1:]
        path.write_text(text[: found.start()] + other + text[found.end() :])
        line = text.count("\n", 0, found.start()) + 1
        [said] = check_card(whole)
        assert said.startswith(f"README.md:{line}: ")
        tried += 1
    assert tried > 40
    path.write_text(text)
    assert check_card(whole) == []


async def test_a_number_that_another_fact_has_is_wrong_in_this_place(done):
    text = (done / "README.md").read_text()
    (done / "README.md").write_text(text.replace("| seventh | 4 |", "| seventh | 26 |"))
    [said] = check_card(done)
    assert said.endswith("26, but the facts say 4")
    lines = text.splitlines()
    a, b = (next(n for n, line in enumerate(lines) if line.startswith(start)) for start in ("26 rows", "Of 30 rows"))
    lines[a], lines[b] = lines[a].replace("26", "4"), lines[b].replace("4 dropped", "26 dropped")
    (done / "README.md").write_text("\n".join(lines))
    assert len(check_card(done)) == 3  # 26 and 26 of the first, 4 of the other


async def test_prose_may_repeat_the_facts_numbers_and_no_others(done):
    path = done / "README.md"
    text = path.read_text()
    path.write_text(text.replace("## Quality", "There are 26 rows of 30 seeds.\n\n## Quality"))
    assert check_card(done) == []
    path.write_text(text.replace("## Quality", "About 2,600 rows are good.\n\n## Quality"))
    [said] = check_card(done)
    assert said.endswith("2,600 does not occur in the facts")
    path.write_text(text.replace("| seventh | 4 |\n", ""))
    assert check_card(done) == ["README.md lacks a line with numbers: | seventh | 4 |"]
    path.write_text(text.replace("| seventh | 4 |", "| seventh | four |"))
    assert "lacks a line with numbers: | seventh | 4 |" in check_card(done)[0]


async def test_a_verdict_that_was_changed_by_hand_is_found_though_it_holds_no_number(done):
    write_quality(done, facts(check(open_set(done), only=["duplicates"])))
    path = done / "README.md"
    text = path.read_text()
    lines = [line for line in text.splitlines() if "not measured. It was left out." in line]
    line = next(line for line in lines if not re.search(r"\d", line))
    for now in (line.replace("not measured. It was left out.", "fine."), ""):
        path.write_text(text.replace(line, now, 1))
        assert check_card(done) == [f"README.md lacks a line of facts: {line}"]
    path.write_text(text.replace("Intended use:", "Meant for:"))
    assert check_card(done) == []


async def test_a_number_changed_in_the_facts_or_in_the_report_is_found_too(whole):
    write_quality(whole, measured(name="accuracy", value=0.5))
    for name, was, now in [
        ("card.json", '"answers": 90', '"answers": 91'),
        ("report.json", '"value": 0.5', '"value": 0.6'),
        ("croissant.json", "application/x-parquet", "text/csv"),
    ]:
        text = (whole / name).read_text()
        assert was in text
        (whole / name).write_text(text.replace(was, now))
        assert len(check_card(whole)) == 1
        (whole / name).write_text(text)
    card = load(whole)
    card["facts"]["whole"]["dropped"]["few: ending"] += 1
    (whole / "card.json").write_text(json.dumps(card))
    assert any("generated are not" in one for one in check_card(whole))


async def test_a_card_that_is_gone_or_no_card_is_said_and_not_raised(done):
    (done / "card.json").write_text("{")
    assert "cannot be read" in check_card(done)[0]
    (done / "card.json").unlink()
    [said] = check_card(done)
    assert "has no card.json" in said
    assert exportable(done) == [f"counts: {said}"]
    with pytest.raises(BadInput, match=r"has no card\.json"):
        renew(done)


async def test_rows_that_were_changed_since_are_named(done):
    path = done / "data" / "completion.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    assert check_card(done) == ["data/completion.parquet is not the file that card.json tells of"]


# -- what was not measured


async def test_an_unmeasured_metric_shows_not_measured_and_neither_0_nor_blank(done):
    def shown():
        [line] = [line for line in (done / "README.md").read_text().splitlines() if line.startswith("| accuracy of it")]
        return [cell.strip() for cell in line.strip("|").split("|")][1:]

    write_quality(done, measured(name="accuracy_of_it", value=None, why="too few rows"))
    tool = f"c2st, gristmill {gristmill.__version__}"
    assert shown() == ["not measured (too few rows)", "not measured", "not measured", "0 rows", tool]
    write_quality(done, measured(name="accuracy_of_it", value=0.0, low=0.0, high=0.25, reference=0.125, n=9))
    assert shown() == ["0", "0 to 0.25", "0.125", "9 rows", tool]
    write_quality(done, measured(name="accuracy_of_it", value=1.0, null=0.5))
    assert shown() == ["1", "not measured", "0.5 between two halves", "0 rows", tool]
    assert "  - A note of 17 words" in (done / "README.md").read_text()


async def test_every_check_of_the_suite_has_its_place_and_what_was_left_out_is_not_measured(done):
    names = {one.name for one in SUITE}
    assert {name for group in card.CHECKS.values() for name in group} < names
    before = (done / "README.md").read_text()
    for title in ("Quality", *card.CHECKS):
        assert re.search(rf"## {title}\n[^#]*- not measured: `gristmill check`", before)
    write_quality(done, facts(check(open_set(done), only=["lexical-diversity"])))
    after = (done / "README.md").read_text()
    for one in SUITE:
        said = r"not measured\. It was left out\." if one.name != "lexical-diversity" else "(fine|look)"
        assert len(re.findall(rf"^- {re.escape(one.title)}: {said}", after, re.M)) == 1
    assert "`gristmill check` was not carried out" not in after
    for title, group in card.CHECKS.items():
        section = after.split(f"## {title}\n")[1].split("\n## ")[0]
        assert all(one.title in section for one in SUITE if one.name in group)


async def test_a_report_about_other_rows_measures_nothing_of_these(done):
    write_quality(done, measured(name="accuracy", value=0.5))
    assert "| accuracy |" in (done / "README.md").read_text()
    report = load(done, "report.json")
    report["files"] = {"data/completion.parquet": "0" * 64}
    (done / "report.json").write_text(json.dumps(report))
    renew(done)
    text = (done / "README.md").read_text()
    assert "| accuracy |" not in text
    assert text.count("not measured: `report.json` is about other rows") == 1 + len(card.CHECKS)


async def test_the_report_names_no_folder_of_this_machine(done):
    write_quality(done, facts(check(open_set(done), only=["duplicates"])))
    assert str(done) not in (done / "README.md").read_text()
    assert load(done, "report.json")["set"] == "this run"


# -- counts


async def test_dropped_and_kept_are_what_was_generated(whole):
    found = load(whole)["facts"]
    kept = pq.read_table(whole / "data" / "completion.parquet").num_rows
    with looking(whole) as journal:
        rows = dict(journal.select("SELECT step, COUNT(*) FROM rows GROUP BY 1"))
        rejects = Counter(step for (step,) in journal.select("SELECT step FROM rejects"))
        failures = Counter(step for (step,) in journal.select("SELECT step FROM failures"))
    total = found["whole"]
    assert total["generated"] == rows[0] + rejects[0]
    assert total["kept"] == kept == rows[2]
    assert total["kept"] + sum(total["dropped"].values()) == total["generated"]
    assert set(total["dropped"]) == {"asks: fifth", "odd: even", "odd: failed", "odd: passed over", "few: ending", "few: passed over"}  # fmt: skip
    for number, step in enumerate(found["steps"]):
        assert step["generated"] == sum(step["rows"].values()) + sum(step["rejects"].values())
        assert step["failures"] == failures[number]
        assert step["given"] == (rows[number - 1] if number else 90)
    first, second, third = found["steps"]
    assert first["given"] == first["generated"] + first["failures"]
    assert second["given"] == second["generated"] + second["failures"] + second["nothing"]
    assert third["given"] == third["generated"] + total["dropped"]["few: passed over"]
    text = (whole / "README.md").read_text()
    assert f"Of {total['generated']} rows that `asks` generated, {kept} were kept and " in text


async def test_rows_that_no_later_step_reached_are_dropped_as_such():
    made = await gristmill.arun(Chain([asks, odd]), target=9, model=Scripted(says), concurrency=1, out=folder())
    total = load(made.folder)["facts"]["whole"]
    assert total["kept"] == 9
    assert total["generated"] == 9 + sum(total["dropped"].values())


async def test_a_recipe_that_keeps_what_it_puts_aside_is_no_filter_and_counts_from_there():
    made = await gristmill.arun(Chain([asks, both]), units=20, model=Scripted(says), out=folder())
    total = load(made.folder)["facts"]["whole"]
    assert total["from"] == "both"
    assert total["generated"] == 2 * total["kept"] == 2 * total["dropped"]["both: kept all the same"]


async def test_counts_that_do_not_agree_are_asserted(whole):
    recipes = [asks, odd.on(Completion), few.on(Completion)]
    with looking(whole) as journal:
        good = facts_of(whole, journal, recipes)
    assert unbalanced(good) == []
    for wrong in (
        good | {"rows": good["rows"] + 1},
        good | {"whole": good["whole"] | {"kept": 0}},
        good | {"files": []},
        good | {"files": [good["files"][0] | {"generations": {"1": 1}}]},
        good | {"steps": [good["steps"][0] | {"generated": 1}, *good["steps"][1:]]},
    ):
        assert unbalanced(wrong)
    path = whole / "data" / "completion.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with looking(whole) as journal, pytest.raises(AssertionError, match="do not add up"):
        facts_of(whole, journal, recipes)


async def test_a_tally_that_tells_of_other_rows_than_the_journal_holds_is_asserted(done):
    import sqlite3

    with sqlite3.connect(done / "run.db") as database:
        database.execute("DELETE FROM rejects WHERE seq=0 AND place=(SELECT MIN(place) FROM rejects)")
    database.close()
    with looking(done) as journal, pytest.raises(AssertionError, match="tells of"):
        facts_of(done, journal, [two_calls])


# -- what the facts hold


async def test_facts_come_from_the_records(whole):
    found = load(whole)["facts"]
    step = found["steps"][0]
    assert (step["recipe"], step["version"], step["models"]) == ("asks", 3, {"model": ["scripted:scripted"]})
    assert step["settings"] == {"temperature": 0.5}
    [call] = step["calls"]
    assert (call["role"], call["model"], call["answers"], call["errors"]) == ("model", "scripted", 90, 0)
    assert call["sampling"] == [{"settings": {"temperature": 0.5, "max_tokens": 64}, "calls": 90}]
    prompt = next(one for one in step["prompts"] if one["name"] == "ask")
    assert (prompt["sha256"], prompt["replaced"]) == (hashlib.sha256(ASK.text.encode()).hexdigest(), False)
    assert found["gristmill"] == gristmill.__version__
    assert found["began"] <= found["ended"]
    assert found["spent"]["calls"] == 90
    assert found["seed"] == 0
    [file] = found["files"]
    assert file["sha256"] == hashlib.sha256((whole / file["path"]).read_bytes()).hexdigest()
    text = (whole / "README.md").read_text()
    for shown in (file["sha256"], prompt["sha256"], "Recipe `asks` version 3", "90 answers, 0 errors", found["began"]):
        assert shown in text


async def test_a_prompt_that_was_replaced_is_told_with_its_own_hash():
    made = await run(asks, units=2, model=Scripted(says), prompts={"ask": "Now {number}."}, allow_failures=True)
    [prompt] = [one for one in load(made.folder)["facts"]["steps"][0]["prompts"] if one["name"] == "ask"]
    assert prompt["sha256"] == hashlib.sha256(b"Now {number}.").hexdigest()
    assert prompt["replaced"]
    assert f"Prompt `ask` was replaced: sha256 `{prompt['sha256']}`" in (made.folder / "README.md").read_text()


async def test_many_ways_of_sampling_are_counted_and_the_most_frequent_told():
    @recipe("varied")
    async def varied(model: Chat, run: Run) -> AsyncIterator[Document]:
        """Another temperature each time."""
        heat = run.draw("heat", list(range(1000)))
        yield Document((await model.chat("hi", temperature=heat / 1000)).text)

    made = await run(varied, units=60, model=Scripted(says))
    [call] = load(made.folder)["facts"]["steps"][0]["calls"]
    assert call["answers"] == 60
    assert call["ways"] > 20 == len(call["sampling"])
    assert f"in {call['ways'] - 20} other ways" in (made.folder / "README.md").read_text()


async def test_generations_are_counted_over_the_rows_that_were_kept(done):
    found = load(done)["facts"]
    assert (found["generations"], found["made"], found["rows"]) == ({"1": 26}, 26, 26)
    kept = await gristmill.arun(odd, seeds=[{"prompt": "1"}, {"prompt": "3"}, {"prompt": "4"}], out=folder())
    found = load(kept.folder)["facts"]
    assert (found["generations"], found["made"], found["rows"]) == ({"0": 2}, 0, 2)
    assert "2 rows, of which 0 are synthetic" in (kept.folder / "README.md").read_text()


# -- rounds

SEED = [{"prompt": "Go on.", "completion": "And so it went."}]


async def test_rows_of_a_loop_have_their_diversity_by_round_and_a_fall_is_a_warning(capsys):
    made = await run(looping, SEED)
    found = load(made.folder)["facts"]["rounds"]
    assert found["by"] == "iteration"
    assert [(one["round"], one["rows"]) for one in found["rounds"]] == [(1, 20), (2, 20), (3, 20)]
    first, second, third = (one["distinct_2"] for one in found["rounds"])
    assert first > second > third
    assert third < 0.8
    assert found["token_budget"] == 20 * 42 // 2  # half of a round, the same for all
    assert found["falls"]
    assert found["slope"]["high"] < found["slope"]["null"]
    text = (made.folder / "README.md").read_text()
    assert "Diversity by round (`iteration`): distinct-2" in text
    assert f"at {found['token_budget']} tokens of each." in text
    assert f"| 3 | 20 | {values.number(third)} |" in text
    assert "Warning: diversity falls from round to round" in text
    assert check_card(made.folder) == []
    report(made)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"round rows distinct-2 (420 tokens) 1 20 {values.number(first)}" in shown
    assert f"3 20 {values.number(third)}" in shown
    assert "Warning: diversity falls from round to round" in shown
    assert summary(made)["rounds"] == found
    again = await replay(made)
    assert again.rounds == made.rounds == found


async def test_rounds_that_are_as_diverse_as_each_other_have_their_table_and_no_warning(capsys):
    made = await run(looping, SEED, words=[500, 500, 500])
    found = load(made.folder)["facts"]["rounds"]
    assert not found["falls"]
    text = (made.folder / "README.md").read_text()
    assert "No clear fall: distinct-2 changes by" in text
    assert "Warning" not in text
    report(made)
    assert "Warning" not in capsys.readouterr().out


async def test_a_number_of_the_rounds_that_was_changed_by_hand_is_found():
    made = await run(looping, SEED)
    path = made.folder / "README.md"
    path.write_text(path.read_text().replace("| 3 | 20 | ", "| 3 | 20 | 1", 1))
    assert len(check_card(made.folder)) == 1


async def test_generations_of_the_lineage_are_rounds_where_no_column_says_more():
    made = await run(handing_down, SEED)
    found = load(made.folder)["facts"]
    assert found["generations"] == {"1": 20, "2": 20, "3": 20}
    assert found["rounds"]["by"] == "lineage.generation"
    assert [(one["round"], one["rows"]) for one in found["rounds"]["rounds"]] == [(1, 20), (2, 20), (3, 20)]
    assert all(one["distinct_2"] > 0.9 for one in found["rounds"]["rounds"])


async def test_rows_that_were_not_made_in_rounds_have_no_such_table(done, capsys):
    assert load(done)["facts"]["rounds"] is None
    assert "Diversity by round" not in (done / "README.md").read_text()
    one = await run(looping, SEED, words=[500])
    assert one.rounds is None
    report(one)
    assert "distinct-2" not in capsys.readouterr().out


async def test_a_round_of_few_words_is_told_without_a_figure_and_changes_no_other():
    made = await run(looping, SEED, words=[500, 500], each=2)
    found = load(made.folder)["facts"]["rounds"]
    assert [one["distinct_2"] for one in found["rounds"]] == [None, None]
    text = (made.folder / "README.md").read_text()
    assert "| 2 | 2 | not measured |" in text
    assert "Whether it falls is not known: a slope takes two rounds of 100 tokens or more" in text
    assert check_card(made.folder) == []


async def test_of_a_large_round_some_rows_are_read_and_all_are_counted(monkeypatch):
    monkeypatch.setattr("gristmill.export.facts.SAMPLED", 5)
    made = await run(looping, SEED)
    found = load(made.folder)["facts"]["rounds"]
    assert [one["rows"] for one in found["rounds"]] == [20, 20, 20]
    assert found["token_budget"] == 5 * 42 // 2
    assert found["falls"]


async def test_a_table_without_text_has_no_diversity():
    @recipe("counting")
    async def counting(rows: Rows[Completion], run: Run) -> AsyncIterator[Round]:
        """Numbers alone."""
        for number in (1, 2, 3):
            made = Round(round=number, loss=0.5)
            run.link(made, rows[0])
            yield made

    assert (await run(counting, SEED)).rounds is None


async def test_the_budget_and_what_was_spent_are_shown(done):
    made = await run(two_calls, SEEDS, model=Scripted(says), max_tokens=1_000_000, max_cost=12.5)
    text = (made.folder / "README.md").read_text()
    assert "Budget: at most $12.5 and at most 1,000,000 tokens." in text
    assert "Budget: none." in (done / "README.md").read_text()
    assert check_card(made.folder) == []


async def test_a_stopped_run_says_so_and_is_not_exportable():
    made = await run(two_calls, SEEDS, model=Scripted(says), max_tokens=700)
    assert made.stopped
    text = (made.folder / "README.md").read_text()
    assert "State: stopped: " in text
    assert "Not complete." in text
    assert any("the run is not finished" in one for one in exportable(made.folder))
    assert check_card(made.folder) == []


async def test_a_growing_pool_and_a_run_that_goes_on_keep_their_card_right(done):
    made = await run(growing, SEEDS, model=Scripted(says), target=10)
    assert check_card(made.folder) == []
    began = load(made.folder)["facts"]["began"]
    more = await gristmill.aresume(made.folder, recipe=growing, target=17, model=Scripted(says))
    found = load(made.folder)["facts"]
    assert (len(more.rows), found["rows"], found["began"]) == (17, 17, began)
    assert check_card(made.folder) == []


# -- Croissant


async def test_the_croissant_file_validates_offline_and_its_sha256_are_the_files(whole):
    (whole / "card.toml").write_text(WRITTEN)
    renew(whole)
    found = load(whole, "croissant.json")
    assert problems(found, whole) == []
    [file] = found["distribution"]
    path = whole / file["contentUrl"]
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file["contentSize"] == f"{path.stat().st_size} B"
    assert (found["license"], found["inLanguage"]) == ("CC-BY-4.0", ["en", "no"])
    assert [one["name"] for one in found["recordSet"][0]["field"]] == pq.read_schema(path).names
    pq.write_table(pq.read_table(path).slice(1), path)
    assert problems(found, whole) == ["data/completion.parquet has another sha256"]
    path.unlink()
    assert problems(found, whole) == ["data/completion.parquet is missing"]


async def test_a_licence_that_nobody_named_is_missing_and_not_made_up(done):
    found = load(done, "croissant.json")
    assert "license" not in found
    assert problems(found, done) == ["the dataset has no license", "the dataset has no creator"]


async def test_each_column_has_its_type():
    made = await run(mixed, units=1)
    [records] = load(made.folder, "croissant.json")["recordSet"]
    fields = {one["name"]: (one.get("dataType"), one.get("repeated", False)) for one in records["field"]}
    assert fields == {
        "id": ("sc:Text", False),
        "name": ("sc:Text", False),
        "count": ("sc:Integer", False),
        "share": ("sc:Float", False),
        "good": ("sc:Boolean", False),
        "words": ("sc:Text", True),
        "free": ("sc:Text", False),
        "lineage": (None, False),
    }
    assert next(one for one in records["field"] if one["name"] == "free")["description"] == "JSON"
    inner = {one["name"]: one for one in records["field"][-1]["subField"]}
    assert inner["generation"]["dataType"] == "sc:Integer"
    assert inner["calls"]["repeated"]
    assert inner["calls"]["source"]["extract"] == {"column": "lineage"}
    assert inner["calls"]["source"]["transform"] == {"jsonPath": "calls"}


async def test_two_tables_are_two_record_sets_and_two_configurations():
    made = await run(two_tables, units=1)
    found = load(made.folder, "croissant.json")
    assert [one["@id"] for one in found["recordSet"]] == ["labelled", "document"]
    assert [one["@id"] for one in found["distribution"]] == ["data/labelled.parquet", "data/document.parquet"]
    head = front(made.folder)
    assert [one["config_name"] for one in head["configs"]] == ["labelled", "document"]
    assert head["task_categories"] == ["text-classification", "text-generation"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.pop("@context"),
        lambda found: found.update({"@type": "sc:Thing"}),
        lambda found: found.update(conformsTo="1.0"),
        lambda found: found.update(name="a > b"),
        lambda found: found["distribution"][0].pop("sha256"),
        lambda found: found["distribution"][0].update({"@type": "sc:File"}),
        lambda found: found["recordSet"][0].update(field=[]),
        lambda found: found["recordSet"][0].update(key={"@id": "completion/other"}),
        lambda found: found["recordSet"][0]["field"][1].update(dataType="sc:Str"),
        lambda found: found["recordSet"][0]["field"][1]["source"]["fileObject"].update({"@id": "other"}),
        lambda found: found["recordSet"][0]["field"][-1]["subField"][0].pop("name"),
        lambda found: found["recordSet"][0]["field"].append(found["recordSet"][0]["field"][0]),
    ],
)
async def test_a_croissant_file_that_lacks_something_is_not_valid(done, spoil):
    (done / "card.toml").write_text(WRITTEN)
    renew(done)
    found = load(done, "croissant.json")
    assert problems(found) == []
    spoil(found)
    assert problems(found)


# -- what people write


def front(path: Path):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((path / "README.md").read_text().split("---\n")[1])


async def test_a_card_of_which_nothing_was_written_is_a_draft(done):
    text = (done / "README.md").read_text()
    assert "**Draft.** `card.toml` says nothing yet of: purpose, out_of_scope, limits, licence." in text
    (done / "card.toml").write_text(WRITTEN)
    assert check_card(done) == ["card.toml was changed after the card was written"]
    renew(done)
    text = (done / "README.md").read_text()
    assert "Draft" not in text
    assert check_card(done) == []


async def test_what_people_wrote_is_marked_and_cannot_pass_for_the_card(done):
    (done / "card.toml").write_text(WRITTEN)
    renew(done)
    text = (done / "README.md").read_text()
    assert "*Written by the publisher:*\n\n> Teaching a model\n> to name numbers; about 5,000 of them." in text
    assert "> # Anything else" in text
    assert "\n# Anything else" not in text


async def test_unknown_keys_and_wrong_values_are_refused(done):
    for wrong, message in [
        ('purpos = "x"', "unknown key 'purpos': did you mean purpose"),
        ("purpose = 3", "card.toml: Expected `str`"),
        ("purpose", "card.toml: "),
        ('language = "English"', "expected codes"),
    ]:
        (done / "card.toml").write_text(wrong)
        with pytest.raises(BadInput, match=message):
            renew(done)
        model = Scripted(says)
        with pytest.raises(BadInput, match=message):  # before a call is paid
            await gristmill.aresume(done, recipe=two_calls, target=60, model=model)
        assert not model.questions
        assert "cannot be read" in check_card(done)[0]


async def test_the_head_is_what_the_hub_reads(done):
    head = front(done)
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["text-generation"]
    assert head["tags"] == ["synthetic", "gristmill", "two-calls"]
    assert head["configs"] == [
        {"config_name": "completion", "data_files": [{"split": "train", "path": "data/completion.parquet"}]}
    ]
    assert "license" not in head
    assert "language" not in head
    (done / "card.toml").write_text(WRITTEN)
    renew(done)
    head = front(done)
    assert (head["license"], head["language"]) == ("cc-by-4.0", ["en", "no"])
    (done / "card.toml").write_text('licence = "LicenseRef-Own: Mine"')
    renew(done)
    head = front(done)
    assert (head["license"], head["license_name"]) == ("other", "licenseref-own-mine")


@pytest.mark.parametrize(
    ("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (123456, "100K<n<1M"), (10**12, "1B<n<10B")]
)  # fmt: skip
async def test_size_categories(done, rows, size):
    found = load(done)
    found["facts"]["rows"] = rows
    assert f"size_categories:\n- {size}\n" in card.render(found, {})


async def test_export_needs_what_people_must_write_terms_and_counts(done):
    assert exportable(done) == [
        "purpose: card.toml says nothing of it",
        "out_of_scope: card.toml says nothing of it",
        "limits: card.toml says nothing of it",
        "licence: card.toml says nothing of it",
        "model terms: card.toml says nothing of scripted:scripted in [terms]",
        "croissant.json: the dataset has no license",
        "croissant.json: the dataset has no creator",
    ]
    (done / "card.toml").write_text(WRITTEN)
    renew(done)
    assert exportable(done) == []
    assert "| `scripted:scripted` | Apache-2.0 |" in (done / "README.md").read_text()
    path = done / "README.md"
    path.write_text(path.read_text().replace("26 rows", "27 rows"))
    [said] = exportable(done)
    assert said.startswith("counts: README.md:")
    made = await gristmill.arun(odd, seeds=[{"prompt": "2"}], out=folder())
    assert "counts: there are no rows" in exportable(made.folder)
    asked = await waiting({"kind": "label"}, {"kind": "label"})
    assert "counts: 2 rows wait for people" in exportable(asked)


def command(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["card", *args])
    return caught.value.code


async def test_the_command_writes_the_card_anew_and_says_what_it_lacks(done, capsys):
    kept = {name: (done / name).read_bytes() for name in ("README.md", "card.json", "croissant.json")}
    assert command(str(done)) == 0
    shown = capsys.readouterr().out
    assert "purpose: card.toml says nothing of it" in shown
    assert "was written; it is not complete" in shown
    assert {name: (done / name).read_bytes() for name in kept} == kept
    (done / "card.toml").write_text(WRITTEN)
    assert command(str(done)) == 0
    assert "was written; it is complete" in capsys.readouterr().out
    assert "Teaching a model" in (done / "README.md").read_text()
    assert load(done, "croissant.json")["license"] == "CC-BY-4.0"


async def test_the_command_checks_the_card_without_writing_and_ends_with_5_where_it_lacks_something(done, capsys):
    (done / "card.toml").write_text(WRITTEN)
    before = (done / "README.md").read_bytes()
    assert command(str(done), "--check") == 5
    assert "card.toml was changed after the card was written" in capsys.readouterr().out
    assert (done / "README.md").read_bytes() == before
    assert command(str(done)) == 0
    assert command(str(done), "--check") == 0
    capsys.readouterr()
    found = load(done, "croissant.json")
    del found["recordSet"][0]["key"]
    (done / "croissant.json").write_text(json.dumps(found))
    assert command(str(done), "--check", "--json") == 5
    assert json.loads(capsys.readouterr().out)["missing"] == ["counts: croissant.json is not that of card.json"]
    (done / "card.toml").write_text("purpose = 3")
    assert command(str(done), "--check") == 1


async def test_the_command_says_what_check_found_and_that_a_signature_is_old(done, capsys):
    write_quality(done, facts(check(open_set(done), only=["duplicates"])))
    (done / "README.md").write_text("lost")
    (done / "manifest.sig").write_text("{}")
    assert command(str(done)) == 0
    assert f"gristmill sign {done} --key KEY" in capsys.readouterr().out
    assert "Exact and near duplicates: fine." in (done / "README.md").read_text()


async def test_without_a_card_the_command_says_how_one_is_made(tmp_path, capsys):
    for _ in ("no card", "half a card"):
        for args in ([], ["--check"]):
            assert command(str(tmp_path), *args) == 1
            assert "gristmill resume" in capsys.readouterr().err
        (tmp_path / "card.json").write_text("{")


async def test_a_report_that_is_cut_off_is_said_with_the_way_to_write_it_anew(done, capsys):
    (done / "report.json").write_text("{")
    assert command(str(done)) == 1
    assert f"`gristmill check {done}` writes it anew" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["openai:gpt-4o@https://x.org/v1,key=KEY", "openai:gpt-4o@https://x.org/v1", "openai:gpt-4o", "gpt-4o"])  # fmt: skip
async def test_terms_are_found_by_any_name_of_the_model(done, name):
    found = load(done)
    found["facts"]["steps"][0]["models"] = {
        "model": ["openai:gpt-4o@https://x.org/v1,key=KEY"],
        "sandbox": ["sandbox:python"],
    }
    found["written"]["terms"] = {name: "Some terms"}
    if name == "openai:gpt-4o@https://x.org/v1":  # neither whole nor short
        assert "| not stated |" in card.render(found, {})
    else:
        assert "| `openai:gpt-4o@https://x.org/v1,key=KEY` | Some terms |" in card.render(found, {})
    assert "| `sandbox:python` |" not in card.render(found, {})


async def test_papers_are_cited_once_with_their_arxiv_ids(whole):
    text = (whole / "README.md").read_text()
    assert text.count("```bibtex") == 1
    assert (
        "@misc{asks,\n  title = {Asking},\n  note = {Nobody 2024},\n  year = {2024},\n  eprint = {2401.00001},\n"
        in text
    )
    assert "Method: Asking (Nobody 2024, arXiv:2401.00001)." in text


async def test_every_section_is_there(done):
    titles = re.findall(r"^## (.*)", (done / "README.md").read_text(), re.M)
    assert titles == [
        "Purpose and use",
        "Composition",
        "How it was made",
        "Quality",
        "Contamination",
        "Privacy",
        "Safety and bias",
        "Licence and attribution",
        "Provenance and how to verify",
        "Known limits",
        "Maintenance and contact",
        "Citation",
    ]


async def test_strange_values_break_no_table():
    @recipe("strange")
    async def strange(run: Run, *, text: str = "a | b\n# c `d`") -> AsyncIterator[Document]:
        """Strange."""
        run.reject("x", "a | b\n## Quality")
        yield Document("x")

    made = await run(strange, units=1)
    text = (made.folder / "README.md").read_text()
    assert text.count("## Quality\n") == 1
    assert "| a ¦ b ## Quality | 1 |" in text
    assert check_card(made.folder) == []


def test_lists_of_structs_are_described():
    from gristmill.export.facts import _column

    inner = pa.struct([("role", pa.string()), ("content", pa.string())])
    found = _column(pa.field("messages", pa.list_(inner)))
    assert found == {
        "name": "messages",
        "type": "Struct",
        "many": True,
        "columns": [{"name": "role", "type": "Text"}, {"name": "content", "type": "Text"}],
    }
