"""`report.html`: verdicts first, then figures with what they rest on, then the rows concerned.

One file without a request to anywhere and without a script. All that came from rows or models is shown as text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import gristmill
from gristmill.check import Checked, Verdict, by_gravity
from gristmill.ops.text import words
from gristmill.quality.embed import Embedder
from gristmill.quality.values import Found, Measure, number, words_of
from gristmill.report import plots

SHOWN = 50
"""Rows that the page itself holds for each reason; `--json` has them all by number."""
LONG = 600
"""Characters of a row's text."""
MAPPED = 1500
"""Points of the cluster map."""
STYLE = """
:root { color-scheme: light; } * { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1f26; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; } h3 { font-size: 1rem; }
.quiet { color: #5b6470; } table { border-collapse: collapse; width: 100%; margin: .6rem 0; font-size: 14px; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e3e6ea; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.state { display: inline-block; min-width: 6.5rem; padding: 0 .5rem; border-radius: .3rem; font-size: 13px; text-align: center; white-space: nowrap; }
.fine { background: #e3f3e6; color: #14532d; } .look { background: #fff1d6; color: #7a4100; }
.bad { background: #fde2e0; color: #8f1d14; } .not-measured { background: #eceff2; color: #434b55; }
details { margin: .5rem 0; } summary { cursor: pointer; } a { color: #0b57a4; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f7f9; padding: .5rem .7rem; margin: .3rem 0; font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; } svg { width: 100%; height: auto; }
svg .t { font: 600 12px system-ui, sans-serif; fill: #1a1f26; } svg .a { font: 10.5px system-ui, sans-serif; fill: #434b55; }
svg .g { stroke: #e8ebef; } mark { background: #ffe08a; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(done: Checked, path: Path, *, embed: Embedder | None = None) -> None:
    """Write the page. With an embedder it has a map of the set.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(page(done, embed=embed), encoding="utf-8", errors="replace")


def page(done: Checked, *, embed: Embedder | None = None) -> str:
    titles = {verdict.check: verdict for verdict in done.verdicts}
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Check of {escape(done.data.name)}</title><style>{STYLE}</style></head><body>",
        f"<h1>Check of {escape(done.data.name)}</h1>",
        f"<p class='quiet'>{len(done.data):,} rows; {_held_against(done)}; texts embedded by {escape(done.embedder)}; "
        f"gristmill {gristmill.__version__}, {datetime.now():%Y-%m-%d %H:%M}.</p>",
        _verdicts(done.verdicts),
        f"<h2>At a glance</h2><div class='plots'>{''.join(_plots(done, embed))}</div>",
    ]
    for name, found in done.found.items():
        parts.append(_section(done, titles[name], found))
    parts.append("<h2>How to read this</h2>" + READING)
    return "\n".join([*parts, "</body></html>\n"])


READING = """<p>Raw values of most measures do not compare across sets of other sizes: look at the interval, at what two
halves of the same set differ by (null), and at the reference. A check that found nothing has not shown that there is
nothing: its notes say what it cannot see. "Not measured" is no pass.</p>"""


def _held_against(done: Checked) -> str:
    said = []
    if done.reference is not None:
        said.append(f"reference: {escape(done.reference.name)}, {len(done.reference):,} rows")
    said += [f"benchmark {escape(name)}: {count:,} items" for name, count in done.benchmarks.items()]
    return "; ".join(said) or "held against no other set"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    lines = [
        f"<tr><td><span class='state {verdict.state.replace(' ', '-')}'>{verdict.state}</span></td>"
        f"<td>{_linked(verdict)}</td><td>{escape(verdict.said)}</td></tr>"
        for verdict in by_gravity(verdicts)
    ]
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _linked(verdict: Verdict) -> str:
    title = escape(verdict.title)
    return title if verdict.state == "not measured" else f"<a href='#{escape(verdict.check)}'>{title}</a>"


def _section(done: Checked, verdict: Verdict, found: Found) -> str:
    parts = [
        f"<h2 id='{escape(verdict.check)}'>{escape(verdict.title)} "
        f"<span class='state {verdict.state.replace(' ', '-')}'>{verdict.state}</span></h2>",
        f"<p>{escape(verdict.said)}</p>",
    ]
    if found.measures:
        parts.append(_measures(found.measures))
    drawn = [
        plots.histogram([value for value in values if value is not None], words_of(name), "by row")
        for name, values in found.rows.items()
        if len({value for value in values if value is not None}) > 5
    ]
    if drawn:
        parts.append(f"<div class='plots'>{''.join(drawn)}</div>")
    by_reason: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for flag in done.flags:
        if flag.check == verdict.check:
            by_reason[flag.reason].append((flag.row, flag.score))
    for reason, rows in by_reason.items():
        parts.append(_rows(done, found, reason, rows))
    for name, records in found.tables.items():
        parts.append(_table(name, records))
    if found.notes:
        parts.append("".join(f"<p class='quiet'>{escape(note)}</p>" for note in found.notes))
    if found.settings:
        said = ", ".join(f"{key}={value}" for key, value in found.settings.items())
        parts.append(f"<details><summary class='quiet'>Settings</summary><pre>{escape(said)}</pre></details>")
    return "\n".join(parts)


