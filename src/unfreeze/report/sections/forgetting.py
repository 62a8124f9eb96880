"""What fine-tuning did to what the network could do before."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.charts import Bar
from unfreeze.report.html import (
    Html,
    Mark,
    bars,
    heading,
    isolated,
    join,
    note,
    number,
    paragraph,
    scored,
    table,
)
from unfreeze.run import Run

METRICS = {"accuracy": "accuracy", "micro_f1": "F1 over all labels", "r2": "R²"}
REMEDIES = (
    "What holds it: fewer groups that learn (last:k, lora), a lower training.lr, method.l2_sp or method.ewc, "
    "method.distil (features of the task's own rows), method.rehearsal (rows of the source beside the task's)."
)


def render(run: Run) -> Html | None:
    """Retention where a source set was named, then drift."""
    found = run.evidence.get("forgetting")
    if not found:
        return None
    if found.get("unchanged"):
        return paragraph(
            "Nothing below the head learned: the network's features are to the bit those of the pre-trained one, and "
            "nothing can have been forgotten."
        )
    return join(
        [
            _removable(found),
            _retention(found["retention"]) if found.get("retention") else _without(found),
            _drift(found["drift"]),
            paragraph(REMEDIES) if _lost(found) else None,
        ]
    )


def _removable(found: dict[str, Any]) -> Html | None:
    if not found.get("removable"):
        return None
    return note(
        "Only what the method put in has learned: taken out, the network is the pre-trained one again. The figures "
        "below are of the network with it.",
        "good",
    )


def _retention(told: dict[str, Any]) -> Html:
    metric = METRICS.get(told["metric"], told["metric"])
    items = [
        Bar("before, fitted then", **_figure(told["before"])),
        Bar("after, fitted anew", **_figure(told["after"]), tone=1),
        Bar("after, fitted before", **_figure(told["unfitted"]), tone=2),
    ]
    chance = told.get("chance")
    reference = Mark(chance, "the same answer for every row") if chance else None
    labels = f", {told['labels']:,} labels" if told["labels"] else ""
    return join(
        [
            heading("Retention"),
            paragraph(
                "What the features could tell of the set ",
                isolated(told["source"]),
                f" ({told['rows']:,} rows{labels}), read off by a linear probe in {metric} (5-fold). Fitted anew, it "
                f"changed by {_signed(told['difference'])}: {_verdict(told['difference'])}. Left as it was fitted "
                f"before, as an old head would be, it changed by {_signed(told['unfitted_difference'])}.",
            ),
            bars(
                items,
                f"Linear probe on the source set: {metric}",
                reference=reference,
                format=lambda value: number(value, 3),
            ),
            _hopeless(told),
        ]
    )


def _hopeless(told: dict[str, Any]) -> Html | None:
    low, chance = told["before"].get("low"), told.get("chance")
    if low is None or chance is None or low > chance:
        return None
    return note(
        "Before training the probe was no better than the same answer for every row: the features never told these "
        "labels apart, and the set cannot show what was forgotten.",
        "warning",
    )


def _verdict(difference: dict[str, Any]) -> str:
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None:
        return "no interval was asked for"
    if high < 0:
        return "something was lost for good"
    if low > 0:
        return "it can even be read off better"
    return "no loss can be told from chance"


def _without(found: dict[str, Any]) -> Html:
    why = found.get("why_no_retention") or "the set has too few rows"
    return join(
        [
            paragraph("Retention was not measured: ", isolated(why), "."),
            paragraph(
                "With a labelled set in evaluation.source, a probe before and after shows what was kept of what the "
                "network could do on it."
            ),
        ]
    )


def _drift(told: dict[str, Any]) -> Html:
    where = "the source set" if told["on"] == "source" else f"the {told['on']} split"
    lines = [
        [
            "geometry (linear CKA)",
            _scored(told.get("cka")),
            "1: the same up to rotation and scale; 0: nothing in common",
        ],
        ["direction (cosine)", _scored(told.get("cosine")), "1: each row's features point where they did"],
        [
            f"neighbours ({told['k']} nearest)",
            _scored(told.get("neighbours")),
            f"share that is still near; {number(told['chance'], 2)} by chance",
        ],
    ]
    return join(
        [
            heading("Drift of the features"),
            table(
                ["what", "after against before", "how to read it"],
                lines,
                f"What enters the head, for {told['rows']:,} rows of {where}",
            ),
            paragraph(
                "Drift is change, not loss: features that were made for the task have to move. It says how far an "
                "index, a clustering or another head built on the old features can still be used."
            ),
        ]
    )


def _lost(found: dict[str, Any]) -> bool:
    """Whether a reader has reason to do something."""
    told = found.get("retention")
    if told:
        return any((told[name].get("high") or 0.0) < 0 for name in ("difference", "unfitted_difference"))
    return float((found["drift"].get("neighbours") or {}).get("value") or 1.0) < 0.5


def _figure(figure: dict[str, Any]) -> dict[str, Any]:
    return {name: figure.get(name) for name in ("value", "low", "high")}


def _scored(figure: dict[str, Any] | None) -> str:
    return "–" if figure is None else scored(figure)


def _signed(figure: dict[str, Any]) -> str:
    """ "−0.031 (−0.050 to −0.012)"."""
    shown = scored(figure)
    return shown if shown.startswith(("−", "–", "0 ")) else f"+{shown}"


SECTION = Section(order=90, title="What was kept of before", render=render)
