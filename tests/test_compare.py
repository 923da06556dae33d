"""`gristmill compare`: methods under equal conditions."""

import json
from pathlib import Path

import pytest

from comparing import EMBED, compared, entries, real, track, writer
from gristmill import BadInput
from gristmill.cli import main
from gristmill.compare import Entry, Track, _over_runs, acompare, entries_of, yields
from gristmill.execute import looking
from gristmill.quality.sets import of_records
from gristmill.report.compared import lines, notes
from gristmill.report.compared_page import page
from gristmill.testing import Scripted

pytestmark = pytest.mark.usefixtures("methods")


async def test_the_method_whose_rows_teach_more_ranks_first_between_the_baselines(topics):
    done = await compared(track(topics), "well", "ill")
    ranks = {line.entry: line.rank for line in done.utility.board}
    assert ranks["well"] < ranks["ill"]
    assert ranks["all real rows"] == 1
    scores = {line.entry: line.score for line in done.utility.board}
    assert scores["no data"] < 0.6 < 0.8 < scores["well"]
    assert {line.items for line in done.utility.board} == {60}


async def test_all_are_measured_at_one_size_and_every_run_is_metered(topics):
    done = await compared(track(topics), "well", "ill")
    well, ill = done.entries
    assert [run.rows for run in well.runs] == [60, 60]
    assert all(run.rows + run.rejected == 60 and run.rejected for run in ill.runs)
    assert done.track["rows"] == min(run.rows for run in ill.runs)
    assert {run.seed for run in well.runs} == {0, 1}
    share, low, high = yields(ill)
    assert low < share < high < 1
    assert yields(well)[0] == 1
    assert {"distinct_2", "vendi", "novelty", "utility"} <= {one.name for one in well.measures}
    assert {one.n for one in well.measures if one.name == "distinct_2"} == {done.track["rows"]}
    for run in well.runs:
        with looking(Path(run.folder)) as journal:
            spent = journal.spent()
        assert spent.input_tokens > 0
        assert spent.output_tokens > 0
        assert run.tokens == spent.input_tokens + spent.output_tokens


def test_a_method_runs_three_times_and_each_set_is_trained_on_twice_unless_more_is_asked_for(tmp_path):
    assert (Track(out=tmp_path).runs, Track(out=tmp_path).trainings) == (3, 2)


