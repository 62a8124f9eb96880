"""Bootstrap intervals of metrics, from rows drawn with replacement, and what to do where these see no doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Statistic = Callable[[Rows], Mapping[str, float]]
LARGEST = 100_000

Z = 1.959963984540054

SHARES = frozenset({"accuracy", "subset_accuracy"})
"""Metrics that are shares of rows: their intervals are never narrower than Wilson's."""

BIASED = frozenset({"ece"})
"""Metrics that grow with the noise of what they are made of: resamples of them lie above the estimate."""


def bootstrap(
    statistic: Statistic,
    rows: int,
    resamples: int,
    seed: int,
    largest: int = LARGEST,
    entries: Mapping[str, float] | None = None,
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
    entries : mapping of metric to how many independent entries it rests on, optional
        For metrics from 0 to 1. Those of `SHARES` get the wider of the bootstrap's and Wilson's interval; the others
        Wilson's where estimate and all resamples are 0, or 1: that all of ten rows are right is no proof that all
        others are.

    The draws of `BIASED` metrics are first moved down by their mean excess over the estimate.
    """
    found = resampled(statistic, rows, resamples, seed, largest)
    if not found:
        return {}
    estimate = statistic(np.arange(rows))
    intervals = {}
    for name, values in found.items():
        low, high = _percentiles(unbiased(values, estimate[name]) if name in BIASED else values)
        count = (entries or {}).get(name, 0.0)
        if count > 0 and (name in SHARES or (low == high and estimate[name] in (0.0, 1.0))):
            below, above = wilson_ends(estimate[name], count)
            low, high = min(low, below), max(high, above)
        intervals[name] = (low, high)
    return intervals


def unbiased(draws: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Draws of a figure that cannot be negative, less their mean excess over the estimate."""
    finite = draws[np.isfinite(draws)]
    if not len(finite) or not np.isfinite(value):
        return draws
    moved: NDArray[np.float64] = np.maximum(draws - (finite.mean() - value), 0.0)
    return moved


def wilson_ends(share: float, entries: float) -> tuple[float, float]:
    """Ends of the 95 % interval of a share of so many independent entries (Wilson 1927)."""
    spread = Z**2 / entries
    middle, reach = share + spread / 2, (spread * (share * (1 - share) + spread / 4)) ** 0.5
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # of a share of 0 or 1 rounding may pass it


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
