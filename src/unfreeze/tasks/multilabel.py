"""Any number of labels for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.data.manifest import Manifest, Target
from unfreeze.registry import Card
from unfreeze.tasks._bootstrap import Rows, bootstrap
from unfreeze.tasks._losses import FOCAL_GAMMA, binary_rows, loss_of_rows, parse_loss
from unfreeze.tasks._metrics import label_metrics, rank
from unfreeze.tasks._streams import Columns
from unfreeze.tasks._task import Loss, LossOptions, Scorer, encode_targets
from unfreeze.tasks.classification import position

THRESHOLD = 0.5
PRECISION_CELLS = 80_000_000
"""Rows times labels times resamples, about, that the interval of mean_average_precision looks at."""
LARGEST = 2_000_000
"""Rows times labels that one resample draws at most."""


@dataclass
class MultilabelScorer:
    """Keeps per row and label one bit for the truth and half a float for the score."""

    rows: Columns = field(default_factory=Columns)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Both of shape (rows, labels); targets are 0 or 1."""
        scores = outputs.detach().float().clamp(-60000, 60000)
        self.rows.add(
            true=(targets > THRESHOLD).cpu().numpy(),
            predicted=(scores >= 0).cpu().numpy(),
            scores=scores.cpu().numpy().astype(np.float16),
        )

    def compute(self) -> dict[str, float]:
        """micro_f1, macro_f1, subset_accuracy, mean_average_precision; {} without rows."""
        everything = np.arange(len(self.rows))
        return {**self._decisions(everything), **self._precision()(everything)} if len(self.rows) else {}

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of each metric; that of mean_average_precision from fewer resamples, 50 to 400."""
        count = len(self.rows)
        if count == 0:
            return {}
        labels = max(1, self.rows["true"].shape[1])
        fewer = min(resamples, max(50, min(400, PRECISION_CELLS // (count * labels))))
        entries = dict.fromkeys(("subset_accuracy", "micro_f1", "macro_f1", "mean_average_precision"), float(count))
        decisions = bootstrap(self._decisions, count, resamples, seed, max(1000, LARGEST // labels), entries)
        return {**decisions, **bootstrap(self._precision(), count, fewer, seed, entries=entries)}

    def _decisions(self, drawn: Rows) -> dict[str, float]:
        return label_metrics(self.rows["true"][drawn], self.rows["predicted"][drawn])

    def _precision(self) -> Callable[[Rows], dict[str, float]]:
        ranking = rank(self.rows["true"], self.rows["scores"])

        def statistic(drawn: Rows) -> dict[str, float]:
            each = ranking.average_precisions(np.bincount(drawn, minlength=len(self.rows)))
            defined = each[np.isfinite(each)]
            return {"mean_average_precision": float(defined.mean()) if len(defined) else float("nan")}

        return statistic


def labels_of(target: Target) -> tuple[str, ...]:
    """The labels of a row; a single one may stand alone."""
    return target if isinstance(target, tuple) else (str(target),)


@dataclass(frozen=True)
class Multilabel:
    """Any number of labels: one independent yes or no for each."""

    card: Card
    name: str = "multilabel"
    losses: tuple[str, ...] = ("bce", "focal")

    def outputs(self, manifest: Manifest) -> int:
        """One output per label."""
        return len(manifest.labels)

    def encode(self, target: Target, manifest: Manifest) -> Tensor:
        """Zeros and ones of shape (labels,). Raises PreflightError on a label without output."""
        row = torch.zeros(len(manifest.labels))
        row[[position(label, manifest) for label in labels_of(target)]] = 1.0
        return row

    def soften(self, targets: Tensor, manifest: Manifest) -> Tensor:
        """Encoded targets can be mixed as they are."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor, options: LossOptions) -> Loss:
        """Binary cross-entropy or focal loss, averaged over the labels; class weights weigh the labels."""
        kind, number = parse_loss(options.name, self.losses)
        gamma = (FOCAL_GAMMA if number is None else number) if kind == "focal" else 0.0
        goal = targets.to(outputs.dtype)
        goal = goal * (1 - options.label_smoothing) + options.label_smoothing / 2
        each = binary_rows(outputs, goal, gamma)
        if options.class_weights is not None:
            each = each * options.class_weights.to(each)
        return loss_of_rows(each.mean(dim=-1))

    def decode(self, outputs: Tensor, manifest: Manifest) -> list[dict[str, Any]]:
        """`prediction`: the labels of probability 0.5 or more; `probabilities` of all labels."""
        result = []
        for row in outputs.detach().float().sigmoid().tolist():
            named = dict(zip(manifest.labels, row, strict=True))
            chosen = [label for label, share in named.items() if share >= THRESHOLD]
            result.append({"prediction": chosen, "probabilities": named})
        return result

    def scorer(self, manifest: Manifest) -> Scorer:
        """An empty MultilabelScorer."""
        return MultilabelScorer()

    def default_metric(self, manifest: Manifest) -> str:
        """mean_average_precision: early on no label passes the threshold, and F1 could not tell epochs apart."""
        return "mean_average_precision"

    def higher_is_better(self, metric: str) -> bool:
        """All of them."""
        return True

    def baseline(self, train: Sequence[Target], manifest: Manifest) -> tuple[str, Tensor]:
        """Each label's (add-one) frequency as its probability: labels of most rows are always predicted."""
        counts = encode_targets(self.encode, train, manifest).sum(dim=0)
        return "label frequencies", torch.logit((counts + 1) / (len(train) + 2))

    def show(self, outputs: Tensor, targets: Tensor, manifest: Manifest) -> str:
        """The target's labels and those that the model would give."""
        wanted = [f"'{label}'" for label, on in zip(manifest.labels, targets.tolist(), strict=True) if on > THRESHOLD]
        given = [f"'{label}'" for label in self.decode(outputs[None], manifest)[0]["prediction"]]
        return f"target {', '.join(wanted) or 'no label'}; the model says {', '.join(given) or 'no label'}"


TASK = Multilabel(
    Card(
        what="any number of labels for each row, also none",
        when="labels can apply together, as tags do",
        cost="a head of one output per label",
        evidence="independent binary decisions are the usual baseline; labels that imply each other are not modelled",
        source="binary relevance; focal loss: arXiv:1708.02002",
    )
)
