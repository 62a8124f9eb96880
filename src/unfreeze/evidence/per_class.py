"""How each class fares: precision, recall and F1 with intervals, what is taken for what, precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card
from unfreeze.tasks._bootstrap import bootstrap
from unfreeze.tasks._metrics import Ranking, rank
from unfreeze.tasks.multilabel import THRESHOLD

Array = NDArray[Any]

LARGEST_MATRIX = 25
"""Classes up to which the whole confusion matrix is told; beyond it the most frequent mistakes."""

MOST_CONFUSED = 40
MOST_CURVES = 12
CURVE_POINTS = 60
CELLS = 20_000_000
"""Rows times curves times resamples, about, that intervals of the average precision look at."""

Z = 1.959963984540054


def collect(context: Context) -> dict[str, Any] | None:
    """Counts and figures of each class on the split that is reported on; None for numbers and without rows."""
    split = context.judged
    if not split or context.manifest.task not in ("classification", "multilabel"):
        return None
    raw = context.outputs(split)
    outputs, targets = raw.numpy(), context.targets(split).numpy()
    labels = context.manifest.labels
    evaluation = context.recipe.evaluation
    found: dict[str, Any] = {"split": split, "rows": len(targets)}
    if context.manifest.task == "classification":
        true, predicted = targets.astype(np.intp), outputs.argmax(axis=1)
        hits, actual, claimed = counts_of_classes(true, predicted, len(labels))
        found |= confusion(true, predicted, labels)
        chosen = _largest(actual, MOST_CURVES)
        truth = targets[:, None] == chosen
        scores = outputs[:, chosen] - raw.logsumexp(dim=1).numpy()[:, None]
    else:
        truth, given = targets > THRESHOLD, outputs >= 0
        hits, actual, claimed = (truth & given).sum(0), truth.sum(0), given.sum(0)
        chosen = _largest(actual, MOST_CURVES)
        truth, scores = truth[:, chosen], outputs[:, chosen]
    found["classes"] = figures_of_classes(labels, hits, actual, claimed)
    named = [labels[place] for place in chosen]
    found["curves"] = curves(named, truth, scores, evaluation.bootstrap, context.recipe.seed)
    return found


def counts_of_classes(true: Array, predicted: Array, classes: int) -> tuple[Array, Array, Array]:
    """Right answers, rows and answers of each class, of shape (classes,), from two arrays of shape (rows,)."""
    hits = np.bincount(true[true == predicted], minlength=classes)
    return hits, np.bincount(true, minlength=classes), np.bincount(predicted, minlength=classes)


def figures_of_classes(labels: Sequence[str], hits: Array, actual: Array, claimed: Array) -> list[dict[str, Any]]:
    """For each label its rows, how often it was given, and precision, recall and F1 with 95 % intervals.

    Intervals are Wilson's (1927), which stay honest for few rows and for shares of 0 and 1, where a bootstrap gives an
    interval without width. F1 is 2 F* / (1 + F*), where F* = hits / (rows or answers of the class) is a share as the
    other two are (Lam, Gopal and Qian 2023, arXiv:2309.14621).
    """
    either = actual + claimed - hits
    share = {"precision": wilson(hits, claimed), "recall": wilson(hits, actual), "f1": _doubled(wilson(hits, either))}
    return [
        {
            "label": label,
            "rows": int(actual[place]),
            "predicted": int(claimed[place]),
            "right": int(hits[place]),
            **{name: _figure(values[place]) for name, values in share.items()},
        }
        for place, label in enumerate(labels)
    ]


def wilson(hits: Array, rows: Array) -> Array:
    """Share and 95 % Wilson interval of each pair of counts, of shape (pairs, 3); nan where there are no rows."""
    rows = np.asarray(rows, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / rows
        middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
        reach = Z / (1 + Z**2 / rows) * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    found: Array = np.stack([share, np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1)], axis=1)
    return found


def _doubled(shares: Array) -> Array:
    """F1 from F*; it rises with it, and so do the ends of the interval."""
    found: Array = 2 * shares / (1 + shares)
    return found


def _figure(values: Array) -> dict[str, float | None]:
    value, low, high = (float(each) if np.isfinite(each) else None for each in values)
    return {"value": value, "low": low, "high": high}


def confusion(true: Array, predicted: Array, labels: Sequence[str]) -> dict[str, Any]:
    """`confused`: the most frequent mistakes; `matrix`: rows of counts by true class, where there are few classes."""
    classes = len(labels)
    pairs, counts = np.unique(true * classes + predicted, return_counts=True)
    rows = np.bincount(true, minlength=classes)
    wrong = pairs // classes != pairs % classes
    order = np.argsort(-counts[wrong], kind="stable")[:MOST_CONFUSED]
    confused = [
        {
            "true": labels[pair // classes],
            "predicted": labels[pair % classes],
            "count": int(count),
            "of": int(rows[pair // classes]),
        }
        for pair, count in zip(pairs[wrong][order], counts[wrong][order], strict=True)
    ]
    found: dict[str, Any] = {"confused": confused, "mistakes": int(counts[wrong].sum())}
    if classes <= LARGEST_MATRIX:
        matrix = np.zeros(classes * classes, dtype=np.int64)
        matrix[pairs] = counts
        found["matrix"] = matrix.reshape(classes, classes).tolist()
    return found


def curves(names: Sequence[str], truth: Array, scores: Array, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Precision over recall of each class as its score's threshold falls, and the average precision.

    Parameters
    ----------
    truth : bool array of shape (rows, classes)
    scores : array of shape (rows, classes)
    """
    ranking = rank(truth, scores)
    rows = len(truth)
    fewer = min(resamples, max(50, min(400, CELLS // max(1, rows * len(names)))))

    def statistic(drawn: Array) -> dict[str, float]:
        each = ranking.average_precisions(np.bincount(drawn, minlength=rows))
        return {str(place): float(value) for place, value in enumerate(each)}

    intervals = bootstrap(statistic, rows, fewer, seed)
    averages = ranking.average_precisions(np.ones(rows, dtype=np.int64))
    found = []
    for place, name in enumerate(names):
        if not truth[:, place].any():
            continue
        recall, precision = curve(ranking, place)
        low, high = intervals.get(str(place), (np.nan, np.nan))
        found.append(
            {
                "label": name,
                "average_precision": _figure(np.array([averages[place], low, high])),
                "recall": recall.round(4).tolist(),
                "precision": precision.round(4).tolist(),
            }
        )
    return found


def curve(ranking: Ranking, place: int) -> tuple[Array, Array]:
    """Recall and precision at up to 60 thresholds, from the highest down, evenly by recall."""
    true = ranking.true[place].astype(np.int64)
    ends = np.unique(ranking.last[place])
    hits = np.cumsum(true)[ends]
    recall, precision = hits / hits[-1], hits / (ends + 1)
    wanted = np.searchsorted(recall, np.linspace(recall[0], 1, CURVE_POINTS))
    kept = np.unique(np.minimum(wanted, len(recall) - 1))
    return recall[kept], precision[kept]


def _largest(rows: Array, most: int) -> Array:
    """Places of the classes with the most rows, in the labels' order."""
    chosen: Array = np.sort(np.argsort(-rows, kind="stable")[:most])
    return chosen


EVIDENCE = Evidence(
    card=Card(
        what="precision, recall and F1 of each class, the confusions, precision-recall curves",
        when="always, for labels",
        cost="none beside counting: the outputs were kept while they were scored",
        evidence="an average hides the class that fails; Wilson's interval covers where the bootstrap collapses",
        source="Wilson 1927, doi:10.1080/01621459.1927.10502953; F1: arXiv:2309.14621",
    ),
    collect=collect,
    order=10,
)
