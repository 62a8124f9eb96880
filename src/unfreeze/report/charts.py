"""Charts as inline SVG: their colours come from the page's style, their numbers stand in a table beside them.

Each function returns a `figure`: the picture with role="img", <title> and <desc>, its legend, and the same numbers as
a table that is folded away. Series differ by dash or mark as well as by colour.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeGuard

from unfreeze.report.markup import Html, alike, cut, element, figure, join, number, percent, table

WIDTH = 640
TONES = 8
"""Colours of series; they begin again after these."""

MOST_POINTS = 400
"""Points of a line that are drawn: more than a screen shows."""

MOST_ROWS = 60
"""Rows of the table beside a line chart."""

LARGEST = 1e100
"""Beyond it a figure is not drawn: the difference of two could overflow."""

CHARACTER = 7.0
"""Width of a character of the charts' text, about."""

DEEP = 0.73
"""Share of full shade from which text in a cell is set in the other ink, so that it can be read on both sides."""

Style = Literal["line", "dashed", "dots"]
Format = Callable[[float], str]


def short(value: float) -> str:
    """A figure with three digits."""
    return number(value, 3)


def labelled(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Each tick with its words: as many decimal places as tell neighbours apart, and no more."""
    steps = [abs(b - a) for a, b in pairwise(ticks)]
    step, most = min(steps, default=0.0), max((abs(at) for at in ticks), default=0.0)
    if not step or most >= 1e6 or step < 1e-4:
        return [(at, number(at, 2 if not steps else 3)) for at in ticks]
    places = next(places for places in range(6) if abs(round(step, places) - step) < step * 1e-6)
    return [(at, f"{at:,.{places}f}".replace("-", "−")) for at in ticks]


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


@dataclass(frozen=True)
class Scale:
    """Maps values to a stretch of the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, _tiny(self))))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5, least: float = 0.0) -> list[float]:
        """Round values within the scale, at least so far apart."""
        return decades(self.low, self.high) if self.log else ticks(self.low, self.high, count, least)


def _tiny(scale: Scale) -> float:
    return scale.low if scale.log else -math.inf


def ticks(low: float, high: float, count: int = 5, least: float = 0.0) -> list[float]:
    """About `count` round values from low to high (steps of 1, 2, 2.5 or 5 times a power of ten, at least `least`)."""
    if not high > low:
        return [low]
    rough = max((high - low) / max(1, count), least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, at most eight; the ends where there are fewer than two."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    found = [10.0**power for power in powers[:: -(-len(powers) // 8) or 1]]
    return found if len(found) > 1 else [low, high]


def around(values: Sequence[float], zero: bool = False) -> tuple[float, float]:
    """A range that holds the values with a little room; with `zero` it begins or ends at 0."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (0.0, 1.0) if low == 0 else (low - 0.5 * abs(low), high + 0.5 * abs(high))
    room = 0.04 * (high - low)
    return (low if zero and low == 0 else low - room, high if zero and high == 0 else high + room)


# ------------------------------------------------------------------------------------------------- parts


def text(x: float, y: float, words: object, anchor: str = "start", class_: str | None = None, **more: object) -> Html:
    """A text within a picture."""
    return element("text", words, x=float(x), y=float(y), text_anchor=anchor, class_=class_, **more)


def rule(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def drawing(width: float, height: float, title: str, description: str, *content: object) -> Html:
    """An SVG picture that tells its name and what is to be seen on it."""
    return element(
        "div",
        element(
            "svg",
            element("title", title),
            element("desc", description) if description else None,
            *content,
            viewBox=f"0 0 {width:.0f} {height:.0f}",
            role="img",
            aria_label=f"{title}. {description}" if description else title,
            class_="chart",
        ),
        class_="scroll",
        tabindex="0",
        role="group",
        aria_label=title,
    )


def width_of(words: str) -> float:
    """The width of a text in the charts' letters, about; East Asian characters are twice as wide."""
    return CHARACTER * sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in words)


def fitted(words: str, width: float) -> str:
    """The text, or as much of it as fits."""
    words = cut(words, 200)
    while width_of(words) > width and len(words) > 2:
        words = cut(words, len(words) - 1)
    return words


def legend(entries: Sequence[tuple[str, int, Style]]) -> Html | None:
    """Names of series beside their colour and dash; nothing for one alone."""
    if len(entries) < 2:
        return None
    return element("ul", *(element("li", _sample(tone, style), name) for name, tone, style in entries), class_="legend")


