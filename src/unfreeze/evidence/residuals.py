"""How predicted numbers lie beside the true ones, and where they are too high or too low."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card

Array = NDArray[Any]

MOST_POINTS = 600
BINS = 30
RANGES = 10
"""Ranges of equal row counts by the predicted value, whose mean error is told."""

LARGEST = 20_000_000
"""Random numbers drawn at once."""


def collect(context: Context) -> dict[str, Any] | None:
    """Points, errors and their means by range, in the target's own unit; None for labels and without rows."""
    split = context.judged
    if not split or context.manifest.task != "regression":
        return None
    mean, scale = context.manifest.target_mean, context.manifest.target_scale
    predicted = context.outputs(split).double().reshape(-1).numpy() * scale + mean
    true = context.targets(split).double().reshape(-1).numpy() * scale + mean
    return {
        "split": split,
        "rows": len(true),
        **residuals(true, predicted, context.recipe.evaluation.bootstrap, context.recipe.seed),
    }


def residuals(true: Array, predicted: Array, resamples: int, seed: int) -> dict[str, Any]:
    """Errors are predicted minus true; both arrays have shape (rows,) and are finite."""
    error = predicted - true
    rng = np.random.default_rng(seed)
    shown = np.sort(rng.permutation(len(true))[:MOST_POINTS])
    low, high = np.quantile(error, [0.005, 0.995])
    width = max(high - low, 1e-9 * max(1.0, float(np.abs(error).max())))
    counts, edges = np.histogram(error, bins=min(BINS, max(5, int(len(error) ** 0.5))), range=(low, low + width))
    return {
        "points": [[float(true[row]), float(predicted[row])] for row in shown],
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist(), "outside": int(len(error) - counts.sum())},
        "quantiles": {str(q): float(np.quantile(np.abs(error), q)) for q in (0.5, 0.8, 0.9, 0.95, 0.99)},
        "bias": mean_with_interval(error, resamples, rng),
        "ranges": by_range(error, predicted, resamples, rng),
    }


def by_range(error: Array, predicted: Array, resamples: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The mean error within ranges of the prediction: what a user can correct for, since they see the prediction."""
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(RANGES, max(1, len(order) // 10)))
    return [
        {
            "from": float(predicted[part[0]]),
            "to": float(predicted[part[-1]]),
            "rows": len(part),
            "error": mean_with_interval(error[part], resamples, rng),
        }
        for part in parts
        if len(part)
    ]


def mean_with_interval(values: Array, resamples: int, rng: np.random.Generator) -> dict[str, float | None]:
    """The mean and its 95 % bootstrap interval; of many rows by the normal approximation, which then is the same."""
    mean = float(values.mean())
    if resamples < 1 or len(values) < 2:
        return {"value": mean, "low": None, "high": None}
    if len(values) * resamples > LARGEST:
        reach = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
        return {"value": mean, "low": mean - reach, "high": mean + reach}
    means = values[rng.integers(0, len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": mean, "low": float(low), "high": float(high)}


EVIDENCE = Evidence(
    card=Card(
        what="predicted against true numbers, the distribution of errors, and the mean error by range",
        when="always, for numbers",
        cost="none beside counting: the outputs were kept while they were scored",
        evidence="one root mean square hides a bias at the ends of the scale, where regression pulls to the mean",
        source="residual analysis; percentile bootstrap: Efron 1979",
    ),
    collect=collect,
    order=10,
)
