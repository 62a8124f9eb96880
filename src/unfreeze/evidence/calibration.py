"""Evidence: do probabilities mean what they say, what a temperature changes, and what abstaining buys.

Everything is fitted on validation rows and told on test rows. What was fitted is kept in RUN/model/calibration.json,
where predictions find it; the saved weights, their outputs and the gate's know nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from unfreeze.evaluation.calibration import (
    Calibration,
    fit_temperature,
    fit_temperatures,
    is_right,
    radius_of,
    steps_of,
)
from unfreeze.evaluation.resampling import resample, widened
from unfreeze.evidence._abstention import abstention
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._reliability import WIDTH, columns_of, diagram, differences, figures
from unfreeze.registry import Card

Floats: TypeAlias = NDArray[np.float64]

MOST_CELLS = 5_000_000
"""Rows times labels that are looked at; more rows of several labels are thinned by seed, and it is said."""

OFF = 0.03
"""Calibration error from which on a reader is told."""

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal coverage of intervals around numbers."""


def collect(context: Context) -> dict[str, Any] | None:
    """Fit on validation, tell on test."""
    if not context.judged:
        return None
    fitted = "validation" in context.kept
    found = _of_numbers(context, fitted) if context.task.name == "regression" else _of_classes(context, fitted)
    about = {"task": context.task.name, "judged": context.judged, "fitted_on": "validation" if fitted else ""}
    return {**about, **found, "findings": _findings(found, context.judged)}


def _findings(found: dict[str, Any], judged: str) -> list[dict[str, str]]:
    """What a reader should know of: probabilities that are clearly off as the model states them."""
    figures = (found.get("splits") or {}).get(judged) or {}
    before, after = (figures.get(side, {}).get("ece") for side in ("before", "after"))
    if not before or before["low"] is None or before["low"] <= OFF:
        return []
    text = f"Stated probabilities are off by {before['value']:.1%} on average"
    if after is not None:
        text += f"; with the temperature that predictions are made with, by {after['value']:.1%}"
    kind = "warning" if after is None or after["value"] > OFF else "info"
    return [{"text": f"{text}: see “How sure it is”.", "kind": kind}]


def _keep(context: Context, calibration: Calibration) -> None:
    folder = context.folder / "model"
    if folder.is_dir():
        calibration.write(folder)


# --------------------------------------------------------------------------------------- classes and labels


def _of_classes(context: Context, fitted: bool) -> dict[str, Any]:
    task, seed, resamples = context.task.name, context.recipe.seed, context.recipe.evaluation.bootstrap
    temperature: tuple[float, ...] = ()
    if fitted:
        outputs, targets = context.outputs("validation"), context.targets("validation")
        several = task == "multilabel"
        temperature = (
            fit_temperatures(outputs, targets, seed) if several else (fit_temperature(outputs, targets, seed),)
        )
    rows = len(context.kept["validation"].outputs) if fitted else 0
    calibration = Calibration(task, rows, temperature)
    splits = {split: _split(context, split, calibration, resamples) for split in context.kept}
    found: dict[str, Any] = {
        "rows": {split: len(kept.outputs) for split, kept in context.kept.items()},
        "temperature": _told(temperature, context),
        "splits": {split: figures for split, (figures, _) in splits.items()},
        "reliability": splits[context.judged][1],
        "thinned": _thinned(context, context.judged),
    }
    if fitted:
        sure = {split: _sure(context, split, calibration) for split in context.kept}
        steps = steps_of(*sure["validation"], sure.get("test"))
        _keep(context, replace(calibration, steps=steps))
        found["abstention"] = abstention(steps, sure, context.judged, resamples, seed)
    return found


def _told(temperature: tuple[float, ...], context: Context) -> dict[str, Any] | None:
    """One temperature, or the range of many with the labels at its ends."""
    if not temperature:
        return None
    if len(temperature) == 1:
        return {"value": temperature[0]}
    order = np.argsort(temperature)
    labels = context.manifest.labels
    few = [*order[:5], *order[5:][-5:]]
    return {
        "value": float(np.median(temperature)),
        "lowest": min(temperature),
        "highest": max(temperature),
        "labels": [{"label": labels[place], "value": temperature[place]} for place in few],
    }


def _thinned(context: Context, split: str) -> int:
    """Rows that calibration errors of several labels are taken from, where not all are; else 0."""
    outputs = context.outputs(split)
    most = MOST_CELLS // max(1, outputs.shape[1])
    return most if context.task.name == "multilabel" and len(outputs) > most else 0


