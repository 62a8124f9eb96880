"""The simplest alternative that knows the inputs: a linear model on the features of the model before fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evidence._before import began_at_random, features_before
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._linear import STRENGTH, linear_outputs
from unfreeze.registry import Card

MOST_ROWS = {"train": 5000, "validation": 2000, "test": 2000}
SHARES = {"train": 0.4, "validation": 0.3, "test": 0.4}
"""Of the time that is left, what reading rows of a split may take."""

STRENGTHS = (STRENGTH, 0.01, 1.0)
"""Inverse regularisation, in the order in which there is time to try it on validation."""

LEAST = 20
"""Training rows below which no probe is made."""


@dataclass(frozen=True)
class Part:
    """Some rows of a split: their numbers, features of shape (rows, width), and encoded targets."""

    rows: list[int]
    features: Tensor
    targets: Tensor

    def first(self, count: int) -> Part:
        """The first rows, which are a sample, since all are in random order."""
        return Part(self.rows[:count], self.features[:count], self.targets[:count])


def collect(context: Context) -> dict[str, Any] | None:
    """Figures of the probe and of the run on the same rows, and the interval of their difference.

    Rows are a seeded sample where a split is large or time is short; its size is told.
    """
    judged = context.judged
    if not judged or began_at_random(context):
        return None
    parts: dict[str, Part] = {name: _part(context, name) for name in MOST_ROWS if name in context.feeds}
    if len(parts["train"].rows) < LEAST or not len(parts[judged].rows):
        return None
    answers, strength = _chosen(context, parts, judged)
    figures = {"probe": answers[judged], "run": context.outputs(judged)[torch.tensor(parts[judged].rows)]}
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
        "width": int(parts["train"].features.shape[1]),
        "figures": scored["probe"],
        "run": scored["run"],
        "difference": _gain(context, figures["probe"], figures["run"], targets),
        "strength": strength,
        **_curve(context, parts, answers, strength),
    }


def _part(context: Context, split: str) -> Part:
    rows, features = features_before(context, split, MOST_ROWS[split], SHARES[split] * context.time_left())
    return Part(rows, features, context.targets(split)[torch.tensor(rows, dtype=torch.long)])


def _answers(context: Context, train: Part, asked: dict[str, Part], strength: float) -> dict[str, Tensor]:
    """What a probe that is fitted to some rows says of others, as the run's own head would."""
    width = context.task.outputs(context.manifest)
    features = torch.cat([part.features for part in asked.values()])
    found = linear_outputs(context.manifest.task, train.features, train.targets, features, width, strength)
    return dict(zip(asked, found.split([len(part.rows) for part in asked.values()]), strict=True))


def _chosen(context: Context, parts: dict[str, Part], judged: str) -> tuple[dict[str, Tensor], float]:
    """Answers for validation and what is judged, with the strength that validation likes best, as far as there is time
    to try; else with the middle one."""
    asked = {name: part for name, part in parts.items() if name != "train" and len(part.rows)}
    tried = {STRENGTH: _answers(context, parts["train"], asked, STRENGTH)}
    if "validation" in asked and judged != "validation" and context.manifest.task == "classification":
        for strength in STRENGTHS[1:]:
            if context.time_left() > 0:
                tried[strength] = _answers(context, parts["train"], asked, strength)
    held = parts["validation"].targets if len(tried) > 1 else torch.zeros(0)
    best = max(tried, key=lambda strength: _mean(context, tried[strength]["validation"], held) if len(held) else 0.0)
    return tried[best], best


def _curve(context: Context, parts: dict[str, Part], answers: dict[str, Tensor], strength: float) -> dict[str, Any]:
    """The probe's score on validation with a quarter, half and all of its training rows, as far as there is time, and
    what the second half of them gained, row by row."""
    held = parts.get("validation")
    if held is None or "validation" not in answers:
        return {"curve": [], "gain": None}
    train, found, gain = parts["train"], [], None
    for share in (0.25, 0.5):
        count = int(share * len(train.rows))
        if count >= LEAST and context.time_left() > 0:
            said = _answers(context, train.first(count), {"validation": held}, strength)["validation"]
            found.append({"rows": count, "score": _mean(context, said, held.targets)})
            gain = _gain(context, said, answers["validation"], held.targets) if share == 0.5 else None
    found.append({"rows": len(train.rows), "score": _mean(context, answers["validation"], held.targets)})
    return {"curve": found, "gain": gain}


def _goodness(context: Context, given: Tensor, targets: Tensor) -> tuple[Tensor, str]:
    """For each row how good an answer is, more being better, and what that is called."""
    if context.manifest.task == "classification":
        return (given.argmax(dim=1) == targets).double(), "accuracy"
    if context.manifest.task == "multilabel":
        return ((given > 0) == (targets > 0.5)).double().mean(dim=1), "labels right"
    errors = (given.reshape(-1) - targets.reshape(-1)).abs().double()
    return -errors * context.manifest.target_scale, "mean absolute error"


def _mean(context: Context, given: Tensor, targets: Tensor) -> float:
    return float(_goodness(context, given, targets)[0].mean())


def _gain(context: Context, before: Tensor, after: Tensor, targets: Tensor) -> dict[str, Any]:
    """How much better one is than the other, paired by row, with a bootstrap interval of 95 %."""
    better, unit = _goodness(context, after, targets)
    gain = (better - _goodness(context, before, targets)[0]).numpy()
    resamples = context.recipe.evaluation.bootstrap
    if not resamples or len(gain) < 2:
        return {"unit": unit, "value": float(gain.mean()), "low": None, "high": None}
    draw = np.random.default_rng(context.recipe.seed)
    means = [gain[draw.integers(0, len(gain), len(gain))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"unit": unit, "value": float(gain.mean()), "low": float(low), "high": float(high)}


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
)
