"""What is a usual distance from what the model knows, and which test rows lie beyond it."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import Html, code, cut, details, isolated, join, number, paragraph, percent, scored, table
from unfreeze.report.sections.calibration import share
from unfreeze.report.words import rows
from unfreeze.run import Run


def render(run: Run) -> Html | None:
    """How new rows are placed, and where the test rows lie."""
    found = run.evidence.get("out-of-distribution")
    if not found:
        return None
    nearest, classes = ("the nearest class", "their class") if found["classes"] > 1 else ("their mean", "it")
    return join(
        [
            paragraph(
                "Each prediction says how far its row lies from the rows that the model was validated on: ",
                code("ood_percentile"),
                f". One of 99 means further from {nearest} than 99 % of the "
                f"{rows(found['rows'], 'validation row')} lie from {classes}. A high one says that the row is "
                "unlike what the figures on this page are about. It does not say that the prediction is wrong, nor a "
                "low one that it is right.",
            ),
            _test(found["test"]) if found.get("test") else None,
        ]
    )


def _test(test: dict[str, Any]) -> Html:
    beyond = [
        [f"{item['percentile']} %", percent(1 - item["percentile"] / 100, 0), share(item["share"])]
        for item in test["beyond"]
    ]
    separated = test["against_validation"]
    return join(
        [
            table(
                ["further than", "expected", "share of test rows"],
                beyond,
                "Test rows beyond percentiles of validation rows, with 95 % intervals",
                footnote="Test rows that resemble validation rows lie beyond them as often as expected. AUROC of test "
                f"against validation: {scored(separated)}; 0.5 means that nothing tells them apart.",
            ),
            _furthest(test["furthest"]),
        ]
    )


def _furthest(items: list[dict[str, Any]]) -> Html | None:
    if not items:
        return None
    texts = any(item["text"] for item in items)
    body = [
        [
            isolated(item["origin"]),
            *([isolated(cut(item["text"], 120))] if texts else []),
            number(item["percentile"], 3),
        ]
        for item in items
    ]
    headers = ["row", *(["text"] if texts else []), "percentile"]
    return details("The test rows that lie furthest away", table(headers, body, "Furthest test rows"))


SECTION = Section(order=75, title="How usual a row is", render=render)
