"""`gristmill check`: verdicts, bars for CI, the page, and sets of every kind."""

import json
import random
import re
from importlib.util import find_spec

import pytest

from chromium import browsing
from gristmill import BadInput, Document, recipes
from gristmill.check import (
    SUITE,
    Bar,
    _measures,
    bar,
    benchmark,
    by_gravity,
    check,
    fails,
    known,
    open_set,
    seeds_of,
    sources_of,
)
from gristmill.cli import main
from gristmill.engine.folder import keep_input
from gristmill.execute import Config, StepConfig
from gristmill.quality.collapse import cap
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.licence import Parent
from gristmill.quality.sets import of_records, of_texts
from gristmill.quality.values import Rule
from gristmill.report.page import page
from gristmill.testing import Scripted, run
from recipes_for_tests import two_calls

EMBED = Embedder("hashed", hashed)
WORDS = [
    f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "ru", "si", "ta") for b in ("bel", "dor", "fin", "gal", "hem", "jos")
]
ITEM = "which river flows past the seven towers of the old town before it reaches the northern sea in the spring"


def sentence(number: int, length: int = 20) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=length))


def texts(count: int, start: int = 0) -> list[str]:
    return [sentence(number) for number in range(start, start + count)]


def faulty():
    rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts(80))]
    rows += [
        rows[3],
        {"text": f"{ITEM} {sentence(900)}", "label": "a"},
        {"text": "Write to ann.k@corp-mail.net now.", "label": "b"},
    ]
    return of_records(rows, "faulty")


def checked(data=None, **options):
    return check(faulty() if data is None else data, embed=EMBED, **options)


def states(done) -> dict[str, str]:
    return {verdict.check: verdict.state for verdict in done.verdicts}


def test_planted_faults_are_found_and_the_gravest_stands_first():
    done = checked(benchmarks={"rivers": [ITEM]})
    assert {(flag.reason, flag.row) for flag in done.flags} >= {
        ("exact_copy", 80),
        ("benchmark_13gram", 81),
        ("personal_data", 82),
    }
    assert states(done)["contamination"] == "bad"
    assert states(done)["duplicates"] == "look"
    assert by_gravity(done.verdicts)[0].check == "contamination"
    assert next(v.flagged for v in done.verdicts if v.check == "duplicates") == {"exact_copy": 1}


def test_what_needs_another_set_is_not_measured_and_no_pass():
    found = states(checked())
    assert {name for name, state in found.items() if state == "not measured"} >= {
        "contamination", "memorisation", "long-tail", "mauve", "distance", "two-sample-test", "licence",
    }  # fmt: skip


def test_every_entry_of_the_suite_has_rules_for_its_own_check():
    for one in SUITE:
        module = one.load()
        assert all(rule.check == module.CHECK for rule in module.RULES)


def test_checks_can_be_chosen_and_thresholds_changed_without_measuring_anything_else():
    done = checked(only=["lexical-diversity"])
    assert list(done.found) == ["lexical-diversity"]
    strict = Rule(check="lexical-diversity", score="repetition", reason="repetitive", above=-1.0)
    assert len({flag.row for flag in checked(only=["lexical-diversity"], rules=[strict]).flags}) == 83
    assert "duplicates" not in checked(skip=["duplicates"]).found
    with pytest.raises(BadInput, match="no check 'duplicate'"):
        checked(only=["duplicate"])


def test_parameters_of_single_checks_can_be_set():
    one = checked(only=["lexical-diversity"], settings={"lexical-diversity": {"n": (1,)}})
    assert one.measure("distinct_1") is not None
    assert one.measure("distinct_2") is None


def test_the_same_seed_gives_the_same_figures():
    first, second = checked(), checked()
    assert [found.measures for found in first.found.values()] == [found.measures for found in second.found.values()]
    assert first.flags == second.flags


