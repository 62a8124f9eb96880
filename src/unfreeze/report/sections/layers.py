"""The layer stack as a picture: what learned when, at which rate, and how far each group moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unfreeze.report import Section
from unfreeze.report.drawing import WIDTH, drawing, fitted, rule, text, width_of
from unfreeze.report.html import Html, element, estimate, figure, join, paragraph, percent, table
from unfreeze.report.words import rows
from unfreeze.run import Run

NAMES, FIGURES = 150.0, 76.0
"""Widths of the names on the left and of the figures beside a bar."""

TALL, LOW = 24.0, 15.0
MANY = 40
"""Groups beyond which rows are drawn lower."""


def render(run: Run) -> Html | None:
    """The picture from the head down to the stem, and the same as a table."""
    groups, phases = stack_of(run)
    if not groups:
        return None
    moved, alike = movement_of(run), similarity_of(run)
    picture = draw(groups, phases, moved, alike)
    caption = (
        "From the head (top) to the input (bottom). Blue cells learned, the deeper the colour the higher their rate; "
        "grey cells were frozen."
    )
    if moved:
        caption += " Bars show how far each group's weights moved, relative to their size before."
    if alike:
        caption += (
            " Dots show how alike what leaves a group is before and after, with the 95 % interval (linear CKA; at "
            "1, on the right, it is the same but for rotation and scale)."
        )
    return join([_words(run, groups), figure(picture, caption, _table(groups, phases, run)), _proof(run)])


def stack_of(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups, lowest first, with their rates by phase; and the phases. Without evidence, names alone from the plan."""
    known = run.evidence.get("layers")
    if known:
        return known["groups"], known["phases"]
    result = run.result
    phases = result.get("phases") or []
    names = dict.fromkeys(
        name
        for place, phase in enumerate(phases)
        for name in (*_frozen(result, place), *phase["learn"])
    )  # fmt: skip
    groups = [
        {"name": name, "parameters": None, "rates": [math.nan if name in phase["learn"] else None for phase in phases]}
        for name in names
    ]
    return groups, phases


def _frozen(result: dict[str, Any], place: int) -> Sequence[str]:
    """Groups that the ledger holds of a phase: those below what learned come first."""
    ledger = result.get("ledger") or []
    return tuple(ledger[place]["frozen"]) if place < len(ledger) else ()


def movement_of(run: Run) -> dict[str, float]:
    """Relative change of each group's weights, where that was measured; not of the head, which was new."""
    content = run.evidence.get("movement") or {}
    found = {}
    for group in content.get("groups") or ():
        value = group.get("relative_change")
        if isinstance(value, (int, float)) and group.get("kind") != "head":
            found[str(group.get("name"))] = float(value)
    return found


def similarity_of(run: Run) -> dict[str, tuple[float, float | None, float | None]]:
    """Linear CKA of what leaves each group before and after, with its interval, where that was measured."""
    groups = (run.evidence.get("movement") or {}).get("groups") or ()
    return {
        str(group["name"]): (float(group["cka"]), group.get("cka_low"), group.get("cka_high"))
        for group in groups
        if group.get("cka") is not None
    }


# ------------------------------------------------------------------------------------------------ picture


def draw(
    groups: Sequence[dict[str, Any]],
    phases: Sequence[dict[str, Any]],
    moved: dict[str, float],
    alike: dict[str, tuple[float, float | None, float | None]],
) -> Html:
    """The stack: a row for each group, a column for each phase as wide as it is long, movement and likeness."""
    tall = TALL if len(groups) <= MANY else LOW
    left = min(NAMES, max(width_of(group["name"]) for group in groups) + 12)
    until = WIDTH * 0.78 if alike else float(WIDTH)
    right = until - (208.0 if moved else 4.0)
    limits = _limits([float(phase["epochs"]) for phase in phases], left, right)
    top, bottom = 40.0, 40.0 + tall * len(groups)
    rates = [rate for group in groups for rate in group["rates"] if rate]
    parts: list[Html | None] = [text(left, 14, "phases, to scale", "start", "tick")]
    parts += _phase_names(phases, limits)
    for place, group in enumerate(reversed(groups)):
        y = top + tall * place
        parts.append(text(left - 8, y + tall / 2 + 4, fitted(group["name"], left - 10), "end", "tick"))
        parts += [
            _cell(group["name"], phase, rate, limits[at], limits[at + 1], y, tall, rates)
            for at, (phase, rate) in enumerate(zip(phases, group["rates"], strict=True))
        ]
    if moved:
        parts += _bars(groups, moved, right + 14, until, top, tall)
    if alike:
        parts += _dots(groups, alike, until + 10, top, tall)
    return drawing(WIDTH, bottom + 6, "The layer stack", _in_words(groups, phases), *parts)


def _limits(lengths: Sequence[float], left: float, right: float) -> list[float]:
    """Where each phase begins and ends."""
    total, at, limits = sum(lengths) or 1.0, left, [left]
    for length in lengths:
        at += (right - left) * length / total
        limits.append(at)
    return limits


def _phase_names(phases: Sequence[dict[str, Any]], limits: Sequence[float]) -> list[Html]:
    """The name of each phase above its column, where it fits."""
    named = []
    for at, phase in enumerate(phases):
        wide = limits[at + 1] - limits[at]
        name = fitted(phase["name"], wide - 2)
        if wide > 24:
            named.append(text((limits[at] + limits[at + 1]) / 2, 32, name, "middle", "tick"))
    return named