def _sample(tone: int, style: Style) -> Html:
    drawn = (
        element("circle", cx=13, cy=6, r=4, class_=f"dot tone{tone}")
        if style == "dots"
        else rule(1, 6, 25, 6, f"line {style} tone{tone}")
    )
    return element("svg", drawn, viewBox="0 0 26 12", width=26, height=12, aria_hidden="true")


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
    headers: Sequence[str] = ("", "value", "95 % interval"),
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
    parts += [text(horizontal(at), bottom + 18, words, "middle", "tick") for at, words in labelled(horizontal.ticks(6, least))]
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
        rows = [[short(series[0].points[at][0]), *(_cell(line, at) for line in series)] for at in kept]
        return table([x, *(line.name for line in series)], rows, title)
    rows = [
        [line.name, short(line.points[at][0]), _cell(line, at)]
        for line in series
        for at in thinned(range(len(line.points)), MOST_ROWS)
    ]
    return table(["series", x, y], rows, title)


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


# ----------------------------------------------------------------------------------------------- heatmap


def heatmap(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    row_title: str = "",
    column_title: str = "",
    texts: Sequence[Sequence[str]] | None = None,
    top: float | None = None,
    description: str = "",
    caption: object = "",
) -> Html:
    """Cells whose shade tells their value, such as a confusion matrix.

    Parameters
    ----------
    values : rows of values from 0 to `top` (None: the largest); None is an empty cell
    texts : rows of texts, optional
        What stands in the cells, and in the table beside the chart; None: the values as per cent.
    """
    texts = texts or [["" if value is None else percent(value, 0) for value in row] for row in values]
    most = top or max([value for row in values for value in row if value is not None], default=1.0) or 1.0
    left = min(170.0, max([width_of(name) for name in rows], default=0.0)) + 14 + (18 if row_title else 0)
    slanted = max([width_of(name) for name in columns], default=0.0) > min(64.0, (WIDTH - left) / len(columns)) - 4
    cell = min(64.0, (WIDTH - left - (72 if slanted else 0)) / max(1, len(columns)))
    deep = min(46.0, max(22.0, cell * 0.7))
    head = (18 if column_title else 0) + (
        min(110.0, max([width_of(name) for name in columns], default=0.0)) * 0.71 + 16 if slanted else 20
    )
    parts: list[Html | None] = []
    if column_title:
        parts.append(text(left + cell * len(columns) / 2, 13, column_title, "middle"))
    for place, name in enumerate(columns):
        at = left + cell * (place + 0.5)
        words = fitted(name, 110.0 if slanted else cell)
        turned = f"rotate(-45 {at:.1f} {head - 6:.1f})" if slanted else None
        parts.append(text(at, head - 6, words, "start" if slanted else "middle", "tick", transform=turned))
    for place, name in enumerate(rows):
        parts.append(text(left - 8, head + deep * (place + 0.5) + 4, fitted(name, left - 24), "end", "tick"))
    if row_title:
        middle = head + deep * len(rows) / 2
        parts.append(text(12, middle, row_title, "middle", transform=f"rotate(-90 12 {middle:.1f})"))
    wide = cell >= max([width_of(word) for row in texts for word in row], default=0.0) * 0.9
    for at_row, row in enumerate(values):
        for at_column, value in enumerate(row):
            if value is None:
                continue
            x, y = left + cell * at_column, head + deep * at_row
            share = min(1.0, max(0.0, value / most))
            said = f"{rows[at_row]}, {columns[at_column]}: {texts[at_row][at_column]}"
            parts.append(
                element(
                    "rect",
                    element("title", said),
                    x=float(x + 1),
                    y=float(y + 1),
                    width=float(cell - 2),
                    height=float(deep - 2),
                    fill_opacity=f"{0.06 + 0.94 * share:.2f}" if share else "0.04",
                    class_="cell",
                )
            )
            if wide:
                inner = "in deep" if share > DEEP else "in"
                parts.append(text(x + cell / 2, y + deep / 2 + 4, texts[at_row][at_column], "middle", inner))
    said = description or f"{len(rows)} rows and {len(columns)} columns."
    picture = drawing(WIDTH, head + deep * len(rows) + 4, title, said, *parts)
    data = table([row_title or "", *columns], [[name, *line] for name, line in zip(rows, texts, strict=True)], title)
    return figure(picture, caption or title, data)
