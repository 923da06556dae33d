"""`gristmill compare` as it is shown: in a terminal of any width, as JSON, and as a page in a browser."""

import io
import json
import re

import pytest
from playwright.async_api import async_playwright
from rich.console import Console

from chromium import FLAGS
from comparing import real
from gristmill import BadInput
from gristmill.cli import main
from gristmill.compare import Compared, Comparison, Metered, entries_of
from gristmill.models.training import Training
from gristmill.quality.leaderboard import Line
from gristmill.quality.values import Measure
from gristmill.report import compared as report
from gristmill.report.compared_page import page
from gristmill.utility import ALL_REAL, NO_DATA, RANDOM_REAL, Transferred, Utility
from gristmill.verdicts import Judged

LONG = "evol-instruct by openai:qwen2.5-72b-instruct@http://localhost:8000/v1"
HOSTILE = "<script>alert(1)</script>"


def measure(name: str, value: float, **more) -> Measure:
    return Measure(name=name, value=value, low=value - 0.1, high=value + 0.1, n=50, better="high", **more)


def line(entry: str, rank: int, score: float) -> Line:
    return Line(entry=entry, rank=rank, score=score, low=score - 0.05, high=score + 0.05, runs=3, items=200)


def comparison(*names: str) -> Comparison:
    """Everything that a page can show."""
    board = [line(ALL_REAL, 1, 0.93), *(line(name, 2, 0.8 - 0.01 * n) for n, name in enumerate(names))]
    board += [line(RANDOM_REAL, 2, 0.7), line(NO_DATA, 9, 0.5)]
    matrix = {"domains": ["law", "sea"], "size": 20, "scores": [[0.9, 0.5], [0.6, 0.8]]}
    retention = {"retention": [[1.0, None], [0.25, 1.0]], "measures": [measure("gap", 0.3)]}
    found = Utility(
        learner="logistic regression", measure="share of right labels", better="high", size=60, unit="rows",
        baselines={ALL_REAL: "240 rows", RANDOM_REAL: "60 rows, drawn 3 times", NO_DATA: "the most frequent label"},
        board=board, by_domain={"law": board, "sea": board[::-1]},
        smaller={15: [line(name, 1, 0.6) for name in names], 30: [line(name, 1 + n, 0.7) for n, name in enumerate(names)]},
        transfers=[
            Transferred(entry=ALL_REAL, **matrix, **retention),
            Transferred(entry=names[0], **matrix, **retention, in_domain={"law": 0.71, "sea": None},
                        leave_one_out={"law": 0.44, "sea": 0.43}),
        ],
    )  # fmt: skip
    wins = [measure("judged_wins", 0.5) for _ in names]
    positions = [measure(name, 0.33) for name in ("consistency", "first_bias", "second_bias")]
    entries = [
        Compared(
            entry=name,
            runs=[Metered(seed=0, folder=f"out/{name}", rows=60, rejected=20, tokens=9000 + 100 * n, cost=0.0123)],
            measures=[measure(one, 0.4567) for one in (*report.COLUMNS, "utility")],
        )
        for n, name in enumerate(names)
    ]
    return Comparison(
        track={"seeds": "seeds.jsonl", "real": "real.jsonl"},
        entries=entries,
        utility=found,
        judged=Judged(judge="a:1", wins=wins, entries=list(names), strengths={}, positions=positions, unread=2),
        front=[names[0]],
    )


def printed(result: Comparison, width: int, monkeypatch, tmp_path) -> list[str]:
    out = io.StringIO()
    monkeypatch.setattr(report.printing, "new_console", lambda: Console(file=out, width=width))
    report.show(result, tmp_path)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [50, 80, 100, 200])
def test_a_table_is_never_wider_than_the_terminal_and_loses_no_figure(width, monkeypatch, tmp_path):
    result = comparison("self-instruct", LONG)
    lines = printed(result, width, monkeypatch, tmp_path)
    assert (
        max(len(one) for one in lines if not one.startswith(("- ", "report"))) <= width
    )  # sentences wrap by themselves
    text = "\n".join(lines)
    for cell in ("75 % (65 to 83)", "150", "0.00020", "0.457 (0.357 to 0.557)", "0.93 (0.88 to 0.98)", "0.6 (25 %)"):
        assert cell in text
    assert text.count("0.457 (0.357 to 0.557)") == (len(report.COLUMNS) + 1) * 2
    for name in (*report.COLUMNS, "yield", "tokens a row", "USD a row"):
        assert name.replace("_", " ") in text
    short = printed(comparison("self-instruct", "alpaca"), width, monkeypatch, tmp_path)
    assert sum(one.startswith("rank") for one in short) == {50: 8, 80: 4, 100: 3, 200: 2}[width]