def _sure(context: Context, split: str, calibration: Calibration) -> tuple[Floats, NDArray[np.bool_]]:
    outputs, targets = context.outputs(split), context.targets(split)
    return calibration.confidence(outputs), is_right(calibration.task, outputs, targets)


def _split(
    context: Context, split: str, calibration: Calibration, resamples: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of a split before and after, and the diagram of each."""
    outputs, targets, seed = context.outputs(split), context.targets(split), context.recipe.seed
    if most := _thinned(context, split):
        chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(outputs))[:most])
        outputs, targets = outputs[chosen], targets[chosen]
    plain = replace(calibration, temperature=())
    views = [columns_of(each, outputs, targets) for each in (plain, calibration)]
    drawn = resample(np.concatenate(views, axis=1), resamples, seed)
    sides = {"before": drawn.part(slice(WIDTH)), "after": drawn.part(slice(WIDTH, 2 * WIDTH))}
    if not calibration.temperature:
        del sides["after"]
    found = {side: figures(part) for side, part in sides.items()}
    if "after" in sides:
        found["difference"] = differences(drawn)
    return found, {side: diagram(part, len(outputs)) for side, part in sides.items()}


# --------------------------------------------------------------------------------------------------- numbers


def _of_numbers(context: Context, fitted: bool) -> dict[str, Any]:
    """Intervals around numbers: normal ones of one scale, and those that errors on validation rows give."""
    errors = {split: _errors(context, split) for split in context.kept}
    found: dict[str, Any] = {"rows": {split: len(each) for split, each in errors.items()}}
    if not fitted:
        return found
    validation, told = errors["validation"], errors[context.judged]
    before, after = context.manifest.target_scale, float(np.sqrt(np.mean(validation**2))) or 1e-12
    radius = {level: radius_of(validation, level) for level in LEVELS}
    calibration = Calibration(context.task.name, len(validation), radius=radius_of(validation, Calibration.level))
    _keep(context, calibration)
    columns: list[NDArray[Any]] = [_normal_nll(told, scale) for scale in (before, after)]
    columns += [np.abs(told) <= _deviates(level) * scale for level in LEVELS for scale in (before, after)]
    columns += [np.abs(told) <= (np.inf if each is None else each) for each in radius.values()]
    drawn = resample(np.stack(columns, axis=1), context.recipe.evaluation.bootstrap, context.recipe.seed)
    first = 2 + 2 * len(LEVELS)
    return {
        **found,
        "scale": {"before": before, "after": after},
        "nll": {
            "before": drawn.column(0),
            "after": drawn.column(1),
            "difference": drawn.figure(lambda means: means[..., 1] - means[..., 0]),
        },
        "coverage": [
            {
                "level": level,
                "normal_before": widened(drawn.column(2 + 2 * place), len(told)),
                "normal_after": widened(drawn.column(3 + 2 * place), len(told)),
                "conformal": None if radius[level] is None else widened(drawn.column(first + place), len(told)),
                "radius": radius[level],
            }
            for place, level in enumerate(LEVELS)
        ],
        "kept": {"radius": calibration.radius, "level": calibration.level},
    }


def _errors(context: Context, split: str) -> Floats:
    """Prediction minus truth, in the target's own unit."""
    outputs, targets = context.outputs(split).double().reshape(-1), context.targets(split).double().reshape(-1)
    found: Floats = ((outputs - targets) * context.manifest.target_scale).numpy()
    return found


def _normal_nll(errors: Floats, scale: float) -> Floats:
    found: Floats = 0.5 * (errors / scale) ** 2 + np.log(scale * np.sqrt(2 * np.pi))
    return found


def _deviates(level: float) -> float:
    """How many standard deviations to each side hold that share of a normal distribution."""
    return NormalDist().inv_cdf(0.5 + level / 2)


EVIDENCE = Evidence(
    Card(
        what="whether probabilities mean what they say, before and after a temperature; what abstaining buys",
        when="decisions depend on how sure a prediction is",
        cost="no pass of the model: it is made from outputs that scoring kept",
        evidence="one number for all outputs repairs most of a network's overconfidence in distribution, less of it "
        "under shift (arXiv:1906.02530)",
        source="Guo et al. 2017, arXiv:1706.04599; Geifman & El-Yaniv 2017, arXiv:1705.08500; Lei et al. 2018, "
        "arXiv:1604.04173",
    ),
    collect,
    order=20,
)
