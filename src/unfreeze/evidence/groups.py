"""How the model fares for each group of rows, how far groups lie apart, and whether fine-tuning widened that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.evidence._before import began_at_random, features_before, only_the_head_learned, readable
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._gaps import (
    SMALL,
    Told,
    chance,
    compared,
    figure,
    holm,
    permutations,
    resamples,
    spread,
    told,
)
from unfreeze.evidence._linear import linear_outputs
from unfreeze.evidence._measures import MEASURES, Figures, Rows, of_classes, of_decisions, of_labels, of_numbers
from unfreeze.evidence._thresholds import CRITERIA, choose, decided, write_thresholds
from unfreeze.registry import Card

Array = NDArray[Any]

SHOWN = {
    "classification": (
        "accuracy",
        "true_positive_rate",
        "false_positive_rate",
        "selection_rate",
        "ece",
        "overconfidence",
    ),
    "multilabel": (
        "micro_f1",
        "true_positive_rate",
        "false_positive_rate",
        "selection_rate",
        "ece",
        "overconfidence",
    ),
    "regression": ("mae", "rmse", "bias"),
}
PROBED = {"train": 5000, "judged": 5000}
"""Rows that the model before training reads for the comparison, at most."""

LEAST_PROBED = 50
PERMUTED = 999
SHARE = 0.4
"""Part of the time left that reading for the comparison may take."""

UNEVEN = 5

LEVEL = 0.05
"""Of the tests, all together."""


def collect(context: Context) -> dict[str, Any] | None:
    """Figures of each group of each slice on the split that is reported on; None without slices."""
    split, slices = context.judged, context.manifest.slices
    if not split or not slices or context.manifest.task not in SHOWN:
        return None
    positive = 1 if len(context.manifest.labels) == 2 and context.manifest.task == "classification" else None
    rows = rows_of(context, context.outputs(split), context.targets(split), positive)
    before = _before(context, split, positive)
    columns = [_column(context, split, one.column, rows, before) for one in slices]
    tested = [gap for column in columns for gap in column["gaps"].values() if "p" in gap]
    for gap, adjusted in zip(tested, holm([gap["p"] for gap in tested]), strict=True):
        gap["p_adjusted"] = adjusted
    judge_changes(columns)
    found: dict[str, Any] = {
        "split": split,
        "rows": len(rows),
        "metric": context.job.metric,
        "positive": None if positive is None else context.manifest.labels[positive],
        "overall": _overall(context, rows),
        "tests": len(tested),
        "columns": columns,
        "before": before if isinstance(before, str) else "",
    }
    if positive is not None and split == "test" and "validation" in context.kept:
        found["thresholds"] = _thresholds(context, positive)
    return found


def _overall(context: Context, rows: Rows) -> dict[str, Any]:
    """The figures of all rows together."""
    whole = np.zeros(len(rows), dtype=np.intp)
    found = told(rows, ["all"], whole, context.recipe.evaluation.bootstrap, context.recipe.seed)
    return {name: found.figure(name, 0) for name in _shown(context, found.estimate)}


def rows_of(context: Context, outputs: Tensor, targets: Tensor, positive: int | None, precision: bool = True) -> Rows:
    """What figures are made from, for the run's task; `outputs` as its head gives them."""
    manifest = context.manifest
    given, true = outputs.numpy(), targets.numpy()
    if manifest.task == "classification":
        return of_classes(given, true.astype(np.intp), len(manifest.labels), positive)
    given = given.astype(np.float64)
    if manifest.task == "multilabel":
        wanted = precision and context.job.metric == "mean_average_precision"
        return of_labels(given, true > 0.5, wanted)
    mean, scale = manifest.target_mean, manifest.target_scale
    return of_numbers(given.reshape(-1) * scale + mean, true.reshape(-1).astype(np.float64) * scale + mean)


def numbered(context: Context, split: str, column: str) -> tuple[list[str], Array]:
    """The groups of a column that occur in a split, in the slice's order, and the number of each row's."""
    values = context.feeds[split].examples.meta[column]
    known = next(one for one in context.manifest.slices if one.column == column)
    there = set(values)
    names = [name for name in known.groups if name in there] + sorted(there - set(known.groups))
    places = {name: number for number, name in enumerate(names)}
    return names, np.array([places[value] for value in values], dtype=np.intp)


def _column(
    context: Context, split: str, column: str, rows: Rows, before: tuple[Array, Rows, Rows] | str
) -> dict[str, Any]:
    names, groups = numbered(context, split, column)
    resampled, seed = context.recipe.evaluation.bootstrap, context.recipe.seed
    figures = told(rows, names, groups, resampled, seed)
    shown = _shown(context, figures.estimate)
    gaps = {name: gap for name in shown if (gap := figures.gap(name)) is not None}
    tested = [name for name in gaps if MEASURES[name].tested]
    for name, p in (chance(rows, groups, len(names), tested, figures.usable, seed) if resampled else {}).items():
        gaps[name]["p"] = p
    found: dict[str, Any] = {"column": column, "groups": _groups(figures, groups, shown), "gaps": gaps}
    if context.manifest.task == "classification" and len(context.manifest.labels) > 2:
        found["uneven"] = _uneven(context, split, names, groups, figures.usable["accuracy"])
    if not isinstance(before, str):
        found["before"] = _change(context, names, groups, before, shown)
    return found


