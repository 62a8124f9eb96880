"""What abstaining buys: error among the rows that are answered, as fewer and surer ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unfreeze.evaluation.calibration import Step
from unfreeze.evaluation.resampling import resample, widened
from unfreeze.tasks._bootstrap import wilson_ends

Floats: TypeAlias = NDArray[np.float64]
Answers: TypeAlias = tuple[Floats, NDArray[np.bool_]]
"""Confidence and correctness of rows."""

WISHED = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Error rates whose thresholds are told; predictions may ask for any other."""

CURVE = 40
"""Points of the curve of coverage and error."""

MOST_AREA = 200
"""Resamples of the area under the curve, each of which adds up all rows."""


def abstention(
    steps: tuple[Step, ...],
    sure: Mapping[str, Answers],
    judged: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The curve of coverage and error on the judged split, and thresholds for some wished error rates.

    Parameters
    ----------
    steps : tuple of Step
        From validation.
    sure : mapping of split to confidence and correctness of its rows
    """
    confidence, right = sure[judged]
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    places = np.unique(np.linspace(max(1, len(order) // CURVE), len(order), CURVE).round().astype(np.intp)) - 1
    wrong = widened(resample((~right)[:, None], resamples, seed).column(0), len(right))
    rates = [rate for rate in WISHED if rate < max(wrong["value"] or 0.0, steps[0].rate)]
    return {
        "wrong": wrong,
        "lowest_rate": steps[-1].rate,
        "area": _area(confidence, right, resamples, seed),
        "curve": [_point(int(place) + 1, len(order), float(errors[place])) for place in places],
        "wished": _wished(rates, steps, sure.get("test"), resamples, seed),
    }


def _point(answers: int, rows: int, error: float) -> dict[str, float]:
    """The error among so many answers, with its 95 % interval (Wilson 1927)."""
    low, high = wilson_ends(error, answers)
    return {"coverage": answers / rows, "error": error, "low": low, "high": high}


def _wished(
    rates: Sequence[float], steps: tuple[Step, ...], test: Answers | None, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """The threshold for each wished error rate, and what came of it on both splits."""
    chosen = [next((step for step in steps if step.rate <= rate), None) for rate in rates]
    reached = [step for step in chosen if step is not None]
    if test is not None and reached:
        answered = [test[0] >= step.threshold for step in reached]
        columns = [column for each in answered for column in (each, each & ~test[1])]
        drawn = resample(np.stack(columns, axis=1), resamples, seed)
    told: list[dict[str, Any]] = []
    for rate, step in zip(rates, chosen, strict=True):
        if step is None:
            told.append({"error_rate": rate, "threshold": None})
            continue
        found: dict[str, Any] = {"error_rate": rate, "threshold": step.threshold, "expected": step.rate}
        found["validation"] = {"coverage": step.coverage, "error": step.error}
        if test is not None:
            place, rows = 2 * reached.index(step), len(test[0])
            found["test"] = {
                "coverage": widened(drawn.column(place), rows),
                "error": widened(drawn.share(place + 1, place), float(drawn.means[place]) * rows),
            }
        told.append(found)
    return told


def _area(confidence: Floats, right: NDArray[np.bool_], resamples: int, seed: int) -> dict[str, float | None]:
    """Mean error over all coverages (Geifman et al. 2019, arXiv:1805.08206), the lower the better."""
    order = np.argsort(-confidence, kind="stable")
    wrong = (~right[order]).astype(np.float64)
    rows, rng = len(wrong), np.random.default_rng(seed)

    def area(weights: Floats) -> float:
        total = np.cumsum(weights)
        share = np.cumsum(weights * wrong) / np.maximum(total, 1)
        return float((share * weights).sum() / total[-1])

    value = area(np.ones(rows))
    count = min(resamples, MOST_AREA)
    draws = [area(np.bincount(rng.integers(0, rows, size=rows), minlength=rows).astype(float)) for _ in range(count)]
    low, high = np.percentile(draws, [2.5, 97.5]).tolist() if draws else (None, None)
    return {"value": value, "low": low, "high": high}
