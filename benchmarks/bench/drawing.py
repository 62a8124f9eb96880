"""Plots as SVG, written by hand: bars with their range, and lines on logarithmic scales. No library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, GAP, LEFT, RIGHT, TOP, LEGEND = 860, 18, 14, 300, 110, 46, 290
INK, PALE, OURS, OTHERS, VOID = "#1f2328", "#d0d7de", "#0a7d4b", "#6e7781", "#c9ccd1"
LINES = ("#0a7d4b", "#8250df", "#bc4c00", "#0969da", "#6e7781")
SIZE = 'font-family="system-ui, sans-serif" font-size="12"'


@dataclass(frozen=True)
class Bar:
    """A median with its range; `void` bars are hollow, since they must not be compared."""

    name: str
    value: float
    low: float
    high: float
    label: str
    ours: bool = False
    void: bool = False


def bars(title: str, groups: Mapping[str, Sequence[Bar]]) -> str:
    """Horizontal bars by group; each group has a scale of its own, its longest bar as wide as the picture."""
    parts: list[str] = [_text(12, 24, title, size=15, bold=True)]
    y = TOP
    for name, members in groups.items():
        parts.append(_text(12, y + 13, name, bold=True))
        y += ROW + 2
        longest = max((bar.high for bar in members), default=1.0) or 1.0
        for bar in members:
            parts += _bar(bar, y, (WIDTH - LEFT - RIGHT) / longest)
            y += ROW
        y += GAP
    return _picture(parts, y)


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    colour = OURS if bar.ours else OTHERS
    fill = "none" if bar.void else colour
    end = LEFT + bar.value * scale
    middle = y + ROW / 2
    dashes = ' stroke-dasharray="3 2"' if bar.void else ""
    return [
        _text(LEFT - 8, y + 13, bar.name, anchor="end"),
        f'<rect x="{LEFT}" y="{y + 3}" width="{max(1.0, bar.value * scale):.1f}" height="{ROW - 6}" '
        f'fill="{fill}" stroke="{colour}"{dashes}/>',
        f'<line x1="{LEFT + bar.low * scale:.1f}" x2="{LEFT + bar.high * scale:.1f}" y1="{middle}" y2="{middle}" '
        f'stroke="{INK}" stroke-width="1.5"/>',
        _text(max(end, LEFT + bar.high * scale) + 6, y + 13, bar.label),
    ]


def lines(title: str, x_name: str, y_name: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Curves through points, both scales logarithmic."""
    points = [point for curve in curves.values() for point in curve if min(point) > 0]
    height, left, bottom = 320, 80, 270
    parts = [_text(12, 24, title, size=15, bold=True), _text(left, height - 8, x_name)]
    parts.append(_text(12, 42, y_name))
    x_range, y_range = _decades(x for x, _ in points), _decades(y for _, y in points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_range[0]) / (x_range[1] - x_range[0])
        up = (math.log10(y) - y_range[0]) / (y_range[1] - y_range[0])
        return left + across * (WIDTH - left - LEGEND), bottom - up * (bottom - 56)

    for decade in range(x_range[0], x_range[1] + 1):
        x, _ = place(10.0**decade, 10.0 ** y_range[0])
        parts += [_rule(x, x, 56, bottom), _text(x, bottom + 18, _power(decade), anchor="middle")]
    for decade in range(y_range[0], y_range[1] + 1):
        _, y = place(10.0 ** x_range[0], 10.0**decade)
        parts += [_rule(left, WIDTH - LEGEND, y, y), _text(left - 8, y + 4, _power(decade), anchor="end")]
    for number, (name, curve) in enumerate(curves.items()):
        colour = LINES[number % len(LINES)]
        placed = [place(*point) for point in curve if min(point) > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        parts.append(_text(WIDTH - LEGEND + 12, 70 + 18 * number, name, colour=colour))
    return _picture(parts, height)


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """Powers of ten around some values, at least one decade."""
    logs = [math.log10(value) for value in values] or [0.0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return low, max(high, low + 1)


def _power(decade: int) -> str:
    return f"{10**decade:,}" if decade >= 0 else f"{10.0**decade:g}"


def _rule(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{PALE}"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False, colour: str = INK
) -> str:
    weight = ' font-weight="600"' if bold else ""
    font = SIZE.replace('"12"', f'"{size}"')
    return f'<text x="{x:.1f}" y="{y:.1f}" {font}{weight} text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _picture(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>', *parts, "</svg>"]) + "\n"
