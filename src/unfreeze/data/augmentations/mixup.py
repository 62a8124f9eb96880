"""Mix each image and its target with another one's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._mixing import LEAST_ALPHA, mixing
from unfreeze.registry import Card

if TYPE_CHECKING:
    from unfreeze.data.augmentations._mixing import Mixed


def mixup(argument: str | None) -> Callable[..., Mixed]:
    """Mix by a share from Beta(alpha, alpha), alpha 0.2 by default; one share for a batch."""
    alpha = number("mixup", argument, default=0.2, low=LEAST_ALPHA, high=100)
    return mixing("MixUp", alpha)


AUGMENTATION = Augmentation(
    Card(
        what="adds a share of another image, and of its target, to each (`mixup:0.2`)",
        when="full fine-tuning or training from scratch, for many epochs; probabilities should be well calibrated",
        cost="the training loss no longer falls to zero; short runs underfit",
        evidence="0.2 to 0.6 points on ImageNet from scratch in 90 epochs, more in 200, with alpha 0.1 to 0.4",
        source="Zhang et al. 2018, arXiv:1710.09412",
    ),
    modality="image",
    level="batch",
    make=mixup,
    order=0,
)