def _shown(context: Context, estimate: Figures) -> list[str]:
    wanted = dict.fromkeys((context.job.metric, *SHOWN[context.manifest.task]))
    return [name for name in wanted if name in estimate]


def _groups(figures: Told, groups: Array, shown: Sequence[str]) -> list[dict[str, Any]]:
    sizes = np.bincount(groups, minlength=len(figures.names))
    large = sizes >= SMALL
    return [
        {
            "name": name,
            "rows": int(sizes[place]),
            "small": not bool(large[place]),
            "figures": {
                key: figures.figure(key, place)
                | ({} if figures.usable[key][place] or not large[place] else {"few": True})
                for key in shown
            },
        }
        for place, name in enumerate(figures.names)
    ]


def _uneven(context: Context, split: str, names: Sequence[str], groups: Array, large: Array) -> list[dict[str, Any]]:
    """The classes that are given to some groups most unequally often."""
    if large.sum() < 2:
        return []
    labels = context.manifest.labels
    predicted = context.outputs(split).argmax(dim=1).numpy()
    counts = np.zeros((len(names), len(labels)))
    np.add.at(counts, (groups, predicted), 1)
    kept = np.flatnonzero(large)
    rates = counts[kept] / counts[kept].sum(axis=1, keepdims=True)
    wide = rates.max(axis=0) - rates.min(axis=0)
    return [
        {
            "label": labels[label],
            "highest": {"group": names[kept[rates[:, label].argmax()]], "rate": float(rates[:, label].max())},
            "lowest": {"group": names[kept[rates[:, label].argmin()]], "rate": float(rates[:, label].min())},
        }
        for label in np.argsort(-wide, kind="stable")[:UNEVEN]
        if wide[label] > 0
    ]


# ---------------------------------------------------------------------------------------------- before and after


def _before(context: Context, split: str, positive: int | None) -> tuple[Array, Rows, Rows] | str:
    """Rows of the judged split, and what a linear probe on the model before training and the run give for them.

    Or why there is no such comparison.
    """
    if only_the_head_learned(context):
        return "only the head learned: the features are those of the pre-trained model, before and after"
    if began_at_random(context):
        return "the model began at random weights: there was no pre-trained model"
    if min(readable(context, name, SHARE) for name in ("train", split)) < LEAST_PROBED:
        return "no time was left to read enough rows with the model before training"
    seconds = SHARE * context.time_left()
    train, known = features_before(context, "train", PROBED["train"], seconds)
    judged, asked = features_before(context, split, PROBED["judged"], max(0.0, SHARE * context.time_left()))
    if min(len(train), len(judged)) < LEAST_PROBED:
        return "no time was left to read enough rows with the model before training"
    targets, width = context.targets("train")[torch.tensor(train)], context.outputs(split).shape[1]
    outputs = linear_outputs(context.manifest.task, known, targets, asked, width)
    chosen = torch.tensor(judged)
    true = context.targets(split)[chosen]
    probe = rows_of(context, outputs, true, positive, precision=False)
    run = rows_of(context, context.outputs(split)[chosen], true, positive, precision=False)
    return np.array(judged), probe, run


def _change(
    context: Context, names: Sequence[str], groups: Array, before: tuple[Array, Rows, Rows], shown: Sequence[str]
) -> dict[str, Any]:
    """The widest gap before and after, on the same rows and in the same resamples, and how it changed.

    A model that is more often wrong has wider gaps by chance alone. So a change counts only where it is also larger
    than what groups dealt out at random, the same ones before and after, show; see `judge_changes`.
    """
    judged, probe, run = before
    mine, count = groups[judged], len(names)
    usable = compared(run, mine, count)
    number, seed = context.recipe.evaluation.bootstrap, context.recipe.seed
    keys = [name for name in shown if name in run(mine, count) and name != "ece"]
    points = {key: [rows(mine, count)[key] for rows in (probe, run)] for key in keys}
    width = run.parts.shape[1]
    sampled = _spreads((probe, run), resamples(mine, count, number, seed, width), count, keys, usable)
    dealt = _spreads((probe, run), permutations(mine, count, PERMUTED, seed, width), count, keys, usable)
    gaps = {}
    for key in keys:
        was, now = (float(spread(values, usable[key])) for values in points[key])
        if not np.isfinite(now) or not np.isfinite(was):
            continue
        before_, after = sampled[key] if number else (None, None)
        change = figure(now - was, None if after is None else after - before_)
        by_chance = dealt[key][1] - dealt[key][0]
        p = (1 + int((np.abs(by_chance) >= abs(now - was) - 1e-12).sum())) / (1 + PERMUTED)
        gaps[key] = {
            "before": figure(was, before_),
            "after": figure(now, after),
            "change": change,
            "p": p,
        }
    figures = {
        name: {key: [_or_none(values[place]) for values in points[key]] for key in keys}
        for place, name in enumerate(names)
    }
    return {"rows": len(judged), "gaps": gaps, "groups": figures}


