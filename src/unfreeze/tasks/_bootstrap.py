"""Bootstrap intervals of metrics, from rows drawn with replacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Statistic = Callable[[Rows], Mapping[str, float]]
LARGEST = 100_000


def bootstrap(
    statistic: Statistic, rows: int, resamples: int, seed: int, largest: int = LARGEST
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of each metric (Efron 1979).

    Parameters
    ----------
    statistic : callable (row indices) -> metrics by name
        Indices may repeat; they are what a resample drew.
    rows : int
        How many rows there are. None or one gives no interval.
    resamples : int
        0 gives no interval.
    largest : int
        More rows than this are not resampled in full: a resample then draws `largest` rows, and the
        deviations from the estimate are scaled by sqrt(largest / rows) (m-out-of-n bootstrap,
        Bickel, Götze and van Zwet 1997), which for a rate is the normal approximation.
    """
    found = resampled(statistic, rows, resamples, seed, largest)
    return {name: _percentiles(values) for name, values in found.items()}


def resampled(
    statistic: Statistic, rows: int, resamples: int, seed: int, largest: int = LARGEST
) -> dict[str, NDArray[np.float64]]:
    """Each metric in each resample, of shape (resamples,); {} where `bootstrap` gives no interval."""
    if resamples < 1 or rows < 2:
        return {}
    rng = np.random.default_rng(seed)
    estimate = statistic(np.arange(rows))
    size = min(rows, largest)
    draws = [statistic(rng.integers(0, rows, size=size)) for _ in range(resamples)]
    shrink = (size / rows) ** 0.5
    found = {}
    for name, center in estimate.items():
        values = np.array([draw[name] for draw in draws], dtype=np.float64)
        found[name] = center + (values - center) * shrink if shrink < 1 else values
    return found


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    # A resample can leave a metric undefined (a class that was not drawn); such draws do not count.
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (float("nan"), float("nan"))
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
