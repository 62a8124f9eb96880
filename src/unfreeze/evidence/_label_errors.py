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

PARTS = 20
"""Of the rows, each left out once for the interval of the share of errors."""


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
    # As many as confident learning counts, those first whose own label is least likely: with planted flips in 2 to 77
    # classes that found more of them among fewer suspects than cleanlab's other filters.
    suspect = np.asarray(find_label_issues(given, shares, filter_by="low_self_confidence", n_jobs=1))
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


def share_of_errors(shares: Array, given: Array, seed: int) -> dict[str, float | None]:
    """The estimated share of wrong labels among rows of one label of several, and its 95 % interval.

    It is the share of rows that are confidently counted as another class. The interval tells how far chance in the
    choice of rows goes: by leaving out a twentieth at a time (jackknife, Tukey 1958), since in a bootstrap classes of
    few rows would lose most of theirs. The judge's own mistakes come on top: where it is often wrong with confidence,
    the share is too large.
    """
    from cleanlab.count import num_label_issues

    def share(rows: Array) -> float:
        if len(np.unique(given[rows])) < 2:
            return float("nan")
        return float(num_label_issues(given[rows], shares[rows])) / len(rows)

    everything = np.arange(len(given))
    value = share(everything)
    fold = np.random.default_rng(seed).permutation(len(given)) % PARTS
    without = np.array([share(everything[fold != part]) for part in range(PARTS)])
    if not np.isfinite(without).all() or not np.isfinite(value):
        return {"value": value if np.isfinite(value) else None, "low": None, "high": None}
    reach = 1.96 * float(np.sqrt((PARTS - 1) * np.var(without)))
    return {"value": value, "low": max(0.0, value - reach), "high": min(1.0, value + reach)}
