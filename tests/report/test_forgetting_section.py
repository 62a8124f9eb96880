"""What the section on forgetting says of planted evidence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from unfreeze.report.sections.forgetting import SECTION


def figure(value: float, by: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - by, "high": value + by}


DRIFT = {
    "on": "source",
    "rows": 400,
    "k": 10,
    "chance": 0.025,
    "cka": figure(0.8),
    "cosine": figure(0.9),
    "neighbours": figure(0.7),
}


def retention(after: float = 0.7, unfitted: float = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "source": "<script>alert(1)</script>.csv",
        "task": "classification",
        "labels": 5,
        "rows": 400,
        "metric": "accuracy",
        "chance": 0.2,
        "before": figure(0.8),
        "after": figure(after),
        "unfitted": figure(unfitted),
        "difference": figure(after - 0.8),
        "unfitted_difference": figure(unfitted - 0.8),
        **more,
    }


def shown(**found: Any) -> str:
    html = SECTION.render(SimpleNamespace(evidence={"forgetting": {"unchanged": False, **found}}))  # type: ignore[arg-type]
    assert html is not None
    return str(html)


def test_no_evidence_no_section() -> None:
    assert SECTION.render(SimpleNamespace(evidence={})) is None  # type: ignore[arg-type]


def test_a_frozen_body_has_forgotten_nothing() -> None:
    html = SECTION.render(SimpleNamespace(evidence={"forgetting": {"unchanged": True}}))  # type: ignore[arg-type]
    assert "nothing can have been forgotten" in str(html)


@pytest.mark.parametrize(
    ("after", "said"),
    [(0.7, "something was lost for good"), (0.79, "no loss can be told from chance"), (0.9, "read off better")],
)
def test_the_verdict_follows_the_interval(after: float, said: str) -> None:
    html = shown(drift=DRIFT, retention=retention(after))
    assert said in html
    others = {"something was lost for good", "no loss can be told from chance", "read off better"} - {said}
    assert not any(other in html for other in others)


def test_names_from_data_are_text() -> None:
    html = shown(drift=DRIFT, retention=retention())
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    html = shown(drift=DRIFT, why_no_retention="<img src=x>")
    assert "<img" not in html


def test_remedies_are_named_where_something_was_lost_and_only_there() -> None:
    assert "method.rehearsal" in shown(drift=DRIFT, retention=retention(0.7, 0.5))
    assert "method.rehearsal" not in shown(drift=DRIFT, retention=retention(0.8, 0.8))
    far = {**DRIFT, "on": "validation", "neighbours": figure(0.1)}
    assert "method.distil" in shown(drift=far, why_no_retention="none was named")
    near = {**DRIFT, "on": "validation"}
    assert "method.distil" not in shown(drift=near, why_no_retention="none was named")


def test_a_set_that_could_never_be_told_apart_says_so() -> None:
    assert "cannot show what was forgotten" in shown(drift=DRIFT, retention=retention(before=figure(0.21)))
    assert "cannot show what was forgotten" not in shown(drift=DRIFT, retention=retention())


def test_missing_figures_are_dashes() -> None:
    html = shown(drift={**DRIFT, "cka": None, "neighbours": None}, why_no_retention="")
    assert "–" in html
    assert "None" not in html


def test_what_can_be_taken_out_is_said() -> None:
    assert "taken out" in shown(drift=DRIFT, removable=True)
    assert "taken out" not in shown(drift=DRIFT, removable=False)


def test_intervals_that_nobody_asked_for() -> None:
    bare = {"value": 0.5, "low": None, "high": None}
    names = ("before", "after", "unfitted", "difference", "unfitted_difference")
    html = shown(drift={**DRIFT, "cosine": bare}, retention={**retention(), **dict.fromkeys(names, bare)})
    assert "no interval was asked for" in html
