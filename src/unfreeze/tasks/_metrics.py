"""Metrics as pure functions of small per-row arrays, fast enough to be resampled a thousand times.

scikit-learn has the same figures; the tests compare. Its functions validate and sort labels on each
call, which takes longer here than the metric itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 15


def class_metrics(true: Array, predicted: Array, top: Array, nll: Array, classes: int) -> dict[str, float]:
    """Figures of single-label classification; every array has shape (rows,) and at least one row."""
    right = true == predicted
    hits = np.bincount(true[right], minlength=classes)
    actual = np.bincount(true, minlength=classes)
    claimed = np.bincount(predicted, minlength=classes)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(hits[actual > 0] / actual[actual > 0])),
        "macro_f1": macro_f1(hits, actual, claimed),
        "nll": float(nll.mean(dtype=np.float64)),
        "ece": calibration_error(top, right),
    }


def macro_f1(hits: Array, actual: Array, claimed: Array) -> float:
    """Mean F1 over the classes that occur in truth or prediction, from their counts."""
    seen = (actual + claimed) > 0
    return float(np.mean(2 * hits[seen] / (actual[seen] + claimed[seen]))) if seen.any() else 0.0


def calibration_error(top: Array, right: Array) -> float:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    bins = np.minimum((top * BINS).astype(np.intp), BINS - 1)
    gaps = np.bincount(bins, weights=top - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(top))


def label_metrics(true: Array, predicted: Array) -> dict[str, float]:
    """Figures of multi-label classification from booleans of shape (rows, labels).

    A label that neither occurs nor is predicted counts as F1 = 0 in macro_f1, as in scikit-learn with
    `zero_division=0`.
    """
    hits = (true & predicted).sum(axis=0)
    total = true.sum(axis=0) + predicted.sum(axis=0)
    return {
        "micro_f1": float(2 * hits.sum() / max(1, total.sum())),
        "macro_f1": float(np.mean(2 * hits / np.maximum(1, total))),
        "subset_accuracy": float((true == predicted).all(axis=1).mean()),
    }


@dataclass(frozen=True)
class Ranking:
    """Rows sorted by score once for each label; every array has shape (labels, rows).

    `order` lists rows from the highest score down, `true` the truth in that order, and `last` where the
    rows that tie with one end, since they share a threshold.
    """

    order: Array
    true: Array
    last: Array

    def average_precisions(self, counts: Array) -> Array:
        """Average precision of each label, nan where it does not occur; `counts` (rows,) weighs rows."""
        result = np.full(len(self.order), np.nan)
        for label, (order, true, last) in enumerate(zip(self.order, self.true, self.last, strict=True)):
            weight = counts[order]
            positive = weight * true
            total = positive.sum()
            if total > 0:
                precision = np.cumsum(positive)[last] / np.maximum(np.cumsum(weight)[last], 1)
                result[label] = (positive * precision).sum() / total
        return result


def rank(true: Array, scores: Array) -> Ranking:
    """Sort rows by score; both arrays have shape (rows, labels)."""
    falling = -scores.T.astype(np.float32)
    order = np.argsort(falling, axis=1, kind="stable")
    ordered = np.take_along_axis(falling, order, axis=1)
    last = np.stack([np.searchsorted(row, row, side="right") - 1 for row in ordered])
    return Ranking(order, np.take_along_axis(true.T, order, axis=1), last)


def number_metrics(true: Array, predicted: Array, true_ranks: Array, predicted_ranks: Array) -> dict[str, float]:
    """Figures of regression; every array has shape (rows,)."""
    error = predicted - true
    spread = float(np.sum((true - true.mean()) ** 2))
    squares = float(np.sum(error**2))
    return {
        "mae": float(np.mean(np.abs(error))),
        "rmse": (squares / len(true)) ** 0.5,
        "r2": 1 - squares / spread if spread > 0 else float("nan"),
        "spearman": correlation(true_ranks, predicted_ranks),
    }


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation; 0 where one side does not vary (a constant prediction orders nothing)."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / scale if scale > 0 else 0.0
