"""Charts as inline SVG: their colours come from the page's style, their numbers stand in a table beside them.

Each function returns a `figure`: the picture with role="img", <title> and <desc>, its legend, and the same numbers as
a table that is folded away. Series differ by dash or mark as well as by colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeGuard

from unfreeze.report.drawing import TONES, WIDTH, Style, drawing, fitted, legend, rule, text, width_of
from unfreeze.report.markup import Html, alike, cut, element, figure, join, number, table
from unfreeze.report.scales import Scale, around, labelled

MOST_POINTS = 400
"""Points of a line that are drawn: more than a screen shows."""

MOST_ROWS = 60
"""Rows of the table beside a line chart."""

LARGEST = 1e100
"""Beyond it a figure is not drawn: the difference of two could overflow."""

Format = Callable[[float], str]


def short(value: float) -> str:
    """A figure with three digits."""
    return number(value, 3)


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its length, perhaps its 95 % interval, and a word beside its figure."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    tone: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Line:
    """One series of (x, y); `band` holds (low, high) of each point, `tone` its colour (None: by its place)."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] | None = None
    style: Style = "line"
    tone: int | None = None


@dataclass(frozen=True)
class Mark:
    """A vertical line at x with a word, such as the beginning of a phase."""

    x: float
    text: str


# -------------------------------------------------------------------------------------------------- bars


def bars(
    items: Sequence[Bar],
    title: str,
    *,
    description: str = "",
    axis: tuple[float, float] | None = None,
    reference: Mark | None = None,
    format: Format | None = None,
    tick: Format | None = None,
    headers: Sequence[str] = ("what", "value", "95 % interval"),
    caption: object = "",
) -> Html:
    """Horizontal bars with their figures and, where they have one, their interval.

    Parameters
    ----------
    axis : (low, high), optional
        None: from zero to the largest value or interval.
    reference : Mark, optional
        A vertical line to compare with, such as the figure of all rows.
    format, tick : callable (float) -> str
        How figures are written, and those of the axis where it differs.
    """
    known = [value for item in items for value in (item.value, item.low, item.high) if _finite(value)]
    low, high = axis or around([*known, *([reference.x] if reference else [])], zero=True)
    format = format or alike(known)
    labels = min(220.0, max([width_of(item.label) for item in items], default=0.0)) + 12
    figures = max([width_of(_figures(item, format)) for item in items], default=0.0) + 12
    scale = Scale(low, high, labels, WIDTH - figures)
    top, step = (24 if reference else 6), 26
    bottom = top + step * len(items)
    grid = [
        join(
            [
                rule(scale(at), top, scale(at), bottom, "grid"),
                text(scale(at), bottom + 16, words, "middle", "tick"),
            ]
        )
        for at, words in ([(at, tick(at)) for at in scale.ticks(4)] if tick else labelled(scale.ticks(4)))
    ]
    drawn = [_bar(item, scale, top + step * place, step, labels, format) for place, item in enumerate(items)]
    marks = _reference(reference, scale, top, bottom) if reference else None
    picture = drawing(WIDTH, bottom + 24, title, description or _range_in_words(items, format), *grid, *drawn, marks)
    rows = [(item.label, _figure(item.value, format), _interval(item, format), item.detail) for item in items]
    wanted = [True, True, any(_finite(item.low) for item in items), any(item.detail for item in items)]
    names = [*headers, "note"][: len(wanted)]
    data = table(
        [name for name, shown in zip(names, wanted, strict=True) if shown],
        [[cell for cell, shown in zip(row, wanted, strict=True) if shown] for row in rows],
        title,
    )
    return figure(picture, caption or title, data)


def _bar(item: Bar, scale: Scale, y: float, step: float, labels: float, format: Format) -> Html:
    middle, zero = y + step / 2, scale(min(max(0.0, scale.low), scale.high))
    parts: list[Html | None] = [
        text(labels - 8, middle + 4, fitted(item.label, labels - 10), "end"),
        text(WIDTH, middle + 4, _figures(item, format), "end"),
    ]
    if _finite(item.value):
        at = scale(item.value)
        parts.append(
            element(
                "rect",
                element("title", f"{item.label}: {_figures(item, format)}"),
                x=float(min(at, zero)),
                y=float(y + 4),
                width=float(max(1.0, abs(at - zero))),
                height=float(step - 8),
                class_=f"bar tone{item.tone % TONES}",
            )
        )
    if _finite(item.low) and _finite(item.high):
        left, right = scale(item.low), scale(item.high)
        parts.append(rule(left, middle, right, middle, "whisker"))
        parts += [rule(end, middle - 4, end, middle + 4, "whisker") for end in (left, right)]
    return element("g", *parts)


