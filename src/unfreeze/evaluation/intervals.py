"""How sure a figure is: bootstrap intervals, and the difference between two models on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unfreeze.tasks._bootstrap import bootstrap

__all__ = ["bootstrap", "paired_difference"]


def paired_difference(
    first: Sequence[float], second: Sequence[float], resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of `second` - `first` with its 95 % interval, from scores of the same rows by two models.

    Parameters
    ----------
    first, second : sequence of float of shape (rows,)
        A score for each row, such as 1 for right and 0 for wrong. Rows are drawn in pairs, so what makes
        a row hard for both does not widen the interval. Without resamples the interval is (nan, nan).
    """
    gains = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    interval = bootstrap(lambda drawn: {"gain": float(gains[drawn].mean())}, len(gains), resamples, seed)
    low, high = interval.get("gain", (float("nan"), float("nan")))
    return float(gains.mean()) if len(gains) else float("nan"), low, high
