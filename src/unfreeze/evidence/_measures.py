"""Figures of many groups at once, as functions of sums over rows: fast enough to be resampled a thousand times.

Each row gives a few numbers (right or not, its probability, one hit of its class); figures follow from their sums
within each cell, which is a group, or a group in one of many bootstrap samples or permutations. fairlearn's MetricFrame
has the same figures, and the tests compare; it calls each metric once for each group through pandas, which takes
minutes for what is resampled here in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from unfreeze.tasks._metrics import BINS, Ranking, rank

Array = NDArray[Any]
Figures = dict[str, Array]

MOST_CELLS = 300_000_000
"""Rows times labels times groups times draws, about, that figures which are no sums may look at."""

TOGETHER = 4096

BINARY = ("true_positive_rate", "false_positive_rate", "selection_rate")


@dataclass(frozen=True)
class Measure:
    """How a figure is read: its name for people, and whether more of it is better (1), worse (-1) or neither (0).

    `signed` figures are best at 0. `ratio` says that the quotient of two of them means something. `tested` ones are
    those of which a gap is judged; the others follow from them or depend on the group's size.
    """

    said: str
    better: int = 0
    signed: bool = False
    ratio: bool = True
    tested: bool = True


MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", 1),
    "balanced_accuracy": Measure("balanced accuracy", 1, tested=False),
    "macro_f1": Measure("macro F1", 1, tested=False),
    "micro_f1": Measure("micro F1", 1),
    "subset_accuracy": Measure("all labels right", 1, tested=False),
    "mean_average_precision": Measure("mean average precision", 1, tested=False),
    "nll": Measure("log loss", -1, ratio=False, tested=False),
    "true_positive_rate": Measure("true positive rate", 1),
    "false_positive_rate": Measure("false positive rate", -1),
    "selection_rate": Measure("selection rate"),
    "ece": Measure("calibration error", -1, ratio=False, tested=False),
    "overconfidence": Measure("overconfidence", signed=True, ratio=False),
    "mae": Measure("mean absolute error", -1),
    "rmse": Measure("root mean squared error", -1, tested=False),
    "r2": Measure("R²", 1, ratio=False, tested=False),
    "spearman": Measure("rank correlation", 1, ratio=False, tested=False),
    "bias": Measure("mean error", signed=True, ratio=False),
}


@dataclass(frozen=True)
class Rows:
    """What the figures of a set of rows are made from.

    Parameters
    ----------
    parts : sparse matrix of shape (rows, parts)
        Numbers of each row that are summed within groups.
    figures : callable (sums of shape (groups, parts)) -> dict of arrays of shape (groups,)
    support : callable of the same kind
        For some figures how many rows they rest on, such as the positives of a true positive rate.
    shares : sequence of str
        Figures that are a share of so many rows, each of which counts once.
    beyond : callable (weights of shape (rows,)) -> dict of float, optional
        Figures of one group that are no sums.
    """

    parts: csr_matrix
    figures: Callable[[Array], Figures]
    support: Callable[[Array], Figures]
    shares: Sequence[str] = ()
    beyond: Callable[[Array], Mapping[str, float]] | None = None

    def __len__(self) -> int:
        return int(self.parts.shape[0])

    def sums(self, cells: Array, count: int, rows: Array | None = None) -> Array:
        """Sums of each cell, of shape (cells, parts).

        Parameters
        ----------
        cells : array of int
            The cell of each row; with `rows`, of each of those.
        count : int
            How many cells there are.
        rows : array of int, optional
            Numbers of rows, which may repeat.
        """
        rows = np.arange(len(cells)) if rows is None else rows
        member = csr_matrix((np.ones(len(rows)), (cells, rows)), shape=(count, len(self)))
        found: Array = (member @ self.parts).toarray()
        return found

    def __call__(self, cells: Array, count: int, rows: Array | None = None) -> Figures:
        """Every figure that is a function of sums, for each cell; cells without rows have nan."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.figures(self.sums(cells, count, rows))

    def others(self, groups: Array, count: int, weights: Array | None = None) -> Figures:
        """The figures that are no sums, for each group."""
        if self.beyond is None:
            return {}
        weights = np.ones(len(groups)) if weights is None else weights
        each = [self.beyond(np.where(groups == number, weights, 0)) for number in range(count)]
        return {name: np.array([one[name] for one in each]) for name in each[0]}


