"""The model beside simpler alternatives: an answer without input, a linear probe, training from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unfreeze.evaluation.paired import LEVEL, POWERED
from unfreeze.evidence._rising import rise
from unfreeze.report import Section
from unfreeze.report.html import (
    Bar,
    Html,
    bars,
    details,
    element,
    estimate,
    facts,
    join,
    listing,
    note,
    number,
    paragraph,
    percent,
    scored,
    seconds,
    table,
)
from unfreeze.report.words import judged, metric, rows, value
from unfreeze.run import Run


@dataclass(frozen=True)
class Alternative:
    """Something that was scored: its name, what it is, and its figures."""

    name: str
    what: str
    figures: dict[str, Any]


def render(run: Run) -> Html | None:
    """Bars of the metric that decides, every figure as a table, and what fine-tuning itself gained."""
    found = alternatives(run)
    if len(found) < 2:
        return None
    chosen = run.result["metric"]
    shown = [each for each in found if (each.figures.get(chosen) or {}).get("value") is not None]
    split, count = judged(run.result), run.result["rows"].get(judged(run.result), 0)
    intro = paragraph(f"All were scored on the {split} split ({rows(count)}):")
    listed = listing(join([element("strong", each.name), f", {each.what}"]) for each in found)
    return join([intro, listed, _bars(shown, chosen), _all(found), _gain(run), _fewer_rows(run)])


def alternatives(run: Run) -> list[Alternative]:
    """The model first, then what there is to compare with."""
    result = run.result
    found = [Alternative("this model", f"method {result['method']}", result[judged(result)])]
    probe = run.evidence.get("probe")
    if probe and probe.get("figures"):
        found.append(Alternative("linear probe", _probe(run, probe), probe["figures"]))
    scratch = run.evidence.get("scratch") or (probe or {}).get("scratch")
    if scratch and scratch.get("figures"):
        found.append(Alternative("from scratch", _scratch(run, scratch), scratch["figures"]))
    baseline = result.get("baseline") or {}
    if baseline.get("test"):
        found.append(Alternative(str(baseline["name"]), "the same answer whatever the input", baseline["test"]))
    return found


def _scratch(run: Run, scratch: dict[str, Any]) -> str:
    """What it is, with the times of both: as many epochs cost more where the run did not train all layers."""
    said = "the same network from random weights, for as many epochs"
    own, other = (run.result.get("cost") or {}).get("learning_seconds"), scratch.get("learning_seconds")
    if own is None or other is None:
        return said
    return f"{said} (which took it {seconds(other)} of learning, and this model {seconds(own)})"


def _probe(run: Run, probe: dict[str, Any]) -> str:
    counts, whole = probe.get("rows") or {}, probe.get("of") or {}
    split = probe.get("split", "test")
    some = [
        f"{counts[name]:,} of {whole[name]:,} {name} rows"
        for name in ("train", split)
        if counts.get(name) != whole.get(name)
    ]
    said = "a linear model on the features of the network before fine-tuning"
    return f"{said} ({', '.join(some)})" if some else said


def _bars(found: Sequence[Alternative], chosen: str) -> Html | None:
    if not found:
        return None
    called = metric(chosen)
    items = []
    for place, each in enumerate(found):
        figure = each.figures[chosen]
        items.append(
            Bar(each.name, figure["value"], figure.get("low"), figure.get("high"), tone=0 if place == 0 else 7)
        )
    show, tick = (percent, lambda at: percent(at, 0)) if called.share else (None, None)
    title = f"{called.name[:1].upper()}{called.name[1:]}"
    caption = f"{title}, which decides; {called.better} is better. Lines are 95 % intervals."
    axis = (0.0, 1.0) if called.share else None
    return bars(
        items, title, format=show, tick=tick, headers=("who", called.name, "95 % interval"), caption=caption, axis=axis
    )


def _all(found: Sequence[Alternative]) -> Html:
    names = list(dict.fromkeys(name for each in found for name in each.figures))
    lines = [[metric(name).name, *(value(name, each.figures.get(name)) for each in found)] for name in names]
    made = table(["figure", *(each.name for each in found)], lines, "Every figure with its 95 % interval")
    said = [
        (metric(name).name, f"{metric(name).says}; {metric(name).better} is better")
        for name in names
        if metric(name).says
    ]
    return join([made, details("What these figures say", facts(said)) if said else None])


def _gain(run: Run) -> Html | None:
    """Whether fine-tuning beats the probe, row by row."""
    difference = (run.evidence.get("probe") or {}).get("difference")
    if not difference or difference.get("value") is None:
        return None
    low, high = difference.get("low"), difference.get("high")
    by = f"{_points(difference)} in {difference.get('unit', 'score')}"
    words = f"On the same rows the model is ahead of the linear probe by {by}"
    if low is None:
        return paragraph(f"{words}.")
    chance = difference.get("p", 0.0) >= LEVEL
    if low > 0 and not chance:
        return note(f"{words}: fine-tuning has gained more than chance explains.", "good")
    if high < 0 and not chance:
        return note(f"{words}: it is behind. Training the head alone (method head) would have done better.", "bad")
    held = "the interval holds zero" if low <= 0 <= high else "chance explains so few differing rows"
    return note(f"{words}: {held}, so that training the head alone may do as well.{_detectable(difference)}", "warning")


def _detectable(difference: dict[str, Any]) -> str:
    """The smallest true gain that so many rows would show, by the width of the interval; "" where it has none."""
    found = difference.get("detectable")
    if found is None:
        found = POWERED * (difference["high"] - difference["low"]) / (2 * 1.959964)
    if not found:
        return ""
    share = difference.get("unit") == "accuracy"
    gain = f"{number(100 * found, 2)} percentage points" if share else number(found, 2)
    return f" A true gain of {gain} would be found by so many rows in four of five tests."


def _points(difference: dict[str, Any]) -> str:
    """A difference; of shares in percentage points."""
    if difference.get("unit") != "accuracy":
        return scored(difference)
    parts = [difference.get(name) for name in ("value", "low", "high")]
    value_, low, high = (None if part is None else 100 * part for part in parts)
    return f"{estimate(value_, low, high, 2)} percentage points"


def _fewer_rows(run: Run) -> Html | None:
    curve = (run.evidence.get("probe") or {}).get("curve") or []
    if len(curve) < 2:
        return None
    name = "R²" if run.manifest.task == "regression" else "accuracy"
    lines = [[f"{part['rows']:,}", number(part["score"], 3)] for part in curve]
    made = table(["training rows", f"{name} on validation"], lines, "The probe with fewer training rows")
    said = _rising(run)
    return join([made, paragraph(said) if said else None])


def _rising(run: Run) -> str:
    """Whether the last doubling of the rows gained more than chance gives."""
    found = rise(run.evidence.get("probe"))
    if found is None:
        return ""
    if found.value <= 0:
        return f"From {found.few:,} to {found.many:,} rows the probe's score does not rise."
    said = f"From {found.few:,} to {found.many:,} rows the probe's score rises by {found.value:.3f}"
    if found.clear:
        return f"{said}, more than chance explains on these validation rows (p = {found.p:.2g}): more data may help."
    return f"{said}, which chance alone may explain (p = {found.p:.2g})."


SECTION = Section(order=20, title="Beside simpler alternatives", render=render)