def _cell(
    name: str,
    phase: dict[str, Any],
    rate: float | None,
    left: float,
    right: float,
    y: float,
    tall: float,
    rates: Sequence[float],
) -> Html:
    learns = rate is not None
    word = "frozen" if rate is None else f"{rate:.2g}" if rate == rate else "learns"
    said = f"{name}, {phase['name']}: {f'rate {word}' if learns and rate == rate else word}"
    box = {"x": left + 0.75, "y": y + 1.0, "width": max(1.0, right - left - 1.5), "height": tall - 2.0}
    cell = element(
        "rect",
        element("title", said),
        class_="cell" if learns else "frozen",
        fill_opacity=f"{shade(rate, rates):.2f}" if learns else None,
        **box,
    )
    if right - left < width_of(word) or tall < TALL:
        return cell
    ink = ("in deep" if shade(rate, rates) > 0.75 else "in") if learns else "tick"
    return join([cell, text((left + right) / 2, y + tall / 2 + 4, word, "middle", ink)])


def shade(rate: float | None, rates: Sequence[float]) -> float:
    """0.35 for the lowest rate of the run to 1 for the highest, by their logarithm; 1 where all are equal."""
    known = [each for each in rates if each and each > 0]
    if not rate or rate != rate or not known or min(known) == max(known):
        return 1.0
    low, high = math.log(min(known)), math.log(max(known))
    return 0.35 + 0.65 * (math.log(rate) - low) / (high - low)


def _bars(
    groups: Sequence[dict[str, Any]], moved: dict[str, float], left: float, right: float, top: float, tall: float
) -> list[Html]:
    most = max(moved.values()) or 1.0
    wide, bottom = right - FIGURES - left, top + tall * len(groups)
    parts = [text(left, 14, "weights moved by", "start", "tick"), rule(left, top, left, bottom, "axis")]
    for place, group in enumerate(reversed(groups)):
        value, y = moved.get(group["name"]), top + tall * place
        if value is None:
            words = "new" if group is groups[-1] else "not measured"
            parts.append(text(left + 6, y + tall / 2 + 4, words, "start", "tick"))
            continue
        parts.append(
            element(
                "rect",
                x=float(left),
                y=y + 3.0,
                width=max(0.5, wide * value / most),
                height=tall - 6.0,
                class_="bar tone1",
            )
        )
        parts.append(text(left + wide * value / most + 6, y + tall / 2 + 4, _percent(value), "start", "tick"))
    return parts


def _dots(
    groups: Sequence[dict[str, Any]],
    alike: dict[str, tuple[float, float | None, float | None]],
    left: float,
    top: float,
    tall: float,
) -> list[Html]:
    """CKA of each group from 0 to 1, with its interval."""
    wide, bottom = WIDTH - 36.0 - left, top + tall * len(groups)

    def at(value: float) -> float:
        return left + wide * min(1.0, max(0.0, value))

    parts = [text(left, 14, "alike (CKA)", "start", "tick")]
    parts += [rule(at(0), top, at(0), bottom, "axis"), rule(at(1), top, at(1), bottom, "grid")]
    for place, group in enumerate(reversed(groups)):
        value, low, high = alike.get(group["name"], (None, None, None))
        middle = top + tall * (place + 0.5)
        if value is None:
            continue
        if low is not None and high is not None:
            parts.append(rule(at(low), middle, at(high), middle, "whisker"))
        parts.append(element("circle", cx=at(value), cy=middle, r=4.0, class_="dot tone2"))
        parts.append(text(WIDTH, middle + 4, f"{value:.2f}".replace("-", "−"), "end", "tick"))
    return parts


def _percent(value: float) -> str:
    """A change; small ones keep their digits, since zero means something here."""
    return "0" if value == 0 else percent(value, 1 if value >= 0.01 else 3)


def _in_words(groups: Sequence[dict[str, Any]], phases: Sequence[dict[str, Any]]) -> str:
    learned = [group["name"] for group in groups if any(rate is not None for rate in group["rates"])]
    return f"{len(groups)} layer groups in {rows(len(phases), 'phase')}; {len(learned)} of them learned."


# --------------------------------------------------------------------------------------- words and table


def _words(run: Run, groups: Sequence[dict[str, Any]]) -> Html:
    learned = [group["name"] for group in groups if any(rate is not None for rate in group["rates"])]
    share = run.result["learned_parameters"] / max(1, run.result["parameters"])
    return paragraph(
        f"{len(learned)} of {rows(len(groups), 'layer group')} learned: "
        f"{run.result['learned_parameters']:,} of {run.result['parameters']:,} parameters ({percent(share, 2)})."
    )


def _table(groups: Sequence[dict[str, Any]], phases: Sequence[dict[str, Any]], run: Run) -> Html:
    moved = movement_of(run)
    similar = {name: estimate(*figure_) for name, figure_ in similarity_of(run).items()}
    headers = ["layer group", "parameters", *(f"rate in {phase['name']}" for phase in phases)]
    headers += ["weights moved by"] * bool(moved) + ["CKA before and after"] * bool(similar)
    lines = []
    for group in reversed(groups):
        name = group["name"]
        line = [name, f"{group['parameters']:,}" if group["parameters"] is not None else "–"]
        line += ["frozen" if rate is None else f"{rate:.2g}" if rate == rate else "learns" for rate in group["rates"]]
        line += [_percent(moved[name]) if name in moved else "–"] * bool(moved)
        line += [similar.get(name, "–")] * bool(similar)
        lines.append(line)
    return table(headers, lines, "The layer stack, from the top")


def _proof(run: Run) -> Html | None:
    ledger = run.result.get("ledger") or []
    count = len({name for entry in ledger for name in entry.get("frozen", {})})
    if not count or not all(entry.get("unchanged") for entry in ledger):
        return None
    return paragraph(
        f"Frozen means frozen: {rows(count, 'group')} stood still in some phase, and the hash of their parameters and "
        "buffers was the same before and after it."
    )


SECTION = Section(order=40, title="Layers", render=render)
