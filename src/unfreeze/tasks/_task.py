"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unfreeze.data.manifest import Manifest, Target
from unfreeze.data.stored import blocks
from unfreeze.registry import Card


@dataclass(frozen=True)
class Loss:
    """A batch's loss: the sum over rows and what to divide it by, so that accumulation over
    micro-batches gives the mean over the whole batch. `rows` holds each row's own, of shape (rows,), where the total
    is their sum and the weight their number: then many models can share a batch."""

    total: Tensor
    weight: Tensor
    rows: Tensor | None = None


class Task(Protocol):
    """What is predicted: encoding of targets, head size, loss, decoding, metrics, and how a prediction is shown."""

    name: str
    card: Card
    losses: tuple[str, ...]

    def outputs(self, manifest: Manifest) -> int:
        """How many outputs the head needs."""

    def encode(self, target: Target, manifest: Manifest) -> Tensor:
        """One target as a tensor (no batch dimension). Raises PreflightError when the head has no such label."""

    def soften(self, targets: Tensor, manifest: Manifest) -> Tensor:
        """A batch of encoded targets as numbers that can be mixed (one-hot rows for classes)."""

    def loss(self, outputs: Tensor, targets: Tensor, options: LossOptions) -> Loss:
        """Loss of a batch; `targets` are encoded or soft (mixup). Raises RecipeError on an unknown loss."""

    def decode(self, outputs: Tensor, manifest: Manifest) -> list[dict[str, Any]]:
        """One plain dict per row: `prediction`, and `probabilities` or the like, for people and JSON."""

    def scorer(self, manifest: Manifest) -> Scorer:
        """An empty streaming scorer."""

    def default_metric(self, manifest: Manifest) -> str:
        """The name of the metric that model choice uses."""

    def higher_is_better(self, metric: str) -> bool:
        """Whether more of that metric is better."""

    def baseline(self, train: Sequence[Target], manifest: Manifest) -> tuple[str, Tensor]:
        """The simplest honest alternative: its name ("majority class") and the row of outputs that it always gives."""

    def show(self, outputs: Tensor, targets: Tensor, manifest: Manifest) -> str:
        """One line for the preflight and for people: what one row's target means and what the model says.

        `outputs` has shape (outputs,); `targets` is what `encode` gives, or a soft row.
        """


def encode_targets(
    encode: Callable[[Target, Manifest], Tensor], targets: Sequence[Target], manifest: Manifest
) -> Tensor:
    """All targets as one tensor of shape (rows, …); few are tensors of their own at a time, since those are large."""
    parts = [torch.stack([encode(target, manifest) for target in some]) for some in blocks(targets)]
    return torch.cat(parts) if parts else torch.zeros(0)


@dataclass(frozen=True)
class LossOptions:
    """What the recipe says about the loss. `class_weights` has one entry per class, mean 1 over the training rows."""

    name: str | None = None
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None


class Scorer(Protocol):
    """Streams batches, keeps what metrics need and never all outputs."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch of outputs (rows, outputs) and encoded targets."""

    def compute(self) -> dict[str, float]:
        """Every metric of the task, by name."""

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of each metric; {} when resamples is 0."""
