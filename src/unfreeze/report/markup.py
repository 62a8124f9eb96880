"""Markup that is safe by its type: everything that is not `Html` is escaped where it is put in."""

from __future__ import annotations

import base64
import html
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

Kind = Literal["info", "good", "warning", "bad"]

SAID: dict[Kind, str] = {"info": "Note", "good": "Good", "warning": "Take care", "bad": "Problem"}
"""A note says in words what its colour says."""

VOID = frozenset({"img", "br", "hr", "meta", "link", "input"})

TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
"""Characters that change the direction of what follows, and so can make text read as what it is not."""

SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))

WIDE = 80
"""Characters side by side from which on a table may be wider than a window."""

BROKEN = 32
"""Characters after which a cell is broken into lines, about."""


class Html(str):
    """Markup made by the functions of this package. Joined to a plain string it is a plain string again."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def escape(value: object) -> Html:
    """Any value as markup: `Html` as it is, everything else as text that a browser shows literally."""
    if isinstance(value, Html):
        return value
    return Html(html.escape("" if value is None else visible(value), quote=True))


def visible(value: object) -> str:
    """A value as text without control characters and what turns the direction of writing; not yet escaped."""
    text = str(value)
    return text if text.isascii() and text.isprintable() else "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    hidden = category == "Cs" or (category == "Cc" and character not in "\n\t") or character in TURNING
    return "�" if hidden else character


def join(parts: Iterable[object], separator: object = "") -> Html:
    """The parts one after the other, each escaped; None is left out."""
    return Html(str(escape(separator)).join(escape(part) for part in parts if part is not None))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An element: `element("a", "text", href="#x", class_="y", aria_label="z")`.

    Children and attributes are escaped. An attribute that is None or False is left out, True stands alone; `_` in a
    name is `-`, and a `_` at its end is dropped.
    """
    opened = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    return Html(opened if tag in VOID else f"{opened}{join(children)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{_plain(value) if isinstance(value, float) else html.escape(visible(value))}"'


def _plain(value: float) -> str:
    """Coordinates with two digits, which is finer than any screen."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def paragraph(*children: object) -> Html:
    """A paragraph."""
    return element("p", *children)


def heading(text: object, level: int = 3) -> Html:
    """A heading within a section, whose own title is of level 2."""
    return element(f"h{level}", text)


def listing(items: Iterable[object]) -> Html:
    """A list with bullets."""
    return element("ul", *(element("li", item) for item in items))


def isolated(text: object) -> Html:
    """Text from data: its direction of writing does not touch what stands around it."""
    return element("bdi", text)


def code(text: object) -> Html:
    """A command, a name or a hash."""
    return element("code", text)


def note(text: object, kind: Kind = "info") -> Html:
    """A short remark that a reader should not miss."""
    return element("p", element("strong", f"{SAID[kind]}: "), text, class_=f"note {kind}")


def details(summary: object, body: object) -> Html:
    """What is folded away until it is asked for."""
    return element("details", element("summary", summary), body)


def table(
    headers: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: object = "",
    *,
    row_headers: bool = True,
    footnote: object = None,
) -> Html:
    """A table that can be scrolled where it is too wide.

    Parameters
    ----------
    rows : iterable of sequences
        Cells are text, `Html`, numbers or None. Columns of numbers are aligned to the right.
    caption : object
        What the table shows; screen readers say it first.
    row_headers : bool
        Whether the first cell of each row names the row.
    footnote : object, optional
        A line under the table.
    """
    lines = [list(row) for row in rows]
    numeric = [
        bool(lines) and not (row_headers and index == 0) and all(_is_number(line[index]) for line in lines)
        for index in range(len(headers))
    ]

    def cell(index: int, value: object) -> Html:
        shown = number(value) if isinstance(value, float) else f"{value:,}" if _is_count(value) else value
        style = "number" if numeric[index] else None
        if index == 0 and row_headers:
            return element("th", shown, scope="row", class_=style)
        return element("td", shown, class_=style)

    head = element(
        "tr",
        *(
            element("th", name, scope="col", class_="number" if right else None)
            for name, right in zip(headers, numeric, strict=True)
        ),
    )
    body = [element("tr", *(cell(index, value) for index, value in enumerate(line))) for line in lines]
    made = element(
        "table", element("caption", caption) if caption else None, element("thead", head), element("tbody", *body)
    )
    return join([_framed(made, _width(headers, lines)), paragraph(footnote) if footnote else None])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether a cell is a figure, also one that was put into words by `number`, `percent` or `estimate`."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return True
    text = str(value)
    return text in ("", "–", "not defined") or (text.lstrip("−-+≤≥< ")[:1].isdigit() and len(text) <= 32)


def _framed(made: Html, width: int) -> Html:
    """A table that scrolls sideways by itself, so that the page never does; a wide one also by keyboard.

    Its caption names the table; what can have the focus says what it is.
    """
    if width <= WIDE:
        return element("div", made, class_="scroll")
    return element("div", made, class_="scroll", tabindex="0", role="group", aria_label="table, scrolls sideways")


def _width(headers: Sequence[object], lines: Sequence[Sequence[object]]) -> int:
    """Characters side by side in a table, about: cells with words are broken into lines, figures are not."""
    columns = zip(headers, *lines, strict=True)
    return sum(2 + max(min(len(_words(cell)), BROKEN) for cell in column) for column in columns)


def _words(cell: object) -> str:
    """A cell as a reader sees it."""
    if isinstance(cell, float):
        return number(cell)
    return html.unescape(re.sub("<[^>]*>", "", cell)) if isinstance(cell, Html) else str(cell)


def figure(content: object, caption: object = "", data: object = None) -> Html:
    """A picture with its caption and, folded away, what it shows as a table."""
    return element(
        "figure",
        content,
        element("figcaption", caption) if caption else None,
        details("The same as a table", data) if data else None,
    )


def image(data: bytes, alt: str, width: int | None = None, height: int | None = None) -> Html:
    """A small picture within the page.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, GIF or WebP file.
    alt : str
        What it shows, for who does not see it.

    Raises
    ------
    ValueError
        If the bytes are none of these.
    """
    kind = next((kind for start, kind in SIGNATURES if data.startswith(start)), None)
    if kind is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise ValueError(f"A picture in a report must be PNG, JPEG, GIF or WebP; these bytes begin with {data[:8]!r}.")
    source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return element("img", src=source, alt=alt, width=width, height=height)


def facts(pairs: Iterable[tuple[object, object]]) -> Html:
    """Terms and what they are, under each other; pairs whose second is None are left out."""
    return element("dl", *_described(pairs), class_="facts")


def headline(pairs: Iterable[tuple[object, object]]) -> Html:
    """A few figures in large type, beside each other."""
    shown = [element("div", *_described([pair])) for pair in pairs if pair[1] is not None]
    return element("dl", *shown, class_="figures")


def _described(pairs: Iterable[tuple[object, object]]) -> list[Html]:
    return [join([element("dt", term), element("dd", said)]) for term, said in pairs if said is not None]


# ---------------------------------------------------------------------------------------------- figures


def number(value: Any, digits: int = 4) -> str:
    """A figure with so many significant digits, and at most so many places; "–" where there is none."""
    if value is None or not isinstance(value, (int, float)) or isinstance(value, bool):
        return "–"
    if not math.isfinite(value):
        return "not defined"
    return alike([value], digits)(value)


def alike(values: Iterable[float], digits: int = 3) -> Callable[[float], str]:
    """How figures that stand beside each other are written: all with as many places as the largest of them needs."""
    most = max((abs(value) for value in values), default=0.0)
    if most == 0:
        return lambda value: "0"
    if not 1e-3 <= most < 1e15:
        return lambda value: _signed(f"{value:.{digits}g}")
    places = max(0, digits - 1 - math.floor(math.log10(most)))
    # Shares beside each other get as many places; only what would vanish gets more.
    places = places if most < 10.0 ** (1 - digits) else min(places, digits)
    return lambda value: _signed(f"{value:,.{places}f}")


def _signed(text: str) -> str:
    """A figure with a minus sign instead of a hyphen, and zero without one."""
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def percent(value: Any, digits: int = 1) -> str:
    """A share as "87.4 %"; one that would vanish keeps a digit."""
    if value is None or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    share = 100 * value
    shown = f"{share:.1g}" if 0 < abs(share) < 0.5 * 10.0**-digits else f"{share:.{digits}f}"
    return f"{_signed(shown)}\u00a0%"


def estimate(value: Any, low: Any = None, high: Any = None, digits: int = 3) -> str:
    """ "0.874 (0.851 to 0.893)": a figure and its 95 % interval."""
    if low is None or high is None or value is None:
        return number(value, digits)
    form = alike([value, low, high], digits)
    return f"{form(value)} ({form(low)} to {form(high)})"


def scored(figure: Any, digits: int = 3) -> str:
    """As `estimate`, of a mapping with `value`, `low` and `high`, as result.json holds them."""
    if not isinstance(figure, dict):
        return number(figure, digits)
    return estimate(figure.get("value"), figure.get("low"), figure.get("high"), digits)


def seconds(value: Any) -> str:
    """ "40 s", "12 min", "3.5 h"."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    if value < 120:
        return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def cut(text: str, most: int = 80) -> str:
    """The text, or its beginning and "…"."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