def test_each_part_of_a_table_begins_with_its_keys_and_holds_as_many_columns_as_fit():
    head, rows = ["rank", "entry", *"abcde"], [["1", "x" * 10, *(["y" * 18] * 5)]]
    assert report.parts(head, rows, 200, 2) == [[0, 1, 2, 3, 4, 5, 6]]
    assert report.parts(head, rows, 60, 2) == [[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 6]]
    assert report.parts(head, rows, 10, 2) == [[0, 1, at] for at in range(2, 7)]
    assert report.parts(["entry"], [["x"]], 80, 1) == [[0]]


def test_entries_and_baselines_stand_in_the_order_of_the_board_and_the_refused_last():
    result = comparison("one", "other")
    result.entries.insert(0, Compared(entry="bad", refused="it made no rows"))
    head, rows = report.lines(result)
    assert [row[1] for row in rows] == [f"({ALL_REAL})", "one", "other", f"({RANDOM_REAL})", f"({NO_DATA})", "bad"]
    assert (rows[-1][0], {len(row) for row in rows}) == ("refused", {len(head)})
    assert "bad: it made no rows" in report.notes(result)


def test_boards_at_smaller_sizes_stand_in_the_page_and_in_the_terminal(capsys, tmp_path, monkeypatch):
    result = comparison("one", "other")
    assert report.board_lines(report.size_boards(result.utility)) == (
        ["entry", "15 rows: rank, score", "30 rows: rank, score"],
        [
            ["one", "1. 0.6 (0.55 to 0.65)", "1. 0.7 (0.65 to 0.75)"],
            ["other", "1. 0.6 (0.55 to 0.65)", "2. 0.7 (0.65 to 0.75)"],
        ],
    )
    assert "<h2>Utility with fewer rows of each</h2>" in page(result)
    monkeypatch.setenv("COLUMNS", "200")
    report.show(result, tmp_path)
    assert "30 rows: rank, score" in capsys.readouterr().out
    result.utility.smaller = {}
    assert "fewer rows of each" not in page(result)


def test_runs_without_rows_are_told():
    result = comparison("one", "other")
    result.entries[0].runs.append(Metered(seed=1, folder="out/one-1", rows=0, rejected=9, tokens=10, cost=0.0))
    assert "one: 1 of 2 runs made no rows; measures are of the others" in report.notes(result)


def test_what_cost_nothing_has_no_column_of_money():
    result = comparison("one", "other")
    for entry in result.entries:
        entry.runs[0].cost = 0.0
    assert "USD a row" not in report.lines(result)[0]
    assert "tokens a row" in report.lines(result)[0]


def test_a_note_says_how_far_the_judge_can_be_relied_on():
    result = comparison("one", "other")
    [said] = [note for note in report.notes(result) if "both orders" in note]
    assert "the same verdict in both orders 33 % (23 to 43)" in said
    assert "what stands first won both times 33 % (23 to 43)" in said
    assert "the judge on pairs of rows: 2 pairs have no verdict that can be read" in report.notes(result)


def test_a_judges_shares_are_drawn_from_0_to_1_and_cells_are_the_darker_the_more_they_keep():
    shown = page(comparison("one", "other"))
    [judge] = re.findall(r"<svg[^>]*aria-label=\"The judge.*?</svg>", shown)
    assert re.findall(r'text-anchor="middle">([^<]*)<', judge) == ["0", "0.5", "1"]
    shades = re.findall(r"rgba\(11,107,203,([\d.]+)\)'>([^<]*)<", shown)
    assert shades[:4] == [("0.30", "0.9 (100 %)"), ("0.00", "0.5"), ("0.07", "0.6 (25 %)"), ("0.30", "0.8 (100 %)")]


@pytest.mark.parametrize("width", [1280, 700])
async def test_the_page_fits_its_window_asks_for_nothing_and_runs_nothing_of_what_rows_hold(width, tmp_path):
    (tmp_path / "compare.html").write_text(page(comparison("self-instruct", LONG, HOSTILE)), encoding="utf-8")
    asked, trouble = [], []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        view = await browser.new_page(viewport={"width": width, "height": 900})
        view.on("request", lambda request: asked.append(request.url))
        view.on("pageerror", lambda error: trouble.append(str(error)))
        view.on("console", lambda message: trouble.append(message.text))
        view.on("dialog", lambda dialog: trouble.append(dialog.message))
        await view.goto((tmp_path / "compare.html").as_uri())
        over = await view.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        beside = await view.evaluate(
            "[...document.querySelectorAll('svg text')].filter(one => { const own = one.getBoundingClientRect(), "
            "all = one.closest('svg').getBoundingClientRect(); return own.left < all.left - 1 || own.right > all.right + 1 "
            "}).map(one => one.textContent)"
        )
        plots = await view.locator("svg").count()
        cells = await view.locator("td").all_inner_texts()
        await browser.close()
    assert (asked[1:], trouble, over, beside) == ([], [], 0, [])
    assert plots == 4  # utility, its cost, pairs won, the judge
    assert HOSTILE in cells
    assert {"0.6 (25 %)", "0.71", "0.44", "2. 0.8\n(0.75 to 0.85)"} <= set(cells)