# -- bars


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("contamination>0", Bar("contamination", True, 0.0, False)),
        (" near_duplicate > 5% ", Bar("near_duplicate", True, 5.0, True)),
        ("distinct_2<0.3", Bar("distinct_2", False, 0.3, False)),
    ],
)
def test_a_bar_is_a_name_a_side_and_a_limit(text, found):
    assert bar(text) == found


@pytest.mark.parametrize("text", ["", "contamination", "x=3", ">3", "a>b", "a>3 %3"])
def test_what_is_no_bar_is_refused(text):
    with pytest.raises(BadInput, match="--fail-on"):
        bar(text)


def test_a_bar_may_name_a_check_a_reason_or_a_measure_and_shares_are_of_all_rows():
    done = checked(benchmarks={"rivers": [ITEM]})
    assert fails(done, [bar("contamination>0")]) == ["contamination>0: it is 1"]
    assert fails(done, [bar("contamination>1"), bar("exact_copy>1"), bar("exact_copy>2%")]) == []
    assert fails(done, [bar("exact_copy>1%")]) == ["exact_copy>1%: it is 1.2%"]
    assert len(fails(done, [bar("distinct_1<0.99"), bar("distinct_1>0.99")])) == 1
    with pytest.raises(BadInput, match="nonsense"):
        fails(done, [bar("nonsense>1")])


def test_of_prompts_and_responses_a_bar_means_the_responses_unless_it_says_so():
    rows = [{"prompt": "Say it.", "completion": text} for text in texts(40)]
    done = checked(of_records(rows, "pairs"), only=["lexical-diversity"])
    assert done.measure("distinct_1") is done.measure("response_distinct_1")
    assert done.measure("prompt_distinct_1").value < done.measure("distinct_1").value
    assert fails(done, [bar("distinct_1<0")]) == []


@pytest.mark.parametrize("name", ["contamination", "benchmark_13gram", "rows_hit_ngram_13"])
def test_what_was_not_measured_does_not_clear_its_bar(name):
    [missed] = fails(checked(), [bar(f"{name}>0")])
    assert missed.startswith(f"{name}>0: not measured.")
    assert "--against" in missed


def test_a_bar_on_a_check_that_was_left_out_is_missed_too():
    done = checked(only=["lexical-diversity"])
    for name in ("near_duplicate", "pii_rate_email", "duplicates", "pii_rate"):
        [missed] = fails(done, [bar(f"{name}>5%")])
        assert "not measured" in missed
        assert "left out" in missed
    [missed] = fails(done, [bar("distinct_9<0.1")])
    assert "this set gives no such figure" in missed


def test_a_kind_of_personal_data_that_nobody_found_has_a_rate_of_0():
    done = checked(only=["personal-data"])
    assert fails(done, [bar("pii_rate_card>0"), bar("pii_rate_iban>0")]) == []
    assert fails(done, [bar("pii_rate_email>0")]) == ["pii_rate_email>0: it is 0.012"]


