"""A task's metric of several outputs for the same rows, resampled together, so that differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.evaluation.resampling import widened
from unfreeze.evidence._context import Context
from unfreeze.tasks._bootstrap import SHARES, wilson_ends
from unfreeze.train.order import generator

Figure: TypeAlias = dict[str, float | None]

DRAWS = 100
"""Resamples from which standard errors are taken; intervals are normal (Efron & Tibshirani 1993: 50 to 200 do)."""

LABEL_DRAWS = 3000
"""Resamples times labels, where there are many labels and figures take long."""


@dataclass(frozen=True)
class Paired:
    """Values of shape (outputs,), and of the same resamples of rows: (draws, outputs).

    Parameters
    ----------
    rows : int
        How many there are; of fewer than two there is no interval.
    share : bool
        Whether the metric is a share of them. Then no interval is narrower than Wilson's, nor that of a mean or of a
        difference narrower than what so many rows let one say that show no exception at all.
    """

    values: NDArray[np.float64]
    drawn: NDArray[np.float64]
    rows: int
    share: bool = False

    def mean(self, places: Sequence[int], against: int | None = None) -> Figure:
        """The mean of some values, or of their differences to another, with its 95 % interval."""
        chosen = list(places)
        value = float(self.values[chosen].mean() - (0.0 if against is None else self.values[against]))
        if len(self.drawn) < 2 or self.rows < 2:
            return {"value": value, "low": None, "high": None}
        draws = self.drawn[:, chosen].mean(axis=1) - (0.0 if against is None else self.drawn[:, against])
        reach = 1.96 * float(np.nanstd(draws, ddof=1))
        # Within what was drawn, so that no interval of a share leaves 0 to 1.
        low, high = max(value - reach, float(np.nanmin(draws))), min(value + reach, float(np.nanmax(draws)))
        told: Figure = {"value": value, "low": min(low, value), "high": max(high, value)}
        if not self.share:
            return told
        if against is None and len(chosen) == 1:
            return widened(told, self.rows)
        # No surer than a share without any exception among so many rows (Wilson 1927; of differences: Newcombe 1998).
        least, floor = wilson_ends(0.0, self.rows)[1], 0.0 if against is None else -1.0
        return {"value": value, "low": max(floor, min(low, value - least)), "high": min(1.0, max(high, value + least))}


def metric_of(context: Context) -> str:
    """The run's metric, or the task's own where the run's is one of groups, which further rows do not have."""
    scorer = context.task.scorer(context.manifest)
    scorer.update(context.outputs(context.judged)[:2], context.targets(context.judged)[:2])
    own = context.task.default_metric(context.manifest)
    return context.job.metric if context.job.metric in scorer.compute() else own


def paired(context: Context, outputs: Sequence[Tensor], targets: Tensor) -> Paired:
    """The run's metric of each of the outputs (rows, outputs) for the same targets."""

    def value(each: Tensor, rows: Tensor | None = None) -> float:
        scorer = context.task.scorer(context.manifest)
        scorer.update(each if rows is None else each[rows], targets if rows is None else targets[rows])
        return scorer.compute()[metric]

    metric = metric_of(context)
    draws = min(DRAWS, context.recipe.evaluation.bootstrap)
    if context.task.name == "multilabel":
        draws = min(draws, max(10, LABEL_DRAWS // max(1, len(context.manifest.labels))))
    chosen = generator(context.recipe.seed, 9).integers(0, len(targets), size=(draws, len(targets)))
    drawn = np.array([[value(each, torch.from_numpy(rows)) for each in outputs] for rows in chosen])
    values = np.array([value(each) for each in outputs])
    return Paired(values, drawn.reshape(draws, len(outputs)), len(targets), metric in SHARES)
