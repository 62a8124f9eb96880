"""How maps and shaded words are shown: escaped, without styles, and with what the check says."""

from __future__ import annotations

import base64
import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from unfreeze.report.sections.attention import SECTION

HOSTILE = "<script>alert('&')</script>"


def jpeg() -> str:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 30)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def texts(pieces: list[list[Any]], **more: Any) -> dict[str, Any]:
    example = {
        "texts": [pieces],
        "cut": False,
        "origin": f"{HOSTILE}, line 3",
        "target": HOSTILE,
        "prediction": "film",
        "mistake": True,
    }
    check = {"value": 0.1, "low": -0.1, "high": 0.3, "rows": 8}
    return {
        "modality": "text",
        "split": "test",
        "method": "occlusion",
        "randomised": ["block 2", "head"],
        "check": check,
        "examples": [example],
        **more,
    }


def pictures(**more: Any) -> dict[str, Any]:
    example = {"picture": jpeg(), "origin": HOSTILE, "target": 2.5, "prediction": 3.0, "mistake": False}
    found = {**texts([]), "modality": "image", "layer": "block 3", "grid": [7, 7], "examples": [example]}
    return {**found, **more}


def shown(found: dict[str, Any], task: str = "classification") -> str:
    html = SECTION.render(SimpleNamespace(evidence={"attention": found}, manifest=SimpleNamespace(task=task)))  # type: ignore[arg-type]
    assert html is not None
    return str(html)


def test_nothing_found_nothing_shown() -> None:
    for evidence in ({}, {"attention": texts([], examples=[])}):
        assert SECTION.render(SimpleNamespace(evidence=evidence)) is None  # type: ignore[arg-type]


def test_text_from_data_is_text() -> None:
    for html in (shown(texts([[HOSTILE, 1.0], ["rest", 0.0]])), shown(pictures())):
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "style=" not in html
        assert not re.search(r"\son\w+=", html)


def test_pieces_are_shaded_by_their_effect_and_direction() -> None:
    html = shown(texts([["most ", 2.0], ["some ", 0.6], ["against ", -1.0], ["hardly ", 0.02], ["none", 0.0]]))
    assert '<mark class="for level4">most</mark> ' in html
    assert '<mark class="for level2">some</mark> ' in html
    assert '<mark class="against level3">against</mark> ' in html
    assert "hardly none</blockquote>" in html


def test_a_text_without_any_effect() -> None:
    html = shown(texts([["one ", 0.0], ["two", 0.0]]))
    assert "<mark" not in html
    assert "one two" in html


def test_pictures_are_pictures_and_what_is_none_is_said() -> None:
    assert shown(pictures()).count('<img src="data:image/jpeg;base64,') == 1
    broken = pictures()
    broken["examples"][0]["picture"] = "AAAA"
    assert "cannot be shown" in shown(broken)


@pytest.mark.parametrize(("value", "kind"), [(0.05, "info"), (0.45, "info"), (0.9, "warning")])
def test_the_check_is_told_and_a_high_correlation_is_a_warning(value: float, kind: str) -> None:
    html = shown(texts([["a", 1.0]], check={"value": value, "low": value - 0.1, "high": value + 0.1, "rows": 8}))
    assert f'class="note {kind}"' in html
    assert "8 rows" in html
    assert ("hardly" in html or "in the input and not in what was learned" in html) == (value > 0.3)


def test_without_a_check_that_is_said() -> None:
    assert "could not be checked" in shown(texts([["a", 1.0]], check=None))


def test_unit_of_the_effects() -> None:
    for task, unit in (("classification", "log-probability"), ("multilabel", "logit"), ("regression", "value")):
        assert f"the prediction's {unit} falls" in shown(texts([["a", 1.0]]), task).replace("&#x27;", "'")


def test_a_picture_says_what_was_given_and_what_is_true() -> None:
    found = pictures()
    assert "predicted 3.000, true 2.500; and the same under its map" in shown(found)
    found["examples"][0] |= {"prediction": HOSTILE, "target": ["a", "b"]}
    alt = re.findall(r'alt="([^"]*)"', shown(found))[0]
    assert "predicted &lt;script&gt;" in alt
    assert "true a, b" in alt