def test_every_measure_of_the_suite_is_one_that_a_bar_may_name():
    rows = [
        {"prompt": f"Tell of the nurse, {'she' if n % 2 else 'he'} {sentence(n, 8)}", "completion": sentence(n + 500),
         "label": "ab"[n % 2], "iteration": n % 3, "licence": "MIT", "judge": "ab"[n % 2], "human": "ab"[n // 2 % 2]}
        for n in range(150)
    ]  # fmt: skip
    other = of_records([{"prompt": sentence(n + 700, 8), "completion": sentence(n + 900)} for n in range(150)], "other")
    given = {
        "reference": other,
        "benchmarks": {"rivers": [ITEM]},
        "private": other,
        "holdout": of_texts(texts(60, 3000)),
    }
    carried = set()
    for data in (of_records(rows, "rows"), faulty()):
        for name, found in checked(data, **given).found.items():
            carried.add(name)
            for measure in found.measures:
                assert known([Bar(measure.name, above=True, limit=0.0, percent=False)]), f"{name}: {measure.name}"
                own = next(one for one in SUITE if one.name == name)
                assert _measures(own, measure.name), f"{name}: {measure.name}"
    assert carried == {one.name for one in SUITE}


# -- sets of every kind


@pytest.mark.parametrize(
    "data",
    [of_texts([]), of_texts(["one row"]), of_texts(["the same text as all"] * 30), of_texts(["", " ", "\n"]), of_texts(["é" * 10_000_000]),
     of_texts(["日本語の文章です。", "🙂🙂🙂", "\ud800 alone", "a\x00b", "مرحبا بالعالم"] * 4)],
    ids=["empty", "one row", "all equal", "blank", "10 MB", "scripts"],
)  # fmt: skip
@pytest.mark.timeout(600)
def test_any_set_gives_values_or_says_why_not(data):
    done = checked(data, reference=of_texts(texts(20), "reference"), benchmarks={"rivers": [ITEM]})
    assert {verdict.check for verdict in done.verdicts} == {one.name for one in SUITE}
    assert "nan" not in re.findall(r"\bnan\b", page(done).lower())
    for found in done.found.values():
        assert all(len(scores) == len(data) for scores in found.rows.values())


def test_a_reference_that_is_the_set_itself_tells_nothing_apart():
    data = of_texts(texts(120))
    done = checked(data, reference=data, only=["distance", "two-sample-test", "mauve", "long-tail"])
    assert states(done)["distance"] != "bad"
    assert done.measure("mmd2").value < 0.01
    auc = done.measure("auc")
    assert auc.value is None or auc.low <= 0.5


# -- reading


def test_a_run_is_held_against_its_seeds_and_shows_its_rows(tmp_path):
    import asyncio

    done = asyncio.run(
        run(two_calls, [{"question": str(n)} for n in range(9)], model=Scripted(lambda q: f"a {q.messages[0].content}"))
    )
    data = open_set(done.folder)
    assert 0 < len(data) == len(done.rows)
    assert data.records[0]["id"] == done.rows[0].id
    assert len(seeds_of(done.folder)) == 9
    with pytest.raises(BadInput, match="no table 'nothing'"):
        open_set(done.folder, table="nothing")


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"text": "ü"}\n'.encode("latin-1"))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "numbers.jsonl").write_text('{"n": 3}\n')
    for name, message in [
        ("latin", "not UTF-8"),
        ("empty", "no rows"),
        ("numbers", "no row has a column of text"),
        ("none", "no such file"),
    ]:
        with pytest.raises(BadInput, match=message):
            open_set(tmp_path / f"{name}.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"body": "a", "n": 3}\n{"n": "wrong type", "body": ["b", "c"]}\n')
    assert open_set(tmp_path / "rows.jsonl").texts == ["a", "wrong type"]
    assert open_set(tmp_path / "rows.jsonl", text="body").texts == ["a", "b\nc"]
    with pytest.raises(BadInput, match="no column 'x'; its columns: body, n"):
        open_set(tmp_path / "rows.jsonl", text="x")


def test_rows_of_any_shape_have_a_prompt_and_a_response():
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hey"}]},
        {"prompt": "p", "chosen": "c", "rejected": "r"},
        {"text": "alone"},
    ]
    data = of_records(rows, "rows")
    assert data.prompts == ["Add.\n1 2", "Hi", "Hi", "p", ""]
    assert data.responses == ["3", "Hello", "Hey", "c", "alone"]


def test_a_benchmark_is_a_name_or_a_file(tmp_path):
    (tmp_path / "exam.jsonl").write_text('{"question": "Why?", "choices": ["a", "b"], "id": 3}\n')
    assert benchmark(str(tmp_path / "exam.jsonl")) == ("exam", ["Why?\na\nb"])
    assert len(benchmark("humaneval")[1]) == 164


# -- the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(dict(row)) + "\n" for row in faulty().records))
    (tmp_path / "exam.jsonl").write_text(json.dumps({"text": ITEM}) + "\n")
    return tmp_path


QUICK = ["--skip", "semantic-diversity", "--skip", "poison", "--skip", "toxicity", "--pii", "light"]


def command(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["check", *args])
    return caught.value.code


def test_the_command_says_what_it_found_and_writes_the_page(files, capsys):
    assert command("rows.jsonl", "--against", "exam.jsonl", *QUICK) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows.jsonl: 83 rows" in shown
    assert "bad Benchmark items in the data" in shown
    assert "benchmark 13gram" in (files / "report.html").read_text()


def test_a_missed_bar_ends_with_5_and_a_wrong_one_before_anything_is_measured(files, capsys):
    assert command("rows.jsonl", "--against", "exam.jsonl", "--fail-on", "contamination>0", *QUICK) == 5
    assert "missed: contamination>0: it is 1" in capsys.readouterr().out
    assert command("rows.jsonl", "--fail-on", "personal-data>1", *QUICK) == 0
    (files / "report.html").unlink()
    assert command("rows.jsonl", "--fail-on", "contamination") == 1
    assert not (files / "report.html").exists()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("duplicate>3", "duplicates"),
        ("exact_copyy>3", "exact_copy"),
        ("self_blue>0.5", "self_bleu"),
        ("nonsense>1", ""),
    ],
)
def test_a_bar_with_a_name_that_nothing_has_is_refused_before_anything_is_measured(files, capsys, wrong, meant):
    assert command("rows.jsonl", "--fail-on", "contamination>0", "--fail-on", wrong, *QUICK) == 1
    told = capsys.readouterr().err
    assert f"--fail-on {wrong}" in told
    assert meant in told
    assert " ..." not in told  # no check was begun
    assert not (files / "report.html").exists()


