"""Bootstrap intervals of many figures at once, where each is a function of means over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unfreeze.tasks._bootstrap import LARGEST, unbiased, wilson_ends

Array: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[Array], Array]
"""(…, columns) -> (…): means of the columns to a figure, for one or many draws at once."""

CELLS = 4_000_000
"""Resamples times rows that are held in memory at a time."""


@dataclass(frozen=True)
class Resampled:
    """Means of columns over all rows, and over rows drawn with replacement.

    Parameters
    ----------
    means : array of shape (columns,)
    draws : array of shape (resamples, columns)
    shrink : float
        What deviations of the draws are multiplied by, where a draw holds fewer rows than there are (m-out-of-n
        bootstrap, Bickel, Götze and van Zwet 1997).
    """

    means: Array
    draws: Array
    shrink: float

    def part(self, columns: slice) -> Resampled:
        """Some of the columns."""
        return Resampled(self.means[columns], self.draws[:, columns], self.shrink)

    def column(self, number: int) -> dict[str, float | None]:
        """The mean of one column with its interval."""
        return self.figure(lambda means: means[..., number])

    def share(self, part: int, whole: int) -> dict[str, float | None]:
        """The mean of one column relative to that of another; without a value where that is 0."""
        return self.figure(lambda means: _ratio(means[..., part], means[..., whole]))

    def figure(self, statistic: Statistic, *, biased: bool = False) -> dict[str, float | None]:
        """A figure as `value`, `low` and `high` of its 95 % percentile interval (None without resamples).

        Parameters
        ----------
        biased : bool
            The figure grows with the noise of what it is made of, as sums of absolute differences do: the draws'
            mean excess over the estimate is taken off them.
        """
        value = float(statistic(self.means))
        drawn = statistic(self.draws)
        drawn = drawn[np.isfinite(drawn)]
        if not len(drawn) or not np.isfinite(value):
            return {"value": value, "low": None, "high": None}
        if self.shrink < 1:
            drawn = value + (drawn - value) * self.shrink
        if biased:
            drawn = unbiased(drawn, value)
        low, high = map(float, np.percentile(drawn, [2.5, 97.5]))
        return {"value": value, "low": low, "high": high}


def widened(figure: dict[str, float | None], entries: float) -> dict[str, float | None]:
    """A share with the wider of its bootstrap interval and Wilson's (1927) for so many independent entries.

    Of a few entries that are all alike every resample is alike too, which is no certainty.
    """
    share = figure["value"]
    if share is None or not np.isfinite(share) or entries <= 0 or figure["low"] is None or figure["high"] is None:
        return figure
    low, high = wilson_ends(share, entries)
    return {"value": share, "low": max(0.0, min(low, figure["low"])), "high": min(1.0, max(high, figure["high"]))}


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return part / whole


def resample(columns: NDArray[Any], resamples: int, seed: int) -> Resampled:
    """Draw rows with replacement, as often as asked.

    Parameters
    ----------
    columns : array of shape (rows, columns)
        What each row contributes to each mean.
    """
    rows = len(columns)
    values = np.ascontiguousarray(columns, dtype=np.float64)
    size = min(rows, LARGEST)
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, values.shape[1]))
    step = max(1, CELLS // max(1, rows))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        weights = np.stack([np.bincount(rng.integers(0, rows, size=size), minlength=rows) for _ in range(count)])
        draws[start : start + count] = weights.astype(np.float64) @ values / size
    return Resampled(values.mean(axis=0), draws, (size / rows) ** 0.5)
