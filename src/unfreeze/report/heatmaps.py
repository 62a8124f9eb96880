"""Cells whose shade tells their value, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.report.drawing import WIDTH, drawing, fitted, text, width_of
from unfreeze.report.markup import Html, element, figure, percent, table

DEEP = 0.73
"""Share of full shade from which text in a cell is set in the other ink, so that it can be read on both sides."""


def heatmap(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    row_title: str = "",
    column_title: str = "",
    texts: Sequence[Sequence[str]] | None = None,
    told: Sequence[Sequence[str]] | None = None,
    top: float | None = None,
    description: str = "",
    caption: object = "",
) -> Html:
    """Cells whose shade tells their value, such as a confusion matrix.

    Parameters
    ----------
    values : rows of values from 0 to `top` (None: the largest); None is an empty cell
    texts : rows of texts, optional
        What stands in the cells; None: the values as per cent.
    told : rows of texts, optional
        What stands in the table beside the chart, such as figures with their intervals; None: the same.
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
    lines = [[name, *line] for name, line in zip(rows, told or texts, strict=True)]
    data = table([row_title or "row", *columns], lines, title)
    return figure(picture, caption or title, data)