def test_what_was_found_is_written_and_shown_before_a_bar_is_held_against_it(files, capsys, monkeypatch):
    def fall(*_):
        raise BadInput("the bars fell")

    monkeypatch.setattr("gristmill.report.command.fails", fall)
    assert command("rows.jsonl", "--against", "exam.jsonl", "--fail-on", "contamination>0", *QUICK) == 1
    shown = capsys.readouterr()
    assert "Benchmark items in the data" in shown.out
    assert "the bars fell" in shown.err
    assert "benchmark 13gram" in (files / "report.html").read_text()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_page_that_cannot_be_written_costs_no_figure(files, capsys, monkeypatch, form):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gristmill.report.command.write_report", full)
    assert command("rows.jsonl", "--only", "duplicates", *form) == 1
    shown = capsys.readouterr()
    assert "No space left on device" in shown.err
    if form:
        found = json.loads(shown.out)
        assert (found["report"], [flag["row"] for flag in found["flags"]]) == (None, [80])
    else:
        assert "1 of 83 rows: exact copy" in " ".join(shown.out.split())


def test_a_place_where_no_page_can_be_is_refused_before_anything_is_measured(files, capsys):
    for wrong in ("no/such/page.html", "."):
        assert command("rows.jsonl", "--report", wrong, *QUICK) == 1
        told = capsys.readouterr().err
        assert f"--report {wrong}" in told
        assert " ..." not in told


def test_json_has_every_flag_by_row(files, capsys):
    assert command("rows.jsonl", "--json", "--only", "personal-data", "--pii", "light") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(flag["reason"], flag["row"]) for flag in found["flags"]] == [("personal_data", 82)]
    assert found["rows"] == 83


def names_of(capsys, *args: str) -> str:
    assert command("people.jsonl", "--json", "--only", "personal-data", *args) == 0
    [found] = json.loads(capsys.readouterr().out)["checks"]
    return found["settings"]["names"]