def of_classes(outputs: Array, targets: Array, classes: int, positive: int | None = None) -> Rows:
    """Figures of one label of several.

    Parameters
    ----------
    outputs : array of shape (rows, classes)
        Logits.
    targets : array of int of shape (rows,)
    positive : int, optional
        Of two classes the one whose rates are told. Of more, rates are means over the classes, each against all
        others, and there is no selection rate.
    """
    return of_decisions(outputs, outputs.argmax(axis=1), targets, classes, positive)


def of_decisions(outputs: Array, predicted: Array, targets: Array, classes: int, positive: int | None) -> Rows:
    """As `of_classes`, for decisions that are not simply the most likely class."""
    rows = np.arange(len(targets))
    right = predicted == targets
    total = _logsumexp(outputs)
    top = np.exp(outputs[rows, predicted] - total)
    bins = np.minimum((top * BINS).astype(np.intp), BINS - 1)
    one = np.ones(len(targets))
    blocks = [
        _dense(one, right, top, total - outputs[rows, targets]),
        _indicator(bins, BINS, top - right),
        _indicator(targets, classes, right),
        _indicator(targets, classes, one),
        _indicator(predicted, classes, one),
    ]

    def split(sums: Array) -> tuple[Array, ...]:
        ends = np.cumsum([4, BINS, classes, classes, classes])
        return tuple(np.split(sums, ends[:-1], axis=1))

    def figures(sums: Array) -> Figures:
        plain, gaps, hits, actual, claimed = split(sums)
        count = plain[:, 0]
        seen = np.where(actual > 0, hits / actual, np.nan)
        others = count[:, None] - actual
        false = np.where(others > 0, (claimed - hits) / others, np.nan)
        told = actual + claimed > 0
        f1 = np.where(told, 2 * hits / (actual + claimed), 0.0)
        found = {
            "accuracy": plain[:, 1] / count,
            "balanced_accuracy": _mean(seen),
            "macro_f1": np.where(told.any(axis=1), f1.sum(axis=1) / told.sum(axis=1), np.nan),
            "nll": plain[:, 3] / count,
            "true_positive_rate": _mean(seen) if positive is None else seen[:, positive],
            "false_positive_rate": _mean(false) if positive is None else false[:, positive],
            "ece": np.abs(gaps).sum(axis=1) / count,
            "overconfidence": (plain[:, 2] - plain[:, 1]) / count,
        }
        if positive is not None:
            found["selection_rate"] = claimed[:, positive] / count
        return found

    def support(sums: Array) -> Figures:
        plain, _, _, actual, _ = split(sums)
        rows_ = plain[:, 0]
        if positive is None:
            return {"accuracy": rows_}
        yes = actual[:, positive]
        rates = {"true_positive_rate": yes, "false_positive_rate": rows_ - yes, "selection_rate": rows_}
        return {"accuracy": rows_, **rates}

    shares = ["accuracy"] if positive is None else ["accuracy", *BINARY]
    return Rows(_joined(blocks), figures, support, shares)


