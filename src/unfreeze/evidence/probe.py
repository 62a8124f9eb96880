"""The simplest alternative that knows the inputs: a linear model on the features of the model before fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evaluation.paired import chance_of_gain
from unfreeze.evidence._before import (
    MOSTLY,
    began_at_random,
    features_before,
    kept_anyway,
    load_before,
    readable,
    seconds_to_load,
    seconds_to_read,
)
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.evidence._linear import LOGISTIC, STRENGTH, linear_outputs, logistic_outputs, seconds_to_fit
from unfreeze.registry import Card

MOST_ROWS = {"train": 5000, "validation": 2000, "test": 2000}
TIME = {"train": 0.45, "validation": 0.35, "test": 0.6}
"""Of the time that is left, what reading rows of a split may take: a probe that knows few rows is a weak one."""

STRENGTHS = (0.01, 1.0)
"""Inverse regularisation that is tried beside the usual one."""

PARTS_OF_ROWS = (0.25, 0.5)
LEAST = 20
"""Training rows below which no probe is made."""

ENOUGH = 5
"""Training rows for each output that are worth reading: a probe that knows fewer flatters the run."""

HELD = 50
"""Rows of validation, and of test, to read at the least."""


@dataclass(frozen=True)
class Part:
    """Some rows of a split, a sample in random order: numbers, features of shape (rows, width), encoded targets."""

    rows: list[int]
    features: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Probe:
    """How many training rows it is fitted to, how strongly it follows them, and what it says of rows by split."""

    rows: int
    strength: float
    answers: dict[str, Tensor]


def collect(context: Context) -> dict[str, Any] | None:
    """Figures of the probe and of the run on the same rows, and the interval of their difference.

    Rows are a seeded sample where a split is large or time is short; its size is told.
    """
    judged = context.judged
    if not judged or began_at_random(context):
        return None
    if len(context.feeds["train"]) < LEAST:
        return None
    if readable(context, "train", TIME["train"]) < _enough(context):
        raise NoTimeLeft
    if not all(kept_anyway(context, split) for split in MOST_ROWS if split in context.feeds):
        load_before(context)  # ahead of the clock that readings look at
    parts: dict[str, Part] = {name: _part(context, name) for name in MOST_ROWS if name in context.feeds}
    train, held = parts["train"], parts.get("validation") if "test" in parts else None
    if len(train.rows) < LEAST or not parts[judged].rows:
        raise NoTimeLeft
    probes = _probes(context, train, {name: part for name, part in parts.items() if part is not train and part.rows})
    best = _best(context, probes, held if held is not None and held.rows else None)
    figures = {"probe": best.answers[judged], "run": context.outputs(judged)[torch.tensor(parts[judged].rows)]}
    targets = parts[judged].targets
    scored = {}
    for whose, given in figures.items():
        scorer = context.task.scorer(context.manifest)
        scorer.update(given, targets)
        scored[whose] = with_intervals(scorer, context.recipe.evaluation.bootstrap, context.recipe.seed)
    return {
        "split": judged,
        "rows": {name: len(part.rows) for name, part in parts.items()},
        "of": {name: len(context.feeds[name]) for name in parts},
        "width": int(train.features.shape[1]),
        "figures": scored["probe"],
        "run": scored["run"],
        "difference": _gain(context, figures["probe"], figures["run"], targets),
        "strength": best.strength,
        **_curve(context, probes, parts.get("validation")),
    }


def _enough(context: Context) -> int:
    """Training rows that are worth reading."""
    known = min(len(context.feeds["train"]), MOST_ROWS["train"])
    return min(known, max(LEAST, ENOUGH * context.task.outputs(context.manifest)))


def least(context: Context) -> float:
    """Seconds for reading rows enough of each split."""
    if not context.judged or began_at_random(context) or len(context.feeds["train"]) < LEAST:
        return 0.0
    wanted = {split: _enough(context) if split == "train" else HELD for split in MOST_ROWS if split in context.feeds}
    each = {split: seconds_to_read(context, split, rows) for split, rows in wanted.items()}
    reading = max(sum(each.values()), each["train"] / TIME["train"])
    return seconds_to_load(context) + reading + _fitting(context, wanted["train"])


def _fitting(context: Context, rows: int) -> float:
    """Seconds for the probe of so many rows, and those of some of them."""
    if context.manifest.task != "classification":
        return 0.0
    width, outputs = context.features(context.judged).shape[1], context.task.outputs(context.manifest)
    return seconds_to_fit(rows, width, outputs, 1 + len(PARTS_OF_ROWS))


def _part(context: Context, split: str) -> Part:
    seconds = TIME[split] * context.time_left()
    if split != "train":
        seconds = max(seconds, seconds_to_read(context, split, HELD) / MOSTLY)
    rows, features = features_before(context, split, MOST_ROWS[split], seconds)
    return Part(rows, features, context.targets(split)[torch.tensor(rows, dtype=torch.long)])


def _probes(context: Context, train: Part, asked: dict[str, Part]) -> list[Probe]:
    """Fitted to all training rows, in several strengths where they can be fitted together, and to some of the rows."""
    task, width, whole = context.manifest.task, context.task.outputs(context.manifest), len(train.rows)
    together = task == "classification" and whole * width <= LOGISTIC
    usual = [(whole, STRENGTH)]
    parts = [(int(part * whole), STRENGTH) for part in PARTS_OF_ROWS if part * whole >= LEAST]
    others = [(whole, strength) for strength in STRENGTHS if together]
    wishes = [[*usual, *others, *parts], [*usual, *parts], usual]
    took = [seconds_to_fit(whole, train.features.shape[1], width, len(kinds)) if together else 0.0 for kinds in wishes]
    kinds = next((kinds for kinds, seconds in zip(wishes, took, strict=True) if seconds <= context.time_left()), usual)
    features = torch.cat([part.features for part in asked.values()])
    if together:
        fitted = torch.arange(whole) < torch.tensor([rows for rows, _ in kinds])[:, None]
        strengths = [strength for _, strength in kinds]
        found = list(logistic_outputs(train.features, train.targets, fitted, features, width, strengths))
    else:
        found = [linear_outputs(task, train.features[:n], train.targets[:n], features, width) for n, _ in kinds]
    sizes = [len(part.rows) for part in asked.values()]
    return [
        Probe(rows, strength, dict(zip(asked, each.split(sizes), strict=True)))
        for (rows, strength), each in zip(kinds, found, strict=True)
    ]


def _best(context: Context, probes: list[Probe], held: Part | None) -> Probe:
    """Of those that know all training rows, the one that validation likes best; the usual one without it."""
    whole = [probe for probe in probes if probe.rows == probes[0].rows]
    if held is None:
        return probes[0]
    return max(whole, key=lambda probe: _mean(context, probe.answers["validation"], held.targets))


def _curve(context: Context, probes: list[Probe], held: Part | None) -> dict[str, Any]:
    """The score on validation by training rows, and what the second half of them gained, row by row."""
    if held is None or not held.rows:
        return {"curve": [], "gain": None}
    usual = sorted((probe for probe in probes if probe.strength == STRENGTH), key=lambda probe: probe.rows)
    curve = [{"rows": p.rows, "score": _mean(context, p.answers["validation"], held.targets)} for p in usual]
    half, all_rows = usual[-2:] if len(usual) > 1 else (None, None)
    if half is None or all_rows is None:
        return {"curve": curve, "gain": None}
    gain = _gain(context, half.answers["validation"], all_rows.answers["validation"], held.targets)
    return {"curve": curve, "gain": gain}


def _goodness(context: Context, given: Tensor, targets: Tensor) -> tuple[Tensor, str]:
    """For each row how good an answer is, more being better, and what that is called."""
    if context.manifest.task == "classification":
        return (given.argmax(dim=1) == targets).double(), "accuracy"
    if context.manifest.task == "multilabel":
        return ((given > 0) == (targets > 0.5)).double().mean(dim=1), "labels right"
    errors = (given.reshape(-1) - targets.reshape(-1)).abs().double()
    return -errors * context.manifest.target_scale, "mean absolute error"


def _mean(context: Context, given: Tensor, targets: Tensor) -> float:
    """The share of rows or labels right, or R²."""
    if context.manifest.task == "regression":
        errors, spread = given.reshape(-1) - targets.reshape(-1), targets.reshape(-1) - targets.mean()
        return 1.0 - float(errors.square().sum() / spread.square().sum().clamp(min=1e-12))
    return float(_goodness(context, given, targets)[0].mean())


def _gain(context: Context, before: Tensor, after: Tensor, targets: Tensor) -> dict[str, Any]:
    """How much better one is than the other, paired by row: a bootstrap interval of 95 %, and how often by chance."""
    better, unit = _goodness(context, after, targets)
    gain = (better - _goodness(context, before, targets)[0]).numpy()
    p = chance_of_gain(gain, context.recipe.seed)
    resamples = context.recipe.evaluation.bootstrap
    if not resamples or len(gain) < 2:
        return {"unit": unit, "value": float(gain.mean()), "low": None, "high": None, "p": p}
    draw = np.random.default_rng(context.recipe.seed)
    means = [gain[draw.integers(0, len(gain), len(gain))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"unit": unit, "value": float(gain.mean()), "low": float(low), "high": float(high), "p": p}


EVIDENCE = Evidence(
    card=Card(
        what="A linear model on the frozen features of the pre-trained model, beside the fine-tuned one.",
        when="Classification and regression: it shows what fine-tuning itself has gained.",
        cost="One pass of the pre-trained model over a sample of the rows.",
        evidence="The standard measure of what features hold; strong where the task is close to pre-training.",
        source="Alain & Bengio 2016, arXiv:1610.01644; Kornblith et al. 2019, arXiv:1805.08974",
    ),
    collect=collect,
    order=20,
    costly=True,
    least=least,
)