def test_names_are_looked_for_by_presidio_where_it_is_installed_and_the_set_is_small(files, capsys, monkeypatch):
    told = ["Robert Miller came home.", "Nothing is here.", "Ann wrote to ann.k@corp-mail.net from Berlin."]
    (files / "people.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in told))
    assert names_of(capsys, "--pii", "light") == ""
    assert names_of(capsys).startswith("presidio 2.")
    assert names_of(capsys, "--pii", "presidio").startswith("presidio 2.")
    command("people.jsonl", "--json", "--only", "personal-data")
    flags = {(flag["row"], flag["reason"]) for flag in json.loads(capsys.readouterr().out)["flags"]}
    assert {(0, "person_named"), (2, "personal_data")} <= flags
    assert not any(row == 1 for row, _ in flags)
    monkeypatch.setattr("gristmill.report.command.SMALL", 2)
    assert names_of(capsys) == ""
    assert names_of(capsys, "--pii", "presidio").startswith("presidio 2.")
    command("people.jsonl", "--only", "personal-data")
    assert "--pii presidio does" in capsys.readouterr().err
    monkeypatch.setattr("gristmill.report.command.SMALL", 5000)
    monkeypatch.setattr("gristmill.report.command.presidio_is_there", lambda: False)
    assert names_of(capsys) == ""


def test_presidio_that_was_asked_for_and_is_not_there_is_said_before_anything_is_measured(files, capsys, monkeypatch):
    there = find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "presidio_analyzer" else there(name))
    assert command("rows.jsonl", "--pii", "presidio", "--only", "personal-data") == 1
    told = capsys.readouterr().err
    assert "pip install 'gristmill[presidio]'" in told
    assert " ..." not in told


# -- of runs


@pytest.fixture
async def made(tmp_path):
    """The folder of a run: 13 rows of one model, from seeds that are nobody's."""
    questions = [{"question": f"What is {sentence(n, 12)} {n}"} for n in range(1, 16)]
    return (await run(two_calls, questions, model=Scripted(lambda q: f"It is {sentence(len(str(q)), 12)}."))).folder


async def test_the_generation_of_a_row_is_kept_and_nothing_else_of_its_lineage(made):
    data = open_set(made)
    assert [record["lineage"] for record in data.records] == [{"generation": 1}] * len(data)
    assert "lineage" not in data.facets()
    assert not any(data.records[0]["id"] in text for text in data.texts)


async def test_rows_that_are_too_many_generations_from_people_are_flagged_in_a_run(made):
    data = open_set(made)
    assert len(checked(data, only=["collapse"], rules=[cap(0)]).flags) == len(data)
    done = checked(data, only=["collapse"], rules=[cap(1)])
    assert done.flags == []
    assert states(done)["collapse"] == "not measured"  # there are no rounds to compare
    assert fails(done, [bar("max_generation>1")]) == []
    assert fails(done, [bar("max_generation>0")]) == ["max_generation>0: it is 1"]


async def test_the_terms_of_the_models_and_seeds_of_a_run_are_its_rows_licences(made):
    def of(terms: str):
        (made / "card.toml").write_text(terms)
        done = checked(open_set(made), sources=sources_of(made), only=["licence"])
        blocked = {(one["parent"], one["reason"]) for one in done.found["licence"].tables["blocked_by"]}
        return states(done)["licence"], blocked

    unknown = {("scripted:scripted", "unknown"), ("seeds (given from Python)", "unknown")}
    assert of("") == ("look", unknown)
    assert of("[terms]\nscripted = 'Apache-2.0'\nseeds = 'CC0-1.0'") == ("fine", set())
    assert of("[terms]\nscripted = 'LicenseRef-OpenAI-Terms'\nseeds = 'CC0-1.0'") == (
        "look",
        {("scripted:scripted", "competing")},
    )
    assert of("[terms]\nscripted = 'MIT'\nseeds = 'CC-BY-NC-4.0'")[1] == {
        ("seeds (given from Python)", "non_commercial")
    }
    assert of("[terms]\nscripted = 'as on their web page'\nseeds = 'MIT'")[1] == {("scripted:scripted", "unreadable")}


