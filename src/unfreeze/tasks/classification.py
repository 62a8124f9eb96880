"""One label of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.data.manifest import Manifest, Target
from unfreeze.errors import PreflightError, nearest
from unfreeze.registry import Card
from unfreeze.tasks._bootstrap import Rows, bootstrap
from unfreeze.tasks._losses import FOCAL_GAMMA, cross_entropy_rows, loss_of_rows, one_hot, parse_loss, smooth
from unfreeze.tasks._metrics import class_metrics
from unfreeze.tasks._streams import Columns
from unfreeze.tasks._task import Loss, LossOptions, Scorer

SHOWN = 100
IMBALANCED = 3.0
LOWER_IS_BETTER = frozenset({"nll", "ece"})


@lru_cache(maxsize=4)
def positions(labels: tuple[str, ...]) -> dict[str, int]:
    """Label to output."""
    return {label: index for index, label in enumerate(labels)}


def position(label: Target, manifest: Manifest) -> int:
    """The output that stands for a label.

    Raises
    ------
    PreflightError
        If the head has no such label.
    """
    name = str(label)
    if name not in positions(manifest.labels):
        raise PreflightError(
            f"The head has no output for the label '{name}'; it has {len(manifest.labels)} labels. "
            f"{nearest(name, manifest.labels)}"
        )
    return positions(manifest.labels)[name]


@dataclass
class ClassificationScorer:
    """Keeps four small numbers per row: true and predicted class, top probability, negative log-likelihood."""

    classes: int
    rows: Columns = field(default_factory=Columns)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs of shape (rows, classes), targets of shape (rows,)."""
        log_p = outputs.detach().float().log_softmax(dim=-1)
        top, predicted = log_p.max(dim=-1)
        nll = -log_p.gather(1, targets[:, None].to(log_p.device))[:, 0]
        self.rows.add(
            true=targets.cpu().numpy().astype(np.int32),
            predicted=predicted.cpu().numpy().astype(np.int32),
            top=top.exp().cpu().numpy(),
            nll=nll.cpu().numpy(),
        )

    def compute(self) -> dict[str, float]:
        """accuracy, balanced_accuracy, macro_f1, nll (nats), ece; {} without rows."""
        return self._metrics(np.arange(len(self.rows))) if len(self.rows) else {}

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of each metric; that of accuracy is not narrower than Wilson's."""
        return bootstrap(self._metrics, len(self.rows), resamples, seed, entries=self._entries())

    def _entries(self) -> dict[str, float]:
        """How many rows each share rests on; of means over the classes the rows that would make one share as sure."""
        if not len(self.rows):
            return {}
        counts = np.bincount(self.rows["true"])
        counts = counts[counts > 0]
        even = float(len(counts) ** 2 / (1 / counts).sum())
        return {"accuracy": len(self.rows), "balanced_accuracy": even, "macro_f1": even}

    def _metrics(self, drawn: Rows) -> dict[str, float]:
        true, predicted, top, nll = (self.rows[name][drawn] for name in ("true", "predicted", "top", "nll"))
        return class_metrics(true, predicted, top, nll, self.classes)


@dataclass(frozen=True)
class Classification:
    """One label of several: softmax over the labels."""

    card: Card
    name: str = "classification"
    losses: tuple[str, ...] = ("cross-entropy", "focal")

    def outputs(self, manifest: Manifest) -> int:
        """One output per label."""
        return len(manifest.labels)

    def encode(self, target: Target, manifest: Manifest) -> Tensor:
        """The label's index, a long tensor of shape (). Raises PreflightError on a label without output."""
        return torch.tensor(position(target, manifest))

    def soften(self, targets: Tensor, manifest: Manifest) -> Tensor:
        """One-hot rows of shape (rows, labels)."""
        return one_hot(targets, self.outputs(manifest))

    def loss(self, outputs: Tensor, targets: Tensor, options: LossOptions) -> Loss:
        """Cross-entropy or focal loss, times the weight of the true class before smoothing."""
        kind, number = parse_loss(options.name, self.losses)
        gamma = (FOCAL_GAMMA if number is None else number) if kind == "focal" else 0.0
        soft = one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
        rows = cross_entropy_rows(outputs, smooth(soft, options.label_smoothing), gamma)
        if options.class_weights is not None:
            rows = rows * (soft @ options.class_weights.to(soft))
        return loss_of_rows(rows)

    def decode(self, outputs: Tensor, manifest: Manifest) -> list[dict[str, Any]]:
        """`prediction` and `probabilities`, the most likely first and at most 100 of them."""
        top = outputs.detach().float().softmax(dim=-1).topk(min(SHOWN, outputs.shape[-1]), dim=-1)
        named = [
            {manifest.labels[index]: share for index, share in zip(indices, shares, strict=True)}
            for indices, shares in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        return [{"prediction": next(iter(row)), "probabilities": row} for row in named]

    def scorer(self, manifest: Manifest) -> Scorer:
        """An empty ClassificationScorer."""
        return ClassificationScorer(self.outputs(manifest))

    def default_metric(self, manifest: Manifest) -> str:
        """accuracy, or macro_f1 where the largest class has at least three times the rows of the smallest."""
        counts = [count for count in manifest.counts.get("train", {}).values() if count]
        return "macro_f1" if counts and max(counts) >= IMBALANCED * min(counts) else "accuracy"

    def higher_is_better(self, metric: str) -> bool:
        """All but nll and ece."""
        return metric not in LOWER_IS_BETTER

    def baseline(self, train: Sequence[Target], manifest: Manifest) -> tuple[str, Tensor]:
        """Always the most frequent label, with the labels' (add-one) frequencies as probabilities."""
        counts = Counter(str(target) for target in train)
        shares = torch.tensor([counts[label] + 1.0 for label in manifest.labels])
        return "majority class", (shares / shares.sum()).log()

    def show(self, outputs: Tensor, targets: Tensor, manifest: Manifest) -> str:
        """The target's label and the model's own first guess."""
        probabilities = outputs.detach().float().softmax(dim=-1)
        guess = int(probabilities.argmax())
        soft = one_hot(targets, len(manifest.labels))
        parts = [(float(soft[index]), manifest.labels[index]) for index in soft.nonzero()[:, 0].tolist()]
        wanted = " + ".join(f"'{label}'" if share == 1 else f"{share:.2f} '{label}'" for share, label in parts)
        return f"target {wanted}; the model says '{manifest.labels[guess]}' ({probabilities[guess]:.0%})"


TASK = Classification(
    Card(
        what="one label of several for each row",
        when="the labels exclude each other and one always applies",
        cost="a head of one output per label",
        evidence="the standard task of transfer learning",
        source="softmax regression; focal loss: arXiv:1708.02002; label smoothing: arXiv:1512.00567",
    )
)
