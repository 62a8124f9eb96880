"""A threshold for each group: decisions by which groups are selected, or rightly selected, at the same rate.

Chosen on validation, told on the test. Thresholds are fixed numbers: fairlearn's ThresholdOptimizer (Hardt et al. 2016,
arXiv:1610.02413) meets its constraint exactly by drawing lots between two of them, so that the same person may get
another answer the next time; here the constraint is met as nearly as validation allows, and the same input always gets
the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.data.manifest import Examples, Manifest
from unfreeze.errors import RunError, nearest
from unfreeze.evidence._gaps import FEW, SMALL
from unfreeze.train.files import read_json, write_json

Array = NDArray[Any]

FILE = "group_thresholds.json"

CRITERIA = {
    "equal-opportunity": "of the rows that are truly positive, every group has the same share recognised",
    "equal-selection": "every group has the same share taken as positive",
}

COMMON = 0.5
RATES = np.linspace(0.01, 0.99, 99)

CAVEAT = (
    "Deciding by group membership treats people differently because of it. Depending on place and purpose that may be "
    "required, allowed or forbidden by law (such as anti-discrimination law), and it needs the group of each person at "
    "prediction. The criteria exclude each other in general (Chouldechova 2017; Kleinberg et al. 2017), and equal "
    "rates can be had by making decisions worse for everyone: look at what accuracy costs, and let those decide who "
    "answer for it."
)


def choose(
    scores: Array, positive: Array, groups: Array, names: Sequence[str], criterion: str, metric: str
) -> dict[str, float]:
    """A threshold on the positive class's probability for each group that has enough rows.

    Of the common rates 1 % to 99 % the one is taken at which decisions for all rows are best by the metric.

    Parameters
    ----------
    scores : array of shape (rows,)
        Probability of the positive class, before calibration, on validation.
    positive : array of bool of shape (rows,)
    groups : array of int of shape (rows,)
    criterion : a key of CRITERIA
    metric : "accuracy", "balanced_accuracy" or "macro_f1"; any other counts as accuracy
    """
    curves: dict[int, Array] = {}
    for number in range(len(names)):
        mine = groups == number
        counted = scores[mine & positive] if criterion == "equal-opportunity" else scores[mine]
        if len(counted) >= (FEW if criterion == "equal-opportunity" else SMALL):
            curves[number] = np.quantile(counted, 1 - RATES, method="lower")
    if len(curves) < 2:
        return {}
    quality = np.array(
        [_quality(_decisions(scores, groups, curves, place), positive, metric) for place in range(len(RATES))]
    )
    # Of rates that are as good, the one that is nearest to what the common threshold gives.
    usual = np.mean(scores[positive] >= COMMON) if criterion == "equal-opportunity" else np.mean(scores >= COMMON)
    equal = np.flatnonzero(quality >= quality.max() - 1e-12)
    best = int(equal[np.abs(RATES[equal] - usual).argmin()])
    return {names[number]: float(curve[best]) for number, curve in curves.items()}


def _decisions(scores: Array, groups: Array, curves: Mapping[int, Array], place: int) -> Array:
    limits = np.full(int(groups.max(initial=0)) + 1, COMMON)
    for number, curve in curves.items():
        limits[number] = curve[place]
    found: Array = scores >= limits[groups]
    return found


def _quality(given: Array, positive: Array, metric: str) -> float:
    hits, misses = (given & positive).sum(), (~given & positive).sum()
    false, right = (given & ~positive).sum(), (~given & ~positive).sum()
    if metric == "balanced_accuracy":
        return float((hits / max(1, hits + misses) + right / max(1, right + false)) / 2)
    if metric == "macro_f1":
        return float(hits / max(1, 2 * hits + misses + false) + right / max(1, 2 * right + misses + false))
    return float((hits + right) / len(given))


def decided(scores: Array, groups: Sequence[str], thresholds: Mapping[str, float]) -> Array:
    """Which rows are positive; groups without a threshold of their own have the common one of 0.5."""
    limits = np.array([thresholds.get(name, COMMON) for name in groups])
    found: Array = scores >= limits
    return found


def write_thresholds(folder: Path, positive: str, columns: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Keep them beside the model: {column: {criterion: {group: threshold}}}."""
    write_json(folder / FILE, {"positive": positive, "columns": columns, "caveat": CAVEAT})


def thresholds_of(folder: Path, column: str, criterion: str) -> tuple[str, dict[str, float]]:
    """The positive label, and the threshold of each group of a column.

    Raises
    ------
    RunError
        If the run has none for that column and criterion.
    """
    if criterion not in CRITERIA:
        raise RunError(f"Unknown criterion '{criterion}'. {nearest(criterion, CRITERIA)}")
    try:
        content = read_json(folder / FILE)
        columns, positive = dict(content["columns"]), str(content["positive"])
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"The run '{folder}' has no thresholds for groups. They are chosen for two labels, with the group's column "
            "in evaluation.slices, where there are validation and test rows."
        ) from None
    if column not in columns:
        raise RunError(f"The run '{folder}' has no thresholds by '{column}'. {nearest(column, columns)}")
    if criterion not in columns[column]:
        raise RunError(f"For '{criterion}' by '{column}' too few validation rows were there in each group.")
    return positive, {str(name): float(value) for name, value in columns[column][criterion].items()}


@dataclass(frozen=True)
class ByGroup:
    """Decides between two labels by the threshold of each row's group.

    Parameters
    ----------
    labels : the two labels, in the order of the outputs
    positive : number of the positive one
    groups : the group of each row that is predicted
    """

    labels: tuple[str, ...]
    positive: int
    thresholds: Mapping[str, float]
    groups: Sequence[str]

    def decide(
        self, rows: Sequence[int], decoded: Sequence[Mapping[str, Any]], outputs: Tensor
    ) -> list[dict[str, Any]]:
        """Decoded predictions with their labels decided anew; each says its group and the threshold that was used.

        Parameters
        ----------
        rows : numbers of the rows
        outputs : Tensor of shape (rows, 2)
            As the model gives them: thresholds are on probabilities before calibration.
        """
        scores = outputs.double().softmax(dim=-1)[:, self.positive].numpy()
        groups = [self.groups[row] for row in rows]
        found = []
        for told, group, yes in zip(decoded, groups, decided(scores, groups, self.thresholds), strict=True):
            label = self.labels[self.positive if yes else 1 - self.positive]
            own = {"group": group, "threshold": self.thresholds.get(group, COMMON)}
            found.append({**told, "prediction": label, **own})
        return found


def by_group(folder: Path, manifest: Manifest, column: str, criterion: str, examples: Examples) -> ByGroup:
    """What decides rows of new data, which have to hold the group's column.

    Raises
    ------
    RunError
        If the run has no such thresholds, or the data no such column.
    """
    positive, thresholds = thresholds_of(folder, column, criterion)
    if column not in examples.meta:
        raise RunError(f"Thresholds by '{column}' need that column in the data, with the group of each row.")
    return ByGroup(manifest.labels, manifest.labels.index(positive), thresholds, examples.meta[column])
