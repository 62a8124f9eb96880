"""Whether two runs differ by more than chance, on the test rows that both were scored on.

Intervals are those of a paired bootstrap: the same resampled rows are given to both runs, so that what makes rows easy
or hard for either cancels out (Efron and Tibshirani 1993; for such comparisons: Koehn 2004; Berg-Kirkpatrick, Burkett
and Klein 2012). What chance explains is asked of a test that is exact for few rows too, where a bootstrap sees too
little doubt: of shares of right rows the binomial test of the rows on which the runs differ (McNemar 1947), of other
metrics the swapping of the two answers of each row at random (Noreen 1989; Dror et al. 2018,
doi:10.18653/v1/P18-1128).
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

FEWEST_DIFFERING = 6
"""Rows on which runs differ, all in favour of one, below which no exact test says more than chance: 2 / 2⁶ < 0.05."""

LEAST_SWAPS = 199
SWAPPED_ROWS = 50_000_000
"""Rows times swaps, about, that a test looks at; never fewer swaps than the first, of which p can be 0.005."""


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
        columns = _stacked(first, second, left, right)
        exact = _exact(first.task, columns, len(left))
        for both in _both(first, columns, len(left), resamples):
            differences |= _differences(both, exact, seed)
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


def exact_p(better: int, worse: int) -> float:
    """How often chance alone splits so many differing rows as unevenly, two-sided.

    The exact binomial form of McNemar's test (1947); rows on which both are right, or both wrong, tell nothing.

    Parameters
    ----------
    better, worse : int
        Rows that only the first has right, and rows that only the second has right.
    """
    from scipy.special import bdtr  # all of scipy.stats would take longer to load than the rest of this takes

    return float(min(1.0, 2.0 * bdtr(min(better, worse), better + worse, 0.5)))


def chance_of_gain(gain: Array, seed: int = 0, draws: int = RESAMPLES) -> float:
    """How often chance alone gives a mean gain as large, two-sided, where either run is as likely to be ahead in a row.

    Parameters
    ----------
    gain : array of shape (rows,)
        How much better the first is than the second in each row. Of 1, 0 and -1 the test is exact (`exact_p`); of
        other numbers signs are flipped at random (Fisher's randomisation test).
    """
    gain = np.asarray(gain, dtype=np.float64)
    gain = gain[gain != 0]
    if not len(gain):
        return 1.0
    if np.all(np.abs(gain) == 1):
        return exact_p(int((gain > 0).sum()), int((gain < 0).sum()))
    draw, beyond = np.random.default_rng(seed), 0
    least = abs(float(gain.sum())) - 1e-9 * float(np.abs(gain).sum())  # sums in another order may differ by rounding
    for _ in range(draws):
        flipped = gain[draw.random(len(gain)) < 0.5].sum()
        beyond += abs(float(gain.sum() - 2 * flipped)) >= least
    return (beyond + 1) / (draws + 1)


@dataclass(frozen=True)
class _Both:
    """Metrics of rows of both runs, of which the first's stand before the second's.

    Parameters
    ----------
    statistic : callable (places from 0 to 2 · rows) -> metrics by name
    rows : int
        Of each run.
    draws : int
        Resamples, and swaps.
    largest : int
        Rows that a resample draws at most.
    """

    statistic: Statistic
    rows: int
    draws: int
    largest: int

    def difference(self, drawn: Rows) -> dict[str, float]:
        """First minus second on the same rows."""
        return self._minus(drawn, drawn + self.rows)

    def swapped(self, swap: Array) -> dict[str, float]:
        """First minus second where some rows were given to the other run."""
        places = np.arange(self.rows)
        return self._minus(places + self.rows * swap, places + self.rows * ~swap)

    def _minus(self, mine: Rows, others: Rows) -> dict[str, float]:
        one, two = self.statistic(mine), self.statistic(others)
        return {name: one[name] - two[name] for name in one}


def _differences(both: _Both, exact: Mapping[str, float], seed: int) -> dict[str, Difference]:
    values = both.difference(np.arange(both.rows))
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    draws = resampled(both.difference, both.rows, both.draws, seed, both.largest)
    p = {**_swaps(both, {name: value for name, value in values.items() if name not in exact}, seed), **exact}
    least = dict.fromkeys(exact, FEWEST_DIFFERING / both.rows)
    return {name: _difference(value, draws.get(name), p[name], least.get(name, 0.0)) for name, value in values.items()}


def _difference(value: float, draws: Array | None, p: float, least: float) -> Difference:
    finite = draws[np.isfinite(draws)] if draws is not None else np.zeros(0)
    if len(finite) < 2:
        return Difference(value, math.nan, math.nan, 1.0, math.nan)
    low, high = (float(each) for each in np.percentile(finite, [2.5, 97.5]))
    return Difference(value, low, high, p, max(least, POWERED * float(finite.std(ddof=1))))


def _swaps(both: _Both, values: Mapping[str, float], seed: int) -> dict[str, float]:
    """How often metrics differ as much where each row's two answers are dealt to the runs at random."""
    if not values:
        return {}
    draw = np.random.default_rng(seed)
    draws = min(both.draws, max(LEAST_SWAPS, SWAPPED_ROWS // both.rows))
    beyond, counted = dict.fromkeys(values, 0), dict.fromkeys(values, 0)
    for _ in range(draws):
        found = both.swapped(draw.random(both.rows) < 0.5)
        for name, value in values.items():
            if math.isfinite(found[name]):
                counted[name] += 1
                beyond[name] += abs(found[name]) >= abs(value) * (1 - 1e-9) - 1e-12
    return {name: (beyond[name] + 1) / (counted[name] + 1) for name in values}


def _exact(task: str, columns: Mapping[str, Array], rows: int) -> dict[str, float]:
    """The exact p of the metric that is a share of right rows."""
    if task == "regression":
        return {}
    right = columns["true"] == columns["predicted"]
    right = right.all(axis=1) if right.ndim > 1 else right
    one, two = right[:rows], right[rows:]
    p = exact_p(int((one & ~two).sum()), int((two & ~one).sum()))
    return {"accuracy" if task == "classification" else "subset_accuracy": p}


def _stacked(first: Predictions, second: Predictions, left: Array, right: Array) -> dict[str, Array]:
    """The rows of the first, then those of the second, in the first's order of labels."""
    mine = {name: column[left] for name, column in first.columns.items()}
    others = {name: column[right] for name, column in second.columns.items()}
    order = np.array([second.labels.index(label) for label in first.labels], dtype=np.intp)
    if first.task == "classification":
        place = np.argsort(order)
        others |= {name: place[others[name]] for name in ("true", "predicted")}
    elif first.task == "multilabel":
        others = {name: column[:, order] for name, column in others.items()}
    return {name: np.concatenate([mine[name], others[name]]) for name in mine}


def _both(side: Predictions, columns: Mapping[str, Array], rows: int, resamples: int) -> list[_Both]:
    """The task's metrics as functions of places among the stacked rows; how many draws, and how large, at most."""
    if side.task == "regression":
        return [_Both(_of_numbers(columns, rows), rows, resamples, 100_000)]
    if side.task == "classification":
        return [_Both(_of_classes(columns, len(side.labels)), rows, resamples, 100_000)]
    fewer = max(LEAST_SWAPS, min(400, PRECISION_CELLS // (2 * max(1, columns["true"].size))))
    return [
        _Both(_of_labels(columns), rows, resamples, max(1000, LARGEST // max(1, len(side.labels)))),
        _Both(_precision(columns), rows, min(resamples, fewer), 100_000),
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


def _of_numbers(columns: Mapping[str, Array], rows: int) -> Statistic:
    """Ranks are those within each run, taken once."""
    from scipy.stats import rankdata

    true, predicted = columns["true"].astype(np.float64), columns["predicted"].astype(np.float64)
    true_ranks, predicted_ranks = (
        np.concatenate([rankdata(values[:rows]), rankdata(values[rows:])]) for values in (true, predicted)
    )

    def statistic(drawn: Rows) -> dict[str, float]:
        return number_metrics(true[drawn], predicted[drawn], true_ranks[drawn], predicted_ranks[drawn])

    return statistic
