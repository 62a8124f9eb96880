"""Where the network looked: pictures under their maps, and texts with their words shaded."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Html,
    cut,
    details,
    element,
    image,
    isolated,
    join,
    note,
    number,
    paragraph,
    scored,
    table,
)
from unfreeze.run import Run

LEVELS = 4
"""Shades of a word."""

FAITHFUL, DOUBTFUL = 0.3, 0.6
"""Correlations with the shuffled network's maps below which maps depend on what was learned, and from which they
hardly do."""

NEEDLESS = 0.05
"""Of the largest effect in a text: pieces below are not shaded."""


def render(run: Run) -> Html | None:
    """What such maps show, how far they can be trusted here, and the examples."""
    found = run.evidence.get("attention")
    if not found or not found.get("examples"):
        return None
    pictures = found["modality"] == "image"
    cards = [element("li", *(_picture(each) if pictures else _text(each)), *_about(each)) for each in found["examples"]]
    return join(
        [
            paragraph(_of_pictures(found) if pictures else _of_texts(run)),
            _check(found),
            element("ul", *cards, class_="cards" if pictures else "cards wide"),
        ]
    )


def _of_pictures(found: dict[str, Any]) -> str:
    grid = " × ".join(str(side) for side in found["grid"])
    return (
        "Left the picture as the model reads it, right the same under a map of the places that speak for its "
        f"prediction (gradient times activation of what leaves {found['layer']}, {grid} places: HiResCAM; light is "
        "much). A map is coarse, and "
        "shows where the evidence lies, not what it is. Look whether it lies on the thing itself, or on a background, "
        "a ruler, a mark or an edge that happens to go with the label."
    )


def _of_texts(run: Run) -> str:
    unit = {"classification": "log-probability", "multilabel": "logit"}.get(run.manifest.task, "value")
    return (
        f"Each piece of a text was left out in turn. Shaded with a line below: without it the prediction's {unit} "
        "falls, so that it speaks for the prediction; with dots below: without it the score rises. The deeper the "
        "shade, the larger the effect, relative to the largest in that text. What only works together, or stands there "
        "twice, shows no effect of its own."
    )


def _check(found: dict[str, Any]) -> Html:
    check = found.get("check")
    if not check:
        return note(
            "Whether these maps depend on what was learned could not be checked: too few of them can be compared.",
            "warning",
        )
    names = ", ".join(reversed(found["randomised"][-3:]))
    more = len(found["randomised"]) - 3
    where = f"{names}{f' and {more} more' if more > 0 else ''}"
    said = (
        f"The check: with the weights of {where} shuffled, maps of the same {check['rows']:,} rows have a rank "
        f"correlation of {scored(check)} with these. "
    )
    value = check["value"]
    if value >= DOUBTFUL:
        return note(
            said + "That is high: much of what these maps show is in the input and not in what was learned.", "warning"
        )
    if value >= FAITHFUL:
        return note(said + "Part of what they show is in the input and not in what was learned.", "info")
    return note(said + "They depend on what was learned, which does not yet make them a reason.", "info")


def _picture(example: dict[str, Any]) -> list[Html]:
    try:
        data = base64.b64decode(example["picture"], validate=True)
        return [image(data, f"the picture {example['origin']}, {_said(example)}; and the same under its map")]
    except (binascii.Error, ValueError, KeyError):
        return [paragraph("The picture cannot be shown.")]


def _text(example: dict[str, Any]) -> list[Html]:
    most = max((abs(effect) for text in example["texts"] for _, effect in text if effect), default=0.0)
    quotes = [
        element("blockquote", *(_piece(piece, effect, most) for piece, effect in text), dir="auto")
        for text in example["texts"]
    ]
    if example.get("cut"):
        quotes.append(element("p", "The text goes on; only its beginning was looked at.", class_="soft"))
    return [*quotes, details("The effects as a table", _effects(example))]


def _piece(piece: str, effect: float | None, most: float) -> Html | str:
    if not effect or not most or abs(effect) < NEEDLESS * most:
        return piece
    level = min(LEVELS, 1 + int(LEVELS * abs(effect) / most))
    kind = "for" if effect > 0 else "against"
    words = piece.rstrip()
    return join([element("mark", words, class_=f"{kind} level{level}"), piece[len(words) :]])


def _effects(example: dict[str, Any]) -> Html:
    pairs = [(piece.strip(), effect) for text in example["texts"] for piece, effect in text]
    largest = sorted(pairs, key=lambda pair: -abs(pair[1] or 0.0))[:10]
    rows = [[cut(piece, 60), number(effect, 3)] for piece, effect in largest]
    return table(["left out", "the score falls by"], rows, "Pieces with the largest effects")


def _about(example: dict[str, Any]) -> list[Html]:
    why = "one of the worst mistakes" if example.get("mistake") else "drawn by lot"
    said = ["predicted ", _strong(_plain(example["prediction"])), ", true ", _strong(_plain(example["target"]))]
    return [element("p", *said), element("p", isolated(example["origin"]), f" ({why})", class_="soft")]


def _said(example: dict[str, Any]) -> str:
    """Prediction and truth, for who does not see the picture."""
    return f"predicted {_plain(example['prediction'])}, true {_plain(example['target'])}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return cut(", ".join(str(each) for each in value) or "none", 80)
    return cut(str(value))


def _strong(words: object) -> Html:
    return element("strong", isolated(words))


SECTION = Section(order=65, title="Where the network looked", render=render)