async def test_rows_with_prompt_and_response_are_measured_as_one_text(tmp_path):
    for name, start in (("a", 0), ("b", 50)):
        rows = [
            {"instruction": f"Say {row['text']}", "output": f"{n} {row['text']}"}
            for n, row in enumerate(real(200)[start : start + 40])
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [Entry(name, source=str(tmp_path / f"{name}.jsonl")) for name in ("a", "b")]
    done = await acompare(sets, track(None, real=None, label=None), embed=EMBED)
    for entry in done.entries:
        found = {one.name: one.value for one in entry.measures}
        assert 0 < found["distinct_2"] < 1
        assert found["vendi"] > 1


async def test_two_copies_of_one_method_share_a_rank(topics):
    both = [Entry("one", "well", Scripted(writer)), Entry("other", "well", Scripted(writer))]
    done = await acompare(both, track(topics), embed=EMBED)
    ranks = {line.entry: line.rank for line in done.utility.board}
    assert ranks["one"] == ranks["other"]


async def test_a_set_that_is_there_already_takes_part(topics, tmp_path):
    (tmp_path / "there.jsonl").write_text("".join(json.dumps(row) + "\n" for row in real(400)[200:260]))
    data = of_records(real(150), "real")
    own = Entry("there", source=str(tmp_path / "there.jsonl"))
    done = await acompare([*entries("ill"), own], track(topics, real=data), embed=EMBED)
    there = next(one for one in done.entries if one.entry == "there")
    assert (there.runs, yields(there)) == ([], None)


async def test_an_entry_that_holds_test_rows_or_a_benchmark_is_refused_and_not_ranked(topics, tmp_path):
    held = track(topics)
    rows = [{"text": text, "label": "pos"} for text in held.split().test.texts]
    (tmp_path / "leaks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    leaks = Entry("leaks", source=str(tmp_path / "leaks.jsonl"))
    done = await acompare([*entries("well"), leaks], held, embed=EMBED)
    assert "hold test rows" in next(one.refused for one in done.entries if one.entry == "leaks")
    assert "leaks" not in {line.entry for line in done.utility.board}
    item = "what is the name of the river that flows through the town of the seven towers and bridges"
    (tmp_path / "exam.jsonl").write_text("".join(json.dumps({"text": t, "label": "pos"}) + "\n" for t in [item] * 3))
    exam = Entry("exam", source=str(tmp_path / "exam.jsonl"))
    done = await acompare([*entries("well"), exam], track(topics, benchmarks={"rivers": [item]}), embed=EMBED)
    assert "items of a benchmark" in next(one.refused for one in done.entries if one.entry == "exam")
    assert "exam" not in {line.entry for line in done.utility.board}


async def test_each_run_keeps_to_the_budget_and_one_that_does_not_is_refused(topics, monkeypatch):
    done = await compared(track(topics, max_tokens=1500), "well", "ill")
    assert all(run.tokens <= 1500 and run.rows < 60 and run.stopped for one in done.entries for run in one.runs)
    assert not any(one.refused for one in done.entries)
    spent = track(topics)
    await compared(spent, "well", "ill")
    spent.max_tokens = 100  # what is there already used more
    again = await compared(spent, "well", "ill")
    assert all("the budget of this comparison is 100" in one.refused for one in again.entries)


async def test_a_comparison_that_was_stopped_goes_on_and_asks_nothing_twice(topics):
    one = track(topics)
    first = await compared(one, "well", "ill")
    model = Scripted(writer)
    again = await acompare([Entry(name, name, model) for name in ("well", "ill")], one, embed=EMBED)
    assert model.questions == []
    assert [entry.measures for entry in again.entries] == [entry.measures for entry in first.entries]


async def test_without_labels_a_language_model_says_what_the_rows_are_worth(topics):
    one = track(topics)
    one.label = None
    done = await compared(one, "well", "ill")
    assert done.utility.better == "low"
    assert done.front == ["well"]  # fewer tokens and fewer bits
    scores = {line.entry: line.score for line in done.utility.board}
    assert scores["well"] < scores["no data"]


async def test_who_is_cheaper_and_worse_is_on_the_front_too(topics):
    terse = Entry("terse", "ill", Scripted(lambda question: writer(question)[:20]))
    done = await acompare([*entries("well"), terse], track(topics, runs=1), embed=EMBED)
    assert set(done.front) == {"well", "terse"}


async def test_a_judge_compares_rows_in_both_orders(topics):
    def prefers(question):
        first = question.messages[0].content.partition("[Example 2]")[0]
        return "Better: 1" if any(word in first for word in ("wonderful", "superb", "moving")) else "Better: 2"

    judge = Scripted(prefers)
    done = await compared(track(topics, judge=judge, pairs=10), "well", "ill")
    assert len(judge.questions) == 20
    assert set(done.judged.strengths) == {"well", "ill"}
    assert all(any(one.name == "judged_wins" for one in entry.measures) for entry in done.entries)
    assert any("same verdict in both orders" in note for note in notes(done))


async def test_methods_must_be_able_to_read_the_same_seeds(tmp_path):
    (tmp_path / "other.jsonl").write_text('{"title": "x"}\n')
    with pytest.raises(BadInput, match=r"well reads 'topic', which .* does not have"):
        await compared(track(str(tmp_path / "other.jsonl")), "well", "ill")


async def test_without_seeds_methods_must_ship_with_the_same_ones():
    one = track(None, real=None, label=None)
    both = [Entry("evol-instruct", "evol-instruct"), Entry("metamath", "metamath")]
    with pytest.raises(BadInput, match="evol-instruct and metamath ship with different examples"):
        await acompare(both, one, embed=EMBED)


async def test_the_interval_over_runs_is_of_their_mean_and_no_range(topics):
    done = await compared(track(topics, runs=2, real=None, label=None), "well", "ill")
    found = next(one for one in done.entries[0].measures if one.name == "vendi")
    assert found.low < found.value < found.high
    share = _over_runs("distinct_2", [0.6, 0.9], 5, (0, 1))  # by Student's t it would be -1.2 to 2.7
    assert (share.low, share.value, share.high) == (0, 0.75, 1)
    [single] = [
        m
        for m in (await compared(track(topics, runs=1, real=None, label=None), "well", "ill")).entries[0].measures
        if m.name == "vendi"
    ]
    assert (single.low, single.high, single.why) == (None, None, "one run")


async def test_a_method_that_makes_nothing_is_said_to(topics):
    def silent(question):
        raise RuntimeError("no")

    done = await acompare([*entries("well"), Entry("mute", "ill", Scripted(silent))], track(topics), embed=EMBED)
    assert next(one.refused for one in done.entries if one.entry == "mute") == "it made no rows"


async def test_the_table_and_the_page_say_what_was_found(topics):
    done = await compared(track(topics), "well", "ill")
    head, rows = lines(done)
    assert head[:4] == ["rank", "entry", "utility", "yield"]
    assert {row[1] for row in rows} == {"well", "ill", "(all real rows)", "(random real rows)", "(no data)"}
    shown = page(done)
    assert "well" in shown
    assert "<script" not in shown


def test_entries_are_told_by_their_names_and_models_may_vary():
    found = entries_of(["well"], [], ["a:1", "b:2"], vary=True)
    assert [entry.name for entry in found] == ["well by a:1", "well by b:2"]
    sets = entries_of([], ["a/run-0", "b/run-0", "b/c.jsonl", "."], [], vary=False)
    assert [entry.name for entry in sets] == ["a/run-0", "b/run-0", "c.jsonl", "."]
    for names, data, models, vary, message in [
        ([], ["a/x", "a/x"], [], False, "stands twice"),
        (["well"], [], [], False, "two entries or more"),
        (["well", "well"], [], [], False, "stands twice"),
        (["well"], [], ["a:1"], True, "name the models"),
        (["nothing"], ["x"], [], False, "there is no recipe"),
    ]:
        with pytest.raises(BadInput, match=message):
            entries_of(names, data, models, vary=vary)


def test_the_command_compares_two_sets(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = real(400)
    for name, part in (("a", rows[:60]), ("b", rows[60:120]), ("real", rows[120:300])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "--data", "a.jsonl", "--data", "b.jsonl", "--out", "out"])
    shown = capsys.readouterr().out
    assert "a.jsonl" in shown
    assert (tmp_path / "out" / "compare.html").exists()
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["track"]["rows"] == 60
    with pytest.raises(SystemExit, match="1"):
        main(["compare", "--data", "a.jsonl"])
    assert "two entries or more" in capsys.readouterr().err