def of_labels(outputs: Array, targets: Array, precision: bool = False) -> Rows:
    """Figures of any number of labels for each row, each label of each row a decision; both of shape (rows, labels).

    Parameters
    ----------
    targets : array of bool
    precision : bool
        Whether mean_average_precision is wanted too, which is no sum over rows and takes long.
    """
    given = outputs >= 0
    shares = 1 / (1 + np.exp(-np.clip(outputs, -60, 60)))
    hits = targets & given
    labels = outputs.shape[1]
    surest = np.maximum(shares, 1 - shares)
    wrong = surest - (given == targets)
    bins = np.minimum((surest * BINS).astype(np.intp), BINS - 1)
    gaps = np.stack([(wrong * (bins == number)).sum(axis=1) for number in range(BINS)], axis=1)
    plain = _dense(np.ones(len(outputs)), (given == targets).all(axis=1), wrong.sum(axis=1))
    blocks = [plain, csr_matrix(gaps), *(csr_matrix(part.astype(np.float64)) for part in (hits, targets, given))]

    def split(sums: Array) -> tuple[Array, ...]:
        ends = np.cumsum([3, BINS, labels, labels, labels])
        return tuple(np.split(sums, ends[:-1], axis=1))

    def figures(sums: Array) -> Figures:
        counts, gaps_, right, actual, claimed = split(sums)
        rows, cells = counts[:, 0], counts[:, 0] * labels
        total, f1 = (actual + claimed).sum(axis=1), 2 * right / np.maximum(1, actual + claimed)
        negative = cells - actual.sum(axis=1)
        return {
            "micro_f1": np.where(rows > 0, 2 * right.sum(axis=1) / np.maximum(1, total), np.nan),
            "macro_f1": np.where(rows > 0, f1.mean(axis=1), np.nan),
            "subset_accuracy": counts[:, 1] / rows,
            "true_positive_rate": right.sum(axis=1) / actual.sum(axis=1),
            "false_positive_rate": (claimed - right).sum(axis=1) / negative,
            "selection_rate": claimed.sum(axis=1) / cells,
            "ece": np.abs(gaps_).sum(axis=1) / cells,
            "overconfidence": counts[:, 2] / cells,
        }

    def support(sums: Array) -> Figures:
        yes, rows = split(sums)[3].sum(axis=1), sums[:, 0]
        return {"true_positive_rate": yes, "false_positive_rate": rows * labels - yes, "subset_accuracy": rows}

    beyond = _precision(rank(targets, outputs)) if precision else None
    return Rows(_joined(blocks), figures, support, ["subset_accuracy"], beyond)


def of_numbers(outputs: Array, targets: Array) -> Rows:
    """Figures of regression; both of shape (rows,), in the target's own unit. Ranks are those among all rows."""
    from scipy.stats import rankdata

    error = outputs - targets
    middle = targets.mean() if len(targets) else 0.0  # off both, so that squares stay small
    y = targets - middle
    a, b = (rankdata(values) / max(1, len(values)) for values in (targets, outputs))
    parts = _dense(np.ones(len(y)), error, np.abs(error), error**2, y, y**2, a, b, a * a, b * b, a * b)

    def figures(sums: Array) -> Figures:
        n, e, absolute, squares, s, ss, ra, rb, raa, rbb, rab = sums.T
        spread = ss - s * s / n
        scale = np.sqrt(np.maximum(0, raa - ra * ra / n) * np.maximum(0, rbb - rb * rb / n))
        return {
            "mae": absolute / n,
            "rmse": np.sqrt(squares / n),
            "r2": np.where(spread > 1e-12 * np.maximum(ss, 1e-300), 1 - squares / spread, np.nan),
            "spearman": np.where(scale > 1e-12, (rab - ra * rb / n) / scale, np.where(n > 0, 0.0, np.nan)),
            "bias": e / n,
        }

    return Rows(parts, figures, lambda sums: {})


def _precision(ranking: Ranking) -> Callable[[Array], Mapping[str, float]]:
    def figure(weights: Array) -> Mapping[str, float]:
        each = ranking.average_precisions(weights)
        defined = each[np.isfinite(each)]
        return {"mean_average_precision": float(defined.mean()) if len(defined) else float("nan")}

    return figure


def _mean(shares: Array) -> Array:
    """Means of rows over what is there."""
    there = np.isfinite(shares)
    found: Array = np.where(there, shares, 0.0).sum(axis=1) / there.sum(axis=1)
    return found


def _logsumexp(outputs: Array) -> Array:
    """Of each row; some rows at a time, since outputs of a thousand classes are large."""
    found = np.empty(len(outputs))
    for start in range(0, len(outputs), TOGETHER):
        some = outputs[start : start + TOGETHER].astype(np.float64)
        top = some.max(axis=1)
        found[start : start + TOGETHER] = top + np.log(np.exp(some - top[:, None]).sum(axis=1))
    return found


def _dense(*columns: Array) -> csr_matrix:
    return csr_matrix(np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1))


def _indicator(places: Array, width: int, values: Array) -> csr_matrix:
    """One value per row, in the column that its place names."""
    rows = np.arange(len(places))
    return csr_matrix((np.asarray(values, dtype=np.float64), (rows, places)), shape=(len(places), width))


def _joined(blocks: list[csr_matrix]) -> csr_matrix:
    from scipy.sparse import hstack

    return csr_matrix(hstack(blocks))
