"""WiSE-FT's curve: from the weights before fine-tuning to those after it."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import Html, Line, Mark, isolated, join, lines, paragraph, table
from unfreeze.report.sections.shift import points
from unfreeze.report.words import metric
from unfreeze.run import Run


def render(run: Run) -> Html | None:
    """The curve on validation, test and further sets, and what the mixture gains."""
    found = run.evidence.get("wise-ft")
    if not found:
        return None
    return join([_words(found), _curve(found), _gains(found)])


def _words(found: dict[str, Any]) -> Html:
    alpha, called = f"{found['alpha']:g}", metric(found["metric"]).name
    if found["fixed"]:
        how = f"The share of the fine-tuned weights was given: {alpha}."
    elif found["validated"]:
        how = (
            f"{alpha} of the fine-tuned weights and the rest of those before it had the best {called} on validation, "
            "of equals the mixture nearest to one half; figures there flatter it."
        )
    else:
        how = f"Without validation rows to choose by, the share is the recommended {alpha}."
    return paragraph(
        "The model's weights lie between those before fine-tuning (0: the linear probe on pre-trained features) and "
        f"those after it (1). {how} Test rows and further sets took no part in the choice."
    )


def _curve(found: dict[str, Any]) -> Html:
    name = found["metric"]
    held = [item for item in found["curve"] if item["validation"] is not None]
    bounded = bool(held) and all(item.get("low") is not None for item in held)
    validation = [(item["alpha"], item["validation"]) for item in held]
    known = [(item["low"], item["high"]) for item in held] if bounded else None
    series = [Line("validation", validation, known, "dashed")] if held else []
    for item in found["sets"]:
        told = item["curve"]
        if told:
            band = [(each["value"]["low"], each["value"]["high"]) for each in told]
            whole = all(low is not None for low, _ in band)
            curve = [(each["alpha"], each["value"]["value"]) for each in told]
            series.append(Line(item["name"], curve, band if whole else None))
    title = f"{metric(name).name} along the line"
    return lines(
        series,
        title,
        x="share of the fine-tuned weights",
        y=metric(name).name,
        x_range=(0.0, 1.0),
        marks=[Mark(found["alpha"], "the model")],
        caption=f"{title}; {metric(name).better} is better. Bands are 95 % intervals"
        f"{'; validation has its figures alone, of which no row was kept' if held and not bounded else ''}.",
    )


def _gains(found: dict[str, Any]) -> Html | None:
    told = [item for item in found["sets"] if item["curve"]]
    if not told:
        return None
    body = [
        [isolated(item["name"]), f"{item['rows']:,} of {item['of']:,}", points(found["metric"], item["gain"])]
        for item in told
    ]
    return table(
        ["set", "rows", "gain over fine-tuning alone"],
        body,
        "What the mixture gains, on the same rows, with 95 % intervals",
    )


SECTION = Section(order=85, title="Between before and after", render=render)
