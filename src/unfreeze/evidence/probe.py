"""The simplest alternative that knows the inputs: a linear model on the features of the model before fine-tuning."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evaluation.kept import keeping
from unfreeze.evaluation.reading import fast, read
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card
from unfreeze.train.feed import Feed

MOST_ROWS = {"train": 5000, "validation": 2000, "test": 2000}
PORTION = 250
STRENGTHS = (0.1, 0.01, 1.0, 10.0)
"""Inverse regularisation, in the order in which there is time to try it on validation."""

UNSEEN = -30.0
"""Log-probability of a label that no training row of the sample has."""

LEAST = 20
"""Training rows below which no probe is made."""


def collect(context: Context) -> dict[str, Any] | None:
    """Figures of the probe and of the run on the same rows, and the interval of their difference.

    Rows are a seeded sample where a split is large or time is short; its size is told.
    """
    judged = context.judged
    if not judged or context.manifest.task not in ("classification", "regression"):
        return None
    working = fast(context.before, context.recipe.training.precision)
    draw = np.random.default_rng(context.recipe.seed)
    parts: dict[str, tuple[list[int], Tensor]] = {}
    wanted = {name: MOST_ROWS[name] for name in ("train", "validation", "test") if name in context.feeds}
    budget = context.time_left()
    for name, most in wanted.items():
        share = 0.25 if name != "train" else 0.5
        parts[name] = _features(context, context.feeds[name], working, most, draw, budget * share)
    if len(parts["train"][0]) < LEAST:
        return None
    plain = _plain(context, parts)
    model, strength = _chosen(context, plain, judged)
    rows = parts[judged][0]
    figures = {
        "probe": _outputs(context, model, plain[judged].features),
        "run": context.outputs(judged)[torch.tensor(rows)],
    }
    targets = context.targets(judged)[torch.tensor(rows)]
    scored = {}
    for whose, given in figures.items():
        scorer = context.task.scorer(context.manifest)
        scorer.update(given, targets)
        scored[whose] = with_intervals(scorer, context.recipe.evaluation.bootstrap, context.recipe.seed)
    return {
        "split": judged,
        "rows": {name: len(part[0]) for name, part in parts.items()},
        "of": {name: len(context.feeds[name]) for name in parts},
        "width": int(parts["train"][1].shape[1]),
        "figures": scored["probe"],
        "run": scored["run"],
        "difference": _difference(context, figures, targets),
        "strength": strength,
        "curve": _curve(context, plain, strength),
    }


def _features(
    context: Context, feed: Feed, working: Any, most: int, draw: np.random.Generator, seconds: float
) -> tuple[list[int], Tensor]:
    """Head inputs of a seeded sample of rows, in portions until there are enough or the time is over."""
    order = draw.permutation(len(feed))[:most].tolist()
    rows: list[int] = []
    found: list[Tensor] = []
    ends = time.monotonic() + seconds
    for start in range(0, len(order), PORTION):
        if rows and time.monotonic() > ends:
            break
        portion = order[start : start + PORTION]
        inputs = [feed.examples.inputs[row] for row in portion]
        with keeping(working.module, len(portion)) as keeper:
            for batch, outputs in read(context.before, working, inputs):
                keeper.keep(batch, outputs)
        rows += portion
        found.append(keeper.kept().features)
    return rows, torch.cat(found)


@dataclass(frozen=True)
class Rows:
    """Features and plain targets of some rows."""

    features: NDArray[np.float32]
    targets: NDArray[Any]


def _plain(context: Context, parts: dict[str, tuple[list[int], Tensor]]) -> dict[str, Rows]:
    return {
        name: Rows(features.numpy(), context.targets(name)[torch.tensor(rows)].numpy().reshape(len(rows)))
        for name, (rows, features) in parts.items()
    }


def _model(context: Context, train: Rows, strength: float) -> Any:
    """A linear model on standardised features."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = context.manifest.task == "classification"
    last = LogisticRegression(C=strength, max_iter=200) if classes else Ridge(alpha=1.0 / strength)
    return make_pipeline(StandardScaler(), last).fit(train.features, train.targets)


def _chosen(context: Context, parts: dict[str, Rows], judged: str) -> tuple[Any, float]:
    """The model of the strength that validation likes best, as far as there is time to try; else the middle one."""
    models = {STRENGTHS[0]: _model(context, parts["train"], STRENGTHS[0])}
    if "validation" in parts and judged != "validation":
        for strength in STRENGTHS[1:]:
            if context.time_left() <= 0:
                break
            models[strength] = _model(context, parts["train"], strength)
    if len(models) == 1:
        return models[STRENGTHS[0]], STRENGTHS[0]
    held = parts["validation"]
    best = max(models, key=lambda strength: float(models[strength].score(held.features, held.targets)))
    return models[best], best


def _outputs(context: Context, model: Any, features: NDArray[np.float32]) -> Tensor:
    """What the probe says, as the run's own head would: log-probabilities of each label, or the standardised number."""
    if context.manifest.task == "regression":
        return torch.as_tensor(model.predict(features), dtype=torch.float32).reshape(-1, 1)
    found = torch.full((len(features), len(context.manifest.labels)), UNSEEN)
    known = torch.as_tensor(model.predict_log_proba(features), dtype=torch.float32).clamp(min=UNSEEN)
    found[:, torch.as_tensor(model.classes_)] = known
    return found


def _curve(context: Context, parts: dict[str, Rows], strength: float) -> list[dict[str, float]]:
    """The probe's score on validation with a quarter, half and all of its training rows, as far as there is time."""
    held = parts.get("validation")
    if held is None:
        return []
    train, found = parts["train"], []
    for share in (0.25, 0.5, 1.0):
        rows = int(share * len(train.targets))
        if rows < LEAST or len(np.unique(train.targets[:rows])) < 2 or context.time_left() <= 0:
            continue
        model = _model(context, Rows(train.features[:rows], train.targets[:rows]), strength)
        found.append({"rows": rows, "score": float(model.score(held.features, held.targets))})
    return found


def _difference(context: Context, figures: dict[str, Tensor], targets: Tensor) -> dict[str, Any] | None:
    """How much better the run is than the probe in share of rows right, or in mean absolute error, paired by row."""
    if context.manifest.task == "classification":
        right = {name: (given.argmax(1) == targets).float().numpy() for name, given in figures.items()}
        gain, unit = right["run"] - right["probe"], "accuracy"
    else:
        gain = (
            (figures["probe"].reshape(-1) - targets.reshape(-1)).abs()
            - (figures["run"].reshape(-1) - targets.reshape(-1)).abs()
        ).numpy() * context.manifest.target_scale
        unit = "mean absolute error"
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
