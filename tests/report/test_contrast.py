"""Contrast of the page's colours in both schemes, computed from its style sheet (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from unfreeze.report.drawing import TONES
from unfreeze.report.heatmaps import DEEP
from unfreeze.report.page import page_style

TEXT, GRAPHIC = 4.5, 3.0
Colour = tuple[float, float, float]


def schemes() -> dict[str, dict[str, Colour]]:
    style = page_style()
    light = _colours(style[: style.index("@media")])
    dark = _colours(style[style.index("prefers-color-scheme: dark") : style.index("* {")])
    assert set(dark) == set(light), "each colour has a value in both schemes"
    return {"light": light, "dark": dark}


def _colours(style: str) -> dict[str, Colour]:
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})\b", style)
    return {name: tuple(int(code[at : at + 2], 16) / 255 for at in (0, 2, 4)) for name, code in found}  # type: ignore[misc]


def luminance(colour: Colour) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Colour, two: Colour) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def mixed(over: Colour, under: Colour, opacity: float) -> Colour:
    parts = [opacity * a + (1 - opacity) * b for a, b in zip(over, under, strict=True)]
    return (parts[0], parts[1], parts[2])


def test_luminance_of_known_colours() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((119 / 255,) * 3, (1, 1, 1)) == pytest.approx(4.48, abs=0.01)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_its_ground(scheme: str) -> None:
    colours = schemes()[scheme]
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("paper", "panel")]
    pairs += [(ink, f"{kind}-ground") for kind in ("good", "warning", "bad", "info") for ink in (kind, "ink")]
    for ink, ground in pairs:
        assert contrast(colours[ink], colours[ground]) >= TEXT, (ink, ground)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_charts_draw(scheme: str) -> None:
    colours = schemes()[scheme]
    for name in [f"tone{number}" for number in range(TONES)] + ["soft", "focus", "ink", "cell"]:
        assert contrast(colours[name], colours["paper"]) >= GRAPHIC, name
    tones = [colours[f"tone{number}"] for number in range(TONES)]
    assert all(sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) > 0.02 for one, two in pairwise(tones))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_intervals_on_their_bars(scheme: str) -> None:
    colours = schemes()[scheme]
    opacity = float(re.search(r"\.bar \{ fill-opacity: ([.\d]+)", page_style()).group(1))  # type: ignore[union-attr]
    for number in range(TONES):
        bar = mixed(colours[f"tone{number}"], colours["paper"], opacity)
        assert contrast(colours["ink"], bar) >= GRAPHIC, number


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("share", [percent / 100 for percent in range(101)])
def test_words_in_a_cell_of_any_shade(scheme: str, share: float) -> None:
    colours = schemes()[scheme]
    cell = mixed(colours["cell"], colours["paper"], 0.06 + 0.94 * share)
    ink = colours["on-deep" if share > DEEP else "on-cell"]
    assert contrast(ink, cell) >= TEXT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_of_frozen_groups(scheme: str) -> None:
    colours = schemes()[scheme]
    assert contrast(colours["soft"], colours["line"]) >= TEXT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_that_are_shaded(scheme: str) -> None:
    colours = schemes()[scheme]
    shades = re.findall(r"color-mix\(in srgb, var\(--(\w+)\) (\d+)%, var\(--paper\)\)", page_style())
    assert shades
    for tone, percent in shades:
        assert contrast(colours["ink"], mixed(colours[tone], colours["paper"], int(percent) / 100)) >= TEXT
