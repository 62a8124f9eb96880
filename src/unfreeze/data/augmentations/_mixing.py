"""Batches mixed by torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from unfreeze.data.augmentations._pixels import pixels
from unfreeze.data.augmentations._seeded import seeded

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    Mixed = tuple[dict[str, Tensor], Tensor]

LEAST_ALPHA = 0.01
"""Below, torch's draws from Beta(alpha, alpha) underflow and gather at one half instead of at 0 and 1."""


def mixing(transform: Literal["MixUp", "CutMix"], alpha: float) -> Callable[..., Mixed]:
    """Mix each row with the one before it; batches are shuffled, so that this is a random other row.

    Targets have the shape (rows, classes), or (rows,) for numbers. A batch of one row stays as it is.
    """

    def change(batch: dict[str, Tensor], soft_targets: Tensor, rng: Generator) -> Mixed:
        name = pixels(batch)
        # torchvision takes targets of one dimension for the indices of classes.
        rows = soft_targets.reshape(len(soft_targets), -1)
        with seeded(rng) as v2:
            images, targets = getattr(v2, transform)(alpha=alpha)(batch[name], rows)
        return {**batch, name: images}, targets.reshape(soft_targets.shape)

    return change
