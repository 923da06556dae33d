"""`compare.html`: the table of a comparison, its boards, domains and judge. One file, no script, no request to anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gristmill.compare import Compared, Comparison
from gristmill.quality.values import Measure, words_of
from gristmill.report import plots
from gristmill.report.compared import KEPT, about, board_lines, lines, notes, shown, size_boards, transfer_lines
from gristmill.report.page import POLICY, STYLE
from gristmill.utility import BASELINES, Transferred

OWN_STYLE = """
body { max-width: 80rem; } .wide { overflow-x: auto; } .wide td, .wide th { padding: .3rem .45rem; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.interval { display: block; white-space: nowrap; font-size: 12px; color: #5b6470; }
.notes { padding-left: 1.2rem; } .plots { max-width: 62rem; } .plots svg { max-width: 34rem; }
"""
JUDGED = {
    "agreement": "agrees with people",
    "kappa": "kappa with people",
    "human_agreement": "people agree",
    "human_kappa": "kappa of people",
    "consistency": "same in both orders",
    "first_bias": "takes the first twice",
    "second_bias": "takes the second twice",
}
"""Measures of a judge that are drawn, in words."""
INTERVAL = re.compile(r"([\d-].*) (\([^()]* to [^()]*\))")
ROW, NAMES = 22, 170
"""Height of a line of a plot, and room for its name, in the plot's units."""


class Mark(NamedTuple):
    """A value with its interval, where it has one."""

    name: str
    value: float
    low: float | None
    high: float | None
    colour: str = plots.OWN


def page(result: Comparison) -> str:
    """The comparison as a page of its own."""
    head, rows = lines(result)
    track = ", ".join(f"{words_of(key)}: {value}" for key, value in result.track.items() if value not in ("", None))
    sections = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Comparison</title><style>{STYLE}{OWN_STYLE}</style></head><body><h1>Comparison</h1>",
        f"<p class='quiet'>The same for all: {escape(track)}</p>",
        _table(head, rows),
        f"<ul class='notes'>{''.join(f'<li>{escape(note)}</li>' for note in notes(result))}</ul>",
        _utility(result),
        _judge(result),
        _runs(result.entries),
    ]
    return "\n".join([*filter(None, sections), "</body></html>\n"])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(words_of(name))}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str) -> str:
    """An interval stands under its value."""
    found = INTERVAL.fullmatch(text)
    return f"{escape(found[1])} <span class='interval'>{escape(found[2])}</span>" if found else escape(text)


# Utility


def _utility(result: Comparison) -> str:
    found = result.utility
    if found is None:
        return ""
    marks = [
        Mark(line.entry, line.score, line.low, line.high, plots.OTHER if line.entry in BASELINES else plots.OWN)
        for line in found.board
    ]
    better = f"{found.measure}; {found.better}er is better"
    drawn = [intervals(marks, "Utility on real test rows, 95 % intervals", better), cost(result)]
    parts = [f"<h2>Utility</h2><div class='plots'>{''.join(drawn)}</div>"]
    if found.by_domain:
        parts.append(f"<h2>Utility by domain</h2>{_table(*board_lines(found.by_domain))}")
    if boards := size_boards(found):
        parts.append(f"<h2>Utility with fewer rows of each</h2>{_table(*board_lines(boards))}")
    if found.transfers:
        parts.append(
            f"<h2>What is learnt of one domain, tested on others</h2><p class='quiet'>{KEPT.capitalize()}. A gap above 0: rows "
            "are tied to their domain.</p>"
        )
        parts += [f"<p>{escape(about(one, result))}</p>{_matrix(one)}" for one in found.transfers]
    return "".join(parts)


def _matrix(found: Transferred) -> str:
    """Cells are the darker, the more they keep."""
    head, rows = transfer_lines(found)
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = ""
    for (name, *cells), kept in zip(rows, found.retention, strict=True):
        shades = [0.0 if value is None else min(1.0, max(0.0, value)) for value in kept]
        body += f"<tr><th>{escape(name)}</th>" + "".join(
            f"<td style='background:rgba(11,107,203,{0.3 * shade:.2f})'>{escape(cell)}</td>"
            for cell, shade in zip(cells, shades, strict=True)
        )
        body += "</tr>"
    further: list[tuple[str, Mapping[str, float | None]]] = [
        ("of the gain of as many real rows on the same domain", found.in_domain),
        ("score of training on all other domains", found.leave_one_out),
    ]
    for what, values in further:
        if values:
            cells = [_number(values[name]) for name in found.domains]
            body += f"<tr class='quiet'><td>{what}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def cost(result: Comparison) -> str:
    """Tokens of a run against utility, for entries that were run."""
    assert result.utility
    scores = {line.entry: line.score for line in result.utility.board}
    points = [
        (one.entry, sum(run.tokens for run in one.runs) / len(one.runs), scores[one.entry])
        for one in result.entries
        if one.runs and one.entry in scores
    ]
    if not points:
        return ""
    ys = [y for *_, y in points]
    room = max(max(ys) - min(ys), 0.05 * abs(max(ys)), 1e-6) * 0.3
    frame = plots.Frame(
        (0.0, 1.1 * max(x for _, x, _ in points)),
        (min(ys) - room, max(ys) + room),
        f"Cost against utility, {result.utility.better}er is better",
        "tokens of a run",
    )
    for name, x, y in points:
        across, up = frame.across(x), frame.up(y)
        colour = plots.OWN if name in result.front else plots.OTHER
        frame.parts.append(f'<circle cx="{across}" cy="{up}" r="4" fill="{colour}"/>')
        side, shift = ("end", -7) if x > max(one for _, one, _ in points) / 2 else ("start", 7)
        frame.parts.append(
            f'<text x="{across + shift}" y="{up - 5}" class="a" text-anchor="{side}">{escape(_short(name, 40))}</text>'
        )
    return frame.done([("none is as cheap and better", plots.OWN)])


