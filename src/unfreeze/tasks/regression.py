"""A number for each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unfreeze.data.manifest import Manifest, Target
from unfreeze.errors import PreflightError
from unfreeze.registry import Card
from unfreeze.tasks._bootstrap import Rows, bootstrap
from unfreeze.tasks._losses import loss_of_rows, parse_loss
from unfreeze.tasks._metrics import number_metrics
from unfreeze.tasks._streams import Columns
from unfreeze.tasks._task import Loss, LossOptions, Scorer, encode_targets

LOWER_IS_BETTER = frozenset({"mae", "rmse"})


@dataclass
class RegressionScorer:
    """Keeps truth and prediction of each row, in the target's own unit."""

    mean: float
    scale: float
    rows: Columns = field(default_factory=Columns)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs of shape (rows, 1), targets of shape (rows,), both standardised."""
        predicted = outputs.detach().double().reshape(-1).cpu().numpy()
        true = targets.double().reshape(-1).cpu().numpy()
        self.rows.add(true=true * self.scale + self.mean, predicted=predicted * self.scale + self.mean)

    def compute(self) -> dict[str, float]:
        """mae and rmse in the target's unit, r2, spearman; {} without rows."""
        return self._metrics(np.arange(len(self.rows))) if len(self.rows) else {}

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of each metric; for spearman ranks are taken once, not in each resample."""
        return bootstrap(self._metrics_with(self._ranks()), len(self.rows), resamples, seed) if len(self.rows) else {}

    def _ranks(self) -> tuple[Any, Any]:
        from scipy.stats import rankdata

        return rankdata(self.rows["true"]), rankdata(self.rows["predicted"])

    def _metrics_with(self, ranks: tuple[Any, Any]) -> Any:
        true, predicted = self.rows["true"], self.rows["predicted"]
        return lambda drawn: number_metrics(true[drawn], predicted[drawn], ranks[0][drawn], ranks[1][drawn])

    def _metrics(self, drawn: Rows) -> dict[str, float]:
        metrics: dict[str, float] = self._metrics_with(self._ranks())(drawn)
        return metrics


@dataclass(frozen=True)
class Regression:
    """A number, learned in units of the training targets' standard deviation."""

    card: Card
    name: str = "regression"
    losses: tuple[str, ...] = ("mse", "mae", "huber")

    def outputs(self, manifest: Manifest) -> int:
        """One."""
        return 1

    def encode(self, target: Target, manifest: Manifest) -> Tensor:
        """The standardised number, a float tensor of shape (). Raises PreflightError when it is not finite."""
        try:
            value = float(target)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise PreflightError(f"Regression needs a finite number as target, found {target!r}.")
        return torch.tensor((value - manifest.target_mean) / manifest.target_scale, dtype=torch.float32)

    def soften(self, targets: Tensor, manifest: Manifest) -> Tensor:
        """Numbers can be mixed as they are."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor, options: LossOptions) -> Loss:
        """mse, mae or huber (delta 1, or `huber:2`) on standardised targets."""
        kind, number = parse_loss(options.name, self.losses)
        predicted, goal = outputs.reshape(-1), targets.reshape(-1).to(outputs.dtype)
        if kind == "mse":
            return loss_of_rows((predicted - goal) ** 2)
        if kind == "mae":
            return loss_of_rows((predicted - goal).abs())
        delta = 1.0 if number is None else number
        return loss_of_rows(functional.huber_loss(predicted, goal, reduction="none", delta=delta))

    def decode(self, outputs: Tensor, manifest: Manifest) -> list[dict[str, Any]]:
        """`prediction` in the target's own unit."""
        values = outputs.detach().double().reshape(-1) * manifest.target_scale + manifest.target_mean
        return [{"prediction": value} for value in values.tolist()]

    def scorer(self, manifest: Manifest) -> Scorer:
        """An empty RegressionScorer."""
        return RegressionScorer(manifest.target_mean, manifest.target_scale)

    def default_metric(self, manifest: Manifest) -> str:
        """rmse."""
        return "rmse"

    def higher_is_better(self, metric: str) -> bool:
        """All but mae and rmse."""
        return metric not in LOWER_IS_BETTER

    def baseline(self, train: Sequence[Target], manifest: Manifest) -> tuple[str, Tensor]:
        """Always the mean of the training targets."""
        return "mean", encode_targets(self.encode, train, manifest).mean(dim=0, keepdim=True)

    def show(self, outputs: Tensor, targets: Tensor, manifest: Manifest) -> str:
        """Target and the model's own guess, in the target's unit."""
        wanted, given = (self.decode(values, manifest)[0]["prediction"] for values in (targets, outputs))
        return f"target {wanted:.6g}; the model says {given:.6g}"


TASK = Regression(
    Card(
        what="a number for each row",
        when="the target is a quantity, and the distance between two values means something",
        cost="a head of one output",
        evidence="least squares on standardised targets; huber where outliers pull too much",
        source="Huber 1964, doi:10.1214/aoms/1177703732",
    )
)
