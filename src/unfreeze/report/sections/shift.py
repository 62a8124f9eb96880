"""The model on other data: sets of other domains, and its own test rows corrupted."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Bar,
    Html,
    bars,
    code,
    details,
    estimate,
    heading,
    heatmap,
    isolated,
    join,
    listing,
    note,
    number,
    paragraph,
    percent,
    scored,
    table,
)
from unfreeze.report.words import metric, rows, typed, value
from unfreeze.run import Run

REMEDIES = (
    "What makes a model bear other data better: rows from there, also a few; augmentation that resembles what is to "
    "come; and methods that move the pre-trained weights less, such as wise-ft, lp-ft, lora or method.l2_sp."
)


def render(run: Run) -> Html | None:
    """Further sets first, then the suite."""
    found = run.evidence.get("shift")
    if not found:
        return None
    parts = [*_sets(found), *_suite(run, found)]
    return join([*parts, paragraph(REMEDIES)]) if parts else None


def points(name: str, figure: dict[str, Any] | None) -> str:
    """A difference with its interval: of shares in percentage points."""
    if not figure or figure.get("value") is None:
        return "–"
    if not metric(name).share:
        return scored(figure)
    told = _in_points(figure["value"])
    if figure.get("low") is None:
        return f"{told} points"
    low, high = (f"{100 * figure[end]:.1f}".replace("-", "−") for end in ("low", "high"))
    return f"{told} points ({low} to {high})"


# --------------------------------------------------------------------------------------------- further sets


def _sets(found: dict[str, Any]) -> list[Html | None]:
    if not found["sets"]:
        return []
    name = found["metric"]
    scored_sets = [item for item in found["sets"] if "metrics" in item]
    parts: list[Html | None] = [heading("Other sets")]
    if scored_sets:
        parts += [_table(found, scored_sets), *(_every_figure(item) for item in scored_sets)]
        parts += [_auroc_words(scored_sets)]
    for item in found["sets"]:
        if item.get("problem"):
            parts.append(note(join(["“", isolated(item["name"]), "” was not scored: ", item["problem"]]), "warning"))
        elif item["left_out"]:
            parts.append(_left_out(item))
    called = metric(name)
    parts.append(
        paragraph(f"Of {called.name}, {called.better} is better. Differences are to the {found['judged']} rows.")
    )
    return parts


def _table(found: dict[str, Any], sets: list[dict[str, Any]]) -> Html:
    name = found["metric"]
    body = []
    for item in sets:
        calibration, distance = item.get("calibration"), item.get("distance")
        body.append(
            [
                isolated(item["name"]),
                f"{item['rows']:,}" if item["rows"] == item["of"] else f"{item['rows']:,} of {item['of']:,}",
                value(name, item["metrics"].get(name)),
                points(name, item["difference"].get(name)),
                scored(calibration["after"]) if calibration else "–",
                scored(distance["auroc"]) if distance else "–",
            ]
        )
    headers = ["set", "rows", metric(name).name, "difference", "calibration error", "told apart (AUROC)"]
    return table(headers, body, "Other sets, with 95 % intervals")


def _auroc_words(sets: list[dict[str, Any]]) -> Html | None:
    if not any(item.get("distance") for item in sets):
        return None
    return paragraph(
        "Told apart: the chance that the distance which predictions carry (",
        code("ood_percentile"),
        ") is larger for a row of the set than for one of the test. At 0.5 it notices nothing.",
    )


def _every_figure(item: dict[str, Any]) -> Html:
    body = [[metric(name).name, value(name, figure), points(name, item["difference"].get(name))]
            for name, figure in item["metrics"].items()]  # fmt: skip
    summary = join(["All figures of “", isolated(item["name"]), "”"])
    return details(summary, table(["figure", "value", "difference"], body, summary))


def _left_out(item: dict[str, Any]) -> Html:
    count = sum(each["rows"] for each in item["left_out"])
    reasons = [join([isolated(each["reason"]), f": {rows(each['rows'])}"]) for each in item["left_out"]]
    return details(join([f"{rows(count)} of “", isolated(item["name"]), "” could not be scored"]), listing(reasons))


# ------------------------------------------------------------------------------------------------- the suite


def _suite(run: Run, found: dict[str, Any]) -> list[Html | None]:
    suite, name = found.get("suite"), found["metric"]
    if not suite:
        return []
    if not suite["cells"]:
        return [
            heading("Corrupted rows"),
            paragraph(
                "There was no time to corrupt rows and read them again. ",
                code(f"unfreeze report {typed(run.path)} --again"),
                " takes the time.",
            ),
        ]
    kinds = (
        "typos, capitals and missing words" if run.manifest.modality == "text" else "noise, blur, weather and the like"
    )
    intro = (
        f"{suite['rows']:,} {found['judged']} rows were changed by {kinds}: {len(suite['corruptions'])} corruptions at "
        f"{rows(len(suite['severities']), 'level')} of severity. As they are, these rows give {metric(name).name} "
        f"{value(name, suite['clean'])}; corrupted, {value(name, suite['mean'])} on average: "
        f"{points(name, suite['difference'])}."
    )
    left = f" Left out for time: {'; '.join(suite['left_out'])}." if suite["left_out"] else ""
    return [
        heading("Corrupted rows"),
        paragraph(intro, left),
        _bars(found, suite),
        _heatmap(found, suite) if len(suite["severities"]) > 1 else None,
        _distance(suite),
    ]


def _bars(found: dict[str, Any], suite: dict[str, Any]) -> Html:
    name, sign = found["metric"], -1 if found["higher_is_better"] else 1
    items = sorted(suite["corruptions"], key=lambda item: -sign * item["difference"]["value"])
    share = metric(name).share
    return bars(
        [
            Bar(_said(item["name"]), item["difference"]["value"], item["difference"]["low"], item["difference"]["high"])
            for item in items
        ],
        f"Change of {metric(name).name} by corruption",
        format=_in_points if share else None,
        tick=_in_points if share else None,
        headers=("corruption", "points" if share else "change", "95 % interval"),
        caption=f"Change of {metric(name).name}{' in percentage points' if share else ''}, mean over severities, the "
        "most harmful first.",
    )


def _in_points(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−")


def _said(name: str) -> str:
    return name.replace("-", " ")


def _heatmap(found: dict[str, Any], suite: dict[str, Any]) -> Html:
    name = found["metric"]
    cells = {(item["corruption"], item["severity"]): item for item in suite["cells"]}
    names, severities = [item["name"] for item in suite["corruptions"]], suite["severities"]
    values = [[cells.get((each, severity), {}).get("value") for severity in severities] for each in names]
    share = metric(name).share
    known = [each for row in values for each in row if each is not None]
    return heatmap(
        [[None if each is None else max(0.0, each) for each in row] for row in values],
        [_said(each) for each in names],
        [str(severity) for severity in severities],
        f"{metric(name).name} by corruption and severity",
        row_title="corruption",
        column_title="severity",
        texts=[
            ["" if each is None else percent(each, 0) if share else number(each, 3) for each in row] for row in values
        ],
        told=[[value(name, cells.get((each, severity))) for severity in severities] for each in names],
        top=1.0 if share else max(known, default=1.0) or 1.0,
        caption=f"{metric(name).name} of the same rows under each corruption; the table has the 95 % intervals.",
    )


def _distance(suite: dict[str, Any]) -> Html | None:
    told = [item for item in suite.get("distance") or () if item["auroc"] is not None]
    if not told:
        return None
    figures = [(estimate(item["auroc"], item.get("low"), item.get("high"), 2), item["severity"]) for item in told]
    said = ", ".join(f"{figure} at severity {severity}" for figure, severity in figures)
    return paragraph(
        "How well the distance that predictions carry tells corrupted rows from usual ones (AUROC; 0.5: not at all): ",
        said,
        ".",
    )


SECTION = Section(order=80, title="On other data", render=render)
