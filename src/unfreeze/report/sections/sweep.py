"""What a sweep tried before it made this run, and how much a seed alone moves the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import Bar, Html, bars, join, number, paragraph, table
from unfreeze.report.words import metric, rows
from unfreeze.run import SWEEP, Run

MOST = 16
"""Configurations that have a bar; the table has all."""


def render(run: Run) -> Html | None:
    """Every configuration on validation, the best first; None where there was no sweep."""
    if not (run.path / SWEEP).exists():
        return None
    sweep = run.sweep
    configurations, called = sweep["table"], metric(sweep["metric"])
    shown = [each for each in configurations if each["mean"] is not None][:MOST]
    title = f"{called.name[:1].upper()}{called.name[1:]} on validation"
    picture = bars(
        [_bar(each) for each in shown],
        title,
        headers=("head_lr, weight_decay", called.name, "lowest to highest seed"),
        caption=f"{title}: the mean of the seeds; {called.better} is better. Lines go from the lowest to the highest.",
    )
    lines = [
        (
            f"{each['head_lr']:g}",
            f"{each['weight_decay']:g}",
            "diverged" if each["mean"] is None else number(each["mean"]),
            number(each["spread"], 2),
            ", ".join(number(value, 3) for value in _values(each)) or "–",
        )
        for each in configurations
    ]
    headers = ["head_lr", "weight_decay", "mean", "standard deviation", "each seed"]
    made = table(headers, lines, "Every configuration, the best first")
    return join([paragraph(_words(sweep)), picture if shown else None, made])


def _words(sweep: Mapping[str, Any]) -> str:
    best, configurations = sweep["best"], sweep["table"]
    seeds = rows(len(configurations[0]["seeds"]), "seed")
    kept = f"head_lr {best['head_lr']:g}, weight_decay {best['weight_decay']:g}, seed {best['seed']}"
    many = f"{rows(len(configurations), 'configuration')} of the head, from {seeds} each"
    figure = f"{number(best['value'])} after epoch {best['epoch']}"
    return (
        f"{many}. Kept by validation alone: {kept}, with {figure}. As the best of {rows(sweep['heads'], 'head')} it "
        "flatters; the test, which took no part, does not. What seeds differ by is what training again would change."
    )


def _bar(each: Mapping[str, Any]) -> Bar:
    values = _values(each)
    reach = (min(values), max(values)) if len(values) > 1 else (None, None)
    return Bar(f"{each['head_lr']:g}, {each['weight_decay']:g}", each["mean"], *reach)


def _values(each: Mapping[str, Any]) -> Sequence[float]:
    return [seed["value"] for seed in each["seeds"] if seed.get("value") is not None]


SECTION = Section(order=35, title="What the sweep tried", render=render)
