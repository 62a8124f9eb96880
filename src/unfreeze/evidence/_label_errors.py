"""Which labels do not fit what a model says that has not learned from them: cleanlab's confident learning.

Loading cleanlab takes longer than a short run's whole report may. There the paper's own rule for one label of several,
a few lines, stands in; it differs from cleanlab's in how counts are rounded to whole rows.

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


def judge_classes(shares: Array, given: Array, *, quick: bool = False) -> Judged:
    """One label of several.

    Parameters
    ----------
    shares : array of shape (rows, classes)
        Probabilities from a model that has not learned these rows.
    given : array of int of shape (rows,)
    quick : bool
        Without cleanlab.
    """
    score, suggested = shares[np.arange(len(given)), given], shares.argmax(axis=1)
    if len(np.unique(given)) < 2:
        return Judged(np.zeros(len(given), dtype=bool), score, suggested)
    suspect = pruned(shares, given) if quick else _found_by_cleanlab(shares, given)
    # A row whose own label is the likeliest is no suspect, whatever the counts of its class ask for.
    return Judged(suspect & (suggested != given), score, suggested)


def _found_by_cleanlab(shares: Array, given: Array) -> Array:
    from cleanlab.filter import find_label_issues

    return np.asarray(find_label_issues(given, shares, n_jobs=1))


def pruned(shares: Array, given: Array) -> Array:
    """Suspects by noise rate: of each label as many rows as seem to be of another class, those that look most like it.

    Source: section 3.2 of Northcutt, Jiang & Chuang 2021, arXiv:1911.00068, "prune by noise rate".
    """
    counted = confident_counts(shares, given)
    np.fill_diagonal(counted, np.maximum(counted.diagonal(), 1))
    labels = np.bincount(given, minlength=len(counted))
    found = np.zeros(len(given), dtype=bool)
    for label in np.flatnonzero(labels > 1):
        rows, likely = np.flatnonzero(given == label), labels[label] * counted[label] / counted[label].sum()
        for other, number in enumerate(_whole(likely)):
            if other != label and number:
                margin = shares[rows, other] - shares[rows, label]
                found[rows[np.argsort(-margin, kind="stable")[:number]]] = True
    return found


def _whole(values: Array) -> Array:
    """Numbers as whole ones of the same sum: those nearest to the next one are rounded up."""
    down = np.floor(values + 1e-9)
    up = np.argsort(down - values, kind="stable")[: round(float(values.sum() - down.sum()))]
    down[up] += 1
    return down.astype(np.intp)


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


def share_of_errors(
    shares: Array, given: Array, resamples: int, seed: int, *, quick: bool = False
) -> dict[str, float | None]:
    """The estimated share of wrong labels among rows of one label of several, and its 95 % bootstrap interval.

    It is 1 minus the diagonal of the estimated joint distribution of given and true labels. The interval tells how far
    chance in the choice of rows goes. The judge's own mistakes come on top: where it is often wrong with confidence,
    the share is too large.
    """
    count = len(given)
    value = confident_share(shares, given) if quick or len(np.unique(given)) < 2 else _share_by_cleanlab(shares, given)
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


def _share_by_cleanlab(shares: Array, given: Array) -> float:
    from cleanlab.count import estimate_joint

    return float(1 - np.trace(estimate_joint(given, shares)))


def confident_share(shares: Array, given: Array) -> float:
    """The share of wrong labels as `share_of_errors` estimates it, not rounded to whole rows; quick, for resampling.

    Rows that speak for no class are taken to be as the others of their label are.
    """
    rows, classes = shares.shape
    counts = np.bincount(given, minlength=classes)
    if np.count_nonzero(counts) < 2:
        return float("nan")
    together = confident_counts(shares, given)
    right = np.maximum(together.diagonal(), 1)
    wrong = together.sum(axis=1) - together.diagonal()
    return float((counts * wrong / (right + wrong)).sum() / rows)


def confident_counts(shares: Array, given: Array) -> Array:
    """How many rows of each label speak for each class, of shape (labels, classes).

    A row speaks for a class where that is as likely as for the rows that are given this class, on average; of several
    such classes for the likeliest.
    """
    rows, classes = shares.shape
    counts = np.bincount(given, minlength=classes)
    own = np.bincount(given, weights=shares[np.arange(rows), given], minlength=classes)
    bars = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    passed = shares >= bars - 1e-6
    speaks = passed.any(axis=1)
    says = np.where(passed.sum(axis=1) > 1, shares.argmax(axis=1), passed.argmax(axis=1))
    return np.bincount(given[speaks] * classes + says[speaks], minlength=classes**2).reshape(classes, classes)
