"""YAML 1.2 scalars: what people write in recipes is read as they mean it, and written so that it is read back."""

from __future__ import annotations

from typing import Any

import pytest

from unfreeze import _yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.E+3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("'1e-4'", "1e-4"),
        ("=", "="),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = _yaml.read(text, "x").value
    assert found == value
    assert type(found) is type(value)
    assert _yaml.read(_yaml.flow(value), "x").value == value


def test_every_value_has_its_line() -> None:
    lines = _yaml.read("a: 1\nb:\n  - x\n  - {c: 3,\n     d: 4}\n", "x").lines
    assert (lines[("a",)], lines[("b", 0)], lines[("b", 1, "c")], lines[("b", 1, "d")]) == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("text", "comment"), [("", ""), (" \n", ""), ("two\nlines\x00 # x", "  # two lines # x"), ("é", "  # é")]
)
def test_a_comment_stays_on_its_line(text: str, comment: str) -> None:
    assert _yaml.comment(text) == comment