def _measures(measures: Iterable[Measure]) -> str:
    lines = []
    for one in measures:
        interval = f"{number(one.low)} to {number(one.high)}" if one.low is not None and one.high is not None else ""
        cells = [
            number(one.value) if one.value is not None else "not measured",
            interval,
            number(one.null) if one.null is not None else "",
            number(one.reference) if one.reference is not None else "",
            f"{one.n:,} {escape(one.unit)}",
        ]
        shown = "".join(f"<td class='n'>{cell}</td>" for cell in cells)
        lines.append(f"<tr><td>{escape(words_of(one.name))}</td>{shown}<td class='quiet'>{escape(one.why)}</td></tr>")
    head = "".join(f"<th class='n'>{name}</th>" for name in ("value", "95 % interval", "null", "reference", "rests on"))
    return f"<table><thead><tr><th>measure</th>{head}<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _rows(done: Checked, found: Found, reason: str, rows: list[tuple[int, float]]) -> str:
    rows = sorted(rows, key=lambda pair: (-abs(pair[1]), pair[0]))
    shown = "".join(_row(done, found, row, score) for row, score in rows[:SHOWN])
    more = f"<p class='quiet'>{len(rows) - SHOWN:,} more: gristmill check --json</p>" if len(rows) > SHOWN else ""
    return (
        f"<details><summary>{escape(words_of(reason))}: {len(rows):,} rows, the most striking first</summary>"
        f"{shown}{more}</details>"
    )


def _row(done: Checked, found: Found, row: int, score: float) -> str:
    record = done.data.records[row] if row < len(done.data.records) else {}
    name = f" · id {escape(str(record['id']))}" if record.get("id") else ""
    behind = [f"<pre class='quiet'>{escape(_plain(detail))}</pre>" for detail in found.details.get(row, [])[:5]]
    return (
        f"<p class='quiet'>row {row + 1:,}{name} · score {number(score)}</p>"
        f"<pre>{escape(_cut(done.data.texts[row]))}</pre>{''.join(behind)}"
    )


def _table(name: str, records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return ""
    columns = list(dict.fromkeys(key for record in records[:SHOWN] for key in record))
    head = "".join(f"<th>{escape(words_of(column))}</th>" for column in columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(record.get(column)))}</td>" for column in columns) + "</tr>"
        for record in records[:SHOWN]
    )
    more = f"; the first {SHOWN}" if len(records) > SHOWN else ""
    return (
        f"<details><summary>{escape(words_of(name))}: {len(records):,}{more}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></details>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value) if np.isfinite(value) else str(value)
    return _cut("" if value is None else str(value), 200)


def _plain(detail: Mapping[str, Any]) -> str:
    return "   ".join(f"{words_of(key)}: {_cell(value)}" for key, value in detail.items())


def _cut(text: str, most: int = LONG) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _plots(done: Checked, embed: Embedder | None) -> list[str]:
    lengths = [[len(words(text)) for text in part.texts] for part in (done.data, done.reference) if part is not None]
    drawn = [plots.histogram(lengths[0], "Length of rows", "words", other=lengths[1] if len(lengths) > 1 else ())]
    drawn.append(_long_tail(done))
    if embed is not None and len(done.data) > 2:
        drawn.append(_map(done, embed))
    drawn.append(_raters(done))
    flagged = Counter(words_of(flag.reason) for flag in done.flags)
    if flagged:
        names = [name for name, _ in flagged.most_common(8)]
        drawn.append(plots.bars(names, [flagged[name] for name in names], "Rows flagged, by reason"))
    return [plot for plot in drawn if plot]


def _long_tail(done: Checked) -> str:
    """How much of all words the most frequent ones make up: a set that repeats itself rises early."""

    def line(texts: Sequence[str]) -> list[plots.Pair]:
        counts = Counter(word for text in texts for word in words(text.lower()))
        ordered = np.sort(np.array(list(counts.values()) or [0]))[::-1]
        share = np.cumsum(ordered) / max(1, ordered.sum())
        at = np.unique(np.geomspace(1, len(share), 60).astype(int))
        return [(float(np.log10(n)), float(share[n - 1])) for n in at]

    data = done.data.sample(5000, 0)
    other = line(done.reference.sample(5000, 0).texts) if done.reference is not None else []
    return plots.curve(
        line(data.texts),
        "Share of all words that the most frequent make up",
        "different words, as a power of ten",
        other=other,
    )


def _raters(done: Checked) -> str:
    """How often each two raters say the same, and how often chance alone would have them."""
    found = done.found.get("judge-agreement")
    pairs = [one for one in found.tables.get("raters", []) if one["rows"]] if found else []
    return plots.bars(
        [f"{one['first']}, {one['second']}" for one in pairs],
        [one["agreement"] for one in pairs],
        "Judge agreement: share of rows, and what chance gives (line)",
        other=[one["by_chance"] for one in pairs],
    )


def _map(done: Checked, embed: Embedder) -> str:
    flagged = {flag.row for flag in done.flags}
    rng = np.random.default_rng(0)
    count = len(done.data)
    chosen = sorted(rng.choice(count, min(MAPPED, count), replace=False).tolist())
    own = embed([done.data.texts[row] for row in chosen])
    other = embed(done.reference.sample(MAPPED, 0).texts) if done.reference is not None else np.zeros((0, own.shape[1]))
    both = np.vstack([own, other])
    centred = both - both.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes[:, ::-1][:, :2]
    marked = [place for place, row in enumerate(chosen) if row in flagged]
    return plots.scatter(
        flat[: len(own)], "Map: rows that read alike lie together", other=flat[len(own) :], marked=marked
    )
