"""Paste a rectangle of another image into each, and mix the targets by area."""

from __future__ import annotations

import math
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


def cutmix(argument: str | None) -> Callable[..., Mixed]:
    """Keep a share from Beta(alpha, alpha) of each image, alpha 1 by default; one rectangle for a batch."""
    alpha = number("cutmix", argument, default=1.0, low=1e-3, high=100)

    def change(batch: dict[str, Tensor], soft_targets: Tensor, rng: Generator) -> Mixed:
        import torch

        name = pixels(batch)
        image = batch[name].clone()
        top, bottom, left, right = _box(image.shape[-2], image.shape[-1], float(rng.beta(alpha, alpha)), rng)
        other = torch.from_numpy(rng.permutation(len(soft_targets))).to(image.device)
        image[..., top:bottom, left:right] = batch[name][other][..., top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (image.shape[-2] * image.shape[-1])
        return {**batch, name: image}, torch.lerp(soft_targets[other.to(soft_targets.device)], soft_targets, kept)

    return change


def _box(rows: int, columns: int, kept: float, rng: Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle around a random centre, cut off at the edges."""
    height, width = rows * math.sqrt(1 - kept), columns * math.sqrt(1 - kept)
    middle, center = rng.uniform(0, rows), rng.uniform(0, columns)
    top, bottom = max(0, round(middle - height / 2)), min(rows, round(middle + height / 2))
    left, right = max(0, round(center - width / 2)), min(columns, round(center + width / 2))
    return top, bottom, left, right


AUGMENTATION = Augmentation(
    Card(
        what="pastes a rectangle of another image into each and mixes the targets by area (`cutmix:1.0`)",
        when="full fine-tuning or training from scratch, for many epochs; any part of an image tells its class",
        cost="the training loss no longer falls to zero; short runs underfit",
        evidence="about 2 points on ImageNet with 300 epochs from scratch in the source; less from fine-tuning",
        source="Yun et al. 2019, arXiv:1905.04899",
    ),
    modality="image",
    level="batch",
    make=cutmix,
    order=1,
)
