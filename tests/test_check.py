"""`gristmill check`: verdicts, bars for CI, the page, and sets of every kind."""

import json
import random
import re

import pytest

from gristmill import BadInput, Document
from gristmill.check import SUITE, Bar, bar, benchmark, by_gravity, check, fails, open_set, seeds_of
from gristmill.cli import main
from gristmill.quality.embed import Embedder, hashed
from gristmill.quality.sets import of_records, of_texts
from gristmill.quality.values import Rule
from gristmill.report.page import page
from gristmill.testing import Scripted, run
from recipes_for_tests import two_calls
from test_people_browser import browsing

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


def test_what_was_not_measured_does_not_clear_its_bar():
    assert "not measured" in fails(checked(), [bar("contamination>0")])[0]


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


QUICK = ["--skip", "semantic-diversity", "--skip", "poison", "--skip", "toxicity"]


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


def test_json_has_every_flag_by_row(files, capsys):
    assert command("rows.jsonl", "--json", "--only", "personal-data") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(flag["reason"], flag["row"]) for flag in found["flags"]] == [("personal_data", 82)]
    assert found["rows"] == 83


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