def _reference(mark: Mark, scale: Scale, top: float, bottom: float) -> Html:
    at = scale(mark.x)
    anchor = "end" if at > (scale.start + scale.end) / 2 else "start"
    return join([rule(at, top - 6, at, bottom, "mark"), text(at, top - 10, mark.text, anchor, "tick")])


def _figures(item: Bar, format: Format) -> str:
    found = f"{_figure(item.value, format)} {f'({_interval(item, format)})' if _finite(item.low) else ''}".strip()
    return f"{found} {item.detail}".strip()


def _figure(value: float | None, format: Format) -> str:
    return format(value) if _finite(value) else "–"


def _interval(item: Bar, format: Format) -> str:
    if item.low is None or item.high is None or not (_finite(item.low) and _finite(item.high)):
        return "–"
    return f"{format(item.low)} to {format(item.high)}"


def _range_in_words(items: Sequence[Bar], format: Format) -> str:
    known = [(item.value, item.label) for item in items if _finite(item.value)]
    if not known:
        return "No figures."
    (low, least), (high, most) = min(known), max(known)
    return f"{len(items)} bars, from {format(low)} ({least}) to {format(high)} ({most})."


def _finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a figure that can be drawn."""
    return value is not None and abs(value) < LARGEST


# ------------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True)
class _Frame:
    """Where a chart with two axes is drawn."""

    x: Scale
    y: Scale
    top: float
    bottom: float
    parts: list[Html] = field(default_factory=list)


def _frame(
    x: str,
    y: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    height: float,
    log_y: bool,
    top: float,
    least: float = 0.0,
) -> _Frame:
    bottom = height - 44
    vertical = Scale(*y_range, bottom, top, log_y)
    upright = [(at, number(at, 2)) for at in vertical.ticks()] if log_y else labelled(vertical.ticks())
    left = max([width_of(words) for _, words in upright], default=20.0) + 12
    horizontal = Scale(*x_range, left, WIDTH - 12)
    parts = [
        join(
            [
                rule(left, vertical(at), WIDTH - 12, vertical(at), "grid"),
                text(left - 6, vertical(at) + 4, words, "end", "tick"),
            ]
        )
        for at, words in upright
    ]
    ticks = labelled(horizontal.ticks(6, least))
    parts += [text(horizontal(at), bottom + 18, words, "middle", "tick") for at, words in ticks]
    parts += [
        rule(left, bottom, WIDTH - 12, bottom, "axis"),
        text((left + WIDTH - 12) / 2, height - 6, x, "middle"),
        text(4, 14, y, "start"),
    ]
    return _Frame(horizontal, vertical, top, bottom, parts)


def lines(
    series: Sequence[Line],
    title: str,
    *,
    x: str,
    y: str,
    marks: Sequence[Mark] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log_y: bool = False,
    diagonal: bool = False,
    description: str = "",
    caption: object = "",
    height: float = 320,
    data: bool = True,
) -> Html:
    """Curves over two axes, with bands where they have intervals, and vertical marks.

    Parameters
    ----------
    series : sequence of Line
        Style "dots" draws points alone: a scatter.
    marks : sequence of Mark
        Vertical lines with a word, such as the beginnings of phases.
    diagonal : bool
        Draw y = x, where prediction and truth agree.
    data : bool
        Whether the numbers follow as a table (thinned to 60 rows a series); a scatter of many points has little use
        of one.
    """
    shown = [(place, _finite_points(line, log_y)) for place, line in enumerate(series)]
    shown = [(place, line) for place, line in shown if line.points]
    x_range = x_range or _padded([point[0] for _, line in shown for point in line.points], marks)
    ys = [value for _, line in shown for value in _heights(line)]
    y_range = y_range or (_log_range(ys) if log_y else around(ys))
    rows = _mark_rows(marks, x_range)
    whole = all(float(at).is_integer() for _, line in shown for at, _ in line.points)
    frame = _frame(x, y, x_range, y_range, height + 16 * rows, log_y, 24 + 16 * rows, 1.0 if whole else 0.0)
    drawn: list[Html] = list(frame.parts)
    drawn += _marks(marks, frame, rows)
    if diagonal:
        low, high = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        drawn.append(rule(frame.x(low), frame.y(low), frame.x(high), frame.y(high), "mark"))
    tones = [(line.tone if line.tone is not None else place) % TONES for place, line in shown]
    drawn += [_series(line, tone, frame) for (_, line), tone in zip(shown, tones, strict=True)]
    picture = drawing(WIDTH, frame.bottom + 44, title, description or _lines_in_words(series, x, y), *drawn)
    names = legend([(line.name, tone, line.style) for (_, line), tone in zip(shown, tones, strict=True)])
    return figure(join([picture, names]), caption or title, _lines_table(series, x, y, title) if data else None)


def _finite_points(line: Line, log: bool) -> Line:
    """The line without undefined points, thinned to what a screen shows."""
    kept = [
        place
        for place, (at, value) in enumerate(line.points)
        if _finite(at) and _finite(value) and (value > 0 or not log)
    ]
    if line.style != "dots":
        kept = thinned(kept, MOST_POINTS)
    band = [line.band[place] for place in kept] if line.band else None
    return Line(line.name, [line.points[place] for place in kept], band, line.style, line.tone)


def thinned(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, evenly, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _heights(line: Line) -> list[float]:
    band = [value for pair in line.band or () for value in pair if _finite(value)]
    return [*(value for _, value in line.points), *band]


def _padded(values: Sequence[float], marks: Sequence[Mark]) -> tuple[float, float]:
    known = [*values, *(mark.x for mark in marks)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = max(0.5, 1e-6 * abs(low))
    return (low, high) if low < high else (low - room, high + room)


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    positive = [value for value in values if value > 0] or [0.1, 1.0]
    low, high = min(positive), max(positive)
    return (low / 1.5, high * 1.5)


def _mark_rows(marks: Sequence[Mark], x_range: tuple[float, float]) -> int:
    """Rows above the chart that the marks' words need: neighbours step down so that they do not overlap."""
    if not marks:
        return 0
    scale = Scale(*x_range, 40, WIDTH - 12)
    crowded = any(scale(b.x) - scale(a.x) < width_of(a.text) + 8 for a, b in pairwise(sorted(marks, key=lambda m: m.x)))
    return 3 if crowded else 1