# -- the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = real(400)
    for number, row in enumerate(rows):
        row["kind"] = ("sea", "law")[number // 2 % 2]
    verdicts = [{"first": f"fine {n}", "second": f"poor {n}", "winner": "first"} for n in range(4)]
    parts = {"a": rows[:60], "b": rows[60:120], "real": rows[120:300], "people": verdicts}
    for name, part in parts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return ["compare", "--data", "a.jsonl", "--data", "b.jsonl", "--out", "out"]


def said(args: list[str], capsys, code: str = "0") -> str:
    with pytest.raises(SystemExit, match=f"^{code}$"):
        main(args)
    shown = capsys.readouterr()
    return shown.out if code == "0" else shown.err


def test_the_json_has_boards_domains_and_matrices(files, capsys):
    shown = said([*files, "--real", "real.jsonl", "--label", "label", "--domain", "kind", "--json"], capsys)
    done = json.loads(shown)
    assert {one["entry"] for one in done["utility"]["board"]} == {"a.jsonl", "b.jsonl", ALL_REAL, RANDOM_REAL, NO_DATA}
    assert done["utility"]["by_domain"].keys() == {"law", "sea"}
    assert [one["entry"] for one in done["utility"]["transfers"]] == [ALL_REAL, "a.jsonl", "b.jsonl"]
    assert len(done["utility"]["transfers"][1]["retention"]) == 2
    with open("out/compare.json", "rb") as kept:
        assert json.load(kept) == done


def test_the_terminal_and_the_page_show_domains(files, capsys):
    shown = said([*files, "--real", "real.jsonl", "--label", "label", "--domain", "kind"], capsys)
    with open("out/compare.html", encoding="utf-8") as kept:
        shown_page = kept.read()
    for text in ("law: rank, score", "tested on sea"):
        assert text in shown
        assert text in shown_page


def test_what_is_wrong_on_the_command_line_is_said(files, capsys):
    for more, message in [
        (["--people", "people.jsonl"], "no judge to hold against people"),
        (["--domain", "kind"], "--domain is about real rows"),
        (["--real", "real.jsonl", "--learner", "cubic"], "--learner cubic"),
        (["--real", "real.jsonl", "--training", "{"], "Expected JSON such as"),
        (["--real", "real.jsonl", "--training", '{"learning_rat": 1}'], "did you mean learning_rate"),
        (["--real", "real.jsonl", "--training", '{"learning_rate": -1}'], "--training"),
        (["--model", "a:1", "--model", "b:2"], "with --vary model each makes an entry of its own"),
        (["--model", "writer=a:1"], "no recipe here has a role 'writer'"),
    ]:
        assert message in said([*files, *more], capsys, "1"), more


def test_settings_of_a_training_are_laid_over_those_of_a_comparison():
    assert report._training(None) == Training(learning_rate=5e-5, epochs=3.0)
    assert report._training('{"learning_rate": 0.01}') == Training(learning_rate=0.01, epochs=3.0)


def test_short_names_of_models_in_the_users_file_are_known(files, capsys, monkeypatch):
    with open("gristmill.toml", "w") as file:
        file.write('[models]\nsmall = "nothing:at-all"\n')
    shown = said([*files, "--real", "real.jsonl", "--learner", "small"], capsys, "1")
    assert "nothing:at-all" in shown or "'nothing'" in shown


def test_a_role_with_a_model_of_its_own_keeps_it_while_the_others_vary(methods):
    roles = {"writer": ["c:3"]}
    assert [one.model for one in entries_of(["well"], ["x"], ["a:1"], vary=False, roles=roles)] == [
        {"": "a:1", "writer": ["c:3"]},
        None,
    ]
    varied = entries_of(["well"], [], ["a:1", "b:2"], vary=True, roles=roles)
    assert [one.model[""] for one in varied] == ["a:1", "b:2"]
    assert entries_of(["well"], ["x"], [], vary=False, roles=roles)[0].model == roles
    both = entries_of(["well", "evol-instruct"], [], ["a:1"], vary=False, roles=roles)
    assert both[1].model == "a:1"  # it has no writer
    assert entries_of(["well"], ["x"], ["a:1"], vary=False)[0].model == "a:1"


def test_a_set_cannot_be_called_as_a_baseline_is():
    with pytest.raises(BadInput, match="is the name of a baseline"):
        entries_of([], ["a", NO_DATA], [], vary=False)
