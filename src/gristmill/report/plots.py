"""Plots as SVG within the page: no script, no font, no request. Colours tell apart for colour-blind readers, and every
plot says in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

OWN, OTHER, MARKED = "#0b6bcb", "#a0a7b0", "#c2410c"
"""The data, the reference, what is flagged."""
WIDTH, HEIGHT = 460, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 22, 32

Pair = tuple[float, float]


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers within a range."""
    if high <= low:
        return [low]
    step = 10 ** floor(log10((high - low) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= about)
    return [step * n for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"


class Frame:
    """Axes, and where a value lies on them."""

    def __init__(self, x: Pair, y: Pair, title: str, x_title: str) -> None:
        self.x, self.y = _wide(x), _wide(y)
        self.parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f'<text x="{LEFT}" y="13" class="t">{escape(title)}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" class="a" text-anchor="end">{escape(x_title)}</text>',
        ]
        for value in ticks(*self.x):
            at = self.across(value)
            self.parts.append(f'<line x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="g"/>')
            self.parts.append(
                f'<text x="{at}" y="{HEIGHT - BOTTOM + 13}" class="a" text-anchor="middle">{label(value)}</text>'
            )
        for value in ticks(*self.y, about=3):
            at = self.up(value)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}" class="g"/>')
            self.parts.append(f'<text x="{LEFT - 5}" y="{at + 3}" class="a" text-anchor="end">{label(value)}</text>')

    def across(self, value: float) -> float:
        return round(LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT), 1)

    def up(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM), 1)

    def done(self, key: Sequence[tuple[str, str]] = ()) -> str:
        at = WIDTH - RIGHT
        for name, colour in reversed(key):
            self.parts.append(
                f'<text x="{at}" y="13" class="a" text-anchor="end" style="fill:{colour}">{escape(name)}</text>'
            )
            at -= 7 * len(name) + 12
        return "".join([*self.parts, "</svg>"])


def _wide(pair: Pair) -> Pair:
    return pair if pair[1] > pair[0] else (pair[0] - 0.5, pair[0] + 0.5)


def histogram(values: Sequence[float], title: str, x_title: str, *, other: Sequence[float] = (), bins: int = 40) -> str:
    """How often values occur, as a share of each set; a long tail is gathered in the last bin."""
    own, reference = np.asarray(values, np.float64), np.asarray(other, np.float64)
    if not len(own):
        return ""
    every = np.concatenate([own, reference])
    low, high = float(every.min()), float(every.max())
    if high > (cut := float(np.percentile(every, 99)) * 1.5) > low:
        high, x_title = cut, f"{x_title} (the last bar: {label(cut)} and more)"
    edges = np.linspace(*_wide((low, high)), min(bins, max(1, len(np.unique(every)))) + 1)
    shares = [_shares(part, edges) for part in (own, reference)]
    frame = Frame(
        (float(edges[0]), float(edges[-1])), (0.0, max(float(s.max(initial=0)) for s in shares)), title, x_title
    )
    for left, right, share in zip(edges, edges[1:], shares[0], strict=False):
        top = frame.up(float(share))
        frame.parts.append(
            f'<rect x="{frame.across(left)}" y="{top}" width="{max(1.0, frame.across(right) - frame.across(left) - 1):.1f}" '
            f'height="{max(0.0, frame.up(0) - top):.1f}" fill="{OWN}" fill-opacity=".8"/>'
        )
    if len(reference):
        points = []
        for left, right, share in zip(edges, edges[1:], shares[1], strict=False):
            points += [
                f"{frame.across(left)},{frame.up(float(share))}",
                f"{frame.across(right)},{frame.up(float(share))}",
            ]
        frame.parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="#5b6470" stroke-width="1.5"/>')
    return frame.done([("the set", OWN), ("reference", "#5b6470")] if len(reference) else [])


def _shares(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not len(values):
        return np.zeros(len(edges) - 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / len(values)


def scatter(
    points: npt.NDArray[np.float64],
    title: str,
    *,
    other: npt.NDArray[np.float64] | None = None,
    marked: Sequence[int] = (),
) -> str:
    """A map of vectors in two dimensions: what lies together reads alike."""
    if not len(points):
        return ""
    every = points if other is None or not len(other) else np.vstack([points, other])
    low, high = every.min(0), every.max(0)
    frame = Frame((float(low[0]), float(high[0])), (float(low[1]), float(high[1])), title, "")
    flagged = set(marked)
    groups = [(other if other is not None else [], OTHER), ([p for n, p in enumerate(points) if n not in flagged], OWN)]
    groups.append(([points[n] for n in flagged if n < len(points)], MARKED))
    for group, colour in groups:
        frame.parts += [
            f'<circle cx="{frame.across(float(x))}" cy="{frame.up(float(y))}" r="2" fill="{colour}" fill-opacity=".55"/>'
            for x, y in group
        ]
    key = [("the set", OWN)]
    key += [("reference", "#5b6470")] if other is not None and len(other) else []
    key += [("flagged", MARKED)] if flagged else []
    return frame.done(key)


def bars(names: Sequence[str], values: Sequence[float], title: str, *, other: Sequence[float] = ()) -> str:
    """A value a name, lying; with the reference's as a mark."""
    if not names:
        return ""
    most = max([*values, *other, 1e-12])
    height = TOP + 22 * len(names) + 6
    wide = WIDTH - 190
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>',
        f'<text x="4" y="13" class="t">{escape(title)}</text>',
    ]
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        top = TOP + 22 * row
        shown = name if len(name) <= 22 else name[:21] + "…"
        parts.append(f'<text x="134" y="{top + 13}" class="a" text-anchor="end">{escape(shown)}</text>')
        parts.append(
            f'<rect x="140" y="{top + 3}" width="{max(1.0, value / most * wide):.1f}" height="14" fill="{OWN}" fill-opacity=".8"/>'
        )
        parts.append(f'<text x="{140 + value / most * wide + 5:.1f}" y="{top + 14}" class="a">{label(value)}</text>')
        if row < len(other):
            at = 140 + other[row] / most * wide
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + 20}" stroke="#111" stroke-width="2"/>'
            )
    return "".join([*parts, "</svg>"])


def curve(points: Sequence[Pair], title: str, x_title: str, *, other: Sequence[Pair] = ()) -> str:
    """A line through points, in their order."""
    if len(points) < 2:
        return ""
    every = [*points, *other]
    xs, ys = [x for x, _ in every], [y for _, y in every]
    frame = Frame((min(xs), max(xs)), (min(0.0, *ys), max(ys)), title, x_title)
    for line, colour in ((other, "#5b6470"), (points, OWN)):
        if line:
            path = " ".join(f"{frame.across(x)},{frame.up(y)}" for x, y in line)
            frame.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return frame.done([("the set", OWN), ("reference", "#5b6470")] if other else [])