def _marks(marks: Sequence[Mark], frame: _Frame, rows: int) -> list[Html]:
    """Each mark's word stands beside its line, in the first row that is free there; in none, the line stands alone."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(rows)]
    drawn = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        at, wide = frame.x(mark.x), width_of(mark.text) + 8
        right = at + wide <= WIDTH
        span = (at, at + wide) if right else (at - wide, at)
        row = next((row for row in range(rows) if all(span[1] <= a or b <= span[0] for a, b in taken[row])), None)
        drawn.append(rule(at, frame.top - (16 * (rows - row) - 2 if row is not None else 0), at, frame.bottom, "mark"))
        if row is not None:
            taken[row].append(span)
            y = frame.top - 16 * (rows - row) + 10
            drawn.append(text(at + (4 if right else -4), y, cut(mark.text, 60), "start" if right else "end", "tick"))
    return drawn


def _series(line: Line, tone: int, frame: _Frame) -> Html:
    placed = [(frame.x(at), frame.y(value)) for at, value in line.points]
    parts: list[Html | None] = []
    if line.band:
        edges = [
            (frame.x(at), frame.y(low), frame.y(high))
            for (at, _), (low, high) in zip(line.points, line.band, strict=True)
            if _finite(low) and _finite(high)
        ]
        around_ = [(at, high) for at, _, high in edges] + [(at, low) for at, low, _ in reversed(edges)]
        if len(edges) > 1:
            parts.append(element("polygon", points=_path(around_), class_=f"band tone{tone}"))
        else:
            parts += [rule(at, low, at, high, "whisker") for at, low, high in edges]
    if line.style == "dots":
        radius = 4.0 if len(placed) <= 60 else 2.5
        dots = [element("circle", cx=float(at), cy=float(y), r=radius) for at, y in placed]
        parts.append(element("g", *dots, class_=f"dot tone{tone}{' many' if len(placed) > 300 else ''}"))
    else:
        parts.append(element("polyline", points=_path(placed), class_=f"line {line.style} tone{tone}"))
        if len(placed) <= 40:
            dots = [element("circle", cx=float(at), cy=float(y), r=3.0) for at, y in placed]
            parts.append(element("g", *dots, class_=f"dot tone{tone}"))
    return element("g", *parts)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _lines_in_words(series: Sequence[Line], x: str, y: str) -> str:
    found = []
    for line in series:
        known = [point for point in line.points if all(map(_finite, point))]
        if known and line.style != "dots":
            found.append(f"{line.name}: {short(known[0][1])} at {short(known[0][0])}, {short(known[-1][1])} at the end")
        elif known:
            found.append(f"{line.name}: {len(known):,} points")
    return f"{y} over {x}. {'; '.join(found[:TONES])}." if found else "No figures."


def _lines_table(series: Sequence[Line], x: str, y: str, title: str) -> Html:
    """One table for all series: a column each where they share their x, else one row per point."""
    grids = {tuple(at for at, _ in line.points) for line in series}
    if len(grids) == 1:
        kept = thinned(range(len(next(iter(grids)))), MOST_ROWS)
        rows = [[_at(series[0].points[at][0]), *(_cell(line, at) for line in series)] for at in kept]
        return table([x, *(line.name for line in series)], rows, title)
    rows = [
        [line.name, _at(line.points[at][0]), _cell(line, at)]
        for line in series
        for at in thinned(range(len(line.points)), MOST_ROWS)
    ]
    return table(["series", x, y], rows, title)


def _at(x: float) -> str:
    """A place on the horizontal axis: updates and rows are counted, and have no places after the point."""
    return f"{x:,.0f}" if float(x).is_integer() else short(x)


def _cell(line: Line, place: int) -> str:
    value = short(line.points[place][1])
    low, high = line.band[place] if line.band else (None, None)
    return f"{value} ({short(low)} to {short(high)})" if low is not None and high is not None else value


# --------------------------------------------------------------------------------------------- histogram


def histogram(
    edges: Sequence[float],
    series: Sequence[tuple[str, Sequence[float]]],
    title: str,
    *,
    x: str,
    y: str = "rows",
    description: str = "",
    caption: object = "",
    height: float = 260,
    marks: Sequence[Mark] = (),
) -> Html:
    """Upright bars over ranges of x; several series stand beside each other within each range.

    Parameters
    ----------
    edges : sequence of float
        Limits of the ranges, one more than there are bars.
    series : sequence of (name, values)
    """
    values = [value for _, each in series for value in each if _finite(value)]
    rows = _mark_rows(marks, (edges[0], edges[-1]))
    top = 24 + 16 * rows
    frame = _frame(x, y, (edges[0], edges[-1]), around(values, zero=True), height + 16 * rows, False, top)
    drawn: list[Html] = list(frame.parts)
    for place, (name, each) in enumerate(series):
        drawn += [
            _column(frame, edges[at], edges[at + 1], value, place, len(series), name)
            for at, value in enumerate(each)
            if _finite(value) and value
        ]
    drawn += _marks(marks, frame, rows)
    said = description or f"{y} over {x}, {len(edges) - 1} ranges from {short(edges[0])} to {short(edges[-1])}."
    picture = drawing(WIDTH, frame.bottom + 44, title, said, *drawn)
    names = legend([(name, place % TONES, "line") for place, (name, _) in enumerate(series)])
    lines_ = [
        [f"{short(edges[at])} to {short(edges[at + 1])}", *(short(each[at]) for _, each in series)]
        for at in range(len(edges) - 1)
    ]
    return figure(
        join([picture, names]), caption or title, table([x, *(name or y for name, _ in series)], lines_, title)
    )


def _column(frame: _Frame, low: float, high: float, value: float, place: int, count: int, name: str) -> Html:
    left, right = frame.x(low), frame.x(high)
    width = max(1.0, (right - left) * 0.9 / count)
    zero, at = frame.y(0.0), frame.y(value)
    return element(
        "rect",
        element("title", f"{name + ': ' if name else ''}{short(low)} to {short(high)}: {short(value)}"),
        x=float(left + (right - left) * 0.05 + place * width),
        y=float(min(zero, at)),
        width=float(width),
        height=float(max(1.0, abs(at - zero))),
        class_=f"bar tone{place % TONES}",
    )
