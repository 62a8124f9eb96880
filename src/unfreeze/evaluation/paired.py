"""Whether two runs differ by more than chance: a paired bootstrap over the test rows that both were scored on.

The same resampled rows are given to both runs, so that what makes rows easy or hard for either cancels out (Efron and
Tibshirani 1993; for such comparisons: Koehn 2004; Berg-Kirkpatrick, Burkett and Klein 2012).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.errors import RunError
from unfreeze.tasks._bootstrap import Rows, Statistic, resampled
from unfreeze.tasks._metrics import class_metrics, label_metrics, number_metrics, rank
from unfreeze.tasks.multilabel import LARGEST, PRECISION_CELLS

Array = NDArray[Any]

RESAMPLES = 1000
LEVEL = 0.05
POWERED = 1.959964 + 0.841621
"""Standard errors by which two runs must differ truly for the difference to be found four times out of five."""


@dataclass(frozen=True)
class Predictions:
    """What a run said of each test row, in the form that its task's metrics read.

    `origin` and `target` tell rows apart; the arrays of `columns` have one entry for each row.
    """

    task: str
    labels: tuple[str, ...]
    origin: tuple[str, ...]
    target: tuple[Any, ...]
    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.origin)


@dataclass(frozen=True)
class Difference:
    """How much a metric differs: first minus second.

    Parameters
    ----------
    low, high : float
        95 % interval.
    p : float
        How often chance alone gives a difference this large, two-sided; after Holm where several are told together.
    detectable : float
        The smallest true difference that this many rows show in four of five tests.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float

    @property
    def clear(self) -> bool:
        """Whether chance explains it in less than one of twenty cases."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Paired:
    """Two runs on the rows that they share: `rows` of them, beside those that only one has or whose targets differ."""

    rows: int
    only_first: int
    only_second: int
    changed: int
    differences: dict[str, Difference]

    @property
    def same_test(self) -> bool:
        """Whether both were tested on exactly the same rows."""
        return not (self.only_first or self.only_second or self.changed)


# ----------------------------------------------------------------------------------------------- reading


def read_predictions(path: Path, task: str, labels: Sequence[str]) -> Predictions:
    """The predictions that a run wrote of its test rows, read line by line, since all probabilities may be many.

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    take = _TAKE.get(task)
    if take is None:
        raise RunError(f"Runs of the task '{task}' cannot be compared row by row.")
    positions = {label: place for place, label in enumerate(labels)}
    origin: list[str] = []
    target: list[Any] = []
    found: list[tuple[Any, ...]] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                origin.append(str(row["origin"]))
                target.append(_plain(row["target"]))
                found.append(take(row, positions))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{path}' is missing or damaged ({type(error).__name__}: {error}).") from None
    return Predictions(task, tuple(labels), tuple(origin), tuple(target), _columns(task, found))


def _plain(target: Any) -> Any:
    return tuple(sorted(target)) if isinstance(target, list) else target


def _class_row(row: Mapping[str, Any], positions: Mapping[str, int]) -> tuple[int, int, float, float]:
    """True and given label, the probability of the given one, and that of the true one (nan where it was not kept)."""
    shares = row["probabilities"]
    likely = shares.get(str(row["target"]))
    given = str(row["prediction"])
    return positions[str(row["target"])], positions[given], shares[given], math.nan if likely is None else likely


def _label_row(row: Mapping[str, Any], positions: Mapping[str, int]) -> tuple[Array, Array, Array]:
    true, given = (np.zeros(len(positions), dtype=bool) for _ in range(2))
    true[[positions[str(label)] for label in _listed(row["target"])]] = True
    given[[positions[str(label)] for label in row["prediction"]]] = True
    scores = np.zeros(len(positions), dtype=np.float32)
    for label, share in row["probabilities"].items():
        scores[positions[label]] = share
    return true, given, scores


def _listed(target: Any) -> Sequence[Any]:
    return target if isinstance(target, list) else [target]


def _number_row(row: Mapping[str, Any], _: Mapping[str, int]) -> tuple[float, float]:
    return float(row["target"]), float(row["prediction"])


_TAKE: dict[str, Callable[[Mapping[str, Any], Mapping[str, int]], tuple[Any, ...]]] = {
    "classification": _class_row,
    "multilabel": _label_row,
    "regression": _number_row,
}
_NAMES = {
    "classification": ("true", "predicted", "top", "likely"),
    "multilabel": ("true", "predicted", "scores"),
    "regression": ("true", "predicted"),
}


def _columns(task: str, rows: Sequence[tuple[Any, ...]]) -> dict[str, Array]:
    return {name: np.array([row[place] for row in rows]) for place, name in enumerate(_NAMES[task])}


# ---------------------------------------------------------------------------------------------- matching


def match(first: Predictions, second: Predictions) -> tuple[Array, Array]:
    """Positions of the rows that both have, by origin; by file name where the folders differ. Targets may differ."""
    for key in (str, _name):
        left, right = (_numbered(side.origin, key) for side in (first, second))
        both = [origin for origin in left if origin in right]
        if both:
            return np.array([left[origin] for origin in both]), np.array([right[origin] for origin in both])
    return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)


def _name(origin: str) -> str:
    return PurePath(origin).name


def _numbered(origins: Sequence[str], key: Callable[[str], str]) -> dict[tuple[str, int], int]:
    """Position by origin; of rows with the same origin by their order too."""
    seen: Counter[str] = Counter()
    found = {}
    for place, origin in enumerate(map(key, origins)):
        found[origin, seen[origin]] = place
        seen[origin] += 1
    return found


