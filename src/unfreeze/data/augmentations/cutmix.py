"""Paste a rectangle of another image into each, and mix the targets by area."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._mixing import LEAST_ALPHA, mixing
from unfreeze.registry import Card

if TYPE_CHECKING:
    from unfreeze.data.augmentations._mixing import Mixed


def cutmix(argument: str | None) -> Callable[..., Mixed]:
    """Keep a share from Beta(alpha, alpha) of each image, alpha 1 by default; one rectangle for a batch."""
    alpha = number("cutmix", argument, default=1.0, low=LEAST_ALPHA, high=100)
    return mixing("CutMix", alpha)


AUGMENTATION = Augmentation(
    Card(
        what="pastes a rectangle of another image into each and mixes the targets by area (`cutmix:1.0`)",
        when="full fine-tuning or training from scratch, for many epochs; any part of an image tells its class",
        cost="the training loss no longer falls to zero; short runs underfit",
        evidence="about 2 points on ImageNet with 300 epochs from scratch in the source (ResNet-50)",
        source="Yun et al. 2019, arXiv:1905.04899",
    ),
    modality="image",
    level="batch",
    make=cutmix,
    order=1,
)