def intervals(marks: Sequence[Mark], title: str, x_title: str, whole: Sequence[float] = ()) -> str:
    """A value a name with its interval, lying.

    Args:
        whole: values that must lie on the axis.
    """
    if not marks:
        return ""
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    ends += whole
    low, high = min(ends), max(ends)
    room = max(high - low, 1e-6) * 0.05
    low, high = low - room, high + room
    bottom = plots.TOP + ROW * len(marks)
    height = bottom + 30

    def across(value: float) -> float:
        return round(NAMES + (value - low) / (high - low) * (plots.WIDTH - NAMES - plots.RIGHT), 1)

    parts = [
        f'<svg viewBox="0 0 {plots.WIDTH} {height}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>',
        f'<text x="4" y="13" class="t">{escape(title)}</text>',
        f'<text x="{plots.WIDTH - plots.RIGHT}" y="{height - 4}" class="a" text-anchor="end">{escape(x_title)}</text>',
    ]
    for tick in plots.ticks(low, high):
        at = across(tick)
        parts.append(f'<line x1="{at}" x2="{at}" y1="{plots.TOP}" y2="{bottom}" class="g"/>')
        parts.append(f'<text x="{at}" y="{bottom + 12}" class="a" text-anchor="middle">{plots.label(tick)}</text>')
    for number, mark in enumerate(marks):
        up = plots.TOP + ROW * number + ROW / 2
        parts.append(
            f'<text x="{NAMES - 8}" y="{up + 4}" class="a" text-anchor="end">{escape(_short(mark.name, 26))}</text>'
        )
        if mark.low is not None and mark.high is not None:
            parts.append(
                f'<line x1="{across(mark.low)}" x2="{across(mark.high)}" y1="{up}" y2="{up}" stroke="{mark.colour}" '
                'stroke-width="3" stroke-opacity=".55"/>'
            )
        parts.append(f'<circle cx="{across(mark.value)}" cy="{up}" r="4" fill="{mark.colour}"/>')
    return "".join([*parts, "</svg>"])


def _short(name: str, most: int) -> str:
    """Without its middle: names of models differ at their ends."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - most // 2 + 1 :]}"


# The judge


def _judge(result: Comparison) -> str:
    """How far the judge's verdicts can be relied on; and who won."""
    drawn = []
    if result.judged:
        pairs = zip(result.judged.entries, result.judged.wins, strict=True)
        won = [Mark(name, one.value, one.low, one.high) for name, one in pairs if one.value is not None]
        title = f"Pairs won, judged by {_short(result.judged.judge, 40)}"
        drawn.append(intervals(won, title, "share of pairs; a tie counts half", (0.0, 1.0)))
    measures = result.people.measures if result.people else result.judged.positions if result.judged else []
    against = "people" if result.people else "itself"
    known = {one.name: one for one in measures}
    marks = [
        Mark(words, one.value, one.low, one.high, plots.OTHER if name.startswith("human") else plots.OWN)
        for name, words in JUDGED.items()
        if (one := known.get(name)) is not None and one.value is not None
    ]
    title = f"The judge held against {against}, 95 % intervals"
    drawn.append(intervals(marks, title, "share of pairs; kappa: 0 as by chance", (0.0, 1.0)))
    if not any(drawn):
        return ""
    return f"<h2>Judge</h2><div class='plots'>{''.join(drawn)}</div>{_measures(measures)}"


def _measures(measures: Sequence[Measure]) -> str:
    rows = [[words_of(one.name), shown(one), f"{one.n:,} {one.unit}", one.why] for one in measures]
    return f"<details><summary>All figures of the judge</summary>{_table(['measure', 'value', 'rests on', ''], rows)}</details>"


def _runs(entries: Sequence[Compared]) -> str:
    rows = [
        [entry.entry, run.seed, run.rows, run.rejected, f"{run.tokens:,}", f"{run.cost:.4f}", run.folder, run.stopped]
        for entry in entries
        for run in entry.runs
    ]
    if not rows:
        return ""
    head = ["entry", "seed", "rows", "rejected", "tokens", "USD", "folder", "stopped"]
    return f"<h2>Runs</h2>{_table(head, rows)}"
