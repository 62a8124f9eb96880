"""Which labels do not fit what a model says that has not learned from them: cleanlab's confident learning.

Source: Northcutt, Jiang and Chuang 2021, Confident Learning, arXiv:1911.00068; for several labels Thyagarajan et al.
2022, arXiv:2211.13895; for numbers the residual beside that of rows with similar targets (Zhou et al. 2023,
arXiv:2305.16583).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FAR = 4.0
"""Residuals beyond so many robust standard deviations make a number a suspect."""

NEIGHBOURS = 3000
"""Rows up to which a number's residual is compared with those of its neighbours; beyond it with all."""

LARGEST = 5000
CELLS = 30_000_000
"""Rows times classes times resamples, about, that the interval of the share of errors looks at."""


@dataclass(frozen=True)
class Judged:
    """What is suspected of each row.

    Parameters
    ----------
    suspect : array of bool of shape (rows,)
    score : array of shape (rows,)
        Quality of the label between 0 and 1; lower is worse.
    suggested : array
        What the judge says instead: classes of shape (rows,), booleans of shape (rows, labels), or numbers.
    """

    suspect: Array
    score: Array
    suggested: Array


def judge_classes(shares: Array, given: Array) -> Judged:
    """One label of several.

    Parameters
    ----------
    shares : array of shape (rows, classes)
        Probabilities from a model that has not learned these rows.
    given : array of int of shape (rows,)
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    score = np.asarray(get_label_quality_scores(given, shares))
    suggested = shares.argmax(axis=1)
    if len(np.unique(given)) < 2:
        return Judged(np.zeros(len(given), dtype=bool), score, suggested)
    suspect = np.asarray(find_label_issues(given, shares, n_jobs=1))
    # A row whose own label is the likeliest is no suspect, whatever the counts of its class ask for.
    return Judged(suspect & (suggested != given), score, suggested)


def judge_labels(shares: Array, given: Array) -> Judged:
    """Any number of labels; both of shape (rows, labels), `given` of booleans."""
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    lists = [np.flatnonzero(row).tolist() for row in given]
    suggested = shares >= 0.5
    if not any(lists):
        return Judged(np.zeros(len(given), dtype=bool), np.ones(len(given)), suggested)
    score = np.asarray(get_label_quality_scores(lists, shares))
    suspect = np.asarray(find_label_issues(lists, shares, n_jobs=1))
    return Judged(suspect & (suggested != given).any(axis=1), score, suggested)


def judge_numbers(predicted: Array, given: Array) -> Judged:
    """Numbers, both of shape (rows,): those far from what is predicted, by the spread of all residuals."""
    from cleanlab.regression.rank import get_label_quality_scores

    residual = given - predicted
    middle = np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual - middle))
    if spread <= 0:
        return Judged(np.zeros(len(given), dtype=bool), np.ones(len(given)), predicted)
    method = "outre" if len(given) <= NEIGHBOURS else "residual"
    score = np.asarray(get_label_quality_scores(given / spread, predicted / spread, method=method))
    return Judged(np.abs(residual - middle) > FAR * spread, score, predicted)


def share_of_errors(shares: Array, given: Array, resamples: int, seed: int) -> dict[str, float | None]:
    """The estimated share of wrong labels among rows of one label of several, and its 95 % bootstrap interval.

    It is 1 minus the diagonal of the estimated joint distribution of given and true labels. The interval tells how far
    chance in the choice of rows goes. The judge's own mistakes come on top: where it is often wrong with confidence,
    the share is too large.
    """
    from cleanlab.count import estimate_joint

    count = len(given)
    value = float(1 - np.trace(estimate_joint(given, shares))) if len(np.unique(given)) > 1 else float("nan")
    size = min(count, LARGEST)
    number = min(resamples, max(20, CELLS // max(1, size * shares.shape[1])))
    draw = np.random.default_rng(seed)
    draws = np.array([confident_share(shares[rows], given[rows]) for rows in draw.integers(0, count, (number, size))])
    finite = draws[np.isfinite(draws)]
    if len(finite) < 2 or not np.isfinite(value):
        return {"value": value if np.isfinite(value) else None, "low": None, "high": None}
    shrink = float((size / count) ** 0.5)
    low, high = (max(0.0, value + (float(end) - value) * shrink) for end in np.percentile(finite, [2.5, 97.5]))
    return {"value": value, "low": low, "high": high}


def confident_share(shares: Array, given: Array) -> float:
    """The share of wrong labels as `share_of_errors` estimates it, not rounded to whole rows; quick, for resampling.

    A row speaks for a class where that is as likely as for the rows that are given this class, on average; of several
    such classes for the likeliest. Rows that speak for none are taken to be as the others of their label are.
    """
    rows, classes = shares.shape
    counts = np.bincount(given, minlength=classes)
    if np.count_nonzero(counts) < 2:
        return float("nan")
    own = np.bincount(given, weights=shares[np.arange(rows), given], minlength=classes)
    bars = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    passed = shares >= bars - 1e-6
    speaks = passed.any(axis=1)
    says = np.where(passed.sum(axis=1) > 1, shares.argmax(axis=1), passed.argmax(axis=1))
    together = np.bincount(given[speaks] * classes + says[speaks], minlength=classes**2).reshape(classes, classes)
    right = np.maximum(together.diagonal(), 1)
    wrong = together.sum(axis=1) - together.diagonal()
    return float((counts * wrong / (right + wrong)).sum() / rows)
