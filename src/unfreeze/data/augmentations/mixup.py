"""Mix each image and its target with another one's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._pixels import pixels
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    Mixed = tuple[dict[str, Tensor], Tensor]


def mixup(argument: str | None) -> Callable[..., Mixed]:
    """Mix by a share from Beta(alpha, alpha), alpha 0.2 by default; one share for a batch."""
    alpha = number("mixup", argument, default=0.2, low=1e-3, high=100)

    def change(batch: dict[str, Tensor], soft_targets: Tensor, rng: Generator) -> Mixed:
        import torch

        name = pixels(batch)
        share = float(rng.beta(alpha, alpha))
        other = torch.from_numpy(rng.permutation(len(soft_targets))).to(batch[name].device)
        mixed = torch.lerp(batch[name][other], batch[name], share)
        return {**batch, name: mixed}, torch.lerp(soft_targets[other.to(soft_targets.device)], soft_targets, share)

    return change


AUGMENTATION = Augmentation(
    Card(
        what="adds a share of another image, and of its target, to each (`mixup:0.2`)",
        when="full fine-tuning or training from scratch, for many epochs; probabilities should be well calibrated",
        cost="the training loss no longer falls to zero; short runs underfit",
        evidence="0.2 to 1.5 points on ImageNet from scratch in the source, alpha 0.1 to 0.4; less from fine-tuning",
        source="Zhang et al. 2018, arXiv:1710.09412",
    ),
    modality="image",
    level="batch",
    make=mixup,
    order=0,
)