# --------------------------------------------------------------------------------------------- comparing


def compare(first: Predictions, second: Predictions, resamples: int = RESAMPLES, seed: int = 0) -> Paired:
    """Each metric's difference on the rows that both runs were scored on.

    Raises
    ------
    RunError
        If tasks or labels differ.
    """
    if first.task != second.task or set(first.labels) != set(second.labels):
        raise RunError("Runs of different tasks or labels cannot be compared row by row.")
    left, right = match(first, second)
    same = np.array([first.target[a] == second.target[b] for a, b in zip(left, right, strict=True)], dtype=bool)
    changed = int((~same).sum())
    left, right = left[same], right[same]
    differences: dict[str, Difference] = {}
    if len(left):
        one, two = _statistics(first, left), _statistics(second, right, first.labels)
        for (a, draws, largest), (b, _, _) in zip(one, two, strict=True):
            differences |= _differences(_minus(a, b), len(left), min(resamples, draws or resamples), seed, largest)
    lost = changed + len(left)
    return Paired(len(left), len(first) - lost, len(second) - lost, changed, differences)


def holm(pairs: Sequence[Difference]) -> list[Difference]:
    """The same differences with p for all of them together (Holm 1979): the best of many is not found by luck."""
    order = sorted(range(len(pairs)), key=lambda place: pairs[place].p)
    adjusted, least = [0.0] * len(pairs), 0.0
    for rank_, place in enumerate(order):
        least = max(least, min(1.0, (len(pairs) - rank_) * pairs[place].p))
        adjusted[place] = least
    return [
        Difference(pair.value, pair.low, pair.high, p, pair.detectable) for pair, p in zip(pairs, adjusted, strict=True)
    ]


def _minus(first: Statistic, second: Statistic) -> Statistic:
    def statistic(drawn: Rows) -> dict[str, float]:
        one, two = first(drawn), second(drawn)
        return {name: one[name] - two[name] for name in one}

    return statistic


def _differences(statistic: Statistic, rows: int, resamples: int, seed: int, largest: int) -> dict[str, Difference]:
    values = statistic(np.arange(rows))
    draws = resampled(statistic, rows, resamples, seed, largest)
    return {name: _difference(value, draws.get(name)) for name, value in values.items() if math.isfinite(value)}


def _difference(value: float, draws: Array | None) -> Difference:
    finite = draws[np.isfinite(draws)] if draws is not None else np.zeros(0)
    if len(finite) < 2:
        return Difference(value, math.nan, math.nan, 1.0, math.nan)
    low, high = (float(each) for each in np.percentile(finite, [2.5, 97.5]))
    beyond = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(finite) + 1))
    return Difference(value, low, high, p, POWERED * float(finite.std(ddof=1)))


def _statistics(
    side: Predictions, rows: Array, labels: Sequence[str] | None = None
) -> list[tuple[Statistic, int | None, int]]:
    """The task's metrics over some rows as functions of resampled places; how many resamples, and how large, at most.

    `labels` is the order of labels that both sides share.
    """
    columns = {name: column[rows] for name, column in side.columns.items()}
    order = None if labels is None else np.array([side.labels.index(label) for label in labels], dtype=np.intp)
    if side.task == "regression":
        return [(_of_numbers(columns), None, 100_000)]
    if side.task == "classification":
        if order is not None:
            place = np.argsort(order)
            columns |= {name: place[columns[name]] for name in ("true", "predicted")}
        return [(_of_classes(columns, len(side.labels)), None, 100_000)]
    if order is not None:
        columns = {name: column[:, order] for name, column in columns.items()}
    cells = max(1, columns["true"].size)
    fewer = max(50, min(400, PRECISION_CELLS // (2 * cells)))
    return [
        (_of_labels(columns), None, max(1000, LARGEST // max(1, len(side.labels)))),
        (_precision(columns), fewer, 100_000),
    ]


def _of_classes(columns: Mapping[str, Array], classes: int) -> Statistic:
    true, predicted = columns["true"].astype(np.int32), columns["predicted"].astype(np.int32)
    top = columns["top"].astype(np.float64)
    surprise = -np.log(np.clip(columns["likely"].astype(np.float64), 1e-12, 1.0))

    def statistic(drawn: Rows) -> dict[str, float]:
        return class_metrics(true[drawn], predicted[drawn], top[drawn], surprise[drawn], classes)

    return statistic


def _of_labels(columns: Mapping[str, Array]) -> Statistic:
    return lambda drawn: label_metrics(columns["true"][drawn], columns["predicted"][drawn])


def _precision(columns: Mapping[str, Array]) -> Statistic:
    ranking = rank(columns["true"], columns["scores"])
    rows = len(columns["true"])

    def statistic(drawn: Rows) -> dict[str, float]:
        each = ranking.average_precisions(np.bincount(drawn, minlength=rows))
        defined = each[np.isfinite(each)]
        return {"mean_average_precision": float(defined.mean()) if len(defined) else math.nan}

    return statistic


def _of_numbers(columns: Mapping[str, Array]) -> Statistic:
    from scipy.stats import rankdata

    true, predicted = columns["true"].astype(np.float64), columns["predicted"].astype(np.float64)
    true_ranks, predicted_ranks = rankdata(true), rankdata(predicted)

    def statistic(drawn: Rows) -> dict[str, float]:
        return number_metrics(true[drawn], predicted[drawn], true_ranks[drawn], predicted_ranks[drawn])

    return statistic
