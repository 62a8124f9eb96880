"""One page for several runs: their figures, whether they differ by more than chance, their curves and recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unfreeze.report.against import Against, against_best, names_of
from unfreeze.report.html import (
    Bar,
    Html,
    Line,
    bars,
    code,
    cut,
    element,
    estimate,
    isolated,
    join,
    lines,
    note,
    number,
    paragraph,
    percent,
    seconds,
    table,
)
from unfreeze.report.page import Part, document
from unfreeze.report.words import metric, rows, value
from unfreeze.run import Run
from unfreeze.train.files import write_bytes

LEFT_OUT = ("output.", "evaluation.report", "evaluation.evidence_share", "evaluation.gate", "training.threads")
"""Parts of a recipe that do not change a model."""

MOST_RUNS = 8
"""Curves that are drawn together."""


def write_comparison(runs: Sequence[Run], path: Path) -> Path:
    """Write the page; `runs` are in the order in which they are told, the best first.

    Raises
    ------
    RunError
        If a run is not finished or damaged.
    """
    names = names_of(runs)
    title = f"{len(runs)} runs compared"
    write_bytes(path, document(title, ", ".join(names), parts_of(runs, names)).encode())
    return path


def parts_of(runs: Sequence[Run], names: Sequence[str]) -> list[Part]:
    """The page's sections."""
    chosen = runs[0].result["metric"]
    found = against_best(runs, chosen)
    sections = {
        "figures": ("Figures", _figures(runs, names, chosen)),
        "differences": ("Is the difference more than chance?", _differences(found)),
        "curves": ("Learning curves", _curves(runs, names, chosen)),
        "recipes": ("What the recipes differ in", _recipes(runs, names)),
    }
    return [Part(name, title, body) for name, (title, body) in sections.items() if body]


# ----------------------------------------------------------------------------------------------- figures


def _figures(runs: Sequence[Run], names: Sequence[str], chosen: str) -> Html:
    results = [run.result for run in runs]
    called = metric(chosen)
    title = f"{called.name[:1].upper()}{called.name[1:]} on the test"
    picture = bars(
        [_bar(name, result["test"].get(chosen)) for name, result in zip(names, results, strict=True)],
        title,
        axis=(0.0, 1.0) if called.share else None,
        format=percent if called.share else None,
        tick=(lambda at: percent(at, 0)) if called.share else None,
        headers=("run", called.name, "95 % interval"),
        caption=f"{title}, best first; {called.better} is better. Lines are 95 % intervals of each run alone.",
    )
    others = list(dict.fromkeys(name for result in results for name in result["test"]))
    lines_ = [
        [
            isolated(name),
            isolated(cut(result["model"]["name"], 40)),
            result["method"],
            percent(result["learned_parameters"] / max(1, result["parameters"])),
            *(value(each, result["test"].get(each)) for each in others),
            seconds(result.get("seconds")),
        ]
        for name, result in zip(names, results, strict=True)
    ]
    headers = ["run", "model", "method", "learned", *(metric(each).name for each in others), "time"]
    return join([picture, table(headers, lines_, "Every run, best first")])


def _bar(name: str, figure: Mapping[str, Any] | None) -> Bar:
    figure = figure or {}
    return Bar(name, figure.get("value"), figure.get("low"), figure.get("high"))


# ------------------------------------------------------------------------------------------- differences


def _differences(found: Sequence[Against]) -> Html | None:
    if not found:
        return None
    chosen = metric(found[0].metric)
    intro = paragraph(
        f"Each run beside the best, {found[0].best}, on the test rows that both were scored on. The interval of a "
        "difference is narrower than the runs' own intervals suggest, since both meet the same hard rows."
    )
    headers = [
        "run",
        "rows",
        f"difference in {chosen.name}",
        "p",
        "smallest shown",
        "what it says",
    ]
    lines_ = [
        [
            isolated(each.run),
            each.paired.rows if each.paired else 0,
            _shown(each),
            _p(each),
            number(each.difference.detectable, 2) if each.difference else "–",
            verdict(each),
        ]
        for each in found
    ]
    made = table(headers, lines_, f"The best run, {found[0].best}, minus each other (95 % interval)")
    notes = [note(join([isolated(each.run), f": {said}."]), "warning") for each in found for said in each.notes]
    many = " Since several runs are compared, p is adjusted (Holm)." if len(found) > 1 else ""
    small = (
        "p is that of an exact test on the rows which one run has right and the other wrong (McNemar), or, where the "
        "metric is no share of rows, of swapping the answers of both runs at random. The smallest difference shown is "
        "what a test of this many rows finds in four of five cases, if it is there."
        f"{many} The test tells about these trained models on further rows of this kind, not about training them again "
        "with another seed: for that, repeat each with several seeds."
    )
    return join([intro, made, *notes, element("p", small, class_="soft")])


def _shown(each: Against) -> str:
    if each.difference is None:
        return "–"
    return estimate(each.difference.value, each.difference.low, each.difference.high, 3)


def _p(each: Against) -> str:
    if each.difference is None:
        return "–"
    return "< 0.01" if each.difference.p < 0.01 else f"{each.difference.p:.2f}"


def verdict(each: Against) -> str:
    """What a difference means, in a few words."""
    if each.difference is None:
        return "cannot be told"
    return "more than chance" if each.difference.clear else "chance explains it"


# ------------------------------------------------------------------------------------------------ curves


def _curves(runs: Sequence[Run], names: Sequence[str], chosen: str) -> Html | None:
    series = []
    for place, (run, name) in enumerate(list(zip(runs, names, strict=True))[:MOST_RUNS]):
        history = run.result.get("history") or []
        points = [
            (float(entry["epoch"]), float(entry["validation"][chosen]))
            for entry in history
            if entry.get("validation", {}).get(chosen) is not None
        ]
        if points:
            series.append(Line(name, points, style="dashed" if place % 2 else "line", tone=place))
    if not series:
        return None
    called = metric(chosen)
    some = f" The first {MOST_RUNS} of {len(runs)} runs are drawn." if len(runs) > MOST_RUNS else ""
    title = f"{called.name} on validation"
    caption = f"{title[:1].upper()}{title[1:]} after each epoch; {called.better} is better.{some}"
    return lines(series, title, x="epoch", y=title, caption=caption)


# ----------------------------------------------------------------------------------------------- recipes


def _recipes(runs: Sequence[Run], names: Sequence[str]) -> Html:
    flat = [dict(_leaves(asdict(run.recipe))) for run in runs]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each) if not key.startswith(LEFT_OUT)]
    differing = [key for key in keys if len({repr(each.get(key)) for each in flat}) > 1]
    if not differing:
        return paragraph("In nothing that changes a model.")
    lines_ = [[code(key), *(isolated(cut(str(each.get(key)), 60)) for each in flat)] for key in differing]
    caption = f"{rows(len(differing), 'option')} in which the resolved recipes differ"
    return table(["option", *map(isolated, names)], lines_, caption)


def _leaves(value_: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value_.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{before}{key}.")
        else:
            yield f"{before}{key}", item
