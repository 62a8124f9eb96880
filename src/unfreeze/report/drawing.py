"""The parts that every chart is drawn from: SVG with its name and description, text that fits, a legend."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

from unfreeze.report.markup import Html, cut, element

WIDTH = 640
TONES = 8
"""Colours of series; they begin again after these."""

CHARACTER = 7.0
"""Width of a character of the charts' text, about."""

Style = Literal["line", "dashed", "dots"]


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