async def test_what_is_copied_from_seeds_that_are_not_free_is_found_once_their_licence_is_known(tmp_path):
    text = f"{sentence(1, 80)} 1"
    done = await run(two_calls, [{"question": text}], model=Scripted(lambda q: text))
    for licence, hits in (("CC-BY-SA-4.0", 1), ("CC0-1.0", 0), ("", 0)):
        (done.folder / "card.toml").write_text(f"[terms]\nscripted = 'MIT'\nseeds = '{licence}'")
        found = checked(open_set(done.folder), sources=sources_of(done.folder), only=["licence"])
        assert len({flag.row for flag in found.flags if flag.reason == "copied_from_source"}) == hits


def config(monkeypatch, tmp_path, models: dict[str, list[str]], seeds: str = "") -> list[Parent]:
    known = Config(steps=[StepConfig(recipe="two-calls", name="two-calls", models=models)], seeds=seeds)
    monkeypatch.setattr("gristmill.check.config_of", lambda folder: known)
    return sources_of(tmp_path)


def test_models_that_are_known_have_their_terms_and_tools_have_none(tmp_path, monkeypatch):
    models = {
        "a": ["embedded:smollm2-135m-instruct"],
        "b": ["openai:gpt-4o-mini,key=MINE", "openai:gpt-4o@https://elsewhere.org/v1"],
        "c": ["annotator:openai:gpt-4o", "sandbox:python", "people:anyone", "sentence-transformers:some/where"],
    }
    assert [(one.id, one.licence, one.role) for one in config(monkeypatch, tmp_path, models)] == [
        ("embedded:smollm2-135m-instruct", "Apache-2.0", "wrote"),
        ("openai:gpt-4o-mini,key=MINE", "LicenseRef-OpenAI-Terms", "wrote"),
        ("openai:gpt-4o@https://elsewhere.org/v1", "", "wrote"),
        ("annotator:openai:gpt-4o", "LicenseRef-OpenAI-Terms", "wrote"),
    ]
    (tmp_path / "card.toml").write_text('[terms]\n"openai:gpt-4o-mini" = "MIT"')
    assert config(monkeypatch, tmp_path, models)[1].licence == "MIT"  # what people write goes first


def test_seeds_that_ship_are_free_and_all_that_a_run_read_counts(tmp_path, monkeypatch):
    for name in ("seeds", "corpus"):
        keep_input(tmp_path, name, [Document(text="a text")])
    shipped = str(recipes.DATA / "star_sums.jsonl")
    assert [(one.id, one.licence) for one in config(monkeypatch, tmp_path, {}, shipped)] == [
        ("corpus", ""),
        (f"seeds ({shipped})", "CC0-1.0 OR Apache-2.0"),
    ]
    assert config(monkeypatch, tmp_path, {}, "own/star_sums.jsonl")[1].licence == ""
    (tmp_path / "card.toml").write_text("[terms]\ncorpus = 'CC-BY-4.0'")
    assert config(monkeypatch, tmp_path, {}, shipped)[0].licence == "CC-BY-4.0"


async def test_the_command_knows_the_terms_of_a_run_and_the_card_says_what_came_of_it(made, capsys):
    (made / "card.toml").write_text("[terms]\nscripted = 'MIT'\nseeds = 'CC-BY-NC-4.0'")
    assert command(str(made), "--only", "licence", "--only", "collapse", "--fail-on", "max_generation>0") == 5
    shown = " ".join(capsys.readouterr().out.split())
    assert "13 of 13 rows: licence conflict" in shown
    assert "missed: max_generation>0: it is 1" in shown
    card = (made / "README.md").read_text()
    assert "Licences and terms: look. 13 of 13 rows: licence conflict" in card
    assert "| seeds | CC-BY-NC-4.0 |" in card


