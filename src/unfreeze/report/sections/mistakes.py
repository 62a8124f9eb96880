"""The worst mistakes, each with its input."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import Html, cut, element, image, isolated, join, number, paragraph, percent
from unfreeze.report.words import rows
from unfreeze.run import Run

SMALL = 80
"""Pictures are shown at least this wide."""


def render(run: Run) -> Html | None:
    """Cards, the worst first."""
    found = run.evidence.get("mistakes")
    if not found:
        return None
    examples = found["examples"]
    if not examples:
        return paragraph(f"There is none: all {rows(found['rows'])} of the {found['split']} split are right.")
    cards = [element("li", *_card(example)) for example in examples]
    return join([paragraph(_intro(run, found)), element("ol", *cards, class_="cards")])


def _intro(run: Run, found: dict[str, Any]) -> str:
    shown, split = len(found["examples"]), found["split"]
    why = "Look here for wrong labels in the data, for inputs that cannot be told apart, and for shortcuts."
    if run.manifest.task == "regression":
        return f"The {rows(shown)} of the {split} split with the largest errors. {why}"
    wrong = f"{found['wrong']:,} of {rows(found['rows'])} of the {split} split are wrong"
    if run.manifest.task == "multilabel":
        return f"{wrong} in at least one label; these {shown} most surely so. {why}"
    return f"{wrong}; of these the {shown} that the model was most sure of, at most six of each pair of labels. {why}"


def _card(example: dict[str, Any]) -> list[Html]:
    said = {"class_": "soft"}
    origin = element("p", isolated(example["origin"]), **said)
    return [*shown_input(example), element("p", *_verdict(example)), origin]


def shown_input(example: dict[str, Any]) -> list[Html]:
    """An input as evidence keeps it: its texts, or a small picture."""
    if "image" in example:
        return [_picture(example["image"], f"the picture {example['origin']}{_told(example)}")]
    texts = [example[name] for name in ("text", "pair") if name in example]
    if texts:
        return [element("blockquote", text, dir="auto") for text in texts]
    return [paragraph(example.get("unreadable", "The input cannot be shown."))]


def _told(example: dict[str, Any]) -> str:
    """What was said of a picture and what is true, for who does not see it."""
    if "missed" in example:
        parts = [(what, example[name]) for name, what in (("missed", "missed"), ("added", "wrongly given"))]
        named = [f"{what} {', '.join(cut(str(label), 40) for label, _ in found)}" for what, found in parts if found]
        return "".join(f", {words}" for words in named)
    pairs = (("prediction", "given"), ("target", "true"), ("given", "given"), ("suggested", "suggested"))
    return "".join(f", {what} {_short(example[name])}" for name, what in pairs if example.get(name) is not None)


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else cut(str(value), 40)


def _picture(encoded: str, alt: str) -> Html:
    try:
        data = base64.b64decode(encoded, validate=True)
        return image(data, alt, width=_width(data))
    except (binascii.Error, ValueError):
        return paragraph("The picture cannot be shown.")


def _width(data: bytes) -> int | None:
    """The width at which a very small PNG is shown; others as they are."""
    if not data.startswith(b"\x89PNG"):
        return None
    width = int.from_bytes(data[16:20], "big")
    return -(-SMALL // width) * width if 0 < width < SMALL else None


def _verdict(example: dict[str, Any]) -> list[object]:
    if "missed" in example:
        return _labels(example)
    if "error" in example:
        off = number(abs(example["error"]))
        way = "too high" if example["error"] > 0 else "too low"
        return [
            "predicted ",
            _strong(number(example["prediction"])),
            f", true {number(example['target'])}: {off} {way}",
        ]
    return [
        "given ",
        _strong(cut(example["prediction"])),
        f" ({percent(example['probability'])}), true ",
        _strong(cut(str(example["target"]))),
        f" ({percent(example['probability_of_target'])})",
    ]


def _labels(example: dict[str, Any]) -> list[object]:
    parts: list[object] = []
    for name, title in (("missed", "missed"), ("added", "wrongly given")):
        if example[name]:
            named = [join([_strong(cut(label, 40)), f" ({percent(share)})"]) for label, share in example[name]]
            parts += ["; " if parts else "", f"{title}: ", join(named, ", ")]
    return parts


def _strong(words: object) -> Html:
    return element("strong", isolated(words))


SECTION = Section(order=60, title="Worst mistakes", render=render)
