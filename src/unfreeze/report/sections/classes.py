"""Each label on its own, what is taken for what, and precision over recall; for numbers, errors over their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Bar,
    Html,
    Line,
    Mark,
    alike,
    bars,
    cut,
    details,
    heading,
    heatmap,
    histogram,
    isolated,
    join,
    lines,
    number,
    paragraph,
    percent,
    scored,
    table,
)
from unfreeze.report.words import rows
from unfreeze.run import Run

FEW = 16
"""Labels up to which each has its bar."""

WORST, BEST = 12, 4
MOST_PAIRS = 15
MOST_CURVES = 8


def render(run: Run) -> Html | None:
    """Figures of labels, or of errors where numbers are predicted."""
    if "per-class" in run.evidence:
        return _classes(run.evidence["per-class"])
    if "residuals" in run.evidence:
        return _residuals(run.evidence["residuals"])
    return None


# ------------------------------------------------------------------------------------------------ labels


def _classes(found: dict[str, Any]) -> Html:
    classes = found["classes"]
    intro = paragraph(
        "Precision is the share of answers with a label that are right, recall the share of rows with a label that are "
        f"found, F1 their harmonic mean. Figures are of the {found['split']} split's {rows(found['rows'])}; "
        "intervals are Wilson's and stay wide where rows are few."
    )
    return join([intro, _bars(classes), _all(classes), _confusion(found), _curves(found.get("curves") or [])])


def _bars(classes: Sequence[dict[str, Any]]) -> Html:
    """F1 of each label; of many labels the worst and the best."""
    ranked = sorted((each for each in classes if each["f1"]["value"] is not None), key=lambda each: each["f1"]["value"])
    few = len(ranked) <= FEW
    shown = list(reversed(ranked)) if few else [*reversed(ranked[-BEST:]), *reversed(ranked[:WORST])]
    items = [
        Bar(
            each["label"],
            each["f1"]["value"],
            each["f1"]["low"],
            each["f1"]["high"],
            tone=0 if few or place < BEST else 1,
        )
        for place, each in enumerate(shown)
    ]
    title = "F1 of each label" if few else f"F1 of the {BEST} best and the {WORST} worst of {len(ranked):,} labels"
    return bars(
        items, title, axis=(0.0, 1.0), format=_share, headers=("label", "F1", "95 % interval"), caption=f"{title}."
    )


def _share(value: float) -> str:
    return f"{value:.2f}"


def _all(classes: Sequence[dict[str, Any]]) -> Html:
    lines_ = [
        (
            isolated(cut(each["label"])),
            each["rows"],
            each["predicted"],
            scored(each["precision"]),
            scored(each["recall"]),
            scored(each["f1"]),
        )
        for each in sorted(classes, key=lambda each: (each["f1"]["value"] is None, each["f1"]["value"] or 0.0))
    ]
    made = table(["label", "rows", "answers", "precision", "recall", "F1"], lines_, "Every label, the worst first")
    return details(f"All {len(classes):,} labels as a table", made)


def _confusion(found: dict[str, Any]) -> Html | None:
    pairs = found.get("confused")
    if pairs is None:
        return None
    if not pairs:
        return paragraph("No row was given a wrong label.")
    shown = [
        (
            isolated(cut(pair["true"])),
            isolated(cut(pair["predicted"])),
            pair["count"],
            f"{percent(pair['count'] / pair['of'])} of {pair['of']:,}",
        )
        for pair in pairs[:MOST_PAIRS]
    ]
    covered = sum(pair["count"] for pair in pairs[:MOST_PAIRS])
    caption = f"The most frequent mistakes: {covered:,} of {found['mistakes']:,}"
    made = table(["true label", "given label", "rows", "share of the true label's rows"], shown, caption)
    return join([heading("What is taken for what"), _matrix(found), made])


def _matrix(found: dict[str, Any]) -> Html | None:
    counts = found.get("matrix")
    if not counts:
        return None
    labels = [each["label"] for each in found["classes"]]
    totals = [sum(line) for line in counts]
    shares = [[count / total if total else None for count in line] for line, total in zip(counts, totals, strict=True)]
    texts = [[f"{count:,}" if count else "" for count in line] for line in counts]
    caption = (
        "Lines: true labels; columns: given labels. Numbers count rows; the shade is their share of the true label's."
    )
    return heatmap(
        shares,
        labels,
        labels,
        "Confusion matrix",
        row_title="true label",
        column_title="given label",
        texts=texts,
        top=1.0,
        caption=caption,
        description=f"{len(labels)} labels; {percent(_diagonal(counts))} of the rows are right, on the diagonal.",
    )


def _diagonal(counts: Sequence[Sequence[int]]) -> float:
    return sum(line[place] for place, line in enumerate(counts)) / max(1, sum(map(sum, counts)))


def _curves(curves: Sequence[dict[str, Any]]) -> Html | None:
    if not curves:
        return None
    shown = sorted(curves, key=lambda curve: -(curve["average_precision"]["value"] or 0))[:MOST_CURVES]
    series = [
        Line(
            f"{cut(curve['label'], 30)} ({number(curve['average_precision']['value'], 3)})",
            list(zip(curve["recall"], curve["precision"], strict=True)),
            style="dashed" if place % 2 else "line",
        )
        for place, curve in enumerate(shown)
    ]
    title = "Precision over recall"
    which = (
        ""
        if len(curves) == len(shown)
        else f" Of the {len(curves)} most frequent labels, the {len(shown)} best are drawn."
    )
    caption = (
        "Each curve follows one label as the probability from which it is given falls: the further to the upper right, "
        f"the better. In brackets: average precision.{which}"
    )
    picture = lines(
        series, title, x="recall", y="precision", x_range=(0, 1), y_range=(0, 1.02), caption=caption, height=340
    )
    data = [(isolated(cut(curve["label"])), scored(curve["average_precision"])) for curve in curves]
    return join(
        [
            heading(title),
            picture,
            details("Average precision of each", table(["label", "average precision"], data, "Average precision")),
        ]
    )


# ----------------------------------------------------------------------------------------------- numbers


def _residuals(found: dict[str, Any]) -> Html:
    quantiles, bias = found["quantiles"], found["bias"]
    clear = bias["low"] is not None and (bias["low"] > 0 or bias["high"] < 0)
    direction = "too high" if bias["value"] > 0 else "too low"
    which = f"the {found['split']} split's {rows(found['rows'])}"
    form = alike([quantiles["0.9"], abs(bias["value"])])
    half, most, mean = (form(each) for each in (quantiles["0.5"], quantiles["0.9"], abs(bias["value"])))
    reach = f" (mean error {scored(bias)}{'' if clear else ', which chance explains'})"
    words = paragraph(
        f"Half of {which} are off by less than {half}, nine of ten by less than {most}. "
        f"On average predictions are {mean} {direction}{reach if bias['low'] is not None else ''}."
    )
    return join([words, _scatter(found), _errors(found["histogram"]), _ranges(found["ranges"])])


def _scatter(found: dict[str, Any]) -> Html:
    points = [(true, predicted) for true, predicted in found["points"]]
    both = [value for point in points for value in point]
    low, high = min(both), max(both)
    room = 0.03 * (high - low or 1.0)
    limits = (low - room, high + room)
    some = "" if len(points) == found["rows"] else f" {len(points):,} of {found['rows']:,} rows, drawn at random."
    return lines(
        [Line("rows", points, style="dots")],
        "Predicted over true",
        x="true",
        y="predicted",
        x_range=limits,
        y_range=limits,
        diagonal=True,
        height=420,
        caption=f"Each point is a row; on the dashed line prediction and truth are equal.{some}",
    )


def _errors(content: dict[str, Any]) -> Html:
    outside = f" {rows(content['outside'])} lie further out." if content["outside"] else ""
    caption = f"Errors, predicted minus true: to the right of zero the prediction is too high.{outside}"
    return histogram(content["edges"], [("", content["counts"])], "Errors", x="predicted minus true", caption=caption,
                     marks=[Mark(0.0, "right")] if content["edges"][0] < 0 < content["edges"][-1] else [])  # fmt: skip


def _ranges(ranges: Sequence[dict[str, Any]]) -> Html | None:
    if len(ranges) < 2:
        return None
    items = [
        Bar(
            f"{number(part['from'], 3)} to {number(part['to'], 3)}",
            part["error"]["value"],
            part["error"]["low"],
            part["error"]["high"],
        )
        for part in ranges
    ]
    title = "Mean error by predicted value"
    caption = "Whether small or large predictions lean one way: bars to the right are too high on average."
    return bars(items, title, headers=("predicted", "mean error", "95 % interval"), caption=caption)


SECTION = Section(order=50, title="Labels and errors", render=render)
