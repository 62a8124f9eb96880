"""Whether stated probabilities come true, what the temperature changes, and what abstaining buys."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Html,
    Line,
    code,
    heading,
    isolated,
    join,
    lines,
    note,
    number,
    paragraph,
    percent,
    scored,
    table,
)
from unfreeze.report.words import rows, typed
from unfreeze.run import Run

FIGURES = {
    "ece": "calibration error, 15 bins of equal width",
    "ece_equal_mass": "calibration error, 15 bins of equally many rows",
    "brier": "Brier score",
    "nll": "negative log-likelihood",
}

NEARLY_ONE = 1.05
"""A temperature between its inverse and this changes little."""


def render(run: Run) -> Html | None:
    """Classes and labels: figures, diagram, abstention; numbers: intervals."""
    found = run.evidence.get("calibration")
    if not found:
        return None
    return _numbers(found) if found["task"] == "regression" else _classes(run, found)


def _classes(run: Run, found: dict[str, Any]) -> Html:
    judged = found["judged"]
    return join(
        [
            _words(found),
            _flattered(found),
            _temperatures(found),
            _table(found["splits"][judged], judged),
            _diagram(found),
            *(_abstention(run, found) if found.get("abstention") else ()),
        ]
    )


def _words(found: dict[str, Any]) -> Html:
    figures, temperature = found["splits"][found["judged"]], found.get("temperature")
    said = (
        "Of all predictions that are stated with a probability of 80 %, 80 % should be right. On the "
        f"{found['judged']} rows probabilities are off by {scored(figures['before']['ece'])} on average"
    )
    if not temperature:
        return paragraph(f"{said}. There were no validation rows to correct them by.")
    value = temperature["value"]
    if 1 / NEARLY_ONE < value < NEARLY_ONE:
        how = "needs hardly any correction"
    else:
        how = "is overconfident: its probabilities are too extreme" if value > 1 else "is less sure than it could be"
    return paragraph(
        f"{said}. By the {rows(found['rows']['validation'], 'validation row')} the model {how}. With its outputs "
        f"divided by a temperature of {number(value, 3)}, fitted there, they are off by "
        f"{scored(figures['after']['ece'])}. Predictions are made with it (",
        code("--uncalibrated"),
        " leaves it out); what is predicted stays the same.",
    )


def _flattered(found: dict[str, Any]) -> Html | None:
    if found["judged"] == "validation" and found.get("temperature"):
        return note(
            "There is no test split: the figures after are those of the rows that the temperature was fitted to, and "
            "flatter it.",
            "warning",
        )
    difference = found["splits"][found["judged"]].get("difference", {}).get("nll") or {}
    if (difference.get("low") or 0) > 0:
        return note(
            "On the test rows the temperature did not help: the validation rows were few, or of another kind. Without "
            "it stated probabilities fit better there.",
            "warning",
        )
    return None


def _temperatures(found: dict[str, Any]) -> Html | None:
    """The labels whose temperatures lie furthest apart, where each has its own."""
    labels = (found.get("temperature") or {}).get("labels")
    if not labels:
        return None
    return table(
        ["label", "temperature"],
        [[isolated(item["label"]), number(item["value"], 3)] for item in labels],
        f"Each label has a temperature of its own: the lowest and the highest (the median is "
        f"{number(found['temperature']['value'], 3)})",
    )


def _table(figures: dict[str, Any], judged: str) -> Html:
    after = "after" in figures
    lines_ = [
        [
            said,
            scored(figures["before"][name]),
            *([scored(figures["after"][name]), scored(figures["difference"][name])] if after else []),
        ]
        for name, said in FIGURES.items()
    ]
    headers = ["figure", "as the model says", *(["with the temperature", "difference"] if after else [])]
    return table(
        headers,
        lines_,
        f"Calibration on {judged} rows, with 95 % intervals; lower is better",
        footnote="Brier score and likelihood also grow with wrong predictions, which no temperature changes.",
    )


def _diagram(found: dict[str, Any]) -> Html:
    series = []
    for side, name, style in (("before", "as the model says", "dashed"), ("after", "with the temperature", "line")):
        bins = found["reliability"].get(side)
        if bins:
            points = [(each["probability"], each["observed"]["value"]) for each in bins]
            band = [(each["observed"]["low"], each["observed"]["high"]) for each in bins]
            series.append(Line(name, points, band, "dashed" if style == "dashed" else "line"))
    some = f" (of {found['thinned']:,} rows, drawn by seed)" if found.get("thinned") else ""
    return lines(
        series,
        "Reliability diagram",
        x="stated probability",
        y="share that came true",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        diagonal=True,
        caption=f"Stated probabilities and how often they came true{some}; on the diagonal they mean what they say. "
        "Below it the model is too sure. Bands are 95 % intervals.",
    )


def _abstention(run: Run, found: dict[str, Any]) -> list[Html | None]:
    told = found["abstention"]
    several = found["task"] == "multilabel"
    what = "not all labels right" if several else "wrong"
    points = told["curve"]
    whole = all("low" in point for point in points)
    band = [(point["low"], point["high"]) for point in points] if whole else None
    curve = lines(
        [Line("error", [(point["coverage"], point["error"]) for point in points], band)],
        "Coverage and error",
        x="share of the rows that are answered, the surest first",
        y=f"share of these that are {what}",
        x_range=(0.0, 1.0),
        caption=f"Answering fewer rows: {percent(told['wrong']['value'])} of all {found['judged']} rows are {what}. "
        f"The mean over all coverages (area under the curve) is {scored(told['area'])}; lower is better."
        f"{' The band is the 95 % interval at each coverage.' if whole else ''}",
    )
    return [
        heading("Abstaining"),
        paragraph(
            "A model that is asked to keep an error rate gives no prediction where it is not sure enough: ",
            code(f"unfreeze predict {typed(run.path)} FILE --error-rate 0.02"),
            ". The threshold is chosen on validation rows, as if one more of its answers were wrong.",
        ),
        curve,
        _wished(told, found["judged"]),
    ]


def _wished(told: dict[str, Any], judged: str) -> Html | None:
    if not told["wished"]:
        return None
    lines_ = []
    for item in told["wished"]:
        if item["threshold"] is None:
            lines_.append([percent(item["error_rate"]), "–", "–", "too few validation rows to show it", "–"])
            continue
        test = item.get("test") or {}
        lines_.append(
            [
                percent(item["error_rate"]),
                number(item["threshold"], 3),
                percent(item["validation"]["coverage"]),
                share(test.get("coverage")),
                share(test.get("error")),
            ]
        )
    return table(
        ["wished error rate", "threshold", "answered on validation", "answered on test", "wrong of these on test"],
        lines_,
        "Thresholds for some wished error rates, with 95 % intervals",
    )


def share(figure: dict[str, Any] | None) -> str:
    """A share as per cent with its interval."""
    if not figure or figure.get("value") is None:
        return "–"
    if figure.get("low") is None:
        return percent(figure["value"])
    return f"{percent(figure['value'])} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


# --------------------------------------------------------------------------------------------------- numbers


def _numbers(found: dict[str, Any]) -> Html | None:
    if "coverage" not in found:
        return paragraph("There were no validation rows to take intervals around predictions from.")
    kept, judged = found["kept"], found["judged"]
    said = (
        f"Predictions come with an interval of ±{number(kept['radius'], 3)}, which is to hold "
        f"{percent(kept['level'], 0)} of further values: so far off were that many of the validation rows, which no "
        "weight was fitted to; the epoch that is kept was chosen on them."
        if kept["radius"] is not None
        else "There are too few validation rows for an interval around predictions."
    )
    body = [
        [
            percent(item["level"], 0),
            f"±{number(item['radius'], 3)}" if item["radius"] is not None else "–",
            share(item["conformal"]),
            share(item["normal_after"]),
            share(item["normal_before"]),
        ]
        for item in found["coverage"]
    ]
    scale, nll = found["scale"], found["nll"]
    return join(
        [
            paragraph(said),
            note(
                "There is no test split: coverage is told on the rows that the intervals come from, and is right by "
                "construction.",
                "warning",
            )
            if judged == "validation"
            else None,
            table(
                [
                    "to be held",
                    "half width",
                    "held",
                    "held by normal ones of the fitted scale",
                    "held by normal ones of the target's own scale",
                ],
                body,
                f"Share of {judged} rows within their interval, with 95 % intervals",
                footnote=f"The fitted scale is {number(scale['after'], 3)}, that of the training targets "
                f"{number(scale['before'], 3)}; negative log-likelihood {scored(nll['after'])} beside "
                f"{scored(nll['before'])}.",
            ),
        ]
    )


SECTION = Section(order=70, title="How sure it is", render=render)