async def test_a_card_that_cannot_be_written_is_told_before_anything_is_measured(made, capsys):
    (made / "card.toml").write_text("purpos = 'x'")
    assert command(str(made), "--only", "duplicates") == 1
    told = capsys.readouterr().err
    assert "unknown key 'purpos'" in told
    assert " ..." not in told
    (made / "card.toml").unlink()
    (made / "card.json").unlink()
    assert command(str(made), "--only", "duplicates") == 1
    told = capsys.readouterr().err
    assert "has no card.json" in told
    assert " ..." not in told


# -- what several raters said


def rated(judges: str, people: str):
    rows = [
        {"text": text, "judge": judge, "human": human}
        for text, judge, human in zip(texts(len(judges)), judges, people, strict=True)
    ]
    return of_records(rows, "rated")


def test_rows_that_several_raters_judged_have_their_agreement_and_a_plot_of_it():
    done = checked(rated("ababab" * 5, "ababba" * 5), only=["judge-agreement"])
    assert done.measure("kappa_judge_human").value == pytest.approx(1 / 3)
    assert states(done)["judge-agreement"] == "look"
    assert [flag.row for flag in done.flags][:2] == [4, 5]
    shown = page(done)
    assert "Judge agreement" in shown
    assert "judge, human" in shown
    assert "Kappa of judge and human is 0.33, below the floor of 0.4." in shown
    assert fails(done, [bar("kappa_judge_human<0.4"), bar("alpha<0")]) == ["kappa_judge_human<0.4: it is 0.333"]


def test_raters_who_agree_as_by_chance_are_to_be_looked_at_also_where_every_row_has_a_majority():
    rows = [
        {"text": text, "judge_1": a, "judge_2": b, "human": c}
        for text, a, b, c in zip(texts(80), "aabb" * 20, "abab" * 20, "abba" * 20, strict=True)
    ]
    done = checked(of_records(rows, "rated"), only=["judge-agreement"])
    assert done.flags == []
    [verdict] = [one for one in done.verdicts if one.check == "judge-agreement"]
    assert (verdict.state, verdict.said) == ("look", "Alpha of all raters is 0.00, below the floor of 0.4.")
    agreed = checked(rated("abab" * 9, "abab" * 9), only=["judge-agreement"])
    assert states(agreed)["judge-agreement"] == "fine"


def test_rows_that_nobody_or_one_judged_have_none():
    for data in (faulty(), of_records([{"text": text, "judge": "a"} for text in texts(9)], "one")):
        done = checked(data, only=["judge-agreement"])
        assert states(done)["judge-agreement"] == "not measured"
        assert "Judge agreement" not in page(done)


# -- the page


def test_what_rows_say_is_shown_as_text_and_nothing_is_asked_of_anybody():
    evil = '<script>alert(1)</script><img src="http://evil.example/x.png">'
    data = of_records([{"text": evil}, {"text": evil}, {"text": "ann.k@corp-mail.net <b>bold</b>"}], "<set>")
    shown = page(checked(data), embed=EMBED)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown
    assert "default-src 'none'" in shown
    assert "Check of &lt;set&gt;" in shown


async def test_the_page_opens_in_a_browser_without_a_request_and_the_rows_are_one_click_away(tmp_path):
    shown = page(checked(benchmarks={"rivers": [ITEM]}), embed=EMBED)
    (tmp_path / "report.html").write_text(shown, encoding="utf-8")
    async with browsing() as (tab, asked):
        await tab.goto((tmp_path / "report.html").as_uri())
        assert (await tab.locator("table").first.locator("tr").first.inner_text()).startswith("bad")
        await tab.get_by_role("link", name="Benchmark items in the data").click()
        row = tab.locator("pre", has_text=ITEM[-30:]).first
        assert not await row.is_visible()
        await tab.locator("summary", has_text="benchmark 13gram").click()
        assert await row.is_visible()
        assert await tab.locator("svg").count() >= 4
        assert asked == [(tmp_path / "report.html").as_uri()]


def test_rows_of_memory_can_be_checked_too():
    assert open_set([Document(text="a"), {"text": "b"}]).texts == ["a", "b"]
