"""A linear probe: how well a linear model on given features predicts a set's targets, each row by a model that has not
seen it.

Source: Alain & Bengio 2016, Understanding Intermediate Layers Using Linear Classifier Probes, arXiv:1610.01644.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.tasks._bootstrap import Rows, bootstrap

Array: TypeAlias = NDArray[np.float64]

FOLDS = 5
STRENGTHS = np.logspace(-1, 6, 15)
"""Of the ridge, for features whose variance is 1 on average; leave-one-out within the fitted rows chooses."""


@dataclass(frozen=True)
class Probed:
    """What a probe says of each row, in parts whose sums over rows give the metric: accuracy, F1 or R²."""

    metric: str
    parts: Array

    def value(self, rows: Rows) -> float:
        """The metric over some rows."""
        sums = self.parts[rows].sum(axis=0)
        if self.metric == "accuracy":
            return float(sums[0] / len(rows))
        if self.metric == "micro_f1":
            hits, wrong = sums
            return float(2 * hits / (2 * hits + wrong)) if hits + wrong else float("nan")
        squares, total, square = sums
        spread = square - total**2 / len(rows)
        return float(1 - squares / spread) if spread > 0 else float("nan")


def probe(features: Tensor, targets: Tensor, task: str, seed: int, *others: Tensor) -> list[Probed]:
    """Fit a ridge on four fifths of the rows and predict the last, five times.

    Parameters
    ----------
    features : Tensor of shape (rows, width)
        What the ridge is fitted on, and predicts from.
    targets : Tensor
        As the task encodes them: classes of shape (rows,), labels of shape (rows, labels), or numbers.
    task : "classification", "multilabel" or "regression"
    *others : Tensor of shape (rows, width)
        Other features of the same rows that the same ridges predict from too.

    Returns
    -------
    list of Probed
        For the features, and for each of the others.
    """
    read = [each.double().numpy() for each in (features, *others)]
    y = targets.numpy()
    wanted = np.eye(int(y.max()) + 1)[y] if task == "classification" else y.reshape(len(y), -1).astype(np.float64)
    fold = folds(y if task == "classification" else None, len(y), seed)
    predicted = [np.zeros_like(wanted) for _ in read]
    for number in range(FOLDS):
        rest, held = fold != number, fold == number
        found = ridge(read[0][rest], wanted[rest], [each[held] for each in read])
        for into, values in zip(predicted, found, strict=True):
            into[held] = values
    return [_judged(each, wanted, task) for each in predicted]


def _judged(predicted: Array, wanted: Array, task: str) -> Probed:
    if task == "classification":
        return Probed("accuracy", (predicted.argmax(axis=1) == wanted.argmax(axis=1))[:, None].astype(np.float64))
    if task == "multilabel":
        said, true = predicted >= 0.5, wanted > 0.5
        hits, wrong = (how(said, true).sum(axis=1) for how in (np.logical_and, np.logical_xor))
        return Probed("micro_f1", np.stack([hits, wrong], axis=1).astype(np.float64))
    value = wanted[:, 0]
    return Probed("r2", np.stack([np.square(predicted[:, 0] - value), value, np.square(value)], axis=1))


def folds(classes: NDArray[np.int64] | None, rows: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, every class in all of them where it has the rows."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    order = shuffled if classes is None else shuffled[np.argsort(classes[shuffled], kind="stable")]
    found = np.empty(rows, dtype=np.int64)
    found[order] = np.arange(rows) % FOLDS
    return found


def ridge(x: Array, y: Array, new: Sequence[Array]) -> list[Array]:
    """Predictions of a ridge with an intercept, whose strength leave-one-out chooses for all targets together.

    One singular value decomposition serves every strength: a row's error, had it been left out, is its error divided by
    one minus its leverage (Golub, Heath & Wahba 1979, doi:10.1080/00401706.1979.10489751).

    Parameters
    ----------
    x : array of shape (rows, width)
    y : array of shape (rows, targets)
    new : arrays of shape (…, width)
    """
    # One scale for all features: a dead one, whose only change is rounding, must not be blown up to the size of others.
    mean, scale, middle = x.mean(axis=0), np.sqrt(x.var(axis=0).mean()) or 1.0, y.mean(axis=0)
    left, sizes, right = np.linalg.svd((x - mean) / scale, full_matrices=False)
    shown = left.T @ (y - middle)

    def left_out(strength: float) -> float:
        shrunk = sizes**2 / (sizes**2 + strength)
        leverage = 1 / len(x) + (left**2) @ shrunk
        errors = (y - middle - (left * shrunk) @ shown) / np.maximum(1 - leverage, 1e-9)[:, None]
        return float(np.square(errors).sum())

    strength = min(STRENGTHS, key=left_out)
    weights = right.T @ ((sizes / (sizes**2 + strength))[:, None] * shown)
    return [(each - mean) / scale @ weights + middle for each in new]


def compared(
    before: Probed, after: Probed, unfitted: Probed, resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """The figures and their differences to `before`, row by row paired, each with its bootstrap interval."""

    def figures(rows: Rows) -> dict[str, float]:
        was, now, stale = (each.value(rows) for each in (before, after, unfitted))
        return {
            "before": was,
            "after": now,
            "unfitted": stale,
            "difference": now - was,
            "unfitted_difference": stale - was,
        }

    rows = len(before.parts)
    intervals = bootstrap(figures, rows, resamples, seed)
    return {
        name: dict(zip(("value", "low", "high"), (value, *intervals.get(name, (None, None))), strict=True))
        for name, value in figures(np.arange(rows)).items()
    }