def judge_changes(columns: Sequence[dict[str, Any]]) -> None:
    """Write into each change of a gap whether it is wider or narrower by more than chance explains.

    Its interval must not hold zero, and its p, adjusted for the number of changes that are looked at (Holm), must be
    below 0.05: the one of many that chance made large is not called so.
    """
    changes = [gap for column in columns for gap in column.get("before", {}).get("gaps", {}).values()]
    for gap, adjusted in zip(changes, holm([gap["p"] for gap in changes]), strict=True):
        low, high = gap["change"]["low"], gap["change"]["high"]
        sure = low is not None and high is not None and low * high > 0 and adjusted < LEVEL
        gap["p_adjusted"] = adjusted
        gap["verdict"] = ("wider" if gap["change"]["value"] > 0 else "narrower") if sure else ""


def _spreads(
    both: tuple[Rows, Rows],
    samples: Iterator[tuple[Array, Array, int]],
    count: int,
    keys: Sequence[str],
    usable: dict[str, Array],
) -> dict[str, tuple[Array, Array]]:
    """The widest gap of each figure in the same samples before and after."""
    found: dict[str, tuple[list[Array], list[Array]]] = {key: ([], []) for key in keys}
    for cells, picked, together in samples:
        for place, rows in enumerate(both):
            values = rows(cells, together * count, picked)
            for key in keys:
                found[key][place].append(spread(values[key].reshape(together, count), usable[key]))
    return {key: (np.concatenate(was), np.concatenate(now)) for key, (was, now) in found.items() if was}


def _or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------------------------------------------- thresholds


def _thresholds(context: Context, positive: int) -> list[dict[str, Any]]:
    """For each column and criterion: thresholds chosen on validation, and what they do on the test."""
    found, kept = [], {}
    scores = {
        name: context.outputs(name).double().softmax(dim=1)[:, positive].numpy() for name in ("validation", "test")
    }
    true = {name: context.targets(name).numpy().astype(np.intp) for name in scores}
    for column in context.manifest.slices:
        names, groups = numbered(context, "validation", column.column)
        made = {}
        for criterion in CRITERIA:
            limits = choose(
                scores["validation"], true["validation"] == positive, groups, names, criterion, context.job.metric
            )
            if limits:
                made[criterion] = limits
                told = _told(context, column.column, positive, scores["test"], true["test"], limits)
                found.append({"column": column.column, "criterion": criterion, "thresholds": limits, **told})
        if made:
            kept[column.column] = made
    if kept:
        write_thresholds(context.folder, context.manifest.labels[positive], kept)
    return found


def _told(
    context: Context, column: str, positive: int, scores: Array, true: Array, limits: dict[str, float]
) -> dict[str, Any]:
    """Accuracy and gaps on the test with these thresholds, beside those of the common one."""
    names, groups = numbered(context, "test", column)
    values, outputs = context.feeds["test"].examples.meta[column], context.outputs("test").numpy()
    number, seed = context.recipe.evaluation.bootstrap, context.recipe.seed
    found: dict[str, Any] = {}
    whole = np.zeros(len(true), dtype=np.intp)
    for name, own in (("with", limits), ("without", {})):
        chosen = np.where(decided(scores, values, own), positive, 1 - positive)
        rows = of_decisions(outputs, chosen, true, 2, positive)
        among = told(rows, names, groups, number, seed)
        gaps = {key: among.gap(key) for key in ("accuracy", "true_positive_rate", "selection_rate")}
        found[name] = {
            "accuracy": told(rows, ["all"], whole, number, seed).figure("accuracy", 0),
            "gaps": {key: gap["difference"] for key, gap in gaps.items() if gap is not None},
        }
    return found


EVIDENCE = Evidence(
    card=Card(
        what="figures of each group of rows (evaluation.slices), the gaps between groups, and those before fine-tuning",
        when="rows are of different kinds, above all of different people; the columns have to be named",
        cost="little; the comparison with the model before training reads up to 10,000 rows again",
        evidence="an average hides groups that fare badly; fine-tuning can widen gaps that features had before",
        source="MetricFrame: Weerts et al. 2023, arXiv:2303.16626; hidden stratification: Oakden-Rayner et al. 2020, "
        "arXiv:1909.12475; thresholds: Hardt et al. 2016, arXiv:1610.02413",
    ),
    collect=collect,
    order=45,
    timed=True,
)
